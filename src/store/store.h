/* store/: where the configuration is kept: one interface, and its kinds: sqlite (embedded) and postgres (shared by instances).
 *
 * A store holds rows (documents of resources, config/resource.h) and revisions (who changed what, when). Every write is one transaction
 * that ends in one new revision; the newest revision's number is the store's head, and a reader that knows revision N catches up by
 * reading the revisions after it. The columns of each table are those of docs/ (DESIGN section 11); rows.c turns a document into columns
 * and back, so that a document read is the document written.
 *
 * One thread at a time, which may block: never a worker, the control loop or the builder. Every call is bounded by `timeout_ms` per
 * statement; a server that hangs is STORE_UNAVAILABLE, not a hanging thread. Errors: error->reason is one of
 *   "store-unavailable"  no connection, time ran out, locked by another process: try again later, nothing was written
 *   "store-busy"         of store_begin: it is there, and others' writes took all the time; nothing was written (PostgreSQL)
 *   "store-full"         no room: nothing was written
 *   "store-newer"        the schema is of a newer version than this program knows
 *   "store-damaged"      a row or a file is not what it must be; the text says which and what to do
 *   "store-settings"     the location itself is wrong, or its owner's permissions are
 *   "store-refused"      rows that can't stand together: a name that two have, a reference to nothing, a value beyond a table's checks;
 *                        whoever writes checks all this before, so it is a mistake of ours or of a hand in the tables. Nothing was written
 * Texts never hold a password: locations are shown by store_location(). After "store-unavailable" the same struct may be used again: the
 * next call connects anew. */
#ifndef SLUICE_STORE_STORE_H
#define SLUICE_STORE_STORE_H

#include "config/resource.h"

struct store;

struct store_settings {
    const char *location; /* "sqlite:/absolute/path", "postgres://user:password@host:port/database?options" */
    uint32_t timeout_ms;  /* a statement's; connecting too. 0: 5,000 */
};

/* True for a location that some kind of store understands; else *error says what is wrong with it. Opens nothing. */
bool store_location_check(struct slice location, struct error *) MUST_USE;
/* Opens, makes the schema or brings it up to date (several instances may do so at once; each step is a transaction). NULL: *error. */
struct store *store_open(const struct store_settings *, struct error *);
void store_close(struct store *);
/* The location without its password. */
const char *store_location(const struct store *);
/* The same where no store could be opened. The caller's; "" where the location is none. */
char *store_location_show(struct slice location);
/* The schema's version in the store and the newest that this program knows. */
struct store_schema {
    unsigned found, known; /* found 0: an empty store */
};
bool store_schema_read(const struct store_settings *, struct store_schema *, struct error *) MUST_USE;

/* --- reading --- */

struct store_row {
    enum resource_kind kind;
    struct slice id, document;       /* valid during the visit */
    uint64_t created_us, updated_us; /* microseconds since 1970; order of age is (created_us, id) */
};

struct store_visitor {
    void (*row)(void *argument, const struct store_row *);
    void *argument;
};

/* All rows of all kinds but API keys, by kind and age, and the revision that they are; one consistent view. */
bool store_read_all(struct store *, const struct store_visitor *, uint64_t *revision, struct error *) MUST_USE;
/* One row. *found is false where there is none. */
bool store_read_row(struct store *, enum resource_kind, struct slice id, const struct store_visitor *, bool *found,
                    struct error *) MUST_USE;

/* A revision as it is kept. `changes` is a JSON array: [{"kind":"routes","id":"...","name":"...","before":DOCUMENT|null,
 * "after":DOCUMENT|null}]; of API keys before and after are {} or null only, so that no hash of a key is kept in the history. */
struct store_revision {
    uint64_t number, at_us;
    struct slice author, source, comment,
        changes; /* source: where from, an address; comment: "rollback to 12", "import"; or absent */
};
struct store_revision_visitor {
    void (*revision)(void *argument, const struct store_revision *);
    void *argument;
};
bool store_read_head(struct store *, uint64_t *revision, struct error *) MUST_USE;
/* When the head was written that was read last, by store_read_head, store_read_all or store_begin; 0: there is no such revision, as in a
 * store that is new. A number alone doesn't tell one history from another: a replica that lacked the last commit gives it once more. */
uint64_t store_head_at(const struct store *);
/* Ascending from the first one after `after`, or descending from the last one before `before` (0: the newest); at most `limit`. */
bool store_read_revisions_after(struct store *, uint64_t after, size_t limit, const struct store_revision_visitor *,
                                struct error *) MUST_USE;
bool store_read_revisions_before(struct store *, uint64_t before, size_t limit, const struct store_revision_visitor *,
                                 struct error *) MUST_USE;

/* --- writing --- */

/* Begins a write: from here to commit or abort no other process writes. *revision is the head as it is now. In which order rows are put and
 * removed doesn't matter: names may be swapped, a reference may come before what it names. After a call that failed the write can only be
 * given up. */
bool store_begin(struct store *, uint64_t *revision, struct error *) MUST_USE;
bool store_put(struct store *, const struct store_row *,
               struct error *) MUST_USE; /* new, or in place of the old one; no API keys */
bool store_remove(struct store *, enum resource_kind, struct slice id, struct error *) MUST_USE;
/* Ends it as the next revision (number is filled in, and at_us where it is 0), durable when it returns true, and tells whoever waits. False:
 * it is given up, nothing of it was written; or, where the connection was lost in the very commit (reason "store-unavailable"), it may have been: the head tells. */
bool store_commit(struct store *, struct store_revision *, struct error *) MUST_USE;
/* Nothing happens where no write is under way. */
void store_abort(struct store *);

/* --- hearing of others' writes --- */

/* Becomes readable when somebody may have written (LISTEN/NOTIFY); -1: this kind can't tell (poll with store_read_head). It may change
 * after every call that reported "store-unavailable". */
int store_descriptor(const struct store *);
/* Takes what has come: *revision is the newest number heard of, or 0 where nothing came. */
bool store_take_notifications(struct store *, uint64_t *revision, struct error *) MUST_USE;

/* --- API keys: too many for memory, so asked one by one --- */

#define API_KEY_HASH_BYTES 32 /* SHA-256 of the key's text */

struct api_key_row {
    uint8_t hash[API_KEY_HASH_BYTES];
    struct slice id, prefix, client_id, client_name, rate_limit_tier; /* valid during the visit */
    struct slice scopes;                                              /* separated by single spaces */
    struct slice tags;                                                /* a JSON array of texts; absent: none */
    bool enabled;
    uint64_t expires_at_us, created_us, last_used_us; /* 0: never */
    uint64_t replaces_until_us; /* rotated: valid until then beside its successor; 0: not rotated */
};
struct api_key_visitor {
    void (*key)(void *argument, const struct api_key_row *);
    void *argument;
};
/* By hash, by id; at most one visit. */
bool store_key_find(struct store *, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *,
                    struct error *) MUST_USE;
bool store_key_get(struct store *, struct slice id, const struct api_key_visitor *, struct error *) MUST_USE;
/* By age, after the key (created_us, id) given (0 and absent: from the start); of one client where client_id is present. */
bool store_keys_list(struct store *, uint64_t after_us, struct slice after_id, struct slice client_id, size_t limit,
                     const struct api_key_visitor *, struct error *) MUST_USE;
/* All of them, a page at a time, in the order that the store reads fastest: those after the key (created_us, id) that was the last of the page
 * before (0 and absent: from the start). */
bool store_keys_page(struct store *, uint64_t after_us, struct slice after_id, size_t limit,
                     const struct api_key_visitor *, struct error *) MUST_USE;
/* Streams all of them, in no order, without holding them in memory; stops early where `limit` is reached. */
bool store_keys_each(struct store *, uint64_t limit, const struct api_key_visitor *, struct error *) MUST_USE;
bool store_keys_count(struct store *, uint64_t *count, struct error *) MUST_USE;
/* Inside store_begin/store_commit. */
bool store_key_put(struct store *, const struct api_key_row *, struct error *) MUST_USE;
bool store_key_remove(struct store *, struct slice id, struct error *) MUST_USE;
/* By itself: neither a revision nor a notification. Later times win. */
struct api_key_use {
    struct slice id;
    uint64_t at_us;
};
bool store_keys_used(struct store *, const struct api_key_use *, size_t count, struct error *) MUST_USE;

/* --- the gateways that share a store: those that can be shared (postgres://) only. By itself: neither a revision nor a notification --- */

bool store_is_shared(const struct store *);
struct store_gateway {
    struct slice id, name, version; /* valid during the visit; id: a UUID */
    uint64_t revision, started_us;
    uint64_t seen_ago_ms; /* by the store's clock; not looked at when it is written */
};
struct store_gateway_visitor {
    void (*gateway)(void *argument, const struct store_gateway *);
    void *argument;
};
/* This one was seen just now; those that were not for an hour go. */
bool store_gateway_beat(struct store *, const struct store_gateway *, struct error *) MUST_USE;
/* Those seen within `seconds`, by name. */
bool store_gateways_list(struct store *, unsigned seconds, const struct store_gateway_visitor *,
                         struct error *) MUST_USE;
bool store_gateway_remove(struct store *, struct slice id, struct error *) MUST_USE;

#endif
