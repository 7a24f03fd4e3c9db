/* base/hash.h: SipHash-1-3 under a random key of the process for what clients send (Aumasson, Bernstein 2012). */
#ifndef SLUICE_BASE_HASH_H
#define SLUICE_BASE_HASH_H

#include "base/slice.h"

struct hash_key {
    uint64_t words[2];
};

/* Made once from the kernel's random numbers; the same for all threads of this process. */
const struct hash_key *hash_process_key(void);
uint64_t hash_keyed(const struct hash_key *, struct slice bytes);

#endif
