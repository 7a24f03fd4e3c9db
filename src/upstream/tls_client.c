/* A session of TLS is resumed only with the context that made it, and to the same instance: so whom it was verified to be holds still. */
#include "upstream/tls_client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>

#define HOST_BYTES_MAX 256

/* --- tickets --- */

struct ticket_shelf {
    unsigned references;
    SSL_SESSION *newest; /* NULL: none */
};

static int shelf_index = -1; /* of an SSL's shelf among its extra data */

static void drop_shelf_of(void *parent, void *shelf, CRYPTO_EX_DATA *data, int index, long argument, void *more)
{
    (void)parent, (void)data, (void)index, (void)argument, (void)more;
    ticket_shelf_drop(shelf);
}

static void make_shelf_index(void) { shelf_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, drop_shelf_of); }

static bool has_shelf_index(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shelf_index);
    return shelf_index >= 0;
}

struct ticket_shelf *ticket_shelf_create(void)
{
    struct ticket_shelf *shelf = calloc(1, sizeof *shelf);
    if (shelf) shelf->references = 1;
    return shelf;
}

void ticket_shelf_drop(struct ticket_shelf *shelf)
{
    if (!shelf || --shelf->references > 0) return;
    SSL_SESSION_free(shelf->newest);
    free(shelf);
}

/* OpenSSL has a ticket for us: 1 keeps it. */
static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct ticket_shelf *shelf = SSL_get_ex_data(ssl, shelf_index);
    if (!shelf) return 0;
    SSL_SESSION_free(shelf->newest);
    shelf->newest = session;
    return 1;
}

void transport_prepare_tls(SSL_CTX *context)
{
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_ticket);
}

static bool put_shelf(SSL *ssl, struct ticket_shelf *shelf)
{
    if (!has_shelf_index() || SSL_set_ex_data(ssl, shelf_index, shelf) != 1) return false;
    shelf->references++;
    if (!shelf->newest) return true;
    if (SSL_SESSION_is_resumable(shelf->newest) == 1 && SSL_set_session(ssl, shelf->newest) == 1) return true;
    ERR_clear_error();
    SSL_SESSION_free(shelf->newest);
    shelf->newest = NULL;
    return true;
}

/* --- names --- */

/* Without the dot that ends a full name, as certificates have it. False: too long. */
static bool copy_host(struct slice host, char into[HOST_BYTES_MAX])
{
    if (slice_ends_with(host, SLICE("."))) host.length--;
    if (host.length == 0 || host.length >= HOST_BYTES_MAX) return false;
    memcpy(into, host.at, host.length);
    into[host.length] = '\0';
    return true;
}

/* An IP is looked for in the certificate's addresses and never asked for (RFC 6066 3). */
static bool set_names(SSL *ssl, const struct transport *transport, const struct instance *instance)
{
    char host[HOST_BYTES_MAX];
    struct address literal;
    struct slice name = transport->server_name ? slice_from_cstring(transport->server_name) : instance->host;
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
    if (!copy_host(name, host)) return false;
    if (address_parse_ip(slice_from_cstring(host), 0, &literal))
        return X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1;
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(parameters, host, 0) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls_session *tls_client_create(const struct transport *transport, const struct instance *instance,
                                      struct ticket_shelf *shelf, struct error *error)
{
    struct tls_session *session = tls_session_create(transport->tls, TLS_CLIENT);
    SSL *ssl = session ? tls_session_ssl(session) : NULL;
    if (session && set_names(ssl, transport, instance) && put_shelf(ssl, shelf)) return session;
    tls_session_destroy(session);
    ERR_clear_error();
    error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a TLS connection");
    return NULL;
}
