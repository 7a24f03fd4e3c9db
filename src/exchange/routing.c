/* exchange/routing.c: the route step's search: which route takes the request, and what is said where none does. */
#include "exchange/private.h"
#include "exchange/variables.h"

/* A value that can't be reckoned with doesn't hold. But that a bound was met says nothing of the route, and a stranger could meet it on purpose
 * to get to another one: then no route is chosen. */
static void note_failure(struct route_judging *judging, enum expression_outcome outcome)
{
    const struct exchange_worker *worker = judging->exchange->worker;
    metrics_count_error(worker->metrics, worker->index, "predicate-error");
    judging->is_too_costly |= outcome == EXPRESSION_TOO_COSTLY;
    judging->is_short_of_memory |= outcome == EXPRESSION_OUT_OF_MEMORY;
}

static bool refuses_unjudged(const struct route_judging *judging)
{
    if (judging->is_short_of_memory) {
        exchange_respond_problem(judging->exchange, 503, "out-of-memory", SLICE_ABSENT,
                                 "the gateway is short of memory");
    } else if (judging->is_too_costly) {
        exchange_respond_problem(judging->exchange, 400, "predicate-error", SLICE_ABSENT,
                                 "what the request brings is too much for a route's predicates");
    }
    return judging->is_short_of_memory || judging->is_too_costly;
}

/* What a route asks beyond what the router knows. */
static bool is_judged_well(void *argument, void *target, const struct route_captures *captures)
{
    struct route_judging *judging = argument;
    const struct compiled_route *route = target;
    if (!slice_is_absent(route->version) && !version_fits(judging, route)) return false;
    for (uint32_t i = 0; i < route->predicate_count; i++) {
        enum expression_outcome outcome;
        bool holds = exchange_holds(judging->exchange, captures, route->predicates[i], &outcome);
        if (UNLIKELY(outcome != EXPRESSION_DONE && outcome != EXPRESSION_ABSENT)) note_failure(judging, outcome);
        if (!holds) return false;
    }
    return true;
}

static enum route_result find_route(struct route_judging *judging, enum method method, struct slice method_text)
{
    struct exchange *exchange = judging->exchange;
    struct exchange_worker *worker = exchange->worker;
    const struct route_judge judge = { is_judged_well, judging };
    judging->api = judging->refused_api = NULL;
    judging->is_unknown = false;
    judging->offered_count = 0;
    return router_match(exchange->pin->snapshot->router, worker->router_scratch, exchange->request, method, method_text,
                        &judge, exchange->arena, &exchange->match);
}

/* A CORS preflight (Fetch standard, 4.8) asks for another method; only a route with a cors filter answers it as one. */
static bool find_preflight_route(struct route_judging *judging)
{
    struct exchange *exchange = judging->exchange;
    const struct headers *headers = &exchange->request->headers;
    if (exchange->request->method != METHOD_OPTIONS || !headers_find_known(headers, HEADER_ORIGIN)) return false;
    struct slice asked = headers_value(headers, HEADER_ACCESS_CONTROL_REQUEST_METHOD);
    if (slice_is_absent(asked)) return false;
    judging->is_preflight = true;
    enum route_result result = find_route(judging, method_find(asked), asked);
    judging->is_preflight = false;
    if (result != ROUTE_FOUND) return false;
    const struct compiled_route *route = exchange->match.target;
    exchange->preflight = route->chain->cors_at != 0;
    return exchange->preflight;
}

static void respond_method_not_allowed(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 405, "method-not-allowed", SLICE_ABSENT,
                             "no route of this path takes the method; see Allow");
    if (!headers_set(&exchange->own_response.headers, SLICE("Allow"), exchange->match.allow)) {
        exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    }
}

bool routing_find(struct exchange *exchange)
{
    enum route_result result = ROUTE_FOUND;
    struct route_judging judging;
    judging.exchange = exchange; /* the rest is set as it is needed */
    judging.is_preflight = judging.is_unknown = judging.is_too_costly = judging.is_short_of_memory = false;
    if (!find_preflight_route(&judging))
        result = find_route(&judging, exchange->request->method, exchange->request->method_text);
    if (UNLIKELY(exchange->match.regex_limit_hit))
        metrics_count_error(exchange->worker->metrics, exchange->worker->index, "regex-limit");
    if (UNLIKELY(refuses_unjudged(&judging))) return false;
    if (LIKELY(result == ROUTE_FOUND && !judging.is_unknown)) return true;
    if (version_refuses(&judging, result, exchange->match.target)) return false;
    if (result == ROUTE_NONE)
        exchange_respond_problem(exchange, 404, "no-route", SLICE_ABSENT, "no route matches this host and path");
    else if (result == ROUTE_METHOD_NOT_ALLOWED)
        respond_method_not_allowed(exchange);
    return result == ROUTE_FOUND;
}
