/* gateway/ticket_keys.h: the keys of TLS session tickets (RFC 5077, RFC 8446 4.6.1): who has them can resume any session, so whoever reads
 * them can read what was said in it by TLS 1.2.
 *
 * A key is 80 bytes, laid out as in the files of other servers, so that files can be shared with them: 16 for its name, 32 for
 * HMAC-SHA256, 32 for AES-256-CBC. The first of a set encrypts, all of them decrypt. */
#ifndef SLUICE_GATEWAY_TICKET_KEYS_H
#define SLUICE_GATEWAY_TICKET_KEYS_H

#include "base/error.h"

#include <openssl/types.h>
#include <stdatomic.h>

#define TICKET_KEY_BYTES 80
#define TICKET_LIFETIME_SECONDS (2 * 60 * 60)

struct ticket_key {
    unsigned char name[16], hmac[32], aes[32];
};

struct ticket_keys {
    size_t count; /* at least 1 */
    struct ticket_key keys[];
};

/* `bytes` are count * TICKET_KEY_BYTES. */
struct ticket_keys *ticket_keys_create(const char *bytes, size_t count);
void ticket_keys_destroy(struct ticket_keys *); /* NULL is allowed; wipes them */

/* Sluice's own keys, made by chance: one set for all listeners that are given none, shared by all threads, renewed while in use, and left
 * to the gateway that follows this one. */
struct ticket_ring {
    _Atomic(struct ticket_keys *) now;
    struct ticket_keys *before; /* somebody may still look at it */
    uint64_t renewed_ms;        /* CLOCK_MONOTONIC, when the first key was made */
};

void ticket_ring_init(struct ticket_ring *, uint64_t now_ms);
void ticket_ring_release(struct ticket_ring *);
/* Those that change the set are for one thread, and rare: a set that is replaced is freed the time after, by when nobody is inside a call
 * any more that began with it. */
/* A new key encrypts; the two before it decrypt still. */
void ticket_ring_renew(struct ticket_ring *, uint64_t now_ms);
/* The set and its age in memory that has no name and can't be changed any more (memfd): the caller's descriptor; -1 and *error. */
int ticket_ring_write(const struct ticket_ring *, struct error *);
/* Instead of its own keys, those that another process wrote. False and *error: what it had stays, as when another version wrote them. The
 * descriptor stays the caller's. */
bool ticket_ring_read(struct ticket_ring *, int descriptor, uint64_t now_ms, struct error *) MUST_USE;
static inline const struct ticket_keys *ticket_ring_keys(struct ticket_ring *ring)
{
    return atomic_load_explicit(&ring->now, memory_order_acquire);
}

/* Prepares a ticket's writing or reading, in the words of SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 error, 0 no such key, 1 go on, 2 go
 * on and issue a new one. */
int ticket_keys_apply(const struct ticket_keys *, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *,
                      EVP_MAC_CTX *, bool encrypts);

#endif
