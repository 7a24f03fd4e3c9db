/* bench/h2_backend: the service behind HTTP/2 on the upstream side: as little work a request as a correct answer allows.
 *
 *     h2_backend PORT [--grpc]
 *
 * Cleartext with prior knowledge, one thread, edge-triggered epoll. Whatever is asked, once a request has ended its answer
 * is 128 bytes; with --grpc these are one gRPC message (a prefix of 5 bytes and 123) and grpc-status 0 follows as a trailer. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define READ_BYTES (64 * 1024)
#define BODY_BYTES 128
#define STREAMS_MAX 128
#define FIELD(NAME, VALUE)                                                            \
    {                                                                                 \
        (uint8_t *)(NAME), (uint8_t *)(VALUE), sizeof(NAME) - 1, sizeof(VALUE) - 1, 0 \
    }

struct connection {
    int descriptor;
    nghttp2_session *session;
    uint8_t *unsent; /* what the socket did not take yet */
    size_t unsent_length, unsent_size;
};

static bool grpc;
static nghttp2_session_callbacks *callbacks;
static uint8_t body[BODY_BYTES];

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *connection)
{
    static const nghttp2_nv trailer = FIELD("grpc-status", "0");
    (void)source;
    (void)connection;
    if (size < sizeof body) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    memcpy(buffer, body, sizeof body);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (grpc) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream, &trailer, 1) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return sizeof body;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *connection)
{
    static const nghttp2_nv plain_head[] = { FIELD(":status", "200"), FIELD("content-type", "application/octet-stream"),
                                             FIELD("content-length", "128") };
    static const nghttp2_nv grpc_head[] = { FIELD(":status", "200"), FIELD("content-type", "application/grpc") };
    static const nghttp2_data_provider provider = { .read_callback = read_body };
    (void)connection;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    return nghttp2_submit_response(session, frame->hd.stream_id, grpc ? grpc_head : plain_head, grpc ? 2 : 3,
                                   &provider);
}

static void drop(struct connection *connection)
{
    nghttp2_session_del(connection->session);
    close(connection->descriptor);
    free(connection->unsent);
    free(connection);
}

static void keep(struct connection *connection, const uint8_t *bytes, size_t length)
{
    if (connection->unsent_length + length > connection->unsent_size) {
        connection->unsent_size = 2 * (connection->unsent_length + length);
        connection->unsent = realloc(connection->unsent, connection->unsent_size);
        if (!connection->unsent) die("realloc");
    }
    memcpy(connection->unsent + connection->unsent_length, bytes, length);
    connection->unsent_length += length;
}

/* Sends what the session has to say, in one call where the socket takes it. False when the connection is gone. */
static bool flush(struct connection *connection)
{
    const uint8_t *bytes;
    ssize_t length;
    while ((length = nghttp2_session_mem_send(connection->session, &bytes)) > 0)
        keep(connection, bytes, (size_t)length);
    while (length == 0 && connection->unsent_length > 0) {
        ssize_t sent = send(connection->descriptor, connection->unsent, connection->unsent_length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return true;
        if (sent <= 0) break;
        connection->unsent_length -= (size_t)sent;
        memmove(connection->unsent, connection->unsent + sent, connection->unsent_length);
    }
    if (length == 0 && connection->unsent_length == 0 &&
        (nghttp2_session_want_read(connection->session) || nghttp2_session_want_write(connection->session)))
        return true;
    drop(connection);
    return false;
}

static void on_ready(struct connection *connection)
{
    static uint8_t buffer[READ_BYTES];
    for (;;) {
        ssize_t got = recv(connection->descriptor, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN) {
            flush(connection);
            return;
        }
        if (got <= 0 || nghttp2_session_mem_recv(connection->session, buffer, (size_t)got) != got) {
            drop(connection);
            return;
        }
        if (!flush(connection)) return;
    }
}

static void open_connection(int epoll, int descriptor)
{
    static const nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX } };
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection || nghttp2_session_server_new(&connection->session, callbacks, connection) != 0 ||
        nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 1) != 0)
        die("session");
    connection->descriptor = descriptor;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) die("epoll_ctl");
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: h2_backend PORT [--grpc]\n");
        return 1;
    }
    grpc = count > 2 && strcmp(arguments[2], "--grpc") == 0;
    memset(body, 'x', sizeof body);
    if (grpc) memcpy(body, (const uint8_t[]){ 0, 0, 0, 0, BODY_BYTES - 5 }, 5); /* not compressed, its length */
    raise_descriptor_limit();
    if (nghttp2_session_callbacks_new(&callbacks) != 0) die("callbacks");
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    int listener = listen_on(atoi(arguments[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL }, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                on_ready(events[i].data.ptr);
                continue;
            }
            int descriptor;
            while ((descriptor = accept_from(listener)) >= 0) open_connection(epoll, descriptor);
        }
    }
}
