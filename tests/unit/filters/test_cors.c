/* cors: preflights, and what answers say to pages of other origins. Fetch standard, 3.2. */
#include "exchange/testbed.h"

#define FILTER                                                                                                 \
    "{ type: cors, allowedOrigins: ['https://app.example.com', 'https://*.example.org:8443'], "                \
    "allowedMethods: [GET, PUT], allowedHeaders: [Content-Type, X-Token], exposedHeaders: [X-Total, X-Next], " \
    "allowCredentials: true, maxAge: 60 }, { type: test-wait }"

static void preflight(struct testbed *bed, struct client *client, const char *origin, const char *method)
{
    char fields[512];
    snprintf(
        fields, sizeof fields,
        "Origin: %s\r\nAccess-Control-Request-Method: %s\r\nAccess-Control-Request-Headers: x-token, authorization\r\n",
        origin, method);
    client_ask(bed, client, "OPTIONS /a", fields, NULL);
    testbed_run_until(bed, &client->released);
}

static void a_preflight_is_answered_before_identity_and_names_what_is_allowed(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a", FILTER);
    memset(&test_filter_counts, 0, sizeof test_filter_counts);
    preflight(&bed, &client, "https://app.example.com", "PUT");
    assert_int_equal(client.status, 204);
    assert_slice_is(client_header(&client, "Access-Control-Allow-Origin"), "https://app.example.com");
    assert_slice_is(client_header(&client, "Access-Control-Allow-Credentials"), "true");
    assert_slice_is(client_header(&client, "Access-Control-Allow-Methods"), "GET, PUT");
    assert_slice_is(client_header(&client, "Access-Control-Allow-Headers"), "Content-Type, X-Token");
    assert_slice_is(client_header(&client, "Access-Control-Max-Age"), "60");
    assert_true(slice_is_absent(client_header(&client, "Access-Control-Expose-Headers")));
    assert_slice_is(client_header(&client, "Vary"),
                    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    assert_int_equal(bed.service.requests, 0);
    assert_int_equal(test_filter_counts.waits, 0); /* what stands in the place of identity was not asked */
    client_release(&client);
    testbed_stop(&bed);
}

static void origins_match_as_a_whole(void **state)
{
    static const struct {
        const char *origin;
        bool allowed;
    } rows[] = {
        { "https://app.example.com", true },
        { "https://a.example.org:8443", true },
        { "https://a.b.example.org:8443", true },
        { "null", false },
        { "http://app.example.com", false },
        { "https://app.example.com:8443", false },
        { "https://app.example.com.evil.com", false },
        { "https://evil.com/https://app.example.com", false },
        { "https://evilapp.example.com", false },
        { "https://example.org:8443", false },
        { "https://.example.org:8443", false },
        { "https://a.example.org", false },
        { "https://evil.com/.example.org:8443", false },
        { "https://evil.com#.example.org:8443", false },
        { "https://user@a.example.org:8443", false },
        { "https://evil.com:1.example.org:8443", false },
        { "https://evilexample.org:8443", false },
        { "HTTPS://APP.EXAMPLE.COM", false },
        { "*", false },
        { "https://app.example.com, https://app.example.com", false },
    };
    struct testbed bed;
    testbed_start_filtered(&bed, "/a", FILTER);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client asks = { 0 }, reads = { 0 };
        char fields[256];
        preflight(&bed, &asks, rows[i].origin, "GET");
        if (asks.status != (rows[i].allowed ? 204u : 403u)) fail_msg("%s: %u", rows[i].origin, asks.status);
        assert_int_equal(client_count_header(&asks, "Access-Control-Allow-Origin"), rows[i].allowed);
        snprintf(fields, sizeof fields, "Origin: %s\r\n", rows[i].origin);
        client_ask(&bed, &reads, "GET /a", fields, NULL);
        testbed_run_until(&bed, &reads.released);
        assert_int_equal(reads.status, 200); /* whoever asks: it is the browser that refuses to show it */
        assert_int_equal(client_count_header(&reads, "Access-Control-Allow-Origin"), rows[i].allowed);
        client_release(&asks);
        client_release(&reads);
    }
    testbed_stop(&bed);
}

static void answers_say_who_may_read_them_and_the_services_word_does_not_count(void **state)
{
    struct testbed bed;
    struct client allowed = { 0 }, stranger = { 0 }, same = { 0 };
    testbed_start_filtered(&bed, "/a", FILTER);
    bed.service.headers =
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Secret\r\nVary: Accept-Encoding\r\n";
    client_ask(&bed, &allowed, "GET /a", "Origin: https://app.example.com\r\n", NULL);
    testbed_run_until(&bed, &allowed.released);
    assert_slice_is(client_header(&allowed, "Access-Control-Allow-Origin"), "https://app.example.com");
    assert_slice_is(client_header(&allowed, "Access-Control-Allow-Credentials"), "true");
    assert_slice_is(client_header(&allowed, "Access-Control-Expose-Headers"), "X-Total, X-Next");
    assert_int_equal(client_count_header(&allowed, "Vary"), 2);
    client_ask(&bed, &stranger, "GET /a", "Origin: https://evil.example\r\n", NULL);
    testbed_run_until(&bed, &stranger.released);
    assert_int_equal(client_count_header(&stranger, "Access-Control-Allow-Origin"), 0);
    assert_int_equal(client_count_header(&stranger, "Vary"), 2);
    client_ask(&bed, &same, "GET /a", NULL, NULL); /* a cache must not give this answer to another origin */
    testbed_run_until(&bed, &same.released);
    assert_int_equal(client_count_header(&same, "Access-Control-Allow-Origin"), 0);
    assert_int_equal(client_count_header(&same, "Vary"), 2);
    client_release(&allowed);
    client_release(&stranger);
    client_release(&same);
    testbed_stop(&bed);
}

static void any_origin_is_a_star_and_any_header_is_what_was_asked_for(void **state)
{
    struct testbed bed;
    struct client asks = { 0 }, reads = { 0 };
    testbed_start_filtered(&bed, "/a", "{ type: cors, allowedOrigins: '*', allowedHeaders: '*' }");
    preflight(&bed, &asks, "https://who.example", "GET");
    assert_slice_is(client_header(&asks, "Access-Control-Allow-Origin"), "*");
    assert_slice_is(client_header(&asks, "Access-Control-Allow-Headers"), "x-token, authorization");
    assert_slice_is(client_header(&asks, "Access-Control-Allow-Methods"), "GET, HEAD, POST");
    assert_slice_is(client_header(&asks, "Access-Control-Max-Age"), "600");
    client_ask(&bed, &reads, "GET /a", "Origin: https://who.example\r\n", NULL);
    testbed_run(&bed);
    assert_slice_is(client_header(&reads, "Access-Control-Allow-Origin"), "*");
    assert_int_equal(client_count_header(&reads, "Vary"), 0);
    client_release(&asks);
    client_release(&reads);
    testbed_stop(&bed);
}

static void errors_of_the_gateway_can_be_read_by_the_page_too(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a", FILTER);
    bed.service.fails = true;
    client_ask(&bed, &client, "GET /a", "Origin: https://app.example.com\r\n", NULL);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(client.status, 502);
    assert_slice_is(client_header(&client, "Access-Control-Allow-Origin"), "https://app.example.com");
    client_release(&client);
    testbed_stop(&bed);
}

/* A preflight finds the route of the method that it asks for, also where OPTIONS itself has none. */
static void a_preflight_is_for_the_route_of_the_method_it_asks_for(void **state)
{
    struct testbed bed;
    struct client put = { 0 }, post = { 0 };
    testbed_start(
        &bed,
        "routes:\n"
        "  - { name: p, path: /a, methods: [PUT], serviceId: one, filters: [{ type: cors, allowedOrigins: ['https://a.example'] }] }\n"
        "  - { name: o, path: /a, methods: [POST, OPTIONS], serviceId: one }\n");
    preflight(&bed, &put, "https://a.example", "PUT");
    assert_int_equal(put.status, 204);
    assert_slice_is(client_header(&put, "Access-Control-Allow-Methods"),
                    "PUT"); /* the route's: nothing else was said */
    assert_int_equal(bed.service.requests, 0);
    preflight(&bed, &post, "https://a.example", "POST"); /* no cors there: an ordinary OPTIONS */
    assert_int_equal(post.status, 200);
    assert_int_equal(bed.service.requests, 1);
    assert_int_equal(testbed_status(&bed, "OPTIONS /a", "Origin: https://a.example\r\n"), 200); /* asks for no method */
    client_release(&put);
    client_release(&post);
    testbed_stop(&bed);
}

/* A route that takes PUT and a policy that would forbid pages just that is what nobody means. */
static void methods_that_the_policy_does_not_name_are_those_of_the_route(void **state)
{
    static const struct {
        const char *route, *policy, *allowed;
    } rows[] = {
        { "methods: [GET, PUT], ", "", "GET, PUT" },
        { "methods: [GET, PUT], ", ", allowedMethods: [GET]", "GET" },
        { "methods: [GET, PROPFIND], ", "", "GET, PROPFIND" },
        { "", "", "GET, HEAD, POST" },
        { "", ", allowedMethods: GET", "GET" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        char text[512];
        snprintf(text, sizeof text,
                 "routes:\n"
                 "  - { name: r, path: /a, %sserviceId: one, filters: [{ type: cors, allowedOrigins: '*'%s }] }\n",
                 rows[i].route, rows[i].policy);
        testbed_start(&bed, text);
        preflight(&bed, &client, "https://a.example", "GET");
        assert_slice_is(client_header(&client, "Access-Control-Allow-Methods"), rows[i].allowed);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void mistakes_are_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: cors }", "\"allowedOrigins\" is missing");
    testbed_refuses_filter("{ type: cors, allowedOrigins: [] }", "must not be empty");
    testbed_refuses_filter("{ type: cors, allowedOrigins: ['https://a.test', 'null'], allowCredentials: true }",
                           "can't stand together with \"null\"");
    testbed_refuses_filter("{ type: cors, allowedOrigins: '*', allowCredentials: true }",
                           "can't stand together with \"*\"");
    static const char *const origins[] = {
        "app.example.com",    "https://a.example/",  "https://A.example",   "https://",
        "https://*",          "https://*.",          "https://a.*.example", "https://*.a.*.b",
        "https://*a.example", "https://u@a.example", "https://a.example?b", "https://a.example, https://b.example"
    };
    for (size_t i = 0; i < COUNT_OF(origins); i++) {
        char filter[256];
        snprintf(filter, sizeof filter, "{ type: cors, allowedOrigins: ['%s'] }", origins[i]);
        testbed_refuses_filter(filter, "not an origin");
    }
    testbed_refuses_filter("{ type: cors, allowedOrigins: '*', allowedMethods: ['*'] }", "not a method");
    testbed_refuses_filter("{ type: cors, allowedOrigins: '*', allowedMethods: [] }", "must not be empty");
    testbed_refuses_filter("{ type: cors, allowedOrigins: '*', allowedHeaders: ['a b'] }", "not a header name");
    testbed_refuses_filter("{ type: cors, allowedOrigins: '*', maxAge: 90000000 }", "maxAge");
    testbed_refuses_filter("{ type: cors, origins: '*', allowedOrigins: '*' }", "are the same field");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preflight_is_answered_before_identity_and_names_what_is_allowed),
        cmocka_unit_test(origins_match_as_a_whole),
        cmocka_unit_test(answers_say_who_may_read_them_and_the_services_word_does_not_count),
        cmocka_unit_test(any_origin_is_a_star_and_any_header_is_what_was_asked_for),
        cmocka_unit_test(errors_of_the_gateway_can_be_read_by_the_page_too),
        cmocka_unit_test(a_preflight_is_for_the_route_of_the_method_it_asks_for),
        cmocka_unit_test(methods_that_the_policy_does_not_name_are_those_of_the_route),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
