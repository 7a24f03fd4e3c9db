/* snapshot/builder.c: from the configuration in force to the next one, at the cost of the change.
 *
 * A change is prepared aside and committed at the end, so that a problem anywhere leaves everything as it was. The whole-state
 * load compares content hashes; the single puts know what they change. */
#include "snapshot/private.h"

#define SEQUENCE_STEP (UINT64_C(1) << 24) /* room between two routes of a file for those that come between them later */

struct released_service {
    struct service *service;
    struct released_service *next;
};

/* --- life --- */

struct snapshot_builder *snapshot_builder_create(const struct snapshot_builder_settings *settings)
{
    struct snapshot_builder *builder = memory_allocate(sizeof *builder);
    builder->settings = *settings;
    map_init(&builder->services_by_id);
    map_init(&builder->services_by_name);
    map_init(&builder->routes);
    map_init(&builder->names);
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

/* The next version with this router and what else is in force. */
static struct snapshot *next_snapshot(struct snapshot_builder *builder, struct router *router)
{
    struct snapshot *snapshot = memory_allocate(sizeof *snapshot);
    snapshot->version = ++builder->versions;
    snapshot->builder = builder;
    snapshot->router = router;
    snapshot->route_count = router_count(router);
    snapshot->settings = builder->request_settings;
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
static void retire_route(struct snapshot_builder *builder, struct compiled_route *route)
{
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
    free(settings);
}

static void retire_settings(struct snapshot_builder *builder)
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
    vector_release(&snapshot->retired_routes);
    vector_release(&snapshot->retired_services);
    vector_release(&snapshot->retired_settings);
    free(snapshot->services);
    free(snapshot);
}

/* --- the services table --- */

static uint32_t take_index(struct snapshot_builder *builder)
{
    if (builder->free_indices.count > 0)
        return *(uint32_t *)vector_at(&builder->free_indices, --builder->free_indices.count);
    uint32_t index = builder->service_count++;
    builder->services = memory_resize(builder->services, builder->service_count * sizeof *builder->services);
    builder->services[index] = NULL;
    return index;
}

static void put_entry(struct snapshot_builder *builder, struct service_entry *entry)
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

static struct service_entry *find_service(const struct snapshot_builder *builder, struct slice id_or_name)
{
    struct service_entry *entry = map_find(&builder->services_by_id, id_or_name);
    return entry ? entry : map_find(&builder->services_by_name, id_or_name);
}

/* Names are used before the old ones are left, so that a name in both is not told as gone. */
static struct service_entry *replace_service(struct snapshot_builder *builder, struct service_entry *old,
                                             const struct service_config *config)
{
    struct service_entry *entry = service_entry_create(builder, config, old->index);
    names_use(builder, entry);
    names_leave(builder, old);
    retire_service(builder, old->service);
    forget_entry(builder, old);
    put_entry(builder, entry);
    return entry;
}

static void remove_service(struct snapshot_builder *builder, struct service_entry *entry)
{
    names_leave(builder, entry);
    retire_service(builder, entry->service);
    builder->services[entry->index] = NULL;
    vector_push_copy(&builder->free_indices, &entry->index);
    forget_entry(builder, entry);
}

/* --- a whole load --- */

/* A service of the new configuration and the index it has or, where it is new, will have. */
struct numbered_service {
    const struct service_config *config;
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
        service->index = entry ? entry->index : take_index(loading->builder);
        map_set(&loading->services_by_name, service->config->name, service);
    }
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        map_set(&loading->services_by_name, service_at(loading, i)->id, &loading->services[i]);
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

/* What stays keeps its place in the order of age only if the order in the file agrees. */
static void find_kept_routes(struct loading *loading)
{
    uint64_t last = 0;
    for (size_t i = 0; i < loading->configuration->routes.count; i++) {
        const struct route_config *route = route_at(loading, i);
        struct compiled_route *old = route->enabled ? map_find(&loading->builder->routes, route->id) : NULL;
        if (!old || old->sequence <= last) continue;
        struct route_end end = end_of(loading, route);
        struct content_hash hash = route_hash(route, &loading->around, end.service_index, end.service_name);
        if (memcmp(&hash, &old->hash, sizeof hash) != 0) continue;
        loading->routes[i] = old;
        last = old->sequence;
    }
}

/* A run of routes without a compiled one, from *at on: its end, and the step between their places in the order of age: evenly
 * between those that were kept. 0: there is no room. */
static uint64_t step_of_run(const struct loading *loading, size_t at, uint64_t last, size_t *end)
{
    size_t count = loading->configuration->routes.count;
    for (*end = at; *end < count && !loading->routes[*end];) ++*end;
    return *end < count ? (loading->routes[*end]->sequence - last) / (*end - at + 1) : SEQUENCE_STEP;
}

static bool has_room(const struct loading *loading)
{
    size_t count = loading->configuration->routes.count, end;
    uint64_t last = 0;
    for (size_t i = 0; i < count; i = end + 1) {
        if (step_of_run(loading, i, last, &end) == 0) return false;
        if (end < count) last = loading->routes[end]->sequence;
    }
    return true;
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
    size_t count = loading->configuration->routes.count, end;
    uint64_t last = 0;
    find_kept_routes(loading);
    if (!has_room(loading))
        memset(loading->routes, 0, count * sizeof(struct compiled_route *)); /* with nothing kept there is */
    for (size_t i = 0; i < count; i = end + 1) {
        uint64_t step = step_of_run(loading, i, last, &end);
        for (size_t at = i; at < end; at++) compile_one(loading, at, last += step);
        if (end < count) last = loading->routes[end]->sequence;
    }
}

static void drop_fresh(struct loading *loading)
{
    for (size_t i = 0; i < loading->fresh.count; i++) route_destroy(vector_pointer_at(&loading->fresh, i));
}

static void commit_services(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        const struct numbered_service *service = &loading->services[i];
        struct service_entry *entry = map_find(&builder->services_by_id, service->config->id);
        if (!entry) {
            entry = service_entry_create(builder, service->config, service->index);
            names_use(builder, entry);
            put_entry(builder, entry);
        } else if (memcmp(&entry->hash, &service->config->hash, sizeof entry->hash) != 0) {
            entry = replace_service(builder, entry, service->config);
        }
        entry->kept = true;
    }
    struct vector gone;
    vector_init(&gone, sizeof(void *));
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->services_by_id, &position); entry;
         entry = map_next(&builder->services_by_id, &position)) {
        struct service_entry *service = entry->value;
        if (!service->kept) vector_push_pointer(&gone, service);
        service->kept = false;
    }
    for (size_t i = 0; i < gone.count; i++) remove_service(builder, vector_pointer_at(&gone, i));
    vector_release(&gone);
}

/* Old routes that the new state does not use leave the router; the map is made anew. */
static void commit_routes(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    struct map fresh;
    map_init(&fresh);
    builder->sequence_max = 0;
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
        retire_route(builder, old);
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
    retire_settings(builder);
    builder->request_settings = make_settings(loading->configuration);
    return next_snapshot(builder, router);
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
    compile_routes(&loading);
    struct snapshot *snapshot = NULL;
    if (problems->count == problems_before) {
        snapshot = commit(&loading);
        keep_configuration(builder, configuration);
    } else {
        forget_numbers(&loading);
        drop_fresh(&loading);
    }
    vector_release(&loading.fresh);
    vector_release(&loading.removed);
    vector_release(&loading.added);
    map_release(&loading.services_by_name);
    free(loading.routes);
    free(loading.services);
    return snapshot;
}

/* --- single changes --- */

static struct router *same_router(const struct snapshot_builder *builder)
{
    return router_with(builder->newest->router, NULL, 0, NULL, 0);
}

static struct compiled_route *compile_put(struct snapshot_builder *builder, const struct route_config *config,
                                          const struct compiled_route *old, struct problems *problems)
{
    struct route_surroundings around = { NULL, 0 };
    if (builder->configuration) {
        around = (struct route_surroundings){ builder->configuration->plugins.items,
                                              builder->configuration->plugins.count };
    }
    const struct service_entry *entry = slice_is_absent(config->service_id) ? NULL
                                                                            : find_service(builder, config->service_id);
    if (!entry && !slice_is_absent(config->service_id)) {
        problems_add(problems, config->node, NULL, "service \"%.*s\" is not in force", SLICE_PRINT(config->service_id));
        return NULL;
    }
    uint32_t index = entry ? entry->index : SERVICE_NONE;
    struct slice service_name = entry ? slice_from_cstring(entry->name) : SLICE("");
    struct content_hash hash = route_hash(config, &around, index, service_name);
    return route_compile(builder, config, &around, index, service_name,
                         old ? old->sequence : builder->sequence_max + SEQUENCE_STEP, hash, problems);
}

struct snapshot *snapshot_builder_put_route(struct snapshot_builder *builder, struct slice id,
                                            const struct route_config *config, struct problems *problems)
{
    PROMISE(builder->newest != NULL && (!config || slice_equal(config->id, id)));
    struct compiled_route *old = map_find(&builder->routes, id), *fresh = NULL;
    if (config && config->enabled) {
        fresh = compile_put(builder, config, old, problems);
        if (!fresh) return NULL;
    } else if (!old) {
        return NULL;
    }
    struct router *router = router_with(builder->newest->router, fresh ? &fresh->matcher : NULL, fresh ? 1 : 0,
                                        old ? &old->matcher : NULL, old ? 1 : 0);
    if (fresh) {
        map_set(&builder->routes, id, fresh);
        if (fresh->sequence > builder->sequence_max) builder->sequence_max = fresh->sequence;
    } else {
        map_remove(&builder->routes, id);
    }
    if (old) retire_route(builder, old);
    return next_snapshot(builder, router);
}

struct snapshot *snapshot_builder_put_service(struct snapshot_builder *builder, struct slice id,
                                              const struct service_config *config, struct problems *problems)
{
    PROMISE(slice_equal(config->id, id));
    struct service_entry *old = map_find(&builder->services_by_id, id);
    const struct service_entry *namesake = map_find(&builder->services_by_name, config->name);
    if (!old || (namesake && namesake != old)) {
        problems_add(problems, config->node, NULL,
                     old ? "another service is called \"%.*s\"" : "service \"%.*s\" is not in force",
                     SLICE_PRINT(old ? config->name : id));
        return NULL;
    }
    replace_service(builder, old, config);
    return next_snapshot(builder, same_router(builder));
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
    return changed ? next_snapshot(builder, same_router(builder)) : NULL;
}

struct router_prefilter_source *snapshot_builder_prefilter_source(struct snapshot_builder *builder)
{
    if (!builder->newest || !router_wants_prefilter(builder->newest->router)) return NULL;
    return router_prefilter_source_create(builder->newest->router);
}

struct snapshot *snapshot_builder_prefilter(struct snapshot_builder *builder, struct router_prefilter *prefilter)
{
    return next_snapshot(builder, router_with_prefilter(builder->newest->router, prefilter));
}

/* --- the end of all --- */

void snapshot_builder_destroy(struct snapshot_builder *builder)
{
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry;
         entry = map_next(&builder->routes, &position)) {
        retire_route(builder, entry->value);
    }
    struct map_entry *first;
    while (position = 0, (first = map_next(&builder->services_by_id, &position)) != NULL)
        remove_service(builder, first->value);
    retire_settings(builder);
    if (builder->newest) snapshot_destroy(builder->newest);
    PROMISE(builder->newest == NULL);
    snapshot_builder_collect(builder);
    for (struct instance *instance; (instance = instance_next_forgotten(builder->instances)) != NULL;) {
        instance_destroy(builder->instances, instance);
    }
    if (builder->configuration) configuration_destroy(builder->configuration);
    instance_registry_destroy(builder->instances);
    service_registry_destroy(builder->service_states);
    map_release(&builder->routes);
    map_release(&builder->services_by_id);
    map_release(&builder->services_by_name);
    map_release(&builder->names);
    vector_release(&builder->free_indices);
    free(builder->services);
    free(builder);
}
