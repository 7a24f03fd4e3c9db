/* keys/private.h: the index's inside: what api_keys.c (readers, life), api_keys_write.c (writer), key_memory.c (room, quiet readers),
 * key_place.c (which record a key gets) and key_uses.c share.
 *
 * A record is a cache line and never changes once a table's slot leads to it, but for its atomic bytes: a change of a key is another
 * record in the same slot. The ids stand beside the records: a look-up doesn't touch them. */
#ifndef SLUICE_KEYS_PRIVATE_H
#define SLUICE_KEYS_PRIVATE_H

#include "keys/api_keys.h"
#include "keys/key_table.h"
#include "keys/key_texts.h"
#include "shared/counter.h"

#define ABSENT_US UINT64_C(10000000)  /* how long "there is none" is believed */
#define FAILED_US UINT64_C(1000000)   /* how long a look-up that failed is not repeated */
#define UNHEARD_US UINT64_C(60000000) /* how long a cache is believed while the store isn't heard of */
#define NEVER_US ((UINT64_C(1) << 56) - 1)
#define USES_MAX 3 /* uses that are remembered against going */
#define ABSENT_MAX 65536

enum client_kind { CLIENT_UUID, CLIENT_SHORT, CLIENT_TEXT };
#define CLIENT_SHORT_MAX 15 /* its length is the last byte */

/* Of a record's generation. The others, 1 to 254, count what happened to all (distrust). */
#define GENERATION_NONE 0    /* no slot leads to it */
#define GENERATION_DOUBT 255 /* this one is not believed */

struct key_record {
    uint8_t hash[API_KEY_HASH_BYTES];
    union {
        uint8_t bytes[16]; /* UUID, or a short text */
        uint32_t text;     /* a number in `texts` */
    } client;
    uint64_t expires_us : 56; /* NEVER_US: never. Absent: until when that is believed */
    uint64_t tier : 2;
    uint64_t enabled : 1;
    uint64_t client_kind : 2;
    uint64_t is_absent : 1;  /* there is no key with this hash */
    uint64_t has_failed : 1; /* it is not known whether there is */
    uint64_t : 1;
    uint32_t scopes;          /* a number in `texts` */
    _Atomic uint16_t noted_s; /* seconds, modulo 2^16, of the last use noted */
    _Atomic uint8_t uses;
    _Atomic uint8_t generation;
};
_Static_assert(sizeof(struct key_record) == CACHE_LINE, "a record is a cache line");
#define RECORD_BYTES (sizeof(struct key_record) + sizeof(key_uuid))
#define TABLE_BYTES_A_KEY 13 /* of both */
#define KEY_GROUP 4          /* numbers; their ids are a cache line */
_Static_assert(KEY_GROUP * sizeof(key_uuid) == CACHE_LINE, "the ids of a group are a cache line");

struct use_ring; /* key_uses.c */

#define QUIET UINT64_MAX
struct key_reader {
    _Alignas(CACHE_LINE) _Atomic uint64_t seen; /* the epoch it began to look in; QUIET: it holds nothing */
    struct counter found[API_KEY_FOUND_COUNT];
    struct counter uses_forgotten;
    struct use_ring *uses;
};

/* What waits until all readers have been quiet. */
struct retired_record {
    uint32_t number;
    uint32_t epoch; /* its lower half */
};
struct retired_memory {
    uint64_t epoch;
    void *memory;            /* of the heap */
    struct key_table *table; /* or this */
    uint64_t bytes;
    struct retired_memory *next;
};

#define STORE_LOST 1u        /* whoever follows the store can't */
#define STORE_UNANSWERING 2u /* look-ups in it fail */

struct api_keys {
    /* Readers, each time; seldom written. */
    _Alignas(CACHE_LINE) _Atomic(struct key_table *) table;
    struct key_record *records;
    key_uuid *ids;
    uint64_t secret[2];
    _Atomic uint32_t group_count; /* see key_place.c; 0: records aren't in groups */
    _Atomic uint64_t heard_us;
    _Atomic uint32_t store_trouble;
    atomic_bool is_copy;        /* see api_keys_trust_copy() */
    _Atomic uint32_t wholeness; /* odd: every key of the store is here; each change is one more */
    _Atomic uint8_t generation;
    _Alignas(CACHE_LINE) struct key_texts texts;

    /* The writer's. */
    _Alignas(CACHE_LINE) _Atomic uint64_t epoch;
    struct id_table id_table;
    uint32_t record_limit;      /* address space */
    uint32_t record_count;      /* numbers are below that; 0 is none */
    uint64_t *free_numbers;     /* a bit a number, for record_limit of them; its pages come with use */
    uint32_t free_count;        /* bits that are set */
    uint32_t free_word;         /* where the next is looked for */
    uint32_t move_at, move_end; /* records that may not be in their groups yet */
    uint32_t move_rounds;
    uint64_t expected; /* keys that a load will bring; 0: not known */
    uint32_t hand;     /* of the clock that chooses who goes */
    uint32_t live;     /* in the table: keys and absent ones */
    struct gauge keys, absent, bytes;
    struct counter evicted;
    uint64_t bytes_max;
    struct retired_record *retired; /* a ring */
    uint32_t retired_first, retired_count, retired_capacity;
    struct retired_memory *retired_memory, **retired_memory_last;
    uint64_t retired_bytes; /* of those */
    uint32_t *absent_ring;  /* numbers of absent ones, by age */
    uint32_t absent_first, absent_count, absent_max;
    uint8_t *load_seen; /* a bit a number; NULL: no load is under way */
    uint32_t load_count;
    bool load_left_out;

    unsigned reader_count;
    struct key_reader *readers;
    char (*use_ids)[API_KEY_UUID_BYTES];
};

static inline uint64_t key_hash(const struct api_keys *keys, const uint8_t hash[API_KEY_HASH_BYTES])
{
    uint64_t words[2];
    memcpy(words, hash, sizeof words);
    return key_mix(keys->secret, words[0], words[1]);
}

/* The first number of the group in which the record with this hash is, more often than not. By other bits than the bucket: keys go in the
 * order of their numbers, and must leave buckets evenly. */
static inline uint32_t key_group_first(uint32_t group_count, uint64_t keyed)
{
    return (uint32_t)((keyed & UINT32_MAX) * group_count >> 32) * KEY_GROUP;
}

/* Memory is far: the bucket, and where its number most likely leads to, are fetched together instead of one after the other. */
static inline void key_prefetch(const struct api_keys *keys, const struct key_bucket *bucket, uint64_t keyed)
{
    uint32_t group_count = atomic_load_explicit(&((struct api_keys *)keys)->group_count, memory_order_relaxed);
    if (group_count == 0) return;
    uint32_t first = key_group_first(group_count, keyed);
    __builtin_prefetch(bucket);
    for (unsigned i = 0; i < KEY_GROUP; i++) __builtin_prefetch(&keys->records[first + i]);
    __builtin_prefetch(keys->ids[first]);
}

/* The number of the record with this hash; 0: none. Readers and writer. */
static inline uint32_t key_number(const struct api_keys *keys, const struct key_table *table,
                                  const uint8_t hash[API_KEY_HASH_BYTES])
{
    uint64_t keyed = key_hash(keys, hash);
    const struct key_bucket *bucket = key_table_home(table, keyed);
    key_prefetch(keys, bucket, keyed);
    for (;;) {
        struct key_candidates candidates = key_bucket_candidates(bucket, key_table_tag(keyed));
        unsigned index;
        while (key_candidates_next(&candidates, &index)) {
            uint32_t number = atomic_load_explicit(&bucket->numbers[index], memory_order_acquire);
            __builtin_prefetch(keys->ids[number]); /* who finds the key wants its id: both lines come at once */
            if (number != 0 && memcmp(keys->records[number].hash, hash, API_KEY_HASH_BYTES) == 0) return number;
        }
        if (LIKELY(!key_bucket_was_passed(bucket))) return 0;
        bucket = key_table_next(table, bucket);
    }
}

static inline uint8_t record_generation(const struct key_record *record)
{
    return atomic_load_explicit(&((struct key_record *)record)->generation, memory_order_relaxed);
}

static inline bool is_whole(uint32_t wholeness) { return wholeness % 2 == 1; }

static inline struct key_table *writers_table(const struct api_keys *keys)
{
    return atomic_load_explicit(&((struct api_keys *)keys)->table, memory_order_relaxed);
}

/* key_memory.c: room and what waits for quiet readers. The writer's. */
bool key_memory_init(struct api_keys *, struct error *);
void key_memory_release(struct api_keys *);
/* True: one more fits, texts and tables included; these grow if they must. */
bool key_memory_make_room(struct api_keys *, uint64_t text_bytes);
/* So much more fits, and leaves to texts, which come and go, a sixteenth of all: records and tables stay as large as they ever were. */
bool key_memory_fits_beside_texts(const struct api_keys *, uint64_t more);
void key_memory_reserve(struct api_keys *, uint64_t count);
/* Nothing leads to it any more; used again when all readers have been quiet. */
void key_memory_retire(struct api_keys *, uint32_t number);
void key_memory_reclaim(struct api_keys *);
void key_memory_count_bytes(struct api_keys *);
void key_memory_retire_array(void *owner, void *memory); /* of key_texts */

/* key_place.c: which record a key gets. The writer's. */
bool key_place_init(struct api_keys *);
void key_place_release(struct api_keys *);
/* One more number can be taken. */
bool key_place_has_room(const struct api_keys *);
/* More groups, if there are more keys, or will be, than those that there are were meant for. */
void key_place_widen(struct api_keys *);
/* A record's number with nothing in it, for this (keyed) hash if it may be; 0: none is free at present. It is not in the tables yet. */
uint32_t key_place_take(struct api_keys *, uint64_t keyed);
/* Nobody can look at it any more. */
void key_place_give(struct api_keys *, uint32_t number);
/* Moves a few records to where they are looked for first. */
void key_place_move_some(struct api_keys *);

/* api_keys_write.c */
/* Takes a key, or an absent one, out of the tables and retires it. */
void key_take_out(struct api_keys *, uint32_t number);
/* The record is that of a key from here on, instead of `before`, which goes and has all it needs but `generation`. */
void key_take_over(struct api_keys *, uint32_t number, uint32_t before);
/* True also where no load is under way. */
bool key_was_seen(const struct api_keys *, uint32_t number);

/* key_evict.c: who goes for others, and the hashes known to have no key. */
/* A record's number for this (keyed) hash, with or without room for it. 0: there is none at present. */
uint32_t key_make_place(struct api_keys *, uint64_t keyed, uint64_t text_bytes, enum api_key_keep);
/* The same for a hash without a key; key_absent_came() follows when it is in. */
uint32_t key_make_absent_place(struct api_keys *, uint64_t keyed, uint64_t now_us);
void key_absent_came(struct api_keys *, uint32_t number);
void key_set_whole(struct api_keys *, bool);

/* key_uses.c */
struct use_ring *use_ring_create(void);
void use_ring_destroy(struct use_ring *);

#endif
