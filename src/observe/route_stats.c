#include "observe/route_stats.h"

#include "observe/metrics_private.h"

_Static_assert(STATUS_CLASSES == 6 && (int)STATS_WINDOWS == (int)LINE_WINDOWS && (int)STATS_TOTAL == (int)LINE_TOTAL,
               "windows and classes are a line's");

static void write_window(struct route_stats *stats, enum stats_window window, const struct window_sums *sums)
{
    stats->windows[window].requests = 0;
    for (unsigned i = 0; i < STATUS_CLASSES; i++) {
        stats->windows[window].by_class[i] = sums->by_class[i];
        stats->windows[window].requests += sums->by_class[i];
    }
    stats->windows[window].bytes_in = sums->bytes_in;
    stats->windows[window].bytes_out = sums->bytes_out;
    stats->windows[window].upstream_errors = sums->upstream_errors;
    stats->windows[window].latency_us_p50 = latency_quantile_us(sums->latencies, 500);
    stats->windows[window].latency_us_p90 = latency_quantile_us(sums->latencies, 900);
    stats->windows[window].latency_us_p99 = latency_quantile_us(sums->latencies, 990);
    stats->windows[window].latency_us_max = latency_quantile_us(sums->latencies, 1000);
}

/* Under the lock, so that none of them is forgotten. False: there was no request. */
static bool sum_up(struct metrics *metrics, struct slice name, uint64_t now_ns, struct window_sums sums[LINE_WINDOWS])
{
    bool known = false;
    pthread_mutex_lock(&metrics->lock);
    for (const struct route_metrics *route = map_find(&metrics->names, name); route; route = route->next_of_name) {
        for (unsigned i = 0; i < metrics->workers; i++) {
            const struct route_line *line = atomic_load_explicit(&route->lines[i], memory_order_acquire);
            if (!line) continue;
            known = true;
            route_line_read(line, now_ns, sums);
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    return known;
}

bool metrics_read_route_stats(struct metrics *metrics, struct slice route_name, uint64_t now_ns,
                              struct route_stats *stats)
{
    struct window_sums sums[LINE_WINDOWS] = { 0 };
    bool known = sum_up(metrics, route_name, now_ns, sums);
    uint64_t age_ns = now_ns > metrics->begun_ns ? now_ns - metrics->begun_ns : 0;
    for (unsigned window = 0; window < STATS_WINDOWS; window++) {
        uint64_t span_ns = route_line_span_ns((enum line_window)window, now_ns);
        write_window(stats, (enum stats_window)window, &sums[window]);
        stats->windows[window].span_ms = (span_ns < age_ns ? span_ns : age_ns) / 1000000;
    }
    return known;
}
