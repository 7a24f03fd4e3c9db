/* A patch over a document (RFC 7396), by somebody who may use a field's other name: documents know canonical names only, so both would stand
 * side by side in what is merged. */
#include "config/private.h"

static struct node *find_before(struct node *map, struct slice key, struct node **before)
{
    *before = NULL;
    for (struct node *child = map->first; child; *before = child, child = child->next) {
        if (slice_equal(child->key, key)) return child;
    }
    return NULL;
}

/* The other name is the patch's, so what stands under the canonical one is what it was before. */
static void take_canonical_name(struct node *map, struct node *child, const struct field *field)
{
    struct slice name = slice_from_cstring(field->name);
    struct node *before, *old = find_before(map, name, &before);
    child->key = name;
    if (!old || old == child) return;
    if (before)
        before->next = old->next;
    else
        map->first = old->next;
    map->count--;
}

static void rename_in(const struct policy_kinds *kinds, const struct field *fields, struct node *map)
{
    for (struct node *child = map->first; child; child = child->next) {
        const struct field *field = schema_find_field(fields, child->key);
        if (!field) continue;
        if (!slice_equal(child->key, slice_from_cstring(field->name))) take_canonical_name(map, child, field);
        if (child->kind != NODE_MAP) continue;
        const struct field *inside = field->fields_of ? field->fields_of(kinds, child) : field->fields;
        if (inside) rename_in(kinds, inside, child);
    }
}

struct node *resource_merge_patch(struct arena *arena, enum resource_kind kind, const struct policy_kinds *kinds,
                                  const struct node *target, const struct node *patch)
{
    struct node *merged = node_merge_patch(arena, target, patch);
    if (merged->kind == NODE_MAP) rename_in(kinds, resource_types[kind].fields, merged);
    return merged;
}
