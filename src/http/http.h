/* http/: the language both sides speak: heads, fields, targets, bodies; HTTP/1.1 to and from bytes; one exchange slot of a
 * client connection (server stream) and one of a backend connection (client stream), whichever version is on the wire.
 *
 * The codec (h1.h, target.h, headers.h, method.h, status.h) is pure: bytes in, structs out, no descriptor and no clock.
 * The sessions (h1_server.h, h1_client.h) join it to event/ streams. Above this room nothing learns a version. */
#ifndef SLUICE_HTTP_HTTP_H
#define SLUICE_HTTP_HTTP_H

#include "http/body_pipe.h"
#include "http/message.h"
#include "http/server_stream.h"

#endif
