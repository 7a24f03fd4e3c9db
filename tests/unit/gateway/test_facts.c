/* What the control thread and the workers take from a configuration, free of its life. */
#include "unit_test.h"

#include "base/memory.h"
#include "gateway/facts.h"

#include <stdlib.h>
#include <unistd.h>

static struct configuration *load(const char *text)
{
    struct problems problems;
    struct policy_kinds none = { NULL, 0 };
    char *whole = memory_format("%sroutes: [{ path: /, respond: { status: 200 } }]\n", text);
    problems_init(&problems, "test.yaml");
    struct configuration *configuration = configuration_load_text(slice_from_cstring(whole), "test.yaml", "/etc/",
                                                                  &none, &problems);
    if (!configuration) fail_msg("%s", problems_to_text(&problems));
    problems_release(&problems);
    free(whole);
    return configuration;
}

static struct facts *facts_of(const char *text)
{
    struct configuration *configuration = load(text);
    struct facts *facts = facts_create(configuration);
    configuration_destroy(configuration); /* facts outlive it */
    return facts;
}

static void everything_is_copied(void **state)
{
    struct facts *facts = facts_of("workers: 3\n"
                                   "listeners: [\"127.0.0.1:8080\", \"[::1]:8081\"]\n"
                                   "admin: { address: 127.0.0.1:9080 }\n"
                                   "accessLog: { path: logs/access.log }\n"
                                   "resolver: { servers: [\"127.0.0.1:53\"] }\n"
                                   "user: nobody\n");
    char text[ADDRESS_TEXT_BYTES];
    assert_int_equal(facts->workers, 3);
    assert_int_equal(facts->listener_count, 2);
    address_write(&facts->listeners[1], text);
    assert_string_equal(text, "[::1]:8081");
    assert_true(facts->admin_enabled);
    assert_int_equal(address_port(&facts->admin), 9080);
    assert_string_equal(facts->access_log, "/etc/logs/access.log");
    assert_string_equal(facts->user, "nobody");
    assert_int_equal(facts->resolver_server_count, 1);
    assert_slice_is(facts->resolver_servers[0], "127.0.0.1:53");
    facts_destroy(facts);
}

static void the_defaults_are_a_worker_a_core_and_the_callers_user(void **state)
{
    struct facts *facts = facts_of("listeners: [\"127.0.0.1:8080\"]\n");
    assert_int_equal(facts->workers, sysconf(_SC_NPROCESSORS_ONLN));
    assert_null(facts->user);
    assert_int_equal(facts->resolver_server_count, 0);
    assert_true(facts->stall_timeout_ms >= 1000 && facts->drain_timeout_ms >= 1000);
    facts_destroy(facts);
    facts_destroy(NULL);
}

static void the_log_is_off_a_file_or_standard_output(void **state)
{
    static const struct {
        const char *text, *path;
    } rows[] = { { "accessLog: off\n", NULL },
                 { "accessLog: stdout\n", "-" },
                 { "accessLog: { path: /var/log/a.log }\n", "/var/log/a.log" } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *text = memory_format("listeners: [\"127.0.0.1:8080\"]\n%s", rows[i].text);
        struct facts *facts = facts_of(text);
        if (rows[i].path) {
            assert_string_equal(facts->access_log, rows[i].path);
        } else {
            assert_null(facts->access_log);
        }
        facts_destroy(facts);
        free(text);
    }
}

static void limits_reach_sessions_calls_and_connections(void **state)
{
    struct configuration *configuration = load(
        "listeners: [\"127.0.0.1:8080\"]\n"
        "mergeSlashes: true\n"
        "limits: { requestLineBytes: 4KiB, headerBytes: 16KiB, headerCount: 50,\n"
        "  bodyBytes: 1MiB, headTimeoutMs: 1001, bodyTimeoutMs: 1002,\n"
        "  idleTimeoutMs: 1003, connectionsPerWorker: 77,\n"
        "  connectionsPerAddress: 7, newConnectionsPerAddressPerSecond: 5,\n"
        "  bufferBytesPerWorker: 32MiB }\n");
    struct worker_settings settings = facts_worker_settings(configuration);
    configuration_destroy(configuration);
    assert_int_equal(settings.server.limits.request_line_bytes, 4096);
    assert_int_equal(settings.server.limits.header_bytes, 16384);
    assert_int_equal(settings.server.limits.header_count, 50);
    assert_true(settings.server.limits.merge_slashes);
    assert_int_equal(settings.server.body_bytes_max, 1 << 20);
    assert_int_equal(settings.server.head_timeout_ms, 1001);
    assert_int_equal(settings.server.body_timeout_ms, 1002);
    assert_int_equal(settings.server.idle_timeout_ms, 1003);
    assert_int_equal(settings.connections.connections_max, 77);
    assert_int_equal(settings.connections.connections_per_address_max, 7);
    assert_int_equal(settings.connections.new_connections_per_address_per_second, 5);
    assert_int_equal(settings.buffer_bytes_max, 32 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_copied),
        cmocka_unit_test(the_defaults_are_a_worker_a_core_and_the_callers_user),
        cmocka_unit_test(the_log_is_off_a_file_or_standard_output),
        cmocka_unit_test(limits_reach_sessions_calls_and_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
