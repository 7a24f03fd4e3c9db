/* snapshot/load.c: the whole desired state: what is equal by content hash is reused, the rest is compiled.
 *
 * A load is prepared aside and committed at the end, so that a problem anywhere leaves everything as it was. */
#include "snapshot/private.h"

/* A service of the new configuration and the index it has or, where it is new, will have. */
struct numbered_service {
    const struct service_config *config;
    struct transport *transport; /* one reference */
    uint32_t index;
    bool is_new;
};

struct loading {
    struct snapshot_builder *builder;
    const struct configuration *configuration;
    struct problems *problems;
    struct route_surroundings around;
    struct numbered_service *services; /* in the file's order */
    struct map services_by_name;       /* struct numbered_service, by id and by name */
    struct compiled_route **routes;    /* in the file's order; those kept, and the new ones */
    struct vector added, removed;      /* struct route_matcher * */
    struct vector fresh;               /* struct compiled_route *: to be undone on a problem */
};

static const struct service_config *service_at(const struct loading *loading, size_t at)
{
    return &((const struct service_config *)loading->configuration->services.items)[at];
}

static const struct route_config *route_at(const struct loading *loading, size_t at)
{
    return &((const struct route_config *)loading->configuration->routes.items)[at];
}

/* Only numbers: services themselves change at the commit. An id goes before another's name, as in find_service(). */
static void number_services(struct loading *loading)
{
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        struct numbered_service *service = &loading->services[i];
        service->config = service_at(loading, i);
        const struct service_entry *entry = map_find(&loading->builder->services_by_id, service->config->id);
        service->is_new = !entry;
        service->index = entry ? entry->index : builder_take_index(loading->builder);
        map_set(&loading->services_by_name, service->config->name, service);
    }
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        map_set(&loading->services_by_name, service_at(loading, i)->id, &loading->services[i]);
    }
}

static void find_transports(struct loading *loading)
{
    for (size_t i = 0; i < loading->configuration->services.count; i++)
        loading->services[i].transport = transport_for(loading->builder, loading->services[i].config,
                                                       loading->problems);
}

static void drop_transports(struct loading *loading)
{
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        if (loading->services[i].transport) transport_drop(loading->services[i].transport);
    }
}

/* Gives back what number_services took for services that did not come to be. */
static void forget_numbers(struct loading *loading)
{
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        if (loading->services[i].is_new) vector_push_copy(&loading->builder->free_indices, &loading->services[i].index);
    }
}

/* Where a route ends, as its compilation wants to know it. */
struct route_end {
    uint32_t service_index;
    struct slice service_name;
};

static struct route_end end_of(const struct loading *loading, const struct route_config *route)
{
    const struct numbered_service *service = slice_is_absent(route->service_id)
                                                 ? NULL
                                                 : map_find(&loading->services_by_name, route->service_id);
    return service ? (struct route_end){ service->index, service->config->name }
                   : (struct route_end){ SERVICE_NONE, SLICE("") };
}

/* The route as it is in force, if it is the same now; NULL else. */
static struct compiled_route *find_equal(const struct loading *loading, const struct route_config *route)
{
    struct compiled_route *old = route->enabled ? map_find(&loading->builder->routes, route->id) : NULL;
    if (!old) return NULL;
    struct route_end end = end_of(loading, route);
    struct content_hash hash = route_hash(route, &loading->around, end.service_index, end.service_name);
    return memcmp(&hash, &old->hash, sizeof hash) == 0 ? old : NULL;
}

static void compile_one(struct loading *loading, size_t at, uint64_t sequence)
{
    const struct route_config *route = route_at(loading, at);
    if (!route->enabled) return;
    struct route_end end = end_of(loading, route);
    struct content_hash hash = route_hash(route, &loading->around, end.service_index, end.service_name);
    struct compiled_route *compiled = route_compile(loading->builder, route, &loading->around, end.service_index,
                                                    end.service_name, sequence, hash, loading->problems);
    if (!compiled) return;
    loading->routes[at] = compiled;
    vector_push_pointer(&loading->fresh, compiled);
    vector_push_pointer(&loading->added, compiled->matcher);
}

static void compile_routes(struct loading *loading)
{
    uint32_t count = (uint32_t)loading->configuration->routes.count;
    uint64_t *places = memory_allocate_array(count + 1, sizeof *places);
    bool *kept = memory_allocate_array(count + 1, sizeof *kept);
    for (uint32_t i = 0; i < count; i++) {
        loading->routes[i] = find_equal(loading, route_at(loading, i));
        if (loading->routes[i]) places[i] = loading->routes[i]->sequence;
    }
    order_places(places, kept, count);
    for (uint32_t i = 0; i < count; i++) {
        if (kept[i]) continue;
        loading->routes[i] = NULL;
        compile_one(loading, i, places[i]);
    }
    free(kept);
    free(places);
}

static void drop_fresh(struct loading *loading)
{
    for (size_t i = 0; i < loading->fresh.count; i++) route_destroy(vector_pointer_at(&loading->fresh, i));
}

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

static void commit_services(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    for (size_t i = 0; i < loading->configuration->services.count; i++) commit_service(builder, &loading->services[i]);
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

/* Old routes that the new state does not use leave the router; the map is made anew. */
static void commit_routes(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    struct map fresh;
    map_init(&fresh);
    builder->sequence_max = SEQUENCE_FIRST;
    for (size_t i = 0; i < loading->configuration->routes.count; i++) {
        struct compiled_route *route = loading->routes[i];
        if (!route) continue; /* not enabled */
        map_set(&fresh, slice_from_cstring(route->id), route);
        if (route->sequence > builder->sequence_max) builder->sequence_max = route->sequence;
    }
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry;
         entry = map_next(&builder->routes, &position)) {
        struct compiled_route *old = entry->value;
        if (map_find(&fresh, entry->key) == old) continue;
        vector_push_pointer(&loading->removed, old->matcher);
        builder_retire_route(builder, old);
    }
    map_release(&builder->routes);
    builder->routes = fresh;
}

static struct request_settings *make_settings(const struct configuration *configuration)
{
    struct request_settings *settings = memory_allocate(sizeof *settings);
    settings->trusted_proxy_count = configuration->trusted_proxy_count;
    settings->trusted_proxies = memory_allocate_array(settings->trusted_proxy_count + 1,
                                                      sizeof *settings->trusted_proxies);
    for (size_t i = 0; i < settings->trusted_proxy_count; i++)
        settings->trusted_proxies[i] = configuration->trusted_proxies[i];
    settings->merge_slashes = configuration->merge_slashes;
    size_t count = settings->internal_response_header_count = configuration->internal_response_headers.count;
    settings->internal_response_headers = memory_allocate_array(count + 1, sizeof *settings->internal_response_headers);
    for (size_t i = 0; i < count; i++) {
        struct slice name = configuration->internal_response_headers.items[i];
        settings->internal_response_headers[i] = slice_of(memory_copy_slice(name), name.length);
    }
    return settings;
}

static struct snapshot *commit(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    struct snapshot *before = builder->newest;
    commit_services(loading);
    commit_routes(loading);
    struct router *empty = before ? NULL : router_create();
    struct router *router = router_with(before ? before->router : empty, loading->added.items, loading->added.count,
                                        loading->removed.items, loading->removed.count);
    if (empty) router_destroy(empty);
    builder_retire_settings(builder);
    builder->request_settings = make_settings(loading->configuration);
    return builder_next_snapshot(builder, router);
}

static void keep_configuration(struct snapshot_builder *builder, struct configuration *configuration)
{
    if (builder->configuration) configuration_destroy(builder->configuration);
    builder->configuration = configuration;
    if (configuration->plugins.count > 0) return;
    configuration_destroy(configuration);
    builder->configuration = NULL;
}

struct snapshot *snapshot_builder_load(struct snapshot_builder *builder, struct configuration *configuration,
                                       struct problems *problems)
{
    struct loading loading = {
        .builder = builder,
        .configuration = configuration,
        .problems = problems,
        .around = { configuration->plugins.items, configuration->plugins.count },
        .services = memory_allocate_array(configuration->services.count + 1, sizeof(struct numbered_service)),
        .routes = memory_allocate_array(configuration->routes.count + 1, sizeof(struct compiled_route *)),
    };
    size_t problems_before = problems->count;
    map_init(&loading.services_by_name);
    vector_init(&loading.added, sizeof(void *));
    vector_init(&loading.removed, sizeof(void *));
    vector_init(&loading.fresh, sizeof(void *));
    number_services(&loading);
    find_transports(&loading);
    compile_routes(&loading);
    struct snapshot *snapshot = NULL;
    if (problems->count == problems_before) {
        snapshot = commit(&loading);
    } else {
        forget_numbers(&loading);
        drop_fresh(&loading);
    }
    drop_transports(&loading);
    if (snapshot) keep_configuration(builder, configuration); /* where it goes, what was read of it goes too */
    transports_collect(builder);
    vector_release(&loading.fresh);
    vector_release(&loading.removed);
    vector_release(&loading.added);
    map_release(&loading.services_by_name);
    free(loading.routes);
    free(loading.services);
    return snapshot;
}
