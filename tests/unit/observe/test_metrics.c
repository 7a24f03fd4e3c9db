/* The figures: what is counted by whom, and the text that Prometheus reads, byte for byte. */
#include "unit_test.h"

#include "observe/metrics_private.h"

#include <stdlib.h>

static struct metrics *metrics;

static int set_up(void **state)
{
    metrics = metrics_create(2);
    return 0;
}

static int tear_down(void **state)
{
    metrics_destroy(metrics);
    return 0;
}

static void count(unsigned worker, struct route_metrics *route, enum method method, unsigned status,
                  uint64_t duration_us)
{
    struct exchange_record record = { .method = method, .status = (uint16_t)status, .duration_ns = duration_us * 1000 };
    metrics_count(metrics, worker, route, &record);
}

/* The part of the text that belongs to one name, with its HELP and TYPE; free it. */
static char *part(const char *name)
{
    size_t length;
    char *text = metrics_render(metrics, &length), head[128];
    assert_int_equal(text[length - 1], '\n');
    snprintf(head, sizeof head, "# HELP %s ", name);
    char *whole = memory_copy_slice(slice_of(text, length));
    free(text);
    char *begin = strstr(whole, head);
    assert_non_null(begin);
    char *end = strstr(begin + 1, "# HELP ");
    char *found = memory_copy_slice(slice_of(begin, end ? (size_t)(end - begin) : strlen(begin)));
    free(whole);
    return found;
}

#define PART_IS(name, ...)                       \
    do {                                         \
        char *found = part(name);                \
        assert_string_equal(found, __VA_ARGS__); \
        free(found);                             \
    } while (0)

#define REQUESTS_HEAD                                                                     \
    "# HELP sluice_requests_total Requests by route, service, method and status class.\n" \
    "# TYPE sluice_requests_total counter\n"

static void requests_of_all_workers_are_summed(void **state)
{
    struct route_metrics *route = metrics_route(metrics, SLICE("users"), SLICE("user-service"));
    count(0, route, METHOD_GET, 200, 10);
    count(1, route, METHOD_GET, 204, 10);
    count(1, route, METHOD_GET, 503, 10);
    count(0, route, METHOD_POST, 201, 10);
    PART_IS("sluice_requests_total", REQUESTS_HEAD
            "sluice_requests_total{route=\"users\",service=\"user-service\",method=\"GET\",status_class=\"2xx\"} 2\n"
            "sluice_requests_total{route=\"users\",service=\"user-service\",method=\"GET\",status_class=\"5xx\"} 1\n"
            "sluice_requests_total{route=\"users\",service=\"user-service\",method=\"POST\",status_class=\"2xx\"} 1\n");
    metrics_route_drop(metrics, route);
}

static void a_request_without_route_and_an_unknown_method_have_a_line_too(void **state)
{
    count(0, NULL, METHOD_OTHER, 404, 1);
    count(0, NULL, METHOD_GET, 0, 1);
    count(0, NULL, METHOD_GET, 999, 1);
    char *found = part("sluice_requests_total");
    assert_non_null(strstr(found, "{route=\"\",service=\"\",method=\"OTHER\",status_class=\"4xx\"} 1\n"));
    assert_non_null(strstr(found, "{route=\"\",service=\"\",method=\"GET\",status_class=\"0xx\"} 2\n"));
    free(found);
}

static void an_identity_keeps_its_counts_while_it_comes_and_goes(void **state)
{
    struct route_metrics *route = metrics_route(metrics, SLICE("r"), SLICE("s"));
    count(0, route, METHOD_GET, 200, 1);
    assert_ptr_equal(metrics_route(metrics, SLICE("r"), SLICE("s")), route);
    assert_ptr_not_equal(metrics_route(metrics, SLICE("r"), SLICE("t")), route);
    assert_ptr_not_equal(metrics_route(metrics, SLICE("r\ns"), SLICE("")), route);
    metrics_route_drop(metrics, route);
    metrics_route_drop(metrics, route);
    char *found = part("sluice_requests_total");
    assert_non_null(strstr(found, "route=\"r\",service=\"s\",method=\"GET\",status_class=\"2xx\"} 1\n"));
    free(found);
    assert_ptr_equal(metrics_route(metrics, SLICE("r"), SLICE("s")), route);
}

static void what_nobody_used_for_an_hour_goes(void **state)
{
    enum { ROUTES = 500 };
    struct route_metrics *routes[ROUTES];
    for (int i = 0; i < ROUTES; i++) {
        char name[16];
        routes[i] = metrics_route(metrics, slice_of(name, (size_t)snprintf(name, sizeof name, "r%d", i)), SLICE("s"));
        count(0, routes[i], METHOD_GET, 200, 1);
        if (i % 2) metrics_route_drop(metrics, routes[i]);
        if (i % 4 == 1) routes[i]->unused_since_ns -= UNUSED_KEPT_NS + 1;
    }
    free(part("sluice_requests_total"));
    assert_int_equal(metrics->routes.count, ROUTES - ROUTES / 4 + 1); /* and the one of no route */
    assert_ptr_equal(metrics_route(metrics, SLICE("r3"), SLICE("s")), routes[3]);
}

static void names_are_escaped(void **state)
{
    count(0, metrics_route(metrics, SLICE("a\"b\\c"), SLICE("s\"")), METHOD_GET, 200, 1);
    char *found = part("sluice_requests_total");
    assert_non_null(strstr(found, "{route=\"a\\\"b\\\\c\",service=\"s\\\"\",method=\"GET\""));
    free(found);
}

/* --- histograms --- */

#define BUCKET(bound, value) \
    "sluice_request_duration_seconds_bucket{route=\"r\",service=\"s\",le=\"" bound "\"} " value "\n"

static void durations_fill_cumulative_buckets(void **state)
{
    struct route_metrics *route = metrics_route(metrics, SLICE("r"), SLICE("s"));
    count(0, route, METHOD_GET, 200, 50);
    count(0, route, METHOD_GET, 200, 900);
    count(1, route, METHOD_GET, 200, 40000);
    count(1, route, METHOD_GET, 200, 100000000);
    PART_IS(
        "sluice_request_duration_seconds",
        "# HELP sluice_request_duration_seconds From a complete request head to the last byte handed to the kernel.\n"
        "# TYPE sluice_request_duration_seconds histogram\n" BUCKET("0.0001", "1") BUCKET("0.00025", "1")
            BUCKET("0.0005", "1") BUCKET("0.001", "2") BUCKET("0.0025", "2") BUCKET("0.005", "2") BUCKET("0.01", "2")
                BUCKET("0.025", "2") BUCKET("0.05", "3") BUCKET("0.1", "3") BUCKET("0.25", "3") BUCKET("0.5", "3")
                    BUCKET("1", "3") BUCKET("2.5", "3") BUCKET("5", "3") BUCKET("10", "3") BUCKET("30", "3") BUCKET(
                        "+Inf", "4") "sluice_request_duration_seconds_sum{route=\"r\",service=\"s\"} 100.040950\n"
                                     "sluice_request_duration_seconds_count{route=\"r\",service=\"s\"} 4\n");
    metrics_route_drop(metrics, route);
}

static void a_request_without_a_call_has_no_upstream_duration(void **state)
{
    struct route_metrics *route = metrics_route(metrics, SLICE("r"), SLICE("s"));
    struct exchange_record record = { .status = 200, .duration_ns = 2000000 };
    metrics_count(metrics, 0, route, &record);
    PART_IS(
        "sluice_upstream_duration_seconds",
        "# HELP sluice_upstream_duration_seconds From the start of a call to its response head, all tries together.\n"
        "# TYPE sluice_upstream_duration_seconds histogram\n");
    record.upstream_ns = 1000000;
    metrics_count(metrics, 0, route, &record);
    char *found = part("sluice_upstream_duration_seconds");
    assert_non_null(strstr(found, "sluice_upstream_duration_seconds_count{route=\"r\",service=\"s\"} 1\n"));
    free(found);
    metrics_route_drop(metrics, route);
}

static void stages_are_shown_by_their_words(void **state)
{
    static const char *const words[] = { "edge", "route" };
    metrics_stage_names(metrics, words, 2);
    metrics_stage(metrics, 0, 1, 300);
    metrics_stage(metrics, 1, 1, 700);
    char *found = part("sluice_stage_duration_seconds");
    assert_non_null(strstr(found, "sluice_stage_duration_seconds_count{stage=\"route\"} 2\n"));
    assert_non_null(strstr(found, "sluice_stage_duration_seconds_sum{stage=\"route\"} 0.000001000\n"));
    assert_null(strstr(found, "edge"));
    free(found);
}

/* --- errors --- */

static void errors_are_summed_by_what_they_are_called(void **state)
{
    char same[] = "timeout"; /* another address, the same word */
    metrics_count_error(metrics, 0, "timeout");
    metrics_count_error(metrics, 0, "reset");
    metrics_count_error(metrics, 1, same);
    metrics_count_error(metrics, 1, same);
    PART_IS("sluice_errors_total",
            "# HELP sluice_errors_total Requests that the gateway itself refused or failed, by reason.\n"
            "# TYPE sluice_errors_total counter\n"
            "sluice_errors_total{type=\"timeout\"} 3\n"
            "sluice_errors_total{type=\"reset\"} 1\n");
}

static void more_kinds_of_errors_than_places_are_counted_as_other(void **state)
{
    static char types[ERROR_TYPES_MAX + 10][16];
    for (int i = 0; i < ERROR_TYPES_MAX + 10; i++) {
        snprintf(types[i], sizeof types[i], "e%d", i);
        metrics_count_error(metrics, 0, types[i]);
        metrics_count_error(metrics, 0, types[i]);
    }
    char *found = part("sluice_errors_total");
    assert_non_null(strstr(found, "{type=\"e0\"} 2\n"));
    assert_non_null(strstr(found, "{type=\"other\"} 22\n"));
    free(found);
}

/* --- compression --- */

static void compressed_bodies_are_counted_by_what_became_of_them(void **state)
{
    metrics_count_compression(metrics, 0, COMPRESSED_BROTLI);
    metrics_count_compression(metrics, 1, COMPRESSED_BROTLI);
    metrics_count_compression(metrics, 1, UNCOMPRESSED_PARTIAL);
    metrics_count_compression(metrics, 0, UNCOMPRESSED_MEMORY);
    metrics_count_compressed(metrics, 0, COMPRESSED_ZSTD, 1000, 0);
    metrics_count_compressed(metrics, 1, COMPRESSED_ZSTD, 24, 100);
    PART_IS("sluice_compression_answers_total",
            "# HELP sluice_compression_answers_total Bodies that the policy compression has seen, by coding, or by why "
            "they were left as they were.\n"
            "# TYPE sluice_compression_answers_total counter\n"
            "sluice_compression_answers_total{outcome=\"br\"} 2\n"
            "sluice_compression_answers_total{outcome=\"partial\"} 1\n"
            "sluice_compression_answers_total{outcome=\"memory\"} 1\n");
    PART_IS("sluice_compression_input_bytes_total",
            "# HELP sluice_compression_input_bytes_total Bytes of bodies before they were compressed.\n"
            "# TYPE sluice_compression_input_bytes_total counter\n"
            "sluice_compression_input_bytes_total{coding=\"zstd\"} 1024\n");
    PART_IS("sluice_compression_output_bytes_total",
            "# HELP sluice_compression_output_bytes_total Bytes of bodies as they were compressed.\n"
            "# TYPE sluice_compression_output_bytes_total counter\n"
            "sluice_compression_output_bytes_total{coding=\"zstd\"} 100\n");
}

/* --- the rest --- */

static void write_two(struct metrics_text *text, void *argument)
{
    metrics_text_head(text, "test_gauge", "gauge", "A test's own.");
    metrics_text_line_signed(text, "test_gauge", NULL, INT64_MIN);
    metrics_text_line(text, "test_gauge", "a=\"b\"", UINT64_MAX);
}

static void sources_write_lines_of_their_own(void **state)
{
    struct metrics_source source = { .write = write_two };
    metrics_add_source(metrics, &source);
    PART_IS("test_gauge", "# HELP test_gauge A test's own.\n# TYPE test_gauge gauge\ntest_gauge -9223372036854775808\n"
                          "test_gauge{a=\"b\"} 18446744073709551615\n");
}

static void the_process_is_told_of(void **state)
{
    char *found = part("process_resident_memory_bytes");
    assert_true(strtoull(strstr(found, "\nprocess_resident_memory_bytes ") + 31, NULL, 10) > 100000);
    free(found);
    free(part("process_cpu_seconds_total"));
    free(part("sluice_uptime_seconds"));
}

static void *count_steadily(void *argument)
{
    struct route_metrics *route = argument;
    for (int i = 0; i < 20000; i++) {
        count(1, i % 2 ? route : NULL, METHOD_GET, 200, (uint64_t)i);
        metrics_count_error(metrics, 1, i % 3 ? "a" : "b");
    }
    return NULL;
}

static void rendering_beside_a_counting_worker_sees_growth(void **state)
{
    pthread_t worker;
    struct route_metrics *route = metrics_route(metrics, SLICE("r"), SLICE("s"));
    assert_int_equal(pthread_create(&worker, NULL, count_steadily, route), 0);
    for (int i = 0; i < 50; i++) {
        metrics_route_drop(metrics, metrics_route(metrics, SLICE("comes"), SLICE("goes")));
        free(part("sluice_requests_total"));
    }
    pthread_join(worker, NULL);
    char *found = part("sluice_requests_total");
    assert_non_null(strstr(found, "route=\"r\",service=\"s\",method=\"GET\",status_class=\"2xx\"} 10000\n"));
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(requests_of_all_workers_are_summed),
        TEST(a_request_without_route_and_an_unknown_method_have_a_line_too),
        TEST(an_identity_keeps_its_counts_while_it_comes_and_goes),
        TEST(what_nobody_used_for_an_hour_goes),
        TEST(names_are_escaped),
        TEST(durations_fill_cumulative_buckets),
        TEST(a_request_without_a_call_has_no_upstream_duration),
        TEST(stages_are_shown_by_their_words),
        TEST(errors_are_summed_by_what_they_are_called),
        TEST(more_kinds_of_errors_than_places_are_counted_as_other),
        TEST(compressed_bodies_are_counted_by_what_became_of_them),
        TEST(sources_write_lines_of_their_own),
        TEST(the_process_is_told_of),
        TEST(rendering_beside_a_counting_worker_sees_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
