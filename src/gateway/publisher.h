/* gateway/publisher.h: the builder's thread: reads configuration, makes snapshots, hands them to the workers, takes them back, and
 * sees that what nobody uses any more goes: instances after every worker closed its pool, routes after the last long exchange.
 *
 * publisher_create and publisher_load_first run on the control thread before the thread is started; afterwards all is done by mail. */
#ifndef SLUICE_GATEWAY_PUBLISHER_H
#define SLUICE_GATEWAY_PUBLISHER_H

#include "changes/changes.h"
#include "gateway/facts.h"
#include "gateway/gateway.h"
#include "gateway/health_worker.h"
#include "gateway/key_index.h"
#include "gateway/worker.h"
#include "jobs/jobs.h"
#include "keys/key_sets.h"

struct publisher;
struct limit_counters; /* shared/limit_counters.h */

/* What it tells the control thread, delivered on that thread by the mailbox. */
struct publisher_events {
    /* The file was read again: `facts` (now the callee's, and prepared) are what it says, or `failure` says why it can't be used.
     * With facts, publisher_apply or publisher_discard is to follow. */
    void (*read)(void *owner, struct facts *facts, const char *failure);
    /* It is in force on all workers, or `failure` says why what was before stays. */
    void (*applied)(void *owner, const char *failure);
    /* A host name comes into use or goes out of use. */
    void (*name_used)(void *owner, struct slice host, bool in_use);
    /* A change brought other certificates: what is to be watched from now on (certificate_facts_release), and the admin listener's entrances;
     * both are the callee's. */
    void (*certificates)(void *owner, struct vector *certificates, struct entrances *admin);
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
struct mirrors *publisher_mirrors(const struct publisher *);
/* True: something in the store can't be used here, and load_first has loaded the file alone. The rest follows by the changes thread as soon
 * as that runs, as version 2 or later; until then nothing may be served. */
bool publisher_is_bare(const struct publisher *);
/* Opened by load_first (of a file store it takes no orders); the publisher's, until publisher_destroy. */
struct changes *publisher_changes(const struct publisher *);
/* Made by load_first; the publisher's, which keeps it up to date from publisher_start to publisher_stop. */
struct key_index *publisher_key_index(struct publisher *);
/* Made by load_first; the publisher's. */
struct limit_counters *publisher_limits(const struct publisher *);
/* The same of the key sets that tokens are verified with. NULL: not made yet. */
struct key_sets *publisher_key_sets(const struct publisher *);
/* Before publisher_start: publications go to it as well. It stays the caller's and lives as the workers do. */
void publisher_set_checker(struct publisher *, struct health_worker *);
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
/* Changes, from one thread that makes them (struct changes_gateway of changes/changes.h; `argument` is a struct publisher). Between
 * publisher_start and publisher_stop. A reload that falls between prepare and commit waits for its end.
 * Waits until the builder's thread has compiled. Takes the change over. NULL: there were problems. */
struct prepared_change *publisher_prepare(void *argument, struct configuration_change *, struct problems *);
/* Can't fail. `in_force` runs when every worker has it, on a worker's thread, and must not wait there. May be NULL. */
void publisher_commit(void *argument, struct prepared_change *, void (*in_force)(void *argument),
                      void *in_force_argument);
void publisher_abandon(void *argument, struct prepared_change *);
/* The text of the file that was loaded last, as a descriptor that is now the caller's; -1: none that was not taken yet. */
int publisher_take_good_text(struct publisher *);
uint64_t publisher_version(const struct publisher *); /* of the newest snapshot */
uint64_t publisher_routes(const struct publisher *);

#endif
