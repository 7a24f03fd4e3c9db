/* A table of chains, with about as many buckets as there may be entries. */
#include "filters/decision_cache.h"

#include "base/hash.h"

#include <stdlib.h>

struct cached_decision {
    struct list_link link; /* by_use */
    struct cached_decision *next;
    uint64_t hash, until_ms;
    size_t bytes; /* of the whole block */
    struct slice key;
    struct decision decision;
    struct decision_header headers[]; /* and behind them all texts */
};

#define BUCKETS_MAX ((size_t)1 << 16)

bool decision_cache_init(struct decision_cache *cache, size_t entries_max, size_t bytes_max)
{
    *cache = (struct decision_cache){ .entries_max = entries_max, .bytes_max = bytes_max, .bucket_count = 16 };
    list_init(&cache->by_use);
    while (cache->bucket_count < entries_max && cache->bucket_count < BUCKETS_MAX) cache->bucket_count *= 2;
    cache->buckets = calloc(cache->bucket_count, sizeof(struct cached_decision *));
    return cache->buckets != NULL;
}

static struct cached_decision **place_of(const struct decision_cache *cache, struct slice key, uint64_t hash)
{
    struct cached_decision **at = &cache->buckets[hash & (cache->bucket_count - 1)];
    while (*at && !((*at)->hash == hash && slice_equal((*at)->key, key))) at = &(*at)->next;
    return at;
}

static void take_off(struct decision_cache *cache, struct cached_decision **at)
{
    struct cached_decision *entry = *at;
    PROMISE(entry != NULL);
    *at = entry->next;
    list_remove(&entry->link);
    cache->count--;
    cache->bytes -= entry->bytes;
    free(entry);
}

static void drop_oldest(struct decision_cache *cache)
{
    struct list_link *link = list_first(&cache->by_use);
    const struct cached_decision *entry = CONTAINER_OF(link, struct cached_decision, link);
    take_off(cache, place_of(cache, entry->key, entry->hash));
}

void decision_cache_release(struct decision_cache *cache)
{
    while (cache->count > 0) drop_oldest(cache);
    free(cache->buckets);
    cache->buckets = NULL;
}

const struct decision *decision_cache_find(struct decision_cache *cache, struct slice key, uint64_t now_ms)
{
    struct cached_decision **at = place_of(cache, key, hash_keyed(hash_process_key(), key));
    struct cached_decision *entry = *at;
    if (!entry) return NULL;
    if (now_ms >= entry->until_ms) {
        take_off(cache, at);
        return NULL;
    }
    list_remove(&entry->link);
    list_push_back(&cache->by_use, &entry->link);
    return &entry->decision;
}

const struct decision *decision_cache_peek(const struct decision_cache *cache, struct slice key, uint64_t now_ms,
                                           uint64_t *until_ms)
{
    const struct cached_decision *entry = *place_of(cache, key, hash_keyed(hash_process_key(), key));
    if (!entry || now_ms >= entry->until_ms) return NULL;
    *until_ms = entry->until_ms;
    return &entry->decision;
}

static size_t bytes_of(struct slice key, const struct decision *decision)
{
    size_t bytes = sizeof(struct cached_decision) + decision->header_count * sizeof(struct decision_header) +
                   key.length + decision->content_type.length + decision->body.length;
    for (uint32_t i = 0; i < decision->header_count; i++)
        bytes += decision->headers[i].name.length + decision->headers[i].value.length;
    return bytes;
}

static struct slice put_text(char **next, struct slice text)
{
    struct slice copy = slice_of(*next, text.length);
    if (slice_is_absent(text)) return SLICE_ABSENT;
    if (text.length) memcpy(*next, text.at, text.length);
    *next += text.length;
    return copy;
}

static void fill(struct cached_decision *entry, struct slice key, const struct decision *decision)
{
    char *next = (char *)(entry->headers + decision->header_count);
    entry->key = put_text(&next, key);
    entry->decision = *decision;
    entry->decision.headers = entry->headers;
    entry->decision.content_type = put_text(&next, decision->content_type);
    entry->decision.body = put_text(&next, decision->body);
    for (uint32_t i = 0; i < decision->header_count; i++) {
        const struct decision_header *header = &decision->headers[i];
        struct slice name = put_text(&next, header->name), value = put_text(&next, header->value);
        entry->headers[i] = (struct decision_header){ name, value, header->uses };
    }
}

void decision_cache_put(struct decision_cache *cache, struct slice key, const struct decision *decision,
                        uint64_t until_ms)
{
    uint64_t hash = hash_keyed(hash_process_key(), key);
    struct cached_decision **at = place_of(cache, key, hash);
    if (*at) take_off(cache, at);
    size_t bytes = bytes_of(key, decision);
    /* One answer may not push all others out. */
    struct cached_decision *entry = bytes <= cache->bytes_max / 4 ? malloc(bytes) : NULL;
    if (!entry) return;
    while (cache->count > 0 && (cache->count >= cache->entries_max || cache->bytes + bytes > cache->bytes_max))
        drop_oldest(cache);
    fill(entry, key, decision);
    entry->hash = hash;
    entry->until_ms = until_ms;
    entry->bytes = bytes;
    at = &cache->buckets[hash & (cache->bucket_count - 1)];
    entry->next = *at;
    *at = entry;
    list_push_back(&cache->by_use, &entry->link);
    cache->count++;
    cache->bytes += bytes;
}
