/* config/openapi.h: the admin API as data: which paths and methods there are, what they take and answer. openapi_write() (config/resource.h)
 * makes the OpenAPI 3.1 document of it and of the schema tables; tests/unit/admin/test_openapi.c compares it with what admin/ serves.
 *
 * In texts {kind} stands for each kind of resource: in a path its word behind /admin/ ("rate-limits"), in a schema's name the kind's
 * ("RateLimit"). Immutable. */
#ifndef SLUICE_CONFIG_OPENAPI_H
#define SLUICE_CONFIG_OPENAPI_H

#include "config/resource.h"
#include "http/method.h"

enum openapi_access {
    OPENAPI_ANYBODY, /* no login */
    OPENAPI_READ,    /* the role read-only is enough */
    OPENAPI_CHANGE,
};

/* Headers that an answer certainly has. */
enum openapi_header { OPENAPI_ETAG = 1, OPENAPI_LOCATION = 2, OPENAPI_REVISION = 4 };

struct openapi_answer {
    unsigned status;    /* 0: ends the list */
    const char *schema; /* of JSON, by name; several by '|'; "text": Prometheus' text; NULL: no body */
    unsigned headers;   /* enum openapi_header */
    const char *summary;
};

#define OPENAPI_ANSWERS 3

struct openapi_endpoint {
    const char *path;
    enum method method;
    enum openapi_access access;
    const char *name;    /* of the operation; "{Kind}" and "{Kinds}" in it are the kind's */
    const char *queries; /* parameters behind the '?', by space; those of {kind} lists: openapi_list_queries() */
    const char *request; /* the body's schema; NULL: it takes none */
    bool request_optional;
    struct openapi_answer answers[OPENAPI_ANSWERS];
    const char *problems; /* statuses of problem+json of its own, by space, beside those that all have */
    const char *summary;
};

extern const struct openapi_endpoint openapi_endpoints[];
extern const size_t openapi_endpoint_count;

/* What lists of a kind can be asked for. */
const char *openapi_list_queries(enum resource_kind);

#endif
