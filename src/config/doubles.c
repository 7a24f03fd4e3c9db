#include "config/doubles.h"

#include "base/memory.h"
#include "config/private.h"

struct judge {
    const struct doubles_judging *judging;
    struct resource_directory directory;
    struct map ids[RESOURCE_KIND_COUNT]; /* of routes and services, by id and by name: struct slice, the id */
    struct map last;                     /* by kind and what it is for: the last plugin, struct plugin_config */
    struct vector service_kinds;         /* const char *, kinds of the plugins that are for services */
};

static bool is_new(const struct judge *judge, enum resource_kind kind, struct slice id)
{
    return !judge->judging->is_new || judge->judging->is_new(judge->judging->argument, kind, id);
}

/* --- names --- */

static struct slice find_id(const void *argument, enum resource_kind kind, struct slice id_or_name)
{
    const struct judge *judge = argument;
    const struct slice *id = map_find(&judge->ids[kind], id_or_name);
    return id ? *id : SLICE_ABSENT;
}

static void note_ids(struct judge *judge, enum resource_kind kind)
{
    const struct resource_type *type = &resource_types[kind];
    const struct object_list *list = (const void *)((const char *)judge->judging->configuration + type->list_at);
    char *config = list->items;
    for (size_t i = 0; i < list->count; i++, config += type->size) {
        struct slice *id = resource_id_at(type, config), *name = resource_name_at(type, config);
        if (name->length > 0 && !map_find(&judge->ids[kind], *name)) map_set(&judge->ids[kind], *name, id);
        if (id->length > 0) map_set(&judge->ids[kind], *id, id);
    }
}

static struct slice id_of(const struct judge *judge, enum resource_kind kind, struct slice id_or_name)
{
    return judge->directory.find(judge->directory.argument, kind, id_or_name);
}

/* --- plugins beside each other --- */

/* Of a kind that doesn't add up, and read without problems. */
static bool counts(const struct plugin_config *plugin)
{
    return plugin->enabled && plugin->node && plugin->filter.kind && !plugin->filter.kind->all_scopes_apply;
}

static struct content_hash hash_of_fields(const struct plugin_config *plugin)
{
    const struct node *config = node_find(plugin->node, "config");
    return config && config->count > 0 ? node_hash(config) : (struct content_hash){ { 0, 0 } };
}

static bool say_the_same(const struct plugin_config *one, const struct plugin_config *other)
{
    struct content_hash a = hash_of_fields(one), b = hash_of_fields(other);
    return a.words[0] == b.words[0] && a.words[1] == b.words[1] && one->filter.side == other->filter.side &&
           one->filter.priority == other->filter.priority;
}

static char *make_key(const char *kind, const char *what, struct slice id)
{
    return memory_format("%s %s %.*s", kind, what, SLICE_PRINT(id));
}

static const struct plugin_config *find_last(const struct judge *judge, const char *kind, const char *what,
                                             struct slice id)
{
    char *key = make_key(kind, what, id);
    const struct plugin_config *plugin = map_find(&judge->last, slice_from_cstring(key));
    free(key);
    return plugin;
}

static void add_double(const struct judge *judge, const struct plugin_config *plugin, const struct plugin_config *other,
                       const char *whose)
{
    char line[32] = "";
    if (other->node->line) snprintf(line, sizeof line, " (line %u)", other->node->line);
    problems_add(judge->judging->problems, plugin->node, "write one plugin with all its fields, or disable one",
                 "plugin \"%s\": \"%s\" is there for %s already, by plugin \"%s\"%s",
                 problems_excerpt(plugin->instance_name).text, plugin->filter.kind->name, whose,
                 problems_excerpt(other->instance_name).text, line);
}

/* `id`: of what it is for; `whose`: the words for it. */
static void put_beside(struct judge *judge, const struct plugin_config *plugin, const char *what, struct slice id,
                       const char *whose)
{
    char *key = make_key(plugin->filter.kind->name, what, id);
    const struct plugin_config *before = map_set(&judge->last, slice_from_cstring(key), (void *)(uintptr_t)plugin);
    free(key);
    if (!before || before == plugin || say_the_same(before, plugin)) return;
    const struct plugin_config *told = is_new(judge, RESOURCE_PLUGIN, plugin->id) ? plugin : before;
    if (told == plugin || is_new(judge, RESOURCE_PLUGIN, before->id))
        add_double(judge, told, told == plugin ? before : plugin, whose);
}

static void put_each(struct judge *judge, const struct plugin_config *plugin, enum resource_kind kind,
                     struct slice_list for_whom)
{
    const char *word = resource_types[kind].word;
    for (size_t i = 0; i < for_whom.count; i++) {
        struct slice id = id_of(judge, kind, for_whom.items[i]);
        char whose[128];
        if (slice_is_absent(id)) continue;
        snprintf(whose, sizeof whose, "%s \"%s\"", word, problems_excerpt(for_whom.items[i]).text);
        put_beside(judge, plugin, word, id, whose);
    }
}

static void note_service_kind(struct judge *judge, const char *kind)
{
    for (size_t i = 0; i < judge->service_kinds.count; i++) {
        if (strcmp(vector_pointer_at(&judge->service_kinds, i), kind) == 0) return;
    }
    vector_push_pointer(&judge->service_kinds, (void *)(uintptr_t)kind);
}

static void judge_plugins(struct judge *judge)
{
    const struct plugin_config *plugins = judge->judging->configuration->plugins.items;
    for (size_t i = 0; i < judge->judging->configuration->plugins.count; i++) {
        const struct plugin_config *plugin = &plugins[i];
        if (!counts(plugin)) continue;
        if (plugin->services.count > 0) note_service_kind(judge, plugin->filter.kind->name);
        if (plugin->routes.count == 0 && plugin->services.count == 0)
            put_beside(judge, plugin, "all", SLICE(""), "all routes");
        put_each(judge, plugin, RESOURCE_ROUTE, plugin->routes);
        put_each(judge, plugin, RESOURCE_SERVICE, plugin->services);
    }
}

/* --- routes that end in several services --- */

struct meeting {
    const struct judge *judge;
    const struct route_config *route;
    const char *kind;
    const struct plugin_config *first; /* NULL: none yet */
    bool is_told;
};

/* Told where somebody is who can be refused: of what is as it was before, nobody wrote a word. */
static const struct node *place_of(const struct meeting *meeting, const struct plugin_config *plugin)
{
    if (is_new(meeting->judge, RESOURCE_ROUTE, meeting->route->id)) return meeting->route->node;
    if (is_new(meeting->judge, RESOURCE_PLUGIN, plugin->id)) return plugin->node;
    if (is_new(meeting->judge, RESOURCE_PLUGIN, meeting->first->id)) return meeting->first->node;
    return NULL;
}

static void meet_service(struct meeting *meeting, struct slice id_or_name)
{
    struct slice id = slice_is_absent(id_or_name) ? SLICE_ABSENT : id_of(meeting->judge, RESOURCE_SERVICE, id_or_name);
    const struct plugin_config *plugin = NULL;
    if (!slice_is_absent(id))
        plugin = find_last(meeting->judge, meeting->kind, resource_types[RESOURCE_SERVICE].word, id);
    if (!plugin || meeting->is_told) return;
    if (!meeting->first) meeting->first = plugin;
    if (plugin == meeting->first || say_the_same(plugin, meeting->first)) return;
    const struct node *place = place_of(meeting, plugin);
    if (!place) return;
    problems_add(meeting->judge->judging->problems, place,
                 "give the route its own in \"filters\", which stands for both",
                 "route \"%s\" ends in services with a \"%s\" each, by plugin \"%s\" and by plugin \"%s\"",
                 problems_excerpt(meeting->route->name).text, meeting->kind,
                 problems_excerpt(meeting->first->instance_name).text, problems_excerpt(plugin->instance_name).text);
    meeting->is_told = true;
}

/* What is narrower than a service's plugin stands for all of them. */
static bool has_narrower(const struct judge *judge, const struct route_config *route, const char *kind)
{
    const struct filter_config *own = route->filters.items;
    for (size_t i = 0; i < route->filters.count; i++) {
        if (own[i].kind && strcmp(own[i].kind->name, kind) == 0) return true;
    }
    return find_last(judge, kind, resource_types[RESOURCE_ROUTE].word, route->id) != NULL;
}

static void judge_route(const struct judge *judge, const struct route_config *route, const char *kind)
{
    struct meeting meeting = { .judge = judge, .route = route, .kind = kind };
    const struct split_service_config *services = route->split.services.items;
    const struct aggregate_part_config *parts = route->aggregate.parts.items;
    if (has_narrower(judge, route, kind)) return;
    meet_service(&meeting, route->service_id);
    meet_service(&meeting, route->split.canary_service_id);
    for (size_t i = 0; i < route->split.services.count; i++) meet_service(&meeting, services[i].service_id);
    for (size_t i = 0; i < route->aggregate.parts.count; i++) meet_service(&meeting, parts[i].service);
}

static void judge_routes(const struct judge *judge)
{
    const struct route_config *routes = judge->judging->configuration->routes.items;
    for (size_t i = 0; i < judge->judging->configuration->routes.count; i++) {
        if (!routes[i].node || (!routes[i].has_split && !routes[i].has_aggregate)) continue;
        for (size_t j = 0; j < judge->service_kinds.count; j++)
            judge_route(judge, &routes[i], vector_pointer_at(&judge->service_kinds, j));
    }
}

void doubles_judge(const struct doubles_judging *judging)
{
    struct judge judge = { .judging = judging, .directory = { .find = find_id } };
    judge.directory.argument = &judge;
    if (judging->configuration->plugins.count < 2) return;
    map_init(&judge.last);
    vector_init(&judge.service_kinds, sizeof(char *));
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_init(&judge.ids[kind]);
    if (judging->directory) {
        judge.directory = *judging->directory;
    } else {
        note_ids(&judge, RESOURCE_ROUTE);
        note_ids(&judge, RESOURCE_SERVICE);
    }
    judge_plugins(&judge);
    judge_routes(&judge);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_release(&judge.ids[kind]);
    vector_release(&judge.service_kinds);
    map_release(&judge.last);
}
