/* redirect: where clients are sent, and where not. */
#include "exchange/testbed.h"

static const struct {
    const char *path, *redirect, *asked;
    unsigned status;
    const char *location; /* NULL: none */
} rows[] = {
    { "/old", "to: /new", "/old", 302, "/new" },
    { "/old", "to: 'https://example.org/x', status: 301", "/old", 301, "https://example.org/x" },
    { "/old/{page}", "to: '/new/${path.page}', status: 308", "/old/a%20b", 308, "/new/a%20b" },
    { "/old/*", "to: '/${path.*}', status: 307", "/old/a/b", 307, "/a/b" },
    { "/old/*", "to: '/${path.*}'", "/old//evil.example/x", 400, NULL }, /* "//evil.example/x" would be another host */
    { "/old/*", "to: '${path.*}'", "/old/", 400, NULL },                 /* nowhere */
    { "/old", "to: 'https://${request.host}/new', status: 303", "/old", 303, "https://example.com/new" },
    { "/old", "to: /new", "/old?a=1", 302, "/new" },
    { "/old", "to: /new, keepQuery: true", "/old?a=1&b=2", 302, "/new?a=1&b=2" },
    { "/old", "to: /new, keepQuery: true", "/old", 302, "/new" },
    { "/old", "to: '/new?x=0#top', keepQuery: true", "/old?a=1", 302, "/new?x=0&a=1#top" },
    { "/old/*", "to: '//cdn.example/${path.*}'", "/old/a", 302, "//cdn.example/a" }, /* as it is written, on purpose */
};

static void clients_are_sent_elsewhere(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        char text[256], line[128];
        snprintf(text, sizeof text, "routes: [{ name: a, path: '%s', redirect: { %s } }]\n", rows[i].path,
                 rows[i].redirect);
        snprintf(line, sizeof line, "GET %s", rows[i].asked);
        testbed_start(&bed, text);
        client_ask(&bed, &client, line, NULL, NULL);
        testbed_run(&bed);
        if (client.status != rows[i].status) fail_msg("%s: %u", text, client.status);
        assert_int_equal(client_count_header(&client, "Location"), rows[i].location != NULL);
        if (rows[i].location) assert_slice_is(client_header(&client, "Location"), rows[i].location);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void filters_act_on_redirects_too(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, "routes: [{ name: a, path: /a, redirect: { to: /b }, filters: [\n"
                        "  { type: set-header, name: Cache-Control, value: no-store, on: response } ] }]\n");
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_slice_is(client_header(&client, "Cache-Control"), "no-store");
    client_release(&client);
    testbed_stop(&bed);
}

static void unknown_variables_are_refused_at_their_place(void **state)
{
    char *problems = testbed_problems("routes:\n"
                                      "  - { name: a, path: /a, redirect: { to: '/${path.id}' } }\n");
    assert_non_null(problems);
    assert_non_null(strstr(problems, "test.yaml:4:"));
    assert_non_null(strstr(problems, "the route's path captures no \"id\""));
    free(problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_are_sent_elsewhere),
        cmocka_unit_test(filters_act_on_redirects_too),
        cmocka_unit_test(unknown_variables_are_refused_at_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
