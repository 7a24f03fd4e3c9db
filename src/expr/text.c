/* expr/text.c: what asks strings and lists. */
#include "expr/private.h"

static bool run_size(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    const struct expression_value *value = &arguments[0];
    int64_t size = 0;
    switch (value->type) {
    case EXPRESSION_STRING:
        if (!evaluation_pay_bytes(evaluation, value->text.length)) return false;
        for (struct slice rest = value->text; rest.length > 0; size++) {
            uint32_t code_point;
            rest = slice_after(rest, utf8_read(rest, &code_point));
        }
        break;
    case EXPRESSION_BYTES: size = (int64_t)value->text.length; break;
    case EXPRESSION_LIST: size = value->count; break;
    case EXPRESSION_MAP: size = value->map.kind->count(value->map.of); break;
    default: return evaluation_no_overload(evaluation);
    }
    *result = expression_int(size);
    return true;
}

static bool are_strings(struct evaluation *evaluation, const struct expression_value *arguments, size_t bytes)
{
    if (arguments[0].type != EXPRESSION_STRING || arguments[1].type != EXPRESSION_STRING) {
        return evaluation_no_overload(evaluation);
    }
    return evaluation_pay_bytes(evaluation, bytes);
}

static bool run_starts_with(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    if (!are_strings(evaluation, arguments, 0)) return false;
    *result = expression_bool(slice_starts_with(arguments[0].text, arguments[1].text));
    return true;
}

static bool run_ends_with(struct evaluation *evaluation, const struct term *term,
                          const struct expression_value *arguments, struct expression_value *result)
{
    if (!are_strings(evaluation, arguments, 0)) return false;
    *result = expression_bool(slice_ends_with(arguments[0].text, arguments[1].text));
    return true;
}

static bool run_contains(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    if (!are_strings(evaluation, arguments, arguments[0].text.length)) return false;
    *result = expression_bool(slice_find(arguments[0].text, arguments[1].text) != SLICE_NOT_FOUND);
    return true;
}

#define SIZES "string: int; bytes: int; list(A): int; map(A, B): int"

const struct function functions_text[] = {
    { "size", FUNCTION_GLOBAL, .overloads = SIZES, .run = run_size,
      .summary = "How many: characters (Unicode code points), bytes, items, entries." },
    { "size", FUNCTION_RECEIVER, .overloads = SIZES, .run = run_size,
      .summary = "How many: characters (Unicode code points), bytes, items, entries." },
    { "startsWith", FUNCTION_RECEIVER, .overloads = "string, string: bool", .run = run_starts_with,
      .summary = "Does the text begin so?" },
    { "endsWith", FUNCTION_RECEIVER, .overloads = "string, string: bool", .run = run_ends_with,
      .summary = "Does the text end so?" },
    { "contains", FUNCTION_RECEIVER, .overloads = "string, string: bool", .run = run_contains,
      .summary = "Is it somewhere in the text?" },
    { "matches", FUNCTION_RECEIVER, .overloads = "string, string: bool", .run = regex_run,
      .summary = "Does the regular expression match somewhere in the text?" },
    { "matches", FUNCTION_GLOBAL, .overloads = "string, string: bool", .run = regex_run,
      .summary = "Does the regular expression match somewhere in the text?" },
    { .name = NULL },
};
