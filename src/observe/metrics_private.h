/* observe/metrics_private.h: the metrics' own lines, shared by counting and rendering. */
#ifndef SLUICE_OBSERVE_METRICS_PRIVATE_H
#define SLUICE_OBSERVE_METRICS_PRIVATE_H

#include "base/clock.h"
#include "base/map.h"
#include "base/memory.h"
#include "observe/metrics.h"
#include "shared/histogram.h"

#include <pthread.h>

#define ERROR_TYPES_MAX 64 /* the last one is "other" */
#define STATUS_CLASSES 6   /* by the first digit; 0: no answer or an odd one */
#define UNUSED_KEPT_NS (UINT64_C(3600) * 1000000000)

/* A worker's line of a route; made at the route's first request. */
struct route_line {
    struct counter requests[METHOD_COUNT][STATUS_CLASSES];
    struct histogram duration, upstream; /* microseconds */
};

struct route_metrics {
    char *route, *service;
    uint32_t references;
    uint64_t unused_since_ns; /* of the last drop to no reference */
    _Atomic(struct route_line *) lines[];
};

struct error_count {
    _Atomic(const char *) type;
    struct counter count;
};

#define WEBSOCKET_CODES 15 /* the last one is "other" */
extern const uint16_t websocket_codes[WEBSOCKET_CODES - 1];

struct metrics_line {
    struct error_count errors[ERROR_TYPES_MAX];
    struct counter websocket_closes[WEBSOCKET_CLOSER_COUNT][WEBSOCKET_CODES];
    struct histogram stages[METRICS_STAGES_MAX]; /* nanoseconds */
} __attribute__((aligned(CACHE_LINE)));

struct metrics {
    unsigned workers;
    struct metrics_line *lines;
    uint64_t begun_ns;
    pthread_mutex_t lock; /* routes, sources: builder's and rendering threads; never a worker's */
    struct map routes;
    struct route_metrics *none;
    struct metrics_source *sources;
    const char *stage_names[METRICS_STAGES_MAX];
    unsigned stage_count;
};

void metrics_route_destroy(struct metrics *, struct route_metrics *);

#endif
