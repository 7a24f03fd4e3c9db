/* Which file an upgrade executes: the one that is found by the name by which this process was called. */
#include "unit_test.h"

#include "base/memory.h"
#include "master/private.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[40], here[PATH_MAX], link_path[80];

static int set_up(void **state)
{
    ssize_t length = readlink("/proc/self/exe", here, sizeof here - 1);
    if (length <= 0) return -1;
    here[length] = '\0';
    snprintf(folder, sizeof folder, "/tmp/sluice-program-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(link_path, sizeof link_path, "%s/sluice", folder);
    return symlink(here, link_path);
}

static int tear_down(void **state)
{
    unlink(link_path);
    return rmdir(folder);
}

static void assert_found(const char *name, const char *expected)
{
    char *found = program_find(name);
    assert_string_equal(found, expected);
    free(found);
}

/* An installation may be changed by turning the link to another file. */
static void a_link_stays_a_link(void **state) { assert_found(link_path, link_path); }

static void a_relative_name_is_made_absolute(void **state)
{
    char before[PATH_MAX], expected[PATH_MAX + 10];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    assert_found("./sluice", link_path);
    assert_int_equal(chdir("/tmp"), 0);
    snprintf(expected, sizeof expected, "%s/sluice", folder);
    assert_found(expected + strlen("/tmp/"), expected);
    assert_int_equal(chdir(before), 0);
}

static void a_name_alone_is_looked_for_in_path(void **state)
{
    char *path = memory_format("/nowhere:relative::/usr/bin:%s", folder);
    setenv("PATH", path, 1);
    assert_found("sluice", link_path);
    free(path);
}

/* Another file of that name is not what runs; nor is a name that was made up. */
static void a_name_that_leads_elsewhere_counts_for_nothing(void **state)
{
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_found("sh", here);
    assert_found("/bin/sh", here);
    assert_found("", here);
    assert_found("/no/such/file", here);
    unsetenv("PATH");
    assert_found("sluice", here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_link_stays_a_link),
        TEST(a_relative_name_is_made_absolute),
        TEST(a_name_alone_is_looked_for_in_path),
        TEST(a_name_that_leads_elsewhere_counts_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
