/* The answer of one request on a backend's HTTP/2 connection: what the session's callbacks make of the frames that come.
 *
 * They run inside the session's calls: they move bytes, set events and queue tasks, never more. */
#include "http/h1_body.h"
#include "http/h2_client_private.h"
#include "http/websocket.h"

#define INTERIM_HEADS_MAX 32
/* A longer piece of content stays where it was read; a shorter one is copied behind the one before, so that a body of many small frames
 * doesn't use up the pipe's pieces. */
#define COPY_BYTES_MAX 2048
#define PIECES_BY_REFERENCE_MAX (BODY_PIPE_PIECES - 4)
/* The backend is given its window back in such lots at the least, by tasks that the consumer wakes. */
#define RETURN_BYTES_MIN (BODY_PIPE_WINDOW_BYTES / 4)

/* What the codec found; its many reasons are one to a client. */
static void fail_for_response(struct h2_client_slot *slot, struct error *error)
{
    if (error->status == 502) error->reason = "bad-response";
    h2_client_slot_fail_with(slot, error, NGHTTP2_PROTOCOL_ERROR);
}

static void refuse(struct h2_client_slot *slot, const char *what)
{
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-response", "the backend sent %s", what);
    h2_client_slot_fail_with(slot, &error, NGHTTP2_PROTOCOL_ERROR);
}

/* --- the answer's head --- */

static int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_client *client = user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot || !slot->stream) return 0;
    struct headers *headers = &slot->stream->response.headers;
    if (slot->head_is_over) {
        headers = &slot->trailers;
        headers_init(headers, slot->stream->arena);
    }
    slot->stream->response_begun = true;
    h2_reader_init(&slot->reader, headers, &client->settings->limits);
    return 0;
}

static int take_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                       uint8_t flags, void *user_data)
{
    (void)flags, (void)user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot || !slot->stream) return 0;
    if (h2_reader_add(&slot->reader, name, value) == H2_FIELD_TAKEN) return 0;
    refuse(slot, "far too many fields");
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int refuse_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                         nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    (void)value, (void)flags, (void)user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot || !slot->stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_vec bytes = nghttp2_rcbuf_get_buf(name);
    struct error error;
    bool is_printable = header_name_is_valid(slice_of((const char *)bytes.base, bytes.len)) && bytes.len < 64;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-response",
              "the backend sent a field that HTTP/2 forbids: \"%.*s\"", is_printable ? (int)bytes.len : 3,
              is_printable ? (const char *)bytes.base : "...");
    h2_client_slot_fail_with(slot, &error, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void take_interim(struct h2_client_slot *slot)
{
    struct client_stream *stream = slot->stream;
    if (++slot->interim_count > INTERIM_HEADS_MAX) {
        refuse(slot, "too many interim answers");
        return;
    }
    struct interim_response *interim = arena_allocate(stream->arena, sizeof *interim);
    if (!interim) {
        h2_client_slot_fail_for_memory(slot);
        return;
    }
    *interim = (struct interim_response){ .head = stream->response };
    struct interim_response **last = &stream->interim;
    while (*last) last = &(*last)->next;
    *last = interim;
    h2_client_slot_tell_owner(slot, CLIENT_STREAM_INTERIM);
    response_head_init(&stream->response, stream->arena);
    if (interim->head.status != 100 || !slot->holding_back) return;
    h2_client_slot_send_body(slot);
    loop_enqueue(slot->client->worker->loop, &slot->task);
}

static struct slice value_of(const struct headers *headers, struct slice name)
{
    const struct header *field = headers_find(headers, name);
    return field ? field->value : SLICE_ABSENT;
}

/* RFC 8441 5: 200 says what a 101 says in HTTP/1.1; the fields that belong to that alone are put there, as everybody behind expects. */
static bool look_like_101(struct client_stream *stream)
{
    struct headers *headers = &stream->response.headers;
    struct slice key = value_of(&stream->request->headers, WEBSOCKET_KEY_FIELD);
    stream->response.status = 101;
    stream->response.has_body = false;
    stream->response.body_length = 0;
    if (!headers_set_known(headers, HEADER_CONNECTION, SLICE("Upgrade")) ||
        !headers_set_known(headers, HEADER_UPGRADE, headers_value(&stream->request->headers, HEADER_UPGRADE)))
        return false;
    if (!websocket_key_is_valid(key)) return true;
    char *accept = arena_allocate(stream->arena, WEBSOCKET_ACCEPT_BYTES);
    if (!accept) return false;
    websocket_write_accept(key, accept);
    return headers_set(headers, WEBSOCKET_ACCEPT_FIELD, slice_of(accept, WEBSOCKET_ACCEPT_BYTES));
}

/* What comes before the owner has opened the tunnel waits in response_body, as an answer's body would. */
static void begin_content(struct h2_client_slot *slot, uint64_t length)
{
    struct client_stream *stream = slot->stream;
    slot->head_is_over = true;
    slot->in = &stream->response_body;
    body_pipe_init(slot->in, slot->client->worker->loop, length);
    slot->in->producer_task = &slot->task;
    stream->head_ns = slot->client->worker->loop->now_ns;
    h2_client_slot_tell_owner(slot, CLIENT_STREAM_HEAD);
}

static void switch_protocols(struct h2_client_slot *slot)
{
    if (look_like_101(slot->stream))
        begin_content(slot, BODY_LENGTH_UNKNOWN);
    else
        h2_client_slot_fail_for_memory(slot);
}

/* An error while the request is still being sent says that the backend wants no more of it. A backend that answers in the good while it
 * reads may be working on the body as it comes. */
static void begin_answer(struct h2_client_slot *slot)
{
    const struct response_head *head = &slot->stream->response;
    if (slot->holding_back || head->status >= 400) h2_client_slot_stop_sending(slot);
    begin_content(slot, head->has_body ? head->body_length : 0);
}

static void end_answer(struct h2_client_slot *slot)
{
    struct client_stream *stream = slot->stream;
    struct headers *trailers = NULL;
    if (slot->trailers.arena && headers_next(&slot->trailers, NULL)) {
        /* The consumer may get to the end when the slot has long been another stream's. */
        trailers = arena_allocate(stream->arena, sizeof *trailers);
        if (trailers) *trailers = slot->trailers;
    }
    body_pipe_finish(&stream->response_body, trailers);
    h2_client_slot_finish(slot, NGHTTP2_NO_ERROR);
}

static void take_head(struct h2_client_slot *slot, bool is_end)
{
    struct client_stream *stream = slot->stream;
    struct error error;
    if (!h2_reader_end_response(&slot->reader, is_end, stream->request->method, &stream->response, &error)) {
        fail_for_response(slot, &error);
    } else if (stream->response.status == 101) {
        refuse(slot, "a 101, which HTTP/2 has no use for");
    } else if (stream->response.status < 200) {
        take_interim(slot);
    } else if (stream->upgrade && stream->response.status < 300 && !is_end) {
        switch_protocols(slot);
    } else {
        begin_answer(slot);
        if (is_end) end_answer(slot);
    }
}

static void take_trailers(struct h2_client_slot *slot)
{
    struct error error;
    if (!h2_reader_end_trailers(&slot->reader, BLAME_UPSTREAM, &error))
        fail_for_response(slot, &error);
    else
        end_answer(slot);
}

/* --- the answer's body --- */

/* The consumer wakes us when it has passed on what is worth a WINDOW_UPDATE. */
static void ask_to_be_woken(struct h2_client_slot *slot)
{
    if (slot->in->pushed - slot->returned >= RETURN_BYTES_MIN) slot->in->credit_wanted = true;
}

void h2_answer_return_window(struct h2_client_slot *slot)
{
    const struct body_pipe *pipe = slot->in;
    uint64_t passed_on = pipe->pushed - pipe->buffered;
    size_t lot = (size_t)(passed_on - slot->returned);
    if (lot == 0) return;
    slot->returned = passed_on;
    if (nghttp2_session_consume_stream(slot->client->session, slot->id, lot) != 0)
        slot->client->complaint = "out of memory";
    h2_client_come_back(slot->client);
}

/* A slab to copy content into. NULL where there is none, or no piece left for it. */
static struct slab *take_slab_for_copies(struct h2_client_slot *slot)
{
    if (slot->in->count == BODY_PIPE_PIECES) return NULL;
    struct slab *slab = h1_take_slab(slot->client->worker->slabs, SLAB_SMALL);
    return slab ? slab : slab_reserve_take(slot->reserve);
}

/* Returns how much was stored; less than `length`: no room for more. */
static size_t copy_content(struct h2_client_slot *slot, const char *at, size_t length)
{
    struct body_pipe *pipe = slot->in;
    size_t done = 0;
    while (done < length) {
        size_t room = body_pipe_tail_room(pipe), part = length - done;
        if (room > 0) {
            if (part > room) part = room;
            if (!body_pipe_push_copy(pipe, slot->client->worker->slabs, slice_of(at + done, part))) break;
        } else {
            struct slab *slab = take_slab_for_copies(slot);
            if (!slab) break;
            if (part > slab->size) part = slab->size;
            memcpy(slab->bytes, at + done, part);
            body_pipe_push(pipe, slab, slab->bytes, part);
        }
        done += part;
    }
    return done;
}

static size_t store_content(struct h2_client_slot *slot, const char *at, size_t length)
{
    struct body_pipe *pipe = slot->in;
    struct slab *input = slot->client->input;
    if (body_pipe_is_stopped(pipe)) return length;
    size_t stored = length;
    if (length > COPY_BYTES_MAX && pipe->count < PIECES_BY_REFERENCE_MAX && !input->is_reserve) {
        slab_retain(input);
        body_pipe_push(pipe, input, at, length);
    } else {
        stored = copy_content(slot, at, length);
    }
    ask_to_be_woken(slot);
    return stored;
}

/* Room comes from the consumer, or from whoever else gives memory back. */
static void begin_pause(struct h2_client_slot *slot, const char *at, size_t length)
{
    slot->client->pause = (struct h2_pause){ slot, at, length };
    slot->in->credit_wanted = true;
    h2_client_wait_for_memory(slot->client);
}

bool h2_answer_end_pause(struct h2_client *client)
{
    struct h2_pause pause = client->pause;
    if (!pause.slot) return true;
    size_t stored = store_content(pause.slot, pause.at, pause.length);
    client->pause.slot = NULL;
    if (stored == pause.length) return true;
    begin_pause(pause.slot, pause.at + stored, pause.length - stored);
    return false;
}

static bool takes_content(const struct h2_client_slot *slot)
{
    const struct response_head *head = &slot->stream->response;
    return slot->head_is_over && (head->has_body || head->status == 101);
}

static int take_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length,
                     void *user_data)
{
    (void)flags, (void)user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, stream_id);
    /* The connection's window is never what holds a stream back: each one's own bounds what is kept for it. */
    if (nghttp2_session_consume_connection(session, length) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (!slot) return 0;
    if (slot->stream) slot->stream->bytes_received += length;
    if (slot->stream && !takes_content(slot)) refuse(slot, "a body where there is none to be");
    if (!slot->in) return 0;
    size_t stored = store_content(slot, (const char *)data, length);
    if (LIKELY(stored == length)) return 0;
    begin_pause(slot, (const char *)data + stored, length - stored);
    return NGHTTP2_ERR_PAUSE;
}

/* --- what the session tells --- */

/* A tunnel has no trailers: their end is one like any other. */
static void take_end(struct h2_client_slot *slot)
{
    slot->end_received = true;
    if (slot->end)
        h2_client_tunnel_finished(slot);
    else if (!slot->stream)
        return; /* the head was refused: it has left */
    else if (slot->stream->response.status == 101)
        body_pipe_finish(slot->in, NULL); /* the owner hears of it when it has opened the tunnel */
    else
        end_answer(slot);
}

static void take_headers_frame(struct h2_client_slot *slot, const nghttp2_frame *frame)
{
    bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (slot->stream && !slot->head_is_over) {
        slot->end_received |= is_end;
        take_head(slot, is_end);
    } else if (slot->stream && slot->stream->response.status != 101) {
        slot->end_received |= is_end;
        take_trailers(slot);
    } else if (is_end) {
        take_end(slot);
    }
}

void h2_answer_take_frame(struct h2_client_slot *slot, const nghttp2_frame *frame)
{
    if (slot->stream) slot->stream->bytes_received += H2_FRAME_HEAD_BYTES;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (slot->stream) slot->stream->bytes_received += frame->hd.length;
        take_headers_frame(slot, frame);
        break;
    case NGHTTP2_DATA:
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) take_end(slot);
        break;
    case NGHTTP2_RST_STREAM: slot->was_reset = true; break;
    default: break;
    }
}

static void fail_for_reset(struct h2_client_slot *slot, uint32_t code)
{
    struct error error;
    const char *word = nghttp2_http2_strerror(code);
    if (slot->stream->events & CLIENT_STREAM_HEAD)
        error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "truncated-body",
                  "the backend reset the stream inside its answer's body (%s)", word);
    else
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "reset",
                  "the backend reset the stream before it answered (%s)", word);
    h2_client_slot_fail(slot, &error);
}

/* The session found something wrong that it has no callback for. */
static void fail_for_rules(struct h2_client_slot *slot)
{
    const struct client_stream *stream = slot->stream;
    bool has_body = stream->events & CLIENT_STREAM_HEAD && stream->response_body.expected != BODY_LENGTH_UNKNOWN;
    refuse(slot, has_body ? "a body that is not as long as its head says" : "what HTTP/2 doesn't allow");
}

/* Ends what nothing else has ended yet; then the session knows no stream of this number. */
static int forget_stream(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user_data)
{
    (void)user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, stream_id);
    if (!slot) return 0;
    slot->is_forgotten = true;
    if (slot->end) h2_client_tunnel_lost(slot);
    if (slot->stream) {
        if (code == NGHTTP2_REFUSED_STREAM)
            h2_client_slot_fail_as_not_executed(slot, "refused the request before it looked at it");
        else if (slot->was_reset)
            fail_for_reset(slot, code);
        else
            fail_for_rules(slot);
    }
    h2_client_slot_recycle(slot);
    return 0;
}

void h2_answer_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, take_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, refuse_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, take_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, forget_stream);
}
