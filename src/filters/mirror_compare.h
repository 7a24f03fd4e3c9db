/* filters/mirror_compare.h: are two answers to one request alike? By status, chosen fields, and bodies, which may be JSON of which parts don't
 * count. Pure: no state, any thread, bounded cost. */
#ifndef SLUICE_FILTERS_MIRROR_COMPARE_H
#define SLUICE_FILTERS_MIRROR_COMPARE_H

#include "base/arena.h"
#include "base/error.h"

enum body_comparison { COMPARE_NO_BODY, COMPARE_BYTES, COMPARE_JSON };

/* A path into JSON that doesn't count, with all below it: /items/(any)/updatedAt, in its segments; `*` is any one. */
struct ignored_path {
    struct slice *segments;
    size_t count;
};

struct comparison_rules {
    bool status;
    enum body_comparison body;
    struct slice *headers; /* names */
    size_t header_count;
    struct ignored_path *ignored;
    size_t ignored_count;
};

struct answer_to_compare {
    unsigned status;
    const struct slice *headers; /* in the rules' order, all lines of a field in one; absent: no such field */
    struct slice body;
    bool is_whole; /* all of the body is there, plain */
};

enum comparison { ANSWERS_ALIKE, ANSWERS_DIFFER, ANSWERS_NOT_COMPARED };

/* Where the first difference is; texts in the caller's arena, or literal. */
struct answer_difference {
    struct slice what;            /* "status", "header X-Total", "body", or a JSON pointer: "/items/3/price" */
    struct slice primary, mirror; /* in kind: "200", "absent", "number", "42 bytes", "not JSON" */
    struct slice primary_value, mirror_value; /* as the answers have it, cut short; absent: nothing more to say */
};

/* ANSWERS_NOT_COMPARED: nothing that can be compared differs, but a body is not whole, memory is short, or the texts are beyond what
 * comparing may cost; difference->what says which. */
enum comparison answers_compare(const struct comparison_rules *, const struct answer_to_compare *primary,
                                const struct answer_to_compare *mirror, struct arena *,
                                struct answer_difference *difference);

/* "/a/b~1c" (RFC 6901, with `*` for any one segment) in its segments, malloc'ed with their texts behind them. False: no pointer. */
bool ignored_path_read(struct slice text, struct ignored_path *);
void ignored_path_release(struct ignored_path *);

#endif
