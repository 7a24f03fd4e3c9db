/* gateway/publisher.h: the builder's thread: reads configuration, makes snapshots, hands them to the workers, takes them back, and
 * sees that what nobody uses any more goes: instances after every worker closed its pool, routes after the last long exchange.
 *
 * publisher_create and publisher_load_first run on the control thread before the thread is started; afterwards all is done by mail. */
#ifndef SLUICE_GATEWAY_PUBLISHER_H
#define SLUICE_GATEWAY_PUBLISHER_H

#include "gateway/facts.h"
#include "gateway/gateway.h"
#include "gateway/worker.h"
#include "jobs/jobs.h"

struct publisher;

/* What it tells the control thread, delivered on that thread by the mailbox. */
struct publisher_events {
    /* The file was read again: `facts` (now the callee's, and prepared) are what it says, or `failure` says why it can't be used.
     * With facts, publisher_apply or publisher_discard is to follow. */
    void (*read)(void *owner, struct facts *facts, const char *failure);
    /* It is in force on all workers, or `failure` says why what was before stays. */
    void (*applied)(void *owner, const char *failure);
    /* A host name comes into use or goes out of use. */
    void (*name_used)(void *owner, struct slice host, bool in_use);
};

struct publisher_options {
    const struct gateway_options *gateway;
    struct jobs *jobs;
    struct ticket_ring *ticket_ring; /* outlives it */
    struct mailbox *control;
    const struct publisher_events *events;
    void *owner;
};

struct publisher *publisher_create(const struct publisher_options *, struct error *);
/* Reads and compiles (the fallback where the file is not good); *facts is the caller's. NULL: *failure (free it) holds every problem. The publication is the workers' `first`. */
struct publication *publisher_load_first(struct publisher *, struct facts **facts, char **failure);
/* Made by load_first, which told how many workers there are; the publisher's. */
struct metrics *publisher_metrics(const struct publisher *);
/* Starts the thread; the workers stay the caller's and live until publisher_stop. */
bool publisher_start(struct publisher *, struct worker *const *workers, unsigned count, struct error *) MUST_USE;
/* Ends the thread, after the workers have been joined; they may be destroyed then, and the publisher after them. Nothing is read,
 * published or told any more, whatever mail is still under way. */
void publisher_stop(struct publisher *);
void publisher_destroy(struct publisher *);

/* Any thread: */
/* A reload has two halves, so that log and sockets can be had before anything changes: reading and checking, then compiling and
 * publishing. One at a time. */
void publisher_read(struct publisher *);
void publisher_apply(struct publisher *);
void publisher_discard(struct publisher *);
void publisher_addresses(struct publisher *, struct slice host, const struct address *, size_t count);
/* The text of the file that was loaded last, as a descriptor that is now the caller's; -1: none that was not taken yet. */
int publisher_take_good_text(struct publisher *);
uint64_t publisher_version(const struct publisher *); /* of the newest snapshot */
uint64_t publisher_routes(const struct publisher *);

#endif
