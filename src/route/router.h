/* route/: from a request head to the one route that answers it.
 *
 * A router is immutable and shared by all workers; a change makes a new version that shares all untouched nodes with the old
 * one (path copying). Versions are made and dropped on one thread (the builder's), so nothing here is counted atomically;
 * matching touches no count at all. Order among matching routes: DESIGN section 7, six rules, total.
 *
 * Matching costs by the path's length and the number of *structurally different* candidates, not by the number of routes:
 * hosts and path by tree (each node knows the highest priority below it), many routes on one node by an index of
 * their exact header, query and method values, prefix-less regexes behind one multi-pattern scan. */
#ifndef SLUICE_ROUTE_ROUTER_H
#define SLUICE_ROUTE_ROUTER_H

#include "base/arena.h"
#include "base/error.h"
#include "http/message.h"

#define ROUTE_CAPTURES_MAX 16

struct route_capture {
    struct slice name;  /* the matcher's */
    struct slice value; /* inside the request's path; "*" captures under the name "*" (the last one) */
};

struct route_captures {
    unsigned count;
    struct route_capture items[ROUTE_CAPTURES_MAX];
};

struct slice route_captures_find(const struct route_captures *, struct slice name); /* absent where none */

/* A value that a header or query parameter must have. */
struct route_condition {
    struct slice name;
    struct slice value; /* exact; "*": present; "~…": a regex that is found somewhere in the value */
};

/* What to match, as the configuration says it. Everything is copied by route_matcher_create(). */
struct route_rule {
    struct slice path;         /* "/a/{id}/b", "/a/x*", "~/v(?<n>[0-9]+)/.*": all of them for the whole path */
    const struct slice *hosts; /* lower-case, exact or "*.suffix"; none: any host */
    size_t host_count;
    const struct slice *methods; /* none: all; GET serves HEAD too */
    size_t method_count;
    const struct route_condition *headers, *query_parameters;
    size_t header_count, query_parameter_count;
    /* Conditions of other kinds, which the judge of router_match() knows by the target; at most 64. Rules with more of them go first, behind
     * those with more query parameters. */
    size_t judged_count;
    int32_t priority;  /* higher first */
    uint64_t sequence; /* older (smaller) first; unique in a router */
};

struct route_matcher;

/* Compiles a rule; regexes are tried for syntax and for what their captures are called. NULL and *error (what is wrong with which
 * part, and where in the pattern) otherwise. One reference, the caller's. `target` is given back by router_match. */
struct route_matcher *route_matcher_create(const struct route_rule *, void *target, struct error *) MUST_USE;
void route_matcher_retain(struct route_matcher *);
void route_matcher_drop(struct route_matcher *);
/* Does the pattern capture this name? For checking ${path.NAME} at load. */
bool route_matcher_captures(const struct route_matcher *, struct slice name);
/* How many bytes of a path that matched `stripPrefix` removes (DESIGN 11, Path): what stands before the last '/' that
 * precedes the first '{' or '*'; 0 for exact and regex patterns. The rest begins with '/'. */
size_t route_matcher_strip_length(const struct route_matcher *, struct slice path);

struct router_scratch;
/* Does the pattern take this path, whatever else the rule asks for? A regex that runs into its limits doesn't. Any thread. */
bool route_matcher_takes_path(const struct route_matcher *, struct router_scratch *, struct slice path);

struct router;

struct router *router_create(void); /* no routes */
/* New versions; the old one stays as it is. Each holds a reference to its matchers. */
struct router *router_with(const struct router *, struct route_matcher *const *added, size_t added_count,
                           struct route_matcher *const *removed, size_t removed_count) MUST_USE;
void router_destroy(struct router *);
size_t router_count(const struct router *);

/* What a worker needs to match: PCRE2 match blocks and the multi-pattern scanner's scratch. One a worker; NULL when out of memory. */
struct router_scratch *router_scratch_create(void);
void router_scratch_destroy(struct router_scratch *);

enum route_result {
    ROUTE_FOUND,
    ROUTE_NONE,               /* 404 */
    ROUTE_METHOD_NOT_ALLOWED, /* 405: some route of any priority takes everything but the method */
};

struct route_match {
    void *target;
    const struct route_matcher *matcher;
    uint64_t allowed_methods; /* METHOD_NOT_ALLOWED: bit enum method */
    struct slice allow;       /* METHOD_NOT_ALLOWED: the Allow field's value, in the arena: "GET, HEAD, POST" */
    bool regex_limit_hit;     /* some regex ran into its match limit and counted as not matching (counted in metrics) */
    struct route_captures captures;
};

/* Whether a target's judged conditions hold, asked last of all and of one route after the other until one's do. The captures hold until it
 * returns. Asked a second time of none, but for routes that a 405 may name. */
struct route_judge {
    bool (*holds)(void *argument, void *target, const struct route_captures *);
    void *argument;
};

/* `judge` NULL: all judged conditions hold. `method` may differ from the head's (a CORS preflight is matched as the method it asks for). The path is head->target.path
 * without query. Captured values point into it. Thread: any, each with its own scratch. */
enum route_result router_match(const struct router *, struct router_scratch *, const struct request_head *,
                               enum method method, struct slice method_text, const struct route_judge *judge,
                               struct arena *, struct route_match *);
/* For `explain`: calls `visit` for each route of the router in matching order with why it does not match, or that it does.
 * Slow; not for traffic. */
enum route_refusal {
    ROUTE_MATCHES,
    ROUTE_REFUSES_HOST,
    ROUTE_REFUSES_PATH,
    ROUTE_REFUSES_METHOD,
    ROUTE_REFUSES_HEADER,
    ROUTE_REFUSES_QUERY,
    ROUTE_REFUSES_JUDGED /* its judge said no */
};
void router_explain(const struct router *, struct router_scratch *, const struct request_head *, enum method method,
                    struct slice method_text, const struct route_judge *judge,
                    void (*visit)(void *argument, void *target, enum route_refusal), void *argument);

/* The multi-pattern prefilter over all prefix-less regexes. Building takes long (1,000 patterns: over a second), so it happens on a
 * jobs thread; regexes that a router's prefilter doesn't know yet are tried by PCRE2 one by one. Its count is atomic: the only
 * object here that another thread may drop. */
struct router_prefilter;
bool router_wants_prefilter(
    const struct router *);     /* enough unknown (or forgotten) patterns to make a build worth it */
struct router_prefilter_source; /* a copy of what a build needs, free of the router's life */
struct router_prefilter_source *router_prefilter_source_create(const struct router *);
void router_prefilter_source_destroy(struct router_prefilter_source *);
struct router_prefilter *router_prefilter_build(const struct router_prefilter_source *,
                                                struct error *); /* any thread */
void router_prefilter_drop(struct router_prefilter *);           /* of one that no router took; any thread */
struct router *router_with_prefilter(const struct router *,
                                     struct router_prefilter *) MUST_USE; /* takes the reference */

#endif
