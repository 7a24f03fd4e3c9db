/* A stream of a backend's HTTP/2 connection as one end of a tunnel (RFC 8441): its content both ways, free of any message. */
#include "http/h2_client_private.h"

static void owner_closes(struct tunnel_end *, bool reset);

static const struct tunnel_end_operations end_operations = { .close = owner_closes };

static void tell_owner(struct h2_client_slot *slot, unsigned events)
{
    slot->end->events |= (uint8_t)events;
    if (events) loop_enqueue(slot->client->worker->loop, slot->end->owner_task);
}

/* Pieces that came early move over, with their slabs. Both pipes are as large. */
static void move_pieces(struct body_pipe *from, struct body_pipe *to)
{
    struct body_piece piece;
    while (body_pipe_take(from, &piece)) body_pipe_push(to, piece.slab, piece.at, piece.length);
}

bool h2_client_open_tunnel(struct client_connection *connection, struct client_stream *stream, struct tunnel_end *end)
{
    struct h2_client *client = h2_client_of(connection);
    struct h2_client_slot *slot = h2_client_slot_find(client, stream);
    if (!slab_reserve_init(&slot->tunnel_reserve, client->worker->slabs)) return false;
    slot->reserve = &slot->tunnel_reserve;
    end->operations = &end_operations;
    end->session = slot;
    end->bytes_sent = 0;
    end->events = 0;
    slot->end = end;
    slot->stream = NULL;
    stream->connection = NULL;
    stream->request_sent = true;
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);

    body_pipe_detach_producer(&stream->response_body);
    move_pieces(&stream->response_body, end->from_peer);
    slot->in = end->from_peer;
    slot->in->credit_wanted = true; /* they may be all that the window let come */
    slot->in->producer_task = &slot->task;
    h2_client_slot_send(slot, end->to_peer);
    if (slot->end_received) h2_client_tunnel_finished(slot);
    loop_enqueue(client->worker->loop, &slot->task);
    return true;
}

/* The owner hears no more of it after these events. */
static void end_tunnel(struct h2_client_slot *slot, unsigned events, uint32_t code)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tunnel-broken", "a side of a tunnel broke off");
    body_pipe_abort(slot->in, &error); /* where it has not finished */
    slab_reserve_release(&slot->tunnel_reserve);
    tell_owner(slot, events);
    slot->end = NULL;
    h2_client_slot_detach(slot, code);
}

static void owner_closes(struct tunnel_end *end, bool reset)
{
    end_tunnel(end->session, 0, reset ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
}

static void end_if_over(struct h2_client_slot *slot)
{
    if (slot->end_sent && slot->end_received) end_tunnel(slot, TUNNEL_END_GONE, NGHTTP2_NO_ERROR);
}

void h2_client_tunnel_finished(struct h2_client_slot *slot)
{
    body_pipe_finish(slot->in, NULL);
    tell_owner(slot, TUNNEL_END_FINISHED);
    end_if_over(slot);
}

void h2_client_tunnel_sent(struct h2_client_slot *slot)
{
    tell_owner(slot, TUNNEL_END_SENT);
    end_if_over(slot);
}

void h2_client_tunnel_cut(struct h2_client_slot *slot) { end_tunnel(slot, TUNNEL_END_GONE, NGHTTP2_CANCEL); }

void h2_client_tunnel_lost(struct h2_client_slot *slot)
{
    end_tunnel(slot, TUNNEL_END_BROKEN | TUNNEL_END_GONE, NGHTTP2_CANCEL);
}
