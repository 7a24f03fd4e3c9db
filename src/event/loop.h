/* event/loop.h: the loop of a thread: epoll, then the run queue, then timers, then what was retired is freed.
 *
 * Order of one turn: wait for events -> read the clock once -> what the turn before left joins the run queue -> for each event: its
 * source's `ready`, then the run queue until empty -> due timers and the run queue -> retired memory is freed -> `after_turn`. So code run by an event may retire itself
 * and what other pending events of the same turn point at: retired memory stays readable until the turn's end. */
#ifndef SLUICE_EVENT_LOOP_H
#define SLUICE_EVENT_LOOP_H

#include "base/base.h"
#include "event/timer.h"

struct loop;
struct epoll_event;

/* Something with a file descriptor. Embedded in its owner, who sets `ready`; `ready` gets the epoll event bits. */
struct event_source {
    void (*ready)(struct event_source *, uint32_t events);
    int descriptor; /* -1: not watched (any more) */
};

/* A piece of work for later in this turn. Embedded in its owner; queued at most once at a time. */
struct task {
    void (*run)(struct task *);
    struct task *next, **previous_next; /* internal: so that taking it off again is O(1) */
    bool queued, for_next_turn;
};

/* Something to free at the end of the turn. Embedded in its owner. */
struct retired {
    void (*destroy)(struct retired *);
    struct retired *next;
};

struct loop {
    int epoll_descriptor;
    uint64_t now_ms;             /* monotonic, read once a turn: the time of all deadlines */
    uint64_t now_ns;             /* the same moment in nanoseconds */
    uint64_t wall_ns;            /* wall clock of the same moment, shifted: */
    int64_t wall_shift_ns;       /* 0 but where a configuration is tried at another time */
    struct epoll_event *pending; /* internal: events of this turn that have not been handed out */
    int pending_count;
    struct task *run_first, **run_last;
    struct task *next_first, **next_last; /* internal: the next turn's */
    struct retired *retired;
    struct timer_wheel timers;
    uint64_t turns; /* atomic relaxed store; a watcher in another thread reads it as the sign of life */
    bool stopping;
    void (*after_turn)(struct loop *, void *argument); /* the safe point: no exchange code is on the stack */
    void *after_turn_argument;
};

/* Also lets the process ignore SIGPIPE: a splice to a socket can't be told not to raise it. */
bool loop_init(struct loop *, struct error *) MUST_USE;
/* All sources unwatched, timers cleared by their owners before. */
void loop_release(struct loop *);
/* Turns until loop_stop(); never longer than 100 ms without a turn, so that the sign of life is fresh. */
void loop_run(struct loop *);
void loop_stop(struct loop *);
/* One turn, waiting at most wait_ms; for tests and for the master. */
void loop_turn(struct loop *, int wait_ms);
/* Reads the clock into now_ms, now_ns and wall_ns; the loop does so itself. */
void loop_update_time(struct loop *);

/* Edge-triggered, both directions and RDHUP, once for the descriptor's whole life (level-triggered EPOLLIN|EPOLLEXCLUSIVE
 * for listeners: loop_watch_listener). False only when the kernel is out of memory or watches. */
bool loop_watch(struct loop *, struct event_source *, int descriptor, struct error *) MUST_USE;
/* The same without the direction that a fresh connection is always ready for, so that its first event is the peer's first bytes; and,
 * once its buffer was full, with it: an event follows at once where there is room again already. */
bool loop_watch_reading(struct loop *, struct event_source *, int descriptor, struct error *) MUST_USE;
bool loop_watch_writing_too(struct loop *, struct event_source *) MUST_USE;
bool loop_watch_listener(struct loop *, struct event_source *, int descriptor, struct error *) MUST_USE;
/* For foreign libraries' descriptors (c-ares, libcurl): level-triggered with the given EPOLL bits; again to change them
 * (source->descriptor must be -1 before the first time). */
bool loop_watch_level(struct loop *, struct event_source *, int descriptor, uint32_t events, struct error *) MUST_USE;
/* Forgets it; pending events of this turn are dropped. With `closing` the epoll_ctl is left to close(2), which follows. */
void loop_unwatch(struct loop *, struct event_source *, bool closing);

/* Runs the task once, later in this turn, in order of queueing. Queueing a queued task does nothing, but one that waits for the next
 * turn comes into this one: something has happened that it should see now. */
void loop_enqueue(struct loop *, struct task *);
/* Runs the task once in the next turn, which doesn't wait then. For what could go on, but has used up its share: a peer that is as fast as
 * we are must not keep this turn from ending. Queueing a queued task does nothing, wherever it is queued. */
void loop_enqueue_next(struct loop *, struct task *);
/* Takes a queued task off again; it will not run. */
void loop_dequeue(struct loop *, struct task *);
void loop_retire(struct loop *, struct retired *, void (*destroy)(struct retired *));

/* How much of a turn one of many has used already, so that none takes it all. Zeroed at first. */
struct turn_share {
    uint64_t turn;
    uint32_t used; /* in `turn` */
};

/* Uses one more; tells how many it had used in this turn before. */
static inline uint32_t turn_share_use(struct turn_share *share, const struct loop *loop)
{
    if (share->turn != loop->turns) share->used = 0;
    share->turn = loop->turns;
    return share->used++;
}

#endif
