/* Values of expressions as JSON, ["int", "5"], ["list", [...]], ["map", [[key, value], ...]], and variables that have such values: for the
 * conformance cases and for the tool that is compared with a reference. */
#ifndef SLUICE_TESTS_JSON_VALUES_H
#define SLUICE_TESTS_JSON_VALUES_H

#include "expr/private.h"

#include <jansson.h>

#define VARIABLES_MAX 16

struct bindings {
    struct expression_variable rows[VARIABLES_MAX];
    const json_t *values[VARIABLES_MAX];
    size_t count;
};

/* Variables by name: { "type": "map(string, int)", "v": VALUE }; without "v" absent. Points into the JSON. */
void bindings_read(struct bindings *, json_t *variables);
expression_lookup bindings_lookup;

struct slice json_text(const json_t *); /* of a string */
/* Texts point into the JSON. */
struct expression_value json_to_value(const json_t *, struct arena *);
/* NULL where a list or map can't be read. Bytes and strings alike as hexadecimal: a string need not be UTF-8 here. */
json_t *json_of_value(const struct expression_value *, struct arena *);

#endif
