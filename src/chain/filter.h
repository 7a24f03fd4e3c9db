/* chain/filter.h: a policy: one file in filters/, one row in filters/all.c. See DESIGN section 5. */
#ifndef SLUICE_CHAIN_FILTER_H
#define SLUICE_CHAIN_FILTER_H

#include "chain/explanation.h"
#include "chain/surroundings.h"
#include "config/resources.h"
#include "expr/expression.h"
#include "http/body_pipe.h"

#define SERVICE_NONE UINT32_MAX

struct exchange;        /* exchange/exchange.h */
struct exchange_worker; /* the same */
struct template;        /* expr/template.h */
struct tunnel_hold;     /* exchange/exchange.h */

/* In this order on requests, backwards on responses. Security rests on this order; `priority` only orders inside a phase. */
enum phase {
    PHASE_EDGE,
    PHASE_IP_LIST,
    PHASE_CORS,
    PHASE_EARLY_LIMIT, /* limits that say before: identity */
    PHASE_IDENTITY,
    PHASE_ACCESS,
    PHASE_LIMIT,
    PHASE_VALIDATION,
    PHASE_TRANSFORM,
    PHASE_CACHE,
    PHASE_COUNT
};

enum filter_result {
    FILTER_NEXT,
    FILTER_RESPOND, /* exchange_respond*() was called: the response steps follow, from the filters passed so far */
    FILTER_WAIT, /* exchange_wait() was called; after exchange_resume() the filter is called again: exchange_wait_outcome() */
};

/* A stage stands between two pipes: takes from `in`, pushes to `out`, within credit. */
struct stage {
    struct exchange *exchange;
    const void *compiled;
    void *state;
};

enum stage_result {
    STAGE_CONTINUE, /* called again when `in` has something new or `out` has credit again */
    STAGE_FINISHED, /* `out` was finished or aborted and `in` is drained or stopped */
};

typedef enum stage_result filter_stage(struct stage *, struct body_pipe *in, struct body_pipe *out);

/* What a filter may ask and where it reports while it is compiled. */
struct filter_compile {
    struct problems *problems;
    const struct node *node; /* where the filter was written; for problems_add */
    /* Does the route capture the name? For templates. Global plugins are compiled once a route, so this is always one route. */
    bool (*captures)(const void *argument, struct slice name);
    const void *captures_argument;
    /* A service's place, for exchange_service(); SERVICE_NONE and a problem at `field` of `node` where there is none of that name or id. The
     * route counts as one of its users from then on: as long as the route is in force the place is that service's. */
    uint32_t (*service)(const struct filter_compile *, const char *field, struct slice name_or_id);
    void *service_argument;
    const struct policy_surroundings *surroundings; /* never NULL; what is in it may be */
    enum filter_side side;
    struct slice route_id, route_name;      /* while compiled; absent: no route */
    const struct slice_list *route_methods; /* while compiled; empty: all. NULL: no route */
    const struct chain_candidates *before;  /* while compiled: see filter_compile_who_takes() */
};

/* A text of the configuration with ${…} in it. NULL: a problem was added, at the field's value where it is there. */
struct template *filter_compile_template(const struct filter_compile *, const char *field, struct slice text) MUST_USE;
/* A text that is an expression, without "${". NULL: a problem was added likewise. At run time: exchange_evaluate(). */
struct expression *filter_compile_expression(const struct filter_compile *, const char *field, struct slice text,
                                             enum expression_type wanted) MUST_USE;
/* The same of a text that is one "${…}" and nothing else. */
struct expression *filter_compile_braced_expression(const struct filter_compile *, const char *field, struct slice text,
                                                    enum expression_type wanted) MUST_USE;

/* The policy before this one in the chain that takes a header of that name off requests: who reads it here finds nothing. *instead: see
 * filter.takes_header. NULL: none. */
const char *filter_compile_who_takes(const struct filter_compile *, struct slice header, const char **instead);

struct filter {
    const char *name;    /* kebab-case */
    const char *summary; /* one sentence */
    enum phase phase;
    /* Where the configuration decides the phase, as of limits; NULL: it is `phase`. */
    enum phase (*phase_of)(const void *config);
    uint8_t rank; /* inside a phase, before `priority`: the lower comes first (the order of identity's methods) */
    /* Of each filter in PHASE_IDENTITY: what comes behind the last of them, once, and has the last word (filters/identity_gate.c). So a policy
     * that finds nobody can just go on, and no chain can be without it. Needs no configuration and compiles to nothing. */
    const struct filter *gate;
    const struct field *fields; /* the one schema */
    size_t config_size;         /* of the struct that the fields fill */
    size_t state_size;          /* per exchange, zeroed, in its arena */
    bool all_scopes_apply;      /* IP lists, access rules, header, path and query edits: the scopes add up */
    bool
        on_response_allowed; /* may be written with on: response; then only the functions of the side written for run */
    bool answers_preflight;  /* cors */
    /* Without it a client can't read an answer. So it sees also the one that the gateway makes in place of another when the response filters are
     * through (a body stage has broken that off, its head can't be written): response_head is called again and begins anew; it doesn't wait. */
    bool sees_late_failures;
    bool (*check)(struct schema_reading *, const struct node *,
                  const void *config); /* across fields, at load; NULL: none */
    /* Does it, so configured, take headers of that name off the requests that it lets on, so that nobody behind it reads them? Then the words for what
     * tells callers apart instead, as a limit's key. NULL: it doesn't; NULL function: it takes none off. */
    const char *(*takes_header)(const void *config, struct slice name);
    /* Checked configuration -> immutable, shared by workers. NULL `compile`: the config itself is copied as the compiled form
     * and must hold no pointers. False: a problem was added. */
    bool (*compile)(const struct filter_compile *, const void *config, void **compiled);
    /* All of the kind that apply to a route in one phase become one link: for what has to be decided together, as limits where nothing may be
     * spent in one when another refuses. `configs` are widest scope first; `compile` is not called, and all_scopes_apply is true. */
    bool (*compile_all)(const struct filter_compile *, const struct filter_config *const *configs, size_t count,
                        void **compiled);
    /* What was compiled comes into force, once, on the thread that compiles: for what others are told of it. Much is compiled that never does, as a
     * dry run, a change that is refused. NULL: nothing. */
    void (*comes_into_force)(const void *compiled);
    void (*release)(void *compiled);
    /* Its route is no longer in force: from now on what is compiled follows upon what comes behind this one. Requests that have begun go on with it. At
     * most once, on the builder's thread, before `release`; not of what never came into force. NULL: nothing. */
    void (*retire)(void *compiled);
    /* What it keeps once a worker, as a cache, on the worker's thread or before that is started; see exchange_kept(). Whether or not a route
     * has the filter. NULL: nothing. False: memory is short. */
    bool (*worker_start)(struct exchange_worker *, void **kept);
    /* No exchange is left; afterwards no thread of the filter's posts to the worker. Also of a filter without worker_start: kept is NULL. */
    void (*worker_stop)(struct exchange_worker *, void *kept);
    enum filter_result (*request)(struct exchange *, const void *compiled, void *state);
    /* The proxy has the request as the route's service will get it and is about to send it: for who looks on. `target` is path and query;
     * exchange->request_body may be teed. It neither answers nor waits. NULL: nothing. */
    void (*request_ready)(struct exchange *, const void *compiled, void *state, struct slice target);
    enum filter_result (*response_head)(struct exchange *, const void *compiled, void *state); /* NEXT or WAIT */
    filter_stage *request_body, *response_body; /* NULL: bytes pass untouched */
    /* Does this exchange's body need the stage? Asked behind `request` for the one side, behind `response_head` for the other; where
     * no stage is needed a body keeps its declared length. NULL: always. */
    bool (*stage_needed)(const struct exchange *, const void *compiled, const void *state, enum filter_side);
    /* The answer is the 101 that opens a WebSocket, which outlives the exchange. What the filter holds for it and would give back in `finish` may
     * go over to *hold, at first NULL; the filter then has it no more. False: memory is short, and the answer is 503. NULL: nothing. */
    bool (*tunnel_opens)(struct exchange *, void *state, struct tunnel_hold **hold);
    /* Exactly once where the request came to the filter, on cancel too; also where it has nothing to do on that side. */
    void (*finish)(struct exchange *, const void *compiled, void *state);
    /* What it would decide about this request, without effects: it spends no token, calls nobody, waits for nothing. The filters before it
     * have run or been explained. NULL: its summary says it all. */
    void (*explain)(struct exchange *, const void *compiled, struct explanation *);
};

#endif
