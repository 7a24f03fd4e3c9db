/* expr/format.c: "%s is %d".format([a, b]). */
#include "expr/private.h"

#include <math.h>

#define PRECISION_MAX 100
#define TEXT_DEPTH_MAX 64 /* of lists and maps in each other that become text */

static bool add_text(struct builder *, const struct expression_value *, unsigned depth);

static bool add_list(struct builder *builder, const struct expression_value *list, unsigned depth)
{
    if (!builder_add_byte(builder, '[')) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        struct expression_value item;
        if (i && !builder_add(builder, SLICE(", "))) return false;
        if (!evaluation_pay(builder->evaluation, 1) || !evaluation_item(builder->evaluation, list, i, &item))
            return false;
        if (!add_text(builder, &item, depth + 1)) return false;
    }
    return builder_add_byte(builder, ']');
}

/* An entry whose key is text already. */
struct entry {
    struct slice key;
    struct expression_value value;
};

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

/* Entries come in the order of their keys' texts, so that the same map is always the same text. */
static bool add_map(struct builder *builder, const struct expression_value *map, unsigned depth)
{
    struct evaluation *evaluation = builder->evaluation;
    uint32_t capacity = map->map.kind->count(map->map.of), count = 0, position = 0;
    if (!evaluation_pay(evaluation, 4 * (uint64_t)capacity)) return false;
    struct entry *entries = evaluation_allocate(evaluation, capacity * sizeof *entries);
    if (!entries) return false;
    while (count < capacity) {
        struct expression_value key;
        struct entry *entry = &entries[count];
        enum expression_found found = map->map.kind->next(map->map.of, &position, evaluation->arena, &key,
                                                          &entry->value);
        if (found == EXPRESSION_FOUND) found = expression_value_text(&key, evaluation->arena, &entry->key);
        if (found == EXPRESSION_NO_MEMORY) return evaluation_out_of_memory(evaluation);
        if (found == EXPRESSION_NOT_THERE) break;
        count++;
    }
    qsort(entries, count, sizeof *entries, by_key);
    if (!builder_add_byte(builder, '{')) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (i && !builder_add(builder, SLICE(", "))) return false;
        if (!builder_add(builder, entries[i].key) || !builder_add(builder, SLICE(": "))) return false;
        if (!add_text(builder, &entries[i].value, depth + 1)) return false;
    }
    return builder_add_byte(builder, '}');
}

static bool add_text(struct builder *builder, const struct expression_value *value, unsigned depth)
{
    struct slice text;
    if (depth > TEXT_DEPTH_MAX)
        return evaluation_meets_bound(builder->evaluation, "lists and maps in each other too deep for a text");
    switch (value->type) {
    case EXPRESSION_LIST: return add_list(builder, value, depth);
    case EXPRESSION_MAP: return add_map(builder, value, depth);
    case EXPRESSION_NULL: return builder_add(builder, SLICE("null"));
    case EXPRESSION_TYPE: return builder_add(builder, value->text);
    default: break;
    }
    switch (expression_value_text(value, builder->evaluation->arena, &text)) {
    case EXPRESSION_FOUND: return builder_add(builder, text);
    case EXPRESSION_NO_MEMORY: return evaluation_out_of_memory(builder->evaluation);
    default: return evaluation_fail(builder->evaluation, "the value has no text");
    }
}

static bool add_formatted(struct builder *builder, const char *format, int precision, double number)
{
    char text[512]; /* "%.100f" of the largest double: 309 digits and these */
    if (isnan(number)) return builder_add(builder, SLICE("NaN"));
    if (isinf(number)) return builder_add(builder, number < 0 ? SLICE("-Infinity") : SLICE("Infinity"));
    int length = snprintf(text, sizeof text, format, precision, number);
    return builder_add(builder, slice_of(text, (size_t)length));
}

static bool add_double(struct builder *builder, const struct expression_value *value, int precision, char clause)
{
    if (value->type != EXPRESSION_DOUBLE) {
        return evaluation_fail(builder->evaluation, "%f and %e want a double");
    }
    return add_formatted(builder, clause == 'f' ? "%.*f" : "%.*e", precision < 0 ? 6 : precision, value->number);
}

static bool add_digits(struct builder *builder, uint64_t magnitude, bool is_negative, unsigned base, bool is_upper)
{
    static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    char digits[66];
    size_t at = sizeof digits;
    do {
        digits[--at] = (is_upper ? upper : lower)[magnitude % base];
        magnitude /= base;
    } while (magnitude > 0);
    if (is_negative) digits[--at] = '-';
    return builder_add(builder, slice_of(digits + at, sizeof digits - at));
}

static bool add_hexadecimal(struct builder *builder, struct slice bytes, bool is_upper)
{
    for (size_t i = 0; i < bytes.length; i++) {
        unsigned char byte = (unsigned char)bytes.at[i];
        if (!evaluation_pay(builder->evaluation, 1)) return false;
        if (!add_digits(builder, byte >> 4, false, 16, is_upper) ||
            !add_digits(builder, byte & 15, false, 16, is_upper)) {
            return false;
        }
    }
    return true;
}

static bool add_number(struct builder *builder, const struct expression_value *value, char clause)
{
    unsigned base = clause == 'd' ? 10 : clause == 'b' ? 2 : clause == 'o' ? 8 : 16;
    bool is_text = value->type == EXPRESSION_STRING || value->type == EXPRESSION_BYTES;
    if (base == 16 && is_text) return add_hexadecimal(builder, value->text, clause == 'X');
    if (value->type == EXPRESSION_BOOL && clause == 'b') return builder_add_byte(builder, value->boolean ? '1' : '0');
    if (value->type == EXPRESSION_UINT) return add_digits(builder, value->natural, false, base, clause == 'X');
    if (value->type == EXPRESSION_DOUBLE && clause == 'd' && !isfinite(value->number)) {
        return add_formatted(builder, "%.*f", 0, value->number);
    }
    if (value->type != EXPRESSION_INT) {
        return evaluation_fail(builder->evaluation, "the value can't be formatted like that");
    }
    uint64_t magnitude = value->integer < 0 ? 0 - (uint64_t)value->integer : (uint64_t)value->integer;
    return add_digits(builder, magnitude, value->integer < 0, base, clause == 'X');
}

/* ".3" behind a "%". -1: none is said. */
static bool take_precision(struct slice *rest, int *precision)
{
    *precision = -1;
    if (!slice_starts_with(*rest, SLICE("."))) return true;
    *rest = slice_after(*rest, 1);
    while (rest->length > 0 && rest->at[0] >= '0' && rest->at[0] <= '9') {
        *precision = (*precision < 0 ? 0 : *precision) * 10 + rest->at[0] - '0';
        *rest = slice_after(*rest, 1);
        if (*precision > PRECISION_MAX) return false;
    }
    return *precision >= 0;
}

static bool add_clause(struct builder *builder, struct slice *rest, const struct expression_value *list, uint32_t *used)
{
    struct evaluation *evaluation = builder->evaluation;
    struct expression_value item;
    int precision;
    if (!take_precision(rest, &precision) || rest->length == 0) {
        return evaluation_fail(evaluation, "a \"%\" begins no format");
    }
    char clause = rest->at[0];
    *rest = slice_after(*rest, 1);
    if (!clause || !strchr("sdfexXob", clause)) return evaluation_fail(evaluation, "a \"%\" begins no format");
    if (*used >= list->count) return evaluation_fail(evaluation, "the list has too few items for the format");
    if (!evaluation_pay(evaluation, 1) || !evaluation_item(evaluation, list, (*used)++, &item)) return false;
    if (clause == 's') return add_text(builder, &item, 0);
    return clause == 'f' || clause == 'e' ? add_double(builder, &item, precision, clause)
                                          : add_number(builder, &item, clause);
}

bool format_run(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                struct expression_value *result)
{
    struct builder builder = { .evaluation = evaluation };
    if (arguments[0].type != EXPRESSION_STRING || arguments[1].type != EXPRESSION_LIST) {
        return evaluation_no_overload(evaluation);
    }
    struct slice rest = arguments[0].text;
    uint32_t used = 0;
    while (rest.length > 0) {
        size_t percent = slice_find_byte(rest, '%');
        if (!builder_add(&builder, slice_before(rest, percent))) return false;
        if (percent == SLICE_NOT_FOUND) break;
        rest = slice_after(rest, percent + 1);
        if (slice_starts_with(rest, SLICE("%"))) {
            if (!builder_add_byte(&builder, '%')) return false;
            rest = slice_after(rest, 1);
        } else if (!add_clause(&builder, &rest, &arguments[1], &used)) {
            return false;
        }
    }
    return builder_finish(&builder, result);
}
