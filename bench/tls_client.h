/* bench/tls_client: TLS 1.3 as the load generators speak it. What fails where it says nothing else ends the program. */
#ifndef BENCH_TLS_CLIENT_H
#define BENCH_TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <sys/types.h>

/* A client's context: TLS 1.3 alone, whoever answers is believed, no session is ever resumed. `protocol` is offered
 * by ALPN; NULL offers none. */
SSL_CTX *tls_context(const char *protocol);

/* Shakes hands over a blocking socket. The socket stays the caller's. */
SSL *tls_connect(SSL_CTX *, int descriptor);

/* recv() in TLS: bytes, 0 at the end, -1 with EAGAIN when there is no more for now, -1 with EIO when it broke. */
ssize_t tls_receive(SSL *, void *bytes, size_t size);

#endif
