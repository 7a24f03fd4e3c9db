/* gateway/: the wiring: one process of threads around one configuration.
 *
 *   control  (main thread)  link to the master, signals, resolver, heartbeat of the workers, gauges
 *   builder                 reads and compiles configuration, publishes snapshots, takes them back
 *   worker 0..N-1           one loop each: listeners, connections, exchanges (worker.h)
 *   admin                   one more worker, off the data path: the internal listener with /admin/...
 *   log writer, jobs        see observe/ and jobs/
 *
 * What threads say to each other goes through mailboxes; what they share is atomic and named in DESIGN section 4. */
#ifndef SLUICE_GATEWAY_GATEWAY_H
#define SLUICE_GATEWAY_GATEWAY_H

#include "chain/chain.h"
#include "gateway/supervision.h"

struct gateway_options {
    const char *config_path;                                /* NULL: proxy mode */
    const char *proxy_listen, *proxy_to, *proxy_access_log; /* `sluice proxy`; the last may be NULL */
    const char *state_directory;                            /* for the local copy of a store; NULL: none is kept */
    int fallback; /* descriptor of the configuration text that was good last; -1: none */
    int link;     /* descriptor of the supervision link to the master */
    int log;      /* what becomes standard error once it serves: until then it speaks to who started it; -1: stays */
    const struct policy_registry *registry;
    const struct policy_registry *admin_registry; /* the admin handler alone */
};

/* Runs until drained (0) or failed (1: the reason was logged). Exit status of the gateway process. */
int gateway_run(const struct gateway_options *);

#endif
