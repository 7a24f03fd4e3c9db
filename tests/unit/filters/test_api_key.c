/* api-key: who is let in by a key in memory, and what happens to those that the store has to be asked for. */
#include "base/clock.h"
#include "base/memory.h"
#include "exchange/testbed.h"
#include "keys/key_lookups.h"
#include "keys/rows.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB (1u << 20)
#define NUMBERS 20000 /* more than a MiB has room for */
#define FIRST_SPECIAL (NUMBERS - 8)

static uint64_t now_us(void) { return clock_wall_ns() / 1000; }

/* --- all keys in memory --- */

static struct api_keys *whole_index(void)
{
    struct error error;
    struct api_keys *keys = api_keys_create(&(struct api_keys_options){ MIB, 1 }, &error);
    assert_non_null(keys);
    api_keys_load_begin(keys);
    for (uint64_t number = 0; number < 6; number++) {
        struct test_row row;
        test_row(&row, number);
        row.row.enabled = number != 1;
        if (number == 2) row.row.expires_at_us = now_us() - 1000000;
        if (number == 3) row.row.expires_at_us = now_us() + 3600000000u;
        if (number == 4) row.row.scopes = SLICE("read");
        if (number == 5) row.row.client_id = SLICE("a-client-by-name"), row.row.rate_limit_tier = SLICE("premium");
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP));
    }
    api_keys_load_end(keys, true);
    testbed_surroundings = (struct policy_surroundings){ .api_keys = keys, .workers = 1 };
    return keys;
}

static void forget_index(struct api_keys *keys)
{
    testbed_surroundings = (struct policy_surroundings){ 0 };
    api_keys_destroy(keys);
}

struct row {
    const char *filter, *line, *fields;
    unsigned status;
    const char *reason; /* among the body's words, NULL: the service was asked */
};

static const struct row rows[] = {
    { "", "GET /a", "X-API-Key: key 0\r\n", 200, NULL },
    { "", "GET /a", "x-api-key: key 0\r\n", 200, NULL },
    { "", "GET /a", "X-API-Key:   key 0  \r\n", 200, NULL },
    { "", "GET /a", NULL, 401, "no credentials" },
    { "", "GET /a?key=key+0", NULL, 401, "no credentials" },
    { "", "GET /a", "X-API-Key: key 1\r\n", 401, "switched off" },
    { "", "GET /a", "X-API-Key: key 2\r\n", 401, "expired" },
    { "", "GET /a", "X-API-Key: key 3\r\n", 200, NULL },
    { "", "GET /a", "X-API-Key: key 9\r\n", 401, "no such" },
    { "", "GET /a", "X-API-Key: KEY 0\r\n", 401, "no such" },
    { "", "GET /a", "X-API-Key:\r\n", 401, "no such" },
    { "", "GET /a", "X-API-Key: key 0\r\nX-API-Key: key 0\r\n", 400, "several" },
    { "", "GET /a", "X-API-Key: key 0, key 3\r\n", 401, "no such" },
    { "", "GET /a", "Authorization: Bearer key 0\r\n", 401, "no credentials" },
    { "anonymous: allow", "GET /a", NULL, 200, NULL },
    { "anonymous: allow", "GET /a", "X-API-Key: key 9\r\n", 401, "no such" },
    { "requiredScopes: [read]", "GET /a", "X-API-Key: key 4\r\n", 200, NULL },
    { "requiredScopes: [read, write]", "GET /a", "X-API-Key: key 0\r\n", 200, NULL },
    { "requiredScopes: [read, write]", "GET /a", "X-API-Key: key 4\r\n", 403, "\\\"write\\\"" },
    { "requiredScopes: wri", "GET /a", "X-API-Key: key 0\r\n", 403, "\\\"wri\\\"" },
    { "headers: [X-Key, X-Other]", "GET /a", "X-Other: key 0\r\n", 200, NULL },
    { "headers: [X-Key, X-Other]", "GET /a", "X-Key: key 9\r\nX-Other: key 0\r\n", 401, "no such" },
    { "headers: [X-Key, X-Other]", "GET /a", "X-API-Key: key 0\r\n", 401, "no credentials" },
    { "queryParams: key", "GET /a?key=key+0", NULL, 200, NULL },
    { "queryParams: key", "GET /a?b=1&%6bey=key%200", NULL, 200, NULL },
    { "queryParams: key", "GET /a?key=key+0&key=key+0", NULL, 400, "several" },
    { "queryParams: key", "GET /a?key=key+0%00", NULL, 401, "no such" },
    { "queryParams: key", "GET /a?key=key+0", "X-API-Key: key 9\r\n", 401, "no such" },
    { "headers: [], queryParams: key", "GET /a?key=key+0", "X-API-Key: key 9\r\n", 200, NULL },
    { "headers: Authorization", "GET /a", "Authorization: Bearer key 0\r\n", 200, NULL },
    { "headers: Authorization", "GET /a", "Authorization: apikey   key 0\r\n", 200, NULL },
    { "headers: Authorization", "GET /a", "Authorization: Basic key 0\r\n", 401, "no credentials" },
    { "headers: Authorization", "GET /a", "Authorization: Bearer\r\n", 401, "no credentials" },
    { "headers: Authorization", "GET /a", "Authorization: Bearers key 0\r\n", 401, "no credentials" },
    { "headers: Authorization", "GET /a", "Authorization: Bearer\tkey 0\r\n", 400, "malformed" },
    { "headers: Authorization, anonymous: allow", "GET /a", "Authorization: Bearer\tkey 0\r\n", 400, "malformed" },
    { "headers: Authorization, anonymous: allow", "GET /a", "Authorization: ApiKey \tkey 0\r\n", 400, "malformed" },
    { "headers: Authorization, anonymous: allow", "GET /a", "Authorization: apikey;key 0\r\n", 400, "malformed" },
    { "headers: Authorization, anonymous: allow", "GET /a", "Authorization: Basic\tkey 0\r\n", 200, NULL },
    { "headers: Authorization", "GET /a", "Authorization: Bearer key 0\r\nAuthorization: Bearer key 3\r\n", 400,
      "several" },
    { "headers: Authorization", "GET /a", "Authorization: ApiKey key 0, ApiKey key 3\r\n", 400, "several" },
    { "headers: Authorization", "GET /a", "Authorization: Basic YTpi, Bearer key 0\r\n", 400, "several" },
};

static void ask(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    memset(client, 0, sizeof *client);
    client_ask(bed, client, line, fields, NULL);
    testbed_run(bed);
}

static void keys_are_good_or_not(void **state)
{
    struct api_keys *keys = whole_index();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        char filter[256];
        snprintf(filter, sizeof filter, "{ type: api-key%s %s }", rows[i].filter[0] ? "," : "", rows[i].filter);
        testbed_start_filtered(&bed, "/a", filter);
        ask(&bed, &client, rows[i].line, rows[i].fields);
        if (client.status != rows[i].status) fail_msg("%zu: %s: %u %s", i, filter, client.status, client.body);
        if (rows[i].reason && !strstr(client.body, rows[i].reason)) fail_msg("%zu: %s", i, client.body);
        assert_int_equal(bed.service.requests, rows[i].reason == NULL);
        assert_int_equal(client_count_header(&client, "WWW-Authenticate"),
                         client.status == 401 || client.status == 400);
        assert_null(rows[i].reason && strstr(client.body, "key 0") ? client.body : NULL); /* no key in an answer */
        api_keys_quiesce(keys, 0);
        client_release(&client);
        testbed_stop(&bed);
    }
    forget_index(keys);
}

static void who_it_is_goes_on_and_the_key_stays(void **state)
{
    struct api_keys *keys = whole_index();
    struct testbed bed;
    struct client client;
    char id[API_KEY_UUID_BYTES], owner[API_KEY_UUID_BYTES];
    test_uuid(0, 1, id), test_uuid(0, 2, owner);
    testbed_start_filtered(&bed, "/a", "{ type: api-key, queryParams: [key] }, { type: test-tell-identity }");
    ask(&bed, &client, "GET /a?key=key+5&x=1", "X-API-Key: key 0\r\n");
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "api-key");
    assert_slice_is(service_header(&bed, "X-Tell-Client"), owner);
    assert_slice_is(service_header(&bed, "X-Tell-Key"), id);
    assert_slice_is(service_header(&bed, "X-Tell-Scopes"), "read write");
    assert_slice_is(service_header(&bed, "X-Tell-Tier"), "1");
    assert_int_equal(service_count_header(&bed, "X-Tell-User"), 0);
    assert_int_equal(service_count_header(&bed, "X-API-Key"), 0);
    assert_string_equal(bed.service.target, "/a?x=1"); /* the other key doesn't pass either */
    client_release(&client);
    ask(&bed, &client, "GET /a?key=key+5", NULL);
    assert_slice_is(service_header(&bed, "X-Tell-Client"), "a-client-by-name");
    assert_slice_is(service_header(&bed, "X-Tell-Tier"), "2");
    assert_string_equal(bed.service.target, "/a");
    client_release(&client);
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    assert_int_equal(api_keys_take_uses(keys, uses), 2);
    assert_slice_is(uses[0].id, id);
    testbed_stop(&bed);
    forget_index(keys);
}

static void a_key_goes_on_where_that_is_wanted(void **state)
{
    struct api_keys *keys = whole_index();
    struct testbed bed;
    struct client client;
    testbed_start_filtered(&bed, "/a", "{ type: api-key, queryParams: [key], forwardCredentials: true }");
    ask(&bed, &client, "GET /a?key=k", "X-API-Key: key 0\r\n");
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-API-Key"), "key 0");
    assert_string_equal(bed.service.target, "/a?key=k");
    client_release(&client);
    testbed_stop(&bed);
    forget_index(keys);
}

/* The next request after the writer has heard of it. */
static void a_revoked_key_is_refused_at_once(void **state)
{
    struct api_keys *keys = whole_index();
    struct testbed bed;
    char id[API_KEY_UUID_BYTES];
    test_uuid(0, 1, id);
    testbed_start_filtered(&bed, "/a", "{ type: api-key }");
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 0\r\n"), 200);
    api_keys_quiesce(keys, 0);
    assert_true(api_keys_remove(keys, slice_of(id, API_KEY_UUID_BYTES - 1)));
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 0\r\n"), 401);
    testbed_stop(&bed);
    forget_index(keys);
}

/* While the old one still counts both are the same client. */
static void two_keys_of_a_client_overlap(void **state)
{
    struct api_keys *keys = whole_index();
    struct testbed bed;
    struct test_row old, new;
    test_row(&old, 0), test_row(&new, 7);
    new.row.client_id = old.row.client_id;
    old.row.replaces_until_us = now_us() + 3600000000u;
    assert_true(api_keys_put(keys, &new.row, API_KEY_KEEP) && api_keys_put(keys, &old.row, API_KEY_KEEP));
    testbed_start_filtered(&bed, "/a", "{ type: api-key }, { type: test-tell-identity }");
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 0\r\n"), 200);
    assert_slice_is(service_header(&bed, "X-Tell-Client"), old.client);
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 7\r\n"), 200);
    assert_slice_is(service_header(&bed, "X-Tell-Client"), old.client);
    api_keys_quiesce(keys, 0);
    old.row.replaces_until_us = now_us() - 1;
    assert_true(api_keys_put(keys, &old.row, API_KEY_KEEP));
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 0\r\n"), 401);
    assert_int_equal(testbed_status(&bed, "GET /a", "X-API-Key: key 7\r\n"), 200);
    testbed_stop(&bed);
    forget_index(keys);
}

/* Hashing is bounded, and no length is special. */
static void keys_of_any_length_are_just_wrong(void **state)
{
    struct api_keys *keys = whole_index();
    struct testbed bed;
    testbed_start_filtered(&bed, "/a", "{ type: api-key }");
    static const size_t lengths[] = { 1, 42, 43, 44, 63, 64, 1023, 1024, 1025, 4096, 8192 };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        char *text = memory_allocate(lengths[i] + 1), *fields;
        memset(text, 'k', lengths[i]);
        fields = memory_format("X-API-Key: %s\r\n", text);
        assert_int_equal(testbed_status(&bed, "GET /a", fields), 401);
        free(fields);
        free(text);
    }
    assert_int_equal(bed.service.requests, 0);
    testbed_stop(&bed);
    forget_index(keys);
}

/* --- keys that the store has --- */

struct test_store {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_away, holds, is_held;
    _Atomic unsigned finds;
    struct api_keys *keys;
    struct key_lookups *lookups;
};

static bool is_away(struct test_store *store, struct error *error)
{
    pthread_mutex_lock(&store->lock);
    bool away = store->is_away;
    pthread_mutex_unlock(&store->lock);
    if (away) error_set(error, BLAME_US, RETRY_NEVER, 503, "store-unavailable", "it is a test");
    return away;
}

static void visit(uint64_t number, const struct api_key_visitor *visitor)
{
    struct test_row row;
    test_row(&row, number);
    visitor->key(visitor->argument, &row.row);
}

static bool test_find(void *argument, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *visitor,
                      struct error *error)
{
    struct test_store *store = argument;
    atomic_fetch_add(&store->finds, 1);
    pthread_mutex_lock(&store->lock);
    while (store->holds) {
        store->is_held = true;
        pthread_cond_broadcast(&store->changed);
        pthread_cond_wait(&store->changed, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    if (is_away(store, error)) return false;
    for (uint64_t number = FIRST_SPECIAL; number < NUMBERS; number++) {
        uint8_t known[API_KEY_HASH_BYTES];
        test_hash(number, known);
        if (memcmp(known, hash, sizeof known) == 0) visit(number, visitor);
    }
    return true;
}

static bool test_get(void *argument, struct slice id, const struct api_key_visitor *visitor, struct error *error)
{
    return !is_away(argument, error);
}

static bool test_list(void *argument, uint64_t after_us, struct slice after_id, size_t limit,
                      const struct api_key_visitor *visitor, struct error *error)
{
    for (uint64_t number = after_us; number < NUMBERS && limit > 0; number++, limit--) visit(number, visitor);
    return !is_away(argument, error);
}

static bool test_count(void *argument, uint64_t *count, struct error *error)
{
    *count = NUMBERS;
    return true;
}

static bool test_note(void *argument, const struct api_key_use *uses, size_t count, struct error *error)
{
    return true;
}

static void test_close(void *argument) {}

static bool is_loaded(struct test_store *store)
{
    struct key_lookups_figures figures;
    key_lookups_figures(store->lookups, &figures);
    return figures.loads > 0;
}

static void start_store(struct test_store *store)
{
    struct error error;
    memset(store, 0, sizeof *store);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    store->keys = api_keys_create(&(struct api_keys_options){ MIB, 1 }, &error);
    assert_non_null(store->keys);
    api_keys_store_heard(store->keys, now_us(), true);
    struct key_source source = { test_find, test_get, test_list, test_count, test_note, NULL, test_close, store };
    store->lookups = key_lookups_create(&(struct key_lookups_options){ store->keys, source, 0, NULL }, &error);
    assert_true(store->lookups && key_lookups_start(store->lookups, &error));
    while (!is_loaded(store)) nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    assert_false(api_keys_is_whole(store->keys));
    testbed_surroundings = (struct policy_surroundings){ store->keys, store->lookups, .workers = 1 };
}

static void hold_store(struct test_store *store, bool holds)
{
    pthread_mutex_lock(&store->lock);
    store->holds = holds;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

static void wait_until_held(struct test_store *store)
{
    pthread_mutex_lock(&store->lock);
    while (!store->is_held) pthread_cond_wait(&store->changed, &store->lock);
    pthread_mutex_unlock(&store->lock);
}

static void set_away(struct test_store *store, bool away)
{
    pthread_mutex_lock(&store->lock);
    store->is_away = away;
    pthread_mutex_unlock(&store->lock);
}

/* Before the worker goes: an answer that nobody waits for any more may be on its way to it. */
static void stop_answering(struct test_store *store)
{
    hold_store(store, false);
    key_lookups_stop(store->lookups);
}

static void stop_store(struct test_store *store)
{
    stop_answering(store);
    key_lookups_destroy(store->lookups);
    api_keys_destroy(store->keys);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->changed);
    testbed_surroundings = (struct policy_surroundings){ 0 };
}

static void ask_for(struct testbed *bed, struct client *client, unsigned number)
{
    char fields[64];
    memset(client, 0, sizeof *client);
    snprintf(fields, sizeof fields, "X-API-Key: key %u\r\n", number);
    client_ask(bed, client, "GET /a", fields, NULL);
}

/* What can't be judged is let through as nobody's where that is wanted; the key stays here all the same. */
static void a_key_that_cannot_be_judged_goes_no_further(void **state)
{
    struct testbed bed; /* without an index: every key is away */
    testbed_start_filtered(&bed, "/a",
                           "{ type: api-key, onFailure: allow, headers: [X-API-Key, Authorization], queryParams: k }");
    assert_int_equal(testbed_status(&bed, "GET /a?k=1&x=2", "Authorization: Bearer a-key\r\n"), 200);
    assert_int_equal(service_count_header(&bed, "Authorization"), 0);
    assert_string_equal(bed.service.target, "/a?x=2");
    assert_int_equal(testbed_status(&bed, "GET /a", "Authorization: Basic other\r\nX-API-Key: a-key\r\n"), 200);
    assert_slice_is(service_header(&bed, "Authorization"), "Basic other"); /* not a key's */
    assert_int_equal(service_count_header(&bed, "X-API-Key"), 0);
    testbed_stop(&bed);
}

static unsigned status_of(struct testbed *bed, struct test_store *store, unsigned number)
{
    struct client client;
    ask_for(bed, &client, number);
    testbed_run_until(bed, &client.sent);
    unsigned status = client.status;
    if (status == 503) assert_slice_is(client_header(&client, "Retry-After"), "1");
    api_keys_quiesce(store->keys, 0);
    client_release(&client);
    return status;
}

static void the_store_is_asked_once_for_a_key_that_has_no_room(void **state)
{
    struct test_store store;
    struct testbed bed;
    start_store(&store);
    testbed_start_filtered(&bed, "/a", "{ type: api-key }, { type: test-tell-identity }");
    assert_int_equal(status_of(&bed, &store, NUMBERS - 1), 200);
    assert_int_equal(atomic_load(&store.finds), 1);
    assert_int_equal(status_of(&bed, &store, NUMBERS - 1), 200); /* from memory by now */
    assert_int_equal(status_of(&bed, &store, NUMBERS + 1), 401);
    assert_int_equal(status_of(&bed, &store, NUMBERS + 1), 401);
    assert_int_equal(atomic_load(&store.finds), 2);
    testbed_stop(&bed);
    stop_store(&store);
}

static void a_store_that_is_away_is_not_the_clients_fault(void **state)
{
    struct test_store store;
    struct testbed bed;
    start_store(&store);
    set_away(&store, true);
    testbed_start_filtered(&bed, "/a", "{ type: api-key }");
    assert_int_equal(status_of(&bed, &store, NUMBERS - 1), 503);
    assert_int_equal(status_of(&bed, &store, NUMBERS - 2), 503); /* nobody is asked any more */
    assert_int_equal(status_of(&bed, &store, 0), 200);           /* in memory */
    testbed_stop(&bed);
    testbed_start_filtered(&bed, "/a", "{ type: api-key, onFailure: allow }, { type: test-tell-identity }");
    assert_int_equal(status_of(&bed, &store, NUMBERS - 3), 200);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "anonymous");
    assert_int_equal(service_count_header(&bed, "X-API-Key"), 0);
    testbed_stop(&bed);
    stop_store(&store);
}

static void a_late_store_is_waited_for_until_the_requests_time_is_over(void **state)
{
    struct test_store store;
    struct testbed bed;
    struct client client;
    start_store(&store);
    testbed_start(&bed,
                  "routes: [{ name: a, path: /a, serviceId: one, timeoutMs: 60, filters: [{ type: api-key }] }]\n");
    hold_store(&store, true);
    ask_for(&bed, &client, NUMBERS - 1);
    testbed_run_until(&bed, &client.sent);
    assert_int_equal(client.status, 503);
    hold_store(&store, false);
    client_release(&client);
    testbed_run(&bed);
    stop_answering(&store);
    testbed_stop(&bed);
    stop_store(&store);
}

/* Its ticket is stale when the answer comes. */
static void a_client_that_leaves_is_not_waited_for(void **state)
{
    struct test_store store;
    struct testbed bed;
    struct client client;
    start_store(&store);
    testbed_start_filtered(&bed, "/a", "{ type: api-key }");
    hold_store(&store, true);
    ask_for(&bed, &client, NUMBERS - 1);
    wait_until_held(&store);
    client_leave(&client);
    testbed_run(&bed);
    assert_true(client.released);
    hold_store(&store, false);
    assert_int_equal(status_of(&bed, &store, NUMBERS - 1), 200); /* what it asked for came, for the next one */
    client_release(&client);
    stop_answering(&store);
    testbed_stop(&bed);
    stop_store(&store);
}

static void a_key_in_the_query_is_waited_for_too(void **state)
{
    struct test_store store;
    struct testbed bed;
    struct client client = { 0 };
    char line[64];
    start_store(&store);
    testbed_start_filtered(&bed, "/a", "{ type: api-key, queryParams: key }, { type: test-tell-identity }");
    snprintf(line, sizeof line, "GET /a?key=key+%u", NUMBERS - 1);
    client_ask(&bed, &client, line, NULL, NULL);
    testbed_run_until(&bed, &client.sent);
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "api-key");
    assert_string_equal(bed.service.target, "/a");
    api_keys_quiesce(store.keys, 0);
    client_release(&client);
    testbed_stop(&bed);
    stop_store(&store);
}

/* --- configuration --- */

static void what_makes_no_sense_is_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: api-key, headers: [] }", "must name a place");
    testbed_refuses_filter("{ type: api-key, headers: ['a b'] }", "not a header name");
    testbed_refuses_filter("{ type: api-key, headers: [Host] }", "written by Sluice itself");
    testbed_refuses_filter("{ type: api-key, queryParams: [''] }", "needs a name");
    testbed_refuses_filter("{ type: api-key, requiredScopes: ['a b'] }", "not a scope");
    testbed_refuses_filter("{ type: api-key, anonymous: maybe }", "anonymous");
    testbed_refuses_filter("{ type: api-key, realm: \"a\\nb\" }", "printable");
    testbed_refuses_filter("{ type: api-key }, { type: api-key }", "is there already");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_good_or_not),
        cmocka_unit_test(who_it_is_goes_on_and_the_key_stays),
        cmocka_unit_test(a_key_goes_on_where_that_is_wanted),
        cmocka_unit_test(a_revoked_key_is_refused_at_once),
        cmocka_unit_test(two_keys_of_a_client_overlap),
        cmocka_unit_test(keys_of_any_length_are_just_wrong),
        cmocka_unit_test(a_key_that_cannot_be_judged_goes_no_further),
        cmocka_unit_test(the_store_is_asked_once_for_a_key_that_has_no_room),
        cmocka_unit_test(a_store_that_is_away_is_not_the_clients_fault),
        cmocka_unit_test(a_late_store_is_waited_for_until_the_requests_time_is_over),
        cmocka_unit_test(a_client_that_leaves_is_not_waited_for),
        cmocka_unit_test(a_key_in_the_query_is_waited_for_too),
        cmocka_unit_test(what_makes_no_sense_is_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
