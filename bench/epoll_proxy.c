/* bench/epoll_proxy: the smallest HTTP proxy worth measuring, as the floor that a gateway's cost is held against.
 *
 *     epoll_proxy PORT BACKEND-PORT
 *
 * Keep-alive on both sides, bodies by Content-Length only, a pool of backend connections used last first, every socket
 * registered once and edge-triggered: two reads and two writes a request and nothing else. It copies heads as they came,
 * checks nothing, logs nothing and has no time limits; what a gateway costs above it is the price of all that. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define EVENTS_MAX 512
#define SOCKETS_MAX 65536
#define READABLE (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* One side of a pair. `unsent` are bytes for this socket that it did not take yet; its partner isn't read meanwhile. */
struct side {
    int descriptor;
    bool is_client;
    bool open;
    bool pooled;       /* a backend connection that nobody uses */
    bool in_head;      /* a message's head is awaited next */
    bool read_pending; /* an event came while the partner was full */
    size_t body_left;
    struct side *partner;
    char *unsent;
    size_t unsent_length, unsent_at;
    struct side *next_pooled;
};

static struct side sides[SOCKETS_MAX];
static struct side *pool;
static char buffer[READ_BYTES];
static int epoll;
static struct sockaddr_in backend_address;

static void read_side(struct side *side, uint32_t events);

static void close_side(struct side *side)
{
    struct side *partner = side->partner;
    free(side->unsent);
    side->unsent = NULL;
    side->open = false;
    side->partner = NULL;
    if (side->pooled) {
        struct side **link = &pool;
        while (*link != side) link = &(*link)->next_pooled;
        *link = side->next_pooled;
    }
    close(side->descriptor);
    if (partner) {
        partner->partner = NULL;
        close_side(partner);
    }
}

static struct side *open_side(int descriptor, bool is_client)
{
    int on = 1;
    if (descriptor < 0 || descriptor >= SOCKETS_MAX) {
        if (descriptor >= 0) close(descriptor);
        return NULL;
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct side *side = &sides[descriptor];
    *side = (struct side){ .descriptor = descriptor, .is_client = is_client, .open = true, .in_head = true };
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = side };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) die("epoll_ctl");
    return side;
}

static struct side *take_backend(void)
{
    if (pool) {
        struct side *side = pool;
        pool = side->next_pooled;
        side->pooled = false;
        side->in_head = true;
        return side;
    }
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(descriptor, (struct sockaddr *)&backend_address, sizeof backend_address) != 0 && errno != EINPROGRESS) {
        close(descriptor);
        return NULL;
    }
    return open_side(descriptor, false);
}

static void give_backend(struct side *side)
{
    side->partner->partner = NULL;
    side->partner = NULL;
    side->pooled = true;
    side->next_pooled = pool;
    pool = side;
}

/* Content-Length of a head, 0 where there is none. */
static size_t content_length(const char *head, size_t length)
{
    for (const char *line = head; line < head + length;) {
        const char *end = memchr(line, '\n', (size_t)(head + length - line));
        if (!end) break;
        if ((line[0] == 'C' || line[0] == 'c') && end - line > 15 && strncasecmp(line, "content-length:", 15) == 0)
            return strtoull(line + 15, NULL, 10);
        line = end + 1;
    }
    return 0;
}

/* False when the side is gone. What the socket does not take waits in `unsent`. */
static bool write_side(struct side *side, const char *bytes, size_t length)
{
    ssize_t sent = side->unsent ? 0 : send(side->descriptor, bytes, length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != ENOTCONN) {
            close_side(side);
            return false;
        }
        sent = 0;
    }
    if ((size_t)sent < length) {
        size_t rest = length - (size_t)sent;
        side->unsent = realloc(side->unsent, side->unsent_length + rest);
        if (!side->unsent) die("realloc");
        memcpy(side->unsent + side->unsent_length, bytes + sent, rest);
        side->unsent_length += rest;
    }
    return true;
}

static void flush_side(struct side *side)
{
    while (side->unsent_at < side->unsent_length) {
        ssize_t sent = send(side->descriptor, side->unsent + side->unsent_at, side->unsent_length - side->unsent_at,
                            MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) close_side(side);
            return;
        }
        side->unsent_at += (size_t)sent;
    }
    free(side->unsent);
    side->unsent = NULL;
    side->unsent_length = side->unsent_at = 0;
    if (side->partner && side->partner->read_pending) {
        side->partner->read_pending = false;
        read_side(side->partner, READABLE);
    }
}

/* Takes the head's length off, or false: it is no whole head (the benchmark's clients send heads whole). */
static bool take_head(struct side *side, const char *bytes, size_t length)
{
    const char *blank = memmem(bytes, length, "\r\n\r\n", 4);
    if (!blank) return false;
    size_t head = (size_t)(blank + 4 - bytes);
    side->body_left = content_length(bytes, head) + head;
    side->in_head = false;
    return true;
}

static void read_side(struct side *side, uint32_t events)
{
    for (;;) {
        if (side->partner && side->partner->unsent) {
            side->read_pending = true;
            return;
        }
        ssize_t got = recv(side->descriptor, buffer, sizeof buffer, 0);
        if (got <= 0) {
            if (got == 0 || errno != EAGAIN) close_side(side);
            return;
        }
        size_t length = (size_t)got;
        if (side->in_head && !take_head(side, buffer, length)) {
            close_side(side);
            return;
        }
        if (!side->partner) {
            struct side *backend = side->is_client ? take_backend() : NULL;
            if (!backend) {
                close_side(side);
                return;
            }
            side->partner = backend;
            backend->partner = side;
        }
        side->body_left -= length < side->body_left ? length : side->body_left;
        struct side *partner = side->partner;
        if (side->body_left == 0) {
            side->in_head = true;
            if (!side->is_client) give_backend(side);
        }
        if (!write_side(partner, buffer, length) || !side->open) return;
        if (length < sizeof buffer && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return; /* a short read means drained */
    }
}

static void on_ready(struct side *side, uint32_t events)
{
    if (!side->open) return;
    if (events & EPOLLOUT && side->unsent) flush_side(side);
    if (side->open && events & READABLE) read_side(side, events);
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: epoll_proxy PORT BACKEND-PORT\n");
        return 1;
    }
    raise_descriptor_limit();
    backend_address = loopback(atoi(arguments[2]));
    int listener = listen_on(atoi(arguments[1]));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL }, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                on_ready(events[i].data.ptr, events[i].events);
                continue;
            }
            int accepted;
            while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                open_side(accepted, true);
        }
    }
}
