/* gateway/health_report.c: what others see of the checks: JSON for the admin API, metrics for Prometheus. Any thread, under the lock. */
#include "gateway/health_checks.h"

#include "base/clock.h"
#include "base/memory.h"
#include "json/writer.h"

/* --- JSON --- */

/* Names, two times, a state; a byte of a text becomes six at most. */
#define ITEM_BYTES 320

static size_t bytes_for(const struct checked_service *checked)
{
    size_t bytes = 16;
    for (struct list_link *link = checked->checks.next; link != &checked->checks; link = link->next) {
        const struct instance_check *check = CONTAINER_OF(link, struct instance_check, link);
        bytes += ITEM_BYTES + 6 * strlen(check->instance->name) + (check->said ? 6 * strlen(check->said) : 0);
    }
    return bytes;
}

static void write_time(struct json_writer *writer, struct slice key, uint64_t at_ms)
{
    char text[CLOCK_ISO8601_BYTES];
    json_write_key(writer, key);
    if (at_ms == 0) {
        json_write_null(writer);
    } else {
        clock_write_iso8601(at_ms * 1000000, text);
        json_write_string(writer, slice_from_cstring(text));
    }
}

static void write_item(struct json_writer *writer, const struct instance_check *check)
{
    const struct instance_health *health = &check->instance->health;
    uint16_t status = atomic_load_explicit(&health->last_status, memory_order_relaxed);
    enum health_state state = atomic_load_explicit(&health->state, memory_order_relaxed);
    json_write_object_begin(writer);
    json_write_key(writer, SLICE("instance")), json_write_string(writer, slice_from_cstring(check->instance->name));
    json_write_key(writer, SLICE("state")), json_write_string(writer, slice_from_cstring(health_word(state)));
    write_time(writer, SLICE("since"), atomic_load_explicit(&health->changed_ms, memory_order_relaxed));
    write_time(writer, SLICE("lastCheck"), atomic_load_explicit(&health->checked_ms, memory_order_relaxed));
    json_write_key(writer, SLICE("lastStatus"));
    if (status)
        json_write_unsigned(writer, status);
    else
        json_write_null(writer);
    json_write_key(writer, SLICE("reason"));
    if (check->said)
        json_write_string(writer, slice_from_cstring(check->said));
    else
        json_write_null(writer);
    json_write_object_end(writer);
}

static char *write_items(const struct checked_service *checked)
{
    size_t size = bytes_for(checked);
    char *text = memory_allocate(size);
    struct json_writer writer;
    json_writer_init(&writer, text, size - 1); /* a NUL stands behind */
    json_write_array_begin(&writer);
    for (struct list_link *link = checked->checks.next; link != &checked->checks; link = link->next)
        write_item(&writer, CONTAINER_OF(link, struct instance_check, link));
    json_write_array_end(&writer);
    PROMISE(!writer.overflow);
    return text;
}

char *health_checks_describe(struct health_checks *checks, struct slice service_id)
{
    pthread_mutex_lock(&checks->lock);
    const struct checked_service *checked = map_find(&checks->services, service_id);
    char *text = checked ? write_items(checked) : NULL;
    pthread_mutex_unlock(&checks->lock);
    return text;
}

void health_checks_count(struct health_checks *checks, unsigned counts[HEALTH_STATES])
{
    memset(counts, 0, HEALTH_STATES * sizeof counts[0]);
    pthread_mutex_lock(&checks->lock);
    for (size_t slot = 0; slot < checks->slot_count; slot++) {
        const struct instance_check *check = checks->by_slot[slot];
        if (check) counts[atomic_load_explicit(&check->instance->health.state, memory_order_relaxed)]++;
    }
    pthread_mutex_unlock(&checks->lock);
}

/* --- metrics --- */

/* Names of services may hold what a label's value can't (Prometheus text format 0.0.4). */
static char *label_value(const char *text)
{
    char *escaped = memory_allocate(2 * strlen(text) + 1), *at = escaped;
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') *at++ = '\\';
        *at++ = *text;
    }
    return escaped;
}

static void write_up(struct metrics_text *text, const struct checked_service *checked)
{
    char *service = label_value(checked->service->name);
    for (struct list_link *link = checked->checks.next; link != &checked->checks; link = link->next) {
        const struct instance *instance = CONTAINER_OF(link, struct instance_check, link)->instance;
        if (atomic_load_explicit(&instance->health.state, memory_order_relaxed) == HEALTH_UNKNOWN) continue;
        char *labels = memory_format("service=\"%s\",instance=\"%s\"", service, instance->name);
        metrics_text_line(text, "sluice_instance_up", labels, !health_is_down(&instance->health));
        free(labels);
    }
    free(service);
}

static void write_results(struct metrics_text *text, const struct checked_service *checked)
{
    static const char *const words[CHECK_RESULTS] = {
        [CHECK_SUCCESS] = "success",
        [CHECK_FAILURE] = "failure",
        [CHECK_SKIPPED] = "skipped",
    };
    char *service = label_value(checked->service->name);
    for (unsigned i = 0; i < CHECK_RESULTS; i++) {
        char *labels = memory_format("service=\"%s\",result=\"%s\"", service, words[i]);
        metrics_text_line(text, "sluice_health_checks_total", labels, checked->results[i]);
        free(labels);
    }
    free(service);
}

struct family {
    const char *name, *type, *help;
    void (*write)(struct metrics_text *, const struct checked_service *);
};
static const struct family families[] = {
    { "sluice_instance_up", "gauge",
      "Whether an instance is up by its health checks: 1 or 0; absent before its first one.", write_up },
    { "sluice_health_checks_total", "counter",
      "Health checks by what came of them; skipped: the gateway was short of memory or sockets.", write_results },
};

/* A place: the family, and in it the number of the service that was written last. A service keeps its number, so that one that comes or
 * goes between two calls makes no line twice. */
#define FAMILY_SHIFT 56
#define SERVICES_AT_ONCE 32

bool health_checks_write_metrics(struct health_checks *checks, struct metrics_text *text, uint64_t *place)
{
    size_t family = *place >> FAMILY_SHIFT, written = 0;
    uint64_t last = *place & ((UINT64_C(1) << FAMILY_SHIFT) - 1);
    if (last == 0) metrics_text_head(text, families[family].name, families[family].type, families[family].help);
    pthread_mutex_lock(&checks->lock);
    struct list_link *link = checks->in_order.next;
    for (; link != &checks->in_order && written < SERVICES_AT_ONCE; link = link->next) {
        const struct checked_service *checked = CONTAINER_OF(link, struct checked_service, link);
        if (checked->number <= last) continue;
        families[family].write(text, checked);
        last = checked->number;
        written++;
    }
    bool is_end = link == &checks->in_order;
    pthread_mutex_unlock(&checks->lock);
    if (is_end) family++, last = 0;
    *place = (uint64_t)family << FAMILY_SHIFT | last;
    return family < COUNT_OF(families);
}
