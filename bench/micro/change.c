/* What a change costs: one route among many, one service's instances, and how soon it is in force on workers.
 *
 *   bench/micro/change [--json] [--changes N, default 200] [ROUTES..., default 10000 100000]
 *
 * Per number of routes (a tenth as many services):
 *   put route       the builder's time for one changed route: from its configuration to the next snapshot
 *   put service     the same for a service that gets another instance
 *   let go          the builder's time for the snapshot before, when it comes back
 *   in force        wall time from handing the route to the builder until the last of two idle workers has adopted it
 *
 * Builder times are this thread's time on the processor, so that neighbours on the machine don't count. With --json one object a
 * row: {"name", "routes", "unit": "us", "median", "p99", "most"}. Bars: put route 1,000 us among 10,000 and 3,000 us among 100,000,
 * in force 10,000 us. */
#include "base/memory.h"
#include "filters/filters.h"
#include "gateway/facts.h"
#include "gateway/worker.h"
#include "handlers/handlers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WORKERS 2

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- figures --- */

struct figures {
    const char *name;
    uint64_t *ns;
    size_t count;
};

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void report(struct figures *figures, size_t routes, bool json)
{
    qsort(figures->ns, figures->count, sizeof *figures->ns, compare);
    double median = (double)figures->ns[figures->count / 2] / 1e3;
    double p99 = (double)figures->ns[figures->count * 99 / 100] / 1e3;
    double most = (double)figures->ns[figures->count - 1] / 1e3;
    if (json) {
        printf("{\"name\":\"%s\",\"routes\":%zu,\"unit\":\"us\",\"median\":%.1f,\"p99\":%.1f,\"most\":%.1f}\n",
               figures->name, routes, median, p99, most);
    } else {
        printf("%-12s %7zu routes  %8.1f us median, %8.1f us P99, %8.1f us at most\n", figures->name, routes, median,
               p99, most);
    }
    free(figures->ns);
}

static void add(struct figures *figures, uint64_t ns) { figures->ns[figures->count++] = ns; }

/* --- configurations --- */

static struct policy_kinds kinds;

static struct configuration *load_text(char *text)
{
    struct problems problems;
    problems_init(&problems, "bench");
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), "bench", "/", &kinds,
                                                                  &problems);
    if (!configuration) {
        fprintf(stderr, "%s", problems_to_text(&problems));
        exit(1);
    }
    problems_release(&problems);
    free(text);
    return configuration;
}

static struct configuration *whole(size_t routes)
{
    size_t services = routes / 10, size = routes * 100 + services * 100 + 200;
    char *text = memory_allocate(size);
    size_t length = (size_t)snprintf(text, size, "listeners: [\"127.0.0.1:1\"]\nservices:\n");
    for (size_t i = 0; i < services; i++) {
        length += (size_t)snprintf(text + length, size - length,
                                   "  - { name: s%zu, instances: [\"10.0.0.1:%zu\", \"10.0.0.2:%zu\"] }\n", i,
                                   i % 60000 + 1, i % 60000 + 1);
    }
    length += (size_t)snprintf(text + length, size - length, "routes:\n");
    for (size_t i = 0; i < routes; i++) {
        length += (size_t)snprintf(text + length, size - length,
                                   "  - { name: r%zu, path: \"/api/v%zu/item%zu/{id}\", serviceId: s%zu }\n", i,
                                   i % 100, i, i % services);
    }
    return load_text(text);
}

/* A change prepared beside, as the admin API would bring it: one route, and the service that it ends in. */
static struct configuration *change(size_t number, size_t services, unsigned revision)
{
    size_t service = number % services;
    return load_text(memory_format("listeners: [\"127.0.0.1:1\"]\n"
                                   "services: [{ name: s%zu, instances: [\"10.0.0.1:%zu\", \"10.9.0.1:%u\"] }]\n"
                                   "routes: [{ name: r%zu, path: \"/api/v%zu/item%zu/{id}/x%u\", serviceId: s%zu }]\n",
                                   service, service % 60000 + 1, revision + 1, number, number % 100, number, revision,
                                   service));
}

/* --- workers --- */

/* A publication and how this thread learns of its way. */
struct handed_out {
    struct publication publication;
    struct bench *bench;
    struct handed_out *next; /* returned ones */
};

struct bench {
    struct metrics *metrics;
    struct snapshot_builder *builder;
    struct worker_settings settings;
    struct address_limits addresses;
    struct worker *workers[WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct handed_out *adopted; /* the last one that all workers adopted */
    uint64_t adopted_ns;        /* when */
    struct handed_out *returned;
    struct figures put_route, put_service, let_go, in_force;
};

static void ignore(void *argument) { (void)argument; }

static void adopted(struct publication *publication)
{
    struct handed_out *handed_out = publication->owner;
    struct bench *bench = handed_out->bench;
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    pthread_mutex_lock(&bench->lock);
    bench->adopted = handed_out;
    bench->adopted_ns = now_ns;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static void returned(struct publication *publication)
{
    struct handed_out *handed_out = publication->owner;
    struct bench *bench = handed_out->bench;
    pthread_mutex_lock(&bench->lock);
    handed_out->next = bench->returned;
    bench->returned = handed_out;
    pthread_mutex_unlock(&bench->lock);
}

static struct handed_out *make_handed_out(struct bench *bench, struct snapshot *snapshot)
{
    struct handed_out *handed_out = memory_allocate(sizeof *handed_out);
    handed_out->bench = bench;
    handed_out->publication = (struct publication){
        .snapshot = snapshot,
        .settings = bench->settings,
        .to_adopt = WORKERS,
        .holders = WORKERS,
        .adopted = adopted,
        .returned = returned,
        .owner = handed_out,
    };
    return handed_out;
}

static void destroy_returned(struct bench *bench)
{
    pthread_mutex_lock(&bench->lock);
    struct handed_out *handed_out = bench->returned;
    bench->returned = NULL;
    pthread_mutex_unlock(&bench->lock);
    while (handed_out) {
        struct handed_out *next = handed_out->next;
        snapshot_destroy(handed_out->publication.snapshot);
        free(handed_out);
        handed_out = next;
    }
    snapshot_builder_collect(bench->builder);
}

static void publish_and_wait(struct bench *bench, struct snapshot *snapshot)
{
    struct handed_out *handed_out = make_handed_out(bench, snapshot);
    for (int i = 0; i < WORKERS; i++) worker_publish(bench->workers[i], &handed_out->publication);
    pthread_mutex_lock(&bench->lock);
    while (bench->adopted != handed_out) pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
}

static void start_workers(struct bench *bench, struct snapshot *first)
{
    struct error error;
    struct handed_out *handed_out = make_handed_out(bench, first);
    address_limits_init(&bench->addresses);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_options options = {
            .index = i,
            .name = "worker",
            .metrics = bench->metrics,
            .addresses = &bench->addresses,
            .first = &handed_out->publication,
            .drained = ignore,
        };
        bench->workers[i] = worker_create(&options, &error);
        if (!bench->workers[i] || !worker_start(bench->workers[i], &error)) {
            fprintf(stderr, "%s\n", error.text);
            exit(1);
        }
    }
}

/* --- the changes --- */

/* The change borrows from the configuration. */
static struct configuration_change *half_of(const struct configuration *written, bool is_route)
{
    struct configuration_change *half = memory_allocate(sizeof *half);
    half->configuration = memory_allocate(sizeof *half->configuration);
    arena_init(&half->configuration->arena, NULL);
    if (is_route)
        half->configuration->routes = written->routes;
    else
        half->configuration->services = written->services;
    return half;
}

static struct snapshot *put(struct bench *bench, const struct configuration *written, bool is_route)
{
    struct problems problems;
    struct configuration_change *half = half_of(written, is_route);
    problems_init(&problems, "bench");
    uint64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    struct snapshot *snapshot = snapshot_builder_commit(bench->builder,
                                                        snapshot_builder_prepare(bench->builder, half, &problems));
    add(is_route ? &bench->put_route : &bench->put_service, clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns);
    problems_release(&problems);
    return snapshot;
}

static void change_one(struct bench *bench, size_t number, size_t services, unsigned revision)
{
    struct configuration *prepared = change(number, services, revision);
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    publish_and_wait(bench, put(bench, prepared, true));
    add(&bench->in_force, bench->adopted_ns - begin_ns);
    publish_and_wait(bench, put(bench, prepared, false));
    begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    destroy_returned(bench);
    add(&bench->let_go, (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) / 2);
    configuration_destroy(prepared);
}

static void measure(size_t routes, size_t changes, bool json)
{
    struct bench bench = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    struct problems problems;
    struct figures *all[] = { &bench.put_route, &bench.put_service, &bench.let_go, &bench.in_force };
    static const char *const names[] = { "put route", "put service", "let go", "in force" };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        *all[i] = (struct figures){ names[i], memory_allocate_array(changes, sizeof(uint64_t)), 0 };
    }
    bench.metrics = metrics_create(WORKERS);
    bench.builder = snapshot_builder_create(&(struct snapshot_builder_settings){
        .registry = &registry, .metrics = bench.metrics, .workers = WORKERS, .wake = ignore });
    struct configuration *configuration = whole(routes);
    bench.settings = facts_worker_settings(configuration);
    problems_init(&problems, "bench");
    start_workers(&bench, snapshot_builder_load(bench.builder, configuration, &problems));
    problems_release(&problems);
    for (size_t i = 0; i < changes; i++) change_one(&bench, i * 7919 % routes, routes / 10, (unsigned)i);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_stop(bench.workers[i]);
        worker_join(bench.workers[i]);
        worker_destroy(bench.workers[i]);
    }
    destroy_returned(&bench);
    snapshot_builder_destroy(bench.builder);
    metrics_destroy(bench.metrics);
    address_limits_release(&bench.addresses);
    for (size_t i = 0; i < COUNT_OF(all); i++) report(all[i], routes, json);
}

int main(int count, char **arguments)
{
    bool json = false, measured = false;
    size_t changes = 200;
    kinds = policy_registry_kinds(&registry);
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--changes") == 0 && i + 1 < count) {
            changes = (size_t)atol(arguments[++i]);
        } else if (atol(arguments[i]) >= 10 && changes > 0) {
            measure((size_t)atol(arguments[i]), changes, json);
            measured = true;
        } else {
            fprintf(stderr, "usage: change [--json] [--changes N] [ROUTES...]\n");
            return 2;
        }
    }
    if (!measured) {
        measure(10000, changes, json);
        measure(100000, changes, json);
    }
    free((void *)(uintptr_t)kinds.items);
    return 0;
}
