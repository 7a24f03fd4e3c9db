/* keys/key_lookups_steps.c: what the thread of the look-ups does with the store, a step at a time. */
#include "base/clock.h"
#include "base/log.h"
#include "keys/key_lookups_private.h"

#define REREAD_AT_ONCE 64
#define ANSWERED_AT_ONCE 64
#define PAGE_KEYS 2000

static uint64_t wall_us(void) { return clock_wall_ns() / 1000; }

static bool is_away(const struct error *error)
{
    return error->reason && slice_equal(slice_from_cstring(error->reason), SLICE("store-unavailable"));
}

/* What a visit brought. */
struct visited {
    struct api_keys *keys;
    enum api_key_keep keep;
    size_t count;
    bool left_out;
    uint64_t last_us;
    char last_id[API_KEY_UUID_BYTES];
};

static void visit(void *argument, const struct api_key_row *row)
{
    struct visited *visited = argument;
    visited->count++;
    visited->last_us = row->created_us;
    if (row->id.length < sizeof visited->last_id) {
        memcpy(visited->last_id, row->id.at, row->id.length);
        visited->last_id[row->id.length] = '\0';
    }
    if (!api_keys_put(visited->keys, row, visited->keep)) visited->left_out = true;
}

/* --- changed keys --- */

/* One that can't be read (a damaged row) stays in doubt. */
static bool reread_one(struct key_lookups *lookups, const key_uuid id)
{
    char text[API_KEY_UUID_BYTES];
    struct visited visited = { .keys = lookups->keys, .keep = API_KEY_KEEP_IF_ROOM };
    struct error error;
    api_key_uuid_write(id, text);
    struct slice slice = slice_of(text, sizeof text - 1);
    if (!lookups->source.get(lookups->source.argument, slice, &(struct api_key_visitor){ visit, &visited }, &error)) {
        if (is_away(&error)) {
            key_lookups_failed(lookups, &error);
            return false;
        }
        log_error("API key %s can't be read and lets nobody in: %s", text, error.text);
        counter_add(&lookups->failed, 1);
        return true;
    }
    if (visited.count == 0) api_keys_remove(lookups->keys, slice);
    counter_add(&lookups->reread, 1);
    return true;
}

bool key_lookups_reread(struct key_lookups *lookups)
{
    for (int i = 0; i < REREAD_AT_ONCE && lookups->changed_first < lookups->changed.count; i++) {
        if (!reread_one(lookups, vector_at(&lookups->changed, lookups->changed_first))) return false;
        lookups->changed_first++;
        lookups->reread_total++;
    }
    key_lookups_tell_changed(lookups, false);
    if (lookups->changed_first == lookups->changed.count) lookups->changed.count = lookups->changed_first = 0;
    key_copy_is_wanted(lookups);
    return true;
}

/* --- look-ups --- */

/* Asks the store; what it says is in the index then. */
static bool look_up(struct key_lookups *lookups, const uint8_t hash[API_KEY_HASH_BYTES])
{
    struct visited visited = { .keys = lookups->keys, .keep = API_KEY_KEEP };
    struct error error;
    counter_add(&lookups->asked, 1);
    bool answered = lookups->source.find(lookups->source.argument, hash, &(struct api_key_visitor){ visit, &visited },
                                         &error);
    if (!answered && is_away(&error)) {
        key_lookups_failed(lookups, &error);
        return false;
    }
    if (!answered) {
        counter_add(&lookups->failed, 1);
        log_error("API keys: a look-up in the store failed: %s", error.text);
    }
    if (!answered || visited.count == 0) api_keys_put_absent(lookups->keys, hash, !answered, wall_us());
    return true;
}

/* Whoever asked for the same hash meanwhile finds the answer in the index: that is all there is to asking once for all. */
bool key_lookups_answer(struct key_lookups *lookups)
{
    for (int i = 0; i < ANSWERED_AT_ONCE && lookups->asks; i++) {
        struct key_ask *ask = lookups->asks;
        enum api_key_found found = api_keys_peek(lookups->keys, ask->hash, wall_us());
        if (found == API_KEY_ASK) {
            if (!look_up(lookups, ask->hash)) return false;
            found = api_keys_peek(lookups->keys, ask->hash, wall_us());
        } else {
            counter_add(&lookups->joined, 1);
        }
        /* Still not: there was no place for it. Asking on and on would help nobody. */
        key_lookups_tell(lookups, key_lookups_next_ask(lookups), found == API_KEY_ASK ? API_KEY_AWAY : found);
    }
    return true;
}

/* --- reading all --- */

void key_lookups_load_begin(struct key_lookups *lookups)
{
    lookups->load_at_us = 0;
    lookups->load_id[0] = '\0';
    api_keys_load_begin(lookups->keys);
    atomic_store_explicit(&lookups->is_loading, true, memory_order_relaxed);
}

static void end_load(struct key_lookups *lookups, bool complete)
{
    api_keys_load_end(lookups->keys, complete);
    counter_add(&lookups->loads, 1);
    atomic_store_explicit(&lookups->is_loading, false, memory_order_release);
    key_copy_is_wanted(lookups);
    struct api_keys_figures figures;
    api_keys_figures(lookups->keys, &figures);
    if (figures.is_whole) {
        log_info("API keys: %llu in memory, all there are", (unsigned long long)figures.keys);
    } else {
        log_info("API keys: %llu in memory, others are asked of the store", (unsigned long long)figures.keys);
    }
}

/* Behind a first page that was full: growing to a million keys step by step would take as long again as one in eight of them. Whoever
 * can't say how many there are (a database may take long to count) is read all the same. */
static void reserve(struct key_lookups *lookups)
{
    uint64_t count;
    struct error error;
    if (!lookups->source.count(lookups->source.argument, &count, &error)) return;
    api_keys_reserve(lookups->keys, count + count / 64);
}

bool key_lookups_load_page(struct key_lookups *lookups)
{
    struct visited visited = { .keys = lookups->keys, .keep = API_KEY_KEEP_IF_ROOM };
    struct slice after = lookups->load_id[0] ? slice_from_cstring(lookups->load_id) : SLICE_ABSENT;
    struct error error;
    if (!lookups->source.list(lookups->source.argument, lookups->load_at_us, after, PAGE_KEYS,
                              &(struct api_key_visitor){ visit, &visited }, &error)) {
        if (is_away(&error)) {
            key_lookups_failed(lookups, &error);
            key_copy_load(lookups);
            return false;
        }
        /* A damaged row: those that can be read are, when they are asked for. */
        log_error("not all API keys can be read: %s", error.text);
        counter_add(&lookups->failed, 1);
        end_load(lookups, false);
        return true;
    }
    if (slice_is_absent(after) && visited.count == PAGE_KEYS) reserve(lookups);
    lookups->load_at_us = visited.last_us;
    memcpy(lookups->load_id, visited.last_id, sizeof lookups->load_id);
    if (visited.count < PAGE_KEYS || visited.left_out) end_load(lookups, visited.count < PAGE_KEYS);
    return true;
}

/* --- uses --- */

/* A store that can't be written to just now (another one writes) may answer look-ups all the same, so this is no failure of theirs; but
 * as waiting for it takes their time, it is tried seldom then. */
bool key_lookups_write_uses(struct key_lookups *lookups)
{
    struct error error;
    if (lookups->pending_use_count == 0) {
        lookups->pending_use_count = api_keys_take_uses(lookups->keys, lookups->pending_uses);
    }
    size_t count = lookups->pending_use_count;
    lookups->uses_due = count == API_KEY_USES_AT_ONCE;
    if (count == 0) return true;
    if (!lookups->source.note_uses(lookups->source.argument, lookups->pending_uses, count, &error)) {
        counter_add(&lookups->failed, 1);
        lookups->uses_due = false;
        if (is_away(&error)) return false; /* they are tried again */
        log_error("API keys: times of last use can't be written: %s", error.text);
    } else {
        counter_add(&lookups->uses_written, count);
    }
    lookups->pending_use_count = 0;
    return true;
}
