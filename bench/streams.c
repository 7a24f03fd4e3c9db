/* bench/streams: the load of connections that live long: WebSocket messages there and back, events as they come.
 *
 *     streams echo PORT SOCKETS SECONDS      each socket sends a message when the one before has come back
 *     streams events PORT STREAMS SECONDS    how long each event was under way from bench/streams_backend
 *
 * "ready" on a line of its own says that all stand and the clock runs; at its end comes one line of JSON, and the
 * connections stay until standard input ends, so that closing them is in nobody's figures. An echo counts when it is the
 * message sent, an event when its number is the next. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define HEAD_BYTES_MAX 4096
#define MESSAGE_BYTES 100u
#define FRAME_HEAD 2u
#define MASK_BYTES 4u
#define BINARY_FRAME 0x82
#define EVENT_BYTES 39u /* "data: ", 20 digits of time, a blank, 10 of the number, two line feeds */

struct stream {
    int descriptor;
    uint64_t number;   /* of the message under way, or of the next event */
    size_t chunk_left; /* events: what is left of the chunk that is being read */
    size_t chunk_size; /* ... or its size, as far as that has been read */
    enum { IN_SIZE, IN_EXTENSION, IN_CHUNK, AFTER_CHUNK } at;
    size_t length;
    unsigned char bytes[FRAME_HEAD + MESSAGE_BYTES];
};

static struct stream *streams;
static int stream_count, epoll;
static unsigned long long messages, failed;
static struct histogram histogram;
static uint64_t began_ns; /* what was sent before waited for the others to stand, and is no delay */

/* Reads a head byte by byte: what follows it is left in the socket. */
static void open_stream(struct stream *stream, int port, const char *request, const char *status, const char *field)
{
    char head[HEAD_BYTES_MAX];
    size_t length = 0;
    stream->descriptor = connect_to(port, 0);
    if (send(stream->descriptor, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) die("send");
    while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0) {
        if (length == sizeof head - 1 || recv(stream->descriptor, head + length, 1, 0) != 1) die("no answer");
        length++;
    }
    head[length] = '\0';
    if (memcmp(head + 9, status, 3) != 0 || !strcasestr(head, field)) {
        fprintf(stderr, "not %s with %s: %s", status, field + 2, head);
        exit(2);
    }
    watch_edges(epoll, stream->descriptor, stream);
}

static void give_up(struct stream *stream)
{
    failed++;
    close(stream->descriptor);
    stream->descriptor = -1;
}

/* WebSocket */

static uint32_t random_mask(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* The message's bytes follow from the socket and the number, so that a mixed-up one is seen. */
static void message_of(const struct stream *stream, unsigned char *message)
{
    memset(message, (unsigned char)(stream->descriptor + (int)stream->number), MESSAGE_BYTES);
    memcpy(message, &stream->number, sizeof stream->number);
}

static void send_message(struct stream *stream)
{
    unsigned char frame[FRAME_HEAD + MASK_BYTES + MESSAGE_BYTES] = { BINARY_FRAME, 0x80 | MESSAGE_BYTES };
    uint32_t mask = random_mask();
    memcpy(frame + FRAME_HEAD, &mask, sizeof mask);
    stream->number++;
    message_of(stream, frame + FRAME_HEAD + MASK_BYTES);
    for (size_t i = 0; i < MESSAGE_BYTES; i++) frame[FRAME_HEAD + MASK_BYTES + i] ^= frame[FRAME_HEAD + i % MASK_BYTES];
    if (send(stream->descriptor, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof frame)
        give_up(stream);
}

static void read_echo(struct stream *stream)
{
    while (stream->descriptor >= 0) {
        ssize_t got = recv(stream->descriptor, stream->bytes + stream->length, sizeof stream->bytes - stream->length,
                           MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            give_up(stream);
            return;
        }
        stream->length += (size_t)got;
        if (stream->length < sizeof stream->bytes) continue;
        unsigned char expected[FRAME_HEAD + MESSAGE_BYTES] = { BINARY_FRAME, MESSAGE_BYTES };
        message_of(stream, expected + FRAME_HEAD);
        if (memcmp(stream->bytes, expected, sizeof expected) != 0) {
            give_up(stream);
            return;
        }
        messages++;
        stream->length = 0;
        send_message(stream);
    }
}

/* Events */

static bool take_event(struct stream *stream, uint64_t now)
{
    unsigned long long sent, number;
    char text[EVENT_BYTES + 1];
    memcpy(text, stream->bytes, EVENT_BYTES);
    text[EVENT_BYTES] = '\0';
    stream->length = 0;
    if (sscanf(text, "data: %20llu %10llu\n\n", &sent, &number) != 2 || number != stream->number) return false;
    stream->number++;
    messages++;
    if (sent >= began_ns) histogram_record(&histogram, now > sent ? (now - sent) / 1000 : 0);
    return true;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9') return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* One byte of a chunked body, whose chunks need not be those that were sent (RFC 9112 7.1). False where it is broken. */
static bool take_byte(struct stream *stream, char byte, uint64_t now)
{
    switch (stream->at) {
    case IN_SIZE:
        if (hex_digit(byte) >= 0) {
            stream->chunk_size = stream->chunk_size * 16 + (size_t)hex_digit(byte);
            return stream->chunk_size <= 1u << 20;
        }
        stream->at = IN_EXTENSION;
        return byte == '\r' || byte == ';';
    case IN_EXTENSION:
        if (byte != '\n') return true;
        stream->chunk_left = stream->chunk_size;
        stream->chunk_size = 0;
        stream->at = IN_CHUNK;
        return stream->chunk_left > 0; /* it never ends */
    case IN_CHUNK:
        stream->bytes[stream->length++] = (unsigned char)byte;
        if (--stream->chunk_left == 0) stream->at = AFTER_CHUNK;
        return stream->length < EVENT_BYTES || take_event(stream, now);
    case AFTER_CHUNK:
        if (byte == '\n') stream->at = IN_SIZE;
        return byte == '\r' || byte == '\n';
    }
    return false;
}

static void read_events(struct stream *stream)
{
    static char buffer[16384];
    for (;;) {
        ssize_t got = recv(stream->descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        uint64_t now = now_ns();
        bool well = got > 0;
        for (ssize_t i = 0; i < got && well; i++) well = take_byte(stream, buffer[i], now);
        if (!well) {
            give_up(stream);
            return;
        }
    }
}

static void run(double seconds, void (*on_readable)(struct stream *))
{
    uint64_t until = began_ns + (uint64_t)(seconds * 1e9);
    while (now_ns() < until) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(epoll, events, EVENTS_MAX, 10);
        for (int i = 0; i < ready; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream->descriptor >= 0) on_readable(stream);
        }
    }
}

int main(int count, char **arguments)
{
    bool echoes = count == 5 && strcmp(arguments[1], "echo") == 0;
    if (count != 5 || (!echoes && strcmp(arguments[1], "events") != 0)) {
        fprintf(stderr, "usage: streams echo PORT SOCKETS SECONDS\n       streams events PORT STREAMS SECONDS\n");
        return 1;
    }
    raise_descriptor_limit();
    stream_count = atoi(arguments[3]);
    streams = calloc((size_t)stream_count, sizeof *streams);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!streams || epoll < 0) die("start");
    int port = atoi(arguments[2]);
    char request[512];
    if (echoes)
        snprintf(request, sizeof request,
                 "GET /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                 port);
    else
        snprintf(request, sizeof request,
                 "GET /events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n", port);
    for (int i = 0; i < stream_count; i++) {
        if (echoes)
            open_stream(&streams[i], port, request, "101",
                        "\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
        else
            open_stream(&streams[i], port, request, "200", "\r\ntransfer-encoding: chunked\r\n");
    }
    began_ns = now_ns();
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < stream_count && echoes; i++) send_message(&streams[i]);
    run(atof(arguments[4]), echoes ? read_echo : read_events);
    printf("{\"messages\": %llu, \"failed\": %llu, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %llu}\n", messages,
           failed, histogram_percentile(&histogram, 0.5), histogram_percentile(&histogram, 0.99),
           (unsigned long long)histogram.most_us);
    fflush(stdout);
    while (read(STDIN_FILENO, request, sizeof request) > 0) {}
    return 0;
}
