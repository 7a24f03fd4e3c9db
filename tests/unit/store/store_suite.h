/* What every kind of store must do, written once and run against each. */
#ifndef SLUICE_TESTS_STORE_SUITE_H
#define SLUICE_TESTS_STORE_SUITE_H

#include "store/store.h"

#include "unit/unit_test.h"

/* What a kind's test program brings along. */
struct store_suite_kind {
    /* A location where nothing is yet, as a new text. */
    char *(*make_place)(void);
    void (*remove_place)(const char *location);
    /* Runs SQL beside the store, as somebody with a shell would, without the checks that can be turned off. Returns the first value of the
     * first row as a new text; NULL: none. */
    char *(*ask)(const char *location, const char *sql);
};
extern const struct store_suite_kind store_suite_kind;

#define STORE_ID(number) "00000000-0000-4000-8000-0000000000" number

/* The program's main: the suite and the kind's own tests. */
int store_suite_run(const struct CMUnitTest *own, size_t count);

/* --- for own tests --- */

/* A new place, opened; suite_close() takes both away. */
struct store *suite_open(void **state);
void suite_close(void **state);
const char *suite_location(void **state);
struct store *suite_open_again(const char *location, uint32_t timeout_ms);
int suite_set_up(void **state);
int suite_tear_down(void **state);

void suite_begin(struct store *);
void suite_put(struct store *, enum resource_kind, const char *id, uint64_t created_us, const char *document);
uint64_t suite_commit(struct store *);
/* One row in a write of its own; the revision's number. */
uint64_t suite_write(struct store *, enum resource_kind, const char *id, const char *document);
/* The document, as a new text; NULL: none. */
char *suite_read(struct store *, enum resource_kind, const char *id);
void suite_expect_error(const struct error *, const char *reason, const char *part_of_text);
size_t suite_count_all(struct store *);

#endif
