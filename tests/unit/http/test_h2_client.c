/* A backend's HTTP/2 connection, over loopback TCP: the test is the backend at one end, frame by frame, and pool and owners of the
 * requests at the other. */
#include "h2_frames.h"

#include "http/h2_client.h"

#include <poll.h>

#define REQUESTS_MAX 8

struct fixture;

/* As the owner of one request. */
struct request {
    struct fixture *f;
    struct arena arena;
    struct request_head head;
    struct body_pipe body;
    struct client_stream stream;
    struct task task;
    unsigned heads, done, interims, last_interim;
    char *answer;
    size_t answer_length, answer_limit; /* limit: consume no more */
    bool answer_ended, answer_aborted, is_open;
    char trailer[64];
};

struct fixture {
    struct bench bench;
    struct client_settings settings;
    struct wire wire;
    struct h2_peer backend;
    int descriptor; /* the connection's own end */
    struct request requests[REQUESTS_MAX];
    /* As the pool. */
    struct client_connection *connection; /* NULL: lost */
    unsigned freed, freed_unusable, changed, lost;
};

static void connected(struct client_connection *connection) { fail_msg("connected is not told of h2"); }

static void free_again(struct client_connection *connection, bool reusable)
{
    struct fixture *f = connection->owner;
    f->freed++;
    f->freed_unusable += !reusable;
}

static void capacity_changed(struct client_connection *connection)
{
    struct fixture *f = connection->owner;
    f->changed++;
}

static void lost(struct client_connection *connection, const struct error *error)
{
    struct fixture *f = connection->owner;
    f->lost++;
    f->connection = NULL;
}

static const struct client_connection_events events = {
    .connected = connected,
    .free_again = free_again,
    .capacity_changed = capacity_changed,
    .lost = lost,
};

static void collect_answer(struct request *request)
{
    struct body_pipe *body = &request->stream.response_body;
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(body, pieces, BODY_PIPE_PIECES);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t length = pieces[i].iov_len;
        if (request->answer_length + length > request->answer_limit)
            length = request->answer_limit - request->answer_length;
        memcpy(request->answer + request->answer_length, pieces[i].iov_base, length);
        request->answer_length += length;
        total += length;
    }
    body_pipe_consume(body, total);
    request->answer[request->answer_length] = '\0';
    request->answer_ended = body_pipe_is_drained(body);
    request->answer_aborted = body->state == BODY_ABORTED;
    if (request->answer_ended && body->trailers) {
        struct header *trailer = headers_next(body->trailers, NULL);
        snprintf(request->trailer, sizeof request->trailer, "%.*s=%.*s", SLICE_PRINT(trailer->name),
                 SLICE_PRINT(trailer->value));
    }
}

static void owner_ran(struct task *task)
{
    struct request *request = CONTAINER_OF(task, struct request, task);
    struct client_stream *stream = &request->stream;
    for (; stream->interim; stream->interim = stream->interim->next) {
        request->interims++;
        request->last_interim = stream->interim->head.status;
    }
    if (stream->events & CLIENT_STREAM_HEAD) {
        request->heads++;
        if (stream->response.status != 101) {
            body_pipe_attach_consumer(&stream->response_body, &request->task);
            collect_answer(request);
        }
    }
    if (stream->events & CLIENT_STREAM_DONE) request->done = 1;
}

#define ANSWER_BYTES ((size_t)4 << 20)

static void end_request(struct request *request)
{
    if (!request->is_open) return;
    struct client_stream *stream = &request->stream;
    request->is_open = false;
    if (stream->connection) stream->connection->operations->cancel(stream->connection, stream);
    loop_dequeue(&request->f->bench.loop, &request->task);
    client_stream_release(stream);
    body_pipe_release(&request->body);
    arena_release(&request->arena);
}

static struct request *prepare(struct fixture *f, unsigned index, enum method method, uint64_t body_length)
{
    struct request *request = &f->requests[index];
    end_request(request);
    char *answer = request->answer ? request->answer : malloc(ANSWER_BYTES + 1);
    *request = (struct request){ .f = f, .answer = answer, .answer_limit = ANSWER_BYTES, .is_open = true };
    request->task.run = owner_ran;
    arena_init(&request->arena, &f->bench.arenas);
    request_head_init(&request->head, &request->arena);
    request->head.method = method;
    request->head.method_text = method_name(method);
    request->head.authority = SLICE("service:80");
    request->head.has_body = body_length > 0;
    request->head.body_length = body_length;
    body_pipe_init(&request->body, &f->bench.loop, body_length);
    request->stream = (struct client_stream){
        .arena = &request->arena,
        .request = &request->head,
        .target = SLICE("/path?q"),
        .request_body = body_length > 0 ? &request->body : NULL,
        .owner_task = &request->task,
    };
    assert_true(client_stream_prepare(&request->stream, &f->bench.slabs));
    return request;
}

static void settle(struct fixture *f) { bench_settle(&f->bench, &f->wire); }

static void open_stream(struct request *request)
{
    struct fixture *f = request->f;
    request->stream.connection = f->connection;
    f->connection->operations->open(f->connection, &request->stream);
    settle(f);
}

static struct request *get(struct fixture *f, unsigned index)
{
    struct request *request = prepare(f, index, METHOD_GET, 0);
    open_stream(request);
    return request;
}

static void push(struct request *request, const char *text)
{
    assert_true(body_pipe_push_copy(&request->body, &request->f->bench.slabs, slice_from_cstring(text)));
    settle(request->f);
}

/* The preface and both SETTINGS are out of the way. */
static void start(struct fixture *f)
{
    struct error error;
    struct session_socket socket = { .descriptor = -1 };
    int accepted;
    connect_pair(&accepted, &socket.descriptor);
    f->descriptor = socket.descriptor;
    assert_int_equal(fcntl(socket.descriptor, F_SETFL, O_NONBLOCK), 0);
    wire_open(&f->wire, accepted);
    h2_peer_open(&f->backend, &f->wire);
    struct address address = { 0 };
    f->connection = h2_client_start(&f->bench.worker, &f->settings, socket, &address, &events, f, &error);
    assert_non_null(f->connection);
    assert_soon(f->wire.length >= strlen(H2_PREFACE));
    assert_memory_equal(f->wire.received, H2_PREFACE, strlen(H2_PREFACE));
    f->backend.parsed = strlen(H2_PREFACE);
    h2_frame(&f->backend, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(&f->backend, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    assert_h2(&f->backend, "SETTINGS ack");
    h2_forget(&f->backend);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    bench_set_up(&f->bench);
    f->settings = (struct client_settings){
        .limits = { .request_line_bytes = 8192, .header_bytes = 4096, .header_count = 50 },
    };
    start(f);
    *state = f;
    return 0;
}

/* As the owner of one end. */
struct tunnel {
    struct tunnel_end end;
    struct body_pipe from, to;
    struct task task;
    unsigned runs;
};

static struct tunnel the_tunnel;

static void tunnel_ran(struct task *task) { CONTAINER_OF(task, struct tunnel, task)->runs++; }

static void close_tunnel(struct fixture *f, bool reset)
{
    tunnel_end_close(&the_tunnel.end, reset);
    loop_dequeue(&f->bench.loop, &the_tunnel.task);
    body_pipe_release(&the_tunnel.from);
    body_pipe_release(&the_tunnel.to);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < REQUESTS_MAX; i++) end_request(&f->requests[i]);
    if (the_tunnel.end.operations) close_tunnel(f, false);
    settle(f);
    if (f->connection) f->connection->operations->close(f->connection);
    h2_peer_close(&f->backend);
    wire_close(&f->wire);
    bench_tear_down(&f->bench);
    for (unsigned i = 0; i < REQUESTS_MAX; i++) free(f->requests[i].answer);
    free(f);
    return 0;
}

static void answer_head(struct fixture *f, uint32_t stream, unsigned flags)
{
    h2_headers(&f->backend, stream, flags, ":status", "200", NULL);
    settle(f);
}

static void assert_failure(const struct request *request, const char *reason, enum retry_advice advice, bool sent)
{
    assert_soon(request->done);
    assert_non_null(request->stream.failure.reason);
    if (strcmp(request->stream.failure.reason, reason) != 0)
        fail_msg("%s: %s", request->stream.failure.reason, request->stream.failure.text);
    assert_int_equal(request->stream.failure.retry, advice);
    assert_int_equal(request->stream.request_sent, sent);
    assert_null(request->stream.connection);
}

static void assert_whole(const struct request *request, unsigned status, const char *body)
{
    assert_soon(request->done && request->answer_ended);
    assert_null(request->stream.failure.reason);
    assert_int_equal(request->stream.response.status, status);
    assert_string_equal(request->answer, body);
}

/* --- asking --- */

static void a_head_is_written_as_http_2_wants_it(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    assert_true(headers_add(&request->head.headers, SLICE("X-Mixed-Case"), SLICE("Value")));
    assert_true(headers_add(&request->head.headers, SLICE("Connection"), SLICE("close")));
    assert_true(headers_add(&request->head.headers, SLICE("Host"), SLICE("other")));
    open_stream(request);
    assert_h2(&f->backend, "HEADERS 1 :method=GET :scheme=http :authority=service:80 :path=/path?q x-mixed-case=Value "
                           "te=trailers end\n");
    assert_true(request->stream.request_sent);
    answer_head(f, 1, H2_END);
    assert_whole(request, 200, "");
    assert_int_equal(f->freed, 1);
}

static void a_head_goes_out_however_large_limits_let_it_be(void **state)
{
    struct fixture *f = *state;
    static char large[100000];
    memset(large, 'x', sizeof large);
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    assert_true(headers_add(&request->head.headers, SLICE("X-Large"), slice_of(large, sizeof large)));
    request->stream.connection = f->connection;
    f->connection->operations->open(f->connection, &request->stream);
    assert_soon(f->wire.length > 85000 || request->done);
    assert_false(request->done);
    assert_null(request->stream.failure.reason);
}

static void a_head_with_a_line_break_is_not_sent(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    assert_true(headers_add(&request->head.headers, SLICE("X-A"), SLICE("a\r\nX-B: c")));
    open_stream(request);
    assert_soon(request->done);
    assert_int_equal(request->stream.failure.status, 500);
    assert_int_equal(f->freed, 1);
    assert_not_h2(&f->backend, "HEADERS");
}

static void a_body_goes_out_as_it_comes(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, BODY_LENGTH_UNKNOWN);
    open_stream(request);
    assert_h2(&f->backend, "HEADERS 1 :method=POST");
    push(request, "hello");
    assert_h2(&f->backend, "DATA 1 hello\n");
    push(request, "world");
    assert_h2(&f->backend, "DATA 1 world\n");
    struct headers *trailers = arena_allocate(&request->arena, sizeof *trailers);
    headers_init(trailers, &request->arena);
    assert_true(headers_add(trailers, SLICE("X-Sum"), SLICE("10")));
    body_pipe_finish(&request->body, trailers);
    assert_h2(&f->backend, "HEADERS 1 x-sum=10 end\n");
    answer_head(f, 1, H2_END);
    assert_whole(request, 200, "");
}

static void a_body_that_is_there_goes_with_the_head(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 5);
    assert_true(body_pipe_push_copy(&request->body, &f->bench.slabs, SLICE("hello")));
    body_pipe_finish(&request->body, NULL);
    system_calls.sendmsg = 0;
    open_stream(request);
    assert_h2(&f->backend, "content-length=5\n");
    assert_h2(&f->backend, "DATA 1 hello end\n");
    answer_head(f, 1, H2_END);
    assert_whole(request, 200, "");
}

static void a_body_of_another_length_than_announced_is_never_whole(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 5);
    open_stream(request);
    push(request, "four");
    body_pipe_finish(&request->body, NULL);
    assert_h2(&f->backend, "RST_STREAM 1 8\n");
    assert_soon(request->done);
    assert_string_equal(request->stream.failure.reason, "bad-body-length");
    assert_not_h2(&f->backend, "end\n");
}

static void a_body_that_breaks_off_resets_the_stream(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 500);
    struct error error;
    open_stream(request);
    push(request, "some");
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "gone", "the client went");
    body_pipe_abort(&request->body, &error);
    assert_h2(&f->backend, "RST_STREAM 1 8\n");
    assert_failure(request, "gone", RETRY_NEVER, true);
}

static void no_more_of_a_body_is_taken_than_the_window_allows(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, BODY_LENGTH_UNKNOWN);
    open_stream(request);
    static char block[16384];
    size_t pushed = 0;
    for (int i = 0; i < 400; i++) {
        size_t credit = body_pipe_credit(&request->body);
        if (credit >= sizeof block) {
            assert_true(body_pipe_push_copy(&request->body, &f->bench.slabs, slice_of(block, sizeof block)));
            pushed += sizeof block;
        }
        loop_turn(&f->bench.loop, 0);
        wire_read(&f->wire);
    }
    h2_parse(&f->backend);
    assert_int_equal(f->backend.content, 65535);
    assert_in_range(pushed, 65535, 65535 + 2 * BODY_PIPE_WINDOW_BYTES);
    h2_open_window(&f->backend, 0, 100000);
    h2_open_window(&f->backend, 1, 100000);
    assert_soon((h2_parse(&f->backend), f->backend.content > 65535));
}

static void a_body_waits_for_100(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 5);
    request->stream.wait_for_continue = true;
    assert_true(body_pipe_push_copy(&request->body, &f->bench.slabs, SLICE("hello")));
    body_pipe_finish(&request->body, NULL);
    open_stream(request);
    assert_h2(&f->backend, "HEADERS 1");
    settle(f);
    assert_not_h2(&f->backend, "DATA");
    h2_headers(&f->backend, 1, 0, ":status", "100", NULL);
    assert_h2(&f->backend, "DATA 1 hello end\n");
    assert_soon(request->interims == 1 && request->last_interim == 100);
    answer_head(f, 1, H2_END);
    assert_whole(request, 200, "");
}

static void without_100_a_body_is_sent_after_a_second(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 5);
    request->stream.wait_for_continue = true;
    assert_true(body_pipe_push_copy(&request->body, &f->bench.slabs, SLICE("hello")));
    body_pipe_finish(&request->body, NULL);
    open_stream(request);
    bench_wait(&f->bench, &f->wire, 800);
    assert_not_h2(&f->backend, "DATA");
    assert_h2(&f->backend, "DATA 1 hello end\n");
}

static void a_final_answer_instead_of_100_leaves_the_body_unsent(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 5);
    request->stream.wait_for_continue = true;
    open_stream(request);
    h2_headers(&f->backend, 1, H2_END, ":status", "417", NULL);
    assert_whole(request, 417, "");
    assert_h2(&f->backend, "RST_STREAM 1 0\n");
    assert_not_h2(&f->backend, "DATA");
}

/* --- answers --- */

static void a_body_comes_with_its_trailers(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    answer_head(f, 1, 0);
    assert_soon(request->heads > 0);
    h2_data(&f->backend, 1, "hello ", 0);
    h2_data(&f->backend, 1, "there", 0);
    h2_headers(&f->backend, 1, H2_END, "x-sum", "11", NULL);
    assert_whole(request, 200, "hello there");
    assert_string_equal(request->trailer, "x-sum=11");
    assert_in_range(request->stream.bytes_received, 4 * 9 + strlen("hello there"), 100);
}

static void what_is_forbidden_in_trailers_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    answer_head(f, 1, 0);
    h2_headers(&f->backend, 1, H2_END, "authorization", "Basic x", "host", "h", "x-last", "yes", NULL);
    assert_whole(request, 200, "");
    assert_string_equal(request->trailer, "x-last=yes");
}

/* One window's worth lies in the pipe; as the owner takes it, the backend may send on. */
static void an_owner_that_takes_nothing_holds_its_backend_back(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    request->answer_limit = 0;
    open_stream(request);
    answer_head(f, 1, 0);
    static char block[16000];
    for (int i = 0; i < 4; i++) h2_frame(&f->backend, NGHTTP2_DATA, 0, 1, block, sizeof block);
    settle(f);
    settle(f);
    assert_not_h2(&f->backend, "WINDOW_UPDATE 1 ");
    assert_int_equal(request->stream.response_body.buffered, 4 * sizeof block);
    request->answer_limit = ANSWER_BYTES;
    loop_enqueue(&f->bench.loop, &request->task);
    assert_h2(&f->backend, "WINDOW_UPDATE 1 64000\n");
}

/* However the backend cuts a window's worth into frames, it is stored. */
static void a_window_of_frames_of_any_size_is_stored(void **state)
{
    struct fixture *f = *state;
    const size_t sizes[] = { 1, 100, 1500, 2048, 2049, 4000, 9000 };
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct request *request = prepare(f, 0, METHOD_GET, 0);
        request->answer_limit = 0;
        uint32_t stream = 2 * i + 1;
        open_stream(request);
        answer_head(f, stream, 0);
        static char block[9000];
        size_t total = 0;
        for (; total + sizes[i] <= 65536 && total < 20000 * sizes[i]; total += sizes[i]) {
            memset(block, 'a' + (int)(total / sizes[i] % 26), sizes[i]);
            h2_frame(&f->backend, NGHTTP2_DATA, 0, stream, block, sizes[i]);
        }
        assert_soon(request->stream.response_body.pushed == total);
        request->answer_limit = ANSWER_BYTES;
        loop_enqueue(&f->bench.loop, &request->task);
        assert_soon(request->answer_length == total);
        for (size_t j = 0; j < total; j++) assert_int_equal(request->answer[j], 'a' + (int)(j / sizes[i] % 26));
        h2_frame(&f->backend, NGHTTP2_DATA, H2_END, stream, NULL, 0);
        assert_soon(request->done);
        assert_null(request->stream.failure.reason);
    }
}

/* At the ceiling each stream has a reserve; what doesn't fit into it waits in the connection, and nothing is lost. */
static void at_the_ceiling_a_body_still_comes_in(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    request->answer_limit = 0;
    open_stream(request);
    answer_head(f, 1, 0);
    f->bench.ceiling.bytes_max = memory_ceiling_in_use(&f->bench.ceiling) + 1;
    static char block[1000];
    for (int i = 0; i < 60; i++) {
        memset(block, 'a' + i % 26, sizeof block);
        h2_frame(&f->backend, NGHTTP2_DATA, i == 59 ? H2_END : 0, 1, block, sizeof block);
    }
    settle(f);
    assert_in_range(request->stream.response_body.pushed, 1, 20000);
    request->answer_limit = ANSWER_BYTES;
    loop_enqueue(&f->bench.loop, &request->task);
    assert_soon(request->done && request->answer_ended);
    assert_int_equal(request->answer_length, 60000);
    for (size_t i = 0; i < 60000; i++) assert_int_equal(request->answer[i], 'a' + (int)(i / 1000 % 26));
    f->bench.ceiling.bytes_max = 0;
}

static void an_owner_that_wants_no_more_resets_the_stream(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    answer_head(f, 1, 0);
    body_pipe_stop(&request->stream.response_body);
    assert_h2(&f->backend, "RST_STREAM 1 8\n");
    assert_soon(request->done && f->freed == 1);
    assert_null(request->stream.failure.reason);
}

static void an_answer_before_the_request_is_whole_ends_it(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_POST, 1000);
    open_stream(request);
    push(request, "some");
    h2_headers(&f->backend, 1, 0, ":status", "403", NULL);
    assert_soon(request->heads > 0);
    push(request, "more");
    settle(f);
    assert_not_h2(&f->backend, "more");
    h2_data(&f->backend, 1, "no", H2_END);
    assert_whole(request, 403, "no");
    assert_h2(&f->backend, "RST_STREAM 1 0\n");
}

/* --- tunnels --- */

static struct request *ask_for_tunnel(struct fixture *f, unsigned index)
{
    struct request *request = prepare(f, index, METHOD_GET, 0);
    request->stream.upgrade = true;
    assert_true(headers_add_known(&request->head.headers, HEADER_UPGRADE, SLICE("websocket")));
    assert_true(headers_add(&request->head.headers, SLICE("Sec-WebSocket-Key"), SLICE("dGhlIHNhbXBsZSBub25jZQ==")));
    open_stream(request);
    return request;
}

/* The backend has agreed; `early` came behind. */
static struct request *agree_on_tunnel(struct fixture *f, const char *early)
{
    h2_setting(&f->backend, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    assert_soon(f->changed > 0);
    settle(f);
    struct request *request = ask_for_tunnel(f, 0);
    assert_h2(&f->backend, ":method=CONNECT :protocol=websocket");
    answer_head(f, 1, 0);
    h2_data(&f->backend, 1, early, 0);
    assert_soon(request->heads > 0);
    settle(f);
    return request;
}

static void take_tunnel(struct fixture *f, struct request *request)
{
    struct tunnel *tunnel = &the_tunnel;
    *tunnel = (struct tunnel){ .task.run = tunnel_ran };
    body_pipe_init(&tunnel->from, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&tunnel->to, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    tunnel->end = (struct tunnel_end){ .from_peer = &tunnel->from,
                                       .to_peer = &tunnel->to,
                                       .owner_task = &tunnel->task };
    assert_true(f->connection->operations->open_tunnel(f->connection, &request->stream, &tunnel->end));
    assert_null(request->stream.connection);
}

static struct request *open_tunnel(struct fixture *f)
{
    struct request *request = agree_on_tunnel(f, "early");
    take_tunnel(f, request);
    return request;
}

static void push_tunnel(struct fixture *f, const char *text)
{
    assert_true(body_pipe_push_copy(&the_tunnel.to, &f->bench.slabs, slice_from_cstring(text)));
    settle(f);
}

static void assert_from_peer(const char *text)
{
    struct body_pipe *from = &the_tunnel.from;
    assert_soon(from->buffered == strlen(text));
    for (struct body_piece piece; body_pipe_take(from, &piece); text += piece.length) {
        assert_memory_equal(piece.at, text, piece.length);
        slab_drop(piece.slab);
    }
}

static void a_tunnel_needs_the_backends_offer(void **state)
{
    struct fixture *f = *state;
    struct request *request = ask_for_tunnel(f, 0);
    assert_failure(request, "no-tunnel", RETRY_NEVER, false);
    assert_not_h2(&f->backend, "HEADERS");
}

/* What comes before its owner has opened it, too. */
static void a_tunnel_carries_bytes_both_ways(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 1, METHOD_GET, 0);
    struct request *asked = open_tunnel(f);
    assert_int_equal(asked->stream.response.status, 101);
    struct slice accept = headers_find(&asked->stream.response.headers, SLICE("Sec-WebSocket-Accept"))->value;
    assert_true(slice_equal(accept, SLICE("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))); /* RFC 6455 1.3 */
    end_request(asked);
    assert_from_peer("early");
    push_tunnel(f, "to the backend");
    assert_h2(&f->backend, "DATA 1 to the backend\n");
    h2_data(&f->backend, 1, "and back", 0);
    assert_from_peer("and back");
    open_stream(request); /* others go on beside it */
    answer_head(f, 3, H2_END);
    assert_whole(request, 200, "");
    assert_int_equal(f->freed, 1);
    close_tunnel(f, false);
    assert_h2(&f->backend, "RST_STREAM 1 0\n");
    assert_soon(f->freed == 2);
}

static void each_side_of_a_tunnel_ends_by_itself(void **state)
{
    struct fixture *f = *state;
    end_request(open_tunnel(f));
    assert_from_peer("early");
    h2_data(&f->backend, 1, "last", H2_END);
    assert_from_peer("last");
    assert_soon(the_tunnel.end.events == TUNNEL_END_FINISHED);
    assert_int_equal(f->freed, 0);
    push_tunnel(f, "still");
    assert_h2(&f->backend, "DATA 1 still\n");
    body_pipe_finish(&the_tunnel.to, NULL);
    assert_h2(&f->backend, "end\n");
    assert_soon(the_tunnel.end.events == (TUNNEL_END_FINISHED | TUNNEL_END_SENT | TUNNEL_END_GONE));
    assert_int_equal(the_tunnel.end.bytes_sent, 5);
    assert_soon(f->freed == 1);
    assert_not_h2(&f->backend, "RST_STREAM");
    close_tunnel(f, false);
}

static void a_tunnel_that_the_backend_resets_is_broken(void **state)
{
    struct fixture *f = *state;
    end_request(open_tunnel(f));
    h2_reset(&f->backend, 1, NGHTTP2_CANCEL);
    assert_soon(the_tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    assert_int_equal(the_tunnel.from.state, BODY_ABORTED);
    assert_int_equal(f->lost, 0);
    close_tunnel(f, false);
}

static void a_tunnel_ends_with_its_connection(void **state)
{
    struct fixture *f = *state;
    end_request(open_tunnel(f));
    wire_reset(&f->wire);
    assert_soon(the_tunnel.end.events == (TUNNEL_END_BROKEN | TUNNEL_END_GONE));
    assert_soon(f->lost == 1 && f->freed == 1);
    close_tunnel(f, false);
}

static void a_tunnel_whose_other_side_breaks_off_is_reset(void **state)
{
    struct fixture *f = *state;
    struct error error;
    end_request(open_tunnel(f));
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 0, "gone", "the client went");
    body_pipe_abort(&the_tunnel.to, &error);
    assert_h2(&f->backend, "RST_STREAM 1 8\n");
    assert_soon(the_tunnel.end.events == TUNNEL_END_GONE);
    close_tunnel(f, false);
}

/* RFC 8441 3: it may not be asked for before the SETTINGS have said so. */
static void a_tunnel_is_asked_for_when_the_settings_are_there(void **state)
{
    struct fixture *f = *state;
    f->connection->is_streams_max_known = false; /* as on a fresh connection */
    struct request *request = ask_for_tunnel(f, 0), *plain = get(f, 1);
    assert_h2(&f->backend, "HEADERS 1 :method=GET");
    assert_not_h2(&f->backend, "CONNECT");
    h2_setting(&f->backend, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    assert_h2(&f->backend, "HEADERS 3 :method=CONNECT :protocol=websocket");
    answer_head(f, 3, 0);
    assert_soon(request->heads > 0);
    assert_int_equal(request->stream.response.status, 101);
    end_request(plain);
}

static void who_waits_for_settings_can_leave(void **state)
{
    struct fixture *f = *state;
    f->connection->is_streams_max_known = false;
    end_request(ask_for_tunnel(f, 0));
    settle(f);
    assert_int_equal(f->freed, 1);
    h2_setting(&f->backend, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    assert_soon(f->changed > 0);
    settle(f);
    assert_not_h2(&f->backend, "CONNECT");
    assert_not_h2(&f->backend, "RST_STREAM");
}

static void settings_that_offer_no_tunnels_fail_who_has_waited(void **state)
{
    struct fixture *f = *state;
    f->connection->is_streams_max_known = false;
    struct request *request = ask_for_tunnel(f, 0);
    h2_setting(&f->backend, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    assert_failure(request, "no-tunnel", RETRY_NEVER, false);
    assert_int_equal(f->freed, 1);
}

static void a_connection_that_ends_before_its_settings_fails_who_has_waited(void **state)
{
    struct fixture *f = *state;
    f->connection->is_streams_max_known = false;
    struct request *request = ask_for_tunnel(f, 0);
    wire_reset(&f->wire);
    assert_failure(request, "stale-connection", RETRY_OTHER_CONNECTION, false);
}

/* RFC 8441 5: no key goes out, and what comes as accept means nothing; who asks as in HTTP/1.1 gets what that would bring. */
static void an_extended_connect_looks_like_an_upgrade_to_its_owner(void **state)
{
    struct fixture *f = *state;
    h2_setting(&f->backend, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    assert_soon(f->changed > 0);
    settle(f);
    struct request *request = ask_for_tunnel(f, 0);
    assert_h2(&f->backend, ":method=CONNECT");
    assert_not_h2(&f->backend, "sec-websocket-key");
    h2_headers(&f->backend, 1, 0, ":status", "200", "sec-websocket-accept", "nonsense", NULL);
    assert_soon(request->heads > 0);
    const struct headers *headers = &request->stream.response.headers;
    assert_slice_is(headers_value(headers, HEADER_UPGRADE), "websocket");
    assert_true(headers_list_has(headers, HEADER_CONNECTION, SLICE("upgrade")));
    const struct header *accept = headers_find(headers, SLICE("sec-websocket-accept"));
    assert_slice_is(accept->value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_null(headers_find_next(headers, accept));
}

static void a_tunnels_reader_holds_its_stream_back_and_no_other(void **state)
{
    struct fixture *f = *state;
    char kilobyte[1025];
    memset(kilobyte, 'x', 1024);
    kilobyte[1024] = '\0';
    end_request(open_tunnel(f));
    assert_from_peer("early");
    for (int i = 0; i < 63; i++) h2_data(&f->backend, 1, kilobyte, 0);
    assert_soon(the_tunnel.from.buffered == 63 * 1024);
    assert_not_h2(&f->backend, "WINDOW_UPDATE 1 ");
    assert_true(f->bench.slabs.taken_bytes <= 64 * 1024 + 3 * SLAB_SMALL_BYTES);
    struct request *other = get(f, 1);
    answer_head(f, 3, H2_END);
    assert_soon(other->done);
    body_pipe_consume(&the_tunnel.from, the_tunnel.from.buffered);
    assert_h2(&f->backend, "WINDOW_UPDATE 1 ");
    close_tunnel(f, false);
}

static void what_filled_the_window_before_a_tunnel_was_opened_is_given_back(void **state)
{
    struct fixture *f = *state;
    char kilobyte[1025];
    memset(kilobyte, 'x', 1024);
    kilobyte[1024] = '\0';
    struct request *request = agree_on_tunnel(f, kilobyte);
    for (int i = 1; i < 64; i++) h2_data(&f->backend, 1, kilobyte, 0);
    assert_soon(request->stream.response_body.buffered == 64 * 1024);
    take_tunnel(f, request);
    end_request(request);
    settle(f);
    assert_int_equal(the_tunnel.from.buffered, 64 * 1024);
    body_pipe_consume(&the_tunnel.from, the_tunnel.from.buffered);
    assert_h2(&f->backend, "WINDOW_UPDATE 1 65536\n");
    close_tunnel(f, false);
}

static void a_refused_tunnel_is_an_answer_like_any_other(void **state)
{
    struct fixture *f = *state;
    h2_setting(&f->backend, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    assert_soon(f->changed > 0);
    settle(f);
    struct request *request = ask_for_tunnel(f, 0);
    h2_headers(&f->backend, 1, 0, ":status", "403", NULL);
    h2_data(&f->backend, 1, "no", H2_END);
    assert_whole(request, 403, "no");
    assert_h2(&f->backend, "RST_STREAM 1 0\n");
    assert_int_equal(f->freed, 1);
}

/* --- many at once --- */

static void answers_find_their_requests_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct request *one = get(f, 0), *two = get(f, 1), *three = get(f, 2);
    answer_head(f, 5, 0);
    answer_head(f, 1, 0);
    h2_data(&f->backend, 1, "one", 0);
    answer_head(f, 3, 0);
    h2_data(&f->backend, 5, "three", H2_END);
    h2_data(&f->backend, 3, "two", H2_END);
    h2_data(&f->backend, 1, " more", H2_END);
    assert_whole(one, 200, "one more");
    assert_whole(two, 200, "two");
    assert_whole(three, 200, "three");
    assert_int_equal(f->freed, 3);
}

static void cancelling_one_leaves_the_others(void **state)
{
    struct fixture *f = *state;
    struct request *one = get(f, 0), *two = get(f, 1);
    end_request(one);
    assert_h2(&f->backend, "RST_STREAM 1 8\n");
    answer_head(f, 1, H2_END); /* it crossed */
    answer_head(f, 3, 0);
    h2_data(&f->backend, 3, "two", H2_END);
    assert_whole(two, 200, "two");
    assert_int_equal(f->freed, 2);
    assert_int_equal(f->lost, 0);
}

static void requests_of_one_turn_go_out_in_one_write(void **state)
{
    struct fixture *f = *state;
    struct request *all[4];
    for (unsigned i = 0; i < 4; i++) all[i] = prepare(f, i, METHOD_GET, 0);
    system_calls.sendmsg = 0;
    for (unsigned i = 0; i < 4; i++) {
        all[i]->stream.connection = f->connection;
        f->connection->operations->open(f->connection, &all[i]->stream);
    }
    settle(f);
    assert_h2(&f->backend, "HEADERS 7");
    assert_int_equal(system_calls.sendmsg, 1);
    for (unsigned i = 0; i < 4; i++) h2_headers(&f->backend, 2 * i + 1, H2_END, ":status", "204", NULL);
    for (unsigned i = 0; i < 4; i++) assert_whole(all[i], 204, "");
}

/* As many pieces as a pipe holds, together too long to be copied. */
static void fill_with_pieces(struct request *request)
{
    struct slab *slab = slab_take(&request->f->bench.slabs, SLAB_SMALL);
    assert_non_null(slab);
    memset(slab->bytes, 'a', slab->size);
    for (unsigned i = 0; i < BODY_PIPE_PIECES; i++) {
        slab_retain(slab);
        body_pipe_push(&request->body, slab, slab->bytes + (size_t)200 * i, 100);
    }
    slab_drop(slab);
    body_pipe_finish(&request->body, NULL);
}

static void bodies_of_many_pieces_at_once_go_out_in_several_writes(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = prepare(f, i, METHOD_POST, (uint64_t)100 * BODY_PIPE_PIECES);
        fill_with_pieces(request);
        request->stream.connection = f->connection;
        f->connection->operations->open(f->connection, &request->stream);
    }
    settle(f);
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        char wanted[40];
        snprintf(wanted, sizeof wanted, "DATA %u [%u] end\n", 2 * i + 1, 100 * BODY_PIPE_PIECES);
        assert_h2(&f->backend, wanted);
    }
    for (unsigned i = 0; i < REQUESTS_MAX; i++) h2_headers(&f->backend, 2 * i + 1, H2_END, ":status", "204", NULL);
    for (unsigned i = 0; i < REQUESTS_MAX; i++) assert_whole(&f->requests[i], 204, "");
}

static void cancelled_before_anything_was_written(void **state)
{
    struct fixture *f = *state;
    struct request *request = prepare(f, 0, METHOD_GET, 0);
    request->stream.connection = f->connection;
    f->connection->operations->open(f->connection, &request->stream);
    end_request(request);
    settle(f);
    assert_not_h2(&f->backend, "HEADERS");
    assert_soon(f->freed == 1);
    struct request *next = get(f, 1);
    assert_h2(&f->backend, "HEADERS 3");
    answer_head(f, 3, H2_END);
    assert_whole(next, 200, "");
}

/* nghttp2 holds a head back that the backend doesn't allow yet; its owner may go meanwhile. */
static void cancelled_while_held_back_by_the_backends_limit(void **state)
{
    struct fixture *f = *state;
    h2_setting(&f->backend, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    assert_soon(f->changed > 0 && f->connection->streams_max == 1);
    struct request *one = get(f, 0), *two = get(f, 1), *three = get(f, 2);
    assert_not_h2(&f->backend, "HEADERS 3");
    end_request(two);
    answer_head(f, 1, H2_END);
    assert_whole(one, 200, "");
    assert_h2(&f->backend, "HEADERS 5");
    assert_not_h2(&f->backend, "HEADERS 3");
    answer_head(f, 5, H2_END);
    assert_whole(three, 200, "");
    assert_int_equal(f->freed, 3);
}

/* --- what goes wrong --- */

static void a_refused_stream_was_not_executed(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    h2_reset(&f->backend, 1, NGHTTP2_REFUSED_STREAM);
    assert_failure(request, "stale-connection", RETRY_OTHER_CONNECTION, false);
    assert_int_equal(f->lost, 0);
}

static void a_reset_stream_may_have_been_executed(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    h2_reset(&f->backend, 1, NGHTTP2_INTERNAL_ERROR);
    assert_failure(request, "reset", RETRY_OTHER_INSTANCE, true);
    request = get(f, 1);
    answer_head(f, 3, 0);
    h2_data(&f->backend, 3, "some", 0);
    settle(f);
    h2_reset(&f->backend, 3, NGHTTP2_INTERNAL_ERROR);
    assert_failure(request, "truncated-body", RETRY_NEVER, true);
    assert_soon(request->answer_aborted);
}

static void send_goaway(struct fixture *f, uint32_t last, uint32_t code)
{
    const char payload[8] = {
        (char)(last >> 24), (char)(last >> 16), (char)(last >> 8), (char)last, 0, 0, 0, (char)code
    };
    h2_frame(&f->backend, NGHTTP2_GOAWAY, 0, 0, payload, sizeof payload);
    settle(f);
}

static void goaway_finishes_what_was_begun(void **state)
{
    struct fixture *f = *state;
    struct request *begun = get(f, 0), *beyond = get(f, 1);
    send_goaway(f, 1, NGHTTP2_NO_ERROR);
    assert_failure(beyond, "stale-connection", RETRY_OTHER_CONNECTION, false);
    assert_soon(f->changed > 0 && f->connection->streams_max == 0);
    assert_true(f->connection->operations->is_stale(f->connection));
    struct request *late = get(f, 2);
    assert_failure(late, "stale-connection", RETRY_OTHER_CONNECTION, false);
    answer_head(f, 1, 0);
    h2_data(&f->backend, 1, "done", H2_END);
    assert_whole(begun, 200, "done");
    assert_int_equal(f->freed, 3);
}

static void an_idle_connection_that_says_goaway_takes_no_more(void **state)
{
    struct fixture *f = *state;
    send_goaway(f, 0, NGHTTP2_NO_ERROR);
    assert_soon(f->changed > 0 && f->connection->streams_max == 0);
}

static void an_idle_connection_that_is_closed_is_lost(void **state)
{
    struct fixture *f = *state;
    close(f->wire.descriptor);
    f->wire.descriptor = -1;
    assert_soon(f->lost == 1);
}

static void open_unsettled(struct fixture *f, unsigned index)
{
    struct request *request = prepare(f, index, METHOD_GET, 0);
    request->stream.connection = f->connection;
    f->connection->operations->open(f->connection, &request->stream);
}

static bool has_sent(struct fixture *f)
{
    char byte;
    return recv(f->wire.descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* A lone one goes out in the turn that it is asked in; what comes beside others leaves together, one turn later. */
static void what_several_streams_say_is_gathered(void **state)
{
    struct fixture *f = *state;
    settle(f);
    assert_false(has_sent(f));
    open_unsettled(f, 0);
    loop_turn(&f->bench.loop, 0);
    assert_true(has_sent(f));
    settle(f);
    assert_h2(&f->backend, "HEADERS 1 ");
    for (unsigned i = 1; i < 3; i++) open_unsettled(f, i);
    loop_turn(&f->bench.loop, 0);
    assert_false(has_sent(f));
    loop_turn(&f->bench.loop, 0);
    assert_true(has_sent(f));
    assert_h2(&f->backend, "HEADERS 3 ");
    assert_h2(&f->backend, "HEADERS 5 ");
}

static void a_connection_that_ends_fails_all_its_streams(void **state)
{
    struct fixture *f = *state;
    struct request *asked = get(f, 0), *answering = get(f, 1);
    answer_head(f, 3, 0);
    wire_reset(&f->wire);
    assert_failure(asked, "reset", RETRY_OTHER_INSTANCE, true);
    assert_failure(answering, "truncated-body", RETRY_NEVER, true);
    assert_soon(f->lost == 1);
    assert_int_equal(f->freed, 2);
}

/* Its FIN crosses with the request: asked again where that does no harm. */
static void a_kept_connection_that_ends_without_a_word_was_stale(void **state)
{
    struct fixture *f = *state;
    f->connection->kept = true;
    struct request *request = get(f, 0);
    close(f->wire.descriptor);
    f->wire.descriptor = -1;
    assert_failure(request, "stale-connection", RETRY_OTHER_CONNECTION, true);
}

/* A FIN that no event has told of yet, behind bytes that are of no matter. */
static void what_can_not_be_repeated_is_not_sent_into_a_closed_connection(void **state)
{
    struct fixture *f = *state;
    f->connection->kept = true;
    h2_frame(&f->backend, NGHTTP2_PING, 0, 0, "12345678", 8);
    shutdown(f->wire.descriptor, SHUT_WR);
    struct pollfd ours = { .fd = f->descriptor, .events = POLLRDHUP };
    assert_int_equal(poll(&ours, 1, 2000), 1);
    struct request *request = prepare(f, 0, METHOD_POST, 0);
    request->stream.unrepeatable = true;
    request->stream.connection = f->connection;
    f->connection->operations->open(f->connection, &request->stream);
    assert_failure(request, "stale-connection", RETRY_OTHER_CONNECTION, false);
    assert_soon(f->lost == 1);
}

static void bytes_that_are_no_http_2_end_the_connection(void **state)
{
    struct fixture *f = *state;
    h2_peer_close(&f->backend);
    wire_close(&f->wire);
    assert_soon(f->lost == 1);
    f->lost = 0;
    struct error error;
    struct session_socket socket = { .descriptor = -1 };
    int accepted;
    connect_pair(&accepted, &socket.descriptor);
    assert_int_equal(fcntl(socket.descriptor, F_SETFL, O_NONBLOCK), 0);
    wire_open(&f->wire, accepted);
    h2_peer_open(&f->backend, &f->wire);
    struct address address = { 0 };
    f->connection = h2_client_start(&f->bench.worker, &f->settings, socket, &address, &events, f, &error);
    struct request *request = get(f, 0);
    wire_say(&f->wire, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    assert_non_null(strstr(request->stream.failure.text, "the first bytes are no HTTP/2"));
    assert_soon(f->lost == 1);
}

static void what_breaks_the_connections_rules_ends_it(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    h2_frame(&f->backend, NGHTTP2_DATA, 0, 0, "x", 1); /* DATA on stream 0: RFC 9113 6.1 */
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    assert_h2(&f->backend, "GOAWAY 0 1\n");
    assert_soon(f->lost == 1);
}

static void fields_that_http_2_forbids_are_refused(void **state)
{
    struct fixture *f = *state;
    const char *const fields[][2] = {
        { "connection", "close" },
        { "transfer-encoding", "chunked" },
        { "x-a", "a\rb" },
        { "x-a", "a\nb" },
        { "x-a", " a" },
        { "X-Upper", "a" },
        { "x y", "a" },
        { ":path", "/" },
        { "content_length", "5" },
        { "content-length", "-1" },
    };
    for (unsigned i = 0; i < COUNT_OF(fields); i++) {
        struct request *request = get(f, 0);
        h2_headers(&f->backend, 2 * i + 1, 0, ":status", "200", fields[i][0], fields[i][1], NULL);
        assert_failure(request, "bad-response", RETRY_NEVER, true);
        char reset[32];
        snprintf(reset, sizeof reset, "RST_STREAM %u ", 2 * i + 1);
        assert_h2(&f->backend, reset);
    }
    assert_int_equal(f->lost, 0);
}

static void heads_have_limits(void **state)
{
    struct fixture *f = *state;
    static char large[6000];
    memset(large, 'x', sizeof large - 1);
    struct request *request = get(f, 0);
    h2_headers(&f->backend, 1, H2_END, ":status", "200", "x-large", large, NULL);
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    request = get(f, 1);
    answer_head(f, 3, 0);
    h2_headers(&f->backend, 3, H2_END, "x-large", large, NULL);
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    request = get(f, 2);
    for (int i = 0; i < 33; i++) h2_headers(&f->backend, 5, 0, ":status", "103", NULL);
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    assert_int_equal(f->lost, 0);
}

static void a_body_that_disagrees_with_its_length_is_refused(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    h2_headers(&f->backend, 1, 0, ":status", "200", "content-length", "5", NULL);
    h2_data(&f->backend, 1, "four", H2_END);
    assert_soon(request->done);
    assert_string_equal(request->stream.failure.reason, "bad-response");
    request = get(f, 1);
    h2_headers(&f->backend, 3, 0, ":status", "200", "content-length", "3", NULL);
    h2_data(&f->backend, 3, "four", H2_END);
    assert_soon(request->done);
    assert_string_equal(request->stream.failure.reason, "bad-response");
    request = prepare(f, 2, METHOD_HEAD, 0);
    open_stream(request);
    h2_headers(&f->backend, 5, 0, ":status", "200", NULL);
    h2_data(&f->backend, 5, "four", H2_END);
    assert_soon(request->done);
    assert_string_equal(request->stream.failure.reason, "bad-response");
    assert_int_equal(f->lost, 0);
}

static void a_push_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    const char payload[4] = { 0, 0, 0, 2 };
    h2_frame(&f->backend, NGHTTP2_PUSH_PROMISE, H2_END_HEADERS, 1, payload, sizeof payload);
    assert_failure(request, "bad-response", RETRY_NEVER, true);
    assert_soon(f->lost == 1);
}

static void closing_says_goaway(void **state)
{
    struct fixture *f = *state;
    struct request *request = get(f, 0);
    answer_head(f, 1, H2_END);
    assert_whole(request, 200, "");
    end_request(request);
    assert_int_equal(f->bench.slabs.taken_bytes, 0); /* an idle connection holds no slab */
    f->connection->operations->close(f->connection);
    f->connection = NULL;
    assert_h2(&f->backend, "GOAWAY 0 0\n");
    assert_soon(f->wire.ended);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_head_is_written_as_http_2_wants_it),
        CASE(a_head_goes_out_however_large_limits_let_it_be),
        CASE(a_head_with_a_line_break_is_not_sent),
        CASE(a_body_goes_out_as_it_comes),
        CASE(a_body_that_is_there_goes_with_the_head),
        CASE(a_body_of_another_length_than_announced_is_never_whole),
        CASE(a_body_that_breaks_off_resets_the_stream),
        CASE(no_more_of_a_body_is_taken_than_the_window_allows),
        CASE(a_body_waits_for_100),
        CASE(without_100_a_body_is_sent_after_a_second),
        CASE(a_final_answer_instead_of_100_leaves_the_body_unsent),
        CASE(a_body_comes_with_its_trailers),
        CASE(what_is_forbidden_in_trailers_is_dropped),
        CASE(an_owner_that_takes_nothing_holds_its_backend_back),
        CASE(a_window_of_frames_of_any_size_is_stored),
        CASE(at_the_ceiling_a_body_still_comes_in),
        CASE(an_owner_that_wants_no_more_resets_the_stream),
        CASE(an_answer_before_the_request_is_whole_ends_it),
        CASE(a_tunnel_needs_the_backends_offer),
        CASE(a_tunnel_carries_bytes_both_ways),
        CASE(a_tunnel_is_asked_for_when_the_settings_are_there),
        CASE(who_waits_for_settings_can_leave),
        CASE(settings_that_offer_no_tunnels_fail_who_has_waited),
        CASE(a_connection_that_ends_before_its_settings_fails_who_has_waited),
        CASE(an_extended_connect_looks_like_an_upgrade_to_its_owner),
        CASE(a_tunnels_reader_holds_its_stream_back_and_no_other),
        CASE(each_side_of_a_tunnel_ends_by_itself),
        CASE(a_tunnel_that_the_backend_resets_is_broken),
        CASE(a_tunnel_ends_with_its_connection),
        CASE(a_tunnel_whose_other_side_breaks_off_is_reset),
        CASE(what_filled_the_window_before_a_tunnel_was_opened_is_given_back),
        CASE(a_refused_tunnel_is_an_answer_like_any_other),
        CASE(answers_find_their_requests_in_any_order),
        CASE(cancelling_one_leaves_the_others),
        CASE(requests_of_one_turn_go_out_in_one_write),
        CASE(bodies_of_many_pieces_at_once_go_out_in_several_writes),
        CASE(cancelled_before_anything_was_written),
        CASE(cancelled_while_held_back_by_the_backends_limit),
        CASE(a_refused_stream_was_not_executed),
        CASE(a_reset_stream_may_have_been_executed),
        CASE(goaway_finishes_what_was_begun),
        CASE(an_idle_connection_that_says_goaway_takes_no_more),
        CASE(an_idle_connection_that_is_closed_is_lost),
        CASE(what_several_streams_say_is_gathered),
        CASE(a_connection_that_ends_fails_all_its_streams),
        CASE(a_kept_connection_that_ends_without_a_word_was_stale),
        CASE(what_can_not_be_repeated_is_not_sent_into_a_closed_connection),
        CASE(bytes_that_are_no_http_2_end_the_connection),
        CASE(what_breaks_the_connections_rules_ends_it),
        CASE(fields_that_http_2_forbids_are_refused),
        CASE(heads_have_limits),
        CASE(a_body_that_disagrees_with_its_length_is_refused),
        CASE(a_push_ends_the_connection),
        CASE(closing_says_goaway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
