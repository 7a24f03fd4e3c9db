/* A backend's HTTP/2 connection: what comes in goes through nghttp2's session, whose callbacks (most of them in h2_client_answer.c) find
 * the stream it is for; what is to go out is gathered from it and written once in a run of the connection's task.
 *
 * What waits for a slow reader is bounded by each stream's window, which is as large as its pipe. The connection's own window is given
 * back as bytes come, so that no stream waits for another one's reader. The exception is memory: at the ceiling a stream whose content has
 * no place holds the whole connection up until it has, since HTTP/2 can't take back a window that it has given. */
#include "http/h2_client_private.h"

#include "event/tls.h"
#include "http/h1_body.h"

#include <stdlib.h>
#include <unistd.h>

#define READS_A_TURN 16
#define LOOKS_MAX 4
#define MEMORY_RETRY_MS 20
/* More than all streams' windows need between two WINDOW_UPDATEs. */
#define CONNECTION_WINDOW_BYTES (1024 * 1024)
/* As long as its SETTINGS haven't come. RFC 9113 6.5.2 recommends that a backend allows no fewer. */
#define STREAMS_AT_FIRST 100
/* More than heads within any limits that can be configured take. nghttp2's own bound is 64 KiB. */
#define HEADER_BLOCK_BYTES_MAX (4 * 1024 * 1024)

static const struct client_connection_operations client_operations;

static void client_ready(struct stream *);
static void client_task(struct task *);
static void client_flush_task(struct task *);
static void client_timer(struct timer *);

void h2_client_come_back(struct h2_client *client)
{
    if (!client->closed) loop_enqueue(client->worker->loop, &client->task);
}

void h2_client_wait_for_memory(struct h2_client *client)
{
    struct loop *loop = client->worker->loop;
    timer_set(&loop->timers, &client->timer, loop->now_ms + MEMORY_RETRY_MS);
}

/* --- the session --- */

static void tell_capacity(struct h2_client *client)
{
    uint32_t allowed = nghttp2_session_get_remote_settings(client->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    client->base.streams_max = client->draining || client->broken ? 0 : allowed;
    client->capacity_changed = true;
    h2_client_come_back(client);
}

static void drain(struct h2_client *client)
{
    if (client->draining) return;
    client->draining = true;
    tell_capacity(client);
}

static void submit_waiting(struct h2_client *client)
{
    struct list_link *next;
    for (struct list_link *link = client->slots.next; link != &client->slots; link = next) {
        next = link->next;
        struct h2_client_slot *slot = CONTAINER_OF(link, struct h2_client_slot, link);
        if (slot->waits_for_settings) h2_client_slot_submit(slot);
    }
}

static int take_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_client *client = user_data;
    if (frame->hd.stream_id != 0) {
        struct h2_client_slot *slot = h2_client_slot_of(session, frame->hd.stream_id);
        if (slot && (slot->stream || slot->end)) h2_answer_take_frame(slot, frame);
    } else if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        client->base.is_streams_max_known = true;
        submit_waiting(client);
        tell_capacity(client);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        drain(client);
    }
    return 0;
}

/* On a stream the session resets it, and forget_stream says so to its owner; else the connection ends. */
static int note_complaint(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user_data)
{
    (void)session;
    struct h2_client *client = user_data;
    if (frame->hd.stream_id == 0) client->complaint = nghttp2_strerror(code);
    return 0;
}

static int note_error(nghttp2_session *session, int code, const char *text, size_t length, void *user_data)
{
    (void)session, (void)text, (void)length;
    struct h2_client *client = user_data;
    if (code == NGHTTP2_ERR_SETTINGS_EXPECTED) client->complaint = "the first bytes are no HTTP/2";
    return 0;
}

static nghttp2_session *create_session(struct h2_client *client)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return NULL;
    if (nghttp2_option_new(&options) == 0) {
        h2_client_slot_set_callbacks(callbacks);
        h2_answer_set_callbacks(callbacks);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, take_frame);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, note_complaint);
        nghttp2_session_callbacks_set_error_callback2(callbacks, note_error);
        nghttp2_option_set_no_auto_window_update(options, 1);
        nghttp2_option_set_no_closed_streams(options, 1);
        nghttp2_option_set_peer_max_concurrent_streams(options, STREAMS_AT_FIRST);
        nghttp2_option_set_max_send_header_block_length(options, HEADER_BLOCK_BYTES_MAX);
        if (nghttp2_session_client_new2(&session, callbacks, client, options) != 0) session = NULL;
        nghttp2_option_del(options);
    }
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

/* What a backend may send: no pushes (RFC 9113 6.5.2), of each stream what a pipe holds, heads as large as HTTP/1.1's. */
static bool introduce_ourselves(struct h2_client *client)
{
    const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, BODY_PIPE_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, client->settings->limits.header_bytes },
    };
    return nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, entries, COUNT_OF(entries)) == 0 &&
           nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES) == 0;
}

/* --- beginning and end --- */

static void free_client(struct retired *retired) { free(CONTAINER_OF(retired, struct h2_client, retired)); }

static void free_slots(struct h2_client *client)
{
    struct list_link *link;
    while ((link = list_first(&client->slots)) != NULL)
        h2_client_slot_recycle(CONTAINER_OF(link, struct h2_client_slot, link));
    while ((link = list_first(&client->spare)) != NULL) {
        list_remove(link);
        free(CONTAINER_OF(link, struct h2_client_slot, link));
    }
}

static void drop_input(struct h2_client *client)
{
    slab_drop(client->input);
    client->input = NULL;
    client->input_at = 0;
}

static void destroy(struct h2_client *client)
{
    struct loop *loop = client->worker->loop;
    client->closed = true;
    timer_clear(&loop->timers, &client->timer);
    loop_dequeue(loop, &client->task);
    loop_dequeue(loop, &client->flush_task);
    drop_input(client);
    h2_output_release(&client->output);
    slab_reserve_release(&client->input_reserve);
    nghttp2_session_del(client->session);
    free_slots(client);
    stream_close(&client->stream, false);
    loop_retire(loop, &client->retired, free_client);
}

/* Takes over the socket. */
static bool open_stream(struct h2_client *client, struct session_socket socket, struct error *error)
{
    if (!stream_open(&client->stream, client->worker->loop, socket.descriptor, false, client_ready, error)) {
        tls_session_destroy(socket.tls);
        slab_drop(socket.early);
        return false;
    }
    if (socket.tls) stream_set_tls(&client->stream, socket.tls);
    client->input = socket.early;
    if (client->input) client->input_at = (uint32_t)(socket.early_bytes.at - client->input->bytes);
    return true;
}

static bool no_memory(struct error *error)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection");
}

/* After open_stream. False: out of memory, and everything but the stream is undone. */
static bool prepare(struct h2_client *client)
{
    h2_output_init(&client->output, &client->stream, client->worker->slabs->ceiling);
    client->session = create_session(client);
    if (client->session && introduce_ourselves(client)) return true;
    if (client->session) nghttp2_session_del(client->session);
    return false;
}

struct client_connection *h2_client_start(struct http_worker *worker, const struct client_settings *settings,
                                          struct session_socket socket, const struct address *address,
                                          const struct client_connection_events *events, void *owner,
                                          struct error *error)
{
    struct h2_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(socket.descriptor);
        tls_session_destroy(socket.tls);
        slab_drop(socket.early);
        no_memory(error);
        return NULL;
    }
    client->worker = worker;
    client->settings = settings;
    client->base = (struct client_connection){
        .operations = &client_operations,
        .events = events,
        .owner = owner,
        .address = *address,
        .idle_since_ms = worker->loop->now_ms,
        .streams_max = STREAMS_AT_FIRST,
        .connected = true,
    };
    list_init(&client->base.link);
    list_init(&client->slots);
    list_init(&client->spare);
    timer_init(&client->timer, client_timer);
    client->task.run = client_task;
    client->flush_task.run = client_flush_task;
    if (!open_stream(client, socket, error)) {
        free(client);
        return NULL;
    }
    if (!prepare(client)) {
        no_memory(error);
        drop_input(client);
        stream_close(&client->stream, false);
        loop_retire(worker->loop, &client->retired, free_client);
        return NULL;
    }
    loop_enqueue_next(worker->loop,
                      &client->task); /* the first request comes earlier, and goes along with the preface */
    return &client->base;
}

/* --- reading --- */

/* All streams fail, each in its own words. The pool hears of it when they have left. */
static void end_connection(struct h2_client *client, const struct error *error_or_null, const char *how)
{
    client->broken = true;
    client->pause.slot = NULL;
    struct list_link *next;
    for (struct list_link *link = client->slots.next; link != &client->slots; link = next) {
        next = link->next;
        struct h2_client_slot *slot = CONTAINER_OF(link, struct h2_client_slot, link);
        if (slot->end)
            h2_client_tunnel_lost(slot);
        else if (!slot->stream)
            continue;
        else if (error_or_null)
            h2_client_slot_fail(slot, error_or_null);
        else
            h2_client_slot_fail_for_end(slot, how);
    }
    tell_capacity(client);
}

static void end_for_rules(struct h2_client *client)
{
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-response", "the backend broke the rules of HTTP/2%s%s",
              client->complaint ? ": " : "", client->complaint ? client->complaint : "");
    end_connection(client, &error, NULL);
}

static void end_for_memory(struct h2_client *client)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection to a backend");
    end_connection(client, &error, NULL);
}

static void end_for_peer(struct h2_client *client)
{
    bool was_reset = client->stream.failed && client->stream.system_error;
    end_connection(client, NULL, was_reset ? "reset the connection" : "closed the connection");
}

/* Gives the session what was read. False: nothing more for now. */
static bool digest(struct h2_client *client)
{
    if (client->broken || !h2_answer_end_pause(client)) return false;
    struct slab *input = client->input;
    if (!input) return true;
    ssize_t taken = nghttp2_session_mem_recv(client->session, (const uint8_t *)input->bytes + client->input_at,
                                             input->filled - client->input_at);
    if (UNLIKELY(taken < 0)) {
        if (!client->complaint) client->complaint = nghttp2_strerror((int)taken);
        if (taken == NGHTTP2_ERR_NOMEM)
            end_for_memory(client);
        else
            end_for_rules(client);
        return false;
    }
    client->input_at += (uint32_t)taken;
    return client->pause.slot == NULL;
}

/* Where nobody else holds the slab it is used again from its start, or, where nothing is to be read, given back. */
static bool make_room(struct h2_client *client)
{
    struct slab *input = client->input;
    if (input && input->references == 1 && (!client->input_was_filled || input->class >= SLAB_MEDIUM)) {
        input->filled = client->input_at = 0;
        return true;
    }
    if (input && input->size - input->filled >= input->size / 2) return true;
    struct slab *fresh = h1_take_slab(client->worker->slabs, client->input_was_filled ? SLAB_MEDIUM : SLAB_SMALL);
    if (!fresh && input && input->filled < input->size) return true;
    drop_input(client);
    if (!fresh) fresh = slab_reserve_take(&client->input_reserve);
    client->input = fresh;
    return fresh != NULL;
}

/* False: nothing more for now. */
static bool read_once(struct h2_client *client)
{
    struct stream *stream = &client->stream;
    if (!stream->may_read) {
        if (stream->failed) end_for_peer(client);
        return false;
    }
    if (!make_room(client)) {
        h2_client_wait_for_memory(client);
        return false;
    }
    struct slab *input = client->input;
    size_t moved;
    switch (stream_read(stream, input->bytes + input->filled, input->size - input->filled, &moved)) {
    case STREAM_OK: break;
    case STREAM_WAIT: return false;
    default: end_for_peer(client); return false;
    }
    input->filled += (uint32_t)moved;
    client->input_was_filled = input->filled == input->size;
    client->heard = true;
    return true;
}

static void read_on(struct h2_client *client)
{
    while (digest(client)) {
        if (turn_share_use(&client->reads, client->worker->loop) >= READS_A_TURN) {
            loop_enqueue_next(client->worker->loop, &client->task);
            break;
        }
        if (!read_once(client)) break;
    }
    if (!client->pause.slot && client->input && client->input_at == client->input->filled) drop_input(client);
}

/* A read that gets less than it could take ends reading until the next event; but what tells of the end may stand behind it. */
void h2_client_look(struct h2_client *client)
{
    for (unsigned i = 0; i < LOOKS_MAX && !client->broken; i++) {
        client->heard = false;
        stream_look_again(&client->stream);
        read_on(client);
        if (!client->heard) return;
    }
}

/* --- writing --- */

/* False: the session is out of memory. */
static bool gather(struct h2_client *client, struct h2_gathering *gathering)
{
    ssize_t length = 0;
    const uint8_t *bytes;
    client->gathering = gathering;
    while (h2_gathering_has_room(gathering) && (length = nghttp2_session_mem_send(client->session, &bytes)) > 0)
        h2_gather(&client->output, gathering, bytes, (size_t)length);
    client->gathering = NULL;
    return length >= 0;
}

/* What the session has to say, until it says no more or the kernel takes no more. */
static enum stream_result write_session(struct h2_client *client)
{
    struct h2_gathering gathering;
    enum stream_result result = STREAM_OK;
    if (h2_output_waits(&client->output)) result = h2_output_go_on(&client->output);
    h2_gathering_init(&gathering);
    while (result == STREAM_OK) {
        if (!gather(client, &gathering)) {
            h2_gathering_drop(&gathering);
            end_for_memory(client);
            return STREAM_OK;
        }
        if (gathering.count == 0) break;
        result = h2_output_write(&client->output, &gathering);
    }
    return result;
}

/* After a write that failed what had come can still be read: a backend may answer early and then close. */
static void write_on(struct h2_client *client)
{
    if (write_session(client) != STREAM_FAIL) return;
    read_on(client);
    if (!client->broken && !client->pause.slot) end_for_peer(client);
}

/* --- what the loop tells --- */

/* The pool may close the connection inside each call. */
static void tell_pool(struct h2_client *client)
{
    const struct client_connection_events *events = client->base.events;
    while (!client->closed && client->left_count > 0) {
        client->left_count--;
        events->free_again(&client->base, true);
    }
    if (!client->closed && client->capacity_changed) {
        client->capacity_changed = false;
        events->capacity_changed(&client->base);
    }
    if (client->closed || !client->broken) return;
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 0, "stale-connection",
              "a connection to the backend ended");
    events->lost(&client->base, &error);
    destroy(client);
}

/* The session ends by itself after it has told the backend what is wrong (RFC 9113 5.4.1). */
static bool session_is_over(const struct h2_client *client)
{
    return !client->broken && !nghttp2_session_want_read(client->session) &&
           !nghttp2_session_want_write(client->session) && !h2_output_waits(&client->output);
}

static bool wants_to_write(const struct h2_client *client)
{
    return h2_output_waits(&client->output) ? client->stream.may_write : nghttp2_session_want_write(client->session);
}

static void advance(struct h2_client *client, bool flushes)
{
    read_on(client);
    if (!client->broken && flushes)
        write_on(client);
    else if (!client->broken && wants_to_write(client))
        loop_enqueue_next(client->worker->loop, &client->flush_task);
    if (session_is_over(client)) {
        if (client->complaint || client->open_count > 0)
            end_for_rules(client);
        else
            drain(client);
    }
    tell_pool(client);
}

/* What the streams of a turn have to say goes out together at the beginning of the next one. One alone doesn't wait. */
static void client_task(struct task *task)
{
    struct h2_client *client = CONTAINER_OF(task, struct h2_client, task);
    advance(client, client->open_count <= 1);
}

static void client_flush_task(struct task *task) { advance(CONTAINER_OF(task, struct h2_client, flush_task), true); }

static void client_ready(struct stream *stream)
{
    struct h2_client *client = CONTAINER_OF(stream, struct h2_client, stream);
    advance(client, client->open_count <= 1 || h2_output_waits(&client->output));
}

static void client_timer(struct timer *timer) { advance(CONTAINER_OF(timer, struct h2_client, timer), true); }

/* --- what the pool asks for --- */

/* Says GOAWAY where that costs no waiting. */
static void client_close(struct client_connection *connection)
{
    struct h2_client *client = h2_client_of(connection);
    PROMISE(client->open_count == 0);
    if (!client->broken && nghttp2_session_terminate_session(client->session, NGHTTP2_NO_ERROR) == 0)
        (void)!write_session(client);
    destroy(client);
}

static bool client_is_stale(struct client_connection *connection)
{
    const struct h2_client *client = h2_client_of(connection);
    return client->broken || client->draining || client->stream.failed || client->stream.peer_finished;
}

static const struct client_connection_operations client_operations = {
    .open = h2_client_open,
    .cancel = h2_client_cancel,
    .open_tunnel = h2_client_open_tunnel,
    .close = client_close,
    .is_stale = client_is_stale,
};
