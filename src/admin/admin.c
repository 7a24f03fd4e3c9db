/* admin/admin.c: the internal listener's one handler: finds the endpoint of a path, checks the method, answers. */
#include "admin/admin.h"

#include "exchange/exchange.h"

#include <stdlib.h>

struct admin {
    char *text; /* malloc'ed body of the answer; freed at the exchange's end */
};

struct admin_endpoint {
    const char *path;
    void (*answer)(struct exchange *, struct admin *);
};

static void answer_metrics(struct exchange *exchange, struct admin *admin)
{
    size_t length;
    admin->text = metrics_render(exchange->worker->rendered_metrics, &length);
    exchange_respond(exchange, 200, SLICE("text/plain; version=0.0.4; charset=utf-8"), slice_of(admin->text, length));
}

static const struct admin_endpoint endpoints[] = {
    { "/admin/metrics", answer_metrics },
};

static const struct admin_endpoint *find_endpoint(struct slice path)
{
    for (size_t i = 0; i < COUNT_OF(endpoints); i++) {
        if (slice_equal(path, slice_from_cstring(endpoints[i].path))) return &endpoints[i];
    }
    return NULL;
}

static bool admin_takes(const struct route_config *route)
{
    (void)route;
    return true; /* its registry has no other */
}

static void admin_start(struct exchange *exchange, const void *compiled, void *state)
{
    (void)compiled;
    const struct admin_endpoint *endpoint = find_endpoint(exchange->request->target.path);
    enum method method = exchange->request->method;
    if (!endpoint) {
        exchange_respond_problem(exchange, 404, "no-endpoint", SLICE_ABSENT,
                                 "the admin API has no such path; try /admin/metrics");
    } else if (method != METHOD_GET && method != METHOD_HEAD) {
        exchange_respond_problem(exchange, 405, "method-not-allowed", SLICE_ABSENT, "this path takes GET");
        if (!headers_add(&exchange->own_response.headers, SLICE("Allow"), SLICE("GET, HEAD")))
            exchange->own_response.status = 503;
    } else {
        endpoint->answer(exchange, state);
    }
    exchange_answer_prepared(exchange);
}

static void admin_finish(struct exchange *exchange, const void *compiled, void *state)
{
    (void)exchange;
    (void)compiled;
    struct admin *admin = state;
    free(admin->text);
}

const struct handler handler_admin = {
    .name = "admin",
    .summary = "Answers the admin API.",
    .state_size = sizeof(struct admin),
    .takes = admin_takes,
    .start = admin_start,
    .finish = admin_finish,
};

static const struct filter *const no_filters[] = { NULL };
static const struct handler *const handlers[] = { &handler_admin, NULL };

const struct policy_registry admin_registry = { .filters = no_filters, .handlers = handlers };
