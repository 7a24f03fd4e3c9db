/* config/resource.h: the kinds of resources, and one resource by itself: read from what somebody wrote, checked, and written as a document.
 *
 * A document is a resource as stores keep it: canonical JSON, every field of the schema table in the table's order under its canonical
 * name, defaults filled in, short forms written out (an instance "10.0.1.1:8080" is {"host","port","weight"}), with `id` and name. Equal
 * resources are equal documents, byte for byte, so its hash serves as ETag and tells what changed. Secrets stand in it in clear; what
 * leaves the process goes through resource_hide_secrets(). Times (createdAt, updatedAt) are not in it: they belong to the row.
 *
 * Pure: bytes and arenas in and out; any thread. Control plane: running out of memory ends the process. */
#ifndef SLUICE_CONFIG_RESOURCE_H
#define SLUICE_CONFIG_RESOURCE_H

#include "config/config.h"

/* In the order in which they can be read: what is referred to comes first. */
enum resource_kind {
    RESOURCE_SERVICE,
    RESOURCE_ROUTE,
    RESOURCE_PLUGIN,
    RESOURCE_RATE_LIMIT,
    RESOURCE_ROLE,
    RESOURCE_CERTIFICATE,
    RESOURCE_API_KEY, /* the one kind that is too many for memory: see store/store.h */
    RESOURCE_KIND_COUNT
};

struct resource_type {
    const char *word;       /* "rate limit", for messages */
    const char *path;       /* "rate-limits": behind /admin/, and in the command line */
    const char *list_name;  /* "rateLimits": in a configuration */
    const char *name_field; /* "name"; "instanceName" of plugins, "clientName" of API keys (not unique there) */
    const struct field *fields;
    /* Where one without a name stands: fields that its id is made of, ended by NULL, so that it stays the same one whatever else of it changes.
     * NULL: all of them. */
    const char *const *standing;
    size_t size;                             /* of the struct */
    size_t id_at, name_at, node_at, hash_at; /* offsetof in it */
    size_t list_at;                          /* of the struct object_list in struct configuration */
    bool unique_names;
    bool is_acted_on; /* false: stored and checked, and a `warnings` entry says that nothing comes of it yet */
};

extern const struct resource_type resource_types[RESOURCE_KIND_COUNT];
/* By `path`; '_' reads as '-'. NULL: none. */
const struct resource_type *resource_type_find(struct slice path);
static inline enum resource_kind resource_kind_of(const struct resource_type *type)
{
    return (enum resource_kind)(type - resource_types);
}

/* Who an id or a name stands for, among what is there already (and what comes with the same change). */
struct resource_directory {
    /* The id of the one with this id, or else with this name; absent: there is none. */
    struct slice (*find)(const void *argument, enum resource_kind, struct slice id_or_name);
    /* Names near to a wanted one, for "did you mean"; NULL: none. The caller's to free. */
    char *(*nearest)(const void *argument, enum resource_kind, struct slice wanted);
    const void *argument;
};

struct resource_reference {
    enum resource_kind kind;
    struct slice id;
    bool by_name; /* written as the other one's name: follows when that is renamed */
    bool
        is_inside; /* in a map inside the resource (a filter's field, a plugin's config): what it works with, not what it is about */
};

/* A resource, read. Everything lives in the reading's arena; `config` points at `node` and so on as in struct configuration. */
struct resource {
    enum resource_kind kind;
    struct slice id, name;
    void *
        config; /* struct route_config, service_config, plugin_config, rate_limit_config, role_config, certificate_resource_config,
                     api_key_config */
    const struct node *node;
    const struct node *canonical;          /* the document as a tree */
    struct content_hash hash;              /* of `canonical`; also in `config` */
    struct resource_reference *references; /* what it names, resolved, each once; none without a directory */
    size_t reference_count;
};

/* Reads and checks one resource by its schema and, with a directory, its references; `node` may come from a document or from a person.
 * An absent id is `new_id` or, where that is absent too, made as configuration_load_text() makes it: from the name, else from where it
 * stands (resource_type.standing), and then it is none that `directory` knows; an absent name is the id. All problems are added to reading->problems with pointers relative to the root of `node`'s tree;
 * false if there was any. */
bool resource_read(struct schema_reading *, enum resource_kind, const struct node *, struct slice new_id,
                   const struct resource_directory *, struct resource *into);

/* Each text of a resource's tree (a document, or what somebody wrote) that names another resource, as the tables say. */
struct resource_reference_visit {
    /* May change the text, or take it out of its list. */
    void (*name)(void *argument, struct node *text, enum resource_kind to, bool is_inside);
    void *argument;
};
void resource_visit_references(enum resource_kind, const struct policy_kinds *, struct node *resource,
                               const struct resource_reference_visit *);

/* The document of a resource that was read without problems. In the reading's arena. */
struct slice resource_write_document(struct schema_reading *, const struct resource *);

/* RFC 7396: `patch` over `target`, as a new tree in the arena. */
struct node *node_merge_patch(struct arena *, const struct node *target, const struct node *patch);
/* The same over a resource's document; a patch may use a field's other name (`pathPattern`). */
struct node *resource_merge_patch(struct arena *, enum resource_kind, const struct policy_kinds *,
                                  const struct node *target, const struct node *patch);
/* A tree as JSON. Scalars that were not quoted and read as numbers, booleans or null are written as such. In the arena. */
struct slice node_write_json(struct arena *, const struct node *);

/* The document with each secret's value written as {"$secret":"sha256:<first 16 hex digits>"}. In the arena. */
struct slice resource_hide_secrets(struct arena *, enum resource_kind, const struct policy_kinds *,
                                   struct slice document);
/* In the tree that somebody wrote, puts in the place of each {"$secret":"sha256:..."} that stands where a secret belongs the secret of
 * `before` (a document; may be absent) that has this hash. One that is not there stays, and resource_read() refuses it at its place. */
void resource_keep_secrets(struct schema_reading *, enum resource_kind, struct node *written, struct slice before);
/* A secret may be written as ${env:NAME} or ${file:PATH}, whole: then that is what documents hold and the API shows, and the value is
 * looked up where it is compiled. */
bool resource_secret_is_reference(struct slice written);
/* The value: `written` itself where it is no reference. Relative paths count from `folder`. A line's end at a file's end is not part of
 * it. Blocks for a file. False: *error, without the value. In the arena. */
bool resource_resolve_secret(struct arena *, struct slice written, const char *folder, struct slice *value,
                             struct error *) MUST_USE;
/* For revisions: what differs between two documents (either may be absent), as a JSON array [{"pointer","before","after"}] with secrets
 * hidden. In the arena. */
struct slice resource_difference(struct arena *, enum resource_kind, const struct policy_kinds *, struct slice before,
                                 struct slice after);

/* A whole configuration whose resources come as documents: the text (a bootstrap file; absent: all defaults) must have no resources of its
 * own. Problems of a document name its kind and id in the place of a file. NULL where the text is wrong. What is wrong with a document
 * leaves out that one and what refers to it, and no other: the result is not NULL, and there are problems. It is not for serving then
 * (what was left out may be what kept somebody away), but for saying what is wrong or for repairing it. */
struct document_list {
    const struct slice *items;
    size_t count;
};
struct configuration *configuration_load_with_documents(struct slice text, const char *name, const char *folder,
                                                        const struct policy_kinds *,
                                                        const struct document_list documents[RESOURCE_KIND_COUNT],
                                                        struct problems *);
/* Documents of every resource that a configuration holds, in its order, in its own arena. */
struct document_list configuration_documents(struct configuration *, const struct policy_kinds *, enum resource_kind);

/* The OpenAPI 3.1 document of the admin API, made of the schema tables. The caller's (free). */
char *openapi_write(const struct policy_kinds *);

#endif
