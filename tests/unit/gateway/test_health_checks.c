/* The checker on a loop of the test's own, with snapshots that it publishes itself: who is asked, what comes of it, what a change keeps. */
#include "snapshot/builder_bed.h"

#include "base/log.h"
#include "gateway/health_checks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define CONNECTIONS_MAX 1024

static struct builder_bed bed;
static struct loop loop;
static struct memory_ceiling memory;
static struct slab_pool slabs;
static struct arena_pool arenas;
static struct http_worker http;
static struct upstream_worker upstream;
static struct health_checks checks;
static struct snapshot *newest;

/* --- instances: one socket on all addresses of loopback, served between the loop's turns --- */

static struct {
    int listener;
    uint16_t port;
    int connections[CONNECTIONS_MAX];
    unsigned count;
    unsigned status; /* 0: says nothing */
    in_addr_t well;  /* whoever asks this address gets 200; 0: none */
    unsigned asked;
    char last[512]; /* request */
} server;

static void server_start(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    socklen_t length = sizeof address;
    int on = 1;
    memset(&server, 0, sizeof server);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_return_code(bind(server.listener, (struct sockaddr *)&address, sizeof address), errno);
    assert_return_code(listen(server.listener, 4096), errno);
    assert_return_code(getsockname(server.listener, (struct sockaddr *)&address, &length), errno);
    server.port = ntohs(address.sin_port);
    server.status = 200;
}

static bool is_well(int connection)
{
    struct sockaddr_in address = { 0 };
    socklen_t length = sizeof address;
    getsockname(connection, (struct sockaddr *)&address, &length);
    return server.well && address.sin_addr.s_addr == server.well;
}

static void serve_one(int *connection)
{
    ssize_t got = recv(*connection, server.last, sizeof server.last - 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close(*connection);
        *connection = -1;
        return;
    }
    server.last[got] = '\0';
    server.asked++;
    unsigned status = is_well(*connection) ? 200 : server.status;
    if (status == 0) return;
    char answer[64];
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 %u X\r\nContent-Length: 2\r\n\r\nok", status);
    assert_int_equal(send(*connection, answer, (size_t)length, MSG_NOSIGNAL), length);
}

static void serve(void)
{
    int connection;
    while (server.count < CONNECTIONS_MAX &&
           (connection = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        server.connections[server.count++] = connection;
    unsigned kept = 0;
    for (unsigned i = 0; i < server.count; i++) {
        serve_one(&server.connections[i]);
        if (server.connections[i] >= 0) server.connections[kept++] = server.connections[i];
    }
    server.count = kept;
}

static void server_stop(void)
{
    for (unsigned i = 0; i < server.count; i++) close(server.connections[i]);
    server.count = 0;
    if (server.listener >= 0) close(server.listener);
    server.listener = -1;
}

/* --- the checker --- */

static int set_up(void **state)
{
    bed_start(&bed);
    server_start(0);
    assert_true(loop_init(&loop, NULL));
    memory = (struct memory_ceiling){ 0 };
    slab_pool_init(&slabs, 1 << 20, &memory);
    arena_pool_init(&arenas, 16, &memory);
    http = (struct http_worker){ .loop = &loop, .slabs = &slabs, .arenas = &arenas };
    assert_true(upstream_worker_init(&upstream, &http, 2, NULL));
    health_checks_init(&checks, &upstream);
    newest = NULL;
    return 0;
}

static void turn(int wait_ms)
{
    loop_turn(&loop, wait_ms);
    serve();
}

static void turn_for(unsigned milliseconds)
{
    for (uint64_t until_ms = loop.now_ms + milliseconds; loop.now_ms < until_ms;) turn(2);
}

#define turn_until(condition)                                                             \
    do {                                                                                  \
        uint64_t until_ms_ = loop.now_ms + PATIENCE_MS;                                   \
        while (!(condition)) {                                                            \
            if (loop.now_ms >= until_ms_) fail_msg("waited in vain for: %s", #condition); \
            turn(2);                                                                      \
        }                                                                                 \
    } while (0)

static void publish(struct snapshot *snapshot)
{
    health_checks_adopt(&checks, newest, snapshot);
    if (newest) snapshot_destroy(newest);
    newest = snapshot;
    snapshot_builder_collect(bed.builder);
}

/* In the gateway's order; whatever was under way. */
static int tear_down(void **state)
{
    health_checks_end(&checks);
    assert_int_equal(checks.running, 0);
    assert_int_equal(gauge_read(&upstream.counters.leases), 0);
    for (int i = 0; i < 4; i++) loop_turn(&loop, 0);
    upstream_worker_release(&upstream);
    loop_turn(&loop, 0);
    health_checks_release(&checks);
    server_stop();
    assert_int_equal(slabs.taken_bytes, 0);
    assert_int_equal(arenas.bytes_taken, 0);
    assert_int_equal(loop.timers.count, 0);
    loop_release(&loop);
    slab_pool_release(&slabs);
    arena_pool_release(&arenas);
    snapshot_builder_collect(bed.builder);
    struct instance *instance;
    while ((instance = instance_next_forgotten(snapshot_builder_instances(bed.builder))) != NULL)
        instance_destroy(snapshot_builder_instances(bed.builder), instance);
    bed_stop(&bed);
    return 0;
}

/* --- configurations --- */

#define CHECK "interval: 0.1, timeout: 1, healthyThreshold: 2, unhealthyThreshold: 3"

/* Service "s" of the given instances (loopback's addresses, without port), and what else it has. */
static struct snapshot *load(const char *ips, const char *fields)
{
    static char text[64 * 1024];
    size_t length = (size_t)snprintf(text, sizeof text, "services:\n  - { name: s, instances: [");
    struct slice rest = slice_from_cstring(ips), ip;
    while (slice_next(&rest, ' ', &ip)) {
        length += (size_t)snprintf(text + length, sizeof text - length, "\"%.*s:%u\", ", SLICE_PRINT(ip), server.port);
    }
    snprintf(text + length, sizeof text - length, "], %s }\nroutes:\n  - { name: a, path: /a, serviceId: s }\n",
             fields);
    return bed_load_whole(&bed, text);
}

static struct snapshot *load_checked(const char *ips, const char *path, const char *check)
{
    char fields[256];
    snprintf(fields, sizeof fields, "healthCheck: { path: %s, %s }", path, check);
    return load(ips, fields);
}

static struct service *service_now(void) { return bed_service(&bed, newest, "/a"); }

static struct instance *instance_at(uint32_t index) { return service_now()->endpoints[index].instance; }

static enum health_state state_of(uint32_t index) { return atomic_load(&instance_at(index)->health.state); }

static struct instance_check *check_at(uint32_t index) { return checks.by_slot[instance_at(index)->slot]; }

static char *describe(void) { return health_checks_describe(&checks, slice_from_cstring(service_now()->id)); }

static void assert_described(const char *part)
{
    char *text = describe();
    assert_non_null(text);
    if (!strstr(text, part)) fail_msg("no %s in %s", part, text);
    free(text);
}

/* --- asking --- */

static void an_instance_is_asked_at_its_interval_on_one_connection(void **state)
{
    publish(load_checked("127.0.0.1", "/health?a=1", CHECK));
    assert_int_equal(state_of(0), HEALTH_UNKNOWN);
    turn_until(server.asked >= 4);
    assert_non_null(strstr(server.last, "GET /health?a=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
    assert_int_equal(server.count, 1);
    assert_int_equal(state_of(0), HEALTH_UP);
    assert_int_equal(counter_read(&instance_at(0)->lines[2].tries), server.asked);
    assert_int_equal(counter_read(&instance_at(0)->lines[0].tries), 0);
}

static void a_service_without_a_check_is_left_alone(void **state)
{
    publish(load("127.0.0.1", ""));
    turn_for(150);
    assert_int_equal(server.asked, 0);
    assert_null(describe());
}

static void refused_connections_make_it_down_and_answers_up_again(void **state)
{
    publish(load_checked("127.0.0.1", "/", CHECK));
    turn_until(state_of(0) == HEALTH_UP);
    uint16_t port = server.port;
    server_stop();
    turn_until(state_of(0) == HEALTH_DOWN);
    assert_described("\"state\":\"down\"");
    assert_described("\"lastStatus\":null,\"reason\":\"connection refused\"");
    instance_strike(instance_at(0), loop.now_ms);
    server_start(port);
    turn_until(state_of(0) == HEALTH_UP);
    assert_int_equal(atomic_load(&instance_at(0)->strikes), 0);
    assert_described("\"lastStatus\":200,\"reason\":null");
}

static void no_answer_in_time_is_a_failure(void **state)
{
    server.status = 0;
    publish(load_checked("127.0.0.1", "/", "interval: 0.1, timeout: 0.05"));
    turn_until(state_of(0) == HEALTH_DOWN);
    assert_described("\"reason\":\"no answer within 50 ms\"");
    assert_true(check_at(0)->is_slow);
    server.status = 200;
    turn_until(state_of(0) == HEALTH_UP);
    assert_false(check_at(0)->is_slow);
}

static void another_status_is_a_failure(void **state)
{
    server.status = 302;
    publish(load_checked("127.0.0.1", "/", CHECK ", expectedStatus: [200, 500-599]"));
    turn_until(state_of(0) == HEALTH_DOWN);
    assert_described("\"lastStatus\":302,\"reason\":\"status 302\"");
    unsigned counts[HEALTH_STATES];
    health_checks_count(&checks, counts);
    assert_int_equal(counts[HEALTH_UNKNOWN], 0);
    assert_int_equal(counts[HEALTH_UP], 0);
    assert_int_equal(counts[HEALTH_DOWN], 1);
    server.status = 555;
    turn_until(state_of(0) == HEALTH_UP);
}

/* Whatever the checker lacks says nothing about the instance. */
static void a_checker_without_memory_judges_nobody(void **state)
{
    memory.bytes_max = 1;
    publish(load_checked("127.0.0.1", "/", CHECK));
    turn_until(check_at(0)->of->results[CHECK_SKIPPED] >= 2);
    assert_int_equal(state_of(0), HEALTH_UNKNOWN);
    memory.bytes_max = 0;
    turn_until(state_of(0) == HEALTH_UP);
}

/* --- change --- */

static void a_change_of_the_service_keeps_what_is_known_and_asks_nobody_anew(void **state)
{
    server.status = 500;
    publish(load_checked("127.0.0.1 127.0.0.2", "/", "interval: 60, timeout: 1"));
    turn_until(state_of(0) == HEALTH_DOWN && state_of(1) == HEALTH_DOWN);
    unsigned asked = server.asked;
    for (unsigned i = 0; i < 20; i++) {
        char fields[128];
        snprintf(fields, sizeof fields, "connectTimeoutMs: %u, healthCheck: { path: /, interval: 60, timeout: 1 }",
                 1000 + i);
        publish(load("127.0.0.1 127.0.0.2", fields));
        assert_int_equal(state_of(0), HEALTH_DOWN);
        turn_for(10);
    }
    assert_int_equal(server.asked, asked);
    assert_described("\"state\":\"down\"");
}

/* The older service goes when the check that asks by it is over, not before. */
static void a_check_under_way_outlives_the_snapshot_that_it_began_with(void **state)
{
    server.status = 0;
    publish(load_checked("127.0.0.1", "/", CHECK));
    turn_until(server.asked == 1);
    assert_non_null(check_at(0)->run);
    const struct check_run *run = check_at(0)->run;
    for (unsigned i = 0; i < 5; i++) {
        char fields[128];
        snprintf(fields, sizeof fields, "connectTimeoutMs: %u, healthCheck: { path: /, " CHECK " }", 1000 + i);
        publish(load("127.0.0.1", fields));
        turn_for(5);
    }
    assert_ptr_equal(check_at(0)->run, run);
    server.status = 200;
    turn_until(state_of(0) != HEALTH_UNKNOWN);
}

static void another_question_is_put_at_once(void **state)
{
    server.status = 0;
    publish(load_checked("127.0.0.1", "/old", "interval: 1, timeout: 60"));
    turn_until(server.asked == 1);
    server.status = 200;
    publish(load_checked("127.0.0.1", "/new", "interval: 1, timeout: 60"));
    turn_until(state_of(0) == HEALTH_UP);
    assert_non_null(strstr(server.last, "GET /new "));
}

static void a_changed_interval_holds_at_once(void **state)
{
    publish(load_checked("127.0.0.1", "/", "interval: 3600"));
    turn_until(state_of(0) == HEALTH_UP);
    unsigned asked = server.asked;
    publish(load_checked("127.0.0.1", "/", "interval: 0.1"));
    turn_until(server.asked >= asked + 3);
    publish(load_checked("127.0.0.1", "/", "interval: 3600"));
    turn_for(20);
    asked = server.asked;
    turn_for(300);
    assert_int_equal(server.asked, asked);
}

static void without_its_check_a_service_is_forgotten(void **state)
{
    server.status = 500;
    publish(load_checked("127.0.0.1", "/", CHECK));
    turn_until(state_of(0) == HEALTH_DOWN);
    server.status = 0;
    unsigned asked = server.asked;
    turn_until(server.asked > asked);
    publish(load("127.0.0.1", ""));
    assert_int_equal(state_of(0), HEALTH_UNKNOWN);
    assert_int_equal(checks.running, 0);
    assert_int_equal(gauge_read(&upstream.counters.calls), 0);
    assert_null(describe());
    publish(load_checked("127.0.0.1", "/", CHECK));
    server.status = 200;
    turn_until(state_of(0) == HEALTH_UP);
}

static void a_service_that_goes_takes_its_checks_along(void **state)
{
    server.status = 0;
    publish(load_checked("127.0.0.1", "/", CHECK));
    turn_until(server.asked == 1);
    publish(bed_load_whole(&bed, "routes: [{ name: a, path: /a, respond: { status: 200 } }]\n"));
    assert_int_equal(checks.running, 0);
    assert_int_equal(checks.services.count, 0);
    turn_until(server.count == 0);
}

static void instances_come_and_go_and_stand_in_the_services_order(void **state)
{
    publish(load_checked("127.0.0.1 127.0.0.2", "/", CHECK));
    turn_until(state_of(0) == HEALTH_UP && state_of(1) == HEALTH_UP);
    publish(load_checked("127.0.0.3 127.0.0.2 127.0.0.1", "/", CHECK));
    assert_int_equal(state_of(0), HEALTH_UNKNOWN);
    assert_int_equal(state_of(2), HEALTH_UP);
    char *text = describe();
    char *three = strstr(text, "127.0.0.3"), *two = strstr(text, "127.0.0.2"), *one = strstr(text, "127.0.0.1");
    assert_true(three && two && one && three < two && two < one);
    free(text);
    publish(load_checked("127.0.0.2", "/", CHECK));
    assert_int_equal(check_at(0)->of->checks.next->next == &check_at(0)->of->checks, true);
    turn_for(250);
    assert_int_equal(state_of(0), HEALTH_UP);
}

static void a_service_may_get_another_name(void **state)
{
    static const char form[] =
        "services: [{ name: %s, id: 0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b, instances: [\"127.0.0.1:%u\"],"
        " healthCheck: { path: /, " CHECK " } }]\nroutes: [{ name: a, path: /a, serviceId: %s }]\n";
    char text[512];
    server.status = 500;
    snprintf(text, sizeof text, form, "before", server.port, "before");
    publish(bed_load_whole(&bed, text));
    turn_until(state_of(0) == HEALTH_DOWN);
    snprintf(text, sizeof text, form, "after", server.port, "after");
    publish(bed_load_whole(&bed, text));
    assert_int_equal(state_of(0), HEALTH_DOWN);
    assert_int_equal(checks.services.count, 1);
    assert_described("\"state\":\"down\"");
}

/* --- places --- */

static const char *many_ips(unsigned count)
{
    static char text[16 * 1024];
    size_t length = 0;
    for (unsigned i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "127.0.%u.%u ", 1 + i / 200, 1 + i % 200);
    text[length - 1] = '\0';
    return text;
}

static void there_are_never_more_under_way_than_places(void **state)
{
    server.status = 0;
    publish(load_checked(many_ips(400), "/", "interval: 0.1, timeout: 0.3, unhealthyThreshold: 1"));
    unsigned most = 0;
    for (uint64_t until_ms = loop.now_ms + 900; loop.now_ms < until_ms;) {
        turn(2);
        if (checks.running > most) most = checks.running;
    }
    assert_int_equal(most, CHECKS_MAX);
    for (uint32_t i = 0; i < 400; i++) turn_until(state_of(i) == HEALTH_DOWN);
    most = 0;
    for (uint64_t until_ms = loop.now_ms + 500; loop.now_ms < until_ms;) {
        turn(2);
        if (checks.running_slow > most) most = checks.running_slow;
    }
    assert_int_equal(most, SLOW_CHECKS_MAX);
}

static void who_hangs_does_not_hold_up_who_answers(void **state)
{
    char ips[17 * 1024];
    snprintf(ips, sizeof ips, "%s 127.0.9.9", many_ips(400));
    server.status = 0;
    publish(load_checked(ips, "/", "interval: 0.1, timeout: 0.5, unhealthyThreshold: 1"));
    for (uint32_t i = 0; i < 400; i++) turn_until(state_of(i) == HEALTH_DOWN);
    turn_until(state_of(400) == HEALTH_DOWN);
    server.well = inet_addr("127.0.9.9");
    struct instance_check *well = check_at(400);
    turn_until(state_of(400) == HEALTH_UP);
    assert_true(checks.running_slow <= SLOW_CHECKS_MAX);
    uint64_t begun_ms = well->begun_ms;
    turn_until(well->begun_ms > begun_ms);
    assert_in_range(well->begun_ms - begun_ms, 50, 400);
}

/* --- the end, and what others see --- */

static void after_the_end_nobody_is_asked_and_changes_are_still_taken(void **state)
{
    server.status = 0;
    publish(load_checked("127.0.0.1 127.0.0.2", "/", CHECK));
    turn_until(server.asked == 2);
    health_checks_end(&checks);
    assert_int_equal(checks.running, 0);
    publish(load_checked("127.0.0.2 127.0.0.3", "/other", CHECK));
    turn_for(250);
    assert_int_equal(server.asked, 2);
    assert_described("\"state\":\"unknown\"");
}

static void what_is_not_known_yet_is_null(void **state)
{
    publish(load_checked("127.0.0.1", "/", CHECK));
    char *text = describe(), expected[256];
    snprintf(expected, sizeof expected,
             "[{\"instance\":\"127.0.0.1:%u\",\"state\":\"unknown\",\"since\":null,\"lastCheck\":null,"
             "\"lastStatus\":null,\"reason\":null}]",
             server.port);
    assert_string_equal(text, expected);
    free(text);
    assert_null(health_checks_describe(&checks, SLICE("nobody")));
}

static unsigned pieces;

static bool write_metrics(struct metrics_text *text, void *argument, uint64_t *place)
{
    pieces++;
    return health_checks_write_metrics(argument, text, place);
}

static void assert_in_metrics(const char *line, bool there)
{
    size_t length;
    char *text = metrics_render(bed.metrics, &length);
    char *whole = calloc(1, length + 1);
    memcpy(whole, text, length);
    if ((strstr(whole, line) != NULL) != there) fail_msg("%s stands %sin:\n%s", line, there ? "not " : "", whole);
    free(whole);
    free(text);
}

static void metrics_name_services_and_instances(void **state)
{
    struct metrics_source source = { .write_some = write_metrics, .argument = &checks };
    char text[512], line[256];
    metrics_add_source(bed.metrics, &source);
    snprintf(text, sizeof text,
             "services: [{ name: 'a \"b\\c', instances: [\"127.0.0.1:%u\"], healthCheck: { path: /, " CHECK " } }]\n"
             "routes: [{ name: a, path: /a, serviceId: 'a \"b\\c' }]\n",
             server.port);
    publish(bed_load_whole(&bed, text));
    assert_in_metrics("sluice_instance_up{", false);
    turn_until(state_of(0) == HEALTH_UP);
    snprintf(line, sizeof line, "sluice_instance_up{service=\"a \\\"b\\\\c\",instance=\"127.0.0.1:%u\"} 1\n",
             server.port);
    assert_in_metrics(line, true);
    assert_in_metrics("sluice_health_checks_total{service=\"a \\\"b\\\\c\",result=\"failure\"} 0\n", true);
    atomic_store(&instance_at(0)->health.state, HEALTH_DOWN);
    line[strlen(line) - 2] = '0';
    assert_in_metrics(line, true);
}

static unsigned count_of(const char *text, const char *word)
{
    unsigned count = 0;
    while ((text = strstr(text, word)) != NULL) count++, text++;
    return count;
}

static void metrics_of_many_services_are_written_piece_by_piece(void **state)
{
    struct metrics_source source = { .write_some = write_metrics, .argument = &checks };
    char *text;
    size_t size, length;
    metrics_add_source(bed.metrics, &source);
    FILE *file = open_memstream(&text, &size);
    fprintf(file, "services:\n");
    for (int i = 0; i < 100; i++)
        fprintf(file, "  - { name: s%d, instances: [\"127.0.0.1:%u\"], healthCheck: { path: /, " CHECK " } }\n", i,
                server.port);
    fprintf(file, "routes: [{ name: a, path: /a, serviceId: s0 }]\n");
    fclose(file);
    publish(bed_load_whole(&bed, text));
    free(text);
    turn_until(state_of(0) == HEALTH_UP);
    pieces = 0;
    char *rendered = metrics_render(bed.metrics, &length);
    text = calloc(1, length + 1);
    memcpy(text, rendered, length);
    assert_in_range(pieces, 8, 12);
    assert_int_equal(count_of(text, "# TYPE sluice_instance_up "), 1);
    assert_int_equal(count_of(text, "# TYPE sluice_health_checks_total "), 1);
    for (int i = 0; i < 100; i++) {
        char line[96];
        snprintf(line, sizeof line, "sluice_health_checks_total{service=\"s%d\",result=\"success\"} ", i);
        assert_int_equal(count_of(text, line), 1);
    }
    free(text);
    free(rendered);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        CASE(an_instance_is_asked_at_its_interval_on_one_connection),
        CASE(a_service_without_a_check_is_left_alone),
        CASE(refused_connections_make_it_down_and_answers_up_again),
        CASE(no_answer_in_time_is_a_failure),
        CASE(another_status_is_a_failure),
        CASE(a_checker_without_memory_judges_nobody),
        CASE(a_change_of_the_service_keeps_what_is_known_and_asks_nobody_anew),
        CASE(a_check_under_way_outlives_the_snapshot_that_it_began_with),
        CASE(another_question_is_put_at_once),
        CASE(a_changed_interval_holds_at_once),
        CASE(without_its_check_a_service_is_forgotten),
        CASE(a_service_that_goes_takes_its_checks_along),
        CASE(instances_come_and_go_and_stand_in_the_services_order),
        CASE(a_service_may_get_another_name),
        CASE(there_are_never_more_under_way_than_places),
        CASE(who_hangs_does_not_hold_up_who_answers),
        CASE(after_the_end_nobody_is_asked_and_changes_are_still_taken),
        CASE(what_is_not_known_yet_is_null),
        CASE(metrics_name_services_and_instances),
        CASE(metrics_of_many_services_are_written_piece_by_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
