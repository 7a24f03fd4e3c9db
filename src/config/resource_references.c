/* Where a resource's tree names other resources: what the tables mark with `reference`, those of filters and of plugins' configs too. */
#include "config/private.h"

struct reference_walk {
    const struct policy_kinds *kinds;
    const struct resource_reference_visit *visit;
};

static void walk_map(const struct reference_walk *, const struct field *fields, struct node *map, bool is_inside);

static void walk_inside(const struct reference_walk *walk, const struct field *field, struct node *map)
{
    if (map->kind != NODE_MAP) return;
    const struct field *fields = field->fields_of ? field->fields_of(walk->kinds, map) : field->fields;
    if (fields) walk_map(walk, fields, map, true);
}

static void walk_value(const struct reference_walk *walk, const struct field *field, struct node *node, bool is_inside)
{
    static const enum resource_kind kinds[] = {
        [FIELD_REFERENCE_SERVICE] = RESOURCE_SERVICE, [FIELD_REFERENCE_ROUTE] = RESOURCE_ROUTE
    };
    if (field->reference && node->kind == NODE_SCALAR)
        walk->visit->name(walk->visit->argument, node, kinds[field->reference], is_inside);
    else
        walk_inside(walk, field, node);
}

static void walk_map(const struct reference_walk *walk, const struct field *fields, struct node *map, bool is_inside)
{
    for (struct node *child = map->first, *next; child; child = child->next) {
        const struct field *field = schema_find_field(fields, child->key);
        if (!field || !(field->reference || field->fields || field->fields_of)) continue;
        if (child->kind != NODE_LIST) {
            walk_value(walk, field, child, is_inside);
            continue;
        }
        for (struct node *item = child->first; item; item = next) {
            next = item->next; /* it may be taken out */
            walk_value(walk, field, item, is_inside);
        }
    }
}

void resource_visit_references(enum resource_kind kind, const struct policy_kinds *kinds, struct node *resource,
                               const struct resource_reference_visit *visit)
{
    struct reference_walk walk = { .kinds = kinds, .visit = visit };
    if (resource->kind == NODE_MAP) walk_map(&walk, resource_types[kind].fields, resource, false);
}
