/* Who asks: the order of methods, challenges, and credentials that go no further. */
#include "base/memory.h"
#include "exchange/testbed.h"

static const char both[] =
    "{ type: test-identity, userId: ann, clientId: app, scopes: 'a b' }, { type: test-tell-identity }";

/* One request to a fresh gateway; the client is the caller's to look at and release. */
static void ask(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    memset(client, 0, sizeof *client);
    client_ask(bed, client, line, fields, NULL);
    testbed_run(bed);
}

static void who_brings_nothing_is_told_how(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", both);
    ask(&bed, &client, "GET /a", NULL);
    assert_int_equal(client.status, 401);
    assert_slice_is(client_header(&client, "WWW-Authenticate"), "Bearer realm=\"test\""); /* no error: RFC 6750 3.1 */
    assert_non_null(strstr(client.body, "\"rule\":\"identity\""));
    assert_int_equal(bed.service.requests, 0);
    client_release(&client);
    testbed_stop(&bed);
}

static void who_is_found_goes_on_and_the_credentials_stay(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", both);
    ask(&bed, &client, "GET /a?x=1", "X-Test-Token: good\r\nX-Other: 1\r\n");
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-User"), "ann");
    assert_slice_is(service_header(&bed, "X-Tell-Client"), "app");
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "jwt");
    assert_slice_is(service_header(&bed, "X-Tell-Tier"), "-1");
    assert_slice_is(service_header(&bed, "X-Other"), "1");
    assert_int_equal(service_count_header(&bed, "X-Test-Token"), 0);
    assert_string_equal(bed.service.target, "/a?x=1");
    client_release(&client);
    testbed_stop(&bed);
}

static void wrong_ones_are_refused_even_where_nobody_is_let_in(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: test-identity, anonymous: true }, { type: test-tell-identity }");
    ask(&bed, &client, "GET /a", "X-Test-Token: bad\r\n");
    assert_int_equal(client.status, 401);
    assert_slice_is(client_header(&client, "WWW-Authenticate"), "Bearer error=\"invalid_token\"");
    client_release(&client);
    ask(&bed, &client, "GET /a", NULL);
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "anonymous");
    client_release(&client);
    testbed_stop(&bed);
}

/* Two readers could take different ones. */
static void credentials_that_stand_twice_are_no_request(void **state)
{
    static const char *const requests[][2] = {
        { "GET /a", "X-Test-Token: good\r\nX-Test-Token: good\r\n" },
        { "GET /a?token=good&token=bad", NULL },
        { "GET /a?token=good&%74oken=good", NULL },
    };
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", both);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        ask(&bed, &client, requests[i][0], requests[i][1]);
        assert_int_equal(client.status, 400);
        assert_slice_is(client_header(&client, "WWW-Authenticate"), "Bearer error=\"invalid_request\"");
        client_release(&client);
    }
    assert_int_equal(bed.service.requests, 0);
    testbed_stop(&bed);
}

/* Headers of all policies come before queries of all; the one that isn't looked at doesn't go on either. */
static void a_key_in_a_header_comes_before_a_token_in_the_query(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: test-identity }, { type: api-key }, { type: test-tell-identity }");
    ask(&bed, &client, "GET /a?token=good", NULL);
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "jwt");
    client_release(&client);
    ask(&bed, &client, "GET /a?token=good", "X-API-Key: nobody's\r\n");
    assert_int_equal(client.status, 503); /* the key decides, and this testbed has no index of keys */
    assert_non_null(strstr(client.body, "\"rule\":\"api-key\""));
    client_release(&client);
    ask(&bed, &client, "GET /a?token=bad&b=2", "X-Test-Token: good\r\nX-API-Key: nobody's\r\n");
    assert_int_equal(client.status, 200);
    assert_int_equal(service_count_header(&bed, "X-API-Key"), 0);
    assert_string_equal(bed.service.target, "/a?b=2");
    client_release(&client);
    testbed_stop(&bed);
}

static void every_policy_that_found_nothing_says_how(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: test-identity }, { type: api-key, realm: 'a \"b\"' }");
    ask(&bed, &client, "GET /a", NULL);
    assert_int_equal(client.status, 401);
    assert_int_equal(client_count_header(&client, "WWW-Authenticate"), 2);
    assert_non_null(strstr(client.head, "ApiKey realm=\"a \\\"b\\\"\", in=\"header\", name=\"X-API-Key\""));
    assert_non_null(strstr(client.head, "Bearer realm=\"test\""));
    client_release(&client);
    testbed_stop(&bed);
}

/* --- taking credentials off --- */

static const struct {
    const char *query, *left;
} queries[] = {
    { "token=x", NULL },
    { "token=x&a=1", "a=1" },
    { "a=1&token=x", "a=1" },
    { "a=1&token=x&b=2", "a=1&b=2" },
    { "a=1&tok%65n=x&b=2", "a=1&b=2" },
    { "token", NULL },
    { "token=", NULL },
    { "token=x&token=y&a", "a" },
    { "Token=x", "Token=x" },
    { "tokens=x&token2=y&xtoken=z", "tokens=x&token2=y&xtoken=z" },
    { "a=token=x", "a=token=x" },
    { "a=%", "a=%" },
    { "%=token&%zz=1", "%=token&%zz=1" },
    { "", "" },
    { "&&token=x&&", "&&&" },
    { "a+b=1&token=x", "a+b=1" },
};

/* Without a server: an exchange that only has a request. */
struct bare {
    struct exchange exchange;
    struct request_head request;
    struct arena arena;
};

static void bare_init(struct bare *bare)
{
    memset(bare, 0, sizeof *bare);
    arena_init(&bare->arena, NULL);
    headers_init(&bare->request.headers, &bare->arena);
    bare->exchange.arena = &bare->arena;
    bare->exchange.request = &bare->request;
}

static void a_query_loses_what_is_named_and_nothing_else(void **state)
{
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_QUERY, SLICE("token"));
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        struct bare bare;
        bare_init(&bare);
        bare.request.target.query = bare.exchange.upstream_query = slice_from_cstring(queries[i].query);
        assert_true(credential_strip(&bare.exchange, &source));
        struct slice left = bare.request.target.query;
        if (slice_is_absent(left) != (queries[i].left == NULL)) fail_msg("%s", queries[i].query);
        if (queries[i].left) assert_slice_is(left, queries[i].left);
        assert_ptr_equal(bare.exchange.upstream_query.at, left.at);
        arena_release(&bare.arena);
    }
}

/* What the service gets was rewritten before: both lose it. */
static void a_rewritten_query_loses_it_too(void **state)
{
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_QUERY, SLICE("token"));
    struct bare bare;
    bare_init(&bare);
    bare.request.target.query = SLICE("token=x");
    bare.exchange.upstream_query = SLICE("b=2&token=x");
    assert_true(credential_strip(&bare.exchange, &source));
    assert_true(slice_is_absent(bare.request.target.query));
    assert_slice_is(bare.exchange.upstream_query, "b=2");
    arena_release(&bare.arena);
}

static const struct {
    const char *query;
    enum credential_found found;
    const char *value;
} query_values[] = {
    { "token=abc", CREDENTIAL_FOUND, "abc" },
    { "token=a%2Bb%3d", CREDENTIAL_FOUND, "a+b=" },
    { "token=a+b", CREDENTIAL_FOUND, "a b" },
    { "token=a=b", CREDENTIAL_FOUND, "a=b" },
    { "token=%zz", CREDENTIAL_FOUND, "%zz" },
    { "token=%4", CREDENTIAL_FOUND, "%4" },
    { "token=%41%zz%4", CREDENTIAL_FOUND, "A%zz%4" },
    { "token", CREDENTIAL_FOUND, "" },
    { "%74%6f%6B%65%6e=x", CREDENTIAL_FOUND, "x" },
    { "toke=x", CREDENTIAL_NONE, "" },
    { "", CREDENTIAL_NONE, "" },
    { "token=1&a&token=1", CREDENTIAL_REPEATED, "" },
};

static void values_in_queries_are_decoded(void **state)
{
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_QUERY, SLICE("token"));
    for (size_t i = 0; i < COUNT_OF(query_values); i++) {
        struct bare bare;
        struct slice value = SLICE_ABSENT;
        bare_init(&bare);
        bare.request.target.query = slice_from_cstring(query_values[i].query);
        enum credential_found found = credential_find(&bare.exchange, &source, &value);
        if (found != query_values[i].found) fail_msg("%s: %d", query_values[i].query, found);
        if (found == CREDENTIAL_FOUND) assert_slice_is(value, query_values[i].value);
        arena_release(&bare.arena);
    }
}

/* A NUL is a byte like any other: it neither ends the key nor anything else. */
static void an_encoded_nul_is_part_of_the_value(void **state)
{
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_QUERY, SLICE("token"));
    struct bare bare;
    struct slice value;
    bare_init(&bare);
    bare.request.target.query = SLICE("token=a%00b");
    assert_int_equal(credential_find(&bare.exchange, &source, &value), CREDENTIAL_FOUND);
    assert_int_equal(value.length, 3);
    assert_memory_equal(value.at, "a\0b", 3);
    arena_release(&bare.arena);
}

static const struct {
    const char *fields[2]; /* one or two Cookie fields */
    enum credential_found found;
    const char *value;
    const char *left[2]; /* NULL: the field goes */
} cookies[] = {
    { { "session=1" }, CREDENTIAL_FOUND, "1", { NULL } },
    { { "a=b; session=1; c=d" }, CREDENTIAL_FOUND, "1", { "a=b; c=d" } },
    { { "a=b;session=\"q\";c=d" }, CREDENTIAL_FOUND, "q", { "a=b; c=d" } },
    { { "a=b", "session=1" }, CREDENTIAL_FOUND, "1", { "a=b", NULL } },
    { { "session=1; session=2" }, CREDENTIAL_REPEATED, "", { NULL } },
    { { "session=1", "x=y; session=2" }, CREDENTIAL_REPEATED, "", { NULL, "x=y" } },
    { { "Session=1; sessions=2; session" }, CREDENTIAL_NONE, "", { "Session=1; sessions=2; session" } },
    { { "session==1" }, CREDENTIAL_FOUND, "=1", { NULL } },
    { { " ; ;session = 5 ; " }, CREDENTIAL_FOUND, "5", { NULL } },
    { { "\"session=1" }, CREDENTIAL_NONE, "", { "\"session=1" } },
};

static void cookies_lose_one_and_keep_the_others(void **state)
{
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_COOKIE, SLICE("session"));
    for (size_t i = 0; i < COUNT_OF(cookies); i++) {
        struct bare bare;
        struct slice value = SLICE_ABSENT;
        bare_init(&bare);
        struct headers *headers = &bare.request.headers;
        for (int j = 0; j < 2 && cookies[i].fields[j]; j++)
            assert_true(headers_add_from_wire(headers, SLICE("Cookie"), slice_from_cstring(cookies[i].fields[j])));
        enum credential_found found = credential_find(&bare.exchange, &source, &value);
        if (found != cookies[i].found) fail_msg("%s: %d", cookies[i].fields[0], found);
        if (found == CREDENTIAL_FOUND) assert_slice_is(value, cookies[i].value);
        assert_true(credential_strip(&bare.exchange, &source));
        const struct header *field = headers_find_known(headers, HEADER_COOKIE);
        for (int j = 0; j < 2; j++) {
            if (!cookies[i].left[j]) continue;
            assert_non_null(field);
            assert_slice_is(field->value, cookies[i].left[j]);
            field = headers_find_next(headers, field);
        }
        assert_null(field);
        arena_release(&bare.arena);
    }
}

static void a_header_is_found_in_any_case_and_all_of_it_goes(void **state)
{
    const struct credential_source sources[] = { credential_source_of(CREDENTIAL_IN_HEADER, SLICE("x-api-key")),
                                                 credential_source_of(CREDENTIAL_IN_HEADER, SLICE("X-My-Key")) };
    struct bare bare;
    struct slice value;
    bare_init(&bare);
    struct headers *headers = &bare.request.headers;
    assert_int_equal(credential_find(&bare.exchange, &sources[0], &value), CREDENTIAL_NONE);
    assert_true(headers_add_from_wire(headers, SLICE("X-API-KEY"), SLICE("1")));
    assert_true(headers_add_from_wire(headers, SLICE("x-my-key"), SLICE("2")));
    assert_int_equal(credential_find(&bare.exchange, &sources[0], &value), CREDENTIAL_FOUND);
    assert_slice_is(value, "1");
    assert_int_equal(credential_find(&bare.exchange, &sources[1], &value), CREDENTIAL_FOUND);
    assert_slice_is(value, "2");
    assert_true(headers_add_from_wire(headers, SLICE("X-Api-Key"), SLICE("1")));
    assert_int_equal(credential_find(&bare.exchange, &sources[0], &value), CREDENTIAL_REPEATED);
    assert_true(credential_strip(&bare.exchange, &sources[0]) && credential_strip(&bare.exchange, &sources[1]));
    assert_null(headers_next(headers, NULL));
    arena_release(&bare.arena);
}

/* --- scopes, challenges --- */

static void a_scope_is_a_whole_word(void **state)
{
    struct identity identity = { .scopes = SLICE("users:read users:write a") };
    assert_true(identity_has_scope(&identity, SLICE("users:read")));
    assert_true(identity_has_scope(&identity, SLICE("users:write")));
    assert_true(identity_has_scope(&identity, SLICE("a")));
    assert_false(identity_has_scope(&identity, SLICE("users")));
    assert_false(identity_has_scope(&identity, SLICE("read")));
    assert_false(identity_has_scope(&identity, SLICE("users:read users:write")));
    assert_false(identity_has_scope(&identity, SLICE("b")));
    identity.scopes = SLICE_ABSENT;
    assert_false(identity_has_scope(&identity, SLICE("a")));
}

static void a_challenge_escapes_what_it_quotes(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    const struct challenge_parameter parameters[] = { { SLICE("realm"), SLICE("a\"b\\c") },
                                                      { SLICE("error"), SLICE_ABSENT },
                                                      { SLICE("scope"), SLICE("x y") } };
    struct slice text = identity_challenge_write(&arena, SLICE("Bearer"), parameters, COUNT_OF(parameters));
    assert_slice_is(text, "Bearer realm=\"a\\\"b\\\\c\", scope=\"x y\"");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_brings_nothing_is_told_how),
        cmocka_unit_test(who_is_found_goes_on_and_the_credentials_stay),
        cmocka_unit_test(wrong_ones_are_refused_even_where_nobody_is_let_in),
        cmocka_unit_test(credentials_that_stand_twice_are_no_request),
        cmocka_unit_test(a_key_in_a_header_comes_before_a_token_in_the_query),
        cmocka_unit_test(every_policy_that_found_nothing_says_how),
        cmocka_unit_test(a_query_loses_what_is_named_and_nothing_else),
        cmocka_unit_test(a_rewritten_query_loses_it_too),
        cmocka_unit_test(values_in_queries_are_decoded),
        cmocka_unit_test(an_encoded_nul_is_part_of_the_value),
        cmocka_unit_test(cookies_lose_one_and_keep_the_others),
        cmocka_unit_test(a_header_is_found_in_any_case_and_all_of_it_goes),
        cmocka_unit_test(a_scope_is_a_whole_word),
        cmocka_unit_test(a_challenge_escapes_what_it_quotes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
