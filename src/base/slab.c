#include "base/slab.h"

#include "base/private.h"

static const uint32_t class_bytes[SLAB_CLASS_COUNT] = { SLAB_TINY_BYTES, SLAB_SMALL_BYTES, SLAB_MEDIUM_BYTES };

void slab_pool_init(struct slab_pool *pool, size_t idle_bytes_max, struct memory_ceiling *ceiling)
{
    *pool = (struct slab_pool){ .idle_bytes_max = idle_bytes_max, .ceiling = ceiling };
}

static struct slab *take_idle(struct slab_pool *pool, enum slab_class class)
{
    struct slab *slab = pool->idle[class];
    if (!slab) return NULL;
    pool->idle[class] = slab->next_idle;
    pool->idle_bytes -= slab->size;
    pooled_memory_open(slab->bytes, slab->size);
    return slab;
}

void slab_pool_release(struct slab_pool *pool)
{
    PROMISE(pool->taken_bytes == 0);
    for (int i = 0; i < SLAB_CLASS_COUNT; i++) {
        for (struct slab *slab; (slab = take_idle(pool, (enum slab_class)i)) != NULL;) free(slab);
    }
}

/* What lies idle in other classes gives way, so that it doesn't come on top of the ceiling. */
static void make_way(struct slab_pool *pool)
{
    for (int i = SLAB_CLASS_COUNT - 1; i >= 0; i--) {
        while (pool->idle[i] && !memory_ceiling_has_room(pool->ceiling, pool->idle_bytes))
            free(take_idle(pool, (enum slab_class)i));
    }
}

static struct slab *slab_create(struct slab_pool *pool, uint32_t size, enum slab_class class)
{
    if (pool->idle_bytes) make_way(pool);
    size_t bytes = (sizeof(struct slab) + size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
    struct slab *slab = aligned_alloc(CACHE_LINE, bytes);
    if (!slab) return NULL;
    slab->pool = pool;
    slab->size = size;
    slab->class = (uint8_t)(class);
    return slab;
}

/* An idle slab, or a new one; the ceiling has counted it. */
static struct slab *begin_use(struct slab_pool *pool, enum slab_class class, uint32_t size)
{
    struct slab *slab = class < SLAB_CLASS_COUNT ? take_idle(pool, class) : NULL;
    if (!slab && !(slab = slab_create(pool, size, class))) return NULL;
    slab->next_idle = NULL;
    slab->references = 1;
    slab->filled = 0;
    slab->is_reserve = false;
    pool->taken_bytes += size;
    return slab;
}

static struct slab *take(struct slab_pool *pool, enum slab_class class, uint32_t size)
{
    if (!memory_ceiling_take(pool->ceiling, size)) return NULL;
    struct slab *slab = begin_use(pool, class, size);
    if (!slab) memory_ceiling_give(pool->ceiling, size);
    return slab;
}

struct slab *slab_take(struct slab_pool *pool, enum slab_class class) { return take(pool, class, class_bytes[class]); }

struct slab *slab_take_sized(struct slab_pool *pool, size_t size)
{
    for (int i = 0; i < SLAB_CLASS_COUNT; i++) {
        if (size <= class_bytes[i]) return slab_take(pool, (enum slab_class)i);
    }
    return size <= INT32_MAX ? take(pool, SLAB_CLASS_COUNT, (uint32_t)size) : NULL;
}

void slab_give_back(struct slab *slab)
{
    struct slab_pool *pool = slab->pool;
    pool->taken_bytes -= slab->size;
    memory_ceiling_give(pool->ceiling, slab->size);
    size_t idle_bytes = pool->idle_bytes + slab->size;
    bool is_odd = slab->class == SLAB_CLASS_COUNT;
    if (is_odd || idle_bytes > pool->idle_bytes_max || !memory_ceiling_has_room(pool->ceiling, idle_bytes)) {
        free(slab);
        return;
    }
    pooled_memory_close(slab->bytes, slab->size);
    pool->idle_bytes = idle_bytes;
    slab->next_idle = pool->idle[slab->class];
    pool->idle[slab->class] = slab;
}

bool slab_reserve_init(struct slab_reserve *reserve, struct slab_pool *pool)
{
    bool promised = memory_ceiling_promise(pool->ceiling, SLAB_TINY_BYTES);
    *reserve = (struct slab_reserve){ .pool = promised ? pool : NULL };
    return promised;
}

struct slab *slab_reserve_take(struct slab_reserve *reserve)
{
    if (!reserve->pool) return NULL;
    struct slab *slab = reserve->slab;
    if (!slab) {
        slab = begin_use(reserve->pool, SLAB_TINY, SLAB_TINY_BYTES);
        if (!slab) return NULL;
        memory_ceiling_draw(reserve->pool->ceiling, SLAB_TINY_BYTES);
        slab->is_reserve = true;
        reserve->slab = slab;
    }
    if (slab->references > 1) return NULL;
    slab->filled = 0;
    slab_retain(slab);
    return slab;
}

void slab_reserve_release(struct slab_reserve *reserve)
{
    if (reserve->slab)
        slab_drop(reserve->slab);
    else if (reserve->pool)
        memory_ceiling_forget_promise(reserve->pool->ceiling, SLAB_TINY_BYTES);
    *reserve = (struct slab_reserve){ 0 };
}
