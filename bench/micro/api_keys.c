/* What an API key costs: nanoseconds for a look-up among many, its SHA-256 included, and the time and memory to have them in the index.
 *
 *   bench/micro/api_keys [--json] [--rounds N, default 7] [--memory BYTES] [KEYS..., default 1,000 and 1,000,000]
 *
 * Keys are asked for in random order by their text, so that nothing of the one before is of use. Bar of issue 6: 350 ns among 1,000,000. The
 * rows come from this program; with a store, see tests/integration/test_api_keys_slow.py. */
#include "keys/api_keys.h"
#include "base/clock.h"
#include "base/random.h"
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOKS 400000
#define LOOKS_A_TURN 16
#define ROUNDS_MAX 99
#define PAGE 1000
#define NOW_US UINT64_C(1767225600000000)

/* Any 43 characters do: what is measured doesn't look at them. */
static struct slice text_of(uint64_t number, char into[44])
{
    return slice_of(into, (size_t)snprintf(into, 44, "%043llu", (unsigned long long)number * 2654435761u));
}

struct made_row {
    struct api_key_row row;
    char id[37], client[37];
};

static void make_row(uint64_t number, struct made_row *made)
{
    static const char *const scopes[] = { "read", "read write", "admin", "orders:read orders:write", "" };
    struct api_key_row *row = &made->row;
    char text[44];
    uint8_t uuid[16] = { 1 };
    *row = (struct api_key_row){ 0 };
    memcpy(uuid + 8, &number, 8);
    api_key_uuid_write(uuid, made->id);
    uuid[0] = 2;
    api_key_uuid_write(uuid, made->client);
    api_key_hash(text_of(number, text), row->hash);
    row->id = slice_of(made->id, 36);
    row->client_id = slice_of(made->client, 36);
    row->scopes = slice_from_cstring(scopes[number % 5]);
    row->rate_limit_tier = SLICE("standard");
    row->enabled = true;
}

/* A page of rows is made, then put: only that is timed, but all of it, as now and then one put does the work of many. */
static double load(struct api_keys *keys, uint64_t count)
{
    static struct made_row page[PAGE];
    uint64_t spent = 0;
    api_keys_load_begin(keys);
    api_keys_reserve(keys, count);
    for (uint64_t first = 0; first < count; first += PAGE) {
        uint64_t length = count - first < PAGE ? count - first : PAGE;
        for (uint64_t i = 0; i < length; i++) make_row(first + i, &page[i]);
        uint64_t begin = thread_ns();
        for (uint64_t i = 0; i < length; i++) {
            if (!api_keys_put(keys, &page[i].row, API_KEY_KEEP_IF_ROOM)) break;
        }
        spent += thread_ns() - begin;
    }
    api_keys_load_end(keys, true);
    return (double)spent / 1e9;
}

enum what { WHOLE_LOOK, LOOK_ALONE, MISS };

static double time_looks(struct api_keys *keys, uint64_t count, enum what what, struct random *random)
{
    static char texts[LOOKS][44];
    static uint8_t hashes[LOOKS][API_KEY_HASH_BYTES];
    for (size_t i = 0; i < LOOKS; i++) {
        uint64_t number = random_below(random, count) + (what == MISS ? UINT32_MAX : 0);
        api_key_hash(text_of(number, texts[i]), hashes[i]);
    }
    uint64_t wrong = 0, begin = thread_ns();
    for (size_t i = 0; i < LOOKS; i++) {
        uint8_t hash[API_KEY_HASH_BYTES];
        struct api_key key;
        if (what != LOOK_ALONE) api_key_hash(slice_of(texts[i], 43), hash);
        enum api_key_found found = api_keys_find(keys, 0, what == LOOK_ALONE ? hashes[i] : hash, NOW_US, &key);
        if (found == API_KEY_FOUND) api_keys_note_use(keys, 0, &key, NOW_US);
        wrong += found != (what == MISS ? API_KEY_UNKNOWN : API_KEY_FOUND);
        if (i % LOOKS_A_TURN == 0) api_keys_quiesce(keys, 0);
    }
    double each = (double)(thread_ns() - begin) / LOOKS;
    if (wrong) fprintf(stderr, "%llu look-ups told something else\n", (unsigned long long)wrong), exit(1);
    return each;
}

/* As in a gateway that has run for a while: the first uses of a key in a minute, and ever, are written down. */
static void warm_up(struct api_keys *keys, uint64_t count)
{
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    for (uint64_t i = 0; i < 3 * count; i++) {
        char text[44];
        uint8_t hash[API_KEY_HASH_BYTES];
        struct api_key key;
        api_key_hash(text_of(i % count, text), hash);
        if (api_keys_find(keys, 0, hash, NOW_US, &key) == API_KEY_FOUND) api_keys_note_use(keys, 0, &key, NOW_US);
        if (i % 256 == 0) api_keys_take_uses(keys, uses);
        if (i % LOOKS_A_TURN == 0) api_keys_quiesce(keys, 0);
    }
}

static double median_of(struct api_keys *keys, uint64_t count, enum what what, int rounds, struct random *random)
{
    double each[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) each[i] = time_looks(keys, count, what, random);
    qsort(each, (size_t)rounds, sizeof *each, compare_doubles);
    return each[rounds / 2];
}

static void measure(uint64_t count, uint64_t bytes_max, int rounds, bool json)
{
    struct error error;
    struct api_keys *keys = api_keys_create(&(struct api_keys_options){ bytes_max, 1 }, &error);
    struct random random;
    if (!keys) fprintf(stderr, "%s\n", error.text), exit(1);
    random_init_seeded(&random, 1);
    double before = resident_mb(), put_s = load(keys, count), after = resident_mb();
    struct api_keys_figures figures;
    api_keys_figures(keys, &figures);
    if (!figures.is_whole) fprintf(stderr, "%llu keys need more than --memory\n", (unsigned long long)count), exit(1);
    warm_up(keys, count);
    double hit = median_of(keys, count, WHOLE_LOOK, rounds, &random);
    double alone = median_of(keys, count, LOOK_ALONE, rounds, &random);
    double miss = median_of(keys, count, MISS, rounds, &random);
    const char *format =
        json ? "{\"keys\": %llu, \"hit_ns\": %.0f, \"hit_without_hashing_ns\": %.0f, \"miss_ns\": %.0f, "
               "\"put_s\": %.2f, \"bytes_a_key\": %.1f, \"resident_mb\": %.1f}\n"
             : "%9llu keys: hit %4.0f ns (%4.0f without SHA-256), miss %4.0f ns; put in %5.2f s, %5.1f bytes a "
               "key, %5.1f MB more resident\n";
    printf(format, (unsigned long long)count, hit, alone, miss, put_s, (double)figures.bytes / (double)count,
           after - before);
    api_keys_destroy(keys);
}

int main(int count, char **arguments)
{
    bool json = false, measured = false;
    int rounds = 7;
    uint64_t bytes_max = UINT64_C(256) << 20;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--rounds") == 0 && i + 1 < count && atoi(arguments[i + 1]) > 0) {
            rounds = atoi(arguments[++i]) < ROUNDS_MAX ? atoi(arguments[i]) : ROUNDS_MAX;
        } else if (strcmp(arguments[i], "--memory") == 0 && i + 1 < count) {
            bytes_max = strtoull(arguments[++i], NULL, 10);
        } else if (atoll(arguments[i]) > 0) {
            measure((uint64_t)atoll(arguments[i]), bytes_max, rounds, json);
            measured = true;
        } else {
            fprintf(stderr, "usage: api_keys [--json] [--rounds N] [--memory BYTES] [KEYS...]\n");
            return 2;
        }
    }
    if (!measured) {
        measure(1000, bytes_max, rounds, json);
        measure(1000000, bytes_max, rounds, json);
    }
    return 0;
}
