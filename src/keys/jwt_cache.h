/* keys/jwt_cache.h: tokens that were verified lately, so that the same one again costs a look-up.
 *
 * One a worker, on its thread alone. Found by a keyed hash of the token's last bytes and then compared whole: nobody but who holds verified tokens
 * gets anything in, so no choice of tokens makes buckets long. Bounded in entries and bytes; in a full bucket the one used longest ago goes.
 * An entry ends with the token (exp) and JWT_CACHED_MS_MAX after it was verified. Which keys it was verified with it says: the caller
 * compares, so a change of keys drops it.
 *
 * An entry that was found or put belongs to the finder, beside the cache, until jwt_entry_drop(): its texts hold that long, and to the end of the
 * loop's turn in which it was dropped. */
#ifndef SLUICE_KEYS_JWT_CACHE_H
#define SLUICE_KEYS_JWT_CACHE_H

#include "event/loop.h"
#include "keys/jwt.h"

#define JWT_CACHED_MS_MAX 300000
#define JWT_CACHE_ENTRIES_MAX 32768
#define JWT_CACHE_BYTES_MAX (32u << 20)

/* What a token was verified for: two policies of one digest ask for the same. */
struct jwt_policy_digest {
    uint64_t words[2];
};

struct jwt_entry {
    struct jwt_subject subject;
    struct json_value claims; /* an object */
    uint64_t keys_version;    /* key_set_version() */
    uint32_t issuer;          /* which of the policy's */
    /* Internal. */
    uint32_t references;
    struct jwt_policy_digest policy;
    struct slice token;
    int64_t expires_s;
    uint64_t ends_ms, used_ms;
    size_t bytes;
    struct retired retired;
};

struct jwt_cache_limits {
    uint32_t entries_max; /* a power of two, at least 8 */
    size_t bytes_max;
};

struct jwt_cache;

/* Takes no memory to speak of before the first entry. NULL: out of memory. */
struct jwt_cache *jwt_cache_create(struct loop *, const struct jwt_cache_limits *);
/* Every entry was dropped. */
void jwt_cache_destroy(struct jwt_cache *);

/* The entry, to be dropped; NULL: there is none that still holds. */
struct jwt_entry *jwt_cache_find(struct jwt_cache *, struct slice token, const struct jwt_policy_digest *);
/* Copies all it is given. The entry, to be dropped; NULL: out of memory, or larger than a cache is for. `subject` and the claims then serve
 * for themselves. */
struct jwt_entry *jwt_cache_put(struct jwt_cache *, struct slice token, const struct jwt_policy_digest *,
                                const struct jwt_subject *, const struct json_value *claims, uint32_t issuer,
                                uint64_t keys_version);
/* It doesn't hold any more: nobody finds it again. It stays the caller's, to be dropped. */
void jwt_cache_forget(struct jwt_cache *, struct jwt_entry *);
void jwt_entry_drop(struct jwt_cache *, struct jwt_entry *);

size_t jwt_cache_count(const struct jwt_cache *);
size_t jwt_cache_bytes(const struct jwt_cache *);

#endif
