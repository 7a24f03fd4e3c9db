/* upstream/stand_in.h: somebody who answers every call of a worker from memory, in the place of all instances: so that a configuration can be
 * tried by the code that serves, and nothing is sent. Retries, breakers, health and pools have no part in it. One worker's thread. */
#ifndef SLUICE_UPSTREAM_STAND_IN_H
#define SLUICE_UPSTREAM_STAND_IN_H

#include "config/schema.h"
#include "upstream/call.h"

/* Zeroed but for status 200. What it points at lives as long as the call. */
struct stand_in_answer {
    unsigned status; /* 200 to 599 */
    struct pair_list headers;
    struct slice body; /* absent: none */
};

struct upstream_stand_in {
    /* The request is there with its body, as it would go out: plan->request, plan->target. */
    void (*answer)(void *argument, const struct call_plan *, struct stand_in_answer *);
    void *argument;
};

#endif
