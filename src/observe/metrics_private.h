/* observe/metrics_private.h: the metrics' own lines, shared by counting and rendering. */
#ifndef SLUICE_OBSERVE_METRICS_PRIVATE_H
#define SLUICE_OBSERVE_METRICS_PRIVATE_H

#include "base/clock.h"
#include "base/map.h"
#include "base/memory.h"
#include "observe/metrics.h"
#include "observe/route_line.h"
#include "shared/histogram.h"

#include <pthread.h>

#define ERROR_TYPES_MAX 64 /* the last one is "other" */
#define UNUSED_KEPT_NS (UINT64_C(3600) * 1000000000)

/* Under metrics->lock, but for the names, which stay, and the lines. */
struct route_metrics {
    char *route, *service;
    struct route_metrics *next, *previous; /* of all, the oldest first */
    struct route_metrics *next_of_name;    /* with the same route name and another service */
    uint32_t references;
    uint32_t readers;                     /* that stand at it */
    uint64_t unused_since_ns;             /* of the last drop to no reference */
    _Atomic(struct route_line *) lines[]; /* made at the worker's first request of the route */
};

struct error_count {
    _Atomic(const char *) type;
    struct counter count;
};

#define WEBSOCKET_CODES 15 /* the last one is "other" */
extern const uint16_t websocket_codes[WEBSOCKET_CODES - 1];

struct compression_counts {
    struct counter answers[COMPRESSION_OUTCOME_COUNT];
    struct counter input_bytes[COMPRESSED_CODINGS], output_bytes[COMPRESSED_CODINGS];
};

struct metrics_line {
    struct error_count errors[ERROR_TYPES_MAX];
    struct counter websocket_closes[WEBSOCKET_CLOSER_COUNT][WEBSOCKET_CODES];
    struct compression_counts compression;
    struct histogram stages[METRICS_STAGES_MAX]; /* nanoseconds */
} __attribute__((aligned(CACHE_LINE)));

struct metrics {
    unsigned workers;
    struct metrics_line *lines;
    uint64_t begun_ns;
    pthread_mutex_t lock; /* routes, sources: builder's and rendering threads; never a worker's */
    struct map routes;    /* by route and service */
    struct map names;     /* by route: the first of its `next_of_name` list */
    struct route_metrics *first, *last;
    struct route_metrics *none;
    struct metrics_source *sources;
    const char *stage_names[METRICS_STAGES_MAX];
    unsigned stage_count;
    struct latency_scale scale;
};

/* The routes after `route` (NULL: from the first on), up to `limit`, each with a reader more; the ones that nobody used for an hour
 * are forgotten on the way. `route` has a reader fewer. */
size_t metrics_next_routes(struct metrics *, struct route_metrics *after, struct route_metrics **into, size_t limit);
/* For a reader that stops at `route`. */
void metrics_leave_route(struct metrics *, struct route_metrics *);

/* --- text --- */

struct metrics_text {
    char *bytes;
    size_t length, capacity;
};

void text_put(struct metrics_text *, struct slice);
void text_put_unsigned(struct metrics_text *, uint64_t value);
/* value / 10^places: "0.001500". */
void text_put_decimal(struct metrics_text *, uint64_t value, unsigned places);
/* A label's value: backslash, quote and line break are escaped. */
void text_put_label_value(struct metrics_text *, const char *value);

#define HISTOGRAM_BOUND(text)                \
    {                                        \
        text "\"} ", sizeof(text "\"} ") - 1 \
    }
#define HISTOGRAM_BOUND_BYTES 16 /* at most */

/* A histogram's lines: counts up to and including each bound. */
struct histogram_form {
    const char *name;
    const struct slice *bounds; /* in seconds, by HISTOGRAM_BOUND; the last one is "+Inf" */
    size_t bound_count;
    unsigned places; /* decimal places of the sum's unit */
};
void text_put_histogram(struct metrics_text *, const struct histogram_form *, struct slice labels,
                        const uint64_t *cumulative, uint64_t sum);

/* The parts of the text that are not about routes (metrics_figures.c). */
void text_put_errors(struct metrics_text *, const struct metrics *);
void text_put_websocket_closes(struct metrics_text *, const struct metrics *);
void text_put_compression(struct metrics_text *, const struct metrics *);
void text_put_stages(struct metrics_text *, const struct metrics *);
void text_put_process(struct metrics_text *, const struct metrics *);

#endif
