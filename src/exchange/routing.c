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

static enum route_result find_route(struct route_judging *judging)
{
    struct exchange *exchange = judging->exchange;
    struct exchange_worker *worker = exchange->worker;
    const struct route_judge judge = { is_judged_well, judging };
    judging->api = judging->refused_api = NULL;
    judging->is_unknown = false;
    judging->offered_count = 0;
    judging->judged_count = 0;
    return router_match(exchange->pin->snapshot->router, worker->router_scratch, exchange->request, judging->method,
                        judging->method_text, &judge, exchange->arena, &exchange->match);
}

static void begin(struct route_judging *judging, struct exchange *exchange, enum method method,
                  struct slice method_text)
{
    judging->exchange = exchange;
    judging->method = method;
    judging->method_text = method_text;
    judging->is_preflight = judging->wants_cors = false;
}

/* Predicates see the request as it would be, so its path is another one meanwhile. */
const struct compiled_route *routing_try_path(const struct route_judging *judging, struct slice path)
{
    struct exchange *exchange = judging->exchange;
    struct slice *place = &exchange->request->target.path, asked = *place;
    struct route_match match = exchange->match;
    struct route_judging trial;
    begin(&trial, exchange, judging->method, judging->method_text);
    trial.is_too_costly = trial.is_short_of_memory = false;
    *place = path;
    const struct compiled_route *route = find_route(&trial) == ROUTE_FOUND ? exchange->match.target : NULL;
    *place = asked;
    exchange->match = match;
    return route;
}

static bool answers_preflight(const struct exchange *exchange, enum route_result result)
{
    const struct compiled_route *route = exchange->match.target;
    return result == ROUTE_FOUND && route->chain->cors_at != 0;
}

/* A CORS preflight (Fetch standard, 4.8) asks for another method; only a route with a cors filter answers it as one. Where its request may be of
 * several versions and the first one's route has none, that of another version's route answers; a route without version never does in its place. */
static bool find_preflight_route(struct route_judging *judging, struct exchange *exchange)
{
    const struct headers *headers = &exchange->request->headers;
    if (exchange->request->method != METHOD_OPTIONS || !headers_find_known(headers, HEADER_ORIGIN)) return false;
    struct slice asked = headers_value(headers, HEADER_ACCESS_CONTROL_REQUEST_METHOD);
    if (slice_is_absent(asked)) return false;
    begin(judging, exchange, method_find(asked), asked);
    judging->is_preflight = true;
    enum route_result result = find_route(judging);
    if (result != ROUTE_FOUND) return false;
    const struct compiled_route *route = exchange->match.target;
    exchange->preflight = answers_preflight(exchange, result);
    if (exchange->preflight || slice_is_absent(route->version)) return exchange->preflight;
    judging->wants_cors = true;
    exchange->preflight = answers_preflight(exchange, find_route(judging)) &&
                          !slice_is_absent(((const struct compiled_route *)exchange->match.target)->version);
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

static enum route_result find_plain_route(struct route_judging *judging, struct exchange *exchange)
{
    begin(judging, exchange, exchange->request->method, exchange->request->method_text);
    return find_route(judging);
}

static void respond_none(struct exchange *exchange, enum route_result result)
{
    if (result == ROUTE_METHOD_NOT_ALLOWED)
        respond_method_not_allowed(exchange);
    else
        exchange_respond_problem(exchange, 404, "no-route", SLICE_ABSENT, "no route matches this host and path");
}

/* What there is to say of versions, once a route was asked for its one. */
static bool take_notice(const struct route_judging *judging, const struct compiled_route *route)
{
    if (version_take_notice(judging, route)) return route != NULL;
    exchange_respond_problem(judging->exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    return false;
}

bool routing_find(struct exchange *exchange)
{
    enum route_result result = ROUTE_FOUND;
    struct route_judging judging; /* the rest is set as it is needed */
    judging.is_too_costly = judging.is_short_of_memory = false;
    if (!find_preflight_route(&judging, exchange)) result = find_plain_route(&judging, exchange);
    if (UNLIKELY(exchange->match.regex_limit_hit))
        metrics_count_error(exchange->worker->metrics, exchange->worker->index, "regex-limit");
    if (UNLIKELY(refuses_unjudged(&judging))) return false;
    const struct compiled_route *route = exchange->match.target;
    bool has_versions = exchange->pin->snapshot->settings->api_versions.count > 0;
    if (UNLIKELY(has_versions) && version_refuses(&judging, result, route)) {
        route = NULL;
    } else if (UNLIKELY(result != ROUTE_FOUND)) {
        respond_none(exchange, result);
    }
    if (LIKELY(!judging.api)) return route != NULL;
    return take_notice(&judging, route);
}
