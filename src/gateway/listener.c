/* gateway/listener.c: see listener.h. */
#include "gateway/listener.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPT_BURST_MAX 64
#define PAUSE_MS 100
#define WARN_EVERY_MS 10000
#define ACCEPT_LAST_MAX 8192 /* at the close: more than a queue holds, so that a flood of new ones ends too */

/* errno says why. While it lasts this comes ten times a second; the operator hears of it less often. */
static void pause_listener(struct listener *listener)
{
    uint64_t now_ms = listener->loop->now_ms;
    if (listener->warned_ms == 0 || now_ms - listener->warned_ms >= WARN_EVERY_MS) {
        log_error(
            "cannot accept connections: %m; resting for %d ms each time (raise the limit of open files: ulimit -n)",
            PAUSE_MS);
        listener->warned_ms = now_ms;
    }
    listener->paused = true;
    loop_unwatch(listener->loop, &listener->source, false);
    timer_set(&listener->loop->timers, &listener->pause, now_ms + PAUSE_MS);
}

/* False: nothing more to take, for now. */
static bool accept_one(struct listener *listener)
{
    struct address peer;
    int connection = socket_accept(listener->descriptor, &peer);
    if (connection >= 0) {
        listener->accepted(listener, connection, &peer, listener->owner);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        if (!listener->paused) pause_listener(listener);
        return false;
    }
    return errno == EINTR || errno == ECONNABORTED || errno == EPROTO;
}

/* Level-triggered: what is left comes up again. A try that finds nothing costs a system call, so the burst is as long as the last
 * one proved worth it. */
static void listener_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct listener *listener = CONTAINER_OF(source, struct listener, source);
    unsigned tries = listener->burst, taken = 0;
    while (taken < tries && !listener->paused && accept_one(listener)) taken++;
    listener->burst = taken < tries ? (taken > 1 ? taken : 1) : (tries < ACCEPT_BURST_MAX ? tries * 2 : tries);
}

static void pause_over(struct timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, pause);
    struct error error;
    listener->paused = false;
    if (!loop_watch_listener(listener->loop, &listener->source, listener->descriptor, &error)) pause_listener(listener);
}

struct listener *listener_create(struct loop *loop, int descriptor, const struct address *address,
                                 void (*accepted)(struct listener *, int descriptor, const struct address *peer,
                                                  void *owner),
                                 void *owner, struct error *error)
{
    struct listener *listener = memory_allocate(sizeof *listener);
    listener->loop = loop;
    listener->descriptor = descriptor;
    listener->address = *address;
    listener->accepted = accepted;
    listener->owner = owner;
    listener->burst = 1;
    listener->source.ready = listener_ready;
    timer_init(&listener->pause, pause_over);
    list_init(&listener->link);
    if (loop_watch_listener(loop, &listener->source, descriptor, error)) return listener;
    close(descriptor);
    free(listener);
    return NULL;
}

void listener_change_entrance(struct listener *listener, const struct entrance *entrance)
{
    entrance_retain(entrance);
    entrance_drop(listener->entrance);
    listener->entrance = entrance;
}

/* What is in a queue when the last descriptor of its socket is closed gets a reset, and so it does by shutdown(2); a client that came
 * between the last accept and the close would be lost. So the kernel drops what opens a connection, before it becomes one: that client
 * sends it again a second later and is refused, as the socket is closed by then. All other segments pass, because a handshake under way
 * shall end well, and because the connections it makes inherit the filter. Each socket of a SO_REUSEPORT group has its own queue and
 * needs its own filter. Where the kernel denies it, that moment stays open. */
void listener_refuse_new(struct listener *listener)
{
    enum { FLAGS_AT = 13, SYN = 0x02, ACK = 0x10 }; /* in the TCP header, RFC 9293 section 3.1 */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),   BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0), /* drop it */
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = { COUNT_OF(code), code };
    if (setsockopt(listener->descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        log_warning("clients that connect in the moment of closing may be reset: %m");
}

static void destroy_listener(struct retired *retired) { free(CONTAINER_OF(retired, struct listener, retired)); }

void listener_close(struct listener *listener)
{
    /* The master's duplicate keeps the socket open, so close(2) alone would leave it in the epoll. Before the last look, because of
     * those who share a socket (EPOLLEXCLUSIVE) one alone is told of a connection: had we been, nobody else would come for it. */
    if (!listener->paused) loop_unwatch(listener->loop, &listener->source, false);
    listener->paused = true; /* short of descriptors, there is no next time */
    timer_clear(&listener->loop->timers, &listener->pause);
    for (int i = 0; i < ACCEPT_LAST_MAX && accept_one(listener); i++) {}
    list_remove(&listener->link);
    listener_change_entrance(listener, NULL);
    close(listener->descriptor);
    loop_retire(listener->loop, &listener->retired, destroy_listener);
}
