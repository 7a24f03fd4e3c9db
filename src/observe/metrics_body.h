/* observe/metrics_body.h: the metrics' text as an answer's body: made as fast as the client takes it, and no faster.
 *
 * Embedded in its owner (a handler's state); the pipe's loop is its thread. It needs a slab of 16 KiB at a time, and beyond the pipe's window
 * keeps nothing but a reader. */
#ifndef SLUICE_OBSERVE_METRICS_BODY_H
#define SLUICE_OBSERVE_METRICS_BODY_H

#include "http/body_pipe.h"
#include "observe/metrics_reader.h"

struct metrics_body {
    struct metrics_reader *reader; /* NULL: not begun, or over */
    struct body_pipe *pipe;
    struct slab_pool *slabs;
    struct task task;
};

#define METRICS_CONTENT_TYPE SLICE("text/plain; version=0.0.4; charset=utf-8")

/* Produces into a pipe that was initialised with BODY_LENGTH_UNKNOWN, and finishes it. When memory runs out it is aborted. */
void metrics_body_start(struct metrics_body *, struct metrics *, struct body_pipe *, struct slab_pool *);
/* Nothing of it is touched after this; the pipe may be half-way. Safe to call on a zeroed one and twice. */
void metrics_body_stop(struct metrics_body *);

#endif
