/* Both sessions joined as a proxy joins them: client, our server session, our client session, backend. What only shows when the two
 * share pipes: splice, bodies both ways, system calls of a whole request. */
#include "sessions.h"

#include "base/random.h"
#include "http/h1_server.h"

struct fixture {
    struct bench bench;
    struct server_settings server_settings;
    const struct server_settings *server_settings_now;
    struct client_settings client_settings;
    struct peer peer;
    struct wire client, backend;
    struct server_session *session;
    struct client_connection *connection;
    struct server_stream *stream;
    struct client_stream upstream;
    struct task task;
    bool answering;
    unsigned served, gone, failed;
    uint64_t bytes_in; /* of the exchange that ended last */
};

static void pool_heard(struct client_connection *connection) {}

static void free_again(struct client_connection *connection, bool reusable)
{
    if (!reusable) ((struct fixture *)connection->owner)->connection = NULL;
}

static void lost(struct client_connection *connection, const struct error *error)
{
    ((struct fixture *)connection->owner)->connection = NULL;
}

static const struct client_connection_events pool_events = {
    .connected = pool_heard,
    .free_again = free_again,
    .lost = lost,
};

static void end_exchange(struct fixture *f)
{
    struct server_stream *stream = f->stream;
    f->bytes_in = stream->bytes_in;
    if (f->upstream.connection) f->upstream.connection->operations->cancel(f->upstream.connection, &f->upstream);
    client_stream_release(&f->upstream);
    loop_dequeue(&f->bench.loop, &f->task);
    f->stream = NULL;
    server_stream_release(stream);
}

static void proxy_ran(struct task *task)
{
    struct fixture *f = CONTAINER_OF(task, struct fixture, task);
    if (f->stream->events) {
        f->served += (f->stream->events & SERVER_STREAM_SENT) != 0;
        f->gone += (f->stream->events & SERVER_STREAM_GONE) != 0;
        end_exchange(f);
        return;
    }
    if (f->upstream.failure.reason && !f->answering) {
        f->failed++;
        server_stream_reset(f->stream);
        return;
    }
    if (!(f->upstream.events & CLIENT_STREAM_HEAD) || f->answering) return;
    struct error error;
    f->answering = true;
    bool has_body = f->upstream.response.has_body;
    assert_true(server_stream_send_head(f->stream, &f->upstream.response, has_body ? &f->upstream.response_body : NULL,
                                        &error));
}

static void opened(struct server_session *session, struct server_stream *stream, void *owner)
{
    struct fixture *f = owner;
    f->stream = stream;
    f->answering = false;
    stream->owner_task = &f->task;
    f->upstream = (struct client_stream){
        .arena = stream->arena,
        .request = &stream->request,
        .target = stream->request.target.path,
        .request_body = stream->request_body,
        .owner_task = &f->task,
    };
    assert_true(client_stream_prepare(&f->upstream, &f->bench.slabs));
    f->connection->operations->open(f->connection, &f->upstream);
}

static void refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    fail_msg("refused: %s", refusal->error->text);
}

static void closed(struct server_session *session, void *owner) { ((struct fixture *)owner)->session = NULL; }

static const struct server_session_events table_events = { .open = opened, .refused = refused, .closed = closed };

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    bench_set_up(&f->bench);
    struct h1_limits limits = { .request_line_bytes = 8192, .header_bytes = 65536, .header_count = 200 };
    f->server_settings = (struct server_settings){
        .limits = limits,
        .body_bytes_max = 64 << 20,
        .head_timeout_ms = 5000,
        .body_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .splice_bytes_min = 100000,
    };
    f->server_settings_now = &f->server_settings;
    f->client_settings = (struct client_settings){ .limits = limits, .splice_bytes_min = 100000 };
    f->task.run = proxy_ran;

    struct address address;
    struct error error;
    int listener = listen_on_loopback(&address), accepted, connected;
    f->connection = h1_client_connect(&f->bench.worker, &f->client_settings, &address, &pool_events, f, &error);
    assert_non_null(f->connection);
    wire_open(&f->backend, accept_soon(listener));
    close(listener);
    for (int i = 0; i < 100 && !f->connection->connected; i++) loop_turn(&f->bench.loop, 1);
    connect_pair(&accepted, &connected);
    wire_open(&f->client, connected);
    f->session = h1_server_start(&f->bench.worker, &f->server_settings_now,
                                 (struct session_socket){ .descriptor = accepted }, &f->peer, &table_events, f);
    bench_settle(&f->bench, &f->client);
    *state = f;
    return 0;
}

static void settle(struct fixture *f)
{
    bench_settle(&f->bench, &f->client);
    wire_read(&f->backend);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->session) server_session_abort(f->session);
    settle(f);
    assert_null(f->session);
    if (f->connection) f->connection->operations->close(f->connection);
    wire_close(&f->client);
    wire_close(&f->backend);
    bench_tear_down(&f->bench);
    free(f);
    return 0;
}

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUT(length) "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n"

static void exchange_small(struct fixture *f)
{
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    settle(f);
}

static void a_proxied_keep_alive_request_costs_two_reads_and_two_writes(void **state)
{
    struct fixture *f = *state;
    exchange_small(f);
    system_calls = (struct system_calls){ 0 };
    for (int i = 0; i < 10; i++) exchange_small(f);
    assert_soon(f->served == 11);
    assert_int_equal(system_calls.recv, 20);
    assert_int_equal(system_calls.sendmsg, 20);
    assert_int_equal(system_calls.epoll_ctl, 0);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
}

static char *pattern(size_t length)
{
    char *bytes = malloc(length);
    for (size_t i = 0; i < length; i++) bytes[i] = (char)(i % 251);
    return bytes;
}

/* `from`, which has sent `sent` bytes of it, writes the rest while `to` reads; returns when `to` has all behind its head. */
static void pass_rest_of_body(struct fixture *f, struct wire *from, struct wire *to, const char *bytes, size_t length,
                              size_t sent)
{
    for (int i = 0; i < 20000; i++) {
        if (sent < length) sent += wire_write(from, bytes + sent, length - sent);
        loop_turn(&f->bench.loop, 0);
        wire_read(to);
        const char *body = strstr(to->received, "\r\n\r\n");
        if (body && to->length - (size_t)(body + 4 - to->received) == length) break;
    }
    const char *body = strstr(to->received, "\r\n\r\n") + 4;
    assert_int_equal(to->length - (size_t)(body - to->received), length);
    assert_memory_equal(body, bytes, length);
}

static void pass_body(struct fixture *f, struct wire *from, struct wire *to, const char *bytes, size_t length)
{
    pass_rest_of_body(f, from, to, bytes, length, 0);
}

static void a_large_answer_passes_inside_the_kernel(void **state)
{
    struct fixture *f = *state;
    size_t length = 4 << 20;
    char *bytes = pattern(length);
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
    system_calls = (struct system_calls){ 0 };
    pass_body(f, &f->backend, &f->client, bytes, length);
    free(bytes);
    settle(f);
    assert_true(system_calls.splice > 10);
    assert_true(system_calls.recv < 20);
    assert_soon(f->served == 1);
    assert_non_null(f->connection);
    wire_forget(&f->client);
    exchange_small(f); /* both connections are fit for the next request */
    assert_soon(ends_with(&f->client, "hello"));
}

static void a_large_request_body_passes_inside_the_kernel(void **state)
{
    struct fixture *f = *state;
    size_t length = 4 << 20;
    char *bytes = pattern(length);
    wire_say(&f->client, PUT("4194304"));
    settle(f);
    system_calls = (struct system_calls){ 0 };
    pass_body(f, &f->client, &f->backend, bytes, length);
    free(bytes);
    assert_true(system_calls.splice > 10);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    settle(f);
    assert_soon(f->served == 1);
    assert_soon(ends_with(&f->client, "ok"));
    assert_int_equal(f->bytes_in, strlen(PUT("4194304")) + length);
    wire_forget(&f->client);
    exchange_small(f);
    assert_soon(ends_with(&f->client, "hello"));
}

/* Whoever writes the log knows what was received, also of a body that never became whole. */
static void bytes_of_an_upload_that_breaks_off_are_counted(void **state)
{
    struct fixture *f = *state;
    char *bytes = pattern(1000000);
    wire_say(&f->client, PUT("4194304"));
    pass_body(f, &f->client, &f->backend, bytes, 1000000);
    free(bytes);
    assert_true(system_calls.splice > 0);
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_int_equal(f->bytes_in, strlen(PUT("4194304")) + 1000000);
}

/* From bytes[*sent] on, until neither side takes more. */
static void fill_with_body(struct fixture *f, const char *bytes, size_t length, size_t *sent)
{
    for (int still = 0; still < 20;) {
        size_t part = *sent < length ? wire_write(&f->client, bytes + *sent, length - *sent) : 0;
        *sent += part;
        still = part ? 0 : still + 1;
        loop_turn(&f->bench.loop, 1);
    }
}

/* The client would send on, but the backend doesn't read: that is no reason for a 408. */
static void a_backend_that_pauses_inside_a_spliced_upload_is_waited_for(void **state)
{
    struct fixture *f = *state;
    f->server_settings.body_timeout_ms = 100;
    size_t length = 16 << 20, sent = 0;
    char *bytes = pattern(length);
    wire_say(&f->client, PUT("16777216"));
    f->backend.deaf = true;
    fill_with_body(f, bytes, length, &sent);
    assert_true(sent < length);
    assert_true(f->upstream.request_body->spliced);
    bench_wait(&f->bench, &f->client, 350);
    assert_int_equal(f->failed, 0);
    f->backend.deaf = false;
    pass_rest_of_body(f, &f->client, &f->backend, bytes, length, sent);
    free(bytes);
    assert_int_equal(f->failed, 0);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    settle(f);
    assert_soon(f->served == 1);
}

static void a_client_that_pauses_inside_a_spliced_upload_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->server_settings.body_timeout_ms = 100;
    char *bytes = pattern(1000000);
    wire_say(&f->client, PUT("16777216"));
    pass_body(f, &f->client, &f->backend, bytes, 1000000);
    free(bytes);
    assert_true(f->upstream.request_body->spliced);
    bench_wait(&f->bench, &f->client, 200);
    assert_soon(f->failed == 1);
    assert_int_equal(f->upstream.failure.status, 408);
    assert_int_equal(f->upstream.failure.blame, BLAME_CLIENT);
}

static void without_kernel_pipes_bodies_are_copied(void **state)
{
    struct fixture *f = *state;
    size_t length = 4 << 20;
    char *bytes = pattern(length);
    struct kernel_pipe *taken[4];
    for (int i = 0; i < 4; i++) taken[i] = kernel_pipes_take(f->bench.worker.kernel_pipes);
    assert_null(kernel_pipes_take(f->bench.worker.kernel_pipes));
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
    system_calls = (struct system_calls){ 0 };
    pass_body(f, &f->backend, &f->client, bytes, length);
    assert_int_equal(system_calls.splice, 0);
    free(bytes);
    settle(f);
    assert_soon(f->served == 1);
    for (int i = 0; i < 4; i++) kernel_pipes_give(f->bench.worker.kernel_pipes, taken[i]);
}

static void a_chunked_answer_goes_on_as_chunks(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n");
    settle(f);
    wire_say(&f->backend, "0\r\nX-Sum: 1\r\n\r\n");
    settle(f);
    assert_soon(ends_with(&f->client, "\r\n\r\n6\r\nhello!\r\n0\r\nX-Sum: 1\r\n\r\n"));
    assert_soon(f->served == 1);
}

static void a_spliced_answer_that_is_truncated_cuts_the_client(void **state)
{
    struct fixture *f = *state;
    char *bytes = pattern(500000);
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    pass_body(f, &f->backend, &f->client, bytes, 500000);
    free(bytes);
    assert_null(f->upstream.failure.reason);
    wire_reset(&f->backend);
    settle(f);
    assert_soon(f->client.ended);
    assert_int_equal(f->served, 0);
    assert_soon(f->gone == 1);
}

static void a_client_that_resets_inside_a_spliced_answer_cancels_it(void **state)
{
    struct fixture *f = *state;
    char *bytes = pattern(8 << 20);
    wire_say(&f->client, GET);
    settle(f);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
    f->client.deaf = true;
    for (int i = 0; i < 100; i++) {
        wire_write(&f->backend, bytes, 100000);
        loop_turn(&f->bench.loop, 0);
    }
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_soon(!f->connection);
    free(bytes);
}

static void a_client_that_resets_inside_a_spliced_upload_cancels_it(void **state)
{
    struct fixture *f = *state;
    char *bytes = pattern(8 << 20);
    wire_say(&f->client, PUT("8388608"));
    for (int i = 0; i < 100; i++) {
        wire_write(&f->client, bytes, 100000);
        loop_turn(&f->bench.loop, 0);
    }
    wire_reset(&f->client);
    settle(f);
    assert_soon(f->gone == 1);
    assert_soon(!f->connection);
    free(bytes);
}

/* --- random conversations --- */

enum { REQUESTS = 25, BODY_BYTES_MAX = 300000 };

/* One end's view of a stream of messages: reads them with the codec, which has its own tests. */
struct reader {
    struct wire *wire;
    size_t at; /* bytes of wire->received that were read */
    char *body;
    size_t body_length;
    unsigned number; /* the message's X-Number */
};

static unsigned number_of(const struct headers *headers)
{
    uint64_t number = 0;
    assert_true(slice_parse_uint64(headers_find(headers, SLICE("x-number"))->value, &number));
    return (unsigned)number;
}

/* False: not whole yet, and nothing was taken. */
static bool read_body(struct reader *reader, size_t at, bool chunked, uint64_t length, const struct h1_limits *limits,
                      struct arena *arena)
{
    const char *bytes = reader->wire->received + at;
    size_t available = reader->wire->length - at;
    reader->body_length = 0;
    if (!chunked) {
        if (available < length) return false;
        memcpy(reader->body, bytes, length);
        reader->body_length = length;
        reader->at = at + length;
        return true;
    }
    struct h1_chunked state;
    struct headers trailers;
    struct error error;
    h1_chunked_init(&state);
    headers_init(&trailers, arena);
    for (;;) {
        size_t consumed;
        struct slice content;
        enum h1_chunk_result result = h1_chunked_read(&state, bytes, available, &consumed, &content, &trailers, limits,
                                                      &error);
        bytes += consumed;
        available -= consumed;
        if (result == H1_CHUNK_MORE) return false;
        if (result == H1_CHUNK_END) break;
        assert_int_equal(result, H1_CHUNK_DATA);
        memcpy(reader->body + reader->body_length, content.at, content.length);
        reader->body_length += content.length;
    }
    reader->at = (size_t)(bytes - reader->wire->received);
    return true;
}

static bool read_message(struct reader *reader, bool is_request, const struct h1_limits *limits)
{
    struct arena arena;
    struct h1_parser parser;
    struct request_head request;
    struct response_head response;
    struct error error;
    arena_init(&arena, NULL);
    h1_parser_init(&parser);
    request_head_init(&request, &arena);
    response_head_init(&response, &arena);
    const char *bytes = reader->wire->received + reader->at;
    size_t length = reader->wire->length - reader->at;
    enum h1_result result = is_request
                                ? h1_parse_request(&parser, bytes, length, limits, &request, &error)
                                : h1_parse_response(&parser, bytes, length, limits, METHOD_POST, &response, &error);
    assert_int_not_equal(result, H1_BAD);
    bool whole = result == H1_COMPLETE;
    if (whole) {
        reader->number = number_of(is_request ? &request.headers : &response.headers);
        whole = read_body(reader, reader->at + parser.head_length, parser.chunked,
                          is_request ? request.body_length : response.body_length, limits, &arena);
    }
    arena_release(&arena);
    return whole;
}

/* Appends a message with `length` bytes of body, framed by chance. */
static size_t compose(struct random *random, char *into, const char *first_lines, unsigned number, const char *body,
                      size_t length)
{
    char *at = into + snprintf(into, 128, "%sX-Number: %u\r\n", first_lines, number);
    if (random_below(random, 2)) {
        at += snprintf(at, 64, "Content-Length: %zu\r\n\r\n", length);
        return (size_t)((char *)mempcpy(at, body, length) - into);
    }
    at += snprintf(at, 64, "Transfer-Encoding: chunked\r\n\r\n");
    while (length > 0) {
        size_t part = 1 + random_below(random, random_below(random, 2) ? 20 : 50000);
        if (part > length) part = length;
        at += snprintf(at, 32, "%zx\r\n", part);
        at = mempcpy(at, body, part);
        at = mempcpy(at, "\r\n", 2);
        body += part;
        length -= part;
    }
    return (size_t)((char *)mempcpy(at, "0\r\n\r\n", 5) - into);
}

struct outbox {
    char *bytes;
    size_t length, sent;
};

static void send_some(struct random *random, struct outbox *out, struct wire *wire)
{
    size_t part = 1 + random_below(random, random_below(random, 3) ? 100 : 100000);
    if (part > out->length - out->sent) part = out->length - out->sent;
    if (part > 0) out->sent += wire_write(wire, out->bytes + out->sent, part);
}

static size_t body_length_of(unsigned number)
{
    struct random random;
    random_init_seeded(&random, number + 1);
    switch (random_below(&random, 4)) {
    case 0: return 0;
    case 1: return random_below(&random, 100);
    case 2: return random_below(&random, 20000);
    default: return random_below(&random, BODY_BYTES_MAX);
    }
}

static void converse(struct fixture *f, uint64_t seed)
{
    struct random random;
    random_init_seeded(&random, seed);
    char *body = pattern(BODY_BYTES_MAX);
    struct outbox asked = { .bytes = malloc(REQUESTS * (size_t)BODY_BYTES_MAX * 2) };
    struct outbox answered = { .bytes = malloc(REQUESTS * (size_t)BODY_BYTES_MAX * 2) };
    for (unsigned i = 0; i < REQUESTS; i++)
        asked.length += compose(&random, asked.bytes + asked.length, "POST /a HTTP/1.1\r\nHost: h\r\n", i, body,
                                body_length_of(i));
    struct reader backend = { .wire = &f->backend, .body = malloc(BODY_BYTES_MAX) };
    struct reader client = { .wire = &f->client, .body = malloc(BODY_BYTES_MAX) };
    unsigned asked_count = 0, answered_count = 0;
    for (unsigned steps = 0; answered_count < REQUESTS; steps++) {
        assert_true(steps < 500000);
        switch (random_below(&random, 4)) {
        case 0: send_some(&random, &asked, &f->client); break;
        case 1: send_some(&random, &answered, &f->backend); break;
        case 2: loop_turn(&f->bench.loop, 0); break;
        default:
            wire_read(random_below(&random, 2) ? &f->backend : &f->client);
            while (read_message(&backend, true, &f->client_settings.limits)) {
                assert_int_equal(backend.number, asked_count);
                assert_int_equal(backend.body_length, body_length_of(asked_count));
                assert_memory_equal(backend.body, body, backend.body_length);
                asked_count++;
                answered.length += compose(&random, answered.bytes + answered.length, "HTTP/1.1 200 OK\r\n",
                                           backend.number, backend.body, backend.body_length);
            }
            while (read_message(&client, false, &f->client_settings.limits)) {
                assert_int_equal(client.number, answered_count);
                assert_int_equal(client.body_length, body_length_of(answered_count));
                assert_memory_equal(client.body, body, client.body_length);
                answered_count++;
            }
        }
    }
    free(asked.bytes);
    free(answered.bytes);
    free(backend.body);
    free(client.body);
    free(body);
    settle(f);
    assert_int_equal(f->failed + f->gone, 0);
    assert_non_null(f->session);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
    assert_int_equal(f->bench.arenas.bytes_taken, 0);
}

static void any_conversation_in_any_pieces_is_passed_on_unchanged(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        f->bench.ceiling.bytes_max = seed % 2 ? 0 : 128 * 1024; /* every second time memory is tight throughout */
        converse(f, seed);
        wire_forget(&f->client);
        wire_forget(&f->backend);
    }
    assert_soon(f->served == 6 * REQUESTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_proxied_keep_alive_request_costs_two_reads_and_two_writes),
        TEST(a_large_answer_passes_inside_the_kernel),
        TEST(a_large_request_body_passes_inside_the_kernel),
        TEST(bytes_of_an_upload_that_breaks_off_are_counted),
        TEST(a_backend_that_pauses_inside_a_spliced_upload_is_waited_for),
        TEST(a_client_that_pauses_inside_a_spliced_upload_is_given_up),
        TEST(without_kernel_pipes_bodies_are_copied),
        TEST(a_chunked_answer_goes_on_as_chunks),
        TEST(a_spliced_answer_that_is_truncated_cuts_the_client),
        TEST(a_client_that_resets_inside_a_spliced_answer_cancels_it),
        TEST(a_client_that_resets_inside_a_spliced_upload_cancels_it),
        TEST(any_conversation_in_any_pieces_is_passed_on_unchanged),
    };
    return cmocka_run_group_tests_name("h1 pair", tests, NULL, NULL);
}
