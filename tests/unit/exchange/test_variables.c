/* What expressions see of a request: header fields, query and cookies as maps, identity where there is none, the route. */
#include "exchange/testbed.h"

/* A route with these filters whose answer is the expression's value. */
static void expect_behind(const char *filters, const char *expression, const char *fields, const char *value)
{
    struct testbed bed;
    struct client client = { 0 };
    char text[1024], body[256] = "";
    snprintf(text, sizeof text,
             "routes:\n- { name: r, path: '/v/{id}/*', filters: [%s], respond: { status: 200, body: '[${%s}]' } }\n",
             filters, expression);
    testbed_start(&bed, text);
    client_ask(&bed, &client, "GET /v/a%20b/rest?a=1&b=x%20y+z&a=2&&c&%64=5&e=%3d", fields, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    if (client.body) snprintf(body, sizeof body, "%.*s", (int)client.body_length, client.body);
    client_release(&client);
    testbed_stop(&bed);
    char wanted[256];
    snprintf(wanted, sizeof wanted, "[%s]", value);
    if (strcmp(body, wanted) != 0) fail_msg("%s: %s instead of %s", expression, body, wanted);
}

static void expect(const char *expression, const char *fields, const char *value)
{
    expect_behind("", expression, fields, value);
}

static void the_request_is_there(void **state)
{
    static const struct {
        const char *expression, *value;
    } rows[] = {
        { "request.method", "GET" },
        { "request.host", "example.com" },
        { "request.path", "/v/a%20b/rest" },
        { "request.query_string", "a=1&b=x%20y+z&a=2&&c&%64=5&e=%3d" },
        { "request.scheme", "http" },
        { "request.size", "0" },
        { "request.protocol.startsWith(\"HTTP/\")", "true" },
        { "request.time > timestamp(\"2020-01-01T00:00:00Z\")", "true" },
        { "path.id", "a%20b" },
        { "path.*", "rest" },
        { "source.ip", "192.0.2.1" },
        { "route.name", "r" },
        { "has(route.service)", "false" },
        { "has(source.certificate.subject)", "false" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) expect(rows[i].expression, NULL, rows[i].value);
}

static void without_a_policy_nobody_is_known(void **state)
{
    expect("auth.method", NULL, "none");
    expect("has(auth.user_id) || has(auth.client_id) || has(auth.tier)", NULL, "false");
    expect("size(auth.scopes) + size(auth.roles) + size(auth.claims)", NULL, "0");
    expect("auth.user_id", NULL, "");
}

/* They are one text, and yet a list like any other. */
static void scopes_are_a_list(void **state)
{
    static const struct {
        const char *expression, *value;
    } rows[] = {
        { "size(auth.scopes)", "3" },
        { "\"b:c\" in auth.scopes && \"d\" in auth.scopes", "true" },
        { "\"b\" in auth.scopes || \"a b:c\" in auth.scopes || \"\" in auth.scopes", "false" },
        { "dyn(1) in auth.scopes", "false" },
        { "auth.scopes[0] + auth.scopes[2]", "ad" },
        { "auth.scopes[1] + auth.scopes[1]", "b:cb:c" },
        { "auth.scopes.exists_one(s, s.startsWith(\"b:\"))", "true" },
        { "auth.scopes == [\"a\", \"b:c\", \"d\"]", "true" },
        { "size(auth.scopes + [\"e\"])", "4" },
        { "auth.scopes.filter(s, s in auth.scopes) == auth.scopes", "true" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_behind("{ type: test-identity, scopes: \"a b:c d\" }", rows[i].expression, "X-Test-Token: good\r\n",
                      rows[i].value);
}

static void header_fields_are_a_map(void **state)
{
    static const char fields[] = "X-A: 1\r\nx-b: two\r\nX-a: 3\r\nCookie: s=1; t=2\r\nCookie: u=3; s=4\r\n";
    expect("request.headers[\"x-a\"]", fields, "1, 3");
    expect("request.headers[\"X-B\"]", fields, "two");
    expect("request.headers[\"cookie\"]", fields, "s=1; t=2; u=3; s=4");
    expect("\"x-none\" in request.headers", fields, "false");
    expect("request.headers.`x-b`", fields, "two");
    expect("has(request.headers.`x-c`)", fields, "false");
    expect("request.headers[?\"x-none\"].orValue(\"other\")", fields, "other");
    expect("dyn(1) in request.headers", fields, "false");
    expect("request.headers.exists(n, n == \"x-a\")", fields, "true");
    expect("request.headers.exists_one(n, v, v == \"1, 3\")", fields, "true");
    expect("request.headers.all(n, n == n.lowerAscii())", fields, "true");
    expect("request.headers.exists_one(n, n == \"cookie\")", fields, "true"); /* several fields are one entry */
}

/* What a rule doesn't see, the service would: nobody hides a value behind many others. */
static void the_last_of_very_many_values_is_seen(void **state)
{
    char fields[8192], expression[64];
    size_t length = 0;
    for (int i = 0; i < 90; i++)
        length += (size_t)snprintf(fields + length, sizeof fields - length, "X-Role: user\r\n");
    snprintf(fields + length, sizeof fields - length, "X-Role: admin\r\n");
    snprintf(expression, sizeof expression, "request.headers.`x-role`.endsWith(\", admin\")");
    expect(expression, fields, "true");
}

static void query_parameters_are_decoded(void **state)
{
    expect("request.query.a", NULL, "1,2");
    expect("request.query.b", NULL, "x y z");
    expect("request.query.c == \"\"", NULL, "true");
    expect("request.query.d", NULL, "5"); /* the name was encoded */
    expect("request.query.e", NULL, "=");
    expect("has(request.query.f)", NULL, "false");
    expect("request.query.exists(n, v, n == \"d\" && v == \"5\")", NULL, "true");
    expect("size(request.query)", NULL, "6");
}

static void cookies_are_found_by_name(void **state)
{
    static const char fields[] = "Cookie: s=1;t=2 ; broken; =x\r\nCookie: u=3; s=4; empty=\r\n";
    expect("request.cookies.s", fields, "1,4"); /* both: a rule sees what the service may take */
    expect("request.cookies.exists_one(n, v, n == \"t\" && v == \"2\")", fields, "true");
    expect("request.cookies.t + request.cookies.u", fields, "23");
    expect("request.cookies.empty == \"\"", fields, "true");
    expect("has(request.cookies.broken)", fields, "false");
    expect("size(request.cookies)", fields, "5");
    expect("request.cookies.exists(n, v, n == \"u\" && v == \"3\")", fields, "true");
    expect("size(request.cookies)", NULL, "0");
}

/* As a policy of identity reads them (test_identity.c): no two readings of one request. */
static void cookies_and_parameters_are_read_as_credentials_are(void **state)
{
    static const char fields[] = "Cookie:  ; ;session = 5 ; q=\"a b\"; odd=\"; eq==1\r\n";
    expect("request.cookies.session", fields, "5");
    expect("request.cookies.q", fields, "a b");
    expect("request.cookies.odd", fields, "\"");
    expect("request.cookies.eq", fields, "=1");
    expect("size(request.cookies)", fields, "4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_there),
        cmocka_unit_test(without_a_policy_nobody_is_known),
        cmocka_unit_test(scopes_are_a_list),
        cmocka_unit_test(the_last_of_very_many_values_is_seen),
        cmocka_unit_test(header_fields_are_a_map),
        cmocka_unit_test(query_parameters_are_decoded),
        cmocka_unit_test(cookies_are_found_by_name),
        cmocka_unit_test(cookies_and_parameters_are_read_as_credentials_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
