/* cli/trial.h: a gateway in memory for the tests of a configuration: its compiled routes and policies, a worker without sockets, clients made of
 * memory, and a stand-in that answers for every service. Nothing is sent and nobody is asked.
 *
 * One thread. Requests come one after the other and meet the same worker, so what policies count goes on from one to the next. */
#ifndef SLUICE_CLI_TRIAL_H
#define SLUICE_CLI_TRIAL_H

#include "chain/chain.h"

struct trial;

/* Takes the configuration over. NULL: there were problems. */
struct trial *trial_create(struct configuration *, const struct policy_registry *, struct problems *);
void trial_destroy(struct trial *); /* NULL is allowed */

/* What came of a request; texts live in the arena that was handed in. */
struct trial_outcome {
    unsigned status;    /* 0: it had no answer */
    struct slice error; /* the operator's text, where the gateway itself refused or failed; absent else */
    struct slice route, service, rule; /* names, of a route without one its path; empty: none */
    struct slice route_id;
    struct pair_list headers;          /* the answer's, in order */
    bool was_asked;                    /* a service was, */
    struct slice upstream_path;        /* and for this, with its query, */
    struct pair_list upstream_headers; /* and with these */
    struct slice_list explanations;    /* "jwt-auth: ...": policies in their order, then the handler; where wanted */
};

/* Sends the test's request, as often as it says, and tells of the last one. */
void trial_run(struct trial *, const struct test_config *, bool explains, struct arena *, struct trial_outcome *);

#endif
