/* http/h1_client.h: a connection to a backend that speaks HTTP/1.1; carries one client stream at a time, no pipelining. */
#ifndef SLUICE_HTTP_H1_CLIENT_H
#define SLUICE_HTTP_H1_CLIENT_H

#include "base/slab.h"
#include "event/event.h"
#include "http/client_stream.h"
#include "http/h1.h"
#include "http/server_session.h"
#include "http/worker.h"

/* Begins to connect; `connected` or `lost` follows. NULL and *error where not even that works.
 * Timeouts are the pool's (connect) and the call's (answer): a session has none. */
struct client_connection *h1_client_connect(struct http_worker *, const struct client_settings *,
                                            const struct address *, const struct client_connection_events *,
                                            void *owner, struct error *);

/* On a socket that is connected already, of which nothing was read; it is taken over in all cases. Ready for a stream at once (`connected` is
 * not told). NULL when memory is short (then the socket is closed). */
struct client_connection *h1_client_start(struct http_worker *, const struct client_settings *, struct session_socket,
                                          const struct address *, const struct client_connection_events *, void *owner,
                                          struct error *);

#endif
