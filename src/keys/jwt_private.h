/* keys/jwt_private.h: what the files about tokens and their keys share. No other room includes it. */
#ifndef SLUICE_KEYS_JWT_PRIVATE_H
#define SLUICE_KEYS_JWT_PRIVATE_H

#include "keys/jwt.h"

/* 401, the client's doing. */
#define jwt_refuse(error, reason, ...) error_set(error, BLAME_CLIENT, RETRY_NEVER, 401, reason, __VA_ARGS__)
#define jwt_no_memory(error) \
    error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "the gateway is short of memory")

/* How many bytes so many characters stand for. */
static inline size_t base64url_decoded_bytes(size_t length) { return length / 4 * 3 + (length % 4 * 3) / 4; }
/* RFC 4648 5, without padding; the bits behind the last byte are 0, so that no bytes are written in two ways. Into base64url_decoded_bytes(). */
bool base64url_decode(struct slice text, uint8_t *into) MUST_USE;

#define JWT_KEYS_TRIED_MAX 8 /* by a token that names none */

#endif
