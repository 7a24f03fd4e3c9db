/* config/elsewhere.c: names that other gateways (nginx, HAProxy, Envoy, Kong, Traefik, APISIX) give to what is called otherwise here. Whoever
 * comes from there is told our name; none of theirs is accepted. docs/coming-from.md shows the same in whole examples. */
#include "config/private.h"

struct name_elsewhere {
    const char *theirs, *ours;
    const char *words; /* what else there is to say; NULL: nothing */
};

#define AS_INSTANCES "as [\"127.0.0.1:3000\"]"
#define AS_PATH "where /x/* takes all below /x/"

/* The first row counts whose `ours` is known where the name stands: "upstream" is another thing in a route than in a service. */
static const struct name_elsewhere fields[] = {
    { "upstreams", "services", NULL },
    { "clusters", "services", NULL },
    { "backends", "services", NULL },
    { "consumers", "apiKeys", "whose \"clientId\" says who it is" },
    { "middlewares", "plugins", NULL },
    { "policies", "plugins", NULL },
    { "locations", "routes", NULL },
    { "routers", "routes", NULL },
    { "servers", "listeners", NULL },
    { "entryPoints", "listeners", NULL },
    { "frontends", "listeners", NULL },

    { "targets", "instances", AS_INSTANCES },
    { "upstream", "instances", AS_INSTANCES },
    { "servers", "instances", AS_INSTANCES },
    { "server", "instances", AS_INSTANCES },
    { "endpoints", "instances", AS_INSTANCES },
    { "nodes", "instances", AS_INSTANCES },
    { "hosts", "instances", AS_INSTANCES },
    { "address", "instances", AS_INSTANCES },
    { "url", "instances", AS_INSTANCES },
    { "lbPolicy", "lbAlgorithm", NULL },
    { "balance", "lbAlgorithm", NULL },
    { "algorithm", "lbAlgorithm", NULL },
    { "healthChecks", "healthCheck", NULL },

    { "service", "serviceId", NULL },
    { "upstream", "serviceId", NULL },
    { "backend", "serviceId", NULL },
    { "cluster", "serviceId", NULL },
    { "proxyPass", "serviceId", NULL },
    { "paths", "path", AS_PATH },
    { "uri", "path", AS_PATH },
    { "uris", "path", AS_PATH },
    { "url", "path", AS_PATH },
    { "prefix", "path", AS_PATH },
    { "location", "path", AS_PATH },
    { "hosts", "host", NULL },
    { "domains", "host", NULL },
    { "serverName", "host", NULL },
    { "stripPath", "stripPrefix", NULL },
    { "plugins", "filters", NULL },
    { "middlewares", "filters", NULL },
    { "policies", "filters", NULL },
    { "timeout", "timeoutMs", NULL },
    { "readTimeout", "timeoutMs", NULL },
    { "retries", "retryCount", NULL },
    { "numRetries", "retryCount", NULL },

    { "publicKey", "secret", "which takes public keys in PEM too" },
    { "rsaPublicKey", "secret", "which takes public keys in PEM too" },
    { "jwksUri", "jwksUrl", NULL },
    { "keyNames", "headers", NULL },
    { "limitBy", "key", NULL },
};

static const struct name_elsewhere kinds[] = {
    { "key-auth", "api-key", NULL },
    { "jwt", "jwt-auth", NULL },
    { "openid-connect", "jwt-auth", NULL },
    { "acl", "access", NULL },
    { "consumer-restriction", "access", NULL },
    { "forward-auth", "ext-auth", NULL },
    { "auth-request", "ext-auth", NULL },
    { "rate-limiting", "rate-limit", NULL },
    { "limit-req", "rate-limit", NULL },
    { "limit-count", "rate-limit", NULL },
    { "ip-restriction", "ip-list", NULL },
    { "gzip", "compression", NULL },
    { "request-transformer", "set-header", "or add-header, remove-header, rewrite-path, add-query-param" },
    { "response-transformer", "set-header", "with on: response" },
    { "proxy-rewrite", "rewrite-path", NULL },
    { "proxy-mirror", "mirror", NULL },
};

static int lower(char byte) { return byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte; }

/* Case, '_' and '-' don't count. */
static bool is_word(struct slice text, const char *word)
{
    size_t at = 0;
    for (;; at++, word++) {
        while (at < text.length && (text.at[at] == '_' || text.at[at] == '-')) at++;
        while (*word == '-') word++;
        if (at == text.length || *word == '\0') return at == text.length && *word == '\0';
        if (lower(text.at[at]) != lower(*word)) return false;
    }
}

static bool holds(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

static bool hint_from(const struct name_elsewhere *rows, size_t row_count, struct slice theirs,
                      const char *const *known, size_t count, char *hint, size_t size)
{
    for (size_t i = 0; i < row_count; i++) {
        const struct name_elsewhere *row = &rows[i];
        if (!is_word(theirs, row->theirs) || !holds(known, count, row->ours)) continue;
        snprintf(hint, size, "here it is \"%s\"%s%s", row->ours, row->words ? ", " : "", row->words ? row->words : "");
        return true;
    }
    return false;
}

bool hint_of_field_elsewhere(struct slice theirs, const char *const *known, size_t count, char *hint, size_t size)
{
    return hint_from(fields, COUNT_OF(fields), theirs, known, count, hint, size);
}

bool hint_of_kind_elsewhere(struct slice theirs, const char *const *known, size_t count, char *hint, size_t size)
{
    return hint_from(kinds, COUNT_OF(kinds), theirs, known, count, hint, size);
}
