/* expr/mathematics.c: CEL's extensions math and base64. */
#include "expr/private.h"

#include <math.h>

/* --- the greatest and the least --- */

static bool is_number(const struct expression_value *value)
{
    return value->type == EXPRESSION_INT || value->type == EXPRESSION_UINT || value->type == EXPRESSION_DOUBLE;
}

/* Of equal ones the first. */
static bool find_extreme(struct evaluation *evaluation, const struct expression_value *list, enum order better,
                         struct expression_value *result)
{
    if (list->type != EXPRESSION_LIST) {
        *result = *list;
        return is_number(list) || evaluation_no_overload(evaluation);
    }
    if (list->count == 0) return evaluation_fail(evaluation, "the list is empty");
    for (uint32_t i = 0; i < list->count; i++) {
        struct expression_value item;
        if (!evaluation_pay(evaluation, 1) || !evaluation_item(evaluation, list, i, &item)) return false;
        if (!is_number(&item)) return evaluation_no_overload(evaluation);
        if (i == 0 || values_order(&item, result) == better) *result = item;
    }
    return true;
}

static bool run_greatest(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    return find_extreme(evaluation, arguments, ORDER_GREATER, result);
}

static bool run_least(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return find_extreme(evaluation, arguments, ORDER_LESS, result);
}

/* --- rounding and kinds of doubles --- */

static bool round_with(struct evaluation *evaluation, const struct expression_value *value, double (*function)(double),
                       struct expression_value *result)
{
    if (value->type != EXPRESSION_DOUBLE) return evaluation_no_overload(evaluation);
    *result = expression_double(function(value->number));
    return true;
}

static bool run_ceil(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    return round_with(evaluation, arguments, ceil, result);
}

static bool run_floor(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return round_with(evaluation, arguments, floor, result);
}

static bool run_round(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return round_with(evaluation, arguments, round, result);
}

static bool run_trunc(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return round_with(evaluation, arguments, trunc, result);
}

static bool run_sqrt(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    if (!is_number(arguments)) return evaluation_no_overload(evaluation);
    double number = arguments->type == EXPRESSION_INT    ? (double)arguments->integer
                    : arguments->type == EXPRESSION_UINT ? (double)arguments->natural
                                                         : arguments->number;
    *result = expression_double(sqrt(number));
    return true;
}

static bool run_is_nan(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    *result = expression_bool(isnan(arguments->number));
    return arguments->type == EXPRESSION_DOUBLE || evaluation_no_overload(evaluation);
}

static bool run_is_infinite(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    *result = expression_bool(isinf(arguments->number));
    return arguments->type == EXPRESSION_DOUBLE || evaluation_no_overload(evaluation);
}

static bool run_is_finite(struct evaluation *evaluation, const struct term *term,
                          const struct expression_value *arguments, struct expression_value *result)
{
    *result = expression_bool(isfinite(arguments->number));
    return arguments->type == EXPRESSION_DOUBLE || evaluation_no_overload(evaluation);
}

/* --- signs --- */

static bool run_abs(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    *result = *arguments;
    if (arguments->type == EXPRESSION_UINT) return true;
    if (arguments->type == EXPRESSION_DOUBLE) {
        result->number = fabs(arguments->number);
        return true;
    }
    if (arguments->type != EXPRESSION_INT) return evaluation_no_overload(evaluation);
    if (arguments->integer == INT64_MIN) return evaluation_fail(evaluation, "the number is too large for its type");
    if (arguments->integer < 0) result->integer = -arguments->integer;
    return true;
}

static bool run_sign(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    *result = *arguments;
    switch (arguments->type) {
    case EXPRESSION_INT: result->integer = (arguments->integer > 0) - (arguments->integer < 0); return true;
    case EXPRESSION_UINT: result->natural = arguments->natural > 0; return true;
    case EXPRESSION_DOUBLE:
        if (!isnan(arguments->number)) result->number = (arguments->number > 0) - (arguments->number < 0);
        return true;
    default: return evaluation_no_overload(evaluation);
    }
}

/* --- bits --- */

static bool are_bits(struct evaluation *evaluation, const struct expression_value *arguments)
{
    bool good = arguments[0].type == arguments[1].type &&
                (arguments->type == EXPRESSION_INT || arguments->type == EXPRESSION_UINT);
    return good || evaluation_no_overload(evaluation);
}

static bool run_and(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    if (!are_bits(evaluation, arguments)) return false;
    *result = arguments[0];
    result->natural &= arguments[1].natural;
    return true;
}

static bool run_or(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                   struct expression_value *result)
{
    if (!are_bits(evaluation, arguments)) return false;
    *result = arguments[0];
    result->natural |= arguments[1].natural;
    return true;
}

static bool run_xor(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    if (!are_bits(evaluation, arguments)) return false;
    *result = arguments[0];
    result->natural ^= arguments[1].natural;
    return true;
}

static bool run_not(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    *result = arguments[0];
    result->natural = ~arguments->natural;
    return arguments->type == EXPRESSION_INT || arguments->type == EXPRESSION_UINT ||
           evaluation_no_overload(evaluation);
}

/* Bits move as those of a uint do: what comes in is 0, and beyond 63 places nothing is left. */
static bool shift(struct evaluation *evaluation, const struct expression_value *arguments, bool left,
                  struct expression_value *result)
{
    bool good = (arguments->type == EXPRESSION_INT || arguments->type == EXPRESSION_UINT) &&
                arguments[1].type == EXPRESSION_INT;
    int64_t places = arguments[1].integer;
    if (!good) return evaluation_no_overload(evaluation);
    if (places < 0) return evaluation_fail(evaluation, "bits can't be shifted by a negative number");
    *result = arguments[0];
    result->natural = places > 63 ? 0 : left ? arguments->natural << places : arguments->natural >> places;
    return true;
}

static bool run_shift_left(struct evaluation *evaluation, const struct term *term,
                           const struct expression_value *arguments, struct expression_value *result)
{
    return shift(evaluation, arguments, true, result);
}

static bool run_shift_right(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    return shift(evaluation, arguments, false, result);
}

/* --- base64 (RFC 4648 4) --- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool run_encode(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    struct slice bytes = arguments->text;
    if (arguments->type != EXPRESSION_BYTES) return evaluation_no_overload(evaluation);
    if (!evaluation_pay_bytes(evaluation, bytes.length)) return false;
    char *text = evaluation_allocate(evaluation, (bytes.length + 2) / 3 * 4);
    size_t length = 0;
    if (!text) return false;
    for (size_t i = 0; i < bytes.length; i += 3) {
        size_t left = bytes.length - i;
        uint32_t three = (uint32_t)(unsigned char)bytes.at[i] << 16;
        if (left > 1) three |= (uint32_t)(unsigned char)bytes.at[i + 1] << 8;
        if (left > 2) three |= (unsigned char)bytes.at[i + 2];
        text[length++] = alphabet[three >> 18];
        text[length++] = alphabet[three >> 12 & 63];
        text[length++] = left > 1 ? alphabet[three >> 6 & 63] : '=';
        text[length++] = left > 2 ? alphabet[three & 63] : '=';
    }
    *result = expression_string(slice_of(text, length));
    return true;
}

/* With its padding or without; nothing else may be missing, and no bit be left over. */
static bool decode(struct slice text, char *into, size_t *length)
{
    if (text.length % 4 == 0) {
        for (int i = 0; i < 2 && slice_ends_with(text, SLICE("=")); i++) text.length--;
    }
    uint32_t bits = 0, held = 0;
    *length = 0;
    for (size_t i = 0; i < text.length; i++) {
        const char *digit = text.at[i] ? strchr(alphabet, text.at[i]) : NULL;
        if (!digit) return false;
        bits = (bits << 6 | (uint32_t)(digit - alphabet)) & 0xffff;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        into[(*length)++] = (char)(unsigned char)(bits >> held);
    }
    return held < 6 && (bits & ((1u << held) - 1)) == 0;
}

static bool run_decode(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    if (!evaluation_pay_bytes(evaluation, arguments->text.length)) return false;
    char *bytes = evaluation_allocate(evaluation, arguments->text.length);
    size_t length;
    if (!bytes) return false;
    if (!decode(arguments->text, bytes, &length)) return evaluation_fail(evaluation, "the text is no base64");
    *result = expression_string(slice_of(bytes, length));
    result->type = EXPRESSION_BYTES;
    return true;
}

#define BITS "int, int: int; uint, uint: uint"
#define SHIFTS "int, int: int; uint, int: uint"

const struct function functions_mathematics[] = {
    { "math.greatest", FUNCTION_GLOBAL, .is_variadic = true, .overloads = "list(A): A", .run = run_greatest,
      .summary = "The greatest of the numbers, or of a list of them." },
    { "math.least", FUNCTION_GLOBAL, .is_variadic = true, .overloads = "list(A): A", .run = run_least,
      .summary = "The least of the numbers, or of a list of them." },
    { "math.ceil", FUNCTION_GLOBAL, .overloads = "double: double", .run = run_ceil, .summary = "Rounded up." },
    { "math.floor", FUNCTION_GLOBAL, .overloads = "double: double", .run = run_floor, .summary = "Rounded down." },
    { "math.round", FUNCTION_GLOBAL, .overloads = "double: double", .run = run_round,
      .summary = "Rounded, halves away from 0." },
    { "math.trunc", FUNCTION_GLOBAL, .overloads = "double: double", .run = run_trunc,
      .summary = "Without what stands behind the point." },
    { "math.sqrt", FUNCTION_GLOBAL, .overloads = "double: double; int: double; uint: double", .run = run_sqrt,
      .summary = "The square root." },
    { "math.abs", FUNCTION_GLOBAL, .overloads = "int: int; uint: uint; double: double", .run = run_abs,
      .summary = "Without its sign." },
    { "math.sign", FUNCTION_GLOBAL, .overloads = "int: int; uint: uint; double: double", .run = run_sign,
      .summary = "-1, 0 or 1." },
    { "math.isNaN", FUNCTION_GLOBAL, .overloads = "double: bool", .run = run_is_nan, .summary = "Is it no number?" },
    { "math.isInf", FUNCTION_GLOBAL, .overloads = "double: bool", .run = run_is_infinite,
      .summary = "Is it infinite?" },
    { "math.isFinite", FUNCTION_GLOBAL, .overloads = "double: bool", .run = run_is_finite,
      .summary = "Is it neither?" },
    { "math.bitAnd", FUNCTION_GLOBAL, .overloads = BITS, .run = run_and, .summary = "Bits that both have." },
    { "math.bitOr", FUNCTION_GLOBAL, .overloads = BITS, .run = run_or, .summary = "Bits that either has." },
    { "math.bitXor", FUNCTION_GLOBAL, .overloads = BITS, .run = run_xor, .summary = "Bits that one alone has." },
    { "math.bitNot", FUNCTION_GLOBAL, .overloads = "int: int; uint: uint", .run = run_not,
      .summary = "Bits that it has not." },
    { "math.bitShiftLeft", FUNCTION_GLOBAL, .overloads = SHIFTS, .run = run_shift_left,
      .summary = "Bits moved to the higher places." },
    { "math.bitShiftRight", FUNCTION_GLOBAL, .overloads = SHIFTS, .run = run_shift_right,
      .summary = "Bits moved to the lower places." },
    { "base64.encode", FUNCTION_GLOBAL, .overloads = "bytes: string", .run = run_encode, .summary = "As base64." },
    { "base64.decode", FUNCTION_GLOBAL, .overloads = "string: bytes", .run = run_decode,
      .summary = "From base64, padded or not." },
    { .name = NULL },
};
