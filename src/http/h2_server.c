/* A client's HTTP/2 connection, from its start to its end. nghttp2 knows the state of the protocol.
 *
 *     OPEN -> LINGER -> CLOSED     after a GOAWAY, ours or the client's, and the last stream
 *        \------------> CLOSED     the client went away, or takes nothing
 *
 * Attacks that have names, and what bounds their cost:
 *   rapid reset, MadeYouReset    a budget of requests that end for nothing (h2_guard.h); requests whose exchange isn't over count as
 *                                open, whatever the client has reset (streams_max)
 *   CONTINUATION flood           so many frames (nghttp2), and the limits on heads, counted while decoding; the time for a head
 *   HPACK bomb                   the same limits: fields are counted decoded, not kept beyond, and not looked at far beyond
 *   SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty-frame floods      a budget of frames without use (h2_guard.h)
 *   ... by a client that does not read        nothing more is read where too many frames wait for it; then the time for writing
 *   zero window, slow reading    64 KiB a stream and 64 KiB a connection; the time for a stream without progress
 *   slow-loris                   the times for preface and SETTINGS, for a head, for a body; idle_timeout_ms without a request
 *   tiny DATA                    moved together into few slabs; and each turn reads a bounded share */
#include "http/h2_server_private.h"

#include "event/tls.h"

#include <stdlib.h>
#include <unistd.h>

#define DRAIN_NOTICE_MS 1000
#define TRIM_AFTER_MS 1000
#define YIELD_PATIENCE_MS 1000
#define LINGER_MS 2000
#define LINGER_BYTES_MAX UINT32_MAX       /* time is the bound */
#define LINGER_BYTES_MAX_BAD (64 * 1024u) /* after what a client was told to stop */

static void server_ready(struct stream *);
static void server_read_task(struct task *);
static void server_flush_task(struct task *);
static void server_timer(struct timer *);
static void give_notice(struct h2_server *);
static const struct server_session_operations h2_server_operations;

/* --- beginning and end --- */

static bool begin_protocol(struct h2_server *server)
{
    const struct server_settings *settings = h2_server_settings_of(server);
    const struct h1_limits *limits = &settings->limits;
    /* RFC 9113 6.5.2 counts 32 bytes a field, our limit what HTTP/1.1 would take. */
    const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->streams_max },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_bytes + limits->header_count * 28u },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 }, /* RFC 8441 */
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },   /* RFC 9218 2.1 */
    };
    server->h2 = h2_server_create_nghttp2(server);
    return server->h2 && nghttp2_submit_settings(server->h2, NGHTTP2_FLAG_NONE, entries, COUNT_OF(entries)) == 0 &&
           nghttp2_session_set_local_window_size(server->h2, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW) == 0;
}

static void free_server(struct retired *retired)
{
    struct h2_server *server = CONTAINER_OF(retired, struct h2_server, retired);
    nghttp2_session_del(server->h2);
    h2_session_memory_release(&server->memory);
    free(server);
}

static struct server_session *give_up(struct session_socket socket)
{
    if (socket.descriptor >= 0) close(socket.descriptor);
    tls_session_destroy(socket.tls);
    slab_drop(socket.early);
    return NULL;
}

struct server_session *h2_server_start(struct http_worker *worker, const struct server_settings *const *settings,
                                       struct session_socket socket, const struct peer *peer,
                                       const struct server_session_events *events, void *owner)
{
    struct h2_server *server = calloc(1, sizeof *server);
    if (!server) return give_up(socket);
    server->session.operations = &h2_server_operations;
    server->worker = worker;
    server->settings = settings;
    server->events = events;
    server->owner = owner;
    server->peer = peer;
    server->early = socket;
    server->settings_until_ms = h2_server_now(server) + (*settings)->head_timeout_ms;
    server->drain_until_ms = server->notice_at_ms = UINT64_MAX;
    server->idle_since_ms = h2_server_now(server);
    server->trim_at_ms = UINT64_MAX;
    server->read_task.run = server_read_task;
    server->flush_task.run = server_flush_task;
    list_init(&server->streams);
    list_init(&server->ending);
    timer_init(&server->timer, server_timer);
    h2_guard_init(&server->guard, h2_server_now(server));
    h2_output_init(&server->output, &server->stream, worker->slabs->ceiling);
    struct error error;
    if (!begin_protocol(server)) {
        free_server(&server->retired);
        return give_up(socket);
    }
    if (!stream_open(&server->stream, worker->loop, socket.descriptor, false, server_ready, &error)) {
        free_server(&server->retired);
        socket.descriptor = -1; /* closed already */
        return give_up(socket);
    }
    if (socket.tls) stream_set_tls(&server->stream, socket.tls);
    h2_server_arm(server, server->settings_until_ms);
    h2_server_flush_soon(server);
    if (socket.early) loop_enqueue_next(worker->loop, &server->read_task);
    return &server->session;
}

/* The last thing of all. */
static void end(struct h2_server *server)
{
    server->events->closed(&server->session, server->owner);
    loop_retire(server->worker->loop, &server->retired, free_server);
}

/* What was answered is over, though its owner may not have released it yet. */
static bool has_something_to_lose(struct h2_stream *stream)
{
    const struct h2_slot *slot = h2_slot_of(stream);
    return !stream->gone && !(slot && slot->answered && !slot->tunnel);
}

void h2_server_lose_streams(struct h2_server *server)
{
    struct list_link *next;
    for (struct list_link *link = server->streams.next; link != &server->streams; link = next) {
        next = link->next;
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, link);
        if (has_something_to_lose(stream)) stream->operations->lose(stream);
    }
}

void h2_server_drop_input(struct h2_server *server)
{
    slab_drop(server->input);
    server->input = NULL;
    server->content_stream = NULL;
}

static void drop_all_input(struct h2_server *server)
{
    h2_server_drop_input(server);
    slab_drop(server->early.early);
    server->early.early = NULL;
}

void h2_server_close(struct h2_server *server, bool reset)
{
    if (server->state == H2_SERVER_CLOSED) return;
    server->state = H2_SERVER_CLOSED;
    timer_clear(&server->worker->loop->timers, &server->timer);
    loop_dequeue(server->worker->loop, &server->read_task);
    loop_dequeue(server->worker->loop, &server->flush_task);
    drop_all_input(server);
    h2_output_release(&server->output);
    stream_close(&server->stream, reset);
    bool had_streams = server->stream_count > 0;
    h2_server_lose_streams(server);
    if (!had_streams) end(server); /* else the last one to go has ended it, or will */
}

bool h2_server_add(struct h2_server *server, struct h2_stream *stream)
{
    if (server->stream_count == 0 && !slab_reserve_init(&server->reserve, server->worker->slabs)) return false;
    list_push_back(&server->streams, &stream->link);
    server->stream_count++;
    server->trim_at_ms = UINT64_MAX;
    return true;
}

void h2_server_remove(struct h2_server *server, struct h2_stream *stream)
{
    list_remove(&stream->link);
    if (--server->stream_count > 0) return;
    slab_reserve_release(&server->reserve);
    if (server->state == H2_SERVER_CLOSED) {
        end(server);
        return;
    }
    server->idle_since_ms = h2_server_now(server);
    server->trim_at_ms = server->idle_since_ms + TRIM_AFTER_MS;
    h2_server_arm(server, server->idle_since_ms + h2_server_settings_of(server)->idle_timeout_ms);
    h2_server_arm(server, server->trim_at_ms);
    if (server->notice_at_ms != UINT64_MAX) give_notice(server);
    if (server->draining) h2_server_flush_soon(server);
}

/* As in HTTP/1.1: closing a socket that holds unread bytes sends RST, which may overtake what was sent. */
void h2_server_linger(struct h2_server *server)
{
    server->state = H2_SERVER_LINGER;
    server->linger_bytes = server->was_bad ? LINGER_BYTES_MAX_BAD : LINGER_BYTES_MAX;
    server->linger_until_ms = h2_server_now(server) + LINGER_MS;
    drop_all_input(server);
    h2_server_lose_streams(server);
    stream_finish_writing(&server->stream);
    h2_server_arm(server, server->linger_until_ms);
    loop_enqueue(server->worker->loop, &server->read_task);
}

void h2_server_tell_refused(struct h2_server *server, const struct error *error)
{
    struct arena nothing;
    arena_init(&nothing, NULL);
    struct request_head empty;
    request_head_init(&empty, &nothing);
    char id[REQUEST_ID_BYTES];
    request_id_write(&server->worker->ids, id);
    struct server_refusal refusal = { &empty, slice_of(id, sizeof id), error, 0, 0 };
    server->events->refused(&server->session, &refusal, server->owner);
}

void h2_server_terminate(struct h2_server *server, uint32_t code, const struct error *error)
{
    if (server->state != H2_SERVER_OPEN || server->terminating) return;
    server->terminating = true;
    server->was_bad = code != NGHTTP2_NO_ERROR;
    if (error) h2_server_tell_refused(server, error);
    if (nghttp2_session_terminate_session(server->h2, code) != 0) { /* no memory: then without a word */
        server->unspeakable = true;
    }
    h2_server_flush_soon(server);
}

/* --- what the loop tells --- */

static void server_ready(struct stream *stream)
{
    struct h2_server *server = CONTAINER_OF(stream, struct h2_server, stream);
    if (server->state == H2_SERVER_OPEN && h2_output_waits(&server->output) && stream->may_write)
        h2_server_flush(server);
    h2_server_read(server);
}

static void server_read_task(struct task *task) { h2_server_read(CONTAINER_OF(task, struct h2_server, read_task)); }

static void server_flush_task(struct task *task)
{
    struct h2_server *server = CONTAINER_OF(task, struct h2_server, flush_task);
    if (server->state == H2_SERVER_OPEN) h2_server_flush(server);
}

/* --- time --- */

void h2_server_arm(struct h2_server *server, uint64_t at_ms)
{
    if (at_ms == UINT64_MAX || server->state == H2_SERVER_CLOSED) return;
    if (!timer_is_set(&server->timer) || server->timer.deadline_ms > at_ms)
        timer_set(&server->worker->loop->timers, &server->timer, at_ms);
}

static uint64_t sooner(uint64_t a_ms, uint64_t b_ms) { return a_ms < b_ms ? a_ms : b_ms; }

static uint64_t write_deadline(const struct h2_server *server)
{
    if (!h2_output_waits(&server->output)) return UINT64_MAX;
    return server->written_ms + h2_server_settings_of(server)->idle_timeout_ms;
}

static uint64_t head_deadline(const struct h2_server *server)
{
    return server->heading ? server->heading_ms + h2_server_settings_of(server)->head_timeout_ms : UINT64_MAX;
}

static uint64_t idle_deadline(const struct h2_server *server)
{
    if (server->stream_count > 0) return UINT64_MAX;
    return server->idle_since_ms + h2_server_settings_of(server)->idle_timeout_ms;
}

static void give_memory_back(struct h2_server *server, uint64_t now_ms)
{
    server->trim_at_ms = h2_session_memory_trim(&server->memory, now_ms) ? UINT64_MAX : now_ms + TRIM_AFTER_MS;
}

static void head_took_too_long(struct h2_server *server)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "head-timeout", "no complete request head within %u ms",
              h2_server_settings_of(server)->head_timeout_ms);
    h2_server_terminate(server, NGHTTP2_ENHANCE_YOUR_CALM, &error);
}

/* Acts upon what has come, but for the streams' own; returns the next one. */
static uint64_t look_at_connection(struct h2_server *server, uint64_t now_ms)
{
    if (now_ms >= head_deadline(server)) head_took_too_long(server);
    if (now_ms >= server->settings_until_ms) h2_server_terminate(server, NGHTTP2_SETTINGS_TIMEOUT, NULL);
    if (now_ms >= idle_deadline(server)) h2_server_terminate(server, NGHTTP2_NO_ERROR, NULL);
    if (now_ms >= server->drain_until_ms) h2_server_end_drain(server);
    if (now_ms >= server->notice_at_ms) give_notice(server);
    if (now_ms >= server->trim_at_ms) give_memory_back(server, now_ms);
    uint64_t next_ms = sooner(head_deadline(server), server->settings_until_ms);
    next_ms = sooner(next_ms, sooner(idle_deadline(server), server->trim_at_ms));
    return sooner(sooner(next_ms, server->notice_at_ms), server->drain_until_ms);
}

static uint64_t look_at_streams(struct h2_server *server)
{
    uint64_t next_ms = UINT64_MAX;
    struct list_link *next;
    for (struct list_link *link = server->streams.next; link != &server->streams; link = next) {
        next = link->next;
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, link);
        next_ms = sooner(next_ms, stream->operations->look_at_time(stream));
    }
    return next_ms;
}

static void look_at_time(struct h2_server *server)
{
    uint64_t now_ms = h2_server_now(server), next_ms = UINT64_MAX;
    if (now_ms >= write_deadline(server)) {
        h2_server_close(server, true);
        return;
    }
    if (!server->terminating) next_ms = sooner(look_at_connection(server, now_ms), look_at_streams(server));
    h2_server_arm(server, sooner(next_ms, write_deadline(server)));
    if (server->starved) h2_server_read(server);
}

static void server_timer(struct timer *timer)
{
    struct h2_server *server = CONTAINER_OF(timer, struct h2_server, timer);
    if (server->state == H2_SERVER_OPEN)
        look_at_time(server);
    else if (h2_server_now(server) >= server->linger_until_ms)
        h2_server_close(server, false);
    else
        h2_server_arm(server, server->linger_until_ms);
}

/* --- what the gateway asks for --- */

/* RFC 9113 6.8: first a notice, then, when its PING was answered and so the client knows, the last stream. Requests that crossed with the
 * notice are answered. */
static void give_notice(struct h2_server *server)
{
    if (server->draining || server->state != H2_SERVER_OPEN) return;
    server->draining = true;
    server->notice_at_ms = UINT64_MAX;
    nghttp2_submit_shutdown_notice(server->h2);
    nghttp2_submit_ping(server->h2, NGHTTP2_FLAG_NONE, NULL);
    h2_server_flush_soon(server);
}

/* A client that doesn't answer isn't waited for long. */
static void drain(struct server_session *session)
{
    struct h2_server *server = CONTAINER_OF(session, struct h2_server, session);
    give_notice(server);
    if (server->drained || server->drain_until_ms != UINT64_MAX) return;
    server->drain_until_ms = h2_server_now(server) + DRAIN_NOTICE_MS;
    h2_server_arm(server, server->drain_until_ms);
}

/* Here it is waited for: an answer to the notice is what makes closing safe. And there are clients (all that use Python's h2) that give up
 * the streams they have under way at the sight of a GOAWAY, so it comes between two requests where there is a moment between them. */
static void yield(struct server_session *session)
{
    struct h2_server *server = CONTAINER_OF(session, struct h2_server, session);
    if (server->draining || server->state != H2_SERVER_OPEN) return;
    if (server->stream_count == 0) {
        give_notice(server);
        return;
    }
    server->notice_at_ms = h2_server_now(server) + YIELD_PATIENCE_MS;
    h2_server_arm(server, server->notice_at_ms);
}

void h2_server_end_drain(struct h2_server *server)
{
    if (!server->draining || server->drained) return;
    server->drained = true;
    server->drain_until_ms = UINT64_MAX;
    int32_t last = nghttp2_session_get_last_proc_stream_id(server->h2);
    nghttp2_submit_goaway(server->h2, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
    h2_server_flush_soon(server);
}

static void cut_requests(struct server_session *session)
{
    struct h2_server *server = CONTAINER_OF(session, struct h2_server, session);
    unsigned tunnels = 0;
    struct list_link *next;
    for (struct list_link *link = server->streams.next; link != &server->streams; link = next) {
        next = link->next;
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, link);
        if (stream->two_way)
            tunnels++;
        else if (has_something_to_lose(stream))
            stream->operations->cut(stream);
    }
    if (tunnels == 0) h2_server_close(server, false);
}

static void abort_now(struct server_session *session)
{
    h2_server_close(CONTAINER_OF(session, struct h2_server, session), false);
}

static const struct server_session_operations h2_server_operations = {
    .drain = drain, .yield = yield, .cut = cut_requests, .abort = abort_now
};
