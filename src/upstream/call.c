/* A call goes through four states:
 *
 *   CONNECTING  the try waits for a connection
 *   ASKING      the try's stream is open; no response head that counts yet
 *   ANSWERING   the head was handed to the owner; the body streams
 *   OVER        everything is back
 *
 * All that happens to its try (the wait is over, stream events) queues the call's task; time comes through its one timer. While
 * CONNECTING or ASKING a failure may lead to another try. Which ones: causes_of and retry_after_response. */
#include "upstream/call.h"

#include "config/resources.h"
#include "upstream/private.h"

#define IDLE_CHECKS 4 /* looks a idle timeout: so it is kept to a quarter */

static void call_task(struct task *);
static void call_timer(struct timer *);
static void next_try(struct upstream_call *);

static struct service_line *line_of(const struct upstream_call *call)
{
    return &call->plan.service->state->lines[call->worker->index];
}

static uint64_t now_of(const struct upstream_call *call) { return call->worker->loop->now_ms; }

static void emit(struct upstream_call *call, uint8_t events)
{
    call->events |= events;
    loop_enqueue(call->worker->loop, call->owner_task);
}

/* --- beginning and ending --- */

void upstream_call_start(struct upstream_call *call, struct upstream_worker *worker, const struct call_plan *plan)
{
    call->events = 0;
    call->interim = NULL;
    call->response = NULL;
    call->response_body = NULL;
    call->instance = NULL;
    call->tries = 0;
    call->error.reason = NULL;
    call->started_ns = worker->loop->now_ns;
    call->head_ns = call->done_ns = 0;
    call->bytes_sent = call->bytes_received = 0;
    call->worker = worker;
    call->plan = *plan;
    call->task = (struct task){ .run = call_task };
    timer_init(&call->timer, call_timer);
    call->try = call->earlier = NULL;
    call->question.worker = worker->index;
    call->question.client_hash = plan->client_hash;
    call->question.tried_count = 0;
    call->stand_in = NULL;
    call->state = CALL_CONNECTING;
    gauge_add(&worker->counters.calls, 1);
    if (UNLIKELY(worker->stand_in)) {
        stand_in_start(call);
        return;
    }
    if (plan->kind != CALL_HEALTH) budget_add_request(line_of(call));
    /* What may not be repeated goes out once: nothing to keep then, but where HTTP/2 may say that nothing was executed. Without memory for
     * it there is no retry. */
    bool may_be_repeated = plan->repeatable || plan->service->transport->version != TRANSPORT_HTTP_1;
    if (plan->body && may_be_repeated && plan->retry_buffer_bytes) {
        bool kept = body_pipe_keep_for_replay(plan->body, plan->retry_buffer_bytes, plan->arena);
        (void)kept;
    }
    next_try(call);
}

/* The try's end is the call's end, too. */
static void end(struct upstream_call *call)
{
    struct loop *loop = call->worker->loop;
    if (call->try) try_end(call->try);
    timer_clear(&loop->timers, &call->timer);
    loop_dequeue(loop, &call->task);
    call->done_ns = loop->now_ns;
    call->state = CALL_OVER;
    gauge_add(&call->worker->counters.calls, -1);
}

/* Where nobody takes the rest of the request's body any more its producer must not wait for that: a backend that answers early has
 * enough of it. */
static void let_go_of_body(struct upstream_call *call)
{
    struct body_pipe *body = call->plan.body;
    if (LIKELY(!body)) return;
    body_pipe_forget_replay(body);
    if (!body->consumer_task && !body_pipe_is_drained(body)) body_pipe_stop(body);
}

static void succeed(struct upstream_call *call, uint8_t events)
{
    end(call);
    let_go_of_body(call);
    emit(call, events | CALL_DONE);
}

static unsigned instances_tried(const struct upstream_call *call)
{
    unsigned distinct = 0;
    for (unsigned i = 0; i < call->question.tried_count; i++) {
        bool before = false;
        for (unsigned j = 0; j < i; j++) before |= call->question.tried[j] == call->question.tried[i];
        distinct += !before;
    }
    return distinct;
}

/* For the operator: `service "users": cannot connect to 10.0.0.1:80: connection refused (2 of 2 instances tried)`. */
static void describe(const struct upstream_call *call, struct error *error)
{
    if (call->instance) {
        if (!strstr(error->text, call->instance->name)) error_prefix(error, "%s", call->instance->name);
        unsigned distinct = instances_tried(call);
        char tries[32] = "";
        if (call->tries != distinct && distinct > 0) snprintf(tries, sizeof tries, ", %u tries", call->tries);
        size_t used = strlen(error->text);
        if (distinct > 0) {
            snprintf(error->text + used, sizeof error->text - used, " (%u of %u instances tried%s)", distinct,
                     call->plan.service->endpoint_count, tries);
        }
    }
    error_prefix(error, "service \"%s\"", call->plan.service->name);
}

/* No (more) answer. A client that broke its own request off needs no words of ours, nor does who knows which instance it asked. */
static void fail(struct upstream_call *call, const struct error *error)
{
    call->error = *error;
    if (error->blame != BLAME_CLIENT && !call->plan.only_instance) {
        describe(call, &call->error);
        if (error->blame == BLAME_UPSTREAM && !call->worker->stand_in)
            service_tell_failure(call->plan.service, now_of(call), call->error.text);
    }
    end(call);
    let_go_of_body(call);
    emit(call, CALL_DONE);
}

void upstream_call_cancel(struct upstream_call *call)
{
    if (call->state != CALL_OVER) end(call);
    if (UNLIKELY(call->stand_in)) stand_in_cancel(call);
    call->events = 0;
    for (; call->earlier; call->earlier = call->earlier->earlier) client_stream_release(&call->earlier->stream);
    if (call->try) client_stream_release(&call->try->stream);
    call->try = NULL;
    call->interim = NULL;
    call->response = NULL;
    call->response_body = NULL;
}

/* --- tries --- */

static bool explain_no_instance(const struct upstream_call *call, struct error *error)
{
    const struct service *service = call->plan.service;
    if (service->weight_sum == 0) {
        return error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 503, "no-instance",
                         service->endpoint_count         ? "every instance has weight 0"
                         : service->is_without_instances ? "it has no instances"
                                                         : "no instance has a known address");
    }
    char text[SERVICE_DOWN_BYTES];
    service_explain_down(service, call->worker->loop->wall_ns, text);
    return error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 503, "no-healthy-instance", "%s", text);
}

/* Into call->instance. False: there is none to choose. */
static bool choose_instance(struct upstream_call *call, struct error *error)
{
    if (call->plan.only_instance) {
        call->instance = call->plan.only_instance;
        return true;
    }
    const struct service *service = call->plan.service;
    struct balancer_question *question = &call->question;
    question->now_ms = now_of(call);
    uint32_t index = balancer_pick(service, question, &call->worker->random);
    if (UNLIKELY(index == ENDPOINT_NONE)) return explain_no_instance(call, error);
    /* Beyond TRIED_MAX the latest ones count. */
    question->tried[question->tried_count < TRIED_MAX ? question->tried_count++ : call->tries % TRIED_MAX] = index;
    call->instance = service->endpoints[index].instance;
    return true;
}

static void follow(struct upstream_call *call, struct try *try)
{
    call->try = try;
    call->state = try->stage == TRY_OPEN ? CALL_ASKING : CALL_CONNECTING;
    uint64_t deadline_ms = call->plan.deadline_ms < try->deadline_ms ? call->plan.deadline_ms : try->deadline_ms;
    timer_set(&call->worker->loop->timers, &call->timer, deadline_ms);
}

/* The request can be sent from its first byte. */
static bool can_send_again(const struct upstream_call *call)
{
    return !call->plan.body || body_pipe_can_rewind(call->plan.body);
}

/* False: memory is short after all; *error says so. */
static bool rewind_body(struct upstream_call *call, struct error *error)
{
    if (LIKELY(!call->plan.body) || body_pipe_rewind(call->plan.body)) return true;
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload",
                     "out of memory for sending the request's body again");
}

/* The last question before a retry, as it spends from the budget. `because`: enum retry_on bits, any of which is enough. */
static bool may_try_again(struct upstream_call *call, uint32_t because, bool may_be_executed)
{
    if (call->tries > call->plan.retry_count || !(call->plan.retry_on & because)) return false;
    if (may_be_executed && !call->plan.repeatable) return false;
    if (now_of(call) >= call->plan.deadline_ms || !can_send_again(call)) return false;
    if (budget_take_retry(line_of(call), now_of(call))) {
        counter_add(&call->worker->counters.retries, 1);
        return true;
    }
    counter_add(&call->worker->counters.retries_refused, 1);
    return false;
}

static uint32_t causes_of(const struct error *failure, bool was_open)
{
    if (failure->retry == RETRY_NEVER) return 0;
    uint32_t causes = failure->status == 504 ? RETRY_ON_TIMEOUT : was_open ? RETRY_ON_RESET : 0;
    return was_open ? causes : causes | RETRY_ON_CONNECT_FAILURE;
}

static void try_again(struct upstream_call *call)
{
    struct error error;
    if (rewind_body(call, &error))
        next_try(call);
    else
        fail(call, &error);
}

/* What the client caused says nothing about the instance. */
static void count_failure(struct upstream_call *call, const struct error *failure)
{
    if (failure->blame != BLAME_CLIENT) counter_add(&call->instance->lines[call->worker->index].failures, 1);
}

/* A try has failed before a head counted, and holds nothing any more. */
static void settle_failure(struct upstream_call *call, const struct error *failure, uint32_t causes,
                           bool may_be_executed)
{
    count_failure(call, failure);
    if (may_try_again(call, causes, may_be_executed))
        try_again(call);
    else
        fail(call, failure);
}

/* A connection of the pool had been closed by the instance. Where surely nothing was executed, or that doesn't matter, the client
 * never learns of it: the same instance is asked on a fresh connection, beside retryCount and budget. A request that isn't
 * repeatable and of which a byte was sent may have been executed although no byte of an answer came (RFC 9110 9.2.2); the session
 * looks before it sends such a one, so that only a close that crosses with it on the wire ends here. */
static bool may_repeat_after_stale(const struct upstream_call *call, const struct error *failure)
{
    const struct try *try = call->try;
    if (failure->retry != RETRY_OTHER_CONNECTION || try->fresh) return false;
    return (call->plan.repeatable || !try->stream.request_sent) && can_send_again(call);
}

static void repeat_after_stale(struct upstream_call *call)
{
    counter_add(&call->worker->counters.stale_retries, 1);
    struct error error;
    struct try *try = rewind_body(call, &error) ? try_begin(call, call->instance, true, &error) : NULL;
    if (try)
        follow(call, try);
    else
        settle_failure(call, &error, causes_of(&error, false), false);
}

static void drop_try(struct upstream_call *call)
{
    try_end(call->try);
    try_discard_response(call->try);
    call->try = NULL;
}

/* Before a head counted. */
static void try_failed(struct upstream_call *call, const struct error *failed)
{
    struct try *try = call->try;
    struct error failure = *failed; /* which may be the try's own */
    bool was_open = try->stage == TRY_OPEN, was_sent = was_open && try->stream.request_sent;
    bool is_stale = was_open && may_repeat_after_stale(call, &failure);
    drop_try(call);
    if (is_stale)
        repeat_after_stale(call);
    else
        settle_failure(call, &failure, causes_of(&failure, was_open), was_sent);
}

static void next_try(struct upstream_call *call)
{
    struct error error;
    if (UNLIKELY(!choose_instance(call, &error))) {
        fail(call, &error);
        return;
    }
    call->tries++;
    struct try *try = try_begin(call, call->instance, false, &error);
    if (LIKELY(try))
        follow(call, try);
    else
        settle_failure(call, &error, causes_of(&error, false), false);
}

/* --- what the try tells --- */

static void pass_interim_on(struct upstream_call *call)
{
    struct client_stream *stream = &call->try->stream;
    if (LIKELY(!stream->interim)) return;
    struct interim_response **last = &call->interim;
    while (*last) last = &(*last)->next;
    *last = stream->interim;
    stream->interim = NULL;
    emit(call, CALL_INTERIM);
}

/* A status the route retries; the service has executed something to give it. The answer isn't read further: where it was not whole
 * already its connection is closed. */
static bool retry_after_response(struct upstream_call *call)
{
    unsigned status = call->try->stream.response.status;
    if (LIKELY(status < 500)) return false;
    bool is_gateway_error = status == 502 || status == 503 || status == 504;
    if (!may_try_again(call, RETRY_ON_5XX | (is_gateway_error ? RETRY_ON_GATEWAY_ERROR : 0), true)) return false;
    drop_try(call);
    counter_add(&call->instance->lines[call->worker->index].failures, 1);
    try_again(call);
    return true;
}

static uint64_t bytes_moved(const struct upstream_call *call)
{
    const struct client_stream *stream = &call->try->stream;
    uint64_t taken_by_client = stream->response_body.pushed - stream->response_body.buffered;
    return stream->bytes_sent + stream->bytes_received + taken_by_client;
}

static void watch_idleness(struct upstream_call *call)
{
    struct timer_wheel *timers = &call->worker->loop->timers;
    uint32_t idle_ms = call->plan.idle_timeout_ms;
    if (idle_ms == 0) {
        timer_clear(timers, &call->timer);
        return;
    }
    call->bytes_moved = bytes_moved(call);
    call->moved_ms = now_of(call);
    timer_set(timers, &call->timer, call->moved_ms + (idle_ms + IDLE_CHECKS - 1) / IDLE_CHECKS);
}

static void deliver(struct upstream_call *call)
{
    struct client_stream *stream = &call->try->stream;
    call->response = &stream->response;
    call->response_body = stream->response.has_body ? &stream->response_body : NULL;
    call->head_ns = stream->head_ns;
    if (LIKELY(stream->events & CLIENT_STREAM_DONE &&
               !stream->failure.reason)) { /* a small answer: head and end in one */
        succeed(call, CALL_HEAD);
        return;
    }
    call->state = CALL_ANSWERING;
    let_go_of_body(call);
    watch_idleness(call);
    emit(call, CALL_HEAD);
}

static void look_for_end(struct upstream_call *);

static void look_for_head(struct upstream_call *call)
{
    struct client_stream *stream = &call->try->stream;
    bool has_failed = stream->events & CLIENT_STREAM_DONE && stream->failure.reason;
    pass_interim_on(call);
    if (has_failed && call->plan.head_decides && stream->events & CLIENT_STREAM_HEAD) {
        deliver(call);
        look_for_end(call);
    } else if (has_failed) {
        try_failed(call, &stream->failure);
    } else if (stream->events & CLIENT_STREAM_HEAD) {
        if (LIKELY(!call->worker->is_checker)) instance_praise(call->try->instance);
        if (!retry_after_response(call)) deliver(call);
    }
}

static void look_for_end(struct upstream_call *call)
{
    struct client_stream *stream = &call->try->stream;
    if (!(stream->events & CLIENT_STREAM_DONE)) return;
    if (stream->failure.reason) {
        count_failure(call, &stream->failure);
        fail(call, &stream->failure);
    } else {
        succeed(call, 0);
    }
}

static void look_for_connection(struct upstream_call *call)
{
    struct try *try = call->try;
    if (try->waiter.waiting) return;
    struct error error;
    if (try_collect(try, &error))
        call->state = CALL_ASKING;
    else
        try_failed(call, &error);
}

static void call_task(struct task *task)
{
    struct upstream_call *call = CONTAINER_OF(task, struct upstream_call, task);
    switch ((enum call_state)call->state) {
    case CALL_CONNECTING: look_for_connection(call); break;
    case CALL_ASKING: look_for_head(call); break;
    case CALL_ANSWERING: look_for_end(call); break;
    case CALL_OVER: break;
    }
}

bool upstream_call_open_tunnel(struct upstream_call *call, struct tunnel_end *end_of_tunnel,
                               struct upstream_lease *lease, struct error *error)
{
    if (call->state != CALL_ANSWERING || !call->try->stream.connection)
        return error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 502, "reset", "the backend has gone after its 101");
    if (!try_open_tunnel(call->try, end_of_tunnel, lease))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a tunnel");
    end(call);
    return true;
}

/* --- time --- */

/* The instance has been given all that has come of the request's body and asks for more. While nobody takes the body yet (it may be
 * the instance who was to say 100) it isn't the client who is waited for. */
static bool client_holds_body_back(const struct upstream_call *call)
{
    const struct body_pipe *body = call->plan.body;
    if (!body || body->state != BODY_OPEN || body->stopped || !body->attached) return false;
    return body->spliced ? body->starved : body->buffered == 0;
}

static void no_answer_in_time(struct upstream_call *call)
{
    struct try *try = call->try;
    bool is_last = now_of(call) >= call->plan.deadline_ms;
    unsigned long long waited_ms = is_last ? (call->worker->loop->now_ns - call->started_ns) / 1000000
                                           : call->plan.try_timeout_ms;
    struct error error;
    if (call->state == CALL_CONNECTING) {
        upstream_pool_explain_wait(&try->waiter, &error);
    } else if (client_holds_body_back(call)) {
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 408, "request-timeout",
                  "the request was not complete within %llu ms", waited_ms);
    } else {
        error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 504, "timeout", "no answer from %s within %llu ms",
                  try->instance->name, waited_ms);
    }
    if (error.status == 504 && !call->worker->is_checker) instance_strike(try->instance, now_of(call));
    try_failed(call, &error);
}

/* Neither side moved a byte. While the client is who doesn't take what is there for it, that is for its session to end. */
static void look_for_idleness(struct upstream_call *call)
{
    const struct body_pipe *body = &call->try->stream.response_body;
    bool client_holds_back = body->spliced ? !body->starved : body->buffered > 0;
    if (client_holds_back || bytes_moved(call) != call->bytes_moved) {
        watch_idleness(call);
        return;
    }
    uint64_t idle_ms = call->plan.idle_timeout_ms;
    if (now_of(call) < call->moved_ms + idle_ms) {
        uint64_t next_ms = now_of(call) + (idle_ms + IDLE_CHECKS - 1) / IDLE_CHECKS;
        timer_set(&call->worker->loop->timers, &call->timer, next_ms);
        return;
    }
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 504, "timeout", "%s: no byte of the body moved for %llu ms",
              call->try->instance->name, (unsigned long long)idle_ms);
    try_end(call->try);
    if (call->response_body) body_pipe_abort(call->response_body, &error);
    fail(call, &error);
}

static void call_timer(struct timer *timer)
{
    struct upstream_call *call = CONTAINER_OF(timer, struct upstream_call, timer);
    if (call->state == CALL_ANSWERING)
        look_for_idleness(call);
    else
        no_answer_in_time(call);
}
