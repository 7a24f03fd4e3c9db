/* config/openapi_private.h: what the files that make the OpenAPI document share. */
#ifndef SLUICE_CONFIG_OPENAPI_PRIVATE_H
#define SLUICE_CONFIG_OPENAPI_PRIVATE_H

#include "config/openapi.h"

#include <jansson.h>

/* JSON as it stands in the source: no quotes to escape. */
#define OPENAPI_JSON(...) #__VA_ARGS__

/* "rateLimits" -> "RateLimit": a kind's name in schemas and operations. */
char *openapi_kind_name(const struct resource_type *);

/* An object schema of a table. `is_input`: what may be written (short forms, defaults, what is required), else what is answered. */
json_t *openapi_table(const struct field *, bool is_input);
/* Schemas of all kinds of policies ("CorsConfig", "CorsFilter" ... and the unions "Filter", "PluginPolicy") into `schemas`. */
void openapi_add_policies(json_t *schemas, const struct policy_kinds *);
/* What a FIELD_CUSTOM holds, by its type_text; NULL: unknown. */
json_t *openapi_custom(const char *type_text, bool is_input);

/* Schemas that no table tells: problems, health, statistics; parameters, headers; and an example of each kind. JSON. */
extern const char openapi_fixed_schemas[], openapi_parameters[], openapi_headers[];
extern const char *const openapi_examples[RESOURCE_KIND_COUNT];

/* PROMISE that our own text is JSON. */
json_t *openapi_parse(const char *text);

#endif
