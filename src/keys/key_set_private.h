/* keys/key_set_private.h: how sets are put together; for key_set.c, key_set_jwk.c and key_set_judge.c. */
#ifndef SLUICE_KEYS_KEY_SET_PRIVATE_H
#define SLUICE_KEYS_KEY_SET_PRIVATE_H

#include "keys/key_set.h"
#include "json/value.h"

struct key_set {
    _Atomic uint32_t references;
    uint64_t version;
    size_t count, left_out;
    struct jwt_key keys[];
};

/* The longer it is, the dearer is each signature. Where the modulus has more than 3,072 bits OpenSSL itself verifies nothing by a longer one. */
#define RSA_EXPONENT_BITS_MAX 64

/* Settles from the key itself what it can verify (`algorithms` 0 where it was not narrowed before) and how long signatures are. False: *error,
 * "its modulus is too short". */
bool key_set_judge_public_key(struct jwt_key *, struct error *) MUST_USE;

enum jwk_outcome {
    JWK_READ,
    JWK_NOT_OURS, /* for something else, or of a kind that is not known here */
    JWK_BROKEN,   /* *error says why */
};

/* Into a zeroed key, whose parts are then the caller's: jwt_key_release(). */
enum jwk_outcome jwk_read(const struct json_value *jwk, const struct key_set_reading *, struct jwt_key *,
                          struct error *) MUST_USE;
void jwt_key_release(struct jwt_key *);

#endif
