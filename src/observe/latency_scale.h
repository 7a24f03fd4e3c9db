/* observe/latency_scale.h: durations in 122 buckets, each so narrow that one number stands for all of it within 10 %.
 *
 *   bucket   0    1   …   8   9       10       11       …   20       …   121
 *   holds    0    1   …   8   9–10    11–13    14–16    …   84–100   …   8254041854–10000000000 µs (2.8 hours), and all beyond
 *
 * The bounds of the histograms that Prometheus is given (100 µs, 250 µs … 30 s) are ends of buckets, so those are exact. Pure; the table of
 * a scale is written once and then shared. */
#ifndef SLUICE_OBSERVE_LATENCY_SCALE_H
#define SLUICE_OBSERVE_LATENCY_SCALE_H

#include "base/base.h"

#define LATENCY_BUCKETS 122
#define LATENCY_LARGEST_US UINT64_C(10000000000)
#define LATENCY_STEPS 256 /* 8 for a power of two, up to 2^34 */

/* The last value of each bucket. */
extern const uint64_t latency_ends_us[LATENCY_BUCKETS];

/* The bounds that Prometheus is given; behind them comes one for all the rest. */
#define LATENCY_BOUNDS 18
extern const uint64_t latency_bounds_us[LATENCY_BOUNDS - 1];

struct latency_scale {
    uint8_t bucket_at[LATENCY_STEPS];  /* of a step's first value; there is at most one end inside a step */
    uint8_t bound_at[LATENCY_BUCKETS]; /* of the bucket */
};

void latency_scale_init(struct latency_scale *);

static inline unsigned latency_bucket(const struct latency_scale *scale, uint64_t duration_us)
{
    unsigned step = (unsigned)duration_us;
    if (LIKELY(duration_us >= 8)) {
        if (UNLIKELY(duration_us > LATENCY_LARGEST_US)) return LATENCY_BUCKETS - 1;
        unsigned shift = 60 - (unsigned)__builtin_clzll(duration_us);
        step = shift * 8 + (unsigned)(duration_us >> shift); /* the shifted value is 8 to 15 */
    }
    unsigned bucket = scale->bucket_at[step];
    return bucket + (duration_us > latency_ends_us[bucket]);
}

/* The number that is within 10 % of every value in the bucket. */
uint64_t latency_of_bucket_us(unsigned bucket);

/* The value at or below which `permille` thousandths of all lie (990: P99; 1000: the largest), within 10 %; 0 where there is none. */
uint64_t latency_quantile_us(const uint64_t counts[LATENCY_BUCKETS], unsigned permille);

#endif
