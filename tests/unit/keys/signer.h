/* Who signs tokens for tests: keys of every kind, made here and now, their JWKs, and tokens of any header and claims. */
#ifndef SLUICE_TESTS_SIGNER_H
#define SLUICE_TESTS_SIGNER_H

#include "base/memory.h"
#include "keys/jwt.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#define SIGNER_SECRET "an-example-secret-of-sixty-four-bytes-for-hs512-and-all-smaller!"

struct signer {
    enum jwt_algorithm algorithm;
    EVP_PKEY *key;   /* NULL: SIGNER_SECRET */
    const char *kid; /* NULL: none */
};

static inline char *signer_encode(const void *bytes, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *at = bytes;
    char *text = memory_allocate(length * 2 + 4), *into = text;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i < 3 ? length - i : 3;
        unsigned word = (unsigned)at[i] << 16 | (left > 1 ? (unsigned)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0u);
        for (size_t j = 0; j <= left; j++) *into++ = alphabet[word >> (18 - 6 * j) & 63];
    }
    *into = '\0';
    return text;
}

static inline const char *signer_curve(enum jwt_algorithm algorithm)
{
    return algorithm == JWT_ES256 ? "P-256" : algorithm == JWT_ES384 ? "P-384" : "P-521";
}

static inline struct signer signer_make(enum jwt_algorithm algorithm, const char *kid)
{
    struct signer signer = { .algorithm = algorithm, .kid = kid };
    if (algorithm <= JWT_PS512)
        signer.key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    else if (algorithm <= JWT_ES512)
        signer.key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", signer_curve(algorithm));
    else if (algorithm == JWT_EDDSA)
        signer.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    PROMISE(signer.key || algorithm >= JWT_HS256);
    return signer;
}

static inline const EVP_MD *signer_hash(enum jwt_algorithm algorithm)
{
    const char *name = jwt_algorithm_names[algorithm];
    return strstr(name, "256")   ? EVP_sha256()
           : strstr(name, "384") ? EVP_sha384()
           : strstr(name, "512") ? EVP_sha512()
                                 : NULL;
}

/* DER (SEQUENCE of two INTEGERs) to r and s beside each other. */
static inline size_t signer_unwrap(const unsigned char *der, unsigned char *into, size_t size)
{
    const unsigned char *at = der + (der[1] & 0x80 ? 3 : 2);
    memset(into, 0, 2 * size);
    for (int i = 0; i < 2; i++) {
        size_t length = at[1];
        const unsigned char *number = at + 2;
        while (length > size) number++, length--;
        memcpy(into + (size_t)i * size + size - length, number, length);
        at += 2 + at[1];
    }
    return 2 * size;
}

static inline size_t signer_sign_bytes(const struct signer *signer, struct slice input, unsigned char into[1024])
{
    const unsigned char *bytes = (const unsigned char *)input.at;
    if (!signer->key) {
        unsigned length = 0;
        HMAC(signer_hash(signer->algorithm), SIGNER_SECRET, sizeof SIGNER_SECRET - 1, bytes, input.length, into,
             &length);
        return length;
    }
    unsigned char raw[1024];
    size_t length = sizeof raw;
    EVP_PKEY_CTX *parameters;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    PROMISE(EVP_DigestSignInit(context, &parameters, signer_hash(signer->algorithm), NULL, signer->key) == 1);
    if (signer->algorithm >= JWT_PS256 && signer->algorithm <= JWT_PS512) {
        EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST);
    }
    PROMISE(EVP_DigestSign(context, raw, &length, bytes, input.length) == 1);
    EVP_MD_CTX_free(context);
    if (signer->algorithm >= JWT_ES256 && signer->algorithm <= JWT_ES512)
        return signer_unwrap(raw, into, signer->algorithm == JWT_ES256 ? 32 : signer->algorithm == JWT_ES384 ? 48 : 66);
    memcpy(into, raw, length);
    return length;
}

/* A token of this header and these claims, whatever they say. Free it. */
static inline char *signer_sign_raw(const struct signer *signer, const char *header, const char *claims)
{
    char *head = signer_encode(header, strlen(header)), *body = signer_encode(claims, strlen(claims));
    char *input = memory_format("%s.%s", head, body);
    unsigned char bytes[1024];
    size_t length = signer_sign_bytes(signer, slice_from_cstring(input), bytes);
    char *signature = signer_encode(bytes, length), *token = memory_format("%s.%s", input, signature);
    free(head), free(body), free(input), free(signature);
    return token;
}

/* The ordinary header. */
static inline char *signer_sign(const struct signer *signer, const char *claims)
{
    char *header = signer->kid ? memory_format("{\"alg\":\"%s\",\"kid\":\"%s\"}",
                                               jwt_algorithm_names[signer->algorithm], signer->kid)
                               : memory_format("{\"alg\":\"%s\"}", jwt_algorithm_names[signer->algorithm]);
    char *token = signer_sign_raw(signer, header, claims);
    free(header);
    return token;
}

static inline char *signer_number(const EVP_PKEY *key, const char *name, int size)
{
    BIGNUM *number = NULL;
    unsigned char bytes[1100];
    PROMISE(EVP_PKEY_get_bn_param(key, name, &number) == 1);
    int length = size ? BN_bn2binpad(number, bytes, size) : BN_bn2bin(number, bytes);
    BN_free(number);
    return signer_encode(bytes, (size_t)length);
}

/* Its public JWK with these members behind it, each with a comma in front. Free it. */
static inline char *signer_jwk(const struct signer *signer, const char *more)
{
    char *one, *two = memory_copy_slice(SLICE("")), *jwk;
    char *kid = signer->kid ? memory_format(",\"kid\":\"%s\"", signer->kid) : memory_copy_slice(SLICE(""));
    if (!signer->key) {
        one = signer_encode(SIGNER_SECRET, sizeof SIGNER_SECRET - 1);
        jwk = memory_format("{\"kty\":\"oct\",\"k\":\"%s\"%s%s}", one, kid, more);
    } else if (signer->algorithm <= JWT_PS512) {
        one = signer_number(signer->key, OSSL_PKEY_PARAM_RSA_N, 0);
        jwk = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"%s%s}", one, kid, more);
    } else if (signer->algorithm <= JWT_ES512) {
        int size = signer->algorithm == JWT_ES256 ? 32 : signer->algorithm == JWT_ES384 ? 48 : 66;
        free(two);
        one = signer_number(signer->key, OSSL_PKEY_PARAM_EC_PUB_X, size);
        two = signer_number(signer->key, OSSL_PKEY_PARAM_EC_PUB_Y, size);
        jwk = memory_format("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s%s}",
                            signer_curve(signer->algorithm), one, two, kid, more);
    } else {
        unsigned char bytes[32];
        size_t length = sizeof bytes;
        PROMISE(EVP_PKEY_get_raw_public_key(signer->key, bytes, &length) == 1);
        one = signer_encode(bytes, length);
        jwk = memory_format("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s%s}", one, kid, more);
    }
    free(one), free(two), free(kid);
    return jwk;
}

static inline void signer_release(struct signer *signer) { EVP_PKEY_free(signer->key); }

#endif
