/* upstream/connector.h: private to this room: from an instance's address to a connection that carries streams, where that takes more than a
 * connect. It belongs to whoever started it until it has told the outcome, or until connector_cancel. One worker's thread. */
#ifndef SLUICE_UPSTREAM_CONNECTOR_H
#define SLUICE_UPSTREAM_CONNECTOR_H

#include "upstream/tls_client.h"
#include "upstream/worker.h"

struct connector;

struct connector_request {
    struct upstream_worker *worker;
    const struct transport *transport; /* holds as long as the connector */
    const struct instance *instance;   /* the same */
    struct ticket_shelf *tickets;      /* the same; NULL where the transport is plain */
    /* For the PROXY header, where the transport has one; copied. NULL: ours. */
    const struct address *source, *destination;
    /* Of the connection that comes of it. */
    const struct client_connection_events *events;
    void *owner;
    /* From the loop, once, as the last thing: a connection, or NULL and why. The connector is gone then. */
    void (*told)(void *owner, struct client_connection *, const struct error *);
};

/* NULL and *error where not even connecting can begin. There is no time limit of its own. */
struct connector *connector_start(const struct connector_request *, struct error *);
void connector_cancel(struct connector *);

#endif
