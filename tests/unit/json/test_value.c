/* JSON read strictly into a tree: what it holds, what is refused and where, and that no text makes reading slow or deep. */
#include "unit_test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "json/value.h"

#include <math.h>

/* From the heap without a byte to spare, so that a sanitizer sees a read beyond the end. */
static bool parse(const char *text, size_t length, struct arena *arena, struct json_value *value, struct error *error)
{
    char *copy = arena_allocate(arena, length ? length : 1);
    memcpy(copy, text, length);
    return json_parse(slice_of(copy, length), arena, value, error);
}

static int set_up(void **state)
{
    struct arena *arena = memory_allocate(sizeof *arena);
    arena_init(arena, NULL);
    *state = arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

static void a_tree_holds_what_the_text_says(void **state)
{
    static const char text[] = " {\"a\": [1, -2.5, true, false, null, \"x\"], \"b\": {\"c\": {}}, \"\": []} \n";
    struct json_value value;
    struct error error;
    assert_true(parse(text, sizeof text - 1, *state, &value, &error));
    assert_int_equal(value.type, JSON_OBJECT);
    assert_int_equal(value.count, 3);
    const struct json_value *a = json_find(&value, SLICE("a"));
    assert_int_equal(a->type, JSON_ARRAY);
    assert_int_equal(a->count, 6);
    assert_true(a->items[0].type == JSON_INTEGER && a->items[0].integer == 1);
    assert_true(a->items[1].type == JSON_DOUBLE && a->items[1].number == -2.5);
    assert_true(a->items[2].type == JSON_BOOLEAN && a->items[2].boolean);
    assert_true(a->items[3].type == JSON_BOOLEAN && !a->items[3].boolean);
    assert_int_equal(a->items[4].type, JSON_NULL);
    assert_slice_is(a->items[5].text, "x");
    const struct json_value *c = json_find(json_find(&value, SLICE("b")), SLICE("c"));
    assert_true(c->type == JSON_OBJECT && c->count == 0 && c->members == NULL);
    assert_int_equal(json_find(&value, SLICE(""))->type, JSON_ARRAY);
    assert_null(json_find(&value, SLICE("A")));
    assert_null(json_find(a, SLICE("a")));
    assert_null(json_find(NULL, SLICE("a")));
    assert_true(slice_is_absent(json_find_text(&value, SLICE("a"))));
}

static void strings_are_decoded(void **state)
{
    static const struct {
        const char *text, *decoded;
    } rows[] = {
        { "\"\"", "" },
        { "\"plain\"", "plain" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac" },
        { "\"\\ud83d\\uDE00!\"", "\xf0\x9f\x98\x80!" },
        { "\"\xc3\xa9\"", "\xc3\xa9" },
        { "\"\x7f\"", "\x7f" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json_value value;
        struct error error;
        assert_true(parse(rows[i].text, strlen(rows[i].text), *state, &value, &error));
        assert_int_equal(value.type, JSON_STRING);
        assert_non_null(value.text.at);
        assert_slice_is(value.text, rows[i].decoded);
    }
}

static void a_nul_in_a_string_stays_one_byte_of_it(void **state)
{
    struct json_value value;
    struct error error;
    assert_true(parse("\"a\\u0000b\"", 10, *state, &value, &error));
    assert_int_equal(value.text.length, 3);
    assert_memory_equal(value.text.at, "a\0b", 3);
}

static void integers_are_whole_up_to_64_bits(void **state)
{
    static const struct {
        const char *text;
        int64_t integer;
    } rows[] = {
        { "0", 0 },
        { "-0", 0 },
        { "1700000000", 1700000000 },
        { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN },
    };
    struct json_value value;
    struct error error;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(parse(rows[i].text, strlen(rows[i].text), *state, &value, &error));
        assert_true(value.type == JSON_INTEGER && value.integer == rows[i].integer);
    }
    static const struct {
        const char *text;
        double number;
    } doubles[] = {
        { "1.0", 1 }, { "1e3", 1000 }, { "1E+3", 1000 }, { "25e-1", 2.5 }, { "0.1", 0.1 }, { "1e-400", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(doubles); i++) {
        assert_true(parse(doubles[i].text, strlen(doubles[i].text), *state, &value, &error));
        assert_true(value.type == JSON_DOUBLE && value.number == doubles[i].number);
    }
}

/* By value, with all their digits. */
static void numbers_are_equal_as_they_are_written(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        { "1", "1", true },
        { "1", "1.0", true },
        { "1", "10e-1", true },
        { "1", "0.00100E+3", true },
        { "100", "1e2", true },
        { "1", "-1", false },
        { "0", "-0.0e7", true },
        { "0.0", "0e99999999999999999999", true },
        { "0", "1e-400", false }, /* a double takes it for 0 */
        { "0.1", "0.10000000000000000001", false },
        { "0.1", "0.100", true },
        { "10", "1", false },
        { "1.5", "15", false },
        { "1.5", "15e-1", true },
        { "12", "1.20", false },
        { "9007199254740993", "9007199254740992.0", false },
        { "9007199254740993", "9007199254740993.0", true },
        { "9223372036854775807", "9223372036854775808", false },
        { "9223372036854775808", "9223372036854775809", false },
        { "-9223372036854775808", "-9223372036854775808.0", true },
        { "18446744073709551616", "1844674407370955161.6e1", true },
        { "18446744073709551615", "1844674407370955161.5e1", true },
        { "18446744073709551615", "18446744073709551614", false },
        { "9223372036854775807", "9223372036854775808", false },
        { "18446744073709551616", "18446744073709551617", false },
        { "123456789012345678901234567890", "123456789012345678901234567891", false },
        { "1e400", "1e401", false },
        { "1e400", "0.1e401", true },
        { "1e00400", "1e400", true },
        { "1e99999999999999999", "0.1e100000000000000000", false }, /* too long to reckon with, and not written alike */
        { "1e99999999999999999999", "1e99999999999999999999", true },
        { "1e99999999999999999999", "1.0E+99999999999999999999", true },
        { "1e99999999999999999999", "1e-99999999999999999999", false },
        { "1e99999999999999999999", "1e99999999999999999998", false },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json_value a, b;
        struct error error;
        assert_true(json_parse_any_number(slice_from_cstring(rows[i].a), *state, &a, &error));
        assert_true(json_parse_any_number(slice_from_cstring(rows[i].b), *state, &b, &error));
        if (json_numbers_equal(&a, &b) != rows[i].equal) fail_msg("%s and %s", rows[i].a, rows[i].b);
        if (json_numbers_equal(&b, &a) != rows[i].equal) fail_msg("%s and %s", rows[i].b, rows[i].a);
    }
}

/* Neighbours stay two, of whatever length, and in a copy as well. */
static void larger_whole_numbers_stay_exact(void **state)
{
    static const struct {
        const char *text;
        uint64_t natural; /* 0: it is kept by its digits */
        double number;
    } rows[] = {
        { "9223372036854775808", UINT64_C(9223372036854775808), 9223372036854775808.0 },
        { "18446744073709551615", UINT64_MAX, 18446744073709551616.0 },
        { "18446744073709551616", 0, 18446744073709551616.0 },
        { "18446744073709551617", 0, 18446744073709551616.0 },
        { "-9223372036854775809", 0, -9223372036854775809.0 },
        { "340282366920938463463374607431768211456", 0, 0x1p128 },
    };
    struct json_value value, copy;
    struct error error;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(parse(rows[i].text, strlen(rows[i].text), *state, &value, &error));
        assert_true(json_is_number(&value) && json_number(&value) == rows[i].number);
        if (rows[i].natural) {
            assert_true(value.type == JSON_UNSIGNED && value.natural == rows[i].natural);
            continue;
        }
        assert_int_equal(value.type, JSON_LONG_NUMBER);
        size_t bytes = json_copied_bytes(&value);
        char *block = malloc(bytes);
        json_copy_tree(&value, block, &copy);
        assert_true(copy.type == JSON_LONG_NUMBER && copy.text.at == block);
        assert_slice_is(copy.text, rows[i].text);
        free(block);
    }
    char longest[400];
    memset(longest, '9', sizeof longest);
    assert_true(parse(longest, 308, *state, &value, &error));
    assert_true(value.text.length == 308 && json_number(&value) > 9e307);
    assert_false(parse(longest, sizeof longest, *state, &value, &error));
    assert_true(json_parse_any_number(slice_of(longest, sizeof longest), *state, &value, &error));
    assert_true(value.type == JSON_LONG_NUMBER && isinf(json_number(&value)));
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } rows[] = {
        { "", "no value at byte 1" },
        { "  ", "no value at byte 3" },
        { "nul", "no value at byte 1" },
        { "True", "no value at byte 1" },
        { "{", "no name of a member at byte 2" },
        { "{\"a\"}", "no : behind a name at byte 5" },
        { "{\"a\":}", "no value at byte 6" },
        { "{\"a\":1,}", "no name of a member at byte 8" },
        { "{\"a\":1 \"b\":2}", "neither , nor }" },
        { "{a:1}", "no name of a member at byte 2" },
        { "[1,]", "no value at byte 4" },
        { "[1 2]", "neither , nor ]" },
        { "[1", "neither , nor ]" },
        { "1 2", "something behind the value at byte 3" },
        { "01", "something behind the value at byte 2" },
        { "+1", "no value at byte 1" },
        { "-", "no value at byte 1" },
        { ".5", "no value at byte 1" },
        { "1.", "no digit behind the point" },
        { "1e", "no digit in the exponent" },
        { "1e+", "no digit in the exponent" },
        { "1e400", "beyond all bounds" },
        { "NaN", "no value at byte 1" },
        { "Infinity", "no value at byte 1" },
        { "0x10", "something behind the value" },
        { "\"abc", "ends inside a string" },
        { "\"abc\\", "ends inside a string" },
        { "\"abc\\\"", "ends inside a string" },
        { "\"a\nb\"", "a control character in a string at byte 3" },
        { "\"a\x1f\"", "a control character" },
        { "\"\\x41\"", "an escape that stands for no character at byte 2" },
        { "\"\\u12\"", "an escape" },
        { "\"\\u12g4\"", "an escape" },
        { "\"\\ud800\"", "an escape" },
        { "\"\\ud800\\u0041\"", "an escape" },
        { "\"\\ud800\\ud800\"", "an escape" },
        { "\"\\udc00\"", "an escape" },
        { "\"\xff\"", "not UTF-8" },
        { "\"\xc0\x80\"", "not UTF-8" },
        { "\"\xed\xa0\x80\"", "not UTF-8" },
        { "\"\\\xc3\xa9\"", "an escape" },
        { "{\"a\":1,\"a\":2}", "two members of one name in the object at byte 1" },
        { "[{\"a\":1,\"\\u0061\":2}]", "two members of one name in the object at byte 2" },
        { "\xef\xbb\xbf{}", "no value at byte 1" },
        { "'a'", "no value at byte 1" },
        { "[1] // why", "something behind the value" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json_value value = { .type = 77 };
        struct error error = { 0 };
        if (parse(rows[i].text, strlen(rows[i].text), *state, &value, &error)) fail_msg("%s was read", rows[i].text);
        if (!strstr(error.text, rows[i].words)) fail_msg("%s: %s", rows[i].text, error.text);
        assert_int_equal(error.status, 400);
        assert_int_equal(error.blame, BLAME_CLIENT);
        assert_int_equal(value.type, 77);
    }
}

static void nesting_ends_at_32_levels(void **state)
{
    char text[200];
    struct json_value value;
    struct error error;
    for (int depth = 31; depth <= 34; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        bool good = parse(text, (size_t)depth * 2, *state, &value, &error);
        assert_int_equal(good, depth <= JSON_DEPTH_MAX);
        if (!good) assert_non_null(strstr(error.text, "too many levels at byte 33"));
    }
}

/* 40,000 names, the last one a double: comparing each with each would take seconds. */
static void doubles_are_found_among_many_names_in_no_time(void **state)
{
    size_t size = 40000 * 12 + 32, length = 0;
    char *text = memory_allocate(size);
    text[length++] = '{';
    for (int i = 0; i < 40000; i++) length += (size_t)snprintf(text + length, size - length, "\"n%d\":1,", i);
    size_t without = length;
    length += (size_t)snprintf(text + length, size - length, "\"n7\":1}");
    struct json_value value;
    struct error error;
    uint64_t begun_ns = clock_monotonic_ns();
    assert_false(json_parse(slice_of(text, length), *state, &value, &error));
    assert_non_null(strstr(error.text, "two members"));
    text[without - 1] = '}';
    assert_true(json_parse(slice_of(text, without), *state, &value, &error));
    assert_int_equal(value.count, 40000);
    assert_true(clock_monotonic_ns() - begun_ns < UINT64_C(2000000000));
    free(text);
}

/* A pool whose ceiling leaves nothing. */
static void without_memory_it_says_so(void **state)
{
    struct memory_ceiling ceiling = { .bytes_max = 1 };
    struct arena_pool pool;
    struct arena arena;
    struct json_value value;
    struct error error;
    arena_pool_init(&pool, 0, &ceiling);
    arena_init(&arena, &pool);
    static const char *const texts[] = { "[1]", "{\"a\":1}", "\"\\n\"" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_false(json_parse(slice_from_cstring(texts[i]), &arena, &value, &error));
        assert_int_equal(error.status, 503);
        assert_int_equal(error.blame, BLAME_US);
    }
    arena_release(&arena);
    arena_pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tree_holds_what_the_text_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strings_are_decoded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nul_in_a_string_stays_one_byte_of_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(integers_are_whole_up_to_64_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(larger_whole_numbers_stay_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_are_equal_as_they_are_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_json_is_refused_with_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nesting_ends_at_32_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(doubles_are_found_among_many_names_in_no_time, set_up, tear_down),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
