/* exchange/exchange.c: the steps of an exchange in order, one function a step, and the loop that runs them.
 *
 * A step goes on to the next, pauses (something will queue the exchange's task), or jumps ahead to the response filters because
 * an answer is there. An exchange ends only in its own task, off the run queue: so whoever calls into it (a handler whose
 * call has answered, a filter that resumes) can still return through its own frames. */
#include "exchange/private.h"
#include "http/status.h"

enum step_result {
    STEP_GO_ON,
    STEP_PAUSE,
    STEP_ANSWER, /* an answer was prepared: on to the response filters */
};

static enum step_result step_edge(struct exchange *);
static enum step_result step_route(struct exchange *);
static enum step_result step_request_filters(struct exchange *);
static enum step_result step_handler(struct exchange *);
static enum step_result step_response_filters(struct exchange *);
static enum step_result step_reply(struct exchange *);
static enum step_result step_log(struct exchange *);

static const struct {
    const char *word;
    enum step_result (*run)(struct exchange *);
} steps[STEP_COUNT] = {
    [STEP_EDGE] = { "edge", step_edge },
    [STEP_ROUTE] = { "route", step_route },
    [STEP_REQUEST_FILTERS] = { "request filters", step_request_filters },
    [STEP_HANDLER] = { "handler", step_handler },
    [STEP_RESPONSE_FILTERS] = { "response filters", step_response_filters },
    [STEP_REPLY] = { "reply", step_reply },
    [STEP_LOG] = { "log", step_log },
};

#define STAGE_SAMPLE_EVERY 64
#define EXCHANGE_TIMEOUT_MS_DEFAULT 30000 /* before a route is found */

static void exchange_task(struct task *);
static void exchange_end(struct exchange *);

const char *exchange_step_word(enum exchange_step step) { return steps[step].word; }

static enum step_result run_step(struct exchange *exchange)
{
    if (LIKELY(!exchange->sampled)) return steps[exchange->step].run(exchange);
    unsigned step = exchange->step;
    uint64_t begun_ns = clock_monotonic_ns();
    enum step_result result = steps[step].run(exchange);
    metrics_stage(exchange->worker->metrics, exchange->worker->index, step, clock_monotonic_ns() - begun_ns);
    return result;
}

static void exchange_run(struct exchange *exchange)
{
    for (;;) {
        switch (run_step(exchange)) {
        case STEP_GO_ON: exchange->step++; break;
        case STEP_ANSWER:
            exchange->step = STEP_RESPONSE_FILTERS;
            exchange->next_link = exchange->filters_begun;
            break;
        case STEP_PAUSE: return;
        }
    }
}

void exchange_begin(struct exchange_worker *worker, struct server_stream *stream)
{
    struct exchange *exchange = arena_allocate(stream->arena, sizeof *exchange);
    if (!exchange) {
        /* Not even a struct fits: a clean cut is all that is left. */
        metrics_count_error(worker->metrics, worker->index, "out-of-memory");
        server_stream_reset(stream);
        server_stream_release(stream);
        return;
    }
    memset(exchange, 0, offsetof(struct exchange, error));
    exchange->error.reason = NULL;
    exchange->match.captures.count = 0;
    exchange->identity.tier = IDENTITY_TIER_NONE;
    exchange->stream = stream;
    exchange->worker = worker;
    exchange->arena = stream->arena;
    exchange->request = &stream->request;
    exchange->request_body = stream->request_body;
    exchange->begun_ns = stream->begun_ns;
    exchange->task.run = exchange_task;
    exchange->pin = worker->current;
    exchange->pin->exchanges++;
    if (--worker->stage_sample == 0) {
        worker->stage_sample = STAGE_SAMPLE_EVERY;
        exchange->sampled = true;
    }
    stream->owner_task = &exchange->task;
    list_push_back(&worker->exchanges, &exchange->link);
    gauge_add(&worker->active, 1);
    counter_add(&worker->started, 1);
    exchange_run(exchange);
}

/* Everything that can happen to a paused exchange arrives here: the stream's events and a finished wait. */
static void exchange_task(struct task *task)
{
    struct exchange *exchange = CONTAINER_OF(task, struct exchange, task);
    if (exchange->stream->events & (SERVER_STREAM_GONE | SERVER_STREAM_SENT)) {
        exchange->gone = !(exchange->stream->events & SERVER_STREAM_SENT);
        exchange->step = STEP_LOG;
        run_step(exchange);
        exchange_end(exchange);
        return;
    }
    if (wait_collect(exchange)) exchange_run(exchange);
}

/* --- the steps --- */

static enum step_result step_edge(struct exchange *exchange)
{
    const struct request_settings *settings = exchange->pin->snapshot->settings;
    bool has_memory = edge_find_client(exchange, settings) && edge_find_request_id(exchange) &&
                      edge_find_trace(exchange, settings);
    edge_remove_nominated(exchange);
    bool is_good = edge_find_grpc(exchange);
    if (!has_memory) {
        exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
        return STEP_ANSWER;
    }
    if (!is_good) {
        exchange_respond_problem(exchange, 400, "bad-grpc-timeout", SLICE_ABSENT,
                                 "grpc-timeout is not one to eight digits and a unit");
        return STEP_ANSWER;
    }
    if (exchange->request->target.form == TARGET_ASTERISK) { /* OPTIONS *: about the gateway itself, RFC 9110 9.3.7 */
        exchange_respond(exchange, 204, SLICE_ABSENT, SLICE_ABSENT);
        return STEP_ANSWER;
    }
    if (edge_redirects(exchange)) return STEP_ANSWER;
    return STEP_GO_ON;
}

static enum step_result respond_short_of_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    return STEP_ANSWER;
}

static enum step_result step_route(struct exchange *exchange)
{
    if (UNLIKELY(!routing_find(exchange))) return STEP_ANSWER;
    struct compiled_route *route = exchange->match.target;
    exchange->route = route;
    exchange->roles = exchange->pin->snapshot->roles;
    if (route->service_index != SERVICE_NONE && !route->split)
        exchange->service = exchange->pin->snapshot->services[route->service_index];
    exchange->upstream_path = exchange->request->target.path;
    if (route->strip_prefix) {
        size_t prefix = route_matcher_strip_length(route->matcher, exchange->upstream_path);
        exchange->upstream_path = slice_after(exchange->upstream_path, prefix);
    }
    exchange->upstream_query = exchange->request->target.query;
    if (route->chain->state_bytes > 0) {
        exchange->filter_states = arena_allocate_zeroed(exchange->arena, route->chain->state_bytes);
        if (!exchange->filter_states) return respond_short_of_memory(exchange);
    }
    return STEP_GO_ON;
}

static enum step_result step_request_filters(struct exchange *exchange)
{
    const struct chain *chain = exchange->route->chain;
    while (exchange->next_link < chain->count) {
        const struct chain_link *link = &chain->links[exchange->next_link];
        bool has_waited = exchange->filters_begun > exchange->next_link;
        if (UNLIKELY(exchange->worker->link_begins) && !has_waited) exchange->worker->link_begins(exchange, link);
        exchange->filters_begun = exchange->next_link + 1;
        if (link->request) {
            switch (link->request(exchange, link->compiled, exchange_link_state(exchange, link))) {
            case FILTER_NEXT: break;
            case FILTER_RESPOND: return STEP_ANSWER;
            case FILTER_WAIT:
                PROMISE(exchange->wait != NULL); /* a wait without a deadline can't be written */
                return STEP_PAUSE;
            }
        }
        exchange->next_link++;
    }
    return STEP_GO_ON;
}

static bool prepare_handler(struct exchange *exchange)
{
    const struct handler *handler = exchange->route->handler;
    if (handler->state_size > 0) {
        exchange->handler_state = arena_allocate_zeroed(exchange->arena, handler->state_size);
        if (!exchange->handler_state) return false;
    }
    if (exchange->request_body && stages_are_needed(exchange, false)) {
        if (!stages_put(exchange, false, &exchange->request_body)) return false;
        exchange->request->body_length = BODY_LENGTH_UNKNOWN;
    }
    return true;
}

/* Begins the handler, or goes on with one that has waited. */
static enum step_result step_handler(struct exchange *exchange)
{
    const struct compiled_route *route = exchange->route;
    bool begins = !exchange->handler_started;
    if (begins && ((route->split && !split_choose(exchange)) || !prepare_handler(exchange)))
        return respond_short_of_memory(exchange);
    if (UNLIKELY(exchange->worker->handler_begins) && begins) exchange->worker->handler_begins(exchange);
    exchange->handler_started = true;
    exchange->handler_starting = true;
    (begins ? route->handler->start : route->handler->resume)(exchange, route->handler_compiled,
                                                              exchange->handler_state);
    exchange->handler_starting = false;
    return exchange->answered ? STEP_ANSWER : STEP_PAUSE;
}

/* What a route says beside its answer, whoever gives that. The answer is worth more than what does not fit in. */
static void add_answer_fields(struct exchange *exchange)
{
    struct headers *headers = &exchange->response->headers;
    exchange->answer_fields_added = true;
    bool fits = (!exchange->version_notice || version_add_fields(exchange, headers)) &&
                (slice_is_absent(exchange->split_cookie) ||
                 headers_add_known(headers, HEADER_SET_COOKIE, exchange->split_cookie));
    if (!fits) metrics_count_error(exchange->worker->metrics, exchange->worker->index, "out-of-memory");
}

/* Backwards over those whose request side ran; next_link counts down. */
static enum step_result step_response_filters(struct exchange *exchange)
{
    bool has_fields = exchange->version_notice || !slice_is_absent(exchange->split_cookie);
    if (UNLIKELY(has_fields && !exchange->answer_fields_added)) add_answer_fields(exchange);
    while (exchange->next_link > 0) {
        const struct chain_link *link = &exchange->route->chain->links[exchange->next_link - 1];
        if (link->response_head &&
            link->response_head(exchange, link->compiled, exchange_link_state(exchange, link)) == FILTER_WAIT) {
            PROMISE(exchange->wait != NULL);
            return STEP_PAUSE;
        }
        exchange->next_link--;
    }
    return STEP_GO_ON;
}

/* Who answered without it takes it no more: the session is told before the head is written, which says whether the connection goes on. */
static void let_go_of_request_body(const struct exchange *exchange)
{
    struct body_pipe *body = exchange->request_body;
    if (LIKELY(!body) || exchange->response != &exchange->own_response) return;
    if (!body->consumer_task && !body_pipe_is_drained(body)) body_pipe_stop(body);
}

static bool send_answer(struct exchange *exchange, struct error *error)
{
    let_go_of_request_body(exchange);
    return server_stream_send_head(exchange->stream, exchange->response, exchange->response_body, error);
}

/* Nothing of the answer has gone out, and a bare one takes its place. Stages go first: one that reads own_body would take the new
 * answer's body for its own. */
static void drop_answer(struct exchange *exchange)
{
    stages_release(exchange);
    if (!exchange->response_body) return;
    body_pipe_stop(exchange->response_body);
    body_pipe_detach_consumer(exchange->response_body);
}

/* Puts the stages that the answer needs. False: they can't be put, or one of them has broken off an answer that was there as a whole (*error). */
static bool put_response_stages(struct exchange *exchange, struct error *error)
{
    struct response_head *head = exchange->response;
    if (!exchange->route || status_has_no_content(head->status) || !stages_are_needed(exchange, true)) return true;
    head->body_length = BODY_LENGTH_UNKNOWN; /* also for HEAD: what GET would send is not known */
    if (exchange->response_body && !stages_put(exchange, true, &exchange->response_body))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-memory",
                         "out of memory for an answer's body stages");
    const struct body_pipe *body = exchange->response_body;
    if (UNLIKELY(body && body->state == BODY_ABORTED)) {
        *error = body->failure;
        return false;
    }
    /* Behind a body of known length HTTP/1.1 has no place for trailers. */
    if (body && body->state == BODY_FINISHED && !body->trailers) head->body_length = body->pushed;
    return true;
}

/* One that took another's place, behind the response filters: those without which the client can't read it see it still. */
static void send_late_answer(struct exchange *exchange)
{
    struct error error;
    exchange->failed_late = true;
    for (uint32_t i = exchange->route ? exchange->filters_begun : 0; i > 0; i--) {
        const struct chain_link *link = &exchange->route->chain->links[i - 1];
        if (!link->filter->sees_late_failures || !link->response_head) continue;
        link->response_head(exchange, link->compiled, exchange_link_state(exchange, link));
    }
    if (!put_response_stages(exchange, &error) || !send_answer(exchange, &error)) server_stream_reset(exchange->stream);
}

/* The answer can't be written (a filter made a header with a line break in it): say so. */
static void send_plain_failure(struct exchange *exchange, const struct error *error)
{
    drop_answer(exchange);
    exchange_respond_problem(exchange, 500, "unwritable-header", SLICE_ABSENT,
                             "the gateway could not write its answer");
    exchange->error = *error;
    send_late_answer(exchange);
}

/* The head is still here, so the client can read what happened. */
static void send_stage_failure(struct exchange *exchange, const struct error *error)
{
    unsigned status = error->blame == BLAME_UPSTREAM ? 502 : 500;
    if (error->status >= 500) status = error->status;
    drop_answer(exchange);
    respond_failure(exchange, error, status);
    send_late_answer(exchange);
}

/* The backend has gone since its 101, memory is short, or the head can't be written. */
static void send_tunnel_failure(struct exchange *exchange, const struct error *error)
{
    struct error again;
    exchange->upgraded = NULL;
    exchange_respond_problem(exchange, error->status, error->reason, SLICE_ABSENT, "the tunnel could not be opened");
    exchange->error = *error;
    if (!send_answer(exchange, &again)) server_stream_reset(exchange->stream);
}

static enum step_result step_reply(struct exchange *exchange)
{
    struct error error;
    if (UNLIKELY(exchange->upgraded != NULL)) {
        exchange->became_tunnel = tunnel_open(exchange, &error);
        if (!exchange->became_tunnel) send_tunnel_failure(exchange, &error);
        return STEP_PAUSE;
    }
    if (UNLIKELY(!put_response_stages(exchange, &error)))
        send_stage_failure(exchange, &error);
    else if (!send_answer(exchange, &error))
        send_plain_failure(exchange, &error);
    return STEP_PAUSE; /* until the stream says SENT or GONE */
}

static enum step_result step_log(struct exchange *exchange)
{
    wait_abandon(exchange);
    if (exchange->handler_started && exchange->route->handler->finish) {
        exchange->route->handler->finish(exchange, exchange->route->handler_compiled, exchange->handler_state);
    }
    for (uint32_t i = exchange->filters_begun; i > 0; i--) {
        const struct chain_link *link = &exchange->route->chain->links[i - 1];
        if (link->filter->finish) link->filter->finish(exchange, link->compiled, exchange_link_state(exchange, link));
    }
    record_write(exchange);
    return STEP_PAUSE;
}

/* --- the end --- */

static void let_go_of_snapshot(struct exchange *exchange)
{
    struct exchange_worker *worker = exchange->worker;
    struct snapshot_pin *pin = exchange->pin;
    exchange->pin = NULL;
    if (--pin->exchanges == 0 && pin != worker->current) worker->pin_released(worker, pin);
}

static void keep_route_alone(struct exchange *exchange)
{
    if (exchange->route) compiled_route_retain(exchange->route);
    if (exchange->service) service_retain(exchange->service);
    if (exchange->roles) role_set_retain(exchange->roles);
    let_go_of_snapshot(exchange);
    counter_add(&exchange->worker->pinned_beyond_snapshot, 1);
}

static void let_go_of_route(struct exchange *exchange)
{
    role_set_drop(exchange->roles);
    if (exchange->service) snapshot_service_drop(exchange->route->builder, exchange->service);
    if (exchange->route) compiled_route_drop(exchange->route);
}

static void exchange_end(struct exchange *exchange)
{
    struct exchange_worker *worker = exchange->worker;
    struct server_stream *stream = exchange->stream;
    stages_release(exchange);
    if (exchange->response == &exchange->own_response && exchange->response_body == &exchange->own_body) {
        body_pipe_release(&exchange->own_body);
    }
    loop_dequeue(worker->loop, &exchange->task);
    list_remove(&exchange->link);
    if (exchange->pin) {
        let_go_of_snapshot(exchange);
    } else {
        let_go_of_route(exchange);
    }
    if (UNLIKELY(exchange->has_tunnel_place)) tunnel_place_give(worker);
    gauge_add(&worker->active, -1);
    stream->owner_task = NULL;
    server_stream_release(stream); /* the exchange's memory goes with it */
}

/* --- for handlers --- */

void exchange_answer(struct exchange *exchange, struct response_head *response, struct body_pipe *body)
{
    PROMISE(!exchange->answered);
    exchange->answered = true;
    exchange->response = response;
    exchange->response_body = body;
    if (exchange->handler_starting) return; /* step_handler sees it when start() returns */
    exchange->step = STEP_RESPONSE_FILTERS;
    exchange->next_link = exchange->filters_begun;
    exchange_run(exchange);
}

void exchange_answer_upgraded(struct exchange *exchange, struct response_head *response, struct upstream_call *call)
{
    exchange->upgraded = call;
    exchange_answer(exchange, response, NULL);
}

void exchange_answer_prepared(struct exchange *exchange)
{
    exchange_answer(exchange, exchange->response, exchange->response_body);
}

void exchange_interim(struct exchange *exchange, const struct response_head *head)
{
    server_stream_send_interim(exchange->stream, head);
}

void exchange_request_ready(struct exchange *exchange, struct slice target)
{
    const struct chain *chain = exchange->route->chain;
    if (LIKELY(!chain->has_lookers_on)) return;
    for (uint32_t i = 0; i < exchange->filters_begun; i++) {
        const struct chain_link *link = &chain->links[i];
        if (link->filter->request_ready)
            link->filter->request_ready(exchange, link->compiled, exchange_link_state(exchange, link), target);
    }
}

uint64_t exchange_deadline_ms(const struct exchange *exchange)
{
    uint64_t begun_ms = exchange->begun_ns / 1000000;
    uint64_t timeout_ms = exchange->route ? exchange->route->timeout_ms : EXCHANGE_TIMEOUT_MS_DEFAULT;
    return begun_ms + (exchange->grpc_timeout_ms < timeout_ms ? exchange->grpc_timeout_ms : timeout_ms);
}

struct service *exchange_service(const struct exchange *exchange, uint32_t index)
{
    PROMISE(exchange->pin && index < exchange->pin->snapshot->service_count);
    return exchange->pin->snapshot->services[index];
}

/* --- a worker's side --- */

bool exchange_worker_init(struct exchange_worker *worker, struct error *error)
{
    list_init(&worker->exchanges);
    list_init(&worker->tunnels);
    worker->stage_sample = STAGE_SAMPLE_EVERY;
    random_init(&worker->random);
    worker->waits = wait_table_create();
    worker->router_scratch = router_scratch_create();
    if (!worker->router_scratch) return error_format(error, "out of memory for the router's scratch space");
    return kept_start(worker, error);
}

void exchange_worker_stop_filters(struct exchange_worker *worker)
{
    PROMISE(list_is_empty(&worker->exchanges));
    kept_stop(worker);
}

void exchange_worker_release(struct exchange_worker *worker)
{
    PROMISE(list_is_empty(&worker->exchanges) && list_is_empty(&worker->tunnels));
    kept_stop(worker);
    wait_table_destroy(worker->waits);
    router_scratch_destroy(worker->router_scratch);
}

/* Its filters or its handler may still look for services in the snapshot. */
static bool may_ask_services(const struct exchange *exchange)
{
    return exchange->step < STEP_REPLY && exchange->route && exchange->route->service_use_count > 0;
}

void exchange_worker_sweep(struct exchange_worker *worker)
{
    const uint64_t old_ns = 1000000000;
    for (struct list_link *link = worker->exchanges.next; link != &worker->exchanges; link = link->next) {
        struct exchange *exchange = CONTAINER_OF(link, struct exchange, link);
        if (worker->loop->now_ns - exchange->begun_ns < old_ns) return; /* the rest is younger */
        if (!exchange->pin || exchange->pin == worker->current || may_ask_services(exchange)) continue;
        keep_route_alone(exchange);
    }
}
