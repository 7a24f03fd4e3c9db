/* A stream after the 200 to an extended CONNECT (RFC 8441), on a backend's connection. The request that opened it has gone; the slot stays.
 * END_STREAM is a FIN, RST_STREAM an RST (RFC 8441 5). */
#include "http/h2_client_private.h"

static void owner_closes(struct tunnel_end *, bool reset);

static const struct tunnel_end_operations operations = { .close = owner_closes };

static void tell_owner(struct h2_client_slot *slot, unsigned events)
{
    slot->end->events |= (uint8_t)events;
    loop_enqueue(slot->client->worker->loop, slot->end->owner_task);
}

static struct h2_client_slot *slot_of_stream(struct h2_client *client, const struct client_stream *stream)
{
    for (struct list_link *link = client->slots.next; link != &client->slots; link = link->next) {
        struct h2_client_slot *slot = CONTAINER_OF(link, struct h2_client_slot, link);
        if (slot->stream == stream) return slot;
    }
    return NULL;
}

static void finish_receiving(struct h2_client_slot *slot)
{
    body_pipe_finish(slot->in, NULL);
    tell_owner(slot, TUNNEL_END_FINISHED);
}

/* What the backend has sent behind its answer goes first. */
static void move_content(struct h2_client_slot *slot, struct body_pipe *from)
{
    struct body_piece piece;
    while (body_pipe_take(from, &piece)) body_pipe_push(slot->in, piece.slab, piece.at, piece.length);
    slot->returned = 0;
}

/* It stays a stream on the connection, for the pool as well. */
bool h2_client_open_tunnel(struct client_connection *connection, struct client_stream *stream, struct tunnel_end *end)
{
    struct h2_client *client = h2_client_of(connection);
    struct h2_client_slot *slot = slot_of_stream(client, stream);
    PROMISE(slot && slot->is_two_way);
    if (!slab_reserve_init(&slot->tunnel_reserve, client->worker->slabs)) return false;
    end->operations = &operations;
    end->session = slot;
    end->bytes_sent = 0;
    end->events = 0;
    slot->end = end;
    slot->in = end->from_peer;
    slot->out = end->to_peer;
    slot->reserve = &slot->tunnel_reserve;
    slot->in->producer_task = &slot->task;
    move_content(slot, &stream->response_body);
    body_pipe_detach_producer(&stream->response_body);
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    stream->connection = NULL;
    slot->stream = NULL;
    h2_slot_send_body(slot);
    if (slot->end_received) finish_receiving(slot);
    loop_enqueue(client->worker->loop, &slot->task);
    return true;
}

/* Lets go of pipes and end. `code`: why, for a backend that isn't done with the stream. */
static void leave(struct h2_client_slot *slot, uint32_t code)
{
    struct h2_client *client = slot->client;
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tunnel-broken", "a side of a tunnel broke off");
    h2_slot_stop_sending(slot);
    body_pipe_abort(slot->in, &error); /* where it has not finished */
    body_pipe_detach_producer(slot->in);
    slab_reserve_release(&slot->tunnel_reserve);
    loop_dequeue(client->worker->loop, &slot->task);
    if (client->pause.slot == slot) client->pause.slot = NULL;
    slot->end = NULL;
    slot->in = slot->out = NULL;
    if (--client->open_count == 0) slab_reserve_release(&client->input_reserve);
    client->left_count++;
    bool is_over = slot->is_forgotten || (slot->end_sent && slot->end_received);
    if (!is_over && !client->broken && nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, slot->id, code))
        client->complaint = "out of memory";
    h2_client_come_back(client);
}

static void owner_closes(struct tunnel_end *end, bool reset)
{
    leave(end->session, reset ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
}

void h2_tunnel_cut(struct h2_client_slot *slot)
{
    tell_owner(slot, TUNNEL_END_GONE);
    leave(slot, NGHTTP2_CANCEL);
}

void h2_tunnel_lose(struct h2_client_slot *slot)
{
    bool is_over = slot->end_sent && slot->end_received;
    tell_owner(slot, TUNNEL_END_GONE | (is_over ? 0u : TUNNEL_END_BROKEN));
    leave(slot, NGHTTP2_CANCEL);
}

void h2_tunnel_note_sent(struct h2_client_slot *slot)
{
    if (slot->end->events & TUNNEL_END_SENT) return;
    h2_slot_stop_sending(slot);
    tell_owner(slot, TUNNEL_END_SENT);
}

void h2_tunnel_take_frame(struct h2_client_slot *slot, const nghttp2_frame *frame)
{
    if (frame->hd.type == NGHTTP2_RST_STREAM) slot->was_reset = true;
    bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
                  (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS);
    if (!is_end || slot->end_received) return;
    slot->end_received = true;
    finish_receiving(slot);
}
