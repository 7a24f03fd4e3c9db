/* http/h2_server.h: a client's connection that speaks HTTP/2 (RFC 9113, by nghttp2): many server streams at once.
 *
 * Refuses from h2 what h1 refuses: a content-length that disagrees with the DATA, transfer-encoding and other connection fields,
 * upper-case names, control bytes in values, pseudo fields out of order, a :path with spaces or without "/", :authority against
 * host. Attacks that have names cost a bounded amount: see h2_server.c. An idle connection holds no slab and no arena. */
#ifndef SLUICE_HTTP_H2_SERVER_H
#define SLUICE_HTTP_H2_SERVER_H

#include "http/server_session.h"
#include "http/worker.h"

/* Takes over the socket, early bytes included, in all cases. NULL when memory is short (then it is closed). No event is told inside
 * this call. `settings` is read through the pointer at each request. */
struct server_session *h2_server_start(struct http_worker *, const struct server_settings *const *settings,
                                       struct session_socket, const struct peer *, const struct server_session_events *,
                                       void *owner);

#endif
