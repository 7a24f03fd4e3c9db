/* The shared store: the suite of all stores on a PostgreSQL, each test in a schema of its own. Skipped without one: test_store_postgres.py
 * starts it and sets SLUICE_TEST_POSTGRES to the URL of a database that may be used. */
#include "store/store_suite.h"

#include "base/memory.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

static const char *server;

static void ignore_notice(void *argument, const PGresult *notice) {}

static PGconn *connect_to(const char *location)
{
    PGconn *connection = PQconnectdb(location);
    if (PQstatus(connection) != CONNECTION_OK) print_error("%s\n", PQerrorMessage(connection));
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    PQsetNoticeReceiver(connection, ignore_notice, NULL);
    return connection;
}

static char *ask(const char *location, const char *sql)
{
    PGconn *connection = connect_to(location);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        print_error("%s: %s\n", sql, PQerrorMessage(connection));
    assert_true(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
    bool has_value = PQntuples(result) > 0 && !PQgetisnull(result, 0, 0);
    char *answer = has_value ? memory_copy_slice(slice_from_cstring(PQgetvalue(result, 0, 0))) : NULL;
    PQclear(result);
    PQfinish(connection);
    return answer;
}

static char *make_place(void)
{
    static int number;
    char *sql = memory_format("CREATE SCHEMA test_%d_%d", (int)getpid(), ++number);
    free(ask(server, sql));
    free(sql);
    return memory_format("%s?options=-csearch_path%%3Dtest_%d_%d", server, (int)getpid(), number);
}

static void remove_place(const char *location)
{
    char *sql = memory_format("DROP SCHEMA %s CASCADE", strstr(location, "test_"));
    free(ask(server, sql));
    free(sql);
}

const struct store_suite_kind store_suite_kind = { make_place, remove_place, ask };

static void a_commit_is_heard_by_others_and_an_abort_is_not(void **state)
{
    struct store *one = suite_open(state), *other = suite_open_again(suite_location(state), 0);
    struct error error = { 0 };
    uint64_t heard;
    suite_begin(one);
    suite_put(one, RESOURCE_SERVICE, STORE_ID("01"), 1, "{\"name\":\"a\",\"id\":\"" STORE_ID("01") "\"}");
    store_abort(one);
    struct pollfd descriptor = { .fd = store_descriptor(other), .events = POLLIN };
    assert_true(descriptor.fd >= 0);
    assert_int_equal(poll(&descriptor, 1, 100), 0);
    assert_true(store_take_notifications(other, &heard, &error));
    assert_int_equal(heard, 0);
    suite_write(one, RESOURCE_SERVICE, STORE_ID("01"), "{\"name\":\"a\",\"id\":\"" STORE_ID("01") "\"}");
    suite_write(one, RESOURCE_SERVICE, STORE_ID("01"), "{\"name\":\"b\",\"id\":\"" STORE_ID("01") "\"}");
    assert_int_equal(poll(&descriptor, 1, 2000), 1);
    usleep(20000);
    assert_true(store_take_notifications(other, &heard, &error));
    assert_int_equal(heard, 2);
    assert_true(store_take_notifications(other, &heard, &error));
    assert_int_equal(heard, 0);
    store_close(other);
}

static void a_server_that_ends_a_connection_is_asked_again_but_not_inside_a_write(void **state)
{
    struct store *store = suite_open(state);
    struct error error = { 0 };
    static const char end_others[] =
        "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity WHERE application_name = 'sluice'";
    suite_write(store, RESOURCE_SERVICE, STORE_ID("01"), "{\"name\":\"a\",\"id\":\"" STORE_ID("01") "\"}");
    free(ask(server, end_others));
    assert_int_equal(suite_count_all(store), 1);
    free(ask(server, end_others));
    suite_write(store, RESOURCE_SERVICE, STORE_ID("01"), "{\"name\":\"b\",\"id\":\"" STORE_ID("01") "\"}");
    suite_begin(store);
    suite_put(store, RESOURCE_SERVICE, STORE_ID("02"), 1, "{\"name\":\"c\",\"id\":\"" STORE_ID("02") "\"}");
    free(ask(server, end_others));
    struct store_revision revision = { 0 };
    assert_false(store_commit(store, &revision, &error));
    suite_expect_error(&error, "store-unavailable", "terminat");
    assert_int_equal(suite_count_all(store), 1);
}

static void locations_show_no_password(void **state)
{
    static const struct {
        const char *location, *shown;
    } cases[] = {
        { "postgres://ada:s3cret@db.internal:5433/sluice?sslmode=require", "postgres://ada@db.internal:5433/sluice" },
        { "postgresql://ada@h/d?password=s3cret", "postgres://ada@h/d" },
        { "postgres://ada:s%403cret@[::1]/d", "postgres://ada@::1/d" },
        { "postgres://a:s3cret@h1:1,h2:2/d", "postgres://a@h1,h2:1,2/d" },
        { "postgres:///d?host=/run/postgresql", "postgres:///d?host=/run/postgresql" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct error error = { 0 };
        assert_true(store_location_check(slice_from_cstring(cases[i].location), &error));
        /* Nobody listens there: the error shows the location. */
        assert_null(store_open(&(struct store_settings){ "postgres://ada:s3cret@127.0.0.1:1/sluice", 300 }, &error));
        suite_expect_error(&error, "store-unavailable", "postgres://ada@127.0.0.1:1/sluice: cannot connect");
        assert_null(strstr(error.text, "s3cret"));
    }
}

static void a_password_with_bare_special_characters_is_refused_without_showing_it(void **state)
{
    static const char *const wrong[] = {
        "postgres://ada:s3c%zzret@h/d", "postgres://ada:s3@cret@h/d", "postgres://ada:s3/cret@h/d",
        "postgres://ada:cret@s3@h/d",   "postgres://h:s3cret/d",      "postgres://h/d?nonsense=s3cret",
        "postgres://ada:s3cret@[::1/d",
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct error error = { 0 };
        assert_false(store_location_check(slice_from_cstring(wrong[i]), &error));
        suite_expect_error(&error, "store-settings", "percent-encoded");
        assert_null(strstr(error.text, "cret"));
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, suite_set_up, suite_tear_down)

int main(void)
{
    const struct CMUnitTest own[] = {
        TEST(a_commit_is_heard_by_others_and_an_abort_is_not),
        TEST(a_server_that_ends_a_connection_is_asked_again_but_not_inside_a_write),
        cmocka_unit_test(locations_show_no_password),
        cmocka_unit_test(a_password_with_bare_special_characters_is_refused_without_showing_it),
    };
    server = getenv("SLUICE_TEST_POSTGRES");
    if (server) return store_suite_run(own, COUNT_OF(own));
    const struct CMUnitTest without_server[] = {
        cmocka_unit_test(locations_show_no_password),
        cmocka_unit_test(a_password_with_bare_special_characters_is_refused_without_showing_it),
    };
    return cmocka_run_group_tests(without_server, NULL, NULL);
}
