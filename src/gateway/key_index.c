/* gateway/key_index.c: see key_index.h. */
#include "gateway/key_index.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vector.h"

#include <stdio.h>
#include <stdlib.h>

#define STATEMENT_MS_MAX 2000 /* who waits for a look-up waits no longer than that for a store that hangs */

bool key_index_create(struct key_index *index, const struct configuration *configuration, unsigned workers,
                      const char *store, const char *copy_path, struct error *error)
{
    struct api_keys_options options = { .bytes_max = configuration->api_key_memory_bytes, .readers = workers };
    index->keys = api_keys_create(&options, error);
    if (!index->keys) return false;
    if (!store) return true;
    struct store_settings settings = { .location = store, .timeout_ms = STATEMENT_MS_MAX };
    struct key_lookups_options lookups = { .keys = index->keys,
                                           .source = key_source_of_store(&settings),
                                           .copy_path = copy_path };
    index->lookups = key_lookups_create(&lookups, error);
    if (!index->lookups) key_index_release(index);
    return index->lookups != NULL;
}

bool key_index_start(struct key_index *index, struct error *error)
{
    if (!index->lookups) return true;
    /* What is read from here on is of now. */
    api_keys_store_heard(index->keys, clock_wall_ns() / 1000, true);
    return key_lookups_start(index->lookups, error);
}

void key_index_stop(struct key_index *index)
{
    if (index->lookups) key_lookups_stop(index->lookups);
}

void key_index_release(struct key_index *index)
{
    key_lookups_destroy(index->lookups);
    api_keys_destroy(index->keys);
    *index = (struct key_index){ 0 };
}

/* --- changes --- */

void key_index_changed(void *argument, const struct slice *ids, size_t count, void (*in_force)(void *argument),
                       void *in_force_argument)
{
    struct key_index *index = argument;
    if (index->lookups) {
        key_lookups_changed(index->lookups, ids, count, in_force, in_force_argument);
    } else if (in_force) {
        in_force(in_force_argument);
    }
}

void key_index_heard(struct key_index *index, struct changes *changes)
{
    struct changes_health health;
    if (!index->lookups) return;
    changes_health(changes, &health);
    api_keys_store_heard(index->keys, health.heard_us, health.store_is_there);
}

/* --- a file's keys --- */

struct file_keys {
    struct arena arena;
    struct vector rows; /* struct api_key_row, in the arena */
};

/* "sha256:" and 64 hexadecimal digits, as the schema has checked. */
static bool read_hash(struct slice text, uint8_t hash[API_KEY_HASH_BYTES])
{
    static const struct slice prefix = { "sha256:", 7 };
    if (!slice_starts_with(text, prefix) || text.length != prefix.length + 2 * API_KEY_HASH_BYTES) return false;
    for (size_t i = 0; i < API_KEY_HASH_BYTES; i++) {
        char digits[3] = { text.at[prefix.length + 2 * i], text.at[prefix.length + 2 * i + 1], '\0' };
        char *end;
        hash[i] = (uint8_t)strtoul(digits, &end, 16);
        if (end != digits + 2) return false;
    }
    return true;
}

static struct slice join(struct file_keys *file, const struct slice_list *scopes)
{
    struct slice *pieces = memory_allocate_array(2 * scopes->count + 1, sizeof *pieces);
    size_t count = 0;
    for (size_t i = 0; i < scopes->count; i++) {
        if (i > 0) pieces[count++] = SLICE(" ");
        pieces[count++] = scopes->items[i];
    }
    struct slice joined = count ? arena_join(&file->arena, pieces, count) : SLICE("");
    free(pieces);
    return joined;
}

static void read_key(struct file_keys *file, const struct api_key_config *config)
{
    static const struct slice tiers[] = { { "free", 4 }, { "standard", 8 }, { "premium", 7 } };
    struct api_key_row row = {
        .id = arena_keep(&file->arena, config->id),
        .client_id = arena_keep(&file->arena, slice_is_absent(config->client_id) ? config->id : config->client_id),
        .scopes = join(file, &config->scopes),
        .rate_limit_tier = tiers[config->rate_limit_tier],
        .enabled = config->enabled,
        .expires_at_us = config->expires_at_us,
    };
    if (read_hash(config->hash_text, row.hash)) {
        vector_push_copy(&file->rows, &row);
    } else {
        log_warning("API key %.*s has no hash, so nobody can use it", SLICE_PRINT(config->id));
    }
}

struct file_keys *key_index_read_file(const struct key_index *index, const struct configuration *configuration)
{
    struct file_keys *file = memory_allocate(sizeof *file);
    arena_init(&file->arena, NULL);
    vector_init(&file->rows, sizeof(struct api_key_row));
    for (size_t i = 0; !index->lookups && i < configuration->api_keys.count; i++) {
        read_key(file, &((const struct api_key_config *)configuration->api_keys.items)[i]);
    }
    return file;
}

void key_index_put_file(struct key_index *index, const struct file_keys *file)
{
    if (index->lookups || !index->keys) return;
    api_keys_load_begin(index->keys);
    api_keys_reserve(index->keys, file->rows.count);
    size_t left_out = 0;
    for (size_t i = 0; i < file->rows.count; i++) {
        if (!api_keys_put(index->keys, vector_at(&file->rows, i), API_KEY_KEEP_IF_ROOM)) left_out++;
    }
    api_keys_load_end(index->keys, true);
    if (left_out > 0) log_error("apiKeyMemory is too small: %zu API keys are not in force", left_out);
}

void key_index_forget_file(struct file_keys *file)
{
    arena_release(&file->arena);
    vector_release(&file->rows);
    free(file);
}

/* --- figures --- */

static void write_line(struct metrics_text *text, const char *name, const char *type, const char *help, uint64_t value)
{
    metrics_text_head(text, name, type, help);
    metrics_text_line(text, name, NULL, value);
}

static void write_lookups(struct metrics_text *text, const struct api_keys_figures *figures)
{
    metrics_text_head(text, "sluice_api_key_lookups_total", "counter",
                      "Look-ups of API keys in memory, by what they said; ask: the store was asked.");
    for (int i = 0; i < API_KEY_FOUND_COUNT; i++) {
        char label[32];
        snprintf(label, sizeof label, "result=\"%s\"", api_key_found_words[i]);
        metrics_text_line(text, "sluice_api_key_lookups_total", label, figures->found[i]);
    }
}

void key_index_write_metrics(const struct key_index *index, struct metrics_text *text)
{
    struct api_keys_figures figures;
    if (!index->keys) return;
    api_keys_figures(index->keys, &figures);
    write_line(text, "sluice_api_keys", "gauge", "API keys in memory.", figures.keys);
    write_line(text, "sluice_api_keys_whole", "gauge", "1: every key there is is in memory.", figures.is_whole);
    write_line(text, "sluice_api_key_memory_bytes", "gauge", "Memory of the index of API keys.", figures.bytes);
    write_line(text, "sluice_api_keys_evicted_total", "counter", "API keys that went for others to come.",
               figures.evicted);
    write_lookups(text, &figures);
    if (!index->lookups) return;
    struct key_lookups_figures lookups;
    key_lookups_figures(index->lookups, &lookups);
    write_line(text, "sluice_api_key_store_lookups_total", "counter", "API keys that the store was asked for.",
               lookups.asked);
    write_line(text, "sluice_api_key_store_failures_total", "counter", "Calls of the store about API keys that failed.",
               lookups.failed);
    write_line(text, "sluice_api_key_lookups_shed_total", "counter",
               "Look-ups turned away because too many waited for the store.", lookups.overloaded);
}
