/* admin/body.c: a request's body, whole, in memory, under the endpoint's limit and under one for all requests together.
 *
 * What declares too much is refused before a byte is read. The session watches the pauses between pieces (bodyTimeoutMs); all of it has a
 * minute. A client that breaks off aborts the pipe. */
#include "admin/private.h"

#include <sys/uio.h>

#define BODY_MS_MAX 60000
/* Of a body that turns out too large so much more is taken and thrown away before it is refused: a client that is nearly through reads the
 * answer then, on a connection that goes on. */
#define DISCARD_BYTES_MAX (8u << 20)

static void body_has_news(struct task *);

static enum admin_step refuse_size(struct exchange *exchange, struct admin_request *request)
{
    size_t limit = request->endpoint->body_bytes_max;
    return admin_refuse(exchange, request, 413, "body-too-large", NULL, "the body must not be larger than %zu MiB",
                        limit >> 20);
}

/* --- is it JSON, as far as the head tells? --- */

static bool is_json(struct slice content_type, enum method method)
{
    struct slice rest = content_type, type, parameter;
    if (!slice_next(&rest, ';', &type)) return false;
    bool is_merge_patch = method == METHOD_PATCH &&
                          slice_equal_ignore_case(type, SLICE("application/merge-patch+json"));
    if (!is_merge_patch && !slice_equal_ignore_case(type, SLICE("application/json"))) return false;
    while (!slice_is_absent(rest) && slice_next(&rest, ';', &parameter)) {
        if (!slice_equal_ignore_case(slice_before(parameter, 8), SLICE("charset="))) continue;
        struct slice charset = slice_after(parameter, 8);
        if (charset.length > 1 && charset.at[0] == '"') charset = slice_of(charset.at + 1, charset.length - 2);
        if (!slice_equal_ignore_case(charset, SLICE("utf-8"))) return false;
    }
    return true;
}

static enum admin_step refuse_type(struct exchange *exchange, struct admin_request *request, const char *text)
{
    bool is_patch = exchange->request->method == METHOD_PATCH;
    admin_refuse(exchange, request, 415, "not-json", "curl: -H 'Content-Type: application/json'", "%s", text);
    if (is_patch)
        admin_add_header(exchange, SLICE("Accept-Patch"), SLICE("application/merge-patch+json, application/json"));
    return ADMIN_ANSWERED;
}

static bool refuse_head(struct exchange *exchange, struct admin_request *request)
{
    const struct request_head *head = exchange->request;
    struct slice type = headers_value(&head->headers, HEADER_CONTENT_TYPE);
    bool is_empty = !head->has_body || head->body_length == 0;
    if (head->body_length != BODY_LENGTH_UNKNOWN && head->body_length > request->endpoint->body_bytes_max) {
        refuse_size(exchange, request);
    } else if (is_empty && !request->endpoint->body_may_be_absent) {
        admin_refuse(exchange, request, 400, "no-body", NULL, "a JSON body is needed");
    } else if (!slice_is_absent(headers_value(&head->headers, HEADER_CONTENT_ENCODING))) {
        refuse_type(exchange, request, "the body must not have a Content-Encoding");
    } else if (slice_is_absent(type) ? !is_empty : !is_json(type, head->method)) {
        refuse_type(exchange, request,
                    head->method == METHOD_PATCH
                        ? "a patch must be application/merge-patch+json or application/json, in UTF-8"
                        : "the body must be application/json, in UTF-8");
    } else {
        return false;
    }
    return true;
}

/* --- reading --- */

/* Only the admin worker's thread reads bodies, so there is never less room than was seen. */
static bool has_room(const struct exchange *exchange, size_t more)
{
    return exchange->worker->admin->body_bytes + more <= ADMIN_BODIES_BYTES_MAX;
}

static void take_piece(struct exchange *exchange, struct admin_request *request, struct slice piece)
{
    if (request->body_trouble != BODY_TROUBLE_NONE) return;
    if (request->body.length + piece.length > request->endpoint->body_bytes_max) {
        request->body_trouble = BODY_TROUBLE_LIMIT;
    } else if (!has_room(exchange, piece.length)) {
        request->body_trouble = BODY_TROUBLE_ROOM;
    } else {
        admin_text_add(&request->body, piece);
        request->body_bytes += piece.length;
        exchange->worker->admin->body_bytes += piece.length;
    }
}

static bool has_had_enough(const struct admin_request *request)
{
    return request->body_trouble != BODY_TROUBLE_NONE && request->body_discarded > DISCARD_BYTES_MAX;
}

static void body_has_news(struct task *task)
{
    struct admin_request *request = CONTAINER_OF(task, struct admin_request, body_task);
    struct exchange *exchange = request->exchange;
    struct body_pipe *pipe = exchange->request_body;
    struct iovec run;
    while (!has_had_enough(request) && body_pipe_peek(pipe, &run, 1) == 1) {
        take_piece(exchange, request, slice_of(run.iov_base, run.iov_len));
        if (request->body_trouble != BODY_TROUBLE_NONE) request->body_discarded += run.iov_len;
        body_pipe_consume(pipe, run.iov_len);
    }
    bool is_over = body_pipe_is_drained(pipe) || pipe->state == BODY_ABORTED;
    if (is_over || has_had_enough(request)) exchange_resume(&request->wait);
}

static void stop_reading(struct admin_request *request)
{
    if (!request->reads_body) return;
    request->reads_body = false;
    loop_dequeue(request->exchange->worker->loop, &request->body_task);
    if (!body_pipe_is_drained(request->exchange->request_body)) body_pipe_stop(request->exchange->request_body);
    body_pipe_detach_consumer(request->exchange->request_body);
}

static enum admin_step refuse_broken(struct exchange *exchange, struct admin_request *request, struct error failure)
{
    unsigned status = failure.status ? failure.status : 400;
    return admin_refuse(exchange, request, status, failure.reason ? failure.reason : "broken-body", NULL, "%s",
                        failure.reason ? failure.text : "the body broke off");
}

static enum admin_step body_is_read(struct exchange *exchange, struct admin_request *request)
{
    struct body_pipe *pipe = exchange->request_body;
    bool is_whole = body_pipe_is_drained(pipe), is_broken = pipe->state == BODY_ABORTED;
    struct error failure = { 0 };
    if (is_broken) failure = pipe->failure;
    stop_reading(request);
    if (request->body_trouble == BODY_TROUBLE_LIMIT) return refuse_size(exchange, request);
    if (request->body_trouble == BODY_TROUBLE_ROOM) {
        return admin_refuse(exchange, request, 503, "too-many-bodies", NULL,
                            "the admin API holds as many large bodies as it may; try again");
    }
    if (is_broken) return refuse_broken(exchange, request, failure);
    if (!is_whole)
        return admin_refuse(exchange, request, 408, "slow-body", NULL, "the body did not come within a minute");
    if (request->body.length == 0 && !request->endpoint->body_may_be_absent)
        return admin_refuse(exchange, request, 400, "no-body", NULL, "a JSON body is needed");
    return request->endpoint->answer(exchange, request);
}

enum admin_step admin_body_read(struct exchange *exchange, struct admin_request *request)
{
    if (refuse_head(exchange, request)) return ADMIN_ANSWERED;
    if (!exchange->request_body) return request->endpoint->answer(exchange, request);
    request->reads_body = request->body_is_taken = true;
    request->body_task.run = body_has_news;
    admin_wait(exchange, request, BODY_MS_MAX, body_is_read);
    body_pipe_attach_consumer(exchange->request_body, &request->body_task);
    loop_enqueue(exchange->worker->loop, &request->body_task); /* for what is there already */
    return ADMIN_WAITS;
}

void admin_body_is_given(struct admin_request *request)
{
    atomic_fetch_sub(&request->exchange->worker->admin->body_bytes, request->body_bytes);
    request->body_bytes = 0;
}

void admin_body_forget(struct admin_request *request)
{
    stop_reading(request);
    admin_body_is_given(request);
    admin_text_release(&request->body);
}
