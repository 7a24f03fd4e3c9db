/* Looking into JSON texts: members, arrays, and taking out what only answers have. */
#include "unit_test.h"

#include "admin/private.h"

static void a_member_is_found_among_others(void **state)
{
    struct slice document = SLICE(" { \"a\" : {\"b\":[1,{\"b\":2}]}, \"b\":\"x \\\" } y\" , \"c\":-1.5e3 } ");
    assert_slice_is(document_member(document, SLICE("a")), "{\"b\":[1,{\"b\":2}]}");
    assert_slice_is(document_member(document, SLICE("b")), "\"x \\\" } y\"");
    assert_slice_is(document_member(document, SLICE("c")), "-1.5e3");
    assert_true(slice_is_absent(document_member(document, SLICE("d"))));
}

static void a_broken_text_has_no_members(void **state)
{
    const char *const texts[] = { "",          "{",        "{\"",         "{\"a", "{\"a\"", "{\"a\":",
                                  "{\"a\":\"", "{\"a\":[", "{\"a\":\"\\", "[1]",  "1",      "\"a\"" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_true(slice_is_absent(document_member(slice_from_cstring(texts[i]), SLICE("a"))));
    }
}

static void an_array_is_asked_for_a_string(void **state)
{
    struct slice array = SLICE("[\"ab\", \"a\",\"c\"]");
    assert_true(document_array_has(array, SLICE("a")));
    assert_true(document_array_has(array, SLICE("c")));
    assert_false(document_array_has(array, SLICE("b")));
    assert_false(document_array_has(SLICE("{\"a\":\"a\"}"), SLICE("a")));
    assert_false(document_array_has(SLICE_ABSENT, SLICE("a")));
}

static void check_kept(const char *text, const char *expected)
{
    struct arena arena;
    arena_init(&arena, NULL);
    assert_slice_is(document_without_read_only(&arena, slice_from_cstring(text)), expected);
    arena_release(&arena);
}

static void what_only_answers_have_is_taken_out(void **state)
{
    check_kept("{\"name\":\"a\",\"warnings\":[\"x\"],\"instanceHealth\":null,\"n\":1}", "{\"name\":\"a\",\"n\":1}");
    check_kept("{\"warnings\":[\"},\"],\"instanceHealth\":[{}]}", "{}");
    check_kept("{\"config\":{\"warnings\":1}}", "{\"config\":{\"warnings\":1}}");
}

/* Else a body that is not JSON could become one. */
static void a_body_that_is_not_sound_stays_as_it_is(void **state)
{
    const char *const texts[] = {
        "{\"warnings\":@@,\"name\":\"a\"}",
        "{\"warnings\":[1,}],\"name\":\"a\"}",
        "{\"warnings\":1,\"warnings\":2}",
        "{\"warnings\":1} x",
        "{\"warnings\":1,,\"name\":\"a\"}",
        "{\"warnings\":\"\xff\"}",
        "[{\"warnings\":1}]",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) check_kept(texts[i], texts[i]);
}

static void a_text_grows_and_is_always_valid_json(void **state)
{
    struct admin_text text = { 0 };
    char all[256];
    for (size_t i = 0; i < sizeof all; i++) all[i] = (char)i;
    admin_text_add(&text, SLICE("{"));
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        admin_text_add_key(&text, key);
        admin_text_add_string(&text, slice_of(all, sizeof all));
    }
    admin_text_add(&text, SLICE("}"));
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct slice k7 = document_member(admin_text_slice(&text), SLICE("k7"));
    assert_true(k7.length > 256);
    assert_memory_equal(k7.at, "\"\\u0000", 7);
    problems_release(&problems);
    arena_release(&arena);
    admin_text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_found_among_others),
        cmocka_unit_test(a_broken_text_has_no_members),
        cmocka_unit_test(an_array_is_asked_for_a_string),
        cmocka_unit_test(what_only_answers_have_is_taken_out),
        cmocka_unit_test(a_body_that_is_not_sound_stays_as_it_is),
        cmocka_unit_test(a_text_grows_and_is_always_valid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
