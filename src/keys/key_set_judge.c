/* keys/key_set_judge.c: what a public key may verify, whatever it was read from. See key_set.h.
 *
 * There are public keys for which no private one is needed: whoever knows them signs. OpenSSL reads all but some of them, so they are told here. */
#include "keys/key_set_private.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define EDWARDS_BYTES_MAX 57
#define EDWARDS_SIGN 0x80 /* of x, in the last byte */

/* RFC 8017 3.1. With an exponent of 1 a signature is the padded hash itself. */
static bool are_numbers_of_rsa(const BIGNUM *modulus, const BIGNUM *exponent, struct error *error)
{
    if (!BN_is_odd(modulus)) return error_format(error, "an RSA key's modulus (n) is odd, and this one even");
    if (!BN_is_odd(exponent) || BN_is_one(exponent) || BN_num_bits(exponent) > RSA_EXPONENT_BITS_MAX)
        return error_format(error, "an RSA key's exponent (e) is odd and at least 3, of up to %d bits",
                            RSA_EXPONENT_BITS_MAX);
    return true;
}

static bool judge_rsa_numbers(const EVP_PKEY *key, struct error *error)
{
    BIGNUM *modulus = NULL, *exponent = NULL;
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) == 1 &&
                EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1;
    good = good ? are_numbers_of_rsa(modulus, exponent, error)
                : error_format(error, "an RSA key has a modulus (n) and an exponent (e)");
    BN_free(modulus);
    BN_free(exponent);
    return good;
}

static bool judge_rsa(struct jwt_key *key, struct error *error)
{
    int bits = EVP_PKEY_get_bits(key->public_key);
    if (bits < RSA_BITS_MIN)
        return error_format(error, "an RSA key has at least %d bits, this one %d", RSA_BITS_MIN, bits);
    if (bits > RSA_BITS_MAX)
        return error_format(error, "an RSA key has at most %d bits, this one %d", RSA_BITS_MAX, bits);
    if (!judge_rsa_numbers(key->public_key, error)) return false;
    key->signature_bytes = (uint32_t)(bits + 7) / 8;
    key->algorithms = JWT_BIT(JWT_RS256) | JWT_BIT(JWT_RS384) | JWT_BIT(JWT_RS512) | JWT_BIT(JWT_PS256) |
                      JWT_BIT(JWT_PS384) | JWT_BIT(JWT_PS512);
    return true;
}

/* Not the point at infinity, which PEM can say: with it what is compared depends on no key. The curves' cofactor is 1, so that this is all. */
static bool is_point_of_curve(EVP_PKEY *key)
{
    EVP_PKEY_CTX *checking = EVP_PKEY_CTX_new(key, NULL);
    bool good = checking && EVP_PKEY_public_check_quick(checking) == 1;
    EVP_PKEY_CTX_free(checking);
    ERR_clear_error();
    return good;
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
        return is_point_of_curve(key->public_key) || error_format(error, "its point is none of its curve");
    }
    return error_format(error, "the key's curve is none of P-256, P-384 and P-521");
}

/* A curve of RFC 8032 as its points are written: y, little-endian, and the sign of x in the highest bit. */
struct edwards {
    size_t bytes; /* of a point */
    uint32_t signature_bytes;
    uint8_t prime[EDWARDS_BYTES_MAX];
    /* The y of all points whose order divides the cofactor. With such a key S B = R + k A holds for R that anybody makes. */
    size_t small_count;
    uint8_t small[5][EDWARDS_BYTES_MAX];
};

#define FF_8 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff

static const struct edwards edwards_25519 = {
    .bytes = 32,
    .signature_bytes = 64, /* 5.1.6 */
    .prime = { 0xed, FF_8, FF_8, FF_8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
    .small_count = 5,
    .small = { { 0 },
               { 1 },
               { 0xec, FF_8, FF_8, FF_8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
               { 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
                 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
               { 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
                 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a } },
};

#define FF_27 FF_8, FF_8, FF_8, 0xff, 0xff, 0xff

static const struct edwards edwards_448 = {
    .bytes = 57,
    .signature_bytes = 114, /* 5.2.6 */
    .prime = { 0xff, FF_27, 0xfe, FF_27, 0 },
    .small_count = 3,
    .small = { { 0 }, { 1 }, { 0xfe, FF_27, 0xfe, FF_27, 0 } },
};

static bool is_smaller(const uint8_t *number, const uint8_t *than, size_t bytes)
{
    while (bytes > 0 && number[bytes - 1] == than[bytes - 1]) bytes--;
    return bytes > 0 && number[bytes - 1] < than[bytes - 1];
}

static bool judge_edwards(const struct edwards *curve, struct jwt_key *key, struct error *error)
{
    uint8_t y[EDWARDS_BYTES_MAX];
    size_t length = sizeof y;
    PROMISE(EVP_PKEY_get_raw_public_key(key->public_key, y, &length) == 1 && length == curve->bytes);
    y[length - 1] &= (uint8_t)~EDWARDS_SIGN; /* one x is as good or bad as the other */
    if (!is_smaller(y, curve->prime, length))
        return error_format(error, "its point is not written as RFC 8032 does (5.1.3, 5.2.3): y is beyond p");
    for (size_t i = 0; i < curve->small_count; i++) {
        if (memcmp(y, curve->small[i], length) == 0)
            return error_format(error, "its point is of small order: with such a key anybody can sign");
    }
    key->algorithms = JWT_BIT(JWT_EDDSA);
    key->signature_bytes = curve->signature_bytes;
    return true;
}

bool key_set_judge_public_key(struct jwt_key *key, struct error *error)
{
    switch (EVP_PKEY_get_base_id(key->public_key)) {
    case EVP_PKEY_RSA: return judge_rsa(key, error);
    case EVP_PKEY_EC: return judge_ec(key, error);
    case EVP_PKEY_ED25519: return judge_edwards(&edwards_25519, key, error);
    case EVP_PKEY_ED448: return judge_edwards(&edwards_448, key, error);
    default: return error_format(error, "keys of its type verify no token");
    }
}
