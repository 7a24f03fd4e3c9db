/* admin/state.c: how the gateway is: for load balancers, for people, for Prometheus. */
#include "admin/private.h"
#include "filters/mirror_figures.h"
#include "observe/route_stats.h"

#include <inttypes.h>

static struct admin_health health_now(const struct exchange *exchange)
{
    const struct admin_surroundings *admin = exchange->worker->admin;
    struct admin_health health;
    admin->health(admin->argument, &health);
    return health;
}

/* --- for load balancers: no more than a word --- */

enum admin_step admin_live(struct exchange *exchange, struct admin_request *request)
{
    admin_text_add(&request->text, SLICE("{\"status\":\"live\"}"));
    return admin_answer_json(exchange, request, 200);
}

static const char *status_word(const struct admin_health *health)
{
    if (health->is_draining) return "draining";
    return health->is_serving ? "ready" : "starting";
}

enum admin_step admin_ready(struct exchange *exchange, struct admin_request *request)
{
    struct admin_health health = health_now(exchange);
    bool is_ready = health.is_serving && !health.is_draining;
    admin_text_format(&request->text, "{\"status\":\"%s\"}", status_word(&health));
    return admin_answer_json(exchange, request, is_ready ? 200 : 503);
}

/* --- /admin --- */

enum admin_step admin_index(struct exchange *exchange, struct admin_request *request)
{
    struct admin_text *text = &request->text;
    admin_text_add(text, SLICE("{\"name\":\"sluice\",\"version\":\"" SLUICE_VERSION "\",\"endpoints\":["));
    for (size_t i = 0; i < admin_endpoint_count; i++) {
        const struct admin_endpoint *endpoint = &admin_endpoints[i];
        admin_text_format(text, "%s{\"method\":\"%.*s\",\"path\":\"%s\",\"summary\":", i ? ",\n" : "\n",
                          SLICE_PRINT(method_name(endpoint->method)), endpoint->path);
        admin_text_add_string(text, slice_from_cstring(endpoint->summary));
        admin_text_add(text, SLICE("}"));
    }
    admin_text_add(text, SLICE("],\"kinds\":["));
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        admin_text_format(text, "%s\"%s\"", kind ? "," : "", resource_types[kind].path);
    }
    admin_text_add(text, SLICE("]}"));
    return admin_answer_json(exchange, request, 200);
}

/* --- /admin/health --- */

static void write_store(struct admin_text *text, struct changes *changes, uint64_t now_ms, bool *is_there)
{
    struct changes_health health;
    changes_health(changes, &health);
    *is_there = health.store_is_there;
    admin_text_add_key(text, "store");
    admin_text_add(text, SLICE("{"));
    admin_text_add_key(text, "location"), admin_text_add_string(text, slice_from_cstring(health.store));
    admin_text_add_key(text, "available"), admin_text_format(text, "%s", health.store_is_there ? "true" : "false");
    admin_text_add_key(text, "revision"), admin_text_format(text, "%" PRIu64, health.revision);
    if (!health.store_is_there) {
        uint64_t away_ms = health.behind_since_ms && now_ms > health.behind_since_ms ? now_ms - health.behind_since_ms
                                                                                     : 0;
        admin_text_add_key(text, "problem"), admin_text_add_string(text, slice_from_cstring(health.problem));
        admin_text_add_key(text, "awayForMs"), admin_text_format(text, "%" PRIu64, away_ms);
    }
    admin_text_add_key(text, "fromLocalCopy"), admin_text_format(text, "%s", health.from_copy ? "true" : "false");
    admin_text_add(text, SLICE("}"));
}

static void write_process(struct admin_text *text, const struct admin_health *health)
{
    admin_text_add_key(text, "version"), admin_text_add(text, SLICE("\"" SLUICE_VERSION "\""));
    admin_text_add_key(text, "uptimeSeconds"), admin_text_format(text, "%" PRIu64, health->uptime_ms / 1000);
    admin_text_add_key(text, "workers");
    admin_text_format(text, "{\"configured\":%u,\"alive\":%u}", health->workers, health->workers_alive);
    admin_text_add_key(text, "snapshot");
    admin_text_format(text, "{\"version\":%" PRIu64 ",\"routes\":%" PRIu64 "}", health->snapshot_version,
                      health->routes);
    admin_text_add_key(text, "instances");
    admin_text_format(text, "{\"up\":%u,\"down\":%u,\"unknown\":%u}", health->instances_up, health->instances_down,
                      health->instances_unknown);
    admin_text_add_key(text, "connections"), admin_text_format(text, "%" PRId64, health->connections);
    admin_text_add_key(text, "requestsInFlight"), admin_text_format(text, "%" PRId64, health->requests_in_flight);
}

static void write_gateways(struct admin_text *text, const struct admin_surroundings *admin)
{
    char *gateways = admin->gateways ? admin->gateways(admin->argument) : NULL;
    if (!gateways) return;
    admin_text_add_key(text, "gateways"), admin_text_add(text, slice_from_cstring(gateways));
    free(gateways);
}

enum admin_step admin_health_get(struct exchange *exchange, struct admin_request *request)
{
    const struct admin_surroundings *admin = exchange->worker->admin;
    struct admin_health health = health_now(exchange);
    struct admin_text inside = { 0 }, *text = &request->text;
    bool store_is_there = true;
    write_process(&inside, &health);
    if (admin->changes) write_store(&inside, admin->changes, exchange->worker->loop->now_ms, &store_is_there);
    write_gateways(&inside, admin);
    bool is_whole = store_is_there && health.workers_alive == health.workers;
    const char *word = status_word(&health);
    if (health.is_serving && !health.is_draining) word = is_whole ? "ok" : "degraded";
    admin_text_format(text, "{\"status\":\"%s\",", word);
    admin_text_add(text, admin_text_slice(&inside));
    admin_text_add(text, SLICE("}"));
    admin_text_release(&inside);
    return admin_answer_json(exchange, request, 200);
}

/* --- /admin/metrics, /admin/openapi.json --- */

/* Its text is made while it is sent: a scrape of 10,000 routes holds no more than one of ten. */
enum admin_step admin_metrics(struct exchange *exchange, struct admin_request *request)
{
    admin_answer_text(exchange, request, 200, METRICS_CONTENT_TYPE);
    exchange->own_response.body_length = BODY_LENGTH_UNKNOWN;
    if (exchange->request->method == METHOD_HEAD) return ADMIN_ANSWERED;
    body_pipe_init(&request->metrics_pipe, exchange->worker->loop, BODY_LENGTH_UNKNOWN);
    request->has_metrics = true;
    metrics_body_start(&request->metrics, exchange->worker->admin->metrics, &request->metrics_pipe,
                       exchange->worker->slabs);
    exchange->own_response.has_body = true;
    exchange->response_body = &request->metrics_pipe;
    return ADMIN_ANSWERED;
}

void admin_metrics_forget(struct admin_request *request)
{
    if (!request->has_metrics) return;
    metrics_body_stop(&request->metrics);
    body_pipe_release(&request->metrics_pipe);
}

/* The same for the process's life, and some milliseconds to make. */
static struct slice openapi_text(struct admin_surroundings *admin)
{
    if (!admin->openapi) admin->openapi = openapi_write(admin->kinds);
    return slice_from_cstring(admin->openapi);
}

enum admin_step admin_openapi(struct exchange *exchange, struct admin_request *request)
{
    (void)request;
    exchange_respond(exchange, 200, SLICE("application/json"), openapi_text(exchange->worker->admin));
    admin_add_header(exchange, SLICE("Cache-Control"), SLICE("no-cache"));
    return ADMIN_ANSWERED;
}

/* --- /admin/routes/{id}/stats --- */

static void write_milliseconds(struct admin_text *text, const char *key, uint64_t microseconds)
{
    admin_text_add_key(text, key);
    admin_text_format(text, "%" PRIu64 ".%03u", microseconds / 1000, (unsigned)(microseconds % 1000));
}

static void write_window(struct admin_text *text, const struct route_stats *stats, enum stats_window window)
{
    static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
    admin_text_add(text, SLICE("{"));
    admin_text_add_key(text, "spanMs"), admin_text_format(text, "%" PRIu64, stats->windows[window].span_ms);
    admin_text_add_key(text, "requests"), admin_text_format(text, "%" PRIu64, stats->windows[window].requests);
    admin_text_add_key(text, "byStatusClass");
    admin_text_add(text, SLICE("{"));
    for (size_t i = 0; i < COUNT_OF(classes); i++) {
        admin_text_add_key(text, classes[i]);
        admin_text_format(text, "%" PRIu64, stats->windows[window].by_class[i]);
    }
    admin_text_add(text, SLICE("}"));
    admin_text_add_key(text, "latencyMs");
    admin_text_add(text, SLICE("{"));
    write_milliseconds(text, "p50", stats->windows[window].latency_us_p50);
    write_milliseconds(text, "p90", stats->windows[window].latency_us_p90);
    write_milliseconds(text, "p99", stats->windows[window].latency_us_p99);
    write_milliseconds(text, "max", stats->windows[window].latency_us_max);
    admin_text_add(text, SLICE("}"));
    admin_text_add_key(text, "bytesIn"), admin_text_format(text, "%" PRIu64, stats->windows[window].bytes_in);
    admin_text_add_key(text, "bytesOut"), admin_text_format(text, "%" PRIu64, stats->windows[window].bytes_out);
    admin_text_add_key(text, "upstreamErrors");
    admin_text_format(text, "%" PRIu64, stats->windows[window].upstream_errors);
    admin_text_add(text, SLICE("}"));
}

static enum admin_step show_stats(struct exchange *exchange, struct admin_request *request,
                                  const struct catalog_entry *route)
{
    static const char *const windows[STATS_WINDOWS] = { "1m", "5m", "total" };
    struct route_stats stats = { 0 };
    struct admin_text *text = &request->text;
    metrics_read_route_stats(exchange->worker->admin->metrics, route->name, exchange->worker->loop->now_ns, &stats);
    admin_text_add(text, SLICE("{"));
    admin_text_add_key(text, "id"), admin_text_add_string(text, route->id);
    admin_text_add_key(text, "name"), admin_text_add_string(text, route->name);
    admin_text_add_key(text, "windows");
    admin_text_add(text, SLICE("{"));
    for (int window = 0; window < STATS_WINDOWS; window++) {
        admin_text_add_key(text, windows[window]), write_window(text, &stats, (enum stats_window)window);
    }
    admin_text_add(text, SLICE("}}"));
    return admin_answer_json(exchange, request, 200);
}

enum admin_step admin_route_stats(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = admin_changes(exchange, request);
    if (!changes) return ADMIN_ANSWERED;
    struct catalog_entry *route = admin_find_entry(exchange, request, changes);
    if (!route) return ADMIN_ANSWERED;
    enum admin_step step = show_stats(exchange, request, route);
    catalog_entry_drop(route);
    return step;
}

/* --- /admin/routes/{id}/mirror --- */

static enum admin_step show_mirror(struct exchange *exchange, struct admin_request *request,
                                   const struct catalog_entry *route)
{
    struct mirrors *mirrors = exchange->worker->admin->mirrors;
    char *text = mirrors ? mirrors_describe(mirrors, route->id) : NULL;
    if (!text)
        return admin_refuse(exchange, request, 404, "no-mirror", "a mirror is a policy of kind \"mirror\"",
                            "the route mirrors nothing");
    admin_text_add(&request->text, slice_from_cstring(text));
    free(text);
    return admin_answer_json(exchange, request, 200);
}

enum admin_step admin_route_mirror(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = admin_changes(exchange, request);
    if (!changes) return ADMIN_ANSWERED;
    struct catalog_entry *route = admin_find_entry(exchange, request, changes);
    if (!route) return ADMIN_ANSWERED;
    enum admin_step step = show_mirror(exchange, request, route);
    catalog_entry_drop(route);
    return step;
}
