/* Waiting: for a timer of the same worker, for another thread, in vain, too long, and for a client that has gone. */
#include "exchange/testbed.h"

static const char *const sides[] = { "request", "response" };

static void start(struct testbed *bed, const char *kind, const char *side, unsigned delay_ms, unsigned deadline_ms,
                  unsigned timeout_ms)
{
    char text[512];
    snprintf(text, sizeof text,
             "routes: [{ name: a, path: /a, serviceId: one, timeoutMs: %u, filters: [{ type: %s, on: %s, delayMs: %u, "
             "deadlineMs: %u }] }]\n",
             timeout_ms, kind, side, delay_ms, deadline_ms);
    testbed_start(bed, text);
    memset(&test_filter_counts, 0, sizeof test_filter_counts);
}

/* The word that the filter left, where it could: with the service or in the answer. */
static struct slice word(const struct testbed *bed, const struct client *client, const char *side)
{
    return strcmp(side, "request") == 0 ? service_header(bed, "X-Waited") : client_header(client, "X-Waited");
}

static void check_waits(const char *kind)
{
    for (size_t i = 0; i < COUNT_OF(sides); i++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed, kind, sides[i], 3, 60000, 30000);
        client_ask(&bed, &client, "GET /a", NULL, NULL);
        assert_int_equal(gauge_read(&bed.worker.waiting), 1);
        assert_int_equal(client.status, 0);
        testbed_run_until(&bed, &client.released);
        assert_int_equal(client.status, 200);
        assert_slice_is(word(&bed, &client, sides[i]), "done");
        assert_int_equal(test_filter_counts.waits, 1);
        assert_int_equal(test_filter_counts.cancelled, 0);
        assert_int_equal(test_filter_counts.finished, 1);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_filter_waits_for_its_own_worker(void **state) { check_waits("test-wait"); }
static void a_filter_waits_for_another_thread(void **state) { check_waits("test-wait-thread"); }

/* What comes after the deadline finds nobody: the timer is cleared, the thread's ticket is stale. */
static void check_late(const char *kind, unsigned deadline_ms, unsigned timeout_ms)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, kind, "request", 30, deadline_ms, timeout_ms);
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(client.status, 504);
    assert_non_null(strstr(client.body, "\"rule\":\"test-wait\""));
    assert_int_equal(bed.service.requests, 0);
    assert_int_equal(test_filter_counts.late, 1);
    assert_int_equal(test_filter_counts.cancelled, 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    check_late("test-wait", 2, 30000);
    check_late("test-wait-thread", 2, 30000);
}

static void no_wait_lasts_longer_than_the_routes_timeout(void **state) { check_late("test-wait", 60000, 2); }

static void an_answer_that_waited_too_long_goes_out_all_the_same(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "test-wait", "response", 1000, 2, 30000);
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(client.status, 200);
    assert_slice_is(client_header(&client, "X-Waited"), "late");
    client_release(&client);
    testbed_stop(&bed);
}

static void check_client_goes(const char *kind, const char *side)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, kind, side, 20, 60000, 30000);
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    client_leave(&client);
    testbed_run(&bed);
    assert_true(client.released);
    assert_int_equal(gauge_read(&bed.worker.waiting), 0);
    assert_int_equal(test_filter_counts.cancelled, 1);
    assert_int_equal(test_filter_counts.finished, 1);
    client_release(&client);
    testbed_stop(&bed); /* the thread's ticket arrives in here and is dropped */
}

static void a_client_that_goes_cancels_the_wait(void **state)
{
    for (size_t i = 0; i < COUNT_OF(sides); i++) {
        check_client_goes("test-wait", sides[i]);
        check_client_goes("test-wait-thread", sides[i]);
    }
}

/* The wait is complete and queued when the client goes: nothing is left to cancel, and nothing runs. */
static void a_client_may_go_when_the_wait_is_just_over(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "test-wait-thread", "request", 0, 60000, 30000);
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    test_filters_settle(); /* its message is in the mailbox */
    client_leave(&client);
    testbed_run(&bed);
    assert_true(client.released);
    assert_int_equal(bed.service.requests, 0);
    client_release(&client);
    testbed_stop(&bed);
}

/* Slots are used again: a ticket of an earlier wait on the same slot must not complete a later one. */
static void a_stale_ticket_completes_nobody_elses_wait(void **state)
{
    struct testbed bed;
    struct client gone = { 0 }, waits = { 0 };
    start(&bed, "test-wait-thread", "request", 5, 60000, 30000);
    client_ask(&bed, &gone, "GET /a", NULL, NULL);
    client_leave(&gone);
    testbed_run(&bed);
    test_filters_settle(); /* the stale ticket is posted, not delivered */
    bed.service.status = 200;
    client_ask(&bed, &waits, "GET /a", NULL, NULL);
    uint64_t asked_ms = bed.loop.now_ms;
    testbed_run_until(&bed, &waits.released);
    assert_true(bed.loop.now_ms - asked_ms >= 4); /* the second thread's own 5 ms */
    assert_int_equal(waits.status, 200);
    client_release(&gone);
    client_release(&waits);
    testbed_stop(&bed);
}

static void many_threads_complete_many_waits(void **state)
{
    struct testbed bed;
    static struct client clients[200];
    memset(clients, 0, sizeof clients);
    start(&bed, "test-wait-thread", "request", 1, 60000, 30000);
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        client_ask(&bed, &clients[i], "GET /a", NULL, NULL);
        if (i % 5 == 4) client_leave(&clients[i]);
        if (i % 20 == 0) testbed_run(&bed);
    }
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        testbed_run_until(&bed, &clients[i].released);
        if (!clients[i].cut) assert_int_equal(clients[i].status, 200);
        client_release(&clients[i]);
    }
    assert_int_equal(test_filter_counts.finished, COUNT_OF(clients));
    testbed_stop(&bed);
}

static void waits_follow_one_another(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                        "  { type: test-wait }, { type: test-wait-thread }, { type: test-wait },\n"
                        "  { type: test-wait, on: response }, { type: test-wait-thread, on: response } ] }]\n");
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(client.status, 200);
    assert_int_equal(service_count_header(&bed, "X-Waited"), 3);
    assert_int_equal(client_count_header(&client, "X-Waited"), 2);
    client_release(&client);
    testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filter_waits_for_its_own_worker),
        cmocka_unit_test(a_filter_waits_for_another_thread),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(no_wait_lasts_longer_than_the_routes_timeout),
        cmocka_unit_test(an_answer_that_waited_too_long_goes_out_all_the_same),
        cmocka_unit_test(a_client_that_goes_cancels_the_wait),
        cmocka_unit_test(a_client_may_go_when_the_wait_is_just_over),
        cmocka_unit_test(a_stale_ticket_completes_nobody_elses_wait),
        cmocka_unit_test(many_threads_complete_many_waits),
        cmocka_unit_test(waits_follow_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
