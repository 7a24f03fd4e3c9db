/* upstream/: everything behind the gateway: services, their instances, which one to take, warm connections, and the one HTTP
 * client of the request path, the call.
 *
 * instance.h  one address of one service: state that outlives snapshots      service.h   immutable: what a call is made to
 * balancer.h  pure choice among endpoints                                   pool.h      a worker's connections to an instance
 * health.h    up or down, by what checks said                              transport.h in which version of HTTP, over TLS or not
 * call.h      a request to a service: tries, retries, deadline               worker.h    what a worker keeps for all of this */
#ifndef SLUICE_UPSTREAM_UPSTREAM_H
#define SLUICE_UPSTREAM_UPSTREAM_H

#include "upstream/call.h"
#include "upstream/instance.h"
#include "upstream/service.h"
#include "upstream/worker.h"

#endif
