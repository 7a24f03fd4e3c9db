/* gateway/listener.c: see listener.h. */
#include "gateway/listener.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPT_BURST_MAX 64
#define PAUSE_MS 100

static void pause_listener(struct listener *listener)
{
    log_error(
        "cannot accept connections on a listener: %m; resting for %d ms (raise the limit of open files: ulimit -n)",
        PAUSE_MS);
    listener->paused = true;
    loop_unwatch(listener->loop, &listener->source, false);
    timer_set(&listener->loop->timers, &listener->pause, listener->loop->now_ms + PAUSE_MS);
}

/* False: nothing more to take, for now. */
static bool accept_one(struct listener *listener)
{
    struct address peer;
    int connection = socket_accept(listener->descriptor, &peer);
    if (connection >= 0) {
        listener->accepted(connection, &peer, listener->owner);
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
                                 void (*accepted)(int descriptor, const struct address *peer, void *owner), void *owner,
                                 struct error *error)
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

static void destroy_listener(struct retired *retired) { free(CONTAINER_OF(retired, struct listener, retired)); }

void listener_close(struct listener *listener)
{
    while (accept_one(listener)) {}
    /* The master's duplicate keeps the socket open, so close(2) alone would leave it in the epoll. */
    if (!listener->paused) loop_unwatch(listener->loop, &listener->source, false);
    timer_clear(&listener->loop->timers, &listener->pause);
    list_remove(&listener->link);
    close(listener->descriptor);
    loop_retire(listener->loop, &listener->retired, destroy_listener);
}
