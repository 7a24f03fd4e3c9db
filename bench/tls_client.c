#include "tls_client.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die_of_tls(const char *what)
{
    fprintf(stderr, "%s: ", what);
    ERR_print_errors_fp(stderr);
    exit(2);
}

SSL_CTX *tls_context(const char *protocol)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) die_of_tls("TLS context");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (protocol) {
        unsigned char offer[256];
        size_t length = strlen(protocol);
        offer[0] = (unsigned char)length;
        memcpy(offer + 1, protocol, length);
        if (SSL_CTX_set_alpn_protos(context, offer, (unsigned)length + 1) != 0) die_of_tls("ALPN");
    }
    return context;
}

SSL *tls_connect(SSL_CTX *context, int descriptor)
{
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, descriptor)) die_of_tls("TLS");
    if (SSL_connect(tls) != 1) die_of_tls("handshake");
    return tls;
}

ssize_t tls_receive(SSL *tls, void *bytes, size_t size)
{
    int got = SSL_read(tls, bytes, size > INT_MAX ? INT_MAX : (int)size);
    if (got > 0) return got;
    int why = SSL_get_error(tls, got);
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    errno = why == SSL_ERROR_WANT_READ ? EAGAIN : EIO;
    ERR_clear_error();
    return -1;
}
