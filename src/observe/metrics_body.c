#include "observe/metrics_body.h"

static void finish(struct metrics_body *body)
{
    metrics_reader_destroy(body->reader);
    body->reader = NULL;
}

static void fail(struct metrics_body *body)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "no memory for the text of the metrics");
    body_pipe_abort(body->pipe, &error);
    finish(body);
}

/* One slab's worth. False: there is nothing to do now. */
static bool push_piece(struct metrics_body *body)
{
    size_t credit = body_pipe_credit(body->pipe);
    if (credit == 0) return false;
    struct slab *slab = slab_take(body->slabs, SLAB_SMALL);
    if (!slab) {
        fail(body);
        return false;
    }
    size_t length = metrics_reader_next(body->reader, slab->bytes, credit < slab->size ? credit : slab->size);
    if (length > 0) {
        slab->filled = (uint32_t)length;
        body_pipe_push(body->pipe, slab, slab->bytes, length);
        return true;
    }
    slab_drop(slab);
    body_pipe_finish(body->pipe, NULL);
    finish(body);
    return false;
}

/* A piece a turn: a client that reads as fast as we write leaves room for others. */
static void produce(struct task *task)
{
    struct metrics_body *body = CONTAINER_OF(task, struct metrics_body, task);
    if (!body->reader) return;
    if (body_pipe_is_stopped(body->pipe)) {
        finish(body);
        return;
    }
    if (push_piece(body)) loop_enqueue_next(body->pipe->loop, task);
}

void metrics_body_start(struct metrics_body *body, struct metrics *metrics, struct body_pipe *pipe,
                        struct slab_pool *slabs)
{
    *body = (struct metrics_body){ .reader = metrics_reader_create(metrics), .pipe = pipe, .slabs = slabs };
    body->task.run = produce;
    pipe->producer_task = &body->task;
    loop_enqueue(pipe->loop, &body->task);
}

void metrics_body_stop(struct metrics_body *body)
{
    if (!body->pipe) return;
    loop_dequeue(body->pipe->loop, &body->task);
    body_pipe_detach_producer(body->pipe);
    finish(body);
    body->pipe = NULL;
}
