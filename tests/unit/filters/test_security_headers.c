/* security-headers: what browsers are told, on which answers, and over which connections. */
#include "exchange/testbed.h"

static void usual_headers_stand_on_every_answer_of_the_route(void **state)
{
    struct testbed bed;
    struct client good = { 0 }, failed = { 0 }, refused = { 0 };
    testbed_start_filtered(&bed, "/a", "{ type: security-headers }, { type: ip-list, deny: [198.51.100.1] }");
    bed.service.headers = "X-Frame-Options: ALLOWALL\r\n";
    client_ask(&bed, &good, "GET /a", NULL, NULL);
    testbed_run(&bed);
    bed.service.fails = true;
    client_ask(&bed, &failed, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_true(address_parse_ip(SLICE("198.51.100.1"), 1, &refused.peer.address));
    client_ask(&bed, &refused, "GET /a", NULL, NULL);
    testbed_run(&bed);
    struct client *const all[] = { &good, &failed, &refused };
    static const unsigned statuses[] = { 200, 502, 403 };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        assert_int_equal(all[i]->status, statuses[i]);
        assert_slice_is(client_header(all[i], "X-Content-Type-Options"), "nosniff");
        assert_slice_is(client_header(all[i], "X-Frame-Options"), "DENY");
        assert_int_equal(client_count_header(all[i], "Strict-Transport-Security"),
                         0); /* RFC 6797 7.2: not in the clear */
        client_release(all[i]);
    }
    testbed_stop(&bed);
}

static void hsts_goes_out_over_tls_only(void **state)
{
    static const struct {
        bool tls;
        const char *fields, *filter, *expected; /* NULL: none */
    } rows[] = {
        { true, NULL, "", "max-age=31536000" },
        { false, NULL, "", NULL },
        { false, NULL, ", hstsAlways: true", "max-age=31536000" },
        { true, NULL, ", hstsMaxAge: 0", NULL },
        { true, NULL, ", hstsMaxAge: 60, hstsIncludeSubDomains: true", "max-age=60; includeSubDomains" },
        { true, NULL, ", hstsIncludeSubDomains: true, hstsPreload: true",
          "max-age=31536000; includeSubDomains; preload" },
        { false, "X-Forwarded-Proto: https\r\n", "", "max-age=31536000" }, /* the peer is a trusted proxy */
        { false, "X-Forwarded-Proto: http\r\n", "", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { .peer.tls = rows[i].tls };
        char text[512];
        snprintf(
            text, sizeof text,
            "trustedProxies: [192.0.2.1]\nroutes: [{ name: a, path: /a, serviceId: one, filters: [{ type: security-headers%s }] }]\n",
            rows[i].filter);
        testbed_start(&bed, text);
        client_ask(&bed, &client, "GET /a", rows[i].fields, NULL);
        testbed_run(&bed);
        assert_int_equal(client_count_header(&client, "Strict-Transport-Security"), rows[i].expected != NULL);
        if (rows[i].expected) assert_slice_is(client_header(&client, "Strict-Transport-Security"), rows[i].expected);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_stranger_cannot_claim_to_be_behind_tls(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a", "{ type: security-headers }");
    client_ask(&bed, &client, "GET /a", "X-Forwarded-Proto: https\r\n", NULL);
    testbed_run(&bed);
    assert_int_equal(client_count_header(&client, "Strict-Transport-Security"), 0);
    client_release(&client);
    testbed_stop(&bed);
}

static void each_header_is_switched_by_its_field(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(
        &bed, "/a",
        "{ type: security-headers, nosniff: false, frameOptions: sameorigin, referrerPolicy: no-referrer, "
        "contentSecurityPolicy: \"default-src 'self'\", permissionsPolicy: camera=(), "
        "crossOriginOpenerPolicy: same-origin, crossOriginResourcePolicy: same-site }");
    bed.service.headers = "Referrer-Policy: unsafe-url\r\n";
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client_count_header(&client, "X-Content-Type-Options"), 0);
    assert_slice_is(client_header(&client, "X-Frame-Options"), "SAMEORIGIN");
    assert_slice_is(client_header(&client, "Referrer-Policy"), "no-referrer");
    assert_slice_is(client_header(&client, "Content-Security-Policy"), "default-src 'self'");
    assert_slice_is(client_header(&client, "Permissions-Policy"), "camera=()");
    assert_slice_is(client_header(&client, "Cross-Origin-Opener-Policy"), "same-origin");
    assert_slice_is(client_header(&client, "Cross-Origin-Resource-Policy"), "same-site");
    client_release(&client);
    testbed_stop(&bed);
}

static void mistakes_are_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: security-headers, frameOptions: allow }", "frameOptions");
    testbed_refuses_filter("{ type: security-headers, hstsPreload: true }", "needs \"hstsIncludeSubDomains\"");
    testbed_refuses_filter("{ type: security-headers, hstsPreload: true, hstsIncludeSubDomains: true, hstsMaxAge: 60 }",
                           "at least a year");
    testbed_refuses_filter("{ type: security-headers, referrerPolicy: \"a\\nb\" }", "no line breaks");
    testbed_refuses_filter("{ type: security-headers, nosnif: true }", "did you mean \"nosniff\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_headers_stand_on_every_answer_of_the_route),
        cmocka_unit_test(hsts_goes_out_over_tls_only),
        cmocka_unit_test(a_stranger_cannot_claim_to_be_behind_tls),
        cmocka_unit_test(each_header_is_switched_by_its_field),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
