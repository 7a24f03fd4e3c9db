/* Where resources are kept, who may change them, and which file may hold which. */
#include "base/memory.h"
#include "config/kinds.h"

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

static void expect_store(const char *text, int store, const char *location)
{
    struct configuration *configuration = load(text);
    assert_int_equal(configuration->store, store);
    if (location)
        assert_string_equal(configuration->store_location.at, location);
    else
        assert_true(slice_is_absent(configuration->store_location));
    configuration_destroy(configuration);
}

static void a_store_is_a_file_a_path_or_a_server(void **state)
{
    expect_store("workers: 1\n", STORE_FILE, NULL);
    expect_store("store: file\n", STORE_FILE, NULL);
    expect_store("store: sqlite:a/b.db\n", STORE_SQLITE, "sqlite:/etc/sluice/a/b.db");
    expect_store("store: sqlite:/var/lib/b.db\n", STORE_SQLITE, "sqlite:/var/lib/b.db");
    expect_store("store: postgres://me:secret@db:5432/sluice?sslmode=require\n", STORE_POSTGRES,
                 "postgres://me:secret@db:5432/sluice?sslmode=require");
    expect_store("store: postgresql:///sluice\n", STORE_POSTGRES, "postgresql:///sluice");
    expect_store("store: postgres://db\nroutes:\nservices: []\nrateLimits: []\n", STORE_POSTGRES, "postgres://db");
}

static void a_store_may_be_named_by_the_environment(void **state)
{
    setenv("SLUICE_TEST_STORE", "postgres://me:secret@db/sluice", 1);
    expect_store("store: ${env:SLUICE_TEST_STORE}\n", STORE_POSTGRES, "postgres://me:secret@db/sluice");
}

static const char guarded[] =
    "listeners: [{ address: \"0.0.0.0:8443\", tls: {} }]\n"
    "store: sqlite:x.db\n"
    "admin:\n"
    "  address: 0.0.0.0:9080\n"
    "  tokens:\n"
    "    - { name: ci, role: read-only, hash: \"sha256:00ff000000000000000000000000000000000000000000000000000000abcdef\" }\n"
    "    - { name: me, role: admin, hash: \"sha256:0000000000000000000000000000000000000000000000000000000000000001\" }\n"
    "  hosts: [gateway.internal]\n"
    "  requireIfMatch: true\n"
    "  probes: \"[::]:9081\"\n"
    "  tls: { certificates: [{ certificate: a.pem, key: b.pem }], clientCa: ca.pem, clientAuth: optional }\n";

static void the_admin_listener_is_read_with_its_guard(void **state)
{
    struct configuration *configuration = load(guarded);
    const struct admin_config *admin = &configuration->admin;
    const struct admin_token_config *tokens = admin->tokens.items;
    assert_true(admin->enabled && admin->match_required && admin->has_probes && admin->has_tls);
    assert_int_equal(admin->tokens.count, 2);
    assert_string_equal(tokens[0].name.at, "ci");
    assert_int_equal(tokens[0].role, ADMIN_TOKEN_READ_ONLY);
    assert_int_equal(tokens[1].role, ADMIN_TOKEN_ADMIN);
    assert_int_equal(tokens[0].hash[1], 0xFF);
    assert_int_equal(tokens[0].hash[31], 0xEF);
    assert_int_equal(tokens[1].hash[31], 1);
    assert_int_equal(address_port(&admin->probes), 9081);
    assert_string_equal(admin->hosts.items[0].at, "gateway.internal");
    assert_int_equal(admin->tls.client_auth, CLIENT_AUTH_OPTIONAL);
    assert_string_equal(admin->tls.client_ca.at, "/etc/sluice/ca.pem");
    configuration_destroy(configuration);
}

static void a_plain_address_is_a_whole_admin_listener(void **state)
{
    struct configuration *configuration = load("admin: \"[::1]:9080\"\n");
    assert_true(configuration->admin.enabled);
    assert_false(configuration->admin.has_probes || configuration->admin.has_tls ||
                 configuration->admin.match_required);
    assert_int_equal(configuration->admin.tokens.count, 0);
    configuration_destroy(configuration);
}

static void expect_refused(const char *text, const char *words)
{
    struct problems problems;
    problems_init(&problems, NULL);
    assert_null(configuration_load_text(slice_from_cstring(text), "sluice.yaml", "/etc", &test_kinds, &problems));
    char *told = problems_to_text(&problems);
    if (!strstr(told, words)) print_error("%s", told);
    assert_non_null(strstr(told, words));
    free(told);
    problems_release(&problems);
}

static void beyond_loopback_somebody_is_asked(void **state)
{
    const char *words = "must stay on loopback as long as it lets everybody in";
    expect_refused("admin: 10.0.0.1:9080\n", words);
    expect_refused("admin: { address: \"[::]:9080\", tokens: [] }\n", words);
    expect_refused("admin: { address: 0.0.0.0:9080, tls: { certificates: [{ certificate: a, key: b }], clientCa: c, "
                   "clientAuth: optional } }\n",
                   words);
    struct configuration *configuration = load(
        "admin: { address: 0.0.0.0:9080, tls: { certificates: [{ certificate: a, "
        "key: b }], clientCa: c, clientAuth: required } }\n");
    configuration_destroy(configuration);
}

/* --- what is for import alone --- */

static const char for_import[] =
    "store: sqlite:x.db\n"
    "services: [{ name: a, instances: [] }]\n"
    "routes: [{ name: r, path: /a, serviceId: a }]\n"
    "rateLimits: [{ name: l, limit: 10, window: 60, routeId: r }]\n"
    "roles: [{ name: o, permissions: [{ routes: r }] }]\n"
    "certificates: [{ certificate: \"${file:/a}\", key: \"${file:/b}\" }]\n"
    "apiKeys:\n"
    "  - { clientName: me, hash: \"sha256:0000000000000000000000000000000000000000000000000000000000000001\" }\n"
    "  - { clientName: me, hash: \"sha256:0000000000000000000000000000000000000000000000000000000000000002\" }\n";

static void with_file(const char *text, void (*check)(const char *path))
{
    char path[] = "/tmp/sluice-settings-XXXXXX.yaml";
    int file = mkstemps(path, 5);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    check(path);
    unlink(path);
}

static void check_imported(const char *path)
{
    struct problems problems;
    problems_init(&problems, NULL);
    assert_null(configuration_load_file(path, &test_kinds, &problems));
    problems_release(&problems);
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_load_file_to_import(path, &test_kinds, &problems);
    assert_non_null(configuration);
    assert_int_equal(configuration->rate_limits.count, 1);
    assert_int_equal(configuration->roles.count, 1);
    assert_int_equal(configuration->certificates.count, 1);
    assert_int_equal(configuration->api_keys.count, 2);
    const struct api_key_config *keys = configuration->api_keys.items;
    assert_false(slice_equal(keys[0].id, keys[1].id));
    configuration_destroy(configuration);
    problems_release(&problems);
}

static void a_file_for_import_may_hold_everything(void **state) { with_file(for_import, check_imported); }

static void what_is_imported_is_checked_all_the_same(void **state)
{
    expect_refused("store: sqlite:x\nrateLimits: [{ limit: 1, window: 1, routeId: r }]\n", "unknown route \"r\"");
    expect_refused("apiKeys: [{ clientName: me }]\n", "an API key in a file needs its \"hash\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_is_a_file_a_path_or_a_server),
        cmocka_unit_test(a_store_may_be_named_by_the_environment),
        cmocka_unit_test(the_admin_listener_is_read_with_its_guard),
        cmocka_unit_test(a_plain_address_is_a_whole_admin_listener),
        cmocka_unit_test(beyond_loopback_somebody_is_asked),
        cmocka_unit_test(a_file_for_import_may_hold_everything),
        cmocka_unit_test(what_is_imported_is_checked_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
