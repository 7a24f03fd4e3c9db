/* What cmocka wants included before it, in its order; included first by each unit test. */
#ifndef SLUICE_UNIT_TEST_H
#define SLUICE_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"

static inline void assert_slice_is(struct slice slice, const char *expected)
{
    assert_int_equal(slice.length, strlen(expected));
    if (slice.length) assert_memory_equal(slice.at, expected, slice.length);
}

#endif
