/* snapshot/commit.c: a prepared change comes into force, which can't fail, or is given up and leaves nothing behind. Between its preparation
 * and here host names' addresses and the prefilter may have changed what is in force, but neither routes nor which services there are. */
#include "snapshot/private.h"

#include "base/memory.h"
#include "config/api_versions.h"

/* --- services --- */

static bool is_equal(const struct service_entry *entry, const struct numbered_service *service)
{
    return memcmp(&entry->hash, &service->config->hash, sizeof entry->hash) == 0 &&
           entry->transport == service->transport;
}

static void commit_service(struct snapshot_builder *builder, struct numbered_service *service)
{
    struct service_entry *entry = map_find(&builder->services_by_id, service->config->id);
    if (!entry) {
        entry = service_entry_create(builder, service->config, transport_retain(service->transport), service->index);
        names_use(builder, entry);
        builder_put_entry(builder, entry);
    } else if (!is_equal(entry, service)) {
        entry = builder_replace_service(builder, entry, service->config, transport_retain(service->transport));
    }
    entry->kept = true;
}

/* What a whole configuration does not hold. */
static void remove_others(struct snapshot_builder *builder)
{
    struct vector gone;
    vector_init(&gone, sizeof(void *));
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->services_by_id, &position); entry;
         entry = map_next(&builder->services_by_id, &position)) {
        struct service_entry *service = entry->value;
        if (!service->kept) vector_push_pointer(&gone, service);
        service->kept = false;
    }
    for (size_t i = 0; i < gone.count; i++) builder_remove_service(builder, vector_pointer_at(&gone, i));
    vector_release(&gone);
}

static void remove_named(struct snapshot_builder *builder, const struct slice_list *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        struct service_entry *entry = map_find(&builder->services_by_id, ids->items[i]);
        if (entry) builder_remove_service(builder, entry);
    }
}

/* New ones before old ones go, so that a name that moves finds its new place. */
static void commit_services(struct prepared_change *prepared)
{
    struct snapshot_builder *builder = prepared->builder;
    for (size_t i = 0; i < prepared->configuration->services.count; i++)
        commit_service(builder, &prepared->services[i]);
    if (prepared->is_whole) {
        remove_others(builder);
        return;
    }
    for (size_t i = 0; i < prepared->configuration->services.count; i++) {
        struct service_entry *entry = map_find(&builder->services_by_id, prepared->services[i].config->id);
        entry->kept = false;
    }
    remove_named(builder, &prepared->change->removed_services);
}

/* --- routes --- */

/* What a commit does to the router. */
struct router_change {
    struct vector added, removed; /* struct route_matcher * */
};

static void count_one_more(void *argument, uint32_t index)
{
    const struct snapshot_builder *builder = argument;
    builder->route_counts[index]++;
}

static void count_one_less(void *argument, uint32_t index)
{
    const struct snapshot_builder *builder = argument;
    builder->route_counts[index]--;
}

static void take_out(struct snapshot_builder *builder, struct router_change *router, struct compiled_route *old)
{
    route_each_service(old, count_one_less, builder);
    vector_push_pointer(&router->removed, old->matcher);
    builder_retire_route(builder, old);
}

static void put_in(struct snapshot_builder *builder, struct router_change *router, struct compiled_route *fresh)
{
    route_each_service(fresh, count_one_more, builder);
    vector_push_pointer(&router->added, fresh->matcher);
    chain_comes_into_force(fresh->chain);
    if (fresh->sequence > builder->sequence_max) builder->sequence_max = fresh->sequence;
}

/* Old routes that the new state does not use leave the router; the map is made anew. */
static void commit_all_routes(struct prepared_change *prepared, struct router_change *router)
{
    struct snapshot_builder *builder = prepared->builder;
    struct map fresh;
    map_init(&fresh);
    builder->sequence_max = SEQUENCE_FIRST;
    for (size_t i = 0; i < prepared->configuration->routes.count; i++) {
        struct compiled_route *route = prepared->routes[i];
        if (!route) continue; /* not enabled */
        map_set(&fresh, slice_from_cstring(route->id), route);
        if (route->sequence > builder->sequence_max) builder->sequence_max = route->sequence;
    }
    for (size_t i = 0; i < prepared->fresh.count; i++) put_in(builder, router, vector_pointer_at(&prepared->fresh, i));
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry;
         entry = map_next(&builder->routes, &position)) {
        if (map_find(&fresh, entry->key) != entry->value) take_out(builder, router, entry->value);
    }
    map_release(&builder->routes);
    builder->routes = fresh;
}

static void commit_route(struct snapshot_builder *builder, struct router_change *router, struct slice id,
                         struct compiled_route *route)
{
    struct compiled_route *old = map_find(&builder->routes, id);
    if (old == route) return;
    if (route) {
        map_set(&builder->routes, id, route);
        put_in(builder, router, route);
    } else {
        map_remove(&builder->routes, id);
    }
    if (old) take_out(builder, router, old);
}

static void commit_changed_routes(struct prepared_change *prepared, struct router_change *router)
{
    const struct route_config *routes = prepared->configuration->routes.items;
    const struct slice_list *removed = &prepared->change->removed_routes;
    for (size_t i = 0; i < prepared->configuration->routes.count; i++)
        commit_route(prepared->builder, router, routes[i].id, prepared->routes[i]);
    for (size_t i = 0; i < removed->count; i++) commit_route(prepared->builder, router, removed->items[i], NULL);
}

static struct router *commit_routes(struct prepared_change *prepared)
{
    struct snapshot *before = prepared->builder->newest;
    struct router_change change;
    vector_init(&change.added, sizeof(void *));
    vector_init(&change.removed, sizeof(void *));
    if (prepared->is_whole)
        commit_all_routes(prepared, &change);
    else
        commit_changed_routes(prepared, &change);
    struct router *empty = before ? NULL : router_create();
    struct router *router = router_with(before ? before->router : empty, change.added.items, change.added.count,
                                        change.removed.items, change.removed.count);
    if (empty) router_destroy(empty);
    vector_release(&change.added);
    vector_release(&change.removed);
    return router;
}

/* --- settings --- */

static struct request_settings *make_settings(const struct configuration *configuration)
{
    struct request_settings *settings = memory_allocate(sizeof *settings);
    settings->trusted_proxy_count = configuration->trusted_proxy_count;
    settings->trusted_proxies = memory_allocate_array(settings->trusted_proxy_count + 1,
                                                      sizeof *settings->trusted_proxies);
    for (size_t i = 0; i < settings->trusted_proxy_count; i++)
        settings->trusted_proxies[i] = configuration->trusted_proxies[i];
    settings->merge_slashes = configuration->merge_slashes;
    settings->trace = configuration->trace;
    arena_init(&settings->arena, NULL);
    settings->api_versions = api_versions_copy(&settings->arena, &configuration->api_versions);
    size_t count = settings->internal_response_header_count = configuration->internal_response_headers.count;
    settings->internal_response_headers = memory_allocate_array(count + 1, sizeof *settings->internal_response_headers);
    for (size_t i = 0; i < count; i++) {
        struct slice name = configuration->internal_response_headers.items[i];
        settings->internal_response_headers[i] = slice_of(memory_copy_slice(name), name.length);
    }
    return settings;
}

/* --- the end of a preparation --- */

/* Routes that come later need its plugins and limits. */
static void keep_plugins(struct prepared_change *prepared)
{
    struct snapshot_builder *builder = prepared->builder;
    if (!prepared->is_whole && !prepared->change->plugins_changed) return;
    if (builder->configuration) configuration_destroy(builder->configuration);
    builder->configuration = NULL;
    if (prepared->configuration->plugins.count == 0 && prepared->configuration->rate_limits.count == 0) return;
    builder->configuration = prepared->configuration;
    prepared->change->configuration = NULL;
}

static void destroy_prepared(struct prepared_change *prepared)
{
    struct snapshot_builder *builder = prepared->builder;
    size_t services = prepared->configuration->services.count;
    for (size_t i = 0; i < services; i++) {
        if (prepared->services[i].transport) transport_drop(prepared->services[i].transport);
    }
    configuration_change_destroy(prepared->change);
    if (services > 0 || prepared->is_whole) transports_collect(builder);
    role_set_drop(prepared->roles);
    vector_release(&prepared->fresh);
    map_release(&prepared->removed);
    map_release(&prepared->services_by_id);
    map_release(&prepared->services_by_name);
    free(prepared->routes);
    free(prepared->services);
    free(prepared);
    builder->prepared = NULL;
}

struct snapshot *snapshot_builder_commit(struct snapshot_builder *builder, struct prepared_change *prepared)
{
    PROMISE(builder->prepared == prepared);
    commit_services(prepared);
    struct router *router = commit_routes(prepared);
    if (prepared->change->with_settings) {
        builder_retire_settings(builder);
        builder->request_settings = make_settings(prepared->configuration);
    }
    roles_commit(prepared);
    struct snapshot *snapshot = builder_next_snapshot(builder, router);
    /* The preparation still counts its services by the configuration, which the plugins' keeper may get. */
    keep_plugins(prepared);
    destroy_prepared(prepared);
    return snapshot;
}

/* Gives back what services took that did not come to be. */
void snapshot_builder_abandon(struct snapshot_builder *builder, struct prepared_change *prepared)
{
    PROMISE(builder->prepared == prepared);
    for (size_t i = 0; i < prepared->configuration->services.count; i++) {
        if (prepared->services[i].is_new) vector_push_copy(&builder->free_indices, &prepared->services[i].index);
    }
    for (size_t i = 0; i < prepared->fresh.count; i++) route_destroy(vector_pointer_at(&prepared->fresh, i));
    destroy_prepared(prepared);
}
