/* http/headers.h: the fields of a head in the order they came, each with its small integer where the name is known.
 *
 * Names and values are slices of somebody else's bytes: the read buffer for what came from the wire, the arena for what
 * was added. They hold as long as the exchange (log phase included). Lookups compare integers for known names.
 * A removed field stays in the array with an absent name; walk with headers_next(). All changes may fail: memory.
 * A pointer to a field holds until the next one is added; removing moves nothing. */
#ifndef SLUICE_HTTP_HEADERS_H
#define SLUICE_HTTP_HEADERS_H

#include "base/arena.h"
#include "base/slice.h"

/* Known names, in lower-case order of the enum's table in headers.c (one list there; a perfect hash finds them). */
enum header_id {
    HEADER_OTHER,
    HEADER_ACCEPT,
    HEADER_ACCEPT_ENCODING,
    HEADER_ACCESS_CONTROL_REQUEST_HEADERS,
    HEADER_ACCESS_CONTROL_REQUEST_METHOD,
    HEADER_AUTHORIZATION,
    HEADER_CACHE_CONTROL,
    HEADER_CONNECTION,
    HEADER_CONTENT_ENCODING,
    HEADER_CONTENT_LENGTH,
    HEADER_CONTENT_TYPE,
    HEADER_COOKIE,
    HEADER_DATE,
    HEADER_ETAG,
    HEADER_EXPECT,
    HEADER_FORWARDED,
    HEADER_HOST,
    HEADER_IDEMPOTENCY_KEY,
    HEADER_KEEP_ALIVE,
    HEADER_LAST_MODIFIED,
    HEADER_LOCATION,
    HEADER_ORIGIN,
    HEADER_PROXY_AUTHENTICATE,
    HEADER_PROXY_AUTHORIZATION,
    HEADER_PROXY_CONNECTION,
    HEADER_RETRY_AFTER,
    HEADER_SERVER,
    HEADER_SET_COOKIE,
    HEADER_TE,
    HEADER_TRACEPARENT,
    HEADER_TRACESTATE,
    HEADER_TRAILER,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    HEADER_USER_AGENT,
    HEADER_VARY,
    HEADER_VIA,
    HEADER_X_API_KEY,
    HEADER_X_AUTHENTICATED_USER,
    HEADER_X_CLIENT_ID,
    HEADER_X_FORWARDED_FOR,
    HEADER_X_FORWARDED_HOST,
    HEADER_X_FORWARDED_PROTO,
    HEADER_X_REQUEST_ID,
    HEADER_ID_COUNT
};

struct header {
    struct slice name;  /* absent: removed */
    struct slice value; /* without surrounding white space */
    uint8_t id;         /* enum header_id */
    uint8_t mark;       /* the id of a known name; others share a few marks behind those; 0: removed */
    bool from_wire;
    /* By the parser or at load. The rest is checked where it is written out: no control byte leaves. */
    bool name_checked, value_checked;
};

struct headers {
    struct header *items;
    uint16_t count, capacity; /* count includes removed ones */
    bool sent_underscore;     /* a name that came from the wire holds a '_', or did before it was removed */
    struct arena *arena;
    uint64_t present; /* bit of a mark: at least one such field may be there */
};

/* A name that is known before there are messages: made once, it is found, set and removed for little. */
struct header_key {
    struct slice name;   /* somebody else's, who keeps it as long as the key and what is added by it */
    uint8_t id, mark;    /* as of a field */
    bool is_valid;       /* header_name_is_valid() */
    bool has_underscore; /* http/our_names.h asks for it */
};

/* The same of a whole field: what was good when it was made isn't looked at again for each message. */
struct header_constant {
    struct header_key key;
    struct slice value; /* somebody else's as well */
    bool value_is_valid;
};

enum header_id header_id_find(struct slice name); /* ignores case */
struct header_key header_key_of(struct slice name);
struct header_constant header_constant_of(struct slice name, struct slice value);
struct slice header_id_name(enum header_id); /* in the customary spelling, "Content-Type"; static */
/* A field name as RFC 9110 5.1 has it: one or more tchar. */
bool header_name_is_valid(struct slice name);
/* No control byte but the tab: RFC 9110 5.5 knows no other, and HTTP/2 resets a stream that holds one (RFC 9113 8.2.1). */
bool header_value_is_valid(struct slice value);

/* Framing and hop-by-hop fields, Host, Expect: Sluice writes them itself and no policy changes them. */
bool header_is_sluices_own(enum header_id);

void headers_init(struct headers *, struct arena *);
/* Appends. The slices are kept, not copied. False when memory is short or there would be more than 65,535. */
bool headers_add(struct headers *, struct slice name, struct slice value) MUST_USE;
bool headers_add_known(struct headers *, enum header_id, struct slice value) MUST_USE;
/* The parser's way in: name and value point into the read buffer. */
bool headers_add_from_wire(struct headers *, struct slice name, struct slice value) MUST_USE;
/* Replaces all fields of that name by one. */
bool headers_set(struct headers *, struct slice name, struct slice value) MUST_USE;
bool headers_set_known(struct headers *, enum header_id, struct slice value) MUST_USE;
bool headers_add_by(struct headers *, const struct header_key *, struct slice value) MUST_USE;
bool headers_set_by(struct headers *, const struct header_key *, struct slice value) MUST_USE;
bool headers_add_constant(struct headers *, const struct header_constant *) MUST_USE;
bool headers_set_constant(struct headers *, const struct header_constant *) MUST_USE;
/* How many were removed. */
unsigned headers_remove(struct headers *, struct slice name);
/* What came over the wire alone: what a policy of ours has put there since stays. */
void headers_remove_sent(struct headers *, struct slice name);
void headers_remove_sent_known(struct headers *, enum header_id);
unsigned headers_remove_known(struct headers *, enum header_id);
unsigned headers_remove_by(struct headers *, const struct header_key *);
void headers_remove_one(struct headers *, struct header *);
/* The first of that name or NULL. */
struct header *headers_find(const struct headers *, struct slice name);
struct header *headers_find_known(const struct headers *, enum header_id);
struct header *headers_find_by(const struct headers *, const struct header_key *);
/* The next one of the same name after `previous`, or NULL. */
struct header *headers_find_next(const struct headers *, const struct header *previous);
/* Walks those not removed: NULL to begin, NULL at the end. */
struct header *headers_next(const struct headers *, const struct header *previous);
/* The value of the first, or absent. */
struct slice headers_value(const struct headers *, enum header_id);
/* All values of the name joined by ", " (RFC 9110 5.3), in the arena where there are several; absent where none. */
struct slice headers_combined(const struct headers *, enum header_id);
/* Does any field of that id hold `token` in its comma list? Ignores case (Connection, Upgrade, TE ...). */
bool headers_list_has(const struct headers *, enum header_id, struct slice token);
/* Takes out what is for one hop only: Connection and the fields it names (never Host, Content-Length and the like, which a
 * sender can't make hop-by-hop, nor any that didn't come from the wire), Keep-Alive, Proxy-Connection, TE (but for one of our own, to the next hop), Transfer-Encoding, Upgrade, Trailer, Proxy-Authenticate
 * and Proxy-Authorization (RFC 9110 7.6.1). */
void headers_remove_hop_by_hop(struct headers *);
/* The same for fields that the options of another list's Connection name: a message's trailers, by its head's. */
void headers_remove_options(struct headers *, struct slice connection_options);
/* The read buffer has moved: slices that point into [old_base, old_base + length) follow. */
void headers_rebase(struct headers *, const char *old_base, size_t length, const char *new_base);

#endif
