/* What a request costs at its end: nanoseconds and instructions for a line of the access log, and for its figures.
 *
 *   bench/micro/access_log [rounds, default 7] [--json]
 *
 * The log goes to /dev/null, so that only the worker's part is measured: the writer's thread has its own processor time. The fastest
 * and the median round are shown; budgets of DESIGN section 9: 400 ns a line, 150 ns for the figures. */
#include "measure.h"
#include "observe/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES 200000
#define LINES_AT_ONCE 20000 /* fewer than fill the pages */
#define ROUNDS_MAX 99

static struct exchange_record record = {
    .wall_ns = UINT64_C(1767225600123456789),
    .request_id = { "0198c5b2f3a47e3d9a1b5c6d7e8f9012", 32 },
    .method_text = { "GET", 3 },
    .method = METHOD_GET,
    .path = { "/api/v1/users/12345/orders", 26 },
    .route = { "user-routes", 11 },
    .service = { "user-service", 12 },
    .instance = { "10.0.12.34:8080", 15 },
    .status = 200,
    .duration_ns = 1234567,
    .upstream_ns = 1098765,
    .bytes_in = 312,
    .bytes_out = 1456,
    .client_ip = { "203.0.113.77", 12 },
    .user_agent = { "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", 71 },
};

/* The writer must come along, or lines are dropped, which is cheap. Sleeping costs no processor time. */
static void let_writer_finish(struct access_log *log)
{
    uint64_t before;
    access_log_flush(access_log_worker(log, 0));
    do {
        before = access_log_bytes_written(log);
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    } while (access_log_bytes_written(log) != before);
}

static void append_lines(struct access_log *log, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        if (i % 16 == 0) record.wall_ns += 1000000;
        record.duration_ns = 1000000 + (uint64_t)i * 37;
        access_log_append(access_log_worker(log, 0), &record);
    }
}

static double time_lines(struct access_log *log)
{
    uint64_t spent = 0;
    for (int i = 0; i < LINES; i += LINES_AT_ONCE) {
        uint64_t begin = thread_ns();
        append_lines(log, i, LINES_AT_ONCE);
        spent += thread_ns() - begin;
        let_writer_finish(log);
    }
    return (double)spent / LINES;
}

static double count_lines(struct access_log *log)
{
    instructions_begin();
    append_lines(log, 0, COUNTED_CALLS);
    return instructions_end(COUNTED_CALLS);
}

struct figures {
    struct metrics *metrics;
    struct route_metrics **routes;
};

static void count_requests(struct figures *figures, size_t routes, int count)
{
    for (int i = 0; i < count; i++) {
        record.duration_ns = 1000000 + (uint64_t)i * 37;
        metrics_count(figures->metrics, 0, figures->routes[(size_t)i * 7919 % routes], &record);
    }
}

static double time_figures(struct figures *figures, size_t routes)
{
    uint64_t begin = thread_ns();
    count_requests(figures, routes, LINES);
    return (double)(thread_ns() - begin) / LINES;
}

static double count_figures(struct figures *figures, size_t routes)
{
    instructions_begin();
    count_requests(figures, routes, COUNTED_CALLS);
    return instructions_end(COUNTED_CALLS);
}

static void report(const char *name, double *rounds, int count, double instructions, bool json)
{
    char counted[24];
    qsort(rounds, (size_t)count, sizeof *rounds, compare_doubles);
    printf(json ? "{\"name\":\"%s\",\"unit\":\"ns\",\"best\":%.1f,\"median\":%.1f,\"instructions\":%s}\n"
                : "%-32s %7.1f ns at best, %7.1f ns median, %s instructions\n",
           name, rounds[0], rounds[count / 2], count_text(instructions, counted));
}

int main(int count, char **arguments)
{
    enum { ROUTES = 10000 };
    static struct route_metrics *routes[ROUTES];
    int rounds = 7;
    bool json = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else {
            rounds = atoi(arguments[i]);
        }
    }
    if (rounds < 1 || rounds > ROUNDS_MAX) rounds = 7;
    struct error error;
    struct access_log *log = access_log_create("/dev/null", access_log_open("/dev/null", &error), 1, 255, &error);
    struct metrics *metrics = metrics_create(1);
    for (size_t i = 0; i < ROUTES; i++) {
        char name[16];
        routes[i] = metrics_route(metrics, slice_of(name, (size_t)snprintf(name, sizeof name, "r%zu", i)), SLICE("s"));
    }
    struct figures figures = { metrics, routes };
    double lines[ROUNDS_MAX], one[ROUNDS_MAX], many[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        lines[i] = time_lines(log);
        one[i] = time_figures(&figures, 1);
        many[i] = time_figures(&figures, ROUTES);
    }
    report("line of the access log", lines, rounds, count_lines(log), json);
    report("figures, one route", one, rounds, count_figures(&figures, 1), json);
    report("figures, 10,000 routes in turn", many, rounds, count_figures(&figures, ROUTES), json);
    if (access_log_lines_dropped(log) > 0) {
        fprintf(stderr, "lines were dropped: the figure of the log is void\n");
        return 1;
    }
    access_log_destroy(log);
    metrics_destroy(metrics);
    return 0;
}
