/* gateway/key_set_metrics.c: see key_set_metrics.h. */
#include "gateway/key_set_metrics.h"

#include "base/memory.h"

static void write_tokens(struct metrics_text *text, const struct key_set_figures *figures)
{
    static const char name[] = "sluice_jwt_tokens_total";
    metrics_text_head(text, name, "counter",
                      "Tokens that jwt-auth judged, by what became of them; cached: verified before.");
    for (int i = 0; i < JWT_TOKEN_RESULTS; i++) {
        char label[40];
        snprintf(label, sizeof label, "result=\"%s\"", jwt_token_result_words[i]);
        metrics_text_line(text, name, label, figures->tokens[i]);
    }
}

static void write_fetches(struct metrics_text *text, const struct key_set_figures *figures)
{
    static const char fetches[] = "sluice_jwks_fetches_total", waits[] = "sluice_jwks_waits_total";
    metrics_text_head(text, fetches, "counter", "Fetches of key sets, by what came of them.");
    metrics_text_line(text, fetches, "result=\"fetched\"", figures->fetched);
    metrics_text_line(text, fetches, "result=\"unchanged\"", figures->unchanged);
    metrics_text_line(text, fetches, "result=\"failed\"", figures->failed);
    metrics_text_head(text, waits, "counter", "Requests that waited for a key set; shed: too many waited already.");
    metrics_text_line(text, waits, "result=\"waited\"", figures->asked);
    metrics_text_line(text, waits, "result=\"shed\"", figures->overloaded);
}

/* One metric of all sources; the text format wants its lines together. */
struct gauge_writing {
    struct metrics_text *text;
    const char *name;
    uint64_t (*value)(const struct key_set_state *);
};

static uint64_t keys_of(const struct key_set_state *state) { return state->keys; }
static uint64_t failing_of(const struct key_set_state *state) { return state->is_failing; }
static uint64_t age_of(const struct key_set_state *state) { return state->age_ms / 1000; }

/* A source that never was right has no age. */
static void write_source(void *argument, const struct key_set_state *state)
{
    const struct gauge_writing *writing = argument;
    if (writing->value == age_of && state->age_ms == UINT64_MAX) return;
    char *label = memory_format("source=\"%s\"", state->name);
    metrics_text_line(writing->text, writing->name, label, writing->value(state));
    free(label);
}

void key_set_metrics_write(struct key_sets *sets, struct metrics_text *text)
{
    static const struct {
        const char *name, *help;
        uint64_t (*value)(const struct key_set_state *);
    } gauges[] = {
        { "sluice_jwks_keys", "Keys in force of a source.", keys_of },
        { "sluice_jwks_failing", "1: the source's keys could not be had when last asked for.", failing_of },
        { "sluice_jwks_age_seconds", "How long ago a source's keys were last known to be right.", age_of },
    };
    struct key_set_figures figures;
    if (!sets) return;
    key_sets_figures(sets, &figures);
    write_tokens(text, &figures);
    write_fetches(text, &figures);
    for (size_t i = 0; i < COUNT_OF(gauges); i++) {
        struct gauge_writing writing = { text, gauges[i].name, gauges[i].value };
        metrics_text_head(text, gauges[i].name, "gauge", gauges[i].help);
        key_sets_visit(sets, write_source, &writing);
    }
}
