/* Listeners: where requests come in, and what is spoken there before HTTP: the PROXY protocol, TLS. Certificates themselves are read when
 * the configuration is made ready (gateway/entrance.h), for they may change where no word of this does. */
#include "config/private.h"

#define HTTPS_PORT 443

bool read_path(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice text;
    if (!schema_read_text(reading, node->key.at ? node->key.at : "ticketKeys", node, &text)) return false;
    if (text.length == 0) {
        problems_add(reading->problems, node, NULL, "a path must not be empty");
        return false;
    }
    *(struct slice *)into = schema_path(reading, text);
    return true;
}

static bool read_paths(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice_list *list = into;
    const struct node *first = node->kind == NODE_LIST ? node->first : node;
    size_t count = node->kind == NODE_LIST ? node->count : 1;
    if (count == 0) return true;
    list->items = config_allocate(reading->arena, count * sizeof *list->items);
    bool ok = true;
    for (const struct node *item = first; list->count < count; item = item->next)
        ok &= read_path(reading, item, &list->items[list->count++]);
    return ok;
}

static const struct field certificate_fields[] = {
    { .name = "certificate",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct certificate_config, certificate),
      .read = read_path,
      .required = true,
      .type_text = "path",
      .summary = "A PEM file: the certificate, then what links it to a root." },
    { .name = "key",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct certificate_config, key),
      .read = read_path,
      .required = true,
      .type_text = "path",
      .summary = "A PEM file: the certificate's private key, without a passphrase." },
    { .name = "ocsp",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct certificate_config, ocsp),
      .read = read_path,
      .type_text = "path",
      .summary = "A DER file: the OCSP response to staple. One that is out of date is not stapled." },
    FIELDS_END,
};

const char *const tls_versions[] = { "1.2", "1.3", NULL };
static const char *const client_auths[] = { "none", "optional", "required", NULL };

const struct field listener_tls_fields[] = {
    { .name = "certificates",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct listener_tls_config, certificates),
      .fields = certificate_fields,
      .item_size = sizeof(struct certificate_config),
      .minimum = 1,
      .maximum = 1000,
      .summary =
          "Which is shown says the name that the client asks for (SNI): an exact one, then `*.` and the rest, "
          "else the first of the list. ECDSA and RSA certificates of one name may stand side by side. Required, unless "
          "certificates are kept as resources." },
    { .name = "minVersion",
      .type = FIELD_ENUM,
      .into = offsetof(struct listener_tls_config, version_min),
      .names = tls_versions,
      .fallback = "1.2",
      .summary = "The oldest TLS version that is spoken." },
    { .name = "ciphers",
      .type = FIELD_STRING,
      .into = offsetof(struct listener_tls_config, ciphers),
      .summary = "TLS 1.2 ciphers, by OpenSSL's names, preferred ones first. Absent: modern ones." },
    { .name = "cipherSuites",
      .type = FIELD_STRING,
      .into = offsetof(struct listener_tls_config, cipher_suites),
      .summary = "TLS 1.3 cipher suites, by OpenSSL's names, preferred ones first. Absent: all three usual ones." },
    { .name = "clientAuth",
      .type = FIELD_ENUM,
      .into = offsetof(struct listener_tls_config, client_auth),
      .names = client_auths,
      .fallback = "none",
      .summary = "Whether clients are asked for a certificate, and must show one. One that is shown must be good." },
    { .name = "clientCa",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct listener_tls_config, client_ca),
      .read = read_path,
      .type_text = "path",
      .summary = "A PEM file: the authorities whose client certificates are good." },
    { .name = "clientCrl",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct listener_tls_config, client_crl),
      .read = read_path,
      .type_text = "path",
      .summary = "A PEM file: the lists of revoked certificates, one of each authority in the chain." },
    { .name = "ticketKeys",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct listener_tls_config, ticket_keys),
      .read = read_paths,
      .type_text = "list of paths",
      .summary =
          "Files of 80 random bytes, shared by instances, so that a session is resumed by any of them: the first "
          "encrypts tickets, all decrypt. Absent: keys of its own, renewed twice a day." },
    FIELDS_END,
};

/* What stands there must be acted on. */
bool check_listener_tls(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct listener_tls_config *tls = value;
    bool asks = tls->client_auth != CLIENT_AUTH_NONE, has_ca = !slice_is_absent(tls->client_ca);
    size_t before = reading->problems->count;
    if (asks && !has_ca)
        problems_add(reading->problems, node_find(node, "clientAuth"), "name the authorities: clientCa: PATH",
                     "\"clientAuth\" needs \"clientCa\"");
    if (!asks && has_ca)
        problems_add(reading->problems, node_find(node, "clientCa"), "add clientAuth: optional, or required",
                     "\"clientCa\" without \"clientAuth\": nobody is asked for a certificate");
    if (!asks && !has_ca && !slice_is_absent(tls->client_crl))
        problems_add(reading->problems, node_find(node, "clientCrl"), "add clientAuth and clientCa",
                     "\"clientCrl\" without \"clientAuth\": nobody is asked for a certificate");
    if (tls->version_min == TLS_VERSION_1_3 && !slice_is_absent(tls->ciphers))
        problems_add(reading->problems, node_find(node, "ciphers"), "those of TLS 1.3 are \"cipherSuites\"",
                     "\"ciphers\" are TLS 1.2's, and \"minVersion\" is 1.3");
    return reading->problems->count == before;
}

static bool read_redirect_port(struct schema_reading *reading, const struct node *node, void *into)
{
    uint16_t *port = into;
    int64_t number;
    if (node->kind == NODE_SCALAR && !node->quoted && slice_equal(node->text, SLICE("true"))) {
        *port = HTTPS_PORT;
        return true;
    }
    if (node->kind == NODE_SCALAR && !node->quoted && slice_equal(node->text, SLICE("false"))) return true;
    bool is_number = node->kind == NODE_SCALAR && !node->quoted && node->text.at[0] >= '0' && node->text.at[0] <= '9';
    if (!is_number) {
        const struct field field = { .name = "redirectToHttps" };
        return schema_refuse(reading, &field, node, node->quoted ? "written without quotes" : NULL,
                             "true, false or a port");
    }
    if (!schema_read_integer(reading, "redirectToHttps", 1, 65535, node, &number)) return false;
    *port = (uint16_t)number;
    return true;
}

static const struct field proxy_protocol_fields[] = {
    { .name = "from",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct listener_proxy_config, from_texts),
      .check = check_trusted_proxy,
      .required = true,
      .minimum = 1,
      .maximum = 10000,
      .summary = "Who speaks it: addresses and ranges. Whoever else comes is sent away." },
    FIELDS_END,
};

/* `true`: from the trusted proxies, which are not known here yet. */
static bool read_proxy_protocol(struct schema_reading *reading, const struct node *node, void *into)
{
    struct listener_proxy_config *proxy = into;
    const struct field word = { .name = "proxyProtocol", .type = FIELD_BOOLEAN };
    if (slice_equal(node->text, SLICE("v1")) || slice_equal(node->text, SLICE("v2")))
        return schema_refuse(reading, &word, node, "both versions are understood: true, or { from: [10.0.0.0/8] }",
                             "true, false or a map of fields");
    return schema_read_scalar(reading, &word, node, &proxy->from_trusted_proxies);
}

const struct field listener_fields[] = {
    { .name = "address",
      .type = FIELD_CUSTOM,
      .read = read_listener,
      .required = true,
      .type_text = "IP:port",
      .summary = "Where requests come in: `0.0.0.0:8080` for all IPv4 addresses, `[::]:8080` for all IPv6 ones." },
    { .name = "tls",
      .type = FIELD_OBJECT,
      .into = offsetof(struct listener_config, tls),
      .present = offsetof(struct listener_config, has_tls),
      .fields = listener_tls_fields,
      .check = check_listener_tls,
      .summary = "HTTPS is spoken here. Absent: plain HTTP." },
    { .name = "http2",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct listener_config, http2),
      .fallback = "true",
      .summary =
          "HTTP/2 may be spoken here: clients choose it by ALPN or, without TLS, by beginning with its preface." },
    { .name = "redirectToHttps",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct listener_config, redirect_port),
      .read = read_redirect_port,
      .type_text = "true, false or a port",
      .summary = "Every request is answered with 308 to the same place by https, on that port; `true`: on 443." },
    { .name = "proxyProtocol",
      .type = FIELD_OBJECT,
      .into = offsetof(struct listener_config, proxy),
      .fields = proxy_protocol_fields,
      .read = read_proxy_protocol,
      .summary = "Connections begin with a PROXY header (version 1 or 2) that says who the client is. `true`: from "
                 "`trustedProxies`." },
    NOT_YET("protocol"),
    FIELDS_END,
};

/* --- what takes the whole configuration to tell --- */

static void take_ranges(struct schema_reading *reading, struct listener_proxy_config *proxy)
{
    proxy->from = config_allocate(reading->arena, proxy->from_texts.count * sizeof *proxy->from);
    for (size_t i = 0; i < proxy->from_texts.count; i++)
        proxy->from_count += address_range_parse(proxy->from_texts.items[i], &proxy->from[proxy->from_count]);
}

static void find_proxies(struct schema_reading *reading, const struct configuration *configuration,
                         struct listener_config *listener)
{
    struct listener_proxy_config *proxy = &listener->proxy;
    if (proxy->from_texts.count > 0) take_ranges(reading, proxy);
    if (!proxy->from_trusted_proxies) return;
    proxy->from = configuration->trusted_proxies;
    proxy->from_count = configuration->trusted_proxy_count;
    if (configuration->trusted_proxy_texts.count > 0) return;
    problems_add(reading->problems, node_find(listener->node, "proxyProtocol"),
                 "name them in trustedProxies, or here: proxyProtocol: { from: [10.0.0.0/8] }",
                 "\"proxyProtocol\" without \"trustedProxies\": nobody would be let in");
}

/* A store may hold certificates at any time; a file says now whether there are any. */
void listener_check_certificates(struct schema_reading *reading, const struct configuration *configuration,
                                 const struct listener_tls_config *tls, const struct node *node)
{
    const struct node *place = node_find(node, "tls");
    if (tls->certificates.count > 0 || configuration->store != STORE_FILE || configuration->certificates.count > 0)
        return;
    if (place && place->kind == NODE_MAP && !node_find(place, "certificates"))
        problems_add_missing(reading->problems, place, "certificates", NULL);
}

void listener_check(struct schema_reading *reading, const struct configuration *configuration,
                    struct listener_config *listener)
{
    if (listener->node->kind != NODE_MAP) return;
    find_proxies(reading, configuration, listener);
    if (listener->has_tls) listener_check_certificates(reading, configuration, &listener->tls, listener->node);
    if (listener->has_tls && listener->redirect_port)
        problems_add(reading->problems, node_find(listener->node, "redirectToHttps"),
                     "it belongs to a listener of its own, without tls",
                     "\"redirectToHttps\" on a listener that speaks https already");
}
