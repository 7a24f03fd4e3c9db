/* The thread that asks the store, against a store made of memory that can be slow, away or damaged. */
#include "unit_test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "keys/key_lookups.h"
#include "keys/rows.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define MIB (1u << 20)
#define NUMBERS 40000
#define PATIENCE_MS 20000

enum condition { ANSWERS, IS_AWAY, IS_DAMAGED };

/* Number N is a row with the id and hash of test_row(N), if it is there. */
struct test_store {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum condition condition;
    bool holds;   /* the next call that finds waits, after it has read */
    bool is_held; /* one does */
    bool is_there[NUMBERS], is_disabled[NUMBERS];
    unsigned finds, lists;
    uint64_t uses;
};

static bool fails(struct test_store *store, struct error *error)
{
    if (store->condition == ANSWERS) return false;
    bool away = store->condition == IS_AWAY;
    error_set(error, BLAME_US, RETRY_NEVER, 503, away ? "store-unavailable" : "store-damaged", "it is a test");
    return true;
}

static void visit(struct test_store *store, uint64_t number, const struct api_key_visitor *visitor)
{
    struct test_row row;
    test_row(&row, number);
    row.row.enabled = !store->is_disabled[number];
    visitor->key(visitor->argument, &row.row);
}

static uint64_t number_of_hash(const uint8_t hash[API_KEY_HASH_BYTES])
{
    static uint8_t hashes[NUMBERS][API_KEY_HASH_BYTES];
    static bool are_made;
    for (uint64_t i = 0; i < NUMBERS && !are_made; i++) test_hash(i, hashes[i]);
    are_made = true;
    for (uint64_t i = 0; i < NUMBERS; i++) {
        if (memcmp(hashes[i], hash, sizeof hashes[i]) == 0) return i;
    }
    return NUMBERS;
}

static bool test_find(void *argument, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *visitor,
                      struct error *error)
{
    struct test_store *store = argument;
    pthread_mutex_lock(&store->lock);
    uint64_t number = number_of_hash(hash);
    bool ok = !fails(store, error);
    bool is_there = ok && number < NUMBERS && store->is_there[number];
    bool was_disabled = is_there && store->is_disabled[number];
    store->finds += number < NUMBERS;
    if (store->holds && number < NUMBERS) {
        store->is_held = true;
        pthread_cond_broadcast(&store->changed);
        while (store->holds) pthread_cond_wait(&store->changed, &store->lock);
        store->is_held = false;
    }
    if (is_there) {
        bool is_disabled = store->is_disabled[number];
        store->is_disabled[number] = was_disabled; /* as it was read, whatever has happened meanwhile */
        visit(store, number, visitor);
        store->is_disabled[number] = is_disabled;
    }
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static bool test_get(void *argument, struct slice id, const struct api_key_visitor *visitor, struct error *error)
{
    struct test_store *store = argument;
    uint8_t uuid[16];
    uint64_t number = 0;
    assert_true(api_key_uuid_parse(id, uuid));
    for (int i = 8; i < 16; i++) number = number << 8 | uuid[i];
    pthread_mutex_lock(&store->lock);
    bool ok = !fails(store, error);
    if (ok && number < NUMBERS && store->is_there[number]) visit(store, number, visitor);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static bool test_list(void *argument, uint64_t after_us, struct slice after_id, size_t limit,
                      const struct api_key_visitor *visitor, struct error *error)
{
    struct test_store *store = argument; /* created_us is the number plus one */
    pthread_mutex_lock(&store->lock);
    bool ok = !fails(store, error);
    store->lists++;
    for (uint64_t number = after_us; ok && number < NUMBERS && limit > 0; number++) {
        if (!store->is_there[number]) continue;
        visit(store, number, visitor);
        limit--;
    }
    pthread_mutex_unlock(&store->lock);
    return ok;
}

/* As from a database that can't count in the time it has: it must do without. */
static bool test_count(void *argument, uint64_t *count, struct error *error)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "store-unavailable", "counting takes too long");
}

static bool test_note_uses(void *argument, const struct api_key_use *uses, size_t count, struct error *error)
{
    struct test_store *store = argument;
    pthread_mutex_lock(&store->lock);
    bool ok = !fails(store, error);
    if (ok) store->uses += count;
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static void test_close(void *argument) {}

/* --- a set of them --- */

struct fixture {
    struct test_store store;
    struct api_keys *keys;
    struct key_lookups *lookups;
    _Atomic unsigned answers[API_KEY_FOUND_COUNT];
};

static void pause_shortly(void) { nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); }

#define EVENTUALLY(condition)                                                         \
    do {                                                                              \
        uint64_t give_up_ns = clock_monotonic_ns() + PATIENCE_MS * UINT64_C(1000000); \
        while (!(condition) && clock_monotonic_ns() < give_up_ns) pause_shortly();    \
        assert_true(condition);                                                       \
    } while (0)

static uint64_t now_us(void) { return clock_wall_ns() / 1000; }

static struct key_lookups_figures figures_of(struct fixture *fixture)
{
    struct key_lookups_figures figures;
    key_lookups_figures(fixture->lookups, &figures);
    return figures;
}

static void set_condition(struct fixture *fixture, enum condition condition)
{
    pthread_mutex_lock(&fixture->store.lock);
    fixture->store.condition = condition;
    pthread_mutex_unlock(&fixture->store.lock);
}

static void hold(struct fixture *fixture, bool holds)
{
    pthread_mutex_lock(&fixture->store.lock);
    fixture->store.holds = holds;
    pthread_cond_broadcast(&fixture->store.changed);
    pthread_mutex_unlock(&fixture->store.lock);
}

static void wait_until_held(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->store.lock);
    while (!fixture->store.is_held) pthread_cond_wait(&fixture->store.changed, &fixture->store.lock);
    pthread_mutex_unlock(&fixture->store.lock);
}

static void set_key(struct fixture *fixture, uint64_t number, bool is_there, bool is_disabled)
{
    pthread_mutex_lock(&fixture->store.lock);
    fixture->store.is_there[number] = is_there;
    fixture->store.is_disabled[number] = is_disabled;
    pthread_mutex_unlock(&fixture->store.lock);
}

static unsigned finds_of(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->store.lock);
    unsigned finds = fixture->store.finds;
    pthread_mutex_unlock(&fixture->store.lock);
    return finds;
}

static struct fixture *start(uint64_t count, uint64_t bytes_max, uint32_t waiting_max, enum condition condition)
{
    struct fixture *fixture = memory_allocate_aligned(sizeof *fixture);
    struct error error;
    pthread_mutex_init(&fixture->store.lock, NULL);
    pthread_cond_init(&fixture->store.changed, NULL);
    fixture->store.condition = condition;
    for (uint64_t i = 0; i < count; i++) fixture->store.is_there[i] = true;
    fixture->keys = api_keys_create(&(struct api_keys_options){ bytes_max, 4 }, &error);
    assert_non_null(fixture->keys);
    api_keys_store_heard(fixture->keys, now_us(), true);
    struct key_source source = { test_find,      test_get, test_list,  test_count,
                                 test_note_uses, NULL,     test_close, &fixture->store };
    fixture->lookups = key_lookups_create(&(struct key_lookups_options){ fixture->keys, source, waiting_max, NULL },
                                          &error);
    assert_non_null(fixture->lookups);
    assert_true(key_lookups_start(fixture->lookups, &error));
    if (condition == ANSWERS) EVENTUALLY(!figures_of(fixture).is_loading);
    return fixture;
}

static void end(struct fixture *fixture)
{
    hold(fixture, false);
    key_lookups_stop(fixture->lookups);
    key_lookups_destroy(fixture->lookups);
    api_keys_destroy(fixture->keys);
    pthread_mutex_destroy(&fixture->store.lock);
    pthread_cond_destroy(&fixture->store.changed);
    free(fixture);
}

static enum api_key_found look(struct fixture *fixture, uint64_t number)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    test_hash(number, hash);
    enum api_key_found found = api_keys_find(fixture->keys, 0, hash, now_us(), &key);
    api_keys_quiesce(fixture->keys, 0);
    return found;
}

static void take_answer(const struct key_asker *asker, enum api_key_found found)
{
    struct fixture *fixture = (struct fixture *)(uintptr_t)asker->ticket[0]; // NOLINT(performance-no-int-to-ptr)
    atomic_fetch_add(&fixture->answers[found], 1);
}

static enum api_key_found ask(struct fixture *fixture, uint64_t number)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    test_hash(number, hash);
    struct key_asker asker = { .answered = take_answer, .ticket = { (uint64_t)(uintptr_t)fixture } };
    return key_lookups_ask(fixture->lookups, hash, &asker);
}

static unsigned answers(struct fixture *fixture, enum api_key_found found)
{
    return atomic_load(&fixture->answers[found]);
}

static void changed(struct fixture *fixture, uint64_t number)
{
    struct test_row row;
    test_row(&row, number);
    key_lookups_changed(fixture->lookups, &row.row.id, 1, NULL, NULL);
}

/* --- the tests --- */

static void at_the_start_all_keys_are_read(void **state)
{
    struct fixture *fixture = start(10000, 64 * MIB, 0, ANSWERS);
    assert_true(api_keys_is_whole(fixture->keys));
    assert_int_equal(look(fixture, 0), API_KEY_FOUND);
    assert_int_equal(look(fixture, 9999), API_KEY_FOUND);
    assert_int_equal(look(fixture, 10000), API_KEY_UNKNOWN);
    assert_int_equal(finds_of(fixture), 0);
    end(fixture);
}

static void a_key_that_is_not_in_memory_is_asked_once_for_all_who_wait(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    assert_false(api_keys_is_whole(fixture->keys));
    assert_int_equal(look(fixture, 29999), API_KEY_ASK);
    hold(fixture, true);
    for (int i = 0; i < 500; i++) assert_int_equal(ask(fixture, 29999), API_KEY_ASK);
    wait_until_held(fixture);
    for (int i = 0; i < 500; i++) assert_int_equal(ask(fixture, 29999), API_KEY_ASK);
    assert_int_equal(answers(fixture, API_KEY_FOUND), 0);
    hold(fixture, false);
    EVENTUALLY(answers(fixture, API_KEY_FOUND) == 1000);
    assert_int_equal(finds_of(fixture), 1);
    assert_int_equal(figures_of(fixture).joined, 999);
    assert_int_equal(look(fixture, 29999), API_KEY_FOUND);
    end(fixture);
}

static void an_unknown_key_is_asked_once_and_remembered(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    ask(fixture, 35000);
    EVENTUALLY(answers(fixture, API_KEY_UNKNOWN) == 1);
    assert_int_equal(look(fixture, 35000), API_KEY_UNKNOWN);
    ask(fixture, 35000);
    EVENTUALLY(answers(fixture, API_KEY_UNKNOWN) == 2);
    assert_int_equal(finds_of(fixture), 1);
    /* Made elsewhere: word of that ends it. */
    set_key(fixture, 35000, true, false);
    changed(fixture, 35000);
    EVENTUALLY(look(fixture, 35000) != API_KEY_UNKNOWN);
    ask(fixture, 35000);
    EVENTUALLY(answers(fixture, API_KEY_FOUND) == 1);
    end(fixture);
}

static void beyond_the_bound_askers_are_turned_away_at_once(void **state)
{
    struct fixture *fixture = start(30000, MIB, 10, ANSWERS);
    hold(fixture, true);
    for (uint64_t i = 0; i < 10; i++) assert_int_equal(ask(fixture, 29000 + i), API_KEY_ASK);
    assert_int_equal(ask(fixture, 29000), API_KEY_AWAY);
    assert_int_equal(figures_of(fixture).overloaded, 1);
    hold(fixture, false);
    EVENTUALLY(answers(fixture, API_KEY_FOUND) == 10);
    assert_int_equal(answers(fixture, API_KEY_AWAY), 0);
    assert_int_equal(ask(fixture, 28000), API_KEY_ASK);
    end(fixture);
}

static void with_the_store_away_who_waits_is_told_and_who_comes_too(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    set_condition(fixture, IS_AWAY);
    for (uint64_t i = 0; i < 5; i++) ask(fixture, 29000 + i);
    EVENTUALLY(answers(fixture, API_KEY_AWAY) == 5);
    assert_int_equal(look(fixture, 29000), API_KEY_AWAY);
    assert_int_equal(look(fixture, 0), API_KEY_FOUND);
    unsigned finds = finds_of(fixture);
    for (uint64_t i = 0; i < 5; i++) ask(fixture, 29000 + i);
    EVENTUALLY(answers(fixture, API_KEY_AWAY) == 10);
    assert_int_equal(finds_of(fixture), finds);
    assert_false(figures_of(fixture).is_answering);
    set_condition(fixture, ANSWERS);
    EVENTUALLY(look(fixture, 29000) == API_KEY_ASK);
    ask(fixture, 29000);
    EVENTUALLY(answers(fixture, API_KEY_FOUND) == 1);
    end(fixture);
}

static void a_store_that_is_away_at_the_start_is_read_when_it_comes(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, IS_AWAY);
    EVENTUALLY(look(fixture, 1) == API_KEY_AWAY);
    set_condition(fixture, ANSWERS);
    EVENTUALLY(!figures_of(fixture).is_loading);
    assert_true(api_keys_is_whole(fixture->keys));
    assert_int_equal(look(fixture, 4999), API_KEY_FOUND);
    end(fixture);
}

static void a_revoked_key_lets_nobody_in_once_word_of_it_came(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, ANSWERS);
    set_key(fixture, 7, false, false);
    set_key(fixture, 8, true, true);
    assert_int_equal(look(fixture, 7), API_KEY_FOUND);
    changed(fixture, 7);
    changed(fixture, 8);
    EVENTUALLY(look(fixture, 7) == API_KEY_UNKNOWN);
    EVENTUALLY(look(fixture, 8) == API_KEY_DISABLED);
    assert_true(api_keys_is_whole(fixture->keys));
    assert_int_equal(figures_of(fixture).reread, 2);
    end(fixture);
}

/* It is known that it was changed, not how; so it is not let in until the store has said. */
static void a_key_changed_while_the_store_is_away_lets_nobody_in(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, ANSWERS);
    set_condition(fixture, IS_AWAY);
    changed(fixture, 7);
    EVENTUALLY(look(fixture, 7) == API_KEY_AWAY);
    assert_int_equal(look(fixture, 8), API_KEY_FOUND);
    assert_int_equal(look(fixture, 5001), API_KEY_UNKNOWN);
    set_condition(fixture, ANSWERS);
    EVENTUALLY(look(fixture, 7) == API_KEY_FOUND);
    end(fixture);
}

/* The look-up has read the key as it was; then it is disabled, and word of that comes while the look-up still waits. */
static void what_was_read_before_a_change_does_not_outlast_it(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    hold(fixture, true);
    ask(fixture, 29999);
    wait_until_held(fixture);
    set_key(fixture, 29999, true, true);
    changed(fixture, 29999);
    hold(fixture, false);
    EVENTUALLY(look(fixture, 29999) == API_KEY_DISABLED);
    for (int i = 0; i < 20; i++) {
        pause_shortly();
        assert_int_equal(look(fixture, 29999), API_KEY_DISABLED);
    }
    end(fixture);
}

static void count_told(void *argument) { atomic_fetch_add((_Atomic unsigned *)argument, 1); }

/* Who waits for a change is told when nobody is let in by what was before, whatever the store does. */
static void a_change_is_told_when_it_is_in_force(void **state)
{
    struct fixture *fixture = start(100, 64 * MIB, 0, ANSWERS);
    _Atomic unsigned told = 0;
    struct test_row rows[3];
    struct slice ids[3], none = SLICE("no UUID");
    for (uint64_t i = 0; i < 3; i++) {
        test_row(&rows[i], 98 + i); /* disabled, deleted, made */
        ids[i] = rows[i].row.id;
    }
    set_key(fixture, 98, true, true), set_key(fixture, 99, false, false), set_key(fixture, 100, true, false);
    key_lookups_changed(fixture->lookups, ids, 3, count_told, &told);
    EVENTUALLY(atomic_load(&told) == 1);
    assert_int_equal(look(fixture, 98), API_KEY_DISABLED);
    assert_int_equal(look(fixture, 99), API_KEY_UNKNOWN);
    assert_int_equal(look(fixture, 100), API_KEY_FOUND);
    key_lookups_changed(fixture->lookups, &none, 1, count_told, &told);
    assert_int_equal(atomic_load(&told), 2);
    key_lookups_changed(fixture->lookups, NULL, 0, count_told, &told);
    EVENTUALLY(atomic_load(&told) == 3);
    EVENTUALLY(!figures_of(fixture).is_loading);
    set_condition(fixture, IS_AWAY);
    key_lookups_changed(fixture->lookups, &ids[2], 1, count_told, &told);
    EVENTUALLY(atomic_load(&told) == 4);
    assert_int_equal(look(fixture, 100), API_KEY_AWAY);
    end(fixture);
    assert_int_equal(atomic_load(&told), 4);
}

/* What was to be read again is forgotten when everything is; who waits for a later change is told all the same. */
static void a_change_behind_a_new_beginning_is_told_too(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    _Atomic unsigned told = 0;
    struct test_row row;
    test_row(&row, 5);
    hold(fixture, true);
    ask(fixture, 29999);
    wait_until_held(fixture);
    key_lookups_changed(fixture->lookups, &row.row.id, 1, count_told, &told);
    key_lookups_changed(fixture->lookups, NULL, 0, count_told, &told);
    hold(fixture, false);
    EVENTUALLY(atomic_load(&told) == 2);
    key_lookups_changed(fixture->lookups, &row.row.id, 1, count_told, &told);
    EVENTUALLY(atomic_load(&told) == 3);
    end(fixture);
}

static void after_something_was_missed_all_keys_are_read_anew(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, ANSWERS);
    set_key(fixture, 7, false, false);
    set_key(fixture, 9000, true, false);
    key_lookups_changed(fixture->lookups, NULL, 0, NULL, NULL);
    EVENTUALLY(figures_of(fixture).loads == 2);
    assert_true(api_keys_is_whole(fixture->keys));
    assert_int_equal(look(fixture, 7), API_KEY_UNKNOWN);
    assert_int_equal(look(fixture, 8), API_KEY_FOUND);
    assert_int_equal(look(fixture, 9000), API_KEY_FOUND);
    end(fixture);
}

static void while_all_is_read_anew_nothing_of_before_is_believed(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, ANSWERS);
    set_condition(fixture, IS_AWAY);
    key_lookups_changed(fixture->lookups, NULL, 0, NULL, NULL);
    EVENTUALLY(look(fixture, 7) == API_KEY_AWAY);
    assert_int_equal(look(fixture, 5001), API_KEY_AWAY);
    set_key(fixture, 7, false, false);
    set_condition(fixture, ANSWERS);
    EVENTUALLY(look(fixture, 7) == API_KEY_UNKNOWN);
    assert_int_equal(look(fixture, 8), API_KEY_FOUND);
    end(fixture);
}

static void many_changes_at_once_are_all_read_again(void **state)
{
    struct fixture *fixture = start(5000, 64 * MIB, 0, ANSWERS);
    static struct test_row rows[5000];
    static struct slice ids[5001];
    for (uint64_t i = 0; i < 5000; i++) {
        test_row(&rows[i], i);
        ids[i] = rows[i].row.id;
        set_key(fixture, i, i % 2, false);
    }
    ids[5000] = SLICE("no UUID, so no key");
    key_lookups_changed(fixture->lookups, ids, COUNT_OF(ids), NULL, NULL);
    EVENTUALLY(figures_of(fixture).reread == 5000);
    for (uint64_t i = 0; i < 5000; i++) assert_int_equal(look(fixture, i), i % 2 ? API_KEY_FOUND : API_KEY_UNKNOWN);
    end(fixture);
}

static void a_damaged_row_is_not_asked_for_again_at_once(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    set_condition(fixture, IS_DAMAGED);
    ask(fixture, 29999);
    EVENTUALLY(answers(fixture, API_KEY_AWAY) == 1);
    assert_int_equal(look(fixture, 29999), API_KEY_AWAY);
    assert_true(figures_of(fixture).is_answering);
    assert_int_equal(finds_of(fixture), 1);
    end(fixture);
}

static void uses_are_written_also_at_the_end(void **state)
{
    struct fixture *fixture = start(1000, 64 * MIB, 0, ANSWERS);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 700; i++) {
            uint8_t hash[API_KEY_HASH_BYTES];
            struct api_key key;
            test_hash(i, hash);
            assert_int_equal(api_keys_find(fixture->keys, (unsigned)round, hash, now_us(), &key), API_KEY_FOUND);
            api_keys_note_use(fixture->keys, (unsigned)round, &key, now_us());
        }
    }
    key_lookups_stop(fixture->lookups);
    assert_int_equal(fixture->store.uses, 700);
    end(fixture);
}

static void who_still_waits_at_the_end_is_told(void **state)
{
    struct fixture *fixture = start(30000, MIB, 0, ANSWERS);
    hold(fixture, true);
    for (uint64_t i = 0; i < 200; i++) ask(fixture, 29000 + i);
    wait_until_held(fixture);
    pthread_mutex_lock(&fixture->store.lock);
    fixture->store.condition = IS_AWAY;
    fixture->store.holds = false;
    pthread_cond_broadcast(&fixture->store.changed);
    pthread_mutex_unlock(&fixture->store.lock);
    key_lookups_stop(fixture->lookups);
    assert_int_equal(answers(fixture, API_KEY_FOUND) + answers(fixture, API_KEY_AWAY), 200);
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_the_start_all_keys_are_read),
        cmocka_unit_test(a_key_that_is_not_in_memory_is_asked_once_for_all_who_wait),
        cmocka_unit_test(an_unknown_key_is_asked_once_and_remembered),
        cmocka_unit_test(beyond_the_bound_askers_are_turned_away_at_once),
        cmocka_unit_test(with_the_store_away_who_waits_is_told_and_who_comes_too),
        cmocka_unit_test(a_store_that_is_away_at_the_start_is_read_when_it_comes),
        cmocka_unit_test(a_revoked_key_lets_nobody_in_once_word_of_it_came),
        cmocka_unit_test(a_key_changed_while_the_store_is_away_lets_nobody_in),
        cmocka_unit_test(what_was_read_before_a_change_does_not_outlast_it),
        cmocka_unit_test(a_change_is_told_when_it_is_in_force),
        cmocka_unit_test(a_change_behind_a_new_beginning_is_told_too),
        cmocka_unit_test(after_something_was_missed_all_keys_are_read_anew),
        cmocka_unit_test(while_all_is_read_anew_nothing_of_before_is_believed),
        cmocka_unit_test(many_changes_at_once_are_all_read_again),
        cmocka_unit_test(a_damaged_row_is_not_asked_for_again_at_once),
        cmocka_unit_test(uses_are_written_also_at_the_end),
        cmocka_unit_test(who_still_waits_at_the_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
