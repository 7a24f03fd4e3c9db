/* A file's configuration as a catalog, and a catalog as a configuration: nothing is lost, and the order of age is that of the file. */
#include "unit_test.h"

#include "base/memory.h"
#include "chain/chain.h"
#include "filters/filters.h"
#include "gateway/documents.h"
#include "handlers/handlers.h"

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };
static struct policy_kinds kinds;
static struct problems problems;
static struct catalog *catalog;

#define LISTENERS "listeners: [\"127.0.0.1:8080\"]\n"

static int set_up(void **state)
{
    kinds = policy_registry_kinds(&registry);
    problems_init(&problems, "test.yaml");
    catalog = catalog_create();
    return 0;
}

static int tear_down(void **state)
{
    catalog_destroy(catalog);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return 0;
}

static struct configuration *read_text(const char *text)
{
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), "test.yaml", "/", &kinds,
                                                                  &problems);
    if (!configuration) fail_msg("%s", problems_to_text(&problems));
    return configuration;
}

static void fill_catalog(const char *text)
{
    struct configuration *configuration = read_text(text);
    struct vector entries = documents_of(configuration, &kinds);
    configuration_destroy(configuration); /* entries outlive it */
    catalog_replace(catalog, entries.items, entries.count, 7);
    vector_release(&entries);
}

static struct configuration *read_catalog(struct held_documents *held)
{
    documents_hold(held, catalog);
    struct configuration *configuration = configuration_load_with_documents(
        SLICE(LISTENERS "store: \"sqlite:/x.db\"\n"), "test.yaml", "/", &kinds, held->lists, &problems);
    if (!configuration || problems.count > 0) fail_msg("%s", problems_to_text(&problems));
    return configuration;
}

#define ALL                                                                                                  \
    LISTENERS "services:\n"                                                                                  \
              "  - { name: one, instances: [\"127.0.0.1:9001\"], healthCheck: { path: /h } }\n"              \
              "  - { name: two, instances: [\"b.test:81\"] }\n"                                              \
              "routes:\n"                                                                                    \
              "  - { name: z, path: /z, serviceId: two, filters: [{ type: security-headers }] }\n"           \
              "  - { name: a, path: \"/a/{id}\", serviceId: one, headers: { x: \"~b\" }, enabled: false }\n" \
              "plugins: [{ name: cors, config: { origins: [\"*\"] }, routes: [z] }]\n"

static void what_a_file_holds_comes_back_as_it_was(void **state)
{
    struct held_documents held;
    fill_catalog(ALL);
    struct configuration *before = read_text(ALL), *after = read_catalog(&held);
    assert_int_equal(held.revision, 7);
    assert_int_equal(after->services.count, 2);
    assert_int_equal(after->routes.count, 2);
    assert_int_equal(after->plugins.count, 1);
    for (size_t i = 0; i < 2; i++) {
        const struct route_config *was = (const struct route_config *)before->routes.items + i;
        const struct route_config *is = (const struct route_config *)after->routes.items + i;
        assert_true(slice_equal(was->id, is->id) && slice_equal(was->name, is->name));
        assert_true(was->enabled == is->enabled && was->filters.count == is->filters.count);
    }
    configuration_destroy(before);
    configuration_destroy(after);
    documents_let_go(&held);
}

static void references_are_known_by_name(void **state)
{
    struct catalog_entry *users[4];
    fill_catalog(ALL);
    struct catalog_entry *two = catalog_find(catalog, RESOURCE_SERVICE, SLICE("two"), NULL);
    assert_int_equal(catalog_users(catalog, RESOURCE_SERVICE, two->id, users, 4), 1);
    assert_true(slice_equal(users[0]->name, SLICE("z")));
    catalog_entry_drop(users[0]);
    catalog_entry_drop(two);
}

/* More than are taken from the catalog at once. */
static void many_documents_keep_the_order_of_the_file(void **state)
{
    enum { MANY = 3500 };
    size_t size = MANY * 64 + 100;
    char *text = memory_allocate(size), name[16];
    size_t length = (size_t)snprintf(text, size, LISTENERS "routes:\n");
    for (int i = 0; i < MANY; i++)
        length += (size_t)snprintf(text + length, size - length, "  - { name: r%d, path: /%d, respond: {} }\n",
                                   i * 7919 % MANY, i);
    fill_catalog(text);
    free(text);
    struct held_documents held;
    struct configuration *configuration = read_catalog(&held);
    assert_int_equal(configuration->routes.count, MANY);
    for (int i = 0; i < MANY; i++) {
        const struct route_config *route = (const struct route_config *)configuration->routes.items + i;
        snprintf(name, sizeof name, "r%d", i * 7919 % MANY);
        assert_true(slice_equal(route->name, slice_from_cstring(name)));
    }
    configuration_destroy(configuration);
    documents_let_go(&held);
}

static void an_empty_catalog_is_an_empty_configuration(void **state)
{
    struct held_documents held;
    struct configuration *configuration = read_catalog(&held);
    assert_int_equal(configuration->routes.count, 0);
    configuration_destroy(configuration);
    documents_let_go(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_a_file_holds_comes_back_as_it_was),
        TEST(references_are_known_by_name),
        TEST(many_documents_keep_the_order_of_the_file),
        TEST(an_empty_catalog_is_an_empty_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
