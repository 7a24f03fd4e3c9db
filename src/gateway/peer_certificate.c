/* gateway/peer_certificate.c: see peer_certificate.h. */
#include "gateway/peer_certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define SUBJECT_BYTES_MAX 4096
#define SERIAL_BYTES_MAX 128
#define ALTERNATIVES_BYTES_MAX 4096 /* what goes beyond is left out, name by name */

/* --- texts --- */

static void write_hex(BIO *out, const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) BIO_printf(out, "%02x", bytes[i]);
}

/* Whoever issued it chose these bytes: nothing of them may end a list's item or a field's line. */
static void write_escaped(BIO *out, const ASN1_STRING *text)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(text);
    for (int i = 0; i < ASN1_STRING_length(text); i++) {
        bool is_plain = bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != ',' && bytes[i] != '%';
        BIO_printf(out, is_plain ? "%c" : "%%%02X", bytes[i]);
    }
}

static void write_ip(BIO *out, const ASN1_OCTET_STRING *bytes)
{
    struct address address = { .any.sa_family = AF_UNSPEC };
    char text[ADDRESS_TEXT_BYTES];
    int length = ASN1_STRING_length(bytes);
    if (length == 4) {
        address.v4.sin_family = AF_INET;
        memcpy(&address.v4.sin_addr, ASN1_STRING_get0_data(bytes), 4);
    } else if (length == 16) {
        address.v6.sin6_family = AF_INET6;
        memcpy(&address.v6.sin6_addr, ASN1_STRING_get0_data(bytes), 16);
    }
    address_write_ip(&address, text);
    BIO_puts(out, text);
}

static bool write_alternative(BIO *out, const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS: BIO_puts(out, "DNS:"), write_escaped(out, name->d.dNSName); return true;
    case GEN_URI: BIO_puts(out, "URI:"), write_escaped(out, name->d.uniformResourceIdentifier); return true;
    case GEN_EMAIL: BIO_puts(out, "email:"), write_escaped(out, name->d.rfc822Name); return true;
    case GEN_IPADD: BIO_puts(out, "IP:"), write_ip(out, name->d.iPAddress); return true;
    default: return false;
    }
}

static void write_alternatives(BIO *out, const X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    BIO *one = BIO_new(BIO_s_mem());
    size_t written = 0;
    for (int i = 0; one && i < sk_GENERAL_NAME_num(names); i++) {
        char *text;
        (void)BIO_reset(one);
        if (written > 0) BIO_puts(one, ", ");
        if (!write_alternative(one, sk_GENERAL_NAME_value(names, i))) continue;
        long length = BIO_get_mem_data(one, &text);
        if (written + (size_t)length > ALTERNATIVES_BYTES_MAX) continue;
        written += (size_t)length;
        BIO_write(out, text, (int)length);
    }
    BIO_free(one);
    GENERAL_NAMES_free(names);
}

static void write_serial(BIO *out, const X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    write_hex(out, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
}

static void write_fingerprint(BIO *out, const X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1) write_hex(out, digest, length);
}

/* --- the block --- */

/* The texts stand one behind the other; `ends` are where. */
struct texts {
    BIO *out;
    size_t ends[4];
};

static size_t length_of(BIO *out)
{
    char *start;
    return (size_t)BIO_get_mem_data(out, &start);
}

static void write_texts(struct texts *texts, const X509 *certificate)
{
    X509_NAME_print_ex(texts->out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    texts->ends[0] = length_of(texts->out);
    write_alternatives(texts->out, certificate);
    texts->ends[1] = length_of(texts->out);
    write_serial(texts->out, certificate);
    texts->ends[2] = length_of(texts->out);
    write_fingerprint(texts->out, certificate);
    texts->ends[3] = length_of(texts->out);
}

/* A part of a name would be another name. */
static bool are_bounded(const struct texts *texts)
{
    return texts->ends[0] <= SUBJECT_BYTES_MAX && texts->ends[2] - texts->ends[1] <= SERIAL_BYTES_MAX &&
           texts->ends[3] - texts->ends[2] == 64;
}

static struct peer_certificate *make_block(const struct texts *texts)
{
    char *start, *at;
    size_t length = (size_t)BIO_get_mem_data(texts->out, &start);
    struct peer_certificate *block = malloc(sizeof *block + length);
    if (!block) return NULL;
    at = (char *)(block + 1);
    memcpy(at, start, length);
    block->subject = slice_of(at, texts->ends[0]);
    block->alternatives = slice_of(at + texts->ends[0], texts->ends[1] - texts->ends[0]);
    block->serial = slice_of(at + texts->ends[1], texts->ends[2] - texts->ends[1]);
    block->fingerprint = slice_of(at + texts->ends[2], texts->ends[3] - texts->ends[2]);
    return block;
}

struct peer_certificate *peer_certificate_read(const SSL *ssl, bool *failed)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    *failed = false;
    if (!certificate) return NULL;
    struct texts texts = { .out = BIO_new(BIO_s_mem()) };
    struct peer_certificate *block = NULL;
    if (texts.out) {
        write_texts(&texts, certificate);
        if (are_bounded(&texts)) block = make_block(&texts);
    }
    BIO_free(texts.out);
    ERR_clear_error();
    *failed = !block;
    return block;
}
