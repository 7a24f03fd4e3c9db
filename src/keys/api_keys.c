/* keys/api_keys.c: the index's life, and what readers do with it. */
#include "keys/api_keys.h"

#include "base/memory.h"
#include "base/random.h"
#include "keys/private.h"

const char *const api_key_found_words[API_KEY_FOUND_COUNT] = {
    "found", "disabled", "expired", "unknown", "ask", "away"
};

struct api_keys *api_keys_create(const struct api_keys_options *options, struct error *error)
{
    PROMISE(options->readers > 0);
    struct api_keys *keys = memory_allocate_aligned(sizeof *keys);
    keys->bytes_max = options->bytes_max;
    keys->reader_count = options->readers;
    random_secure_bytes(keys->secret, sizeof keys->secret);
    atomic_init(&keys->generation, 1);
    atomic_init(&keys->epoch, 1);
    key_texts_init(&keys->texts, key_memory_retire_array, keys);
    keys->readers = memory_allocate_aligned(options->readers * sizeof *keys->readers);
    for (unsigned i = 0; i < options->readers; i++) {
        atomic_init(&keys->readers[i].seen, QUIET);
        keys->readers[i].uses = use_ring_create();
    }
    keys->use_ids = memory_allocate_array(API_KEY_USES_AT_ONCE, API_KEY_UUID_BYTES);
    if (key_memory_init(keys, error)) return keys;
    api_keys_destroy(keys);
    return NULL;
}

void api_keys_destroy(struct api_keys *keys)
{
    if (!keys) return;
    key_memory_release(keys);
    key_texts_release(&keys->texts);
    for (unsigned i = 0; i < keys->reader_count; i++) use_ring_destroy(keys->readers[i].uses);
    free(keys->readers);
    free(keys->use_ids);
    free(keys->load_seen);
    free(keys);
}

/* --- looking up --- */

/* From here on nothing that is found is used for something else, until the reader is quiet. See key_memory.c. */
static void begin_to_look(struct api_keys *keys, struct key_reader *reader)
{
    if (LIKELY(atomic_load_explicit(&reader->seen, memory_order_relaxed) != QUIET)) return;
    uint64_t epoch = atomic_load_explicit(&keys->epoch, memory_order_acquire);
    atomic_store_explicit(&reader->seen, epoch, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

void api_keys_quiesce(struct api_keys *keys, unsigned reader)
{
    struct key_reader *self = &keys->readers[reader];
    if (atomic_load_explicit(&self->seen, memory_order_relaxed) == QUIET) return;
    atomic_store_explicit(&self->seen, QUIET, memory_order_release);
}

static void count_use(struct key_record *record)
{
    uint8_t uses = atomic_load_explicit(&record->uses, memory_order_relaxed);
    if (uses < USES_MAX) atomic_store_explicit(&record->uses, (uint8_t)(uses + 1), memory_order_relaxed);
}

static void fill(const struct api_keys *keys, uint32_t number, struct api_key *key)
{
    const struct key_record *record = &keys->records[number];
    *key = (struct api_key){
        .hash = record->hash,
        .id = keys->ids[number],
        .expires_at_us = record->expires_us == NEVER_US ? 0 : record->expires_us,
        .scopes = key_texts_at(&keys->texts, record->scopes),
        .tier = record->tier,
        .enabled = record->enabled,
        .client_is_uuid = record->client_kind == CLIENT_UUID,
        .number = number,
    };
    if (record->client_kind == CLIENT_TEXT) {
        key->client_bytes = key_texts_at(&keys->texts, record->client.text);
    } else {
        size_t length = record->client_kind == CLIENT_UUID ? 16 : record->client.bytes[CLIENT_SHORT_MAX];
        key->client_bytes = slice_of((const char *)record->client.bytes, length);
    }
}

static enum api_key_found ask_or_away(const struct api_keys *keys)
{
    return atomic_load_explicit(&((struct api_keys *)keys)->store_trouble, memory_order_relaxed) ? API_KEY_AWAY
                                                                                                 : API_KEY_ASK;
}

/* Revocations may be missing: what isn't the whole must not be believed for ever. Answers AWAY, not ASK, as a fresh answer would be
 * believed no longer than this one. */
static bool is_heard(const struct api_keys *keys, uint64_t now_us)
{
    uint64_t heard_us = atomic_load_explicit(&((struct api_keys *)keys)->heard_us, memory_order_relaxed);
    return now_us < heard_us || now_us - heard_us <= UNHEARD_US ||
           atomic_load_explicit(&((struct api_keys *)keys)->is_copy, memory_order_relaxed);
}

static enum api_key_found judge(struct api_keys *keys, uint32_t number, uint64_t now_us, struct api_key *key)
{
    struct key_record *record = &keys->records[number];
    if (record->is_absent) {
        if (now_us >= record->expires_us) return ask_or_away(keys);
        return record->has_failed ? API_KEY_AWAY : API_KEY_UNKNOWN;
    }
    count_use(record);
    fill(keys, number, key);
    if (!record->enabled) return API_KEY_DISABLED;
    return record->expires_us != NEVER_US && now_us >= record->expires_us ? API_KEY_EXPIRED : API_KEY_FOUND;
}

/* What isn't there is unknown only if the index was whole before and after the look: a key that had to go takes the wholeness along first,
 * and a load ends after its last key. */
static bool was_whole(const struct api_keys *keys, uint32_t before)
{
    atomic_thread_fence(memory_order_acquire);
    return is_whole(before) &&
           atomic_load_explicit(&((struct api_keys *)keys)->wholeness, memory_order_relaxed) == before;
}

static enum api_key_found find(struct api_keys *keys, const uint8_t hash[API_KEY_HASH_BYTES], uint64_t now_us,
                               struct api_key *key)
{
    uint32_t wholeness = atomic_load_explicit(&keys->wholeness, memory_order_acquire);
    if (!is_whole(wholeness) && !is_heard(keys, now_us)) return API_KEY_AWAY;
    for (;;) {
        uint32_t number = key_number(keys, atomic_load_explicit(&keys->table, memory_order_acquire), hash);
        if (number == 0) return was_whole(keys, wholeness) ? API_KEY_UNKNOWN : ask_or_away(keys);
        uint8_t generation = record_generation(&keys->records[number]);
        if (generation == atomic_load_explicit(&keys->generation, memory_order_acquire)) {
            return judge(keys, number, now_us, key);
        }
        if (generation != GENERATION_NONE) return ask_or_away(keys);
        /* It was replaced or taken out this moment: the slot leads elsewhere by now. */
    }
}

enum api_key_found api_keys_find(struct api_keys *keys, unsigned reader, const uint8_t hash[API_KEY_HASH_BYTES],
                                 uint64_t now_us, struct api_key *key)
{
    struct key_reader *self = &keys->readers[reader];
    begin_to_look(keys, self);
    enum api_key_found found = find(keys, hash, now_us, key);
    counter_add(&self->found[found], 1);
    return found;
}

enum api_key_found api_keys_peek(struct api_keys *keys, const uint8_t hash[API_KEY_HASH_BYTES], uint64_t now_us)
{
    struct api_key key;
    return find(keys, hash, now_us, &key);
}

struct slice api_key_client_id(const struct api_key *key, char into[API_KEY_UUID_BYTES])
{
    if (!key->client_is_uuid) return key->client_bytes;
    api_key_uuid_write((const uint8_t *)key->client_bytes.at, into);
    return slice_of(into, API_KEY_UUID_BYTES - 1);
}

struct slice api_key_id(const struct api_key *key, char into[API_KEY_UUID_BYTES])
{
    api_key_uuid_write(key->id, into);
    return slice_of(into, API_KEY_UUID_BYTES - 1);
}

/* --- any thread --- */

void api_keys_store_heard(struct api_keys *keys, uint64_t heard_us, bool is_there)
{
    if (is_there) {
        atomic_store_explicit(&keys->heard_us, heard_us, memory_order_relaxed);
        atomic_fetch_and_explicit(&keys->store_trouble, ~STORE_LOST, memory_order_relaxed);
    } else {
        atomic_fetch_or_explicit(&keys->store_trouble, STORE_LOST, memory_order_relaxed);
    }
}

void api_keys_set_answering(struct api_keys *keys, bool answering)
{
    if (answering) {
        atomic_fetch_and_explicit(&keys->store_trouble, ~STORE_UNANSWERING, memory_order_relaxed);
    } else {
        atomic_fetch_or_explicit(&keys->store_trouble, STORE_UNANSWERING, memory_order_relaxed);
    }
}

bool api_keys_is_whole(const struct api_keys *keys)
{
    return is_whole(atomic_load_explicit(&((struct api_keys *)keys)->wholeness, memory_order_acquire));
}

void api_keys_figures(struct api_keys *keys, struct api_keys_figures *figures)
{
    *figures = (struct api_keys_figures){
        .keys = (uint64_t)gauge_read(&keys->keys),
        .absent = (uint64_t)gauge_read(&keys->absent),
        .bytes = (uint64_t)gauge_read(&keys->bytes),
        .bytes_max = keys->bytes_max,
        .evicted = counter_read(&keys->evicted),
        .is_whole = api_keys_is_whole(keys),
    };
    for (unsigned i = 0; i < keys->reader_count; i++) {
        const struct key_reader *reader = &keys->readers[i];
        figures->uses_forgotten += counter_read(&reader->uses_forgotten);
        for (unsigned found = 0; found < API_KEY_FOUND_COUNT; found++) {
            figures->found[found] += counter_read(&reader->found[found]);
        }
    }
}
