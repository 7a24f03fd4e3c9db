#include "base/slab.h"

#include "base/private.h"

static const uint32_t class_bytes[SLAB_CLASS_COUNT] = { SLAB_SMALL_BYTES, SLAB_MEDIUM_BYTES, SLAB_LARGE_BYTES };

void slab_pool_init(struct slab_pool *pool, size_t idle_bytes_max, size_t taken_bytes_max)
{
    *pool = (struct slab_pool){ .idle_bytes_max = idle_bytes_max, .taken_bytes_max = taken_bytes_max };
}

void slab_pool_release(struct slab_pool *pool)
{
    PROMISE(pool->taken_bytes == 0);
    for (size_t i = 0; i < SLAB_CLASS_COUNT; i++) {
        while (pool->idle[i]) {
            struct slab *slab = pool->idle[i];
            pool->idle[i] = slab->next_idle;
            free(slab);
        }
    }
    pool->idle_bytes = 0;
}

static bool is_beyond_ceiling(const struct slab_pool *pool, size_t size)
{
    return pool->taken_bytes_max && (size > pool->taken_bytes_max || pool->taken_bytes > pool->taken_bytes_max - size);
}

static struct slab *slab_create(struct slab_pool *pool, uint32_t size, enum slab_class class)
{
    size_t bytes = (sizeof(struct slab) + size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
    struct slab *slab = aligned_alloc(CACHE_LINE, bytes);
    if (!slab) return NULL;
    slab->pool = pool;
    slab->size = size;
    slab->class = (uint8_t)(class);
    return slab;
}

/* Hands out a slab that is idle or new. */
static struct slab *begin_use(struct slab_pool *pool, struct slab *slab)
{
    slab->next_idle = NULL;
    slab->references = 1;
    slab->filled = 0;
    pool->taken_bytes += slab->size;
    return slab;
}

struct slab *slab_take(struct slab_pool *pool, enum slab_class class)
{
    if (is_beyond_ceiling(pool, class_bytes[class])) return NULL;
    struct slab *slab = pool->idle[class];
    if (slab) {
        pool->idle[class] = slab->next_idle;
        pool->idle_bytes -= slab->size;
        pooled_memory_open(slab->bytes, slab->size);
    } else if (!(slab = slab_create(pool, class_bytes[class], class))) {
        return NULL;
    }
    return begin_use(pool, slab);
}

struct slab *slab_take_sized(struct slab_pool *pool, size_t size)
{
    for (int i = 0; i < SLAB_CLASS_COUNT; i++) {
        if (size <= class_bytes[i]) return slab_take(pool, (enum slab_class)i);
    }
    if (size > INT32_MAX || is_beyond_ceiling(pool, size)) return NULL;
    struct slab *slab = slab_create(pool, (uint32_t)size, SLAB_CLASS_COUNT);
    return slab ? begin_use(pool, slab) : NULL;
}

void slab_give_back(struct slab *slab)
{
    struct slab_pool *pool = slab->pool;
    pool->taken_bytes -= slab->size;
    if (slab->class == SLAB_CLASS_COUNT || pool->idle_bytes + slab->size > pool->idle_bytes_max) {
        free(slab);
        return;
    }
    pooled_memory_close(slab->bytes, slab->size);
    pool->idle_bytes += slab->size;
    slab->next_idle = pool->idle[slab->class];
    pool->idle[slab->class] = slab;
}
