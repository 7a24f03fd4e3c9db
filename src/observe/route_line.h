/* observe/route_line.h: what one worker knows of one route, in 4 KiB: all that metrics show, and what happened in the last minutes.
 *
 * Written by its worker alone, by plain loads and stores; any thread reads. A step is 10 s, three of them are a long step. Counts of the step
 * that runs stand in `now`; when it ends they move into the rings: 6 steps make a minute, 10 long steps make five. Latencies are counted
 * straight into the rings, and since most routes only ever meet some thirty of 122 buckets, rings of latencies are made as buckets turn up:
 *
 *   ring_of[bucket] ─► ring: 6 + 10 bytes, one for each step and long step
 *                        └─ above ─► ring of the next higher digit, to the base of 256, made when a byte has to carry
 *
 * 86 rings are in the line itself, 94 more are allocated for a route that needs them; rings that hold nothing any more serve again. When all
 * are in use, or memory is short, a latency is counted in the nearest bucket that has room: counts stay exact, quantiles lose. No load
 * that was measured comes near that: it takes latencies spread over more than seven powers of ten, each at more than ten a second.
 *
 * A reader must not see a carry or the turn of a step half-way: `version` is odd while one is under way, and a reader that met one reads
 * again. Plain counting changes no version: a request that is counted while somebody reads is in some of the sums and not yet in others. */
#ifndef SLUICE_OBSERVE_ROUTE_LINE_H
#define SLUICE_OBSERVE_ROUTE_LINE_H

#include "http/method.h"
#include "observe/latency_scale.h"
#include "observe/record.h"
#include "shared/counter.h"

#define STATUS_CLASSES 6 /* by the first digit; 0: no answer or an odd one */
#define STEP_NS UINT64_C(10000000000)
#define STEPS_A_LONG_STEP 3
#define SHORT_STEPS 6
#define LONG_STEPS 10

#define LATENCY_RINGS 86
#define LATENCY_RINGS_MORE 94

struct step_counts {
    _Atomic uint32_t by_class[STATUS_CLASSES], upstream_errors;
    _Atomic uint64_t bytes_in, bytes_out;
};

struct latency_ring {
    _Atomic uint8_t counts[SHORT_STEPS + LONG_STEPS];
};

struct more_latency_rings {
    struct latency_ring rings[LATENCY_RINGS_MORE];
    _Atomic uint8_t above[LATENCY_RINGS_MORE];
};

struct route_line {
    /* One cache line for what every request touches. */
    _Atomic uint32_t version;
    _Atomic uint32_t step; /* that `now` counts; 0: none yet */
    _Atomic uint32_t by_class[STATUS_CLASSES], upstream_errors;
    uint8_t short_at, long_at; /* where `step` stands in the rings */
    uint8_t rings_used;        /* so many have been in use */
    uint8_t free_ring;         /* head of those that serve again, linked by `above`; 0: none */
    struct counter bytes_in, bytes_out;
    struct counter duration_sum_us; /* of all time */

    _Atomic uint8_t ring_of[LATENCY_BUCKETS]; /* 0: none */
    uint32_t swept_step;                      /* in which rings were looked through for empty ones */
    /* Bits: what is not 0 in `requests` and `durations`; a scrape looks at nothing else. */
    _Atomic uint64_t requests_used, durations_used[2];
    struct counter requests[METHOD_COUNT * STATUS_CLASSES]; /* by method, then class */
    struct counter durations[LATENCY_BUCKETS];
    struct counter upstream[LATENCY_BOUNDS], upstream_sum_us;
    struct counter total_bytes_in, total_bytes_out, total_upstream_errors; /* without those of `step` */
    struct step_counts short_steps[SHORT_STEPS], long_steps[LONG_STEPS];
    _Atomic(struct more_latency_rings *) more;
    struct latency_ring rings[LATENCY_RINGS];
    _Atomic uint8_t above[LATENCY_RINGS];
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(METHOD_COUNT *STATUS_CLASSES <= 64 && LATENCY_BUCKETS <= 128, "there is a bit for each");
_Static_assert(sizeof(struct route_line) <= 4096, "what a route keeps with each worker");
_Static_assert(sizeof(struct route_line) - sizeof(struct counter[METHOD_COUNT * STATUS_CLASSES]) -
                       sizeof(struct counter[LATENCY_BUCKETS + LATENCY_BOUNDS + 1]) +
                       sizeof(struct more_latency_rings) <=
                   4096,
               "what it keeps for its statistics at most");

/* NULL: no memory. */
struct route_line *route_line_create(void);
void route_line_destroy(struct route_line *);

/* Its worker's thread. now_ns: monotonic; going back counts as standing still. */
void route_line_count(struct route_line *, const struct latency_scale *, const struct exchange_record *,
                      uint64_t now_ns);

/* Sums in one thread's hands, which route_line_read() adds to. */
struct window_sums {
    uint64_t by_class[STATUS_CLASSES], upstream_errors, bytes_in, bytes_out;
    uint64_t latencies[LATENCY_BUCKETS];
};

enum line_window { LINE_SHORT, LINE_LONG, LINE_TOTAL, LINE_WINDOWS };

/* Any thread. */
void route_line_read(const struct route_line *, uint64_t now_ns, struct window_sums sums[LINE_WINDOWS]);

/* How much time before now_ns the window looks back over. */
uint64_t route_line_span_ns(enum line_window, uint64_t now_ns);

#endif
