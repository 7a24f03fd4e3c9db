/* gateway/connection.h: from accept to the HTTP session: limits by worker and by address, shedding, draining.
 *
 * Later also the PROXY protocol, TLS and the choice of HTTP version stand here; sessions take over a ready connection. */
#ifndef SLUICE_GATEWAY_CONNECTION_H
#define SLUICE_GATEWAY_CONNECTION_H

#include "event/event.h"
#include "http/h1_server.h"

struct worker;
struct connection_table; /* the worker's open connections and counts by client address */

struct connection_table *connection_table_create(struct worker *);
void connection_table_destroy(struct connection_table *);
/* Takes over an accepted socket: refuses (503 text with Retry-After, or a plain close where there are too many of the address) or
 * starts an HTTP session on it. */
void connection_accept(struct connection_table *, int descriptor, const struct peer *);
/* Tells every session to drain; idle ones close. */
void connection_table_drain(struct connection_table *);
void connection_table_abort(struct connection_table *);
size_t connection_table_count(const struct connection_table *);

#endif
