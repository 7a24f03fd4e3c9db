/* Which pools a worker has: one for each transport that an instance is reached by, the newest first. Once a reload has changed a service's
 * transport nobody asks for the older one any more, and it goes when its connections have. */
#include "upstream/pool.h"

#include "upstream/private.h"

#include <stdlib.h>

static bool grow_table(struct upstream_worker *worker, uint32_t slot)
{
    size_t capacity = worker->pool_capacity;
    while (capacity <= slot) capacity *= 2;
    struct upstream_pool **pools = realloc(worker->pools, capacity * sizeof(struct upstream_pool *));
    if (!pools) return false;
    for (size_t i = worker->pool_capacity; i < capacity; i++) pools[i] = NULL;
    worker->pools = pools;
    worker->pool_capacity = capacity;
    return true;
}

static struct upstream_pool *create_pool(struct upstream_worker *worker, struct instance *instance,
                                         struct transport *transport)
{
    if (instance->slot >= worker->pool_capacity && !grow_table(worker, instance->slot)) return NULL;
    struct upstream_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    if (transport->tls && !(pool->tickets = ticket_shelf_create())) {
        free(pool);
        return NULL;
    }
    pool->worker = worker;
    pool->instance = instance;
    pool->transport = transport_retain(transport);
    pool->places = transport->version == TRANSPORT_HTTP_1 || upstream_pool_is_private(pool) ? 1 : POOL_PLACES_MAX;
    list_init(&pool->idle);
    list_init(&pool->roomy);
    list_init(&pool->making);
    list_init(&pool->line);
    struct upstream_pool *older = worker->pools[instance->slot], *next;
    pool->next = older;
    worker->pools[instance->slot] = pool;
    for (; older; older = next) {
        next = older->next;
        upstream_pool_discard_unused(older);
    }
    return pool;
}

static struct upstream_pool *find_pool(const struct upstream_worker *worker, const struct instance *instance,
                                       const struct transport *transport)
{
    struct upstream_pool *pool = instance->slot < worker->pool_capacity ? worker->pools[instance->slot] : NULL;
    while (UNLIKELY(pool && pool->transport != transport)) pool = pool->next;
    return pool;
}

struct upstream_pool *upstream_pool_for(struct upstream_worker *worker, const struct pool_wish *wish)
{
    const struct service *service = wish->service;
    struct transport *transport = service->transport;
    if (UNLIKELY(wish->http_1) && transport->http_1) transport = transport->http_1;
    struct upstream_pool *pool = find_pool(worker, wish->instance, transport);
    if (UNLIKELY(!pool) && !(pool = create_pool(worker, wish->instance, transport))) return NULL;
    pool->connections_max = service->connections_per_instance_max;
    pool->idle_max = service->idle_connections_max;
    pool->idle_timeout_ms = service->pool_idle_timeout_ms;
    pool->connect_timeout_ms = service->connect_timeout_ms;
    return pool;
}

void upstream_pool_close_making(struct upstream_pool *pool)
{
    struct list_link *next;
    for (struct list_link *link = pool->making.next; link != &pool->making; link = next) {
        if (upstream_pool_places_promised(pool) < (uint64_t)pool->waiting_count + pool->places) return;
        next = link->next;
        upstream_pool_close(CONTAINER_OF(link, struct pooled, order));
    }
}

static void unlink_pool(struct upstream_pool *pool)
{
    struct upstream_pool **at = &pool->worker->pools[pool->instance->slot];
    while (*at != pool) at = &(*at)->next;
    *at = pool->next;
}

void upstream_pool_destroy(struct upstream_pool *pool)
{
    PROMISE(pool->waiting_count == 0);
    struct list_link *next;
    for (struct list_link *link = pool->idle.next; link != &pool->idle; link = next) {
        next = link->next;
        upstream_pool_close_idle(CONTAINER_OF(link, struct client_connection, link)->owner);
    }
    upstream_pool_close_making(pool);
    PROMISE(pool->open_count == 0);
    unlink_pool(pool);
    transport_drop(pool->transport);
    ticket_shelf_drop(pool->tickets);
    free(pool);
}

void upstream_pool_discard_unused(struct upstream_pool *pool)
{
    bool is_newest = pool->worker->pools[pool->instance->slot] == pool;
    if (!is_newest && pool->open_count == 0 && pool->waiting_count == 0) upstream_pool_destroy(pool);
}
