/* keys/key_source.c: a store as the source of keys. */
#include "base/memory.h"
#include "keys/key_lookups.h"
#include "store/copy.h"

struct store_source {
    struct store_settings settings;
    char *location;
    struct store *store; /* NULL: could not be opened yet */
};

static bool is_open(struct store_source *source, struct error *error)
{
    if (!source->store) source->store = store_open(&source->settings, error);
    return source->store != NULL;
}

static bool find(void *argument, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *visitor,
                 struct error *error)
{
    struct store_source *source = argument;
    return is_open(source, error) && store_key_find(source->store, hash, visitor, error);
}

static bool get(void *argument, struct slice id, const struct api_key_visitor *visitor, struct error *error)
{
    struct store_source *source = argument;
    return is_open(source, error) && store_key_get(source->store, id, visitor, error);
}

static bool list(void *argument, uint64_t after_us, struct slice after_id, size_t limit,
                 const struct api_key_visitor *visitor, struct error *error)
{
    struct store_source *source = argument;
    return is_open(source, error) && store_keys_page(source->store, after_us, after_id, limit, visitor, error);
}

static bool count_keys(void *argument, uint64_t *count, struct error *error)
{
    struct store_source *source = argument;
    return is_open(source, error) && store_keys_count(source->store, count, error);
}

static bool note_uses(void *argument, const struct api_key_use *uses, size_t count, struct error *error)
{
    struct store_source *source = argument;
    return is_open(source, error) && store_keys_used(source->store, uses, count, error);
}

/* By a connection of its own: a million keys take seconds, and look-ups go on meanwhile. */
static bool write_copy(void *argument, const char *path, uint64_t keys_max, struct error *error)
{
    const struct store_source *source = argument;
    struct store *store = store_open(&source->settings, error);
    if (!store) return false;
    bool ok = copy_write_keys(path, store, keys_max, error);
    store_close(store);
    return ok;
}

static void close_source(void *argument)
{
    struct store_source *source = argument;
    if (source->store) store_close(source->store);
    free(source->location);
    free(source);
}

struct key_source key_source_of_store(const struct store_settings *settings)
{
    struct store_source *source = memory_allocate(sizeof *source);
    source->location = memory_copy_slice(slice_from_cstring(settings->location));
    source->settings = *settings;
    source->settings.location = source->location;
    return (struct key_source){
        .find = find,
        .get = get,
        .list = list,
        .count = count_keys,
        .note_uses = note_uses,
        .write_copy = write_copy,
        .close = close_source,
        .argument = source,
    };
}
