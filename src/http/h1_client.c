/* A backend's connection. One request at a time:
 *
 *     CONNECTING -> IDLE -> HEAD -> BODY -> RETURNING -> IDLE
 *                             \       \---> LEAVING (closed; told to the pool from the run queue)
 *                              \-> SWITCHED -> TUNNEL -> LEAVING     after a 101
 *
 * Sending the request goes on beside HEAD and BODY: a backend may answer before it has taken the whole body. An idle connection
 * holds no buffer. What the pool and the stream's owner are told always comes from the loop: `task` is also the way out of calls
 * that came from them. */
#include "event/tls.h"
#include "http/h1_tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define INTERIM_HEADS_MAX 32
#define CONTINUE_WAIT_MS 1000
#define MEMORY_RETRY_MS 20
/* What is left of an answer that nobody wants is read away up to here, so that the connection can be kept. */
#define DISCARD_BYTES_MAX (64 * 1024)

enum h1_client_state {
    CLIENT_CONNECTING,
    CLIENT_IDLE,
    CLIENT_HEAD,
    CLIENT_BODY,
    CLIENT_SWITCHED, /* a 101 has come; the stream's owner says what follows */
    CLIENT_TUNNEL,
    CLIENT_RETURNING,
    CLIENT_LEAVING
};

struct h1_client {
    struct client_connection base;
    struct stream stream;
    struct http_worker *worker;
    const struct client_settings *settings;
    struct client_stream *current; /* in HEAD, BODY and SWITCHED */
    struct h1_tunnel *tunnel;      /* in TUNNEL */
    struct h1_input input;
    struct h1_parser parser;
    struct h1_reader reader;
    struct h1_writer writer;
    uint64_t heads_bytes;          /* received as heads */
    uint64_t continue_deadline_ms; /* while `holding_back` for a 100 */
    uint64_t asked_ns;             /* loop time, which is another in each turn, when the request was begun */
    struct timer timer;            /* the 100, or memory to read into */
    struct task task;
    struct retired retired;
    uint8_t state;      /* enum h1_client_state */
    uint8_t read_class; /* enum slab_class for the first read of an answer: as the last answer suggests */
    uint8_t interim_count;
    bool sending;      /* the request isn't out as a whole */
    bool holding_back; /* its body waits for a 100 */
};

static const struct client_connection_operations client_operations;

static void client_ready(struct stream *);
static void client_task(struct task *);
static void client_timer(struct timer *);
static void begin_answer(struct h1_client *);

/* NULL: the descriptor is closed. */
static struct h1_client *create(struct http_worker *worker, const struct client_settings *settings, int descriptor,
                                bool is_connected, const struct address *address,
                                const struct client_connection_events *events, void *owner, struct error *error)
{
    struct h1_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(descriptor);
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection");
        return NULL;
    }
    if (!stream_open(&client->stream, worker->loop, descriptor, !is_connected, client_ready, error)) {
        free(client);
        return NULL;
    }
    client->base = (struct client_connection){
        .operations = &client_operations,
        .events = events,
        .owner = owner,
        .address = *address,
        .idle_since_ms = worker->loop->now_ms,
        .streams_max = 1,
        .is_streams_max_known = true,
        .connected = is_connected,
    };
    list_init(&client->base.link);
    client->worker = worker;
    client->settings = settings;
    client->state = is_connected ? CLIENT_IDLE : CLIENT_CONNECTING;
    timer_init(&client->timer, client_timer);
    client->task.run = client_task;
    return client;
}

struct client_connection *h1_client_connect(struct http_worker *worker, const struct client_settings *settings,
                                            const struct address *address,
                                            const struct client_connection_events *events, void *owner,
                                            struct error *error)
{
    int descriptor = socket_connect(address, error);
    if (descriptor < 0) return NULL;
    struct h1_client *client = create(worker, settings, descriptor, false, address, events, owner, error);
    return client ? &client->base : NULL;
}

struct client_connection *h1_client_start(struct http_worker *worker, const struct client_settings *settings,
                                          struct session_socket socket, const struct address *address,
                                          const struct client_connection_events *events, void *owner,
                                          struct error *error)
{
    struct h1_client *client = create(worker, settings, socket.descriptor, true, address, events, owner, error);
    if (!client) {
        tls_session_destroy(socket.tls);
        return NULL;
    }
    if (socket.tls) stream_set_tls(&client->stream, socket.tls);
    return &client->base;
}

static struct h1_client *client_of(struct client_connection *connection)
{
    return CONTAINER_OF(connection, struct h1_client, base);
}

static void come_back(struct h1_client *client) { loop_enqueue(client->worker->loop, &client->task); }

static void come_back_next_turn(struct h1_client *client) { loop_enqueue_next(client->worker->loop, &client->task); }

static void tell_owner(struct h1_client *client, unsigned event)
{
    struct client_stream *stream = client->current;
    stream->events |= (uint8_t)event;
    loop_enqueue(client->worker->loop, stream->owner_task);
}

/* --- the end of a stream and of the connection --- */

static void free_client(struct retired *retired) { free(CONTAINER_OF(retired, struct h1_client, retired)); }

static void destroy(struct h1_client *client, bool reset)
{
    struct loop *loop = client->worker->loop;
    timer_clear(&loop->timers, &client->timer);
    loop_dequeue(loop, &client->task);
    h1_input_drop(&client->input);
    stream_close(&client->stream, reset);
    loop_retire(loop, &client->retired, free_client);
}

/* The bytes that the connection counts, into the stream. */
static void count_bytes(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    stream->bytes_sent = client->writer.sent;
    stream->request_sent = client->writer.sent > 0;
    stream->bytes_received = client->heads_bytes + (client->state == CLIENT_BODY ? client->reader.wire_bytes : 0);
}

/* The next answer is likely to be like this one. A body moved by splice needs no large buffer. */
static void learn_size(struct h1_client *client)
{
    bool is_large = client->current->bytes_received > SLAB_SMALL_BYTES;
    bool is_spliced = client->settings->splice_bytes_min &&
                      client->current->bytes_received >= client->settings->splice_bytes_min + SLAB_SMALL_BYTES;
    client->read_class = is_large && !is_spliced ? SLAB_MEDIUM : SLAB_SMALL;
}

/* Lets go of the stream; both sides hear of it from the run queue. */
static void leave_stream(struct h1_client *client, bool reusable)
{
    struct client_stream *stream = client->current;
    count_bytes(client);
    h1_writer_release(&client->writer);
    if (stream->events & CLIENT_STREAM_HEAD) body_pipe_detach_producer(&stream->response_body);
    timer_clear(&client->worker->loop->timers, &client->timer);
    h1_input_drop(&client->input);
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    stream->connection = NULL;
    client->current = NULL;
    client->state = reusable ? CLIENT_RETURNING : CLIENT_LEAVING;
    loop_dequeue(client->worker->loop, &client->task); /* reading may have left it for the next turn */
    come_back(client);
}

static void finish(struct h1_client *client, bool reusable)
{
    count_bytes(client);
    learn_size(client);
    tell_owner(client, CLIENT_STREAM_DONE);
    if (reusable) client->base.kept = true;
    leave_stream(client, reusable);
}

static void fail(struct h1_client *client, const struct error *error)
{
    struct client_stream *stream = client->current;
    stream->failure = *error;
    if (stream->events & CLIENT_STREAM_HEAD) body_pipe_abort(&stream->response_body, error);
    tell_owner(client, CLIENT_STREAM_DONE);
    leave_stream(client, false);
}

static void fail_for_memory(struct h1_client *client)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for an exchange with a backend");
    fail(client, &error);
}

/* No (whole) answer will come. */
static void fail_for_end(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    struct error error;
    int system_error = client->stream.failed ? client->stream.system_error : 0;
    const char *how = system_error ? "reset the connection" : "closed the connection";
    if (stream->events & CLIENT_STREAM_HEAD)
        error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "truncated-body", "the backend %s inside its answer's body",
                  how);
    else if (client->input.slab && !h1_input_is_empty(&client->input))
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "reset", "the backend %s inside its answer's head",
                  how);
    else if (client->base.kept && !stream->response_begun)
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection",
                  "the backend %s that was kept, before it answered", how);
    else
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "reset", "the backend %s before it answered", how);
    fail(client, &error);
}

/* What the codec found; its many reasons are one to a client. */
static void fail_for_framing(struct h1_client *client, struct error *error)
{
    if (error->status == 502) error->reason = "bad-response";
    fail(client, error);
}

/* --- the request --- */

/* The request's own body broke, or isn't as long as its head said. */
static void fail_for_request_body(struct h1_client *client)
{
    const struct body_pipe *body = client->current->request_body;
    struct error error;
    if (body->state == BODY_ABORTED)
        error = body->failure;
    else
        error_set(&error, BLAME_US, RETRY_NEVER, 500, "bad-body-length",
                  "a request's body is not as long as its head says");
    fail(client, &error);
}

/* A broken connection may still hold an answer: reading tells. */
static void send_on(struct h1_client *client)
{
    enum h1_write_result result = h1_writer_run(&client->writer);
    count_bytes(client);
    switch (result) {
    case H1_WRITE_DONE: client->sending = client->holding_back; break;
    case H1_WRITE_BLOCKED:
    case H1_WRITE_STARVED: break;
    case H1_WRITE_AGAIN: come_back_next_turn(client); break;
    case H1_WRITE_FAILED:
        if (client->writer.sent == 0) { /* what can be read was no answer to this */
            fail_for_end(client);
            break;
        }
        h1_writer_release(&client->writer);
        client->holding_back = false;
        come_back(client);
        break;
    case H1_WRITE_CUT: fail_for_request_body(client); break;
    }
}

static enum h1_framing framing_of(const struct client_stream *stream)
{
    if (!stream->request->has_body) return H1_FRAMING_NONE;
    if (stream->request_body && stream->request_body->expected == BODY_LENGTH_UNKNOWN) return H1_FRAMING_CHUNKED;
    return stream->request->body_length == BODY_LENGTH_UNKNOWN ? H1_FRAMING_CHUNKED : H1_FRAMING_LENGTH;
}

static bool write_head(struct h1_client *client, enum h1_framing framing, struct error *error)
{
    struct client_stream *stream = client->current;
    char *head = arena_allocate(stream->arena, h1_request_head_size(stream->request, stream->target));
    if (!head) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a request's head");
    char *end = h1_write_request_head(stream->request, stream->target, framing, true, stream->upgrade, head, error);
    if (!end) return false;
    bool added = h1_writer_add_head(&client->writer, slice_of(head, (size_t)(end - head)));
    PROMISE(added);
    return true;
}

static void attach_body(struct h1_client *client, enum h1_framing framing)
{
    struct client_stream *stream = client->current;
    client->holding_back = false;
    client->sending = true;
    h1_writer_set_body(&client->writer, stream->request_body, framing, stream->request->body_length, &client->task);
}

static void hold_back(struct h1_client *client)
{
    client->holding_back = true;
    client->continue_deadline_ms = client->worker->loop->now_ms + CONTINUE_WAIT_MS;
    timer_set(&client->worker->loop->timers, &client->timer, client->continue_deadline_ms);
}

/* False: the backend has spoken or gone before it was asked. A kept connection that events call silent is believed where a wrong guess
 * costs no more than sending the request again. */
static bool is_ready_to_be_asked(struct h1_client *client, struct error *error)
{
    bool is_kept = client->base.kept;
    if (LIKELY(is_kept && !client->current->unrepeatable)) return true;
    enum stream_silence silence = stream_look(&client->stream);
    if (LIKELY(silence == STREAM_SILENT)) return true;
    const char *what = silence == STREAM_UNASKED_BYTES ? "sent bytes" : "closed the connection";
    if (is_kept)
        return error_set(error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, 502, "stale-connection",
                         "the backend %s while it was idle", what);
    return error_set(error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502,
                     silence == STREAM_UNASKED_BYTES ? "bad-response" : "reset", "the backend %s before it was asked",
                     what);
}

static void client_open(struct client_connection *connection, struct client_stream *stream)
{
    struct h1_client *client = client_of(connection);
    PROMISE(client->state == CLIENT_IDLE && !client->current);
    client->current = stream;
    client->state = CLIENT_HEAD;
    client->interim_count = 0;
    client->heads_bytes = 0;
    client->holding_back = client->sending = false;
    client->asked_ns = client->worker->loop->now_ns;

    response_head_init(&stream->response, stream->arena);
    h1_parser_init(&client->parser);
    h1_writer_init(&client->writer, client->worker, &client->stream, stream->arena);
    stream->connection = connection;

    enum h1_framing framing = framing_of(stream);
    struct error error;
    if (!is_ready_to_be_asked(client, &error) || !write_head(client, framing, &error)) {
        fail(client, &error);
        return;
    }
    client->sending = true;
    if (stream->request_body && stream->wait_for_continue)
        hold_back(client);
    else if (stream->request_body && framing != H1_FRAMING_NONE)
        attach_body(client, framing);
    send_on(client);
}

/* --- the answer's head --- */

static bool hold_slab(struct h1_client *client)
{
    struct held_slab *heads = &client->current->heads;
    struct slab *slab = client->input.slab;
    if (heads->slab == slab) return true;
    if (heads->slab) {
        struct held_slab *held = arena_allocate(client->current->arena, sizeof *held);
        if (!held) return false;
        *held = *heads;
        heads->next = held;
    }
    slab_retain(slab);
    heads->slab = slab;
    return true;
}

/* The slab is full, or there is none. A head that outgrows it moves to a larger one, for which nobody has promised room. */
static bool make_room_for_head(struct h1_client *client)
{
    struct h1_input *input = &client->input;
    struct slab *old = input->slab;
    if (old && old->filled < old->size) return true;
    struct slice bytes = h1_input_bytes(input);
    struct slab *fresh;
    if (bytes.length > 0) {
        bool is_small = bytes.length < SLAB_SMALL_BYTES / 2;
        fresh = slab_take_sized(client->worker->slabs, is_small ? SLAB_SMALL_BYTES : bytes.length * 2);
    } else {
        fresh = h1_take_slab(client->worker->slabs, client->read_class);
        if (!fresh) fresh = slab_reserve_take(&client->current->head_reserve);
    }
    if (!fresh) return false;
    if (bytes.length > 0) {
        memcpy(fresh->bytes, bytes.at, bytes.length);
        h1_response_rebase(&client->current->response, bytes.at, bytes.length, fresh->bytes);
    }
    fresh->filled = (uint32_t)bytes.length;
    h1_input_drop(input);
    input->slab = fresh;
    return true;
}

/* False: nothing more to do now (or the stream has failed). */
static bool read_for_head(struct h1_client *client)
{
    if (!client->stream.may_read) {
        if (client->stream.failed) fail_for_end(client);
        return false;
    }
    if (!make_room_for_head(client)) {
        fail_for_memory(client);
        return false;
    }
    switch (h1_input_read(&client->input, &client->stream, SIZE_MAX)) {
    case STREAM_OK: client->current->response_begun = true; return true;
    case STREAM_WAIT:
        if (h1_input_is_empty(&client->input)) h1_input_drop(&client->input);
        return false;
    case STREAM_END:
    case STREAM_FAIL: break;
    }
    fail_for_end(client);
    return false;
}

static bool refuse(struct h1_client *client, const char *text)
{
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-response", "the backend sent %s", text);
    fail(client, &error);
    return false;
}

static bool take_interim(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    if (++client->interim_count > INTERIM_HEADS_MAX) return refuse(client, "too many interim answers");
    struct interim_response *interim = arena_allocate(stream->arena, sizeof *interim);
    if (!interim) {
        fail_for_memory(client);
        return false;
    }
    *interim = (struct interim_response){ .head = stream->response };
    struct interim_response **last = &stream->interim;
    while (*last) last = &(*last)->next;
    *last = interim;
    tell_owner(client, CLIENT_STREAM_INTERIM);
    response_head_init(&stream->response, stream->arena);
    h1_parser_init(&client->parser);
    if (interim->head.status == 100 && client->holding_back) {
        attach_body(client, framing_of(stream));
        send_on(client);
    }
    return client->current != NULL;
}

/* What the backend has sent behind the 101 stays in the input. */
static bool switch_protocols(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    if (!stream->upgrade) return refuse(client, "a 101 that nobody asked for");
    if (client->sending) return refuse(client, "a 101 before it had the whole request");
    client->state = CLIENT_SWITCHED;
    body_pipe_init(&stream->response_body, client->worker->loop, 0);
    body_pipe_finish(&stream->response_body, NULL);
    stream->head_ns = client->worker->loop->now_ns;
    tell_owner(client, CLIENT_STREAM_HEAD);
    return false;
}

/* False: as above. */
static bool parse_head(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    struct slice bytes = h1_input_bytes(&client->input);
    struct error error;
    switch (h1_parse_response(&client->parser, bytes.at, bytes.length, &client->settings->limits,
                              stream->request->method, &stream->response, &error)) {
    case H1_MORE: return read_for_head(client);
    case H1_BAD: fail_for_framing(client, &error); return false;
    case H1_COMPLETE: break;
    }
    client->input.start += client->parser.head_length;
    client->heads_bytes += client->parser.head_length;
    if (!hold_slab(client)) {
        fail_for_memory(client);
        return false;
    }
    if (stream->response.status == 101) return switch_protocols(client);
    if (stream->response.status < 200) return take_interim(client);
    begin_answer(client);
    return true;
}

/* --- the answer's body --- */

static void stop_sending(struct h1_client *client)
{
    client->holding_back = false;
    client->writer.head = SLICE_ABSENT;
    h1_writer_release(&client->writer);
}

static void begin_body(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    const struct response_head *head = &stream->response;
    bool has_body = head->has_body;
    uint64_t length = has_body ? head->body_length : 0;
    body_pipe_init(&stream->response_body, client->worker->loop, length);
    stream->response_body.producer_task = &client->task;
    h1_reader_init(&client->reader, client->worker, &client->stream, &client->input, &stream->response_body,
                   &client->settings->limits, has_body && client->parser.chunked, length, stream->arena);
    client->reader.chunked.from_backend = true;
    if (client->reader.is_chunked)
        client->reader.connection_options = headers_combined(&head->headers, HEADER_CONNECTION);
    client->reader.discard_max = DISCARD_BYTES_MAX;
    client->reader.reserve = &stream->body_reserve;
    h1_reader_offer_splice(&client->reader, client->settings->splice_bytes_min);
}

/* An error while the request is still being sent says that the backend wants no more of it. A backend that answers in the good while it
 * reads may be working on the body as it comes. */
static void begin_answer(struct h1_client *client)
{
    struct client_stream *stream = client->current;
    client->state = CLIENT_BODY;
    begin_body(client);
    stream->head_ns = client->worker->loop->now_ns;
    tell_owner(client, CLIENT_STREAM_HEAD);
    if (client->sending && (client->holding_back || stream->response.status >= 400)) stop_sending(client);
}

static void answer_is_over(struct h1_client *client)
{
    bool reusable = !client->sending && client->parser.keep_alive && h1_input_is_empty(&client->input) &&
                    !client->stream.peer_finished && !client->stream.failed;
    finish(client, reusable);
}

static void retry_for_memory(struct h1_client *client)
{
    struct loop *loop = client->worker->loop;
    if (!timer_is_set(&client->timer) || client->timer.deadline_ms > loop->now_ms + MEMORY_RETRY_MS)
        timer_set(&loop->timers, &client->timer, loop->now_ms + MEMORY_RETRY_MS);
}

static void read_body(struct h1_client *client)
{
    struct error error;
    enum h1_read_result result = h1_reader_run(&client->reader, &error);
    count_bytes(client);
    switch (result) {
    case H1_READ_WAIT:
        if (client->input.slab && client->input.slab->references == 1 && h1_input_is_empty(&client->input))
            h1_input_drop(&client->input);
        break;
    case H1_READ_NO_CREDIT: break;
    case H1_READ_NO_MEMORY: retry_for_memory(client); break;
    case H1_READ_AGAIN: come_back_next_turn(client); break;
    case H1_READ_OVER: answer_is_over(client); break;
    case H1_READ_TRUNCATED: fail_for_end(client); break;
    case H1_READ_BAD: fail_for_framing(client, &error); break;
    case H1_READ_UNWANTED: finish(client, false); break;
    }
}

static void read_on(struct h1_client *client)
{
    while (client->state == CLIENT_HEAD &&
           (h1_input_is_empty(&client->input) ? read_for_head(client) : parse_head(client)))
        ;
    if (client->state == CLIENT_BODY) read_body(client);
}

/* --- a tunnel --- */

static void leave_tunnel(struct h1_client *client, bool tell, bool reset)
{
    h1_tunnel_destroy(client->tunnel, tell);
    client->tunnel = NULL;
    timer_clear(&client->worker->loop->timers, &client->timer);
    h1_input_drop(&client->input);
    stream_close(&client->stream, reset);
    client->state = CLIENT_LEAVING;
    loop_dequeue(client->worker->loop, &client->task);
    come_back(client);
}

static void owner_closes_tunnel(struct h1_tunnel *tunnel, bool reset) { leave_tunnel(tunnel->session, false, reset); }

static void follow_tunnel(struct h1_client *client, enum h1_tunnel_result result)
{
    switch (result) {
    case H1_TUNNEL_WAIT: break;
    case H1_TUNNEL_AGAIN: come_back_next_turn(client); break;
    case H1_TUNNEL_STARVED: retry_for_memory(client); break;
    case H1_TUNNEL_OVER: leave_tunnel(client, true, client->tunnel->reset); break;
    }
}

static bool client_open_tunnel(struct client_connection *connection, struct client_stream *stream,
                               struct tunnel_end *end)
{
    struct h1_client *client = client_of(connection);
    PROMISE(client->state == CLIENT_SWITCHED && client->current == stream);
    struct h1_tunnel *tunnel = h1_tunnel_create(client->worker, &client->stream, &client->input, &client->task, end);
    if (!tunnel) return false;
    tunnel->session = client;
    tunnel->owner_closes = owner_closes_tunnel;
    count_bytes(client);
    h1_writer_release(&client->writer);
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    stream->connection = NULL;
    client->current = NULL;
    client->tunnel = tunnel;
    client->state = CLIENT_TUNNEL;
    h1_tunnel_begin(tunnel);
    return true;
}

/* --- what the loop tells --- */

static void report_lost(struct h1_client *client, const struct error *error)
{
    client->base.events->lost(&client->base, error);
    destroy(client, false);
}

static void look_for_connect(struct h1_client *client)
{
    int outcome = stream_connect_outcome(&client->stream);
    if (outcome == EINPROGRESS) return;
    if (outcome == 0) {
        client->state = CLIENT_IDLE;
        client->base.connected = true;
        client->base.events->connected(&client->base);
        return;
    }
    struct error error;
    char address[ADDRESS_TEXT_BYTES];
    address_write(&client->base.address, address);
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "connect-failure", "cannot connect to %s: %s", address,
              error_from_errno(outcome));
    report_lost(client, &error);
}

/* `status`: for the request that met it, 0 where there was none. */
static void call_stale(const struct h1_client *client, uint16_t status, struct error *error)
{
    error_set(error, BLAME_UPSTREAM, RETRY_OTHER_CONNECTION, status, "stale-connection",
              "the backend %s while it was idle", client->stream.peer_finished ? "closed a connection" : "sent bytes");
}

static void look_for_staleness(struct h1_client *client)
{
    if (!stream_is_stale(&client->stream)) return;
    struct error error;
    call_stale(client, 0, &error);
    report_lost(client, &error);
}

/* The writer's pipe may have been let go after a failure; then there is nothing left to send. */
static bool may_send(const struct h1_client *client)
{
    return client->sending && !client->stream.failed && (client->writer.head.length > 0 || client->writer.pipe);
}

static void advance(struct h1_client *client)
{
    if (may_send(client)) send_on(client);
    if (client->current) read_on(client);
}

/* The events of a turn were collected before it began. So what this one tells of had come before the request that was sent in the same
 * turn, and is no answer to it. */
static bool came_unasked(const struct h1_client *client)
{
    return client->state == CLIENT_HEAD && client->base.kept && client->stream.may_read &&
           !client->current->response_begun && client->asked_ns == client->worker->loop->now_ns;
}

static void fail_for_unasked(struct h1_client *client)
{
    struct error error;
    call_stale(client, 502, &error);
    fail(client, &error);
}

static void client_ready(struct stream *stream)
{
    struct h1_client *client = CONTAINER_OF(stream, struct h1_client, stream);
    if (UNLIKELY(came_unasked(client))) {
        fail_for_unasked(client);
        return;
    }
    switch ((enum h1_client_state)client->state) {
    case CLIENT_CONNECTING: look_for_connect(client); break;
    case CLIENT_IDLE: look_for_staleness(client); break;
    case CLIENT_HEAD:
    case CLIENT_BODY: advance(client); break;
    case CLIENT_TUNNEL: follow_tunnel(client, h1_tunnel_ready(client->tunnel)); break;
    case CLIENT_SWITCHED:
    case CLIENT_RETURNING:
    case CLIENT_LEAVING: break; /* the task is on its way */
    }
}

static void client_task(struct task *task)
{
    struct h1_client *client = CONTAINER_OF(task, struct h1_client, task);
    bool reusable = false;
    switch ((enum h1_client_state)client->state) {
    case CLIENT_CONNECTING:
    case CLIENT_IDLE:
    case CLIENT_SWITCHED: return;
    case CLIENT_HEAD:
    case CLIENT_BODY: advance(client); return;
    case CLIENT_TUNNEL: follow_tunnel(client, h1_tunnel_run(client->tunnel)); return;
    case CLIENT_RETURNING: reusable = !stream_is_stale(&client->stream); break;
    case CLIENT_LEAVING: break;
    }
    client->state = CLIENT_IDLE;
    client->base.events->free_again(&client->base, reusable);
    if (!reusable) destroy(client, client->sending);
}

static void client_timer(struct timer *timer)
{
    struct h1_client *client = CONTAINER_OF(timer, struct h1_client, timer);
    struct loop *loop = client->worker->loop;
    if (client->state == CLIENT_TUNNEL) follow_tunnel(client, h1_tunnel_run(client->tunnel));
    if (!client->current || client->state == CLIENT_SWITCHED) return;
    if (client->holding_back) {
        if (loop->now_ms < client->continue_deadline_ms)
            timer_set(&loop->timers, &client->timer, client->continue_deadline_ms);
        else
            attach_body(client, framing_of(client->current));
    }
    advance(client);
}

/* --- what the pool and the owner ask for --- */

/* A backend must not take a request that was cut off for a whole one: hence the reset, as above. */
static void client_cancel(struct client_connection *connection, struct client_stream *stream)
{
    struct h1_client *client = client_of(connection);
    PROMISE(client->current == stream);
    bool was_sending = client->sending;
    leave_stream(client, false);
    stream_close(&client->stream, was_sending);
}

static void client_close(struct client_connection *connection)
{
    struct h1_client *client = client_of(connection);
    PROMISE(!client->current);
    destroy(client, false);
}

static bool client_is_stale(struct client_connection *connection)
{
    return stream_is_stale(&client_of(connection)->stream);
}

static const struct client_connection_operations client_operations = {
    .open = client_open,
    .cancel = client_cancel,
    .open_tunnel = client_open_tunnel,
    .close = client_close,
    .is_stale = client_is_stale,
};
