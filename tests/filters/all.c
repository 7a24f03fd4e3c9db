#include "filters/test_filters.h"

struct test_filter_counts test_filter_counts;

const struct filter *const test_filters_all[] = {
    &filter_test_grow,
    &filter_test_hold,
    &filter_test_join,
    &filter_test_line_break,
    &filter_test_refuse,
    &filter_test_shrink,
    &filter_test_wait,
    &filter_test_wait_thread,
    &filter_test_identity,
    &filter_test_tell_identity,
    NULL,
};

#define FILTERS_MAX 64

const struct filter *const *test_filters_with_all(void)
{
    static const struct filter *all[FILTERS_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; filters_all[i]; i++) all[count++] = filters_all[i];
    for (size_t i = 0; test_filters_all[i]; i++) all[count++] = test_filters_all[i];
    PROMISE(count <= FILTERS_MAX);
    return all;
}
