/* Key sets: which keys are taken for what, and which never. */
#include "unit_test.h"

#include "keys/key_set.h"
#include "keys/signer.h"

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
    char *large = memory_format("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAAAAAB\"}", big_n);
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
        { one, "none of RSA's" },
        { padded_one, "none of RSA's" },
        { even, "none of RSA's" },
        { large, "up to 32 bits" },
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_verifies_what_its_type_its_curve_and_its_alg_say),
        cmocka_unit_test(secrets_count_only_where_nobody_else_reads),
        cmocka_unit_test(weak_and_broken_keys_are_left_out_or_refused),
        cmocka_unit_test(foreign_kinds_are_no_error_but_no_keys),
        cmocka_unit_test(sets_are_bounded),
        cmocka_unit_test(equal_sets_have_equal_versions_and_others_others),
        cmocka_unit_test(pem_holds_public_keys_and_certificates),
    };
    return cmocka_run_group_tests(tests, make_signers, release_signers);
}
