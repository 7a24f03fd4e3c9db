/* http/grpc.h: what a gateway has to know of gRPC: how it is told from other HTTP, its deadlines, and how failures are said
 * (PROTOCOL-HTTP2.md, http-grpc-status-mapping.md of grpc/grpc). Pure: bytes and heads, no stream, no clock. */
#ifndef SLUICE_HTTP_GRPC_H
#define SLUICE_HTTP_GRPC_H

#include "http/message.h"

enum grpc_status {
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16,
};

/* Whether a Content-Type is `type` in any case, then nothing, "+message", or parameters. *message: "+proto", empty where none is said; of the
 * value. */
bool grpc_type_read(struct slice value, struct slice type, struct slice *message) MUST_USE;
/* application/grpc itself, not gRPC-Web. */
bool grpc_type_parse(struct slice value, struct slice *message) MUST_USE;

/* grpc-timeout: one to eight digits and a unit. Rounded up to milliseconds. False: not one. */
bool grpc_timeout_parse(struct slice value, uint64_t *milliseconds) MUST_USE;
#define GRPC_TIMEOUT_BYTES_MAX 9
/* As precisely as eight digits can, never longer than it is, but at least a millisecond; returns the length. */
size_t grpc_timeout_write(uint64_t milliseconds, char into[GRPC_TIMEOUT_BYTES_MAX]);

/* What a status of HTTP means to who asked in gRPC. */
enum grpc_status grpc_status_of_http(unsigned status);

#define GRPC_MESSAGE_BYTES_MAX(length) (3 * (length))
/* grpc-message: percent-encoded; returns the length. */
size_t grpc_message_write(struct slice text, char *into);
/* Makes the initialised head an answer without a body that says so ("trailers-only"). False: memory is short. */
bool grpc_refuse(struct response_head *, enum grpc_status, struct slice text) MUST_USE;

#endif
