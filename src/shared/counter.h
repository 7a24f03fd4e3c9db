/* shared/counter.h: numbers that one thread writes and any thread reads.
 *
 * A change is a plain load and store, not a locked instruction: right because there is only one writer. */
#ifndef SLUICE_SHARED_COUNTER_H
#define SLUICE_SHARED_COUNTER_H

#include "base/base.h"

#include <stdatomic.h>

/* Only grows. */
struct counter {
    _Atomic uint64_t value;
};

/* Goes up and down. */
struct gauge {
    _Atomic int64_t value;
};

static inline uint64_t counter_read(const struct counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static inline void counter_add(struct counter *counter, uint64_t amount)
{
    atomic_store_explicit(&counter->value, counter_read(counter) + amount, memory_order_relaxed);
}

static inline int64_t gauge_read(const struct gauge *gauge)
{
    return atomic_load_explicit(&gauge->value, memory_order_relaxed);
}

static inline void gauge_add(struct gauge *gauge, int64_t amount)
{
    atomic_store_explicit(&gauge->value, gauge_read(gauge) + amount, memory_order_relaxed);
}

static inline void gauge_set(struct gauge *gauge, int64_t value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

#endif
