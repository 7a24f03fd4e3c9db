/* One request on a backend's HTTP/2 connection, from its opening to its end; what comes in answer is in h2_client_answer.c.
 *
 * A stream leaves (its owner hears
 * DONE, or has cancelled) before the session has forgotten it: then the slot stays, without the stream, until the session says so. */
#include "http/h2_client_private.h"

#include <stdlib.h>

#define CONTINUE_WAIT_MS 1000
#define SPARE_SLOTS_MAX 16

static void slot_task(struct task *);
static void slot_timer(struct timer *);

/* --- slots --- */

static struct h2_client_slot *take_slot(struct h2_client *client)
{
    struct h2_client_slot *slot;
    struct list_link *link = list_first(&client->spare);
    if (link) {
        slot = CONTAINER_OF(link, struct h2_client_slot, link);
        list_remove(link);
        client->spare_count--;
    } else if (!(slot = malloc(sizeof *slot))) {
        return NULL;
    }
    *slot = (struct h2_client_slot){
        .client = client,
        .task.run = slot_task,
        .begins_at = UINT64_MAX,
    };
    timer_init(&slot->timer, slot_timer);
    list_push_back(&client->slots, &slot->link);
    return slot;
}

void h2_client_slot_recycle(struct h2_client_slot *slot)
{
    struct h2_client *client = slot->client;
    list_remove(&slot->link);
    if (client->spare_count < SPARE_SLOTS_MAX) {
        client->spare_count++;
        list_push_front(&client->spare, &slot->link);
    } else {
        free(slot);
    }
}

void h2_client_slot_tell_owner(struct h2_client_slot *slot, unsigned event)
{
    slot->stream->events |= (uint8_t)event;
    loop_enqueue(slot->client->worker->loop, slot->stream->owner_task);
}

/* --- the end of a stream --- */

static void note_sent(struct h2_client_slot *slot)
{
    slot->stream->request_sent = slot->client->output.written > slot->begins_at;
}

void h2_client_slot_stop_sending(struct h2_client_slot *slot)
{
    if (slot->out) body_pipe_detach_consumer(slot->out);
    slot->out = NULL;
    slot->holding_back = false;
}

/* Of a stream that is over on both sides the session knows nothing any more, or will forget it at once. */
void h2_client_slot_detach(struct h2_client_slot *slot, uint32_t code)
{
    struct h2_client *client = slot->client;
    h2_client_slot_stop_sending(slot);
    if (slot->in) body_pipe_detach_producer(slot->in);
    slot->in = NULL;
    timer_clear(&client->worker->loop->timers, &slot->timer);
    loop_dequeue(client->worker->loop, &slot->task);
    if (client->pause.slot == slot) client->pause.slot = NULL;
    if (--client->open_count == 0) slab_reserve_release(&client->input_reserve);
    client->left_count++;
    bool is_over = slot->waits_for_settings || slot->is_forgotten || (slot->end_sent && slot->end_received);
    if (!is_over && !client->broken && nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, slot->id, code))
        client->complaint = "out of memory";
    h2_client_come_back(client);
}

/* Lets go of the stream; the pool hears of it from the run queue. */
static void leave(struct h2_client_slot *slot, uint32_t code)
{
    struct client_stream *stream = slot->stream;
    note_sent(slot);
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    stream->connection = NULL;
    h2_client_slot_detach(slot, code);
    slot->stream = NULL;
    if (slot->waits_for_settings) h2_client_slot_recycle(slot);
}

void h2_client_slot_finish(struct h2_client_slot *slot, uint32_t code)
{
    h2_client_slot_tell_owner(slot, CLIENT_STREAM_DONE);
    leave(slot, code);
}

void h2_client_slot_fail_with(struct h2_client_slot *slot, const struct error *error, uint32_t code)
{
    struct client_stream *stream = slot->stream;
    stream->failure = *error;
    if (stream->events & CLIENT_STREAM_HEAD) body_pipe_abort(&stream->response_body, error);
    h2_client_slot_tell_owner(slot, CLIENT_STREAM_DONE);
    leave(slot, code);
}

void h2_client_slot_fail(struct h2_client_slot *slot, const struct error *error)
{
    h2_client_slot_fail_with(slot, error, NGHTTP2_CANCEL);
}

void h2_client_slot_fail_for_memory(struct h2_client_slot *slot)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an exchange with a backend");
    h2_client_slot_fail(slot, &error);
}

/* Nothing was executed, whatever has gone out (RFC 9113 6.8, 8.7). */
void h2_client_slot_fail_as_not_executed(struct h2_client_slot *slot, const char *what)
{
    struct client_stream *stream = slot->stream;
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection", "the backend %s", what);
    h2_client_slot_fail(slot, &error);
    stream->request_sent = false;
}

void h2_client_slot_fail_for_end(struct h2_client_slot *slot, const char *how)
{
    struct client_stream *stream = slot->stream;
    struct error error;
    note_sent(slot);
    if (stream->events & CLIENT_STREAM_HEAD)
        error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "truncated-body", "the backend %s inside its answer's body",
                  how);
    else if (stream->response_begun)
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "reset", "the backend %s inside its answer's head",
                  how);
    else if (!stream->request_sent || (slot->client->base.kept && !slot->client->heard))
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection",
                  "the backend %s that was kept, before it answered", how);
    else
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "reset", "the backend %s before it answered", how);
    h2_client_slot_fail(slot, &error);
}

/* --- the request's body --- */

/* The request's own body broke, or isn't as long as its head said. */
static void fail_for_request_body(struct h2_client_slot *slot)
{
    const struct body_pipe *body = slot->out;
    struct error error;
    if (body->state == BODY_ABORTED)
        error = body->failure;
    else
        error_set(&error, BLAME_US, RETRY_NEVER, 500, "bad-body-length",
                  "a request's body is not as long as its head says");
    h2_client_slot_fail(slot, &error);
}

void h2_client_slot_send(struct h2_client_slot *slot, struct body_pipe *pipe)
{
    slot->out = pipe;
    body_pipe_attach_consumer(pipe, &slot->task);
    if (pipe->splice) body_pipe_decline_splice(pipe);
}

void h2_client_slot_send_body(struct h2_client_slot *slot)
{
    slot->holding_back = false;
    h2_client_slot_send(slot, slot->stream->request_body);
}

static size_t bytes_in_ring(const struct body_pipe *pipe)
{
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(pipe, pieces, BODY_PIPE_PIECES);
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += pieces[i].iov_len;
    return bytes;
}

/* All of the body has been read: END_STREAM goes with this frame, or with the trailers behind it. */
static void end_body(struct h2_client_slot *slot, uint32_t *flags)
{
    struct h2_fields fields;
    struct error error;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    const struct headers *trailers = slot->stream ? slot->out->trailers : NULL;
    if (!trailers || !h2_write_trailers(trailers, slot->stream->arena, &fields, &error) || fields.count == 0) return;
    if (nghttp2_submit_trailer(slot->client->session, slot->id, fields.items, fields.count) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

/* Would `chunk` more, and then the end, be another length than was announced? */
static bool disagrees_with_length(const struct h2_client_slot *slot, size_t chunk, bool is_end)
{
    uint64_t expected = slot->stream ? slot->stream->request->body_length : BODY_LENGTH_UNKNOWN;
    uint64_t sent = slot->content_sent + chunk;
    return expected != BODY_LENGTH_UNKNOWN && (sent > expected || (is_end && sent != expected));
}

static ssize_t defer(struct h2_client_slot *slot)
{
    slot->is_deferred = true;
    return NGHTTP2_ERR_DEFERRED;
}

static ssize_t give_content(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)buffer, (void)source, (void)user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, stream_id);
    if (!slot) return NGHTTP2_ERR_DEFERRED;
    if (!slot->out) return defer(slot);
    const struct body_pipe *pipe = slot->out;
    size_t available = bytes_in_ring(pipe), chunk = available < length ? available : length;
    bool is_end = pipe->state == BODY_FINISHED && chunk == pipe->buffered;
    if (pipe->state == BODY_ABORTED || disagrees_with_length(slot, chunk, is_end)) {
        if (slot->end)
            h2_client_tunnel_cut(slot);
        else
            fail_for_request_body(slot);
        return NGHTTP2_ERR_DEFERRED;
    }
    if (chunk == 0 && !is_end) return defer(slot);
    slot->chunk = (uint32_t)chunk;
    if (chunk > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_end) end_body(slot, flags);
    return (ssize_t)chunk;
}

/* nghttp2 goes from one such frame to the next without coming back to us. */
static int put_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                    nghttp2_data_source *source, void *user_data)
{
    (void)source;
    struct h2_client *client = user_data;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot || !slot->out) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    PROMISE(length == slot->chunk);
    h2_gather_content(&client->output, client->gathering, head, slot->out, length);
    slot->content_sent += length;
    if (slot->stream)
        slot->stream->bytes_sent += H2_FRAME_HEAD_BYTES + length;
    else
        slot->end->bytes_sent += length;
    return h2_gathering_has_room(client->gathering) ? 0 : NGHTTP2_ERR_PAUSE;
}

/* --- the request's head --- */

/* False: the backend has gone before it was asked, or takes no more requests. What may be sent twice is sent in good faith. */
static bool is_ready_to_be_asked(struct h2_client *client, const struct client_stream *stream, struct error *error)
{
    if (stream->unrepeatable && client->open_count == 0) h2_client_look(client);
    if (LIKELY(!client->draining && !client->broken)) return true;
    return error_set(error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection",
                     "the backend closed the connection before it was asked");
}

/* RFC 8441 3. */
static bool may_upgrade(struct h2_client *client, struct error *error)
{
    if (nghttp2_session_get_remote_settings(client->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1)
        return true;
    return error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 502, "no-tunnel",
                     "the backend speaks HTTP/2 without extended CONNECT, so nothing can be upgraded there");
}

static bool sends_body(const struct client_stream *stream) { return stream->request_body && stream->request->has_body; }

static bool submit(struct h2_client_slot *slot, struct error *error)
{
    struct h2_client *client = slot->client;
    struct client_stream *stream = slot->stream;
    struct h2_fields fields;
    struct slice scheme = client->stream.tls ? SLICE("https") : SLICE("http");
    slot->waits_for_settings = stream->upgrade && !client->base.is_streams_max_known;
    if (slot->waits_for_settings) return true;
    if (stream->upgrade && !may_upgrade(client, error)) return false;
    if (!h2_write_request(stream->request, scheme, stream->target, stream->upgrade, stream->arena, &fields, error))
        return false;
    nghttp2_data_provider provider = { .read_callback = give_content };
    bool sends_content = stream->upgrade || sends_body(stream);
    slot->id = nghttp2_submit_request(client->session, NULL, fields.items, fields.count,
                                      sends_content ? &provider : NULL, slot);
    if (slot->id >= 0) return true;
    if (slot->id == NGHTTP2_ERR_NOMEM)
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's head");
    client->draining = true; /* its stream numbers are used up */
    return error_set(error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection",
                     "the connection has carried as many requests as it can");
}

void h2_client_slot_submit(struct h2_client_slot *slot)
{
    struct error error;
    if (submit(slot, &error)) return;
    slot->waits_for_settings = true; /* the session still doesn't know it */
    h2_client_slot_fail(slot, &error);
}

static void hold_back(struct h2_client_slot *slot)
{
    struct loop *loop = slot->client->worker->loop;
    slot->holding_back = true;
    timer_set(&loop->timers, &slot->timer, loop->now_ms + CONTINUE_WAIT_MS);
}

/* There is nobody to tell but the owner and the pool. */
static void fail_unopened(struct h2_client *client, struct client_stream *stream, const struct error *error)
{
    stream->failure = *error;
    stream->connection = NULL;
    stream->events |= CLIENT_STREAM_DONE;
    loop_enqueue(client->worker->loop, stream->owner_task);
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    client->left_count++;
    h2_client_come_back(client);
}

/* NULL: *error. */
static struct h2_client_slot *begin_stream(struct h2_client *client, struct client_stream *stream, struct error *error)
{
    struct h2_client_slot *slot;
    if (!is_ready_to_be_asked(client, stream, error)) return NULL;
    bool is_first = client->open_count == 0;
    if (is_first && !slab_reserve_init(&client->input_reserve, client->worker->slabs)) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "the buffers of this worker are all in use");
        return NULL;
    }
    if (!(slot = take_slot(client))) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an exchange with a backend");
    } else {
        slot->stream = stream;
        slot->reserve = &stream->body_reserve;
        if (submit(slot, error)) return slot;
        h2_client_slot_recycle(slot);
    }
    if (is_first) slab_reserve_release(&client->input_reserve);
    return NULL;
}

void h2_client_open(struct client_connection *connection, struct client_stream *stream)
{
    struct h2_client *client = h2_client_of(connection);
    struct error error;
    response_head_init(&stream->response, stream->arena);
    struct h2_client_slot *slot = begin_stream(client, stream, &error);
    if (!slot) {
        fail_unopened(client, stream, &error);
        return;
    }
    stream->connection = connection;
    if (client->open_count++ == 0) client->heard = false;
    if (sends_body(stream) && stream->wait_for_continue)
        hold_back(slot);
    else if (sends_body(stream))
        h2_client_slot_send_body(slot);
    h2_client_come_back(client);
}

struct h2_client_slot *h2_client_slot_find(struct h2_client *client, const struct client_stream *stream)
{
    struct list_link *link = client->slots.next;
    for (; link != &client->slots; link = link->next) {
        struct h2_client_slot *slot = CONTAINER_OF(link, struct h2_client_slot, link);
        if (slot->stream == stream) return slot;
    }
    PROMISE(link != &client->slots); /* a stream is on its connection */
    return NULL;
}

void h2_client_cancel(struct client_connection *connection, struct client_stream *stream)
{
    leave(h2_client_slot_find(h2_client_of(connection), stream), NGHTTP2_CANCEL);
}

/* --- what the session tells of what goes out --- */

static int note_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    const struct h2_client *client = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot) return 0;
    slot->begins_at = client->output.gathered;
    if (slot->stream) slot->stream->request_sent = true; /* as good as; exactly when the stream leaves */
    return 0;
}

static int note_sent_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot) return 0;
    if (slot->stream && frame->hd.type == NGHTTP2_HEADERS)
        slot->stream->bytes_sent += H2_FRAME_HEAD_BYTES + frame->hd.length;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    slot->end_sent = true;
    h2_client_slot_stop_sending(slot);
    if (slot->end) h2_client_tunnel_sent(slot);
    return 0;
}

/* A request that could not go out any more. Its stream may not have come to be: then forget_stream is not called. */
static int take_unsent_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
    if (!slot || !slot->stream) return 0;
    slot->is_forgotten = true;
    if (code == NGHTTP2_ERR_NOMEM)
        h2_client_slot_fail_for_memory(slot);
    else
        h2_client_slot_fail_as_not_executed(slot, "closed the connection before it was asked");
    return 0;
}

void h2_client_slot_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, note_begin);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, note_sent_frame);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, take_unsent_frame);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, put_data);
}

/* --- what the bodies' other ends, and the time, tell --- */

static bool has_news(const struct body_pipe *pipe) { return pipe->buffered > 0 || pipe->state != BODY_OPEN; }

static void slot_task(struct task *task)
{
    struct h2_client_slot *slot = CONTAINER_OF(task, struct h2_client_slot, task);
    if (slot->is_deferred && slot->out && has_news(slot->out)) {
        slot->is_deferred = false;
        if (nghttp2_session_resume_data(slot->client->session, slot->id) == NGHTTP2_ERR_NOMEM)
            slot->client->complaint = "out of memory";
    }
    h2_client_come_back(slot->client);
    if (!slot->in) return;
    if (!body_pipe_is_stopped(slot->in))
        h2_answer_return_window(slot);
    else if (slot->end)
        h2_client_tunnel_cut(slot);
    else
        h2_client_slot_finish(slot, NGHTTP2_CANCEL); /* nobody wants the rest */
}

static void slot_timer(struct timer *timer)
{
    struct h2_client_slot *slot = CONTAINER_OF(timer, struct h2_client_slot, timer);
    if (!slot->stream || !slot->holding_back) return;
    h2_client_slot_send_body(slot);
    loop_enqueue(slot->client->worker->loop, &slot->task);
}
