/* upstream/private.h: what the files of this room share: the pool's inside, tries, the hash ring's walk. */
#ifndef SLUICE_UPSTREAM_PRIVATE_H
#define SLUICE_UPSTREAM_PRIVATE_H

#include "upstream/call.h"
#include "upstream/connector.h"

/* ring.c */
/* The first point at or behind the client's place; *points is how many there are (never 0 for a service with weight). */
size_t hash_ring_find(const struct hash_ring *, uint64_t client_hash, size_t *points);
uint32_t hash_ring_endpoint(const struct hash_ring *, size_t point);

/* pool.c, pool_table.c */
#define POOL_SWEEP_EVERY_MS 1000
/* Streams on one connection, whatever its backend allows: a lost packet, or a backend's thread, stops all of them together. */
#define POOL_PLACES_MAX 100

struct upstream_pool {
    struct upstream_worker *worker;
    struct instance *instance;
    struct transport *transport;  /* one reference */
    struct ticket_shelf *tickets; /* one reference; NULL: plain */
    struct upstream_pool *next;   /* of the same instance, with another transport */
    struct list_link idle;        /* struct client_connection, last used first */
    struct list_link roomy;  /* struct client_connection with streams on it and room for more, newest first: h2 only */
    struct list_link making; /* struct pooled that still connect */
    struct list_link line;   /* struct pool_waiter, first come first */
    uint32_t idle_count, making_count, open_count, waiting_count;
    uint32_t places; /* how many streams a connection that is being made will carry, as far as is known */
    /* Of the service that took last: a reload may change them. */
    uint32_t connections_max, idle_max, idle_timeout_ms, connect_timeout_ms;
};

enum pooled_state {
    POOLED_MAKING,
    POOLED_IDLE, /* no lease */
    POOLED_BUSY,
};

/* The pool's side of a connection: its `owner`. */
struct pooled {
    struct client_connection *connection; /* NULL: a connector is at work */
    struct connector *connector;          /* NULL: done, or never needed */
    struct upstream_pool *pool;
    struct list_link order;   /* making: in the pool's `making`; idle: in the worker's idle_order */
    struct timer timer;       /* making: the connect timeout */
    struct list_link handed;  /* struct pool_waiter: have been given a place and not collected it yet */
    struct pool_waiter *only; /* making: for whom alone; NULL: for whoever comes first, or its waiter has left */
    uint32_t leases;          /* streams on it, and places handed over */
    enum pooled_state state;
};

/* Its connections say whose they are (PROXY protocol): each is made for one waiter and carries one stream. */
static inline bool upstream_pool_is_private(const struct upstream_pool *pool)
{
    return pool->transport->proxy_protocol != 0;
}
/* As many waiters will be served by what is being made. */
static inline uint64_t upstream_pool_places_promised(const struct upstream_pool *pool)
{
    return (uint64_t)pool->making_count * pool->places;
}
/* The one for this wish, with its service's settings; made where there is none. NULL when memory is short. */
struct upstream_pool *upstream_pool_for(struct upstream_worker *, const struct pool_wish *);
/* Idle or still being made. */
void upstream_pool_close(struct pooled *);
/* Nobody waits any more, no stream is on any connection. */
void upstream_pool_destroy(struct upstream_pool *);
/* One of a transport that others have taken the place of goes when nothing is left in it. */
void upstream_pool_discard_unused(struct upstream_pool *);
void upstream_pool_close_idle(struct pooled *);
/* Connections being made that nobody waits for. */
void upstream_pool_close_making(struct upstream_pool *);
/* Why a waiter whose time is up got nothing. */
void upstream_pool_explain_wait(const struct pool_waiter *, struct error *);

/* try.c */
enum try_stage {
    TRY_WAITS, /* for a connection */
    TRY_OPEN,  /* its stream is under way */
    TRY_OVER,  /* everything is given back; the response's head and body stay */
};

/* One attempt at one instance: a lease, and a place in line or a connection with a stream on it. In the call's arena. */
struct
try {
    struct upstream_call *call;
    struct instance *instance;
    enum try_stage stage;
    bool fresh;           /* insists on a new connection: it repeats one that met a stale one */
    uint64_t deadline_ms; /* the try's own; UINT64_MAX: none */
    struct pool_waiter waiter;
    struct client_stream stream;
    struct try *earlier; /* in call->earlier */
};

/* Takes a lease and a connection, or a place in line. NULL and *error where neither was to be had: nothing to give back then. */
struct try *try_begin(struct upstream_call *, struct instance *, bool fresh, struct error *) MUST_USE;
/* TRY_WAITS: the wait is over. False: *error says why; the try still has to be ended. */
bool try_collect(struct try *, struct error *) MUST_USE;
/* Gives back whatever it holds, whatever its stage. The one place for that. */
void try_end(struct try *);
/* An open stream that has met a 101 becomes a tunnel; the lease goes to *lease. False: memory is short, nothing has changed. */
bool try_open_tunnel(struct try *, struct tunnel_end *, struct upstream_lease *) MUST_USE;
/* After try_end: its response is not the one that counts. Where it had sent interim heads, which the call's owner may still look at, it
 * is kept in call->earlier for the call to release, else released at once. */
void try_discard_response(struct try *);

/* budget.c: retries are bounded to a share of the service's live requests on this worker. */
void budget_add_request(struct service_line *);
bool budget_take_retry(struct service_line *, uint64_t now_ms) MUST_USE;

/* call.c */
enum call_state { CALL_CONNECTING, CALL_ASKING, CALL_ANSWERING, CALL_OVER };

/* stand_in.c: in the place of tries. The call has begun; ends it, at once or from the run queue. */
void stand_in_start(struct upstream_call *);
void stand_in_cancel(struct upstream_call *);

#endif
