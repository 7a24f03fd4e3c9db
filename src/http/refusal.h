/* http/refusal.h: private to this room: what a session answers by itself where no exchange can be opened (RFC 9457). */
#ifndef SLUICE_HTTP_REFUSAL_H
#define SLUICE_HTTP_REFUSAL_H

#include "base/error.h"
#include "base/slice.h"

#define REFUSAL_BYTES_MAX 768
/* Seconds, with a 503. */
#define REFUSAL_RETRY_AFTER "1"

/* The document, application/problem+json, with the words of the log for what the client did wrong; returns its length. No byte of it is the
 * client's. */
size_t refusal_write(const struct error *, struct slice request_id, char into[REFUSAL_BYTES_MAX]);

#endif
