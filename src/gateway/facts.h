/* gateway/facts.h: what the control thread needs of a configuration, as a copy of its own: the configuration itself belongs to the
 * builder's thread and soon goes. */
#ifndef SLUICE_GATEWAY_FACTS_H
#define SLUICE_GATEWAY_FACTS_H

#include "admin/admin.h"
#include "config/config.h"
#include "gateway/entrance.h"
#include "gateway/worker.h"

#include <sys/types.h>

/* Where something stands in the configuration file; line 0: nowhere. */
struct place_in_file {
    uint32_t line, column;
};

struct facts {
    unsigned workers;
    struct address *listeners;
    struct place_in_file *listener_places;
    size_t listener_count;
    bool admin_enabled;
    struct address admin;
    struct place_in_file admin_place;
    bool probes_enabled;
    struct address probes;
    struct entrances
        *admin_entrances;      /* of these two: one reference, of whoever prepared the facts; NULL: taken over */
    char *access_log;          /* NULL: off; "-": standard output; else an absolute path */
    int access_log_descriptor; /* opened for it by facts_prepare, until the log takes it over; -1: none */
    char *user;                /* NULL: stay */
    bool user_known;           /* facts_prepare has found it: user_id and group_id are its */
    uid_t user_id;
    gid_t group_id;
    struct slice *resolver_servers;
    size_t resolver_server_count;
    uint64_t resolver_ttl_minimum_ms, resolver_ttl_maximum_ms;
    uint64_t drain_timeout_ms, tunnel_drain_timeout_ms, stall_timeout_ms;
    struct admin_settings *admin_settings; /* one reference; NULL: taken over */
    struct vector certificates;            /* struct certificate_fact: of its listeners, once they were read */
};

struct facts *facts_create(const struct configuration *);
void facts_destroy(struct facts *); /* NULL is allowed */
/* Gets of the outside what can't be had for certain, so that nothing fails any more once the configuration is being put in force: opens
 * the access log, unless it is the one in force (NULL: none is), and, where the process may change its user, looks that up. What fails
 * is a problem with its place in the file, and the result false. Waits for the disk and for the user database: not for the control
 * thread while it serves. */
bool facts_prepare(struct facts *, const struct configuration *, const char *log_in_force, bool may_change_user,
                   struct problems *) MUST_USE;
/* Where the address that is to be listened on is written. */
struct place_in_file facts_find_address(const struct facts *, const struct address *);
/* The opened log, now the caller's; -1: none. */
int facts_take_log(struct facts *);
/* What sessions, calls and connection limits take from a configuration. */
struct worker_settings facts_worker_settings(const struct configuration *);

#endif
