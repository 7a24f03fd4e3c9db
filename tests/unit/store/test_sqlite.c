/* The embedded store: the suite of all stores on a file, and what only a file can do to one. */
#include "store/store_suite.h"

#include "base/memory.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *make_place(void)
{
    char folder[] = "/tmp/sluice-sqlite-XXXXXX";
    assert_non_null(mkdtemp(folder));
    return memory_format("sqlite:%s/made/sluice.db", folder);
}

static const char *path_of(const char *location) { return location + strlen("sqlite:"); }

static void remove_place(const char *location)
{
    char *folder = memory_copy_slice(slice_from_cstring(path_of(location)));
    for (int level = 0; level < 2; level++) *strrchr(folder, '/') = '\0';
    char *command = memory_format("rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(folder);
}

static int keep_first(void *argument, int count, char **values, char **names)
{
    char **answer = argument;
    if (!*answer && values[0]) *answer = memory_copy_slice(slice_from_cstring(values[0]));
    return 0;
}

static char *ask(const char *location, const char *sql)
{
    sqlite3 *database;
    char *answer = NULL, *told = NULL;
    assert_int_equal(sqlite3_open(path_of(location), &database), SQLITE_OK);
    sqlite3_exec(database, "PRAGMA ignore_check_constraints=ON", NULL, NULL, NULL);
    int code = sqlite3_exec(database, sql, keep_first, &answer, &told);
    if (told) print_error("%s: %s\n", sql, told);
    assert_int_equal(code, SQLITE_OK);
    sqlite3_close(database);
    return answer;
}

const struct store_suite_kind store_suite_kind = { make_place, remove_place, ask };

static void a_new_database_is_its_owners_alone(void **state)
{
    suite_open(state);
    struct stat file;
    assert_int_equal(stat(path_of(suite_location(state)), &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    char *log = memory_format("%s-wal", path_of(suite_location(state)));
    assert_int_equal(stat(log, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    free(log);
}

int main(void)
{
    const struct CMUnitTest own[] = {
        cmocka_unit_test_setup_teardown(a_new_database_is_its_owners_alone, suite_set_up, suite_tear_down),
    };
    return store_suite_run(own, COUNT_OF(own));
}
