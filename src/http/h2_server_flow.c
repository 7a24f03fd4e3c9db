/* Content on its way: from the connection's reads into a pipe, with the client's window on its way back, and from a pipe to nghttp2.
 *
 * What a client may send is what its pipe has room for, but pieces are few: small content is moved or copied together, and where there are
 * no pieces left what comes is held here, in one slab at most. The window is given back as the content is consumed. */
#include "http/h2_server_private.h"

/* Longer content is worth a piece of its own, by reference. */
#define COPY_BYTES_MAX 2048

static void produce(struct task *);
static void outflow_changed(struct task *);

void h2_stream_reset(struct h2_stream *stream, uint32_t code)
{
    if (!h2_stream_is_usable(stream)) return;
    nghttp2_submit_rst_stream(stream->connection->h2, NGHTTP2_FLAG_NONE, stream->id, code);
    h2_server_flush_soon(stream->connection);
}

void h2_stream_release(struct h2_stream *stream)
{
    struct h2_server *server = stream->connection;
    bool is_known = h2_stream_is_usable(stream) &&
                    nghttp2_session_get_stream_user_data(server->h2, stream->id) == stream;
    if (is_known) nghttp2_session_set_stream_user_data(server->h2, stream->id, NULL);
    if (server->heading == stream) server->heading = NULL;
    if (server->content_stream == stream) server->content_stream = NULL;
    h2_outflow_stop(stream);
    list_remove(&stream->out.ending_link);
}

/* --- the client's window --- */

void h2_inflow_init(struct h2_inflow *in, struct h2_stream *stream)
{
    *in = (struct h2_inflow){ .stream = stream, .task.run = produce, .moved_ms = h2_server_now(stream->connection) };
    stream->in = in;
}

/* What nobody takes goes back to the connection, so that other streams go on, but not to its stream. */
static void give_window_back(struct h2_inflow *in, uint32_t length)
{
    struct h2_stream *stream = in->stream;
    struct h2_server *server = stream->connection;
    bool was_exhausted = in->outstanding > H2_STREAM_WINDOW / 2;
    in->outstanding -= length;
    if (server->state != H2_SERVER_OPEN) return;
    if (was_exhausted) { /* until now the client waited for us */
        in->moved_ms = h2_server_now(server);
        h2_server_arm(server, in->moved_ms + h2_server_settings_of(server)->body_timeout_ms);
    }
    if (stream->closed || in->broken)
        nghttp2_session_consume_connection(server->h2, length);
    else
        nghttp2_session_consume(server->h2, stream->id, length);
    h2_server_flush_soon(server);
}

/* A rewound pipe holds again what it gave away before: that isn't given back twice. */
static void look_what_was_consumed(struct h2_inflow *in)
{
    uint64_t consumed = in->pipe->pushed - in->pipe->buffered;
    if (consumed <= in->given) return;
    uint64_t length = consumed - in->given;
    in->given = consumed;
    give_window_back(in, (uint32_t)length);
}

bool h2_inflow_waits(const struct h2_inflow *in)
{
    return !in->ended && !in->broken && in->outstanding <= H2_STREAM_WINDOW / 2 &&
           !(in->pipe && body_pipe_is_stopped(in->pipe));
}

/* --- into the pipe --- */

static void drop_held(struct h2_inflow *in)
{
    slab_drop(in->held);
    in->held = NULL;
}

void h2_inflow_break(struct h2_inflow *in, const struct error *error)
{
    if (in->broken) return;
    in->broken = true;
    drop_held(in);
    if (in->pipe) body_pipe_abort(in->pipe, error);
    if (in->outstanding > 0) give_window_back(in, in->outstanding);
}

void h2_inflow_release(struct h2_inflow *in)
{
    drop_held(in);
    loop_dequeue(in->stream->connection->worker->loop, &in->task);
    in->broken = true;
    if (in->outstanding > 0) give_window_back(in, in->outstanding);
    if (in->pipe) body_pipe_detach_producer(in->pipe);
}

static void lack_memory(struct h2_inflow *in)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's body");
    h2_inflow_break(in, &error);
}

/* 64 KiB hold all that the client may send. */
static void hold(struct h2_inflow *in, struct slice bytes)
{
    if (in->pipe) in->pipe->credit_wanted = true;
    if (!in->held) {
        in->held = slab_take(in->stream->connection->worker->slabs, SLAB_MEDIUM);
        in->held_start = 0;
    }
    struct slab *held = in->held;
    if (!held || held->size - held->filled < bytes.length) {
        lack_memory(in);
        return;
    }
    memcpy(held->bytes + held->filled, bytes.at, bytes.length);
    held->filled += (uint32_t)bytes.length;
}

/* Each time that half of what is in the pipe was consumed the window is given back; for what a watch has dropped at once. */
static void note_pushed(struct h2_inflow *in, uint64_t pushed_before, size_t length)
{
    in->pipe->credit_wanted = true;
    uint64_t dropped = length - (in->pipe->pushed - pushed_before);
    if (dropped > 0) give_window_back(in, (uint32_t)dropped);
}

static void push_reference(struct h2_inflow *in, const char *at, size_t length)
{
    struct h2_server *server = in->stream->connection;
    slab_retain(server->input);
    server->content_stream = in->stream;
    server->content_end = server->input->bytes + (at - server->input->bytes) + length;
    body_pipe_push(in->pipe, server->input, at, length);
}

/* Moved down to the content before it in the same slab, over frame heads that nobody needs any more. False: it isn't this stream's. */
static bool close_up(struct h2_inflow *in, struct slice bytes)
{
    struct h2_server *server = in->stream->connection;
    if (server->content_stream != in->stream || in->pipe->count == 0) return false;
    char *at = server->content_end;
    memmove(at, bytes.at, bytes.length);
    push_reference(in, at, bytes.length);
    return true;
}

static void push(struct h2_inflow *in, struct slice bytes)
{
    if (!in->pipe || in->held || body_pipe_credit(in->pipe) < bytes.length) {
        hold(in, bytes);
        return;
    }
    uint64_t before = in->pipe->pushed;
    bool is_moved = bytes.length <= COPY_BYTES_MAX &&
                    (close_up(in, bytes) ||
                     body_pipe_push_copy(in->pipe, in->stream->connection->worker->slabs, bytes));
    if (!is_moved) push_reference(in, bytes.at, bytes.length);
    note_pushed(in, before, bytes.length);
}

void h2_inflow_take(struct h2_inflow *in, struct slice bytes)
{
    struct h2_server *server = in->stream->connection;
    if (in->broken || (in->pipe && body_pipe_is_stopped(in->pipe))) {
        nghttp2_session_consume_connection(server->h2, bytes.length);
        return;
    }
    in->outstanding += (uint32_t)bytes.length;
    in->moved_ms = h2_server_now(server);
    push(in, bytes);
}

static void finish(struct h2_inflow *in)
{
    if (!in->ended || in->held || in->broken || !in->pipe || in->pipe->state != BODY_OPEN) return;
    body_pipe_finish(in->pipe, in->trailers);
    in->stream->operations->finished(in->stream);
}

static void push_held(struct h2_inflow *in)
{
    while (in->held) {
        struct slab *held = in->held;
        size_t credit = body_pipe_credit(in->pipe), left = held->filled - in->held_start;
        size_t length = credit < left ? credit : left;
        if (length == 0) return;
        uint64_t before = in->pipe->pushed;
        slab_retain(held);
        body_pipe_push(in->pipe, held, held->bytes + in->held_start, length);
        note_pushed(in, before, length);
        in->held_start += (uint32_t)length;
        if (length == left) drop_held(in);
    }
    finish(in);
}

/* The consumer has come, has taken some, or wants no more: what is held goes nowhere then. */
static void produce(struct task *task)
{
    struct h2_inflow *in = CONTAINER_OF(task, struct h2_inflow, task);
    if (in->broken) return;
    look_what_was_consumed(in);
    if (body_pipe_is_stopped(in->pipe)) drop_held(in);
    push_held(in);
    if (in->pipe->attached) in->stream->operations->wanted(in->stream);
}

void h2_inflow_set_pipe(struct h2_inflow *in, struct body_pipe *pipe)
{
    in->pipe = pipe;
    pipe->producer_task = &in->task;
    if (in->held || in->ended) push_held(in);
}

void h2_inflow_end(struct h2_inflow *in, struct headers *trailers)
{
    if (in->ended || in->broken) return;
    in->ended = true;
    in->trailers = trailers;
    finish(in);
}

/* --- out of a pipe --- */

void h2_outflow_init(struct h2_outflow *out)
{
    out->task.run = outflow_changed;
    out->left = BODY_LENGTH_UNKNOWN;
    out->end_at = UINT64_MAX;
    list_init(&out->ending_link);
}

static void note_progress(struct h2_stream *stream)
{
    struct h2_server *server = stream->connection;
    stream->out.written_ms = h2_server_now(server);
    h2_server_arm(server, stream->out.written_ms + h2_server_settings_of(server)->idle_timeout_ms);
}

void h2_outflow_begin(struct h2_stream *stream, struct body_pipe *pipe)
{
    struct h2_outflow *out = &stream->out;
    out->pipe = pipe;
    out->starved = pipe->count == 0 && pipe->state == BODY_OPEN;
    if (pipe->splice) body_pipe_decline_splice(pipe);
    body_pipe_attach_consumer(pipe, &out->task);
    note_progress(stream);
}

void h2_outflow_stop(struct h2_stream *stream)
{
    struct h2_outflow *out = &stream->out;
    struct body_pipe *pipe = out->pipe;
    out->pipe = NULL;
    loop_dequeue(stream->connection->worker->loop, &out->task);
    if (!pipe) return;
    body_pipe_detach_consumer(pipe);
    body_pipe_stop(pipe);
}

static size_t available_in(const struct body_pipe *pipe, size_t limit)
{
    struct iovec pieces[BODY_PIPE_PIECES];
    int count = body_pipe_peek(pipe, pieces, BODY_PIPE_PIECES);
    size_t available = 0;
    for (int i = 0; i < count && available <= limit; i++) available += pieces[i].iov_len;
    return available;
}

/* False: there is no memory for them, or a filter made one that can't be sent. */
static bool send_trailers(struct h2_stream *stream, const struct headers *trailers)
{
    struct h2_fields fields;
    struct error error;
    if (!h2_write_trailers(trailers, stream->arena, &fields, &error)) return false;
    return nghttp2_submit_trailer(stream->connection->h2, stream->id, fields.items, fields.count) == 0;
}

/* The last of the content; trailers end the stream after it. */
static bool end_content(struct h2_stream *stream, uint32_t *flags)
{
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    const struct headers *trailers = stream->arena ? stream->out.pipe->trailers : NULL;
    if (!trailers || !headers_next(trailers, NULL)) return true;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return send_trailers(stream, trailers);
}

ssize_t h2_outflow_next(struct h2_stream *stream, size_t limit, uint32_t *flags)
{
    struct h2_outflow *out = &stream->out;
    struct body_pipe *pipe = out->pipe;
    if (stream->two_way && !pipe && !stream->gone) return NGHTTP2_ERR_DEFERRED; /* until the tunnel begins */
    if (stream->two_way && pipe &&
        pipe->state == BODY_ABORTED) { /* not nghttp2's error, but ours to tell (RFC 8441 5) */
        loop_enqueue(stream->connection->worker->loop, &out->task);
        return NGHTTP2_ERR_DEFERRED;
    }
    if (stream->gone || !pipe || pipe->state == BODY_ABORTED) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t available = available_in(pipe, limit), length = available < limit ? available : limit;
    bool is_last = pipe->state == BODY_FINISHED && available <= limit;
    out->starved = available <= limit && !is_last;
    if (length == 0 && !is_last) return NGHTTP2_ERR_DEFERRED;
    if (out->left != BODY_LENGTH_UNKNOWN) {
        bool fits = length <= out->left && (!is_last || length == out->left);
        if (!fits) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        out->left -= length;
    }
    if (is_last && !end_content(stream, flags)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    out->written_ms = h2_server_now(stream->connection);
    return (ssize_t)length;
}

/* New content, its end, or its abort. */
static void outflow_changed(struct task *task)
{
    struct h2_stream *stream = CONTAINER_OF(task, struct h2_stream, out.task);
    if (stream->gone || stream->out.ended || !h2_stream_is_usable(stream)) return;
    if (stream->out.pipe->state == BODY_ABORTED) {
        stream->operations->cut(stream);
        return;
    }
    if (!stream->out.starved) return;
    stream->out.starved = false;
    note_progress(stream);
    nghttp2_session_resume_data(stream->connection->h2, stream->id);
    h2_server_flush_soon(stream->connection);
}

/* RFC 9113 8.1: whoever still sends its request is told that it isn't needed. A tunnel has two ends. */
void h2_outflow_ended(struct h2_stream *stream, uint64_t end_at)
{
    struct h2_outflow *out = &stream->out;
    out->ended = true;
    out->end_at = end_at;
    list_push_back(&stream->connection->ending, &out->ending_link);
    if (out->pipe) body_pipe_detach_consumer(out->pipe);
    out->pipe = NULL;
    if (!stream->client_ended && !stream->two_way) h2_stream_reset(stream, NGHTTP2_NO_ERROR);
}

void h2_outflow_note_head(struct h2_stream *stream)
{
    list_push_back(&stream->connection->ending, &stream->out.ending_link);
}

/* There is something to send, the socket takes it, and yet it doesn't go: the client opens no window for it. */
uint64_t h2_outflow_deadline(const struct h2_stream *stream)
{
    const struct h2_server *server = stream->connection;
    const struct h2_outflow *out = &stream->out;
    bool client_is_waited_for = out->pipe && !out->ended && !out->starved && !h2_output_waits(&server->output);
    if (!client_is_waited_for) return UINT64_MAX;
    uint64_t since_ms = out->written_ms > server->unblocked_ms ? out->written_ms : server->unblocked_ms;
    return since_ms + h2_server_settings_of(server)->idle_timeout_ms;
}
