/* snapshot/split.h: a route whose requests several services share, compiled.
 *
 * A client's key is drawn into one of 10,000 buckets by a hash that never changes, and each service has a run of them. Growing a share moves
 * the border between two runs, so only clients between the old and the new border change. Immutable, part of its route. */
#ifndef SLUICE_SNAPSHOT_SPLIT_H
#define SLUICE_SNAPSHOT_SPLIT_H

#include "config/resources.h"
#include "observe/metrics.h"

#define SPLIT_BUCKETS 10000

struct split_choice {
    uint32_t service_index; /* in a snapshot's services */
    uint32_t end;           /* its buckets: below this, and not below the end of the one before */
    struct slice name;      /* the service's */
    struct route_metrics *metrics;
};

struct route_split {
    uint8_t by;                                             /* enum split_key */
    bool is_canary;                                         /* choices: the canary, then the stable one */
    struct slice by_name, override_header, override_cookie; /* absent: none */
    uint32_t cookie_max_age_s;                              /* 0: none */
    uint64_t seed;
    uint32_t count;
    struct split_choice choices[];
};

/* Ends of runs for weights (their sum above 0), in proportion, the last one at SPLIT_BUCKETS. */
void split_ends(const uint64_t *weights, uint32_t *ends, uint32_t count);
/* The bucket of a key. */
uint32_t split_bucket(uint64_t seed, struct slice key);
/* Who has the bucket. */
const struct split_choice *split_find(const struct route_split *, uint32_t bucket);

#endif
