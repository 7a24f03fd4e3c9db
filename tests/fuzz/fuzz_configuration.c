/* Any bytes as a configuration: JSON where they begin with a brace, else YAML.
 *
 * Either there is a configuration or there are problems; problems are printable and bounded; a configuration keeps what its
 * headers promise, and the same bytes give the same hashes again. */
#include "../unit/config/kinds.h"

#include "base/memory.h"

static struct configuration *load(struct slice text, struct problems *problems)
{
    problems_init(problems, NULL);
    bool is_json = slice_starts_with(text, SLICE("{"));
    struct configuration *configuration = configuration_load_text(text, is_json ? "fuzz.json" : "fuzz.yaml",
                                                                  "/etc/sluice", &test_kinds, problems);
    PROMISE((configuration == NULL) == (problems->count > 0));
    PROMISE(problems->list.count <= PROBLEMS_LISTED_MAX + 1);
    return configuration;
}

static void check_text(const struct problems *problems)
{
    char *text = problems_to_text(problems);
    for (const char *at = text; *at; at++) PROMISE((unsigned char)*at >= 0x20 || *at == '\n');
    free(text);
}

static void check_routes(const struct configuration *configuration)
{
    const struct route_config *routes = configuration->routes.items;
    for (size_t i = 0; i < configuration->routes.count; i++) {
        const struct route_config *route = &routes[i];
        PROMISE(route->node && route->path.length > 0 && route->id.length == 36 && route->name.length > 0);
        bool has_service = !slice_is_absent(route->service_id) || route->has_split;
        PROMISE(has_service + route->has_respond + route->has_redirect == 1);
        PROMISE(route->timeout_ms > 0 && route->retry_count >= 0);
        const struct filter_config *filters = route->filters.items;
        for (size_t j = 0; j < route->filters.count; j++)
            PROMISE(filters[j].kind && filters[j].config && filters[j].node);
    }
}

static void check_services(const struct configuration *configuration)
{
    const struct service_config *services = configuration->services.items;
    for (size_t i = 0; i < configuration->services.count; i++) {
        PROMISE(services[i].node && services[i].id.length == 36 && services[i].name.length > 0);
        const struct instance_config *instances = services[i].instances.items;
        for (size_t j = 0; j < services[i].instances.count; j++)
            PROMISE(instances[j].host.length > 0 && instances[j].host.at[instances[j].host.length] == '\0' &&
                    instances[j].port > 0);
    }
}

static void check_plugins(const struct configuration *configuration)
{
    const struct plugin_config *plugins = configuration->plugins.items;
    for (size_t i = 0; i < configuration->plugins.count; i++)
        PROMISE(plugins[i].node && plugins[i].filter.kind && plugins[i].filter.node && plugins[i].id.length == 36);
}

static void check_same_again(const struct configuration *first, struct slice text)
{
    struct problems problems;
    struct configuration *again = load(text, &problems);
    PROMISE(again != NULL);
    const struct route_config *a = first->routes.items, *b = again->routes.items;
    for (size_t i = 0; i < first->routes.count; i++)
        PROMISE(memcmp(&a[i].hash, &b[i].hash, sizeof a[i].hash) == 0 && slice_equal(a[i].id, b[i].id));
    configuration_destroy(again);
    problems_release(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct slice text = slice_of((const char *)bytes, length);
    struct problems problems;
    struct configuration *configuration = load(text, &problems);
    check_text(&problems);
    if (configuration) {
        PROMISE(configuration->listeners.count > 0);
        check_routes(configuration);
        check_services(configuration);
        check_plugins(configuration);
        check_same_again(configuration, text);
    }
    configuration_destroy(configuration);
    problems_release(&problems);
    return 0;
}
