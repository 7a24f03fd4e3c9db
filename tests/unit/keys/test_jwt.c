/* Tokens: the RFCs' own examples, every algorithm, and everything that must not be taken for a good one. */
#include "unit_test.h"

#include "keys/jwt.h"
#include "keys/signer.h"
#include "json/scan.h"

static struct arena arena;
static struct jwt_verifier *verifier;

static int set_up(void **state)
{
    arena_init(&arena, NULL);
    verifier = jwt_verifier_create();
    return verifier ? 0 : -1;
}

static int tear_down(void **state)
{
    arena_release(&arena);
    jwt_verifier_destroy(verifier);
    return 0;
}

static const struct key_set_reading all_kinds = { .takes_secrets = true };

static struct key_set *read_set(const char *text)
{
    struct error error;
    struct key_set *set = key_set_read_jwks(slice_from_cstring(text), &all_kinds, &error);
    if (!set) fail_msg("%s: %s", text, error.text);
    return set;
}

/* Whatever its content is: the RFCs' examples are not all JSON. */
static struct jwt take_apart(const char *token, enum jwt_algorithm algorithm)
{
    struct slice whole = slice_from_cstring(token);
    size_t last = whole.length;
    while (whole.at[last - 1] != '.') last--;
    struct slice encoded = slice_after(whole, last);
    unsigned char *bytes = arena_allocate(&arena, 1024);
    int length = 0;
    char padded[1024];
    snprintf(padded, sizeof padded, "%.*s%s", SLICE_PRINT(encoded),
             encoded.length % 4 == 2   ? "=="
             : encoded.length % 4 == 3 ? "="
                                       : "");
    for (char *at = padded; *at; at++) *at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
    length = EVP_DecodeBlock(bytes, (unsigned char *)padded, (int)strlen(padded));
    for (size_t i = strlen(padded); padded[i - 1] == '='; i--) length--;
    return (struct jwt){ .signing_input = slice_before(whole, last - 1),
                         .signature = slice_of((char *)bytes, (size_t)length),
                         .algorithm = algorithm };
}

#define JOE "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define FRODO                                                                                                          \
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5k" \
    "IGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"

static const struct vector_row {
    const char *name;
    enum jwt_algorithm algorithm;
    const char *jwk, *token;
} vectors[] = {
    { "RFC 7515 A.1", JWT_HS256,
      "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" },
    { "RFC 7515 A.2", JWT_RS256,
      "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-"
      "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca"
      "pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
      "\",\"e\":\"AQAB\"}",
      "eyJhbGciOiJSUzI1NiJ9." JOE
      ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQj"
      "bKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZES"
      "c6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw" },
    { "RFC 7515 A.3", JWT_ES256,
      "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
      "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
      "eyJhbGciOiJFUzI1NiJ9." JOE
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
    { "RFC 7515 A.4", JWT_ES512,
      "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\","
      "\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"}",
      "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_"
      "7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn" },
    { "RFC 7520 4.2", JWT_PS384,
      "{\"kty\":\"RSA\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"n\":\"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVT"
      "eT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYp"
      "Pe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7"
      "h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw\",\"e\":\"AQAB\"}",
      "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." FRODO
      ".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbb"
      "XUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awD"
      "zT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw" },
    { "RFC 8037 A.4", JWT_EDDSA,
      "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
      "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsP"
      "t9g7sVvpAr_MuM0KAg" },
};

static void the_rfcs_examples_are_verified(void **state)
{
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        const struct vector_row *row = &vectors[i];
        struct key_set *set = read_set(row->jwk);
        struct jwt jwt = take_apart(row->token, row->algorithm);
        struct error error = { 0 };
        if (jwt_verify(verifier, set, JWT_BIT(row->algorithm), &jwt, &error) != JWT_VERIFIED)
            fail_msg("%s: %s", row->name, error.text);
        /* One bit of content, or of the signature, and it doesn't hold. */
        char *changed = (char *)(uintptr_t)jwt.signature.at;
        changed[jwt.signature.length / 2] ^= 1;
        if (jwt_verify(verifier, set, JWT_BIT(row->algorithm), &jwt, &error) == JWT_VERIFIED) fail_msg("%s", row->name);
        assert_string_equal(error.reason, "token-signature");
        assert_int_equal(error.status, 401);
        key_set_drop(set);
    }
}

static bool read_whole(struct slice token, struct jwt *jwt, struct error *error)
{
    return jwt_parse(token, &arena, jwt, error) && jwt_read_claims(jwt, &arena, error);
}

static void the_first_example_is_read_whole(void **state)
{
    struct jwt jwt;
    struct error error;
    struct slice token = slice_from_cstring(vectors[0].token);
    assert_true(jwt_is_one(token));
    assert_true(read_whole(token, &jwt, &error));
    assert_slice_is(json_find_text(&jwt.claims, SLICE("iss")), "joe");
    assert_slice_is(json_find_text(&jwt.header, SLICE("typ")), "JWT");
    assert_true(slice_is_absent(jwt.key_id));
    assert_int_equal(jwt.algorithm, JWT_HS256);
    struct jwt_rules rules = { .issuer = SLICE("joe") };
    assert_true(jwt_check_claims(&jwt.claims, &rules, 1300819379, &error));
    assert_false(jwt_check_claims(&jwt.claims, &rules, 1300819380, &error));
    assert_string_equal(error.reason, "token-expired");
}

static void every_algorithm_is_verified_by_its_key_alone(void **state)
{
    struct signer signers[JWT_ALGORITHM_COUNT];
    struct key_set *sets[JWT_ALGORITHM_COUNT];
    char *tokens[JWT_ALGORITHM_COUNT];
    for (enum jwt_algorithm i = 0; i < JWT_ALGORITHM_COUNT; i++) {
        signers[i] = signer_make(i, NULL);
        char *jwk = signer_jwk(&signers[i], "");
        sets[i] = read_set(jwk);
        tokens[i] = signer_sign(&signers[i], "{\"sub\":\"a\"}");
        free(jwk);
    }
    /* Twice: the second time by contexts that are there already. */
    for (int round = 0; round < 2; round++) {
        for (enum jwt_algorithm i = 0; i < JWT_ALGORITHM_COUNT; i++) {
            for (enum jwt_algorithm j = 0; j < JWT_ALGORITHM_COUNT; j++) {
                struct jwt jwt;
                struct error error = { 0 };
                assert_true(jwt_parse(slice_from_cstring(tokens[i]), &arena, &jwt, &error));
                bool good = jwt_verify(verifier, sets[j], UINT32_MAX, &jwt, &error) == JWT_VERIFIED;
                bool expected = i == j || (i >= JWT_HS256 && j >= JWT_HS256); /* these share their secret */
                if (good != expected)
                    fail_msg("%s by a key for %s: %s", jwt_algorithm_names[i], jwt_algorithm_names[j], error.text);
                if (j == i) {
                    assert_int_equal(jwt_verify(verifier, sets[j], ~JWT_BIT(i), &jwt, &error), JWT_REFUSED);
                    assert_string_equal(error.reason, "token-algorithm");
                }
            }
        }
    }
    for (enum jwt_algorithm i = 0; i < JWT_ALGORITHM_COUNT; i++) {
        key_set_drop(sets[i]);
        signer_release(&signers[i]);
        free(tokens[i]);
    }
}

static void a_wrong_length_is_no_signature_of_es256(void **state)
{
    struct key_set *set = read_set(vectors[2].jwk);
    struct jwt good = take_apart(vectors[2].token, JWT_ES256);
    char bytes[80] = { 0 };
    memcpy(bytes, good.signature.at, 64);
    static const size_t lengths[] = { 0, 1, 32, 63, 65, 66, 70, 72, 80 };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct jwt jwt = good;
        struct error error = { 0 };
        jwt.signature = slice_of(bytes, lengths[i]);
        assert_int_not_equal(jwt_verify(verifier, set, UINT32_MAX, &jwt, &error), JWT_VERIFIED);
        assert_string_equal(error.reason, "token-signature");
    }
    /* r = s = 0, and what ECDSA without checks takes for everybody's signature. */
    struct jwt zero = good;
    struct error error = { 0 };
    memset(bytes, 0, sizeof bytes);
    zero.signature = slice_of(bytes, 64);
    assert_int_not_equal(jwt_verify(verifier, set, UINT32_MAX, &zero, &error), JWT_VERIFIED);
    memset(bytes, 0xff, 64);
    assert_int_not_equal(jwt_verify(verifier, set, UINT32_MAX, &zero, &error), JWT_VERIFIED);
    key_set_drop(set);
}

static void a_public_key_is_never_a_secret(void **state)
{
    /* The oldest attack: HS256 over the text of the public key, which everybody has. */
    struct key_set *set = read_set(vectors[1].jwk);
    struct signer attacker = { .algorithm = JWT_HS256 };
    char *token = signer_sign(&attacker, "{\"sub\":\"root\"}");
    struct jwt jwt;
    struct error error = { 0 };
    assert_true(jwt_parse(slice_from_cstring(token), &arena, &jwt, &error));
    assert_int_not_equal(jwt_verify(verifier, set, UINT32_MAX, &jwt, &error), JWT_VERIFIED);
    assert_int_not_equal(jwt_verify(verifier, set, JWT_BIT(JWT_RS256), &jwt, &error), JWT_VERIFIED);
    assert_string_equal(error.reason, "token-algorithm");
    free(token);
    key_set_drop(set);
}

/* A header (or claims, or a part as it is) that must be refused, and the reason. */
static void what_cant_be_one_token_is_refused(void **state)
{
    static const struct {
        const char *header, *claims, *reason;
    } rows[] = {
        { "{\"alg\":\"none\"}", "{}", "token-algorithm" },
        { "{\"alg\":\"None\"}", "{}", "token-algorithm" },
        { "{\"alg\":\"hs256\"}", "{}", "token-algorithm" },
        { "{\"alg\":\"HS256 \"}", "{}", "token-algorithm" },
        { "{\"alg\":\"\"}", "{}", "token-algorithm" },
        { "{\"alg\":\"RSA-OAEP\"}", "{}", "token-algorithm" },
        { "{\"alg\":\"ES256K\"}", "{}", "token-algorithm" },
        { "{\"alg\":5}", "{}", "token-malformed" },
        { "{\"alg\":null}", "{}", "token-malformed" },
        { "{\"typ\":\"JWT\"}", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\",\"alg\":\"none\"}", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\",\"al\\u0067\":\"none\"}", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\",\"kid\":7}", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"crit\":[]}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"crit\":null}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":true}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"b64\":false}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"b64\":\"true\"}", "{}", "token-critical" },
        { "{\"alg\":\"HS256\",\"enc\":\"A128GCM\"}", "{}", "token-encrypted" },
        { "{\"alg\":\"HS256\",\"zip\":\"DEF\"}", "{}", "token-encrypted" },
        { "[\"alg\"]", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\"} x", "{}", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "{\"sub\":\"a\",\"sub\":\"b\"}", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "[]", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "\"a\"", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "{\"sub\":\"\xff\"}", "token-malformed" },
        { "{\"alg\":\"HS256\"}", "{\"exp\":1e400}", "token-malformed" },
    };
    struct signer signer = { .algorithm = JWT_HS256 };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *token = signer_sign_raw(&signer, rows[i].header, rows[i].claims);
        struct jwt jwt;
        struct error error = { 0 };
        if (read_whole(slice_from_cstring(token), &jwt, &error))
            fail_msg("%s %s was read", rows[i].header, rows[i].claims);
        if (strcmp(error.reason, rows[i].reason) != 0)
            fail_msg("%s %s: %s", rows[i].header, rows[i].claims, error.reason);
        assert_int_equal(error.status, 401);
        assert_int_equal(error.blame, BLAME_CLIENT);
        free(token);
    }
}

/* Signed by the key that is meant, or by a stranger's that it brings along. */
static void tokens_that_bring_keys_along_are_refused(void **state)
{
    struct signer signers[] = { signer_make(JWT_ES256, NULL), signer_make(JWT_ES256, NULL) };
    for (size_t i = 0; i < COUNT_OF(signers); i++) {
        char *jwk = signer_jwk(&signers[i], "");
        const char *const members[][2] = {
            { "jwk", jwk },          { "jwk", "null" }, { "jku", "\"https://evil.example/\"" },
            { "x5c", "[\"AAAA\"]" }, { "x5c", "[]" },   { "x5u", "\"https://evil.example/\"" },
            { "x5\\u0075", "\"\"" }
        };
        for (size_t j = 0; j < COUNT_OF(members); j++) {
            char *header = memory_format("{\"alg\":\"ES256\",\"%s\":%s}", members[j][0], members[j][1]);
            char *token = signer_sign_raw(&signers[i], header, "{}");
            struct jwt jwt;
            struct error error = { 0 };
            if (jwt_parse(slice_from_cstring(token), &arena, &jwt, &error)) fail_msg("%s was read", header);
            if (strcmp(error.reason, "token-embedded-key") != 0) fail_msg("%s: %s", header, error.reason);
            assert_int_equal(error.status, 401);
            assert_int_equal(error.blame, BLAME_CLIENT);
            free(token), free(header);
        }
        free(jwk);
        signer_release(&signers[i]);
    }
}

static void only_canonical_base64url_is_read(void **state)
{
    static const char *const bad[] = {
        "eyJhbGciOiJIUzI1NiJ9.e30.AA=",  /* padding */
        "eyJhbGciOiJIUzI1NiJ9.e30.AB",   /* bits behind the last byte */
        "eyJhbGciOiJIUzI1NiJ9.e30.AAB",  /* the same of two bytes */
        "eyJhbGciOiJIUzI1NiJ9.e30.A",    /* no byte at all */
        "eyJhbGciOiJIUzI1NiJ9.e30.AA+A", /* the other alphabet */
        "eyJhbGciOiJIUzI1NiJ9.e30.AA A",
        "eyJhbGciOiJIUzI1NiJ9.e30.AAA\n",
        "eyJhbGciOiJIUzI1NiJ9.e31.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30=.AA",
        "eyJhbGciOiJIUzI1NiJ9\n.e30.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.\xc3\xa9\xc3\xa9",
        "eyJhbGciOiJIUzI1NiJ9.e30",
        "eyJhbGciOiJIUzI1NiJ9",
        ".e30.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.A.A.A",
        "eyJhbGciOiJIUzI1NiJ9.e30.A.A.A.A",
        "",
        "...",
        "eyJhbGciOiJIUzI1NiJ9..AA",
    };
    struct jwt jwt;
    struct error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (read_whole(slice_from_cstring(bad[i]), &jwt, &error)) fail_msg("\"%s\" was read", bad[i]);
        assert_int_equal(error.status, 401);
    }
    assert_true(jwt_parse(SLICE("eyJhbGciOiJIUzI1NiJ9.e30.AA"), &arena, &jwt, &error));
    assert_int_equal(jwt.signature.length, 1);
    assert_true(jwt_parse(SLICE("eyJhbGciOiJIUzI1NiJ9.e30."), &arena, &jwt, &error));
    assert_int_equal(jwt.signature.length, 0);
}

static void huge_tokens_are_refused_unread(void **state)
{
    char *text = memory_allocate(JWT_BYTES_MAX + 2);
    struct jwt jwt;
    struct error error;
    memset(text, 'A', JWT_BYTES_MAX + 1);
    memcpy(text, "eyJhbGciOiJIUzI1NiJ9.e30.", 25);
    assert_false(jwt_parse(slice_of(text, JWT_BYTES_MAX + 1), &arena, &jwt, &error));
    assert_string_equal(error.reason, "token-too-large");
    assert_true(jwt_parse(slice_of(text, JWT_BYTES_MAX - 3), &arena, &jwt, &error));
    free(text);
}

/* A stranger's token buys no memory: neither by its claims, which are read once the signature has held, nor by its header. */
static void a_token_that_nobody_signed_takes_little_memory(void **state)
{
    enum { ITEMS = 5800, BYTES_MAX = 96 << 10 };
    struct signer signer = { .algorithm = JWT_HS256 };
    char *many = memory_allocate(2 * ITEMS + 64);
    struct jwt jwt;
    struct error error = { 0 };
    struct memory_ceiling ceiling = { .bytes_max = BYTES_MAX };
    struct arena_pool pool;
    struct arena small;
    char *end = stpcpy(many, "{\"alg\":\"HS256\",\"a\":[0");
    for (int i = 0; i < ITEMS; i++) end = mempcpy(end, ",0", 2);
    memcpy(end, "]}", sizeof "]}");
    arena_pool_init(&pool, 0, &ceiling);
    for (int in_header = 0; in_header < 2; in_header++) {
        char *token = signer_sign_raw(&signer, in_header ? many : "{\"alg\":\"HS256\"}", in_header ? "{}" : many);
        arena_init(&small, &pool);
        bool good = jwt_parse(slice_from_cstring(token), &small, &jwt, &error);
        assert_int_equal(good, !in_header);
        if (in_header) assert_string_equal(error.reason, "token-malformed");
        arena_release(&small);
        free(token);
    }
    arena_pool_release(&pool);
    free(many);
}

static void the_issuer_is_known_before_the_claims_are_read(void **state)
{
    static const struct {
        const char *claims, *issuer; /* NULL: none */
    } rows[] = {
        { "{\"sub\":\"a\",\"iss\":\"https://one/\"}", "https://one/" },
        { "{\"\\u0069ss\":\"https:\\/\\/one\\/\"}", "https://one/" },
        { "{\"a\":{\"iss\":\"https://two/\"},\"iss\":\"https://one/\"}", "https://one/" },
        { "{\"iss\":[\"https://one/\"]}", NULL },
        { "{\"iss\":null}", NULL },
        { "{\"a\":{\"iss\":\"https://one/\"}}", NULL },
        { "[\"iss\",\"https://one/\"]", NULL },
        { "\"https://one/\"", NULL },
    };
    struct signer signer = { .algorithm = JWT_HS256 };
    struct jwt jwt;
    struct error error;
    struct slice claimed;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *token = signer_sign_raw(&signer, "{\"alg\":\"HS256\"}", rows[i].claims);
        assert_true(jwt_parse(slice_from_cstring(token), &arena, &jwt, &error));
        assert_true(jwt_claimed_issuer(&jwt, &claimed, &error));
        if (json_scan_is_text(claimed, SLICE("https://one/")) != (rows[i].issuer != NULL))
            fail_msg("%s", rows[i].claims);
        free(token);
    }
    char *broken = signer_sign_raw(&signer, "{\"alg\":\"HS256\"}", "{\"iss\":\"https://one/\"");
    assert_true(jwt_parse(slice_from_cstring(broken), &arena, &jwt, &error));
    assert_false(jwt_claimed_issuer(&jwt, &claimed, &error));
    assert_string_equal(error.reason, "token-malformed");
    free(broken);
}

static void what_looks_like_no_token_is_none(void **state)
{
    static const struct {
        const char *text;
        bool is_one;
    } rows[] = {
        { "eyJhbGciOiJIUzI1NiJ9.e30.AA", true },
        { "eyJhbGciOiJub25lIn0.e30.", true },
        { "eyJhbGciOiJIUzI1NiJ9.e30.A.A.A", true }, /* encrypted: a token, and refused */
        { "eyJhbGciOiJIUzI1NiJ9.e30", false },
        { "eyJhbGciOiJIUzI1NiJ9", false },
        { "ICJhbGciOiJIUzI1NiJ9.e30.AA", false },
        { "IHsiYWxnIjoiSFMyNTYifQ.e30.AA", true },   /* white space before the brace */
        { "ICAgeyJhbGciOiJSUzI1NiJ9.e30.AA", true }, /* and more of it than a group of base64 holds */
        { "Cg0JICAgICAgeyJhbGciOiJub25lIn0.e30.", true },
        { "=e=yJhbGciOiJIUzI1NiJ9.e30.AA", true }, /* as lenient readers decode it */
        { "ICAgeA.e30.AA", false },
        { "v2.local.AAAA", false },
        { "3vYkQ0t1F2b9cXlPq7ZsDmWnRh4uGjKeTa8oBiLxV6c", false },
        { "", false },
        { "..", false },
        { "ey.e30.AA", true }, /* a brace: refused, not passed on */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (jwt_is_one(slice_from_cstring(rows[i].text)) != rows[i].is_one) fail_msg("\"%s\"", rows[i].text);
    }
}

static void a_kid_chooses_among_keys(void **state)
{
    struct signer one = signer_make(JWT_ES256, "one"), two = signer_make(JWT_ES256, "two"),
                  other = signer_make(JWT_ES256, "other");
    struct signer nameless = signer_make(JWT_ES256, NULL);
    char *jwks[] = { signer_jwk(&one, ""), signer_jwk(&two, ""), signer_jwk(&nameless, "") };
    char *named = memory_format("{\"keys\":[%s,%s]}", jwks[0], jwks[1]);
    char *mixed = memory_format("{\"keys\":[%s,%s]}", jwks[0], jwks[2]);
    struct key_set *named_set = read_set(named), *mixed_set = read_set(mixed);
    const struct {
        struct signer by;
        const char *kid;
        const struct key_set *set;
        enum jwt_verdict verdict;
    } rows[] = {
        { one, "one", named_set, JWT_VERIFIED },        { two, "two", named_set, JWT_VERIFIED },
        { one, "two", named_set, JWT_REFUSED },         { other, "one", named_set, JWT_REFUSED },
        { other, "other", named_set, JWT_UNKNOWN_KEY }, { one, "ONE", named_set, JWT_UNKNOWN_KEY },
        { one, NULL, named_set, JWT_VERIFIED },         { two, NULL, named_set, JWT_VERIFIED },
        { other, NULL, named_set, JWT_UNKNOWN_KEY },    { nameless, "any", mixed_set, JWT_VERIFIED },
        { nameless, "one", mixed_set, JWT_REFUSED },    { other, "other", mixed_set, JWT_UNKNOWN_KEY },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct signer signer = rows[i].by;
        struct jwt jwt;
        struct error error = { 0 };
        signer.kid = rows[i].kid;
        char *token = signer_sign(&signer, "{}");
        assert_true(jwt_parse(slice_from_cstring(token), &arena, &jwt, &error));
        enum jwt_verdict verdict = jwt_verify(verifier, rows[i].set, UINT32_MAX, &jwt, &error);
        if (verdict != rows[i].verdict) fail_msg("row %zu: %d, %s", i, verdict, error.text);
        free(token);
    }
    for (size_t i = 0; i < COUNT_OF(jwks); i++) free(jwks[i]);
    free(named), free(mixed);
    key_set_drop(named_set);
    key_set_drop(mixed_set);
    signer_release(&one);
    signer_release(&two);
    signer_release(&other);
    signer_release(&nameless);
}

/* --- claims --- */

static const char *judge(const char *claims, const struct jwt_rules *rules, int64_t now_s)
{
    struct json_value value;
    struct error error = { .reason = "good" };
    assert_true(json_parse(slice_from_cstring(claims), &arena, &value, &error));
    return jwt_check_claims(&value, rules, now_s, &error) ? "good" : error.reason;
}

static void times_are_held_against_the_clock_with_leeway(void **state)
{
    static const struct jwt_rules strict = { 0 }, lenient = { .leeway_s = 10 };
    static const struct {
        const char *claims, *strictly, *leniently;
    } rows[] = {
        { "{}", "good", "good" },
        { "{\"exp\":1001}", "good", "good" },
        { "{\"exp\":1000}", "token-expired", "good" },
        { "{\"exp\":1000.5}", "token-expired", "good" },
        { "{\"exp\":990}", "token-expired", "token-expired" },
        { "{\"exp\":991}", "token-expired", "good" },
        { "{\"exp\":0}", "token-expired", "token-expired" },
        { "{\"exp\":-5}", "token-expired", "token-expired" },
        { "{\"exp\":9223372036854775807}", "good", "good" },
        { "{\"exp\":-9223372036854775808}", "token-expired", "token-expired" },
        { "{\"exp\":1e300}", "good", "good" },
        { "{\"exp\":-1e300}", "token-expired", "token-expired" },
        { "{\"exp\":\"2000\"}", "token-malformed", "token-malformed" },
        { "{\"exp\":null}", "token-malformed", "token-malformed" },
        { "{\"exp\":[2000]}", "token-malformed", "token-malformed" },
        { "{\"nbf\":1000}", "good", "good" },
        { "{\"nbf\":1000.5}", "token-not-yet-valid", "good" },
        { "{\"nbf\":1001}", "token-not-yet-valid", "good" },
        { "{\"nbf\":1011}", "token-not-yet-valid", "token-not-yet-valid" },
        { "{\"nbf\":\"1\"}", "token-malformed", "token-malformed" },
        { "{\"iat\":1000}", "good", "good" },
        { "{\"iat\":1010}", "token-not-yet-valid", "good" },
        { "{\"iat\":5000}", "token-not-yet-valid", "token-not-yet-valid" },
        { "{\"iat\":9223372036854775807}", "token-not-yet-valid", "token-not-yet-valid" },
        { "{\"iat\":true}", "token-malformed", "token-malformed" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *strictly = judge(rows[i].claims, &strict, 1000), *leniently = judge(rows[i].claims, &lenient, 1000);
        if (strcmp(strictly, rows[i].strictly) != 0) fail_msg("%s: %s", rows[i].claims, strictly);
        if (strcmp(leniently, rows[i].leniently) != 0) fail_msg("%s with leeway: %s", rows[i].claims, leniently);
    }
}

static void issuer_and_audience_must_be_meant(void **state)
{
    static const struct slice audiences[] = { { "api", 3 }, { "web", 3 } };
    static const struct jwt_rules rules = { .issuer = SLICE("https://a/"),
                                            .audiences = audiences,
                                            .audience_count = 2 };
    static const struct {
        const char *claims, *result;
    } rows[] = {
        { "{\"iss\":\"https://a/\",\"aud\":\"api\"}", "good" },
        { "{\"iss\":\"https://a/\",\"aud\":[\"x\",\"web\"]}", "good" },
        { "{\"iss\":\"https://a/\",\"aud\":[]}", "token-audience" },
        { "{\"iss\":\"https://a/\",\"aud\":\"apis\"}", "token-audience" },
        { "{\"iss\":\"https://a/\",\"aud\":7}", "token-audience" },
        { "{\"iss\":\"https://a/\",\"aud\":{\"api\":1}}", "token-audience" },
        { "{\"iss\":\"https://a/\",\"aud\":[[\"api\"]]}", "token-audience" },
        { "{\"iss\":\"https://a/\"}", "token-audience" },
        { "{\"iss\":\"https://a\",\"aud\":\"api\"}", "token-issuer" },
        { "{\"iss\":[\"https://a/\"],\"aud\":\"api\"}", "token-issuer" },
        { "{\"aud\":\"api\"}", "token-issuer" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *result = judge(rows[i].claims, &rules, 1000);
        if (strcmp(result, rows[i].result) != 0) fail_msg("%s: %s", rows[i].claims, result);
    }
}

static void required_claims_are_there_and_what_they_must_be(void **state)
{
    static const struct jwt_required_claim required[] = { { SLICE("sub"), SLICE_ABSENT },
                                                          { SLICE("tier"), SLICE("gold") } };
    static const struct jwt_rules rules = { .required = required, .required_count = 2 };
    static const struct {
        const char *claims, *result;
    } rows[] = {
        { "{\"sub\":\"a\",\"tier\":\"gold\"}", "good" },
        { "{\"sub\":false,\"tier\":[\"silver\",\"gold\"]}", "good" },
        { "{\"sub\":null,\"tier\":\"gold\"}", "token-claim" },
        { "{\"tier\":\"gold\"}", "token-claim" },
        { "{\"sub\":\"a\",\"tier\":\"golden\"}", "token-claim" },
        { "{\"sub\":\"a\",\"tier\":{\"gold\":true}}", "token-claim" },
        { "{\"sub\":\"a\",\"tier\":[[\"gold\"]]}", "token-claim" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *result = judge(rows[i].claims, &rules, 1000);
        if (strcmp(result, rows[i].result) != 0) fail_msg("%s: %s", rows[i].claims, result);
    }
    static const struct jwt_required_claim typed[] = { { SLICE("n"), SLICE("7") }, { SLICE("b"), SLICE("true") } };
    static const struct jwt_rules typed_rules = { .required = typed, .required_count = 2 };
    assert_string_equal(judge("{\"n\":7,\"b\":true}", &typed_rules, 1000), "good");
    assert_string_equal(judge("{\"n\":7,\"b\":false}", &typed_rules, 1000), "token-claim");
    assert_string_equal(judge("{\"n\":7.5,\"b\":true}", &typed_rules, 1000), "token-claim");
    /* Whole numbers are compared digit by digit, whatever their length. */
    static const char *const numbers[] = { "9007199254740993", "18446744073709551615", "18446744073709551617" };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        char claims[64];
        struct jwt_required_claim one = { SLICE("n"), slice_from_cstring(numbers[i]) };
        const struct jwt_rules one_rule = { .required = &one, .required_count = 1 };
        snprintf(claims, sizeof claims, "{\"n\":%s}", numbers[i]);
        assert_string_equal(judge(claims, &one_rule, 1000), "good");
        claims[strlen(claims) - 2] = '9';
        assert_string_equal(judge(claims, &one_rule, 1000), "token-claim");
    }
    static const struct jwt_rules none = { 0 };
    assert_string_equal(judge("{\"exp\":18446744073709551615}", &none, 1000), "good");
    assert_string_equal(judge("{\"exp\":184467440737095516150}", &none, 1000), "good");
    assert_string_equal(judge("{\"nbf\":184467440737095516150}", &none, 1000), "token-not-yet-valid");
    assert_string_equal(judge("{\"exp\":-184467440737095516150}", &none, 1000), "token-expired");
}

static bool read_subject(const char *claims, struct jwt_subject *subject, struct error *error)
{
    struct json_value value;
    assert_true(json_parse(slice_from_cstring(claims), &arena, &value, error));
    return jwt_read_subject(&value, &arena, subject, error);
}

static void a_token_says_whom_it_speaks_for(void **state)
{
    struct jwt_subject subject;
    struct error error;
    assert_true(
        read_subject("{\"sub\":\"u\",\"client_id\":\"c\",\"azp\":\"z\",\"scope\":\"a b\",\"iss\":\"i\",\"exp\":7}",
                     &subject, &error));
    assert_slice_is(subject.user_id, "u");
    assert_slice_is(subject.client_id, "c");
    assert_slice_is(subject.scopes, "a b");
    assert_slice_is(subject.issuer, "i");
    assert_int_equal(subject.expires_s, 7);
    assert_true(read_subject("{\"azp\":\"z\",\"scp\":[\"a\",\"b  c\",\"\"]}", &subject, &error));
    assert_true(slice_is_absent(subject.user_id));
    assert_slice_is(subject.client_id, "z");
    assert_slice_is(subject.scopes, "a b c");
    assert_true(subject.expires_s == INT64_MAX);
    assert_true(read_subject("{\"scope\":\" a   b \",\"scp\":\"x\"}", &subject, &error));
    assert_slice_is(subject.scopes, "a b");
    assert_true(read_subject("{\"scope\":[]}", &subject, &error));
    assert_slice_is(subject.scopes, "");
    assert_true(read_subject("{\"sub\":\"\",\"client_id\":\"\",\"azp\":\"z y\"}", &subject, &error));
    assert_true(slice_is_absent(subject.user_id)); /* nobody's name */
    assert_slice_is(subject.client_id, "z y");
    static const char *const bad[] = {
        "{\"sub\":7}",
        "{\"sub\":[\"a\"]}",
        "{\"sub\":\"a\\r\\nX-Admin: 1\"}",
        "{\"sub\":\"a\\u0000b\"}",
        "{\"client_id\":true}",
        "{\"azp\":{}}",
        "{\"scope\":7}",
        "{\"scope\":[7]}",
        "{\"scp\":\"a\\nb\"}",
        "{\"iss\":[]}",
        /* A rule would read another name than the service, whose header loses it. */
        "{\"sub\":\" admin\"}",
        "{\"sub\":\"admin \"}",
        "{\"sub\":\"\\tadmin\"}",
        "{\"sub\":\" \"}",
        "{\"sub\":\"a\\u0001b\"}",
        "{\"client_id\":\"app\\u007f\"}",
        "{\"azp\":\"app\\t\"}",
        "{\"iss\":\" i\"}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (read_subject(bad[i], &subject, &error)) fail_msg("%s", bad[i]);
        assert_string_equal(error.reason, "token-claim");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_rfcs_examples_are_verified, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_example_is_read_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_algorithm_is_verified_by_its_key_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_length_is_no_signature_of_es256, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_public_key_is_never_a_secret, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cant_be_one_token_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_that_bring_keys_along_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_canonical_base64url_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(huge_tokens_are_refused_unread, set_up, tear_down),
        cmocka_unit_test(a_token_that_nobody_signed_takes_little_memory),
        cmocka_unit_test_setup_teardown(the_issuer_is_known_before_the_claims_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_looks_like_no_token_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kid_chooses_among_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_are_held_against_the_clock_with_leeway, set_up, tear_down),
        cmocka_unit_test_setup_teardown(issuer_and_audience_must_be_meant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(required_claims_are_there_and_what_they_must_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_says_whom_it_speaks_for, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
