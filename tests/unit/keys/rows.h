/* Rows of API keys for the tests of keys/: number N is always the same key, with the hash of the text "key N". */
#ifndef SLUICE_UNIT_KEYS_ROWS_H
#define SLUICE_UNIT_KEYS_ROWS_H

#include "keys/api_keys.h"

#include <stdio.h>

struct test_row {
    struct api_key_row row;
    char id[API_KEY_UUID_BYTES], client[API_KEY_UUID_BYTES];
};

static inline void test_hash(uint64_t number, uint8_t hash[API_KEY_HASH_BYTES])
{
    char text[32];
    int length = snprintf(text, sizeof text, "key %llu", (unsigned long long)number);
    api_key_hash(slice_of(text, (size_t)length), hash);
}

static inline void test_uuid(uint64_t number, uint8_t kind, char into[API_KEY_UUID_BYTES])
{
    uint8_t bytes[16] = { kind };
    for (int i = 0; i < 8; i++) bytes[15 - i] = (uint8_t)(number >> (8 * i));
    api_key_uuid_write(bytes, into);
}

static inline void test_row(struct test_row *into, uint64_t number)
{
    *into = (struct test_row){ 0 };
    test_uuid(number, 1, into->id);
    test_uuid(number, 2, into->client);
    test_hash(number, into->row.hash);
    into->row.id = slice_of(into->id, API_KEY_UUID_BYTES - 1);
    into->row.client_id = slice_of(into->client, API_KEY_UUID_BYTES - 1);
    into->row.prefix = SLICE("abcdefgh");
    into->row.client_name = SLICE("a client");
    into->row.rate_limit_tier = SLICE("standard");
    into->row.scopes = SLICE("read write");
    into->row.enabled = true;
    into->row.created_us = 1 + number;
}

#endif
