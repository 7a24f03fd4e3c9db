/* gateway/ticket_keys.c: see ticket_keys.h. */
#include "gateway/ticket_keys.h"

#include "base/memory.h"
#include "base/random.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

#define RING_KEYS_MAX 3

_Static_assert(sizeof(struct ticket_key) == TICKET_KEY_BYTES, "as in the files");

static struct ticket_keys *allocate(size_t count)
{
    struct ticket_keys *keys = memory_allocate(sizeof *keys + count * sizeof *keys->keys);
    keys->count = count;
    return keys;
}

struct ticket_keys *ticket_keys_create(const char *bytes, size_t count)
{
    struct ticket_keys *keys = allocate(count);
    memcpy(keys->keys, bytes, count * TICKET_KEY_BYTES);
    return keys;
}

void ticket_keys_destroy(struct ticket_keys *keys)
{
    if (!keys) return;
    OPENSSL_cleanse(keys->keys, keys->count * sizeof *keys->keys);
    free(keys);
}

void ticket_ring_init(struct ticket_ring *ring)
{
    struct ticket_keys *keys = allocate(1);
    random_secure_bytes(keys->keys, sizeof *keys->keys);
    atomic_store_explicit(&ring->now, keys, memory_order_release);
    ring->before = NULL;
}

void ticket_ring_release(struct ticket_ring *ring)
{
    ticket_keys_destroy(ring->before);
    ticket_keys_destroy(atomic_load_explicit(&ring->now, memory_order_acquire));
}

void ticket_ring_renew(struct ticket_ring *ring)
{
    struct ticket_keys *now = atomic_load_explicit(&ring->now, memory_order_acquire);
    struct ticket_keys *next = allocate(now->count < RING_KEYS_MAX ? now->count + 1 : RING_KEYS_MAX);
    random_secure_bytes(next->keys, sizeof *next->keys);
    memcpy(next->keys + 1, now->keys, (next->count - 1) * sizeof *next->keys);
    atomic_store_explicit(&ring->now, next, memory_order_release);
    ticket_keys_destroy(ring->before);
    ring->before = now;
}

/* To look for it by name at each ticket would cost more than the ticket. */
static EVP_CIPHER *cipher;

static void fetch_cipher(void) { cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL); }

static bool key_mac(const struct ticket_key *key, EVP_MAC_CTX *mac)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->hmac, sizeof key->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static const struct ticket_key *find_key(const struct ticket_keys *keys, const unsigned char name[16])
{
    for (size_t i = 0; i < keys->count; i++) {
        if (memcmp(keys->keys[i].name, name, sizeof keys->keys[i].name) == 0) return &keys->keys[i];
    }
    return NULL;
}

int ticket_keys_apply(const struct ticket_keys *keys, unsigned char name[16], unsigned char *iv,
                      EVP_CIPHER_CTX *cipher_context, EVP_MAC_CTX *mac, bool encrypts)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch_cipher);
    const struct ticket_key *key = encrypts ? keys->keys : find_key(keys, name);
    if (!key) return 0;
    if (!cipher || !key_mac(key, mac)) return -1;
    if (encrypts) {
        memcpy(name, key->name, sizeof key->name);
        random_secure_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(cipher));
        return EVP_EncryptInit_ex2(cipher_context, cipher, key->aes, iv, NULL) == 1 ? 1 : -1;
    }
    if (EVP_DecryptInit_ex2(cipher_context, cipher, key->aes, iv, NULL) != 1) return -1;
    return key == keys->keys ? 1 : 2;
}
