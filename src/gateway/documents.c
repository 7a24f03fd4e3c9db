/* gateway/documents.c: see documents.h. */
#include "gateway/documents.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/memory.h"

/* --- from the catalog --- */

void documents_hold(struct held_documents *held, struct catalog *catalog)
{
    *held = (struct held_documents){ 0 };
    held->entries = catalog_all(catalog, &held->count, &held->revision);
    held->texts = memory_allocate_array(held->count + 1, sizeof *held->texts);
    for (size_t i = 0; i < held->count; i++) {
        struct document_list *list = &held->lists[held->entries[i]->kind];
        if (list->count++ == 0) list->items = &held->texts[i];
        held->texts[i] = held->entries[i]->document;
    }
}

void documents_let_go(struct held_documents *held)
{
    for (size_t i = 0; i < held->count; i++) catalog_entry_drop(held->entries[i]);
    free(held->entries);
    free(held->texts);
}

/* --- from a configuration --- */

/* Ids by id and by name, as far as documents were read: what is referred to comes first. */
struct known {
    struct map by_id[RESOURCE_KIND_COUNT], by_name[RESOURCE_KIND_COUNT]; /* struct catalog_entry */
};

static struct slice find_known(const void *argument, enum resource_kind kind, struct slice id_or_name)
{
    const struct known *known = argument;
    const struct catalog_entry *entry = map_find(&known->by_id[kind], id_or_name);
    if (!entry) entry = map_find(&known->by_name[kind], id_or_name);
    return entry ? entry->id : SLICE_ABSENT;
}

static void note_known(struct known *known, struct catalog_entry *entry)
{
    map_set(&known->by_id[entry->kind], entry->id, entry);
    if (entry->name.length > 0) map_set(&known->by_name[entry->kind], entry->name, entry);
}

/* NULL: it does not read, which says that the document was not written as it should have been; it is left out. */
static struct catalog_entry *read_document(const struct policy_kinds *kinds, const struct known *known,
                                           enum resource_kind kind, struct slice document, uint64_t created_us)
{
    struct arena arena;
    struct problems problems;
    struct resource resource;
    struct catalog_entry *entry = NULL;
    struct resource_directory directory = { .find = find_known, .argument = known };
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct schema_reading reading = { .arena = &arena, .problems = &problems, .kinds = kinds, .folder = "/" };
    const struct node *node = node_read_json(&arena, document, NULL, &problems);
    if (node && resource_read(&reading, kind, node, SLICE_ABSENT, &directory, &resource))
        entry = catalog_entry_create(&resource, document, created_us, created_us);
    problems_release(&problems);
    arena_release(&arena);
    return entry;
}

static void read_kind(struct vector *entries, struct configuration *configuration, const struct policy_kinds *kinds,
                      struct known *known, enum resource_kind kind, uint64_t now_us)
{
    struct document_list list = configuration_documents(configuration, kinds, kind);
    for (size_t i = 0; i < list.count; i++) {
        struct catalog_entry *entry = read_document(kinds, known, kind, list.items[i], now_us + i);
        if (!entry) continue;
        vector_push_pointer(entries, entry);
        note_known(known, entry);
    }
}

struct vector documents_of(struct configuration *configuration, const struct policy_kinds *kinds)
{
    struct vector entries;
    struct known known;
    uint64_t now_us = clock_wall_ns() / 1000;
    vector_init(&entries, sizeof(struct catalog_entry *));
    for (enum resource_kind kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_init(&known.by_id[kind]);
        map_init(&known.by_name[kind]);
    }
    for (enum resource_kind kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        if (kind != RESOURCE_API_KEY) read_kind(&entries, configuration, kinds, &known, kind, now_us);
    }
    for (enum resource_kind kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_release(&known.by_id[kind]);
        map_release(&known.by_name[kind]);
    }
    return entries;
}
