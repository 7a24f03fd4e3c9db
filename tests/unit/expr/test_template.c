/* Texts with variables: what they render to, and which are refused with which words. */
#include "unit_test.h"

#include "expr/template.h"
#include "expr/variables.h"

static bool captures_id(const void *argument, struct slice name)
{
    return slice_equal(name, SLICE("id")) || slice_equal(name, SLICE("*"));
}

static struct slice text_of(const struct expression_variable *variable, struct slice name)
{
    switch (variable->number) {
    case VARIABLE_PATH: return slice_equal(name, SLICE("id")) ? SLICE("42") : SLICE_ABSENT;
    case VARIABLE_REQUEST_ID: return SLICE("r-1");
    case VARIABLE_REQUEST_METHOD: return SLICE("GET");
    case VARIABLE_REQUEST_HOST: return SLICE("example.com");
    case VARIABLE_REQUEST_PATH: return SLICE("/users/42");
    case VARIABLE_SOURCE_IP: return SLICE("192.0.2.1");
    case VARIABLE_SOURCE_CERTIFICATE_SUBJECT: return SLICE("CN=alice");
    case VARIABLE_SOURCE_CERTIFICATE_SAN: return SLICE("DNS:alice.test");
    case VARIABLE_SOURCE_CERTIFICATE_FINGERPRINT: return SLICE("ab12");
    default: return SLICE_ABSENT;
    }
}

static enum expression_found lookup(const void *argument, const struct expression_variable *variable, struct slice name,
                                    struct arena *arena, struct expression_value *value)
{
    struct slice text = text_of(variable, name);
    *value = variable->number == VARIABLE_SOURCE_PORT ? expression_int(4711) : expression_string(text);
    return slice_is_absent(text) && variable->number != VARIABLE_SOURCE_PORT ? EXPRESSION_NOT_THERE : EXPRESSION_FOUND;
}

static struct template *compile(struct slice text, struct error *error)
{
    struct expression_scope scope = expression_scope_at(EXPRESSION_AT_REQUEST);
    scope.captures = captures_id;
    return template_compile(text, &scope, error);
}

static void variables_are_replaced(void **state)
{
    static const struct {
        const char *text, *rendered;
    } rows[] = {
        { "${path.id}", "42" },
        { "a${path.id}b", "a42b" },
        { "${path.id}${path.id}", "4242" },
        { "${ path.id }", "42" },
        { "[${path.*}]", "[]" },
        { "${path.*}", "" },
        { "${request.id} ${request.method} ${request.host} ${request.path} ${source.ip}",
          "r-1 GET example.com /users/42 192.0.2.1" },
        { "${source.certificate.subject} ${source.certificate.san} ${source.certificate.fingerprint}",
          "CN=alice DNS:alice.test ab12" },
        { "$$${path.id}", "$${path.id}" }, /* a '$', then the escape */
        { "$ $$ $1 {path.id} }{ $}", "$ $$ $1 {path.id} }{ $}" },
        { "", "" },
        { "plain", "plain" },
        { "$${path.id}", "${path.id}" },
        { "${path.id + \"-\" + request.method}", "42-GET" },
        { "${request.path.startsWith(\"/users/\") ? \"user\" : \"other\"}", "user" },
        { "${{\"}\": \"a\"}[\"}\"]}${size(request.id)}", "a3" },
        { "${source.port * 2} ${source.port > 1} ${1 + 1} ${2.5} ${duration(\"90s\")}", "9422 true 2 2.5 90s" },
        { "[${auth.user_id}][${1 / (source.port - 4711)}]", "[][]" }, /* absent, and failed */
        { "${has(auth.user_id) ? auth.user_id : \"nobody\"}", "nobody" },
        { "a$${b}c$${d}", "a${b}c${d}" },
        { "$${${path.id}}", "${42}" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        struct arena arena;
        arena_init(&arena, NULL);
        struct template *template = compile(slice_from_cstring(rows[i].text), &error);
        assert_non_null(template);
        struct slice rendered = template_render(template, lookup, NULL, &arena);
        assert_false(slice_is_absent(rendered));
        assert_slice_is(rendered, rows[i].rendered);
        template_destroy(template);
        arena_release(&arena);
    }
}

static void a_text_without_variables_needs_no_memory(void **state)
{
    static const char *const constants[] = { "", "plain", "a$${b}c$${d}", "a${1 + 1}b", "${\"a\"}" };
    for (size_t i = 0; i < COUNT_OF(constants); i++) {
        struct error error;
        struct template *template = compile(slice_from_cstring(constants[i]), &error);
        assert_true(template_is_constant(template));
        assert_false(slice_is_absent(template_render(template, NULL, NULL, NULL)));
        template_destroy(template);
    }
    struct error error;
    struct template *template = compile(SLICE("a${request.id}"), &error);
    assert_false(template_is_constant(template));
    template_destroy(template);
}

static void the_template_does_not_need_the_text_it_was_made_from(void **state)
{
    char text[] = "a${path.id}b";
    struct error error;
    struct arena arena;
    struct template *template = compile(slice_from_cstring(text), &error);
    memset(text, 'x', sizeof text);
    arena_init(&arena, NULL);
    assert_slice_is(template_render(template, lookup, NULL, &arena), "a42b");
    arena_release(&arena);
    template_destroy(template);
}

static void mistakes_are_told_with_their_position(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        { "${path.name}", "the route's path captures no \"name\" at position 3" },
        { "ab${nonsense}", "unknown variable \"nonsense\" at position 5" },
        { "${}", "unknown variable \"\"" },
        { "${ }", "unknown variable \"\"" },
        { "${path.}", "a field's name is missing" },
        { "${path.a b}", "an operator is missing before" },
        { "${path.${path.id}}", "can't stand here" },
        { "${PATH.id}", "unknown variable" },
        { "${response.status}", "there is no \"response.status\" before there is an answer at position 3" },
        { "ab${auth.scopes}", "a value that can't be written as text: \"list(string)\" at position 3" },
        { "${1 + \"a\"}", "\"+\" does not take (int, string) at position 5" },
        { "a ${path.id} ${  request.method + \"\\q\" }",
          "there is no such escape (a \"\\\" itself is written \"\\\\\") at position 36" },
        { "${env:HOME}", "references can't stand" },
        { "${file:/etc/passwd}", "references can't stand" },
        { "abc${path.id", "\"${\" at position 4 has no \"}\"" },
        { "${", "\"${\" at position 1 has no \"}\"" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        assert_null(compile(slice_from_cstring(rows[i].text), &error));
        if (!strstr(error.text, rows[i].words)) fail_msg("%s: %s", rows[i].text, error.text);
        const char *position = strstr(error.text, "at position");
        if (position && strstr(position + 1, "at position")) fail_msg("%s", error.text);
    }
}

static void a_long_name_does_not_break_the_message(void **state)
{
    char text[5000] = "${";
    struct error error;
    memset(text + 2, 'x', sizeof text - 4);
    text[sizeof text - 2] = '}';
    assert_null(compile(slice_of(text, sizeof text - 1), &error));
    assert_non_null(strstr(error.text, "position 3"));
}

static void pieces_are_bounded(void **state)
{
    char text[70 * 10 + 1];
    for (size_t i = 0; i < 70; i++) memcpy(text + i * 10, "${path.id}", 10);
    struct error error;
    struct template *template = compile(slice_of(text, 640), &error);
    assert_non_null(template);
    template_destroy(template);
    assert_null(compile(slice_of(text, 650), &error));
    assert_non_null(strstr(error.text, "more than 64"));
}

/* Any bytes either compile, and then render, or are refused with words. */
static void random_texts_do_no_harm(void **state)
{
    static const char *const parts[] = {
        "$", "{", "}", "${", "$${", "path.", "id", "*", " ", "request.id", "\xff", "a"
    };
    uint64_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t length = 0;
        for (int i = 0; i < 12; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const char *part = parts[(seed >> 33) % COUNT_OF(parts)];
            memcpy(text + length, part, strlen(part));
            length += strlen(part);
        }
        struct error error;
        struct arena arena;
        arena_init(&arena, NULL);
        struct template *template = compile(slice_of(text, length), &error);
        if (template) {
            assert_false(slice_is_absent(template_render(template, lookup, NULL, &arena)));
        } else {
            assert_true(strlen(error.text) > 0);
        }
        template_destroy(template);
        arena_release(&arena);
    }
}

static void without_memory_there_is_no_text(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    struct error error;
    arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = 1 });
    arena_init(&arena, &pool);
    struct template *template = compile(SLICE("a${path.id}"), &error);
    assert_true(slice_is_absent(template_render(template, lookup, NULL, &arena)));
    template_destroy(template);
    arena_release(&arena);
    arena_pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_replaced),
        cmocka_unit_test(a_text_without_variables_needs_no_memory),
        cmocka_unit_test(the_template_does_not_need_the_text_it_was_made_from),
        cmocka_unit_test(mistakes_are_told_with_their_position),
        cmocka_unit_test(a_long_name_does_not_break_the_message),
        cmocka_unit_test(pieces_are_bounded),
        cmocka_unit_test(random_texts_do_no_harm),
        cmocka_unit_test(without_memory_there_is_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
