/* snapshot/transports.c: what services' configurations make of their transports: equal ones have one together, found by the hash of all
 * that it is made of, the contents of files included. The builder holds one reference to each; what nobody else holds goes at the next
 * load. */
#include "keys/certificates.h"
#include "snapshot/private.h"

#include "event/tls.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <xxhash.h>

/* A transport before it is known whether there is an equal one. */
struct draft {
    const struct service_tls_config *tls; /* NULL: plain */
    const struct node *node;              /* where it stands; NULL: nowhere */
    enum transport_version version;
    struct slice authorities;        /* of the file; absent: the system's */
    struct certificate *certificate; /* NULL: none is shown */
};

static enum transport_version version_of(const struct service_config *config)
{
    if (config->http_version == SERVICE_HTTP_2 || config->protocol == SERVICE_GRPC) return TRANSPORT_HTTP_2;
    bool is_open = config->http_version == SERVICE_HTTP_AUTO && config->protocol == SERVICE_HTTPS;
    return is_open ? TRANSPORT_CHOSEN : TRANSPORT_HTTP_1;
}

static bool read_files(struct draft *draft, struct problems *problems)
{
    const struct service_tls_config *tls = draft->tls;
    size_t before = problems->count;
    if (!tls) return true;
    if (!slice_is_absent(tls->ca))
        draft->authorities = certificate_file_read(tls->ca, "ca", draft->node ? node_find(draft->node, "ca") : NULL,
                                                   problems);
    if (!slice_is_absent(tls->certificate)) {
        const struct certificate_config files = { .certificate = tls->certificate, .key = tls->key };
        draft->certificate = certificate_read(&files, draft->node, problems);
    }
    return problems->count == before;
}

static void release(struct draft *draft)
{
    free((void *)(uintptr_t)draft->authorities.at);
    if (draft->certificate) certificate_destroy(draft->certificate);
}

/* --- the key --- */

static void hash_text(XXH3_state_t *hash, struct slice text)
{
    int64_t length = slice_is_absent(text) ? -1 : (int64_t)text.length;
    XXH3_128bits_update(hash, &length, sizeof length);
    XXH3_128bits_update(hash, text.at, text.length);
}

static void hash_x509(XXH3_state_t *hash, const X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    PROMISE(X509_digest(certificate, EVP_sha256(), digest, &length) == 1);
    XXH3_128bits_update(hash, digest, length);
}

/* The key belongs to the certificate, as was checked. */
static void hash_certificate(XXH3_state_t *hash, const struct certificate *certificate)
{
    int count = certificate ? 1 + sk_X509_num(certificate->chain) : 0;
    XXH3_128bits_update(hash, &count, sizeof count);
    if (!certificate) return;
    hash_x509(hash, certificate->leaf);
    for (int i = 0; i + 1 < count; i++) hash_x509(hash, sk_X509_value(certificate->chain, i));
}

static struct content_hash key_of(const struct draft *draft)
{
    XXH3_state_t *hash = XXH3_createState();
    PROMISE(hash != NULL);
    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, &draft->version, sizeof draft->version);
    if (draft->tls) {
        XXH3_128bits_update(hash, &draft->tls->verify, sizeof draft->tls->verify);
        XXH3_128bits_update(hash, &draft->tls->version_min, sizeof draft->tls->version_min);
        hash_text(hash, draft->tls->server_name);
        hash_text(hash, draft->authorities);
        hash_certificate(hash, draft->certificate);
    }
    XXH128_hash_t digest = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    return (struct content_hash){ { digest.low64, digest.high64 } };
}

/* --- making --- */

/* In ALPN's form, preferred ones first (RFC 7301 3.1). */
static struct slice protocols_of(enum transport_version version)
{
    switch (version) {
    case TRANSPORT_HTTP_1: return SLICE("\x08http/1.1");
    case TRANSPORT_HTTP_2: return SLICE("\x02h2");
    case TRANSPORT_CHOSEN: break;
    }
    return SLICE("\x02h2\x08http/1.1");
}

static bool trust(const struct draft *draft, SSL_CTX *context, struct problems *problems)
{
    if (slice_is_absent(draft->authorities)) return SSL_CTX_set_default_verify_paths(context) == 1;
    const struct node *node = draft->node ? node_find(draft->node, "ca") : NULL;
    X509_STORE *store = certificate_store_read(draft->authorities, node, SLICE_ABSENT, NULL, problems);
    if (!store) return false;
    SSL_CTX_set_cert_store(context, store); /* takes it over */
    return true;
}

/* NULL: there was a problem. */
static SSL_CTX *make_context(const struct draft *draft, struct problems *problems)
{
    const struct service_tls_config *tls = draft->tls;
    const struct certificate *shown = draft->certificate;
    struct slice protocols = protocols_of(draft->version);
    size_t before = problems->count;
    SSL_CTX *context = tls_context_create(TLS_CLIENT);
    PROMISE(context != NULL);
    SSL_CTX_set_verify(context, tls->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    transport_prepare_tls(context);
    bool good = (!tls->verify || trust(draft, context, problems)) &&
                (!shown || SSL_CTX_use_cert_and_key(context, shown->leaf, shown->key, shown->chain, 1) == 1) &&
                (tls->version_min == TLS_VERSION_1_2 || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1) &&
                SSL_CTX_set_alpn_protos(context, (const unsigned char *)protocols.at, (unsigned)protocols.length) == 0;
    if (good) return context;
    if (problems->count == before)
        problems_add(problems, draft->node, NULL, "OpenSSL refuses these settings: %s", tls_error_words());
    SSL_CTX_free(context);
    return NULL;
}

static struct transport *make(const struct draft *draft, const struct content_hash *key, struct problems *problems)
{
    SSL_CTX *context = draft->tls ? make_context(draft, problems) : NULL;
    if (draft->tls && !context) return NULL;
    struct transport *transport = transport_create(key, draft->version);
    transport->tls = context;
    if (draft->tls && !slice_is_absent(draft->tls->server_name))
        transport->server_name = memory_copy_slice(draft->tls->server_name);
    return transport;
}

static struct slice bytes_of(const struct content_hash *key) { return slice_of((const char *)key, sizeof *key); }

struct transport *transport_for(struct snapshot_builder *builder, const struct service_config *config,
                                struct problems *problems)
{
    struct draft draft = {
        .tls = config->protocol == SERVICE_HTTPS || config->has_tls ? &config->tls : NULL,
        .node = config->has_tls && config->node ? node_find(config->node, "tls") : config->node,
        .version = version_of(config),
    };
    struct transport *transport = NULL;
    if (read_files(&draft, problems)) {
        struct content_hash key = key_of(&draft);
        transport = map_find(&builder->transports, bytes_of(&key));
        if (!transport && (transport = make(&draft, &key, problems)) != NULL)
            map_set(&builder->transports, bytes_of(&key), transport);
    }
    release(&draft);
    return transport ? transport_retain(transport) : NULL;
}

static void remove_transport(struct snapshot_builder *builder, struct transport *transport)
{
    map_remove(&builder->transports, bytes_of(&transport->key));
    transport_drop(transport);
}

/* Nobody takes a new reference to one that only the builder holds, but by transport_for. */
void transports_collect(struct snapshot_builder *builder)
{
    struct vector unused;
    vector_init(&unused, sizeof(void *));
    size_t position = 0;
    for (struct map_entry *entry = map_next(&builder->transports, &position); entry;
         entry = map_next(&builder->transports, &position)) {
        if (!transport_is_shared(entry->value)) vector_push_pointer(&unused, entry->value);
    }
    for (size_t i = 0; i < unused.count; i++) remove_transport(builder, vector_pointer_at(&unused, i));
    vector_release(&unused);
}
