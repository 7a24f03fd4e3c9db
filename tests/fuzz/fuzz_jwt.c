/* A token that is read is written in no other way: its parts, encoded again, are the text. Nothing verifies but what our keys signed, and judging and
 * reading claims ends well for any. */
#include "h1_fuzzing.h"
#include "keys/jwt.h"
#include "json/scan.h"

#include <openssl/err.h>

static const char keys_text[] =
    "{\"keys\":["
    "{\"kty\":\"oct\",\"kid\":\"hs\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"},"
    "{\"kty\":\"EC\",\"kid\":\"es256\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\","
    "\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"RSA\",\"kid\":\"rs\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4"
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca"
    "pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]}";

/* The one signature among what a fuzzer can reach: RFC 7515's examples. */
#define JOE "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

static bool is_known(struct slice token)
{
    static const struct slice known[] = { SLICE("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE "."),
                                          SLICE("eyJhbGciOiJSUzI1NiJ9." JOE "."),
                                          SLICE("eyJhbGciOiJFUzI1NiJ9." JOE ".") };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (slice_starts_with(token, known[i])) return true;
    }
    return false;
}

/* The signature's part of the text must be this one. */
static void require_canonical(struct slice signature, struct slice text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *at = (const unsigned char *)signature.at;
    size_t written = 0;
    for (size_t i = 0; i < signature.length; i += 3) {
        size_t left = signature.length - i < 3 ? signature.length - i : 3;
        unsigned word = (unsigned)at[i] << 16 | (left > 1 ? (unsigned)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0u);
        for (size_t j = 0; j <= left; j++, written++)
            PROMISE(written < text.length && text.at[written] == alphabet[word >> (18 - 6 * j) & 63]);
    }
    PROMISE(written == text.length);
}

/* What is looked for before the signature is what stands in the tree behind it. */
static void try_issuer(const struct jwt *jwt)
{
    struct error error;
    struct slice claimed, issuer = json_find_text(&jwt->claims, SLICE("iss"));
    PROMISE(jwt->claims.type == JSON_OBJECT && jwt_claimed_issuer(jwt, &claimed, &error));
    PROMISE(slice_is_absent(issuer) ? slice_is_absent(claimed) || claimed.at[0] != '"'
                                    : json_scan_is_text(claimed, issuer));
}

static void try_type(const struct jwt *jwt)
{
    static const struct slice types[] = { SLICE("at+jwt") };
    const struct jwt_rules typed = { .types = types, .type_count = 1 }, none = { .leeway_s = 0 };
    struct error error;
    PROMISE(jwt_check_type(jwt, &none, &error));
    PROMISE(jwt_check_type(jwt, &typed, &error) || error.status == 401);
}

static void try_claims(const struct json_value *claims, struct arena *arena)
{
    static const struct slice audiences[] = { SLICE("api") };
    static const struct jwt_required_claim required[] = { { SLICE("a"), SLICE_ABSENT }, { SLICE("b"), SLICE("1") } };
    const struct jwt_rules none = { .leeway_s = 0 }, all = { .issuer = SLICE("joe"),
                                                             .audiences = audiences,
                                                             .audience_count = 1,
                                                             .required = required,
                                                             .required_count = 2,
                                                             .leeway_s = 5 };
    struct jwt_subject subject;
    struct error error;
    bool passes = jwt_check_claims(claims, &all, 1300819379, &error);
    PROMISE(!passes || jwt_check_claims(claims, &none, 1300819379, &error) || strstr(error.reason, "token-"));
    PROMISE(passes || error.status == 401);
    if (jwt_read_subject(claims, arena, &subject, &error)) {
        PROMISE(header_value_is_valid(subject.user_id) && header_value_is_valid(subject.scopes) &&
                header_value_is_valid(subject.client_id));
        PROMISE(slice_find(subject.scopes, SLICE("  ")) == SLICE_NOT_FOUND);
    } else {
        PROMISE(error.status == 401);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct key_set *keys;
    static struct jwt_verifier *verifier;
    static const struct key_set_reading reading = { .takes_secrets = true };
    struct error error;
    if (!keys) {
        keys = key_set_read_jwks(slice_from_cstring(keys_text), &reading, &error);
        verifier = jwt_verifier_create();
        PROMISE(keys && verifier);
    }
    char *copy = fuzz_copy((const char *)bytes, length);
    struct slice token = slice_of(copy, length);
    struct arena arena;
    struct jwt jwt;
    arena_init(&arena, NULL);
    if (jwt_parse(token, &arena, &jwt, &error)) {
        PROMISE(jwt_is_one(token) || slice_find_byte(token, '{') == SLICE_NOT_FOUND);
        PROMISE(jwt.header.type == JSON_OBJECT && jwt.algorithm < JWT_ALGORITHM_COUNT);
        PROMISE(jwt.signing_input.at == token.at && jwt.signing_input.length < token.length);
        require_canonical(jwt.signature, slice_after(token, jwt.signing_input.length + 1));
        if (jwt_verify(verifier, keys, UINT32_MAX, &jwt, &error) == JWT_VERIFIED)
            PROMISE(is_known(token));
        else
            PROMISE(error.status == 401);
        PROMISE(ERR_peek_error() == 0);
        try_type(&jwt);
        if (jwt_read_claims(&jwt, &arena, &error)) try_issuer(&jwt), try_claims(&jwt.claims, &arena);
    } else {
        PROMISE(error.status == 401 && error.blame == BLAME_CLIENT);
    }
    arena_release(&arena);
    free(copy);
    return 0;
}
