/* The gateway's index of API keys: without a store, what a file says is in force as a whole; with one, how long it is believed. */
#include "unit_test.h"

#include "base/memory.h"
#include "gateway/key_index.h"

#include <stdlib.h>
#include <unistd.h>

#define NOW_US UINT64_C(1767225600000000)
#define A_HASH "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* of "abc" */

static struct slice scopes[] = { { "read", 4 }, { "write", 5 } };

static struct api_key_config a_key(const char *id, const char *hash)
{
    return (struct api_key_config){
        .id = slice_from_cstring(id),
        .client_id = SLICE("the shop on the corner"),
        .hash_text = slice_from_cstring(hash),
        .scopes = { scopes, COUNT_OF(scopes) },
        .rate_limit_tier = API_KEY_PREMIUM,
        .enabled = true,
    };
}

static void put_file(struct key_index *index, struct configuration *configuration, struct api_key_config *keys,
                     size_t count)
{
    configuration->api_keys = (struct object_list){ keys, count };
    struct file_keys *file = key_index_read_file(index, configuration);
    key_index_put_file(index, file);
    key_index_forget_file(file);
}

static enum api_key_found find(struct key_index *index, struct slice text, struct api_key *key)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    api_key_hash(text, hash);
    return api_keys_find(index->keys, 0, hash, NOW_US, key);
}

static void start(struct key_index *index, struct configuration *configuration)
{
    struct error error;
    *index = (struct key_index){ 0 };
    *configuration = (struct configuration){ .api_key_memory_bytes = 1u << 20 };
    assert_true(key_index_create(index, configuration, 1, NULL, NULL, &error));
    assert_true(key_index_start(index, &error));
}

static void a_files_keys_are_found_and_all_others_unknown(void **state)
{
    struct key_index index;
    struct configuration configuration;
    struct api_key key;
    char into[API_KEY_UUID_BYTES];
    start(&index, &configuration);
    struct api_key_config keys[] = { a_key("01890a5d-ac96-774b-bcce-b302099a8057", A_HASH) };
    put_file(&index, &configuration, keys, 1);
    assert_int_equal(find(&index, SLICE("abc"), &key), API_KEY_FOUND);
    assert_slice_is(api_key_client_id(&key, into), "the shop on the corner");
    assert_slice_is(key.scopes, "read write");
    assert_int_equal(key.tier, API_KEY_PREMIUM);
    assert_int_equal(find(&index, SLICE("abd"), &key), API_KEY_UNKNOWN);
    key_index_stop(&index);
    key_index_release(&index);
}

static void what_the_next_file_does_not_say_is_gone(void **state)
{
    struct key_index index;
    struct configuration configuration;
    struct api_key key;
    start(&index, &configuration);
    struct api_key_config keys[] = { a_key("01890a5d-ac96-774b-bcce-b302099a8057", A_HASH) };
    put_file(&index, &configuration, keys, 1);
    put_file(&index, &configuration, keys, 0);
    assert_int_equal(find(&index, SLICE("abc"), &key), API_KEY_UNKNOWN);
    key_index_release(&index);
}

/* A client without an id is called by its key's; a key without a hash, or with something else in its place, is nobody's. */
static void odd_keys_let_nobody_in(void **state)
{
    static const char *const hashes[] = { "sha256:", "sha256:ba", "md5:900150983cd24fb0d6963f7d28e17f72",
                                          "sha256:zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                                          NULL };
    struct key_index index;
    struct configuration configuration;
    struct api_key key;
    struct api_keys_figures figures;
    char into[API_KEY_UUID_BYTES];
    start(&index, &configuration);
    struct api_key_config keys[COUNT_OF(hashes) + 1];
    for (size_t i = 0; i < COUNT_OF(hashes); i++) keys[i] = a_key("01890a5d-ac96-774b-bcce-b302099a8050", hashes[i]);
    keys[COUNT_OF(hashes)] = a_key("01890a5d-ac96-774b-bcce-b302099a8057", A_HASH);
    keys[COUNT_OF(hashes)].client_id = SLICE_ABSENT;
    put_file(&index, &configuration, keys, COUNT_OF(keys));
    api_keys_figures(index.keys, &figures);
    assert_int_equal(figures.keys, 1);
    assert_int_equal(find(&index, SLICE("abc"), &key), API_KEY_FOUND);
    assert_slice_is(api_key_client_id(&key, into), "01890a5d-ac96-774b-bcce-b302099a8057");
    key_index_release(&index);
}

/* --- with a store --- */

/* The control thread comes by at any time: what counts is when the store was asked, which a gateway that lost it did long ago. */
static void keys_in_memory_are_believed_from_when_the_store_was_asked(void **state)
{
    char folder[] = "/tmp/sluice-key-index-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *store = memory_format("sqlite:%s/store.db", folder);
    struct configuration configuration = { .api_key_memory_bytes = 1u << 20 };
    struct policy_kinds kinds = { 0 };
    struct changes_options options = { .store = store, .folder = folder, .kinds = &kinds };
    struct changes_health health;
    struct key_index index = { 0 };
    struct error error;
    struct changes *changes = changes_create(&options, &error);
    if (!changes) fail_msg("%s", error.text);
    changes_health(changes, &health);
    assert_true(key_index_create(&index, &configuration, 1, store, NULL, &error));
    usleep(20000);
    key_index_heard(&index, changes);
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    api_key_hash(SLICE("abc"), hash);
    uint64_t end_us = health.heard_us + 60000000;
    assert_int_equal(api_keys_find(index.keys, 0, hash, end_us, &key), API_KEY_ASK);
    assert_int_equal(api_keys_find(index.keys, 0, hash, end_us + 1, &key), API_KEY_AWAY);
    key_index_release(&index);
    changes_destroy(changes);
    char *remove = memory_format("rm -rf %s", folder);
    assert_int_equal(system(remove), 0);
    free(remove);
    free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_files_keys_are_found_and_all_others_unknown),
        cmocka_unit_test(what_the_next_file_does_not_say_is_gone),
        cmocka_unit_test(odd_keys_let_nobody_in),
        cmocka_unit_test(keys_in_memory_are_believed_from_when_the_store_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
