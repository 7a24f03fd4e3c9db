/* Paths that hold values of the request: a value is data, whatever it is. */
#include "unit_test.h"

#include "expr/template.h"
#include "handlers/part_path.h"

static struct arena arena;
static struct problems problems;
static const struct policy_surroundings nothing;

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

static struct part_path *compile(const char *text)
{
    struct filter_compile here = { .problems = &problems, .surroundings = &nothing };
    return part_path_compile(&here, slice_from_cstring(text));
}

static struct slice give(const void *argument, const struct template *template)
{
    return *(const struct slice *)argument;
}

/* NULL: refused. */
static const char *write_path(const char *text, struct slice value)
{
    struct part_path *path = compile(text);
    if (!path) fail_msg("%s", problems_to_text(&problems));
    struct slice target;
    enum part_path_result result = part_path_write(path, give, &value, &arena, &target);
    part_path_destroy(path);
    if (result != PART_PATH_WRITTEN) return NULL;
    return arena_copy(&arena, target).at;
}

#define ASSERT_PATH(text, value, expected) assert_string_equal(write_path(text, SLICE(value)), expected)
#define ASSERT_BAD(text, value) assert_null(write_path(text, SLICE(value)))

static void a_path_without_values_stays(void **state)
{
    ASSERT_PATH("/", "", "/");
    ASSERT_PATH("/a/b%20c?d=e&f", "", "/a/b%20c?d=e&f");
}

static void a_value_is_encoded(void **state)
{
    ASSERT_PATH("/u/${request.host}/x", "a", "/u/a/x");
    ASSERT_PATH("/u/${request.host}", "aZ09-._~", "/u/aZ09-._~");
    ASSERT_PATH("/u/${request.host}", "a/b?c=d&e#f%2F;g:@", "/u/a%2Fb%3Fc%3Dd%26e%23f%252F%3Bg%3A%40");
    ASSERT_PATH("/u/${request.host}", " \r\n\x7f", "/u/%20%0D%0A%7F");
    ASSERT_PATH("/u/${request.host}", "\xc3\xa9", "/u/%C3%A9");
    ASSERT_PATH("/u?q=${request.host}&r=1", "a&r=2#x", "/u?q=a%26r%3D2%23x&r=1");
}

static void a_capture_is_encoded_already(void **state)
{
    ASSERT_PATH("/u/${path.id}", "a%20b%2Fc", "/u/a%20b%2Fc");
    ASSERT_PATH("/u/${ path.id }", "a%20b", "/u/a%20b");
    ASSERT_PATH("/u/${path.*}", "a/b;c=d", "/u/a/b;c=d");
    ASSERT_PATH("/u/${path.id}", "a?b#c", "/u/a%3Fb%23c"); /* none has these, and if one had */
    ASSERT_PATH("/u?id=${path.id}&x=1", "a%20b&x=2", "/u?id=a%20b%26x%3D2&x=1");
    ASSERT_PATH("/u/${path.id + \"x\"}", "a%20b", "/u/a%2520b"); /* no capture any more */
}

static void no_value_makes_a_dot_segment(void **state)
{
    ASSERT_BAD("/u/${request.host}/x", "..");
    ASSERT_BAD("/u/${request.host}", ".");
    ASSERT_BAD("/u/${path.*}", "../../admin");
    ASSERT_BAD("/u/.${request.host}/x", ".");
    ASSERT_PATH("/u/${request.host}/x", "...", "/u/.../x");
    ASSERT_PATH("/u/${request.host}/x", "../../etc", "/u/..%2F..%2Fetc/x");
    ASSERT_PATH("/u?f=${request.host}", "..", "/u?f=..");
}

static void a_value_that_is_missing_is_no_segment(void **state)
{
    ASSERT_BAD("/u/${request.host}", "");
    ASSERT_BAD("/u/${path.id}/x", "");
    ASSERT_PATH("/u?q=${request.host}", "", "/u?q=");
}

static void bytes_that_no_path_holds_are_refused(void **state)
{
    ASSERT_BAD("/u/${request.host}", "\xff"); /* encoded, and no UTF-8 */
    assert_null(write_path("/u/${request.host}", slice_of("a\0b", 3)));
    ASSERT_BAD("/u/${request.host}", "a\\b");
}

static void braces_inside_an_expression_end_nothing(void **state)
{
    ASSERT_PATH("/u/${request.host + \"}\"}/x", "v", "/u/v/x");
    ASSERT_PATH("/u/${request.host + '\\'}'}/x", "v", "/u/v/x");
    ASSERT_PATH("/u/${{\"a\": request.host}[\"a\"]}/x", "v", "/u/v/x");
}

static void assert_refused(const char *text, const char *words)
{
    problems_release(&problems);
    problems_init(&problems, NULL);
    assert_null(compile(text));
    const struct problem *problem = vector_at(&problems.list, 0);
    if (!strstr(problem->message, words)) fail_msg("%s", problem->message);
}

static void what_can_not_be_asked_for_is_refused_when_loaded(void **state)
{
    assert_refused("/a/../b", "no path");
    assert_refused("/a/./b", "no path");
    assert_refused("/a b", "no path");
    assert_refused("/a#b", "no path");
    assert_refused("/%41", "no path"); /* it would be mended: write it as it is */
    assert_refused("//host/../x", "no path");
    assert_refused("/a/${request.host", "without its }");
    assert_refused("/a/${nonsense}", "nonsense");
    char many[2048] = "/";
    for (size_t i = 0; i < 70; i++) memcpy(many + 1 + 16 * i, "${request.host}/", 16);
    assert_refused(many, "too many values");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_path_without_values_stays),
        TEST(a_value_is_encoded),
        TEST(a_capture_is_encoded_already),
        TEST(no_value_makes_a_dot_segment),
        TEST(a_value_that_is_missing_is_no_segment),
        TEST(bytes_that_no_path_holds_are_refused),
        TEST(braces_inside_an_expression_end_nothing),
        TEST(what_can_not_be_asked_for_is_refused_when_loaded),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
