/* expr/strings.c: CEL's extension of strings: places in them (by code points), cutting, joining, quoting. */
#include "expr/private.h"

#define OUT_OF_RANGE "the place is beyond the text"

static bool is(const struct expression_value *value, enum expression_type type) { return value->type == type; }

static size_t code_points(struct slice text)
{
    size_t count = 0;
    uint32_t code_point;
    for (; text.length > 0; count++) text = slice_after(text, utf8_read(text, &code_point));
    return count;
}

/* The byte at which the code point of this number begins, the text's end included. SLICE_NOT_FOUND: beyond. */
static size_t byte_of(struct slice text, int64_t place)
{
    struct slice rest = text;
    uint32_t code_point;
    if (place < 0) return SLICE_NOT_FOUND;
    for (; place > 0; place--) {
        if (rest.length == 0) return SLICE_NOT_FOUND;
        rest = slice_after(rest, utf8_read(rest, &code_point));
    }
    return text.length - rest.length;
}

/* The first argument is a string and paid for. */
static bool begin(struct evaluation *evaluation, const struct expression_value *arguments)
{
    if (!is(arguments, EXPRESSION_STRING)) return evaluation_no_overload(evaluation);
    return evaluation_pay_bytes(evaluation, arguments->text.length);
}

static bool run_char_at(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    uint32_t code_point;
    if (!begin(evaluation, arguments)) return false;
    if (!is(&arguments[1], EXPRESSION_INT)) return evaluation_no_overload(evaluation);
    size_t at = byte_of(arguments->text, arguments[1].integer);
    if (at == SLICE_NOT_FOUND) return evaluation_fail(evaluation, OUT_OF_RANGE);
    struct slice rest = slice_after(arguments->text, at);
    *result = expression_string(slice_before(rest, rest.length ? utf8_read(rest, &code_point) : 0));
    return true;
}

static bool search_arguments(struct evaluation *evaluation, const struct term *term,
                             const struct expression_value *arguments)
{
    if (!begin(evaluation, arguments)) return false;
    if (!is(&arguments[1], EXPRESSION_STRING)) return evaluation_no_overload(evaluation);
    return term->count < 3 || is(&arguments[2], EXPRESSION_INT) || evaluation_no_overload(evaluation);
}

static bool run_index_of(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    if (!search_arguments(evaluation, term, arguments)) return false;
    int64_t from = term->count < 3 ? 0 : arguments[2].integer;
    size_t at = byte_of(arguments->text, from);
    if (at == SLICE_NOT_FOUND) return evaluation_fail(evaluation, OUT_OF_RANGE);
    struct slice rest = slice_after(arguments->text, at);
    size_t found = slice_find(rest, arguments[1].text);
    *result = expression_int(found == SLICE_NOT_FOUND ? -1 : from + (int64_t)code_points(slice_before(rest, found)));
    return true;
}

/* Backwards from the place, step by step: each compares, so each is paid for. */
static bool run_last_index_of(struct evaluation *evaluation, const struct term *term,
                              const struct expression_value *arguments, struct expression_value *result)
{
    struct slice text = arguments[0].text, wanted = arguments[1].text;
    if (!search_arguments(evaluation, term, arguments)) return false;
    size_t at = term->count < 3 ? text.length : byte_of(text, arguments[2].integer);
    if (at == SLICE_NOT_FOUND) return evaluation_fail(evaluation, OUT_OF_RANGE);
    *result = expression_int(-1);
    if (wanted.length > text.length) return true;
    if (at > text.length - wanted.length) at = text.length - wanted.length;
    for (size_t from = at + 1; from > 0; from--) {
        if (!evaluation_pay_bytes(evaluation, wanted.length + 8)) return false;
        if (!slice_starts_with(slice_after(text, from - 1), wanted)) continue;
        *result = expression_int((int64_t)code_points(slice_before(text, from - 1)));
        return true;
    }
    return true;
}

static bool change_case(struct evaluation *evaluation, const struct expression_value *arguments,
                        struct expression_value *result, char first, char last)
{
    if (!begin(evaluation, arguments)) return false;
    char *changed = evaluation_allocate(evaluation, arguments->text.length);
    if (!changed) return false;
    for (size_t i = 0; i < arguments->text.length; i++) {
        char byte = arguments->text.at[i];
        changed[i] = byte >= first && byte <= last ? (char)(byte ^ 0x20) : byte;
    }
    *result = expression_string(slice_of(changed, arguments->text.length));
    return true;
}

static bool run_lower(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return change_case(evaluation, arguments, result, 'A', 'Z');
}

static bool run_upper(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return change_case(evaluation, arguments, result, 'a', 'z');
}

static bool replace(struct evaluation *evaluation, const struct expression_value *arguments, int64_t times,
                    struct expression_value *result)
{
    struct builder builder = { .evaluation = evaluation };
    struct slice rest = arguments[0].text, old = arguments[1].text;
    while (times != 0) {
        size_t found = slice_find(rest, old);
        uint32_t code_point;
        if (found == SLICE_NOT_FOUND) break;
        if (!evaluation_pay(evaluation, 1)) return false;
        if (!builder_add(&builder, slice_before(rest, found)) || !builder_add(&builder, arguments[2].text))
            return false;
        rest = slice_after(rest, found + old.length);
        times -= times > 0;
        if (old.length > 0) continue; /* the empty text is before each code point, and at the end */
        if (rest.length == 0) break;
        size_t step = utf8_read(rest, &code_point);
        if (!builder_add(&builder, slice_before(rest, step))) return false;
        rest = slice_after(rest, step);
    }
    return builder_add(&builder, rest) && builder_finish(&builder, result);
}

static bool run_replace(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    if (!begin(evaluation, arguments)) return false;
    bool good = is(&arguments[1], EXPRESSION_STRING) && is(&arguments[2], EXPRESSION_STRING) &&
                (term->count < 4 || is(&arguments[3], EXPRESSION_INT));
    if (!good) return evaluation_no_overload(evaluation);
    return replace(evaluation, arguments, term->count < 4 ? -1 : arguments[3].integer, result);
}

/* How long the next piece is, and how much stands between it and the one after. */
static size_t next_piece(struct slice rest, struct slice separator, size_t *gap)
{
    uint32_t code_point;
    *gap = separator.length;
    if (separator.length > 0) return slice_find(rest, separator);
    size_t length = rest.length ? utf8_read(rest, &code_point) : 0;
    return length < rest.length ? length : SLICE_NOT_FOUND;
}

static bool split(struct evaluation *evaluation, struct slice text, struct slice separator, int64_t most,
                  struct expression_value *result)
{
    size_t count = 1, gap, length;
    for (struct slice rest = text; (length = next_piece(rest, separator, &gap)) != SLICE_NOT_FOUND; count++) {
        if (!evaluation_pay(evaluation, 1)) return false;
        rest = slice_after(rest, length + gap);
    }
    if (separator.length == 0 && text.length == 0) count = 0;
    if (most >= 0 && (uint64_t)most < count) count = (size_t)most;
    struct expression_value *items = evaluation_allocate(evaluation, count * sizeof *items);
    if (!items) return false;
    for (size_t i = 0; i < count; i++) {
        length = i + 1 == count ? text.length : next_piece(text, separator, &gap);
        items[i] = expression_string(slice_before(text, length));
        text = slice_after(text, i + 1 == count ? length : length + gap);
    }
    *result = expression_list(items, (uint32_t)count);
    return true;
}

static bool run_split(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    if (!search_arguments(evaluation, term, arguments)) return false;
    return split(evaluation, arguments[0].text, arguments[1].text, term->count < 3 ? -1 : arguments[2].integer, result);
}

static bool run_substring(struct evaluation *evaluation, const struct term *term,
                          const struct expression_value *arguments, struct expression_value *result)
{
    if (!begin(evaluation, arguments)) return false;
    bool has_end = term->count == 3;
    if (!is(&arguments[1], EXPRESSION_INT) || (has_end && !is(&arguments[2], EXPRESSION_INT))) {
        return evaluation_no_overload(evaluation);
    }
    struct slice text = arguments->text;
    size_t from = byte_of(text, arguments[1].integer);
    size_t to = has_end ? byte_of(text, arguments[2].integer) : text.length;
    if (from == SLICE_NOT_FOUND || to == SLICE_NOT_FOUND || to < from) return evaluation_fail(evaluation, OUT_OF_RANGE);
    *result = expression_string(slice_of(text.at + from, to - from));
    return true;
}

/* Unicode's White_Space. */
static bool is_white(uint32_t code_point)
{
    return (code_point >= 0x09 && code_point <= 0x0d) || code_point == 0x20 || code_point == 0x85 ||
           code_point == 0xa0 || code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200a) ||
           code_point == 0x2028 || code_point == 0x2029 || code_point == 0x202f || code_point == 0x205f ||
           code_point == 0x3000;
}

static bool run_trim(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    if (!begin(evaluation, arguments)) return false;
    struct slice text = arguments->text;
    size_t from = text.length, to = 0; /* of what is not white */
    for (size_t at = 0, length; at < text.length; at += length) {
        uint32_t code_point;
        length = utf8_read(slice_after(text, at), &code_point);
        if (is_white(code_point)) continue;
        if (from > at) from = at;
        to = at + length;
    }
    *result = expression_string(to > from ? slice_of(text.at + from, to - from) : SLICE(""));
    return true;
}

static bool run_reverse(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    if (!begin(evaluation, arguments)) return false;
    struct slice rest = arguments->text;
    char *reversed = evaluation_allocate(evaluation, rest.length);
    if (!reversed) return false;
    for (size_t at = rest.length; rest.length > 0;) {
        uint32_t code_point;
        size_t length = utf8_read(rest, &code_point);
        at -= length;
        memcpy(reversed + at, rest.at, length);
        rest = slice_after(rest, length);
    }
    *result = expression_string(slice_of(reversed, arguments->text.length));
    return true;
}

static bool run_join(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    struct builder builder = { .evaluation = evaluation };
    struct slice separator = term->count > 1 ? arguments[1].text : SLICE("");
    if (!is(arguments, EXPRESSION_LIST) || (term->count > 1 && !is(&arguments[1], EXPRESSION_STRING))) {
        return evaluation_no_overload(evaluation);
    }
    for (uint32_t i = 0; i < arguments->count; i++) {
        struct expression_value item;
        if (!evaluation_pay(evaluation, 1) || !evaluation_item(evaluation, arguments, i, &item)) return false;
        if (!is(&item, EXPRESSION_STRING)) return evaluation_no_overload(evaluation);
        if ((i && !builder_add(&builder, separator)) || !builder_add(&builder, item.text)) return false;
    }
    return builder_finish(&builder, result);
}

static bool run_quote(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    static const char escaped[] = "\a\b\f\n\r\t\v\\\"", names[] = "abfnrtv\\\"";
    struct builder builder = { .evaluation = evaluation };
    if (!begin(evaluation, arguments) || !builder_add_byte(&builder, '"')) return false;
    struct slice text = arguments->text;
    for (size_t at = 0, length; at < text.length; at += length) {
        uint32_t code_point;
        length = utf8_read(slice_after(text, at), &code_point);
        const char *escape = text.at[at] ? strchr(escaped, text.at[at]) : NULL;
        struct slice piece = slice_before(slice_after(text, at), length);
        char name[2] = { '\\', escape ? names[escape - escaped] : '\0' };
        if (escape) piece = slice_of(name, 2);
        if (length == 1 && code_point == 0xfffd) piece = SLICE("\xef\xbf\xbd"); /* what is no UTF-8 */
        if (!builder_add(&builder, piece)) return false;
    }
    return builder_add_byte(&builder, '"') && builder_finish(&builder, result);
}

const struct function functions_strings[] = {
    { "charAt", FUNCTION_RECEIVER, .overloads = "string, int: string", .run = run_char_at,
      .summary = "The character at this place, from 0; at the very end the empty text." },
    { "indexOf", FUNCTION_RECEIVER, .overloads = "string, string: int; string, string, int: int", .run = run_index_of,
      .summary = "Where the text is first, from a place on; -1: nowhere." },
    { "lastIndexOf", FUNCTION_RECEIVER, .overloads = "string, string: int; string, string, int: int",
      .run = run_last_index_of, .summary = "Where the text is last, at or before a place; -1: nowhere." },
    { "lowerAscii", FUNCTION_RECEIVER, .overloads = "string: string", .run = run_lower,
      .summary = "With ASCII's capital letters as small ones." },
    { "upperAscii", FUNCTION_RECEIVER, .overloads = "string: string", .run = run_upper,
      .summary = "With ASCII's small letters as capital ones." },
    { "replace", FUNCTION_RECEIVER, .overloads = "string, string, string: string; string, string, string, int: string",
      .run = run_replace, .summary = "With each occurrence replaced, or the first so many of them." },
    { "split", FUNCTION_RECEIVER, .overloads = "string, string: list(string); string, string, int: list(string)",
      .run = run_split, .summary = "The pieces between separators, at most so many." },
    { "substring", FUNCTION_RECEIVER, .overloads = "string, int: string; string, int, int: string",
      .run = run_substring, .summary = "From a place on, up to before another one." },
    { "trim", FUNCTION_RECEIVER, .overloads = "string: string", .run = run_trim,
      .summary = "Without white space at both ends." },
    { "reverse", FUNCTION_RECEIVER, .overloads = "string: string", .run = run_reverse,
      .summary = "The characters backwards." },
    { "join", FUNCTION_RECEIVER, .overloads = "list(string): string; list(string), string: string", .run = run_join,
      .summary = "All items, with a text between them." },
    { "format", FUNCTION_RECEIVER, .overloads = "string, list(dyn): string", .run = format_run,
      .summary = "With %s, %d, %f, %e, %x, %X, %o, %b replaced by the list's items." },
    { "strings.quote", FUNCTION_GLOBAL, .overloads = "string: string", .run = run_quote,
      .summary = "In quotes, with escapes." },
    { .name = NULL },
};
