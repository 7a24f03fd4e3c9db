/* gateway/peer_certificate.h: what a verified client certificate says, as texts that may stand in a header field. */
#ifndef SLUICE_GATEWAY_PEER_CERTIFICATE_H
#define SLUICE_GATEWAY_PEER_CERTIFICATE_H

#include "http/server_stream.h"

#include <openssl/types.h>

/* Of a connection whose handshake is done. The caller's, one block: free(). NULL: the client has shown none, or, with *failed, memory is
 * short or its names are longer than a field may be. */
struct peer_certificate *peer_certificate_read(const SSL *, bool *failed);

#endif
