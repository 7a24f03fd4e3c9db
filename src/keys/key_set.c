/* keys/key_set.c: sets of keys: from JWKS, PEM and secrets, and how they are counted. See key_set.h. */
#include "keys/key_set.h"

#include "base/memory.h"
#include "base/vector.h"
#include "keys/key_set_private.h"

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>

#define PEM_BLOCKS_MAX 16

const char *const jwt_algorithm_names[JWT_ALGORITHM_COUNT + 1] = {
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
};

enum jwt_algorithm jwt_algorithm_find(struct slice name)
{
    enum jwt_algorithm algorithm = 0;
    while (algorithm < JWT_ALGORITHM_COUNT && !slice_equal(name, slice_from_cstring(jwt_algorithm_names[algorithm])))
        algorithm++;
    return algorithm;
}

size_t jwt_secret_bytes_min(enum jwt_algorithm algorithm)
{
    switch (algorithm) {
    case JWT_HS384: return 48;
    case JWT_HS512: return 64;
    default: return 32;
    }
}

/* --- making and counting --- */

void jwt_key_release(struct jwt_key *key)
{
    EVP_PKEY_free(key->public_key);
    if (key->secret.length > 0) OPENSSL_cleanse((void *)(uintptr_t)key->secret.at, key->secret.length);
    free((void *)(uintptr_t)key->secret.at);
    free((void *)(uintptr_t)key->id.at);
}

static void hash_part(EVP_MD_CTX *hash, const void *bytes, size_t length)
{
    uint64_t size = length;
    EVP_DigestUpdate(hash, &size, sizeof size);
    if (length > 0) EVP_DigestUpdate(hash, bytes, length);
}

static EVP_MD_CTX *hash_begin(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    PROMISE(hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1);
    return hash;
}

/* The first bytes of it. */
static void hash_end(EVP_MD_CTX *hash, void *into, size_t size)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    PROMISE(EVP_DigestFinal_ex(hash, digest, NULL) == 1);
    memcpy(into, digest, size);
    EVP_MD_CTX_free(hash);
}

static void take_fingerprint(struct jwt_key *key)
{
    unsigned char *encoded = NULL;
    int length = key->public_key ? i2d_PUBKEY(key->public_key, &encoded) : 0;
    EVP_MD_CTX *hash = hash_begin();
    hash_part(hash, key->id.at, key->id.length);
    hash_part(hash, &key->algorithms, sizeof key->algorithms);
    hash_part(hash, encoded, length > 0 ? (size_t)length : 0);
    hash_part(hash, key->secret.at, key->secret.length);
    hash_end(hash, key->fingerprint, sizeof key->fingerprint);
    OPENSSL_free(encoded);
}

static uint64_t version_of(const struct key_set *set)
{
    uint64_t version;
    EVP_MD_CTX *hash = hash_begin();
    for (size_t i = 0; i < set->count; i++) hash_part(hash, set->keys[i].fingerprint, sizeof set->keys[i].fingerprint);
    hash_end(hash, &version, sizeof version);
    return version ? version : 1;
}

/* Takes the keys over, and the vector. */
static struct key_set *make_set(struct vector *keys, size_t left_out)
{
    struct key_set *set = memory_allocate(sizeof *set + keys->count * sizeof set->keys[0]);
    atomic_init(&set->references, 1);
    set->count = keys->count;
    set->left_out = left_out;
    if (keys->count > 0) memcpy(set->keys, keys->items, keys->count * sizeof set->keys[0]);
    for (size_t i = 0; i < set->count; i++) take_fingerprint(&set->keys[i]);
    set->version = version_of(set);
    vector_release(keys);
    return set;
}

static void forget_keys(struct vector *keys)
{
    for (size_t i = 0; i < keys->count; i++) jwt_key_release(vector_at(keys, i));
    vector_release(keys);
}

void key_set_retain(struct key_set *set) { atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed); }

void key_set_drop(struct key_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < set->count; i++) jwt_key_release(&set->keys[i]);
    free(set);
}

uint64_t key_set_version(const struct key_set *set) { return set->version; }
size_t key_set_count(const struct key_set *set) { return set->count; }
size_t key_set_left_out(const struct key_set *set) { return set->left_out; }
const struct jwt_key *key_set_at(const struct key_set *set, size_t index) { return &set->keys[index]; }

uint32_t key_set_algorithms(const struct key_set *set)
{
    uint32_t algorithms = 0;
    for (size_t i = 0; i < set->count; i++) algorithms |= set->keys[i].algorithms;
    return algorithms;
}

struct key_set *key_set_of_secret(struct slice secret)
{
    struct vector keys;
    vector_init(&keys, sizeof(struct jwt_key));
    struct jwt_key *key = vector_push(&keys);
    key->algorithms = JWT_SECRET_ALGORITHMS;
    key->secret = slice_of(memory_copy_slice(secret), secret.length);
    return make_set(&keys, 0);
}

/* --- JWK sets --- */

struct set_reading {
    const struct key_set_reading *settings;
    struct vector keys; /* struct jwt_key */
    size_t left_out;
    struct error first; /* why a key was left out; for a set that has no other */
};

static bool take_jwk(struct set_reading *reading, const struct json_value *jwk, size_t number, struct error *error)
{
    struct jwt_key key = { 0 };
    struct error why;
    enum jwk_outcome outcome = jwk_read(jwk, reading->settings, &key, &why);
    if (outcome == JWK_READ) {
        vector_push_copy(&reading->keys, &key);
        return true;
    }
    jwt_key_release(&key);
    if (outcome == JWK_BROKEN) {
        error_prefix(&why, "key %zu", number);
        if (reading->settings->is_strict) *error = why;
        if (reading->first.text[0] == '\0') reading->first = why;
    }
    reading->left_out++;
    return outcome != JWK_BROKEN || !reading->settings->is_strict;
}

static bool read_set(struct set_reading *reading, const struct json_value *root, struct error *error)
{
    const struct json_value *list = json_find(root, SLICE("keys"));
    if (root->type == JSON_OBJECT && !list && json_find(root, SLICE("kty"))) return take_jwk(reading, root, 1, error);
    if (!list || list->type != JSON_ARRAY) return error_format(error, "it is no JWK set: it has no list \"keys\"");
    if (list->count > KEY_SET_KEYS_MAX) return error_format(error, "it holds more than %d keys", KEY_SET_KEYS_MAX);
    for (uint32_t i = 0; i < list->count; i++) {
        if (!take_jwk(reading, &list->items[i], i + 1, error)) return false;
    }
    return true;
}

struct key_set *key_set_read_jwks(struct slice text, const struct key_set_reading *settings, struct error *error)
{
    struct set_reading reading = { .settings = settings };
    struct arena arena;
    struct json_value root;
    if (text.length > KEY_SET_BYTES_MAX) {
        error_format(error, "it is larger than %d KiB", KEY_SET_BYTES_MAX / 1024);
        return NULL;
    }
    arena_init(&arena, NULL);
    vector_init(&reading.keys, sizeof(struct jwt_key));
    bool good = json_parse(text, &arena, &root, error) && read_set(&reading, &root, error);
    arena_release(&arena);
    if (good && reading.keys.count == 0) {
        bool is_told = reading.first.text[0] != '\0';
        good = error_format(error, "it holds no key that verifies tokens%s%s", is_told ? ": " : "", reading.first.text);
    }
    if (good) return make_set(&reading.keys, reading.left_out);
    forget_keys(&reading.keys);
    return NULL;
}

/* --- PEM --- */

#define PEM_BEGIN SLICE("-----BEGIN ")

bool key_set_is_pem(struct slice text) { return slice_find(text, PEM_BEGIN) != SLICE_NOT_FOUND; }

static EVP_PKEY *read_certificate(BIO *pem)
{
    X509 *certificate = PEM_read_bio_X509(pem, NULL, NULL, NULL);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return key;
}

/* PUBLIC KEY (RFC 7468 13) and RSA PUBLIC KEY (PKCS #1). */
static EVP_PKEY *read_public_key(BIO *pem)
{
    EVP_PKEY *key = NULL;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(&key, "PEM", NULL, NULL, EVP_PKEY_PUBLIC_KEY, NULL, NULL);
    if (decoder && OSSL_DECODER_from_bio(decoder, pem) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

static bool read_block(struct slice block, struct vector *keys, struct error *error)
{
    struct slice label = slice_after(block, PEM_BEGIN.length);
    label = slice_before(label, slice_find_byte(label, '-'));
    if (slice_ends_with(label, SLICE("PRIVATE KEY")))
        return error_format(error, "it is a private key, and only the public one is wanted");
    BIO *pem = BIO_new_mem_buf(block.at, (int)block.length);
    PROMISE(pem != NULL);
    struct jwt_key key = { .public_key = slice_equal(label, SLICE("CERTIFICATE")) ? read_certificate(pem)
                                                                                  : read_public_key(pem) };
    BIO_free(pem);
    ERR_clear_error();
    if (!key.public_key) return error_format(error, "it is no public key or certificate in PEM");
    if (key_set_judge_public_key(&key, error)) {
        vector_push_copy(keys, &key);
        return true;
    }
    jwt_key_release(&key);
    return false;
}

struct key_set *key_set_read_pem(struct slice text, struct error *error)
{
    struct vector keys;
    vector_init(&keys, sizeof(struct jwt_key));
    bool good = text.length <= KEY_SET_BYTES_MAX ||
                error_format(error, "it is larger than %d KiB", KEY_SET_BYTES_MAX / 1024);
    for (size_t at = slice_find(text, PEM_BEGIN); good && at != SLICE_NOT_FOUND;) {
        text = slice_after(text, at);
        at = slice_find(slice_after(text, 1), PEM_BEGIN);
        if (at != SLICE_NOT_FOUND) at++;
        good = read_block(slice_before(text, at), &keys, error);
        if (good && keys.count > PEM_BLOCKS_MAX)
            good = error_format(error, "it holds more than %d keys", PEM_BLOCKS_MAX);
    }
    if (good && keys.count == 0) good = error_format(error, "it is no public key or certificate in PEM");
    if (good) return make_set(&keys, 0);
    forget_keys(&keys);
    return NULL;
}
