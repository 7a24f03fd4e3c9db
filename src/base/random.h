/* base/random.h: fast chance for balancing and jitter (xoshiro256**), and the kernel's for what must not be guessed. */
#ifndef SLUICE_BASE_RANDOM_H
#define SLUICE_BASE_RANDOM_H

#include "base/base.h"

struct random {
    uint64_t words[4];
};

/* Seeded from the kernel. */
void random_init(struct random *);
/* The same seed gives the same run: for tests. */
void random_init_seeded(struct random *, uint64_t seed);
uint64_t random_next(struct random *);
/* Even over [0, bound); bound > 0. */
uint64_t random_below(struct random *, uint64_t bound);
/* From getrandom(2); ends the process if the kernel has none. */
void random_secure_bytes(void *into, size_t size);

#endif
