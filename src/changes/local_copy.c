/* changes/local_copy.c: the catalog as a file, by which a gateway starts while the store is away. Written by a job after changes, at most once
 * a second, and at the end. */
#include "changes/private.h"

#include "base/log.h"
#include "store/copy.h"

#define COPY_PAUSE_MS 1000

static void write_copy(struct job *job)
{
    struct changes *changes = CONTAINER_OF(job, struct changes, copy_job);
    changes->copy_is_written = copy_write(changes->options.copy_path, changes->catalog, &changes->copy_error);
}

static void copy_done(struct job *job, void *receiver)
{
    struct changes *changes = receiver;
    changes->copy_is_running = false;
    if (!changes->copy_is_written && !changes->copy_has_failed)
        log_error("the local copy of the configuration can't be written: %s", changes->copy_error.text);
    changes->copy_has_failed = !changes->copy_is_written;
    if (changes->copy_has_failed) changes->copy_is_wanted = true;
    if (changes->copy_is_wanted && !changes->stopping) local_copy_is_wanted(changes);
}

static void begin_copy(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, copy_timer);
    if (changes->copy_is_running) return; /* copy_done asks again */
    changes->copy_is_written = false;     /* of this one: a stop may come before its job has run */
    changes->copy_job = (struct job){ .reply_to = &changes->mailbox, .work = write_copy, .done = copy_done };
    if (!jobs_submit(changes->jobs, &changes->copy_job)) return;
    changes->copy_is_running = true;
    changes->copy_is_wanted = false;
    changes->copied_ms = changes->loop.now_ms;
}

void local_copy_is_wanted(struct changes *changes)
{
    changes->copy_is_wanted = true;
    if (!changes->options.copy_path || !changes->options.store || !changes->has_thread) return;
    if (timer_is_set(&changes->copy_timer) || changes->copy_is_running) return;
    uint64_t at_ms = changes->copied_ms ? changes->copied_ms + COPY_PAUSE_MS : 0;
    if (at_ms < changes->loop.now_ms) at_ms = changes->loop.now_ms;
    timer_set(&changes->loop.timers, &changes->copy_timer, at_ms);
}

void local_copy_start(struct changes *changes) { timer_init(&changes->copy_timer, begin_copy); }

void local_copy_stop(struct changes *changes)
{
    timer_clear(&changes->loop.timers, &changes->copy_timer);
    jobs_destroy(changes->jobs);
    changes->jobs = NULL;
    if (!changes->options.copy_path || !changes->options.store) return;
    if (!changes->copy_is_wanted && !(changes->copy_is_running && !changes->copy_is_written)) return;
    struct error error;
    if (!copy_write(changes->options.copy_path, changes->catalog, &error))
        log_error("the local copy of the configuration can't be written: %s", error.text);
}
