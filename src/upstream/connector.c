/*   CONNECTING -> (PROXY header ->) (HANDSHAKE ->) a session of the version that the transport knows or ALPN agreed on
 *
 * A handshake costs the work of many requests: of those that could go on in one turn only some do, the others in the next one. */
#include "upstream/connector.h"

#include "http/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define STEPS_A_TURN 8

struct connector {
    struct connector_request request;
    struct stream stream;
    struct task task; /* the next step of a handshake */
    struct retired retired;
    uint8_t header_length; /* of the PROXY header; 0: none */
    char header[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
};

static void connector_ready(struct stream *);
static void connector_task(struct task *);

static void write_header(struct connector *connector)
{
    static const struct address unspecified;
    const struct connector_request *request = &connector->request;
    bool is_v2 = request->transport->proxy_protocol == 2;
    connector->header_length = (uint8_t)(is_v2 ? proxy_protocol_write_v2 : proxy_protocol_write_v1)(
        request->source ? request->source : &unspecified, request->destination ? request->destination : &unspecified,
        connector->header);
}

struct connector *connector_start(const struct connector_request *request, struct error *error)
{
    int descriptor = socket_connect(&request->instance->address, error);
    if (descriptor < 0) return NULL;
    struct connector *connector = calloc(1, sizeof *connector);
    if (!connector) {
        close(descriptor);
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection");
        return NULL;
    }
    if (!stream_open(&connector->stream, request->worker->loop, descriptor, true, connector_ready, error)) {
        free(connector);
        return NULL;
    }
    connector->request = *request;
    connector->task.run = connector_task;
    if (request->transport->proxy_protocol) write_header(connector);
    return connector;
}

/* --- the end --- */

static void free_connector(struct retired *retired) { free(CONTAINER_OF(retired, struct connector, retired)); }

static void retire(struct connector *connector)
{
    struct loop *loop = connector->request.worker->loop;
    loop_dequeue(loop, &connector->task);
    loop_retire(loop, &connector->retired, free_connector);
}

void connector_cancel(struct connector *connector)
{
    stream_close(&connector->stream, false);
    retire(connector);
}

static void fail(struct connector *connector, const struct error *error)
{
    struct connector_request request = connector->request;
    connector_cancel(connector);
    request.told(request.owner, NULL, error);
}

static void fail_to_connect(struct connector *connector, int system_error)
{
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "connect-failure", "cannot connect to %s: %s",
              connector->request.instance->name, error_from_errno(system_error));
    fail(connector, &error);
}

static void fail_handshake(struct connector *connector, struct error *error)
{
    error->reason = "tls-failure"; /* the words are the operator's */
    error_prefix(error, "cannot connect to %s", connector->request.instance->name);
    fail(connector, error);
}

static bool is_http_2(const struct transport *transport, const struct tls_session *tls)
{
    if (transport->version != TRANSPORT_CHOSEN) return transport->version == TRANSPORT_HTTP_2;
    return slice_equal(tls_session_protocol(tls), SLICE("h2"));
}

static void become_session(struct connector *connector)
{
    struct connector_request request = connector->request;
    struct session_socket socket = { .tls = connector->stream.tls };
    bool is_h2 = is_http_2(request.transport, socket.tls);
    socket.descriptor = stream_detach(&connector->stream);
    retire(connector);
    struct error error;
    struct client_connection *connection;
    connection = (is_h2 ? h2_client_start : h1_client_start)(request.worker->http, &request.worker->client_settings,
                                                             socket, &request.instance->address, request.events,
                                                             request.owner, &error);
    request.told(request.owner, connection, &error);
}

/* --- the handshake --- */

/* Who was told to speak HTTP/2, and says in ALPN that it speaks something else, is believed. */
static bool agrees(const struct connector *connector, struct error *error)
{
    struct slice chosen = tls_session_protocol(connector->stream.tls);
    if (connector->request.transport->version != TRANSPORT_HTTP_2 || slice_equal(chosen, SLICE("h2"))) return true;
    return error_set(error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "tls-failure",
                     "tls: the backend doesn't offer HTTP/2 (ALPN)");
}

static void step(struct connector *connector)
{
    struct error error;
    switch (stream_handshake(&connector->stream, &error)) {
    case STREAM_OK:
        if (agrees(connector, &error))
            become_session(connector);
        else
            fail_handshake(connector, &error);
        break;
    case STREAM_WAIT: break;
    default: fail_handshake(connector, &error); break;
    }
}

static void take_turn(struct connector *connector)
{
    struct upstream_worker *worker = connector->request.worker;
    if (turn_share_use(&worker->handshake_steps, worker->loop) < STEPS_A_TURN)
        step(connector);
    else
        loop_enqueue_next(worker->loop, &connector->task);
}

static void connector_task(struct task *task) { take_turn(CONTAINER_OF(task, struct connector, task)); }

static void begin_handshake(struct connector *connector)
{
    const struct connector_request *request = &connector->request;
    struct error error;
    struct tls_session *tls = tls_client_create(request->transport, request->instance, request->tickets, &error);
    if (!tls) {
        fail(connector, &error);
        return;
    }
    stream_set_tls(&connector->stream, tls);
    take_turn(connector);
}

/* A fresh socket has room for it. */
static bool send_header(struct connector *connector)
{
    size_t length = connector->header_length, moved = 0;
    if (length == 0) return true;
    const struct iovec piece = { connector->header, length };
    return stream_write(&connector->stream, &piece, 1, &moved) == STREAM_OK && moved == length;
}

static void look_for_connect(struct connector *connector)
{
    int outcome = stream_connect_outcome(&connector->stream);
    if (outcome == EINPROGRESS) return;
    if (outcome == 0 && !send_header(connector))
        outcome = connector->stream.system_error ? connector->stream.system_error : ENOBUFS;
    if (outcome != 0)
        fail_to_connect(connector, outcome);
    else if (connector->request.transport->tls)
        begin_handshake(connector);
    else
        become_session(connector);
}

static void connector_ready(struct stream *stream)
{
    struct connector *connector = CONTAINER_OF(stream, struct connector, stream);
    if (!stream->tls)
        look_for_connect(connector);
    else if (!connector->task.queued)
        take_turn(connector);
}
