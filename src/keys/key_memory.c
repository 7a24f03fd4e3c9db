/* keys/key_memory.c: how much room there is, and when what readers may still look at is free again.
 *
 * A reader says in which epoch it began to look, and that it is quiet when it holds nothing. The writer first takes away what leads to
 * a thing, then opens a new epoch: who began to look in it or later can't have found the thing. Both sides put a fence between their two
 * steps, so that of a reader that begins and a writer that takes away at the same time at least one sees the other. */
#include "base/memory.h"
#include "keys/private.h"

#include <malloc.h>

#define BYTES_MAX_LEAST (1u << 20)
#define TABLE_BUCKETS_FIRST 64
#define RETIRED_FIRST 1024
#define SLOW_GROWTH_FROM 65536 /* entries: from there on by a quarter */

bool key_memory_init(struct api_keys *keys, struct error *error)
{
    if (keys->bytes_max < BYTES_MAX_LEAST) keys->bytes_max = BYTES_MAX_LEAST;
    uint64_t limit = keys->bytes_max / RECORD_BYTES + 2;
    keys->record_limit = limit < UINT32_MAX / 2 ? (uint32_t)limit : UINT32_MAX / 2;
    keys->records = key_pages_map(keys->record_limit * sizeof(struct key_record));
    keys->ids = key_pages_map(keys->record_limit * sizeof(key_uuid));
    struct key_table *table = key_table_create(TABLE_BUCKETS_FIRST);
    if (!keys->records || !keys->ids || !key_place_init(keys) || !table) {
        key_table_destroy(table);
        return error_format(error, "apiKeyMemory: no address space for %llu bytes",
                            (unsigned long long)keys->bytes_max);
    }
    atomic_init(&keys->table, table);
    keys->id_table.capacity = id_table_capacity_for(key_table_room(table));
    keys->id_table.numbers = memory_allocate_array(keys->id_table.capacity, sizeof(uint32_t));
    keys->retired_memory_last = &keys->retired_memory;
    uint32_t absent_max = keys->record_limit / 16;
    keys->absent_max = absent_max < ABSENT_MAX ? absent_max : ABSENT_MAX;
    keys->absent_ring = memory_allocate_array(keys->absent_max, sizeof *keys->absent_ring);
    key_memory_count_bytes(keys);
    return true;
}

static void free_retired(struct api_keys *keys)
{
    struct retired_memory *first = keys->retired_memory;
    keys->retired_memory = first->next;
    if (!keys->retired_memory) keys->retired_memory_last = &keys->retired_memory;
    keys->retired_bytes -= first->bytes;
    key_table_destroy(first->table);
    free(first->memory);
    free(first);
}

void key_memory_release(struct api_keys *keys)
{
    while (keys->retired_memory) free_retired(keys);
    key_table_destroy(writers_table(keys));
    key_pages_unmap(keys->records, keys->record_limit * sizeof(struct key_record));
    key_pages_unmap(keys->ids, keys->record_limit * sizeof(key_uuid));
    key_place_release(keys);
    free(keys->id_table.numbers);
    free(keys->retired);
    free(keys->absent_ring);
}

static uint64_t bytes_now(const struct api_keys *keys)
{
    return keys->record_count * RECORD_BYTES + keys->record_count / 8 +
           key_table_bytes(writers_table(keys)->bucket_count) + keys->id_table.capacity * sizeof(uint32_t) +
           keys->texts.bytes + keys->retired_bytes + keys->retired_capacity * sizeof(struct retired_record) +
           keys->absent_max * sizeof(uint32_t) + (keys->load_seen ? keys->load_count / 8 : 0);
}

void key_memory_count_bytes(struct api_keys *keys) { gauge_set(&keys->bytes, (int64_t)bytes_now(keys)); }

static bool fits(const struct api_keys *keys, uint64_t more) { return bytes_now(keys) + more <= keys->bytes_max; }

bool key_memory_fits_beside_texts(const struct api_keys *keys, uint64_t more)
{
    return bytes_now(keys) + more <= keys->bytes_max - keys->bytes_max / 16;
}

/* --- growing --- */

/* The epoch in which nobody can find any more what nothing leads to now. */
static uint64_t next_epoch(struct api_keys *keys)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t epoch = atomic_load_explicit(&keys->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&keys->epoch, epoch, memory_order_release);
    return epoch;
}

static void retire_memory(struct api_keys *keys, struct retired_memory what)
{
    struct retired_memory *retired = memory_allocate(sizeof *retired);
    *retired = what;
    retired->epoch = next_epoch(keys);
    *keys->retired_memory_last = retired;
    keys->retired_memory_last = &retired->next;
    keys->retired_bytes += what.bytes;
}

void key_memory_retire_array(void *owner, void *memory)
{
    retire_memory(owner, (struct retired_memory){ .memory = memory, .bytes = malloc_usable_size(memory) });
}

static bool grow_table(struct api_keys *keys, uint32_t bucket_count)
{
    struct key_table *old = writers_table(keys);
    if (!key_memory_fits_beside_texts(keys, key_table_bytes(bucket_count))) return false;
    struct key_table *table = key_table_create(bucket_count);
    if (!table) return false;
    for (uint32_t number = 1; number < keys->record_count; number++) {
        const struct key_record *record = &keys->records[number];
        if (record_generation(record) == GENERATION_NONE) continue;
        key_table_insert(table, key_hash(keys, record->hash), number);
    }
    atomic_store_explicit(&keys->table, table, memory_order_release);
    retire_memory(keys, (struct retired_memory){ .table = old, .bytes = key_table_bytes(old->bucket_count) });
    return true;
}

static bool grow_id_table(struct api_keys *keys, uint32_t capacity)
{
    if (!key_memory_fits_beside_texts(keys, capacity * sizeof(uint32_t))) return false;
    struct id_table old = keys->id_table;
    keys->id_table = (struct id_table){ .numbers = memory_allocate_array(capacity, sizeof(uint32_t)),
                                        .capacity = capacity };
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.numbers[i] != 0) id_table_insert(&keys->id_table, keys->ids, keys->secret, old.numbers[i]);
    }
    free(old.numbers);
    return true;
}

static uint64_t grown(uint64_t size) { return size < SLOW_GROWTH_FROM ? size + size / 2 : size + size / 4; }

bool key_memory_make_room(struct api_keys *keys, uint64_t text_bytes)
{
    key_memory_reclaim(keys);
    key_place_widen(keys);
    if (!key_place_has_room(keys)) return false;
    uint64_t record_bytes = keys->free_count > 0 ? 0 : RECORD_BYTES;
    const struct key_table *table = writers_table(keys);
    if (keys->live + 1 > key_table_room(table) && !grow_table(keys, (uint32_t)grown(table->bucket_count))) return false;
    if (keys->id_table.count + 1 > id_table_room(&keys->id_table) &&
        !grow_id_table(keys, (uint32_t)grown(keys->id_table.capacity))) {
        return false;
    }
    return fits(keys, record_bytes + text_bytes);
}

void key_memory_reserve(struct api_keys *keys, uint64_t count)
{
    uint64_t most = (keys->bytes_max - keys->bytes_max / 10) / (RECORD_BYTES + TABLE_BYTES_A_KEY);
    if (count > most) count = most;
    keys->expected = count;
    uint32_t bucket_count = key_table_buckets_for(count), capacity = id_table_capacity_for(count);
    if (bucket_count > writers_table(keys)->bucket_count) grow_table(keys, bucket_count);
    if (capacity > keys->id_table.capacity) grow_id_table(keys, capacity);
    key_memory_count_bytes(keys);
}

/* --- what goes --- */

static void grow_retired(struct api_keys *keys)
{
    uint32_t capacity = keys->retired_capacity ? keys->retired_capacity * 2 : RETIRED_FIRST;
    struct retired_record *ring = memory_allocate_array(capacity, sizeof *ring);
    for (uint32_t i = 0; i < keys->retired_count; i++) {
        ring[i] = keys->retired[(keys->retired_first + i) % keys->retired_capacity];
    }
    free(keys->retired);
    keys->retired = ring;
    keys->retired_first = 0;
    keys->retired_capacity = capacity;
}

void key_memory_retire(struct api_keys *keys, uint32_t number)
{
    atomic_store_explicit(&keys->records[number].generation, GENERATION_NONE, memory_order_release);
    if (keys->retired_count == keys->retired_capacity) grow_retired(keys);
    keys->retired[(keys->retired_first + keys->retired_count++) % keys->retired_capacity] = (struct retired_record){
        number, (uint32_t)next_epoch(keys)
    };
}

/* --- what is free again --- */

/* Who still holds something began to look in this epoch or later. */
static uint64_t oldest_epoch(const struct api_keys *keys)
{
    uint64_t oldest = atomic_load_explicit(&((struct api_keys *)keys)->epoch, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < keys->reader_count; i++) {
        uint64_t seen = atomic_load_explicit(&keys->readers[i].seen, memory_order_acquire);
        if (seen < oldest) oldest = seen;
    }
    return oldest;
}

static void free_record(struct api_keys *keys, uint32_t number)
{
    struct key_record *record = &keys->records[number];
    key_texts_give(&keys->texts, record->scopes);
    if (record->client_kind == CLIENT_TEXT) key_texts_give(&keys->texts, record->client.text);
    key_place_give(keys, number);
}

/* After many went at once. */
static void drop_retired_ring(struct api_keys *keys)
{
    free(keys->retired);
    keys->retired = NULL;
    keys->retired_first = keys->retired_capacity = 0;
}

void key_memory_reclaim(struct api_keys *keys)
{
    if (keys->retired_count == 0 && !keys->retired_memory) return;
    uint64_t oldest = oldest_epoch(keys);
    while (keys->retired_count > 0) {
        const struct retired_record *first = &keys->retired[keys->retired_first];
        if ((int32_t)((uint32_t)oldest - first->epoch) < 0) break;
        free_record(keys, first->number);
        keys->retired_first = (keys->retired_first + 1) % keys->retired_capacity;
        keys->retired_count--;
    }
    while (keys->retired_memory && keys->retired_memory->epoch <= oldest) free_retired(keys);
    if (keys->retired_count == 0 && keys->retired_capacity > RETIRED_FIRST) drop_retired_ring(keys);
}
