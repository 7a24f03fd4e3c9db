/* keys/jwt_cache.c: see jwt_cache.h.
 *
 * A table of buckets of eight places, each a hash and a pointer: two cache lines a look-up, and the entry's own. The last bytes of a token are its
 * signature, as good as random and never twice the same for two tokens; hashing all of it would cost more than all the rest. */
#include "keys/jwt_cache.h"

#include "base/hash.h"

#define BUCKET 8
#define HASHED_BYTES 64 /* from the token's end */
#define ENTRY_BYTES_MAX 65536

struct place {
    uint64_t hash;
    struct jwt_entry *entry; /* NULL: free */
};

struct jwt_cache {
    struct loop *loop;
    struct jwt_cache_limits limits;
    struct place *places; /* NULL: nothing was put yet */
    const struct hash_key *key;
    size_t count, bytes;
    uint32_t hand; /* the bucket that is looked over next */
};

struct jwt_cache *jwt_cache_create(struct loop *loop, const struct jwt_cache_limits *limits)
{
    PROMISE(limits->entries_max >= BUCKET && (limits->entries_max & (limits->entries_max - 1)) == 0);
    struct jwt_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    cache->loop = loop;
    cache->limits = *limits;
    cache->key = hash_process_key();
    return cache;
}

/* --- entries --- */

static void destroy_entry(struct retired *retired) { free(CONTAINER_OF(retired, struct jwt_entry, retired)); }

void jwt_entry_drop(struct jwt_cache *cache, struct jwt_entry *entry)
{
    if (--entry->references == 0) loop_retire(cache->loop, &entry->retired, destroy_entry);
}

static void clear_place(struct jwt_cache *cache, struct place *place)
{
    struct jwt_entry *entry = place->entry;
    place->entry = NULL;
    cache->count--;
    cache->bytes -= entry->bytes;
    jwt_entry_drop(cache, entry);
}

static bool has_ended(const struct jwt_cache *cache, const struct jwt_entry *entry)
{
    return cache->loop->now_ms >= entry->ends_ms || (int64_t)(cache->loop->wall_ns / 1000000000) >= entry->expires_s;
}

/* --- places --- */

static uint64_t hash_of(const struct jwt_cache *cache, struct slice token)
{
    size_t skipped = token.length > HASHED_BYTES ? token.length - HASHED_BYTES : 0;
    return hash_keyed(cache->key, slice_after(token, skipped));
}

static struct place *bucket_at(const struct jwt_cache *cache, uint64_t number)
{
    uint32_t buckets = cache->limits.entries_max / BUCKET;
    return &cache->places[(number & (buckets - 1)) * BUCKET];
}

static bool is_meant(const struct jwt_entry *entry, struct slice token, const struct jwt_policy_digest *policy)
{
    return entry->policy.words[0] == policy->words[0] && entry->policy.words[1] == policy->words[1] &&
           slice_equal(entry->token, token);
}

static struct place *find_place(const struct jwt_cache *cache, uint64_t hash, struct slice token,
                                const struct jwt_policy_digest *policy)
{
    struct place *bucket = bucket_at(cache, hash);
    for (unsigned i = 0; i < BUCKET; i++) {
        if (bucket[i].hash == hash && bucket[i].entry && is_meant(bucket[i].entry, token, policy)) return &bucket[i];
    }
    return NULL;
}

struct jwt_entry *jwt_cache_find(struct jwt_cache *cache, struct slice token, const struct jwt_policy_digest *policy)
{
    if (UNLIKELY(!cache->places)) return NULL;
    struct place *place = find_place(cache, hash_of(cache, token), token, policy);
    if (!place) return NULL;
    if (UNLIKELY(has_ended(cache, place->entry))) {
        clear_place(cache, place);
        return NULL;
    }
    place->entry->used_ms = cache->loop->now_ms;
    place->entry->references++;
    return place->entry;
}

void jwt_cache_forget(struct jwt_cache *cache, struct jwt_entry *entry)
{
    struct place *place = find_place(cache, hash_of(cache, entry->token), entry->token, &entry->policy);
    if (place && place->entry == entry) clear_place(cache, place);
}

/* --- room --- */

/* A free one of the bucket, or the one used longest ago. */
static struct place *longest_ago(struct place *bucket)
{
    struct place *oldest = &bucket[0];
    for (unsigned i = 0; i < BUCKET; i++) {
        if (!bucket[i].entry) return &bucket[i];
        if (bucket[i].entry->used_ms < oldest->entry->used_ms) oldest = &bucket[i];
    }
    return oldest;
}

/* What has ended in the next bucket goes, so that it doesn't wait for somebody who wants its place. */
static void look_over(struct jwt_cache *cache)
{
    struct place *bucket = bucket_at(cache, cache->hand++);
    for (unsigned i = 0; i < BUCKET; i++) {
        if (bucket[i].entry && has_ended(cache, bucket[i].entry)) clear_place(cache, &bucket[i]);
    }
}

/* In the buckets' order, of each the one used longest ago. */
static void make_room(struct jwt_cache *cache, size_t bytes)
{
    while (cache->count > 0 && cache->bytes + bytes > cache->limits.bytes_max) {
        struct place *bucket = bucket_at(cache, cache->hand++), *oldest = NULL;
        for (unsigned i = 0; i < BUCKET; i++) {
            if (bucket[i].entry && (!oldest || bucket[i].entry->used_ms < oldest->entry->used_ms)) oldest = &bucket[i];
        }
        if (oldest) clear_place(cache, oldest);
    }
}

/* --- putting --- */

static size_t rounded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static struct slice copy(char **at, struct slice text)
{
    if (slice_is_absent(text)) return text;
    char *start = *at;
    memcpy(start, text.at, text.length);
    *at += text.length;
    return slice_of(start, text.length);
}

/* The struct, the claims' tree and the texts in one block. */
static struct jwt_entry *make_entry(struct slice token, const struct jwt_subject *subject,
                                    const struct json_value *claims)
{
    size_t tree = json_copied_bytes(claims), head = rounded(sizeof(struct jwt_entry));
    size_t bytes = head + tree + token.length + subject->user_id.length + subject->client_id.length +
                   subject->scopes.length + subject->issuer.length;
    struct jwt_entry *entry = bytes <= ENTRY_BYTES_MAX ? malloc(bytes) : NULL;
    if (!entry) return NULL;
    *entry = (struct jwt_entry){ .bytes = bytes, .expires_s = subject->expires_s };
    char *at = (char *)entry + head;
    json_copy_tree(claims, at, &entry->claims);
    at += tree;
    entry->token = copy(&at, token);
    entry->subject = (struct jwt_subject){ .expires_s = subject->expires_s };
    entry->subject.user_id = copy(&at, subject->user_id);
    entry->subject.client_id = copy(&at, subject->client_id);
    entry->subject.scopes = copy(&at, subject->scopes);
    entry->subject.issuer = copy(&at, subject->issuer);
    return entry;
}

static bool has_places(struct jwt_cache *cache)
{
    if (!cache->places) cache->places = calloc(cache->limits.entries_max, sizeof *cache->places);
    return cache->places != NULL;
}

struct jwt_entry *jwt_cache_put(struct jwt_cache *cache, struct slice token, const struct jwt_policy_digest *policy,
                                const struct jwt_subject *subject, const struct json_value *claims, uint32_t issuer,
                                uint64_t keys_version)
{
    struct jwt_entry *entry = has_places(cache) ? make_entry(token, subject, claims) : NULL;
    if (!entry) return NULL;
    entry->policy = *policy;
    entry->issuer = issuer;
    entry->keys_version = keys_version;
    entry->references = 1;
    entry->used_ms = cache->loop->now_ms;
    entry->ends_ms = cache->loop->now_ms + JWT_CACHED_MS_MAX;
    if (entry->bytes > cache->limits.bytes_max || has_ended(cache, entry)) return entry; /* the caller's alone */
    uint64_t hash = hash_of(cache, token);
    struct place *place = find_place(cache, hash, token, policy);
    if (place) clear_place(cache, place);
    look_over(cache);
    make_room(cache, entry->bytes);
    place = longest_ago(bucket_at(cache, hash));
    if (place->entry) clear_place(cache, place);
    *place = (struct place){ hash, entry };
    entry->references++;
    cache->count++;
    cache->bytes += entry->bytes;
    return entry;
}

/* --- the end --- */

void jwt_cache_destroy(struct jwt_cache *cache)
{
    if (!cache) return;
    for (uint32_t i = 0; cache->places && i < cache->limits.entries_max; i++) {
        if (!cache->places[i].entry) continue;
        PROMISE(cache->places[i].entry->references == 1);
        free(cache->places[i].entry);
    }
    free(cache->places);
    free(cache);
}

size_t jwt_cache_count(const struct jwt_cache *cache) { return cache->count; }
size_t jwt_cache_bytes(const struct jwt_cache *cache) { return cache->bytes; }
