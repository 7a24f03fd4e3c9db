/* The admin API on a worker without sockets, over a catalog without a store.
 *
 *   admin_testbed_start(&bed);                                 tokens: "rw" may change, "ro" may read
 *   ask(&bed, "POST /admin/services", RW JSON, "{...}");
 *   assert_int_equal(bed.client.status, 201);
 *   admin_testbed_stop(&bed); */
#ifndef SLUICE_TESTS_ADMIN_TESTBED_H
#define SLUICE_TESTS_ADMIN_TESTBED_H

#include "exchange/testbed.h"

#include "admin/changes_double.h"
#include "admin/private.h"

#define RW "Authorization: Bearer rw\r\n"
#define RO "Authorization: Bearer ro\r\n"
#define JSON "Content-Type: application/json\r\n"

struct admin_testbed {
    struct testbed bed;
    struct policy_kinds kinds;
    struct changes *changes;
    struct admin_surroundings surroundings;
    struct admin_settings *settings;
    struct admin_health health;
    struct client client; /* the last one that asked */
    bool has_asked;
    const char *instances; /* of services; NULL: no checks */
};

void admin_testbed_start(struct admin_testbed *);
/* No request waits longer for anything. */
void admin_testbed_start_patient(struct admin_testbed *, unsigned timeout_ms);
void admin_testbed_stop(struct admin_testbed *);
/* Asks and waits for the answer; what came is in bed->client until the next one. */
unsigned ask(struct admin_testbed *, const char *line, const char *fields, const char *body);
/* Does the last answer's body hold the text? */
bool answer_has(const struct admin_testbed *, const char *text);

#endif
