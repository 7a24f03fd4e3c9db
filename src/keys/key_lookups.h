/* keys/key_lookups.h: what the index of API keys (api_keys.h) needs of the store: one thread with a store connection of its own, the index's
 * only writer. It may block, and nobody waits for it but those who asked.
 *
 * In its order of urgency it: doubts keys that were changed (nobody is let in by them from then on) and reads them again; looks up what is
 * not in memory, each hash once however many ask, and tells them; reads all keys at the start and after something was missed, a page at a
 * time, so that the others never wait for long; writes when keys were used. All its reading and writing to the index is in one
 * line, so what was read before a change can't overwrite what was read after it.
 *
 * A store that doesn't answer: all who wait are told API_KEY_AWAY, and whoever would ask is told at once, until it answers again (tried
 * with growing pauses, 100 ms to 2 s). What was to be read again stays in doubt until then.
 *
 * A store that doesn't answer at the start: the keys are those of the local copy, which is written after changes, at most once a minute, and
 * at the end (key_copy.c). What is in it is believed until the store is heard of, whatever was revoked since; others are AWAY. Of more
 * keys than there is memory for it holds as many as fit, and those are believed for 60 s like all that a cache holds. */
#ifndef SLUICE_KEYS_KEY_LOOKUPS_H
#define SLUICE_KEYS_KEY_LOOKUPS_H

#include "keys/api_keys.h"

struct key_lookups;

/* Where keys come from; on the thread of the look-ups, and may block for a bounded time. Words as in store.h. */
struct key_source {
    bool (*find)(void *argument, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *,
                 struct error *);
    bool (*get)(void *argument, struct slice id, const struct api_key_visitor *, struct error *);
    /* A page of all, in any order: those behind the last key of the page before. */
    bool (*list)(void *argument, uint64_t after_us, struct slice after_id, size_t limit, const struct api_key_visitor *,
                 struct error *);
    bool (*count)(void *argument, uint64_t *count, struct error *);
    bool (*note_uses)(void *argument, const struct api_key_use *, size_t count, struct error *);
    /* A local copy (store/copy.h) of all keys, or of `keys_max`: on a thread of its own, beside the other calls. NULL where none is asked
     * for. */
    bool (*write_copy)(void *argument, const char *path, uint64_t keys_max, struct error *);
    void (*close)(void *argument);
    void *argument;
};
/* A store, opened on first use (and again until it can be). */
struct key_source key_source_of_store(const struct store_settings *);

struct key_lookups_options {
    struct api_keys *keys;    /* outlives it */
    struct key_source source; /* closed by it */
    uint32_t waiting_max;     /* askers at a time; 0: 8,192 */
    const char *copy_path;    /* of the local copy; NULL: none is kept */
};

/* NULL: *error; the source is closed then. */
struct key_lookups *key_lookups_create(const struct key_lookups_options *, struct error *);
/* Begins by reading all keys. */
bool key_lookups_start(struct key_lookups *, struct error *) MUST_USE;
/* Writes the last uses, answers who waits with API_KEY_AWAY, and ends the thread. */
void key_lookups_stop(struct key_lookups *);
void key_lookups_destroy(struct key_lookups *); /* nobody asks any more */

/* --- any thread --- */

/* Who asked, as a value: a ticket that may have become stale meanwhile. `answered` runs once, on the thread of the look-ups, and must not
 * block: it sends a message (exchange_resume_from_thread). Then look again: the answer is in the index; API_KEY_AWAY and API_KEY_ASK
 * (changed again meanwhile) may not be. */
struct key_asker {
    void (*answered)(const struct key_asker *, enum api_key_found);
    uint64_t ticket[3];
};

/* API_KEY_ASK: `answered` will be called (it may have been already). API_KEY_AWAY: too many wait; it won't. Never blocks. */
enum api_key_found key_lookups_ask(struct key_lookups *, const uint8_t hash[API_KEY_HASH_BYTES],
                                   const struct key_asker *);
/* These keys were made, changed or deleted in the store; ids NULL: any of them. `in_force` (may be NULL) runs once, when the index says no more
 * what was before: it has read them again or, where the store doesn't answer, holds them in doubt. On the thread of the look-ups, or
 * inside this call where there is nothing to do; it must not block. */
void key_lookups_changed(struct key_lookups *, const struct slice *ids, size_t count, void (*in_force)(void *argument),
                         void *argument);

struct key_lookups_figures {
    uint64_t asked;      /* hashes asked of the store */
    uint64_t joined;     /* askers whose hash another one had asked for just before */
    uint64_t overloaded; /* askers turned away */
    uint64_t failed;     /* calls of the store that failed */
    uint64_t reread;     /* keys read again after a change */
    uint64_t uses;       /* written */
    uint64_t loads;      /* times that all keys were read to the end */
    bool is_loading, is_answering;
};
void key_lookups_figures(struct key_lookups *, struct key_lookups_figures *);

#endif
