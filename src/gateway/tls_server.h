/* gateway/tls_server.h: a listener's TLS: its certificates by name, its policy for clients' certificates, its tickets.
 *
 * Made on the builder's thread from files that are read then; immutable, and used by all workers at once. Whoever begins a handshake
 * with it keeps it alive until that is over (by the entrance that it belongs to); what comes after needs it no more. */
#ifndef SLUICE_GATEWAY_TLS_SERVER_H
#define SLUICE_GATEWAY_TLS_SERVER_H

#include "config/config.h"
#include "event/tls.h"
#include "gateway/ticket_keys.h"

#include <time.h>

struct tls_server;
struct certificate;

/* Certificates that are kept in the configuration itself and shown by this listener, behind those of its files; they outlive it. */
struct stored_certificates {
    struct certificate *const *items;
    size_t count;
};

/* `ring` outlives it. NULL: there were problems, with their places; among them that there is no certificate to be shown. */
struct tls_server *tls_server_create(const struct listener_config *, const struct stored_certificates *,
                                     struct ticket_ring *ring, struct problems *);
void tls_server_destroy(struct tls_server *); /* NULL is allowed */
/* Where a handshake begins; the client's words choose from there. */
SSL_CTX *tls_server_context(const struct tls_server *);

/* When its certificates end, one a name: the earliest where several have it. */
struct certificate_end {
    const char *name; /* the server's */
    time_t not_after;
};
size_t tls_server_certificate_count(const struct tls_server *);
struct certificate_end tls_server_certificate(const struct tls_server *, size_t index);

#endif
