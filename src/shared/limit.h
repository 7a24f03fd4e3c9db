/* shared/limit.h: how much of a limit is left: the maths of five algorithms, on a state of two words a key.
 *
 * Pure: time is an argument, nothing is remembered but the state that the caller holds (limit_table.h holds those of all keys). Nanoseconds count
 * from a moment of the caller's choice; windows begin at its multiples. All roundings are against the caller: never more than the limit.
 *
 *   token bucket    `burst` tokens, refilled evenly with `quota` a window. Kept as the time at which it will be full: what is taken moves that
 *   and GCRA        into the future, and it may be at most a bucket's filling time away. The two are one algorithm, told in two ways.
 *   sliding window  this window's count, and the share of the last one's that still lies within one window's length before now.
 *   fixed window    a count that begins anew with each window.
 *   concurrency     a count of what is under way; what was taken is given back by limit_refund().
 *
 * A request that may wait gets a place in the future (limit_take's wait_max_ns): of a bucket the time at which its tokens will be there, of a
 * fixed window the beginning of the first one with room. Places are taken in order and, while somebody stands behind them, not given
 * back: who came behind was told a time that counts on them. */
#ifndef SLUICE_SHARED_LIMIT_H
#define SLUICE_SHARED_LIMIT_H

#include "base/base.h"

enum limit_algorithm { LIMIT_TOKEN_BUCKET, LIMIT_SLIDING_WINDOW, LIMIT_FIXED_WINDOW, LIMIT_GCRA, LIMIT_CONCURRENCY };

#define LIMIT_QUOTA_MAX UINT64_C(1000000000)
#define LIMIT_COST_MAX UINT64_C(1000000)
/* A bucket takes at most so long to fill. */
#define LIMIT_FILLING_SECONDS_MAX (UINT64_C(4) * 366 * 86400)

/* Made by limit_init(); never changes afterwards. */
struct limit {
    uint8_t algorithm; /* enum limit_algorithm */
    bool has_queue;    /* requests may wait: see limit_refund() */
    uint8_t shift;     /* sliding window: of times, so that a window fits 32 bits */
    uint64_t quota, burst;
    uint64_t window_ns;    /* 0: concurrency */
    uint64_t window_short; /* sliding window: window_ns >> shift, rounded up */
    uint64_t interval;     /* bucket: from one token to the next, in sixteenths of a nanosecond, rounded up */
    uint64_t depth;        /* the same from empty to full */
    uint64_t queue_length; /* tokens that may be promised beyond what is there */
};

struct limit_options {
    enum limit_algorithm algorithm;
    uint64_t quota;          /* 1 to LIMIT_QUOTA_MAX */
    uint64_t window_seconds; /* 0 of concurrency alone */
    uint64_t burst;          /* of a bucket; 0: as the quota */
    uint64_t queue_length;   /* 0: nobody may wait */
};

/* False: the bucket would take longer to fill than LIMIT_FILLING_SECONDS_MAX. */
bool limit_init(struct limit *, const struct limit_options *) MUST_USE;

/* Zeroed is one that nothing was taken of. */
struct limit_state {
    uint64_t value;
    uint64_t
        idle_at_s; /* from this second on it is as if it had never been used; LIMIT_NEVER_IDLE: while something is under way */
};
#define LIMIT_NEVER_IDLE ((UINT64_C(1) << 28) - 1) /* eight years */

enum limit_verdict {
    LIMIT_PASS,
    LIMIT_WAIT,   /* it has its place: wait_ns from now */
    LIMIT_REFUSE, /* nothing was taken */
};

struct limit_outcome {
    enum limit_verdict verdict;
    uint64_t remaining; /* whole requests of cost 1 that could still come now */
    uint64_t full_ns;   /* until all of it is there again; 0 where that can't be known or is so already */
    uint64_t
        wait_ns; /* WAIT: until its turn. REFUSE: until the same request could pass, if nobody else came; 0: never, or not known */
};

/* Takes `cost` of it, all or nothing. A cost of 0 always passes. What is beyond the limit waits where it has to wait at most wait_max_ns and
 * the queue is not longer than allowed. */
struct limit_outcome limit_take(const struct limit *, struct limit_state *, uint64_t cost, uint64_t now_ns,
                                uint64_t wait_max_ns);

/* What limit_take() took, to give it back. */
struct limit_taken {
    uint64_t cost, at_ns;
    uint64_t value;  /* of the state, behind it */
    uint64_t before; /* of the state, in front of it */
};

/* Gives back what was taken, as far as that can't let anybody have more than the limit: of windows in full while they count; of what is under
 * way always; of a bucket less what it would have overflowed by in the meantime, so now_ns must not be before the now_ns of any
 * other call (a fresh reading of the clock); where requests may wait, nothing while another one stands behind, else all of it: the state is
 * what it was before. */
void limit_refund(const struct limit *, struct limit_state *, const struct limit_taken *, uint64_t now_ns);

/* Of a limit where requests may wait: how far along its row of places a state with this value has come. What is taken begins there, and
 * whoever stands right in front ends there. */
uint64_t limit_position(const struct limit *, uint64_t value);
/* From this second on a place that ends there is over. */
uint64_t limit_position_until_s(const struct limit *, uint64_t position);

#endif
