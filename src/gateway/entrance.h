/* gateway/entrance.h: what a listener's configuration means for a socket that it accepted.
 *
 * All entrances of a configuration are one immutable, refcounted whole, made on the builder's thread together with what it reads of
 * files: a reload makes new ones, because a certificate may have changed where no word of the configuration did. Listeners, and
 * handshakes under way, keep those that they began with. */
#ifndef SLUICE_GATEWAY_ENTRANCE_H
#define SLUICE_GATEWAY_ENTRANCE_H

#include "config/config.h"
#include "gateway/tls_server.h"

struct entrances;

struct entrance {
    struct entrances *all;
    struct address address;
    struct address_range *proxies; /* who speaks the PROXY protocol */
    size_t proxy_count;            /* 0: nobody does */
    struct tls_server *tls;        /* NULL: plain */
    bool http2;                    /* may be spoken */
    bool is_closed;                /* its certificates can't be had: whoever comes is sent away */
    bool only_probes;              /* of the admin API, only what load balancers ask */
    uint16_t redirect_port;        /* every request is sent there, by https; 0: none is */
};

enum entrances_demand {
    ENTRANCES_WHOLE,           /* all of it, or a problem */
    ENTRANCES_WHAT_CAN_BE_HAD, /* what has a problem is closed: to serve the rest is better than nothing */
};

/* One reference. NULL: there were problems, with their places. `ring` outlives it. `certificates` are the stored ones (struct
 * certificate_resource_config): the configuration's own, or, where these alone change, those that are to be from now on. */
struct entrances *entrances_create(const struct configuration *, const struct object_list *certificates,
                                   struct ticket_ring *ring, enum entrances_demand, struct problems *);
/* The same of the admin listener and of its probes' own. */
struct entrances *entrances_create_admin(const struct configuration *, const struct object_list *certificates,
                                         struct ticket_ring *ring, enum entrances_demand, struct problems *);
/* Any thread; NULL is allowed. */
void entrances_retain(struct entrances *);
void entrances_drop(struct entrances *);
/* Whether such a peer begins with a PROXY header; where any does, others are not let in. */
bool entrance_trusts(const struct entrance *, const struct address *peer);
/* NULL: none listens there. */
const struct entrance *entrances_find(const struct entrances *, const struct address *);

/* When certificates end, as a copy of the caller's own. */
struct certificate_fact {
    char *listener, *name;
    int64_t not_after; /* seconds since the epoch */
};
void entrances_list_certificates(const struct entrances *, struct vector *facts);
void certificate_facts_release(struct vector *facts);

/* A listener's own: one reference to its whole. */
static inline const struct entrance *entrance_retain(const struct entrance *entrance)
{
    if (entrance) entrances_retain(entrance->all);
    return entrance;
}

static inline void entrance_drop(const struct entrance *entrance)
{
    if (entrance) entrances_drop(entrance->all);
}

#endif
