#include "unit_test.h"

#include "event/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct loop loop;
static char story[256]; /* what ran, in order, a letter each */

static void tell(char letter)
{
    size_t length = strlen(story);
    assert_true(length < sizeof story - 1);
    story[length] = letter;
    story[length + 1] = '\0';
}

static int set_up(void **state)
{
    story[0] = '\0';
    return loop_init(&loop, NULL) ? 0 : -1;
}

static int tear_down(void **state)
{
    loop_release(&loop);
    return 0;
}

struct actor {
    struct task task;
    struct event_source source;
    struct timer timer;
    struct retired retired;
    char letter;
    void (*act)(struct actor *);
};

static void perform(struct actor *actor)
{
    tell(actor->letter);
    if (actor->act) actor->act(actor);
}

static void run_actor(struct task *task) { perform(CONTAINER_OF(task, struct actor, task)); }
static void fire_actor(struct timer *timer) { perform(CONTAINER_OF(timer, struct actor, timer)); }
static void destroy_actor(struct retired *retired) { perform(CONTAINER_OF(retired, struct actor, retired)); }
static void ready_actor(struct event_source *source, uint32_t events)
{
    perform(CONTAINER_OF(source, struct actor, source));
}

static struct actor actor_of(char letter, void (*act)(struct actor *))
{
    return (struct actor){
        .task.run = run_actor, .source = { ready_actor, -1 }, .letter = letter, .act = act, .timer.fire = fire_actor
    };
}

static int ready_descriptor(void)
{
    int descriptor = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(descriptor >= 0);
    return descriptor;
}

static struct actor events[2], tasks[3], timers[2], ghosts[2];

static void queue_task_0_and_retire(struct actor *actor)
{
    loop_enqueue(&loop, &tasks[0].task);
    loop_retire(&loop, &ghosts[0].retired, destroy_actor);
}
static void queue_task_1(struct actor *actor) { loop_enqueue(&loop, &tasks[1].task); }
static void queue_task_2(struct actor *actor) { loop_enqueue(&loop, &tasks[2].task); }
static void end_of_turn(struct loop *the_loop, void *argument) { tell(*(char *)argument); }

/* Events E F queue the tasks a and b, the timer T queues c: each event's tasks run before the next event. */
static void a_turn_goes_event_tasks_timers_tasks_retired_after_turn(void **state)
{
    events[0] = actor_of('E', queue_task_0_and_retire);
    events[1] = actor_of('F', queue_task_1);
    tasks[0] = actor_of('a', NULL);
    tasks[1] = actor_of('b', NULL);
    tasks[2] = actor_of('c', NULL);
    timers[0] = actor_of('T', queue_task_2);
    timer_init(&timers[0].timer, fire_actor);
    ghosts[0] = actor_of('r', NULL);
    int descriptors[2] = { ready_descriptor(), ready_descriptor() };
    for (int i = 0; i < 2; i++) {
        assert_true(loop_watch(&loop, &events[i].source, descriptors[i], NULL));
    }
    timer_set(&loop.timers, &timers[0].timer, loop.now_ms);
    loop.after_turn = end_of_turn;
    loop.after_turn_argument = (char[]){ '.' };
    loop_turn(&loop, 0);
    assert_true(strcmp(story, "EaFbTcr.") == 0 || strcmp(story, "FbEaTcr.") == 0);
    assert_int_equal(loop.turns, 1);
    for (int i = 0; i < 2; i++) {
        loop_unwatch(&loop, &events[i].source, true);
        close(descriptors[i]);
    }
}

static void tasks_run_in_order_of_queueing_and_each_once(void **state)
{
    for (int i = 0; i < 3; i++) {
        tasks[i] = actor_of((char)('a' + i), NULL);
    }
    loop_enqueue(&loop, &tasks[2].task);
    loop_enqueue(&loop, &tasks[0].task);
    loop_enqueue(&loop, &tasks[2].task);
    loop_enqueue(&loop, &tasks[1].task);
    loop_turn(&loop, 1000);
    assert_string_equal(story, "cab");
    loop_enqueue(&loop, &tasks[0].task);
    loop_turn(&loop, 1000);
    assert_string_equal(story, "caba");
}

static void a_task_may_queue_itself_again(void **state)
{
    tasks[0] = actor_of('a', NULL);
    tasks[1] = actor_of('b', NULL);
    loop_enqueue(&loop, &tasks[0].task);
    loop_turn(&loop, 0);
    loop_enqueue(&loop, &tasks[0].task);
    loop_enqueue(&loop, &tasks[1].task);
    loop_turn(&loop, 0);
    assert_string_equal(story, "aab");
}

static void go_on_next_turn(struct actor *actor) { loop_enqueue_next(&loop, &actor->task); }

/* However long it could go on, the turn ends, and the next one begins at once. */
static void a_task_that_goes_on_next_turn_does_not_keep_this_one(void **state)
{
    tasks[0] = actor_of('a', go_on_next_turn);
    tasks[1] = actor_of('b', NULL);
    loop_enqueue(&loop, &tasks[0].task);
    loop_enqueue(&loop, &tasks[1].task);
    loop_turn(&loop, 0);
    assert_string_equal(story, "ab");
    loop_enqueue(&loop, &tasks[0].task); /* it is queued already */
    uint64_t begin_ms = loop.now_ms;
    loop_turn(&loop, 10000);
    assert_string_equal(story, "aba");
    assert_true(loop.now_ms - begin_ms < 5000);
}

static void what_waits_for_the_next_turn_can_be_dequeued(void **state)
{
    for (int i = 0; i < 3; i++) {
        tasks[i] = actor_of((char)('a' + i), NULL);
        loop_enqueue_next(&loop, &tasks[i].task);
    }
    loop_dequeue(&loop, &tasks[1].task);
    loop_dequeue(&loop, &tasks[2].task);
    loop_enqueue(&loop, &tasks[1].task);
    loop_enqueue_next(&loop, &tasks[2].task);
    loop_turn(&loop, 0);
    assert_string_equal(story, "bac");
}

static void a_dequeued_task_does_not_run_wherever_it_stood(void **state)
{
    for (int gone = 0; gone < 3; gone++) {
        story[0] = '\0';
        for (int i = 0; i < 3; i++) {
            tasks[i] = actor_of((char)('a' + i), NULL);
            loop_enqueue(&loop, &tasks[i].task);
        }
        loop_dequeue(&loop, &tasks[gone].task);
        loop_dequeue(&loop, &tasks[gone].task);
        assert_false(tasks[gone].task.queued);
        memset(&tasks[gone].task, 0xee, sizeof tasks[gone].task); /* nothing points at it any more */
        loop_turn(&loop, 0);
        const char *expected[] = { "bc", "ac", "ab" };
        assert_string_equal(story, expected[gone]);
        tasks[0] = actor_of('x', NULL);
        loop_enqueue(&loop, &tasks[0].task);
        loop_turn(&loop, 0);
        assert_int_equal(story[2], 'x');
    }
}

static void dequeue_task_1_and_queue_it_last(struct actor *actor)
{
    loop_dequeue(&loop, &tasks[1].task);
    loop_enqueue(&loop, &tasks[1].task);
}

static void a_task_queued_again_after_dequeue_goes_to_the_end(void **state)
{
    tasks[0] = actor_of('a', dequeue_task_1_and_queue_it_last);
    tasks[1] = actor_of('b', NULL);
    tasks[2] = actor_of('c', NULL);
    for (int i = 0; i < 3; i++) {
        loop_enqueue(&loop, &tasks[i].task);
    }
    loop_turn(&loop, 0);
    assert_string_equal(story, "acb");
}

static void unwatch_the_other(struct actor *actor)
{
    struct actor *other = actor == &events[0] ? &events[1] : &events[0];
    loop_unwatch(&loop, &other->source, false);
}

static void unwatching_drops_the_events_of_this_turn(void **state)
{
    int descriptors[2] = { ready_descriptor(), ready_descriptor() };
    for (int i = 0; i < 2; i++) {
        events[i] = actor_of('E', unwatch_the_other);
        assert_true(loop_watch(&loop, &events[i].source, descriptors[i], NULL));
    }
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    assert_string_equal(story, "E");
    for (int i = 0; i < 2; i++) {
        loop_unwatch(&loop, &events[i].source, true);
        close(descriptors[i]);
    }
}

static int quiet_descriptor;

static void move_the_other_to_the_quiet_descriptor(struct actor *actor)
{
    struct actor *other = actor == &events[0] ? &events[1] : &events[0];
    loop_unwatch(&loop, &other->source, false);
    assert_true(loop_watch(&loop, &other->source, quiet_descriptor, NULL));
}

/* The other's pending event belonged to its old descriptor; it must not be taken for one of the new. */
static void a_source_watched_anew_in_the_same_turn_sees_no_event_of_its_old_descriptor(void **state)
{
    int descriptors[2] = { ready_descriptor(), ready_descriptor() }, pair[2];
    assert_int_equal(pipe(pair), 0);
    quiet_descriptor = pair[0];
    for (int i = 0; i < 2; i++) {
        events[i] = actor_of('E', move_the_other_to_the_quiet_descriptor);
        assert_true(loop_watch(&loop, &events[i].source, descriptors[i], NULL));
    }
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    assert_string_equal(story, "E");
    for (int i = 0; i < 2; i++) {
        loop_unwatch(&loop, &events[i].source, true);
        close(descriptors[i]);
        close(pair[i]);
    }
}

static void retire_one_more(struct actor *actor) { loop_retire(&loop, &ghosts[1].retired, destroy_actor); }

static void what_is_retired_while_freeing_is_freed_too(void **state)
{
    ghosts[0] = actor_of('r', retire_one_more);
    ghosts[1] = actor_of('s', NULL);
    loop_retire(&loop, &ghosts[0].retired, destroy_actor);
    loop_turn(&loop, 1000);
    assert_string_equal(story, "rs");
}

static void an_edge_is_told_once_a_level_again_and_again(void **state)
{
    int descriptor = ready_descriptor();
    events[0] = actor_of('e', NULL);
    assert_true(loop_watch(&loop, &events[0].source, descriptor, NULL));
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    assert_string_equal(story, "e");
    loop_unwatch(&loop, &events[0].source, false);

    events[1] = actor_of('l', NULL);
    assert_true(loop_watch_level(&loop, &events[1].source, descriptor, EPOLLIN, NULL));
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    assert_string_equal(story, "ell");
    assert_true(loop_watch_level(&loop, &events[1].source, descriptor, 0, NULL));
    loop_turn(&loop, 0);
    assert_string_equal(story, "ell");

    /* As a library does: closed without a word, and the next descriptor has the same number. */
    close(descriptor);
    assert_int_equal(ready_descriptor(), descriptor);
    assert_true(loop_watch_level(&loop, &events[1].source, descriptor, EPOLLIN, NULL));
    loop_turn(&loop, 0);
    assert_string_equal(story, "elll");
    loop_unwatch(&loop, &events[1].source, true);
    close(descriptor);
}

static void a_descriptor_that_cannot_be_watched_is_an_error_with_words(void **state)
{
    struct error error;
    events[0] = actor_of('e', NULL);
    assert_false(loop_watch(&loop, &events[0].source, 9999, &error));
    assert_int_equal(events[0].source.descriptor, -1);
    assert_string_equal(error.text, "cannot watch descriptor 9999: bad file descriptor");
    loop_unwatch(&loop, &events[0].source, true);
}

static void stop_the_loop(struct actor *actor) { loop_stop(&loop); }

static void the_loop_wakes_for_its_timers_and_not_before(void **state)
{
    timers[0] = actor_of('T', stop_the_loop);
    timer_init(&timers[0].timer, fire_actor);
    loop_update_time(&loop);
    uint64_t deadline_ms = loop.now_ms + 30;
    timer_set(&loop.timers, &timers[0].timer, deadline_ms);
    loop_run(&loop);
    assert_string_equal(story, "T");
    assert_in_range(loop.now_ms, deadline_ms, deadline_ms + 500);
    assert_in_range(loop.turns, 1, 5);
}

static void count_turns(struct loop *the_loop, void *argument)
{
    if (the_loop->turns == 2) loop_stop(the_loop);
}

static void an_idle_loop_still_turns_every_100_ms(void **state)
{
    uint64_t begin_ms = loop.now_ms;
    loop.after_turn = count_turns;
    loop_run(&loop);
    assert_in_range(loop.now_ms - begin_ms, 199, 1000);
    assert_true(loop.wall_ns > UINT64_C(1700000000) * 1000000000);
    assert_int_equal(loop.now_ns / 1000000, loop.now_ms);
}

static void ignore_signal(int number) {}

static void *interrupt(void *main_thread)
{
    nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
    return NULL;
}

static void a_signal_only_ends_the_wait(void **state)
{
    struct sigaction action = { .sa_handler = ignore_signal };
    sigaction(SIGUSR1, &action, NULL);
    tasks[0] = actor_of('a', NULL);
    pthread_t self = pthread_self(), other;
    assert_int_equal(pthread_create(&other, NULL, interrupt, &self), 0);
    loop_turn(&loop, 5000);
    pthread_join(other, NULL);
    assert_int_equal(loop.turns, 1);
}

int main(void)
{
#define LOOP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest all[] = {
        LOOP_TEST(a_turn_goes_event_tasks_timers_tasks_retired_after_turn),
        LOOP_TEST(tasks_run_in_order_of_queueing_and_each_once),
        LOOP_TEST(a_task_may_queue_itself_again),
        LOOP_TEST(a_task_that_goes_on_next_turn_does_not_keep_this_one),
        LOOP_TEST(what_waits_for_the_next_turn_can_be_dequeued),
        LOOP_TEST(a_dequeued_task_does_not_run_wherever_it_stood),
        LOOP_TEST(a_task_queued_again_after_dequeue_goes_to_the_end),
        LOOP_TEST(unwatching_drops_the_events_of_this_turn),
        LOOP_TEST(a_source_watched_anew_in_the_same_turn_sees_no_event_of_its_old_descriptor),
        LOOP_TEST(what_is_retired_while_freeing_is_freed_too),
        LOOP_TEST(an_edge_is_told_once_a_level_again_and_again),
        LOOP_TEST(a_descriptor_that_cannot_be_watched_is_an_error_with_words),
        LOOP_TEST(the_loop_wakes_for_its_timers_and_not_before),
        LOOP_TEST(an_idle_loop_still_turns_every_100_ms),
        LOOP_TEST(a_signal_only_ends_the_wait),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
