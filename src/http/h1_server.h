/* http/h1_server.h: a client's connection that speaks HTTP/1.1: reads heads, opens one server stream after the other (pipelined
 * requests wait in the socket or the read buffer until the one before is answered), writes answers.
 *
 * Between requests it holds no arena and no slab. It has timers for the head, the body and idleness and answers 408, 414, 431,
 * 400, 413 (declared length or bytes counted), 501, 505 by itself where no exchange can be opened; those go through
 * `refused`, so that they are logged and counted as well. */
#ifndef SLUICE_HTTP_H1_SERVER_H
#define SLUICE_HTTP_H1_SERVER_H

#include "http/server_session.h"
#include "http/worker.h"

/* Takes over the socket in all cases; it has no early bytes. NULL when memory is short (then it is closed). `settings` is read
 * through the pointer at each request: *settings may point to new values after a reload. */
struct server_session *h1_server_start(struct http_worker *, const struct server_settings *const *settings,
                                       struct session_socket, const struct peer *, const struct server_session_events *,
                                       void *owner);
/* The same for a client that is not let in. It is answered `answer`'s status (503: with Retry-After), whatever it has to say, which is read
 * away for up to 500 ms and 16 KiB: closing with bytes unread would reset the connection, and the answer with it. Of the events only
 * `closed` is told, later. */
struct server_session *h1_server_turn_away(struct http_worker *, const struct server_settings *const *settings,
                                           struct session_socket, const struct error *answer, const struct peer *,
                                           const struct server_session_events *, void *owner);

#endif
