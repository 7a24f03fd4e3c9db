/* Floods and closed streams, counted without any connection: bytes and time are arguments. */
#include "unit_test.h"

#include "http/h2_guard.h"

#include <nghttp2/nghttp2.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define END 1

struct fixture {
    struct h2_guard guard;
    uint64_t now_ms;
    size_t good;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){ .now_ms = 1000 };
    h2_guard_init(&fixture.guard, fixture.now_ms);
    assert_int_equal(h2_guard_look(&fixture.guard, PREFACE, 24, fixture.now_ms, &fixture.good), H2_VERDICT_GOOD);
    *state = &fixture;
    return 0;
}

static size_t write_frame(char *into, unsigned type, unsigned flags, uint32_t stream, const char *payload,
                          size_t length)
{
    const char head[9] = { (char)(length >> 16), (char)(length >> 8),  (char)length,        (char)type,  (char)flags,
                           (char)(stream >> 24), (char)(stream >> 16), (char)(stream >> 8), (char)stream };
    memcpy(into, head, 9);
    if (length > 0) memcpy(into + 9, payload, length);
    return 9 + length;
}

static enum h2_verdict look(struct fixture *f, unsigned type, unsigned flags, uint32_t stream, const char *payload,
                            size_t length)
{
    char frame[256];
    size_t size = write_frame(frame, type, flags, stream, payload, length);
    enum h2_verdict verdict = h2_guard_look(&f->guard, frame, size, f->now_ms, &f->good);
    assert_int_equal(f->good, verdict == H2_VERDICT_GOOD ? size : 0);
    return verdict;
}

static enum h2_verdict headers(struct fixture *f, uint32_t stream, unsigned flags)
{
    return look(f, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, stream, "xx", 2);
}

static enum h2_verdict data(struct fixture *f, uint32_t stream, unsigned flags)
{
    return look(f, NGHTTP2_DATA, flags, stream, "content", 7);
}

static enum h2_verdict ping(struct fixture *f) { return look(f, NGHTTP2_PING, 0, 0, "12345678", 8); }

static unsigned pings_until_flood(struct fixture *f)
{
    unsigned count = 0;
    while (count < 100000 && ping(f) == H2_VERDICT_GOOD) count++;
    f->guard.head_length = 0; /* it would be over here; this test goes on with the next frame */
    return count;
}

static void frames_without_use_are_a_flood_at_some_thousand(void **state)
{
    struct fixture *f = *state;
    assert_in_range(pings_until_flood(f), 1000, 10000);
    assert_int_equal(ping(f), H2_VERDICT_FLOOD);
}

static void frames_of_every_type_count(void **state)
{
    for (unsigned type = 0; type < 20; type++) {
        struct fixture *f = *state;
        set_up(state);
        uint32_t before = f->guard.frames;
        look(f, type, 0, 1, "1234", 4);
        assert_int_equal(f->guard.frames, before - 1);
    }
}

static void a_trickle_is_no_flood_however_long(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(ping(f), H2_VERDICT_GOOD);
        f->now_ms += 10;
    }
}

static void a_used_up_budget_fills_again_with_time(void **state)
{
    struct fixture *f = *state;
    unsigned all = pings_until_flood(f);
    f->now_ms += 1000;
    unsigned second = pings_until_flood(f);
    assert_in_range(second, 100, 1000);
    f->now_ms += 3600 * 1000;
    assert_in_range(pings_until_flood(f), all - 1, all);
}

static void who_works_may_acknowledge_each_piece(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100000; i++) { /* two WINDOW_UPDATEs and a PING for each piece of an answer */
        h2_guard_note_use(&f->guard, H2_USE_CONTENT_SENT);
        assert_int_equal(look(f, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\1\0", 4), H2_VERDICT_GOOD);
        assert_int_equal(look(f, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\1\0", 4), H2_VERDICT_GOOD);
        assert_int_equal(ping(f), H2_VERDICT_GOOD);
    }
}

static void requests_that_end_for_nothing_are_counted(void **state)
{
    struct fixture *f = *state;
    unsigned count = 0;
    while (count < 100000 && h2_guard_take_reset(&f->guard, f->now_ms)) count++;
    assert_in_range(count, 100, 2000);
    h2_guard_note_use(&f->guard, H2_USE_ANSWER); /* one that was answered makes up for one that wasn't */
    assert_true(h2_guard_take_reset(&f->guard, f->now_ms));
    assert_false(h2_guard_take_reset(&f->guard, f->now_ms));
    f->now_ms += 1000;
    assert_true(h2_guard_take_reset(&f->guard, f->now_ms));
}

static void answers_are_no_savings(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100000; i++) h2_guard_note_use(&f->guard, H2_USE_ANSWER);
    unsigned count = 0;
    while (count < 100000 && h2_guard_take_reset(&f->guard, f->now_ms)) count++;
    assert_in_range(count, 100, 2000);
}

/* The bytes of a few frames, in pieces of every size: the verdict falls at the same frame. */
static void frames_are_found_however_the_bytes_are_cut(void **state)
{
    struct fixture *f = *state;
    char bytes[256];
    size_t size = 0, bad;
    size += write_frame(bytes + size, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    size += write_frame(bytes + size, NGHTTP2_HEADERS, END, 1, "head", 4);
    size += write_frame(bytes + size, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\3\1", 5);
    size += write_frame(bytes + size, 77, 0, 1, "a type that nobody knows", 24);
    bad = size;
    size += write_frame(bytes + size, NGHTTP2_DATA, 0, 1, "late", 4);
    for (size_t piece = 1; piece <= size; piece++) {
        set_up(state);
        size_t at = 0, taken = 0;
        enum h2_verdict verdict = H2_VERDICT_GOOD;
        while (at < size && verdict == H2_VERDICT_GOOD) {
            size_t length = piece < size - at ? piece : size - at;
            verdict = h2_guard_look(&f->guard, bytes + at, length, f->now_ms, &f->good);
            taken += f->good;
            at += length;
        }
        assert_int_equal(verdict, H2_VERDICT_CLOSED);
        assert_true(taken >= bad && taken < bad + 9); /* of a head in pieces some had been let through */
    }
}

static void a_stream_that_its_client_ended_takes_no_more(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(headers(f, 1, END), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 3, 0), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 3, END), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 5, 0), H2_VERDICT_GOOD);
    assert_int_equal(look(f, NGHTTP2_RST_STREAM, 0, 5, "\0\0\0\x8", 4), H2_VERDICT_GOOD);
    for (uint32_t stream = 1; stream <= 5; stream += 2) {
        assert_int_equal(data(f, stream, 0), H2_VERDICT_CLOSED);
        f->guard.head_length = 0;
        assert_int_equal(headers(f, stream, END), H2_VERDICT_CLOSED);
        f->guard.head_length = 0;
        assert_int_equal(look(f, NGHTTP2_WINDOW_UPDATE, 0, stream, "\0\0\1\0", 4), H2_VERDICT_GOOD);
        assert_int_equal(look(f, NGHTTP2_RST_STREAM, 0, stream, "\0\0\0\x8", 4), H2_VERDICT_GOOD);
        assert_int_equal(look(f, NGHTTP2_PRIORITY, 0, stream, "\0\0\0\0\1", 5), H2_VERDICT_GOOD);
    }
}

static void a_stream_that_is_open_takes_content_and_trailers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(headers(f, 1, 0), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 3, 0), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 1, 0), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 3, 0), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 1, END), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 3, END), H2_VERDICT_GOOD);
}

static void a_stream_that_was_passed_over_can_not_be_opened(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(headers(f, 5, END), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 3, END), H2_VERDICT_PROTOCOL);
}

/* What can't be remembered is left to nghttp2. */
static void streams_of_long_ago_are_not_judged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(headers(f, 1, 0), H2_VERDICT_GOOD);
    for (uint32_t stream = 3; stream < 1001; stream += 2) assert_int_equal(headers(f, stream, END), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 1, 0), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 1, END), H2_VERDICT_GOOD);
    assert_int_equal(headers(f, 0x7fffffff, END), H2_VERDICT_GOOD);
    assert_int_equal(data(f, 999, 0), H2_VERDICT_GOOD);
}

static void priority_for_no_stream_or_on_itself_is_wrong(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(look(f, NGHTTP2_PRIORITY, 0, 3, "\0\0\0\1\1", 5), H2_VERDICT_GOOD);
    assert_int_equal(look(f, NGHTTP2_PRIORITY, 0, 3, "\x80\0\0\3\1", 5), H2_VERDICT_PROTOCOL);
    f->guard.head_length = 0;
    assert_int_equal(look(f, NGHTTP2_PRIORITY, 0, 0, "\0\0\0\1\1", 5), H2_VERDICT_PROTOCOL);
    f->guard.head_length = 0;
    assert_int_equal(look(f, NGHTTP2_PRIORITY, 0, 3, "\0\0\0", 3), H2_VERDICT_GOOD); /* its size is nghttp2's affair */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(frames_without_use_are_a_flood_at_some_thousand, set_up),
        cmocka_unit_test_setup(frames_of_every_type_count, set_up),
        cmocka_unit_test_setup(a_trickle_is_no_flood_however_long, set_up),
        cmocka_unit_test_setup(a_used_up_budget_fills_again_with_time, set_up),
        cmocka_unit_test_setup(who_works_may_acknowledge_each_piece, set_up),
        cmocka_unit_test_setup(requests_that_end_for_nothing_are_counted, set_up),
        cmocka_unit_test_setup(answers_are_no_savings, set_up),
        cmocka_unit_test_setup(frames_are_found_however_the_bytes_are_cut, set_up),
        cmocka_unit_test_setup(a_stream_that_its_client_ended_takes_no_more, set_up),
        cmocka_unit_test_setup(a_stream_that_is_open_takes_content_and_trailers, set_up),
        cmocka_unit_test_setup(a_stream_that_was_passed_over_can_not_be_opened, set_up),
        cmocka_unit_test_setup(streams_of_long_ago_are_not_judged, set_up),
        cmocka_unit_test_setup(priority_for_no_stream_or_on_itself_is_wrong, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
