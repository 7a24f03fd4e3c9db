/* chain/handler.h: what a route ends in, exactly one: proxy, respond, redirect, aggregate, admin; later GraphQL. */
#ifndef SLUICE_CHAIN_HANDLER_H
#define SLUICE_CHAIN_HANDLER_H

#include "chain/filter.h"
#include "config/resources.h"

struct handler {
    const char *name;
    const char *summary;
    size_t state_size; /* per exchange, zeroed, in its arena */
    /* Is this how the route ends? Exactly one handler says yes to a route that passed configuration. */
    bool (*takes)(const struct route_config *);
    /* May be NULL: nothing to compile. False: a problem was added. */
    bool (*compile)(const struct filter_compile *, const struct route_config *, void **compiled);
    void (*release)(void *compiled);
    /* Begins. The answer is given by exchange_answer() or exchange_fail(), inside this call or later from the run queue. */
    void (*start)(struct exchange *, const void *compiled, void *state);
    /* A handler that has called exchange_wait() before its answer: the wait is over, exchange_wait_outcome() says how. It answers or waits
     * again. NULL: it never waits. */
    void (*resume)(struct exchange *, const void *compiled, void *state);
    /* The exchange ends before or after the answer: give everything back now; no call of the handler's may come after.
     * Exactly once where `start` ran. NULL: nothing to give back. */
    void (*finish)(struct exchange *, const void *compiled, void *state);
    /* What it would do with this request, without effects: it asks nobody and answers nothing. The filters have run, and a split has chosen. NULL:
     * its summary says it all. */
    void (*explain)(struct exchange *, const void *compiled, struct explanation *);
};

#endif
