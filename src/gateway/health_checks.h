/* gateway/health_checks.h: private to the checker: who is asked, when, and what comes of it.
 *
 * All on one loop, but for what health_report.c reads under `lock`: the lists of services and their checks, and what these said. The
 * checker's thread alone writes, and takes the lock for it.
 *
 *   due ──► in line ──► under way ──► judged by the answer's head ──► the body's rest is dropped ──► due
 *
 * Where more than CHECKS_MAX would be under way they wait in line; those that gave no answer last time may have three quarters of the
 * places, so that hanging instances do not hold up those that are well. */
#ifndef SLUICE_GATEWAY_HEALTH_CHECKS_H
#define SLUICE_GATEWAY_HEALTH_CHECKS_H

#include "base/map.h"
#include "observe/metrics.h"
#include "snapshot/snapshot.h"
#include "upstream/upstream.h"

#include <pthread.h>

#define CHECKS_MAX 256
#define SLOW_CHECKS_MAX (CHECKS_MAX / 4 * 3)
#define CHECK_BODY_BYTES_MAX (64 * 1024u) /* of an answer longer than that the rest is not waited for */

enum check_result {
    CHECK_SUCCESS,
    CHECK_FAILURE,
    CHECK_SKIPPED, /* the checker itself was short of something: says nothing about the instance */
    CHECK_RESULTS
};

/* A service with a healthCheck. */
struct checked_service {
    struct health_checks *checker;
    struct service *service; /* of the newest snapshot, which holds it */
    uint64_t version;        /* of the snapshot that had it last */
    struct list_link link;   /* among all of them, by number */
    uint64_t number;         /* from 1, never used again */
    struct list_link checks; /* struct instance_check, in the order of its endpoints */
    uint64_t results[CHECK_RESULTS];
};

struct check_run;

struct instance_check {
    struct list_link link; /* in its service's */
    struct list_link line; /* while it waits for a place */
    struct checked_service *of;
    struct instance *instance;
    struct timer due;
    struct check_run *run; /* NULL: none is under way */
    uint64_t begun_ms;     /* loop time; 0: never */
    uint64_t waits_since_ms;
    uint64_t version; /* as its service's */
    bool is_slow;     /* gave no answer last time */
    char *said;       /* what the last check met, for people; NULL: it succeeded, or there was none */
};

struct health_checks {
    struct upstream_worker *upstream;
    struct snapshot_builder *builder; /* of the newest snapshot */
    pthread_mutex_t lock;
    struct map services;       /* struct checked_service by id */
    struct list_link in_order; /* the same, oldest first */
    uint64_t last_number;
    struct instance_check **by_slot; /* of their instances */
    size_t slot_count;
    struct list_link line, slow_line; /* struct instance_check */
    unsigned running, running_slow;
    bool ended;
};

void health_checks_init(struct health_checks *, struct upstream_worker *);
/* Takes over from the snapshot before (NULL: none), at the cost of a walk over the tables of services, and of what differs. */
void health_checks_adopt(struct health_checks *, const struct snapshot *before, const struct snapshot *now);
/* Breaks off what is under way and begins no more. */
void health_checks_end(struct health_checks *);
/* After end, while the newest snapshot still is held. */
void health_checks_release(struct health_checks *);

/* health_report.c; any thread. As health_worker_describe and so on. */
char *health_checks_describe(struct health_checks *, struct slice service_id);
void health_checks_count(struct health_checks *, unsigned counts[HEALTH_STATES]);
/* Some services a call; as metrics_source.write_some. */
bool health_checks_write_metrics(struct health_checks *, struct metrics_text *, uint64_t *place);

#endif
