/* cli/table.h: a list of resources as a table for a terminal. */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include "config/resource.h"

#include <jansson.h>

#define TABLE_COLUMNS_MAX 8
struct table_column {
    const char *head, *field; /* field: a member, or what cell_text() knows by this name */
};
/* One line an item under the columns (the first without a head ends them); as wide as they need. */
void table_print(FILE *, const struct table_column columns[TABLE_COLUMNS_MAX], const json_t *items);
/* Under a kind's own columns. */
void table_print_resources(FILE *, enum resource_kind, const json_t *items);

/* Indented, as it is read by people and by other programs alike: on standard output. */
void table_print_json(const json_t *);

/* What a change does, or did, a line each: "+ routes checkout", "~ services users" with what differs below, "- plugins jwt-auth (7a99...)". */
void table_print_changes(FILE *, const json_t *changes);
/* "routes checkout": a plugin without a name of its own by its kind of policy, and id. The caller's. */
char *table_change_subject(const json_t *change);

#endif
