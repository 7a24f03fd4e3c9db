/* snapshot/: one immutable configuration in force: router, compiled routes and services, the settings that requests read.
 *
 * Made by a builder on its own thread out of the one before, reusing what did not change by reference; handed to workers as a
 * pointer. Each worker pins it by a plain count of its own; when no worker holds it, it comes back to the builder's thread.
 *
 * Who keeps what alive: routes and services have one reference for being in force, whichever snapshots that covers. When a
 * change takes one out, it is put on the `retired` list of the newest snapshot that used it, and let go when that snapshot and
 * all older ones are gone; so a new snapshot costs by the change, not by the count of routes. A worker may keep a single route and
 * its service beyond that for an exchange that lives long (retain/drop, atomic). */
#ifndef SLUICE_SNAPSHOT_SNAPSHOT_H
#define SLUICE_SNAPSHOT_SNAPSHOT_H

#include "chain/chain.h"
#include "chain/roles.h"
#include "observe/metrics.h"
#include "route/router.h"
#include "snapshot/split.h"
#include "upstream/service.h"

struct snapshot_builder;
struct expression; /* expr/expression.h */

/* A service that a filter or the handler of a route works with, as it was written, and its place when the route was compiled. */
struct service_use {
    struct slice name_or_id;
    uint32_t index;
};

struct compiled_route {
    _Atomic uint32_t references; /* being in force, and long exchanges */
    struct snapshot_builder *builder;
    char *id, *name;
    struct slice label; /* what people are told: the name, or the path of a route that has none but its id */
    struct expression **predicates; /* all must hold */
    uint32_t predicate_count;
    struct slice version; /* as written: "2" or "users/2"; absent: any */
    int32_t priority;
    struct slice name_slice, service_name; /* service_name empty: ends in no service */
    struct route_matcher *matcher;         /* its target is this route */
    uint32_t service_index;                /* in a snapshot's services; SERVICE_NONE */
    struct route_split *split;             /* NULL: it has none */
    struct service_use *service_uses;      /* each text once; beside service_index */
    uint32_t service_use_count;
    struct chain *chain;
    const struct handler *handler;
    void *handler_compiled;
    struct route_metrics *metrics; /* by identity: survives changes; of a split, where nobody was chosen */
    uint64_t sequence;
    uint32_t timeout_ms, try_timeout_ms, idle_timeout_ms;
    uint32_t tunnel_idle_timeout_ms; /* 0: none */
    uint32_t retry_count, retry_on, retry_buffer_bytes;
    bool strip_prefix, preserve_host, idempotent;
    struct content_hash hash;             /* of its configuration and of what it was compiled with */
    struct compiled_route *next_released; /* internal */
};

/* Any thread. */
void compiled_route_retain(struct compiled_route *);
/* Any thread; the last reference sends it to the builder's thread to be destroyed. */
void compiled_route_drop(struct compiled_route *);
/* The same for a service that an exchange keeps: retain with service_retain(). */
void snapshot_service_drop(struct snapshot_builder *, struct service *);

/* What requests read and a reload may change. */
struct request_settings {
    struct address_range *trusted_proxies;
    size_t trusted_proxy_count;
    struct slice *internal_response_headers; /* exact names or "X-Internal-*", compared without case */
    size_t internal_response_header_count;
    struct trace_config trace;
    struct object_list api_versions; /* struct api_versions_config */
    struct arena arena;              /* what holds them */
    bool merge_slashes;              /* as paths of requests are read, so are those that policies make */
};

struct snapshot {
    uint64_t version; /* 1, 2, ... */
    struct snapshot_builder *builder;
    struct router *router;
    struct service **services; /* by compiled_route.service_index; NULL in holes */
    uint32_t service_count;    /* length of the table */
    size_t route_count;
    const struct request_settings *settings;
    const struct role_set *roles; /* one reference */
    /* Internal, builder's thread. */
    struct vector retired_routes, retired_services, retired_settings;
    struct snapshot *older, *newer;
};

struct snapshot_builder_settings {
    const struct policy_registry *registry;
    const struct policy_surroundings *surroundings; /* outlives it; NULL: it compiles for checking alone */
    struct metrics *metrics;                        /* route metrics by identity */
    unsigned workers;                               /* lines of instances and services: all threads that make calls */
    /* From any thread, when released routes or services wait: let the builder's thread call snapshot_builder_collect(). */
    void (*wake)(void *argument);
    void *wake_argument;
    /* On the builder's thread: a host name comes into use by a service, or goes out of use. May be NULL. */
    void (*name_used)(void *argument, struct slice host, bool in_use);
    void *name_argument;
};

/* All functions below on the builder's thread. */
struct snapshot_builder *snapshot_builder_create(const struct snapshot_builder_settings *);
/* All snapshots have come back and all retained routes and services were dropped. */
void snapshot_builder_destroy(struct snapshot_builder *);

/* What changes of a configuration, for a prepared change: at the cost of the change. `configuration` holds, unless `whole`, the services and
 * routes that are new or other than before, and, where plugins_changed, all plugins and rate limits there are; then it holds every route that one of the
 * changed ones touches as well, and those of a service that gets another name (one that is left out goes on under the old one in
 * metrics and logs). Of services and routes an id stands in one place: new, changed or removed. New routes are younger than all
 * others, in the order in which they stand; a change that puts one in between is `whole`. */
struct configuration_change {
    struct configuration *configuration; /* the change's own */
    bool whole;                          /* the configuration is everything: what it doesn't hold goes */
    bool with_settings;                  /* what requests read of its settings counts too: it was read from a file */
    bool plugins_changed, certificates_changed;         /* certificates_changed: it holds all certificates there are */
    bool roles_changed;                                 /* it holds all roles there are */
    struct slice_list removed_services, removed_routes; /* ids; in the configuration's arena */
};
/* NULL is allowed. */
void configuration_change_destroy(struct configuration_change *);

struct prepared_change;
/* Compiles aside, changing nothing that is seen. Takes the change over. NULL where there were problems. What is equal (by content hash) to
 * what is in force is reused. The first one is whole. One at a time; until commit or abandon only snapshot_builder_addresses and
 * snapshot_builder_prefilter may come between. */
struct prepared_change *snapshot_builder_prepare(struct snapshot_builder *, struct configuration_change *,
                                                 struct problems *);
/* Can't fail. The new snapshot is the caller's to publish; the builder goes on from it. */
struct snapshot *snapshot_builder_commit(struct snapshot_builder *, struct prepared_change *);
void snapshot_builder_abandon(struct snapshot_builder *, struct prepared_change *);
/* Both at once, of the whole desired state, settings included. Takes the configuration over. NULL: there were problems, nothing changed. */
struct snapshot *snapshot_builder_load(struct snapshot_builder *, struct configuration *, struct problems *);

/* A name's addresses changed: services that use it are made anew. NULL where none does. */
struct snapshot *snapshot_builder_addresses(struct snapshot_builder *, struct slice host, const struct address *,
                                            size_t count);
/* The regex prefilter is built on a jobs thread in between: source, then router_prefilter_build, then this. */
struct router_prefilter_source *snapshot_builder_prefilter_source(struct snapshot_builder *); /* NULL: not wanted */
struct snapshot *snapshot_builder_prefilter(struct snapshot_builder *, struct router_prefilter *);

/* No worker holds it any more. Never the newest one, but for the end of all. */
void snapshot_destroy(struct snapshot *);
/* Destroys what was released elsewhere; see also instance_next_forgotten() on snapshot_builder_instances(). */
void snapshot_builder_collect(struct snapshot_builder *);
struct instance_registry *snapshot_builder_instances(struct snapshot_builder *);

#endif
