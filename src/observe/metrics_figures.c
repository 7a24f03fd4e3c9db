/* observe/metrics_figures.c: what is told once for the whole process: errors, WebSockets, compression, stages, the process itself. */
#include "observe/metrics_private.h"

#include <sys/resource.h>
#include <unistd.h>

/* --- stages --- */

#define STAGE_BOUNDS 15

static const uint64_t stage_bounds_ns[STAGE_BOUNDS - 1] = { 100,   250,   500,    1000,   2500,   5000,    10000,
                                                            25000, 50000, 100000, 200000, 500000, 1000000, 5000000 };
static const struct slice stage_bounds[STAGE_BOUNDS] = {
    HISTOGRAM_BOUND("0.0000001"), HISTOGRAM_BOUND("0.00000025"), HISTOGRAM_BOUND("0.0000005"),
    HISTOGRAM_BOUND("0.000001"),  HISTOGRAM_BOUND("0.0000025"),  HISTOGRAM_BOUND("0.000005"),
    HISTOGRAM_BOUND("0.00001"),   HISTOGRAM_BOUND("0.000025"),   HISTOGRAM_BOUND("0.00005"),
    HISTOGRAM_BOUND("0.0001"),    HISTOGRAM_BOUND("0.0002"),     HISTOGRAM_BOUND("0.0005"),
    HISTOGRAM_BOUND("0.001"),     HISTOGRAM_BOUND("0.005"),      HISTOGRAM_BOUND("+Inf"),
};

static const struct histogram_form stage_form = { "sluice_stage_duration_seconds", stage_bounds, STAGE_BOUNDS, 9 };

static void put_stage(struct metrics_text *text, const char *name, const struct histogram_sum *sum)
{
    uint64_t cumulative[STAGE_BOUNDS];
    for (size_t i = 0; i < STAGE_BOUNDS - 1; i++) cumulative[i] = histogram_count_up_to(sum, stage_bounds_ns[i]);
    cumulative[STAGE_BOUNDS - 1] = sum->count;
    char *labels = memory_format("stage=\"%s\"", name);
    text_put_histogram(text, &stage_form, slice_from_cstring(labels), cumulative, sum->sum_us);
    free(labels);
}

void text_put_stages(struct metrics_text *text, const struct metrics *metrics)
{
    metrics_text_head(text, stage_form.name, "histogram", "Time in each step of a request, of one request in 64.");
    for (unsigned stage = 0; stage < metrics->stage_count; stage++) {
        struct histogram_sum sum = { 0 };
        for (unsigned i = 0; i < metrics->workers; i++) histogram_merge(&sum, &metrics->lines[i].stages[stage]);
        if (sum.count) put_stage(text, metrics->stage_names[stage], &sum);
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

void text_put_errors(struct metrics_text *text, const struct metrics *metrics)
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

void text_put_websocket_closes(struct metrics_text *text, const struct metrics *metrics)
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

/* --- compression --- */

static const char *const compression_words[COMPRESSION_OUTCOME_COUNT] = {
    [COMPRESSED_GZIP] = "gzip",         [COMPRESSED_BROTLI] = "br",
    [COMPRESSED_ZSTD] = "zstd",         [UNCOMPRESSED_PARTIAL] = "partial",
    [UNCOMPRESSED_ENCODED] = "encoded", [UNCOMPRESSED_NO_TRANSFORM] = "no-transform",
    [UNCOMPRESSED_DIGEST] = "digest",   [UNCOMPRESSED_TYPE] = "type",
    [UNCOMPRESSED_SHORT] = "short",     [UNCOMPRESSED_NOT_ACCEPTED] = "not-accepted",
    [UNCOMPRESSED_SECRET] = "secret",   [UNCOMPRESSED_MEMORY] = "memory",
};

struct compression_family {
    const char *name, *help, *label;
    size_t counts; /* offset in a worker's line */
    unsigned outcomes;
};

static const struct compression_family compression_families[] = {
    { "sluice_compression_answers_total",
      "Bodies that the policy compression has seen, by coding, or by why they were left as they were.", "outcome",
      offsetof(struct metrics_line, compression.answers), COMPRESSION_OUTCOME_COUNT },
    { "sluice_compression_input_bytes_total", "Bytes of bodies before they were compressed.", "coding",
      offsetof(struct metrics_line, compression.input_bytes), COMPRESSED_CODINGS },
    { "sluice_compression_output_bytes_total", "Bytes of bodies as they were compressed.", "coding",
      offsetof(struct metrics_line, compression.output_bytes), COMPRESSED_CODINGS },
};

static uint64_t sum_counts(const struct metrics *metrics, size_t counts, unsigned at)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++)
        sum += counter_read((const struct counter *)((const char *)&metrics->lines[i] + counts) + at);
    return sum;
}

void text_put_compression(struct metrics_text *text, const struct metrics *metrics)
{
    for (size_t i = 0; i < COUNT_OF(compression_families); i++) {
        const struct compression_family *family = &compression_families[i];
        metrics_text_head(text, family->name, "counter", family->help);
        for (unsigned outcome = 0; outcome < family->outcomes; outcome++) {
            uint64_t sum = sum_counts(metrics, family->counts, outcome);
            if (sum == 0) continue;
            char *labels = memory_format("%s=\"%s\"", family->label, compression_words[outcome]);
            metrics_text_line(text, family->name, labels, sum);
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

void text_put_process(struct metrics_text *text, const struct metrics *metrics)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    metrics_text_head(text, "process_cpu_seconds_total", "counter", "User and system time of the gateway process.");
    text_put(text, SLICE("process_cpu_seconds_total "));
    text_put_decimal(text, cpu_us, 6);
    text_put(text, SLICE("\n"));
    metrics_text_head(text, "process_resident_memory_bytes", "gauge", "Resident memory of the gateway process.");
    metrics_text_line(text, "process_resident_memory_bytes", NULL, resident_bytes());
    metrics_text_head(text, "sluice_uptime_seconds", "gauge", "Seconds since the gateway process began.");
    metrics_text_line(text, "sluice_uptime_seconds", NULL, (clock_monotonic_ns() - metrics->begun_ns) / 1000000000);
}
