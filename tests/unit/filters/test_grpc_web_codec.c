/* What gRPC-Web adds to gRPC, as bytes: types, base64 in a stream, the borders of messages, the frame of trailers. */
#include "unit_test.h"

#include "filters/grpc_web_codec.h"

#include <stdlib.h>

#define TEXT_BYTES_MAX 4096

static void content_types_of_grpc_web_are_known(void **state)
{
    static const struct {
        const char *value;
        bool found, text;
        const char *message;
    } rows[] = {
        { "application/grpc-web", true, false, "" },
        { "application/grpc-web+proto", true, false, "+proto" },
        { "application/grpc-web+json; charset=utf-8", true, false, "+json" },
        { "Application/gRPC-Web-Text", true, true, "" },
        { "application/grpc-web-text+proto", true, true, "+proto" },
        { "application/grpc-web-text ;q=1", true, true, "" },
        { "application/grpc", false, false, "" },
        { "application/grpc+proto", false, false, "" },
        { "application/grpc-webby", false, false, "" },
        { "application/grpc-web-texts", false, false, "" },
        { "application/grpc-web+", false, false, "" },
        { "application/grpc-web+a b", false, false, "" },
        { "application/json", false, false, "" },
        { "", false, false, "" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct grpc_web_type type = { 0 };
        bool found = grpc_web_type_parse(slice_from_cstring(rows[i].value), &type);
        if (found != rows[i].found) fail_msg("%s", rows[i].value);
        if (!found) continue;
        assert_int_equal(type.text, rows[i].text);
        assert_slice_is(type.message, rows[i].message);
    }
    struct grpc_web_type type;
    assert_false(grpc_web_type_parse(SLICE_ABSENT, &type));
}

static void plain_grpc_is_told_from_grpc_web(void **state)
{
    struct slice message;
    assert_true(grpc_type_parse(SLICE("application/grpc"), &message));
    assert_slice_is(message, "");
    assert_true(grpc_type_parse(SLICE("application/GRPC+proto;a=b"), &message));
    assert_slice_is(message, "+proto");
    assert_false(grpc_type_parse(SLICE("application/grpc-web"), &message));
    assert_false(grpc_type_parse(SLICE("application/grpc-web+proto"), &message));
    assert_false(grpc_type_parse(SLICE("text/html"), &message));
    assert_false(grpc_type_parse(SLICE_ABSENT, &message));
}

/* Reads the text cut into pieces of `step`; false where it is refused. */
static bool read_text(struct slice text, size_t step, char into[TEXT_BYTES_MAX], size_t *length, bool *whole)
{
    struct base64_reader reader = { 0 };
    *length = 0;
    for (size_t at = 0; at < text.length; at += step) {
        struct slice piece = slice_before(slice_after(text, at), step);
        size_t written;
        char *room = malloc(BASE64_READ_BYTES_MAX(piece.length)); /* so that a sanitizer sees a write behind it */
        assert_non_null(room);
        bool good = base64_read(&reader, piece, room, &written);
        assert_true(written <= BASE64_READ_BYTES_MAX(piece.length));
        memcpy(into + *length, room, written);
        *length += written;
        free(room);
        if (!good) return false;
    }
    *whole = base64_reader_is_whole(&reader);
    return true;
}

static void base64_is_read_wherever_it_is_cut_and_padded(void **state)
{
    static const struct {
        struct slice text, content;
    } rows[] = {
        { SLICE(""), SLICE("") },
        { SLICE("Zg=="), SLICE("f") },
        { SLICE("Zm8="), SLICE("fo") },
        { SLICE("Zm9v"), SLICE("foo") },
        { SLICE("Zm9vYmFy"), SLICE("foobar") },
        { SLICE("Zg==Zg==Zm8=Zm9v"), SLICE("fffofoo") },
        { SLICE("AAAAAAA="), SLICE("\0\0\0\0\0") },
        { SLICE("+/+/"), SLICE("\xfb\xff\xbf") },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t step = 1; step <= rows[i].text.length + 1; step++) {
            char content[TEXT_BYTES_MAX];
            size_t length;
            bool whole = true;
            assert_true(read_text(rows[i].text, step, content, &length, &whole));
            assert_true(whole);
            assert_int_equal(length, rows[i].content.length);
            assert_memory_equal(content, rows[i].content.at, length);
        }
    }
}

static void what_is_no_base64_is_refused(void **state)
{
    static const char *const texts[] = {
        "=",     "A=",       "A===",
        "AA=A",  "AAA=A===", "====",
        "AA-_",  "AA A",     "AAA\n",
        "AAAA ", "Zh==", /* bits behind the content */
        "Zm9=",  "Zg==\r\n", "\xff\xff\xff\xff",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t step = 1; step <= strlen(texts[i]); step++) {
            char content[TEXT_BYTES_MAX];
            size_t length;
            bool whole;
            if (read_text(slice_from_cstring(texts[i]), step, content, &length, &whole)) fail_msg("%s", texts[i]);
        }
    }
    static const char *const unfinished[] = { "Z", "Zg", "Zg=", "Zm9vZ", "Zm9vZm8" };
    for (size_t i = 0; i < COUNT_OF(unfinished); i++) {
        char content[TEXT_BYTES_MAX];
        size_t length;
        bool whole = true;
        assert_true(read_text(slice_from_cstring(unfinished[i]), 1, content, &length, &whole));
        assert_false(whole);
    }
}

static void what_is_written_in_pieces_is_one_text_until_it_is_flushed(void **state)
{
    struct base64_writer writer = { 0 };
    char text[64];
    size_t length = 0;
    length += base64_write(&writer, SLICE("f"), text + length);
    assert_int_equal(length, 0);
    length += base64_write(&writer, SLICE("oob"), text + length);
    length += base64_write(&writer, SLICE("ar"), text + length);
    assert_int_equal(base64_flush(&writer, text + length), 0);
    assert_slice_is(slice_of(text, length), "Zm9vYmFy");
    length = base64_write(&writer, SLICE("f"), text);
    length += base64_flush(&writer, text + length);
    length += base64_write(&writer, SLICE("fo"), text + length);
    length += base64_flush(&writer, text + length);
    length += base64_write(&writer, SLICE("\xfb\xff\xbf"), text + length);
    assert_slice_is(slice_of(text, length), "Zg==Zm8=+/+/");
}

static void messages_are_followed_wherever_they_are_cut(void **state)
{
    const struct slice bytes = SLICE("\0\0\0\0\0"
                                     "\1\0\0\0\3abc"
                                     "\0\0\0\1\0");
    for (size_t step = 1; step <= bytes.length; step++) {
        struct grpc_frames frames = { 0 };
        for (size_t at = 0; at < bytes.length; at += step) {
            size_t end = at + step < bytes.length ? at + step : bytes.length;
            assert_true(grpc_frames_follow(&frames, slice_of(bytes.at + at, end - at)));
            assert_int_equal(grpc_frames_at_border(&frames), end == 5 || end == 13);
        }
        static const char content[256];
        assert_true(grpc_frames_follow(&frames, slice_of(content, 255)));
        assert_false(grpc_frames_at_border(&frames));
        assert_true(grpc_frames_follow(&frames, SLICE("x")));
        assert_true(grpc_frames_at_border(&frames));
    }
}

/* Nothing is kept, so a length of 4 GiB costs nothing; it just never ends. */
static void a_giant_length_is_only_counted(void **state)
{
    struct grpc_frames frames = { 0 };
    static const char content[65536];
    assert_true(grpc_frames_follow(&frames, SLICE("\0\xff\xff\xff\xff")));
    for (uint64_t passed = 0; passed + sizeof content < UINT32_MAX; passed += sizeof content)
        assert_true(grpc_frames_follow(&frames, slice_of(content, sizeof content)));
    assert_false(grpc_frames_at_border(&frames));
    assert_true(grpc_frames_follow(&frames, slice_of(content, sizeof content - 1)));
    assert_true(grpc_frames_at_border(&frames));
}

static void flags_other_than_compressed_are_refused(void **state)
{
    for (unsigned flags = 0; flags < 256; flags++) {
        struct grpc_frames frames = { 0 };
        char byte = (char)flags;
        assert_int_equal(grpc_frames_follow(&frames, slice_of(&byte, 1)), flags <= 1);
    }
    struct grpc_frames frames = { 0 };
    assert_false(grpc_frames_follow(&frames, SLICE("\0\0\0\0\1\x80\x80\0\0\0\0")));
}

struct frame_row {
    const char *trailers[4][2]; /* names and values */
    const char *outcome[GRPC_OUTCOME_FIELDS];
    const char *text; /* behind the prefix */
};

static void trailers_become_a_frame(void **state)
{
    static const struct frame_row rows[] = {
        { { { "grpc-status", "0" } }, { NULL }, "grpc-status: 0\r\n" },
        { { { "Grpc-Status", "5" }, { "GRPC-Message", "no such %C3%A9" }, { "X-A", "" }, { "x-a", "2" } },
          { NULL },
          "grpc-status: 5\r\ngrpc-message: no such %C3%A9\r\nx-a: \r\nx-a: 2\r\n" },
        { { { NULL } },
          { "7", "no", "CAc" },
          "grpc-status: 7\r\ngrpc-message: no\r\ngrpc-status-details-bin: CAc\r\n" },
        { { { "grpc-status", "0" } }, { "7", "no" }, "grpc-message: no\r\ngrpc-status: 0\r\n" },
        { { { "x-a", "1" } },
          { NULL },
          "grpc-status: 2\r\ngrpc-message: the service's answer ended without a grpc-status\r\nx-a: 1\r\n" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena arena;
        struct headers trailers;
        struct slice outcome[GRPC_OUTCOME_FIELDS], frame;
        arena_init(&arena, NULL);
        headers_init(&trailers, &arena);
        for (size_t k = 0; k < 4 && rows[i].trailers[k][0]; k++)
            assert_true(headers_add(&trailers, slice_from_cstring(rows[i].trailers[k][0]),
                                    slice_from_cstring(rows[i].trailers[k][1])));
        for (size_t k = 0; k < GRPC_OUTCOME_FIELDS; k++) outcome[k] = slice_from_cstring(rows[i].outcome[k]);
        const struct headers *some = headers_next(&trailers, NULL) ? &trailers : NULL;
        assert_int_equal(grpc_web_write_trailers(some, outcome, &arena, &frame), GRPC_WEB_FRAME_WRITTEN);
        size_t length = strlen(rows[i].text);
        assert_int_equal(frame.length, 5 + length);
        char prefix[5] = { (char)0x80, 0, 0, (char)(length >> 8), (char)length };
        assert_memory_equal(frame.at, prefix, sizeof prefix);
        assert_slice_is(slice_after(frame, 5), rows[i].text);
        arena_release(&arena);
    }
}

static void no_trailer_can_write_another(void **state)
{
    static const struct {
        struct slice name, value;
    } rows[] = {
        { SLICE("x-a"), SLICE("1\r\ngrpc-status: 0") },
        { SLICE("x-a"), SLICE("1\n") },
        { SLICE("x-a"), SLICE("1\0") },
        { SLICE("x a"), SLICE("1") },
        { SLICE("x:a"), SLICE("1") },
        { SLICE(""), SLICE("1") },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena arena;
        struct headers trailers;
        struct slice outcome[GRPC_OUTCOME_FIELDS] = { SLICE("0") }, frame;
        arena_init(&arena, NULL);
        headers_init(&trailers, &arena);
        assert_true(headers_add(&trailers, rows[i].name, rows[i].value));
        assert_int_equal(grpc_web_write_trailers(&trailers, outcome, &arena, &frame), GRPC_WEB_FRAME_UNWRITABLE);
        outcome[GRPC_STATUS] = rows[0].value;
        assert_int_equal(grpc_web_write_trailers(NULL, outcome, &arena, &frame), GRPC_WEB_FRAME_UNWRITABLE);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_types_of_grpc_web_are_known),
        cmocka_unit_test(plain_grpc_is_told_from_grpc_web),
        cmocka_unit_test(base64_is_read_wherever_it_is_cut_and_padded),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(what_is_written_in_pieces_is_one_text_until_it_is_flushed),
        cmocka_unit_test(messages_are_followed_wherever_they_are_cut),
        cmocka_unit_test(a_giant_length_is_only_counted),
        cmocka_unit_test(flags_other_than_compressed_are_refused),
        cmocka_unit_test(trailers_become_a_frame),
        cmocka_unit_test(no_trailer_can_write_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
