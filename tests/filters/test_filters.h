/* Policies for tests only: they prove that an exchange waits, resumes and cancels, and that bodies pass stages.
 *
 * Unit tests hand them in beside filters_all; sluice_test_gateway offers them in a configuration file as any other kind. */
#ifndef SLUICE_TESTS_TEST_FILTERS_H
#define SLUICE_TESTS_TEST_FILTERS_H

#include "exchange/exchange.h"
#include "filters/filters.h"

extern const struct filter filter_test_identity, filter_test_tell_identity;
extern const struct filter filter_test_grow, filter_test_hold, filter_test_join, filter_test_line_break,
    filter_test_refuse, filter_test_shrink, filter_test_wait, filter_test_wait_thread;

/* NULL-ended. */
extern const struct filter *const test_filters_all[];
/* filters_all and test_filters_all as one list, NULL-ended. */
const struct filter *const *test_filters_with_all(void);

/* What the waiting ones have seen, in this process. */
struct test_filter_counts {
    _Atomic unsigned waits, cancelled, late, finished;
};
extern struct test_filter_counts test_filter_counts;

/* Returns when no thread of test-wait-thread runs any more. */
void test_filters_settle(void);

#endif
