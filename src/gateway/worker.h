/* gateway/worker.h: one thread, one loop, all that a connection needs; shares nothing on the request path.
 *
 * Other threads talk to it by its mailbox (functions below marked "any thread"). Its memory is made and freed on the control thread,
 * its content belongs to its own thread from worker_start to worker_join. */
#ifndef SLUICE_GATEWAY_WORKER_H
#define SLUICE_GATEWAY_WORKER_H

#include "exchange/exchange.h"
#include "gateway/connection.h"
#include "http/h1_server.h"
#include "http/kernel_pipes.h"

#include <pthread.h>

struct worker;

/* What a configuration means for a worker beside the snapshot; immutable, counted by the publisher like it. */
struct worker_settings {
    struct h1_server_settings h1;
    uint32_t connections_max;             /* a worker */
    uint32_t connections_per_address_max; /* 0: no limit */
    uint32_t new_connections_per_address_per_second;
    uint64_t buffer_bytes_max;
};

/* One publication: a snapshot and the settings that belong to it. Made by the builder, freed by it when every worker let go. */
struct publication {
    struct snapshot *snapshot;
    struct worker_settings settings;
    _Atomic uint32_t holders; /* workers that may still look at it */
    void (*returned)(struct publication *, void *argument); /* any thread: the last holder let go */
    void *returned_argument;
};

struct worker_options {
    unsigned index;
    const char *name; /* "worker 0", "admin": thread name and logs */
    struct metrics *metrics;
    struct access_log *access_log;     /* NULL: none (admin) */
    const struct publication *first;   /* in force from the start */
    void (*drained)(void *argument);   /* any thread: no connection is left after worker_drain */
    void *argument;
};

struct worker *worker_create(const struct worker_options *, struct error *);
bool worker_start(struct worker *, struct error *) MUST_USE;
/* After it stopped. */
void worker_join(struct worker *);
void worker_destroy(struct worker *);

/* Any thread: */
void worker_publish(struct worker *, struct publication *);
/* Adds a listening socket (a duplicate that the worker owns). */
void worker_listen(struct worker *, int descriptor, const struct address *);
/* Accepts what is in the queue, then closes its socket of that address; `done` runs on the worker's thread. */
void worker_unlisten(struct worker *, const struct address *, void (*done)(void *argument), void *argument);
/* The instance is in no service any more; `done` runs on the worker's thread after its pool is closed. */
void worker_forget(struct worker *, const struct instance *, void (*done)(void *argument), void *argument);
/* Stops accepting, finishes exchanges, closes idle connections; options.drained when none is left. */
void worker_drain(struct worker *);
/* Ends its loop whatever is open (after the drain time). */
void worker_stop(struct worker *);
uint64_t worker_turns(const struct worker *); /* the sign of life */
pthread_t worker_thread(const struct worker *);
struct mailbox *worker_mailbox(struct worker *);

/* Gauges and totals for metrics, read relaxed from any thread. */
struct worker_figures {
    int64_t connections, exchanges, waits, buffer_bytes, arena_bytes;
    int64_t upstream_connections, upstream_idle, upstream_leases, upstream_waiting, upstream_calls;
    uint64_t connections_accepted, connections_refused, shed;
    uint64_t upstream_connects, upstream_connect_failures, upstream_retries, upstream_retries_refused, upstream_stale_retries;
    uint64_t exchanges_begun;
};
void worker_read_figures(const struct worker *, struct worker_figures *);

#endif
