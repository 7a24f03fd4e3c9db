/* filters/mirror_figures.h: what became of mirrored requests, by route, and the last differences between answers.
 *
 * One `struct mirrors` a process, made before the first chain is compiled, outliving workers and chains. Figures belong to a route's id and
 * survive reloads, as long as some chain holds a reference; what they are called they learn when a route comes into force. Workers and the judge of answers count on lines of their own; noting a difference
 * never waits: where somebody reads just then it is left out and counted as such. */
#ifndef SLUICE_FILTERS_MIRROR_FIGURES_H
#define SLUICE_FILTERS_MIRROR_FIGURES_H

#include "base/error.h"
#include "observe/metrics.h"

struct mirrors;
struct mirror_figures;
struct mirror_judge; /* filters/mirror_judge.h */

struct mirrors *mirrors_create(unsigned workers);
/* On the thread that compiles: the process's judge of answers, made and started when it is first asked for. NULL: *error. */
struct mirror_judge *mirrors_judge(struct mirrors *, struct error *);
/* No worker is left, and the builder of routes still is. Ends the judge; answers that wait for it are forgotten. NULL is allowed. */
void mirrors_stop(struct mirrors *);
/* All figures were given back. */
void mirrors_destroy(struct mirrors *);

/* On the thread that compiles. One reference. Nothing is told of them before they have a name. */
struct mirror_figures *mirror_figures_take(struct mirrors *, struct slice route_id);
/* On the same thread, when the route that they are of comes into force. */
void mirror_figures_name(struct mirror_figures *, struct slice route_name, struct slice service);
/* On the thread that releases chains. NULL is allowed. */
void mirror_figures_give(struct mirror_figures *);

enum mirror_outcome {
    MIRROR_ANSWERED,  /* an answer came, whatever its status */
    MIRROR_FAILED,    /* none came: not reached, broke off, too late */
    MIRROR_CUT,       /* the copy of the body was lost: the mirror was slower than the client */
    MIRROR_BUSY,      /* not sent: as many as may be are under way */
    MIRROR_SHED,      /* not sent: the worker is short of memory */
    MIRROR_TOO_LARGE, /* not sent: the body is longer than what is mirrored */
    MIRROR_ALIKE,
    MIRROR_DIFFERENT,
    MIRROR_NOT_COMPARED,
    MIRROR_LEFT_OUT, /* a difference that was counted and not noted */
    MIRROR_OUTCOME_COUNT
};

/* The line that the judge counts on, in a worker's place. */
unsigned mirror_judge_line(const struct mirror_figures *);

/* A worker's thread, or the judge's. */
void mirror_count(struct mirror_figures *, unsigned worker, enum mirror_outcome);
void mirror_count_answer(struct mirror_figures *, unsigned worker, uint64_t duration_ns);
void mirror_change_in_flight(struct mirror_figures *, unsigned worker, int change);
int64_t mirror_in_flight(const struct mirror_figures *, unsigned worker);

struct mirror_difference {
    uint64_t wall_ns;
    struct slice request_id, method, path; /* the path without its query, which may hold secrets */
    struct slice what, primary, mirror;
    struct slice primary_value, mirror_value; /* absent: not to be shown */
    unsigned primary_status, mirror_status;
    uint64_t primary_ns, mirror_ns; /* until the heads were there */
};
#define MIRROR_DIFFERENCES_KEPT 32
/* Copies what it keeps, cut to some hundred bytes. */
void mirror_note(struct mirror_figures *, unsigned worker, const struct mirror_difference *);

/* Any thread but a worker's that serves. JSON into a malloc'ed text; NULL: the route mirrors nothing. */
char *mirrors_describe(struct mirrors *, struct slice route_id);
/* A metrics source's write_some. */
bool mirrors_write_metrics(struct metrics_text *, void *mirrors, uint64_t *place);

#endif
