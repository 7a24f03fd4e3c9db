/* keys/key_table.h: from a keyed hash to a record's number, for many readers beside one writer; and from an id to it, for the writer.
 *
 * A bucket is a cache line: twelve numbers, eight bits of hash for each, and how many entries had to go past this bucket because it was
 * full (as in F14): a reader stops at the first bucket that nobody passed, so entries leave without tombstones. Nothing ever moves inside
 * a table: what is in it all the time is found all the time. To grow, the writer fills a new table and publishes that.
 *
 * A slot's tag and number are written one after the other. A reader that meets a tag of before and a number of after compares the
 * record's hash, as always, and finds another key's. */
#ifndef SLUICE_KEYS_KEY_TABLE_H
#define SLUICE_KEYS_KEY_TABLE_H

#include "base/base.h"

#include <stdatomic.h>

#define BUCKET_SLOTS 12

struct key_bucket {
    _Atomic uint64_t tags_low;  /* of slots 0 to 7 */
    _Atomic uint32_t tags_high; /* of slots 8 to 11 */
    _Atomic uint32_t passed;
    _Atomic uint32_t numbers[BUCKET_SLOTS]; /* 0: free */
};

struct key_table {
    struct key_bucket *buckets;
    uint32_t bucket_count;
};

/* Bytes for that many keys, and how many a table has room for: 9.5 a bucket, so that one in seven is passed. */
static inline uint32_t key_table_buckets_for(uint64_t keys) { return (uint32_t)(keys * 2 / 19 + 2); }
static inline uint64_t key_table_room(const struct key_table *table) { return (uint64_t)table->bucket_count * 19 / 2; }
static inline size_t key_table_bytes(uint32_t bucket_count) { return (size_t)bucket_count * sizeof(struct key_bucket); }

/* NULL: no memory. */
struct key_table *key_table_create(uint32_t bucket_count);
void key_table_destroy(struct key_table *);

/* The slot is good until the next call. */
struct key_slot {
    struct key_bucket *bucket;
    unsigned index;
};
/* There must be room. */
void key_table_insert(struct key_table *, uint64_t hash, uint32_t number);
/* The slot with this number under this hash; it must be there. */
struct key_slot key_table_slot(struct key_table *, uint64_t hash, uint32_t number);
/* Puts another record of the same key in its place. */
static inline void key_slot_replace(struct key_slot slot, uint32_t number)
{
    atomic_store_explicit(&slot.bucket->numbers[slot.index], number, memory_order_release);
}
void key_table_remove(struct key_table *, uint64_t hash, uint32_t number);

/* --- walking, for readers and writer --- */

static inline struct key_bucket *key_table_home(const struct key_table *table, uint64_t hash)
{
    return &table->buckets[(hash >> 32) * table->bucket_count >> 32];
}

static inline struct key_bucket *key_table_next(const struct key_table *table, const struct key_bucket *bucket)
{
    size_t next = (size_t)(bucket - table->buckets) + 1;
    return &table->buckets[next < table->bucket_count ? next : 0];
}

static inline uint8_t key_table_tag(uint64_t hash)
{
    uint8_t tag = (uint8_t)hash;
    return tag ? tag : 1;
}

/* A bit (the highest of eight) for each slot whose tag this may be; a few too many are possible, too few are not. */
struct key_candidates {
    uint64_t low, high;
};

static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080);
}

static inline struct key_candidates key_bucket_candidates(const struct key_bucket *bucket, uint8_t tag)
{
    uint64_t pattern = tag * UINT64_C(0x0101010101010101);
    return (struct key_candidates){
        .low = zero_bytes(atomic_load_explicit(&bucket->tags_low, memory_order_relaxed) ^ pattern),
        .high = zero_bytes(atomic_load_explicit(&bucket->tags_high, memory_order_relaxed) ^ pattern) & 0x80808080,
    };
}

/* The next candidate's slot; false at the end. */
static inline bool key_candidates_next(struct key_candidates *candidates, unsigned *index)
{
    if (candidates->low) {
        *index = (unsigned)__builtin_ctzll(candidates->low) / 8;
        candidates->low &= candidates->low - 1;
        return true;
    }
    if (!candidates->high) return false;
    *index = 8 + (unsigned)__builtin_ctzll(candidates->high) / 8;
    candidates->high &= candidates->high - 1;
    return true;
}

static inline bool key_bucket_was_passed(const struct key_bucket *bucket)
{
    return atomic_load_explicit(&bucket->passed, memory_order_relaxed) != 0;
}

/* --- numbers by id: the writer's alone --- */

typedef uint8_t key_uuid[16];

struct id_table {
    uint32_t *numbers; /* 0: free */
    uint32_t capacity, count;
};

static inline uint64_t id_table_room(const struct id_table *table) { return (uint64_t)table->capacity * 4 / 5; }
static inline uint32_t id_table_capacity_for(uint64_t keys) { return (uint32_t)(keys * 5 / 4 + 16); }

/* `ids` holds the id of each number; `secret` keys the hash. 0: none. */
uint32_t id_table_find(const struct id_table *, const key_uuid *ids, const uint64_t secret[2], const key_uuid id);
/* There must be room; the number's id must not be there. */
void id_table_insert(struct id_table *, const key_uuid *ids, const uint64_t secret[2], uint32_t number);
void id_table_replace(struct id_table *, const key_uuid *ids, const uint64_t secret[2], uint32_t number, uint32_t by);
void id_table_remove(struct id_table *, const key_uuid *ids, const uint64_t secret[2], uint32_t number);

/* --- memory and hashing of both --- */

/* Zeroed pages, which come with use; large ones where the kernel has them and the region is large: a look-up in 64 MB of small pages
 * spends more on address translation than on the data. NULL: no memory. */
void *key_pages_map(size_t bytes);
void key_pages_unmap(void *, size_t bytes);

/* Both words times secret ones, folded: two of SHA-256's or of a UUID's. */
static inline uint64_t key_mix(const uint64_t secret[2], uint64_t first, uint64_t second)
{
    __extension__ typedef unsigned __int128 uint128;
    uint128 product = (uint128)(first ^ secret[0]) * (second ^ secret[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
