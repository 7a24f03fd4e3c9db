/* The bytes of a client's HTTP/2 connection. Reading: each read goes to nghttp2 whole, which keeps what is not yet a whole frame; content
 * goes on into its pipes as slices of the slab that it was read into. Writing: what there is to say is gathered at the beginning of the
 * next turn, from all streams in turn, and written by one call; nghttp2 is asked for frames only while the kernel takes them. */
#include "http/h2_server_private.h"

#include "http/h1_body.h"

#define READS_A_TURN 8
#define WRITES_A_TURN 16
/* Frames that nghttp2 has to send and can't: more of them, and the client isn't read from either. */
#define FRAMES_WAITING_MAX 256
#define MEMORY_RETRY_MS 20
#define LINGER_READS_A_TURN 8

/* --- writing --- */

void h2_server_flush_soon(struct h2_server *server)
{
    if (server->state == H2_SERVER_OPEN) loop_enqueue_next(server->worker->loop, &server->flush_task);
}

/* Frames that nghttp2 makes count as sent before it hands them over: only now it is known where an answer ends that has no content or
 * has trailers. */
static void settle_ends(struct h2_server *server)
{
    for (struct list_link *link = server->ending.previous; link != &server->ending; link = link->previous) {
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, out.ending_link);
        if (stream->out.end_at != UINT64_MAX) return;
        stream->out.end_at = server->output.gathered;
    }
}

/* False: nghttp2 is broken (memory). */
static bool gather(struct h2_server *server, struct h2_gathering *gathering)
{
    ssize_t length = 1;
    server->gathering = gathering;
    while (length > 0 && h2_gathering_has_room(gathering)) {
        const uint8_t *bytes;
        length = nghttp2_session_mem_send(server->h2, &bytes);
        if (length > 0) h2_gather(&server->output, gathering, bytes, (size_t)length);
        settle_ends(server);
    }
    server->gathering = NULL;
    return length >= 0;
}

/* The owners of answers whose last byte the kernel has are told. */
static void tell_sent(struct h2_server *server)
{
    struct list_link *link;
    while ((link = list_first(&server->ending)) != NULL) {
        struct h2_stream *stream = CONTAINER_OF(link, struct h2_stream, out.ending_link);
        if (stream->out.end_at > server->output.written) return;
        list_remove(link);
        stream->operations->sent(stream);
    }
}

/* STREAM_OK: there may be more to write. */
static enum stream_result write_once(struct h2_server *server)
{
    if (h2_output_waits(&server->output)) return h2_output_go_on(&server->output);
    struct h2_gathering gathering;
    h2_gathering_init(&gathering);
    if (!gather(server, &gathering)) {
        h2_gathering_drop(&gathering);
        return STREAM_FAIL;
    }
    if (gathering.count == 0) return STREAM_END;
    return h2_output_write(&server->output, &gathering);
}

/* nghttp2 has said its last word, and it is in the kernel. */
static bool is_over(const struct h2_server *server)
{
    return !h2_output_waits(&server->output) && !nghttp2_session_want_read(server->h2) &&
           !nghttp2_session_want_write(server->h2);
}

/* The client takes again what it is sent: then it may also be read from again. */
static void go_on_reading(struct h2_server *server)
{
    if (server->stream.may_read) loop_enqueue(server->worker->loop, &server->read_task);
}

void h2_server_flush(struct h2_server *server)
{
    if (server->terminating) h2_server_lose_streams(server);
    if (server->unspeakable) {
        h2_server_close(server, false);
        return;
    }
    uint64_t before = server->output.written;
    bool did_wait = h2_output_waits(&server->output);
    enum stream_result result = STREAM_OK;
    for (int i = 0; i < WRITES_A_TURN && result == STREAM_OK; i++) result = write_once(server);
    bool waits = h2_output_waits(&server->output);
    if (server->output.written != before || (waits && !did_wait)) server->written_ms = h2_server_now(server);
    tell_sent(server);
    if (result == STREAM_FAIL) {
        server->client_left = true;
        h2_server_close(server, false);
        return;
    }
    if (waits || did_wait)
        h2_server_arm(server, h2_server_now(server) + h2_server_settings_of(server)->idle_timeout_ms);
    if (did_wait && !waits) server->unblocked_ms = h2_server_now(server);
    if (result == STREAM_OK) h2_server_flush_soon(server);
    if (did_wait) go_on_reading(server);
    if (is_over(server)) h2_server_linger(server);
}

/* --- reading --- */

static void protocol_failed(struct h2_server *server, int failure)
{
    struct error error;
    switch (failure) {
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-flood", "HTTP/2: %s", nghttp2_strerror(failure));
        h2_server_terminate(server, NGHTTP2_ENHANCE_YOUR_CALM, &error);
        break;
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-protocol-error", "HTTP/2: no preface");
        h2_server_terminate(server, NGHTTP2_PROTOCOL_ERROR, &error);
        break;
    default: /* memory */ server->unspeakable = true; h2_server_flush_soon(server);
    }
}

static void guard_refuses(struct h2_server *server, enum h2_verdict verdict)
{
    struct error error;
    switch (verdict) {
    case H2_VERDICT_GOOD: break;
    case H2_VERDICT_FLOOD:
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-flood", "HTTP/2: too many frames without use");
        h2_server_terminate(server, NGHTTP2_ENHANCE_YOUR_CALM, &error);
        break;
    case H2_VERDICT_PROTOCOL:
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-protocol-error", "HTTP/2: a frame for a bad stream");
        h2_server_terminate(server, NGHTTP2_PROTOCOL_ERROR, &error);
        break;
    case H2_VERDICT_CLOSED:
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-protocol-error",
                  "HTTP/2: a frame for a stream that its sender had ended");
        h2_server_terminate(server, NGHTTP2_STREAM_CLOSED, &error);
        break;
    }
}

/* The bytes are in server->input, which may be dropped meanwhile: by whom a request is opened may end everything. */
static void feed(struct h2_server *server, const char *bytes, size_t length)
{
    size_t good;
    struct slab *slab = server->input;
    slab_retain(slab);
    enum h2_verdict verdict = h2_guard_look(&server->guard, bytes, length, h2_server_now(server), &good);
    ssize_t taken = good > 0 ? nghttp2_session_mem_recv(server->h2, (const uint8_t *)bytes, good) : 0;
    slab_drop(slab);
    if (server->state != H2_SERVER_OPEN) return;
    if (taken < 0)
        protocol_failed(server, (int)taken);
    else
        guard_refuses(server, verdict);
    if (server->heading) h2_server_arm(server, server->heading_ms + h2_server_settings_of(server)->head_timeout_ms);
    if (nghttp2_session_want_write(server->h2) || is_over(server)) h2_server_flush_soon(server);
}

/* At the ceiling: what was promised with the first request, or, for that one to come in, the least there is. */
static struct slab *take_input(struct h2_server *server)
{
    struct slab_pool *slabs = server->worker->slabs;
    struct slab *slab = h1_take_slab(slabs, server->was_filled ? SLAB_MEDIUM : SLAB_SMALL);
    if (slab) return slab;
    return server->stream_count > 0 ? slab_reserve_take(&server->reserve) : slab_take(slabs, SLAB_TINY);
}

/* Room to read into: behind what others still look at, or from the start again where nobody does. */
static bool make_room(struct h2_server *server)
{
    struct slab *slab = server->input;
    if (slab && slab->references == 1) {
        slab->filled = 0;
        server->content_stream = NULL;
    }
    if (slab && slab->size - slab->filled >= slab->size / 2) return true;
    h2_server_drop_input(server);
    server->input = take_input(server);
    return server->input != NULL;
}

static bool is_held_back(const struct h2_server *server)
{
    return h2_output_waits(&server->output) && nghttp2_session_get_outbound_queue_size(server->h2) > FRAMES_WAITING_MAX;
}

/* What was written to it before it left may still be taken; then it is gone with all it had asked for. */
static void client_left(struct h2_server *server)
{
    server->client_left = true;
    h2_server_flush(server);
    h2_server_close(server, false);
}

static void starve(struct h2_server *server)
{
    server->starved = true;
    h2_server_arm(server, h2_server_now(server) + MEMORY_RETRY_MS);
}

static enum stream_result read_once(struct h2_server *server)
{
    struct slab *slab = server->input;
    size_t room = slab->size - slab->filled, moved;
    char *at = slab->bytes + slab->filled;
    enum stream_result result = stream_read(&server->stream, at, room, &moved);
    if (result != STREAM_OK) return result;
    server->was_filled = moved == room;
    slab->filled += (uint32_t)moved;
    feed(server, at, moved);
    return STREAM_OK;
}

static void read_on(struct h2_server *server)
{
    server->starved = false;
    while (server->state == H2_SERVER_OPEN && !server->terminating && !is_held_back(server)) {
        if (!server->stream.may_read) {
            if (server->stream.failed) client_left(server);
            break;
        }
        if (turn_share_use(&server->reads, server->worker->loop) >= READS_A_TURN) {
            loop_enqueue_next(server->worker->loop, &server->read_task);
            return;
        }
        if (!make_room(server)) {
            starve(server);
            return;
        }
        enum stream_result result = read_once(server);
        if (result == STREAM_WAIT) break;
        if (result != STREAM_OK) {
            client_left(server);
            return;
        }
    }
    h2_server_drop_input(server);
}

static void read_early(struct h2_server *server)
{
    struct session_socket early = server->early;
    server->early.early = NULL;
    server->input = early.early;
    feed(server, early.early_bytes.at, early.early_bytes.length);
    h2_server_drop_input(server);
}

/* --- after the last word --- */

static void linger_on(struct h2_server *server)
{
    char thrown_away[16 * 1024];
    for (int i = 0; i < LINGER_READS_A_TURN; i++) {
        size_t moved;
        enum stream_result result = stream_read(&server->stream, thrown_away, sizeof thrown_away, &moved);
        if (result == STREAM_WAIT) return;
        if (result != STREAM_OK || moved > server->linger_bytes) {
            h2_server_close(server, false);
            return;
        }
        server->linger_bytes -= (uint32_t)moved;
    }
    loop_enqueue_next(server->worker->loop, &server->read_task);
}

void h2_server_read(struct h2_server *server)
{
    if (server->state == H2_SERVER_OPEN && server->early.early) read_early(server);
    if (server->state == H2_SERVER_OPEN) read_on(server);
    if (server->state == H2_SERVER_LINGER) linger_on(server);
}
