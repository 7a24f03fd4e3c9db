/* Whatever a client sends behind a good preface, an HTTP/2 session stays in its memory, lets every exchange end, and gives everything
 * back.
 *
 * The input's first byte says into how large pieces the rest is cut, which is what the client sends: frames. The owner of the exchanges
 * does what the path says: /e sends the body back as it comes, /h never answers, /r resets, /l lets go of it at once, all others
 * answer when the body is over; an upgrade becomes a tunnel that sends back what it gets. */
#include "event/event.h"
#include "http/h2_memory.h"
#include "http/h2_server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define EXCHANGES_MAX 512

struct exchange {
    struct server_stream *stream; /* NULL: free */
    struct task task;
    struct body_pipe answer;
    struct response_head head;
    bool has_answer;
};

struct tunnel {
    struct tunnel_end end;
    struct body_pipe from_peer, to_peer;
    struct task task;
    bool is_open;
};

static struct loop loop;
static struct memory_ceiling ceiling;
static struct slab_pool slabs;
static struct arena_pool arenas;
static struct http_worker worker;
static struct exchange exchanges[EXCHANGES_MAX];
static struct tunnel tunnels[EXCHANGES_MAX];
static struct server_session *session;
static unsigned opened, released;

static void set_up(void)
{
    struct error error;
    bool is_good = loop_init(&loop, &error);
    PROMISE(is_good);
    slab_pool_init(&slabs, 1 << 20, &ceiling);
    arena_pool_init(&arenas, 16, &ceiling);
    worker = (struct http_worker){
        .loop = &loop,
        .slabs = &slabs,
        .arenas = &arenas,
        .h2_memory = h2_memory_create(),
        .date = "Sun, 06 Nov 1994 08:49:37 GMT",
    };
}

/* As much as the other pipe takes. */
static void send_back(struct body_pipe *from, struct body_pipe *to)
{
    struct body_piece piece;
    while (from->count > 0 && body_pipe_credit(to) >= body_pipe_first(from)->length && body_pipe_take(from, &piece))
        body_pipe_push(to, piece.slab, piece.at, piece.length);
    if (from->state == BODY_ABORTED) body_pipe_abort(to, &from->failure);
    if (body_pipe_is_drained(from)) body_pipe_finish(to, from->trailers);
}

/* --- exchanges --- */

static void release(struct exchange *exchange)
{
    struct server_stream *stream = exchange->stream;
    exchange->stream = NULL;
    released++;
    loop_dequeue(&loop, &exchange->task);
    if (exchange->has_answer) body_pipe_release(&exchange->answer);
    exchange->has_answer = false;
    server_stream_release(stream);
}

static void answer(struct exchange *exchange, uint64_t length)
{
    struct error error;
    response_head_init(&exchange->head, exchange->stream->arena);
    exchange->head.status = 200;
    exchange->head.has_body = true;
    exchange->head.body_length = length;
    body_pipe_init(&exchange->answer, &loop, length);
    exchange->answer.producer_task = &exchange->task;
    exchange->has_answer = true;
    bool is_sent = server_stream_send_head(exchange->stream, &exchange->head, &exchange->answer, &error);
    PROMISE(is_sent);
}

static void answer_with_text(struct exchange *exchange)
{
    answer(exchange, 5);
    body_pipe_push(&exchange->answer, NULL, "hello", 5);
    body_pipe_finish(&exchange->answer, NULL);
}

static char wish_of(const struct exchange *exchange)
{
    struct slice path = exchange->stream->request.target.path;
    return path.length > 1 ? path.at[1] : ' ';
}

static void exchange_ran(struct task *task)
{
    struct exchange *exchange = CONTAINER_OF(task, struct exchange, task);
    struct body_pipe *body = exchange->stream->request_body;
    if (exchange->stream->events) {
        release(exchange);
    } else if (wish_of(exchange) == 'e' && body) {
        send_back(body, &exchange->answer);
    } else if (body && wish_of(exchange) != 'h') {
        body_pipe_consume(body, body->buffered);
        if (body->state != BODY_OPEN && !exchange->has_answer) answer_with_text(exchange);
    }
}

static void tunnel_ran(struct task *task)
{
    struct tunnel *tunnel = CONTAINER_OF(task, struct tunnel, task);
    if (!(tunnel->end.events & TUNNEL_END_GONE)) send_back(&tunnel->from_peer, &tunnel->to_peer);
}

static void open_tunnel(struct exchange *exchange, struct tunnel *tunnel)
{
    struct error error;
    *tunnel = (struct tunnel){ .task.run = tunnel_ran, .is_open = true };
    body_pipe_init(&tunnel->from_peer, &loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&tunnel->to_peer, &loop, BODY_LENGTH_UNKNOWN);
    body_pipe_attach_consumer(&tunnel->from_peer, &tunnel->task);
    tunnel->to_peer.producer_task = &tunnel->task;
    tunnel->end = (struct tunnel_end){ &tunnel->from_peer, &tunnel->to_peer, &tunnel->task, NULL, NULL, 0, 0 };
    response_head_init(&exchange->head, exchange->stream->arena);
    exchange->head.status = 101;
    bool is_open = server_stream_open_tunnel(exchange->stream, &exchange->head, &tunnel->end, &error);
    PROMISE(is_open);
}

static void session_open(struct server_session *from, struct server_stream *stream, void *owner)
{
    PROMISE(from == session && !owner);
    unsigned index = 0;
    while (index < EXCHANGES_MAX && (exchanges[index].stream || tunnels[index].is_open)) index++;
    PROMISE(index < EXCHANGES_MAX); /* streams_max is less */
    struct exchange *exchange = &exchanges[index];
    *exchange = (struct exchange){ .stream = stream, .task.run = exchange_ran };
    stream->owner_task = &exchange->task;
    opened++;
    if (stream->request.wants_upgrade) {
        open_tunnel(exchange, &tunnels[index]);
        return;
    }
    char wish = wish_of(exchange);
    if (wish == 'r') server_stream_reset(stream);
    if (wish == 'l') release(exchange);
    if (wish == 'r' || wish == 'l' || wish == 'h') return;
    if (wish == 'e' && stream->request_body) answer(exchange, BODY_LENGTH_UNKNOWN);
    if (stream->request_body)
        body_pipe_attach_consumer(stream->request_body, &exchange->task);
    else
        answer_with_text(exchange);
}

static void session_refused(struct server_session *from, const struct server_refusal *refusal, void *owner)
{
    PROMISE(from == session && !owner && refusal->error->status >= 400);
}

static void session_closed(struct server_session *from, void *owner)
{
    PROMISE(from == session && !owner);
    session = NULL;
}

static const struct server_session_events events = {
    .open = session_open,
    .refused = session_refused,
    .closed = session_closed,
};

/* --- a client --- */

static void turn(int client)
{
    static char thrown_away[1 << 16];
    loop_turn(&loop, 0);
    while (recv(client, thrown_away, sizeof thrown_away, MSG_DONTWAIT) > 0) {}
}

static void say(int client, const uint8_t *bytes, size_t length, size_t piece)
{
    while (length > 0 && session) {
        size_t part = piece < length ? piece : length;
        ssize_t sent = send(client, bytes, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else {
            return; /* it doesn't read any more */
        }
        turn(client);
    }
}

static void close_tunnels(void)
{
    for (unsigned i = 0; i < EXCHANGES_MAX; i++) {
        if (!tunnels[i].is_open) continue;
        tunnel_end_close(&tunnels[i].end, false);
        loop_dequeue(&loop, &tunnels[i].task);
        body_pipe_release(&tunnels[i].from_peer);
        body_pipe_release(&tunnels[i].to_peer);
        tunnels[i].is_open = false;
    }
}

static void end(int client)
{
    if (session) server_session_abort(session);
    for (unsigned i = 0; i < EXCHANGES_MAX; i++) {
        if (exchanges[i].stream) release(&exchanges[i]);
    }
    close_tunnels();
    loop_turn(&loop, 0);
    close(client);
    PROMISE(!session && opened == released);
    PROMISE(slabs.taken_bytes == 0 && arenas.bytes_taken == 0 && memory_ceiling_in_use(&ceiling) == 0);
    PROMISE(loop.timers.count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct server_settings settings = {
        .limits = { .request_line_bytes = 2000, .header_bytes = 4000, .header_count = 50 },
        .body_bytes_max = 100000,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .streams_max = 100,
    };
    static const struct server_settings *settings_now = &settings;
    static const struct peer peer;
    static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    int pair[2];
    if (length == 0) return 0;
    if (!loop.epoll_descriptor) set_up();
    bool has_pair = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0;
    PROMISE(has_pair);
    session = h2_server_start(&worker, &settings_now, (struct session_socket){ .descriptor = pair[0] }, &peer, &events,
                              NULL);
    PROMISE(session);
    size_t piece = bytes[0] ? bytes[0] * (size_t)bytes[0] : length;
    say(pair[1], preface, sizeof preface, sizeof preface);
    say(pair[1], bytes + 1, length - 1, piece ? piece : 1);
    for (int i = 0; i < 4 && session; i++) turn(pair[1]);
    end(pair[1]);
    return 0;
}
