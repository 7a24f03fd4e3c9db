/* rate-limit: who is refused, who waits, what answers say of it. The maths and the table have tests of their own in shared/. */
#include "base/memory.h"
#include "chain/explanation.h"
#include "exchange/testbed.h"
#include "filters/filters.h"
#include "shared/limit_counters.h"

static struct limit_counters *counters;

static int begin(void **state)
{
    struct error error;
    counters = limit_counters_create(1 << 16, 1, &error);
    assert_non_null(counters);
    testbed_surroundings = (struct policy_surroundings){ .limits = counters, .workers = 1 };
    return 0;
}

static int end(void **state)
{
    limit_counters_destroy(counters);
    testbed_surroundings = (struct policy_surroundings){ 0 };
    return 0;
}

/* Asks and ends; what came back stays in *client. */
static unsigned ask_from(struct testbed *bed, struct client *client, const char *address, const char *line,
                         const char *fields)
{
    memset(client, 0, sizeof *client);
    assert_true(address_parse_ip(slice_from_cstring(address), 1234, &client->peer.address));
    client_ask(bed, client, line, fields, NULL);
    testbed_run(bed);
    return client->status;
}

static unsigned status_of(struct testbed *bed, const char *address, const char *line, const char *fields)
{
    struct client client;
    unsigned status = ask_from(bed, &client, address, line, fields);
    client_release(&client);
    return status;
}

static uint64_t decisions(const char *name, enum limit_decision decision)
{
    struct limit_tally_sum sums[16];
    size_t position = 0, count = limit_counters_sums(counters, &position, sums, COUNT_OF(sums));
    uint64_t found = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(sums[i].name, name) == 0) found = sums[i].decisions[decision];
        free(sums[i].name);
    }
    return found;
}

static void assert_header(const struct client *client, const char *name, const char *value)
{
    assert_slice_is(client_header(client, name), value);
}

static long long header_number(const struct client *client, const char *name)
{
    struct slice text = client_header(client, name);
    return slice_is_absent(text) ? -1 : strtoll(text.at, NULL, 10);
}

/* --- what is told --- */

static void requests_beyond_the_limit_are_refused(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n"
                        "rateLimits: [{ name: slow, limit: 2, window: 60, key: ip }]\n");
    for (int left = 1; left >= 0; left--) {
        char state_text[64];
        assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 200);
        assert_header(&client, "X-RateLimit-Limit", "2");
        assert_int_equal(header_number(&client, "X-RateLimit-Remaining"), left);
        snprintf(state_text, sizeof state_text, "\"slow\";r=%d;t=%d", left, 60 - 30 * left);
        assert_header(&client, "RateLimit", state_text);
        assert_header(&client, "RateLimit-Policy", "\"slow\";q=2;w=60");
        assert_true(slice_is_absent(client_header(&client, "Retry-After")));
        long long reset_s = header_number(&client, "X-RateLimit-Reset") - (long long)(bed.loop.wall_ns / 1000000000);
        assert_in_range(reset_s, 60 - 30 * left - 1, 60 - 30 * left + 1);
        client_release(&client);
    }
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 429);
    assert_header(&client, "X-RateLimit-Remaining", "0");
    assert_header(&client, "Retry-After", "30");
    assert_non_null(strstr(client.body, "\"rule\":\"slow\""));
    assert_non_null(strstr(client.body, "2 requests in 60 s"));
    client_release(&client);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", NULL), 200);
    assert_int_equal(decisions("slow", LIMIT_DECISION_PASSED), 3);
    assert_int_equal(decisions("slow", LIMIT_DECISION_REFUSED), 1);
    testbed_stop(&bed);
}

static void a_services_own_headers_give_way(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, limit: 5, window: 10, key: global }");
    bed.service.headers = "X-Ratelimit-Limit: 7\r\nRateLimit: \"theirs\";r=1;t=1\r\nX-RateLimit-Other: stays\r\n";
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 200);
    assert_header(&client, "X-RateLimit-Limit", "5");
    assert_header(&client, "RateLimit", "\"a/rate-limit\";r=4;t=2");
    assert_header(&client, "X-RateLimit-Other", "stays");
    client_release(&client);
    testbed_stop(&bed);
}

static void answers_speak_of_the_rule_with_the_least_share_left(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n"
                        "rateLimits: [{ name: wide, limit: 10, window: 60, key: global, beforeIdentity: true },\n"
                        "  { name: narrow, limit: 4, window: 60, key: ip }]\n");
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 200);
        assert_header(&client, "X-RateLimit-Limit", "4");
        client_release(&client);
    }
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 429);
    assert_header(&client, "RateLimit-Policy", "\"narrow\";q=4;w=60");
    client_release(&client);
    /* What the early rule counted it has counted: 5 of 10; another address has all of the narrow one, less the one. */
    assert_int_equal(ask_from(&bed, &client, "192.0.2.2", "GET /a", NULL), 200);
    assert_header(&client, "RateLimit-Policy", "\"wide\";q=10;w=60");
    assert_header(&client, "X-RateLimit-Remaining", "4");
    client_release(&client);
    testbed_stop(&bed);
}

static void a_name_is_quoted_where_it_is_told(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, name: \"\xc3\xa4 b\", limit: 5, window: 10, key: global }");
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 200);
    assert_header(&client, "RateLimit-Policy", "\"?? b\";q=5;w=10");
    client_release(&client);
    testbed_stop(&bed);
}

/* --- which rules, in which order --- */

static void a_rule_limits_a_route_a_service_or_all(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }, { name: b, path: /b, serviceId: one },\n"
                        "  { name: d, path: /d, respond: { body: x } }]\n"
                        "rateLimits: [{ name: of-a, routeId: a, limit: 1, window: 600, key: global },\n"
                        "  { name: of-one, serviceId: one, limit: 2, window: 600, key: global },\n"
                        "  { name: of-all, limit: 4, window: 600, key: global },\n"
                        "  { name: off, limit: 1, window: 600, key: global, enabled: false }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
    assert_int_equal(decisions("of-a", LIMIT_DECISION_REFUSED), 1);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", NULL), 429);
    assert_int_equal(decisions("of-one", LIMIT_DECISION_REFUSED), 1);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /d", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /d", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /d", NULL), 429);
    assert_int_equal(decisions("of-all", LIMIT_DECISION_REFUSED), 1);
    testbed_stop(&bed);
}

static void plugins_and_filters_add_up_with_rules(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed,
        "routes: [{ name: a, path: /a, serviceId: one, filters: [\n"
        "    { type: rate-limit, limit: 3, window: 600, key: global },\n"
        "    { type: rate_limit, limit: 2, window: 600, key: 'header:X-Who' }] },\n"
        "  { name: b, path: /b, serviceId: one }]\n"
        "plugins: [{ name: rate-limit, instanceName: shared, config: { limit: 5, window: 600, key: global } }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Who: x\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Who: x\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Who: x\r\n"), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Who: y\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Who: z\r\n"), 429);
    /* The plugin is one for both routes: three of five are taken, and what was refused took nothing. */
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", NULL), 429);
    assert_int_equal(decisions("shared/rate-limit", LIMIT_DECISION_PASSED), 5);
    testbed_stop(&bed);
}

/* Written the other way round, and yet asked from global to address; what a later one refuses is spent in none. */
static void nothing_is_spent_where_a_later_rule_refuses(void **state)
{
    static const char *const algorithms[] = { "token_bucket", "sliding_window", "fixed_window", "gcra" };
    for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
        struct testbed bed;
        char text[512];
        snprintf(text, sizeof text,
                 "routes: [{ name: a, path: /a, serviceId: one }]\n"
                 "rateLimits: [{ name: address, limit: 1, window: 6000, key: ip, algorithm: %s },\n"
                 "  { name: everybody, limit: 3, window: 6000, key: global, algorithm: %s }]\n",
                 algorithms[i], algorithms[i]);
        testbed_start(&bed, text);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
        for (unsigned j = 0; j < 20; j++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
        assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", NULL), 200);
        assert_int_equal(status_of(&bed, "192.0.2.3", "GET /a", NULL), 200);
        assert_int_equal(decisions("everybody", LIMIT_DECISION_REFUSED), 0);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
        assert_int_equal(decisions("everybody", LIMIT_DECISION_REFUSED), 1);
        assert_int_equal(decisions("address", LIMIT_DECISION_REFUSED), 20);
        testbed_stop(&bed);
    }
}

static void a_shadow_counts_and_refuses_nothing(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n"
                        "rateLimits: [{ name: ghost, limit: 1, window: 60, key: global, shadow: true }]\n");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 200);
        assert_true(slice_is_absent(client_header(&client, "X-RateLimit-Limit")));
        client_release(&client);
    }
    assert_int_equal(decisions("ghost", LIMIT_DECISION_PASSED), 1);
    assert_int_equal(decisions("ghost", LIMIT_DECISION_WOULD_REFUSE), 2);
    testbed_stop(&bed);
}

/* --- keys and costs --- */

static void addresses_of_one_ipv6_network_are_one(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, limit: 1, window: 600, key: ip }");
    assert_int_equal(status_of(&bed, "2001:db8:1:2::1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "2001:db8:1:2:ffff::9", "GET /a", NULL), 429);
    assert_int_equal(status_of(&bed, "2001:db8:1:3::1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "10.0.0.1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "::ffff:10.0.0.1", "GET /a", NULL), 429);
    assert_int_equal(status_of(&bed, "::ffff:10.0.0.2", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

static void a_request_without_the_value_counts_by_its_address(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, limit: 1, window: 600, key: 'header:X-Tenant' }");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Tenant: t\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", "x-tenant: t\r\n"), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Tenant:\r\n"), 429);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", NULL), 200);
    /* A value that spells an address is not that address. */
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Tenant: 192.0.2.2\r\n"), 200);
    testbed_stop(&bed);
}

static void routes_are_counted_apart(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }, { name: b, path: /b, serviceId: one }]\n"
                        "rateLimits: [{ name: each, limit: 1, window: 600, key: route }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", NULL), 429);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /b", NULL), 200);
    testbed_stop(&bed);
}

static void expressions_are_keys_and_costs(void **state)
{
    struct testbed bed;
    testbed_start_filtered(
        &bed, "/a/{who}/{cost}",
        "{ type: rate-limit, limit: 10, window: 6000, key: '${path.who}', cost: '${int(path.cost)}' }");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/x/6", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/x/5", NULL), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/x/4", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/x/0", NULL), 200); /* free */
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/x/many", NULL), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/y/11", NULL), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/y/10", NULL), 200);
    testbed_stop(&bed);
}

/* It is a mistake of who wrote the expression: not free, and counted where an operator sees it. */
static void a_negative_cost_counts_as_one(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a/{cost}",
                           "{ type: rate-limit, limit: 2, window: 6000, key: global, cost: '${int(path.cost)}' }");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/-1", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/-9223372036854775808", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/-1", NULL), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a/0", NULL), 200);
    testbed_stop(&bed);
}

/* A client that makes its cost too dear to work out must not get it for less: here by a text that no pattern is held against. */
static void a_cost_that_meets_a_bound_counts_as_the_highest(void **state)
{
    struct testbed bed;
    char *long_field = memory_format("X-A: %09000d\r\n", 0);
    testbed_start(&bed,
                  "routes:\n"
                  "- { name: a, path: /a, serviceId: one, filters: [{ type: rate-limit, limit: 10, window: 6000, key: "
                  "global, cost: '${request.headers[\"x-a\"].matches(\"b\") ? 5 : 2}' }] }\n"
                  "- { name: b, path: /b, serviceId: one, filters: [{ type: rate-limit, limit: 10, window: 6000, key: "
                  "global, shadow: true, cost: '${request.headers[\"x-a\"].matches(\"b\") ? 5 : 2}' }] }\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", long_field), 429);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-A: b\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200); /* no such field: 1 */
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-A: a\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-A: a\r\n"), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);       /* 5 + 1 + 2 + 2 */
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /b", long_field), 200); /* on trial it refuses nobody */
    testbed_stop(&bed);
    free(long_field);
}

/* It is no doing of the client's: it pays nothing, and is told of no limit. */
static void a_cost_for_which_memory_is_short_is_503(void **state)
{
    struct testbed bed;
    struct client client;
    char *long_field = memory_format("X-A: %09000d\r\n", 0);
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: rate-limit, limit: 40000, "
                        "window: 6000, key: global,\n"
                        "  cost: '${size(request.headers[\"x-a\"] + request.headers[\"x-a\"])}' }] }]\n");
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", long_field), 200);
    assert_int_equal(header_number(&client, "X-RateLimit-Remaining"), 22000);
    client_release(&client);
    bed.ceiling.bytes_max = 22 << 10; /* enough for its head */
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", long_field), 503);
    assert_non_null(strstr(client.body, "short of memory"));
    assert_true(slice_is_absent(client_header(&client, "X-RateLimit-Limit")));
    client_release(&client);
    bed.ceiling.bytes_max = 0;
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", "X-A: b\r\n"), 200);
    assert_int_equal(header_number(&client, "X-RateLimit-Remaining"), 21998);
    client_release(&client);
    testbed_stop(&bed);
    free(long_field);
}

/* Waiting is no use to it: neither words nor Retry-After may say so. */
static void a_cost_beyond_the_limit_is_told_that_it_can_never_pass(void **state)
{
    static const struct {
        const char *fields;
        unsigned never, fits;
        const char *detail;
    } rows[] = {
        { "limit: 10, window: 600", 11, 10, "this request costs 11, and there are never more than 10" },
        { "limit: 10, window: 601, burst: 20", 21, 20, "costs 21, and there are never more than 20" },
        { "limit: 10, window: 602, burst: 20, action: queue", 21, 20, "costs 21, and there are never more than 20" },
        { "limit: 10, window: 600, algorithm: fixed_window", 11, 10, "costs 11, and there are never more than 10" },
        { "limit: 10, window: 600, algorithm: sliding_window", 11, 10, "costs 11, and there are never more than 10" },
        { "limit: 10, algorithm: concurrency", 11, 10, "costs 11, and there are never more than 10" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        char filter[200], line[40];
        snprintf(filter, sizeof filter, "{ type: rate-limit, key: global, %s, cost: '${int(path.cost)}' }",
                 rows[i].fields);
        testbed_start_filtered(&bed, "/a/{cost}", filter);
        snprintf(line, sizeof line, "GET /a/%u", rows[i].never);
        assert_int_equal(ask_from(&bed, &client, "192.0.2.1", line, NULL), 429);
        if (!strstr(client.body, rows[i].detail)) fail_msg("%s", client.body);
        assert_true(slice_is_absent(client_header(&client, "Retry-After")));
        client_release(&client);
        snprintf(line, sizeof line, "GET /a/%u", rows[i].fits);
        assert_int_equal(status_of(&bed, "192.0.2.1", line, NULL), 200);
        testbed_stop(&bed);
    }
}

/* --- identity --- */

static enum filter_result identify(struct exchange *exchange, const void *compiled, void *state)
{
    const struct header *client = headers_find(&exchange->request->headers, SLICE("X-Test-Client"));
    const struct header *issuer = headers_find(&exchange->request->headers, SLICE("X-Test-Issuer"));
    const struct header *tier = headers_find(&exchange->request->headers, SLICE("X-Test-Tier"));
    if (!client) {
        identity_missing(exchange, SLICE("Test"));
        return FILTER_NEXT;
    }
    exchange->identity.client_id = exchange->identity.user_id = exchange->identity.key_id = client->value;
    exchange->identity.issuer = issuer ? issuer->value : SLICE_ABSENT;
    exchange->identity.tier = tier ? (int8_t)(tier->value.at[0] - '0') : IDENTITY_TIER_NONE;
    exchange->identity.method = IDENTITY_API_KEY;
    return FILTER_NEXT;
}

static const struct field no_fields[] = { FIELDS_END };

static const struct filter filter_identify = {
    .name = "test-identify",
    .summary = "Believes what the request says.",
    .phase = PHASE_IDENTITY,
    .gate = &filter_identity_gate,
    .fields = no_fields,
    .request = identify,
};

static void start_with_identity(struct testbed *bed, const char *text)
{
    static const struct filter *filters[80];
    size_t count = 0;
    const struct filter *const *all = test_filters_with_all();
    for (; all[count]; count++) filters[count] = all[count];
    filters[count] = &filter_identify;
    struct testbed probe;
    testbed_start(&probe, "routes: []\n");
    struct policy_registry registry = { .filters = filters, .handlers = probe.registry.handlers };
    testbed_stop(&probe);
    testbed_start_with(bed, &registry, text);
}

static void callers_are_told_apart_by_who_they_are(void **state)
{
    static const char *const keys[] = { "client_id", "user_id", "api_key" };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct testbed bed;
        char text[400];
        snprintf(text, sizeof text,
                 "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identify },\n"
                 "  { type: rate-limit, limit: 1, window: 600, key: %s }] }]\n",
                 keys[i]);
        start_with_identity(&bed, text);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Test-Client: x\r\n"), 200);
        assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", "X-Test-Client: x\r\n"), 429);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Test-Client: y\r\n"), 200);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 401);
        testbed_stop(&bed);
    }
}

/* Two issuers and the owner of an API key may have one name; of keys the id is one of a kind. */
static void namesakes_of_other_issuers_count_by_themselves(void **state)
{
    static const char *const callers[] = { "X-Test-Client: x\r\n", "X-Test-Client: x\r\nX-Test-Issuer: a\r\n",
                                           "X-Test-Client: x\r\nX-Test-Issuer: b\r\n",
                                           "X-Test-Client: a\r\nX-Test-Issuer: x\r\n" };
    static const char *const keys[] = { "client_id", "user_id", "api_key" };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct testbed bed;
        char text[400];
        snprintf(text, sizeof text,
                 "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identify },\n"
                 "  { type: rate-limit, limit: 1, window: 600, key: %s }] }]\n",
                 keys[i]);
        start_with_identity(&bed, text);
        for (size_t j = 0; j < COUNT_OF(callers); j++) {
            bool is_known = strcmp(keys[i], "api_key") == 0 && (j == 1 || j == 2);
            assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", callers[j]), is_known ? 429 : 200);
            assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", callers[j]), 429);
        }
        testbed_stop(&bed);
    }
}

static void a_tier_has_its_own_limit(void **state)
{
    struct testbed bed;
    struct client client;
    start_with_identity(&bed,
                        "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identify }] }]\n"
                        "rateLimits: [{ name: t, limit: 3, window: 600, tierLimits: { free: 1, premium: 5 } }]\n");
    static const struct {
        const char *fields, *limit;
    } callers[] = {
        { "X-Test-Client: n\r\n", "3" },
        { "X-Test-Client: f\r\nX-Test-Tier: 0\r\n", "1" },
        { "X-Test-Client: s\r\nX-Test-Tier: 1\r\n", "3" },
        { "X-Test-Client: p\r\nX-Test-Tier: 2\r\n", "5" },
    };
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        long limit = strtol(callers[i].limit, NULL, 10);
        for (long j = 0; j <= limit; j++) {
            assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", callers[i].fields), j < limit ? 200 : 429);
            assert_header(&client, "X-RateLimit-Limit", callers[i].limit);
            client_release(&client);
        }
    }
    testbed_stop(&bed);
}

/* Or a tier that may less could come as often at once as all others, and one that may more no oftener. */
static void a_tiers_burst_is_in_proportion_to_its_limit(void **state)
{
    static const struct {
        const char *rule, *tier;
        unsigned at_once;
    } rows[] = {
        { "limit: 3, burst: 6, tierLimits: { free: 1, premium: 9 }", NULL, 6 },
        { "limit: 3, burst: 6, tierLimits: { free: 1, premium: 9 }", "0", 2 },
        { "limit: 3, burst: 6, tierLimits: { free: 1, premium: 9 }", "1", 6 },
        { "limit: 3, burst: 6, tierLimits: { free: 1, premium: 9 }", "2", 18 },
        { "limit: 3, burst: 6, algorithm: gcra, tierLimits: { free: 1, premium: 9 }", "0", 2 },
        { "limit: 4, burst: 5, tierLimits: { free: 3 }", "0", 4 }, /* 3.75 */
        { "limit: 9, burst: 2, tierLimits: { free: 1 }", "0", 1 },
        { "limit: 3, action: throttle, queueMaxWaitMs: 1, tierLimits: { premium: 9 }", "2", 1 },
        { "limit: 1, burst: 3, tierLimits: { premium: 1000000000 }", "2", 20 }, /* of 10^9, not 3 * 10^9 */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        char text[400], fields[100];
        snprintf(text, sizeof text,
                 "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identify }] }]\n"
                 "rateLimits: [{ name: t, window: 600, %s }]\n",
                 rows[i].rule);
        snprintf(fields, sizeof fields, "X-Test-Client: c%zu\r\n%s%s%s", i, rows[i].tier ? "X-Test-Tier: " : "",
                 rows[i].tier ? rows[i].tier : "", rows[i].tier ? "\r\n" : "");
        start_with_identity(&bed, text);
        unsigned passed = 0;
        while (passed < 20 && status_of(&bed, "192.0.2.1", "GET /a", fields) == 200) passed++;
        if (passed != rows[i].at_once) fail_msg("%s, tier %s: %u passed", rows[i].rule, fields, passed);
        testbed_stop(&bed);
    }
}

static void a_rule_before_identity_counts_bad_credentials(void **state)
{
    struct testbed bed;
    start_with_identity(&bed, "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: test-identify }] }]\n"
                              "rateLimits: [{ name: early, limit: 2, window: 600, key: ip, beforeIdentity: true },\n"
                              "  { name: late, limit: 1, window: 600, key: ip }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 401);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 401);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", "X-Test-Client: x\r\n"), 429);
    assert_int_equal(decisions("late", LIMIT_DECISION_PASSED), 0);
    testbed_stop(&bed);
}

/* --- concurrency, queue, throttle --- */

static void begin_asking(struct testbed *bed, struct client *client)
{
    memset(client, 0, sizeof *client);
    client_ask(bed, client, "GET /a", NULL, NULL);
    testbed_run(bed);
}

static void places_come_back_when_requests_end(void **state)
{
    struct testbed bed;
    struct client clients[3];
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, limit: 2, key: global, algorithm: concurrency }");
    bed.service.status = 0;
    for (unsigned i = 0; i < 2; i++) begin_asking(&bed, &clients[i]);
    assert_int_equal(ask_from(&bed, &clients[2], "192.0.2.1", "GET /a", NULL), 429);
    assert_header(&clients[2], "Retry-After", "1");
    assert_header(&clients[2], "RateLimit-Policy", "\"a/rate-limit\";q=2;qu=\"concurrent-requests\"");
    client_release(&clients[2]);
    client_leave(&clients[0]);
    testbed_run(&bed);
    begin_asking(&bed, &clients[2]);
    assert_int_equal(clients[2].status, 0);
    for (unsigned i = 0; i < 3; i++) {
        if (i > 0) client_leave(&clients[i]);
        testbed_run(&bed);
        client_release(&clients[i]);
    }
    bed.service.status = 200;
    for (unsigned i = 0; i < 10; i++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

/* A place that another rule's refusal gave back, too. */
static void a_refused_request_has_no_place(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n"
                        "rateLimits: [{ name: places, limit: 1, key: global, algorithm: concurrency },\n"
                        "  { name: address, limit: 1, window: 600, key: ip }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
    assert_int_equal(decisions("places", LIMIT_DECISION_REFUSED), 0);
    assert_int_equal(status_of(&bed, "192.0.2.2", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

static bool is_answered(struct client *client) { return client->status != 0; }

static void run_until_answered(struct testbed *bed, struct client *client)
{
    for (int i = 0; i < 500 && !is_answered(client); i++) loop_turn(&bed->loop, 10);
    testbed_run(bed);
}

static void a_throttled_request_waits_for_its_turn(void **state)
{
    struct testbed bed;
    struct client clients[4];
    testbed_start_filtered(
        &bed, "/a", "{ type: rate-limit, limit: 20, window: 1, key: global, action: throttle, queueMaxLength: 2 }");
    uint64_t begun_ms = bed.loop.now_ms;
    for (unsigned i = 0; i < 4; i++) begin_asking(&bed, &clients[i]);
    assert_int_equal(clients[0].status, 200);
    assert_int_equal(clients[1].status, 0);
    assert_int_equal(clients[2].status, 0);
    assert_int_equal(clients[3].status, 429);
    assert_int_equal(limit_counters_waiting(counters), 2);
    run_until_answered(&bed, &clients[1]);
    assert_true(bed.loop.now_ms - begun_ms >= 49);
    run_until_answered(&bed, &clients[2]);
    assert_true(bed.loop.now_ms - begun_ms >= 99);
    assert_int_equal(limit_counters_waiting(counters), 0);
    assert_int_equal(decisions("a/rate-limit", LIMIT_DECISION_QUEUED), 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(clients[i].status, i < 3 ? 200 : 429);
        client_release(&clients[i]);
    }
    testbed_stop(&bed);
}

static void who_leaves_the_queue_gives_the_place_back(void **state)
{
    struct testbed bed;
    struct client first, waiting, refused;
    testbed_start_filtered(
        &bed, "/a",
        "{ type: rate-limit, limit: 1, window: 10, key: global, action: queue, queueMaxWaitMs: 20000, queueMaxLength: 1 }");
    begin_asking(&bed, &first);
    assert_int_equal(first.status, 200);
    for (unsigned i = 0; i < 3; i++) {
        begin_asking(&bed, &waiting);
        assert_int_equal(waiting.status, 0);
        begin_asking(&bed, &refused);
        assert_int_equal(refused.status, 429);
        client_release(&refused);
        client_leave(&waiting);
        testbed_run(&bed);
        client_release(&waiting);
        assert_int_equal(limit_counters_waiting(counters), 0);
    }
    client_release(&first);
    testbed_stop(&bed);
}

/* In the order in which they came, so that somebody stands behind each but the last. */
static void a_queue_that_all_have_left_is_as_if_nobody_had_come(void **state)
{
    struct testbed bed;
    struct client first, waiting[5], refused;
    testbed_start_filtered(
        &bed, "/a",
        "{ type: rate-limit, limit: 1, window: 5, key: global, action: queue, queueMaxWaitMs: 60000, queueMaxLength: 5 }");
    begin_asking(&bed, &first);
    assert_int_equal(first.status, 200);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 5; i++) {
            begin_asking(&bed, &waiting[i]);
            assert_int_equal(waiting[i].status, 0);
        }
        begin_asking(&bed, &refused);
        assert_int_equal(refused.status, 429);
        client_release(&refused);
        for (unsigned i = 0; i < 5; i++) {
            client_leave(&waiting[i]);
            testbed_run(&bed);
            client_release(&waiting[i]);
        }
    }
    client_release(&first);
    testbed_stop(&bed);
}

/* Also where each rule is looked at before it is taken of. */
static void who_leaves_several_queues_gives_back_no_more_than_the_place(void **state)
{
    struct testbed bed;
    struct client first, staying, leaving, next;
    testbed_start(&bed,
                  "routes: [{ name: a, path: /a, serviceId: one }]\n"
                  "rateLimits: [{ name: r, limit: 1, window: 1, key: global, action: queue, queueMaxWaitMs: 60000 },"
                  " { name: s, limit: 1, window: 1, key: ip, action: queue, queueMaxWaitMs: 60000 }]\n");
    begin_asking(&bed, &first);
    assert_int_equal(first.status, 200);
    begin_asking(&bed, &staying);
    begin_asking(&bed, &leaving);
    client_leave(&leaving);
    testbed_run(&bed);
    client_release(&leaving);
    begin_asking(&bed, &next);
    assert_int_equal(staying.status, 0);
    assert_int_equal(next.status, 0);
    run_until_answered(&bed, &staying);
    assert_int_equal(staying.status, 200);
    assert_int_equal(next.status, 0);
    client_leave(&next);
    testbed_run(&bed);
    client_release(&next);
    client_release(&staying);
    client_release(&first);
    testbed_stop(&bed);
}

/* The answer has to be there in 100 ms, so nobody is made to wait for ten seconds. */
static void nobody_waits_beyond_the_routes_timeout(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one, timeoutMs: 100, filters: [{ type: rate-limit,\n"
                        "  limit: 1, window: 10, key: global, action: queue, queueMaxWaitMs: 20000 }] }]\n");
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    assert_int_equal(ask_from(&bed, &client, "192.0.2.1", "GET /a", NULL), 429);
    assert_in_range(header_number(&client, "Retry-After"), 9, 10);
    client_release(&client);
    testbed_stop(&bed);
}

/* --- a limiter that is late --- */

static struct {
    struct limiter limiter;
    struct limiter_call *calls[4];
    unsigned count, cancelled, refunded;
} late;

static enum limiter_answer late_take(struct limiter *limiter, struct limiter_call *call)
{
    late.calls[late.count++ % COUNT_OF(late.calls)] = call;
    return LIMITER_LATER;
}

static void late_cancel(struct limiter *limiter, struct limiter_call *call) { late.cancelled++; }

static void late_refund(struct limiter *limiter, struct limiter_call *call, uint64_t now_ns) { late.refunded++; }

static void answer_late(struct testbed *bed, unsigned at, enum limit_verdict verdict)
{
    late.calls[at]->outcome = (struct limit_outcome){ .verdict = verdict, .remaining = 3, .wait_ns = 1500000000 };
    late.calls[at]->ready(late.calls[at]);
    testbed_run(bed);
}

static void start_late(struct testbed *bed, const char *text)
{
    memset(&late, 0, sizeof late);
    late.limiter = (struct limiter){ .take = late_take, .cancel = late_cancel, .refund = late_refund };
    counters->limiter = &late.limiter;
    testbed_start(bed, text);
}

static void stop_late(struct testbed *bed)
{
    testbed_stop(bed);
    counters->limiter = &counters->local.limiter;
}

#define TWO_RULES                                                        \
    "routes: [{ name: a, path: /a, serviceId: one }]\n"                  \
    "rateLimits: [{ name: first, limit: 9, window: 60, key: global },\n" \
    "  { name: second, limit: 9, window: 60, key: ip }]\n"

static void a_limiter_may_answer_later(void **state)
{
    struct testbed bed;
    struct client client;
    start_late(&bed, TWO_RULES);
    begin_asking(&bed, &client);
    assert_int_equal(late.count, 1);
    answer_late(&bed, 0, LIMIT_PASS);
    assert_int_equal(late.count, 2);
    assert_int_equal(client.status, 0);
    answer_late(&bed, 1, LIMIT_PASS);
    assert_int_equal(client.status, 200);
    assert_header(&client, "X-RateLimit-Remaining", "3");
    client_release(&client);
    assert_int_equal(late.refunded + late.cancelled, 0);
    stop_late(&bed);
}

static void a_late_refusal_gives_back_what_others_gave(void **state)
{
    struct testbed bed;
    struct client client;
    start_late(&bed, TWO_RULES);
    begin_asking(&bed, &client);
    answer_late(&bed, 0, LIMIT_PASS);
    answer_late(&bed, 1, LIMIT_REFUSE);
    assert_int_equal(client.status, 429);
    assert_header(&client, "Retry-After", "2");
    assert_non_null(strstr(client.body, "\"rule\":\"second\""));
    assert_int_equal(late.refunded, 1);
    client_release(&client);
    stop_late(&bed);
}

static void a_limiter_that_never_answers_keeps_nobody_out(void **state)
{
    struct testbed bed;
    struct client client;
    start_late(&bed, TWO_RULES);
    begin_asking(&bed, &client);
    run_until_answered(&bed, &client);
    assert_int_equal(client.status, 200);
    assert_int_equal(late.cancelled, 2);
    assert_int_equal(decisions("first", LIMIT_DECISION_UNANSWERED), 1);
    assert_int_equal(decisions("first", LIMIT_DECISION_PASSED), 0);
    client_release(&client);
    stop_late(&bed);
}

static void who_leaves_cancels_what_was_asked(void **state)
{
    struct testbed bed;
    struct client client;
    start_late(&bed, TWO_RULES);
    begin_asking(&bed, &client);
    answer_late(&bed, 0, LIMIT_PASS);
    client_leave(&client);
    testbed_run(&bed);
    assert_int_equal(late.cancelled, 1);
    assert_int_equal(late.refunded, 1);
    client_release(&client);
    stop_late(&bed);
}

/* --- changes --- */

static void counters_survive_a_reload(void **state)
{
    static const char before[] = "routes: [{ name: a, path: /a, serviceId: one }]\n"
                                 "rateLimits: [{ name: r, limit: 3, window: 600, key: global }]\n";
    static const char after[] = "routes: [{ name: a, path: /a, serviceId: one, timeoutMs: 5000 }]\n"
                                "rateLimits: [{ name: r, limit: 2, window: 600, key: global, action: queue,\n"
                                "  queueMaxWaitMs: 1 }]\n";
    static const char other[] = "routes: [{ name: a, path: /a, serviceId: one }]\n"
                                "rateLimits: [{ name: r, limit: 2, window: 601, key: global }]\n";
    struct testbed bed;
    testbed_start(&bed, before);
    for (unsigned i = 0; i < 2; i++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    testbed_reload(&bed, before);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
    testbed_reload(&bed, after);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
    assert_int_equal(decisions("r", LIMIT_DECISION_REFUSED), 2);
    /* Another window gives the numbers another meaning: from the start. */
    testbed_reload(&bed, other);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

/* A rule, a filter, a plugin and its route without a name are known by where they stand: whoever raises a limit, or changes what else there is
 * of the route, hands nobody a fresh budget. */
static void counters_of_what_has_no_name_survive_a_change_of_amounts(void **state)
{
    static const struct {
        const char *before, *after;
        bool survives;
    } rows[] = {
#define RULE(fields) "routes: [{ name: a, path: /a, serviceId: one }]\nrateLimits: [" fields "]\n"
#define FILTER(fields) "routes: [{ path: /a, serviceId: one, filters: [" fields "] }]\n"
#define PLUGIN(fields) "routes: [{ path: /a, serviceId: one }]\nplugins: [{ name: rate-limit, config: {" fields "} }]\n"
        { RULE("{ limit: 2, window: 600, key: ip }"),
          RULE("{ limit: 1, window: 600, key: ip, burst: 2, cost: 2, tags: [x], action: queue, queueMaxWaitMs: 1 }"),
          true },
        { RULE("{ limit: 9, window: 6, key: ip }, { limit: 2, window: 600, key: ip }"),
          RULE("{ limit: 1, window: 600, key: ip }, { limit: 8, window: 6, key: ip }"), true },
        { RULE("{ routeId: a, limit: 2, window: 600 }"), RULE("{ routeId: a, limit: 1, window: 600 }"), true },
        { RULE("{ limit: 9, window: 600, key: ip, shadow: true }, { limit: 2, window: 600, key: ip }"),
          RULE("{ limit: 7, window: 600, key: ip, shadow: true }, { limit: 1, window: 600, key: ip }"), true },
        { RULE(
              "{ limit: 9, window: 600 }, { limit: 8, window: 600 }, { limit: 7, window: 600 }, { limit: 2, window: 600 }"),
          RULE(
              "{ limit: 9, window: 600 }, { limit: 9, window: 600 }, { limit: 9, window: 600 }, { limit: 1, window: 600 }"),
          true },
        { RULE("{ limit: 2, window: 600, key: ip }"), RULE("{ limit: 1, window: 601, key: ip }"), false },
        { RULE("{ limit: 2, window: 600, key: ip }"), RULE("{ limit: 1, window: 600, key: global }"), false },
        { RULE("{ limit: 2, window: 600, key: ip }"), RULE("{ serviceId: one, limit: 1, window: 600, key: ip }"),
          false },
        { FILTER("{ type: rate-limit, limit: 2, window: 600, key: ip }"),
          FILTER("{ type: rate-limit, limit: 1, window: 600, key: ip }, { type: add-header, name: X-A, value: b }"),
          true },
        { PLUGIN("limit: 2, window: 600, key: ip"), PLUGIN("limit: 1, window: 600, key: ip"), true },
#undef RULE
#undef FILTER
#undef PLUGIN
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        testbed_start(&bed, rows[i].before);
        for (unsigned j = 0; j < 2; j++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
        testbed_reload(&bed, rows[i].after);
        unsigned status = status_of(&bed, "192.0.2.1", "GET /a", NULL);
        if (status != (rows[i].survives ? 429 : 200)) fail_msg("%s%u", rows[i].after, status);
        testbed_stop(&bed);
        end(state), begin(state); /* rows stand in one place */
    }
}

/* Where something that still waits keeps the old rule, too. */
static void a_rule_that_was_away_meanwhile_begins_anew(void **state)
{
    static const struct {
        const char *rule, *meanwhile;
    } rows[] = {
#define RULE(fields) "routes: [{ name: a, path: /a, serviceId: one }]\nrateLimits: [{ name: r, limit: 2, " fields "}]\n"
#define FILTERS(filters) "routes: [{ name: a, path: /a, serviceId: one, filters: [" filters "] }]\n"
        { RULE("window: 600, key: ip"), RULE("window: 600, key: ip, enabled: false") },
        { RULE("window: 600, key: ip, algorithm: sliding_window"), FILTERS("") },
        { RULE("window: 600, key: global, algorithm: fixed_window"),
          RULE("window: 600, key: global, algorithm: gcra") },
        { RULE("window: 600, key: ip, action: queue, queueMaxWaitMs: 1"), RULE("window: 601, key: ip") },
        { RULE("window: 600, key: ip"), "routes: [{ name: b, path: /b, serviceId: one }]\n" },
        { FILTERS("{ type: rate-limit, limit: 2, window: 600, key: ip }"), FILTERS("") },
#undef RULE
#undef FILTERS
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        testbed_start(&bed, rows[i].rule);
        bed.service.status = 0;
        begin_asking(&bed, &client);
        bed.service.status = 200;
        (void)status_of(&bed, "192.0.2.1", "GET /a", NULL);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
        testbed_reload(&bed, rows[i].meanwhile);
        testbed_reload(&bed, rows[i].rule);
        for (unsigned j = 0; j < 2; j++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
        testbed_reload(&bed, rows[i].rule);
        assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
        client_leave(&client);
        testbed_run(&bed);
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* Who is on the way through a change gives back where it took. */
static void places_outlive_a_change_of_rules(void **state)
{
    static const char limited[] = "routes: [{ name: a, path: /a, serviceId: one }]\n"
                                  "rateLimits: [{ name: r, limit: 1, key: global, algorithm: concurrency }]\n";
    struct testbed bed;
    struct client client;
    testbed_start(&bed, limited);
    bed.service.status = 0;
    begin_asking(&bed, &client);
    testbed_reload(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n");
    testbed_reload(&bed, limited);
    bed.service.status = 200;
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 429);
    client_leave(&client);
    testbed_run(&bed);
    client_release(&client);
    assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

static void without_counters_nothing_is_limited(void **state)
{
    struct testbed bed;
    testbed_surroundings.limits = NULL;
    testbed_start_filtered(&bed, "/a", "{ type: rate-limit, limit: 1, window: 60, key: global }");
    for (unsigned i = 0; i < 3; i++) assert_int_equal(status_of(&bed, "192.0.2.1", "GET /a", NULL), 200);
    testbed_stop(&bed);
}

/* --- explain --- */

static const struct chain_link *limits_of(const struct exchange *exchange)
{
    const struct chain *chain = exchange->route->chain;
    for (uint32_t i = 0; i < chain->count; i++) {
        if (chain->links[i].filter == &filter_rate_limit) return &chain->links[i];
    }
    return NULL;
}

static void explain_says_what_would_be_and_takes_nothing(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes: [{ name: a, path: /a, serviceId: one }]\n"
                        "rateLimits: [{ name: wide, limit: 9, window: 600, key: global },\n"
                        "  { name: narrow, limit: 1, window: 600, key: ip },\n"
                        "  { name: ghost, limit: 1, window: 600, key: ip, shadow: true },\n"
                        "  { name: slow, limit: 1, window: 1, key: ip, action: throttle, queueMaxWaitMs: 5000 }]\n");
    bed.service.status = 0;
    begin_asking(&bed, &client);
    struct exchange *exchange = CONTAINER_OF(bed.worker.exchanges.next, struct exchange, link);
    const struct chain_link *link = limits_of(exchange);
    for (unsigned i = 0; i < 3; i++) {
        struct explanation explanation = { .arena = exchange->arena };
        link->filter->explain(exchange, link->compiled, &explanation);
        assert_int_equal(explanation.count, 4);
        assert_slice_is(explanation.lines[0], "rate limit \"wide\" lets it pass: it costs 1 and leaves 7 of 9");
        assert_slice_is(explanation.lines[1], "rate limit \"narrow\" refuses it: it costs 1, and 0 of 1 are left");
        assert_slice_is(explanation.lines[2],
                        "rate limit \"ghost\" (it counts only) refuses it: it costs 1, and 0 of 1 are left");
        assert_true(slice_starts_with(explanation.lines[3], SLICE("rate limit \"slow\" lets it wait for its turn: ")));
    }
    client_leave(&client);
    testbed_run(&bed);
    client_release(&client);
    testbed_stop(&bed);
}

/* --- loading --- */

static const struct {
    const char *filter, *words;
} refused[] = {
    { "limit: 1", "missing" },
    { "limit: 0, window: 1", "limit" },
    { "limit: 1, window: 60, algorithm: concurrency", "has no window" },
    { "limit: 1, window: 60, algorithm: fixed_window, burst: 3", "has no burst" },
    { "limit: 1, window: 31622400, burst: 5", "four years" },
    { "limit: 1, window: 60, algorithm: sliding_window, action: queue", "has no queue" },
    { "limit: 1, algorithm: concurrency, action: queue", "has no queue" },
    { "limit: 1, window: 60, algorithm: fixed_window, action: throttle", "has no pace" },
    { "limit: 5, window: 60, cost: 6", "no request could ever pass" },
    { "limit: 5, window: 60, cost: 4, tierLimits: { free: 3 }", "no request could ever pass" },
    { "limit: 5, window: 60, cost: 2, action: throttle", "no request could ever pass" },
    { "limit: 6, window: 60, burst: 6, cost: 4, tierLimits: { free: 3 }", "no request could ever pass" },
    { "limit: 5, window: 60, key: client_id, beforeIdentity: true", "before identity nobody knows" },
    { "limit: 5, window: 60, key: ip, beforeIdentity: true, tierLimits: { free: 3 }", "tier" },
    { "limit: 5, window: 60, key: '${auth.claims.sub}', beforeIdentity: true", "before identity nobody knows" },
    { "limit: 5, window: 60, key: '${request.method}-${auth.method}', beforeIdentity: true", "before identity nobody" },
    { "limit: 5, window: 60, key: ip, cost: '${size(auth.scopes)}', beforeIdentity: true", "before identity nobody" },
    { "limit: 5, window: 60, key: '${path.other}'", "other" },
    { "limit: 5, window: 60, cost: '${'", "" },
    { "limit: 5, window: 60, key: tenant", "key" },
    { "limit: 5, window: 60, routeId: a", "unknown field \"routeId\"" },
};

static void what_can_not_be_is_refused_with_words(void **state)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        char filter[256];
        snprintf(filter, sizeof filter, "{ type: rate-limit, %s }", refused[i].filter);
        testbed_refuses_filter(filter, refused[i].words);
    }
}

/* It would never be there, and everybody would count by his address. */
static void a_header_that_is_taken_off_before_is_no_key(void **state)
{
    static const struct {
        const char *filters, *words; /* NULL: good */
    } rows[] = {
        { "{ type: api-key }, { type: rate-limit, limit: 5, window: 60, key: 'header:x-api-key' }",
          "the policy \"api-key\" takes the header \"x-api-key\" off before this limit counts" },
        { "{ type: rate-limit, limit: 5, window: 60, key: 'header:X-Key' }, { type: api-key, headers: [X-A, X-KEY] }",
          "key: api_key" },
        { "{ type: jwt-auth, secret: 0123456789abcdef0123456789abcdef }, "
          "{ type: rate-limit, limit: 5, window: 60, key: 'header:Authorization' }",
          "key: user_id or client_id" },
        { "{ type: jwt-auth, secret: 0123456789abcdef0123456789abcdef, sources: [bearer, 'header:X-Token'] }, "
          "{ type: rate-limit, limit: 5, window: 60, key: 'header:X-Token' }",
          "the policy \"jwt-auth\" takes" },
        { "{ type: api-key }, { type: rate-limit, limit: 5, window: 60, key: 'header:X-API-Key', beforeIdentity: true }",
          NULL },
        { "{ type: api-key, forwardCredentials: true }, "
          "{ type: rate-limit, limit: 5, window: 60, key: 'header:X-API-Key' }",
          NULL },
        { "{ type: api-key }, { type: rate-limit, limit: 5, window: 60, key: 'header:X-Tenant' }", NULL },
        { "{ type: rate-limit, limit: 5, window: 60, key: 'header:X-API-Key' }", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].words) {
            testbed_refuses_filter(rows[i].filters, rows[i].words);
            continue;
        }
        struct testbed bed;
        testbed_start_filtered(&bed, "/a", rows[i].filters);
        testbed_stop(&bed);
    }
}

static void a_filters_fields_are_a_rules_without_the_resources_own(void **state)
{
    const struct field *field = filter_rate_limit.fields;
    assert_string_equal(field->name, "name");
    for (; field->name; field++) {
        assert_string_not_equal(field->name, "id");
        assert_string_not_equal(field->name, "routeId");
        assert_string_not_equal(field->name, "enabled");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(requests_beyond_the_limit_are_refused),
        TEST(a_services_own_headers_give_way),
        TEST(answers_speak_of_the_rule_with_the_least_share_left),
        TEST(a_name_is_quoted_where_it_is_told),
        TEST(a_rule_limits_a_route_a_service_or_all),
        TEST(plugins_and_filters_add_up_with_rules),
        TEST(nothing_is_spent_where_a_later_rule_refuses),
        TEST(a_shadow_counts_and_refuses_nothing),
        TEST(addresses_of_one_ipv6_network_are_one),
        TEST(a_request_without_the_value_counts_by_its_address),
        TEST(routes_are_counted_apart),
        TEST(expressions_are_keys_and_costs),
        TEST(a_negative_cost_counts_as_one),
        TEST(a_cost_that_meets_a_bound_counts_as_the_highest),
        TEST(a_cost_for_which_memory_is_short_is_503),
        TEST(a_cost_beyond_the_limit_is_told_that_it_can_never_pass),
        TEST(callers_are_told_apart_by_who_they_are),
        TEST(namesakes_of_other_issuers_count_by_themselves),
        TEST(a_tier_has_its_own_limit),
        TEST(a_tiers_burst_is_in_proportion_to_its_limit),
        TEST(a_rule_before_identity_counts_bad_credentials),
        TEST(places_come_back_when_requests_end),
        TEST(a_refused_request_has_no_place),
        TEST(a_throttled_request_waits_for_its_turn),
        TEST(who_leaves_the_queue_gives_the_place_back),
        TEST(a_queue_that_all_have_left_is_as_if_nobody_had_come),
        TEST(who_leaves_several_queues_gives_back_no_more_than_the_place),
        TEST(nobody_waits_beyond_the_routes_timeout),
        TEST(a_limiter_may_answer_later),
        TEST(a_late_refusal_gives_back_what_others_gave),
        TEST(a_limiter_that_never_answers_keeps_nobody_out),
        TEST(who_leaves_cancels_what_was_asked),
        TEST(counters_survive_a_reload),
        TEST(counters_of_what_has_no_name_survive_a_change_of_amounts),
        TEST(a_rule_that_was_away_meanwhile_begins_anew),
        TEST(places_outlive_a_change_of_rules),
        TEST(explain_says_what_would_be_and_takes_nothing),
        TEST(without_counters_nothing_is_limited),
        TEST(what_can_not_be_is_refused_with_words),
        TEST(a_header_that_is_taken_off_before_is_no_key),
        TEST(a_filters_fields_are_a_rules_without_the_resources_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
