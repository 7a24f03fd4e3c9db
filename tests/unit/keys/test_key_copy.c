/* The local copy of API keys: a store of SQLite that can be taken away, and the thread of the look-ups over it. */
#include "unit_test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "keys/key_lookups.h"
#include "keys/rows.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
#define PATIENCE_MS 20000
#define SECOND_US UINT64_C(1000000)

static char folder[64], location[96], path[96];

/* What the look-ups use: the store's own source, which is cut off where `is_away`. */
struct cut_source {
    struct key_source source;
    atomic_bool is_away;
    atomic_uint copies;
};

static bool is_cut_off(struct cut_source *cut, struct error *error)
{
    if (!atomic_load(&cut->is_away)) return false;
    error_set(error, BLAME_US, RETRY_NEVER, 503, "store-unavailable", "it is a test");
    return true;
}

static bool cut_find(void *argument, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *visitor,
                     struct error *error)
{
    struct cut_source *cut = argument;
    return !is_cut_off(cut, error) && cut->source.find(cut->source.argument, hash, visitor, error);
}

static bool cut_get(void *argument, struct slice id, const struct api_key_visitor *visitor, struct error *error)
{
    struct cut_source *cut = argument;
    return !is_cut_off(cut, error) && cut->source.get(cut->source.argument, id, visitor, error);
}

static bool cut_list(void *argument, uint64_t after_us, struct slice after_id, size_t limit,
                     const struct api_key_visitor *visitor, struct error *error)
{
    struct cut_source *cut = argument;
    return !is_cut_off(cut, error) && cut->source.list(cut->source.argument, after_us, after_id, limit, visitor, error);
}

static bool cut_count(void *argument, uint64_t *count, struct error *error)
{
    struct cut_source *cut = argument;
    return !is_cut_off(cut, error) && cut->source.count(cut->source.argument, count, error);
}

static bool cut_note_uses(void *argument, const struct api_key_use *uses, size_t count, struct error *error)
{
    struct cut_source *cut = argument;
    return !is_cut_off(cut, error) && cut->source.note_uses(cut->source.argument, uses, count, error);
}

static bool cut_write_copy(void *argument, const char *to, uint64_t keys_max, struct error *error)
{
    struct cut_source *cut = argument;
    atomic_fetch_add(&cut->copies, 1);
    return !is_cut_off(cut, error) && cut->source.write_copy(cut->source.argument, to, keys_max, error);
}

static void cut_close(void *argument)
{
    struct cut_source *cut = argument;
    cut->source.close(cut->source.argument);
}

/* --- a set of them --- */

struct fixture {
    struct cut_source cut;
    struct api_keys *keys;
    struct key_lookups *lookups;
};

static void pause_shortly(void) { nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); }

#define EVENTUALLY(condition)                                                         \
    do {                                                                              \
        uint64_t give_up_ns = clock_monotonic_ns() + PATIENCE_MS * UINT64_C(1000000); \
        while (!(condition) && clock_monotonic_ns() < give_up_ns) pause_shortly();    \
        assert_true(condition);                                                       \
    } while (0)

static uint64_t now_us(void) { return clock_wall_ns() / 1000; }

static bool is_loading(struct fixture *fixture)
{
    struct key_lookups_figures figures;
    key_lookups_figures(fixture->lookups, &figures);
    return figures.is_loading;
}

static struct fixture *start(uint64_t bytes_max, bool is_away)
{
    struct fixture *fixture = memory_allocate_aligned(sizeof *fixture);
    struct error error = { 0 };
    atomic_init(&fixture->cut.is_away, is_away);
    fixture->cut.source = key_source_of_store(&(struct store_settings){ location, 0 });
    fixture->keys = api_keys_create(&(struct api_keys_options){ bytes_max, 1 }, &error);
    assert_non_null(fixture->keys);
    api_keys_store_heard(fixture->keys, now_us(), true);
    struct key_lookups_options options = {
        .keys = fixture->keys,
        .source = { cut_find, cut_get, cut_list, cut_count, cut_note_uses, cut_write_copy, cut_close, &fixture->cut },
        .copy_path = path,
    };
    fixture->lookups = key_lookups_create(&options, &error);
    assert_non_null(fixture->lookups);
    assert_true(key_lookups_start(fixture->lookups, &error));
    if (!is_away) EVENTUALLY(!is_loading(fixture));
    return fixture;
}

static void end(struct fixture *fixture)
{
    key_lookups_stop(fixture->lookups);
    key_lookups_destroy(fixture->lookups);
    api_keys_destroy(fixture->keys);
    free(fixture);
}

static void run_once(uint64_t bytes_max) { end(start(bytes_max, false)); }

static enum api_key_found look_at(struct fixture *fixture, uint64_t number, uint64_t at_us)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    test_hash(number, hash);
    enum api_key_found found = api_keys_find(fixture->keys, 0, hash, at_us, &key);
    api_keys_quiesce(fixture->keys, 0);
    return found;
}

static enum api_key_found look(struct fixture *fixture, uint64_t number) { return look_at(fixture, number, now_us()); }

static bool is_there(void)
{
    struct stat file;
    return stat(path, &file) == 0;
}

/* --- the store --- */

static void write_keys(uint64_t first, uint64_t count, bool removes)
{
    struct error error = { 0 };
    uint64_t revision;
    struct store *store = store_open(&(struct store_settings){ location, 0 }, &error);
    assert_non_null(store);
    assert_true(store_begin(store, &revision, &error));
    for (uint64_t i = first; i < first + count; i++) {
        struct test_row row;
        test_row(&row, i);
        assert_true(removes ? store_key_remove(store, row.row.id, &error) : store_key_put(store, &row.row, &error));
    }
    struct store_revision made = { 0 };
    assert_true(store_commit(store, &made, &error));
    store_close(store);
}

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/sluice-key-copy-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(location, sizeof location, "sqlite:%s/db", folder);
    snprintf(path, sizeof path, "%s/keys", folder);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "db", "db-wal", "db-shm", "keys", "keys.new" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char file[128];
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        unlink(file);
    }
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

/* --- the tests --- */

static void a_start_without_the_store_lets_in_whom_it_let_in_before(void **state)
{
    write_keys(0, 3000, false);
    run_once(64 * MIB);
    struct fixture *fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 2999) == API_KEY_FOUND);
    assert_int_equal(look(fixture, 0), API_KEY_FOUND);
    /* It may have been made since. */
    assert_int_equal(look(fixture, 3000), API_KEY_AWAY);
    assert_false(api_keys_is_whole(fixture->keys));
    /* As long as it takes. */
    EVENTUALLY(look_at(fixture, 7, now_us() + 3600 * SECOND_US) == API_KEY_FOUND); /* once all of the copy is read */
    assert_int_equal(look_at(fixture, 3000, now_us() + 3600 * SECOND_US), API_KEY_AWAY);
    end(fixture);
}

static void when_the_store_is_there_again_its_keys_are_what_counts(void **state)
{
    write_keys(0, 3000, false);
    run_once(64 * MIB);
    write_keys(7, 1, true);
    write_keys(3000, 1, false);
    struct fixture *fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 2999) == API_KEY_FOUND);
    assert_int_equal(look(fixture, 7), API_KEY_FOUND); /* revoked, but nobody could say so */
    atomic_store(&fixture->cut.is_away, false);
    EVENTUALLY(look(fixture, 7) != API_KEY_FOUND);
    EVENTUALLY(!is_loading(fixture));
    assert_int_equal(look(fixture, 7), API_KEY_UNKNOWN);
    assert_int_equal(look(fixture, 8), API_KEY_FOUND);
    assert_int_equal(look(fixture, 3000), API_KEY_FOUND);
    assert_true(api_keys_is_whole(fixture->keys));
    /* And the next start without the store knows. */
    end(fixture);
    fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 3000) == API_KEY_FOUND);
    assert_int_equal(look(fixture, 7), API_KEY_AWAY);
    end(fixture);
}

/* Word from whoever follows the store may come before its look-ups are answered: from then on the copy is not believed. */
static void nobody_is_let_in_by_the_copy_once_the_store_was_heard_of(void **state)
{
    write_keys(0, 10, false);
    run_once(64 * MIB);
    struct fixture *fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 9) == API_KEY_FOUND);
    key_lookups_changed(fixture->lookups, NULL, 0, NULL, NULL);
    EVENTUALLY(look(fixture, 9) == API_KEY_AWAY);
    atomic_store(&fixture->cut.is_away, false);
    EVENTUALLY(look(fixture, 9) == API_KEY_FOUND && api_keys_is_whole(fixture->keys));
    end(fixture);
}

static void without_a_good_copy_none_can_be_told_until_the_store_is_there(void **state)
{
    write_keys(0, 10, false);
    struct fixture *fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 1) == API_KEY_AWAY);
    end(fixture);
    run_once(64 * MIB);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(file, "?", 1, 200), 1);
    close(file);
    fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 1) == API_KEY_AWAY);
    for (int i = 0; i < 200; i++) { /* nor for a moment by what of it could be read */
        assert_int_equal(look(fixture, 1), API_KEY_AWAY);
        pause_shortly();
    }
    atomic_store(&fixture->cut.is_away, false);
    EVENTUALLY(look(fixture, 1) == API_KEY_FOUND);
    end(fixture);
}

/* A cache is believed for 60 s without the store, also after a start. */
static void of_more_keys_than_memory_as_many_as_fit_are_kept(void **state)
{
    write_keys(0, 20000, false);
    run_once(MIB);
    struct fixture *fixture = start(MIB, true);
    struct api_keys_figures figures;
    uint64_t found = 0;
    do {
        pause_shortly();
        api_keys_figures(fixture->keys, &figures);
    } while (figures.keys < 5000);
    for (uint64_t i = 0; i < 20000; i++) found += look(fixture, i) == API_KEY_FOUND;
    assert_in_range(found, 5000, 15000);
    uint64_t later_us = now_us() + 61 * SECOND_US;
    for (uint64_t i = 0; i < 20000; i++) assert_int_equal(look_at(fixture, i, later_us), API_KEY_AWAY);
    end(fixture);
}

static void changes_are_copied_but_not_each_by_itself(void **state)
{
    write_keys(0, 10, false);
    struct fixture *fixture = start(64 * MIB, false);
    EVENTUALLY(is_there());
    for (uint64_t i = 10; i < 20; i++) {
        struct test_row row;
        test_row(&row, i);
        write_keys(i, 1, false);
        key_lookups_changed(fixture->lookups, &row.row.id, 1, NULL, NULL);
        EVENTUALLY(look(fixture, i) == API_KEY_FOUND || look(fixture, i) == API_KEY_UNKNOWN);
    }
    assert_int_equal(atomic_load(&fixture->cut.copies), 1);
    key_lookups_stop(fixture->lookups); /* the rest is copied then */
    assert_int_equal(atomic_load(&fixture->cut.copies), 2);
    end(fixture);
    fixture = start(64 * MIB, true);
    EVENTUALLY(look(fixture, 19) == API_KEY_FOUND);
    end(fixture);
}

static void nothing_is_written_over_a_copy_that_is_still_needed(void **state)
{
    write_keys(0, 10, false);
    run_once(64 * MIB);
    for (int i = 0; i < 3; i++) {
        struct fixture *fixture = start(64 * MIB, true);
        EVENTUALLY(look(fixture, 9) == API_KEY_FOUND);
        end(fixture);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_start_without_the_store_lets_in_whom_it_let_in_before),
        TEST(when_the_store_is_there_again_its_keys_are_what_counts),
        TEST(nobody_is_let_in_by_the_copy_once_the_store_was_heard_of),
        TEST(without_a_good_copy_none_can_be_told_until_the_store_is_there),
        TEST(of_more_keys_than_memory_as_many_as_fit_are_kept),
        TEST(changes_are_copied_but_not_each_by_itself),
        TEST(nothing_is_written_over_a_copy_that_is_still_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
