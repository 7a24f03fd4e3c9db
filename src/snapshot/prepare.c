/* snapshot/prepare.c: a change compiled aside: what is equal by content hash to what is in force is reused, the rest is made anew, and
 * nothing that is in force knows of it yet. How it comes into force, or doesn't: commit.c.
 *
 * A whole configuration is the change that says everything: what it doesn't hold goes, and its order is the order of age. Any other change
 * costs by what it holds, however much is in force beside it. */
#include "snapshot/private.h"

#include "base/memory.h"
#include "config/api_versions.h"

static const struct service_config *service_at(const struct prepared_change *prepared, size_t at)
{
    return &((const struct service_config *)prepared->configuration->services.items)[at];
}

static const struct route_config *route_at(const struct prepared_change *prepared, size_t at)
{
    return &((const struct route_config *)prepared->configuration->routes.items)[at];
}

/* --- services --- */

/* Only numbers: services themselves change at the commit. */
static void number_services(struct prepared_change *prepared)
{
    for (size_t i = 0; i < prepared->configuration->services.count; i++) {
        struct numbered_service *service = &prepared->services[i];
        service->config = service_at(prepared, i);
        const struct service_entry *entry = map_find(&prepared->builder->services_by_id, service->config->id);
        service->is_new = !entry;
        service->index = entry ? entry->index : builder_take_index(prepared->builder);
        map_set(&prepared->services_by_id, service->config->id, service);
        map_set(&prepared->services_by_name, service->config->name, service);
    }
}

static void find_transports(struct prepared_change *prepared)
{
    for (size_t i = 0; i < prepared->configuration->services.count; i++)
        prepared->services[i].transport = transport_for(prepared->builder, prepared->services[i].config,
                                                        prepared->problems);
}

/* In force, and still so after the change. */
static const struct service_entry *if_it_stays(const struct prepared_change *prepared,
                                               const struct service_entry *entry)
{
    if (!entry || prepared->is_whole) return NULL;
    struct slice id = slice_from_cstring(entry->id);
    return map_find(&prepared->removed, id) || map_find(&prepared->services_by_id, id) ? NULL : entry;
}

/* Of a whole configuration that was seen when it was read. */
static void check_names(struct prepared_change *prepared)
{
    for (size_t i = 0; !prepared->is_whole && i < prepared->configuration->services.count; i++) {
        const struct service_config *service = service_at(prepared, i);
        const struct map *by_name = &prepared->builder->services_by_name;
        if (!if_it_stays(prepared, map_find(by_name, service->name))) continue;
        problems_add(prepared->problems, service->node, NULL, "another service is called \"%.*s\"",
                     SLICE_PRINT(service->name));
    }
}

/* --- routes --- */

static bool find_by(const struct prepared_change *prepared, const struct map *changed, const struct map *in_force,
                    struct slice key, struct found_service *found)
{
    const struct numbered_service *service = map_find(changed, key);
    const struct service_entry *entry = service ? NULL : if_it_stays(prepared, map_find(in_force, key));
    if (service) *found = (struct found_service){ service->index, service->config->id, service->config->name };
    if (entry)
        *found = (struct found_service){ entry->index, slice_from_cstring(entry->id), slice_from_cstring(entry->name) };
    return service || entry;
}

/* An id goes before another's name. */
bool prepared_find_service(const struct prepared_change *prepared, struct slice id_or_name, struct found_service *found)
{
    const struct snapshot_builder *builder = prepared->builder;
    return find_by(prepared, &prepared->services_by_id, &builder->services_by_id, id_or_name, found) ||
           find_by(prepared, &prepared->services_by_name, &builder->services_by_name, id_or_name, found);
}

/* Where a route ends. False: there is no such service. */
static bool find_end(const struct prepared_change *prepared, const struct route_config *route,
                     struct found_service *end)
{
    *end = (struct found_service){ SERVICE_NONE, SLICE(""), SLICE("") };
    return slice_is_absent(route->service_id) || prepared_find_service(prepared, route->service_id, end);
}

/* The route as it is in force, if it is the same now; NULL else. */
static struct compiled_route *find_equal(const struct prepared_change *prepared, const struct route_config *route)
{
    struct compiled_route *old = route->enabled ? map_find(&prepared->builder->routes, route->id) : NULL;
    struct found_service end;
    if (!old || !find_end(prepared, route, &end)) return NULL;
    struct content_hash hash = route_hash(route, &prepared->around, end.index, end.name);
    bool is_equal = memcmp(&hash, &old->hash, sizeof hash) == 0 && route_services_are_equal(old, &prepared->around);
    return is_equal ? old : NULL;
}

static void compile_one(struct prepared_change *prepared, size_t at, uint64_t sequence)
{
    const struct route_config *route = route_at(prepared, at);
    struct found_service end;
    if (!route->enabled) return;
    if (!find_end(prepared, route, &end)) {
        problems_add(prepared->problems, route->node, NULL, "service \"%.*s\" is not in force",
                     SLICE_PRINT(route->service_id));
        return;
    }
    struct content_hash hash = route_hash(route, &prepared->around, end.index, end.name);
    prepared->routes[at] = route_compile(prepared->builder, route, &prepared->around, end.index, end.name, sequence,
                                         hash, prepared->problems);
    if (prepared->routes[at]) vector_push_pointer(&prepared->fresh, prepared->routes[at]);
}

/* The order in which they are written is the order of age. */
static void compile_whole(struct prepared_change *prepared)
{
    uint32_t count = (uint32_t)prepared->configuration->routes.count;
    uint64_t *places = memory_allocate_array(count + 1, sizeof *places);
    bool *kept = memory_allocate_array(count + 1, sizeof *kept);
    for (uint32_t i = 0; i < count; i++) {
        prepared->routes[i] = find_equal(prepared, route_at(prepared, i));
        if (prepared->routes[i]) places[i] = prepared->routes[i]->sequence;
    }
    order_places(places, kept, count);
    for (uint32_t i = 0; i < count; i++) {
        if (kept[i]) continue;
        prepared->routes[i] = NULL;
        compile_one(prepared, i, places[i]);
    }
    free(kept);
    free(places);
}

/* What is in force keeps its age; new ones are the youngest. */
static void compile_changed(struct prepared_change *prepared)
{
    uint64_t youngest = prepared->builder->sequence_max;
    for (size_t i = 0; i < prepared->configuration->routes.count; i++) {
        const struct route_config *route = route_at(prepared, i);
        const struct compiled_route *old = map_find(&prepared->builder->routes, route->id);
        prepared->routes[i] = find_equal(prepared, route);
        if (prepared->routes[i]) continue;
        compile_one(prepared, i, old ? old->sequence : youngest + SEQUENCE_STEP);
        if (!old) youngest += SEQUENCE_STEP;
    }
}

/* --- versions --- */

static const struct object_list *versions_to_come(const struct prepared_change *prepared)
{
    const struct request_settings *in_force = prepared->builder->request_settings;
    return prepared->change->with_settings || !in_force ? &prepared->configuration->api_versions
                                                        : &in_force->api_versions;
}

/* They are no resource: whoever writes a route over the admin API, or into a store, has to look for them elsewhere. */
static void tell_lacking_versions(struct prepared_change *prepared, const struct node *place,
                                  const struct excerpt *route)
{
    struct slice file = prepared->configuration->file;
    char *hint = slice_is_absent(file) ? memory_copy_slice(SLICE("write them into the gateway's configuration file"))
                                       : memory_format("write them into %.*s", SLICE_PRINT(file));
    problems_add(prepared->problems, place, hint, "route \"%s\": \"version\" needs \"apiVersions\"", route->text);
    free(hint);
}

static void check_version(struct prepared_change *prepared, const struct route_config *route)
{
    const struct object_list *apis = versions_to_come(prepared);
    const struct node *place = route->node ? node_find(route->node, "version") : NULL;
    struct excerpt said = problems_excerpt(route->version), name = problems_excerpt(route->name);
    struct slice version;
    const struct api_versions_config *api = api_versions_find(apis, route->version, &version);
    if (api && api_versions_get(api, version)) return;
    if (api) {
        struct slice known = api_versions_names(api, &prepared->configuration->arena);
        char hint[256];
        snprintf(hint, sizeof hint, "there are %.*s", SLICE_PRINT(known));
        problems_add(prepared->problems, place, hint, "route \"%s\": \"apiVersions\" has no version \"%s\"", name.text,
                     said.text);
    } else if (apis->count == 0) {
        tell_lacking_versions(prepared, place, &name);
    } else if (version.length == route->version.length) {
        problems_add(prepared->problems, place, "as in NAME/2", "route \"%s\": \"version\" must say of which API it is",
                     name.text);
    } else {
        problems_add(prepared->problems, place, NULL, "route \"%s\": \"apiVersions\" has no API for \"%s\"", name.text,
                     said.text);
    }
}

/* Routes that are the same as before too: the versions may have changed. */
static void check_versions(struct prepared_change *prepared)
{
    for (size_t i = 0; i < prepared->configuration->routes.count; i++) {
        if (!slice_is_absent(route_at(prepared, i)->version)) check_version(prepared, route_at(prepared, i));
    }
}

/* --- services that go --- */

static void subtract_use(void *argument, uint32_t index)
{
    uint32_t *uses = argument;
    uses[index]--;
}

static void subtract_old(const struct prepared_change *prepared, uint32_t *uses, struct slice route_id)
{
    const struct compiled_route *old = map_find(&prepared->builder->routes, route_id);
    if (old) route_each_service(old, subtract_use, uses);
}

/* None may leave a route behind: its place in the table will be another's. Routes of the change itself did not find it any more. */
static void check_removed_services(struct prepared_change *prepared)
{
    const struct snapshot_builder *builder = prepared->builder;
    const struct slice_list *services = &prepared->change->removed_services,
                            *routes = &prepared->change->removed_routes;
    if (prepared->is_whole || services->count == 0) return;
    uint32_t *uses = memory_allocate_array(builder->service_count + 1, sizeof *uses);
    memcpy(uses, builder->route_counts, builder->service_count * sizeof *uses);
    for (size_t i = 0; i < routes->count; i++) subtract_old(prepared, uses, routes->items[i]);
    for (size_t i = 0; i < prepared->configuration->routes.count; i++)
        subtract_old(prepared, uses, route_at(prepared, i)->id);
    for (size_t i = 0; i < services->count; i++) {
        const struct service_entry *entry = map_find(&builder->services_by_id, services->items[i]);
        if (!entry || uses[entry->index] == 0) continue;
        problems_add(prepared->problems, NULL, NULL, "service \"%s\" is still used by %u routes", entry->name,
                     uses[entry->index]);
    }
    free(uses);
}

/* --- all of it --- */

static struct prepared_change *make_prepared(struct snapshot_builder *builder, struct configuration_change *change,
                                             struct problems *problems)
{
    struct configuration *configuration = change->configuration;
    struct prepared_change *prepared = memory_allocate(sizeof *prepared);
    *prepared = (struct prepared_change){
        .builder = builder,
        .change = change,
        .configuration = configuration,
        .problems = problems,
        .is_whole = change->whole,
        .services = memory_allocate_array(configuration->services.count + 1, sizeof(struct numbered_service)),
        .routes = memory_allocate_array(configuration->routes.count + 1, sizeof(struct compiled_route *)),
    };
    const struct configuration *plugins = change->whole || change->plugins_changed ? configuration
                                                                                   : builder->configuration;
    prepared->around.prepared = prepared;
    if (plugins) {
        prepared->around.plugins = plugins->plugins.items;
        prepared->around.plugin_count = plugins->plugins.count;
        prepared->around.limits = plugins->rate_limits.items;
        prepared->around.limit_count = plugins->rate_limits.count;
    }
    map_init(&prepared->services_by_name);
    map_init(&prepared->services_by_id);
    map_init(&prepared->removed);
    vector_init(&prepared->fresh, sizeof(void *));
    for (size_t i = 0; i < change->removed_services.count; i++)
        map_set(&prepared->removed, change->removed_services.items[i], prepared);
    return prepared;
}

struct prepared_change *snapshot_builder_prepare(struct snapshot_builder *builder, struct configuration_change *change,
                                                 struct problems *problems)
{
    PROMISE(!builder->prepared && (change->whole || builder->newest));
    struct prepared_change *prepared = builder->prepared = make_prepared(builder, change, problems);
    size_t problems_before = problems->count;
    number_services(prepared);
    check_names(prepared);
    find_transports(prepared);
    if (prepared->is_whole)
        compile_whole(prepared);
    else
        compile_changed(prepared);
    check_versions(prepared);
    check_removed_services(prepared);
    roles_prepare(prepared);
    if (problems->count == problems_before) return prepared;
    snapshot_builder_abandon(builder, prepared);
    return NULL;
}

struct snapshot *snapshot_builder_load(struct snapshot_builder *builder, struct configuration *configuration,
                                       struct problems *problems)
{
    struct configuration_change *change = memory_allocate(sizeof *change);
    *change = (struct configuration_change){ .configuration = configuration, .whole = true, .with_settings = true };
    struct prepared_change *prepared = snapshot_builder_prepare(builder, change, problems);
    return prepared ? snapshot_builder_commit(builder, prepared) : NULL;
}

void configuration_change_destroy(struct configuration_change *change)
{
    if (!change) return;
    if (change->configuration) configuration_destroy(change->configuration);
    free(change);
}
