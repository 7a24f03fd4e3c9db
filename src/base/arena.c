#include "base/arena.h"

#include "base/private.h"

#include <stdarg.h>

/* In front of each chunk's bytes; malloc aligns it to 16, so the bytes begin at 16 too. */
struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* with this head; ARENA_CHUNK_BYTES for those that a pool keeps */
};

#define CHUNK_PAYLOAD_BYTES (ARENA_CHUNK_BYTES - sizeof(struct arena_chunk))

static char *chunk_bytes(struct arena_chunk *chunk) { return (char *)(chunk + 1); }
static char *chunk_end(struct arena_chunk *chunk) { return (char *)chunk + chunk->size; }

void arena_pool_init(struct arena_pool *pool, size_t idle_count_max, struct memory_ceiling *ceiling)
{
    *pool = (struct arena_pool){ .idle_count_max = idle_count_max, .ceiling = ceiling };
}

void arena_pool_release(struct arena_pool *pool)
{
    PROMISE(pool->bytes_taken == 0);
    while (pool->idle) {
        struct arena_chunk *chunk = pool->idle;
        pool->idle = chunk->next;
        free(chunk);
    }
    pool->idle_count = 0;
}

void arena_init(struct arena *arena, struct arena_pool *pool) { *arena = (struct arena){ .pool = pool }; }

static struct arena_chunk *chunk_create(size_t size)
{
    struct arena_chunk *chunk = malloc(size);
    if (chunk) chunk->size = size;
    return chunk;
}

static struct arena_chunk *chunk_take(struct arena_pool *pool, size_t size)
{
    if (!pool) return chunk_create(size);
    if (!memory_ceiling_take(pool->ceiling, size)) return NULL;
    struct arena_chunk *chunk = NULL;
    if (size == ARENA_CHUNK_BYTES && pool->idle) {
        chunk = pool->idle;
        pool->idle = chunk->next;
        pool->idle_count--;
        pooled_memory_open(chunk_bytes(chunk), CHUNK_PAYLOAD_BYTES);
    } else {
        chunk = chunk_create(size);
    }
    if (chunk)
        pool->bytes_taken += size;
    else
        memory_ceiling_give(pool->ceiling, size);
    return chunk;
}

static bool can_lie_idle(const struct arena_pool *pool, const struct arena_chunk *chunk)
{
    return chunk->size == ARENA_CHUNK_BYTES && pool->idle_count < pool->idle_count_max &&
           memory_ceiling_has_room(pool->ceiling, (pool->idle_count + 1) * ARENA_CHUNK_BYTES);
}

static void chunk_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
    if (pool) {
        pool->bytes_taken -= chunk->size;
        memory_ceiling_give(pool->ceiling, chunk->size);
    }
    if (!pool || !can_lie_idle(pool, chunk)) {
        free(chunk);
        return;
    }
    pooled_memory_close(chunk_bytes(chunk), CHUNK_PAYLOAD_BYTES);
    chunk->next = pool->idle;
    pool->idle = chunk;
    pool->idle_count++;
}

void arena_release(struct arena *arena)
{
    while (arena->chunks) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        chunk_give(arena->pool, chunk);
    }
    arena->next = arena->end = NULL;
}

static char *align_up(char *at, size_t alignment) { return at + (-(uintptr_t)at & (alignment - 1)); }

void *arena_allocate_slow(struct arena *arena, size_t size, size_t alignment)
{
    if (size > PTRDIFF_MAX - ARENA_CHUNK_BYTES || alignment > ARENA_CHUNK_BYTES / 2) return NULL;
    size = size ? (size + 7) & ~(size_t)7 : 8;

    if (arena->next) {
        char *at = align_up(arena->next, alignment);
        if (at <= arena->end && (size_t)(arena->end - at) >= size) {
            arena->next = at + size;
            return at;
        }
    }
    size_t wanted = sizeof(struct arena_chunk) + size + (alignment > 16 ? alignment : 0);
    struct arena_chunk *chunk = chunk_take(arena->pool, wanted > ARENA_CHUNK_BYTES ? wanted : ARENA_CHUNK_BYTES);
    if (!chunk) return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    char *memory = align_up(chunk_bytes(chunk), alignment);

    /* Go on in whichever chunk has more left, so that one large piece doesn't waste the rest of the old chunk. */
    char *next = memory + size;
    if (chunk_end(chunk) - next > arena->end - arena->next) {
        arena->next = next;
        arena->end = chunk_end(chunk);
    }
    return memory;
}

void *arena_allocate_zeroed(struct arena *arena, size_t size)
{
    void *memory = arena_allocate(arena, size);
    return memory ? memset(memory, 0, size) : NULL;
}

struct slice arena_copy(struct arena *arena, struct slice slice) { return arena_join(arena, &slice, 1); }

struct slice arena_keep(struct arena *arena, struct slice slice)
{
    struct slice copy = arena_copy(arena, slice);
    PROMISE(!slice_is_absent(copy));
    return copy;
}

struct slice arena_join(struct arena *arena, const struct slice *pieces, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(length, pieces[i].length, &length)) return SLICE_ABSENT;
    }
    char *text = length < SIZE_MAX ? arena_allocate(arena, length + 1) : NULL;
    if (!text) return SLICE_ABSENT;
    char *next = text;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].length) next = mempcpy(next, pieces[i].at, pieces[i].length);
    }
    *next = '\0';
    return slice_of(text, length);
}

/* Tries in what the current chunk has left; only a text that does not fit is formatted a second time. */
struct slice arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = (size_t)(arena->end - arena->next);
    int length = vsnprintf(arena->next, room, format, arguments);
    va_end(arguments);
    if (length < 0) return SLICE_ABSENT;
    char *text = arena_allocate(arena, (size_t)length + 1);
    if (!text) return SLICE_ABSENT;
    if ((size_t)length >= room) {
        va_start(arguments, format);
        vsnprintf(text, (size_t)length + 1, format, arguments);
        va_end(arguments);
    }
    return slice_of(text, (size_t)length);
}
