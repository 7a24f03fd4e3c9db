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
    uint64_t last = (uint64_t)bytes.length << 56;
    for (size_t i = 0; i < bytes.length % 8; i++) last |= (uint64_t)(unsigned char)next[i] << (8 * i);
    sip_absorb(&state, last);

    state.c ^= 0xff;
    sip_round(&state);
    sip_round(&state);
    sip_round(&state);
    return state.a ^ state.b ^ state.c ^ state.d;
}
