/* gateway/ticket_keys.c: see ticket_keys.h. */
#include "gateway/ticket_keys.h"

#include "base/memory.h"
#include "base/random.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_KEYS_MAX 3
#define RING_TITLE "sluice-tickets 1" /* another layout has another one */

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

void ticket_ring_init(struct ticket_ring *ring, uint64_t now_ms)
{
    struct ticket_keys *keys = allocate(1);
    random_secure_bytes(keys->keys, sizeof *keys->keys);
    atomic_store_explicit(&ring->now, keys, memory_order_release);
    ring->before = NULL;
    ring->renewed_ms = now_ms;
}

void ticket_ring_release(struct ticket_ring *ring)
{
    ticket_keys_destroy(ring->before);
    ticket_keys_destroy(atomic_load_explicit(&ring->now, memory_order_acquire));
}

static void replace(struct ticket_ring *ring, struct ticket_keys *next, uint64_t renewed_ms)
{
    ticket_keys_destroy(ring->before);
    ring->before = atomic_exchange_explicit(&ring->now, next, memory_order_acq_rel);
    ring->renewed_ms = renewed_ms;
}

void ticket_ring_renew(struct ticket_ring *ring, uint64_t now_ms)
{
    struct ticket_keys *now = atomic_load_explicit(&ring->now, memory_order_acquire);
    struct ticket_keys *next = allocate(now->count < RING_KEYS_MAX ? now->count + 1 : RING_KEYS_MAX);
    random_secure_bytes(next->keys, sizeof *next->keys);
    memcpy(next->keys + 1, now->keys, (next->count - 1) * sizeof *next->keys);
    replace(ring, next, now_ms);
}

/* --- from process to process --- */

struct ring_file {
    char title[sizeof RING_TITLE - 1];
    uint64_t renewed_ms, count;
    struct ticket_key keys[RING_KEYS_MAX];
};

static size_t ring_file_bytes(uint64_t count) { return offsetof(struct ring_file, keys) + count * TICKET_KEY_BYTES; }

int ticket_ring_write(const struct ticket_ring *ring, struct error *error)
{
    const struct ticket_keys *keys = atomic_load_explicit(&ring->now, memory_order_acquire);
    struct ring_file file = { .renewed_ms = ring->renewed_ms, .count = keys->count };
    memcpy(file.title, RING_TITLE, sizeof file.title);
    memcpy(file.keys, keys->keys, keys->count * sizeof *keys->keys);
    size_t bytes = ring_file_bytes(file.count);
    int descriptor = memfd_create("ticket-keys", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = descriptor >= 0 && write(descriptor, &file, bytes) == (ssize_t)bytes &&
                fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
    if (!good) error_format(error, "cannot keep the keys of TLS tickets for the next gateway: %m");
    if (!good && descriptor >= 0) close(descriptor);
    OPENSSL_cleanse(&file, sizeof file);
    return good ? descriptor : -1;
}

static bool is_whole(const struct ring_file *file, ssize_t bytes)
{
    return bytes >= (ssize_t)ring_file_bytes(1) && memcmp(file->title, RING_TITLE, sizeof file->title) == 0 &&
           file->count >= 1 && file->count <= RING_KEYS_MAX && bytes == (ssize_t)ring_file_bytes(file->count);
}

bool ticket_ring_read(struct ticket_ring *ring, int descriptor, uint64_t now_ms, struct error *error)
{
    struct ring_file file;
    ssize_t bytes = pread(descriptor, &file, sizeof file, 0);
    bool good = is_whole(&file, bytes);
    if (good) {
        struct ticket_keys *keys = ticket_keys_create((const char *)file.keys, file.count);
        replace(ring, keys, file.renewed_ms < now_ms ? file.renewed_ms : now_ms);
    } else {
        error_format(error, "the keys of TLS tickets of the gateway before can't be used: clients begin new sessions");
    }
    OPENSSL_cleanse(&file, sizeof file);
    return good;
}

/* --- tickets --- */

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
