/* observe/metrics.h: figures of the gateway, added to without locks on each worker's own lines and summed when read.
 *
 * Names and labels: DESIGN 11, Metrics. A path is never a label. Per route and worker a block is made on the route's first request
 * (counters by method and status class, two latency histograms); route metrics are found by identity (route name, service
 * name) and survive reloads; those not used for an hour and without a route are dropped from the exposition. */
#ifndef SLUICE_OBSERVE_METRICS_H
#define SLUICE_OBSERVE_METRICS_H

#include "observe/record.h"

#include <stdatomic.h>

struct metrics;
struct route_metrics;

struct metrics *metrics_create(unsigned workers);
void metrics_destroy(struct metrics *);

/* Builder's thread. One reference; the same identity gives the same object. */
struct route_metrics *metrics_route(struct metrics *, struct slice route_name, struct slice service_name);
void metrics_route_drop(struct metrics *, struct route_metrics *);

/* A worker's thread; `route` NULL: none matched. Never blocks; may allocate once a route and worker (on failure the request is
 * counted under no route). */
void metrics_count(struct metrics *, unsigned worker, struct route_metrics *route, const struct exchange_record *);
/* sluice_errors_total{type}: a static string; beyond 63 different ones they count as "other". */
void metrics_count_error(struct metrics *, unsigned worker, const char *type);

/* sluice_websocket_closes_total{side,code}: codes that RFC 6455 and its registry don't know count as "other". */
void metrics_count_websocket_close(struct metrics *, unsigned worker, enum websocket_closer, unsigned code);

/* What became of the body of an answer that a compression policy has seen. */
enum compression_outcome {
    /* It is compressed in this coding, */
    COMPRESSED_GZIP,
    COMPRESSED_BROTLI,
    COMPRESSED_ZSTD,
    COMPRESSED_CODINGS,
    /* or stays as it is, because */
    UNCOMPRESSED_PARTIAL = COMPRESSED_CODINGS, /* it is a part of the content, or its status has none */
    UNCOMPRESSED_ENCODED,                      /* the service has compressed it */
    UNCOMPRESSED_NO_TRANSFORM,                 /* Cache-Control says so */
    UNCOMPRESSED_DIGEST,                       /* a digest of its bytes goes along */
    UNCOMPRESSED_TYPE,                         /* bodies of its media type are not compressed */
    UNCOMPRESSED_SHORT,                        /* it isn't worth it */
    UNCOMPRESSED_NOT_ACCEPTED,                 /* the client wants none of the codings */
    UNCOMPRESSED_SECRET,                       /* its length could give a secret away */
    UNCOMPRESSED_MEMORY,                       /* memory is short */
    COMPRESSION_OUTCOME_COUNT
};

/* sluice_compression_answers_total{outcome}. */
void metrics_count_compression(struct metrics *, unsigned worker, enum compression_outcome);
/* sluice_compression_input_bytes_total{coding} and …output…: bytes as they pass. `coding` is below COMPRESSED_CODINGS. */
void metrics_count_compressed(struct metrics *, unsigned worker, enum compression_outcome coding, size_t input,
                              size_t output);

/* Where others report their own figures: each source writes complete lines when asked, on the thread that renders. */
struct metrics_text;
void metrics_text_line(struct metrics_text *, const char *name, const char *labels_or_null, uint64_t value);
void metrics_text_line_signed(struct metrics_text *, const char *name, const char *labels_or_null, int64_t value);
void metrics_text_head(struct metrics_text *, const char *name, const char *type, const char *help);

struct metrics_source {
    void (*write)(struct metrics_text *, void *argument);
    /* Instead of `write`, where the lines may be thousands: writes some KiB of them and moves *place, which is 0 at first, so that it can go on
     * there. False: that was all. Others may ask meanwhile, each with a place of its own. */
    bool (*write_some)(struct metrics_text *, void *argument, uint64_t *place);
    void *argument;
    struct metrics_source *next; /* internal */
};
void metrics_add_source(struct metrics *, struct metrics_source *);

/* Renders Prometheus text format 0.0.4 into a malloc'ed buffer the caller frees; *length without NUL. Any thread but a worker's. */
char *metrics_render(struct metrics *, size_t *length);

/* Sampled stage timings (1 request in 64): sluice_stage_duration_seconds{stage}. `stage` is the exchange's step word. */
enum { METRICS_STAGES_MAX = 16 };
void metrics_stage(struct metrics *, unsigned worker, unsigned stage, uint64_t nanoseconds);
/* The words of the stages, in order; called once at start. */
void metrics_stage_names(struct metrics *, const char *const *names, unsigned count);

#endif
