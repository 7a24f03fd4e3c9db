/* The kinds of resources in one table, and one resource by itself. */
#include "config/private.h"

#define RESOURCE_TYPE(tag, name_member)                                                                          \
    .size = sizeof(struct tag), .id_at = offsetof(struct tag, id), .name_at = offsetof(struct tag, name_member), \
    .node_at = offsetof(struct tag, node), .hash_at = offsetof(struct tag, hash)

/* What a request must be like to be the route's or the rule's, and what gives the rule's numbers another meaning; not the numbers. */
static const char *const route_standing[] = { "path",        "pathPattern", "host",    "methods",  "headers",
                                              "queryParams", "predicates",  "version", "priority", NULL };
static const char *const plugin_standing[] = { "name", "routes", "services", "on", "priority", NULL };
static const char *const rate_limit_standing[] = { "routeId", "serviceId",      "key", "algorithm",
                                                   "window",  "beforeIdentity", NULL };

const struct resource_type resource_types[RESOURCE_KIND_COUNT] = {
    [RESOURCE_SERVICE] = { .word = "service",
                           .path = "services",
                           .list_name = "services",
                           .name_field = "name",
                           .fields = service_fields,
                           RESOURCE_TYPE(service_config, name),
                           .list_at = offsetof(struct configuration, services),
                           .unique_names = true,
                           .is_acted_on = true },
    [RESOURCE_ROUTE] = { .word = "route",
                         .path = "routes",
                         .list_name = "routes",
                         .name_field = "name",
                         .fields = route_fields,
                         .standing = route_standing,
                         RESOURCE_TYPE(route_config, name),
                         .list_at = offsetof(struct configuration, routes),
                         .unique_names = true,
                         .is_acted_on = true },
    [RESOURCE_PLUGIN] = { .word = "plugin",
                          .path = "plugins",
                          .list_name = "plugins",
                          .name_field = "instanceName",
                          .fields = plugin_fields,
                          .standing = plugin_standing,
                          RESOURCE_TYPE(plugin_config, instance_name),
                          .list_at = offsetof(struct configuration, plugins),
                          .unique_names = true,
                          .is_acted_on = true },
    [RESOURCE_RATE_LIMIT] = { .word = "rate limit",
                              .path = "rate-limits",
                              .list_name = "rateLimits",
                              .name_field = "name",
                              .fields = rate_limit_fields,
                              .standing = rate_limit_standing,
                              RESOURCE_TYPE(rate_limit_config, name),
                              .list_at = offsetof(struct configuration, rate_limits),
                              .unique_names = true,
                              .is_acted_on = true },
    [RESOURCE_ROLE] = { .word = "role",
                        .path = "roles",
                        .list_name = "roles",
                        .name_field = "name",
                        .fields = role_fields,
                        RESOURCE_TYPE(role_config, name),
                        .list_at = offsetof(struct configuration, roles),
                        .unique_names = true,
                        .is_acted_on = true },
    [RESOURCE_CERTIFICATE] = { .word = "certificate",
                               .path = "certificates",
                               .list_name = "certificates",
                               .name_field = "name",
                               .fields = certificate_resource_fields,
                               RESOURCE_TYPE(certificate_resource_config, name),
                               .list_at = offsetof(struct configuration, certificates),
                               .unique_names = true,
                               .is_acted_on = true },
    [RESOURCE_API_KEY] = { .word = "API key",
                           .path = "api-keys",
                           .list_name = "apiKeys",
                           .name_field = "clientName",
                           .fields = api_key_fields,
                           RESOURCE_TYPE(api_key_config, client_name),
                           .list_at = offsetof(struct configuration, api_keys),
                           .is_acted_on = true },
};

const struct resource_type *resource_type_find(struct slice path)
{
    for (size_t i = 0; i < RESOURCE_KIND_COUNT; i++) {
        const char *known = resource_types[i].path;
        size_t at = 0;
        while (at < path.length && known[at] == (path.at[at] == '_' ? '-' : path.at[at])) at++;
        if (at == path.length && known[at] == '\0') return &resource_types[i];
    }
    return NULL;
}

void resource_set_node(const struct resource_type *type, void *config, const struct node *node)
{
    *(const struct node **)(void *)((char *)config + type->node_at) = node;
}

void resource_set_hash(const struct resource_type *type, void *config, struct content_hash hash)
{
    *(struct content_hash *)(void *)((char *)config + type->hash_at) = hash;
}

bool resource_read(struct schema_reading *reading, enum resource_kind kind, const struct node *node,
                   struct slice new_id, const struct resource_directory *directory, struct resource *into)
{
    const struct resource_type *type = &resource_types[kind];
    size_t before = reading->problems->count;
    *into = (struct resource){ .kind = kind, .node = node };
    if (node->kind != NODE_MAP) {
        problems_add(reading->problems, node, NULL, "%s %s must be a map of fields",
                     strchr("AEIOaeiou", type->word[0]) ? "an" : "a", type->word);
        return false;
    }
    into->config = config_allocate(reading->arena, type->size);
    schema_read(reading, type->fields, node, into->config);
    resource_set_node(type, into->config, node);
    resource_identify(reading, directory, new_id, into);
    resource_check(&(struct resource_checking){ .reading = reading, .directory = directory, .resource = into });
    if (reading->problems->count > before) return false;
    into->canonical = schema_write(reading->arena, type->fields, into->config);
    into->hash = node_hash(into->canonical);
    resource_set_hash(type, into->config, into->hash);
    return true;
}

struct slice resource_write_document(struct schema_reading *reading, const struct resource *resource)
{
    return node_write_json(reading->arena, resource->canonical);
}
