/* Bytes compressed and unpacked again, whatever the pieces; flushes that can be read at once; memory within what was announced; bodies that
 * are cut, damaged or go on too long. */
#include "unit_test.h"

#include "base/memory.h"
#include "filters/decoder.h"
#include "filters/encoder.h"

#include <malloc.h>
#include <stdio.h>

#define PLAIN_BYTES (200 * 1024u)

static const enum content_coding written[] = { CODING_GZIP, CODING_BROTLI, CODING_ZSTD };

static char *plain;

static int make_plain(void **state)
{
    struct error error;
    size_t length = 0;
    unsigned number = 1;
    if (!content_coding_load(CODING_BROTLI, &error) || !content_coding_load(CODING_ZSTD, &error)) return -1;
    plain = memory_allocate(PLAIN_BYTES + 200);
    while (length < PLAIN_BYTES) {
        number = number * 1103515245u + 12345u;
        length += (size_t)snprintf(plain + length, 100, "{\"id\":%u,\"name\":\"user-%u\",\"active\":true},", number,
                                   (number >> 8) % 1000);
    }
    return 0;
}

static int forget_plain(void **state)
{
    free(plain);
    return 0;
}

/* --- helpers: a growing text, and both ways in pieces --- */

struct bytes {
    char *at;
    size_t length, capacity;
};

static void append(struct bytes *bytes, const char *at, size_t length)
{
    if (bytes->length + length > bytes->capacity) {
        bytes->capacity = (bytes->length + length) * 2;
        bytes->at = memory_resize(bytes->at, bytes->capacity);
    }
    if (length) memcpy(bytes->at + bytes->length, at, length);
    bytes->length += length;
}

static void reach(struct encoder *encoder, struct slice input, enum encoder_goal goal, size_t room,
                  struct bytes *packed)
{
    char *into = memory_allocate(room); /* a sanitizer sees a write behind it */
    for (enum encoder_result result = ENCODER_GOES_ON; result != ENCODER_DONE;) {
        size_t length;
        result = encoder_run(encoder, &input, goal, into, room, &length);
        assert_int_not_equal(result, ENCODER_FAILED);
        assert_true(length <= room);
        append(packed, into, length);
    }
    assert_int_equal(input.length, 0);
    free(into);
}

static struct bytes pack(struct encoder_pool *pool, const struct encoder_wish *wish, struct slice text, size_t piece,
                         size_t room)
{
    struct bytes packed = { 0 };
    struct encoder *encoder = encoder_take(pool, NULL, wish);
    assert_non_null(encoder);
    for (size_t at = 0; at < text.length; at += piece)
        reach(encoder, slice_before(slice_after(text, at), piece), ENCODER_TAKE, room, &packed);
    reach(encoder, SLICE(""), ENCODER_END, room, &packed);
    encoder_give(encoder);
    return packed;
}

/* Until the input is used up or refused. */
static enum decoder_result unpack_on(struct decoder *decoder, struct slice packed, size_t piece, size_t room,
                                     struct bytes *text)
{
    char *into = memory_allocate(room);
    enum decoder_result result = DECODER_GOES_ON;
    for (size_t at = 0; at < packed.length && result == DECODER_GOES_ON; at += piece) {
        struct slice part = slice_before(slice_after(packed, at), piece);
        size_t length = room;
        while (result == DECODER_GOES_ON && (part.length > 0 || length == room)) {
            result = decoder_run(decoder, &part, into, room, &length);
            append(text, into, length);
        }
    }
    free(into);
    return result;
}

static enum decoder_result unpack(enum content_coding coding, struct slice packed, size_t piece, size_t room,
                                  struct bytes *text, bool *whole)
{
    struct decoder *decoder = decoder_create(coding, NULL);
    assert_non_null(decoder);
    *text = (struct bytes){ 0 };
    enum decoder_result result = unpack_on(decoder, packed, piece, room, text);
    *whole = decoder_is_whole(decoder);
    decoder_destroy(decoder);
    return result;
}

static void assert_unpacks_to(enum content_coding coding, struct slice packed, size_t piece, size_t room,
                              struct slice expected)
{
    struct bytes text;
    bool whole;
    assert_int_equal(unpack(coding, packed, piece, room, &text, &whole), DECODER_GOES_ON);
    assert_true(whole);
    assert_int_equal(text.length, expected.length);
    if (expected.length) assert_memory_equal(text.at, expected.at, expected.length);
    free(text.at);
}

static struct encoder_wish wish_for(enum content_coding coding, uint64_t expected)
{
    return (struct encoder_wish){ .coding = coding, .level = coding == CODING_GZIP ? 6 : 4, .expected = expected };
}

/* --- tests --- */

static void what_was_packed_is_unpacked_whatever_the_pieces(void **state)
{
    static const size_t lengths[] = { 0, 1, 10, 1000, 16384, 70000, PLAIN_BYTES };
    static const size_t pieces[] = { 7, 4096, PLAIN_BYTES }, rooms[] = { ENCODER_ROOM_MIN, 16384 };
    struct encoder_pool *pool = encoder_pool_create();
    for (size_t i = 0; i < COUNT_OF(written) * COUNT_OF(lengths) * COUNT_OF(pieces) * COUNT_OF(rooms); i++) {
        enum content_coding coding = written[i % COUNT_OF(written)];
        size_t rest = i / COUNT_OF(written), length = lengths[rest % COUNT_OF(lengths)];
        size_t piece = pieces[rest / COUNT_OF(lengths) % COUNT_OF(pieces)];
        size_t room = rooms[rest / COUNT_OF(lengths) / COUNT_OF(pieces)];
        struct encoder_wish wish = wish_for(coding, i % 2 ? length : UINT64_MAX);
        struct bytes packed = pack(pool, &wish, slice_of(plain, length), piece, room);
        if (length >= 1000) assert_true(packed.length < length);
        assert_unpacks_to(coding, slice_of(packed.at, packed.length), piece, room, slice_of(plain, length));
        free(packed.at);
    }
    encoder_pool_destroy(pool);
}

static void all_levels_can_be_read(void **state)
{
    static const int most[CODING_COUNT] = {
        [CODING_GZIP] = GZIP_LEVEL_MAX, [CODING_BROTLI] = BROTLI_LEVEL_MAX, [CODING_ZSTD] = ZSTD_LEVEL_MAX
    };
    struct encoder_pool *pool = encoder_pool_create();
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        for (int level = written[i] == CODING_BROTLI ? 0 : 1; level <= most[written[i]]; level++) {
            struct encoder_wish wish = { .coding = written[i], .level = level, .expected = 50000 };
            struct bytes packed = pack(pool, &wish, slice_of(plain, 50000), 16384, 4096);
            assert_unpacks_to(written[i], slice_of(packed.at, packed.length), 16384, 4096, slice_of(plain, 50000));
            free(packed.at);
        }
    }
    encoder_pool_destroy(pool);
}

/* As an event stream needs it: each event can be read before the next one is written. */
static void what_is_flushed_can_be_read_at_once(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct encoder_wish wish = { .coding = written[i], .level = 4, .expected = UINT64_MAX, .is_stream = true };
        struct encoder *encoder = encoder_take(NULL, NULL, &wish);
        struct decoder *decoder = decoder_create(written[i], NULL);
        struct bytes text = { 0 };
        size_t at = 0;
        for (size_t length = 1; at + length < 20000; at += length, length += 37) {
            struct bytes packed = { 0 };
            reach(encoder, slice_of(plain + at, length), ENCODER_TAKE, 64, &packed);
            reach(encoder, SLICE(""), ENCODER_FLUSH, 64, &packed);
            assert_int_equal(unpack_on(decoder, slice_of(packed.at, packed.length), 1 << 20, 512, &text),
                             DECODER_GOES_ON);
            assert_int_equal(text.length, at + length);
            assert_false(decoder_is_whole(decoder));
            free(packed.at);
        }
        assert_memory_equal(text.at, plain, at);
        free(text.at);
        encoder_give(encoder); /* in the middle of it, as when a client goes away */
        decoder_destroy(decoder);
    }
}

/* One that was broken off serves the next body as a fresh one does. */
static void a_used_encoder_remembers_nothing(void **state)
{
    struct encoder_pool *pool = encoder_pool_create();
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct encoder_wish wish = wish_for(written[i], 10000);
        struct bytes fresh = pack(NULL, &wish, slice_of(plain, 10000), 10000, 4096), begun = { 0 };
        struct encoder *encoder = encoder_take(pool, NULL, &wish);
        reach(encoder, slice_of(plain + 5000, 9000), ENCODER_TAKE, 4096, &begun);
        encoder_give(encoder);
        struct bytes again = pack(pool, &wish, slice_of(plain, 10000), 10000, 4096);
        assert_int_equal(again.length, fresh.length);
        assert_memory_equal(again.at, fresh.at, fresh.length);
        free(fresh.at), free(begun.at), free(again.at);
    }
    encoder_pool_destroy(pool);
}

static void encoders_count_under_the_ceiling(void **state)
{
    struct memory_ceiling ceiling = { .bytes_max = 4 << 20 };
    struct encoder *taken[64];
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct encoder_wish wish = wish_for(written[i], UINT64_MAX);
        size_t count = 0;
        while (count < COUNT_OF(taken) && (taken[count] = encoder_take(NULL, &ceiling, &wish)) != NULL) count++;
        assert_true(count >= 2 && count < COUNT_OF(taken));
        while (count > 0) encoder_give(taken[--count]);
        assert_int_equal(memory_ceiling_in_use(&ceiling), 0);
    }
}

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_KNOWN false
#else
#define HEAP_IS_KNOWN true
#endif

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What is counted is what the libraries take at the most, by level and size. */
static void no_encoder_takes_more_than_it_counts(void **state)
{
    static const uint64_t sizes[] = { 1000, 20000, 60000, UINT64_MAX };
    if (!HEAP_IS_KNOWN) skip();
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        int most = written[i] == CODING_BROTLI ? BROTLI_LEVEL_MAX : 9;
        for (int level = 1; level <= most; level++) {
            for (size_t size = 0; size < COUNT_OF(sizes) * 2; size++) {
                struct memory_ceiling ceiling = { 0 };
                struct encoder_wish wish = { written[i], level, sizes[size / 2], size % 2 };
                size_t before = heap_bytes(), peak = 0;
                struct encoder *encoder = encoder_take(NULL, &ceiling, &wish);
                char into[4096];
                for (size_t at = 0; at < PLAIN_BYTES; at += 4096) {
                    struct slice part = slice_of(plain + at, 4096);
                    size_t length;
                    while (part.length > 0) encoder_run(encoder, &part, ENCODER_TAKE, into, sizeof into, &length);
                    if (heap_bytes() - before > peak) peak = heap_bytes() - before;
                }
                if (peak > ceiling.taken + 4096)
                    fail_msg("coding %d level %d size %zu: %zu, counted %zu", written[i], level, size, peak,
                             ceiling.taken);
                encoder_give(encoder);
            }
        }
    }
}

static void gzip_may_have_several_members(void **state)
{
    struct encoder_wish wish = wish_for(CODING_GZIP, 100);
    struct bytes packed = pack(NULL, &wish, slice_of(plain, 100), 100, 4096);
    struct bytes second = pack(NULL, &wish, slice_of(plain + 100, 200), 200, 4096);
    struct bytes empty = pack(NULL, &wish, SLICE(""), 1, 4096);
    append(&packed, empty.at, empty.length);
    append(&packed, second.at, second.length);
    append(&packed, empty.at, empty.length);
    for (size_t piece = 1; piece < packed.length; piece += 3)
        assert_unpacks_to(CODING_GZIP, slice_of(packed.at, packed.length), piece, 64, slice_of(plain, 300));
    free(packed.at), free(second.at), free(empty.at);
}

static void zstd_may_have_several_frames_and_skippable_ones(void **state)
{
    struct encoder_wish wish = wish_for(CODING_ZSTD, 100);
    struct bytes packed = pack(NULL, &wish, slice_of(plain, 100), 100, 4096);
    struct bytes second = pack(NULL, &wish, slice_of(plain + 100, 200), 200, 4096);
    append(&packed, "\x50\x2a\x4d\x18\3\0\0\0abc", 11);
    append(&packed, second.at, second.length);
    for (size_t piece = 1; piece < packed.length; piece += 3)
        assert_unpacks_to(CODING_ZSTD, slice_of(packed.at, packed.length), piece, 64, slice_of(plain, 300));
    free(packed.at), free(second.at);
}

static void deflate_is_the_zlib_format(void **state)
{
    /* "hello hello hello" by zlib's compress(), and the same without its frame. */
    static const char zlib_form[] = "\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\x00\x3a\x2e\x06\x7d";
    struct bytes text;
    bool whole;
    assert_unpacks_to(CODING_DEFLATE, slice_of(zlib_form, 16), 1, 8, SLICE("hello hello hello"));
    assert_int_equal(unpack(CODING_DEFLATE, slice_of(zlib_form + 2, 10), 10, 64, &text, &whole), DECODER_BROKEN);
    free(text.at);
    assert_int_equal(unpack(CODING_DEFLATE, SLICE("\x78\x9c\x03\x00\x00\x00\x00\x01x"), 9, 64, &text, &whole),
                     DECODER_TRAILING);
    free(text.at);
}

static void bytes_behind_the_end_are_told(void **state)
{
    static const char *const tails[] = { "x", "\x1fy", "\0\0\0\0\0\0\0\0" };
    for (size_t i = 0; i < COUNT_OF(written) * 3; i++) {
        enum content_coding coding = written[i % 3];
        struct encoder_wish wish = wish_for(coding, 100);
        struct bytes packed = pack(NULL, &wish, slice_of(plain, 100), 100, 4096), text;
        bool whole;
        append(&packed, tails[i / 3], i / 3 == 2 ? 8 : strlen(tails[i / 3]));
        for (size_t piece = 1; piece <= packed.length; piece += packed.length - 1) {
            enum decoder_result result = unpack(coding, slice_of(packed.at, packed.length), piece, 4096, &text, &whole);
            /* One byte may still become a magic number: then the body is cut. */
            assert_true(result == DECODER_TRAILING || (i / 3 == 1 && result == DECODER_BROKEN) ||
                        (result == DECODER_GOES_ON && !whole));
            free(text.at);
        }
        free(packed.at);
    }
}

static void a_body_that_is_cut_is_not_whole(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct encoder_wish wish = wish_for(written[i], 3000);
        struct bytes packed = pack(NULL, &wish, slice_of(plain, 3000), 3000, 4096);
        for (size_t length = 1; length < packed.length; length++) {
            struct bytes text;
            bool whole;
            assert_int_equal(unpack(written[i], slice_of(packed.at, length), length, 4096, &text, &whole),
                             DECODER_GOES_ON);
            assert_false(whole);
            free(text.at);
        }
        free(packed.at);
    }
}

static void an_empty_body_is_whole(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct decoder *decoder = decoder_create(written[i], NULL);
        assert_true(decoder_is_whole(decoder));
        decoder_destroy(decoder);
    }
}

static void what_is_another_format_is_broken(void **state)
{
    static const enum content_coding read[] = { CODING_GZIP, CODING_ZSTD, CODING_DEFLATE, CODING_BROTLI };
    struct bytes text;
    bool whole;
    for (size_t i = 0; i < COUNT_OF(read); i++) {
        assert_int_equal(unpack(read[i], SLICE("\xff\xff\xff\xff\xff\xff\xff\xff"), 8, 64, &text, &whole),
                         DECODER_BROKEN);
        free(text.at);
    }
    assert_int_equal(unpack(CODING_GZIP, SLICE("plain text, no gzip"), 19, 64, &text, &whole), DECODER_BROKEN);
    free(text.at);
}

/* A frame that asks for 16 MiB of window (RFC 9659 allows 8). */
static void a_window_beyond_the_limit_is_refused(void **state)
{
    struct bytes text;
    bool whole;
    assert_int_equal(unpack(CODING_ZSTD, SLICE("\x28\xb5\x2f\xfd\x00\x70\x01\x00\x00"), 9, 64, &text, &whole),
                     DECODER_WINDOW);
    free(text.at);
}

static void decoders_count_under_the_ceiling(void **state)
{
    static const enum content_coding read[] = { CODING_GZIP, CODING_BROTLI, CODING_ZSTD, CODING_DEFLATE };
    for (size_t i = 0; i < COUNT_OF(read); i++) {
        struct memory_ceiling ceiling = { .bytes_max = 16 << 20 }, none = { .bytes_max = 100, .taken = 100 };
        struct decoder *decoder = decoder_create(read[i], &ceiling);
        assert_non_null(decoder);
        assert_true(ceiling.taken > 1000);
        decoder_destroy(decoder);
        assert_int_equal(ceiling.taken, 0);
        assert_null(decoder_create(read[i], &none));
        assert_int_equal(none.taken, 100);
    }
}

/* The window is asked for by the body, in the middle of it. */
static void a_window_that_has_no_room_is_told(void **state)
{
    for (size_t i = 1; i < COUNT_OF(written); i++) {
        struct encoder_wish wish = { .coding = written[i], .level = 4, .expected = UINT64_MAX };
        struct bytes packed = pack(NULL, &wish, slice_of(plain, PLAIN_BYTES), 16384, 4096), text = { 0 };
        struct memory_ceiling ceiling = { .bytes_max = 1 << 20 };
        struct decoder *decoder = decoder_create(written[i], &ceiling);
        assert_non_null(decoder);
        ceiling.bytes_max = ceiling.taken + 1000;
        assert_int_equal(unpack_on(decoder, slice_of(packed.at, packed.length), packed.length, 4096, &text),
                         DECODER_NO_MEMORY);
        decoder_destroy(decoder);
        assert_int_equal(ceiling.taken, 0);
        free(packed.at), free(text.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_unpacked_whatever_the_pieces),
        cmocka_unit_test(all_levels_can_be_read),
        cmocka_unit_test(what_is_flushed_can_be_read_at_once),
        cmocka_unit_test(a_used_encoder_remembers_nothing),
        cmocka_unit_test(encoders_count_under_the_ceiling),
        cmocka_unit_test(no_encoder_takes_more_than_it_counts),
        cmocka_unit_test(gzip_may_have_several_members),
        cmocka_unit_test(zstd_may_have_several_frames_and_skippable_ones),
        cmocka_unit_test(deflate_is_the_zlib_format),
        cmocka_unit_test(bytes_behind_the_end_are_told),
        cmocka_unit_test(a_body_that_is_cut_is_not_whole),
        cmocka_unit_test(an_empty_body_is_whole),
        cmocka_unit_test(what_is_another_format_is_broken),
        cmocka_unit_test(a_window_beyond_the_limit_is_refused),
        cmocka_unit_test(decoders_count_under_the_ceiling),
        cmocka_unit_test(a_window_that_has_no_room_is_told),
    };
    return cmocka_run_group_tests(tests, make_plain, forget_plain);
}
