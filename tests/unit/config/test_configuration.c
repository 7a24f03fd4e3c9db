/* A whole file becomes structs: the shape that operators rely on, its defaults, its identities. */
#include "config/kinds.h"
#include "config/path_warning.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static struct configuration *load(const char *text)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), "sluice.yaml",
                                                                  "/etc/sluice", &test_kinds, &problems);
    if (!configuration) {
        char *told = problems_to_text(&problems);
        print_error("%s", told);
        free(told);
    }
    assert_non_null(configuration);
    problems_release(&problems);
    return configuration;
}

static const struct route_config *route_at(const struct configuration *configuration, size_t index)
{
    assert_true(index < configuration->routes.count);
    return (const struct route_config *)configuration->routes.items + index;
}

static const struct service_config *service_at(const struct configuration *configuration, size_t index)
{
    assert_true(index < configuration->services.count);
    return (const struct service_config *)configuration->services.items + index;
}

static const char contract[] = "workers: 1                      # default: one per core\n"
                               "listeners:\n"
                               "  - address: 127.0.0.1:8080\n"
                               "accessLog: { path: access.log } # or stdout, or off\n"
                               "trustedProxies: [10.0.0.0/8]\n"
                               "services:\n"
                               "  - name: users\n"
                               "    instances: [\"127.0.0.1:9001\", { host: 127.0.0.1, port: 9002, weight: 50 }]\n"
                               "    lbAlgorithm: weighted_round_robin\n"
                               "routes:\n"
                               "  - name: user-routes\n"
                               "    path: /api/v1/users/*\n"
                               "    methods: [GET, POST]\n"
                               "    host: api.example.com       # optional; *.example.com allowed; a list too\n"
                               "    headers: { X-Version: \"2\" } # optional, like queryParams\n"
                               "    serviceId: users\n"
                               "    stripPrefix: true\n"
                               "    priority: 10\n"
                               "    timeoutMs: 30000\n"
                               "    retryCount: 1\n"
                               "    retryOn: [5xx, reset, connect-failure]\n"
                               "    filters:\n"
                               "      - { type: add_header, name: X-Env, value: prod }\n";

static void the_contract_of_the_file_is_read_as_written(void **state)
{
    struct configuration *configuration = load(contract);
    assert_int_equal(configuration->workers, 1);
    const struct listener_config *listener = configuration->listeners.items;
    assert_string_equal(listener->address_text.at, "127.0.0.1:8080");
    assert_int_equal(address_port(&listener->address), 8080);
    assert_int_equal(listener->node->line, 3);
    assert_int_equal(configuration->access_log.target, ACCESS_LOG_FILE);
    assert_string_equal(configuration->access_log.path.at, "/etc/sluice/access.log");
    struct address trusted;
    assert_true(address_parse(SLICE("10.1.2.3:1"), &trusted));
    assert_int_equal(configuration->trusted_proxy_count, 1);
    assert_true(address_range_contains(&configuration->trusted_proxies[0], &trusted));

    const struct service_config *service = service_at(configuration, 0);
    assert_string_equal(service->name.at, "users");
    assert_int_equal(service->lb_algorithm, LB_WEIGHTED_ROUND_ROBIN);
    const struct instance_config *instances = service->instances.items;
    assert_int_equal(service->instances.count, 2);
    assert_int_equal(instances[0].port, 9001);
    assert_int_equal(instances[0].weight, 100);
    assert_int_equal(instances[1].weight, 50);
    assert_int_equal(instances[1].address.any.sa_family, AF_INET);
    assert_int_equal(address_port(&instances[1].address), 9002);

    const struct route_config *route = route_at(configuration, 0);
    assert_string_equal(route->name.at, "user-routes");
    assert_string_equal(route->path.at, "/api/v1/users/*");
    assert_int_equal(route->methods.count, 2);
    assert_string_equal(route->hosts.items[0].at, "api.example.com");
    assert_string_equal(route->headers.items[0].name.at, "X-Version");
    assert_string_equal(route->headers.items[0].value.at, "2");
    assert_string_equal(route->service_id.at, "users");
    assert_int_equal(route->priority, 10);
    assert_int_equal(route->retry_on, RETRY_ON_5XX | RETRY_ON_RESET | RETRY_ON_CONNECT_FAILURE);
    assert_true(route->enabled && route->strip_prefix && route->preserve_host);
    assert_false(route->has_respond || route->has_redirect || route->idempotent);
    assert_int_equal(route->node->line, 11);

    const struct filter_config *filter = route->filters.items;
    const struct test_header *header = filter->config;
    assert_string_equal(filter->kind->name, "add-header");
    assert_string_equal(header->name.at, "X-Env");
    assert_string_equal(header->value.at, "prod");
    assert_int_equal(filter->side, FILTER_ON_REQUEST);
    assert_int_equal(filter->node->line, 23);
    configuration_destroy(configuration);
}

static void what_is_left_out_has_its_documented_default(void **state)
{
    struct configuration *configuration = load(
        "services: [{ name: a, instances: [b.internal:80] }]\nroutes: [{ path: /, serviceId: a }]\n");
    assert_int_equal(configuration->workers, 0);
    assert_int_equal(configuration->listeners.count, 1);
    assert_string_equal(((struct listener_config *)configuration->listeners.items)->address_text.at, "127.0.0.1:8080");
    assert_null(((struct listener_config *)configuration->listeners.items)->node);
    assert_false(configuration->admin.enabled);
    assert_int_equal(configuration->access_log.target, ACCESS_LOG_OFF);
    assert_string_equal(configuration->internal_response_headers.items[0].at, "X-Internal-*");
    assert_int_equal(configuration->drain_timeout_ms, 30000);
    assert_int_equal(configuration->tunnel_drain_timeout_ms, 30000);
    assert_int_equal(configuration->stall_timeout_ms, 5000);
    assert_true(slice_is_absent(configuration->user));
    assert_false(configuration->merge_slashes);
    assert_int_equal(configuration->resolver.ttl_minimum_ms, 1000);

    const struct limits_config *limits = &configuration->limits;
    assert_int_equal(limits->request_line_bytes, 8192);
    assert_int_equal(limits->header_bytes, 32768);
    assert_int_equal(limits->header_count, 100);
    assert_int_equal(limits->half_close_timeout_ms, 3000);
    assert_int_equal(limits->body_bytes, 10ull << 30);
    assert_int_equal(limits->head_timeout_ms, 10000);
    assert_int_equal(limits->body_timeout_ms, 30000);
    assert_int_equal(limits->idle_timeout_ms, 75000);
    assert_int_equal(limits->connections_per_worker, 10000);
    assert_int_equal(limits->connections_per_address, 0);
    assert_int_equal(limits->new_connections_per_address_per_second, 0);
    assert_int_equal(limits->buffer_bytes_per_worker, 256u << 20);
    assert_int_equal(limits->tunnels_per_worker, 0);

    const struct service_config *service = service_at(configuration, 0);
    assert_int_equal(service->lb_algorithm, LB_ROUND_ROBIN);
    assert_int_equal(service->connect_timeout_ms, 2000);
    assert_int_equal(service->idle_timeout_ms, 60000);
    assert_int_equal(service->idle_connections_max, 64);
    assert_int_equal(((struct instance_config *)service->instances.items)->address.any.sa_family, AF_UNSPEC);

    const struct route_config *route = route_at(configuration, 0);
    assert_int_equal(route->timeout_ms, 30000);
    assert_int_equal(route->try_timeout_ms, 0);
    assert_int_equal(route->idle_timeout_ms, 60000);
    assert_int_equal(route->tunnel_idle_timeout_ms, 3600000);
    assert_int_equal(route->retry_count, 1);
    assert_int_equal(route->retry_on, RETRY_ON_5XX | RETRY_ON_RESET | RETRY_ON_CONNECT_FAILURE);
    assert_int_equal(route->retry_buffer_bytes, 65536);
    configuration_destroy(configuration);
}

static void the_access_log_takes_words_and_paths(void **state)
{
    static const struct {
        const char *text;
        enum access_log_target target;
        const char *path;
    } cases[] = {
        { "accessLog: stdout\n", ACCESS_LOG_STDOUT, NULL },
        { "accessLog: off\n", ACCESS_LOG_OFF, NULL },
        { "accessLog: { path: stdout }\n", ACCESS_LOG_STDOUT, NULL },
        { "accessLog: { path: off }\n", ACCESS_LOG_OFF, NULL },
        { "accessLog: { path: /var/log/a }\n", ACCESS_LOG_FILE, "/var/log/a" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct configuration *configuration = load(cases[i].text);
        assert_int_equal(configuration->access_log.target, cases[i].target);
        if (cases[i].path) assert_string_equal(configuration->access_log.path.at, cases[i].path);
        configuration_destroy(configuration);
    }
}

static void answers_and_redirects_are_endings(void **state)
{
    struct configuration *configuration = load(
        "routes:\n"
        "  - { path: /a, respond: { status: 404, headers: { X-A: b }, body: \"gone ${path.x}\" } }\n"
        "  - { path: /b, redirect: { to: /c, status: 308 } }\n"
        "  - { path: /c, respond: {} }\n"
        "  - { path: /d, redirect: { to: /c } }\n");
    assert_true(route_at(configuration, 0)->has_respond);
    assert_int_equal(route_at(configuration, 0)->respond.status, 404);
    assert_string_equal(route_at(configuration, 0)->respond.headers.items[0].name.at, "X-A");
    assert_string_equal(route_at(configuration, 0)->respond.body.at, "gone ${path.x}");
    assert_true(slice_is_absent(route_at(configuration, 0)->service_id));
    assert_true(route_at(configuration, 1)->has_redirect);
    assert_int_equal(route_at(configuration, 1)->redirect.status, 308);
    assert_int_equal(route_at(configuration, 2)->respond.status, 200);
    assert_int_equal(route_at(configuration, 3)->redirect.status, 302);
    configuration_destroy(configuration);
}

static void hosts_are_compared_in_lower_case_and_may_be_several(void **state)
{
    struct configuration *configuration = load(
        "routes: [{ path: /, host: [API.Example.com, \"*.B.org\", \"c.net.\"], respond: {} }]\n");
    const struct slice_list *hosts = &route_at(configuration, 0)->hosts;
    assert_int_equal(hosts->count, 3);
    assert_string_equal(hosts->items[0].at, "api.example.com");
    assert_string_equal(hosts->items[1].at, "*.b.org");
    assert_string_equal(hosts->items[2].at, "c.net");
    configuration_destroy(configuration);
}

static void instances_are_read_in_every_spelling(void **state)
{
    struct configuration *configuration = load(
        "services: [{ name: a, instances: [\"[::1]:80\", \"Users.Internal:81\", { host: \"0::2\", port: 82 }, { host: 10.0.0.1, port: 83, weight: 0 }] }]\n");
    const struct instance_config *instances = service_at(configuration, 0)->instances.items;
    static const struct {
        const char *host;
        uint16_t port, weight;
        sa_family_t family;
    } expected[] = {
        { "::1", 80, 100, AF_INET6 },
        { "users.internal", 81, 100, AF_UNSPEC },
        { "::2", 82, 100, AF_INET6 },
        { "10.0.0.1", 83, 0, AF_INET },
    };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(instances[i].host.length, strlen(expected[i].host));
        assert_string_equal(instances[i].host.at, expected[i].host);
        assert_int_equal(instances[i].port, expected[i].port);
        assert_int_equal(instances[i].weight, expected[i].weight);
        assert_int_equal(instances[i].address.any.sa_family, expected[i].family);
    }
    configuration_destroy(configuration);
}

static void plugins_are_read_with_their_kinds_fields(void **state)
{
    struct configuration *configuration = load(
        "services: [{ name: s, instances: [] }]\n"
        "routes: [{ name: r, path: /, serviceId: s }]\n"
        "plugins:\n"
        "  - { name: cors, config: { origins: \"*\" }, routes: [r], priority: 7 }\n"
        "  - { name: set_header, instanceName: mark, config: { name: X, value: 1 }, services: [s], on: response, enabled: false }\n"
        "  - { name: security-headers }\n");
    const struct plugin_config *plugins = configuration->plugins.items;
    assert_int_equal(configuration->plugins.count, 3);
    const struct test_cors *cors = plugins[0].filter.config;
    assert_string_equal(cors->origins.items[0].at, "*");
    assert_int_equal(cors->methods.count, 2);
    assert_int_equal(cors->max_age_ms, 600000);
    assert_int_equal(plugins[0].filter.priority, 7);
    assert_string_equal(plugins[0].routes.items[0].at, "r");
    assert_true(plugins[0].enabled);
    assert_string_equal(plugins[1].instance_name.at, "mark");
    assert_int_equal(plugins[1].filter.side, FILTER_ON_RESPONSE);
    assert_false(plugins[1].enabled);
    assert_string_equal(plugins[2].filter.kind->name, "security-headers");
    assert_int_equal(plugins[2].id.length, 36);
    configuration_destroy(configuration);
}

/* What was measured and limited under an id must go on under it after a reload. */
static void ids_are_the_same_in_every_run_and_independent_of_place(void **state)
{
    struct configuration *before = load(
        "services: [{ name: s, instances: [] }]\n"
        "routes: [{ name: a, path: /a, serviceId: s }, { path: /b, serviceId: s }, { path: /b, serviceId: s }]\n");
    struct configuration *after = load(
        "routes:\n  - { path: /new, respond: {} }\n  - { serviceId: s, path: /b }\n  - { serviceId: s, path: /b }\n"
        "  - { name: a, path: /changed, serviceId: s }\nservices: [{ name: s, instances: [\"127.0.0.1:1\"] }]\n");
    assert_string_equal(service_at(before, 0)->id.at, service_at(after, 0)->id.at);
    assert_string_equal(route_at(before, 0)->id.at, route_at(after, 3)->id.at);
    assert_string_equal(route_at(before, 1)->id.at, route_at(after, 1)->id.at);
    assert_string_equal(route_at(before, 2)->id.at, route_at(after, 2)->id.at);
    assert_string_not_equal(route_at(before, 1)->id.at, route_at(before, 2)->id.at);
    assert_string_equal(route_at(before, 1)->id.at, route_at(before, 1)->name.at);
    assert_int_equal(route_at(before, 0)->id.at[14], '8');
    configuration_destroy(before);
    configuration_destroy(after);
}

static void a_given_id_is_kept_and_serves_as_reference(void **state)
{
    struct configuration *configuration = load(
        "services: [{ id: 0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b, instances: [] }]\n"
        "routes: [{ path: /, serviceId: 0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b }]\n");
    assert_string_equal(service_at(configuration, 0)->id.at, "0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b");
    assert_string_equal(service_at(configuration, 0)->name.at, "0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b");
    configuration_destroy(configuration);
}

static void a_hash_changes_with_the_content_and_with_nothing_else(void **state)
{
    struct configuration *a = load("routes:\n  - { name: r, path: /, respond: { status: 200 } }\n");
    struct configuration *b = load(
        "workers: 2\nroutes:\n  - path: \"/\"\n    respond:\n      status: 200\n    name: r\n");
    struct configuration *c = load("routes:\n  - { name: r, path: /, respond: { status: 201 } }\n");
    assert_memory_equal(&route_at(a, 0)->hash, &route_at(b, 0)->hash, sizeof(struct content_hash));
    assert_memory_not_equal(&route_at(a, 0)->hash, &route_at(c, 0)->hash, sizeof(struct content_hash));
    configuration_destroy(a);
    configuration_destroy(b);
    configuration_destroy(c);
}

static void a_file_is_read_and_its_folder_is_where_paths_begin(void **state)
{
    char folder[] = "/tmp/sluice-config-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/sluice.yaml", folder), *log = memory_format("%s/access.log", folder);
    FILE *file = fopen(path, "w");
    fputs("accessLog: { path: access.log }\n", file);
    fclose(file);
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_load_file(path, &test_kinds, &problems);
    assert_non_null(configuration);
    assert_string_equal(configuration->file.at, path);
    assert_string_equal(configuration->access_log.path.at, log);
    configuration_destroy(configuration);
    problems_release(&problems);
    unlink(path);
    rmdir(folder);
    free(path);
    free(log);
}

static void a_file_that_is_not_there_is_a_problem(void **state)
{
    struct problems problems;
    problems_init(&problems, NULL);
    assert_null(configuration_load_file("/nowhere/sluice.yaml", &test_kinds, &problems));
    char *told = problems_to_text(&problems);
    assert_string_equal(
        told, "/nowhere/sluice.yaml: cannot be read: no such file or directory (write one, or mend its name)\n");
    free(told);
    problems_release(&problems);
    problems_init(&problems, NULL);
    assert_null(configuration_load_file("/tmp", &test_kinds, &problems));
    assert_int_equal(problems.count, 1);
    problems_release(&problems);
}

static void a_path_that_others_would_read_otherwise_is_warned_of(void **state)
{
    static const struct {
        const char *path, *words; /* NULL: none */
    } rows[] = {
        { "/users/", "\"/users/\" takes that path alone; \"/users/*\" takes all below it" },
        { "/users/{id}/", "\"/users/{id}/\" takes that path alone; \"/users/{id}/*\" takes all below it" },
        { "/users/:id", "\":id\" in a path is literal text; \"{id}\" captures a segment" },
        { "/users/:user_id/posts/", "\":user_id\" in a path is literal text; \"{user_id}\" captures a segment" },
        { "/", NULL },
        { "/users", NULL },
        { "/users/*", NULL },
        { "/v1/users:search", NULL }, /* a verb, as some APIs write it */
        { "/a/:", NULL },
        { "/a/:8", NULL },
        { "~/a/", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char words[PATH_WARNING_BYTES];
        bool strikes = path_warning(slice_from_cstring(rows[i].path), words);
        if (strikes != (rows[i].words != NULL)) fail_msg("%s: %s", rows[i].path, strikes ? words : "no warning");
        if (strikes) assert_string_equal(words, rows[i].words);
    }
}

static void warnings_stand_at_their_place(void **state)
{
    struct problems warnings;
    problems_init(&warnings, "sluice.yaml");
    struct configuration *configuration = load("routes:\n"
                                               "  - { path: /a/*, respond: { status: 200 } }\n"
                                               "  - { path: /b/, respond: { status: 200 } }\n"
                                               "  - { pathPattern: \"/c/:id\", respond: { status: 200 } }\n");
    path_warnings_add(configuration, &warnings);
    char *told = problems_to_text(&warnings);
    assert_string_equal(told,
                        "sluice.yaml:3:13: warning: \"/b/\" takes that path alone; \"/b/*\" takes all below it\n"
                        "sluice.yaml:4:20: warning: \":id\" in a path is literal text; \"{id}\" captures a segment\n");
    free(told);
    problems_release(&warnings);
    configuration_destroy(configuration);
}

static void the_quick_proxy_needs_no_file(void **state)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_for_proxy(
        "127.0.0.1:8080", "127.0.0.1:9001, users.internal:9002", NULL, &test_kinds, &problems);
    assert_non_null(configuration);
    assert_true(slice_is_absent(configuration->file));
    const struct instance_config *instances = service_at(configuration, 0)->instances.items;
    assert_int_equal(service_at(configuration, 0)->instances.count, 2);
    assert_int_equal(instances[0].address.any.sa_family, AF_INET);
    assert_string_equal(instances[1].host.at, "users.internal");
    assert_int_equal(instances[1].weight, 100);
    assert_string_equal(route_at(configuration, 0)->path.at, "/*");
    assert_string_equal(route_at(configuration, 0)->service_id.at, service_at(configuration, 0)->name.at);
    assert_false(route_at(configuration, 0)->strip_prefix);
    assert_int_equal(route_at(configuration, 0)->timeout_ms, 30000);
    assert_int_equal(configuration->limits.header_count, 100);
    configuration_destroy(configuration);
    problems_release(&problems);
}

static void the_quick_proxy_logs_where_it_is_told_to(void **state)
{
    static const struct {
        const char *option;
        int target;
    } rows[] = { { NULL, ACCESS_LOG_OFF }, { "-", ACCESS_LOG_STDOUT }, { "/var/log/access.log", ACCESS_LOG_FILE } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problems problems;
        problems_init(&problems, NULL);
        struct configuration *configuration = configuration_for_proxy("127.0.0.1:8080", "127.0.0.1:9001",
                                                                      rows[i].option, &test_kinds, &problems);
        assert_non_null(configuration);
        assert_int_equal(configuration->access_log.target, rows[i].target);
        if (rows[i].target == ACCESS_LOG_FILE) assert_string_equal(configuration->access_log.path.at, rows[i].option);
        configuration_destroy(configuration);
        problems_release(&problems);
    }
}

static void the_quick_proxy_names_the_option_that_is_wrong(void **state)
{
    struct problems problems;
    problems_init(&problems, NULL);
    assert_null(configuration_for_proxy("8080", "127.0.0.1:9001,,users", NULL, &test_kinds, &problems));
    char *told = problems_to_text(&problems);
    assert_string_equal(told,
                        "--listen: not an address to listen on: \"8080\" (an IP and a port, like 127.0.0.1:8080)\n"
                        "--to: the port is missing: \"\" (written as host:port)\n"
                        "--to: the port is missing: \"users\" (written as host:port)\n");
    free(told);
    problems_release(&problems);
}

static void large_files_load(void **state)
{
    enum { COUNT = 2000 };
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    fputs("services:\n", out);
    for (int i = 0; i < COUNT; i++) fprintf(out, "  - { name: s%d, instances: [\"10.0.0.1:%d\"] }\n", i, i + 1);
    fputs("routes:\n", out);
    for (int i = 0; i < COUNT; i++) fprintf(out, "  - { name: r%d, path: /r%d/*, serviceId: s%d }\n", i, i, i);
    fclose(out);
    struct configuration *configuration = load(text);
    assert_int_equal(configuration->routes.count, COUNT);
    assert_string_equal(route_at(configuration, COUNT - 1)->path.at, "/r1999/*");
    configuration_destroy(configuration);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_contract_of_the_file_is_read_as_written),
        cmocka_unit_test(what_is_left_out_has_its_documented_default),
        cmocka_unit_test(the_access_log_takes_words_and_paths),
        cmocka_unit_test(answers_and_redirects_are_endings),
        cmocka_unit_test(hosts_are_compared_in_lower_case_and_may_be_several),
        cmocka_unit_test(instances_are_read_in_every_spelling),
        cmocka_unit_test(plugins_are_read_with_their_kinds_fields),
        cmocka_unit_test(ids_are_the_same_in_every_run_and_independent_of_place),
        cmocka_unit_test(a_given_id_is_kept_and_serves_as_reference),
        cmocka_unit_test(a_hash_changes_with_the_content_and_with_nothing_else),
        cmocka_unit_test(a_file_is_read_and_its_folder_is_where_paths_begin),
        cmocka_unit_test(a_file_that_is_not_there_is_a_problem),
        cmocka_unit_test(a_path_that_others_would_read_otherwise_is_warned_of),
        cmocka_unit_test(warnings_stand_at_their_place),
        cmocka_unit_test(the_quick_proxy_needs_no_file),
        cmocka_unit_test(the_quick_proxy_logs_where_it_is_told_to),
        cmocka_unit_test(the_quick_proxy_names_the_option_that_is_wrong),
        cmocka_unit_test(large_files_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
