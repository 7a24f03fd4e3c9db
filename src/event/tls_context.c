/* What every TLS connection here has in common, and what its failures are called. */
#include "event/tls.h"

#include "event/private.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

/* Forward secrecy and authenticated encryption only, the quickest with hardware AES first (RFC 9325 4.2). */
#define TLS12_CIPHERS                                                                          \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:" \
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

static bool set_common(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set1_groups_list(context, GROUPS) == 1;
}

static bool set_server(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_cipher_list(context, TLS12_CIPHERS) == 1 && SSL_CTX_set_ciphersuites(context, TLS13_SUITES) == 1;
}

SSL_CTX *tls_context_create(enum tls_side side)
{
    SSL_CTX *context = SSL_CTX_new(side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (context && set_common(context) && (side == TLS_CLIENT || set_server(context))) return context;
    SSL_CTX_free(context);
    ERR_clear_error();
    return NULL;
}

/* --- words --- */

/* `%s` is who is at the other end. */
struct wording {
    int reason;
    const char *label, *words;
};

static const struct wording wordings[] = {
    { SSL_R_NO_SHARED_CIPHER, "no-common-cipher", "%s offers no common cipher" },
    { SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, "no-common-signature", "%s offers no common signature algorithm" },
    { SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no-common-signature", "%s takes no signature that our keys can make" },
    { SSL_R_NO_SUITABLE_KEY_SHARE, "no-common-group", "%s offers no common key exchange group" },
    { SSL_R_NO_SHARED_GROUPS, "no-common-group", "%s offers no common key exchange group" },
    { SSL_R_UNSUPPORTED_PROTOCOL, "no-common-version", "%s speaks no TLS version that is allowed" },
    { SSL_R_VERSION_TOO_LOW, "no-common-version", "%s speaks no TLS version that is allowed" },
    { SSL_R_UNKNOWN_PROTOCOL, "no-common-version", "%s speaks no TLS version that is allowed" },
    { SSL_R_WRONG_SSL_VERSION, "no-common-version", "%s speaks no TLS version that is allowed" },
    { SSL_R_INAPPROPRIATE_FALLBACK, "no-common-version", "%s fell back to an older version than it had to" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "no-common-version", "%s takes no TLS version that is allowed" },
    { SSL_R_NO_APPLICATION_PROTOCOL, "no-common-protocol", "%s asks for no protocol that is spoken here (ALPN)" },
    { SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "no-common-protocol", "%s speaks no protocol that we do (ALPN)" },
    { SSL_R_HTTP_REQUEST, "plain-http", "%s speaks HTTP without TLS" },
    { SSL_R_HTTPS_PROXY_REQUEST, "plain-http", "%s speaks HTTP without TLS" },
    { SSL_R_WRONG_VERSION_NUMBER, "not-tls", "%s does not speak TLS" },
    { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "certificate-missing", "%s shows no certificate" },
    { SSL_R_CERTIFICATE_VERIFY_FAILED, "certificate-refused", "the certificate of %s is refused" },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "certificate-missing", "%s asks for a certificate" },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "refused-by-peer", "%s refuses our certificate as bad" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "refused-by-peer", "%s refuses our certificate as expired" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "refused-by-peer", "%s refuses our certificate as revoked" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "refused-by-peer", "%s refuses our certificate" },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, "refused-by-peer", "%s does not know who issued our certificate" },
    { SSL_R_TLSV1_UNRECOGNIZED_NAME, "refused-by-peer", "%s does not know the name it was asked for (SNI)" },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "refused-by-peer", "%s found nothing to agree on (handshake_failure)" },
};

static const struct wording *find_wording(int reason)
{
    for (size_t i = 0; i < COUNT_OF(wordings); i++) {
        if (wordings[i].reason == reason) return wordings + i;
    }
    return NULL;
}

static const char *reason_words(unsigned long code)
{
    const char *words = code ? ERR_reason_error_string(code) : NULL;
    return words ? words : "no reason given";
}

/* An alert is the peer's word; what else OpenSSL finds wrong is what the peer sent. */
static void describe_protocol(unsigned long code, const char *peer, struct error *error)
{
    if (ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET) {
        error->reason = "refused-by-peer";
        snprintf(error->text, sizeof error->text, "tls: %s breaks off: %s", peer, reason_words(code));
    } else {
        error->reason = "protocol-error";
        snprintf(error->text, sizeof error->text, "tls: %s breaks the protocol: %s", peer, reason_words(code));
    }
}

static void describe_socket(int system_error, const char *peer, struct error *error)
{
    error->reason = system_error ? "reset" : "closed";
    if (system_error)
        snprintf(error->text, sizeof error->text, "tls: the connection broke during the handshake: %s",
                 error_from_errno(system_error));
    else
        snprintf(error->text, sizeof error->text, "tls: %s closed the connection during the handshake", peer);
}

void tls_describe_failure(const struct tls_failure *failure, struct error *error)
{
    if (!error) return;
    bool is_server = failure->side == TLS_SERVER;
    const char *peer = is_server ? "the client" : "the backend";
    *error = (struct error){ .blame = is_server ? BLAME_CLIENT : BLAME_UPSTREAM,
                             .retry = is_server ? RETRY_NEVER : RETRY_OTHER_INSTANCE,
                             .status = is_server ? 0 : 502 };
    const struct wording *wording = failure->code ? find_wording(ERR_GET_REASON(failure->code)) : NULL;
    if (!failure->code) {
        describe_socket(failure->system_error, peer, error);
    } else if (wording) {
        error->reason = wording->label;
        size_t length = (size_t)snprintf(error->text, sizeof error->text, "tls: ");
        length += (size_t)snprintf(error->text + length, sizeof error->text - length, wording->words, peer);
        if (wording->reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
            snprintf(error->text + length, sizeof error->text - length, ": %s",
                     X509_verify_cert_error_string(failure->verify_result));
    } else {
        describe_protocol(failure->code, peer, error);
    }
}

const char *tls_error_words(void)
{
    unsigned long code = ERR_peek_error();
    const char *words = reason_words(code);
    ERR_clear_error();
    return words;
}
