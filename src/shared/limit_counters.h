/* shared/limit_counters.h: what outlives the rules that limit: the table of what was taken, each rule's share of it, and its figures.
 *
 * One a process; made before the first rule is compiled, destroyed after the last chain. A rule is known by an identity, a text: the same
 * identity compiled anew, while the one before is in force, goes on with what was taken under it. One that was out of force meanwhile
 * begins anew, whoever still has the old one: that is kept until the last request with it is through, and not found again. */
#ifndef SLUICE_SHARED_LIMIT_COUNTERS_H
#define SLUICE_SHARED_LIMIT_COUNTERS_H

#include "base/hash.h"
#include "base/map.h"
#include "shared/counter.h"
#include "shared/limiter.h"

#include <pthread.h>

enum limit_decision {
    LIMIT_DECISION_PASSED,
    LIMIT_DECISION_QUEUED,       /* passed after a wait */
    LIMIT_DECISION_REFUSED,      /* 429 */
    LIMIT_DECISION_WOULD_REFUSE, /* of a rule that only counts */
    LIMIT_DECISION_UNANSWERED,   /* passed, since who counts didn't answer in time */
    LIMIT_DECISION_COUNT
};
/* "passed", "queued", "refused", "would_refuse", "unanswered". */
extern const char *const limit_decision_words[LIMIT_DECISION_COUNT];

/* One worker's figures of a rule. */
struct limit_tally_line {
    struct counter decisions[LIMIT_DECISION_COUNT];
} __attribute__((aligned(CACHE_LINE)));

/* Of all rules with one name. */
struct limit_tally {
    char *name;
    uint32_t references;
    struct limit_tally_line lines[]; /* by worker */
};

/* What is kept of a rule. */
struct limit_rule {
    struct limit_share share;
    struct hash_key keys[2]; /* of its keys' values, and of the addresses that stand in for values that aren't there */
    char *identity;
    uint32_t references;
    uint32_t findable; /* references that were not retired; 0: the identity is another rule's or nobody's */
};

struct limit_worker_line {
    struct gauge waiting; /* requests in queues */
} __attribute__((aligned(CACHE_LINE)));

struct limit_counters {
    struct limit_table *table;
    struct local_limiter local;
    struct limiter *limiter; /* &local.limiter, but where tests bring another */
    unsigned workers;
    struct limit_worker_line *worker_lines;
    uint64_t offset_ns;   /* from the monotonic clock to the limits' time, which began with this UTC day */
    pthread_mutex_t lock; /* rules, tallies: builder's and rendering threads; never a worker's */
    struct map rules;     /* by identity; those that can be found */
    uint64_t rules_made;
    uint32_t stamped[LIMIT_STAMPS]; /* rules, by their stamps */
    struct map tallies;             /* by name */
};

/* `bytes`: of the table. NULL: *error. */
struct limit_counters *limit_counters_create(uint64_t bytes, unsigned workers, struct error *);
void limit_counters_destroy(struct limit_counters *); /* NULL is allowed; all rules were dropped */

/* Builder's thread. One reference each: by what a rule is known, and by what metrics are to call it. */
struct limit_rule *limit_counters_rule(struct limit_counters *, struct slice identity);
/* Each reference once, when what holds it goes out of force, or else before it is dropped. */
void limit_counters_retire_rule(struct limit_counters *, struct limit_rule *);
void limit_counters_drop_rule(struct limit_counters *, struct limit_rule *);
struct limit_tally *limit_counters_tally(struct limit_counters *, struct slice name);
void limit_counters_drop_tally(struct limit_counters *, struct limit_tally *);

/* A reading of the monotonic clock in the limits' time. */
static inline uint64_t limit_counters_time(const struct limit_counters *counters, uint64_t monotonic_ns)
{
    return monotonic_ns + counters->offset_ns;
}

/* A worker's thread. */
static inline void limit_tally_count(struct limit_tally *tally, unsigned worker, enum limit_decision decision)
{
    counter_add(&tally->lines[worker].decisions[decision], 1);
}

struct limit_tally_sum {
    char *name; /* the caller's to free */
    uint64_t decisions[LIMIT_DECISION_COUNT];
};
/* Any thread but a worker's: sums of all workers, up to `room` of them; *position is 0 at first, and where the next call goes on. They are in
 * no order that means anything, and one that comes or goes between calls may be left out. How many: fewer than `room` are the last ones. */
size_t limit_counters_sums(struct limit_counters *, size_t *position, struct limit_tally_sum *into, size_t room);
uint64_t limit_counters_waiting(const struct limit_counters *);

#endif
