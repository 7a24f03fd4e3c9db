/* What is known to bring HTTP/2 servers down, frame by frame against the session: each costs a bounded amount, and the client is told to
 * calm down. test_h2.py does the same to the whole gateway, with others being served. */
#include "h2_fixture.h"

#define FIRST (&f->exchanges[0])
#define CALM_DOWN 11

static bool is_told(struct fixture *f, unsigned code)
{
    char expected[32];
    h2_parse(&f->client);
    const char *goaway = strstr(f->client.log, "GOAWAY ");
    snprintf(expected, sizeof expected, " %u\n", code);
    return goaway && strstr(goaway, expected);
}

/* As many frames as it takes, or `most`; returns how many there were when the client was told `code`. */
static unsigned flood(struct fixture *f, unsigned most, unsigned code, void (*once)(struct fixture *, unsigned round))
{
    unsigned rounds = 0;
    while (rounds < most && !is_told(f, code)) {
        for (unsigned i = 0; i < 50 && !f->wire.ended; i++) once(f, rounds++);
        settle(f);
    }
    if (!is_told(f, code)) fail_msg("%u rounds, and no GOAWAY %u; received:\n%s", rounds, code, f->client.log);
    assert_soon(f->wire.ended);
    assert_int_equal(f->closed, 0); /* it lingers, so that the client can read that */
    return rounds;
}

static void try_bytes(struct fixture *f, const char *bytes, size_t length)
{
    if (wire_write(&f->wire, bytes, length) != length) f->wire.ended = true;
}

static void try_frame(struct fixture *f, unsigned type, unsigned flags, uint32_t stream, const char *payload,
                      size_t length)
{
    char frame[64];
    h2_frame_head(frame, type, flags, stream, length);
    if (length > 0) memcpy(frame + 9, payload, length);
    try_bytes(f, frame, 9 + length);
}

static void try_request(struct fixture *f, uint32_t stream, unsigned flags)
{
    char frame[256];
    size_t length = h2_block(&f->client, frame + 9, sizeof frame - 9, H2_REQUEST("POST", "/a"), NULL);
    h2_frame_head(frame, NGHTTP2_HEADERS, flags | H2_END_HEADERS, stream, length);
    try_bytes(f, frame, 9 + length);
}

/* --- requests that end for nothing --- */

static void ask_and_reset(struct fixture *f, unsigned round)
{
    try_request(f, 2 * round + 1, H2_END);
    try_frame(f, NGHTTP2_RST_STREAM, 0, 2 * round + 1, "\0\0\0\x8", 4);
}

static void rapid_reset_is_stopped(void **state)
{
    struct fixture *f = *state;
    assert_in_range(flood(f, 4000, CALM_DOWN, ask_and_reset), 500, 2000);
    assert_true(f->opened <= 2000);
    assert_int_equal(f->gone, f->opened);
    assert_string_equal(f->refused_reason, "http2-flood");
}

/* CVE-2023-44487 without any pause: what a client has reset still counts as open until its exchange is over. */
static void streams_that_were_reset_count_until_they_are_released(void **state)
{
    struct fixture *f = *state;
    f->settings.streams_max = 10;
    f->keep_streams = true;
    for (unsigned i = 0; i < 100; i++) ask_and_reset(f, i);
    settle(f);
    assert_int_equal(f->opened, 10);
    assert_int_equal(f->gone, 10);
    assert_h2(&f->client, "RST_STREAM 199 7\n");
    for (unsigned i = 0; i < 10; i++) release(&f->exchanges[i]);
    f->answer_at_once = "again";
    f->keep_streams = false;
    h2_get(&f->client, 201, "/a");
    assert_h2(&f->client, "DATA 201 again end\n");
}

static void ordinary_cancellations_beside_answers_are_no_attack(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2000; i++) {
        h2_get(&f->client, 4 * i + 1, "/cancelled");
        h2_reset(&f->client, 4 * i + 1, NGHTTP2_CANCEL);
        h2_get(&f->client, 4 * i + 3, "/answered");
        assert_soon(f->opened == 2 * i + 2);
        answer(&f->exchanges[2 * i + 1], 200, "x");
        assert_soon(f->sent == i + 1);
        h2_forget(&f->client);
        f->wire.length = f->client.parsed = 0;
    }
    assert_int_equal(f->gone, 2000);
    assert_false(f->wire.ended);
}

/* CVE-2025-8671: the client makes the server reset, by breaking a rule on each stream. */
static void overflow_a_window(struct fixture *f, unsigned round)
{
    try_request(f, 2 * round + 1, 0);
    try_frame(f, NGHTTP2_WINDOW_UPDATE, 0, 2 * round + 1, "\x7f\xff\xff\xff", 4);
}

static void made_you_reset_by_window_overflow_is_stopped(void **state)
{
    struct fixture *f = *state;
    assert_in_range(flood(f, 4000, CALM_DOWN, overflow_a_window), 500, 2000);
    assert_int_equal(f->gone, f->opened);
}

static void send_beyond_the_length(struct fixture *f, unsigned round)
{
    char frame[256];
    size_t length = h2_block(&f->client, frame + 9, sizeof frame - 9, H2_REQUEST("POST", "/a"), "content-length", "1",
                             NULL);
    h2_frame_head(frame, NGHTTP2_HEADERS, H2_END_HEADERS, 2 * round + 1, length);
    try_bytes(f, frame, 9 + length);
    try_frame(f, NGHTTP2_DATA, 0, 2 * round + 1, "12", 2);
}

static void made_you_reset_by_content_beyond_its_length_is_stopped(void **state)
{
    struct fixture *f = *state;
    assert_in_range(flood(f, 4000, CALM_DOWN, send_beyond_the_length), 500, 2000);
    assert_int_equal(f->gone, f->opened);
}

static void send_a_malformed_head(struct fixture *f, unsigned round)
{
    char frame[256];
    size_t length = h2_block(&f->client, frame + 9, sizeof frame - 9, H2_REQUEST("GET", "/a"), "connection", "close",
                             NULL);
    h2_frame_head(frame, NGHTTP2_HEADERS, H2_END | H2_END_HEADERS, 2 * round + 1, length);
    try_bytes(f, frame, 9 + length);
}

static void made_you_reset_by_malformed_heads_is_stopped(void **state)
{
    struct fixture *f = *state;
    assert_in_range(flood(f, 4000, CALM_DOWN, send_a_malformed_head), 500, 2000);
    assert_int_equal(f->opened, 0);
}

static void half_trailers(struct fixture *f, unsigned round)
{
    try_request(f, 2 * round + 1, 0);
    try_frame(f, NGHTTP2_HEADERS, H2_END_HEADERS, 2 * round + 1, "\x00\x01x\x01y", 5);
}

static void made_you_reset_by_trailers_without_end_is_stopped(void **state)
{
    struct fixture *f = *state;
    assert_in_range(flood(f, 4000, CALM_DOWN, half_trailers), 500, 2000);
    assert_int_equal(f->gone, f->opened);
}

static void ask_beyond_the_limit(struct fixture *f, unsigned round) { try_request(f, 2 * round + 1, H2_END); }

static void requests_beyond_the_limit_are_refused_and_too_many_of_them_end_it(void **state)
{
    struct fixture *f = *state;
    f->settings.streams_max = 5;
    f->keep_streams = true;
    assert_in_range(flood(f, 4000, CALM_DOWN, ask_beyond_the_limit), 500, 2000);
    assert_int_equal(f->opened, 5);
    assert_int_equal(f->gone, 5);
}

/* --- connection errors at once --- */

static void content_for_a_stream_that_its_client_ended_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    h2_data(&f->client, 1, "late", 0);
    assert_h2(&f->client, "GOAWAY 1 5\n");
    assert_soon(f->gone == 1);
}

static void so_does_content_after_its_own_reset(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    h2_post(&f->client, 1);
    h2_reset(&f->client, 1, NGHTTP2_CANCEL);
    settle(f);
    h2_data(&f->client, 1, "late", 0);
    assert_h2(&f->client, "GOAWAY 1 5\n");
}

static void so_does_a_stream_opened_below_newer_ones(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 5, "/a");
    h2_get(&f->client, 3, "/a");
    assert_h2(&f->client, "GOAWAY 5 1\n");
    assert_int_equal(f->opened, 1);
}

static void so_does_priority_on_itself(void **state)
{
    struct fixture *f = *state;
    h2_frame(&f->client, NGHTTP2_PRIORITY, 0, 3, "\0\0\0\3\1", 5);
    assert_h2(&f->client, "GOAWAY 0 1\n");
}

static void so_does_a_request_that_depends_on_itself(void **state)
{
    struct fixture *f = *state;
    char payload[256] = "\0\0\0\1\x10";
    size_t length = h2_block(&f->client, payload + 5, sizeof payload - 5, H2_REQUEST("GET", "/a"), NULL);
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END | H2_END_HEADERS | NGHTTP2_FLAG_PRIORITY, 1, payload, 5 + length);
    assert_h2(&f->client, "GOAWAY 0 1\n");
}

static void so_does_a_window_update_of_nothing(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    h2_open_window(&f->client, 1, 0);
    assert_h2(&f->client, "GOAWAY 1 1\n");
}

static void so_does_an_overflow_of_the_connections_window(void **state)
{
    struct fixture *f = *state;
    h2_open_window(&f->client, 0, 0x7fffffff);
    assert_h2(&f->client, "GOAWAY 0 3\n");
}

static void content_beyond_the_window_ends_its_stream(void **state)
{
    struct fixture *f = *state;
    static char block[16384];
    h2_post(&f->client, 1);
    for (int i = 0; i < 5; i++) h2_frame(&f->client, NGHTTP2_DATA, 0, 1, block, sizeof block);
    assert_h2(&f->client, "RST_STREAM 1 3\n");
    assert_soon(f->gone == 1);
    assert_idle_and_empty(f);
}

static void so_does_a_frame_that_is_too_large(void **state)
{
    struct fixture *f = *state;
    static char block[16385];
    h2_post(&f->client, 1);
    h2_frame(&f->client, NGHTTP2_DATA, 0, 1, block, sizeof block);
    assert_h2(&f->client, "GOAWAY 1 6\n");
}

static void so_does_a_block_that_can_not_be_decoded(void **state)
{
    struct fixture *f = *state;
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END | H2_END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6);
    assert_h2(&f->client, "GOAWAY 1 9\n");
}

static void so_does_anything_inside_a_head(void **state)
{
    struct fixture *f = *state;
    char block[256];
    size_t length = h2_block(&f->client, block, sizeof block, H2_REQUEST("GET", "/a"), NULL);
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END, 1, block, length);
    h2_frame(&f->client, NGHTTP2_PING, 0, 0, "12345678", 8);
    assert_h2(&f->client, "GOAWAY 1 1\n");
    assert_int_equal(f->opened, 0);
}

static void so_does_settings_with_a_bad_value(void **state)
{
    struct fixture *f = *state;
    h2_setting(&f->client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0x80000000);
    assert_h2(&f->client, "GOAWAY 0 3\n");
}

/* --- heads --- */

static void a_head_in_endless_continuations_is_stopped(void **state)
{
    struct fixture *f = *state;
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END, 1, "\x82", 1);
    for (int i = 0; i < 200 && !f->wire.ended; i++) {
        try_frame(f, NGHTTP2_CONTINUATION, 0, 1, "", 0);
        if (i % 10 == 0) settle(f);
    }
    assert_true(is_told(f, CALM_DOWN));
    assert_int_equal(f->opened, 0);
    assert_int_equal(f->refused, 1);
}

static void a_head_in_continuations_dribbled_byte_by_byte_is_read(void **state)
{
    struct fixture *f = *state;
    char block[256], bytes[512];
    f->answer_at_once = "ok";
    size_t length = h2_block(&f->client, block, sizeof block, H2_REQUEST("GET", "/a"), NULL), size = 9 + 5;
    h2_frame_head(bytes, NGHTTP2_HEADERS, H2_END, 1, 5);
    memcpy(bytes + 9, block, 5);
    h2_frame_head(bytes + size, NGHTTP2_CONTINUATION, H2_END_HEADERS, 1, length - 5);
    memcpy(bytes + size + 9, block + 5, length - 5);
    size += 9 + length - 5;
    for (size_t i = 0; i < size; i++) {
        h2_bytes(&f->client, bytes + i, 1);
        loop_turn(&f->bench.loop, 0);
    }
    assert_h2(&f->client, "DATA 1 ok end\n");
}

/* One large field goes into the table, then a byte each brings it back: 16 KiB of them stand for 45 MB. */
static void an_hpack_bomb_is_not_unpacked(void **state)
{
    struct fixture *f = *state;
    static char value[2900], bomb[16384];
    char block[8192];
    memset(value, 'v', sizeof value - 1);
    size_t length = h2_block(&f->client, block, sizeof block, H2_REQUEST("GET", "/a"), "x", value, NULL);
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END, 1, block, length);
    memset(bomb, 0xbe, sizeof bomb); /* index 62: the newest of the table */
    h2_frame(&f->client, NGHTTP2_CONTINUATION, H2_END_HEADERS, 1, bomb, sizeof bomb);
    assert_h2(&f->client, "RST_STREAM 1 11\n");
    assert_int_equal(f->refused_status, 431);
    assert_int_equal(f->opened, 0);
    assert_soon(f->bench.arenas.bytes_taken == 0);
    f->answer_at_once = "others go on";
    h2_get(&f->client, 3, "/a");
    assert_h2(&f->client, "DATA 3 others go on end\n");
}

static void a_client_may_not_make_our_table_grow(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    h2_setting(&f->client, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0xffffffff);
    h2_get(&f->client, 1, "/a");
    assert_h2(&f->client, "DATA 1 ok end\n"); /* with a table of 4 KiB still, or the inflater here would complain */
}

/* --- frames without use --- */

#define FRAME_FLOOD(name, ...)                                                                \
    static void send_##name(struct fixture *f, unsigned round) { try_frame(f, __VA_ARGS__); } \
    static void name(void **state)                                                            \
    {                                                                                         \
        struct fixture *f = *state;                                                           \
        h2_post(&f->client, 1);                                                               \
        assert_soon(f->opened == 1);                                                          \
        assert_in_range(flood(f, 20000, CALM_DOWN, send_##name), 4000, 12000);                \
        assert_soon(f->gone == 1);                                                            \
        assert_string_equal(f->refused_reason, "http2-flood");                                \
    }

FRAME_FLOOD(a_ping_flood_is_stopped, NGHTTP2_PING, 0, 0, "12345678", 8)
FRAME_FLOOD(a_settings_flood_is_stopped, NGHTTP2_SETTINGS, 0, 0, "", 0)
FRAME_FLOOD(a_priority_flood_is_stopped, NGHTTP2_PRIORITY, 0, 2 * round + 3, "\0\0\0\1\1", 5)
FRAME_FLOOD(a_window_update_flood_is_stopped, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4)
FRAME_FLOOD(a_flood_of_empty_content_is_stopped, NGHTTP2_DATA, 0, 1, "", 0)
FRAME_FLOOD(a_flood_of_padding_is_stopped, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\3\0\0\0", 4)
FRAME_FLOOD(a_flood_of_unknown_frames_is_stopped, 0xbc, 0, 1, "what is it", 10)
FRAME_FLOOD(a_flood_of_acknowledgements_is_stopped, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678", 8)

/* What it is owed piles up here only so far; then it isn't read from any more, and its time runs. */
static void a_flooder_that_does_not_read_is_not_read_from(void **state)
{
    struct fixture *f = *state;
    f->settings.idle_timeout_ms = 500;
    int small = 4096;
    setsockopt(f->wire.descriptor, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    f->wire.deaf = true;
    static char block[17 * 4000];
    for (size_t i = 0; i < sizeof block; i += 17) {
        h2_frame_head(block + i, NGHTTP2_PING, 0, 0, 8);
        memcpy(block + i + 9, "12345678", 8);
    }
    size_t taken = 0;
    for (int i = 0; i < 1500 && f->closed == 0; i++) {
        if (!f->wire.ended)
            taken += wire_write(&f->wire, block + taken % sizeof block, sizeof block - taken % sizeof block);
        bench_wait(&f->bench, &f->wire, 1);
        assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= 128 * 1024);
    }
    assert_int_equal(f->closed, 1);
}

/* --- content --- */

static void tiny_content_takes_no_more_memory_than_it_is(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    for (int i = 0; i < 20000; i++) h2_data(&f->client, 1, "x", 0);
    assert_soon(f->opened == 1 && FIRST->stream->request_body->buffered == 20000);
    assert_true(f->bench.slabs.taken_bytes <= 192 * 1024);
    assert_false(f->wire.ended);
}

/* All windows of all streams are full, and nobody takes it. */
static void what_a_client_can_make_us_hold_is_bounded(void **state)
{
    struct fixture *f = *state;
    static char block[16000];
    for (uint32_t i = 0; i < 128; i++) h2_post(&f->client, 2 * i + 1);
    assert_soon(f->opened == 128);
    for (uint32_t i = 0; i < 128; i++) {
        for (int k = 0; k < 4 && h2_may_send(&f->client, 2 * i + 1) >= sizeof block; k++)
            h2_frame(&f->client, NGHTTP2_DATA, 0, 2 * i + 1, block, sizeof block);
    }
    settle(f);
    assert_true(f->client.sent[0] <= 1 << 20);
    assert_true(f->bench.slabs.taken_bytes <= 2u << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rapid_reset_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(streams_that_were_reset_count_until_they_are_released, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(ordinary_cancellations_beside_answers_are_no_attack, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(made_you_reset_by_window_overflow_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(made_you_reset_by_content_beyond_its_length_is_stopped, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(made_you_reset_by_malformed_heads_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(made_you_reset_by_trailers_without_end_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(requests_beyond_the_limit_are_refused_and_too_many_of_them_end_it,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(content_for_a_stream_that_its_client_ended_ends_the_connection, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(so_does_content_after_its_own_reset, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_stream_opened_below_newer_ones, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_priority_on_itself, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_request_that_depends_on_itself, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_window_update_of_nothing, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_an_overflow_of_the_connections_window, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(content_beyond_the_window_ends_its_stream, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_frame_that_is_too_large, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_block_that_can_not_be_decoded, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_anything_inside_a_head, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(so_does_settings_with_a_bad_value, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_head_in_endless_continuations_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_head_in_continuations_dribbled_byte_by_byte_is_read, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_hpack_bomb_is_not_unpacked, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_client_may_not_make_our_table_grow, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_ping_flood_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_settings_flood_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_priority_flood_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_window_update_flood_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_empty_content_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_padding_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_unknown_frames_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_acknowledgements_is_stopped, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_flooder_that_does_not_read_is_not_read_from, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(tiny_content_takes_no_more_memory_than_it_is, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(what_a_client_can_make_us_hold_is_bounded, set_up_started, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
