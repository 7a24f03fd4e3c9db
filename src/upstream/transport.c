#include "upstream/transport.h"

#include "base/memory.h"

#include <openssl/ssl.h>

struct transport *transport_create(const struct content_hash *key, enum transport_version version)
{
    struct transport *transport = memory_allocate(sizeof *transport);
    atomic_init(&transport->references, 1);
    transport->key = *key;
    transport->version = (uint8_t)version;
    return transport;
}

struct transport *transport_retain(struct transport *transport)
{
    atomic_fetch_add_explicit(&transport->references, 1, memory_order_relaxed);
    return transport;
}

void transport_drop(struct transport *transport)
{
    if (atomic_fetch_sub_explicit(&transport->references, 1, memory_order_acq_rel) != 1) return;
    if (transport->http_1) transport_drop(transport->http_1);
    SSL_CTX_free(transport->tls);
    free(transport->server_name);
    free(transport);
}
