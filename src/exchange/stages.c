/* exchange/stages.c: body stages: each stands between two pipes and runs as a task when its input has something new or its output
 * has credit again. The stages of a direction are put in the chain's order for requests, backwards for responses. */
#include "exchange/private.h"

struct stage_runner {
    struct task task;
    struct stage stage;
    filter_stage *run;
    struct body_pipe *in;
    struct body_pipe out;
    bool finished;
    struct stage_runner *next; /* of the exchange, newest first */
};

static void stage_finish(struct stage_runner *runner)
{
    runner->finished = true;
    if (!body_pipe_is_drained(runner->in)) body_pipe_stop(runner->in); /* what is left interests nobody */
    body_pipe_detach_consumer(runner->in);
    body_pipe_detach_producer(&runner->out);
}

static void stage_task(struct task *task)
{
    struct stage_runner *runner = CONTAINER_OF(task, struct stage_runner, task);
    if (runner->finished) return;
    /* Somebody wants the stage's output: now its input is wanted too (a client may wait for 100 (Continue) until then). */
    if (runner->out.attached && !runner->in->attached) body_pipe_attach_consumer(runner->in, &runner->task);
    if (runner->in->state == BODY_ABORTED) {
        body_pipe_abort(&runner->out, &runner->in->failure);
        stage_finish(runner);
        return;
    }
    if (body_pipe_is_stopped(&runner->out)) {
        body_pipe_stop(runner->in);
        stage_finish(runner);
        return;
    }
    if (runner->run(&runner->stage, runner->in, &runner->out) == STAGE_FINISHED) stage_finish(runner);
}

static struct stage_runner *stage_put(struct exchange *exchange, const struct chain_link *link, filter_stage *run,
                                      struct body_pipe *in)
{
    struct stage_runner *runner = arena_allocate_zeroed(exchange->arena, sizeof *runner);
    if (!runner) return NULL;
    runner->task.run = stage_task;
    runner->stage = (struct stage){ exchange, link->compiled, exchange->filter_states + link->state_offset };
    runner->run = run;
    runner->in = in;
    in->consumer_task = &runner->task;
    in->splice = NULL; /* the bytes must be seen */
    body_pipe_init(&runner->out, exchange->worker->loop, BODY_LENGTH_UNKNOWN);
    runner->out.producer_task = &runner->task;
    runner->next = exchange->stages;
    exchange->stages = runner;
    loop_enqueue(exchange->worker->loop, &runner->task);
    return runner;
}

/* A link's stage for this exchange, or NULL. */
static filter_stage *needed_stage(const struct exchange *exchange, const struct chain_link *link, bool response)
{
    filter_stage *run = response ? link->response_body : link->request_body;
    if (response && UNLIKELY(exchange->failed_late) && !link->filter->sees_late_failures) return NULL;
    if (!run || !link->filter->stage_needed) return run;
    const void *state = exchange->filter_states + link->state_offset;
    enum filter_side side = response ? FILTER_ON_RESPONSE : FILTER_ON_REQUEST;
    return link->filter->stage_needed(exchange, link->compiled, state, side) ? run : NULL;
}

/* Of responses only the filters that saw the request take part. */
static uint32_t links_begun(const struct exchange *exchange, bool response)
{
    return response ? exchange->filters_begun : exchange->route->chain->count;
}

bool stages_are_needed(const struct exchange *exchange, bool response)
{
    const struct chain *chain = exchange->route->chain;
    if (LIKELY(!(response ? chain->has_response_stages : chain->has_request_stages))) return false;
    for (uint32_t i = links_begun(exchange, response); i > 0; i--) {
        if (needed_stage(exchange, &chain->links[i - 1], response)) return true;
    }
    return false;
}

bool stages_put(struct exchange *exchange, bool response, struct body_pipe **pipe)
{
    const struct chain *chain = exchange->route->chain;
    uint32_t count = links_begun(exchange, response);
    for (uint32_t i = 0; i < count; i++) {
        const struct chain_link *link = &chain->links[response ? count - 1 - i : i];
        filter_stage *run = needed_stage(exchange, link, response);
        if (!run) continue;
        struct stage_runner *runner = stage_put(exchange, link, run, *pipe);
        if (!runner) return false;
        /* All that there is of an answer goes through at once, while its head can still say how long it becomes. */
        if (response && runner->in->state == BODY_FINISHED) stage_task(&runner->task);
        *pipe = &runner->out;
    }
    return true;
}

void stages_release(struct exchange *exchange)
{
    for (struct stage_runner *runner = exchange->stages; runner; runner = runner->next) {
        loop_dequeue(exchange->worker->loop, &runner->task);
        if (!runner->finished) stage_finish(runner);
        body_pipe_detach_consumer(&runner->out);
        body_pipe_release(&runner->out);
    }
    exchange->stages = NULL;
}
