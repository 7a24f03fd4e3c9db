/* shared/limiter.h: who counts what rules limit: the process's own table, or somebody farther away whose answer takes a while.
 *
 * A call is embedded in its owner's memory and belongs to one thread. A limiter that can't tell at once says LIMITER_LATER and calls
 * `ready` on the same thread later, never inside take(); until then, or until cancel(), the call is the limiter's. */
#ifndef SLUICE_SHARED_LIMITER_H
#define SLUICE_SHARED_LIMITER_H

#include "shared/given_up.h"

enum limiter_answer {
    LIMITER_DONE, /* call->outcome is there */
    LIMITER_LATER,
};

struct limiter_call {
    const struct limit *limit;
    struct limit_place place;
    uint64_t cost, now_ns, wait_max_ns;
    void (*ready)(struct limiter_call *); /* the owner's */
    struct limit_outcome outcome;
    struct limit_plan plan;   /* of the table's look; without a plan, its owner sets the entry NULL */
    struct limit_lease lease; /* of the table; other limiters may note elsewhere what was taken */
    void *note;               /* the limiter's */
};

struct limiter {
    /* What take() would say (call->outcome), without effect, at once. NULL: it can't know. */
    void (*look)(struct limiter *, struct limiter_call *);
    enum limiter_answer (*take)(struct limiter *, struct limiter_call *);
    /* Of a call that was answered LATER and is not ready: `ready` won't be called. What it takes all the same it gives back. */
    void (*cancel)(struct limiter *, struct limiter_call *);
    /* What the call took (outcome PASS or WAIT), at most once. now_ns: a fresh reading (limit_refund()). */
    void (*refund)(struct limiter *, struct limiter_call *, uint64_t now_ns);
};

/* The process's own: never late. */
struct local_limiter {
    struct limiter limiter;
    struct limit_table *table;
    struct given_up given_up;
};
void local_limiter_init(struct local_limiter *, struct limit_table *);
void local_limiter_release(struct local_limiter *);

#endif
