/* proxy: sends the request to the route's service and its answer back.
 *
 * Start: the head is made fit for the next hop (hop-by-hop fields out, forwarding fields and identity in; DESIGN 11), then one
 * primary call. Head: the answer is cleaned likewise and given to the exchange; the body streams on between the two
 * sessions' pipes without this file. A request for a WebSocket asks for it upstream; a 101 opens a tunnel, whatever else comes is an
 * ordinary answer. State: the call, in the exchange's arena. RFC 9110 7.6. */
#include "handlers/handlers.h"
#include "handlers/private.h"
#include "http/websocket.h"

#include "exchange/sub_request.h"
#include "http/grpc.h"
#include "http/our_names.h"

struct proxy {
    struct upstream_call call;
    struct task task;
    struct exchange *exchange;
    struct call_plan plan;
    struct body_trailer_rule request_trailers, response_trailers;
    bool upgrade;
};

static bool proxy_takes(const struct route_config *route)
{
    return !slice_is_absent(route->service_id) || route->has_split;
}

/* --- the request on its way out --- */

static bool set_forwarded_for(struct exchange *exchange)
{
    struct headers *headers = &exchange->request->headers;
    const struct peer *peer = exchange->stream->peer;
    struct slice hop = slice_of(peer->ip_text, peer->ip_length);
    if (!exchange->from_trusted_proxy) return headers_set_known(headers, HEADER_X_FORWARDED_FOR, hop);
    struct slice before = headers_combined(headers, HEADER_X_FORWARDED_FOR);
    if (slice_is_absent(before)) return headers_set_known(headers, HEADER_X_FORWARDED_FOR, hop);
    struct slice joined = arena_join(exchange->arena, (struct slice[]){ before, SLICE(", "), hop }, 3);
    return !slice_is_absent(joined) && headers_set_known(headers, HEADER_X_FORWARDED_FOR, joined);
}

/* From a trusted proxy a value that is there already stays. */
static bool set_forwarded(struct exchange *exchange, enum header_id id, struct slice value)
{
    struct headers *headers = &exchange->request->headers;
    if (exchange->from_trusted_proxy && headers_find_known(headers, id)) return true;
    if (slice_is_absent(value)) {
        headers_remove_known(headers, id);
        return true;
    }
    return headers_set_known(headers, id, value);
}

/* A client's own copy never passes. */
static bool set_identity(struct headers *headers, enum header_id id, struct slice value)
{
    headers_remove_known(headers, id);
    return slice_is_absent(value) || headers_add_known(headers, id, value);
}

/* Of a proxy's words only the client's: what a policy of ours says is not forged. */
static bool is_forged(const struct header *header, bool from_trusted_proxy)
{
    return header_name_is_ours(header->name) ||
           (!from_trusted_proxy && header->from_wire && header_name_is_a_proxys(header->name));
}

/* Those with an id are set anew one by one. */
static void remove_forged(struct headers *headers, bool from_trusted_proxy)
{
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (header->id != HEADER_OTHER || (header->name.at[0] | 0x20) != 'x') continue;
        if (is_forged(header, from_trusted_proxy)) headers_remove_one(headers, header);
    }
}

static bool set_certificate(struct headers *headers, const struct peer_certificate *certificate)
{
    if (LIKELY(!certificate)) return true;
    return headers_add(headers, SLICE("X-Client-Certificate-Subject"), certificate->subject) &&
           headers_add(headers, SLICE("X-Client-Certificate-Fingerprint"), certificate->fingerprint) &&
           (certificate->alternatives.length == 0 ||
            headers_add(headers, SLICE("X-Client-Certificate-San"), certificate->alternatives));
}

/* The time that is left goes along; that it is over is told before anybody is asked. */
static bool is_too_late(const struct exchange *exchange)
{
    return exchange->grpc_timeout_ms != UINT64_MAX && exchange->worker->loop->now_ms >= exchange_deadline_ms(exchange);
}

static bool set_grpc_timeout(struct exchange *exchange)
{
    if (LIKELY(exchange->grpc_timeout_ms == UINT64_MAX)) return true;
    uint64_t gone_ms = exchange->worker->loop->now_ms - exchange->begun_ns / 1000000;
    char *text = arena_allocate(exchange->arena, GRPC_TIMEOUT_BYTES_MAX);
    if (!text) return false;
    size_t length = grpc_timeout_write(exchange->grpc_timeout_ms - gone_ms, text);
    return headers_set(&exchange->request->headers, SLICE("grpc-timeout"), slice_of(text, length));
}

static struct slice via(enum http_version received)
{
    switch (received) {
    case HTTP_1_0: return SLICE("1.0 sluice");
    case HTTP_2: return SLICE("2 sluice");
    default: return SLICE("1.1 sluice");
    }
}

static bool prepare_request(struct exchange *exchange)
{
    struct headers *headers = &exchange->request->headers;
    headers_remove_hop_by_hop(headers);
    remove_forged(headers, exchange->from_trusted_proxy);
    if (!exchange->from_trusted_proxy) headers_remove_sent_known(headers, HEADER_FORWARDED);
    if (!exchange->request->expects_continue)
        headers_remove_known(headers, HEADER_EXPECT); /* HTTP/1.0: RFC 9110 10.1.1 */
    return set_forwarded_for(exchange) &&
           set_forwarded(exchange, HEADER_X_FORWARDED_HOST, exchange->request->authority) &&
           set_forwarded(exchange, HEADER_X_FORWARDED_PROTO,
                         exchange->stream->peer->tls ? SLICE("https") : SLICE("http")) &&
           headers_set_known(headers, HEADER_X_REQUEST_ID, exchange->request_id) &&
           set_identity(headers, HEADER_X_AUTHENTICATED_USER, exchange->identity.user_id) &&
           set_identity(headers, HEADER_X_CLIENT_ID, exchange->identity.client_id) &&
           set_certificate(headers, exchange->stream->peer->certificate) && set_grpc_timeout(exchange) &&
           headers_add_known(headers, HEADER_VIA, via(exchange->request->version));
}

/* Nothing of ours is written there, and no proxy is trusted to: it speaks in heads. Nor does a client under a name that a policy has spoken
 * under, taken off or judged. */
static void clean_request_trailers(const struct body_trailer_rule *rule, struct headers *trailers)
{
    const struct exchange *exchange = CONTAINER_OF(rule, struct proxy, request_trailers)->exchange;
    headers_remove_hop_by_hop(trailers);
    headers_remove_known(trailers, HEADER_FORWARDED);
    for (struct header *field = headers_next(trailers, NULL); field; field = headers_next(trailers, field)) {
        if (is_forged(field, false) || exchange_guards(exchange, field->name)) headers_remove_one(trailers, field);
    }
}

static struct slice upstream_target(const struct exchange *exchange)
{
    if (slice_is_absent(exchange->upstream_query)) return exchange->upstream_path;
    const struct slice path = exchange->upstream_path, query = exchange->upstream_query;
    /* Most often both still stand side by side in what the client sent. */
    if (query.at == path.at + path.length + 1 && path.at[path.length] == '?') {
        return slice_of(path.at, path.length + 1 + query.length);
    }
    return arena_join(exchange->arena, (struct slice[]){ path, SLICE("?"), query }, 3);
}

static bool is_repeatable(const struct exchange *exchange)
{
    return method_is_idempotent(exchange->request->method) || exchange->route->idempotent ||
           headers_find_known(&exchange->request->headers, HEADER_IDEMPOTENCY_KEY) != NULL;
}

/* For the service to be told: the connection's ends, which a proxy in front may have told us. */
static void find_ends(const struct exchange *exchange, struct call_plan *plan)
{
    const struct peer *peer = exchange->stream->peer;
    plan->source = peer->address;
    plan->destination = peer->destination;
    bool is_known = plan->destination.any.sa_family != AF_UNSPEC ||
                    socket_local_address(peer->descriptor, &plan->destination);
    if (!is_known) plan->destination = (struct address){ .any.sa_family = peer->address.any.sa_family };
}

static void make_plan(struct exchange *exchange, struct slice target, struct call_plan *plan)
{
    const struct compiled_route *route = exchange->route;
    *plan = (struct call_plan){
        .kind = CALL_PRIMARY,
        .service = exchange->service,
        .request = exchange->request,
        .target = target,
        .host_of_instance = !route->preserve_host ||
                            exchange->request->authority.length == 0, /* HTTP/1.0 may name none */
        .body = exchange->request_body,
        .arena = exchange->arena,
        .deadline_ms = exchange_deadline_ms(exchange),
        .try_timeout_ms = route->try_timeout_ms,
        .idle_timeout_ms = route->idle_timeout_ms,
        .retry_count = route->retry_count,
        .retry_on = route->retry_on,
        .retry_buffer_bytes = route->retry_buffer_bytes,
        .repeatable = is_repeatable(exchange),
        .wait_for_continue = exchange->request->expects_continue,
    };
    if (exchange->service->algorithm == LB_IP_HASH) plan->client_hash = exchange_client_hash(exchange);
    if (UNLIKELY(exchange->service->transport->proxy_protocol != 0)) find_ends(exchange, plan);
}

static void fail_for_memory(struct exchange *exchange)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "out of memory for a head");
    exchange_fail(exchange, &error);
}

/* --- Max-Forwards (RFC 9110 7.6.2) --- */

/* What the path's routes take. Where they take everything, what has a meaning for everyone. Absent: memory is short. */
static struct slice methods_of_path(struct exchange *exchange)
{
    static const struct slice all = SLICE("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    struct exchange_worker *worker = exchange->worker;
    struct route_match match;
    if (!exchange->pin) return all;
    enum route_result result = router_match(exchange->pin->snapshot->router, worker->router_scratch, exchange->request,
                                            METHOD_OTHER, SLICE("NONE"), NULL, exchange->arena, &match);
    return result == ROUTE_METHOD_NOT_ALLOWED ? match.allow : all;
}

/* The gateway is the last that is asked: OPTIONS gets what it knows, TRACE nothing, as it would show credentials to scripts. */
static void answer_as_last(struct exchange *exchange)
{
    struct slice methods = methods_of_path(exchange);
    if (exchange->request->method == METHOD_OPTIONS)
        exchange_respond(exchange, 204, SLICE_ABSENT, SLICE_ABSENT);
    else
        exchange_respond_problem(exchange, 405, "method-not-allowed", SLICE_ABSENT,
                                 "the gateway itself takes no TRACE, and Max-Forwards lets nobody else be asked");
    if (slice_is_absent(methods) || !headers_set(&exchange->own_response.headers, SLICE("Allow"), methods)) {
        fail_for_memory(exchange);
        return;
    }
    exchange_answer_prepared(exchange);
}

/* The least of what is said, if it says a number. */
static bool find_max_forwards(const struct exchange *exchange, uint64_t *hops)
{
    bool found = false;
    struct header *field = headers_find(&exchange->request->headers, SLICE("Max-Forwards"));
    for (; field; field = headers_find_next(&exchange->request->headers, field)) {
        uint64_t said;
        if (!slice_parse_uint64(field->value, &said)) continue;
        if (!found || said < *hops) *hops = said;
        found = true;
    }
    return found;
}

/* True: the request goes no further. */
static bool ends_here(struct exchange *exchange)
{
    uint64_t hops;
    if (!find_max_forwards(exchange, &hops)) return false;
    if (hops == 0) {
        answer_as_last(exchange);
        return true;
    }
    struct slice text = arena_format(exchange->arena, "%llu", (unsigned long long)(hops - 1));
    if (!slice_is_absent(text) && headers_set(&exchange->request->headers, SLICE("Max-Forwards"), text)) return false;
    fail_for_memory(exchange);
    return true;
}

/* --- the answer on its way back --- */

static void clean_response_trailers(const struct body_trailer_rule *rule, struct headers *trailers)
{
    exchange_hide_fields(CONTAINER_OF(rule, struct proxy, response_trailers)->exchange, trailers);
}

static void tell_outcome(struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    const struct upstream_call *call = &proxy->call;
    if (call->instance) exchange->instance_name = slice_from_cstring(call->instance->name);
    if (call->head_ns) exchange->upstream_ns = call->head_ns - call->started_ns;
    if (call->error.reason && exchange->answered) exchange->error = call->error; /* the body broke off: for the log */
}

static void pass_interim_on(struct proxy *proxy)
{
    while (proxy->call.interim) {
        struct interim_response *interim = proxy->call.interim;
        proxy->call.interim = interim->next;
        exchange_hide_fields(proxy->exchange, &interim->head.headers);
        exchange_interim(proxy->exchange, &interim->head);
    }
}

static void answer_upgraded(struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    struct response_head *response = proxy->call.response;
    struct error error;
    if (!websocket_check_answer(exchange->request, response, &error)) {
        exchange_fail(exchange, &error);
        return;
    }
    exchange_hide_fields(exchange, &response->headers);
    if (websocket_ask(&response->headers))
        exchange_answer_upgraded(exchange, response, &proxy->call);
    else
        fail_for_memory(exchange);
}

/* What stands between (a proxy's page of HTML, say) is told to who asks in gRPC as the status of gRPC that it means. */
static bool is_foreign_to_grpc(const struct exchange *exchange, const struct response_head *response)
{
    struct slice message;
    return exchange->is_grpc && !grpc_type_parse(headers_value(&response->headers, HEADER_CONTENT_TYPE), &message);
}

static void fail_as_foreign(struct exchange *exchange, const struct response_head *response)
{
    struct error error;
    error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, response->status, "not-grpc",
              "service \"%s\": an answer with HTTP status %u that is not gRPC", exchange->service->name,
              response->status);
    exchange_fail(exchange, &error);
}

static void proxy_task(struct task *task)
{
    struct proxy *proxy = CONTAINER_OF(task, struct proxy, task);
    struct exchange *exchange = proxy->exchange;
    struct upstream_call *call = &proxy->call;
    tell_outcome(proxy);
    if (exchange->answered) return;
    pass_interim_on(proxy);
    if (call->events & CALL_HEAD && call->response->status == 101) {
        answer_upgraded(proxy);
    } else if (call->events & CALL_HEAD && UNLIKELY(is_foreign_to_grpc(exchange, call->response))) {
        fail_as_foreign(exchange, call->response);
    } else if (call->events & CALL_HEAD) {
        exchange_hide_fields(exchange, &call->response->headers);
        if (call->response_body) body_pipe_set_trailer_rule(call->response_body, &proxy->response_trailers);
        exchange_answer(exchange, call->response, call->response_body);
    } else if (call->events & CALL_DONE) {
        exchange_fail(exchange, &call->error);
    }
}

/* --- */

static void proxy_start(struct exchange *exchange, const void *compiled, void *state)
{
    (void)compiled;
    struct proxy *proxy = state;
    proxy->exchange = exchange;
    proxy->task.run = proxy_task;
    proxy->call.owner_task = &proxy->task;
    proxy->request_trailers.clean = clean_request_trailers;
    proxy->response_trailers.clean = clean_response_trailers;
    struct error error;
    enum method method = exchange->request->method;
    if (UNLIKELY(method == METHOD_OPTIONS || method == METHOD_TRACE) && ends_here(exchange)) return;
    proxy->upgrade = websocket_is_asked_for(exchange->request);
    if (proxy->upgrade && !websocket_check_request(exchange, &error)) {
        exchange_fail(exchange, &error);
        return;
    }
    if (is_too_late(exchange)) {
        error_set(&error, BLAME_CLIENT, RETRY_NEVER, 504, "timeout",
                  "the deadline was over before the service was asked");
        exchange_fail(exchange, &error);
        return;
    }
    struct slice target = upstream_target(exchange);
    if (slice_is_absent(target) || !prepare_request(exchange) ||
        (proxy->upgrade && !websocket_ask(&exchange->request->headers))) {
        fail_for_memory(exchange);
        return;
    }
    make_plan(exchange, target, &proxy->plan);
    proxy->plan.upgrade = proxy->upgrade;
    if (proxy->plan.body) body_pipe_set_trailer_rule(proxy->plan.body, &proxy->request_trailers);
    exchange_request_ready(exchange, target);
    upstream_call_start(&proxy->call, exchange->worker->upstream, &proxy->plan);
}

static void proxy_finish(struct exchange *exchange, const void *compiled, void *state)
{
    (void)compiled;
    struct proxy *proxy = state;
    if (proxy->call.worker) { /* it was started */
        tell_outcome(proxy);
        upstream_call_cancel(&proxy->call);
    }
    loop_dequeue(exchange->worker->loop, &proxy->task);
}

static void proxy_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    (void)compiled;
    const struct compiled_route *route = exchange->route;
    explanation_add(explanation, "asks service \"%s\"%s for %.*s%s", exchange->service->name,
                    exchange->split_choice ? ", which the split has chosen," : "", SLICE_PRINT(exchange->upstream_path),
                    exchange->upstream_query.length ? " and a query" : "");
    if (websocket_is_asked_for(exchange->request)) explanation_add(explanation, "asks it to open a WebSocket");
    explanation_add(explanation, "waits at most %u ms for an answer", route->timeout_ms);
    if (route->retry_count > 0)
        explanation_add(explanation, "tries %u more at most%s", route->retry_count,
                        is_repeatable(exchange) ? "" : ", while no instance can have acted on the request");
}

const struct handler handler_proxy = {
    .name = "proxy",
    .summary = "Sends the request to the route's service.",
    .state_size = sizeof(struct proxy),
    .takes = proxy_takes,
    .start = proxy_start,
    .finish = proxy_finish,
    .explain = proxy_explain,
};
