/* http/h2_client.h: a connection to a backend that speaks HTTP/2 (RFC 9113, by nghttp2): many client streams at once.
 *
 * Refuses from h2 what h1 refuses: a content-length that disagrees with the DATA, connection fields, pseudo fields out of order, CR, LF
 * or NUL in values, a 101; such an answer is the stream's failure (502), the connection goes on where HTTP/2 lets it. What the backend
 * surely didn't execute (REFUSED_STREAM, beyond GOAWAY's last stream, never sent) fails with RETRY_OTHER_CONNECTION and request_sent
 * false, whatever the method. Once the backend said GOAWAY the connection takes no more streams (streams_max 0). An idle one holds no
 * slab. */
#ifndef SLUICE_HTTP_H2_CLIENT_H
#define SLUICE_HTTP_H2_CLIENT_H

#include "http/client_stream.h"
#include "http/server_session.h"
#include "http/worker.h"

/* On a connected socket, which it takes over in all cases; ready for streams at once (`connected` is not told). NULL when memory is
 * short (then the socket is closed). */
struct client_connection *h2_client_start(struct http_worker *, const struct client_settings *, struct session_socket,
                                          const struct address *, const struct client_connection_events *, void *owner,
                                          struct error *);

#endif
