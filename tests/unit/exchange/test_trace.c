/* The trace of a request: goes on or begins at the edge, and the service is told in one traceparent. */
#include "exchange/testbed.h"

#include "http/trace_context.h"

#define ROUTES "routes: [{ name: a, path: /a, serviceId: one }]\n"
#define TRACE "12345678901234567890123456789012"
#define SPAN "1234567890123456"
#define PARENT "traceparent: 00-" TRACE "-" SPAN "-01\r\n"

/* What the service got of it. */
static struct traceparent asked(struct testbed *bed, const char *fields)
{
    struct traceparent parent = { .flags = 0 };
    assert_int_equal(testbed_status(bed, "GET /a", fields), 200);
    assert_true(traceparent_parse(service_header(bed, "traceparent"), &parent));
    return parent;
}

static bool goes_on(struct testbed *bed, const char *fields)
{
    struct traceparent parent = asked(bed, fields);
    assert_false(slice_equal(parent.parent_id, SLICE(SPAN)));
    return slice_equal(parent.trace_id, SLICE(TRACE));
}

static void a_request_without_a_trace_begins_one(void **state)
{
    struct testbed bed;
    testbed_start(&bed, ROUTES);
    assert_int_equal(asked(&bed, NULL).flags, TRACE_SAMPLED | TRACE_RANDOM_ID);
    assert_int_equal(asked(&bed, "tracestate: foo=1\r\n").flags, TRACE_SAMPLED | TRACE_RANDOM_ID);
    assert_int_equal(service_count_header(&bed, "tracestate"), 0);
    testbed_stop(&bed);
}

static void a_trace_goes_on_with_its_state(void **state)
{
    struct testbed bed;
    testbed_start(&bed, ROUTES);
    assert_true(goes_on(&bed, PARENT "tracestate: foo=1\r\ntracestate: \r\ntracestate: bar=2,baz=3\r\n"));
    assert_slice_is(service_header(&bed, "tracestate"), "foo=1, , bar=2,baz=3");
    assert_true(goes_on(&bed, PARENT "tracestate: foo=1,foo=2\r\n"));
    assert_int_equal(service_count_header(&bed, "tracestate"), 0);
    assert_true(goes_on(&bed, "Connection: traceparent\r\n" PARENT)); /* a client can't take ours away */
    testbed_stop(&bed);
}

static void the_fields_of_a_trace_are_written_in_small_letters(void **state)
{
    struct testbed bed;
    testbed_start(&bed, ROUTES);
    assert_true(goes_on(&bed, "TRACEPARENT: 00-" TRACE "-" SPAN "-01\r\nTraceState: foo=1\r\nTRACESTATE: bar=2\r\n"));
    assert_non_null(strstr(bed.service.head, "\ntraceparent: 00-" TRACE));
    assert_non_null(strstr(bed.service.head, "\ntracestate: foo=1, bar=2\r\n"));
    assert_int_equal(service_count_header(&bed, "traceparent"), 1);
    assert_false(goes_on(&bed, "TraceParent: none\r\n"));
    assert_non_null(strstr(bed.service.head, "\ntraceparent: 00-"));
    testbed_stop(&bed);
}

static void a_trace_that_is_not_well_formed_or_there_twice_begins_anew(void **state)
{
    struct testbed bed;
    testbed_start(&bed, ROUTES);
    assert_false(goes_on(&bed, PARENT PARENT));
    assert_false(goes_on(&bed, "traceparent: 00-" TRACE "-" SPAN "-01.\r\ntracestate: foo=1\r\n"));
    assert_int_equal(service_count_header(&bed, "tracestate"), 0);
    testbed_stop(&bed);
}

static void whose_trace_goes_on_is_a_setting(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "trace: { acceptFrom: trustedProxies, sampled: false }\n" ROUTES);
    assert_false(goes_on(&bed, PARENT "tracestate: foo=1\r\n"));
    assert_int_equal(service_count_header(&bed, "tracestate"), 0);
    assert_int_equal(asked(&bed, NULL).flags, TRACE_RANDOM_ID);
    testbed_stop(&bed);
    testbed_start(&bed, "trace: { acceptFrom: trustedProxies }\ntrustedProxies: [192.0.2.1]\n" ROUTES);
    assert_true(goes_on(&bed, PARENT));
    testbed_stop(&bed);
    testbed_start(&bed, "trace: { acceptFrom: none }\ntrustedProxies: [192.0.2.1]\n" ROUTES);
    assert_false(goes_on(&bed, PARENT));
    testbed_stop(&bed);
}

static void without_traces_the_fields_pass_like_any_other(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "trace: { enabled: false }\n" ROUTES);
    assert_int_equal(testbed_status(&bed, "GET /a", "traceparent: odd\r\ntracestate: foo=1,foo=1\r\n"), 200);
    assert_slice_is(service_header(&bed, "traceparent"), "odd");
    assert_slice_is(service_header(&bed, "tracestate"), "foo=1,foo=1");
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 200);
    assert_int_equal(service_count_header(&bed, "traceparent"), 0);
    testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_without_a_trace_begins_one),
        cmocka_unit_test(a_trace_goes_on_with_its_state),
        cmocka_unit_test(the_fields_of_a_trace_are_written_in_small_letters),
        cmocka_unit_test(a_trace_that_is_not_well_formed_or_there_twice_begins_anew),
        cmocka_unit_test(whose_trace_goes_on_is_a_setting),
        cmocka_unit_test(without_traces_the_fields_pass_like_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
