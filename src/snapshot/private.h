/* snapshot/private.h: what the files of this room share. All on the builder's thread but for the released stacks. */
#ifndef SLUICE_SNAPSHOT_PRIVATE_H
#define SLUICE_SNAPSHOT_PRIVATE_H

#include "base/map.h"
#include "base/memory.h"
#include "snapshot/snapshot.h"

/* A service as the builder remembers it. */
struct service_entry {
    char *id, *name;
    uint32_t index;
    struct service *service;
    struct service_config *config; /* a copy: needed again when a name's addresses change */
    struct transport *transport;   /* one reference; so is this */
    struct content_hash hash;
    bool kept; /* during a commit: also in the new state */
};

/* A host name that services use. */
struct name_entry {
    char *host;
    uint32_t uses;
    struct address *addresses;
    size_t count;
};

/* A service as a route's compilation wants to know it. */
struct found_service {
    uint32_t index;
    struct slice id, name;
};

/* What a route is compiled with beside its own configuration. */
struct route_surroundings {
    const struct prepared_change *prepared; /* which services there will be */
    const struct plugin_config *plugins;
    size_t plugin_count;
    const struct rate_limit_config *limits;
    size_t limit_count;
};

/* A service of a change and the index it has or, where it is new, will have. */
struct numbered_service {
    const struct service_config *config;
    struct transport *transport; /* one reference; NULL: there was a problem */
    uint32_t index;
    bool is_new;
};

struct prepared_change {
    struct snapshot_builder *builder;
    struct configuration_change *change; /* its own */
    struct configuration *configuration; /* the change's */
    struct problems *problems;           /* while it is being prepared */
    bool is_whole;
    struct route_surroundings around;
    struct numbered_service *services;           /* in the configuration's order */
    struct map services_by_id, services_by_name; /* struct numbered_service */
    struct map removed;                          /* services' ids */
    struct compiled_route **routes; /* in the configuration's order; in force or fresh; NULL: not enabled */
    struct vector fresh;            /* struct compiled_route * */
    const struct role_set *roles;   /* one reference; NULL: those that are in force */
    struct content_hash roles_hash; /* of `roles` */
};

struct snapshot_builder {
    struct snapshot_builder_settings settings;
    struct configuration *configuration; /* kept while it has plugins or limits that later routes need; NULL else */
    struct map services_by_id, services_by_name; /* struct service_entry */
    struct map routes;                           /* struct compiled_route by id */
    struct map names;                            /* struct name_entry */
    struct map transports;                       /* struct transport by key; one reference each */
    struct vector free_indices;                  /* uint32_t: holes in the services table */
    struct service **services;                   /* the newest table; snapshots have copies */
    uint32_t *route_counts;                      /* by the same index: routes in force that end there or use it */
    uint32_t service_count;
    struct prepared_change *prepared; /* NULL: none */
    uint64_t sequence_max;
    uint64_t versions;
    struct request_settings *request_settings; /* in force; NULL before the first load */
    const struct role_set *roles;              /* in force, one reference */
    struct content_hash roles_hash;
    struct snapshot *newest;
    struct instance_registry *instances;
    struct service_registry *service_states;
    _Atomic(struct compiled_route *) released_routes;
    _Atomic(struct released_service *) released_services;
};

/* Room between two routes of a file for those that come between them later, and before the first one. */
#define SEQUENCE_STEP (UINT64_C(1) << 24)
#define SEQUENCE_FIRST (UINT64_C(1) << 62)

/* builder.c */
/* The next version with this router and what else is in force. */
struct snapshot *builder_next_snapshot(struct snapshot_builder *, struct router *);
/* What a change takes out. */
void builder_retire_route(struct snapshot_builder *, struct compiled_route *);
void builder_retire_settings(struct snapshot_builder *);
uint32_t builder_take_index(struct snapshot_builder *);
void builder_put_entry(struct snapshot_builder *, struct service_entry *);
/* The entry that is in force now; the old one is gone. Takes over one reference of the transport. */
struct service_entry *builder_replace_service(struct snapshot_builder *, struct service_entry *old,
                                              const struct service_config *, struct transport *);
void builder_remove_service(struct snapshot_builder *, struct service_entry *);

/* prepare.c */
/* By id or, where there is none, by name: as it will be after the change. False: there is no such service. */
bool prepared_find_service(const struct prepared_change *, struct slice id_or_name, struct found_service *);

/* order.c */
/* In: the places of routes that may keep them, in the order they are to have now; 0 for the others. Out: a place for each, ascending, and
 * in `kept` (all false before) which are the old ones: as many as can be, but for some that make room. */
void order_places(uint64_t *places, bool *kept, uint32_t count);

/* parts.c */
#define SCOPE_NONE (-1) /* it doesn't apply to the route; else enum filter_scope */
int plugin_scope(const struct plugin_config *, const struct route_config *, const struct route_surroundings *);
int limit_scope(const struct rate_limit_config *, const struct route_config *, const struct route_surroundings *);
/* Widest scope first, the route's own last. Free `items`; what they point at is the configuration's. */
struct part_list {
    struct filter_config *items;
    size_t count;
};
struct part_list route_parts(const struct route_config *, const struct route_surroundings *);
/* For people: its name, or its path where it has no name but its id. The configuration's. */
struct slice route_label(const struct route_config *);

/* compile.c */
struct compiled_route *route_compile(struct snapshot_builder *, const struct route_config *,
                                     const struct route_surroundings *, uint32_t service_index,
                                     struct slice service_name, uint64_t sequence, struct content_hash hash,
                                     struct problems *);
void route_destroy(struct compiled_route *);
/* Everything that it uses stands where it stood when it was compiled. */
bool route_services_are_equal(const struct compiled_route *, const struct route_surroundings *);
/* Each service's index that it ends in or uses, once. */
void route_each_service(const struct compiled_route *, void (*each)(void *argument, uint32_t index), void *argument);
/* The hash of a route together with everything else that goes into its compilation, but for the places of services that it uses:
 * route_services_are_equal(). */
struct content_hash route_hash(const struct route_config *, const struct route_surroundings *, uint32_t service_index,
                               struct slice service_name);

/* split.c */
struct split_compile {
    const struct filter_compile *services; /* its `service` finds them and counts the route among their users */
    const struct prepared_change *prepared;
    struct metrics *metrics;
    struct slice route_name;
};
/* NULL: a problem was added. */
struct route_split *split_compile(const struct split_compile *, const struct route_config *);
void split_destroy(struct route_split *, struct metrics *); /* NULL is allowed */

/* prepare_roles.c */
/* Roles name routes and services by words, and nothing compiled names them: a change of one makes this set anew, and no route. */
void roles_prepare(struct prepared_change *);
void roles_commit(struct prepared_change *);

/* transports.c */
/* One reference. Reads the files that the configuration names. NULL: there was a problem. */
struct transport *transport_for(struct snapshot_builder *, const struct service_config *, struct problems *);
/* Drops those that nothing in force and no pool uses any more. */
void transports_collect(struct snapshot_builder *);

/* services.c */
/* Takes over one reference of the transport. */
struct service_entry *service_entry_create(struct snapshot_builder *, const struct service_config *, struct transport *,
                                           uint32_t index);
void service_entry_destroy(struct service_entry *); /* not the service itself */
/* The service anew from the entry's configuration and the addresses of today. */
struct service *service_entry_compile(struct snapshot_builder *, const struct service_entry *);
bool service_entry_uses(const struct service_entry *, struct slice host);
void names_use(struct snapshot_builder *, const struct service_entry *);
void names_leave(struct snapshot_builder *, const struct service_entry *);

#endif
