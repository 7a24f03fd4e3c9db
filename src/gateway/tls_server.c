/* A context of OpenSSL carries one certificate of each kind of key. So for each set of certificates that one name selects there is a
 * context; a handshake begins with that of the first certificate and moves to another one when the client says a name (SNI, RFC 6066 3).
 * All of them are alike but for that: what OpenSSL takes from the context it began with (tickets, versions) and what it takes from the one
 * it moved to (verification, ALPN, OCSP) must never differ.
 *
 * A ticket is good only under the policy for clients' certificates that it was made under: the session id context is a hash of that
 * policy, files included, and OpenSSL compares it. So it holds across listeners and instances of the same policy, and a new
 * revocation list ends all sessions at once. */
#include "gateway/tls_server.h"

#include "base/map.h"
#include "base/memory.h"
#include "keys/certificates.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#define KEY_KINDS 4 /* RSA, ECDSA, Ed25519, Ed448: as many as a context may carry and clients may take */
#define NAME_BYTES_MAX 255

/* The certificates of a name, one of each kind of key, and their context. */
struct choice {
    const struct tls_server *server;
    SSL_CTX *context;
    const struct certificate *certificates[KEY_KINDS];
    size_t count;
};

struct tls_server {
    struct vector certificates; /* struct certificate *: first its own, of files, then the stored ones */
    size_t own_count;
    struct vector choices; /* struct choice *; the first is the default */
    struct map names;      /* "a.example.com", "*.example.com" -> struct choice */
    struct vector ends;    /* struct certificate_end */
    bool http2;            /* may be spoken */
    struct ticket_ring *ring;
    struct ticket_keys *ticket_keys; /* from files; NULL: the ring's */
    X509_STORE *client_store;        /* NULL: clients are asked for nothing */
    STACK_OF(X509_NAME) * authority_names;
    unsigned char policy[SSL_MAX_SID_CTX_LENGTH];
};

/* --- what OpenSSL asks during a handshake --- */

static const struct choice *choice_of(const SSL *ssl) { return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); }

/* Names are compared without case (RFC 6066 3); a wildcard stands for one label (RFC 6125 6.4.3). */
static const struct choice *find_choice(const struct tls_server *server, struct slice name)
{
    char lower[NAME_BYTES_MAX + 1];
    if (name.length > NAME_BYTES_MAX) return NULL;
    for (size_t i = 0; i < name.length; i++)
        lower[i] = (char)(name.at[i] >= 'A' && name.at[i] <= 'Z' ? name.at[i] | 0x20 : name.at[i]);
    const struct choice *exact = map_find(&server->names, slice_of(lower, name.length));
    size_t dot = slice_find_byte(slice_of(lower, name.length), '.');
    if (exact || dot == SLICE_NOT_FOUND || dot == 0) return exact;
    lower[dot - 1] = '*';
    return map_find(&server->names, slice_of(lower + dot - 1, name.length - dot + 1));
}

static int choose_certificate(SSL *ssl, int *alert, void *argument)
{
    (void)alert, (void)argument;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct choice *now = choice_of(ssl);
    const struct choice *wanted = name ? find_choice(now->server, slice_from_cstring(name)) : NULL;
    if (!wanted) return SSL_TLSEXT_ERR_NOACK;
    if (wanted != now && !SSL_set_SSL_CTX(ssl, wanted->context)) return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static const unsigned char protocols[] = "\x02h2\x08http/1.1";
#define H2_BYTES 3

/* RFC 9113 9.2.2: a client may break off where HTTP/2 comes with a TLS 1.2 suite that isn't as good as those of 1.3. The suite is
 * chosen before the protocol is. */
static bool is_good_for_h2(SSL *ssl)
{
    if (!choice_of(ssl)->server->http2) return false;
    const SSL_CIPHER *cipher = SSL_get_pending_cipher(ssl);
    if (!cipher) return false;
    int exchange = SSL_CIPHER_get_kx_nid(cipher);
    return SSL_version(ssl) == TLS1_3_VERSION ||
           (SSL_CIPHER_is_aead(cipher) && (exchange == NID_kx_ecdhe || exchange == NID_kx_dhe));
}

/* RFC 7301 3.2: a client that asks for none of ours is refused. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *length, const unsigned char *offered,
                           unsigned offered_length, void *argument)
{
    (void)argument;
    unsigned char *found;
    size_t skipped = is_good_for_h2(ssl) ? 0 : H2_BYTES;
    if (SSL_select_next_proto(&found, length, protocols + skipped, (unsigned)(sizeof protocols - 1 - skipped), offered,
                              offered_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

static const struct certificate *certificate_shown(const SSL *ssl)
{
    const struct choice *choice = choice_of(ssl);
    const X509 *leaf = SSL_get_certificate(ssl);
    for (size_t i = 0; i < choice->count; i++) {
        if (choice->certificates[i]->leaf == leaf) return choice->certificates[i];
    }
    return NULL;
}

static int staple_response(SSL *ssl, void *argument)
{
    (void)argument;
    const struct certificate *certificate = certificate_shown(ssl);
    if (!certificate || slice_is_absent(certificate->staple)) return SSL_TLSEXT_ERR_NOACK;
    if (certificate->staple_not_after && certificate->staple_not_after <= time(NULL)) return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(certificate->staple.at, certificate->staple.length);
    if (!copy) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)certificate->staple.length);
    return SSL_TLSEXT_ERR_OK;
}

static int apply_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                            int encrypts)
{
    const struct tls_server *server = choice_of(ssl)->server;
    const struct ticket_keys *keys = server->ticket_keys ? server->ticket_keys : ticket_ring_keys(server->ring);
    return ticket_keys_apply(keys, name, iv, cipher, mac, encrypts);
}

static int keep_ticket(SSL *ssl, void *argument)
{
    (void)ssl, (void)argument;
    return 1;
}

/* What was verified then must hold now. That the authorities and revocations are the same says the session id context. */
static bool client_certificate_has_ended(const SSL_SESSION *session)
{
    const X509 *peer = session ? SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session) : NULL;
    return peer && X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0;
}

static SSL_TICKET_RETURN judge_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_length,
                                      SSL_TICKET_STATUS status, void *argument)
{
    (void)ssl, (void)name, (void)name_length, (void)argument;
    bool ended = client_certificate_has_ended(session);
    switch (status) {
    case SSL_TICKET_SUCCESS: return ended ? SSL_TICKET_RETURN_IGNORE_RENEW : SSL_TICKET_RETURN_USE;
    case SSL_TICKET_SUCCESS_RENEW: return ended ? SSL_TICKET_RETURN_IGNORE_RENEW : SSL_TICKET_RETURN_USE_RENEW;
    default: return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
}

/* --- contexts --- */

static bool use_certificate(SSL_CTX *context, const struct certificate *certificate)
{
    return SSL_CTX_use_cert_and_key(context, certificate->leaf, certificate->key, certificate->chain, 1) == 1;
}

static void ask_for_certificates(const struct tls_server *server, const struct listener_tls_config *config,
                                 SSL_CTX *context)
{
    if (!server->client_store) return;
    int required = config->client_auth == CLIENT_AUTH_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | required, NULL);
    SSL_CTX_set1_cert_store(context, server->client_store);
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(server->authority_names);
    PROMISE(names != NULL);
    SSL_CTX_set_client_CA_list(context, names);
}

static bool configure(const struct tls_server *server, const struct listener_tls_config *config, SSL_CTX *context)
{
    ask_for_certificates(server, config, context);
    SSL_CTX_set_tlsext_servername_callback(context, choose_certificate);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_tlsext_status_cb(context, staple_response);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, apply_ticket_key);
    SSL_CTX_set_timeout(context, TICKET_LIFETIME_SECONDS);
    return SSL_CTX_set_session_ticket_cb(context, keep_ticket, judge_ticket, NULL) == 1 &&
           SSL_CTX_set_session_id_context(context, server->policy, sizeof server->policy) == 1 &&
           SSL_CTX_set_min_proto_version(context, config->version_min == TLS_VERSION_1_3 ? TLS1_3_VERSION
                                                                                         : TLS1_2_VERSION) == 1 &&
           (slice_is_absent(config->ciphers) || SSL_CTX_set_cipher_list(context, config->ciphers.at) == 1) &&
           (slice_is_absent(config->cipher_suites) || SSL_CTX_set_ciphersuites(context, config->cipher_suites.at) == 1);
}

static void add_certificate(struct choice *choice, const struct certificate *certificate)
{
    int kind = EVP_PKEY_get_base_id(certificate->key);
    for (size_t i = 0; i < choice->count; i++) {
        if (EVP_PKEY_get_base_id(choice->certificates[i]->key) == kind) return; /* the earlier one is shown */
    }
    if (choice->count < KEY_KINDS) choice->certificates[choice->count++] = certificate;
}

static bool make_context(struct tls_server *server, const struct listener_tls_config *config, struct choice *choice)
{
    choice->context = tls_context_create(TLS_SERVER);
    if (!choice->context) return false;
    SSL_CTX_set_app_data(choice->context, choice);
    for (size_t i = 0; i < choice->count; i++) {
        if (!use_certificate(choice->context, choice->certificates[i])) return false;
    }
    return configure(server, config, choice->context);
}

/* Whatever certificate has the name joins its choice; the first of all begins the default one. */
static void collect_names(struct tls_server *server, struct vector *by_name)
{
    for (size_t i = 0; i < server->certificates.count; i++) {
        const struct certificate *certificate = vector_pointer_at(&server->certificates, i);
        for (size_t j = 0; j < certificate->names.count; j++) {
            struct slice name = slice_from_cstring(vector_pointer_at(&certificate->names, j));
            struct choice *choice = map_find(&server->names, name);
            if (!choice) {
                choice = memory_allocate(sizeof *choice);
                choice->server = server;
                vector_push_pointer(by_name, choice);
                map_set(&server->names, name, choice);
            }
            add_certificate(choice, certificate);
        }
    }
}

/* The same certificates stand in the same order, that of the configuration. */
static struct slice key_of(const struct choice *choice)
{
    return slice_of((const char *)choice->certificates, choice->count * sizeof *choice->certificates);
}

/* The choice of these certificates that is kept, made if there is none yet. NULL: OpenSSL won't have them. */
static struct choice *keep_choice(struct tls_server *server, const struct listener_tls_config *config,
                                  struct map *by_certificates, const struct choice *wanted)
{
    struct choice *kept = map_find(by_certificates, key_of(wanted));
    if (kept) return kept;
    kept = memory_allocate(sizeof *kept);
    *kept = *wanted;
    vector_push_pointer(&server->choices, kept);
    map_set(by_certificates, key_of(kept), kept);
    return make_context(server, config, kept) ? kept : NULL;
}

/* Where a client says no name, or one that is nobody's: what its first name selects, and without any the first certificate alone. */
static struct choice first_choice(const struct tls_server *server)
{
    const struct certificate *first = vector_pointer_at(&server->certificates, 0);
    struct choice only = { .server = server, .certificates = { first }, .count = 1 };
    if (first->names.count == 0) return only;
    return *(const struct choice *)map_find(&server->names, slice_from_cstring(certificate_name(first)));
}

/* Choices that are the same certificates share one context. */
static bool make_choices(struct tls_server *server, const struct listener_tls_config *config)
{
    struct vector by_name;
    struct map by_certificates;
    struct map_entry *entry;
    size_t position = 0;
    vector_init(&by_name, sizeof(struct choice *));
    map_init(&by_certificates);
    collect_names(server, &by_name);
    struct choice first = first_choice(server);
    bool good = keep_choice(server, config, &by_certificates, &first) != NULL;
    while (good && (entry = map_next(&server->names, &position)) != NULL) {
        entry->value = keep_choice(server, config, &by_certificates, entry->value);
        good = entry->value != NULL;
    }
    for (size_t i = 0; i < by_name.count; i++) free(vector_pointer_at(&by_name, i));
    vector_release(&by_name);
    map_release(&by_certificates);
    return good;
}

/* --- reading what the configuration names --- */

static const struct node *place_of(const struct node *tls, const char *field)
{
    const struct node *place = tls && tls->kind == NODE_MAP ? node_find(tls, field) : NULL;
    return place ? place : tls;
}

static void read_certificates(struct tls_server *server, const struct listener_tls_config *config,
                              const struct node *tls, struct problems *problems)
{
    const struct certificate_config *items = config->certificates.items;
    const struct node *list = place_of(tls, "certificates");
    const struct node *item = list && list->kind == NODE_LIST ? list->first : NULL;
    for (size_t i = 0; i < config->certificates.count; i++) {
        struct certificate *certificate = certificate_read(&items[i], item ? item : list, problems);
        if (certificate) vector_push_pointer(&server->certificates, certificate);
        if (item) item = item->next;
    }
    server->own_count = server->certificates.count;
}

static void join_stored(struct tls_server *server, const struct listener_config *listener,
                        const struct stored_certificates *stored, const struct node *tls, struct problems *problems)
{
    for (size_t i = 0; i < stored->count; i++) vector_push_pointer(&server->certificates, stored->items[i]);
    if (listener->tls.certificates.count > 0 || stored->count > 0) return;
    problems_add(problems, tls, "name files in tls.certificates, or store a certificate (POST /admin/certificates)",
                 "listener %.*s has no certificate to show", SLICE_PRINT(listener->address_text));
}

static void hash_policy(struct tls_server *server, int client_auth, struct slice authorities, struct slice revoked)
{
    unsigned length = sizeof server->policy;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint64_t sizes[] = { (uint64_t)client_auth, authorities.length, revoked.length };
    bool done = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(hash, sizes, sizeof sizes) == 1 &&
                EVP_DigestUpdate(hash, authorities.at, authorities.length) == 1 &&
                EVP_DigestUpdate(hash, revoked.at, revoked.length) == 1 &&
                EVP_DigestFinal_ex(hash, server->policy, &length) == 1;
    EVP_MD_CTX_free(hash);
    PROMISE(done);
}

static void read_policy(struct tls_server *server, const struct listener_tls_config *config, const struct node *tls,
                        struct problems *problems)
{
    struct slice authorities = SLICE_ABSENT, revoked = SLICE_ABSENT;
    const struct node *ca_node = place_of(tls, "clientCa"), *crl_node = place_of(tls, "clientCrl");
    if (!slice_is_absent(config->client_ca))
        authorities = certificate_file_read(config->client_ca, "clientCa", ca_node, problems);
    if (!slice_is_absent(config->client_crl))
        revoked = certificate_file_read(config->client_crl, "clientCrl", crl_node, problems);
    hash_policy(server, config->client_auth, authorities, revoked);
    if (!slice_is_absent(authorities)) {
        server->client_store = certificate_store_read(authorities, ca_node, revoked, crl_node, problems);
        server->authority_names = certificate_authority_names(authorities);
    }
    free((void *)(uintptr_t)authorities.at);
    free((void *)(uintptr_t)revoked.at);
}

static void read_ticket_keys(struct tls_server *server, const struct listener_tls_config *config,
                             const struct node *tls, struct problems *problems)
{
    size_t count = config->ticket_keys.count;
    if (count == 0) return;
    const struct node *list = place_of(tls, "ticketKeys");
    const struct node *item = list && list->kind == NODE_LIST ? list->first : list;
    char *bytes = memory_allocate(count * TICKET_KEY_BYTES);
    for (size_t i = 0; i < count; i++) {
        struct slice path = config->ticket_keys.items[i];
        struct slice key = certificate_file_read(path, "ticket key", item, problems);
        if (!slice_is_absent(key) && key.length != TICKET_KEY_BYTES)
            problems_add(problems, item, "openssl rand 80 >FILE makes one",
                         "ticket key \"%.*s\" must hold 80 bytes, not %zu", SLICE_PRINT(path), key.length);
        if (key.length == TICKET_KEY_BYTES) memcpy(bytes + i * TICKET_KEY_BYTES, key.at, TICKET_KEY_BYTES);
        free((void *)(uintptr_t)key.at);
        if (item && item->parent == list) item = item->next;
    }
    server->ticket_keys = ticket_keys_create(bytes, count);
    OPENSSL_cleanse(bytes, count * TICKET_KEY_BYTES);
    free(bytes);
}

/* OpenSSL passes over words that it doesn't know, as long as one is left that it does. */
static void check_words(struct slice list, const char *separators, int (*set)(SSL_CTX *, const char *),
                        const struct node *node, struct problems *problems)
{
    if (slice_is_absent(list)) return;
    SSL_CTX *context = tls_context_create(TLS_SERVER);
    PROMISE(context != NULL);
    char *copy = memory_copy_slice(list), *state;
    size_t count = 0;
    for (char *word = strtok_r(copy, separators, &state); word; word = strtok_r(NULL, separators, &state), count++) {
        if (strchr("!-+@", word[0]) || set(context, word) == 1) continue; /* what takes away may name anything */
        problems_add(problems, node, "openssl ciphers -v lists them", "unknown cipher \"%s\"",
                     problems_excerpt(slice_from_cstring(word)).text);
    }
    if (count == 0) problems_add(problems, node, NULL, "\"%.*s\" must not be empty", SLICE_PRINT(node->key));
    ERR_clear_error();
    free(copy);
    SSL_CTX_free(context);
}

/* --- when they end --- */

static void note_ends(struct tls_server *server, struct slice listener)
{
    time_t now = time(NULL);
    for (size_t i = 0; i < server->certificates.count; i++) {
        const struct certificate *certificate = vector_pointer_at(&server->certificates, i);
        struct certificate_end *same = NULL;
        certificate_warn(certificate_name(certificate), listener.at, certificate->not_after, now);
        for (size_t j = 0; j < server->ends.count && !same; j++) {
            struct certificate_end *end = vector_at(&server->ends, j);
            if (strcmp(end->name, certificate_name(certificate)) == 0) same = end;
        }
        if (!same) {
            struct certificate_end end = { certificate_name(certificate), certificate->not_after };
            vector_push_copy(&server->ends, &end);
        } else if (certificate->not_after < same->not_after) {
            same->not_after = certificate->not_after;
        }
    }
}

size_t tls_server_certificate_count(const struct tls_server *server) { return server->ends.count; }

struct certificate_end tls_server_certificate(const struct tls_server *server, size_t index)
{
    return *(const struct certificate_end *)vector_at(&server->ends, index);
}

/* --- life --- */

struct tls_server *tls_server_create(const struct listener_config *listener, const struct stored_certificates *stored,
                                     struct ticket_ring *ring, struct problems *problems)
{
    struct tls_server *server = memory_allocate(sizeof *server);
    const struct listener_tls_config *config = &listener->tls;
    const struct node *node = listener->node;
    const struct node *tls = node && node->kind == NODE_MAP ? node_find(node, "tls") : node;
    size_t before = problems->count;
    vector_init(&server->certificates, sizeof(struct certificate *));
    vector_init(&server->choices, sizeof(struct choice *));
    vector_init(&server->ends, sizeof(struct certificate_end));
    map_init(&server->names);
    server->http2 = listener->http2;
    server->ring = ring;
    read_certificates(server, config, tls, problems);
    join_stored(server, listener, stored, tls, problems);
    read_policy(server, config, tls, problems);
    read_ticket_keys(server, config, tls, problems);
    check_words(config->ciphers, ": ,", SSL_CTX_set_cipher_list, place_of(tls, "ciphers"), problems);
    check_words(config->cipher_suites, ":", SSL_CTX_set_ciphersuites, place_of(tls, "cipherSuites"), problems);
    if (problems->count == before && !make_choices(server, config))
        problems_add(problems, tls, NULL, "TLS cannot be set up like this: %s", tls_error_words());
    if (problems->count == before) {
        note_ends(server, listener->address_text);
        return server;
    }
    tls_server_destroy(server);
    return NULL;
}

SSL_CTX *tls_server_context(const struct tls_server *server)
{
    const struct choice *first = vector_pointer_at(&server->choices, 0);
    return first->context;
}

void tls_server_destroy(struct tls_server *server)
{
    if (!server) return;
    for (size_t i = 0; i < server->choices.count; i++) {
        struct choice *choice = vector_pointer_at(&server->choices, i);
        SSL_CTX_free(choice->context);
        free(choice);
    }
    vector_release(&server->choices);
    map_release(&server->names);
    for (size_t i = 0; i < server->own_count; i++) certificate_destroy(vector_pointer_at(&server->certificates, i));
    vector_release(&server->certificates);
    vector_release(&server->ends);
    ticket_keys_destroy(server->ticket_keys);
    X509_STORE_free(server->client_store);
    sk_X509_NAME_pop_free(server->authority_names, X509_NAME_free);
    free(server);
}
