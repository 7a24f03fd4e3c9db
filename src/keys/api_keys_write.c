/* keys/api_keys_write.c: the writer's side: keys come, change, go and are doubted. */
#include "base/log.h"
#include "base/memory.h"
#include "keys/private.h"

/* --- a row as a record --- */

static uint64_t ends_us(const struct api_key_row *row)
{
    uint64_t expires_us = row->expires_at_us ? row->expires_at_us : NEVER_US;
    uint64_t replaced_us = row->replaces_until_us ? row->replaces_until_us : NEVER_US;
    uint64_t earlier = expires_us < replaced_us ? expires_us : replaced_us;
    return earlier < NEVER_US ? earlier : NEVER_US;
}

static enum api_key_tier tier_of(struct slice word)
{
    if (slice_equal(word, SLICE("premium"))) return API_KEY_PREMIUM;
    return slice_equal(word, SLICE("standard")) ? API_KEY_STANDARD : API_KEY_FREE;
}

/* Only a UUID that would be written just so: what was stored is what is told. */
static bool is_canonical_uuid(struct slice text, uint8_t uuid[16])
{
    char written[API_KEY_UUID_BYTES];
    if (!api_key_uuid_parse(text, uuid)) return false;
    api_key_uuid_write(uuid, written);
    return memcmp(written, text.at, text.length) == 0;
}

/* What of a row takes a moment to find out. */
struct row_facts {
    key_uuid id;
    enum client_kind client_kind;
    key_uuid client; /* where it is a UUID */
};

/* False: its id is no UUID. */
static bool read_facts(const struct api_key_row *row, struct row_facts *facts)
{
    if (is_canonical_uuid(row->client_id, facts->client)) {
        facts->client_kind = CLIENT_UUID;
    } else {
        facts->client_kind = row->client_id.length <= CLIENT_SHORT_MAX ? CLIENT_SHORT : CLIENT_TEXT;
    }
    return api_key_uuid_parse(row->id, facts->id);
}

/* Takes references to its texts. */
static void fill(struct api_keys *keys, struct key_record *record, const struct api_key_row *row,
                 const struct row_facts *facts)
{
    memset(&record->client, 0, sizeof record->client);
    if (facts->client_kind == CLIENT_UUID) {
        memcpy(record->client.bytes, facts->client, sizeof facts->client);
    } else if (facts->client_kind == CLIENT_SHORT) {
        if (row->client_id.length > 0) memcpy(record->client.bytes, row->client_id.at, row->client_id.length);
        record->client.bytes[CLIENT_SHORT_MAX] = (uint8_t)row->client_id.length;
    } else {
        record->client.text = key_texts_take(&keys->texts, row->client_id);
    }
    memcpy(record->hash, row->hash, sizeof record->hash);
    record->expires_us = ends_us(row);
    record->tier = tier_of(row->rate_limit_tier);
    record->enabled = row->enabled;
    record->client_kind = facts->client_kind;
    record->is_absent = 0;
    record->has_failed = 0;
    record->scopes = key_texts_take(&keys->texts, row->scopes);
}

static struct slice client_of(const struct api_keys *keys, const struct key_record *record)
{
    if (record->client_kind == CLIENT_TEXT) return key_texts_at(&keys->texts, record->client.text);
    size_t length = record->client_kind == CLIENT_UUID ? 16 : record->client.bytes[CLIENT_SHORT_MAX];
    return slice_of((const char *)record->client.bytes, length);
}

static bool is_same(const struct api_keys *keys, const struct key_record *record, const struct api_key_row *row,
                    const struct row_facts *facts)
{
    bool is_uuid = facts->client_kind == CLIENT_UUID;
    struct slice client = is_uuid ? slice_of((const char *)facts->client, sizeof facts->client) : row->client_id;
    return record->client_kind == facts->client_kind && slice_equal(client_of(keys, record), client) &&
           memcmp(record->hash, row->hash, sizeof record->hash) == 0 && record->expires_us == ends_us(row) &&
           record->tier == tier_of(row->rate_limit_tier) && record->enabled == row->enabled &&
           slice_equal(key_texts_at(&keys->texts, record->scopes), row->scopes);
}

static uint64_t text_bytes(const struct api_key_row *row, const struct row_facts *facts)
{
    uint64_t client = facts->client_kind == CLIENT_TEXT ? key_texts_cost(row->client_id) : 0;
    return client + key_texts_cost(row->scopes);
}

/* --- in and out of the tables --- */

static void set_generation(struct key_record *record, uint8_t generation)
{
    atomic_store_explicit(&record->generation, generation, memory_order_release);
}

static uint8_t generation_now(const struct api_keys *keys)
{
    return atomic_load_explicit(&((struct api_keys *)keys)->generation, memory_order_relaxed);
}

static void mark_seen(struct api_keys *keys, uint32_t number)
{
    if (keys->load_seen && number < keys->load_count) keys->load_seen[number / 8] |= (uint8_t)(1u << number % 8);
}

void key_take_out(struct api_keys *keys, uint32_t number)
{
    const struct key_record *record = &keys->records[number];
    key_table_remove(writers_table(keys), key_hash(keys, record->hash), number);
    if (record->is_absent) {
        gauge_add(&keys->absent, -1);
    } else {
        id_table_remove(&keys->id_table, keys->ids, keys->secret, number);
        gauge_add(&keys->keys, -1);
    }
    keys->live--;
    key_memory_retire(keys, number);
}

/* The record is complete: readers find it from here on. `before`: the one with the same hash, whose slot it takes; 0: none. */
static void put_in(struct api_keys *keys, uint32_t number, uint32_t before)
{
    struct key_record *record = &keys->records[number];
    struct key_table *table = writers_table(keys);
    uint64_t hash = key_hash(keys, record->hash);
    set_generation(record, generation_now(keys));
    if (before != 0) {
        key_slot_replace(key_table_slot(table, hash, before), number);
        gauge_add(keys->records[before].is_absent ? &keys->absent : &keys->keys, -1);
        if (!keys->records[before].is_absent) id_table_remove(&keys->id_table, keys->ids, keys->secret, before);
        key_memory_retire(keys, before);
    } else {
        key_table_insert(table, hash, number);
        keys->live++;
    }
    if (!record->is_absent) id_table_insert(&keys->id_table, keys->ids, keys->secret, number);
    gauge_add(record->is_absent ? &keys->absent : &keys->keys, 1);
    mark_seen(keys, number);
}

/* What is remembered of a key's use outlives a change of it. */
static void copy_uses(struct key_record *record, const struct key_record *before)
{
    struct key_record *from = (struct key_record *)before;
    uint16_t noted_s = atomic_load_explicit(&from->noted_s, memory_order_relaxed);
    uint8_t uses = atomic_load_explicit(&from->uses, memory_order_relaxed);
    atomic_store_explicit(&record->noted_s, noted_s, memory_order_relaxed);
    atomic_store_explicit(&record->uses, uses, memory_order_relaxed);
}

void key_take_over(struct api_keys *keys, uint32_t number, uint32_t before)
{
    struct key_record *record = &keys->records[number];
    const struct key_record *from = &keys->records[before];
    memcpy(record, from, offsetof(struct key_record, noted_s));
    memcpy(keys->ids[number], keys->ids[before], sizeof keys->ids[number]);
    key_texts_retain(&keys->texts, record->scopes);
    if (record->client_kind == CLIENT_TEXT) key_texts_retain(&keys->texts, record->client.text);
    copy_uses(record, from);
    set_generation(record, record_generation(from));
    key_slot_replace(key_table_slot(writers_table(keys), key_hash(keys, record->hash), before), number);
    id_table_replace(&keys->id_table, keys->ids, keys->secret, before, number);
    mark_seen(keys, number);
    key_memory_retire(keys, before);
}

static uint32_t find_id(const struct api_keys *keys, struct slice id)
{
    key_uuid uuid;
    return api_key_uuid_parse(id, uuid) ? id_table_find(&keys->id_table, keys->ids, keys->secret, uuid) : 0;
}

/* --- keys --- */

/* (Of one used 18 hours ago, to the minute, a first use may be taken for the same one: the next minute's is noted.) */
static void start_uses(const struct api_keys *keys, struct key_record *record, uint32_t before,
                       const struct api_key_row *row)
{
    if (before != 0) {
        copy_uses(record, &keys->records[before]);
    } else {
        atomic_store_explicit(&record->noted_s, (uint16_t)(row->last_used_us / 1000000), memory_order_relaxed);
        atomic_store_explicit(&record->uses, 0, memory_order_relaxed);
    }
}

static bool not_kept(struct api_keys *keys, uint32_t of_id, uint32_t of_hash)
{
    key_set_whole(keys, false);
    /* What they were is no longer true; the store knows. */
    if (of_id != 0) key_take_out(keys, of_id);
    if (of_hash != 0 && of_hash != of_id) key_take_out(keys, of_hash);
    key_memory_count_bytes(keys);
    return false;
}

bool api_keys_put(struct api_keys *keys, const struct api_key_row *row, enum api_key_keep keep)
{
    struct row_facts facts;
    if (!read_facts(row, &facts)) {
        log_error("API key \"%.*s\": its id is no UUID; it is not in force", SLICE_PRINT(row->id));
        return not_kept(keys, 0, 0);
    }
    uint64_t keyed = key_hash(keys, row->hash);
    key_prefetch(keys, key_table_home(writers_table(keys), keyed), keyed);
    uint32_t of_id = id_table_find(&keys->id_table, keys->ids, keys->secret, facts.id);
    if (of_id != 0 && is_same(keys, &keys->records[of_id], row, &facts)) {
        set_generation(&keys->records[of_id], generation_now(keys));
        mark_seen(keys, of_id);
        key_place_move_some(keys);
        return true;
    }
    uint32_t number = key_make_place(keys, keyed, text_bytes(row, &facts), of_id != 0 ? API_KEY_KEEP : keep);
    /* Looked up after that, as who had to go may have been these. */
    of_id = id_table_find(&keys->id_table, keys->ids, keys->secret, facts.id);
    uint32_t of_hash = key_number(keys, writers_table(keys), row->hash);
    if (number == 0) return not_kept(keys, of_id, of_hash);
    struct key_record *record = &keys->records[number];
    memcpy(keys->ids[number], facts.id, sizeof facts.id);
    fill(keys, record, row, &facts);
    start_uses(keys, record, of_id, row);
    if (of_id != 0 && of_id != of_hash) key_take_out(keys, of_id);
    put_in(keys, number, of_hash);
    key_place_move_some(keys);
    key_memory_count_bytes(keys);
    return true;
}

void api_keys_put_absent(struct api_keys *keys, const uint8_t hash[API_KEY_HASH_BYTES], bool failed, uint64_t now_us)
{
    /* Where all are here, one that isn't is unknown without a record of that. */
    uint32_t number = api_keys_is_whole(keys) && !failed ? 0
                                                         : key_make_absent_place(keys, key_hash(keys, hash), now_us);
    uint32_t of_hash = key_number(keys, writers_table(keys), hash);
    if (number == 0) {
        if (of_hash != 0) key_take_out(keys, of_hash);
        return;
    }
    struct key_record *record = &keys->records[number];
    memset(&record->client, 0, sizeof record->client);
    memcpy(record->hash, hash, sizeof record->hash);
    record->expires_us = now_us + (failed ? FAILED_US : ABSENT_US);
    record->tier = record->enabled = record->client_kind = 0;
    record->is_absent = 1;
    record->has_failed = failed;
    record->scopes = 0;
    put_in(keys, number, of_hash);
    key_absent_came(keys, number);
    key_memory_count_bytes(keys);
}

bool api_keys_remove(struct api_keys *keys, struct slice id)
{
    uint32_t number = find_id(keys, id);
    if (number == 0) return false;
    key_take_out(keys, number);
    api_keys_reclaim(keys);
    return true;
}

void api_keys_reclaim(struct api_keys *keys)
{
    key_memory_reclaim(keys);
    key_memory_count_bytes(keys);
}

void api_keys_reserve(struct api_keys *keys, uint64_t count) { key_memory_reserve(keys, count); }

/* --- doubt --- */

bool api_keys_doubt(struct api_keys *keys, struct slice id)
{
    uint32_t number = find_id(keys, id);
    if (number != 0) set_generation(&keys->records[number], GENERATION_DOUBT);
    return number != 0;
}

static bool is_linked(const struct api_keys *keys, uint32_t number)
{
    return record_generation(&keys->records[number]) != GENERATION_NONE;
}

void api_keys_trust_copy(struct api_keys *keys) { atomic_store_explicit(&keys->is_copy, true, memory_order_relaxed); }

void api_keys_distrust(struct api_keys *keys)
{
    atomic_store_explicit(&keys->is_copy, false, memory_order_relaxed);
    key_set_whole(keys, false);
    uint8_t generation = generation_now(keys);
    if (generation < GENERATION_DOUBT - 1) {
        atomic_store_explicit(&keys->generation, (uint8_t)(generation + 1), memory_order_release);
        return;
    }
    /* The numbers begin anew: what is left of the first one must not be believed again. */
    for (uint32_t number = 1; number < keys->record_count; number++) {
        if (is_linked(keys, number)) set_generation(&keys->records[number], GENERATION_DOUBT);
    }
    atomic_store_explicit(&keys->generation, 1, memory_order_release);
}

/* --- loading --- */

void api_keys_load_begin(struct api_keys *keys)
{
    free(keys->load_seen);
    keys->load_count = keys->record_count;
    keys->load_seen = memory_allocate(keys->load_count / 8 + 1);
    keys->load_left_out = false;
}

bool key_was_seen(const struct api_keys *keys, uint32_t number)
{
    return number >= keys->load_count || keys->load_seen[number / 8] >> number % 8 & 1;
}

/* What the load didn't bring is gone; and who knows all keys needs no list of absent ones. */
static void take_out_unseen(struct api_keys *keys)
{
    for (uint32_t number = 1; number < keys->record_count; number++) {
        if (!is_linked(keys, number)) continue;
        if (keys->records[number].is_absent || !key_was_seen(keys, number)) key_take_out(keys, number);
        if (number % 1024 == 0) key_memory_reclaim(keys);
    }
    keys->absent_count = 0;
}

void api_keys_load_end(struct api_keys *keys, bool complete)
{
    PROMISE(keys->load_seen != NULL);
    if (complete && !keys->load_left_out) {
        take_out_unseen(keys);
        key_set_whole(keys, true);
    }
    free(keys->load_seen);
    keys->load_seen = NULL;
    keys->load_count = 0;
    keys->expected = 0; /* it came, or it didn't */
    api_keys_reclaim(keys);
}
