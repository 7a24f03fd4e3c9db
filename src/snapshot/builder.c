/* snapshot/builder.c: what is in force and what keeps it alive. How it changes: prepare.c, commit.c. */
#include "snapshot/private.h"

struct released_service {
    struct service *service;
    struct released_service *next;
};

/* --- life --- */

struct snapshot_builder *snapshot_builder_create(const struct snapshot_builder_settings *settings)
{
    struct snapshot_builder *builder = memory_allocate(sizeof *builder);
    static const struct policy_surroundings none;
    builder->settings = *settings;
    if (!builder->settings.surroundings) builder->settings.surroundings = &none;
    map_init(&builder->services_by_id);
    map_init(&builder->services_by_name);
    map_init(&builder->routes);
    map_init(&builder->names);
    map_init(&builder->transports);
    vector_init(&builder->free_indices, sizeof(uint32_t));
    builder->instances = instance_registry_create(settings->workers);
    builder->service_states = service_registry_create(settings->workers);
    return builder;
}

static void destroy_service(struct snapshot_builder *builder, struct service *service)
{
    service_destroy(service, builder->instances, builder->service_states);
}

void compiled_route_retain(struct compiled_route *route)
{
    atomic_fetch_add_explicit(&route->references, 1, memory_order_relaxed);
}

/* Whoever puts the first one on a stack wakes the builder, who takes the whole stack at once. */
void compiled_route_drop(struct compiled_route *route)
{
    if (atomic_fetch_sub_explicit(&route->references, 1, memory_order_acq_rel) != 1) return;
    struct snapshot_builder *builder = route->builder;
    struct compiled_route *next = atomic_load_explicit(&builder->released_routes, memory_order_relaxed);
    do route->next_released = next;
    while (!atomic_compare_exchange_weak_explicit(&builder->released_routes, &next, route, memory_order_release,
                                                  memory_order_relaxed));
    /* From here on the route may be gone. */
    if (!next) builder->settings.wake(builder->settings.wake_argument);
}

void snapshot_service_drop(struct snapshot_builder *builder, struct service *service)
{
    if (!service_drop(service)) return;
    struct released_service *released = memory_allocate(sizeof *released);
    released->service = service;
    struct released_service *next = atomic_load_explicit(&builder->released_services, memory_order_relaxed);
    do released->next = next;
    while (!atomic_compare_exchange_weak_explicit(&builder->released_services, &next, released, memory_order_release,
                                                  memory_order_relaxed));
    if (!next) builder->settings.wake(builder->settings.wake_argument);
}

void snapshot_builder_collect(struct snapshot_builder *builder)
{
    struct compiled_route *route = atomic_exchange_explicit(&builder->released_routes, NULL, memory_order_acquire);
    while (route) {
        struct compiled_route *next = route->next_released;
        route_destroy(route);
        route = next;
    }
    struct released_service *released = atomic_exchange_explicit(&builder->released_services, NULL,
                                                                 memory_order_acquire);
    while (released) {
        struct released_service *next = released->next;
        destroy_service(builder, released->service);
        free(released);
        released = next;
    }
}

struct instance_registry *snapshot_builder_instances(struct snapshot_builder *builder) { return builder->instances; }

/* --- snapshots --- */

struct snapshot *builder_next_snapshot(struct snapshot_builder *builder, struct router *router)
{
    struct snapshot *snapshot = memory_allocate(sizeof *snapshot);
    snapshot->version = ++builder->versions;
    snapshot->builder = builder;
    snapshot->router = router;
    snapshot->route_count = router_count(router);
    snapshot->settings = builder->request_settings;
    snapshot->roles = builder->roles;
    if (snapshot->roles) role_set_retain(snapshot->roles);
    snapshot->service_count = builder->service_count;
    snapshot->services = memory_allocate_array(builder->service_count + 1, sizeof *snapshot->services);
    if (builder->service_count)
        memcpy(snapshot->services, builder->services, builder->service_count * sizeof *snapshot->services);
    vector_init(&snapshot->retired_routes, sizeof(void *));
    vector_init(&snapshot->retired_services, sizeof(void *));
    vector_init(&snapshot->retired_settings, sizeof(void *));
    snapshot->older = builder->newest;
    if (builder->newest) builder->newest->newer = snapshot;
    builder->newest = snapshot;
    return snapshot;
}

/* What a change takes out: kept by the snapshot that is still the newest at that moment, or, where there is none, let go. */
void builder_retire_route(struct snapshot_builder *builder, struct compiled_route *route)
{
    chain_retire(route->chain);
    if (builder->newest) {
        vector_push_pointer(&builder->newest->retired_routes, route);
    } else {
        compiled_route_drop(route);
    }
}

static void retire_service(struct snapshot_builder *builder, struct service *service)
{
    if (builder->newest) {
        vector_push_pointer(&builder->newest->retired_services, service);
    } else {
        snapshot_service_drop(builder, service);
    }
}

static void free_request_settings(struct request_settings *settings)
{
    if (!settings) return;
    free(settings->trusted_proxies);
    for (size_t i = 0; i < settings->internal_response_header_count; i++) {
        free((void *)(uintptr_t)settings->internal_response_headers[i].at);
    }
    free(settings->internal_response_headers);
    arena_release(&settings->arena);
    free(settings);
}

void builder_retire_settings(struct snapshot_builder *builder)
{
    if (builder->newest) {
        vector_push_pointer(&builder->newest->retired_settings, builder->request_settings);
    } else {
        free_request_settings(builder->request_settings);
    }
    builder->request_settings = NULL;
}

static void move_all(struct vector *to, struct vector *from)
{
    for (size_t i = 0; i < from->count; i++) vector_push_pointer(to, vector_pointer_at(from, i));
}

static void let_go(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->retired_routes.count; i++)
        compiled_route_drop(vector_pointer_at(&snapshot->retired_routes, i));
    for (size_t i = 0; i < snapshot->retired_services.count; i++) {
        snapshot_service_drop(snapshot->builder, vector_pointer_at(&snapshot->retired_services, i));
    }
    for (size_t i = 0; i < snapshot->retired_settings.count; i++) {
        free_request_settings(vector_pointer_at(&snapshot->retired_settings, i));
    }
}

void snapshot_destroy(struct snapshot *snapshot)
{
    struct snapshot *older = snapshot->older;
    if (older) { /* it may still use what was retired here */
        move_all(&older->retired_routes, &snapshot->retired_routes);
        move_all(&older->retired_services, &snapshot->retired_services);
        move_all(&older->retired_settings, &snapshot->retired_settings);
        older->newer = snapshot->newer;
    } else {
        let_go(snapshot);
    }
    if (snapshot->newer) snapshot->newer->older = older;
    if (snapshot->builder->newest == snapshot) snapshot->builder->newest = older;
    router_destroy(snapshot->router);
    role_set_drop(snapshot->roles);
    vector_release(&snapshot->retired_routes);
    vector_release(&snapshot->retired_services);
    vector_release(&snapshot->retired_settings);
    free(snapshot->services);
    free(snapshot);
}

/* --- the services table --- */

uint32_t builder_take_index(struct snapshot_builder *builder)
{
    if (builder->free_indices.count > 0)
        return *(uint32_t *)vector_at(&builder->free_indices, --builder->free_indices.count);
    uint32_t index = builder->service_count++;
    builder->services = memory_resize(builder->services, builder->service_count * sizeof *builder->services);
    builder->route_counts = memory_resize(builder->route_counts,
                                          builder->service_count * sizeof *builder->route_counts);
    builder->services[index] = NULL;
    builder->route_counts[index] = 0;
    return index;
}

void builder_put_entry(struct snapshot_builder *builder, struct service_entry *entry)
{
    map_set(&builder->services_by_id, slice_from_cstring(entry->id), entry);
    map_set(&builder->services_by_name, slice_from_cstring(entry->name), entry);
    builder->services[entry->index] = entry->service;
}

/* Names may move from one service to another in one load: the newcomer's entry stays. */
static void forget_entry(struct snapshot_builder *builder, struct service_entry *entry)
{
    struct slice name = slice_from_cstring(entry->name);
    map_remove(&builder->services_by_id, slice_from_cstring(entry->id));
    if (map_find(&builder->services_by_name, name) == entry) map_remove(&builder->services_by_name, name);
    service_entry_destroy(entry);
}

/* Names are used before the old ones are left, so that a name in both is not told as gone. */
struct service_entry *builder_replace_service(struct snapshot_builder *builder, struct service_entry *old,
                                              const struct service_config *config, struct transport *transport)
{
    struct service_entry *entry = service_entry_create(builder, config, transport, old->index);
    names_use(builder, entry);
    names_leave(builder, old);
    retire_service(builder, old->service);
    forget_entry(builder, old);
    builder_put_entry(builder, entry);
    return entry;
}

void builder_remove_service(struct snapshot_builder *builder, struct service_entry *entry)
{
    names_leave(builder, entry);
    retire_service(builder, entry->service);
    builder->services[entry->index] = NULL;
    vector_push_copy(&builder->free_indices, &entry->index);
    forget_entry(builder, entry);
}

/* --- addresses and prefilters --- */

static struct router *same_router(const struct snapshot_builder *builder)
{
    return router_with(builder->newest->router, NULL, 0, NULL, 0);
}

static void recompile_service(struct snapshot_builder *builder, struct service_entry *entry)
{
    struct service *fresh = service_entry_compile(builder, entry);
    retire_service(builder, entry->service);
    entry->service = fresh;
    builder->services[entry->index] = fresh;
}

struct snapshot *snapshot_builder_addresses(struct snapshot_builder *builder, struct slice host,
                                            const struct address *addresses, size_t count)
{
    struct name_entry *name = map_find(&builder->names, host);
    if (!name) return NULL; /* went out of use meanwhile */
    free(name->addresses);
    name->addresses = memory_allocate_array(count + 1, sizeof *addresses);
    name->count = count;
    if (count) memcpy(name->addresses, addresses, count * sizeof *addresses);
    bool changed = false;
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->services_by_id, &position); entry;
         entry = map_next(&builder->services_by_id, &position)) {
        if (!service_entry_uses(entry->value, host)) continue;
        recompile_service(builder, entry->value);
        changed = true;
    }
    return changed ? builder_next_snapshot(builder, same_router(builder)) : NULL;
}

struct router_prefilter_source *snapshot_builder_prefilter_source(struct snapshot_builder *builder)
{
    if (!builder->newest || !router_wants_prefilter(builder->newest->router)) return NULL;
    return router_prefilter_source_create(builder->newest->router);
}

struct snapshot *snapshot_builder_prefilter(struct snapshot_builder *builder, struct router_prefilter *prefilter)
{
    return builder_next_snapshot(builder, router_with_prefilter(builder->newest->router, prefilter));
}

/* --- the end of all --- */

void snapshot_builder_destroy(struct snapshot_builder *builder)
{
    PROMISE(!builder->prepared);
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry;
         entry = map_next(&builder->routes, &position)) {
        builder_retire_route(builder, entry->value);
    }
    struct map_entry *first;
    while (position = 0, (first = map_next(&builder->services_by_id, &position)) != NULL)
        builder_remove_service(builder, first->value);
    builder_retire_settings(builder);
    if (builder->newest) snapshot_destroy(builder->newest);
    PROMISE(builder->newest == NULL);
    snapshot_builder_collect(builder);
    for (struct instance *instance; (instance = instance_next_forgotten(builder->instances)) != NULL;) {
        instance_destroy(builder->instances, instance);
    }
    role_set_drop(builder->roles);
    if (builder->configuration) configuration_destroy(builder->configuration);
    transports_collect(builder);
    PROMISE(builder->transports.count == 0);
    map_release(&builder->transports);
    instance_registry_destroy(builder->instances);
    service_registry_destroy(builder->service_states);
    map_release(&builder->routes);
    map_release(&builder->services_by_id);
    map_release(&builder->services_by_name);
    map_release(&builder->names);
    vector_release(&builder->free_indices);
    free(builder->route_counts);
    free(builder->services);
    free(builder);
}
