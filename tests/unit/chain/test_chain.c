/* Which filters a route gets, and in which order, out of what is written for it, for its service and for everything. */
#include "base/memory.h"
#include "exchange/testbed.h"

/* The filters that a request meets, as "kind kind kind". */
static void write_chain(const struct testbed *bed, const char *route, char into[1024])
{
    const struct router *router = bed->pin->snapshot->router;
    struct request_head head = { .method = METHOD_GET, .target = { .path = slice_from_cstring(route) } };
    struct route_match match = { 0 };
    assert_int_equal(
        router_match(router, bed->worker.router_scratch, &head, METHOD_GET, SLICE("GET"), NULL, NULL, &match),
        ROUTE_FOUND);
    const struct chain *chain = ((const struct compiled_route *)match.target)->chain;
    size_t length = 0;
    *into = '\0';
    for (uint32_t i = 0; i < chain->count; i++) {
        length += (size_t)snprintf(into + length, 1024 - length, "%s%s", i ? " " : "", chain->links[i].filter->name);
    }
}

static void expect_chain(const char *text, const char *route, const char *expected)
{
    struct testbed bed;
    char chain[1024];
    testbed_start(&bed, text);
    write_chain(&bed, route, chain);
    assert_string_equal(chain, expected);
    testbed_stop(&bed);
}

static void filters_stand_in_the_order_of_their_phases(void **state)
{
    expect_chain("routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                 "  { type: set-header, name: X-A, value: b },\n"
                 "  { type: test-wait },\n"
                 "  { type: cors, allowedOrigins: ['*'] },\n"
                 "  { type: ip-list, deny: [192.0.2.9] },\n"
                 "  { type: security-headers } ] }]\n",
                 "/a", "security-headers ip-list cors test-wait set-header");
}

static void priority_orders_inside_a_phase_only(void **state)
{
    expect_chain("routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                 "  { type: add-header, name: X-A, value: b },\n"
                 "  { type: set-header, name: X-A, value: b, priority: 5 },\n"
                 "  { type: remove-header, name: X-B, priority: 7 },\n"
                 "  { type: ip-list, deny: [192.0.2.9], priority: -100 } ] }]\n",
                 "/a", "ip-list remove-header set-header add-header");
}

#define PLUGINS                                                                                                  \
    "plugins:\n"                                                                                                 \
    "  - { name: cors, instanceName: c1, config: { allowedOrigins: ['*'] } }\n"                                  \
    "  - { name: cors, instanceName: c2, services: [one], config: { allowedOrigins: ['https://s.example'] } }\n" \
    "  - { name: set-header, instanceName: h1, config: { name: X-G, value: g } }\n"                              \
    "  - { name: set-header, instanceName: h2, routes: [a], config: { name: X-R, value: r } }\n"                 \
    "  - { name: security-headers, instanceName: off, enabled: false, config: {} }\n"

static void the_narrower_scope_replaces_a_kind_but_header_edits_add_up(void **state)
{
    const char *text = PLUGINS
        "routes:\n"
        "  - { name: a, path: /a, serviceId: one }\n"
        "  - { name: b, path: /b, respond: { status: 200 } }\n"
        "  - { name: c, path: /c, serviceId: one, filters: [{ type: cors, allowedOrigins: ['https://r.example'] }] }\n";
    expect_chain(text, "/a", "cors set-header set-header");
    expect_chain(text, "/b", "cors set-header");
    expect_chain(text, "/c", "cors set-header");
}

static void which_of_the_scopes_it_was_shows_on_the_answer(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed, PLUGINS
        "routes:\n"
        "  - { name: a, path: /a, serviceId: one }\n"
        "  - { name: b, path: /b, respond: { status: 200 } }\n"
        "  - { name: c, path: /c, serviceId: one, filters: [{ type: cors, allowedOrigins: ['https://r.example'] }] }\n");
    static const struct {
        const char *line, *origin, *allowed;
    } rows[] = {
        { "GET /a", "Origin: https://s.example\r\n", "https://s.example" },
        { "GET /a", "Origin: https://x.example\r\n", NULL },
        { "GET /b", "Origin: https://x.example\r\n", "*" },
        { "GET /c", "Origin: https://r.example\r\n", "https://r.example" },
        { "GET /c", "Origin: https://s.example\r\n", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client = { 0 };
        client_ask(&bed, &client, rows[i].line, rows[i].origin, NULL);
        testbed_run(&bed);
        struct slice allowed = client_header(&client, "Access-Control-Allow-Origin");
        if (rows[i].allowed) {
            assert_slice_is(allowed, rows[i].allowed);
        } else {
            assert_true(slice_is_absent(allowed));
        }
        client_release(&client);
    }
    testbed_stop(&bed);
}

/* Global first: a route's own edit comes after it and has the last word; on the way back it is the other way round. */
static void edits_of_all_scopes_apply_global_first(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(
        &bed,
        "plugins:\n"
        "  - { name: set-header, instanceName: g, config: { name: X-A, value: global } }\n"
        "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: set-header, name: X-A, value: route }] }]\n");
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_slice_is(service_header(&bed, "X-A"), "route");
    client_release(&client);
    testbed_stop(&bed);
}

static void a_kind_twice_in_one_list_is_a_mistake_where_only_one_would_count(void **state)
{
    char *problems = testbed_problems("routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                                      "  { type: cors, allowedOrigins: ['*'] },\n"
                                      "  { type: cors, allowedOrigins: ['https://a.example'] } ] }]\n");
    assert_non_null(problems);
    assert_non_null(strstr(problems, "test.yaml:5:"));
    assert_non_null(strstr(problems, "\"cors\" is there already"));
    free(problems);
    assert_null(testbed_problems(
        "routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
        "  { type: add-header, name: X-A, value: a }, { type: add-header, name: X-A, value: b } ] }]\n"));
}

/* The last that was written used to stand for both: with two of jwt-auth the audience that the first one asks for was gone. */
static void two_plugins_of_a_kind_for_the_same_are_a_mistake_whatever_routes_there_are(void **state)
{
    static const struct {
        const char *first, *second, *mistake; /* NULL: it is none */
    } rows[] = {
        { "", "", "plugin \"two\": \"cors\" is there for all routes already, by plugin \"one\" (line 4)" },
        { "routes: [a], ", "routes: [a], ", "\"cors\" is there for route \"a\" already, by plugin \"one\"" },
        { "routes: [a], ", "routes: [b, a], ", "\"cors\" is there for route \"a\" already" },
        { "services: [one], ", "services: [one], ", "\"cors\" is there for service \"one\" already" },
        { "services: [two], ", "services: [two], ",
          "\"cors\" is there for service \"two\" already" }, /* without a route */
        /* What orders a phase chooses none. */
        { "priority: 9, ", "", "\"cors\" is there for all routes already" },
        /* One of them acts, and it is plain which. */
        { "enabled: false, ", "", NULL },
        { "", "enabled: false, ", NULL },
        { "", "routes: [a], ", NULL },
        { "", "services: [one], ", NULL },
        { "services: [one], ", "routes: [a], ", NULL },
        { "routes: [a], ", "routes: [b], ", NULL },
        { "services: [one], ", "services: [two], ", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *text = memory_format(
            "plugins:\n"
            "  - { name: cors, instanceName: one, %sconfig: { allowedOrigins: ['*'] } }\n"
            "  - { name: cors, instanceName: two, %sconfig: { allowedOrigins: ['https://a.example'] } }\n"
            "routes:\n"
            "  - { name: a, path: /a, serviceId: one }\n"
            "  - { name: b, path: /b, respond: { status: 200 } }\n",
            rows[i].first, rows[i].second);
        char *problems = testbed_problems(text);
        if (!problems != !rows[i].mistake) fail_msg("%s%s", text, problems ? problems : "");
        if (problems && !strstr(problems, rows[i].mistake)) fail_msg("%s%s", text, problems);
        if (problems && !strstr(problems, "test.yaml:5:")) fail_msg("%s%s", text, problems);
        free(problems);
        free(text);
    }
}

#define TWO_GUARDS(one, two)                                                  \
    "plugins:\n"                                                              \
    "  - { name: compression, instanceName: c1, services: [one], " one " }\n" \
    "  - { name: compression, instanceName: c2, services: [two], " two " }\n"
#define A_PART(name) "{ name: " name ", service: " name ", path: / }"

/* Which of them would act, nobody wrote. */
static void a_route_that_ends_in_services_with_a_kind_each_needs_its_own(void **state)
{
    static const struct {
        const char *plugins, *route;
        bool is_mistake;
    } rows[] = {
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", true },
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}"),
          "split: { services: [{ serviceId: two, weight: 1 }, { serviceId: one, weight: 1 }] }", true },
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}"),
          "aggregate: { parts: [" A_PART("one") ", " A_PART("two") "] }", true },
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: { minBytes: 2000 }, priority: 5"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", true },
        /* They say the same, however that is written. */
        { TWO_GUARDS("config: { minBytes: 2000, flushAfterMs: 60 }", "config: { flushAfterMs: 60, minBytes: 2000 }"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", false },
        { TWO_GUARDS("config: {}", "enabled: true"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", false },
        /* Narrower ones stand for both. */
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }, filters: [{ type: compression }]",
          false },
        { TWO_GUARDS("config: { minBytes: 2000 }",
                     "config: {}") "  - { name: compression, instanceName: c3, routes: [a] }\n",
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", false },
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}, enabled: false"),
          "serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 }", false },
        { TWO_GUARDS("config: { minBytes: 2000 }", "config: {}"), "serviceId: two", false },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *text = memory_format("%sroutes: [{ name: a, path: /a, %s }]\n", rows[i].plugins, rows[i].route);
        char *problems = testbed_problems(text);
        if (!problems != !rows[i].is_mistake) fail_msg("%s%s", text, problems ? problems : "");
        if (problems && !strstr(problems, "test.yaml:6:")) fail_msg("%s%s", text, problems); /* the route */
        if (problems && !strstr(problems, "route \"a\" ends in services with a \"compression\" each, by plugin"))
            fail_msg("%s%s", text, problems);
        free(problems);
        free(text);
    }
}

/* Plugins without `config` stand in one list, whomever they are for. */
static void plugins_of_two_scopes_are_no_doubles_for_standing_in_one_list(void **state)
{
    assert_null(testbed_problems("plugins:\n"
                                 "  - { name: security-headers, instanceName: wide }\n"
                                 "  - { name: security-headers, instanceName: narrow, routes: [a] }\n"
                                 "routes: [{ name: a, path: /a, serviceId: one }]\n"));
}

static void all_that_cannot_be_compiled_is_told_at_once(void **state)
{
    char *problems = testbed_problems("routes:\n"
                                      "  - name: a\n"
                                      "    path: /a/{id}\n"
                                      "    serviceId: one\n"
                                      "    filters:\n"
                                      "      - { type: set-header, name: X-A, value: '${path.other}' }\n"
                                      "      - { type: set-header, name: X-B, value: '${path.id}' }\n"
                                      "      - { type: rewrite-path, pattern: '(', replacement: /x }\n"
                                      "      - { type: rate-limit, limit: 1, window: 1, key: ip, cost: '${1 + }' }\n");
    assert_non_null(problems);
    if (!strstr(problems, "test.yaml:8:47: \"value\": the route's path captures no \"other\" at position 3"))
        fail_msg("%s", problems);
    assert_null(strstr(problems, ":9:"));
    assert_non_null(strstr(problems, "test.yaml:10:"));
    assert_non_null(strstr(problems, "is no regular expression"));
    assert_non_null(
        strstr(problems, "test.yaml:11:65: \"cost\": the expression ends where a value is missing at position 7"));
    free(problems);
}

/* A plugin for everything is compiled for each route: a capture that one of them lacks is a mistake there. */
static void a_global_plugin_is_checked_against_each_route(void **state)
{
    char *problems = testbed_problems("plugins: [{ name: set-header, config: { name: X-A, value: '${path.id}' } }]\n"
                                      "routes:\n"
                                      "  - { name: a, path: '/a/{id}', serviceId: one }\n"
                                      "  - { name: b, path: /b, serviceId: one }\n");
    assert_non_null(problems);
    assert_non_null(strstr(problems, "captures no \"id\""));
    free(problems);
}

static const char joins[] = "plugins: [{ name: test-join, config: { name: wide } }]\n"
                            "routes:\n"
                            "  - { name: a, path: /a, serviceId: one, filters: [\n"
                            "      { type: test-join, name: low }, { type: test-join, name: high, priority: 5 },\n"
                            "      { type: test-wait }, { type: test-join, name: soon, early: true } ] }\n"
                            "  - { name: b, path: /b, serviceId: one }\n";

/* What is decided together is one link a phase, whatever stands between; its members keep the order that links would have. */
static void those_of_a_kind_that_belong_together_become_one_link(void **state)
{
    struct testbed bed;
    expect_chain(joins, "/a", "test-join test-wait test-join");
    expect_chain(joins, "/b", "test-join");
    testbed_start(&bed, joins);
    assert_int_equal(testbed_status(&bed, "GET /b", NULL), 200);
    assert_true(slice_equal(service_header(&bed, "X-Joined"), SLICE("wide #1")));
    assert_int_equal(testbed_status(&bed, "GET /b", NULL), 200);
    assert_true(slice_equal(service_header(&bed, "X-Joined"), SLICE("wide #2"))); /* the count is the worker's */
    testbed_stop(&bed);
}

/* Sorted as links would be: priority, then the wider scope. */
static void the_members_of_a_link_keep_their_order(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "plugins: [{ name: test-join, config: { name: wide } }]\n"
                        "routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
                        "  { type: test-join, name: low }, { type: test-join, name: high, priority: 5 } ] }]\n");
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 200);
    assert_true(slice_equal(service_header(&bed, "X-Joined"), SLICE("high wide low #1")));
    testbed_stop(&bed);
}

static void what_a_policy_would_do_is_told_in_sentences(void **state)
{
    struct testbed bed;
    testbed_start(&bed, joins);
    struct arena arena;
    arena_init(&arena, &bed.arenas);
    struct explanation explanation = { .arena = &arena };
    char name[] = "wide";
    struct {
        char *names;
    } joined = { name };
    filter_test_join.explain(NULL, &joined, &explanation);
    assert_int_equal(explanation.count, 1);
    assert_true(slice_equal(explanation.lines[0], SLICE("would say wide")));
    for (unsigned i = 0; i < EXPLANATION_LINES_MAX; i++) explanation_add(&explanation, "%u", i);
    assert_int_equal(explanation.count, EXPLANATION_LINES_MAX);
    assert_true(explanation.is_cut);
    arena_release(&arena);
    testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_stand_in_the_order_of_their_phases),
        cmocka_unit_test(priority_orders_inside_a_phase_only),
        cmocka_unit_test(the_narrower_scope_replaces_a_kind_but_header_edits_add_up),
        cmocka_unit_test(which_of_the_scopes_it_was_shows_on_the_answer),
        cmocka_unit_test(edits_of_all_scopes_apply_global_first),
        cmocka_unit_test(a_kind_twice_in_one_list_is_a_mistake_where_only_one_would_count),
        cmocka_unit_test(two_plugins_of_a_kind_for_the_same_are_a_mistake_whatever_routes_there_are),
        cmocka_unit_test(a_route_that_ends_in_services_with_a_kind_each_needs_its_own),
        cmocka_unit_test(plugins_of_two_scopes_are_no_doubles_for_standing_in_one_list),
        cmocka_unit_test(all_that_cannot_be_compiled_is_told_at_once),
        cmocka_unit_test(a_global_plugin_is_checked_against_each_route),
        cmocka_unit_test(those_of_a_kind_that_belong_together_become_one_link),
        cmocka_unit_test(the_members_of_a_link_keep_their_order),
        cmocka_unit_test(what_a_policy_would_do_is_told_in_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
