/* changes/whole.c: a whole desired state, or the part of it that has a tag: everything that is there is taken away, what is written is put
 * (or put again, and then nothing has changed), and what remains taken away goes. Pure but for the file of an import. */
#include "changes/private.h"

#include "base/memory.h"
#include "base/nearest.h"
#include "config/api_versions.h"

struct whole {
    struct draft *draft;
    struct slice tag;   /* absent: everything */
    struct map claimed; /* ids that the body says itself: of one kind at a time */
};

/* --- what is there --- */

static bool has_tag(const struct node *resource, struct slice tag)
{
    const struct node *tags = node_find(resource, "tags");
    if (tags && tags->kind == NODE_SCALAR) return slice_equal(tags->text, tag);
    for (const struct node *item = tags ? tags->first : NULL; item; item = item->next) {
        if (item->kind == NODE_SCALAR && slice_equal(item->text, tag)) return true;
    }
    return false;
}

static bool document_has_tag(struct slice document, struct slice tag)
{
    if (slice_find(document, tag) == SLICE_NOT_FOUND && slice_find_byte(document, '\\') == SLICE_NOT_FOUND)
        return false;
    struct arena arena;
    struct problems ignored;
    arena_init(&arena, NULL);
    problems_init(&ignored, NULL);
    bool found = has_tag(node_read_json(&arena, document, NULL, &ignored), tag);
    problems_release(&ignored);
    arena_release(&arena);
    return found;
}

static void take_all_away(struct whole *whole, enum resource_kind kind)
{
    struct vector entries;
    vector_init(&entries, sizeof(struct catalog_entry *));
    draft_list(whole->draft, kind, &entries);
    for (size_t i = 0; i < entries.count; i++) {
        const struct catalog_entry *entry = vector_pointer_at(&entries, i);
        if (slice_is_absent(whole->tag) || document_has_tag(entry->document, whole->tag))
            draft_put(whole->draft, kind, entry->id, NULL, NULL);
    }
    draft_drop_all(&entries);
}

/* --- what is written --- */

static struct slice text_of(const struct node *map, const char *key)
{
    const struct node *node = node_find(map, key);
    return node && node->kind == NODE_SCALAR ? node->text : SLICE_ABSENT;
}

/* Which one that is there is meant: by id, or else by a name that no other item claims by id. One reference. */
static struct catalog_entry *meant(const struct whole *whole, enum resource_kind kind, const struct node *item)
{
    struct slice id = text_of(item, "id"), name = text_of(item, resource_types[kind].name_field);
    struct slice wanted = slice_is_absent(id) ? name : id;
    if (wanted.length == 0) return NULL;
    struct catalog_entry *entry = catalog_find(whole->draft->catalog, kind, wanted, NULL);
    if (!entry) return NULL;
    bool fits = slice_is_absent(id) ? slice_equal(entry->name, name) && !map_find(&whole->claimed, entry->id)
                                    : slice_equal(entry->id, id);
    if (fits) return entry;
    catalog_entry_drop(entry);
    return NULL;
}

static void refuse_taken(struct whole *whole, enum resource_kind kind, const struct node *item)
{
    struct draft *draft = whole->draft;
    const struct catalog_entry *holder = vector_pointer_at(&draft->users, draft->users.count - 1);
    const struct draft_item *known = draft_find_item(draft, kind, holder->id);
    const struct resource_type *type = &resource_types[kind];
    const struct node *name = node_find(item, type->name_field);
    problems_add(draft->problems, name ? name : item, NULL,
                 known ? "%s \"%s\" is given twice" : "%s \"%s\" is there already, without the tag", type->word,
                 problems_excerpt(holder->name).text);
    draft_drop_all(&draft->users);
    draft->is_taken = false;
}

static bool tag_is_right(struct whole *whole, enum resource_kind kind, const struct node *item,
                         const struct catalog_entry *entry)
{
    if (slice_is_absent(whole->tag)) return true;
    struct problems *problems = whole->draft->problems;
    if (!has_tag(item, whole->tag)) {
        problems_add(problems, item, "write it into its \"tags\"", "the tag \"%s\" is missing",
                     problems_excerpt(whole->tag).text);
        return false;
    }
    if (!entry || draft_find_item(whole->draft, kind, entry->id)) return true;
    problems_add(problems, item, NULL, "%s \"%s\" is there already, without the tag", resource_types[kind].word,
                 problems_excerpt(entry->name).text);
    return false;
}

static struct draft_item *read_item(struct draft *draft, enum resource_kind kind, const struct node *written,
                                    const struct catalog_entry *entry)
{
    struct draft_item *item = draft_read(draft, kind, written, entry ? entry->id : SLICE_ABSENT, NULL);
    if (item || !draft->is_taken || entry || node_find(written, "id")) return item;
    /* The id that would be made of its name is that of one that was called so once. */
    const struct catalog_entry *holder = vector_pointer_at(&draft->users, draft->users.count - 1);
    struct slice name = text_of(written, resource_types[kind].name_field);
    if (name.length == 0 || slice_equal(holder->name, name)) return NULL;
    draft_drop_all(&draft->users);
    return draft_read(draft, kind, written, draft_new_id(&draft->arena), NULL);
}

static void put_item(struct whole *whole, enum resource_kind kind, struct node *item, size_t index)
{
    struct draft *draft = whole->draft;
    struct schema_reading reading = {
        .arena = &draft->arena, .problems = draft->problems, .kinds = draft->kinds, .folder = draft->folder
    };
    struct catalog_entry *entry = meant(whole, kind, item);
    if (tag_is_right(whole, kind, item, entry)) {
        resource_keep_secrets(&reading, kind, item, entry ? entry->document : SLICE_ABSENT);
        struct draft_item *put = read_item(draft, kind, item, entry);
        if (put) put->written_index = index;
        if (!put && draft->is_taken) refuse_taken(whole, kind, item);
    }
    catalog_entry_drop(entry);
}

static void put_list(struct whole *whole, enum resource_kind kind, const struct node *list)
{
    struct draft *draft = whole->draft;
    if (list->kind == NODE_NULL) return;
    if (list->kind != NODE_LIST) {
        problems_add(draft->problems, list, NULL, "\"%s\" must be a list", resource_types[kind].list_name);
        return;
    }
    map_init(&whole->claimed);
    for (const struct node *item = list->first; item; item = item->next) {
        struct slice id = text_of(item, "id");
        if (id.length) map_set(&whole->claimed, id, (void *)(uintptr_t)item);
    }
    size_t index = 0;
    for (struct node *item = list->first; item; item = item->next) put_item(whole, kind, item, index++);
    map_release(&whole->claimed);
}

/* --- the body --- */

static void refuse_unknown(struct draft *draft, const struct node *body)
{
    const char *names[RESOURCE_KIND_COUNT];
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) names[kind] = resource_types[kind].list_name;
    for (const struct node *node = body->first; node; node = node->next) {
        bool known = false;
        for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++)
            known |= slice_equal(node->key, slice_from_cstring(names[kind]));
        if (known) continue;
        const char *nearest = nearest_name(node->key, names, COUNT_OF(names));
        char *hint = nearest ? memory_format("did you mean \"%s\"?", nearest)
                             : memory_format("resources only: settings stand in the bootstrap file");
        problems_add_at_key(draft->problems, node, hint, "unknown field \"%s\"", problems_excerpt(node->key).text);
        free(hint);
    }
}

enum change_outcome whole_edit(struct draft *draft, struct change_order *order, const struct node *body)
{
    struct whole whole = { .draft = draft, .tag = slice_from_cstring(order->tag) };
    enum change_outcome outcome;
    char revision[24];
    snprintf(revision, sizeof revision, "%llu", (unsigned long long)catalog_revision(draft->catalog));
    if (!edit_may_go_on(order, revision, &outcome)) return outcome;
    if (body->kind != NODE_MAP) {
        problems_add(draft->problems, body, NULL, "a configuration is a map of lists: services, routes, plugins ...");
        return CHANGE_INVALID;
    }
    refuse_unknown(draft, body);
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) take_all_away(&whole, kind);
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        const struct node *list = node_find(body, resource_types[kind].list_name);
        if (list) put_list(&whole, kind, list);
    }
    if (draft->problems->count) return CHANGE_INVALID;
    if (!draft_follow_names(draft)) return draft->users.count ? edit_refused(draft, order) : CHANGE_INVALID;
    return CHANGE_UPDATED;
}

/* --- an import --- */

static void write_lists(FILE *out, struct configuration *configuration, const struct policy_kinds *kinds)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct document_list documents = configuration_documents(configuration, kinds, kind);
        if (kind == RESOURCE_API_KEY && documents.count == 0) continue; /* with a tag they may not even be named */
        fprintf(out, "%s\"%s\":[", kind ? "," : "{", resource_types[kind].list_name);
        for (size_t i = 0; i < documents.count; i++) {
            if (i) fputc(',', out);
            fwrite(documents.items[i].at, 1, documents.items[i].length, out);
        }
        fputc(']', out);
    }
    fputc('}', out);
}

static void take_out_field(struct node *map, const char *key)
{
    for (struct node **at = &map->first; *at; at = &(*at)->next) {
        if (!slice_equal((*at)->key, slice_from_cstring(key))) continue;
        *at = (*at)->next;
        map->count--;
        return;
    }
}

/* An id that the file doesn't say is no claim: what has the name already is meant, whatever its id. */
static void forget_made_ids(const struct configuration *configuration, const struct node *body)
{
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        const struct resource_type *type = &resource_types[kind];
        const struct object_list *items = (const void *)((const char *)configuration + type->list_at);
        const char *config = items->items;
        struct node *document = node_find(body, type->list_name)->first;
        for (; document; document = document->next, config += type->size) {
            const struct node *written = *(const struct node *const *)(const void *)(config + type->node_at);
            if (!node_find(written, "id") && node_find(written, type->name_field)) take_out_field(document, "id");
        }
    }
}

static bool is_list_of_resources(struct slice key)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        if (slice_equal(key, slice_from_cstring(resource_types[kind].list_name))) return true;
    }
    return false;
}

/* "listeners, admin": a store holds resources alone. NULL: nothing; the caller's. */
static char *name_left_out(const struct node *root)
{
    char *names = NULL;
    for (const struct node *node = root->first; node; node = node->next) {
        if (is_list_of_resources(node->key)) continue;
        char *more = memory_format("%s%s%.*s", names ? names : "", names ? ", " : "", SLICE_PRINT(node->key));
        free(names);
        names = more;
    }
    return names;
}

struct node *whole_parse_file(struct draft *draft, struct change_order *order, enum change_outcome *outcome)
{
    *outcome = CHANGE_INVALID;
    struct configuration *configuration = configuration_load_file_to_import(order->file, draft->kinds, draft->problems);
    if (!configuration) return NULL;
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    write_lists(out, configuration, draft->kinds);
    text_finish(out, &text);
    struct node *body = node_read_json(&draft->arena, slice_of(text, length), order->file, draft->problems);
    if (body) forget_made_ids(configuration, body);
    draft->api_versions = api_versions_copy(&draft->arena, &configuration->api_versions);
    order->left_out = name_left_out(configuration->node);
    configuration_destroy(configuration);
    free(text);
    return body;
}
