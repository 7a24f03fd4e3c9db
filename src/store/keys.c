/* API keys: a table of up to tens of millions of rows, so there is an index for every question and none is answered from memory. */
#include "store/private.h"

#include "base/memory.h"

#include <inttypes.h>

enum {
    KEY_HASH,
    KEY_ID,
    KEY_PREFIX,
    KEY_CLIENT_ID,
    KEY_CLIENT_NAME,
    KEY_TIER,
    KEY_SCOPES,
    KEY_ENABLED,
    KEY_EXPIRES,
    KEY_CREATED,
    KEY_LAST_USED,
    KEY_REPLACES_UNTIL,
    KEY_TAGS,
    KEY_COLUMN_COUNT
};

struct key_reading {
    const struct api_key_visitor *visitor;
    uint64_t left; /* how many more are wanted */
    uint64_t count;
    bool is_enough;
};

static bool take_key(void *argument, const struct value *columns, size_t count, struct error *error)
{
    struct key_reading *reading = argument;
    if (reading->left == 0) {
        reading->is_enough = true;
        return false;
    }
    if (count != KEY_COLUMN_COUNT || columns[KEY_ID].type != VALUE_TEXT || columns[KEY_HASH].type != VALUE_BYTES ||
        columns[KEY_HASH].text.length != API_KEY_HASH_BYTES)
        return store_refuse(error, STORE_DAMAGED, "table \"api_keys\", row \"%.*s\": column \"key_hash\" is no SHA-256",
                            SLICE_PRINT(columns[KEY_ID].text));
    if (columns[KEY_TAGS].type == VALUE_TEXT && json_scan(columns[KEY_TAGS].text, 0) != columns[KEY_TAGS].text.length)
        return store_refuse(error, STORE_DAMAGED, "table \"api_keys\", row \"%.*s\": column \"tags\" is no JSON",
                            SLICE_PRINT(columns[KEY_ID].text));
    struct api_key_row row = { .id = columns[KEY_ID].text,
                               .prefix = columns[KEY_PREFIX].text,
                               .client_id = columns[KEY_CLIENT_ID].text,
                               .client_name = columns[KEY_CLIENT_NAME].text,
                               .rate_limit_tier = columns[KEY_TIER].text,
                               .scopes = columns[KEY_SCOPES].text,
                               .tags = columns[KEY_TAGS].text,
                               .enabled = columns[KEY_ENABLED].number != 0,
                               .expires_at_us = (uint64_t)columns[KEY_EXPIRES].number,
                               .created_us = (uint64_t)columns[KEY_CREATED].number,
                               .last_used_us = (uint64_t)columns[KEY_LAST_USED].number,
                               .replaces_until_us = (uint64_t)columns[KEY_REPLACES_UNTIL].number };
    memcpy(row.hash, columns[KEY_HASH].text.at, sizeof row.hash);
    reading->visitor->key(reading->visitor->argument, &row);
    reading->left--;
    reading->count++;
    return true;
}

static bool read_keys(struct store *store, enum statement statement, const struct value *values, size_t value_count,
                      const struct api_key_visitor *visitor, struct error *error)
{
    struct key_reading reading = { .visitor = visitor, .left = UINT64_MAX };
    struct execution execution = {
        .statement = statement, .values = values, .value_count = value_count, .row = take_key, .argument = &reading
    };
    return store_execute(store, &execution, error);
}

bool store_key_find(struct store *store, const uint8_t hash[API_KEY_HASH_BYTES], const struct api_key_visitor *visitor,
                    struct error *error)
{
    struct value value = value_bytes(slice_of((const char *)hash, API_KEY_HASH_BYTES));
    return read_keys(store, STATEMENT_KEY_FIND, &value, 1, visitor, error);
}

bool store_key_get(struct store *store, struct slice id, const struct api_key_visitor *visitor, struct error *error)
{
    if (!row_id_is_valid(id)) return true;
    struct value value = value_text(id);
    return read_keys(store, STATEMENT_KEY_GET, &value, 1, visitor, error);
}

bool store_keys_list(struct store *store, uint64_t after_us, struct slice after_id, struct slice client_id,
                     size_t limit, const struct api_key_visitor *visitor, struct error *error)
{
    bool is_of_client = !slice_is_absent(client_id);
    struct slice first = SLICE("00000000-0000-0000-0000-000000000000");
    struct value values[] = { { .type = VALUE_TIME, .number = (int64_t)after_us },
                              value_text(slice_is_absent(after_id) ? first : after_id),
                              value_integer(limit > INT64_MAX ? INT64_MAX : (int64_t)limit),
                              value_text(client_id) };
    return read_keys(store, is_of_client ? STATEMENT_KEYS_LIST_OF_CLIENT : STATEMENT_KEYS_LIST, values,
                     is_of_client ? 4 : 3, visitor, error);
}

bool store_keys_page(struct store *store, uint64_t after_us, struct slice after_id, size_t limit,
                     const struct api_key_visitor *visitor, struct error *error)
{
    struct slice first = store->driver->is_postgres ? SLICE("00000000-0000-0000-0000-000000000000") : SLICE("");
    struct value values[] = { { .type = VALUE_TIME, .number = (int64_t)after_us },
                              value_text(slice_is_absent(after_id) ? first : after_id),
                              value_integer(limit > INT64_MAX ? INT64_MAX : (int64_t)limit) };
    return read_keys(store, STATEMENT_KEYS_PAGE, values, COUNT_OF(values), visitor, error);
}

/* Piece by piece, each a statement with a time limit of its own. */
static bool each_by_cursor(struct store *store, struct key_reading *reading, struct error *error)
{
    struct execution open = { .statement = STATEMENT_KEYS_CURSOR };
    if (!store_execute(store, &open, error)) return false;
    uint64_t before;
    do {
        before = reading->count;
        struct execution fetch = { .statement = STATEMENT_KEYS_FETCH, .row = take_key, .argument = reading };
        if (!store_execute(store, &fetch, error)) return false;
    } while (reading->count > before);
    return true;
}

bool store_keys_each(struct store *store, uint64_t limit, const struct api_key_visitor *visitor, struct error *error)
{
    bool begun;
    if (!store_begin_read(store, &begun, error)) return false;
    struct key_reading reading = { .visitor = visitor, .left = limit };
    struct execution all = { .statement = STATEMENT_KEYS_EACH, .row = take_key, .argument = &reading };
    bool ok = store->driver->is_postgres ? each_by_cursor(store, &reading, error) : store_execute(store, &all, error);
    if (ok || !reading.is_enough) return store_end_read(store, begun, ok, error);
    if (begun) store_transaction_rollback(store);
    return true;
}

bool store_keys_count(struct store *store, uint64_t *count, struct error *error)
{
    struct execution execution = { .statement = STATEMENT_KEYS_COUNT, .row = store_take_number, .argument = count };
    return store_execute(store, &execution, error);
}

bool store_key_put(struct store *store, const struct api_key_row *row, struct error *error)
{
    PROMISE(store->is_writing);
    struct value values[KEY_COLUMN_COUNT] = {
        [KEY_HASH] = value_bytes(slice_of((const char *)row->hash, sizeof row->hash)),
        [KEY_ID] = value_text(row->id),
        [KEY_PREFIX] = value_text(row->prefix.at ? row->prefix : SLICE("")),
        [KEY_CLIENT_ID] = value_text(row->client_id.at ? row->client_id : row->id),
        [KEY_CLIENT_NAME] = value_text(row->client_name),
        [KEY_TIER] = value_text(row->rate_limit_tier.at ? row->rate_limit_tier : SLICE("standard")),
        [KEY_SCOPES] = value_text(row->scopes.at ? row->scopes : SLICE("")),
        [KEY_ENABLED] = value_boolean(row->enabled),
        [KEY_EXPIRES] = value_time(row->expires_at_us),
        [KEY_CREATED] = { .type = VALUE_TIME, .number = (int64_t)row->created_us },
        [KEY_LAST_USED] = value_time(row->last_used_us),
        [KEY_REPLACES_UNTIL] = value_time(row->replaces_until_us),
        [KEY_TAGS] = value_text(row->tags),
    };
    struct execution put = { .statement = STATEMENT_KEY_PUT, .values = values, .value_count = COUNT_OF(values) };
    return store_execute(store, &put, error);
}

bool store_key_remove(struct store *store, struct slice id, struct error *error)
{
    PROMISE(store->is_writing);
    struct value value = value_text(id);
    struct execution remove = { .statement = STATEMENT_KEY_REMOVE, .values = &value, .value_count = 1 };
    return store_execute(store, &remove, error);
}

bool store_keys_used(struct store *store, const struct api_key_use *uses, size_t count, struct error *error)
{
    PROMISE(!store->is_writing);
    if (count == 0) return true;
    size_t room = count * 80 + 8, length = 0;
    char *json = memory_allocate(room);
    for (size_t i = 0; i < count; i++) {
        PROMISE(uses[i].id.length <= 36);
        length += (size_t)snprintf(json + length, room - length, "%s{\"id\":\"%.*s\",\"at\":%" PRIu64 "}",
                                   i ? "," : "[", SLICE_PRINT(uses[i].id), uses[i].at_us);
    }
    json[length++] = ']';
    struct value value = value_text(slice_of(json, length));
    struct execution used = { .statement = STATEMENT_KEYS_USED, .values = &value, .value_count = 1 };
    bool ok = store_execute(store, &used, error);
    free(json);
    return ok;
}
