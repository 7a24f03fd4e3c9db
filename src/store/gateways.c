/* The gateways that share a store: a row each, written again and again. */
#include "store/private.h"

#define COLUMN_COUNT 6

bool store_is_shared(const struct store *store) { return store->driver->is_postgres; }

bool store_gateway_beat(struct store *store, const struct store_gateway *gateway, struct error *error)
{
    PROMISE(store_is_shared(store) && !store->is_writing);
    struct value values[] = { value_text(gateway->id), value_text(gateway->name), value_text(gateway->version),
                              value_integer((int64_t)gateway->revision), value_time(gateway->started_us) };
    struct execution beat = { .statement = STATEMENT_GATEWAY_BEAT, .values = values, .value_count = COUNT_OF(values) };
    return store_execute(store, &beat, error);
}

static bool take_gateway(void *argument, const struct value *columns, size_t count, struct error *error)
{
    const struct store_gateway_visitor *visitor = argument;
    if (count != COLUMN_COUNT || columns[0].type != VALUE_TEXT || columns[1].type != VALUE_TEXT ||
        columns[2].type != VALUE_TEXT)
        return store_refuse(error, STORE_DAMAGED, "table \"gateways\": a row makes no sense");
    struct store_gateway gateway = { .id = columns[0].text,
                                     .name = columns[1].text,
                                     .version = columns[2].text,
                                     .revision = (uint64_t)columns[3].number,
                                     .started_us = (uint64_t)columns[4].number,
                                     .seen_ago_ms = (uint64_t)columns[5].number };
    visitor->gateway(visitor->argument, &gateway);
    return true;
}

bool store_gateways_list(struct store *store, unsigned seconds, const struct store_gateway_visitor *visitor,
                         struct error *error)
{
    PROMISE(store_is_shared(store));
    struct value value = value_integer(seconds);
    struct execution list = { .statement = STATEMENT_GATEWAYS_LIST,
                              .values = &value,
                              .value_count = 1,
                              .row = take_gateway,
                              .argument = (void *)(uintptr_t)visitor };
    return store_execute(store, &list, error);
}

bool store_gateway_remove(struct store *store, struct slice id, struct error *error)
{
    PROMISE(store_is_shared(store) && !store->is_writing);
    struct value value = value_text(id);
    struct execution remove = { .statement = STATEMENT_GATEWAY_REMOVE, .values = &value, .value_count = 1 };
    return store_execute(store, &remove, error);
}
