#include "base/map.h"

#include "base/hash.h"
#include "base/memory.h"

/* An entry is free (key.at NULL), a tombstone (key.at set to this mark, value NULL) or live (value not NULL).
 * A search steps over tombstones and ends at a free entry; at most three quarters are not free. */
static const char tombstone[1];

#define CAPACITY_MIN 16

void map_init(struct map *map) { *map = (struct map){ 0 }; }

void map_release(struct map *map)
{
    size_t position = 0;
    struct map_entry *entry;
    while ((entry = map_next(map, &position))) free((char *)entry->key.at);
    free(map->entries);
    map_init(map);
}

static struct map_entry *find_entry(const struct map *map, struct slice key, uint64_t hash)
{
    if (map->capacity == 0) return NULL;
    size_t mask = map->capacity - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct map_entry *entry = &map->entries[at];
        if (!entry->key.at) return NULL;
        if (entry->value && entry->hash == hash && slice_equal(entry->key, key)) return entry;
    }
}

/* For a hash whose key is not in the map: the first entry on its way that can be used. */
static struct map_entry *usable_entry(const struct map *map, uint64_t hash)
{
    size_t mask = map->capacity - 1;
    size_t at = hash & mask;
    while (map->entries[at].value) at = (at + 1) & mask;
    return &map->entries[at];
}

/* Doubles when live entries need it; otherwise the same size merely sheds its tombstones. */
static void make_room(struct map *map)
{
    if ((map->count + map->tombstones + 1) * 4 <= map->capacity * 3) return;
    struct map old = *map;
    while ((map->count + 1) * 2 > map->capacity) map->capacity = map->capacity ? map->capacity * 2 : CAPACITY_MIN;
    map->entries = memory_allocate_array(map->capacity, sizeof *map->entries);
    map->tombstones = 0;
    size_t position = 0;
    struct map_entry *entry;
    while ((entry = map_next(&old, &position))) *usable_entry(map, entry->hash) = *entry;
    free(old.entries);
}

void *map_set(struct map *map, struct slice key, void *value)
{
    PROMISE(value != NULL);
    uint64_t hash = hash_keyed(hash_process_key(), key);
    struct map_entry *entry = find_entry(map, key, hash);
    if (entry) {
        void *before = entry->value;
        entry->value = value;
        return before;
    }
    make_room(map);
    entry = usable_entry(map, hash);
    if (entry->key.at) map->tombstones--;
    *entry = (struct map_entry){ .key = slice_of(memory_copy_slice(key), key.length), .hash = hash, .value = value };
    map->count++;
    return NULL;
}

void *map_find(const struct map *map, struct slice key)
{
    struct map_entry *entry = map->count ? find_entry(map, key, hash_keyed(hash_process_key(), key)) : NULL;
    return entry ? entry->value : NULL;
}

void *map_remove(struct map *map, struct slice key)
{
    struct map_entry *entry = map->count ? find_entry(map, key, hash_keyed(hash_process_key(), key)) : NULL;
    if (!entry) return NULL;
    void *value = entry->value;
    free((char *)entry->key.at);
    *entry = (struct map_entry){ .key = slice_of(tombstone, 0) };
    map->count--;
    map->tombstones++;
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *position)
{
    while (*position < map->capacity) {
        struct map_entry *entry = &map->entries[(*position)++];
        if (entry->value) return entry;
    }
    return NULL;
}
