/* shared/limit_table.c: see limit_table.h. */
#include "shared/limit_table.h"

#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_ENTRIES 4
/* From the home line on; lines behind the last one are the table's own, so that nobody has to go round. With 32, two of a million keys
 * found no place in a table that was half full. */
#define NEIGHBOURS 48
#define BYTES_MIN (UINT64_C(64) << 10)
#define LARGE_PAGES_ABOVE (UINT64_C(32) << 20)
#define NS_A_SECOND UINT64_C(1000000000)

#define IDLE_BITS 28
#define IDLE_MASK ((UINT64_C(1) << IDLE_BITS) - 1)
#define CLAIMED (UINT64_C(1) << IDLE_BITS)
#define TAG_MASK (~(IDLE_MASK | CLAIMED))
#define STAMP_MASK ((uint64_t)(LIMIT_STAMPS - 1) << LIMIT_STAMP_SHIFT)
/* A fresh entry, and a claim, stay so long for who made them. */
#define FRESH_SECONDS 2

/* One entry of a line, in an average; how many claims an average goes back. */
#define ONE 65536
#define AVERAGED 256

struct limit_table {
    union limit_entry *entries;
    uint64_t lines; /* homes; NEIGHBOURS / LINE_ENTRIES - 1 more lines follow */
    uint64_t bytes;
    _Atomic uint64_t overflowed;
};

/* --- entries --- */

/* The older of GCC's two families of builtins, since the newer one calls a library for 16 bytes. */
static bool swap(union limit_entry *entry, union limit_entry expected, union limit_entry wanted)
{
    return __sync_bool_compare_and_swap(&entry->whole, expected.whole, wanted.whole);
}

/* In two halves, which may be of different moments: a swap finds out. */
static union limit_entry load(const union limit_entry *entry)
{
    union limit_entry seen;
    seen.head = __atomic_load_n(&entry->head, __ATOMIC_SEQ_CST);
    seen.value = __atomic_load_n(&entry->value, __ATOMIC_SEQ_CST);
    return seen;
}

static bool is_idle(uint64_t head, uint64_t now_s) { return (head & IDLE_MASK) <= now_s; }

/* Another key may have it a second later: a thread whose clock was read before the entry became idle still finds it. */
static bool is_free(uint64_t head, uint64_t now_s) { return head == 0 || (head & IDLE_MASK) < now_s; }

/* An entry that is one and has this tag. */
static bool is_entry_of(uint64_t head, uint64_t tag) { return (head & ~IDLE_MASK) == tag; }

/* What a claim leaves that is given up: free, and not as if nobody had ever been there (find()). */
static const union limit_entry given_up = { .head = CLAIMED };

static struct limit_state state_of(const union limit_entry *seen)
{
    return (struct limit_state){ .value = seen->value, .idle_at_s = seen->head & IDLE_MASK };
}

static union limit_entry entry_of(uint64_t tag, const struct limit_state *state)
{
    union limit_entry entry;
    entry.value = state->value;
    entry.head = tag | (state->idle_at_s & IDLE_MASK);
    return entry;
}

/* --- life --- */

struct limit_table *limit_table_create(uint64_t bytes, struct error *error)
{
    if (bytes < BYTES_MIN) bytes = BYTES_MIN;
    uint64_t lines = bytes / CACHE_LINE;
    if (lines > UINT32_MAX) lines = UINT32_MAX; /* homes are chosen by 32 bits */
    bytes = lines * CACHE_LINE;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) {
        error_format(error, "no %llu bytes of address space for rate limits: %s", (unsigned long long)bytes,
                     strerror(errno));
        return NULL;
    }
    if (bytes > LARGE_PAGES_ABOVE) (void)madvise(pages, bytes, MADV_HUGEPAGE); /* works without as well */
    struct limit_table *table = memory_allocate(sizeof *table);
    table->entries = pages;
    table->bytes = bytes;
    table->lines = lines - (NEIGHBOURS / LINE_ENTRIES - 1);
    return table;
}

void limit_table_destroy(struct limit_table *table)
{
    if (!table) return;
    munmap(table->entries, table->bytes);
    free(table);
}

uint64_t limit_table_capacity(const struct limit_table *table) { return table->bytes / sizeof(union limit_entry); }

/* --- looking --- */

/* The lower half of the hash says where, the upper one which of those that are there. Bits of the lower one that a tag could hold would tell
 * next to nothing: neighbours have the same. There stands the stamp. */
struct limit_place limit_table_place(const struct limit_table *table, uint64_t hash, struct limit_share *share)
{
    uint64_t line = (hash & UINT32_MAX) * table->lines >> 32, stamped = (hash & ~STAMP_MASK) | share->stamp;
    struct limit_place place = { stamped, table->entries + line * LINE_ENTRIES, share };
    __builtin_prefetch(place.home, 1);
    return place;
}

/* Never 0, which is what keys share. */
static uint64_t tag_of(const struct limit_place *place)
{
    uint64_t tag = place->hash & TAG_MASK;
    return LIKELY(tag != 0) ? tag : CLAIMED << 1;
}

/* The last entry of each line is spare: for rules that have no more entries than are free. */
static bool is_spare(unsigned neighbour) { return neighbour % LINE_ENTRIES == LINE_ENTRIES - 1; }

/* The key's entry or NULL; its home line, mostly. An entry that was never used ends the search, unless it is a spare one: whoever came by would
 * have taken that. */
static union limit_entry *find(const struct limit_place *place)
{
    uint64_t tag = tag_of(place);
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        uint64_t head = __atomic_load_n(&place->home[i].head, __ATOMIC_SEQ_CST);
        if (is_entry_of(head, tag)) return &place->home[i];
        if (head == 0 && !is_spare(i)) break;
    }
    return NULL;
}

static bool is_overflow_in_use(const struct limit_place *place, uint64_t now_s)
{
    return UNLIKELY(!is_idle(__atomic_load_n(&place->share->overflow.head, __ATOMIC_SEQ_CST), now_s));
}

/* --- shares of the table --- */

/* Lost updates of other threads do no harm: it is an average. */
static int32_t follow(_Atomic int32_t *average, int32_t sample)
{
    int32_t now = atomic_load_explicit(average, memory_order_relaxed);
    now += (sample * ONE - now) / AVERAGED;
    atomic_store_explicit(average, now, memory_order_relaxed);
    return now;
}

static bool is_large(const struct limit_place *place, uint64_t now_s)
{
    int32_t own = 0, used = 0;
    for (unsigned i = 0; i < LINE_ENTRIES; i++) {
        uint64_t head = __atomic_load_n(&place->home[i].head, __ATOMIC_RELAXED);
        if (is_free(head, now_s)) continue;
        used++;
        own += ((head ^ place->hash) & STAMP_MASK) == 0;
    }
    own = follow(&place->share->own, own);
    used = follow(&place->share->used, used);
    return own > LINE_ENTRIES * ONE - used;
}

/* --- claiming --- */

/* Of this thread and this claim alone: another thread's would otherwise be taken for one's own where it follows in the same entry. */
static uint64_t make_mark(void)
{
    static _Thread_local uint64_t claims;
    return (uint64_t)(uintptr_t)&claims << 16 ^ ++claims;
}

enum claim_result {
    CLAIM_LOOK_AGAIN, /* there is an entry by now, one's own or another's, or something was in the way */
    CLAIM_SHARE,      /* what the rule's keys share is to be taken */
};

static union limit_entry *find_free(const struct limit_place *place, uint64_t now_s, union limit_entry *seen)
{
    bool leaves_spares = is_large(place, now_s);
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        if (leaves_spares && is_spare(i)) continue;
        *seen = load(&place->home[i]);
        if (is_free(seen->head, now_s)) return &place->home[i];
    }
    return NULL;
}

/* True: no claim for the key stands any more but one's own (NULL: one has none). False: there is an entry. */
static bool is_alone(const struct limit_place *place, const union limit_entry *mine)
{
    uint64_t tag = tag_of(place);
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        union limit_entry *other = &place->home[i];
        while (other != mine) {
            union limit_entry seen = load(other);
            if (is_entry_of(seen.head, tag)) return false;
            if ((seen.head & ~IDLE_MASK) != (tag | CLAIMED) || swap(other, seen, given_up)) break;
        }
    }
    return true;
}

/* What a fresh entry begins with: nothing taken or, as long as keys of the rule had to share, what these have taken. */
static struct limit_state first_state(const struct limit_place *place, uint64_t now_s)
{
    struct limit_state state = { .idle_at_s = now_s + FRESH_SECONDS };
    if (!is_overflow_in_use(place, now_s)) return state;
    union limit_entry shared = load(&place->share->overflow);
    if (!is_idle(shared.head, now_s)) state = state_of(&shared);
    if (state.idle_at_s < now_s + FRESH_SECONDS) state.idle_at_s = now_s + FRESH_SECONDS;
    return state;
}

/* What keys share is read behind the claim, and who takes of it takes claims away behind that (is_alone): one sees the other. */
static enum claim_result claim(struct limit_table *table, const struct limit_place *place, const struct limit *limit,
                               uint64_t now_s)
{
    union limit_entry seen, *entry = find_free(place, now_s, &seen);
    if (!entry) {
        atomic_fetch_add_explicit(&table->overflowed, 1, memory_order_relaxed);
        return CLAIM_SHARE;
    }
    struct limit_state marked = { .value = make_mark(), .idle_at_s = now_s + FRESH_SECONDS };
    union limit_entry mine = entry_of(tag_of(place) | CLAIMED, &marked), then = given_up;
    if (!swap(entry, seen, mine)) return CLAIM_LOOK_AGAIN;
    /* What is under way is given back where it was taken, so it can't be carried over. */
    bool must_share = limit->algorithm == LIMIT_CONCURRENCY && is_overflow_in_use(place, now_s);
    if (!must_share && is_alone(place, entry)) {
        struct limit_state first = first_state(place, now_s);
        then = entry_of(tag_of(place), &first);
    }
    (void)swap(entry, mine, then); /* it may have been taken away: the look will tell */
    return must_share ? CLAIM_SHARE : CLAIM_LOOK_AGAIN;
}

/* The key's entry, made where there is none; the one it shares where there is no room. */
static union limit_entry *find_or_claim(struct limit_table *table, const struct limit_place *place,
                                        const struct limit *limit, uint64_t now_s)
{
    union limit_entry *entry;
    while (UNLIKELY((entry = find(place)) == NULL)) {
        if (claim(table, place, limit, now_s) == CLAIM_SHARE) return &place->share->overflow;
    }
    return entry;
}

/* --- taking and giving back --- */

static inline void make_plan(const struct limit_place *place, const struct limit_state *state, union limit_entry *entry,
                             const union limit_entry *seen, struct limit_plan *plan)
{
    uint64_t tag = tag_of(place);
    plan->entry = entry && is_entry_of(seen->head, tag) ? entry : NULL;
    if (!plan->entry) return;
    union limit_entry wanted = entry_of(tag, state);
    plan->seen.value = seen->value, plan->seen.head = seen->head;
    plan->wanted.value = wanted.value, plan->wanted.head = wanted.head;
}

struct limit_outcome limit_table_look(struct limit_table *table, const struct limit_place *place,
                                      const struct limit *limit, uint64_t cost, uint64_t now_ns, uint64_t wait_max_ns,
                                      struct limit_plan *plan)
{
    struct limit_state state = { 0 };
    union limit_entry seen = { .head = 0 }, *entry = find(place);
    bool is_own = entry != NULL;
    if (!entry && is_overflow_in_use(place, now_ns / NS_A_SECOND)) entry = &place->share->overflow;
    while (entry) {
        seen = load(entry);
        state = state_of(&seen);
        if (LIKELY(__atomic_load_n(&entry->head, __ATOMIC_SEQ_CST) == seen.head)) break; /* both halves of one moment */
    }
    struct limit_outcome outcome = limit_take(limit, &state, cost, now_ns, wait_max_ns);
    if (plan)
        make_plan(place, &state, is_own && cost > 0 && outcome.verdict != LIMIT_REFUSE ? entry : NULL, &seen, plan);
    return outcome;
}

bool limit_table_take_planned(const struct limit_plan *plan, uint64_t cost, uint64_t now_ns, struct limit_lease *lease)
{
    if (!plan->entry) return false;
    union limit_entry seen = { .value = plan->seen.value, .head = plan->seen.head };
    union limit_entry wanted = { .value = plan->wanted.value, .head = plan->wanted.head };
    if (UNLIKELY(!swap(plan->entry, seen, wanted))) return false;
    *lease = (struct limit_lease){ plan->entry, { cost, now_ns, wanted.value, seen.value }, wanted.head & ~IDLE_MASK };
    return true;
}

struct limit_outcome limit_table_take(struct limit_table *table, const struct limit_place *place,
                                      const struct limit *limit, uint64_t cost, uint64_t now_ns, uint64_t wait_max_ns,
                                      struct limit_lease *lease)
{
    *lease = (struct limit_lease){ .entry = NULL };
    if (UNLIKELY(cost == 0)) return limit_table_look(table, place, limit, 0, now_ns, 0, NULL);
    for (;;) {
        union limit_entry *entry = find_or_claim(table, place, limit, now_ns / NS_A_SECOND);
        bool is_shared = entry == &place->share->overflow;
        uint64_t tag = is_shared ? 0 : tag_of(place);
        union limit_entry seen = load(entry);
        if (UNLIKELY(!is_shared && !is_entry_of(seen.head, tag))) continue; /* gone meanwhile */
        struct limit_state state = state_of(&seen);
        struct limit_outcome outcome = limit_take(limit, &state, cost, now_ns, wait_max_ns);
        if (outcome.verdict == LIMIT_REFUSE) {
            if (LIKELY(__atomic_load_n(&entry->head, __ATOMIC_SEQ_CST) == seen.head)) return outcome;
            continue;
        }
        if (UNLIKELY(!swap(entry, seen, entry_of(tag, &state)))) continue;
        *lease = (struct limit_lease){ entry, { cost, now_ns, state.value, seen.value }, tag };
        if (LIKELY(!is_shared) || is_alone(place, NULL)) return outcome;
        (void)limit_table_refund(limit, lease, now_ns);
    }
}

bool limit_table_refund(const struct limit *limit, const struct limit_lease *lease, uint64_t now_ns)
{
    while (lease->entry) {
        union limit_entry seen = load(lease->entry);
        if ((seen.head & ~IDLE_MASK) != lease->tag)
            return true; /* it was idle, and is another key's: nothing to give back */
        struct limit_state state = state_of(&seen), before = state;
        limit_refund(limit, &state, &lease->taken, now_ns);
        if (state.value == before.value && state.idle_at_s == before.idle_at_s) return false;
        if (swap(lease->entry, seen, entry_of(lease->tag, &state))) return true;
    }
    return true;
}

/* --- figures --- */

/* The sample: a few stretches of a page each, spread evenly. A table of millions is not walked for a scrape, nor are thousands of its pages
 * touched, which would come into being by that; where a key stands is chance, so neighbours tell as much as any others. */
#define STRETCHES 16
#define STRETCH_ENTRIES 256

void limit_table_figures(const struct limit_table *table, uint64_t now_ns, struct limit_table_figures *figures)
{
    uint64_t capacity = limit_table_capacity(table), looked = 0, in_use = 0;
    for (uint64_t stretch = 0; stretch < STRETCHES; stretch++) {
        uint64_t first = capacity / STRETCHES * stretch;
        for (uint64_t at = first; at < first + STRETCH_ENTRIES && at < capacity; at++, looked++) {
            uint64_t head = __atomic_load_n(&table->entries[at].head, __ATOMIC_RELAXED);
            in_use += !is_free(head, now_ns / NS_A_SECOND);
        }
    }
    figures->entries = capacity;
    figures->in_use = in_use * capacity / (looked ? looked : 1);
    figures->overflowed = atomic_load_explicit(&table->overflowed, memory_order_relaxed);
}
