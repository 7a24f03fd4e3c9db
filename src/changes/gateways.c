/* changes/gateways.c: who shares the store: each gateway says now and then in a row of its own that it is there and which revision it
 * has, and reads the others'. Neither a revision nor a notification, and beside the orders: one that waits, waits for a row's writing. */
#include "changes/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <inttypes.h>

#define BEAT_MS 5000
#define SEEN_SECONDS 30

struct known_gateway {
    char *id, *name, *version;
    uint64_t revision, started_us, seen_ms; /* the last by the loop's clock */
};

static uint64_t now_ms(void) { return clock_monotonic_ns() / 1000000; }

static void forget(struct vector *gateways)
{
    for (size_t i = 0; i < gateways->count; i++) {
        struct known_gateway *known = vector_at(gateways, i);
        free(known->id), free(known->name), free(known->version);
    }
    vector_release(gateways);
}

static void take_gateway(void *argument, const struct store_gateway *gateway)
{
    uint64_t now = now_ms();
    struct known_gateway known = { .id = memory_copy_slice(gateway->id),
                                   .name = memory_copy_slice(gateway->name),
                                   .version = memory_copy_slice(gateway->version),
                                   .revision = gateway->revision,
                                   .started_us = gateway->started_us,
                                   .seen_ms = gateway->seen_ago_ms < now ? now - gateway->seen_ago_ms : 0 };
    vector_push_copy(argument, &known);
}

static bool say_and_hear(struct changes *changes, struct vector *gateways, struct error *error)
{
    struct store_gateway self = { .id = slice_from_cstring(changes->gateway_id),
                                  .name = slice_from_cstring(changes->options.gateway_name),
                                  .version = SLICE(SLUICE_VERSION),
                                  .revision = catalog_revision(changes->catalog),
                                  .started_us = changes->started_us };
    struct store_gateway_visitor visitor = { take_gateway, gateways };
    return store_gateway_beat(changes->store, &self, error) &&
           store_gateways_list(changes->store, SEEN_SECONDS, &visitor, error);
}

static void note_failure(struct changes *changes, const struct error *error)
{
    if (strcmp(error->reason, "store-unavailable") == 0) {
        follow_store_lost(changes, error);
    } else if (!changes->beat_has_failed) {
        log_warning("store: other gateways don't see this one: %s", error->text);
    }
    changes->beat_has_failed = true;
}

static void beat(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, beat_timer);
    struct vector gateways, before;
    struct error error;
    timer_set(&changes->loop.timers, &changes->beat_timer, changes->loop.now_ms + BEAT_MS);
    if (!changes->store || changes->is_away || !store_is_shared(changes->store)) return;
    vector_init(&gateways, sizeof(struct known_gateway));
    if (!say_and_hear(changes, &gateways, &error)) {
        note_failure(changes, &error);
        forget(&gateways);
        return;
    }
    changes->beat_has_failed = false;
    pthread_mutex_lock(&changes->health_lock);
    before = changes->gateways;
    changes->gateways = gateways;
    pthread_mutex_unlock(&changes->health_lock);
    forget(&before);
    follow_after_use(changes); /* a notification may have come along */
}

/* --- for others --- */

static void write_gateway(FILE *out, const struct known_gateway *known, bool is_first, bool is_self, uint64_t ago_ms)
{
    fputs(is_first ? "{\"id\":" : ",{\"id\":", out);
    text_write_string(out, slice_from_cstring(known->id));
    text_write_field(out, "name", slice_from_cstring(known->name));
    text_write_field(out, "version", slice_from_cstring(known->version));
    fprintf(out, ",\"revision\":%" PRIu64, known->revision);
    text_write_moment(out, "startedAt", known->started_us);
    fprintf(out, ",\"seenAgoMs\":%" PRIu64 ",\"self\":%s}", ago_ms, is_self ? "true" : "false");
}

char *changes_gateways(struct changes *changes)
{
    char *text = NULL;
    size_t length;
    uint64_t now = now_ms();
    pthread_mutex_lock(&changes->health_lock);
    if (changes->gateways.count > 0) {
        FILE *out = open_memstream(&text, &length);
        PROMISE(out != NULL);
        bool is_first = true;
        fputc('[', out);
        for (size_t i = 0; i < changes->gateways.count; i++) {
            const struct known_gateway *known = vector_at(&changes->gateways, i);
            uint64_t ago_ms = known->seen_ms < now ? now - known->seen_ms : 0;
            if (ago_ms > SEEN_SECONDS * UINT64_C(1000)) continue;
            write_gateway(out, known, is_first, strcmp(known->id, changes->gateway_id) == 0, ago_ms);
            is_first = false;
        }
        fputc(']', out);
        text_finish(out, &text);
    }
    pthread_mutex_unlock(&changes->health_lock);
    return text;
}

/* --- life --- */

void gateways_init(struct changes *changes)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice id = draft_new_id(&arena);
    PROMISE(id.length + 1 == sizeof changes->gateway_id);
    memcpy(changes->gateway_id, id.at, id.length);
    arena_release(&arena);
    changes->started_us = now_us();
    timer_init(&changes->beat_timer, beat);
    vector_init(&changes->gateways, sizeof(struct known_gateway));
}

void gateways_start(struct changes *changes)
{
    if (changes->options.gateway_name) timer_set(&changes->loop.timers, &changes->beat_timer, changes->loop.now_ms);
}

/* Whoever ends as it should is not looked for for 30 s. */
void gateways_stop(struct changes *changes)
{
    struct error error;
    if (!timer_is_set(&changes->beat_timer)) return;
    timer_clear(&changes->loop.timers, &changes->beat_timer);
    if (!changes->store || changes->is_away || !store_is_shared(changes->store)) return;
    if (!store_gateway_remove(changes->store, slice_from_cstring(changes->gateway_id), &error))
        log_warning("store: %s", error.text);
}

void gateways_release(struct changes *changes) { forget(&changes->gateways); }
