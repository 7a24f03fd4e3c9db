#include "route/private.h"

#include "base/memory.h"

/* A persistent radix tree. Each edge carries a label (kept in the node it leads to); labels of siblings differ in their
 * first byte. Nodes without a value have two children at least, so the tree is as deep as its keys differ, not as they
 * are long. */

static size_t node_size(unsigned capacity, size_t label_length)
{
    return radix_children_offset(capacity, label_length) + capacity * sizeof(struct radix_node *);
}

static char *keys_of(struct radix_node *node) { return node->bytes + node->label_length; }

static struct radix_node *node_create(unsigned capacity, struct slice label)
{
    PROMISE(label.length <= PATTERN_TEXT_BYTES_MAX);
    struct radix_node *node = memory_allocate(node_size(capacity, label.length));
    node->part = (struct part){ .references = 1, .kind = PART_NODE, .priority_max = INT32_MIN };
    node->capacity = (uint16_t)capacity;
    node->label_length = (uint16_t)label.length;
    if (label.length) memcpy(node->bytes, label.at, label.length);
    return node;
}

static struct slice label_slice(const struct radix_node *node)
{
    return slice_of(radix_label(node), node->label_length);
}

/* The same node with room for other numbers of children and another label. Takes over value and children, and their
 * references, when `moves`, else shares them. */
static struct radix_node *node_remake(struct radix_node *old, unsigned capacity, struct slice label, bool moves)
{
    struct radix_node *node = node_create(capacity, label);
    unsigned references = node->part.references;
    node->part = old->part;
    node->part.references = references;
    node->child_count = old->child_count;
    node->value = old->value;
    memcpy(radix_children(node), radix_children(old), old->child_count * sizeof(struct radix_node *));
    memcpy(keys_of(node), radix_keys(old), old->child_count);
    if (moves) {
        free(old);
        return node;
    }
    part_retain(node->value);
    for (unsigned i = 0; i < node->child_count; i++) part_retain(&radix_children(node)[i]->part);
    return node;
}

struct radix_node *radix_own(struct radix_node **slot)
{
    struct radix_node *node = *slot;
    if (node->part.references > 1) {
        *slot = node_remake(node, node->child_count, label_slice(node), false);
        part_drop(&node->part);
    }
    return *slot;
}

void radix_node_free(struct radix_node *node)
{
    part_drop(node->value);
    for (unsigned i = 0; i < node->child_count; i++) part_drop(&radix_children(node)[i]->part);
    free(node);
}

const struct part *radix_find(const struct radix_node *node, struct slice key)
{
    while (node) {
        struct slice label = label_slice(node);
        if (!slice_starts_with(key, label)) return NULL;
        key = slice_after(key, label.length);
        if (key.length == 0) return node->value;
        node = radix_child(node, key.at[0]);
    }
    return NULL;
}

/* ---- Editing ----------------------------------------------------------------------------------------------------- */

struct radix_change {
    radix_edit_value *edit;
    void *argument;
};

static size_t common_length(struct slice a, struct slice b)
{
    size_t length = 0;
    while (length < a.length && length < b.length && a.at[length] == b.at[length]) length++;
    return length;
}

/* Puts a node that ends after `length` bytes of the label above *slot's. */
static void split(struct radix_node **slot, size_t length)
{
    struct radix_node *lower = *slot;
    struct slice label = label_slice(lower);
    struct radix_node *upper = node_create(2, slice_before(label, length));
    upper->part.priority_max = lower->part.priority_max;
    upper->part.crowded = lower->part.crowded;
    upper->part.unknown = lower->part.unknown;
    bool is_shared = lower->part.references > 1;
    struct radix_node *shorter = node_remake(lower, lower->capacity, slice_after(label, length), !is_shared);
    if (is_shared) part_drop(&lower->part);
    radix_children(upper)[0] = shorter;
    keys_of(upper)[0] = radix_label(shorter)[0];
    upper->child_count = 1;
    *slot = upper;
}

/* A node without value and with one child adds nothing but its label. */
static void merge_with_child(struct radix_node **slot)
{
    struct radix_node *upper = *slot, *lower = radix_children(upper)[0];
    size_t upper_length = upper->label_length, lower_length = lower->label_length;
    char label[PATTERN_TEXT_BYTES_MAX]; /* no longer than the key it is part of; paths have the longest */
    PROMISE(upper_length + lower_length <= sizeof label);
    memcpy(label, radix_label(upper), upper_length);
    memcpy(label + upper_length, radix_label(lower), lower_length);
    bool is_shared = lower->part.references > 1;
    *slot = node_remake(lower, lower->child_count, slice_of(label, upper_length + lower_length), !is_shared);
    if (is_shared) part_drop(&lower->part);
    free(upper);
}

static unsigned add_child(struct radix_node **slot, char key)
{
    struct radix_node *node = *slot;
    if (node->child_count == node->capacity) {
        unsigned capacity = node->capacity == 0 ? 2 : node->capacity * 2u;
        node = *slot = node_remake(node, capacity, label_slice(node), true);
    }
    keys_of(node)[node->child_count] = key;
    radix_children(node)[node->child_count] = NULL;
    return node->child_count++;
}

static void remove_child(struct radix_node *node, unsigned index)
{
    unsigned last = --node->child_count;
    radix_children(node)[index] = radix_children(node)[last];
    keys_of(node)[index] = keys_of(node)[last];
}

static int32_t highest_priority(const struct radix_node *node)
{
    int32_t highest = node->value ? node->value->priority_max : INT32_MIN;
    for (unsigned i = 0; i < node->child_count; i++) {
        if (radix_children(node)[i]->part.priority_max > highest) highest = radix_children(node)[i]->part.priority_max;
    }
    return highest;
}

/* What a node sums up, after one part below it went from `before` to `after`. Only where the highest went down does it
 * look at all children. */
static void summarise(struct radix_node *node, const struct part *before, const struct part *after)
{
    node->part.crowded += after->crowded - before->crowded;
    node->part.unknown += after->unknown - before->unknown;
    if (after->priority_max >= node->part.priority_max)
        node->part.priority_max = after->priority_max;
    else if (before->priority_max == node->part.priority_max)
        node->part.priority_max = highest_priority(node);
}

static const struct part no_part = { .priority_max = INT32_MIN };

static struct part snapshot_of(const struct part *part) { return part ? *part : no_part; }

static void edit_value(struct radix_node *node, const struct radix_change *change)
{
    struct part before = snapshot_of(node->value);
    change->edit(&node->value, change->argument);
    struct part after = snapshot_of(node->value);
    summarise(node, &before, &after);
}

static void edit_node(struct radix_node **slot, struct slice key, const struct radix_change *change);

static void edit_child(struct radix_node **slot, struct slice key, const struct radix_change *change)
{
    struct radix_node *node = *slot;
    const char *hit = node->child_count ? memchr(radix_keys(node), key.at[0], node->child_count) : NULL;
    unsigned index = hit ? (unsigned)(hit - radix_keys(node)) : add_child(slot, key.at[0]);
    node = *slot;
    struct part before = snapshot_of(radix_children(node)[index] ? &radix_children(node)[index]->part : NULL);
    edit_node(&radix_children(node)[index], key, change);
    struct part after = snapshot_of(radix_children(node)[index] ? &radix_children(node)[index]->part : NULL);
    if (!radix_children(node)[index]) remove_child(node, index);
    summarise(node, &before, &after);
}

/* Depth: one call a node, so the key's length at most. */
static void edit_node(struct radix_node **slot, struct slice key, const struct radix_change *change)
{
    if (!*slot) *slot = node_create(0, key);
    size_t common = common_length(label_slice(*slot), key);
    if (common < (*slot)->label_length) split(slot, common);
    struct radix_node *node = radix_own(slot);
    if (common == key.length)
        edit_value(node, change);
    else
        edit_child(slot, slice_after(key, common), change);

    node = *slot;
    if (node->value || node->child_count > 1) return;
    if (node->child_count == 1) {
        merge_with_child(slot);
    } else {
        free(node);
        *slot = NULL;
    }
}

void radix_edit(struct radix_node **root, struct slice key, radix_edit_value *edit, void *argument)
{
    struct radix_change change = { edit, argument };
    edit_node(root, key, &change);
}
