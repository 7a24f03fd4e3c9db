/* The OpenAPI document as a tree: that nothing of a table is left out. Whether it is sound is checked by tests/integration/test_openapi.py. */
#include "unit_test.h"

#include "base/memory.h"
#include "config/kinds.h"
#include "config/openapi_private.h"

static json_t *document;

static int set_up(void **state)
{
    char *text = openapi_write(&test_kinds);
    document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return document ? 0 : -1;
}

static int tear_down(void **state)
{
    json_decref(document);
    return 0;
}

static json_t *at(json_t *value, const char *const *path)
{
    for (; value && *path; path++) value = json_object_get(value, *path);
    return value;
}
#define AT(value, ...) at(value, (const char *const[]){ __VA_ARGS__, NULL })

static json_t *schema(const char *name)
{
    json_t *found = AT(document, "components", "schemas", name);
    if (!found) fail_msg("there is no schema %s", name);
    return found;
}

static void assert_json(json_t *value, const char *expected)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(10)) : NULL;
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

/* Every function of its own that a table has must be known: else its field is in the document without a type. */
static void assert_customs_are_known(const char *where, const struct field *fields)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->fields) assert_customs_are_known(field->name, field->fields);
        if (field->type != FIELD_CUSTOM && field->type != FIELD_IGNORED) continue;
        for (int is_input = 0; is_input < 2; is_input++) {
            json_t *known = openapi_custom(field->type_text, is_input != 0);
            if (!known) fail_msg("%s.%s: openapi_schema.c knows no \"%s\"", where, field->name, field->type_text);
            json_decref(known);
        }
    }
}

static void fields_with_functions_of_their_own_have_a_type(void **state)
{
    assert_null(openapi_custom("no such thing", true));
    assert_null(openapi_custom(NULL, true));
    assert_customs_are_known("filter", filter_fields);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++)
        assert_customs_are_known(resource_types[kind].word, resource_types[kind].fields);
}

static void every_field_of_every_kind_is_there_with_its_sentence(void **state)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        char *name = openapi_kind_name(&resource_types[kind]), *input = memory_format("%sInput", name);
        for (const struct field *field = resource_types[kind].fields; field->name; field++) {
            json_t *found = AT(schema(input), "properties", field->name);
            assert_int_equal(found != NULL, field->type != FIELD_NOT_YET);
            if (field->type == FIELD_NOT_YET) continue;
            assert_string_equal(json_string_value(json_object_get(found, "description")), field->summary);
            bool is_told = strcmp(field->name, "hash") != 0;
            assert_int_equal(AT(schema(name), "properties", field->name) != NULL, is_told);
            assert_null(AT(schema(name), "properties", field->name, "default"));
            if (field->also) assert_non_null(AT(schema(input), "properties", field->also));
        }
        free(name);
        free(input);
    }
}

static json_t *everything(const char *field) { return AT(schema("EverythingConfigInput"), "properties", field); }

static void each_type_is_told(void **state)
{
    assert_json(everything("flag"), "{\"type\":\"boolean\",\"description\":\"A flag | a switch.\",\"default\":true}");
    assert_json(everything("number"),
                "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":10,\"description\":\"A number.\",\"default\":7}");
    assert_json(AT(everything("bytes"), "default"), "\"64KiB\"");
    assert_json(everything("waitMs"), "{\"type\":\"integer\",\"minimum\":1,\"maximum\":60000,\"default\":250}");
    assert_json(everything("window"), "{\"type\":\"number\",\"minimum\":0.1,\"maximum\":60.0,\"default\":0.5}");
    assert_json(everything("days"),
                "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"enum\":[\"monday\",\"tuesday\",\"friday\"]},"
                "\"default\":[\"monday\",\"friday\"]}");
    assert_json(everything("color"),
                "{\"type\":\"string\",\"enum\":[\"red\",\"green\",\"blue\"],\"default\":\"green\"}");
    assert_json(everything("labels"),
                "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},\"maxProperties\":3}");
    assert_json(AT(everything("inner"), "required"), "[\"high\"]");
    assert_json(AT(everything("ranges"), "maxItems"), "2");
    assert_null(everything("later"));
}

/* Neither a default that is secret, nor the secret itself. */
static void a_secret_reads_back_as_its_hash(void **state)
{
    assert_null(json_object_get(everything("key"), "default"));
    assert_json(AT(schema("EverythingConfig"), "properties", "key"),
                "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^\\\\$\\\\{(env|file):.+\\\\}$\"},"
                "{\"$ref\":\"#/components/schemas/HiddenSecret\"}]}");
}

static void a_filter_has_its_kinds_fields_and_those_of_all(void **state)
{
    json_t *properties = AT(schema("AddHeaderFilterInput"), "properties");
    assert_json(AT(properties, "type", "enum"), "[\"add-header\",\"add_header\"]");
    assert_json(AT(schema("AddHeaderFilter"), "properties", "type", "enum"), "[\"add-header\"]");
    assert_json(AT(properties, "on", "enum"), "[\"request\",\"response\"]");
    assert_json(AT(schema("CorsFilterInput"), "properties", "on", "enum"), "[\"request\"]");
    assert_non_null(json_object_get(properties, "priority"));
    assert_json(AT(schema("AddHeaderFilterInput"), "required"), "[\"name\",\"value\",\"type\"]");
    assert_int_equal(json_array_size(AT(schema("FilterInput"), "oneOf")), COUNT_OF(test_kind_list));
    assert_int_equal(json_array_size(AT(schema("PluginPolicy"), "oneOf")), COUNT_OF(test_kind_list));
}

static void examples_are_taken_by_the_tables(void **state)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct arena arena;
        struct problems problems;
        struct resource resource;
        if (kind == RESOURCE_CERTIFICATE) continue; /* its files are on nobody's disk */
        arena_init(&arena, NULL);
        problems_init(&problems, "example");
        struct schema_reading reading = { .arena = &arena, .problems = &problems, .kinds = &test_kinds };
        const struct node *node = node_read_json(&arena, slice_from_cstring(openapi_examples[kind]), NULL, &problems);
        assert_non_null(node);
        assert_true(resource_read(&reading, (enum resource_kind)kind, node, SLICE_ABSENT, NULL, &resource));
        problems_release(&problems);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_with_functions_of_their_own_have_a_type),
        cmocka_unit_test(every_field_of_every_kind_is_there_with_its_sentence),
        cmocka_unit_test(each_type_is_told),
        cmocka_unit_test(a_secret_reads_back_as_its_hash),
        cmocka_unit_test(a_filter_has_its_kinds_fields_and_those_of_all),
        cmocka_unit_test(examples_are_taken_by_the_tables),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
