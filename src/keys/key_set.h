/* keys/key_set.h: keys that signatures are verified with: read from JWK sets (RFC 7517, 7518, 8037), PEM or a secret.
 *
 * A set is immutable and counted; any thread. What a key may be used for is settled here, by its type, its curve and its own `alg`: RSA of 2,048 to 8,192
 * bits for RS and PS, P-256 for ES256, P-384 for ES384, P-521 for ES512, Ed25519 and Ed448 for EdDSA, secrets for HS. Keys that say `use` other
 * than sig or `key_ops` without verify are none. */
#ifndef SLUICE_KEYS_KEY_SET_H
#define SLUICE_KEYS_KEY_SET_H

#include "base/error.h"
#include "base/slice.h"

#include <openssl/evp.h>

enum jwt_algorithm {
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_PS256,
    JWT_PS384,
    JWT_PS512,
    JWT_ES256,
    JWT_ES384,
    JWT_ES512,
    JWT_EDDSA,
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_ALGORITHM_COUNT
};

extern const char *const jwt_algorithm_names[JWT_ALGORITHM_COUNT + 1]; /* "RS256"; NULL-ended */

#define JWT_BIT(algorithm) (1u << (algorithm))
#define JWT_SECRET_ALGORITHMS (JWT_BIT(JWT_HS256) | JWT_BIT(JWT_HS384) | JWT_BIT(JWT_HS512))
#define JWT_PUBLIC_KEY_ALGORITHMS ((JWT_BIT(JWT_ALGORITHM_COUNT) - 1) & ~JWT_SECRET_ALGORITHMS)

/* As a token writes it; JWT_ALGORITHM_COUNT: none of ours. */
enum jwt_algorithm jwt_algorithm_find(struct slice name);
/* What a secret must have at least: the size of the hash (RFC 7518 3.2). */
size_t jwt_secret_bytes_min(enum jwt_algorithm);

#define JWT_FINGERPRINT_BYTES 16

struct jwt_key {
    uint8_t fingerprint[JWT_FINGERPRINT_BYTES]; /* of all below: equal keys have equal ones (SHA-256, cut) */
    struct slice id;                            /* kid; absent: none */
    uint32_t algorithms;                        /* bits; never 0 */
    uint32_t signature_bytes;                   /* of all that it makes; secrets: 0 */
    EVP_PKEY *public_key;                       /* NULL: a secret */
    struct slice secret;
};

struct key_set;

#define KEY_SET_BYTES_MAX (512 * 1024) /* of a set's text */
#define KEY_SET_KEYS_MAX 256

/* What a set is read for. */
struct key_set_reading {
    bool takes_secrets; /* `oct` keys count: never in what is fetched or shown */
    bool
        is_strict; /* a key that is broken or holds private members makes the set bad; else it is left out (RFC 7517 5) */
};

/* A JWK set, or one JWK alone. NULL: *error; also where no key in it can be used. */
struct key_set *key_set_read_jwks(struct slice text, const struct key_set_reading *, struct error *) MUST_USE;
/* PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE. */
struct key_set *key_set_read_pem(struct slice text, struct error *) MUST_USE;
/* A copy of the bytes, at least one. */
struct key_set *key_set_of_secret(struct slice secret) MUST_USE;

/* Does it look like one, so that it can't be meant as a secret? */
bool key_set_is_pem(struct slice text);

void key_set_retain(struct key_set *);
void key_set_drop(struct key_set *); /* NULL is allowed */

/* Of the keys themselves: equal sets have equal versions. Never 0. */
uint64_t key_set_version(const struct key_set *);
size_t key_set_count(const struct key_set *);
/* Keys that were left out. */
size_t key_set_left_out(const struct key_set *);
const struct jwt_key *key_set_at(const struct key_set *, size_t index);
/* What any of them can verify. */
uint32_t key_set_algorithms(const struct key_set *);

#endif
