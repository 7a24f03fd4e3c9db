/* keys/key_place.c: which record a key gets.
 *
 * A reader that learned from the bucket where the record is would wait for memory twice, and that is what a look-up among a million keys
 * costs. So where there are many, a key's record is put, if it may be, into the group of four that its hash tells: the reader has the
 * bucket, the four records and their ids fetched at once, and finds what the bucket says there already. That is a hint and no more: of four
 * keys one finds its group full and gets any other number, and a look-up that fetched the wrong group has lost nothing.
 *
 * Groups need to be spread as widely as hashes are, so there are a twentieth more records than keys, all of them in use from the start (with
 * a fifth more, one key of six would find its group full: not worth twelve bytes for each). Therefore a load that is said to bring many
 * gets its groups when a quarter have come, fewer than GROUPS_FROM keys (which the processor's caches hold) have none, and where
 * apiKeyMemory is short, records are used up to the last one.
 *
 * More groups are other groups for nearly all keys: whoever was there before is moved, a few at each change, as if it had been changed.
 * That needs some room: where keys come without having been promised, there are a fifth more records. */
#include "keys/private.h"

#define GROUPS_FROM 8192
#define MOVES_AT_ONCE 32 /* records that are looked at for one that comes */
#define MOVE_ROUNDS 8    /* who moves makes room for others */

bool key_place_init(struct api_keys *keys)
{
    keys->record_count = 1;
    keys->free_numbers = key_pages_map((keys->record_limit / 64 + 1) * sizeof *keys->free_numbers);
    return keys->free_numbers != NULL;
}

void key_place_release(struct api_keys *keys)
{
    key_pages_unmap(keys->free_numbers, (keys->record_limit / 64 + 1) * sizeof *keys->free_numbers);
}

/* --- numbers --- */

bool key_place_has_room(const struct api_keys *keys)
{
    return keys->free_count > 0 ||
           (keys->record_count < keys->record_limit && key_memory_fits_beside_texts(keys, RECORD_BYTES));
}

void key_place_give(struct api_keys *keys, uint32_t number)
{
    keys->free_numbers[number / 64] |= UINT64_C(1) << number % 64;
    keys->free_count++;
}

static uint32_t group_count_of(const struct api_keys *keys)
{
    return atomic_load_explicit(&((struct api_keys *)keys)->group_count, memory_order_relaxed);
}

/* 0: none of its group is. */
static uint32_t free_in_group(const struct api_keys *keys, uint64_t keyed)
{
    uint32_t group_count = group_count_of(keys);
    if (group_count == 0) return 0;
    uint32_t first = key_group_first(group_count, keyed);
    uint64_t bits = keys->free_numbers[first / 64] >> first % 64 & ((1u << KEY_GROUP) - 1);
    return bits ? first + (uint32_t)__builtin_ctzll(bits) : 0;
}

/* There is one. Round and round, so that a word without any is passed once in a while and not each time. */
static uint32_t next_free(struct api_keys *keys)
{
    PROMISE(keys->free_count > 0);
    while (keys->free_numbers[keys->free_word] == 0) {
        keys->free_word = keys->free_word < keys->record_count / 64 ? keys->free_word + 1 : 0;
    }
    return keys->free_word * 64 + (uint32_t)__builtin_ctzll(keys->free_numbers[keys->free_word]);
}

static uint32_t take_number(struct api_keys *keys, uint32_t number)
{
    keys->free_numbers[number / 64] &= ~(UINT64_C(1) << number % 64);
    keys->free_count--;
    return number;
}

uint32_t key_place_take(struct api_keys *keys, uint64_t keyed)
{
    uint32_t number = free_in_group(keys, keyed);
    if (number != 0) return take_number(keys, number);
    if (keys->free_count > 0) return take_number(keys, next_free(keys));
    return key_place_has_room(keys) ? keys->record_count++ : 0;
}

/* --- groups --- */

/* Beside the tables and as many texts as these keys have; an eighth is left for tables that grow. */
static uint64_t numbers_that_fit(const struct api_keys *keys)
{
    uint64_t each = RECORD_BYTES + TABLE_BYTES_A_KEY + keys->texts.bytes / keys->live;
    uint64_t most = (keys->bytes_max - keys->bytes_max / 16) / each;
    return most - most / 8 < keys->record_limit ? most - most / 8 : keys->record_limit;
}

void key_place_widen(struct api_keys *keys)
{
    uint64_t now = (uint64_t)group_count_of(keys) * KEY_GROUP, live = keys->live;
    if (live < GROUPS_FROM) return;
    bool is_promised = keys->expected > live && keys->expected / 4 <= live;
    if (!is_promised && live < now - now / 16) return;
    uint64_t numbers = (is_promised ? keys->expected : live + live / 8) * 67 / 64;
    if (numbers < now + now / 8) return;
    uint64_t most = numbers_that_fit(keys);
    if (numbers > most) numbers = most;
    uint32_t group_count = (uint32_t)(numbers / KEY_GROUP), end = group_count * KEY_GROUP;
    if (numbers < now + now / 8 || group_count == 0) return;
    uint64_t more = end > keys->record_count ? end - keys->record_count : 0;
    if (!key_memory_fits_beside_texts(keys, more * RECORD_BYTES)) return;
    keys->move_at = 1;
    keys->move_end = keys->record_count;
    keys->move_rounds = MOVE_ROUNDS - 1;
    while (keys->record_count < end) key_place_give(keys, keys->record_count++);
    atomic_store_explicit(&keys->group_count, group_count, memory_order_relaxed);
}

/* --- who was there before --- */

static void move(struct api_keys *keys, uint32_t before)
{
    const struct key_record *record = &keys->records[before];
    /* What a load under way hasn't seen yet may have to go; an absent one goes soon. */
    if (record_generation(record) == GENERATION_NONE || record->is_absent || !key_was_seen(keys, before)) return;
    uint64_t keyed = key_hash(keys, record->hash);
    if (before / KEY_GROUP == key_group_first(group_count_of(keys), keyed) / KEY_GROUP) return;
    uint32_t number = free_in_group(keys, keyed);
    if (number != 0) key_take_over(keys, take_number(keys, number), before);
}

void key_place_move_some(struct api_keys *keys)
{
    if (keys->move_at == keys->move_end && keys->move_rounds == 0) return;
    key_memory_reclaim(keys); /* where the last ones were may be the next ones' group */
    for (int i = 0; i < MOVES_AT_ONCE && keys->move_at < keys->move_end; i++) move(keys, keys->move_at++);
    if (keys->move_at == keys->move_end && keys->move_rounds > 0) {
        keys->move_rounds--;
        keys->move_at = 1;
    }
}
