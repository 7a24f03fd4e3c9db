/* The index against a plain list of what was put, over random schedules: whatever else it does, it never tells what is not so. */
#include "unit_test.h"

#include "base/memory.h"
#include "base/random.h"
#include "keys/rows.h"

#define NOW_US UINT64_C(1767225600000000)
#define KEYS 3000 /* numbers of ids; each may have one of VERSIONS hashes, and other facts with it */
#define VERSIONS 3
#define STEPS 60000

/* The truth: what a store would have. */
struct model {
    bool is_there[KEYS];
    unsigned version[KEYS];
    bool in_doubt[KEYS]; /* changed in the store, and the index was only told to doubt it */
};

static uint64_t hash_number(uint64_t key, unsigned version) { return key * VERSIONS + version; }

static void version_row(struct test_row *row, uint64_t key, unsigned version)
{
    static const char *const clients[] = { "", "short", "a client whose name is long, and no UUID" };
    test_row(row, key);
    test_hash(hash_number(key, version), row->row.hash);
    row->row.scopes = version == 1 ? SLICE("admin") : version == 2 ? SLICE("") : SLICE("read write");
    row->row.enabled = version != 2 || key % 2 == 0;
    row->row.expires_at_us = key % 7 == 3 ? NOW_US : 0;
    if (key % 3 == 1) row->row.client_id = slice_from_cstring(clients[version]);
}

static enum api_key_found truth(const struct model *model, uint64_t key, unsigned version, struct test_row *row)
{
    if (!model->is_there[key] || model->version[key] != version) return API_KEY_UNKNOWN;
    version_row(row, key, version);
    if (!row->row.enabled) return API_KEY_DISABLED;
    return row->row.expires_at_us ? API_KEY_EXPIRED : API_KEY_FOUND;
}

static void check(struct api_keys *keys, unsigned reader, const struct model *model, uint64_t number)
{
    uint64_t at = number / VERSIONS;
    unsigned version = (unsigned)(number % VERSIONS);
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    struct test_row row;
    char into[API_KEY_UUID_BYTES];
    test_hash(number, hash);
    enum api_key_found found = api_keys_find(keys, reader, hash, NOW_US, &key);
    enum api_key_found expected = truth(model, at, version, &row);
    /* In doubt, nobody is let in; by a hash that it may have now, it is not known yet. */
    if (model->in_doubt[at]) {
        assert_true(found == API_KEY_ASK || found == API_KEY_UNKNOWN);
        return;
    }
    if (found == API_KEY_ASK && !api_keys_is_whole(keys)) return;
    assert_int_equal(found, expected);
    if (found == API_KEY_UNKNOWN) return;
    assert_slice_is(api_key_id(&key, into), row.id);
    assert_true(slice_equal(api_key_client_id(&key, into), row.row.client_id));
    assert_true(slice_equal(key.scopes, row.row.scopes));
}

static void put(struct api_keys *keys, struct model *model, uint64_t key, enum api_key_keep keep)
{
    struct test_row row;
    version_row(&row, key, model->version[key]);
    if (!api_keys_put(keys, &row.row, keep)) assert_false(api_keys_is_whole(keys));
    model->in_doubt[key] = false;
}

static void load(struct api_keys *keys, struct model *model)
{
    api_keys_load_begin(keys);
    for (uint64_t key = 0; key < KEYS; key++) {
        if (model->is_there[key]) put(keys, model, key, API_KEY_KEEP_IF_ROOM);
    }
    api_keys_load_end(keys, true);
    for (uint64_t key = 0; key < KEYS && api_keys_is_whole(keys); key++) model->in_doubt[key] = false;
}

static void step(struct api_keys *keys, struct model *model, struct random *random)
{
    uint64_t key = random_below(random, KEYS);
    struct test_row row;
    version_row(&row, key, 0);
    switch (random_below(random, 1000) == 0 ? 9 : random_below(random, 9)) {
    case 0:
    case 1:
    case 2: /* made or changed */
        model->is_there[key] = true;
        model->version[key] = (unsigned)random_below(random, VERSIONS);
        put(keys, model, key, random_below(random, 4) ? API_KEY_KEEP : API_KEY_KEEP_IF_ROOM);
        break;
    case 3: /* deleted */
        model->is_there[key] = model->in_doubt[key] = false;
        api_keys_remove(keys, row.row.id);
        break;
    case 4: /* changed or deleted elsewhere */
        if (!api_keys_doubt(keys, row.row.id)) break;
        model->in_doubt[key] = true;
        model->is_there[key] = random_below(random, 2);
        model->version[key] = random_below(random, 2) ? model->version[key] : 0;
        break;
    case 5: { /* asked for and not there */
        uint8_t hash[API_KEY_HASH_BYTES];
        unsigned version = (unsigned)random_below(random, VERSIONS);
        test_hash(hash_number(key, version), hash);
        bool is_there = model->is_there[key] && model->version[key] == version;
        if (!is_there && !model->in_doubt[key]) api_keys_put_absent(keys, hash, false, NOW_US);
        break;
    }
    case 6: api_keys_quiesce(keys, (unsigned)random_below(random, 2)); break;
    case 7: /* asked for and there */
        if (model->is_there[key] && !model->in_doubt[key]) put(keys, model, key, API_KEY_KEEP);
        break;
    case 8: api_keys_reclaim(keys); break;
    default:
        if (random_below(random, 2))
            api_keys_distrust(keys);
        else
            load(keys, model);
    }
}

static void run(uint64_t seed, uint64_t bytes_max)
{
    struct error error;
    struct api_keys *keys = api_keys_create(&(struct api_keys_options){ bytes_max, 2 }, &error);
    struct model *model = memory_allocate(sizeof *model);
    struct random random;
    random_init_seeded(&random, seed);
    assert_non_null(keys);
    api_keys_store_heard(keys, NOW_US, true);
    if (seed % 2) load(keys, model);
    for (unsigned i = 0; i < STEPS; i++) {
        step(keys, model, &random);
        for (unsigned j = 0; j < 2; j++) {
            check(keys, (unsigned)random_below(&random, 2), model, random_below(&random, KEYS * VERSIONS));
        }
        struct api_keys_figures figures;
        api_keys_figures(keys, &figures);
        assert_true(figures.bytes <= figures.bytes_max);
    }
    for (uint64_t number = 0; number < KEYS * VERSIONS; number++) check(keys, 0, model, number);
    load(keys, model);
    for (uint64_t number = 0; number < KEYS * VERSIONS; number++) check(keys, 0, model, number);
    api_keys_destroy(keys);
    free(model);
}

static void with_room_for_all_it_tells_exactly_what_was_put(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) run(seed, 64u << 20);
}

/* The least that an index takes is more than these keys need: so a ballast of other ones makes it tight. */
static void without_room_for_all_it_asks_but_never_tells_what_is_not_so(void **state)
{
    for (uint64_t seed = 11; seed <= 14; seed++) {
        struct error error;
        struct api_keys *keys = api_keys_create(&(struct api_keys_options){ 1u << 20, 2 }, &error);
        struct model *model = memory_allocate(sizeof *model);
        struct random random;
        random_init_seeded(&random, seed);
        api_keys_store_heard(keys, NOW_US, true);
        uint64_t ballast = KEYS * VERSIONS;
        for (unsigned i = 0; i < STEPS; i++) {
            for (unsigned j = 0; j < 4; j++) {
                struct test_row row;
                test_row(&row, ballast++);
                api_keys_put(keys, &row.row, API_KEY_KEEP);
            }
            if (i % 3) step(keys, model, &random);
            check(keys, (unsigned)random_below(&random, 2), model, random_below(&random, KEYS * VERSIONS));
        }
        struct api_keys_figures figures;
        api_keys_figures(keys, &figures);
        assert_true(figures.evicted > STEPS);
        assert_true(figures.bytes <= figures.bytes_max);
        api_keys_destroy(keys);
        free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_room_for_all_it_tells_exactly_what_was_put),
        cmocka_unit_test(without_room_for_all_it_asks_but_never_tells_what_is_not_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
