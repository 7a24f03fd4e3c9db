/* security-headers: tells browsers to be careful with an answer.
 *
 * What is switched on is set on every answer of the route, also on those that other policies give, in place of the service's own.
 * Strict-Transport-Security goes out over TLS only (RFC 6797 7.2), the client's to us or to a trusted proxy before us, unless
 * hstsAlways says otherwise. State: the compiled names and values (route). Never waits. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"

#define HEADERS_MAX 8

enum frame_options { FRAME_DENY, FRAME_SAMEORIGIN, FRAME_OFF };
static const char *const frame_options_names[] = { "deny", "sameorigin", "off", NULL };

struct security_headers_config {
    bool nosniff;
    int frame_options; /* enum frame_options */
    uint64_t hsts_max_age_ms;
    bool hsts_subdomains, hsts_preload, hsts_always;
    struct slice referrer_policy, content_security_policy, permissions_policy, opener_policy, resource_policy;
};

struct security_header {
    struct header_constant field; /* its name is static */
    char *text;                   /* its value */
    bool over_tls_only;
};

struct security_headers {
    size_t count;
    struct security_header items[HEADERS_MAX];
};

static const struct field security_headers_fields[] = {
    { .name = "nosniff",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct security_headers_config, nosniff),
      .fallback = "true",
      .summary = "`X-Content-Type-Options: nosniff`: a browser takes the content type as it is told." },
    { .name = "frameOptions",
      .type = FIELD_ENUM,
      .into = offsetof(struct security_headers_config, frame_options),
      .names = frame_options_names,
      .fallback = "deny",
      .summary = "`X-Frame-Options`: who may show the page in a frame." },
    { .name = "hstsMaxAge",
      .type = FIELD_SECONDS,
      .into = offsetof(struct security_headers_config, hsts_max_age_ms),
      .fallback = "31536000",
      .maximum = 63072000000,
      .summary = "`Strict-Transport-Security`: how long browsers use TLS only; 0 leaves the header out." },
    { .name = "hstsIncludeSubDomains",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct security_headers_config, hsts_subdomains),
      .summary = "Whether that holds for the host's subdomains too." },
    { .name = "hstsPreload",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct security_headers_config, hsts_preload),
      .summary = "Whether browsers' makers may list the host; needs `hstsIncludeSubDomains` and a year." },
    { .name = "hstsAlways",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct security_headers_config, hsts_always),
      .summary = "Sends it without TLS too, for a TLS proxy before Sluice that is not among `trustedProxies`." },
    { .name = "referrerPolicy",
      .type = FIELD_STRING,
      .into = offsetof(struct security_headers_config, referrer_policy),
      .check = check_header_value,
      .summary = "`Referrer-Policy`, such as `no-referrer`." },
    { .name = "contentSecurityPolicy",
      .type = FIELD_STRING,
      .into = offsetof(struct security_headers_config, content_security_policy),
      .check = check_header_value,
      .summary = "`Content-Security-Policy`, such as `default-src 'self'`." },
    { .name = "permissionsPolicy",
      .type = FIELD_STRING,
      .into = offsetof(struct security_headers_config, permissions_policy),
      .check = check_header_value,
      .summary = "`Permissions-Policy`, such as `camera=()`." },
    { .name = "crossOriginOpenerPolicy",
      .type = FIELD_STRING,
      .into = offsetof(struct security_headers_config, opener_policy),
      .check = check_header_value,
      .summary = "`Cross-Origin-Opener-Policy`, such as `same-origin`." },
    { .name = "crossOriginResourcePolicy",
      .type = FIELD_STRING,
      .into = offsetof(struct security_headers_config, resource_policy),
      .check = check_header_value,
      .summary = "`Cross-Origin-Resource-Policy`, such as `same-site`." },
    FIELDS_END,
};

static bool security_headers_check(struct schema_reading *, const struct node *, const void *value);
static bool security_headers_compile(const struct filter_compile *, const void *value, void **compiled);
static void security_headers_release(void *compiled);
static enum filter_result security_headers_response_head(struct exchange *, const void *compiled, void *state);

/* The first phase: on the way back it comes last, so that no answer of the route leaves without these. */
const struct filter filter_security_headers = {
    .name = "security-headers",
    .summary = "Adds the headers by which browsers protect a page: nosniff, frame denial, HSTS and more.",
    .phase = PHASE_EDGE,
    .fields = security_headers_fields,
    .config_size = sizeof(struct security_headers_config),
    .check = security_headers_check,
    .compile = security_headers_compile,
    .release = security_headers_release,
    .response_head = security_headers_response_head,
};

/* --- loading --- */

static bool security_headers_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct security_headers_config *config = value;
    const uint64_t year_ms = UINT64_C(31536000) * 1000;
    if (!config->hsts_preload || (config->hsts_subdomains && config->hsts_max_age_ms >= year_ms)) return true;
    const struct node *place = node_find(node, "hstsPreload");
    problems_add(reading->problems, place ? place : node, NULL,
                 "\"hstsPreload\" needs \"hstsIncludeSubDomains\" and a \"hstsMaxAge\" of at least a year");
    return false;
}

/* Takes over the text. */
static void put(struct security_headers *headers, struct slice name, char *text, bool over_tls_only)
{
    PROMISE(headers->count < HEADERS_MAX);
    headers->items[headers->count++] = (struct security_header){ header_constant_of(name, slice_from_cstring(text)),
                                                                 text, over_tls_only };
}

static void put_given(struct security_headers *headers, struct slice name, struct slice value)
{
    if (value.length > 0) put(headers, name, memory_copy_slice(value), false);
}

static void put_hsts(struct security_headers *headers, const struct security_headers_config *config)
{
    if (config->hsts_max_age_ms == 0) return;
    char *text = memory_format("max-age=%llu%s%s", (unsigned long long)(config->hsts_max_age_ms / 1000),
                               config->hsts_subdomains ? "; includeSubDomains" : "",
                               config->hsts_preload ? "; preload" : "");
    put(headers, SLICE("Strict-Transport-Security"), text, !config->hsts_always);
}

static bool security_headers_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct security_headers_config *config = value;
    struct security_headers *headers = memory_allocate(sizeof *headers);
    if (config->nosniff) put(headers, SLICE("X-Content-Type-Options"), memory_copy_slice(SLICE("nosniff")), false);
    if (config->frame_options != FRAME_OFF) {
        struct slice word = config->frame_options == FRAME_DENY ? SLICE("DENY") : SLICE("SAMEORIGIN");
        put(headers, SLICE("X-Frame-Options"), memory_copy_slice(word), false);
    }
    put_hsts(headers, config);
    put_given(headers, SLICE("Referrer-Policy"), config->referrer_policy);
    put_given(headers, SLICE("Content-Security-Policy"), config->content_security_policy);
    put_given(headers, SLICE("Permissions-Policy"), config->permissions_policy);
    put_given(headers, SLICE("Cross-Origin-Opener-Policy"), config->opener_policy);
    put_given(headers, SLICE("Cross-Origin-Resource-Policy"), config->resource_policy);
    *compiled = headers;
    return true;
}

static void security_headers_release(void *compiled)
{
    struct security_headers *headers = compiled;
    for (size_t i = 0; i < headers->count; i++) free(headers->items[i].text);
    free(headers);
}

/* --- answers --- */

static bool is_over_tls(const struct exchange *exchange)
{
    if (exchange->stream->peer->tls) return true;
    if (!exchange->from_trusted_proxy) return false;
    struct slice scheme = headers_value(&exchange->request->headers, HEADER_X_FORWARDED_PROTO);
    return slice_equal_ignore_case(scheme, SLICE("https"));
}

static enum filter_result security_headers_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    const struct security_headers *headers = compiled;
    for (size_t i = 0; i < headers->count; i++) {
        const struct security_header *item = &headers->items[i];
        if (item->over_tls_only && !is_over_tls(exchange)) continue;
        if (headers_set_constant(&exchange->response->headers, &item->field)) continue;
        respond_no_memory(exchange);
        break;
    }
    return FILTER_NEXT;
}
