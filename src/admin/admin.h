/* admin/: the REST API of the internal listener: a handler over the same HTTP stack, on a worker of its own, off the data path.
 *
 *   admin.c      a request's way here: guard ─► endpoint ─► body ─► answer
 *   guard.c      who may: Host and Origin, bearer tokens or client certificate, roles
 *   logins.c     failed logins are slowed, by address
 *   endpoints.c  the table of paths and methods: 404, 405 with Allow and the docs come from it
 *   query.c      what stands behind the '?'
 *   body.c       a request's body, whole and under a limit
 *   errand.c     what is asked of the changes thread, and what became of it
 *   resources.c  /admin/{kind}[/{id}]: reads, and writes as change orders (changes/changes.h)
 *   outcome.c    what an order's outcome is called on the wire
 *   list.c       /admin/{kind}: pages and filters
 *   whole.c      /admin/config, /admin/validate, /admin/revisions
 *   state.c      /admin/health, /admin/metrics, /admin/routes/{id}/stats and /mirror, /live, /ready
 *   answer.c     answers: JSON, problem+json, ETags
 *   document.c   looking into JSON texts without reading them whole
 *   audit.c      who changed what, when, from where
 *
 * Reads are answered from the catalog at once; what needs the store waits for the changes thread by a ticket. */
#ifndef SLUICE_ADMIN_ADMIN_H
#define SLUICE_ADMIN_ADMIN_H

#include "chain/chain.h"
#include "changes/changes.h"
#include "observe/metrics.h"

extern const struct handler handler_admin;
/* No filters, this one handler. */
extern const struct policy_registry admin_registry;

/* How the process is, for /admin/health and /ready. */
struct admin_health {
    bool is_serving;  /* routes are in force and sockets listen */
    bool is_draining; /* not ready any more */
    unsigned workers, workers_alive;
    uint64_t snapshot_version, routes, uptime_ms;
    int64_t connections, requests_in_flight;
    unsigned instances_up, instances_down, instances_unknown; /* of services with a healthCheck */
};

/* What the handler works on: made by the gateway before the admin worker starts, outlives it. Reached by exchange->worker->admin. */
struct admin_surroundings {
    struct metrics *metrics;
    struct mirrors *mirrors; /* filters/mirror_figures.h; NULL: nothing is mirrored here */
    struct changes *changes; /* NULL: nothing can be read or changed; what shows the process's state works */
    const struct policy_kinds *kinds;
    /* Any thread; the settings may change with a reload: a copy, one reference, given back by admin_settings_drop(). */
    struct admin_settings *(*settings)(void *argument);
    void (*health)(void *argument, struct admin_health *);
    /* JSON array of a service's instances with what their checks said, into a malloc'ed text; NULL: it has no checks. Any thread. May be
     * NULL. */
    char *(*instances)(void *argument, struct slice service_id);
    /* JSON array of the gateways that share the store, this one included, into a malloc'ed text; NULL: nothing is known of others. May be NULL. */
    char *(*gateways)(void *argument);
    void *argument;
    /* Internal, the admin worker's thread alone: */
    struct admin_logins *logins; /* made at the first login by token */
    _Atomic size_t body_bytes;   /* of bodies that are held, also by orders on their way; any thread gives back */
    char *openapi;               /* made when it is asked for */
    struct {
        uint64_t second;
        uint32_t written, left_out;
    } refusals; /* in the audit log */
};
/* After the admin worker has ended. */
void admin_surroundings_release(struct admin_surroundings *);

/* What guards the API, from the configuration. Immutable, counted. */
enum admin_role { ADMIN_READ_ONLY, ADMIN_ADMIN };
struct admin_token {
    char *name;
    uint8_t hash[32]; /* SHA-256 of the token's text */
    enum admin_role role;
};
struct admin_settings {
    _Atomic uint32_t references;
    struct admin_token *tokens;
    size_t token_count;
    bool client_certificates; /* the listener asks for them: a verified one is an admin, named by its subject */
    bool match_required;      /* admin.requireIfMatch: writes without If-Match are 428 */
    char **hosts;             /* names beside loopback's and addresses that a Host may say; lower case */
    size_t host_count;
};
struct admin_settings *admin_settings_create(const struct configuration *);
void admin_settings_drop(struct admin_settings *);
/* Nobody is asked who he is: for a listener that only this machine reaches. */
bool admin_settings_are_open(const struct admin_settings *);

#endif
