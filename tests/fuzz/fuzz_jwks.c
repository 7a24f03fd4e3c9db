/* Any text as a key set, as PEM and as an issuer's lifetime: what is read strictly is read leniently as well, each key is one that can be judged,
 * read again it is the same, and OpenSSL's errors are taken off its queue. */
#include "h1_fuzzing.h"
#include "keys/key_sets_private.h"

#include <openssl/err.h>

static void require_keys(struct key_set *set)
{
    PROMISE(key_set_count(set) > 0 && key_set_version(set) != 0);
    for (size_t i = 0; i < key_set_count(set); i++) {
        const struct jwt_key *key = key_set_at(set, i);
        PROMISE(key->algorithms != 0 && (key->algorithms & ~key_set_algorithms(set)) == 0);
        PROMISE((key->public_key != NULL) != (key->secret.length > 0));
        PROMISE(key->public_key ? !(key->algorithms & JWT_SECRET_ALGORITHMS) && key->signature_bytes >= 64
                                : !(key->algorithms & JWT_PUBLIC_KEY_ALGORITHMS) && key->secret.length >= 32);
    }
}

static struct key_set *read_twice(struct slice text, const struct key_set_reading *reading)
{
    struct error error;
    struct key_set *set = key_set_read_jwks(text, reading, &error), *again = key_set_read_jwks(text, reading, &error);
    PROMISE(!set == !again && (!set || key_set_version(set) == key_set_version(again)));
    PROMISE(ERR_peek_error() == 0);
    if (set) require_keys(set);
    key_set_drop(again);
    return set;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct key_set_reading strict = { .is_strict = true }, lenient = { 0 },
                                        with_secrets = { .takes_secrets = true };
    struct error error;
    char *copy = fuzz_copy((const char *)bytes, length);
    struct slice text = slice_of(copy, length);
    struct key_set *by_strict = read_twice(text, &strict), *by_lenient = read_twice(text, &lenient),
                   *with = read_twice(text, &with_secrets);
    PROMISE(!by_strict || (by_lenient && key_set_version(by_strict) == key_set_version(by_lenient)));
    PROMISE(!by_lenient || (with && key_set_count(with) >= key_set_count(by_lenient)));
    PROMISE(!by_lenient || !(key_set_algorithms(by_lenient) & JWT_SECRET_ALGORITHMS));
    struct key_set *pem = key_set_read_pem(text, &error);
    PROMISE(ERR_peek_error() == 0);
    if (pem) require_keys(pem);
    const struct key_set_freshness answer = {
        .cache_control = text, .expires = text, .date = text, .age = text, .asked_s = 1, .came_s = 1767225600
    };
    uint64_t lifetime_ms = key_set_lifetime_ms(&answer);
    PROMISE(lifetime_ms >= KEY_SET_LIFETIME_MS_MIN && lifetime_ms <= KEY_SET_LIFETIME_MS_MAX);
    key_set_drop(by_strict);
    key_set_drop(by_lenient);
    key_set_drop(with);
    key_set_drop(pem);
    free(copy);
    return 0;
}
