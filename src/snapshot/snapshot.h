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
#include "observe/metrics.h"
#include "route/router.h"
#include "upstream/service.h"

#define SERVICE_NONE UINT32_MAX

struct snapshot_builder;

struct compiled_route {
    _Atomic uint32_t references; /* being in force, and long exchanges */
    struct snapshot_builder *builder;
    char *id, *name;
    struct slice name_slice, service_name; /* service_name empty: ends in no service */
    struct route_matcher *matcher;         /* its target is this route */
    uint32_t service_index;                /* in a snapshot's services; SERVICE_NONE */
    struct chain *chain;
    const struct handler *handler;
    void *handler_compiled;
    struct route_metrics *metrics; /* by identity: survives changes */
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
    bool merge_slashes; /* as paths of requests are read, so are those that policies make */
};

struct snapshot {
    uint64_t version; /* 1, 2, ... */
    struct snapshot_builder *builder;
    struct router *router;
    struct service **services; /* by compiled_route.service_index; NULL in holes */
    uint32_t service_count;    /* length of the table */
    size_t route_count;
    const struct request_settings *settings;
    /* Internal, builder's thread. */
    struct vector retired_routes, retired_services, retired_settings;
    struct snapshot *older, *newer;
};

struct snapshot_builder_settings {
    const struct policy_registry *registry;
    struct metrics *metrics; /* route metrics by identity */
    unsigned workers;        /* lines of instances and services: all threads that make calls */
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

/* The whole desired state: what is equal (by content hash) to what is in force is reused. NULL where there were problems: then nothing
 * changed and the configuration is still the caller's; else the builder owns it. The new snapshot is the caller's to publish; the
 * builder goes on from it. */
struct snapshot *snapshot_builder_load(struct snapshot_builder *, struct configuration *, struct problems *);
/* One route put or (config NULL) taken away, after a first load; costs by the change. config->id is `id`; nothing of the configuration
 * is kept. A service that it names must be in force. NULL with a problem, or where there was nothing to take away. */
struct snapshot *snapshot_builder_put_route(struct snapshot_builder *, struct slice id, const struct route_config *,
                                            struct problems *);
/* The service of an id that is in force gets other instances or settings; its routes are not touched (they go on under its old name
 * until the next load). config->id is `id`. */
struct snapshot *snapshot_builder_put_service(struct snapshot_builder *, struct slice id, const struct service_config *,
                                              struct problems *);
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
