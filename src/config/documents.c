/* A whole configuration out of documents, and documents out of a configuration. */
#include "config/private.h"

struct documents {
    struct schema_reading *reading;
    struct configuration *configuration;
    struct identities identities;
    struct resource_directory directory;
    struct vector roots[RESOURCE_KIND_COUNT]; /* struct node *, of those that were read */
    char place[128];                          /* stands where a file's name would: "route 0b9f6a3e-..." */
};

/* A document of this place, before its id is known. */
static void name_place(struct documents *documents, const struct resource_type *type, size_t index,
                       const struct node *root)
{
    const struct node *id = root ? node_find(root, "id") : NULL;
    if (id && id->kind == NODE_SCALAR)
        snprintf(documents->place, sizeof documents->place, "%s %s", type->word, problems_excerpt(id->text).text);
    else
        snprintf(documents->place, sizeof documents->place, "%s document %zu", type->word, index + 1);
}

/* True: `config` is complete and others find it. */
static bool read_document(struct documents *documents, enum resource_kind kind, const struct node *root, void *config)
{
    const struct resource_type *type = &resource_types[kind];
    struct schema_reading *reading = documents->reading;
    struct resource resource = { .kind = kind, .config = config, .node = root };
    size_t before = reading->problems->count;
    if (root->kind != NODE_MAP) {
        problems_add(reading->problems, root, NULL, "a document is a map of fields");
        return false;
    }
    schema_read(reading, type->fields, root, config);
    resource_set_node(type, config, root);
    resource_set_hash(type, config, node_hash(root));
    identities_add(&documents->identities, &resource);
    resource_check(
        &(struct resource_checking){ .reading = reading, .directory = &documents->directory, .resource = &resource });
    if (reading->problems->count == before) return true;
    identities_remove(&documents->identities, &resource);
    return false;
}

static void read_kind(struct documents *documents, enum resource_kind kind, const struct document_list *list)
{
    const struct resource_type *type = &resource_types[kind];
    struct schema_reading *reading = documents->reading;
    struct object_list *items = resource_list_at(type, documents->configuration);
    if (list->count == 0) return;
    items->items = config_allocate(reading->arena, list->count * type->size);
    for (size_t i = 0; i < list->count; i++) {
        void *config = (char *)items->items + items->count * type->size;
        name_place(documents, type, i, NULL);
        struct node *root = node_read_json(reading->arena, list->items[i], documents->place, reading->problems);
        if (!root) continue;
        name_place(documents, type, i, root);
        if (read_document(documents, kind, root, config)) {
            items->count++;
            vector_push_pointer(&documents->roots[kind], root);
        } else {
            memset(config, 0, type->size);
        }
    }
}

static struct node *new_map(struct arena *arena, const char *key, struct node *parent)
{
    struct node *map = config_allocate(arena, sizeof *map);
    *map = (struct node){ .kind = NODE_MAP, .key = slice_from_cstring(key), .parent = parent };
    return map;
}

/* What is found later, when all is compiled, is a problem of one document among many: it is told as /services/ID/tls/ca, not as /tls/ca.
 * Not before all were read: until then a document is known by its root. */
static void give_places(struct documents *documents)
{
    struct arena *arena = documents->reading->arena;
    struct node *all = new_map(arena, "", NULL);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct node *list = new_map(arena, resource_types[kind].path, all);
        for (size_t i = 0; i < documents->roots[kind].count; i++) {
            struct node *root = vector_pointer_at(&documents->roots[kind], i);
            const struct node *id = node_find(root, "id");
            if (!id || id->kind != NODE_SCALAR) continue;
            root->parent = list;
            root->key = id->text;
        }
        vector_release(&documents->roots[kind]);
    }
}

/* Nobody takes resources of a file for those of a store by mistake. */
static void refuse_own_resources(struct schema_reading *reading, struct configuration *configuration)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct resource_type *type = &resource_types[kind];
        if (resource_list_at(type, configuration)->count == 0) continue;
        problems_add_at_key(reading->problems, node_find(configuration->node, type->list_name),
                            "sluice import takes them there; then take them away here",
                            "\"%s\" are kept in the store, not in this file", type->list_name);
    }
}

static void read_documents(struct schema_reading *reading, struct configuration *configuration,
                           const struct document_list documents[RESOURCE_KIND_COUNT])
{
    struct documents all = { .reading = reading, .configuration = configuration };
    const char *file = reading->problems->file;
    identities_init(&all.identities, reading, configuration);
    all.directory = identities_directory(&all.identities);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) vector_init(&all.roots[kind], sizeof(struct node *));
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++)
        read_kind(&all, (enum resource_kind)kind, &documents[kind]);
    identities_release(&all.identities);
    give_places(&all);
    reading->problems->file = file;
}

struct configuration *configuration_load_with_documents(struct slice text, const char *name, const char *folder,
                                                        const struct policy_kinds *kinds,
                                                        const struct document_list documents[RESOURCE_KIND_COUNT],
                                                        struct problems *problems)
{
    struct configuration *configuration = slice_is_absent(text)
                                              ? configuration_load_defaults(folder, kinds)
                                              : configuration_load_text(text, name, folder, kinds, problems);
    if (!configuration) return NULL;
    struct schema_reading reading = {
        .arena = &configuration->arena,
        .problems = problems,
        .kinds = kinds,
        .folder = arena_keep(&configuration->arena, slice_from_cstring(folder)).at,
    };
    size_t before = problems->count;
    problems->file = name;
    refuse_own_resources(&reading, configuration);
    if (problems->count > before) {
        configuration_destroy(configuration);
        return NULL;
    }
    read_documents(&reading, configuration, documents);
    return configuration;
}

struct document_list configuration_documents(struct configuration *configuration, const struct policy_kinds *kinds,
                                             enum resource_kind kind)
{
    const struct resource_type *type = &resource_types[kind];
    const struct object_list *items = resource_list_at(type, configuration);
    struct arena *arena = &configuration->arena, scratch;
    struct slice *documents = config_allocate(arena, (items->count + 1) * sizeof *documents);
    for (size_t i = 0; i < items->count; i++) {
        arena_init(&scratch, NULL);
        const struct node *tree = schema_write(&scratch, type->fields, (char *)items->items + i * type->size);
        documents[i] = arena_keep(arena, node_write_json(&scratch, tree));
        arena_release(&scratch);
    }
    return (struct document_list){ .items = documents, .count = items->count };
}
