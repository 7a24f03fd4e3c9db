/* Evaluates expressions that come line by line, as JSON, for test_expressions.py: {"e": EXPRESSION, "variables": {...}, "unchecked": true} is
 * answered by {"v": VALUE} or {"error": WORDS, "at": "load" | "evaluation"}. */
#include "../unit/expr/json_values.c"

static json_t *evaluate(const struct expression *expression, const struct bindings *bindings, struct arena *arena)
{
    struct expression_inputs inputs = { .lookup = bindings_lookup, .argument = bindings };
    struct expression_value value;
    struct error error;
    if (!expression_evaluate(expression, &inputs, arena, &value, &error)) {
        return json_pack("{ssss}", "error", error.text, "at", "evaluation");
    }
    return json_pack("{so}", "v", json_of_value(&value, arena));
}

static json_t *answer(json_t *question, struct arena *arena)
{
    struct bindings bindings = { .count = 0 };
    struct error error;
    bindings_read(&bindings, json_object_get(question, "variables"));
    struct expression_scope scope = { .variables = bindings.rows,
                                      .variable_count = bindings.count,
                                      .moment = EXPRESSION_AT_REQUEST };
    struct expression_compilation compilation = { .text = json_text(json_object_get(question, "e")),
                                                  .scope = &scope,
                                                  .is_lenient = json_is_true(json_object_get(question, "unchecked")),
                                                  .error = &error };
    struct expression *expression = expression_compile_as(&compilation);
    if (!expression) return json_pack("{ssss}", "error", error.text, "at", "load");
    json_t *given = evaluate(expression, &bindings, arena);
    expression_destroy(expression);
    return given;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        struct arena arena;
        json_t *question = json_loads(line, JSON_ALLOW_NUL, NULL);
        if (!question) return 1;
        arena_init(&arena, NULL);
        json_t *given = answer(question, &arena);
        json_dumpf(given, stdout, JSON_COMPACT);
        putchar('\n');
        (void)fflush(stdout);
        json_decref(given);
        json_decref(question);
        arena_release(&arena);
    }
    free(line);
    return 0;
}
