/* bench/tls_handshake: a new TLS connection for each request, each with a full handshake.
 *
 *     tls_handshake PORT CONCURRENT SECONDS
 *
 * So many at a time connect, shake hands (TLS 1.3, no session is offered), ask for / with "Connection: close" and read to
 * the end, which the gateway makes; then the next ones begin. One line of JSON at the end. A request counts when a whole
 * 200 came; a handshake that was resumed after all is a failure. */
#define _GNU_SOURCE
#include "common.h"
#include "tls_client.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define ANSWER_BYTES_MAX 4096

struct visit {
    int descriptor;
    SSL *tls;
    bool asked;
    size_t received;
    char answer[ANSWER_BYTES_MAX];
};

static SSL_CTX *context;
static int port, epoll;
static char request[128];
static size_t request_length;
static unsigned long long completed, failed;

static void begin(struct visit *visit)
{
    visit->descriptor = connect_to(port, 0);
    fcntl(visit->descriptor, F_SETFL, O_NONBLOCK);
    visit->tls = SSL_new(context);
    if (!visit->tls || !SSL_set_fd(visit->tls, visit->descriptor)) die("TLS");
    visit->asked = false;
    visit->received = 0;
    SSL_connect(visit->tls); /* sends the hello; an event tells what becomes of it */
    watch_edges(epoll, visit->descriptor, visit);
}

static void end(struct visit *visit, bool well)
{
    completed += well;
    failed += !well;
    SSL_free(visit->tls);
    close(visit->descriptor);
}

static bool whole_answer(struct visit *visit)
{
    visit->answer[visit->received] = '\0';
    const char *blank = strstr(visit->answer, "\r\n\r\n"), *field = strcasestr(visit->answer, "\r\ncontent-length:");
    return blank && field && memcmp(visit->answer + 9, "200", 3) == 0 &&
           visit->received == (size_t)(blank + 4 - visit->answer) + strtoul(field + 17, NULL, 10);
}

/* False when the visit has come to its end, well or not. */
static bool goes_on(struct visit *visit)
{
    if (!visit->asked) {
        ERR_clear_error();
        int done = SSL_connect(visit->tls);
        if (done != 1) {
            if (SSL_get_error(visit->tls, done) == SSL_ERROR_WANT_READ) return true;
            end(visit, false);
            return false;
        }
        visit->asked = true;
        if (SSL_session_reused(visit->tls) ||
            SSL_write(visit->tls, request, (int)request_length) != (int)request_length) {
            end(visit, false);
            return false;
        }
    }
    for (;;) {
        size_t space = sizeof visit->answer - 1 - visit->received;
        ssize_t got = tls_receive(visit->tls, visit->answer + visit->received, space);
        if (got < 0 && errno == EAGAIN && space > 0) return true;
        if (got <= 0) {
            /* Also an end without TLS's own goodbye is one: the answer says itself how long it is. */
            end(visit, whole_answer(visit));
            return false;
        }
        visit->received += (size_t)got;
    }
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: tls_handshake PORT CONCURRENT SECONDS\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(arguments[1]);
    int concurrent = atoi(arguments[2]);
    double seconds = atof(arguments[3]);
    request_length = (size_t)snprintf(request, sizeof request,
                                      "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", port);
    context = tls_context(NULL);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct visit *visits = calloc((size_t)concurrent, sizeof *visits);
    if (!visits || epoll < 0) die("start");
    uint64_t start = now_ns(), until = start + (uint64_t)(seconds * 1e9);
    int under_way = 0;
    for (; under_way < concurrent; under_way++) begin(&visits[under_way]);
    /* What is under way when the time is up comes to its end, so that the gateway's work and the count agree. */
    while (under_way > 0 && now_ns() < until + 10 * NANOSECONDS) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(epoll, events, EVENTS_MAX, 1000);
        for (int i = 0; i < ready; i++) {
            struct visit *visit = events[i].data.ptr;
            if (goes_on(visit)) continue;
            if (now_ns() < until)
                begin(visit);
            else
                under_way--;
        }
    }
    printf("{\"requests\": %llu, \"failed\": %llu, \"unfinished\": %d, \"rate\": %.0f}\n", completed, failed, under_way,
           (double)completed / ((double)(now_ns() - start) / 1e9));
    return 0;
}
