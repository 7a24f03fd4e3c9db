/* snapshot/compile.c: one route from configuration to what the request path reads. */
#include "snapshot/private.h"

#include <xxhash.h>

static bool names_one(struct slice_list list, struct slice id, struct slice name)
{
    for (size_t i = 0; i < list.count; i++) {
        if (slice_equal(list.items[i], name) || slice_equal(list.items[i], id)) return true;
    }
    return false;
}

enum plugin_scope { SCOPE_NONE, SCOPE_GLOBAL, SCOPE_SERVICE, SCOPE_ROUTE };

static enum plugin_scope plugin_scope(const struct plugin_config *plugin, const struct route_config *route,
                                      struct slice service_name)
{
    if (!plugin->enabled) return SCOPE_NONE;
    if (plugin->routes.count == 0 && plugin->services.count == 0) return SCOPE_GLOBAL;
    if (names_one(plugin->routes, route->id, route->name)) return SCOPE_ROUTE;
    if (service_name.length > 0 && names_one(plugin->services, route->service_id, service_name)) return SCOPE_SERVICE;
    return SCOPE_NONE;
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
    for (size_t i = 0; i < around->plugin_count; i++) {
        enum plugin_scope scope = plugin_scope(&around->plugins[i], route, service_name);
        if (scope == SCOPE_NONE) continue;
        XXH3_128bits_update(state, &scope, sizeof scope);
        XXH3_128bits_update(state, &around->plugins[i].hash, sizeof around->plugins[i].hash);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return (struct content_hash){ { hash.low64, hash.high64 } };
}

static bool captures(const void *argument, struct slice name) { return route_matcher_captures(argument, name); }

static bool compile_chain(struct compiled_route *compiled, const struct route_config *route,
                          const struct route_surroundings *around, struct problems *problems)
{
    size_t own = route->filters.count;
    const struct filter_config **configs = memory_allocate_array(around->plugin_count + own + 1, sizeof *configs);
    size_t count = 0;
    for (enum plugin_scope scope = SCOPE_GLOBAL; scope <= SCOPE_ROUTE; scope++) {
        for (size_t i = 0; i < around->plugin_count; i++) {
            if (plugin_scope(&around->plugins[i], route, compiled->service_name) == scope)
                configs[count++] = &around->plugins[i].filter;
        }
    }
    for (size_t i = 0; i < own; i++) configs[count++] = &((const struct filter_config *)route->filters.items)[i];
    struct filter_compile compile = {
        .problems = problems,
        .node = route->node,
        .captures = captures,
        .captures_argument = compiled->matcher,
    };
    compiled->chain = chain_create(compiled->builder->settings.registry, configs, count, &compile);
    free(configs);
    return compiled->chain != NULL;
}

static bool compile_handler(struct compiled_route *compiled, const struct route_config *route,
                            struct problems *problems)
{
    struct filter_compile compile = {
        .problems = problems,
        .node = route->node,
        .captures = captures,
        .captures_argument = compiled->matcher,
    };
    for (const struct handler *const *handler = compiled->builder->settings.registry->handlers; *handler; handler++) {
        if (!(*handler)->takes(route)) continue;
        compiled->handler = *handler;
        return !(*handler)->compile || (*handler)->compile(&compile, route, &compiled->handler_compiled);
    }
    problems_add(problems, route->node, NULL, "route \"%.*s\" ends in nothing", SLICE_PRINT(route->name));
    return false;
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
        .priority = (int32_t)route->priority,
        .sequence = compiled->sequence,
    };
    compiled->matcher = route_matcher_create(&rule, compiled, &error);
    free(conditions);
    if (compiled->matcher) return true;
    problems_add(problems, place_of_error(route, &error), NULL, "route \"%.*s\": %s", SLICE_PRINT(route->name),
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
    compiled->strip_prefix = route->strip_prefix;
    compiled->preserve_host = route->preserve_host;
    compiled->idempotent = route->idempotent;
    if (compile_matcher(compiled, route, problems)) {
        bool chain_good = compile_chain(compiled, route, around, problems);
        bool handler_good = compile_handler(compiled, route, problems);
        if (chain_good && handler_good) {
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
    chain_destroy(route->chain);
    if (route->matcher) route_matcher_drop(route->matcher);
    free((void *)(uintptr_t)route->service_name.at);
    free(route->name);
    free(route->id);
    free(route);
}
