/* keys/jwt_verify.c: does a key of ours hold for a token's signature?
 *
 * EVP_DigestVerifyInit() costs as much as a quarter of an RSA verification, so a key used lately keeps a context with everything set, on a
 * copy of the key that belongs to this thread (OpenSSL locks what a key remembers of its numbers), and only EVP_PKEY_verify() runs for a token.
 * EdDSA hashes the message itself and is set up each time: next to its own cost that is nothing. */
#include "keys/jwt_private.h"

#include "base/memory.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#define SLOTS 64
#define DER_BYTES_MAX (3 + 2 * (2 + 1 + 66)) /* of an ES512 signature */

/* A key set up for one algorithm. */
struct slot {
    uint8_t fingerprint[JWT_FINGERPRINT_BYTES];
    enum jwt_algorithm algorithm;
    EVP_PKEY *key;          /* EdDSA */
    EVP_PKEY_CTX *verifier; /* RS, PS, ES */
    EVP_MAC_CTX *mac;       /* HS; holds the secret */
};

enum hash { HASH_256, HASH_384, HASH_512, HASH_COUNT };

struct jwt_verifier {
    EVP_MD *hashes[HASH_COUNT];
    EVP_MD_CTX *hashing;
    EVP_MAC *hmac;
    struct slot slots[SLOTS];
};

static const char *const hash_names[HASH_COUNT] = { "SHA256", "SHA384", "SHA512" };

/* The names of a family come in this order. EdDSA: none. */
static enum hash hash_of(enum jwt_algorithm algorithm)
{
    switch (algorithm) {
    case JWT_RS256:
    case JWT_PS256:
    case JWT_ES256:
    case JWT_HS256: return HASH_256;
    case JWT_RS384:
    case JWT_PS384:
    case JWT_ES384:
    case JWT_HS384: return HASH_384;
    default: return HASH_512;
    }
}

static bool is_ec(enum jwt_algorithm algorithm) { return algorithm >= JWT_ES256 && algorithm <= JWT_ES512; }
static bool is_pss(enum jwt_algorithm algorithm) { return algorithm >= JWT_PS256 && algorithm <= JWT_PS512; }

/* --- slots --- */

static void slot_release(struct slot *slot)
{
    EVP_PKEY_CTX_free(slot->verifier);
    EVP_MAC_CTX_free(slot->mac);
    EVP_PKEY_free(slot->key);
    *slot = (struct slot){ 0 };
}

static bool set_up_mac(struct jwt_verifier *verifier, struct slot *slot, const struct jwt_key *key)
{
    char name[8];
    snprintf(name, sizeof name, "%s", hash_names[hash_of(slot->algorithm)]);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };
    slot->mac = EVP_MAC_CTX_new(verifier->hmac);
    return slot->mac &&
           EVP_MAC_init(slot->mac, (const unsigned char *)key->secret.at, key->secret.length, parameters) == 1;
}

/* RFC 7518 3.3 to 3.5: PKCS #1 1.5, or PSS with the same hash in MGF1 and a salt of its size. */
static bool set_up_verifier(struct jwt_verifier *verifier, struct slot *slot)
{
    const EVP_MD *hash = verifier->hashes[hash_of(slot->algorithm)];
    EVP_PKEY_CTX *context = slot->verifier = EVP_PKEY_CTX_new_from_pkey(NULL, slot->key, NULL);
    if (!context || EVP_PKEY_verify_init(context) != 1) return false;
    if (!is_ec(slot->algorithm)) {
        int padding = is_pss(slot->algorithm) ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
        if (EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1) return false;
    }
    if (EVP_PKEY_CTX_set_signature_md(context, hash) != 1) return false;
    return !is_pss(slot->algorithm) || (EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash) == 1 &&
                                        EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static bool set_up(struct jwt_verifier *verifier, struct slot *slot, const struct jwt_key *key)
{
    if (!key->public_key) return set_up_mac(verifier, slot, key);
    slot->key = EVP_PKEY_dup(key->public_key);
    return slot->key && (slot->algorithm == JWT_EDDSA || set_up_verifier(verifier, slot));
}

/* NULL: out of memory. */
static struct slot *find_slot(struct jwt_verifier *verifier, const struct jwt_key *key, enum jwt_algorithm algorithm)
{
    struct slot *slot = &verifier->slots[(key->fingerprint[0] + algorithm) % SLOTS];
    if (slot->algorithm == algorithm && (slot->key || slot->mac) &&
        memcmp(slot->fingerprint, key->fingerprint, sizeof slot->fingerprint) == 0)
        return slot;
    slot_release(slot);
    slot->algorithm = algorithm;
    memcpy(slot->fingerprint, key->fingerprint, sizeof slot->fingerprint);
    if (set_up(verifier, slot, key)) return slot;
    slot_release(slot);
    return NULL;
}

/* --- one key --- */

/* A number without leading zeros, as DER has it (X.690 8.3). */
static uint8_t *put_integer(uint8_t *into, const uint8_t *number, size_t length)
{
    while (length > 1 && *number == 0) number++, length--;
    bool is_padded = *number & 0x80;
    *into++ = 0x02;
    *into++ = (uint8_t)(length + is_padded);
    if (is_padded) *into++ = 0;
    memcpy(into, number, length);
    return into + length;
}

/* r and s beside each other (RFC 7518 3.4) to the SEQUENCE that OpenSSL reads. It refuses those beyond 1 to n - 1. */
static size_t write_der(struct slice signature, uint8_t into[DER_BYTES_MAX])
{
    uint8_t body[DER_BYTES_MAX];
    const uint8_t *numbers = (const uint8_t *)signature.at;
    uint8_t *end = put_integer(body, numbers, signature.length / 2), *at = into;
    end = put_integer(end, numbers + signature.length / 2, signature.length / 2);
    size_t length = (size_t)(end - body);
    *at++ = 0x30;
    if (length > 127) *at++ = 0x81;
    *at++ = (uint8_t)length;
    memcpy(at, body, length);
    return (size_t)(at - into) + length;
}

static bool verify_hashed(struct jwt_verifier *verifier, const struct slot *slot, const struct jwt *jwt)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_length;
    uint8_t der[DER_BYTES_MAX];
    const uint8_t *signature = (const uint8_t *)jwt->signature.at;
    size_t length = jwt->signature.length;
    if (EVP_DigestInit_ex2(verifier->hashing, verifier->hashes[hash_of(slot->algorithm)], NULL) != 1 ||
        EVP_DigestUpdate(verifier->hashing, jwt->signing_input.at, jwt->signing_input.length) != 1 ||
        EVP_DigestFinal_ex(verifier->hashing, hash, &hash_length) != 1)
        return false;
    if (is_ec(slot->algorithm)) {
        length = write_der(jwt->signature, der);
        signature = der;
    }
    return EVP_PKEY_verify(slot->verifier, signature, length, hash, hash_length) == 1;
}

static bool verify_eddsa(struct jwt_verifier *verifier, const struct slot *slot, const struct jwt *jwt)
{
    EVP_MD_CTX *context = verifier->hashing;
    bool good = EVP_DigestVerifyInit_ex(context, NULL, NULL, NULL, NULL, slot->key, NULL) == 1 &&
                EVP_DigestVerify(context, (const uint8_t *)jwt->signature.at, jwt->signature.length,
                                 (const uint8_t *)jwt->signing_input.at, jwt->signing_input.length) == 1;
    EVP_MD_CTX_reset(context);
    return good;
}

static bool verify_mac(const struct slot *slot, const struct jwt *jwt)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t length;
    return EVP_MAC_init(slot->mac, NULL, 0, NULL) == 1 &&
           EVP_MAC_update(slot->mac, (const uint8_t *)jwt->signing_input.at, jwt->signing_input.length) == 1 &&
           EVP_MAC_final(slot->mac, mac, &length, sizeof mac) == 1 && length == jwt->signature.length &&
           CRYPTO_memcmp(mac, jwt->signature.at, length) == 0;
}

/* False with *error set (503): no memory; without: it doesn't hold. */
static bool verify_with(struct jwt_verifier *verifier, const struct jwt_key *key, const struct jwt *jwt,
                        struct error *error)
{
    error->status = 0;
    if (key->public_key && jwt->signature.length != key->signature_bytes) return false;
    const struct slot *slot = find_slot(verifier, key, jwt->algorithm);
    bool good;
    if (!slot)
        good = jwt_no_memory(error);
    else if (slot->mac)
        good = verify_mac(slot, jwt);
    else if (slot->verifier)
        good = verify_hashed(verifier, slot, jwt);
    else
        good = verify_eddsa(verifier, slot, jwt);
    if (!good) ERR_clear_error(); /* the thread's TLS sessions look at the same queue */
    return good;
}

/* --- which key --- */

enum match { MATCH_NONE, MATCH_ANONYMOUS, MATCH_NAMED };

/* A key without a name may be meant by any kid, where no other has that name. */
static enum match match_of(const struct jwt_key *key, const struct jwt *jwt)
{
    if (slice_is_absent(jwt->key_id) || slice_is_absent(key->id)) return MATCH_ANONYMOUS;
    return slice_equal(key->id, jwt->key_id) ? MATCH_NAMED : MATCH_NONE;
}

static enum match best_match(const struct key_set *set, const struct jwt *jwt)
{
    enum match best = MATCH_NONE;
    for (size_t i = 0; i < key_set_count(set); i++) {
        enum match match = match_of(key_set_at(set, i), jwt);
        if (match > best) best = match;
    }
    return best;
}

enum jwt_verdict jwt_verify(struct jwt_verifier *verifier, const struct key_set *set, uint32_t algorithms,
                            const struct jwt *jwt, struct error *error)
{
    uint32_t bit = JWT_BIT(jwt->algorithm);
    enum match wanted = best_match(set, jwt);
    unsigned tried = 0;
    if (!(algorithms & bit)) {
        jwt_refuse(error, "token-algorithm", "the token's algorithm is not allowed here");
        return JWT_REFUSED;
    }
    for (size_t i = 0; i < key_set_count(set) && wanted != MATCH_NONE; i++) {
        const struct jwt_key *key = key_set_at(set, i);
        if (match_of(key, jwt) != wanted || !(key->algorithms & bit)) continue;
        if (tried++ == JWT_KEYS_TRIED_MAX) break;
        if (verify_with(verifier, key, jwt, error)) return JWT_VERIFIED;
        if (error->status != 0) return JWT_REFUSED;
    }
    if (wanted == MATCH_NONE || (tried == 0 && wanted == MATCH_ANONYMOUS)) {
        jwt_refuse(error, "token-key-unknown", "the token was signed with a key that is not known");
        return JWT_UNKNOWN_KEY;
    }
    if (tried == 0)
        jwt_refuse(error, "token-algorithm", "the token's algorithm is none of its key's");
    else
        jwt_refuse(error, "token-signature", "the token's signature does not hold");
    return wanted == MATCH_NAMED ? JWT_REFUSED : JWT_UNKNOWN_KEY;
}

/* --- the verifier --- */

struct jwt_verifier *jwt_verifier_create(void)
{
    struct jwt_verifier *verifier = calloc(1, sizeof *verifier);
    if (!verifier) return NULL;
    bool good = true;
    for (enum hash hash = 0; hash < HASH_COUNT; hash++) {
        verifier->hashes[hash] = EVP_MD_fetch(NULL, hash_names[hash], NULL);
        good &= verifier->hashes[hash] != NULL;
    }
    verifier->hashing = EVP_MD_CTX_new();
    verifier->hmac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
    if (good && verifier->hashing && verifier->hmac) return verifier;
    jwt_verifier_destroy(verifier);
    return NULL;
}

void jwt_verifier_destroy(struct jwt_verifier *verifier)
{
    if (!verifier) return;
    for (size_t i = 0; i < SLOTS; i++) slot_release(&verifier->slots[i]);
    for (enum hash hash = 0; hash < HASH_COUNT; hash++) EVP_MD_free(verifier->hashes[hash]);
    EVP_MD_CTX_free(verifier->hashing);
    EVP_MAC_free(verifier->hmac);
    free(verifier);
}
