/* A request's content on its way from the connection's reads into its pipe, and the client's window on its way back.
 *
 * What the client may send is what the pipe has room for, but pieces are few: small content is copied together, and where there are
 * no pieces left what comes is held here, in one slab at most. The window is given back as the content is consumed. */
#include "http/h2_server_private.h"

/* Longer content is worth a piece of its own, by reference. */
#define COPY_BYTES_MAX 2048

static void produce(struct task *);

bool h2_body_create(struct h2_slot *slot, uint64_t length)
{
    struct h2_request_body *body = arena_allocate_zeroed(&slot->arena, sizeof *body);
    if (!body) return false;
    body->slot = slot;
    body->task.run = produce;
    body_pipe_init(&body->pipe, slot->stream.loop, length);
    body->pipe.producer_task = &body->task;
    body->content_max = slot->stream.request.wants_upgrade ? UINT64_MAX
                                                           : h2_server_settings_of(slot->connection)->body_bytes_max;
    body->moved_ms = slot->stream.loop->now_ms;
    slot->body = body;
    return true;
}

/* --- the client's window --- */

static void give_window_back(struct h2_request_body *body, uint32_t length)
{
    struct h2_slot *slot = body->slot;
    bool was_exhausted = body->outstanding > H2_STREAM_WINDOW / 2;
    body->outstanding -= length;
    if (slot->connection->state != H2_SERVER_OPEN) return;
    if (was_exhausted) { /* until now it waited for us */
        body->moved_ms = slot->stream.loop->now_ms;
        h2_server_arm(slot->connection, h2_body_deadline(slot));
    }
    if (slot->closed || body->broken)
        nghttp2_session_consume_connection(slot->connection->h2, length);
    else
        nghttp2_session_consume(slot->connection->h2, slot->id, length);
    h2_server_flush_soon(slot->connection);
}

/* A rewound pipe holds again what it gave away before: that isn't given back twice. */
static void look_what_was_consumed(struct h2_request_body *body)
{
    uint64_t consumed = body->pipe.pushed - body->pipe.buffered;
    if (consumed <= body->given) return;
    uint64_t length = consumed - body->given;
    body->given = consumed;
    give_window_back(body, (uint32_t)length);
}

/* --- into the pipe --- */

void h2_body_break(struct h2_slot *slot, const struct error *error)
{
    struct h2_request_body *body = slot->body;
    if (body->broken) return;
    body->broken = true;
    slab_drop(body->held);
    body->held = NULL;
    body_pipe_abort(&body->pipe, error);
    if (body->outstanding > 0) give_window_back(body, body->outstanding);
}

static void lack_memory(struct h2_slot *slot)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's body");
    h2_body_break(slot, &error);
}

/* The pipe has no room: 64 KiB hold all that the client may send. */
static void hold(struct h2_slot *slot, struct slice bytes)
{
    struct h2_request_body *body = slot->body;
    body->pipe.credit_wanted = true;
    if (!body->held) {
        body->held = slab_take(slot->connection->worker->slabs, SLAB_MEDIUM);
        body->held_start = 0;
    }
    struct slab *held = body->held;
    if (!held || held->size - held->filled < bytes.length) {
        lack_memory(slot);
        return;
    }
    memcpy(held->bytes + held->filled, bytes.at, bytes.length);
    held->filled += (uint32_t)bytes.length;
}

static void push_reference(struct h2_slot *slot, const char *at, size_t length)
{
    struct h2_server *server = slot->connection;
    slab_retain(server->input);
    body_pipe_push(&slot->body->pipe, server->input, at, length);
    server->content_slot = slot;
    server->content_end = server->input->bytes + (at - server->input->bytes) + length;
}

/* Moved down to the content before it in the same slab, over frame heads that nobody needs any more. False: it isn't this stream's. */
static bool close_up(struct h2_slot *slot, struct slice bytes)
{
    struct h2_server *server = slot->connection;
    if (server->content_slot != slot || slot->body->pipe.count == 0) return false;
    char *at = server->content_end;
    memmove(at, bytes.at, bytes.length);
    push_reference(slot, at, bytes.length);
    return true;
}

static void push(struct h2_slot *slot, struct slice bytes)
{
    struct h2_request_body *body = slot->body;
    if (body->held || body_pipe_credit(&body->pipe) < bytes.length) {
        hold(slot, bytes);
        return;
    }
    bool is_copied = bytes.length <= COPY_BYTES_MAX &&
                     (close_up(slot, bytes) ||
                      body_pipe_push_copy(&body->pipe, slot->connection->worker->slabs, bytes));
    if (!is_copied) push_reference(slot, bytes.at, bytes.length);
    body->pipe.credit_wanted = true; /* each time that half of it was consumed the window is given back */
}

static void finish(struct h2_request_body *body)
{
    if (body->ended && !body->held && !body->broken) body_pipe_finish(&body->pipe, body->trailers);
}

static void push_held(struct h2_request_body *body)
{
    while (body->held) {
        struct slab *held = body->held;
        size_t credit = body_pipe_credit(&body->pipe), left = held->filled - body->held_start;
        size_t length = credit < left ? credit : left;
        if (length == 0) return;
        slab_retain(held);
        body_pipe_push(&body->pipe, held, held->bytes + body->held_start, length);
        body->pipe.credit_wanted = true;
        body->held_start += (uint32_t)length;
        if (length < left) continue;
        slab_drop(held);
        body->held = NULL;
    }
    finish(body);
}

/* The consumer wants no more: what is held goes nowhere. */
static void drop_unwanted(struct h2_request_body *body)
{
    if (!body_pipe_is_stopped(&body->pipe)) return;
    slab_drop(body->held);
    body->held = NULL;
    finish(body);
}

/* The consumer has taken some, has come, or wants no more. */
static void produce(struct task *task)
{
    struct h2_request_body *body = CONTAINER_OF(task, struct h2_request_body, task);
    if (body->broken) return;
    look_what_was_consumed(body);
    drop_unwanted(body);
    push_held(body);
    if (body->pipe.attached) h2_slot_body_wanted(body->slot);
}

/* Content that nobody takes is given back to the connection, so that other streams go on, but not to its stream. */
void h2_slot_receive(struct h2_slot *slot, const char *at, size_t length)
{
    struct h2_server *server = slot->connection;
    struct h2_request_body *body = slot->body;
    slot->stream.bytes_in += length;
    h2_guard_note_use(&server->guard, H2_USE_CONTENT_RECEIVED);
    if (!body && slot->stream.request.wants_upgrade && slot->opened && h2_body_create(slot, BODY_LENGTH_UNKNOWN))
        body = slot->body;
    if (!body || body->broken || body_pipe_is_stopped(&body->pipe)) {
        nghttp2_session_consume_connection(server->h2, length);
        return;
    }
    body->content += length;
    body->outstanding += (uint32_t)length;
    body->moved_ms = slot->stream.loop->now_ms;
    if (body->content <= body->content_max) {
        push(slot, slice_of(at, length));
        return;
    }
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large", "a body of more than %llu bytes",
              (unsigned long long)body->content_max);
    h2_body_break(slot, &error);
}

/* Where memory is short trailers are left out (RFC 9110 6.5.1). */
void h2_slot_end_request(struct h2_slot *slot, struct h2_field_reader *trailers)
{
    struct h2_request_body *body = slot->body;
    slot->client_ended = true;
    if (!body || body->broken) return;
    struct error error;
    if (trailers && !h2_reader_end_trailers(trailers, BLAME_CLIENT, &error)) {
        h2_body_break(slot, &error);
        return;
    }
    if (trailers && headers_next(trailers->headers, NULL)) body->trailers = trailers->headers;
    body->ended = true;
    finish(body);
}

/* --- time and end --- */

uint64_t h2_body_deadline(const struct h2_slot *slot)
{
    const struct h2_request_body *body = slot->body;
    bool client_is_waited_for = body && !body->ended && !body->broken && !slot->tunnel &&
                                !body_pipe_is_stopped(&body->pipe) && body->outstanding <= H2_STREAM_WINDOW / 2;
    if (!client_is_waited_for || slot->stream.request.wants_upgrade) return UINT64_MAX;
    return body->moved_ms + h2_server_settings_of(slot->connection)->body_timeout_ms;
}

void h2_body_release(struct h2_slot *slot)
{
    struct h2_request_body *body = slot->body;
    if (!body) return;
    loop_dequeue(slot->stream.loop, &body->task);
    slab_drop(body->held);
    body->held = NULL;
    body->broken = true; /* its stream has gone or goes now */
    if (body->outstanding > 0) give_window_back(body, body->outstanding);
    body_pipe_release(&body->pipe);
}
