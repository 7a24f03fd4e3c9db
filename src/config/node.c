#include "config/private.h"

#include <xxhash.h>

struct node *node_find(const struct node *map, const char *key)
{
    if (!map || map->kind != NODE_MAP) return NULL;
    struct slice wanted = slice_from_cstring(key);
    for (struct node *child = map->first; child; child = child->next) {
        if (slice_equal(child->key, wanted)) return child;
    }
    return NULL;
}

const struct node *node_item(const struct node *list, size_t index)
{
    if (!list || list->kind != NODE_LIST) return list;
    const struct node *item = list->first;
    for (; item && index > 0; index--) item = item->next;
    return item;
}

static size_t index_in_parent(const struct node *node)
{
    size_t index = 0;
    for (const struct node *sibling = node->parent->first; sibling && sibling != node; sibling = sibling->next) index++;
    return index;
}

/* '~' becomes "~0" and '/' becomes "~1" (RFC 6901 section 3). */
static struct slice escape_token(struct slice key, struct arena *arena)
{
    char *text = config_allocate(arena, 2 * key.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < key.length; i++) {
        char byte = key.at[i];
        if (byte != '~' && byte != '/') {
            text[length++] = byte;
            continue;
        }
        text[length++] = '~';
        text[length++] = byte == '~' ? '0' : '1';
    }
    return slice_of(text, length);
}

struct slice node_pointer(const struct node *node, struct arena *arena)
{
    struct slice pieces[2 * NODE_DEPTH_MAX + 4];
    size_t at = COUNT_OF(pieces);
    for (; node && node->parent; node = node->parent) {
        PROMISE(at >= 2);
        pieces[--at] = slice_is_absent(node->key) ? arena_format(arena, "%zu", index_in_parent(node))
                                                  : escape_token(node->key, arena);
        pieces[--at] = SLICE("/");
    }
    struct slice pointer = arena_join(arena, pieces + at, COUNT_OF(pieces) - at);
    PROMISE(pointer.at != NULL);
    return pointer;
}

/* Each kind of node hashes under a seed of its own, so that "" and null, [] and {} differ. */
static XXH128_hash_t hash_node(const struct node *);

static XXH128_hash_t hash_list(const struct node *list)
{
    XXH128_hash_t rolling[2] = { { 0, 0 }, { 0, 0 } };
    for (const struct node *item = list->first; item; item = item->next) {
        rolling[1] = hash_node(item);
        rolling[0] = XXH3_128bits_withSeed(rolling, sizeof rolling, NODE_LIST);
    }
    return XXH3_128bits_withSeed(rolling, sizeof rolling[0], NODE_LIST);
}

/* The sum of its entries' hashes: the order of keys does not show. */
static XXH128_hash_t hash_map(const struct node *map)
{
    unsigned __int128 sum = map->count;
    for (const struct node *child = map->first; child; child = child->next) {
        XXH128_hash_t entry[2] = { XXH3_128bits(child->key.at, child->key.length), hash_node(child) };
        XXH128_hash_t hash = XXH3_128bits_withSeed(entry, sizeof entry, NODE_MAP);
        sum += (unsigned __int128)hash.high64 << 64 | hash.low64;
    }
    return XXH3_128bits_withSeed(&sum, sizeof sum, NODE_MAP);
}

static XXH128_hash_t hash_node(const struct node *node)
{
    switch (node->kind) {
    case NODE_LIST: return hash_list(node);
    case NODE_MAP: return hash_map(node);
    case NODE_SCALAR: return XXH3_128bits_withSeed(node->text.at, node->text.length, NODE_SCALAR);
    default: return XXH3_128bits_withSeed("", 0, NODE_NULL);
    }
}

struct content_hash node_hash(const struct node *node)
{
    XXH128_hash_t hash = hash_node(node);
    return (struct content_hash){ { hash.low64, hash.high64 } };
}
