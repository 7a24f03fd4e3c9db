/* upstream/health.h: whether an instance is up, by what its checks said: a pure state machine an instance, and when it is asked.
 *
 * An instance begins as unknown, which counts as up: a gateway that starts sends traffic at once. `unhealthy` failures in a row make it
 * down, `healthy` successes in a row make it up again; the first check of an unknown one decides at once. State is kept by identity
 * (struct instance), so a reload or a change of the check's settings keeps it; a service whose healthCheck is taken away forgets it.
 * Time and results are arguments. The checker that calls this: gateway/health_worker.h. */
#ifndef SLUICE_UPSTREAM_HEALTH_H
#define SLUICE_UPSTREAM_HEALTH_H

#include "base/slice.h"

#include <stdatomic.h>

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN, HEALTH_STATES };

struct health_thresholds {
    uint32_t healthy, unhealthy; /* in a row; at least 1 */
};

/* In struct instance, written by the checker's thread alone; workers read `state` relaxed. */
struct instance_health {
    _Atomic uint8_t state;                   /* enum health_state */
    _Atomic uint32_t successes, failures;    /* in a row */
    _Atomic uint64_t checked_ms, changed_ms; /* wall clock, since 1970; 0: never */
    _Atomic uint16_t last_status;            /* 0: no answer */
    _Atomic(const char *) last_reason;       /* static: "connect-failure", "timeout", "status"; NULL: it succeeded */
};

/* What one check said. True: the state has changed. */
bool health_note(struct instance_health *, const struct health_thresholds *, bool success, uint16_t status,
                 const char *reason_or_null, uint64_t now_ms);
void health_forget(struct instance_health *);
static inline bool health_is_down(const struct instance_health *health)
{
    return atomic_load_explicit(&health->state, memory_order_relaxed) == HEALTH_DOWN;
}
const char *health_word(enum health_state); /* "unknown", "up", "down" */

/* Statuses from 100 to 599, a bit each. */
#define STATUS_SET_FIRST 100
#define STATUS_SET_LAST 599
struct status_set {
    uint64_t bits[(STATUS_SET_LAST - STATUS_SET_FIRST) / 64 + 1];
};
void status_set_add(struct status_set *, unsigned first, unsigned last); /* within the bounds */
bool status_set_has(const struct status_set *, unsigned status);

/* A service's healthCheck, as compiled. */
struct health_check {
    char *path;
    uint32_t interval_ms, timeout_ms;
    struct health_thresholds thresholds;
    struct status_set expected;
};

struct health_check_config;
struct health_check *health_check_create(const struct health_check_config *);
void health_check_destroy(struct health_check *); /* NULL is allowed */
/* What is asked, and what counts as a good answer, is the same. */
bool health_check_asks_the_same(const struct health_check *, const struct health_check *);

/* When an instance is asked: at the same place of every interval, found from its identity, so that many instances are spread over it,
 * neither a reload nor a late answer moves them, and nobody is asked twice within half of one. */
/* The first time, for one that nothing is known of: within the interval, and within a second. */
uint64_t health_first_check_ms(uint32_t interval_ms, uint64_t identity, uint64_t now_ms);
/* After one that began at `begun_ms` (0: none has), never before `now_ms`. */
uint64_t health_next_check_ms(uint32_t interval_ms, uint64_t identity, uint64_t begun_ms, uint64_t now_ms);

#endif
