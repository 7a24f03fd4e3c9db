/* expr/variables.h: what expressions can ask for, in one table: names, types, when there is something to be had. The values come from
 * exchange/variables.h; the table in docs/expressions.md is written from this one. */
#ifndef SLUICE_EXPR_VARIABLES_H
#define SLUICE_EXPR_VARIABLES_H

#include "expr/expression.h"

enum variable {
    VARIABLE_REQUEST_ID,
    VARIABLE_REQUEST_TRACE_ID,
    VARIABLE_REQUEST_SPAN_ID,
    VARIABLE_REQUEST_METHOD,
    VARIABLE_REQUEST_HOST,
    VARIABLE_REQUEST_PATH,
    VARIABLE_REQUEST_QUERY_STRING,
    VARIABLE_REQUEST_SCHEME,
    VARIABLE_REQUEST_PROTOCOL,
    VARIABLE_REQUEST_SIZE,
    VARIABLE_REQUEST_TIME,
    VARIABLE_REQUEST_HEADERS,
    VARIABLE_REQUEST_QUERY,
    VARIABLE_REQUEST_COOKIES,
    VARIABLE_PATH,
    VARIABLE_SOURCE_IP,
    VARIABLE_SOURCE_PORT,
    VARIABLE_SOURCE_CERTIFICATE_SUBJECT,
    VARIABLE_SOURCE_CERTIFICATE_SAN,
    VARIABLE_SOURCE_CERTIFICATE_FINGERPRINT,
    VARIABLE_AUTH_METHOD,
    VARIABLE_AUTH_USER_ID,
    VARIABLE_AUTH_CLIENT_ID,
    VARIABLE_AUTH_KEY_ID,
    VARIABLE_AUTH_ISSUER,
    VARIABLE_AUTH_TIER,
    VARIABLE_AUTH_SCOPES,
    VARIABLE_AUTH_ROLES,
    VARIABLE_AUTH_CLAIMS,
    VARIABLES_OF_CLIENT, /* what stands before it comes with the request */
    VARIABLE_ROUTE_ID = VARIABLES_OF_CLIENT,
    VARIABLE_ROUTE_NAME,
    VARIABLE_ROUTE_SERVICE,
    VARIABLE_ROUTE_VERSION,
    VARIABLE_RESPONSE_STATUS,
    VARIABLE_RESPONSE_HEADERS,
    VARIABLE_COUNT
};

extern const struct expression_variable expression_variables[VARIABLE_COUNT];

/* All of the table that there is at this moment. */
struct expression_scope expression_scope_at(enum expression_moment);

#endif
