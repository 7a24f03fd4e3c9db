/* access: who may do what, by scopes, roles and rules; all scopes together; on trial. */
#include "base/memory.h"
#include "exchange/testbed.h"

#define ROLES                                                                                      \
    "roles:\n"                                                                                     \
    "  - { name: reader, scopes: [read], permissions: [{ methods: [GET] }] }\n"                    \
    "  - { name: clerk, clients: [desk], permissions: [{ routes: [a], methods: [GET, POST] }] }\n" \
    "  - { name: admin, permissions: [{}] }\n"                                                     \
    "  - { name: idle, scopes: [idle], permissions: [] }\n"                                        \
    "  - { name: items, scopes: [items], permissions: [{ paths: ['/a/{id}', '~/b/[0-9]+'] }] }\n"

static void ask(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    memset(client, 0, sizeof *client);
    client_ask(bed, client, line, fields, NULL);
    testbed_run(bed);
}

struct row {
    const char *identity, *access; /* fields of the two policies */
    const char *line;
    unsigned status;
    const char *rule; /* of a refusal */
};

/* Who asks brings a good token, and is what `identity` says. */
static void check_rows(const struct row *rows, size_t count, const char *token)
{
    for (size_t i = 0; i < count; i++) {
        struct testbed bed;
        struct client client;
        char *text = memory_format(
            ROLES "routes: [{ name: a, path: /a, serviceId: one, stripPrefix: false, filters: [\n"
                  "  { type: test-identity%s %s }, { type: access, %s }, { type: test-tell-identity }] },\n"
                  "  { name: b, path: '/{x}/{y}', serviceId: one, stripPrefix: false, filters: [\n"
                  "  { type: test-identity%s %s }, { type: access, %s }] }]\n",
            rows[i].identity[0] ? "," : "", rows[i].identity, rows[i].access, rows[i].identity[0] ? "," : "",
            rows[i].identity, rows[i].access);
        testbed_start(&bed, text);
        ask(&bed, &client, rows[i].line, token);
        if (client.status != rows[i].status)
            fail_msg("%zu: %s, %s: %u %s", i, rows[i].identity, rows[i].access, client.status, client.body);
        assert_int_equal(bed.service.requests, client.status == 200);
        if (rows[i].rule) {
            char wanted[128];
            snprintf(wanted, sizeof wanted, "\"rule\":\"%s\"", rows[i].rule);
            if (!strstr(client.body, wanted)) fail_msg("%zu: %s", i, client.body);
        }
        client_release(&client);
        testbed_stop(&bed);
        free(text);
    }
}

#define GOOD "X-Test-Token: good\r\n"

static void scopes_are_needed_by_method(void **state)
{
    static const struct row rows[] = {
        { "scopes: 'read write'", "requiredScopes: [{ scopes: [read, write] }]", "GET /a", 200, NULL },
        { "scopes: 'read'", "requiredScopes: [{ scopes: [read, write] }]", "GET /a", 403, "access" },
        { "scopes: 'reader'", "requiredScopes: { scopes: read }", "GET /a", 403, "access" },
        { "", "requiredScopes: { scopes: read }", "GET /a", 403, "access" },
        { "scopes: 'read'", "requiredScopes: [{ scopes: write, methods: [POST, PUT] }]", "GET /a", 200, NULL },
        { "scopes: 'read'", "requiredScopes: [{ scopes: write, methods: [POST, PUT] }]", "PUT /a", 403, "access" },
        { "scopes: 'read'", "requiredScopes: [{ scopes: write, methods: GET }]", "HEAD /a", 403, NULL },
        { "scopes: 'read'", "requiredScopes: [{ scopes: write, methods: BREW }]", "BREW /a", 403, "access" },
        { "scopes: 'read'", "requiredScopes: [{ scopes: read }, { scopes: write, methods: PUT }]", "PUT /a", 403,
          "access" },
        { "scopes: 'read write'", "requiredScopes: [{ scopes: read }, { scopes: write, methods: PUT }]", "PUT /a", 200,
          NULL },
        { "scopes: 'read'", "name: mine, requiredScopes: [{ scopes: write }]", "GET /a", 403, "mine" },
    };
    check_rows(rows, COUNT_OF(rows), GOOD);
}

static void a_missing_scope_is_told_to_who_has_a_token(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a",
                           "{ type: test-identity }, { type: access, requiredScopes: [{ scopes: [b, c] }] }");
    ask(&bed, &client, "GET /a", GOOD);
    assert_int_equal(client.status, 403);
    assert_slice_is(client_header(&client, "WWW-Authenticate"), "Bearer error=\"insufficient_scope\", scope=\"b c\"");
    client_release(&client);
    testbed_stop(&bed);
}

static void challenged(struct testbed *bed, const char *line, const char *scopes)
{
    struct client client;
    ask(bed, &client, line, GOOD);
    assert_int_equal(client.status, 403);
    assert_slice_is(client_header(&client, "WWW-Authenticate"), scopes);
    client_release(&client);
}

/* Else a client gets one token after the other, each of which lacks something else. */
static void all_scopes_that_the_request_needs_are_told(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes:\n"
                        "- name: a\n"
                        "  path: /a\n"
                        "  serviceId: one\n"
                        "  filters:\n"
                        "  - { type: test-identity, scopes: some }\n"
                        "  - { type: access, requiredScopes: [{ methods: GET, scopes: r }, { scopes: [all, some] }] }\n"
                        "  - { type: access, requiredScopes: [{ methods: PUT, scopes: w }, { scopes: [all, x] }] }\n"
                        "  - { type: access, dryRun: true, requiredScopes: [{ scopes: trial }] }\n");
    challenged(&bed, "GET /a", "Bearer error=\"insufficient_scope\", scope=\"r all some x\"");
    challenged(&bed, "HEAD /a", "Bearer error=\"insufficient_scope\", scope=\"r all some x\"");
    challenged(&bed, "PUT /a", "Bearer error=\"insufficient_scope\", scope=\"all some w x\"");
    testbed_stop(&bed);
}

static void roles_come_by_scope_client_and_claim(void **state)
{
    static const struct row rows[] = {
        { "scopes: read", "roles: reader", "GET /a", 200, NULL },
        { "scopes: idle", "roles: reader", "GET /a", 403, "access" },
        { "scopes: idle", "roles: [reader, idle]", "GET /a", 200, NULL },
        { "clientId: desk", "roles: clerk", "GET /a", 200, NULL },
        { "clientId: other", "roles: clerk", "GET /a", 403, "access" },
        { "claims: '{\"roles\": [\"x\", \"admin\"]}'", "roles: admin", "GET /a", 200, NULL },
        { "claims: '{\"roles\": \"admin\"}'", "roles: admin", "GET /a", 200, NULL },
        { "claims: '{\"roles\": \"admin x\"}'", "roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"roles\": [1, null, {\"admin\": 1}, [\"admin\"]]}'", "roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"roles\": {\"admin\": true}}'", "roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"groups\": [\"admin\"]}'", "roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"groups\": [\"admin\"]}'", "roleClaims: groups, roles: admin", "GET /a", 200, NULL },
        { "claims: '{\"roles\": [\"admin\"]}'", "roleClaims: groups, roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"r\": {\"s\": [\"admin\"]}}'", "roleClaims: [roles, /r/s], roles: admin", "GET /a", 200, NULL },
        { "claims: '{\"r/1~2\": {\"s\": [\"admin\"]}}'", "roleClaims: /r~11~02/s, roles: admin", "GET /a", 200, NULL },
        { "claims: '{\"r\": [\"admin\"]}'", "roleClaims: /r/s, roles: admin", "GET /a", 403, "access" },
        { "claims: '{\"https://x/r\": [\"admin\"]}'", "roleClaims: 'https://x/r', roles: admin", "GET /a", 200, NULL },
        /* one that only a claim knows */
        { "claims: '{\"roles\": [\"auditor\"]}'", "roles: auditor", "GET /a", 200, NULL },
        { "claims: '{\"roles\": [\"auditor\"]}'", "roles: audit", "GET /a", 403, "access" },
    };
    check_rows(rows, COUNT_OF(rows), GOOD);
}

static void permissions_allow_what_they_say(void **state)
{
    static const struct row rows[] = {
        { "scopes: read", "permissions: true", "GET /a", 200, NULL },
        { "scopes: read", "permissions: true", "HEAD /a", 200, NULL },
        { "scopes: read", "permissions: true", "POST /a", 403, "access" },
        { "scopes: idle", "permissions: true", "GET /a", 403, "access" },
        { "", "permissions: true", "GET /a", 403, "access" },
        { "clientId: desk", "permissions: true", "POST /a", 200, NULL },
        { "clientId: desk", "permissions: true", "POST /b/1", 403, "access" }, /* another route */
        { "scopes: items", "permissions: true", "PUT /a/1", 200, NULL },
        { "scopes: items", "permissions: true", "PUT /b/17", 200, NULL },
        { "scopes: items", "permissions: true", "PUT /b/x", 403, "access" },
        { "scopes: items", "permissions: true", "PUT /a", 403, "access" },
        { "claims: '{\"roles\": [\"admin\"]}'", "permissions: true", "BREW /a", 200, NULL },
        { "scopes: 'read', claims: '{\"roles\": [\"admin\"]}'", "permissions: true, roles: [admin]", "PUT /a", 200,
          NULL },
        { "scopes: 'read'", "permissions: true, roles: [admin]", "GET /a", 403, "access" }, /* both must say yes */
        { "claims: '{\"roles\": [\"auditor\"]}'", "permissions: true", "GET /a", 403, "access" },
        /* What the scopes' roles don't allow, a client's or a claim's may; and who was let in by a scope still has the others. */
        { "scopes: 'idle read', clientId: desk", "permissions: true", "POST /a", 200, NULL },
        { "scopes: 'idle read', clientId: desk, claims: '{\"roles\": [\"admin\"]}'", "permissions: true", "PUT /a", 200,
          NULL },
        { "scopes: 'idle read', clientId: desk, claims: '{\"roles\": [\"clerk\"]}'", "permissions: true", "PUT /a", 403,
          "access" },
        { "scopes: read, claims: '{\"roles\": [\"admin\"]}'",
          "permissions: true, rules: [{ name: r, effect: allow, when: \"'admin' in auth.roles\" }]", "GET /a", 200,
          NULL },
    };
    check_rows(rows, COUNT_OF(rows), GOOD);
}

/* Which roles somebody has is told by the bits of words; these are more than one word of them. */
static void roles_beyond_sixty_four_count_as_others_do(void **state)
{
    static const struct {
        const char *identity;
        unsigned status;
    } rows[] = { { "scopes: 's3 s69'", 200 },
                 { "scopes: 's3 s64'", 403 },
                 { "scopes: s3, claims: '{\"roles\": [\"r69\"]}'", 200 },
                 { "scopes: s69, claims: '{\"roles\": [\"r3\"]}'", 200 } };
    char roles[8192] = "roles:\n";
    for (size_t i = 0, at = strlen(roles); i < 70; i++)
        at += (size_t)snprintf(roles + at, sizeof roles - at,
                               "  - { name: r%zu, scopes: [s%zu], permissions: [{ methods: [%s] }] }\n", i, i,
                               i == 69 ? "GET" : "PUT");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        char *text = memory_format("%sroutes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                                   "  { type: test-identity, %s }, { type: access, permissions: true }] }]\n",
                                   roles, rows[i].identity);
        testbed_start(&bed, text);
        ask(&bed, &client, "GET /a", GOOD);
        assert_int_equal(client.status, rows[i].status);
        client_release(&client);
        testbed_stop(&bed);
        free(text);
    }
}

static void the_first_rule_that_holds_decides(void **state)
{
    static const struct row rows[] = {
        { "", "rules: [{ name: r, effect: allow, when: 'true' }]", "GET /a", 200, NULL },
        { "", "rules: [{ name: r, effect: allow }]", "GET /a", 200, NULL },
        { "", "rules: [{ name: r, effect: deny, when: 'true' }]", "GET /a", 403, "r" },
        { "", "rules: [{ name: r, effect: allow, when: 'false' }]", "GET /a", 403, "access" },
        { "", "rules: [{ name: r, effect: deny, when: 'false' }]", "GET /a", 403, "access" },
        { "", "default: allow, rules: [{ name: r, effect: deny, when: 'false' }]", "GET /a", 200, NULL },
        { "", "rules: [{ name: r, effect: deny, when: 'true' }, { name: s, effect: allow }]", "GET /a", 403, "r" },
        { "", "rules: [{ name: s, effect: allow }, { name: r, effect: deny, when: 'true' }]", "GET /a", 200, NULL },
        { "userId: ann", "rules: [{ name: r, effect: allow, when: \"auth.user_id == 'ann'\" }]", "GET /a", 200, NULL },
        { "userId: bob", "rules: [{ name: r, effect: allow, when: \"auth.user_id == 'ann'\" }]", "GET /a", 403,
          "access" },
        { "scopes: read", "rules: [{ name: r, effect: allow, when: \"'reader' in auth.roles\" }]", "GET /a", 200,
          NULL },
        { "scopes: read", "rules: [{ name: r, effect: allow, when: \"'admin' in auth.roles\" }]", "GET /a", 403, NULL },
        { "claims: '{\"g\": [\"x\"]}'",
          "roleClaims: g, rules: [{ name: r, effect: allow, when: \"'x' in auth.roles\" }]", "GET /a", 200, NULL },
        { "", "rules: [{ name: r, effect: allow, when: \"request.method in ['GET', 'HEAD']\" }]", "PUT /a", 403, NULL },
        { "", "rules: [{ name: r, effect: allow, when: \"source.ip == '192.0.2.1'\" }]", "GET /a", 200, NULL },
        { "claims: '{\"dept\": \"x\"}'", "rules: [{ name: r, effect: allow, when: \"auth.claims.dept == 'x'\" }]",
          "GET /a", 200, NULL },
        { "claims: '{\"age\": 17}'",
          "default: allow, rules: [{ name: adults, effect: deny, when: 'auth.claims.age < 18' }]", "GET /a", 403,
          "adults" },
        { "scopes: read", "permissions: true, rules: [{ name: r, effect: deny, when: 'true' }]", "GET /a", 403, "r" },
    };
    check_rows(rows, COUNT_OF(rows), GOOD);
}

/* No such claim: nothing opens, and what keeps away keeps away. */
static void what_cannot_be_evaluated_opens_nothing(void **state)
{
#define FAILS "when: 'auth.claims.nothing == 1'"
    static const struct row rows[] = {
        { "", "rules: [{ name: r, effect: allow, " FAILS " }]", "GET /a", 403, "access" },
        { "", "rules: [{ name: r, effect: allow, " FAILS " }, { name: s, effect: allow }]", "GET /a", 200, NULL },
        { "", "default: allow, rules: [{ name: r, effect: deny, " FAILS " }]", "GET /a", 403, "r" },
        { "", "default: allow, onFailure: allow, rules: [{ name: r, effect: deny, " FAILS " }]", "GET /a", 200, NULL },
        { "", "onFailure: allow, rules: [{ name: r, effect: allow, " FAILS " }]", "GET /a", 403, "access" },
        { "", "rules: [{ name: r, effect: allow, when: 'has(auth.claims.nothing)' }]", "GET /a", 403, "access" },
        /* of no fixed type: what isn't a boolean then is no yes */
        { "claims: '{\"x\": 1}'", "rules: [{ name: r, effect: allow, when: 'auth.claims.x' }]", "GET /a", 403,
          "access" },
        { "claims: '{\"x\": true}'", "rules: [{ name: r, effect: allow, when: 'auth.claims.x' }]", "GET /a", 200,
          NULL },
    };
    check_rows(rows, COUNT_OF(rows), GOOD);
}

/* Or it would be enough to send more: a text of over 8 KiB, one that takes a match too many steps, one that costs too much otherwise, a pattern
 * too long to be compiled for one request. */
static void a_bound_that_is_met_gets_nobody_past_a_rule(void **state)
{
    static const struct {
        const char *condition, *start;
        size_t more;
    } rows[] = {
        { "request.headers[\"x-a\"].matches(\"evil\")", "evil", 9000 },
        { "request.headers[\"x-a\"].matches(\"^(x+x+)+[yz]\")", "", 40 },
        { "request.headers[\"x-a\"].matches(\"evil\") || request.method == \"PUT\"", "evil", 9000 },
        { "request.headers[\"x-a\"].split(\"\").exists(a, request.headers[\"x-a\"].contains(a + \"y\"))", "", 8000 },
        { "\"evil\".matches(request.headers[\"x-a\"])", "evil|", 600 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char fields[10000], access[400];
        int length = snprintf(fields, sizeof fields, GOOD "X-A: %s", rows[i].start);
        memset(fields + length, 'x', rows[i].more);
        memcpy(fields + length + rows[i].more, "\r\n", 3);
        snprintf(access, sizeof access,
                 "default: allow, onFailure: allow, rules: [{ name: r, effect: deny, when: '%s' }]", rows[i].condition);
        const struct row row = { "", access, "GET /a", 403, "r" };
        check_rows(&row, 1, fields);
        snprintf(access, sizeof access, "onFailure: allow, rules: [{ name: r, effect: allow, when: '%s' }]",
                 rows[i].condition);
        const struct row other = { "", access, "GET /a", 403, "access" };
        check_rows(&other, 1, fields);
    }
}

/* Claims may be nested 32 deep, and a rule may look at them in lists of its own: in all deeper than a format writes. */
static void a_claim_too_deep_for_a_format_gets_nobody_past_a_rule(void **state)
{
    static const char begins[] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                      ends[] = "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";
    for (int depth = 1; depth <= 30; depth += 29) {
        char identity[200], access[400];
        snprintf(identity, sizeof identity, "claims: '{\"x\": %.*s\"good\"%.*s}'", depth, begins, depth, ends);
        snprintf(access, sizeof access,
                 "default: allow, onFailure: allow, rules: [{ name: r, effect: deny, "
                 "when: '\"%%s\".format([%sauth.claims.x%s]).contains(\"evil\")' }]",
                 begins, ends);
        const struct row row = { identity, access, "GET /a", depth == 1 ? 200 : 403, depth == 1 ? NULL : "r" };
        check_rows(&row, 1, GOOD);
    }
}

/* Who may in without a name goes in; who would need one is asked for it. */
static void nobody_is_asked_who_it_is_before_it_is_refused(void **state)
{
    static const struct row rows[] = {
        { "anonymous: true", "rules: [{ name: r, effect: allow, when: \"request.method == 'GET'\" }]", "GET /a", 200,
          NULL },
        { "anonymous: true", "rules: [{ name: r, effect: allow, when: \"request.method == 'GET'\" }]", "PUT /a", 401,
          "access" },
        { "anonymous: true", "roles: admin", "GET /a", 401, "access" },
        { "anonymous: true", "permissions: true", "GET /a", 401, "access" },
        { "anonymous: true", "requiredScopes: { scopes: x }", "GET /a", 401, "access" },
        { "", "requiredScopes: { scopes: x }", "GET /a", 401, "identity" },
    };
    check_rows(rows, COUNT_OF(rows), NULL);
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: access, rules: [{ name: r, effect: deny }] }");
    ask(&bed, &client, "GET /a", NULL);
    assert_int_equal(client.status, 403); /* there is no way to say who one is */
    client_release(&client);
    testbed_stop(&bed);
}

static void no_route_lifts_what_is_denied_everywhere(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed,
                  "plugins:\n"
                  "  - { name: access, config: { name: house, default: allow, rules: [{ name: no-bob, effect: deny,\n"
                  "      when: \"request.headers['x-user'] == 'bob'\" }] } }\n"
                  "  - { name: access, routes: [a], config: { rules: [{ name: not-tim, effect: allow,\n"
                  "      when: \"request.headers['x-user'] != 'tim'\" }] } }\n"
                  "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: access, name: own, rules: [\n"
                  "    { name: all, effect: allow }] }] }]\n");
    static const struct {
        const char *user;
        unsigned status;
        const char *rule;
    } users[] = { { "X-User: ann\r\n", 200, NULL },
                  { "X-User: bob\r\n", 403, "\"rule\":\"no-bob\"" },
                  { "X-User: tim\r\n", 403, "\"rule\":\"access\"" } };
    for (size_t i = 0; i < COUNT_OF(users); i++) {
        ask(&bed, &client, "GET /a", users[i].user);
        assert_int_equal(client.status, users[i].status);
        if (users[i].rule) assert_non_null(strstr(client.body, users[i].rule));
        client_release(&client);
    }
    testbed_stop(&bed);
}

static void on_trial_nobody_is_refused(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(
        &bed, "/a",
        "{ type: access, dryRun: true, rules: [{ name: never, effect: deny, when: \"request.method == 'PUT'\" },"
        " { name: else, effect: allow }] }, { type: access, dryRun: true, roles: [x] },"
        " { type: test-tell-identity }");
    ask(&bed, &client, "PUT /a", NULL);
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-Would-Refuse"), "never"); /* the first */
    client_release(&client);
    ask(&bed, &client, "GET /a", NULL);
    assert_slice_is(service_header(&bed, "X-Tell-Would-Refuse"), "access");
    client_release(&client);
    testbed_stop(&bed);
}

/* Without effects, and in words. */
static void it_says_what_it_would_do(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed, ROLES
        "routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
        "  { type: access, name: mine, roles: admin, dryRun: true }, { type: access, roleClaims: x, roles: reader }] }]\n");
    struct arena arena;
    struct request_head head = { .method = METHOD_GET, .method_text = SLICE("GET"), .target.path = SLICE("/a") };
    struct snapshot *snapshot = bed.pin->snapshot;
    struct route_match match;
    arena_init(&arena, NULL);
    headers_init(&head.headers, &arena);
    assert_int_equal(router_match(snapshot->router, bed.worker.router_scratch, &head, METHOD_GET, head.method_text,
                                  NULL, &arena, &match),
                     ROUTE_FOUND);
    struct compiled_route *route = match.target;
    struct exchange *exchange = arena_allocate_zeroed(&arena, sizeof *exchange);
    exchange->arena = &arena;
    exchange->request = &head;
    exchange->route = route;
    exchange->worker = &bed.worker;
    exchange->roles = snapshot->roles;
    exchange->identity.method = IDENTITY_API_KEY;
    exchange->identity.scopes = SLICE("read");
    struct explanation explanation = { .arena = &arena };
    for (uint32_t i = 0; i < route->chain->count; i++) {
        const struct chain_link *link = &route->chain->links[i];
        link->filter->explain(exchange, link->compiled, &explanation);
    }
    static const char *const lines[] = { "the caller has the role \"reader\"",
                                         "would be refused, on trial, by \"mine\": a role is missing",
                                         "the caller has the role \"reader\"", "allowed" };
    assert_int_equal(explanation.count, COUNT_OF(lines));
    for (size_t i = 0; i < COUNT_OF(lines); i++) assert_slice_is(explanation.lines[i], lines[i]);
    assert_null(exchange->response);
    assert_int_equal(exchange->would_refuse.length, 0);
    arena_release(&arena);
    testbed_stop(&bed);
}

static void the_roles_of_a_caller_are_listed_once(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed, ROLES
        "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identity, scopes: 'read idle',\n"
        "  clientId: desk, claims: '{\"roles\": [\"zed\", \"reader\", \"zed\"]}' }, { type: test-tell-identity }] }]\n");
    assert_int_equal(testbed_status(&bed, "GET /a", GOOD), 200);
    assert_slice_is(service_header(&bed, "X-Tell-Roles"), "reader clerk idle zed");
    testbed_stop(&bed);
}

/* A new set of roles, and the same routes. */
static void a_changed_role_holds_for_the_next_request(void **state)
{
    struct testbed bed;
#define ONE_ROUTE                                                                                  \
    "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identity, scopes: x }, " \
    "{ type: access, permissions: true }] }]\n"
    testbed_start(&bed, "roles: [{ name: r, scopes: [x], permissions: [{ methods: [GET] }] }]\n" ONE_ROUTE);
    assert_int_equal(testbed_status(&bed, "GET /a", GOOD), 200);
    assert_int_equal(testbed_status(&bed, "PUT /a", GOOD), 403);
    testbed_reload(&bed, "roles: [{ name: r, scopes: [x], permissions: [{ methods: [PUT] }] }]\n" ONE_ROUTE);
    assert_int_equal(testbed_status(&bed, "GET /a", GOOD), 403);
    assert_int_equal(testbed_status(&bed, "PUT /a", GOOD), 200);
    testbed_reload(&bed, ONE_ROUTE);
    assert_int_equal(testbed_status(&bed, "PUT /a", GOOD), 403);
    testbed_stop(&bed);
}

static void what_makes_no_sense_is_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: access }", "must say who is let in");
    testbed_refuses_filter("{ type: access, default: allow, dryRun: true }", "must say who is let in");
    testbed_refuses_filter("{ type: access, rules: [{ effect: deny }] }", "name");
    testbed_refuses_filter("{ type: access, rules: [{ name: a }] }", "effect");
    testbed_refuses_filter("{ type: access, rules: [{ name: a, effect: perhaps }] }", "effect");
    testbed_refuses_filter("{ type: access, rules: [{ name: a, effect: deny }, { name: a, effect: allow }] }",
                           "two rules");
    testbed_refuses_filter("{ type: access, rules: [{ name: a, effect: deny, when: 'auth.user ==' }] }", "when");
    testbed_refuses_filter("{ type: access, rules: [{ name: a, effect: deny, when: '1 + 1' }] }", "when");
    testbed_refuses_filter("{ type: access, rules: [{ name: a, effect: deny, when: 'response.status == 1' }] }",
                           "when");
    testbed_refuses_filter("{ type: access, rules: [{ name: \"a\\nb\", effect: deny }] }", "not a name");
    testbed_refuses_filter("{ type: access, roles: [''] }", "role");
    testbed_refuses_filter("{ type: access, roleClaims: [''], permissions: true }", "claim");
    testbed_refuses_filter("{ type: access, requiredScopes: [{ methods: [GET] }] }", "scopes");
    testbed_refuses_filter("{ type: access, requiredScopes: [{ scopes: ['a b'] }] }", "not a scope");
    testbed_refuses_filter("{ type: access, requiredScopes: [{ scopes: [a], methods: ['G T'] }] }", "not a method");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_are_needed_by_method),
        cmocka_unit_test(a_missing_scope_is_told_to_who_has_a_token),
        cmocka_unit_test(all_scopes_that_the_request_needs_are_told),
        cmocka_unit_test(roles_come_by_scope_client_and_claim),
        cmocka_unit_test(permissions_allow_what_they_say),
        cmocka_unit_test(roles_beyond_sixty_four_count_as_others_do),
        cmocka_unit_test(the_first_rule_that_holds_decides),
        cmocka_unit_test(what_cannot_be_evaluated_opens_nothing),
        cmocka_unit_test(a_bound_that_is_met_gets_nobody_past_a_rule),
        cmocka_unit_test(a_claim_too_deep_for_a_format_gets_nobody_past_a_rule),
        cmocka_unit_test(nobody_is_asked_who_it_is_before_it_is_refused),
        cmocka_unit_test(no_route_lifts_what_is_denied_everywhere),
        cmocka_unit_test(on_trial_nobody_is_refused),
        cmocka_unit_test(it_says_what_it_would_do),
        cmocka_unit_test(the_roles_of_a_caller_are_listed_once),
        cmocka_unit_test(a_changed_role_holds_for_the_next_request),
        cmocka_unit_test(what_makes_no_sense_is_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
