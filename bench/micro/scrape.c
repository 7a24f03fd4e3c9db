/* What a scrape costs: nanoseconds a line of GET /admin/metrics, for 10,000 routes that were in use on 4 workers.
 *
 *   bench/micro/scrape [--json]
 *
 * The promise: at most 100 ns a line. */
#include "observe/metrics_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUTES = 10000, WORKERS = 4, ROUNDS = 7, PIECE_BYTES = 65536 };

static uint64_t now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void use_routes(struct metrics *metrics)
{
    for (unsigned i = 0; i < ROUTES; i++) {
        char name[32];
        size_t length = (size_t)snprintf(name, sizeof name, "some-route-%u", i);
        struct route_metrics *route = metrics_route(metrics, slice_of(name, length), SLICE("some-service"));
        for (unsigned j = 0; j < WORKERS * 8; j++) {
            struct exchange_record record = { .status = j % 5 ? 200 : 404,
                                              .method = j % 3 ? METHOD_GET : METHOD_POST,
                                              .duration_ns = 1000000ull << (j % 7),
                                              .upstream_ns = 900000ull << (j % 7) };
            metrics_count(metrics, j % WORKERS, route, &record);
        }
    }
}

static size_t lines_in(const char *text, size_t length)
{
    size_t lines = 0;
    for (const char *at = text; (at = memchr(at, '\n', (size_t)(text + length - at))); at++) lines++;
    return lines;
}

static double time_scrape(struct metrics *metrics, size_t *lines, size_t *bytes)
{
    static char piece[PIECE_BYTES];
    uint64_t spent = 0, begin;
    size_t got;
    struct metrics_reader *reader = metrics_reader_create(metrics);
    *lines = *bytes = 0;
    do {
        begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        got = metrics_reader_next(reader, piece, sizeof piece);
        spent += now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        *lines += lines_in(piece, got);
        *bytes += got;
    } while (got > 0);
    metrics_reader_destroy(reader);
    return (double)spent / (double)*lines;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int count, char **arguments)
{
    bool json = count > 1 && strcmp(arguments[1], "--json") == 0;
    struct metrics *metrics = metrics_create(WORKERS);
    double rounds[ROUNDS];
    size_t lines, bytes;
    use_routes(metrics);
    for (unsigned i = 0; i < ROUNDS; i++) rounds[i] = time_scrape(metrics, &lines, &bytes);
    qsort(rounds, ROUNDS, sizeof rounds[0], compare);
    if (json)
        printf("{\"name\":\"line of a scrape\",\"unit\":\"ns\",\"best\":%.1f,\"median\":%.1f}\n", rounds[0],
               rounds[ROUNDS / 2]);
    else
        printf("line of a scrape %7.1f ns at best, %7.1f ns median (%zu lines, %zu bytes)\n", rounds[0],
               rounds[ROUNDS / 2], lines, bytes);
    metrics_destroy(metrics);
    return 0;
}
