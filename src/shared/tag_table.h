/* shared/tag_table.h: counts by key for all threads of a process, in fixed memory and without locks.
 *
 * An entry is one 64-bit word changed by compare-and-swap: a tag of the key's hash in its upper part, a count in its lower. An entry
 * whose count is 0 (or whose second has passed) is free for any key. The caller's hash must be keyed (hash.h), so that keys
 * can't be chosen to meet: two keys share an entry by chance in 2^40 (counts) or 2^32 (rates). A full neighbourhood of 32 entries
 * answers TAG_TABLE_FULL, which callers treat as "not limited" and count. */
#ifndef SLUICE_SHARED_TAG_TABLE_H
#define SLUICE_SHARED_TAG_TABLE_H

#include "base/base.h"

#include <stdatomic.h>

#define TAG_TABLE_FULL UINT32_MAX

struct tag_table {
    _Atomic uint64_t *entries;
    uint32_t mask;
};

/* capacity: a power of two. */
void tag_table_init(struct tag_table *, uint32_t capacity);
void tag_table_release(struct tag_table *);

/* Counts that go up and down; the count after. */
uint32_t tag_table_increment(struct tag_table *, uint64_t hash);
/* Only for a hash that was incremented and not answered TAG_TABLE_FULL. */
void tag_table_decrement(struct tag_table *, uint64_t hash);
/* Counts of one second (any clock that all callers share, in whole seconds): the count so far, this one included. A table is used
 * either for counts or for rates. */
uint32_t tag_table_rate(struct tag_table *, uint64_t hash, uint32_t second);

#endif
