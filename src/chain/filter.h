/* chain/filter.h: a policy: one file in filters/, one row in filters/all.c. See DESIGN section 5. */
#ifndef SLUICE_CHAIN_FILTER_H
#define SLUICE_CHAIN_FILTER_H

#include "config/resources.h"
#include "http/body_pipe.h"

struct exchange; /* exchange/exchange.h */
struct template; /* expr/template.h */

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
    enum filter_side side;
};

/* A text of the configuration with ${…} in it. NULL: a problem was added, at the field's value where it is there. */
struct template *filter_compile_template(const struct filter_compile *, const char *field, struct slice text) MUST_USE;

struct filter {
    const char *name;    /* kebab-case */
    const char *summary; /* one sentence */
    enum phase phase;
    const struct field *fields; /* the one schema */
    size_t config_size;         /* of the struct that the fields fill */
    size_t state_size;          /* per exchange, zeroed, in its arena */
    bool all_scopes_apply;      /* IP lists, access rules, header, path and query edits: the scopes add up */
    bool
        on_response_allowed; /* may be written with on: response; then only the functions of the side written for run */
    bool answers_preflight;  /* cors */
    bool (*check)(struct schema_reading *, const struct node *,
                  const void *config); /* across fields, at load; NULL: none */
    /* Checked configuration -> immutable, shared by workers. NULL `compile`: the config itself is copied as the compiled form
     * and must hold no pointers. False: a problem was added. */
    bool (*compile)(const struct filter_compile *, const void *config, void **compiled);
    void (*release)(void *compiled);
    enum filter_result (*request)(struct exchange *, const void *compiled, void *state);
    enum filter_result (*response_head)(struct exchange *, const void *compiled, void *state); /* NEXT or WAIT */
    filter_stage *request_body, *response_body; /* NULL: bytes pass untouched */
    /* Does this exchange's body need the stage? Asked behind `request` for the one side, behind `response_head` for the other; where
     * no stage is needed a body keeps its declared length. NULL: always. */
    bool (*stage_needed)(const struct exchange *, const void *compiled, const void *state, enum filter_side);
    /* Exactly once where the request came to the filter, on cancel too; also where it has nothing to do on that side. */
    void (*finish)(struct exchange *, const void *compiled, void *state);
};

#endif
