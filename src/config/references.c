/* What no single field can tell: names that must be unique, references that must lead somewhere, endings that exclude each other. */
#include "config/private.h"

#include "base/map.h"
#include "base/memory.h"

#include <xxhash.h>

struct references {
    struct schema_reading *reading;
    struct configuration *configuration;
    struct map services, routes, plugins; /* by name and by id: the node where it stands */
};

struct slice id_from_content(struct arena *arena, const char *kind, struct slice content)
{
    XXH64_hash_t seed = XXH3_64bits(kind, strlen(kind));
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_withSeed(content.at, content.length, seed));
    bytes.digest[6] = (unsigned char)((bytes.digest[6] & 0x0F) | 0x80); /* version 8 */
    bytes.digest[8] = (unsigned char)((bytes.digest[8] & 0x3F) | 0x80); /* variant 10 */
    char text[36], *next = text;
    for (size_t i = 0; i < sizeof bytes.digest; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *next++ = '-';
        *next++ = "0123456789abcdef"[bytes.digest[i] >> 4];
        *next++ = "0123456789abcdef"[bytes.digest[i] & 15];
    }
    return config_copy(arena, slice_of(text, sizeof text));
}

/* "line 12", or where there are no lines the pointer. */
static struct slice place_words(struct arena *arena, const struct node *node)
{
    if (node->key_line || node->line) return arena_format(arena, "line %u", node->line);
    return node_pointer(node, arena);
}

static void refuse_twice(struct references *references, const struct node *node, const char *what, struct slice text,
                         const struct node *first)
{
    struct schema_reading *reading = references->reading;
    problems_add(reading->problems, node, "take one away, or change it", "%s \"%s\" is already given in %.*s", what,
                 problems_excerpt(text).text, SLICE_PRINT(place_words(reading->arena, first)));
}

static bool is_given(struct slice text) { return text.length > 0; }

/* Two equal things without name and id are told apart by their order. */
static struct slice make_id(struct references *references, const struct map *taken, const char *kind, struct slice name,
                            struct content_hash hash)
{
    struct arena *arena = references->reading->arena;
    if (is_given(name)) return id_from_content(arena, kind, name);
    uint64_t content[3] = { hash.words[0], hash.words[1], 0 };
    struct slice id;
    do {
        id = id_from_content(arena, kind, slice_of((const char *)content, sizeof content));
        content[2]++;
    } while (map_find(taken, id));
    return id;
}

struct identity {
    const char *kind, *name_field;
    const struct node *node;
    struct slice *id, *name;
    struct content_hash hash;
};

/* Makes what is absent of id and name; both must be new. */
static void identify(struct references *references, struct map *taken, const struct identity *identity)
{
    const struct node *name_node = node_find(identity->node, identity->name_field),
                      *id_node = node_find(identity->node, "id");
    char what[32];
    const struct node *first = is_given(*identity->id) ? map_find(taken, *identity->id) : NULL;
    if (first) {
        snprintf(what, sizeof what, "%s id", identity->kind);
        refuse_twice(references, id_node, what, *identity->id, first);
    }
    if (!is_given(*identity->id))
        *identity->id = make_id(references, taken, identity->kind, *identity->name, identity->hash);
    if (!first) map_set(taken, *identity->id, (void *)(uintptr_t)(id_node ? id_node : identity->node));
    if (!is_given(*identity->name)) {
        *identity->name = *identity->id;
        return;
    }
    first = map_find(taken, *identity->name);
    if (first && first != id_node) {
        snprintf(what, sizeof what, "%s %s", identity->kind, identity->name_field);
        refuse_twice(references, name_node ? name_node : identity->node, what, *identity->name, first);
        return;
    }
    map_set(taken, *identity->name, (void *)(uintptr_t)(name_node ? name_node : identity->node));
}

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
            refuse_twice(references, item, "listener", listeners[index].address_text, listeners[j].node);
            break;
        }
    }
}

static void check_admin(struct references *references, const struct node *admin)
{
    const struct configuration *configuration = references->configuration;
    const struct listener_config *listeners = configuration->listeners.items;
    if (configuration->admin.address.any.sa_family == AF_UNSPEC) return;
    for (size_t i = 0; i < configuration->listeners.count; i++) {
        if (!address_equal(&listeners[i].address, &configuration->admin.address)) continue;
        problems_add(references->reading->problems, admin, NULL,
                     "the admin listener has the address of another listener: \"%s\"",
                     problems_excerpt(listeners[i].address_text).text);
    }
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

/* --- services --- */

static void check_instances(struct references *references, const struct service_config *service)
{
    const struct node *list = node_find(service->node, "instances");
    if (!list || list->kind != NODE_LIST) return;
    struct arena *arena = references->reading->arena;
    struct map seen;
    map_init(&seen);
    struct instance_config *instance = service->instances.items;
    for (const struct node *item = list->first; item && service->instances.count; item = item->next, instance++) {
        if (!is_given(instance->host) || instance->port == 0) continue;
        instance_find_address(instance);
        if (service->instances.count == 1) continue;
        char key[300];
        int length = snprintf(key, sizeof key, "%.*s %u", SLICE_PRINT(instance->host), instance->port);
        const struct node *first = map_find(&seen, slice_of(key, (size_t)length));
        if (first)
            refuse_twice(references, item, "instance",
                         arena_format(arena, "%.*s:%u", SLICE_PRINT(instance->host), instance->port), first);
        else
            map_set(&seen, slice_of(key, (size_t)length), (void *)(uintptr_t)item);
    }
    map_release(&seen);
}

static void check_services(struct references *references, const struct node *list)
{
    struct service_config *service = references->configuration->services.items;
    for (const struct node *item = list ? list->first : NULL; item; item = item->next, service++) {
        if (item->kind != NODE_MAP) continue;
        service->node = item;
        service->hash = node_hash(item);
        if (!node_find(item, "name") && !node_find(item, "id"))
            problems_add(references->reading->problems, item, NULL, "a service needs a \"name\"");
        identify(references, &references->services,
                 &(struct identity){ "service", "name", item, &service->id, &service->name, service->hash });
        check_instances(references, service);
        service_check(references->reading, service);
    }
}

/* Looking for a near name costs more than all other checks, so only a problem that will be listed gets it. */
static char *near_name(struct references *references, struct slice wanted, const struct object_list *list,
                       size_t item_size, size_t name_at)
{
    if (references->reading->problems->count >= PROBLEMS_LISTED_MAX || list->count == 0) return NULL;
    const char **names = memory_allocate_array(list->count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct slice *name = (const void *)((const char *)list->items + i * item_size + name_at);
        if (is_given(*name)) names[count++] = name->at;
    }
    const char *nearest = problems_nearest(wanted, names, count);
    free(names);
    return nearest ? memory_format("did you mean \"%s\"?", nearest) : NULL;
}

static void check_service_reference(struct references *references, const struct node *node, struct slice wanted)
{
    if (map_find(&references->services, wanted)) return;
    char *hint = near_name(references, wanted, &references->configuration->services, sizeof(struct service_config),
                           offsetof(struct service_config, name));
    problems_add(references->reading->problems, node, hint ? hint : "it is to stand under \"services\"",
                 "unknown service \"%s\"", problems_excerpt(wanted).text);
    free(hint);
}

static void check_route_reference(struct references *references, const struct node *node, struct slice wanted)
{
    if (map_find(&references->routes, wanted)) return;
    char *hint = near_name(references, wanted, &references->configuration->routes, sizeof(struct route_config),
                           offsetof(struct route_config, name));
    problems_add(references->reading->problems, node, hint ? hint : "it is to stand under \"routes\"",
                 "unknown route \"%s\"", problems_excerpt(wanted).text);
    free(hint);
}

/* --- routes --- */

static bool is_written(const struct node *map, const char *key)
{
    const struct node *node = node_find(map, key);
    return node && node->kind != NODE_NULL;
}

/* "serviceID": told as such already, so it would be misleading to add that the route has no ending. */
static bool has_misspelt_ending(const struct problems *problems, const struct node *map)
{
    static const char *const endings[] = { "serviceId", "respond", "redirect", NULL };
    if (problems->count == 0) return false;
    for (const struct node *node = map->first; node; node = node->next) {
        const char *nearest = problems_nearest(node->key, endings, COUNT_OF(endings) - 1);
        if (nearest && !slice_equal(node->key, slice_from_cstring(nearest))) return true;
    }
    return false;
}

static void check_ending(struct references *references, const struct route_config *route)
{
    /* Endings of other versions were refused by name already. */
    if (is_written(route->node, "split") || is_written(route->node, "aggregate")) return;
    bool has_service = is_written(route->node, "serviceId");
    int endings = has_service + route->has_respond + route->has_redirect;
    if (endings == 1 || (endings == 0 && has_misspelt_ending(references->reading->problems, route->node))) return;
    problems_add(references->reading->problems, route->node,
                 endings ? "keep one" : "to proxy: serviceId and a service's name",
                 endings ? "a route ends in one of \"serviceId\", \"respond\" and \"redirect\"; this one has several"
                         : "a route ends in one of \"serviceId\", \"respond\" and \"redirect\"; this one has none");
}

static void check_routes(struct references *references, const struct node *list)
{
    struct route_config *route = references->configuration->routes.items;
    for (const struct node *item = list ? list->first : NULL; item; item = item->next, route++) {
        if (item->kind != NODE_MAP) continue;
        route->node = item;
        route->hash = node_hash(item);
        identify(references, &references->routes,
                 &(struct identity){ "route", "name", item, &route->id, &route->name, route->hash });
        check_ending(references, route);
        if (!slice_is_absent(route->service_id))
            check_service_reference(references, node_find(item, "serviceId"), route->service_id);
    }
}

/* --- plugins --- */

typedef void reference_check(struct references *, const struct node *, struct slice wanted);

static void check_scope(struct references *references, const struct node *plugin, const char *field,
                        reference_check *check)
{
    const struct node *list = node_find(plugin, field);
    for (const struct node *item = list && list->kind == NODE_LIST ? list->first : NULL; item; item = item->next) {
        if (item->kind == NODE_SCALAR) check(references, item, item->text);
    }
}

static void check_plugins(struct references *references, const struct node *list)
{
    struct plugin_config *plugin = references->configuration->plugins.items;
    for (const struct node *item = list ? list->first : NULL; item; item = item->next, plugin++) {
        if (item->kind != NODE_MAP) continue;
        plugin->node = item;
        plugin->hash = node_hash(item);
        if (!slice_is_absent(plugin->kind_name)) plugin_read_config(references->reading, item, plugin);
        struct slice name = plugin->instance_name;
        identify(references, &references->plugins,
                 &(struct identity){ "plugin", "instanceName", item, &plugin->id, &name, plugin->hash });
        check_scope(references, item, "routes", check_route_reference);
        check_scope(references, item, "services", check_service_reference);
        if (is_written(item, "routes") && is_written(item, "services"))
            problems_add_at_key(references->reading->problems, node_find(item, "services"), "write two plugins",
                                "a plugin applies to \"routes\" or to \"services\", not to both");
    }
}

/* Only a list was read into structs; anything else was refused and left none. */
static const struct node *list_of(const struct node *root, const char *key)
{
    const struct node *list = node_find(root, key);
    return list && list->kind == NODE_LIST ? list : NULL;
}

static const struct node *list_if_read(const struct node *root, const char *key, const struct object_list *read)
{
    const struct node *list = list_of(root, key);
    return list && read->count == list->count ? list : NULL;
}

void configuration_check_references(struct schema_reading *reading, const struct node *root,
                                    struct configuration *configuration)
{
    struct references references = { .reading = reading, .configuration = configuration };
    map_init(&references.services);
    map_init(&references.routes);
    map_init(&references.plugins);
    parse_trusted_proxies(&references);
    check_listeners(&references, list_if_read(root, "listeners", &configuration->listeners));
    check_admin(&references, node_find(root, "admin"));
    check_services(&references, list_if_read(root, "services", &configuration->services));
    check_routes(&references, list_if_read(root, "routes", &configuration->routes));
    check_plugins(&references, list_if_read(root, "plugins", &configuration->plugins));
    map_release(&references.services);
    map_release(&references.routes);
    map_release(&references.plugins);
}
