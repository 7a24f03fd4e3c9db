/* expr/functions.c: functions by name, and the operators. A function decides by its arguments' types when it runs; its row says which of
 * them the checker lets pass. */
#include "expr/private.h"

#include <math.h>

static const struct function *const tables[] = { functions_operators, functions_conversions, functions_text,
                                                 functions_time,      functions_strings,     functions_mathematics,
                                                 functions_optionals, functions_network };

bool expression_function_at(size_t index, struct expression_function_entry *entry)
{
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        for (const struct function *row = tables[i]; row->name; row++) {
            if (index-- > 0) continue;
            *entry = (struct expression_function_entry){ .name = row->name,
                                                         .overloads = row->overloads,
                                                         .summary = row->summary,
                                                         .is_operator = row->style == FUNCTION_OPERATOR,
                                                         .is_receiver = row->style == FUNCTION_RECEIVER };
            return true;
        }
    }
    return false;
}

const struct function *function_find(struct slice name, enum function_style style, bool *other_style_exists)
{
    if (other_style_exists) *other_style_exists = false;
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        for (const struct function *row = tables[i]; row->name; row++) {
            if (!slice_equal(name, slice_from_cstring(row->name))) continue;
            if (row->style == style) return row;
            if (other_style_exists && row->style != FUNCTION_OPERATOR) *other_style_exists = true;
        }
    }
    return NULL;
}

/* --- arithmetic --- */

#define OVERFLOW "the number is too large for its type"

static bool both(const struct expression_value *arguments, enum expression_type type)
{
    return arguments[0].type == type && arguments[1].type == type;
}

static bool give_int(struct evaluation *evaluation, struct expression_value *result, bool overflow, int64_t value)
{
    *result = expression_int(value);
    return !overflow || evaluation_fail(evaluation, OVERFLOW);
}

static bool give_uint(struct evaluation *evaluation, struct expression_value *result, bool overflow, uint64_t value)
{
    *result = expression_uint(value);
    return !overflow || evaluation_fail(evaluation, OVERFLOW);
}

static bool give_duration(struct evaluation *evaluation, struct expression_value *result, bool overflow, int64_t value)
{
    *result = (struct expression_value){ .type = EXPRESSION_DURATION, .integer = value };
    return !overflow || evaluation_fail(evaluation, "the duration is out of range");
}

#define BILLION 1000000000

/* `nanoseconds` is a duration, so that sums of seconds stay far from the type's ends. */
static bool give_timestamp(struct evaluation *evaluation, struct expression_value *result, int64_t seconds,
                           int64_t nanoseconds)
{
    seconds += nanoseconds / BILLION;
    nanoseconds %= BILLION;
    if (nanoseconds < 0) {
        nanoseconds += BILLION;
        seconds--;
    }
    *result = (struct expression_value){ .type = EXPRESSION_TIMESTAMP,
                                         .nanoseconds = (int32_t)nanoseconds,
                                         .integer = seconds };
    return timestamp_in_range(seconds) || evaluation_fail(evaluation, "the timestamp is out of range");
}

static bool move_timestamp(struct evaluation *evaluation, const struct expression_value *timestamp, int64_t seconds,
                           int64_t nanoseconds, struct expression_value *result)
{
    return give_timestamp(evaluation, result, timestamp->integer + seconds, timestamp->nanoseconds + nanoseconds);
}

static bool join_texts(struct evaluation *evaluation, const struct expression_value *arguments,
                       struct expression_value *result)
{
    struct slice left = arguments[0].text, right = arguments[1].text;
    *result = arguments[left.length ? 0 : 1];
    if (!left.length || !right.length) return true;
    if (!evaluation_pay_bytes(evaluation, left.length + right.length)) return false;
    char *joined = evaluation_allocate(evaluation, left.length + right.length);
    if (!joined) return false;
    memcpy(joined, left.at, left.length);
    memcpy(joined + left.length, right.at, right.length);
    result->text = slice_of(joined, left.length + right.length);
    return true;
}

static bool join_lists(struct evaluation *evaluation, const struct expression_value *arguments,
                       struct expression_value *result)
{
    uint64_t count = (uint64_t)arguments[0].count + arguments[1].count;
    *result = arguments[arguments[0].count ? 0 : 1];
    if (!arguments[0].count || !arguments[1].count) return true;
    if (!evaluation_pay(evaluation, count)) return false;
    struct expression_value *items = evaluation_allocate(evaluation, count * sizeof *items);
    if (!items) return false;
    size_t filled = 0;
    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < arguments[side].count; i++) {
            if (!evaluation_item(evaluation, &arguments[side], i, &items[filled++])) return false;
        }
    }
    *result = expression_list(items, (uint32_t)count);
    return true;
}

static bool add_times(struct evaluation *evaluation, const struct expression_value *a, const struct expression_value *b,
                      struct expression_value *result)
{
    if (a->type == EXPRESSION_DURATION && b->type == EXPRESSION_TIMESTAMP) return add_times(evaluation, b, a, result);
    if (b->type != EXPRESSION_DURATION) return evaluation_no_overload(evaluation);
    if (a->type == EXPRESSION_TIMESTAMP) {
        return move_timestamp(evaluation, a, b->integer / BILLION, b->integer % BILLION, result);
    }
    if (a->type != EXPRESSION_DURATION) return evaluation_no_overload(evaluation);
    int64_t sum;
    bool overflow = __builtin_add_overflow(a->integer, b->integer, &sum);
    return give_duration(evaluation, result, overflow, sum);
}

static bool run_add(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    const struct expression_value *a = &arguments[0], *b = &arguments[1];
    int64_t integer;
    uint64_t natural;
    if (both(arguments, EXPRESSION_INT)) {
        bool overflow = __builtin_add_overflow(a->integer, b->integer, &integer);
        return give_int(evaluation, result, overflow, integer);
    }
    if (both(arguments, EXPRESSION_UINT)) {
        bool overflow = __builtin_add_overflow(a->natural, b->natural, &natural);
        return give_uint(evaluation, result, overflow, natural);
    }
    if (both(arguments, EXPRESSION_DOUBLE)) {
        *result = expression_double(a->number + b->number);
        return true;
    }
    if (both(arguments, EXPRESSION_STRING) || both(arguments, EXPRESSION_BYTES)) {
        return join_texts(evaluation, arguments, result);
    }
    if (both(arguments, EXPRESSION_LIST)) return join_lists(evaluation, arguments, result);
    return add_times(evaluation, a, b, result);
}

static bool subtract_times(struct evaluation *evaluation, const struct expression_value *a,
                           const struct expression_value *b, struct expression_value *result)
{
    int64_t difference;
    if (a->type == EXPRESSION_TIMESTAMP && b->type == EXPRESSION_TIMESTAMP) {
        __int128 exact = (__int128)(a->integer - b->integer) * BILLION + (a->nanoseconds - b->nanoseconds);
        difference = (int64_t)exact;
        return give_duration(evaluation, result, difference != exact, difference);
    }
    if (b->type != EXPRESSION_DURATION) return evaluation_no_overload(evaluation);
    if (a->type == EXPRESSION_TIMESTAMP) {
        return move_timestamp(evaluation, a, -(b->integer / BILLION), -(b->integer % BILLION), result);
    }
    if (a->type != EXPRESSION_DURATION) return evaluation_no_overload(evaluation);
    bool overflow = __builtin_sub_overflow(a->integer, b->integer, &difference);
    return give_duration(evaluation, result, overflow, difference);
}

static bool run_subtract(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    const struct expression_value *a = &arguments[0], *b = &arguments[1];
    int64_t integer;
    uint64_t natural;
    if (both(arguments, EXPRESSION_INT)) {
        bool overflow = __builtin_sub_overflow(a->integer, b->integer, &integer);
        return give_int(evaluation, result, overflow, integer);
    }
    if (both(arguments, EXPRESSION_UINT)) {
        bool overflow = __builtin_sub_overflow(a->natural, b->natural, &natural);
        return give_uint(evaluation, result, overflow, natural);
    }
    if (both(arguments, EXPRESSION_DOUBLE)) {
        *result = expression_double(a->number - b->number);
        return true;
    }
    return subtract_times(evaluation, a, b, result);
}

static bool run_multiply(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    const struct expression_value *a = &arguments[0], *b = &arguments[1];
    int64_t integer;
    uint64_t natural;
    if (both(arguments, EXPRESSION_INT)) {
        bool overflow = __builtin_mul_overflow(a->integer, b->integer, &integer);
        return give_int(evaluation, result, overflow, integer);
    }
    if (both(arguments, EXPRESSION_UINT)) {
        bool overflow = __builtin_mul_overflow(a->natural, b->natural, &natural);
        return give_uint(evaluation, result, overflow, natural);
    }
    if (!both(arguments, EXPRESSION_DOUBLE)) return evaluation_no_overload(evaluation);
    *result = expression_double(a->number * b->number);
    return true;
}

#define BY_ZERO "division by zero"

/* By zero is infinite or no number at all (IEEE 754); said outright, since C leaves it open. */
static double divide(double a, double b)
{
    if (b != 0) return a / b;
    if (isnan(a) || isnan(b) || a == 0) return NAN;
    return signbit(a) == signbit(b) ? INFINITY : -INFINITY;
}

static bool run_divide(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    const struct expression_value *a = &arguments[0], *b = &arguments[1];
    if (both(arguments, EXPRESSION_INT)) {
        if (b->integer == 0) return evaluation_fail(evaluation, BY_ZERO);
        bool overflow = a->integer == INT64_MIN && b->integer == -1;
        return give_int(evaluation, result, overflow, overflow ? 0 : a->integer / b->integer);
    }
    if (both(arguments, EXPRESSION_UINT)) {
        if (b->natural == 0) return evaluation_fail(evaluation, BY_ZERO);
        return give_uint(evaluation, result, false, a->natural / b->natural);
    }
    if (!both(arguments, EXPRESSION_DOUBLE)) return evaluation_no_overload(evaluation);
    *result = expression_double(divide(a->number, b->number));
    return true;
}

static bool run_modulo(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    const struct expression_value *a = &arguments[0], *b = &arguments[1];
    if (both(arguments, EXPRESSION_INT)) {
        if (b->integer == 0) return evaluation_fail(evaluation, BY_ZERO);
        bool overflow = a->integer == INT64_MIN && b->integer == -1;
        return give_int(evaluation, result, overflow, overflow ? 0 : a->integer % b->integer);
    }
    if (!both(arguments, EXPRESSION_UINT)) return evaluation_no_overload(evaluation);
    if (b->natural == 0) return evaluation_fail(evaluation, BY_ZERO);
    return give_uint(evaluation, result, false, a->natural % b->natural);
}

static bool run_negate(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    int64_t integer;
    if (arguments->type == EXPRESSION_INT) {
        bool overflow = __builtin_sub_overflow((int64_t)0, arguments->integer, &integer);
        return give_int(evaluation, result, overflow, integer);
    }
    if (arguments->type != EXPRESSION_DOUBLE) return evaluation_no_overload(evaluation);
    *result = expression_double(-arguments->number);
    return true;
}

static bool run_not(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                    struct expression_value *result)
{
    if (arguments->type != EXPRESSION_BOOL) return evaluation_no_overload(evaluation);
    *result = expression_bool(!arguments->boolean);
    return true;
}

/* --- comparisons --- */

static bool order_of(struct evaluation *evaluation, const struct expression_value *arguments, enum order *order)
{
    *order = values_order(&arguments[0], &arguments[1]);
    return *order != ORDER_WRONG_TYPES || evaluation_no_overload(evaluation);
}

static bool run_less(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    enum order order;
    if (!order_of(evaluation, arguments, &order)) return false;
    *result = expression_bool(order == ORDER_LESS);
    return true;
}

static bool run_less_or_equal(struct evaluation *evaluation, const struct term *term,
                              const struct expression_value *arguments, struct expression_value *result)
{
    enum order order;
    if (!order_of(evaluation, arguments, &order)) return false;
    *result = expression_bool(order == ORDER_LESS || order == ORDER_EQUAL);
    return true;
}

static bool run_greater(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    enum order order;
    if (!order_of(evaluation, arguments, &order)) return false;
    *result = expression_bool(order == ORDER_GREATER);
    return true;
}

static bool run_greater_or_equal(struct evaluation *evaluation, const struct term *term,
                                 const struct expression_value *arguments, struct expression_value *result)
{
    enum order order;
    if (!order_of(evaluation, arguments, &order)) return false;
    *result = expression_bool(order == ORDER_GREATER || order == ORDER_EQUAL);
    return true;
}

#define ORDERED                                                                                                 \
    "bool, bool: bool; int, int: bool; int, uint: bool; int, double: bool; uint, uint: bool; uint, int: bool; " \
    "uint, double: bool; double, double: bool; double, int: bool; double, uint: bool; string, string: bool; "   \
    "bytes, bytes: bool; timestamp, timestamp: bool; duration, duration: bool"

const struct function functions_operators[] = {
    { "+", FUNCTION_OPERATOR,
      .overloads = "int, int: int; uint, uint: uint; double, double: double; string, string: string; "
                   "bytes, bytes: bytes; list(A), list(A): list(A); timestamp, duration: timestamp; "
                   "duration, timestamp: timestamp; duration, duration: duration",
      .run = run_add, .summary = "Sum; texts and lists one behind the other." },
    { "-", FUNCTION_OPERATOR,
      .overloads = "int, int: int; uint, uint: uint; double, double: double; timestamp, timestamp: duration; "
                   "timestamp, duration: timestamp; duration, duration: duration",
      .run = run_subtract, .summary = "Difference." },
    { "*", FUNCTION_OPERATOR, .overloads = "int, int: int; uint, uint: uint; double, double: double",
      .run = run_multiply, .summary = "Product." },
    { "/", FUNCTION_OPERATOR, .overloads = "int, int: int; uint, uint: uint; double, double: double", .run = run_divide,
      .summary = "Quotient; of whole numbers its whole part." },
    { "%", FUNCTION_OPERATOR, .overloads = "int, int: int; uint, uint: uint", .run = run_modulo,
      .summary = "What a division leaves." },
    { "-x", FUNCTION_OPERATOR, .overloads = "int: int; double: double", .run = run_negate, .summary = "The negative." },
    { "!", FUNCTION_OPERATOR, .overloads = "bool: bool", .run = run_not, .summary = "Not." },
    { "==", FUNCTION_OPERATOR, .overloads = "A, A: bool", .evaluate = evaluation_equal, .summary = "Equal." },
    { "!=", FUNCTION_OPERATOR, .overloads = "A, A: bool", .evaluate = evaluation_unequal, .summary = "Not equal." },
    { "<", FUNCTION_OPERATOR, .overloads = ORDERED, .run = run_less, .summary = "Less." },
    { "<=", FUNCTION_OPERATOR, .overloads = ORDERED, .run = run_less_or_equal, .summary = "Less, or equal." },
    { ">", FUNCTION_OPERATOR, .overloads = ORDERED, .run = run_greater, .summary = "Greater." },
    { ">=", FUNCTION_OPERATOR, .overloads = ORDERED, .run = run_greater_or_equal, .summary = "Greater, or equal." },
    { "in", FUNCTION_OPERATOR, .overloads = "A, list(A): bool; A, map(A, B): bool", .evaluate = evaluation_in,
      .summary = "An item of the list, or a key of the map." },
    { "[]", FUNCTION_OPERATOR,
      .overloads = "list(A), int: A; map(A, B), A: B; optional_type(list(A)), int: optional_type(A); "
                   "optional_type(map(A, B)), A: optional_type(B)",
      .evaluate = evaluation_index, .summary = "An item by its place from 0, or the value of a key." },
    { "[?]", FUNCTION_OPERATOR,
      .overloads = "list(A), int: optional_type(A); map(A, B), A: optional_type(B); "
                   "optional_type(list(A)), int: optional_type(A); optional_type(map(A, B)), A: optional_type(B)",
      .run = evaluation_optional_index, .summary = "The same as an optional: none where there is nothing." },
    { .name = NULL },
};
