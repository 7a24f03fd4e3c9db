/* changes/draft.c: the catalog, and over it what is to become of it. Nothing of it is seen by others until it is applied.
 *
 * What the draft has hides what the catalog has: by id, and by name too, for a resource that changes its name is not found by the old one
 * any more. So references are resolved, and names found taken, as it will be afterwards. */
#include "changes/private.h"

#include "base/memory.h"
#include "base/nearest.h"
#include "base/random.h"

void draft_init(struct draft *draft, struct catalog *catalog, const struct policy_kinds *kinds, const char *folder,
                struct problems *problems, uint64_t at_us)
{
    *draft = (struct draft){
        .catalog = catalog, .kinds = kinds, .folder = folder, .problems = problems, .at_us = at_us, .next_us = at_us
    };
    arena_init(&draft->arena, NULL);
    vector_init(&draft->items, sizeof(struct draft_item *));
    vector_init(&draft->users, sizeof(struct catalog_entry *));
    vector_init(&draft->keys, sizeof(struct draft_key));
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_init(&draft->by_id[kind]);
        map_init(&draft->by_name[kind]);
    }
}

void draft_drop_all(struct vector *entries)
{
    for (size_t i = 0; i < entries->count; i++) catalog_entry_drop(vector_pointer_at(entries, i));
    vector_release(entries);
}

void draft_release(struct draft *draft)
{
    for (size_t i = 0; i < draft->items.count; i++) {
        struct draft_item *item = draft_item_at(draft, i);
        catalog_entry_drop(item->before);
        catalog_entry_drop(item->after);
    }
    vector_release(&draft->items);
    vector_release(&draft->keys);
    draft_drop_all(&draft->users);
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        map_release(&draft->by_id[kind]);
        map_release(&draft->by_name[kind]);
    }
    arena_release(&draft->arena);
}

/* --- looking --- */

static struct slice copy(const struct draft *draft, struct slice text)
{
    struct slice copied = arena_copy((struct arena *)(uintptr_t)&draft->arena, text);
    PROMISE(copied.at != NULL);
    return copied;
}

struct draft_item *draft_find_item(const struct draft *draft, enum resource_kind kind, struct slice id)
{
    return map_find(&draft->by_id[kind], id);
}

static struct catalog_entry *find_in_catalog(const struct draft *draft, enum resource_kind kind, struct slice id)
{
    struct catalog_entry *entry = catalog_find(draft->catalog, kind, id, NULL);
    if (!entry || slice_equal(entry->id, id)) return entry;
    catalog_entry_drop(entry); /* it is only called so */
    return NULL;
}

struct catalog_entry *draft_get(const struct draft *draft, enum resource_kind kind, struct slice id)
{
    struct draft_item *item = draft_find_item(draft, kind, id);
    if (item) return item->after ? catalog_entry_retain(item->after) : NULL;
    return find_in_catalog(draft, kind, id);
}

/* Whose id or name it is, as it is to be. In the draft's arena, so that it holds whatever becomes of the catalog. */
static struct slice find(const void *argument, enum resource_kind kind, struct slice id_or_name)
{
    const struct draft *draft = argument;
    const struct draft_item *item = draft_find_item(draft, kind, id_or_name);
    if (!item) item = map_find(&draft->by_name[kind], id_or_name);
    if (item) return item->after ? item->id : SLICE_ABSENT;
    struct catalog_entry *entry = catalog_find(draft->catalog, kind, id_or_name, NULL);
    /* One that the draft has is called otherwise by now, or gone. */
    bool holds = entry && !draft_find_item(draft, kind, entry->id);
    struct slice id = holds ? copy(draft, entry->id) : SLICE_ABSENT;
    catalog_entry_drop(entry);
    return id;
}

/* Looking for a near name costs more than all other checks, so only a problem that will be listed gets it. */
static char *nearest(const void *argument, enum resource_kind kind, struct slice wanted)
{
    const struct draft *draft = argument;
    if (draft->problems->count >= PROBLEMS_LISTED_MAX) return NULL;
    struct vector entries;
    vector_init(&entries, sizeof(struct catalog_entry *));
    draft_list(draft, kind, &entries);
    const char **names = memory_allocate_array(entries.count + 1, sizeof *names);
    for (size_t i = 0; i < entries.count; i++)
        names[i] = ((const struct catalog_entry *)vector_pointer_at(&entries, i))->name.at;
    const char *near = nearest_name(wanted, names, entries.count);
    char *copied = near ? memory_copy_slice(slice_from_cstring(near)) : NULL;
    free(names);
    draft_drop_all(&entries);
    return copied;
}

struct resource_directory draft_directory(const struct draft *draft)
{
    return (struct resource_directory){ .find = find, .nearest = nearest, .argument = draft };
}

void draft_users(const struct draft *draft, enum resource_kind kind, struct slice id, struct vector *into)
{
    struct catalog_entry **users = NULL;
    size_t room = 64, count;
    for (;;) {
        users = memory_resize(users, room * sizeof *users);
        count = catalog_users(draft->catalog, kind, id, users, room);
        if (count < room) break;
        for (size_t i = 0; i < count; i++) catalog_entry_drop(users[i]);
        room *= 8;
    }
    for (size_t i = 0; i < count; i++) vector_push_pointer(into, users[i]);
    free(users);
}

static int by_age(const void *a, const void *b)
{
    const struct catalog_entry *one = *(struct catalog_entry *const *)a, *other = *(struct catalog_entry *const *)b;
    if (one->created_us != other->created_us) return one->created_us < other->created_us ? -1 : 1;
    return slice_compare(one->id, other->id);
}

void draft_list(const struct draft *draft, enum resource_kind kind, struct vector *into)
{
    size_t room = catalog_count(draft->catalog, kind) + 1;
    struct catalog_entry **entries = memory_allocate_array(room, sizeof *entries);
    bool more;
    size_t count = catalog_list(draft->catalog, kind, 0, SLICE_ABSENT, NULL, NULL, entries, room, &more);
    for (size_t i = 0; i < count; i++) {
        if (draft_find_item(draft, kind, entries[i]->id)) {
            catalog_entry_drop(entries[i]);
        } else {
            vector_push_pointer(into, entries[i]);
        }
    }
    free(entries);
    for (size_t i = 0; i < draft->items.count; i++) {
        struct draft_item *item = draft_item_at(draft, i);
        if (item->kind == kind && item->after) vector_push_pointer(into, catalog_entry_retain(item->after));
    }
    if (into->count) qsort(into->items, into->count, into->item_size, by_age);
}

bool draft_item_differs(const struct draft_item *item)
{
    if (!item->before || !item->after) return item->before != item->after;
    return !slice_equal(item->before->document, item->after->document) ||
           item->before->created_us != item->after->created_us;
}

bool draft_item_is_same(const struct draft_item *item)
{
    if (draft_item_differs(item)) return false;
    if (!item->before || item->before->reference_count != item->after->reference_count) return !item->before;
    for (uint32_t i = 0; i < item->before->reference_count; i++) {
        if (strcmp(item->before->references[i].id, item->after->references[i].id) != 0) return false;
    }
    return true;
}

bool draft_is_empty(const struct draft *draft)
{
    for (size_t i = 0; i < draft->items.count; i++) {
        if (draft_item_differs(draft_item_at(draft, i))) return false;
    }
    return draft->keys.count == 0;
}

/* --- putting --- */

static struct draft_item *item_for(struct draft *draft, enum resource_kind kind, struct slice id)
{
    struct draft_item *item = draft_find_item(draft, kind, id);
    if (item) return item;
    item = arena_allocate_zeroed(&draft->arena, sizeof *item);
    PROMISE(item != NULL);
    item->kind = kind;
    item->id = copy(draft, id);
    item->before = find_in_catalog(draft, kind, id);
    vector_push_pointer(&draft->items, item);
    map_set(&draft->by_id[kind], item->id, item);
    return item;
}

struct draft_item *draft_put(struct draft *draft, enum resource_kind kind, struct slice id, struct catalog_entry *after,
                             const struct node *written)
{
    struct draft_item *item = item_for(draft, kind, id);
    struct map *names = &draft->by_name[kind];
    if (item->after && map_find(names, item->after->name) == item) map_remove(names, item->after->name);
    catalog_entry_drop(item->after);
    item->after = after;
    item->written = written;
    if (after) map_set(names, after->name, item);
    return item;
}

/* An id or name that is somebody else's already, as it is to be. */
static bool is_somebody_elses(struct draft *draft, const struct resource *resource, struct slice text)
{
    struct slice holder = find(draft, resource->kind, text);
    if (slice_is_absent(holder) || slice_equal(holder, resource->id)) return false;
    vector_push_pointer(&draft->users, draft_get(draft, resource->kind, holder));
    return true;
}

/* With `before` it is right that the id is there. */
static bool is_taken(struct draft *draft, const struct resource *resource, const struct catalog_entry *before)
{
    const struct resource_type *type = &resource_types[resource->kind];
    struct catalog_entry *holder = before ? NULL : draft_get(draft, resource->kind, resource->id);
    if (holder) {
        vector_push_pointer(&draft->users, holder);
        return true;
    }
    return is_somebody_elses(draft, resource, resource->id) ||
           (type->unique_names && is_somebody_elses(draft, resource, resource->name));
}

struct draft_item *draft_read(struct draft *draft, enum resource_kind kind, const struct node *node,
                              struct slice new_id, const struct catalog_entry *before)
{
    struct schema_reading reading = {
        .arena = &draft->arena, .problems = draft->problems, .kinds = draft->kinds, .folder = draft->folder
    };
    struct resource_directory directory = draft_directory(draft);
    struct resource resource = { .kind = kind };
    if (!resource_read(&reading, kind, node, new_id, &directory, &resource)) return NULL;
    draft->is_taken = is_taken(draft, &resource, before);
    if (draft->is_taken) return NULL;
    const struct draft_item *known = before ? NULL : draft_find_item(draft, kind, resource.id);
    if (known) before = known->before; /* taken away to be put again */
    uint64_t created_us = draft->restored_us ? draft->restored_us : before ? before->created_us : draft->next_us++;
    struct slice document = resource_write_document(&reading, &resource);
    bool is_equal = before && slice_equal(before->document, document);
    uint64_t updated_us = is_equal ? before->updated_us : before ? draft->at_us : created_us;
    return draft_put(draft, kind, resource.id, catalog_entry_create(&resource, document, created_us, updated_us), node);
}

/* --- documents --- */

struct finding {
    struct draft *draft;
    struct vector references; /* struct resource_reference */
};

static void find_reference(void *argument, struct node *text, enum resource_kind to, bool is_inside)
{
    struct finding *finding = argument;
    struct slice id = find(finding->draft, to, text->text);
    if (!is_uuid(id)) {
        finding->draft->has_lost = true;
        return;
    }
    struct resource_reference *reference = vector_push(&finding->references);
    *reference = (struct resource_reference){
        .kind = to, .id = id, .by_name = !slice_equal(id, text->text), .is_inside = is_inside
    };
}

static struct slice name_in(const struct node *resource, enum resource_kind kind, struct slice id)
{
    const struct node *name = resource ? node_find(resource, resource_types[kind].name_field) : NULL;
    return name && name->kind == NODE_SCALAR && name->text.length ? name->text : id;
}

struct catalog_entry *draft_entry(struct draft *draft, enum resource_kind kind, struct slice id, struct slice document,
                                  uint64_t created_us, uint64_t updated_us)
{
    struct arena arena;
    struct problems ignored;
    arena_init(&arena, NULL);
    problems_init(&ignored, NULL);
    struct node *node = node_read_json(&arena, document, NULL, &ignored);
    struct finding finding = { .draft = draft };
    draft->has_lost = false;
    vector_init(&finding.references, sizeof(struct resource_reference));
    if (node)
        resource_visit_references(kind, draft->kinds, node,
                                  &(struct resource_reference_visit){ find_reference, &finding });
    struct resource resource = {
        .kind = kind,
        .id = id,
        .name = name_in(node, kind, id),
        .node = node,
        .hash = node ? node_hash(node) : (struct content_hash){ { 0, 0 } },
        .references = finding.references.items,
        .reference_count = finding.references.count,
    };
    struct catalog_entry *entry = catalog_entry_create(&resource, document, created_us, updated_us);
    vector_release(&finding.references);
    problems_release(&ignored);
    arena_release(&arena);
    return entry;
}

/* --- what follows --- */

struct renaming {
    enum resource_kind kind;
    struct slice before, after;
};

static void write_new_name(void *argument, struct node *text, enum resource_kind to, bool is_inside)
{
    (void)is_inside;
    const struct renaming *renaming = argument;
    if (to == renaming->kind && slice_equal(text->text, renaming->before)) text->text = renaming->after;
}

static bool names_it(const struct catalog_entry *user, const struct draft_item *item)
{
    for (uint32_t i = 0; i < user->reference_count; i++) {
        const struct catalog_reference *reference = &user->references[i];
        if (reference->by_name && reference->kind == item->kind &&
            slice_equal(slice_from_cstring(reference->id), item->id))
            return true;
    }
    return false;
}

static bool rename_in(struct draft *draft, const struct draft_item *item, const struct catalog_entry *user)
{
    struct node *node = node_read_json(&draft->arena, user->document, NULL, draft->problems);
    if (!node) return false;
    struct renaming renaming = { item->kind, item->before->name, item->after->name };
    resource_visit_references(user->kind, draft->kinds, node,
                              &(struct resource_reference_visit){ write_new_name, &renaming });
    struct draft_item *follower = draft_read(draft, user->kind, node, SLICE_ABSENT, user);
    if (follower) follower->written = NULL;
    return follower != NULL;
}

/* Its names as they resolve now. False: one that it had is gone. */
static bool find_anew(struct draft *draft, const struct catalog_entry *user)
{
    struct catalog_entry *entry = draft_entry(draft, user->kind, user->id, user->document, user->created_us,
                                              user->updated_us);
    draft_put(draft, user->kind, user->id, entry, NULL);
    return !draft->has_lost;
}

static bool follow_item(struct draft *draft, const struct draft_item *item)
{
    bool is_renamed = item->before && item->after && !slice_equal(item->before->name, item->after->name);
    bool is_gone = item->before && !item->after, ok = true;
    if (!is_renamed && !is_gone) return true;
    struct vector users;
    vector_init(&users, sizeof(struct catalog_entry *));
    draft_users(draft, item->kind, item->id, &users);
    for (size_t i = 0; i < users.count; i++) {
        struct catalog_entry *user = vector_pointer_at(&users, i);
        if (draft_find_item(draft, user->kind, user->id)) continue; /* read as it is to be */
        if (is_renamed && names_it(user, item)) ok = rename_in(draft, item, user) && ok;
        if (!is_gone || find_anew(draft, user)) continue;
        vector_push_pointer(&draft->users, catalog_entry_retain(user));
        ok = false;
    }
    draft_drop_all(&users);
    return ok;
}

bool draft_follow_names(struct draft *draft)
{
    bool ok = true;
    size_t count = draft->items.count; /* followers keep their names */
    for (size_t i = 0; i < count; i++) ok = follow_item(draft, draft_item_at(draft, i)) && ok;
    return ok;
}

/* --- small things --- */

bool is_uuid(struct slice text)
{
    if (text.length != 36) return false;
    for (size_t i = 0; i < text.length; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        char byte = text.at[i];
        if (is_dash ? byte != '-' : !((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f'))) return false;
    }
    return true;
}

struct slice draft_new_id(struct arena *arena)
{
    uint8_t bytes[16];
    random_secure_bytes(bytes, sizeof bytes);
    bytes[6] = (uint8_t)((bytes[6] & 0x0F) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3F) | 0x80);
    char text[36], *next = text;
    for (size_t i = 0; i < sizeof bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *next++ = '-';
        *next++ = "0123456789abcdef"[bytes[i] >> 4];
        *next++ = "0123456789abcdef"[bytes[i] & 15];
    }
    struct slice id = arena_copy(arena, slice_of(text, sizeof text));
    PROMISE(id.at != NULL);
    return id;
}

struct node *draft_with_field(struct arena *arena, struct node *map, const char *key, struct slice text)
{
    if (map->kind != NODE_MAP) return map;
    struct node *copied = arena_allocate_zeroed(arena, sizeof *copied);
    struct node *field = arena_allocate_zeroed(arena, sizeof *field);
    PROMISE(copied && field);
    *copied = *map;
    *field = (struct node){ .kind = NODE_SCALAR,
                            .quoted = true,
                            .text = arena_copy(arena, text),
                            .key = arena_copy(arena, slice_from_cstring(key)),
                            .parent = copied,
                            .next = map->first };
    PROMISE(field->text.at && field->key.at);
    copied->first = field;
    copied->count++;
    return copied;
}
