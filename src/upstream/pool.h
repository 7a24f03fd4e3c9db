/* upstream/pool.h: warm connections of one worker to one instance. Only that worker touches it, so nothing here locks.
 *
 * The pool owns the connections; a place on one (in h1 the whole of it, in h2 one stream's) is the try's until its stream is DONE or
 * cancelled. Shared connections that have room are taken first, the newest of them; then idle ones, last used first, after a check that
 * they are not stale as far as events have told (the session asks the kernel where that is not enough). At the cap a taker waits in line
 * until a place comes free or its deadline. A connection that begins with a PROXY header says whose it is, so it carries one stream and is
 * nobody else's. */
#ifndef SLUICE_UPSTREAM_POOL_H
#define SLUICE_UPSTREAM_POOL_H

#include "upstream/worker.h"

enum pool_result { POOL_READY, POOL_WAIT, POOL_FAIL };

struct pool_wish {
    const struct service *service; /* connect timeout and caps are its own */
    struct instance *instance;
    bool fresh;  /* never a used one (after a stale one failed) */
    bool http_1; /* where the version is the instance's choice: HTTP/1.1, for what HTTP/2 may not carry (WebSockets) */
    /* For a transport with the PROXY protocol: whose connection it is to be. source AF_UNSPEC: our own. */
    struct address source, destination;
};

/* Someone who waits for a connection. Embedded in its owner. */
struct pool_waiter {
    struct list_link link;                /* in line, or handed a place that it hasn't collected yet */
    struct task *owner_task;              /* queued when the wait is over */
    struct client_connection *connection; /* the outcome, or ... */
    struct error error;                   /* ... why not (reason set) */
    bool waiting;
    /* Internal. */
    bool fresh;
    struct upstream_pool *pool;
    struct pooled *making; /* the connection that is being made for nobody else; NULL: none */
    struct address source, destination;
};

void pool_waiter_init(struct pool_waiter *, struct task *owner_task);

/* Hands out a connection that can carry a stream, or begins a new one.
 *   POOL_READY  *connection can be opened on at once
 *   POOL_WAIT   owner_task runs later: waiter->connection (to be collected before it is opened on) or waiter->error is set
 *   POOL_FAIL   *error names the instance and the cause */
enum pool_result upstream_pool_take(struct upstream_worker *, const struct pool_wish *, struct pool_waiter *,
                                    struct client_connection **connection, struct error *error);
/* The outcome becomes the taker's. */
struct client_connection *upstream_pool_collect(struct pool_waiter *);
/* The waiter goes away; a connection that was being made for it stays in the pool. Safe when not waiting; gives an unused
 * outcome back. */
void upstream_pool_cancel(struct upstream_worker *, struct pool_waiter *);

#endif
