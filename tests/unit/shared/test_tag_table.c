#include "unit_test.h"

#include "base/random.h"
#include "shared/tag_table.h"

#include <pthread.h>
#include <stdlib.h>

#define TAG(n) ((uint64_t)(n) << 32) /* keys that all begin at entry 0 */

static void a_count_goes_up_and_down(void **state)
{
    struct tag_table table;
    tag_table_init(&table, 64);
    for (uint32_t i = 1; i <= 5; i++) assert_int_equal(tag_table_increment(&table, TAG(7)), i);
    assert_int_equal(tag_table_increment(&table, TAG(8)), 1);
    for (uint32_t i = 0; i < 5; i++) tag_table_decrement(&table, TAG(7));
    assert_int_equal(tag_table_increment(&table, TAG(7)), 1);
    assert_int_equal(tag_table_increment(&table, TAG(8)), 2);
    tag_table_release(&table);
}

/* Keys that begin near the table's end go on at its start. */
static void neighbours_wrap_round(void **state)
{
    struct tag_table table;
    tag_table_init(&table, 64);
    for (unsigned i = 1; i <= 32; i++) assert_int_equal(tag_table_increment(&table, TAG(i) | 60), 1);
    for (unsigned i = 1; i <= 32; i++) assert_int_equal(tag_table_increment(&table, TAG(i) | 60), 2);
    assert_int_equal(tag_table_increment(&table, TAG(33) | 60), TAG_TABLE_FULL);
    tag_table_release(&table);
}

static void a_full_neighbourhood_says_so_and_recovers(void **state)
{
    struct tag_table table;
    tag_table_init(&table, 32);
    for (unsigned i = 1; i <= 32; i++) assert_int_equal(tag_table_increment(&table, TAG(i)), 1);
    assert_int_equal(tag_table_increment(&table, TAG(33)), TAG_TABLE_FULL);
    tag_table_decrement(&table, TAG(5));
    assert_int_equal(tag_table_increment(&table, TAG(33)), 1);
    assert_int_equal(tag_table_increment(&table, TAG(32)), 2);
    tag_table_release(&table);
}

static void rates_begin_anew_each_second(void **state)
{
    struct tag_table table;
    tag_table_init(&table, 32);
    for (uint32_t i = 1; i <= 4; i++) assert_int_equal(tag_table_rate(&table, TAG(1), 100), i);
    assert_int_equal(tag_table_rate(&table, TAG(2), 100), 1);
    assert_int_equal(tag_table_rate(&table, TAG(1), 101), 1);
    assert_int_equal(tag_table_rate(&table, TAG(1), 101), 2);
    for (unsigned i = 2; i <= 32; i++) assert_int_equal(tag_table_rate(&table, TAG(i), 101), 1);
    assert_int_equal(tag_table_rate(&table, TAG(33), 101), TAG_TABLE_FULL);
    assert_int_equal(tag_table_rate(&table, TAG(33), 102), 1);
    tag_table_release(&table);
}

static void a_rate_beyond_its_bits_stays_high(void **state)
{
    struct tag_table table;
    tag_table_init(&table, 32);
    uint32_t rate = 0;
    for (unsigned i = 0; i < 70000; i++) rate = tag_table_rate(&table, TAG(1), 7);
    assert_true(rate >= 65535);
    tag_table_release(&table);
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 20000, KEYS = 24 };

static struct tag_table shared_table;

/* Keys share one neighbourhood, so that claims, releases and claims of others meet all the time. */
static void *count_up_and_down(void *argument)
{
    struct random random;
    uint64_t held[8];
    size_t count = 0;
    random_init_seeded(&random, (uintptr_t)argument);
    for (int i = 0; i < ROUNDS; i++) {
        if (count < COUNT_OF(held) && random_below(&random, 2)) {
            uint64_t hash = TAG(1 + random_below(&random, KEYS));
            uint32_t now = tag_table_increment(&shared_table, hash);
            if (now != TAG_TABLE_FULL) held[count++] = hash;
        } else if (count > 0) {
            tag_table_decrement(&shared_table, held[--count]);
        }
    }
    while (count > 0) tag_table_decrement(&shared_table, held[--count]);
    return NULL;
}

static void run_threads(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void all_counts_return_to_nothing(void **state)
{
    tag_table_init(&shared_table, 32);
    run_threads(count_up_and_down);
    for (unsigned i = 1; i <= KEYS; i++) assert_int_equal(tag_table_increment(&shared_table, TAG(i)), 1);
    tag_table_release(&shared_table);
}

/* Each thread holds one count of one key at a time while others come and go before it: it is never more than the threads. */
static void *hold_one(void *argument)
{
    uintptr_t number = (uintptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t mine = TAG(100 + number);
        tag_table_increment(&shared_table, mine);
        uint32_t now = tag_table_increment(&shared_table, TAG(1));
        if (now > THREADS) abort(); /* cmocka's asserts are for its own thread */
        tag_table_decrement(&shared_table, mine);
        tag_table_decrement(&shared_table, TAG(1));
    }
    return NULL;
}

static void a_key_never_counts_more_than_is_held(void **state)
{
    tag_table_init(&shared_table, 32);
    run_threads(hold_one);
    for (unsigned i = 0; i < 32; i++) assert_int_equal(atomic_load(&shared_table.entries[i]) & 0xffffff, 0);
    tag_table_release(&shared_table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_goes_up_and_down),
        cmocka_unit_test(neighbours_wrap_round),
        cmocka_unit_test(a_full_neighbourhood_says_so_and_recovers),
        cmocka_unit_test(rates_begin_anew_each_second),
        cmocka_unit_test(a_rate_beyond_its_bits_stays_high),
        cmocka_unit_test(all_counts_return_to_nothing),
        cmocka_unit_test(a_key_never_counts_more_than_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
