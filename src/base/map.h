/* base/map.h: from a byte string to a pointer. Open addressing under SipHash with a key of the process, so that
 * names chosen by an attacker do not pile up. Copies its keys, not what the values point at. Control plane only. */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include "base/slice.h"

struct map_entry {
    struct slice key; /* owned by the map */
    uint64_t hash;
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t count, tombstones, capacity; /* capacity is a power of two or 0 */
};

void map_init(struct map *);
void map_release(struct map *);
/* The old value, or NULL where the key was new. `value` must not be NULL. */
void *map_set(struct map *, struct slice key, void *value);
void *map_find(const struct map *, struct slice key); /* NULL where absent */
void *map_remove(struct map *, struct slice key);     /* what was there, or NULL */
/* Walks in no particular order: start with *position = 0; NULL at the end. Nothing may be set meanwhile. */
struct map_entry *map_next(const struct map *, size_t *position);

#endif
