/* The way back: a struct that a table filled, as a tree in canonical form. What may be left out is said in schema.h; the rule is that
 * reading what is written here gives the same struct, and writing that the same bytes. */
#include "config/private.h"

#include <inttypes.h>

/* The fraction is written without zeros at its end: 10, 0.5, 2.25. */
static struct node *write_seconds(struct arena *arena, uint64_t ms)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%" PRIu64, ms / 1000);
    if (ms % 1000 != 0) {
        length += snprintf(text + length, sizeof text - (size_t)length, ".%03u", (unsigned)(ms % 1000));
        while (text[length - 1] == '0') length--;
    }
    struct node *node = node_make(arena, NODE_SCALAR);
    node->text = arena_keep(arena, slice_of(text, (size_t)length));
    node->rounded = ms % 1000 != 0;
    return node;
}

struct node *schema_write_percentage(struct arena *arena, const void *from)
{
    uint64_t hundredths = *(const uint64_t *)from;
    if (hundredths % 100 == 0) return node_make_integer(arena, (int64_t)(hundredths / 100));
    char text[32];
    int length = snprintf(text, sizeof text, "%" PRIu64 ".%02u", hundredths / 100, (unsigned)(hundredths % 100));
    if (text[length - 1] == '0') length--;
    struct node *node = node_make(arena, NODE_SCALAR);
    node->text = arena_keep(arena, slice_of(text, (size_t)length));
    node->rounded = true;
    return node;
}

static struct node *write_string_list(struct arena *arena, const struct slice_list *list)
{
    struct node *node = node_make(arena, NODE_LIST), *last = NULL;
    for (size_t i = 0; i < list->count; i++)
        node_append(node, &last, SLICE_ABSENT, node_make_text(arena, list->items[i]));
    return node;
}

static struct node *write_string_map(struct arena *arena, const struct pair_list *list)
{
    struct node *node = node_make(arena, NODE_MAP), *last = NULL;
    for (size_t i = 0; i < list->count; i++)
        node_append(node, &last, list->items[i].name, node_make_text(arena, list->items[i].value));
    return node;
}

static struct node *write_name(struct arena *arena, const struct field *field, int index)
{
    return node_make_text(arena, slice_from_cstring(field->names[index]));
}

static struct node *write_enum_set(struct arena *arena, const struct field *field, uint64_t bits)
{
    struct node *node = node_make(arena, NODE_LIST), *last = NULL;
    for (int i = 0; field->names[i]; i++) {
        if (bits >> i & 1) node_append(node, &last, SLICE_ABSENT, write_name(arena, field, i));
    }
    return node;
}

static struct node *write_object_list(struct arena *arena, const struct field *field, const struct object_list *list)
{
    struct node *node = node_make(arena, NODE_LIST), *last = NULL;
    for (size_t i = 0; i < list->count; i++)
        node_append(node, &last, SLICE_ABSENT,
                    schema_write(arena, field->fields, (const char *)list->items + i * field->item_size));
    return node;
}

static struct node *write_value(struct arena *arena, const struct field *field, const void *at)
{
    switch (field->type) {
    case FIELD_STRING: return node_make_text(arena, *(const struct slice *)at);
    case FIELD_BOOLEAN: return node_make_boolean(arena, *(const bool *)at);
    case FIELD_INTEGER: return node_make_integer(arena, *(const int64_t *)at);
    case FIELD_BYTES:
    case FIELD_MILLISECONDS: return node_make_integer(arena, (int64_t) * (const uint64_t *)at);
    case FIELD_SECONDS: return write_seconds(arena, *(const uint64_t *)at);
    case FIELD_ENUM: return write_name(arena, field, *(const int *)at);
    case FIELD_ENUM_SET: return write_enum_set(arena, field, *(const uint64_t *)at);
    case FIELD_STRING_LIST: return write_string_list(arena, at);
    case FIELD_STRING_MAP: return write_string_map(arena, at);
    case FIELD_OBJECT: return schema_write(arena, field->fields, at);
    case FIELD_OBJECT_LIST: return write_object_list(arena, field, at);
    case FIELD_CUSTOM:
    case FIELD_NOT_YET:
    case FIELD_IGNORED: break;
    }
    return NULL;
}

/* A number that can't have been given, for it is out of its bounds, nor made. */
static bool is_no_number(const struct field *field, const void *at)
{
    bool is_counted = field->type == FIELD_INTEGER || field->type == FIELD_BYTES || field->type == FIELD_MILLISECONDS ||
                      field->type == FIELD_SECONDS;
    return is_counted && !field->fallback && field->minimum > 0 && *(const uint64_t *)at == 0;
}

static bool is_empty_list(const struct field *field, const void *at)
{
    if (field->required || field->fallback || field->present) return false;
    switch (field->type) {
    case FIELD_STRING_LIST: return ((const struct slice_list *)at)->count == 0;
    case FIELD_STRING_MAP: return ((const struct pair_list *)at)->count == 0;
    case FIELD_OBJECT_LIST: return ((const struct object_list *)at)->count == 0;
    default: return false;
    }
}

static bool is_left_out(const struct field *field, const char *from)
{
    const void *at = from + field->into;
    if (field->type == FIELD_NOT_YET || field->type == FIELD_IGNORED) return true;
    if (field->present && !*(const bool *)(from + field->present)) return true;
    if (field->type == FIELD_STRING && slice_is_absent(*(const struct slice *)at)) return true;
    return is_no_number(field, at) || is_empty_list(field, at);
}

void schema_write_into(struct arena *arena, struct node *map, const struct field *fields, const void *from)
{
    struct node *last = NULL;
    for (const struct field *field = fields; field->name; field++) {
        const void *at = (const char *)from + field->into;
        if (is_left_out(field, from)) continue;
        PROMISE(field->write || field->type != FIELD_CUSTOM);
        struct node *value = field->write ? field->write(arena, at) : write_value(arena, field, at);
        if (value) node_append(map, &last, slice_from_cstring(field->name), value);
    }
}

struct node *schema_write(struct arena *arena, const struct field *fields, const void *from)
{
    struct node *map = node_make(arena, NODE_MAP);
    schema_write_into(arena, map, fields, from);
    return map;
}
