/* shared/given_up.c: see given_up.h. */
#include "shared/given_up.h"

#include <stdlib.h>
#include <string.h>

#define NS_A_SECOND UINT64_C(1000000000)

/* Where in which row. Rows of limits that count differently are not compared (limit_position()). */
struct row_place {
    const union limit_entry *entry;
    uint64_t tag, quota, position;
};

/* Places that nobody has, each right behind the other. */
struct given_up_run {
    struct given_up_run *next;
    struct row_place end;
    uint64_t before;  /* the entry's value in front of the first one */
    uint64_t until_s; /* its time is over */
};

void given_up_init(struct given_up *given_up)
{
    memset(given_up, 0, sizeof *given_up);
    pthread_mutex_init(&given_up->lock, NULL);
}

void given_up_release(struct given_up *given_up)
{
    for (size_t i = 0; i < GIVEN_UP_CHAINS; i++) {
        while (given_up->chains[i]) {
            struct given_up_run *run = given_up->chains[i];
            given_up->chains[i] = run->next;
            free(run);
        }
    }
    pthread_mutex_destroy(&given_up->lock);
}

static bool is_same_place(const struct row_place *one, const struct row_place *other)
{
    return one->entry == other->entry && one->position == other->position && one->tag == other->tag &&
           one->quota == other->quota;
}

/* Clients choose keys, not where these stand: a multiplication spreads them (Knuth's). */
static struct given_up_run **chain_of(struct given_up *given_up, const struct row_place *end)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)end->entry ^ end->position) * UINT64_C(0x9e3779b97f4a7c15);
    return &given_up->chains[(mixed >> 32) % GIVEN_UP_CHAINS];
}

static struct row_place place_behind(const struct limit *limit, const struct limit_lease *lease, uint64_t value)
{
    bool counts_windows = limit->algorithm == LIMIT_FIXED_WINDOW;
    return (struct row_place){ lease->entry, lease->tag, counts_windows ? limit->quota : 0,
                               limit_position(limit, value) };
}

static void forget(struct given_up *given_up, struct given_up_run **at)
{
    struct given_up_run *run = *at;
    *at = run->next;
    free(run);
    given_up->count--;
}

/* Forgets the run that ends there. False: there is none. */
static bool take_run(struct given_up *given_up, const struct row_place *end, uint64_t *before)
{
    struct given_up_run **at = chain_of(given_up, end);
    while (*at && !is_same_place(&(*at)->end, end)) at = &(*at)->next;
    if (!*at) return false;
    *before = (*at)->before;
    forget(given_up, at);
    return true;
}

static void forget_what_is_over(struct given_up *given_up, struct given_up_run **at, uint64_t now_s)
{
    while (*at) {
        if ((*at)->until_s <= now_s)
            forget(given_up, at);
        else
            at = &(*at)->next;
    }
}

static void remember(struct given_up *given_up, const struct limit *limit, const struct limit_lease *lease,
                     uint64_t now_ns)
{
    struct row_place end = place_behind(limit, lease, lease->taken.value);
    struct given_up_run **chain = chain_of(given_up, &end);
    uint64_t until_s = limit_position_until_s(limit, end.position);
    forget_what_is_over(given_up, chain, now_ns / NS_A_SECOND);
    if (until_s <= now_ns / NS_A_SECOND || given_up->count >= GIVEN_UP_MAX) return;
    struct given_up_run *run = malloc(sizeof *run);
    if (!run) return;
    *run = (struct given_up_run){ *chain, end, lease->taken.before, until_s };
    *chain = run;
    given_up->count++;
}

/* What keys share that have no place of their own belongs to the rule, and is not told apart from another rule's that comes later. */
static bool is_shared(const struct limit_lease *lease) { return lease->tag == 0; }

void given_up_refund(struct given_up *given_up, const struct limit *limit, const struct limit_lease *lease,
                     uint64_t now_ns)
{
    if (!lease->entry) return;
    if (is_shared(lease)) {
        (void)limit_table_refund(limit, lease, now_ns);
        return;
    }
    struct limit_lease all = *lease;
    pthread_mutex_lock(&given_up->lock);
    struct row_place front = place_behind(limit, &all, all.taken.before);
    while (take_run(given_up, &front, &all.taken.before)) front = place_behind(limit, &all, all.taken.before);
    if (!limit_table_refund(limit, &all, now_ns)) remember(given_up, limit, &all, now_ns);
    pthread_mutex_unlock(&given_up->lock);
}
