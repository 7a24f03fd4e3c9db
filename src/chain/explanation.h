/* chain/explanation.h: what a policy or a handler says when it is asked what it would do with a request: sentences for people, one a line.
 *
 * Owned by who asks; the text lives in its arena. When memory is short what doesn't fit is left out, and `is_cut` says so. */
#ifndef SLUICE_CHAIN_EXPLANATION_H
#define SLUICE_CHAIN_EXPLANATION_H

#include "base/arena.h"

#define EXPLANATION_LINES_MAX 40 /* an aggregate says one for each of its parts */

struct explanation {
    struct arena *arena;
    struct slice lines[EXPLANATION_LINES_MAX];
    unsigned count;
    bool is_cut;
};

/* One sentence: lower case, no full stop, no secret. */
void explanation_add(struct explanation *, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
