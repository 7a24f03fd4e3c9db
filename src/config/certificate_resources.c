/* Certificates that are kept in the store as texts. Whether key and certificate belong together, and to which names, is found out where
 * they are made ready (gateway/entrance.h); here only that each is what it says it is. */
#include "config/private.h"

#include <openssl/pem.h>

/* The label of the first PEM block, of at most size - 1 bytes; false where there is none. OpenSSL reads its base64 too. */
static bool pem_label(struct slice text, char *label, size_t size, bool *encrypted)
{
    char *name = NULL, *header = NULL;
    unsigned char *bytes = NULL;
    long length = 0;
    BIO *bio = text.length <= INT32_MAX ? BIO_new_mem_buf(text.at, (int)text.length) : NULL;
    bool found = bio && PEM_read_bio(bio, &name, &header, &bytes, &length) == 1;
    if (found) {
        snprintf(label, size, "%s", name);
        *encrypted = strstr(header, "ENCRYPTED") || strstr(name, "ENCRYPTED");
        OPENSSL_cleanse(bytes, (size_t)length);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(bytes);
    BIO_free(bio);
    return found;
}

static bool check_certificate(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    char label[64] = "";
    bool encrypted;
    if (resource_secret_is_reference(*text)) return true;
    bool ok = pem_label(*text, label, sizeof label, &encrypted) &&
              slice_ends_with(slice_from_cstring(label), SLICE("CERTIFICATE"));
    if (!ok)
        problems_add(reading->problems, node, "-----BEGIN CERTIFICATE----- and so on, or ${file:PATH}",
                     "\"certificate\" must be a certificate in PEM%s",
                     slice_ends_with(slice_from_cstring(label), SLICE("PRIVATE KEY")) ? ", not a key" : "");
    return ok;
}

static bool check_key(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    char label[64] = "";
    bool encrypted = false;
    if (resource_secret_is_reference(*text)) return true;
    bool ok = pem_label(*text, label, sizeof label, &encrypted) &&
              slice_ends_with(slice_from_cstring(label), SLICE("PRIVATE KEY"));
    if (ok && !encrypted) return true;
    problems_add(reading->problems, node,
                 encrypted ? "openssl pkey writes it without one"
                           : "-----BEGIN PRIVATE KEY----- and so on, ${file:PATH} or ${env:NAME}",
                 encrypted ? "\"key\" must be a private key without a passphrase"
                           : "\"key\" must be a private key in PEM");
    return false;
}

/* The outermost of an OCSP response (RFC 6960 4.2.1) is a SEQUENCE: 0x30. */
static bool check_ocsp(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    bool ok = text->length > 0 && text->length % 4 == 0 && text->length <= 1 << 20;
    unsigned char *bytes = ok ? config_allocate(reading->arena, text->length / 4 * 3 + 1) : NULL;
    ok = ok && EVP_DecodeBlock(bytes, (const unsigned char *)text->at, (int)text->length) > 0 && bytes[0] == 0x30;
    if (!ok)
        problems_add(reading->problems, node, "base64 -w0 response.der",
                     "\"ocsp\" must be an OCSP response: DER in base64");
    return ok;
}

static bool check_listener_address(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    struct address address;
    if (address_parse(*text, &address) && address_port(&address) > 0) return true;
    problems_add(reading->problems, node, "as the listener's own: 0.0.0.0:8443",
                 "not the address of a listener: \"%s\"", problems_excerpt(*text).text);
    return false;
}

const struct field certificate_resource_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct certificate_resource_config, name),
      .check = check_name,
      .summary = "What it is called; unique. Absent: its id." },
    { .name = "id",
      .type = FIELD_STRING,
      .into = offsetof(struct certificate_resource_config, id),
      .check = check_id,
      .summary = "A UUID. Absent: one made from the name, else from the content." },
    { .name = "certificate",
      .type = FIELD_STRING,
      .into = offsetof(struct certificate_resource_config, certificate),
      .check = check_certificate,
      .required = true,
      .summary = "PEM: the certificate, then what links it to a root. `${file:PATH}` names a file that holds it." },
    { .name = "key",
      .type = FIELD_STRING,
      .into = offsetof(struct certificate_resource_config, key),
      .check = check_key,
      .required = true,
      .secret = true,
      .summary = "PEM: its private key, without a passphrase; or `${file:PATH}`, `${env:NAME}`." },
    { .name = "ocsp",
      .type = FIELD_STRING,
      .into = offsetof(struct certificate_resource_config, ocsp),
      .check = check_ocsp,
      .summary = "The OCSP response to staple: DER in base64. One that is out of date is not stapled." },
    { .name = "listeners",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct certificate_resource_config, listeners),
      .one_or_many = true,
      .minimum = 1,
      .maximum = 1024,
      .check = check_listener_address,
      .summary = "Addresses of the listeners that show it. Absent: all that speak TLS." },
    TAGS(struct certificate_resource_config),
    CREATED_AT,
    UPDATED_AT,
    FIELDS_END,
};
