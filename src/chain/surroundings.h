/* chain/surroundings.h: what the filters and handlers of a process share, as their compilation finds it.
 *
 * Whoever makes chains to serve with (gateway/publisher.c) fills it before the first one; all of it outlives every chain and every worker.
 * Whoever compiles only to see whether it can be done (`sluice check`, the changes thread) has none of it: a filter then compiles as far as
 * its configuration goes and keeps NULL. */
#ifndef SLUICE_CHAIN_SURROUNDINGS_H
#define SLUICE_CHAIN_SURROUNDINGS_H

struct api_keys;       /* keys/api_keys.h */
struct key_lookups;    /* keys/key_lookups.h */
struct key_sets;       /* keys/key_sets.h */
struct limit_counters; /* shared/limit_counters.h */
struct mirrors;        /* filters/mirror_figures.h */

struct policy_surroundings {
    struct api_keys *api_keys;
    struct key_lookups *key_lookups; /* NULL: all keys are in memory (the file store) */
    struct key_sets *key_sets;
    struct limit_counters *limits;
    struct mirrors *mirrors;
    unsigned workers; /* that serve: their indices are below it */
};

#endif
