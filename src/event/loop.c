#include "event/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Few, so that what a turn touches (heads, arenas, the kernel's own buffers) is still in the cache when the answers come. */
#define EVENTS_PER_TURN 32
#define READING (EPOLLIN | EPOLLRDHUP | EPOLLET)
#define WAIT_MS_MAX 100 /* keeps the sign of life fresh */

bool loop_init(struct loop *loop, struct error *error)
{
    *loop = (struct loop){ .run_last = &loop->run_first, .next_last = &loop->next_first };
    loop->epoll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_descriptor < 0) return error_format(error, "cannot create an epoll: %s", error_from_errno(errno));
    signal(SIGPIPE, SIG_IGN);
    loop_update_time(loop);
    timer_wheel_init(&loop->timers, loop->now_ms);
    return true;
}

static void free_retired(struct loop *loop)
{
    while (loop->retired) {
        struct retired *retired = loop->retired;
        loop->retired = retired->next;
        retired->destroy(retired);
    }
}

void loop_release(struct loop *loop)
{
    free_retired(loop);
    close(loop->epoll_descriptor);
    loop->epoll_descriptor = -1;
}

void loop_update_time(struct loop *loop)
{
    loop->now_ns = clock_monotonic_ns();
    loop->now_ms = loop->now_ns / 1000000;
    loop->wall_ns = clock_wall_ns() + (uint64_t)loop->wall_shift_ns;
}

static void run_tasks(struct loop *loop)
{
    while (loop->run_first) {
        struct task *task = loop->run_first;
        loop_dequeue(loop, task);
        task->run(task);
    }
}

static void hand_out_events(struct loop *loop, struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct event_source *source = events[i].data.ptr;
        if (!source) continue; /* unwatched by an earlier event of this turn */
        loop->pending = events + i + 1;
        loop->pending_count = count - i - 1;
        source->ready(source, events[i].events);
        run_tasks(loop);
    }
    loop->pending_count = 0;
}

static void take_over_next(struct loop *loop)
{
    if (!loop->next_first) return;
    *loop->run_last = loop->next_first;
    loop->next_first->previous_next = loop->run_last;
    loop->run_last = loop->next_last;
    loop->next_first = NULL;
    loop->next_last = &loop->next_first;
}

static int time_to_wait_ms(const struct loop *loop, int wait_ms)
{
    if (loop->run_first || loop->next_first || loop->retired) return 0;
    uint64_t timers_ms = timer_wheel_wait_ms(&loop->timers);
    return timers_ms < (uint64_t)wait_ms ? (int)timers_ms : wait_ms;
}

void loop_turn(struct loop *loop, int wait_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll_descriptor, events, EVENTS_PER_TURN, time_to_wait_ms(loop, wait_ms));
    PROMISE(count >= 0 || errno == EINTR);
    loop_update_time(loop);
    take_over_next(loop);
    hand_out_events(loop, events, count);
    run_tasks(loop); /* what was queued between turns, when no event came */
    timer_wheel_advance(&loop->timers, loop->now_ms);
    run_tasks(loop);
    free_retired(loop);
    __atomic_store_n(&loop->turns, loop->turns + 1, __ATOMIC_RELAXED);
    if (loop->after_turn) loop->after_turn(loop, loop->after_turn_argument);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopping) loop_turn(loop, WAIT_MS_MAX);
}

void loop_stop(struct loop *loop) { loop->stopping = true; }

static bool control(struct loop *loop, int operation, struct event_source *source, int descriptor, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = source };
    return epoll_ctl(loop->epoll_descriptor, operation, descriptor, &event) == 0;
}

static bool watch(struct loop *loop, struct event_source *source, int descriptor, uint32_t events, struct error *error)
{
    if (!control(loop, EPOLL_CTL_ADD, source, descriptor, events)) {
        source->descriptor = -1;
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-resources", "cannot watch descriptor %d: %s",
                         descriptor, error_from_errno(errno));
    }
    source->descriptor = descriptor;
    return true;
}

bool loop_watch(struct loop *loop, struct event_source *source, int descriptor, struct error *error)
{
    return watch(loop, source, descriptor, READING | EPOLLOUT, error);
}

bool loop_watch_reading(struct loop *loop, struct event_source *source, int descriptor, struct error *error)
{
    return watch(loop, source, descriptor, READING, error);
}

bool loop_watch_writing_too(struct loop *loop, struct event_source *source)
{
    return control(loop, EPOLL_CTL_MOD, source, source->descriptor, READING | EPOLLOUT);
}

bool loop_watch_listener(struct loop *loop, struct event_source *source, int descriptor, struct error *error)
{
    return watch(loop, source, descriptor, EPOLLIN | EPOLLEXCLUSIVE, error);
}

/* A library may have closed its descriptor and been given the same number for the next one, of which epoll knows nothing. */
bool loop_watch_level(struct loop *loop, struct event_source *source, int descriptor, uint32_t events,
                      struct error *error)
{
    if (source->descriptor == descriptor && control(loop, EPOLL_CTL_MOD, source, descriptor, events)) return true;
    return watch(loop, source, descriptor, events, error);
}

void loop_unwatch(struct loop *loop, struct event_source *source, bool closing)
{
    if (source->descriptor < 0) return;
    if (!closing) control(loop, EPOLL_CTL_DEL, source, source->descriptor, 0);
    source->descriptor = -1;
    for (int i = 0; i < loop->pending_count; i++) {
        if (loop->pending[i].data.ptr == source) loop->pending[i].data.ptr = NULL;
    }
}

static void append(struct task ***last, struct task *task)
{
    if (task->queued) return;
    task->queued = true;
    task->next = NULL;
    task->previous_next = *last;
    **last = task;
    *last = &task->next;
}

void loop_enqueue(struct loop *loop, struct task *task)
{
    if (UNLIKELY(task->queued && task->for_next_turn)) loop_dequeue(loop, task);
    task->for_next_turn = false;
    append(&loop->run_last, task);
}

void loop_enqueue_next(struct loop *loop, struct task *task)
{
    if (task->queued) return;
    task->for_next_turn = true;
    append(&loop->next_last, task);
}

void loop_dequeue(struct loop *loop, struct task *task)
{
    if (!task->queued) return;
    task->queued = false;
    *task->previous_next = task->next;
    if (task->next)
        task->next->previous_next = task->previous_next;
    else if (loop->run_last == &task->next)
        loop->run_last = task->previous_next;
    else
        loop->next_last = task->previous_next;
}

void loop_retire(struct loop *loop, struct retired *retired, void (*destroy)(struct retired *))
{
    retired->destroy = destroy;
    retired->next = loop->retired;
    loop->retired = retired;
}
