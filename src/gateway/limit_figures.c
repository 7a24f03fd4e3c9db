#include "gateway/limit_figures.h"

#include "base/clock.h"

#include <stdlib.h>

#define RULES_AT_ONCE 32
#define LABEL_BYTES 2048

static void write_table(struct limit_counters *counters, struct metrics_text *text)
{
    struct limit_table_figures figures;
    limit_table_figures(counters->table, limit_counters_time(counters, clock_monotonic_ns()), &figures);
    metrics_text_head(text, "sluice_rate_limit_entries", "gauge", "Keys that rate limits have memory for.");
    metrics_text_line(text, "sluice_rate_limit_entries", NULL, figures.entries);
    metrics_text_head(text, "sluice_rate_limit_entries_in_use", "gauge",
                      "Keys of which something is taken, estimated from a sample.");
    metrics_text_line(text, "sluice_rate_limit_entries_in_use", NULL, figures.in_use);
    metrics_text_head(
        text, "sluice_rate_limit_overflows_total", "counter",
        "Requests whose key found no place, or none that its rule may have, and shared what one key of it may.");
    metrics_text_line(text, "sluice_rate_limit_overflows_total", NULL, figures.overflowed);
    metrics_text_head(text, "sluice_rate_limit_waiting", "gauge", "Requests that wait for their turn.");
    metrics_text_line(text, "sluice_rate_limit_waiting", NULL, limit_counters_waiting(counters));
}

/* A label's value; what doesn't fit is cut. */
static size_t write_escaped(char *into, size_t room, const char *value)
{
    size_t length = 0;
    for (; *value && length + 2 < room; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n') into[length++] = '\\';
        into[length++] = (char)(*value == '\n' ? 'n' : *value);
    }
    return length;
}

static void write_rule(struct metrics_text *text, const struct limit_tally_sum *sum)
{
    char labels[LABEL_BYTES];
    for (int i = 0; i < LIMIT_DECISION_COUNT; i++) {
        size_t length = (size_t)snprintf(labels, sizeof labels, "decision=\"%s\",rule=\"", limit_decision_words[i]);
        length += write_escaped(labels + length, sizeof labels - length - 2, sum->name);
        labels[length++] = '"';
        labels[length] = '\0';
        metrics_text_line(text, "sluice_rate_limit_decisions_total", labels, sum->decisions[i]);
    }
}

bool limit_figures_write(struct limit_counters *counters, struct metrics_text *text, uint64_t *place)
{
    struct limit_tally_sum sums[RULES_AT_ONCE];
    size_t position = *place ? *place - 1 : 0;
    if (*place == 0) {
        write_table(counters, text);
        metrics_text_head(text, "sluice_rate_limit_decisions_total", "counter", "What rate limits said to requests.");
    }
    size_t count = limit_counters_sums(counters, &position, sums, RULES_AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        write_rule(text, &sums[i]);
        free(sums[i].name);
    }
    *place = position + 1;
    return count == RULES_AT_ONCE;
}
