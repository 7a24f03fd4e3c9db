/* event/timer.h: deadlines by the thousand: a hierarchical wheel with a tick of 1 ms; set and clear are O(1).
 *
 * Pure: takes now_ms as an argument and knows no clock. Wheel levels: 4 x 256 ticks; a later deadline waits in the last level.
 * A timer fires at its deadline or up to one turn later, never before. (Varghese, Lauck 1987.) */
#ifndef SLUICE_EVENT_TIMER_H
#define SLUICE_EVENT_TIMER_H

#include "base/error.h"
#include "base/list.h"

#define TIMER_LEVELS 4
#define TIMER_SLOTS 256

/* Embedded in its owner. Initialise with timer_init(); clear it before the owner's memory goes. */
struct timer {
    struct list_link link;
    uint64_t deadline_ms; /* loop time; meaningless while not set */
    void (*fire)(struct timer *);
};

struct timer_wheel {
    uint64_t now_ms; /* up to where timers have fired */
    size_t count;
    struct list_link slots[TIMER_LEVELS][TIMER_SLOTS];
    uint64_t occupied[TIMER_LEVELS][TIMER_SLOTS / 64]; /* a bit a slot that may hold timers */
};

void timer_wheel_init(struct timer_wheel *, uint64_t now_ms);
void timer_init(struct timer *, void (*fire)(struct timer *));
static inline bool timer_is_set(const struct timer *timer) { return list_is_linked(&timer->link); }

/* Setting a set timer moves it. A deadline in the past fires at the next advance. Moving a deadline later is lazy:
 * the timer stays in its slot and is re-sorted when that slot comes up, so pushing an idle timeout out costs a store. */
void timer_set(struct timer_wheel *, struct timer *, uint64_t deadline_ms);
void timer_clear(struct timer_wheel *, struct timer *);
/* Fires all that are due; `fire` may set and clear any timer. */
void timer_wheel_advance(struct timer_wheel *, uint64_t now_ms);
/* How many ms until something may be due: 0 = now, UINT64_MAX = nothing is set. A lower bound, never late. */
uint64_t timer_wheel_wait_ms(const struct timer_wheel *);

#endif
