/* keys/key_set_judge.c: what a public key may verify, whatever it was read from. See key_set.h. */
#include "keys/key_set_private.h"

#include <openssl/core_names.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

static bool judge_rsa(struct jwt_key *key, struct error *error)
{
    int bits = EVP_PKEY_get_bits(key->public_key);
    if (bits < RSA_BITS_MIN)
        return error_format(error, "an RSA key has at least %d bits, this one %d", RSA_BITS_MIN, bits);
    if (bits > RSA_BITS_MAX)
        return error_format(error, "an RSA key has at most %d bits, this one %d", RSA_BITS_MAX, bits);
    key->signature_bytes = (uint32_t)(bits + 7) / 8;
    key->algorithms = JWT_BIT(JWT_RS256) | JWT_BIT(JWT_RS384) | JWT_BIT(JWT_RS512) | JWT_BIT(JWT_PS256) |
                      JWT_BIT(JWT_PS384) | JWT_BIT(JWT_PS512);
    return true;
}

/* RFC 7518 3.4: each algorithm has its curve. */
static bool judge_ec(struct jwt_key *key, struct error *error)
{
    static const struct {
        const char *group;
        enum jwt_algorithm algorithm;
        uint32_t signature_bytes;
    } curves[] = { { SN_X9_62_prime256v1, JWT_ES256, 64 },
                   { SN_secp384r1, JWT_ES384, 96 },
                   { SN_secp521r1, JWT_ES512, 132 } };
    char group[80] = "";
    size_t length;
    (void)EVP_PKEY_get_group_name(key->public_key, group, sizeof group, &length);
    for (size_t i = 0; i < COUNT_OF(curves); i++) {
        if (strcmp(group, curves[i].group) != 0) continue;
        key->algorithms = JWT_BIT(curves[i].algorithm);
        key->signature_bytes = curves[i].signature_bytes;
        return true;
    }
    return error_format(error, "the key's curve is none of P-256, P-384 and P-521");
}

bool key_set_judge_public_key(struct jwt_key *key, struct error *error)
{
    switch (EVP_PKEY_get_base_id(key->public_key)) {
    case EVP_PKEY_RSA: return judge_rsa(key, error);
    case EVP_PKEY_EC: return judge_ec(key, error);
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448:
        key->algorithms = JWT_BIT(JWT_EDDSA);
        key->signature_bytes = EVP_PKEY_get_base_id(key->public_key) == EVP_PKEY_ED448 ? 114
                                                                                       : 64; /* RFC 8032 5.1.6, 5.2.6 */
        return true;
    default: return error_format(error, "keys of its type verify no token");
    }
}
