/* changes/edit.c: what an order makes of one resource and of those that use it. Pure: from a catalog and an order to a draft. */
#include "changes/private.h"

#include "base/memory.h"

struct node *edit_parse(struct draft *draft, struct change_order *order, enum change_outcome *outcome)
{
    size_t before = draft->problems->count;
    *outcome = CHANGE_UNREADABLE;
    if (!order->body) {
        problems_add(draft->problems, NULL, "send a JSON object", "a body is missing");
        return NULL;
    }
    struct node *body = node_read_json(&draft->arena, slice_of(order->body, order->body_length), NULL, draft->problems);
    if (!body) return NULL;
    *outcome = CHANGE_INVALID; /* a key that stands there twice, say */
    return draft->problems->count == before ? body : NULL;
}

/* --- preconditions --- */

static bool is_among(const char *etags, const char *wanted)
{
    struct slice rest = slice_from_cstring(etags), etag;
    while (slice_next(&rest, ',', &etag)) {
        if (slice_equal(etag, SLICE("*")) || slice_equal(etag, slice_from_cstring(wanted))) return true;
    }
    return false;
}

bool edit_may_go_on(const struct change_order *order, const char *etag, enum change_outcome *outcome)
{
    if (etag && order->if_none_match && is_among(order->if_none_match, etag)) {
        *outcome = CHANGE_STALE;
    } else if (order->if_match) {
        if (etag && is_among(order->if_match, etag)) return true;
        *outcome = CHANGE_STALE;
    } else if (etag && order->match_required) {
        *outcome = CHANGE_MATCH_REQUIRED;
    } else {
        return true;
    }
    return false;
}

static bool entry_may_go_on(const struct change_order *order, const struct catalog_entry *entry,
                            enum change_outcome *outcome)
{
    char etag[CHANGES_ETAG_BYTES];
    if (entry) changes_etag(entry->hash, etag);
    return edit_may_go_on(order, entry ? etag : NULL, outcome);
}

/* --- answers --- */

#define USERS_MAX 20

enum change_outcome edit_refused(struct draft *draft, struct change_order *order)
{
    size_t count = draft->users.count < USERS_MAX ? draft->users.count : USERS_MAX;
    order->users = memory_allocate_array(count + 1, sizeof(struct catalog_entry *));
    for (size_t i = 0; i < count; i++) order->users[i] = catalog_entry_retain(vector_pointer_at(&draft->users, i));
    order->user_count = count;
    return draft->is_taken ? CHANGE_NAME_TAKEN : CHANGE_IN_USE;
}

static enum change_outcome not_read(struct draft *draft, struct change_order *order)
{
    return draft->is_taken ? edit_refused(draft, order) : CHANGE_INVALID;
}

static enum change_outcome done(struct draft *draft, struct change_order *order, const struct draft_item *item,
                                enum change_outcome outcome)
{
    if (!draft_follow_names(draft)) return draft->users.count ? edit_refused(draft, order) : CHANGE_INVALID;
    order->after = catalog_entry_retain(item->after);
    return draft_is_empty(draft) ? CHANGE_NOTHING : outcome;
}

/* --- create, put, patch --- */

static bool is_said(const struct node *body, const char *key)
{
    const struct node *node = node_find(body, key);
    return node && node->kind != NODE_NULL;
}

static enum change_outcome create(struct draft *draft, struct change_order *order, struct node *body)
{
    struct slice new_id = is_said(body, "id") ? SLICE_ABSENT : draft_new_id(&draft->arena);
    struct draft_item *item = draft_read(draft, order->kind, body, new_id, NULL);
    return item ? done(draft, order, item, CHANGE_CREATED) : not_read(draft, order);
}

/* What the address says stands in the body as well, or isn't said there. */
static bool agrees(struct draft *draft, const struct node *body, const char *key, struct slice wanted)
{
    const struct node *said = node_find(body, key);
    if (!said || said->kind != NODE_SCALAR || slice_equal(said->text, wanted)) return true;
    problems_add(draft->problems, said, "leave it out", "\"%s\" is another one than the address says: \"%s\"", key,
                 problems_excerpt(wanted).text);
    return false;
}

static enum change_outcome put_new(struct draft *draft, struct change_order *order, struct node *body)
{
    const char *name_field = resource_types[order->kind].name_field;
    struct slice target = slice_from_cstring(order->target), new_id = target;
    enum change_outcome outcome;
    if (!entry_may_go_on(order, NULL, &outcome)) return outcome;
    if (!agrees(draft, body, is_uuid(target) ? "id" : name_field, target)) return CHANGE_INVALID;
    if (!is_uuid(target)) {
        new_id = is_said(body, "id") ? SLICE_ABSENT : draft_new_id(&draft->arena);
        if (!is_said(body, name_field)) body = draft_with_field(&draft->arena, body, name_field, target);
    }
    struct draft_item *item = draft_read(draft, order->kind, body, new_id, NULL);
    return item ? done(draft, order, item, CHANGE_CREATED) : not_read(draft, order);
}

/* `body` takes the place of what is there. */
static enum change_outcome replace(struct draft *draft, struct change_order *order, struct node *body,
                                   const struct catalog_entry *entry)
{
    struct schema_reading reading = {
        .arena = &draft->arena, .problems = draft->problems, .kinds = draft->kinds, .folder = draft->folder
    };
    if (!agrees(draft, body, "id", entry->id)) return CHANGE_INVALID;
    resource_keep_secrets(&reading, order->kind, body, entry->document);
    struct draft_item *item = draft_read(draft, order->kind, body, entry->id, entry);
    return item ? done(draft, order, item, CHANGE_UPDATED) : not_read(draft, order);
}

static enum change_outcome put(struct draft *draft, struct change_order *order, struct node *body,
                               const struct catalog_entry *entry)
{
    const char *name_field = resource_types[order->kind].name_field;
    if (!is_said(body, name_field) && !slice_equal(entry->name, entry->id))
        body = draft_with_field(&draft->arena, body, name_field, entry->name);
    return replace(draft, order, body, entry);
}

static enum change_outcome patch(struct draft *draft, struct change_order *order, struct node *body,
                                 const struct catalog_entry *entry)
{
    const struct node *target = node_read_json(&draft->arena, entry->document, NULL, draft->problems);
    if (!target) return CHANGE_INVALID;
    return replace(draft, order, resource_merge_patch(&draft->arena, order->kind, draft->kinds, target, body), entry);
}

/* --- delete --- */

/* A plugin that lists others as well only loses what goes; whatever else names it goes along. */
struct cascade {
    struct draft *draft;
    struct vector names; /* struct node *: texts in the user's document that name something that goes */
};

static void note_gone(void *argument, struct node *text, enum resource_kind to, bool is_inside)
{
    (void)is_inside;
    struct cascade *cascade = argument;
    struct resource_directory directory = draft_directory(cascade->draft);
    if (slice_is_absent(directory.find(directory.argument, to, text->text))) vector_push_pointer(&cascade->names, text);
}

/* False: it can't be without what it names. */
static bool lose_names(struct draft *draft, const struct catalog_entry *user)
{
    struct cascade cascade = { .draft = draft };
    struct node *node = node_read_json(&draft->arena, user->document, NULL, draft->problems);
    bool can_be = node != NULL;
    vector_init(&cascade.names, sizeof(struct node *));
    if (node)
        resource_visit_references(user->kind, draft->kinds, node,
                                  &(struct resource_reference_visit){ note_gone, &cascade });
    for (size_t i = 0; can_be && i < cascade.names.count; i++)
        can_be = references_take_out(user->kind, vector_pointer_at(&cascade.names, i));
    vector_release(&cascade.names);
    return can_be && draft_read(draft, user->kind, node, SLICE_ABSENT, user);
}

static void take_away(struct draft *draft, enum resource_kind kind, struct slice id)
{
    struct draft_item *item = draft_put(draft, kind, id, NULL, NULL);
    struct vector users;
    vector_init(&users, sizeof(struct catalog_entry *));
    draft_users(draft, kind, item->id, &users);
    for (size_t i = 0; i < users.count; i++) {
        const struct catalog_entry *user = vector_pointer_at(&users, i);
        const struct draft_item *known = draft_find_item(draft, user->kind, user->id);
        if (known && !known->after) continue;
        struct catalog_entry *now = draft_get(draft, user->kind, user->id);
        if (!lose_names(draft, now)) take_away(draft, user->kind, user->id);
        catalog_entry_drop(now);
    }
    draft_drop_all(&users);
}

static enum change_outcome take_away_one(struct draft *draft, struct change_order *order,
                                         const struct catalog_entry *entry)
{
    if (order->cascade) {
        take_away(draft, entry->kind, entry->id);
        return draft->problems->count ? CHANGE_INVALID : CHANGE_DELETED;
    }
    draft_users(draft, entry->kind, entry->id, &draft->users);
    if (draft->users.count) return edit_refused(draft, order);
    draft_put(draft, entry->kind, entry->id, NULL, NULL);
    return CHANGE_DELETED;
}

/* --- any of them --- */

/* A PUT that says a plugin's own name means the one that has it or is to have it, and no other of its kind. */
static struct catalog_entry *meant(struct draft *draft, const struct change_order *order, const struct node *body,
                                   bool *is_ambiguous)
{
    struct slice target = slice_from_cstring(order->target);
    if (order->action == CHANGE_PUT && is_said(body, resource_types[order->kind].name_field))
        return catalog_find(draft->catalog, order->kind, target, is_ambiguous);
    return catalog_find_addressed(draft->catalog, order->kind, target, is_ambiguous);
}

enum change_outcome edit_one(struct draft *draft, struct change_order *order, struct node *body)
{
    if (order->action == CHANGE_CREATE) return create(draft, order, body);

    bool is_ambiguous = false;
    enum change_outcome outcome;
    order->before = meant(draft, order, body, &is_ambiguous);
    if (is_ambiguous) return CHANGE_AMBIGUOUS;
    if (!order->before) return order->action == CHANGE_PUT ? put_new(draft, order, body) : CHANGE_NOT_FOUND;
    if (!entry_may_go_on(order, order->before, &outcome)) return outcome;
    switch (order->action) {
    case CHANGE_PUT: return put(draft, order, body, order->before);
    case CHANGE_PATCH: return patch(draft, order, body, order->before);
    default: return take_away_one(draft, order, order->before);
    }
}
