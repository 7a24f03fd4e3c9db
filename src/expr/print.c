/* expr/print.c: values as an expression would write them, for people. */
#include "expr/value.h"

static void print_text(FILE *to, struct slice text, bool is_bytes)
{
    fputs(is_bytes ? "b\"" : "\"", to);
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if (byte == '"' || byte == '\\') {
            fprintf(to, "\\%c", byte);
        } else if (byte == '\n') {
            fputs("\\n", to);
        } else if (byte < ' ' || byte == 0x7f || (is_bytes && byte > 0x7f)) {
            fprintf(to, "\\x%02x", byte);
        } else {
            putc(byte, to);
        }
    }
    putc('"', to);
}

static void print_list(FILE *to, const struct expression_value *list, struct arena *arena)
{
    struct expression_value item;
    putc('[', to);
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->list.kind->item(list->list.of, i, arena, &item) != EXPRESSION_FOUND) break;
        if (i) fputs(", ", to);
        expression_value_print(to, &item, arena);
    }
    putc(']', to);
}

static void print_map(FILE *to, const struct expression_value *map, struct arena *arena)
{
    struct expression_value key, value;
    const char *before = "";
    uint32_t position = 0;
    putc('{', to);
    while (map->map.kind->next(map->map.of, &position, arena, &key, &value) == EXPRESSION_FOUND) {
        fputs(before, to);
        expression_value_print(to, &key, arena);
        fputs(": ", to);
        expression_value_print(to, &value, arena);
        before = ", ";
    }
    putc('}', to);
}

/* The function that makes such a value of its text. */
static const char *maker_of(const struct expression_value *value)
{
    switch (value->type) {
    case EXPRESSION_TIMESTAMP: return "timestamp";
    case EXPRESSION_DURATION: return "duration";
    case EXPRESSION_IP: return "ip";
    case EXPRESSION_CIDR: return "cidr";
    default: return NULL;
    }
}

void expression_value_print(FILE *to, const struct expression_value *value, struct arena *arena)
{
    struct slice text = SLICE("");
    switch (value->type) {
    case EXPRESSION_NULL: fputs("null", to); return;
    case EXPRESSION_STRING:
    case EXPRESSION_BYTES: print_text(to, value->text, value->type == EXPRESSION_BYTES); return;
    case EXPRESSION_TYPE: fprintf(to, "%.*s", SLICE_PRINT(value->text)); return;
    case EXPRESSION_OPTIONAL:
        fputs(value->held ? "optional.of(" : "optional.none(", to);
        if (value->held) expression_value_print(to, value->held, arena);
        putc(')', to);
        return;
    case EXPRESSION_LIST: print_list(to, value, arena); return;
    case EXPRESSION_MAP: print_map(to, value, arena); return;
    default: break;
    }
    if (expression_value_text(value, arena, &text) != EXPRESSION_FOUND) return;
    const char *maker = maker_of(value);
    if (maker) fprintf(to, "%s(\"", maker);
    fprintf(to, "%.*s", SLICE_PRINT(text));
    if (maker) fputs("\")", to);
    if (value->type == EXPRESSION_UINT) putc('u', to);
    bool looks_whole = slice_find_byte(text, '.') == SLICE_NOT_FOUND && slice_find_byte(text, 'e') == SLICE_NOT_FOUND;
    if (value->type == EXPRESSION_DOUBLE && looks_whole && text.at[text.length - 1] <= '9') fputs(".0", to);
}
