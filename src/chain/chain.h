/* chain/: what a filter and a handler are, the list of those that this build has, and a route's chain compiled from configuration.
 *
 * The exchange is opaque here: filters and handlers include exchange/exchange.h, this room never does. A chain is immutable and
 * shared by all workers; it is made and released on the builder's thread. */
#ifndef SLUICE_CHAIN_CHAIN_H
#define SLUICE_CHAIN_CHAIN_H

#include "chain/filter.h"
#include "chain/handler.h"
#include "config/config.h"

/* What a build has; filters/all.c and handlers/all.c list them; tests hand in more. */
struct policy_registry {
    const struct filter *const *filters; /* NULL-ended */
    const struct handler *const *handlers;
};

/* The filters as configuration sees them. Free with free(). */
struct policy_kinds policy_registry_kinds(const struct policy_registry *);
const struct filter *policy_registry_find(const struct policy_registry *, const struct policy_kind *);

/* A filter as a route has it. Of one that may be written with on: response, only the functions of the side it was written for are
 * there. */
struct chain_link {
    const struct filter *filter;
    const void *compiled; /* filter->compile's result */
    enum filter_result (*request)(struct exchange *, const void *compiled, void *state);
    enum filter_result (*response_head)(struct exchange *, const void *compiled, void *state);
    filter_stage *request_body, *response_body;
    uint32_t state_offset; /* of the filter's state in the exchange's block */
};

struct chain {
    uint32_t count;
    uint32_t state_bytes; /* of all filters together */
    uint32_t cors_at;     /* index + 1 of a filter that answers CORS preflights; 0: none */
    bool has_request_stages, has_response_stages;
    bool has_lookers_on;       /* a filter with request_ready */
    struct chain_link links[]; /* in the order in which requests meet them; responses go backwards */
};

/* Compiles the filters that apply to a route, widest scope first: global plugins, the service's, the route's plugins, the route's own
 * filters; the narrower scope replaces the same kind unless the filter's kind is one of which all scopes apply
 * (filter->all_scopes_apply), and of two plugins in one scope the last one does. Two of such a kind in the route's own filters are a problem.
 * Sorted by phase, then rank, then priority (higher first), then scope, then order of writing. NULL where a problem was added. */
struct chain *chain_create(const struct policy_registry *, const struct filter_config *const *configs, size_t count,
                           const struct filter_compile *);
/* Its route comes into force, once. */
void chain_comes_into_force(const struct chain *);
void chain_destroy(struct chain *);
/* Its route goes out of force, while requests may go on with it (filter->retire). Once, before it is destroyed. */
void chain_retire(struct chain *);

#endif
