/* What the conformance cases don't ask: bounds of cost, depth and memory, what is absent, where mistakes are told to be, moments. */
#include "unit_test.h"

#include "expr/variables.h"
#include "json/value.h"

struct fixture {
    struct arena arena;
    struct json_value claims;
};

static enum expression_found lookup(const void *argument, const struct expression_variable *variable, struct slice name,
                                    struct arena *arena, struct expression_value *value)
{
    const struct fixture *fixture = argument;
    switch (variable->number) {
    case VARIABLE_REQUEST_METHOD: *value = expression_string(SLICE("GET")); return EXPRESSION_FOUND;
    case VARIABLE_REQUEST_HOST: *value = expression_string(SLICE("\xff\xfe")); return EXPRESSION_FOUND; /* no UTF-8 */
    case VARIABLE_AUTH_CLAIMS: expression_from_json(&fixture->claims, value); return EXPRESSION_FOUND;
    case VARIABLE_AUTH_ISSUER: return EXPRESSION_NO_MEMORY;
    default: return EXPRESSION_NOT_THERE;
    }
}

static int set_up(void **state)
{
    static struct fixture fixture;
    arena_init(&fixture.arena, NULL);
    assert_true(json_parse(SLICE("{\"sub\":\"ann\",\"list\":[0,1,2,3,4,5,6,7,8,9],\"deep\":{\"x\":null}}"),
                           &fixture.arena, &fixture.claims, NULL));
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_release(&fixture->arena);
    return 0;
}

static struct expression *compile(const char *text, enum expression_type wanted, enum expression_moment moment,
                                  struct error *error)
{
    struct expression_scope scope = expression_scope_at(moment);
    return expression_compile(slice_from_cstring(text), wanted, &scope, error);
}

static enum expression_outcome run(struct fixture *fixture, const char *text, uint32_t cost_max,
                                   struct expression_value *value, struct error *error)
{
    struct expression *expression = compile(text, EXPRESSION_DYN, EXPRESSION_AT_REQUEST, error);
    if (!expression) fail_msg("%s: %s", text, error->text);
    struct expression_inputs inputs = { .lookup = lookup, .argument = fixture, .cost_max = cost_max };
    enum expression_outcome outcome = expression_try(expression, &inputs, &fixture->arena, value, error);
    expression_destroy(expression);
    return outcome;
}

static void outcomes_tell_apart_why_there_is_no_value(void **state)
{
    static const struct {
        const char *text;
        enum expression_outcome outcome;
        const char *words;
    } rows[] = {
        { "request.method", EXPRESSION_DONE, "" },
        { "auth.user_id", EXPRESSION_ABSENT, "there is no value of \"auth.user_id\" at position 1" },
        { "1 + size(path.id)", EXPRESSION_ABSENT, "there is no value of \"path.id\" at position 10" },
        { "auth.claims.nobody", EXPRESSION_ABSENT, "no such key \"nobody\" at position 12" },
        { "auth.claims[\"nobody\"]", EXPRESSION_ABSENT, "no such key at position 12" },
        { "auth.claims.sub + 1", EXPRESSION_FAILED, "does not take values of these types at position 17" },
        { "auth.claims.list[10]", EXPRESSION_FAILED, "the index is beyond the list" },
        { "1 / size(auth.claims.deep.x == null ? \"\" : \"a\")", EXPRESSION_FAILED, "division by zero at position 3" },
        { "auth.claims.deep.x.y", EXPRESSION_FAILED, "the value has no fields" },
        { "has(auth.user_id) || has(auth.claims.nobody)", EXPRESSION_DONE, "" },
        { "auth.claims.nobody || request.method == \"GET\"", EXPRESSION_DONE, "" },
        { "auth.issuer", EXPRESSION_OUT_OF_MEMORY, "out of memory" },
        { "auth.issuer == \"x\" || true == dyn(request.method == \"GET\")", EXPRESSION_OUT_OF_MEMORY, "out of memory" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct expression_value value;
        struct error error = { .text = "" };
        assert_int_equal(run(*state, rows[i].text, 0, &value, &error), rows[i].outcome);
        if (!strstr(error.text, rows[i].words)) fail_msg("%s: %s", rows[i].text, error.text);
        assert_int_equal(error.status, rows[i].outcome == EXPRESSION_OUT_OF_MEMORY ? 503 : 0);
    }
}

/* Whatever clients put into it, an evaluation ends; and nothing makes up for its end. */
static void what_costs_too_much_ends(void **state)
{
    static const char *const texts[] = {
        "auth.claims.list.all(a, auth.claims.list.all(b, auth.claims.list.all(c, a + b + c >= 0)))",
        "auth.claims.list.map(a, auth.claims.list.map(b, auth.claims.list.map(c, a))).size() > 0 || true",
        "auth.claims.list.exists(a, auth.claims.list.all(b, auth.claims.list.all(c, false || c >= 0) && false)) || true",
        "request.method.matches(request.method + request.method) || true",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct expression_value value;
        struct error error;
        assert_int_equal(run(*state, texts[i], 400, &value, &error), EXPRESSION_TOO_COSTLY);
        assert_non_null(strstr(error.text, "costs too much"));
        assert_int_equal(run(*state, texts[i], 0, &value, &error), EXPRESSION_DONE);
    }
}

/* How deep a value is may be the client's choice: a format that can't write it is an end as that of cost, and no `||` makes up for it. */
static void a_value_too_deep_for_a_text_meets_a_bound(void **state)
{
    static const char brackets[] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    for (int lists = 64; lists <= 65; lists++) {
        char text[512], closing[80];
        memset(closing, ']', (size_t)lists);
        closing[lists] = '\0';
        snprintf(text, sizeof text, "\"%%s\".format([%.*srequest.method%s]) == \"\" || true", lists, brackets, closing);
        struct expression_value value;
        struct error error = { .text = "" };
        enum expression_outcome wanted = lists == 64 ? EXPRESSION_DONE : EXPRESSION_TOO_COSTLY;
        assert_int_equal(run(*state, text, 0, &value, &error), wanted);
        if (lists == 65) assert_non_null(strstr(error.text, "too deep for a text at position"));
    }
}

/* Doubling a text forty times over would take a terabyte. */
static void texts_that_grow_are_paid_for(void **state)
{
    char text[2048] = "request.method";
    for (int i = 0; i < 40; i++) {
        char longer[2200];
        snprintf(longer, sizeof longer, "[%.2000s].map(x, x + x)[0]", text);
        memcpy(text, longer, strlen(longer) + 1);
    }
    struct expression_value value;
    struct error error;
    assert_int_equal(run(*state, text, 0, &value, &error), EXPRESSION_TOO_COSTLY);
}

static void without_memory_nothing_is_made(void **state)
{
    static const char *const texts[] = { "request.method + request.method", "[request.method]",
                                         "{request.method: 1}.size() > 0 || true", "string(size(request.method))",
                                         "request.method.matches(\"G\")" };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct arena_pool pool;
        struct arena arena;
        struct expression_value value;
        struct error error;
        arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = 1 });
        arena_init(&arena, &pool);
        struct expression *expression = compile(texts[i], EXPRESSION_DYN, EXPRESSION_AT_REQUEST, &error);
        struct expression_inputs inputs = { .lookup = lookup, .argument = fixture };
        assert_int_equal(expression_try(expression, &inputs, &arena, &value, &error), EXPRESSION_OUT_OF_MEMORY);
        assert_int_equal(error.status, 503);
        expression_destroy(expression);
        arena_release(&arena);
        arena_pool_release(&pool);
    }
}

static void mistakes_are_told_with_their_position(void **state)
{
    static const struct {
        const char *text;
        enum expression_type wanted;
        const char *words;
    } rows[] = {
        { "", EXPRESSION_DYN, "the expression ends where a value is missing at position 1" },
        { "request.method == 1", EXPRESSION_DYN, "\"==\" does not take (string, int) at position 16" },
        { "request.method = \"GET\"", EXPRESSION_DYN, "(\"==\" compares) can't stand here at position 16" },
        { "request.method & true", EXPRESSION_DYN, "(written twice)" },
        { "(1 + 2", EXPRESSION_DYN, "the expression ends where \")\" is missing at position 7" },
        { "\"abc", EXPRESSION_DYN, "has no end at position 1" },
        { "\"a\\q\"", EXPRESSION_DYN, "there is no such escape" },
        { "request", EXPRESSION_DYN, "unknown variable \"request\" at position 1" },
        { "1 + request.headrs.x", EXPRESSION_DYN, "unknown variable \"request.headrs.x\" at position 5" },
        { "starts(request.method)", EXPRESSION_DYN, "there is no function \"starts\" at position 1" },
        { "startsWith(request.method, \"a\")", EXPRESSION_DYN, "(it is written x.f())" },
        { "request.method.string()", EXPRESSION_DYN, "(it is written f(x))" },
        { "request.method && true", EXPRESSION_DYN, "\"&&\" wants bool, and not string at position 16" },
        { "size(request.path)", EXPRESSION_BOOL, "the expression results in int, and bool is wanted" },
        { "request.path.all(x, true)", EXPRESSION_DYN, "nothing to go through in a string" },
        { "auth.scopes.name", EXPRESSION_DYN, "a list(string) has no field \"name\"" },
        { "request.path.matches(\"a(\")", EXPRESSION_DYN,
          "the pattern's byte 3: missing closing parenthesis at position 22" },
        { "request.time.getHours(\"../../etc/passwd\")", EXPRESSION_DYN, "there is no time zone" },
        { "9223372036854775808", EXPRESSION_DYN, "the number is too large at position 1" },
        { "has(request)", EXPRESSION_DYN, "has() asks for a field" },
        { "a.b{c: 1}", EXPRESSION_DYN, "protobuf messages can't be made here" },
        { "if", EXPRESSION_DYN, "a word that the language reserves" },
        { "\xff", EXPRESSION_DYN, "not valid UTF-8" },
        { "${path.id} == \"7\"", EXPRESSION_DYN,
          "\"$\" (an expression stands here, without \"${\" and \"}\") can't stand here at position 1" },
        { "$a", EXPRESSION_DYN, "\"$\" can't stand here at position 1" },
        { "1 \x01", EXPRESSION_DYN, "the byte 0x01 can't stand here at position 3" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        assert_null(compile(rows[i].text, rows[i].wanted, EXPRESSION_AT_REQUEST, &error));
        if (!strstr(error.text, rows[i].words)) fail_msg("%s: %s", rows[i].text, error.text);
    }
}

static void a_variable_that_was_mistyped_is_told_what_was_meant(void **state)
{
    static const struct {
        const char *text;
        unsigned moment;
        const char *meant; /* NULL: nothing is near */
    } rows[] = {
        { "request.pth", EXPRESSION_AT_REQUEST, "request.path" },
        { "Request.Method == 'GET'", EXPRESSION_AT_REQUEST, "request.method" },
        { "reqest.path == '/'", EXPRESSION_AT_REQUEST, "request.path" },
        { "auth.userid", EXPRESSION_AT_REQUEST, "auth.user_id" },
        { "request.headrs.accept", EXPRESSION_AT_REQUEST, "request.headers" },
        { "response.stauts", EXPRESSION_AT_RESPONSE, "response.status" },
        { "response.stauts", EXPRESSION_AT_REQUEST, NULL }, /* none there is yet */
        { "nonsense", EXPRESSION_AT_REQUEST, NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        char words[100];
        assert_null(compile(rows[i].text, EXPRESSION_DYN, rows[i].moment, &error));
        assert_non_null(strstr(error.text, "unknown variable \""));
        snprintf(words, sizeof words, " at position 1 (did you mean \"%s\"?)", rows[i].meant ? rows[i].meant : "");
        if (rows[i].meant ? !strstr(error.text, words) : strstr(error.text, "did you mean") != NULL)
            fail_msg("%s: %s", rows[i].text, error.text);
    }
}

static void moments_say_what_there_is(void **state)
{
    static const struct {
        const char *text;
        unsigned moments; /* at which it compiles */
    } rows[] = {
        { "request.path", EXPRESSION_AT_ROUTE | EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE },
        { "path.id", EXPRESSION_AT_ROUTE | EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE },
        { "auth.claims.sub", EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE },
        { "route.name", EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE },
        { "response.status", EXPRESSION_AT_RESPONSE },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (unsigned moment = EXPRESSION_AT_ROUTE; moment <= EXPRESSION_AT_RESPONSE; moment *= 2) {
            struct error error;
            struct expression *expression = compile(rows[i].text, EXPRESSION_DYN, (enum expression_moment)moment,
                                                    &error);
            assert_int_equal(expression != NULL, (rows[i].moments & moment) != 0);
            expression_destroy(expression);
        }
    }
}

/* Deep texts are refused before they cost the stack; long ones that aren't deep are not. */
static void depth_is_bounded(void **state)
{
    static const char *const openings[] = { "(", "[", "-(", "!(", "{1: ", "size(", "true ? 1 : (" };
    char text[20000];
    struct error error;
    for (size_t i = 0; i < COUNT_OF(openings); i++) {
        size_t length = 0, one = strlen(openings[i]);
        for (int depth = 0; depth < 1000; depth++, length += one) memcpy(text + length, openings[i], one + 1);
        assert_null(compile(text, EXPRESSION_DYN, EXPRESSION_AT_REQUEST, &error));
        assert_non_null(strstr(error.text, "nested too deeply"));
    }
    size_t length = 0;
    for (int i = 0; i < 1000; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%strue", i ? " && " : "");
    struct expression *expression = compile(text, EXPRESSION_BOOL, EXPRESSION_AT_REQUEST, &error);
    assert_non_null(expression);
    assert_true(expression_is_constant(expression));
    expression_destroy(expression);
}

static char *nested(char *text, const char *opening, const char *core, const char *closing, int levels)
{
    char *at = text;
    for (int i = 0; i < levels; i++) at = stpcpy(at, opening);
    at = stpcpy(at, core);
    for (int i = 0; i < levels; i++) at = stpcpy(at, closing);
    return text;
}

/* Each way to nest, as deep as is promised, worked out as a constant and in a request; and a level deeper. */
static void two_hundred_levels_are_let_in(void **state)
{
    static const struct {
        const char *opening, *core, *closing;
        int levels;
    } rows[] = {
        { "(", "1", ")", 200 },
        { "( ", "request.method", " )", 200 },
        { "[", "1", "]", 200 },
        { "[", "request.method", "]", 199 }, /* a member is a level of its own */
        { "{1: ", "1", "}", 200 },
        { "int(", "1", ")", 200 },
        { "string(", "request.method", ")", 199 },
        { "!", "true", "", 200 },
        { "-(", "1", ")", 100 },
        { "[0][", "0", "]", 199 }, /* so is the list */
        { "true ? 1 : ", "1", "", 200 },
        { "request.method == '' ? 1 : ", "1", "", 198 }, /* the last one's condition: two */
        { "1 + (", "1", ")", 200 },
        { "true || (", "true", ")", 200 },
    };
    struct fixture *fixture = *state;
    char text[20000];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        struct expression_value value;
        nested(text, rows[i].opening, rows[i].core, rows[i].closing, rows[i].levels);
        assert_int_equal(run(fixture, text, 100000, &value, &error), EXPRESSION_DONE);
        nested(text, rows[i].opening, rows[i].core, rows[i].closing, rows[i].levels + 1);
        if (compile(text, EXPRESSION_DYN, EXPRESSION_AT_REQUEST, &error)) fail_msg("%s, a level more", rows[i].opening);
        if (!strstr(error.text, "nested too deeply")) fail_msg("%s: %s", rows[i].opening, error.text);
    }
}

static void an_expression_knows_what_it_uses(void **state)
{
    struct error error;
    struct expression *expression = compile("has(auth.user_id) && request.headers[\"a\"] == \"b\"", EXPRESSION_BOOL,
                                            EXPRESSION_AT_REQUEST, &error);
    assert_true(expression_uses(expression, VARIABLE_AUTH_USER_ID));
    assert_true(expression_uses(expression, VARIABLE_REQUEST_HEADERS));
    assert_false(expression_uses(expression, VARIABLE_REQUEST_PATH));
    assert_false(expression_uses(expression, 1000));
    assert_false(expression_is_constant(expression));
    expression_destroy(expression);
}

static void a_field_alone_is_known_as_one(void **state)
{
    static const struct {
        const char *text, *map, *key; /* NULL: it is something else */
    } rows[] = {
        { "request.headers.accept", "request.headers", "accept" },
        { "request.headers[\"x-a\"]", "request.headers", "x-a" },
        { "request.query['']", "request.query", "" },
        { "auth.claims.sub", "auth.claims", "sub" },
        { "auth.claims.address.city", NULL, NULL },
        { "request.headers", NULL, NULL },
        { "request.headers[request.method]", NULL, NULL },
        { "request.headers.?accept", NULL, NULL },
        { "request.headers[?'accept']", NULL, NULL },
        { "has(request.headers.accept)", NULL, NULL },
        { "string(request.headers.accept)", NULL, NULL },
        { "{'a': 'b'}.a", NULL, NULL },
        { "request.path", NULL, NULL },
        { "'a'", NULL, NULL },
    };
    struct error error;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct expression *expression = compile(rows[i].text, EXPRESSION_DYN, EXPRESSION_AT_REQUEST, &error);
        if (!expression) fail_msg("%s: %s", rows[i].text, error.text);
        struct slice key;
        const struct expression_variable *map = expression_field_of(expression, &key);
        if (!map != !rows[i].map) fail_msg("%s: a field: %d", rows[i].text, map != NULL);
        if (map) assert_string_equal(map->name, rows[i].map);
        if (map) assert_true(slice_equal(key, slice_from_cstring(rows[i].key)));
        expression_destroy(expression);
    }
}

/* Zones of the system: summer and winter, south and north, and years that their files list no more. */
static void zones_know_their_summers(void **state)
{
    static const struct {
        const char *text;
        int64_t hour;
    } rows[] = {
        { "timestamp(\"2024-01-15T12:00:00Z\").getHours(\"Europe/Berlin\")", 13 },
        { "timestamp(\"2024-07-15T12:00:00Z\").getHours(\"Europe/Berlin\")", 14 },
        { "timestamp(\"2024-03-31T00:59:59Z\").getHours(\"Europe/Berlin\")", 1 },
        { "timestamp(\"2024-03-31T01:00:00Z\").getHours(\"Europe/Berlin\")", 3 },
        { "timestamp(\"2150-07-15T12:00:00Z\").getHours(\"Europe/Berlin\")", 14 },
        { "timestamp(\"2150-01-15T12:00:00Z\").getHours(\"Europe/Berlin\")", 13 },
        { "timestamp(\"2150-07-15T12:00:00Z\").getHours(\"America/New_York\")", 8 },
        { "timestamp(\"2150-01-15T12:00:00Z\").getHours(\"Australia/Sydney\")", 23 },
        { "timestamp(\"2150-07-15T12:00:00Z\").getHours(\"Australia/Sydney\")", 22 },
        { "timestamp(\"2150-07-15T12:00:00Z\").getHours(\"Asia/Tokyo\")", 21 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct expression_value value;
        struct error error;
        assert_int_equal(run(*state, rows[i].text, 0, &value, &error), EXPRESSION_DONE);
        if (value.integer != rows[i].hour) fail_msg("%s: %lld", rows[i].text, (long long)value.integer);
    }
}

static void texts_that_are_no_utf_8_are_read_byte_by_byte(void **state)
{
    struct expression_value value;
    struct error error;
    assert_int_equal(run(*state,
                         "size(request.host) == 2 && !request.host.matches(\"a\") && "
                         "request.host.reverse().substring(1) != \"\" && bytes(request.host) == b\"\\xff\\xfe\"",
                         0, &value, &error),
                     EXPRESSION_DONE);
    assert_true(value.boolean);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(outcomes_tell_apart_why_there_is_no_value),
        TEST(what_costs_too_much_ends),
        TEST(a_value_too_deep_for_a_text_meets_a_bound),
        TEST(texts_that_grow_are_paid_for),
        TEST(without_memory_nothing_is_made),
        TEST(mistakes_are_told_with_their_position),
        TEST(a_variable_that_was_mistyped_is_told_what_was_meant),
        TEST(moments_say_what_there_is),
        TEST(depth_is_bounded),
        TEST(two_hundred_levels_are_let_in),
        TEST(an_expression_knows_what_it_uses),
        TEST(a_field_alone_is_known_as_one),
        TEST(zones_know_their_summers),
        TEST(texts_that_are_no_utf_8_are_read_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
