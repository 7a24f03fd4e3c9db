#include "keys/key_table.h"

#include "base/memory.h"

#include <string.h>
#include <sys/mman.h>

#define LARGE_PAGES_FROM (4u << 20)

void *key_pages_map(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return NULL;
    if (bytes > LARGE_PAGES_FROM) {
        /* The first megabytes stay small pages: few keys shall need little. Without large pages it works as well. */
        (void)madvise((char *)pages + LARGE_PAGES_FROM, bytes - LARGE_PAGES_FROM, MADV_HUGEPAGE);
    }
    return pages;
}

void key_pages_unmap(void *pages, size_t bytes)
{
    if (pages) munmap(pages, bytes);
}

struct key_table *key_table_create(uint32_t bucket_count)
{
    struct key_bucket *buckets = key_pages_map(key_table_bytes(bucket_count));
    if (!buckets) return NULL;
    struct key_table *table = memory_allocate(sizeof *table);
    table->buckets = buckets;
    table->bucket_count = bucket_count;
    return table;
}

void key_table_destroy(struct key_table *table)
{
    if (!table) return;
    key_pages_unmap(table->buckets, key_table_bytes(table->bucket_count));
    free(table);
}

static void set_tag(struct key_bucket *bucket, unsigned index, uint8_t tag)
{
    if (index < 8) {
        uint64_t tags = atomic_load_explicit(&bucket->tags_low, memory_order_relaxed);
        tags &= ~(UINT64_C(0xff) << (index * 8));
        atomic_store_explicit(&bucket->tags_low, tags | (uint64_t)tag << (index * 8), memory_order_release);
    } else {
        uint32_t tags = atomic_load_explicit(&bucket->tags_high, memory_order_relaxed);
        tags &= ~(UINT32_C(0xff) << ((index - 8) * 8));
        atomic_store_explicit(&bucket->tags_high, tags | (uint32_t)tag << ((index - 8) * 8), memory_order_release);
    }
}

static uint32_t number_at(const struct key_bucket *bucket, unsigned index)
{
    return atomic_load_explicit(&bucket->numbers[index], memory_order_relaxed);
}

static unsigned free_slot(const struct key_bucket *bucket)
{
    unsigned index = 0;
    while (index < BUCKET_SLOTS && number_at(bucket, index) != 0) index++;
    return index;
}

static void add_passed(struct key_bucket *bucket, uint32_t amount)
{
    uint32_t passed = atomic_load_explicit(&bucket->passed, memory_order_relaxed);
    atomic_store_explicit(&bucket->passed, passed + amount, memory_order_release);
}

void key_table_insert(struct key_table *table, uint64_t hash, uint32_t number)
{
    struct key_bucket *bucket = key_table_home(table, hash);
    unsigned index;
    while ((index = free_slot(bucket)) == BUCKET_SLOTS) {
        add_passed(bucket, 1);
        bucket = key_table_next(table, bucket);
    }
    atomic_store_explicit(&bucket->numbers[index], number, memory_order_release);
    set_tag(bucket, index, key_table_tag(hash));
}

struct key_slot key_table_slot(struct key_table *table, uint64_t hash, uint32_t number)
{
    for (struct key_bucket *bucket = key_table_home(table, hash);; bucket = key_table_next(table, bucket)) {
        for (unsigned index = 0; index < BUCKET_SLOTS; index++) {
            if (number_at(bucket, index) == number) return (struct key_slot){ bucket, index };
        }
        PROMISE(key_bucket_was_passed(bucket));
    }
}

void key_table_remove(struct key_table *table, uint64_t hash, uint32_t number)
{
    struct key_slot slot = key_table_slot(table, hash, number);
    set_tag(slot.bucket, slot.index, 0);
    atomic_store_explicit(&slot.bucket->numbers[slot.index], 0, memory_order_release);
    for (struct key_bucket *bucket = key_table_home(table, hash); bucket != slot.bucket;
         bucket = key_table_next(table, bucket)) {
        add_passed(bucket, UINT32_MAX); /* one fewer */
    }
}

/* --- by id: linear probing; a removal closes the gap --- */

static uint32_t id_home(const struct id_table *table, const uint64_t secret[2], const key_uuid id)
{
    uint64_t words[2];
    memcpy(words, id, sizeof words);
    return (uint32_t)((key_mix(secret, words[0], words[1]) >> 32) * table->capacity >> 32);
}

static uint32_t after(const struct id_table *table, uint32_t position)
{
    return position + 1 < table->capacity ? position + 1 : 0;
}

uint32_t id_table_find(const struct id_table *table, const key_uuid *ids, const uint64_t secret[2], const key_uuid id)
{
    uint32_t position = id_home(table, secret, id), number;
    while ((number = table->numbers[position]) != 0) {
        if (memcmp(ids[number], id, sizeof(key_uuid)) == 0) return number;
        position = after(table, position);
    }
    return 0;
}

void id_table_insert(struct id_table *table, const key_uuid *ids, const uint64_t secret[2], uint32_t number)
{
    uint32_t position = id_home(table, secret, ids[number]);
    while (table->numbers[position] != 0) position = after(table, position);
    table->numbers[position] = number;
    table->count++;
}

static uint32_t position_of(const struct id_table *table, const key_uuid *ids, const uint64_t secret[2],
                            uint32_t number)
{
    uint32_t position = id_home(table, secret, ids[number]);
    while (table->numbers[position] != number) {
        PROMISE(table->numbers[position] != 0);
        position = after(table, position);
    }
    return position;
}

void id_table_replace(struct id_table *table, const key_uuid *ids, const uint64_t secret[2], uint32_t number,
                      uint32_t by)
{
    table->numbers[position_of(table, ids, secret, number)] = by;
}

void id_table_remove(struct id_table *table, const key_uuid *ids, const uint64_t secret[2], uint32_t number)
{
    uint32_t gap = position_of(table, ids, secret, number);
    for (uint32_t next = after(table, gap); table->numbers[next] != 0; next = after(table, next)) {
        uint32_t home = id_home(table, secret, ids[table->numbers[next]]);
        /* Whoever's home is behind the gap (seen round the end) would not be found across it. */
        bool may_stay = gap < next ? home > gap && home <= next : home > gap || home <= next;
        if (may_stay) continue;
        table->numbers[gap] = table->numbers[next];
        gap = next;
    }
    table->numbers[gap] = 0;
    table->count--;
}
