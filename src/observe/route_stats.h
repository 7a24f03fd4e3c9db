/* observe/route_stats.h: what one route did lately, for GET /admin/routes/{routeId}/stats: over 1 minute, over 5 minutes, in all.
 *
 * Counted where metrics_count() counts, on the worker's own line of the route (observe/route_line.h): at most 4 KiB a route and worker, made
 * on the route's first request.
 *
 * What is exact: every count, for the time that the window looks back over (`span_ms`). That begins with a step of 10 s, of the 5 minutes
 * with one of 30 s, so the minute's is 50 to 60 s and the 5 minutes' 270 to 300 s; what happens now is in at once. Quantiles are within 10 %
 * of the true ones (up to 2.8 hours), by ranks that are exact. A request that is counted while somebody reads may be in some of the numbers
 * and not yet in others; of all that were counted before none is missing, none is there twice. Any thread but a worker's may read. */
#ifndef SLUICE_OBSERVE_ROUTE_STATS_H
#define SLUICE_OBSERVE_ROUTE_STATS_H

#include "observe/metrics.h"

enum stats_window { STATS_1M, STATS_5M, STATS_TOTAL, STATS_WINDOWS };

struct route_stats {
    struct {
        uint64_t span_ms;               /* up to now; never more than the process is old */
        uint64_t requests, by_class[6]; /* by_class[0]: no answer; 1: 1xx ... */
        uint64_t bytes_in, bytes_out, upstream_errors;
        uint64_t latency_us_p50, latency_us_p90, latency_us_p99, latency_us_max; /* 0 where there were no requests */
    } windows[STATS_WINDOWS];
};

/* By the route's name, summed over the services it ended in. now_ns: the monotonic clock's, as of loops. False: nothing is known of it
 * (all zero but for the spans). */
bool metrics_read_route_stats(struct metrics *, struct slice route_name, uint64_t now_ns, struct route_stats *);

#endif
