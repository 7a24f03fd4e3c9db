/* handlers/answer_template.h: the answer of an aggregate: an object in which values of the parts stand where configuration puts them.
 *
 *   { user: ${parts.user}, name: ${parts.user.name}, "orders?": ${parts.orders.items[0]}, id: "${request.id}", kind: page }
 *
 * `${parts.NAME...}` stands alone and is the JSON value that is there: members as `.name` or `["any name"]`, items as `[3]`. Nothing there
 * (a part that failed, no such member): null, or, where the member's name ends in `?`, no member at all. Other texts may hold `${...}` as
 * everywhere and are JSON texts; numbers, true, false and null are what they are.
 *
 * Compiled once, immutable; any thread writes, into its arena. What is written is valid JSON, whatever the parts are, as long as each value
 * handed in went through json_scan_whole(). */
#ifndef SLUICE_HANDLERS_ANSWER_TEMPLATE_H
#define SLUICE_HANDLERS_ANSWER_TEMPLATE_H

#include "chain/filter.h"

struct answer_template;

/* What names there are. */
struct answer_parts {
    const struct slice *names;
    const size_t *bytes_max; /* of each: how many references into it there may be follows from its size */
    size_t count;
    struct slice errors_name; /* of the member that lists failures: no other may have it */
};

/* `answer`: a map, or NULL: each part under its name, left out where it is not there. `node` of the compilation is where problems stand that
 * have no place in it. NULL: problems were added. */
struct answer_template *answer_template_compile(const struct filter_compile *, const struct node *answer,
                                                const struct answer_parts *) MUST_USE;
void answer_template_destroy(struct answer_template *); /* NULL is allowed */

/* A part that failed, for the member that says so. */
struct answer_failure {
    struct slice part;
    const char *reason; /* static */
    unsigned status;    /* 0: there was none */
};

struct answer_values {
    const struct slice *parts; /* JSON; absent: not there */
    const struct answer_failure *failures;
    size_t failure_count;
    /* A text with variables; absent when memory is short. */
    struct slice (*render)(const void *argument, const struct template *);
    const void *argument;
};

enum answer_result { ANSWER_WRITTEN, ANSWER_TOO_LARGE, ANSWER_NO_MEMORY };
enum answer_result answer_template_write(const struct answer_template *, const struct answer_values *, struct arena *,
                                         size_t bytes_max, struct slice *text) MUST_USE;

#endif
