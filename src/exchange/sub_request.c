#include "exchange/sub_request.h"

#include "config/resources.h"

#include <xxhash.h>

#define FIRST_CAPACITY 4096u

static void sub_request_task(struct task *);
static void deadline_passed(struct timer *);

void sub_request_init(struct sub_request *sub, struct exchange_worker *worker, struct arena *arena)
{
    memset(sub, 0, sizeof *sub);
    request_head_init(&sub->head, arena);
    sub->head.method = METHOD_GET;
    sub->head.method_text = method_name(METHOD_GET);
    sub->worker = worker;
    sub->arena = arena;
    sub->task.run = sub_request_task;
    sub->call.owner_task = &sub->task;
    timer_init(&sub->timer, deadline_passed);
}

void sub_request_set_body(struct sub_request *sub, struct slice bytes)
{
    sub->head.has_body = true;
    sub->head.body_length = bytes.length;
    body_pipe_init(&sub->own_body, sub->worker->loop, bytes.length);
    sub->own_body.window = UINT32_MAX; /* one piece of memory that is there already */
    body_pipe_push(&sub->own_body, NULL, bytes.at, bytes.length);
    body_pipe_finish(&sub->own_body, NULL);
    sub->has_own_body = true;
}

static bool add(struct sub_request *sub, enum header_id id, struct slice value)
{
    return slice_is_absent(value) || headers_set_known(&sub->head.headers, id, value);
}

bool sub_request_tell_client(struct sub_request *sub, const struct exchange *exchange)
{
    const struct headers *headers = &exchange->request->headers;
    return add(sub, HEADER_X_REQUEST_ID, exchange->request_id) &&
           add(sub, HEADER_X_FORWARDED_FOR, exchange->client_ip) &&
           add(sub, HEADER_X_FORWARDED_HOST, exchange->request->authority) &&
           add(sub, HEADER_X_FORWARDED_PROTO, exchange->stream->peer->tls ? SLICE("https") : SLICE("http")) &&
           add(sub, HEADER_TRACEPARENT, headers_value(headers, HEADER_TRACEPARENT)) &&
           add(sub, HEADER_TRACESTATE, headers_combined(headers, HEADER_TRACESTATE)) &&
           add(sub, HEADER_X_AUTHENTICATED_USER, exchange->identity.user_id) &&
           add(sub, HEADER_X_CLIENT_ID, exchange->identity.client_id);
}

void sub_request_start(struct sub_request *sub, const struct sub_request_plan *plan)
{
    struct call_plan call = {
        .kind = CALL_SUB_REQUEST,
        .service = plan->service,
        .request = &sub->head,
        .target = plan->target,
        .host_of_instance = sub->head.authority.length == 0,
        .body = sub->has_own_body ? &sub->own_body : plan->body,
        .arena = sub->arena,
        .deadline_ms = plan->deadline_ms,
        .retry_count = plan->retry_count,
        .retry_on = RETRY_ON_CONNECT_FAILURE | RETRY_ON_RESET,
        .retry_buffer_bytes = sub->has_own_body ? UINT32_MAX : 0,
        .repeatable = plan->repeatable,
        .head_decides = plan->head_decides,
        .client_hash = plan->client_hash,
    };
    sub->owner_task = plan->owner_task;
    sub->answer_bytes_max = plan->answer_bytes_max;
    sub->deadline_ms = plan->deadline_ms;
    sub->started_ms = sub->worker->loop->now_ms;
    sub->started = true;
    upstream_call_start(&sub->call, sub->worker->upstream, &call);
}

void sub_request_end(struct sub_request *sub)
{
    if (!sub->started) return;
    sub->started = false;
    struct loop *loop = sub->worker->loop;
    timer_clear(&loop->timers, &sub->timer);
    upstream_call_cancel(&sub->call);
    loop_dequeue(loop, &sub->task);
    if (sub->has_own_body) body_pipe_release(&sub->own_body);
    sub->has_own_body = false;
    sub->response = NULL;
}

/* --- the answer --- */

static void over(struct sub_request *sub)
{
    sub->is_over = true;
    timer_clear(&sub->worker->loop->timers, &sub->timer);
    loop_enqueue(sub->worker->loop, sub->owner_task);
}

static bool make_room(struct sub_request *sub, size_t length)
{
    size_t wanted = sub->body.length + length;
    if (wanted <= sub->capacity) return true;
    uint64_t expected = sub->response->body_length;
    size_t capacity = sub->capacity ? sub->capacity * 2 : FIRST_CAPACITY;
    if (expected <= sub->answer_bytes_max) capacity = (size_t)expected; /* BODY_LENGTH_UNKNOWN is beyond any limit */
    if (capacity < wanted) capacity = wanted;
    char *room = arena_allocate(sub->arena, capacity);
    if (!room) return false;
    if (sub->body.length) memcpy(room, sub->body.at, sub->body.length);
    sub->body.at = room;
    sub->capacity = capacity;
    return true;
}

/* False: memory is short. */
static bool collect(struct sub_request *sub)
{
    struct body_pipe *pipe = sub->call.response_body;
    for (const struct body_piece *piece; (piece = body_pipe_first(pipe)) != NULL;) {
        size_t length = piece->length, room = sub->answer_bytes_max - sub->body.length;
        sub->is_cut = length > room;
        if (sub->is_cut) length = room;
        if (!make_room(sub, length)) return false;
        if (length) memcpy((char *)(uintptr_t)sub->body.at + sub->body.length, piece->at, length);
        sub->body.length += length;
        if (sub->is_cut) {
            body_pipe_stop(pipe);
            return true;
        }
        body_pipe_consume(pipe, length);
    }
    return true;
}

static void begin_answer(struct sub_request *sub)
{
    const struct upstream_call *call = &sub->call;
    sub->response = call->response;
    if (call->response_body) body_pipe_attach_consumer(call->response_body, &sub->task);
    if (!(call->events & CALL_DONE)) timer_set(&sub->worker->loop->timers, &sub->timer, sub->deadline_ms);
}

static void sub_request_task(struct task *task)
{
    struct sub_request *sub = CONTAINER_OF(task, struct sub_request, task);
    struct upstream_call *call = &sub->call;
    if (sub->is_over) return;
    call->interim = NULL; /* what comes before the answer is nobody's */
    if (call->events & CALL_HEAD && !sub->response) begin_answer(sub);
    if (call->events & CALL_DONE && call->error.reason) {
        sub->error = call->error;
        over(sub);
        return;
    }
    if (!sub->response) return;
    if (call->response_body && !collect(sub)) {
        error_set(&sub->error, BLAME_US, RETRY_NEVER, 503, "overload", "service \"%s\": out of memory for its answer",
                  call->plan.service->name);
        over(sub);
        return;
    }
    bool is_whole = !call->response_body || body_pipe_is_drained(call->response_body);
    if (sub->is_cut || is_whole) over(sub);
}

/* The head was in time, the body is not: the call itself knows no such deadline. */
static void deadline_passed(struct timer *timer)
{
    struct sub_request *sub = CONTAINER_OF(timer, struct sub_request, timer);
    if (sub->is_over) return;
    error_set(&sub->error, BLAME_UPSTREAM, RETRY_NEVER, 504, "timeout",
              "service \"%s\": its answer was not whole within %llu ms", sub->call.plan.service->name,
              (unsigned long long)(sub->deadline_ms - sub->started_ms));
    over(sub);
}

uint64_t sub_request_deadline(const struct exchange *exchange, uint64_t timeout_ms)
{
    uint64_t own_ms = exchange->worker->loop->now_ms + timeout_ms, last_ms = exchange_deadline_ms(exchange);
    return own_ms < last_ms ? own_ms : last_ms;
}

uint64_t exchange_client_hash(const struct exchange *exchange)
{
    const struct address *address = &exchange->client;
    if (address->any.sa_family == AF_INET) return XXH3_64bits(&address->v4.sin_addr, sizeof address->v4.sin_addr);
    return XXH3_64bits(&address->v6.sin6_addr, sizeof address->v6.sin6_addr);
}
