/* Every published conformance case of CEL that needs no protobuf message, enum or foreign macro (conformance/README.md): its value, its error,
 * its deduced type. A file's failures are all told, then the test fails. */
#include "unit_test.h"

#include "json_values.h"

#include <math.h>

#define FUNCTIONS_MAX 4

/* Types too have to be the same, which CEL's own == does not ask for. NaN is what it is. */
static bool is_same(struct evaluation *evaluation, const struct expression_value *a, const struct expression_value *b)
{
    if (a->type != b->type) return false;
    if (a->type == EXPRESSION_DOUBLE && isnan(a->number)) return isnan(b->number);
    if (a->type == EXPRESSION_LIST) {
        for (uint32_t i = 0; i < a->count && a->count == b->count; i++) {
            struct expression_value left, right;
            assert_true(evaluation_item(evaluation, a, i, &left) && evaluation_item(evaluation, b, i, &right));
            if (!is_same(evaluation, &left, &right)) return false;
        }
    }
    bool equal = false;
    evaluation->cost_left = EXPRESSION_COST_MAX;
    return values_equal(evaluation, a, b, &equal) && equal;
}

/* --- a case --- */

static void declare(struct function *declared, const json_t *functions)
{
    size_t count = json_array_size(functions);
    assert_true(count <= FUNCTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *function = json_array_get(functions, i);
        declared[i] = (struct function){ .name = json_string_value(json_array_get(function, 0)),
                                         .style = FUNCTION_GLOBAL,
                                         .overloads = json_string_value(json_array_get(function, 1)) };
    }
}

static bool complain(const json_t *test, const char *what, const char *detail)
{
    print_error("%s: %s: %s%s\n", json_string_value(json_object_get(test, "n")),
                json_string_value(json_object_get(test, "e")), what, detail);
    return false;
}

static bool has_right_type(const json_t *test, const struct expression *expression, struct arena *arena)
{
    const char *wanted = json_string_value(json_object_get(test, "type"));
    if (!wanted) return true;
    struct slice type = expression_type_text(expression, arena);
    return slice_equal(type, slice_from_cstring(wanted)) || complain(test, "deduced type ", type.at);
}

static bool has_right_value(const json_t *test, const struct expression *expression, const struct bindings *bindings,
                            struct arena *arena)
{
    const json_t *wanted = json_object_get(test, "v");
    struct expression_inputs inputs = { .lookup = bindings_lookup, .argument = bindings };
    struct expression_value value;
    struct error error;
    if (json_is_true(json_object_get(test, "checkOnly")) || json_object_get(test, "functions")) return true;
    bool is_good = expression_evaluate(expression, &inputs, arena, &value, &error);
    if (json_object_get(test, "error")) return !is_good || complain(test, "has a value", "");
    if (!is_good) return complain(test, "failed: ", error.text);
    if (!wanted) return true;
    struct evaluation evaluation = { .arena = arena, .cost_left = EXPRESSION_COST_MAX };
    struct expression_value right = json_to_value(wanted, arena);
    if (is_same(&evaluation, &value, &right)) return true;
    struct slice text = SLICE("");
    if (expression_value_text(&value, arena, &text) != EXPRESSION_FOUND) text = SLICE("a list, a map or a type");
    return complain(test, "another value: ", arena_copy(arena, text).at);
}

static bool passes(const json_t *test, struct arena *arena)
{
    struct bindings bindings = { .count = 0 };
    struct error error;
    bindings_read(&bindings, json_object_get(test, "variables"));
    struct expression_scope scope = {
        .variables = bindings.rows,
        .variable_count = bindings.count,
        .moment = EXPRESSION_AT_REQUEST,
        .container = json_string_value(json_object_get(test, "container")),
    };
    struct function declared[FUNCTIONS_MAX + 1] = { 0 };
    declare(declared, json_object_get(test, "functions"));
    struct expression_compilation compilation = {
        .text = json_text(json_object_get(test, "e")),
        .scope = &scope,
        .declared = declared,
        .is_lenient = json_is_true(json_object_get(test, "unchecked")),
        .error = &error,
    };
    struct expression *expression = expression_compile_as(&compilation);
    if (!expression) return json_object_get(test, "error") || complain(test, "refused: ", error.text);
    bool good = has_right_type(test, expression, arena) && has_right_value(test, expression, &bindings, arena);
    expression_destroy(expression);
    return good;
}

/* --- a file --- */

static void every_case_passes(void **state)
{
    char line[65536];
    unsigned cases = 0, failures = 0;
    FILE *file = fopen(*state, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        struct arena arena;
        json_t *test = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(test);
        arena_init(&arena, NULL);
        failures += !passes(test, &arena);
        cases++;
        arena_release(&arena);
        json_decref(test);
    }
    (void)fclose(file);
    print_message("%u cases, %u failures\n", cases, failures);
    assert_true(cases > 0);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        const struct CMUnitTest test = { argv[i], every_case_passes, NULL, NULL, argv[i] };
        const struct CMUnitTest tests[] = { test };
        failed += cmocka_run_group_tests_name(argv[i], tests, NULL, NULL);
    }
    return failed > 0 || argc < 2;
}
