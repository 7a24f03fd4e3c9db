/* shared/tag_table.c: see tag_table.h. */
#include "shared/tag_table.h"

#include "base/memory.h"

#define NEIGHBOURS 32
#define COUNT_BITS 24
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

void tag_table_init(struct tag_table *table, uint32_t capacity)
{
    PROMISE(capacity >= NEIGHBOURS && (capacity & (capacity - 1)) == 0);
    /* Not aligned: aligned memory is written to, while a large array of zeros takes none before it is used. */
    table->entries = memory_allocate_array(capacity, sizeof *table->entries);
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

/* The key's entry with a count, NULL where there is none; *free_entry (may be NULL) is the first entry that any key may have. */
static _Atomic uint64_t *find(struct tag_table *table, uint64_t hash, uint64_t *word, _Atomic uint64_t **free_entry,
                              uint64_t *free_word)
{
    *free_entry = NULL;
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        _Atomic uint64_t *entry = neighbour(table, hash, i);
        *word = atomic_load(entry);
        if ((*word & COUNT_MASK) == 0) {
            if (!*free_entry) *free_entry = entry, *free_word = *word;
        } else if ((*word & ~COUNT_MASK) == tag_of(hash)) {
            return entry;
        }
    }
    return NULL;
}

static bool has_another(struct tag_table *table, uint64_t hash, const _Atomic uint64_t *claimed)
{
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        const _Atomic uint64_t *entry = neighbour(table, hash, i);
        uint64_t word = atomic_load(entry);
        if (entry != claimed && (word & COUNT_MASK) != 0 && (word & ~COUNT_MASK) == tag_of(hash)) return true;
    }
    return false;
}

/* One pass: adds to the key's own entry, else claims the first free one. False: somebody was faster, look again.
 *
 * Two threads that claim at once for one key may find different free entries. So who has claimed looks round once more, and where
 * it sees another entry of its key gives its own up: of two claims in one total order (hence no relaxed accesses here) the later
 * one sees the earlier. */
static bool try_increment(struct tag_table *table, uint64_t hash, uint32_t *count)
{
    uint64_t word, free_word;
    _Atomic uint64_t *free_entry, *entry = find(table, hash, &word, &free_entry, &free_word);
    if (entry) {
        *count = (uint32_t)(word & COUNT_MASK) + 1;
        return atomic_compare_exchange_strong(entry, &word, word + 1);
    }
    *count = free_entry ? 1 : TAG_TABLE_FULL;
    if (!free_entry) return true;
    if (!atomic_compare_exchange_strong(free_entry, &free_word, tag_of(hash) | 1)) return false;
    if (!has_another(table, hash, free_entry)) return true;
    tag_table_decrement(table, hash);
    return false;
}

uint32_t tag_table_increment(struct tag_table *table, uint64_t hash)
{
    uint32_t count;
    while (!try_increment(table, hash, &count)) {}
    return count;
}

/* False: the entry changed meanwhile, or, seen while two claims were being sorted out, the count has moved. The caller's own count
 * is in the table, so another look finds it. */
static bool try_decrement(struct tag_table *table, uint64_t hash)
{
    uint64_t word, free_word;
    _Atomic uint64_t *free_entry, *entry = find(table, hash, &word, &free_entry, &free_word);
    return entry && atomic_compare_exchange_strong(entry, &word, word - 1);
}

void tag_table_decrement(struct tag_table *table, uint64_t hash)
{
    while (!try_decrement(table, hash)) {}
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
            return atomic_compare_exchange_strong_explicit(entry, &word, rate_word(hash, second, *count),
                                                           memory_order_relaxed, memory_order_relaxed);
        }
    }
    *count = free_entry ? 1 : TAG_TABLE_FULL;
    return !free_entry || atomic_compare_exchange_strong_explicit(free_entry, &free_word, rate_word(hash, second, 1),
                                                                  memory_order_relaxed, memory_order_relaxed);
}

uint32_t tag_table_rate(struct tag_table *table, uint64_t hash, uint32_t second)
{
    uint32_t count;
    while (!try_rate(table, hash, second, &count)) {}
    return count;
}
