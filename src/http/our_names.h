/* http/our_names.h: names of request fields by which only Sluice, or only a proxy, may speak, in one list for all who ask: what configuration may
 * not write, what is taken off a client's request, what a decision service or a part of an answer is not shown.
 *
 * Names are read as CGI and WSGI read them, who know no difference between '-' and '_' (RFC 3875 4.1.18): X_Client_ID is ours too. Pure. */
#ifndef SLUICE_HTTP_OUR_NAMES_H
#define SLUICE_HTTP_OUR_NAMES_H

#include "http/headers.h"

/* Without regard to case, and '_' as '-'. */
bool header_name_looks_like(struct slice name, struct slice known);
bool header_name_begins_like(struct slice name, struct slice beginning);
/* One of both. */
bool header_name_reads_as(struct slice name, struct slice known, bool is_beginning);

/* Can any of these fields look like a name that a policy speaks under, and be no such field itself? Then one of both has an underscore, and no
 * name of the standards has: mostly this one question is all that a policy asks of a request. */
static inline bool headers_may_look_like(const struct headers *headers, bool known_has_underscore)
{
    return headers->sent_underscore || known_has_underscore;
}

/* The same of one field: one of the wire that isn't Sluice's own. */
static inline bool header_may_look_like(const struct header *header, bool known_has_underscore)
{
    return (header->id == HEADER_OTHER || known_has_underscore) && header->from_wire &&
           !header_is_sluices_own(header->id);
}

/* What a service believes because it comes from us, and what is written anew behind all policies: who asks (X-Authenticated-User, X-Client-ID,
 * X-Client-Certificate-*), from where (X-Forwarded-For, -Host, -Proto), and X-Request-ID. */
bool header_name_is_ours(struct slice name);
/* What a trusted proxy, or a policy of ours, may say as well: X-Forwarded-*, X-Real-IP. Forwarded (RFC 7239) has an id of its own. */
bool header_name_is_a_proxys(struct slice name);

#endif
