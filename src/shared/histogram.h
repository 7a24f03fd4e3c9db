/* shared/histogram.h: how long things took, in microseconds: written by one thread, summed by whoever reads.
 *
 * Log-linear: each power of two is cut into 8 buckets of equal width, so a value is known to 1/8 of itself and a bucket's middle
 * is at most 1/16 away from any value in it. Values below 8 have a bucket each:
 *
 *   bucket   0 … 7    8 … 15   16     17     …  23      24     …        199
 *   from     0 … 7    8 … 15   16     18     …  30      32     …        125829120 (and all beyond: 2 minutes)
 *   width    1        1        2                        4                8388608
 *
 * 1,608 bytes; zeroed is empty. */
#ifndef SLUICE_SHARED_HISTOGRAM_H
#define SLUICE_SHARED_HISTOGRAM_H

#include "shared/counter.h"

#define HISTOGRAM_BUCKETS 200

struct histogram {
    struct counter sum_us;
    struct counter buckets[HISTOGRAM_BUCKETS];
};

/* The writer's thread only. */
void histogram_add(struct histogram *, uint64_t duration_us);

/* A plain sum of histograms, in one thread's hands. */
struct histogram_sum {
    uint64_t count, sum_us;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Adds what the histogram holds at this moment; any thread. */
void histogram_merge(struct histogram_sum *, const struct histogram *);
/* The value below which a share of q (0 to 1) of all values lies, to 1/16; 0 where there is none. */
uint64_t histogram_quantile_us(const struct histogram_sum *, double q);
/* How many values are certain to be <= limit_us: exact where limit_us + 1 is the start of a bucket, else up to 1/8 too few. */
uint64_t histogram_count_up_to(const struct histogram_sum *, uint64_t limit_us);

#endif
