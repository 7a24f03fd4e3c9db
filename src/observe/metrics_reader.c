#include "observe/metrics_reader.h"

#include "http/method.h"
#include "observe/metrics_private.h"

#define ROUTES_AT_ONCE 64

/* The text's parts, in order. */
enum part { PART_REQUESTS, PART_DURATIONS, PART_UPSTREAM, PART_FIGURES, PART_SOURCES, PART_PROCESS, PART_END };

struct metrics_reader {
    struct metrics *metrics;
    enum part part;
    bool has_begun;                               /* the part's head is written */
    struct route_metrics *routes[ROUTES_AT_ONCE]; /* each with a reader: this one */
    size_t route_count, route_next;
    const struct metrics_source *source; /* the next one */
    uint64_t source_place;               /* of one that writes some at a time */
    struct metrics_text text, labels;
    size_t taken; /* of the text */
};

struct metrics_reader *metrics_reader_create(struct metrics *metrics)
{
    struct metrics_reader *reader = memory_allocate(sizeof *reader);
    reader->metrics = metrics;
    reader->text.bytes = memory_allocate(reader->text.capacity = 8192);
    return reader;
}

void metrics_reader_destroy(struct metrics_reader *reader)
{
    if (!reader) return;
    size_t passed = reader->route_next > 0 ? reader->route_next - 1 : 0;
    for (size_t i = passed; i < reader->route_count; i++) metrics_leave_route(reader->metrics, reader->routes[i]);
    free(reader->text.bytes);
    free(reader->labels.bytes);
    free(reader);
}

/* --- routes --- */

static struct slice route_labels(struct metrics_reader *reader, const struct route_metrics *route)
{
    struct metrics_text *labels = &reader->labels;
    labels->length = 0;
    text_put(labels, SLICE("route=\""));
    text_put_label_value(labels, route->route);
    text_put(labels, SLICE("\",service=\""));
    text_put_label_value(labels, route->service);
    text_put(labels, SLICE("\""));
    return slice_of(labels->bytes, labels->length);
}

static const struct route_line *line_at(const struct route_metrics *route, unsigned worker)
{
    return atomic_load_explicit(&route->lines[worker], memory_order_acquire);
}

static void put_request_line(struct metrics_reader *reader, struct slice labels, unsigned method, unsigned class,
                             uint64_t count)
{
    struct metrics_text *text = &reader->text;
    text_put(text, SLICE("sluice_requests_total{"));
    text_put(text, labels);
    text_put(text, SLICE(",method=\""));
    text_put(text, method_name(method));
    text_put(text, SLICE("\",status_class=\""));
    text_put_unsigned(text, class);
    text_put(text, SLICE("xx\"} "));
    text_put_unsigned(text, count);
    text_put(text, SLICE("\n"));
}

static void put_requests(struct metrics_reader *reader, const struct route_metrics *route)
{
    uint64_t sums[METHOD_COUNT * STATUS_CLASSES], used = 0;
    for (unsigned i = 0; i < reader->metrics->workers; i++) {
        const struct route_line *line = line_at(route, i);
        if (!line) continue;
        for (uint64_t left = atomic_load_explicit(&line->requests_used, memory_order_relaxed); left; left &= left - 1) {
            unsigned kind = (unsigned)__builtin_ctzll(left);
            sums[kind] = counter_read(&line->requests[kind]) + (used >> kind & 1 ? sums[kind] : 0);
            used |= UINT64_C(1) << kind;
        }
    }
    if (used == 0) return;
    struct slice labels = route_labels(reader, route);
    for (; used; used &= used - 1) {
        unsigned kind = (unsigned)__builtin_ctzll(used);
        put_request_line(reader, labels, kind / STATUS_CLASSES, kind % STATUS_CLASSES, sums[kind]);
    }
}

static const struct slice bounds[LATENCY_BOUNDS] = {
    HISTOGRAM_BOUND("0.0001"), HISTOGRAM_BOUND("0.00025"), HISTOGRAM_BOUND("0.0005"), HISTOGRAM_BOUND("0.001"),
    HISTOGRAM_BOUND("0.0025"), HISTOGRAM_BOUND("0.005"),   HISTOGRAM_BOUND("0.01"),   HISTOGRAM_BOUND("0.025"),
    HISTOGRAM_BOUND("0.05"),   HISTOGRAM_BOUND("0.1"),     HISTOGRAM_BOUND("0.25"),   HISTOGRAM_BOUND("0.5"),
    HISTOGRAM_BOUND("1"),      HISTOGRAM_BOUND("2.5"),     HISTOGRAM_BOUND("5"),      HISTOGRAM_BOUND("10"),
    HISTOGRAM_BOUND("30"),     HISTOGRAM_BOUND("+Inf"),
};
static const struct histogram_form duration_form = { "sluice_request_duration_seconds", bounds, LATENCY_BOUNDS, 6 };
static const struct histogram_form upstream_form = { "sluice_upstream_duration_seconds", bounds, LATENCY_BOUNDS, 6 };

/* Counts by bound, and the sum. */
static void add_durations(const struct latency_scale *scale, const struct route_line *line,
                          uint64_t counts[LATENCY_BOUNDS], uint64_t *sum)
{
    for (unsigned half = 0; half < 2; half++) {
        for (uint64_t left = atomic_load_explicit(&line->durations_used[half], memory_order_relaxed); left;
             left &= left - 1) {
            unsigned bucket = half * 64 + (unsigned)__builtin_ctzll(left);
            counts[scale->bound_at[bucket]] += counter_read(&line->durations[bucket]);
        }
    }
    *sum += counter_read(&line->duration_sum_us);
}

static void add_upstream(const struct route_line *line, uint64_t counts[LATENCY_BOUNDS], uint64_t *sum)
{
    for (unsigned bound = 0; bound < LATENCY_BOUNDS; bound++) counts[bound] += counter_read(&line->upstream[bound]);
    *sum += counter_read(&line->upstream_sum_us);
}

static void put_route_histogram(struct metrics_reader *reader, const struct route_metrics *route,
                                const struct histogram_form *form)
{
    uint64_t counts[LATENCY_BOUNDS] = { 0 }, sum = 0;
    for (unsigned i = 0; i < reader->metrics->workers; i++) {
        const struct route_line *line = line_at(route, i);
        if (line && form == &duration_form) add_durations(&reader->metrics->scale, line, counts, &sum);
        if (line && form == &upstream_form) add_upstream(line, counts, &sum);
    }
    for (unsigned bound = 1; bound < LATENCY_BOUNDS; bound++) counts[bound] += counts[bound - 1];
    if (counts[LATENCY_BOUNDS - 1] == 0) return;
    text_put_histogram(&reader->text, form, route_labels(reader, route), counts, sum);
}

static void put_route(struct metrics_reader *reader, const struct route_metrics *route)
{
    switch (reader->part) {
    case PART_REQUESTS: put_requests(reader, route); break;
    case PART_DURATIONS: put_route_histogram(reader, route, &duration_form); break;
    default: put_route_histogram(reader, route, &upstream_form); break;
    }
}

static void fetch_part(const struct route_line *line, enum part part)
{
    __builtin_prefetch(&line->requests_used);
    switch (part) {
    case PART_REQUESTS: __builtin_prefetch(&line->requests[METHOD_GET * STATUS_CLASSES + 2]); break;
    case PART_DURATIONS:
        for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket += 8) {
            if (atomic_load_explicit(&line->durations_used[bucket / 64], memory_order_relaxed) >> bucket % 64 & 0xff)
                __builtin_prefetch(&line->durations[bucket]);
        }
        break;
    default:
        for (unsigned bound = 0; bound < LATENCY_BOUNDS; bound += 8) __builtin_prefetch(&line->upstream[bound]);
        break;
    }
}

/* Ten thousand routes are more than caches hold: what is asked of the next one first is fetched while this one is written. */
static void fetch_ahead(const struct metrics_reader *reader, const struct route_metrics *route)
{
    __builtin_prefetch(route->route);
    __builtin_prefetch(route->service);
    for (unsigned i = 0; i < reader->metrics->workers; i++) {
        const struct route_line *line = line_at(route, i);
        if (line) fetch_part(line, reader->part);
    }
}

/* Keeps standing at the last route, so that the next ones can be found from there. False: there are no more. */
static bool find_routes(struct metrics_reader *reader)
{
    struct route_metrics *last = reader->route_count > 0 ? reader->routes[reader->route_count - 1] : NULL;
    reader->route_count = metrics_next_routes(reader->metrics, last, reader->routes, ROUTES_AT_ONCE);
    reader->route_next = 0;
    return reader->route_count > 0;
}

static void put_next_route(struct metrics_reader *reader)
{
    if (reader->route_next == reader->route_count && !find_routes(reader)) {
        reader->part++;
        reader->has_begun = false;
        return;
    }
    /* The one before was kept to find this one by; it may be forgotten now. */
    if (reader->route_next > 0) metrics_leave_route(reader->metrics, reader->routes[reader->route_next - 1]);
    const struct route_metrics *route = reader->routes[reader->route_next++];
    if (reader->route_next < reader->route_count) fetch_ahead(reader, reader->routes[reader->route_next]);
    put_route(reader, route);
}

static void put_routes(struct metrics_reader *reader)
{
    static const struct {
        const char *name, *type, *help;
    } heads[] = {
        [PART_REQUESTS] = { "sluice_requests_total", "counter",
                            "Requests by route, service, method and status class." },
        [PART_DURATIONS] = { "sluice_request_duration_seconds", "histogram",
                             "From a complete request head to the last byte handed to the kernel." },
        [PART_UPSTREAM] = { "sluice_upstream_duration_seconds", "histogram",
                            "From the start of a call to its response head, all tries together." },
    };
    if (reader->has_begun) {
        put_next_route(reader);
        return;
    }
    reader->has_begun = true;
    metrics_text_head(&reader->text, heads[reader->part].name, heads[reader->part].type, heads[reader->part].help);
}

/* --- the rest --- */

static void put_figures(struct metrics_reader *reader)
{
    text_put_errors(&reader->text, reader->metrics);
    text_put_websocket_closes(&reader->text, reader->metrics);
    text_put_compression(&reader->text, reader->metrics);
    text_put_stages(&reader->text, reader->metrics);
    pthread_mutex_lock(&reader->metrics->lock);
    reader->source = reader->metrics->sources;
    pthread_mutex_unlock(&reader->metrics->lock);
    reader->part = PART_SOURCES;
}

static void put_source(struct metrics_reader *reader)
{
    const struct metrics_source *source = reader->source;
    if (!source) {
        reader->part = PART_PROCESS;
        return;
    }
    if (!source->write_some)
        source->write(&reader->text, source->argument);
    else if (source->write_some(&reader->text, source->argument, &reader->source_place))
        return;
    reader->source_place = 0;
    reader->source = source->next; /* they are only ever added, before the first one */
}

/* Makes some more text; one that was asked for something may have made none and gone on to the next part. */
static void put_more(struct metrics_reader *reader)
{
    switch (reader->part) {
    case PART_REQUESTS:
    case PART_DURATIONS:
    case PART_UPSTREAM: put_routes(reader); break;
    case PART_FIGURES: put_figures(reader); break;
    case PART_SOURCES: put_source(reader); break;
    case PART_PROCESS:
        text_put_process(&reader->text, reader->metrics);
        reader->part = PART_END;
        break;
    case PART_END: break;
    }
}

/* --- handing out --- */

/* As many whole lines of the text as fit. */
static size_t lines_within(struct slice text, size_t size)
{
    if (text.length <= size) return text.length;
    const char *end = memrchr(text.at, '\n', size);
    return end ? (size_t)(end - text.at) + 1 : 0;
}

size_t metrics_reader_next(struct metrics_reader *reader, char *buffer, size_t size)
{
    size_t filled = 0;
    for (;;) {
        struct slice text = slice_of(reader->text.bytes + reader->taken, reader->text.length - reader->taken);
        size_t length = lines_within(text, size - filled);
        if (length == 0 && filled == 0 && text.length > 0) length = size < text.length ? size : text.length;
        if (length > 0) memcpy(buffer + filled, text.at, length);
        filled += length;
        reader->taken += length;
        if (length < text.length || filled == size) return filled;
        reader->text.length = reader->taken = 0;
        put_more(reader);
        if (reader->text.length == 0 && reader->part == PART_END) return filled;
    }
}

char *metrics_render(struct metrics *metrics, size_t *length)
{
    enum { PIECE_BYTES = 65536 };
    struct metrics_reader *reader = metrics_reader_create(metrics);
    char *text = NULL;
    size_t piece = 0;
    *length = 0;
    do {
        *length += piece;
        text = memory_resize(text, *length + PIECE_BYTES);
        piece = metrics_reader_next(reader, text + *length, PIECE_BYTES);
    } while (piece > 0);
    metrics_reader_destroy(reader);
    return text;
}
