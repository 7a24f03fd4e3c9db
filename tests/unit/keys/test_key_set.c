/* Key sets: which keys are taken for what, and which never. */
#include "unit_test.h"

#include "keys/key_set.h"
#include "keys/signer.h"

#include <openssl/param_build.h>
#include <openssl/pem.h>

static const struct key_set_reading lenient = { 0 }, strict = { .is_strict = true },
                                    with_secrets = { .takes_secrets = true };

static struct signer rsa, p256, p384, p521, ed25519, secret;

static int make_signers(void **state)
{
    rsa = signer_make(JWT_RS256, NULL);
    p256 = signer_make(JWT_ES256, NULL);
    p384 = signer_make(JWT_ES384, NULL);
    p521 = signer_make(JWT_ES512, NULL);
    ed25519 = signer_make(JWT_EDDSA, NULL);
    secret = signer_make(JWT_HS512, NULL);
    return 0;
}

static int release_signers(void **state)
{
    struct signer *all[] = { &rsa, &p256, &p384, &p521, &ed25519, &secret };
    for (size_t i = 0; i < COUNT_OF(all); i++) signer_release(all[i]);
    return 0;
}

static bool is_taken(struct key_set *set)
{
    bool taken = set != NULL;
    key_set_drop(set);
    return taken;
}

#define ALL_RSA                                                                                               \
    (JWT_BIT(JWT_RS256) | JWT_BIT(JWT_RS384) | JWT_BIT(JWT_RS512) | JWT_BIT(JWT_PS256) | JWT_BIT(JWT_PS384) | \
     JWT_BIT(JWT_PS512))

static void a_key_verifies_what_its_type_its_curve_and_its_alg_say(void **state)
{
    const struct {
        const struct signer *signer;
        const char *more;
        uint32_t algorithms; /* 0: no key at all */
        const char *why;
    } rows[] = {
        { &rsa, "", ALL_RSA, "" },
        { &rsa, ",\"alg\":\"PS384\"", JWT_BIT(JWT_PS384), "" },
        { &rsa, ",\"use\":\"sig\",\"key_ops\":[\"verify\"]", ALL_RSA, "" },
        { &rsa, ",\"use\":\"enc\"", 0, "no key that verifies tokens" },
        { &rsa, ",\"use\":7", 0, "no key that verifies tokens" },
        { &rsa, ",\"key_ops\":[\"encrypt\",\"wrapKey\"]", 0, "no key that verifies tokens" },
        { &rsa, ",\"key_ops\":\"verify\"", 0, "no key that verifies tokens" },
        { &rsa, ",\"alg\":\"RSA-OAEP\"", 0, "no key that verifies tokens" },
        { &rsa, ",\"alg\":\"ES256\"", 0, "none of its type" },
        { &rsa, ",\"alg\":\"HS256\"", 0, "none of its type" },
        { &rsa, ",\"alg\":\"none\"", 0, "no key that verifies tokens" },
        { &rsa, ",\"kid\":5", 0, "kid is no string" },
        { &p256, "", JWT_BIT(JWT_ES256), "" },
        { &p256, ",\"alg\":\"ES384\"", 0, "none of its type or curve" },
        { &p384, "", JWT_BIT(JWT_ES384), "" },
        { &p521, ",\"alg\":\"ES512\"", JWT_BIT(JWT_ES512), "" },
        { &ed25519, "", JWT_BIT(JWT_EDDSA), "" },
        { &ed25519, ",\"alg\":\"EdDSA\"", JWT_BIT(JWT_EDDSA), "" },
        { &secret, "", 0, "no key that verifies tokens" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error = { .text = "" };
        char *jwk = signer_jwk(rows[i].signer, rows[i].more), *text = memory_format("{\"keys\":[%s]}", jwk);
        struct key_set *set = key_set_read_jwks(slice_from_cstring(text), &lenient, &error);
        if (!set != !rows[i].algorithms) fail_msg("%s: %s", text, error.text);
        if (!set && !strstr(error.text, rows[i].why)) fail_msg("%s: %s", text, error.text);
        if (set) assert_int_equal(key_set_algorithms(set), rows[i].algorithms);
        key_set_drop(set);
        free(jwk), free(text);
    }
}

static void secrets_count_only_where_nobody_else_reads(void **state)
{
    struct error error;
    char *jwk = signer_jwk(&secret, "");
    assert_null(key_set_read_jwks(slice_from_cstring(jwk), &lenient, &error));
    assert_null(key_set_read_jwks(slice_from_cstring(jwk), &strict, &error));
    assert_non_null(strstr(error.text, "belongs into \"secret\""));
    struct key_set *set = key_set_read_jwks(slice_from_cstring(jwk), &with_secrets, &error);
    assert_non_null(set);
    assert_int_equal(key_set_algorithms(set), JWT_SECRET_ALGORITHMS);
    key_set_drop(set);
    /* 32 bytes are enough for HS256 alone, 31 for none. */
    set = key_set_read_jwks(SLICE("{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
                            &with_secrets, &error);
    assert_int_equal(key_set_algorithms(set), JWT_BIT(JWT_HS256));
    key_set_drop(set);
    assert_null(key_set_read_jwks(SLICE("{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
                                  &with_secrets, &error));
    assert_non_null(strstr(error.text, "shorter than 32 bytes"));
    free(jwk);
}

static void weak_and_broken_keys_are_left_out_or_refused(void **state)
{
    EVP_PKEY *small = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    char *n = signer_number(small, OSSL_PKEY_PARAM_RSA_N, 0), *big_n = signer_number(rsa.key, OSSL_PKEY_PARAM_RSA_N, 0);
    char *weak = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n);
    char *one = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQ\"}", big_n);
    char *padded_one = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AAAAAQ\"}", big_n);
    char *even = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAA\"}", big_n);
    char *large = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAAAAAAAAAB\"}", big_n);
    char *x = signer_number(p256.key, OSSL_PKEY_PARAM_EC_PUB_X, 32),
         *y = signer_number(p256.key, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    char *wrong_point = memory_format("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}", x, x);
    char *wrong_curve = memory_format("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    char *private_one = memory_format("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\",\"d\":\"AA\"}", x,
                                      y);
    const struct {
        const char *jwk, *why;
    } rows[] = {
        { weak, "at least 2048 bits, this one 1024" },
        { one, "at least 3" },
        { padded_one, "at least 3" },
        { "{\"kty\":\"RSA\",\"n\":\"AP__\",\"e\":\"AQAB\"}", "at least 2048 bits, this one 16" },
        { even, "exponent (e) is odd" },
        { large, "up to 64 bits" },
        { wrong_point, "not on its curve" },
        { wrong_curve, "not their curve's size" },
        { private_one, "private key" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "not their curve's size" },
        { "{\"kty\":\"EC\",\"x\":\"AA\",\"y\":\"AA\"}", "names no curve" },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", "not its curve's size" },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp\"}",
          "not its curve's size" }, /* not canonical */
        { "{\"kty\":\"RSA\",\"n\":\"AA+/\",\"e\":\"AQAB\"}", "modulus" },
        { "{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "modulus" },
        { "{\"n\":\"AA\"}", "no type" },
        { "7", "no JSON object" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error = { .text = "" };
        char *text = memory_format("{\"keys\":[%s]}", rows[i].jwk);
        if (key_set_read_jwks(slice_from_cstring(text), &strict, &error)) fail_msg("%s was taken", text);
        if (!strstr(error.text, rows[i].why)) fail_msg("%s: %s", text, error.text);
        free(text);
    }
    /* Beside a good one they are left out of what somebody else publishes. */
    char *good = signer_jwk(&p384, ""), *text = memory_format("{\"keys\":[%s,%s,{\"kty\":\"XYZ\"}]}", weak, good);
    struct error error;
    struct key_set *set = key_set_read_jwks(slice_from_cstring(text), &lenient, &error);
    assert_int_equal(key_set_count(set), 1);
    assert_int_equal(key_set_left_out(set), 2);
    assert_int_equal(key_set_algorithms(set), JWT_BIT(JWT_ES384));
    key_set_drop(set);
    char *all[] = { n, big_n, weak,        one,         padded_one,  even, large,
                    x, y,     wrong_point, wrong_curve, private_one, good, text };
    for (size_t i = 0; i < COUNT_OF(all); i++) free(all[i]);
    EVP_PKEY_free(small);
}

/* The exponent in hexadecimal. */
static EVP_PKEY *rsa_of_numbers(const BIGNUM *n, const char *exponent)
{
    EVP_PKEY *key = NULL;
    BIGNUM *e = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    PROMISE(BN_hex2bn(&e, exponent) > 0);
    PROMISE(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1);
    PROMISE(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    PROMISE(EVP_PKEY_fromdata_init(making) == 1);
    PROMISE(EVP_PKEY_fromdata(making, &key, EVP_PKEY_PUBLIC_KEY, parameters) == 1);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(making);
    BN_free(e);
    return key;
}

/* As libraries publish them that write a number's sign or fill it up (RFC 7518 6.3.1.1): it is the same key, and verifies. */
static void zeros_in_front_of_an_rsa_keys_numbers_dont_count(void **state)
{
    static const int zeros[] = { 0, 1, 2, 3, 8 };
    BIGNUM *n = NULL, *largest = BN_new();
    PROMISE(EVP_PKEY_get_bn_param(rsa.key, OSSL_PKEY_PARAM_RSA_N, &n) == 1);
    PROMISE(BN_set_bit(largest, 8191) == 1 && BN_set_bit(largest, 0) == 1);
    const BIGNUM *moduli[] = { n, largest };
    for (size_t i = 0; i < COUNT_OF(zeros) * COUNT_OF(moduli); i++) {
        struct error error = { .text = "" };
        const BIGNUM *modulus = moduli[i % COUNT_OF(moduli)];
        int width = BN_num_bytes(modulus) + zeros[i / COUNT_OF(moduli)];
        EVP_PKEY *key = rsa_of_numbers(modulus, "10001");
        char *wide_n = signer_number(key, OSSL_PKEY_PARAM_RSA_N, width);
        char *wide_e = signer_number(key, OSSL_PKEY_PARAM_RSA_E, i / COUNT_OF(moduli) ? width : 0);
        char *text = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", wide_n, wide_e);
        struct key_set *set = key_set_read_jwks(slice_from_cstring(text), &lenient, &error);
        if (!set) fail_msg("%d zeros: %s", zeros[i / COUNT_OF(moduli)], error.text);
        assert_int_equal(EVP_PKEY_eq(key_set_at(set, 0)->public_key, key), 1);
        assert_int_equal(key_set_at(set, 0)->signature_bytes, BN_num_bytes(modulus));
        key_set_drop(set);
        EVP_PKEY_free(key);
        free(wide_n), free(wide_e), free(text);
    }
    BN_free(n);
    BN_free(largest);
}

/* Whoever reads the set can sign with such a key, or the file holds more than it has to. */
static void a_key_with_private_members_counts_nowhere(void **state)
{
    static const char *const members[] = { "d", "p", "q", "dp", "dq", "qi", "oth" };
    const struct signer *signers[] = { &rsa, &p256, &ed25519 };
    const struct key_set_reading *readings[] = { &lenient, &strict, &with_secrets };
    char *good = signer_jwk(&p384, "");
    for (size_t i = 0; i < COUNT_OF(members) * COUNT_OF(signers) * COUNT_OF(readings); i++) {
        const struct signer *signer = signers[i % COUNT_OF(signers)];
        const struct key_set_reading *reading = readings[i / COUNT_OF(signers) % COUNT_OF(readings)];
        const char *member = members[i / COUNT_OF(signers) / COUNT_OF(readings)];
        if (signer != &rsa && strcmp(member, "d") != 0) continue;
        struct error error = { .text = "" };
        char *more = memory_format(",\"%s\":\"AQAB\"", member), *jwk = signer_jwk(signer, more);
        char *both = memory_format("{\"keys\":[%s,%s]}", jwk, good);
        if (is_taken(key_set_read_jwks(slice_from_cstring(jwk), reading, &error))) fail_msg("was taken: %s", jwk);
        if (!strstr(error.text, "private key")) fail_msg("%s: %s", jwk, error.text);
        struct key_set *set = key_set_read_jwks(slice_from_cstring(both), reading, &error);
        assert_true(!set == reading->is_strict);
        if (set) assert_int_equal(key_set_algorithms(set), JWT_BIT(JWT_ES384));
        key_set_drop(set);
        free(more), free(jwk), free(both);
    }
    free(good);
}

static void foreign_kinds_are_no_error_but_no_keys(void **state)
{
    static const char *const texts[] = {
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"AKP\",\"alg\":\"ML-DSA-44\",\"pub\":\"AA\"}]}",
    };
    static const char *const wrong[] = {
        "[]", "{}", "{\"keys\":{}}", "{\"keys\":7}", "", "<html>", "null", "{\"keys\":[]", "{\"keys\":[],\"keys\":[]}"
    };
    struct error error;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_null(key_set_read_jwks(slice_from_cstring(texts[i]), &strict, &error));
        assert_non_null(strstr(error.text, "no key that verifies tokens"));
    }
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_null(key_set_read_jwks(slice_from_cstring(wrong[i]), &lenient, &error));
}

static void sets_are_bounded(void **state)
{
    struct error error;
    char *text = memory_allocate(KEY_SET_BYTES_MAX + 64);
    size_t length = (size_t)snprintf(text, 64, "{\"keys\":[{}");
    for (int i = 0; i < KEY_SET_KEYS_MAX; i++) length += (size_t)snprintf(text + length, 8, ",{}");
    length += (size_t)snprintf(text + length, 8, "]}");
    assert_null(key_set_read_jwks(slice_of(text, length), &lenient, &error));
    assert_non_null(strstr(error.text, "more than 256 keys"));
    memset(text, ' ', KEY_SET_BYTES_MAX + 1);
    assert_null(key_set_read_jwks(slice_of(text, KEY_SET_BYTES_MAX + 1), &lenient, &error));
    assert_non_null(strstr(error.text, "larger than 512 KiB"));
    free(text);
}

static void equal_sets_have_equal_versions_and_others_others(void **state)
{
    struct error error;
    char *one = signer_jwk(&p256, ",\"kid\":\"a\""), *same = signer_jwk(&p256, ",\"kid\":\"a\",\"x5t\":\"AA\"");
    char *renamed = signer_jwk(&p256, ",\"kid\":\"b\""), *other = signer_jwk(&p384, ",\"kid\":\"a\"");
    struct key_set *sets[] = {
        key_set_read_jwks(slice_from_cstring(one), &lenient, &error),
        key_set_read_jwks(slice_from_cstring(same), &lenient, &error),
        key_set_read_jwks(slice_from_cstring(renamed), &lenient, &error),
        key_set_read_jwks(slice_from_cstring(other), &lenient, &error),
    };
    assert_true(key_set_version(sets[0]) == key_set_version(sets[1]));
    assert_true(key_set_version(sets[0]) != key_set_version(sets[2]));
    assert_true(key_set_version(sets[0]) != key_set_version(sets[3]));
    for (size_t i = 0; i < COUNT_OF(sets); i++) key_set_drop(sets[i]);
    free(one), free(same), free(renamed), free(other);
}

/* --- PEM --- */

static char *write_pem(EVP_PKEY *key, bool is_private)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *bytes;
    if (is_private)
        PROMISE(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    else
        PROMISE(PEM_write_bio_PUBKEY(out, key) == 1);
    long length = BIO_get_mem_data(out, &bytes);
    char *text = memory_copy_slice(slice_of(bytes, (size_t)length));
    BIO_free(out);
    return text;
}

static char *write_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    BIO *out = BIO_new(BIO_s_mem());
    char *bytes;
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    PROMISE(X509_sign(certificate, key, EVP_sha256()) > 0);
    PROMISE(PEM_write_bio_X509(out, certificate) == 1);
    long length = BIO_get_mem_data(out, &bytes);
    char *text = memory_copy_slice(slice_of(bytes, (size_t)length));
    BIO_free(out);
    X509_free(certificate);
    return text;
}

static void pem_holds_public_keys_and_certificates(void **state)
{
    struct error error;
    char *public_rsa = write_pem(rsa.key, false), *public_ec = write_pem(p256.key, false),
         *public_ed = write_pem(ed25519.key, false);
    char *certificate = write_certificate(p384.key), *private_key = write_pem(p256.key, true);
    char *both = memory_format("a comment\n%s\n%s", public_rsa, certificate);
    const struct {
        const char *text;
        size_t count;
        uint32_t algorithms;
        const char *why;
    } rows[] = {
        { public_rsa, 1, ALL_RSA, "" },
        { public_ec, 1, JWT_BIT(JWT_ES256), "" },
        { public_ed, 1, JWT_BIT(JWT_EDDSA), "" },
        { certificate, 1, JWT_BIT(JWT_ES384), "" },
        { both, 2, ALL_RSA | JWT_BIT(JWT_ES384), "" },
        { private_key, 0, 0, "private key" },
        { "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0, 0, "no public key" },
        { "-----BEGIN PUBLIC KEY-----", 0, 0, "no public key" },
        { "-----BEGIN ", 0, 0, "no public key" },
        { "something", 0, 0, "no public key" },
        { "", 0, 0, "no public key" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_set *set = key_set_read_pem(slice_from_cstring(rows[i].text), &error);
        if (!set != !rows[i].count) fail_msg("%s: %s", rows[i].text, error.text);
        if (!set && !strstr(error.text, rows[i].why)) fail_msg("%s: %s", rows[i].text, error.text);
        if (set) assert_int_equal(key_set_count(set), rows[i].count);
        if (set) assert_int_equal(key_set_algorithms(set), rows[i].algorithms);
        key_set_drop(set);
    }
    char *all[] = { public_rsa, public_ec, public_ed, certificate, private_key, both };
    for (size_t i = 0; i < COUNT_OF(all); i++) free(all[i]);
}

/* --- keys by which anybody signs --- */

/* As PEM and as a JWK, from who publishes and from who writes it down: no way in is wider than another. */
static void expect_refused_everywhere(EVP_PKEY *key, const char *jwk, const char *why)
{
    struct error error = { .text = "" };
    char *pem = write_pem(key, false);
    if (is_taken(key_set_read_pem(slice_from_cstring(pem), &error))) fail_msg("in PEM was taken: %s", jwk);
    if (!strstr(error.text, why)) fail_msg("%s: %s", jwk, error.text);
    if (is_taken(key_set_read_jwks(slice_from_cstring(jwk), &strict, &error))) fail_msg("was taken: %s", jwk);
    if (!strstr(error.text, why)) fail_msg("%s: %s", jwk, error.text);
    if (is_taken(key_set_read_jwks(slice_from_cstring(jwk), &lenient, &error))) fail_msg("was taken: %s", jwk);
    free(pem);
}

static void rsa_numbers_by_which_anybody_signs_are_refused_in_every_form(void **state)
{
    BIGNUM *n = NULL, *even = NULL;
    PROMISE(EVP_PKEY_get_bn_param(rsa.key, OSSL_PKEY_PARAM_RSA_N, &n) == 1);
    even = BN_dup(n);
    PROMISE(BN_sub_word(even, 1) == 1);
    const struct {
        const BIGNUM *n;
        const char *e;
        const char *why; /* NULL: it is a good key */
    } rows[] = {
        { n, "0", "exponent (e) is odd and at least 3" },
        { n, "1", "exponent (e) is odd and at least 3" },
        { n, "2", "exponent (e) is odd and at least 3" },
        { n, "10000", "exponent (e) is odd and at least 3" },
        { n, "10000000000000001", "of up to 64 bits" },
        { even, "10001", "modulus (n) is odd" },
        { n, "3", NULL },
        { n, "FFFFFFFF", NULL },
        { n, "100000001", NULL },
        { n, "FFFFFFFFFFFFFFFF", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        EVP_PKEY *key = rsa_of_numbers(rows[i].n, rows[i].e);
        char *modulus = signer_number(key, OSSL_PKEY_PARAM_RSA_N, 0);
        char *exponent = signer_number(key, OSSL_PKEY_PARAM_RSA_E, strcmp(rows[i].e, "0") ? 0 : 1);
        char *jwk = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", modulus, exponent);
        char *pem = write_pem(key, false);
        if (rows[i].why) {
            expect_refused_everywhere(key, jwk, rows[i].why);
        } else {
            assert_true(is_taken(key_set_read_pem(slice_from_cstring(pem), &error)));
            assert_true(is_taken(key_set_read_jwks(slice_from_cstring(jwk), &strict, &error)));
        }
        free(modulus), free(exponent), free(jwk), free(pem);
        EVP_PKEY_free(key);
    }
    BN_free(n);
    BN_free(even);
}

/* Hexadecimal, little-endian as in RFC 8032 5.1.2. */
static void expect_edwards_refused(int type, const char *hexadecimal, const char *why)
{
    uint8_t bytes[57] = { 0 };
    size_t size = strlen(hexadecimal) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        PROMISE(sscanf(hexadecimal + 2 * i, "%2x", &value) == 1);
        bytes[i] = (uint8_t)value;
    }
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(type, NULL, bytes, size);
    char *x = signer_encode(bytes, size);
    char *jwk = memory_format("{\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"%s\"}",
                              type == EVP_PKEY_ED448 ? "Ed448" : "Ed25519", x);
    PROMISE(key != NULL);
    expect_refused_everywhere(key, jwk, why);
    EVP_PKEY_free(key);
    free(x), free(jwk);
}

/* One signature is good for each eighth message at least, whoever makes it. */
static void points_of_small_order_are_refused_in_every_form(void **state)
{
    static const char *const points_25519[] = {
        "0100000000000000000000000000000000000000000000000000000000000000", /* the neutral one */
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* order 2 */
        "0000000000000000000000000000000000000000000000000000000000000000", /* order 4 */
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", /* order 8 */
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0100000000000000000000000000000000000000000000000000000000000080", /* x is 0 and said to be odd */
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    };
    /* 28 bytes each, as 448 is two times 224. */
    static const char zeros[] = "00000000000000000000000000000000000000000000000000000000",
                      ones[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    char *points_448[] = {
        memory_format("01%s%s00", zeros + 2, zeros),     /* the neutral one */
        memory_format("fe%sfe%s00", ones + 2, ones + 2), /* order 2 */
        memory_format("%s%s00", zeros, zeros),           /* order 4 */
        memory_format("%s%s80", zeros, zeros),
        memory_format("01%s%s80", zeros + 2, zeros), /* x is 0 and said to be odd */
        memory_format("fe%sfe%s80", ones + 2, ones + 2),
    };
    for (size_t i = 0; i < COUNT_OF(points_25519); i++)
        expect_edwards_refused(EVP_PKEY_ED25519, points_25519[i], "anybody can sign");
    for (size_t i = 0; i < COUNT_OF(points_448); i++) {
        expect_edwards_refused(EVP_PKEY_ED448, points_448[i], "anybody can sign");
        free(points_448[i]);
    }
}

/* RFC 8032 5.1.3, 5.2.3: y is smaller than p. A point has one spelling, or a list of bad ones would not hold. */
static void points_have_one_spelling(void **state)
{
    static const char *const points_25519[] = {
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* p */
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    };
    static const char zeros[] = "00000000000000000000000000000000000000000000000000000000",
                      ones[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    char *points_448[] = {
        memory_format("%sfe%s00", ones, ones + 2),                                        /* p */
        memory_format("%sff%s00", zeros, ones + 2),                                       /* p + 1 */
        memory_format("%s%s80", ones, ones), memory_format("05%s%s01", zeros + 2, zeros), /* more than 448 bits */
    };
    for (size_t i = 0; i < COUNT_OF(points_25519); i++)
        expect_edwards_refused(EVP_PKEY_ED25519, points_25519[i], "not written as RFC 8032");
    for (size_t i = 0; i < COUNT_OF(points_448); i++) {
        expect_edwards_refused(EVP_PKEY_ED448, points_448[i], "not written as RFC 8032");
        free(points_448[i]);
    }
}

static void good_keys_of_edwards_curves_are_none_of_them(void **state)
{
    static const char *const types[] = { "ED25519", "ED448" };
    for (size_t i = 0; i < 64; i++) {
        struct error error;
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, types[i % 2]);
        char *pem = write_pem(key, false);
        struct key_set *set = key_set_read_pem(slice_from_cstring(pem), &error);
        if (!set) fail_msg("%s: %s", pem, error.text);
        assert_int_equal(key_set_at(set, 0)->signature_bytes, i % 2 ? 114 : 64);
        key_set_drop(set);
        EVP_PKEY_free(key);
        free(pem);
    }
}

/* The point at infinity, which SEC 1 2.3.3 writes as one byte: what is signed with it depends on no secret. */
static void no_key_is_the_point_at_infinity(void **state)
{
    struct error error;
    assert_false(is_taken(key_set_read_pem(SLICE("-----BEGIN PUBLIC KEY-----\n"
                                                 "MBkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAA\n"
                                                 "-----END PUBLIC KEY-----\n"),
                                           &error)));
    assert_non_null(strstr(error.text, "point"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_verifies_what_its_type_its_curve_and_its_alg_say),
        cmocka_unit_test(secrets_count_only_where_nobody_else_reads),
        cmocka_unit_test(weak_and_broken_keys_are_left_out_or_refused),
        cmocka_unit_test(zeros_in_front_of_an_rsa_keys_numbers_dont_count),
        cmocka_unit_test(a_key_with_private_members_counts_nowhere),
        cmocka_unit_test(foreign_kinds_are_no_error_but_no_keys),
        cmocka_unit_test(sets_are_bounded),
        cmocka_unit_test(equal_sets_have_equal_versions_and_others_others),
        cmocka_unit_test(pem_holds_public_keys_and_certificates),
        cmocka_unit_test(rsa_numbers_by_which_anybody_signs_are_refused_in_every_form),
        cmocka_unit_test(points_of_small_order_are_refused_in_every_form),
        cmocka_unit_test(points_have_one_spelling),
        cmocka_unit_test(good_keys_of_edwards_curves_are_none_of_them),
        cmocka_unit_test(no_key_is_the_point_at_infinity),
    };
    return cmocka_run_group_tests(tests, make_signers, release_signers);
}
