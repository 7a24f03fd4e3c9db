/* event/tls.h: one side of a TLS connection (OpenSSL) over a stream's socket.
 *
 * tls_session_create(), then stream_set_tls() and stream_handshake() until it says STREAM_OK; from then on the stream's calls move
 * plain bytes. A session is owned by whoever created it, then by its stream (stream_close frees it), and after stream_detach by the
 * caller again. One thread at a time. Contexts (SSL_CTX) are immutable once sessions use them, refcounted by OpenSSL, and shared by
 * threads. */
#ifndef SLUICE_EVENT_TLS_H
#define SLUICE_EVENT_TLS_H

#include "base/error.h"
#include "base/slice.h"

#include <openssl/types.h>

enum tls_side { TLS_SERVER, TLS_CLIENT };

struct tls_session;

/* A context with what both sides of every connection here have in common: TLS 1.2 at least, no compression, no renegotiation, no
 * buffers while idle, groups X25519, P-256, P-384; for a server also its own order of suites, with ChaCha20 first for clients that put
 * it first, and no session cache (tickets need none). The caller adds certificates, verification, ALPN. NULL when memory is short. */
SSL_CTX *tls_context_create(enum tls_side) MUST_USE;

/* Holds a reference of its own to the context. NULL when memory is short. */
struct tls_session *tls_session_create(SSL_CTX *, enum tls_side) MUST_USE;
/* NULL is allowed. Says nothing to the peer: stream_close does. */
void tls_session_destroy(struct tls_session *);

/* For what is set before the handshake (server name, a session to resume, verification) and asked after it. The session's. */
SSL *tls_session_ssl(const struct tls_session *);
/* What ALPN agreed on ("h2"); absent: nothing. Holds as long as the session. */
struct slice tls_session_protocol(const struct tls_session *);
/* "1.3", "1.2". Static. */
const char *tls_session_version(const struct tls_session *);
bool tls_session_was_resumed(const struct tls_session *);
/* After a failed handshake of a server: the peer spoke HTTP without TLS. */
bool tls_session_met_plain_http(const struct tls_session *);

/* What OpenSSL's queue of errors says about a failed call, in our words, and empties the queue. For reading files and building contexts.
 * Holds until this thread's next call. */
const char *tls_error_words(void);

#endif
