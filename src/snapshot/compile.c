/* snapshot/compile.c: one route from configuration to what the request path reads. */
#include "expr/variables.h"
#include "snapshot/private.h"

#include <xxhash.h>

/* Under which names they are counted and logged. */
static void hash_split(XXH3_state_t *state, const struct route_config *route, const struct route_surroundings *around)
{
    const struct split_service_config *services = route->split.services.items;
    for (size_t i = 0; i <= route->split.services.count; i++) {
        struct slice wanted = i ? services[i - 1].service_id : route->split.canary_service_id;
        struct found_service found;
        if (slice_is_absent(wanted) || !prepared_find_service(around->prepared, wanted, &found)) continue;
        XXH3_128bits_update(state, &found.index, sizeof found.index);
        XXH3_128bits_update(state, found.name.at, found.name.length);
    }
}

static void hash_part(XXH3_state_t *state, int scope, const struct content_hash *hash)
{
    if (scope == SCOPE_NONE) return;
    XXH3_128bits_update(state, &scope, sizeof scope);
    XXH3_128bits_update(state, hash, sizeof *hash);
}

struct content_hash route_hash(const struct route_config *route, const struct route_surroundings *around,
                               uint32_t service_index, struct slice service_name)
{
    XXH3_state_t *state = XXH3_createState();
    PROMISE(state != NULL);
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, &route->hash, sizeof route->hash);
    XXH3_128bits_update(state, &service_index, sizeof service_index);
    XXH3_128bits_update(state, service_name.at, service_name.length);
    if (route->has_split) hash_split(state, route, around);
    for (size_t i = 0; i < around->plugin_count; i++)
        hash_part(state, plugin_scope(&around->plugins[i], route, around), &around->plugins[i].hash);
    for (size_t i = 0; i < around->limit_count; i++)
        hash_part(state, limit_scope(&around->limits[i], route, around), &around->limits[i].hash);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return (struct content_hash){ { hash.low64, hash.high64 } };
}

/* --- services that filters and handlers use --- */

struct service_search {
    struct compiled_route *route;
    const struct prepared_change *prepared;
};

static void note_use(struct compiled_route *route, struct slice name_or_id, uint32_t index)
{
    for (uint32_t i = 0; i < route->service_use_count; i++) {
        if (slice_equal(route->service_uses[i].name_or_id, name_or_id)) return;
    }
    route->service_uses = memory_resize(route->service_uses,
                                        (route->service_use_count + 1) * sizeof *route->service_uses);
    struct slice copied = slice_of(memory_copy_slice(name_or_id), name_or_id.length);
    route->service_uses[route->service_use_count++] = (struct service_use){ copied, index };
}

static uint32_t find_service(const struct filter_compile *compile, const char *field, struct slice name_or_id)
{
    const struct service_search *search = compile->service_argument;
    struct found_service found;
    if (!prepared_find_service(search->prepared, name_or_id, &found)) {
        const struct node *node = compile->node ? node_find(compile->node, field) : NULL;
        problems_add(compile->problems, node ? node : compile->node, NULL, "service \"%.*s\" is not in force",
                     SLICE_PRINT(name_or_id));
        return SERVICE_NONE;
    }
    note_use(search->route, name_or_id, found.index);
    return found.index;
}

bool route_services_are_equal(const struct compiled_route *route, const struct route_surroundings *around)
{
    for (uint32_t i = 0; i < route->service_use_count; i++) {
        const struct service_use *use = &route->service_uses[i];
        struct found_service found;
        if (!prepared_find_service(around->prepared, use->name_or_id, &found) || found.index != use->index)
            return false;
    }
    return true;
}

static bool is_told_before(const struct compiled_route *route, uint32_t use)
{
    uint32_t index = route->service_uses[use].index;
    bool before = index == route->service_index;
    for (uint32_t i = 0; i < use; i++) before |= route->service_uses[i].index == index;
    return before;
}

void route_each_service(const struct compiled_route *route, void (*each)(void *argument, uint32_t index),
                        void *argument)
{
    if (route->service_index != SERVICE_NONE) each(argument, route->service_index);
    for (uint32_t i = 0; i < route->service_use_count; i++) {
        if (!is_told_before(route, i)) each(argument, route->service_uses[i].index);
    }
}

/* --- filters and the handler --- */

static bool captures(const void *argument, struct slice name) { return route_matcher_captures(argument, name); }

static struct filter_compile compile_with(const struct compiled_route *compiled, const struct route_config *route,
                                          struct service_search *search, struct problems *problems)
{
    return (struct filter_compile){
        .problems = problems,
        .node = route->node,
        .captures = captures,
        .captures_argument = compiled->matcher,
        .service = find_service,
        .service_argument = search,
        .surroundings = compiled->builder->settings.surroundings,
        .route_id = route->id,
        .route_name = route->name,
        .route_methods = &route->methods,
    };
}

static bool compile_chain(struct compiled_route *compiled, const struct route_config *route,
                          const struct route_surroundings *around, struct problems *problems)
{
    struct part_list parts = route_parts(route, around);
    const struct filter_config **configs = memory_allocate_array(parts.count + 1, sizeof *configs);
    for (size_t i = 0; i < parts.count; i++) configs[i] = &parts.items[i];
    struct service_search search = { compiled, around->prepared };
    struct filter_compile compile = compile_with(compiled, route, &search, problems);
    compiled->chain = chain_create(compiled->builder->settings.registry, configs, parts.count, &compile);
    free(configs);
    free(parts.items);
    return compiled->chain != NULL;
}

static bool compile_handler(struct compiled_route *compiled, const struct route_config *route,
                            const struct route_surroundings *around, struct problems *problems)
{
    struct service_search search = { compiled, around->prepared };
    struct filter_compile compile = compile_with(compiled, route, &search, problems);
    for (const struct handler *const *handler = compiled->builder->settings.registry->handlers; *handler; handler++) {
        if (!(*handler)->takes(route)) continue;
        compiled->handler = *handler;
        return !(*handler)->compile || (*handler)->compile(&compile, route, &compiled->handler_compiled);
    }
    problems_add(problems, route->node, NULL, "route \"%.*s\" ends in nothing", SLICE_PRINT(route_label(route)));
    return false;
}

/* They see the request, its path and its source alone: nothing else is known while a route is looked for. */
static bool compile_predicates(struct compiled_route *compiled, const struct route_config *route,
                               struct problems *problems)
{
    struct expression_scope scope = expression_scope_at(EXPRESSION_AT_ROUTE);
    const struct node *list = route->node ? node_find(route->node, "predicates") : NULL;
    const struct node *item = list && list->kind == NODE_LIST ? list->first : list;
    struct error error;
    bool good = true;
    scope.captures = captures;
    scope.captures_argument = compiled->matcher;
    if (route->predicates.count)
        compiled->predicates = memory_allocate_array(route->predicates.count, sizeof *compiled->predicates);
    for (size_t i = 0; i < route->predicates.count; i++, item = item ? item->next : NULL) {
        struct expression *predicate = expression_compile(route->predicates.items[i], EXPRESSION_BOOL, &scope, &error);
        if (predicate)
            compiled->predicates[compiled->predicate_count++] = predicate;
        else
            problems_add(problems, item ? item : route->node, NULL, "\"predicates\": %s", error.text);
        good &= predicate != NULL;
    }
    return good;
}

static bool compile_split(struct compiled_route *compiled, const struct route_config *route,
                          const struct route_surroundings *around, struct problems *problems)
{
    if (!route->has_split) return true;
    struct service_search search = { compiled, around->prepared };
    struct filter_compile compile = compile_with(compiled, route, &search, problems);
    compiled->split = split_compile(&(struct split_compile){ .services = &compile,
                                                             .prepared = around->prepared,
                                                             .metrics = compiled->builder->settings.metrics,
                                                             .route_name = compiled->name_slice },
                                    route);
    return compiled->split != NULL;
}

/* A matcher's error begins with what it is about. */
static const struct node *place_of_error(const struct route_config *route, const struct error *error)
{
    static const struct {
        const char *words, *field;
    } places[] = {
        { "header ", "headers" }, { "query parameter ", "queryParams" }, { "host ", "host" }, { "method ", "methods" }
    };
    const char *field = "path";
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (strncmp(error->text, places[i].words, strlen(places[i].words)) == 0) field = places[i].field;
    }
    const struct node *node = route->node ? node_find(route->node, field) : NULL;
    return node ? node : route->node;
}

static bool compile_matcher(struct compiled_route *compiled, const struct route_config *route,
                            struct problems *problems)
{
    struct error error;
    /* struct pair and struct route_condition have the same members, but neither room includes the other. */
    size_t header_count = route->headers.count, query_count = route->query_parameters.count;
    struct route_condition *conditions = memory_allocate_array(header_count + query_count + 1, sizeof *conditions);
    for (size_t i = 0; i < header_count; i++) {
        conditions[i] = (struct route_condition){ route->headers.items[i].name, route->headers.items[i].value };
    }
    for (size_t i = 0; i < query_count; i++) {
        conditions[header_count + i] = (struct route_condition){ route->query_parameters.items[i].name,
                                                                 route->query_parameters.items[i].value };
    }
    struct route_rule rule = {
        .path = route->path,
        .hosts = route->hosts.items,
        .host_count = route->hosts.count,
        .methods = route->methods.items,
        .method_count = route->methods.count,
        .headers = conditions,
        .header_count = header_count,
        .query_parameters = conditions + header_count,
        .query_parameter_count = query_count,
        .judged_count = route->predicates.count + !slice_is_absent(route->version),
        .priority = (int32_t)route->priority,
        .sequence = compiled->sequence,
    };
    compiled->matcher = route_matcher_create(&rule, compiled, &error);
    free(conditions);
    if (compiled->matcher) return true;
    problems_add(problems, place_of_error(route, &error), NULL, "route \"%.*s\": %s", SLICE_PRINT(route_label(route)),
                 error.text);
    return false;
}

struct compiled_route *route_compile(struct snapshot_builder *builder, const struct route_config *route,
                                     const struct route_surroundings *around, uint32_t service_index,
                                     struct slice service_name, uint64_t sequence, struct content_hash hash,
                                     struct problems *problems)
{
    struct compiled_route *compiled = memory_allocate(sizeof *compiled);
    compiled->references = 1;
    compiled->builder = builder;
    compiled->id = memory_copy_slice(route->id);
    compiled->name = memory_copy_slice(route->name);
    compiled->name_slice = slice_from_cstring(compiled->name);
    struct slice label = route_label(route);
    compiled->label = slice_of(memory_copy_slice(label), label.length);
    compiled->service_name = slice_of(memory_copy_slice(service_name), service_name.length);
    compiled->service_index = service_index;
    compiled->sequence = sequence;
    compiled->hash = hash;
    compiled->timeout_ms = (uint32_t)route->timeout_ms;
    compiled->try_timeout_ms = (uint32_t)route->try_timeout_ms;
    compiled->idle_timeout_ms = (uint32_t)route->idle_timeout_ms;
    compiled->tunnel_idle_timeout_ms = (uint32_t)route->tunnel_idle_timeout_ms;
    compiled->retry_count = (uint32_t)route->retry_count;
    compiled->retry_on = (uint32_t)route->retry_on;
    compiled->retry_buffer_bytes = (uint32_t)route->retry_buffer_bytes;
    compiled->priority = (int32_t)route->priority;
    if (!slice_is_absent(route->version))
        compiled->version = slice_of(memory_copy_slice(route->version), route->version.length);
    compiled->strip_prefix = route->strip_prefix;
    compiled->preserve_host = route->preserve_host;
    compiled->idempotent = route->idempotent;
    if (compile_matcher(compiled, route, problems)) {
        bool chain_good = compile_chain(compiled, route, around, problems);
        bool handler_good = compile_handler(compiled, route, around, problems);
        bool predicates_good = compile_predicates(compiled, route, problems);
        bool split_good = compile_split(compiled, route, around, problems);
        if (chain_good && handler_good && predicates_good && split_good) {
            compiled->metrics = metrics_route(builder->settings.metrics, compiled->name_slice, compiled->service_name);
            return compiled;
        }
    }
    route_destroy(compiled);
    return NULL;
}

void route_destroy(struct compiled_route *route)
{
    if (route->metrics) metrics_route_drop(route->builder->settings.metrics, route->metrics);
    if (route->handler && route->handler->release && route->handler_compiled)
        route->handler->release(route->handler_compiled);
    for (uint32_t i = 0; i < route->predicate_count; i++) expression_destroy(route->predicates[i]);
    free(route->predicates);
    split_destroy(route->split, route->builder->settings.metrics);
    chain_destroy(route->chain);
    if (route->matcher) route_matcher_drop(route->matcher);
    for (uint32_t i = 0; i < route->service_use_count; i++)
        free((void *)(uintptr_t)route->service_uses[i].name_or_id.at);
    free(route->service_uses);
    free((void *)(uintptr_t)route->version.at);
    free((void *)(uintptr_t)route->service_name.at);
    free((void *)(uintptr_t)route->label.at);
    free(route->name);
    free(route->id);
    free(route);
}
