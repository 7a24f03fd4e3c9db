/* Where the resources are kept, and which file may hold some itself. */
#include "config/private.h"

/* A URL may hold a password, so nothing of what was written is shown. */
static bool refuse(struct schema_reading *reading, const struct node *node, const char *hint, const char *what)
{
    problems_add(reading->problems, node, hint, "\"store\" %s", what);
    return false;
}

static bool resolve(struct schema_reading *reading, const struct node *node, struct slice *text)
{
    struct error error;
    if (resource_resolve_secret(reading->arena, *text, reading->folder, text, &error)) return true;
    problems_add(reading->problems, node, NULL, "\"store\": %s", error.text);
    return false;
}

static bool take_sqlite(struct schema_reading *reading, const struct node *node, struct slice path,
                        struct configuration *configuration)
{
    if (path.length == 0 || slice_ends_with(path, SLICE("/")))
        return refuse(reading, node, "sqlite:/var/lib/sluice/sluice.db", "needs the path of a file");
    if (slice_starts_with(path, SLICE(":")) || slice_starts_with(path, SLICE("file:")) ||
        slice_find_byte(path, '?') != SLICE_NOT_FOUND)
        return refuse(reading, node, "sqlite:/var/lib/sluice/sluice.db", "takes a path, not a URI of SQLite's");
    struct slice pieces[] = { SLICE("sqlite:"), schema_path(reading, path) };
    configuration->store = STORE_SQLITE;
    configuration->store_location = arena_join(reading->arena, pieces, COUNT_OF(pieces));
    PROMISE(configuration->store_location.at != NULL);
    return true;
}

bool read_store(struct schema_reading *reading, const struct node *node, void *into)
{
    struct configuration *configuration = (void *)((char *)into - offsetof(struct configuration, store));
    struct slice text;
    if (!schema_read_text(reading, "store", node, &text) || !resolve(reading, node, &text)) return false;
    configuration->store = STORE_FILE;
    configuration->store_location = SLICE_ABSENT;
    if (slice_equal(text, SLICE("file"))) return true;
    if (slice_starts_with(text, SLICE("sqlite:")))
        return take_sqlite(reading, node, slice_after(text, sizeof "sqlite:" - 1), configuration);
    bool is_postgres = slice_starts_with(text, SLICE("postgres://")) || slice_starts_with(text, SLICE("postgresql://"));
    if (!is_postgres) return refuse(reading, node, NULL, "must be file, sqlite:PATH or postgres://USER@HOST/DATABASE");
    configuration->store = STORE_POSTGRES;
    configuration->store_location = text;
    return true;
}

static bool is_written(const struct node *node)
{
    return node && !(node->kind == NODE_NULL) && !(node->kind == NODE_LIST && node->count == 0);
}

void store_check_file(struct schema_reading *reading, const struct configuration *configuration)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct resource_type *type = &resource_types[kind];
        const struct node *list = node_find(configuration->node, type->list_name);
        if (!list || list->kind == NODE_NULL) continue;
        if (configuration->store != STORE_FILE && is_written(list))
            problems_add_at_key(reading->problems, list, "sluice import takes them there; then take them away here",
                                "\"%s\" are kept in the store, not in this file", type->list_name);
        else if (configuration->store == STORE_FILE && !type->is_acted_on)
            problems_add_at_key(reading->problems, list, NULL, "\"%s\" is not in this version yet", type->list_name);
    }
}
