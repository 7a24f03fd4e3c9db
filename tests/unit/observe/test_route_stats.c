/* What a route did lately, against a model that remembers every request. Time is an argument. */
#include "unit_test.h"

#include "observe/metrics_private.h"
#include "observe/route_stats.h"

#include "base/random.h"
#include "base/vector.h"

#include <pthread.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000000)
#define WORKERS 3

struct request {
    uint64_t ended_ns, duration_us, bytes_in, bytes_out;
    unsigned class;
    bool upstream_failed;
};

struct fixture {
    struct metrics *metrics;
    struct route_metrics *routes[2]; /* one name, two services */
    struct random random;
    struct vector requests;
    uint64_t now_ns;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->metrics = metrics_create(WORKERS);
    f->routes[0] = metrics_route(f->metrics, SLICE("users"), SLICE("s1"));
    f->routes[1] = metrics_route(f->metrics, SLICE("users"), SLICE("s2"));
    f->now_ns = f->metrics->begun_ns = 7 * SECOND;
    vector_init(&f->requests, sizeof(struct request));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    metrics_destroy(f->metrics);
    vector_release(&f->requests);
    free(f);
    return 0;
}

static void count(struct fixture *f, unsigned worker, unsigned route, const struct request *request)
{
    struct exchange_record record = { .ended_ns = request->ended_ns,
                                      .duration_ns = request->duration_us * 1000 + 999,
                                      .status = (uint16_t)(request->class * 100 + 4),
                                      .method = METHOD_GET,
                                      .bytes_in = request->bytes_in,
                                      .bytes_out = request->bytes_out,
                                      .upstream_failed = request->upstream_failed };
    metrics_count(f->metrics, worker, f->routes[route], &record);
    vector_push_copy(&f->requests, request);
}

static void count_one(struct fixture *f, uint64_t duration_us)
{
    count(f, 0, 0, &(struct request){ .ended_ns = f->now_ns, .duration_us = duration_us, .class = 2, .bytes_in = 1 });
}

/* --- the model --- */

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The step in which the window begins, as the header says it. */
static uint64_t window_begin(uint64_t now_ns, enum stats_window window)
{
    uint64_t step = window == STATS_1M ? 10 * SECOND : 30 * SECOND, steps = window == STATS_1M ? 6 : 10;
    uint64_t running = now_ns / step;
    if (window == STATS_TOTAL || running < steps - 1) return 0;
    return (running - (steps - 1)) * step;
}

static void assert_close(uint64_t told, uint64_t truth)
{
    uint64_t distance = told > truth ? told - truth : truth - told;
    if (distance * 10 > truth) fail_msg("%lu is not within 10 %% of %lu", (unsigned long)told, (unsigned long)truth);
}

static uint64_t at_rank(const uint64_t *sorted, size_t count, size_t permille)
{
    return count ? sorted[(count * permille + 999) / 1000 - 1] : 0;
}

static void assert_window(struct fixture *f, const struct route_stats *stats, enum stats_window window)
{
    uint64_t *sorted = calloc(f->requests.count + 1, sizeof *sorted);
    uint64_t by_class[6] = { 0 }, bytes_in = 0, bytes_out = 0, errors = 0;
    size_t count = 0;
    for (size_t i = 0; i < f->requests.count; i++) {
        const struct request *request = vector_at(&f->requests, i);
        if (request->ended_ns < window_begin(f->now_ns, window)) continue;
        sorted[count++] = request->duration_us;
        by_class[request->class]++;
        bytes_in += request->bytes_in;
        bytes_out += request->bytes_out;
        errors += request->upstream_failed;
    }
    qsort(sorted, count, sizeof *sorted, compare);
    assert_int_equal(stats->windows[window].requests, count);
    for (unsigned i = 0; i < 6; i++) assert_int_equal(stats->windows[window].by_class[i], by_class[i]);
    assert_int_equal(stats->windows[window].bytes_in, bytes_in);
    assert_int_equal(stats->windows[window].bytes_out, bytes_out);
    assert_int_equal(stats->windows[window].upstream_errors, errors);
    assert_close(stats->windows[window].latency_us_p50, at_rank(sorted, count, 500));
    assert_close(stats->windows[window].latency_us_p90, at_rank(sorted, count, 900));
    assert_close(stats->windows[window].latency_us_p99, at_rank(sorted, count, 990));
    assert_close(stats->windows[window].latency_us_max, at_rank(sorted, count, 1000));
    free(sorted);
}

static void assert_model(struct fixture *f)
{
    struct route_stats stats;
    assert_int_equal(metrics_read_route_stats(f->metrics, SLICE("users"), f->now_ns, &stats), f->requests.count > 0);
    for (unsigned window = 0; window < STATS_WINDOWS; window++) assert_window(f, &stats, (enum stats_window)window);
}

/* --- the scale --- */

static void a_bucket_is_told_within_ten_percent_of_all_it_holds(void **state)
{
    struct latency_scale scale;
    latency_scale_init(&scale);
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        uint64_t first = bucket ? latency_ends_us[bucket - 1] + 1 : 0, last = latency_ends_us[bucket];
        assert_true(first <= last);
        assert_close(latency_of_bucket_us(bucket), first);
        assert_close(latency_of_bucket_us(bucket), last);
        assert_int_equal(latency_bucket(&scale, first), bucket);
        assert_int_equal(latency_bucket(&scale, last), bucket);
        assert_int_equal(latency_bucket(&scale, first + (last - first) / 2), bucket);
    }
    assert_int_equal(latency_bucket(&scale, UINT64_MAX), LATENCY_BUCKETS - 1);
    for (uint64_t duration_us = 1; duration_us < 200000; duration_us++) {
        unsigned bucket = latency_bucket(&scale, duration_us);
        assert_true(latency_ends_us[bucket] >= duration_us && latency_ends_us[bucket - 1] < duration_us);
    }
}

static void bounds_of_the_histograms_are_ends_of_buckets(void **state)
{
    struct latency_scale scale;
    latency_scale_init(&scale);
    for (unsigned bound = 0; bound < LATENCY_BOUNDS - 1; bound++) {
        assert_int_equal(scale.bound_at[latency_bucket(&scale, latency_bounds_us[bound])], bound);
        assert_int_equal(scale.bound_at[latency_bucket(&scale, latency_bounds_us[bound] + 1)], bound + 1);
    }
}

/* --- windows --- */

static void nothing_is_known_of_a_route_that_had_no_request(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    assert_model(f);
    assert_false(metrics_read_route_stats(f->metrics, SLICE("strangers"), f->now_ns, &stats));
    assert_int_equal(stats.windows[STATS_TOTAL].requests, 0);
}

static void a_request_is_in_the_minute_for_50_seconds_at_least_and_60_at_most(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    for (unsigned start = 0; start < 30; start++) {
        uint64_t counted_ns = f->now_ns = (1000 * (start + 1) + start) * SECOND;
        count_one(f, 1000);
        for (unsigned age = 0; age <= 310; age++) {
            f->now_ns = counted_ns + age * SECOND;
            metrics_read_route_stats(f->metrics, SLICE("users"), f->now_ns, &stats);
            if (age <= 50) assert_int_equal(stats.windows[STATS_1M].requests, 1);
            if (age >= 60) assert_int_equal(stats.windows[STATS_1M].requests, 0);
            if (age <= 270) assert_int_equal(stats.windows[STATS_5M].requests, 1);
            if (age >= 300) assert_int_equal(stats.windows[STATS_5M].requests, 0);
            assert_int_equal(stats.windows[STATS_1M].requests, stats.windows[STATS_1M].span_ms >= age * 1000);
            assert_int_equal(stats.windows[STATS_5M].requests, stats.windows[STATS_5M].span_ms >= age * 1000);
        }
    }
}

static void spans_begin_with_the_process(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    metrics_read_route_stats(f->metrics, SLICE("users"), 7 * SECOND + SECOND / 2, &stats);
    for (unsigned window = 0; window < STATS_WINDOWS; window++) assert_int_equal(stats.windows[window].span_ms, 500);
    metrics_read_route_stats(f->metrics, SLICE("users"), 1234 * SECOND, &stats);
    assert_int_equal(stats.windows[STATS_1M].span_ms, 54000);
    assert_int_equal(stats.windows[STATS_5M].span_ms, 274000);
    assert_int_equal(stats.windows[STATS_TOTAL].span_ms, 1227000);
}

static void the_total_outlives_every_pause(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 40; i++) {
        f->now_ns += (uint64_t)i * i * SECOND;
        count_one(f, 100 + (uint64_t)i);
        assert_model(f);
    }
}

static void a_clock_that_goes_back_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    f->now_ns = 1000 * SECOND;
    count_one(f, 10);
    f->now_ns = 970 * SECOND; /* a worker whose turn began earlier */
    count_one(f, 10);
    metrics_read_route_stats(f->metrics, SLICE("users"), 960 * SECOND, &stats);
    assert_int_equal(stats.windows[STATS_1M].requests, 2);
    assert_int_equal(stats.windows[STATS_5M].requests, 2);
    assert_int_equal(stats.windows[STATS_TOTAL].requests, 2);
}

/* What a service's latencies may look like. */
static uint64_t some_duration(struct random *random, unsigned form)
{
    switch (form) {
    case 0: return 1000 + random_below(random, 500);
    case 1: return random_below(random, 10) ? 300 + random_below(random, 200) : 900000 + random_below(random, 300000);
    case 2: return random_below(random, UINT64_C(1) << (1 + random_below(random, 26)));
    case 3: return random_below(random, 40);
    default: return latency_ends_us[random_below(random, LATENCY_BUCKETS)] + random_below(random, 2);
    }
}

static uint64_t some_pause(struct random *random)
{
    switch (random_below(random, 12)) {
    case 0: return random_below(random, 400) * SECOND;
    case 1:
    case 2: return random_below(random, 25) * SECOND;
    default: return random_below(random, SECOND / 2);
    }
}

static void follow_schedule(struct fixture *f, unsigned form)
{
    for (int i = 0; i < 400; i++) {
        f->now_ns += some_pause(&f->random);
        for (uint64_t left = random_below(&f->random, 30) ? random_below(&f->random, 9) : 3000; left > 0; left--) {
            struct request request = { .ended_ns = f->now_ns,
                                       .duration_us = some_duration(&f->random, form),
                                       .class = (unsigned)random_below(&f->random, 6),
                                       .bytes_in = random_below(&f->random, 1000),
                                       .bytes_out = random_below(&f->random, UINT64_C(1) << 40),
                                       .upstream_failed = random_below(&f->random, 7) == 0 };
            if (request.duration_us > latency_ends_us[LATENCY_BUCKETS - 1]) request.duration_us--;
            count(f, (unsigned)random_below(&f->random, WORKERS), (unsigned)random_below(&f->random, 2), &request);
        }
        if (i % 4 == 0) assert_model(f);
    }
}

static void random_schedules_agree_with_a_model(void **state)
{
    for (unsigned seed = 0; seed < 10; seed++) {
        void *own;
        set_up(&own);
        struct fixture *f = own;
        random_init_seeded(&f->random, seed);
        follow_schedule(f, seed % 5);
        tear_down(&own);
    }
}

/* --- many --- */

static void bytes_carry(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 70000; i++) count_one(f, 1500);
    assert_model(f);
    f->now_ns += 15 * SECOND;
    for (int i = 0; i < 70000; i++) count_one(f, i % 300 ? 1500 : 20000);
    assert_model(f);
    f->now_ns += 50 * SECOND;
    assert_model(f);
    count_one(f, 5);
    assert_model(f);
}

static const struct route_line *first_line(const struct fixture *f) { return atomic_load(&f->routes[0]->lines[0]); }

static void latencies_of_all_sizes_get_more_rings_and_stay_within_ten_percent(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 30; round++) {
        for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
            for (unsigned i = 0; i < 1 + bucket % 13; i++) count_one(f, latency_ends_us[bucket]);
        }
    }
    assert_int_equal(first_line(f)->rings_used, LATENCY_BUCKETS + LATENCY_BUCKETS / 13 * 5);
    assert_non_null(atomic_load(&first_line(f)->more));
    assert_model(f);
}

static void rings_that_emptied_serve_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 300; i++) count_one(f, latency_ends_us[round * 6 + i % 6]);
        assert_model(f);
        f->now_ns += 400 * SECOND;
    }
    assert_int_equal(first_line(f)->rings_used, LATENCY_RINGS);
    assert_null(atomic_load(&first_line(f)->more));
}

static void counts_stay_exact_where_even_those_are_too_few(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    for (unsigned i = 0; i < LATENCY_BUCKETS * 300; i++) count_one(f, latency_ends_us[i % LATENCY_BUCKETS]);
    assert_int_equal(first_line(f)->rings_used, LATENCY_RINGS + LATENCY_RINGS_MORE);
    metrics_read_route_stats(f->metrics, SLICE("users"), f->now_ns, &stats);
    assert_int_equal(stats.windows[STATS_1M].requests, LATENCY_BUCKETS * 300);
    assert_window(f, &stats, STATS_TOTAL);
    struct window_sums sums[LINE_WINDOWS] = { 0 };
    route_line_read(first_line(f), f->now_ns, sums);
    uint64_t latencies = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) latencies += sums[LINE_LONG].latencies[i];
    assert_int_equal(latencies, LATENCY_BUCKETS * 300); /* in other buckets, but none is lost */
    f->now_ns += 400 * SECOND;
    count_one(f, 1500);
    assert_model(f);
}

static void services_of_one_route_are_told_together_and_forgotten_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct route_stats stats;
    count(f, 1, 0, &(struct request){ .ended_ns = f->now_ns, .class = 2, .duration_us = 10 });
    count(f, 1, 1, &(struct request){ .ended_ns = f->now_ns, .class = 5, .duration_us = 20 });
    assert_model(f);
    for (int i = 0; i < 2; i++) {
        metrics_route_drop(f->metrics, f->routes[i]);
        f->routes[i]->unused_since_ns = clock_monotonic_ns() - UNUSED_KEPT_NS - 1;
        size_t length;
        free(metrics_render(f->metrics, &length));
        assert_int_equal(metrics_read_route_stats(f->metrics, SLICE("users"), f->now_ns, &stats), i == 0);
        assert_int_equal(stats.windows[STATS_TOTAL].by_class[5], i == 0);
        assert_int_equal(stats.windows[STATS_TOTAL].by_class[2], 0);
    }
}

/* --- beside a worker --- */

static _Atomic uint64_t begun, done, worker_now_ns;

static void *count_steadily(void *argument)
{
    struct fixture *f = argument;
    struct random random;
    random_init_seeded(&random, 3);
    uint64_t now_ns = 100 * SECOND;
    for (int i = 0; i < 400000; i++) {
        if (i % 100 == 0) now_ns += random_below(&random, SECOND / 20);
        struct exchange_record record = { .ended_ns = now_ns,
                                          .duration_ns = random_below(&random, UINT64_C(1)
                                                                                   << random_below(&random, 30)),
                                          .status = 200,
                                          .bytes_in = 3 };
        atomic_store(&worker_now_ns, now_ns);
        atomic_fetch_add(&begun, 1);
        metrics_count(f->metrics, 0, f->routes[0], &record);
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

/* While steps turn and bytes carry, a reader sees all that was counted before it began and nothing twice. */
static void a_reader_beside_the_worker_sees_whole_sums(void **state)
{
    struct fixture *f = *state;
    pthread_t worker;
    uint64_t before, after = 0, lowest = 0;
    assert_int_equal(pthread_create(&worker, NULL, count_steadily, f), 0);
    while (after < 400000) {
        struct window_sums sums[LINE_WINDOWS] = { 0 };
        const struct route_line *line = atomic_load(&f->routes[0]->lines[0]);
        before = atomic_load(&done);
        if (line) route_line_read(line, atomic_load(&worker_now_ns), sums);
        after = atomic_load(&begun);
        uint64_t latencies[LINE_WINDOWS] = { 0 };
        for (unsigned i = 0; i < LINE_WINDOWS * LATENCY_BUCKETS; i++)
            latencies[i % LINE_WINDOWS] += sums[i % LINE_WINDOWS].latencies[i / LINE_WINDOWS];
        if (!line) continue;
        assert_in_range(sums[LINE_TOTAL].by_class[2], before, after);
        assert_in_range(latencies[LINE_TOTAL], before, after);
        assert_in_range(sums[LINE_TOTAL].bytes_in, before * 3, after * 3);
        /* A window is a part of the total, the same by counts and by latencies but for what was counted meanwhile. */
        for (unsigned window = 0; window < LINE_TOTAL; window++) {
            uint64_t counted = sums[window].by_class[2], told = latencies[window];
            assert_true((counted > told ? counted - told : told - counted) <= after - before);
            assert_true(counted <= after && (counted > 0 || before == 0));
        }
        assert_true(sums[LINE_TOTAL].by_class[2] >= lowest);
        lowest = sums[LINE_TOTAL].by_class[2];
    }
    pthread_join(worker, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_bucket_is_told_within_ten_percent_of_all_it_holds),
        TEST(bounds_of_the_histograms_are_ends_of_buckets),
        TEST(nothing_is_known_of_a_route_that_had_no_request),
        TEST(a_request_is_in_the_minute_for_50_seconds_at_least_and_60_at_most),
        TEST(spans_begin_with_the_process),
        TEST(the_total_outlives_every_pause),
        TEST(a_clock_that_goes_back_loses_nothing),
        TEST(random_schedules_agree_with_a_model),
        TEST(bytes_carry),
        TEST(latencies_of_all_sizes_get_more_rings_and_stay_within_ten_percent),
        TEST(rings_that_emptied_serve_again),
        TEST(counts_stay_exact_where_even_those_are_too_few),
        TEST(services_of_one_route_are_told_together_and_forgotten_one_by_one),
        TEST(a_reader_beside_the_worker_sees_whole_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
