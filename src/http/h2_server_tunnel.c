/* A stream after the 200 to an extended CONNECT (RFC 8441). It outlives the request that opened it, whose slot and arena go: what is kept
 * is this struct. END_STREAM is a FIN, RST_STREAM an RST (RFC 8441 5); how long nothing may happen is the owner's affair. */
#include "http/h2_server_private.h"

#include <stdlib.h>

struct h2_tunnel {
    struct h2_stream h2;
    struct h2_inflow in;
    struct tunnel_end *end;
    struct h2_slot *slot; /* until the tunnel begins; NULL then */
};

static const struct h2_stream_operations stream_operations;
static void owner_closes(struct tunnel_end *, bool reset);
static const struct tunnel_end_operations end_operations = { .close = owner_closes };

static struct h2_tunnel *tunnel_on(struct h2_stream *stream) { return CONTAINER_OF(stream, struct h2_tunnel, h2); }

static void tell_owner(struct h2_tunnel *tunnel, unsigned events)
{
    struct tunnel_end *end = tunnel->end;
    end->events |= (uint8_t)events;
    if (events) loop_enqueue(tunnel->h2.connection->worker->loop, end->owner_task);
}

/* What the client has sent already is held in the slot's inflow. */
struct h2_tunnel *h2_tunnel_create(struct h2_slot *slot, struct tunnel_end *end)
{
    struct h2_tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (!tunnel) return NULL;
    struct h2_stream *stream = &tunnel->h2;
    stream->operations = &stream_operations;
    stream->connection = slot->h2.connection;
    stream->id = slot->h2.id;
    stream->two_way = true;
    h2_outflow_init(&stream->out);
    tunnel->end = end;
    tunnel->slot = slot;
    end->operations = &end_operations;
    end->session = tunnel;
    end->bytes_sent = 0;
    end->events = 0;
    return tunnel;
}

/* There was no memory for what came before it began: a tunnel with a hole in it is none. */
static void give_up(struct h2_tunnel *tunnel)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a tunnel");
    body_pipe_abort(tunnel->end->from_peer, &error);
    h2_stream_reset(&tunnel->h2, NGHTTP2_INTERNAL_ERROR);
    h2_tunnel_destroy(tunnel, TUNNEL_END_GONE);
}

void h2_tunnel_begin(struct h2_tunnel *tunnel)
{
    struct h2_stream *stream = &tunnel->h2;
    struct h2_slot *slot = tunnel->slot;
    struct h2_server *server = stream->connection;
    tunnel->slot = NULL;
    stream->client_ended = slot->h2.client_ended;
    stream->closed = slot->h2.closed;
    tunnel->in = slot->in;
    tunnel->in.stream = stream;
    stream->in = &tunnel->in;
    slot->h2.in = NULL;
    nghttp2_session_set_stream_user_data(server->h2, stream->id, stream);
    bool is_added = h2_server_add(server, stream); /* the slot is still there: nothing has to be promised */
    PROMISE(is_added);
    h2_outflow_begin(stream, tunnel->end->to_peer);
    nghttp2_session_resume_data(server->h2, stream->id);
    h2_server_flush_soon(server);
    h2_inflow_set_pipe(&tunnel->in, tunnel->end->from_peer);
    if (UNLIKELY(tunnel->in.broken)) give_up(tunnel);
}

/* One that hasn't begun has neither pipes nor a place among the connection's streams yet. */
void h2_tunnel_destroy(struct h2_tunnel *tunnel, unsigned events)
{
    struct h2_stream *stream = &tunnel->h2;
    struct h2_server *server = stream->connection;
    bool has_begun = !tunnel->slot;
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tunnel-broken", "a side of a tunnel broke off");
    stream->gone = true;
    if (has_begun) {
        h2_stream_release(stream);
        h2_inflow_break(&tunnel->in, &error);
        h2_inflow_release(&tunnel->in);
    } else if (events) {
        body_pipe_abort(tunnel->end->from_peer, &error);
    }
    tell_owner(tunnel, events);
    if (has_begun) h2_server_remove(server, stream);
    free(tunnel);
}

static void owner_closes(struct tunnel_end *end, bool reset)
{
    struct h2_tunnel *tunnel = end->session;
    bool has_begun = !tunnel->slot, is_over = tunnel->h2.out.ended && tunnel->h2.client_ended;
    if (has_begun && !is_over) h2_stream_reset(&tunnel->h2, reset ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    if (!has_begun) tunnel->slot->tunnel = NULL;
    h2_tunnel_destroy(tunnel, 0);
}

/* --- what happens on the stream --- */

void h2_tunnel_note_content(struct h2_stream *stream, size_t length) { tunnel_on(stream)->end->bytes_sent += length; }

static void receive(struct h2_stream *stream, const char *at, size_t length)
{
    h2_inflow_take(stream->in, slice_of(at, length));
}

static void wanted(struct h2_stream *stream) { (void)stream; }

static void finished(struct h2_stream *stream) { tell_owner(tunnel_on(stream), TUNNEL_END_FINISHED); }

static void sent(struct h2_stream *stream) { tell_owner(tunnel_on(stream), TUNNEL_END_SENT); }

/* The other side has broken off. */
static void cut(struct h2_stream *stream)
{
    h2_stream_reset(stream, NGHTTP2_CANCEL);
    h2_tunnel_destroy(tunnel_on(stream), TUNNEL_END_GONE);
}

static void lose(struct h2_stream *stream)
{
    bool client_broke = stream->connection->client_left || stream->connection->state == H2_SERVER_OPEN;
    h2_tunnel_destroy(tunnel_on(stream), TUNNEL_END_GONE | (client_broke ? TUNNEL_END_BROKEN : 0u));
}

static uint64_t look_at_time(struct h2_stream *stream)
{
    (void)stream;
    return UINT64_MAX;
}

static const struct h2_stream_operations stream_operations = {
    .receive = receive,
    .wanted = wanted,
    .finished = finished,
    .sent = sent,
    .cut = cut,
    .lose = lose,
    .look_at_time = look_at_time,
};
