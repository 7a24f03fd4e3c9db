/* Documents: what is written is read as what it was, whatever was written; and a whole configuration is made of them. */
#include "config/golden_folder.h"

#include "base/memory.h"
#include "chain/chain.h"
#include "config/document_properties.h"
#include "config/generate.h"
#include "config/kinds.h"
#include "filters/filters.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct policy_registry standard = { .filters = filters_all };

/* --- of generated resources --- */

static char *generated(struct random *random, const struct policy_kinds *kinds, enum resource_kind kind)
{
    char *text = NULL;
    size_t length;
    struct generator generator = { .random = *random, .out = open_memstream(&text, &length), .kinds = kinds };
    assert_non_null(generator.out);
    generate_resource(&generator, kind);
    *random = generator.random;
    assert_int_equal(fclose(generator.out), 0);
    return text;
}

/* Returns how many of them could be read. */
static size_t check_many(const struct policy_kinds *kinds, enum resource_kind kind, size_t rounds)
{
    struct random random;
    size_t good = 0;
    random_init_seeded(&random, 5 + kind);
    for (size_t i = 0; i < rounds; i++) {
        char *text = generated(&random, kinds, kind);
        good += check_resource_properties(kind, slice_from_cstring(text), kinds, NULL);
        free(text);
    }
    return good;
}

#define ROUNDS 400

static void every_resource_reads_back_as_its_document(void **state)
{
    struct policy_kinds kinds = policy_registry_kinds(&standard);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        size_t good = check_many(&kinds, (enum resource_kind)kind, ROUNDS);
        good += check_many(&test_kinds, (enum resource_kind)kind, ROUNDS);
        if (good < ROUNDS / 10) print_error("%s: only %zu could be read\n", resource_types[kind].word, good);
        assert_true(good >= ROUNDS / 10);
    }
    free((void *)(uintptr_t)kinds.items);
}

/* Else a document would lack what was written. */
static void check_table(const struct field *fields)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->type == FIELD_CUSTOM && !field->write) fail_msg("\"%s\" can't be written", field->name);
        if (field->fields) check_table(field->fields);
    }
}

static void every_field_can_be_written(void **state)
{
    for (const struct filter *const *filter = filters_all; *filter; filter++) check_table((*filter)->fields);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) check_table(resource_types[kind].fields);
    check_table(filter_fields);
}

/* --- of configurations that stand somewhere in the tree --- */

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = memory_allocate(1 << 20);
    text[fread(text, 1, (1 << 20) - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* Each resource's document reads back; and all of them together are the same configuration again, which says the same documents. */
static void check_documents(struct configuration *configuration, const struct policy_kinds *kinds)
{
    struct document_list documents[RESOURCE_KIND_COUNT];
    struct problems problems;
    problems_init(&problems, NULL);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        documents[kind] = configuration_documents(configuration, kinds, (enum resource_kind)kind);
        for (size_t i = 0; i < documents[kind].count; i++) {
            char *again = NULL;
            assert_true(check_resource_properties((enum resource_kind)kind, documents[kind].items[i], kinds, &again));
            assert_string_equal(again, documents[kind].items[i].at);
            free(again);
        }
    }
    struct configuration *whole = configuration_load_with_documents(SLICE_ABSENT, NULL, "/etc/sluice", kinds, documents,
                                                                    &problems);
    print_problems(&problems);
    assert_int_equal(problems.count, 0);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct document_list again = configuration_documents(whole, kinds, (enum resource_kind)kind);
        assert_int_equal(again.count, documents[kind].count);
        for (size_t i = 0; i < again.count; i++) assert_string_equal(again.items[i].at, documents[kind].items[i].at);
    }
    configuration_destroy(whole);
    problems_release(&problems);
}

/* Adds how many resources it held; what is no good configuration holds none. */
static void check_text(const char *text, const struct policy_kinds *kinds, size_t *resources)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), "x.yaml", "/etc/sluice",
                                                                  kinds, &problems);
    problems_release(&problems);
    if (!configuration) return;
    *resources += configuration->services.count + configuration->routes.count + configuration->plugins.count;
    check_documents(configuration, kinds);
    configuration_destroy(configuration);
}

static int is_yaml(const struct dirent *entry)
{
    return slice_ends_with(slice_from_cstring(entry->d_name), SLICE(".yaml"));
}

static int is_page(const struct dirent *entry)
{
    return slice_ends_with(slice_from_cstring(entry->d_name), SLICE(".md"));
}

static void each_file(const char *folder, int (*wanted)(const struct dirent *),
                      void (*check)(char *text, size_t *resources), size_t *resources)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, wanted, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char *path = memory_format("%s/%s", folder, entries[i]->d_name), *text = read_text(path);
        check(text, resources);
        free(text);
        free(path);
        free(entries[i]);
    }
    free(entries);
}

static void check_golden(char *text, size_t *resources) { check_text(text, &test_kinds, resources); }

static void check_real(char *text, size_t *resources)
{
    struct policy_kinds kinds = policy_registry_kinds(&standard);
    check_text(text, &kinds, resources);
    free((void *)(uintptr_t)kinds.items);
}

/* What stands between ```yaml and ```. */
static void check_page(char *text, size_t *resources)
{
    for (char *at = text; (at = strstr(at, "```yaml\n"));) {
        char *end = strstr(at += strlen("```yaml\n"), "```");
        assert_non_null(end);
        *end = '\0';
        check_real(at, resources);
        at = end + 1;
    }
}

static void every_configuration_of_the_tests_reads_back(void **state)
{
    size_t resources = 0;
    each_file(GOLDEN_FOLDER, is_yaml, check_golden, &resources);
    assert_true(resources >= 10);
}

static void every_example_reads_back(void **state)
{
    size_t resources = 0;
    each_file(SOURCE_FOLDER "/examples", is_yaml, check_real, &resources);
    assert_true(resources >= 2);
    each_file(SOURCE_FOLDER "/docs", is_page, check_page, &resources);
    assert_true(resources >= 10);
}

/* --- a whole configuration of documents --- */

#define ID(digit) "0000000" digit "-0000-4000-8000-000000000000"

static void add(struct document_list *list, struct slice *room, const char *text)
{
    room[list->count++] = slice_from_cstring(text);
    list->items = room;
}

struct whole {
    struct document_list documents[RESOURCE_KIND_COUNT];
    struct slice room[RESOURCE_KIND_COUNT][8];
    struct problems problems;
    struct configuration *configuration;
};

static void put(struct whole *whole, enum resource_kind kind, const char *text)
{
    add(&whole->documents[kind], whole->room[kind], text);
}

static void load(struct whole *whole, const char *text)
{
    problems_init(&whole->problems, NULL);
    whole->configuration = configuration_load_with_documents(slice_from_cstring(text), "sluice.yaml", "/etc/sluice",
                                                             &test_kinds, whole->documents, &whole->problems);
}

static void expect_problems(const struct whole *whole, const char *expected)
{
    char *told = problems_to_text(&whole->problems);
    assert_string_equal(told, expected);
    free(told);
}

static void release(struct whole *whole)
{
    configuration_destroy(whole->configuration);
    problems_release(&whole->problems);
}

static void what_is_wrong_with_one_document_keeps_no_other_out(void **state)
{
    struct whole whole = { 0 };
    put(&whole, RESOURCE_SERVICE, "{\"id\":\"" ID("1") "\",\"name\":\"a\",\"instances\":[]}");
    put(&whole, RESOURCE_SERVICE, "{\"id\":\"" ID("2") "\",\"name\":\"b\",\"instances\":7}");
    put(&whole, RESOURCE_SERVICE, "{\"id\":\"" ID("3") "\",\"name\":\"c\"");
    put(&whole, RESOURCE_SERVICE, "[1]");
    put(&whole, RESOURCE_SERVICE, "{\"id\":\"" ID("4") "\",\"name\":\"a\",\"instances\":[]}");
    put(&whole, RESOURCE_SERVICE, "{\"id\":\"" ID("5") "\",\"name\":\"d\",\"instances\":[]}");
    put(&whole, RESOURCE_ROUTE, "{\"id\":\"" ID("6") "\",\"path\":\"/a\",\"serviceId\":\"d\"}");
    put(&whole, RESOURCE_ROUTE, "{\"id\":\"" ID("7") "\",\"path\":\"/a\",\"serviceId\":\"b\"}");
    put(&whole, RESOURCE_PLUGIN, "{\"id\":\"" ID("8") "\",\"name\":\"security-headers\",\"routes\":[\"" ID("6") "\"]}");
    put(&whole, RESOURCE_PLUGIN, "{\"id\":\"" ID("9") "\",\"name\":\"security-headers\",\"routes\":[\"" ID("7") "\"]}");
    load(&whole, "store: sqlite:x\nworkers: 3\n");
    assert_non_null(whole.configuration);
    assert_int_equal(whole.configuration->workers, 3);
    assert_string_equal(whole.configuration->store_location.at, "sqlite:/etc/sluice/x");
    assert_int_equal(whole.configuration->services.count, 2);
    assert_int_equal(whole.configuration->routes.count, 1);
    assert_int_equal(whole.configuration->plugins.count, 1);
    const struct service_config *services = whole.configuration->services.items;
    assert_string_equal(services[1].name.at, "d");
    expect_problems(
        &whole,
        "service " ID("2") ": /instances: \"instances\" must be a list, not \"7\" (its items stand in [ ], or each "
                           "behind a \"- \")\n"
                           "service document 3:1:55: not valid JSON: '}' expected\n"
                           "service document 4: a document is a map of fields\n"
                           "service " ID("4") ": /name: service name \"a\" is already given in " ID(
                               "1") " (take one away, or change it)\n"
                                    "route " ID(
                                        "7") ": /serviceId: unknown service \"b\" (there is none of this name or id)\n"
                                             "plugin " ID("9") ": /routes/0: unknown route \"" ID(
                                                 "7") "\" (did you mean \"" ID("6") "\"?)\n");
    release(&whole);
}

static void a_wrong_bootstrap_file_is_no_configuration(void **state)
{
    struct whole whole = { 0 };
    load(&whole, "store: sqlite:x\nroutes: [{ path: /a, respond: {} }]\n");
    assert_null(whole.configuration);
    expect_problems(&whole,
                    "sluice.yaml:2:1: \"routes\" are kept in the store, not in this file (sluice import takes them "
                    "there; then take them away here)\n");
    release(&whole);
    load(&whole, "routes: [{ path: /a, respond: {} }]\n");
    assert_null(whole.configuration);
    expect_problems(&whole,
                    "sluice.yaml:1:1: \"routes\" are kept in the store, not in this file (sluice import takes them "
                    "there; then take them away here)\n");
    release(&whole);
}

static void without_a_file_all_is_default(void **state)
{
    struct whole whole = { 0 };
    put(&whole, RESOURCE_CERTIFICATE, "{\"id\":\"" ID("1") "\",\"certificate\":\"${file:/a}\",\"key\":\"${file:/b}\"}");
    problems_init(&whole.problems, NULL);
    whole.configuration = configuration_load_with_documents(SLICE_ABSENT, NULL, "/", &test_kinds, whole.documents,
                                                            &whole.problems);
    assert_int_equal(whole.problems.count, 0);
    assert_int_equal(whole.configuration->listeners.count, 1);
    assert_int_equal(whole.configuration->certificates.count, 1);
    assert_int_equal(whole.configuration->api_key_memory_bytes, 256 << 20);
    release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_resource_reads_back_as_its_document),
        cmocka_unit_test(every_field_can_be_written),
        cmocka_unit_test(every_configuration_of_the_tests_reads_back),
        cmocka_unit_test(every_example_reads_back),
        cmocka_unit_test(what_is_wrong_with_one_document_keeps_no_other_out),
        cmocka_unit_test(a_wrong_bootstrap_file_is_no_configuration),
        cmocka_unit_test(without_a_file_all_is_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
