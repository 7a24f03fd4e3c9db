/* gateway/facts.h: what the control thread needs of a configuration, as a copy of its own: the configuration itself belongs to the
 * builder's thread and soon goes. */
#ifndef SLUICE_GATEWAY_FACTS_H
#define SLUICE_GATEWAY_FACTS_H

#include "config/config.h"
#include "gateway/worker.h"

struct facts {
    unsigned workers;
    struct address *listeners;
    size_t listener_count;
    bool admin_enabled;
    struct address admin;
    char *access_log; /* NULL: off; "-": standard output; else an absolute path */
    char *user;       /* NULL: stay */
    struct slice *resolver_servers;
    size_t resolver_server_count;
    uint64_t resolver_ttl_minimum_ms, resolver_ttl_maximum_ms;
    uint64_t drain_timeout_ms, stall_timeout_ms;
};

struct facts *facts_create(const struct configuration *);
void facts_destroy(struct facts *); /* NULL is allowed */
/* What sessions, calls and connection limits take from a configuration. */
struct worker_settings facts_worker_settings(const struct configuration *);

#endif
