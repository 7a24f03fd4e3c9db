#include "json_values.h"

struct slice json_text(const json_t *json) { return slice_of(json_string_value(json), json_string_length(json)); }

static struct slice bytes_of(const json_t *json, struct arena *arena)
{
    struct slice hex = json_text(json);
    char *bytes = arena_allocate(arena, hex.length / 2 + 1);
    for (size_t i = 0; i + 1 < hex.length; i += 2) {
        char digits[3] = { hex.at[i], hex.at[i + 1], '\0' };
        bytes[i / 2] = (char)strtol(digits, NULL, 16);
    }
    return slice_of(bytes, hex.length / 2);
}

static struct expression_value read_list(const json_t *json, struct arena *arena)
{
    size_t count = json_array_size(json);
    struct expression_value *items = arena_allocate(arena, count * sizeof *items + 1);
    for (size_t i = 0; i < count; i++) items[i] = json_to_value(json_array_get(json, i), arena);
    return expression_list(items, (uint32_t)count);
}

static struct expression_value read_map(const json_t *json, struct arena *arena)
{
    size_t count = json_array_size(json);
    struct map_entries *entries = arena_allocate(arena, sizeof *entries + 2 * count * sizeof entries->items[0]);
    entries->count = (uint32_t)count;
    for (size_t i = 0; i < 2 * count; i++) {
        entries->items[i] = json_to_value(json_array_get(json_array_get(json, i / 2), i % 2), arena);
    }
    return expression_map(&expression_map_of_entries, entries);
}

struct expression_value json_to_value(const json_t *json, struct arena *arena)
{
    const char *kind = json_string_value(json_array_get(json, 0));
    const json_t *held = json_array_get(json, 1);
    struct expression_value value = { 0 };
    if (strcmp(kind, "null") == 0) return expression_null();
    if (strcmp(kind, "bool") == 0) return expression_bool(json_is_true(held));
    if (strcmp(kind, "int") == 0) return expression_int(strtoll(json_string_value(held), NULL, 10));
    if (strcmp(kind, "uint") == 0) return expression_uint(strtoull(json_string_value(held), NULL, 10));
    if (strcmp(kind, "double") == 0) return expression_double(strtod(json_string_value(held), NULL));
    if (strcmp(kind, "list") == 0) return read_list(held, arena);
    if (strcmp(kind, "map") == 0) return read_map(held, arena);
    if (strcmp(kind, "duration") == 0 || strcmp(kind, "timestamp") == 0) {
        value = expression_int(strtoll(json_string_value(held), NULL, 10));
        value.type = kind[0] == 'd' ? EXPRESSION_DURATION : EXPRESSION_TIMESTAMP;
        value.nanoseconds = (int32_t)json_integer_value(json_array_get(json, 2));
        return value;
    }
    value = expression_string(strcmp(kind, "bytes") == 0 ? bytes_of(held, arena) : json_text(held));
    if (strcmp(kind, "bytes") == 0) value.type = EXPRESSION_BYTES;
    if (strcmp(kind, "type") == 0) value.type = EXPRESSION_TYPE;
    return value;
}

/* --- writing --- */

static json_t *hexadecimal(struct slice text)
{
    char *digits = malloc(text.length * 2 + 1);
    PROMISE(digits != NULL);
    for (size_t i = 0; i < text.length; i++) snprintf(digits + 2 * i, 3, "%02x", (unsigned char)text.at[i]);
    json_t *json = json_stringn(digits, text.length * 2);
    free(digits);
    return json;
}

static json_t *list_of(const struct expression_value *value, struct arena *arena)
{
    json_t *items = json_array();
    for (uint32_t i = 0; i < value->count; i++) {
        struct expression_value item;
        PROMISE(value->list.kind->item(value->list.of, i, arena, &item) == EXPRESSION_FOUND);
        json_array_append_new(items, json_of_value(&item, arena));
    }
    return json_pack("[so]", "list", items);
}

static json_t *map_of(const struct expression_value *value, struct arena *arena)
{
    struct expression_value key, held;
    json_t *entries = json_array();
    uint32_t position = 0;
    while (value->map.kind->next(value->map.of, &position, arena, &key, &held) == EXPRESSION_FOUND) {
        json_array_append_new(entries, json_pack("[oo]", json_of_value(&key, arena), json_of_value(&held, arena)));
    }
    return json_pack("[so]", "map", entries);
}

static json_t *number_of(const char *kind, const char *format, ...) PRINTF_LIKE(2, 3);

static json_t *number_of(const char *kind, const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return json_pack("[ss]", kind, text);
}

json_t *json_of_value(const struct expression_value *value, struct arena *arena)
{
    switch (value->type) {
    case EXPRESSION_NULL: return json_pack("[s]", "null");
    case EXPRESSION_BOOL: return json_pack("[sb]", "bool", value->boolean);
    case EXPRESSION_INT: return number_of("int", "%lld", (long long)value->integer);
    case EXPRESSION_UINT: return number_of("uint", "%llu", (unsigned long long)value->natural);
    case EXPRESSION_DOUBLE: return number_of("double", "%.17g", value->number);
    case EXPRESSION_DURATION: return number_of("duration", "%lld", (long long)value->integer);
    case EXPRESSION_TIMESTAMP:
        return number_of("timestamp", "%lld.%09d", (long long)value->integer, value->nanoseconds);
    case EXPRESSION_STRING: return json_pack("[so]", "string", hexadecimal(value->text));
    case EXPRESSION_BYTES: return json_pack("[so]", "bytes", hexadecimal(value->text));
    case EXPRESSION_TYPE: return json_pack("[so]", "type", hexadecimal(value->text));
    case EXPRESSION_LIST: return list_of(value, arena);
    case EXPRESSION_MAP: return map_of(value, arena);
    default: return json_pack("[sb]", "optional", value->held != NULL);
    }
}

/* --- variables --- */

enum expression_found bindings_lookup(const void *argument, const struct expression_variable *row, struct slice name,
                                      struct arena *arena, struct expression_value *value)
{
    const struct bindings *bindings = argument;
    if (!bindings->values[row->number]) return EXPRESSION_NOT_THERE;
    *value = json_to_value(bindings->values[row->number], arena);
    return EXPRESSION_FOUND;
}

void bindings_read(struct bindings *bindings, json_t *variables)
{
    const char *name;
    json_t *variable;
    json_object_foreach(variables, name, variable)
    {
        size_t number = bindings->count++;
        PROMISE(number < VARIABLES_MAX);
        bindings->rows[number] = (struct expression_variable){
            .name = name,
            .type = json_string_value(json_object_get(variable, "type")),
            .moments = EXPRESSION_AT_REQUEST,
            .number = (uint8_t)number,
        };
        bindings->values[number] = json_object_get(variable, "v");
    }
}
