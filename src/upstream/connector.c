/*   CONNECTING -> a session of the version that the transport wants */
#include "upstream/connector.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct connector {
    struct connector_request request;
    struct stream stream;
    struct retired retired;
};

static void connector_ready(struct stream *);

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
    return connector;
}

static void free_connector(struct retired *retired) { free(CONTAINER_OF(retired, struct connector, retired)); }

static void retire(struct connector *connector)
{
    loop_retire(connector->request.worker->loop, &connector->retired, free_connector);
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
    char address[ADDRESS_TEXT_BYTES];
    address_write(&connector->request.instance->address, address);
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "connect-failure", "cannot connect to %s: %s", address,
              error_from_errno(system_error));
    fail(connector, &error);
}

static void become_session(struct connector *connector)
{
    struct connector_request request = connector->request;
    struct session_socket socket = { .tls = connector->stream.tls };
    socket.descriptor = stream_detach(&connector->stream);
    retire(connector);
    struct error error;
    struct client_connection *connection = h2_client_start(request.worker->http, &request.worker->client_settings,
                                                           socket, &request.instance->address, request.events,
                                                           request.owner, &error);
    request.told(request.owner, connection, &error);
}

static void connector_ready(struct stream *stream)
{
    struct connector *connector = CONTAINER_OF(stream, struct connector, stream);
    int outcome = stream_connect_outcome(stream);
    if (outcome == EINPROGRESS) return;
    if (outcome == 0)
        become_session(connector);
    else
        fail_to_connect(connector, outcome);
}
