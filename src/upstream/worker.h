/* upstream/worker.h: a worker's side of upstream/: its pools, by instance slot, and what calls need. One worker's thread. */
#ifndef SLUICE_UPSTREAM_WORKER_H
#define SLUICE_UPSTREAM_WORKER_H

#include "base/random.h"
#include "http/h1_client.h"
#include "http/h2_client.h"
#include "upstream/service.h"

struct upstream_pool;
struct upstream_stand_in;

/* The worker's own; any thread may read. */
struct upstream_counters {
    struct gauge connections; /* open ones, those being made and idle ones included */
    struct gauge idle_connections;
    struct gauge leases;  /* tries that hold an instance */
    struct gauge waiting; /* tries waiting for a connection: one being made, or one of others under a cap */
    struct gauge calls;   /* active */
    struct counter connects, connect_failures, stale_retries, retries, retries_refused;
};

struct upstream_worker {
    struct http_worker *http;
    struct loop *loop;
    unsigned index; /* this worker's line in instances and services */
    struct random random;
    struct client_settings client_settings;
    uint32_t idle_connections_total_max; /* over all instances, shared fairly */
    bool is_checker; /* of health: what its calls meet is told there, and strikes or praises nobody */
    const struct upstream_stand_in
        *stand_in; /* answers all calls (upstream/stand_in.h); NULL: instances do. Set by the owner */
    struct upstream_counters counters;
    /* Internal. */
    struct upstream_pool **pools; /* by slot; an instance with several transports has several */
    size_t pool_capacity;
    struct list_link idle_order; /* all idle connections, oldest first */
    uint32_t idle_pools;         /* pools with idle connections */
    struct timer sweep;          /* closes idle ones past their time */
    struct turn_share handshake_steps;
};

/* Sets defaults; the owner may change client_settings and idle_connections_total_max afterwards, at any time. */
bool upstream_worker_init(struct upstream_worker *, struct http_worker *, unsigned index, struct error *) MUST_USE;
/* All calls have ended, and the loop has turned since. Closes the pools. */
void upstream_worker_release(struct upstream_worker *);
/* The instance has no service any more: closes its pool. */
void upstream_worker_forget(struct upstream_worker *, const struct instance *);
/* Draining: idle connections go. */
void upstream_worker_close_idle(struct upstream_worker *);

#endif
