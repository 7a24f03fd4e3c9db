/* gateway/admin_worker.h: one more worker, off the data path, with the internal listener and its one fixed route to the admin
 * handler; so that rendering metrics (and later the admin API) never takes a turn of a worker that serves traffic. */
#ifndef SLUICE_GATEWAY_ADMIN_WORKER_H
#define SLUICE_GATEWAY_ADMIN_WORKER_H

#include "gateway/worker.h"

struct admin_worker;

/* Running when it returns; sockets come by worker_listen. The surroundings are what the handler works on, and outlive it; the admin
 * worker's own requests are not counted in their metrics. */
struct admin_worker *admin_worker_create(const struct policy_registry *, struct admin_surroundings *,
                                         struct address_limits *, struct entrances *, struct error *);
/* Other certificates, or another policy for clients' ones: whoever connects from now on meets them. Retains them. */
void admin_worker_renew(struct admin_worker *, struct entrances *);
struct worker *admin_worker_get(struct admin_worker *);
void admin_worker_stop(struct admin_worker *); /* and joins */
void admin_worker_destroy(struct admin_worker *);

#endif
