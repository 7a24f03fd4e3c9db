/* upstream/balancer.h: which endpoint of a service gets this try. Pure but for the worker's own lines and relaxed reads of counts.
 *
 * round_robin; weighted_round_robin (smooth, as nginx's); least_connections (in flight over all workers, divided by weight, ties at
 * random); ip_hash (consistent hash ring over identity hashes: a lost instance moves only its own clients, the others stay);
 * random (by weight). Endpoints of weight 0 get nothing, nor do those that are down by their health checks. Those tried already and
 * those passed over are avoided while another is left; where all are passed over, the one whose time is up first is taken rather than
 * none. */
#ifndef SLUICE_UPSTREAM_BALANCER_H
#define SLUICE_UPSTREAM_BALANCER_H

#include "base/random.h"
#include "upstream/service.h"

#define ENDPOINT_NONE UINT32_MAX
#define TRIED_MAX 8

struct balancer_question {
    unsigned worker; /* which line */
    uint64_t now_ms;
    uint64_t client_hash;      /* ip_hash: of the client's address */
    uint32_t tried[TRIED_MAX]; /* endpoint indices of earlier tries */
    unsigned tried_count;
};

/* Index into service->endpoints, or ENDPOINT_NONE (no endpoint that has weight and is not down). */
uint32_t balancer_pick(const struct service *, const struct balancer_question *, struct random *);

struct hash_ring *hash_ring_create(const struct endpoint *, size_t count);
void hash_ring_destroy(struct hash_ring *);

#endif
