/* JSON that is only looked over: what is valid and what is not, and where in it a value stands. */
#include "unit_test.h"

#include "json/scan.h"

#include <stdlib.h>

/* From the heap without a byte to spare, so that a sanitizer sees a read beyond the end. */
static bool scan(const char *text, size_t length, struct slice *value)
{
    static char *copy;
    struct error error;
    free(copy);
    copy = malloc(length ? length : 1);
    memcpy(copy, text, length);
    return json_scan_whole(slice_of(copy, length), value, &error);
}

static bool is_valid(const char *text)
{
    struct slice value;
    return scan(text, strlen(text), &value);
}

static void what_rfc_8259_allows_is_valid(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12",
        "-1.5",
        "1e5",
        "1E+5",
        "1.25e-10",
        "\"\"",
        "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u00e9\\ud83d\\ude00\\uD800\"",
        "\"\xc3\xa9\"",
        "[]",
        "[ ]",
        "[1,2]",
        "[[],[[]]]",
        "{}",
        "{ }",
        "{\"a\":1}",
        "{\"a\":{\"b\":[]},\"c\":null}",
        " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
        "{\"a\":1,\"a\":2}",
        "\"\x7f\"",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!is_valid(texts[i])) fail_msg("%s", texts[i]);
    }
}

static void what_it_does_not_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "0x1",
        "1 2",
        "\"",
        "\"a",
        "'a'",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\x01\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "[}",
        "{]",
        "[{]}",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf{}",
        "{}{}",
        "[]]",
        "1,2",
        "// x\n1",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (is_valid(texts[i])) fail_msg("%s", texts[i]);
    }
    struct slice value;
    assert_false(scan("1\0", 2, &value));
    assert_false(scan("\"\\\0\"", 4, &value));
}

static void depth_is_bounded(void **state)
{
    char text[300];
    for (size_t depth = 1; depth <= 100; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(is_valid(text), depth <= JSON_SCAN_DEPTH_MAX);
    }
}

/* Objects and arrays in each other, in both orders at each depth. */
static void brackets_close_what_they_opened(void **state)
{
    static const char open[] = "[{\"a\":[[{\"b\":{\"c\":[";
    static const char close[] = "]}}]]}]";
    char text[64];
    snprintf(text, sizeof text, "%s%s", open, close);
    assert_true(is_valid(text));
    for (size_t i = 0; i < sizeof close - 1; i++) {
        char wrong[64];
        memcpy(wrong, text, sizeof wrong);
        char *at = wrong + sizeof open - 1 + i;
        *at = *at == ']' ? '}' : ']';
        assert_false(is_valid(wrong));
    }
}

static void a_value_is_given_without_what_is_around_it(void **state)
{
    struct slice value;
    assert_true(scan("\n [1, 2]\t", 9, &value));
    assert_slice_is(value, "[1, 2]");
}

static void members_and_items_are_found_as_they_are_written(void **state)
{
    struct slice value = SLICE(
        "{ \"a\" : 1.50 , \"\\u0062\\n\":[ 1 , { \"x\" : [] } , \"z\" ] ,\"c\": \"}\\\"\", \"a\":2, \"\":3, \"\\ud83d\\ude00\":4 }");
    assert_slice_is(json_scan_member(value, SLICE("a")), "1.50");
    assert_slice_is(json_scan_member(value, SLICE("b\n")), "[ 1 , { \"x\" : [] } , \"z\" ]");
    assert_slice_is(json_scan_member(value, SLICE("c")), "\"}\\\"\"");
    assert_slice_is(json_scan_member(value, SLICE("")), "3");
    assert_slice_is(json_scan_member(value, SLICE("\xf0\x9f\x98\x80")), "4");
    assert_true(slice_is_absent(json_scan_member(value, SLICE("x"))));
    assert_true(slice_is_absent(json_scan_member(value, SLICE("aa"))));
    struct slice list = json_scan_member(value, SLICE("b\n"));
    assert_slice_is(json_scan_item(list, 0), "1");
    assert_slice_is(json_scan_item(list, 2), "\"z\"");
    assert_slice_is(json_scan_member(json_scan_item(list, 1), SLICE("x")), "[]");
    assert_true(slice_is_absent(json_scan_item(list, 3)));
}

static void what_is_no_object_or_array_has_nothing_inside(void **state)
{
    static const char *const texts[] = { "1", "\"{}\"", "null", "[]", "{}" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct slice value = slice_from_cstring(texts[i]);
        assert_true(slice_is_absent(json_scan_member(value, SLICE("a"))));
        assert_true(slice_is_absent(json_scan_item(value, 0)));
    }
    assert_true(slice_is_absent(json_scan_member(SLICE("[1]"), SLICE("0"))));
    assert_true(slice_is_absent(json_scan_item(SLICE("{\"0\":1}"), 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_valid),
        cmocka_unit_test(what_it_does_not_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(brackets_close_what_they_opened),
        cmocka_unit_test(a_value_is_given_without_what_is_around_it),
        cmocka_unit_test(members_and_items_are_found_as_they_are_written),
        cmocka_unit_test(what_is_no_object_or_array_has_nothing_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
