/* add-header, set-header and remove-header, on requests and on answers. */
#include "exchange/testbed.h"

static void requests_get_headers_added_set_and_removed(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a/{id}",
                           "{ type: add-header, name: X-Many, value: two },"
                           "{ type: set_header, name: X-One, value: 'id ${path.id}' },"
                           "{ type: remove_header, name: x-gone },"
                           "{ type: remove-header, name: X-Debug-* }");
    assert_int_equal(testbed_status(&bed, "GET /a/7",
                                    "X-Many: one\r\nX-One: old\r\nx-one: older\r\nX-Gone: 1\r\nX-GONE: 2\r\n"
                                    "X-Debug-A: 1\r\nx-debug-b: 2\r\nX-Debugger: 3\r\n"),
                     200);
    assert_int_equal(service_count_header(&bed, "X-Many"), 2);
    assert_slice_is(service_header(&bed, "X-One"), "id 7");
    assert_int_equal(service_count_header(&bed, "X-Gone"), 0);
    assert_int_equal(service_count_header(&bed, "X-Debug-A") + service_count_header(&bed, "X-Debug-B"), 0);
    assert_slice_is(service_header(&bed, "X-Debugger"), "3");
    testbed_stop(&bed);
}

static void answers_get_headers_added_set_and_removed(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a/{id}",
                           "{ type: add-header, name: X-Many, value: two, on: response },"
                           "{ type: set-header, name: Content-Type, value: text/css, on: response },"
                           "{ type: set-header, name: X-Request-ID, value: '${request.id}', on: response },"
                           "{ type: remove-header, name: X-Gone, on: response }");
    bed.service.headers = "X-Many: one\r\nContent-Type: text/plain\r\nX-Gone: 1\r\n";
    client_ask(&bed, &client, "GET /a/7", "X-Many: asked\r\nX-Gone: asked\r\n", NULL);
    testbed_run(&bed);
    assert_int_equal(client_count_header(&client, "X-Many"), 2);
    assert_slice_is(client_header(&client, "Content-Type"), "text/css");
    assert_int_equal(client_header(&client, "X-Request-ID").length, 32);
    assert_int_equal(client_count_header(&client, "X-Gone"), 0);
    assert_slice_is(service_header(&bed, "X-Many"), "asked"); /* the request was left alone */
    assert_slice_is(service_header(&bed, "X-Gone"), "asked");
    client_release(&client);
    testbed_stop(&bed);
}

static void a_star_never_takes_off_what_frames_a_message(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a", "{ type: remove-header, name: 'C*' }, { type: remove-header, name: 'H*' }");
    bed.service.after_body = true;
    client_ask(&bed, &client, "POST /a", "Cookie: a=b\r\n", "content");
    testbed_run(&bed);
    assert_int_equal(service_count_header(&bed, "Cookie"), 0);
    assert_slice_is(service_header(&bed, "Host"), "example.com");
    assert_string_equal(bed.service.request_body, "content");
    client_release(&client);
    testbed_stop(&bed);
}

static void all_variables_can_be_headers(void **state)
{
    struct testbed bed;
    testbed_start_filtered(
        &bed, "/a/{id}/*",
        "{ type: set-header, name: X-A, value: '${request.method} ${request.host}${request.path} ${source.ip}' },"
        "{ type: set-header, name: X-Rest, value: '${path.*}' }");
    assert_int_equal(testbed_status(&bed, "PUT /a/7/b/c%2Fd", NULL), 200);
    assert_slice_is(service_header(&bed, "X-A"), "PUT example.com/a/7/b/c%2Fd 192.0.2.1");
    assert_slice_is(service_header(&bed, "X-Rest"), "b/c%2Fd");
    testbed_stop(&bed);
}

/* What a client encodes stays encoded: no capture ends a line. */
static void a_capture_never_becomes_a_second_header(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a/{id}", "{ type: set-header, name: X-A, value: '${path.id}' }");
    assert_int_equal(testbed_status(&bed, "GET /a/b%0d%0aX-Evil:%201", NULL), 200);
    assert_slice_is(service_header(&bed, "X-A"), "b%0D%0AX-Evil:%201");
    assert_int_equal(service_count_header(&bed, "X-Evil"), 0);
    testbed_stop(&bed);
}

static void refuses(struct testbed *bed, const char *line, unsigned status, const char *words)
{
    struct client client = { 0 };
    client_ask(bed, &client, line, NULL, NULL);
    testbed_run(bed);
    if (client.status != status || !strstr(client.body, words)) fail_msg("%s: %u %s", line, client.status, client.body);
    client_release(&client);
}

/* Queries are decoded where an expression takes them: a control character that comes so is the client's, and told by whom it was refused. */
static void a_control_character_that_the_client_brings_is_its_mistake(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ path: /set, serviceId: one, filters: [{ type: set-header, name: X-A, value: "
                        "'a ${request.query.a} b' }] },"
                        " { path: /add, serviceId: one, filters: [{ type: add-header, name: X-B, on: response, value: "
                        "'${request.query.a}' }] },"
                        " { path: /say, respond: { body: b, headers: { X-C: '${request.query.a}' } } },"
                        " { path: /type, respond: { body: b, headers: { Content-Type: '${request.query.a}' } } }]\n");
    bed.service = (struct test_service){ .status = 200, .body = "whole" };
    static const char *const controls[] = { "%0aX-Evil:%201", "%0d", "%00", "%01", "%08", "%0b", "%1b[2J", "%7f" };
    for (size_t i = 0; i < COUNT_OF(controls); i++) {
        char line[64];
        snprintf(line, sizeof line, "GET /set?a=%s", controls[i]);
        refuses(&bed, line, 400, "set-header: what the request brings into header \\\"X-A\\\" has a control character");
    }
    assert_int_equal(bed.service.requests, 0);
    refuses(&bed, "GET /set?a=%0a", 400, "\"rule\":\"set-header\"");
    refuses(&bed, "GET /add?a=%0a", 400, "add-header: what the request brings into header \\\"X-B\\\"");
    refuses(&bed, "GET /say?a=%0d%0a", 400, "respond: what the request brings into header \\\"X-C\\\"");
    refuses(&bed, "GET /type?a=%0d%0a", 400, "header \\\"Content-Type\\\"");
    assert_int_equal(testbed_status(&bed, "GET /set?a=%20b", NULL), 200);
    assert_slice_is(service_header(&bed, "X-A"), "a  b b");
    assert_int_equal(testbed_status(&bed, "GET /set?a=%09%c3%bc%80", NULL), 200);
    assert_slice_is(service_header(&bed, "X-A"), "a \t\xc3\xbc\x80 b");
    assert_int_equal(testbed_status(&bed, "GET /say?a=b", NULL), 200);
    testbed_stop(&bed);
}

/* What stands in the configuration, or comes from the service, is no client's doing. */
static void a_line_break_of_our_own_is_not_blamed_on_the_client(void **state)
{
    static const char *const values[] = { "${\"a\\nb\"}", "${request.query.a}${\"\\n\"}",
                                          "${response.headers[\"x-a\"].replace(\"-\", \"\\n\")}" };
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct testbed bed;
        char filter[256];
        snprintf(filter, sizeof filter, "{ type: add-header, name: X-B, on: response, value: '%s' }", values[i]);
        testbed_start_filtered(&bed, "/a", filter);
        bed.service = (struct test_service){ .status = 200, .headers = "X-A: b-c\r\n" };
        refuses(&bed, "GET /a?a=fine", 500, "could not write its answer");
        testbed_stop(&bed);
    }
}

static void mistakes_are_refused_at_load(void **state)
{
    static const char *const own[] = {
        "Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "Upgrade", "TE", "Trailer", "Host", "Expect"
    };
    char filter[256];
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        snprintf(filter, sizeof filter, "{ type: set-header, name: %s, value: x, on: response }", own[i]);
        testbed_refuses_filter(filter, "is written by Sluice itself");
        snprintf(filter, sizeof filter, "{ type: remove-header, name: %s }", own[i]);
        testbed_refuses_filter(filter, "is written by Sluice itself");
    }
    static const char *const later[] = { "X-Request-ID",
                                         "x-forwarded-for",
                                         "X-Forwarded-Host",
                                         "X-Forwarded-Proto",
                                         "X-Authenticated-User",
                                         "X-Client-ID",
                                         "X_Client_Id",
                                         "X-Client-Certificate-Subject",
                                         "x-client-certificate-other" };
    for (size_t i = 0; i < COUNT_OF(later); i++) {
        snprintf(filter, sizeof filter, "{ type: add-header, name: %s, value: x }", later[i]);
        testbed_refuses_filter(filter, "is written by Sluice itself");
    }
    testbed_refuses_filter("{ type: remove-header, name: X-Client-Certificate-* }", "is written by Sluice itself");
    testbed_refuses_filter("{ type: add-header, name: 'X A', value: x }", "not a header name");
    testbed_refuses_filter("{ type: add-header, name: 'X:A', value: x }", "not a header name");
    testbed_refuses_filter("{ type: add-header, name: '', value: x }", "not a header name");
    testbed_refuses_filter("{ type: add-header, name: X-A, value: \"a\\r\\nX-B: c\" }", "no line breaks");
    testbed_refuses_filter("{ type: add-header, name: X-A }", "\"value\" is missing");
    testbed_refuses_filter("{ type: add-header, value: x }", "\"name\" is missing");
    testbed_refuses_filter("{ type: add-header, name: X-A, value: '${path.other}' }", "captures no \"other\"");
    testbed_refuses_filter("{ type: remove-header, name: '*' }", "not a header name");
    testbed_refuses_filter("{ type: remove-header, name: 'X-*-A' }", "not a header name");
    testbed_refuses_filter("{ type: remove-header, name: X-A, value: x }", "unknown field \"value\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_get_headers_added_set_and_removed),
        cmocka_unit_test(answers_get_headers_added_set_and_removed),
        cmocka_unit_test(a_star_never_takes_off_what_frames_a_message),
        cmocka_unit_test(all_variables_can_be_headers),
        cmocka_unit_test(a_control_character_that_the_client_brings_is_its_mistake),
        cmocka_unit_test(a_line_break_of_our_own_is_not_blamed_on_the_client),
        cmocka_unit_test(a_capture_never_becomes_a_second_header),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
