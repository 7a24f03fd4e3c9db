/* The checker's thread beside a worker and the builder's thread: changes while it asks and while others look, and an end at any moment. */
#include "unit_test.h"

#include "base/log.h"
#include "base/memory.h"
#include "filters/filters.h"
#include "gateway/publisher.h"
#include "handlers/handlers.h"

#include <pthread.h>
#include <unistd.h>

#define SERVICE_ID "0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b"

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };

struct fixture {
    char path[64];
    struct loop loop;
    struct mailbox mailbox;
    struct jobs *jobs;
    struct gateway_options options;
    struct address_limits addresses;
    struct publisher *publisher;
    struct worker *worker;
    struct health_worker *checker;
    struct metrics_source source;
    struct facts *facts;
    unsigned read, applied;
    uint16_t port; /* listened on, never accepted from but by the kernel: checks hang */
    int listener;
};

static void note_read(void *owner, struct facts *facts, const char *failure)
{
    struct fixture *fixture = owner;
    if (failure) fail_msg("%s", failure);
    facts_destroy(fixture->facts);
    fixture->facts = facts;
    fixture->read++;
}

static void note_applied(void *owner, const char *failure)
{
    struct fixture *fixture = owner;
    if (failure) fail_msg("%s", failure);
    fixture->applied++;
}

static void note_name(void *owner, struct slice host, bool in_use) {}

/* No certificate changes here. */
static const struct publisher_events events = { .read = note_read, .applied = note_applied, .name_used = note_name };

static void ignore(void *owner) {}

static bool write_figures(struct metrics_text *text, void *argument, uint64_t *place)
{
    return health_worker_write_metrics(argument, text, place);
}

/* Instances that refuse and ones that hang; `number` tells one configuration from the next. */
static void write_file(struct fixture *fixture, unsigned number)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fprintf(file, "workers: 1\nlisteners: [\"127.0.0.1:8080\"]\nservices:\n");
    if (number % 5 != 4) {
        fprintf(file, "  - { name: s%u, id: " SERVICE_ID ", connectTimeoutMs: %u, instances: [", number % 3,
                1000 + number);
        for (unsigned i = 0; i < 40 + number % 7; i++)
            fprintf(file, "\"127.0.3.%u:%u\", ", 1 + i, i % 2 ? 1 : fixture->port);
        fprintf(file, "]");
        if (number % 4 != 3) {
            fprintf(file, ", healthCheck: { path: /%u, interval: 0.1, timeout: 0.05, unhealthyThreshold: 1 }",
                    number % 2);
        }
        fprintf(file, " }\n");
    }
    fprintf(file, "  - { name: other%u, instances: [\"127.0.0.1:%u\"], healthCheck: { path: /, interval: 0.1 } }\n",
            number % 2, fixture->port);
    fclose(file);
}

static void start(struct fixture *fixture)
{
    struct error error;
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    char *failure;
    *fixture = (struct fixture){ .path = "/tmp/sluice-checker-XXXXXX" };
    close(mkstemp(fixture->path));
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fixture->listener, 512), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&address, &length), 0);
    fixture->port = ntohs(address.sin_port);
    write_file(fixture, 0);
    fixture->options = (struct gateway_options){
        .config_path = fixture->path, .fallback = -1, .link = -1, .registry = &registry
    };
    assert_true(loop_init(&fixture->loop, &error));
    assert_true(mailbox_init(&fixture->mailbox, &fixture->loop, fixture, &error));
    fixture->jobs = jobs_create(1, &error);
    address_limits_init(&fixture->addresses);
    struct publisher_options options = { .gateway = &fixture->options,
                                         .jobs = fixture->jobs,
                                         .control = &fixture->mailbox,
                                         .events = &events,
                                         .owner = fixture };
    fixture->publisher = publisher_create(&options, &error);
    struct publication *first = publisher_load_first(fixture->publisher, &fixture->facts, &failure);
    if (!first) fail_msg("%s", failure);
    struct worker_options worker = {
        .name = "worker",
        .metrics = publisher_metrics(fixture->publisher),
        .addresses = &fixture->addresses,
        .first = first,
        .drained = ignore,
    };
    fixture->worker = worker_create(&worker, &error);
    assert_true(worker_start(fixture->worker, &error));
    fixture->checker = health_worker_create(1, first, &error);
    assert_non_null(fixture->checker);
    fixture->source = (struct metrics_source){ .write_some = write_figures, .argument = fixture->checker };
    metrics_add_source(publisher_metrics(fixture->publisher), &fixture->source);
    publisher_set_checker(fixture->publisher, fixture->checker);
    assert_true(health_worker_start(fixture->checker, &error));
    assert_true(publisher_start(fixture->publisher, &fixture->worker, 1, &error));
}

/* In the gateway's order. */
static void stop(struct fixture *fixture)
{
    worker_stop(fixture->worker);
    worker_join(fixture->worker);
    health_worker_stop(fixture->checker);
    publisher_stop(fixture->publisher);
    worker_destroy(fixture->worker);
    health_worker_destroy(fixture->checker);
    jobs_destroy(fixture->jobs);
    loop_turn(&fixture->loop, 0);
    publisher_destroy(fixture->publisher);
    mailbox_release(&fixture->mailbox);
    loop_release(&fixture->loop);
    address_limits_release(&fixture->addresses);
    facts_destroy(fixture->facts);
    close(fixture->listener);
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
    publisher_apply(fixture->publisher);
    wait_for(fixture, &fixture->applied, fixture->applied + 1);
}

static void look(struct fixture *fixture)
{
    size_t length;
    unsigned counts[HEALTH_STATES];
    free(health_worker_describe(fixture->checker, SLICE(SERVICE_ID)));
    health_worker_count(fixture->checker, counts);
    free(metrics_render(publisher_metrics(fixture->publisher), &length));
}

static void what_the_checks_said_is_seen_from_another_thread(void **state)
{
    struct fixture fixture;
    start(&fixture);
    char *text = NULL;
    for (unsigned i = 0; i < 500 && !(text && strstr(text, "connection refused") && strstr(text, "no answer")); i++) {
        free(text);
        usleep(10000);
        text = health_worker_describe(fixture.checker, SLICE(SERVICE_ID));
    }
    assert_non_null(strstr(text, "\"state\":\"down\""));
    assert_non_null(strstr(text, "connection refused"));
    assert_non_null(strstr(text, "no answer"));
    free(text);
    stop(&fixture);
}

static void changes_while_it_asks_and_others_look_leave_nothing_behind(void **state)
{
    struct fixture fixture;
    start(&fixture);
    for (unsigned number = 1; number <= 60; number++) {
        write_file(&fixture, number);
        reload(&fixture);
        look(&fixture);
        usleep(number % 3 * 10000);
        look(&fixture);
    }
    assert_int_equal(publisher_version(fixture.publisher), 61);
    stop(&fixture);
}

static void a_drained_checker_still_takes_changes(void **state)
{
    struct fixture fixture;
    start(&fixture);
    usleep(100000);
    health_worker_drain(fixture.checker);
    for (unsigned number = 1; number <= 6; number++) {
        write_file(&fixture, number);
        reload(&fixture);
        look(&fixture);
    }
    health_worker_drain(fixture.checker);
    stop(&fixture);
}

/* With orders and publications on their way. */
static void the_end_may_come_at_any_moment(void **state)
{
    for (unsigned i = 0; i < 10; i++) {
        struct fixture fixture;
        start(&fixture);
        for (unsigned number = 1; number <= 1 + i % 3; number++) {
            write_file(&fixture, number);
            reload(&fixture);
        }
        write_file(&fixture, i + 1);
        publisher_read(fixture.publisher);
        if (i % 2) wait_for(&fixture, &fixture.read, fixture.read + 1);
        if (i % 2) publisher_apply(fixture.publisher);
        usleep(i * 7000);
        stop(&fixture);
    }
}

static void it_may_end_before_it_began(void **state)
{
    struct fixture fixture;
    start(&fixture);
    stop(&fixture);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_checks_said_is_seen_from_another_thread),
        cmocka_unit_test(changes_while_it_asks_and_others_look_leave_nothing_behind),
        cmocka_unit_test(a_drained_checker_still_takes_changes),
        cmocka_unit_test(the_end_may_come_at_any_moment),
        cmocka_unit_test(it_may_end_before_it_began),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
