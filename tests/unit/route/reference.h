/* A plain reading of DESIGN's routing rules to hold the router against: a list of rules, each tried on each request by
 * the simplest means (backtracking over the pattern's text, PCRE2 without limits), the best taken by matcher_compare(). */
#ifndef SLUICE_TESTS_ROUTE_REFERENCE_H
#define SLUICE_TESTS_ROUTE_REFERENCE_H

#include "route/private.h"

/* A rule with its matcher. The rule's memory is the caller's; `matcher` gives the order. */
struct reference_route {
    struct route_rule rule;
    struct route_matcher *matcher;
};

struct reference_answer {
    enum route_result result;
    const struct reference_route *route; /* FOUND */
    struct route_captures captures;
    uint16_t allowed_methods; /* METHOD_NOT_ALLOWED */
};

void reference_match(const struct reference_route *const *routes, size_t count, const struct request_head *,
                     enum method method, struct slice method_text, struct reference_answer *);

/* Judged conditions, played: whether they hold depends on rule and path, half of the time. */
bool reference_judges(const struct route_rule *, struct slice path);

/* A matcher of a rule with a path and nothing else; NULL with *error. */
struct route_matcher *matcher_of_path(const char *path, uint64_t sequence, struct error *error);

#endif
