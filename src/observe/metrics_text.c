/* observe/metrics_text.c: the Prometheus text format, version 0.0.4: sums the workers' lines and writes them out. */
#include "http/method.h"
#include "observe/metrics_private.h"

#include <sys/resource.h>
#include <unistd.h>

struct metrics_text {
    char *bytes;
    size_t length, capacity;
};

/* --- bytes --- */

static char *room(struct metrics_text *text, size_t size)
{
    if (text->length + size > text->capacity) {
        text->capacity = (text->capacity + size) * 2;
        text->bytes = memory_resize(text->bytes, text->capacity);
    }
    return text->bytes + text->length;
}

static void put(struct metrics_text *text, struct slice bytes)
{
    char *at = room(text, bytes.length);
    if (bytes.length) memcpy(at, bytes.at, bytes.length);
    text->length += bytes.length;
}

static void put_cstring(struct metrics_text *text, const char *bytes) { put(text, slice_from_cstring(bytes)); }

static void put_unsigned(struct metrics_text *text, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[sizeof digits - ++count] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(text, slice_of(digits + sizeof digits - count, count));
}

/* value / 10^places, without trailing precision lost: "0.001500". */
static void put_decimal(struct metrics_text *text, uint64_t value, unsigned places)
{
    uint64_t unit = 1;
    for (unsigned i = 0; i < places; i++) unit *= 10;
    put_unsigned(text, value / unit);
    put(text, SLICE("."));
    uint64_t rest = value % unit;
    for (unit /= 10; unit > 0; unit /= 10) {
        char digit = (char)('0' + rest / unit % 10);
        put(text, slice_of(&digit, 1));
    }
}

/* A label's value: backslash, quote and line break are escaped. */
static void put_label_value(struct metrics_text *text, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\') {
            put(text, SLICE("\\\\"));
        } else if (*value == '"') {
            put(text, SLICE("\\\""));
        } else if (*value == '\n') {
            put(text, SLICE("\\n"));
        } else {
            put(text, slice_of(value, 1));
        }
    }
}

/* --- lines --- */

void metrics_text_head(struct metrics_text *text, const char *name, const char *type, const char *help)
{
    put(text, SLICE("# HELP "));
    put_cstring(text, name);
    put(text, SLICE(" "));
    put_cstring(text, help);
    put(text, SLICE("\n# TYPE "));
    put_cstring(text, name);
    put(text, SLICE(" "));
    put_cstring(text, type);
    put(text, SLICE("\n"));
}

static void put_name(struct metrics_text *text, const char *name, const char *labels)
{
    put_cstring(text, name);
    if (labels) {
        put(text, SLICE("{"));
        put_cstring(text, labels);
        put(text, SLICE("}"));
    }
    put(text, SLICE(" "));
}

void metrics_text_line(struct metrics_text *text, const char *name, const char *labels_or_null, uint64_t value)
{
    put_name(text, name, labels_or_null);
    put_unsigned(text, value);
    put(text, SLICE("\n"));
}

void metrics_text_line_signed(struct metrics_text *text, const char *name, const char *labels_or_null, int64_t value)
{
    put_name(text, name, labels_or_null);
    if (value < 0) put(text, SLICE("-"));
    put_unsigned(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    put(text, SLICE("\n"));
}

/* --- routes --- */

static void put_route_labels(struct metrics_text *text, const struct route_metrics *route)
{
    put(text, SLICE("route=\""));
    put_label_value(text, route->route);
    put(text, SLICE("\",service=\""));
    put_label_value(text, route->service);
    put(text, SLICE("\""));
}

static uint64_t sum_requests(const struct metrics *metrics, const struct route_metrics *route, unsigned method,
                             unsigned class)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++) {
        const struct route_line *line = atomic_load_explicit(&route->lines[i], memory_order_acquire);
        if (line) sum += counter_read(&line->requests[method][class]);
    }
    return sum;
}

static void put_requests(struct metrics_text *text, const struct metrics *metrics, const struct route_metrics *route)
{
    for (unsigned method = 0; method < METHOD_COUNT; method++) {
        for (unsigned class = 0; class < STATUS_CLASSES; class ++) {
            uint64_t sum = sum_requests(metrics, route, method, class);
            if (sum == 0) continue;
            put(text, SLICE("sluice_requests_total{"));
            put_route_labels(text, route);
            put(text, SLICE(",method=\""));
            put(text, method_name(method));
            put(text, SLICE("\",status_class=\""));
            put_unsigned(text, class);
            put(text, SLICE("xx\"} "));
            put_unsigned(text, sum);
            put(text, SLICE("\n"));
        }
    }
}

/* --- histograms --- */

/* Upper bounds of the exposed buckets, in the histogram's unit, and as the text says them in seconds. */
struct bound {
    uint64_t limit;
    const char *seconds;
};

static const struct bound microsecond_bounds[] = {
    { 100, "0.0001" }, { 250, "0.00025" }, { 500, "0.0005" }, { 1000, "0.001" },  { 2500, "0.0025" }, { 5000, "0.005" },
    { 10000, "0.01" }, { 25000, "0.025" }, { 50000, "0.05" }, { 100000, "0.1" },  { 250000, "0.25" }, { 500000, "0.5" },
    { 1000000, "1" },  { 2500000, "2.5" }, { 5000000, "5" },  { 10000000, "10" }, { 30000000, "30" },
};

static const struct bound nanosecond_bounds[] = {
    { 100, "0.0000001" }, { 250, "0.00000025" }, { 500, "0.0000005" },  { 1000, "0.000001" }, { 2500, "0.0000025" },
    { 5000, "0.000005" }, { 10000, "0.00001" },  { 25000, "0.000025" }, { 50000, "0.00005" }, { 100000, "0.0001" },
    { 200000, "0.0002" }, { 500000, "0.0005" },  { 1000000, "0.001" },  { 5000000, "0.005" },
};

struct histogram_form {
    const char *name;
    const struct bound *bounds;
    size_t bound_count;
    unsigned places; /* decimal places of the unit */
};

static const struct histogram_form duration_form = { "sluice_request_duration_seconds", microsecond_bounds,
                                                     COUNT_OF(microsecond_bounds), 6 };
static const struct histogram_form upstream_form = { "sluice_upstream_duration_seconds", microsecond_bounds,
                                                     COUNT_OF(microsecond_bounds), 6 };
static const struct histogram_form stage_form = { "sluice_stage_duration_seconds", nanosecond_bounds,
                                                  COUNT_OF(nanosecond_bounds), 9 };

static void put_histogram_line(struct metrics_text *text, const char *name, const char *suffix, const char *labels,
                               const char *bound)
{
    put_cstring(text, name);
    put_cstring(text, suffix);
    put(text, SLICE("{"));
    put_cstring(text, labels);
    if (bound) {
        put(text, SLICE(",le=\""));
        put_cstring(text, bound);
        put(text, SLICE("\""));
    }
    put(text, SLICE("} "));
}

static void put_histogram(struct metrics_text *text, const struct histogram_form *form, const char *labels,
                          const struct histogram_sum *sum)
{
    for (size_t i = 0; i < form->bound_count; i++) {
        put_histogram_line(text, form->name, "_bucket", labels, form->bounds[i].seconds);
        put_unsigned(text, histogram_count_up_to(sum, form->bounds[i].limit));
        put(text, SLICE("\n"));
    }
    put_histogram_line(text, form->name, "_bucket", labels, "+Inf");
    put_unsigned(text, sum->count);
    put(text, SLICE("\n"));
    put_histogram_line(text, form->name, "_sum", labels, NULL);
    put_decimal(text, sum->sum_us, form->places);
    put(text, SLICE("\n"));
    put_histogram_line(text, form->name, "_count", labels, NULL);
    put_unsigned(text, sum->count);
    put(text, SLICE("\n"));
}

static void put_route_histogram(struct metrics_text *text, const struct metrics *metrics,
                                const struct route_metrics *route, const struct histogram_form *form, size_t offset)
{
    struct histogram_sum sum = { 0 };
    for (unsigned i = 0; i < metrics->workers; i++) {
        const struct route_line *line = atomic_load_explicit(&route->lines[i], memory_order_acquire);
        if (line) histogram_merge(&sum, (const struct histogram *)(const void *)((const char *)line + offset));
    }
    if (sum.count == 0) return;
    struct metrics_text labels = { 0 };
    put_route_labels(&labels, route);
    *room(&labels, 1) = '\0';
    put_histogram(text, form, labels.bytes, &sum);
    free(labels.bytes);
}

static void put_stages(struct metrics_text *text, const struct metrics *metrics)
{
    metrics_text_head(text, stage_form.name, "histogram", "Time in each step of a request, of one request in 64.");
    for (unsigned stage = 0; stage < metrics->stage_count; stage++) {
        struct histogram_sum sum = { 0 };
        for (unsigned i = 0; i < metrics->workers; i++) histogram_merge(&sum, &metrics->lines[i].stages[stage]);
        char *labels = memory_format("stage=\"%s\"", metrics->stage_names[stage]);
        if (sum.count) put_histogram(text, &stage_form, labels, &sum);
        free(labels);
    }
}

/* --- errors --- */

static uint64_t sum_errors(const struct metrics *metrics, const char *type)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++) {
        for (unsigned j = 0; j < ERROR_TYPES_MAX; j++) {
            const char *known = atomic_load_explicit(&metrics->lines[i].errors[j].type, memory_order_acquire);
            if (known && strcmp(known, type) == 0) sum += counter_read(&metrics->lines[i].errors[j].count);
        }
    }
    return sum;
}

/* Was the type seen in an earlier place? Then its sum is written already. */
static bool is_repeated(const struct metrics *metrics, unsigned worker, unsigned at, const char *type)
{
    for (unsigned i = 0; i <= worker; i++) {
        for (unsigned j = 0; j < (i == worker ? at : ERROR_TYPES_MAX); j++) {
            const char *known = atomic_load_explicit(&metrics->lines[i].errors[j].type, memory_order_acquire);
            if (known && strcmp(known, type) == 0) return true;
        }
    }
    return false;
}

static void put_errors(struct metrics_text *text, const struct metrics *metrics)
{
    metrics_text_head(text, "sluice_errors_total", "counter",
                      "Requests that the gateway itself refused or failed, by reason.");
    for (unsigned i = 0; i < metrics->workers; i++) {
        for (unsigned j = 0; j < ERROR_TYPES_MAX; j++) {
            const char *type = atomic_load_explicit(&metrics->lines[i].errors[j].type, memory_order_acquire);
            if (!type || is_repeated(metrics, i, j, type)) continue;
            char *labels = memory_format("type=\"%s\"", type);
            metrics_text_line(text, "sluice_errors_total", labels, sum_errors(metrics, type));
            free(labels);
        }
    }
}

/* --- WebSockets --- */

static uint64_t sum_closes(const struct metrics *metrics, unsigned closer, unsigned code)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++)
        sum += counter_read(&metrics->lines[i].websocket_closes[closer][code]);
    return sum;
}

static void put_websocket_closes(struct metrics_text *text, const struct metrics *metrics)
{
    metrics_text_head(text, "sluice_websocket_closes_total", "counter",
                      "WebSockets that ended, by who closed first and with which code.");
    for (unsigned closer = WEBSOCKET_NOT_CLOSED + 1; closer < WEBSOCKET_CLOSER_COUNT; closer++) {
        for (unsigned code = 0; code < WEBSOCKET_CODES; code++) {
            uint64_t sum = sum_closes(metrics, closer, code);
            if (sum == 0) continue;
            char number[8] = "other";
            if (code < WEBSOCKET_CODES - 1) snprintf(number, sizeof number, "%u", websocket_codes[code]);
            char *labels = memory_format("side=\"%.*s\",code=\"%s\"", SLICE_PRINT(websocket_closer_word(closer)),
                                         number);
            metrics_text_line(text, "sluice_websocket_closes_total", labels, sum);
            free(labels);
        }
    }
}

/* --- the process --- */

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    int got = fscanf(file, "%lu %lu", &total, &resident); /* NOLINT(cert-err34-c): the kernel writes it */
    fclose(file);
    return got == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void put_process(struct metrics_text *text, const struct metrics *metrics)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    metrics_text_head(text, "process_cpu_seconds_total", "counter", "User and system time of the gateway process.");
    put(text, SLICE("process_cpu_seconds_total "));
    put_decimal(text, cpu_us, 6);
    put(text, SLICE("\n"));
    metrics_text_head(text, "process_resident_memory_bytes", "gauge", "Resident memory of the gateway process.");
    metrics_text_line(text, "process_resident_memory_bytes", NULL, resident_bytes());
    metrics_text_head(text, "sluice_uptime_seconds", "gauge", "Seconds since the gateway process began.");
    metrics_text_line(text, "sluice_uptime_seconds", NULL, (clock_monotonic_ns() - metrics->begun_ns) / 1000000000);
}

/* --- all of it --- */

/* Routes that are in no configuration any more and were not for an hour go. */
static void forget_unused(struct metrics *metrics)
{
    uint64_t now_ns = clock_monotonic_ns();
    size_t position = 0;
    for (struct map_entry *entry = map_next(&metrics->routes, &position); entry;
         entry = map_next(&metrics->routes, &position)) {
        struct route_metrics *route = entry->value;
        if (route->references > 0 || now_ns - route->unused_since_ns <= UNUSED_KEPT_NS) continue;
        map_remove(&metrics->routes, entry->key); /* leaves a gap; the walk goes on behind it */
        metrics_route_destroy(metrics, route);
    }
}

static void put_all_routes(struct metrics_text *text, const struct metrics *metrics, const struct histogram_form *form,
                           size_t offset)
{
    size_t position = 0;
    for (struct map_entry *entry = map_next(&metrics->routes, &position); entry;
         entry = map_next(&metrics->routes, &position)) {
        if (form) {
            put_route_histogram(text, metrics, entry->value, form, offset);
        } else {
            put_requests(text, metrics, entry->value);
        }
    }
}

static void put_everything(struct metrics_text *text, struct metrics *metrics)
{
    metrics_text_head(text, "sluice_requests_total", "counter", "Requests by route, service, method and status class.");
    put_all_routes(text, metrics, NULL, 0);
    metrics_text_head(text, duration_form.name, "histogram",
                      "From a complete request head to the last byte handed to the kernel.");
    put_all_routes(text, metrics, &duration_form, offsetof(struct route_line, duration));
    metrics_text_head(text, upstream_form.name, "histogram",
                      "From the start of a call to its response head, all tries together.");
    put_all_routes(text, metrics, &upstream_form, offsetof(struct route_line, upstream));
    put_errors(text, metrics);
    put_websocket_closes(text, metrics);
    put_stages(text, metrics);
    for (const struct metrics_source *source = metrics->sources; source; source = source->next)
        source->write(text, source->argument);
    put_process(text, metrics);
}

char *metrics_render(struct metrics *metrics, size_t *length)
{
    struct metrics_text text = { 0 };
    pthread_mutex_lock(&metrics->lock);
    forget_unused(metrics);
    put_everything(&text, metrics);
    pthread_mutex_unlock(&metrics->lock);
    *length = text.length;
    return text.bytes;
}
