/* The builder's thread with two real workers: what a reload brings to all of them, what a bad file leaves, and an end at any moment. */
#include "unit_test.h"

#include "base/memory.h"
#include "filters/filters.h"
#include "gateway/publisher.h"
#include "handlers/handlers.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS 2

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };

struct fixture {
    char path[64];
    struct loop loop;
    struct mailbox mailbox;
    struct jobs *jobs;
    struct gateway_options options;
    struct address_limits addresses;
    struct publisher *publisher;
    struct worker *workers[WORKERS];
    struct facts *facts; /* of the first load, then of the last one that was read */
    char *failure;
    char names[256];
    unsigned read, applied;
};

/* --- what the publisher tells --- */

static void keep_failure(struct fixture *fixture, const char *failure)
{
    free(fixture->failure);
    fixture->failure = failure ? memory_copy_slice(slice_from_cstring(failure)) : NULL;
}

static void note_read(void *owner, struct facts *facts, const char *failure)
{
    struct fixture *fixture = owner;
    if (facts) {
        facts_destroy(fixture->facts);
        fixture->facts = facts;
    }
    keep_failure(fixture, failure);
    fixture->read++;
}

static void note_applied(void *owner, const char *failure)
{
    struct fixture *fixture = owner;
    keep_failure(fixture, failure);
    fixture->applied++;
}

static void note_name(void *owner, struct slice host, bool in_use)
{
    struct fixture *fixture = owner;
    size_t length = strlen(fixture->names);
    snprintf(fixture->names + length, sizeof fixture->names - length, "%c%.*s ", in_use ? '+' : '-', SLICE_PRINT(host));
}

static void note_certificates(void *owner, struct vector *certificates, struct entrances *admin)
{
    certificate_facts_release(certificates);
    entrances_drop(admin);
}

static const struct publisher_events events = { note_read, note_applied, note_name, note_certificates };

static void ignore(void *owner) {}

/* --- life --- */

static void write_file(struct fixture *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fprintf(file, "workers: %d\nlisteners: [\"127.0.0.1:8080\"]\n%s", WORKERS, text);
    fclose(file);
}

static void create(struct fixture *fixture, const char *text)
{
    struct error error;
    *fixture = (struct fixture){ .path = "/tmp/sluice-publisher-XXXXXX" };
    close(mkstemp(fixture->path));
    write_file(fixture, text);
    fixture->options = (struct gateway_options){
        .config_path = fixture->path, .fallback = -1, .link = -1, .registry = &registry
    };
    assert_true(loop_init(&fixture->loop, &error));
    assert_true(mailbox_init(&fixture->mailbox, &fixture->loop, fixture, &error));
    fixture->jobs = jobs_create(2, &error);
    address_limits_init(&fixture->addresses);
    struct publisher_options options = { .gateway = &fixture->options,
                                         .jobs = fixture->jobs,
                                         .control = &fixture->mailbox,
                                         .events = &events,
                                         .owner = fixture };
    fixture->publisher = publisher_create(&options, &error);
    assert_non_null(fixture->publisher);
}

static void start(struct fixture *fixture, const char *text)
{
    struct error error;
    create(fixture, text);
    struct publication *first = publisher_load_first(fixture->publisher, &fixture->facts, &fixture->failure);
    if (!first) fail_msg("%s", fixture->failure);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_options worker = {
            .index = i,
            .name = "worker",
            .metrics = publisher_metrics(fixture->publisher),
            .addresses = &fixture->addresses,
            .first = first,
            .drained = ignore,
        };
        fixture->workers[i] = worker_create(&worker, &error);
        assert_true(worker_start(fixture->workers[i], &error));
    }
    assert_true(publisher_start(fixture->publisher, fixture->workers, WORKERS, &error));
}

/* In the gateway's order. */
static void stop(struct fixture *fixture)
{
    for (unsigned i = 0; i < WORKERS && fixture->workers[i]; i++) {
        worker_stop(fixture->workers[i]);
        worker_join(fixture->workers[i]);
    }
    publisher_stop(fixture->publisher);
    for (unsigned i = 0; i < WORKERS && fixture->workers[i]; i++) worker_destroy(fixture->workers[i]);
    while (jobs_are_under_way(fixture->jobs))
        usleep(1000); /* where the gateway would leave them to the process's end */
    jobs_destroy(fixture->jobs);
    loop_turn(&fixture->loop, 0);
    publisher_destroy(fixture->publisher);
    mailbox_release(&fixture->mailbox);
    loop_release(&fixture->loop);
    address_limits_release(&fixture->addresses);
    facts_destroy(fixture->facts);
    free(fixture->failure);
    unlink(fixture->path);
}

static void wait_for(struct fixture *fixture, const unsigned *count, unsigned wanted)
{
    for (int i = 0; i < 1000 && *count < wanted; i++) loop_turn(&fixture->loop, 10);
    assert_int_equal(*count, wanted);
}

static void reload(struct fixture *fixture)
{
    publisher_read(fixture->publisher);
    wait_for(fixture, &fixture->read, fixture->read + 1);
    if (fixture->failure) return;
    publisher_apply(fixture->publisher);
    wait_for(fixture, &fixture->applied, fixture->applied + 1);
}

#define ONE_ROUTE "routes: [{ name: a, path: /a, respond: { status: 200 } }]\n"
#define TWO_ROUTES \
    "routes: [{ name: a, path: /a, respond: { status: 200 } }, { name: b, path: /b, respond: { status: 200 } }]\n"

static void a_reload_is_in_force_on_all_workers_when_it_says_so(void **state)
{
    struct fixture fixture;
    start(&fixture, ONE_ROUTE);
    assert_int_equal(publisher_version(fixture.publisher), 1);
    assert_int_equal(publisher_routes(fixture.publisher), 1);
    write_file(&fixture, "drainTimeout: 7\n" TWO_ROUTES);
    reload(&fixture);
    assert_null(fixture.failure);
    assert_int_equal(publisher_version(fixture.publisher), 2);
    assert_int_equal(publisher_routes(fixture.publisher), 2);
    assert_int_equal(fixture.facts->drain_timeout_ms, 7000);
    stop(&fixture);
}

static void a_bad_file_changes_nothing_and_says_why(void **state)
{
    struct fixture fixture;
    start(&fixture, ONE_ROUTE);
    write_file(&fixture, "routes: [{ name: a, path: /a }]\n");
    reload(&fixture);
    assert_non_null(strstr(fixture.failure, fixture.path));
    assert_int_equal(fixture.applied, 0);
    /* What only compilation finds. */
    write_file(&fixture, "routes: [{ name: a, path: \"~^/(\", respond: { status: 200 } }]\n");
    reload(&fixture);
    assert_non_null(fixture.failure);
    assert_int_equal(publisher_version(fixture.publisher), 1);
    unlink(fixture.path);
    reload(&fixture);
    assert_non_null(strstr(fixture.failure, "cannot be read"));
    assert_int_equal(publisher_version(fixture.publisher), 1);
    write_file(&fixture, TWO_ROUTES);
    reload(&fixture);
    assert_null(fixture.failure);
    assert_int_equal(publisher_version(fixture.publisher), 2);
    stop(&fixture);
}

static void what_was_read_can_be_discarded(void **state)
{
    struct fixture fixture;
    start(&fixture, ONE_ROUTE);
    write_file(&fixture, TWO_ROUTES);
    publisher_read(fixture.publisher);
    wait_for(&fixture, &fixture.read, 1);
    publisher_discard(fixture.publisher);
    write_file(
        &fixture,
        "routes: [{ name: a, path: /a, respond: { status: 200 } }, { name: c, path: /c, respond: { status: 200 } },"
        " { name: d, path: /d, respond: { status: 200 } }]\n");
    reload(&fixture);
    assert_int_equal(publisher_version(fixture.publisher), 2);
    assert_int_equal(publisher_routes(fixture.publisher), 3);
    stop(&fixture);
}

static void many_reloads_leave_nothing_behind(void **state)
{
    struct fixture fixture;
    start(&fixture, ONE_ROUTE);
    for (unsigned i = 0; i < 60; i++) {
        write_file(&fixture, i % 2 ? "services: [{ name: s, instances: [\"127.0.0.1:1\", \"s.invalid:1\"] }]\n"
                                     "routes: [{ name: a, path: /a, serviceId: s }]\n"
                                   : TWO_ROUTES);
        reload(&fixture);
        assert_null(fixture.failure);
    }
    assert_int_equal(publisher_version(fixture.publisher), 61);
    assert_non_null(strstr(fixture.names, "+s.invalid -s.invalid "));
    struct address address;
    assert_true(address_parse(SLICE("127.0.0.9:1"), &address));
    publisher_addresses(fixture.publisher, SLICE("s.invalid"), &address, 1);
    publisher_addresses(fixture.publisher, SLICE("nobody.invalid"), &address, 1);
    reload(&fixture);
    assert_int_equal(publisher_version(fixture.publisher), 63);
    stop(&fixture);
}

/* The text that was good last is handed out once, and a broken file after a crash falls back to it. */
static void the_last_good_text_serves_when_the_file_is_broken(void **state)
{
    struct fixture fixture;
    start(&fixture, TWO_ROUTES);
    int text = publisher_take_good_text(fixture.publisher);
    assert_true(text >= 0);
    assert_int_equal(publisher_take_good_text(fixture.publisher), -1);
    write_file(&fixture, "routes: [{ name: a, path: \"~^/(\", respond: { status: 200 } }]\n");
    reload(&fixture);
    assert_int_equal(publisher_take_good_text(fixture.publisher), -1);
    stop(&fixture);
    create(&fixture, "routes: [{ name: a, path: \"~^/(\", respond: { status: 200 } }]\n");
    fixture.options.fallback = text;
    struct publication *first = publisher_load_first(fixture.publisher, &fixture.facts, &fixture.failure);
    assert_non_null(first);
    assert_int_equal(publisher_routes(fixture.publisher), 2);
    stop(&fixture);
    close(text);
}

/* The file wants one worker and does not compile; the text of before wants two: tables must have room for two. */
static void the_fallback_may_want_other_numbers_of_workers(void **state)
{
    struct fixture fixture;
    create(&fixture, "");
    FILE *file = fopen(fixture.path, "w");
    fprintf(file,
            "workers: 1\nlisteners: [\"127.0.0.1:8080\"]\nroutes: [{ path: \"~^/(\", respond: { status: 200 } }]\n");
    fclose(file);
    char good[] = "/tmp/sluice-good-XXXXXX";
    int text = mkstemp(good);
    unlink(good);
    dprintf(text, "workers: 64\nlisteners: [\"127.0.0.1:8080\"]\n" ONE_ROUTE);
    fixture.options.fallback = text;
    struct publication *first = publisher_load_first(fixture.publisher, &fixture.facts, &fixture.failure);
    assert_non_null(first);
    assert_int_equal(fixture.facts->workers, 64);
    struct exchange_record record = { .status = 200 };
    metrics_count(publisher_metrics(fixture.publisher), 63, NULL, &record);
    metrics_count_error(publisher_metrics(fixture.publisher), 63, "reset");
    stop(&fixture);
    close(text);
}

static void without_a_fallback_a_bad_file_is_told(void **state)
{
    struct fixture fixture;
    create(&fixture, "routes: [{ name: a, path: /a }]\n");
    assert_null(publisher_load_first(fixture.publisher, &fixture.facts, &fixture.failure));
    assert_non_null(strstr(fixture.failure, fixture.path));
    stop(&fixture);
}

static char *write_regexes(unsigned count)
{
    size_t size = count * 80 + 100, length;
    char *text = memory_allocate(size);
    length = (size_t)snprintf(text, size, "routes:\n");
    for (unsigned i = 0; i < count; i++) {
        length += (size_t)snprintf(text + length, size - length,
                                   "  - { path: \"~.*[a-z]+k%u[0-9]\", respond: { status: 200 } }\n", i);
    }
    return text;
}

/* Orders and a prefilter under way when the end comes: whatever is delivered late must find what it needs. */
static void the_end_may_come_at_any_moment(void **state)
{
    char *regexes = write_regexes(60);
    for (unsigned i = 0; i < 12; i++) {
        struct fixture fixture;
        struct address address;
        assert_true(address_parse(SLICE("127.0.0.9:1"), &address));
        start(&fixture, i % 2 ? regexes
                              : "services: [{ name: s, instances: [\"s.invalid:1\"] }]\n"
                                "routes: [{ name: a, path: /a, serviceId: s }]\n");
        write_file(&fixture, i % 3 ? TWO_ROUTES : regexes);
        publisher_read(fixture.publisher);
        if (i % 4 < 2) wait_for(&fixture, &fixture.read, 1);
        if (fixture.read > 0) publisher_apply(fixture.publisher);
        for (unsigned j = 0; j < 3; j++) publisher_addresses(fixture.publisher, SLICE("s.invalid"), &address, 1);
        if (i >= 6) usleep(i * 1000);
        stop(&fixture);
    }
    free(regexes);
}

static void a_prefilter_is_built_beside_and_published(void **state)
{
    struct fixture fixture;
    char *regexes = write_regexes(60);
    start(&fixture, regexes);
    for (int i = 0; i < 1000 && publisher_version(fixture.publisher) < 2; i++) loop_turn(&fixture.loop, 10);
    assert_int_equal(publisher_version(fixture.publisher), 2);
    stop(&fixture);
    free(regexes);
}

/* --- changes, as from the thread that makes them; here the test's own --- */

#define LISTENERS "listeners: [\"127.0.0.1:8080\"]\n"

static struct configuration_change *make_change(const char *text)
{
    struct configuration_change *change = memory_allocate(sizeof *change);
    struct policy_kinds kinds = policy_registry_kinds(&registry);
    struct problems problems;
    problems_init(&problems, "change");
    change->configuration = configuration_load_text(slice_from_cstring(text), "change", "/", &kinds, &problems);
    assert_non_null(change->configuration);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return change;
}

static struct prepared_change *try_prepare(struct fixture *fixture, const char *text, size_t *problem_count)
{
    struct problems problems;
    problems_init(&problems, "change");
    struct prepared_change *prepared = publisher_prepare(fixture->publisher, make_change(text), &problems);
    *problem_count = problems.count;
    problems_release(&problems);
    return prepared;
}

static struct prepared_change *prepare(struct fixture *fixture, const char *text)
{
    size_t problems;
    struct prepared_change *prepared = try_prepare(fixture, text, &problems);
    assert_non_null(prepared);
    return prepared;
}

static void note_in_force(void *argument) { sem_post(argument); }

static void commit(struct fixture *fixture, struct prepared_change *prepared)
{
    sem_t in_force;
    sem_init(&in_force, 0, 0);
    publisher_commit(fixture->publisher, prepared, note_in_force, &in_force);
    while (sem_wait(&in_force) != 0) {}
    sem_destroy(&in_force);
}

#define ROUTE_N LISTENERS "routes: [{ name: n, path: /n, respond: { status: 200 } }]\n"

static void a_change_is_in_force_when_it_says_so_and_not_before_it_is_committed(void **state)
{
    struct fixture fixture;
    size_t problems;
    start(&fixture, ONE_ROUTE);
    struct prepared_change *prepared = prepare(&fixture, ROUTE_N);
    assert_int_equal(publisher_version(fixture.publisher), 1);
    commit(&fixture, prepared);
    assert_int_equal(publisher_version(fixture.publisher), 2);
    assert_int_equal(publisher_routes(fixture.publisher), 2);
    publisher_abandon(fixture.publisher, prepare(&fixture, LISTENERS TWO_ROUTES));
    assert_null(try_prepare(&fixture, LISTENERS "routes: [{ name: m, path: \"~^/(\", respond: { status: 200 } }]\n",
                            &problems));
    assert_int_equal(problems, 1);
    commit(&fixture, prepare(&fixture, LISTENERS TWO_ROUTES));
    assert_int_equal(publisher_version(fixture.publisher), 3);
    assert_int_equal(publisher_routes(fixture.publisher), 3);
    stop(&fixture);
}

static void a_reload_waits_for_the_end_of_what_is_prepared(void **state)
{
    for (int is_committed = 0; is_committed <= 1; is_committed++) {
        struct fixture fixture;
        start(&fixture, ONE_ROUTE);
        struct prepared_change *prepared = prepare(&fixture, ROUTE_N);
        write_file(&fixture, TWO_ROUTES);
        publisher_read(fixture.publisher);
        wait_for(&fixture, &fixture.read, 1);
        publisher_apply(fixture.publisher);
        for (int i = 0; i < 10; i++) loop_turn(&fixture.loop, 10);
        assert_int_equal(fixture.applied, 0);
        if (is_committed)
            publisher_commit(fixture.publisher, prepared, NULL, NULL);
        else
            publisher_abandon(fixture.publisher, prepared);
        wait_for(&fixture, &fixture.applied, 1);
        assert_null(fixture.failure);
        assert_int_equal(publisher_version(fixture.publisher), 2 + is_committed);
        assert_int_equal(publisher_routes(fixture.publisher), 2); /* the file says all */
        commit(&fixture, prepare(&fixture, ROUTE_N));
        assert_int_equal(publisher_routes(fixture.publisher), 3);
        stop(&fixture);
    }
}

/* What the workers have not adopted when they end is in force for nobody, and nothing of it is lost or freed twice. */
static void the_end_may_come_behind_a_commit(void **state)
{
    for (unsigned i = 0; i < 12; i++) {
        struct fixture fixture;
        start(&fixture, ONE_ROUTE);
        for (unsigned j = 0; j <= i % 3; j++)
            publisher_commit(fixture.publisher, prepare(&fixture, j % 2 ? ROUTE_N : LISTENERS TWO_ROUTES), NULL, NULL);
        if (i >= 6) usleep(i * 100);
        stop(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reload_is_in_force_on_all_workers_when_it_says_so),
        cmocka_unit_test(a_bad_file_changes_nothing_and_says_why),
        cmocka_unit_test(what_was_read_can_be_discarded),
        cmocka_unit_test(many_reloads_leave_nothing_behind),
        cmocka_unit_test(the_last_good_text_serves_when_the_file_is_broken),
        cmocka_unit_test(the_fallback_may_want_other_numbers_of_workers),
        cmocka_unit_test(without_a_fallback_a_bad_file_is_told),
        cmocka_unit_test(the_end_may_come_at_any_moment),
        cmocka_unit_test(a_prefilter_is_built_beside_and_published),
        cmocka_unit_test(a_change_is_in_force_when_it_says_so_and_not_before_it_is_committed),
        cmocka_unit_test(a_reload_waits_for_the_end_of_what_is_prepared),
        cmocka_unit_test(the_end_may_come_behind_a_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
