/* A document becomes a tree that knows where everything stood; equal content has equal hashes. */
#include "config/kinds.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct document {
    struct arena arena;
    struct problems problems;
    struct node *root;
};

static struct document read_document(const char *text, bool json)
{
    struct document document;
    arena_init(&document.arena, NULL);
    problems_init(&document.problems, NULL);
    document.root = (json ? node_read_json : node_read_yaml)(&document.arena, slice_from_cstring(text), "file",
                                                             &document.problems);
    return document;
}

static void release(struct document *document)
{
    arena_release(&document->arena);
    problems_release(&document->problems);
}

static struct content_hash hash_of(const char *text, bool json)
{
    struct document document = read_document(text, json);
    assert_non_null(document.root);
    struct content_hash hash = node_hash(document.root);
    release(&document);
    return hash;
}

static bool hashes_equal(struct content_hash a, struct content_hash b)
{
    return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

static void keys_and_values_know_their_places(void **state)
{
    struct document document = read_document("# first\nroutes:\n  - name: ünï\n    path:   /a\n", false);
    const struct node *routes = node_find(document.root, "routes");
    assert_int_equal(routes->key_line, 2);
    assert_int_equal(routes->key_column, 1);
    assert_int_equal(routes->count, 1);
    const struct node *path = node_find(routes->first, "path");
    assert_int_equal(path->key_line, 4);
    assert_int_equal(path->key_column, 5);
    assert_int_equal(path->line, 4);
    assert_int_equal(path->column, 13);
    assert_string_equal(path->text.at, "/a");
    assert_string_equal(path->key.at, "path");
    assert_ptr_equal(path->parent, routes->first);
    release(&document);
}

static void columns_count_characters_not_bytes(void **state)
{
    struct document document = read_document("{ ünï: 1, b: 2 }", false);
    assert_int_equal(node_find(document.root, "b")->key_column, 11);
    release(&document);
}

static void quotes_and_nulls_are_told_apart(void **state)
{
    struct document document = read_document("{ a: null, b: 'null', c: ~, d: , e: \"\", f: 5, g: '5', h: | \n}", false);
    assert_null(document.root); /* a block text can't stand inside braces */
    release(&document);
    document = read_document("a: null\nb: 'null'\nc: ~\nd:\ne: \"\"\nf: 5\ng: '5'\nh: |\n  5\n", false);
    static const struct {
        const char *key;
        enum node_kind kind;
        bool quoted;
        const char *text;
    } expected[] = {
        { "a", NODE_NULL, false, "null" }, { "b", NODE_SCALAR, true, "null" }, { "c", NODE_NULL, false, "null" },
        { "d", NODE_NULL, false, "" },     { "e", NODE_SCALAR, true, "" },     { "f", NODE_SCALAR, false, "5" },
        { "g", NODE_SCALAR, true, "5" },   { "h", NODE_SCALAR, true, "5\n" },
    };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        const struct node *node = node_find(document.root, expected[i].key);
        assert_int_equal(node->kind, expected[i].kind);
        assert_int_equal(node->quoted, expected[i].quoted);
        assert_string_equal(node->text.at, expected[i].text);
    }
    release(&document);
}

static void json_has_pointers_where_it_has_no_lines(void **state)
{
    struct document document = read_document("{\"routes\": [{}, {\"a/b~c\": [1, 2.5, true, null, \"x\"]}]}", true);
    const struct node *list = node_find(node_find(document.root, "routes")->first->next, "a/b~c");
    const struct node *fraction = list->first->next;
    struct slice pointer = node_pointer(fraction, &document.arena);
    assert_string_equal(pointer.at, "/routes/1/a~1b~0c/1");
    assert_string_equal(node_pointer(document.root, &document.arena).at, "");
    assert_int_equal(fraction->line, 0);
    assert_string_equal(fraction->text.at, "2.5");
    assert_true(fraction->rounded && !list->first->rounded);
    assert_false(fraction->next->quoted);
    assert_string_equal(fraction->next->text.at, "true");
    assert_int_equal(fraction->next->next->kind, NODE_NULL);
    assert_true(fraction->next->next->next->quoted);
    release(&document);
}

static void the_tree_outlives_the_text(void **state)
{
    char text[] = "name: users\n";
    struct document document = read_document(text, false);
    memset(text, 'x', sizeof text - 1);
    assert_string_equal(document.root->first->text.at, "users");
    assert_string_equal(document.root->first->key.at, "name");
    release(&document);
}

static void equal_content_has_an_equal_hash(void **state)
{
    struct content_hash hash = hash_of("name: a\npath: /x\nlist: [1, 2]\nmap: { p: q, r: s }\n", false);
    assert_true(hashes_equal(
        hash, hash_of("\n\n# moved\nmap:\n    r: \"s\"\n    p: 'q'\nlist:\n- 1\n- \"2\"\npath: /x\nname: a\n", false)));
    assert_true(hashes_equal(
        hash, hash_of("{\"map\":{\"r\":\"s\",\"p\":\"q\"},\"path\":\"/x\",\"name\":\"a\",\"list\":[1,2]}", true)));
}

static void different_content_has_a_different_hash(void **state)
{
    static const char *const texts[] = { "a: 1\n",           "a: 2\n",      "b: 1\n",        "a: [1]\n",
                                         "a: [1, 2]\n",      "a: [2, 1]\n", "a: [[1], 2]\n", "a: { b: 1 }\n",
                                         "a: null\n",        "a: \"\"\n",   "a: []\n",       "a: {}\n",
                                         "{ a: 1, b: 1 }\n", "{ ab: 1 }\n", "{ a: b1 }\n",   "{ a: b, b: a }\n",
                                         "{ a: a, b: b }\n", "a: [[]]\n",   "a: [[1, 2]]\n", "a: [1, [2]]\n" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t j = 0; j < i; j++) assert_false(hashes_equal(hash_of(texts[i], false), hash_of(texts[j], false)));
    }
}

static void a_duplicate_leaves_the_first_so_that_the_rest_can_be_checked(void **state)
{
    struct document document = read_document("a: 1\nb: 2\na: 3\n", false);
    assert_int_equal(document.problems.count, 1);
    assert_non_null(document.root);
    assert_int_equal(document.root->count, 2);
    assert_string_equal(node_find(document.root, "a")->text.at, "1");
    release(&document);
}

static void a_large_map_costs_no_square(void **state)
{
    enum { KEYS = 200000 };
    size_t capacity = (size_t)KEYS * 12;
    char *text = malloc(capacity);
    size_t length = 0;
    for (int i = 0; i < KEYS; i++) length += (size_t)snprintf(text + length, capacity - length, "k%d: 1\n", i);
    struct document document = read_document(text, false);
    assert_int_equal(document.root->count, KEYS);
    free(text);
    release(&document);
}

static void sixty_four_levels_are_read_and_one_more_is_not(void **state)
{
    for (unsigned levels = NODE_DEPTH_MAX; levels <= NODE_DEPTH_MAX + 1; levels++) {
        char text[2 * (NODE_DEPTH_MAX + 1) + 1] = "";
        memset(text, '[', levels);
        memset(text + levels, ']', levels);
        for (int json = 0; json < 2; json++) {
            struct document document = read_document(text, json);
            assert_int_equal(document.root != NULL, levels == NODE_DEPTH_MAX);
            release(&document);
        }
    }
}

static void too_large_a_text_is_refused_before_it_is_read(void **state)
{
    size_t length = NODE_TEXT_BYTES_MAX + 1;
    char *text = malloc(length);
    memset(text, ' ', length);
    for (int json = 0; json < 2; json++) {
        struct document document = read_document("", false);
        release(&document);
        document = (struct document){ 0 };
        problems_init(&document.problems, NULL);
        document.root = (json ? node_read_json : node_read_yaml)(&document.arena, slice_of(text, length), "file",
                                                                 &document.problems);
        assert_null(document.root);
        const struct problem *problem = vector_at(&document.problems.list, 0);
        assert_string_equal(problem->message, "larger than 64 MiB");
        release(&document);
    }
    free(text);
}

/* Wherever it stands, also where a parser might take it for an end. */
static void a_nul_byte_is_refused_with_its_place(void **state)
{
    static const struct {
        struct slice text;
        unsigned line, column;
    } cases[] = {
        { { "{\"a\":1\0}", 8 }, 1, 7 },       { { "{\"a\":1.5\0}", 10 }, 1, 9 }, { { "1\0", 2 }, 1, 2 },
        { { "{\"a\":\n [1\0]}", 11 }, 2, 4 }, { { "{\"a\0\":1}", 8 }, 1, 4 },    { { "{}\0", 3 }, 1, 3 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct document document;
        arena_init(&document.arena, NULL);
        problems_init(&document.problems, NULL);
        document.root = node_read_json(&document.arena, cases[i].text, "file", &document.problems);
        assert_null(document.root);
        assert_int_equal(document.problems.count, 1);
        const struct problem *problem = vector_at(&document.problems.list, 0);
        assert_string_equal(problem->message, "not valid JSON: a NUL byte");
        assert_int_equal(problem->line, cases[i].line);
        assert_int_equal(problem->column, cases[i].column);
        release(&document);
    }
}

/* In JSON before memory is taken for them; YAML counts as it goes, which takes too long for every run. */
static void too_many_values_are_refused(void **state)
{
    size_t length = 2 * (size_t)NODE_COUNT_MAX + 3;
    char *text = malloc(length + 1);
    for (size_t i = 0; i < length; i++) text[i] = i % 2 ? '1' : ',';
    text[0] = '[';
    text[length - 1] = ']';
    text[length] = '\0';
    struct document document = read_document(text, true);
    assert_null(document.root);
    const struct problem *problem = vector_at(&document.problems.list, 0);
    assert_string_equal(problem->message, "too many values: a file may hold 4,000,000");
    release(&document);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values_know_their_places),
        cmocka_unit_test(columns_count_characters_not_bytes),
        cmocka_unit_test(quotes_and_nulls_are_told_apart),
        cmocka_unit_test(json_has_pointers_where_it_has_no_lines),
        cmocka_unit_test(the_tree_outlives_the_text),
        cmocka_unit_test(equal_content_has_an_equal_hash),
        cmocka_unit_test(different_content_has_a_different_hash),
        cmocka_unit_test(a_duplicate_leaves_the_first_so_that_the_rest_can_be_checked),
        cmocka_unit_test(a_large_map_costs_no_square),
        cmocka_unit_test(sixty_four_levels_are_read_and_one_more_is_not),
        cmocka_unit_test(too_large_a_text_is_refused_before_it_is_read),
        cmocka_unit_test(a_nul_byte_is_refused_with_its_place),
        cmocka_unit_test(too_many_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
