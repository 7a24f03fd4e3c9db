/* gateway/worker.h: one thread, one loop, all that a connection needs; shares nothing on the request path.
 *
 * Other threads talk to it by its mailbox (functions below marked "any thread"). Its memory is made and freed on the control thread,
 * its content belongs to its own thread from worker_start to worker_join. */
#ifndef SLUICE_GATEWAY_WORKER_H
#define SLUICE_GATEWAY_WORKER_H

#include "exchange/exchange.h"
#include "gateway/connection.h"
#include "keys/api_keys.h"

#include <pthread.h>

struct worker;

/* What a configuration means for a worker beside the snapshot. */
struct worker_settings {
    struct server_settings server;
    struct client_settings client;
    struct connection_limits connections;
    uint32_t handshake_timeout_ms;
    uint64_t buffer_bytes_max;
    uint32_t tunnels_max; /* 0: no limit */
};

/* One publication: a snapshot and the settings that belong to it. Made by the publisher, freed by it when every worker let go. */
struct publication {
    struct snapshot *snapshot;
    struct worker_settings settings;
    struct entrances *entrances; /* its own reference; NULL: all listeners are plain */
    _Atomic uint32_t to_adopt;   /* workers that have not switched to it yet */
    _Atomic uint32_t holders;    /* workers that may still look at it */
    /* On a worker's thread, by the last one: */
    void (*adopted)(struct publication *);
    void (*returned)(struct publication *);
    void *owner;
};

struct worker_options {
    unsigned index;   /* its lines in instances, services, metrics */
    const char *name; /* of its thread, up to 15 bytes; static or longer-lived */
    struct metrics *metrics;
    struct admin_surroundings *admin;     /* what the admin handler works on; NULL elsewhere */
    struct access_log_worker *access_log; /* NULL: none */
    struct address_limits *addresses;
    struct api_keys *api_keys;           /* a reader of it, by `index`; NULL elsewhere */
    const struct filter *const *filters; /* that may run here; NULL: none keeps anything */
    struct publication *first;           /* in force from the start; counted as adopted */
    void (*drained)(void *owner);        /* on the worker's thread: after worker_drain, no connection is left */
    void *owner;
};

struct worker *worker_create(const struct worker_options *, struct error *);
bool worker_start(struct worker *, struct error *) MUST_USE;
void worker_join(struct worker *);
/* After join (or never started). Lets go of its publications. */
void worker_destroy(struct worker *);

/* Any thread: */
void worker_publish(struct worker *, struct publication *);
/* Adds a listening socket; the worker owns the descriptor. */
void worker_listen(struct worker *, int descriptor, const struct address *);
/* Accepts what is in the queue, then closes its sockets of that address; `done` runs on the worker's thread. For good: nobody shall
 * listen on these sockets again, and they let nobody new in from then on. */
void worker_unlisten(struct worker *, const struct address *, bool for_good, void (*done)(void *argument),
                     void *argument);
/* The instance is in no service any more; `done` runs on the worker's thread after its pool is closed. */
void worker_forget(struct worker *, const struct instance *, void (*done)(void *argument), void *argument);
/* Stops accepting, finishes exchanges, closes idle connections. */
void worker_drain(struct worker *);
/* The same without haste, as another process serves new connections: idle ones may bring one more request. worker_drain() may follow. */
void worker_yield(struct worker *);
/* While draining: ends what is not a tunnel, and tells the tunnels to close. */
void worker_cut_requests(struct worker *);
void worker_end_tunnels(struct worker *);
/* Ends its loop whatever is open. */
void worker_stop(struct worker *);
uint64_t worker_turns(const struct worker *); /* the sign of life */
pthread_t worker_thread(const struct worker *);
const char *worker_name(const struct worker *);

/* Gauges and totals, read relaxed from any thread. */
struct worker_figures {
    int64_t connections, exchanges, waits, tunnels, buffer_bytes;
    int64_t upstream_connections, upstream_idle, upstream_leases, upstream_waiting, upstream_calls;
    uint64_t connections_accepted, connections_turned_away, exchanges_begun, exchanges_beyond_snapshot;
    uint64_t upstream_connects, upstream_connect_failures, upstream_retries, upstream_retries_refused,
        upstream_stale_retries;
    int64_t handshakes;
    uint64_t handshakes_completed[2][2]; /* as in struct handshake_figures */
    uint64_t handshakes_failed[HANDSHAKE_FAILURES_MAX];
    uint64_t proxies_untrusted, proxies_mute;
};
void worker_add_figures(const struct worker *, struct worker_figures *sum);

#endif
