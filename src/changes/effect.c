/* changes/effect.c: what a draft means for the gateway: the services and routes that are to be compiled anew, and what goes.
 *
 * Each document is read again into the change's own arena, for compiled things point into it. Its node gets a place: where the order's body
 * has it, so that what the compiler finds is told there; else /routes/<id>. */
#include "changes/private.h"

#include "base/memory.h"
#include "config/doubles.h"

struct effect {
    struct draft *draft;
    const struct effect_options *options;
    struct configuration_change *change;
    struct schema_reading reading;
    struct map included[RESOURCE_KIND_COUNT];   /* by id: the draft */
    struct vector entries[RESOURCE_KIND_COUNT]; /* struct catalog_entry *, one reference each, in order of age */
    struct node *places;                        /* a map of maps by kind: the parents of nodes that no body has */
    uint64_t youngest_us;                       /* of all routes in the catalog */
    bool concerns;                              /* the gateway acts on something of it */
    bool failed;
};

static struct arena *arena_of(struct effect *effect) { return &effect->change->configuration->arena; }

static bool is_left_out(const struct effect *effect, struct slice id)
{
    return effect->options->left_out && map_find(effect->options->left_out, id);
}

static void include(struct effect *effect, struct catalog_entry *entry)
{
    if (map_find(&effect->included[entry->kind], entry->id) || is_left_out(effect, entry->id)) return;
    vector_push_pointer(&effect->entries[entry->kind], catalog_entry_retain(entry));
    map_set(&effect->included[entry->kind], entry->id, entry);
}

static void include_id(struct effect *effect, enum resource_kind kind, struct slice id)
{
    struct catalog_entry *entry = draft_get(effect->draft, kind, id);
    if (entry) include(effect, entry);
    catalog_entry_drop(entry);
}

static void include_all(struct effect *effect, enum resource_kind kind)
{
    struct vector all;
    vector_init(&all, sizeof(struct catalog_entry *));
    draft_list(effect->draft, kind, &all);
    for (size_t i = 0; i < all.count; i++) include(effect, vector_pointer_at(&all, i));
    draft_drop_all(&all);
}

/* --- what a change touches --- */

static void remove_id(struct effect *effect, struct slice_list *list, struct slice id)
{
    list->items[list->count] = arena_copy(arena_of(effect), id);
    PROMISE(list->items[list->count].at != NULL);
    list->count++;
}

/* Routes that end in a service or use it, as they were; as they are to be they are in the draft themselves. */
static void include_routes_of(struct effect *effect, struct slice service_id)
{
    struct vector users;
    vector_init(&users, sizeof(struct catalog_entry *));
    draft_users(effect->draft, RESOURCE_SERVICE, service_id, &users);
    for (size_t i = 0; i < users.count; i++) {
        const struct catalog_entry *user = vector_pointer_at(&users, i);
        if (user->kind == RESOURCE_ROUTE) include_id(effect, RESOURCE_ROUTE, user->id);
    }
    draft_drop_all(&users);
}

static void touch_scope(struct effect *effect, const struct catalog_entry *plugin)
{
    if (!plugin) return;
    bool is_everywhere = true;
    for (uint32_t i = 0; i < plugin->reference_count; i++) {
        if (plugin->references[i].is_inside) continue; /* what it works with */
        is_everywhere = false;
        struct slice id = slice_from_cstring(plugin->references[i].id);
        if (plugin->references[i].kind == RESOURCE_ROUTE) include_id(effect, RESOURCE_ROUTE, id);
        if (plugin->references[i].kind == RESOURCE_SERVICE) include_routes_of(effect, id);
    }
    if (is_everywhere) effect->change->whole = true;
}

static void touch_service(struct effect *effect, struct draft_item *item)
{
    if (!item->after) {
        remove_id(effect, &effect->change->removed_services, item->id);
        return;
    }
    include(effect, item->after);
    /* Routes know their service's name. */
    if (item->before && !slice_equal(item->before->name, item->after->name)) include_routes_of(effect, item->id);
}

/* A new one that is not the youngest, and one whose age changed, come between others. */
static void touch_route(struct effect *effect, struct draft_item *item)
{
    const struct catalog_entry *before = item->before, *after = item->after;
    if (!after) {
        remove_id(effect, &effect->change->removed_routes, item->id);
        return;
    }
    bool comes_between = before ? before->created_us != after->created_us : after->created_us <= effect->youngest_us;
    if (comes_between) effect->change->whole = true;
    include(effect, item->after);
}

static void touch(struct effect *effect, struct draft_item *item)
{
    switch (item->kind) {
    case RESOURCE_SERVICE: touch_service(effect, item); break;
    case RESOURCE_ROUTE: touch_route(effect, item); break;
    case RESOURCE_PLUGIN:
    case RESOURCE_RATE_LIMIT:
        effect->change->plugins_changed = true;
        touch_scope(effect, item->before);
        touch_scope(effect, item->after);
        break;
    case RESOURCE_CERTIFICATE: effect->change->certificates_changed = true; break;
    case RESOURCE_ROLE: effect->change->roles_changed = true; break;
    default: return; /* stored, and not acted on yet */
    }
    effect->concerns = true;
}

static uint64_t youngest_route_us(const struct draft *draft)
{
    size_t room = catalog_count(draft->catalog, RESOURCE_ROUTE) + 1;
    struct catalog_entry **entries = memory_allocate_array(room, sizeof *entries);
    bool more;
    size_t count = catalog_list(draft->catalog, RESOURCE_ROUTE, 0, SLICE_ABSENT, NULL, NULL, entries, room, &more);
    uint64_t youngest_us = count ? entries[count - 1]->created_us : 0;
    for (size_t i = 0; i < count; i++) catalog_entry_drop(entries[i]);
    free(entries);
    return youngest_us;
}

/* Only a change that brings a route needs to know. */
static bool brings_a_route(const struct draft *draft)
{
    for (size_t i = 0; i < draft->items.count; i++) {
        const struct draft_item *item = draft_item_at(draft, i);
        if (item->kind == RESOURCE_ROUTE && !item->before && item->after && item->after->created_us < draft->at_us)
            return true;
    }
    return false;
}

/* --- plugins in each other's way --- */

static bool names(const struct catalog_entry *entry, const struct catalog_reference *reference)
{
    for (uint32_t i = 0; entry && i < entry->reference_count; i++) {
        const struct catalog_reference *known = &entry->references[i];
        if (known->kind == reference->kind && strcmp(known->id, reference->id) == 0) return true;
    }
    return false;
}

/* Does the route end in services that it didn't end in before? A canary's share must change whoever guards its services. */
static bool brings_a_service(const struct draft_item *route)
{
    for (uint32_t i = 0; i < route->after->reference_count; i++) {
        const struct catalog_reference *reference = &route->after->references[i];
        if (reference->kind == RESOURCE_SERVICE && !names(route->before, reference)) return true;
    }
    return false;
}

static bool is_new(const void *argument, enum resource_kind kind, struct slice id)
{
    const struct effect *effect = argument;
    const struct draft_item *item = draft_find_item(effect->draft, kind, id);
    if (!item || !item->after || !draft_item_differs(item)) return false;
    if (effect->options->refuses_doubles && !item->written) return false;
    return kind != RESOURCE_ROUTE || brings_a_service(item);
}

static bool brings_services_together(const struct effect *effect, const struct draft_item *item)
{
    unsigned count = 0;
    if (item->kind != RESOURCE_ROUTE || !is_new(effect, RESOURCE_ROUTE, item->id)) return false;
    for (uint32_t i = 0; i < item->after->reference_count; i++)
        count += item->after->references[i].kind == RESOURCE_SERVICE;
    return count > 1;
}

static void judge_doubles(struct effect *effect)
{
    struct problems *doubles = effect->options->doubles;
    if (!doubles) return;
    struct resource_directory directory = draft_directory(effect->draft);
    size_t before = doubles->count;
    doubles_judge(&(struct doubles_judging){ .configuration = effect->change->configuration,
                                             .directory = &directory,
                                             .is_new = is_new,
                                             .argument = effect,
                                             .problems = doubles });
    if (effect->options->refuses_doubles && doubles->count > before) effect->failed = true;
}

static void touch_all(struct effect *effect)
{
    struct draft *draft = effect->draft;
    effect->youngest_us = brings_a_route(draft) ? youngest_route_us(draft) : 0;
    for (size_t i = 0; i < draft->items.count; i++) {
        struct draft_item *item = draft_item_at(draft, i);
        if (!draft_item_is_same(item)) touch(effect, item);
        if (effect->options->doubles && brings_services_together(effect, item)) effect->change->plugins_changed = true;
    }
    if (effect->options->whole) effect->change->whole = effect->concerns = true;
    if (effect->change->whole) {
        effect->change->plugins_changed = effect->change->certificates_changed = true;
        effect->change->roles_changed = true;
        include_all(effect, RESOURCE_SERVICE);
        include_all(effect, RESOURCE_ROUTE);
    }
    if (effect->change->plugins_changed) {
        include_all(effect, RESOURCE_PLUGIN);
        include_all(effect, RESOURCE_RATE_LIMIT);
    }
    if (effect->change->certificates_changed) include_all(effect, RESOURCE_CERTIFICATE);
    if (effect->change->roles_changed) include_all(effect, RESOURCE_ROLE);
}

/* --- reading --- */

static struct node *new_map(struct effect *effect, struct slice key, struct node *parent)
{
    struct node *node = arena_allocate_zeroed(arena_of(effect), sizeof *node);
    PROMISE(node != NULL);
    *node = (struct node){ .kind = NODE_MAP, .key = key, .parent = parent };
    return node;
}

static void give_place(struct effect *effect, struct node *node, const struct catalog_entry *entry, struct node *parent)
{
    const struct draft_item *item = draft_find_item(effect->draft, entry->kind, entry->id);
    bool is_written = item && item->written;
    if (is_written && !item->written->parent) return; /* the body is this resource */
    node->parent = parent;
    node->key = is_written ? arena_format(arena_of(effect), "%zu", item->written_index)
                           : arena_copy(arena_of(effect), entry->id);
    if (is_written)
        node->parent = new_map(effect, slice_from_cstring(resource_types[entry->kind].list_name), effect->places);
}

/* False: problems. */
static bool read_into(struct effect *effect, const struct catalog_entry *entry, struct node *parent, void *into)
{
    const struct resource_type *type = &resource_types[entry->kind];
    struct resource_directory directory = draft_directory(effect->draft);
    struct resource resource = { .kind = entry->kind };
    struct node *node = node_read_json(arena_of(effect), entry->document, NULL, effect->reading.problems);
    if (!node) return false;
    give_place(effect, node, entry, parent);
    if (!resource_read(&effect->reading, entry->kind, node, entry->id, &directory, &resource)) return false;
    memcpy(into, resource.config, type->size);
    return true;
}

static int by_age(const void *a, const void *b)
{
    const struct catalog_entry *one = *(struct catalog_entry *const *)a, *other = *(struct catalog_entry *const *)b;
    if (one->created_us != other->created_us) return one->created_us < other->created_us ? -1 : 1;
    return slice_compare(one->id, other->id);
}

static void read_kind(struct effect *effect, enum resource_kind kind)
{
    struct vector *entries = &effect->entries[kind];
    struct object_list *list = (void *)((char *)effect->change->configuration + resource_types[kind].list_at);
    if (entries->count == 0) return;
    qsort(entries->items, entries->count, entries->item_size, by_age);
    struct node *parent = new_map(effect, slice_from_cstring(resource_types[kind].path), effect->places);
    list->items = arena_allocate_zeroed(arena_of(effect), entries->count * resource_types[kind].size);
    PROMISE(list->items != NULL);
    for (size_t i = 0; i < entries->count; i++) {
        void *into = (char *)list->items + list->count * resource_types[kind].size;
        bool ok = read_into(effect, vector_pointer_at(entries, i), parent, into);
        list->count += ok;
        effect->failed |= !ok;
    }
}

static void read_all(struct effect *effect)
{
    effect->places = new_map(effect, SLICE_ABSENT, NULL);
    effect->reading = (struct schema_reading){ .arena = arena_of(effect),
                                               .problems = effect->draft->problems,
                                               .kinds = effect->draft->kinds,
                                               .folder = effect->draft->folder };
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) read_kind(effect, kind);
}

/* --- life --- */

static struct configuration_change *change_create(struct draft *draft)
{
    static const struct document_list none[RESOURCE_KIND_COUNT];
    struct configuration_change *change = memory_allocate(sizeof *change);
    change->configuration = configuration_load_with_documents(SLICE_ABSENT, NULL, draft->folder, draft->kinds, none,
                                                              draft->problems);
    PROMISE(change->configuration != NULL); /* defaults have no problems */
    size_t room = (draft->items.count + 1) * sizeof(struct slice);
    change->removed_services.items = arena_allocate_zeroed(&change->configuration->arena, room);
    change->removed_routes.items = arena_allocate_zeroed(&change->configuration->arena, room);
    PROMISE(change->removed_services.items && change->removed_routes.items);
    return change;
}

struct configuration_change *effect_create(struct draft *draft, const struct effect_options *options, bool *failed)
{
    struct effect effect = { .draft = draft, .options = options, .change = change_create(draft) };
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_init(&effect.included[kind]);
        vector_init(&effect.entries[kind], sizeof(struct catalog_entry *));
    }
    touch_all(&effect);
    if (effect.concerns) read_all(&effect);
    if (effect.concerns && !effect.failed) judge_doubles(&effect);
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_release(&effect.included[kind]);
        draft_drop_all(&effect.entries[kind]);
    }
    *failed = effect.failed;
    if (effect.concerns && !effect.failed) return effect.change;
    configuration_change_destroy(effect.change);
    return NULL;
}
