/* snapshot/transports.c: what services' configurations make of their transports: equal ones have one together, found by the hash of all
 * that it is made of. The builder holds one reference to each; what nobody else holds goes at the next load. */
#include "snapshot/private.h"

#include <xxhash.h>

/* What a configuration says of a transport. */
struct transport_words {
    uint8_t version;
};

static struct transport_words words_of(const struct service_config *config)
{
    struct transport_words words;
    memset(&words, 0, sizeof words); /* the gaps are hashed too */
    words.version = config->http_version == SERVICE_HTTP_2 ? TRANSPORT_HTTP_2 : TRANSPORT_HTTP_1;
    return words;
}

struct transport *transport_for(struct snapshot_builder *builder, const struct service_config *config)
{
    struct transport_words words = words_of(config);
    XXH128_hash_t hash = XXH3_128bits(&words, sizeof words);
    struct content_hash key = { { hash.low64, hash.high64 } };
    struct slice key_bytes = slice_of((const char *)&key, sizeof key);
    struct transport *transport = map_find(&builder->transports, key_bytes);
    if (!transport) {
        transport = transport_create(&key, words.version);
        map_set(&builder->transports, key_bytes, transport);
    }
    return transport_retain(transport);
}

static void remove_transport(struct snapshot_builder *builder, struct transport *transport)
{
    map_remove(&builder->transports, slice_of((const char *)&transport->key, sizeof transport->key));
    transport_drop(transport);
}

/* Nobody takes a new reference to one that only the builder holds, but by transport_for. */
void transports_collect(struct snapshot_builder *builder)
{
    struct vector unused;
    vector_init(&unused, sizeof(void *));
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->transports, &position); entry;
         entry = map_next(&builder->transports, &position)) {
        if (!transport_is_shared(entry->value)) vector_push_pointer(&unused, entry->value);
    }
    for (size_t i = 0; i < unused.count; i++) remove_transport(builder, vector_pointer_at(&unused, i));
    vector_release(&unused);
}
