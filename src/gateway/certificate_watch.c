/* gateway/certificate_watch.c: see certificate_watch.h. */
#include "gateway/certificate_watch.h"

#include "base/memory.h"
#include "keys/certificates.h"

#define DAY_MS (24 * 60 * 60 * 1000)

static void warn_daily(struct timer *timer)
{
    struct certificate_watch *watch = CONTAINER_OF(timer, struct certificate_watch, daily);
    time_t now = time(NULL);
    for (size_t i = 0; i < watch->facts.count; i++) {
        const struct certificate_fact *fact = vector_at(&watch->facts, i);
        certificate_warn(fact->name, fact->listener, fact->not_after, now);
    }
    timer_set(&watch->loop->timers, timer, watch->loop->now_ms + DAY_MS);
}

void certificate_watch_init(struct certificate_watch *watch, struct loop *loop)
{
    *watch = (struct certificate_watch){ .lock = PTHREAD_MUTEX_INITIALIZER, .loop = loop };
    vector_init(&watch->facts, sizeof(struct certificate_fact));
    timer_init(&watch->daily, warn_daily);
    timer_set(&loop->timers, &watch->daily, loop->now_ms + DAY_MS);
}

void certificate_watch_release(struct certificate_watch *watch)
{
    timer_clear(&watch->loop->timers, &watch->daily);
    certificate_facts_release(&watch->facts);
}

void certificate_watch_take(struct certificate_watch *watch, struct vector *facts)
{
    struct vector before = watch->facts;
    pthread_mutex_lock(&watch->lock);
    watch->facts = *facts;
    pthread_mutex_unlock(&watch->lock);
    certificate_facts_release(&before);
    vector_init(facts, sizeof(struct certificate_fact));
}

/* Names come from certificates: what a label's value can't hold is escaped (Prometheus text format 0.0.4). */
static char *label_value(const char *text)
{
    char *escaped = memory_allocate(2 * strlen(text) + 1), *at = escaped;
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n') *at++ = '\\';
        *at++ = (char)(*text == '\n' ? 'n' : *text);
    }
    return escaped;
}

void certificate_watch_write_metrics(struct certificate_watch *watch, struct metrics_text *text)
{
    static const char name[] = "sluice_certificate_expiry_timestamp_seconds";
    metrics_text_head(text, name, "gauge", "When a listener's certificate ends, in seconds since the epoch.");
    pthread_mutex_lock(&watch->lock);
    for (size_t i = 0; i < watch->facts.count; i++) {
        const struct certificate_fact *fact = vector_at(&watch->facts, i);
        char *value = label_value(fact->name);
        char *labels = memory_format("listener=\"%s\",name=\"%s\"", fact->listener, value);
        metrics_text_line_signed(text, name, labels, fact->not_after);
        free(labels);
        free(value);
    }
    pthread_mutex_unlock(&watch->lock);
}
