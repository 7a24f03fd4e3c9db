/* Problems stand in the file's order, are bounded, and say what was probably meant. */
#include "config/kinds.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_text(const struct problems *problems, const char *expected)
{
    char *text = problems_to_text(problems);
    assert_string_equal(text, expected);
    free(text);
}

static void a_problem_shows_its_place_its_words_and_its_mend(void **state)
{
    struct problems problems;
    problems_init(&problems, "sluice.yaml");
    struct node node = { .line = 12, .column = 14, .key = SLICE("servce"), .key_line = 12, .key_column = 5 };
    problems_add_at_key(&problems, &node, "did you mean \"service\"?", "unknown field \"%s\"", "servce");
    assert_text(&problems, "sluice.yaml:12:5: unknown field \"servce\" (did you mean \"service\"?)\n");
    const struct problem *problem = vector_at(&problems.list, 0);
    assert_string_equal(problem->message, "unknown field \"servce\"");
    assert_string_equal(problem->hint, "did you mean \"service\"?");
    problems_release(&problems);
}

static void what_was_found_late_stands_where_it_is_in_the_file(void **state)
{
    struct problems problems;
    problems_init(&problems, "a");
    problems_add_at(&problems, 9, 1, NULL, "ninth");
    problems_add_at(&problems, 3, 7, NULL, "third, seventh");
    problems_add_at(&problems, 3, 7, NULL, "found later at the same place");
    problems_add_at(&problems, 3, 2, NULL, "third, second");
    problems.file = "b";
    problems_add_at(&problems, 1, 1, NULL, "of another file");
    assert_text(&problems, "a:3:2: third, second\na:3:7: third, seventh\na:3:7: found later at the same place\n"
                           "a:9:1: ninth\nb:1:1: of another file\n");
    problems_release(&problems);
}

/* The last problems come first in the file: the list keeps the first hundred by place, not by time. */
static void a_hundred_are_listed_and_the_rest_is_counted(void **state)
{
    struct problems problems;
    problems_init(&problems, "a");
    for (uint32_t line = 150; line > 0; line--) problems_add_at(&problems, line, 1, "hint", "line %u", line);
    assert_int_equal(problems.count, 150);
    assert_int_equal(problems.list.count, PROBLEMS_LISTED_MAX + 1);
    const struct problem *first = vector_at(&problems.list, 0), *hundredth = vector_at(&problems.list, 99);
    const struct problem *last = vector_at(&problems.list, 100);
    assert_int_equal(first->line, 1);
    assert_int_equal(hundredth->line, 100);
    assert_string_equal(last->message, "... and 50 more");
    problems_release(&problems);
}

static void a_problem_without_a_place_is_still_told(void **state)
{
    struct problems problems;
    problems_init(&problems, NULL);
    problems_add(&problems, NULL, NULL, "nothing works");
    assert_text(&problems, "nothing works\n");
    problems_release(&problems);
}

/* What stands once and is compiled for every route is one mistake to who wrote it. */
static void the_same_mistake_in_the_same_place_is_told_once(void **state)
{
    struct problems problems;
    problems_init(&problems, "a.yaml");
    problems_add_at(&problems, 3, 5, NULL, "wrong");
    problems_add_at(&problems, 3, 5, NULL, "worse");
    problems_add_at(&problems, 3, 5, NULL, "wrong");
    problems_add_at(&problems, 4, 5, NULL, "wrong");
    problems_add_at(&problems, 3, 5, NULL, "worse");
    assert_text(&problems, "a.yaml:3:5: wrong\na.yaml:3:5: worse\na.yaml:4:5: wrong\n");
    assert_int_equal(problems.list.count, 3);
    assert_int_equal(problems.mistakes, 3);
    assert_int_equal(problems.count, 5); /* who compares it before and behind a check sees that this failed */
    problems_release(&problems);
}

static void what_is_told_again_and_again_crowds_nothing_out(void **state)
{
    struct problems problems;
    problems_init(&problems, NULL);
    for (unsigned i = 0; i < 1000; i++) problems_add(&problems, NULL, NULL, "the same for each route");
    problems_add(&problems, NULL, NULL, "another one");
    assert_text(&problems, "the same for each route\nanother one\n");
    for (unsigned i = 0; i < PROBLEMS_LISTED_MAX; i++) problems_add(&problems, NULL, NULL, "%u", i);
    for (unsigned i = 0; i < PROBLEMS_LISTED_MAX; i++) problems_add(&problems, NULL, NULL, "%u", i);
    const struct problem *last = vector_at(&problems.list, PROBLEMS_LISTED_MAX);
    assert_string_equal(last->message, "... and 2 more");
    problems_release(&problems);
}

static void an_excerpt_is_short_printable_and_cut_between_characters(void **state)
{
    assert_string_equal(problems_excerpt(SLICE("plain")).text, "plain");
    assert_string_equal(problems_excerpt(SLICE("a\nb\x1b\x7f")).text, "a?b??");
    assert_string_equal(problems_excerpt(SLICE_ABSENT).text, "");
    char text[200];
    for (size_t i = 0; i < sizeof text; i += 2) memcpy(text + i, "\xC3\xA4", 2);
    for (size_t length = 60; length < sizeof text; length++) {
        struct excerpt excerpt = problems_excerpt(slice_of(text, length));
        size_t shown = strlen(excerpt.text);
        assert_true(shown < sizeof excerpt.text);
        if (length > sizeof excerpt.text) assert_string_equal(excerpt.text + shown - 3, "...");
        if (length > sizeof excerpt.text) assert_int_equal(shown % 2, 1); /* whole pairs and three dots */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_shows_its_place_its_words_and_its_mend),
        cmocka_unit_test(what_was_found_late_stands_where_it_is_in_the_file),
        cmocka_unit_test(a_hundred_are_listed_and_the_rest_is_counted),
        cmocka_unit_test(a_problem_without_a_place_is_still_told),
        cmocka_unit_test(the_same_mistake_in_the_same_place_is_told_once),
        cmocka_unit_test(what_is_told_again_and_again_crowds_nothing_out),
        cmocka_unit_test(an_excerpt_is_short_printable_and_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
