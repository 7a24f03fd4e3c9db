/* JSON text into a buffer: commas, escapes, broken UTF-8, and a buffer that ends too soon. Jansson reads what was written. */
#include "unit_test.h"

#include "json/writer.h"

#include <jansson.h>

static void structures_get_their_commas(void **state)
{
    char buffer[256];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof buffer);
    json_write_object_begin(&writer);
    json_write_key(&writer, SLICE("a")), json_write_unsigned(&writer, 1);
    json_write_key(&writer, SLICE("b")), json_write_array_begin(&writer);
    json_write_string(&writer, SLICE("x"));
    json_write_object_begin(&writer), json_write_object_end(&writer);
    json_write_array_begin(&writer), json_write_array_end(&writer);
    json_write_null(&writer);
    json_write_boolean(&writer, true);
    json_write_boolean(&writer, false);
    json_write_array_end(&writer);
    json_write_key(&writer, SLICE("c")), json_write_null(&writer);
    json_write_object_end(&writer);
    assert_slice_is(json_writer_result(&writer), "{\"a\":1,\"b\":[\"x\",{},[],null,true,false],\"c\":null}");
}

static void numbers_are_written_whole(void **state)
{
    char buffer[256];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof buffer);
    json_write_array_begin(&writer);
    json_write_unsigned(&writer, 0);
    json_write_unsigned(&writer, UINT64_MAX);
    json_write_signed(&writer, -1);
    json_write_signed(&writer, INT64_MIN);
    json_write_signed(&writer, INT64_MAX);
    json_write_thousandths(&writer, 0);
    json_write_thousandths(&writer, 7);
    json_write_thousandths(&writer, 1234567);
    json_write_array_end(&writer);
    assert_slice_is(json_writer_result(&writer),
                    "[0,18446744073709551615,-1,-9223372036854775808,9223372036854775807,0.000,0.007,1234.567]");
}

/* Digits are written by pairs: at each power of ten, and beside it, they are as the C library writes them. */
static void numbers_have_their_digits_at_every_length(void **state)
{
    for (uint64_t power = 1;; power *= 10) {
        for (uint64_t value = power - 1; value <= power + 1; value++) {
            char buffer[128], expected[128];
            struct json_writer writer;
            long long below = (long long)(value % INT64_MAX);
            json_writer_init(&writer, buffer, sizeof buffer);
            json_write_unsigned(&writer, value);
            json_write_signed(&writer, below), json_write_signed(&writer, -below);
            json_write_thousandths(&writer, value);
            snprintf(expected, sizeof expected, "%llu,%lld,%lld,%llu.%03llu", (unsigned long long)value, below, -below,
                     (unsigned long long)value / 1000, (unsigned long long)value % 1000);
            assert_slice_is(json_writer_result(&writer), expected);
        }
        if (power > UINT64_MAX / 10) return;
    }
}

/* Whoever has bytes that are JSON already brings their commas too; the next value gets none. */
static void ready_bytes_go_in_as_they_stand(void **state)
{
    for (size_t size = 0; size <= 16; size++) {
        char *buffer = malloc(size + 1);
        struct json_writer writer;
        buffer[size] = '#';
        json_writer_init(&writer, buffer, size);
        json_write_ready(&writer, SLICE("{\"a\":")), json_write_unsigned(&writer, 1);
        json_write_ready(&writer, SLICE(",\"b\":")), json_write_null(&writer);
        json_write_ready(&writer, SLICE("}")); /* fits again where "null" didn't: what overflowed once stays so */
        if (size < 16) assert_true(slice_is_absent(json_writer_result(&writer)));
        if (size == 16) assert_slice_is(json_writer_result(&writer), "{\"a\":1,\"b\":null}");
        assert_int_equal(buffer[size], '#');
        free(buffer);
    }
}

static struct slice write_text(char *buffer, size_t size, struct slice text)
{
    struct json_writer writer;
    json_writer_init(&writer, buffer, size);
    json_write_string(&writer, text);
    return json_writer_result(&writer);
}

static void strings_are_escaped(void **state)
{
    static const struct {
        const char *text, *written;
    } rows[] = {
        { "", "\"\"" },
        { "plain", "\"plain\"" },
        { "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
        { "\n\r\t\x01\x1f\x7f", "\"\\u000a\\u000d\\u0009\\u0001\\u001f\\u007f\"" },
        { "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"" },
        { "\xff", "\"\xef\xbf\xbd\"" },
        { "\xc3", "\"\xef\xbf\xbd\"" },                                                 /* cut off */
        { "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },                                 /* overlong '/' */
        { "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },                 /* a surrogate */
        { "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* beyond U+10FFFF */
        { "\xe2\x82X", "\"\xef\xbf\xbd\xef\xbf\xbdX\"" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char buffer[128];
        assert_slice_is(write_text(buffer, sizeof buffer, slice_from_cstring(rows[i].text)), rows[i].written);
    }
    char buffer[16];
    assert_slice_is(write_text(buffer, sizeof buffer, slice_of("a\0b", 3)), "\"a\\u0000b\"");
}

/* Whatever a client sends, the log stays valid JSON. */
static void random_bytes_give_valid_json(void **state)
{
    uint64_t seed = 99;
    for (int round = 0; round < 20000; round++) {
        char bytes[40], buffer[512];
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (char)(seed >> 40);
            if (seed >> 62 == 0) bytes[i] = (char)(0xc0 | (bytes[i] & 0x3f)); /* more lead bytes than chance gives */
        }
        struct slice text = write_text(buffer, sizeof buffer, slice_of(bytes, sizeof bytes));
        json_error_t error;
        json_t *value = json_loadb(text.at, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!value) fail_msg("%s: %.*s", error.text, SLICE_PRINT(text));
        json_decref(value);
    }
}

/* Sixteen bytes are looked at together: one that is special is found at every place of texts of every length. */
static void a_special_byte_is_found_wherever_it_stands(void **state)
{
    static const struct {
        char byte;
        const char *written;
    } specials[] = {
        { '"', "\\\"" }, { '\\', "\\\\" }, { '\n', "\\u000a" }, { '\x7f', "\\u007f" }, { '\xff', "\xef\xbf\xbd" }
    };
    for (size_t length = 1; length <= 50; length++) {
        for (size_t at = 0; at < length; at++) {
            for (size_t i = 0; i < COUNT_OF(specials); i++) {
                char text[64], buffer[128], expected[128];
                for (size_t j = 0; j < length; j++) text[j] = (char)('a' + (j + at) % 26);
                text[at] = specials[i].byte;
                snprintf(expected, sizeof expected, "\"%.*s%s%.*s\"", (int)at, text, specials[i].written,
                         (int)(length - at - 1), text + at + 1);
                assert_slice_is(write_text(buffer, sizeof buffer, slice_of(text, length)), expected);
            }
        }
    }
}

/* At every size too small nothing is written beyond, and the writer says so. */
static void a_buffer_that_is_too_small_is_told(void **state)
{
    char whole[256];
    for (size_t size = 0; size <= sizeof whole; size++) {
        char *buffer = malloc(size + 1);
        struct json_writer writer;
        buffer[size] = '#';
        json_writer_init(&writer, buffer, size);
        json_write_object_begin(&writer);
        json_write_key(&writer, SLICE("text")), json_write_string(&writer, SLICE("a\"b\n\xff\xc3\xa9"));
        json_write_key(&writer, SLICE("number")), json_write_thousandths(&writer, 12345);
        json_write_key(&writer, SLICE("list")), json_write_array_begin(&writer);
        json_write_boolean(&writer, true), json_write_null(&writer), json_write_signed(&writer, -5);
        json_write_array_end(&writer);
        json_write_object_end(&writer);
        struct slice result = json_writer_result(&writer);
        const size_t needed = strlen(
            "{\"text\":\"a\\\"b\\u000a\xef\xbf\xbd\xc3\xa9\",\"number\":12.345,\"list\":[true,null,-5]}");
        assert_int_equal(slice_is_absent(result), size < needed);
        assert_int_equal(buffer[size], '#');
        free(buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structures_get_their_commas),
        cmocka_unit_test(numbers_are_written_whole),
        cmocka_unit_test(numbers_have_their_digits_at_every_length),
        cmocka_unit_test(ready_bytes_go_in_as_they_stand),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(random_bytes_give_valid_json),
        cmocka_unit_test(a_special_byte_is_found_wherever_it_stands),
        cmocka_unit_test(a_buffer_that_is_too_small_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
