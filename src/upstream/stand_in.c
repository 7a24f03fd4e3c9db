/* upstream/stand_in.c: see stand_in.h. */
#include "upstream/stand_in.h"

#include "http/status.h"
#include "upstream/private.h"

#include <sys/uio.h>

struct stand_in {
    struct response_head response;
    struct body_pipe body;
    bool body_begun, reads_request;
};

static void end(struct upstream_call *call, uint8_t events)
{
    call->done_ns = call->worker->loop->now_ns;
    call->state = CALL_OVER;
    gauge_add(&call->worker->counters.calls, -1);
    call->events |= events | CALL_DONE;
    loop_enqueue(call->worker->loop, call->owner_task);
}

static void fail(struct upstream_call *call, const struct error *error)
{
    call->error = *error;
    end(call, 0);
}

static void fail_for_memory(struct upstream_call *call)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "out of memory for a stand-in's answer");
    fail(call, &error);
}

static bool add_headers(struct headers *headers, const struct pair_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!headers_add(headers, list->items[i].name, list->items[i].value)) return false;
    }
    return true;
}

static void begin_body(struct upstream_call *call, struct stand_in *stand_in, struct slice body)
{
    body_pipe_init(&stand_in->body, call->worker->loop, body.length);
    stand_in->body.window = UINT32_MAX; /* one piece of memory that is there already */
    body_pipe_push(&stand_in->body, NULL, body.at, body.length);
    body_pipe_finish(&stand_in->body, NULL);
    stand_in->body_begun = true;
    call->response_body = &stand_in->body;
}

static void answer(struct upstream_call *call)
{
    struct stand_in *stand_in = call->stand_in;
    const struct upstream_stand_in *who = call->worker->stand_in;
    struct stand_in_answer answer = { .status = 200 };
    who->answer(who->argument, &call->plan, &answer);
    struct response_head *head = &stand_in->response;
    response_head_init(head, call->plan.arena);
    head->status = (uint16_t)answer.status;
    head->version = HTTP_1_1;
    head->body_length = status_has_no_content(answer.status) ? 0 : answer.body.length;
    head->has_body = head->body_length > 0 && call->plan.request->method != METHOD_HEAD;
    if (!add_headers(&head->headers, &answer.headers)) {
        fail_for_memory(call);
        return;
    }
    if (head->has_body) begin_body(call, stand_in, answer.body);
    call->response = head;
    call->head_ns = call->worker->loop->now_ns;
    end(call, CALL_HEAD);
}

/* The request's body is read to its end first: what stands in its way has its say. */
static void read_request(struct task *task)
{
    struct upstream_call *call = CONTAINER_OF(task, struct upstream_call, task);
    struct body_pipe *body = call->plan.body;
    struct iovec piece;
    if (call->state == CALL_OVER) return;
    while (body_pipe_peek(body, &piece, 1) == 1) body_pipe_consume(body, piece.iov_len);
    if (body->state == BODY_ABORTED)
        fail(call, &body->failure);
    else if (body_pipe_is_drained(body))
        answer(call);
}

void stand_in_start(struct upstream_call *call)
{
    struct body_pipe *body = call->plan.body;
    call->stand_in = arena_allocate_zeroed(call->plan.arena, sizeof *call->stand_in);
    if (!call->stand_in) {
        fail_for_memory(call);
        return;
    }
    if (!body) {
        answer(call);
        return;
    }
    call->stand_in->reads_request = true;
    call->task.run = read_request;
    body_pipe_attach_consumer(body, &call->task);
    loop_enqueue(call->worker->loop, &call->task);
}

void stand_in_cancel(struct upstream_call *call)
{
    struct stand_in *stand_in = call->stand_in;
    call->stand_in = NULL;
    if (stand_in->reads_request) {
        body_pipe_stop(call->plan.body);
        body_pipe_detach_consumer(call->plan.body);
        loop_dequeue(call->worker->loop, &call->task);
    }
    if (stand_in->body_begun) body_pipe_release(&stand_in->body);
}
