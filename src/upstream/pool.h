/* upstream/pool.h: warm connections of one worker to one instance. Only that worker touches it, so nothing here locks.
 *
 * The pool owns idle connections; one with a stream on it is the try's until its stream is DONE or cancelled. Idle ones are taken
 * last used first, after a check that they are not stale as far as events have told (the session asks the kernel where that is not
 * enough); at the cap a taker waits in line until one comes free or its deadline. */
#ifndef SLUICE_UPSTREAM_POOL_H
#define SLUICE_UPSTREAM_POOL_H

#include "upstream/worker.h"

enum pool_result { POOL_READY, POOL_WAIT, POOL_FAIL };

/* Someone who waits for a connection. Embedded in its owner. */
struct pool_waiter {
    struct list_link link;
    struct task *owner_task;              /* queued when the wait is over */
    struct client_connection *connection; /* the outcome, or ... */
    struct error error;                   /* ... why not (reason set) */
    bool waiting;
    bool fresh; /* internal, like the pool */
    struct upstream_pool *pool;
};

void pool_waiter_init(struct pool_waiter *, struct task *owner_task);

/* Hands out a connection that can carry a stream, or begins a new one.
 *   POOL_READY  *connection can be opened on at once
 *   POOL_WAIT   owner_task runs later: waiter->connection (to be collected before it is opened on) or waiter->error is set
 *   POOL_FAIL   *error names the instance and the cause
 * `fresh`: never a used one (after a stale one failed). The connect timeout is the service's. */
enum pool_result upstream_pool_take(struct upstream_worker *, const struct service *, struct instance *, bool fresh,
                                    struct pool_waiter *, struct client_connection **connection, struct error *error);
/* The outcome becomes the taker's. */
struct client_connection *upstream_pool_collect(struct pool_waiter *);
/* The waiter goes away; a connection that was being made for it stays in the pool. Safe when not waiting; gives an unused
 * outcome back. */
void upstream_pool_cancel(struct upstream_worker *, struct pool_waiter *);

#endif
