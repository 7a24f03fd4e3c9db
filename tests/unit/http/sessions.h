/* What the session tests share: a worker with a real loop, loopback TCP with a scripted peer at the other end, and a count of
 * system calls. Loopback mostly delivers at once, so a few turns settle everything; what a busy kernel may deliver a little later
 * is asserted by assert_soon(), which sleeps only then. */
#ifndef SLUICE_UNIT_HTTP_SESSIONS_H
#define SLUICE_UNIT_HTTP_SESSIONS_H

#include "unit_test.h"

#include "event/event.h"
#include "http/h1_client.h"
#include "http/h2_memory.h"
#include "http/kernel_pipes.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* System calls of this program since the last reset; the functions below take the place of the C library's. */
static struct system_calls {
    unsigned recv, sendmsg, splice, epoll_ctl; /* recv, sendmsg: whichever call receives or sends */
} system_calls;

/* The errno of the next call that sends, which does nothing then; 0: none. */
static int sendmsg_failure;

/* Streams send and receive by syscall(2) itself. */
long syscall(long number, ...)
{
    static long (*c_library)(long, ...);
    if (!c_library) *(void **)&c_library = dlsym(RTLD_NEXT, "syscall");
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (unsigned i = 0; i < COUNT_OF(arguments); i++) arguments[i] = va_arg(list, long);
    va_end(list);
    bool sends = number == SYS_sendto || number == SYS_sendmsg;
    system_calls.recv += number == SYS_recvfrom;
    system_calls.sendmsg += sends;
    if (sends && sendmsg_failure) {
        errno = sendmsg_failure;
        sendmsg_failure = 0;
        return -1;
    }
    return c_library(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

ssize_t recv(int descriptor, void *into, size_t size, int flags)
{
    return syscall(SYS_recvfrom, descriptor, into, size, flags, NULL, NULL);
}

ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    return syscall(SYS_sendmsg, descriptor, message, flags);
}

ssize_t splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned flags)
{
    system_calls.splice++;
    return syscall(SYS_splice, in, in_offset, out, out_offset, length, flags);
}

int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event)
{
    system_calls.epoll_ctl++;
    return (int)syscall(SYS_epoll_ctl, epoll, operation, descriptor, event);
}

/* The bench and the wires of the running test, for assert_soon(). */
static struct bench *current_bench;
static struct wire *current_wires[4];

struct bench {
    struct loop loop;
    struct memory_ceiling ceiling;
    struct slab_pool slabs;
    struct arena_pool arenas;
    struct http_worker worker;
};

static inline void bench_set_up(struct bench *bench)
{
    struct error error;
    current_bench = bench;
    assert_true(loop_init(&bench->loop, &error));
    bench->ceiling = (struct memory_ceiling){ 0 };
    slab_pool_init(&bench->slabs, 1 << 20, &bench->ceiling);
    arena_pool_init(&bench->arenas, 16, &bench->ceiling);
    bench->worker = (struct http_worker){
        .loop = &bench->loop,
        .slabs = &bench->slabs,
        .arenas = &bench->arenas,
        .kernel_pipes = kernel_pipes_create(4, 4),
        .h2_memory = h2_memory_create(),
        .date = "Sun, 06 Nov 1994 08:49:37 GMT",
    };
}

static inline void bench_tear_down(struct bench *bench)
{
    loop_turn(&bench->loop, 0);
    assert_int_equal(bench->slabs.taken_bytes, 0);
    assert_int_equal(bench->arenas.bytes_taken, 0);
    assert_int_equal(memory_ceiling_in_use(&bench->ceiling), 0);
    kernel_pipes_destroy(bench->worker.kernel_pipes);
    slab_pool_release(&bench->slabs);
    arena_pool_release(&bench->arenas);
    loop_release(&bench->loop);
    h2_memory_destroy(bench->worker.h2_memory);
}

/* The other end: what it has received so far, and how its connection stands. */
struct wire {
    int descriptor;
    char *received;
    size_t length, capacity;
    bool ended, was_reset;
    bool deaf; /* reads nothing */
};

static inline void wire_open(struct wire *wire, int descriptor)
{
    *wire = (struct wire){ .descriptor = descriptor, .capacity = 1 << 16 };
    for (unsigned i = 0; i < COUNT_OF(current_wires); i++) {
        if (current_wires[i]) continue;
        current_wires[i] = wire;
        break;
    }
    wire->received = malloc(wire->capacity);
    wire->received[0] = '\0'; /* what an earlier wire received isn't this one's */
    assert_int_equal(fcntl(descriptor, F_SETFL, O_NONBLOCK), 0);
}

static inline void wire_close(struct wire *wire)
{
    for (unsigned i = 0; i < COUNT_OF(current_wires); i++) {
        if (current_wires[i] == wire) current_wires[i] = NULL;
    }
    if (wire->descriptor >= 0) close(wire->descriptor);
    wire->descriptor = -1;
    free(wire->received);
    wire->received = NULL;
}

static inline void wire_reset(struct wire *wire)
{
    struct linger now = { .l_onoff = 1 };
    setsockopt(wire->descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(wire->descriptor);
    wire->descriptor = -1;
}

static inline void wire_read(struct wire *wire)
{
    while (wire->descriptor >= 0 && !wire->ended && !wire->deaf) {
        if (wire->capacity - wire->length < 65536) wire->received = realloc(wire->received, wire->capacity *= 2);
        ssize_t got = read(wire->descriptor, wire->received + wire->length, wire->capacity - wire->length - 1);
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {
            wire->ended = true;
            wire->was_reset = got < 0;
            break;
        }
        wire->length += (size_t)got;
    }
    wire->received[wire->length] = '\0';
}

/* What fits goes out; returns how much. */
static inline size_t wire_write(struct wire *wire, const char *bytes, size_t length)
{
    ssize_t sent = send(wire->descriptor, bytes, length, MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

static inline void wire_say(struct wire *wire, const char *text)
{
    assert_int_equal(wire_write(wire, text, strlen(text)), strlen(text));
}

/* Forgets what was received. */
static inline void wire_forget(struct wire *wire)
{
    wire->length = 0;
    wire->received[0] = '\0';
}

static inline void bench_settle(struct bench *bench, struct wire *wire)
{
    for (int i = 0; i < 8; i++) {
        loop_turn(&bench->loop, i < 6 ? 0 : 1); /* on a busy machine the kernel delivers a little later */
        wire_read(wire);
    }
}

static inline void bench_wait(struct bench *bench, struct wire *wire, uint64_t for_ms)
{
    uint64_t end_ms = bench->loop.now_ms + for_ms;
    while (bench->loop.now_ms < end_ms) {
        loop_turn(&bench->loop, 2);
        wire_read(wire);
    }
}

static inline int listen_on_loopback(struct address *address)
{
    struct error error;
    assert_true(address_parse(SLICE("127.0.0.1:0"), address));
    int listener = socket_listen(address, 16, &error);
    assert_true(listener >= 0);
    socklen_t length = sizeof *address;
    assert_int_equal(getsockname(listener, &address->any, &length), 0);
    return listener;
}

static inline int accept_soon(int listener)
{
    struct address peer;
    int descriptor = -1;
    for (int i = 0; i < 1000 && descriptor < 0; i++) {
        descriptor = socket_accept(listener, &peer);
        if (descriptor < 0) usleep(1000);
    }
    assert_true(descriptor >= 0);
    return descriptor;
}

static inline void connect_pair(int *accepted, int *connected)
{
    struct address address;
    int listener = listen_on_loopback(&address), one = 1;
    *connected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*connected, &address.any, address_length(&address)), 0);
    setsockopt(*connected, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *accepted = accept_soon(listener);
    close(listener);
}

static inline bool one_turn_more(unsigned *turns)
{
    if (++*turns > 2000) return false;
    loop_turn(&current_bench->loop, 1);
    for (unsigned i = 0; i < COUNT_OF(current_wires); i++) {
        if (current_wires[i]) wire_read(current_wires[i]);
    }
    return true;
}

#define assert_soon(condition)                                 \
    do {                                                       \
        unsigned turns_taken = 0;                              \
        while (!(condition) && one_turn_more(&turns_taken)) {} \
        assert_true(condition);                                \
    } while (0)
#define assert_received(wire, text) assert_soon(strstr((wire)->received, (text)) != NULL)
#define assert_not_received(wire, text) assert_null(strstr((wire)->received, (text)))

static inline bool ends_with(const struct wire *wire, const char *text)
{
    size_t length = strlen(text);
    return wire->length >= length && memcmp(wire->received + wire->length - length, text, length) == 0;
}

#endif
