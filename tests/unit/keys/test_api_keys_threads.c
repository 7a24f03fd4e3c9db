/* One writer and four readers at once: what a reader was told holds until it is quiet, and what is there all the time is always found. */
#include "unit_test.h"

#include "base/random.h"
#include "keys/private.h"
#include "keys/rows.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define NOW_US UINT64_C(1767225600000000)
#define READERS 4
#define STEADY 500     /* never touched */
#define CHANGING 500   /* replaced all the time: scopes and client change together */
#define PASSING 4000   /* come and go */
#define ARRIVING 15000 /* come and stay: so many that records are put in groups, and those that were there are moved */
#define WRITES 20000
#define LOOKS 50000 /* at least; the writer goes on until then */

struct shared {
    struct api_keys *keys;
    atomic_bool over;
    _Atomic uint64_t looks;
};

struct reader {
    struct shared *shared;
    unsigned index;
    const char *broken; /* NULL: all was well */
};

static void changing_row(struct test_row *row, uint64_t number, uint64_t version, char text[80])
{
    test_row(row, number);
    snprintf(text, 80, "version %llu of a text that is not kept in the record", (unsigned long long)version);
    row->row.client_id = row->row.scopes = slice_from_cstring(text);
}

/* What a record says must be about the key that was asked for, and of one piece. */
static const char *check(struct api_keys *keys, struct reader *self, struct random *random)
{
    uint64_t number = random_below(random, STEADY + CHANGING + PASSING);
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    struct test_row row;
    char into[API_KEY_UUID_BYTES];
    test_row(&row, number);
    test_hash(number, hash);
    enum api_key_found found = api_keys_find(keys, self->index, hash, NOW_US, &key);
    if (found != API_KEY_FOUND) {
        if (number < STEADY + CHANGING) return "a key that is there all the time was not found";
        return found == API_KEY_UNKNOWN ? NULL : "a whole index must know";
    }
    api_keys_note_use(keys, self->index, &key, NOW_US);
    for (int again = 0; again < 3; again++) {
        if (memcmp(key.hash, hash, sizeof hash) != 0) return "another key's record";
        if (!slice_equal(api_key_id(&key, into), row.row.id)) return "another key's id";
        struct slice client = api_key_client_id(&key, into);
        bool is_changing = number >= STEADY && number < STEADY + CHANGING;
        if (is_changing && !slice_equal(client, key.scopes)) return "a client of one version and scopes of another";
        if (!is_changing && !slice_equal(client, row.row.client_id)) return "another key's client";
    }
    return NULL;
}

static void *read_all_the_time(void *argument)
{
    struct reader *self = argument;
    struct random random;
    random_init_seeded(&random, self->index + 1);
    while (!atomic_load_explicit(&self->shared->over, memory_order_relaxed) && !self->broken) {
        for (uint64_t i = random_below(&random, 20); i > 0 && !self->broken; i--) {
            self->broken = check(self->shared->keys, self, &random);
            atomic_fetch_add_explicit(&self->shared->looks, 1, memory_order_relaxed);
        }
        api_keys_quiesce(self->shared->keys, self->index);
        sched_yield(); /* fewer cores than threads: the writer shall get on */
    }
    return NULL;
}

static void write_all_the_time(struct shared *shared)
{
    struct api_keys *keys = shared->keys;
    struct random random;
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    random_init_seeded(&random, 99);
    for (uint64_t i = 0; i < WRITES || atomic_load(&shared->looks) < LOOKS; i++) {
        struct test_row row;
        char text[80];
        uint64_t number = STEADY + random_below(&random, CHANGING);
        changing_row(&row, number, i, text);
        assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP));
        test_row(&row, STEADY + CHANGING + random_below(&random, PASSING));
        if (random_below(&random, 2))
            assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP));
        else
            api_keys_remove(keys, row.row.id);
        test_row(&row, STEADY + CHANGING + PASSING + i);
        if (i < ARRIVING) assert_true(api_keys_put(keys, &row.row, API_KEY_KEEP));
        if (i % 64 == 0) api_keys_take_uses(keys, uses), sched_yield();
    }
}

static void readers_hold_what_they_found_while_the_writer_changes_it(void **state)
{
    struct error error;
    struct shared shared = { .keys = api_keys_create(&(struct api_keys_options){ 64u << 20, READERS }, &error) };
    struct reader readers[READERS];
    pthread_t threads[READERS];
    assert_non_null(shared.keys);
    api_keys_load_begin(shared.keys);
    for (uint64_t number = 0; number < STEADY + CHANGING; number++) {
        struct test_row row;
        char text[80];
        test_row(&row, number);
        if (number >= STEADY) changing_row(&row, number, 0, text);
        assert_true(api_keys_put(shared.keys, &row.row, API_KEY_KEEP));
    }
    api_keys_load_end(shared.keys, true);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){ &shared, i, NULL };
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &readers[i]), 0);
    }
    write_all_the_time(&shared);
    atomic_store(&shared.over, true);
    for (unsigned i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < READERS; i++) assert_null(readers[i].broken);
    struct api_keys_figures figures;
    api_keys_figures(shared.keys, &figures);
    assert_true(figures.is_whole);
    assert_true(figures.bytes < 8u << 20);
    assert_true(atomic_load(&shared.keys->group_count) > 0);
    api_keys_destroy(shared.keys);
}

/* Keys that go for others to come: a reader may not find one, but is never told that it is unknown. */
static void *find_what_may_have_gone(void *argument)
{
    struct reader *self = argument;
    struct random random;
    random_init_seeded(&random, self->index + 1);
    while (!atomic_load_explicit(&self->shared->over, memory_order_relaxed) && !self->broken) {
        uint8_t hash[API_KEY_HASH_BYTES];
        struct api_key key;
        test_hash(random_below(&random, 20000), hash);
        enum api_key_found found = api_keys_find(self->shared->keys, self->index, hash, NOW_US, &key);
        if (found != API_KEY_FOUND && found != API_KEY_ASK) self->broken = api_key_found_words[found];
        if (found == API_KEY_FOUND && memcmp(key.hash, hash, sizeof hash) != 0) self->broken = "another key's record";
        api_keys_quiesce(self->shared->keys, self->index);
        sched_yield(); /* fewer cores than threads: the writer shall get on */
    }
    return NULL;
}

static void a_key_that_went_for_another_is_asked_for_not_unknown(void **state)
{
    struct error error;
    struct shared shared = { .keys = api_keys_create(&(struct api_keys_options){ 1u << 20, 2 }, &error) };
    struct reader readers[2] = { { &shared, 0, NULL }, { &shared, 1, NULL } };
    pthread_t threads[2];
    assert_non_null(shared.keys);
    api_keys_store_heard(shared.keys, NOW_US, true);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, find_what_may_have_gone, &readers[i]), 0);
    }
    for (uint64_t i = 0; i < 40000; i++) {
        struct test_row row;
        test_row(&row, i % 20000);
        api_keys_put(shared.keys, &row.row, API_KEY_KEEP);
    }
    atomic_store(&shared.over, true);
    for (unsigned i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 2; i++) assert_null(readers[i].broken);
    api_keys_destroy(shared.keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_hold_what_they_found_while_the_writer_changes_it),
        cmocka_unit_test(a_key_that_went_for_another_is_asked_for_not_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
