/* upstream/transport.h: how a service's instances are spoken to: over TLS or not, in which version of HTTP. Immutable, counted atomically.
 *
 * Equal configurations (files included) have one transport (snapshot/transports.c sees to that), so a pool belongs to an instance and a
 * transport: a change of the transport makes new connections, and the old ones go as they fall idle. */
#ifndef SLUICE_UPSTREAM_TRANSPORT_H
#define SLUICE_UPSTREAM_TRANSPORT_H

#include "config/node.h"

#include <openssl/types.h>
#include <stdatomic.h>

enum transport_version {
    TRANSPORT_HTTP_1,
    TRANSPORT_HTTP_2,
    TRANSPORT_CHOSEN, /* by the instance, by ALPN; with TLS only */
};

struct transport {
    _Atomic uint32_t references; /* its maker, services, pools */
    struct content_hash key;     /* of all that it is made of */
    uint8_t version;             /* enum transport_version */
    uint8_t proxy_protocol; /* 1 or 2: a connection begins with such a header, and is one client's; 0: it doesn't */
    SSL_CTX *tls;           /* NULL: plain. One reference */
    char *server_name;      /* to ask for and to verify; NULL: the instance's host */
    /* Of TRANSPORT_CHOSEN: the same, but for HTTP/1.1 alone. One reference; NULL: this one does for all. */
    struct transport *http_1;
};

/* One reference. Whoever makes it fills in the rest before anybody else sees it. */
struct transport *transport_create(const struct content_hash *key, enum transport_version);
/* Any thread. */
struct transport *transport_retain(struct transport *);
/* Any thread; the last one frees it. */
void transport_drop(struct transport *);
/* Anybody beside the caller holds it. */
static inline bool transport_is_shared(const struct transport *transport)
{
    return atomic_load_explicit(&transport->references, memory_order_acquire) > 1;
}
/* A context that is to become a transport's: its sessions can be resumed (tls_client.c). */
void transport_prepare_tls(SSL_CTX *);

#endif
