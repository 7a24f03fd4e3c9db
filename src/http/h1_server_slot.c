/* One request and its answer. The owner's calls only write and note; what the owner is told are bits and its task. Everything that has to
 * happen later comes back through the connection's task or event to h1_slot_advance(). */
#include "http/h1_server_private.h"

#include "http/status.h"

/* What is left of a request's body after the answer is read away up to here, so that the connection can be kept. */
#define DISCARD_BYTES_MAX (256 * 1024)
#define MEMORY_RETRY_MS 20

static const struct server_stream_operations slot_operations;

static struct h1_slot *slot_of(struct server_stream *stream) { return CONTAINER_OF(stream, struct h1_slot, stream); }

static void come_back_next_turn(struct h1_server *server) { loop_enqueue_next(server->worker->loop, &server->task); }

struct h1_slot *h1_slot_create(struct h1_server *server)
{
    struct arena arena;
    if (memory_ceiling_is_beyond(server->worker->arenas->ceiling, 15)) return NULL;
    arena_init(&arena, server->worker->arenas);
    struct h1_slot *slot = arena_allocate(&arena, sizeof *slot);
    if (!slot) return NULL;
    slot->arena = arena;
    slot->connection = server;
    slot->head_slab = NULL;
    slot->body = NULL;
    slot->written_ms = slot->half_closed_ms = 0;
    slot->blocked = slot->answering = slot->answered = slot->gone = slot->keep_alive = false;
    slot->continue_sent = false;
    slot->stream.operations = &slot_operations;
    slot->stream.loop = server->worker->loop;
    slot->stream.arena = &slot->arena;
    slot->stream.peer = server->peer;
    slot->stream.request_body = NULL;
    slot->stream.bytes_in = slot->stream.bytes_out = 0;
    slot->stream.owner_task = NULL;
    slot->stream.events = 0;
    request_head_init(&slot->stream.request, &slot->arena);
    h1_parser_init(&slot->parser);
    h1_writer_init(&slot->writer, server->worker, &server->stream, &slot->arena);
    return slot;
}

void h1_slot_destroy(struct h1_slot *slot)
{
    h1_writer_release(&slot->writer);
    if (slot->body) {
        body_pipe_release(&slot->body->pipe);
        slab_reserve_release(&slot->body->reserve);
    }
    slab_drop(slot->head_slab);
    struct arena arena = slot->arena; /* the slot itself is in it */
    arena_release(&arena);
}

static void tell_owner(struct h1_slot *slot, unsigned event)
{
    slot->stream.events |= (uint8_t)event;
    if (slot->stream.owner_task) loop_enqueue(slot->stream.loop, slot->stream.owner_task);
}

/* --- the request's body --- */

static struct h1_request_body *create_body(struct h1_slot *slot, bool chunked, uint64_t length)
{
    struct h1_server *server = slot->connection;
    struct h1_request_body *body = arena_allocate(&slot->arena, sizeof *body);
    if (!body || !slab_reserve_init(&body->reserve, server->worker->slabs)) return NULL;
    const struct server_settings *settings = h1_server_settings_of(server);
    body_pipe_init(&body->pipe, slot->stream.loop, length);
    body->pipe.producer_task = &server->task;
    h1_reader_init(&body->reader, server->worker, &server->stream, &server->input, &body->pipe, &settings->limits,
                   chunked, length, &slot->arena);
    body->reader.discard_max = DISCARD_BYTES_MAX;
    if (chunked) body->reader.connection_options = headers_combined(&slot->stream.request.headers, HEADER_CONNECTION);
    body->reader.reserve = &body->reserve;
    body->reader.total = &slot->stream.bytes_in;
    body->waiting = body->starved = body->broken = false;
    slot->body = body;
    slot->stream.request_body = &body->pipe;
    return body;
}

static void break_body(struct h1_request_body *body, const struct error *error)
{
    body->broken = true;
    body->waiting = false;
    body_pipe_abort(&body->pipe, error);
}

static void truncate_body(struct h1_request_body *body)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "incomplete-body",
              "the client finished inside its request's body");
    break_body(body, &error);
}

static void read_body(struct h1_slot *slot)
{
    struct h1_request_body *body = slot->body;
    struct h1_server *server = slot->connection;
    if (!body || body->broken || body->reader.over) return;
    struct error error;
    enum h1_read_result result = h1_reader_run(&body->reader, &error);
    bool waits = result == H1_READ_WAIT;
    if (waits && !body->waiting) body->reader.moved_ms = slot->stream.loop->now_ms; /* before, it waited for others */
    body->waiting = waits;
    body->starved = result == H1_READ_NO_MEMORY;
    switch (result) {
    case H1_READ_WAIT:
    case H1_READ_NO_CREDIT:
    case H1_READ_NO_MEMORY: break;
    case H1_READ_AGAIN: come_back_next_turn(server); break;
    case H1_READ_OVER:
        h1_input_shrink(&server->input, server->worker->slabs);
        slab_reserve_release(&body->reserve);
        break;
    case H1_READ_TRUNCATED: truncate_body(body); break;
    case H1_READ_BAD: break_body(body, &error); break;
    case H1_READ_UNWANTED: body->broken = true; break;
    }
}

bool h1_slot_begin(struct h1_slot *slot, struct error *error)
{
    struct h1_server *server = slot->connection;
    const struct server_settings *settings = h1_server_settings_of(server);
    const struct request_head *request = &slot->stream.request;
    slot->stream.begun_ns = slot->stream.loop->now_ns;
    slot->stream.bytes_in = slot->parser.head_length;
    if (request->has_body && request->body_length != BODY_LENGTH_UNKNOWN &&
        request->body_length > settings->body_bytes_max)
        return error_set(error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large",
                         "a request body of %llu bytes, more than %llu", (unsigned long long)request->body_length,
                         (unsigned long long)settings->body_bytes_max);
    if (!request->has_body || request->body_length == 0) {
        if (h1_input_is_empty(&server->input)) h1_input_drop(&server->input);
        return true;
    }
    struct h1_request_body *body = create_body(slot, slot->parser.chunked, request->body_length);
    if (!body) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's body");
    body->reader.content_max = settings->body_bytes_max;
    h1_reader_offer_splice(&body->reader, settings->splice_bytes_min);
    read_body(slot);
    if (body->pipe.state != BODY_ABORTED) return true;
    *error = body->pipe.failure;
    return false;
}

/* --- 100 (Continue) --- */

static bool awaits_continue(const struct h1_slot *slot)
{
    return slot->stream.request.expects_continue && !slot->continue_sent && slot->body &&
           slot->body->reader.wire_bytes == 0;
}

static void write_on(struct h1_slot *);
static void arm_timer(struct h1_slot *);

/* Somebody wants the body and no backend has said so before. */
static void send_continue(struct h1_slot *slot)
{
    slot->continue_sent = true;
    slot->body->reader.moved_ms = slot->stream.loop->now_ms;
    if (!h1_writer_add_head(&slot->writer, SLICE("HTTP/1.1 100 Continue\r\n\r\n"))) return;
    write_on(slot);
}

static void slot_send_interim(struct server_stream *stream, const struct response_head *head)
{
    struct h1_slot *slot = slot_of(stream);
    if (slot->gone || slot->answering || stream->request.version == HTTP_1_0) return;
    if (head->status < 100 || head->status >= 200 || head->status == 101) return;
    if (head->status == 100) {
        if (awaits_continue(slot)) send_continue(slot);
        return;
    }
    struct error error;
    char *text = arena_allocate(&slot->arena, h1_response_head_size(head));
    if (!text) return;
    char *end = h1_write_response_head(head, H1_FRAMING_NONE, true, stream->request.version, false, SLICE_ABSENT, text,
                                       &error);
    if (end && h1_writer_add_head(&slot->writer, slice_of(text, (size_t)(end - text)))) write_on(slot);
}

/* --- the answer --- */

static void answer_is_sent(struct h1_slot *slot)
{
    slot->answered = true;
    tell_owner(slot, SERVER_STREAM_SENT);
}

/* An answer that ends with the connection must not look complete; others show by their framing that they are cut. */
static void cut(struct h1_slot *slot)
{
    h1_server_close(slot->connection, slot->writer.framing == H1_FRAMING_UNTIL_CLOSE);
}

static void write_on(struct h1_slot *slot)
{
    uint64_t before = slot->writer.sent;
    enum h1_write_result result = h1_writer_run(&slot->writer);
    slot->stream.bytes_out = slot->writer.sent;
    bool begins_to_block = result == H1_WRITE_BLOCKED && !slot->blocked;
    if (slot->writer.sent != before || begins_to_block) slot->written_ms = slot->stream.loop->now_ms;
    slot->blocked = result == H1_WRITE_BLOCKED;
    switch (result) {
    case H1_WRITE_DONE:
        if (slot->answering) answer_is_sent(slot);
        break;
    case H1_WRITE_BLOCKED: arm_timer(slot); break;
    case H1_WRITE_STARVED: break;
    case H1_WRITE_AGAIN: come_back_next_turn(slot->connection); break;
    case H1_WRITE_FAILED: h1_server_close(slot->connection, false); break;
    case H1_WRITE_CUT: cut(slot); break;
    }
}

/* RFC 9112 6.3, 6.1. */
static enum h1_framing choose_framing(const struct h1_slot *slot, struct response_head *head, bool has_body)
{
    if (status_has_no_content(head->status))
        return head->status == 304 && head->body_length > 0 && head->body_length != BODY_LENGTH_UNKNOWN
                   ? H1_FRAMING_LENGTH
                   : H1_FRAMING_NONE;
    if (!has_body && slot->stream.request.method != METHOD_HEAD) head->body_length = 0;
    if (head->body_length != BODY_LENGTH_UNKNOWN) return H1_FRAMING_LENGTH;
    if (!has_body) return H1_FRAMING_NONE;
    return slot->stream.request.version == HTTP_1_0 ? H1_FRAMING_UNTIL_CLOSE : H1_FRAMING_CHUNKED;
}

/* Is what is left of the request's body little enough, and sure to come, that the next request can be found behind it? A client that
 * awaits 100 may or may not send its body after a final answer (RFC 9110 10.1.1): only closing is safe. */
static bool body_can_be_passed(const struct h1_slot *slot)
{
    const struct h1_request_body *body = slot->body;
    if (!body || body->reader.over) return true;
    if (body->broken || awaits_continue(slot)) return false;
    return !body_pipe_is_stopped(&body->pipe) || body->reader.is_chunked || body->reader.remaining <= DISCARD_BYTES_MAX;
}

/* 408 says that we wait no longer for the request (RFC 9110 15.5.9): then not for its rest either. */
static bool ends_waiting(const struct h1_slot *slot, const struct response_head *head)
{
    return head->status == 408 && slot->body && !slot->body->reader.over;
}

static bool write_head(struct h1_slot *slot, struct response_head *head, enum h1_framing framing, bool upgrade,
                       struct error *error)
{
    struct h1_server *server = slot->connection;
    enum http_version version = slot->stream.request.version;
    char *text = arena_allocate(&slot->arena, h1_response_head_size(head));
    if (!text) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an answer's head");
    char *end = h1_write_response_head(head, framing, slot->keep_alive, version, upgrade,
                                       slice_from_cstring(server->worker->date), text, error);
    if (!end) return false;
    if (!h1_writer_add_head(&slot->writer, slice_of(text, (size_t)(end - text))))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an answer's head");
    slot->answering = true;
    return true;
}

/* The client is away: nobody will take the body. */
static bool swallow(struct body_pipe *body)
{
    if (body) body_pipe_stop(body);
    return true;
}

static bool slot_send_head(struct server_stream *stream, struct response_head *head, struct body_pipe *body,
                           struct error *error)
{
    struct h1_slot *slot = slot_of(stream);
    if (slot->gone) return swallow(body);
    PROMISE(!slot->answering);
    bool has_body = body && stream->request.method != METHOD_HEAD && !status_has_no_content(head->status);
    enum h1_framing framing = choose_framing(slot, head, has_body);
    slot->keep_alive = slot->parser.keep_alive && !slot->connection->draining && framing != H1_FRAMING_UNTIL_CLOSE &&
                       body_can_be_passed(slot) && !ends_waiting(slot, head);
    if (!write_head(slot, head, framing, false, error)) return false;
    if (has_body)
        h1_writer_set_body(&slot->writer, body, framing, head->body_length, &slot->connection->task);
    else
        swallow(body);
    write_on(slot);
    return true;
}

static bool slot_open_tunnel(struct server_stream *stream, struct response_head *head, struct tunnel_end *end,
                             struct error *error)
{
    struct h1_slot *slot = slot_of(stream);
    struct h1_server *server = slot->connection;
    PROMISE(!slot->answering && !slot->body && head->status == 101);
    struct h1_tunnel *tunnel = h1_tunnel_create(server->worker, &server->stream, &server->input, &server->task, end);
    if (!tunnel) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a tunnel");
    if (slot->gone) {
        h1_tunnel_destroy(tunnel, true);
        return true;
    }
    if (!write_head(slot, head, H1_FRAMING_NONE, true, error)) {
        end->operations = NULL;
        h1_tunnel_destroy(tunnel, false);
        return false;
    }
    tunnel->session = server;
    tunnel->owner_closes = h1_server_tunnel_closed;
    server->tunnel = tunnel;
    write_on(slot);
    return true;
}

/* --- the end --- */

static void slot_reset(struct server_stream *stream)
{
    struct h1_slot *slot = slot_of(stream);
    if (!slot->gone) h1_server_close(slot->connection, true);
}

static void slot_release(struct server_stream *stream)
{
    struct h1_slot *slot = slot_of(stream);
    stream->owner_task = NULL;
    if (slot->body) body_pipe_detach_consumer(&slot->body->pipe);
    if (!slot->gone && !slot->answered) h1_server_close(slot->connection, true);
    h1_server_released(slot->connection);
}

void h1_slot_lose(struct h1_slot *slot)
{
    struct body_pipe *answer = slot->writer.pipe;
    slot->gone = true;
    h1_writer_release(&slot->writer);
    if (answer) body_pipe_stop(answer);
    if (slot->body) {
        struct error error;
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 0, "client-gone", "the client went away");
        break_body(slot->body, &error);
        body_pipe_detach_producer(&slot->body->pipe);
    }
    tell_owner(slot, SERVER_STREAM_GONE);
}

static const struct server_stream_operations slot_operations = {
    .send_interim = slot_send_interim,
    .send_head = slot_send_head,
    .open_tunnel = slot_open_tunnel,
    .reset = slot_reset,
    .release = slot_release,
};

/* --- progress and time --- */

/* While an answer flows, its segments find out by RST whether anybody is there; so time runs from the last that went. */
static uint64_t half_close_deadline(struct h1_slot *slot)
{
    bool more_to_come = slot->body && !slot->body->reader.over && !slot->body->broken;
    if (!slot->connection->stream.peer_finished || more_to_come || slot->blocked) return UINT64_MAX;
    if (slot->half_closed_ms == 0) slot->half_closed_ms = slot->stream.loop->now_ms;
    uint64_t since_ms = slot->written_ms > slot->half_closed_ms ? slot->written_ms : slot->half_closed_ms;
    return since_ms + h1_server_settings_of(slot->connection)->half_close_timeout_ms;
}

static bool is_lost(struct h1_slot *slot)
{
    return slot->connection->stream.failed || slot->stream.loop->now_ms >= half_close_deadline(slot);
}

static uint64_t write_deadline(const struct h1_slot *slot)
{
    return slot->blocked ? slot->written_ms + h1_server_settings_of(slot->connection)->idle_timeout_ms : UINT64_MAX;
}

/* Nobody can blame a client that waits to be asked. */
static uint64_t body_deadline(const struct h1_slot *slot)
{
    const struct h1_request_body *body = slot->body;
    if (!body || !body->waiting || awaits_continue(slot)) return UINT64_MAX;
    return body->reader.moved_ms + h1_server_settings_of(slot->connection)->body_timeout_ms;
}

static void arm_timer(struct h1_slot *slot)
{
    struct h1_server *server = slot->connection;
    uint64_t next = write_deadline(slot), body = body_deadline(slot);
    uint64_t half_close = half_close_deadline(slot);
    if (body < next) next = body;
    if (half_close < next) next = half_close;
    if (slot->body && slot->body->starved && slot->stream.loop->now_ms + MEMORY_RETRY_MS < next)
        next = slot->stream.loop->now_ms + MEMORY_RETRY_MS;
    if (next == UINT64_MAX) return;
    if (!timer_is_set(&server->timer) || server->timer.deadline_ms > next)
        timer_set(&slot->stream.loop->timers, &server->timer, next);
}

void h1_slot_advance(struct h1_slot *slot)
{
    struct h1_server *server = slot->connection;
    bool has_to_write = slot->writer.head.length > 0 || slot->writer.pipe;
    if (has_to_write && !slot->answered) write_on(slot);
    if (server->state != SERVER_EXCHANGE) return;
    read_body(slot);
    if (!slot->answering && awaits_continue(slot) && slot->body->pipe.attached) send_continue(slot);
    if (server->state != SERVER_EXCHANGE) return;
    if (is_lost(slot) && !slot->answered) {
        h1_server_close(server, false);
        return;
    }
    arm_timer(slot);
}

/* While a body is spliced only the consumer's side knows who is waited for: the backend, unless it found nothing to move. */
static bool backend_holds_back(const struct body_pipe *body) { return body->spliced && !body->starved; }

static void give_body_up(struct h1_slot *slot)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "body-timeout", "no byte of the request's body for %u ms",
              h1_server_settings_of(slot->connection)->body_timeout_ms);
    break_body(slot->body, &error);
}

void h1_slot_look_at_time(struct h1_slot *slot)
{
    uint64_t now_ms = slot->stream.loop->now_ms;
    if (now_ms >= write_deadline(slot)) {
        h1_server_close(slot->connection, true);
        return;
    }
    if (now_ms >= body_deadline(slot)) {
        if (backend_holds_back(&slot->body->pipe))
            slot->body->reader.moved_ms = now_ms;
        else
            give_body_up(slot);
    }
    h1_slot_advance(slot);
}
