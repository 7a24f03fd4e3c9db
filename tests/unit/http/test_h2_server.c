/* A client's HTTP/2 connection by the rules of RFC 9113, over loopback TCP: requests, answers, bodies, windows, time. Attacks are in
 * test_h2_attacks.c. */
#include "h2_fixture.h"

#include "http/websocket.h"

#define FIRST (&f->exchanges[0])
#define SECOND (&f->exchanges[1])

/* --- beginning --- */

static void the_server_says_its_settings_and_opens_the_connections_window(void **state)
{
    struct fixture *f = *state;
    start_silent(f);
    assert_h2(&f->client, "SETTINGS\nWINDOW_UPDATE 0 983041\n");
    h2_bytes(&f->client, H2_PREFACE, strlen(H2_PREFACE));
    h2_frame(&f->client, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    assert_h2(&f->client, "SETTINGS ack\n");
    assert_idle_and_empty(f);
}

static void a_preface_byte_by_byte_is_read_as_one(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    start_silent(f);
    const char *preface = H2_PREFACE;
    for (size_t i = 0; i < strlen(preface); i++) {
        h2_bytes(&f->client, preface + i, 1);
        loop_turn(&f->bench.loop, 0);
    }
    h2_frame(&f->client, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_get(&f->client, 1, "/a");
    assert_h2(&f->client, "DATA 1 ok end\n");
}

static void what_is_no_preface_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    start_silent(f);
    h2_bytes(&f->client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    assert_h2(&f->client, "GOAWAY 0 1\n");
    assert_soon(f->wire.ended);
    assert_int_equal(f->refused, 1);
}

static void early_bytes_are_read_first(void **state)
{
    struct fixture *f = *state;
    int accepted, connected;
    f->answer_at_once = "ok";
    connect_pair(&accepted, &connected);
    wire_open(&f->wire, connected);
    h2_peer_open(&f->client, &f->wire);
    struct slab *early = slab_take(&f->bench.slabs, SLAB_SMALL);
    memcpy(early->bytes, H2_PREFACE, 24);
    h2_frame_head(early->bytes + 24, NGHTTP2_SETTINGS, 0, 0, 0);
    early->filled = 33;
    struct session_socket socket = { .descriptor = accepted, .early = early, .early_bytes = { early->bytes, 33 } };
    f->session = h2_server_start(&f->bench.worker, &f->settings_now, socket, &f->peer, &events, f);
    assert_int_equal(f->opened, 0);
    h2_get(&f->client, 1, "/a");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_idle_and_empty(f);
}

/* --- requests and answers --- */

static void a_request_is_answered_and_nothing_is_held(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    assert_string_equal(FIRST->path, "/a");
    const struct request_head *request = &FIRST->stream->request;
    assert_int_equal(request->version, HTTP_2);
    assert_int_equal(request->method, METHOD_GET);
    assert_slice_is(request->authority, "h");
    assert_slice_is(request->host, "h");
    assert_false(request->has_body);
    assert_null(FIRST->stream->request_body);
    assert_slice_is(headers_value(&request->headers, HEADER_HOST), "h");
    answer(FIRST, 200, "hello");
    assert_h2(&f->client,
              "HEADERS 1 :status=200 date=Sun, 06 Nov 1994 08:49:37 GMT content-length=5\nDATA 1 hello end\n");
    assert_soon(f->sent == 1);
    assert_true(FIRST->bytes_in > 9 && FIRST->bytes_out > 9 + 9 + 5);
    assert_idle_and_empty(f);
}

static void many_requests_are_under_way_at_once_and_answered_in_any_order(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 100; i++) h2_get(&f->client, 2 * i + 1, "/a");
    assert_soon(f->opened == 100);
    for (unsigned i = 100; i-- > 0;) answer(&f->exchanges[i], 200, "x");
    assert_soon(f->sent == 100);
    assert_h2(&f->client, "DATA 199 x end\n");
    assert_h2(&f->client, "DATA 1 x end\n");
    assert_idle_and_empty(f);
}

/* What a turn's events have to say goes out by one call. */
static void the_answers_of_a_turn_are_one_write(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 32; i++) h2_get(&f->client, 2 * i + 1, "/a");
    assert_soon(f->opened == 32);
    system_calls.sendmsg = 0;
    for (unsigned i = 0; i < 32; i++) answer(&f->exchanges[i], 200, "0123456789");
    settle(f);
    assert_soon(f->sent == 32);
    assert_int_equal(system_calls.sendmsg, 1);
}

static void fields_keep_their_order_and_cookies_are_joined(void **state)
{
    struct fixture *f = *state;
    h2_headers(&f->client, 1, H2_END, H2_REQUEST("GET", "/a?b=c"), "cookie", "a=1", "x-other", "first", "cookie", "b=2",
               "x-other", "second", "accept", "*/*", NULL);
    assert_soon(f->opened == 1);
    const struct headers *headers = &FIRST->stream->request.headers;
    assert_slice_is(headers_value(headers, HEADER_COOKIE), "a=1; b=2");
    struct header *other = headers_find(headers, SLICE("X-Other"));
    assert_slice_is(other->value, "first");
    assert_slice_is(headers_find_next(headers, other)->value, "second");
    assert_slice_is(headers_find_known(headers, HEADER_ACCEPT)->name, "Accept");
    assert_slice_is(FIRST->stream->request.target.query, "b=c");
}

static void an_answers_fields_are_sent_in_lower_case_without_those_of_the_connection(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    struct response_head *head = new_head(FIRST, 200);
    assert_true(headers_add(&head->headers, SLICE("X-Mixed-CASE"), SLICE(" Value ")));
    assert_true(headers_add(&head->headers, SLICE("Connection"), SLICE("close")));
    assert_true(headers_add(&head->headers, SLICE("Transfer-Encoding"), SLICE("chunked")));
    assert_true(headers_add(&head->headers, SLICE("Keep-Alive"), SLICE("timeout=1")));
    assert_true(headers_add(&head->headers, SLICE("Date"), SLICE("never")));
    assert_true(send_answer(FIRST, head, NULL, true));
    assert_h2(&f->client, "HEADERS 1 :status=200 x-mixed-case=Value date=never content-length=0 end\n");
}

static void head_gets_the_length_but_no_body(void **state)
{
    struct fixture *f = *state;
    h2_headers(&f->client, 1, H2_END, H2_REQUEST("HEAD", "/a"), NULL);
    assert_soon(f->opened == 1);
    answer(FIRST, 200, "never");
    assert_h2(&f->client, "content-length=5 end\n");
    assert_soon(f->sent == 1);
    assert_not_h2(&f->client, "DATA");
    assert_idle_and_empty(f);
}

static void answers_without_content_have_no_length(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    answer(FIRST, 204, NULL);
    answer(SECOND, 304, NULL);
    assert_h2(&f->client, "HEADERS 1 :status=204");
    assert_h2(&f->client, "HEADERS 3 :status=304");
    assert_not_h2(&f->client, "content-length");
    assert_soon(f->sent == 2);
}

static void a_body_of_unknown_length_ends_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, "first");
    assert_h2(&f->client, "DATA 1 first\n");
    assert_not_h2(&f->client, "content-length");
    push_answer(FIRST, " and second");
    struct headers trailers;
    headers_init(&trailers, FIRST->stream->arena);
    assert_true(headers_add(&trailers, SLICE("Grpc-Status"), SLICE("0")));
    body_pipe_finish(&FIRST->answer, &trailers);
    assert_h2(&f->client, "DATA 1  and second\nHEADERS 1 grpc-status=0 end\n");
    assert_soon(f->sent == 1);
    assert_idle_and_empty(f);
}

static void trailers_may_follow_on_no_content_at_all(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, NULL);
    settle(f);
    struct headers trailers;
    headers_init(&trailers, FIRST->stream->arena);
    assert_true(headers_add(&trailers, SLICE("x-sum"), SLICE("42")));
    body_pipe_finish(&FIRST->answer, &trailers);
    assert_h2(&f->client, "HEADERS 1 x-sum=42 end\n");
    assert_soon(f->sent == 1);
    assert_not_h2(&f->client, "DATA");
}

static void a_body_of_unknown_length_without_content_is_ended(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, NULL);
    settle(f);
    body_pipe_finish(&FIRST->answer, NULL);
    assert_h2(&f->client, "DATA 1  end\n");
    assert_soon(f->sent == 1);
}

static void a_body_that_aborts_resets_its_stream_alone(void **state)
{
    struct fixture *f = *state;
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "truncated-body", "text");
    h2_get(&f->client, 1, "/a");
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, "half");
    settle(f);
    body_pipe_abort(&FIRST->answer, &error);
    assert_h2(&f->client, "RST_STREAM 1 2\n");
    assert_soon(f->gone == 1);
    answer(SECOND, 200, "whole");
    assert_h2(&f->client, "DATA 3 whole end\n");
    assert_idle_and_empty(f);
}

static void a_body_shorter_than_announced_resets_its_stream(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    begin_answer(FIRST, 10, "short");
    body_pipe_finish(&FIRST->answer, NULL);
    assert_h2(&f->client, "RST_STREAM 1 2\n");
    assert_soon(f->gone == 1);
    assert_int_equal(f->sent, 0);
}

static void a_body_longer_than_announced_is_never_sent_beyond_its_length(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    begin_answer(FIRST, 4, "long");
    settle(f);
    push_answer(FIRST, "er");
    assert_h2(&f->client, "RST_STREAM 1 2\n");
    assert_not_h2(&f->client, "er");
    assert_soon(f->gone == 1);
}

static void a_head_that_can_not_be_written_is_refused_and_another_may_follow(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    struct response_head *head = new_head(FIRST, 200);
    assert_true(headers_add(&head->headers, SLICE("X-Bad"), SLICE("a\r\nSet-Cookie: b")));
    assert_false(send_answer(FIRST, head, NULL, true));
    body_pipe_release(&FIRST->answer);
    answer(FIRST, 500, "sorry");
    assert_h2(&f->client, "DATA 1 sorry end\n");
    assert_not_h2(&f->client, "x-bad");
}

static void interim_heads_go_out_before_the_answer(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    struct response_head *early = new_head(FIRST, 103);
    assert_true(headers_add(&early->headers, SLICE("Link"), SLICE("</a.css>")));
    server_stream_send_interim(FIRST->stream, early);
    server_stream_send_interim(FIRST->stream, early);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client,
              "HEADERS 1 :status=103 link=</a.css>\nHEADERS 1 :status=103 link=</a.css>\nHEADERS 1 :status=200");
    assert_h2(&f->client, "DATA 1 ok end\n");
}

static void a_large_head_is_continued(void **state)
{
    struct fixture *f = *state;
    static char value[30001];
    memset(value, '~', 30000); /* 13 bits each in Huffman's code: sent as they are */
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    struct response_head *head = new_head(FIRST, 200);
    assert_true(headers_add(&head->headers, SLICE("x-large"), slice_of(value, 30000)));
    assert_true(send_answer(FIRST, head, NULL, true));
    assert_soon(f->sent == 1);
    assert_soon(f->wire.length > 30000);
    assert_int_equal(f->wire.received[f->client.parsed + 3], NGHTTP2_HEADERS);
    assert_int_equal(f->wire.received[f->client.parsed + 9 + 16384 + 3], NGHTTP2_CONTINUATION);
    assert_idle_and_empty(f);
    f->client.parsed = f->wire.length;
}

/* --- windows and slow clients --- */

/* Eight streams have endless content; each turn each of them gets a frame. */
static void streams_share_the_connection_evenly(void **state)
{
    struct fixture *f = *state;
    size_t pushed[8] = { 0 };
    for (uint32_t i = 0; i < 8; i++) h2_get(&f->client, 2 * i + 1, "/a");
    h2_open_window(&f->client, 0, 1 << 30);
    for (uint32_t i = 0; i < 8; i++) h2_open_window(&f->client, 2 * i + 1, 1 << 28);
    assert_soon(f->opened == 8);
    for (unsigned i = 0; i < 8; i++) begin_answer(&f->exchanges[i], BODY_LENGTH_UNKNOWN, NULL);
    for (unsigned turns = 0; turns < 500 && f->client.content < (8 << 20); turns++) {
        for (unsigned i = 0; i < 8; i++) push_pattern(&f->exchanges[i], SIZE_MAX, &pushed[i]);
        loop_turn(&f->bench.loop, 1);
        wire_read(&f->wire);
        h2_parse(&f->client);
    }
    assert_true(f->client.content >= (8 << 20));
    assert_int_equal(f->client.content_mistakes, 0);
    for (unsigned i = 0; i < 8; i++) assert_in_range(f->client.content_of[2 * i + 1], 700 << 10, 1400 << 10);
}

static void a_large_answer_waits_for_its_streams_window_and_others_do_not(void **state)
{
    struct fixture *f = *state;
    size_t pushed = 0;
    h2_get(&f->client, 1, "/large");
    h2_get(&f->client, 3, "/small");
    assert_soon(f->opened == 2);
    h2_open_window(&f->client, 0, 1 << 20);
    begin_answer(FIRST, 1 << 18, NULL);
    push_pattern(FIRST, 1 << 18, &pushed);
    assert_soon((h2_parse(&f->client), push_pattern(FIRST, 1 << 18, &pushed), f->client.content_of[1] == 65535));
    answer(SECOND, 200, "small");
    assert_h2(&f->client, "DATA 3 small end\n");
    assert_true(f->bench.slabs.taken_bytes <= 160 * 1024);
    h2_open_window(&f->client, 1, 1 << 20);
    assert_soon((h2_parse(&f->client), push_pattern(FIRST, 1 << 18, &pushed), f->client.content_of[1] == 1 << 18));
    assert_soon(f->sent == 2);
    assert_idle_and_empty(f);
}

static void an_answer_larger_than_the_socket_holds_goes_on_when_the_client_reads(void **state)
{
    struct fixture *f = *state;
    size_t length = 8 << 20, pushed = 0;
    h2_get(&f->client, 1, "/a");
    h2_open_window(&f->client, 0, 1 << 30);
    h2_open_window(&f->client, 1, 1 << 30);
    assert_soon(f->opened == 1);
    begin_answer(FIRST, length, NULL);
    f->wire.deaf = true;
    for (unsigned turns = 0; turns < 20000 && f->sent == 0; turns++) {
        if (f->sent == 0 && FIRST->stream) push_pattern(FIRST, length, &pushed);
        loop_turn(&f->bench.loop, 1);
        if (turns == 300) {
            assert_true(pushed < length); /* it was held back */
            assert_true(f->bench.slabs.taken_bytes <= 224 * 1024);
            f->wire.deaf = false;
        }
        wire_read(&f->wire);
        h2_parse(&f->client);
    }
    assert_soon(f->sent == 1);
    assert_soon((h2_parse(&f->client), f->client.content == length));
    assert_int_equal(f->client.content_mistakes, 0);
    assert_idle_and_empty(f);
}

static void an_answer_in_static_memory_is_sent_whole(void **state)
{
    struct fixture *f = *state;
    static char text[300000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i % 251);
    h2_open_window(&f->client, 0, 1 << 30);
    h2_setting(&f->client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30);
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    struct response_head *head = new_head(FIRST, 200);
    struct error error;
    head->has_body = true;
    head->body_length = sizeof text;
    body_pipe_init(&FIRST->answer, &f->bench.loop, sizeof text);
    FIRST->has_answer = true;
    FIRST->answer.window = UINT32_MAX;
    body_pipe_push(&FIRST->answer, NULL, text, sizeof text);
    body_pipe_finish(&FIRST->answer, NULL);
    assert_true(server_stream_send_head(FIRST->stream, head, &FIRST->answer, &error));
    assert_soon((h2_parse(&f->client), f->client.content == sizeof text));
    assert_int_equal(f->client.content_mistakes, 0);
    assert_soon(f->sent == 1);
}

/* --- request bodies --- */

static void a_small_body_is_in_the_pipe_soon_after_the_request_opens(void **state)
{
    struct fixture *f = *state;
    h2_headers(&f->client, 1, 0, H2_REQUEST("POST", "/a"), "content-length", "5", NULL);
    h2_data(&f->client, 1, "hello", H2_END);
    assert_soon(f->opened == 1 && FIRST->stream->request_body->state == BODY_FINISHED);
    assert_int_equal(FIRST->stream->request.body_length, 5);
    assert_int_equal(FIRST->stream->request_body->buffered, 5);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_not_h2(&f->client, "RST_STREAM");
    assert_idle_and_empty(f);
}

static void a_body_arrives_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    assert_int_equal(FIRST->stream->request.body_length, BODY_LENGTH_UNKNOWN);
    h2_data(&f->client, 1, "hello ", 0);
    settle(f);
    h2_data(&f->client, 1, "world", 0);
    h2_headers(&f->client, 1, H2_END, "age", "3", "x-sum", "42", NULL);
    assert_soon(FIRST->body_ended);
    assert_string_equal(FIRST->body, "hello world");
    assert_string_equal(FIRST->trailer, "x-sum=42");
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_idle_and_empty(f);
}

static void padding_is_no_content(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    h2_frame(&f->client, NGHTTP2_DATA, H2_END | NGHTTP2_FLAG_PADDED, 1, "\3abc\0\0\0", 7);
    assert_soon(f->opened == 1 && FIRST->body_ended);
    assert_string_equal(FIRST->body, "abc");
}

/* Sends what the windows allow of `total` bytes, in frames of odd sizes. */
static bool send_pattern(struct fixture *f, uint32_t stream, size_t total, size_t size_max)
{
    static char block[16384];
    h2_parse(&f->client);
    uint64_t *sent = &f->client.sent[stream];
    for (size_t size = 1 + *sent % size_max; *sent < total; size = 1 + size * 7 % size_max) {
        size_t length = size < total - *sent ? size : total - *sent, room = h2_may_send(&f->client, stream);
        if (room == 0) return false;
        if (length > room) length = room;
        for (size_t i = 0; i < length; i++) block[i] = (char)((*sent + i) % 251);
        h2_frame(&f->client, NGHTTP2_DATA, *sent + length == total ? H2_END : 0, stream, block, length);
    }
    return true;
}

static void assert_pattern(const struct exchange *exchange, size_t length)
{
    assert_int_equal(exchange->body_length, length);
    for (size_t i = 0; i < length; i++) {
        if ((uint8_t)exchange->body[i] != i % 251) fail_msg("byte %zu differs", i);
    }
}

static void bodies_of_several_streams_arrive_whole(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    h2_post(&f->client, 3);
    assert_soon(f->opened == 2);
    unsigned turns = 0;
    for (bool first = false, second = false; !first || !second;) {
        first = first || send_pattern(f, 1, 1000000, 16381);
        second = second || send_pattern(f, 3, 300000, 701);
        assert_true(one_turn_more(&turns));
    }
    assert_soon(FIRST->body_ended && SECOND->body_ended);
    assert_pattern(FIRST, 1000000);
    assert_pattern(SECOND, 300000);
    assert_not_h2(&f->client, "GOAWAY");
}

/* The window is full of one-byte frames and long ones in turn: more pieces than the pipe has. */
static void a_body_in_many_pieces_is_held_until_it_is_taken(void **state)
{
    struct fixture *f = *state;
    static char block[4096];
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    for (size_t sent = 0; h2_may_send(&f->client, 1) > 0; sent = f->client.sent[1]) {
        size_t length = sent % 2 ? 2049 : 1, room = h2_may_send(&f->client, 1);
        if (length > room) length = room;
        for (size_t i = 0; i < length; i++) block[i] = (char)((sent + i) % 251);
        h2_frame(&f->client, NGHTTP2_DATA, length == room ? H2_END : 0, 1, block, length);
        if (sent % 4 == 0) loop_turn(&f->bench.loop, 0);
    }
    settle(f);
    assert_true(FIRST->stream->request_body->count == BODY_PIPE_PIECES);
    assert_int_equal(FIRST->stream->request_body->state, BODY_OPEN);
    f->take_bodies = true;
    body_pipe_attach_consumer(FIRST->stream->request_body, &FIRST->task);
    collect_body(FIRST);
    assert_soon(FIRST->body_ended);
    assert_pattern(FIRST, 65535);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_idle_and_empty(f);
}

static void many_tiny_frames_do_not_use_up_the_pipe(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    for (int i = 0; i < 3000; i++) h2_data(&f->client, 1, "x", 0);
    h2_data(&f->client, 1, "", H2_END);
    assert_soon(f->opened == 1 && FIRST->stream->request_body->state == BODY_FINISHED);
    assert_int_equal(FIRST->stream->request_body->buffered, 3000);
    assert_true(FIRST->stream->request_body->count <= 2);
}

/* The window stays shut, and other streams have theirs. */
static void a_body_that_nobody_takes_holds_its_own_window_only(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    assert_false(send_pattern(f, 1, 1 << 20, 16381));
    settle(f);
    assert_int_equal(f->client.sent[1], 65535);
    assert_not_h2(&f->client, "WINDOW_UPDATE 1 ");
    assert_true(f->bench.slabs.taken_bytes <= 160 * 1024);
    f->take_bodies = true;
    h2_post(&f->client, 3);
    assert_soon(f->opened == 2);
    unsigned turns = 0;
    while (!send_pattern(f, 3, 1 << 20, 16381)) assert_true(one_turn_more(&turns));
    assert_soon(SECOND->body_ended);
    assert_pattern(SECOND, 1 << 20);
    body_pipe_attach_consumer(FIRST->stream->request_body, &FIRST->task);
    collect_body(FIRST);
    while (!send_pattern(f, 1, 1 << 20, 16381)) assert_true(one_turn_more(&turns));
    assert_soon(FIRST->body_ended);
    assert_pattern(FIRST, 1 << 20);
    answer(FIRST, 200, "ok");
    answer(SECOND, 200, "ok");
    assert_soon(f->sent == 2);
    assert_idle_and_empty(f);
}

/* What a stream's end leaves in its pipe comes back to the connection's window. */
static void bodies_left_unread_do_not_shut_the_connections_window(void **state)
{
    struct fixture *f = *state;
    static char block[16000];
    for (uint32_t i = 0; i < 100; i++) {
        h2_post(&f->client, 2 * i + 1);
        assert_soon(f->opened == i + 1);
        for (int k = 0; k < 4; k++) h2_frame(&f->client, NGHTTP2_DATA, 0, 2 * i + 1, block, sizeof block);
        settle(f);
        answer(&f->exchanges[i], 200, "enough");
        assert_soon(f->sent == i + 1);
        h2_parse(&f->client);
        assert_true(h2_may_send(&f->client, 2 * i + 3) >= sizeof block);
    }
    assert_h2(&f->client, "DATA 199 enough end\nRST_STREAM 199 0\n");
    assert_idle_and_empty(f);
}

static void an_early_answer_is_whole_and_then_the_request_is_not_needed(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    answer(FIRST, 403, "no");
    assert_h2(&f->client, "DATA 1 no end\nRST_STREAM 1 0\n");
    assert_soon(f->sent == 1);
    h2_data(&f->client, 1, "still on its way", H2_END);
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    assert_not_h2(&f->client, "GOAWAY");
}

static void a_declared_body_beyond_the_limit_is_refused_before_any_exchange(void **state)
{
    struct fixture *f = *state;
    f->settings.body_bytes_max = 10;
    h2_headers(&f->client, 1, 0, H2_REQUEST("POST", "/a"), "content-length", "11", NULL);
    assert_h2(&f->client, "HEADERS 1 :status=413");
    assert_h2(&f->client, "RST_STREAM 1 0\n");
    assert_int_equal(f->opened, 0);
    assert_int_equal(f->refused_status, 413);
    assert_idle_and_empty(f);
}

static void a_body_that_grows_beyond_the_limit_aborts_its_pipe_with_413(void **state)
{
    struct fixture *f = *state;
    f->settings.body_bytes_max = 10;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    h2_data(&f->client, 1, "hello", 0);
    h2_data(&f->client, 1, "hello!", 0);
    assert_soon(f->opened == 1 && FIRST->body_failure);
    assert_string_equal(FIRST->body_failure, "body-too-large");
    assert_int_equal(FIRST->body_failure_status, 413);
    answer(FIRST, 413, "too large");
    assert_h2(&f->client, "DATA 1 too large end\nRST_STREAM 1 0\n");
    assert_idle_and_empty(f);
}

static void content_that_disagrees_with_its_length_resets_the_stream(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_headers(&f->client, 1, 0, H2_REQUEST("POST", "/a"), "content-length", "5", NULL);
    h2_headers(&f->client, 3, 0, H2_REQUEST("POST", "/a"), "content-length", "5", NULL);
    h2_headers(&f->client, 5, H2_END, H2_REQUEST("POST", "/a"), "content-length", "5", NULL);
    h2_data(&f->client, 1, "four", H2_END);
    h2_data(&f->client, 3, "sixsix", 0);
    assert_h2(&f->client, "RST_STREAM 1 1\n");
    assert_h2(&f->client, "RST_STREAM 3 1\n");
    assert_h2(&f->client, "RST_STREAM 5 1\n");
    assert_soon(f->gone == 2);
    assert_string_equal(FIRST->body_failure, "client-gone");
    assert_false(FIRST->body_ended);
    assert_int_equal(f->opened, 2);
    assert_int_equal(f->refused, 1);
    assert_idle_and_empty(f);
}

static void a_body_that_nobody_wants_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    h2_data(&f->client, 1, "some of it", 0);
    settle(f);
    body_pipe_stop(FIRST->stream->request_body);
    assert_false(send_pattern(f, 1, 1 << 20, 16381));
    settle(f);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\nRST_STREAM 1 0\n");
}

/* --- 100 (Continue) --- */

static void ask_with_expectation(struct fixture *f)
{
    h2_headers(&f->client, 1, 0, H2_REQUEST("POST", "/a"), "expect", "100-continue", "content-length", "5", NULL);
    assert_soon(f->opened == 1);
}

static void a_client_that_waits_is_asked_for_its_body_when_somebody_wants_it(void **state)
{
    struct fixture *f = *state;
    ask_with_expectation(f);
    settle(f);
    assert_not_h2(&f->client, "HEADERS");
    f->take_bodies = true;
    body_pipe_attach_consumer(FIRST->stream->request_body, &FIRST->task);
    assert_h2(&f->client, "HEADERS 1 :status=100\n");
    h2_data(&f->client, 1, "hello", H2_END);
    assert_soon(FIRST->body_ended);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_idle_and_empty(f);
}

static void a_100_from_the_backend_is_passed_on_once(void **state)
{
    struct fixture *f = *state;
    ask_with_expectation(f);
    server_stream_send_interim(FIRST->stream, new_head(FIRST, 100));
    server_stream_send_interim(FIRST->stream, new_head(FIRST, 100));
    body_pipe_attach_consumer(FIRST->stream->request_body, &FIRST->task);
    assert_h2(&f->client, "HEADERS 1 :status=100\n");
    h2_data(&f->client, 1, "hello", H2_END);
    settle(f);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "HEADERS 1 :status=100\nHEADERS 1 :status=200");
}

/* --- tunnels (RFC 8441) --- */

static void ask_for_websocket(struct fixture *f)
{
    h2_headers(&f->client, 1, 0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat",
               ":authority", "h", "sec-websocket-version", "13", NULL);
    assert_soon(f->opened == 1);
}

static void an_extended_connect_is_a_get_that_wants_to_upgrade(void **state)
{
    struct fixture *f = *state;
    ask_for_websocket(f);
    const struct request_head *request = &FIRST->stream->request;
    assert_int_equal(request->method, METHOD_GET);
    assert_string_equal(FIRST->method, "GET");
    assert_true(request->wants_upgrade);
    assert_false(request->has_body);
    assert_null(FIRST->stream->request_body);
    assert_slice_is(headers_value(&request->headers, HEADER_UPGRADE), "websocket");
    assert_true(headers_list_has(&request->headers, HEADER_CONNECTION, SLICE("upgrade")));
    assert_true(websocket_is_asked_for(request));
    assert_true(websocket_key_is_valid(headers_find(&request->headers, SLICE("Sec-WebSocket-Key"))->value));
    answer(FIRST, 403, "no");
    assert_h2(&f->client, "DATA 1 no end\nRST_STREAM 1 0\n");
    assert_idle_and_empty(f);
}

/* The owner of a tunnel's end. */
struct tunnel {
    struct tunnel_end end;
    struct body_pipe from_client, to_client;
    struct task task;
    struct bench *bench;
    char received[256];
    size_t length;
};

static void tunnel_ran(struct task *task)
{
    struct tunnel *tunnel = CONTAINER_OF(task, struct tunnel, task);
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(&tunnel->from_client, pieces, BODY_PIPE_PIECES);
    for (int i = 0; i < count; i++) {
        memcpy(tunnel->received + tunnel->length, pieces[i].iov_base, pieces[i].iov_len);
        tunnel->length += pieces[i].iov_len;
        body_pipe_consume(&tunnel->from_client, pieces[i].iov_len);
    }
}

static void open_tunnel(struct fixture *f, struct tunnel *tunnel)
{
    struct error error;
    *tunnel = (struct tunnel){ .task.run = tunnel_ran, .bench = &f->bench };
    body_pipe_init(&tunnel->from_client, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&tunnel->to_client, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    body_pipe_attach_consumer(&tunnel->from_client, &tunnel->task);
    tunnel->end.from_peer = &tunnel->from_client;
    tunnel->end.to_peer = &tunnel->to_client;
    tunnel->end.owner_task = &tunnel->task;
    struct response_head *head = new_head(FIRST, 101);
    assert_true(headers_add(&head->headers, SLICE("Sec-WebSocket-Accept"), SLICE("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    assert_true(headers_add(&head->headers, SLICE("Upgrade"), SLICE("websocket")));
    assert_true(headers_add(&head->headers, SLICE("Sec-WebSocket-Protocol"), SLICE("chat")));
    assert_true(server_stream_open_tunnel(FIRST->stream, head, &tunnel->end, &error));
}

static void tunnel_say(struct tunnel *tunnel, const char *text)
{
    assert_true(body_pipe_push_copy(&tunnel->to_client, &tunnel->bench->slabs, slice_from_cstring(text)));
}

static void tunnel_close(struct tunnel *tunnel, bool reset)
{
    tunnel_end_close(&tunnel->end, reset);
    loop_dequeue(&tunnel->bench->loop, &tunnel->task);
    body_pipe_release(&tunnel->from_client);
    body_pipe_release(&tunnel->to_client);
}

static void begin_tunnel(struct fixture *f, struct tunnel *tunnel)
{
    ask_for_websocket(f);
    open_tunnel(f, tunnel);
    assert_h2(&f->client, "HEADERS 1 :status=200 sec-websocket-protocol=chat date=");
    assert_soon(f->sent == 1 && f->released == 1);
}

static void a_tunnel_carries_bytes_both_ways_until_both_have_ended(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    ask_for_websocket(f);
    h2_data(&f->client, 1, "too early, ", 0); /* a client should wait, but nothing is lost */
    settle(f);
    open_tunnel(f, &tunnel);
    assert_h2(&f->client, "HEADERS 1 :status=200 sec-websocket-protocol=chat date=");
    assert_not_h2(&f->client, "accept");
    assert_not_h2(&f->client, "upgrade");
    assert_not_h2(&f->client, "content-length");
    assert_soon(f->sent == 1 && f->released == 1);
    assert_int_equal(f->bench.arenas.bytes_taken, 0); /* the request's memory has gone */
    h2_data(&f->client, 1, "ping", 0);
    tunnel_say(&tunnel, "pong");
    assert_h2(&f->client, "DATA 1 pong\n");
    body_pipe_finish(&tunnel.to_client, NULL);
    assert_h2(&f->client, "DATA 1  end\n");
    assert_soon(tunnel.end.events == TUNNEL_END_SENT);
    assert_int_equal(tunnel.end.bytes_sent, 4);
    assert_not_h2(&f->client, "RST_STREAM");
    h2_data(&f->client, 1, " and out", H2_END);
    assert_soon(tunnel.end.events == (TUNNEL_END_SENT | TUNNEL_END_FINISHED));
    assert_string_equal(tunnel.received, "too early, ping and out");
    tunnel_close(&tunnel, false);
    settle(f);
    assert_not_h2(&f->client, "RST_STREAM");
    assert_idle_and_empty(f);
}

static void a_tunnel_whose_client_breaks_off_is_gone(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    begin_tunnel(f, &tunnel);
    h2_data(&f->client, 1, "half a mess", 0);
    h2_reset(&f->client, 1, NGHTTP2_CANCEL);
    assert_soon(tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    assert_int_equal(tunnel.from_client.state, BODY_ABORTED);
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

static void a_tunnel_ends_with_its_connection(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    begin_tunnel(f, &tunnel);
    shutdown(f->wire.descriptor, SHUT_WR);
    assert_soon(tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    tunnel_close(&tunnel, false);
    assert_soon(f->closed == 1);
}

static void whoever_closes_a_tunnel_hears_no_more_of_it(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    begin_tunnel(f, &tunnel);
    tunnel_close(&tunnel, true);
    assert_h2(&f->client, "RST_STREAM 1 8\n");
    h2_data(&f->client, 1, "on its way", H2_END);
    settle(f);
    assert_int_equal(tunnel.end.events, 0);
    assert_idle_and_empty(f);
}

static void a_tunnel_that_lost_bytes_before_it_began_is_reset(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    ask_for_websocket(f);
    f->bench.ceiling.bytes_max = 1;
    h2_data(&f->client, 1, "too early", 0);
    assert_soon(FIRST->stream->bytes_in > 9 + strlen("too early"));
    settle(f);
    f->bench.ceiling.bytes_max = 0;
    open_tunnel(f, &tunnel);
    assert_h2(&f->client, "RST_STREAM 1 2\n");
    assert_soon(tunnel.end.events == TUNNEL_END_GONE);
    assert_int_equal(tunnel.from_client.state, BODY_ABORTED);
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

static void interim_heads_before_a_tunnel_are_not_its_beginning(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    ask_for_websocket(f);
    server_stream_send_interim(FIRST->stream, new_head(FIRST, 103));
    open_tunnel(f, &tunnel); /* all in one turn */
    assert_h2(&f->client, "HEADERS 1 :status=103\nHEADERS 1 :status=200");
    assert_soon(f->sent == 1 && f->released == 1);
    tunnel_say(&tunnel, "pong");
    assert_h2(&f->client, "DATA 1 pong\n");
    tunnel_close(&tunnel, true);
    assert_h2(&f->client, "RST_STREAM 1 8\n");
    assert_idle_and_empty(f);
}

static void a_tunnel_that_is_closed_before_its_head_has_gone_is_over(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    ask_for_websocket(f);
    open_tunnel(f, &tunnel);
    tunnel_close(&tunnel, false);
    assert_soon(f->sent == 1 && f->released == 1);
    assert_h2(&f->client, "RST_STREAM 1 ");
    assert_idle_and_empty(f);
}

static void a_tunnel_whose_other_side_breaks_off_is_reset(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    struct error error;
    begin_tunnel(f, &tunnel);
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 0, "reset", "text");
    body_pipe_abort(&tunnel.to_client, &error);
    assert_h2(&f->client, "RST_STREAM 1 8\n");
    assert_soon(tunnel.end.events == TUNNEL_END_GONE);
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

/* Before the stream has become the tunnel's: then nghttp2 asks for content that will not come. */
static void a_tunnel_whose_other_side_has_broken_off_already_is_reset_alike(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    struct error error;
    f->keep_streams = true;
    ask_for_websocket(f);
    open_tunnel(f, &tunnel);
    assert_soon(f->sent == 1);
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 0, "reset", "the backend broke off");
    body_pipe_abort(&tunnel.to_client, &error);
    release(FIRST);
    assert_h2(&f->client, "RST_STREAM 1 8\n");
    assert_soon(tunnel.end.events & TUNNEL_END_GONE);
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

static void a_client_that_goes_before_the_tunnel_begins_is_told_by_its_end(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    f->keep_streams = true;
    ask_for_websocket(f);
    h2_reset(&f->client, 1, NGHTTP2_CANCEL);
    assert_soon(f->gone == 1);
    open_tunnel(f, &tunnel);
    assert_soon(tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    release(FIRST);
    tunnel_close(&tunnel, false);
    settle(f);
    assert_not_h2(&f->client, "HEADERS");
    assert_idle_and_empty(f);
}

static void a_reset_between_the_head_and_the_release_ends_stream_and_tunnel(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    f->keep_streams = true;
    ask_for_websocket(f);
    open_tunnel(f, &tunnel);
    assert_soon(f->sent == 1);
    h2_reset(&f->client, 1, NGHTTP2_CANCEL);
    assert_soon(f->gone == 1);
    assert_soon(tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    release(FIRST);
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

/* A large message waits for the client's window, and what the other side sends waits with it. */
static void a_tunnel_is_held_back_by_windows(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    static char block[8192];
    h2_setting(&f->client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000);
    begin_tunnel(f, &tunnel);
    for (int i = 0; i < 8; i++)
        assert_true(body_pipe_push_copy(&tunnel.to_client, &f->bench.slabs, slice_of(block, sizeof block)));
    settle(f);
    h2_parse(&f->client);
    assert_int_equal(f->client.content, 1000);
    h2_open_window(&f->client, 0, 100000);
    h2_open_window(&f->client, 1, 100000);
    assert_soon((h2_parse(&f->client), f->client.content == 8 * sizeof block));
    tunnel_close(&tunnel, false);
    assert_idle_and_empty(f);
}

static void requests_can_be_cut_without_the_tunnels(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    begin_tunnel(f, &tunnel);
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    server_session_cut(f->session);
    assert_h2(&f->client, "RST_STREAM 3 2\n");
    assert_soon(f->gone == 1);
    tunnel_say(&tunnel, "still here");
    assert_h2(&f->client, "DATA 1 still here\n");
    tunnel_close(&tunnel, true);
    settle(f);
    server_session_cut(f->session);
    assert_int_equal(f->closed, 1);
}

/* A drain waits for the tunnel, which its owner ends in its time. */
static void a_draining_connection_stays_while_a_tunnel_is_open(void **state)
{
    struct fixture *f = *state;
    struct tunnel tunnel;
    begin_tunnel(f, &tunnel);
    server_session_drain(f->session);
    assert_h2(&f->client, "GOAWAY 2147483647 0\n");
    h2_frame(&f->client, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_h2(&f->client, "GOAWAY 1 0\n");
    tunnel_say(&tunnel, "bye");
    assert_h2(&f->client, "DATA 1 bye\n");
    assert_int_equal(f->closed, 0);
    tunnel_close(&tunnel, false);
    assert_h2(&f->client, "RST_STREAM 1 0\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
}

/* --- refusals --- */

static void assert_refused(struct fixture *f, uint32_t stream, unsigned status, const char *reason)
{
    char expected[128];
    snprintf(expected, sizeof expected, "HEADERS %u :status=%u content-type=application/problem+json", stream, status);
    assert_h2(&f->client, expected);
    assert_soon(f->refused == 1);
    assert_int_equal(f->refused_status, status);
    assert_string_equal(f->refused_reason, reason);
    assert_int_equal(f->opened, 0);
    assert_idle_and_empty(f);
}

#define REFUSAL(name, status, reason, ...)                    \
    static void name(void **state)                            \
    {                                                         \
        struct fixture *f = *state;                           \
        h2_headers(&f->client, 1, H2_END, __VA_ARGS__, NULL); \
        assert_refused(f, 1, status, reason);                 \
    }

REFUSAL(a_scheme_that_is_not_http_is_refused, 400, "bad-target", ":method", "GET", ":scheme", "ftp", ":authority", "h",
        ":path", "/")
REFUSAL(a_path_that_climbs_above_the_root_is_refused, 400, "bad-target", H2_REQUEST("GET", "/../a"))
REFUSAL(a_path_with_a_fragment_is_refused, 400, "bad-target", H2_REQUEST("GET", "/a#b"))
REFUSAL(a_path_with_bytes_beyond_ascii_is_refused, 400, "bad-target", H2_REQUEST("GET", "/\xc3\xa4"))
REFUSAL(an_authority_with_userinfo_is_refused, 400, "bad-host", ":method", "GET", ":scheme", "http", ":authority",
        "user@h", ":path", "/")
REFUSAL(an_authority_that_disagrees_with_host_is_refused, 400, "bad-host", H2_REQUEST("GET", "/"), "host", "other")
REFUSAL(connect_is_not_served, 501, "method-not-implemented", ":method", "CONNECT", ":authority", "h:443")
REFUSAL(an_unknown_protocol_is_not_served, 501, "method-not-implemented", ":method", "CONNECT", ":protocol", "tunnel",
        ":scheme", "http", ":path", "/", ":authority", "h")
REFUSAL(another_expectation_than_100_continue_fails, 417, "expectation-failed", H2_REQUEST("GET", "/"), "expect",
        "a-miracle")
REFUSAL(a_twin_of_a_framing_field_is_refused, 400, "ambiguous-framing", H2_REQUEST("GET", "/"), "content_length", "5")

static void a_host_field_may_stand_in_for_the_authority_or_beside_it(void **state)
{
    struct fixture *f = *state;
    h2_headers(&f->client, 1, H2_END, ":method", "GET", ":scheme", "http", ":path", "/", "host", "h.example:8080",
               NULL);
    h2_headers(&f->client, 3, H2_END, H2_REQUEST("GET", "/"), "host", "H:80", NULL);
    assert_soon(f->opened == 2);
    assert_slice_is(FIRST->stream->request.host, "h.example");
    assert_int_equal(FIRST->stream->request.port, 8080);
    assert_slice_is(SECOND->stream->request.host, "h");
}

static void options_may_ask_for_the_server_as_a_whole(void **state)
{
    struct fixture *f = *state;
    h2_headers(&f->client, 1, H2_END, H2_REQUEST("OPTIONS", "*"), NULL);
    assert_soon(f->opened == 1);
    assert_int_equal(FIRST->stream->request.target.form, TARGET_ASTERISK);
}

/* What nghttp2 refuses: the stream is reset, no exchange opens, and it is told. */
#define MALFORMED(name, ...)                                  \
    static void name(void **state)                            \
    {                                                         \
        struct fixture *f = *state;                           \
        h2_headers(&f->client, 1, H2_END, __VA_ARGS__, NULL); \
        assert_h2(&f->client, "RST_STREAM 1 1\n");            \
        assert_int_equal(f->opened, 0);                       \
        assert_int_equal(f->refused, 1);                      \
        assert_int_equal(f->refused_status, 400);             \
        h2_get(&f->client, 3, "/good");                       \
        assert_soon(f->opened == 1);                          \
    }

MALFORMED(an_upper_case_name_is_malformed, H2_REQUEST("GET", "/"), "X-Upper", "a")
MALFORMED(a_name_that_is_no_token_is_malformed, H2_REQUEST("GET", "/"), "bad name", "a")
MALFORMED(cr_lf_in_a_value_is_malformed, H2_REQUEST("GET", "/"), "x", "a\r\nb: c")
MALFORMED(a_control_character_in_a_value_is_malformed, H2_REQUEST("GET", "/"), "x", "a\1b")
MALFORMED(white_space_around_a_value_is_malformed, H2_REQUEST("GET", "/"), "x", " a")
MALFORMED(a_connection_field_is_malformed, H2_REQUEST("GET", "/"), "connection", "close")
MALFORMED(transfer_encoding_is_malformed, H2_REQUEST("POST", "/"), "transfer-encoding", "chunked")
MALFORMED(keep_alive_is_malformed, H2_REQUEST("GET", "/"), "keep-alive", "timeout=5")
MALFORMED(proxy_connection_is_malformed, H2_REQUEST("GET", "/"), "proxy-connection", "keep-alive")
MALFORMED(upgrade_is_malformed, H2_REQUEST("GET", "/"), "upgrade", "h2c")
MALFORMED(te_other_than_trailers_is_malformed, H2_REQUEST("GET", "/"), "te", "trailers, deflate")
MALFORMED(a_pseudo_field_behind_others_is_malformed, ":method", "GET", ":scheme", "http", "x", "y", ":path", "/",
          ":authority", "h")
MALFORMED(an_unknown_pseudo_field_is_malformed, H2_REQUEST("GET", "/"), ":other", "x")
MALFORMED(a_response_pseudo_field_is_malformed, H2_REQUEST("GET", "/"), ":status", "200")
MALFORMED(a_pseudo_field_twice_is_malformed, H2_REQUEST("GET", "/"), ":path", "/other")
MALFORMED(no_method_is_malformed, ":scheme", "http", ":path", "/", ":authority", "h")
MALFORMED(no_scheme_is_malformed, ":method", "GET", ":path", "/", ":authority", "h")
MALFORMED(no_path_is_malformed, ":method", "GET", ":scheme", "http", ":authority", "h")
MALFORMED(an_empty_path_is_malformed, H2_REQUEST("GET", ""))
MALFORMED(a_path_without_a_slash_is_malformed, H2_REQUEST("GET", "a"))
MALFORMED(a_path_with_a_space_is_malformed, H2_REQUEST("GET", "/a b"))
MALFORMED(an_asterisk_without_options_is_malformed, H2_REQUEST("GET", "*"))
MALFORMED(neither_authority_nor_host_is_malformed, ":method", "GET", ":scheme", "http", ":path", "/")
MALFORMED(an_empty_authority_is_malformed, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "")
MALFORMED(two_hosts_are_malformed, H2_REQUEST("GET", "/"), "host", "h", "host", "h")
MALFORMED(two_lengths_are_malformed, H2_REQUEST("GET", "/"), "content-length", "0", "content-length", "0")
MALFORMED(a_length_that_is_no_number_is_malformed, H2_REQUEST("GET", "/"), "content-length", "+0")
MALFORMED(a_protocol_without_connect_is_malformed, H2_REQUEST("GET", "/"), ":protocol", "websocket")

static void bad_trailers_reset_the_stream(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    h2_data(&f->client, 1, "hello", 0);
    h2_headers(&f->client, 1, H2_END, ":path", "/other", NULL);
    assert_h2(&f->client, "RST_STREAM 1 1\n");
    assert_soon(f->gone == 1);
    assert_false(FIRST->body_ended);
}

static void trailers_that_do_not_end_the_stream_reset_it(void **state)
{
    struct fixture *f = *state;
    h2_post(&f->client, 1);
    h2_headers(&f->client, 1, 0, "x-sum", "1", NULL);
    assert_h2(&f->client, "RST_STREAM 1 1\n");
    assert_soon(f->gone == 1);
}

static void a_target_beyond_the_limit_is_414(void **state)
{
    struct fixture *f = *state;
    char path[200];
    f->settings.limits.request_line_bytes = 100;
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[199] = '\0';
    h2_get(&f->client, 1, path);
    assert_refused(f, 1, 414, "uri-too-long");
}

static void fields_beyond_the_limit_are_431_however_they_are_counted(void **state)
{
    struct fixture *f = *state;
    static char value[1200];
    f->settings.limits.header_bytes = 1000;
    memset(value, 'v', sizeof value - 1);
    h2_headers(&f->client, 1, H2_END, H2_REQUEST("GET", "/"), "x", value, NULL);
    assert_refused(f, 1, 431, "headers-too-large");
    f->refused = 0;
    f->settings.limits.header_count = 2;
    h2_headers(&f->client, 3, H2_END, H2_REQUEST("GET", "/"), "a", "1", "b", "2", "c", "3", NULL);
    assert_refused(f, 3, 431, "headers-too-large");
}

static void at_the_ceiling_of_buffers_a_request_gets_503_and_retry_after(void **state)
{
    struct fixture *f = *state;
    f->bench.ceiling.bytes_max = 1 << 20;
    f->bench.ceiling.taken = (1 << 20) - (48 << 10); /* by others */
    h2_get(&f->client, 1, "/a");
    h2_post(&f->client, 3);
    assert_h2(&f->client, "HEADERS 1 :status=503 retry-after=1 end\n");
    assert_h2(&f->client, "HEADERS 3 :status=503 retry-after=1 end\nRST_STREAM 3 0\n");
    assert_int_equal(f->refused, 2);
    assert_int_equal(f->refused_status, 503);
    f->bench.ceiling.taken -= (1 << 20) - (48 << 10);
    f->bench.ceiling.bytes_max = 0;
    f->answer_at_once = "ok";
    h2_get(&f->client, 5, "/a");
    assert_h2(&f->client, "DATA 5 ok end\n");
    assert_idle_and_empty(f);
}

/* Its first bytes came, then all memory was taken: it goes on with what was promised. */
static void at_the_ceiling_a_body_goes_on_by_the_reserve(void **state)
{
    struct fixture *f = *state;
    f->take_bodies = true;
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    size_t in_use = memory_ceiling_in_use(&f->bench.ceiling);
    f->bench.ceiling.bytes_max = 1;
    unsigned turns = 0;
    while (!send_pattern(f, 1, 300000, 16381)) assert_true(one_turn_more(&turns));
    assert_soon(FIRST->body_ended);
    assert_pattern(FIRST, 300000);
    assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= in_use);
    f->bench.ceiling.bytes_max = 0;
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_idle_and_empty(f);
}

/* --- clients and owners that go away --- */

static void a_reset_from_the_client_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    f->keep_streams = true;
    h2_get(&f->client, 1, "/a");
    h2_post(&f->client, 3);
    assert_soon(f->opened == 2);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, "begin");
    assert_h2(&f->client, "DATA 1 begin\n");
    h2_reset(&f->client, 1, NGHTTP2_CANCEL);
    h2_reset(&f->client, 3, NGHTTP2_CANCEL);
    assert_soon(f->gone == 2);
    assert_true(body_pipe_is_stopped(&FIRST->answer));
    assert_int_equal(SECOND->stream->request_body->state, BODY_ABORTED);
    answer(SECOND, 200, "to nobody");
    release(FIRST);
    release(SECOND);
    settle(f);
    assert_not_h2(&f->client, "nobody");
    assert_idle_and_empty(f);
}

static void a_client_that_leaves_takes_its_streams_along(void **state)
{
    struct fixture *f = *state;
    f->keep_streams = true;
    h2_get(&f->client, 1, "/a");
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    shutdown(f->wire.descriptor, SHUT_WR);
    assert_soon(f->gone == 2);
    assert_int_equal(f->closed, 0); /* the streams stay until they are released */
    release(FIRST);
    assert_int_equal(f->closed, 0);
    release(SECOND);
    assert_int_equal(f->closed, 1);
}

static void a_reset_connection_is_noticed_while_the_owner_thinks(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    wire_reset(&f->wire);
    assert_soon(f->gone == 1);
    assert_soon(f->closed == 1);
}

static void an_idle_connection_that_the_client_closes_is_closed(void **state)
{
    struct fixture *f = *state;
    close(f->wire.descriptor);
    f->wire.descriptor = -1;
    assert_soon(f->closed == 1);
}

static void an_owner_that_gives_up_resets_its_stream(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    release(FIRST);
    assert_h2(&f->client, "RST_STREAM 1 2\n");
    server_stream_reset(SECOND->stream);
    assert_h2(&f->client, "RST_STREAM 3 2\n");
    assert_soon(f->gone == 1);
    assert_idle_and_empty(f);
}

static void an_owner_may_end_the_connection_inside_open(void **state)
{
    struct fixture *f = *state;
    f->abort_at_open = true;
    for (uint32_t i = 0; i < 5; i++) h2_get(&f->client, 2 * i + 1, "/a");
    assert_soon(f->closed == 1);
    assert_int_equal(f->opened, 1);
    assert_int_equal(f->gone, 1);
}

/* --- drain --- */

static void an_idle_connection_that_drains_says_so_and_closes(void **state)
{
    struct fixture *f = *state;
    server_session_drain(f->session);
    assert_h2(&f->client, "PING\n");
    assert_h2(&f->client, "GOAWAY 2147483647 0\n");
    assert_int_equal(f->closed, 0);
    h2_frame(&f->client, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_h2(&f->client, "GOAWAY 0 0\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
    close(f->wire.descriptor);
    f->wire.descriptor = -1;
    assert_soon(f->closed == 1);
}

static void requests_that_cross_with_the_drain_are_answered_and_later_ones_are_not(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/before");
    assert_soon(f->opened == 1);
    server_session_drain(f->session);
    assert_h2(&f->client, "GOAWAY 2147483647 0\n");
    h2_get(&f->client, 3, "/crossed");
    h2_frame(&f->client, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_h2(&f->client, "GOAWAY 3 0\n");
    h2_get(&f->client, 5, "/late");
    settle(f);
    assert_int_equal(f->opened, 2);
    answer(SECOND, 200, "crossed");
    assert_h2(&f->client, "DATA 3 crossed end\n");
    assert_false(f->wire.ended);
    answer(FIRST, 200, "before");
    assert_h2(&f->client, "DATA 1 before end\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
}

static void a_client_that_does_not_answer_the_notice_is_not_waited_for_long(void **state)
{
    struct fixture *f = *state;
    server_session_drain(f->session);
    bench_wait(&f->bench, &f->wire, 1050);
    assert_h2(&f->client, "GOAWAY 0 0\n");
    assert_soon(f->wire.ended);
}

static void a_client_that_is_yielded_may_go_on_until_it_knows(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    server_session_yield(f->session);
    assert_h2(&f->client, "GOAWAY 2147483647 0\n");
    bench_wait(&f->bench, &f->wire, 1050);
    assert_not_h2(&f->client, "GOAWAY 0");
    h2_get(&f->client, 1, "/a");
    assert_h2(&f->client, "DATA 1 ok end\n");
    h2_frame(&f->client, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_h2(&f->client, "GOAWAY 1 0\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
}

static void a_busy_client_is_yielded_between_two_requests(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    server_session_yield(f->session);
    h2_get(&f->client, 3, "/a");
    assert_soon(f->opened == 2);
    answer(FIRST, 200, "one");
    assert_h2(&f->client, "DATA 1 one end\n");
    assert_not_h2(&f->client, "GOAWAY");
    answer(SECOND, 200, "two");
    assert_h2(&f->client, "DATA 3 two end\n");
    assert_h2(&f->client, "GOAWAY 2147483647 0\n");
}

static void a_yielded_client_can_be_drained(void **state)
{
    struct fixture *f = *state;
    server_session_yield(f->session);
    settle(f);
    server_session_drain(f->session);
    bench_wait(&f->bench, &f->wire, 1050);
    assert_h2(&f->client, "GOAWAY 0 0\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
}

static void a_client_that_says_goaway_gets_its_answers_and_is_left(void **state)
{
    struct fixture *f = *state;
    h2_get(&f->client, 1, "/a");
    h2_frame(&f->client, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_soon(f->opened == 1);
    answer(FIRST, 200, "ok");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_soon(f->wire.ended && !f->wire.was_reset);
}

/* --- time --- */

static void a_client_that_never_says_anything_is_left(void **state)
{
    struct fixture *f = *state;
    f->settings.head_timeout_ms = 40;
    start_silent(f);
    bench_wait(&f->bench, &f->wire, 60);
    assert_soon(f->wire.ended);
    assert_h2(&f->client, "GOAWAY 0 4\n");
}

static void settings_that_are_not_acknowledged_end_the_connection(void **state)
{
    struct fixture *f = *state;
    f->settings.head_timeout_ms = 300;
    start_silent(f);
    h2_bytes(&f->client, H2_PREFACE, strlen(H2_PREFACE));
    h2_frame(&f->client, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    bench_wait(&f->bench, &f->wire, 100);
    assert_not_h2(&f->client, "GOAWAY");
    bench_wait(&f->bench, &f->wire, 250);
    assert_h2(&f->client, "GOAWAY 0 4\n");
}

static void a_head_that_dribbles_in_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    char block[256];
    f->settings.head_timeout_ms = 300;
    start(f);
    size_t length = h2_block(&f->client, block, sizeof block, H2_REQUEST("GET", "/a"), NULL);
    h2_frame(&f->client, NGHTTP2_HEADERS, H2_END, 1, block, length); /* to be continued */
    for (int i = 0; i < 8 && !f->wire.ended; i++) {
        bench_wait(&f->bench, &f->wire, 50);
        wire_write(&f->wire, "\0\0\1\x9\0\0\0\0\1", 1);
    }
    assert_h2(&f->client, "GOAWAY 1 11\n");
    assert_int_equal(f->refused_status, 408);
    assert_int_equal(f->opened, 0);
}

static void an_idle_connection_is_closed_after_its_time(void **state)
{
    struct fixture *f = *state;
    f->settings.idle_timeout_ms = 300;
    f->answer_at_once = "ok";
    start(f);
    for (uint32_t i = 0; i < 4; i++) { /* each request begins the time anew; a PING does not */
        h2_get(&f->client, 2 * i + 1, "/a");
        bench_wait(&f->bench, &f->wire, 100);
    }
    assert_not_h2(&f->client, "GOAWAY");
    for (int i = 0; i < 8; i++) {
        if (!f->wire.ended) wire_write(&f->wire, "\0\0\x8\x6\0\0\0\0\0\1\2\3\4\5\6\7\x8", 17);
        bench_wait(&f->bench, &f->wire, 50);
    }
    assert_h2(&f->client, "GOAWAY 7 0\n");
    assert_soon(f->wire.ended);
}

static void a_body_that_stops_coming_aborts_its_pipe_with_408(void **state)
{
    struct fixture *f = *state;
    f->settings.body_timeout_ms = 300;
    f->take_bodies = true;
    start(f);
    h2_post(&f->client, 1);
    bench_wait(&f->bench, &f->wire, 170);
    h2_data(&f->client, 1, "a", 0);
    bench_wait(&f->bench, &f->wire, 170);
    assert_null(FIRST->body_failure); /* each piece begins the time anew */
    bench_wait(&f->bench, &f->wire, 350);
    assert_soon(FIRST->body_failure_status == 408);
    answer(FIRST, 408, "too slow");
    assert_h2(&f->client, "DATA 1 too slow end\nRST_STREAM 1 0\n");
    assert_idle_and_empty(f);
}

/* While nobody takes what has come, the client isn't waited for; its time begins when it is. */
static void a_client_held_back_by_the_backend_is_not_blamed(void **state)
{
    struct fixture *f = *state;
    f->settings.body_timeout_ms = 300;
    start(f);
    h2_post(&f->client, 1);
    assert_soon(f->opened == 1);
    assert_false(send_pattern(f, 1, 100000, 16381));
    bench_wait(&f->bench, &f->wire, 400);
    assert_int_equal(FIRST->stream->request_body->state, BODY_OPEN);
    f->take_bodies = true;
    body_pipe_attach_consumer(FIRST->stream->request_body, &FIRST->task);
    collect_body(FIRST);
    bench_wait(&f->bench, &f->wire, 150);
    assert_null(FIRST->body_failure);
    bench_wait(&f->bench, &f->wire, 250);
    assert_soon(FIRST->body_failure_status == 408);
    answer(FIRST, 408, "too slow");
    assert_soon(f->sent == 1);
}

static void a_stream_whose_window_stays_shut_is_reset_and_others_go_on(void **state)
{
    struct fixture *f = *state;
    f->settings.idle_timeout_ms = 300;
    start(f);
    h2_setting(&f->client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    h2_get(&f->client, 1, "/stalled");
    h2_get(&f->client, 3, "/waiting");
    assert_soon(f->opened == 2);
    answer(FIRST, 200, "never taken");
    begin_answer(SECOND, BODY_LENGTH_UNKNOWN, NULL); /* has nothing to send: nobody waits for the client */
    for (int i = 0; i < 9; i++) {                    /* other traffic does not save it */
        h2_frame(&f->client, NGHTTP2_PING, 0, 0, "12345678", 8);
        bench_wait(&f->bench, &f->wire, 50);
    }
    assert_h2(&f->client, "RST_STREAM 1 8\n");
    assert_soon(f->gone == 1);
    assert_not_h2(&f->client, "RST_STREAM 3");
    h2_open_window(&f->client, 3, 100);
    push_answer(SECOND, "here it is");
    body_pipe_finish(&SECOND->answer, NULL);
    assert_h2(&f->client, "DATA 3 here it is");
    assert_soon(f->sent == 1);
    assert_idle_and_empty(f);
}

static void a_client_that_takes_nothing_is_cut_off(void **state)
{
    struct fixture *f = *state;
    size_t pushed = 0;
    f->settings.idle_timeout_ms = 300;
    start(f);
    h2_get(&f->client, 1, "/a");
    h2_open_window(&f->client, 0, 1 << 30);
    h2_open_window(&f->client, 1, 1 << 30);
    assert_soon(f->opened == 1);
    begin_answer(FIRST, BODY_LENGTH_UNKNOWN, NULL);
    f->wire.deaf = true;
    for (int i = 0; i < 400 && f->closed == 0; i++) {
        if (FIRST->stream) push_pattern(FIRST, SIZE_MAX, &pushed);
        bench_wait(&f->bench, &f->wire, 5);
    }
    assert_int_equal(f->gone, 1);
    assert_int_equal(f->closed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_server_says_its_settings_and_opens_the_connections_window, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_preface_byte_by_byte_is_read_as_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_preface_ends_the_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(early_bytes_are_read_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_request_is_answered_and_nothing_is_held, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(many_requests_are_under_way_at_once_and_answered_in_any_order, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_answers_of_a_turn_are_one_write, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(fields_keep_their_order_and_cookies_are_joined, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_answers_fields_are_sent_in_lower_case_without_those_of_the_connection,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(head_gets_the_length_but_no_body, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(answers_without_content_have_no_length, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_of_unknown_length_ends_with_its_trailers, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(trailers_may_follow_on_no_content_at_all, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_of_unknown_length_without_content_is_ended, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_aborts_resets_its_stream_alone, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_shorter_than_announced_resets_its_stream, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_longer_than_announced_is_never_sent_beyond_its_length, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_head_that_can_not_be_written_is_refused_and_another_may_follow,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(interim_heads_go_out_before_the_answer, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_large_head_is_continued, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(streams_share_the_connection_evenly, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_large_answer_waits_for_its_streams_window_and_others_do_not, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_answer_larger_than_the_socket_holds_goes_on_when_the_client_reads,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_in_static_memory_is_sent_whole, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_small_body_is_in_the_pipe_soon_after_the_request_opens, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_body_arrives_with_its_trailers, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(padding_is_no_content, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(bodies_of_several_streams_arrive_whole, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_in_many_pieces_is_held_until_it_is_taken, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(many_tiny_frames_do_not_use_up_the_pipe, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_nobody_takes_holds_its_own_window_only, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(bodies_left_unread_do_not_shut_the_connections_window, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_early_answer_is_whole_and_then_the_request_is_not_needed, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_declared_body_beyond_the_limit_is_refused_before_any_exchange, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_grows_beyond_the_limit_aborts_its_pipe_with_413, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(content_that_disagrees_with_its_length_resets_the_stream, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_nobody_wants_is_thrown_away, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_waits_is_asked_for_its_body_when_somebody_wants_it,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_100_from_the_backend_is_passed_on_once, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_extended_connect_is_a_get_that_wants_to_upgrade, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_carries_bytes_both_ways_until_both_have_ended, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_whose_client_breaks_off_is_gone, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_ends_with_its_connection, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(whoever_closes_a_tunnel_hears_no_more_of_it, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_that_lost_bytes_before_it_began_is_reset, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(interim_heads_before_a_tunnel_are_not_its_beginning, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_that_is_closed_before_its_head_has_gone_is_over, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_whose_other_side_breaks_off_is_reset, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_whose_other_side_has_broken_off_already_is_reset_alike, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_goes_before_the_tunnel_begins_is_told_by_its_end, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_reset_between_the_head_and_the_release_ends_stream_and_tunnel, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_tunnel_is_held_back_by_windows, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(requests_can_be_cut_without_the_tunnels, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_draining_connection_stays_while_a_tunnel_is_open, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_scheme_that_is_not_http_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_path_that_climbs_above_the_root_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_path_with_a_fragment_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_path_with_bytes_beyond_ascii_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_authority_with_userinfo_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_authority_that_disagrees_with_host_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(connect_is_not_served, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_protocol_is_not_served, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(another_expectation_than_100_continue_fails, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_twin_of_a_framing_field_is_refused, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_host_field_may_stand_in_for_the_authority_or_beside_it, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_may_ask_for_the_server_as_a_whole, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_upper_case_name_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_is_no_token_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(cr_lf_in_a_value_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_control_character_in_a_value_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(white_space_around_a_value_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_field_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(transfer_encoding_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(keep_alive_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(proxy_connection_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(upgrade_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(te_other_than_trailers_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_pseudo_field_behind_others_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_pseudo_field_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_response_pseudo_field_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_pseudo_field_twice_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(no_method_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(no_scheme_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(no_path_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_path_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_path_without_a_slash_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_path_with_a_space_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_asterisk_without_options_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(neither_authority_nor_host_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_authority_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(two_hosts_are_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(two_lengths_are_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_length_that_is_no_number_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_protocol_without_connect_is_malformed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(bad_trailers_reset_the_stream, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(trailers_that_do_not_end_the_stream_reset_it, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_target_beyond_the_limit_is_414, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(fields_beyond_the_limit_are_431_however_they_are_counted, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(at_the_ceiling_of_buffers_a_request_gets_503_and_retry_after, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(at_the_ceiling_a_body_goes_on_by_the_reserve, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_reset_from_the_client_is_told_at_once, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_leaves_takes_its_streams_along, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_reset_connection_is_noticed_while_the_owner_thinks, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_idle_connection_that_the_client_closes_is_closed, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_owner_that_gives_up_resets_its_stream, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_owner_may_end_the_connection_inside_open, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(an_idle_connection_that_drains_says_so_and_closes, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(requests_that_cross_with_the_drain_are_answered_and_later_ones_are_not,
                                        set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_does_not_answer_the_notice_is_not_waited_for_long, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_is_yielded_may_go_on_until_it_knows, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_busy_client_is_yielded_between_two_requests, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_yielded_client_can_be_drained, set_up_started, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_says_goaway_gets_its_answers_and_is_left, set_up_started,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_never_says_anything_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_that_are_not_acknowledged_end_the_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_head_that_dribbles_in_ends_the_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_idle_connection_is_closed_after_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_stops_coming_aborts_its_pipe_with_408, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_held_back_by_the_backend_is_not_blamed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_whose_window_stays_shut_is_reset_and_others_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_takes_nothing_is_cut_off, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
