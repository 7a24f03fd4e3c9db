/* config/private.h: what the files of this room share. No other room includes it. */
#ifndef SLUICE_CONFIG_PRIVATE_H
#define SLUICE_CONFIG_PRIVATE_H

#include "config/config.h"

/* Zeroed; running out of memory ends the process, as everywhere on the control plane. */
static inline void *config_allocate(struct arena *arena, size_t size)
{
    void *memory = arena_allocate_zeroed(arena, size);
    PROMISE(memory != NULL);
    return memory;
}

/* NUL-terminated. */
static inline struct slice config_copy(struct arena *arena, struct slice text)
{
    struct slice copy = arena_copy(arena, text);
    PROMISE(copy.at != NULL);
    return copy;
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

/* FIELD_BOOLEAN, INTEGER, BYTES, MILLISECONDS, SECONDS, ENUM: what is written as one plain word. */
bool schema_read_scalar(struct schema_reading *, const struct field *, const struct node *, void *at);
/* One bit of a FIELD_ENUM_SET, the index of a FIELD_ENUM. */
bool schema_read_name(struct schema_reading *, const struct field *, const struct node *, int *index);
/* `"timeoutMs" must be WANTED, not "abc"`, with what the node is; the value itself is left out where the field is secret. */
bool schema_refuse(struct schema_reading *, const struct field *, const struct node *, const char *hint,
                   const char *wanted);

/* What the tables of settings.c and resources.c read and check by functions of their own (resource_values.c, filters.c). */
typedef bool field_read(struct schema_reading *, const struct node *, void *into);
typedef bool field_check(struct schema_reading *, const struct node *, const void *value);
field_read read_listener, read_admin; /* "127.0.0.1:8080" */
field_read read_instance_text;        /* "127.0.0.1:9001", "[::1]:9001", "users.internal:80" */
field_read read_instance_host, read_instance_port, read_instance_weight;
field_read read_access_log_word, read_access_log_path; /* stdout, off, a file */
field_read read_store, read_resolver_servers, read_hosts;
field_read read_filters, keep_node;
field_read read_path; /* of the node's own field */
field_check check_id, check_name, check_method, check_path_pattern, check_redirect_to, check_redirect_status;
field_check check_match_header, check_match_query, check_answer_header, check_respond, check_trusted_proxy;
field_check check_internal_header, check_resolver, check_user;

/* Letters, digits, '-' and '_', between dots; RFC 1123 2.1, with the underscore that container networks use. */
bool is_host_name(struct slice);

/* Indices are enum tls_version_min. */
extern const char *const tls_versions[];

/* Finds a plugin's kind and reads its `config`, after the plugin's own fields; `node` is the plugin's map (filters.c). */
bool plugin_read_config(struct schema_reading *, const struct node *, struct plugin_config *);

/* What no single field can tell (references.c): ids and names made and unique, references there, one ending a route. `root` is what
 * the configuration was read from. */
void configuration_check_references(struct schema_reading *, const struct node *root, struct configuration *);
/* The same of one listener, whose node is set, once trusted proxies are known (listeners.c). */
void listener_check(struct schema_reading *, const struct configuration *, struct listener_config *);
/* The same of one service, whose node is set (services.c). */
void service_check(struct schema_reading *, const struct service_config *);
/* An instance's address, unless its host is a name. */
void instance_find_address(struct instance_config *);

/* A UUID made from what identifies a thing: version 8 of RFC 9562, the same in every run. In `arena`. */
struct slice id_from_content(struct arena *, const char *kind, struct slice content);

#endif
