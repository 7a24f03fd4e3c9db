/* filters/mirror_judge.h: the thread that compares the answers of mirrors with the service's. Unpacking and reading some MiB of JSON takes
 * milliseconds, which no worker has.
 *
 * One a process, made with the first policy that compares (mirrors_judge()). A worker hands both answers over and is done with them: the judge
 * compares, counts, notes the difference. What comes faster than it can judge is not compared. */
#ifndef SLUICE_FILTERS_MIRROR_JUDGE_H
#define SLUICE_FILTERS_MIRROR_JUDGE_H

#include "base/error.h"
#include "base/slice.h"

struct compiled_route;
struct mirror;
struct mirror_judge;

/* An answer as far as it is kept. */
struct kept_answer {
    unsigned status;       /* 0: none came */
    uint64_t head_ns;      /* since the request */
    struct slice *headers; /* in the order of the rules; NULL: memory was short */
    struct slice coding;   /* Content-Encoding; empty: none */
    char *body;            /* malloc'ed */
    size_t length, capacity;
    bool is_cut; /* there was more, or memory was short */
    bool is_whole;
};

struct judged_request {
    const struct mirror *mirror;
    struct compiled_route *route; /* of whose chain the mirror is */
    struct slice request_id, method, path;
    uint64_t wall_ns;
};

struct mirror_judge *mirror_judge_create(void);
bool mirror_judge_start(struct mirror_judge *, struct error *) MUST_USE;
/* No worker is left; the builder of routes is. Ends the thread; what waits is neither compared nor counted. NULL is allowed. */
void mirror_judge_destroy(struct mirror_judge *);

/* A worker's thread; takes no lock. Both answers have a status and headers. Texts are copied, and the bodies are the judge's from here on: NULL in the
 * answers. False: too much waits for the judge, or memory is short; then nothing was taken. */
bool mirror_judge_ask(struct mirror_judge *, const struct judged_request *, struct kept_answer *primary,
                      struct kept_answer *copy) MUST_USE;

#endif
