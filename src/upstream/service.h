/* upstream/service.h: a service as compiled: immutable, shared by all workers, counted atomically (routes of long exchanges keep it).
 *
 * Made on the builder's thread from a service_config and the addresses its host names have now; made anew when either changes.
 * What must survive that (balancer position, budget of retries) is in service_state, found again by the service's id. */
#ifndef SLUICE_UPSTREAM_SERVICE_H
#define SLUICE_UPSTREAM_SERVICE_H

#include "config/resources.h"
#include "upstream/instance.h"
#include "upstream/transport.h"

struct endpoint {
    struct instance *instance;
    uint32_t weight;
};

/* A worker's own line of a service. */
struct service_line {
    uint32_t position; /* round robin; begins at a random offset */
    bool begun;
    int64_t retry_tokens_milli; /* budget: each request adds, each retry takes 1,000 */
    uint64_t retry_refilled_ms; /* loop time of the last refill of the budget's floor */
    struct counter requests, retries;
} __attribute__((aligned(CACHE_LINE)));

struct service_state {
    char *service_id;
    uint32_t references; /* builder's thread */
    unsigned workers;
    /* Of service_tell_failure(), touched by nothing else. */
    _Atomic uint64_t told_ms;
    _Atomic uint32_t untold;
    struct service_line lines[]; /* one a worker, and behind them the health checker's */
};

struct service {
    _Atomic uint32_t references;
    char *id, *name;
    enum lb_algorithm algorithm;
    uint32_t connect_timeout_ms, pool_idle_timeout_ms;
    uint32_t connections_per_instance_max; /* a worker; 0: no limit */
    uint32_t idle_connections_max; /* a worker and instance, for longer than a moment; 0: each carries one request */
    struct transport *transport;   /* one reference */
    struct service_state *state;
    struct health_check *health_check; /* NULL: nobody asks whether its instances are up */
    uint64_t weight_sum;
    struct hash_ring *ring;    /* ip_hash; NULL else */
    bool is_without_instances; /* in the configuration; else endpoint_count may be 0 for want of addresses */
    uint32_t endpoint_count;
    struct endpoint endpoints[];
};

struct service_registry; /* states by service id; builder's thread */
struct service_registry *service_registry_create(unsigned workers);
void service_registry_destroy(struct service_registry *);

/* What the host names of a service's instances mean now: for each instance_config, in order, its addresses. */
struct resolved_instance {
    const struct address *addresses;
    size_t count; /* 0: unknown, or the name does not exist */
};

/* One reference; takes one of the transport. An instance with a literal address needs no entry (entries may be NULL where no names are
 * used). */
struct service *service_create(const struct service_config *, const struct resolved_instance *resolved,
                               struct transport *, struct instance_registry *, struct service_registry *);
/* Of a service whose instances are all down: how many, and since when. Names nobody. */
#define SERVICE_DOWN_BYTES 96
void service_explain_down(const struct service *, uint64_t wall_ns, char into[SERVICE_DOWN_BYTES]);
/* To the operator, in the log: a request of this service failed. Any thread. One line a second and service, all workers together; what fails in
 * between is counted and the number stands in the next line. */
void service_tell_failure(const struct service *, uint64_t now_ms, const char *text);
void service_retain(struct service *);
/* Any thread; true when that was the last one: the caller brings it to the builder's thread, which calls service_destroy. */
bool service_drop(struct service *) MUST_USE;
void service_destroy(struct service *, struct instance_registry *, struct service_registry *);

#endif
