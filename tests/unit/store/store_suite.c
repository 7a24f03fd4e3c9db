#include "store/store_suite.h"

#include "base/clock.h"
#include "base/memory.h"
#include "config/kinds.h"

#include <sys/wait.h>
#include <unistd.h>

struct place {
    char *location;
    struct store *store;
};

/* --- for all tests --- */

int suite_set_up(void **state)
{
    struct place *place = memory_allocate(sizeof *place);
    place->location = store_suite_kind.make_place();
    *state = place;
    return 0;
}

int suite_tear_down(void **state)
{
    struct place *place = *state;
    store_close(place->store);
    store_suite_kind.remove_place(place->location);
    free(place->location);
    free(place);
    return 0;
}

struct store *suite_open_again(const char *location, uint32_t timeout_ms)
{
    struct error error = { 0 };
    struct store *store = store_open(&(struct store_settings){ location, timeout_ms }, &error);
    if (!store) print_error("%s: %s\n", error.reason, error.text);
    assert_non_null(store);
    return store;
}

struct store *suite_open(void **state)
{
    struct place *place = *state;
    if (!place->store) place->store = suite_open_again(place->location, 0);
    return place->store;
}

void suite_close(void **state)
{
    struct place *place = *state;
    store_close(place->store);
    place->store = NULL;
}

const char *suite_location(void **state) { return ((struct place *)*state)->location; }

static void must(bool ok, const struct error *error)
{
    if (!ok) print_error("%s: %s\n", error->reason, error->text);
    assert_true(ok);
}

void suite_begin(struct store *store)
{
    struct error error = { 0 };
    uint64_t revision;
    must(store_begin(store, &revision, &error), &error);
}

void suite_put(struct store *store, enum resource_kind kind, const char *id, uint64_t created_us, const char *document)
{
    struct error error = { 0 };
    struct store_row row = { .kind = kind,
                             .id = slice_from_cstring(id),
                             .document = slice_from_cstring(document),
                             .created_us = created_us,
                             .updated_us = created_us + 1 };
    must(store_put(store, &row, &error), &error);
}

uint64_t suite_commit(struct store *store)
{
    struct error error = { 0 };
    struct store_revision revision = { .author = SLICE("ada"), .source = SLICE("127.0.0.1"), .changes = SLICE("[]") };
    must(store_commit(store, &revision, &error), &error);
    return revision.number;
}

uint64_t suite_write(struct store *store, enum resource_kind kind, const char *id, const char *document)
{
    suite_begin(store);
    suite_put(store, kind, id, 1000, document);
    return suite_commit(store);
}

static void keep_document(void *argument, const struct store_row *row)
{
    char **document = argument;
    *document = memory_copy_slice(row->document);
}

char *suite_read(struct store *store, enum resource_kind kind, const char *id)
{
    char *document = NULL;
    struct error error = { 0 };
    bool found;
    struct store_visitor visitor = { keep_document, &document };
    must(store_read_row(store, kind, slice_from_cstring(id), &visitor, &found, &error), &error);
    assert_int_equal(found, document != NULL);
    return document;
}

void suite_expect_error(const struct error *error, const char *reason, const char *part_of_text)
{
    assert_non_null(error->reason);
    if (strcmp(error->reason, reason) != 0 || !strstr(error->text, part_of_text))
        print_error("%s: %s\n", error->reason, error->text);
    assert_string_equal(error->reason, reason);
    assert_non_null(strstr(error->text, part_of_text));
}

static void count_row(void *argument, const struct store_row *row) { ++*(size_t *)argument; }

size_t suite_count_all(struct store *store)
{
    size_t count = 0;
    uint64_t revision;
    struct error error = { 0 };
    struct store_visitor visitor = { count_row, &count };
    must(store_read_all(store, &visitor, &revision, &error), &error);
    return count;
}

static void expect_document(struct store *store, enum resource_kind kind, const char *id, const char *expected)
{
    char *document = suite_read(store, kind, id);
    assert_non_null(document);
    assert_string_equal(document, expected);
    free(document);
}

static void expect_answer(void **state, const char *sql, const char *expected)
{
    char *answer = store_suite_kind.ask(suite_location(state), sql);
    if (!expected) {
        assert_null(answer);
        return;
    }
    assert_non_null(answer);
    assert_string_equal(answer, expected);
    free(answer);
}

static uint64_t head_of(struct store *store)
{
    uint64_t revision;
    struct error error = { 0 };
    must(store_read_head(store, &revision, &error), &error);
    return revision;
}

/* --- documents --- */

#define SERVICE_DOCUMENT(id, name) "{\"name\":\"" name "\",\"id\":\"" id "\",\"instances\":[]}"
#define ROUTE_DOCUMENT(id, name, service) \
    "{\"name\":\"" name "\",\"id\":\"" id "\",\"path\":\"/\",\"serviceId\":\"" service "\"}"

/* As a person writes it, one of each kind, with as many fields as there are columns. */
static const struct {
    enum resource_kind kind;
    const char *written;
} samples[] = {
    { RESOURCE_SERVICE,
      "{\"name\":\"users\",\"instances\":[\"10.0.1.1:8080\",{\"host\":\"u.internal\",\"port\":80}],"
      "\"protocol\":\"https\",\"lbAlgorithm\":\"ip_hash\",\"healthCheck\":{\"path\":\"/h\",\"interval\":0.5},"
      "\"tags\":[\"a\",\"b\"],\"tls\":{\"verify\":false}}" },
    { RESOURCE_ROUTE,
      "{\"name\":\"r \\\"quoted\\\" \\\\ \\u00e9 \\ud83d\\ude00\",\"path\":\"/a/{id}/*\",\"host\":[\"b.org\","
      "\"*.a.org\"],\"methods\":[\"GET\",\"POST\"],\"headers\":{\"X-B\":\"1\",\"X-A\":\"~2.*\"},"
      "\"queryParams\":{\"z\":\"*\",\"a\":\"1\"},\"priority\":-2147483648,\"serviceId\":\"users\","
      "\"timeoutMs\":86400000,\"retryOn\":[],\"enabled\":false,\"stripPrefix\":false,"
      "\"filters\":[{\"type\":\"set_header\",\"name\":\"X\",\"value\":\"${path.id}\"}]}" },
    { RESOURCE_ROUTE,
      "{\"path\":\"/b\",\"respond\":{\"status\":404,\"headers\":{\"X-Z\":\"z\",\"X-A\":\"a\"},\"body\":\"gone\"}}" },
    { RESOURCE_ROUTE, "{\"path\":\"~/c/(?<x>[0-9]+)\",\"redirect\":{\"to\":\"/d\",\"status\":308}}" },
    { RESOURCE_PLUGIN,
      "{\"name\":\"cors\",\"config\":{\"origins\":[\"https://a.example\"]},\"routes\":[\"x\"],\"priority\":7}" },
    { RESOURCE_RATE_LIMIT, "{\"name\":\"default\",\"limit\":1000,\"window\":60,\"key\":\"client_id\",\"burst\":2000}" },
    { RESOURCE_RATE_LIMIT,
      "{\"name\":\"tiers\",\"limit\":5,\"window\":1,\"key\":\"header:X-Tenant\",\"action\":\"queue\","
      "\"tierLimits\":{\"free\":1,\"premium\":100},\"beforeIdentity\":false,\"shadow\":true}" },
    { RESOURCE_ROLE,
      "{\"name\":\"admin\",\"scopes\":[\"a\",\"b\"],\"permissions\":[{\"methods\":[\"GET\"],\"paths\":[\"/a/*\"]}]}" },
};

/* The document that a store gets of what was written. The caller's. */
static char *document_of(enum resource_kind kind, const char *written, const char *id)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct schema_reading reading = {
        .arena = &arena, .problems = &problems, .kinds = &test_kinds, .folder = "/etc/sluice"
    };
    struct resource resource;
    const struct node *root = node_read_json(&arena, slice_from_cstring(written), NULL, &problems);
    bool ok = root && resource_read(&reading, kind, root, slice_from_cstring(id), NULL, &resource);
    if (!ok) {
        char *told = problems_to_text(&problems);
        print_error("%s\n%s", written, told);
        free(told);
    }
    assert_true(ok);
    char *document = memory_copy_slice(resource_write_document(&reading, &resource));
    arena_release(&arena);
    problems_release(&problems);
    return document;
}

static void a_document_of_every_kind_is_read_byte_for_byte_as_it_was_written(void **state)
{
    struct store *store = suite_open(state);
    char *documents[COUNT_OF(samples)], ids[COUNT_OF(samples)][40];
    suite_begin(store);
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        snprintf(ids[i], sizeof ids[i], "00000000-0000-4000-8000-%012zu", i + 1);
        documents[i] = document_of(samples[i].kind, samples[i].written, ids[i]);
        suite_put(store, samples[i].kind, ids[i], 1000 + i, documents[i]);
    }
    assert_int_equal(suite_commit(store), 1);
    suite_close(state);
    store = suite_open(state);
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        expect_document(store, samples[i].kind, ids[i], documents[i]);
        free(documents[i]);
    }
    /* And without falling back on keeping the document whole. */
    static const char *const tables[] = { "services", "routes", "plugins", "rate_limit_rules", "roles" };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE more ->> '$document' IS NOT NULL", tables[i]);
        if (strstr(suite_location(state), "sqlite:"))
            snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE more LIKE '{\"$document%%'", tables[i]);
        expect_answer(state, sql, "0");
    }
    expect_answer(state, "SELECT path_pattern FROM routes WHERE timeout_ms = 86400000", "/a/{id}/*");
    expect_answer(state, "SELECT limit_count FROM rate_limit_rules WHERE key_type = 'header:X-Tenant'", "5");
    expect_answer(state, "SELECT service_name FROM routes WHERE service_id IS NOT NULL", "users");
}

static void documents_that_no_table_foresaw_come_back_as_they_were_too(void **state)
{
    static const char *const odd[] = {
        "{}",
        "{\"id\":\"" STORE_ID("01") "\",\"name\":\"order\",\"path\":\"/\"}",
        "{ \"name\" : \"spaces\" , \"id\" : \"" STORE_ID("01") "\" }",
        "{\"name\":\"\\u0041\",\"id\":\"" STORE_ID("01") "\"}",
        "{\"name\":\"n\\u0000ul\",\"id\":\"" STORE_ID("01") "\"}",
        "{\"name\":null,\"id\":\"" STORE_ID(
            "01") "\",\"priority\":1.0,\"enabled\":\"yes\",\"timeoutMs\":99999999999999999999}",
        "{\"name\":\"n\",\"id\":\"" STORE_ID("01") "\",\"ofTheFuture\":{\"b\":1,\"a\":[1.50,1e2,-0]},\"path\":\"/x\"}",
        "{\"name\":\"'; DROP TABLE routes; --\",\"id\":\"" STORE_ID("01") "\",\"path\":\"/\\\\ $1 ?1 %s\"}",
        "{\"name\":\"n\",\"id\":\"" STORE_ID("01") "\",\"path\":\"/\",\"$document\":{\"a\":1}}",
    };
    struct store *store = suite_open(state);
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        suite_write(store, RESOURCE_ROUTE, STORE_ID("01"), odd[i]);
        expect_document(store, RESOURCE_ROUTE, STORE_ID("01"), odd[i]);
    }
    assert_int_equal(suite_count_all(store), 1);
}

static void what_is_no_document_is_refused_and_nothing_written(void **state)
{
    static const char *const broken[] = { "",           "[]",         "{",        "{\"a\":}",
                                          "{\"a\":1,}", "{\"a\":1}x", "nonsense", "{\"a\":\"\n\"}" };
    struct store *store = suite_open(state);
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct error error = { 0 };
        struct store_row row = { .kind = RESOURCE_ROUTE,
                                 .id = SLICE(STORE_ID("01")),
                                 .document = slice_from_cstring(broken[i]),
                                 .created_us = 1 };
        suite_begin(store);
        assert_false(store_put(store, &row, &error));
        suite_expect_error(&error, "store-refused", "no JSON object");
        struct store_revision revision = { 0 };
        assert_false(store_commit(store, &revision, &error));
        assert_int_equal(head_of(store), 0);
    }
    assert_int_equal(suite_count_all(store), 0);
}

/* --- writes and revisions --- */

struct order {
    char text[256];
    uint64_t revision;
};

static void note_row(void *argument, const struct store_row *row)
{
    struct order *order = argument;
    size_t length = strlen(order->text);
    snprintf(order->text + length, sizeof order->text - length, "%s%d:%.*s@%llu", length ? " " : "", (int)row->kind, 2,
             row->id.at + row->id.length - 2, (unsigned long long)row->created_us);
}

static void an_empty_store_has_no_rows_and_revision_0(void **state)
{
    struct store *store = suite_open(state);
    assert_int_equal(head_of(store), 0);
    assert_int_equal(suite_count_all(store), 0);
    assert_null(suite_read(store, RESOURCE_ROUTE, STORE_ID("01")));
    assert_null(suite_read(store, RESOURCE_ROUTE, "no-uuid'"));
}

static void rows_come_by_kind_and_age_with_the_revision_that_they_are(void **state)
{
    struct store *store = suite_open(state);
    suite_begin(store);
    suite_put(store, RESOURCE_ROUTE, STORE_ID("03"), 30, ROUTE_DOCUMENT(STORE_ID("03"), "c", "one"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("02"), 20, ROUTE_DOCUMENT(STORE_ID("02"), "b", "one"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("04"), 20, ROUTE_DOCUMENT(STORE_ID("04"), "d", "one"));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("09"), 90, SERVICE_DOCUMENT(STORE_ID("09"), "one"));
    assert_int_equal(suite_commit(store), 1);
    struct order order = { 0 };
    struct error error = { 0 };
    struct store_visitor visitor = { note_row, &order };
    must(store_read_all(store, &visitor, &order.revision, &error), &error);
    assert_string_equal(order.text, "0:09@90 1:02@20 1:04@20 1:03@30");
    assert_int_equal(order.revision, 1);
}

static void times_are_kept_to_the_microsecond(void **state)
{
    struct store *store = suite_open(state);
    struct order order = { 0 };
    bool found;
    struct error error = { 0 };
    struct store_visitor visitor = { note_row, &order };
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1769860799999999, SERVICE_DOCUMENT(STORE_ID("01"), "a"));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, SERVICE_DOCUMENT(STORE_ID("02"), "b"));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("03"), 951782400000000, SERVICE_DOCUMENT(STORE_ID("03"), "c"));
    suite_commit(store);
    for (int i = 1; i <= 3; i++) {
        char id[] = STORE_ID("00");
        id[35] = (char)('0' + i);
        must(store_read_row(store, RESOURCE_SERVICE, slice_from_cstring(id), &visitor, &found, &error), &error);
    }
    assert_string_equal(order.text, "0:01@1769860799999999 0:02@1 0:03@951782400000000");
}

static void a_put_replaces_and_a_remove_takes_away(void **state)
{
    struct store *store = suite_open(state);
    suite_write(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_write(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "two"));
    expect_document(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "two"));
    assert_int_equal(suite_count_all(store), 1);
    struct error error = { 0 };
    suite_begin(store);
    must(store_remove(store, RESOURCE_SERVICE, SLICE(STORE_ID("01")), &error), &error);
    must(store_remove(store, RESOURCE_SERVICE, SLICE(STORE_ID("02")), &error), &error);
    assert_int_equal(suite_commit(store), 3);
    assert_int_equal(suite_count_all(store), 0);
}

static void an_aborted_write_leaves_nothing(void **state)
{
    struct store *store = suite_open(state);
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    store_abort(store);
    assert_int_equal(head_of(store), 0);
    assert_int_equal(suite_count_all(store), 0);
    /* And one that is never ended leaves nothing either. */
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_close(state);
    assert_int_equal(suite_count_all(suite_open(state)), 0);
}

struct revisions {
    char text[512];
};

static void note_revision(void *argument, const struct store_revision *revision)
{
    struct revisions *revisions = argument;
    size_t length = strlen(revisions->text);
    snprintf(revisions->text + length, sizeof revisions->text - length, "%s%llu@%llu %.*s %.*s %.*s %.*s",
             length ? "; " : "", (unsigned long long)revision->number, (unsigned long long)revision->at_us,
             SLICE_PRINT(revision->author.at ? revision->author : SLICE("-")),
             SLICE_PRINT(revision->source.at ? revision->source : SLICE("-")),
             SLICE_PRINT(revision->comment.at ? revision->comment : SLICE("-")), SLICE_PRINT(revision->changes));
}

static void revisions_are_numbered_and_read_in_both_directions(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    for (uint64_t i = 1; i <= 4; i++) {
        struct store_revision revision = { .at_us = 100 + i, .changes = SLICE("[ 1 ]") };
        if (i == 2) {
            revision.author = SLICE("ada");
            revision.source = SLICE("::1");
            revision.comment = SLICE("it's \"import\"");
        }
        suite_begin(store);
        must(store_commit(store, &revision, &error), &error);
        assert_int_equal(revision.number, i);
    }
    struct revisions after = { "" }, before = { "" }, newest = { "" }, none = { "" };
    struct store_revision_visitor visitor = { note_revision, &after };
    must(store_read_revisions_after(store, 1, 2, &visitor, &error), &error);
    assert_string_equal(after.text, "2@102 ada ::1 it's \"import\" [ 1 ]; 3@103 - - - [ 1 ]");
    visitor.argument = &before;
    must(store_read_revisions_before(store, 3, 10, &visitor, &error), &error);
    assert_string_equal(before.text, "2@102 ada ::1 it's \"import\" [ 1 ]; 1@101 - - - [ 1 ]");
    visitor.argument = &newest;
    must(store_read_revisions_before(store, 0, 1, &visitor, &error), &error);
    assert_string_equal(newest.text, "4@104 - - - [ 1 ]");
    visitor.argument = &none;
    must(store_read_revisions_after(store, 4, SIZE_MAX, &visitor, &error), &error);
    must(store_read_revisions_after(store, UINT64_MAX, 10, &visitor, &error), &error);
    assert_string_equal(none.text, "");
}

/* --- names and references --- */

static void the_order_of_writes_inside_a_change_does_not_matter(void **state)
{
    struct store *store = suite_open(state);
    suite_begin(store);
    suite_put(store, RESOURCE_RATE_LIMIT, STORE_ID("31"), 1,
              "{\"name\":\"l\",\"id\":\"" STORE_ID("31") "\",\"routeId\":\"by-name\",\"limit\":1}");
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "by-name", "one"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("12"), 1, ROUTE_DOCUMENT(STORE_ID("12"), "by-id", STORE_ID("01")));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_commit(store);
    expect_answer(state, "SELECT count(*) FROM routes WHERE service_id = '" STORE_ID("01") "'", "2");
    expect_answer(state, "SELECT count(*) FROM rate_limit_rules WHERE route_id = '" STORE_ID("11") "'", "1");
    expect_document(store, RESOURCE_ROUTE, STORE_ID("11"), ROUTE_DOCUMENT(STORE_ID("11"), "by-name", "one"));
    expect_document(store, RESOURCE_ROUTE, STORE_ID("12"), ROUTE_DOCUMENT(STORE_ID("12"), "by-id", STORE_ID("01")));
}

static void two_resources_can_swap_their_names_in_one_change(void **state)
{
    struct store *store = suite_open(state);
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, SERVICE_DOCUMENT(STORE_ID("02"), "two"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "r", "one"));
    suite_commit(store);
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "two"));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, SERVICE_DOCUMENT(STORE_ID("02"), "one"));
    suite_commit(store);
    expect_document(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "two"));
    expect_document(store, RESOURCE_SERVICE, STORE_ID("02"), SERVICE_DOCUMENT(STORE_ID("02"), "one"));
    expect_answer(state, "SELECT service_id FROM routes", STORE_ID("02"));
}

static void a_name_can_go_to_a_new_resource_as_the_old_one_goes(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "r", "one"));
    suite_commit(store);
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, SERVICE_DOCUMENT(STORE_ID("02"), "one"));
    must(store_remove(store, RESOURCE_SERVICE, SLICE(STORE_ID("01")), &error), &error);
    suite_commit(store);
    expect_answer(state, "SELECT service_id FROM routes", STORE_ID("02"));
}

static void a_name_that_two_have_at_the_end_of_a_change_is_refused(void **state)
{
    struct store *store = suite_open(state);
    suite_write(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    struct error error = { 0 };
    struct store_revision revision = { 0 };
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, SERVICE_DOCUMENT(STORE_ID("02"), "one"));
    assert_false(store_commit(store, &revision, &error));
    suite_expect_error(&error, "store-refused", STORE_ID("01"));
    assert_int_equal(head_of(store), 1);
    expect_document(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_write(store, RESOURCE_SERVICE, STORE_ID("02"), SERVICE_DOCUMENT(STORE_ID("02"), "two"));
}

static void a_reference_to_what_is_not_there_is_refused_at_the_end_of_the_change(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    struct store_revision revision = { 0 };
    suite_begin(store);
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "r", STORE_ID("01")));
    assert_false(store_commit(store, &revision, &error));
    suite_expect_error(&error, "store-refused", "");
    assert_int_equal(head_of(store), 0);
    suite_begin(store);
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "r", STORE_ID("01")));
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_commit(store);
    suite_begin(store);
    must(store_remove(store, RESOURCE_SERVICE, SLICE(STORE_ID("01")), &error), &error);
    assert_false(store_commit(store, &revision, &error));
    suite_expect_error(&error, "store-refused", "");
    assert_int_equal(suite_count_all(store), 2);
}

static void values_beyond_the_tables_checks_are_refused(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    struct store_row row = { .kind = RESOURCE_SERVICE,
                             .id = SLICE(STORE_ID("01")),
                             .document = SLICE(
                                 "{\"name\":\"a\",\"id\":\"" STORE_ID("01") "\",\"protocol\":\"gopher\"}"),
                             .created_us = 1 };
    suite_begin(store);
    assert_false(store_put(store, &row, &error));
    suite_expect_error(&error, "store-refused", "");
    store_abort(store);
    row.id = SLICE("no-uuid");
    row.document = SLICE("{\"name\":\"a\",\"id\":\"no-uuid\"}");
    suite_begin(store);
    assert_false(store_put(store, &row, &error));
    suite_expect_error(&error, "store-refused", "");
    store_abort(store);
    assert_int_equal(suite_count_all(store), 0);
}

/* --- others --- */

static void two_writers_wait_for_each_other_and_give_up_in_time(void **state)
{
    struct store *one = suite_open(state);
    struct store *other = suite_open_again(suite_location(state), 300);
    struct error error = { 0 };
    uint64_t revision;
    suite_begin(one);
    suite_put(one, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    uint64_t begun = clock_monotonic_ns();
    assert_false(store_begin(other, &revision, &error));
    uint64_t waited_ms = (clock_monotonic_ns() - begun) / 1000000;
    bool is_file = strncmp(suite_location(state), "sqlite:", 7) ==
                   0; /* there nobody knows why the other one holds it */
    suite_expect_error(&error, is_file ? "store-unavailable" : "store-busy", "");
    assert_true(waited_ms >= 250 && waited_ms < 2000);
    /* Reading waits for nobody, and doesn't see what isn't committed. */
    assert_int_equal(suite_count_all(other), 0);
    suite_commit(one);
    assert_int_equal(suite_count_all(other), 1);
    must(store_begin(other, &revision, &error), &error);
    assert_int_equal(revision, 1);
    store_abort(other);
    store_close(other);
}

static void many_that_start_at_once_on_an_empty_store_all_come_up(void **state)
{
    enum { COUNT = 6 };
    pid_t children[COUNT];
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < COUNT; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char byte;
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0) _exit(9);
            struct error error = { 0 };
            struct store *store = store_open(&(struct store_settings){ suite_location(state), 0 }, &error);
            if (!store) fprintf(stderr, "%s: %s\n", error.reason, error.text);
            store_close(store);
            _exit(store ? 0 : 1);
        }
        assert_true(children[i] > 0);
    }
    close(gate[1]);
    close(gate[0]);
    for (int i = 0; i < COUNT; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(head_of(suite_open(state)), 0);
    expect_answer(state, "SELECT count(*) FROM store_head", "1");
    expect_answer(state, "SELECT version FROM store_schema", "2");
}

static void writers_of_two_processes_lose_no_revision(void **state)
{
    enum { EACH = 50 };
    suite_open(state);
    suite_close(state);
    pid_t child = fork();
    assert_true(child >= 0);
    struct error error = { 0 };
    struct store *store = store_open(&(struct store_settings){ suite_location(state), 0 }, &error);
    for (int i = 0; store && i < EACH; i++) {
        uint64_t head;
        struct store_revision revision = { 0 };
        if (!store_begin(store, &head, &error) || !store_commit(store, &revision, &error) ||
            revision.number != head + 1) {
            fprintf(stderr, "%s: %s\n", error.reason, error.text);
            store_close(store);
            store = NULL;
        }
    }
    store_close(store);
    if (child == 0) _exit(store ? 0 : 1);
    assert_non_null(store);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(head_of(suite_open(state)), 2 * EACH);
}

static void a_newer_schema_is_refused_with_words(void **state)
{
    suite_open(state);
    suite_close(state);
    free(store_suite_kind.ask(suite_location(state), "UPDATE store_schema SET version = 99"));
    struct error error = { 0 };
    struct store_settings settings = { suite_location(state), 0 };
    assert_null(store_open(&settings, &error));
    suite_expect_error(&error, "store-newer", "version 99");
    suite_expect_error(&error, "store-newer", "knows up to 2");
    struct store_schema schema;
    must(store_schema_read(&settings, &schema, &error), &error);
    assert_int_equal(schema.found, 99);
    assert_int_equal(schema.known, 2);
}

static void a_row_spoilt_by_hand_is_named(void **state)
{
    struct store *store = suite_open(state);
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("01"), 1, SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_put(store, RESOURCE_ROUTE, STORE_ID("11"), 1, ROUTE_DOCUMENT(STORE_ID("11"), "r", "one"));
    suite_commit(store);
    free(store_suite_kind.ask(suite_location(state), "UPDATE routes SET more = '[1]'"));
    struct order order = { 0 };
    struct error error = { 0 };
    struct store_visitor visitor = { note_row, &order };
    assert_false(store_read_all(store, &visitor, &order.revision, &error));
    suite_expect_error(&error, "store-damaged", "\"routes\"");
    suite_expect_error(&error, "store-damaged", STORE_ID("11"));
    suite_expect_error(&error, "store-damaged", "\"more\"");
    /* The others can still be read, and a write mends it. */
    expect_document(store, RESOURCE_SERVICE, STORE_ID("01"), SERVICE_DOCUMENT(STORE_ID("01"), "one"));
    suite_write(store, RESOURCE_ROUTE, STORE_ID("11"), ROUTE_DOCUMENT(STORE_ID("11"), "r", "one"));
    assert_int_equal(suite_count_all(store), 2);
    free(store_suite_kind.ask(suite_location(state), "DELETE FROM store_head"));
    uint64_t revision;
    assert_false(store_begin(store, &revision, &error));
    suite_expect_error(&error, "store-damaged", "store_head");
}

/* --- API keys --- */

struct found_keys {
    size_t count;
    char ids[256]; /* the last two digits of each */
    struct api_key_row last;
    char texts[7][64];
};

static void note_key(void *argument, const struct api_key_row *row)
{
    struct found_keys *found = argument;
    found->count++;
    size_t length = strlen(found->ids);
    if (length + 4 < sizeof found->ids)
        snprintf(found->ids + length, sizeof found->ids - length, "%s%.2s", length ? " " : "", row->id.at + 34);
    found->last = *row;
    const struct slice texts[] = { row->id,     row->prefix, row->client_id, row->client_name, row->rate_limit_tier,
                                   row->scopes, row->tags };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        snprintf(found->texts[i], sizeof found->texts[i], "%.*s", SLICE_PRINT(texts[i]));
}

static struct api_key_row key_of(unsigned number, char id[40])
{
    snprintf(id, 40, "00000000-0000-4000-8000-%012u", number);
    struct api_key_row row = { .id = slice_from_cstring(id),
                               .prefix = SLICE("abcdefgh"),
                               .client_id = number % 2 ? SLICE("odd") : SLICE("even"),
                               .enabled = true,
                               .created_us = 1000 - number };
    memset(row.hash, (int)number, sizeof row.hash);
    return row;
}

static void put_keys(struct store *store, unsigned first, unsigned last)
{
    struct error error = { 0 };
    suite_begin(store);
    for (unsigned i = first; i <= last; i++) {
        char id[40];
        struct api_key_row row = key_of(i, id);
        must(store_key_put(store, &row, &error), &error);
    }
    suite_commit(store);
}

static void a_key_comes_back_with_all_it_has(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    char id[40];
    struct api_key_row row = key_of(7, id);
    row.client_name = SLICE("Ada's \"client\"");
    row.rate_limit_tier = SLICE("premium");
    row.scopes = SLICE("read write");
    row.tags = SLICE("[\"a b\",\"c\"]");
    row.enabled = false;
    row.expires_at_us = 1800000000000001;
    row.last_used_us = 1700000000000002;
    row.replaces_until_us = 1750000000000003;
    for (int i = 0; i < API_KEY_HASH_BYTES; i++) row.hash[i] = (uint8_t)(i * 8);
    suite_begin(store);
    must(store_key_put(store, &row, &error), &error);
    suite_commit(store);
    struct found_keys found = { 0 };
    struct api_key_visitor visitor = { note_key, &found };
    must(store_key_find(store, row.hash, &visitor, &error), &error);
    assert_int_equal(found.count, 1);
    assert_memory_equal(found.last.hash, row.hash, sizeof row.hash);
    assert_string_equal(found.texts[0], id);
    assert_string_equal(found.texts[1], "abcdefgh");
    assert_string_equal(found.texts[2], "odd");
    assert_string_equal(found.texts[3], "Ada's \"client\"");
    assert_string_equal(found.texts[4], "premium");
    assert_string_equal(found.texts[5], "read write");
    assert_string_equal(found.texts[6], "[\"a b\",\"c\"]");
    assert_false(found.last.enabled);
    assert_int_equal(found.last.created_us, row.created_us);
    assert_int_equal(found.last.expires_at_us, row.expires_at_us);
    assert_int_equal(found.last.last_used_us, row.last_used_us);
    assert_int_equal(found.last.replaces_until_us, row.replaces_until_us);
    row.hash[0] ^= 1;
    must(store_key_find(store, row.hash, &visitor, &error), &error);
    must(store_key_get(store, SLICE(STORE_ID("08")), &visitor, &error), &error);
    must(store_key_get(store, SLICE("Ada's"), &visitor, &error), &error);
    assert_int_equal(found.count, 1);
    must(store_key_get(store, row.id, &visitor, &error), &error);
    assert_int_equal(found.count, 2);
}

static void keys_are_listed_by_age_and_client_in_pages(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    put_keys(store, 1, 5);
    struct found_keys all = { 0 }, page = { 0 }, client = { 0 }, none = { 0 };
    struct api_key_visitor visitor = { note_key, &all };
    must(store_keys_list(store, 0, SLICE_ABSENT, SLICE_ABSENT, 100, &visitor, &error), &error);
    assert_string_equal(all.ids, "05 04 03 02 01");
    visitor.argument = &page;
    must(store_keys_list(store, 996, SLICE(STORE_ID("04")), SLICE_ABSENT, 2, &visitor, &error), &error);
    assert_string_equal(page.ids, "03 02");
    visitor.argument = &client;
    must(store_keys_list(store, 0, SLICE_ABSENT, SLICE("odd"), 2, &visitor, &error), &error);
    must(store_keys_list(store, 997, SLICE(STORE_ID("03")), SLICE("odd"), 2, &visitor, &error), &error);
    assert_string_equal(client.ids, "05 03 01");
    visitor.argument = &none;
    must(store_keys_list(store, 0, SLICE_ABSENT, SLICE("nobody"), 2, &visitor, &error), &error);
    assert_int_equal(none.count, 0);
}

/* Whatever the order, every key comes once, and only the last page isn't full. */
static void all_keys_come_once_page_by_page(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    put_keys(store, 1, 6);
    for (size_t size = 1; size <= 7; size++) {
        struct found_keys found = { 0 };
        struct api_key_visitor visitor = { note_key, &found };
        size_t before, pages = 0;
        do {
            char last[sizeof found.texts[0]];
            before = found.count;
            snprintf(last, sizeof last, "%s", found.texts[0]);
            struct slice after = before > 0 ? slice_from_cstring(last) : SLICE_ABSENT;
            must(store_keys_page(store, found.last.created_us, after, size, &visitor, &error), &error);
            pages++;
        } while (found.count == before + size);
        assert_int_equal(found.count, 6);
        assert_int_equal(pages, 6 / size + 1);
        for (char number[] = "01"; number[1] <= '6'; number[1]++) assert_non_null(strstr(found.ids, number));
    }
}

static void keys_are_streamed_counted_and_removed(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    uint64_t count = 9;
    must(store_keys_count(store, &count, &error), &error);
    assert_int_equal(count, 0);
    put_keys(store, 1, 50);
    struct found_keys all = { 0 }, some = { 0 };
    struct api_key_visitor visitor = { note_key, &all };
    must(store_keys_each(store, UINT64_MAX, &visitor, &error), &error);
    assert_int_equal(all.count, 50);
    visitor.argument = &some;
    must(store_keys_each(store, 7, &visitor, &error), &error);
    assert_int_equal(some.count, 7);
    must(store_keys_each(store, 0, &visitor, &error), &error);
    assert_int_equal(some.count, 7);
    suite_begin(store);
    must(store_key_remove(store, SLICE(STORE_ID("01")), &error), &error);
    suite_commit(store);
    must(store_keys_count(store, &count, &error), &error);
    assert_int_equal(count, 49);
    /* Keys are no rows of resources. */
    assert_int_equal(suite_count_all(store), 0);
}

static void one_hash_belongs_to_one_key(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    put_keys(store, 1, 1);
    char id[40];
    struct api_key_row row = key_of(2, id);
    memset(row.hash, 1, sizeof row.hash);
    suite_begin(store);
    assert_false(store_key_put(store, &row, &error));
    suite_expect_error(&error, "store-refused", "");
    store_abort(store);
}

static void the_use_of_keys_makes_no_revision_and_never_goes_back(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    put_keys(store, 1, 3);
    struct api_key_use uses[] = { { SLICE(STORE_ID("01")), 1769860799999999 },
                                  { SLICE(STORE_ID("02")), 500 },
                                  { SLICE(STORE_ID("02")), 700 },
                                  { SLICE(STORE_ID("02")), 600 },
                                  { SLICE(STORE_ID("99")), 900 } };
    must(store_keys_used(store, uses, COUNT_OF(uses), &error), &error);
    struct api_key_use earlier = { SLICE(STORE_ID("01")), 5 };
    must(store_keys_used(store, &earlier, 1, &error), &error);
    must(store_keys_used(store, NULL, 0, &error), &error);
    const uint64_t expected[] = { 1769860799999999, 700, 0 };
    for (int i = 0; i < 3; i++) {
        char id[] = STORE_ID("01");
        id[35] = (char)('1' + i);
        struct found_keys found = { 0 };
        struct api_key_visitor visitor = { note_key, &found };
        must(store_key_get(store, slice_from_cstring(id), &visitor, &error), &error);
        assert_int_equal(found.last.last_used_us, expected[i]);
    }
    assert_int_equal(head_of(store), 1);
}

/* --- the program --- */

#define TEST(function) cmocka_unit_test_setup_teardown(function, suite_set_up, suite_tear_down)

int store_suite_run(const struct CMUnitTest *own, size_t count)
{
    const struct CMUnitTest shared[] = {
        TEST(an_empty_store_has_no_rows_and_revision_0),
        TEST(a_document_of_every_kind_is_read_byte_for_byte_as_it_was_written),
        TEST(documents_that_no_table_foresaw_come_back_as_they_were_too),
        TEST(what_is_no_document_is_refused_and_nothing_written),
        TEST(rows_come_by_kind_and_age_with_the_revision_that_they_are),
        TEST(times_are_kept_to_the_microsecond),
        TEST(a_put_replaces_and_a_remove_takes_away),
        TEST(an_aborted_write_leaves_nothing),
        TEST(revisions_are_numbered_and_read_in_both_directions),
        TEST(the_order_of_writes_inside_a_change_does_not_matter),
        TEST(two_resources_can_swap_their_names_in_one_change),
        TEST(a_name_can_go_to_a_new_resource_as_the_old_one_goes),
        TEST(a_name_that_two_have_at_the_end_of_a_change_is_refused),
        TEST(a_reference_to_what_is_not_there_is_refused_at_the_end_of_the_change),
        TEST(values_beyond_the_tables_checks_are_refused),
        TEST(two_writers_wait_for_each_other_and_give_up_in_time),
        TEST(many_that_start_at_once_on_an_empty_store_all_come_up),
        TEST(writers_of_two_processes_lose_no_revision),
        TEST(a_newer_schema_is_refused_with_words),
        TEST(a_row_spoilt_by_hand_is_named),
        TEST(a_key_comes_back_with_all_it_has),
        TEST(keys_are_listed_by_age_and_client_in_pages),
        TEST(all_keys_come_once_page_by_page),
        TEST(keys_are_streamed_counted_and_removed),
        TEST(one_hash_belongs_to_one_key),
        TEST(the_use_of_keys_makes_no_revision_and_never_goes_back),
    };
    struct CMUnitTest *all = memory_allocate_array(COUNT_OF(shared) + count, sizeof *all);
    memcpy(all, shared, sizeof shared);
    memcpy(all + COUNT_OF(shared), own, count * sizeof *own);
    int failed = _cmocka_run_group_tests("store", all, COUNT_OF(shared) + count, NULL, NULL);
    free(all);
    return failed;
}
