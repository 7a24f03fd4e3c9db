/* exchange/respond.c: answers that the gateway makes itself. */
#include "exchange/private.h"
#include "http/grpc.h"
#include "http/status.h"
#include "json/writer.h"

#include <stdarg.h>

void exchange_respond(struct exchange *exchange, unsigned status, struct slice content_type, struct slice body)
{
    struct response_head *head = &exchange->own_response;
    response_head_init(head, exchange->arena);
    head->status = (uint16_t)status;
    head->version = HTTP_1_1;
    head->body_length = status_has_no_content(status) ? 0 : body.length;
    head->has_body = !status_has_no_content(status) && exchange->request->method != METHOD_HEAD && body.length > 0;
    exchange->response = head;
    exchange->response_body = NULL;
    if (!slice_is_absent(content_type) && !headers_add_known(&head->headers, HEADER_CONTENT_TYPE, content_type)) {
        head->status = 503; /* short of memory: a bare status is still right */
    }
    if (!head->has_body) return;
    body_pipe_init(&exchange->own_body, exchange->worker->loop, body.length);
    exchange->own_body.window = UINT32_MAX; /* one piece of memory that is there already */
    body_pipe_push(&exchange->own_body, NULL, body.at, body.length);
    body_pipe_finish(&exchange->own_body, NULL);
    exchange->response_body = &exchange->own_body;
}

static struct slice problem_document(const struct exchange *exchange, unsigned status, struct slice detail,
                                     struct slice rule)
{
    char buffer[2048];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof buffer);
    json_write_object_begin(&writer);
    json_write_key(&writer, SLICE("type")), json_write_string(&writer, SLICE("about:blank"));
    json_write_key(&writer, SLICE("title")), json_write_string(&writer, status_reason(status));
    json_write_key(&writer, SLICE("status")), json_write_unsigned(&writer, status);
    json_write_key(&writer, SLICE("detail")), json_write_string(&writer, detail);
    json_write_key(&writer, SLICE("requestId")), json_write_string(&writer, exchange->request_id);
    if (rule.length > 0) json_write_key(&writer, SLICE("rule")), json_write_string(&writer, rule);
    json_write_object_end(&writer);
    struct slice document = json_writer_result(&writer); /* absent where it did not fit: then an empty body */
    return slice_is_absent(document) ? document : arena_copy(exchange->arena, document);
}

static enum grpc_status grpc_status_of(const struct exchange *exchange, unsigned status)
{
    bool is_late = status == 504 || status == 408;
    if (is_late && exchange->worker->loop->now_ms >= exchange_deadline_ms(exchange)) return GRPC_DEADLINE_EXCEEDED;
    return grpc_status_of_http(status);
}

static void respond_in_grpc(struct exchange *exchange, unsigned status, struct slice detail)
{
    exchange_respond(exchange, 200, SLICE_ABSENT, SLICE_ABSENT);
    if (!grpc_refuse(&exchange->own_response, grpc_status_of(exchange, status), detail))
        exchange_respond(exchange, 503, SLICE_ABSENT, SLICE_ABSENT);
}

#define NO_INSTANCE_UP "no-healthy-instance"
#define RETRY_AFTER_MAX_MS 60000u

/* Most often the gateway's own troubles, which are over soon. An instance that is down takes some checks to be up again. */
static struct slice retry_after(const struct exchange *exchange)
{
    const struct error *error = &exchange->error;
    const struct health_check *check = exchange->service ? exchange->service->health_check : NULL;
    if (LIKELY(!check || !error->reason || strcmp(error->reason, NO_INSTANCE_UP) != 0)) return SLICE("1");
    uint64_t recovery_ms = (uint64_t)check->interval_ms * check->thresholds.healthy;
    if (recovery_ms > RETRY_AFTER_MAX_MS) recovery_ms = RETRY_AFTER_MAX_MS;
    struct slice text = arena_format(exchange->arena, "%u", (unsigned)((recovery_ms + 999) / 1000));
    return slice_is_absent(text) ? SLICE("1") : text;
}

static void respond_problem(struct exchange *exchange, unsigned status, struct slice detail, struct slice rule)
{
    exchange->error_rule = rule;
    if (UNLIKELY(exchange->is_grpc)) {
        respond_in_grpc(exchange, status, detail);
        return;
    }
    struct slice document = problem_document(exchange, status, detail, rule);
    exchange_respond(exchange, status, SLICE("application/problem+json"), document);
    if (status == 503 &&
        !headers_add_known(&exchange->own_response.headers, HEADER_RETRY_AFTER, retry_after(exchange))) {
        /* short of memory: the answer goes without it */
        return;
    }
}

void exchange_respond_problem(struct exchange *exchange, unsigned status, const char *reason, struct slice rule,
                              const char *format, ...)
{
    char text[sizeof exchange->error.text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_set(&exchange->error, status < 500 ? BLAME_CLIENT : BLAME_US, RETRY_NEVER, (uint16_t)status, reason, "%s",
              text);
    respond_problem(exchange, status, slice_from_cstring(exchange->error.text), rule);
}

static struct slice explain_down(const struct exchange *exchange)
{
    char text[SERVICE_DOWN_BYTES];
    service_explain_down(exchange->service, exchange->worker->loop->wall_ns, text);
    struct slice detail = arena_format(exchange->arena, "the service is not available: %s", text);
    return slice_is_absent(detail) ? SLICE("the service is not available") : detail;
}

/* To the client only what concerns it; instances and system errors are the operator's. */
static struct slice detail_for_client(const struct exchange *exchange, const struct error *error)
{
    static const struct {
        const char *reason, *detail;
    } details[] = {
        { "connect-failure", "the service could not be reached" },
        { "tls-failure", "the service could not be reached" },
        { "reset", "the service broke off before it had answered" },
        { "stale-connection", "the service broke off before it had answered" },
        { "truncated-body", "the service broke off inside its answer" },
        { "bad-grpc-answer", "the service gave an answer that is not whole gRPC" },
        { "bad-response", "the service gave an answer that is not valid HTTP" },
        { "not-grpc", "the service gave an answer that is not gRPC" },
        { "timeout", "the service did not answer in time" },
        { "no-instance", "the service has no instance that could answer" },
        { "overload", "the gateway has no room for the request right now" },
        { "out-of-memory", "the gateway is short of memory" },
    };
    if (error->blame == BLAME_CLIENT) return slice_from_cstring(error->text);
    for (size_t i = 0; i < COUNT_OF(details); i++) {
        if (strcmp(details[i].reason, error->reason) == 0) return slice_from_cstring(details[i].detail);
    }
    if (strcmp(error->reason, NO_INSTANCE_UP) == 0 && exchange->service) return explain_down(exchange);
    return slice_from_cstring(error->reason);
}

void respond_failure(struct exchange *exchange, const struct error *error, unsigned status)
{
    exchange->error = *error;
    respond_problem(exchange, status, detail_for_client(exchange, &exchange->error), SLICE_ABSENT);
}

void exchange_fail(struct exchange *exchange, const struct error *error)
{
    respond_failure(exchange, error, error->status ? error->status : 502);
    exchange_answer_prepared(exchange);
}
