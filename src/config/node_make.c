/* Trees that are made rather than read: canonical forms of resources, merged patches (RFC 7396). */
#include "config/private.h"

#include <inttypes.h>

struct node *node_make(struct arena *arena, enum node_kind kind)
{
    struct node *node = config_allocate(arena, sizeof *node);
    node->kind = (uint8_t)kind;
    if (kind == NODE_NULL) node->text = SLICE("null");
    return node;
}

struct node *node_make_text(struct arena *arena, struct slice text)
{
    struct node *node = node_make(arena, NODE_SCALAR);
    node->quoted = true;
    node->text = text;
    return node;
}

struct node *node_make_integer(struct arena *arena, int64_t value)
{
    struct node *node = node_make(arena, NODE_SCALAR);
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, value);
    node->text = arena_keep(arena, slice_of(digits, (size_t)length));
    return node;
}

struct node *node_make_boolean(struct arena *arena, bool value)
{
    struct node *node = node_make(arena, NODE_SCALAR);
    node->text = value ? SLICE("true") : SLICE("false");
    return node;
}

void node_append(struct node *parent, struct node **last, struct slice key, struct node *child)
{
    struct node *end = last ? *last : NULL;
    if (!end) {
        for (end = parent->first; end && end->next;) end = end->next;
    }
    child->parent = parent;
    child->key = key;
    child->next = NULL;
    if (end)
        end->next = child;
    else
        parent->first = child;
    if (last) *last = child;
    parent->count++;
}

/* Without its children. */
static struct node *copy_alone(struct arena *arena, const struct node *node)
{
    struct node *copy = config_allocate(arena, sizeof *copy);
    *copy = *node;
    copy->parent = copy->first = copy->next = NULL;
    copy->count = 0;
    return copy;
}

struct node *node_copy(struct arena *arena, const struct node *node)
{
    struct node *copy = copy_alone(arena, node), *last = NULL;
    for (const struct node *child = node->first; child; child = child->next)
        node_append(copy, &last, child->key, node_copy(arena, child));
    return copy;
}

/* --- RFC 7396 --- */

static struct node *merge(struct arena *, const struct node *target, const struct node *patch);

/* What of the patch is new to the target; a null takes nothing away there. */
static void append_new(struct arena *arena, struct node *merged, struct node **last, const struct node *target,
                       const struct node *patch)
{
    for (const struct node *child = patch->first; child; child = child->next) {
        if (child->kind == NODE_NULL || (target && node_find(target, child->key.at))) continue;
        node_append(merged, last, child->key, merge(arena, NULL, child));
    }
}

static struct node *merge(struct arena *arena, const struct node *target, const struct node *patch)
{
    if (patch->kind != NODE_MAP) return node_copy(arena, patch);
    if (target && target->kind != NODE_MAP) target = NULL;
    struct node *merged = copy_alone(arena, target ? target : patch), *last = NULL;
    for (const struct node *child = target ? target->first : NULL; child; child = child->next) {
        const struct node *change = node_find(patch, child->key.at);
        if (!change)
            node_append(merged, &last, child->key, node_copy(arena, child));
        else if (change->kind != NODE_NULL)
            node_append(merged, &last, child->key, merge(arena, child, change));
    }
    append_new(arena, merged, &last, target, patch);
    return merged;
}

struct node *node_merge_patch(struct arena *arena, const struct node *target, const struct node *patch)
{
    return merge(arena, target, patch);
}
