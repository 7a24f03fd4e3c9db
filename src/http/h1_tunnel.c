#include "http/h1_tunnel.h"

#include <stdlib.h>

/* Of one direction, before others get their turn: a peer may send faster than the other takes. */
#define READS_A_TURN 16
#define WRITES_A_RUN 16
/* A slab with less room than this is left for a new one. */
#define ROOM_BYTES_MIN 2048

static void owner_closes(struct tunnel_end *end, bool reset)
{
    struct h1_tunnel *tunnel = end->session;
    tunnel->owner_closes(tunnel, reset);
}

static const struct tunnel_end_operations operations = { .close = owner_closes };

static void tell_owner(struct h1_tunnel *tunnel, unsigned event)
{
    struct tunnel_end *end = tunnel->end;
    end->events |= (uint8_t)event;
    end->bytes_sent = tunnel->bytes_sent;
    loop_enqueue(tunnel->worker->loop, end->owner_task);
}

struct h1_tunnel *h1_tunnel_create(struct http_worker *worker, struct stream *stream, struct h1_input *input,
                                   struct task *task, struct tunnel_end *end)
{
    struct h1_tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (!tunnel) return NULL;
    if (!slab_reserve_init(&tunnel->reserve, worker->slabs)) {
        free(tunnel);
        return NULL;
    }
    tunnel->stream = stream;
    tunnel->from_peer = end->from_peer;
    tunnel->to_peer = end->to_peer;
    tunnel->worker = worker;
    tunnel->input = input;
    tunnel->end = end;
    tunnel->task = task;
    end->operations = &operations;
    end->session = tunnel;
    end->bytes_sent = 0;
    end->events = 0;
    return tunnel;
}

/* What has come behind the heads is little, and needs no credit. */
void h1_tunnel_begin(struct h1_tunnel *tunnel)
{
    struct slice early = h1_input_bytes(tunnel->input);
    tunnel->from_peer->producer_task = tunnel->task;
    body_pipe_attach_consumer(tunnel->to_peer, tunnel->task);
    if (early.length > 0) {
        slab_retain(tunnel->input->slab);
        body_pipe_push(tunnel->from_peer, tunnel->input->slab, early.at, early.length);
    }
    h1_input_drop(tunnel->input);
    loop_enqueue(tunnel->worker->loop, tunnel->task);
}

static void abort_from_peer(struct h1_tunnel *tunnel)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tunnel-broken", "a side of a tunnel broke off");
    body_pipe_abort(tunnel->from_peer, &error);
}

void h1_tunnel_destroy(struct h1_tunnel *tunnel, bool tell)
{
    if (!tunnel) return;
    tunnel->end->bytes_sent = tunnel->bytes_sent;
    body_pipe_detach_consumer(tunnel->to_peer);
    abort_from_peer(tunnel); /* where it has not finished */
    body_pipe_detach_producer(tunnel->from_peer);
    slab_reserve_release(&tunnel->reserve);
    if (tell) tell_owner(tunnel, TUNNEL_END_GONE | (tunnel->peer_broke ? TUNNEL_END_BROKEN : 0u));
    free(tunnel);
}

/* --- to the peer --- */

/* The peer has closed for good. What it sent before is read on; whoever sends to it can stop. */
static void give_writing_up(struct h1_tunnel *tunnel)
{
    body_pipe_stop(tunnel->to_peer);
    tunnel->blocked = false;
    tunnel->write_over = tunnel->write_broken = tunnel->peer_broke = true;
}

static void finish_writing(struct h1_tunnel *tunnel)
{
    stream_finish_writing(tunnel->stream);
    tunnel->write_over = true;
    tell_owner(tunnel, TUNNEL_END_SENT);
}

/* The other side has broken off. */
static void break_off(struct h1_tunnel *tunnel)
{
    tunnel->read_over = tunnel->write_over = tunnel->write_broken = tunnel->reset = true;
}

/* All that the pipe holds in one call. False: nothing more can be written now. */
static bool write_once(struct h1_tunnel *tunnel)
{
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(tunnel->to_peer, pieces, BODY_PIPE_PIECES);
    size_t moved;
    switch (stream_write(tunnel->stream, pieces, count, &moved)) {
    case STREAM_OK:
        tunnel->bytes_sent += moved;
        body_pipe_consume(tunnel->to_peer, moved);
        return true;
    case STREAM_WAIT: tunnel->blocked = true; return false;
    default: give_writing_up(tunnel); return false;
    }
}

static enum h1_tunnel_result write_on(struct h1_tunnel *tunnel)
{
    const struct body_pipe *pipe = tunnel->to_peer;
    if (tunnel->write_over) return H1_TUNNEL_WAIT;
    tunnel->blocked = false;
    for (int i = 0; pipe->count > 0; i++) {
        if (i == WRITES_A_RUN) return H1_TUNNEL_AGAIN;
        if (!write_once(tunnel)) return H1_TUNNEL_WAIT;
    }
    if (UNLIKELY(pipe->state == BODY_FINISHED)) finish_writing(tunnel);
    if (UNLIKELY(pipe->state == BODY_ABORTED)) break_off(tunnel);
    return H1_TUNNEL_WAIT;
}

/* --- from the peer --- */

/* All that has come was passed on, so the slab is for others now. Where pieces pile up before a slow peer the next ones go behind them in
 * the same slab, or each would keep one of its own; then the pipe tells when it has emptied. */
static enum h1_tunnel_result wait_for_more(struct h1_tunnel *tunnel)
{
    if (UNLIKELY(tunnel->from_peer->count > 1))
        tunnel->from_peer->credit_wanted = true;
    else
        h1_input_drop(tunnel->input);
    return H1_TUNNEL_WAIT;
}

/* What the reserve gave may still be in the pipe: it will be free when that is empty. */
static enum h1_tunnel_result wait_for_memory(struct h1_tunnel *tunnel)
{
    if (tunnel->from_peer->buffered == 0) return H1_TUNNEL_STARVED;
    tunnel->from_peer->credit_wanted = true;
    return H1_TUNNEL_WAIT;
}

/* At the ceiling what is left of the slab at hand is used up, then the reserve. */
static bool make_room(struct h1_tunnel *tunnel)
{
    struct h1_input *input = tunnel->input;
    struct slab *slab = input->slab;
    if (slab && slab->references == 1) slab->filled = 0; /* everybody else has dropped it */
    if (slab && slab->size - slab->filled >= ROOM_BYTES_MIN) return true;
    struct slab *fresh = h1_take_slab(tunnel->worker->slabs, tunnel->was_filled ? SLAB_MEDIUM : SLAB_SMALL);
    if (!fresh && slab && slab->filled < slab->size) return true;
    h1_input_drop(input);
    input->slab = fresh ? fresh : slab_reserve_take(&tunnel->reserve);
    return input->slab != NULL;
}

/* Small credit while much is still buffered would make small reads: better wait for more of it. */
static size_t credit_worth_a_read(struct body_pipe *pipe)
{
    size_t credit = body_pipe_credit(pipe);
    if (credit >= pipe->window / 4 || pipe->buffered <= pipe->window / 2) return credit;
    pipe->credit_wanted = true;
    return 0;
}

static enum stream_result read_into_pipe(struct h1_tunnel *tunnel, size_t credit)
{
    struct slab *slab = tunnel->input->slab;
    size_t room = slab->size - slab->filled, moved;
    char *at = slab->bytes + slab->filled;
    enum stream_result result = stream_read(tunnel->stream, at, room < credit ? room : credit, &moved);
    if (result != STREAM_OK) return result;
    slab->filled += (uint32_t)moved;
    tunnel->was_filled = slab->filled == slab->size;
    slab_retain(slab);
    body_pipe_push(tunnel->from_peer, slab, at, moved);
    return STREAM_OK;
}

static void end_reading(struct h1_tunnel *tunnel)
{
    tunnel->read_over = true;
    h1_input_drop(tunnel->input);
}

static void finish_reading(struct h1_tunnel *tunnel)
{
    end_reading(tunnel);
    body_pipe_finish(tunnel->from_peer, NULL);
    tell_owner(tunnel, TUNNEL_END_FINISHED);
}

/* The peer has reset, or ended TLS without saying so. Many do that, and what a tunnel carries has words of its own for an end. */
static void reading_failed(struct h1_tunnel *tunnel)
{
    if (!tunnel->stream->failed) {
        finish_reading(tunnel);
        return;
    }
    end_reading(tunnel);
    tunnel->write_over = tunnel->write_broken = tunnel->peer_broke = true;
}

static enum h1_tunnel_result read_on(struct h1_tunnel *tunnel)
{
    while (!tunnel->read_over) {
        if (body_pipe_is_stopped(tunnel->from_peer)) { /* the other side takes nothing any more */
            end_reading(tunnel);
            break;
        }
        if (!tunnel->stream->may_read && !tunnel->stream->failed) return wait_for_more(tunnel);
        size_t credit = credit_worth_a_read(tunnel->from_peer);
        if (credit == 0) return H1_TUNNEL_WAIT;
        if (turn_share_use(&tunnel->reads, tunnel->worker->loop) >= READS_A_TURN) return H1_TUNNEL_AGAIN;
        if (!make_room(tunnel)) return wait_for_memory(tunnel);
        switch (read_into_pipe(tunnel, credit)) {
        case STREAM_OK: break;
        case STREAM_WAIT: return wait_for_more(tunnel);
        case STREAM_END: finish_reading(tunnel); break;
        case STREAM_FAIL: reading_failed(tunnel); break;
        }
    }
    return H1_TUNNEL_WAIT;
}

static bool may_read(const struct h1_tunnel *tunnel)
{
    return tunnel->stream->may_read || tunnel->stream->failed || tunnel->input->slab;
}

static enum h1_tunnel_result read_where_due(struct h1_tunnel *tunnel)
{
    enum h1_tunnel_result result = may_read(tunnel) ? read_on(tunnel) : H1_TUNNEL_WAIT;
    if (UNLIKELY(tunnel->read_over && tunnel->stream->failed && !tunnel->write_over)) give_writing_up(tunnel);
    return tunnel->read_over && tunnel->write_broken ? H1_TUNNEL_OVER : result;
}

enum h1_tunnel_result h1_tunnel_ready(struct h1_tunnel *tunnel)
{
    bool more_to_write = tunnel->blocked && write_on(tunnel) == H1_TUNNEL_AGAIN;
    enum h1_tunnel_result result = read_where_due(tunnel);
    return more_to_write && result == H1_TUNNEL_WAIT ? H1_TUNNEL_AGAIN : result;
}

enum h1_tunnel_result h1_tunnel_run(struct h1_tunnel *tunnel)
{
    bool more_to_write = write_on(tunnel) == H1_TUNNEL_AGAIN;
    enum h1_tunnel_result result = read_where_due(tunnel);
    return more_to_write && result == H1_TUNNEL_WAIT ? H1_TUNNEL_AGAIN : result;
}
