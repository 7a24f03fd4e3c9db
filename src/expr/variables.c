#include "expr/variables.h"

#define ALWAYS (EXPRESSION_AT_ROUTE | EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE)
#define ROUTED (EXPRESSION_AT_REQUEST | EXPRESSION_AT_RESPONSE)
#define ANSWERED EXPRESSION_AT_RESPONSE

#define ROW(variable, called, of, when, absent, about) \
    [variable] = { .name = (called),                   \
                   .type = (of),                       \
                   .moments = (when),                  \
                   .number = (variable),               \
                   .may_be_absent = (absent),          \
                   .summary = (about) }

const struct expression_variable expression_variables[VARIABLE_COUNT] = {
    ROW(VARIABLE_REQUEST_ID, "request.id", "string", ALWAYS, false, "The request's id, as in the log."),
    ROW(VARIABLE_REQUEST_TRACE_ID, "request.trace_id", "string", ALWAYS, true,
        "The trace that it belongs to (W3C Trace Context), 32 hexadecimal digits."),
    ROW(VARIABLE_REQUEST_SPAN_ID, "request.span_id", "string", ALWAYS, true,
        "Sluice's own part of it, which services see as their parent, 16 hexadecimal digits."),
    ROW(VARIABLE_REQUEST_METHOD, "request.method", "string", ALWAYS, false, "`GET`, `POST`, …"),
    ROW(VARIABLE_REQUEST_HOST, "request.host", "string", ALWAYS, true, "Lower-case, without a port."),
    ROW(VARIABLE_REQUEST_PATH, "request.path", "string", ALWAYS, false, "The normalised path, without the query."),
    ROW(VARIABLE_REQUEST_QUERY_STRING, "request.query_string", "string", ALWAYS, true, "What follows `?`, as sent."),
    ROW(VARIABLE_REQUEST_SCHEME, "request.scheme", "string", ALWAYS, false,
        "`http` or `https`: how the client's connection to Sluice is."),
    ROW(VARIABLE_REQUEST_PROTOCOL, "request.protocol", "string", ALWAYS, false, "`HTTP/1.0`, `HTTP/1.1`, `HTTP/2`."),
    ROW(VARIABLE_REQUEST_SIZE, "request.size", "int", ALWAYS, true,
        "The body's bytes, where the request says how many; 0 without a body."),
    ROW(VARIABLE_REQUEST_TIME, "request.time", "timestamp", ALWAYS, false, "The time of day at which it is asked for."),
    ROW(VARIABLE_REQUEST_HEADERS, "request.headers", "map(string, string)", ALWAYS, false,
        "Header fields by name; names are lower-case. Several fields of a name are joined by `, `."),
    ROW(VARIABLE_REQUEST_QUERY, "request.query", "map(string, string)", ALWAYS, false,
        "Query parameters, decoded. One that is there several times has its values joined by `,`."),
    ROW(VARIABLE_REQUEST_COOKIES, "request.cookies", "map(string, string)", ALWAYS, false,
        "Cookies by name, values without quotes around them. One that is there several times has its values joined by `,`."),
    ROW(VARIABLE_PATH, "path.*", "string", ALWAYS, true, "What the route's pattern captures as this name: `path.id`."),
    ROW(VARIABLE_SOURCE_IP, "source.ip", "string", ALWAYS, true,
        "The client's address, behind trusted proxies, in one spelling (RFC 5952; an IPv4 one as such)."),
    ROW(VARIABLE_SOURCE_PORT, "source.port", "int", ALWAYS, false, "Its port; 0 where a proxy does not tell."),
    ROW(VARIABLE_SOURCE_CERTIFICATE_SUBJECT, "source.certificate.subject", "string", ALWAYS, true,
        "Of the client's certificate: `CN=alice,O=Example`."),
    ROW(VARIABLE_SOURCE_CERTIFICATE_SAN, "source.certificate.san", "string", ALWAYS, true,
        "Its alternative names: `DNS:a.example.com, URI:spiffe://example.com/a`."),
    ROW(VARIABLE_SOURCE_CERTIFICATE_FINGERPRINT, "source.certificate.fingerprint", "string", ALWAYS, true,
        "Its SHA-256, hexadecimal."),
    ROW(VARIABLE_AUTH_METHOD, "auth.method", "string", ROUTED, false,
        "How the caller was found: `none`, `anonymous`, `jwt`, `api-key`, `external`."),
    ROW(VARIABLE_AUTH_USER_ID, "auth.user_id", "string", ROUTED, true, "Who it is."),
    ROW(VARIABLE_AUTH_CLIENT_ID, "auth.client_id", "string", ROUTED, true, "The program that asks."),
    ROW(VARIABLE_AUTH_KEY_ID, "auth.key_id", "string", ROUTED, true, "The API key's id."),
    ROW(VARIABLE_AUTH_ISSUER, "auth.issuer", "string", ROUTED, true, "Who made the token."),
    ROW(VARIABLE_AUTH_TIER, "auth.tier", "string", ROUTED, true, "`free`, `standard` or `premium`."),
    ROW(VARIABLE_AUTH_SCOPES, "auth.scopes", "list(string)", ROUTED, false, "What the caller may ask for."),
    ROW(VARIABLE_AUTH_ROLES, "auth.roles", "list(string)", ROUTED, false, "The caller's roles."),
    ROW(VARIABLE_AUTH_CLAIMS, "auth.claims", "map(string, dyn)", ROUTED, false,
        "The token's claims; empty without a token."),
    ROW(VARIABLE_ROUTE_ID, "route.id", "string", ROUTED, false, "The route's id."),
    ROW(VARIABLE_ROUTE_NAME, "route.name", "string", ROUTED, false, "Its name."),
    ROW(VARIABLE_ROUTE_SERVICE, "route.service", "string", ROUTED, true, "The service it ends in."),
    ROW(VARIABLE_ROUTE_VERSION, "route.version", "string", ROUTED, true, "The API version that the route serves."),
    ROW(VARIABLE_RESPONSE_STATUS, "response.status", "int", ANSWERED, false, "The answer's status."),
    ROW(VARIABLE_RESPONSE_HEADERS, "response.headers", "map(string, string)", ANSWERED, false,
        "Its header fields, as those of the request."),
};

struct expression_scope expression_scope_at(enum expression_moment moment)
{
    return (struct expression_scope){ .variables = expression_variables,
                                      .variable_count = VARIABLE_COUNT,
                                      .moment = moment };
}
