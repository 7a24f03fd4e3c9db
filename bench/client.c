/* bench/client: the loads that wrk can't make: an open loop at a constant rate, readers that hardly read, idle connections.
 *
 *     client rate PORT PATH CONNECTIONS RATE SECONDS    latency of a constant rate; one line of JSON at the end
 *     client tls-rate PORT PATH CONNECTIONS RATE SECONDS   the same over TLS 1.3; shaking hands is no part of it
 *     client slow PORT PATH CONNECTIONS BYTES SECONDS   each connection reads BYTES a second, with a small window
 *     client idle PORT PATH CONNECTIONS SECONDS         one request on each connection, then silence
 *
 * `rate` does not omit what it had to wait for: request i is due at start + i / RATE whatever happened to the others, and
 * its latency counts from then. If every connection is busy the request queues and its clock runs. `slow` and `idle` say
 * "ready" on a line of their own once all connections stand, so that a script knows when to look. */
#define _GNU_SOURCE
#include "common.h"
#include "tls_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define READ_BYTES (256 * 1024)

struct connection {
    int descriptor;
    SSL *tls; /* NULL: in the clear */
    bool busy;
    bool in_head;
    uint64_t due_ns; /* when the request under way should have been sent */
    size_t body_left;
    struct connection *next_free;
};

static SSL_CTX *context; /* NULL: in the clear */
static struct connection *connections;
static int port, connection_count, epoll;
static char request[4096];
static size_t request_length;
static struct histogram histogram;
static uint64_t failed;

static void open_connection(struct connection *connection, int receive_buffer)
{
    connection->descriptor = connect_to(port, receive_buffer);
    if (!context) return;
    connection->tls = tls_connect(context, connection->descriptor);
    fcntl(connection->descriptor, F_SETFL, O_NONBLOCK);
}

static bool send_request(struct connection *connection)
{
    connection->in_head = true;
    if (connection->tls) return SSL_write(connection->tls, request, (int)request_length) == (int)request_length;
    return send(connection->descriptor, request, request_length, MSG_NOSIGNAL) == (ssize_t)request_length;
}

static ssize_t receive(struct connection *connection, void *bytes, size_t size)
{
    if (connection->tls) return tls_receive(connection->tls, bytes, size);
    return recv(connection->descriptor, bytes, size, MSG_DONTWAIT);
}

/* The length of the answer that begins with this head, head included; 0 when the head is not whole or not 200. */
static size_t answer_length(const char *head, size_t length)
{
    const char *blank = memmem(head, length, "\r\n\r\n", 4);
    if (!blank || length < 12 || memcmp(head + 9, "200", 3) != 0) return 0;
    for (const char *line = head; line < blank;) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            return (size_t)(blank + 4 - head) + strtoull(line + 15, NULL, 10);
        line = (const char *)memchr(line, '\n', (size_t)(blank + 4 - line)) + 1;
    }
    return 0;
}

/* Rate: due requests go to free connections, the rest waits for one. */

static struct connection *free_connections;

static void reopen(struct connection *connection)
{
    failed++;
    SSL_free(connection->tls);
    close(connection->descriptor);
    open_connection(connection, 0);
    watch_edges(epoll, connection->descriptor, connection);
    connection->busy = false;
    connection->next_free = free_connections;
    free_connections = connection;
}

static void read_answer(struct connection *connection)
{
    static char buffer[READ_BYTES];
    for (;;) {
        ssize_t got = receive(connection, buffer, sizeof buffer);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0 || !connection->busy) {
            reopen(connection);
            return;
        }
        if (connection->in_head) {
            connection->body_left = answer_length(buffer, (size_t)got);
            connection->in_head = false;
        }
        if ((size_t)got > connection->body_left) {
            reopen(connection); /* no whole 200, or more bytes than announced */
            return;
        }
        connection->body_left -= (size_t)got;
        if (connection->body_left == 0) {
            histogram_record(&histogram, (now_ns() - connection->due_ns) / 1000);
            connection->busy = false;
            connection->next_free = free_connections;
            free_connections = connection;
            return;
        }
    }
}

static void run_rate(double rate, double seconds)
{
    for (int i = 0; i < connection_count; i++) {
        open_connection(&connections[i], 0);
        watch_edges(epoll, connections[i].descriptor, &connections[i]);
        connections[i].next_free = free_connections;
        free_connections = &connections[i];
    }
    prctl(PR_SET_TIMERSLACK, 1ul);
    uint64_t start = now_ns(), total = (uint64_t)(rate * seconds), sent = 0;
    uint64_t give_up = start + (uint64_t)((seconds + 5) * 1e9);
    while (histogram.total + failed < total && now_ns() < give_up) {
        uint64_t now = now_ns(), due = start;
        for (; sent < total; sent++) {
            due = start + (uint64_t)((double)sent / rate * 1e9);
            if (due > now || !free_connections) break;
            struct connection *connection = free_connections;
            free_connections = connection->next_free;
            connection->busy = true;
            connection->due_ns = due;
            if (!send_request(connection)) reopen(connection);
        }
        uint64_t wait = sent < total && free_connections && due > now ? due - now : NANOSECONDS / 10;
        struct timespec timeout = { .tv_sec = 0, .tv_nsec = (long)wait };
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_pwait2(epoll, events, EVENTS_MAX, &timeout, NULL);
        for (int i = 0; i < ready; i++) read_answer(events[i].data.ptr);
    }
    double took = (double)(now_ns() - start) / 1e9;
    printf(
        "{\"requests\": %llu, \"failed\": %llu, \"unfinished\": %llu, \"rate\": %.0f, \"p50_us\": %.0f, \"p90_us\": %.0f, "
        "\"p99_us\": %.0f, \"p999_us\": %.0f, \"max_us\": %llu}\n",
        (unsigned long long)histogram.total, (unsigned long long)failed,
        (unsigned long long)(total - histogram.total - failed), (double)histogram.total / took,
        histogram_percentile(&histogram, 0.5), histogram_percentile(&histogram, 0.9),
        histogram_percentile(&histogram, 0.99), histogram_percentile(&histogram, 0.999),
        (unsigned long long)histogram.most_us);
}

/* Slow and idle: connections that stand for a while. */

static void run_slow(size_t bytes_a_second, double seconds)
{
    static char buffer[READ_BYTES];
    unsigned long long received = 0, ended = 0;
    for (int i = 0; i < connection_count; i++) {
        open_connection(&connections[i], 4096);
        if (!send_request(&connections[i])) die("send");
    }
    printf("ready\n");
    fflush(stdout);
    const int slots = 50; /* each second is cut into slots; a connection reads in one of them */
    uint64_t start = now_ns();
    for (int tick = 0; tick < (int)(seconds * slots); tick++) {
        for (int i = tick % slots; i < connection_count; i += slots) {
            if (connections[i].descriptor < 0) continue;
            size_t size = bytes_a_second < sizeof buffer ? bytes_a_second : sizeof buffer;
            ssize_t got = recv(connections[i].descriptor, buffer, size, MSG_DONTWAIT);
            if (got > 0) {
                received += (unsigned long long)got;
            } else if (got == 0 || errno != EAGAIN) {
                ended++;
                close(connections[i].descriptor);
                connections[i].descriptor = -1;
            }
        }
        uint64_t next = start + (uint64_t)(tick + 1) * NANOSECONDS / slots;
        struct timespec until = { .tv_sec = (time_t)(next / NANOSECONDS), .tv_nsec = (long)(next % NANOSECONDS) };
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    printf("{\"received\": %llu, \"ended\": %llu}\n", received, ended);
}

static void run_idle(double seconds)
{
    static char buffer[READ_BYTES];
    unsigned long long refused = 0;
    for (int i = 0; i < connection_count; i++) {
        open_connection(&connections[i], 0);
        if (!send_request(&connections[i])) die("send");
        ssize_t got = recv(connections[i].descriptor, buffer, sizeof buffer, 0);
        refused += got < 12 || memcmp(buffer + 9, "200", 3) != 0;
    }
    printf("ready\n");
    fflush(stdout);
    usleep((useconds_t)(seconds * 1e6));
    unsigned long long ended = 0;
    for (int i = 0; i < connection_count; i++)
        ended += recv(connections[i].descriptor, buffer, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    printf("{\"refused\": %llu, \"ended\": %llu}\n", refused, ended);
}

/* `headers`: NULL-ended, "Name: value". */
static void write_request(const char *path, const char *port_text, char *const *headers)
{
    size_t length = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n", path,
                                     port_text);
    for (; *headers && length < sizeof request; headers++)
        length += (size_t)snprintf(request + length, sizeof request - length, "%s\r\n", *headers);
    if (length < sizeof request) length += (size_t)snprintf(request + length, sizeof request - length, "\r\n");
    request_length = length;
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    bool idle = strcmp(mode, "idle") == 0, slow = strcmp(mode, "slow") == 0, over_tls = strcmp(mode, "tls-rate") == 0;
    if ((idle ? count != 6 : count < 7) || (!idle && !slow && !over_tls && strcmp(mode, "rate") != 0)) {
        fprintf(stderr, "usage: client rate PORT PATH CONNECTIONS RATE SECONDS [HEADER]...\n"
                        "       client tls-rate PORT PATH CONNECTIONS RATE SECONDS [HEADER]...\n"
                        "       client slow PORT PATH CONNECTIONS BYTES SECONDS\n"
                        "       client idle PORT PATH CONNECTIONS SECONDS\n");
        return 1;
    }
    raise_descriptor_limit();
    port = atoi(arguments[2]);
    write_request(arguments[3], arguments[2], &arguments[idle ? 6 : 7]);
    connection_count = atoi(arguments[4]);
    connections = calloc((size_t)connection_count, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll < 0 || request_length >= sizeof request) die("start");
    if (over_tls) {
        signal(SIGPIPE, SIG_IGN); /* the library writes without MSG_NOSIGNAL */
        context = tls_context(NULL);
    }
    if (idle)
        run_idle(atof(arguments[5]));
    else if (slow)
        run_slow(strtoull(arguments[5], NULL, 10), atof(arguments[6]));
    else
        run_rate(atof(arguments[5]), atof(arguments[6]));
    return 0;
}
