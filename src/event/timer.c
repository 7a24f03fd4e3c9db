/* A timer stands in the level of the highest byte in which its deadline differs from `now`, in the slot of that byte's value:
 *
 *   level 0: due within this 256 ms block, a slot a millisecond       level 2: a slot 65.5 s
 *   level 1: within this 65.5 s block, a slot 256 ms                  level 3: a slot 4.7 h; the rest of time, too
 *
 * So all that a lower level holds is due before anything of a higher one, and when `now` enters a slot's span the slot is
 * emptied and its timers are placed anew, further down. The last level goes round: what lies beyond its 49 days waits in
 * the slot that is reached last. Only the slot of `now` itself in level 0 may hold timers that are due. */
#include "event/timer.h"

#define SLOT_BITS 8
#define BEYOND_MS ((uint64_t)(TIMER_SLOTS - 1) << (SLOT_BITS * (TIMER_LEVELS - 1)))

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct timer_wheel){ .now_ms = now_ms };
    for (int level = 0; level < TIMER_LEVELS; level++) {
        for (int slot = 0; slot < TIMER_SLOTS; slot++) list_init(&wheel->slots[level][slot]);
    }
}

void timer_init(struct timer *timer, void (*fire)(struct timer *))
{
    list_init(&timer->link);
    timer->deadline_ms = 0;
    timer->fire = fire;
}

static unsigned slot_at(uint64_t moment_ms, int level) { return moment_ms >> (SLOT_BITS * level) & (TIMER_SLOTS - 1); }

static bool slot_is_occupied(const struct timer_wheel *wheel, int level, unsigned slot)
{
    return wheel->occupied[level][slot / 64] >> (slot % 64) & 1;
}

static void place(struct timer_wheel *wheel, struct timer *timer)
{
    uint64_t now_ms = wheel->now_ms, moment_ms = timer->deadline_ms;
    if (moment_ms < now_ms) moment_ms = now_ms;
    uint64_t difference = moment_ms ^ now_ms;
    int level = 0;
    if (difference >= TIMER_SLOTS) {
        level = (63 - __builtin_clzll(difference)) / SLOT_BITS;
        if (level >= TIMER_LEVELS) level = TIMER_LEVELS - 1;
        if (moment_ms - now_ms > BEYOND_MS) moment_ms = now_ms + BEYOND_MS;
    }
    unsigned slot = slot_at(moment_ms, level);
    list_push_back(&wheel->slots[level][slot], &timer->link);
    wheel->occupied[level][slot / 64] |= UINT64_C(1) << (slot % 64);
}

/* Takes the timer out of its slot, or out of the ring of those about to fire. The last one of a slot has the slot's head on
 * both sides, which tells whose bit to clear. */
static void unlink_timer(struct timer_wheel *wheel, struct timer *timer)
{
    struct list_link *neighbour = timer->link.next;
    bool was_last = neighbour == timer->link.previous;
    list_remove(&timer->link);
    if (!was_last) return;
    uintptr_t offset = (uintptr_t)neighbour - (uintptr_t)wheel->slots;
    if (offset >= sizeof wheel->slots) return;
    size_t slot = offset / sizeof(struct list_link);
    wheel->occupied[slot / TIMER_SLOTS][slot % TIMER_SLOTS / 64] &= ~(UINT64_C(1) << (slot % 64));
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms)
{
    if (timer_is_set(timer)) {
        uint64_t before_ms = timer->deadline_ms;
        timer->deadline_ms = deadline_ms;
        if (deadline_ms >= before_ms) return;
        unlink_timer(wheel, timer);
    } else {
        timer->deadline_ms = deadline_ms;
        wheel->count++;
    }
    place(wheel, timer);
}

void timer_clear(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer_is_set(timer)) return;
    unlink_timer(wheel, timer);
    wheel->count--;
}

/* The first occupied slot from `from` on, or TIMER_SLOTS. */
static unsigned next_occupied(const struct timer_wheel *wheel, int level, unsigned from)
{
    for (unsigned word = from / 64; word < TIMER_SLOTS / 64; word++) {
        uint64_t bits = wheel->occupied[level][word];
        if (word == from / 64) bits &= ~UINT64_C(0) << (from % 64);
        if (bits) return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return TIMER_SLOTS;
}

/* When the next occupied slot after that of `now` is entered; UINT64_MAX if none is. */
static uint64_t next_moment_ms(const struct timer_wheel *wheel)
{
    for (int level = 0; level < TIMER_LEVELS; level++) {
        int shift = SLOT_BITS * level;
        uint64_t block_ms = wheel->now_ms >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        unsigned slot = next_occupied(wheel, level, slot_at(wheel->now_ms, level) + 1);
        if (slot < TIMER_SLOTS) return block_ms + ((uint64_t)slot << shift);
        if (level < TIMER_LEVELS - 1) continue;
        slot = next_occupied(wheel, level, 0);
        if (slot < TIMER_SLOTS) return block_ms + ((uint64_t)(TIMER_SLOTS + slot) << shift);
    }
    return UINT64_MAX;
}

/* Moves all timers of a slot to the end of `ring`. */
static void empty_slot(struct timer_wheel *wheel, int level, unsigned slot, struct list_link *ring)
{
    if (!slot_is_occupied(wheel, level, slot)) return;
    struct list_link *head = &wheel->slots[level][slot];
    wheel->occupied[level][slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    ring->previous->next = head->next;
    head->next->previous = ring->previous;
    head->previous->next = ring;
    ring->previous = head->previous;
    list_init(head);
}

/* `now` has just entered the spans of these slots: what they hold moves down. */
static void empty_entered_slots(struct timer_wheel *wheel)
{
    for (int level = TIMER_LEVELS - 1; level > 0; level--) {
        if (wheel->now_ms & ((UINT64_C(1) << (SLOT_BITS * level)) - 1)) continue;
        struct list_link ring, *link;
        list_init(&ring);
        empty_slot(wheel, level, slot_at(wheel->now_ms, level), &ring);
        while ((link = list_first(&ring))) {
            list_remove(link);
            place(wheel, CONTAINER_OF(link, struct timer, link));
        }
    }
}

/* First the wheel turns as far as it goes, then what came due fires; so `fire` meets a wheel at rest, and a deadline that it
 * sets in the past waits for the next advance rather than keeping this one going for ever. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
    struct list_link due, *link;
    list_init(&due);
    empty_slot(wheel, 0, slot_at(wheel->now_ms, 0), &due);
    while (wheel->now_ms < now_ms) {
        uint64_t moment_ms = next_moment_ms(wheel);
        if (moment_ms > now_ms) {
            wheel->now_ms = now_ms;
            break;
        }
        wheel->now_ms = moment_ms;
        empty_entered_slots(wheel);
        empty_slot(wheel, 0, slot_at(moment_ms, 0), &due);
    }
    while ((link = list_first(&due))) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);
        list_remove(link);
        if (timer->deadline_ms > wheel->now_ms) { /* it was moved later meanwhile */
            place(wheel, timer);
        } else {
            wheel->count--;
            timer->fire(timer);
        }
    }
}

uint64_t timer_wheel_wait_ms(const struct timer_wheel *wheel)
{
    if (wheel->count == 0) return UINT64_MAX;
    if (slot_is_occupied(wheel, 0, slot_at(wheel->now_ms, 0))) return 0;
    return next_moment_ms(wheel) - wheel->now_ms;
}
