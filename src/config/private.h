/* config/private.h: what the files of this room share. No other room includes it. */
#ifndef SLUICE_CONFIG_PRIVATE_H
#define SLUICE_CONFIG_PRIVATE_H

#include "base/map.h"
#include "config/config.h"
#include "config/resource.h"

/* Zeroed; running out of memory ends the process, as everywhere on the control plane. */
static inline void *config_allocate(struct arena *arena, size_t size)
{
    void *memory = arena_allocate_zeroed(arena, size);
    PROMISE(memory != NULL);
    return memory;
}

/* Durations are bounded, so that they fit the 32 bits of compiled routes. */
#define DAY_MS 86400000

/* The mend for a file without anything in it. */
#define EMPTY_HINT "begin with \"routes:\""

/* A row for a name of the design that this version doesn't act on. */
#define NOT_YET(field_name)                       \
    {                                             \
        .name = field_name, .type = FIELD_NOT_YET \
    }

/* What the API shows and takes back: createdAt, updatedAt. */
#define IGNORED(field_name, what)                                                                  \
    {                                                                                              \
        .name = field_name, .type = FIELD_IGNORED, .type_text = "time (RFC 3339)", .summary = what \
    }
/* The row of every kind's tags. */
#define TAGS(config)                                                                                                  \
    {                                                                                                                 \
        .name = "tags", .type = FIELD_STRING_LIST, .into = offsetof(config, tags), .check = check_tag, .maximum = 64, \
        .summary = "Words of yours to find it by."                                                                    \
    }
#define CREATED_AT IGNORED("createdAt", "When it was created.")
#define UPDATED_AT IGNORED("updatedAt", "When it was changed last.")

/* {"$secret":"sha256:<16 hex digits>"} stands where a secret is. */
#define SECRET_KEY "$secret"

/* JSON that has nothing odd in it; NULL: jansson is to read it (node_json_quick.c). */
struct node *node_read_json_quick(struct arena *, struct slice text);

/* A document is what was written here once. NULL: it is damaged. In the arena. */
struct node *document_read(struct arena *, struct slice document);
/* Hides them in a document's tree, in place. */
void secrets_hide(struct arena *, enum resource_kind, const struct policy_kinds *, struct node *root);

/* Trees made here rather than read: in `arena`, texts not copied. */
struct node *node_make(struct arena *, enum node_kind);
struct node *node_make_text(struct arena *, struct slice text);
struct node *node_make_integer(struct arena *, int64_t);
struct node *node_make_boolean(struct arena *, bool);
/* At the end of a list or map; `key` absent in a list. Costs by the count of children: for a walk keep `last` (may be NULL). */
void node_append(struct node *parent, struct node **last, struct slice key, struct node *child);
/* Deep; texts are shared. */
struct node *node_copy(struct arena *, const struct node *);

/* FIELD_BOOLEAN, INTEGER, BYTES, MILLISECONDS, SECONDS, ENUM: what is written as one plain word. */
bool schema_read_scalar(struct schema_reading *, const struct field *, const struct node *, void *at);
/* One bit of a FIELD_ENUM_SET, the index of a FIELD_ENUM; of an unknown name *index stays what it is, so that it is always one of a name. */
bool schema_read_name(struct schema_reading *, const struct field *, const struct node *, int *index);
/* `"timeoutMs" must be WANTED, not "abc"`, with what the node is; the value itself is left out where the field is secret. */
bool schema_refuse(struct schema_reading *, const struct field *, const struct node *, const char *hint,
                   const char *wanted);

/* elsewhere.c: what a name that other gateways use is called here, if that is among the `count` names known at its place: `here it is
 * "instances", ...`. False: `hint` stays. */
bool hint_of_field_elsewhere(struct slice theirs, const char *const *known, size_t count, char *hint, size_t size);
bool hint_of_kind_elsewhere(struct slice theirs, const char *const *known, size_t count, char *hint, size_t size);

/* What the tables of settings.c and resources.c read and check by functions of their own (resource_values.c, filters.c). */
typedef bool field_read(struct schema_reading *, const struct node *, void *into);
typedef bool field_check(struct schema_reading *, const struct node *, const void *value);
field_read read_listener, read_admin; /* "127.0.0.1:8080" */
field_read read_instance_text;        /* "127.0.0.1:9001", "[::1]:9001", "users.internal:80" */
field_read read_instance_host, read_instance_port, read_instance_weight;
field_read read_access_log_word, read_access_log_path; /* stdout, off, a file */
/* "127.0.0.1:8080" of a field of that name. */
bool read_bind_address(struct schema_reading *, const char *name, const struct node *, struct slice *text,
                       struct address *);
field_read read_store, read_resolver_servers, read_hosts;
field_read read_filters, keep_node;
field_read read_path;          /* of the node's own field */
field_read read_status_ranges; /* into health_check_config.expected and its count */
field_check check_id, check_name, check_method, check_path_pattern, check_redirect_to, check_redirect_status;
field_check check_match_header, check_match_query, check_answer_header, check_respond, check_trusted_proxy;
field_check check_internal_header, check_resolver, check_user, check_request_path;

/* Of routes: conditions and endings (split.c, api_versions.c). */
field_check check_split, check_predicate, check_route_version, check_api_versions, check_test;
/* "2030-01-31T12:00:00Z" to microseconds since 1970 (api_key_resources.c). */
field_read read_time;

/* Canonical forms of what those read. */
typedef struct node *field_write(struct arena *, const void *from);
field_write write_time, write_text, write_hosts, write_instance_host, write_instance_port, write_instance_weight,
    write_status_ranges;
field_write write_filters, write_filter_type, write_plugin_kind, write_plugin_config;
/* The tables of filters and of a plugin's config. */
typedef const struct field *field_table(const struct policy_kinds *, const struct node *map);
field_table filter_table, plugin_config_table;
field_check check_tag, check_scope, check_hash, check_listener_tls, check_admin_guard;
field_check check_aggregate;
extern const struct field listener_tls_fields[];

/* Letters, digits, '-' and '_', between dots; RFC 1123 2.1, with the underscore that container networks use. */
bool is_host_name(struct slice);

/* Indices are enum tls_version_min. */
extern const char *const tls_versions[];

/* Finds a plugin's kind and reads its `config`, after the plugin's own fields; `node` is the plugin's map (filters.c). */
bool plugin_read_config(struct schema_reading *, const struct node *, struct plugin_config *);

/* Empty. */
struct configuration *configuration_create(void);
/* All defaults: one listener, no resources. */
struct configuration *configuration_load_defaults(const char *folder, const struct policy_kinds *);
/* A file's root, read and checked into an empty one (config.c). */
void configuration_read_root(struct schema_reading *, const struct node *root, struct configuration *);
/* What no single field can tell (references.c): ids and names made and unique, references there, one ending a route. `root` is what
 * the configuration was read from. */
void configuration_check_references(struct schema_reading *, const struct node *root, struct configuration *);

/* Ids and names of the resources of one configuration, by kind (identities.c). */
struct identities {
    struct schema_reading *reading;
    struct configuration *configuration;   /* its lists, for names that are near */
    struct map taken[RESOURCE_KIND_COUNT]; /* by id and by name: struct identity */
};
struct identity {
    const struct node *node; /* where it stands */
    struct slice id;
};
/* Makes what is absent of id and name; an id that is not made of a name is none that the directory (may be NULL) knows. */
void resource_identify(struct schema_reading *, const struct resource_directory *, struct slice new_id,
                       struct resource *);
void identities_init(struct identities *, struct schema_reading *, struct configuration *);
void identities_release(struct identities *);
/* Makes what is absent of id and name of a resource that was read; both must be new. Notes them. */
void identities_add(struct identities *, struct resource *);
/* One that was added turned out to be wrong: nobody finds it. */
void identities_remove(struct identities *, const struct resource *);
struct resource_directory identities_directory(const struct identities *);
/* `WHAT "TEXT" is already given in line 12`. */
void refuse_twice(struct schema_reading *, const struct node *, const char *what, struct slice text,
                  const struct node *first);

/* One resource, once its fields are read (resource_checks.c): what only its fields together tell, and its references, which are noted in
 * resource->references. */
struct resource_checking {
    struct schema_reading *reading;
    const struct resource_directory *directory; /* NULL: references are not looked up */
    struct resource *resource;
    bool is_in_file; /* words of hints */
    size_t reference_capacity;
};
void resource_check(struct resource_checking *);

/* The struct's members that all kinds have. */
static inline struct slice *resource_id_at(const struct resource_type *type, void *config)
{
    return (struct slice *)(void *)((char *)config + type->id_at);
}
static inline struct slice *resource_name_at(const struct resource_type *type, void *config)
{
    return (struct slice *)(void *)((char *)config + type->name_at);
}
static inline struct object_list *resource_list_at(const struct resource_type *type,
                                                   struct configuration *configuration)
{
    return (struct object_list *)(void *)((char *)configuration + type->list_at);
}
/* Fills `node` of the struct, and its hash by the node as it was written. */
void resource_set_node(const struct resource_type *, void *config, const struct node *);
void resource_set_hash(const struct resource_type *, void *config, struct content_hash);

/* The same of one listener, whose node is set, once trusted proxies are known (listeners.c). */
void listener_check(struct schema_reading *, const struct configuration *, struct listener_config *);
/* TLS shows a certificate: of its own, or one that is a resource. `node` is the listener's. */
void listener_check_certificates(struct schema_reading *, const struct configuration *,
                                 const struct listener_tls_config *, const struct node *);
/* The same of one service, whose node is set (services.c). */
void service_check(struct schema_reading *, const struct service_config *);
/* A file that is run holds no resources beside a store, and none that nothing would act on (store_settings.c). */
void store_check_file(struct schema_reading *, const struct configuration *);
/* An instance's address, unless its host is a name. */
void instance_find_address(struct instance_config *);

/* A UUID made from what identifies a thing: version 8 of RFC 9562, the same in every run. In `arena`. */
struct slice id_from_content(struct arena *, const char *kind, struct slice content);

#endif
