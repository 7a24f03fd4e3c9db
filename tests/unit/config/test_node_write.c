/* Trees as JSON, merged patches, and the quick reader beside jansson. */
#include "base/memory.h"
#include "config/private.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct node *read_json(struct arena *arena, const char *text)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct node *root = node_read_json(arena, slice_from_cstring(text), NULL, &problems);
    problems_release(&problems);
    assert_non_null(root);
    return root;
}

/* RFC 7396 appendix A, all of it: target, patch, result. */
static const char *const published[][3] = {
    { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
    { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
    { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
    { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
    { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
    { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
    { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
    { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
    { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
    { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
    { "{\"a\":\"foo\"}", "null", "null" },
    { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
    { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
    { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
    { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
};

static void patches_merge_as_published(void **state)
{
    for (size_t i = 0; i < COUNT_OF(published); i++) {
        struct arena arena;
        arena_init(&arena, NULL);
        struct node *target = read_json(&arena, published[i][0]), *patch = read_json(&arena, published[i][1]);
        struct node *merged = node_merge_patch(&arena, target, patch);
        assert_string_equal(node_write_json(&arena, merged).at, published[i][2]);
        assert_string_equal(node_write_json(&arena, target).at, published[i][0]);
        arena_release(&arena);
    }
}

static void a_merged_tree_has_pointers_of_its_own(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct node *merged = node_merge_patch(&arena, read_json(&arena, "{\"a\":{\"b\":1},\"c\":2}"),
                                           read_json(&arena, "{\"c\":null,\"a\":{\"d\":[{\"e\":5}]}}"));
    const struct node *list = node_find(node_find(merged, "a"), "d");
    assert_string_equal(node_pointer(node_find(list->first, "e"), &arena).at, "/a/d/0/e");
    assert_null(merged->parent);
    arena_release(&arena);
}

/* --- writing --- */

static void expect_written(const char *yaml, const char *json)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct node *root = node_read_yaml(&arena, slice_from_cstring(yaml), "f", &problems);
    assert_non_null(root);
    assert_string_equal(node_write_json(&arena, root).at, json);
    problems_release(&problems);
    arena_release(&arena);
}

static void plain_words_are_written_as_what_they_read_as(void **state)
{
    expect_written("[1, -2, 0.5, 1e3, true, false, null, ~, x, \"1\", \"true\"]",
                   "[1,-2,0.5,1e3,true,false,null,null,\"x\",\"1\",\"true\"]");
}

static void what_json_has_no_number_for_stays_a_text(void **state)
{
    expect_written("[007, 0x1F, 1., .5, +1, 1e999, 99999999999999999999, -, 1-2, 1.2.3, 1e, True]",
                   "[\"007\",\"0x1F\",\"1.\",\".5\",\"+1\",\"1e999\",\"99999999999999999999\",\"-\",\"1-2\",\"1.2.3\","
                   "\"1e\",\"True\"]");
}

static void texts_are_escaped(void **state)
{
    expect_written("{ \"a\\\"b\": \"\\\\ \\n\\r\\t\\b\\f\\u0001\\u007f \\u00e4\" }",
                   "{\"a\\\"b\":\"\\\\ \\n\\r\\t\\b\\f\\u0001\x7f \xC3\xA4\"}");
}

/* --- the quick reader --- */

static bool same(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->quoted != b->quoted || a->rounded != b->rounded || a->count != b->count) return false;
    if (!slice_equal(a->text, b->text) || !slice_equal(a->key, b->key)) return false;
    const struct node *other = b->first;
    for (const struct node *child = a->first; child; child = child->next, other = other->next) {
        if (child->parent != a || !same(child, other)) return false;
    }
    return true;
}

/* Beside a text that the quick reader leaves alone, jansson reads the whole. */
static struct node *by_jansson(struct arena *arena, const char *text)
{
    char *pair = memory_format("[%s,\"\xC3\xA4\"]", text);
    struct node *root = read_json(arena, pair);
    free(pair);
    struct node *copy = node_copy(arena, root->first);
    return copy;
}

static void both_readers_make_the_same_tree(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        " { \"a\" : [ 1 , -2.5 , 0 , true , false , null , \"x\\u0041\\n\\/\" ] , \"\" : { \"b\" : { } } } ",
        "123456789.125",
        "999999999999999999",
        "-999999999999999999",
        "0.001",
        "\"\"",
        "{\"a\":{\"a\":{\"a\":[[[]]]}}}",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct arena arena;
        arena_init(&arena, NULL);
        struct node *quick = node_read_json_quick(&arena, slice_from_cstring(texts[i]));
        assert_non_null(quick);
        assert_true(same(quick, by_jansson(&arena, texts[i])));
        arena_release(&arena);
    }
}

static void what_is_odd_is_left_to_jansson(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "{\"a\"}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "{} x",
        "01",
        "-",
        "-0",
        "1.",
        ".5",
        "1e5",
        "1.0",
        "1.2345",
        "+1",
        "nul",
        "truex",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u00\"",
        "\"\\u0000\"",
        "\"\\u00e4\"",
        "\"\xC3\xA4\"",
        "\"\x01\"",
        "{\"a\":1,\"a\":2}",
        "'a'",
        "{a:1}",
        "NaN",
        "[1]]",
        "\"\\u00g0\"",
        "1000000000000000000",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct arena arena;
        arena_init(&arena, NULL);
        if (node_read_json_quick(&arena, slice_from_cstring(texts[i]))) fail_msg("taken: %s", texts[i]);
        arena_release(&arena);
    }
}

static void depth_and_many_keys_are_left_to_jansson(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    char deep[2 * NODE_DEPTH_MAX + 3] = "";
    memset(deep, '[', NODE_DEPTH_MAX);
    memset(deep + NODE_DEPTH_MAX, ']', NODE_DEPTH_MAX);
    assert_non_null(node_read_json_quick(&arena, slice_from_cstring(deep)));
    assert_true(same(node_read_json_quick(&arena, slice_from_cstring(deep)), read_json(&arena, deep)));
    memset(deep, '[', NODE_DEPTH_MAX + 1);
    memset(deep + NODE_DEPTH_MAX + 1, ']', NODE_DEPTH_MAX + 1);
    assert_null(node_read_json_quick(&arena, slice_of(deep, sizeof deep - 1)));
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    for (int i = 0; i < 65; i++) fprintf(out, "%c\"k%d\":1", i ? ',' : '{', i);
    fputc('}', out);
    fclose(out);
    assert_null(node_read_json_quick(&arena, slice_of(text, length)));
    assert_int_equal(read_json(&arena, text)->count, 65);
    free(text);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patches_merge_as_published),
        cmocka_unit_test(a_merged_tree_has_pointers_of_its_own),
        cmocka_unit_test(plain_words_are_written_as_what_they_read_as),
        cmocka_unit_test(what_json_has_no_number_for_stays_a_text),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(both_readers_make_the_same_tree),
        cmocka_unit_test(what_is_odd_is_left_to_jansson),
        cmocka_unit_test(depth_and_many_keys_are_left_to_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
