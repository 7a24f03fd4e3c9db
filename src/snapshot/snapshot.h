/* snapshot/: one immutable configuration in force: router, compiled routes and services, the settings that requests read.
 *
 * Made by a builder on its own thread out of the one before, reusing what did not change by reference; handed to workers as a
 * pointer. Each worker pins it by a plain count of its own (pin.h in gateway/); when no worker holds it, it comes back to the
 * builder's thread, which lets go of what only it referred to. Workers may keep a single route beyond that (compiled_route_retain). */
#ifndef SLUICE_SNAPSHOT_SNAPSHOT_H
#define SLUICE_SNAPSHOT_SNAPSHOT_H

#include "chain/chain.h"
#include "observe/metrics.h"
#include "route/router.h"
#include "upstream/service.h"

struct compiled_route {
    _Atomic uint32_t references; /* snapshots and long exchanges */
    char *id, *name;
    struct slice name_slice;
    struct route_matcher *matcher; /* its target is this route */
    struct service *service;       /* NULL: ends in no service; one reference */
    struct chain *chain;
    const struct handler *handler;
    void *handler_compiled;
    struct route_metrics *metrics; /* by identity: survives changes */
    uint64_t sequence;
    uint32_t timeout_ms, try_timeout_ms, idle_timeout_ms;
    uint32_t retry_count, retry_on, retry_buffer_bytes;
    bool strip_prefix, preserve_host, idempotent;
    struct content_hash hash;      /* of its configuration and of what it was compiled with */
    struct compiled_route *next_released; /* internal */
};

/* Any thread. */
void compiled_route_retain(struct compiled_route *);
/* Any thread; the last reference sends it back to the builder's thread to be destroyed. */
void compiled_route_drop(struct compiled_route *);

/* What requests read and a reload may change. */
struct request_settings {
    struct address_range *trusted_proxies;
    size_t trusted_proxy_count;
    struct slice *internal_response_headers; /* exact names or "X-Internal-*", compared without case */
    size_t internal_response_header_count;
    bool merge_slashes;
};

struct snapshot {
    uint64_t version; /* 1, 2, ... */
    struct router *router;
    struct compiled_route **routes; /* one reference each */
    size_t route_count;
    size_t service_count;
    struct request_settings settings;
    _Atomic uint32_t holders; /* workers that have not let go yet; internal to the publisher */
    struct snapshot *next;    /* internal */
};

struct snapshot_builder;

struct snapshot_builder_settings {
    const struct policy_registry *registry;
    struct metrics *metrics;  /* route metrics by identity */
    unsigned workers;
    /* Called from any thread when released routes wait: let the builder's thread call snapshot_builder_collect(). */
    void (*wake)(void *argument);
    void *wake_argument;
};

/* All functions on the builder's thread. */
struct snapshot_builder *snapshot_builder_create(const struct snapshot_builder_settings *);
/* All snapshots and routes must have come back. */
void snapshot_builder_destroy(struct snapshot_builder *);

/* The whole desired state: what is equal (by content hash) to what is in force is reused. NULL where there were problems: then nothing
 * changed. The new snapshot is the caller's to publish; the builder goes on from it. */
struct snapshot *snapshot_builder_load(struct snapshot_builder *, const struct configuration *, struct problems *);
/* One resource put or (config NULL) taken away; costs by the change, not by the configuration. */
struct snapshot *snapshot_builder_put_route(struct snapshot_builder *, struct slice id, const struct route_config *, struct problems *);
struct snapshot *snapshot_builder_put_service(struct snapshot_builder *, struct slice id, const struct service_config *, struct problems *);
/* Host names that services use: `watch` is told of each name that comes into use and that goes out of use. */
void snapshot_builder_watch_names(struct snapshot_builder *, void (*used)(void *argument, struct slice host, bool in_use), void *argument);
/* A name's addresses changed: services that use it are made anew. NULL where none does. */
struct snapshot *snapshot_builder_addresses(struct snapshot_builder *, struct slice host, const struct address *, size_t count);
/* The regex prefilter, built on a jobs thread in between: source -> build -> with. */
struct router_prefilter_source *snapshot_builder_prefilter_source(struct snapshot_builder *); /* NULL: not wanted */
struct snapshot *snapshot_builder_prefilter(struct snapshot_builder *, struct router_prefilter *);

/* No worker holds it any more. */
void snapshot_destroy(struct snapshot_builder *, struct snapshot *);
/* Destroys released routes; forgotten instances are then listed by the registry below. */
void snapshot_builder_collect(struct snapshot_builder *);
struct instance_registry *snapshot_builder_instances(struct snapshot_builder *);

#endif
