/* respond: fixed answers, with and without variables. */
#include "exchange/testbed.h"

static void ask(struct testbed *bed, struct client *client, const char *line)
{
    client_ask(bed, client, line, NULL, NULL);
    testbed_run(bed);
}

static void a_fixed_answer_has_its_status_headers_and_body(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes: [{ name: r, path: '/r/{id}', respond: { status: 418, body: 'short and ${path.id}',\n"
                        "  headers: { X-A: 'b ${path.id}', content-type: text/html } } }]\n");
    ask(&bed, &client, "GET /r/7");
    assert_int_equal(client.status, 418);
    assert_string_equal(client.body, "short and 7");
    assert_slice_is(client_header(&client, "X-A"), "b 7");
    assert_slice_is(client_header(&client, "Content-Type"), "text/html");
    client_release(&client);
    testbed_stop(&bed);
}

static void a_body_without_a_type_is_plain_text_and_no_body_has_none(void **state)
{
    struct testbed bed;
    struct client body = { 0 }, none = { 0 }, empty = { 0 };
    testbed_start(&bed, "routes:\n"
                        "  - { name: b, path: /b, respond: { status: 200, body: x } }\n"
                        "  - { name: n, path: /n, respond: { status: 204 } }\n"
                        "  - { name: e, path: /e, respond: { status: 200 } }\n");
    ask(&bed, &body, "GET /b");
    assert_slice_is(client_header(&body, "Content-Type"), "text/plain; charset=utf-8");
    ask(&bed, &none, "GET /n");
    assert_int_equal(none.status, 204);
    assert_int_equal(client_count_header(&none, "Content-Type"), 0);
    ask(&bed, &empty, "POST /e");
    assert_int_equal(empty.status, 200);
    assert_null(empty.body);
    client_release(&body);
    client_release(&none);
    client_release(&empty);
    testbed_stop(&bed);
}

/* The body is the route's own memory: a slow client still reads it when the route is gone from the configuration. */
static void a_body_outlives_its_configuration_while_somebody_reads_it(void **state)
{
    struct testbed bed;
    struct client client = { .slow = true };
    testbed_start(&bed, "routes: [{ name: r, path: /r, respond: { status: 200, body: still here } }]\n");
    client_ask(&bed, &client, "GET /r", NULL, NULL);
    testbed_run(&bed);
    testbed_reload(&bed, "routes: []\n");
    bed.loop.now_ns += UINT64_C(2000000000);
    exchange_worker_sweep(&bed.worker);
    assert_int_equal(bed.pins_released, 1);
    snapshot_builder_collect(bed.builder);
    client.slow = false;
    loop_enqueue(&bed.loop, &client.answer_task);
    testbed_run(&bed);
    assert_string_equal(client.body, "still here");
    client_release(&client);
    testbed_stop(&bed);
}

static void a_request_with_a_body_is_answered_without_reading_it(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes: [{ name: r, path: /r, respond: { status: 403, body: no } }]\n");
    client_begin(&bed, &client, "POST /r", NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 403);
    assert_false(client.body_wanted);
    client_release(&client);
    testbed_stop(&bed);
}

static void unknown_variables_are_refused_at_their_place(void **state)
{
    char *problems = testbed_problems("routes:\n"
                                      "  - name: r\n"
                                      "    path: /r\n"
                                      "    respond:\n"
                                      "      body: '${path.id}'\n"
                                      "      headers:\n"
                                      "        X-A: '${nonsense}'\n");
    assert_non_null(problems);
    assert_non_null(strstr(problems, "the route's path captures no \"id\""));
    assert_non_null(strstr(problems, "test.yaml:9:14: \"X-A\": "));
    free(problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_answer_has_its_status_headers_and_body),
        cmocka_unit_test(a_body_without_a_type_is_plain_text_and_no_body_has_none),
        cmocka_unit_test(a_body_outlives_its_configuration_while_somebody_reads_it),
        cmocka_unit_test(a_request_with_a_body_is_answered_without_reading_it),
        cmocka_unit_test(unknown_variables_are_refused_at_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
