#include "upstream/worker.h"

#include "upstream/private.h"

#define IDLE_TOTAL_DEFAULT 1024
#define SPLICE_BYTES_DEFAULT (256 * 1024u)
#define POOLS_FIRST 16

/* What a pool holds beyond its number of idle connections is closed here and not as it comes back: what was in use a moment ago
 * will be again, and a burst wider than that number would connect anew all the time. */
static bool is_due(const struct pooled *pooled, uint64_t now_ms)
{
    uint64_t idle_ms = now_ms - pooled->connection->idle_since_ms;
    const struct upstream_pool *pool = pooled->pool;
    return idle_ms >= pool->idle_timeout_ms || (pool->idle_count > pool->idle_max && idle_ms >= POOL_SWEEP_EVERY_MS);
}

/* Walks all idle connections: services differ in their idle timeouts, so the oldest isn't the first that is due. At most
 * idle_connections_total_max of them, once a second. */
static void sweep(struct timer *timer)
{
    struct upstream_worker *worker = CONTAINER_OF(timer, struct upstream_worker, sweep);
    uint64_t now_ms = worker->loop->now_ms;
    struct list_link *next;
    for (struct list_link *link = worker->idle_order.next; link != &worker->idle_order; link = next) {
        next = link->next;
        struct pooled *pooled = CONTAINER_OF(link, struct pooled, order);
        struct upstream_pool *pool = pooled->pool;
        if (!is_due(pooled, now_ms)) continue;
        upstream_pool_close_idle(pooled);
        upstream_pool_discard_unused(pool);
    }
    if (!list_is_empty(&worker->idle_order)) timer_set(&worker->loop->timers, timer, now_ms + POOL_SWEEP_EVERY_MS);
}

bool upstream_worker_init(struct upstream_worker *worker, struct http_worker *http, unsigned index, struct error *error)
{
    *worker = (struct upstream_worker){
        .http = http,
        .loop = http->loop,
        .index = index,
        .client_settings = {
            .limits = { .request_line_bytes = 8 * 1024, .header_bytes = 64 * 1024, .header_count = 200 },
            .splice_bytes_min = SPLICE_BYTES_DEFAULT,
        },
        .idle_connections_total_max = IDLE_TOTAL_DEFAULT,
    };
    random_init(&worker->random);
    list_init(&worker->idle_order);
    timer_init(&worker->sweep, sweep);
    worker->pools = calloc(POOLS_FIRST, sizeof(struct upstream_pool *));
    if (!worker->pools) return error_format(error, "out of memory for the upstream pools");
    worker->pool_capacity = POOLS_FIRST;
    return true;
}

void upstream_worker_release(struct upstream_worker *worker)
{
    PROMISE(gauge_read(&worker->counters.calls) == 0);
    for (size_t slot = 0; slot < worker->pool_capacity; slot++) {
        while (worker->pools[slot]) upstream_pool_destroy(worker->pools[slot]);
    }
    timer_clear(&worker->loop->timers, &worker->sweep);
    free(worker->pools);
    worker->pools = NULL;
    worker->pool_capacity = 0;
}

void upstream_worker_forget(struct upstream_worker *worker, const struct instance *instance)
{
    if (instance->slot >= worker->pool_capacity) return;
    while (worker->pools[instance->slot]) upstream_pool_destroy(worker->pools[instance->slot]);
}

void upstream_worker_close_idle(struct upstream_worker *worker)
{
    while (!list_is_empty(&worker->idle_order))
        upstream_pool_close_idle(CONTAINER_OF(worker->idle_order.next, struct pooled, order));
    for (size_t slot = 0; slot < worker->pool_capacity; slot++) {
        for (struct upstream_pool *pool = worker->pools[slot]; pool; pool = pool->next)
            upstream_pool_close_making(pool);
    }
}
