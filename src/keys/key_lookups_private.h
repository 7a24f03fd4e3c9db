/* keys/key_lookups_private.h: what key_lookups.c (the thread) and key_lookups_steps.c (what it does) share. */
#ifndef SLUICE_KEYS_KEY_LOOKUPS_PRIVATE_H
#define SLUICE_KEYS_KEY_LOOKUPS_PRIVATE_H

#include "base/vector.h"
#include "event/mailbox.h"
#include "jobs/jobs.h"
#include "keys/key_lookups.h"
#include "keys/key_table.h"
#include "shared/counter.h"

#include <pthread.h>

struct key_ask {
    struct message message;
    struct key_ask *next;
    struct key_asker asker;
    uint8_t hash[API_KEY_HASH_BYTES];
};

/* Keys that were changed, on their way to the thread and until they have been read again. */
struct key_change {
    struct message message;
    struct key_change *next;
    void (*in_force)(void *argument);
    void *argument;
    uint64_t until; /* of reread_total */
    size_t count;   /* 0: any */
    key_uuid ids[];
};

/* The local copy: of the look-ups' thread, but for what the job reads and writes while it runs. */
struct key_copy {
    char *path; /* NULL: none is kept */
    struct jobs *jobs;
    struct job job;
    struct timer timer;
    uint64_t begun_ms, keys_max;
    bool is_wanted, is_running, is_written, has_failed;
    bool was_looked_for; /* at the start */
    bool is_in_force;    /* the index is the copy's */
    struct error error;
};

struct key_lookups {
    /* Any thread. */
    _Alignas(CACHE_LINE) _Atomic uint32_t waiting;
    _Atomic uint64_t overloaded;
    struct mailbox mailbox;

    /* Its own. */
    _Alignas(CACHE_LINE) struct api_keys *keys;
    struct key_source source;
    uint32_t waiting_max;
    struct loop loop;
    struct task work;
    struct timer retry, uses;
    struct key_ask *asks, **asks_last;
    struct vector changed;                /* key_uuid: to be read again */
    size_t changed_first;                 /* those before it have been */
    uint64_t changed_total, reread_total; /* since the start */
    struct key_change *told, **told_last; /* whom to tell, in the order of their changes */
    bool uses_due, is_failing, has_stopped;
    uint32_t retry_ms;
    /* Of a load: the last key of the page before. */
    uint64_t load_at_us;
    char load_id[API_KEY_UUID_BYTES];
    /* Uses that could not be written yet; their ids are the index's. */
    struct api_key_use pending_uses[API_KEY_USES_AT_ONCE];
    size_t pending_use_count;

    struct key_copy copy;

    struct message stop;
    pthread_t thread;
    bool is_running;

    struct counter asked, joined, failed, reread, uses_written, loads;
    atomic_bool is_loading, is_answering;
};

/* key_lookups_steps.c: one step each; false: the store failed, and key_lookups_failed() was called. (Of uses: they could not be written,
 * and nothing was called.) */
bool key_lookups_reread(struct key_lookups *);
bool key_lookups_answer(struct key_lookups *);
bool key_lookups_load_page(struct key_lookups *);
bool key_lookups_write_uses(struct key_lookups *);
void key_lookups_load_begin(struct key_lookups *);

/* key_copy.c: the local copy. */
bool key_copy_create(struct key_lookups *, const char *path, struct error *);
void key_copy_destroy(struct key_lookups *);
/* The store doesn't answer; where it never has, the copy is read. */
void key_copy_load(struct key_lookups *);
void key_copy_is_wanted(struct key_lookups *); /* keys were changed */
void key_copy_stop(struct key_lookups *);      /* on the thread, at its end */

/* key_lookups.c */
/* Tells who waits for what was read again by now; with `all` everybody. */
void key_lookups_tell_changed(struct key_lookups *, bool all);
void key_lookups_failed(struct key_lookups *, const struct error *);
struct key_ask *key_lookups_next_ask(struct key_lookups *);                        /* there is one */
void key_lookups_tell(struct key_lookups *, struct key_ask *, enum api_key_found); /* and frees the ask */

#endif
