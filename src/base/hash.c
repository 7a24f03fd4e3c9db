#include "base/hash.h"

#include "base/random.h"

#include <endian.h>
#include <pthread.h>

static struct hash_key process_key;

static void make_process_key(void) { random_secure_bytes(&process_key, sizeof process_key); }

const struct hash_key *hash_process_key(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_process_key);
    return &process_key;
}

struct sip_state {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate_left(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

static inline void sip_round(struct sip_state *state)
{
    state->a += state->b;
    state->b = rotate_left(state->b, 13) ^ state->a;
    state->a = rotate_left(state->a, 32);
    state->c += state->d;
    state->d = rotate_left(state->d, 16) ^ state->c;
    state->a += state->d;
    state->d = rotate_left(state->d, 21) ^ state->a;
    state->c += state->b;
    state->b = rotate_left(state->b, 17) ^ state->c;
    state->c = rotate_left(state->c, 32);
}

/* One round a word. */
static inline void sip_absorb(struct sip_state *state, uint64_t word)
{
    state->d ^= word;
    sip_round(state);
    state->a ^= word;
}

/* The last bytes, fewer than eight, the first one lowest. */
static inline uint64_t load_rest(const char *at, size_t length)
{
    uint64_t word = 0;
    if (length & 1) word = (uint8_t)at[length - 1];
    if (length & 2) {
        uint16_t two;
        memcpy(&two, at + (length & 4), sizeof two);
        word = word << 16 | le16toh(two);
    }
    if (length & 4) {
        uint32_t four;
        memcpy(&four, at, sizeof four);
        word = word << 32 | le32toh(four);
    }
    return word;
}

uint64_t hash_keyed(const struct hash_key *key, struct slice bytes)
{
    struct sip_state state = {
        .a = key->words[0] ^ UINT64_C(0x736f6d6570736575),
        .b = key->words[1] ^ UINT64_C(0x646f72616e646f6d),
        .c = key->words[0] ^ UINT64_C(0x6c7967656e657261),
        .d = key->words[1] ^ UINT64_C(0x7465646279746573),
    };
    const char *next = bytes.at;
    for (size_t left = bytes.length / 8; left > 0; left--, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        sip_absorb(&state, le64toh(word));
    }
    sip_absorb(&state, (uint64_t)bytes.length << 56 | load_rest(next, bytes.length % 8));

    state.c ^= 0xff;
    sip_round(&state);
    sip_round(&state);
    sip_round(&state);
    return state.a ^ state.b ^ state.c ^ state.d;
}
