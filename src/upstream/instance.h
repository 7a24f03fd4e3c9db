/* upstream/instance.h: one address of one service, found again by its identity (service id, host, port, address) after every change
 * of configuration, so that counts, pools and what was learned about it survive.
 *
 * The registry belongs to the builder's thread; workers read instances and touch only their own line and the atomics here.
 * An instance lives as long as a service refers to it; after the last service is gone, each worker closes its pool for the
 * slot (upstream_worker_forget) before the slot is used again. */
#ifndef SLUICE_UPSTREAM_INSTANCE_H
#define SLUICE_UPSTREAM_INSTANCE_H

#include "base/slice.h"
#include "event/socket.h"
#include "shared/counter.h"
#include "upstream/health.h"

/* A worker's own line: written by it alone, summed by whoever needs the sum. */
struct instance_line {
    struct gauge in_flight;   /* calls' tries */
    struct gauge connections; /* open ones, idle included */
    struct counter tries, failures;
    int64_t balance; /* smooth weighted round robin: current weight; the worker's alone */
} __attribute__((aligned(CACHE_LINE)));

struct instance {
    char *service_id, *name; /* name: "10.0.0.1:8080", or "host:port (10.0.0.1)" where resolved */
    struct slice host_port;  /* as configured: the Host for preserveHost: false */
    struct slice host;       /* of it, without brackets */
    struct address address;
    uint64_t identity_hash; /* for consistent hashing: of host:port and address, the same in every process */
    uint32_t slot;          /* small, unique among living instances: index of a worker's pool table */
    uint32_t references;    /* services; builder's thread */
    /* Passed over after a refused connect or a timeout, for a short, growing while. Any worker. */
    _Atomic uint64_t passed_over_until_ms; /* loop time (monotonic) */
    _Atomic uint32_t strikes;              /* in a row */
    struct instance_health health;
    unsigned workers;
    struct instance_line lines[]; /* one a worker, and behind them the health checker's */
};

struct instance_registry;

/* `workers`: those that carry traffic. Each instance has one line more, of index `workers`, which no sum counts: the health checker's. */
struct instance_registry *instance_registry_create(unsigned workers);
/* Every instance must have been dropped. */
void instance_registry_destroy(struct instance_registry *);
/* The one with this identity, made where it is new; one more reference. */
struct instance *instance_get(struct instance_registry *, struct slice service_id, struct slice host, uint16_t port,
                              const struct address *);
/* One reference fewer; at none it is put on the registry's list of forgotten ones, and its slot stays taken until
 * instance_destroy. */
void instance_drop(struct instance_registry *, struct instance *);
/* The next forgotten one to tell the workers about; NULL: none. When every worker has answered: instance_destroy. */
struct instance *instance_next_forgotten(struct instance_registry *);
void instance_destroy(struct instance_registry *, struct instance *);

int64_t instance_in_flight(const struct instance *); /* over all workers, without health checks */
/* A connect was refused, or a connect or an answer timed out: passed over for 100 ms, doubling to 10 s. What else fails while it
 * is passed over doesn't count again (all tries in flight fail together). Any thread. */
void instance_strike(struct instance *, uint64_t now_ms);
/* It answered: that clears all strikes. Costs one plain read where there are none. */
void instance_praise(struct instance *);
static inline bool instance_is_passed_over(const struct instance *instance, uint64_t now_ms)
{
    return atomic_load_explicit(&instance->passed_over_until_ms, memory_order_relaxed) > now_ms;
}

#endif
