/* Bounds by decades: as few buckets as 10 % allows between two bounds that Prometheus is given, evenly spread. */
#include "observe/latency_scale.h"

/* clang-format off */
const uint64_t latency_ends_us[LATENCY_BUCKETS] = {
    0, 1, 2, 3, 4, 5, 6, 7,
    8, 10, 13, 16, 20, 25, 31, 38,
    46, 56, 68, 83, 100, 120, 144, 173,
    208, 250, 297, 354, 420, 500, 595, 707,
    841, 1000, 1201, 1443, 1733, 2081, 2500, 2973,
    3536, 4204, 5000, 5946, 7071, 8409, 10000, 12011,
    14427, 17329, 20814, 25000, 29730, 35355, 42045, 50000,
    59460, 70711, 84090, 100000, 120112, 144270, 173286, 208138,
    250000, 297302, 353553, 420448, 500000, 594604, 707107, 840896,
    1000000, 1201124, 1442700, 1732862, 2081383, 2500000, 2973018, 3535534,
    4204482, 5000000, 5946036, 7071068, 8408964, 10000000, 12009370, 14422496,
    17320508, 20800838, 24980495, 30000000, 36666353, 44814047, 54772256, 66943295,
    81818882, 100000000, 121152766, 146779927, 177827941, 215443469, 261015722, 316227766,
    383118685, 464158883, 562341325, 681292069, 825404185, 1000000000, 1211527659, 1467799268,
    1778279410, 2154434690, 2610157216, 3162277660, 3831186850, 4641588834, 5623413252, 6812920691,
    8254041853, LATENCY_LARGEST_US,
};
/* clang-format on */

const uint64_t latency_bounds_us[LATENCY_BOUNDS - 1] = { 100,     250,     500,     1000,     2500,    5000,
                                                         10000,   25000,   50000,   100000,   250000,  500000,
                                                         1000000, 2500000, 5000000, 10000000, 30000000 };

void latency_scale_init(struct latency_scale *scale)
{
    unsigned bucket = 0;
    for (unsigned step = 0; step < LATENCY_STEPS; step++) {
        uint64_t first = step < 8 ? step : (uint64_t)(8 + step % 8) << (step / 8 - 1);
        while (bucket < LATENCY_BUCKETS - 1 && latency_ends_us[bucket] < first) bucket++;
        scale->bucket_at[step] = (uint8_t)bucket;
    }
    uint8_t bound = 0;
    for (bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        scale->bound_at[bucket] = bound;
        if (bound < LATENCY_BOUNDS - 1 && latency_ends_us[bucket] == latency_bounds_us[bound]) bound++;
    }
}

uint64_t latency_of_bucket_us(unsigned bucket)
{
    if (bucket == 0) return 0;
    uint64_t lowest = latency_ends_us[bucket - 1] + 1, highest = latency_ends_us[bucket];
    return (lowest * 11 / 10 + (highest * 9 + 9) / 10) / 2; /* between what the lowest and what the highest allow */
}

uint64_t latency_quantile_us(const uint64_t counts[LATENCY_BUCKETS], unsigned permille)
{
    uint64_t total = 0, seen = 0;
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) total += counts[bucket];
    if (total == 0) return 0;
    uint64_t wanted = total / 1000 * permille + (total % 1000 * permille + 999) / 1000; /* the rank, rounded up */
    if (wanted == 0) wanted = 1;
    unsigned bucket = 0;
    while (bucket < LATENCY_BUCKETS - 1 && (seen += counts[bucket]) < wanted) bucket++;
    return latency_of_bucket_us(bucket);
}
