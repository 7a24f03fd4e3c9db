/* A builder with a filter and a handler of its own that count how often they are compiled and released, so that a test sees what
 * was made anew and what was reused.
 *
 *   bed_start(&bed);
 *   struct snapshot *first = bed_load(&bed, "routes: [...]");   listeners and services "one" and "two" are there already
 *   assert_string_equal(bed_answer(&bed, first, "/a"), "a");
 *   snapshot_destroy(...); bed_stop(&bed);                      fails unless all that was compiled was released
 */
#ifndef SLUICE_TESTS_BUILDER_BED_H
#define SLUICE_TESTS_BUILDER_BED_H

#include "unit_test.h"

#include "snapshot/snapshot.h"

struct builder_bed {
    struct policy_kinds kinds;
    struct metrics *metrics;
    struct snapshot_builder *builder;
    struct router_scratch *scratch;
    struct problems problems; /* of the last load or put */
    unsigned handlers_compiled, handlers_released, filters_compiled, filters_released;
    uint32_t service_used; /* where the last filter that was compiled with a `service` found it */
    unsigned wakes;
    char names[1024]; /* what was told about host names: "+a -b " */
};

void bed_start(struct builder_bed *);
/* All snapshots but the newest were destroyed. */
void bed_stop(struct builder_bed *);

/* The whole configuration from here on, services included; the test fails where it has problems. */
struct snapshot *bed_load_whole(struct builder_bed *, const char *text);
struct snapshot *bed_load(struct builder_bed *, const char *text);
/* NULL: there were problems, to be read in bed->problems. */
struct snapshot *bed_try_load_whole(struct builder_bed *, const char *text);

/* A change with routes and plugins as written (they may name services one, two, s0, s1, s2, whether or not these are in force), or with
 * whatever else is written, services included. */
struct configuration_change *bed_change(struct builder_bed *, const char *text);
struct configuration_change *bed_change_services(struct builder_bed *, const char *text);
/* For removed_routes and removed_services; char * each. */
struct slice_list bed_ids(struct configuration_change *, unsigned count, ...);
/* Prepared and committed. NULL: there were problems. */
struct snapshot *bed_try(struct builder_bed *, struct configuration_change *);
/* One route or service, written as in a list, put; a route taken away by its name. */
struct snapshot *bed_put_route(struct builder_bed *, const char *text);
struct snapshot *bed_take_route(struct builder_bed *, const char *name);
struct snapshot *bed_put_service(struct builder_bed *, const char *text);

/* The route that answers GET path, NULL where none does. */
const struct compiled_route *bed_route(struct builder_bed *, const struct snapshot *, const char *path);
/* Its name, "404" where none does. */
const char *bed_answer(struct builder_bed *, const struct snapshot *, const char *path);
/* The service that GET path ends in. */
struct service *bed_service(struct builder_bed *, const struct snapshot *, const char *path);

#endif
