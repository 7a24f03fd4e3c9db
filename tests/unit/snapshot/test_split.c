/* Who gets which share of a split, and who moves when a share grows. */
#include "unit_test.h"

#include "snapshot/split.h"

#include <stdio.h>
#include <stdlib.h>

#define CLIENTS 20000

static uint32_t bucket_of(unsigned client)
{
    char key[32];
    int length = snprintf(key, sizeof key, "client-%u", client);
    return split_bucket(7, slice_of(key, (size_t)length));
}

static struct route_split *make(const uint64_t *weights, uint32_t count)
{
    struct route_split *split = calloc(1, sizeof *split + count * sizeof split->choices[0]);
    uint32_t ends[32];
    split_ends(weights, ends, count);
    split->count = count;
    for (uint32_t i = 0; i < count; i++)
        split->choices[i] = (struct split_choice){ .service_index = i, .end = ends[i] };
    return split;
}

static uint32_t choice_of(const struct route_split *split, unsigned client)
{
    return split_find(split, bucket_of(client))->service_index;
}

static void shares_are_as_written_to_a_hundredth_of_a_percent(void **state)
{
    uint32_t ends[3];
    split_ends((uint64_t[]){ 1, 1, 1 }, ends, 3);
    assert_int_equal(ends[0], 3333);
    assert_int_equal(ends[1], 6667);
    assert_int_equal(ends[2], SPLIT_BUCKETS);
    split_ends((uint64_t[]){ 0, 5, 0 }, ends, 3);
    assert_int_equal(ends[0], 0);
    assert_int_equal(ends[1], SPLIT_BUCKETS);
    split_ends((uint64_t[]){ 1000000, 1, 999999 }, ends, 3);
    assert_int_equal(ends[0], 5000);
    assert_int_equal(ends[1], 5000);
    assert_int_equal(ends[2], SPLIT_BUCKETS);
}

static void whoever_has_no_share_gets_nobody(void **state)
{
    struct route_split *split = make((uint64_t[]){ 0, 5, 0 }, 3);
    for (uint32_t bucket = 0; bucket < SPLIT_BUCKETS; bucket++)
        assert_int_equal(split_find(split, bucket)->service_index, 1);
    free(split);
}

/* 20,000 clients on a share of 5 %: 1,000 expected, a standard deviation of 31; six of these never happen by chance. */
static void clients_are_spread_as_the_shares_say(void **state)
{
    struct route_split *split = make((uint64_t[]){ 5, 25, 70 }, 3);
    unsigned counts[3] = { 0 };
    for (unsigned client = 0; client < CLIENTS; client++) counts[choice_of(split, client)]++;
    assert_in_range(counts[0], 1000 - 185, 1000 + 185);
    assert_in_range(counts[1], 5000 - 367, 5000 + 367);
    assert_in_range(counts[2], 14000 - 389, 14000 + 389);
    free(split);
}

static void growing_from_5_to_10_percent_moves_the_added_5_only(void **state)
{
    struct route_split *before = make((uint64_t[]){ 5, 95 }, 2), *after = make((uint64_t[]){ 10, 90 }, 2);
    unsigned moved = 0;
    for (unsigned client = 0; client < CLIENTS; client++) {
        uint32_t was = choice_of(before, client), is = choice_of(after, client);
        if (was == 0) assert_int_equal(is, 0); /* nobody leaves the canary */
        moved += was != is;
    }
    assert_in_range(moved, 1000 - 185, 1000 + 185);
    free(before);
    free(after);
}

/* Instances of different versions stand beside each other, and a restart must not move anybody: these never change. */
static void a_client_stays_in_its_bucket_for_good(void **state)
{
    assert_int_equal(split_bucket(0, SLICE("alice")), 4517);
    assert_int_equal(split_bucket(0, SLICE("bob")), 5723);
    assert_int_equal(split_bucket(1, SLICE("alice")), 7901);
    assert_true(split_bucket(0, SLICE("")) < SPLIT_BUCKETS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_as_written_to_a_hundredth_of_a_percent),
        cmocka_unit_test(whoever_has_no_share_gets_nobody),
        cmocka_unit_test(clients_are_spread_as_the_shares_say),
        cmocka_unit_test(growing_from_5_to_10_percent_moves_the_added_5_only),
        cmocka_unit_test(a_client_stays_in_its_bucket_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
