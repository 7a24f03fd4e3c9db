/* expr/conversions.c: int(), string() and their kin. What has no exact place in the wanted type is an error, never cut off; but a double
 * loses its fraction on the way to a whole number. */
#include "expr/private.h"

#include "json/writer.h"

#include <errno.h>
#include <math.h>

#define RANGE "the value is out of the type's range"

static bool run_int(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    const struct expression_value *value = &arguments[0];
    *result = expression_int(value->integer);
    switch (value->type) {
    case EXPRESSION_INT:
    case EXPRESSION_TIMESTAMP: return true;
    case EXPRESSION_UINT: return value->natural <= INT64_MAX || evaluation_fail(evaluation, RANGE);
    case EXPRESSION_DOUBLE:
        if (!(value->number > -0x1p63 && value->number < 0x1p63)) return evaluation_fail(evaluation, RANGE);
        *result = expression_int((int64_t)value->number);
        return true;
    case EXPRESSION_STRING: {
        struct slice text = value->text;
        if (slice_starts_with(text, SLICE("+"))) text = slice_after(text, 1);
        if (text.length < value->text.length && slice_starts_with(text, SLICE("-"))) text = SLICE("");
        return slice_parse_int64(text, &result->integer) || evaluation_fail(evaluation, "the text is no int");
    }
    default: return evaluation_no_overload(evaluation);
    }
}

static bool run_uint(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    const struct expression_value *value = &arguments[0];
    *result = expression_uint(value->natural);
    switch (value->type) {
    case EXPRESSION_UINT: return true;
    case EXPRESSION_INT: return value->integer >= 0 || evaluation_fail(evaluation, RANGE);
    case EXPRESSION_DOUBLE:
        if (!(value->number >= 0 && value->number < 0x1p64)) return evaluation_fail(evaluation, RANGE);
        *result = expression_uint((uint64_t)value->number);
        return true;
    case EXPRESSION_STRING:
        return slice_parse_uint64(value->text, &result->natural) || evaluation_fail(evaluation, "the text is no uint");
    default: return evaluation_no_overload(evaluation);
    }
}

/* Decimal, with an exponent; "NaN", "Inf", "Infinity" in any case. */
static bool parse_double(struct slice text, double *number)
{
    char buffer[400];
    if (text.length == 0 || text.length >= sizeof buffer) return false;
    struct slice word = strchr("+-", text.at[0]) && text.at[0] ? slice_after(text, 1) : text;
    bool is_word = slice_equal_ignore_case(word, SLICE("nan")) || slice_equal_ignore_case(word, SLICE("inf")) ||
                   slice_equal_ignore_case(word, SLICE("infinity"));
    for (size_t i = 0; i < text.length && !is_word; i++) {
        if (!text.at[i] || !strchr("0123456789+-.eE", text.at[i])) return false;
    }
    memcpy(buffer, text.at, text.length);
    buffer[text.length] = '\0';
    char *end;
    *number = strtod(buffer, &end);
    return end == buffer + text.length && (is_word || isfinite(*number));
}

static bool run_double(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    const struct expression_value *value = &arguments[0];
    *result = expression_double(value->number);
    switch (value->type) {
    case EXPRESSION_DOUBLE: return true;
    case EXPRESSION_INT: *result = expression_double((double)value->integer); return true;
    case EXPRESSION_UINT: *result = expression_double((double)value->natural); return true;
    case EXPRESSION_STRING:
        return parse_double(value->text, &result->number) || evaluation_fail(evaluation, "the text is no double");
    default: return evaluation_no_overload(evaluation);
    }
}

static bool run_string(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    struct slice text;
    if (arguments->type == EXPRESSION_NULL) return evaluation_no_overload(evaluation);
    if (arguments->type == EXPRESSION_BYTES) {
        if (!evaluation_pay_bytes(evaluation, arguments->text.length)) return false;
        if (!json_is_utf8(arguments->text)) return evaluation_fail(evaluation, "the bytes are not valid UTF-8");
    }
    switch (expression_value_text(arguments, evaluation->arena, &text)) {
    case EXPRESSION_FOUND: *result = expression_string(text); return true;
    case EXPRESSION_NO_MEMORY: return evaluation_out_of_memory(evaluation);
    default: return evaluation_no_overload(evaluation);
    }
}

static bool run_bytes(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    if (arguments->type != EXPRESSION_STRING && arguments->type != EXPRESSION_BYTES) {
        return evaluation_no_overload(evaluation);
    }
    *result = *arguments;
    result->type = EXPRESSION_BYTES;
    return true;
}

static bool run_bool(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    static const char *const words[2][5] = { { "0", "f", "false", "FALSE", "False" },
                                             { "1", "t", "true", "TRUE", "True" } };
    *result = *arguments;
    if (arguments->type == EXPRESSION_BOOL) return true;
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    for (size_t i = 0; i < 10; i++) {
        if (!slice_equal(arguments->text, slice_from_cstring(words[i / 5][i % 5]))) continue;
        *result = expression_bool(i >= 5);
        return true;
    }
    return evaluation_fail(evaluation, "the text is no bool");
}

static bool run_timestamp(struct evaluation *evaluation, const struct term *term,
                          const struct expression_value *arguments, struct expression_value *result)
{
    *result = *arguments;
    switch (arguments->type) {
    case EXPRESSION_TIMESTAMP: return true;
    case EXPRESSION_INT:
        *result = (struct expression_value){ .type = EXPRESSION_TIMESTAMP, .integer = arguments->integer };
        return timestamp_in_range(result->integer) || evaluation_fail(evaluation, "the timestamp is out of range");
    case EXPRESSION_STRING:
        return timestamp_parse(arguments->text, result) ||
               evaluation_fail(evaluation, "the text is no timestamp (\"2026-01-31T12:00:00Z\")");
    default: return evaluation_no_overload(evaluation);
    }
}

static bool run_duration(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    *result = *arguments;
    if (arguments->type == EXPRESSION_DURATION) return true;
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    *result = (struct expression_value){ .type = EXPRESSION_DURATION };
    return duration_parse(arguments->text, &result->integer) ||
           evaluation_fail(evaluation, "the text is no duration (\"1h30m\", \"2.5s\")");
}

static bool run_type(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    const char *name = expression_type_name((enum expression_type)arguments->type);
    *result = (struct expression_value){ .type = EXPRESSION_TYPE, .text = slice_from_cstring(name) };
    return true;
}

static bool run_dyn(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    *result = *arguments;
    return true;
}

const struct function functions_conversions[] = {
    { "int", FUNCTION_GLOBAL, .overloads = "int: int; uint: int; double: int; string: int; timestamp: int",
      .run = run_int, .summary = "A whole number; of a timestamp its seconds since 1970." },
    { "uint", FUNCTION_GLOBAL, .overloads = "uint: uint; int: uint; double: uint; string: uint", .run = run_uint,
      .summary = "A whole number that is not negative." },
    { "double", FUNCTION_GLOBAL, .overloads = "double: double; int: double; uint: double; string: double",
      .run = run_double, .summary = "A floating-point number." },
    { "string", FUNCTION_GLOBAL,
      .overloads = "string: string; bool: string; int: string; uint: string; double: string; bytes: string; "
                   "timestamp: string; duration: string; net.IP: string; net.CIDR: string",
      .run = run_string, .summary = "As text." },
    { "bytes", FUNCTION_GLOBAL, .overloads = "bytes: bytes; string: bytes", .run = run_bytes,
      .summary = "The bytes of the text's UTF-8." },
    { "bool", FUNCTION_GLOBAL, .overloads = "bool: bool; string: bool", .run = run_bool,
      .summary = "True or false: 1, t, true, 0, f, false." },
    { "timestamp", FUNCTION_GLOBAL, .overloads = "timestamp: timestamp; string: timestamp; int: timestamp",
      .run = run_timestamp, .summary = "A moment, of RFC 3339's form or of seconds since 1970." },
    { "duration", FUNCTION_GLOBAL, .overloads = "duration: duration; string: duration", .run = run_duration,
      .summary = "A span of time, as 1h30m or 2.5s." },
    { "type", FUNCTION_GLOBAL, .overloads = "A: type(A)", .run = run_type, .summary = "The value's type." },
    { "dyn", FUNCTION_GLOBAL, .overloads = "A: dyn", .run = run_dyn,
      .summary = "The value itself, its type to be judged when it runs." },
    { .name = NULL },
};
