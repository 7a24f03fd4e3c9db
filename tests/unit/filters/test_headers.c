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
        cmocka_unit_test(a_capture_never_becomes_a_second_header),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
