/* base/slab.h: refcounted buffers for bytes that stream.
 *
 * A slab belongs to one worker's pool; counts are plain integers, never touched by another thread.
 * At the ceiling slab_take() returns NULL: the caller sheds (503), or goes on with what it was promised (slab_reserve). */
#ifndef SLUICE_BASE_SLAB_H
#define SLUICE_BASE_SLAB_H

#include "base/ceiling.h"

enum slab_class { SLAB_TINY, SLAB_SMALL, SLAB_MEDIUM, SLAB_CLASS_COUNT };

#define SLAB_TINY_BYTES (4 * 1024u)
#define SLAB_SMALL_BYTES (16 * 1024u)
#define SLAB_MEDIUM_BYTES (64 * 1024u)

struct slab {
    struct slab_pool *pool;
    struct slab *next_idle;
    uint32_t references;
    uint32_t size;   /* of bytes[] */
    uint32_t filled; /* how many bytes a reader has put in; for the one who fills it */
    uint8_t class;   /* enum slab_class, or SLAB_CLASS_COUNT for one of odd size */
    bool is_reserve; /* somebody can't go on before it is dropped: not to be kept for a mere convenience */
    char bytes[] __attribute__((aligned(CACHE_LINE)));
};

struct slab_pool {
    struct slab *idle[SLAB_CLASS_COUNT];
    size_t idle_bytes,
        idle_bytes_max; /* kept for reuse; more than that, or than the ceiling leaves, goes back to malloc */
    size_t taken_bytes; /* the sizes of all slabs in use */
    struct memory_ceiling *ceiling; /* NULL: none */
};

void slab_pool_init(struct slab_pool *, size_t idle_bytes_max, struct memory_ceiling *ceiling_or_null);
/* All slabs must have been dropped. */
void slab_pool_release(struct slab_pool *);

/* One reference, filled == 0. NULL at the ceiling or when malloc fails. */
struct slab *slab_take(struct slab_pool *, enum slab_class) MUST_USE;
/* The smallest class that holds `size` bytes; beyond SLAB_MEDIUM one of odd size, for heads. */
struct slab *slab_take_sized(struct slab_pool *, size_t size) MUST_USE;

void slab_give_back(struct slab *); /* internal to slab_drop */

static inline void slab_retain(struct slab *slab) { slab->references++; }

/* NULL is allowed. */
static inline void slab_drop(struct slab *slab)
{
    if (slab && --slab->references == 0) slab_give_back(slab);
}

/* The promise of one SLAB_TINY, so that whoever was let in can go on when the pool has nothing else to give. It counts from init to
 * release; the slab itself is made at the first need and serves again each time when everybody else has dropped it. */
struct slab_reserve {
    struct slab_pool *pool; /* NULL: nothing was promised */
    struct slab *slab;      /* once drawn; one reference */
};

/* False at the ceiling: then nothing is promised and nothing is to be released. */
bool slab_reserve_init(struct slab_reserve *, struct slab_pool *) MUST_USE;
/* One more reference, filled == 0. NULL while somebody has not dropped it yet, where nothing was promised, or when malloc fails. */
struct slab *slab_reserve_take(struct slab_reserve *) MUST_USE;
/* What still holds the slab keeps it. Safe to call twice, and on a zeroed one. */
void slab_reserve_release(struct slab_reserve *);

#endif
