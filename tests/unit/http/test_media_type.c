/* A parameter of a media type, in Content-Type and in Accept with its weights. */
#include "unit_test.h"

#include "http/media_type.h"

static struct slice version_of(const char *list)
{
    static char buffer[MEDIA_TYPE_VALUE_BYTES_MAX];
    return media_type_parameter(slice_from_cstring(list), SLICE("version"), buffer);
}

static void a_parameter_is_found_among_others(void **state)
{
    assert_slice_is(version_of("application/vnd.api+json; version=2"), "2");
    assert_slice_is(version_of("application/vnd.api+json;charset=utf-8 ;\tVersion=2.1 "), "2.1");
    assert_slice_is(version_of("text/html, application/json;version=1;q=0.5"), "1");
    assert_slice_is(version_of("a/b;version=1;version=2"), "1");
    assert_slice_is(version_of("a/b;version="), "");
}

static void without_one_there_is_none(void **state)
{
    static const char *const without[] = { "",
                                           "text/html",
                                           "version=2",
                                           "a/b;versions=2",
                                           "a/b;version",
                                           "a/b;x=version=2",
                                           "a/b;x=\";version=2\"",
                                           ",,;;,",
                                           "a/b;version=2;q=0",
                                           "a/b;q=0.000;version=2" };
    for (size_t i = 0; i < COUNT_OF(without); i++) {
        if (!slice_is_absent(version_of(without[i]))) fail_msg("found in %s", without[i]);
    }
    assert_true(slice_is_absent(media_type_parameter(SLICE_ABSENT, SLICE("version"), NULL)));
}

static void the_highest_weight_wins_and_the_first_of_equals(void **state)
{
    assert_slice_is(version_of("a/b;version=1;q=0.2, a/b;version=2;q=0.8, a/b;version=3;q=0.8"), "2");
    assert_slice_is(version_of("a/b;version=1;q=0.999, a/b;version=2"), "2");
    assert_slice_is(version_of("a/b;version=1;q=x, a/b;version=2;q=1.0"), "1");
    assert_slice_is(version_of("a/b;version=1;q=0.001,a/b;version=2;q=0"), "1");
}

static void quoted_values_lose_their_quotes(void **state)
{
    assert_slice_is(version_of("a/b;version=\"2\""), "2");
    assert_slice_is(version_of("a/b;x=\"a,b;c\\\"\";version=\"2,\\\"3\""), "2,\"3");
    assert_true(slice_is_absent(version_of("a/b;version=\"2")));
    assert_true(slice_is_absent(version_of("a/b;version=\"\"2\"")));
    assert_true(slice_is_absent(version_of("a/b;version=\"2\"\\\"3\"")));
    assert_true(slice_is_absent(version_of("a/b;version=\"2\\\"")));
    assert_true(slice_is_absent(version_of("a/b;version=\"")));
    assert_slice_is(version_of("a/b;version=\"\""), "");
}

static void what_is_too_long_is_none(void **state)
{
    char text[512] = "a/b;version=";
    memset(text + strlen(text), 'x', MEDIA_TYPE_VALUE_BYTES_MAX);
    assert_int_equal(version_of(text).length, MEDIA_TYPE_VALUE_BYTES_MAX);
    text[strlen(text)] = 'x';
    assert_true(slice_is_absent(version_of(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parameter_is_found_among_others),
        cmocka_unit_test(without_one_there_is_none),
        cmocka_unit_test(the_highest_weight_wins_and_the_first_of_equals),
        cmocka_unit_test(quoted_values_lose_their_quotes),
        cmocka_unit_test(what_is_too_long_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
