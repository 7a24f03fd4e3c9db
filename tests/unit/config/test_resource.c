/* One resource by itself: read from what somebody wrote, written as a document, read again. */
#include "config/kinds.h"
#include "config/resource.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

struct trial {
    struct arena arena;
    struct problems problems;
    struct schema_reading reading;
    struct resource resource;
    bool ok;
};

static void begin(struct trial *trial)
{
    *trial = (struct trial){ 0 };
    arena_init(&trial->arena, NULL);
    problems_init(&trial->problems, NULL);
    trial->reading = (struct schema_reading){
        .arena = &trial->arena, .problems = &trial->problems, .kinds = &test_kinds, .folder = "/etc/sluice"
    };
}

static void end(struct trial *trial)
{
    arena_release(&trial->arena);
    problems_release(&trial->problems);
}

#define NEW_ID SLICE("00000000-0000-4000-8000-000000000001")

static void read_with(struct trial *trial, enum resource_kind kind, const char *text,
                      const struct resource_directory *directory)
{
    begin(trial);
    struct node *root = node_read_json(&trial->arena, slice_from_cstring(text), NULL, &trial->problems);
    assert_non_null(root);
    trial->ok = resource_read(&trial->reading, kind, root, NEW_ID, directory, &trial->resource);
}

static void read_one(struct trial *trial, enum resource_kind kind, const char *text)
{
    read_with(trial, kind, text, NULL);
    if (trial->ok) return;
    char *told = problems_to_text(&trial->problems);
    print_error("%s\n%s", text, told);
    free(told);
    fail();
}

static void expect_document(enum resource_kind kind, const char *text, const char *document)
{
    struct trial trial;
    read_one(&trial, kind, text);
    assert_string_equal(resource_write_document(&trial.reading, &trial.resource).at, document);
    end(&trial);
}

static void expect_problem(enum resource_kind kind, const char *text, const char *expected)
{
    struct trial trial;
    read_with(&trial, kind, text, NULL);
    char *told = problems_to_text(&trial.problems);
    assert_false(trial.ok);
    assert_string_equal(told, expected);
    free(told);
    end(&trial);
}

/* --- documents --- */

static void a_service_is_written_with_defaults_and_without_short_forms(void **state)
{
    expect_document(
        RESOURCE_SERVICE,
        "{\"instances\":[\"10.0.1.1:8080\",{\"port\":80,\"host\":\"USERS.internal\"}],\"name\":\"users\","
        "\"healthCheck\":{\"path\":\"/health\",\"interval\":0.5,\"expectedStatus\":[200,201,301]}}",
        "{\"name\":\"users\",\"id\":\"00000000-0000-4000-8000-000000000001\","
        "\"instances\":[{\"host\":\"10.0.1.1\",\"port\":8080,\"weight\":100},"
        "{\"host\":\"users.internal\",\"port\":80,\"weight\":100}],\"lbAlgorithm\":\"round_robin\","
        "\"connectTimeoutMs\":2000,\"idleTimeoutMs\":60000,\"connectionsPerInstanceMax\":0,"
        "\"idleConnectionsMax\":64,\"protocol\":\"http\",\"httpVersion\":\"auto\",\"proxyProtocol\":\"none\","
        "\"discoveryType\":\"static\",\"healthCheck\":{\"path\":\"/health\",\"interval\":0.5,\"timeout\":2,"
        "\"healthyThreshold\":2,\"unhealthyThreshold\":3,\"expectedStatus\":[\"200-201\",301]}}");
}

static void a_route_is_written_with_its_filters_kinds(void **state)
{
    expect_document(
        RESOURCE_ROUTE,
        "{\"pathPattern\":\"/a/*\",\"host\":\"Example.com\",\"methods\":\"GET\",\"serviceId\":\"users\","
        "\"createdAt\":\"2026-01-01T00:00:00Z\","
        "\"filters\":[{\"type\":\"set_header\",\"value\":\"\\u0001\\n\\\"x\",\"name\":\"X-A\"}]}",
        "{\"name\":\"00000000-0000-4000-8000-000000000001\",\"id\":\"00000000-0000-4000-8000-000000000001\","
        "\"path\":\"/a/*\",\"host\":\"example.com\",\"methods\":[\"GET\"],\"priority\":0,\"enabled\":true,"
        "\"serviceId\":\"users\",\"stripPrefix\":true,\"preserveHost\":true,\"timeoutMs\":30000,"
        "\"tryTimeoutMs\":0,\"idleTimeoutMs\":60000,\"tunnelIdleTimeoutMs\":3600000,\"retryCount\":1,"
        "\"retryOn\":[\"5xx\",\"reset\",\"connect-failure\"],\"retryBufferBytes\":65536,\"idempotent\":false,"
        "\"filters\":[{\"type\":\"set-header\",\"on\":\"request\",\"priority\":0,\"name\":\"X-A\","
        "\"value\":\"\\u0001\\n\\\"x\"}]}");
}

static void a_plugin_is_written_with_its_kinds_defaults(void **state)
{
    expect_document(RESOURCE_PLUGIN,
                    "{\"name\":\"cors\",\"config\":{\"origins\":\"https://a.example\"},\"tags\":[\"t\"]}",
                    "{\"name\":\"cors\",\"instanceName\":\"00000000-0000-4000-8000-000000000001\","
                    "\"id\":\"00000000-0000-4000-8000-000000000001\",\"config\":{\"origins\":[\"https://a.example\"],"
                    "\"methods\":[\"GET\",\"POST\"],\"maxAge\":600},\"enabled\":true,\"on\":\"request\",\"priority\":0,"
                    "\"tags\":[\"t\"]}");
}

static void a_rate_limit_of_the_mission_is_read(void **state)
{
    expect_document(
        RESOURCE_RATE_LIMIT, "{\"name\":\"default\",\"limit\":1000,\"window\":60,\"key\":\"client_id\"}",
        "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"enabled\":true,\"name\":\"default\",\"key\":\"client_id\","
        "\"algorithm\":\"token_bucket\",\"limit\":1000,\"window\":60,\"action\":\"reject\","
        "\"beforeIdentity\":false,\"cost\":1,\"shadow\":false,\"queueMaxWaitMs\":1000,\"queueMaxLength\":100}");
}

/* --- references --- */

static struct slice find_users(const void *argument, enum resource_kind kind, struct slice wanted)
{
    bool found = kind == RESOURCE_SERVICE && (slice_equal(wanted, SLICE("users")) || slice_equal(wanted, NEW_ID));
    return found ? NEW_ID : SLICE_ABSENT;
}

static const struct resource_directory users_alone = { .find = find_users };

static void references_are_resolved_by_name_and_by_id(void **state)
{
    struct trial trial;
    read_with(&trial, RESOURCE_ROUTE, "{\"path\":\"/a\",\"serviceId\":\"users\"}", &users_alone);
    assert_true(trial.ok);
    assert_int_equal(trial.resource.reference_count, 1);
    assert_int_equal(trial.resource.references[0].kind, RESOURCE_SERVICE);
    assert_true(trial.resource.references[0].by_name);
    assert_true(slice_equal(trial.resource.references[0].id, NEW_ID));
    end(&trial);

    read_with(&trial, RESOURCE_PLUGIN,
              "{\"name\":\"security-headers\",\"services\":[\"00000000-0000-4000-8000-000000000001\",\"users\"]}",
              &users_alone);
    assert_true(trial.ok);
    assert_int_equal(trial.resource.reference_count, 1);
    assert_false(trial.resource.references[0].by_name);
    end(&trial);
}

static void a_reference_that_leads_nowhere_is_a_problem_at_its_place(void **state)
{
    struct trial trial;
    read_with(&trial, RESOURCE_PLUGIN, "{\"name\":\"security-headers\",\"services\":[\"users\",\"user\"]}",
              &users_alone);
    char *told = problems_to_text(&trial.problems);
    assert_string_equal(told, "/services/1: unknown service \"user\" (there is none of this name or id)\n");
    free(told);
    end(&trial);
}

/* --- mistakes --- */

static void problems_point_into_the_resource(void **state)
{
    expect_problem(RESOURCE_SERVICE, "{\"name\":\"a\",\"instances\":[\"1.2.3.4\"]}",
                   "/instances/0: the port is missing: \"1.2.3.4\" (written as host:port)\n");
    expect_problem(RESOURCE_ROUTE, "[]", "a route must be a map of fields\n");
    expect_problem(RESOURCE_API_KEY, "[]", "an API key must be a map of fields\n");
}

static void what_a_rate_limit_may_not_say(void **state)
{
    expect_problem(RESOURCE_RATE_LIMIT, "{}",
                   "/limit: \"limit\" is missing\n/window: \"window\" is missing (in seconds)\n");
    expect_problem(RESOURCE_RATE_LIMIT,
                   "{\"limit\":0,\"window\":0,\"key\":\"header:a b\",\"cost\":-1,\"action\":\"drop\",\"burst\":\"5\"}",
                   "/limit: \"limit\" must be between 1 and 1000000000, not \"0\"\n"
                   "/window: \"window\" must be between 1 and 31622400, not \"0\"\n"
                   "/key: \"key\" must be a header's name behind header:, not \"header:a b\" (as in header:X-Tenant)\n"
                   "/cost: \"cost\" must be between 0 and 1000000, not \"-1\"\n"
                   "/action: \"action\" must be reject, queue or throttle, not \"drop\"\n"
                   "/burst: \"burst\" must be a whole number, not \"5\" (a number stands without quotes)\n");
    expect_problem(
        RESOURCE_RATE_LIMIT, "{\"limit\":1,\"window\":1,\"key\":\"cookie\"}",
        "/key: \"key\" must be client_id, ip, api_key, user_id, route, global, header:NAME or ${expression}, "
        "not \"cookie\"\n");
    expect_problem(RESOURCE_RATE_LIMIT,
                   "{\"limit\":1,\"window\":1,\"algorithm\":\"concurrency\",\"burst\":2,\"routeId\":\"a\","
                   "\"serviceId\":\"b\",\"beforeIdentity\":true}",
                   "/serviceId: a rule limits a route or a service, not both (write two rules)\n"
                   "/window: \"concurrency\" counts requests under way and has no window (take it away)\n"
                   "/burst: \"concurrency\" has no burst (token_bucket and gcra have one)\n"
                   "/beforeIdentity: before identity nobody knows the \"client_id\" (key: ip, header:NAME, route or "
                   "global)\n");
}

/* What reads the enum then (here for a message) reads a name. */
static void an_unknown_name_leaves_no_index_outside_of_its_table(void **state)
{
    expect_problem(
        RESOURCE_RATE_LIMIT, "{\"limit\":1,\"window\":1,\"algorithm\":\"bucket\",\"burst\":2}",
        "/algorithm: \"algorithm\" must be token_bucket, sliding_window, fixed_window, gcra or concurrency, not "
        "\"bucket\"\n");
}

static void concurrency_needs_no_window(void **state)
{
    struct trial trial;
    read_one(&trial, RESOURCE_RATE_LIMIT,
             "{\"limit\":1,\"algorithm\":\"concurrency\",\"routeId\":null,\"key\":\"${auth.claims.sub}\","
             "\"cost\":\"${request.size}\",\"tierLimits\":{\"free\":1}}");
    const struct rate_limit_config *rule = trial.resource.config;
    assert_int_equal(rule->key, RATE_LIMIT_BY_EXPRESSION);
    assert_string_equal(rule->key_text.at, "${auth.claims.sub}");
    assert_string_equal(rule->cost_expression.at, "${request.size}");
    assert_true(slice_is_absent(rule->route_id));
    assert_int_equal(rule->tier_limits.free, 1);
    assert_int_equal(rule->tier_limits.premium, 0);
    end(&trial);
}

static void a_roles_routes_are_references(void **state)
{
    struct trial trial;
    read_with(&trial, RESOURCE_ROLE,
              "{\"name\":\"r\",\"scopes\":\"users:read\",\"permissions\":[{\"routes\":\"a\",\"methods\":\"GET\"},"
              "{\"routes\":[\"a\"]}]}",
              &users_alone);
    char *told = problems_to_text(&trial.problems);
    assert_string_equal(told, "/permissions/0/routes: unknown route \"a\" (there is none of this name or id)\n"
                              "/permissions/1/routes/0: unknown route \"a\" (there is none of this name or id)\n");
    free(told);
    end(&trial);
    expect_problem(RESOURCE_ROLE, "{\"permissions\":[{\"methods\":[],\"paths\":\"a\"}],\"scopes\":[\"a b\"]}",
                   "/permissions/0/methods: \"methods\" must not be empty\n"
                   "/permissions/0/paths: a path begins with \"/\": \"a\" (/users/{id}, /files/* or ~/v[0-9]+/.*)\n"
                   "/scopes/0: not a scope: \"a b\" (one word, like users:read)\n");
}

#define CERTIFICATE "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n"
#define KEY "-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----\\n"

static void certificate_and_key_are_told_apart(void **state)
{
    struct trial trial;
    read_one(&trial, RESOURCE_CERTIFICATE, "{\"certificate\":\"" CERTIFICATE "\",\"key\":\"" KEY "\"}");
    end(&trial);
    expect_problem(
        RESOURCE_CERTIFICATE, "{\"certificate\":\"" KEY "\",\"key\":\"" CERTIFICATE "\"}",
        "/certificate: \"certificate\" must be a certificate in PEM, not a key (-----BEGIN CERTIFICATE----- and "
        "so on, or ${file:PATH})\n"
        "/key: \"key\" must be a private key in PEM (-----BEGIN PRIVATE KEY----- and so on, ${file:PATH} or "
        "${env:NAME})\n");
    expect_problem(RESOURCE_CERTIFICATE,
                   "{\"certificate\":\"" CERTIFICATE
                   "\",\"key\":\"-----BEGIN ENCRYPTED PRIVATE KEY-----\\nMAA=\\n-----END "
                   "ENCRYPTED PRIVATE KEY-----\\n\",\"ocsp\":\"hunter2!\",\"listeners\":[\"a:1\"]}",
                   "/key: \"key\" must be a private key without a passphrase (openssl pkey writes it without one)\n"
                   "/ocsp: \"ocsp\" must be an OCSP response: DER in base64 (base64 -w0 response.der)\n"
                   "/listeners/0: not the address of a listener: \"a:1\" (as the listener's own: 0.0.0.0:8443)\n");
}

static uint64_t expiry(const char *time)
{
    struct trial trial;
    char *text = memory_format("{\"expiresAt\":\"%s\"}", time);
    read_one(&trial, RESOURCE_API_KEY, text);
    uint64_t us = ((const struct api_key_config *)trial.resource.config)->expires_at_us;
    end(&trial);
    free(text);
    return us;
}

static void times_are_read_as_rfc_3339_says(void **state)
{
    assert_int_equal(expiry("1970-01-01T00:00:01Z"), 1000000);
    assert_int_equal(expiry("2000-02-29T23:59:59.123456Z"), 951868799123456);
    assert_int_equal(expiry("2000-03-01t01:59:59.1234567+02:00"), 951868799123456);
    assert_int_equal(expiry("2016-12-31 23:59:60-00:00"), 1483228800000000);
    assert_int_equal(expiry("9999-12-31T23:59:59Z"), 253402300799000000);
    static const char *const wrong[] = { "",
                                         "2030",
                                         "2030-01-31",
                                         "2030-01-31T12:00:00",
                                         "2030-02-30T12:00:00Z",
                                         "2100-02-29T12:00:00Z",
                                         "2030-13-01T12:00:00Z",
                                         "2030-00-01T12:00:00Z",
                                         "2030-01-31T24:00:00Z",
                                         "2030-01-31T12:60:00Z",
                                         "2030-01-31T12:00:00.Z",
                                         "2030-01-31T12:00:00+24:00",
                                         "2030-01-31T12:00:00Zx",
                                         "1969-12-31T23:59:59Z",
                                         "10000-01-01T00:00:00Z",
                                         "2030-1-31T12:00:00Z" };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char *text = memory_format("{\"expiresAt\":\"%s\"}", wrong[i]);
        char *told = memory_format("/expiresAt: \"expiresAt\" must be a time like 2030-01-31T12:00:00Z, not \"%s\"\n",
                                   wrong[i]);
        expect_problem(RESOURCE_API_KEY, text, told);
        free(text);
        free(told);
    }
}

static void what_get_shows_can_be_put(void **state)
{
    expect_document(
        RESOURCE_API_KEY,
        "{\"createdAt\":\"2026-01-01T00:00:00Z\",\"updatedAt\":null,\"lastUsedAt\":{},\"keyPrefix\":\"abcdefgh\","
        "\"clientName\":\"me\",\"expiresAt\":\"2030-01-31T12:00:00.500+00:00\"}",
        "{\"clientName\":\"me\",\"id\":\"00000000-0000-4000-8000-000000000001\",\"keyPrefix\":\"abcdefgh\","
        "\"rateLimitTier\":\"standard\",\"expiresAt\":\"2030-01-31T12:00:00.5Z\",\"enabled\":true}");
}

static void a_name_can_stand_in_a_path(void **state)
{
    static const char *const wrong[] = { ".", "..", "a/b", " a", "a\\n" };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct trial trial;
        char *text = memory_format("{\"name\":\"%s\",\"instances\":[]}", wrong[i]);
        read_with(&trial, RESOURCE_SERVICE, text, NULL);
        assert_false(trial.ok);
        char *told = problems_to_text(&trial.problems);
        assert_non_null(strstr(told, "/name: not fit for a name"));
        free(told);
        free(text);
        end(&trial);
    }
    struct trial trial;
    read_one(&trial, RESOURCE_SERVICE, "{\"name\":\"...\",\"instances\":[]}");
    end(&trial);
}

/* --- patches --- */

static void expect_patched(enum resource_kind kind, const char *text, const char *patch, const char *member)
{
    struct trial trial;
    read_one(&trial, kind, text);
    struct node *change = node_read_json(&trial.arena, slice_from_cstring(patch), NULL, &trial.problems);
    struct node *merged = resource_merge_patch(&trial.arena, kind, &test_kinds, trial.resource.canonical, change);
    if (!resource_read(&trial.reading, kind, merged, SLICE_ABSENT, NULL, &trial.resource)) {
        char *told = problems_to_text(&trial.problems);
        fail_msg("%s", told);
    }
    struct slice document = resource_write_document(&trial.reading, &trial.resource);
    if (!strstr(document.at, member)) print_error("%s\n", document.at);
    assert_non_null(strstr(document.at, member));
    end(&trial);
}

static void a_patch_may_use_a_fields_other_name(void **state)
{
    static const char route[] = "{\"path\":\"/a\",\"respond\":{}}";
    static const char plugin[] = "{\"name\":\"everything\",\"config\":{\"id\":\"a\",\"number\":3}}";
    expect_patched(RESOURCE_ROUTE, route, "{\"pathPattern\":\"/b\",\"enabled\":null}", "\"path\":\"/b\"");
    expect_patched(RESOURCE_ROUTE, route, "{\"path\":\"/c\"}", "\"path\":\"/c\"");
    expect_patched(RESOURCE_PLUGIN, plugin, "{\"config\":{\"identity\":\"b\"}}", "\"id\":\"b\"");
    expect_patched(RESOURCE_PLUGIN, plugin, "{\"config\":{\"identity\":\"b\"}}", "\"number\":3");
}

/* --- hostile bodies --- */

static char *repeated(const char *head, const char *piece, size_t count, const char *tail)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    fputs(head, out);
    for (size_t i = 0; i < count; i++) fprintf(out, piece, i);
    fputs(tail, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Refused by the reader or by the table; in either case with words and bounded. */
static void expect_refused(const char *text, size_t length)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct trial trial;
        begin(&trial);
        struct node *root = node_read_json(&trial.arena, slice_of(text, length), NULL, &trial.problems);
        bool ok = root &&
                  resource_read(&trial.reading, (enum resource_kind)kind, root, NEW_ID, &users_alone, &trial.resource);
        assert_false(ok && trial.problems.count == 0);
        assert_true(trial.problems.count > 0);
        assert_true(trial.problems.list.count <= PROBLEMS_LISTED_MAX + 1);
        end(&trial);
    }
}

static void hostile_bodies_are_refused_with_words(void **state)
{
    static const char *const bodies[] = {
        "",
        "{",
        "null",
        "7",
        "\"x\"",
        "[[[[]]]]",
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"name\":\"\xff\"}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"a\\u0000b\"}",
        "{\"name\":{\"a\":1},\"id\":[1],\"tags\":7,\"enabled\":\"true\"}",
        "{\"id\":\"not-a-uuid\",\"name\":\"a/b\"}",
        "{\"__proto__\":{},\"name\":\"a\"}",
        "{\"\":1}",
        "{\"name\":1e400}",
        "{\"name\":99999999999999999999999}",
        "{\"path\":\"/a\",\"respond\":{\"status\":-1},\"instances\":[{}],\"limit\":1.5}",
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) expect_refused(bodies[i], strlen(bodies[i]));
}

static void deep_and_large_bodies_are_refused_quickly(void **state)
{
    char *bodies[] = {
        repeated("", "[", 100000, ""),
        repeated("", "{\"a\":", 100000, ""),
        repeated("{\"a\":", "[", 62, "]]"),
        repeated("{", "\"unknown%zu\":1,", 50000, "\"x\":1}"),
        repeated("{\"tags\":[", "\"t%zu\",", 50000, "\"x\"]}"),
        repeated("{\"instances\":[", "\"10.0.0.1:%zu\",", 70000, "\"x\"]}"),
        repeated("{\"path\":\"/a\",\"filters\":[", "{\"type\":\"x%zu\"},", 50000, "{}]}"),
        repeated("{\"headers\":{", "\"h%zu\":\"1\",", 50000, "\"x\":\"\"}}"),
        repeated("{\"permissions\":[", "{\"routes\":[\"r%zu\"]},", 50000, "{}]}"),
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        clock_t before = clock();
        expect_refused(bodies[i], strlen(bodies[i]));
        double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
        if (seconds > 10) fail_msg("body %zu took %.1f s", i, seconds);
        if (getenv("SHOW_TIMES")) print_message("body %zu: %.3f s\n", i, seconds);
        free(bodies[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_written_with_defaults_and_without_short_forms),
        cmocka_unit_test(a_route_is_written_with_its_filters_kinds),
        cmocka_unit_test(a_plugin_is_written_with_its_kinds_defaults),
        cmocka_unit_test(a_rate_limit_of_the_mission_is_read),
        cmocka_unit_test(references_are_resolved_by_name_and_by_id),
        cmocka_unit_test(a_reference_that_leads_nowhere_is_a_problem_at_its_place),
        cmocka_unit_test(problems_point_into_the_resource),
        cmocka_unit_test(what_a_rate_limit_may_not_say),
        cmocka_unit_test(an_unknown_name_leaves_no_index_outside_of_its_table),
        cmocka_unit_test(concurrency_needs_no_window),
        cmocka_unit_test(a_roles_routes_are_references),
        cmocka_unit_test(certificate_and_key_are_told_apart),
        cmocka_unit_test(times_are_read_as_rfc_3339_says),
        cmocka_unit_test(what_get_shows_can_be_put),
        cmocka_unit_test(a_name_can_stand_in_a_path),
        cmocka_unit_test(a_patch_may_use_a_fields_other_name),
        cmocka_unit_test(hostile_bodies_are_refused_with_words),
        cmocka_unit_test(deep_and_large_bodies_are_refused_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
