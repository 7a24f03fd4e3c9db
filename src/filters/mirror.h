/* filters/mirror.h: what the files of the policy `mirror` share: the policy as compiled, and one mirrored request.
 *
 * A `mirrored` is its own owner: it begins in mirrored_create() and frees itself when its call and, where answers are compared, the exchange are
 * over and both answers are with the judge. It keeps route and service, so it may outlive exchange, client and snapshot. One worker's thread. */
#ifndef SLUICE_FILTERS_MIRROR_H
#define SLUICE_FILTERS_MIRROR_H

#include "exchange/exchange.h"
#include "filters/content_coding.h"
#include "filters/mirror_compare.h"
#include "filters/mirror_figures.h"
#include "filters/mirror_judge.h"

struct mirror {
    uint32_t service;
    struct slice service_name; /* as it was written */
    struct slice route_name;   /* of whom figures are kept */
    uint32_t share;            /* hundredths of a percent */
    int by;
    uint64_t body_bytes_max, timeout_ms;
    uint32_t buffer_bytes;
    int64_t concurrent_max;
    bool forwards_credentials, compares, shows_values;
    bool reads_coding[CODING_COUNT]; /* of compressed answers, to compare them */
    size_t compared_bytes_max;
    struct comparison_rules rules;
    struct mirror_figures *figures; /* one reference; NULL: compiled for checking alone */
    struct mirror_judge *judge;     /* of who compares; NULL as the figures */
    struct arena arena;
};

/* What a copy is known by. */
static const struct slice mirrored_header = SLICE("X-Mirrored");

struct mirrored;
struct mirror_state {
    struct mirrored *mirrored; /* NULL: this request isn't mirrored, or the mirrored one is on its own already */
};

/* Copies the head, tees the body, and has the copy sent in the next turn. NULL: memory is short, or the body is lost already. */
struct mirrored *mirrored_create(struct exchange *, const struct mirror *, struct slice target) MUST_USE;
/* The service's answer is there, in exchange->response and response_body. */
void mirrored_watch_primary(struct mirrored *);
/* The exchange ends; the pointer is not the caller's any more. */
void mirrored_let_go_of_exchange(struct mirrored *);

/* The filter's: all that are under way on a worker. */
bool mirror_worker_start(struct exchange_worker *, void **kept);
void mirror_worker_stop(struct exchange_worker *, void *kept);

#endif
