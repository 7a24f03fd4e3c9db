/* ext-auth: asks a decision service about each request before it goes on.
 *
 * Two shapes (ext_auth_ask.c): nginx's auth_request, and Envoy's ext_authz over HTTP. Decisions may be kept a while under a declared key;
 * then a worker asks once for all that wait for the same key, by a question of its own that lives until the last of them has
 * gone. Without a key each request asks for itself. Where the service can't be had, comes too late or gives no decision, `onFailure` says
 * what that means.
 * State: the compiled policy (route), what a decision brings for the client and, where the service is asked, the wait (exchange), kept decisions and
 * open questions (worker). Waits at most `timeoutMs`, never beyond the route's. A client that goes away takes its question along, unless
 * others wait for it. */
#include "filters/ext_auth.h"

#include "chain/explanation.h"
#include "filters/filters.h"
#include "filters/private.h"

/* Of an exchange: all that one needs whose decision is kept. */
struct ext_auth_state {
    struct asking *asking; /* NULL: the service was not asked */
    struct ext_auth_gift gift;
};

enum asking_step { ASKING_READS = 1, ASKING_ASKS };

enum reading { READING_MORE, READING_DONE, READING_NO_MEMORY };

/* While the service is asked, in the exchange's arena. */
struct asking {
    uint8_t step;    /* enum asking_step */
    uint8_t reading; /* enum reading */
    struct exchange *exchange;
    const struct ext_auth *policy;
    struct ext_auth_gift *gift;
    struct exchange_wait wait;
    struct task task;              /* for the body, and for `own` */
    struct sub_request *own;       /* a question that nobody shares; NULL: none */
    struct ext_auth_waiter waiter; /* for a shared one */
    struct ext_auth_body body;
};

static enum filter_result ext_auth_request(struct exchange *, const void *compiled, void *value);
static enum filter_result ext_auth_response_head(struct exchange *, const void *compiled, void *value);
static void ext_auth_finish(struct exchange *, const void *compiled, void *value);
static void ext_auth_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_ext_auth = {
    .name = "ext-auth",
    .summary = "Asks a decision service whether a request may go on.",
    .phase = PHASE_ACCESS,
    .phase_of = ext_auth_phase,
    .rank = 100,
    .gate = &filter_identity_gate,
    .fields = ext_auth_fields,
    .config_size = sizeof(struct ext_auth_config),
    .state_size = sizeof(struct ext_auth_state),
    .check = ext_auth_check,
    .compile = ext_auth_compile,
    .release = ext_auth_release,
    .worker_start = ext_auth_worker_start,
    .worker_stop = ext_auth_worker_stop,
    .request = ext_auth_request,
    .response_head = ext_auth_response_head,
    .finish = ext_auth_finish,
    .explain = ext_auth_explain,
};

/* --- asking --- */

static enum filter_result no_memory(struct exchange *exchange)
{
    respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* The exchange goes, or waits no more. */
static void give_up(struct asking *asking)
{
    struct body_pipe *body = asking->exchange->request_body;
    ext_auth_leave(&asking->waiter);
    if (asking->own) sub_request_end(asking->own);
    if (body && body->consumer_task == &asking->task) body_pipe_detach_consumer(body);
    loop_dequeue(asking->exchange->worker->loop, &asking->task);
}

static void cancel(struct exchange_wait *wait) { give_up(CONTAINER_OF(wait, struct asking, wait)); }

static enum filter_result wait_for(struct asking *asking, enum asking_step step)
{
    asking->step = (uint8_t)step;
    exchange_wait(asking->exchange, &asking->wait, cancel, exchange_deadline_ms(asking->exchange));
    return FILTER_WAIT;
}

static enum filter_result ask_alone(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct ext_auth *policy = asking->policy;
    struct slice target;
    asking->own = arena_allocate(exchange->arena, sizeof *asking->own);
    if (!asking->own) return no_memory(exchange);
    sub_request_init(asking->own, exchange->worker, exchange->arena);
    if (!ext_auth_write_question(policy, exchange, &asking->body, asking->own, &target)) return FILTER_RESPOND;
    struct sub_request_plan plan = ext_auth_plan(exchange, policy, target, &asking->task);
    plan.deadline_ms = sub_request_deadline(exchange, policy->timeout_ms);
    sub_request_start(asking->own, &plan);
    return wait_for(asking, ASKING_ASKS);
}

static enum filter_result ask_with_others(struct asking *asking, const struct ext_auth_place *place)
{
    if (!ext_auth_join(&asking->waiter, asking->exchange, asking->policy, place)) return FILTER_RESPOND;
    return wait_for(asking, ASKING_ASKS);
}

static bool hear_own(struct asking *asking, struct decision *decision, const struct error **why)
{
    *why = &asking->own->error;
    return ext_auth_judge(asking->policy, asking->own, asking->exchange->arena, decision);
}

static enum filter_result decide(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct ext_auth *policy = asking->policy;
    struct decision decision = { .verdict = VERDICT_FAILED };
    if (exchange_wait_outcome(exchange) == WAIT_DEADLINE) {
        struct error late;
        error_set(&late, BLAME_UPSTREAM, RETRY_NEVER, 504, "timeout", "no decision within the route's time");
        return ext_auth_apply(policy, exchange, &decision, &late, asking->gift);
    }
    const struct error *why;
    bool good = asking->waiter.question ? ext_auth_hear(&asking->waiter, exchange, policy, &decision, &why)
                                        : hear_own(asking, &decision, &why);
    enum filter_result result = good ? ext_auth_apply(policy, exchange, &decision, why, asking->gift)
                                     : no_memory(exchange);
    give_up(asking);
    return result;
}

/* --- the request's body goes along --- */

static enum filter_result refuse_body(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 413, "body-too-large", SLICE("ext-auth"),
                             "the request's body is larger than the decision service gets to see");
    return FILTER_RESPOND;
}

/* Memory is taken as bytes come: a client that says much and sends little costs little. False: it is short. */
static bool make_room(struct asking *asking, size_t length)
{
    struct ext_auth_body *body = &asking->body;
    size_t wanted = body->bytes.length + length;
    if (body->slab && wanted <= body->slab->size) return true;
    size_t size = body->slab ? 2 * (size_t)body->slab->size : SLAB_TINY_BYTES;
    struct slab *larger = slab_take_sized(asking->exchange->worker->slabs, size > wanted ? size : wanted);
    if (!larger) return false;
    if (body->bytes.length) memcpy(larger->bytes, body->bytes.at, body->bytes.length);
    slab_drop(body->slab);
    body->slab = larger;
    body->bytes.at = larger->bytes;
    return true;
}

/* Done: there is enough of it, or no more will come. */
static enum reading read_body(struct asking *asking)
{
    struct body_pipe *pipe = asking->exchange->request_body;
    struct ext_auth_body *body = &asking->body;
    for (const struct body_piece *piece; (piece = body_pipe_first(pipe)) != NULL;) {
        size_t room = asking->policy->body_bytes_max - body->bytes.length, part = piece->length;
        body->is_partial = part > room;
        if (part > room) part = room;
        if (!make_room(asking, part)) return READING_NO_MEMORY;
        if (part) memcpy(body->slab->bytes + body->bytes.length, piece->at, part);
        body->bytes.length += part;
        body_pipe_consume(pipe, part);
        if (body->is_partial) return READING_DONE;
    }
    return pipe->state != BODY_OPEN ? READING_DONE : READING_MORE;
}

/* The service reads it from its beginning, and so does the proxy where it tries again: what was consumed goes back, in one piece. */
static bool put_body_back(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct ext_auth_body *body = &asking->body;
    size_t kept = exchange->route->retry_buffer_bytes;
    if (kept < body->bytes.length) kept = body->bytes.length;
    return body_pipe_put_back(exchange->request_body, body->slab, body->bytes.length, kept, exchange->arena);
}

static enum filter_result body_is_read(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    struct body_pipe *pipe = exchange->request_body;
    body_pipe_detach_consumer(pipe);
    if (exchange_wait_outcome(exchange) == WAIT_DEADLINE && asking->reading == READING_MORE) {
        exchange_respond_problem(exchange, 408, "request-timeout", SLICE_ABSENT,
                                 "the request was not complete in time");
        return FILTER_RESPOND;
    }
    if (pipe->state == BODY_ABORTED) {
        const struct error *failure = &pipe->failure;
        exchange_respond_problem(exchange, failure->status ? failure->status : 400, "bad-body", SLICE_ABSENT,
                                 "the request's body broke off");
        return FILTER_RESPOND;
    }
    if (asking->reading == READING_NO_MEMORY) return no_memory(exchange);
    if (asking->body.is_partial && !asking->policy->takes_partial_body) return refuse_body(exchange);
    if (!put_body_back(asking)) return no_memory(exchange);
    return ask_alone(asking);
}

static enum filter_result begin_body(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct ext_auth *policy = asking->policy;
    struct body_pipe *pipe = exchange->request_body;
    uint64_t expected = exchange->request->body_length;
    if (expected != BODY_LENGTH_UNKNOWN && expected > policy->body_bytes_max && !policy->takes_partial_body)
        return refuse_body(exchange);
    asking->body.bytes = SLICE("");
    body_pipe_attach_consumer(pipe, &asking->task);
    asking->reading = (uint8_t)read_body(asking);
    return asking->reading != READING_MORE ? body_is_read(asking) : wait_for(asking, ASKING_READS);
}

static void asking_task(struct task *task)
{
    struct asking *asking = CONTAINER_OF(task, struct asking, task);
    if (asking->step == ASKING_READS) {
        if (asking->reading != READING_MORE) return;
        asking->reading = (uint8_t)read_body(asking);
        if (asking->reading == READING_MORE) return;
    }
    exchange_resume(&asking->wait);
}

/* --- a request's way --- */

/* At no place: for this request alone. */
static enum filter_result ask(struct exchange *exchange, const struct ext_auth *policy, struct ext_auth_state *state,
                              const struct ext_auth_place *place)
{
    struct asking *asking = arena_allocate_zeroed(exchange->arena, sizeof *asking);
    if (!asking) return no_memory(exchange);
    state->asking = asking;
    asking->exchange = exchange;
    asking->policy = policy;
    asking->gift = &state->gift;
    asking->task.run = asking_task;
    asking->waiter.wait = &asking->wait;
    if (place) return ask_with_others(asking, place);
    if (policy->takes_body && exchange->request_body) return begin_body(asking);
    return ask_alone(asking);
}

static enum filter_result ext_auth_request(struct exchange *exchange, const void *compiled, void *value)
{
    const struct ext_auth *policy = compiled;
    struct ext_auth_state *state = value;
    if (state->asking) return state->asking->step == ASKING_READS ? body_is_read(state->asking) : decide(state->asking);
    if (policy->key_count == 0) return ask(exchange, policy, state, NULL);
    struct ext_auth_place place;
    switch (ext_auth_find_place(exchange, policy, &place)) {
    case EXT_AUTH_SHARED: break;
    case EXT_AUTH_ALONE: return ask(exchange, policy, state, NULL);
    case EXT_AUTH_NO_MEMORY: return no_memory(exchange);
    }
    const struct decision *known = ext_auth_known(exchange, &place);
    if (known) return ext_auth_apply(policy, exchange, known, NULL, &state->gift);
    return ask(exchange, policy, state, &place);
}

static enum filter_result ext_auth_response_head(struct exchange *exchange, const void *compiled, void *value)
{
    (void)compiled;
    const struct ext_auth_state *state = value;
    for (uint32_t i = 0; i < state->gift.count; i++) {
        const struct decision_header *header = &state->gift.headers[i];
        if (headers_add(&exchange->response->headers, header->name, header->value)) continue;
        respond_no_memory(exchange);
        break;
    }
    return FILTER_NEXT;
}

static void ext_auth_finish(struct exchange *exchange, const void *compiled, void *value)
{
    (void)exchange, (void)compiled;
    const struct ext_auth_state *state = value;
    if (!state->asking) return;
    give_up(state->asking);
    slab_drop(state->asking->body.slab);
}

/* --- explanations --- */

static void explain_kept(struct exchange *exchange, const struct ext_auth *policy, struct explanation *explanation)
{
    uint64_t now_ms = exchange->worker->loop->now_ms, until_ms;
    const struct decision *known = ext_auth_peek(exchange, policy, &until_ms);
    if (!known)
        explanation_add(explanation, "no decision is kept for it on this worker");
    else if (known->verdict == VERDICT_ALLOWED)
        explanation_add(explanation, "it was let through lately, and is for %llu ms more",
                        (unsigned long long)(until_ms - now_ms));
    else
        explanation_add(explanation, "it was refused lately (%u), and is for %llu ms more", known->status,
                        (unsigned long long)(until_ms - now_ms));
}

static void ext_auth_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct ext_auth *policy = compiled;
    explanation_add(explanation, "asks service \"%s\" (%s) for at most %u ms",
                    exchange_service(exchange, policy->service)->name, ext_auth_mode_words[policy->mode],
                    policy->timeout_ms);
    if (policy->key_count > 0) explain_kept(exchange, policy, explanation);
    if (policy->allows_on_failure)
        explanation_add(explanation, "goes on without a decision where none can be had");
    else
        explanation_add(explanation, "answers %u where no decision can be had", policy->failure_status);
}
