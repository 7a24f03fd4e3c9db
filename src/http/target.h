/* http/target.h: the request target: its four forms (RFC 9112 3.2) and one normal path for routing, policies and backend.
 *
 * Normal form (RFC 3986 6.2.2, 5.2.4; DESIGN's rules for odd characters): percent-encoded unreserved characters are decoded,
 * the hex digits of what stays encoded become upper-case, dot segments are removed (also encoded dots), slashes are merged only
 * on request. "%2F" stays encoded and separates nothing. Refused: NUL (%00), backslash (raw or %5C), encoded bytes that aren't
 * valid UTF-8, raw bytes beyond ASCII or below 0x21, '#', bad percent signs, and ".." above the root. */
#ifndef SLUICE_HTTP_TARGET_H
#define SLUICE_HTTP_TARGET_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

struct target {
    enum target_form form;
    struct slice raw;       /* as sent */
    struct slice scheme;    /* absolute form only, as sent */
    struct slice authority; /* absolute and authority form: as sent, no userinfo allowed */
    struct slice path;      /* normal; at least "/" (absolute form with an empty path), "*" for the asterisk form */
    struct slice query;     /* what follows '?', as sent (checked characters); absent where there is no '?' */
};

/* Where the path is normal already it points into `raw`, else into the arena. False: *error with status 400
 * (BLAME_CLIENT) or, memory being short, 503. Which form fits which method is checked by the head parser. */
bool target_parse(struct slice raw, bool merge_slashes, struct arena *, struct target *, struct error *) MUST_USE;

/* A Host value or authority: host and optional port (RFC 3986 3.2.2), no userinfo. *host is lower-case (in the arena if
 * it had to be changed), IPv6 with brackets; *port 0 where absent. A trailing dot of a name is dropped. */
bool target_parse_authority(struct slice text, struct arena *, struct slice *host, uint16_t *port) MUST_USE;

#endif
