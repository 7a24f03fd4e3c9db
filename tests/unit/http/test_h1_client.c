/* A backend's connection, over loopback TCP: the test is the backend at one end, and pool and owner of the request at the other. */
#include "sessions.h"

struct fixture {
    struct bench bench;
    struct client_settings settings;
    struct wire backend;
    int listener;
    struct address address;
    /* As the pool. */
    struct client_connection *connection; /* NULL: lost or forgotten */
    unsigned connected, freed, freed_reusable, lost;
    char lost_text[300];
    /* As the owner of a request. */
    struct arena arena;
    struct request_head request;
    struct body_pipe body;
    struct client_stream stream;
    struct task task;
    unsigned heads, done, interims;
    bool head_came_first, is_open;
    char *answer;
    size_t answer_length, answer_limit;
    bool answer_ended, answer_aborted;
    char trailer[64];
};

static void connected(struct client_connection *connection)
{
    struct fixture *f = connection->owner;
    f->connected++;
}

static void free_again(struct client_connection *connection, bool reusable)
{
    struct fixture *f = connection->owner;
    f->freed++;
    f->freed_reusable += reusable;
    if (!reusable) f->connection = NULL;
}

static void lost(struct client_connection *connection, const struct error *error)
{
    struct fixture *f = connection->owner;
    f->lost++;
    snprintf(f->lost_text, sizeof f->lost_text, "%s: %s", error->reason, error->text);
    f->connection = NULL;
}

static const struct client_connection_events events = {
    .connected = connected,
    .free_again = free_again,
    .lost = lost,
};

static void collect_answer(struct fixture *f)
{
    struct body_pipe *body = &f->stream.response_body;
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(body, pieces, BODY_PIPE_PIECES);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t length = pieces[i].iov_len;
        if (f->answer_length + length > f->answer_limit) length = f->answer_limit - f->answer_length;
        memcpy(f->answer + f->answer_length, pieces[i].iov_base, length);
        f->answer_length += length;
        total += length;
    }
    body_pipe_consume(body, total);
    f->answer[f->answer_length] = '\0';
    f->answer_ended = body_pipe_is_drained(body);
    f->answer_aborted = body->state == BODY_ABORTED;
    if (f->answer_ended && body->trailers) {
        struct header *trailer = headers_next(body->trailers, NULL);
        snprintf(f->trailer, sizeof f->trailer, "%.*s=%.*s", SLICE_PRINT(trailer->name), SLICE_PRINT(trailer->value));
    }
}

static void owner_ran(struct task *task)
{
    struct fixture *f = CONTAINER_OF(task, struct fixture, task);
    f->interims = 0;
    for (struct interim_response *interim = f->stream.interim; interim; interim = interim->next) f->interims++;
    if (f->stream.events & CLIENT_STREAM_HEAD) {
        if (f->heads++ == 0) body_pipe_attach_consumer(&f->stream.response_body, &f->task);
        collect_answer(f);
    }
    if (f->stream.events & CLIENT_STREAM_DONE) f->done++;
}

static void connect_to_backend(struct fixture *f)
{
    struct error error;
    f->connection = h1_client_connect(&f->bench.worker, &f->settings, &f->address, &events, f, &error);
    assert_non_null(f->connection);
    wire_open(&f->backend, accept_soon(f->listener));
    for (int i = 0; i < 100 && f->connected == 0; i++) loop_turn(&f->bench.loop, 1);
    assert_soon(f->connected == 1);
}

static int set_up_unconnected(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    bench_set_up(&f->bench);
    f->settings = (struct client_settings){
        .limits = { .request_line_bytes = 8192, .header_bytes = 65536, .header_count = 200 },
    };
    f->task.run = owner_ran;
    f->answer = malloc((16 << 20) + 1);
    f->answer_limit = 16 << 20;
    f->listener = listen_on_loopback(&f->address);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    set_up_unconnected(state);
    connect_to_backend(*state);
    return 0;
}

static void settle(struct fixture *f) { bench_settle(&f->bench, &f->backend); }

/* What an owner does at an exchange's end. */
static void end_request(struct fixture *f)
{
    if (!f->is_open) return;
    f->is_open = false;
    if (f->stream.connection) f->stream.connection->operations->cancel(f->stream.connection, &f->stream);
    loop_dequeue(&f->bench.loop, &f->task);
    client_stream_release(&f->stream);
    body_pipe_release(&f->body);
    arena_release(&f->arena);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    end_request(f);
    if (f->backend.received) settle(f);
    if (f->connection) f->connection->operations->close(f->connection);
    if (f->backend.received) wire_close(&f->backend);
    close(f->listener);
    bench_tear_down(&f->bench);
    free(f->answer);
    free(f);
    return 0;
}

static void prepare(struct fixture *f, enum method method, uint64_t body_length)
{
    end_request(f);
    arena_init(&f->arena, &f->bench.arenas);
    request_head_init(&f->request, &f->arena);
    f->request.method = method;
    f->request.method_text = method_name(method);
    f->request.authority = SLICE("service:80");
    f->request.has_body = body_length > 0;
    f->request.body_length = body_length;
    body_pipe_init(&f->body, &f->bench.loop, body_length);
    f->stream = (struct client_stream){
        .arena = &f->arena,
        .request = &f->request,
        .target = SLICE("/path?q"),
        .request_body = body_length > 0 ? &f->body : NULL,
        .owner_task = &f->task,
    };
    assert_true(client_stream_prepare(&f->stream, &f->bench.slabs));
    f->heads = f->done = f->interims = 0;
    f->answer_length = 0;
    f->answer_ended = f->answer_aborted = false;
    f->is_open = true;
}

static void open_stream(struct fixture *f)
{
    f->connection->operations->open(f->connection, &f->stream);
    settle(f);
}

static void get(struct fixture *f)
{
    prepare(f, METHOD_GET, 0);
    open_stream(f);
}

/* A request that can't be sent again. */
static void post_once(struct fixture *f)
{
    prepare(f, METHOD_POST, 0);
    f->stream.unrepeatable = true;
    open_stream(f);
}

static void push(struct fixture *f, const char *text)
{
    assert_true(body_pipe_push_copy(&f->body, &f->bench.slabs, slice_from_cstring(text)));
}

static void reply(struct fixture *f, const char *text)
{
    wire_say(&f->backend, text);
    settle(f);
}

static void backend_closes(struct fixture *f)
{
    close(f->backend.descriptor);
    f->backend.descriptor = -1;
    settle(f);
}

static void assert_answer(struct fixture *f, unsigned status, const char *body)
{
    assert_soon(f->stream.events & CLIENT_STREAM_DONE && !f->task.queued);
    assert_int_equal(f->stream.response.status, status);
    assert_string_equal(f->answer, body);
    assert_soon(f->answer_ended);
    assert_int_equal(f->stream.events & CLIENT_STREAM_DONE, CLIENT_STREAM_DONE);
    assert_null(f->stream.failure.reason);
    assert_null(f->stream.connection);
}

static void assert_failure(struct fixture *f, const char *reason, enum retry_advice retry)
{
    assert_soon(f->stream.events & CLIENT_STREAM_DONE && !f->connection);
    assert_non_null(f->stream.failure.reason);
    assert_string_equal(f->stream.failure.reason, reason);
    assert_int_equal(f->stream.failure.retry, retry);
    assert_int_equal(f->stream.failure.blame, BLAME_UPSTREAM);
    assert_int_equal(f->stream.failure.status, 502);
    assert_null(f->stream.connection);
    assert_soon(!f->connection);
}

#define OK(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"

/* --- the good way --- */

static void a_request_is_written_and_its_answer_read(void **state)
{
    struct fixture *f = *state;
    get(f);
    assert_string_equal(f->backend.received, "GET /path?q HTTP/1.1\r\nHost: service:80\r\n\r\n");
    reply(f, "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello");
    assert_answer(f, 200, "hello");
    assert_slice_is(headers_find(&f->stream.response.headers, SLICE("x-a"))->value, "b");
    assert_soon(f->freed_reusable == 1);
    assert_int_equal(f->stream.bytes_sent, f->backend.length);
    end_request(f);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
}

static void the_heads_bytes_outlive_the_connection(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nX-A: kept\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_answer(f, 200, "");
    assert_soon(!f->connection);
    loop_turn(&f->bench.loop, 0);
    assert_slice_is(headers_find(&f->stream.response.headers, SLICE("x-a"))->value, "kept");
}

static void a_kept_connection_costs_one_sendmsg_and_one_recv_a_request(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 11; i++) {
        if (i == 1) system_calls = (struct system_calls){ 0 }; /* the first one's connection was fresh */
        get(f);
        reply(f, OK("5") "hello");
        assert_answer(f, 200, "hello");
    }
    assert_int_equal(system_calls.sendmsg, 10);
    assert_int_equal(system_calls.recv, 10);
    assert_int_equal(system_calls.epoll_ctl, 0);
    assert_soon(f->freed_reusable == 11);
    assert_true(f->connection->kept);
}

static void head_and_buffered_body_go_out_in_one_write(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 11);
    push(f, "hello world");
    body_pipe_finish(&f->body, NULL);
    system_calls.sendmsg = 0;
    open_stream(f);
    assert_int_equal(system_calls.sendmsg, 1);
    assert_received(&f->backend, "Content-Length: 11\r\n");
    assert_soon(ends_with(&f->backend, "\r\n\r\nhello world"));
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
    assert_soon(f->freed_reusable == 1);
}

static void a_body_of_unknown_length_goes_out_chunked_with_trailers(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, BODY_LENGTH_UNKNOWN);
    push(f, "first");
    open_stream(f);
    push(f, "second");
    settle(f);
    struct headers trailers;
    headers_init(&trailers, &f->arena);
    assert_true(headers_add(&trailers, SLICE("X-Sum"), SLICE("1")));
    body_pipe_finish(&f->body, &trailers);
    settle(f);
    assert_received(&f->backend, "Transfer-Encoding: chunked\r\n");
    assert_soon(ends_with(&f->backend, "\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\nX-Sum: 1\r\n\r\n"));
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
    assert_soon(f->freed_reusable == 1);
}

static void a_large_request_body_follows_the_backends_pace(void **state)
{
    struct fixture *f = *state;
    size_t length = 8 << 20, pushed = 0;
    prepare(f, METHOD_POST, length);
    open_stream(f);
    f->backend.deaf = true;
    char block[4096];
    memset(block, 'b', sizeof block);
    for (int turns = 0; turns < 20000 && pushed < length; turns++) {
        while (pushed < length && body_pipe_credit(&f->body) >= sizeof block) {
            assert_true(body_pipe_push_copy(&f->body, &f->bench.slabs, slice_of(block, sizeof block)));
            pushed += sizeof block;
        }
        if (turns == 300) {
            assert_true(pushed < length);
            f->backend.deaf = false;
        }
        loop_turn(&f->bench.loop, 1);
        wire_read(&f->backend);
    }
    body_pipe_finish(&f->body, NULL);
    settle(f);
    assert_true(f->backend.length > length);
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
}

static void a_chunked_answer_arrives_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    reply(f, "lo\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert_answer(f, 200, "hello world");
    assert_string_equal(f->trailer, "X-Sum=7");
    assert_soon(f->freed_reusable == 1);
}

static void nobody_ran(struct task *task) {}

/* A slow client gets to the end of its answer long after the connection has gone on to somebody else's. */
static void trailers_stay_with_their_answer_when_the_connection_goes_on(void **state)
{
    struct fixture *f = *state;
    get(f);
    f->answer_limit = 0; /* takes nothing yet */
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Whose: hers\r\n\r\n");
    assert_soon(f->freed_reusable == 1);

    struct arena arena;
    arena_init(&arena, &f->bench.arenas);
    struct task task = { .run = nobody_ran };
    struct client_stream other = {
        .arena = &arena,
        .request = &f->request,
        .target = SLICE("/"),
        .owner_task = &task,
    };
    f->connection->operations->open(f->connection, &other);
    settle(f);
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Whose: his\r\n\r\n");
    assert_soon(f->freed_reusable == 2);
    client_stream_release(&other);
    arena_release(&arena);

    f->answer_limit = 2;
    collect_answer(f);
    assert_answer(f, 200, "ok");
    assert_string_equal(f->trailer, "X-Whose=hers");
}

static void a_large_answer_arrives_by_credit_within_bounds(void **state)
{
    struct fixture *f = *state;
    size_t length = 8 << 20, sent = 0;
    get(f);
    f->answer_limit = 0; /* takes nothing */
    wire_say(&f->backend, OK("8388608"));
    char *bytes = malloc(length);
    for (size_t i = 0; i < length; i++) bytes[i] = (char)(i % 251);
    for (int i = 0; i < 200; i++) {
        sent += wire_write(&f->backend, bytes + sent, length - sent);
        loop_turn(&f->bench.loop, 0);
    }
    assert_true(sent < length);
    assert_true(f->bench.slabs.taken_bytes <= 160 * 1024);
    f->answer_limit = 16 << 20;
    collect_answer(f);
    for (int i = 0; i < 10000 && !f->answer_ended; i++) {
        sent += wire_write(&f->backend, bytes + sent, length - sent);
        loop_turn(&f->bench.loop, 1);
    }
    assert_int_equal(f->answer_length, length);
    assert_memory_equal(f->answer, bytes, length);
    assert_soon(f->freed_reusable == 1);
    free(bytes);
}

static void an_answer_to_head_has_a_length_but_no_body(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_HEAD, 0);
    open_stream(f);
    reply(f, OK("1000"));
    assert_answer(f, 200, "");
    assert_int_equal(f->stream.response.body_length, 1000);
    assert_soon(f->freed_reusable == 1);
}

struct bodiless {
    enum method method;
    const char *head;
};

/* Bytes behind an answer that has no content are in nobody's answer, however they came. */
static void what_follows_an_answer_without_content_ends_the_connection(void **state)
{
    static const struct bodiless answers[] = {
        { METHOD_HEAD, OK("5") },
        { METHOD_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { METHOD_HEAD, "HTTP/1.1 200 OK\r\n\r\n" },
        { METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" },
        { METHOD_GET, "HTTP/1.1 204 No Content\r\n\r\n" },
        { METHOD_GET, OK("0") },
    };
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3 * COUNT_OF(answers); i++) {
        const struct bodiless *answer = &answers[i / 3];
        char whole[256];
        snprintf(whole, sizeof whole, "%shello", answer->head);
        prepare(f, answer->method, 0);
        open_stream(f);
        switch (i % 3) {
        case 0: reply(f, whole); break; /* in one segment */
        case 1:                         /* in two that come in one turn */
            wire_say(&f->backend, answer->head);
            reply(f, "hello");
            break;
        case 2: /* once the connection is idle again */
            reply(f, answer->head);
            reply(f, "hello");
            break;
        }
        assert_soon(f->stream.events & CLIENT_STREAM_DONE && !f->task.queued);
        assert_null(f->stream.failure.reason);
        assert_int_equal(f->answer_length, 0);
        assert_soon(!f->connection);
        wire_close(&f->backend);
        f->connected = 0;
        connect_to_backend(f);
    }
}

static void an_answer_that_ends_with_the_connection_is_whole(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\n\r\nuntil");
    assert_int_equal(f->stream.events & CLIENT_STREAM_DONE, 0);
    wire_say(&f->backend, " close");
    backend_closes(f);
    assert_answer(f, 200, "until close");
    assert_soon(f->freed == 1);
    assert_int_equal(f->freed_reusable, 0);
}

static void data_and_fin_in_one_segment_are_both_seen(void **state)
{
    struct fixture *f = *state;
    get(f);
    wire_say(&f->backend, "HTTP/1.0 200 OK\r\n\r\nall at once");
    backend_closes(f);
    assert_answer(f, 200, "all at once");
    assert_soon(!f->connection);
}

static void a_counted_answer_that_came_with_the_fin_is_whole_but_its_connection_gone(void **state)
{
    struct fixture *f = *state;
    get(f);
    wire_say(&f->backend, OK("5") "hello");
    backend_closes(f);
    assert_answer(f, 200, "hello");
    assert_soon(f->freed == 1);
    assert_int_equal(f->freed_reusable, 0);
}

static void connection_close_is_obeyed(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_answer(f, 200, "ok");
    assert_int_equal(f->freed_reusable, 0);
    assert_soon(f->backend.ended);
}

static void a_head_that_outgrows_its_slab_moves_to_a_larger_one(void **state)
{
    struct fixture *f = *state;
    char value[20001];
    memset(value, 'v', 20000);
    value[20000] = '\0';
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nX-First: 1\r\nX-Large: ");
    reply(f, value);
    reply(f, value);
    reply(f, "\r\nContent-Length: 2\r\n\r\nok");
    assert_answer(f, 200, "ok");
    assert_slice_is(headers_find(&f->stream.response.headers, SLICE("x-first"))->value, "1");
    assert_int_equal(headers_find(&f->stream.response.headers, SLICE("x-large"))->value.length, 40000);
}

/* --- interim answers --- */

static void interim_answers_come_in_order_before_the_final_one(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
    assert_soon(f->interims == 2);
    assert_int_equal(f->stream.interim->head.status, 103);
    assert_slice_is(headers_find(&f->stream.interim->head.headers, SLICE("link"))->value, "</a>");
    assert_int_equal(f->stream.interim->next->head.status, 102);
    assert_int_equal(f->stream.events, CLIENT_STREAM_INTERIM);
    reply(f, "HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" OK("2") "ok");
    assert_soon(f->interims == 3);
    assert_answer(f, 200, "ok");
}

static void endless_interim_answers_are_a_bad_response(void **state)
{
    struct fixture *f = *state;
    get(f);
    for (int i = 0; i < 40; i++) wire_write(&f->backend, "HTTP/1.1 102 Processing\r\n\r\n", 27);
    settle(f);
    assert_failure(f, "bad-response", RETRY_NEVER);
}

static void a_101_that_nobody_asked_for_is_a_bad_response(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    assert_failure(f, "bad-response", RETRY_NEVER);
}

static void a_body_waits_for_100_where_the_client_does(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 5);
    f->stream.wait_for_continue = true;
    push(f, "hello");
    body_pipe_finish(&f->body, NULL);
    open_stream(f);
    assert_soon(ends_with(&f->backend, "\r\n\r\n"));
    assert_false(f->body.attached);
    reply(f, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_soon(ends_with(&f->backend, "\r\n\r\nhello"));
    assert_soon(f->interims == 1);
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
    assert_soon(f->freed_reusable == 1);
}

static void a_backend_that_never_says_100_gets_the_body_after_a_second(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 5);
    f->stream.wait_for_continue = true;
    push(f, "hello");
    body_pipe_finish(&f->body, NULL);
    open_stream(f);
    bench_wait(&f->bench, &f->backend, 500);
    assert_soon(ends_with(&f->backend, "\r\n\r\n"));
    bench_wait(&f->bench, &f->backend, 700);
    assert_soon(ends_with(&f->backend, "\r\n\r\nhello"));
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
}

static void after_a_final_answer_instead_of_100_the_body_is_not_sent(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 5);
    f->stream.wait_for_continue = true;
    push(f, "hello");
    body_pipe_finish(&f->body, NULL);
    open_stream(f);
    reply(f, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    assert_answer(f, 401, "no");
    assert_soon(ends_with(&f->backend, "\r\n\r\n"));
    assert_int_equal(f->freed_reusable, 0);
    assert_int_equal(f->body.buffered, 5); /* untouched, for a retry */
}

/* --- early answers --- */

static void an_early_error_stops_the_sending_and_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 1000);
    push(f, "begin");
    open_stream(f);
    reply(f, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
    assert_answer(f, 413, "big");
    push(f, "more");
    settle(f);
    assert_not_received(&f->backend, "more");
    assert_soon(f->freed == 1);
    assert_int_equal(f->freed_reusable, 0);
}

static void an_early_answer_is_seen_though_the_backend_resets(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, 64 << 20);
    push(f, "begin");
    open_stream(f);
    wire_say(&f->backend, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    close(f->backend.descriptor); /* with unread bytes in its socket, perhaps */
    f->backend.descriptor = -1;
    push(f, "more");
    settle(f);
    settle(f);
    assert_answer(f, 413, "big");
}

static void a_good_answer_may_begin_while_the_request_is_still_being_sent(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_POST, BODY_LENGTH_UNKNOWN);
    push(f, "ping");
    open_stream(f);
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n");
    assert_int_equal(f->heads > 0, 1);
    push(f, "ping");
    body_pipe_finish(&f->body, NULL);
    settle(f);
    assert_soon(ends_with(&f->backend, "4\r\nping\r\n4\r\nping\r\n0\r\n\r\n"));
    reply(f, "4\r\npong\r\n0\r\n\r\n");
    assert_answer(f, 200, "pongpong");
    assert_soon(f->freed_reusable == 1);
}

/* --- failures --- */

static void a_refused_connect_is_told_with_its_cause(void **state)
{
    struct fixture *f = *state;
    struct error error;
    close(f->listener);
    f->connection = h1_client_connect(&f->bench.worker, &f->settings, &f->address, &events, f, &error);
    assert_non_null(f->connection);
    for (int i = 0; i < 100 && f->lost == 0; i++) loop_turn(&f->bench.loop, 1);
    assert_soon(f->lost == 1);
    assert_int_equal(f->connected, 0);
    assert_non_null(strstr(f->lost_text, "connect-failure: cannot connect to 127.0.0.1:"));
    assert_non_null(strstr(f->lost_text, "onnection refused"));
    f->listener = listen_on_loopback(&f->address);
}

static void a_connection_being_made_can_be_closed(void **state)
{
    struct fixture *f = *state;
    struct error error;
    f->connection = h1_client_connect(&f->bench.worker, &f->settings, &f->address, &events, f, &error);
    assert_non_null(f->connection);
    f->connection->operations->close(f->connection);
    f->connection = NULL;
    for (int i = 0; i < 10; i++) loop_turn(&f->bench.loop, 1);
    assert_int_equal(f->connected + f->lost, 0);
}

static void an_idle_connection_that_the_backend_closes_is_lost(void **state)
{
    struct fixture *f = *state;
    backend_closes(f);
    assert_soon(f->lost == 1);
    assert_soon(!f->connection);
}

static void bytes_on_an_idle_connection_make_it_stale(void **state)
{
    struct fixture *f = *state;
    assert_false(f->connection->operations->is_stale(f->connection));
    reply(f, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_soon(f->lost == 1);
}

static void a_kept_connection_that_closes_before_any_byte_asks_for_another_connection(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    get(f);
    backend_closes(f);
    assert_failure(f, "stale-connection", RETRY_OTHER_CONNECTION);
    assert_int_equal(f->stream.response_begun, 0);
    assert_int_equal(f->stream.events & CLIENT_STREAM_HEAD, 0);
}

/* A GET that finds its connection closed can go again, so nobody asks the kernel first; a POST can't. */
static void only_what_can_not_be_repeated_pays_for_a_look(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    system_calls = (struct system_calls){ 0 };
    post_once(f);
    reply(f, OK("2") "ok");
    assert_answer(f, 200, "ok");
    assert_int_equal(system_calls.recv, 2);
    get(f);
    reply(f, OK("2") "ok");
    assert_int_equal(system_calls.recv, 3);
}

/* No event has told of it yet. */
static void a_kept_connection_closed_under_a_post_is_found_out_before_a_byte_is_sent(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    assert_int_equal(shutdown(f->backend.descriptor, SHUT_WR), 0);
    wire_forget(&f->backend);
    post_once(f);
    assert_failure(f, "stale-connection", RETRY_OTHER_CONNECTION);
    assert_false(f->stream.request_sent);
    assert_soon(f->backend.ended);
    assert_string_equal(f->backend.received, "");
}

static void bytes_on_a_kept_connection_are_no_answer_to_a_post(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    wire_say(&f->backend, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    post_once(f);
    assert_failure(f, "stale-connection", RETRY_OTHER_CONNECTION);
    assert_false(f->stream.request_sent);
    assert_int_equal(f->heads, 0);
}

/* It closed between the look and the write: whatever the method, nothing was sent. */
static void a_first_write_that_fails_has_sent_nothing(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    sendmsg_failure = EPIPE;
    post_once(f);
    assert_failure(f, "stale-connection", RETRY_OTHER_CONNECTION);
    assert_false(f->stream.request_sent);
}

/* What a backend said before it reset an idle connection can still be read, after the write that failed. */
static void what_was_said_before_a_reset_is_no_answer(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok");
    wire_say(&f->backend, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    sendmsg_failure = ECONNRESET;
    get(f);
    assert_failure(f, "stale-connection", RETRY_OTHER_CONNECTION);
    assert_int_equal(f->heads, 0);
}

static void a_backend_that_speaks_first_is_not_believed(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->backend, OK("3") "bad");
    get(f);
    assert_failure(f, "bad-response", RETRY_OTHER_INSTANCE);
    assert_non_null(strstr(f->stream.failure.text, "sent bytes before it was asked"));
    assert_false(f->stream.request_sent);
    assert_int_equal(f->heads, 0);
    assert_string_equal(f->backend.received, "");
}

static void a_backend_that_has_finished_is_not_asked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(shutdown(f->backend.descriptor, SHUT_WR), 0);
    get(f);
    assert_failure(f, "reset", RETRY_OTHER_INSTANCE);
    assert_false(f->stream.request_sent);
}

static void a_fresh_connection_that_closes_before_any_byte_is_the_instances_fault(void **state)
{
    struct fixture *f = *state;
    get(f);
    backend_closes(f);
    assert_failure(f, "reset", RETRY_OTHER_INSTANCE);
    assert_non_null(strstr(f->stream.failure.text, "before it answered"));
}

static void a_reset_before_the_answer_is_told_as_one(void **state)
{
    struct fixture *f = *state;
    get(f);
    wire_reset(&f->backend);
    settle(f);
    assert_failure(f, "reset", RETRY_OTHER_INSTANCE);
    assert_non_null(strstr(f->stream.failure.text, "reset"));
}

static void an_end_inside_the_head_is_a_reset(void **state)
{
    struct fixture *f = *state;
    get(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nConte");
    backend_closes(f);
    assert_failure(f, "reset", RETRY_OTHER_INSTANCE);
    assert_true(f->stream.response_begun);
}

static void a_truncated_body_aborts_its_pipe(void **state)
{
    struct fixture *f = *state;
    get(f);
    wire_say(&f->backend, OK("10") "half");
    backend_closes(f);
    assert_failure(f, "truncated-body", RETRY_NEVER);
    assert_true(f->answer_aborted);
    assert_int_equal(f->heads > 0, 1);
}

static void a_truncated_chunked_body_aborts_its_pipe(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    backend_closes(f);
    assert_failure(f, "truncated-body", RETRY_NEVER);
    assert_true(f->answer_aborted);
}

static void bad_framing_is_a_bad_response(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello");
    assert_failure(f, "bad-response", RETRY_NEVER);
    assert_int_equal(f->stream.events & CLIENT_STREAM_HEAD, 0);
}

static void bad_chunks_abort_the_body_as_a_bad_response(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    reply(f, "xx\r\n");
    assert_failure(f, "bad-response", RETRY_NEVER);
    assert_true(f->answer_aborted);
}

static void garbage_behind_the_body_is_never_the_next_answer(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("2") "ok" OK("4") "evil");
    assert_answer(f, 200, "ok");
    assert_soon(f->freed == 1);
    assert_int_equal(f->freed_reusable, 0);
}

static void a_request_body_that_aborts_never_looks_whole_to_the_backend(void **state)
{
    struct fixture *f = *state;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-chunk", "text");
    prepare(f, METHOD_POST, BODY_LENGTH_UNKNOWN);
    push(f, "half");
    open_stream(f);
    body_pipe_abort(&f->body, &error);
    settle(f);
    assert_int_equal(f->stream.events, CLIENT_STREAM_DONE);
    assert_string_equal(f->stream.failure.reason, "bad-chunk");
    assert_int_equal(f->stream.failure.blame, BLAME_CLIENT);
    assert_soon(f->backend.ended);
    assert_soon(ends_with(&f->backend, "4\r\nhalf\r\n"));
}

static void a_head_that_can_not_be_written_sends_nothing(void **state)
{
    struct fixture *f = *state;
    prepare(f, METHOD_GET, 0);
    assert_true(headers_add(&f->request.headers, SLICE("X-Bad"), SLICE("a\r\nX: b")));
    open_stream(f);
    assert_int_equal(f->stream.failure.status, 500);
    assert_int_equal(f->stream.events, CLIENT_STREAM_DONE);
    assert_false(f->stream.request_sent);
    assert_int_equal(f->backend.length, 0);
}

/* --- cancelling --- */

static void after_cancel_no_event_follows_and_the_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    get(f);
    f->connection->operations->cancel(f->connection, &f->stream);
    assert_int_equal(f->freed, 0); /* told later, never inside the call */
    settle(f);
    assert_soon(f->freed == 1);
    assert_int_equal(f->freed_reusable, 0);
    assert_int_equal(f->stream.events, 0);
    assert_null(f->stream.connection);
    assert_soon(f->backend.ended);
}

static void cancelling_inside_a_body_leaves_the_pipe_alone(void **state)
{
    struct fixture *f = *state;
    get(f);
    reply(f, OK("1000") "begin");
    f->connection->operations->cancel(f->connection, &f->stream);
    settle(f);
    assert_int_equal(f->stream.response_body.state, BODY_OPEN);
    assert_null(f->stream.response_body.producer_task);
    assert_soon(f->freed == 1);
}

/* --- at the ceiling --- */

static void send_slowly(struct fixture *f, const char *bytes, size_t length)
{
    for (size_t sent = 0; sent < length; loop_turn(&f->bench.loop, 1))
        sent += wire_write(&f->backend, bytes + sent, length - sent);
}

static void at_the_ceiling_an_answer_comes_by_its_reserves(void **state)
{
    const size_t length = 100000;
    char *bytes = malloc(length);
    memset(bytes, 'x', length);
    struct fixture *f = *state;
    get(f);
    size_t in_use = memory_ceiling_in_use(&f->bench.ceiling);
    f->bench.ceiling.bytes_max = 1;
    reply(f, OK("100000"));
    send_slowly(f, bytes, length);
    assert_soon(f->answer_ended);
    assert_int_equal(f->answer_length, length);
    assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= in_use);
    free(bytes);
}

/* The reader is slow: what the reserve gave stands in the pipe, and nothing more comes before that is taken. */
static void at_the_ceiling_a_slow_reader_holds_its_reserves_only(void **state)
{
    const size_t length = 100000;
    char *bytes = calloc(1, length);
    struct fixture *f = *state;
    f->answer_limit = 0;
    get(f);
    size_t in_use = memory_ceiling_in_use(&f->bench.ceiling);
    f->bench.ceiling.bytes_max = 1;
    reply(f, OK("100000"));
    send_slowly(f, bytes, length);
    settle(f);
    assert_true(memory_ceiling_in_use(&f->bench.ceiling) <= in_use);
    assert_true(f->stream.response_body.buffered <= 2 * SLAB_TINY_BYTES);
    f->answer_limit = 16 << 20;
    collect_answer(f);
    assert_soon(f->answer_ended);
    assert_int_equal(f->answer_length, length);
    free(bytes);
}

/* Nobody has promised so much; waiting for it could take for ever. */
static void at_the_ceiling_a_head_that_outgrows_its_reserve_fails(void **state)
{
    char head[8000] = "HTTP/1.1 200 OK\r\nX-Long: ";
    size_t length = strlen(head);
    memset(head + length, 'x', sizeof head - length - 1);
    struct fixture *f = *state;
    get(f);
    f->bench.ceiling.bytes_max = 1;
    reply(f, head);
    assert_soon(f->stream.events & CLIENT_STREAM_DONE);
    assert_int_equal(f->stream.failure.status, 503);
}

/* Their promise ends with them, used or not. */
static void a_stream_that_is_not_opened_gives_its_reserves_back(void **state)
{
    struct fixture *f = *state;
    f->bench.ceiling.bytes_max = 2 * SLAB_TINY_BYTES;
    prepare(f, METHOD_GET, 0);
    struct client_stream other;
    assert_false(client_stream_prepare(&other, &f->bench.slabs));
    end_request(f);
    assert_int_equal(memory_ceiling_in_use(&f->bench.ceiling), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_UNCONNECTED(name) cmocka_unit_test_setup_teardown(name, set_up_unconnected, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_written_and_its_answer_read),
        TEST(the_heads_bytes_outlive_the_connection),
        TEST(a_kept_connection_costs_one_sendmsg_and_one_recv_a_request),
        TEST(head_and_buffered_body_go_out_in_one_write),
        TEST(a_body_of_unknown_length_goes_out_chunked_with_trailers),
        TEST(a_large_request_body_follows_the_backends_pace),
        TEST(a_chunked_answer_arrives_with_its_trailers),
        TEST(trailers_stay_with_their_answer_when_the_connection_goes_on),
        TEST(a_large_answer_arrives_by_credit_within_bounds),
        TEST(an_answer_to_head_has_a_length_but_no_body),
        TEST(what_follows_an_answer_without_content_ends_the_connection),
        TEST(an_answer_that_ends_with_the_connection_is_whole),
        TEST(data_and_fin_in_one_segment_are_both_seen),
        TEST(a_counted_answer_that_came_with_the_fin_is_whole_but_its_connection_gone),
        TEST(connection_close_is_obeyed),
        TEST(a_head_that_outgrows_its_slab_moves_to_a_larger_one),
        TEST(interim_answers_come_in_order_before_the_final_one),
        TEST(endless_interim_answers_are_a_bad_response),
        TEST(a_101_that_nobody_asked_for_is_a_bad_response),
        TEST(a_body_waits_for_100_where_the_client_does),
        TEST(a_backend_that_never_says_100_gets_the_body_after_a_second),
        TEST(after_a_final_answer_instead_of_100_the_body_is_not_sent),
        TEST(an_early_error_stops_the_sending_and_ends_the_connection),
        TEST(an_early_answer_is_seen_though_the_backend_resets),
        TEST(a_good_answer_may_begin_while_the_request_is_still_being_sent),
        TEST_UNCONNECTED(a_refused_connect_is_told_with_its_cause),
        TEST_UNCONNECTED(a_connection_being_made_can_be_closed),
        TEST(an_idle_connection_that_the_backend_closes_is_lost),
        TEST(bytes_on_an_idle_connection_make_it_stale),
        TEST(a_kept_connection_that_closes_before_any_byte_asks_for_another_connection),
        TEST(only_what_can_not_be_repeated_pays_for_a_look),
        TEST(a_kept_connection_closed_under_a_post_is_found_out_before_a_byte_is_sent),
        TEST(bytes_on_a_kept_connection_are_no_answer_to_a_post),
        TEST(a_first_write_that_fails_has_sent_nothing),
        TEST(what_was_said_before_a_reset_is_no_answer),
        TEST(a_backend_that_speaks_first_is_not_believed),
        TEST(a_backend_that_has_finished_is_not_asked),
        TEST(a_fresh_connection_that_closes_before_any_byte_is_the_instances_fault),
        TEST(a_reset_before_the_answer_is_told_as_one),
        TEST(an_end_inside_the_head_is_a_reset),
        TEST(a_truncated_body_aborts_its_pipe),
        TEST(a_truncated_chunked_body_aborts_its_pipe),
        TEST(bad_framing_is_a_bad_response),
        TEST(bad_chunks_abort_the_body_as_a_bad_response),
        TEST(garbage_behind_the_body_is_never_the_next_answer),
        TEST(a_request_body_that_aborts_never_looks_whole_to_the_backend),
        TEST(a_head_that_can_not_be_written_sends_nothing),
        TEST(after_cancel_no_event_follows_and_the_connection_is_closed),
        TEST(cancelling_inside_a_body_leaves_the_pipe_alone),
        TEST(at_the_ceiling_an_answer_comes_by_its_reserves),
        TEST(at_the_ceiling_a_slow_reader_holds_its_reserves_only),
        TEST(at_the_ceiling_a_head_that_outgrows_its_reserve_fails),
        TEST(a_stream_that_is_not_opened_gives_its_reserves_back),
    };
    return cmocka_run_group_tests_name("h1 client", tests, NULL, NULL);
}
