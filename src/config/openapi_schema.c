/* Schema tables as JSON Schema (2020-12, the dialect of OpenAPI 3.1). */
#include "config/openapi_private.h"

#include "base/memory.h"

json_t *openapi_parse(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    PROMISE(value != NULL);
    return value;
}

/* --- what functions of their own read --- */

/* clang-format off */
static const struct {
    const char *type_text, *input, *output;
} customs[] = {
    { "path", OPENAPI_JSON({"type":"string","minLength":1}), NULL },
    { "IP or host name", OPENAPI_JSON({"type":"string","minLength":1}), NULL },
    { "1 to 65535", OPENAPI_JSON({"type":"integer","minimum":1,"maximum":65535}), NULL },
    { "0 to 65535", OPENAPI_JSON({"type":"integer","minimum":0,"maximum":65535}), NULL },
    { "text or list of texts",
      OPENAPI_JSON({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":1000}]}), NULL },
    { "kind of filter", OPENAPI_JSON({"type":"string"}), NULL },
    { "secret text",
      OPENAPI_JSON({"anyOf":[{"type":"string","minLength":1},{"$ref":"#/components/schemas/HiddenSecret"}]}), NULL },
    { "URL",
      OPENAPI_JSON({"anyOf":[{"type":"string","minLength":1},{"$ref":"#/components/schemas/HiddenSecret"}]}), NULL },
    { "JWK set",
      OPENAPI_JSON({"anyOf":[{"type":"object"},{"type":"string"}]}), OPENAPI_JSON({"type":"object"}) },
    { "list of texts, or map of texts",
      OPENAPI_JSON({"anyOf":[{"type":"array","items":{"type":"string"}},{"type":"object","additionalProperties":{"type":"string"}}]}),
      OPENAPI_JSON({"type":"object","additionalProperties":{"type":"string"}}) },
    { "map", OPENAPI_JSON({"type":"object"}), NULL },
    { "number", OPENAPI_JSON({"type":"number"}), NULL },
    { "any value", OPENAPI_JSON({}), NULL },
    { "list of filters",
      OPENAPI_JSON({"type":"array","maxItems":256,"items":{"$ref":"#/components/schemas/FilterInput"}}),
      OPENAPI_JSON({"type":"array","maxItems":256,"items":{"$ref":"#/components/schemas/Filter"}}) },
    { "status, range (`200-299`) or list of them", OPENAPI_JSON({"$ref":"#/components/schemas/StatusRanges"}), NULL },
    { "`client_id`, `ip`, `api_key`, `user_id`, `route`, `global`, `header:NAME` or `${expression}`",
      OPENAPI_JSON({"type":"string","pattern":"^(client_id|ip|api_key|user_id|route|global|header:.+|\\$\\{.+\\})$"}), NULL },
    { "whole number or `${expression}`",
      OPENAPI_JSON({"anyOf":[{"type":"integer","minimum":0,"maximum":1000000},{"type":"string","pattern":"^\\$\\{.+\\}$"}]}), NULL },
    { "0 to 100, up to two decimals", OPENAPI_JSON({"type":"number","minimum":0,"maximum":100}), NULL },
    { "`client_id`, `ip`, `random`, `header:NAME` or `cookie:NAME`",
      OPENAPI_JSON({"type":"string","pattern":"^(client_id|ip|random|header:.+|cookie:.+)$"}), NULL },
    { "time (RFC 3339)", OPENAPI_JSON({"type":"string","format":"date-time"}),
      OPENAPI_JSON({"type":["string","null"],"format":"date-time"}) },
};
/* clang-format on */

json_t *openapi_custom(const char *type_text, bool is_input)
{
    for (size_t i = 0; type_text && i < COUNT_OF(customs); i++) {
        if (strcmp(customs[i].type_text, type_text) != 0) continue;
        return openapi_parse(!is_input && customs[i].output ? customs[i].output : customs[i].input);
    }
    return NULL;
}

/* --- one field's type --- */

static json_t *of_type(const char *type) { return json_pack("{s:s}", "type", type); }

static json_t *one_of_two(json_t *first, json_t *second) { return json_pack("{s:[o,o]}", "anyOf", first, second); }

static json_t *number(const struct field *field, const char *type, int64_t unit)
{
    json_t *schema = of_type(type);
    if (field->minimum == 0 && field->maximum == 0) {
        if (field->type != FIELD_INTEGER) json_object_set_new(schema, "minimum", json_integer(0));
        return schema;
    }
    json_t *bounds[] = { json_integer(field->minimum), json_integer(field->maximum) };
    if (unit > 1) {
        json_decref(bounds[0]), json_decref(bounds[1]);
        bounds[0] = json_real((double)field->minimum / (double)unit);
        bounds[1] = json_real((double)field->maximum / (double)unit);
    }
    json_object_set_new(schema, "minimum", bounds[0]);
    json_object_set_new(schema, "maximum", bounds[1]);
    return schema;
}

static json_t *names_of(const struct field *field)
{
    json_t *names = json_array();
    for (size_t i = 0; field->names[i]; i++) json_array_append_new(names, json_string(field->names[i]));
    return json_pack("{s:s,s:o}", "type", "string", "enum", names);
}

static json_t *array_of(const struct field *field, json_t *items, bool is_input)
{
    json_t *schema = json_pack("{s:s}", "type", "array");
    bool may_be_one = is_input && field->one_or_many;
    json_object_set(schema, "items", items);
    if (field->minimum) json_object_set_new(schema, "minItems", json_integer(field->minimum));
    if (field->maximum) json_object_set_new(schema, "maxItems", json_integer(field->maximum));
    if (may_be_one) return one_of_two(items, schema);
    json_decref(items);
    return schema;
}

static json_t *text(const struct field *field, bool is_input)
{
    if (!field_may_be_secret(field)) {
        bool is_uuid = strcmp(field->name, "id") == 0;
        return is_uuid ? json_pack("{s:s,s:s}", "type", "string", "format", "uuid") : of_type("string");
    }
    json_t *hidden = json_pack("{s:s}", "$ref", "#/components/schemas/HiddenSecret");
    json_t *written = is_input || !field->secret
                          ? of_type("string")
                          : json_pack("{s:s,s:s}", "type", "string", "pattern", "^\\$\\{(env|file):.+\\}$");
    return one_of_two(written, hidden);
}

static json_t *map_of_texts(const struct field *field, bool is_input)
{
    json_t *schema = json_pack("{s:s,s:o}", "type", "object", "additionalProperties", text(field, is_input));
    if (field->maximum) json_object_set_new(schema, "maxProperties", json_integer(field->maximum));
    return schema;
}

static json_t *object(const struct field *field, bool is_input)
{
    json_t *schema = openapi_table(field->fields, is_input);
    return is_input && field->read ? one_of_two(of_type("string"), schema) : schema;
}

static json_t *bytes(const struct field *field, bool is_input)
{
    json_t *schema = number(field, "integer", 1);
    if (!is_input) return schema;
    return one_of_two(schema, json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)?$"));
}

static json_t *type_of(const struct field *field, bool is_input)
{
    switch (field->type) {
    case FIELD_STRING: return text(field, is_input);
    case FIELD_BOOLEAN: return of_type("boolean");
    case FIELD_INTEGER:
    case FIELD_MILLISECONDS: return number(field, "integer", 1);
    case FIELD_SECONDS: return number(field, "number", 1000);
    case FIELD_BYTES: return bytes(field, is_input);
    case FIELD_ENUM: return names_of(field);
    case FIELD_ENUM_SET: return array_of(field, names_of(field), is_input);
    case FIELD_STRING_LIST: return array_of(field, text(field, is_input), is_input);
    case FIELD_STRING_MAP: return map_of_texts(field, is_input);
    case FIELD_OBJECT: return object(field, is_input);
    case FIELD_OBJECT_LIST: return array_of(field, object(field, is_input), is_input);
    case FIELD_CUSTOM:
    case FIELD_IGNORED: {
        json_t *schema = openapi_custom(field->type_text, is_input);
        return schema ? schema : json_object();
    }
    case FIELD_NOT_YET: break;
    }
    return json_object();
}

/* --- defaults: YAML texts of ours --- */

static json_t *plain_default(const struct field *field, struct slice value)
{
    bool is_text = field->type == FIELD_STRING || field->type == FIELD_ENUM || field->type == FIELD_ENUM_SET ||
                   field->type == FIELD_STRING_LIST;
    char *copy = memory_copy_slice(value);
    json_t *read = is_text ? NULL : json_loads(copy, JSON_DECODE_ANY, NULL);
    if (!read) read = json_string(copy);
    free(copy);
    return read;
}

static json_t *default_of(const struct field *field)
{
    struct slice value = slice_from_cstring(field->fallback), rest, piece;
    if (value.length < 2 || value.at[0] != '[') return plain_default(field, value);
    json_t *list = json_array();
    rest = slice_of(value.at + 1, value.length - 2);
    while (rest.length > 0 && slice_next(&rest, ',', &piece)) json_array_append_new(list, plain_default(field, piece));
    return list;
}

/* --- a table --- */

static void describe(json_t *schema, const char *summary)
{
    if (summary) json_object_set_new(schema, "description", json_string(summary));
}

static void add_alias(json_t *properties, const struct field *field, const json_t *schema)
{
    json_t *alias = json_deep_copy(schema);
    char *summary = memory_format("Another name for `%s`, accepted but never answered.", field->name);
    json_object_del(alias, "default");
    describe(alias, summary);
    json_object_set_new(alias, "deprecated", json_true());
    json_object_set_new(properties, field->also, alias);
    free(summary);
}

static void add_property(json_t *properties, const struct field *field, bool is_input)
{
    json_t *schema = type_of(field, is_input);
    describe(schema, field->summary);
    if (field->type == FIELD_IGNORED) json_object_set_new(schema, "readOnly", json_true());
    if (is_input && field->fallback && !field->secret) json_object_set_new(schema, "default", default_of(field));
    if (is_input && field->also) add_alias(properties, field, schema);
    json_object_set_new(properties, field->name, schema);
}

/* A field with two names is there under one of them. */
static void require(json_t *schema, json_t *required, const struct field *field, bool is_input)
{
    if (!is_input || !field->also) {
        json_array_append_new(required, json_string(field->name));
        return;
    }
    json_t *either = json_pack("{s:[{s:[s]},{s:[s]}]}", "anyOf", "required", field->name, "required", field->also);
    json_t *all = json_object_get(schema, "allOf");
    if (!all) json_object_set_new(schema, "allOf", all = json_array());
    json_array_append_new(all, either);
}

json_t *openapi_table(const struct field *fields, bool is_input)
{
    json_t *schema = of_type("object"), *properties = json_object(), *required = json_array();
    for (const struct field *field = fields; field->name; field++) {
        if (field->type == FIELD_NOT_YET) continue;
        add_property(properties, field, is_input);
        if (field->required) require(schema, required, field, is_input);
    }
    json_object_set_new(schema, "properties", properties);
    if (json_array_size(required) > 0) json_object_set(schema, "required", required);
    json_decref(required);
    json_object_set_new(schema, "additionalProperties", json_false());
    return schema;
}

/* --- policies --- */

/* "add-header" -> "AddHeader" + ending. */
static char *policy_name(const struct policy_kind *kind, const char *ending)
{
    char *name = memory_format("%s%s", kind->name, ending);
    char *into = name;
    bool capital = true;
    for (const char *at = name; *at; at++) {
        if (*at == '-') {
            capital = true;
            continue;
        }
        *into++ = capital && *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
        capital = false;
    }
    *into = '\0';
    return name;
}

static json_t *reference(const char *name)
{
    char *path = memory_format("#/components/schemas/%s", name);
    json_t *schema = json_pack("{s:s}", "$ref", path);
    free(path);
    return schema;
}

/* The words that say a kind: in what is written '_' reads as '-'. */
static json_t *words_of(const struct policy_kind *kind, bool is_input)
{
    json_t *words = json_pack("[s]", kind->name);
    char *other = memory_copy_slice(slice_from_cstring(kind->name));
    for (char *at = other; *at; at++) *at = *at == '-' ? '_' : *at;
    if (is_input && strcmp(other, kind->name) != 0) json_array_append_new(words, json_string(other));
    free(other);
    return json_pack("{s:s,s:o}", "type", "string", "enum", words);
}

/* A route's filter: what all filters have, and the kind's own fields beside it. */
static json_t *filter_schema(const struct policy_kind *kind, bool is_input)
{
    json_t *schema = openapi_table(kind->fields, is_input), *common = openapi_table(filter_fields, is_input);
    json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    json_object_update_missing(properties, json_object_get(common, "properties"));
    json_object_set_new(properties, "type", words_of(kind, is_input));
    if (!kind->on_response_allowed)
        json_object_set_new(properties, "on", json_pack("{s:s,s:[s]}", "type", "string", "enum", "request"));
    if (!required) json_object_set_new(schema, "required", required = json_array());
    json_array_append_new(required, json_string("type"));
    json_decref(common);
    return schema;
}

static void add_policy(json_t *schemas, const struct policy_kind *kind, bool is_input, json_t *filters, json_t *plugins)
{
    char *config = policy_name(kind, is_input ? "ConfigInput" : "Config");
    char *filter = policy_name(kind, is_input ? "FilterInput" : "Filter");
    json_t *own = openapi_table(kind->fields, is_input);
    bool may_be_absent = !json_object_get(own, "required") && !json_object_get(own, "allOf");
    json_object_set_new(schemas, config, own);
    json_object_set_new(schemas, filter, filter_schema(kind, is_input));
    json_array_append_new(filters, reference(filter));
    json_t *plugin = json_pack("{s:{s:o,s:o}}", "properties", "name", words_of(kind, is_input), "config",
                               reference(config));
    if (!may_be_absent) json_object_set_new(plugin, "required", json_pack("[s]", "config"));
    json_array_append_new(plugins, plugin);
    free(config);
    free(filter);
}

void openapi_add_policies(json_t *schemas, const struct policy_kinds *kinds)
{
    for (int is_input = 0; is_input < 2; is_input++) {
        json_t *filters = json_array(), *plugins = json_array();
        for (size_t i = 0; i < kinds->count; i++)
            add_policy(schemas, &kinds->items[i], is_input != 0, filters, plugins);
        json_object_set_new(schemas, is_input ? "FilterInput" : "Filter",
                            json_pack("{s:s,s:o}", "type", "object", "oneOf", filters));
        json_object_set_new(schemas, is_input ? "PluginPolicyInput" : "PluginPolicy",
                            json_pack("{s:s,s:o}", "type", "object", "oneOf", plugins));
    }
}
