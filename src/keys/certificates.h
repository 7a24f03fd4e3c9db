/* keys/certificates.h: what TLS needs of files: certificates with their keys, authorities, revocation lists, OCSP responses.
 *
 * Read whole and checked on the builder's thread (or before any is started): it blocks. What can't be used is a problem with its place in
 * the configuration; what can but should not be, as a certificate that has expired, is a warning in the log. Immutable afterwards. */
#ifndef SLUICE_KEYS_CERTIFICATES_H
#define SLUICE_KEYS_CERTIFICATES_H

#include "base/slice.h"
#include "base/vector.h"
#include "config/config.h"

#include <openssl/types.h>
#include <openssl/x509.h>
#include <time.h>

#define CERTIFICATE_WARNING_DAYS 30

struct certificate {
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    struct vector names; /* char *: lower-case DNS names, "*.example.com" among them; without any the common name */
    time_t not_after;
    struct slice staple; /* an OCSP response; absent: none. Owned */
    time_t staple_not_after;
};

/* `node` is where it is written; may be NULL. NULL: there was a problem. */
struct certificate *certificate_read(const struct certificate_config *, const struct node *, struct problems *);
/* The same of texts that are written in the configuration itself. */
struct certificate_texts {
    struct slice certificate, key; /* PEM */
    struct slice ocsp;             /* DER in base64; absent: none */
};
struct certificate *certificate_read_texts(const struct certificate_texts *, const struct node *, struct problems *);
void certificate_destroy(struct certificate *);
/* As certificates are called in logs and metrics: the first name. */
const char *certificate_name(const struct certificate *);
/* Days until it ends, negative where it has. */
long certificate_days_left(time_t not_after, time_t now);
/* Says in the log what is wrong or soon will be. */
void certificate_warn(const char *name, const char *listener, time_t not_after, time_t now);

/* A file's bytes, at most 16 MiB, NUL behind them; the caller's (free). Absent: there was a problem. `what` names it: "key". */
struct slice certificate_file_read(struct slice path, const char *what, const struct node *, struct problems *);
/* The certificates of a PEM text, and where `revoked` is given (not absent) the revocation lists of another, to verify a peer by. The
 * authorities' node is that of the field that names them. NULL: there was a problem. */
X509_STORE *certificate_store_read(struct slice authorities, const struct node *authorities_node, struct slice revoked,
                                   const struct node *revoked_node, struct problems *);
/* Their names, to tell clients whom we take certificates of. The caller's. */
STACK_OF(X509_NAME) * certificate_authority_names(struct slice authorities);

#endif
