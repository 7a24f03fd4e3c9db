#include "jobs/jobs.h"

#include "base/memory.h"

#include <pthread.h>
#include <signal.h>

#define JOBS_WAITING_MAX 1024

struct jobs {
    pthread_mutex_t lock; /* guards all below, up to `threads` */
    pthread_cond_t changed;
    struct job *first, **last;
    unsigned waiting, running;
    bool stopping;
    unsigned thread_count;
    pthread_t threads[];
};

/* Runs on the asking loop's thread. */
static void report_done(struct message *message, void *receiver)
{
    struct job *job = CONTAINER_OF(message, struct job, message);
    job->done(job, receiver);
}

/* Waits for the next job; NULL when the pool stops. */
static struct job *take_job(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    while (!jobs->first && !jobs->stopping) pthread_cond_wait(&jobs->changed, &jobs->lock);
    struct job *job = jobs->stopping ? NULL : jobs->first;
    if (job) {
        jobs->first = job->next;
        if (!jobs->first) jobs->last = &jobs->first;
        jobs->waiting--;
        jobs->running++;
    }
    pthread_mutex_unlock(&jobs->lock);
    return job;
}

static void job_is_done(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->running--;
    pthread_mutex_unlock(&jobs->lock);
}

static void *run_jobs(void *argument)
{
    struct jobs *jobs = argument;
    struct job *job;
    pthread_setname_np(pthread_self(), "job");
    while ((job = take_job(jobs))) {
        job->work(job);
        mailbox_post(job->reply_to, &job->message);
        job_is_done(jobs);
    }
    return NULL;
}

/* Signals are the main thread's business: new threads inherit that all are blocked. */
static int start_thread(struct jobs *jobs, pthread_t *thread)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(thread, NULL, run_jobs, jobs);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

struct jobs *jobs_create(unsigned threads, struct error *error)
{
    PROMISE(threads > 0);
    struct jobs *jobs = memory_allocate(sizeof *jobs + threads * sizeof jobs->threads[0]);
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->changed, NULL);
    jobs->last = &jobs->first;
    while (jobs->thread_count < threads) {
        int failure = start_thread(jobs, &jobs->threads[jobs->thread_count]);
        if (failure) {
            error_format(error, "cannot start a thread for jobs: %s", error_from_errno(failure));
            jobs_destroy(jobs);
            return NULL;
        }
        jobs->thread_count++;
    }
    return jobs;
}

void jobs_destroy(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    for (unsigned i = 0; i < jobs->thread_count; i++) pthread_join(jobs->threads[i], NULL);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

bool jobs_are_under_way(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    bool under_way = jobs->waiting + jobs->running > 0;
    pthread_mutex_unlock(&jobs->lock);
    return under_way;
}

bool jobs_submit(struct jobs *jobs, struct job *job)
{
    job->message.deliver = report_done;
    job->next = NULL;
    pthread_mutex_lock(&jobs->lock);
    bool has_room = jobs->waiting < JOBS_WAITING_MAX;
    if (has_room) {
        *jobs->last = job;
        jobs->last = &job->next;
        jobs->waiting++;
        pthread_cond_signal(&jobs->changed);
    }
    pthread_mutex_unlock(&jobs->lock);
    return has_room;
}
