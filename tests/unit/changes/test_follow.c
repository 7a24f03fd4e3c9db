/* Two instances over one file; a store that is away; orders in line, in force, and at the end. */
#include "changes/changes_bed.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "changes/private.h"
#include "store/copy.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bed bed, other;

static int start(void **state)
{
    bed_start(&bed);
    return 0;
}

static int stop(void **state)
{
    bed_stop(&bed);
    return 0;
}

static int start_two(void **state)
{
    bed_start(&bed);
    bed_start_beside(&other, &bed);
    return 0;
}

static int stop_two(void **state)
{
    bed_stop(&other);
    bed_stop(&bed);
    return 0;
}

#define ONE "{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]}"
#define ROUTE(name) "{\"name\":\"" name "\",\"path\":\"/" name "\",\"serviceId\":\"one\"}"

static void assert_same_state(void)
{
    char *here = bed_state(&bed), *there = bed_state(&other);
    assert_string_equal(here, there);
    free(here);
    free(there);
    bed_check(&bed);
    bed_check(&other);
}

/* --- others --- */

static void what_one_does_the_other_has(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
    assert_true(bed_reaches(&other, 2));
    assert_same_state();
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"name\":\"uno\"}"), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "a", "{\"priority\":7}"), CHANGE_UPDATED);
    assert_true(bed_reaches(&other, 4));
    assert_same_state();
    assert_int_equal(other.gateway.whole, 0); /* the changes alone */
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_ROUTE, "a", NULL), CHANGE_DELETED);
    assert_true(bed_reaches(&other, 5));
    assert_same_state();
}

/* Nobody edits what he has not seen: the order is judged by what the other one did a moment ago. */
static void an_order_catches_up_first(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    assert_int_equal(bed_do(&other, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_NAME_TAKEN);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL), CHANGE_IN_USE);
    assert_int_equal(bed_revision(&bed), 2);
    assert_same_state();
}

static void two_that_write_at_once_end_in_one_history(void **state)
{
    struct change_order *orders[40];
    struct bed_answer answers[40];
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    for (unsigned i = 0; i < 40; i++) {
        char *body = memory_format("{\"name\":\"r%u\",\"path\":\"/r%u\",\"serviceId\":\"one\"}", i, i);
        orders[i] = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL, body);
        bed_submit(i % 2 ? &bed : &other, orders[i], &answers[i]);
        free(body);
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_true(bed_wait(&answers[i], 30000));
        assert_int_equal(orders[i]->outcome, CHANGE_CREATED);
        change_order_destroy(orders[i]);
    }
    assert_true(bed_reaches(&bed, 41));
    assert_true(bed_reaches(&other, 41));
    assert_same_state();
}

/* Services that change places under one name: the route says the same and means another. */
static void a_name_that_means_another_one_is_followed(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, "{\"services\":[" ONE "],\"routes\":[" ROUTE("a") "]}"),
                     CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL,
                            "{\"services\":[{\"id\":\"0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b\",\"name\":\"one\","
                            "\"instances\":[\"127.0.0.1:9009\"]}],\"routes\":[" ROUTE("a") "]}"),
                     CHANGE_UPDATED);
    assert_true(bed_reaches(&other, 2));
    assert_same_state();
    struct catalog_entry *route = bed_find(&other, RESOURCE_ROUTE, "a");
    assert_string_equal(route->references[0].id, "0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b");
    catalog_entry_drop(route);
}

static void what_cannot_be_compiled_here_is_left_out_and_comes_when_it_can(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, "{\"services\":[" ONE "],\"routes\":[" ROUTE("a") "]}"),
                     CHANGE_UPDATED);
    assert_true(bed_reaches(&other, 1));
    bed_refuse(&other, "bad");
    assert_int_equal(
        bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, "{\"name\":\"bad\",\"instances\":[\"127.0.0.1:1\"]}"),
        CHANGE_CREATED);
    assert_int_equal(
        bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, "{\"name\":\"on\",\"path\":\"/on\",\"serviceId\":\"bad\"}"),
        CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("good")), CHANGE_CREATED);
    assert_true(bed_reaches(&other, 4));
    char *here = bed_state(&bed), *there = bed_state(&other);
    assert_string_equal(here, there); /* to be seen and mended from here as well */
    free(here);
    free(there);
    assert_int_equal(bed_in_force(&other, RESOURCE_ROUTE), 2); /* a, good */
    assert_int_equal(bed_in_force(&other, RESOURCE_SERVICE), 1);
    /* Mended from there, by its own order. */
    assert_int_equal(bed_do(&other, CHANGE_PATCH, RESOURCE_SERVICE, "bad", "{\"name\":\"fine\"}"), CHANGE_UPDATED);
    bed_refuse(&other, NULL);
    assert_true(bed_reaches(&bed, 5));
    for (unsigned i = 0; i < 600 && bed_in_force(&other, RESOURCE_ROUTE) < 3; i++) usleep(5000);
    assert_same_state();
}

/* Without it everybody would be let in: what was in force stays. */
static void a_plugin_that_cannot_be_had_here_opens_nothing(void **state)
{
    assert_int_equal(
        bed_do(&bed, CHANGE_WHOLE, 0, NULL, "{\"services\":[" ONE "],\"routes\":[" ROUTE("a") "," ROUTE("b") "]}"),
        CHANGE_UPDATED);
    assert_true(bed_reaches(&other, 1));
    bed_refuse(&other, "bad");
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_PLUGIN, NULL,
                            "{\"name\":\"security-headers\",\"instanceName\":\"bad\",\"routes\":[\"a\"]}"),
                     CHANGE_CREATED);
    assert_true(bed_reaches(&other, 2));
    assert_int_equal(bed_in_force(&other, RESOURCE_ROUTE), 1); /* b */
    assert_int_equal(bed_in_force(&other, RESOURCE_PLUGIN), 0);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_PLUGIN, "bad", "{\"routes\":null}"), CHANGE_UPDATED);
    assert_true(bed_reaches(&other, 3));
    unsigned committed = other.gateway.committed;
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("c")), CHANGE_CREATED);
    assert_true(bed_reaches(&other, 4));
    assert_int_equal(other.gateway.committed, committed); /* it is everywhere now: nothing new here */
    bed_refuse(&other, NULL);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("d")), CHANGE_CREATED);
    assert_true(bed_reaches(&other, 5));
    assert_same_state();
}

#define CORS(name, origin, more)                                                                                      \
    "{\"name\":\"cors\",\"instanceName\":\"" name "\",\"config\":{\"origins\":[\"https://" origin ".example\"]}" more \
    "}"

/* What a version does that refuses nothing: all disabled plugins are enabled, in a revision of its own. */
static void enable_all(void)
{
    bed_run_sql(&bed, "BEGIN; UPDATE plugins SET enabled = 1;"
                      "INSERT INTO revisions (revision, at, changes)"
                      " SELECT revision + 1, at + 1, replace(changes, '\"enabled\":false', '\"enabled\":true')"
                      " FROM revisions WHERE revision = (SELECT max(revision) FROM revisions);"
                      "UPDATE store_head SET revision = revision + 1; COMMIT");
}

/* Whoever only reads has no say: all is in force, and whoever goes on writing is hindered by nothing that is not his. */
static void plugins_in_each_others_way_that_others_wrote_are_in_force(void **state)
{
    if (bed.is_postgres) skip();
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL,
                            "{\"services\":[" ONE
                            "],\"routes\":[" ROUTE("a") "],\"plugins\":[" CORS("c1", "a", "") "]}"),
                     CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_PLUGIN, NULL, CORS("c2", "b", ",\"enabled\":false")),
                     CHANGE_CREATED);
    enable_all();
    assert_true(bed_reaches(&bed, 3));
    assert_true(bed_reaches(&other, 3));
    assert_same_state();
    bed_restart(&other);
    assert_same_state();
    assert_int_equal(bed_in_force(&other, RESOURCE_PLUGIN), 2);
    /* Not his: another route, another plugin, a new name that a plugin has to follow. */
    assert_int_equal(bed_do(&other, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("b")), CHANGE_CREATED);
    assert_int_equal(
        bed_do(&bed, CHANGE_CREATE, RESOURCE_PLUGIN, NULL, "{\"name\":\"security-headers\",\"instanceName\":\"s\"}"),
        CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_PLUGIN, NULL, CORS("c3", "c", "")), CHANGE_INVALID);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_PLUGIN, "c1", "{\"enabled\":false}"), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_PLUGIN, "c1", "{\"enabled\":true}"), CHANGE_INVALID);
    /* What was there comes back. */
    struct change_order *back = bed_order(CHANGE_ROLLBACK, 0, "5", NULL);
    assert_int_equal(bed_run(&bed, back), CHANGE_UPDATED);
    change_order_destroy(back);
    assert_true(bed_reaches(&other, 7));
    assert_same_state();
}

/* Revisions that were taken away by hand: the rows tell. */
static void a_history_with_holes_is_read_over(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    struct changes_health health = { 0 };
    changes_health(bed.changes, &health);
    assert_true(health.store_is_there);
    changes_stop(bed.changes); /* while this one sleeps the other goes on */
    changes_health(bed.changes, &health);
    assert_false(health.store_is_there); /* who sleeps hears of no revocation */
    assert_string_not_equal(health.problem, "");
    assert_int_equal(bed_do(&other, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
    assert_int_equal(bed_do(&other, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("b")), CHANGE_CREATED);
    bed_run_sql(&bed, "DELETE FROM revisions WHERE revision = 2");
    struct error error;
    assert_true(changes_start(bed.changes, &error));
    assert_true(bed_reaches(&bed, 3));
    assert_same_state();
    struct change_order *order = bed_order(CHANGE_ROLLBACK, 0, "1", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID); /* it can't be known */
    assert_true(order->problems.count > 0);
    change_order_destroy(order);
}

/* What a replica that takes over tells that lacked the last commit, or a database that was put in another one's place: a revision's number
 * and time are another's, the number alone may be the same. */
#define LATER \
    (bed.is_postgres ? "UPDATE revisions SET at = at + interval '1 second'" : "UPDATE revisions SET at = at + 1000000")

static void expect_no_service(void)
{
    struct catalog *catalog = changes_catalog(bed.changes);
    for (unsigned i = 0; i < 1000 && catalog_count(catalog, RESOURCE_SERVICE) > 0; i++) usleep(5000);
    assert_int_equal(catalog_count(catalog, RESOURCE_SERVICE), 0);
}

static void another_history_that_ends_in_the_same_number_is_read_anew(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    char *sql = memory_format("BEGIN; DELETE FROM services; %s; COMMIT", LATER);
    bed_run_sql(&bed, sql);
    free(sql);
    expect_no_service();
    assert_int_equal(bed_revision(&bed), 1);
    bed_check(&bed);
}

static void an_order_meets_another_history_first(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    char *sql = memory_format("BEGIN; DELETE FROM services; %s; COMMIT", LATER);
    bed_run_sql(&bed, sql);
    free(sql);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL), CHANGE_NOT_FOUND);
}

/* Revisions that follow one that is not ours are not on top of what we have. */
static void another_history_that_went_on_is_read_anew(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    char *sql = memory_format("BEGIN; DELETE FROM services; %s; INSERT INTO revisions (revision, at, changes) "
                              "SELECT 2, at, '[]' FROM revisions WHERE revision = 1; "
                              "UPDATE store_head SET revision = 2; COMMIT",
                              LATER);
    bed_run_sql(&bed, sql);
    free(sql);
    assert_true(bed_reaches(&bed, 2));
    expect_no_service();
    bed_check(&bed);
}

static void followers_have_what_writers_have_whatever_is_written(void **state)
{
    struct random random;
    random_init_seeded(&random, 7);
    for (unsigned i = 0; i < 60; i++) {
        struct bed *writer = random_below(&random, 2) ? &bed : &other;
        unsigned a = (unsigned)random_below(&random, 4), b = (unsigned)random_below(&random, 4);
        char *body = memory_format(
            "{\"services\":[{\"name\":\"s%u\",\"instances\":[\"127.0.0.1:%u\"]}],"
            "\"routes\":[{\"name\":\"r%u\",\"path\":\"/%u\",\"serviceId\":\"s%u\"}],"
            "\"plugins\":[{\"name\":\"security-headers\",\"instanceName\":\"p\",\"routes\":[\"r%u\"]}]}",
            a, i + 1, b, i, a, b);
        char *name = memory_format("s%u", a), *rename = memory_format("{\"name\":\"s%u\"}", b);
        if (random_below(&random, 2)) {
            bed_do(writer, CHANGE_WHOLE, 0, NULL, body);
        } else if (random_below(&random, 2)) {
            bed_do(writer, CHANGE_PATCH, RESOURCE_SERVICE, name, rename);
        } else {
            char *target = memory_format("%u", (unsigned)random_below(&random, bed_revision(writer) + 1));
            bed_do(writer, CHANGE_ROLLBACK, 0, target, NULL);
            free(target);
        }
        free(body);
        free(name);
        free(rename);
        if (i % 10) continue;
        uint64_t last = bed_revision(&bed) > bed_revision(&other) ? bed_revision(&bed) : bed_revision(&other);
        assert_true(bed_reaches(&bed, last) && bed_reaches(&other, last));
        assert_same_state();
    }
}

/* --- away --- */

/* Another process that doesn't let go. */
static sqlite3 *lock_store(void)
{
    sqlite3 *database;
    char *path = memory_format("%s/store.db", bed.folder);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    free(path);
    return database;
}

static void a_locked_store_is_away_and_comes_back(void **state)
{
    if (bed.is_postgres) skip();
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    sqlite3 *lock = lock_store();
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a"));
    uint64_t began_ns = clock_monotonic_ns();
    assert_int_equal(bed_run(&bed, order), CHANGE_STORE_AWAY);
    assert_true(clock_monotonic_ns() - began_ns < 8000000000);
    assert_string_equal(order->error.reason, "store-unavailable");
    assert_non_null(strstr(order->error.text, "locked"));
    change_order_destroy(order);
    assert_int_equal(sqlite3_exec(lock, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(lock);
    struct changes_health health = { 0 };
    for (unsigned i = 0; i < 600 && !health.store_is_there; i++) {
        usleep(5000);
        changes_health(bed.changes, &health);
    }
    assert_true(health.store_is_there);
    assert_string_equal(health.problem, "");
    assert_int_equal(health.revision, 1);
    assert_int_equal(bed.keys_told, 0); /* nobody has changed one meanwhile: none is in doubt */
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
}

static uint64_t heard_us(void)
{
    struct changes_health health = { 0 };
    changes_health(bed.changes, &health);
    return health.heard_us;
}

/* While a question is on its way nothing is heard, however much the store is taken to be there. */
static void what_was_heard_is_of_when_it_was_asked_for(void **state)
{
    if (bed.is_postgres) skip();
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    uint64_t at_start_us = heard_us();
    assert_in_range(at_start_us, 1, clock_wall_ns() / 1000);
    for (unsigned i = 0; i < 2000 && heard_us() == at_start_us; i++) usleep(5000);
    assert_in_range(heard_us(), at_start_us + 1, clock_wall_ns() / 1000);

    sqlite3 *lock = lock_store();
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a"));
    struct bed_answer answer;
    bed_submit(&bed, order, &answer);
    usleep(400000); /* now it waits for the lock */
    uint64_t waits_us = clock_wall_ns() / 1000;
    usleep(1200000);
    assert_true(heard_us() <= waits_us);
    assert_true(bed_wait(&answer, 30000));
    assert_int_equal(order->outcome, CHANGE_STORE_AWAY);
    change_order_destroy(order);
    sqlite3_exec(lock, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(lock);
    for (unsigned i = 0; i < 2000 && heard_us() <= waits_us; i++) usleep(5000);
    assert_true(heard_us() > waits_us);
}

static void wait_for_copy(void)
{
    struct stat status;
    for (unsigned i = 0; i < 600 && stat(bed.copy, &status) != 0; i++) usleep(5000);
    assert_int_equal(stat(bed.copy, &status), 0);
}

static void a_start_without_the_store_is_from_the_copy(void **state)
{
    if (bed.is_postgres) skip();
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
    char *before = bed_state(&bed);
    wait_for_copy();
    changes_stop(bed.changes); /* writes what is not written yet */
    changes_destroy(bed.changes);
    sqlite3 *lock = lock_store();
    assert_int_equal(
        sqlite3_exec(lock, "ROLLBACK; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM revisions WHERE 0",
                     NULL, NULL, NULL),
        SQLITE_OK);
    struct error error;
    struct changes_options options = {
        .store = bed.location, .copy_path = bed.copy, .folder = bed.folder, .kinds = &bed.kinds
    };
    struct changes *changes = changes_create(&options, &error);
    if (!changes) fail_msg("%s", error.text);
    struct changes_health health;
    changes_health(changes, &health);
    assert_false(health.store_is_there);
    assert_true(health.from_copy);
    assert_int_equal(health.revision, 2);
    assert_true(health.problem[0] != '\0');
    assert_true(changes_start(changes, &error));
    bed.changes = changes;
    char *now = bed_state(&bed);
    assert_string_equal(now, before);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_ROUTE, "a", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_STORE_AWAY);
    order->dry_run = true; /* what needs no store is answered */
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    change_order_destroy(order);
    sqlite3_exec(lock, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(lock);
    for (unsigned i = 0; i < 2000 && !health.store_is_there; i++) {
        usleep(5000);
        changes_health(changes, &health);
    }
    assert_true(health.store_is_there);
    assert_false(health.from_copy);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"tags\":[\"x\"]}"), CHANGE_UPDATED);
    free(before);
    free(now);
    bed_restart(&bed); /* with a gateway again */
}

static void dawdle(struct job *job) { usleep(400000); }
static void dawdled(struct job *job, void *receiver) {}
static void no_row(void *argument, const struct store_row *row) {}

/* The copy of it was in line behind another job as the end came. */
static void the_last_change_is_in_the_copy_whenever_the_end_comes(void **state)
{
    static struct job slow;
    uint64_t revision = 0, written_us;
    struct store_visitor visitor = { no_row, NULL };
    struct error error;
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE), CHANGE_CREATED);
    wait_for_copy();
    usleep(1100000); /* the next one is written at once */
    slow = (struct job){ .reply_to = &bed.changes->mailbox, .work = dawdle, .done = dawdled };
    assert_true(jobs_submit(bed.changes->jobs, &slow));
    assert_int_equal(bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a")), CHANGE_CREATED);
    usleep(50000);
    changes_stop(bed.changes);
    assert_true(copy_read(bed.copy, &visitor, &revision, &written_us, &error));
    assert_int_equal(revision, 2);
    assert_true(changes_start(bed.changes, &error));
}

static void without_store_and_copy_there_is_no_start(void **state)
{
    struct error error;
    struct changes_options options = { .store = "sqlite:/proc/nowhere/store.db",
                                       .copy_path = "/proc/nowhere/copy",
                                       .kinds = &bed.kinds };
    assert_null(changes_create(&options, &error));
    assert_true(error.text[0] != '\0');
}

static void the_file_store_is_read_only_but_for_dry_runs(void **state)
{
    struct error error;
    struct changes_options options = { .folder = bed.folder, .kinds = &bed.kinds };
    struct changes *kept = bed.changes;
    bed.changes = changes_create(&options, &error);
    assert_true(changes_start(bed.changes, &error));
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    assert_int_equal(bed_run(&bed, order), CHANGE_READ_ONLY);
    order->dry_run = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);
    change_order_destroy(order);
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISIONS;
    question->limit = 10;
    assert_int_equal(bed_ask(&bed, question), CHANGE_READ_ONLY);
    change_question_destroy(question);
    struct changes_health health;
    changes_health(bed.changes, &health);
    assert_string_equal(health.store, "file");
    assert_true(health.store_is_there);
    changes_stop(bed.changes);
    changes_destroy(bed.changes);
    bed.changes = kept;
}

/* --- in line and in force --- */

static void an_answer_waits_for_all_workers_and_the_next_order_does_not(void **state)
{
    struct bed_answer first_answer, second_answer;
    struct change_order *first = bed_order(CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE),
                        *second = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a"));
    bed.gateway.holds = true;
    bed_submit(&bed, first, &first_answer);
    bed_submit(&bed, second, &second_answer);
    assert_true(bed_reaches(&bed, 2));
    assert_false(bed_wait(&first_answer, 30));
    assert_false(bed_wait(&second_answer, 30));
    bed_release(&bed);
    assert_true(bed_wait(&first_answer, 5000));
    assert_true(bed_wait(&second_answer, 5000));
    change_order_destroy(first);
    change_order_destroy(second);
}

static void a_line_that_is_too_long_turns_away(void **state)
{
    enum { COUNT = 3000 };
    static struct change_order *orders[COUNT];
    static struct bed_answer answers[COUNT];
    unsigned refused = 0;
    bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    for (unsigned i = 0; i < COUNT; i++) {
        orders[i] = bed_order(CHANGE_PATCH, RESOURCE_SERVICE, "one",
                              i % 2 ? "{\"tags\":[\"a\"]}" : "{\"tags\":[\"b\"]}");
        bed_submit(&bed, orders[i], &answers[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(bed_wait(&answers[i], 60000));
        refused += orders[i]->outcome == CHANGE_STORE_AWAY;
        if (orders[i]->outcome == CHANGE_STORE_AWAY)
            assert_string_equal(orders[i]->error.text, "too many changes wait");
        change_order_destroy(orders[i]);
    }
    assert_true(refused > 0 && refused < COUNT - CHANGES_WAITING_MAX + 1);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"tags\":[\"c\"]}"), CHANGE_UPDATED);
}

static bool nobody_waits(const void *argument) { return true; }

static void what_nobody_waits_for_is_made_only_where_it_changes_something(void **state)
{
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    order->is_forgotten = nobody_waits;
    order->dry_run = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_NOTHING);
    assert_null(order->list); /* not even looked at */
    order->dry_run = false;
    assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);
    change_order_destroy(order);
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISIONS;
    question->limit = 1;
    question->is_forgotten = nobody_waits;
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_null(question->document);
    change_question_destroy(question);
}

static void at_the_end_everybody_is_answered(void **state)
{
    enum { COUNT = 200 };
    static struct change_order *orders[COUNT];
    static struct bed_answer answers[COUNT];
    bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    bed.gateway.holds = true; /* and its workers are stuck */
    for (unsigned i = 0; i < COUNT; i++) {
        orders[i] = bed_order(CHANGE_PATCH, RESOURCE_SERVICE, "one", i ? "{\"tags\":[\"x\"]}" : "{\"tags\":[\"y\"]}");
        bed_submit(&bed, orders[i], &answers[i]);
    }
    changes_stop(bed.changes);
    struct bed_answer late_answer;
    struct change_order *late = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL);
    bed_submit(&bed, late, &late_answer);
    assert_true(bed_wait(&late_answer, 0));
    assert_int_equal(late->outcome, CHANGE_STORE_AWAY);
    change_order_destroy(late);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(bed_wait(&answers[i], 0));
        assert_int_not_equal(orders[i]->outcome, CHANGE_INVALID);
        change_order_destroy(orders[i]);
    }
    bed_release(&bed); /* too late for anybody */
    bed_restart(&bed);
}

static void what_was_written_is_there_after_a_restart(void **state)
{
    bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, ROUTE("a"));
    bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "a", "{\"priority\":9}");
    char *before = bed_state(&bed);
    bed_restart(&bed);
    char *after = bed_state(&bed);
    assert_string_equal(before, after);
    assert_int_equal(bed_revision(&bed), 3);
    free(before);
    free(after);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, start_two, stop_two)
    const struct CMUnitTest tests[] = {
        TEST_TWO(what_one_does_the_other_has),
        TEST_TWO(an_order_catches_up_first),
        TEST_TWO(two_that_write_at_once_end_in_one_history),
        TEST_TWO(a_name_that_means_another_one_is_followed),
        TEST_TWO(what_cannot_be_compiled_here_is_left_out_and_comes_when_it_can),
        TEST_TWO(plugins_in_each_others_way_that_others_wrote_are_in_force),
        TEST_TWO(a_plugin_that_cannot_be_had_here_opens_nothing),
        TEST_TWO(a_history_with_holes_is_read_over),
        TEST(another_history_that_ends_in_the_same_number_is_read_anew),
        TEST(an_order_meets_another_history_first),
        TEST(another_history_that_went_on_is_read_anew),
        TEST_TWO(followers_have_what_writers_have_whatever_is_written),
        TEST(a_locked_store_is_away_and_comes_back),
        TEST(what_was_heard_is_of_when_it_was_asked_for),
        TEST(a_start_without_the_store_is_from_the_copy),
        TEST(the_last_change_is_in_the_copy_whenever_the_end_comes),
        TEST(without_store_and_copy_there_is_no_start),
        TEST(the_file_store_is_read_only_but_for_dry_runs),
        TEST(an_answer_waits_for_all_workers_and_the_next_order_does_not),
        TEST(a_line_that_is_too_long_turns_away),
        TEST(what_nobody_waits_for_is_made_only_where_it_changes_something),
        TEST(at_the_end_everybody_is_answered),
        TEST(what_was_written_is_there_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
