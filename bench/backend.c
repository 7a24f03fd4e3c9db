/* bench/backend: the service behind every proxy of the benchmark: as little work a request as a correct answer allows.
 *
 *     backend PORT [--close]
 *
 * One thread, edge-triggered epoll, answers made once at the start. The path chooses the size: /64k, /1m, /10m, /json 10 KiB of
 * JSON, anything else 128 bytes. Requests without a body only, pipelined ones too. With --close each answer ends its connection. */
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

#define HEAD_BYTES_MAX 16384
#define EVENTS_MAX 512
#define CONNECTIONS_MAX 65536
#define SLOW_BODY_BYTES (4 * 1024 * 1024)
#define SLOW_SEND_BUFFER_BYTES (64 * 1024)

struct answer {
    const char *path;
    size_t body_length;
    bool is_json;
    char *bytes;
    size_t length;
};

static struct answer answers[] = {
    { .path = "/64k", .body_length = 64 * 1024 },
    { .path = "/1m", .body_length = 1024 * 1024 },
    { .path = "/10m", .body_length = 10 * 1024 * 1024 },
    { .path = "/json", .body_length = 10 * 1024, .is_json = true },
    { .path = "/", .body_length = 128 }, /* last: the prefix of all paths */
};
#define ANSWERS (sizeof answers / sizeof *answers)

/* A connection is its descriptor's slot. A request head that came in pieces waits in `partial`. */
struct connection {
    char *partial;
    size_t partial_length;
    const struct answer *answering; /* NULL: between requests */
    size_t answered;
};

static struct connection connections[CONNECTIONS_MAX];
static bool close_after_answer;

/* Orders as an API lists them: names that repeat, values that don't. It ends where the length does. */
static void write_json(char *into, size_t length)
{
    unsigned number = 1;
    size_t at = 0;
    while (at < length) {
        char order[256];
        number = number * 1103515245u + 12345u;
        int size = snprintf(order, sizeof order,
                            "%s{\"id\":\"%08x\",\"customer\":\"customer-%u\",\"total\":%u.%02u,\"currency\":\"EUR\","
                            "\"paid\":%s,\"createdAt\":\"2026-11-%02uT%02u:%02u:00Z\"}",
                            at ? "," : "[", number, number >> 12 & 4095, number >> 8 & 1023, number % 100,
                            number & 64 ? "true" : "false", number % 28 + 1, number % 24, number % 60);
        size_t part = (size_t)size < length - at ? (size_t)size : length - at;
        memcpy(into + at, order, part);
        at += part;
    }
}

static void make_answers(void)
{
    for (size_t i = 0; i < ANSWERS; i++) {
        struct answer *answer = &answers[i];
        answer->bytes = malloc(answer->body_length + 256);
        if (!answer->bytes) die("malloc");
        int head = snprintf(answer->bytes, 256,
                            "HTTP/1.1 200 OK\r\nContent-Type: application/%s\r\nContent-Length: %zu\r\n%s\r\n",
                            answer->is_json ? "json" : "octet-stream", answer->body_length,
                            close_after_answer ? "Connection: close\r\n" : "");
        if (answer->is_json)
            write_json(answer->bytes + head, answer->body_length);
        else
            memset(answer->bytes + head, 'x', answer->body_length);
        answer->length = (size_t)head + answer->body_length;
    }
}

static const struct answer *answer_for(const char *head, size_t length)
{
    const char *path = memchr(head, ' ', length);
    for (size_t i = 0; path && i < ANSWERS; i++) {
        size_t prefix = strlen(answers[i].path);
        if ((size_t)(head + length - path - 1) >= prefix && memcmp(path + 1, answers[i].path, prefix) == 0)
            return &answers[i];
    }
    return &answers[ANSWERS - 1];
}

/* Thousands of readers that hardly read would each park megabytes here, and the kernel's bound for all of TCP's memory, not
 * the gateway, would be what is measured. */
static void hold_little(int descriptor)
{
    int size = SLOW_SEND_BUFFER_BYTES;
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

static void drop(int descriptor)
{
    struct connection *connection = &connections[descriptor];
    free(connection->partial);
    memset(connection, 0, sizeof *connection);
    close(descriptor);
}

/* Sends what is left of the current answer. False when the socket is full or gone; a gone one is dropped. */
static bool send_answer(int descriptor)
{
    struct connection *connection = &connections[descriptor];
    const struct answer *answer = connection->answering;
    while (connection->answered < answer->length) {
        ssize_t sent = send(descriptor, answer->bytes + connection->answered, answer->length - connection->answered,
                            MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) drop(descriptor);
            return false;
        }
        connection->answered += (size_t)sent;
    }
    connection->answering = NULL;
    if (close_after_answer) {
        drop(descriptor);
        return false;
    }
    return true;
}

/* Answers each whole head in the bytes and keeps the rest. False when the connection is busy or gone. */
static bool take_requests(int descriptor, const char *bytes, size_t length)
{
    struct connection *connection = &connections[descriptor];
    const char *end = bytes + length;
    for (;;) {
        const char *blank = memmem(bytes, (size_t)(end - bytes), "\r\n\r\n", 4);
        if (!blank) break;
        connection->answering = answer_for(bytes, (size_t)(blank - bytes));
        connection->answered = 0;
        if (connection->answering->body_length > SLOW_BODY_BYTES) hold_little(descriptor);
        bytes = blank + 4;
        if (!send_answer(descriptor)) {
            if (!connection->answering) return false;
            break;
        }
    }
    size_t rest = (size_t)(end - bytes);
    char *kept = NULL;
    if (rest > 0) {
        kept = malloc(rest);
        if (!kept) die("malloc");
        memcpy(kept, bytes, rest);
    }
    free(connection->partial);
    connection->partial = kept;
    connection->partial_length = rest;
    return !connection->answering;
}

static void on_ready(int descriptor, uint32_t events)
{
    static char buffer[2 * HEAD_BYTES_MAX];
    struct connection *connection = &connections[descriptor];
    if (connection->answering) {
        if (!send_answer(descriptor)) return;
        events |= EPOLLRDHUP; /* what came meanwhile raised no new event */
    }
    for (;;) {
        size_t before = connection->partial_length;
        if (before > HEAD_BYTES_MAX) {
            drop(descriptor);
            return;
        }
        memcpy(buffer, connection->partial ? connection->partial : "", before);
        ssize_t got = recv(descriptor, buffer + before, HEAD_BYTES_MAX, 0);
        if (got <= 0) {
            if (got == 0 || errno != EAGAIN) drop(descriptor);
            return;
        }
        if (!take_requests(descriptor, buffer, before + (size_t)got)) return;
        if (got < HEAD_BYTES_MAX && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return; /* a short read means drained */
    }
}

static void accept_all(int epoll, int listener)
{
    int descriptor;
    while ((descriptor = accept_from(listener)) >= 0) {
        if (descriptor >= CONNECTIONS_MAX) {
            close(descriptor);
            continue;
        }
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = descriptor };
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    }
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: backend PORT [--close]\n");
        return 1;
    }
    close_after_answer = count > 2 && strcmp(arguments[2], "--close") == 0;
    raise_descriptor_limit();
    make_answers();
    int listener = listen_on(atoi(arguments[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener }, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else if (events[i].events & EPOLLIN || connections[events[i].data.fd].answering)
                on_ready(events[i].data.fd, events[i].events);
        }
    }
}
