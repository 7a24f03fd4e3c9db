/* upstream/health.c: see health.h. */
#include "upstream/health.h"

#include "base/memory.h"
#include "config/resources.h"

#define FIRST_WITHIN_MS 1000u

/* --- the state --- */

static enum health_state next_state(enum health_state state, const struct health_thresholds *thresholds,
                                    uint32_t successes, uint32_t failures)
{
    switch (state) {
    case HEALTH_UNKNOWN: return successes > 0 ? HEALTH_UP : HEALTH_DOWN;
    case HEALTH_UP: return failures >= thresholds->unhealthy ? HEALTH_DOWN : HEALTH_UP;
    case HEALTH_DOWN: return successes >= thresholds->healthy ? HEALTH_UP : HEALTH_DOWN;
    case HEALTH_STATES: break;
    }
    return state;
}

static uint32_t one_more(const _Atomic uint32_t *count)
{
    uint32_t value = atomic_load_explicit(count, memory_order_relaxed);
    return value < UINT32_MAX ? value + 1 : value;
}

bool health_note(struct instance_health *health, const struct health_thresholds *thresholds, bool success,
                 uint16_t status, const char *reason_or_null, uint64_t now_ms)
{
    uint32_t successes = success ? one_more(&health->successes) : 0;
    uint32_t failures = success ? 0 : one_more(&health->failures);
    enum health_state before = atomic_load_explicit(&health->state, memory_order_relaxed);
    enum health_state after = next_state(before, thresholds, successes, failures);
    atomic_store_explicit(&health->successes, successes, memory_order_relaxed);
    atomic_store_explicit(&health->failures, failures, memory_order_relaxed);
    atomic_store_explicit(&health->checked_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&health->last_status, status, memory_order_relaxed);
    atomic_store_explicit(&health->last_reason, success ? NULL : reason_or_null, memory_order_relaxed);
    if (after == before) return false;
    /* Workers read the state first: one that sees it down should find since when. */
    atomic_store_explicit(&health->changed_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&health->state, after, memory_order_release);
    return true;
}

void health_forget(struct instance_health *health)
{
    atomic_store_explicit(&health->state, HEALTH_UNKNOWN, memory_order_relaxed);
    atomic_store_explicit(&health->successes, 0, memory_order_relaxed);
    atomic_store_explicit(&health->failures, 0, memory_order_relaxed);
    atomic_store_explicit(&health->checked_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&health->changed_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&health->last_status, 0, memory_order_relaxed);
    atomic_store_explicit(&health->last_reason, NULL, memory_order_relaxed);
}

const char *health_word(enum health_state state)
{
    static const char *const words[HEALTH_STATES] = {
        [HEALTH_UNKNOWN] = "unknown",
        [HEALTH_UP] = "up",
        [HEALTH_DOWN] = "down",
    };
    return words[state];
}

/* --- the check --- */

void status_set_add(struct status_set *set, unsigned first, unsigned last)
{
    PROMISE(first >= STATUS_SET_FIRST && first <= last && last <= STATUS_SET_LAST);
    for (unsigned i = first - STATUS_SET_FIRST; i <= last - STATUS_SET_FIRST; i++)
        set->bits[i / 64] |= UINT64_C(1) << i % 64;
}

bool status_set_has(const struct status_set *set, unsigned status)
{
    if (status < STATUS_SET_FIRST || status > STATUS_SET_LAST) return false;
    unsigned i = status - STATUS_SET_FIRST;
    return set->bits[i / 64] >> i % 64 & 1;
}

struct health_check *health_check_create(const struct health_check_config *config)
{
    struct health_check *check = memory_allocate(sizeof *check);
    check->path = memory_copy_slice(config->path);
    check->interval_ms = (uint32_t)config->interval_ms;
    check->timeout_ms = (uint32_t)config->timeout_ms;
    check->thresholds = (struct health_thresholds){
        .healthy = (uint32_t)config->healthy_threshold,
        .unhealthy = (uint32_t)config->unhealthy_threshold,
    };
    for (size_t i = 0; i < config->expected_count; i++)
        status_set_add(&check->expected, config->expected[i].first, config->expected[i].last);
    return check;
}

void health_check_destroy(struct health_check *check)
{
    if (!check) return;
    free(check->path);
    free(check);
}

bool health_check_asks_the_same(const struct health_check *one, const struct health_check *other)
{
    return strcmp(one->path, other->path) == 0 && memcmp(&one->expected, &other->expected, sizeof one->expected) == 0;
}

/* --- when --- */

uint64_t health_first_check_ms(uint32_t interval_ms, uint64_t identity, uint64_t now_ms)
{
    return now_ms + identity % (interval_ms < FIRST_WITHIN_MS ? interval_ms : FIRST_WITHIN_MS);
}

uint64_t health_next_check_ms(uint32_t interval_ms, uint64_t identity, uint64_t begun_ms, uint64_t now_ms)
{
    uint64_t earliest_ms = begun_ms ? begun_ms + interval_ms / 2 : now_ms;
    if (earliest_ms < now_ms) earliest_ms = now_ms;
    uint64_t wait_ms = (identity % interval_ms + interval_ms - earliest_ms % interval_ms) % interval_ms;
    return earliest_ms + wait_ms;
}
