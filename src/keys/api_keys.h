/* keys/api_keys.h: who an API key belongs to: an index by SHA-256 in memory, bounded, over the store.
 *
 * Up to `bytes_max` (setting apiKeyMemory) every key is in the index and an absent one is unknown at once: the index is *whole*. Beyond
 * that it is a cache: what is not in it is asked of the store (key_lookups.h), and both answers are kept: a key for as long as there is
 * room (the ones used least go first), "unknown" for 10 s at most, in a small share of the memory, so that whoever sends made-up keys
 * pushes no real one out. With the store away, a cache's answers are used for at most 60 s beyond the last time the store was heard of;
 * a whole index goes on.
 *
 * Threads: readers are the workers, each by its own index. A look-up takes no lock, reads shared memory that nobody writes meanwhile,
 * waits for that once as a rule (key_place.c), and what it returns holds until the reader's next api_keys_quiesce(), once a loop turn. The
 * writer is one thread at a time: with a store that of key_lookups.h, else the builder. A worker never waits for it, nor it for a
 * worker: memory that a reader may look at is used again once all readers have been quiet.
 *
 * 92 to 115 bytes a key whose client id is a UUID or short (the more where there is room: see key_place.c); each distinct longer text
 * (client ids, sets of scopes) once.
 *
 * Secrets: the index holds hashes only. They are compared with memcmp: how long that takes tells at most how much of SHA-256(guess)
 * agrees with a stored hash, and who learned a whole hash that way would still need a text that has it. The table is keyed by the
 * process, so that texts whose hashes begin alike, which can be ground, do not pile up in it. */
#ifndef SLUICE_KEYS_API_KEYS_H
#define SLUICE_KEYS_API_KEYS_H

#include "base/error.h"
#include "base/slice.h"
#include "store/store.h"

struct api_keys;

enum api_key_found {
    API_KEY_FOUND,
    API_KEY_DISABLED, /* it is there, but switched off */
    API_KEY_EXPIRED,  /* it is there, but its time, or the overlap after its rotation, is over */
    API_KEY_UNKNOWN,  /* there is no such key */
    API_KEY_ASK,      /* not in memory, or in doubt: key_lookups_ask(), then look again */
    API_KEY_AWAY,     /* it would have to be asked for, and the store is away: 503, not 401 */
    API_KEY_FOUND_COUNT
};
/* "found", "disabled", "expired", "unknown", "ask", "away". */
extern const char *const api_key_found_words[API_KEY_FOUND_COUNT];

#define API_KEY_UUID_BYTES 37 /* its text, with a NUL */

/* What was found. Slices and pointers are the index's: until the reader's next quiescent point. */
struct api_key {
    const uint8_t *hash;    /* API_KEY_HASH_BYTES */
    const uint8_t *id;      /* 16 bytes of the UUID */
    uint64_t expires_at_us; /* the earlier of its expiry and the end of its rotation's overlap; 0: never */
    struct slice scopes;    /* separated by single spaces */
    uint8_t tier;           /* enum api_key_tier */
    bool enabled;
    bool client_is_uuid;       /* internal */
    uint32_t number;           /* internal */
    struct slice client_bytes; /* internal */
};

struct api_keys_options {
    uint64_t bytes_max; /* of all that this index holds but the readers' rings (48 KiB each); at least 1 MiB is used */
    unsigned readers;   /* workers */
};

/* Reserves address space for bytes_max; pages come with use. NULL: *error. */
struct api_keys *api_keys_create(const struct api_keys_options *, struct error *);
void api_keys_destroy(struct api_keys *); /* readers and writer have ended */

/* --- readers: each worker by its index --- */

/* *key is filled where there is one (FOUND, DISABLED, EXPIRED). now_us: wall clock since 1970. */
enum api_key_found api_keys_find(struct api_keys *, unsigned reader, const uint8_t hash[API_KEY_HASH_BYTES],
                                 uint64_t now_us, struct api_key *key);
/* The texts of what was found, while it holds: in the index, or written into `into`. */
struct slice api_key_client_id(const struct api_key *, char into[API_KEY_UUID_BYTES]);
struct slice api_key_id(const struct api_key *, char into[API_KEY_UUID_BYTES]);
/* Notes a use, at most one a key and minute, to be written in batches (api_keys_take_uses). Never blocks; forgets where the batches are
 * not fetched as fast as they fill. Before the next quiescent point, as `key` is looked at. */
void api_keys_note_use(struct api_keys *, unsigned reader, const struct api_key *, uint64_t now_us);
/* The reader holds nothing that it found. */
void api_keys_quiesce(struct api_keys *, unsigned reader);

/* --- writer: one thread at a time --- */

enum api_key_keep {
    API_KEY_KEEP,         /* others may have to go */
    API_KEY_KEEP_IF_ROOM, /* what is there stays; one that is in the index already is brought up to date */
};

/* Makes room for so many at once, as far as bytes_max allows: spares the growing. */
void api_keys_reserve(struct api_keys *, uint64_t count);
/* New, or in place of the one with its id or hash. False: not kept; then the index is not whole (any more). */
bool api_keys_put(struct api_keys *, const struct api_key_row *, enum api_key_keep);
/* The store has no such key: believed for 10 s. With `failed`: it could not say; AWAY for 1 s. */
void api_keys_put_absent(struct api_keys *, const uint8_t hash[API_KEY_HASH_BYTES], bool failed, uint64_t now_us);
/* By id, a UUID. False: it was not in the index. */
bool api_keys_remove(struct api_keys *, struct slice id);
/* This one was changed, it is not known how: ASK until it is put again or removed. False: it is not in the index. */
bool api_keys_doubt(struct api_keys *, struct slice id);
/* What was put is what all keys were when the store was heard of last: believed until api_keys_distrust(), however long that takes, as what
 * a whole index has; but an absent one may have been made since. */
void api_keys_trust_copy(struct api_keys *);
/* Something was missed: nothing that is in the index is believed until it was put again, and it is not whole. O(1). */
void api_keys_distrust(struct api_keys *);
/* Between these two every key of the store is put; what was not is then taken out, in the second call. The index is whole afterwards if
 * `complete` and nothing had to be left out. Doesn't touch what is believed meanwhile. */
void api_keys_load_begin(struct api_keys *);
void api_keys_load_end(struct api_keys *, bool complete);
bool api_keys_is_whole(const struct api_keys *);
/* Frees what no reader can see any more; the other calls do so too. */
void api_keys_reclaim(struct api_keys *);
/* As api_keys_find(), for the writer. */
enum api_key_found api_keys_peek(struct api_keys *, const uint8_t hash[API_KEY_HASH_BYTES], uint64_t now_us);
/* The uses noted, oldest first of each reader; their ids hold until the next call. One thread at a time. */
#define API_KEY_USES_AT_ONCE 512
size_t api_keys_take_uses(struct api_keys *, struct api_key_use into[API_KEY_USES_AT_ONCE]);

/* --- any thread --- */

/* Who follows the store's changes says once a second or oftener whether it can: revocations before heard_us have been told, that is when
 * the store was asked last what there is, and answered. */
void api_keys_store_heard(struct api_keys *, uint64_t heard_us, bool is_there);
/* Whether look-ups in the store are answered at present: false makes ASK AWAY. */
void api_keys_set_answering(struct api_keys *, bool answering);

struct api_keys_figures {
    uint64_t keys, absent; /* in the index; absent: hashes known to have no key */
    uint64_t bytes, bytes_max;
    uint64_t evicted, uses_forgotten;
    uint64_t found[API_KEY_FOUND_COUNT]; /* outcomes of look-ups */
    bool is_whole;
};
void api_keys_figures(struct api_keys *, struct api_keys_figures *);

/* --- the key's text: any thread --- */

/* To its hash, in one place. */
void api_key_hash(struct slice text, uint8_t hash[API_KEY_HASH_BYTES]);
#define API_KEY_TEXT_BYTES 43
/* 43 random base62 characters (256 bits), NUL-terminated. False: no entropy. */
bool api_key_generate(char into[API_KEY_TEXT_BYTES + 1]) MUST_USE;

/* The text of a UUID to its 16 bytes, in either case of letters. False: it is none. */
bool api_key_uuid_parse(struct slice text, uint8_t into[16]) MUST_USE;
void api_key_uuid_write(const uint8_t uuid[16], char into[API_KEY_UUID_BYTES]);

#endif
