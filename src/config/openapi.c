/* The OpenAPI 3.1 document: endpoints and schema tables put together. https://spec.openapis.org/oas/v3.1.0 */
#include "config/openapi_private.h"

#include "base/memory.h"
#include "http/status.h"

#include <ctype.h>

char *openapi_kind_name(const struct resource_type *type)
{
    char *name = memory_copy_slice(slice_of(type->list_name, strlen(type->list_name) - 1)); /* without the plural's s */
    name[0] = (char)toupper((unsigned char)name[0]);
    return name;
}

/* A text with {kind}, {Kind} and {Kinds} put in. The caller's. */
static char *put_in_kind(const char *text, const struct resource_type *type)
{
    char *result = NULL, *name = type ? openapi_kind_name(type) : NULL;
    size_t length;
    FILE *out = open_memstream(&result, &length);
    PROMISE(out != NULL);
    while (*text) {
        static const char *const marks[] = { "{kind}", "{Kind}", "{Kinds}" };
        size_t i = 0;
        while (i < COUNT_OF(marks) && (!type || strncmp(text, marks[i], strlen(marks[i])) != 0)) i++;
        if (i == COUNT_OF(marks)) {
            fputc(*text++, out);
        } else {
            fprintf(out, "%s%s", i == 0 ? type->path : name, i == 2 ? "s" : "");
            text += strlen(marks[i]);
        }
    }
    PROMISE(fclose(out) == 0);
    free(name);
    return result;
}

/* --- references --- */

static json_t *reference(const char *section, const char *name)
{
    char *path = memory_format("#/components/%s/%s", section, name);
    json_t *object = json_pack("{s:s}", "$ref", path);
    free(path);
    return object;
}

/* One schema, or any of several between '|'. */
static json_t *schema_of(const char *text, const struct resource_type *type)
{
    json_t *list = json_array();
    struct slice rest = slice_from_cstring(text), piece;
    while (rest.length > 0 && slice_next(&rest, '|', &piece)) {
        char *pattern = memory_copy_slice(piece), *name = put_in_kind(pattern, type);
        json_array_append_new(list, reference("schemas", name));
        free(pattern);
        free(name);
    }
    json_t *only = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;
    if (!only) return json_pack("{s:o}", "anyOf", list);
    json_decref(list);
    return only;
}

/* --- an operation --- */

static void add_parameters(json_t *operation, const char *names)
{
    json_t *parameters = json_object_get(operation, "parameters");
    struct slice rest = slice_from_cstring(names), name;
    while (rest.length > 0 && slice_next(&rest, ' ', &name)) {
        char *copy = memory_copy_slice(name);
        json_array_append_new(parameters, reference("parameters", copy));
        free(copy);
    }
}

static void add_all_parameters(json_t *operation, const struct openapi_endpoint *endpoint,
                               const struct resource_type *type)
{
    bool is_one = strstr(endpoint->path, "{id}") != NULL, is_list = strcmp(endpoint->name, "list{Kinds}") == 0;
    json_object_set_new(operation, "parameters", json_array());
    if (is_one) add_parameters(operation, "id");
    if (strstr(endpoint->path, "{number}")) add_parameters(operation, "number");
    add_parameters(operation, is_list ? openapi_list_queries(resource_kind_of(type)) : endpoint->queries);
    if (endpoint->access == OPENAPI_CHANGE && endpoint->method != METHOD_POST) add_parameters(operation, "If-Match");
    if (endpoint->method == METHOD_PUT || strcmp(endpoint->name, "get{Kind}") == 0)
        add_parameters(operation, "If-None-Match");
}

static void add_request(json_t *operation, const struct openapi_endpoint *endpoint, const struct resource_type *type)
{
    if (!endpoint->request) return;
    json_t *media = json_pack("{s:o}", "schema", schema_of(endpoint->request, type)), *content = json_object();
    if (type && strcmp(endpoint->request, "{Kind}Input") == 0)
        json_object_set_new(media, "example", openapi_parse(openapi_examples[resource_kind_of(type)]));
    json_object_set(content, "application/json", media);
    if (endpoint->method == METHOD_PATCH) json_object_set(content, "application/merge-patch+json", media);
    json_decref(media);
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b,s:o}", "required", !endpoint->request_optional, "content", content));
}

static json_t *headers_of(unsigned headers)
{
    static const char *const names[] = { "ETag", "Location", "Sluice-Revision" };
    json_t *object = json_object();
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (headers >> i & 1) json_object_set_new(object, names[i], reference("headers", names[i]));
    }
    return object;
}

static json_t *answer_of(const struct openapi_answer *answer, const struct resource_type *type)
{
    json_t *response = json_pack("{s:s}", "description", answer->summary);
    if (answer->headers) json_object_set_new(response, "headers", headers_of(answer->headers));
    if (!answer->schema) return response;
    bool is_text = strcmp(answer->schema, "text") == 0;
    json_t *schema = is_text ? json_pack("{s:s}", "type", "string") : schema_of(answer->schema, type);
    json_object_set_new(response, "content",
                        json_pack("{s:{s:o}}", is_text ? "text/plain" : "application/json", "schema", schema));
    return response;
}

static void add_problems(json_t *responses, const char *statuses)
{
    struct slice rest = slice_from_cstring(statuses), status;
    while (rest.length > 0 && slice_next(&rest, ' ', &status)) {
        char *key = memory_copy_slice(status), *name = memory_format("Problem%s", key);
        if (!json_object_get(responses, key)) json_object_set_new(responses, key, reference("responses", name));
        free(key);
        free(name);
    }
}

/* Whoever asks may be a stranger, ask for something odd, or come when memory is short. */
#define GUARD_PROBLEMS "400 401 403 408 429 503"
#define BODY_PROBLEMS "408 413 415 504"
#define LATE_PROBLEMS "504"

static void add_responses(json_t *operation, const struct openapi_endpoint *endpoint, const struct resource_type *type)
{
    json_t *responses = json_object();
    for (size_t i = 0; i < OPENAPI_ANSWERS && endpoint->answers[i].status; i++) {
        char *status = memory_format("%u", endpoint->answers[i].status);
        json_object_set_new(responses, status, answer_of(&endpoint->answers[i], type));
        free(status);
    }
    add_problems(responses, endpoint->problems);
    if (endpoint->access != OPENAPI_ANYBODY) add_problems(responses, GUARD_PROBLEMS);
    if (endpoint->request) add_problems(responses, BODY_PROBLEMS);
    if (endpoint->problems[0]) add_problems(responses, LATE_PROBLEMS);
    json_object_set_new(operation, "responses", responses);
}

static json_t *operation_of(const struct openapi_endpoint *endpoint, const struct resource_type *type)
{
    char *name = put_in_kind(endpoint->name, type);
    json_t *operation = json_pack("{s:s,s:s,s:[s]}", "operationId", name, "summary", endpoint->summary, "tags",
                                  type ? type->path : "gateway");
    free(name);
    if (endpoint->access == OPENAPI_ANYBODY) json_object_set_new(operation, "security", json_array());
    add_all_parameters(operation, endpoint, type);
    add_request(operation, endpoint, type);
    add_responses(operation, endpoint, type);
    return operation;
}

static void add_operation(json_t *paths, const struct openapi_endpoint *endpoint, const struct resource_type *type)
{
    static const char *const words[METHOD_COUNT] = { [METHOD_GET] = "get",
                                                     [METHOD_POST] = "post",
                                                     [METHOD_PUT] = "put",
                                                     [METHOD_PATCH] = "patch",
                                                     [METHOD_DELETE] = "delete" };
    char *path = put_in_kind(endpoint->path, type);
    json_t *item = json_object_get(paths, path);
    if (!item) json_object_set_new(paths, path, item = json_object());
    json_object_set_new(item, words[endpoint->method], operation_of(endpoint, type));
    free(path);
}

static json_t *all_paths(void)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < openapi_endpoint_count; i++) {
        bool is_of_kinds = strstr(openapi_endpoints[i].path, "{kind}") != NULL;
        for (size_t kind = 0; kind < (is_of_kinds ? RESOURCE_KIND_COUNT : 1); kind++)
            add_operation(paths, &openapi_endpoints[i], is_of_kinds ? &resource_types[kind] : NULL);
    }
    return paths;
}

/* --- components --- */

/* What an answer has beside the table's fields. */
static void add_read_only(json_t *schema, const struct resource_type *type)
{
    json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    if (!required) json_object_set_new(schema, "required", required = json_array());
    json_array_append_new(required, json_string("id"));
    json_array_append_new(required, json_string(type->name_field));
    if (!type->is_acted_on || resource_kind_of(type) == RESOURCE_ROUTE)
        json_object_set_new(properties, "warnings",
                            json_pack("{s:s,s:{s:s},s:b,s:s}", "type", "array", "items", "type", "string", "readOnly",
                                      true, "description",
                                      "What is stored all the same, and may not be what was meant."));
    if (resource_kind_of(type) == RESOURCE_SERVICE)
        json_object_set_new(properties, "instanceHealth",
                            json_pack("{s:s,s:o,s:b}", "type", "array", "items", reference("schemas", "InstanceHealth"),
                                      "readOnly", true));
    if (resource_kind_of(type) != RESOURCE_API_KEY) return;
    json_object_del(properties, "hash"); /* never told */
    json_object_set_new(properties, "key",
                        json_pack("{s:s,s:s,s:b,s:s}", "type", "string", "pattern", "^[0-9A-Za-z]{43}$", "readOnly",
                                  true, "description", "The key itself: shown once, when it is made."));
}

static json_t *list_of(const char *item)
{
    return json_pack("{s:s,s:[s,s],s:b,s:{s:{s:s,s:o},s:{s:[s,s]}}}", "type", "object", "required", "items",
                     "nextCursor", "additionalProperties", false, "properties", "items", "type", "array", "items",
                     reference("schemas", item), "nextCursor", "type", "string", "null");
}

static void add_schema(json_t *schemas, const char *stem, const char *ending, json_t *schema)
{
    char *name = memory_format("%s%s", stem, ending);
    json_object_set_new(schemas, name, schema);
    free(name);
}

static json_t *patch_of(const char *kind)
{
    char *text = memory_format("RFC 7396: fields of %sInput that are to be others; null takes one away.", kind);
    json_t *schema = json_pack("{s:s,s:s}", "type", "object", "description", text);
    free(text);
    return schema;
}

static void add_kind(json_t *schemas, const struct resource_type *type)
{
    char *name = openapi_kind_name(type);
    json_t *answered = openapi_table(type->fields, false), *written = openapi_table(type->fields, true);
    add_read_only(answered, type);
    if (resource_kind_of(type) == RESOURCE_PLUGIN) {
        json_object_set_new(answered, "allOf", json_pack("[o]", reference("schemas", "PluginPolicy")));
        json_object_set_new(written, "allOf", json_pack("[o]", reference("schemas", "PluginPolicyInput")));
    }
    json_object_set_new(written, "examples", json_pack("[o]", openapi_parse(openapi_examples[resource_kind_of(type)])));
    add_schema(schemas, name, "", answered);
    add_schema(schemas, name, "Input", written);
    add_schema(schemas, name, "Patch", patch_of(name));
    add_schema(schemas, name, "List", list_of(name));
    free(name);
}

/* The whole configuration: a list a kind. API keys are written with it, but not read. */
static json_t *configuration(bool is_input)
{
    json_t *properties = json_object();
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        if (!is_input && kind == RESOURCE_API_KEY) continue;
        char *name = openapi_kind_name(&resource_types[kind]),
             *schema = memory_format("%s%s", name, is_input ? "Input" : "");
        json_object_set_new(properties, resource_types[kind].list_name,
                            json_pack("{s:s,s:o}", "type", "array", "items", reference("schemas", schema)));
        free(name);
        free(schema);
    }
    return json_pack("{s:s,s:o,s:b}", "type", "object", "properties", properties, "additionalProperties", false);
}

static json_t *all_schemas(const struct policy_kinds *kinds)
{
    json_t *schemas = openapi_parse(openapi_fixed_schemas);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) add_kind(schemas, &resource_types[kind]);
    openapi_add_policies(schemas, kinds);
    json_object_set_new(schemas, "RevisionList", list_of("Revision"));
    json_object_set_new(schemas, "Configuration", configuration(false));
    json_object_set_new(schemas, "ConfigurationInput", configuration(true));
    return schemas;
}

/* A response a status that any operation may refuse with. */
static json_t *all_responses(void)
{
    static const unsigned statuses[] = { 400, 401, 403, 404, 405, 408, 409, 412, 413,
                                         415, 422, 428, 429, 500, 503, 504, 507 };
    json_t *responses = json_object();
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        char *name = memory_format("Problem%u", statuses[i]);
        struct slice reason = status_reason(statuses[i]);
        json_object_set_new(responses, name,
                            json_pack("{s:s%,s:{s:{s:o}}}", "description", reason.at, reason.length, "content",
                                      "application/problem+json", "schema", reference("schemas", "Problem")));
        free(name);
    }
    return responses;
}

static json_t *all_components(const struct policy_kinds *kinds)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:{s:{s:s,s:s,s:s}}}", "schemas", all_schemas(kinds), "responses",
                     all_responses(), "parameters", openapi_parse(openapi_parameters), "headers",
                     openapi_parse(openapi_headers), "securitySchemes", "bearer", "type", "http", "scheme", "bearer",
                     "description", "A token of `admin.tokens`; where there is none, on loopback, nothing is asked.");
}

char *openapi_write(const struct policy_kinds *kinds)
{
    json_t *document = json_pack(
        "{s:s,s:{s:s,s:s,s:s,s:{s:s}},s:[{s:s}],s:[{s:[]},{}],s:o,s:o}", "openapi", "3.1.0", "info", "title",
        "Sluice admin API", "version", SLUICE_VERSION, "description",
        "Configures and observes a Sluice gateway while it runs. A write is acknowledged once it is in force on the instance "
        "that answers.",
        "license", "name", "Apache-2.0", "servers", "url", "/", "security", "bearer", "paths", all_paths(),
        "components", all_components(kinds));
    PROMISE(document != NULL);
    char *text = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(10));
    PROMISE(text != NULL);
    json_decref(document);
    return text;
}
