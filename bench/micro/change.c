/* What the change of one route among many costs its builder, from the route's configuration to a snapshot that can be published.
 *
 *   bench/micro/change [routes, default 10000] [changes, default 300]
 *
 * Reading the file is not counted, destroying what the change replaced is: the builder does that too. One line of JSON: median,
 * 99th percentile and maximum in microseconds, of this thread's time on the processor and of the clock on the wall. */
#include "base/memory.h"
#include "config/config.h"
#include "filters/filters.h"
#include "handlers/handlers.h"
#include "snapshot/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };

static const char head[] = "listeners: [\"127.0.0.1:8080\"]\n"
                           "services: [{ name: backend, instances: [\"127.0.0.1:9001\"] }]\n"
                           "routes:\n";

static double now_us(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* --- configurations --- */

/* As the routes of bench/run: 1 % regexes with prefixes of their own, 9 % templates, the rest literal. */
static void write_route(FILE *out, size_t index, unsigned timeout_ms)
{
    fprintf(out, "  - { name: r%zu, timeoutMs: %u, serviceId: backend, stripPrefix: false, ", index, timeout_ms);
    fprintf(out, "filters: [{ type: add_header, name: X-Env, value: bench }], path: ");
    if (index % 100 == 1)
        fprintf(out, "\"~/regex%zu/(?<id>[0-9]+)\" }\n", index);
    else if (index % 11 == 2)
        fprintf(out, "\"/template%zu/{id}/items/{item}\" }\n", index);
    else
        fprintf(out, "/group%zu/service%zu/item%zu }\n", index % 97, index % 991, index);
}

static struct configuration *read_routes(size_t first, size_t count, unsigned timeout_ms,
                                         const struct policy_kinds *kinds, struct problems *problems)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fputs(head, out);
    for (size_t i = first; i < first + count; i++) write_route(out, i, timeout_ms);
    fclose(out);
    struct configuration *read = configuration_load_text(slice_of(text, length), "change.yaml", "/", kinds, problems);
    free(text);
    if (!read) {
        fprintf(stderr, "%s", problems_to_text(problems));
        exit(1);
    }
    return read;
}

/* --- changes --- */

static void ignore(void *argument) { (void)argument; }

struct times {
    double *processor, *wall;
};

static struct snapshot *change(struct snapshot_builder *builder, struct snapshot *before,
                               const struct route_config *route, struct problems *problems, struct times *times,
                               size_t at)
{
    double processor = now_us(CLOCK_THREAD_CPUTIME_ID), wall = now_us(CLOCK_MONOTONIC);
    struct snapshot *after = snapshot_builder_put_route(builder, route->id, route, problems);
    if (!after) {
        fprintf(stderr, "%s", problems_to_text(problems));
        exit(1);
    }
    snapshot_destroy(before);
    snapshot_builder_collect(builder);
    times->processor[at] = now_us(CLOCK_THREAD_CPUTIME_ID) - processor;
    times->wall[at] = now_us(CLOCK_MONOTONIC) - wall;
    return after;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    printf("\"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_max_us\": %.1f", name, values[count / 2], name,
           values[count * 99 / 100], name, values[count - 1]);
}

int main(int argument_count, char **arguments)
{
    size_t routes = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 10000;
    size_t changes = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 300;
    if (routes == 0 || changes == 0) {
        fprintf(stderr, "usage: change [routes] [changes]\n");
        return 2;
    }
    struct policy_kinds kinds = policy_registry_kinds(&registry);
    struct problems problems;
    problems_init(&problems, "change.yaml");
    struct metrics *metrics = metrics_create(1);
    struct snapshot_builder *builder = snapshot_builder_create(
        &(struct snapshot_builder_settings){ .registry = &registry, .metrics = metrics, .workers = 1, .wake = ignore });
    struct snapshot *snapshot = snapshot_builder_load(builder, read_routes(0, routes, 30000, &kinds, &problems),
                                                      &problems);
    if (!snapshot) {
        fprintf(stderr, "%s", problems_to_text(&problems));
        return 1;
    }
    struct times times = { memory_allocate_array(changes, sizeof(double)),
                           memory_allocate_array(changes, sizeof(double)) };
    for (size_t i = 0; i < changes; i++) {
        struct configuration *changed = read_routes(i * 7919 % routes, 1, 1000 + (unsigned)i, &kinds, &problems);
        snapshot = change(builder, snapshot, changed->routes.items, &problems, &times, i);
        configuration_destroy(changed);
    }
    printf("{\"routes\": %zu, \"changes\": %zu, ", routes, changes);
    report("processor", times.processor, changes);
    printf(", ");
    report("wall", times.wall, changes);
    printf("}\n");
    free(times.processor);
    free(times.wall);
    snapshot_destroy(snapshot);
    snapshot_builder_destroy(builder);
    problems_release(&problems);
    metrics_destroy(metrics);
    free((void *)(uintptr_t)kinds.items);
    return 0;
}
