/* The answer of an aggregate as a text: what stands where, what is left out, and what is refused when it is loaded. */
#include "unit_test.h"

#include "config/resource.h"
#include "expr/template.h"
#include "handlers/answer_template.h"
#include "json/scan.h"

#include <stdlib.h>

static struct arena arena;
static struct problems problems;
static const struct policy_surroundings nothing;

static const struct slice names[] = { { "user", 4 }, { "orders", 6 }, { "x-1", 3 } };
static const size_t bytes_max[] = { 1 << 18, 1 << 18, 1 << 18 };
static const struct answer_parts parts = {
    .names = names, .bytes_max = bytes_max, .count = 3, .errors_name = { "errors", 6 }
};

static int set_up(void **state)
{
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    return 0;
}

static int tear_down(void **state)
{
    problems_release(&problems);
    arena_release(&arena);
    return 0;
}

static struct answer_template *compile(const char *text)
{
    const struct node *node = text ? node_read_json(&arena, slice_from_cstring(text), NULL, &problems) : NULL;
    struct filter_compile here = { .problems = &problems, .node = node, .surroundings = &nothing };
    return answer_template_compile(&here, node, &parts);
}

static struct slice rendered = SLICE("a \"text\"\n");

static struct slice render(const void *argument, const struct template *template) { return rendered; }

static struct slice write_with(const char *text, const struct answer_values *values, size_t limit,
                               enum answer_result *result)
{
    struct answer_template *template = compile(text);
    if (!template) fail_msg("%s", problems_to_text(&problems));
    struct slice written;
    *result = answer_template_write(template, values, &arena, limit, &written);
    answer_template_destroy(template);
    return written;
}

/* With a user and orders, and without the third part. */
static void assert_answer(const char *text, const char *expected)
{
    const struct slice values[] = { SLICE("{\"name\":\"Ada\", \"n\": 1.50 , \"list\":[1,[2,3]], \"a b\":{\"\":0}}"),
                                    SLICE("[]"), SLICE_ABSENT };
    struct answer_values all = { .parts = values, .render = render };
    enum answer_result result;
    struct slice written = write_with(text, &all, 1 << 20, &result), again;
    struct error error;
    assert_int_equal(result, ANSWER_WRITTEN);
    assert_slice_is(written, expected);
    assert_true(json_scan_whole(written, &again, &error));
}

static void parts_stand_under_their_names(void **state)
{
    assert_answer(NULL,
                  "{\"user\":{\"name\":\"Ada\", \"n\": 1.50 , \"list\":[1,[2,3]], \"a b\":{\"\":0}},\"orders\":[]}");
}

static void values_stand_where_the_template_says(void **state)
{
    assert_answer(
        "{\"a\":\"${parts.user.name}\",\"b\":[\"${parts.user.n}\",\"${parts.user.list[1][0]}\"],\"c\":{\"d\":\"${parts.user[\\\"a b\\\"][\\\"\\\"]}\"}}",
        "{\"a\":\"Ada\",\"b\":[1.50,2],\"c\":{\"d\":0}}");
    assert_answer("{}", "{}");
    assert_answer("{\"a\":{},\"b\":[]}", "{\"a\":{},\"b\":[]}");
}

static void what_is_not_there_is_null_or_left_out(void **state)
{
    assert_answer(
        "{\"a\":\"${parts.user.none}\",\"b?\":\"${parts.user.none}\",\"c\":\"${parts.x-1}\",\"d?\":\"${parts.x-1.y}\",\"e?\":\"${parts.user.name}\"}",
        "{\"a\":null,\"c\":null,\"e\":\"Ada\"}");
    assert_answer("{\"b?\":\"${parts.user.none}\"}", "{}");
    assert_answer("{\"a\":[\"${parts.x-1}\",\"${parts.orders[0]}\"]}", "{\"a\":[null,null]}");
    assert_answer("{\"a\":\"${parts.user.name.first}\",\"b\":\"${parts.user[0]}\",\"c\":\"${parts.orders.a}\"}",
                  "{\"a\":null,\"b\":null,\"c\":null}");
}

static void constants_are_what_they_are(void **state)
{
    assert_answer(
        "{\"a\":1,\"b\":-2.5,\"c\":true,\"d\":false,\"e\":null,\"f\":\"1\",\"g\":\"x\\n\\\"\",\"h\\u0001\":\"$\",\"i\":\"{}\"}",
        "{\"a\":1,\"b\":-2.5,\"c\":true,\"d\":false,\"e\":null,\"f\":\"1\",\"g\":\"x\\n\\\"\",\"h\\u0001\":\"$\",\"i\":\"{}\"}");
}

static void other_variables_make_json_texts(void **state)
{
    assert_answer("{\"a\":\"id ${request.id}\"}", "{\"a\":\"a \\\"text\\\"\\u000a\"}");
}

static void failures_are_listed_behind_all_else(void **state)
{
    const struct slice values[] = { SLICE("1"), SLICE_ABSENT, SLICE_ABSENT };
    const struct answer_failure failures[] = { { names[1], "timeout", 504 }, { names[2], "bad-path", 0 } };
    struct answer_values all = { .parts = values, .failures = failures, .failure_count = 2, .render = render };
    enum answer_result result;
    assert_slice_is(
        write_with("{\"a\":\"${parts.user}\"}", &all, 1 << 20, &result),
        "{\"a\":1,\"errors\":[{\"part\":\"orders\",\"reason\":\"timeout\",\"status\":504},{\"part\":\"x-1\",\"reason\":\"bad-path\"}]}");
    assert_slice_is(
        write_with("{}", &all, 1 << 20, &result),
        "{\"errors\":[{\"part\":\"orders\",\"reason\":\"timeout\",\"status\":504},{\"part\":\"x-1\",\"reason\":\"bad-path\"}]}");
}

static void more_than_the_limit_is_not_written(void **state)
{
    char *large = malloc(100002);
    memset(large, '1', 100001);
    const struct slice values[] = { slice_of(large, 100001), SLICE_ABSENT, SLICE_ABSENT };
    struct answer_values all = { .parts = values, .render = render };
    enum answer_result result;
    write_with("{\"a\":\"${parts.user}\",\"b\":\"${parts.user}\"}", &all, 150000, &result);
    assert_int_equal(result, ANSWER_TOO_LARGE);
    struct slice whole = write_with("{\"a\":\"${parts.user}\",\"b\":\"${parts.user}\"}", &all, 200013, &result);
    assert_int_equal(result, ANSWER_WRITTEN);
    assert_int_equal(whole.length, 200013);
    free(large);
}

static void short_memory_is_told(void **state)
{
    const struct slice values[] = { SLICE("1"), SLICE_ABSENT, SLICE_ABSENT };
    struct answer_values all = { .parts = values, .render = render };
    enum answer_result result;
    rendered = SLICE_ABSENT;
    write_with("{\"a\":\"${request.id}\"}", &all, 1000, &result);
    rendered = SLICE("a \"text\"\n");
    assert_int_equal(result, ANSWER_NO_MEMORY);
}

static void assert_refused(const char *text, const char *pointer, const char *words)
{
    problems_release(&problems);
    problems_init(&problems, NULL);
    struct answer_template *template = compile(text);
    assert_null(template);
    const struct problem *problem = vector_at(&problems.list, 0);
    assert_string_equal(problem->pointer, pointer);
    if (!strstr(problem->message, words)) fail_msg("%s", problem->message);
}

static void what_makes_no_sense_is_refused_at_its_place(void **state)
{
    assert_refused("{\"a\":{\"b\":[1,\"${parts.nobody}\"]}}", "/a/b/1", "no such part");
    assert_refused("{\"a\":\"${parts.}\"}", "/a", "no such part");
    assert_refused("{\"a\":\"${parts.user.}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user[x]}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user[}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user[-1]}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user[99999999999]}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user[\\\"x}\"}", "/a", "not a place");
    assert_refused("{\"a\":\"${parts.user x}\"}", "/a", "not a place");
    assert_refused("{\"a\":\" ${parts.user}\"}", "/a", "stands alone");
    assert_refused("{\"a?\":[]}", "/a?", "may be left out");
    assert_refused("{\"a\":1,\"a?\":\"${parts.user}\"}", "", "with and without");
    assert_refused("{\"errors\":\"${parts.user}\"}", "", "lists the parts");
    assert_refused("{\"a\":\"${nonsense}\"}", "/a", "nonsense");
    assert_refused("{\"a\":\"${request.id\"}", "/a", "}");
}

static void the_path_into_a_part_is_bounded(void **state)
{
    char text[256];
    size_t length = (size_t)snprintf(text, sizeof text, "{\"a\":\"${parts.user");
    for (int i = 0; i < 40; i++) length += (size_t)snprintf(text + length, sizeof text - length, "[0]");
    snprintf(text + length, sizeof text - length, "}\"}");
    assert_refused(text, "/a", "not a place");
}

/* So that no answer of a service, however large, costs more than some milliseconds of walking. */
static void walking_is_bounded_when_it_is_loaded(void **state)
{
    char *text = malloc(65536);
    size_t length = (size_t)snprintf(text, 65536, "{");
    for (int i = 0; i < 65; i++)
        length += (size_t)snprintf(text + length, 65536 - length, "%s\"m%d\":\"${parts.user.a}\"", i ? "," : "", i);
    snprintf(text + length, 65536 - length, "}");
    assert_refused(text, "", "too many values");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(parts_stand_under_their_names),
        TEST(values_stand_where_the_template_says),
        TEST(what_is_not_there_is_null_or_left_out),
        TEST(constants_are_what_they_are),
        TEST(other_variables_make_json_texts),
        TEST(failures_are_listed_behind_all_else),
        TEST(more_than_the_limit_is_not_written),
        TEST(short_memory_is_told),
        TEST(what_makes_no_sense_is_refused_at_its_place),
        TEST(the_path_into_a_part_is_bounded),
        TEST(walking_is_bounded_when_it_is_loaded),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
