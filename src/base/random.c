#include "base/random.h"

#include "base/private.h"

#include <errno.h>
#include <sys/random.h>

__extension__ typedef unsigned __int128 uint128;

void random_secure_bytes(void *into, size_t size)
{
    char *next = into;
    while (size > 0) {
        ssize_t got = getrandom(next, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) die("getrandom: no random numbers from the kernel (errno %d)", errno);
        next += got;
        size -= (size_t)got;
    }
}

/* splitmix64 (Steele, Lea, Flood 2014): spreads one word over the state, which must not be all zero. */
static uint64_t spread(uint64_t *seed)
{
    uint64_t word = *seed += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

void random_init_seeded(struct random *random, uint64_t seed)
{
    for (size_t i = 0; i < COUNT_OF(random->words); i++) random->words[i] = spread(&seed);
}

void random_init(struct random *random)
{
    uint64_t seed;
    random_secure_bytes(random->words, sizeof random->words);
    random_secure_bytes(&seed, sizeof seed);
    for (size_t i = 0; i < COUNT_OF(random->words); i++) random->words[i] ^= spread(&seed);
}

static uint64_t rotate_left(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

/* xoshiro256** (Blackman, Vigna 2018). */
uint64_t random_next(struct random *random)
{
    uint64_t *words = random->words;
    uint64_t result = rotate_left(words[1] * 5, 7) * 9;
    uint64_t shifted = words[1] << 17;
    words[2] ^= words[0];
    words[3] ^= words[1];
    words[1] ^= words[2];
    words[0] ^= words[3];
    words[2] ^= shifted;
    words[3] = rotate_left(words[3], 45);
    return result;
}

/* The high word of a product is even over [0, bound) but for a few low words, which are drawn again (Lemire 2019). */
uint64_t random_below(struct random *random, uint64_t bound)
{
    PROMISE(bound > 0);
    uint128 product = (uint128)random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t uneven = (0 - bound) % bound;
        while ((uint64_t)product < uneven) product = (uint128)random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}
