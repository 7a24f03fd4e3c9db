/* gateway/listener.h: a worker's own end of a listening address: accepts within a share of each turn.
 *
 * The descriptor is a duplicate that the listener owns; the master keeps the socket itself. */
#ifndef SLUICE_GATEWAY_LISTENER_H
#define SLUICE_GATEWAY_LISTENER_H

#include "event/event.h"
#include "gateway/entrance.h"

struct listener {
    struct list_link link; /* the worker's */
    struct event_source source;
    struct timer pause; /* out of descriptors: a moment's rest instead of a spin */
    struct retired retired;
    struct loop *loop;
    int descriptor;
    struct address address;
    const struct entrance *entrance; /* one reference; NULL: plain */
    bool paused;
    uint64_t warned_ms; /* loop time of the last word about it; 0: none */
    unsigned burst;     /* how many the last event brought: how far to try this time */
    void (*accepted)(struct listener *, int descriptor, const struct address *peer, void *owner);
    void *owner;
};

/* Takes over the descriptor. NULL and *error otherwise (then it is closed). */
struct listener *listener_create(struct loop *, int descriptor, const struct address *,
                                 void (*accepted)(struct listener *, int descriptor, const struct address *peer,
                                                  void *owner),
                                 void *owner, struct error *);
/* For those that are accepted from now on; NULL: plain. */
void listener_change_entrance(struct listener *, const struct entrance *);
/* Lets nobody new into the queue: for the socket's whole life, in each process that has it. Who is in it stays. */
void listener_refuse_new(struct listener *);
/* Accepts what waits in the queue, then closes; freed at the turn's end. */
void listener_close(struct listener *);

#endif
