/* gateway/health_worker.h: the one checker of a process: a thread with a loop and an upstream_worker of its own (its lines in instances and
 * services are those behind the workers'), off the workers and off the control loop, so that a slow check delays nobody.
 *
 * It takes over every publication as a worker does, but nobody waits for it: a change is in force when the workers have it. Each instance of a service with a healthCheck is asked each `interval`, spread over it by
 * a jitter from its identity, by an upstream_call of kind CALL_HEALTH; a check that doesn't answer within `timeout` has failed. At most
 * 256 checks are under way at once. What changes is logged: service, instance, up or down, and why.
 *
 *   health_worker.c   the thread: publications, mail, its end
 *   health_checks.h   who is asked, when, and what comes of it; on that thread's loop
 *   health_report.c   what others see of it: JSON for the admin API, metrics */
#ifndef SLUICE_GATEWAY_HEALTH_WORKER_H
#define SLUICE_GATEWAY_HEALTH_WORKER_H

#include "gateway/worker.h"

struct health_worker;

/* `line` is the number of workers. Publications are held by one more than these, `first` too; `to_adopt` counts the workers alone. */
struct health_worker *health_worker_create(unsigned line, struct publication *first, struct error *);
bool health_worker_start(struct health_worker *, struct error *) MUST_USE;
void health_worker_stop(struct health_worker *); /* and joins, at once, whatever is under way */
/* After stop (or never started). Lets go of its publication. */
void health_worker_destroy(struct health_worker *);

/* Any thread; as worker_publish and worker_forget. */
void health_worker_publish(struct health_worker *, struct publication *);
void health_worker_forget(struct health_worker *, const struct instance *, void (*done)(void *argument),
                          void *argument);
/* Nobody is asked any more; what is known stays as it is, and publications are taken over as before. */
void health_worker_drain(struct health_worker *);
/* A JSON array of the service's instances: [{"instance","state","since","lastCheck","lastStatus","reason"}], times in RFC 3339, what is
 * not known null. The caller's (free). NULL: the service has no healthCheck. */
char *health_worker_describe(struct health_worker *, struct slice service_id);
/* How many instances with a healthCheck are in each state (enum health_state). */
void health_worker_count(struct health_worker *, unsigned counts[HEALTH_STATES]);
/* sluice_instance_up{service,instance} of those that were checked, sluice_health_checks_total{service,result}. */
/* As metrics_source.write_some: they may be thousands. */
bool health_worker_write_metrics(struct health_worker *, struct metrics_text *, uint64_t *place);

#endif
