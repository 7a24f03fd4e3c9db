/* observe/metrics_reader.h: the text for Prometheus, a piece at a time.
 *
 * A reader stands at a place of the text and makes what follows when it is asked for; beside the caller's buffer it keeps one route's
 * lines (some 5 KiB), or what one source wrote at a time. Routes may come and go meanwhile: a new one is told of if the reader has not passed the end
 * of its metric, one that is forgotten is not; where a reader stands, nothing is forgotten. The lock that the builder needs is held for the
 * time of finding 64 routes, some microseconds, never while text is made. Each metric is told at one time, different ones at different
 * times. Any thread but a worker's; one thread a reader. */
#ifndef SLUICE_OBSERVE_METRICS_READER_H
#define SLUICE_OBSERVE_METRICS_READER_H

#include "observe/metrics.h"

struct metrics_reader;

struct metrics_reader *metrics_reader_create(struct metrics *);
void metrics_reader_destroy(struct metrics_reader *); /* anywhere in the text; NULL is allowed */

/* Fills the buffer with the next lines, as many whole ones as fit; where not even one fits, with a piece of it. How many bytes; 0: that
 * was all. */
size_t metrics_reader_next(struct metrics_reader *, char *buffer, size_t size);

#endif
