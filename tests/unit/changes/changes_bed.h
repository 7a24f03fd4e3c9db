/* Changes over a real SQLite file in a folder of its own, with a gateway that records: what it has in force is kept as a table, so that a
 * test can ask whether that is what the catalog says.
 *
 *   bed_start(&bed);
 *   struct change_order *order = bed_order(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, "{...}");
 *   assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);        waits until it is answered
 *   change_order_destroy(order);
 *   bed_stop(&bed);                                               fails unless the gateway has what the catalog has
 */
#ifndef SLUICE_TESTS_CHANGES_BED_H
#define SLUICE_TESTS_CHANGES_BED_H

#include "unit_test.h"

#include "base/map.h"
#include "chain/chain.h"
#include "changes/changes.h"

#include <pthread.h>

struct bed_gateway {
    pthread_mutex_t lock;
    char steps[4096];                      /* "prepare commit " and so on */
    struct map table[RESOURCE_KIND_COUNT]; /* what is in force, by id: struct bed_resource */
    unsigned prepared, committed, abandoned, whole;
    char changed
        [1024]; /* of the last change: "+name" new or changed, "-id" removed, sorted as given; "whole" before it */
    const char *refuse; /* a resource whose name has this in it can't be compiled; NULL: none */
    bool holds;         /* in_force is not called until bed_release() */
    void (*in_force[64])(void *);
    void *in_force_argument[64];
    unsigned held;
};

struct bed {
    char folder[64], location[256], copy[128];
    struct policy_kinds kinds;
    struct bed_gateway gateway;
    struct changes *changes;
    unsigned keys_told; /* keys_changed calls */
    char keys[256];     /* the ids of the last one; "any" */
    bool is_second;     /* over another bed's file */
    bool is_postgres;   /* see SLUICE_TEST_POSTGRES in changes_bed.c */
};

extern const struct policy_registry bed_registry; /* filters and handlers as the program has them */

void bed_start(struct bed *);
/* Another instance over the same store. */
void bed_start_beside(struct bed *, const struct bed *first);
/* Stops and opens again what is there. */
void bed_restart(struct bed *);
void bed_stop(struct bed *);

/* `body` NULL: none. */
struct change_order *bed_order(enum change_action, enum resource_kind, const char *target, const char *body);
enum change_outcome bed_run(struct bed *, struct change_order *);
/* Runs it and gives it up. */
enum change_outcome bed_do(struct bed *, enum change_action, enum resource_kind, const char *target, const char *body);
enum change_outcome bed_ask(struct bed *, struct change_question *);
/* Hands it in; bed_wait waits until it is answered. */
struct bed_answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_there;
    unsigned count;
};
void bed_submit(struct bed *, struct change_order *, struct bed_answer *);
bool bed_wait(struct bed_answer *, unsigned timeout_ms); /* false: it took longer */
void bed_release(struct bed *);                          /* what was held comes into force */

/* All documents, ages and the revision of the catalog as a text; the caller's. */
char *bed_state(struct bed *);
/* All that is in the store, in the same form, by another connection. */
char *bed_store_state(struct bed *);
/* What somebody does to the store's file by hand. */
void bed_run_sql(struct bed *, const char *sql);
uint64_t bed_revision(struct bed *);
void bed_refuse(struct bed *, const char *part_of_name); /* from now on; NULL: nothing any more */
size_t bed_in_force(struct bed *, enum resource_kind);   /* how many the gateway has */
/* Until the catalog is at this revision and what is to be done for it is done; false after some seconds. */
bool bed_reaches(struct bed *, uint64_t revision);
/* The gateway has what the catalog says, route by route. */
void bed_check(struct bed *);
struct catalog_entry *bed_find(struct bed *, enum resource_kind, const char *name); /* one reference; never NULL */
/* Fails unless one of the problems has this pointer. */
void assert_problem_at(const struct change_order *, const char *pointer);

#endif
