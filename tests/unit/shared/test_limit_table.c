#include "unit_test.h"

#include "base/random.h"
#include "shared/limit_table.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define NEIGHBOURS 48
/* Keys that are all at home in the table's first line. */
#define KEY(n) ((uint64_t)((n) + 1) << 35)

static struct limit make(enum limit_algorithm algorithm, uint64_t quota, uint64_t window_seconds)
{
    struct limit limit;
    assert_true(limit_init(
        &limit, &(struct limit_options){ .algorithm = algorithm, .quota = quota, .window_seconds = window_seconds }));
    return limit;
}

/* Shares stand in static memory: a sanitized stack keeps no alignment of 64. */
static struct limit_table *new_table(void)
{
    struct error error;
    struct limit_table *table = limit_table_create(0, &error);
    assert_non_null(table);
    return table;
}

static bool take(struct limit_table *table, uint64_t key, struct limit_share *share, const struct limit *limit,
                 uint64_t now_ns, struct limit_lease *lease)
{
    struct limit_place place = limit_table_place(table, key, share);
    return limit_table_take(table, &place, limit, 1, now_ns, 0, lease).verdict == LIMIT_PASS;
}

static void keys_are_counted_apart(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    for (int algorithm = LIMIT_TOKEN_BUCKET; algorithm <= LIMIT_CONCURRENCY; algorithm++) {
        struct limit limit = make((enum limit_algorithm)algorithm, 3, algorithm == LIMIT_CONCURRENCY ? 0 : 60);
        for (uint64_t key = 0; key < 4; key++) {
            uint64_t hash = KEY(10 * (unsigned)algorithm + key);
            for (unsigned i = 0; i < 3; i++) assert_true(take(table, hash, &share, &limit, SECOND, &lease));
            assert_false(take(table, hash, &share, &limit, SECOND, &lease));
            assert_null(lease.entry);
        }
    }
    assert_int_equal(share.overflow.head, 0);
    limit_table_destroy(table);
}

static void a_look_takes_nothing(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    struct limit limit = make(LIMIT_FIXED_WINDOW, 2, 10);
    struct limit_place place = limit_table_place(table, KEY(1), &share);
    for (unsigned i = 0; i < 5; i++) {
        struct limit_outcome outcome = limit_table_look(table, &place, &limit, 1, 5 * SECOND, 0, NULL);
        assert_int_equal(outcome.verdict, LIMIT_PASS);
        assert_int_equal(outcome.remaining, 1);
    }
    struct limit_table_figures figures;
    limit_table_figures(table, 5 * SECOND, &figures);
    assert_int_equal(figures.in_use, 0);
    assert_true(take(table, KEY(1), &share, &limit, 5 * SECOND, &lease));
    assert_int_equal(limit_table_look(table, &place, &limit, 1, 5 * SECOND, 0, NULL).remaining, 0);
    assert_int_equal(limit_table_look(table, &place, &limit, 2, 5 * SECOND, 0, NULL).verdict, LIMIT_REFUSE);
    limit_table_destroy(table);
}

/* The tag that stands for what keys share is nobody's. */
/* What is taken by a plan is the same as what is taken without one, and can be given back; a plan is of no use where somebody was faster, where
 * nothing could be taken, and to a key that has no entry yet. */
static void a_plan_holds_until_somebody_else_takes(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    for (int algorithm = LIMIT_TOKEN_BUCKET; algorithm <= LIMIT_CONCURRENCY; algorithm++) {
        struct limit limit = make((enum limit_algorithm)algorithm, 3, algorithm == LIMIT_CONCURRENCY ? 0 : 60);
        struct limit_place place = limit_table_place(table, KEY(10 + (unsigned)algorithm), &share);
        struct limit_lease lease, planned;
        struct limit_plan plan, stale;
        assert_int_equal(limit_table_look(table, &place, &limit, 1, SECOND, 0, &plan).verdict, LIMIT_PASS);
        assert_false(limit_table_take_planned(&plan, 1, SECOND, &planned));
        assert_int_equal(limit_table_take(table, &place, &limit, 1, SECOND, 0, &lease).remaining, 2);
        limit_table_look(table, &place, &limit, 1, SECOND, 0, &stale);
        assert_int_equal(limit_table_look(table, &place, &limit, 2, SECOND, 0, &plan).remaining, 0);
        assert_true(limit_table_take_planned(&plan, 2, SECOND, &planned));
        assert_false(limit_table_take_planned(&plan, 2, SECOND, &planned));
        assert_false(limit_table_take_planned(&stale, 1, SECOND, &planned));
        assert_int_equal(limit_table_look(table, &place, &limit, 1, SECOND, 0, &plan).verdict, LIMIT_REFUSE);
        assert_false(limit_table_take_planned(&plan, 1, SECOND, &planned));
        limit_table_refund(&limit, &planned, SECOND);
        assert_int_equal(limit_table_look(table, &place, &limit, 0, SECOND, 0, &plan).remaining, 2);
        assert_false(limit_table_take_planned(&plan, 0, SECOND, &planned));
    }
    limit_table_destroy(table);
}

static void a_hash_of_zeros_is_a_key_like_any_other(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    struct limit limit = make(LIMIT_CONCURRENCY, 1, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(take(table, 0, &share, &limit, SECOND, &lease) && lease.entry != &share.overflow);
        assert_false(take(table, 0, &share, &limit, SECOND, &(struct limit_lease){ 0 }));
        limit_table_refund(&limit, &lease, SECOND);
    }
    assert_int_equal(share.overflow.head, 0);
    limit_table_destroy(table);
}

/* Behind an entry that was never used nobody looks, so one that is given up must not look like one. */
static void keys_are_found_behind_entries_that_are_free_again(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease, others[3];
    struct limit limit = make(LIMIT_CONCURRENCY, 1, 0);
    for (unsigned i = 0; i < 3; i++) assert_true(take(table, KEY(i), &share, &limit, SECOND, &others[i]));
    assert_true(take(table, KEY(9), &share, &limit, SECOND, &lease));
    for (unsigned i = 0; i < 3; i++) limit_table_refund(&limit, &others[i], SECOND);
    assert_false(take(table, KEY(9), &share, &limit, 9 * SECOND, &others[0]));
    assert_true(take(table, KEY(20), &share, &limit, 9 * SECOND, &others[1]));
    assert_ptr_equal(others[1].entry + 3, lease.entry);
    assert_false(take(table, KEY(9), &share, &limit, 9 * SECOND, &others[0]));
    limit_table_destroy(table);
}

static void what_is_given_back_is_there_again(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease leases[2], none;
    struct limit limit = make(LIMIT_CONCURRENCY, 2, 0);
    for (unsigned i = 0; i < 2; i++) assert_true(take(table, KEY(1), &share, &limit, SECOND, &leases[i]));
    assert_false(take(table, KEY(1), &share, &limit, 1000 * SECOND, &none));
    limit_table_refund(&limit, &none, SECOND); /* of what was refused: nothing */
    limit_table_refund(&limit, &leases[0], SECOND);
    assert_true(take(table, KEY(1), &share, &limit, 1000 * SECOND, &leases[0]));
    for (unsigned i = 0; i < 2; i++) limit_table_refund(&limit, &leases[i], SECOND);
    struct limit_table_figures figures;
    limit_table_figures(table, 2 * SECOND, &figures);
    assert_int_equal(figures.in_use, 0);
    limit_table_destroy(table);
}

/* A window that has passed leaves its entry to whoever comes, but not within the second in which a slow clock may still ask for it. */
static void idle_entries_are_used_again(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1, 10);
    for (unsigned key = 0; key < NEIGHBOURS; key++)
        assert_true(take(table, KEY(key), &share, &limit, 15 * SECOND, &lease));
    assert_int_equal(share.overflow.head, 0);
    assert_true(take(table, KEY(100), &share, &limit, 20 * SECOND, &lease));
    assert_ptr_equal(lease.entry, &share.overflow);
    for (unsigned key = 200; key < 200 + NEIGHBOURS; key++)
        assert_true(take(table, KEY(key), &share, &limit, 31 * SECOND, &lease) && lease.entry != &share.overflow);
    limit_table_destroy(table);
}

/* They share what one of them may have; and who then finds a place begins with that. */
static void keys_without_a_place_never_get_more(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    struct limit limit = make(LIMIT_TOKEN_BUCKET, 4, 40), other = make(LIMIT_FIXED_WINDOW, 1, 10);
    static struct limit_share others;
    others = (struct limit_share){ 0 };
    for (unsigned key = 0; key < NEIGHBOURS; key++)
        assert_true(take(table, KEY(key), &others, &other, 5 * SECOND, &lease));
    unsigned passed = 0;
    for (unsigned key = 50; key < 60; key++) passed += take(table, KEY(key), &share, &limit, 5 * SECOND, &lease);
    assert_int_equal(passed, 4);
    struct limit_table_figures figures;
    limit_table_figures(table, 5 * SECOND, &figures);
    assert_int_equal(figures.overflowed, 10);
    /* The others' window is over, and there is room; a token has come back. */
    assert_true(take(table, KEY(50), &share, &limit, 15 * SECOND, &lease) && lease.entry != &share.overflow);
    assert_false(take(table, KEY(50), &share, &limit, 15 * SECOND, &lease));
    assert_true(take(table, KEY(51), &share, &limit, 15 * SECOND, &lease));
    assert_false(take(table, KEY(51), &share, &limit, 15 * SECOND, &lease));
    /* When it has filled again it is forgotten. */
    for (unsigned i = 0; i < 4; i++) assert_true(take(table, KEY(70), &share, &limit, 46 * SECOND, &lease));
    limit_table_destroy(table);
}

static void places_under_way_are_given_back_where_they_were_taken(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share, others;
    share = (struct limit_share){ 0 }, others = (struct limit_share){ 0 };
    struct limit_lease shared[2], lease;
    struct limit limit = make(LIMIT_CONCURRENCY, 2, 0), other = make(LIMIT_FIXED_WINDOW, 1, 10);
    for (unsigned key = 0; key < NEIGHBOURS; key++)
        assert_true(take(table, KEY(key), &others, &other, 5 * SECOND, &lease));
    assert_true(take(table, KEY(50), &share, &limit, 5 * SECOND, &shared[0]));
    assert_true(take(table, KEY(51), &share, &limit, 5 * SECOND, &shared[1]));
    assert_false(
        take(table, KEY(50), &share, &limit, 15 * SECOND, &lease)); /* there is room, but it has one under way */
    limit_table_refund(&limit, &shared[0], 15 * SECOND);
    limit_table_refund(&limit, &shared[1], 15 * SECOND);
    assert_int_equal(share.overflow.value, 0);
    assert_true(take(table, KEY(50), &share, &limit, 15 * SECOND, &lease) && lease.entry != &share.overflow);
    limit_table_destroy(table);
}

static void a_lease_of_an_entry_that_is_anothers_gives_back_nothing(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease old, lease;
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1, 10);
    assert_true(take(table, KEY(1), &share, &limit, 5 * SECOND, &old));
    assert_true(take(table, KEY(2), &share, &limit, 15 * SECOND, &lease));
    assert_ptr_equal(old.entry, lease.entry);
    limit_table_refund(&limit, &old, 15 * SECOND);
    assert_false(take(table, KEY(2), &share, &limit, 15 * SECOND, &lease));
    limit_table_destroy(table);
}

/* --- floods: keys that a client makes up --- */

static struct limit_share share_of(uint64_t stamp)
{
    return (struct limit_share){ .stamp = stamp << LIMIT_STAMP_SHIFT };
}

/* Never the same one twice, all over the table. */
static void flood(struct limit_table *table, struct limit_share *share, unsigned keys)
{
    static uint64_t made;
    struct limit limit = make(LIMIT_FIXED_WINDOW, 5, 100000);
    struct random random;
    struct limit_lease lease;
    random_init_seeded(&random, ++made);
    for (unsigned i = 0; i < keys; i++)
        (void)take(table, random_below(&random, UINT64_MAX), share, &limit, SECOND, &lease);
}

/* How many of so many new keys of the rule have an entry of their own. */
static unsigned places_for(struct limit_table *table, struct limit_share *share, unsigned keys)
{
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1000, 100000);
    struct random random;
    unsigned places = 0;
    random_init_seeded(&random, 4711);
    for (unsigned i = 0; i < keys; i++) {
        struct limit_lease lease;
        assert_true(take(table, random_below(&random, UINT64_MAX), share, &limit, SECOND, &lease));
        places += lease.entry != &share->overflow;
    }
    return places;
}

static double used_share(const struct limit_table *table)
{
    struct limit_table_figures figures;
    limit_table_figures(table, SECOND, &figures);
    return (double)figures.in_use / (double)figures.entries;
}

static void a_flood_of_keys_leaves_room_for_other_rules(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share flooded, other, third;
    flooded = share_of(1), other = share_of(2), third = share_of(3);
    assert_int_equal(places_for(table, &other, 100), 100);
    flood(table, &flooded, 100000);
    assert_int_not_equal(flooded.overflow.head, 0);
    assert_true(used_share(table) > 0.7 && used_share(table) < 0.9); /* and it may have most of it */
    assert_in_range(places_for(table, &third, 400), 380, 400);
    /* Those that were there have what was taken of them: each had 1 of 1,000. */
    struct limit limit = make(LIMIT_FIXED_WINDOW, 2, 100000);
    struct random random;
    struct limit_lease lease;
    random_init_seeded(&random, 4711);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t hash = random_below(&random, UINT64_MAX);
        assert_true(take(table, hash, &other, &limit, SECOND, &lease));
        assert_false(take(table, hash, &other, &limit, SECOND, &lease));
    }
    limit_table_destroy(table);
}

static void a_second_flood_leaves_room_too(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share flooded[2], other;
    flooded[0] = share_of(1), flooded[1] = share_of(2), other = share_of(3);
    for (unsigned i = 0; i < 40; i++) flood(table, &flooded[i % 2], 1000);
    assert_true(used_share(table) < 0.95);
    assert_in_range(places_for(table, &other, 200), 150, 200);
    limit_table_destroy(table);
}

/* It is found again where it stands behind spare entries that nobody has used. */
static void a_key_of_a_large_rule_has_one_entry(void **state)
{
    struct limit_table *table = new_table();
    static struct limit_share share;
    share = share_of(1);
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1, 100000);
    struct random random;
    struct limit_lease lease;
    flood(table, &share, 20000);
    share.overflow = (union limit_entry){ 0 };
    random_init_seeded(&random, 99);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t hash = random_below(&random, UINT64_MAX);
        if (!take(table, hash, &share, &limit, SECOND, &lease)) continue;
        assert_false(take(table, hash, &share, &limit, SECOND, &lease));
    }
    limit_table_destroy(table);
}

/* --- threads --- */

enum { THREADS = 4, WINDOWS = 12, STEPS_A_SECOND = 4, QUOTA = 50 };

static struct {
    struct limit_table *table;
    struct limit limit;
    struct limit_share share;
    unsigned keys;
    _Atomic uint64_t now_ns;
    _Atomic uint64_t calls[THREADS];
    _Atomic bool over;
    _Atomic uint32_t passed[64][WINDOWS + 2]; /* by key and window */
    _Atomic int32_t under_way[64];
    _Atomic uint64_t refunds, refusals;
    _Atomic bool broken;
} common;

static void begin_common(struct limit limit, unsigned keys)
{
    memset(&common, 0, sizeof common);
    common.table = new_table();
    common.limit = limit;
    common.keys = keys;
    common.now_ns = SECOND;
}

/* Time goes on by a quarter of a second once every thread has made a call since the last time: none is further behind. */
static void pass_time(unsigned seconds)
{
    uint64_t seen[THREADS];
    for (unsigned step = 0; step < seconds * STEPS_A_SECOND; step++) {
        for (unsigned i = 0; i < THREADS; i++) seen[i] = atomic_load(&common.calls[i]);
        for (unsigned i = 0; i < THREADS; i++) {
            /* Many calls at each time, so that limits are reached. */
            while (atomic_load(&common.calls[i]) < seen[i] + 40) sched_yield();
        }
        atomic_fetch_add(&common.now_ns, SECOND / STEPS_A_SECOND);
    }
    atomic_store(&common.over, true);
}

static void run_threads(void *(*run)(void *argument), unsigned seconds)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    pass_time(seconds);
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(common.broken);
}

/* Windows of a second, one key after the other and again, and some of it is given back. */
static void *take_windows(void *argument)
{
    unsigned thread = (unsigned)(uintptr_t)argument;
    struct random random;
    random_init_seeded(&random, 7 + thread);
    while (!atomic_load(&common.over)) {
        uint64_t now_ns = atomic_load(&common.now_ns);
        /* Few keys at a time, others the next second: entries go idle and are claimed by several threads at once. */
        unsigned key = (unsigned)((random_below(&random, 3) + now_ns / SECOND * 3) % common.keys);
        struct limit_lease lease;
        if (take(common.table, KEY(key), &common.share, &common.limit, now_ns, &lease)) {
            uint64_t window = lease.taken.value >> 32;
            atomic_fetch_add(&common.passed[key][window], 1);
            if (random_below(&random, 8) == 0) {
                atomic_fetch_sub(&common.passed[key][window], 1);
                limit_table_refund(&common.limit, &lease, now_ns);
                atomic_fetch_add(&common.refunds, 1);
            }
        } else {
            atomic_fetch_add(&common.refusals, 1);
        }
        atomic_fetch_add(&common.calls[thread], 1);
    }
    return NULL;
}

static void check_windows(void)
{
    for (unsigned key = 0; key < common.keys; key++) {
        for (unsigned window = 0; window < WINDOWS + 2; window++) assert_true(common.passed[key][window] <= QUOTA);
    }
    assert_true(common.refunds > 0 && common.refusals > 0);
    limit_table_destroy(common.table);
}

static void threads_never_let_more_through(void **state)
{
    begin_common(make(LIMIT_FIXED_WINDOW, QUOTA, 1), 24);
    run_threads(take_windows, WINDOWS);
    assert_int_equal(common.share.overflow.head, 0);
    check_windows();
}

static void threads_never_let_more_through_where_the_table_is_full(void **state)
{
    begin_common(make(LIMIT_FIXED_WINDOW, QUOTA, 1), 60);
    struct limit filling = make(LIMIT_FIXED_WINDOW, 1, WINDOWS + 60);
    static struct limit_share others;
    others = (struct limit_share){ 0 };
    struct limit_lease lease;
    for (unsigned key = 1000; key < 1000 + NEIGHBOURS - 3; key++)
        assert_true(take(common.table, KEY(key), &others, &filling, SECOND, &lease));
    run_threads(take_windows, WINDOWS);
    struct limit_table_figures figures;
    limit_table_figures(common.table, SECOND, &figures);
    assert_true(figures.overflowed > 0);
    check_windows();
}

static void note_under_way(unsigned key, int32_t difference)
{
    int32_t before = atomic_fetch_add(&common.under_way[key], difference);
    if (before + difference > 3 || before + difference < 0) atomic_store(&common.broken, true);
}

static void *take_places(void *argument)
{
    unsigned thread = (unsigned)(uintptr_t)argument, held = 0;
    struct limit_lease leases[6];
    unsigned keys[6];
    struct random random;
    random_init_seeded(&random, 70 + thread);
    for (;;) {
        bool is_over = atomic_load(&common.over);
        if (is_over && held == 0) return NULL;
        uint64_t now_ns = atomic_load(&common.now_ns);
        bool gives = held == 6 || is_over || (held > 0 && random_below(&random, 2));
        if (gives) {
            unsigned at = (unsigned)random_below(&random, held);
            note_under_way(keys[at], -1);
            limit_table_refund(&common.limit, &leases[at], now_ns);
            leases[at] = leases[--held], keys[at] = keys[held];
        } else {
            unsigned key = (unsigned)random_below(&random, common.keys);
            if (take(common.table, KEY(key), &common.share, &common.limit, now_ns, &leases[held])) {
                note_under_way(key, 1);
                keys[held++] = key;
            } else {
                atomic_fetch_add(&common.refusals, 1);
            }
        }
        atomic_fetch_add(&common.calls[thread], 1);
    }
}

static void no_more_are_ever_under_way(void **state)
{
    static const unsigned keys[] = { 4, 60 };
    for (unsigned i = 0; i < 2; i++) {
        begin_common(make(LIMIT_CONCURRENCY, 3, 0), keys[i]);
        struct limit filling = make(LIMIT_FIXED_WINDOW, 1, 1000);
        static struct limit_share others;
        others = (struct limit_share){ 0 };
        struct limit_lease lease;
        for (unsigned key = 1000; key < 1000 + NEIGHBOURS - 4; key++)
            assert_true(take(common.table, KEY(key), &others, &filling, SECOND, &lease));
        run_threads(take_places, 10);
        for (unsigned key = 0; key < common.keys; key++) assert_int_equal(common.under_way[key], 0);
        assert_int_equal(common.share.overflow.value, 0);
        assert_true(common.refusals > 0);
        /* All has come back: each key has its whole limit. */
        for (unsigned j = 0; j < 3; j++)
            assert_true(take(common.table, KEY(1), &common.share, &common.limit, 100 * SECOND, &lease));
        limit_table_destroy(common.table);
    }
}

/* Ten a second for a key, and its bucket's filling: refunds included, and each thread's time up to a quarter of a second behind. */
static void *take_tokens(void *argument)
{
    unsigned thread = (unsigned)(uintptr_t)argument;
    struct random random;
    random_init_seeded(&random, 700 + thread);
    while (!atomic_load(&common.over)) {
        uint64_t now_ns = atomic_load(&common.now_ns);
        unsigned key = (unsigned)random_below(&random, common.keys);
        struct limit_lease lease;
        if (take(common.table, KEY(key), &common.share, &common.limit, now_ns, &lease)) {
            if (random_below(&random, 16) == 0)
                limit_table_refund(&common.limit, &lease, atomic_load(&common.now_ns));
            else
                atomic_fetch_add(&common.passed[key][0], 1);
        }
        atomic_fetch_add(&common.calls[thread], 1);
    }
    return NULL;
}

static void buckets_fill_as_fast_for_all_threads_together(void **state)
{
    begin_common(make(LIMIT_TOKEN_BUCKET, 10, 1), 3);
    run_threads(take_tokens, WINDOWS);
    for (unsigned key = 0; key < common.keys; key++) {
        assert_true(common.passed[key][0] <= 10 + 10 * WINDOWS);
        assert_true(common.passed[key][0] >= 10 * WINDOWS * 9 / 10);
    }
    limit_table_destroy(common.table);
}

/* --- two limits, one after the other, as the policy takes them --- */

enum { TIER_KEYS = 8, TIER_QUOTA = 400 };

static struct {
    struct limit_table *table;
    struct limit first, second;
    struct limit_share first_share, second_share;
    _Atomic uint32_t passed, raced;
} tiers;

static void take_both(uint64_t key)
{
    struct limit_place first = limit_table_place(tiers.table, KEY(100), &tiers.first_share);
    struct limit_place second = limit_table_place(tiers.table, KEY(key), &tiers.second_share);
    struct limit_lease first_lease, second_lease;
    struct limit_plan plan;
    if (limit_table_look(tiers.table, &second, &tiers.second, 1, SECOND, 0, &plan).verdict == LIMIT_REFUSE) return;
    if (limit_table_take(tiers.table, &first, &tiers.first, 1, SECOND, 0, &first_lease).verdict == LIMIT_REFUSE) return;
    if (limit_table_take_planned(&plan, 1, SECOND, &second_lease) ||
        limit_table_take(tiers.table, &second, &tiers.second, 1, SECOND, 0, &second_lease).verdict == LIMIT_PASS) {
        atomic_fetch_add(&tiers.passed, 1);
        return;
    }
    atomic_fetch_add(&tiers.raced, 1);
    limit_table_refund(&tiers.first, &first_lease, SECOND);
}

static void *take_in_order(void *argument)
{
    struct random random;
    random_init_seeded(&random, 7000 + (uintptr_t)argument);
    for (unsigned i = 0; i < 4 * TIER_KEYS * TIER_QUOTA; i++) take_both(random_below(&random, TIER_KEYS));
    return NULL;
}

/* The first limit has just as much as the keys of the second together: if anything of it were lost, they could not all have theirs. */
static void nothing_is_lost_of_an_earlier_limit(void **state)
{
    static const enum limit_algorithm algorithms[] = { LIMIT_TOKEN_BUCKET, LIMIT_SLIDING_WINDOW, LIMIT_FIXED_WINDOW,
                                                       LIMIT_CONCURRENCY };
    for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
        memset(&tiers, 0, sizeof tiers);
        tiers.table = new_table();
        uint64_t window_seconds = algorithms[i] == LIMIT_CONCURRENCY ? 0 : 1000;
        tiers.first = make(algorithms[i], TIER_KEYS * TIER_QUOTA, window_seconds);
        tiers.second = make(algorithms[i], TIER_QUOTA, window_seconds);
        pthread_t threads[THREADS];
        for (uintptr_t j = 0; j < THREADS; j++)
            assert_int_equal(pthread_create(&threads[j], NULL, take_in_order, (void *)j), 0);
        for (unsigned j = 0; j < THREADS; j++) assert_int_equal(pthread_join(threads[j], NULL), 0);
        assert_int_equal(tiers.passed, TIER_KEYS * TIER_QUOTA);
        assert_true(tiers.raced <= TIER_KEYS * TIER_QUOTA / 100 + THREADS);
        limit_table_destroy(tiers.table);
    }
}

/* --- figures --- */

#define LARGE_BYTES ((size_t)32 << 20)

/* A page that is only read may still become one of the process's own. */
static void a_look_at_the_figures_makes_no_pages(void **state)
{
    struct error error;
    struct limit_table *table = limit_table_create(LARGE_BYTES, &error);
    assert_non_null(table);
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_table_figures figures;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), pages = LARGE_BYTES / page_bytes, there = 0;
    unsigned char *in_core = malloc(pages);
    for (int i = 0; i < 10; i++) limit_table_figures(table, SECOND, &figures);
    assert_int_equal(figures.in_use, 0);
    assert_int_equal(mincore(limit_table_place(table, 0, &share).home, LARGE_BYTES, in_core), 0);
    for (size_t i = 0; i < pages; i++) there += in_core[i] & 1;
    assert_in_range(there, 1, 64);
    free(in_core);
    limit_table_destroy(table);
}

static void figures_tell_about_how_many_entries_are_in_use(void **state)
{
    struct error error;
    struct limit_table *table = limit_table_create(LARGE_BYTES, &error);
    assert_non_null(table);
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1, 60);
    static struct limit_share share;
    share = (struct limit_share){ 0 };
    struct limit_lease lease;
    struct limit_table_figures figures;
    const uint64_t keys = 200000;
    for (uint64_t key = 1; key <= keys; key++)
        assert_true(take(table, key * UINT64_C(0x9e3779b97f4a7c15) ^ key << 20, &share, &limit, SECOND, &lease));
    limit_table_figures(table, SECOND, &figures);
    assert_in_range(figures.in_use, keys * 2 / 3, keys * 3 / 2);
    limit_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_counted_apart),
        cmocka_unit_test(a_look_takes_nothing),
        cmocka_unit_test(a_plan_holds_until_somebody_else_takes),
        cmocka_unit_test(a_hash_of_zeros_is_a_key_like_any_other),
        cmocka_unit_test(keys_are_found_behind_entries_that_are_free_again),
        cmocka_unit_test(what_is_given_back_is_there_again),
        cmocka_unit_test(idle_entries_are_used_again),
        cmocka_unit_test(keys_without_a_place_never_get_more),
        cmocka_unit_test(places_under_way_are_given_back_where_they_were_taken),
        cmocka_unit_test(a_lease_of_an_entry_that_is_anothers_gives_back_nothing),
        cmocka_unit_test(a_flood_of_keys_leaves_room_for_other_rules),
        cmocka_unit_test(a_second_flood_leaves_room_too),
        cmocka_unit_test(a_key_of_a_large_rule_has_one_entry),
        cmocka_unit_test(threads_never_let_more_through),
        cmocka_unit_test(threads_never_let_more_through_where_the_table_is_full),
        cmocka_unit_test(no_more_are_ever_under_way),
        cmocka_unit_test(buckets_fill_as_fast_for_all_threads_together),
        cmocka_unit_test(nothing_is_lost_of_an_earlier_limit),
        cmocka_unit_test(a_look_at_the_figures_makes_no_pages),
        cmocka_unit_test(figures_tell_about_how_many_entries_are_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
