/* bench/streams_backend: the service behind the long-lived rows: echoes WebSocket messages, sends events on the clock.
 *
 *     streams_backend PORT
 *
 * A request with "Upgrade: websocket" is granted, and each of its messages comes back (RFC 6455; messages of up to 125
 * bytes in one frame). Its key must be the one of RFC 6455's example, which bench/streams sends: no digest is computed
 * here. Any other request gets server-sent events for ever, as chunks, one each EVENT_INTERVAL_NS. An event carries the
 * moment at which it was sent, of a clock that all processes of the machine share, and its number. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536
#define EVENTS_MAX 512
#define BUFFER_BYTES 4096u
#define EVENT_INTERVAL_NS (NANOSECONDS / 20)
#define FRAME_HEAD 2u
#define MASK_BYTES 4u
#define LENGTH_MAX 125u

static const char granted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static const char events_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n";

struct connection {
    enum { IN_HEAD, ECHOES, SENDS_EVENTS } does;
    uint64_t due_ns; /* the next event */
    uint64_t number;
    size_t length;
    unsigned char buffer[BUFFER_BYTES];
};

static struct connection *connections[DESCRIPTORS_MAX]; /* by descriptor */
static int sending[DESCRIPTORS_MAX], sending_count;     /* who gets events */

static void drop(int descriptor)
{
    for (int i = 0; i < sending_count; i++)
        if (sending[i] == descriptor) sending[i--] = sending[--sending_count];
    free(connections[descriptor]);
    connections[descriptor] = NULL;
    close(descriptor);
}

/* Nobody here is ever behind by a socket's buffer: who takes less at once is gone. */
static bool send_whole(int descriptor, const void *bytes, size_t length)
{
    if (send(descriptor, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length) return true;
    drop(descriptor);
    return false;
}

/* The end of the head in the buffer, at which what follows begins; NULL while it is not whole. */
static unsigned char *take_head(int descriptor)
{
    struct connection *connection = connections[descriptor];
    unsigned char *blank = memmem(connection->buffer, connection->length, "\r\n\r\n", 4);
    if (!blank) return NULL;
    *blank = '\0';
    const char *head = (const char *)connection->buffer;
    if (strcasestr(head, "\r\nupgrade: websocket")) {
        if (!strstr(head, "dGhlIHNhbXBsZSBub25jZQ==")) {
            drop(descriptor);
            return NULL;
        }
        connection->does = ECHOES;
        if (!send_whole(descriptor, granted, sizeof granted - 1)) return NULL;
    } else {
        connection->does = SENDS_EVENTS;
        if (!send_whole(descriptor, events_head, sizeof events_head - 1)) return NULL;
        /* Spread over the interval, so that events don't come in volleys. */
        connection->due_ns = now_ns() + EVENT_INTERVAL_NS * (uint64_t)(descriptor % 97) / 97;
        sending[sending_count++] = descriptor;
    }
    return blank + 4;
}

/* Turns each whole masked frame into the server's, which is shorter by the mask, and sends them together. */
static void echo(int descriptor, unsigned char *from)
{
    struct connection *connection = connections[descriptor];
    unsigned char *end = connection->buffer + connection->length, *out = connection->buffer;
    while ((size_t)(end - from) >= FRAME_HEAD + MASK_BYTES) {
        size_t length = from[1] & 0x7f;
        if (!(from[1] & 0x80) || length > LENGTH_MAX || (from[0] & 0x0f) == 8) {
            drop(descriptor); /* not one of ours, or the close */
            return;
        }
        if ((size_t)(end - from) < FRAME_HEAD + MASK_BYTES + length) break;
        unsigned char head = from[0], mask[MASK_BYTES];
        memcpy(mask, from + FRAME_HEAD, sizeof mask);
        from += FRAME_HEAD + MASK_BYTES;
        out[0] = head;
        out[1] = (unsigned char)length;
        for (size_t i = 0; i < length; i++) out[FRAME_HEAD + i] = from[i] ^ mask[i % MASK_BYTES];
        out += FRAME_HEAD + length;
        from += length;
    }
    if (out > connection->buffer && !send_whole(descriptor, connection->buffer, (size_t)(out - connection->buffer)))
        return;
    connection->length = (size_t)(end - from);
    memmove(connection->buffer, from, connection->length);
}

static void on_readable(int descriptor)
{
    struct connection *connection = connections[descriptor];
    ssize_t got = recv(descriptor, connection->buffer + connection->length, BUFFER_BYTES - 1 - connection->length,
                       MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(descriptor);
        return;
    }
    connection->length += (size_t)got;
    unsigned char *from = connection->buffer;
    if (connection->does == IN_HEAD) {
        from = take_head(descriptor);
        if (!from) return;
    }
    if (connection->does == ECHOES)
        echo(descriptor, from);
    else
        connection->length = 0;
}

/* Sends what is due. Returns how long nothing else will be. */
static uint64_t send_events(void)
{
    uint64_t nearest = now_ns() + NANOSECONDS;
    for (int i = 0; i < sending_count; i++) {
        int descriptor = sending[i];
        struct connection *connection = connections[descriptor];
        uint64_t now = now_ns();
        if (connection->due_ns <= now) {
            char event[64];
            int length = snprintf(event, sizeof event, "27\r\ndata: %020llu %010llu\n\n\r\n", (unsigned long long)now,
                                  (unsigned long long)connection->number++);
            connection->due_ns += EVENT_INTERVAL_NS;
            if (!send_whole(descriptor, event, (size_t)length)) {
                i--;
                continue;
            }
        }
        if (connection->due_ns < nearest) nearest = connection->due_ns;
    }
    uint64_t now = now_ns();
    return nearest > now ? nearest - now : 0;
}

static void accept_all(int epoll, int listener)
{
    int descriptor;
    while ((descriptor = accept_from(listener)) >= 0) {
        if (descriptor >= DESCRIPTORS_MAX || !(connections[descriptor] = calloc(1, sizeof(struct connection)))) {
            close(descriptor);
            continue;
        }
        struct epoll_event event = { .events = EPOLLIN, .data.fd = descriptor };
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) die("epoll_ctl");
    }
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: streams_backend PORT\n");
        return 1;
    }
    raise_descriptor_limit();
    prctl(PR_SET_TIMERSLACK, 1ul);
    int listener = listen_on(atoi(arguments[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener }, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        uint64_t wait = send_events();
        struct timespec timeout = { .tv_sec = (time_t)(wait / NANOSECONDS), .tv_nsec = (long)(wait % NANOSECONDS) };
        int ready = epoll_pwait2(epoll, events, EVENTS_MAX, &timeout, NULL);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                on_readable(events[i].data.fd);
        }
    }
}
