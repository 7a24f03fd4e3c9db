/* http/method.h: request methods (RFC 9110 9.3, RFC 5789) as small integers; case counts. */
#ifndef SLUICE_HTTP_METHOD_H
#define SLUICE_HTTP_METHOD_H

#include "base/slice.h"

enum method {
    METHOD_OTHER, /* any other token: forwarded as it is where a route takes all methods */
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_CONNECT,
    METHOD_OPTIONS,
    METHOD_TRACE,
    METHOD_PATCH,
    METHOD_COUNT
};

/* Longer than any registered method; beyond it RFC 9112 3 asks for 501. */
#define METHOD_BYTES_MAX 32

enum method method_find(struct slice token);
/* "GET"; "OTHER" for METHOD_OTHER (metrics). Static. */
struct slice method_name(enum method);
bool method_is_idempotent(enum method); /* RFC 9110 9.2.2 */

/* Some methods, or all of them; GET serves HEAD too. */
struct method_set {
    uint16_t known;       /* bit enum method */
    uint16_t other_count; /* those outside of enum method */
    const struct slice *others;
};
/* None named: all. `others` has room for `count` and lives, as do the names, as long as the set. */
struct method_set method_set_of(const struct slice *names, size_t count, struct slice *others);
bool method_set_holds(const struct method_set *, enum method, struct slice text);

#endif
