/* expr/optionals.c: a value or none: request.headers[?"x-tier"].orValue("free"). */
#include "expr/private.h"

static bool give_none(struct expression_value *result)
{
    *result = (struct expression_value){ .type = EXPRESSION_OPTIONAL };
    return true;
}

bool optional_give(struct evaluation *evaluation, const struct expression_value *held, struct expression_value *result)
{
    struct expression_value *copy = evaluation_allocate(evaluation, sizeof *copy);
    if (!copy) return false;
    *copy = *held; /* which *result may be */
    *result = (struct expression_value){ .type = EXPRESSION_OPTIONAL, .held = copy };
    return true;
}

bool optional_chain(struct evaluation *evaluation, const struct term *term, const struct expression_value *of,
                    const struct expression_value *key, struct expression_value *result)
{
    struct expression_value value;
    bool found;
    if (of->type == EXPRESSION_OPTIONAL) {
        if (!of->held) return give_none(result);
        of = of->held;
    }
    if (!evaluation_find(evaluation, term, of, key, &value, &found)) return false;
    return found ? optional_give(evaluation, &value, result) : give_none(result);
}

bool evaluation_optional_index(struct evaluation *evaluation, const struct term *term,
                               const struct expression_value *arguments, struct expression_value *result)
{
    return optional_chain(evaluation, term, &arguments[0], &arguments[1], result);
}

static bool run_of(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                   struct expression_value *result)
{
    return optional_give(evaluation, arguments, result);
}

static bool run_none(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    return give_none(result);
}

static bool is_zero(const struct expression_value *value)
{
    switch (value->type) {
    case EXPRESSION_NULL: return true;
    case EXPRESSION_BOOL: return !value->boolean;
    case EXPRESSION_INT:
    case EXPRESSION_UINT:
    case EXPRESSION_DURATION: return value->natural == 0;
    case EXPRESSION_DOUBLE: return value->number == 0;
    case EXPRESSION_STRING:
    case EXPRESSION_BYTES: return value->text.length == 0;
    case EXPRESSION_LIST: return value->count == 0;
    case EXPRESSION_MAP: return value->map.kind->count(value->map.of) == 0;
    case EXPRESSION_TIMESTAMP: return value->integer == 0 && value->nanoseconds == 0;
    case EXPRESSION_OPTIONAL: return !value->held;
    default: return false;
    }
}

static bool run_of_non_zero(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    return is_zero(arguments) ? give_none(result) : optional_give(evaluation, arguments, result);
}

static bool run_has_value(struct evaluation *evaluation, const struct term *term,
                          const struct expression_value *arguments, struct expression_value *result)
{
    if (arguments->type != EXPRESSION_OPTIONAL) return evaluation_no_overload(evaluation);
    *result = expression_bool(arguments->held != NULL);
    return true;
}

static bool run_value(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    if (arguments->type != EXPRESSION_OPTIONAL) return evaluation_no_overload(evaluation);
    if (!arguments->held) return evaluation_fail(evaluation, "the optional has no value");
    *result = *arguments->held;
    return true;
}

/* What stands in parentheses is evaluated only where it is needed. */
static bool run_or(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                   struct expression_value *result)
{
    if (arguments->type != EXPRESSION_OPTIONAL) return evaluation_no_overload(evaluation);
    *result = *arguments;
    if (arguments->held) return true;
    if (!evaluation_run(evaluation, term->operands[1], result)) return false;
    return result->type == EXPRESSION_OPTIONAL || evaluation_no_overload(evaluation);
}

static bool run_or_value(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    if (arguments->type != EXPRESSION_OPTIONAL) return evaluation_no_overload(evaluation);
    if (!arguments->held) return evaluation_run(evaluation, term->operands[1], result);
    *result = *arguments->held;
    return true;
}

const struct function functions_optionals[] = {
    { "optional.of", FUNCTION_GLOBAL, .overloads = "A: optional_type(A)", .run = run_of,
      .summary = "An optional with this value." },
    { "optional.ofNonZeroValue", FUNCTION_GLOBAL, .overloads = "A: optional_type(A)", .run = run_of_non_zero,
      .summary = "The same, but none for null, false, 0 and what is empty." },
    { "optional.none", FUNCTION_GLOBAL, .overloads = ": optional_type(A)", .run = run_none,
      .summary = "An optional without a value." },
    { "hasValue", FUNCTION_RECEIVER, .overloads = "optional_type(A): bool", .run = run_has_value,
      .summary = "Has it a value?" },
    { "value", FUNCTION_RECEIVER, .overloads = "optional_type(A): A", .run = run_value,
      .summary = "The value; an error where there is none." },
    { "or", FUNCTION_RECEIVER, .is_lazy = true, .overloads = "optional_type(A), optional_type(A): optional_type(A)",
      .run = run_or, .summary = "The optional itself, or the other one where it has no value." },
    { "orValue", FUNCTION_RECEIVER, .is_lazy = true, .overloads = "optional_type(A), A: A", .run = run_or_value,
      .summary = "The value, or this one where there is none." },
    { .name = NULL },
};
