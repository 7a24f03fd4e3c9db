/* admin/admin.c: a request's way: guard -> endpoint -> query -> body -> answer; and what goes when the exchange ends. */
#include "admin/private.h"

/* "/metrics": people forget that all but the probes is below /admin. Absent: there is no such path either. */
static struct slice path_below_admin(struct admin_request *request, struct slice path)
{
    struct admin_place place;
    struct slice allow = SLICE_ABSENT;
    struct slice below = arena_join(&request->arena, (struct slice[]){ SLICE("/admin"), path }, 2);
    if (slice_is_absent(below) || path.length < 2) return SLICE_ABSENT;
    bool is_there = admin_endpoint_find(&request->arena, below, METHOD_GET, &place, &allow) != NULL;
    return is_there || !slice_is_absent(allow) ? below : SLICE_ABSENT;
}

static const char *hint_for_path(struct admin_request *request, struct slice path)
{
    if (path.length > 1 && slice_ends_with(path, SLICE("/"))) return "leave the slash at the end out";
    struct slice meant = path_below_admin(request, path);
    if (slice_is_absent(meant)) return "GET /admin lists what there is";
    struct excerpt shown = problems_excerpt(meant);
    struct slice words = arena_format(&request->arena, "it is %s", shown.text);
    return slice_is_absent(words) ? NULL : words.at;
}

static enum admin_step refuse_path(struct exchange *exchange, struct admin_request *request, struct slice allow)
{
    struct slice path = exchange->request->target.path;
    if (slice_is_absent(allow)) {
        struct excerpt shown = problems_excerpt(path);
        return admin_refuse(exchange, request, 404, "no-endpoint", hint_for_path(request, path),
                            "the admin API has no path \"%s\"", shown.text);
    }
    if (exchange->request->method == METHOD_OPTIONS) {
        admin_answer_empty(exchange, 204);
    } else {
        struct excerpt shown = problems_excerpt(exchange->request->method_text);
        admin_refuse(exchange, request, 405, "method-not-allowed", NULL, "this path takes %.*s, not %s",
                     SLICE_PRINT(allow), shown.text);
    }
    admin_add_header(exchange, SLICE("Allow"), allow);
    return ADMIN_ANSWERED;
}

/* Which queries are known: a probe of a load balancer may add what it likes. */
static bool query_is_good(struct exchange *exchange, struct admin_request *request)
{
    const struct admin_endpoint *endpoint = request->endpoint;
    struct slice query = endpoint->access == ACCESS_ANYBODY ? SLICE_ABSENT : exchange->request->target.query;
    bool is_list = endpoint->answer == admin_list;
    const char *allowed = is_list ? admin_list_queries(request->place.type) : endpoint->queries;
    admin_query_read(&request->arena, query, allowed, &request->query);
    if (slice_is_absent(request->query.problem)) return true;
    admin_refuse(exchange, request, 400, "bad-query", NULL, "%s", request->query.problem.at);
    return false;
}

/* The guard has let it in. */
static enum admin_step go_on(struct exchange *exchange, struct admin_request *request)
{
    const struct admin_endpoint *endpoint = request->endpoint;
    if (!endpoint) return refuse_path(exchange, request, request->allow);
    if (!query_is_good(exchange, request)) return ADMIN_ANSWERED;
    if (endpoint->body_bytes_max > 0) return admin_body_read(exchange, request);
    return endpoint->answer(exchange, request);
}

void admin_wait(struct exchange *exchange, struct admin_request *request, uint64_t delay_ms,
                enum admin_step (*then)(struct exchange *, struct admin_request *))
{
    request->then = then;
    exchange_wait(exchange, &request->wait, NULL, exchange->worker->loop->now_ms + delay_ms);
}

static bool admin_takes(const struct route_config *route)
{
    (void)route;
    return true; /* its registry has no other */
}

/* On the address for probes there is nothing else, so that it may listen where the API must not. */
static enum admin_step begin(struct exchange *exchange, struct admin_request *request)
{
    bool is_for_anybody = request->endpoint && request->endpoint->access == ACCESS_ANYBODY;
    if (!exchange->stream->peer->only_probes || is_for_anybody) return admin_guard(exchange, request, go_on);
    return admin_refuse(exchange, request, 404, "no-endpoint", NULL, "on this address there are only /live and /ready");
}

/* A body that was refused unread: the session is told now that nobody will take it, so that the answer says whether the connection goes on. */
static void answer(struct exchange *exchange, struct admin_request *request)
{
    struct body_pipe *body = exchange->request_body;
    if (body && !request->body_is_taken && !body_pipe_is_drained(body)) body_pipe_stop(body);
    exchange_answer_prepared(exchange);
}

static void admin_start(struct exchange *exchange, const void *compiled, void *state)
{
    struct admin_request *request = state;
    (void)compiled;
    request->exchange = exchange;
    arena_init(&request->arena, NULL);
    request->endpoint = admin_endpoint_find(&request->arena, exchange->request->target.path, exchange->request->method,
                                            &request->place, &request->allow);
    enum admin_step step = begin(exchange, request);
    if (step == ADMIN_ANSWERED) answer(exchange, request);
}

static void admin_resume(struct exchange *exchange, const void *compiled, void *state)
{
    struct admin_request *request = state;
    (void)compiled;
    if (request->then(exchange, request) == ADMIN_ANSWERED) answer(exchange, request);
}

static void admin_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct admin_request *request = state;
    (void)exchange;
    (void)compiled;
    admin_body_forget(request);
    admin_errand_forget(request);
    admin_listing_forget(request);
    admin_metrics_forget(request);
    admin_text_release(&request->text);
    arena_release(&request->arena);
}

void admin_surroundings_release(struct admin_surroundings *admin)
{
    if (admin->logins) admin_logins_destroy(admin->logins);
    free(admin->openapi);
    admin->logins = NULL;
    admin->openapi = NULL;
}

const struct handler handler_admin = {
    .name = "admin",
    .summary = "Answers the admin API.",
    .state_size = sizeof(struct admin_request),
    .takes = admin_takes,
    .start = admin_start,
    .resume = admin_resume,
    .finish = admin_finish,
};

static const struct filter *const no_filters[] = { NULL };
static const struct handler *const handlers[] = { &handler_admin, NULL };

const struct policy_registry admin_registry = { .filters = no_filters, .handlers = handlers };
