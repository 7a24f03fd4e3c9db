/* A client's connection between and around its exchanges:
 *
 *     IDLE -> HEAD -> EXCHANGE -> DISCARD -> IDLE      an answer that leaves nothing behind goes straight back to IDLE;
 *       \       \         \   \      \-> LINGER -> CLOSED      a refusal lingers too; a 101 leads to TUNNEL
 *
 * A connection costs this struct while it is idle, no more. The first readable event takes the hottest small slab of the worker;
 * the head is parsed in place and the slab stays with the slot. What a client pipelined stays in the slab too and is parsed from
 * the task after the release, never by recursion. A request whose head came in one piece costs one recv, one send and no timer. */
#include "http/h1_server_private.h"

#include "http/refusal.h"
#include "http/status.h"

#include <stdlib.h>
#include <unistd.h>

#define LINGER_MS 2000
#define LINGER_BYTES_MAX UINT32_MAX /* time is the bound */
#define LINGER_READS_A_TURN 8
#define TURNED_AWAY_LINGER_MS 500
#define TURNED_AWAY_LINGER_BYTES (16 * 1024)
#define REQUESTS_A_TURN 16

static void server_ready(struct stream *);
static void server_task(struct task *);
static void server_timer(struct timer *);
static void refuse(struct h1_server *, const struct error *);
static const struct server_session_operations h1_server_operations;

static uint64_t now_of(const struct h1_server *server) { return server->worker->loop->now_ms; }

static void come_back(struct h1_server *server) { loop_enqueue(server->worker->loop, &server->task); }

static void come_back_next_turn(struct h1_server *server) { loop_enqueue_next(server->worker->loop, &server->task); }

static void set_deadline(struct h1_server *server, uint64_t after_ms)
{
    server->deadline_ms = now_of(server) + after_ms;
    timer_set(&server->worker->loop->timers, &server->timer, server->deadline_ms);
}

static struct h1_server *create(struct http_worker *worker, const struct server_settings *const *settings,
                                struct session_socket socket, const struct peer *peer,
                                const struct server_session_events *events, void *owner)
{
    struct h1_server *server = calloc(1, sizeof *server);
    if (!server) {
        close(socket.descriptor);
        tls_session_destroy(socket.tls);
        return NULL;
    }
    struct error error;
    if (!stream_open(&server->stream, worker->loop, socket.descriptor, false, server_ready, &error)) {
        tls_session_destroy(socket.tls);
        free(server);
        return NULL;
    }
    if (socket.tls) stream_set_tls(&server->stream, socket.tls);
    server->session.operations = &h1_server_operations;
    server->worker = worker;
    server->settings = settings;
    server->events = events;
    server->owner = owner;
    server->peer = peer;
    server->state = SERVER_IDLE;
    timer_init(&server->timer, server_timer);
    server->task.run = server_task;
    set_deadline(server, (*settings)->head_timeout_ms);
    return server;
}

struct server_session *h1_server_start(struct http_worker *worker, const struct server_settings *const *settings,
                                       struct session_socket socket, const struct peer *peer,
                                       const struct server_session_events *events, void *owner)
{
    struct h1_server *server = create(worker, settings, socket, peer, events, owner);
    return server ? &server->session : NULL;
}

/* --- closing --- */

static void free_server(struct retired *retired) { free(CONTAINER_OF(retired, struct h1_server, retired)); }

static void drop_slot(struct h1_server *server)
{
    if (server->slot) h1_slot_destroy(server->slot);
    server->slot = NULL;
}

static void end(struct h1_server *server)
{
    drop_slot(server);
    loop_dequeue(server->worker->loop, &server->task);
    server->events->closed(&server->session, server->owner);
    loop_retire(server->worker->loop, &server->retired, free_server);
}

void h1_server_close(struct h1_server *server, bool reset)
{
    if (server->state == SERVER_CLOSED) return;
    bool is_owned = server->state == SERVER_EXCHANGE;
    server->state = SERVER_CLOSED;
    timer_clear(&server->worker->loop->timers, &server->timer);
    loop_dequeue(server->worker->loop, &server->task);
    h1_input_drop(&server->input);
    stream_close(&server->stream, reset);
    h1_tunnel_destroy(server->tunnel, true);
    server->tunnel = NULL;
    if (is_owned)
        h1_slot_lose(server->slot);
    else
        end(server);
}

/* Closing a socket that holds unread bytes sends RST, which may overtake the answer: so say that this side is finished, read what
 * comes for a while, and only then close (RFC 9112 9.6). */
static void linger_within(struct h1_server *server, uint64_t for_ms, uint32_t bytes)
{
    drop_slot(server);
    h1_input_drop(&server->input);
    server->state = SERVER_LINGER;
    server->linger_bytes = bytes;
    stream_finish_writing(&server->stream);
    set_deadline(server, for_ms);
    come_back(server);
}

static void linger(struct h1_server *server) { linger_within(server, LINGER_MS, LINGER_BYTES_MAX); }

static void linger_on(struct h1_server *server)
{
    char thrown_away[16 * 1024];
    for (int i = 0; i < LINGER_READS_A_TURN; i++) {
        size_t moved;
        enum stream_result result = stream_read(&server->stream, thrown_away, sizeof thrown_away, &moved);
        if (result == STREAM_WAIT) return;
        if (result != STREAM_OK || moved > server->linger_bytes) {
            h1_server_close(server, false);
            return;
        }
        server->linger_bytes -= (uint32_t)moved;
    }
    come_back_next_turn(server);
}

/* --- refusing --- */

/* Into the caller's buffer, so that it works when all buffers are taken. No field holds bytes of the client's. */
static size_t write_refusal(const struct h1_server *server, const struct error *error, struct slice request_id,
                            bool with_body, char *into, size_t size)
{
    struct slice title = status_reason(error->status);
    char body[REFUSAL_BYTES_MAX];
    size_t length = refusal_write(error, request_id, body);
    const char *retry_after = error->status == 503 ? "Retry-After: " REFUSAL_RETRY_AFTER "\r\n" : "";
    int total = snprintf(into, size,
                         "HTTP/1.1 %u %.*s\r\nDate: %s\r\nContent-Type: application/problem+json\r\n"
                         "Content-Length: %zu\r\n%sConnection: close\r\n\r\n%.*s",
                         error->status, SLICE_PRINT(title), server->worker->date, length, retry_after,
                         with_body ? (int)length : 0, body);
    return (size_t)total < size ? (size_t)total : size - 1;
}

/* The answers before it are in the kernel already, and this is little: where it finds no room nobody is reading. False: not all of it
 * went out. */
static bool send_refusal(struct h1_server *server, const struct error *error, struct slice request_id, bool with_body,
                         size_t *sent)
{
    char text[REFUSAL_BYTES_MAX + 320];
    size_t length = write_refusal(server, error, request_id, with_body, text, sizeof text);
    return stream_write(&server->stream, &(struct iovec){ text, length }, 1, sent) == STREAM_OK && *sent == length;
}

static void refuse(struct h1_server *server, const struct error *error)
{
    struct arena nothing;
    arena_init(&nothing, NULL);
    struct request_head empty;
    request_head_init(&empty, &nothing);
    const struct request_head *head = server->slot ? &server->slot->stream.request : &empty;
    uint64_t bytes_in = h1_input_bytes(&server->input).length + (server->slot ? server->slot->stream.bytes_in : 0);

    char id[REQUEST_ID_BYTES];
    request_id_write(&server->worker->ids, id);
    struct slice request_id = slice_of(id, sizeof id);
    size_t sent;
    bool is_sent = send_refusal(server, error, request_id, head->method != METHOD_HEAD, &sent);
    struct server_refusal refusal = { head, request_id, error, bytes_in, sent };
    server->events->refused(&server->session, &refusal, server->owner);
    if (is_sent)
        linger(server);
    else
        h1_server_close(server, false);
}

static void refuse_for_memory(struct h1_server *server)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "the buffers of this worker are all in use");
    refuse(server, &error);
}

/* Where the answer finds no room either, or nobody is there, lingering finds out. */
struct server_session *h1_server_turn_away(struct http_worker *worker, const struct server_settings *const *settings,
                                           struct session_socket socket, const struct error *answer,
                                           const struct peer *peer, const struct server_session_events *events,
                                           void *owner)
{
    struct h1_server *server = create(worker, settings, socket, peer, events, owner);
    if (!server) return NULL;
    char id[REQUEST_ID_BYTES];
    request_id_write(&worker->ids, id);
    size_t sent;
    bool is_sent = send_refusal(server, answer, slice_of(id, sizeof id), true, &sent);
    (void)is_sent;
    linger_within(server, TURNED_AWAY_LINGER_MS, TURNED_AWAY_LINGER_BYTES);
    return &server->session;
}

/* --- heads --- */

/* The input is full, or there is none. A head that outgrows its slab moves to a larger one; one that began behind other requests moves to
 * the start of a fresh one. */
static bool make_room(struct h1_server *server)
{
    struct h1_input *input = &server->input;
    struct slab *old = input->slab;
    if (old && old->filled < old->size) return true;
    struct slice bytes = h1_input_bytes(input);
    size_t wanted = bytes.length < SLAB_SMALL_BYTES / 2 ? SLAB_SMALL_BYTES : bytes.length * 2;
    if (bytes.length == 0 && memory_ceiling_is_beyond(server->worker->slabs->ceiling, 12)) wanted = SLAB_TINY_BYTES;
    struct slab *fresh = slab_take_sized(server->worker->slabs, wanted);
    if (!fresh) return false;
    if (bytes.length > 0) {
        memcpy(fresh->bytes, bytes.at, bytes.length);
        if (server->slot) h1_request_rebase(&server->slot->stream.request, bytes.at, bytes.length, fresh->bytes);
    }
    fresh->filled = (uint32_t)bytes.length;
    h1_input_drop(input);
    input->slab = fresh;
    return true;
}

/* Nothing more has come. */
static void wait_for_head(struct h1_server *server)
{
    if (server->state != SERVER_IDLE) return;
    h1_input_drop(&server->input);
    if (server->closes_idle) h1_server_close(server, false);
}

/* True: there are new bytes. */
static bool read_for_head(struct h1_server *server)
{
    if (!server->stream.may_read) {
        if (server->stream.failed)
            h1_server_close(server, false);
        else
            wait_for_head(server);
        return false;
    }
    if (!make_room(server)) {
        refuse_for_memory(server);
        return false;
    }
    switch (h1_input_read(&server->input, &server->stream, SIZE_MAX)) {
    case STREAM_OK: return true;
    case STREAM_WAIT: wait_for_head(server); return false;
    case STREAM_END:
    case STREAM_FAIL: break;
    }
    h1_server_close(server, false);
    return false;
}

/* The head is not whole yet. The time for it runs from its first byte, for a connection's first head from the start. */
static void head_has_begun(struct h1_server *server)
{
    if (server->state == SERVER_HEAD) return;
    server->state = SERVER_HEAD;
    if (server->served > 0) set_deadline(server, h1_server_settings_of(server)->head_timeout_ms);
}

static void open_exchange(struct h1_server *server)
{
    struct h1_slot *slot = server->slot;
    slot->head_slab = server->input.slab;
    slab_retain(slot->head_slab);
    server->input.start += slot->parser.head_length;
    struct error error;
    if (!h1_slot_begin(slot, &error)) {
        refuse(server, &error);
        return;
    }
    server->state = SERVER_EXCHANGE;
    server->served++;
    bool has_finished = server->stream.peer_finished;
    server->events->open(&server->session, &slot->stream, server->owner);    /* may have ended everything */
    if (has_finished && server->state == SERVER_EXCHANGE) come_back(server); /* no further event will tell of it */
}

/* RFC 9113 3.4: what an HTTP/2 client that knows whom it talks to sends first. */
static const struct slice h2_preface = SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

static bool may_become_h2(const struct h1_server *server, struct slice bytes)
{
    if (server->served > 0 || !server->events->handed_over || bytes.length == 0) return false;
    size_t length = bytes.length < h2_preface.length ? bytes.length : h2_preface.length;
    return memcmp(bytes.at, h2_preface.at, length) == 0;
}

static void hand_over(struct h1_server *server, struct slice bytes)
{
    struct session_socket socket = { .tls = server->stream.tls, .early = server->input.slab, .early_bytes = bytes };
    slab_retain(socket.early);
    socket.descriptor = stream_detach(&server->stream);
    server->state = SERVER_CLOSED;
    timer_clear(&server->worker->loop->timers, &server->timer);
    loop_dequeue(server->worker->loop, &server->task);
    h1_input_drop(&server->input);
    drop_slot(server);
    loop_retire(server->worker->loop, &server->retired, free_server);
    server->events->handed_over(&server->session, socket, server->owner);
}

/* False: the head is over, in whichever way. */
static bool parse(struct h1_server *server)
{
    struct slice early = h1_input_bytes(&server->input);
    if (may_become_h2(server, early)) {
        if (early.length < h2_preface.length) {
            head_has_begun(server);
            return true;
        }
        hand_over(server, early);
        return false;
    }
    if (!server->slot && !(server->slot = h1_slot_create(server))) {
        refuse_for_memory(server);
        return false;
    }
    struct h1_slot *slot = server->slot;
    struct slice bytes = h1_input_bytes(&server->input);
    struct error error;
    switch (h1_parse_request(&slot->parser, bytes.at, bytes.length, &h1_server_settings_of(server)->limits,
                             &slot->stream.request, &error)) {
    case H1_MORE: head_has_begun(server); return true;
    case H1_COMPLETE: open_exchange(server); return false;
    case H1_BAD: break;
    }
    refuse(server, &error);
    return false;
}

static void read_heads(struct h1_server *server)
{
    if (server->state == SERVER_IDLE && !h1_input_is_empty(&server->input) && !parse(server)) return;
    while (read_for_head(server) && parse(server))
        ;
}

/* --- a tunnel --- */

static void begin_tunnel(struct h1_server *server)
{
    drop_slot(server);
    server->state = SERVER_TUNNEL;
    timer_clear(&server->worker->loop->timers, &server->timer);
    h1_tunnel_begin(server->tunnel);
}

static void follow_tunnel(struct h1_server *server, enum h1_tunnel_result result)
{
    switch (result) {
    case H1_TUNNEL_WAIT: break;
    case H1_TUNNEL_AGAIN: come_back_next_turn(server); break;
    case H1_TUNNEL_STARVED: set_deadline(server, H1_TUNNEL_MEMORY_RETRY_MS); break;
    case H1_TUNNEL_OVER: h1_server_close(server, server->tunnel->reset); break;
    }
}

void h1_server_tunnel_closed(struct h1_tunnel *tunnel, bool reset)
{
    struct h1_server *server = tunnel->session;
    h1_tunnel_destroy(tunnel, false);
    server->tunnel = NULL;
    h1_server_close(server, reset);
}

/* --- after the answer --- */

/* However much a client pipelines, and however fast: others have their turn. */
static bool has_used_up_turn(struct h1_server *server)
{
    return turn_share_use(&server->requests, server->worker->loop) + 1 >= REQUESTS_A_TURN;
}

/* A read that wasn't short, or an end that came with the data: there may be more than events will tell of. */
static void next_request(struct h1_server *server)
{
    drop_slot(server);
    server->state = SERVER_IDLE;
    set_deadline(server, h1_server_settings_of(server)->idle_timeout_ms);
    if (server->closes_idle) stream_look_again(&server->stream);
    if (h1_input_is_empty(&server->input)) h1_input_drop(&server->input);
    if (!server->input.slab && !server->stream.may_read) return;
    if (has_used_up_turn(server))
        come_back_next_turn(server);
    else
        come_back(server);
}

static void discard_on(struct h1_server *server)
{
    struct error error;
    switch (h1_reader_run(&server->slot->body->reader, &error)) {
    case H1_READ_WAIT: break;
    case H1_READ_AGAIN: come_back_next_turn(server); break;
    case H1_READ_OVER:
        h1_input_shrink(&server->input, server->worker->slabs);
        next_request(server);
        break;
    default: linger(server); break;
    }
}

void h1_server_released(struct h1_server *server)
{
    struct h1_slot *slot = server->slot;
    if (server->state == SERVER_CLOSED) {
        end(server);
        return;
    }
    if (server->tunnel) {
        begin_tunnel(server);
        return;
    }
    server->state = SERVER_DISCARD; /* the slot is ours again, whichever way this goes */
    bool body_is_over = !slot->body || slot->body->reader.over;
    if (!slot->keep_alive) {
        bool unread = !body_is_over || !h1_input_is_empty(&server->input) || server->stream.may_read;
        if (unread)
            linger(server);
        else
            h1_server_close(server, false);
    } else if (body_is_over) {
        next_request(server);
    } else if (slot->body->broken) {
        linger(server);
    } else {
        body_pipe_stop(&slot->body->pipe);
        set_deadline(server, LINGER_MS);
        come_back(server);
    }
}

/* --- what the loop tells --- */

static void advance(struct h1_server *server)
{
    switch ((enum h1_server_state)server->state) {
    case SERVER_IDLE:
    case SERVER_HEAD: read_heads(server); break;
    case SERVER_EXCHANGE: h1_slot_advance(server->slot); break;
    case SERVER_TUNNEL: follow_tunnel(server, h1_tunnel_run(server->tunnel)); break;
    case SERVER_DISCARD: discard_on(server); break;
    case SERVER_LINGER: linger_on(server); break;
    case SERVER_CLOSED: break;
    }
}

static void server_ready(struct stream *stream)
{
    struct h1_server *server = CONTAINER_OF(stream, struct h1_server, stream);
    if (server->state == SERVER_TUNNEL)
        follow_tunnel(server, h1_tunnel_ready(server->tunnel));
    else
        advance(server);
}

static void server_task(struct task *task) { advance(CONTAINER_OF(task, struct h1_server, task)); }

static void head_took_too_long(struct h1_server *server)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "head-timeout", "no complete request head within %u ms",
              h1_server_settings_of(server)->head_timeout_ms);
    refuse(server, &error);
}

static void server_timer(struct timer *timer)
{
    struct h1_server *server = CONTAINER_OF(timer, struct h1_server, timer);
    if (server->state == SERVER_EXCHANGE) {
        h1_slot_look_at_time(server->slot);
        return;
    }
    if (server->state == SERVER_TUNNEL) {
        follow_tunnel(server, h1_tunnel_run(server->tunnel));
        return;
    }
    if (now_of(server) < server->deadline_ms) {
        timer_set(&server->worker->loop->timers, timer, server->deadline_ms);
        return;
    }
    if (server->state == SERVER_HEAD)
        head_took_too_long(server);
    else
        h1_server_close(server, false);
}

/* --- what the gateway asks for --- */

static void drain(struct server_session *session)
{
    struct h1_server *server = CONTAINER_OF(session, struct h1_server, session);
    if (server->closes_idle) return;
    server->draining = server->closes_idle = true;
    if (server->state != SERVER_IDLE) return;
    stream_look_again(&server->stream);
    come_back(server);
}

static void yield(struct server_session *session) { CONTAINER_OF(session, struct h1_server, session)->draining = true; }

static void cut_requests(struct server_session *session)
{
    struct h1_server *server = CONTAINER_OF(session, struct h1_server, session);
    if (!server->tunnel) h1_server_close(server, false);
}

static void abort_now(struct server_session *session)
{
    h1_server_close(CONTAINER_OF(session, struct h1_server, session), false);
}

static const struct server_session_operations h1_server_operations = {
    .drain = drain,
    .yield = yield,
    .cut = cut_requests,
    .abort = abort_now,
};
