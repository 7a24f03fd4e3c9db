/* admin/guard.c: who may come in, in this order: Host, Origin, who it is, what that one may do.
 *
 * A browser is the one client that strangers can command. Its page can't reach the API by a name that an attacker's DNS answers with our
 * address (Host must be an address, a name of loopback or one that the settings list), nor from another origin (no CORS field is
 * ever sent, and what says that it comes from elsewhere is refused). Tokens are compared by their hash, over all of them, in
 * constant time. */
#include "admin/private.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define TOKEN_BYTES_MAX 4096

/* --- where the request says that it goes to and comes from --- */

static bool is_ip(struct slice host)
{
    struct address address;
    if (host.length > 2 && host.at[0] == '[') host = slice_of(host.at + 1, host.length - 2);
    return address_parse_ip(host, 0, &address);
}

/* `host` is in lower case, without port. An address can't be rebound: no DNS is asked for it. */
bool admin_host_is_allowed(const struct admin_settings *settings, struct slice host)
{
    if (slice_is_absent(host)) return true; /* HTTP/1.0: no browser of today */
    if (slice_equal(host, SLICE("localhost")) || slice_ends_with(host, SLICE(".localhost")) || is_ip(host)) return true;
    for (size_t i = 0; i < settings->host_count; i++) {
        if (slice_equal(host, slice_from_cstring(settings->hosts[i]))) return true;
    }
    return false;
}

/* Browsers leave a scheme's own port out of both fields, so it is enough to compare what is written. A proxy in front may have taken TLS
 * off, never put it on. */
bool admin_origin_is_same(struct arena *arena, struct slice origin, bool tls, struct slice host, uint16_t port)
{
    size_t scheme = slice_find(origin, SLICE("://"));
    if (scheme == SLICE_NOT_FOUND) return false; /* "null" */
    struct slice origin_host;
    uint16_t origin_port;
    if (!target_parse_authority(slice_after(origin, scheme + 3), arena, &origin_host, &origin_port)) return false;
    if (tls && !slice_equal(slice_before(origin, scheme), SLICE("https"))) return false;
    return slice_equal(origin_host, host) && origin_port == port;
}

static bool comes_from_elsewhere(struct exchange *exchange, struct admin_request *request)
{
    const struct headers *headers = &exchange->request->headers;
    struct slice origin = headers_value(headers, HEADER_ORIGIN);
    if (!slice_is_absent(origin)) {
        return !admin_origin_is_same(&request->arena, origin, exchange->stream->peer->tls, exchange->request->host,
                                     exchange->request->port);
    }
    const struct header *site = headers_find(headers, SLICE("Sec-Fetch-Site"));
    return site && !slice_equal(site->value, SLICE("same-origin")) && !slice_equal(site->value, SLICE("none"));
}

static bool refuse_place(struct exchange *exchange, struct admin_request *request,
                         const struct admin_settings *settings)
{
    struct slice host = exchange->request->host;
    if (!admin_host_is_allowed(settings, host)) {
        struct excerpt shown = problems_excerpt(host);
        admin_audit_refused(exchange, "host-not-allowed");
        admin_refuse(exchange, request, 403, "host-not-allowed",
                     "ask by address or as localhost, or list the name in admin.hosts",
                     "the admin API is not called \"%s\"", shown.text);
        return true;
    }
    if (comes_from_elsewhere(exchange, request)) {
        admin_audit_refused(exchange, "cross-origin");
        admin_refuse(exchange, request, 403, "cross-origin", NULL, "pages of other origins can't use the admin API");
        return true;
    }
    return false;
}

/* --- who it is --- */

const struct admin_token *admin_token_find(const struct admin_settings *settings, struct slice token)
{
    uint8_t hash[32];
    unsigned length = 0;
    const struct admin_token *found = NULL;
    if (token.length == 0 || token.length > TOKEN_BYTES_MAX) return NULL;
    if (EVP_Digest(token.at, token.length, hash, &length, EVP_sha256(), NULL) != 1 || length != sizeof hash)
        return NULL;
    for (size_t i = 0; i < settings->token_count; i++) {
        bool is_this = CRYPTO_memcmp(settings->tokens[i].hash, hash, sizeof hash) == 0;
        found = is_this ? &settings->tokens[i] : found;
    }
    return found;
}

/* What an Authorization field of the scheme Bearer holds (RFC 6750 2.1); absent: it is another one, or there are several. */
static struct slice bearer_token(const struct headers *headers)
{
    const struct header *header = headers_find_known(headers, HEADER_AUTHORIZATION);
    if (headers_find_next(headers, header)) return SLICE_ABSENT;
    struct slice scheme = slice_before(header->value, strlen("Bearer "));
    if (!slice_equal_ignore_case(scheme, SLICE("Bearer "))) return SLICE_ABSENT;
    return slice_trim(slice_after(header->value, scheme.length));
}

static void become(struct admin_request *request, struct slice name, enum admin_role role)
{
    struct slice copy = arena_copy(&request->arena, name);
    PROMISE(copy.at != NULL);
    request->author = copy.at;
    request->role = role;
}

static enum admin_step refuse_login(struct exchange *exchange, struct admin_request *request, const char *reason,
                                    const char *text)
{
    admin_refuse(exchange, request, 401, reason, "send \"Authorization: Bearer TOKEN\"; `sluice token` makes one", "%s",
                 text);
    admin_add_header(exchange, SLICE("WWW-Authenticate"), SLICE("Bearer realm=\"sluice\""));
    return ADMIN_ANSWERED;
}

static enum admin_step login_failed(struct exchange *exchange, struct admin_request *request)
{
    return refuse_login(exchange, request, "bad-token", "the token is not one of this gateway's");
}

static struct admin_logins *logins_of(const struct exchange *exchange)
{
    struct admin_surroundings *admin = exchange->worker->admin;
    if (!admin->logins) admin->logins = admin_logins_create();
    return admin->logins;
}

static enum admin_step refuse_for_now(struct exchange *exchange, struct admin_request *request)
{
    admin_refuse(
        exchange, request, 429, "too-many-failed-logins", NULL,
        "too many failed logins of this address wait for their answers; no other token is looked at meanwhile");
    admin_add_header(exchange, SLICE("Retry-After"), SLICE("2"));
    return ADMIN_ANSWERED;
}

/* ADMIN_WAITS: it failed, and the answer comes later. */
static enum admin_step login_by_token(struct exchange *exchange, struct admin_request *request,
                                      const struct admin_settings *settings, bool *is_known)
{
    const struct address *address = &exchange->client;
    uint64_t now_ms = exchange->worker->loop->now_ms;
    if (admin_logins_are_blocked(logins_of(exchange), address, now_ms)) return refuse_for_now(exchange, request);
    const struct admin_token *token = admin_token_find(settings, bearer_token(&exchange->request->headers));
    if (token) {
        admin_login_succeeded(logins_of(exchange), address, now_ms);
        become(request, slice_from_cstring(token->name), token->role);
        *is_known = true;
        return ADMIN_ANSWERED;
    }
    admin_audit_refused(exchange, "bad-token");
    admin_wait(exchange, request, admin_login_failed(logins_of(exchange), address, now_ms), login_failed);
    return ADMIN_WAITS;
}

/* Unless *is_known, the step is the refusal's. */
static enum admin_step login(struct exchange *exchange, struct admin_request *request,
                             const struct admin_settings *settings, bool *is_known)
{
    const struct peer_certificate *certificate = exchange->stream->peer->certificate;
    *is_known = true;
    if (admin_settings_are_open(settings)) {
        /* On loopback: neither a start nor a reload allows it elsewhere. */
        become(request, SLICE("anonymous"), ADMIN_ADMIN);
        return ADMIN_ANSWERED;
    }
    *is_known = false;
    if (settings->token_count > 0 && headers_find_known(&exchange->request->headers, HEADER_AUTHORIZATION))
        return login_by_token(exchange, request, settings, is_known);
    if (settings->client_certificates && certificate) {
        become(request, certificate->subject, ADMIN_ADMIN);
        *is_known = true;
        return ADMIN_ANSWERED;
    }
    admin_audit_refused(exchange, "no-token");
    return refuse_login(exchange, request, "no-token",
                        settings->token_count > 0 ? "the admin API asks for a token"
                                                  : "the admin API asks for a client certificate");
}

/* --- what that one may do --- */

static enum admin_step judge(struct exchange *exchange, struct admin_request *request,
                             const struct admin_settings *settings,
                             enum admin_step (*then)(struct exchange *, struct admin_request *))
{
    bool is_known;
    if (refuse_place(exchange, request, settings)) return ADMIN_ANSWERED;
    enum admin_step step = login(exchange, request, settings, &is_known);
    if (!is_known) return step;
    request->match_required = settings->match_required;
    if (request->endpoint && request->endpoint->access == ACCESS_CHANGE && request->role != ADMIN_ADMIN) {
        admin_audit_refused(exchange, "read-only");
        return admin_refuse(exchange, request, 403, "read-only", "use a token whose role is admin",
                            "the token \"%s\" may read, not change", request->author);
    }
    return then(exchange, request);
}

enum admin_step admin_guard(struct exchange *exchange, struct admin_request *request,
                            enum admin_step (*then)(struct exchange *, struct admin_request *))
{
    const struct admin_surroundings *admin = exchange->worker->admin;
    if (request->endpoint && request->endpoint->access == ACCESS_ANYBODY) return then(exchange, request);
    struct admin_settings *settings = admin->settings(admin->argument);
    enum admin_step step = judge(exchange, request, settings, then);
    admin_settings_drop(settings);
    return step;
}
