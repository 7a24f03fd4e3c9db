#include "shared/histogram.h"

#define STEPS_BITS 3 /* 8 buckets for a power of two */
#define STEPS (1u << STEPS_BITS)

static unsigned bucket_of(uint64_t duration_us)
{
    if (duration_us < STEPS) return (unsigned)duration_us;
    unsigned shift = 63 - STEPS_BITS - (unsigned)__builtin_clzll(duration_us);
    uint64_t bucket = shift * STEPS + (duration_us >> shift); /* the shifted value is 8 to 15 */
    return bucket < HISTOGRAM_BUCKETS ? (unsigned)bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_width_us(unsigned bucket)
{
    return bucket < 2 * STEPS ? 1 : UINT64_C(1) << (bucket / STEPS - 1);
}

static uint64_t bucket_start_us(unsigned bucket)
{
    return bucket < STEPS ? bucket : (STEPS + bucket % STEPS) * bucket_width_us(bucket);
}

void histogram_add(struct histogram *histogram, uint64_t duration_us)
{
    counter_add(&histogram->buckets[bucket_of(duration_us)], 1);
    counter_add(&histogram->sum_us, duration_us);
}

void histogram_merge(struct histogram_sum *sum, const struct histogram *histogram)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = counter_read(&histogram->buckets[i]);
        sum->buckets[i] += count;
        sum->count += count;
    }
    sum->sum_us += counter_read(&histogram->sum_us);
}

uint64_t histogram_quantile_us(const struct histogram_sum *sum, double q)
{
    if (sum->count == 0) return 0;
    double wanted = q * (double)sum->count;
    uint64_t seen = 0;
    unsigned bucket = 0;
    for (;; bucket++) {
        seen += sum->buckets[bucket];
        if ((seen > 0 && (double)seen >= wanted) || bucket == HISTOGRAM_BUCKETS - 1) break;
    }
    return bucket_start_us(bucket) + bucket_width_us(bucket) / 2;
}

uint64_t histogram_count_up_to(const struct histogram_sum *sum, uint64_t limit_us)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1 && bucket_start_us(i) + bucket_width_us(i) - 1 <= limit_us; i++) {
        count += sum->buckets[i];
    }
    return count;
}
