/* base/arena.h: memory that dies as a whole.
 *
 * An arena is a chain of chunks, taken from an arena_pool (one per worker; never shared by threads) or, with a
 * NULL pool, from malloc. Nothing is freed singly. On the request path an allocation may fail: NULL, to be handled. */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include "base/ceiling.h"
#include "base/slice.h"

#define ARENA_CHUNK_BYTES 8192

struct arena_chunk;

struct arena_pool {
    struct arena_chunk *idle;
    size_t idle_count, idle_count_max; /* beyond this many, or what the ceiling leaves, chunks go back to malloc */
    size_t bytes_taken;                /* in chunks in use */
    struct memory_ceiling *ceiling;    /* at it allocations fail; NULL: none */
};

struct arena {
    char *next, *end;           /* free bytes of the current chunk */
    struct arena_chunk *chunks; /* newest first */
    struct arena_pool *pool;
};

void arena_pool_init(struct arena_pool *, size_t idle_count_max, struct memory_ceiling *ceiling_or_null);
/* All arenas of the pool must have been released. */
void arena_pool_release(struct arena_pool *);

/* Takes no memory before the first allocation. */
void arena_init(struct arena *, struct arena_pool *pool_or_null);
/* Gives every chunk back; the arena can be used again. */
void arena_release(struct arena *);

/* The general form: `alignment` is a power of two. */
void *arena_allocate_slow(struct arena *, size_t size, size_t alignment);

/* Not zeroed, aligned to 8. NULL when memory is short. One comparison sends size 0, sizes that overflow when rounded,
 * the empty arena and the full chunk to the slow road. */
static inline void *arena_allocate(struct arena *arena, size_t size)
{
    size_t rounded = (size + 7) & ~(size_t)7;
    if (LIKELY(rounded - 1 < (size_t)(arena->end - arena->next))) {
        void *memory = arena->next;
        arena->next += rounded;
        return memory;
    }
    return arena_allocate_slow(arena, size, 8);
}

void *arena_allocate_zeroed(struct arena *, size_t size);
/* A copy with a NUL behind it (not counted in length); absent when memory is short. */
struct slice arena_copy(struct arena *, struct slice);
/* The same for the control plane: out of memory ends the process. */
struct slice arena_keep(struct arena *, struct slice);
struct slice arena_format(struct arena *, const char *format, ...) PRINTF_LIKE(2, 3);
/* The pieces one after the other. */
struct slice arena_join(struct arena *, const struct slice *pieces, size_t count);

#endif
