/* shared/tag_table.c: see tag_table.h. */
#include "shared/tag_table.h"

#include "base/memory.h"

#define NEIGHBOURS 32
#define COUNT_BITS 24
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

void tag_table_init(struct tag_table *table, uint32_t capacity)
{
    PROMISE(capacity >= NEIGHBOURS && (capacity & (capacity - 1)) == 0);
    table->entries = memory_allocate_aligned(capacity * sizeof *table->entries);
    table->mask = capacity - 1;
}

void tag_table_release(struct tag_table *table)
{
    free((void *)table->entries);
    table->entries = NULL;
}

/* The lower bits place an entry, the upper ones tell it. */
static uint64_t tag_of(uint64_t hash) { return hash & ~COUNT_MASK; }

static _Atomic uint64_t *neighbour(struct tag_table *table, uint64_t hash, uint32_t i)
{
    return &table->entries[((uint32_t)hash + i) & table->mask];
}

/* One pass: adds to the key's own entry, else claims the first free one. False: somebody was faster, look again. */
static bool try_increment(struct tag_table *table, uint64_t hash, uint32_t *count)
{
    _Atomic uint64_t *free_entry = NULL;
    uint64_t free_word = 0;
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        _Atomic uint64_t *entry = neighbour(table, hash, i);
        uint64_t word = atomic_load_explicit(entry, memory_order_relaxed);
        uint64_t held = word & COUNT_MASK;
        if (held == 0) {
            if (!free_entry) free_entry = entry, free_word = word;
        } else if ((word & ~COUNT_MASK) == tag_of(hash)) {
            *count = (uint32_t)held + 1;
            return atomic_compare_exchange_strong_explicit(entry, &word, word + 1, memory_order_relaxed, memory_order_relaxed);
        }
    }
    *count = free_entry ? 1 : TAG_TABLE_FULL;
    return !free_entry || atomic_compare_exchange_strong_explicit(free_entry, &free_word, tag_of(hash) | 1, memory_order_relaxed,
                                                                  memory_order_relaxed);
}

uint32_t tag_table_increment(struct tag_table *table, uint64_t hash)
{
    uint32_t count;
    while (!try_increment(table, hash, &count)) {
    }
    return count;
}

/* Two threads that claim at once may have made two entries of one key; each is counted down where it is found, and the limit is
 * too lenient by the other's share until both are empty. */
void tag_table_decrement(struct tag_table *table, uint64_t hash)
{
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        _Atomic uint64_t *entry = neighbour(table, hash, i);
        uint64_t word = atomic_load_explicit(entry, memory_order_relaxed);
        while ((word & COUNT_MASK) != 0 && (word & ~COUNT_MASK) == tag_of(hash)) {
            if (atomic_compare_exchange_weak_explicit(entry, &word, word - 1, memory_order_relaxed, memory_order_relaxed)) return;
        }
    }
}

/* Rates: 32 bits of tag, 16 of the second, 16 of the count. */
static uint64_t rate_word(uint64_t hash, uint32_t second, uint32_t count)
{
    return (hash & 0xffffffff00000000u) | (uint64_t)(second & 0xffff) << 16 | (count > 0xffff ? 0xffff : count);
}

static bool try_rate(struct tag_table *table, uint64_t hash, uint32_t second, uint32_t *count)
{
    _Atomic uint64_t *free_entry = NULL;
    uint64_t free_word = 0;
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        _Atomic uint64_t *entry = neighbour(table, hash, i);
        uint64_t word = atomic_load_explicit(entry, memory_order_relaxed);
        bool is_now = (word & 0xffff) != 0 && (word >> 16 & 0xffff) == (second & 0xffff);
        if (!is_now) {
            if (!free_entry) free_entry = entry, free_word = word;
        } else if (word >> 32 == hash >> 32) {
            *count = (uint32_t)(word & 0xffff) + 1;
            return atomic_compare_exchange_strong_explicit(entry, &word, rate_word(hash, second, *count), memory_order_relaxed,
                                                           memory_order_relaxed);
        }
    }
    *count = free_entry ? 1 : TAG_TABLE_FULL;
    return !free_entry || atomic_compare_exchange_strong_explicit(free_entry, &free_word, rate_word(hash, second, 1),
                                                                  memory_order_relaxed, memory_order_relaxed);
}

uint32_t tag_table_rate(struct tag_table *table, uint64_t hash, uint32_t second)
{
    uint32_t count;
    while (!try_rate(table, hash, second, &count)) {
    }
    return count;
}
