/* What the tests of the HTTP/2 server session share: the test is the client at one end, frame by frame, and the owner of the exchanges
 * at the other. */
#ifndef SLUICE_UNIT_HTTP_H2_FIXTURE_H
#define SLUICE_UNIT_HTTP_H2_FIXTURE_H

#include "h2_frames.h"

#include "http/h2_server.h"

#define EXCHANGES_MAX 4096

struct fixture;

/* As the owner of one exchange. */
struct exchange {
    struct fixture *f;
    struct server_stream *stream; /* NULL: released */
    struct task task;
    struct body_pipe answer;
    bool has_answer;
    char path[64], method[16], trailer[64];
    char *body;
    size_t body_length, body_limit; /* limit: consume no more */
    const char *body_failure;
    unsigned body_failure_status;
    bool body_ended, sent, gone;
    uint64_t bytes_in, bytes_out; /* as it was released */
};

struct fixture {
    struct bench bench;
    struct server_settings settings;
    const struct server_settings *settings_now;
    struct peer peer;
    struct server_session *session; /* NULL: closed */
    struct wire wire;
    struct h2_peer client;
    struct exchange exchanges[EXCHANGES_MAX]; /* in the order they opened */
    const char *answer_at_once;               /* a body, answered inside open() */
    bool keep_streams;                        /* don't release when SENT or GONE */
    bool take_bodies;                         /* attach to requests' bodies and collect them */
    bool abort_at_open;                       /* the whole connection, inside open() */
    size_t body_limit;
    unsigned opened, released, sent, gone;
    /* As the connection table. */
    unsigned refused, closed;
    unsigned refused_status;
    const char *refused_reason;
};

static inline void release(struct exchange *exchange)
{
    struct fixture *f = exchange->f;
    struct server_stream *stream = exchange->stream;
    exchange->stream = NULL;
    exchange->bytes_in = stream->bytes_in;
    exchange->bytes_out = stream->bytes_out;
    f->released++;
    if (exchange->has_answer) body_pipe_release(&exchange->answer);
    exchange->has_answer = false;
    loop_dequeue(&f->bench.loop, &exchange->task);
    server_stream_release(stream);
}

static inline void collect_body(struct exchange *exchange)
{
    struct body_pipe *body = exchange->stream->request_body;
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(body, pieces, BODY_PIPE_PIECES);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t length = pieces[i].iov_len;
        if (exchange->body_length + length > exchange->body_limit)
            length = exchange->body_limit - exchange->body_length;
        exchange->body = realloc(exchange->body, exchange->body_length + length + 1);
        memcpy(exchange->body + exchange->body_length, pieces[i].iov_base, length);
        exchange->body_length += length;
        exchange->body[exchange->body_length] = '\0';
        total += length;
    }
    body_pipe_consume(body, total);
    exchange->body_ended = body_pipe_is_drained(body);
    if (body->state == BODY_ABORTED) {
        exchange->body_failure = body->failure.reason;
        exchange->body_failure_status = body->failure.status;
    }
    if (exchange->body_ended && body->trailers) {
        struct header *trailer = headers_next(body->trailers, NULL);
        snprintf(exchange->trailer, sizeof exchange->trailer, "%.*s=%.*s", SLICE_PRINT(trailer->name),
                 SLICE_PRINT(trailer->value));
    }
}

static inline void owner_ran(struct task *task)
{
    struct exchange *exchange = CONTAINER_OF(task, struct exchange, task);
    struct fixture *f = exchange->f;
    uint8_t events = exchange->stream->events;
    if (f->take_bodies && exchange->stream->request_body) collect_body(exchange);
    f->sent += (events & SERVER_STREAM_SENT) && !exchange->sent;
    f->gone += (events & SERVER_STREAM_GONE) && !exchange->gone;
    exchange->sent = events & SERVER_STREAM_SENT;
    exchange->gone = events & SERVER_STREAM_GONE;
    if (events && !f->keep_streams) release(exchange);
}

static inline struct response_head *new_head(struct exchange *exchange, unsigned status)
{
    struct response_head *head = arena_allocate(exchange->stream->arena, sizeof *head);
    response_head_init(head, exchange->stream->arena);
    head->status = (uint16_t)status;
    return head;
}

/* The answer's pipe holds `text` and is finished, unless it is to go on. */
static inline bool send_answer(struct exchange *exchange, struct response_head *head, const char *text, bool finish)
{
    struct error error;
    struct bench *bench = &exchange->f->bench;
    body_pipe_init(&exchange->answer, &bench->loop, head->body_length);
    exchange->has_answer = true;
    if (text) assert_true(body_pipe_push_copy(&exchange->answer, &bench->slabs, slice_from_cstring(text)));
    if (finish) body_pipe_finish(&exchange->answer, NULL);
    return server_stream_send_head(exchange->stream, head, head->has_body ? &exchange->answer : NULL, &error);
}

static inline void answer(struct exchange *exchange, unsigned status, const char *text)
{
    struct response_head *head = new_head(exchange, status);
    head->has_body = text != NULL;
    head->body_length = text ? strlen(text) : 0;
    assert_true(send_answer(exchange, head, text, true));
}

/* A body that goes on; push to exchange->answer. */
static inline void begin_answer(struct exchange *exchange, uint64_t length, const char *text)
{
    struct response_head *head = new_head(exchange, 200);
    head->has_body = true;
    head->body_length = length;
    assert_true(send_answer(exchange, head, text, false));
}

static inline void push_answer(struct exchange *exchange, const char *text)
{
    assert_true(body_pipe_push_copy(&exchange->answer, &exchange->f->bench.slabs, slice_from_cstring(text)));
}

/* As much as there is credit for, of bytes that h2_frames.h knows again. True: all of it was pushed. */
static inline bool push_pattern(struct exchange *exchange, size_t length, size_t *pushed)
{
    char block[4096];
    while (*pushed < length && body_pipe_credit(&exchange->answer) >= sizeof block) {
        for (size_t i = 0; i < sizeof block; i++) block[i] = (char)((*pushed + i) % 251);
        assert_true(body_pipe_push_copy(&exchange->answer, &exchange->f->bench.slabs, slice_of(block, sizeof block)));
        *pushed += sizeof block;
        if (*pushed == length) body_pipe_finish(&exchange->answer, NULL);
    }
    return *pushed == length;
}

static inline void opened(struct server_session *session, struct server_stream *stream, void *owner)
{
    struct fixture *f = owner;
    assert_true(f->opened < EXCHANGES_MAX);
    struct exchange *exchange = &f->exchanges[f->opened++];
    *exchange = (struct exchange){ .f = f, .stream = stream, .task.run = owner_ran, .body_limit = f->body_limit };
    stream->owner_task = &exchange->task;
    snprintf(exchange->path, sizeof exchange->path, "%.*s", SLICE_PRINT(stream->request.target.path));
    snprintf(exchange->method, sizeof exchange->method, "%.*s", SLICE_PRINT(stream->request.method_text));
    if (f->take_bodies && stream->request_body) {
        body_pipe_attach_consumer(stream->request_body, &exchange->task);
        collect_body(exchange);
    }
    if (f->answer_at_once) answer(exchange, 200, f->answer_at_once);
    if (f->abort_at_open) server_session_abort(session);
}

static inline void refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    struct fixture *f = owner;
    f->refused++;
    assert_int_equal(refusal->request_id.length, REQUEST_ID_BYTES);
    f->refused_status = refusal->error->status;
    f->refused_reason = refusal->error->reason;
}

static inline void closed(struct server_session *session, void *owner)
{
    struct fixture *f = owner;
    f->closed++;
    f->session = NULL;
}

static const struct server_session_events events = { .open = opened, .refused = refused, .closed = closed };

static inline int set_up(void **state)
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
        .streams_max = 128,
    };
    f->settings_now = &f->settings;
    f->body_limit = SIZE_MAX / 2;
    *state = f;
    return 0;
}

static inline void settle(struct fixture *f) { bench_settle(&f->bench, &f->wire); }

static inline void start_silent(struct fixture *f)
{
    int accepted, connected;
    connect_pair(&accepted, &connected);
    wire_open(&f->wire, connected);
    h2_peer_open(&f->client, &f->wire);
    f->session = h2_server_start(&f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted },
                                 &f->peer, &events, f);
    assert_non_null(f->session);
    settle(f);
}

/* The client has said what it has to say first, and has got what the server says first. */
static inline void start(struct fixture *f)
{
    start_silent(f);
    h2_bytes(&f->client, H2_PREFACE, strlen(H2_PREFACE));
    h2_frame(&f->client, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(&f->client, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    assert_h2(&f->client, "SETTINGS ack\n");
    h2_forget(&f->client);
}

static inline int set_up_started(void **state)
{
    set_up(state);
    start(*state);
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    f->keep_streams = false;
    if (f->session) server_session_abort(f->session);
    settle(f);
    for (unsigned i = 0; i < f->opened; i++) {
        if (f->exchanges[i].stream) release(&f->exchanges[i]);
        free(f->exchanges[i].body);
    }
    assert_null(f->session);
    assert_soon(f->closed == 1);
    assert_int_equal(f->opened, f->released);
    h2_peer_close(&f->client);
    wire_close(&f->wire);
    bench_tear_down(&f->bench);
    free(f);
    return 0;
}

static inline void assert_idle_and_empty(struct fixture *f)
{
    assert_non_null(f->session);
    assert_soon(f->bench.slabs.taken_bytes == 0);
    assert_soon(f->bench.arenas.bytes_taken == 0);
    assert_int_equal(memory_ceiling_in_use(&f->bench.ceiling), 0);
}

#endif
