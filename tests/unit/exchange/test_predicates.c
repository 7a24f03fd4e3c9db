/* A route's predicates: judged when all else fits; the next route where one doesn't hold; what fails doesn't hold. */
#include "exchange/testbed.h"

static unsigned long count_of(const struct testbed *bed, const char *line)
{
    size_t length;
    char *text = metrics_render(bed->metrics, &length), *at = strstr(text, line);
    unsigned long count = at ? strtoul(at + strlen(line), NULL, 10) : 0;
    free(text);
    return count;
}

static const char *answer(struct testbed *bed, const char *line, const char *fields)
{
    static char text[1024];
    struct client client = { 0 };
    client_ask(bed, &client, line, fields, NULL);
    testbed_run(bed);
    snprintf(text, sizeof text, "%u %s", client.status, client.status == 200 && client.body ? client.body : "");
    client_release(&client);
    return text;
}

static void the_next_route_is_taken_where_a_predicate_does_not_hold(void **state)
{
    struct testbed bed;
    testbed_start(&bed,
                  "routes:\n"
                  "- { name: any, path: '/users/{id}', respond: { body: any } }\n"
                  "- { name: own, path: '/users/{id}', predicates: 'path.id == request.headers[\"x-id\"]', respond: "
                  "{ body: 'own ${path.id}' } }\n"
                  "- { name: near, path: '/users/{id}', predicates: ['source.ip == \"192.0.2.7\"', "
                  "'request.method in [\"GET\", \"HEAD\"]'], respond: { body: near } }\n");
    assert_string_equal(answer(&bed, "GET /users/7", NULL), "200 any");
    assert_string_equal(answer(&bed, "GET /users/7", "X-Id: 7\r\n"), "200 own 7");
    assert_string_equal(answer(&bed, "GET /users/7", "X-Id: 8\r\n"), "200 any");
    struct client near = { .host = NULL };
    assert_true(address_parse_ip(SLICE("192.0.2.7"), 1, &near.peer.address));
    client_ask(&bed, &near, "GET /users/7", "X-Id: 7\r\n", NULL);
    testbed_run(&bed);
    assert_string_equal(near.body, "near"); /* two predicates go before one */
    client_release(&near);
    assert_int_equal(count_of(&bed, "sluice_errors_total{type=\"predicate-error\"} "), 0);
    testbed_stop(&bed);
}

static void a_predicate_that_fails_does_not_hold_and_is_counted(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes:\n"
                        "- { path: /a, respond: { body: rest } }\n"
                        "- { path: /a, predicates: '1 / int(request.headers[\"x\"]) > 0', respond: { body: one } }\n");
    assert_string_equal(answer(&bed, "GET /a", "X: 1\r\n"), "200 one");
    assert_string_equal(answer(&bed, "GET /a", "X: 0\r\n"), "200 rest");
    assert_string_equal(answer(&bed, "GET /a", "X: y\r\n"), "200 rest");
    assert_int_equal(count_of(&bed, "sluice_errors_total{type=\"predicate-error\"} "), 2);
    assert_string_equal(answer(&bed, "GET /a", NULL), "200 rest"); /* what is not there is no failure */
    assert_int_equal(count_of(&bed, "sluice_errors_total{type=\"predicate-error\"} "), 2);
    testbed_stop(&bed);
}

/* Else whoever sends enough would choose the route. */
static void a_predicate_that_meets_a_bound_moves_nobody_to_another_route(void **state)
{
    struct testbed bed;
    char fields[10240] = "X: ";
    testbed_start(&bed,
                  "routes:\n"
                  "- { path: /a, respond: { body: rest } }\n"
                  "- { path: /a, predicates: 'request.headers[\"x\"].matches(\"a+\")', respond: { body: one } }\n");
    memset(fields + 3, 'a', 9000);
    memcpy(fields + 3 + 9000, "\r\n", 3);
    assert_string_equal(answer(&bed, "GET /a", "X: a\r\n"), "200 one");
    assert_string_equal(answer(&bed, "GET /a", "X: b\r\n"), "200 rest");
    assert_memory_equal(answer(&bed, "GET /a", fields), "400 ", 4);
    testbed_stop(&bed);
}

static void without_another_route_there_is_none(void **state)
{
    struct testbed bed;
    testbed_start(&bed,
                  "routes: [{ path: /a, methods: POST, predicates: 'request.query[\"x\"] == \"1\"', respond: {} }]\n");
    assert_string_equal(answer(&bed, "POST /a", NULL), "404 ");
    assert_string_equal(answer(&bed, "GET /a", NULL), "404 "); /* a 405 would speak of a route that isn't meant */
    assert_string_equal(answer(&bed, "GET /a?x=1", NULL), "405 ");
    testbed_stop(&bed);
}

/* It reaches no service (RFC 9110 7.6.1), so no route is chosen by it. */
static void what_connection_names_is_not_there(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes:\n"
                        "- { path: /a, respond: { body: rest } }\n"
                        "- { path: /a, predicates: 'request.headers[\"x-id\"] == \"7\"', respond: { body: one } }\n"
                        "- { path: /a, headers: { X-Kind: two }, respond: { body: two } }\n"
                        "- { path: /b, respond: { body: \"${request.headers[?'x-id'].orValue('none')}, "
                        "${request.headers.upgrade}, ${request.headers.cookie}\" } }\n");
    assert_string_equal(answer(&bed, "GET /a", "X-Id: 7\r\n"), "200 one");
    assert_string_equal(answer(&bed, "GET /a", "X-Id: 7\r\nConnection: close, x-id\r\n"), "200 rest");
    assert_string_equal(answer(&bed, "GET /a", "Connection: close\r\nConnection: ,X-ID ,\r\nX-Id: 7\r\n"), "200 rest");
    assert_string_equal(answer(&bed, "GET /a", "X-Kind: two\r\n"), "200 two");
    assert_string_equal(answer(&bed, "GET /a", "X-Kind: two\r\nConnection: X-Kind\r\n"), "200 rest");
    assert_string_equal(
        answer(&bed, "GET /b", "Connection: upgrade, cookie, x-id\r\nUpgrade: u\r\nCookie: c\r\nX-Id: 7\r\n"),
        "200 none, u, c"); /* neither what the connection is upgraded by, nor what no client may take off */
    testbed_stop(&bed);
}

static void the_trace_is_a_variable(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed, "routes: [{ path: /a, predicates: 'request.trace_id.endsWith(\"9012\") && size(request.span_id) == 16', "
              "respond: { body: '${request.trace_id}' } }]\n");
    assert_string_equal(
        answer(&bed, "GET /a", "traceparent: 00-12345678901234567890123456789012-1234567890123456-01\r\n"),
        "200 12345678901234567890123456789012");
    testbed_stop(&bed);
}

static void refuses(const char *predicate, const char *words)
{
    char text[512];
    snprintf(text, sizeof text, "routes: [{ path: '/a/{id}', predicates: [true, '%s'], respond: {} }]\n", predicate);
    char *problems = testbed_problems(text);
    if (!problems || !strstr(problems, words)) fail_msg("%s: %s", predicate, problems ? problems : "nobody minds");
    free(problems);
}

static void a_wrong_predicate_is_refused_at_its_place(void **state)
{
    refuses("1 + 2", "test.yaml:3:48: \"predicates\":");
    refuses("request.method ==", "\"predicates\":");
    refuses("path.other == \"1\"", "other");
    refuses("auth.user_id == \"alice\"", "auth.user_id");
    refuses("response.status == 200", "response.status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_route_is_taken_where_a_predicate_does_not_hold),
        cmocka_unit_test(a_predicate_that_fails_does_not_hold_and_is_counted),
        cmocka_unit_test(a_predicate_that_meets_a_bound_moves_nobody_to_another_route),
        cmocka_unit_test(without_another_route_there_is_none),
        cmocka_unit_test(what_connection_names_is_not_there),
        cmocka_unit_test(the_trace_is_a_variable),
        cmocka_unit_test(a_wrong_predicate_is_refused_at_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
