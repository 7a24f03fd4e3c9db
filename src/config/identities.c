/* Ids and names of resources: made where absent, refused where taken, found by either. */
#include "config/private.h"

#include "base/memory.h"
#include "base/nearest.h"

#include <xxhash.h>

struct slice id_from_content(struct arena *arena, const char *kind, struct slice content)
{
    XXH64_hash_t seed = XXH3_64bits(kind, strlen(kind));
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_withSeed(content.at, content.length, seed));
    bytes.digest[6] = (unsigned char)((bytes.digest[6] & 0x0F) | 0x80); /* version 8 */
    bytes.digest[8] = (unsigned char)((bytes.digest[8] & 0x3F) | 0x80); /* variant 10 */
    char text[36], *next = text;
    for (size_t i = 0; i < sizeof bytes.digest; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *next++ = '-';
        *next++ = "0123456789abcdef"[bytes.digest[i] >> 4];
        *next++ = "0123456789abcdef"[bytes.digest[i] & 15];
    }
    return arena_keep(arena, slice_of(text, sizeof text));
}

static const struct node *root_of(const struct node *node)
{
    while (node->parent) node = node->parent;
    return node;
}

/* "line 12", or where there are no lines the pointer, as seen from another place. */
static struct slice place_words(struct arena *arena, const struct node *first, const struct node *seen_from)
{
    if (first->key_line || first->line) return arena_format(arena, "line %u", first->line);
    if (root_of(first) == root_of(seen_from)) return node_pointer(first, arena);
    const struct node *id = node_find(root_of(first), "id");
    return id ? arena_format(arena, "%s", problems_excerpt(id->text).text) : SLICE("another document");
}

void refuse_twice(struct schema_reading *reading, const struct node *node, const char *what, struct slice text,
                  const struct node *first)
{
    problems_add(reading->problems, node, "take one away, or change it", "%s \"%s\" is already given in %.*s", what,
                 problems_excerpt(text).text, SLICE_PRINT(place_words(reading->arena, first, node)));
}

void identities_init(struct identities *identities, struct schema_reading *reading, struct configuration *configuration)
{
    *identities = (struct identities){ .reading = reading, .configuration = configuration };
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_init(&identities->taken[kind]);
}

void identities_release(struct identities *identities)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_release(&identities->taken[kind]);
}

static bool is_given(struct slice text) { return text.length > 0; }

#define STANDING_FIELDS_MAX 12

/* Of all of it, or of what says where it stands: as that is written. */
static struct content_hash hash_of_standing(const struct resource_type *type, const struct node *node)
{
    struct content_hash hashes[STANDING_FIELDS_MAX] = { 0 };
    size_t count = 0;
    if (!type->standing) return node_hash(node);
    for (; type->standing[count]; count++) {
        const struct node *field = node_find(node, type->standing[count]);
        PROMISE(count < STANDING_FIELDS_MAX);
        if (field) hashes[count] = node_hash(field);
    }
    XXH128_hash_t hash = XXH3_128bits(hashes, count * sizeof hashes[0]);
    return (struct content_hash){ { hash.low64, hash.high64 } };
}

static bool knows(const struct resource_directory *directory, const struct resource_type *type, struct slice id)
{
    return directory && !slice_is_absent(directory->find(directory->argument, resource_kind_of(type), id));
}

/* The number-th of those that stand in one place. */
static struct slice id_of_number(struct arena *arena, const struct resource_type *type, struct content_hash standing,
                                 uint64_t number)
{
    const uint64_t content[3] = { standing.words[0], standing.words[1], number };
    return id_from_content(arena, type->word, slice_of((const char *)content, sizeof content));
}

/* More than there are resources; a directory may say that it knows whatever it is asked for. */
#define NUMBER_MAX (UINT64_C(1) << 20)

/* Two without name and id that stand in one place are told apart by their order. Those before it have the numbers from 0 on, so that the first
 * free one is found by halves, however many there are. */
static struct slice make_id(struct arena *arena, const struct resource_directory *directory,
                            const struct resource_type *type, struct slice name, const struct node *node)
{
    if (is_given(name) && type->unique_names) return id_from_content(arena, type->word, name);
    struct content_hash standing = hash_of_standing(type, node);
    uint64_t taken = 0, free_number = 0; /* numbers below `taken` are */
    struct slice id = id_of_number(arena, type, standing, 0);
    while (knows(directory, type, id) && free_number < NUMBER_MAX) {
        taken = free_number + 1;
        free_number = free_number ? free_number * 2 : 1;
        id = id_of_number(arena, type, standing, free_number);
    }
    while (taken < free_number) {
        uint64_t middle = taken + (free_number - taken) / 2;
        struct slice candidate = id_of_number(arena, type, standing, middle);
        if (knows(directory, type, candidate)) {
            taken = middle + 1;
        } else {
            free_number = middle;
            id = candidate;
        }
    }
    return id;
}

void resource_identify(struct schema_reading *reading, const struct resource_directory *directory, struct slice new_id,
                       struct resource *resource)
{
    const struct resource_type *type = &resource_types[resource->kind];
    struct slice *id = resource_id_at(type, resource->config), *name = resource_name_at(type, resource->config);
    if (!is_given(*id)) {
        *id = slice_is_absent(new_id) ? make_id(reading->arena, directory, type, *name, resource->node)
                                      : arena_keep(reading->arena, new_id);
    }
    if (!is_given(*name)) *name = *id;
    resource->id = *id;
    resource->name = *name;
}

static struct identity *note(struct identities *identities, const struct node *node, struct slice id)
{
    struct identity *identity = config_allocate(identities->reading->arena, sizeof *identity);
    *identity = (struct identity){ .node = node, .id = id };
    return identity;
}

static void add_name(struct identities *identities, const struct resource *resource, const struct resource_type *type,
                     const struct node *place)
{
    struct map *taken = &identities->taken[resource->kind];
    const struct node *name_node = node_find(resource->node, type->name_field);
    const struct identity *first = map_find(taken, resource->name);
    const struct node *where = name_node ? name_node : resource->node;
    if (!first) {
        map_set(taken, resource->name, note(identities, where, resource->id));
        return;
    }
    if (first->node == place && slice_equal(first->id, resource->name)) return; /* its own id */
    char what[48];
    snprintf(what, sizeof what, "%s %s", type->word, type->name_field);
    refuse_twice(identities->reading, where, what, resource->name, first->node);
}

void identities_add(struct identities *identities, struct resource *resource)
{
    const struct resource_type *type = &resource_types[resource->kind];
    struct map *taken = &identities->taken[resource->kind];
    const struct node *id_node = node_find(resource->node, "id");
    const struct node *place = id_node ? id_node : resource->node;
    bool id_is_given = is_given(*resource_id_at(type, resource->config));
    struct resource_directory directory = identities_directory(identities);
    resource_identify(identities->reading, &directory, SLICE_ABSENT, resource);
    const struct identity *first = map_find(taken, resource->id); /* of a made one: that of the same name */
    char what[48];
    snprintf(what, sizeof what, "%s id", type->word);
    if (first && id_is_given)
        refuse_twice(identities->reading, place, what, resource->id, first->node);
    else if (!first)
        map_set(taken, resource->id, note(identities, place, resource->id));
    if (type->unique_names) add_name(identities, resource, type, place);
}

void identities_remove(struct identities *identities, const struct resource *resource)
{
    struct map *taken = &identities->taken[resource->kind];
    const struct slice keys[] = { resource->id, resource->name };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct identity *identity = map_find(taken, keys[i]);
        const struct node *root = identity ? identity->node : NULL;
        while (root && root != resource->node) root = root->parent;
        if (root) map_remove(taken, keys[i]);
    }
}

/* --- looking up --- */

static struct slice find(const void *argument, enum resource_kind kind, struct slice id_or_name)
{
    const struct identities *identities = argument;
    const struct identity *identity = map_find(&identities->taken[kind], id_or_name);
    return identity ? identity->id : SLICE_ABSENT;
}

/* Looking for a near name costs more than all other checks, so only a problem that will be listed gets it. */
static char *nearest(const void *argument, enum resource_kind kind, struct slice wanted)
{
    const struct identities *identities = argument;
    const struct resource_type *type = &resource_types[kind];
    const struct object_list *list = resource_list_at(type, identities->configuration);
    if (identities->reading->problems->count >= PROBLEMS_LISTED_MAX || list->count == 0) return NULL;
    const char **names = memory_allocate_array(list->count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct slice *name = resource_name_at(type, (char *)list->items + i * type->size);
        if (is_given(*name)) names[count++] = name->at;
    }
    const char *found = nearest_name(wanted, names, count);
    char *copy = found ? memory_copy_slice(slice_from_cstring(found)) : NULL;
    free(names);
    return copy;
}

struct resource_directory identities_directory(const struct identities *identities)
{
    return (struct resource_directory){ .find = find, .nearest = nearest, .argument = identities };
}
