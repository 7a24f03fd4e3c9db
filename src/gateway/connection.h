/* gateway/connection.h: from accept to the HTTP session: limits by worker and by address, shedding, what the listener's entrance asks for
 * (handshake.h), draining. */
#ifndef SLUICE_GATEWAY_CONNECTION_H
#define SLUICE_GATEWAY_CONNECTION_H

#include "gateway/handshake.h"
#include "http/server_session.h"
#include "http/worker.h"
#include "shared/counter.h"
#include "shared/tag_table.h"

/* By client address, over all workers of the process. */
struct address_limits {
    struct tag_table open;       /* connections */
    struct tag_table newcomers;  /* new ones in this second */
    struct tag_table handshakes; /* of TLS, begun in this second */
};

void address_limits_init(struct address_limits *);
void address_limits_release(struct address_limits *);

struct connection_limits {
    uint32_t connections_max;                        /* a worker */
    uint32_t probes_max;                             /* of those, at entrances for probes; 0: no limit of their own */
    uint32_t connections_per_address_max;            /* 0: no limit */
    uint32_t new_connections_per_address_per_second; /* 0: no limit */
    uint32_t handshakes_per_address_per_second;      /* 0: no limit */
};

/* A worker's open connections. The worker sets what is above the line. */
struct connection_table {
    struct http_worker *http;
    const struct server_settings *const *settings;
    struct address_limits *addresses;
    struct connection_limits limits;
    void (*open)(struct server_stream *, void *owner); /* a request has come */
    void (*refused)(const struct server_refusal *, const struct peer *, void *owner);
    void (*emptied)(void *owner); /* draining, and the last connection is gone */
    void *owner;
    /* Internal. */
    struct list_link connections;
    struct gauge count;
    uint32_t probes;              /* of `count`, those that came by an entrance for probes */
    uint32_t leaving;             /* turned away and not gone yet; not in `count` */
    struct handshakes handshakes; /* its timeout_ms is the worker's to set */
    struct counter accepted, turned_away;
    bool draining, yields_only, emptied_told;
};

void connection_table_init(struct connection_table *);
/* Takes over an accepted socket: starts an HTTP session on it, after what the entrance asks for (NULL: nothing), or, at a limit, turns it
 * away: 503 with Retry-After, and a moment in which to send a request and read that. So many at once get that moment; beyond, and where
 * TLS would have to come first, the connection is closed on the spot. */
void connection_accept(struct connection_table *, int descriptor, const struct address *peer, const struct entrance *);
/* Every session finishes what it has and closes; `emptied` follows, from the loop, also when there was none. */
void connection_table_drain(struct connection_table *);
/* The same without haste: idle connections may bring one more request (server_session_yield). connection_table_drain() may follow. */
void connection_table_yield(struct connection_table *);
/* Closes all but tunnels at once. */
void connection_table_cut(struct connection_table *);
/* Closes all at once. */
void connection_table_abort(struct connection_table *);

#endif
