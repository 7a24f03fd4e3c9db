/* One request and its answer. The owner's calls hand frames to nghttp2 and note; what the owner is told are bits and its task. */
#include "http/h2_server_private.h"

#include "http/refusal.h"
#include "http/status.h"

static const struct server_stream_operations slot_operations;
static void answer_changed(struct task *);

static struct h2_slot *slot_of(struct server_stream *stream) { return CONTAINER_OF(stream, struct h2_slot, stream); }

/* Does nghttp2 still know it, and does anybody listen? */
static bool is_usable(const struct h2_slot *slot) { return !slot->closed && slot->connection->state == H2_SERVER_OPEN; }

/* --- beginning --- */

static void init_stream(struct h2_slot *slot)
{
    struct h2_server *server = slot->connection;
    slot->stream.operations = &slot_operations;
    slot->stream.loop = server->worker->loop;
    slot->stream.arena = &slot->arena;
    slot->stream.peer = server->peer;
    request_head_init(&slot->stream.request, &slot->arena);
    headers_init(&slot->trailers, &slot->arena);
    h2_reader_init(&slot->reader, &slot->stream.request.headers, &h2_server_settings_of(server)->limits);
}

struct h2_slot *h2_slot_create(struct h2_server *server, int32_t id)
{
    struct arena arena;
    if (memory_ceiling_is_beyond(server->worker->arenas->ceiling, 15)) return NULL;
    arena_init(&arena, server->worker->arenas);
    struct h2_slot *slot = arena_allocate_zeroed(&arena, sizeof *slot);
    bool is_promised = slot && (server->slot_count > 0 || slab_reserve_init(&server->reserve, server->worker->slabs));
    if (!is_promised) {
        arena_release(&arena);
        return NULL;
    }
    slot->arena = arena;
    slot->connection = server;
    slot->id = id;
    slot->answer_left = BODY_LENGTH_UNKNOWN;
    slot->end_at = UINT64_MAX;
    slot->answer_task.run = answer_changed;
    list_init(&slot->ending_link);
    init_stream(slot);
    list_push_back(&server->slots, &slot->link);
    server->slot_count++;
    return slot;
}

void h2_slot_destroy(struct h2_slot *slot)
{
    struct h2_server *server = slot->connection;
    if (is_usable(slot)) nghttp2_session_set_stream_user_data(server->h2, slot->id, NULL);
    if (server->heading == slot) server->heading = NULL;
    if (server->content_slot == slot) server->content_slot = NULL;
    loop_dequeue(slot->stream.loop, &slot->answer_task);
    if (slot->answer) body_pipe_detach_consumer(slot->answer);
    h2_body_release(slot);
    list_remove(&slot->link);
    list_remove(&slot->ending_link);
    struct arena arena = slot->arena; /* the slot itself is in it */
    arena_release(&arena);
    h2_server_slot_gone(server);
}

static void tell_owner(struct h2_slot *slot, unsigned event)
{
    slot->stream.events |= (uint8_t)event;
    if (slot->stream.owner_task) loop_enqueue(slot->stream.loop, slot->stream.owner_task);
}

static bool check_and_take_body(struct h2_slot *slot, bool ended, struct error *error)
{
    struct request_head *request = &slot->stream.request;
    const struct server_settings *settings = h2_server_settings_of(slot->connection);
    if (!h2_reader_end_request(&slot->reader, ended, request, error)) return false;
    bool is_counted = request->has_body && request->body_length != BODY_LENGTH_UNKNOWN;
    if (is_counted && request->body_length > settings->body_bytes_max)
        return error_set(error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large",
                         "a request body of %llu bytes, more than %llu", (unsigned long long)request->body_length,
                         (unsigned long long)settings->body_bytes_max);
    if (!request->has_body || request->body_length == 0) return true;
    if (!h2_body_create(slot, request->body_length))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's body");
    slot->stream.request_body = &slot->body->pipe;
    h2_server_arm(slot->connection, h2_body_deadline(slot));
    return true;
}

void h2_slot_begin(struct h2_slot *slot, bool ended)
{
    struct h2_server *server = slot->connection;
    struct error error;
    slot->stream.begun_ns = slot->stream.loop->now_ns;
    slot->client_ended = ended;
    if (!check_and_take_body(slot, ended, &error)) {
        h2_slot_refuse(slot, &error);
        return;
    }
    slot->opened = true;
    server->events->open(&server->session, &slot->stream, server->owner); /* may have ended everything */
}

/* --- the answer --- */

/* RFC 9113 8.1.1, or a backend that broke off: what has gone out must not look complete. */
static void reset(struct h2_slot *slot, uint32_t code)
{
    if (!is_usable(slot)) return;
    nghttp2_submit_rst_stream(slot->connection->h2, NGHTTP2_FLAG_NONE, slot->id, code);
    h2_server_flush_soon(slot->connection);
}

static void cut(struct h2_slot *slot)
{
    reset(slot, NGHTTP2_INTERNAL_ERROR);
    h2_slot_lose(slot);
}

static bool send_fields(struct h2_slot *slot, const struct response_head *head, struct error *error)
{
    struct h2_fields fields;
    struct slice date = slice_from_cstring(slot->connection->worker->date);
    if (!h2_write_response(head, date, &slot->arena, &fields, error)) return false;
    const nghttp2_data_provider *content = slot->answer ? &h2_server_content : NULL;
    if (nghttp2_submit_response(slot->connection->h2, slot->id, fields.items, fields.count, content) != 0)
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an answer's head");
    return true;
}

/* `body`: NULL, or what the consumer's end of is taken. */
static bool send_answer(struct h2_slot *slot, const struct response_head *head, struct body_pipe *body, uint64_t length,
                        struct error *error)
{
    slot->answer = body;
    slot->answer_left = length;
    if (!send_fields(slot, head, error)) {
        slot->answer = NULL;
        return false;
    }
    slot->answering = true;
    slot->written_ms = slot->stream.loop->now_ms;
    slot->starved = body && body->count == 0 && body->state == BODY_OPEN;
    if (body) {
        if (body->splice) body_pipe_decline_splice(body);
        body_pipe_attach_consumer(body, &slot->answer_task);
        h2_server_arm(slot->connection, slot->written_ms + h2_server_settings_of(slot->connection)->idle_timeout_ms);
    }
    h2_server_flush_soon(slot->connection);
    return true;
}

static bool swallow(struct body_pipe *body)
{
    if (body) body_pipe_stop(body);
    return true;
}

static bool slot_send_head(struct server_stream *stream, struct response_head *head, struct body_pipe *body,
                           struct error *error)
{
    struct h2_slot *slot = slot_of(stream);
    if (slot->gone) return swallow(body);
    PROMISE(!slot->answering);
    bool has_body = body && stream->request.method != METHOD_HEAD && !status_has_no_content(head->status);
    h2_settle_length(head, stream->request.method, has_body);
    if (!send_answer(slot, head, has_body ? body : NULL, head->body_length, error)) return false;
    if (!has_body) swallow(body);
    return true;
}

/* RFC 8441 5: 200 says what 101 says in HTTP/1.1, and the proof of having understood belongs to that alone. */
static bool slot_open_tunnel(struct server_stream *stream, struct response_head *head, struct body_pipe *to_client,
                             struct error *error)
{
    struct h2_slot *slot = slot_of(stream);
    if (slot->gone) return swallow(to_client);
    PROMISE(!slot->answering && stream->request.wants_upgrade);
    if (!slot->body && !h2_body_create(slot, BODY_LENGTH_UNKNOWN))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a tunnel");
    struct response_head answer = *head;
    answer.status = 200;
    answer.body_length = BODY_LENGTH_UNKNOWN;
    headers_remove(&answer.headers, SLICE("Sec-WebSocket-Accept"));
    if (!send_answer(slot, &answer, to_client, BODY_LENGTH_UNKNOWN, error)) return false;
    slot->tunnel = true;
    stream->request_body = &slot->body->pipe;
    if (slot->client_ended) h2_slot_end_request(slot, NULL);
    return true;
}

/* --- interim heads --- */

static bool awaits_continue(const struct h2_slot *slot)
{
    return slot->stream.request.expects_continue && !slot->continue_sent && slot->body && slot->body->content == 0 &&
           !slot->body->ended;
}

static void send_interim(struct h2_slot *slot, const struct response_head *head)
{
    struct error error;
    struct h2_fields fields;
    if (!h2_write_response(head, SLICE_ABSENT, &slot->arena, &fields, &error)) return;
    nghttp2_submit_headers(slot->connection->h2, NGHTTP2_FLAG_NONE, slot->id, NULL, fields.items, fields.count, NULL);
    h2_server_flush_soon(slot->connection);
}

static void send_continue(struct h2_slot *slot)
{
    struct response_head head;
    response_head_init(&head, &slot->arena);
    head.status = 100;
    slot->continue_sent = true;
    slot->body->moved_ms = slot->stream.loop->now_ms;
    send_interim(slot, &head);
}

/* Somebody wants the body and no backend has said so before. */
void h2_slot_body_wanted(struct h2_slot *slot)
{
    if (!slot->gone && !slot->answering && awaits_continue(slot)) send_continue(slot);
}

static void slot_send_interim(struct server_stream *stream, const struct response_head *head)
{
    struct h2_slot *slot = slot_of(stream);
    if (slot->gone || slot->answering || head->status < 100 || head->status >= 200 || head->status == 101) return;
    if (head->status != 100)
        send_interim(slot, head);
    else if (awaits_continue(slot))
        send_continue(slot);
}

/* --- content --- */

static size_t available_in(const struct body_pipe *pipe, size_t limit)
{
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(pipe, pieces, BODY_PIPE_PIECES);
    size_t available = 0;
    for (int i = 0; i < count && available <= limit; i++) available += pieces[i].iov_len;
    return available;
}

/* False: there is no memory for them, or a filter made one that can't be sent. */
static bool send_trailers(struct h2_slot *slot, const struct headers *trailers)
{
    struct h2_fields fields;
    struct error error;
    if (!h2_write_trailers(trailers, &slot->arena, &fields, &error)) return false;
    return nghttp2_submit_trailer(slot->connection->h2, slot->id, fields.items, fields.count) == 0;
}

/* The last of the content; trailers end the stream after it. */
static bool end_content(struct h2_slot *slot, uint32_t *flags)
{
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    const struct headers *trailers = slot->answer->trailers;
    if (!trailers || !headers_next(trailers, NULL)) return true;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return send_trailers(slot, trailers);
}

ssize_t h2_slot_next_content(struct h2_slot *slot, size_t limit, uint32_t *flags)
{
    struct body_pipe *pipe = slot->answer;
    if (slot->gone || !pipe || pipe->state == BODY_ABORTED) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t available = available_in(pipe, limit), length = available < limit ? available : limit;
    bool is_last = pipe->state == BODY_FINISHED && available <= limit;
    slot->starved = available <= limit && !is_last;
    if (length == 0 && !is_last) return NGHTTP2_ERR_DEFERRED;
    if (slot->answer_left != BODY_LENGTH_UNKNOWN) {
        bool fits = length <= slot->answer_left && (!is_last || length == slot->answer_left);
        if (!fits) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        slot->answer_left -= length;
    }
    if (is_last && !end_content(slot, flags)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    slot->written_ms = slot->stream.loop->now_ms;
    return (ssize_t)length;
}

/* New content, its end, or its abort. */
static void answer_changed(struct task *task)
{
    struct h2_slot *slot = CONTAINER_OF(task, struct h2_slot, answer_task);
    if (slot->gone || slot->ended || !is_usable(slot)) return;
    if (slot->answer->state == BODY_ABORTED) {
        cut(slot);
        return;
    }
    if (!slot->starved) return;
    slot->starved = false;
    slot->written_ms = slot->stream.loop->now_ms;
    nghttp2_session_resume_data(slot->connection->h2, slot->id);
    h2_server_flush_soon(slot->connection);
    h2_server_arm(slot->connection, slot->written_ms + h2_server_settings_of(slot->connection)->idle_timeout_ms);
}

/* RFC 9113 8.1: whoever still sends its request is told that it isn't needed. A tunnel has two ends. */
void h2_slot_ended(struct h2_slot *slot, uint64_t end_at)
{
    slot->ended = true;
    slot->end_at = end_at;
    list_push_back(&slot->connection->ending, &slot->ending_link);
    if (slot->answer) body_pipe_detach_consumer(slot->answer);
    slot->answer = NULL;
    if (!slot->client_ended && !slot->tunnel) reset(slot, NGHTTP2_NO_ERROR);
}

void h2_slot_sent(struct h2_slot *slot)
{
    slot->answered = true;
    h2_guard_note_use(&slot->connection->guard, H2_USE_ANSWER);
    if (slot->refused)
        h2_slot_destroy(slot);
    else
        tell_owner(slot, SERVER_STREAM_SENT);
}

/* --- refusing --- */

static void tell_refused(struct h2_slot *slot, const struct error *error, struct slice request_id, uint64_t bytes_out)
{
    struct h2_server *server = slot->connection;
    struct server_refusal refusal = { &slot->stream.request, request_id, error, slot->stream.bytes_in, bytes_out };
    server->events->refused(&server->session, &refusal, server->owner);
}

void h2_slot_tell_refused(struct h2_slot *slot, const struct error *error)
{
    char id[REQUEST_ID_BYTES];
    request_id_write(&slot->connection->worker->ids, id);
    tell_refused(slot, error, slice_of(id, sizeof id), 0);
}

/* False: no memory. */
static bool send_refusal(struct h2_slot *slot, const struct error *error, struct slice request_id, uint64_t *length)
{
    struct response_head head;
    struct error failure;
    char *text = arena_allocate(&slot->arena, REFUSAL_BYTES_MAX);
    struct body_pipe *body = arena_allocate(&slot->arena, sizeof *body);
    if (!text || !body) return false;
    *length = refusal_write(error, request_id, text);
    response_head_init(&head, &slot->arena);
    head.status = error->status;
    head.body_length = *length;
    if (!headers_add_known(&head.headers, HEADER_CONTENT_TYPE, SLICE("application/problem+json")) ||
        (error->status == 503 && !headers_add_known(&head.headers, HEADER_RETRY_AFTER, SLICE(REFUSAL_RETRY_AFTER))))
        return false;
    if (slot->stream.request.method == METHOD_HEAD) return send_answer(slot, &head, NULL, *length, &failure);
    body_pipe_init(body, slot->stream.loop, *length);
    body_pipe_push(body, NULL, text, *length);
    body_pipe_finish(body, NULL);
    return send_answer(slot, &head, body, *length, &failure);
}

void h2_slot_refuse(struct h2_slot *slot, const struct error *error)
{
    char id[REQUEST_ID_BYTES];
    request_id_write(&slot->connection->worker->ids, id);
    struct slice request_id = slice_of(id, sizeof id);
    uint64_t length = 0;
    slot->refused = true;
    bool is_sent = send_refusal(slot, error, request_id, &length);
    tell_refused(slot, error, request_id, is_sent ? length : 0);
    if (!is_sent) cut(slot);
}

/* --- the end --- */

static void slot_reset(struct server_stream *stream)
{
    struct h2_slot *slot = slot_of(stream);
    if (!slot->gone) cut(slot);
}

/* An answer whose end was gathered goes out whatever becomes of the slot. */
static void slot_release(struct server_stream *stream)
{
    struct h2_slot *slot = slot_of(stream);
    stream->owner_task = NULL;
    if (slot->body) body_pipe_detach_consumer(&slot->body->pipe);
    if (!slot->gone && !slot->ended) reset(slot, NGHTTP2_INTERNAL_ERROR);
    if (!slot->gone && slot->tunnel && slot->ended && !slot->client_ended) reset(slot, NGHTTP2_NO_ERROR);
    h2_slot_destroy(slot);
}

void h2_slot_lose(struct h2_slot *slot)
{
    struct body_pipe *answer = slot->answer;
    slot->gone = true;
    slot->answer = NULL;
    if (slot->connection->heading == slot) slot->connection->heading = NULL;
    list_remove(&slot->ending_link);
    if (answer) {
        body_pipe_detach_consumer(answer);
        body_pipe_stop(answer);
    }
    if (slot->body) {
        struct error error;
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 0, "client-gone", "the client went away");
        h2_body_break(slot, &error);
        body_pipe_detach_producer(&slot->body->pipe);
    }
    if (slot->opened)
        tell_owner(slot, SERVER_STREAM_GONE);
    else
        h2_slot_destroy(slot);
}

static const struct server_stream_operations slot_operations = {
    .send_interim = slot_send_interim,
    .send_head = slot_send_head,
    .open_tunnel = slot_open_tunnel,
    .reset = slot_reset,
    .release = slot_release,
};

/* --- time --- */

/* There is something to send, the socket takes it, and yet it doesn't go: the client opens no window for it. */
static uint64_t stall_deadline(const struct h2_slot *slot)
{
    const struct h2_server *server = slot->connection;
    bool client_is_waited_for = slot->answering && !slot->ended && !slot->starved && !h2_output_waits(&server->output);
    if (!client_is_waited_for) return UINT64_MAX;
    uint64_t since_ms = slot->written_ms > server->unblocked_ms ? slot->written_ms : server->unblocked_ms;
    return since_ms + h2_server_settings_of(server)->idle_timeout_ms;
}

static void give_body_up(struct h2_slot *slot)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "body-timeout", "no byte of the request's body for %u ms",
              h2_server_settings_of(slot->connection)->body_timeout_ms);
    h2_body_break(slot, &error);
}

uint64_t h2_slot_look_at_time(struct h2_slot *slot)
{
    uint64_t now_ms = slot->stream.loop->now_ms;
    if (slot->gone) return UINT64_MAX;
    if (now_ms >= h2_body_deadline(slot)) give_body_up(slot);
    if (now_ms >= stall_deadline(slot)) {
        reset(slot, NGHTTP2_CANCEL);
        h2_slot_lose(slot);
        return UINT64_MAX;
    }
    uint64_t body_ms = h2_body_deadline(slot), stall_ms = stall_deadline(slot);
    return body_ms < stall_ms ? body_ms : stall_ms;
}
