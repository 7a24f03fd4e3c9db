/* base/slab.h: refcounted buffers for bytes that stream.
 *
 * A slab belongs to one worker's pool; counts are plain integers, never touched by another thread.
 * The pool has a ceiling in bytes: at the ceiling slab_take() returns NULL and the caller sheds (503) or waits. */
#ifndef SLUICE_BASE_SLAB_H
#define SLUICE_BASE_SLAB_H

#include "base/base.h"

enum slab_class { SLAB_SMALL, SLAB_MEDIUM, SLAB_LARGE, SLAB_CLASS_COUNT };

#define SLAB_SMALL_BYTES (16 * 1024u)
#define SLAB_MEDIUM_BYTES (64 * 1024u)
#define SLAB_LARGE_BYTES (256 * 1024u)

struct slab {
    struct slab_pool *pool;
    struct slab *next_idle;
    uint32_t references;
    uint32_t size;   /* of bytes[] */
    uint32_t filled; /* how many bytes a reader has put in; for the one who fills it */
    uint8_t class;   /* enum slab_class, or SLAB_CLASS_COUNT for one of odd size */
    char bytes[] __attribute__((aligned(CACHE_LINE)));
};

struct slab_pool {
    struct slab *idle[SLAB_CLASS_COUNT];
    size_t idle_bytes, idle_bytes_max;   /* kept for reuse; more than that goes back to malloc */
    size_t taken_bytes, taken_bytes_max; /* the sizes of all slabs in use; a ceiling of 0 means none */
};

void slab_pool_init(struct slab_pool *, size_t idle_bytes_max, size_t taken_bytes_max);
/* All slabs must have been dropped. */
void slab_pool_release(struct slab_pool *);

/* One reference, filled == 0. NULL at the pool's ceiling or when malloc fails. */
struct slab *slab_take(struct slab_pool *, enum slab_class) MUST_USE;
/* For heads beyond SLAB_LARGE; `size` bytes at least. */
struct slab *slab_take_sized(struct slab_pool *, size_t size) MUST_USE;

void slab_give_back(struct slab *); /* internal to slab_drop */

static inline void slab_retain(struct slab *slab) { slab->references++; }

/* NULL is allowed. */
static inline void slab_drop(struct slab *slab)
{
    if (slab && --slab->references == 0) slab_give_back(slab);
}

#endif
