/* filters/encoder.h: a body's bytes compressed as they come: gzip, Brotli or Zstandard behind one call.
 *
 * An encoder belongs to whoever took it, until it is given back. One worker's thread. What it may use in memory at the most is known when it
 * is taken and counted under the worker's ceiling from then on, so nothing is refused to one that has begun. It knows no pipe and no exchange. */
#ifndef SLUICE_FILTERS_ENCODER_H
#define SLUICE_FILTERS_ENCODER_H

#include "base/ceiling.h"
#include "filters/content_coding.h"

/* Levels that a worker can afford: none compresses more than some milliseconds at a time. */
#define GZIP_LEVEL_MAX 9
#define BROTLI_LEVEL_MAX 8
#define ZSTD_LEVEL_MAX 9

struct encoder;
struct encoder_pool;

/* What a worker keeps for the next one: states that were used and lie idle, within 8 MiB. They don't count under the ceiling, as idle slabs
 * don't. NULL when memory is short. */
struct encoder_pool *encoder_pool_create(void) MUST_USE;
/* All encoders were given back. */
void encoder_pool_destroy(struct encoder_pool *);

struct encoder_wish {
    enum content_coding coding; /* gzip, br or zstd, loaded before (content_coding_load) */
    int level;
    uint64_t expected; /* bytes to come, or UINT64_MAX */
    bool is_stream;    /* it may live for hours and say little: takes a tenth of the memory */
};

/* Either of pool and ceiling may be NULL: nothing is kept, nothing is counted. NULL: the ceiling has no room, or malloc says no. */
struct encoder *encoder_take(struct encoder_pool *, struct memory_ceiling *, const struct encoder_wish *) MUST_USE;
/* Whether it was finished or not. NULL is allowed. */
void encoder_give(struct encoder *);

enum encoder_goal {
    ENCODER_TAKE,  /* the input; what comes out of it may come later */
    ENCODER_FLUSH, /* all that was taken can be read by the other side */
    ENCODER_END,   /* the end of the body */
};

enum encoder_result {
    ENCODER_DONE,    /* the goal is reached */
    ENCODER_GOES_ON, /* `room` was used up: the same goal again, with what is left of the input */
    ENCODER_FAILED,  /* memory is short; the body can't be completed */
};

/* Flushing needs more room than its few bytes of marker at a time. */
#define ENCODER_ROOM_MIN 64

/* Takes bytes off *input and writes at most `room` (>= ENCODER_ROOM_MIN) to `into`. A flush or an end that has begun is gone on with until
 * it is done; a flush gets no input meanwhile. */
enum encoder_result encoder_run(struct encoder *, struct slice *input, enum encoder_goal, char *into, size_t room,
                                size_t *written);

#endif
