/* Versions of an API: where a request asks for one, what it gets where there is none, what answers say of one that ends. */
#include "exchange/testbed.h"

#define API \
    "apiVersions: { pathPrefix: '/api/v{version}', header: X-API-Version, mediaTypeParameter: version, query: version, "
#define VERSIONS                                                                                      \
    "versions: [{ version: '1', deprecated: '2026-01-01T00:00:00Z', sunset: '2026-12-31T23:59:59Z', " \
    "link: 'https://example.com/2' }, { version: '2' }, { version: '3' }] }\n"
#define ROUTES                                                                     \
    "routes: [{ name: one, path: /users, version: '1', respond: { body: '1' } },"  \
    " { name: two, path: /users, version: '2', respond: { body: '2' } },"          \
    " { name: other, path: /other, version: '3', respond: { body: '3' } },"        \
    " { name: v1, path: '/api/v1/users', version: '1', respond: { body: 'p1' } }," \
    " { name: v2, path: '/api/v{v}/users', version: '2', respond: { body: 'p2' } }]\n"

/* "200 2", "406 unknown-version" */
static const char *answer(struct testbed *bed, const char *line, const char *fields)
{
    static char text[4096];
    struct client client = { 0 };
    client_ask(bed, &client, line, fields, NULL);
    testbed_run(bed);
    snprintf(text, sizeof text, "%u %s", client.status, client.body ? client.body : "");
    client_release(&client);
    return text;
}

static void says(struct testbed *bed, const char *line, const char *fields, unsigned status, const char *words)
{
    const char *text = answer(bed, line, fields);
    if (strtoul(text, NULL, 10) != status || !strstr(text, words)) fail_msg("%s: %s", line, text);
}

static void a_version_is_asked_for_in_four_places(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API "default: '2', " VERSIONS ROUTES);
    assert_string_equal(answer(&bed, "GET /users", NULL), "200 2");
    assert_string_equal(answer(&bed, "GET /users", "x-api-version: 1\r\n"), "200 1");
    assert_string_equal(answer(&bed, "GET /users", "Accept: application/vnd.api+json; version=1\r\n"), "200 1");
    assert_string_equal(answer(&bed, "POST /users", "Content-Type: application/vnd.api+json;version=\"1\"\r\n"),
                        "200 1");
    assert_string_equal(answer(&bed, "GET /users?a=b&version=1", NULL), "200 1");
    assert_string_equal(answer(&bed, "GET /api/v1/users", NULL), "200 p1");
    assert_string_equal(answer(&bed, "GET /api/v2/users", NULL), "200 p2");
    testbed_stop(&bed);
}

static void the_path_goes_first_then_header_media_type_query(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API "default: '2', " VERSIONS ROUTES);
    assert_string_equal(answer(&bed, "GET /api/v1/users?version=2", "X-API-Version: 2\r\n"), "200 p1");
    assert_string_equal(answer(&bed, "GET /users?version=2", "X-API-Version: 1\r\nAccept: a/b;version=2\r\n"), "200 1");
    assert_string_equal(answer(&bed, "GET /users?version=2", "Accept: a/b;version=1\r\n"), "200 1");
    testbed_stop(&bed);
}

static void a_version_that_is_not_there_is_refused_where_it_was_asked_for(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API "default: '2', " VERSIONS ROUTES);
    says(&bed, "GET /users", "X-API-Version: 9\r\n", 400, "there is no version \\\"9\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users", "X-API-Version: \r\n", 400, "there is no version");
    says(&bed, "GET /users?version=%39", NULL, 400, "there is no version \\\"%39\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users?version=%2531", NULL, 400, "there is no version \\\"%2531\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users?version=%00", NULL, 400, "there is no version \\\"%00\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users?version=1%00", NULL, 400, "there is no version \\\"1%00\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users?version=%33", NULL, 400, "version \\\"%33\\\" has nothing here; it is in 1 and 2");
    says(&bed, "GET /users?version=", NULL, 400, "there is no version \\\"\\\"; there are 1, 2 and 3");
    says(&bed, "GET /users?%76ersion=9", NULL, 400, "there is no version");
    says(&bed, "GET /users", "Accept: a/b;version=9\r\n", 406, "there are 1, 2 and 3");
    says(&bed, "GET /api/v9/users", NULL, 404, "there is no version \\\"9\\\"; there are 1, 2 and 3");
    says(&bed, "GET /api/v9/nothing", NULL, 404, "there are 1, 2 and 3");
    says(&bed, "GET /users", "X-API-Version: 3\r\n", 400, "version \\\"3\\\" has nothing here; it is in 1 and 2");
    says(&bed, "GET /other", NULL, 404, "version \\\"2\\\" has nothing here; it is in 3");
    says(&bed, "GET /nowhere", "X-API-Version: 9\r\n", 404, "no route matches");
    testbed_stop(&bed);
}

static void a_version_in_the_path_that_has_nothing_here_is_told_which_have(void **state)
{
    struct testbed bed;
    testbed_start(&bed,
                  API VERSIONS "routes: [{ path: '/api/v1/users', version: '1', respond: { body: '1' } },"
                               " { path: '/api/v2/{rest}', version: '2', methods: [GET], respond: { body: '2' } }]\n");
    says(&bed, "GET /api/v3/users", NULL, 404, "version \\\"3\\\" has nothing here; it is in 1 and 2");
    says(&bed, "POST /api/v3/users", NULL, 404, "version \\\"3\\\" has nothing here; it is in 1");
    says(&bed, "GET /api/v1/groups", NULL, 404, "version \\\"1\\\" has nothing here; it is in 2");
    says(&bed, "GET /api/v1/a/b", NULL, 404, "no route matches");
    says(&bed, "GET /api/v3", NULL, 404, "no route matches");
    /* Of two APIs that the path may be of, the one whose versions have something there. */
    testbed_reload(
        &bed,
        "apiVersions: [{ name: one, pathPrefix: '/api/v{version}', versions: [{ version: '1' }, { version: '2' }] },"
        " { name: two, pathPrefix: '/api/{version}', versions: [{ version: v1 }, { version: v2 }] }]\n"
        "routes: [{ path: '/api/v2/users', version: two/v2, respond: { body: '2' } }]\n");
    says(&bed, "GET /api/v1/users", NULL, 404, "version \\\"v1\\\" has nothing here; it is in v2");
    /* A route without version serves it. */
    testbed_reload(&bed, API VERSIONS "routes: [{ path: '/api/v1/users', version: '1', respond: { body: '1' } },"
                                      " { path: '/*', respond: { body: rest } }]\n");
    assert_string_equal(answer(&bed, "GET /api/v3/users", NULL), "200 rest");
    testbed_stop(&bed);
}

/* A proxy in front takes one of them, the service another: nobody says which is meant. The same twice is one. */
static void a_version_named_twice_must_be_the_same(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API "default: '2', " VERSIONS ROUTES);
    says(&bed, "GET /users", "X-API-Version: 1\r\nx-api-version: 2\r\n", 400,
         "header \\\"X-API-Version\\\" names more than one version; send it once");
    says(&bed, "GET /users", "X-API-Version: 9\r\nX-API-Version: 1\r\n", 400, "more than one version");
    says(&bed, "GET /users?version=1&a=b&vers%69on=2", NULL, 400,
         "query parameter \\\"version\\\" names more than one version; send it once");
    says(&bed, "GET /users?version=1&version=%32", NULL, 400, "more than one version");
    assert_string_equal(answer(&bed, "GET /users", "X-API-Version: 1\r\nX-API-Version: 1\r\n"), "200 1");
    assert_string_equal(answer(&bed, "GET /users?version=1&version=1", NULL), "200 1");
    assert_string_equal(answer(&bed, "GET /users?vers%69on=1", NULL), "200 1");
    assert_string_equal(answer(&bed, "GET /users?version=%31", NULL), "200 1");
    assert_string_equal(answer(&bed, "GET /users?version=1&version=%31", NULL), "200 1");
    /* What goes first decides, and the rest is not looked at. */
    assert_string_equal(answer(&bed, "GET /users?version=1&version=2", "X-API-Version: 1\r\n"), "200 1");
    testbed_reload(&bed, API VERSIONS "routes: [{ path: '/*', respond: { body: rest } },"
                                      " { path: /users, version: '1', respond: { body: '1' } }]\n");
    says(&bed, "GET /users", "X-API-Version: 1\r\nX-API-Version: 2\r\n", 400, "more than one version");
    testbed_stop(&bed);
}

static void without_a_default_a_version_must_be_asked_for(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API VERSIONS ROUTES);
    says(&bed, "GET /users", NULL, 400, "must say which version it wants; there are 1 and 2");
    testbed_stop(&bed);
}

/* A route without a version takes what is known but not here; what is unknown to the API it doesn't take. */
static void a_route_without_a_version_is_no_way_around(void **state)
{
    struct testbed bed;
    testbed_start(&bed, API VERSIONS "routes: [{ path: '/*', respond: { body: rest } },"
                                     " { path: /users, version: '1', respond: { body: '1' } },"
                                     " { path: /first, priority: 1, respond: { body: first } },"
                                     " { path: /first, version: '1', respond: { body: '1' } }]\n");
    assert_string_equal(answer(&bed, "GET /users", "X-API-Version: 2\r\n"), "200 rest");
    assert_string_equal(answer(&bed, "GET /users", NULL), "200 rest");
    says(&bed, "GET /users", "X-API-Version: 9\r\n", 400, "there is no version");
    assert_string_equal(answer(&bed, "GET /first", "X-API-Version: 9\r\n"), "200 first");
    testbed_stop(&bed);
}

#define BY_PATH "apiVersions: { pathPrefix: '/v{version}', versions: [{ version: '1' }, { version: '2' }] }\n"

static void an_unknown_version_in_the_path_ends_in_no_catch_all(void **state)
{
    struct testbed bed;
    testbed_start(&bed,
                  BY_PATH "routes: [{ path: '/*', respond: { body: rest } },"
                          " { path: /v1/orders, methods: [GET], version: '1', respond: { body: '1' } },"
                          " { path: '/v2/orders*', methods: [GET, PUT], version: '2', respond: { body: '2' } }]\n");
    assert_string_equal(answer(&bed, "GET /v1/orders", NULL), "200 1");
    says(&bed, "GET /v9/orders", NULL, 404, "there is no version \\\"9\\\"; there are 1 and 2");
    says(&bed, "GET /v9/orders/7", NULL, 404, "there is no version \\\"9\\\"");
    says(&bed, "PUT /v10/orders", NULL, 404, "there is no version \\\"10\\\"");
    says(&bed, "GET /v%39/orders", NULL, 404, "there is no version \\\"9\\\"");
    assert_string_equal(answer(&bed, "DELETE /v9/orders", NULL), "200 rest"); /* as for DELETE /v1/orders */
    assert_string_equal(answer(&bed, "GET /v9/other", NULL), "200 rest");
    assert_string_equal(answer(&bed, "GET /v9", NULL), "200 rest");
    testbed_reload(&bed, BY_PATH "routes: [{ path: '/*', methods: [GET], respond: { body: rest } },"
                                 " { path: '/v1/*', version: '1', respond: { body: '1' } }]\n");
    says(&bed, "PUT /v9/orders", NULL, 404, "there is no version \\\"9\\\""); /* and not 405 */
    says(&bed, "PUT /w9/orders", NULL, 405, "no route of this path takes the method");
    testbed_stop(&bed);
}

/* What only begins like the prefix, what a route means by name, what belongs to another host or goes first: none of it asks for a version. */
static void a_path_that_only_looks_like_a_version_is_left_alone(void **state)
{
    struct testbed bed;
    struct client elsewhere = { .host = "www.example.com" };
    testbed_start(&bed, BY_PATH "routes: [{ path: '/*', respond: { body: rest } },"
                                " { path: '/v9-archive/*', respond: { body: archive } },"
                                " { path: '~/v[0-9]{4}/.*', priority: 1, respond: { body: years } },"
                                " { path: '/*', host: www.example.com, respond: { body: www } },"
                                " { path: '/v1/*', version: '1', respond: { body: '1' } }]\n");
    assert_string_equal(answer(&bed, "GET /vendors/acme", NULL), "200 rest");
    assert_string_equal(answer(&bed, "GET /v9-archive/a", NULL), "200 archive");
    assert_string_equal(answer(&bed, "GET /v2026/a", NULL), "200 years");
    says(&bed, "GET /v9/acme", NULL, 404, "there is no version \\\"9\\\"");
    client_ask(&bed, &elsewhere, "GET /v9/acme", NULL, NULL);
    testbed_run(&bed);
    assert_string_equal(elsewhere.body, "www");
    client_release(&elsewhere);
    testbed_reload(&bed, "apiVersions: { pathPrefix: '/v{version}', header: X-V, versions: [{ version: '1' }] }\n"
                         "routes: [{ path: '/vendors/*', version: '1', respond: { body: '1' } }]\n");
    assert_string_equal(answer(&bed, "GET /vendors/acme", "X-V: 1\r\n"), "200 1");
    testbed_reload(&bed, "apiVersions: { pathPrefix: '/{version}', versions: [{ version: beta }, { version: '1' }] }\n"
                         "routes: [{ path: '/*', respond: { body: rest } },"
                         " { path: /beta/a, version: beta, respond: { body: b } }]\n");
    says(&bed, "GET /gamma/a", NULL, 404, "there are beta and 1");
    assert_string_equal(answer(&bed, "GET /-/a", NULL), "200 rest");
    testbed_stop(&bed);
}

/* A cache that knows the URL alone would give one version's answer to who asks for another. */
static void answers_that_differ_by_version_say_by_which_field(void **state)
{
    static const struct {
        const char *line, *fields;
        unsigned status, count; /* of Vary */
    } rows[] = {
        { "GET /users", NULL, 200, 2 },                        /* the route without version beside the others */
        { "GET /users", "X-API-Version: 9\r\n", 400, 2 },      /* no such version */
        { "GET /users", "Accept: a/b;version=9\r\n", 406, 2 }, /* the same */
        { "PUT /users", "X-API-Version: 1\r\n", 405, 2 },      /* for another version there may be a route */
        { "GET /only", NULL, 400, 2 },                         /* none is asked for */
        { "GET /only?version=3", NULL, 400, 2 },               /* has nothing here */
        { "GET /only", "X-API-Version: 1\r\nX-API-Version: 2\r\n", 400, 2 },
        { "GET /api/v1/users", NULL, 200, 0 }, /* the URL says all */
        { "GET /api/v9/users", NULL, 404, 0 },
        { "GET /elsewhere", "X-API-Version: 9\r\n", 200, 0 }, /* no version was asked for */
    };
    struct testbed bed;
    testbed_start(&bed, API VERSIONS "routes: [{ path: '/users', methods: [GET], respond: { body: any } },"
                                     " { path: /users, methods: [GET], version: '1', respond: { body: '1' } },"
                                     " { path: /only, version: '1', respond: { body: '1' } },"
                                     " { path: /api/v1/users, version: '1', respond: { body: p1 } },"
                                     " { path: /elsewhere, respond: {} }]\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client = { 0 };
        client_ask(&bed, &client, rows[i].line, rows[i].fields, NULL);
        testbed_run(&bed);
        if (client.status != rows[i].status || client_count_header(&client, "Vary") != rows[i].count)
            fail_msg("%s: %u%s", rows[i].line, client.status, client.head);
        if (rows[i].count == 2)
            assert_true(strstr(client.head, "Vary: X-API-Version") && strstr(client.head, "Vary: Accept"));
        client_release(&client);
    }
    testbed_stop(&bed);
}

/* The service may know it as well. */
static void a_vary_that_is_there_is_not_said_twice(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, API VERSIONS "routes: [{ path: /users, version: '1', serviceId: one }]\n");
    bed.service = (struct test_service){ .status = 200, .headers = "Vary: Origin, x-api-version\r\n" };
    client_ask(&bed, &client, "GET /users", "X-API-Version: 1\r\n", NULL);
    testbed_run(&bed);
    assert_int_equal(client_count_header(&client, "Vary"), 2);
    assert_non_null(strstr(client.head, "Vary: Accept"));
    client_release(&client);
    testbed_stop(&bed);
}

static void answers_of_a_version_that_ends_say_so(void **state)
{
    struct testbed bed;
    struct client old = { 0 }, fresh = { 0 }, refused = { 0 };
    testbed_start(&bed, API VERSIONS ROUTES);
    client_ask(&bed, &old, "GET /users", "X-API-Version: 1\r\n", NULL);
    client_ask(&bed, &fresh, "GET /users", "X-API-Version: 2\r\n", NULL);
    testbed_run(&bed);
    assert_slice_is(client_header(&old, "Deprecation"), "@1767225600");
    assert_slice_is(client_header(&old, "Sunset"), "Thu, 31 Dec 2026 23:59:59 GMT");
    assert_int_equal(client_count_header(&old, "Link"), 2);
    assert_non_null(strstr(old.head, "<https://example.com/2>; rel=\"deprecation\""));
    assert_non_null(strstr(old.head, "<https://example.com/2>; rel=\"sunset\""));
    assert_non_null(strstr(old.head, "Vary: X-API-Version"));
    assert_non_null(strstr(old.head, "Vary: Accept"));
    assert_int_equal(client_count_header(&fresh, "Deprecation"), 0);
    assert_int_equal(client_count_header(&fresh, "Sunset"), 0);
    assert_int_equal(client_count_header(&fresh, "Vary"), 2);
    client_release(&old);
    client_release(&fresh);
    testbed_reload(&bed,
                   API VERSIONS "routes: [{ path: /users, version: '1', serviceId: one, filters: [{ type: ip_list, "
                                "deny: [192.0.2.1] }] }]\n");
    client_ask(&bed, &refused, "GET /users", "X-API-Version: 1\r\n", NULL);
    testbed_run(&bed);
    assert_int_equal(refused.status, 403);
    assert_slice_is(client_header(&refused, "Deprecation"), "@1767225600"); /* whoever answers */
    client_release(&refused);
    testbed_stop(&bed);
}

/* A browser asks before it sends the header that says which. */
static void a_preflight_is_for_all_versions(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    const char *preflight = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n"
                            "Access-Control-Request-Headers: x-api-version\r\n";
    testbed_start(&bed,
                  API VERSIONS "plugins: [{ name: cors, config: { origins: ['https://app.example.com'] } }]\n" ROUTES);
    client_ask(&bed, &client, "OPTIONS /users", preflight, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 204);
    assert_slice_is(client_header(&client, "Access-Control-Allow-Origin"), "https://app.example.com");
    client_release(&client);
    says(&bed, "OPTIONS /users?version=9", preflight, 400, "there is no version");
    testbed_stop(&bed);
}

/* Nothing took the request; what it asked for ends all the same. */
static void refusals_of_a_version_that_ends_say_so_too(void **state)
{
    struct testbed bed;
    static const struct {
        const char *line, *fields;
        unsigned status;
    } asks[] = {
        { "POST /users", "X-API-Version: 1\r\n", 405 },
        { "POST /api/v1/users", NULL, 405 },
        { "GET /other", "X-API-Version: 1\r\n", 400 }, /* has nothing here */
        { "GET /api/v1/other", NULL, 404 },            /* it is in 3 */
        { "GET /api/v1/nowhere", NULL, 404 },          /* no version has it */
    };
    testbed_start(&bed,
                  API VERSIONS "routes: [{ path: /users, methods: [GET], version: '1', respond: { body: '1' } },"
                               " { path: /users, methods: [GET], version: '2', respond: { body: '2' } },"
                               " { path: /other, version: '3', respond: { body: '3' } },"
                               " { path: '/api/v3/other', version: '3', respond: { body: 'p3' } },"
                               " { path: '/api/v1/users', methods: [GET], version: '1', respond: { body: 'p1' } }]\n");
    for (size_t i = 0; i < COUNT_OF(asks); i++) {
        struct client client = { 0 };
        client_ask(&bed, &client, asks[i].line, asks[i].fields, NULL);
        testbed_run(&bed);
        assert_int_equal(client.status, asks[i].status);
        assert_slice_is(client_header(&client, "Deprecation"), "@1767225600");
        assert_slice_is(client_header(&client, "Sunset"), "Thu, 31 Dec 2026 23:59:59 GMT");
        assert_int_equal(client_count_header(&client, "Link"), 2);
        client_release(&client);
    }
    struct client fresh = { 0 };
    client_ask(&bed, &fresh, "POST /users", "X-API-Version: 2\r\n", NULL);
    testbed_run(&bed);
    assert_int_equal(fresh.status, 405);
    assert_int_equal(client_count_header(&fresh, "Deprecation"), 0);
    client_release(&fresh);
    testbed_stop(&bed);
}

#define CORS "filters: [{ type: cors, origins: ['https://app.example.com'] }], "
#define PREFLIGHT "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n"
#define NAMES_HEADER "Access-Control-Request-Headers: content-type,x-api-version\r\n"

static unsigned preflight_status(struct testbed *bed, const char *line, const char *fields)
{
    return (unsigned)strtoul(answer(bed, line, fields), NULL, 10);
}

/* Which version it is for can't be known where the header comes later; where it doesn't, the default's route says. */
static void a_preflight_finds_the_version_whose_route_has_cors(void **state)
{
    static const char api[] = "apiVersions: { header: X-API-Version, query: version, default: '1', "
                              "versions: [{ version: '1' }, { version: '2' }] }\n";
    char text[2048];
    struct testbed bed;
    snprintf(text, sizeof text, "%s%s", api,
             "routes: [{ path: /users, version: '1', serviceId: one },"
             " { path: /users, version: '2', " CORS "serviceId: two },"
             " { path: /plain, version: '1', serviceId: one }, { path: '/pl*', " CORS "serviceId: two }]\n");
    testbed_start(&bed, text);
    bed.service = (struct test_service){ .status = 222 };
    assert_int_equal(preflight_status(&bed, "OPTIONS /users", PREFLIGHT NAMES_HEADER), 204);
    assert_int_equal(preflight_status(&bed, "OPTIONS /users", PREFLIGHT), 222); /* of version 1 */
    assert_int_equal(preflight_status(&bed, "OPTIONS /users?version=2", PREFLIGHT), 204);
    assert_int_equal(preflight_status(&bed, "OPTIONS /users?version=1", PREFLIGHT NAMES_HEADER), 222);
    /* A route without version has no say in what a version's route doesn't allow. */
    assert_int_equal(preflight_status(&bed, "OPTIONS /plain", PREFLIGHT NAMES_HEADER), 222);
    assert_int_equal(preflight_status(&bed, "OPTIONS /place", PREFLIGHT NAMES_HEADER), 204);
    testbed_reload(&bed, API VERSIONS "routes: [{ path: /users, version: '1', serviceId: one },"
                                      " { path: /users, version: '2', " CORS "serviceId: two }]\n");
    assert_int_equal(preflight_status(&bed, "OPTIONS /users", PREFLIGHT), 204); /* Accept may come unnamed */
    testbed_stop(&bed);
}

static void several_apis_have_versions_of_their_own(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "apiVersions: [{ name: users, header: X-Users, versions: [{ version: '1' }] },"
                        " { name: orders, header: X-Orders, default: b, versions: [{ version: a }, { version: b }] }]\n"
                        "routes: [{ path: /users, version: users/1, respond: { body: u1 } },"
                        " { path: /orders, version: orders/a, respond: { body: oa } },"
                        " { path: /orders, version: orders/b, respond: { body: ob } }]\n");
    assert_string_equal(answer(&bed, "GET /users", "X-Users: 1\r\nX-Orders: 1\r\n"), "200 u1");
    assert_string_equal(answer(&bed, "GET /orders", "X-Users: 1\r\nX-Orders: a\r\n"), "200 oa");
    assert_string_equal(answer(&bed, "GET /orders", "X-Users: a\r\n"), "200 ob");
    testbed_stop(&bed);
}

static void refuses(const char *text, const char *words)
{
    char *problems = testbed_problems(text);
    if (!problems || !strstr(problems, words)) fail_msg("%s: %s", text, problems ? problems : "nobody minds");
    free(problems);
}

static void what_a_route_says_of_versions_must_be_there(void **state)
{
    refuses("routes: [{ path: /a, version: '1', respond: {} }]\n", "\"version\" needs \"apiVersions\"");
    refuses(API VERSIONS "routes: [{ path: /a, version: '4', respond: {} }]\n",
            "has no version \"4\" (there are 1, 2 and 3)");
    refuses(API VERSIONS "routes: [{ path: /a, version: x/1, respond: {} }]\n", "has no API for \"x/1\"");
    refuses(API VERSIONS "routes: [{ path: /a, version: 'a b', respond: {} }]\n", "a version, or an API's name");
    refuses("apiVersions: { versions: [{ version: '1' }] }\n", "nothing says how a request asks");
    refuses("apiVersions: { header: V, default: '2', versions: [{ version: '1' }] }\n", "there is no version \"2\"");
    refuses("apiVersions: { header: V, versions: [{ version: '1' }, { version: '1' }] }\n", "is there already");
    refuses("apiVersions: { pathPrefix: '/v{version}/x', versions: [{ version: '1' }] }\n",
            "with {version} at its end");
    refuses("apiVersions: { header: V, versions: [{ version: '1', deprecated: '2026-01-01T00:00:00Z', sunset: "
            "'2025-01-01T00:00:00Z' }] }\n",
            "must not be before");
    refuses("apiVersions: [{ header: V, versions: [{ version: '1' }] }, { header: W, versions: [{ version: '1' }] }]\n",
            "two APIs are called");
    refuses(
        "apiVersions: [{ header: V, versions: [{ version: '1' }] }, { name: x, header: W, versions: [{ version: '1' }] }]\n"
        "routes: [{ path: /a, version: '1', respond: {} }]\n",
        "must say of which API");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_asked_for_in_four_places),
        cmocka_unit_test(the_path_goes_first_then_header_media_type_query),
        cmocka_unit_test(a_version_that_is_not_there_is_refused_where_it_was_asked_for),
        cmocka_unit_test(a_version_in_the_path_that_has_nothing_here_is_told_which_have),
        cmocka_unit_test(a_version_named_twice_must_be_the_same),
        cmocka_unit_test(an_unknown_version_in_the_path_ends_in_no_catch_all),
        cmocka_unit_test(a_path_that_only_looks_like_a_version_is_left_alone),
        cmocka_unit_test(answers_that_differ_by_version_say_by_which_field),
        cmocka_unit_test(a_vary_that_is_there_is_not_said_twice),
        cmocka_unit_test(refusals_of_a_version_that_ends_say_so_too),
        cmocka_unit_test(a_preflight_finds_the_version_whose_route_has_cors),
        cmocka_unit_test(without_a_default_a_version_must_be_asked_for),
        cmocka_unit_test(a_route_without_a_version_is_no_way_around),
        cmocka_unit_test(answers_of_a_version_that_ends_say_so),
        cmocka_unit_test(a_preflight_is_for_all_versions),
        cmocka_unit_test(several_apis_have_versions_of_their_own),
        cmocka_unit_test(what_a_route_says_of_versions_must_be_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
