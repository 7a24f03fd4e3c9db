/* expr/from_json.c: a tree of JSON as expressions see it: looked at where it is, nothing copied. Whole numbers are int or uint, those beyond
 * 64 bits texts of their digits, other numbers double. */
#include "expr/value.h"

#include "json/value.h"

static enum expression_found item(const void *of, uint32_t index, struct arena *arena, struct expression_value *into)
{
    expression_from_json(&((const struct json_value *)of)->items[index], into);
    return EXPRESSION_FOUND;
}

static const struct expression_list_kind array_kind = { .item = item };

static enum expression_found find(const void *of, const struct expression_value *key, struct arena *arena,
                                  struct expression_value *into)
{
    const struct json_value *value = key->type == EXPRESSION_STRING ? json_find(of, key->text) : NULL;
    if (!value) return EXPRESSION_NOT_THERE;
    expression_from_json(value, into);
    return EXPRESSION_FOUND;
}

static enum expression_found next(const void *of, uint32_t *position, struct arena *arena, struct expression_value *key,
                                  struct expression_value *value)
{
    const struct json_value *object = of;
    if (*position >= object->count) return EXPRESSION_NOT_THERE;
    const struct json_member *member = &object->members[(*position)++];
    *key = expression_string(member->name);
    if (value) expression_from_json(&member->value, value);
    return EXPRESSION_FOUND;
}

static uint32_t count(const void *of) { return ((const struct json_value *)of)->count; }

static uint32_t find_cost(const void *of) { return count(of) / 8; }

static const struct expression_map_kind object_kind = {
    .find = find,
    .next = next,
    .count = count,
    .find_cost = find_cost,
};

void expression_from_json(const struct json_value *json, struct expression_value *into)
{
    switch ((enum json_type)json->type) {
    case JSON_BOOLEAN: *into = expression_bool(json->boolean); break;
    case JSON_INTEGER: *into = expression_int(json->integer); break;
    case JSON_UNSIGNED: *into = expression_uint(json->natural); break;
    case JSON_DOUBLE: *into = expression_double(json->number); break;
    case JSON_LONG_NUMBER:
    case JSON_STRING: *into = expression_string(json->text); break;
    case JSON_ARRAY: *into = expression_list_by(&array_kind, json, json->count); break;
    case JSON_OBJECT: *into = expression_map(&object_kind, json); break;
    default: *into = expression_null();
    }
}
