/* gateway/admin_worker.h: one more worker, off the data path, with the internal listener and its one fixed route to the admin
 * handler; so that rendering metrics (and later the admin API) never takes a turn of a worker that serves traffic. */
#ifndef SLUICE_GATEWAY_ADMIN_WORKER_H
#define SLUICE_GATEWAY_ADMIN_WORKER_H

#include "gateway/worker.h"

struct admin_worker;

/* Running when it returns; sockets come by worker_listen. `metrics` are the gateway's, for the handler to render; the admin worker's
 * own requests are not counted in them. */
struct admin_worker *admin_worker_create(const struct policy_registry *, struct metrics *, struct address_limits *,
                                         struct error *);
struct worker *admin_worker_get(struct admin_worker *);
void admin_worker_stop(struct admin_worker *); /* and joins */
void admin_worker_destroy(struct admin_worker *);

#endif
