/* One request and its answer. The owner's calls hand frames to nghttp2 and note; what the owner is told are bits and its task. */
#include "http/h2_server_private.h"

#include "http/grpc.h"
#include "http/refusal.h"
#include "http/status.h"
#include "http/websocket.h"

static const struct server_stream_operations slot_operations;
static const struct h2_stream_operations stream_operations;

static struct h2_slot *slot_of(struct server_stream *stream) { return CONTAINER_OF(stream, struct h2_slot, stream); }

static struct h2_slot *slot_on(struct h2_stream *stream) { return CONTAINER_OF(stream, struct h2_slot, h2); }

struct h2_slot *h2_slot_of(struct h2_stream *stream)
{
    return stream->operations == &stream_operations ? slot_on(stream) : NULL;
}

static bool no_memory(struct error *error, const char *what)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for %s", what);
}

/* --- beginning and end --- */

static void init_streams(struct h2_slot *slot, struct h2_server *server, int32_t id)
{
    slot->h2.operations = &stream_operations;
    slot->h2.connection = server;
    slot->h2.arena = &slot->arena;
    slot->h2.id = id;
    h2_outflow_init(&slot->h2.out);
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
    if (!slot) return NULL;
    slot->arena = arena;
    init_streams(slot, server, id);
    if (h2_server_add(server, &slot->h2)) return slot;
    arena_release(&arena);
    return NULL;
}

static void destroy(struct h2_slot *slot)
{
    struct h2_server *server = slot->h2.connection;
    h2_stream_release(&slot->h2);
    if (slot->h2.in == &slot->in) h2_inflow_release(&slot->in);
    if (slot->body) body_pipe_release(slot->body);
    h2_server_remove(server, &slot->h2);
    struct arena arena = slot->arena; /* the slot itself is in it */
    arena_release(&arena);
}

static void tell_owner(struct h2_slot *slot, unsigned event)
{
    slot->stream.events |= (uint8_t)event;
    if (slot->stream.owner_task) loop_enqueue(slot->stream.loop, slot->stream.owner_task);
}

/* --- the request --- */

static void refuse(struct h2_slot *, const struct error *);

/* Until a tunnel is opened what comes for it is held. */
static bool expect_content(struct h2_slot *slot, struct error *error)
{
    const struct request_head *request = &slot->stream.request;
    h2_inflow_init(&slot->in, &slot->h2);
    slot->content_max = UINT64_MAX;
    if (request->wants_upgrade) return true;
    slot->body = arena_allocate(&slot->arena, sizeof *slot->body);
    if (!slot->body) return no_memory(error, "a request's body");
    body_pipe_init(slot->body, slot->stream.loop, request->body_length);
    slot->content_max = h2_server_settings_of(slot->h2.connection)->body_bytes_max;
    slot->stream.request_body = slot->body;
    h2_inflow_set_pipe(&slot->in, slot->body);
    h2_server_arm(slot->h2.connection, slot->in.moved_ms + h2_server_settings_of(slot->h2.connection)->body_timeout_ms);
    return true;
}

static bool check_request(struct h2_slot *slot, struct error *error)
{
    struct request_head *request = &slot->stream.request;
    uint64_t body_bytes_max = h2_server_settings_of(slot->h2.connection)->body_bytes_max;
    if (!h2_reader_end_request(&slot->reader, slot->h2.client_ended, request, error)) return false;
    bool is_counted = request->has_body && request->body_length != BODY_LENGTH_UNKNOWN;
    if (is_counted && request->body_length > body_bytes_max)
        return error_set(error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large",
                         "a request body of %llu bytes, more than %llu", (unsigned long long)request->body_length,
                         (unsigned long long)body_bytes_max);
    bool has_content = request->wants_upgrade || (request->has_body && request->body_length > 0);
    return !has_content || expect_content(slot, error);
}

void h2_slot_begin(struct h2_slot *slot)
{
    struct h2_server *server = slot->h2.connection;
    struct error error;
    slot->stream.begun_ns = slot->stream.loop->now_ns;
    if (!check_request(slot, &error)) {
        refuse(slot, &error);
        return;
    }
    if (slot->h2.client_ended && slot->h2.in) h2_inflow_end(slot->h2.in, NULL);
    slot->opened = true;
    server->events->open(&server->session, &slot->stream, server->owner); /* may have ended everything */
}

static void receive(struct h2_stream *stream, const char *at, size_t length)
{
    struct h2_slot *slot = slot_on(stream);
    slot->stream.bytes_in += length;
    slot->content += length;
    if (stream->in && slot->content > slot->content_max) {
        struct error error;
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large", "a body of more than %llu bytes",
                  (unsigned long long)slot->content_max);
        h2_inflow_break(stream->in, &error);
    }
    if (stream->in)
        h2_inflow_take(stream->in, slice_of(at, length));
    else
        nghttp2_session_consume_connection(stream->connection->h2, length);
}

void h2_slot_take_trailers(struct h2_slot *slot)
{
    struct h2_inflow *in = slot->h2.in;
    struct error error;
    if (!in) return;
    if (!h2_reader_end_trailers(&slot->reader, BLAME_CLIENT, &error))
        h2_inflow_break(in, &error);
    else
        h2_inflow_end(in, headers_next(&slot->trailers, NULL) ? &slot->trailers : NULL);
}

static void finished(struct h2_stream *stream) { (void)stream; }

/* --- the answer --- */

static bool send_fields(struct h2_slot *slot, const struct response_head *head, bool has_content, struct error *error)
{
    struct h2_server *server = slot->h2.connection;
    struct h2_fields fields;
    if (!h2_write_response(head, slice_from_cstring(server->worker->date), &slot->arena, &fields, error)) return false;
    const nghttp2_data_provider *content = has_content ? &h2_server_content : NULL;
    if (nghttp2_submit_response(server->h2, slot->h2.id, fields.items, fields.count, content) != 0)
        return no_memory(error, "an answer's head");
    slot->answering = true;
    h2_server_flush_soon(server);
    return true;
}

/* `body`: what the consumer's end of is taken; NULL: none. */
static bool send_answer(struct h2_slot *slot, const struct response_head *head, struct body_pipe *body,
                        struct error *error)
{
    if (!send_fields(slot, head, body != NULL, error)) return false;
    slot->h2.out.left = head->body_length;
    if (body) h2_outflow_begin(&slot->h2, body);
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
    if (slot->h2.gone) return swallow(body);
    PROMISE(!slot->answering);
    bool has_body = body && stream->request.method != METHOD_HEAD && !status_has_no_content(head->status);
    h2_settle_length(head, stream->request.method, has_body);
    if (!send_answer(slot, head, has_body ? body : NULL, error)) return false;
    if (!has_body) swallow(body);
    return true;
}

/* RFC 8441 5: 200 says what 101 says in HTTP/1.1, and the proof of having understood belongs to that alone. */
static bool slot_open_tunnel(struct server_stream *stream, struct response_head *head, struct tunnel_end *end,
                             struct error *error)
{
    struct h2_slot *slot = slot_of(stream);
    PROMISE(!slot->answering && stream->request.wants_upgrade);
    struct h2_tunnel *tunnel = h2_tunnel_create(slot, end);
    if (!tunnel) return no_memory(error, "a tunnel");
    if (slot->h2.gone) {
        h2_tunnel_destroy(tunnel, TUNNEL_END_GONE | TUNNEL_END_BROKEN);
        return true;
    }
    struct response_head answer = *head;
    answer.status = 200;
    answer.body_length = BODY_LENGTH_UNKNOWN;
    headers_remove(&answer.headers, WEBSOCKET_ACCEPT_FIELD);
    slot->h2.two_way = true;
    if (!send_fields(slot, &answer, true, error)) {
        slot->h2.two_way = false;
        end->operations = NULL;
        h2_tunnel_destroy(tunnel, 0);
        return false;
    }
    slot->tunnel = tunnel;
    return true;
}

/* --- interim heads --- */

static bool awaits_continue(const struct h2_slot *slot)
{
    return slot->stream.request.expects_continue && !slot->continue_sent && slot->body && slot->content == 0 &&
           !slot->in.ended;
}

static void send_interim(struct h2_slot *slot, const struct response_head *head)
{
    struct error error;
    struct h2_fields fields;
    struct h2_server *server = slot->h2.connection;
    if (!h2_write_response(head, SLICE_ABSENT, &slot->arena, &fields, &error)) return;
    nghttp2_submit_headers(server->h2, NGHTTP2_FLAG_NONE, slot->h2.id, NULL, fields.items, fields.count, NULL);
    h2_server_flush_soon(server);
}

static void send_continue(struct h2_slot *slot)
{
    struct response_head head;
    response_head_init(&head, &slot->arena);
    head.status = 100;
    slot->continue_sent = true;
    slot->in.moved_ms = slot->stream.loop->now_ms;
    h2_server_arm(slot->h2.connection, slot->in.moved_ms + h2_server_settings_of(slot->h2.connection)->body_timeout_ms);
    send_interim(slot, &head);
}

/* Somebody wants the body and no backend has said so before. */
static void wanted(struct h2_stream *stream)
{
    struct h2_slot *slot = slot_on(stream);
    if (!stream->gone && !slot->answering && awaits_continue(slot)) send_continue(slot);
}

static void slot_send_interim(struct server_stream *stream, const struct response_head *head)
{
    struct h2_slot *slot = slot_of(stream);
    if (slot->h2.gone || slot->answering || head->status < 100 || head->status >= 200 || head->status == 101) return;
    if (head->status != 100)
        send_interim(slot, head);
    else if (awaits_continue(slot))
        send_continue(slot);
}

/* --- refusing --- */

static void tell_refused(struct h2_slot *slot, const struct error *error, struct slice request_id, uint64_t bytes_out)
{
    struct h2_server *server = slot->h2.connection;
    struct server_refusal refusal = { &slot->stream.request, request_id, error, slot->stream.bytes_in, bytes_out };
    server->events->refused(&server->session, &refusal, server->owner);
}

void h2_slot_tell_refused(struct h2_slot *slot, const struct error *error)
{
    char id[REQUEST_ID_BYTES];
    request_id_write(&slot->h2.connection->worker->ids, id);
    tell_refused(slot, error, slice_of(id, sizeof id), 0);
}

/* To who asks in gRPC it is said so. False: no memory. */
static bool send_grpc_refusal(struct h2_slot *slot, const struct error *error, struct slice request_id)
{
    struct response_head head;
    struct error failure;
    struct slice text = arena_join(
        &slot->arena, (struct slice[]){ slice_from_cstring(error->reason), SLICE(", request "), request_id }, 3);
    response_head_init(&head, &slot->arena);
    return !slice_is_absent(text) && grpc_refuse(&head, grpc_status_of_http(error->status), text) &&
           send_answer(slot, &head, NULL, &failure);
}

static bool asks_in_grpc(const struct h2_slot *slot)
{
    struct slice message;
    return grpc_type_parse(headers_value(&slot->stream.request.headers, HEADER_CONTENT_TYPE), &message);
}

/* False: no memory. */
static bool send_refusal(struct h2_slot *slot, const struct error *error, struct slice request_id, uint64_t *length)
{
    struct response_head head;
    struct error failure;
    char *text = arena_allocate(&slot->arena, REFUSAL_BYTES_MAX);
    struct body_pipe *body = arena_allocate(&slot->arena, sizeof *body);
    *length = 0;
    if (asks_in_grpc(slot)) return send_grpc_refusal(slot, error, request_id);
    if (!text || !body) return false;
    *length = refusal_write(error, request_id, text);
    response_head_init(&head, &slot->arena);
    head.status = error->status;
    head.body_length = *length;
    if (!headers_add_known(&head.headers, HEADER_CONTENT_TYPE, SLICE("application/problem+json")) ||
        (error->status == 503 && !headers_add_known(&head.headers, HEADER_RETRY_AFTER, SLICE(REFUSAL_RETRY_AFTER))))
        return false;
    if (slot->stream.request.method == METHOD_HEAD) return send_answer(slot, &head, NULL, &failure);
    body_pipe_init(body, slot->stream.loop, *length);
    body_pipe_push(body, NULL, text, *length);
    body_pipe_finish(body, NULL);
    return send_answer(slot, &head, body, &failure);
}

/* --- the end --- */

static void lose(struct h2_stream *stream)
{
    struct h2_slot *slot = slot_on(stream);
    stream->gone = true;
    if (stream->connection->heading == stream) stream->connection->heading = NULL;
    list_remove(&stream->out.ending_link);
    h2_outflow_stop(stream);
    if (slot->tunnel) {
        h2_tunnel_destroy(slot->tunnel, TUNNEL_END_GONE | TUNNEL_END_BROKEN);
        slot->tunnel = NULL;
    } else if (stream->in) {
        struct error error;
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 0, "client-gone", "the client went away");
        h2_inflow_break(stream->in, &error);
        if (slot->body) body_pipe_detach_producer(slot->body);
    }
    if (slot->opened)
        tell_owner(slot, SERVER_STREAM_GONE);
    else
        destroy(slot);
}

/* What has gone out must not look complete. */
static void cut(struct h2_stream *stream)
{
    h2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
    lose(stream);
}

static void refuse(struct h2_slot *slot, const struct error *error)
{
    char id[REQUEST_ID_BYTES];
    request_id_write(&slot->h2.connection->worker->ids, id);
    struct slice request_id = slice_of(id, sizeof id);
    uint64_t length = 0;
    slot->refused = true;
    bool is_sent = send_refusal(slot, error, request_id, &length);
    tell_refused(slot, error, request_id, is_sent ? length : 0);
    if (!is_sent) cut(&slot->h2);
}

static void sent(struct h2_stream *stream)
{
    struct h2_slot *slot = slot_on(stream);
    slot->answered = true;
    h2_guard_note_use(&stream->connection->guard, H2_USE_ANSWER);
    if (slot->refused)
        destroy(slot);
    else
        tell_owner(slot, SERVER_STREAM_SENT);
}

static void slot_reset(struct server_stream *stream)
{
    struct h2_slot *slot = slot_of(stream);
    if (!slot->h2.gone) cut(&slot->h2);
}

/* An answer whose end was gathered goes out whatever becomes of the slot. */
static void slot_release(struct server_stream *stream)
{
    struct h2_slot *slot = slot_of(stream);
    stream->owner_task = NULL;
    if (slot->body) body_pipe_detach_consumer(slot->body);
    if (slot->tunnel && slot->answered)
        h2_tunnel_begin(slot->tunnel);
    else if (slot->tunnel)
        h2_tunnel_destroy(slot->tunnel, TUNNEL_END_GONE);
    if (!slot->h2.gone && !slot->h2.out.ended && !(slot->tunnel && slot->answered))
        h2_stream_reset(&slot->h2, NGHTTP2_INTERNAL_ERROR);
    destroy(slot);
}

static const struct server_stream_operations slot_operations = {
    .send_interim = slot_send_interim,
    .send_head = slot_send_head,
    .open_tunnel = slot_open_tunnel,
    .reset = slot_reset,
    .release = slot_release,
};

/* --- time --- */

/* Nobody can blame a client that waits to be asked. */
static uint64_t body_deadline(const struct h2_slot *slot)
{
    if (!slot->body || !h2_inflow_waits(&slot->in) || awaits_continue(slot)) return UINT64_MAX;
    return slot->in.moved_ms + h2_server_settings_of(slot->h2.connection)->body_timeout_ms;
}

static void give_body_up(struct h2_slot *slot)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "body-timeout", "no byte of the request's body for %u ms",
              h2_server_settings_of(slot->h2.connection)->body_timeout_ms);
    h2_inflow_break(&slot->in, &error);
}

static uint64_t look_at_time(struct h2_stream *stream)
{
    struct h2_slot *slot = slot_on(stream);
    uint64_t now_ms = h2_server_now(stream->connection);
    if (stream->gone) return UINT64_MAX;
    if (now_ms >= body_deadline(slot)) give_body_up(slot);
    if (now_ms >= h2_outflow_deadline(stream)) {
        h2_stream_reset(stream, NGHTTP2_CANCEL);
        lose(stream);
        return UINT64_MAX;
    }
    uint64_t body_ms = body_deadline(slot), out_ms = h2_outflow_deadline(stream);
    return body_ms < out_ms ? body_ms : out_ms;
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
