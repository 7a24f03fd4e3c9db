#include "unit_test.h"

#include "base/random.h"
#include "shared/shared.h"

#include <pthread.h>
#include <stdlib.h>

static void a_counter_and_a_gauge_hold_what_was_added(void **state)
{
    struct counter counter = { 0 };
    struct gauge gauge = { 0 };
    counter_add(&counter, 3);
    counter_add(&counter, UINT64_C(1) << 40);
    assert_int_equal(counter_read(&counter), (UINT64_C(1) << 40) + 3);
    gauge_add(&gauge, 5);
    gauge_add(&gauge, -7);
    assert_int_equal(gauge_read(&gauge), -2);
    gauge_set(&gauge, 9);
    assert_int_equal(gauge_read(&gauge), 9);
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* One value in a histogram comes back as every quantile, at most a sixteenth away. */
static void a_value_is_known_to_a_sixteenth(void **state)
{
    struct random random;
    random_init_seeded(&random, 6);
    for (int i = 0; i < 3000; i++) {
        uint64_t value = i < 300 ? (uint64_t)i : random_below(&random, (uint64_t)100000000 >> (i % 27));
        struct histogram histogram = { 0 };
        struct histogram_sum sum = { 0 };
        histogram_add(&histogram, value);
        histogram_merge(&sum, &histogram);
        assert_int_equal(sum.count, 1);
        assert_int_equal(sum.sum_us, value);
        assert_true(distance(histogram_quantile_us(&sum, 0.5), value) * 16 <= value);
        assert_int_equal(histogram_quantile_us(&sum, 0), histogram_quantile_us(&sum, 1));
        if (value < 16) assert_int_equal(histogram_quantile_us(&sum, 0.5), value);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void quantiles_of_many_values_agree_with_a_sorted_list(void **state)
{
    static uint64_t values[20000];
    struct histogram halves[2] = { 0 };
    struct histogram_sum sum = { 0 };
    struct random random;
    random_init_seeded(&random, 7);
    uint64_t total = 0;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        values[i] = random_below(&random, UINT64_C(1) << (4 + random_below(&random, 20)));
        total += values[i];
        histogram_add(&halves[i % 2], values[i]);
    }
    histogram_merge(&sum, &halves[0]);
    histogram_merge(&sum, &halves[1]);
    qsort(values, COUNT_OF(values), sizeof values[0], compare);
    assert_int_equal(sum.count, COUNT_OF(values));
    assert_int_equal(sum.sum_us, total);
    const unsigned thousandths[] = { 1, 250, 500, 900, 990, 999, 1000 };
    for (size_t i = 0; i < COUNT_OF(thousandths); i++) {
        uint64_t expected = values[COUNT_OF(values) * thousandths[i] / 1000 - 1];
        assert_true(distance(histogram_quantile_us(&sum, thousandths[i] / 1000.0), expected) * 16 <= expected);
    }
}

static void counts_up_to_a_limit_never_exceed_the_truth(void **state)
{
    struct histogram histogram = { 0 };
    struct histogram_sum sum = { 0 };
    for (uint64_t value = 0; value < 4096; value++) {
        histogram_add(&histogram, value);
    }
    histogram_merge(&sum, &histogram);
    for (uint64_t limit = 0; limit < 4096; limit++) {
        uint64_t count = histogram_count_up_to(&sum, limit);
        assert_true(count <= limit + 1 && (limit + 1 - count) * 8 <= limit);
    }
    assert_int_equal(histogram_count_up_to(&sum, 1023), 1024);
    assert_int_equal(histogram_count_up_to(&sum, UINT64_MAX), 4096);
}

static void an_endless_duration_is_counted_in_the_last_bucket(void **state)
{
    struct histogram histogram = { 0 };
    struct histogram_sum sum = { 0 };
    histogram_merge(&sum, &histogram);
    assert_int_equal(histogram_quantile_us(&sum, 0.99), 0);
    histogram_add(&histogram, UINT64_MAX / 2);
    histogram_add(&histogram, 134217727);
    histogram_merge(&sum, &histogram);
    assert_int_equal(sum.buckets[HISTOGRAM_BUCKETS - 1], 2);
    assert_true(histogram_quantile_us(&sum, 0.99) >= 125829120);
    assert_int_equal(histogram_count_up_to(&sum, UINT64_C(1) << 50), 0);
    assert_true(sizeof(struct histogram) <= 2048);
}

static struct histogram watched;
static struct counter finished;

static void *write_steadily(void *argument)
{
    for (int i = 0; i < 200000; i++) {
        histogram_add(&watched, 100);
    }
    counter_add(&finished, 1);
    return NULL;
}

static void a_reader_beside_the_writer_sees_only_growth(void **state)
{
    pthread_t writer;
    uint64_t before = 0;
    assert_int_equal(pthread_create(&writer, NULL, write_steadily, NULL), 0);
    while (counter_read(&finished) == 0) {
        struct histogram_sum sum = { 0 };
        histogram_merge(&sum, &watched);
        assert_true(sum.count >= before && sum.count <= 200000);
        before = sum.count;
    }
    pthread_join(writer, NULL);
    struct histogram_sum sum = { 0 };
    histogram_merge(&sum, &watched);
    assert_int_equal(sum.count, 200000);
    assert_int_equal(sum.sum_us, 20000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_and_a_gauge_hold_what_was_added),
        cmocka_unit_test(a_value_is_known_to_a_sixteenth),
        cmocka_unit_test(quantiles_of_many_values_agree_with_a_sorted_list),
        cmocka_unit_test(counts_up_to_a_limit_never_exceed_the_truth),
        cmocka_unit_test(an_endless_duration_is_counted_in_the_last_bucket),
        cmocka_unit_test(a_reader_beside_the_writer_sees_only_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
