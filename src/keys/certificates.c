/* keys/certificates.c: see certificates.h. */
#include "keys/certificates.h"

#include "base/log.h"
#include "base/memory.h"
#include "event/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (16u << 20)
#define DAY_SECONDS (24 * 60 * 60)

/* --- files --- */

static bool read_all(int file, struct slice *bytes)
{
    size_t capacity = 16 * 1024, length = 0;
    char *text = memory_allocate(capacity);
    for (;;) {
        ssize_t got = read(file, text + length, capacity - 1 - length);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) length += (size_t)got;
        if (got <= 0 || length > FILE_BYTES_MAX) {
            if (got > 0) errno = EFBIG;
            text[length] = '\0';
            *bytes = slice_of(text, length);
            return got == 0;
        }
        if (length == capacity - 1) text = memory_resize(text, capacity *= 2);
    }
}

/* Keys pass through here: nothing of them stays on the heap. */
static void forget(struct slice bytes)
{
    if (slice_is_absent(bytes)) return;
    OPENSSL_cleanse((void *)(uintptr_t)bytes.at, bytes.length);
    free((void *)(uintptr_t)bytes.at);
}

/* Whoever may try a change over the admin API may name a file here: a pipe without a writer, a terminal or the kernel's log would hold
 * the thread that compiles for ever. */
static int open_file(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    if (file < 0) return -1;
    if (fstat(file, &about) == 0 && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return file;
    close(file);
    errno = ENODEV;
    return -1;
}

struct slice certificate_file_read(struct slice path, const char *what, const struct node *node,
                                   struct problems *problems)
{
    struct slice bytes = SLICE_ABSENT;
    int file = open_file(path.at);
    if (file >= 0 && read_all(file, &bytes)) {
        close(file);
        return bytes;
    }
    int number = errno;
    if (file >= 0) close(file);
    forget(bytes);
    problems_add(problems, node, configuration_read_hint(number), "%s \"%.*s\" cannot be read: %s", what,
                 SLICE_PRINT(path), error_from_errno(number));
    return SLICE_ABSENT;
}

static BIO *bio_of(struct slice bytes)
{
    BIO *bio = BIO_new_mem_buf(bytes.at, (int)bytes.length);
    PROMISE(bio != NULL);
    return bio;
}

/* Asking for a passphrase on the terminal would block a server for good. */
static int no_passphrase(char *into, int size, int is_for_writing, void *asked)
{
    (void)into, (void)size, (void)is_for_writing;
    *(bool *)asked = true;
    return 0;
}

/* --- names --- */

static void add_name(struct certificate *certificate, const ASN1_STRING *name)
{
    struct slice text = slice_of((const char *)ASN1_STRING_get0_data(name), (size_t)ASN1_STRING_length(name));
    if (text.length == 0 || memchr(text.at, '\0', text.length)) return;
    char *copy = memory_copy_slice(text);
    for (char *at = copy; *at; at++) {
        if (*at >= 'A' && *at <= 'Z') *at |= 0x20;
    }
    vector_push_pointer(&certificate->names, copy);
}

static void find_names(struct certificate *certificate)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(certificate->leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(alternatives, i);
        if (name->type == GEN_DNS) add_name(certificate, name->d.dNSName);
    }
    GENERAL_NAMES_free(alternatives);
    if (certificate->names.count > 0) return;
    X509_NAME *subject = X509_get_subject_name(certificate->leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) add_name(certificate, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

const char *certificate_name(const struct certificate *certificate)
{
    return certificate->names.count > 0 ? vector_pointer_at(&certificate->names, 0) : "";
}

/* --- time --- */

static time_t to_time(const ASN1_TIME *when)
{
    struct tm parts;
    return when && ASN1_TIME_to_tm(when, &parts) == 1 ? timegm(&parts) : 0;
}

/* Whole days, rounded down. */
long certificate_days_left(time_t not_after, time_t now)
{
    long seconds = (long)(not_after - now);
    return seconds >= 0 ? seconds / DAY_SECONDS : -((-seconds + DAY_SECONDS - 1) / DAY_SECONDS);
}

void certificate_warn(const char *name, const char *listener, time_t not_after, time_t now)
{
    long days = certificate_days_left(not_after, now);
    if (days < 0)
        log_warning("listener %s: the certificate of \"%s\" has expired", listener, name);
    else if (days < CERTIFICATE_WARNING_DAYS)
        log_warning("listener %s: the certificate of \"%s\" expires in %ld days", listener, name, days);
}

/* --- a certificate and its key --- */

static const struct node *place_of(const struct node *node, const char *field)
{
    const struct node *place = node && node->kind == NODE_MAP ? node_find(node, field) : NULL;
    return place ? place : node;
}

static bool parse_chain(struct certificate *certificate, struct slice text)
{
    BIO *bio = bio_of(text);
    certificate->leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    certificate->chain = sk_X509_new_null();
    PROMISE(certificate->chain != NULL);
    X509 *next;
    while (certificate->leaf && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        PROMISE(sk_X509_push(certificate->chain, next) > 0);
    }
    bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    return certificate->leaf && is_at_end;
}

/* A text with what a message calls it: "certificate \"/a.pem\"" of a file, "\"certificate\"" of a field. */
struct named_text {
    struct slice text;
    const char *name;
    const struct node *node;
};

static bool take_chain(struct certificate *certificate, const struct named_text *from, struct problems *problems)
{
    if (parse_chain(certificate, from->text)) return true;
    problems_add(problems, from->node, "PEM begins with -----BEGIN CERTIFICATE-----",
                 certificate->leaf ? "%s: what follows the first one is damaged" : "%s holds no certificate in PEM",
                 from->name);
    return false;
}

static bool take_key(struct certificate *certificate, const struct named_text *from, struct problems *problems)
{
    bool asked = false;
    BIO *bio = bio_of(from->text);
    certificate->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    ERR_clear_error();
    BIO_free(bio);
    if (asked) {
        problems_add(problems, from->node, "openssl pkey -in KEY -out PLAIN_KEY takes it off", "%s has a passphrase",
                     from->name);
        return false;
    }
    if (!certificate->key)
        problems_add(problems, from->node, "PEM begins with -----BEGIN PRIVATE KEY-----",
                     "%s holds no private key in PEM", from->name);
    return certificate->key != NULL;
}

static bool take_both(struct certificate *certificate, const struct named_text *chain, const struct named_text *key,
                      struct problems *problems)
{
    bool good = slice_is_absent(chain->text) ? false : take_chain(certificate, chain, problems);
    good &= slice_is_absent(key->text) ? false : take_key(certificate, key, problems);
    if (!good) return false;
    bool match = X509_check_private_key(certificate->leaf, certificate->key) == 1;
    ERR_clear_error();
    if (!match) problems_add(problems, key->node, NULL, "%s is not the key of %s", key->name, chain->name);
    return match;
}

static struct named_text read_named(const char *what, struct slice path, const struct node *node,
                                    struct problems *problems)
{
    return (struct named_text){
        .text = certificate_file_read(path, what, node, problems),
        .name = memory_format("%s \"%.*s\"", what, SLICE_PRINT(path)),
        .node = node,
    };
}

static void forget_named(struct named_text *named)
{
    forget(named->text);
    free((void *)(uintptr_t)named->name);
}

static bool read_both(struct certificate *certificate, const struct certificate_config *config, const struct node *node,
                      struct problems *problems)
{
    struct named_text chain = read_named("certificate", config->certificate, place_of(node, "certificate"), problems);
    struct named_text key = read_named("key", config->key, place_of(node, "key"), problems);
    bool good = take_both(certificate, &chain, &key, problems);
    forget_named(&chain);
    forget_named(&key);
    return good;
}

/* --- OCSP --- */

/* The earliest end among its answers. Who signed it is the clients' to judge. */
static time_t staple_end(OCSP_BASICRESP *basic)
{
    time_t earliest = 0;
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        ASN1_GENERALIZEDTIME *next = NULL;
        OCSP_single_get0_status(OCSP_resp_get0(basic, i), NULL, NULL, NULL, &next);
        time_t end = to_time(next);
        if (end && (earliest == 0 || end < earliest)) earliest = end;
    }
    return earliest;
}

static bool parse_staple(struct certificate *certificate, struct slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.at;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)bytes.length);
    bool is_success = response && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL;
    OCSP_BASICRESP *basic = is_success ? OCSP_response_get1_basic(response) : NULL;
    if (basic) certificate->staple_not_after = staple_end(basic);
    bool good = basic && OCSP_resp_count(basic) > 0;
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return good;
}

/* Takes the bytes over. */
static bool take_staple(struct certificate *certificate, const struct named_text *from, struct problems *problems)
{
    if (!parse_staple(certificate, from->text)) {
        problems_add(problems, from->node, "openssl ocsp -respout FILE writes one",
                     "%s is not a successful response in DER", from->name);
        forget(from->text);
        return false;
    }
    certificate->staple = from->text;
    if (certificate->staple_not_after && certificate->staple_not_after <= time(NULL))
        log_warning("%s is out of date and not stapled", from->name);
    return true;
}

static bool read_staple(struct certificate *certificate, const struct certificate_config *config,
                        const struct node *node, struct problems *problems)
{
    if (slice_is_absent(config->ocsp)) return true;
    struct named_text staple = read_named("OCSP response", config->ocsp, place_of(node, "ocsp"), problems);
    bool good = !slice_is_absent(staple.text) && take_staple(certificate, &staple, problems);
    free((void *)(uintptr_t)staple.name);
    return good;
}

/* As it comes from a terminal: lines are allowed. Absent: it is no base64. The caller's (free). */
static struct slice decode_base64(struct slice text)
{
    BIO *source = bio_of(text), *decoder = BIO_new(BIO_f_base64());
    PROMISE(decoder != NULL);
    if (slice_find_byte(text, '\n') == SLICE_NOT_FOUND) BIO_set_flags(decoder, BIO_FLAGS_BASE64_NO_NL);
    BIO_push(decoder, source);
    char *bytes = memory_allocate(text.length + 1);
    int length = BIO_read(decoder, bytes, (int)text.length);
    BIO_free_all(decoder);
    ERR_clear_error();
    if (length > 0) return slice_of(bytes, (size_t)length);
    free(bytes);
    return SLICE_ABSENT;
}

static bool decode_staple(struct certificate *certificate, struct slice text, const struct node *node,
                          struct problems *problems)
{
    if (slice_is_absent(text)) return true;
    struct named_text staple = { decode_base64(text), "\"ocsp\"", place_of(node, "ocsp") };
    if (!slice_is_absent(staple.text)) return take_staple(certificate, &staple, problems);
    problems_add(problems, staple.node, "base64 RESPONSE writes it", "\"ocsp\" is not base64");
    return false;
}

static struct certificate *make_certificate(void)
{
    struct certificate *certificate = memory_allocate(sizeof *certificate);
    vector_init(&certificate->names, sizeof(char *));
    return certificate;
}

static struct certificate *complete_or_nothing(struct certificate *certificate, bool good)
{
    if (!good) {
        certificate_destroy(certificate);
        return NULL;
    }
    find_names(certificate);
    certificate->not_after = to_time(X509_get0_notAfter(certificate->leaf));
    return certificate;
}

struct certificate *certificate_read(const struct certificate_config *config, const struct node *node,
                                     struct problems *problems)
{
    struct certificate *certificate = make_certificate();
    bool good = read_both(certificate, config, node, problems);
    good &= read_staple(certificate, config, place_of(node, "ocsp"), problems);
    return complete_or_nothing(certificate, good);
}

struct certificate *certificate_read_texts(const struct certificate_texts *texts, const struct node *node,
                                           struct problems *problems)
{
    struct certificate *certificate = make_certificate();
    struct named_text chain = { texts->certificate, "\"certificate\"", place_of(node, "certificate") };
    struct named_text key = { texts->key, "\"key\"", place_of(node, "key") };
    bool good = take_both(certificate, &chain, &key, problems);
    good &= decode_staple(certificate, texts->ocsp, node, problems);
    return complete_or_nothing(certificate, good);
}

void certificate_destroy(struct certificate *certificate)
{
    for (size_t i = 0; i < certificate->names.count; i++) free(vector_pointer_at(&certificate->names, i));
    vector_release(&certificate->names);
    X509_free(certificate->leaf);
    sk_X509_pop_free(certificate->chain, X509_free);
    EVP_PKEY_free(certificate->key);
    free((void *)(uintptr_t)certificate->staple.at);
    free(certificate);
}

/* --- authorities --- */

static size_t add_authorities(X509_STORE *store, struct slice text)
{
    BIO *bio = bio_of(text);
    size_t count = 0;
    X509 *authority;
    while ((authority = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        PROMISE(X509_STORE_add_cert(store, authority) == 1);
        X509_free(authority);
        count++;
    }
    ERR_clear_error();
    BIO_free(bio);
    return count;
}

static void warn_if_stale(const X509_CRL *list)
{
    time_t end = to_time(X509_CRL_get0_nextUpdate(list));
    if (end == 0 || end > time(NULL)) return;
    char issuer[256];
    X509_NAME_oneline(X509_CRL_get_issuer(list), issuer, sizeof issuer);
    log_warning("the revocation list of \"%s\" is out of date: every client certificate of it is refused", issuer);
}

static size_t add_revoked(X509_STORE *store, struct slice text)
{
    BIO *bio = bio_of(text);
    size_t count = 0;
    X509_CRL *list;
    while ((list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        PROMISE(X509_STORE_add_crl(store, list) == 1);
        warn_if_stale(list);
        X509_CRL_free(list);
        count++;
    }
    ERR_clear_error();
    BIO_free(bio);
    return count;
}

/* Each authority that is named is trusted as it stands, also one that another one issued. */
X509_STORE *certificate_store_read(struct slice authorities, const struct node *authorities_node, struct slice revoked,
                                   const struct node *revoked_node, struct problems *problems)
{
    X509_STORE *store = X509_STORE_new();
    PROMISE(store != NULL);
    size_t before = problems->count;
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    if (add_authorities(store, authorities) == 0)
        problems_add(problems, authorities_node, "a PEM file begins with -----BEGIN CERTIFICATE-----",
                     "\"%s\" holds no certificate in PEM", authorities_node ? authorities_node->key.at : "clientCa");
    if (!slice_is_absent(revoked)) {
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
        if (add_revoked(store, revoked) == 0)
            problems_add(problems, revoked_node, "a PEM file begins with -----BEGIN X509 CRL-----",
                         "\"clientCrl\" holds no revocation list in PEM");
    }
    if (problems->count == before) return store;
    X509_STORE_free(store);
    return NULL;
}

STACK_OF(X509_NAME) * certificate_authority_names(struct slice authorities)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    PROMISE(names != NULL);
    BIO *bio = bio_of(authorities);
    X509 *authority;
    while ((authority = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        PROMISE(sk_X509_NAME_push(names, X509_NAME_dup(X509_get_subject_name(authority))) > 0);
        X509_free(authority);
    }
    ERR_clear_error();
    BIO_free(bio);
    return names;
}
