#include "http/h1_tunnel.h"

#include <stdlib.h>

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
    loop_enqueue(tunnel->reader.worker->loop, end->owner_task);
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
    tunnel->end = end;
    tunnel->task = task;
    h1_reader_init(&tunnel->reader, worker, stream, input, end->from_peer, NULL, false, BODY_LENGTH_UNKNOWN, NULL);
    tunnel->reader.reserve = &tunnel->reserve;
    h1_writer_init(&tunnel->writer, worker, stream, NULL);
    end->operations = &operations;
    end->session = tunnel;
    end->bytes_sent = 0;
    end->events = 0;
    return tunnel;
}

void h1_tunnel_begin(struct h1_tunnel *tunnel)
{
    struct tunnel_end *end = tunnel->end;
    end->from_peer->producer_task = tunnel->task;
    h1_writer_set_body(&tunnel->writer, end->to_peer, H1_FRAMING_UNTIL_CLOSE, BODY_LENGTH_UNKNOWN, tunnel->task);
    loop_enqueue(tunnel->reader.worker->loop, tunnel->task);
}

static void abort_from_peer(struct h1_tunnel *tunnel)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tunnel-broken", "a side of a tunnel broke off");
    body_pipe_abort(tunnel->end->from_peer, &error);
}

void h1_tunnel_destroy(struct h1_tunnel *tunnel, bool tell)
{
    if (!tunnel) return;
    h1_writer_release(&tunnel->writer);
    abort_from_peer(tunnel); /* where it has not finished */
    body_pipe_detach_producer(tunnel->end->from_peer);
    slab_reserve_release(&tunnel->reserve);
    if (tell) tell_owner(tunnel, TUNNEL_END_GONE | (tunnel->peer_broke ? TUNNEL_END_BROKEN : 0u));
    free(tunnel);
}

/* --- to the peer --- */

/* The peer has closed for good. What it sent before is read on; whoever sends to it can stop. */
static void give_writing_up(struct h1_tunnel *tunnel)
{
    struct body_pipe *pipe = tunnel->writer.pipe;
    h1_writer_release(&tunnel->writer);
    if (pipe) body_pipe_stop(pipe);
    tunnel->write_over = tunnel->write_broken = tunnel->peer_broke = true;
}

/* False: comes back in the next turn. */
static bool write_on(struct h1_tunnel *tunnel)
{
    if (tunnel->write_over) return true;
    enum h1_write_result result = h1_writer_run(&tunnel->writer);
    tunnel->end->bytes_sent = tunnel->writer.sent;
    switch (result) {
    case H1_WRITE_DONE:
        stream_finish_writing(tunnel->writer.stream);
        tunnel->write_over = true;
        tell_owner(tunnel, TUNNEL_END_SENT);
        break;
    case H1_WRITE_FAILED: give_writing_up(tunnel); break;
    case H1_WRITE_CUT: /* the other side has broken off */
        tunnel->read_over = tunnel->write_over = tunnel->write_broken = tunnel->reset = true;
        break;
    case H1_WRITE_AGAIN: return false;
    case H1_WRITE_BLOCKED:
    case H1_WRITE_STARVED: break;
    }
    return true;
}

/* --- from the peer --- */

/* All that has come was passed on, so the slab is for others now. Where pieces pile up before a slow peer the next ones go behind them in
 * the same slab, or each would keep one of its own; then the pipe tells when it has emptied. */
static void keep_no_slab(struct h1_tunnel *tunnel)
{
    struct body_pipe *pipe = tunnel->reader.pipe;
    if (pipe->count > 1)
        pipe->credit_wanted = true;
    else
        h1_input_drop(tunnel->reader.input);
}

static enum h1_tunnel_result read_on(struct h1_tunnel *tunnel)
{
    struct error error;
    if (tunnel->read_over) return H1_TUNNEL_WAIT;
    switch (h1_reader_run(&tunnel->reader, &error)) {
    case H1_READ_WAIT: keep_no_slab(tunnel); return H1_TUNNEL_WAIT;
    case H1_READ_NO_CREDIT: return H1_TUNNEL_WAIT;
    case H1_READ_NO_MEMORY: return H1_TUNNEL_STARVED;
    case H1_READ_AGAIN: return H1_TUNNEL_AGAIN;
    case H1_READ_OVER:
        tunnel->read_over = true;
        h1_input_drop(tunnel->reader.input);
        tell_owner(tunnel, TUNNEL_END_FINISHED);
        return H1_TUNNEL_WAIT;
    case H1_READ_TRUNCATED:
    case H1_READ_BAD: tunnel->write_over = tunnel->write_broken = tunnel->peer_broke = true; break;
    case H1_READ_UNWANTED: break; /* the other side takes nothing any more */
    }
    tunnel->read_over = true;
    h1_input_drop(tunnel->reader.input);
    return H1_TUNNEL_WAIT;
}

enum h1_tunnel_result h1_tunnel_run(struct h1_tunnel *tunnel)
{
    bool more_to_write = !write_on(tunnel);
    enum h1_tunnel_result result = read_on(tunnel);
    if (tunnel->read_over && tunnel->reader.stream->failed && !tunnel->write_over) give_writing_up(tunnel);
    if (tunnel->read_over && tunnel->write_broken) return H1_TUNNEL_OVER;
    return more_to_write ? H1_TUNNEL_AGAIN : result;
}
