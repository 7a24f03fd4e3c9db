/* Comparing answers: what differs first, and what doesn't count. */
#include "unit_test.h"

#include "filters/mirror_compare.h"

#include "base/memory.h"
#include "json/value.h"

#define IGNORED_COUNT_MAX 8

struct rules {
    struct comparison_rules rules;
    struct ignored_path ignored[IGNORED_COUNT_MAX];
};

static void ignore(struct rules *rules, const char *pointers)
{
    struct slice rest = slice_from_cstring(pointers), one;
    rules->rules.ignored = rules->ignored;
    while (rest.length > 0 && slice_next(&rest, ' ', &one))
        assert_true(ignored_path_read(one, &rules->ignored[rules->rules.ignored_count++]));
}

static void release(struct rules *rules)
{
    for (size_t i = 0; i < rules->rules.ignored_count; i++) ignored_path_release(&rules->ignored[i]);
}

static enum comparison compare_texts(struct rules *rules, struct slice left, struct slice right, struct arena *arena,
                                     struct answer_difference *difference)
{
    struct answer_to_compare primary = { .status = 200, .body = left, .is_whole = true };
    struct answer_to_compare mirror = { .status = 200, .body = right, .is_whole = true };
    return answers_compare(&rules->rules, &primary, &mirror, arena, difference);
}

static void json_is_compared_by_value(void **state)
{
    static const struct {
        const char *left, *right, *ignored;
        const char *what; /* NULL: alike */
        const char *primary, *mirror;
    } rows[] = {
        { "{}", "{}", "", NULL, "", "" },
        { "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "", NULL, "", "" },
        { "1", "1.0", "", NULL, "", "" },
        { "100", "1e2", "", NULL, "", "" },
        { "9007199254740993", "9007199254740992", "", "", "number", "number" },
        { "12345678901234567890123", "12345678901234567890124", "", "", "number", "number" },
        { "12345678901234567890123", "1.2345678901234567890123e22", "", NULL, "", "" },
        { "[1e400]", "[1e401]", "", "/0", "number", "number" },
        { "1e400", "10e399", "", NULL, "", "" },
        { "{\"a\":1e400}", "{\"a\":\"1e400\"}", "", "/a", "number", "string" },
        { "\"\\u0061\"", "\"a\"", "", NULL, "", "" },
        { "null", "false", "", "", "null", "boolean" },
        { "true", "false", "", "", "boolean", "boolean" },
        { "[]", "{}", "", "", "array", "object" },
        { "[1,2]", "[2,1]", "", "/0", "number", "number" },
        { "[1]", "[1,null]", "", "/1", "absent", "null" },
        { "{\"a\":{\"b\":[0,{\"c\":1}]}}", "{\"a\":{\"b\":[0,{\"c\":2}]}}", "", "/a/b/1/c", "number", "number" },
        { "{\"a/b\":{\"c~d\":1}}", "{\"a/b\":{\"c~d\":2}}", "", "/a~1b/c~0d", "number", "number" },
        { "{\"\":1}", "{\"\":2}", "", "/", "number", "number" },
        { "{\"a\":1}", "{}", "", "/a", "number", "absent" },
        { "{}", "{\"a\":\"x\"}", "", "/a", "absent", "string" },
        /* What doesn't count. */
        { "{\"a\":1}", "{\"a\":2}", "/a", NULL, "", "" },
        { "{\"a\":1}", "{}", "/a", NULL, "", "" },
        { "{}", "{\"a\":1}", "/a", NULL, "", "" },
        { "{\"a\":{\"b\":1,\"c\":1}}", "{\"a\":{\"b\":2,\"c\":1}}", "/a/b", NULL, "", "" },
        { "{\"a\":{\"b\":1,\"c\":1}}", "{\"a\":{\"b\":2,\"c\":2}}", "/a/b", "/a/c", "number", "number" },
        { "{\"a\":{\"b\":1}}", "{\"a\":3}", "/a/b", "/a", "object", "number" },
        { "[{\"t\":1},{\"t\":2}]", "[{\"t\":3},{\"t\":4}]", "/*/t", NULL, "", "" },
        { "[{\"t\":1},{\"t\":2}]", "[{\"t\":3},{\"t\":4}]", "/0/t", "/1/t", "number", "number" },
        { "[1,2,3]", "[1]", "/1 /2", NULL, "", "" },
        { "{\"*\":1,\"b\":1}", "{\"*\":2,\"b\":2}", "/*", NULL, "", "" },
        { "{\"a~b\":1}", "{\"a~b\":2}", "/a~0b", NULL, "", "" },
        { "{\"0\":1}", "{\"0\":2}", "/0", NULL, "", "" },
        /* What is no JSON is bytes. */
        { "text", "text", "", NULL, "", "" },
        { "text", "texts", "", "body", "4 bytes", "5 bytes" },
        { "text", "tent", "", "body", "4 bytes", "4 other bytes" },
        { "{}", "text", "", "body", "JSON", "not JSON" },
        { "{\"a\":1,\"a\":1}", "{\"a\":1}", "", "body", "not JSON", "JSON" },
        { "", "{}", "", "body", "not JSON", "JSON" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rules rules = { .rules = { .body = COMPARE_JSON } };
        struct answer_difference difference;
        struct arena arena;
        arena_init(&arena, NULL);
        ignore(&rules, rows[i].ignored);
        enum comparison result = compare_texts(&rules, slice_from_cstring(rows[i].left),
                                               slice_from_cstring(rows[i].right), &arena, &difference);
        if (result != (rows[i].what ? ANSWERS_DIFFER : ANSWERS_ALIKE)) fail_msg("%s %s", rows[i].left, rows[i].right);
        if (rows[i].what) {
            assert_slice_is(difference.what, rows[i].what);
            assert_slice_is(difference.primary, rows[i].primary);
            assert_slice_is(difference.mirror, rows[i].mirror);
        }
        release(&rules);
        arena_release(&arena);
    }
}

/* As deep as texts are read at all, values are compared: here they differ in white space alone. */
static void json_is_compared_by_value_down_to_its_last_level(void **state)
{
    for (int levels = JSON_DEPTH_MAX; levels <= JSON_DEPTH_MAX + 1; levels++) {
        struct rules rules = { .rules = { .body = COMPARE_JSON } };
        struct answer_difference difference;
        struct arena arena;
        char left[3 * JSON_DEPTH_MAX], right[sizeof left];
        int length = 0;
        arena_init(&arena, NULL);
        for (int i = 0; i < levels; i++) left[length++] = '[';
        for (int i = 0; i < levels; i++) left[length++] = ']';
        memcpy(right, left, (size_t)length);
        right[length] = ' ';
        enum comparison result = compare_texts(&rules, slice_of(left, (size_t)length),
                                               slice_of(right, (size_t)length + 1), &arena, &difference);
        assert_int_equal(result, levels > JSON_DEPTH_MAX ? ANSWERS_DIFFER : ANSWERS_ALIKE);
        if (levels > JSON_DEPTH_MAX) assert_slice_is(difference.what, "body");
        arena_release(&arena);
    }
}

static void status_and_fields_come_first(void **state)
{
    struct slice names[] = { SLICE("X-A"), SLICE("X-B") };
    struct slice left[] = { SLICE("1"), SLICE_ABSENT }, same[] = { SLICE("1"), SLICE_ABSENT };
    struct slice other[] = { SLICE("2"), SLICE_ABSENT }, more[] = { SLICE("1"), SLICE("") };
    struct comparison_rules rules = { .status = true, .headers = names, .header_count = 2 };
    struct answer_to_compare primary = { .status = 200, .headers = left };
    struct answer_difference difference;
    struct arena arena;
    arena_init(&arena, NULL);
    assert_int_equal(answers_compare(&rules, &primary, &(struct answer_to_compare){ .status = 200, .headers = same },
                                     &arena, &difference),
                     ANSWERS_ALIKE);
    assert_int_equal(answers_compare(&rules, &primary, &(struct answer_to_compare){ .status = 201, .headers = other },
                                     &arena, &difference),
                     ANSWERS_DIFFER);
    assert_slice_is(difference.what, "status");
    assert_slice_is(difference.mirror, "201");
    assert_int_equal(answers_compare(&rules, &primary, &(struct answer_to_compare){ .status = 200, .headers = other },
                                     &arena, &difference),
                     ANSWERS_DIFFER);
    assert_slice_is(difference.what, "header X-A");
    assert_slice_is(difference.mirror_value, "2");
    assert_slice_is(difference.primary, "present"); /* with the values hidden, this is what tells them apart */
    assert_slice_is(difference.mirror, "present, with another value");
    assert_int_equal(answers_compare(&rules, &primary, &(struct answer_to_compare){ .status = 200, .headers = more },
                                     &arena, &difference),
                     ANSWERS_DIFFER);
    assert_slice_is(difference.what, "header X-B");
    assert_slice_is(difference.primary, "absent");
    rules.status = false;
    assert_int_equal(answers_compare(&rules, &primary, &(struct answer_to_compare){ .status = 500, .headers = same },
                                     &arena, &difference),
                     ANSWERS_ALIKE);
    arena_release(&arena);
}

static void a_body_that_is_not_whole_is_not_compared(void **state)
{
    struct comparison_rules rules = { .status = true, .body = COMPARE_BYTES };
    struct answer_to_compare whole = { .status = 200, .is_whole = true }, part = { .status = 200 };
    struct answer_difference difference;
    struct arena arena;
    arena_init(&arena, NULL);
    assert_int_equal(answers_compare(&rules, &whole, &part, &arena, &difference), ANSWERS_NOT_COMPARED);
    assert_int_equal(answers_compare(&rules, &part, &whole, &arena, &difference), ANSWERS_NOT_COMPARED);
    part.status = 500; /* that is known all the same */
    assert_int_equal(answers_compare(&rules, &whole, &part, &arena, &difference), ANSWERS_DIFFER);
    arena_release(&arena);
}

/* Members in the other order are found by walking: what that may cost is bounded. */
static void comparing_has_a_bound(void **state)
{
    const size_t count = 20000;
    struct rules rules = { .rules = { .body = COMPARE_JSON } };
    struct answer_difference difference;
    struct arena arena;
    char *left = memory_allocate(count * 16), *right = memory_allocate(count * 16), *at = left;
    arena_init(&arena, NULL);
    *at++ = '{';
    for (size_t i = 0; i < count; i++) at += snprintf(at, 16, "%s\"%zu\":1", i ? "," : "", i);
    *at++ = '}';
    size_t left_length = (size_t)(at - left);
    at = right;
    *at++ = '{';
    for (size_t i = count; i > 0; i--) at += snprintf(at, 16, "%s\"%zu\":1", i < count ? "," : "", i - 1);
    *at++ = '}';
    assert_int_equal(
        compare_texts(&rules, slice_of(left, left_length), slice_of(right, (size_t)(at - right)), &arena, &difference),
        ANSWERS_NOT_COMPARED);
    assert_slice_is(difference.what, "the bodies are too large");
    arena_release(&arena);
    free(left), free(right);
}

static void what_is_no_pointer_is_refused(void **state)
{
    static const char *const texts[] = { "", "a", "a/b", "/a~", "/a~2", "/~" };
    struct ignored_path path;
    for (size_t i = 0; i < COUNT_OF(texts); i++) assert_false(ignored_path_read(slice_from_cstring(texts[i]), &path));
    assert_true(ignored_path_read(SLICE("/a~1b//c"), &path));
    assert_int_equal(path.count, 3);
    assert_slice_is(path.segments[0], "a/b");
    assert_slice_is(path.segments[1], "");
    assert_slice_is(path.segments[2], "c");
    ignored_path_release(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_compared_by_value),
        cmocka_unit_test(json_is_compared_by_value_down_to_its_last_level),
        cmocka_unit_test(status_and_fields_come_first),
        cmocka_unit_test(a_body_that_is_not_whole_is_not_compared),
        cmocka_unit_test(comparing_has_a_bound),
        cmocka_unit_test(what_is_no_pointer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
