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

static const struct request_settings no_settings;

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

void compiled_route_retain(struct compiled_route *route) { atomic_fetch_add_explicit(&route->references, 1, memory_order_relaxed); }

void compiled_route_drop(struct compiled_route *route)
{
    if (atomic_fetch_sub_explicit(&route->references, 1, memory_order_acq_rel) != 1) return;
    struct snapshot_builder *builder = route->builder;
    route->next_released = atomic_load_explicit(&builder->released_routes, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&builder->released_routes, &route->next_released, route, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    builder->settings.wake(builder->settings.wake_argument);
}

void snapshot_service_drop(struct snapshot_builder *builder, struct service *service)
{
    if (!service_drop(service)) return;
    struct released_service *released = memory_allocate(sizeof *released);
    released->service = service;
    released->next = atomic_load_explicit(&builder->released_services, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&builder->released_services, &released->next, released, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    builder->settings.wake(builder->settings.wake_argument);
}

void snapshot_builder_collect(struct snapshot_builder *builder)
{
    struct compiled_route *route = atomic_exchange_explicit(&builder->released_routes, NULL, memory_order_acquire);
    while (route) {
        struct compiled_route *next = route->next_released;
        route_destroy(route);
        route = next;
    }
    struct released_service *released = atomic_exchange_explicit(&builder->released_services, NULL, memory_order_acquire);
    while (released) {
        struct released_service *next = released->next;
        destroy_service(builder, released->service);
        free(released);
        released = next;
    }
}

struct instance_registry *snapshot_builder_instances(struct snapshot_builder *builder) { return builder->instances; }

/* --- snapshots --- */

/* The next version with this router and the builder's table of services. */
static struct snapshot *snapshot_make(struct snapshot_builder *builder, struct router *router, const struct request_settings *settings)
{
    struct snapshot *snapshot = memory_allocate(sizeof *snapshot);
    snapshot->version = ++builder->versions;
    snapshot->builder = builder;
    snapshot->router = router;
    snapshot->route_count = router_count(router);
    snapshot->settings = settings;
    snapshot->service_count = builder->service_count;
    snapshot->services = memory_allocate_array(builder->service_count + 1, sizeof *snapshot->services);
    if (builder->service_count) memcpy(snapshot->services, builder->services, builder->service_count * sizeof *snapshot->services);
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
    free(settings->trusted_proxies);
    for (size_t i = 0; i < settings->internal_response_header_count; i++) {
        free((void *)(uintptr_t)settings->internal_response_headers[i].at);
    }
    free(settings->internal_response_headers);
    free(settings);
}

static void move_all(struct vector *to, struct vector *from)
{
    for (size_t i = 0; i < from->count; i++) vector_push_pointer(to, vector_pointer_at(from, i));
}

static void let_go(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->retired_routes.count; i++) compiled_route_drop(vector_pointer_at(&snapshot->retired_routes, i));
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
    if (builder->free_indices.count > 0) return *(uint32_t *)vector_at(&builder->free_indices, --builder->free_indices.count);
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

static struct service_entry *find_service(const struct snapshot_builder *builder, struct slice id_or_name)
{
    struct service_entry *entry = map_find(&builder->services_by_id, id_or_name);
    return entry ? entry : map_find(&builder->services_by_name, id_or_name);
}

/* Replaces or adds a service; names are used before the old ones are left, so that a name in both is not told as gone. */
static void set_service(struct snapshot_builder *builder, const struct service_config *config)
{
    struct service_entry *old = map_find(&builder->services_by_id, config->id);
    uint32_t index = old ? old->index : take_index(builder);
    struct service_entry *entry = service_entry_create(builder, config, index);
    entry->kept = true;
    names_use(builder, entry);
    if (old) {
        names_leave(builder, old);
        retire_service(builder, old->service);
        map_remove(&builder->services_by_id, slice_from_cstring(old->id));
        map_remove(&builder->services_by_name, slice_from_cstring(old->name));
        service_entry_destroy(old);
    }
    put_entry(builder, entry);
}

static void remove_service(struct snapshot_builder *builder, struct service_entry *entry)
{
    names_leave(builder, entry);
    retire_service(builder, entry->service);
    builder->services[entry->index] = NULL;
    vector_push_copy(&builder->free_indices, &entry->index);
    map_remove(&builder->services_by_id, slice_from_cstring(entry->id));
    map_remove(&builder->services_by_name, slice_from_cstring(entry->name));
    service_entry_destroy(entry);
}

/* --- a whole load --- */

struct loading {
    struct snapshot_builder *builder;
    const struct configuration *configuration;
    struct problems *problems;
    struct route_surroundings around;
    struct map service_indices; /* by id and by name: index + 1; services that are new get theirs ahead of time */
    struct compiled_route **routes; /* in the file's order; those kept, and the new ones */
    struct vector added, removed;   /* struct route_matcher * */
    struct vector fresh;            /* struct compiled_route *: to be undone on a problem */
};

static uint32_t service_index_of(const struct loading *loading, struct slice id_or_name)
{
    if (slice_is_absent(id_or_name)) return SERVICE_NONE;
    uintptr_t index = (uintptr_t)map_find(&loading->service_indices, id_or_name);
    return index ? (uint32_t)(index - 1) : SERVICE_NONE;
}

/* Indices that services of the new configuration have or will have; services themselves change only at the commit. */
static void number_services(struct loading *loading)
{
    const struct service_config *services = loading->configuration->services.items;
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        const struct service_entry *entry = map_find(&loading->builder->services_by_id, services[i].id);
        uint32_t index = entry ? entry->index : take_index(loading->builder);
        map_set(&loading->service_indices, services[i].id, (void *)(uintptr_t)(index + 1));
        map_set(&loading->service_indices, services[i].name, (void *)(uintptr_t)(index + 1));
    }
}

/* Gives back what number_services took for services that did not come to be. */
static void forget_numbers(struct loading *loading)
{
    const struct service_config *services = loading->configuration->services.items;
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        if (map_find(&loading->builder->services_by_id, services[i].id)) continue;
        uint32_t index = service_index_of(loading, services[i].id);
        vector_push_copy(&loading->builder->free_indices, &index);
    }
}

static struct slice service_name_of(const struct loading *loading, struct slice id_or_name)
{
    const struct service_config *services = loading->configuration->services.items;
    if (slice_is_absent(id_or_name)) return SLICE("");
    const struct service_entry *entry = find_service(loading->builder, id_or_name);
    if (entry && slice_equal(slice_from_cstring(entry->name), id_or_name)) return id_or_name;
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        if (slice_equal(services[i].name, id_or_name) || slice_equal(services[i].id, id_or_name)) return services[i].name;
    }
    return id_or_name;
}

/* What stays keeps its place in the order of age only if the order in the file agrees. */
static void find_kept_routes(struct loading *loading)
{
    const struct route_config *routes = loading->configuration->routes.items;
    uint64_t last = 0;
    for (size_t i = 0; i < loading->configuration->routes.count; i++) {
        struct compiled_route *old = routes[i].enabled ? map_find(&loading->builder->routes, routes[i].id) : NULL;
        if (!old || old->sequence <= last) continue;
        struct content_hash hash = route_hash(&routes[i], &loading->around, service_index_of(loading, routes[i].service_id),
                                              service_name_of(loading, routes[i].service_id));
        if (memcmp(&hash, &old->hash, sizeof hash) != 0) continue;
        loading->routes[i] = old;
        last = old->sequence;
    }
}

static void compile_one(struct loading *loading, size_t at, uint64_t sequence)
{
    const struct route_config *route = &((const struct route_config *)loading->configuration->routes.items)[at];
    if (!route->enabled) return;
    uint32_t index = service_index_of(loading, route->service_id);
    struct slice service_name = service_name_of(loading, route->service_id);
    struct content_hash hash = route_hash(route, &loading->around, index, service_name);
    struct compiled_route *compiled =
        route_compile(loading->builder, route, &loading->around, index, service_name, sequence, hash, loading->problems);
    if (!compiled) return;
    loading->routes[at] = compiled;
    vector_push_pointer(&loading->fresh, compiled);
    vector_push_pointer(&loading->added, compiled->matcher);
}

/* Compiles the runs of new routes between kept ones, numbered evenly between them. False: there is no room between two. */
static bool compile_new_routes(struct loading *loading)
{
    size_t count = loading->configuration->routes.count;
    uint64_t last = 0;
    for (size_t i = 0; i < count;) {
        if (loading->routes[i]) {
            last = loading->routes[i++]->sequence;
            continue;
        }
        size_t end = i;
        while (end < count && !loading->routes[end]) end++;
        uint64_t step = end < count ? (loading->routes[end]->sequence - last) / (end - i + 1) : SEQUENCE_STEP;
        if (step == 0) return false;
        for (; i < end; i++) compile_one(loading, i, last += step);
    }
    return true;
}

static void drop_fresh(struct loading *loading)
{
    for (size_t i = 0; i < loading->fresh.count; i++) route_destroy(vector_pointer_at(&loading->fresh, i));
    loading->fresh.count = loading->added.count = 0;
}

static void compile_routes(struct loading *loading)
{
    find_kept_routes(loading);
    if (compile_new_routes(loading)) return;
    drop_fresh(loading);
    memset(loading->routes, 0, loading->configuration->routes.count * sizeof(struct compiled_route *));
    (void)compile_new_routes(loading); /* with nothing kept there is room */
}

static void commit_services(struct loading *loading)
{
    struct snapshot_builder *builder = loading->builder;
    const struct service_config *services = loading->configuration->services.items;
    for (size_t i = 0; i < loading->configuration->services.count; i++) {
        struct service_entry *entry = map_find(&builder->services_by_id, services[i].id);
        if (entry && memcmp(&entry->hash, &services[i].hash, sizeof entry->hash) == 0) {
            entry->kept = true;
        } else if (entry) {
            set_service(builder, &services[i]);
        } else {
            struct service_entry *fresh = service_entry_create(builder, &services[i], service_index_of(loading, services[i].id));
            fresh->kept = true;
            names_use(builder, fresh);
            put_entry(builder, fresh);
        }
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
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry; entry = map_next(&builder->routes, &position)) {
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
    settings->trusted_proxies = memory_allocate_array(settings->trusted_proxy_count + 1, sizeof *settings->trusted_proxies);
    for (size_t i = 0; i < settings->trusted_proxy_count; i++) settings->trusted_proxies[i] = configuration->trusted_proxies[i];
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
    if (before) vector_push_pointer(&before->retired_settings, (void *)(uintptr_t)before->settings);
    return snapshot_make(builder, router, make_settings(loading->configuration));
}

static void keep_configuration(struct snapshot_builder *builder, struct configuration *configuration)
{
    if (builder->configuration) configuration_destroy(builder->configuration);
    builder->configuration = configuration;
    if (configuration->plugins.count > 0) return;
    configuration_destroy(configuration);
    builder->configuration = NULL;
}

struct snapshot *snapshot_builder_load(struct snapshot_builder *builder, struct configuration *configuration, struct problems *problems)
{
    struct loading loading = {
        .builder = builder,
        .configuration = configuration,
        .problems = problems,
        .around = { configuration->plugins.items, configuration->plugins.count },
        .routes = memory_allocate_array(configuration->routes.count + 1, sizeof(struct compiled_route *)),
    };
    size_t problems_before = problems->count;
    map_init(&loading.service_indices);
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
    map_release(&loading.service_indices);
    free(loading.routes);
    return snapshot;
}

/* --- single changes --- */

static struct snapshot *next_snapshot(struct snapshot_builder *builder, struct router *router)
{
    return snapshot_make(builder, router, builder->newest ? builder->newest->settings : &no_settings);
}

static struct router *same_router(const struct snapshot_builder *builder)
{
    return router_with(builder->newest->router, NULL, 0, NULL, 0);
}

struct snapshot *snapshot_builder_put_route(struct snapshot_builder *builder, struct slice id, const struct route_config *config,
                                            struct problems *problems)
{
    PROMISE(builder->newest != NULL); /* a load came first */
    struct compiled_route *old = map_find(&builder->routes, id), *fresh = NULL;
    if (config && config->enabled) {
        struct route_surroundings around = { NULL, 0 };
        if (builder->configuration) {
            around = (struct route_surroundings){ builder->configuration->plugins.items, builder->configuration->plugins.count };
        }
        const struct service_entry *entry = slice_is_absent(config->service_id) ? NULL : find_service(builder, config->service_id);
        uint32_t index = entry ? entry->index : SERVICE_NONE;
        struct slice service_name = entry ? slice_from_cstring(entry->name) : SLICE("");
        uint64_t sequence = old ? old->sequence : builder->sequence_max + SEQUENCE_STEP;
        fresh = route_compile(builder, config, &around, index, service_name, sequence,
                              route_hash(config, &around, index, service_name), problems);
        if (!fresh) return NULL;
        if (sequence > builder->sequence_max) builder->sequence_max = sequence;
    } else if (!old) {
        return NULL;
    }
    struct router *router = router_with(builder->newest->router, fresh ? &fresh->matcher : NULL, fresh ? 1 : 0,
                                        old ? &old->matcher : NULL, old ? 1 : 0);
    if (old) {
        map_remove(&builder->routes, id);
        retire_route(builder, old);
    }
    if (fresh) map_set(&builder->routes, slice_from_cstring(fresh->id), fresh);
    return next_snapshot(builder, router);
}

struct snapshot *snapshot_builder_put_service(struct snapshot_builder *builder, struct slice id, const struct service_config *config,
                                              struct problems *problems)
{
    if (!map_find(&builder->services_by_id, id)) {
        problems_add(problems, config->node, NULL, "service \"%.*s\" is not in force", SLICE_PRINT(id));
        return NULL;
    }
    set_service(builder, config);
    return next_snapshot(builder, same_router(builder));
}

static void recompile_service(struct snapshot_builder *builder, struct service_entry *entry)
{
    struct service *fresh = service_entry_compile(builder, entry);
    retire_service(builder, entry->service);
    entry->service = fresh;
    builder->services[entry->index] = fresh;
}

struct snapshot *snapshot_builder_addresses(struct snapshot_builder *builder, struct slice host, const struct address *addresses,
                                            size_t count)
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
    const struct request_settings *settings = builder->newest ? builder->newest->settings : NULL;
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->routes, &position); entry; entry = map_next(&builder->routes, &position)) {
        retire_route(builder, entry->value);
    }
    struct map_entry *first;
    while (position = 0, (first = map_next(&builder->services_by_id, &position)) != NULL) remove_service(builder, first->value);
    if (builder->newest) snapshot_destroy(builder->newest);
    PROMISE(builder->newest == NULL);
    if (settings && settings != &no_settings) free_request_settings((void *)(uintptr_t)settings);
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
