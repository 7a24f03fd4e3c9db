/* What takes the whole configuration to tell: addresses that are taken, names that must be unique, references that must lead somewhere. What
 * one resource tells by itself is checked in resource_checks.c. */
#include "config/private.h"

struct references {
    struct schema_reading *reading;
    struct configuration *configuration;
    struct identities identities;
};

/* --- listeners, trusted proxies --- */

/* The listeners that were written; without any there is the default one, which no node stands for. */
static void check_listeners(struct references *references, const struct node *list)
{
    struct listener_config *listeners = references->configuration->listeners.items;
    size_t index = 0;
    for (const struct node *item = list ? list->first : NULL; item; item = item->next, index++) {
        listeners[index].node = item;
        listener_check(references->reading, references->configuration, &listeners[index]);
        for (size_t j = 0; j < index && listeners[index].address.any.sa_family != AF_UNSPEC; j++) {
            if (!address_equal(&listeners[index].address, &listeners[j].address)) continue;
            refuse_twice(references->reading, item, "listener", listeners[index].address_text, listeners[j].node);
            break;
        }
    }
}

/* Which listener has this address; NULL: none. */
static const struct listener_config *listener_at(const struct configuration *configuration,
                                                 const struct address *address)
{
    const struct listener_config *listeners = configuration->listeners.items;
    for (size_t i = 0; i < configuration->listeners.count; i++) {
        if (address_equal(&listeners[i].address, address)) return &listeners[i];
    }
    return NULL;
}

static void check_admin(struct references *references, const struct node *node)
{
    struct schema_reading *reading = references->reading;
    const struct admin_config *admin = &references->configuration->admin;
    if (admin->address.any.sa_family == AF_UNSPEC) return;
    const struct listener_config *listener = listener_at(references->configuration, &admin->address);
    if (listener)
        problems_add(reading->problems, node, NULL, "the admin listener has the address of another listener: \"%s\"",
                     problems_excerpt(listener->address_text).text);
    if (admin->has_tls) listener_check_certificates(reading, references->configuration, &admin->tls, node);
    if (!admin->has_probes || admin->probes.any.sa_family == AF_UNSPEC) return;
    if (listener_at(references->configuration, &admin->probes) || address_equal(&admin->probes, &admin->address))
        problems_add(reading->problems, node_find(node, "probes"), "a port of their own",
                     "the probes have the address of another listener: \"%s\"",
                     problems_excerpt(admin->probes_text).text);
}

static void parse_trusted_proxies(struct references *references)
{
    struct configuration *configuration = references->configuration;
    size_t count = configuration->trusted_proxy_texts.count;
    if (count == 0) return;
    configuration->trusted_proxies = config_allocate(references->reading->arena,
                                                     count * sizeof *configuration->trusted_proxies);
    for (size_t i = 0; i < count; i++) {
        struct address_range *range = &configuration->trusted_proxies[configuration->trusted_proxy_count];
        if (address_range_parse(configuration->trusted_proxy_texts.items[i], range))
            configuration->trusted_proxy_count++;
    }
}

static void check_api_names(struct references *references, const struct node *list)
{
    const struct api_versions_config *apis = references->configuration->api_versions.items;
    size_t count = references->configuration->api_versions.count;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!slice_equal(apis[i].name, apis[j].name)) continue;
            problems_add(references->reading->problems, list, "each has a \"name\" of its own",
                         "\"apiVersions\": two APIs are called \"%s\"", problems_excerpt(apis[i].name).text);
            return;
        }
    }
}

/* --- resources --- */

/* Only a list was read into structs; anything else was refused and left none. */
static const struct node *list_if_read(const struct node *root, const char *key, const struct object_list *read)
{
    const struct node *list = node_find(root, key);
    return list && list->kind == NODE_LIST && read->count == list->count ? list : NULL;
}

static void check_item(struct references *references, const struct resource_directory *directory,
                       struct resource *resource)
{
    const struct node *node = resource->node;
    if (resource->kind == RESOURCE_SERVICE && !node_find(node, "name") && !node_find(node, "id"))
        problems_add(references->reading->problems, node, NULL, "a service needs a \"name\"");
    resource_set_node(&resource_types[resource->kind], resource->config, node);
    resource_set_hash(&resource_types[resource->kind], resource->config, node_hash(node));
    if (resource->kind == RESOURCE_API_KEY && !node_find(node, "hash"))
        problems_add(references->reading->problems, node, "sha256: and its SHA-256; or create it over the admin API",
                     "an API key in a file needs its \"hash\"");
    identities_add(&references->identities, resource);
    resource_check(&(struct resource_checking){
        .reading = references->reading, .directory = directory, .resource = resource, .is_in_file = true });
}

static void check_kind(struct references *references, const struct node *root, enum resource_kind kind)
{
    const struct resource_type *type = &resource_types[kind];
    const struct object_list *items = resource_list_at(type, references->configuration);
    const struct node *list = list_if_read(root, type->list_name, items);
    struct resource_directory directory = identities_directory(&references->identities);
    char *config = items->items;
    for (const struct node *node = list ? list->first : NULL; node; node = node->next, config += type->size) {
        if (node->kind != NODE_MAP) continue;
        check_item(references, &directory, &(struct resource){ .kind = kind, .config = config, .node = node });
    }
}

void configuration_check_references(struct schema_reading *reading, const struct node *root,
                                    struct configuration *configuration)
{
    struct references references = { .reading = reading, .configuration = configuration };
    identities_init(&references.identities, reading, configuration);
    parse_trusted_proxies(&references);
    check_listeners(&references, list_if_read(root, "listeners", &configuration->listeners));
    check_admin(&references, node_find(root, "admin"));
    check_api_names(&references, node_find(root, "apiVersions"));
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) check_kind(&references, root, (enum resource_kind)kind);
    identities_release(&references.identities);
}
