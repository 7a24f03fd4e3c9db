#include "unit_test.h"

#include "jobs/jobs.h"

#include <pthread.h>
#include <semaphore.h>

#define QUEUE_MAX 1024

struct sum {
    struct job job;
    uint64_t result;
    pthread_t worked_on, done_on;
    int number;
    bool done;
};

struct office {
    struct loop loop;
    struct mailbox mailbox;
    struct jobs *jobs;
    int done, expected;
};

static struct office office;
static struct sum sums[QUEUE_MAX + 8];
static sem_t gate;

static void work(struct job *job)
{
    struct sum *sum = CONTAINER_OF(job, struct sum, job);
    sum->worked_on = pthread_self();
    for (int i = 1; i <= sum->number; i++) {
        sum->result += (uint64_t)i;
    }
}

static void work_behind_the_gate(struct job *job)
{
    sem_wait(&gate);
    work(job);
}

static void done(struct job *job, void *receiver)
{
    struct sum *sum = CONTAINER_OF(job, struct sum, job);
    assert_ptr_equal(receiver, &office);
    sum->done_on = pthread_self();
    sum->done = true;
    if (++office.done == office.expected) loop_stop(&office.loop);
}

static void open_office(unsigned threads)
{
    office = (struct office){ 0 };
    assert_true(loop_init(&office.loop, NULL));
    assert_true(mailbox_init(&office.mailbox, &office.loop, &office, NULL));
    assert_non_null(office.jobs = jobs_create(threads, NULL));
    assert_int_equal(sem_init(&gate, 0, 0), 0);
}

static void close_office(void)
{
    mailbox_release(&office.mailbox);
    loop_release(&office.loop);
    sem_destroy(&gate);
}

static bool submit(int i, void (*how)(struct job *))
{
    sums[i] = (struct sum){ .job = { .reply_to = &office.mailbox, .work = how, .done = done }, .number = i };
    return jobs_submit(office.jobs, &sums[i].job);
}

static void work_is_done_on_a_pool_thread_and_told_on_the_loops_own(void **state)
{
    open_office(3);
    office.expected = 500;
    for (int i = 0; i < office.expected; i++) {
        assert_true(submit(i, work));
    }
    loop_run(&office.loop);
    for (int i = 0; i < office.expected; i++) {
        assert_int_equal(sums[i].result, (uint64_t)i * (uint64_t)(i + 1) / 2);
        assert_false(pthread_equal(sums[i].worked_on, pthread_self()));
        assert_true(pthread_equal(sums[i].done_on, pthread_self()));
    }
    jobs_destroy(office.jobs);
    close_office();
}

static void a_full_queue_refuses_and_leaves_the_job_with_the_caller(void **state)
{
    open_office(1);
    int taken = 0;
    while (taken < QUEUE_MAX + 8 && submit(taken, work_behind_the_gate)) {
        taken++;
    }
    /* One job may have been taken off the queue already. */
    assert_in_range(taken, QUEUE_MAX, QUEUE_MAX + 1);
    office.expected = taken;
    for (int i = 0; i < taken; i++) {
        sem_post(&gate);
    }
    loop_run(&office.loop);
    assert_int_equal(office.done, taken);
    assert_false(sums[taken].done);
    assert_true(submit(0, work));
    jobs_destroy(office.jobs);
    close_office();
}

static void *open_the_gate(void *argument)
{
    struct timespec a_while = { .tv_nsec = 20000000 };
    nanosleep(&a_while, NULL);
    sem_post(&gate);
    return NULL;
}

static void started(struct job *job)
{
    sem_post(&gate);
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    work(job);
}

static void destroying_waits_for_the_running_job_and_drops_the_waiting_ones(void **state)
{
    open_office(1);
    assert_true(submit(0, started));
    sem_wait(&gate);
    assert_true(submit(1, work));
    assert_true(submit(2, work));
    jobs_destroy(office.jobs);
    close_office(); /* the mailbox delivers what is inside */
    assert_true(sums[0].done);
    assert_false(sums[1].done || sums[2].done);
}

static void a_slow_job_does_not_hold_up_the_others(void **state)
{
    open_office(2);
    pthread_t opener;
    assert_true(submit(0, work_behind_the_gate));
    office.expected = 11;
    for (int i = 1; i <= 10; i++) {
        assert_true(submit(i, work));
    }
    assert_int_equal(pthread_create(&opener, NULL, open_the_gate, NULL), 0);
    while (office.done < 10) {
        loop_turn(&office.loop, 100);
    }
    loop_run(&office.loop);
    for (int i = 0; i <= 10; i++) {
        assert_true(sums[i].done);
    }
    pthread_join(opener, NULL);
    jobs_destroy(office.jobs);
    close_office();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_is_done_on_a_pool_thread_and_told_on_the_loops_own),
        cmocka_unit_test(a_slow_job_does_not_hold_up_the_others),
        cmocka_unit_test(a_full_queue_refuses_and_leaves_the_job_with_the_caller),
        cmocka_unit_test(destroying_waits_for_the_running_job_and_drops_the_waiting_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
