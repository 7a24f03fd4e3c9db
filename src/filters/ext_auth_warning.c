/* filters/ext_auth_warning.c: headers that a policy lists for the client's answer and that never get there. They do no harm, as they are left out
 * (ext_auth_apply.c), and stand in configurations that were written for other gateways: no mistake, but nothing comes of them. */
#include "config/config.h"
#include "filters/ext_auth.h"
#include "filters/filters.h"

static void warn_of_names(const struct slice_list *names, bool with_its_body, const struct node *node,
                          struct problems *problems)
{
    for (size_t i = 0; i < names->count; i++) {
        struct slice name = names->items[i];
        enum header_id id = header_id_find(name);
        if (slice_ends_with(name, SLICE("*"))) continue; /* what else begins so may get there */
        if (id == HEADER_DATE || id == HEADER_SERVER)
            problems_add(problems, node_item(node, i), NULL, "warning: header \"%s\" of a decision reaches no client",
                         problems_excerpt(name).text);
        else if (!with_its_body && ext_auth_speaks_of_body(name))
            problems_add(problems, node_item(node, i), NULL,
                         "warning: header \"%s\" speaks of the decision's body, and the client gets another one",
                         problems_excerpt(name).text);
    }
}

static void warn_of_policy(const struct filter_config *filter, struct problems *problems)
{
    const struct ext_auth_config *config = filter->config;
    if (!filter->kind || filter->kind->fields != ext_auth_fields) return;
    warn_of_names(&config->client_headers, false, node_find(filter->node, "clientHeaders"), problems);
    /* In auth-request the client gets a problem document of ours. */
    warn_of_names(&config->denied_headers, config->mode == EXT_AUTHZ, node_find(filter->node, "deniedHeaders"),
                  problems);
}

void ext_auth_warnings_add(const struct configuration *configuration, struct problems *problems)
{
    const struct plugin_config *plugins = configuration->plugins.items;
    const struct route_config *routes = configuration->routes.items;
    for (size_t i = 0; i < configuration->plugins.count; i++) warn_of_policy(&plugins[i].filter, problems);
    for (size_t i = 0; i < configuration->routes.count; i++) {
        const struct filter_config *filters = routes[i].filters.items;
        for (size_t j = 0; j < routes[i].filters.count; j++) warn_of_policy(&filters[j], problems);
    }
}
