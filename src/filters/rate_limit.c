/* rate-limit: refuses, delays or counts requests beyond a rate (429).
 *
 * All rules that apply to a route in one phase are one link, so that they are decided together: in order of global, per API, per
 * client, per address. First each is looked at, and where one refuses nothing is taken of any. Then each is taken of in the same order; where
 * another request was faster and one refuses after all, what the earlier ones gave goes back. A rule that lets the request wait
 * has given it its place: the request waits for the latest of these, and gives all back when its client goes away meanwhile.
 *
 * Who counts may be late (shared/limiter.h): the request waits for it, at most LATE_MS, and passes without its answer: limits protect,
 * they don't keep a service from being reached. What `concurrency` counts is given back in finish, or when the WebSocket that the
 * request has become is over.
 *
 * State: compiled rules (route), what was taken (exchange, its arena), the table of counters (process). */
#include "filters/rate_limit.h"

#include "base/clock.h"
#include "chain/explanation.h"
#include "filters/filters.h"

#include <stdlib.h>

#define LATE_MS 50
#define WAITING_MAX 10000 /* requests in queues, a worker */
#define NS_A_MS UINT64_C(1000000)

/* What one rule gave. */
struct rate_take {
    struct limiter_call call;
    const struct rate_value *value;
    struct exchange_wait *wait; /* the state's */
    bool is_taken;
    const char *cost_mistake; /* what is counted as an error; NULL: nothing */
};

enum rate_stage {
    STAGE_BEGIN,
    STAGE_ASKED,  /* waits for who counts for rule `next` */
    STAGE_QUEUED, /* waits for its turn */
    STAGE_PASSED,
    STAGE_REFUSED,
};

struct rate_limit_state {
    struct exchange_wait wait;
    const struct rate_limits *limits;
    struct rate_take *takes; /* one a rule */
    uint32_t next;
    uint8_t stage; /* enum rate_stage */
    struct rate_limit_report report;
};

static enum phase rate_limit_phase(const void *config);
static bool rate_limit_check_filter(struct schema_reading *, const struct node *, const void *config);
static enum filter_result rate_limit_request(struct exchange *, const void *compiled, void *state);
static enum filter_result rate_limit_response_head(struct exchange *, const void *compiled, void *state);
static bool rate_limit_tunnel_opens(struct exchange *, void *state, struct tunnel_hold **);
static void rate_limit_finish(struct exchange *, const void *compiled, void *state);
static void rate_limit_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_rate_limit = {
    .name = "rate-limit",
    .summary = "Limits how many requests callers may make (429 beyond it).",
    .phase = PHASE_LIMIT,
    .phase_of = rate_limit_phase,
    .fields = &rate_limit_fields[RATE_LIMIT_FILTER_FIELDS_AT],
    .config_size = sizeof(struct rate_limit_config),
    .state_size = sizeof(struct rate_limit_state),
    .all_scopes_apply = true,
    .check = rate_limit_check_filter,
    .compile_all = rate_limit_compile,
    .release = rate_limit_release,
    .retire = rate_limit_retire,
    .request = rate_limit_request,
    .response_head = rate_limit_response_head,
    .tunnel_opens = rate_limit_tunnel_opens,
    .finish = rate_limit_finish,
    .explain = rate_limit_explain,
};

static enum phase rate_limit_phase(const void *config)
{
    return ((const struct rate_limit_config *)config)->before_identity ? PHASE_EARLY_LIMIT : PHASE_LIMIT;
}

static bool rate_limit_check_filter(struct schema_reading *reading, const struct node *node, const void *config)
{
    size_t before = reading->problems->count;
    rate_limit_check(reading, node, config);
    return reading->problems->count == before;
}

/* --- asking --- */

static struct limiter *limiter_of(const struct rate_limit_state *state) { return state->limits->counters->limiter; }

static struct gauge *waiting_of(const struct exchange *exchange, const struct limit_counters *counters)
{
    return &counters->worker_lines[exchange->worker->index].waiting;
}

static void tally(const struct exchange *exchange, const struct rate_rule *rule, enum limit_decision decision)
{
    limit_tally_count(rule->tally, exchange->worker->index, decision);
}

static void answered(struct limiter_call *call)
{
    const struct rate_take *take = CONTAINER_OF(call, struct rate_take, call);
    exchange_resume(take->wait);
}

/* At most until the answer has to be there. */
static uint64_t longest_wait_ns(const struct exchange *exchange, const struct limit_counters *counters)
{
    uint64_t deadline_ns = exchange_deadline_ms(exchange) * NS_A_MS, now_ns = exchange->worker->loop->now_ns;
    if (gauge_read(waiting_of(exchange, counters)) >= WAITING_MAX) return 0;
    return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

/* False: memory is short. */
static bool prepare(const struct exchange *exchange, const struct rate_limits *limits, struct rate_take *takes,
                    struct exchange_wait *wait)
{
    struct limit_counters *counters = limits->counters;
    uint64_t now_ns = limit_counters_time(counters, exchange->worker->loop->now_ns), wait_max_ns = UINT64_MAX;
    for (size_t i = 0; i < limits->count; i++) {
        const struct rate_rule *rule = &limits->rules[i];
        const struct rate_value *value = rate_rule_value(rule, exchange);
        if (rule->wait_max_ns > 0 && wait_max_ns == UINT64_MAX) wait_max_ns = longest_wait_ns(exchange, counters);
        struct limiter_call *call = &takes[i].call; /* its outcome and lease are written before they are read */
        takes[i].value = value;
        takes[i].wait = wait;
        takes[i].is_taken = false;
        call->limit = &value->limit;
        call->place = limit_table_place(counters->table, rate_rule_hash(rule, exchange), &rule->state->share);
        if (!rate_rule_cost(rule, exchange, &call->cost, &takes[i].cost_mistake)) return false;
        call->now_ns = now_ns;
        call->wait_max_ns = rule->wait_max_ns < wait_max_ns ? rule->wait_max_ns : wait_max_ns;
        call->ready = answered;
        call->plan.entry = NULL;
        call->note = NULL;
    }
    return true;
}

static void report(const struct exchange *exchange, struct rate_limit_state *state, size_t at)
{
    struct rate_limit_report fresh = {
        .rule = &state->limits->rules[at],
        .value = state->takes[at].value,
        .call = &state->takes[at].call,
        .at_ns = exchange->worker->loop->now_ns,
    };
    if (rate_limit_least(&fresh, state->report.rule ? &state->report : NULL) == &fresh) state->report = fresh;
}

static void give_all_back(struct rate_limit_state *state)
{
    uint64_t now_ns = limit_counters_time(state->limits->counters, clock_monotonic_ns());
    for (size_t i = state->limits->count; i > 0; i--) {
        struct rate_take *take = &state->takes[i - 1];
        if (take->is_taken) limiter_of(state)->refund(limiter_of(state), &take->call, now_ns);
        take->is_taken = false;
    }
}

/* By the outcome of the rule's call. */
static enum filter_result refuse(struct exchange *exchange, struct rate_limit_state *state, size_t at)
{
    give_all_back(state);
    state->stage = STAGE_REFUSED;
    state->report.rule = NULL;
    report(exchange, state, at);
    exchange->rate_limit_report = &state->report;
    tally(exchange, &state->limits->rules[at], LIMIT_DECISION_REFUSED);
    rate_limit_respond(exchange, &state->report);
    return FILTER_RESPOND;
}

/* True: none refuses, as far as can be seen. */
static bool look_at_all(struct rate_limit_state *state, size_t *refusing)
{
    struct limiter *limiter = limiter_of(state);
    if (state->limits->count == 1 || !limiter->look) return true;
    for (size_t i = 0; i < state->limits->count; i++) {
        if (state->limits->rules[i].is_shadow) continue;
        struct limiter_call *call = &state->takes[i].call;
        limiter->look(limiter, call);
        *refusing = i;
        if (call->outcome.verdict == LIMIT_REFUSE) return false;
    }
    return true;
}

/* --- taking --- */

static void cancel_asked(struct exchange_wait *wait)
{
    struct rate_limit_state *state = CONTAINER_OF(wait, struct rate_limit_state, wait);
    struct limiter *limiter = limiter_of(state);
    if (limiter->cancel) limiter->cancel(limiter, &state->takes[state->next].call);
}

/* The outcome of rule `next` is there. False: it refuses. */
static bool settle(const struct exchange *exchange, struct rate_limit_state *state)
{
    const struct rate_rule *rule = &state->limits->rules[state->next];
    struct rate_take *take = &state->takes[state->next];
    bool refuses = take->call.outcome.verdict == LIMIT_REFUSE;
    take->is_taken = !refuses;
    if (rule->is_shadow) tally(exchange, rule, refuses ? LIMIT_DECISION_WOULD_REFUSE : LIMIT_DECISION_PASSED);
    if (rule->is_shadow) return true;
    if (!refuses) report(exchange, state, state->next);
    return !refuses;
}

/* Until the latest of the places that rules have given; counts what the others say. */
static uint64_t note_passed(const struct exchange *exchange, const struct rate_limit_state *state)
{
    uint64_t wait_ns = 0;
    for (size_t i = 0; i < state->limits->count; i++) {
        const struct rate_take *take = &state->takes[i];
        const struct rate_rule *rule = &state->limits->rules[i];
        bool waits = take->is_taken && take->call.outcome.verdict == LIMIT_WAIT;
        if (waits && take->call.outcome.wait_ns > wait_ns) wait_ns = take->call.outcome.wait_ns;
        if (take->is_taken && !rule->is_shadow)
            tally(exchange, rule, waits ? LIMIT_DECISION_QUEUED : LIMIT_DECISION_PASSED);
    }
    return wait_ns;
}

static enum filter_result pass(struct exchange *exchange, struct rate_limit_state *state)
{
    uint64_t wait_ns = note_passed(exchange, state);
    if (state->report.rule) exchange->rate_limit_report = rate_limit_least(&state->report, exchange->rate_limit_report);
    if (LIKELY(wait_ns == 0)) {
        state->stage = STAGE_PASSED;
        return FILTER_NEXT;
    }
    state->stage = STAGE_QUEUED;
    gauge_add(waiting_of(exchange, state->limits->counters), 1);
    uint64_t turn_ns = exchange->worker->loop->now_ns + wait_ns;
    exchange_wait(exchange, &state->wait, NULL, (turn_ns + NS_A_MS - 1) / NS_A_MS);
    return FILTER_WAIT;
}

static enum filter_result take_from_next_on(struct exchange *exchange, struct rate_limit_state *state)
{
    struct limiter *limiter = limiter_of(state);
    for (; state->next < state->limits->count; state->next++) {
        struct rate_take *take = &state->takes[state->next];
        if (UNLIKELY(limiter->take(limiter, &take->call) == LIMITER_LATER)) {
            state->stage = STAGE_ASKED;
            exchange_wait(exchange, &state->wait, cancel_asked, exchange->worker->loop->now_ms + LATE_MS);
            return FILTER_WAIT;
        }
        if (!settle(exchange, state)) return refuse(exchange, state, state->next);
    }
    return pass(exchange, state);
}

/* Who counts has answered, or didn't in time: then the rule is as if it were not there. */
static enum filter_result go_on(struct exchange *exchange, struct rate_limit_state *state)
{
    if (exchange_wait_outcome(exchange) == WAIT_DEADLINE) {
        tally(exchange, &state->limits->rules[state->next], LIMIT_DECISION_UNANSWERED);
    } else if (!settle(exchange, state)) {
        return refuse(exchange, state, state->next);
    }
    state->next++;
    return take_from_next_on(exchange, state);
}

/* Somebody has to mend the expression: the request itself goes on as any other. */
static void count_cost_mistakes(const struct exchange *exchange, const struct rate_limit_state *state)
{
    for (size_t i = 0; i < state->limits->count; i++) {
        const char *mistake = state->takes[i].cost_mistake;
        if (UNLIKELY(mistake)) metrics_count_error(exchange->worker->metrics, exchange->worker->index, mistake);
    }
}

static enum filter_result begin(struct exchange *exchange, const struct rate_limits *limits,
                                struct rate_limit_state *state)
{
    size_t refusing;
    if (UNLIKELY(!limits->counters)) return FILTER_NEXT;
    state->limits = limits;
    state->takes = arena_allocate(exchange->arena, limits->count * sizeof *state->takes);
    if (!state->takes || !prepare(exchange, limits, state->takes, &state->wait)) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    count_cost_mistakes(exchange, state);
    if (!look_at_all(state, &refusing)) return refuse(exchange, state, refusing);
    return take_from_next_on(exchange, state);
}

static enum filter_result rate_limit_request(struct exchange *exchange, const void *compiled, void *state)
{
    struct rate_limit_state *own = state;
    if (LIKELY(own->stage == STAGE_BEGIN)) return begin(exchange, compiled, own);
    if (own->stage == STAGE_ASKED) return go_on(exchange, own);
    gauge_add(waiting_of(exchange, own->limits->counters), -1);
    own->stage = STAGE_PASSED;
    return FILTER_NEXT;
}

/* --- the answer, and the end --- */

/* Of both phases' links the one that is asked first tells for both. */
static enum filter_result rate_limit_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    struct rate_limit_report *told = exchange->rate_limit_report;
    if (!told || told->is_written) return FILTER_NEXT;
    told->is_written = true;
    rate_limit_write(exchange, told);
    return FILTER_NEXT;
}

static bool is_place(const struct rate_take *take)
{
    return take->is_taken && take->value->limit.algorithm == LIMIT_CONCURRENCY;
}

static void give_places_back(const struct exchange *exchange, struct rate_limit_state *state)
{
    uint64_t now_ns = limit_counters_time(state->limits->counters, exchange->worker->loop->now_ns);
    for (size_t i = 0; i < state->limits->count; i++) {
        struct rate_take *take = &state->takes[i];
        if (is_place(take)) limiter_of(state)->refund(limiter_of(state), &take->call, now_ns);
        take->is_taken = false;
    }
}

/* The places of a WebSocket, until it is over. The limits that the calls point at are the route's. */
struct held_places {
    struct tunnel_hold hold;
    struct limit_counters *counters;
    size_t count;
    struct limiter_call calls[];
};

static void give_held_places_back(struct tunnel_hold *hold, struct exchange_worker *worker)
{
    struct held_places *places = CONTAINER_OF(hold, struct held_places, hold);
    struct limiter *limiter = places->counters->limiter;
    uint64_t now_ns = limit_counters_time(places->counters, worker->loop->now_ns);
    for (size_t i = 0; i < places->count; i++) limiter->refund(limiter, &places->calls[i], now_ns);
    free(places);
}

static bool rate_limit_tunnel_opens(struct exchange *exchange, void *state, struct tunnel_hold **hold)
{
    struct rate_limit_state *own = state;
    size_t count = 0;
    if (own->stage != STAGE_PASSED) return true;
    for (size_t i = 0; i < own->limits->count; i++) count += is_place(&own->takes[i]);
    if (count == 0) return true;
    struct held_places *places = malloc(sizeof *places + count * sizeof places->calls[0]);
    if (!places) return false;
    *places = (struct held_places){ .hold.release = give_held_places_back, .counters = own->limits->counters };
    for (size_t i = 0; i < own->limits->count; i++) {
        struct rate_take *take = &own->takes[i];
        if (!is_place(take)) continue;
        places->calls[places->count++] = take->call;
        take->is_taken = false;
    }
    *hold = &places->hold;
    return true;
}

static void rate_limit_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct rate_limit_state *own = state;
    switch ((enum rate_stage)own->stage) {
    case STAGE_BEGIN:
    case STAGE_REFUSED: break;
    case STAGE_QUEUED:
        gauge_add(waiting_of(exchange, own->limits->counters), -1);
        give_all_back(own);
        break;
    case STAGE_ASKED: give_all_back(own); break;
    case STAGE_PASSED: give_places_back(exchange, own); break;
    }
}

/* --- explain --- */

static void explain_one(struct explanation *explanation, const struct rate_rule *rule, const struct rate_take *take)
{
    const struct limit_outcome *outcome = &take->call.outcome;
    const char *shadow = rule->is_shadow ? " (it counts only)" : "";
    struct slice limit = take->value->limit_text;
    const char *ever = rate_cost_is_beyond(take->value, take->call.cost) ? ": it can never pass" : "";
    unsigned long long cost = take->call.cost, left = outcome->remaining;
    switch (outcome->verdict) {
    case LIMIT_PASS:
        explanation_add(explanation, "rate limit \"%.*s\"%s lets it pass: it costs %llu and leaves %llu of %.*s",
                        SLICE_PRINT(rule->name), shadow, cost, left, SLICE_PRINT(limit));
        break;
    case LIMIT_WAIT:
        explanation_add(explanation, "rate limit \"%.*s\"%s lets it wait for its turn: %llu ms",
                        SLICE_PRINT(rule->name), shadow, (unsigned long long)(outcome->wait_ns / NS_A_MS));
        break;
    case LIMIT_REFUSE:
        explanation_add(explanation, "rate limit \"%.*s\"%s refuses it: it costs %llu, and %llu of %.*s are left%s",
                        SLICE_PRINT(rule->name), shadow, cost, left, SLICE_PRINT(limit), ever);
        break;
    }
}

static void rate_limit_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct rate_limits *limits = compiled;
    if (!limits->counters) {
        for (size_t i = 0; i < limits->count; i++)
            explanation_add(explanation, "rate limit \"%.*s\" applies; nothing is counted here",
                            SLICE_PRINT(limits->rules[i].name));
        return;
    }
    struct rate_take *takes = arena_allocate(exchange->arena, limits->count * sizeof *takes);
    struct limiter *limiter = limits->counters->limiter;
    if (!takes || !prepare(exchange, limits, takes, NULL)) {
        explanation_add(explanation, "is short of memory");
        return;
    }
    for (size_t i = 0; i < limits->count; i++) {
        takes[i].call.outcome = (struct limit_outcome){ .verdict = LIMIT_PASS,
                                                        .remaining = limits->rules[i].values->limit.burst };
        if (limiter->look) limiter->look(limiter, &takes[i].call);
        explain_one(explanation, &limits->rules[i], &takes[i]);
    }
}
