/* The local copy: it is the state that was written, or it is not used. */
#include "store/copy.h"

#include "base/memory.h"

#include "unit/unit_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[96];

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/sluice-copy-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/copy", folder);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct catalog_entry *entry_of(enum resource_kind kind, const char *id, const char *document,
                                      uint64_t created_us)
{
    struct resource resource = { .kind = kind, .id = slice_from_cstring(id), .name = SLICE("n") };
    return catalog_entry_create(&resource, slice_from_cstring(document), created_us, created_us + 5);
}

static struct catalog *small_catalog(void)
{
    struct catalog *catalog = catalog_create();
    struct catalog_entry *entries[] = {
        entry_of(RESOURCE_ROUTE, "00000000-0000-4000-8000-000000000002", "{\"path\":\"/\"}", 7),
        entry_of(RESOURCE_SERVICE, "00000000-0000-4000-8000-000000000001", "{\"name\":\"\xc3\xa9\"}", 9),
        entry_of(RESOURCE_ROUTE, "00000000-0000-4000-8000-000000000003", "{}", 3),
    };
    catalog_replace(catalog, entries, COUNT_OF(entries), 42);
    return catalog;
}

static void note_row(void *argument, const struct store_row *row)
{
    char *text = argument;
    size_t length = strlen(text);
    snprintf(text + length, 512 - length, "%d %.*s %.*s %llu %llu; ", (int)row->kind, 2, row->id.at + 34,
             SLICE_PRINT(row->document), (unsigned long long)row->created_us, (unsigned long long)row->updated_us);
}

/* What the copy holds, or NULL and the error's reason in *reason. */
static const char *read_copy(const char **reason, uint64_t *revision)
{
    static char text[512];
    struct error error = { 0 };
    uint64_t written_us = 0;
    text[0] = '\0';
    struct store_visitor visitor = { note_row, text };
    bool ok = copy_read(path, &visitor, revision, &written_us, &error);
    *reason = error.reason;
    if (ok) assert_true(written_us > 1700000000000000);
    return ok ? text : NULL;
}

#define SMALL "0 01 {\"name\":\"\xc3\xa9\"} 9 14; 1 03 {} 3 8; 1 02 {\"path\":\"/\"} 7 12; "

static void write_small(void)
{
    struct error error = { 0 };
    struct catalog *catalog = small_catalog();
    if (!copy_write(path, catalog, &error)) print_error("%s\n", error.text);
    catalog_destroy(catalog);
    assert_null(error.reason);
}

static void a_copy_is_read_as_it_was_written(void **state)
{
    const char *reason;
    uint64_t revision = 0;
    write_small();
    const char *text = read_copy(&reason, &revision);
    assert_non_null(text);
    assert_string_equal(text, SMALL);
    assert_int_equal(revision, 42);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static void an_empty_catalog_has_a_copy_too(void **state)
{
    const char *reason;
    uint64_t revision = 9;
    struct catalog *catalog = catalog_create();
    assert_true(copy_write(path, catalog, NULL));
    catalog_destroy(catalog);
    assert_string_equal(read_copy(&reason, &revision), "");
    assert_int_equal(revision, 0);
}

static void no_copy_is_no_damage(void **state)
{
    const char *reason;
    uint64_t revision;
    assert_null(read_copy(&reason, &revision));
    assert_string_equal(reason, "copy-absent");
}

static size_t slurp(char *into, size_t size)
{
    int file = open(path, O_RDONLY);
    ssize_t length = read(file, into, size);
    close(file);
    assert_true(length > 0 && (size_t)length < size);
    return (size_t)length;
}

static void spill(const char *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    assert_int_equal(write(file, bytes, length), length);
    close(file);
}

static void expect_damaged(void)
{
    const char *reason;
    uint64_t revision = 77;
    assert_null(read_copy(&reason, &revision));
    assert_string_equal(reason, "copy-damaged");
    assert_int_equal(revision, 77);
}

static void a_copy_cut_off_anywhere_is_not_used(void **state)
{
    char bytes[4096];
    write_small();
    size_t length = slurp(bytes, sizeof bytes);
    for (size_t cut = 0; cut < length; cut++) {
        spill(bytes, cut);
        expect_damaged();
    }
    bytes[length] = 0;
    spill(bytes, length + 1);
    expect_damaged();
}

static void a_copy_with_any_bit_flipped_is_not_used(void **state)
{
    char bytes[4096];
    write_small();
    size_t length = slurp(bytes, sizeof bytes);
    for (size_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        spill(bytes, length);
        expect_damaged();
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    spill(bytes, length);
    const char *reason;
    uint64_t revision;
    assert_non_null(read_copy(&reason, &revision));
}

static void what_is_no_file_is_not_read(void **state)
{
    const char *reason;
    uint64_t revision;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(read_copy(&reason, &revision));
    assert_string_equal(reason, "copy-damaged");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(read_copy(&reason, &revision));
    assert_string_equal(reason, "copy-damaged");
}

static unsigned count_files(void)
{
    char command[128];
    snprintf(command, sizeof command, "exit $(ls -A '%s' | wc -l)", folder);
    return (unsigned)WEXITSTATUS(system(command));
}

/* Gateways that share a state folder: none takes away or writes into what another one is writing. */
static void two_that_write_at_once_leave_each_others_alone(void **state)
{
    const char *const texts[] = { "copy.new", "copy.abcdef.new", "copy.ghijkl.new", "copy.other" };
    char names[4][128];
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        snprintf(names[i], sizeof names[i], "%s/%s", folder, texts[i]);
        int file = open(names[i], O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_int_equal(write(file, "half", 4), 4);
        close(file);
    }
    struct timespec long_ago[] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(utimensat(AT_FDCWD, names[2], long_ago, 0), 0); /* of a process that died */
    assert_int_equal(utimensat(AT_FDCWD, names[3], long_ago, 0), 0);
    write_small();
    struct stat file;
    assert_int_equal(stat(names[0], &file), 0);
    assert_int_equal(stat(names[1], &file), 0);
    assert_int_equal(file.st_size, 4);
    assert_int_equal(stat(names[2], &file), -1);
    assert_int_equal(stat(names[3], &file), 0); /* not ours */
    assert_int_equal(count_files(), 4);
}

static void a_copy_that_cannot_be_written_leaves_the_one_before(void **state)
{
    const char *reason;
    uint64_t revision;
    struct error error = { 0 };
    write_small();
    struct catalog *catalog = catalog_create();
    struct rlimit before, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){ .rlim_cur = 16, .rlim_max = before.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0); /* as a full disk would */
    bool written = copy_write(path, catalog, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(written);
    assert_int_equal(count_files(), 1);
    assert_string_equal(error.reason, "copy-failed");
    assert_string_equal(read_copy(&reason, &revision), SMALL);
    catalog_destroy(catalog);
}

static void a_link_put_beside_it_is_not_followed(void **state)
{
    char beside[128], victim[128];
    struct stat file;
    snprintf(beside, sizeof beside, "%s.new", path);
    snprintf(victim, sizeof victim, "%s/victim", folder);
    assert_int_equal(symlink(victim, beside), 0);
    write_small();
    assert_int_equal(stat(victim, &file), -1);
}

struct sums {
    size_t rows, bytes;
};

static void add_row(void *argument, const struct store_row *row)
{
    struct sums *sums = argument;
    sums->rows++;
    sums->bytes += row->document.length;
}

static void a_large_copy_goes_through_the_buffers_edges(void **state)
{
    enum { COUNT = 3000 };
    struct catalog *catalog = catalog_create();
    struct catalog_entry **entries = memory_allocate_array(COUNT, sizeof(struct catalog_entry *));
    char document[1024];
    memset(document, 'd', sizeof document);
    for (unsigned i = 0; i < COUNT; i++) {
        char id[37];
        snprintf(id, sizeof id, "00000000-0000-4000-8000-%012u", i);
        document[i % 1000] = '\0';
        entries[i] = entry_of(RESOURCE_ROUTE, id, document, i);
        document[i % 1000] = 'd';
    }
    catalog_replace(catalog, entries, COUNT, 1);
    free(entries);
    assert_true(copy_write(path, catalog, NULL));
    catalog_destroy(catalog);
    uint64_t revision, written_us;
    struct sums sums = { 0 };
    struct store_visitor visitor = { add_row, &sums };
    assert_true(copy_read(path, &visitor, &revision, &written_us, NULL));
    assert_int_equal(sums.rows, COUNT);
    assert_int_equal(sums.bytes, 3 * (999 * 1000 / 2));
}

static void note_key(void *argument, const struct api_key_row *row)
{
    char *text = argument;
    size_t length = strlen(text);
    snprintf(text + length, 512 - length, "%d %.*s %.*s %.*s %.*s %d %llu %llu; ", row->hash[31], 2, row->id.at + 34,
             SLICE_PRINT(row->client_id), SLICE_PRINT(row->scopes), SLICE_PRINT(row->rate_limit_tier), row->enabled,
             (unsigned long long)row->expires_at_us, (unsigned long long)row->created_us);
}

static void keys_have_a_copy_of_their_own(void **state)
{
    char location[128], text[512] = "";
    snprintf(location, sizeof location, "sqlite:%s/db", folder);
    struct error error = { 0 };
    struct store *store = store_open(&(struct store_settings){ location, 0 }, &error);
    assert_non_null(store);
    uint64_t revision = 0;
    struct keys_copy copy = { 0 };
    assert_true(store_begin(store, &revision, &error));
    for (int i = 1; i <= 3; i++) {
        char id[37];
        snprintf(id, sizeof id, "00000000-0000-4000-8000-%012d", i);
        struct api_key_row row = { .id = slice_from_cstring(id),
                                   .client_id = SLICE("c"),
                                   .scopes = SLICE("a b"),
                                   .enabled = i != 2,
                                   .expires_at_us = (uint64_t)i,
                                   .created_us = 5 };
        memset(row.hash, i, sizeof row.hash);
        assert_true(store_key_put(store, &row, &error));
    }
    struct store_revision made = { 0 };
    assert_true(store_commit(store, &made, &error));
    assert_true(copy_write_keys(path, store, 100, &error));
    struct api_key_visitor visitor = { note_key, text };
    assert_true(copy_read_keys(path, &visitor, &copy, &error));
    assert_string_equal(text, "1 01 c a b standard 1 1 5; 2 02 c a b standard 0 2 5; 3 03 c a b standard 1 3 5; ");
    assert_int_equal(copy.revision, 1);
    assert_int_equal(copy.count, 3);
    assert_true(copy.is_whole);
    /* Neither copy is taken for the other. */
    expect_damaged();
    text[0] = '\0';
    assert_true(copy_write_keys(path, store, 2, &error));
    assert_true(copy_read_keys(path, &visitor, &copy, &error));
    assert_string_equal(text, "1 01 c a b standard 1 1 5; 2 02 c a b standard 0 2 5; ");
    assert_int_equal(copy.count, 2);
    assert_false(copy.is_whole);
    store_close(store);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_is_read_as_it_was_written),
        TEST(an_empty_catalog_has_a_copy_too),
        TEST(no_copy_is_no_damage),
        TEST(a_copy_cut_off_anywhere_is_not_used),
        TEST(a_copy_with_any_bit_flipped_is_not_used),
        TEST(what_is_no_file_is_not_read),
        TEST(a_copy_that_cannot_be_written_leaves_the_one_before),
        TEST(two_that_write_at_once_leave_each_others_alone),
        TEST(a_link_put_beside_it_is_not_followed),
        TEST(a_large_copy_goes_through_the_buffers_edges),
        TEST(keys_have_a_copy_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
