/* Requests and their answers: what is read, what is ordered, and what each outcome is called on the wire. */
#include "admin/testbed.h"

#define SERVICE_A "{\"name\":\"a\",\"instances\":[\"127.0.0.1:9001\"],\"tags\":[\"team-x\",\"blue\"]}"
#define ROUTE_A "{\"name\":\"ra\",\"path\":\"/a\",\"serviceId\":\"a\"}"

static void start_filled(struct admin_testbed *bed)
{
    admin_testbed_start(bed);
    changes_double_put(bed->changes, RESOURCE_SERVICE, SERVICE_A);
    changes_double_put(bed->changes, RESOURCE_SERVICE, "{\"name\":\"b\",\"instances\":[\"127.0.0.1:9002\"]}");
    changes_double_put(bed->changes, RESOURCE_ROUTE, ROUTE_A);
    changes_double_put(bed->changes, RESOURCE_ROUTE,
                       "{\"name\":\"rb\",\"path\":\"/b\",\"serviceId\":\"b\",\"enabled\":false,\"tags\":[\"blue\"]}");
}

/* --- reading --- */

static void a_resource_is_shown_with_its_times_and_etag(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    assert_int_equal(ask(&bed, "GET /admin/services/a", RO, NULL), 200);
    assert_slice_is(client_header(&bed.client, "Content-Type"), "application/json");
    assert_int_equal(client_header(&bed.client, "ETag").length, 34);
    assert_true(answer_has(&bed, "\"name\":\"a\""));
    assert_true(answer_has(&bed, "\"host\":\"127.0.0.1\""));
    assert_true(
        answer_has(&bed, "\"createdAt\":\"2023-11-14T22:13:20.001Z\",\"updatedAt\":\"2023-11-14T22:13:20.001Z\"}\n"));
    char by_id[128], etag[64], fields[256];
    struct slice id = document_string(document_member(slice_from_cstring(bed.client.body), SLICE("id")));
    snprintf(by_id, sizeof by_id, "GET /admin/services/%.*s", SLICE_PRINT(id));
    snprintf(etag, sizeof etag, "%.*s", SLICE_PRINT(client_header(&bed.client, "ETag")));
    snprintf(fields, sizeof fields, RO "If-None-Match: \"x\", %s\r\n", etag);
    assert_int_equal(ask(&bed, by_id, fields, NULL), 304);
    assert_int_equal(bed.client.body_length, 0);
    assert_slice_is(client_header(&bed.client, "ETag"), etag);
    assert_int_equal(ask(&bed, "HEAD /admin/services/a", RO, NULL), 200);
    assert_int_equal(bed.client.body_length, 0);
    admin_testbed_stop(&bed);
}

static void what_is_not_there_is_404_with_words(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    assert_int_equal(ask(&bed, "GET /admin/services/nobody%20%22", RO, NULL), 404);
    assert_slice_is(client_header(&bed.client, "Content-Type"), "application/problem+json");
    assert_true(answer_has(&bed, "there is no service \\\"nobody \\\"\\\"\""));
    assert_true(answer_has(&bed, "\"requestId\":\""));
    assert_int_equal(ask(&bed, "GET /admin/routes/nobody/stats", RO, NULL), 404);
    assert_int_equal(ask(&bed, "GET /admin/revisions/x", RO, NULL), 404);
    admin_testbed_stop(&bed);
}

static unsigned items(const struct admin_testbed *bed)
{
    struct document_walk walk;
    unsigned count = 0;
    struct slice list = document_member(slice_from_cstring(bed->client.body), SLICE("items"));
    assert_true(document_walk_begin(&walk, list));
    while (document_walk_next(&walk)) count++;
    return count;
}

static void lists_are_filtered(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    changes_double_put(bed.changes, RESOURCE_PLUGIN,
                       "{\"name\":\"cors\",\"config\":{\"origins\":[\"*\"]},\"routes\":[\"ra\"]}");
    static const struct {
        const char *line;
        unsigned count;
    } cases[] = {
        { "GET /admin/services", 2 },
        { "GET /admin/services?tag=blue", 1 },
        { "GET /admin/services?tag=blu", 0 },
        { "GET /admin/services?name=b", 1 },
        { "GET /admin/routes?serviceId=a", 1 },
        { "GET /admin/routes?serviceId=nobody", 0 },
        { "GET /admin/routes?enabled=false", 1 },
        { "GET /admin/routes?enabled=true&tag=blue", 0 },
        { "GET /admin/plugins?routeId=ra", 1 },
        { "GET /admin/plugins?routeId=rb", 0 },
        { "GET /admin/plugins?name=cors", 1 },
        { "GET /admin/roles", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (ask(&bed, cases[i].line, RO, NULL) != 200 || items(&bed) != cases[i].count)
            fail_msg("%s: %s", cases[i].line, bed.client.body);
        assert_true(answer_has(&bed, "\"nextCursor\":null}"));
    }
    assert_int_equal(ask(&bed, "GET /admin/services?serviceId=a", RO, NULL), 400);
    assert_true(answer_has(&bed, "there are: limit cursor tag name"));
    assert_int_equal(ask(&bed, "GET /admin/services?cursor=x", RO, NULL), 400);
    assert_int_equal(ask(&bed, "GET /admin/services?cursor=zz.00000000-0000-4000-8000-000000000001", RO, NULL), 400);
    admin_testbed_stop(&bed);
}

/* Whatever comes and goes between the pages, what was there all the time is shown, and once. */
static void pages_hold_while_things_change(void **state)
{
    struct admin_testbed bed;
    char line[256] = "GET /admin/services?limit=3", json[128];
    unsigned seen[20] = { 0 }, pages = 0;
    admin_testbed_start(&bed);
    for (int i = 0; i < 20; i++) {
        snprintf(json, sizeof json, "{\"name\":\"s%d\",\"instances\":[\"127.0.0.1:9001\"]}", i);
        changes_double_put(bed.changes, RESOURCE_SERVICE, json);
    }
    for (;; pages++) {
        assert_true(pages < 20);
        assert_int_equal(ask(&bed, line, RO, NULL), 200);
        struct document_walk walk;
        struct slice whole = slice_from_cstring(bed.client.body);
        assert_true(document_walk_begin(&walk, document_member(whole, SLICE("items"))));
        while (document_walk_next(&walk)) {
            struct slice name = document_string(document_member(walk.value, SLICE("name")));
            uint64_t number;
            if (name.at[0] == 's' && slice_parse_uint64(slice_after(name, 1), &number)) seen[number]++;
        }
        struct slice next = document_string(document_member(whole, SLICE("nextCursor")));
        if (slice_is_absent(next)) break;
        snprintf(line, sizeof line, "GET /admin/services?limit=3&cursor=%.*s", SLICE_PRINT(next));
        if (pages == 2) changes_double_put(bed.changes, RESOURCE_SERVICE, SERVICE_A);
    }
    for (int i = 0; i < 20; i++) assert_int_equal(seen[i], 1);
    assert_int_equal(pages, 6); /* 21 of them, three a page: the seventh is the last */
    admin_testbed_stop(&bed);
}

static void the_whole_configuration_can_be_read(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    assert_int_equal(ask(&bed, "GET /admin/config", RO, NULL), 200);
    struct slice whole = slice_from_cstring(bed.client.body);
    static const char *const lists[] = { "services", "routes", "plugins", "rateLimits", "roles", "certificates" };
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        assert_false(slice_is_absent(document_member(whole, slice_from_cstring(lists[i]))));
    assert_false(answer_has(&bed, "createdAt"));
    assert_true(answer_has(&bed, "\"name\":\"rb\""));
    assert_slice_is(client_header(&bed.client, "ETag"), "\"4\"");
    assert_int_equal(ask(&bed, "GET /admin/config?tag=blue", RO, NULL), 200);
    assert_true(answer_has(&bed, "\"name\":\"a\""));
    assert_true(answer_has(&bed, "\"name\":\"rb\""));
    assert_false(answer_has(&bed, "\"name\":\"ra\""));
    assert_false(answer_has(&bed, "\"name\":\"b\""));
    admin_testbed_stop(&bed);
}

static void secrets_are_not_shown(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    changes_double_put(
        bed.changes, RESOURCE_CERTIFICATE, /* any text is stored; whoever uses it reads it */
        "{\"name\":\"c\",\"certificate\":\"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\","
        "\"key\":\"-----BEGIN PRIVATE KEY-----\\nSECRETSECRET\\n-----END PRIVATE KEY-----\\n\"}");
    static const char *const lines[] = { "GET /admin/certificates", "GET /admin/certificates/c", "GET /admin/config" };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        assert_int_equal(ask(&bed, lines[i], RW, NULL), 200);
        assert_false(answer_has(&bed, "SECRET"));
        assert_true(answer_has(&bed, "{\"$secret\":\"sha256:"));
    }
    admin_testbed_stop(&bed);
}

static void a_service_shows_what_its_checks_say(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    bed.instances = "[{\"host\":\"127.0.0.1\",\"state\":\"down\"}]";
    assert_int_equal(ask(&bed, "GET /admin/services/a", RO "If-None-Match: *\r\n", NULL),
                     200); /* it may have changed */
    assert_true(answer_has(&bed, "\"instanceHealth\":[{\"host\":\"127.0.0.1\",\"state\":\"down\"}]}"));
    assert_int_equal(ask(&bed, "GET /admin/routes/ra", RO, NULL), 200);
    assert_false(answer_has(&bed, "instanceHealth"));
    admin_testbed_stop(&bed);
}

/* --- changing --- */

static void creating_says_where_it_is(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "POST /admin/services?comment=first%20one", RW JSON, SERVICE_A), 201);
    struct slice id = document_string(document_member(slice_from_cstring(bed.client.body), SLICE("id")));
    char location[128];
    snprintf(location, sizeof location, "/admin/services/%.*s", SLICE_PRINT(id));
    assert_slice_is(client_header(&bed.client, "Location"), location);
    assert_int_equal(client_header(&bed.client, "ETag").length, 34);
    assert_slice_is(client_header(&bed.client, "Sluice-Revision"), "1");
    assert_int_equal(bed.changes->action, CHANGE_CREATE);
    assert_string_equal(bed.changes->author, "alice");
    assert_string_equal(bed.changes->source, "192.0.2.1");
    assert_string_equal(bed.changes->comment, "first one");
    assert_string_equal(bed.changes->body, SERVICE_A);
    assert_false(answer_has(&bed, "warnings"));
    admin_testbed_stop(&bed);
}

static void what_was_read_can_be_written_back(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    bed.instances = "[]";
    assert_int_equal(ask(&bed, "GET /admin/services/a", RO, NULL), 200);
    char *body = memory_copy_slice(slice_of(bed.client.body, bed.client.body_length));
    bed.changes->answer = CHANGE_NOTHING;
    assert_int_equal(ask(&bed, "PUT /admin/services/a", RW JSON, body), 200);
    free(body);
    assert_null(strstr(bed.changes->body, "instanceHealth"));
    assert_non_null(strstr(bed.changes->body, "\"name\":\"a\""));
    admin_testbed_stop(&bed);
}

static void each_method_is_an_action(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    static const struct {
        const char *line, *fields, *body;
        enum change_outcome answer;
        enum change_action action;
        unsigned status;
    } cases[] = {
        { "PUT /admin/services/a", RW JSON, SERVICE_A, CHANGE_UPDATED, CHANGE_PUT, 200 },
        { "PUT /admin/services/a", RW JSON, SERVICE_A, CHANGE_CREATED, CHANGE_PUT, 201 },
        { "PATCH /admin/services/a", RW JSON, "{\"tags\":null}", CHANGE_UPDATED, CHANGE_PATCH, 200 },
        { "PATCH /admin/services/a", RW "Content-Type: application/merge-patch+json\r\n", "{}", CHANGE_NOTHING,
          CHANGE_PATCH, 200 },
        { "DELETE /admin/services/a", RW, NULL, CHANGE_DELETED, CHANGE_DELETE, 204 },
        { "PUT /admin/config", RW JSON, "{\"services\":[]}", CHANGE_UPDATED, CHANGE_WHOLE, 200 },
        { "POST /admin/revisions/3/rollback", RW, NULL, CHANGE_UPDATED, CHANGE_ROLLBACK, 200 },
        { "POST /admin/api-keys", RW JSON, "{}", CHANGE_CREATED, CHANGE_CREATE, 201 },
        { "POST /admin/api-keys/x/rotate", RW JSON, "{\"overlap\":60}", CHANGE_CREATED, CHANGE_ROTATE_KEY, 201 },
        { "POST /admin/api-keys/x/rotate", RW, NULL, CHANGE_UPDATED, CHANGE_ROTATE_KEY, 200 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bed.changes->answer = cases[i].answer;
        unsigned status = ask(&bed, cases[i].line, cases[i].fields, cases[i].body);
        if (status != cases[i].status || bed.changes->action != cases[i].action)
            fail_msg("%s: %u, action %d", cases[i].line, status, bed.changes->action);
        assert_int_equal(bed.changes->orders, i + 1);
    }
    admin_testbed_stop(&bed);
}

static void a_new_key_is_shown_once(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "POST /admin/api-keys", RW JSON, "{\"clientName\":\"x\"}"), 201);
    assert_true(answer_has(&bed, "\"key\":\"abcdefghijk\""));
    assert_slice_is(client_header(&bed.client, "Location"), "/admin/api-keys/00000000-0000-4000-8000-000000000001");
    assert_slice_is(client_header(&bed.client, "Cache-Control"), "no-store");
    assert_int_equal(ask(&bed, "GET /admin/api-keys?limit=7&clientId=c&cursor=abc", RW, NULL), 200);
    assert_int_equal(bed.changes->asked.about, QUESTION_API_KEYS);
    assert_int_equal(bed.changes->asked.limit, 7);
    assert_string_equal(bed.changes->cursor, "abc");
    assert_int_equal(ask(&bed, "GET /admin/api-keys/x", RW, NULL), 200);
    assert_slice_is(client_header(&bed.client, "ETag"), "\"00000000000000000000000000000001\"");
    admin_testbed_stop(&bed);
}

static void warnings_say_what_nothing_acts_on(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "POST /admin/rate-limits", RW JSON,
                         "{\"name\":\"default\",\"limit\":1000,\"window\":60,\"key\":\"client_id\"}"),
                     201);
    bool warns = answer_has(&bed,
                            "\"warnings\":[\"it is stored, but this version of Sluice does not act on a rate limit");
    assert_true(warns == !resource_types[RESOURCE_RATE_LIMIT].is_acted_on);
    admin_testbed_stop(&bed);
}

static void preconditions_reach_the_order(void **state)
{
    struct admin_testbed bed;
    char fields[256], etag[64];
    start_filled(&bed);
    ask(&bed, "GET /admin/services/a", RO, NULL);
    snprintf(etag, sizeof etag, "%.*s", SLICE_PRINT(client_header(&bed.client, "ETag")));
    snprintf(fields, sizeof fields, RW JSON "If-Match: \"0123\", %s\r\n", etag);
    bed.changes->answer = CHANGE_UPDATED;
    ask(&bed, "PUT /admin/services/a", fields, SERVICE_A);
    snprintf(fields, sizeof fields, "0123,%.32s", etag + 1);
    assert_string_equal(bed.changes->if_match, fields);
    ask(&bed, "PUT /admin/services/a", RW JSON "If-Match: \"0123\"\r\n", SERVICE_A);
    assert_string_equal(bed.changes->if_match, "0123");
    ask(&bed, "PUT /admin/services/a", RW JSON "If-Match: *\r\n", SERVICE_A);
    assert_string_equal(bed.changes->if_match, "*");
    bed.settings->match_required = true;
    ask(&bed, "PUT /admin/services/a", RW JSON "If-None-Match: *\r\n", SERVICE_A);
    assert_string_equal(bed.changes->if_none_match, "*");
    ask(&bed, "PUT /admin/services/a", RW JSON "If-None-Match: \"0123\"\r\nIf-None-Match: W/\"4567\"\r\n", SERVICE_A);
    assert_string_equal(bed.changes->if_none_match, "0123,4567"); /* all lines, weak ones too */
    ask(&bed, "PUT /admin/services/a", RW JSON "If-Match: \"0123\"\r\nIf-Match: \"4567\", W/\"89\"\r\n", SERVICE_A);
    assert_string_equal(bed.changes->if_match, "0123,4567");
    snprintf(fields, sizeof fields, RO "If-Match: \"x\"\r\nIf-Match: %s\r\n", etag);
    assert_int_equal(ask(&bed, "GET /admin/services/a", fields, NULL), 200);
    assert_int_equal(ask(&bed, "GET /admin/services/a", RO "If-Match: \"x\"\r\n", NULL), 412);
    assert_slice_is(client_header(&bed.client, "ETag"), etag);
    snprintf(fields, sizeof fields, RO "If-None-Match: \"x\"\r\nIf-None-Match: %s\r\n", etag);
    assert_int_equal(ask(&bed, "GET /admin/services/a", fields, NULL), 304);
    assert_true(bed.changes->match_required);
    bed.changes->answer = CHANGE_STALE;
    assert_int_equal(ask(&bed, "PUT /admin/services/a", RW JSON "If-Match: \"0123\"\r\n", SERVICE_A), 412);
    assert_slice_is(client_header(&bed.client, "ETag"), etag);
    admin_testbed_stop(&bed);
}

static void each_outcome_has_its_status_and_words(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    static const struct {
        enum change_outcome answer;
        unsigned status;
        const char *reason;
    } cases[] = {
        { CHANGE_NOT_FOUND, 404, "not-found" },
        { CHANGE_AMBIGUOUS, 409, "ambiguous-name" },
        { CHANGE_NAME_TAKEN, 409, "name-taken" },
        { CHANGE_IN_USE, 409, "in-use" },
        { CHANGE_STALE, 412, "changed-meanwhile" },
        { CHANGE_MATCH_REQUIRED, 428, "match-required" },
        { CHANGE_INVALID, 422, "invalid" },
        { CHANGE_UNREADABLE, 400, "unreadable" },
        { CHANGE_READ_ONLY, 405, "store-is-read-only" },
        { CHANGE_STORE_AWAY, 503, "store-unavailable" },
        { CHANGE_FAILED, 507, "store-full" },
    };
    bed.changes->error = "no room on the disk";
    bed.changes->reason = "store-full";
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char reason[64];
        bed.changes->answer = cases[i].answer;
        snprintf(reason, sizeof reason, "\"reason\":\"%s\"", cases[i].reason);
        unsigned status = ask(&bed, "DELETE /admin/services/a", RW, NULL);
        if (status != cases[i].status || !answer_has(&bed, reason)) fail_msg("%u: %s", status, bed.client.body);
        assert_slice_is(client_header(&bed.client, "Content-Type"), "application/problem+json");
        if (status == 405) assert_slice_is(client_header(&bed.client, "Allow"), "GET, HEAD");
        if (status == 503) assert_slice_is(client_header(&bed.client, "Retry-After"), "1");
        if (status == 409 && cases[i].answer == CHANGE_IN_USE)
            assert_true(answer_has(&bed, "\"users\":[{\"kind\":\"routes\""));
        if (status == 422)
            assert_true(answer_has(
                &bed, "\"errors\":[{\"pointer\":\"\",\"message\":\"it is wrong\",\"hint\":\"put it right\"}]"));
    }
    admin_testbed_stop(&bed);
}

static void all_mistakes_are_told_at_once(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(
        ask(&bed, "POST /admin/services", RW JSON,
            "{\"name\":\"a\",\"instances\":[\"127.0.0.1:99999\"],\"lbAlgoritm\":\"x\",\"connectTimeoutMs\":\"soon\"}"),
        422);
    assert_true(answer_has(&bed, "\"pointer\":\"/instances/0\""));
    assert_true(answer_has(&bed, "\"pointer\":\"/lbAlgoritm\""));
    assert_true(answer_has(&bed, "\"pointer\":\"/connectTimeoutMs\""));
    assert_true(answer_has(&bed, "lbAlgorithm")); /* did you mean */
    admin_testbed_stop(&bed);
}

/* --- bodies --- */

static void bodies_must_be_json_by_their_type(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    static const struct {
        const char *fields;
        unsigned status;
    } cases[] = {
        { RW, 415 }, /* a form's way in */
        { RW "Content-Type: application/x-www-form-urlencoded\r\n", 415 },
        { RW "Content-Type: text/plain\r\n", 415 },
        { RW "Content-Type: application/merge-patch+json\r\n", 415 }, /* not for POST */
        { RW "Content-Type: application/json; charset=latin1\r\n", 415 },
        { RW "Content-Type: application/jsonx\r\n", 415 },
        { RW JSON "Content-Encoding: gzip\r\n", 415 },
        { RW "Content-Type: application/json; charset=UTF-8\r\n", 201 },
        { RW "Content-Type: Application/JSON;charset=\"utf-8\"\r\n", 201 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"name\":\"s%zu\",\"instances\":[\"127.0.0.1:9001\"]}", i);
        if (ask(&bed, "POST /admin/services", cases[i].fields, body) != cases[i].status)
            fail_msg("%s: %u", cases[i].fields, bed.client.status);
    }
    assert_int_equal(ask(&bed, "PATCH /admin/services/a", RW "Content-Type: application/json-patch+json\r\n", "[]"),
                     415);
    assert_slice_is(client_header(&bed.client, "Accept-Patch"), "application/merge-patch+json, application/json");
    assert_int_equal(ask(&bed, "POST /admin/services", RW JSON, NULL), 400);
    assert_int_equal(ask(&bed, "POST /admin/services", RW JSON, ""), 400);
    assert_int_equal(bed.changes->orders, 2);
    admin_testbed_stop(&bed);
}

static void a_body_may_come_in_pieces(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start(&bed);
    client_begin(&bed.bed, &client, "POST /admin/services", RW JSON);
    for (const char *at = SERVICE_A; *at; at++) {
        client_push(&client, at, 1);
        testbed_run(&bed.bed);
    }
    assert_int_equal(bed.changes->orders, 0);
    assert_int_equal(bed.surroundings.body_bytes, strlen(SERVICE_A));
    client_finish(&client);
    testbed_run_until(&bed.bed, &client.released);
    assert_int_equal(client.status, 201);
    client_release(&client);
    admin_testbed_stop(&bed);
}

static void a_body_over_the_limit_is_refused(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    static char piece[32768];
    memset(piece, ' ', sizeof piece);
    admin_testbed_start(&bed);
    client_begin(&bed.bed, &client, "POST /admin/services", RW JSON); /* nothing declared */
    for (int i = 0; i < 400 && !client.released; i++) {               /* never to end: 1 MiB, and 8 more to be polite */
        client_push(&client, piece, sizeof piece);
        testbed_run(&bed.bed);
    }
    testbed_run_until(&bed.bed, &client.released);
    assert_int_equal(client.status, 413);
    assert_non_null(strstr(client.body, "larger than 1 MiB"));
    assert_int_equal(bed.changes->orders, 0);
    client_release(&client);
    admin_testbed_stop(&bed);
}

static void a_body_that_breaks_off_changes_nothing(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start(&bed);
    client_begin(&bed.bed, &client, "POST /admin/services", RW JSON);
    client_push(&client, "{\"name\":", 8);
    testbed_run(&bed.bed);
    client_leave(&client);
    testbed_run(&bed.bed);
    assert_true(client.released);
    assert_int_equal(bed.changes->orders, 0);
    client_release(&client);
    admin_testbed_stop(&bed);
}

/* --- waiting --- */

static void a_client_that_goes_leaves_its_change_to_be_made(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start(&bed);
    bed.changes->holds = true;
    client_ask(&bed.bed, &client, "POST /admin/services", RW JSON, SERVICE_A);
    testbed_run(&bed.bed);
    assert_int_equal(bed.changes->orders, 1);
    client_leave(&client);
    testbed_run(&bed.bed);
    assert_true(client.released);
    assert_int_equal(gauge_read(&bed.bed.worker.waiting), 0);
    changes_double_let_go(bed.changes); /* frees the errand */
    assert_int_equal(catalog_count(bed.changes->catalog, RESOURCE_SERVICE), 1);
    client_release(&client);
    admin_testbed_stop(&bed);
}

/* The limit is one of memory, and a body that waits in line takes it whether or not its client is still there. */
static void a_body_counts_until_its_change_is_through(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start(&bed);
    bed.changes->holds = true;
    client_ask(&bed.bed, &client, "POST /admin/services?dryRun=true", RW JSON, SERVICE_A);
    testbed_run(&bed.bed);
    const struct change_order *order = bed.changes->held_order;
    assert_non_null(order);
    assert_false(order->is_forgotten(order->argument));
    assert_int_equal(bed.surroundings.body_bytes, strlen(SERVICE_A));
    client_leave(&client);
    testbed_run(&bed.bed);
    assert_true(client.released);
    assert_true(order->is_forgotten(order->argument));
    assert_int_equal(bed.surroundings.body_bytes, strlen(SERVICE_A));
    changes_double_let_go(bed.changes);
    assert_int_equal(bed.surroundings.body_bytes, 0);
    client_release(&client);
    admin_testbed_stop(&bed);
}

static void a_client_may_go_when_its_answer_is_on_the_way(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start(&bed);
    bed.changes->holds = true;
    client_ask(&bed.bed, &client, "POST /admin/services", RW JSON, SERVICE_A);
    testbed_run(&bed.bed);
    changes_double_let_go(bed.changes); /* done, its ticket in the mailbox */
    client_leave(&client);
    testbed_run(&bed.bed);
    assert_true(client.released);
    client_release(&client);
    admin_testbed_stop(&bed);
}

/* The change goes on without its request: who made it is told not to repeat it blindly. */
static void a_change_that_takes_too_long_is_504_and_goes_on(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start_patient(&bed, 20);
    bed.changes->holds = true;
    assert_int_equal(ask(&bed, "POST /admin/services", RW JSON, SERVICE_A), 504);
    assert_true(answer_has(&bed, "\"reason\":\"too-late\""));
    assert_true(answer_has(&bed, "look before you repeat it"));
    changes_double_let_go(bed.changes);
    assert_int_equal(catalog_count(bed.changes->catalog, RESOURCE_SERVICE), 1);
    assert_int_equal(ask(&bed, "GET /admin/revisions", RW, NULL), 504);
    changes_double_let_go(bed.changes);
    admin_testbed_stop(&bed);
}

static void a_body_that_does_not_come_is_408(void **state)
{
    struct admin_testbed bed;
    struct client client = { 0 };
    admin_testbed_start_patient(&bed, 20);
    client_begin(&bed.bed, &client, "POST /admin/services", RW JSON);
    client_push(&client, "{\"name\":", 8);
    testbed_run_until(&bed.bed, &client.released);
    assert_int_equal(client.status, 408);
    assert_int_equal(bed.changes->orders, 0);
    client_release(&client);
    admin_testbed_stop(&bed);
}

static void others_are_answered_while_one_waits(void **state)
{
    struct admin_testbed bed;
    struct client waits = { 0 };
    start_filled(&bed);
    bed.changes->holds = true;
    client_ask(&bed.bed, &waits, "POST /admin/services", RW JSON, "{\"name\":\"c\",\"instances\":[\"127.0.0.1:1\"]}");
    assert_int_equal(ask(&bed, "GET /admin/services/a", RO, NULL), 200);
    assert_int_equal(waits.status, 0);
    changes_double_let_go(bed.changes);
    testbed_run_until(&bed.bed, &waits.released);
    assert_int_equal(waits.status, 201);
    client_release(&waits);
    admin_testbed_stop(&bed);
}

/* --- trying --- */

static void a_change_can_be_tried(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    assert_int_equal(
        ask(&bed, "POST /admin/validate", RW JSON,
            "{ \"method\": \"POST\", \"path\": \"/admin/services\", \"body\": {\"name\":\"c\",\"instances\":[\"127.0.0.1:1\"]} }"),
        200);
    assert_true(answer_has(&bed, "{\"valid\":true,\"outcome\":\"created\",\"changes\":["));
    assert_true(bed.changes->dry_run);
    assert_string_equal(bed.changes->body, "{\"name\":\"c\",\"instances\":[\"127.0.0.1:1\"]}");
    assert_int_equal(catalog_count(bed.changes->catalog, RESOURCE_SERVICE), 2);
    bed.changes->answer = CHANGE_DELETED;
    assert_int_equal(ask(&bed, "POST /admin/validate", RW JSON,
                         "{\"method\":\"DELETE\",\"path\":\"/admin/services/a?cascade=true\"}"),
                     200);
    assert_int_equal(bed.changes->action, CHANGE_DELETE);
    assert_string_equal(bed.changes->target, "a");
    assert_true(bed.changes->cascade);
    assert_true(bed.changes->dry_run);
    bed.changes->answer = CHANGE_UPDATED;
    assert_int_equal(ask(&bed, "POST /admin/validate?tag=blue", RW JSON, "{\"services\":[],\"routes\":[]}"), 200);
    assert_int_equal(bed.changes->action, CHANGE_WHOLE);
    assert_string_equal(bed.changes->tag, "blue");
    assert_int_equal(ask(&bed, "PUT /admin/services/a?dryRun=true", RW JSON, SERVICE_A), 200);
    assert_true(bed.changes->dry_run);
    admin_testbed_stop(&bed);
}

static void what_is_no_change_cannot_be_tried(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    static const struct {
        const char *body, *words;
        unsigned status;
    } cases[] = {
        { "{\"method\":\"GET\",\"path\":\"/admin/services\"}", "changes nothing", 422 },
        { "{\"method\":\"POST\"}", "\\\"path\\\" is missing", 422 },
        { "{\"path\":\"/admin/services\"}", "\\\"method\\\" is missing", 422 },
        { "{\"method\":\"POST\",\"path\":\"/admin/services\"}", "\\\"body\\\" is missing", 422 },
        { "{\"method\":\"DELETE\",\"path\":\"/admin/services/a\",\"body\":{}}", "has no body", 422 },
        { "{\"method\":\"POST\",\"path\":\"/admin/nothing\",\"body\":{}}", "no such path", 422 },
        { "{\"method\":\"DELETE\",\"path\":\"/admin/services\"}", "this path takes GET, HEAD, POST", 422 },
        { "{\"method\":\"POST\",\"path\":\"services\",\"body\":{}}", "/admin/routes/users", 422 },
        { "{\"method\":1,\"path\":[],\"bdy\":{}}", "unknown field", 422 },
        { "{\"method\":\"DELETE\",\"path\":\"/admin/services/a?x=1\"}", "unknown query", 422 },
        { "{\"method\":\"POST\",\"path\":\"/admin/validate\",\"body\":{}}", "changes nothing", 422 },
        { "{\"method\":1,", "", 400 },
        { "{\"method\":\"DELETE\",\"method\":\"DELETE\",\"path\":\"/admin/services/a\"}", "", 400 },
        { "{\"path\":\"\xff\"}", "", 400 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned status = ask(&bed, "POST /admin/validate", RW JSON, cases[i].body);
        if (status != cases[i].status || !answer_has(&bed, cases[i].words))
            fail_msg("%s: %u %s", cases[i].body, status, bed.client.body);
    }
    assert_int_equal(bed.changes->orders, 0);
    admin_testbed_stop(&bed);
}

/* --- the state --- */

static void metrics_are_made_while_they_are_taken(void **state)
{
    struct admin_testbed bed;
    struct client slow = { .slow = true };
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "GET /admin/metrics", RO, NULL), 200);
    assert_true(answer_has(&bed, "# TYPE sluice_requests_total counter"));
    assert_int_equal(ask(&bed, "HEAD /admin/metrics", RO, NULL), 200);
    assert_int_equal(bed.client.body_length, 0);
    client_ask(&bed.bed, &slow, "GET /admin/metrics", RO, NULL);
    testbed_run(&bed.bed);
    client_leave(&slow); /* half-way */
    testbed_run(&bed.bed);
    assert_true(slow.released);
    client_release(&slow);
    admin_testbed_stop(&bed);
}

static void ready_means_that_routes_are_in_force(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "GET /ready", NULL, NULL), 200);
    bed.health.is_draining = true;
    assert_int_equal(ask(&bed, "GET /ready", NULL, NULL), 503);
    assert_true(answer_has(&bed, "draining"));
    assert_int_equal(ask(&bed, "GET /live", NULL, NULL), 200);
    bed.health = (struct admin_health){ 0 };
    assert_int_equal(ask(&bed, "HEAD /ready", NULL, NULL), 503);
    assert_int_equal(ask(&bed, "POST /live", NULL, NULL), 401); /* no such endpoint: guarded like all else */
    admin_testbed_stop(&bed);
}

static void health_tells_of_store_workers_and_snapshot(void **state)
{
    struct admin_testbed bed;
    start_filled(&bed);
    assert_int_equal(ask(&bed, "GET /admin/health", RO, NULL), 200);
    assert_true(answer_has(&bed, "{\"status\":\"ok\""));
    assert_true(answer_has(
        &bed, "\"store\":{\"location\":\"sqlite:/var/lib/sluice/sluice.db\",\"available\":true,\"revision\":4"));
    assert_true(answer_has(&bed, "\"workers\":{\"configured\":2,\"alive\":2}"));
    bed.changes->health.store_is_there = false;
    snprintf(bed.changes->health.problem, sizeof bed.changes->health.problem, "connection refused");
    assert_int_equal(ask(&bed, "GET /admin/health", RO, NULL), 200);
    assert_true(answer_has(&bed, "{\"status\":\"degraded\""));
    assert_true(answer_has(&bed, "connection refused"));
    admin_testbed_stop(&bed);
}

static void methods_that_a_path_does_not_take_are_405(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "DELETE /admin/services", RW, NULL), 405);
    assert_slice_is(client_header(&bed.client, "Allow"), "GET, HEAD, POST");
    assert_int_equal(ask(&bed, "BREW /admin/services/a", RW, NULL), 405);
    assert_slice_is(client_header(&bed.client, "Allow"), "GET, HEAD, PUT, PATCH, DELETE");
    assert_int_equal(ask(&bed, "OPTIONS /admin/services", RW, NULL), 204);
    assert_slice_is(client_header(&bed.client, "Allow"), "GET, HEAD, POST");
    assert_int_equal(ask(&bed, "GET /admin", RO, NULL), 200);
    assert_int_equal(ask(&bed, "GET /admin/routes/", RO, NULL), 404);
    assert_true(answer_has(&bed, "leave the slash at the end out"));
    admin_testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resource_is_shown_with_its_times_and_etag),
        cmocka_unit_test(what_is_not_there_is_404_with_words),
        cmocka_unit_test(lists_are_filtered),
        cmocka_unit_test(pages_hold_while_things_change),
        cmocka_unit_test(the_whole_configuration_can_be_read),
        cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(a_service_shows_what_its_checks_say),
        cmocka_unit_test(creating_says_where_it_is),
        cmocka_unit_test(what_was_read_can_be_written_back),
        cmocka_unit_test(each_method_is_an_action),
        cmocka_unit_test(a_new_key_is_shown_once),
        cmocka_unit_test(warnings_say_what_nothing_acts_on),
        cmocka_unit_test(preconditions_reach_the_order),
        cmocka_unit_test(each_outcome_has_its_status_and_words),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(bodies_must_be_json_by_their_type),
        cmocka_unit_test(a_body_may_come_in_pieces),
        cmocka_unit_test(a_body_over_the_limit_is_refused),
        cmocka_unit_test(a_body_that_breaks_off_changes_nothing),
        cmocka_unit_test(a_client_that_goes_leaves_its_change_to_be_made),
        cmocka_unit_test(a_body_counts_until_its_change_is_through),
        cmocka_unit_test(a_client_may_go_when_its_answer_is_on_the_way),
        cmocka_unit_test(a_change_that_takes_too_long_is_504_and_goes_on),
        cmocka_unit_test(a_body_that_does_not_come_is_408),
        cmocka_unit_test(others_are_answered_while_one_waits),
        cmocka_unit_test(a_change_can_be_tried),
        cmocka_unit_test(what_is_no_change_cannot_be_tried),
        cmocka_unit_test(metrics_are_made_while_they_are_taken),
        cmocka_unit_test(ready_means_that_routes_are_in_force),
        cmocka_unit_test(health_tells_of_store_workers_and_snapshot),
        cmocka_unit_test(methods_that_a_path_does_not_take_are_405),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
