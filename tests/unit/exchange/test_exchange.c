/* A request's way from the edge to the log, with a service and clients made of memory. */
#include "exchange/testbed.h"

#define ROUTES "routes: [{ name: a, path: /a, methods: [GET, POST], serviceId: one }]\n"

static void a_request_goes_to_the_service_and_its_answer_back(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.headers = "X-Answer: yes\r\n";
    bed.service.body = "hello";
    client_ask(&bed, &client, "POST /a?x=1", "X-Ask: please\r\n", "content");
    testbed_run(&bed);
    assert_true(client.sent && client.released);
    assert_int_equal(client.status, 200);
    assert_slice_is(client_header(&client, "X-Answer"), "yes");
    assert_string_equal(client.body, "hello");
    assert_string_equal(bed.service.target, "/a?x=1");
    assert_slice_is(service_header(&bed, "X-Ask"), "please");
    assert_string_equal(bed.service.request_body, "content");
    assert_int_equal(bed.service.finished, 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void an_answer_may_come_later_and_after_interim_ones(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.later = true;
    bed.service.interims = 2;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    assert_int_equal(client.status, 0);
    testbed_run(&bed);
    assert_int_equal(client.interims, 2);
    assert_int_equal(client.status, 200);
    client_release(&client);
    testbed_stop(&bed);
}

static void what_no_route_takes_is_told_apart(void **state)
{
    struct testbed bed;
    struct client missing = { 0 }, wrong = { 0 };
    testbed_start(&bed, ROUTES);
    client_ask(&bed, &missing, "GET /b", NULL, NULL);
    client_ask(&bed, &wrong, "DELETE /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(missing.status, 404);
    assert_slice_is(client_header(&missing, "Content-Type"), "application/problem+json");
    assert_non_null(strstr(missing.body, "\"requestId\":\""));
    assert_int_equal(wrong.status, 405);
    assert_slice_is(client_header(&wrong, "Allow"), "GET, HEAD, POST");
    assert_int_equal(bed.service.requests, 0);
    client_release(&missing);
    client_release(&wrong);
    testbed_stop(&bed);
}

static void options_of_the_whole_server_is_answered_at_the_edge(void **state)
{
    struct testbed bed;
    testbed_start(&bed, ROUTES);
    assert_int_equal(testbed_status(&bed, "OPTIONS *", NULL), 204);
    testbed_stop(&bed);
}

static void a_service_that_fails_gives_a_problem_without_its_address(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.fails = bed.service.later = true;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 502);
    assert_non_null(strstr(client.body, "could not be reached"));
    assert_null(strstr(client.body, "9001"));
    client_release(&client);
    testbed_stop(&bed);
}

static void head_has_the_length_but_no_body(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes: [{ name: r, path: /r, respond: { status: 200, body: hello } }]\n");
    client_ask(&bed, &client, "HEAD /r", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    assert_null(client.body);
    client_release(&client);
    testbed_stop(&bed);
}

/* At each point where a client can go, everything is given back: testbed_stop() looks. */
static void a_client_may_go_before_the_answer(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.status = 0;
    client_begin(&bed, &client, "POST /a", NULL);
    client_push(&client, "half", 4);
    testbed_run(&bed);
    assert_int_equal(bed.service.request_body_length, 4);
    client_leave(&client);
    testbed_run(&bed);
    assert_true(client.released);
    assert_int_equal(bed.service.finished, 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_client_may_go_in_the_turn_of_the_answer(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.later = true;
    bed.service.body = "hello";
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    client_leave(&client); /* its event is queued behind the service's answer */
    testbed_run(&bed);
    assert_true(client.released);
    assert_int_equal(bed.service.finished, 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_client_may_go_in_the_middle_of_the_body(void **state)
{
    struct testbed bed;
    struct client client = { .slow = true };
    testbed_start(&bed, ROUTES);
    bed.service.body = "0123456789abcdef";
    bed.service.body_repeat = 10000;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    assert_false(client.released);
    assert_true(bed.slabs.taken_bytes > 0 && bed.slabs.taken_bytes <= 128 * 1024);
    client_leave(&client);
    testbed_run(&bed);
    assert_true(client.released);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_body_that_breaks_off_is_not_taken_for_whole(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.body = "hello";
    bed.service.cuts_body = true;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_true(client.cut && !client.sent && client.released);
    client_release(&client);
    testbed_stop(&bed);
}

/* The response filter writes what no head can hold; the client gets one clean answer, not half of one. */
static void a_head_that_cannot_be_written_becomes_a_500(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes:\n"
                        "  - name: a\n"
                        "    path: '~^/a/(?<x>.*)$'\n"
                        "    serviceId: one\n"
                        "    filters:\n"
                        "      - { type: test-grow, on: response }\n"
                        "      - { type: test-line-break }\n");
    bed.service.body = "hello";
    client_ask(&bed, &client, "GET /a/b", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.heads_refused, 1);
    assert_int_equal(client.status, 500);
    assert_true(client.sent && client.released);
    assert_non_null(strstr(client.body, "could not write"));
    assert_int_equal(bed.service.finished, 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void without_memory_there_is_a_503_or_a_cut(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ name: a, path: '/a/{x}', serviceId: one, filters: [\n"
                        "  { type: add-header, name: X-A, value: 'a${path.x}' },\n"
                        "  { type: cors, allowedOrigins: 'https://a.example' },\n"
                        "  { type: rewrite-path, path: '/b/${path.x}' } ] }]\n");
    bed.service.body = "hello";
    char path[4000] = "GET /a/";
    memset(path + 7, 'x', sizeof path - 8);
    path[sizeof path - 1] = '\0';
    for (size_t limit = ARENA_CHUNK_BYTES; limit <= 8 * ARENA_CHUNK_BYTES; limit += 1024) {
        struct client client = { 0 };
        bed.ceiling.bytes_max = limit;
        client_ask(&bed, &client, path, "Origin: https://a.example\r\n", NULL);
        testbed_run_until(&bed, &client.released);
        assert_true(client.status == 200 || client.status == 503 || client.reset);
        client_release(&client);
    }
    testbed_stop(&bed);
}

static void requests_have_ids_of_their_own_and_a_strangers_does_not_count(void **state)
{
    struct testbed bed;
    struct client first = { 0 }, second = { 0 };
    testbed_start(&bed, "routes: [{ name: r, path: /r, respond: { status: 200, body: '${request.id}' } }]\n");
    client_ask(&bed, &first, "GET /r", "X-Request-ID: mine\r\n", NULL);
    client_ask(&bed, &second, "GET /r", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(first.body_length, 32);
    assert_int_equal(second.body_length, 32);
    assert_string_not_equal(first.body, second.body);
    client_release(&first);
    client_release(&second);
    testbed_stop(&bed);
}

static void a_trusted_proxy_says_who_the_client_is(void **state)
{
    static const struct {
        const char *forwarded, *client;
    } rows[] = {
        { NULL, "192.0.2.1" },
        { "X-Forwarded-For: 198.51.100.7\r\n", "198.51.100.7" },
        { "X-Forwarded-For: 10.0.0.1, 198.51.100.7\r\n",
          "198.51.100.7" }, /* what a client wrote before it reached us */
        { "X-Forwarded-For: 198.51.100.7, 192.0.2.9\r\n", "198.51.100.7" },
        { "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 192.0.2.9\r\n", "198.51.100.7" },
        { "X-Forwarded-For: 198.51.100.7:4711\r\n", "198.51.100.7" },
        { "X-Forwarded-For: 198.51.100.7:4711, 192.0.2.9:80\r\n", "198.51.100.7" },
        { "X-Forwarded-For: [2001:db8::1]:443\r\n", "2001:db8::1" },
        { "X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1" },
        { "X-Forwarded-For: nonsense, 198.51.100.7\r\n", "198.51.100.7" }, /* nobody vouches for what stands before */
        /* It isn't the proxy, and nobody knows who it is. */
        { "X-Forwarded-For: nonsense\r\n", "" },
        { "X-Forwarded-For: unknown\r\n", "" },
        { "X-Forwarded-For: 198.51.100.7, nonsense, 192.0.2.9\r\n", "" },
        { "X-Forwarded-For: 198.51.100.7,\r\n", "" },
        { "X-Forwarded-For: 198.51.100.7:99999\r\n", "" },
        { "X-Forwarded-For: 198.51.100.7:\r\n", "" },
        { "X-Forwarded-For: [198.51.100.7]\r\n", "" },
        { "X-Forwarded-For: [2001:db8::1]x\r\n", "" },
        { "X-Forwarded-For: [2001:db8::1\r\n", "" },
        { "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1" },
        { "X-Forwarded-For: ,\r\n", "" },
        { "X-Forwarded-For: \r\n", "192.0.2.1" },
        { "X-Request-ID: theirs\r\n", "192.0.2.1" },
    };
    struct testbed bed;
    testbed_start(&bed, "trustedProxies: [192.0.2.0/24]\n"
                        "routes: [{ name: r, path: /r, respond: { status: 200, body: '${source.ip}' } }]\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client = { 0 };
        client_ask(&bed, &client, "GET /r", rows[i].forwarded, NULL);
        testbed_run(&bed);
        assert_string_equal(client.body ? client.body : "", rows[i].client);
        client_release(&client);
    }
    testbed_stop(&bed);
}

static void a_reload_leaves_requests_under_way_their_route(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.status = 0;
    client_begin(&bed, &client, "POST /a", NULL);
    testbed_run(&bed);
    testbed_reload(&bed, "routes: [{ name: b, path: /b, serviceId: one }]\n");
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 404);
    assert_int_equal(bed.pins_released, 0);
    bed.service.status = 200;
    client_push(&client, "x", 1); /* wakes the service, which now answers */
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    assert_int_equal(bed.pins_released, 1);
    client_release(&client);
    testbed_stop(&bed);
}

/* An exchange that lives long keeps its route alone, so that the old configuration can go. */
static void a_long_exchange_lets_the_old_snapshot_go(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, ROUTES);
    bed.service.status = 0;
    client_begin(&bed, &client, "POST /a", NULL);
    testbed_run(&bed);
    testbed_reload(&bed, "routes: [{ name: b, path: /b, serviceId: one }]\n");
    exchange_worker_sweep(&bed.worker);
    assert_int_equal(bed.pins_released, 0); /* it is young */
    bed.loop.now_ns += UINT64_C(2000000000);
    exchange_worker_sweep(&bed.worker);
    assert_int_equal(bed.pins_released, 1);
    bed.service.status = 200;
    client_push(&client, "x", 1);
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    client_release(&client);
    testbed_stop(&bed);
}

static void steps_have_words(void **state)
{
    assert_string_equal(exchange_step_word(STEP_EDGE), "edge");
    assert_string_equal(exchange_step_word(STEP_LOG), "log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_to_the_service_and_its_answer_back),
        cmocka_unit_test(an_answer_may_come_later_and_after_interim_ones),
        cmocka_unit_test(what_no_route_takes_is_told_apart),
        cmocka_unit_test(options_of_the_whole_server_is_answered_at_the_edge),
        cmocka_unit_test(a_service_that_fails_gives_a_problem_without_its_address),
        cmocka_unit_test(head_has_the_length_but_no_body),
        cmocka_unit_test(a_client_may_go_before_the_answer),
        cmocka_unit_test(a_client_may_go_in_the_turn_of_the_answer),
        cmocka_unit_test(a_client_may_go_in_the_middle_of_the_body),
        cmocka_unit_test(a_body_that_breaks_off_is_not_taken_for_whole),
        cmocka_unit_test(a_head_that_cannot_be_written_becomes_a_500),
        cmocka_unit_test(without_memory_there_is_a_503_or_a_cut),
        cmocka_unit_test(requests_have_ids_of_their_own_and_a_strangers_does_not_count),
        cmocka_unit_test(a_trusted_proxy_says_who_the_client_is),
        cmocka_unit_test(a_reload_leaves_requests_under_way_their_route),
        cmocka_unit_test(a_long_exchange_lets_the_old_snapshot_go),
        cmocka_unit_test(steps_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
