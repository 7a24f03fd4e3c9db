/* keys/key_evict.c: who goes when there is no room.
 *
 * A hand walks round the records as a clock's: each look-up of a key counts, up to three; the hand takes one off as it passes and stops at a
 * key that has none left. A new key begins with none, so what is asked for once goes before what is asked for again. A few
 * records are made free ahead, as one is usable only when all readers have been quiet.
 *
 * Hashes without a key have a share of their own, a sixteenth and 65,536 at most, and go by age. */
#include "keys/private.h"

#define STEPS_MAX 1024 /* of the hand for one who goes: then it takes the least used of those */
#define SPARE_MAX 1024
#define EVICTIONS_MAX 64 /* for one that comes */

/* Readers see that it is not whole before they can miss the key that goes. */
void key_set_whole(struct api_keys *keys, bool whole)
{
    if (!whole) keys->load_left_out = true;
    uint32_t wholeness = atomic_load_explicit(&keys->wholeness, memory_order_relaxed);
    if (is_whole(wholeness) == whole) return;
    atomic_store_explicit(&keys->wholeness, wholeness + 1, memory_order_release);
    atomic_thread_fence(memory_order_release);
}

/* The next key that the hand comes to; 0: there is none. */
static uint32_t next_key(struct api_keys *keys)
{
    for (uint32_t i = 0; i < keys->record_count; i++) {
        keys->hand = keys->hand + 1 < keys->record_count ? keys->hand + 1 : 1;
        const struct key_record *record = &keys->records[keys->hand];
        if (record_generation(record) != GENERATION_NONE && !record->is_absent) return keys->hand;
    }
    return 0;
}

static uint32_t choose(struct api_keys *keys)
{
    uint32_t least = 0;
    uint8_t least_uses = UINT8_MAX;
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        uint32_t number = next_key(keys);
        if (number == 0) return 0;
        uint8_t uses = atomic_load_explicit(&keys->records[number].uses, memory_order_relaxed);
        if (uses == 0) return number;
        atomic_store_explicit(&keys->records[number].uses, (uint8_t)(uses - 1), memory_order_relaxed);
        if (uses < least_uses) least = number, least_uses = uses;
    }
    return least;
}

static bool evict_one(struct api_keys *keys)
{
    uint32_t number = choose(keys);
    if (number == 0) return false;
    key_set_whole(keys, false);
    key_take_out(keys, number);
    counter_add(&keys->evicted, 1);
    return true;
}

static uint32_t spare_wanted(const struct api_keys *keys)
{
    uint32_t share = keys->record_limit / 16;
    return share < SPARE_MAX ? share : SPARE_MAX;
}

/* Texts may be what is too much: then records go until there is room for them, within reason. Where enough wait for readers to be
 * quiet, more would gain nothing. */
static void evict_for(struct api_keys *keys, uint64_t text_bytes)
{
    for (unsigned i = 0; i < EVICTIONS_MAX; i++) {
        bool has_room = key_memory_make_room(keys, text_bytes);
        bool enough = keys->free_count + keys->retired_count >= spare_wanted(keys);
        if ((has_room && enough) || keys->retired_count >= spare_wanted(keys)) return;
        if (!evict_one(keys)) return;
    }
}

uint32_t key_make_place(struct api_keys *keys, uint64_t keyed, uint64_t text_bytes, enum api_key_keep keep)
{
    if (!key_memory_make_room(keys, text_bytes)) {
        if (keep == API_KEY_KEEP_IF_ROOM) return 0;
        evict_for(keys, text_bytes);
        if (!key_memory_make_room(keys, text_bytes)) return 0;
    }
    return key_place_take(keys, keyed);
}

/* --- hashes without a key --- */

static void oldest_goes(struct api_keys *keys)
{
    uint32_t number = keys->absent_ring[keys->absent_first];
    keys->absent_first = (keys->absent_first + 1) % keys->absent_max;
    keys->absent_count--;
    /* A key may have come in its place, and another one be absent under the same number: then that goes a little early. */
    const struct key_record *record = &keys->records[number];
    if (record_generation(record) != GENERATION_NONE && record->is_absent) key_take_out(keys, number);
}

uint32_t key_make_absent_place(struct api_keys *keys, uint64_t keyed, uint64_t now_us)
{
    while (keys->absent_count > 0) {
        const struct key_record *oldest = &keys->records[keys->absent_ring[keys->absent_first]];
        bool is_over = record_generation(oldest) == GENERATION_NONE || !oldest->is_absent ||
                       oldest->expires_us <= now_us;
        if (!is_over && keys->absent_count < keys->absent_max) break;
        oldest_goes(keys);
    }
    return key_make_place(keys, keyed, 0, API_KEY_KEEP);
}

void key_absent_came(struct api_keys *keys, uint32_t number)
{
    keys->absent_ring[(keys->absent_first + keys->absent_count++) % keys->absent_max] = number;
}
