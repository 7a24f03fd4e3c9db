/* snapshot/parts.c: which plugins and rate limits concern a route, and in which scope; and all filters of its chain, each told to whom it
 * belongs. */
#include "snapshot/private.h"

static bool names_one(struct slice_list list, struct slice id, struct slice name)
{
    for (size_t i = 0; i < list.count; i++) {
        if (slice_equal(list.items[i], name) || slice_equal(list.items[i], id)) return true;
    }
    return false;
}

/* --- scopes --- */

/* What applies to routes and services, by names or ids. */
struct applies_to {
    struct slice_list routes, services;
};

/* A service goes by its id and by its name, whichever of them either side wrote. */
static bool names_service(const struct applies_to *to, const struct route_surroundings *around, struct slice id_or_name)
{
    struct found_service found;
    return !slice_is_absent(id_or_name) && prepared_find_service(around->prepared, id_or_name, &found) &&
           names_one(to->services, found.id, found.name);
}

/* Of a split and of an aggregate each service counts: who guards one of them guards the route. */
static bool names_a_service(const struct applies_to *to, const struct route_config *route,
                            const struct route_surroundings *around)
{
    const struct split_service_config *services = route->split.services.items;
    bool names = names_service(to, around, route->service_id) ||
                 names_service(to, around, route->split.canary_service_id);
    for (size_t i = 0; i < route->split.services.count && !names; i++)
        names = names_service(to, around, services[i].service_id);
    const struct aggregate_part_config *parts = route->aggregate.parts.items;
    for (size_t i = 0; i < route->aggregate.parts.count && !names; i++)
        names = names_service(to, around, parts[i].service);
    return names;
}

static int scope_of(const struct applies_to *to, const struct route_config *route,
                    const struct route_surroundings *around)
{
    if (to->routes.count == 0 && to->services.count == 0) return FILTER_SCOPE_ALL;
    if (names_one(to->routes, route->id, route->name)) return FILTER_SCOPE_ROUTE;
    if (to->services.count > 0 && names_a_service(to, route, around)) return FILTER_SCOPE_SERVICE;
    return SCOPE_NONE;
}

int plugin_scope(const struct plugin_config *plugin, const struct route_config *route,
                 const struct route_surroundings *around)
{
    const struct applies_to to = { plugin->routes, plugin->services };
    return plugin->enabled ? scope_of(&to, route, around) : SCOPE_NONE;
}

int limit_scope(const struct rate_limit_config *rule, const struct route_config *route,
                const struct route_surroundings *around)
{
    struct slice routes[] = { rule->route_id }, services[] = { rule->service_id };
    const struct applies_to to = { { routes, !slice_is_absent(rule->route_id) },
                                   { services, !slice_is_absent(rule->service_id) } };
    return rule->enabled ? scope_of(&to, route, around) : SCOPE_NONE;
}

/* --- the filters of a chain --- */

static void add_part(struct part_list *parts, const struct filter_config *filter, int scope, struct slice owner_id,
                     struct slice owner_name)
{
    struct filter_config *part = &parts->items[parts->count++];
    *part = *filter;
    part->scope = scope;
    part->owner_id = owner_id;
    part->owner_name = owner_name;
}

/* A rule is a filter like any other from here on. */
static void add_limit(struct part_list *parts, const struct rate_limit_config *rule, int scope)
{
    static const struct policy_kind kind = { .name = "rate-limit" };
    const struct filter_config filter = {
        .kind = &kind,
        .config = (void *)(uintptr_t)rule,
        .side = FILTER_ON_REQUEST,
        .node = rule->node,
    };
    add_part(parts, &filter, scope, rule->id, rule->name);
}

static void add_scope(struct part_list *parts, const struct route_config *route,
                      const struct route_surroundings *around, int scope)
{
    for (size_t i = 0; i < around->plugin_count; i++) {
        const struct plugin_config *plugin = &around->plugins[i];
        if (plugin_scope(plugin, route, around) == scope)
            add_part(parts, &plugin->filter, scope, plugin->id, plugin->instance_name);
    }
    for (size_t i = 0; i < around->limit_count; i++) {
        if (limit_scope(&around->limits[i], route, around) == scope) add_limit(parts, &around->limits[i], scope);
    }
}

struct part_list route_parts(const struct route_config *route, const struct route_surroundings *around)
{
    const struct filter_config *own = route->filters.items;
    size_t room = around->plugin_count + around->limit_count + route->filters.count + 1;
    struct part_list parts = { .items = memory_allocate_array(room, sizeof *parts.items) };
    for (int scope = FILTER_SCOPE_ALL; scope <= FILTER_SCOPE_ROUTE; scope++) add_scope(&parts, route, around, scope);
    for (size_t i = 0; i < route->filters.count; i++)
        add_part(&parts, &own[i], FILTER_SCOPE_OWN, route->id, route_label(route));
    return parts;
}

struct slice route_label(const struct route_config *route)
{
    bool is_named = !slice_equal(route->name, route->id);
    return is_named || route->path.length == 0 ? route->name : route->path;
}
