/* websocket: whose pages may open one. */
#include "base/memory.h"
#include "exchange/testbed.h"

#define UPGRADE "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"

static unsigned status_of(const char *filter, const char *line, const char *fields)
{
    struct testbed bed;
    struct client client = { 0 };
    char text[256];
    snprintf(text, sizeof text, "{ type: websocket, %s }", filter);
    testbed_start_filtered(&bed, "/chat", text);
    client_ask(&bed, &client, line, fields, NULL);
    testbed_run(&bed);
    unsigned status = client.status;
    if (status == 403) {
        assert_non_null(strstr(client.body, "\"rule\":\"websocket\""));
        assert_int_equal(bed.service.requests, 0);
    }
    client_release(&client);
    testbed_stop(&bed);
    return status;
}

static const struct {
    const char *filter, *origin;
    unsigned status;
} rows[] = {
    { "allowedOrigins: ['https://app.example.com']", "https://app.example.com", 200 },
    { "allowedOrigins: 'https://app.example.com'", "https://app.example.com", 200 },
    { "allowedOrigins: ['https://app.example.com']", "http://app.example.com", 403 },
    { "allowedOrigins: ['https://app.example.com']", "https://app.example.com:8443", 403 },
    { "allowedOrigins: ['https://app.example.com']", "https://app.example.com.evil.example", 403 },
    { "allowedOrigins: ['https://app.example.com']", "https://evil.example", 403 },
    { "allowedOrigins: ['https://app.example.com']", "null", 403 },
    { "allowedOrigins: ['https://app.example.com']", "", 403 },
    { "allowedOrigins: ['https://app.example.com', 'http://localhost:3000']", "http://localhost:3000", 200 },
    { "allowedOrigins: ['https://*.example.com']", "https://a.b.example.com", 200 },
    { "allowedOrigins: ['https://*.example.com']", "https://example.com", 403 },
    { "allowedOrigins: ['https://*.example.com']", "https://evil.example/.example.com", 403 },
    { "allowedOrigins: ['https://*.example.com']", "https://a.example.com:444", 403 },
    { "allowedOrigins: ['null']", "null", 200 },
    { "allowedOrigins: ['*']", "https://anybody.example", 200 },
};

static void pages_of_listed_origins_open_one_and_no_others(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char fields[256];
        snprintf(fields, sizeof fields, UPGRADE "Origin: %s\r\n", rows[i].origin);
        unsigned status = status_of(rows[i].filter, "GET /chat", fields);
        if (status != rows[i].status) fail_msg("%s: \"%s\": %u", rows[i].filter, rows[i].origin, status);
    }
}

static void who_sends_no_origin_is_no_browser(void **state)
{
    assert_int_equal(status_of("allowedOrigins: ['https://a.example']", "GET /chat", UPGRADE), 200);
    assert_int_equal(status_of("allowedOrigins: ['https://a.example'], allowNoOrigin: false", "GET /chat", UPGRADE),
                     403);
}

static void two_origins_are_none_that_is_listed(void **state)
{
    const char *fields = UPGRADE "Origin: https://a.example\r\nOrigin: https://a.example\r\n";
    assert_int_equal(status_of("allowedOrigins: ['https://a.example']", "GET /chat", fields), 403);
    assert_int_equal(status_of("allowedOrigins: ['*']", "GET /chat", fields), 403);
}

/* Reading a page's answers is for cors to judge. */
static void other_requests_pass_whatever_their_origin(void **state)
{
    const char *filter = "allowedOrigins: ['https://a.example'], allowNoOrigin: false";
    const char *evil = "Origin: https://evil.example\r\n";
    assert_int_equal(status_of(filter, "GET /chat", evil), 200);
    assert_int_equal(status_of(filter, "POST /chat", UPGRADE "Origin: https://evil.example\r\n"), 200);
    assert_int_equal(status_of(filter, "GET /chat", "Upgrade: websocket\r\nOrigin: https://evil.example\r\n"), 200);
    assert_int_equal(status_of(filter, "GET /chat", "Connection: upgrade\r\nUpgrade: h2c\r\n"), 200);
}

static void what_is_no_origin_is_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: websocket }", "allowedOrigins");
    testbed_refuses_filter("{ type: websocket, allowedOrigins: [] }", "allowedOrigins");
    testbed_refuses_filter("{ type: websocket, allowedOrigins: [example.com] }", "not an origin");
    testbed_refuses_filter("{ type: websocket, allowedOrigins: ['https://a.example/path'] }", "not an origin");
    testbed_refuses_filter("{ type: websocket, allowedOrigins: ['https://A.example'] }", "not an origin");
    testbed_refuses_filter("{ type: websocket, allowedOrigin: ['https://a.example'] }", "did you mean");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_listed_origins_open_one_and_no_others),
        cmocka_unit_test(who_sends_no_origin_is_no_browser),
        cmocka_unit_test(two_origins_are_none_that_is_listed),
        cmocka_unit_test(other_requests_pass_whatever_their_origin),
        cmocka_unit_test(what_is_no_origin_is_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
