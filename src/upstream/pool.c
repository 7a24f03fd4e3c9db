/* A connection is being made, idle, or busy: then it has leases, one for each stream on it and for each place that was handed over to a
 * waiter that has not run yet. A place that becomes free is offered to the line first; a connection without leases goes idle:
 *
 *   making --connected--> offer --> busy (handed over --collect--> stream --free again--> offer) --> idle --take--> busy
 *
 * An h1 connection has one place, an h2 connection as many as its backend allows, up to POOL_PLACES_MAX. Waiters don't own the connection that
 * is being made on their behalf: the first in line gets what comes first. So there are always as many being made as there are waiters
 * for their places, or as many as the cap leaves room for.
 *
 * A private pool is the exception: each connection is made for one waiter, goes with it, carries one stream and is closed after it. */
#include "upstream/pool.h"

#include "upstream/private.h"

#define FAIR_SEARCH_MAX 16 /* idle connections looked at for one of a pool beyond its share */

static void connection_connected(struct client_connection *);
static void connection_free_again(struct client_connection *, bool reusable);
static void connection_capacity_changed(struct client_connection *);
static void connection_lost(struct client_connection *, const struct error *);

static const struct client_connection_events pool_events = {
    .connected = connection_connected,
    .free_again = connection_free_again,
    .capacity_changed = connection_capacity_changed,
    .lost = connection_lost,
};

static struct client_connection *connection_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct client_connection, link);
}

static void count_open(struct upstream_pool *pool, int change)
{
    pool->open_count = (uint32_t)((int)pool->open_count + change);
    gauge_add(&pool->worker->counters.connections, change);
    gauge_add(&pool->instance->lines[pool->worker->index].connections, change);
}

/* --- idle ones --- */

static void take_out_of_idle(struct pooled *pooled)
{
    struct upstream_pool *pool = pooled->pool;
    list_remove(&pooled->connection->link);
    list_remove(&pooled->order);
    if (--pool->idle_count == 0) pool->worker->idle_pools--;
    gauge_add(&pool->worker->counters.idle_connections, -1);
}

static void leave_making(struct pooled *pooled)
{
    list_remove(&pooled->order);
    pooled->pool->making_count--;
    timer_clear(&pooled->pool->worker->loop->timers, &pooled->timer);
}

/* The pool knows it no longer. */
static void forget(struct pooled *pooled)
{
    if (pooled->connection && pooled->state == POOLED_IDLE) take_out_of_idle(pooled);
    if (pooled->state == POOLED_MAKING) leave_making(pooled);
    count_open(pooled->pool, -1);
    if (pooled->only) pooled->only->making = NULL;
    if (pooled->connection) {
        list_remove(&pooled->connection->link);
        pooled->connection->owner = NULL;
    }
    free(pooled);
}

void upstream_pool_close(struct pooled *pooled)
{
    struct client_connection *connection = pooled->connection;
    struct connector *connector = pooled->connector;
    forget(pooled);
    if (connector) connector_cancel(connector);
    if (connection) connection->operations->close(connection);
}

void upstream_pool_close_idle(struct pooled *pooled)
{
    PROMISE(pooled->state == POOLED_IDLE);
    upstream_pool_close(pooled);
}

/* Over the worker's total: the oldest one of a pool that has more than its share goes, else the oldest of all. */
static void close_for_fairness(struct upstream_worker *worker)
{
    uint32_t share = worker->idle_connections_total_max / (worker->idle_pools ? worker->idle_pools : 1);
    struct list_link *link = worker->idle_order.next;
    for (int i = 0; i < FAIR_SEARCH_MAX && link != &worker->idle_order; i++, link = link->next) {
        struct pooled *pooled = CONTAINER_OF(link, struct pooled, order);
        if (pooled->pool->idle_count <= share) continue;
        upstream_pool_close_idle(pooled);
        return;
    }
    upstream_pool_close_idle(CONTAINER_OF(worker->idle_order.next, struct pooled, order));
}

static void put_idle(struct pooled *pooled)
{
    struct upstream_pool *pool = pooled->pool;
    struct upstream_worker *worker = pool->worker;
    pooled->state = POOLED_IDLE;
    pooled->connection->kept = true;
    pooled->connection->idle_since_ms = worker->loop->now_ms;
    list_remove(&pooled->connection->link);
    list_push_front(&pool->idle, &pooled->connection->link);
    list_push_back(&worker->idle_order, &pooled->order);
    if (pool->idle_count++ == 0) worker->idle_pools++;
    gauge_add(&worker->counters.idle_connections, 1);
    if (UNLIKELY(!timer_is_set(&worker->sweep))) {
        timer_set(&worker->loop->timers, &worker->sweep, worker->loop->now_ms + POOL_SWEEP_EVERY_MS);
    }
    if (UNLIKELY(pool->idle_max == 0)) {
        upstream_pool_close_idle(pooled);
    } else if (UNLIKELY(gauge_read(&worker->counters.idle_connections) > worker->idle_connections_total_max)) {
        close_for_fairness(worker);
    }
}

/* --- places --- */

static uint32_t places_of(const struct client_connection *connection)
{
    return connection->streams_max < POOL_PLACES_MAX ? connection->streams_max : POOL_PLACES_MAX;
}

/* Of one that hasn't said yet how many it has, the pool expects as many as of those before; a private one has one. */
static bool has_room(const struct pooled *pooled)
{
    const struct upstream_pool *pool = pooled->pool;
    uint32_t places = places_of(pooled->connection);
    bool is_bounded = !pooled->connection->is_streams_max_known || upstream_pool_is_private(pool);
    if (UNLIKELY(is_bounded && places > pool->places)) places = pool->places;
    return pooled->leases < places;
}

/* A busy connection stands in pool->roomy while it has room. */
static void show_room(struct pooled *pooled)
{
    struct list_link *link = &pooled->connection->link;
    if (LIKELY(has_room(pooled) == list_is_linked(link))) return;
    if (list_is_linked(link))
        list_remove(link);
    else
        list_push_front(&pooled->pool->roomy, link);
}

static void take_place(struct pooled *pooled)
{
    if (pooled->state == POOLED_IDLE) take_out_of_idle(pooled);
    pooled->state = POOLED_BUSY;
    pooled->leases++;
    show_room(pooled);
}

static struct client_connection *take_roomy(struct upstream_pool *pool, bool fresh)
{
    for (struct list_link *link = pool->roomy.next; link != &pool->roomy; link = link->next) {
        struct client_connection *connection = connection_of(link);
        if (connection->operations->is_stale(connection) || (fresh && connection->kept)) continue;
        take_place(connection->owner);
        return connection;
    }
    return NULL;
}

/* Last used first: the warmest in every cache, and the others grow old enough to be closed. */
static struct client_connection *take_idle(struct upstream_pool *pool)
{
    while (!list_is_empty(&pool->idle)) {
        struct client_connection *connection = connection_of(pool->idle.next);
        struct pooled *pooled = connection->owner;
        if (UNLIKELY(connection->operations->is_stale(connection))) {
            upstream_pool_close(pooled);
            continue;
        }
        take_place(pooled);
        return connection;
    }
    return NULL;
}

/* --- the line --- */

void pool_waiter_init(struct pool_waiter *waiter, struct task *owner_task)
{
    list_init(&waiter->link);
    waiter->owner_task = owner_task;
    waiter->connection = NULL;
    waiter->error.reason = NULL;
    waiter->waiting = waiter->fresh = false;
    waiter->pool = NULL;
    waiter->making = NULL;
}

static void leave_line(struct pool_waiter *waiter)
{
    if (UNLIKELY(waiter->making != NULL)) waiter->making->only = NULL;
    waiter->making = NULL;
    list_remove(&waiter->link);
    waiter->waiting = false;
    waiter->pool->waiting_count--;
    gauge_add(&waiter->pool->worker->counters.waiting, -1);
}

static void enter_line(struct upstream_pool *pool, struct pool_waiter *waiter, bool in_front)
{
    waiter->pool = pool;
    waiter->waiting = true;
    if (in_front)
        list_push_front(&pool->line, &waiter->link);
    else
        list_push_back(&pool->line, &waiter->link);
    pool->waiting_count++;
    gauge_add(&pool->worker->counters.waiting, 1);
}

static void fail_waiter(struct pool_waiter *waiter, const struct error *error)
{
    leave_line(waiter);
    waiter->error = *error;
    loop_enqueue(waiter->pool->worker->loop, waiter->owner_task);
}

/* Somebody in line who may have a place on this connection: one that insists on a fresh one takes none that was used. */
static struct pool_waiter *find_waiter(const struct pooled *pooled)
{
    const struct upstream_pool *pool = pooled->pool;
    if (UNLIKELY(upstream_pool_is_private(pool))) return pooled->only;
    for (struct list_link *link = pool->line.next; link != &pool->line; link = link->next) {
        struct pool_waiter *waiter = CONTAINER_OF(link, struct pool_waiter, link);
        if (!waiter->fresh || !pooled->connection->kept) return waiter;
    }
    return NULL;
}

static void hand_over(struct pooled *pooled, struct pool_waiter *waiter)
{
    leave_line(waiter);
    pooled->leases++;
    list_push_back(&pooled->handed, &waiter->link);
    waiter->connection = pooled->connection;
    loop_enqueue(pooled->pool->worker->loop, waiter->owner_task);
}

/* A connection that isn't idle and may have room. Closed where nobody is on it and it takes no more, or would be somebody else's. */
static void offer(struct pooled *pooled)
{
    while (UNLIKELY(pooled->pool->waiting_count > 0) && has_room(pooled)) {
        struct pool_waiter *waiter = find_waiter(pooled);
        if (!waiter) break;
        hand_over(pooled, waiter);
    }
    if (pooled->leases > 0) {
        pooled->state = POOLED_BUSY;
        show_room(pooled);
    } else if (LIKELY(pooled->connection->streams_max > 0 && !upstream_pool_is_private(pooled->pool))) {
        put_idle(pooled);
    } else {
        upstream_pool_close(pooled);
    }
}

/* --- making connections --- */

static void connect_failed(struct upstream_pool *, struct pool_waiter *only, const struct error *);

static void connect_timed_out(struct timer *timer)
{
    struct pooled *pooled = CONTAINER_OF(timer, struct pooled, timer);
    struct upstream_pool *pool = pooled->pool;
    struct pool_waiter *only = pooled->only;
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 504, "timeout",
              "cannot connect to %s: no answer within %u ms", pool->instance->name, pool->connect_timeout_ms);
    upstream_pool_close(pooled);
    connect_failed(pool, only, &error);
}

static void connector_told(void *, struct client_connection *, const struct error *);

static bool is_plain(const struct transport *transport)
{
    return transport->version == TRANSPORT_HTTP_1 && !transport->tls && !transport->proxy_protocol;
}

/* The plain way costs no more than a connect. */
static bool begin_connecting(struct pooled *pooled, struct error *error)
{
    struct upstream_pool *pool = pooled->pool;
    struct upstream_worker *worker = pool->worker;
    if (LIKELY(is_plain(pool->transport))) {
        pooled->connection = h1_client_connect(worker->http, &worker->client_settings, &pool->instance->address,
                                               &pool_events, pooled, error);
        return pooled->connection != NULL;
    }
    const struct connector_request request = {
        .worker = worker,
        .transport = pool->transport,
        .instance = pool->instance,
        .tickets = pool->tickets,
        .source = pooled->only ? &pooled->only->source : NULL,
        .destination = pooled->only ? &pooled->only->destination : NULL,
        .events = &pool_events,
        .owner = pooled,
        .told = connector_told,
    };
    pooled->connector = connector_start(&request, error);
    return pooled->connector != NULL;
}

/* `waiter`: one that has none being made for it; in a private pool it is for that one alone. */
static bool begin_connection(struct upstream_pool *pool, struct pool_waiter *waiter, struct error *error)
{
    struct upstream_worker *worker = pool->worker;
    struct pooled *pooled = calloc(1, sizeof *pooled);
    if (!pooled) return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection");
    pooled->pool = pool;
    pooled->only = upstream_pool_is_private(pool) ? waiter : NULL;
    if (!begin_connecting(pooled, error)) {
        free(pooled);
        return false;
    }
    if (pooled->only) waiter->making = pooled;
    pooled->state = POOLED_MAKING;
    list_init(&pooled->handed);
    timer_init(&pooled->timer, connect_timed_out);
    if (pool->connect_timeout_ms) {
        timer_set(&worker->loop->timers, &pooled->timer, worker->loop->now_ms + pool->connect_timeout_ms);
    }
    list_push_back(&pool->making, &pooled->order);
    pool->making_count++;
    count_open(pool, 1);
    counter_add(&worker->counters.connects, 1);
    return true;
}

static bool is_full(const struct upstream_pool *pool)
{
    return pool->connections_max && pool->open_count >= pool->connections_max;
}

/* At the cap an idle connection gives way, for a waiter that insists on a fresh one. */
static bool make_room(struct upstream_pool *pool)
{
    if (is_full(pool) && pool->idle_count > 0) upstream_pool_close_idle(connection_of(pool->idle.previous)->owner);
    return !is_full(pool);
}

/* NULL where a connection is being made for each. */
static struct pool_waiter *next_to_be_served(struct upstream_pool *pool)
{
    struct list_link *link = pool->line.next;
    while (link != &pool->line && CONTAINER_OF(link, struct pool_waiter, link)->making) link = link->next;
    return link != &pool->line ? CONTAINER_OF(link, struct pool_waiter, link) : NULL;
}

static void serve_line(struct upstream_pool *pool)
{
    while (pool->waiting_count > upstream_pool_places_promised(pool) && make_room(pool)) {
        struct pool_waiter *waiter = next_to_be_served(pool);
        struct error error;
        if (!begin_connection(pool, waiter, &error)) fail_waiter(waiter, &error);
    }
}

/* Tells the waiter that has none being made for it. Where no connection stands any more, nothing can come free: then all such waiters
 * are told, so that they go elsewhere now instead of failing one by one. */
static void connect_failed(struct upstream_pool *pool, struct pool_waiter *only, const struct error *error)
{
    counter_add(&pool->worker->counters.connect_failures, 1);
    if (error->blame == BLAME_UPSTREAM && !pool->worker->is_checker)
        instance_strike(pool->instance, pool->worker->loop->now_ms);
    if (only)
        fail_waiter(only, error);
    else if (pool->waiting_count > upstream_pool_places_promised(pool))
        fail_waiter(next_to_be_served(pool), error);
    while (pool->open_count == pool->making_count && pool->waiting_count > upstream_pool_places_promised(pool))
        fail_waiter(next_to_be_served(pool), error);
    serve_line(pool);
}

/* --- what the connections tell --- */

/* The next connection is expected to be like this one. */
static void learn_places(struct upstream_pool *pool, const struct client_connection *connection)
{
    bool is_told = connection->is_streams_max_known && connection->streams_max > 0;
    if (is_told && !upstream_pool_is_private(pool)) pool->places = places_of(connection);
}

static void connection_connected(struct client_connection *connection)
{
    struct pooled *pooled = connection->owner;
    struct upstream_pool *pool = pooled->pool;
    leave_making(pooled);
    learn_places(pool, connection);
    offer(pooled);
    serve_line(pool);
}

static void connector_told(void *owner, struct client_connection *connection, const struct error *error)
{
    struct pooled *pooled = owner;
    struct upstream_pool *pool = pooled->pool;
    pooled->connector = NULL;
    pooled->connection = connection;
    if (connection) {
        connection_connected(connection);
        return;
    }
    struct pool_waiter *only = pooled->only;
    forget(pooled);
    connect_failed(pool, only, error);
}

static void connection_free_again(struct client_connection *connection, bool reusable)
{
    struct pooled *pooled = connection->owner;
    struct upstream_pool *pool = pooled->pool;
    pooled->leases--;
    if (LIKELY(reusable))
        offer(pooled);
    else
        forget(pooled);
    if (UNLIKELY(pool->waiting_count > 0)) serve_line(pool);
}

static void connection_capacity_changed(struct client_connection *connection)
{
    struct pooled *pooled = connection->owner;
    struct upstream_pool *pool = pooled->pool;
    learn_places(pool, connection);
    if (pooled->state == POOLED_BUSY)
        offer(pooled);
    else if (connection->streams_max == 0)
        upstream_pool_close_idle(pooled);
    serve_line(pool);
}

/* Whoever was handed a place on it and has not run yet goes back to the front of the line, in the same order. */
static void take_places_back(struct pooled *pooled)
{
    while (!list_is_empty(&pooled->handed)) {
        struct pool_waiter *waiter = CONTAINER_OF(list_last(&pooled->handed), struct pool_waiter, link);
        list_remove(&waiter->link);
        waiter->connection = NULL;
        pooled->leases--;
        enter_line(pooled->pool, waiter, true);
    }
}

static void connection_lost(struct client_connection *connection, const struct error *error)
{
    struct pooled *pooled = connection->owner;
    struct upstream_pool *pool = pooled->pool;
    struct pool_waiter *only = pooled->only;
    bool was_making = pooled->state == POOLED_MAKING;
    take_places_back(pooled);
    PROMISE(pooled->leases == 0);
    forget(pooled);
    if (was_making)
        connect_failed(pool, only, error);
    else
        serve_line(pool);
}

/* --- for takers --- */

static struct client_connection *take_ready(struct upstream_pool *pool, bool fresh)
{
    struct client_connection *connection = take_roomy(pool, fresh);
    return connection || fresh ? connection : take_idle(pool);
}

enum pool_result upstream_pool_take(struct upstream_worker *worker, const struct pool_wish *wish,
                                    struct pool_waiter *waiter, struct client_connection **connection,
                                    struct error *error)
{
    struct upstream_pool *pool = upstream_pool_for(worker, wish);
    if (UNLIKELY(!pool)) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a connection");
        return POOL_FAIL;
    }
    if (LIKELY((*connection = take_ready(pool, wish->fresh)) != NULL)) return POOL_READY;
    waiter->fresh = wish->fresh;
    waiter->source = wish->source;
    waiter->destination = wish->destination;
    if (upstream_pool_places_promised(pool) <= pool->waiting_count && make_room(pool) &&
        !begin_connection(pool, waiter, error))
        return POOL_FAIL;
    enter_line(pool, waiter, false);
    return POOL_WAIT;
}

struct client_connection *upstream_pool_collect(struct pool_waiter *waiter)
{
    struct client_connection *connection = waiter->connection;
    list_remove(&waiter->link);
    waiter->connection = NULL;
    return connection;
}

void upstream_pool_cancel(struct upstream_worker *worker, struct pool_waiter *waiter)
{
    (void)worker;
    struct pooled *making = waiter->making;
    if (waiter->waiting) leave_line(waiter);
    if (making) {
        upstream_pool_close(making);
        serve_line(waiter->pool);
    }
    if (!waiter->connection) return;
    struct pooled *pooled = upstream_pool_collect(waiter)->owner;
    pooled->leases--;
    offer(pooled);
}

void upstream_pool_explain_wait(const struct pool_waiter *waiter, struct error *error)
{
    const struct upstream_pool *pool = waiter->pool;
    if (pool->making_count > 0) {
        error_set(error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 504, "timeout",
                  "cannot connect to %s: no answer in time", pool->instance->name);
    } else {
        error_set(error, BLAME_US, RETRY_OTHER_INSTANCE, 503, "overload",
                  "no connection to %s came free in time (%u in use)", pool->instance->name, pool->open_count);
    }
}
