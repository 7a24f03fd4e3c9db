/* What nghttp2 tells of a client's frames and asks for, as calls on our streams, which are its streams' user data. One without has been
 * finished with, or there was no memory for it. A call may end the stream, or the connection, whose part in nghttp2 stays until the
 * turn's end; so nothing is touched after it. */
#include "http/h2_server_private.h"

/* Beside content, so that an endless head is cut by our own limits, which can say why. */
#define CONTINUATIONS_MAX 32
#define SETTINGS_ENTRIES_MAX 32
#define ACKS_WAITING_MAX 1000
#define HEADER_BLOCK_BYTES_MAX (1024 * 1024)
#define NO_LIMIT (UINT64_MAX / 2)

static struct h2_stream *find(struct h2_server *server, int32_t id)
{
    return nghttp2_session_get_stream_user_data(server->h2, id);
}

/* NULL where it is a tunnel, too. */
static struct h2_slot *find_slot(struct h2_server *server, int32_t id)
{
    struct h2_stream *stream = find(server, id);
    return stream ? h2_slot_of(stream) : NULL;
}

/* For callbacks: whatever follows in this read is of no interest any more. */
static bool is_closed(const struct h2_server *server) { return server->state != H2_SERVER_OPEN; }

/* --- heads --- */

static int refuse_stream(struct h2_server *server, int32_t id, uint32_t code)
{
    if (nghttp2_submit_rst_stream(server->h2, NGHTTP2_FLAG_NONE, id, code) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* All streams share what there is to send: RFC 9218's default would finish one after the other. */
static int begin_request(struct h2_server *server, int32_t id)
{
    static const nghttp2_extpri in_turns = { .urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1 };
    if (server->stream_count >= h2_server_settings_of(server)->streams_max)
        return refuse_stream(server, id, NGHTTP2_REFUSED_STREAM);
    struct h2_slot *slot = h2_slot_create(server, id);
    if (!slot) return 0; /* a bare 503 follows its head */
    nghttp2_session_set_stream_user_data(server->h2, id, &slot->h2);
    nghttp2_session_change_extpri_stream_priority(server->h2, id, &in_turns, 1);
    server->heading = &slot->h2;
    server->heading_ms = h2_server_now(server);
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_server *server = user_data;
    if (is_closed(server)) return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) return begin_request(server, frame->hd.stream_id);
    struct h2_slot *slot = find_slot(server, frame->hd.stream_id);
    if (slot) h2_reader_init(&slot->reader, &slot->trailers, &h2_server_settings_of(server)->limits);
    return 0;
}

static void tell_refused(struct h2_slot *slot, unsigned status, const char *reason, const char *text)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, (uint16_t)status, reason, "request: %s", text);
    h2_slot_tell_refused(slot, &error);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *user_data)
{
    struct h2_server *server = user_data;
    struct h2_slot *slot = find_slot(server, frame->hd.stream_id);
    if (!slot || slot->h2.gone || h2_reader_add(&slot->reader, name, value) == H2_FIELD_TAKEN) return 0;
    if (!slot->opened) tell_refused(slot, 431, "headers-too-large", "its fields are far too many or too large");
    int result = refuse_stream(server, frame->hd.stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
    slot->h2.operations->lose(&slot->h2);
    return result;
}

/* nghttp2 would leave the field out and go on; two readings of one request. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Of a request that there was no memory for. Without a Date: answers of 2xx to 4xx must have one (RFC 9110 6.6.1). */
static void shed(struct h2_server *server, int32_t id)
{
    static const nghttp2_nv fields[] = {
        { (uint8_t *)":status", (uint8_t *)"503", 7, 3, NGHTTP2_NV_FLAG_NONE },
        { (uint8_t *)"retry-after", (uint8_t *)"1", 11, 1, NGHTTP2_NV_FLAG_NONE },
    };
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "the buffers of this worker are all in use");
    h2_server_tell_refused(server, &error);
    nghttp2_submit_response(server->h2, id, fields, COUNT_OF(fields), NULL);
}

static void head_is_whole(struct h2_server *server, const nghttp2_frame *frame)
{
    struct h2_slot *slot = find_slot(server, frame->hd.stream_id);
    h2_guard_note_use(&server->guard, H2_USE_REQUEST);
    if (!slot) {
        shed(server, frame->hd.stream_id);
        return;
    }
    server->heading = NULL;
    slot->h2.client_ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    slot->stream.bytes_in += H2_FRAME_HEAD_BYTES + frame->hd.length;
    h2_slot_begin(slot);
}

static void client_ended(struct h2_stream *stream)
{
    stream->client_ended = true;
    if (stream->in) h2_inflow_end(stream->in, NULL);
}

/* nghttp2 has seen to it that trailers end the stream. */
static void trailers_are_whole(struct h2_server *server, const nghttp2_frame *frame)
{
    struct h2_stream *stream = find(server, frame->hd.stream_id);
    struct h2_slot *slot = stream ? h2_slot_of(stream) : NULL;
    if (!slot) {
        if (stream) client_ended(stream);
        return;
    }
    slot->h2.client_ended = true;
    slot->stream.bytes_in += H2_FRAME_HEAD_BYTES + frame->hd.length;
    h2_slot_take_trailers(slot);
}

/* --- content --- */

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t length,
                         void *user_data)
{
    struct h2_server *server = user_data;
    if (is_closed(server)) return NGHTTP2_ERR_CALLBACK_FAILURE;
    h2_guard_note_use(&server->guard, H2_USE_CONTENT_RECEIVED);
    struct h2_stream *stream = find(server, id);
    if (stream && !stream->gone)
        stream->operations->receive(stream, (const char *)bytes, length);
    else
        nghttp2_session_consume_connection(session, length);
    return 0;
}

static void data_is_whole(struct h2_server *server, const nghttp2_frame *frame)
{
    struct h2_stream *stream = find(server, frame->hd.stream_id);
    if (!stream) return;
    struct h2_slot *slot = h2_slot_of(stream);
    if (slot) slot->stream.bytes_in += H2_FRAME_HEAD_BYTES + frame->data.padlen;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) client_ended(stream);
}

/* --- other frames --- */

static void count_reset(struct h2_server *server)
{
    if (h2_guard_take_reset(&server->guard, h2_server_now(server))) return;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "http2-flood", "HTTP/2: too many requests that end for nothing");
    h2_server_terminate(server, NGHTTP2_ENHANCE_YOUR_CALM, &error);
}

/* The client has done what it has to do first. */
static void settings_came(struct h2_server *server, bool is_acknowledgement)
{
    server->settings_received |= !is_acknowledgement;
    server->settings_acknowledged |= is_acknowledgement;
    if (server->settings_received && server->settings_acknowledged) server->settings_until_ms = UINT64_MAX;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_server *server = user_data;
    if (is_closed(server)) return NGHTTP2_ERR_CALLBACK_FAILURE;
    bool is_acknowledgement = frame->hd.flags & NGHTTP2_FLAG_ACK; /* of SETTINGS and PING */
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            head_is_whole(server, frame);
        else
            trailers_are_whole(server, frame);
        break;
    case NGHTTP2_DATA: data_is_whole(server, frame); break;
    case NGHTTP2_RST_STREAM:
        if (find(server, frame->hd.stream_id)) count_reset(server);
        break;
    case NGHTTP2_SETTINGS: settings_came(server, is_acknowledgement); break;
    case NGHTTP2_PING:
        if (is_acknowledgement) h2_server_end_drain(server);
        break;
    default: break;
    }
    return is_closed(server) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* nghttp2 has put an RST_STREAM on its way for it. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int failure, void *user_data)
{
    struct h2_server *server = user_data;
    struct h2_stream *stream = is_closed(server) ? NULL : find(server, frame->hd.stream_id);
    if (!stream || stream->gone) return 0;
    struct h2_slot *slot = h2_slot_of(stream);
    if (slot && !slot->opened && !slot->refused)
        tell_refused(slot, 400, "malformed-request", "fields that break HTTP/2's rules");
    stream->operations->lose(stream);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
    struct h2_server *server = user_data;
    struct h2_stream *stream = find(server, id);
    if (!stream) return 0;
    bool is_over = stream->out.ended && (stream->client_ended || !stream->two_way);
    stream->closed = true;
    if (!is_over && !stream->gone) stream->operations->lose(stream);
    return 0;
}

/* --- sending --- */

static ssize_t on_content_wanted(nghttp2_session *session, int32_t id, uint8_t *into, size_t size, uint32_t *flags,
                                 nghttp2_data_source *source, void *user_data)
{
    struct h2_stream *stream = find(user_data, id);
    if (!stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return h2_outflow_next(stream, size, flags);
}

/* nghttp2 goes from one such frame to the next without coming back to us. */
static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                        nghttp2_data_source *source, void *user_data)
{
    struct h2_server *server = user_data;
    struct h2_stream *stream = find(server, frame->hd.stream_id);
    h2_gather_content(&server->output, server->gathering, head, stream->out.pipe, length);
    return h2_gathering_has_room(server->gathering) ? 0 : NGHTTP2_ERR_PAUSE;
}

/* What a client brought about by breaking a rule, or by asking for more than it may. */
static bool is_clients_doing(uint32_t code)
{
    return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR || code == NGHTTP2_STREAM_CLOSED ||
           code == NGHTTP2_FRAME_SIZE_ERROR || code == NGHTTP2_REFUSED_STREAM || code == NGHTTP2_ENHANCE_YOUR_CALM;
}

/* Our heads begin with their status; interim ones may stand before it, even in one turn. */
static bool is_final_head(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS && frame->headers.nvlen > 0 && frame->headers.nva[0].value[0] != '1';
}

static void carrier_sent(struct h2_server *server, const nghttp2_frame *frame)
{
    struct h2_stream *stream = find(server, frame->hd.stream_id);
    bool is_data = frame->hd.type == NGHTTP2_DATA, ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (is_data) h2_guard_note_use(&server->guard, H2_USE_CONTENT_SENT);
    if (!stream) {
        bool was_shed = ends && nghttp2_session_get_stream_remote_close(server->h2, frame->hd.stream_id) == 0;
        if (was_shed) nghttp2_submit_rst_stream(server->h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        return;
    }
    struct h2_slot *slot = h2_slot_of(stream);
    if (slot)
        slot->stream.bytes_out += H2_FRAME_HEAD_BYTES + frame->hd.length;
    else
        h2_tunnel_note_content(stream, frame->hd.length);
    if (ends)
        h2_outflow_ended(stream, is_data ? server->output.gathered : UINT64_MAX);
    else if (slot && stream->two_way && is_final_head(frame)) /* also where the tunnel has gone meanwhile */
        h2_outflow_note_head(stream);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_server *server = user_data;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: carrier_sent(server, frame); break;
    case NGHTTP2_RST_STREAM:
        if (is_clients_doing(frame->rst_stream.error_code)) count_reset(server);
        break;
    default: break;
    }
    return 0;
}

/* A head that is too large for nghttp2, or no memory for its frame. Not for a stream that is closing anyway. */
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int failure, void *user_data)
{
    if (frame->hd.type != NGHTTP2_HEADERS || failure == NGHTTP2_ERR_STREAM_CLOSING ||
        failure == NGHTTP2_ERR_STREAM_CLOSED)
        return 0;
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* --- nghttp2's session --- */

const nghttp2_data_provider h2_server_content = { .read_callback = on_content_wanted };

static nghttp2_session_callbacks *create_callbacks(void)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    return callbacks;
}

/* Resets are counted by the guard, which tells a flood by what it costs; nghttp2's own limit would come first.
 * Answers are encoded without a table of their fields: what differs with each (date, request id) would push the rest out of it, and each
 * idle connection would hold it. */
static nghttp2_option *create_options(void)
{
    nghttp2_option *options;
    if (nghttp2_option_new(&options) != 0) return NULL;
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, 0); /* what answers have in common is little */
    nghttp2_option_set_max_settings(options, SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_max_outbound_ack(options, ACKS_WAITING_MAX);
    nghttp2_option_set_max_continuations(options, CONTINUATIONS_MAX);
    nghttp2_option_set_max_send_header_block_length(options, HEADER_BLOCK_BYTES_MAX);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, 0);
    nghttp2_option_set_stream_reset_rate_limit(options, NO_LIMIT, NO_LIMIT);
    return options;
}

nghttp2_session *h2_server_create_nghttp2(struct h2_server *server)
{
    nghttp2_session *session = NULL;
    nghttp2_session_callbacks *callbacks = create_callbacks();
    nghttp2_option *options = create_options();
    nghttp2_mem memory = h2_session_memory_init(&server->memory, server->worker->h2_memory);
    if (callbacks && options && nghttp2_session_server_new3(&session, callbacks, server, options, &memory) != 0)
        session = NULL;
    h2_session_memory_created(&server->memory);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    return session;
}
