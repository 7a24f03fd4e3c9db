/* keys/key_set_jwk.c: one JSON Web Key to a key of OpenSSL's: RSA and EC (RFC 7518 6), OKP (RFC 8037), oct.
 *
 * Coordinates have their curve's full size and nothing else. RSA's numbers may have zeros in front: RFC 7518 2 writes none, but its 6.3.1.1 knows of
 * libraries that do, and who publishes such a key isn't ours to teach. OpenSSL sees that a point is on its curve. */
#include "base/memory.h"
#include "keys/jwt_private.h"
#include "keys/key_set_private.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#define MODULUS_BITS_MAX 8192
/* The largest modulus with some zeros in front; an exponent may be filled up to its width. */
#define WRITTEN_BYTES_MAX 1032
#define SECRET_BYTES_MAX 4096

static enum jwk_outcome broken(struct error *error, const char *why)
{
    error_format(error, "%s", why);
    return JWK_BROKEN;
}

/* A base64url member of 1 to `size` bytes, into `bytes`. 0: it isn't there, or not that. */
static size_t read_bytes(const struct json_value *jwk, struct slice name, uint8_t *bytes, size_t size)
{
    struct slice text = json_find_text(jwk, name);
    if (slice_is_absent(text) || text.length > (size + 2) / 3 * 4) return 0;
    size_t length = base64url_decoded_bytes(text.length);
    return length <= size && base64url_decode(text, bytes) ? length : 0;
}

/* --- public keys --- */

/* From the parameters that were pushed; takes the builder over. NULL: they make no key. */
static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (parameters && making && EVP_PKEY_fromdata_init(making) == 1 &&
        EVP_PKEY_fromdata(making, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(making);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    ERR_clear_error();
    return key;
}

/* Zeros in front don't count. NULL: it isn't there, or not that. */
static BIGNUM *read_number(const struct json_value *jwk, struct slice name, int bits_max)
{
    uint8_t bytes[WRITTEN_BYTES_MAX];
    size_t length = read_bytes(jwk, name, bytes, sizeof bytes);
    BIGNUM *number = length > 0 ? BN_bin2bn(bytes, (int)length, NULL) : NULL;
    if (!number || BN_num_bits(number) <= bits_max) return number;
    BN_free(number);
    return NULL;
}

static EVP_PKEY *make_rsa(const BIGNUM *modulus, const BIGNUM *exponent)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        return make_key("RSA", builder);
    OSSL_PARAM_BLD_free(builder);
    return NULL;
}

static enum jwk_outcome read_rsa(const struct json_value *jwk, struct jwt_key *key, struct error *error)
{
    BIGNUM *modulus = read_number(jwk, SLICE("n"), MODULUS_BITS_MAX);
    BIGNUM *exponent = read_number(jwk, SLICE("e"), RSA_EXPONENT_BITS_MAX);
    const char *why = !modulus ? "its modulus (n) is not base64url of up to 8,192 bits"
                               : "its exponent (e) is not base64url of up to 64 bits";
    if (modulus && exponent) {
        key->public_key = make_rsa(modulus, exponent);
        why = "its numbers are none of RSA's";
    }
    BN_free(modulus);
    BN_free(exponent);
    return key->public_key ? JWK_READ : broken(error, why);
}

static const struct curve {
    const char *name; /* RFC 7518 6.2.1.1 and OpenSSL agree */
    size_t bytes;     /* of a coordinate */
} curves[] = { { "P-256", 32 }, { "P-384", 48 }, { "P-521", 66 } };

#define COORDINATE_BYTES_MAX 66

static EVP_PKEY *make_ec(const struct curve *curve, const uint8_t *point)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->name, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * curve->bytes) == 1)
        return make_key("EC", builder);
    OSSL_PARAM_BLD_free(builder);
    return NULL;
}

static enum jwk_outcome read_ec(const struct json_value *jwk, struct jwt_key *key, struct error *error)
{
    struct slice name = json_find_text(jwk, SLICE("crv"));
    const struct curve *curve = NULL;
    for (size_t i = 0; i < COUNT_OF(curves); i++) {
        if (slice_equal(name, slice_from_cstring(curves[i].name))) curve = &curves[i];
    }
    if (!curve) return slice_is_absent(name) ? broken(error, "it names no curve (crv)") : JWK_NOT_OURS;
    uint8_t point[1 + 2 * COORDINATE_BYTES_MAX] = { 0x04 /* uncompressed: SEC 1 2.3.3 */ };
    if (read_bytes(jwk, SLICE("x"), point + 1, curve->bytes) != curve->bytes ||
        read_bytes(jwk, SLICE("y"), point + 1 + curve->bytes, curve->bytes) != curve->bytes)
        return broken(error, "its coordinates (x, y) have not their curve's size");
    key->public_key = make_ec(curve, point);
    return key->public_key ? JWK_READ : broken(error, "its point is not on its curve");
}

static enum jwk_outcome read_okp(const struct json_value *jwk, struct jwt_key *key, struct error *error)
{
    struct slice name = json_find_text(jwk, SLICE("crv"));
    bool is_448 = slice_equal(name, SLICE("Ed448"));
    if (!is_448 && !slice_equal(name, SLICE("Ed25519")))
        return slice_is_absent(name) ? broken(error, "it names no curve (crv)") : JWK_NOT_OURS;
    uint8_t bytes[57];
    size_t size = is_448 ? 57 : 32;
    if (read_bytes(jwk, SLICE("x"), bytes, size) != size) return broken(error, "its x has not its curve's size");
    key->public_key = EVP_PKEY_new_raw_public_key(is_448 ? EVP_PKEY_ED448 : EVP_PKEY_ED25519, NULL, bytes, size);
    ERR_clear_error();
    return key->public_key ? JWK_READ : broken(error, "its x is no key of its curve");
}

static enum jwk_outcome read_secret(const struct json_value *jwk, struct jwt_key *key, struct error *error)
{
    uint8_t bytes[SECRET_BYTES_MAX];
    size_t length = read_bytes(jwk, SLICE("k"), bytes, sizeof bytes);
    if (length == 0) return broken(error, "its secret (k) is not base64url of up to 4,096 bytes");
    for (enum jwt_algorithm algorithm = JWT_HS256; algorithm <= JWT_HS512; algorithm++) {
        if (length >= jwt_secret_bytes_min(algorithm)) key->algorithms |= JWT_BIT(algorithm);
    }
    key->secret = slice_of(memory_copy_slice(slice_of((const char *)bytes, length)), length);
    OPENSSL_cleanse(bytes, length);
    return key->algorithms ? JWK_READ : broken(error, "its secret (k) is shorter than 32 bytes");
}

/* --- what it is for --- */

static bool lists_verify(const struct json_value *operations)
{
    if (operations->type != JSON_ARRAY) return false;
    for (uint32_t i = 0; i < operations->count; i++) {
        const struct json_value *item = &operations->items[i];
        if (item->type == JSON_STRING && slice_equal(item->text, SLICE("verify"))) return true;
    }
    return false;
}

/* RFC 7517 4.2 to 4.4. *algorithm: JWT_ALGORITHM_COUNT where it names none. */
static bool is_for_signatures(const struct json_value *jwk, enum jwt_algorithm *algorithm)
{
    const struct json_value *use = json_find(jwk, SLICE("use")), *operations = json_find(jwk, SLICE("key_ops"));
    const struct json_value *named = json_find(jwk, SLICE("alg"));
    *algorithm = JWT_ALGORITHM_COUNT;
    if (use && (use->type != JSON_STRING || !slice_equal(use->text, SLICE("sig")))) return false;
    if (operations && !lists_verify(operations)) return false;
    if (!named) return true;
    if (named->type == JSON_STRING) *algorithm = jwt_algorithm_find(named->text);
    return *algorithm != JWT_ALGORITHM_COUNT;
}

typedef enum jwk_outcome jwk_reader(const struct json_value *, struct jwt_key *, struct error *);

static jwk_reader *find_reader(struct slice type, const struct key_set_reading *reading)
{
    if (slice_equal(type, SLICE("RSA"))) return read_rsa;
    if (slice_equal(type, SLICE("EC"))) return read_ec;
    if (slice_equal(type, SLICE("OKP"))) return read_okp;
    return slice_equal(type, SLICE("oct")) && reading->takes_secrets ? read_secret : NULL;
}

/* RFC 7518 6.2.2, 6.3.2. Whoever reads a set that somebody publishes could sign with such a key, and in a file of ours nothing needs them. */
static bool holds_private_members(const struct json_value *jwk)
{
    static const struct slice names[] = { { "d", 1 },  { "p", 1 },  { "q", 1 },  { "dp", 2 },
                                          { "dq", 2 }, { "qi", 2 }, { "oth", 3 } };
    bool holds = false;
    for (size_t i = 0; i < COUNT_OF(names); i++) holds |= json_find(jwk, names[i]) != NULL;
    return holds;
}

static enum jwk_outcome read_id(const struct json_value *jwk, struct jwt_key *key, struct error *error)
{
    const struct json_value *id = json_find(jwk, SLICE("kid"));
    if (!id) return JWK_READ;
    if (id->type != JSON_STRING) return broken(error, "its kid is no string");
    key->id = slice_of(memory_copy_slice(id->text), id->text.length);
    return JWK_READ;
}

enum jwk_outcome jwk_read(const struct json_value *jwk, const struct key_set_reading *reading, struct jwt_key *key,
                          struct error *error)
{
    enum jwt_algorithm algorithm;
    if (jwk->type != JSON_OBJECT) return broken(error, "it is no JSON object");
    struct slice type = json_find_text(jwk, SLICE("kty"));
    if (slice_is_absent(type)) return broken(error, "it has no type (kty)");
    if (holds_private_members(jwk)) return broken(error, "it holds a private key: leave out its private members");
    if (reading->is_strict && !reading->takes_secrets && slice_equal(type, SLICE("oct")))
        return broken(error, "it is a secret, and belongs into \"secret\"");
    jwk_reader *read = find_reader(type, reading);
    if (!read || !is_for_signatures(jwk, &algorithm)) return JWK_NOT_OURS;
    enum jwk_outcome outcome = read(jwk, key, error);
    if (outcome != JWK_READ) return outcome;
    if (key->public_key && !key_set_judge_public_key(key, error)) return JWK_BROKEN;
    if (algorithm != JWT_ALGORITHM_COUNT) key->algorithms &= JWT_BIT(algorithm);
    if (key->algorithms == 0)
        return broken(error, "its algorithm (alg) is none of its type or curve, or too large for it");
    return read_id(jwk, key, error);
}
