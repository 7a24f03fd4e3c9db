/* jobs/: a small pool of threads for what must block or burn CPU: file reads, password hashing, prefilter builds.
 *
 * A job runs on a pool thread, then its completion is posted to the mailbox of the loop that asked. The memory of a job
 * belongs to the pool from submit until `done` runs. */
#ifndef SLUICE_JOBS_JOBS_H
#define SLUICE_JOBS_JOBS_H

#include "event/mailbox.h"

struct jobs;

struct job {
    struct message message; /* internal */
    struct job *next;       /* internal */
    struct mailbox *reply_to;
    void (*work)(struct job *);                 /* on a pool thread; touches only the job */
    void (*done)(struct job *, void *receiver); /* on the mailbox's thread */
};

struct jobs *jobs_create(unsigned threads, struct error *);
/* Waits for running jobs; jobs not begun are dropped without `done`. */
void jobs_destroy(struct jobs *);
/* Any thread: whether jobs_destroy would have to wait, or a job's `done` be lost. */
bool jobs_are_under_way(struct jobs *);
/* Any thread. False when the queue (1,024) is full: the caller keeps the job. */
bool jobs_submit(struct jobs *, struct job *) MUST_USE;

#endif
