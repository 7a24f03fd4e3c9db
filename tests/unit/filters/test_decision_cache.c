/* Decisions that are kept: found by their key alone, for their time alone, and never more of them than there is room for. */
#include "unit_test.h"

#include "filters/decision_cache.h"

#include <stdio.h>
#include <stdlib.h>

static struct decision_cache cache;

static void start(size_t entries, size_t bytes) { assert_true(decision_cache_init(&cache, entries, bytes)); }

static int tear_down(void **state)
{
    decision_cache_release(&cache);
    return 0;
}

static void put(const char *key, uint16_t status, uint64_t until_ms)
{
    struct decision decision = { .verdict = VERDICT_ALLOWED, .status = status };
    decision_cache_put(&cache, slice_from_cstring(key), &decision, until_ms);
}

/* 0: nothing is found. */
static unsigned find(const char *key, uint64_t now_ms)
{
    const struct decision *decision = decision_cache_find(&cache, slice_from_cstring(key), now_ms);
    return decision ? decision->status : 0;
}

static void a_decision_is_found_by_its_key_until_its_time_is_over(void **state)
{
    start(10, 100000);
    put("a", 201, 100);
    put("", 202, 100);
    assert_int_equal(find("a", 99), 201);
    assert_int_equal(find("", 99), 202);
    assert_int_equal(find("b", 99), 0);
    assert_int_equal(find("a", 100), 0);
    assert_int_equal(cache.count, 1); /* what was too old has gone */
}

static void all_of_it_is_a_copy(void **state)
{
    char name[] = "X-User", value[] = "alice", body[] = "no", type[] = "text/plain", key[] = "key";
    struct decision_header headers[] = { { slice_of(name, 6), slice_of(value, 5), USE_UPSTREAM },
                                         { SLICE("X-Empty"), SLICE(""), USE_CLIENT } };
    struct decision decision = {
        .verdict = VERDICT_DENIED,
        .status = 403,
        .header_count = 2,
        .headers = headers,
        .body = slice_of(body, 2),
        .content_type = slice_of(type, 10),
    };
    start(10, 100000);
    decision_cache_put(&cache, slice_of(key, 3), &decision, 100);
    memset(name, 'x', 6), memset(value, 'x', 5), memset(body, 'x', 2), memset(type, 'x', 10), memset(key, 'x', 3);
    memset(headers, 0, sizeof headers);
    const struct decision *found = decision_cache_find(&cache, SLICE("key"), 0);
    assert_non_null(found);
    assert_int_equal(found->verdict, VERDICT_DENIED);
    assert_int_equal(found->header_count, 2);
    assert_slice_is(found->headers[0].name, "X-User");
    assert_slice_is(found->headers[0].value, "alice");
    assert_int_equal(found->headers[0].uses, USE_UPSTREAM);
    assert_slice_is(found->headers[1].value, "");
    assert_slice_is(found->body, "no");
    assert_slice_is(found->content_type, "text/plain");
}

static void absent_texts_stay_absent(void **state)
{
    start(10, 100000);
    put("a", 200, 100);
    const struct decision *found = decision_cache_find(&cache, SLICE("a"), 0);
    assert_true(slice_is_absent(found->body) && slice_is_absent(found->content_type));
}

static void a_newer_decision_takes_the_place_of_the_older(void **state)
{
    start(10, 100000);
    put("a", 201, 100);
    put("a", 202, 200);
    assert_int_equal(cache.count, 1);
    assert_int_equal(find("a", 150), 202);
}

static void what_was_used_least_recently_goes_first(void **state)
{
    start(3, 100000);
    put("a", 201, 100), put("b", 202, 100), put("c", 203, 100);
    assert_int_equal(find("a", 0), 201);
    put("d", 204, 100);
    assert_int_equal(find("b", 0), 0);
    assert_int_equal(find("a", 0), 201);
    assert_int_equal(find("c", 0), 203);
    assert_int_equal(find("d", 0), 204);
}

static void looking_without_using_changes_nothing(void **state)
{
    uint64_t until_ms = 0;
    start(2, 100000);
    put("a", 201, 100), put("b", 202, 100);
    assert_non_null(decision_cache_peek(&cache, SLICE("a"), 0, &until_ms));
    assert_int_equal(until_ms, 100);
    assert_null(decision_cache_peek(&cache, SLICE("a"), 100, &until_ms));
    assert_int_equal(cache.count, 2);
    put("c", 203, 100);
    assert_int_equal(find("a", 0), 0); /* it was still the one used least recently */
}

static void bytes_are_bounded_as_entries_are(void **state)
{
    char text[1024];
    memset(text, 'x', sizeof text);
    start(1000, 64 * 1024);
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        struct decision decision = { .verdict = VERDICT_ALLOWED, .status = 200, .body = slice_of(text, sizeof text) };
        decision_cache_put(&cache, slice_from_cstring(key), &decision, 100);
        assert_true(cache.bytes <= 64 * 1024);
    }
    assert_true(cache.count > 30 && cache.count < 64);
    assert_int_equal(find("499", 0), 200);
}

static void one_that_is_too_large_is_not_kept_and_pushes_nobody_out(void **state)
{
    char *text = calloc(1, 20000);
    struct decision decision = { .verdict = VERDICT_ALLOWED, .status = 200, .body = slice_of(text, 20000) };
    start(10, 64 * 1024);
    put("a", 201, 100);
    decision_cache_put(&cache, SLICE("large"), &decision, 100);
    assert_int_equal(find("large", 0), 0);
    assert_int_equal(find("a", 0), 201);
    free(text);
}

/* Against a plain table of the same size, over keys that collide and times that pass. */
static void it_never_says_what_was_not_put(void **state)
{
    struct {
        uint16_t status;
        uint64_t until_ms;
    } known[200] = { 0 };
    uint32_t random = 1;
    start(50, 1 << 20);
    for (uint64_t now_ms = 0; now_ms < 20000; now_ms++) {
        random = random * 1664525 + 1013904223;
        unsigned which = (random >> 8) % COUNT_OF(known);
        char key[16];
        snprintf(key, sizeof key, "k%u", which);
        unsigned found = find(key, now_ms);
        if (found) {
            assert_int_equal(found, known[which].status);
            assert_true(now_ms < known[which].until_ms);
        } else {
            known[which].status = (uint16_t)(200 + (random >> 20) % 300);
            known[which].until_ms = now_ms + (random >> 4) % 500;
            put(key, known[which].status, known[which].until_ms);
        }
        assert_true(cache.count <= 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
        TEST(a_decision_is_found_by_its_key_until_its_time_is_over),
        TEST(all_of_it_is_a_copy),
        TEST(absent_texts_stay_absent),
        TEST(a_newer_decision_takes_the_place_of_the_older),
        TEST(what_was_used_least_recently_goes_first),
        TEST(looking_without_using_changes_nothing),
        TEST(bytes_are_bounded_as_entries_are),
        TEST(one_that_is_too_large_is_not_kept_and_pushes_nobody_out),
        TEST(it_never_says_what_was_not_put),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
