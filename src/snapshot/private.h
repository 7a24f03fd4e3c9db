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

/* What a route is compiled with beside its own configuration. */
struct route_surroundings {
    const struct plugin_config *plugins;
    size_t plugin_count;
};

struct snapshot_builder {
    struct snapshot_builder_settings settings;
    struct configuration *configuration;         /* kept while it has plugins that later routes need; NULL else */
    struct map services_by_id, services_by_name; /* struct service_entry */
    struct map routes;                           /* struct compiled_route by id */
    struct map names;                            /* struct name_entry */
    struct map transports;                       /* struct transport by key; one reference each */
    struct vector free_indices;                  /* uint32_t: holes in the services table */
    struct service **services;                   /* the newest table; snapshots have copies */
    uint32_t service_count;
    uint64_t sequence_max;
    uint64_t versions;
    struct request_settings *request_settings; /* in force; NULL before the first load */
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

/* order.c */
/* In: the places of routes that may keep them, in the order they are to have now; 0 for the others. Out: a place for each, ascending, and
 * in `kept` (all false before) which are the old ones: as many as can be, but for some that make room. */
void order_places(uint64_t *places, bool *kept, uint32_t count);

/* compile.c */
struct compiled_route *route_compile(struct snapshot_builder *, const struct route_config *,
                                     const struct route_surroundings *, uint32_t service_index,
                                     struct slice service_name, uint64_t sequence, struct content_hash hash,
                                     struct problems *);
void route_destroy(struct compiled_route *);
/* The hash of a route together with everything else that goes into its compilation. */
struct content_hash route_hash(const struct route_config *, const struct route_surroundings *, uint32_t service_index,
                               struct slice service_name);

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
