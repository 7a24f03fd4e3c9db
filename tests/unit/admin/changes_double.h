/* In the changes thread's place: a catalog without a store, whose answers a test chooses.
 *
 * Orders are answered in a thread of their own, at once or when the test says so; what they asked for is kept. */
#ifndef SLUICE_TESTS_CHANGES_DOUBLE_H
#define SLUICE_TESTS_CHANGES_DOUBLE_H

#include "changes/changes.h"

struct changes {
    struct catalog *catalog;
    struct policy_kinds kinds;
    bool holds;                 /* answers wait for changes_double_let_go() */
    enum change_outcome answer; /* of orders; CHANGE_CREATED: it is really put into the catalog */
    enum change_outcome answer_to_question;
    const char *error, *reason; /* with CHANGE_STORE_AWAY, CHANGE_FAILED */
    struct change_order *held_order;
    struct change_question *held_question;
    struct changes_health health;
    uint64_t clock_us;
    /* What the last order asked for, and how many there were. */
    enum change_action action;
    enum resource_kind kind;
    char target[128], body[4096], if_match[64], if_none_match[64], tag[64], author[64], source[64], comment[64];
    bool match_required, cascade, dry_run;
    unsigned orders, questions;
    struct change_question asked; /* its texts are gone */
    char cursor[128];
};

struct changes *changes_double_create(const struct policy_kinds *);
void changes_double_destroy(struct changes *);
/* Puts a resource, as a person writes it, into the catalog; the test fails where it has problems. */
void changes_double_put(struct changes *, enum resource_kind, const char *json);
/* The answers that were held, from another thread; waits for it to end. */
void changes_double_let_go(struct changes *);

#endif
