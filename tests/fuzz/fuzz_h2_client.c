/* Whatever a backend sends, an HTTP/2 connection to it stays in its memory, ends every stream once, and gives everything back.
 *
 * The input's first byte says into how large pieces the rest is cut, the second which of the requests below are given up in between; the
 * rest is what the backend sends: frames. The requests, streams 1, 3, 5 ...: a GET, a HEAD, a POST whose body comes in parts, one that
 * waits for 100, a WebSocket, a GET whose owner takes nothing, and one that nobody wants the end of. */
#include "event/event.h"
#include "http/h2_client.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum kind { ASKS, ASKS_FOR_HEAD, SENDS, WAITS_FOR_100, WANTS_TUNNEL, TAKES_NOTHING, STOPS, KIND_COUNT };

struct request {
    struct arena arena;
    struct request_head head;
    struct body_pipe body;
    struct client_stream stream;
    struct task task;
    struct tunnel_end end;
    struct body_pipe from_peer, to_peer;
    struct task tunnel_task;
    enum kind kind;
    bool is_tunnel, was_done;
};

static struct loop loop;
static struct memory_ceiling ceiling;
static struct slab_pool slabs;
static struct arena_pool arenas;
static struct http_worker worker;
static struct request requests[KIND_COUNT];
static struct client_connection *connection;
static unsigned freed;

static void set_up(void)
{
    struct error error;
    bool is_good = loop_init(&loop, &error);
    PROMISE(is_good);
    slab_pool_init(&slabs, 1 << 20, &ceiling);
    arena_pool_init(&arenas, 16, &ceiling);
    worker = (struct http_worker){ .loop = &loop, .slabs = &slabs, .arenas = &arenas };
}

/* --- the pool --- */

static void connected(struct client_connection *of)
{
    (void)of;
    PROMISE(!"told of HTTP/1.1 only");
}

static void free_again(struct client_connection *of, bool reusable)
{
    PROMISE(of == connection && reusable);
    freed++;
}

static void capacity_changed(struct client_connection *of) { PROMISE(of == connection); }

static void lost(struct client_connection *of, const struct error *error)
{
    PROMISE(of == connection && error->reason);
    connection = NULL;
}

static const struct client_connection_events events = {
    .connected = connected,
    .free_again = free_again,
    .capacity_changed = capacity_changed,
    .lost = lost,
};

/* --- owners --- */

static void tunnel_ran(struct task *task)
{
    struct request *request = CONTAINER_OF(task, struct request, tunnel_task);
    body_pipe_consume(&request->from_peer, request->from_peer.buffered);
}

static void open_tunnel(struct request *request)
{
    body_pipe_init(&request->from_peer, &loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&request->to_peer, &loop, BODY_LENGTH_UNKNOWN);
    body_pipe_attach_consumer(&request->from_peer, &request->tunnel_task);
    request->end = (struct tunnel_end){ .from_peer = &request->from_peer,
                                        .to_peer = &request->to_peer,
                                        .owner_task = &request->tunnel_task };
    bool is_open = connection->operations->open_tunnel(connection, &request->stream, &request->end);
    PROMISE(is_open);
    request->is_tunnel = true;
    body_pipe_push(&request->to_peer, NULL, "hello", 5);
}

static void take_answer(struct request *request)
{
    struct body_pipe *body = &request->stream.response_body;
    if (request->stream.response.status == 101) {
        if (request->stream.connection && !request->is_tunnel) open_tunnel(request);
        return;
    }
    if (!body->consumer_task) body_pipe_attach_consumer(body, &request->task);
    if (request->kind == STOPS)
        body_pipe_stop(body);
    else if (request->kind != TAKES_NOTHING)
        body_pipe_consume(body, body->buffered);
}

static void request_ran(struct task *task)
{
    struct request *request = CONTAINER_OF(task, struct request, task);
    PROMISE(!request->is_tunnel);
    if (request->stream.events & CLIENT_STREAM_HEAD) take_answer(request);
    if (request->stream.events & CLIENT_STREAM_DONE) {
        PROMISE(!request->stream.connection);
        request->was_done = true;
    }
}

static void open_request(enum kind kind)
{
    struct request *request = &requests[kind];
    bool sends = kind == SENDS || kind == WAITS_FOR_100;
    enum method method = kind == ASKS_FOR_HEAD ? METHOD_HEAD : sends ? METHOD_POST : METHOD_GET;
    *request = (struct request){ .kind = kind, .task.run = request_ran, .tunnel_task.run = tunnel_ran };
    arena_init(&request->arena, &arenas);
    request_head_init(&request->head, &request->arena);
    request->head.method = method;
    request->head.method_text = method_name(method);
    request->head.authority = SLICE("h");
    request->head.has_body = sends;
    request->head.body_length = sends ? BODY_LENGTH_UNKNOWN : 0;
    body_pipe_init(&request->body, &loop, BODY_LENGTH_UNKNOWN);
    bool is_added = kind != WANTS_TUNNEL ||
                    headers_add_known(&request->head.headers, HEADER_UPGRADE, SLICE("websocket"));
    request->stream = (struct client_stream){
        .arena = &request->arena,
        .request = &request->head,
        .target = SLICE("/"),
        .request_body = sends ? &request->body : NULL,
        .owner_task = &request->task,
        .wait_for_continue = kind == WAITS_FOR_100,
        .upgrade = kind == WANTS_TUNNEL,
    };
    PROMISE(is_added && client_stream_prepare(&request->stream, &slabs));
    request->stream.connection = connection;
    connection->operations->open(connection, &request->stream);
    body_pipe_push(&request->body, NULL, "hello", 5);
}

static void give_up(struct request *request)
{
    struct client_stream *stream = &request->stream;
    if (stream->connection) stream->connection->operations->cancel(stream->connection, stream);
    if (request->is_tunnel) tunnel_end_close(&request->end, true);
}

static void release(struct request *request)
{
    give_up(request);
    loop_dequeue(&loop, &request->task);
    loop_dequeue(&loop, &request->tunnel_task);
    client_stream_release(&request->stream);
    body_pipe_release(&request->body);
    if (request->is_tunnel) {
        body_pipe_release(&request->from_peer);
        body_pipe_release(&request->to_peer);
    }
    arena_release(&request->arena);
}

/* --- a backend --- */

static void turn(int backend)
{
    static char thrown_away[1 << 16];
    loop_turn(&loop, 0);
    while (recv(backend, thrown_away, sizeof thrown_away, MSG_DONTWAIT) > 0) {}
}

static void say(int backend, const uint8_t *bytes, size_t length, size_t piece)
{
    while (length > 0 && connection) {
        size_t part = piece < length ? piece : length;
        ssize_t sent = send(backend, bytes, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) return; /* it doesn't read any more */
        bytes += sent;
        length -= (size_t)sent;
        turn(backend);
    }
}

static void end(int backend)
{
    for (unsigned i = 0; i < KIND_COUNT; i++) release(&requests[i]);
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    PROMISE(freed == KIND_COUNT);
    if (connection) connection->operations->close(connection);
    connection = NULL;
    loop_turn(&loop, 0);
    close(backend);
    PROMISE(slabs.taken_bytes == 0 && arenas.bytes_taken == 0 && memory_ceiling_in_use(&ceiling) == 0);
    PROMISE(loop.timers.count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct client_settings settings = {
        .limits = { .request_line_bytes = 2000, .header_bytes = 4000, .header_count = 50 },
    };
    static const struct address address;
    /* ENABLE_CONNECT_PROTOCOL, and the acknowledgement of ours. */
    static const uint8_t hello[] = { 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4, 1, 0, 0, 0, 0 };
    int pair[2];
    struct error error;
    if (length < 2) return 0;
    if (!loop.epoll_descriptor) set_up();
    freed = 0;
    bool has_pair = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0;
    PROMISE(has_pair);
    connection = h2_client_start(&worker, &settings, (struct session_socket){ .descriptor = pair[0] }, &address,
                                 &events, NULL, &error);
    PROMISE(connection);
    say(pair[1], hello, sizeof hello, sizeof hello);
    for (unsigned i = 0; i < KIND_COUNT; i++) open_request((enum kind)i);
    turn(pair[1]);
    size_t piece = bytes[0] ? bytes[0] * (size_t)bytes[0] : length, half = (length - 2) / 2;
    say(pair[1], bytes + 2, half, piece);
    for (unsigned i = 0; i < KIND_COUNT; i++) {
        if (bytes[1] & 1 << i) give_up(&requests[i]);
    }
    if (bytes[1] & 0x80 && connection) body_pipe_finish(&requests[SENDS].body, NULL);
    say(pair[1], bytes + 2 + half, length - 2 - half, piece);
    for (int i = 0; i < 4 && connection; i++) turn(pair[1]);
    end(pair[1]);
    return 0;
}
