/* Verified tokens: found again whole and for the same policy only, bounded in count and bytes, gone when they end, whole while somebody reads them. */
#include "unit_test.h"

#include "base/memory.h"
#include "keys/jwt_cache.h"

static struct loop loop;
static struct arena arena;

static const struct jwt_policy_digest policy = { { 1, 2 } }, other_policy = { { 1, 3 } };

static int set_up(void **state)
{
    struct error error;
    if (!loop_init(&loop, &error)) return -1;
    loop.wall_ns = UINT64_C(1000) * 1000000000;
    loop.now_ms = 5000;
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    loop_turn(&loop, 0);
    loop_release(&loop);
    arena_release(&arena);
    return 0;
}

static struct jwt_cache *make(uint32_t entries, size_t bytes)
{
    const struct jwt_cache_limits limits = { entries, bytes };
    struct jwt_cache *cache = jwt_cache_create(&loop, &limits);
    assert_non_null(cache);
    return cache;
}

static struct jwt_entry *put(struct jwt_cache *cache, const char *token, int64_t expires_s)
{
    struct json_value claims;
    struct error error;
    struct jwt_subject subject = { .user_id = slice_from_cstring(token),
                                   .scopes = SLICE("a b"),
                                   .expires_s = expires_s };
    assert_true(
        json_parse(SLICE("{\"sub\":\"u\",\"list\":[1,{\"x\":\"y\"}],\"empty\":\"\"}"), &arena, &claims, &error));
    return jwt_cache_put(cache, slice_from_cstring(token), &policy, &subject, &claims, 3, 77);
}

static bool holds(struct jwt_cache *cache, const char *token)
{
    struct jwt_entry *entry = jwt_cache_find(cache, slice_from_cstring(token), &policy);
    if (entry) jwt_entry_drop(cache, entry);
    return entry != NULL;
}

static void what_was_put_is_found_whole(void **state)
{
    struct jwt_cache *cache = make(64, 1 << 20);
    assert_false(holds(cache, "a.b.c"));
    jwt_entry_drop(cache, put(cache, "a.b.c", INT64_MAX));
    arena_release(&arena); /* all of it is a copy */
    struct jwt_entry *entry = jwt_cache_find(cache, SLICE("a.b.c"), &policy);
    assert_non_null(entry);
    assert_slice_is(entry->subject.user_id, "a.b.c");
    assert_slice_is(entry->subject.scopes, "a b");
    assert_true(slice_is_absent(entry->subject.client_id));
    assert_int_equal(entry->issuer, 3);
    assert_int_equal(entry->keys_version, 77);
    const struct json_value *list = json_find(&entry->claims, SLICE("list"));
    assert_int_equal(list->count, 2);
    assert_slice_is(json_find_text(&list->items[1], SLICE("x")), "y");
    assert_non_null(json_find_text(&entry->claims, SLICE("empty")).at);
    assert_null(jwt_cache_find(cache, SLICE("a.b.c"), &other_policy));
    assert_null(jwt_cache_find(cache, SLICE("a.b.d"), &policy));
    assert_null(jwt_cache_find(cache, SLICE("a.b.cc"), &policy));
    jwt_entry_drop(cache, entry);
    jwt_cache_destroy(cache);
}

/* The hash is of the last bytes, the comparison of all: another beginning with the same end is another token. */
static void the_same_end_is_not_the_same_token(void **state)
{
    struct jwt_cache *cache = make(64, 1 << 20);
    char one[200], two[200];
    memset(one, 'x', sizeof one - 1), one[sizeof one - 1] = '\0';
    memcpy(two, one, sizeof one);
    two[5] = 'y';
    jwt_entry_drop(cache, put(cache, one, INT64_MAX));
    assert_true(holds(cache, one));
    assert_false(holds(cache, two));
    jwt_entry_drop(cache, put(cache, two, INT64_MAX));
    assert_true(holds(cache, one) && holds(cache, two));
    assert_int_equal(jwt_cache_count(cache), 2);
    jwt_cache_destroy(cache);
}

static void an_entry_ends_with_its_token_and_after_five_minutes(void **state)
{
    struct jwt_cache *cache = make(64, 1 << 20);
    jwt_entry_drop(cache, put(cache, "short", 1010));
    jwt_entry_drop(cache, put(cache, "long", INT64_MAX));
    loop.wall_ns = UINT64_C(1009999) * 1000000;
    assert_true(holds(cache, "short"));
    loop.wall_ns = UINT64_C(1010) * 1000000000;
    assert_false(holds(cache, "short"));
    assert_int_equal(jwt_cache_count(cache), 1);
    loop.now_ms += JWT_CACHED_MS_MAX - 1;
    assert_true(holds(cache, "long"));
    loop.now_ms += 1;
    assert_false(holds(cache, "long"));
    assert_int_equal(jwt_cache_count(cache), 0);
    assert_int_equal(jwt_cache_bytes(cache), 0);
    /* One that has ended already (within a leeway) serves its own request alone. */
    struct jwt_entry *entry = put(cache, "over", 1000);
    assert_non_null(entry);
    assert_int_equal(jwt_cache_count(cache), 0);
    jwt_entry_drop(cache, entry);
    jwt_cache_destroy(cache);
}

static void what_somebody_reads_outlives_its_place(void **state)
{
    struct jwt_cache *cache = make(64, 1 << 20);
    struct jwt_entry *entry = put(cache, "a.b.c", INT64_MAX);
    jwt_cache_forget(cache, entry);
    assert_false(holds(cache, "a.b.c"));
    assert_slice_is(entry->subject.user_id, "a.b.c");
    /* The same token again is another entry. */
    struct jwt_entry *again = put(cache, "a.b.c", INT64_MAX);
    jwt_cache_forget(cache, entry);
    assert_true(holds(cache, "a.b.c"));
    jwt_entry_drop(cache, entry);
    assert_slice_is(entry->subject.user_id, "a.b.c"); /* to the end of the turn */
    jwt_entry_drop(cache, again);
    jwt_cache_destroy(cache);
}

static void count_and_bytes_are_bounded_and_the_used_ones_stay(void **state)
{
    struct jwt_cache *cache = make(64, 1 << 20);
    char token[32];
    jwt_entry_drop(cache, put(cache, "favourite", INT64_MAX));
    for (int i = 0; i < 5000; i++) {
        loop.now_ms++;
        snprintf(token, sizeof token, "token-%d", i);
        jwt_entry_drop(cache, put(cache, token, INT64_MAX));
        if (i % 3 == 0) assert_true(holds(cache, "favourite"));
        assert_true(jwt_cache_count(cache) <= 64);
    }
    assert_true(jwt_cache_count(cache) > 32);
    loop_turn(&loop, 0); /* what was dropped goes */
    jwt_cache_destroy(cache);

    cache = make(1024, 8192);
    for (int i = 0; i < 500; i++) {
        snprintf(token, sizeof token, "token-%d", i);
        jwt_entry_drop(cache, put(cache, token, INT64_MAX));
        assert_true(jwt_cache_bytes(cache) <= 8192);
        assert_true(holds(cache, token));
    }
    assert_true(jwt_cache_count(cache) > 4);
    jwt_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_put_is_found_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_end_is_not_the_same_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_ends_with_its_token_and_after_five_minutes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_somebody_reads_outlives_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(count_and_bytes_are_bounded_and_the_used_ones_stay, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
