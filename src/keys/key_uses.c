/* keys/key_uses.c: when keys were used last: a ring a reader, filled by it and emptied by who writes to the store.
 *
 * A record says when a use of it was noted; whoever is first to change that after a minute puts the key into its ring. So a key is written
 * once a minute at most, however many workers use it, and its record is written to as seldom. */
#include "base/memory.h"
#include "keys/private.h"

#define RING_USES 2048
#define NOTED_AGAIN_S 60

struct use {
    key_uuid id;
    uint64_t at_us;
};

struct use_ring {
    _Alignas(CACHE_LINE) _Atomic uint32_t written; /* by the reader of keys */
    _Alignas(CACHE_LINE) _Atomic uint32_t taken;
    _Alignas(CACHE_LINE) struct use uses[RING_USES];
};

struct use_ring *use_ring_create(void) { return memory_allocate_aligned(sizeof(struct use_ring)); }

void use_ring_destroy(struct use_ring *ring) { free(ring); }

void api_keys_note_use(struct api_keys *keys, unsigned reader, const struct api_key *key, uint64_t now_us)
{
    struct key_record *record = &keys->records[key->number];
    uint16_t now_s = (uint16_t)(now_us / 1000000);
    uint16_t noted_s = atomic_load_explicit(&record->noted_s, memory_order_relaxed);
    if (LIKELY((uint16_t)(now_s - noted_s) < NOTED_AGAIN_S)) return;

    struct key_reader *self = &keys->readers[reader];
    struct use_ring *ring = self->uses;
    uint32_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    if (written - atomic_load_explicit(&ring->taken, memory_order_acquire) == RING_USES) {
        counter_add(&self->uses_forgotten, 1);
        return;
    }
    /* Another worker was first: it notes the same minute. */
    if (!atomic_compare_exchange_strong_explicit(&record->noted_s, &noted_s, now_s, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        return;
    }
    struct use *use = &ring->uses[written % RING_USES];
    memcpy(use->id, key->id, sizeof use->id);
    use->at_us = now_us;
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
}

size_t api_keys_take_uses(struct api_keys *keys, struct api_key_use into[API_KEY_USES_AT_ONCE])
{
    size_t count = 0;
    for (unsigned i = 0; i < keys->reader_count; i++) {
        struct use_ring *ring = keys->readers[i].uses;
        uint32_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
        uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
        for (; taken != written && count < API_KEY_USES_AT_ONCE; taken++, count++) {
            const struct use *use = &ring->uses[taken % RING_USES];
            api_key_uuid_write(use->id, keys->use_ids[count]);
            into[count] = (struct api_key_use){
                .id = slice_of(keys->use_ids[count], API_KEY_UUID_BYTES - 1),
                .at_us = use->at_us,
            };
        }
        atomic_store_explicit(&ring->taken, taken, memory_order_release);
    }
    return count;
}
