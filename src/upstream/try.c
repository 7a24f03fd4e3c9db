#include "upstream/private.h"

/* Once a part of it has gone: could all of it go again? Of a body so much is kept. */
static bool can_be_sent_twice(const struct call_plan *plan)
{
    return plan->repeatable && (!plan->body || plan->body->expected <= plan->retry_buffer_bytes);
}

/* Field by field: what the session fills (the response's head and body) isn't touched before it is there, and the two
 * kilobytes of a try needn't be cleared for each request. */
static void prepare(struct try *try, struct upstream_call *call, struct instance *instance, bool fresh)
{
    try->call = call;
    try->instance = instance;
    try->stage = TRY_WAITS;
    try->fresh = fresh;
    try->earlier = NULL;
    try->deadline_ms = call->plan.try_timeout_ms ? call->worker->loop->now_ms + call->plan.try_timeout_ms : UINT64_MAX;
    pool_waiter_init(&try->waiter, &call->task);
    struct client_stream *stream = &try->stream;
    stream->connection = NULL;
    stream->arena = call->plan.arena;
    stream->request = call->plan.request;
    stream->target = call->plan.target;
    stream->request_body = call->plan.body;
    stream->owner_task = &call->task;
    stream->wait_for_continue = call->plan.wait_for_continue;
    stream->upgrade = call->plan.upgrade;
    stream->unrepeatable = !can_be_sent_twice(&call->plan);
    stream->interim = NULL;
    stream->failure.reason = NULL;
    stream->response_begun = stream->request_sent = false;
    stream->bytes_sent = stream->bytes_received = 0;
    stream->head_ns = 0;
    stream->events = 0;
}

/* The same head under the instance's name. */
static bool use_host_of_instance(struct try *try)
{
    struct request_head *head = arena_allocate(try->call->plan.arena, sizeof *head);
    if (!head) return false;
    *head = *try->call->plan.request;
    head->authority = try->instance->host_port;
    try->stream.request = head;
    return true;
}

static void take_lease(struct try *try)
{
    struct upstream_worker *worker = try->call->worker;
    struct instance_line *line = &try->instance->lines[worker->index];
    gauge_add(&line->in_flight, 1);
    counter_add(&line->tries, 1);
    gauge_add(&worker->counters.leases, 1);
}

void upstream_lease_give(struct upstream_lease *lease)
{
    if (!lease->instance) return;
    gauge_add(&lease->instance->lines[lease->worker->index].in_flight, -1);
    gauge_add(&lease->worker->counters.leases, -1);
    lease->instance = NULL;
}

static void give_lease_back(struct try *try)
{
    upstream_lease_give(&(struct upstream_lease){ try->call->worker, try->instance });
}

static void open_stream(struct try *try, struct client_connection *connection)
{
    try->stage = TRY_OPEN;
    try->stream.connection = connection;
    connection->operations->open(connection, &try->stream);
}

struct try *try_begin(struct upstream_call *call, struct instance *instance, bool fresh, struct error *error)
{
    struct try *try = arena_allocate(call->plan.arena, sizeof *try);
    if (UNLIKELY(!try)) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a try");
        return NULL;
    }
    prepare(try, call, instance, fresh);
    if (UNLIKELY(!client_stream_prepare(&try->stream, call->worker->http->slabs))) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "the buffers of this worker are all in use");
        return NULL;
    }
    if (call->plan.host_of_instance && !use_host_of_instance(try)) {
        client_stream_release(&try->stream);
        error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for the request's head");
        return NULL;
    }
    struct client_connection *connection;
    const struct pool_wish wish = {
        .service = call->plan.service,
        .instance = instance,
        .fresh = fresh,
        .http_1 = call->plan.upgrade,
        .source = call->plan.source,
        .destination = call->plan.destination,
    };
    switch (upstream_pool_take(call->worker, &wish, &try->waiter, &connection, error)) {
    case POOL_READY:
        take_lease(try);
        open_stream(try, connection);
        return try;
    case POOL_WAIT: take_lease(try); return try;
    case POOL_FAIL: break;
    }
    client_stream_release(&try->stream);
    return NULL;
}

bool try_collect(struct try *try, struct error *error)
{
    if (!try->waiter.connection) {
        *error = try->waiter.error;
        return false;
    }
    open_stream(try, upstream_pool_collect(&try->waiter));
    return true;
}

static void add_bytes(struct try *try)
{
    try->call->bytes_sent += try->stream.bytes_sent;
    try->call->bytes_received += try->stream.bytes_received;
}

bool try_open_tunnel(struct try *try, struct tunnel_end *end, struct upstream_lease *lease)
{
    struct client_connection *connection = try->stream.connection;
    if (!connection->operations->open_tunnel(connection, &try->stream, end)) return false;
    *lease = (struct upstream_lease){ try->call->worker, try->instance };
    add_bytes(try);
    try->stage = TRY_OVER;
    return true;
}

void try_end(struct try *try)
{
    if (try->stage == TRY_OVER) return;
    if (try->stage == TRY_WAITS) upstream_pool_cancel(try->call->worker, &try->waiter);
    struct client_connection *connection = try->stream.connection;
    if (connection) connection->operations->cancel(connection, &try->stream);
    add_bytes(try);
    give_lease_back(try);
    try->stage = TRY_OVER;
}

void try_discard_response(struct try *try)
{
    if (try->stream.events & CLIENT_STREAM_INTERIM) {
        if (try->stream.events & CLIENT_STREAM_HEAD) body_pipe_stop(&try->stream.response_body);
        try->earlier = try->call->earlier;
        try->call->earlier = try;
    } else {
        client_stream_release(&try->stream);
    }
}
