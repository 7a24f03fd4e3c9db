/* One table reads, fills in and describes; secrets never leave it. */
#include "config/kinds.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct reading {
    struct arena arena;
    struct problems problems;
    struct schema_reading schema;
    struct test_everything everything;
    bool ok;
};

static void read_everything(struct reading *reading, const char *text)
{
    *reading = (struct reading){ 0 };
    arena_init(&reading->arena, NULL);
    problems_init(&reading->problems, NULL);
    reading->schema = (struct schema_reading){ .arena = &reading->arena,
                                               .problems = &reading->problems,
                                               .folder = "/etc/sluice" };
    const struct node *root = node_read_yaml(&reading->arena, slice_from_cstring(text), "f", &reading->problems);
    assert_non_null(root);
    reading->ok = schema_read(&reading->schema, test_everything_fields, root, &reading->everything);
}

static void release(struct reading *reading)
{
    arena_release(&reading->arena);
    problems_release(&reading->problems);
}

static void absent_fields_get_their_defaults(void **state)
{
    struct reading reading;
    read_everything(&reading, "labels: {}\n");
    assert_true(reading.ok);
    const struct test_everything *everything = &reading.everything;
    assert_true(everything->flag);
    assert_int_equal(everything->number, 7);
    assert_int_equal(everything->bytes, 65536);
    assert_int_equal(everything->wait_ms, 250);
    assert_int_equal(everything->window_ms, 500);
    assert_int_equal(everything->days, 1 | 4);
    assert_int_equal(everything->color, 1);
    assert_string_equal(everything->key.at, "hush");
    assert_true(slice_is_absent(everything->id));
    assert_int_equal(everything->inner.low, 1);
    assert_false(everything->inner_given);
    assert_int_equal(everything->labels.count, 0);
    assert_int_equal(everything->ranges.count, 0);
    release(&reading);
}

static void schema_defaults_gives_the_same(void **state)
{
    struct reading reading;
    read_everything(&reading, "flag: false\n");
    struct test_everything defaults = { 0 };
    schema_defaults(&reading.schema, test_everything_fields, &defaults);
    assert_true(defaults.flag);
    assert_int_equal(defaults.number, 7);
    assert_int_equal(defaults.days, 1 | 4);
    assert_int_equal(defaults.inner.low, 1);
    release(&reading);
}

static void given_fields_are_read_by_their_type(void **state)
{
    struct reading reading;
    read_everything(&reading,
                    "flag: false\nnumber: -5\nbytes: 2KiB\nwaitMs: 1\nwindow: 1.25\ndays: [tuesday]\ncolor: blue\n"
                    "key: 0x1F\nidentity: 2\nlabels: { a: 1, b: true, c: \"x y\" }\n"
                    "inner: { high: 3 }\nranges: [{ low: 4, high: 5 }, { high: 6 }]\n");
    assert_true(reading.ok);
    const struct test_everything *everything = &reading.everything;
    assert_false(everything->flag);
    assert_int_equal(everything->number, -5);
    assert_int_equal(everything->bytes, 2048);
    assert_int_equal(everything->wait_ms, 1);
    assert_int_equal(everything->window_ms, 1250);
    assert_int_equal(everything->days, 2);
    assert_int_equal(everything->color, 2);
    assert_string_equal(everything->key.at, "0x1F");
    assert_string_equal(everything->id.at, "2");
    assert_int_equal(everything->labels.count, 3);
    assert_string_equal(everything->labels.items[1].name.at, "b");
    assert_string_equal(everything->labels.items[1].value.at, "true");
    assert_true(everything->inner_given);
    assert_int_equal(everything->inner.high, 3);
    const struct test_inner *ranges = everything->ranges.items;
    assert_int_equal(everything->ranges.count, 2);
    assert_int_equal(ranges[0].low, 4);
    assert_int_equal(ranges[1].low, 1);
    release(&reading);
}

static void sizes_know_binary_and_decimal_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        { "bytes: 2000\n", 2000 },  { "bytes: 64KiB\n", 65536 }, { "bytes: 1MiB\n", 1 << 20 },
        { "bytes: 64kB\n", 64000 }, { "bytes: 64 KB\n", 64000 }, { "bytes: \"4096\"\n", 4096 },
        { "bytes: 4096B\n", 4096 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct reading reading;
        read_everything(&reading, cases[i].text);
        assert_true(reading.ok);
        assert_int_equal(reading.everything.bytes, cases[i].bytes);
        release(&reading);
    }
    static const char *const bad[] = { "bytes: -1\n",  "bytes: KiB\n", "bytes: 1k\n", "bytes: 99999999999TiB\n",
                                       "bytes: 1e6\n", "bytes: [1]\n" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct reading reading;
        read_everything(&reading, bad[i]);
        assert_false(reading.ok);
        release(&reading);
    }
}

static void a_secret_is_never_echoed(void **state)
{
    static const struct field fields[] = {
        { .name = "text", .type = FIELD_STRING, .secret = true },
        { .name = "number", .type = FIELD_INTEGER, .secret = true, .maximum = 5 },
        { .name = "flag", .type = FIELD_BOOLEAN, .secret = true },
        { .name = "wait", .type = FIELD_SECONDS, .secret = true, .maximum = 5 },
        { .name = "map", .type = FIELD_STRING_MAP, .secret = true },
        { .name = "list", .type = FIELD_STRING_LIST, .secret = true },
        FIELDS_END,
    };
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct schema_reading reading = { .arena = &arena, .problems = &problems, .folder = "/" };
    struct slice text = SLICE(
        "{\"text\": 4711.5, \"number\": 4711, \"flag\": \"4711\", \"wait\": 4711, \"map\": {\"a\": 4711.5}, \"list\": \"4711\"}");
    char into[256] __attribute__((aligned(16))) = "";
    const struct node *root = node_read_json(&arena, text, "f", &problems);
    assert_false(schema_read(&reading, fields, root, into));
    assert_int_equal(problems.count, 6);
    char *told = problems_to_text(&problems);
    assert_null(strstr(told, "4711"));
    free(told);
    problems_release(&problems);
    arena_release(&arena);
}

static void relative_paths_count_from_the_folder(void **state)
{
    struct reading reading;
    read_everything(&reading, "flag: true\n");
    assert_string_equal(schema_path(&reading.schema, SLICE("logs/access.log")).at, "/etc/sluice/logs/access.log");
    assert_string_equal(schema_path(&reading.schema, SLICE("/var/log/access.log")).at, "/var/log/access.log");
    reading.schema.folder = "/";
    assert_string_equal(schema_path(&reading.schema, SLICE("access.log")).at, "/access.log");
    release(&reading);
}

static void a_kind_is_found_by_kebab_and_snake_case(void **state)
{
    assert_ptr_equal(policy_kind_find(&test_kinds, SLICE("add-header")), &test_kind_list[0]);
    assert_ptr_equal(policy_kind_find(&test_kinds, SLICE("add_header")), &test_kind_list[0]);
    assert_null(policy_kind_find(&test_kinds, SLICE("add-head")));
    assert_null(policy_kind_find(&test_kinds, SLICE("add-header2")));
    assert_null(policy_kind_find(&test_kinds, SLICE("")));
}

static char *markdown_of(const struct field *fields)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    schema_write_markdown(out, fields);
    fclose(out);
    return text;
}

static void the_docs_come_from_the_table(void **state)
{
    char *text = markdown_of(test_everything_fields);
    static const char *const lines[] = {
        "| field | type | default | what |\n|---|---|---|---|\n",
        "| `flag` | true or false | `true` | A flag \\| a switch. |\n",
        "| `number` | whole number | `7` | A number. |\n",
        "| `days` | list of `monday`, `tuesday`, `friday` | `[monday, friday]` |",
        "| `inner.high` | whole number | required |",
        "| `ranges[].low` | whole number | `1` |",
        "Also accepted as `identity`.",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) assert_non_null(strstr(text, lines[i]));
    assert_null(strstr(text, "hush"));
    assert_null(strstr(text, "later"));
    free(text);
}

/* Every row of the real tables must have its sentence. */
static void every_field_has_a_summary(void **state)
{
    const struct field *tables[] = { configuration_fields, service_fields, route_fields,
                                     plugin_fields,        limits_fields,  filter_fields };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        char *text = markdown_of(tables[i]);
        assert_null(strstr(text, "|  |\n"));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_fields_get_their_defaults),
        cmocka_unit_test(schema_defaults_gives_the_same),
        cmocka_unit_test(given_fields_are_read_by_their_type),
        cmocka_unit_test(sizes_know_binary_and_decimal_units),
        cmocka_unit_test(a_secret_is_never_echoed),
        cmocka_unit_test(relative_paths_count_from_the_folder),
        cmocka_unit_test(a_kind_is_found_by_kebab_and_snake_case),
        cmocka_unit_test(the_docs_come_from_the_table),
        cmocka_unit_test(every_field_has_a_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
