/* exchange/tunnel.c: a WebSocket after its 101: two ends (http/tunnel.h) joined by two pipes.
 *
 *   client ══ from_client ══> backend          each end's session pushes into one pipe and writes from the other;
 *   client <══ from_backend ══ backend         nothing here runs for a message but way_pass(), which follows its frames
 *
 * It outlives its exchange, whose arena and snapshot are gone: what the log needs is copied, of the configuration it holds route and
 * service alone, and of filters what each of them wants held for as long (filter->tunnel_opens). Ends of the connections pass by themselves: a
 * FIN finishes one pipe, a reset aborts it. What is left to do here is time (nothing moved for too long, a close that nobody follows up) and
 * saying goodbye ourselves: a close frame each way, where a frame has ended; from there on what that peer still sends is looked at, for its
 * answer, and dropped. */
#include "exchange/private.h"
#include "http/websocket.h"

#include <stdlib.h>

#define CLOSING_MS 5000 /* from the last close frame, or from ours, to the end of the connections */
#define SAY_AGAIN_MS 50 /* the pipe was full: there is no room for our close frame */
#define KEPT_TEXTS 9
#define TEXT_BYTES_MAX 768 /* of each that is kept for the log */

/* What one peer sends, on its way to the other. */
struct way {
    struct body_watch watch;
    struct tunnel *tunnel;
    uint64_t bytes, moved_ms;
    struct websocket_follower frames;
    enum websocket_closer sender;
    bool ends;     /* at the next end of a frame the gateway speaks instead */
    bool muted;    /* from here on nothing of the sender's passes */
    bool said;     /* a close frame has gone this way, or nothing can go any more */
    bool speaking; /* what is pushed is ours */
    char goodbye[WEBSOCKET_CLOSE_FRAME_BYTES_MAX];
    struct body_pipe pipe;
};

struct tunnel {
    struct exchange_worker *worker;
    struct list_link link; /* worker->tunnels */
    struct tunnel_end client, backend;
    struct way from_client, from_backend;
    struct task task;
    struct timer timer;
    struct retired retired;
    struct compiled_route *route;
    struct service *service;
    struct upstream_lease lease;
    struct tunnel_hold *holds; /* of filters, newest first */
    uint64_t begun_ns;
    uint64_t closing_deadline_ms; /* 0: it is open */
    uint64_t closing_delivered;   /* bytes both ways when that was set */
    bool leaving;                 /* we say goodbye */
    struct exchange_record record;
    char texts[]; /* what its slices point into */
};

static void tunnel_task(struct task *);
static void tunnel_timer(struct timer *);
static size_t way_pass(struct body_watch *, const char *at, size_t length);

/* --- opening --- */

static void kept_texts(struct exchange_record *record, struct slice *texts[KEPT_TEXTS])
{
    struct slice *kept[KEPT_TEXTS] = { &record->request_id,  &record->trace_id, &record->span_id,
                                       &record->method_text, &record->path,     &record->client_ip,
                                       &record->user_agent,  &record->user_id,  &record->client_id };
    memcpy(texts, kept, sizeof kept);
}

static struct tunnel *allocate(const struct exchange *exchange)
{
    struct exchange_record record;
    struct slice *texts[KEPT_TEXTS];
    size_t bytes = 0;
    record_fill(exchange, &record);
    kept_texts(&record, texts);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        *texts[i] = slice_before(*texts[i], TEXT_BYTES_MAX);
        bytes += texts[i]->length;
    }
    struct tunnel *tunnel = malloc(sizeof *tunnel + bytes);
    if (!tunnel) return NULL;
    memset(tunnel, 0, sizeof *tunnel);
    tunnel->record = record;
    kept_texts(&tunnel->record, texts);
    char *at = tunnel->texts;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i]->length == 0) continue;
        const char *copy = at;
        at = mempcpy(at, texts[i]->at, texts[i]->length);
        *texts[i] = slice_of(copy, texts[i]->length);
    }
    return tunnel;
}

static void init_way(struct tunnel *tunnel, struct way *way, enum websocket_closer sender)
{
    way->watch.pass = way_pass;
    way->tunnel = tunnel;
    way->sender = sender;
    body_pipe_init(&way->pipe, tunnel->worker->loop, BODY_LENGTH_UNKNOWN);
    way->pipe.watch = &way->watch;
}

static struct tunnel *create(struct exchange *exchange)
{
    struct tunnel *tunnel = allocate(exchange);
    if (!tunnel) return NULL;
    tunnel->worker = exchange->worker;
    tunnel->task.run = tunnel_task;
    timer_init(&tunnel->timer, tunnel_timer);
    init_way(tunnel, &tunnel->from_client, WEBSOCKET_CLOSER_CLIENT);
    init_way(tunnel, &tunnel->from_backend, WEBSOCKET_CLOSER_BACKEND);
    tunnel->client = (struct tunnel_end){ .from_peer = &tunnel->from_client.pipe,
                                          .to_peer = &tunnel->from_backend.pipe,
                                          .owner_task = &tunnel->task };
    tunnel->backend = (struct tunnel_end){ .from_peer = &tunnel->from_backend.pipe,
                                           .to_peer = &tunnel->from_client.pipe,
                                           .owner_task = &tunnel->task };
    return tunnel;
}

/* What filters would have given back with the exchange. */
static bool take_holds(struct tunnel *tunnel, struct exchange *exchange)
{
    for (uint32_t i = 0; i < exchange->filters_begun; i++) {
        const struct chain_link *link = &exchange->route->chain->links[i];
        struct tunnel_hold *hold = NULL;
        if (LIKELY(!link->filter->tunnel_opens)) continue;
        if (!link->filter->tunnel_opens(exchange, exchange_link_state(exchange, link), &hold)) return false;
        if (!hold) continue;
        hold->next = tunnel->holds;
        tunnel->holds = hold;
    }
    return true;
}

static void release_holds(struct tunnel *tunnel)
{
    while (tunnel->holds) {
        struct tunnel_hold *hold = tunnel->holds;
        tunnel->holds = hold->next;
        hold->release(hold, tunnel->worker);
    }
}

static void destroy(struct tunnel *tunnel)
{
    release_holds(tunnel);
    tunnel_end_close(&tunnel->client, true);
    tunnel_end_close(&tunnel->backend, true);
    upstream_lease_give(&tunnel->lease);
    loop_dequeue(tunnel->worker->loop, &tunnel->task);
    body_pipe_release(&tunnel->from_client.pipe);
    body_pipe_release(&tunnel->from_backend.pipe);
    free(tunnel);
}

static void set_timer(struct tunnel *tunnel, uint64_t deadline_ms)
{
    timer_set(&tunnel->worker->loop->timers, &tunnel->timer, deadline_ms);
}

static uint64_t idle_deadline(const struct tunnel *tunnel)
{
    uint64_t up_ms = tunnel->from_client.moved_ms, down_ms = tunnel->from_backend.moved_ms;
    return (up_ms > down_ms ? up_ms : down_ms) + tunnel->route->tunnel_idle_timeout_ms;
}

static void leave(struct tunnel *, enum websocket_closer);

/* The exchange's own references go with it. */
static void begin(struct tunnel *tunnel, struct exchange *exchange)
{
    struct exchange_worker *worker = tunnel->worker;
    tunnel->route = exchange->route;
    tunnel->service = exchange->service;
    compiled_route_retain(tunnel->route);
    service_retain(tunnel->service);
    exchange->has_tunnel_place = false; /* it is the tunnel's now */
    tunnel->begun_ns = exchange->begun_ns;
    tunnel->record.bytes_out =
        exchange->stream->bytes_out; /* the 101 is out by now, but for a client that takes nothing */
    tunnel->from_client.moved_ms = worker->loop->now_ms;
    list_push_back(&worker->tunnels, &tunnel->link);
    gauge_add(&worker->tunnels_open, 1);
    if (tunnel->route->tunnel_idle_timeout_ms) set_timer(tunnel, idle_deadline(tunnel));
    if (worker->tunnels_leave) leave(tunnel, WEBSOCKET_CLOSER_GATEWAY);
}

bool tunnel_open(struct exchange *exchange, struct error *error)
{
    struct tunnel *tunnel = create(exchange);
    if (!tunnel) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a tunnel");
    if (!take_holds(tunnel, exchange)) {
        destroy(tunnel);
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for what a tunnel holds");
    }
    if (!upstream_call_open_tunnel(exchange->upgraded, &tunnel->backend, &tunnel->lease, error) ||
        !server_stream_open_tunnel(exchange->stream, exchange->response, &tunnel->client, error)) {
        destroy(tunnel);
        return false;
    }
    begin(tunnel, exchange);
    return true;
}

bool exchange_take_tunnel_place(struct exchange *exchange)
{
    struct exchange_worker *worker = exchange->worker;
    if (worker->tunnels_max && worker->tunnel_places >= worker->tunnels_max) return false;
    worker->tunnel_places++;
    exchange->has_tunnel_place = true;
    return true;
}

void tunnel_place_give(struct exchange_worker *worker) { worker->tunnel_places--; }

/* --- what goes by --- */

static void come_back(struct tunnel *tunnel) { loop_enqueue(tunnel->worker->loop, &tunnel->task); }

static void note_closer(struct tunnel *tunnel, enum websocket_closer closer, uint16_t code)
{
    if (tunnel->record.closer != WEBSOCKET_NOT_CLOSED) return;
    tunnel->record.closer = closer;
    tunnel->record.close_code = code;
}

/* As soon as a frame has ended the rest is not for the other side any more. Returns how many of the bytes still are. */
static size_t follow_until_muted(struct way *way, const char *at, size_t length)
{
    size_t followed = 0;
    while (!websocket_is_between_frames(&way->frames) && followed < length)
        followed += websocket_follow(&way->frames, at + followed, length - followed);
    if (!websocket_is_between_frames(&way->frames)) return followed;
    way->muted = true;
    come_back(way->tunnel);
    return followed;
}

static size_t way_pass(struct body_watch *watch, const char *at, size_t length)
{
    struct way *way = CONTAINER_OF(watch, struct way, watch);
    if (way->speaking) return length;
    bool was_closed = way->frames.close_seen;
    way->moved_ms = way->pipe.loop->now_ms;
    way->bytes += length;
    size_t passing = way->muted ? 0 : length;
    size_t followed = 0;
    if (UNLIKELY(way->ends && !way->muted)) passing = followed = follow_until_muted(way, at, length);
    while (followed < length) followed += websocket_follow(&way->frames, at + followed, length - followed);
    if (UNLIKELY(way->frames.close_seen && !was_closed)) {
        note_closer(way->tunnel, way->sender, way->frames.close_code);
        come_back(way->tunnel);
    }
    return passing;
}

/* --- saying goodbye --- */

/* RFC 6455 5.5.1: nothing follows a close frame, so behind the sender's own there is nothing to say; 5.1: masked towards a server. */
static bool say_close(struct way *way)
{
    uint8_t mask[4];
    bool to_backend = way->sender == WEBSOCKET_CLOSER_CLIENT;
    if (way->pipe.state != BODY_OPEN || body_pipe_is_stopped(&way->pipe)) return true;
    if (way->pipe.count == BODY_PIPE_PIECES) return false;
    if (to_backend) random_secure_bytes(mask, sizeof mask);
    size_t length = websocket_write_close(WEBSOCKET_GOING_AWAY, to_backend ? mask : NULL, way->goodbye);
    way->speaking = true;
    body_pipe_push(&way->pipe, NULL, way->goodbye, length);
    way->speaking = false;
    return true;
}

/* False: there was no room; again in a while. */
static bool say_close_where_due(struct way *way)
{
    if (way->said || !way->muted) return true;
    way->said = say_close(way);
    return way->said;
}

static void end_way(struct way *way)
{
    way->ends = true;
    if (way->frames.close_seen)
        way->said = true;
    else
        way->muted = websocket_is_between_frames(&way->frames);
}

static uint64_t bytes_delivered(const struct tunnel *tunnel)
{
    const struct body_pipe *up = &tunnel->from_client.pipe, *down = &tunnel->from_backend.pipe;
    return up->pushed - up->buffered + down->pushed - down->buffered;
}

static void begin_closing(struct tunnel *tunnel)
{
    tunnel->closing_deadline_ms = tunnel->worker->loop->now_ms + CLOSING_MS;
    tunnel->closing_delivered = bytes_delivered(tunnel);
    set_timer(tunnel, tunnel->closing_deadline_ms);
}

static void leave(struct tunnel *tunnel, enum websocket_closer why)
{
    if (tunnel->leaving) return;
    tunnel->leaving = true;
    note_closer(tunnel, why, WEBSOCKET_GOING_AWAY);
    begin_closing(tunnel);
    end_way(&tunnel->from_client);
    end_way(&tunnel->from_backend);
    come_back(tunnel);
}

/* A FIN or worse is an answer, too. */
static bool has_answered(const struct way *way, const struct tunnel_end *end)
{
    return way->said && (way->frames.close_seen || end->events & (TUNNEL_END_FINISHED | TUNNEL_END_GONE));
}

static void say_goodbye(struct tunnel *tunnel)
{
    bool said_to_backend = say_close_where_due(&tunnel->from_client);
    bool said_to_client = say_close_where_due(&tunnel->from_backend);
    if (!said_to_backend || !said_to_client) {
        uint64_t again_ms = tunnel->worker->loop->now_ms + SAY_AGAIN_MS;
        set_timer(tunnel, again_ms < tunnel->closing_deadline_ms ? again_ms : tunnel->closing_deadline_ms);
    }
    if (!has_answered(&tunnel->from_client, &tunnel->client) || !has_answered(&tunnel->from_backend, &tunnel->backend))
        return;
    body_pipe_finish(&tunnel->from_client.pipe, NULL);
    body_pipe_finish(&tunnel->from_backend.pipe, NULL);
}

/* --- the end --- */

static void free_tunnel(struct retired *retired) { free(CONTAINER_OF(retired, struct tunnel, retired)); }

static void write_record(struct tunnel *tunnel)
{
    struct exchange_worker *worker = tunnel->worker;
    struct exchange_record *record = &tunnel->record;
    record->duration_ns = worker->loop->now_ns - tunnel->begun_ns;
    record->bytes_in += tunnel->from_client.bytes;
    record->bytes_out += tunnel->client.bytes_sent;
    metrics_count_websocket_close(worker->metrics, worker->index, record->closer, record->close_code);
    if (worker->access_log && access_log_is_on(worker->access_log)) access_log_append(worker->access_log, record);
}

static void end(struct tunnel *tunnel, bool reset_client, bool reset_backend)
{
    struct exchange_worker *worker = tunnel->worker;
    tunnel_end_close(&tunnel->client, reset_client);
    tunnel_end_close(&tunnel->backend, reset_backend);
    note_closer(tunnel, WEBSOCKET_CLOSER_GATEWAY, WEBSOCKET_ABNORMAL);
    write_record(tunnel);
    upstream_lease_give(&tunnel->lease);
    release_holds(tunnel);
    timer_clear(&worker->loop->timers, &tunnel->timer);
    loop_dequeue(worker->loop, &tunnel->task);
    body_pipe_release(&tunnel->from_client.pipe);
    body_pipe_release(&tunnel->from_backend.pipe);
    snapshot_service_drop(tunnel->route->builder, tunnel->service);
    compiled_route_drop(tunnel->route);
    list_remove(&tunnel->link);
    tunnel_place_give(worker);
    gauge_add(&worker->tunnels_open, -1);
    loop_retire(worker->loop, &tunnel->retired, free_tunnel);
}

static bool has(const struct tunnel_end *end, unsigned events) { return (end->events & events) == events; }

/* `gone` has said all that it will, and the other side got it. Was that side still expecting something? */
static bool is_left_alone(const struct tunnel_end *gone, const struct tunnel_end *other)
{
    return has(gone, TUNNEL_END_GONE) && has(other, TUNNEL_END_SENT);
}

static bool end_if_over(struct tunnel *tunnel)
{
    const struct tunnel_end *client = &tunnel->client, *backend = &tunnel->backend;
    bool both_gone = has(client, TUNNEL_END_GONE) && has(backend, TUNNEL_END_GONE);
    bool both_sent = has(client, TUNNEL_END_SENT) && has(backend, TUNNEL_END_SENT);
    if (!both_gone && !both_sent && !is_left_alone(client, backend) && !is_left_alone(backend, client)) return false;
    end(tunnel, !both_sent && !has(client, TUNNEL_END_FINISHED), !both_sent && !has(backend, TUNNEL_END_FINISHED));
    return true;
}

/* Who ends a connection without a close frame closes it all the same (RFC 6455 7.1.5). */
static void note_silent_end(struct tunnel *tunnel)
{
    if (tunnel->client.events & (TUNNEL_END_FINISHED | TUNNEL_END_BROKEN))
        note_closer(tunnel, WEBSOCKET_CLOSER_CLIENT, WEBSOCKET_ABNORMAL);
    else if (tunnel->backend.events & (TUNNEL_END_FINISHED | TUNNEL_END_BROKEN))
        note_closer(tunnel, WEBSOCKET_CLOSER_BACKEND, WEBSOCKET_ABNORMAL);
}

static bool both_have_closed(const struct tunnel *tunnel)
{
    return tunnel->from_client.frames.close_seen && tunnel->from_backend.frames.close_seen;
}

static bool one_is_gone(const struct tunnel *tunnel)
{
    return (tunnel->client.events | tunnel->backend.events) & TUNNEL_END_GONE;
}

static void tunnel_task(struct task *task)
{
    struct tunnel *tunnel = CONTAINER_OF(task, struct tunnel, task);
    note_silent_end(tunnel);
    if (end_if_over(tunnel)) return;
    if (tunnel->leaving) say_goodbye(tunnel);
    if (!tunnel->closing_deadline_ms && (both_have_closed(tunnel) || one_is_gone(tunnel))) begin_closing(tunnel);
}

/* A slow reader gets what its peer has sent before it closed. */
static bool still_moves(const struct tunnel *tunnel)
{
    uint32_t waiting = tunnel->from_client.pipe.buffered + tunnel->from_backend.pipe.buffered;
    return waiting > 0 && bytes_delivered(tunnel) != tunnel->closing_delivered;
}

static void closing_timer(struct tunnel *tunnel)
{
    if (tunnel->worker->loop->now_ms < tunnel->closing_deadline_ms) {
        set_timer(tunnel, tunnel->closing_deadline_ms);
        if (tunnel->leaving) say_goodbye(tunnel);
    } else if (!tunnel->leaving && still_moves(tunnel)) {
        begin_closing(tunnel);
    } else {
        end(tunnel, false, false);
    }
}

static void tunnel_timer(struct timer *timer)
{
    struct tunnel *tunnel = CONTAINER_OF(timer, struct tunnel, timer);
    if (tunnel->closing_deadline_ms)
        closing_timer(tunnel);
    else if (tunnel->worker->loop->now_ms >= idle_deadline(tunnel))
        leave(tunnel, WEBSOCKET_CLOSER_TIMEOUT);
    else
        set_timer(tunnel, idle_deadline(tunnel));
}

void exchange_worker_end_tunnels(struct exchange_worker *worker)
{
    worker->tunnels_leave = true;
    struct list_link *next;
    for (struct list_link *link = worker->tunnels.next; link != &worker->tunnels; link = next) {
        next = link->next;
        leave(CONTAINER_OF(link, struct tunnel, link), WEBSOCKET_CLOSER_GATEWAY);
    }
}
