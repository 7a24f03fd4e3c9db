/* add-query-param: what is added to the query that the service sees. */
#include "exchange/testbed.h"

static const struct {
    const char *filter, *path, *seen;
} rows[] = {
    { "name: src, value: sluice", "/a/x", "/a/x?src=sluice" },
    { "name: src, value: sluice", "/a/x?b=c", "/a/x?b=c&src=sluice" },
    { "name: src, value: sluice", "/a/x?", "/a/x?src=sluice" },
    { "name: src, value: sluice", "/a/x?src=client", "/a/x?src=client&src=sluice" },
    { "name: 'a b', value: 'c&d=e?f#g+h%i/j'", "/a/x", "/a/x?a%20b=c%26d%3De%3Ff%23g%2Bh%25i%2Fj" },
    { "name: v, value: ''", "/a/x", "/a/x?v=" },
    { "name: v, value: 'é'", "/a/x", "/a/x?v=%C3%A9" },
    { "name: v, value: '-._~09azAZ'", "/a/x", "/a/x?v=-._~09azAZ" },
    { "name: id, value: 'u-${path.id}'", "/a/x%26admin=1", "/a/x%26admin=1?id=u-x%2526admin%3D1" },
    { "name: from, value: '${source.ip}'", "/a/x?b=c", "/a/x?b=c&from=192.0.2.1" },
};

static void the_service_sees_one_parameter_more(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        char filter[256], line[256];
        snprintf(filter, sizeof filter, "{ type: add_query_param, %s }", rows[i].filter);
        snprintf(line, sizeof line, "GET %s", rows[i].path);
        testbed_start_filtered(&bed, "/a/{id}", filter);
        assert_int_equal(testbed_status(&bed, line, NULL), 200);
        assert_string_equal(bed.service.target, rows[i].seen);
        testbed_stop(&bed);
    }
}

static void several_add_up_in_order(void **state)
{
    struct testbed bed;
    testbed_start_filtered(
        &bed, "/a/{id}",
        "{ type: add-query-param, name: a, value: '1' }, { type: add-query-param, name: b, value: '${path.id}' }");
    assert_int_equal(testbed_status(&bed, "GET /a/x", NULL), 200);
    assert_string_equal(bed.service.target, "/a/x?a=1&b=x");
    testbed_stop(&bed);
}

static void mistakes_are_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: add-query-param, name: '', value: x }", "needs a name");
    testbed_refuses_filter("{ type: add-query-param, name: a }", "\"value\" is missing");
    testbed_refuses_filter("{ type: add-query-param, name: a, value: '${path.other}' }", "captures no \"other\"");
    testbed_refuses_filter("{ type: add-query-param, name: a, value: b, on: response }", "acts on requests only");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_service_sees_one_parameter_more),
        cmocka_unit_test(several_add_up_in_order),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
