/* observe/metrics.c: the counting side: lines that only their worker writes. The text is made in metrics_text.c. */
#include "observe/metrics.h"

#include "observe/metrics_private.h"

/* --- life --- */

struct metrics *metrics_create(unsigned workers)
{
    struct metrics *metrics = memory_allocate(sizeof *metrics);
    metrics->workers = workers;
    metrics->lines = memory_allocate_aligned(workers * sizeof *metrics->lines);
    metrics->begun_ns = clock_monotonic_ns();
    pthread_mutex_init(&metrics->lock, NULL);
    map_init(&metrics->routes);
    map_init(&metrics->names);
    latency_scale_init(&metrics->scale);
    metrics->none = metrics_route(metrics, SLICE(""), SLICE(""));
    return metrics;
}

static void destroy_route(struct metrics *metrics, struct route_metrics *route)
{
    for (unsigned i = 0; i < metrics->workers; i++) route_line_destroy(atomic_load(&route->lines[i]));
    free(route->route);
    free(route->service);
    free(route);
}

void metrics_destroy(struct metrics *metrics)
{
    for (struct route_metrics *route = metrics->first, *next; route; route = next) {
        next = route->next;
        destroy_route(metrics, route);
    }
    map_release(&metrics->routes);
    map_release(&metrics->names);
    pthread_mutex_destroy(&metrics->lock);
    free(metrics->lines);
    free(metrics);
}

/* --- routes --- */

static char *identity(struct slice route, struct slice service)
{
    return memory_format("%.*s\n%.*s", SLICE_PRINT(route), SLICE_PRINT(service)); /* no name holds a line break */
}

/* Behind all others, and before those of its name. */
static struct route_metrics *make_route(struct metrics *metrics, struct slice route_name, struct slice service_name)
{
    struct route_metrics *route = memory_allocate(sizeof *route + metrics->workers * sizeof route->lines[0]);
    route->route = memory_copy_slice(route_name);
    route->service = memory_copy_slice(service_name);
    route->next_of_name = map_set(&metrics->names, route_name, route);
    route->previous = metrics->last;
    *(metrics->last ? &metrics->last->next : &metrics->first) = route;
    metrics->last = route;
    return route;
}

static void forget_route(struct metrics *metrics, struct route_metrics *route)
{
    char *key = identity(slice_from_cstring(route->route), slice_from_cstring(route->service));
    map_remove(&metrics->routes, slice_from_cstring(key));
    free(key);
    struct slice name = slice_from_cstring(route->route);
    struct route_metrics *of_name = map_find(&metrics->names, name);
    if (of_name != route) {
        while (of_name->next_of_name != route) of_name = of_name->next_of_name;
        of_name->next_of_name = route->next_of_name;
    } else if (route->next_of_name) {
        map_set(&metrics->names, name, route->next_of_name);
    } else {
        map_remove(&metrics->names, name);
    }
    *(route->previous ? &route->previous->next : &metrics->first) = route->next;
    *(route->next ? &route->next->previous : &metrics->last) = route->previous;
    destroy_route(metrics, route);
}

struct route_metrics *metrics_route(struct metrics *metrics, struct slice route_name, struct slice service_name)
{
    char *key = identity(route_name, service_name);
    pthread_mutex_lock(&metrics->lock);
    struct route_metrics *route = map_find(&metrics->routes, slice_from_cstring(key));
    if (!route) {
        route = make_route(metrics, route_name, service_name);
        map_set(&metrics->routes, slice_from_cstring(key), route);
    }
    route->references++;
    pthread_mutex_unlock(&metrics->lock);
    free(key);
    return route;
}

void metrics_route_drop(struct metrics *metrics, struct route_metrics *route)
{
    pthread_mutex_lock(&metrics->lock);
    if (--route->references == 0) route->unused_since_ns = clock_monotonic_ns();
    pthread_mutex_unlock(&metrics->lock);
}

static bool is_forgotten(const struct route_metrics *route, uint64_t now_ns)
{
    return route->references == 0 && route->readers == 0 && now_ns - route->unused_since_ns > UNUSED_KEPT_NS;
}

size_t metrics_next_routes(struct metrics *metrics, struct route_metrics *after, struct route_metrics **into,
                           size_t limit)
{
    uint64_t now_ns = clock_monotonic_ns();
    size_t count = 0;
    pthread_mutex_lock(&metrics->lock);
    struct route_metrics *route = after ? after->next : metrics->first;
    if (after) after->readers--;
    for (struct route_metrics *next; route && count < limit; route = next) {
        next = route->next;
        if (is_forgotten(route, now_ns)) {
            forget_route(metrics, route);
            continue;
        }
        route->readers++;
        into[count++] = route;
    }
    pthread_mutex_unlock(&metrics->lock);
    return count;
}

void metrics_leave_route(struct metrics *metrics, struct route_metrics *route)
{
    pthread_mutex_lock(&metrics->lock);
    route->readers--;
    pthread_mutex_unlock(&metrics->lock);
}

/* --- counting --- */

static struct route_line *line_of(struct metrics *metrics, unsigned worker, struct route_metrics *route)
{
    struct route_line *line = atomic_load_explicit(&route->lines[worker], memory_order_relaxed);
    if (LIKELY(line)) return line;
    line = route_line_create();
    if (line) {
        atomic_store_explicit(&route->lines[worker], line, memory_order_release);
    } else if (route != metrics->none) {
        return line_of(metrics, worker, metrics->none);
    }
    return line;
}

void metrics_count(struct metrics *metrics, unsigned worker, struct route_metrics *route,
                   const struct exchange_record *record)
{
    struct route_line *line = line_of(metrics, worker, route ? route : metrics->none);
    if (UNLIKELY(!line)) return; /* short of memory, and nothing was counted under no route yet */
    route_line_count(line, &metrics->scale, record, record->ended_ns);
}

void metrics_count_error(struct metrics *metrics, unsigned worker, const char *type)
{
    struct error_count *errors = metrics->lines[worker].errors;
    for (unsigned i = 0; i < ERROR_TYPES_MAX; i++) {
        const char *known = atomic_load_explicit(&errors[i].type, memory_order_relaxed);
        if (i == ERROR_TYPES_MAX - 1) type = "other";
        if (!known) {
            atomic_store_explicit(&errors[i].type, type, memory_order_release);
        } else if (known != type && strcmp(known, type) != 0) {
            continue;
        }
        counter_add(&errors[i].count, 1);
        return;
    }
}

const uint16_t websocket_codes[WEBSOCKET_CODES - 1] = { 1000, 1001, 1002, 1003, 1005, 1006, 1007,
                                                        1008, 1009, 1010, 1011, 1012, 1013, 1014 };

struct slice websocket_closer_word(enum websocket_closer closer)
{
    static const struct slice words[WEBSOCKET_CLOSER_COUNT] = {
        [WEBSOCKET_CLOSER_CLIENT] = SLICE("client"),
        [WEBSOCKET_CLOSER_BACKEND] = SLICE("backend"),
        [WEBSOCKET_CLOSER_GATEWAY] = SLICE("gateway"),
        [WEBSOCKET_CLOSER_TIMEOUT] = SLICE("timeout"),
    };
    return words[closer];
}

void metrics_count_websocket_close(struct metrics *metrics, unsigned worker, enum websocket_closer closer,
                                   unsigned code)
{
    unsigned i = 0;
    while (i < WEBSOCKET_CODES - 1 && websocket_codes[i] != code) i++;
    counter_add(&metrics->lines[worker].websocket_closes[closer][i], 1);
}

void metrics_count_compression(struct metrics *metrics, unsigned worker, enum compression_outcome outcome)
{
    counter_add(&metrics->lines[worker].compression.answers[outcome], 1);
}

void metrics_count_compressed(struct metrics *metrics, unsigned worker, enum compression_outcome coding, size_t input,
                              size_t output)
{
    struct compression_counts *counts = &metrics->lines[worker].compression;
    counter_add(&counts->input_bytes[coding], input);
    counter_add(&counts->output_bytes[coding], output);
}

void metrics_stage(struct metrics *metrics, unsigned worker, unsigned stage, uint64_t nanoseconds)
{
    histogram_add(&metrics->lines[worker].stages[stage], nanoseconds);
}

void metrics_stage_names(struct metrics *metrics, const char *const *names, unsigned count)
{
    PROMISE(count <= METRICS_STAGES_MAX);
    for (unsigned i = 0; i < count; i++) metrics->stage_names[i] = names[i];
    metrics->stage_count = count;
}

void metrics_add_source(struct metrics *metrics, struct metrics_source *source)
{
    pthread_mutex_lock(&metrics->lock);
    source->next = metrics->sources;
    metrics->sources = source;
    pthread_mutex_unlock(&metrics->lock);
}
