/* Sorted arrays of pointers: by id, by age and by name for each kind, and one of who names whom. Finding is a binary search, adding
 * one moves some kilobytes (10,000 entries: 80 KB, 3 us), and a page of a list is a run of the array.
 *
 * There is one writer, so what it reads needs no lock. It takes memory before it takes the lock and gives it back afterwards: inside,
 * there are only comparisons and moves. A change of more than an eighth builds new arrays beside the old ones and swaps them. */
#include "store/catalog.h"

#include "base/memory.h"
#include "base/nearest.h"
#include "base/vector.h"

#include <pthread.h>
#include <xxhash.h>

/* The reference `reference` of `user`: a row of "who names whom". */
struct use {
    struct catalog_entry *user;
    uint32_t reference;
};

typedef int (*entry_order)(const struct catalog_entry *, const struct catalog_entry *);

enum { BY_ID, BY_AGE, BY_NAME, ORDER_COUNT };

struct entries {
    struct catalog_entry **items;
    size_t count, capacity;
};

struct uses {
    struct use *items;
    size_t count, capacity;
};

/* All arrays of one state. */
struct index {
    struct entries entries[RESOURCE_KIND_COUNT][ORDER_COUNT];
    struct uses uses;
    uint64_t revision;
};

struct catalog {
    pthread_mutex_t lock;
    struct index index;
};

/* --- entries --- */

static struct slice put_text(char **next, struct slice text)
{
    char *at = *next;
    if (text.length) memcpy(at, text.at, text.length);
    at[text.length] = '\0';
    *next = at + text.length + 1;
    return slice_of(at, text.length);
}

struct catalog_entry *catalog_entry_create(const struct resource *resource, struct slice document, uint64_t created_us,
                                           uint64_t updated_us)
{
    size_t texts = resource->id.length + resource->name.length + document.length + 3;
    size_t references = resource->reference_count * sizeof(struct catalog_reference);
    struct catalog_entry *entry = memory_allocate(sizeof *entry + references + texts);
    atomic_init(&entry->references_held, 1);
    entry->kind = resource->kind;
    entry->created_us = created_us;
    entry->updated_us = updated_us;
    entry->reference_count = (uint32_t)resource->reference_count;
    for (size_t i = 0; i < resource->reference_count; i++) {
        const struct resource_reference *from = &resource->references[i];
        struct catalog_reference *reference = &entry->references[i];
        PROMISE(from->id.length < sizeof reference->id);
        reference->kind = from->kind;
        reference->by_name = from->by_name;
        reference->is_inside = from->is_inside;
        if (from->id.length) memcpy(reference->id, from->id.at, from->id.length);
    }
    char *next = (char *)entry->references + references;
    entry->id = put_text(&next, resource->id);
    entry->name = put_text(&next, resource->name);
    entry->document = put_text(&next, document);
    XXH128_hash_t hash = XXH3_128bits(entry->document.at, entry->document.length);
    entry->hash = (struct content_hash){ { hash.high64, hash.low64 } };
    return entry;
}

struct catalog_entry *catalog_entry_retain(struct catalog_entry *entry)
{
    atomic_fetch_add_explicit(&entry->references_held, 1, memory_order_relaxed);
    return entry;
}

void catalog_entry_drop(struct catalog_entry *entry)
{
    if (entry && atomic_fetch_sub_explicit(&entry->references_held, 1, memory_order_acq_rel) == 1) free(entry);
}

/* --- orders --- */

static int compare_numbers(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int by_id(const struct catalog_entry *a, const struct catalog_entry *b) { return slice_compare(a->id, b->id); }

static int by_age(const struct catalog_entry *a, const struct catalog_entry *b)
{
    int order = compare_numbers(a->created_us, b->created_us);
    return order ? order : by_id(a, b);
}

static int by_name(const struct catalog_entry *a, const struct catalog_entry *b)
{
    int order = slice_compare(a->name, b->name);
    return order ? order : by_id(a, b);
}

static const entry_order orders[ORDER_COUNT] = { [BY_ID] = by_id, [BY_AGE] = by_age, [BY_NAME] = by_name };

static const struct catalog_reference *reference_of(const struct use *use)
{
    return &use->user->references[use->reference];
}

static int by_named(const struct use *use, enum resource_kind kind, const char *id)
{
    const struct catalog_reference *reference = reference_of(use);
    int order = compare_numbers(reference->kind, kind);
    return order ? order : strcmp(reference->id, id);
}

static int by_named_and_user(const struct use *a, const struct use *b)
{
    const struct catalog_reference *named = reference_of(b);
    int order = by_named(a, named->kind, named->id);
    if (order) return order;
    order = compare_numbers(a->user->kind, b->user->kind);
    return order ? order : by_age(a->user, b->user);
}

static int compare_by_id(const void *a, const void *b)
{
    return by_id(*(struct catalog_entry *const *)a, *(struct catalog_entry *const *)b);
}
static int compare_by_age(const void *a, const void *b)
{
    return by_age(*(struct catalog_entry *const *)a, *(struct catalog_entry *const *)b);
}
static int compare_by_name(const void *a, const void *b)
{
    return by_name(*(struct catalog_entry *const *)a, *(struct catalog_entry *const *)b);
}
static int compare_uses(const void *a, const void *b) { return by_named_and_user(a, b); }

/* --- arrays --- */

/* The first position that is not before the entry. */
static size_t entries_position(const struct entries *entries, entry_order order, const struct catalog_entry *wanted)
{
    size_t low = 0, high = entries->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order(entries->items[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct catalog_entry *entries_find_id(const struct entries *entries, struct slice id)
{
    struct catalog_entry wanted = { .id = id };
    size_t at = entries_position(entries, by_id, &wanted);
    return at < entries->count && slice_equal(entries->items[at]->id, id) ? entries->items[at] : NULL;
}

static void entries_insert(struct entries *entries, entry_order order, struct catalog_entry *entry)
{
    PROMISE(entries->count < entries->capacity);
    size_t at = entries_position(entries, order, entry);
    memmove(entries->items + at + 1, entries->items + at, (entries->count - at) * sizeof *entries->items);
    entries->items[at] = entry;
    entries->count++;
}

static void entries_remove(struct entries *entries, entry_order order, const struct catalog_entry *entry)
{
    size_t at = entries_position(entries, order, entry);
    PROMISE(at < entries->count && entries->items[at] == entry);
    entries->count--;
    memmove(entries->items + at, entries->items + at + 1, (entries->count - at) * sizeof *entries->items);
}

static size_t uses_position(const struct uses *uses, const struct use *wanted)
{
    size_t low = 0, high = uses->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_named_and_user(&uses->items[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Naming the same one twice is one use. */
static bool is_named_before(const struct catalog_entry *user, uint32_t reference)
{
    for (uint32_t i = 0; i < reference; i++) {
        if (user->references[i].kind == user->references[reference].kind &&
            strcmp(user->references[i].id, user->references[reference].id) == 0)
            return true;
    }
    return false;
}

static void uses_insert(struct uses *uses, struct catalog_entry *user)
{
    for (uint32_t i = 0; i < user->reference_count; i++) {
        if (is_named_before(user, i)) continue;
        struct use use = { user, i };
        PROMISE(uses->count < uses->capacity);
        size_t at = uses_position(uses, &use);
        memmove(uses->items + at + 1, uses->items + at, (uses->count - at) * sizeof *uses->items);
        uses->items[at] = use;
        uses->count++;
    }
}

static void uses_remove(struct uses *uses, struct catalog_entry *user)
{
    for (uint32_t i = 0; i < user->reference_count; i++) {
        if (is_named_before(user, i)) continue;
        struct use use = { user, i };
        size_t at = uses_position(uses, &use);
        PROMISE(at < uses->count && uses->items[at].user == user);
        uses->count--;
        memmove(uses->items + at, uses->items + at + 1, (uses->count - at) * sizeof *uses->items);
    }
}

static void index_insert(struct index *index, struct catalog_entry *entry)
{
    for (int order = 0; order < ORDER_COUNT; order++)
        entries_insert(&index->entries[entry->kind][order], orders[order], entry);
    uses_insert(&index->uses, entry);
}

static void index_remove(struct index *index, struct catalog_entry *entry)
{
    for (int order = 0; order < ORDER_COUNT; order++)
        entries_remove(&index->entries[entry->kind][order], orders[order], entry);
    uses_remove(&index->uses, entry);
}

static void index_release(struct index *index)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        for (int order = 0; order < ORDER_COUNT; order++) free(index->entries[kind][order].items);
    }
    free(index->uses.items);
}

static size_t room_for(size_t count) { return count + count / 8 + 64; }

/* A whole state made anew: filled in any order, sorted once. */
static void index_build(struct index *index, struct catalog_entry *const *all, size_t count, uint64_t revision)
{
    *index = (struct index){ .revision = revision };
    size_t use_count = 0, counts[RESOURCE_KIND_COUNT] = { 0 };
    for (size_t i = 0; i < count; i++) {
        counts[all[i]->kind]++;
        use_count += all[i]->reference_count;
    }
    index->uses.capacity = room_for(use_count);
    index->uses.items = memory_allocate_array(index->uses.capacity, sizeof *index->uses.items);
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        for (int order = 0; order < ORDER_COUNT; order++) {
            struct entries *entries = &index->entries[kind][order];
            entries->capacity = room_for(counts[kind]);
            entries->items = memory_allocate_array(entries->capacity, sizeof *entries->items);
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (int order = 0; order < ORDER_COUNT; order++) {
            struct entries *entries = &index->entries[all[i]->kind][order];
            entries->items[entries->count++] = all[i];
        }
        for (uint32_t reference = 0; reference < all[i]->reference_count; reference++) {
            if (!is_named_before(all[i], reference))
                index->uses.items[index->uses.count++] = (struct use){ all[i], reference };
        }
    }
    static int (*const compare[ORDER_COUNT])(const void *, const void *) = { compare_by_id, compare_by_age,
                                                                             compare_by_name };
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        for (int order = 0; order < ORDER_COUNT; order++) {
            struct entries *entries = &index->entries[kind][order];
            qsort(entries->items, entries->count, sizeof *entries->items, compare[order]);
        }
    }
    qsort(index->uses.items, index->uses.count, sizeof *index->uses.items, compare_uses);
}

/* --- the catalog --- */

struct catalog *catalog_create(void)
{
    struct catalog *catalog = memory_allocate(sizeof *catalog);
    pthread_mutex_init(&catalog->lock, NULL);
    index_build(&catalog->index, NULL, 0, 0);
    return catalog;
}

static void drop_all(struct index *index)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct entries *entries = &index->entries[kind][BY_ID];
        for (size_t i = 0; i < entries->count; i++) catalog_entry_drop(entries->items[i]);
    }
    index_release(index);
}

void catalog_destroy(struct catalog *catalog)
{
    if (!catalog) return;
    drop_all(&catalog->index);
    pthread_mutex_destroy(&catalog->lock);
    free(catalog);
}

/* The one with this name; NULL where there is none, or several: then *ambiguous. */
static struct catalog_entry *find_name(const struct entries *entries, struct slice name, bool *ambiguous)
{
    struct catalog_entry wanted = { .name = name };
    size_t at = entries_position(entries, by_name, &wanted);
    if (at == entries->count || !slice_equal(entries->items[at]->name, name)) return NULL;
    *ambiguous = at + 1 < entries->count && slice_equal(entries->items[at + 1]->name, name);
    return *ambiguous ? NULL : entries->items[at];
}

static struct catalog_entry *find_either(const struct index *index, enum resource_kind kind, struct slice id_or_name,
                                         bool *ambiguous)
{
    *ambiguous = false;
    struct catalog_entry *entry = entries_find_id(&index->entries[kind][BY_ID], id_or_name);
    return entry ? entry : find_name(&index->entries[kind][BY_NAME], id_or_name, ambiguous);
}

struct catalog_entry *catalog_find(struct catalog *catalog, enum resource_kind kind, struct slice id_or_name,
                                   bool *ambiguous)
{
    bool several;
    pthread_mutex_lock(&catalog->lock);
    struct catalog_entry *entry = find_either(&catalog->index, kind, id_or_name, &several);
    if (entry) catalog_entry_retain(entry);
    pthread_mutex_unlock(&catalog->lock);
    if (ambiguous) *ambiguous = several;
    return entry;
}

/* The document is canonical: the kind of policy stands first in it, and has nothing to escape. */
static bool is_of_policy(const struct catalog_entry *entry, struct slice policy)
{
    const struct slice opening = SLICE("{\"name\":\"");
    if (!slice_starts_with(entry->document, opening)) return false;
    struct slice said = slice_after(entry->document, opening.length);
    if (said.length <= policy.length || said.at[policy.length] != '"') return false;
    for (size_t i = 0; i < policy.length; i++) {
        if (said.at[i] != (policy.at[i] == '_' ? '-' : policy.at[i])) return false;
    }
    return true;
}

static struct catalog_entry *find_of_policy(const struct entries *plugins, struct slice policy, bool *ambiguous)
{
    struct catalog_entry *found = NULL;
    for (size_t i = 0; i < plugins->count && !*ambiguous; i++) {
        if (!is_of_policy(plugins->items[i], policy)) continue;
        *ambiguous = found != NULL;
        found = plugins->items[i];
    }
    return *ambiguous ? NULL : found;
}

struct catalog_entry *catalog_find_addressed(struct catalog *catalog, enum resource_kind kind, struct slice text,
                                             bool *ambiguous)
{
    pthread_mutex_lock(&catalog->lock);
    struct catalog_entry *entry = find_either(&catalog->index, kind, text, ambiguous);
    if (!entry && !*ambiguous && kind == RESOURCE_PLUGIN)
        entry = find_of_policy(&catalog->index.entries[kind][BY_AGE], text, ambiguous);
    if (entry) catalog_entry_retain(entry);
    pthread_mutex_unlock(&catalog->lock);
    return entry;
}

size_t catalog_list(struct catalog *catalog, enum resource_kind kind, uint64_t after_us, struct slice after_id,
                    bool (*take)(const void *argument, const struct catalog_entry *), const void *argument,
                    struct catalog_entry **into, size_t limit, bool *more)
{
    struct catalog_entry after = { .created_us = after_us, .id = after_id };
    size_t count = 0;
    *more = false;
    pthread_mutex_lock(&catalog->lock);
    const struct entries *entries = &catalog->index.entries[kind][BY_AGE];
    size_t at = entries_position(entries, by_age, &after);
    if (at < entries->count && by_age(entries->items[at], &after) == 0) at++;
    for (; at < entries->count && !*more; at++) {
        struct catalog_entry *entry = entries->items[at];
        if (take && !take(argument, entry)) continue;
        if (count == limit)
            *more = true;
        else
            into[count++] = catalog_entry_retain(entry);
    }
    pthread_mutex_unlock(&catalog->lock);
    return count;
}

size_t catalog_count(struct catalog *catalog, enum resource_kind kind)
{
    pthread_mutex_lock(&catalog->lock);
    size_t count = catalog->index.entries[kind][BY_ID].count;
    pthread_mutex_unlock(&catalog->lock);
    return count;
}

static size_t first_use(const struct uses *uses, enum resource_kind kind, const char *id)
{
    size_t low = 0, high = uses->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_named(&uses->items[middle], kind, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t catalog_users(struct catalog *catalog, enum resource_kind kind, struct slice id, struct catalog_entry **into,
                     size_t limit)
{
    char text[sizeof(((struct catalog_reference *)NULL)->id)] = { 0 };
    if (id.length == 0 || id.length >= sizeof text) return 0;
    memcpy(text, id.at, id.length);
    size_t count = 0;
    pthread_mutex_lock(&catalog->lock);
    const struct uses *uses = &catalog->index.uses;
    for (size_t at = first_use(uses, kind, text); at < uses->count && count < limit; at++) {
        if (by_named(&uses->items[at], kind, text) != 0) break;
        into[count++] = catalog_entry_retain(uses->items[at].user);
    }
    pthread_mutex_unlock(&catalog->lock);
    return count;
}

uint64_t catalog_revision(struct catalog *catalog)
{
    pthread_mutex_lock(&catalog->lock);
    uint64_t revision = catalog->index.revision;
    pthread_mutex_unlock(&catalog->lock);
    return revision;
}

static size_t count_all(const struct index *index)
{
    size_t count = 0;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) count += index->entries[kind][BY_AGE].count;
    return count;
}

static void retain_all(const struct index *index, struct catalog_entry **into)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct entries *entries = &index->entries[kind][BY_AGE];
        for (size_t i = 0; i < entries->count; i++) *into++ = catalog_entry_retain(entries->items[i]);
    }
}

/* Memory for as many as there were a moment ago, and a few more, until that was enough. */
struct catalog_entry **catalog_all(struct catalog *catalog, size_t *count, uint64_t *revision)
{
    struct catalog_entry **all = NULL;
    size_t room = 0;
    for (bool fits = false; !fits;) {
        pthread_mutex_lock(&catalog->lock);
        *count = count_all(&catalog->index);
        *revision = catalog->index.revision;
        fits = all && *count <= room;
        if (fits) retain_all(&catalog->index, all);
        pthread_mutex_unlock(&catalog->lock);
        if (fits) break;
        free(all);
        room = room_for(*count);
        all = memory_allocate_array(room, sizeof(struct catalog_entry *));
    }
    return all;
}

/* --- changes --- */

/* Puts a new state in the old one's place; the old arrays are the caller's. */
static struct index swap(struct catalog *catalog, const struct index *index)
{
    pthread_mutex_lock(&catalog->lock);
    struct index before = catalog->index;
    catalog->index = *index;
    pthread_mutex_unlock(&catalog->lock);
    return before;
}

void catalog_replace(struct catalog *catalog, struct catalog_entry **entries, size_t count, uint64_t revision)
{
    struct index built;
    index_build(&built, entries, count, revision);
    struct index before = swap(catalog, &built);
    drop_all(&before);
}

/* Larger arrays where the ones there may not do. */
static void make_room(struct catalog *catalog, const struct catalog_change *changes, size_t count)
{
    size_t use_count = 0, counts[RESOURCE_KIND_COUNT] = { 0 };
    for (size_t i = 0; i < count; i++) {
        counts[changes[i].kind]++;
        if (changes[i].after) use_count += changes[i].after->reference_count;
    }
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        for (int order = 0; order < ORDER_COUNT; order++) {
            struct entries *entries = &catalog->index.entries[kind][order];
            if (entries->count + counts[kind] <= entries->capacity) continue;
            struct entries larger = { .count = entries->count, .capacity = room_for(entries->count + counts[kind]) };
            larger.items = memory_allocate_array(larger.capacity, sizeof *larger.items);
            memcpy(larger.items, entries->items, entries->count * sizeof *entries->items);
            struct catalog_entry **before = entries->items;
            pthread_mutex_lock(&catalog->lock);
            *entries = larger;
            pthread_mutex_unlock(&catalog->lock);
            free(before);
        }
    }
    struct uses *uses = &catalog->index.uses;
    if (uses->count + use_count <= uses->capacity) return;
    struct uses larger = { .count = uses->count, .capacity = room_for(uses->count + use_count) };
    larger.items = memory_allocate_array(larger.capacity, sizeof *larger.items);
    memcpy(larger.items, uses->items, uses->count * sizeof *uses->items);
    struct use *before = uses->items;
    pthread_mutex_lock(&catalog->lock);
    *uses = larger;
    pthread_mutex_unlock(&catalog->lock);
    free(before);
}

/* In the arrays that are there. What was taken out stands in changes[].after afterwards. */
static void apply_in_place(struct catalog *catalog, struct catalog_change *changes, size_t count, uint64_t revision)
{
    make_room(catalog, changes, count);
    struct index *index = &catalog->index;
    pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < count; i++) {
        struct catalog_entry *before = entries_find_id(&index->entries[changes[i].kind][BY_ID], changes[i].id);
        if (before) index_remove(index, before);
        if (changes[i].after) index_insert(index, changes[i].after);
        changes[i].after = before;
    }
    index->revision = revision;
    pthread_mutex_unlock(&catalog->lock);
    for (size_t i = 0; i < count; i++) catalog_entry_drop(changes[i].after);
}

struct numbered_change {
    const struct catalog_change *change;
    size_t number;
};

static int compare_changes(const void *a, const void *b)
{
    const struct numbered_change *left = a, *right = b;
    int order = compare_numbers(left->change->kind, right->change->kind);
    if (order == 0) order = slice_compare(left->change->id, right->change->id);
    return order ? order : compare_numbers(left->number, right->number);
}

static bool is_of(const struct numbered_change *numbered, const struct catalog_entry *entry)
{
    return numbered->change->kind == entry->kind && slice_equal(numbered->change->id, entry->id);
}

/* What was there and isn't touched, and what comes; of several changes of one the last one counts. */
static void apply_anew(struct catalog *catalog, const struct catalog_change *changes, size_t count, uint64_t revision)
{
    struct numbered_change *sorted = memory_allocate_array(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++) sorted[i] = (struct numbered_change){ &changes[i], i };
    qsort(sorted, count, sizeof *sorted, compare_changes);
    struct vector kept, gone;
    vector_init(&kept, sizeof(struct catalog_entry *));
    vector_init(&gone, sizeof(struct catalog_entry *));
    size_t next = 0;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct entries *entries = &catalog->index.entries[kind][BY_ID];
        for (size_t i = 0; i < entries->count; i++) {
            struct catalog_change here = { .kind = (enum resource_kind)kind, .id = entries->items[i]->id };
            struct numbered_change wanted = { &here, 0 };
            while (next < count && compare_changes(&sorted[next], &wanted) < 0) next++;
            bool is_changed = next < count && is_of(&sorted[next], entries->items[i]);
            vector_push_pointer(is_changed ? &gone : &kept, entries->items[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct catalog_entry *after = sorted[i].change->after;
        bool is_last = i + 1 == count || sorted[i + 1].change->kind != sorted[i].change->kind ||
                       !slice_equal(sorted[i + 1].change->id, sorted[i].change->id);
        if (after) vector_push_pointer(is_last ? &kept : &gone, after);
    }
    struct index built;
    index_build(&built, kept.items, kept.count, revision);
    struct index before = swap(catalog, &built);
    index_release(&before);
    for (size_t i = 0; i < gone.count; i++) catalog_entry_drop(vector_pointer_at(&gone, i));
    vector_release(&kept);
    vector_release(&gone);
    free(sorted);
}

void catalog_apply(struct catalog *catalog, struct catalog_change *changes, size_t count, uint64_t revision)
{
    size_t all = count_all(&catalog->index);
    for (size_t i = 0; i < count; i++) {
        const struct catalog_entry *after = changes[i].after;
        PROMISE(!after || (after->kind == changes[i].kind && slice_equal(after->id, changes[i].id)));
    }
    if (count > 16 && count > all / 8)
        apply_anew(catalog, changes, count, revision);
    else
        apply_in_place(catalog, changes, count, revision);
}

/* --- as a directory --- */

static struct slice directory_find(const void *argument, enum resource_kind kind, struct slice id_or_name)
{
    const struct catalog *catalog = argument;
    bool ambiguous;
    const struct catalog_entry *entry = find_either(&catalog->index, kind, id_or_name, &ambiguous);
    return entry ? entry->id : SLICE_ABSENT;
}

static char *directory_nearest(const void *argument, enum resource_kind kind, struct slice wanted)
{
    const struct catalog *catalog = argument;
    const struct entries *entries = &catalog->index.entries[kind][BY_NAME];
    const char **names = memory_allocate_array(entries->count + 1, sizeof *names);
    for (size_t i = 0; i < entries->count; i++) names[i] = entries->items[i]->name.at;
    const char *nearest = nearest_name(wanted, names, entries->count);
    char *copy = nearest ? memory_copy_slice(slice_from_cstring(nearest)) : NULL;
    free(names);
    return copy;
}

struct resource_directory catalog_directory(struct catalog *catalog)
{
    return (struct resource_directory){ .find = directory_find, .nearest = directory_nearest, .argument = catalog };
}
