/* Filters of routes and plugins: which kind, and the kind's own fields. */
#include "config/private.h"

#include "base/memory.h"
#include "base/nearest.h"

/* Kinds of the design that this version doesn't have; one that joins the registry is found there first. */
static const char *const kinds_not_yet[] = {
    "jwt-auth",
    "api-key",
    "api-key-auth",
    "basic-auth",
    "oauth2-introspection",
    "mtls",
    "hmac-auth",
    "access",
    "rbac",
    "abac",
    "rate-limit",
    "quota",
    "concurrency-limit",
    "request-size",
    "validation",
    "waf",
    "cache",
    "coalesce",
    "fault",
    "lua",
    "script",
    "body-transform",
    "websocket",
};

static bool is_not_yet(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(kinds_not_yet); i++) {
        struct policy_kind kind = { .name = kinds_not_yet[i] };
        struct policy_kinds one = { .items = &kind, .count = 1 };
        if (policy_kind_find(&one, name)) return true;
    }
    return false;
}

static bool refuse_kind(struct schema_reading *reading, const struct node *node, struct slice name)
{
    if (is_not_yet(name)) {
        problems_add(reading->problems, node, NULL, "policy \"%s\" is not in this version yet",
                     problems_excerpt(name).text);
        return false;
    }
    const char **names = memory_allocate_array(reading->kinds->count + 1, sizeof *names);
    for (size_t i = 0; i < reading->kinds->count; i++) names[i] = reading->kinds->items[i].name;
    const char *nearest = nearest_name(name, names, reading->kinds->count);
    char hint[256] = "there are";
    size_t length = strlen(hint);
    if (nearest) snprintf(hint, sizeof hint, "did you mean \"%s\"?", nearest);
    for (size_t i = 0; i < reading->kinds->count && !nearest && length < sizeof hint; i++)
        length += (size_t)snprintf(hint + length, sizeof hint - length, "%s %s", i ? "," : "", names[i]);
    hint_of_kind_elsewhere(name, names, reading->kinds->count, hint, sizeof hint);
    free(names);
    problems_add(reading->problems, node, hint, "unknown policy \"%s\"", problems_excerpt(name).text);
    return false;
}

static const struct policy_kind *find_kind(struct schema_reading *reading, const struct node *node, struct slice name)
{
    const struct policy_kind *kind = policy_kind_find(reading->kinds, name);
    if (!kind) refuse_kind(reading, node, name);
    return kind;
}

static bool check_side(struct schema_reading *reading, const struct node *map, const struct filter_config *filter)
{
    if (filter->side != FILTER_ON_RESPONSE || filter->kind->on_response_allowed) return true;
    problems_add(reading->problems, node_find(map, "on"), NULL, "\"%s\" acts on requests only", filter->kind->name);
    return false;
}

static bool read_filter(struct schema_reading *reading, const struct node *node, struct filter_config *filter)
{
    if (node->kind != NODE_MAP) {
        problems_add(reading->problems, node, "written as { type: KIND, ... }", "a filter must be a map of fields");
        return false;
    }
    const struct node *type = node_find(node, "type");
    struct slice name;
    if (!type) {
        problems_add_missing(reading->problems, node, "type",
                             node_find(node, "config") ? "a filter's kind is its \"type\", its fields stand beside it"
                                                       : "a filter says what it is: { type: KIND, ... }");
        return false;
    }
    if (!schema_read_text(reading, "type", type, &name)) return false;
    filter->kind = find_kind(reading, type, name);
    if (!filter->kind) return false;
    filter->config = config_allocate(reading->arena, filter->kind->config_size + 1);
    bool ok = schema_read_both(reading, filter_fields, filter, filter->kind->fields, filter->config, node, node);
    filter->node = node;
    ok &= check_side(reading, node, filter);
    return ok && (!filter->kind->check || filter->kind->check(reading, node, filter->config));
}

#define FILTERS_MAX 256

bool read_filters(struct schema_reading *reading, const struct node *node, void *into)
{
    struct object_list *list = into;
    if (node->kind == NODE_NULL) return true;
    if (node->kind != NODE_LIST || node->count > FILTERS_MAX) {
        problems_add(reading->problems, node, "- { type: KIND, ... }",
                     "\"filters\" must be a list of at most 256 filters");
        return false;
    }
    if (node->count == 0) return true;
    struct filter_config *filters = config_allocate(reading->arena, node->count * sizeof *filters);
    list->items = filters;
    bool ok = true;
    for (const struct node *item = node->first; item; item = item->next)
        ok &= read_filter(reading, item, &filters[list->count++]);
    return ok;
}

bool plugin_read_config(struct schema_reading *reading, const struct node *node, struct plugin_config *plugin)
{
    struct filter_config *filter = &plugin->filter;
    const struct node *config = filter->node; /* NULL where it was not given */
    filter->node = config ? config : node;
    filter->kind = find_kind(reading, node_find(node, "name"), plugin->kind_name);
    if (!filter->kind) return false;
    filter->config = config_allocate(reading->arena, filter->kind->config_size + 1);
    if (config && config->kind == NODE_NULL) config = NULL;
    bool ok = schema_read_both(reading, filter->kind->fields, filter->config, NULL, NULL, config, filter->node);
    ok &= check_side(reading, node, filter);
    return ok && (!filter->kind->check || filter->kind->check(reading, filter->node, filter->config));
}

/* --- and back --- */

struct node *write_filter_type(struct arena *arena, const void *from)
{
    const struct filter_config *filter = (const void *)((const char *)from - offsetof(struct filter_config, node));
    return node_make_text(arena, slice_from_cstring(filter->kind->name));
}

struct node *write_filters(struct arena *arena, const void *from)
{
    const struct object_list *filters = from;
    if (filters->count == 0) return NULL;
    struct node *list = node_make(arena, NODE_LIST), *last = NULL;
    for (size_t i = 0; i < filters->count; i++) {
        const struct filter_config *filter = (const struct filter_config *)filters->items + i;
        struct node *map = schema_write(arena, filter_fields, filter);
        schema_write_into(arena, map, filter->kind->fields, filter->config);
        node_append(list, &last, SLICE_ABSENT, map);
    }
    return list;
}

struct node *write_plugin_kind(struct arena *arena, const void *from)
{
    const struct plugin_config *plugin = (const void *)((const char *)from - offsetof(struct plugin_config, kind_name));
    return node_make_text(arena, slice_from_cstring(plugin->filter.kind->name));
}

struct node *write_plugin_config(struct arena *arena, const void *from)
{
    const struct filter_config *filter = (const void *)((const char *)from - offsetof(struct filter_config, node));
    return schema_write(arena, filter->kind->fields, filter->config);
}

static const struct field *table_of(const struct policy_kinds *kinds, const struct node *name)
{
    const struct policy_kind *kind = name && name->kind == NODE_SCALAR ? policy_kind_find(kinds, name->text) : NULL;
    return kind ? kind->fields : NULL;
}

const struct field *filter_table(const struct policy_kinds *kinds, const struct node *map)
{
    return table_of(kinds, node_find(map, "type"));
}

const struct field *plugin_config_table(const struct policy_kinds *kinds, const struct node *map)
{
    return table_of(kinds, node_find(map->parent, "name"));
}
