/* A client's connection by the rules of RFC 9110 and 9112, over loopback TCP: the test is the client at one end and the owner of the
 * exchanges at the other. */
#include "sessions.h"

#include "http/h1_server.h"

struct fixture {
    struct bench bench;
    struct server_settings settings;
    const struct server_settings *settings_now;
    struct peer peer;
    struct server_session *session; /* NULL: closed */
    struct wire client;
    /* As the owner of the one open exchange. */
    struct server_stream *stream;
    struct task task;
    struct body_pipe answer;
    bool has_answer;
    const char *answer_at_once; /* a body, answered inside open() */
    bool keep_stream;           /* don't release when it is SENT or GONE */
    bool take_body;             /* attach to the request's body and collect it */
    unsigned opened, released, sent, gone;
    char path[64];
    char *body;
    size_t body_length, body_limit; /* limit: consume no more */
    const char *body_failure;
    unsigned body_failure_status;
    bool body_ended;
    char trailer[64];
    /* As the connection table. */
    unsigned refused, closed;
    unsigned refused_status;
    const char *refused_reason;
};

static void release(struct fixture *f)
{
    struct server_stream *stream = f->stream;
    f->stream = NULL;
    f->released++;
    if (f->has_answer) body_pipe_release(&f->answer);
    f->has_answer = false;
    loop_dequeue(&f->bench.loop, &f->task);
    server_stream_release(stream);
}

static void collect_body(struct fixture *f)
{
    struct body_pipe *body = f->stream->request_body;
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(body, pieces, BODY_PIPE_PIECES);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t length = pieces[i].iov_len;
        if (f->body_length + length > f->body_limit) length = f->body_limit - f->body_length;
        memcpy(f->body + f->body_length, pieces[i].iov_base, length);
        f->body_length += length;
        total += length;
    }
    body_pipe_consume(body, total);
    f->body_ended = body_pipe_is_drained(body);
    if (body->state == BODY_ABORTED) {
        f->body_failure = body->failure.reason;
        f->body_failure_status = body->failure.status;
    }
    if (f->body_ended && body->trailers) {
        struct header *trailer = headers_next(body->trailers, NULL);
        snprintf(f->trailer, sizeof f->trailer, "%.*s=%.*s", SLICE_PRINT(trailer->name), SLICE_PRINT(trailer->value));
    }
}

static void owner_ran(struct task *task)
{
    struct fixture *f = CONTAINER_OF(task, struct fixture, task);
    uint8_t events = f->stream->events;
    if (f->take_body && f->stream->request_body) collect_body(f);
    f->sent += (events & SERVER_STREAM_SENT) != 0;
    f->gone += (events & SERVER_STREAM_GONE) != 0;
    if (events && !f->keep_stream) release(f);
}

/* The answer's pipe holds `text` and is finished, unless it is to go on. */
static bool send_answer(struct fixture *f, struct response_head *head, const char *text, bool finish)
{
    struct error error;
    body_pipe_init(&f->answer, &f->bench.loop, head->body_length);
    f->has_answer = true;
    if (text) assert_true(body_pipe_push_copy(&f->answer, &f->bench.slabs, slice_from_cstring(text)));
    if (finish) body_pipe_finish(&f->answer, NULL);
    return server_stream_send_head(f->stream, head, head->has_body ? &f->answer : NULL, &error);
}

static struct response_head *new_head(struct fixture *f, unsigned status)
{
    struct response_head *head = arena_allocate(f->stream->arena, sizeof *head);
    response_head_init(head, f->stream->arena);
    head->status = (uint16_t)status;
    return head;
}

static void answer(struct fixture *f, unsigned status, const char *text)
{
    struct response_head *head = new_head(f, status);
    head->has_body = text != NULL;
    head->body_length = text ? strlen(text) : 0;
    assert_true(send_answer(f, head, text, true));
}

/* A body that goes on; push to f->answer. */
static void begin_answer(struct fixture *f, uint64_t length, const char *text)
{
    struct response_head *head = new_head(f, 200);
    head->has_body = true;
    head->body_length = length;
    assert_true(send_answer(f, head, text, false));
}

static void push_answer(struct fixture *f, const char *text)
{
    assert_true(body_pipe_push_copy(&f->answer, &f->bench.slabs, slice_from_cstring(text)));
}

static void opened(struct server_session *session, struct server_stream *stream, void *owner)
{
    struct fixture *f = owner;
    f->opened++;
    f->stream = stream;
    stream->owner_task = &f->task;
    snprintf(f->path, sizeof f->path, "%.*s", SLICE_PRINT(stream->request.target.path));
    if (f->take_body && stream->request_body) {
        body_pipe_attach_consumer(stream->request_body, &f->task);
        collect_body(f);
    }
    if (f->answer_at_once) answer(f, 200, f->answer_at_once);
}

static void refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    struct fixture *f = owner;
    f->refused++;
    assert_int_equal(refusal->request_id.length, REQUEST_ID_BYTES);
    f->refused_status = refusal->error->status;
    f->refused_reason = refusal->error->reason;
}

static void closed(struct server_session *session, void *owner)
{
    struct fixture *f = owner;
    f->closed++;
    f->session = NULL;
}

static const struct server_session_events events = { .open = opened, .refused = refused, .closed = closed };

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    bench_set_up(&f->bench);
    f->settings = (struct server_settings){
        .limits = { .request_line_bytes = 8192, .header_bytes = 65536, .header_count = 200 },
        .body_bytes_max = 64 << 20,
        .head_timeout_ms = 5000,
        .body_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .half_close_timeout_ms = 5000,
    };
    f->settings_now = &f->settings;
    f->task.run = owner_ran;
    f->body = malloc(16 << 20);
    f->body_limit = 16 << 20;
    *state = f;
    return 0;
}

static void start(struct fixture *f)
{
    int accepted, connected;
    connect_pair(&accepted, &connected);
    wire_open(&f->client, connected);
    f->session = h1_server_start(&f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted },
                                 &f->peer, &events, f);
    assert_non_null(f->session);
    bench_settle(&f->bench, &f->client);
}

static int set_up_started(void **state)
{
    set_up(state);
    start(*state);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->keep_stream = false;
    if (f->session) server_session_abort(f->session);
    bench_settle(&f->bench, &f->client);
    if (f->stream) release(f);
    assert_null(f->session);
    assert_soon(f->closed == 1);
    assert_int_equal(f->opened, f->released);
    wire_close(&f->client);
    bench_tear_down(&f->bench);
    free(f->body);
    free(f);
    return 0;
}

static void settle(struct fixture *f) { bench_settle(&f->bench, &f->client); }

static void ask(struct fixture *f, const char *text)
{
    wire_say(&f->client, text);
    settle(f);
}

static void assert_idle_and_empty(struct fixture *f)
{
    assert_non_null(f->session);
    assert_soon(f->bench.slabs.taken_bytes == 0);
    assert_int_equal(f->bench.arenas.bytes_taken, 0);
}

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(length) "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n"
#define POST_CHUNKED "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

/* --- one request after the other --- */

static void a_request_is_answered_and_the_connection_kept(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    assert_soon(f->opened == 1);
    assert_string_equal(f->path, "/a");
    answer(f, 200, "hello");
    settle(f);
    assert_received(&f->client, "HTTP/1.1 200 OK\r\n");
    assert_received(&f->client, "Content-Length: 5\r\n");
    assert_not_received(&f->client, "Connection:");
    assert_soon(ends_with(&f->client, "\r\n\r\nhello"));
    assert_soon(f->sent == 1);
    assert_idle_and_empty(f);
}

static void an_owner_may_answer_and_release_inside_open(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "now";
    ask(f, GET GET GET);
    assert_soon(f->opened == 3);
    assert_soon(f->sent == 3);
    assert_soon(ends_with(&f->client, "now"));
    assert_idle_and_empty(f);
}

static void a_request_costs_one_recv_and_one_sendmsg_and_no_epoll_ctl(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "0123456789";
    ask(f, GET);
    system_calls = (struct system_calls){ 0 };
    for (int i = 0; i < 10; i++) ask(f, GET);
    assert_soon(f->sent == 11);
    assert_int_equal(system_calls.recv, 10);
    assert_int_equal(system_calls.sendmsg, 10);
    assert_int_equal(system_calls.epoll_ctl, 0);
}

static void pipelined_requests_are_answered_in_order_one_at_a_time(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HT");
    assert_soon(f->opened == 1);
    assert_string_equal(f->path, "/1");
    answer(f, 200, "first");
    settle(f);
    assert_soon(f->opened == 2);
    assert_string_equal(f->path, "/2");
    answer(f, 200, "second");
    settle(f);
    assert_soon(f->opened == 2);
    ask(f, "TP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(f->path, "/3");
    answer(f, 200, "third");
    settle(f);
    assert_true(strstr(f->client.received, "first") < strstr(f->client.received, "second"));
    assert_soon(ends_with(&f->client, "third"));
    assert_idle_and_empty(f);
}

static void many_pipelined_requests_outgrow_their_slab_and_all_are_answered(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "x";
    for (int i = 0; i < 3000; i++) wire_say(&f->client, GET);
    for (int i = 0; i < 200 && f->sent < 3000; i++) settle(f);
    assert_soon(f->sent == 3000);
    assert_idle_and_empty(f);
}

/* Fills what the kernel takes. */
static void send_all_that_fits(struct fixture *f, const char *text)
{
    static char bytes[256 * 1024];
    size_t length = strlen(text), filled = 0;
    for (; filled + length <= sizeof bytes; filled += length) memcpy(bytes + filled, text, length);
    size_t sent = 0, total = 0;
    while ((sent = wire_write(&f->client, bytes + total % filled, filled - total % filled)) > 0) total += sent;
    assert_true(total > 1 << 20);
}

/* However fast a client is, the turn ends and others have theirs. */
static void one_turn_takes_a_bounded_share_of_pipelined_requests(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "x";
    f->client.deaf = true;
    send_all_that_fits(f, GET);
    loop_turn(&f->bench.loop, 10);
    assert_in_range(f->opened, 1, 20);
}

static void one_turn_takes_a_bounded_share_of_what_a_refused_client_still_sends(void **state)
{
    struct fixture *f = *state;
    ask(f, "BAD\r\n\r\n");
    send_all_that_fits(f, "more of it");
    system_calls.recv = 0;
    loop_turn(&f->bench.loop, 10);
    assert_in_range(system_calls.recv, 1, 8); /* the kernel has 10 for us */
}

static void one_turn_takes_a_bounded_share_of_a_body_that_is_taken_as_fast_as_it_comes(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    ask(f, POST("16000000"));
    send_all_that_fits(f, "0123456789");
    system_calls.recv = 0;
    loop_turn(&f->bench.loop, 10);
    assert_in_range(system_calls.recv, 1, 16);
}

static void a_head_that_outgrows_its_slab_moves_to_a_larger_one(void **state)
{
    struct fixture *f = *state;
    char value[20001];
    memset(value, 'v', 20000);
    value[20000] = '\0';
    ask(f, "GET /large HTTP/1.1\r\nHost: h\r\nX-First: 1\r\nX-Large: ");
    ask(f, value);
    ask(f, value);
    ask(f, "\r\n\r\n");
    assert_string_equal(f->path, "/large");
    assert_slice_is(headers_find(&f->stream->request.headers, SLICE("x-first"))->value, "1");
    assert_int_equal(headers_find(&f->stream->request.headers, SLICE("x-large"))->value.length, 40000);
    answer(f, 200, "ok");
    settle(f);
    assert_soon(ends_with(&f->client, "ok"));
    assert_idle_and_empty(f);
}

static void a_head_byte_by_byte_is_read_as_one(void **state)
{
    struct fixture *f = *state;
    for (const char *at = GET; *at; at++) {
        wire_write(&f->client, at, 1);
        loop_turn(&f->bench.loop, 0);
    }
    settle(f);
    assert_soon(f->opened == 1);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void an_idle_connection_that_the_client_closes_is_closed(void **state)
{
    struct fixture *f = *state;
    close(f->client.descriptor);
    f->client.descriptor = -1;
    settle(f);
    assert_soon(f->closed == 1);
}

static void connection_close_is_obeyed_and_announced(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "bye";
    ask(f, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "bye"));
    assert_soon(f->client.ended && !f->client.was_reset);
    assert_soon(f->closed == 1);
}

static void an_http_1_0_client_is_kept_only_when_it_asks(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "old";
    ask(f, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_received(&f->client, "Connection: keep-alive\r\n");
    assert_idle_and_empty(f);
    ask(f, "GET / HTTP/1.0\r\n\r\n");
    assert_soon(f->client.ended);
    assert_soon(f->closed == 1);
}

/* --- answers --- */

static void a_body_of_unknown_length_is_chunked_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    begin_answer(f, BODY_LENGTH_UNKNOWN, "first");
    settle(f);
    push_answer(f, " and second");
    struct headers trailers;
    headers_init(&trailers, f->stream->arena);
    assert_true(headers_add(&trailers, SLICE("X-Sum"), SLICE("42")));
    body_pipe_finish(&f->answer, &trailers);
    settle(f);
    assert_received(&f->client, "Transfer-Encoding: chunked\r\n");
    assert_soon(ends_with(&f->client, "\r\n\r\n5\r\nfirst\r\nb\r\n and second\r\n0\r\nX-Sum: 42\r\n\r\n"));
    assert_idle_and_empty(f);
}

static void a_chunked_body_that_is_whole_goes_out_in_one_write(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    system_calls.sendmsg = 0;
    struct response_head *head = new_head(f, 200);
    head->has_body = true;
    head->body_length = BODY_LENGTH_UNKNOWN;
    assert_true(send_answer(f, head, "whole", true));
    settle(f);
    assert_int_equal(system_calls.sendmsg, 1);
    assert_soon(ends_with(&f->client, "5\r\nwhole\r\n0\r\n\r\n"));
    assert_soon(f->sent == 1);
}

static void a_chunked_body_without_content_is_ended(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    begin_answer(f, BODY_LENGTH_UNKNOWN, NULL);
    settle(f);
    body_pipe_finish(&f->answer, NULL);
    settle(f);
    assert_soon(ends_with(&f->client, "\r\n\r\n0\r\n\r\n"));
    assert_soon(f->sent == 1);
}

static void an_http_1_0_client_gets_a_body_of_unknown_length_until_close(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    begin_answer(f, BODY_LENGTH_UNKNOWN, "some");
    push_answer(f, " bytes");
    body_pipe_finish(&f->answer, NULL);
    settle(f);
    assert_not_received(&f->client, "chunked");
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "\r\n\r\nsome bytes"));
    assert_soon(f->client.ended && !f->client.was_reset);
}

static void head_gets_the_length_but_no_body(void **state)
{
    struct fixture *f = *state;
    ask(f, "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    struct response_head *head = new_head(f, 200);
    head->body_length = 1234;
    assert_true(send_answer(f, head, NULL, true));
    settle(f);
    assert_received(&f->client, "Content-Length: 1234\r\n");
    assert_soon(ends_with(&f->client, "\r\n\r\n"));
    assert_idle_and_empty(f);
}

static void a_body_given_to_head_is_not_sent(void **state)
{
    struct fixture *f = *state;
    ask(f, "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    answer(f, 200, "never");
    settle(f);
    assert_received(&f->client, "Content-Length: 5\r\n");
    assert_not_received(&f->client, "never");
    assert_idle_and_empty(f);
}

static void answers_without_content_have_no_framing(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    answer(f, 204, NULL);
    settle(f);
    ask(f, GET);
    answer(f, 304, NULL);
    settle(f);
    assert_received(&f->client, "204");
    assert_received(&f->client, "304");
    assert_not_received(&f->client, "Content-Length");
    assert_not_received(&f->client, "Transfer-Encoding");
    ask(f, GET);
    answer(f, 200, NULL);
    settle(f);
    assert_received(&f->client, "Content-Length: 0\r\n");
    assert_idle_and_empty(f);
}

static void an_answer_larger_than_the_socket_holds_goes_on_when_the_client_reads(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    size_t length = 8 << 20, pushed = 0;
    begin_answer(f, length, NULL);
    char block[4096];
    f->client.deaf = true;
    for (int turns = 0; turns < 20000 && f->sent == 0; turns++) {
        while (pushed < length && body_pipe_credit(&f->answer) >= sizeof block) {
            for (size_t i = 0; i < sizeof block; i++) block[i] = (char)((pushed + i) % 251);
            assert_true(body_pipe_push_copy(&f->answer, &f->bench.slabs, slice_of(block, sizeof block)));
            pushed += sizeof block;
            if (pushed == length) body_pipe_finish(&f->answer, NULL);
        }
        loop_turn(&f->bench.loop, 1);
        if (turns == 300) {
            assert_true(pushed < length); /* it was held back */
            assert_true(f->bench.slabs.taken_bytes <= 160 * 1024);
            f->client.deaf = false;
        }
        wire_read(&f->client);
    }
    settle(f);
    assert_soon(f->sent == 1);
    const char *body = strstr(f->client.received, "\r\n\r\n") + 4;
    assert_int_equal(f->client.length - (size_t)(body - f->client.received), length);
    for (size_t i = 0; i < length; i++) {
        if ((uint8_t)body[i] != i % 251) fail_msg("byte %zu differs", i);
    }
    assert_idle_and_empty(f);
}

static void a_body_that_aborts_cuts_the_connection(void **state)
{
    struct fixture *f = *state;
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "truncated-body", "text");
    ask(f, GET);
    begin_answer(f, BODY_LENGTH_UNKNOWN, "half");
    settle(f);
    body_pipe_abort(&f->answer, &error);
    settle(f);
    assert_soon(f->client.ended);
    assert_soon(ends_with(&f->client, "4\r\nhalf\r\n"));
    assert_soon(f->gone == 1);
}

static void a_body_shorter_than_announced_cuts_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    begin_answer(f, 10, "short");
    body_pipe_finish(&f->answer, NULL);
    settle(f);
    assert_soon(f->client.ended);
    assert_int_equal(f->sent, 0);
    assert_soon(f->gone == 1);
}

static void a_body_longer_than_announced_is_never_sent_beyond_its_length(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    begin_answer(f, 4, "long");
    settle(f);
    push_answer(f, "er");
    settle(f);
    assert_not_received(&f->client, "longer");
    assert_soon(f->client.ended);
    assert_soon(f->gone == 1);
}

static void a_head_that_can_not_be_written_is_refused_and_another_may_follow(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    struct response_head *head = new_head(f, 200);
    assert_true(headers_add(&head->headers, SLICE("X-Bad"), SLICE("a\r\nSet-Cookie: b")));
    assert_false(send_answer(f, head, NULL, true));
    body_pipe_release(&f->answer);
    answer(f, 500, "sorry");
    settle(f);
    assert_not_received(&f->client, "Set-Cookie");
    assert_received(&f->client, "HTTP/1.1 500 ");
    assert_idle_and_empty(f);
}

static void interim_heads_go_out_before_the_answer(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    struct response_head *early = new_head(f, 103);
    assert_true(headers_add(&early->headers, SLICE("Link"), SLICE("</a.css>")));
    server_stream_send_interim(f->stream, early);
    server_stream_send_interim(f->stream, early);
    answer(f, 200, "ok");
    settle(f);
    const char *first = strstr(f->client.received, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    assert_ptr_equal(first, f->client.received);
    assert_non_null(strstr(first + 1, "HTTP/1.1 103"));
    assert_soon(ends_with(&f->client, "ok"));
}

static void an_http_1_0_client_gets_no_interim_heads(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET / HTTP/1.0\r\n\r\n");
    server_stream_send_interim(f->stream, new_head(f, 103));
    answer(f, 200, "ok");
    settle(f);
    assert_not_received(&f->client, "103");
}

/* --- request bodies --- */

static void a_small_body_is_in_the_pipe_when_the_request_opens(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, POST("5") "hello" GET);
    loop_turn(&f->bench.loop, 0);
    assert_soon(f->opened == 1);
    assert_int_equal(f->stream->request_body->buffered, 5);
    assert_int_equal(f->stream->request_body->state, BODY_FINISHED);
    answer(f, 200, "first");
    settle(f);
    assert_soon(f->opened == 2); /* what the owner left unread is no part of the next request */
    answer(f, 200, "second");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_body_of_length_zero_is_none(void **state)
{
    struct fixture *f = *state;
    ask(f, POST("0"));
    assert_null(f->stream->request_body);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_chunked_body_arrives_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    ask(f, POST_CHUNKED "5\r\nhello\r\n1");
    ask(f, "\r\n \r\n5;x=y\r\nwor");
    ask(f, "ld\r\n0\r\nX-Sum: 42\r\n\r\n" GET);
    assert_soon(f->body_ended);
    assert_slice_is(slice_of(f->body, f->body_length), "hello world");
    assert_string_equal(f->trailer, "X-Sum=42");
    answer(f, 200, "ok");
    settle(f);
    assert_soon(f->opened == 2);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void many_tiny_chunks_do_not_use_up_the_pipe(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, POST_CHUNKED);
    for (int i = 0; i < 500; i++) wire_say(&f->client, "1\r\nx\r\n");
    wire_say(&f->client, "0\r\n\r\n");
    settle(f);
    assert_int_equal(f->stream->request_body->state, BODY_FINISHED);
    assert_int_equal(f->stream->request_body->buffered, 500);
    assert_true(f->stream->request_body->count <= 2);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_body_that_nobody_takes_stays_in_the_socket(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    f->body_limit = 0;
    size_t length = 8 << 20, sent = 0;
    wire_say(&f->client, POST("8388608"));
    char block[65536];
    memset(block, 'b', sizeof block);
    for (int i = 0; i < 300; i++) {
        if (sent < length)
            sent += wire_write(&f->client, block, sizeof block < length - sent ? sizeof block : length - sent);
        loop_turn(&f->bench.loop, 0);
    }
    assert_true(sent < length);
    assert_true(f->bench.slabs.taken_bytes <= 160 * 1024);
    f->body_limit = 16 << 20;
    collect_body(f);
    for (int i = 0; i < 5000 && !f->body_ended; i++) {
        if (sent < length)
            sent += wire_write(&f->client, block, sizeof block < length - sent ? sizeof block : length - sent);
        loop_turn(&f->bench.loop, 1);
    }
    assert_soon(f->body_ended);
    assert_int_equal(f->body_length, length);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_declared_body_beyond_the_limit_is_refused_before_any_exchange(void **state)
{
    struct fixture *f = *state;
    f->settings.body_bytes_max = 10;
    ask(f, POST("11"));
    assert_int_equal(f->opened, 0);
    assert_soon(f->refused_status == 413);
    assert_received(&f->client, "HTTP/1.1 413 ");
}

static void a_chunked_body_beyond_the_limit_aborts_its_pipe_with_413(void **state)
{
    struct fixture *f = *state;
    f->settings.body_bytes_max = 10;
    f->take_body = true;
    ask(f, POST_CHUNKED "5\r\nhello\r\n");
    ask(f, "6\r\nhello!\r\n");
    assert_soon(f->body_failure != NULL);
    assert_string_equal(f->body_failure, "body-too-large");
    assert_soon(f->body_failure_status == 413);
    answer(f, 413, "too large");
    settle(f);
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "too large"));
}

static void bad_chunks_abort_the_pipe_with_400(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    ask(f, POST_CHUNKED "5\r\nhello\r\n");
    ask(f, "zz\r\n");
    assert_soon(f->body_failure_status == 400);
    answer(f, 400, "bad");
    settle(f);
    assert_soon(ends_with(&f->client, "bad"));
    assert_received(&f->client, "Connection: close\r\n");
}

static void a_client_that_finishes_inside_its_body_aborts_the_pipe(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    ask(f, POST("10") "half");
    shutdown(f->client.descriptor, SHUT_WR);
    settle(f);
    assert_soon(f->body_failure != NULL);
    assert_string_equal(f->body_failure, "incomplete-body");
    answer(f, 400, "incomplete");
    settle(f);
    assert_soon(ends_with(&f->client, "incomplete"));
    assert_soon(f->client.ended && !f->client.was_reset);
}

/* --- 100 (Continue) --- */

#define EXPECTING "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

static void a_client_that_waits_is_asked_for_its_body_when_somebody_wants_it(void **state)
{
    struct fixture *f = *state;
    ask(f, EXPECTING);
    assert_int_equal(f->client.length, 0);
    f->take_body = true;
    body_pipe_attach_consumer(f->stream->request_body, &f->task);
    settle(f);
    assert_soon(strcmp(f->client.received, "HTTP/1.1 100 Continue\r\n\r\n") == 0);
    ask(f, "hello");
    assert_soon(f->body_ended);
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_100_from_the_backend_is_passed_on_once(void **state)
{
    struct fixture *f = *state;
    ask(f, EXPECTING);
    server_stream_send_interim(f->stream, new_head(f, 100));
    server_stream_send_interim(f->stream, new_head(f, 100));
    body_pipe_attach_consumer(f->stream->request_body, &f->task);
    settle(f);
    assert_soon(strcmp(f->client.received, "HTTP/1.1 100 Continue\r\n\r\n") == 0);
    ask(f, "hello");
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

static void a_client_that_did_not_wait_is_not_asked(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    ask(f, EXPECTING "hello");
    settle(f);
    assert_int_equal(f->client.length, 0);
    answer(f, 200, "ok");
    settle(f);
    assert_not_received(&f->client, "100 Continue");
    assert_idle_and_empty(f);
}

static void a_final_answer_instead_of_100_closes_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, EXPECTING);
    answer(f, 403, "no");
    settle(f);
    assert_received(&f->client, "Connection: close\r\n");
    assert_not_received(&f->client, "100 Continue");
    assert_soon(f->client.ended);
}

/* --- early answers --- */

static void what_is_left_of_a_short_body_is_read_away_and_the_connection_kept(void **state)
{
    struct fixture *f = *state;
    ask(f, POST("100000") "begin");
    answer(f, 403, "no");
    settle(f);
    assert_soon(ends_with(&f->client, "no"));
    assert_not_received(&f->client, "Connection: close");
    char *rest = malloc(99995);
    memset(rest, 'r', 99995);
    for (size_t sent = 0; sent < 99995; settle(f)) sent += wire_write(&f->client, rest + sent, 99995 - sent);
    free(rest);
    assert_idle_and_empty(f);
    ask(f, GET);
    assert_soon(f->opened == 2);
    answer(f, 200, "next");
    settle(f);
    assert_soon(ends_with(&f->client, "next"));
}

/* What says that we won't wait for the rest doesn't wait for it. */
static void a_408_costs_the_connection_while_the_body_is_not_whole(void **state)
{
    struct fixture *f = *state;
    ask(f, POST("10") "begin");
    answer(f, 408, "too slow");
    settle(f);
    assert_soon(ends_with(&f->client, "too slow"));
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(f->client.ended);
    assert_false(f->client.was_reset);
}

static void a_408_to_a_whole_request_keeps_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, POST("5") "whole");
    answer(f, 408, "a service's own");
    settle(f);
    assert_soon(ends_with(&f->client, "a service's own"));
    assert_not_received(&f->client, "Connection: close");
    assert_idle_and_empty(f);
}

/* The client goes on sending after our answer and sees the answer whole, not a reset. */
static void a_long_body_costs_the_connection_but_never_the_answer(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, POST("50000000"));
    char block[65536] = "";
    settle(f);
    body_pipe_stop(f->stream->request_body);
    answer(f, 403, "no, thank you");
    f->client.deaf = true;
    for (int i = 0; i < 100; i++) {
        wire_write(&f->client, block, sizeof block);
        loop_turn(&f->bench.loop, 0);
    }
    f->client.deaf = false;
    wire_read(&f->client);
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "no, thank you"));
    assert_false(f->client.was_reset);
    assert_int_equal(f->closed, 0); /* it lingers */
    close(f->client.descriptor);
    f->client.descriptor = -1;
    settle(f);
    assert_soon(f->closed == 1);
}

/* --- clients that go away --- */

static void a_reset_is_noticed_while_nothing_is_read(void **state)
{
    struct fixture *f = *state;
    f->keep_stream = true;
    wire_say(&f->client, POST("10000000"));
    char block[200000] = "";
    wire_write(&f->client, block, sizeof block);
    settle(f); /* no credit any more: the socket is full and not read */
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_int_equal(f->closed, 0); /* the stream stays until it is released */
    assert_int_equal(f->stream->request_body->state, BODY_ABORTED);
    answer(f, 200, "to nobody");
    release(f);
    assert_soon(f->closed == 1);
}

static void a_reset_is_noticed_while_the_owner_thinks(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_soon(f->closed == 1);
}

static void a_half_closed_client_is_answered(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, GET GET);
    shutdown(f->client.descriptor, SHUT_WR);
    settle(f);
    assert_int_equal(f->gone, 0);
    answer(f, 200, "first");
    settle(f);
    answer(f, 200, "second");
    settle(f);
    assert_soon(ends_with(&f->client, "second"));
    assert_soon(f->client.ended && !f->client.was_reset);
    assert_soon(f->closed == 1);
}

static void a_half_close_counts_as_gone_where_that_is_wanted(void **state)
{
    struct fixture *f = *state;
    f->settings.half_close_timeout_ms = 0;
    ask(f, GET);
    shutdown(f->client.descriptor, SHUT_WR);
    settle(f);
    assert_soon(f->gone == 1);
}

static void an_answer_to_a_client_that_resets_stops_its_producer(void **state)
{
    struct fixture *f = *state;
    f->keep_stream = true;
    ask(f, GET);
    begin_answer(f, 1000000, "begin");
    settle(f);
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_true(body_pipe_is_stopped(&f->answer));
    release(f);
}

/* --- refusals --- */

/* In the log's words, as JSON has them. */
static void a_refusal_says_what_the_client_did_wrong(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET /../x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_soon(f->refused == 1);
    assert_string_equal(f->refused_reason, "bad-target");
    assert_received(&f->client, "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                                "\"detail\":\"request: a target with \\\"..\\\" above the root\",\"requestId\":\"");
    assert_received(&f->client, "\"}\n");
}

static void a_bad_request_is_refused_and_the_client_sees_why(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n");
    assert_int_equal(f->opened, 0);
    assert_soon(f->refused == 1);
    assert_soon(f->refused_status == 400);
    assert_received(&f->client, "HTTP/1.1 400 Bad Request\r\n");
    assert_received(&f->client, "Content-Type: application/problem+json\r\n");
    assert_received(&f->client, "\"status\":400,\"detail\":\"");
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(f->client.ended && !f->client.was_reset);
    wire_write(&f->client, "more bytes", 10); /* those don't turn the answer into a reset */
    settle(f);
    assert_int_equal(f->closed, 0);
    shutdown(f->client.descriptor, SHUT_WR);
    settle(f);
    assert_soon(f->closed == 1);
}

static void an_endless_request_line_and_endless_headers_are_refused(void **state)
{
    struct fixture *f = *state;
    f->settings.limits.request_line_bytes = 100;
    char line[300];
    memset(line, 'a', sizeof line);
    memcpy(line, "GET /", 5);
    line[299] = '\0';
    ask(f, line);
    assert_soon(f->refused_status == 414);
    assert_received(&f->client, "HTTP/1.1 414 ");
}

static void a_refusal_waits_for_its_turn_behind_earlier_answers(void **state)
{
    struct fixture *f = *state;
    ask(f, GET "BAD\r\n\r\n");
    assert_int_equal(f->refused, 0);
    answer(f, 200, "good");
    settle(f);
    assert_soon(f->refused == 1);
    assert_true(strstr(f->client.received, "good") < strstr(f->client.received, "HTTP/1.1 400"));
}

static void at_the_ceiling_of_buffers_a_request_gets_503_and_retry_after(void **state)
{
    struct fixture *f = *state;
    f->bench.ceiling.bytes_max = 1;
    ask(f, GET);
    assert_soon(f->refused_status == 503);
    assert_received(&f->client, "HTTP/1.1 503 ");
    assert_received(&f->client, "Retry-After: 1\r\n");
    assert_received(&f->client, "\"detail\":\"the gateway has no room for the request right now\"");
    assert_soon(f->client.ended && !f->client.was_reset);
}

static void the_ceiling_is_of_slabs_and_arenas_together(void **state)
{
    struct fixture *f = *state;
    f->bench.ceiling.bytes_max = SLAB_SMALL_BYTES + ARENA_CHUNK_BYTES / 2;
    ask(f, GET);
    assert_soon(f->refused_status == 503);
    assert_received(&f->client, "Retry-After: 1\r\n");
}

/* Who was let in has room for its arena to grow. */
static void a_little_before_the_ceiling_nobody_is_let_in_any_more(void **state)
{
    struct fixture *f = *state;
    f->bench.ceiling.bytes_max = 1 << 20;
    f->bench.ceiling.taken = (1 << 20) - (48 << 10); /* by others */
    ask(f, GET);
    assert_soon(f->refused_status == 503);
    f->bench.ceiling.taken -= (1 << 20) - (48 << 10);
}

/* Its first bytes came, then all memory was taken: it goes on with what it was promised. */
static void at_the_ceiling_a_body_goes_on_by_its_reserve(void **state)
{
    struct fixture *f = *state;
    f->take_body = true;
    wire_say(&f->client, POST("100000"));
    settle(f);
    char *bytes = calloc(1, 100000);
    size_t in_use = memory_ceiling_in_use(&f->bench.ceiling);
    f->bench.ceiling.bytes_max = 1;
    assert_int_equal(wire_write(&f->client, bytes, 100000), 100000);
    assert_soon(f->body_ended);
    assert_int_equal(f->body_length, 100000);
    assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= in_use);
    free(bytes);
    f->bench.ceiling.bytes_max = 0;
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

/* The reserve is in the pipe: nothing is read before it is out of there, and then at once. */
static void at_the_ceiling_a_body_waits_for_its_consumer_only(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, POST("100000"));
    settle(f);
    char *bytes = calloc(1, 100000);
    size_t in_use = memory_ceiling_in_use(&f->bench.ceiling);
    f->bench.ceiling.bytes_max = 1;
    assert_int_equal(wire_write(&f->client, bytes, 100000), 100000);
    settle(f);
    assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= in_use);
    assert_in_range(f->stream->request_body->buffered, SLAB_TINY_BYTES, SLAB_TINY_BYTES + SLAB_SMALL_BYTES);
    f->take_body = true;
    body_pipe_attach_consumer(f->stream->request_body, &f->task);
    collect_body(f);
    assert_soon(f->body_ended);
    assert_int_equal(f->body_length, 100000);
    free(bytes);
    f->bench.ceiling.bytes_max = 0;
    answer(f, 200, "ok");
    settle(f);
    assert_idle_and_empty(f);
}

/* --- time --- */

static void a_head_that_dribbles_in_is_refused_with_408(void **state)
{
    struct fixture *f = *state;
    f->settings.head_timeout_ms = 300;
    start(f);
    for (int i = 0; i < 100 && f->refused == 0; i++) {
        wire_write(&f->client, "G", 1);
        bench_wait(&f->bench, &f->client, 10);
    }
    assert_soon(f->refused_status == 408);
    assert_received(&f->client, "HTTP/1.1 408 ");
}

static void a_second_head_that_dribbles_in_is_refused_too(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    start(f);
    ask(f, GET);
    f->settings.head_timeout_ms = 40;
    ask(f, "GET ");
    bench_wait(&f->bench, &f->client, 60);
    assert_soon(f->refused_status == 408);
    assert_true(strstr(f->client.received, "ok") < strstr(f->client.received, "HTTP/1.1 408"));
}

static void a_connection_without_any_request_is_closed_silently(void **state)
{
    struct fixture *f = *state;
    f->settings.head_timeout_ms = 20;
    start(f);
    bench_wait(&f->bench, &f->client, 40);
    assert_soon(f->closed == 1);
    assert_int_equal(f->refused, 0);
    assert_int_equal(f->client.length, 0);
}

static void an_idle_connection_is_closed_after_its_time(void **state)
{
    struct fixture *f = *state;
    f->settings.idle_timeout_ms = 300;
    f->answer_at_once = "ok";
    start(f);
    for (int i = 0; i < 4; i++) { /* each request begins the time anew */
        ask(f, GET);
        bench_wait(&f->bench, &f->client, 100);
    }
    assert_int_equal(f->closed, 0);
    bench_wait(&f->bench, &f->client, 350);
    assert_soon(f->closed == 1);
    assert_soon(f->sent == 4);
}

static void a_body_that_stops_coming_aborts_its_pipe_with_408(void **state)
{
    struct fixture *f = *state;
    f->settings.body_timeout_ms = 300;
    f->take_body = true;
    start(f);
    ask(f, POST("10") "a");
    bench_wait(&f->bench, &f->client, 170);
    ask(f, "b");
    bench_wait(&f->bench, &f->client, 170);
    assert_null(f->body_failure); /* each piece begins the time anew */
    bench_wait(&f->bench, &f->client, 350);
    assert_soon(f->body_failure_status == 408);
    answer(f, 408, "too slow");
    settle(f);
    assert_soon(ends_with(&f->client, "too slow"));
    assert_received(&f->client, "Connection: close\r\n");
}

/* While nobody takes what has come, the client isn't waited for; its time begins when it is. */
static void a_client_held_back_by_the_backend_is_not_blamed(void **state)
{
    struct fixture *f = *state;
    f->settings.body_timeout_ms = 300;
    f->take_body = true;
    f->body_limit = 0;
    start(f);
    wire_say(&f->client, POST("100000"));
    char block[BODY_PIPE_WINDOW_BYTES];
    memset(block, 'b', sizeof block);
    assert_int_equal(wire_write(&f->client, block, sizeof block), sizeof block);
    assert_soon(f->stream && f->stream->request_body->buffered == sizeof block);
    bench_wait(&f->bench, &f->client, 400);
    f->body_limit = 16 << 20;
    collect_body(f);
    assert_soon(f->body_length == sizeof block);
    bench_wait(&f->bench, &f->client, 150);
    assert_null(f->body_failure);
    bench_wait(&f->bench, &f->client, 250);
    assert_soon(f->body_failure_status == 408);
    answer(f, 408, "too slow");
    settle(f);
    assert_soon(f->sent == 1);
}

static void a_client_that_takes_nothing_is_cut_off(void **state)
{
    struct fixture *f = *state;
    f->settings.idle_timeout_ms = 40;
    start(f);
    ask(f, GET);
    begin_answer(f, 100 << 20, NULL);
    f->client.deaf = true;
    char block[4096] = "";
    for (int i = 0; i < 4000 && f->gone == 0; i++) {
        while (f->has_answer && body_pipe_credit(&f->answer) >= sizeof block)
            assert_true(body_pipe_push_copy(&f->answer, &f->bench.slabs, slice_of(block, sizeof block)));
        loop_turn(&f->bench.loop, 1);
    }
    assert_soon(f->gone == 1);
    assert_soon(f->closed == 1);
}

/* --- what the gateway asks for --- */

static void draining_closes_an_idle_connection_at_once(void **state)
{
    struct fixture *f = *state;
    server_session_drain(f->session);
    settle(f);
    assert_soon(f->closed == 1);
    assert_soon(f->client.ended && !f->client.was_reset);
}

static void a_request_that_crossed_with_the_drain_is_answered(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "crossed";
    wire_say(&f->client, GET);
    server_session_drain(f->session);
    settle(f);
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "crossed"));
    assert_soon(f->closed == 1);
}

static void draining_lets_the_request_in_flight_finish_and_then_closes(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    server_session_drain(f->session);
    settle(f);
    assert_int_equal(f->closed, 0);
    answer(f, 200, "last");
    settle(f);
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "last"));
    assert_soon(f->closed == 1);
}

static void yielding_lets_an_idle_connection_ask_once_more(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "first";
    ask(f, GET);
    settle(f);
    server_session_yield(f->session);
    settle(f);
    assert_int_equal(f->closed, 0);
    assert_null(strstr(f->client.received, "Connection: close"));
    f->answer_at_once = "second";
    wire_say(&f->client, GET);
    settle(f);
    assert_received(&f->client, "Connection: close\r\n");
    assert_soon(ends_with(&f->client, "second"));
    assert_soon(f->closed == 1);
}

static void a_drain_after_yielding_closes_an_idle_connection(void **state)
{
    struct fixture *f = *state;
    server_session_yield(f->session);
    settle(f);
    assert_int_equal(f->closed, 0);
    server_session_drain(f->session);
    settle(f);
    assert_soon(f->closed == 1);
    assert_soon(f->client.ended && !f->client.was_reset);
}

static void a_stream_that_is_reset_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    server_stream_reset(f->stream);
    settle(f);
    assert_soon(f->client.was_reset);
    assert_soon(f->gone == 1);
    assert_soon(f->closed == 1);
}

static void a_stream_released_without_an_answer_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, GET);
    release(f);
    settle(f);
    assert_soon(f->client.was_reset);
    assert_soon(f->closed == 1);
}

static void an_aborted_connection_waits_for_its_streams_release(void **state)
{
    struct fixture *f = *state;
    f->keep_stream = true;
    ask(f, GET);
    server_session_abort(f->session);
    settle(f);
    assert_soon(f->gone == 1);
    assert_int_equal(f->closed, 0);
    assert_slice_is(f->stream->request.target.path, "/a"); /* still readable, for the log */
    release(f);
    assert_soon(f->closed == 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_started, tear_down)
#define TEST_NOT_STARTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_kept),
        TEST(an_owner_may_answer_and_release_inside_open),
        TEST(a_request_costs_one_recv_and_one_sendmsg_and_no_epoll_ctl),
        TEST(pipelined_requests_are_answered_in_order_one_at_a_time),
        TEST(many_pipelined_requests_outgrow_their_slab_and_all_are_answered),
        TEST(one_turn_takes_a_bounded_share_of_pipelined_requests),
        TEST(one_turn_takes_a_bounded_share_of_what_a_refused_client_still_sends),
        TEST(one_turn_takes_a_bounded_share_of_a_body_that_is_taken_as_fast_as_it_comes),
        TEST(a_head_that_outgrows_its_slab_moves_to_a_larger_one),
        TEST(a_head_byte_by_byte_is_read_as_one),
        TEST(an_idle_connection_that_the_client_closes_is_closed),
        TEST(connection_close_is_obeyed_and_announced),
        TEST(an_http_1_0_client_is_kept_only_when_it_asks),
        TEST(a_body_of_unknown_length_is_chunked_with_its_trailers),
        TEST(a_chunked_body_that_is_whole_goes_out_in_one_write),
        TEST(a_chunked_body_without_content_is_ended),
        TEST(an_http_1_0_client_gets_a_body_of_unknown_length_until_close),
        TEST(head_gets_the_length_but_no_body),
        TEST(a_body_given_to_head_is_not_sent),
        TEST(answers_without_content_have_no_framing),
        TEST(an_answer_larger_than_the_socket_holds_goes_on_when_the_client_reads),
        TEST(a_body_that_aborts_cuts_the_connection),
        TEST(a_body_shorter_than_announced_cuts_the_connection),
        TEST(a_body_longer_than_announced_is_never_sent_beyond_its_length),
        TEST(a_head_that_can_not_be_written_is_refused_and_another_may_follow),
        TEST(interim_heads_go_out_before_the_answer),
        TEST(an_http_1_0_client_gets_no_interim_heads),
        TEST(a_small_body_is_in_the_pipe_when_the_request_opens),
        TEST(a_body_of_length_zero_is_none),
        TEST(a_chunked_body_arrives_with_its_trailers),
        TEST(many_tiny_chunks_do_not_use_up_the_pipe),
        TEST(a_body_that_nobody_takes_stays_in_the_socket),
        TEST(a_declared_body_beyond_the_limit_is_refused_before_any_exchange),
        TEST(a_chunked_body_beyond_the_limit_aborts_its_pipe_with_413),
        TEST(bad_chunks_abort_the_pipe_with_400),
        TEST(a_client_that_finishes_inside_its_body_aborts_the_pipe),
        TEST(a_client_that_waits_is_asked_for_its_body_when_somebody_wants_it),
        TEST(a_100_from_the_backend_is_passed_on_once),
        TEST(a_client_that_did_not_wait_is_not_asked),
        TEST(a_final_answer_instead_of_100_closes_the_connection),
        TEST(what_is_left_of_a_short_body_is_read_away_and_the_connection_kept),
        TEST(a_408_costs_the_connection_while_the_body_is_not_whole),
        TEST(a_408_to_a_whole_request_keeps_the_connection),
        TEST(a_long_body_costs_the_connection_but_never_the_answer),
        TEST(a_reset_is_noticed_while_nothing_is_read),
        TEST(a_reset_is_noticed_while_the_owner_thinks),
        TEST(a_half_closed_client_is_answered),
        TEST(a_half_close_counts_as_gone_where_that_is_wanted),
        TEST(an_answer_to_a_client_that_resets_stops_its_producer),
        TEST(a_refusal_says_what_the_client_did_wrong),
        TEST(a_bad_request_is_refused_and_the_client_sees_why),
        TEST(an_endless_request_line_and_endless_headers_are_refused),
        TEST(a_refusal_waits_for_its_turn_behind_earlier_answers),
        TEST(at_the_ceiling_of_buffers_a_request_gets_503_and_retry_after),
        TEST(the_ceiling_is_of_slabs_and_arenas_together),
        TEST(a_little_before_the_ceiling_nobody_is_let_in_any_more),
        TEST(at_the_ceiling_a_body_goes_on_by_its_reserve),
        TEST(at_the_ceiling_a_body_waits_for_its_consumer_only),
        TEST_NOT_STARTED(a_head_that_dribbles_in_is_refused_with_408),
        TEST_NOT_STARTED(a_second_head_that_dribbles_in_is_refused_too),
        TEST_NOT_STARTED(a_connection_without_any_request_is_closed_silently),
        TEST_NOT_STARTED(an_idle_connection_is_closed_after_its_time),
        TEST_NOT_STARTED(a_body_that_stops_coming_aborts_its_pipe_with_408),
        TEST_NOT_STARTED(a_client_held_back_by_the_backend_is_not_blamed),
        TEST_NOT_STARTED(a_client_that_takes_nothing_is_cut_off),
        TEST(draining_closes_an_idle_connection_at_once),
        TEST(a_request_that_crossed_with_the_drain_is_answered),
        TEST(draining_lets_the_request_in_flight_finish_and_then_closes),
        TEST(yielding_lets_an_idle_connection_ask_once_more),
        TEST(a_drain_after_yielding_closes_an_idle_connection),
        TEST(a_stream_that_is_reset_ends_the_connection),
        TEST(a_stream_released_without_an_answer_ends_the_connection),
        TEST(an_aborted_connection_waits_for_its_streams_release),
    };
    return cmocka_run_group_tests_name("h1 server", tests, NULL, NULL);
}
