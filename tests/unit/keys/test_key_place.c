/* Where records of keys are put: most of them where a look-up fetches them ahead, at a price in memory that is bounded. */
#include "unit_test.h"

#include "base/memory.h"
#include "keys/private.h"
#include "keys/rows.h"

#define NOW_US UINT64_C(1767225600000000)
#define MIB (1u << 20)
#define MANY 40000

static struct api_keys *new_keys(uint64_t bytes_max)
{
    struct error error;
    struct api_keys *keys = api_keys_create(&(struct api_keys_options){ bytes_max, 1 }, &error);
    assert_non_null(keys);
    api_keys_store_heard(keys, NOW_US, true);
    return keys;
}

/* Every third has texts of its own. */
static void make_row(struct test_row *row, uint64_t number, char text[64])
{
    test_row(row, number);
    if (number % 3 != 0) return;
    snprintf(text, 64, "client %llu, whose name is long", (unsigned long long)number);
    row->row.client_id = slice_from_cstring(text);
    row->row.scopes = slice_from_cstring(text + 7);
}

static void put(struct api_keys *keys, uint64_t first, uint64_t end)
{
    for (uint64_t number = first; number < end; number++) {
        struct test_row row;
        char text[64];
        make_row(&row, number, text);
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP_IF_ROOM));
    }
}

static enum api_key_found find(struct api_keys *keys, uint64_t number, struct api_key *key)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    test_hash(number, hash);
    enum api_key_found found = api_keys_find(keys, 0, hash, NOW_US, key);
    api_keys_quiesce(keys, 0);
    return found;
}

static void assert_all_are_told(struct api_keys *keys, uint64_t count)
{
    for (uint64_t number = 0; number < count; number++) {
        struct test_row row;
        struct api_key key;
        char text[64], into[API_KEY_UUID_BYTES];
        make_row(&row, number, text);
        assert_int_equal(find(keys, number, &key), API_KEY_FOUND);
        assert_slice_is(api_key_id(&key, into), row.id);
        assert_true(slice_equal(api_key_client_id(&key, into), row.row.client_id));
        assert_true(slice_equal(key.scopes, row.row.scopes));
    }
}

/* Of a hundred keys. */
static uint64_t in_their_groups(struct api_keys *keys, uint64_t count)
{
    uint64_t right = 0;
    for (uint64_t number = 0; number < count; number++) {
        struct api_key key;
        assert_int_equal(find(keys, number, &key), API_KEY_FOUND);
        uint32_t first = key_group_first(atomic_load(&keys->group_count), key_hash(keys, key.hash));
        right += key.number - first < KEY_GROUP;
    }
    return right * 100 / count;
}

static uint64_t bytes_of(struct api_keys *keys)
{
    struct api_keys_figures figures;
    api_keys_figures(keys, &figures);
    return figures.bytes;
}

static void a_load_puts_three_of_four_keys_where_they_are_looked_for_first(void **state)
{
    struct api_keys *keys = new_keys(64 * MIB);
    api_keys_load_begin(keys);
    put(keys, 0, 2000); /* as a store's first page, before it is asked how many there are */
    api_keys_reserve(keys, MANY);
    put(keys, 2000, MANY);
    api_keys_load_end(keys, true);
    assert_true(api_keys_is_whole(keys));
    assert_in_range(in_their_groups(keys, MANY), 72, 90);
    assert_all_are_told(keys, MANY);
    api_keys_destroy(keys);
}

/* Each time the groups become more, nearly all that were there are in a wrong one: they follow. */
static void keys_that_come_one_by_one_are_moved_to_where_they_are_looked_for(void **state)
{
    struct api_keys *keys = new_keys(64 * MIB);
    put(keys, 0, MANY);
    put(keys, 0, MANY);                                   /* nothing new: time for the last ones to be moved */
    assert_in_range(in_their_groups(keys, MANY), 45, 90); /* 2 without */
    assert_all_are_told(keys, MANY);
    assert_int_equal(keys->live, MANY);
    key_memory_reclaim(keys); /* the last one moved may wait for the next change */
    assert_int_equal(keys->retired_count, 0);
    api_keys_destroy(keys);
}

static void few_keys_are_not_spread(void **state)
{
    struct api_keys *keys = new_keys(64 * MIB);
    api_keys_reserve(keys, 1000);
    put(keys, 0, 1000);
    assert_int_equal(atomic_load(&keys->group_count), 0);
    assert_int_equal(keys->record_count, 1001);
    api_keys_destroy(keys);
}

/* Whoever says that millions will come, and brings a thousand, has paid for the tables alone. */
static void a_load_that_brings_fewer_than_it_said_is_not_spread_over_the_memory(void **state)
{
    struct api_keys *keys = new_keys(256 * MIB);
    api_keys_load_begin(keys);
    api_keys_reserve(keys, 2000000);
    uint64_t before = bytes_of(keys);
    put(keys, 0, 1000);
    assert_in_range(bytes_of(keys) - before, 1, 1000 * 250);
    put(keys, 1000, 20000);
    assert_in_range(bytes_of(keys) - before, 1, 20000 * 250);
    api_keys_load_end(keys, true);
    put(keys, 20000, 21000);
    assert_in_range(bytes_of(keys) - before, 1, 21000 * 250);
    assert_all_are_told(keys, 21000);
    api_keys_destroy(keys);
}

/* More than there is room for: then the last record is used, and texts have room still. */
static void where_memory_is_short_every_record_is_used(void **state)
{
    struct api_keys *keys = new_keys(2 * MIB);
    struct api_keys_figures figures;
    api_keys_load_begin(keys);
    api_keys_reserve(keys, 1000000);
    for (uint64_t number = 0; number < 40000; number++) {
        struct test_row row;
        test_row(&row, number);
        api_keys_put(keys, &row.row, API_KEY_KEEP_IF_ROOM);
    }
    api_keys_load_end(keys, true);
    api_keys_figures(keys, &figures);
    assert_in_range(figures.keys, 20000, 24000);
    assert_true(figures.bytes <= figures.bytes_max);
    for (uint64_t number = 40000; number < 80000; number++) {
        struct test_row row;
        struct api_key key;
        test_row(&row, number);
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP));
        assert_int_equal(find(keys, number, &key), API_KEY_FOUND);
    }
    api_keys_figures(keys, &figures);
    assert_in_range(figures.keys, 19000, 24000);
    assert_true(figures.bytes <= figures.bytes_max);
    api_keys_destroy(keys);
}

/* Notes a use of each key from 4 on: told is where their records are. */
static void use_a_hundred(struct api_keys *keys, uint32_t numbers[100])
{
    for (uint64_t i = 0; i < 100; i++) {
        uint8_t hash[API_KEY_HASH_BYTES];
        struct api_key key;
        test_hash(4 + i, hash);
        assert_int_equal(api_keys_find(keys, 0, hash, NOW_US, &key), API_KEY_FOUND);
        api_keys_note_use(keys, 0, &key, NOW_US);
        numbers[i] = key.number;
        api_keys_quiesce(keys, 0);
    }
}

/* What is moved stays what it was: in doubt, noted as used, to be taken out by the load under way. */
static void a_move_changes_nothing_else(void **state)
{
    struct api_keys *keys = new_keys(64 * MIB);
    struct api_key key;
    struct test_row doubted, gone;
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    uint32_t before[100], after[100], moved = 0;
    put(keys, 0, 8000);
    test_row(&doubted, 1);
    test_row(&gone, 2);
    use_a_hundred(keys, before);
    assert_int_equal(api_keys_take_uses(keys, uses), 100);
    assert_true(api_keys_doubt(keys, doubted.row.id));

    api_keys_load_begin(keys);
    put(keys, 4, MANY); /* keys 0 to 3 are not in the store any more */
    assert_int_equal(find(keys, 1, &key), API_KEY_ASK);
    assert_int_equal(find(keys, 2, &key), API_KEY_FOUND);
    use_a_hundred(keys, after);
    for (unsigned i = 0; i < 100; i++) moved += before[i] != after[i];
    assert_in_range(moved, 50, 100);
    assert_int_equal(api_keys_take_uses(keys, uses), 0); /* it was in this minute */
    assert_true(api_keys_remove(keys, doubted.row.id));
    api_keys_load_end(keys, true);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(find(keys, i, &key), API_KEY_UNKNOWN);
    assert_false(api_keys_remove(keys, gone.row.id));
    api_keys_destroy(keys);
}

/* Also a doubted key that is moved while no load sees to it. */
static void a_doubted_key_stays_so_where_it_is_moved_to(void **state)
{
    struct api_keys *keys = new_keys(64 * MIB);
    struct api_key key;
    put(keys, 0, 8000);
    for (uint64_t i = 0; i < 8000; i++) {
        struct test_row row;
        test_row(&row, i);
        assert_true(api_keys_doubt(keys, row.row.id));
    }
    put(keys, 8000, MANY);
    for (uint64_t i = 0; i < 8000; i++) assert_int_equal(find(keys, i, &key), API_KEY_ASK);
    for (uint64_t i = 0; i < 8000; i++) {
        struct test_row row;
        test_row(&row, i);
        assert_true(api_keys_remove(keys, row.row.id));
        assert_int_equal(find(keys, i, &key), API_KEY_ASK); /* not whole: it may be */
    }
    assert_int_equal(keys->live, MANY - 8000);
    api_keys_destroy(keys);
}

/* Records go one after the other, in the order of their numbers. If that were the order of buckets as well, some would be empty and others
 * full to overflowing. */
static void keys_that_go_leave_all_buckets_evenly(void **state)
{
    struct api_keys *keys = new_keys(2 * MIB);
    for (uint64_t number = 0; number < 30000; number++) {
        struct test_row row;
        test_row(&row, number);
        api_keys_put(keys, &row.row, API_KEY_KEEP);
    }
    assert_true(atomic_load(&keys->group_count) > 0);
    const struct key_table *table = writers_table(keys);
    uint64_t halves[2] = { 0, 0 };
    for (uint32_t i = 0; i < table->bucket_count; i++) {
        for (unsigned slot = 0; slot < BUCKET_SLOTS; slot++) {
            if (atomic_load(&table->buckets[i].numbers[slot]) != 0) halves[i >= table->bucket_count / 2]++;
        }
    }
    assert_in_range(halves[0] * 100 / (halves[0] + halves[1]), 45, 55);
    api_keys_destroy(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_puts_three_of_four_keys_where_they_are_looked_for_first),
        cmocka_unit_test(keys_that_come_one_by_one_are_moved_to_where_they_are_looked_for),
        cmocka_unit_test(few_keys_are_not_spread),
        cmocka_unit_test(a_load_that_brings_fewer_than_it_said_is_not_spread_over_the_memory),
        cmocka_unit_test(where_memory_is_short_every_record_is_used),
        cmocka_unit_test(a_move_changes_nothing_else),
        cmocka_unit_test(a_doubted_key_stays_so_where_it_is_moved_to),
        cmocka_unit_test(keys_that_go_leave_all_buckets_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
