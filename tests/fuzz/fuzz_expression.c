/* Expressions: whatever compiles is evaluated within its cost and its memory, twice with the same outcome, and means the same without the
 * check of types. What its meaning is, tests/integration/test_expressions.py compares with a reference. */
#include "expr/private.h"
#include "expr/variables.h"
#include "json/value.h"

#define COST_MAX 20000
#define MEMORY_MAX (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Texts, some of them no UTF-8, lists, claims; what may be absent is. */
static enum expression_found lookup(const void *argument, const struct expression_variable *variable, struct slice name,
                                    struct arena *arena, struct expression_value *value)
{
    static const struct expression_value items[] = {
        { .type = EXPRESSION_STRING, .text = { "admin", 5 } },
        { .type = EXPRESSION_STRING, .text = { "\xff\xc3", 2 } },
    };
    struct slice type = slice_from_cstring(variable->type);
    if (variable->may_be_absent && variable->number % 2) return EXPRESSION_NOT_THERE;
    if (slice_equal(type, SLICE("string"))) {
        *value = expression_string(variable->number == VARIABLE_REQUEST_HOST ? SLICE("\xf0\x9f\x98") : SLICE("/a/b1"));
    } else if (slice_equal(type, SLICE("int"))) {
        *value = expression_int(200);
    } else if (slice_equal(type, SLICE("timestamp"))) {
        *value = expression_timestamp(1709210096789000000u);
    } else if (slice_starts_with(type, SLICE("list"))) {
        *value = expression_list(items, COUNT_OF(items));
    } else {
        expression_from_json(argument, value);
    }
    return EXPRESSION_FOUND;
}

/* The outcome, and the value where there is one; all memory is within the bound. */
static enum expression_outcome run(const struct expression *expression, const struct json_value *claims,
                                   struct arena *arena, struct expression_value *value)
{
    struct expression_inputs inputs = { .lookup = lookup, .argument = claims, .cost_max = COST_MAX };
    struct error error;
    enum expression_outcome outcome = expression_try(expression, &inputs, arena, value, &error);
    PROMISE(outcome == EXPRESSION_DONE || error.text[0]);
    struct slice text;
    if (outcome == EXPRESSION_DONE) (void)!expression_value_text(value, arena, &text);
    return outcome;
}

static void check_same(const struct expression_value *a, const struct expression_value *b, struct arena *arena)
{
    struct evaluation evaluation = { .arena = arena, .cost_left = INT32_MAX };
    bool equal = false;
    PROMISE(a->type == b->type);
    if (!values_equal(&evaluation, a, a, &equal) || !equal) return; /* NaN somewhere, or short of memory */
    if (values_equal(&evaluation, a, b, &equal)) PROMISE(equal);
}

static void compare(const struct expression *checked, struct expression *unchecked, const struct json_value *claims)
{
    struct arena_pool pool;
    struct arena arena;
    struct expression_value first, again, lenient;
    arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = MEMORY_MAX });
    arena_init(&arena, &pool);
    enum expression_outcome outcome = run(checked, claims, &arena, &first);
    if (outcome == EXPRESSION_DONE) {
        if (run(checked, claims, &arena, &again) == EXPRESSION_DONE) check_same(&first, &again, &arena);
        if (unchecked && run(unchecked, claims, &arena, &lenient) == EXPRESSION_DONE) {
            check_same(&first, &lenient, &arena);
        }
    }
    PROMISE(pool.bytes_taken <= 2 * MEMORY_MAX);
    arena_release(&arena);
    arena_pool_release(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error error = { .text = "" };
    struct json_value claims;
    struct arena arena;
    if (length > 2000) return 0; /* longer ones only take longer */
    arena_init(&arena, NULL);
    PROMISE(json_parse(SLICE("{\"sub\":\"ann\",\"n\":[1,2.5,null,{\"a\":true}],\"big\":9223372036854775807}"), &arena,
                       &claims, &error));
    struct expression_scope scope = expression_scope_at(EXPRESSION_AT_RESPONSE);
    struct slice text = slice_of((const char *)bytes, length);
    struct expression *expression = expression_compile(text, EXPRESSION_DYN, &scope, &error);
    PROMISE(expression || error.text[0]);
    struct expression_compilation compilation = { .text = text, .scope = &scope, .is_lenient = true, .error = &error };
    struct expression *lenient = expression_compile_as(&compilation);
    PROMISE(lenient || !expression);
    if (expression) compare(expression, lenient, &claims);
    if (!expression && lenient) compare(lenient, NULL, &claims);
    expression_destroy(expression);
    expression_destroy(lenient);
    arena_release(&arena);
    return 0;
}
