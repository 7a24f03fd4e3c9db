/* The index of API keys on one thread: what a look-up says, and when. Time is an argument. */
#include "unit_test.h"

#include "base/memory.h"
#include "keys/rows.h"

#define NOW_US UINT64_C(1767225600000000)
#define SECOND_US UINT64_C(1000000)
#define MIB (1u << 20)

static struct api_keys *new_keys(uint64_t bytes_max, unsigned readers)
{
    struct error error;
    struct api_keys *keys = api_keys_create(&(struct api_keys_options){ bytes_max, readers }, &error);
    assert_non_null(keys);
    api_keys_store_heard(keys, NOW_US, true);
    return keys;
}

static struct api_keys *new_whole_keys(uint64_t count)
{
    struct api_keys *keys = new_keys(256 * MIB, 2);
    api_keys_load_begin(keys);
    for (uint64_t i = 0; i < count; i++) {
        struct test_row row;
        test_row(&row, i);
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP_IF_ROOM));
    }
    api_keys_load_end(keys, true);
    assert_true(api_keys_is_whole(keys));
    return keys;
}

static enum api_key_found find_at(struct api_keys *keys, uint64_t number, uint64_t now_us, struct api_key *key)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    test_hash(number, hash);
    return api_keys_find(keys, 0, hash, now_us, key);
}

static enum api_key_found find(struct api_keys *keys, uint64_t number)
{
    struct api_key key;
    enum api_key_found found = find_at(keys, number, NOW_US, &key);
    api_keys_quiesce(keys, 0);
    return found;
}

static void put(struct api_keys *keys, const struct test_row *row)
{
    assert_true(api_keys_put(keys, &row->row, API_KEY_KEEP));
}

static void a_found_key_is_told_as_it_was_stored(void **state)
{
    struct api_keys *keys = new_whole_keys(100);
    struct api_key key;
    char client[API_KEY_UUID_BYTES], id[API_KEY_UUID_BYTES];
    struct test_row row;
    test_row(&row, 42);
    assert_int_equal(find_at(keys, 42, NOW_US, &key), API_KEY_FOUND);
    assert_slice_is(api_key_client_id(&key, client), row.client);
    assert_slice_is(api_key_id(&key, id), row.id);
    assert_memory_equal(key.hash, row.row.hash, API_KEY_HASH_BYTES);
    assert_slice_is(key.scopes, "read write");
    assert_int_equal(key.tier, API_KEY_STANDARD);
    assert_true(key.enabled);
    assert_int_equal(key.expires_at_us, 0);
    api_keys_destroy(keys);
}

/* A client id is a UUID, a short text or a long one, and is told back byte for byte: also one that is almost a UUID. */
static void client_ids_of_every_shape_come_back(void **state)
{
    static const char *const clients[] = {
        "",
        "x",
        "fifteen letters",
        "sixteen letters!",
        "a-client-id-of-37-bytes-is-one-too-many",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "01890A5D-AC96-774B-BCCE-B302099A8057",
        "01890a5d-ac96-774b-bcce-b302099a805g",
        "01890a5d_ac96_774b_bcce_b302099a8057",
    };
    struct api_keys *keys = new_whole_keys(0);
    for (uint64_t i = 0; i < COUNT_OF(clients); i++) {
        struct test_row row;
        test_row(&row, i);
        row.row.client_id = slice_from_cstring(clients[i]);
        put(keys, &row);
    }
    for (uint64_t i = 0; i < COUNT_OF(clients); i++) {
        struct api_key key;
        char into[API_KEY_UUID_BYTES];
        assert_int_equal(find_at(keys, i, NOW_US, &key), API_KEY_FOUND);
        assert_slice_is(api_key_client_id(&key, into), clients[i]);
    }
    api_keys_destroy(keys);
}

static void an_absent_key_is_unknown_only_where_all_keys_are_here(void **state)
{
    struct api_keys *whole = new_whole_keys(3), *part = new_keys(MIB, 1);
    struct test_row row;
    test_row(&row, 1);
    put(part, &row);
    assert_int_equal(find(whole, 9), API_KEY_UNKNOWN);
    assert_int_equal(find(part, 9), API_KEY_ASK);
    assert_int_equal(find(part, 1), API_KEY_FOUND);
    api_keys_destroy(whole);
    api_keys_destroy(part);
}

static void a_key_ends_at_its_time_and_not_before(void **state)
{
    struct api_keys *keys = new_whole_keys(0);
    struct test_row row;
    struct api_key key;
    test_row(&row, 1);
    row.row.expires_at_us = NOW_US + SECOND_US;
    put(keys, &row);
    assert_int_equal(find_at(keys, 1, NOW_US + SECOND_US - 1, &key), API_KEY_FOUND);
    assert_int_equal(find_at(keys, 1, NOW_US + SECOND_US, &key), API_KEY_EXPIRED);
    assert_int_equal(key.expires_at_us, NOW_US + SECOND_US);
    /* A clock that was put back brings it back. */
    assert_int_equal(find_at(keys, 1, NOW_US, &key), API_KEY_FOUND);
    row.row.expires_at_us = UINT64_MAX; /* beyond what is kept of a time: as good as never */
    put(keys, &row);
    assert_int_equal(find_at(keys, 1, NOW_US + SECOND_US, &key), API_KEY_FOUND);
    api_keys_destroy(keys);
}

static void a_disabled_key_is_told_apart_also_when_it_has_expired(void **state)
{
    struct api_keys *keys = new_whole_keys(0);
    struct test_row row;
    test_row(&row, 1);
    row.row.enabled = false;
    row.row.expires_at_us = 1;
    put(keys, &row);
    assert_int_equal(find(keys, 1), API_KEY_DISABLED);
    row.row.enabled = true;
    put(keys, &row);
    assert_int_equal(find(keys, 1), API_KEY_EXPIRED);
    api_keys_destroy(keys);
}

/* Two keys of one client: the one that was rotated goes on until its overlap ends, or its own time if that is earlier. */
static void a_rotated_key_overlaps_with_its_successor(void **state)
{
    struct api_keys *keys = new_whole_keys(0);
    struct test_row before, after;
    struct api_key key;
    char into[API_KEY_UUID_BYTES];
    test_row(&before, 1);
    test_row(&after, 2);
    after.row.client_id = before.row.client_id;
    before.row.expires_at_us = NOW_US + 100 * SECOND_US;
    before.row.replaces_until_us = NOW_US + 10 * SECOND_US;
    put(keys, &before);
    put(keys, &after);
    assert_int_equal(find_at(keys, 1, NOW_US + 10 * SECOND_US - 1, &key), API_KEY_FOUND);
    assert_slice_is(api_key_client_id(&key, into), before.client);
    assert_int_equal(find_at(keys, 2, NOW_US, &key), API_KEY_FOUND);
    assert_slice_is(api_key_client_id(&key, into), before.client);
    assert_int_equal(find_at(keys, 1, NOW_US + 10 * SECOND_US, &key), API_KEY_EXPIRED);
    assert_int_equal(find_at(keys, 2, NOW_US + 10 * SECOND_US, &key), API_KEY_FOUND);
    before.row.expires_at_us = NOW_US + 5 * SECOND_US;
    put(keys, &before);
    assert_int_equal(find_at(keys, 1, NOW_US + 5 * SECOND_US, &key), API_KEY_EXPIRED);
    api_keys_destroy(keys);
}

static void a_key_whose_hash_changes_is_found_by_the_new_one_only(void **state)
{
    struct api_keys *keys = new_whole_keys(5);
    struct test_row row;
    test_row(&row, 3);
    test_hash(77, row.row.hash);
    put(keys, &row);
    assert_int_equal(find(keys, 3), API_KEY_UNKNOWN);
    assert_int_equal(find(keys, 77), API_KEY_FOUND);
    assert_true(api_keys_remove(keys, row.row.id));
    assert_int_equal(find(keys, 77), API_KEY_UNKNOWN);
    assert_false(api_keys_remove(keys, row.row.id));
    api_keys_destroy(keys);
}

/* A key is deleted and comes again under another id, and word of that comes first. */
static void a_hash_belongs_to_the_id_that_came_last(void **state)
{
    struct api_keys *keys = new_whole_keys(5);
    struct test_row row, old;
    struct api_key key;
    char into[API_KEY_UUID_BYTES];
    test_row(&old, 3);
    test_row(&row, 88);
    memcpy(row.row.hash, old.row.hash, sizeof row.row.hash);
    put(keys, &row);
    assert_false(api_keys_remove(keys, old.row.id));
    assert_int_equal(find_at(keys, 3, NOW_US, &key), API_KEY_FOUND);
    assert_slice_is(api_key_id(&key, into), row.id);
    struct api_keys_figures figures;
    api_keys_figures(keys, &figures);
    assert_int_equal(figures.keys, 5);
    api_keys_destroy(keys);
}

static void a_row_without_a_uuid_is_refused_and_costs_the_wholeness(void **state)
{
    struct api_keys *keys = new_whole_keys(1);
    struct test_row row;
    test_row(&row, 7);
    row.row.id = SLICE("not-a-uuid");
    assert_false(api_keys_put(keys, &row.row, API_KEY_KEEP));
    assert_int_equal(find(keys, 7), API_KEY_ASK);
    assert_false(api_keys_remove(keys, SLICE("not-a-uuid")));
    assert_false(api_keys_doubt(keys, SLICE("")));
    api_keys_destroy(keys);
}

static void a_doubted_key_is_asked_for_until_it_is_put_again(void **state)
{
    struct api_keys *keys = new_whole_keys(5);
    struct test_row row;
    test_row(&row, 3);
    assert_true(api_keys_doubt(keys, row.row.id));
    assert_int_equal(find(keys, 3), API_KEY_ASK);
    assert_int_equal(find(keys, 2), API_KEY_FOUND);
    assert_int_equal(find(keys, 9), API_KEY_UNKNOWN);
    api_keys_store_heard(keys, NOW_US, false);
    assert_int_equal(find(keys, 3), API_KEY_AWAY);
    put(keys, &row);
    assert_int_equal(find(keys, 3), API_KEY_FOUND);
    api_keys_destroy(keys);
}

/* Also after as many distrusts as there are numbers to tell them apart. */
static void after_a_distrust_nothing_is_believed_until_it_is_put_again(void **state)
{
    struct api_keys *keys = new_whole_keys(5);
    struct test_row row;
    test_row(&row, 3);
    for (int i = 0; i < 600; i++) {
        api_keys_distrust(keys);
        assert_int_equal(find(keys, 3), API_KEY_ASK);
        assert_int_equal(find(keys, 2), API_KEY_ASK);
        assert_int_equal(find(keys, 9), API_KEY_ASK);
        put(keys, &row);
        assert_int_equal(find(keys, 3), API_KEY_FOUND);
    }
    assert_int_equal(find(keys, 2), API_KEY_ASK);
    api_keys_destroy(keys);
}

static void a_load_takes_out_what_the_store_has_no_more(void **state)
{
    struct api_keys *keys = new_whole_keys(10);
    api_keys_load_begin(keys);
    for (uint64_t i = 0; i < 5; i++) {
        struct test_row row;
        test_row(&row, i);
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP_IF_ROOM));
        assert_int_equal(find(keys, 9), API_KEY_FOUND); /* meanwhile all is as it was */
    }
    struct test_row added;
    test_row(&added, 20); /* by a change, while the load is under way */
    put(keys, &added);
    api_keys_load_end(keys, true);
    assert_true(api_keys_is_whole(keys));
    assert_int_equal(find(keys, 4), API_KEY_FOUND);
    assert_int_equal(find(keys, 20), API_KEY_FOUND);
    assert_int_equal(find(keys, 9), API_KEY_UNKNOWN);
    api_keys_destroy(keys);
}

static void a_load_that_was_not_finished_takes_nothing_out(void **state)
{
    struct api_keys *keys = new_whole_keys(10);
    api_keys_load_begin(keys);
    api_keys_load_end(keys, false);
    assert_int_equal(find(keys, 9), API_KEY_FOUND);
    api_keys_destroy(keys);
}

/* 256 MiB hold 2.6 million keys; here it is 1 MiB and 20,000. */
static void beyond_its_bytes_the_index_is_a_cache_and_stays_within(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    struct api_keys_figures figures;
    api_keys_load_begin(keys);
    size_t kept = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        struct test_row row;
        test_row(&row, i);
        kept += api_keys_put(keys, &row.row, API_KEY_KEEP_IF_ROOM);
    }
    api_keys_load_end(keys, true);
    api_keys_figures(keys, &figures);
    assert_false(figures.is_whole);
    assert_int_equal(figures.evicted, 0);
    assert_int_equal(figures.keys, kept);
    assert_in_range(kept, 8000, 12000);
    assert_in_range(figures.bytes, MIB / 2, MIB);
    for (uint64_t i = 0; i < 20000; i++) {
        struct test_row row;
        test_row(&row, i);
        put(keys, &row);
        api_keys_figures(keys, &figures);
        assert_true(figures.bytes <= MIB);
        assert_int_equal(find(keys, i), API_KEY_FOUND);
    }
    assert_true(figures.evicted > 5000);
    api_keys_destroy(keys);
}

static void long_texts_of_one_key_each_stay_within_too(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    struct api_keys_figures figures;
    for (uint64_t i = 0; i < 5000; i++) {
        struct test_row row;
        char *client = memory_format("client %llu %0400d", (unsigned long long)i, 0);
        test_row(&row, i);
        row.row.client_id = slice_from_cstring(client);
        row.row.scopes = slice_from_cstring(client + 7);
        put(keys, &row);
        assert_int_equal(find(keys, i), API_KEY_FOUND);
        free(client);
        api_keys_figures(keys, &figures);
        assert_true(figures.bytes <= MIB);
    }
    assert_in_range(figures.keys, 500, 2000);
    api_keys_destroy(keys);
}

static void the_keys_used_least_go_first(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    for (uint64_t i = 0; i < 40000; i++) {
        struct test_row row;
        test_row(&row, i);
        put(keys, &row);
        if (i >= 1000 && i % 200 == 0) {
            for (uint64_t hot = 0; hot < 1000; hot++) find(keys, hot);
        }
    }
    for (uint64_t hot = 0; hot < 1000; hot++) assert_int_equal(find(keys, hot), API_KEY_FOUND);
    assert_int_equal(find(keys, 2000), API_KEY_ASK);
    api_keys_destroy(keys);
}

static void an_absent_key_is_remembered_for_ten_seconds(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    struct api_key key;
    uint8_t hash[API_KEY_HASH_BYTES];
    test_hash(5, hash);
    api_keys_put_absent(keys, hash, false, NOW_US);
    assert_int_equal(find_at(keys, 5, NOW_US + 10 * SECOND_US - 1, &key), API_KEY_UNKNOWN);
    assert_int_equal(find_at(keys, 5, NOW_US + 10 * SECOND_US, &key), API_KEY_ASK);
    /* Made meanwhile: word of that ends it at once. */
    struct test_row row;
    test_row(&row, 5);
    put(keys, &row);
    assert_int_equal(find_at(keys, 5, NOW_US, &key), API_KEY_FOUND);
    struct api_keys_figures figures;
    api_keys_figures(keys, &figures);
    assert_int_equal(figures.absent, 0);
    assert_int_equal(figures.keys, 1);
    api_keys_destroy(keys);
}

/* A key was changed elsewhere; asked for by its hash, the store has no such key (it may have another hash now). */
static void an_absent_key_stays_unknown_where_all_keys_are_here(void **state)
{
    struct api_keys *keys = new_whole_keys(3);
    struct test_row row;
    struct api_key key;
    test_row(&row, 1);
    assert_true(api_keys_doubt(keys, row.row.id));
    api_keys_put_absent(keys, row.row.hash, false, NOW_US);
    assert_int_equal(find_at(keys, 1, NOW_US, &key), API_KEY_UNKNOWN);
    assert_int_equal(find_at(keys, 1, NOW_US + 60 * SECOND_US, &key), API_KEY_UNKNOWN);
    assert_false(api_keys_remove(keys, row.row.id));
    assert_true(api_keys_is_whole(keys));
    api_keys_destroy(keys);
}

static void a_look_up_that_failed_is_not_repeated_for_a_second(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    struct api_key key;
    uint8_t hash[API_KEY_HASH_BYTES];
    test_hash(5, hash);
    api_keys_put_absent(keys, hash, true, NOW_US);
    assert_int_equal(find_at(keys, 5, NOW_US, &key), API_KEY_AWAY);
    assert_int_equal(find_at(keys, 5, NOW_US + SECOND_US, &key), API_KEY_ASK);
    api_keys_destroy(keys);
}

static void made_up_keys_push_no_real_one_out(void **state)
{
    struct api_keys *keys = new_keys(MIB, 1);
    struct api_keys_figures figures;
    for (uint64_t i = 0; i < 5000; i++) {
        struct test_row row;
        test_row(&row, i);
        put(keys, &row);
    }
    for (uint64_t i = 0; i < 200000; i++) {
        uint8_t hash[API_KEY_HASH_BYTES];
        test_hash(1000000 + i, hash);
        api_keys_put_absent(keys, hash, false, NOW_US + i);
    }
    api_keys_figures(keys, &figures);
    assert_int_equal(figures.keys, 5000);
    assert_in_range(figures.absent, 500, MIB / 80 / 16 + 1);
    assert_int_equal(find(keys, 1000000 + 199999), API_KEY_UNKNOWN);
    assert_int_equal(find(keys, 1000000), API_KEY_ASK);
    api_keys_destroy(keys);
}

/* With the store away: what is cached holds for a minute after the last word, what isn't is answered at once, all keys go on. */
static void a_store_that_is_away_bounds_a_cache_but_not_the_whole(void **state)
{
    struct api_keys *whole = new_whole_keys(5), *part = new_keys(MIB, 1);
    struct api_key key;
    struct test_row row;
    test_row(&row, 1);
    put(part, &row);
    api_keys_store_heard(part, NOW_US, false);
    api_keys_store_heard(whole, NOW_US, false);
    assert_int_equal(find_at(part, 1, NOW_US + 60 * SECOND_US, &key), API_KEY_FOUND);
    assert_int_equal(find_at(part, 2, NOW_US, &key), API_KEY_AWAY);
    assert_int_equal(find_at(part, 1, NOW_US + 60 * SECOND_US + 1, &key), API_KEY_AWAY);
    assert_int_equal(find_at(whole, 1, NOW_US + 3600 * SECOND_US, &key), API_KEY_FOUND);
    assert_int_equal(find_at(whole, 9, NOW_US + 3600 * SECOND_US, &key), API_KEY_UNKNOWN);
    api_keys_store_heard(part, NOW_US + 100 * SECOND_US, true);
    assert_int_equal(find_at(part, 1, NOW_US + 100 * SECOND_US, &key), API_KEY_FOUND);
    assert_int_equal(find_at(part, 2, NOW_US + 100 * SECOND_US, &key), API_KEY_ASK);
    api_keys_set_answering(part, false);
    assert_int_equal(find_at(part, 2, NOW_US + 100 * SECOND_US, &key), API_KEY_AWAY);
    api_keys_set_answering(part, true);
    assert_int_equal(find_at(part, 2, NOW_US + 100 * SECOND_US, &key), API_KEY_ASK);
    api_keys_destroy(whole);
    api_keys_destroy(part);
}

static void a_use_is_noted_once_a_minute(void **state)
{
    struct api_keys *keys = new_whole_keys(3);
    struct api_key key;
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    struct test_row row;
    test_row(&row, 1);
    for (unsigned reader = 0; reader < 2; reader++) {
        for (uint64_t second = 0; second < 60; second++) {
            uint64_t now_us = NOW_US + second * SECOND_US;
            assert_int_equal(api_keys_find(keys, reader, row.row.hash, now_us, &key), API_KEY_FOUND);
            if (reader == 0 || second < 60) api_keys_note_use(keys, reader, &key, now_us);
        }
        if (reader == 0) {
            assert_int_equal(api_keys_take_uses(keys, uses), 1);
            assert_slice_is(uses[0].id, row.id);
            assert_int_equal(uses[0].at_us, NOW_US);
        }
    }
    assert_int_equal(api_keys_take_uses(keys, uses), 0);
    api_keys_note_use(keys, 1, &key, NOW_US + 60 * SECOND_US);
    /* A change of the key doesn't begin anew. */
    row.row.enabled = false;
    put(keys, &row);
    assert_int_equal(api_keys_find(keys, 1, row.row.hash, NOW_US, &key), API_KEY_DISABLED);
    api_keys_note_use(keys, 1, &key, NOW_US + 61 * SECOND_US);
    assert_int_equal(api_keys_take_uses(keys, uses), 1);
    assert_int_equal(uses[0].at_us, NOW_US + 60 * SECOND_US);
    api_keys_destroy(keys);
}

static void uses_that_nobody_fetches_are_forgotten_and_counted(void **state)
{
    struct api_keys *keys = new_whole_keys(5000);
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    struct api_keys_figures figures;
    struct api_key key;
    for (uint64_t i = 0; i < 5000; i++) {
        find_at(keys, i, NOW_US, &key);
        api_keys_note_use(keys, 0, &key, NOW_US);
    }
    api_keys_figures(keys, &figures);
    assert_int_equal(figures.uses_forgotten, 5000 - 2048);
    for (int i = 0; i < 4; i++) assert_int_equal(api_keys_take_uses(keys, uses), API_KEY_USES_AT_ONCE);
    assert_int_equal(api_keys_take_uses(keys, uses), 0);
    /* Nothing was marked as noted that was not. */
    find_at(keys, 4999, NOW_US, &key);
    api_keys_note_use(keys, 0, &key, NOW_US + SECOND_US);
    assert_int_equal(api_keys_take_uses(keys, uses), 1);
    api_keys_destroy(keys);
}

/* DESIGN: a million keys in 120 MB of the whole process. (Among few there is what an index has however few they are.) */
static void a_key_takes_little_more_than_100_bytes(void **state)
{
    static const uint64_t counts[] = { 20000, 100000, 300000 }, bytes_max[] = { 116, 106, 104 };
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        struct api_keys *keys = new_keys(256 * MIB, 1);
        struct api_keys_figures figures;
        api_keys_reserve(keys, counts[i]);
        for (uint64_t number = 0; number < counts[i]; number++) {
            struct test_row row;
            test_row(&row, number);
            put(keys, &row);
        }
        api_keys_figures(keys, &figures);
        assert_in_range(figures.bytes / counts[i], 85, bytes_max[i]);
        api_keys_destroy(keys);
    }
}

/* Keys that come and go one after the other, as for years, use the same memory again. */
static void coming_and_going_uses_no_more_and_more_memory(void **state)
{
    struct api_keys *keys = new_whole_keys(1000);
    struct api_keys_figures before, after;
    api_keys_figures(keys, &before);
    for (uint64_t i = 1000; i < 100000; i++) {
        struct test_row row;
        char client[64];
        test_row(&row, i);
        snprintf(client, sizeof client, "a client with a long name: %llu", (unsigned long long)i);
        row.row.client_id = slice_from_cstring(client);
        put(keys, &row);
        test_row(&row, i - 1000);
        assert_true(api_keys_remove(keys, row.row.id));
        find(keys, i);
    }
    api_keys_figures(keys, &after);
    assert_int_equal(after.keys, 1000);
    assert_true(after.bytes < before.bytes + 150 * 1000);
    assert_true(after.is_whole);
    api_keys_destroy(keys);
}

/* Whoever holds what was found is not shown another key's, however many come meanwhile. */
static void what_was_found_holds_until_the_reader_is_quiet(void **state)
{
    struct api_keys *keys = new_keys(MIB, 2);
    struct api_key key;
    struct test_row first, row;
    char into[API_KEY_UUID_BYTES];
    test_row(&first, 0);
    first.row.client_id = SLICE("a client with a long name");
    put(keys, &first);
    assert_int_equal(find_at(keys, 0, NOW_US, &key), API_KEY_FOUND);
    assert_true(api_keys_remove(keys, first.row.id));
    for (uint64_t i = 1; i < 30000; i++) {
        test_row(&row, i);
        api_keys_put(keys, &row.row, API_KEY_KEEP); /* nothing is free until reader 0 is quiet */
    }
    assert_memory_equal(key.hash, first.row.hash, API_KEY_HASH_BYTES);
    assert_slice_is(api_key_id(&key, into), first.id);
    assert_slice_is(api_key_client_id(&key, into), "a client with a long name");
    assert_slice_is(key.scopes, "read write");
    api_keys_quiesce(keys, 0);
    put(keys, &row);
    api_keys_destroy(keys);
}

static void a_hash_is_sha_256(void **state)
{
    static const uint8_t of_abc[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                      0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                      0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
    static const uint8_t of_nothing[] = { 0xe3, 0xb0, 0xc4, 0x42 };
    uint8_t hash[API_KEY_HASH_BYTES];
    api_key_hash(SLICE("abc"), hash);
    assert_memory_equal(hash, of_abc, sizeof of_abc);
    api_key_hash(SLICE_ABSENT, hash);
    assert_memory_equal(hash, of_nothing, sizeof of_nothing);
}

/* 430,000 characters: each of 62 is expected 6,935 times, and strays by more than 500 (6 standard deviations) in a bad generator only. */
static void generated_keys_are_even_over_base62(void **state)
{
    unsigned counts[256] = { 0 };
    for (int i = 0; i < 10000; i++) {
        char text[API_KEY_TEXT_BYTES + 1];
        memset(text, '?', sizeof text);
        assert_true(api_key_generate(text));
        assert_int_equal(strlen(text), API_KEY_TEXT_BYTES);
        for (const char *at = text; *at; at++) counts[(unsigned char)*at]++;
    }
    unsigned kinds = 0;
    for (int c = 0; c < 256; c++) {
        bool is_base62 = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (is_base62) assert_in_range(counts[c], 6435, 7435);
        kinds += counts[c] > 0;
    }
    assert_int_equal(kinds, 62);
}

static void only_uuids_are_read_as_such(void **state)
{
    static const char *const wrong[] = { "",
                                         "0",
                                         "01890a5d-ac96-774b-bcce-b302099a805",
                                         "01890a5d-ac96-774b-bcce-b302099a80577",
                                         "01890a5dac96-774b-bcce-b302099a8057-",
                                         "01890a5d-ac96-774b-bcce-b302099a805x",
                                         "01890a5-dac96-774b-bcce-b302099a8057",
                                         "{1890a5d-ac96-774b-bcce-b302099a805}" };
    uint8_t uuid[16];
    char text[API_KEY_UUID_BYTES];
    for (size_t i = 0; i < COUNT_OF(wrong); i++) assert_false(api_key_uuid_parse(slice_from_cstring(wrong[i]), uuid));
    assert_true(api_key_uuid_parse(SLICE("01890A5D-ac96-774b-bcce-b302099a8057"), uuid));
    api_key_uuid_write(uuid, text);
    assert_string_equal(text, "01890a5d-ac96-774b-bcce-b302099a8057");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_found_key_is_told_as_it_was_stored),
        cmocka_unit_test(client_ids_of_every_shape_come_back),
        cmocka_unit_test(an_absent_key_is_unknown_only_where_all_keys_are_here),
        cmocka_unit_test(a_key_ends_at_its_time_and_not_before),
        cmocka_unit_test(a_disabled_key_is_told_apart_also_when_it_has_expired),
        cmocka_unit_test(a_rotated_key_overlaps_with_its_successor),
        cmocka_unit_test(a_key_whose_hash_changes_is_found_by_the_new_one_only),
        cmocka_unit_test(a_hash_belongs_to_the_id_that_came_last),
        cmocka_unit_test(a_row_without_a_uuid_is_refused_and_costs_the_wholeness),
        cmocka_unit_test(a_doubted_key_is_asked_for_until_it_is_put_again),
        cmocka_unit_test(after_a_distrust_nothing_is_believed_until_it_is_put_again),
        cmocka_unit_test(a_load_takes_out_what_the_store_has_no_more),
        cmocka_unit_test(a_load_that_was_not_finished_takes_nothing_out),
        cmocka_unit_test(beyond_its_bytes_the_index_is_a_cache_and_stays_within),
        cmocka_unit_test(long_texts_of_one_key_each_stay_within_too),
        cmocka_unit_test(the_keys_used_least_go_first),
        cmocka_unit_test(an_absent_key_is_remembered_for_ten_seconds),
        cmocka_unit_test(an_absent_key_stays_unknown_where_all_keys_are_here),
        cmocka_unit_test(a_look_up_that_failed_is_not_repeated_for_a_second),
        cmocka_unit_test(made_up_keys_push_no_real_one_out),
        cmocka_unit_test(a_store_that_is_away_bounds_a_cache_but_not_the_whole),
        cmocka_unit_test(a_use_is_noted_once_a_minute),
        cmocka_unit_test(uses_that_nobody_fetches_are_forgotten_and_counted),
        cmocka_unit_test(a_key_takes_little_more_than_100_bytes),
        cmocka_unit_test(coming_and_going_uses_no_more_and_more_memory),
        cmocka_unit_test(what_was_found_holds_until_the_reader_is_quiet),
        cmocka_unit_test(a_hash_is_sha_256),
        cmocka_unit_test(generated_keys_are_even_over_base62),
        cmocka_unit_test(only_uuids_are_read_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
