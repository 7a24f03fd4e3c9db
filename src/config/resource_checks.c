/* What the fields of one resource only tell together: one ending a route, no instance twice, references that lead somewhere. The same for a
 * resource of a file and for one that comes alone. */
#include "config/private.h"

#include "base/memory.h"
#include "base/nearest.h"

/* --- references --- */

static void note_reference(struct resource_checking *checking, enum resource_kind kind, struct slice id, bool by_name,
                           bool is_inside)
{
    struct resource *resource = checking->resource;
    if (resource->reference_count == checking->reference_capacity) {
        size_t capacity = checking->reference_capacity ? 2 * checking->reference_capacity : 2;
        struct resource_reference *more = config_allocate(checking->reading->arena, capacity * sizeof *more);
        if (resource->reference_count) memcpy(more, resource->references, resource->reference_count * sizeof *more);
        resource->references = more;
        checking->reference_capacity = capacity;
    }
    resource->references[resource->reference_count++] = (struct resource_reference){
        .kind = kind, .id = id, .by_name = by_name, .is_inside = is_inside
    };
}

static void refuse_reference(struct resource_checking *checking, enum resource_kind kind, const struct node *node,
                             struct slice wanted)
{
    const struct resource_directory *directory = checking->directory;
    char *near_name = directory->nearest ? directory->nearest(directory->argument, kind, wanted) : NULL;
    char hint[320];
    if (near_name)
        snprintf(hint, sizeof hint, "did you mean \"%s\"?", near_name);
    else if (checking->is_in_file)
        snprintf(hint, sizeof hint, "it is to stand under \"%s\"", resource_types[kind].list_name);
    else
        snprintf(hint, sizeof hint, "there is none of this name or id");
    problems_add(checking->reading->problems, node, hint, "unknown %s \"%s\"", resource_types[kind].word,
                 problems_excerpt(wanted).text);
    free(near_name);
}

/* `seen` (may be NULL): what the same list named already, by id. */
static void check_reference(struct resource_checking *checking, enum resource_kind kind, const struct node *node,
                            struct slice wanted, struct map *seen)
{
    const struct resource_directory *directory = checking->directory;
    if (!directory || slice_is_absent(wanted)) return;
    struct slice id = directory->find(directory->argument, kind, wanted);
    if (slice_is_absent(id)) {
        refuse_reference(checking, kind, node, wanted);
        return;
    }
    if (seen && map_set(seen, id, (void *)(uintptr_t)node)) return;
    note_reference(checking, kind, id, !slice_equal(id, wanted), false);
}

/* A list of references, or a single one where a list may be that short. */
static void check_references(struct resource_checking *checking, enum resource_kind kind, const struct node *list,
                             struct map *seen)
{
    if (!list) return;
    const struct node *first = list->kind == NODE_LIST ? list->first : list;
    for (const struct node *item = first; item; item = list->kind == NODE_LIST ? item->next : NULL) {
        if (item->kind == NODE_SCALAR) check_reference(checking, kind, item, item->text, seen);
    }
}

/* What filters, handlers and a plugin's config work with. Few, so that looking through them is cheap. */
static void check_inner_reference(void *argument, struct node *text, enum resource_kind to, bool is_inside)
{
    struct resource_checking *checking = argument;
    if (!is_inside) return;
    struct slice id = checking->directory->find(checking->directory->argument, to, text->text);
    if (slice_is_absent(id)) {
        refuse_reference(checking, to, text, text->text);
        return;
    }
    bool by_name = !slice_equal(id, text->text);
    for (size_t i = 0; i < checking->resource->reference_count; i++) {
        struct resource_reference *known = &checking->resource->references[i];
        if (!known->is_inside || known->kind != to || !slice_equal(known->id, id)) continue;
        known->by_name |= by_name;
        return;
    }
    note_reference(checking, to, id, by_name, true);
}

static void check_inner_references(struct resource_checking *checking)
{
    const struct resource *resource = checking->resource;
    if (!checking->directory) return;
    struct node *root = (struct node *)(uintptr_t)resource->node; /* only looked at */
    resource_visit_references(resource->kind, checking->reading->kinds, root,
                              &(struct resource_reference_visit){ check_inner_reference, checking });
}

static bool is_written(const struct node *map, const char *key)
{
    const struct node *node = node_find(map, key);
    return node && node->kind != NODE_NULL;
}

/* --- services --- */

static void check_instances(struct resource_checking *checking, const struct service_config *service)
{
    const struct node *list = node_find(service->node, "instances");
    if (!list || list->kind != NODE_LIST) return;
    struct arena *arena = checking->reading->arena;
    struct map seen;
    map_init(&seen);
    struct instance_config *instance = service->instances.items;
    for (const struct node *item = list->first; item && service->instances.count; item = item->next, instance++) {
        if (instance->host.length == 0 || instance->port == 0) continue;
        instance_find_address(instance);
        if (service->instances.count == 1) continue;
        char key[300];
        int length = snprintf(key, sizeof key, "%.*s %u", SLICE_PRINT(instance->host), instance->port);
        const struct node *first = map_find(&seen, slice_of(key, (size_t)length));
        if (first)
            refuse_twice(checking->reading, item, "instance",
                         arena_format(arena, "%.*s:%u", SLICE_PRINT(instance->host), instance->port), first);
        else
            map_set(&seen, slice_of(key, (size_t)length), (void *)(uintptr_t)item);
    }
    map_release(&seen);
}

static void check_service(struct resource_checking *checking)
{
    const struct service_config *service = checking->resource->config;
    check_instances(checking, service);
    service_check(checking->reading, service);
}

/* --- routes --- */

/* "serviceID": told as such already, so it would be misleading to add that the route has no ending. */
static bool has_misspelt_ending(const struct problems *problems, const struct node *map)
{
    static const char *const endings[] = { "serviceId", "split", "respond", "redirect", "aggregate", NULL };
    if (problems->count == 0) return false;
    for (const struct node *node = map->first; node; node = node->next) {
        const char *nearest = nearest_name(node->key, endings, COUNT_OF(endings) - 1);
        if (nearest && !slice_equal(node->key, slice_from_cstring(nearest))) return true;
    }
    return false;
}

static void check_ending(struct resource_checking *checking, const struct route_config *route)
{
    struct problems *problems = checking->reading->problems;
    bool has_service = is_written(route->node, "serviceId") || is_written(route->node, "split");
    int endings = has_service + route->has_respond + route->has_redirect + route->has_aggregate;
    if (endings == 1 || (endings == 0 && has_misspelt_ending(problems, route->node))) return;
    problems_add(problems, route->node, endings ? "keep one" : "to proxy: serviceId and a service's name",
                 "a route ends in one of \"serviceId\", \"respond\", \"redirect\" and \"aggregate\"; this one has %s",
                 endings ? "several" : "none");
}

/* A canary stands beside the route's service; a list of services stands in its place. */
static void check_canary(struct resource_checking *checking, const struct route_config *route)
{
    struct problems *problems = checking->reading->problems;
    const struct node *split = node_find(route->node, "split");
    bool has_service = is_written(route->node, "serviceId");
    if (!slice_is_absent(route->split.canary_service_id) && !has_service)
        problems_add_at_key(problems, split, "serviceId and a service's name beside \"split\"",
                            "a canary gets its share of the route's \"serviceId\", which is missing");
    if (route->split.services.count > 0 && has_service)
        problems_add_at_key(problems, node_find(route->node, "serviceId"), "name it among the split's services",
                            "\"split\" with \"services\" stands in the place of \"serviceId\"");
}

static void check_route(struct resource_checking *checking)
{
    const struct route_config *route = checking->resource->config;
    check_ending(checking, route);
    check_reference(checking, RESOURCE_SERVICE, node_find(route->node, "serviceId"), route->service_id, NULL);
    if (route->has_split) check_canary(checking, route);
    check_inner_references(checking);
}

/* --- plugins --- */

static void check_plugin(struct resource_checking *checking)
{
    struct plugin_config *plugin = checking->resource->config;
    const struct node *node = plugin->node;
    struct map seen;
    if (!slice_is_absent(plugin->kind_name)) plugin_read_config(checking->reading, node, plugin);
    map_init(&seen);
    check_references(checking, RESOURCE_ROUTE, node_find(node, "routes"), &seen);
    check_references(checking, RESOURCE_SERVICE, node_find(node, "services"), &seen);
    map_release(&seen);
    check_inner_references(checking);
    if (is_written(node, "routes") && is_written(node, "services"))
        problems_add_at_key(checking->reading->problems, node_find(node, "services"), "write two plugins",
                            "a plugin applies to \"routes\" or to \"services\", not to both");
}

/* --- rate limits, roles --- */

static void check_rate_limit(struct resource_checking *checking)
{
    const struct rate_limit_config *rule = checking->resource->config;
    rate_limit_check(checking->reading, rule->node, rule);
    check_reference(checking, RESOURCE_ROUTE, node_find(rule->node, "routeId"), rule->route_id, NULL);
    check_reference(checking, RESOURCE_SERVICE, node_find(rule->node, "serviceId"), rule->service_id, NULL);
}

static void check_role(struct resource_checking *checking)
{
    const struct role_config *role = checking->resource->config;
    const struct node *permissions = node_find(role->node, "permissions");
    struct map seen;
    map_init(&seen);
    if (permissions && permissions->kind == NODE_LIST) {
        for (const struct node *item = permissions->first; item; item = item->next)
            check_references(checking, RESOURCE_ROUTE, node_find(item, "routes"), &seen);
    }
    map_release(&seen);
}

void resource_check(struct resource_checking *checking)
{
    switch (checking->resource->kind) {
    case RESOURCE_SERVICE: check_service(checking); break;
    case RESOURCE_ROUTE: check_route(checking); break;
    case RESOURCE_PLUGIN: check_plugin(checking); break;
    case RESOURCE_RATE_LIMIT: check_rate_limit(checking); break;
    case RESOURCE_ROLE: check_role(checking); break;
    case RESOURCE_CERTIFICATE:
    case RESOURCE_API_KEY:
    case RESOURCE_KIND_COUNT: break;
    }
}
