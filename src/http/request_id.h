/* http/request_id.h: names for requests: 128 bits in hex, unique among all workers and restarts, cheap to make.
 *
 * A random half of the source's life, and a counter spread over the other half by an odd factor. Not a secret. One worker's thread. */
#ifndef SLUICE_HTTP_REQUEST_ID_H
#define SLUICE_HTTP_REQUEST_ID_H

#include "base/base.h"

#define REQUEST_ID_BYTES 32

struct request_id_source {
    uint64_t random[2];
    uint64_t counter;
};

void request_id_source_init(struct request_id_source *);
/* No NUL. */
void request_id_write(struct request_id_source *, char into[REQUEST_ID_BYTES]);

#endif
