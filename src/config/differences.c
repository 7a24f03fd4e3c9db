/* What differs between two documents of a resource, for revisions and for whoever asks what a change would do. */
#include "config/private.h"

static void add_difference(struct arena *arena, struct node *list, struct node **last, struct slice pointer,
                           const struct node *before, const struct node *after)
{
    struct node *entry = node_make(arena, NODE_MAP), *end = NULL;
    node_append(entry, &end, SLICE("pointer"), node_make_text(arena, pointer));
    node_append(entry, &end, SLICE("before"), before ? node_copy(arena, before) : node_make(arena, NODE_NULL));
    node_append(entry, &end, SLICE("after"), after ? node_copy(arena, after) : node_make(arena, NODE_NULL));
    node_append(list, last, SLICE_ABSENT, entry);
}

static bool is_equal(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->count != b->count || !slice_equal(a->text, b->text)) return false;
    struct content_hash one = node_hash(a), other = node_hash(b);
    return memcmp(&one, &other, sizeof one) == 0;
}

static void compare(struct arena *, struct node *list, struct node **last, const struct node *before,
                    const struct node *after);

static void compare_maps(struct arena *arena, struct node *list, struct node **last, const struct node *before,
                         const struct node *after)
{
    for (const struct node *child = before->first; child; child = child->next) {
        const struct node *now = node_find(after, child->key.at);
        if (now)
            compare(arena, list, last, child, now);
        else
            add_difference(arena, list, last, node_pointer(child, arena), child, NULL);
    }
    for (const struct node *child = after->first; child; child = child->next) {
        if (!node_find(before, child->key.at))
            add_difference(arena, list, last, node_pointer(child, arena), NULL, child);
    }
}

/* Of lists, items are compared where there are as many; else the lists stand as a whole. */
static void compare(struct arena *arena, struct node *list, struct node **last, const struct node *before,
                    const struct node *after)
{
    if (is_equal(before, after)) return;
    bool is_secret = node_find(before, SECRET_KEY) || node_find(after, SECRET_KEY);
    if (before->kind == NODE_MAP && after->kind == NODE_MAP && !is_secret) {
        compare_maps(arena, list, last, before, after);
    } else if (before->kind == NODE_LIST && after->kind == NODE_LIST && before->count == after->count) {
        for (const struct node *a = before->first, *b = after->first; a; a = a->next, b = b->next)
            compare(arena, list, last, a, b);
    } else {
        add_difference(arena, list, last, node_pointer(after, arena), before, after);
    }
}

struct slice resource_difference(struct arena *arena, enum resource_kind kind, const struct policy_kinds *kinds,
                                 struct slice before, struct slice after)
{
    struct node *old = slice_is_absent(before) ? NULL : document_read(arena, before);
    struct node *new = slice_is_absent(after) ? NULL : document_read(arena, after);
    struct node *list = node_make(arena, NODE_LIST), *last = NULL;
    if (old) secrets_hide(arena, kind, kinds, old);
    if (new) secrets_hide(arena, kind, kinds, new);
    if (old && new)
        compare(arena, list, &last, old, new);
    else if (old || new)
        add_difference(arena, list, &last, SLICE(""), old, new);
    return node_write_json(arena, list);
}
