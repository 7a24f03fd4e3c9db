/* resolve/private.h: sets of addresses, and what one question about a name was answered. */
#ifndef SLUICE_RESOLVE_PRIVATE_H
#define SLUICE_RESOLVE_PRIVATE_H

#include "base/slice.h"
#include "event/socket.h"

#include <ares.h>

#define ADDRESSES_MAX \
    64 /* a name; the lowest ones are kept, so that a server that turns them round makes no difference */

enum { FAMILY_V4, FAMILY_V6, FAMILIES };

/* Sorted, each once, ports 0. Zeroed: empty. */
struct address_set {
    struct address *items;
    size_t count;
};

void address_set_release(struct address_set *); /* leaves it empty */
void address_set_add(struct address_set *, const struct address *);
void address_set_join(struct address_set *into, const struct address_set *sets, size_t count);
bool address_set_equal(const struct address_set *, const struct address_set *);

enum answer_kind {
    ANSWER_NONE, /* no such name, or no address of the family */
    ANSWER_FOUND,
    ANSWER_TROUBLE, /* no answer, or none that can be believed */
};

struct answer {
    enum answer_kind kind;
    const char *why; /* ANSWER_TROUBLE; static */
    uint64_t ttl_ms; /* ANSWER_FOUND */
    struct address_set addresses;
};

/* From what c-ares hands to a query's callback. */
void answer_parse(struct answer *, int family, int status, const unsigned char *bytes, int length);
/* "localhost" and what ends in ".localhost" is this host, whatever a server says (RFC 6761 6.3). False: it is another name. */
bool answer_localhost(const char *name, struct answer answers[FAMILIES]);
/* False: the name isn't there. Reads the file: small and local. */
bool answer_from_hosts_file(ares_channel, const char *name, struct answer answers[FAMILIES]);

#endif
