/* What an operator reads for each mistake: golden/NAME.yaml (or .json) and, word for word, golden/NAME.problems.
 * With UPDATE_GOLDEN=1 in the environment the expected texts are written anew, to be read in the diff. */
#include "config/golden_folder.h"
#include "config/kinds.h"

#include "base/memory.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int is_case(const struct dirent *entry)
{
    struct slice name = slice_from_cstring(entry->d_name);
    return slice_ends_with(name, SLICE(".yaml")) || slice_ends_with(name, SLICE(".json"));
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return memory_format("(no file %s)", path);
    char *text = memory_allocate(65536);
    size_t length = fread(text, 1, 65535, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Loads under the file's bare name, so that what is printed doesn't depend on where the tests stand. */
static char *problems_of(const char *folder, const char *name)
{
    char *path = memory_format("%s/%s", folder, name);
    char *text = read_text(path);
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), name, folder, &test_kinds,
                                                                  &problems);
    assert_int_equal(configuration == NULL, problems.count > 0);
    configuration_destroy(configuration);
    char *printed = problems_to_text(&problems);
    problems_release(&problems);
    free(text);
    free(path);
    return printed;
}

static bool matches(const char *folder, const char *name)
{
    char *expected_path = memory_format("%s/%.*s.problems", folder, (int)(strlen(name) - 5), name);
    char *printed = problems_of(folder, name);
    if (getenv("UPDATE_GOLDEN")) write_text(expected_path, printed);
    char *expected = read_text(expected_path);
    bool same = strcmp(printed, expected) == 0;
    if (!same) print_error("%s\n  expected:\n%s  printed:\n%s", name, expected, printed);
    free(expected);
    free(printed);
    free(expected_path);
    return same;
}

static void every_mistake_is_told_word_for_word(void **state)
{
    struct dirent **entries;
    int count = scandir(GOLDEN_FOLDER, &entries, is_case, alphasort);
    assert_true(count >= 60);
    unsigned wrong = 0;
    for (int i = 0; i < count; i++) {
        wrong += !matches(GOLDEN_FOLDER, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_mistake_is_told_word_for_word) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
