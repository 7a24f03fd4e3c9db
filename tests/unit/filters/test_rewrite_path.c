/* rewrite-path: which path the service sees. */
#include "exchange/testbed.h"

#include "base/memory.h"

#include <stdlib.h>

static const struct {
    const char *filter, *path, *seen; /* seen NULL: answered with 500 */
} rows[] = {
    { "pattern: '^/a/(.*)$', replacement: '/b/$1'", "/a/x/y", "/b/x/y" },
    { "pattern: '^/a/(.*)$', replacement: '/b/$1'", "/a/x?q=/a/1", "/b/x?q=/a/1" },
    { "pattern: '^/z', replacement: '/b'", "/a/x", "/a/x" },
    { "pattern: '/v[0-9]+', replacement: ''", "/a/v1/b/v2", "/a/b/v2" }, /* the first match only */
    { "pattern: '([a-z]+)/([0-9]+)$', replacement: '$2/$1'", "/a/users/42", "/a/42/users" },
    { "pattern: '$', replacement: '/end'", "/a/x", "/a/x/end" },
    { "pattern: '^', replacement: '/start'", "/a/x", "/start/a/x" },
    { "pattern: '(x)|(y)', replacement: '[$1$2]'", "/a/y", NULL }, /* brackets are no path characters */
    { "pattern: '(x)|(y)', replacement: '($1$2)'", "/a/y", "/a/(y)" },
    { "pattern: 'x', replacement: '$$1'", "/a/x", "/a/$1" },
    { "pattern: 'x', replacement: 'a$b$'", "/a/x", "/a/a$b$" },
    { "pattern: '^/a/', replacement: '/u/${path.rest}/'", "/a/x", "/u/x/x" },
    { "pattern: '(x)', replacement: '${path.rest}$1${request.method}'", "/a/x", "/a/xxGET" },
    { "pattern: '^/', replacement: ''", "/a/x", NULL },       /* no '/' in front */
    { "pattern: '^/a/x', replacement: ''", "/a/x", NULL },    /* nothing left */
    { "pattern: '^/a', replacement: '/..'", "/a/x", NULL },   /* above the root */
    { "pattern: '^/a', replacement: '/c/..'", "/a/x", "/x" }, /* normalised like a client's */
    { "pattern: '^/a', replacement: '/%7e/%2f'", "/a/x", "/~/%2F/x" },
    { "pattern: '^/a', replacement: '/%zz'", "/a/x", NULL },
    { "pattern: '^/a', replacement: '/%00'", "/a/x", NULL },
    { "pattern: '^/a', replacement: '/b c'", "/a/x", NULL },
    { "pattern: '^/a', replacement: \"/b\\tc\"", "/a/x", NULL }, /* control bytes */
    { "pattern: '^/a', replacement: \"/b\\r\\nX: y\"", "/a/x", NULL },
    { "pattern: '^/a', replacement: '/b\\c'", "/a/x", NULL },
    { "pattern: '^/a', replacement: '/é'", "/a/x", NULL },
    { "pattern: '(%2)F', replacement: '$1E'", "/a/x%2Fy", "/a/x.y" },
    { "path: '/fixed'", "/a/x?q=1", "/fixed?q=1" },
    { "path: '/b/../c/%7Eme'", "/a/x", "/c/~me" },
    { "path: '/files/${path.rest}'", "/a/x%2Fy", "/files/x%2Fy" },
    { "path: '/files/${path.rest}/..'", "/a/x", "/files/" },
    { "path: '/f/${path.rest}'", "/a/%3Fq=1%23z", "/f/%3Fq=1%23z" },
    { "path: '${request.path}/more'", "/a/x", "/a/x/more" },
};

static void the_service_sees_the_new_path(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        char filter[256], line[256];
        snprintf(filter, sizeof filter, "{ type: rewrite-path, %s }", rows[i].filter);
        snprintf(line, sizeof line, "GET %s", rows[i].path);
        testbed_start_filtered(&bed, "~^/a/(?<rest>.*)$", filter);
        unsigned status = testbed_status(&bed, line, NULL);
        if (status != (rows[i].seen ? 200u : 500u)) fail_msg("%s: %u %s", filter, status, bed.service.target);
        assert_string_equal(bed.service.target, rows[i].seen ? rows[i].seen : "");
        testbed_stop(&bed);
    }
}

/* Of the setting in force when the request comes, also where the route was compiled before. */
static void slashes_are_merged_as_in_a_clients_path(void **state)
{
    static const struct {
        const char *filter, *seen, *merged;
    } merging[] = {
        { "pattern: '^/a', replacement: '/b//c/'", "/b//c//x", "/b/c/x" },
        { "path: '/files//${path.rest}'", "/files//x", "/files/x" },
        { "path: '//fixed//way'", "//fixed//way", "/fixed/way" },
        { "path: '//c//../d'", "//c/d", "/d" },
    };
    for (size_t i = 0; i < COUNT_OF(merging); i++) {
        struct testbed bed;
        char *route = memory_format(
            "routes: [{ name: a, path: '/a/{rest}', serviceId: one, stripPrefix: false, filters: [\n"
            "  { type: rewrite-path, %s } ] }]\n",
            merging[i].filter);
        char *with_setting = memory_format("mergeSlashes: true\n%s", route);
        testbed_start(&bed, route);
        assert_int_equal(testbed_status(&bed, "GET /a/x", NULL), 200);
        assert_string_equal(bed.service.target, merging[i].seen);
        testbed_reload(&bed, with_setting);
        assert_int_equal(testbed_status(&bed, "GET /a/x", NULL), 200);
        assert_string_equal(bed.service.target, merging[i].merged);
        testbed_stop(&bed);
        free(with_setting);
        free(route);
    }
}

static void rewrites_follow_one_another_and_strip_prefix(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ name: a, path: /api/*, serviceId: one, filters: [\n"
                        "  { type: rewrite_path, pattern: '^/x', replacement: '/y' },\n"
                        "  { type: rewrite_path, pattern: '^/y', replacement: '/z' } ] }]\n");
    assert_int_equal(testbed_status(&bed, "GET /api/x/1", NULL), 200);
    assert_string_equal(bed.service.target, "/z/1");
    testbed_stop(&bed);
}

static void a_path_that_cannot_be_is_a_problem_with_the_rule(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a/*", "{ type: rewrite-path, pattern: '^/', replacement: '' }");
    client_ask(&bed, &client, "GET /a/x", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 500);
    assert_non_null(strstr(client.body, "\"rule\":\"rewrite-path\""));
    assert_non_null(strstr(client.body, "does not begin with"));
    client_release(&client);
    testbed_stop(&bed);
}

/* Nested quantifiers over 60 letters would take 2^60 steps: the match limit ends it, and the service never sees such a path. */
static void a_catastrophic_pattern_is_bounded(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start_filtered(&bed, "/a/*", "{ type: rewrite-path, pattern: '^/a/(x+x+)+[yz]', replacement: '/b' }");
    client_ask(&bed, &client, "GET /a/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 500);
    assert_non_null(strstr(client.body, "took too long"));
    assert_int_equal(bed.service.requests, 0);
    client_release(&client);
    testbed_stop(&bed);
}

static void mistakes_are_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: rewrite-path }", "are missing");
    testbed_refuses_filter("{ type: rewrite-path, pattern: x }", "are missing");
    testbed_refuses_filter("{ type: rewrite-path, replacement: x }", "are missing");
    testbed_refuses_filter("{ type: rewrite-path, path: /b, pattern: x, replacement: y }", "stands alone");
    testbed_refuses_filter("{ type: rewrite-path, path: b }", "must begin with");
    testbed_refuses_filter("{ type: rewrite-path, path: '' }", "must begin with");
    testbed_refuses_filter("{ type: rewrite-path, path: '/b?c=d' }", "must not hold \"?\"");
    testbed_refuses_filter("{ type: rewrite-path, pattern: a, replacement: '/b#c' }", "must not hold \"?\"");
    testbed_refuses_filter("{ type: rewrite-path, path: '/b/../..' }", "is no path");
    testbed_refuses_filter("{ type: rewrite-path, path: '/b c' }", "is no path");
    testbed_refuses_filter("{ type: rewrite-path, pattern: '(', replacement: x }", "is no regular expression");
    testbed_refuses_filter("{ type: rewrite-path, pattern: '', replacement: x }", "must have 1 to 8192");
    testbed_refuses_filter("{ type: rewrite-path, pattern: '(x)', replacement: '$2' }",
                           "group $2, but \"pattern\" has 1");
    testbed_refuses_filter("{ type: rewrite-path, pattern: '(x)', replacement: '$10' }",
                           "group $10, but \"pattern\" has 1");
    testbed_refuses_filter("{ type: rewrite-path, pattern: '(x)', replacement: '${1}' }", "groups are $1 to $99");
    testbed_refuses_filter("{ type: rewrite-path, path: '/b/${path.other}' }", "captures no \"other\"");
    testbed_refuses_filter("{ type: rewrite-path, path: /b, on: response }", "acts on requests only");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_service_sees_the_new_path),
        cmocka_unit_test(slashes_are_merged_as_in_a_clients_path),
        cmocka_unit_test(rewrites_follow_one_another_and_strip_prefix),
        cmocka_unit_test(a_path_that_cannot_be_is_a_problem_with_the_rule),
        cmocka_unit_test(a_catastrophic_pattern_is_bounded),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
