/* http/websocket.h: what a gateway has to know of RFC 6455: the handshake's two fields, where frames begin and end, what a close frame
 * says, and how one is written. Pure: bytes in, bytes out.
 *
 * Frames are followed, never judged: unknown opcodes, reserved bits and payloads are the business of the two ends. */
#ifndef SLUICE_HTTP_WEBSOCKET_H
#define SLUICE_HTTP_WEBSOCKET_H

#include "http/message.h"

#define WEBSOCKET_KEY_FIELD SLICE("Sec-WebSocket-Key")
#define WEBSOCKET_ACCEPT_FIELD SLICE("Sec-WebSocket-Accept")
#define WEBSOCKET_VERSION_FIELD SLICE("Sec-WebSocket-Version")
#define WEBSOCKET_VERSION "13"
#define WEBSOCKET_KEY_BYTES 24
#define WEBSOCKET_ACCEPT_BYTES 28

enum websocket_close_code {
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_NO_CODE = 1005, /* a close frame without one; never on the wire (RFC 6455 7.4.1) */
    WEBSOCKET_ABNORMAL = 1006 /* the connection ended without a close frame; never on the wire */
};

/* Does the request ask for one, whichever version of HTTP it came by? Other protocols that a client would like to change to are its own
 * and the next hop's business (RFC 9110 7.8). */
bool websocket_is_asked_for(const struct request_head *);
/* Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455 4.1). */
bool websocket_key_is_valid(struct slice key);
/* One of these random bytes; `into` gets no NUL. */
void websocket_write_key(const uint8_t random[16], char into[WEBSOCKET_KEY_BYTES]);
/* Sec-WebSocket-Accept for a valid key (RFC 6455 4.2.2); `into` gets no NUL. */
void websocket_write_accept(struct slice key, char into[WEBSOCKET_ACCEPT_BYTES]);
/* Is it what a server that has read the key answers? */
bool websocket_accept_is_right(struct slice key, struct slice accept);

/* One direction of a connection as its frames go by, a piece at a time, cut anywhere. Zeroed at first. */
struct websocket_follower {
    uint64_t payload_left;
    uint16_t close_code;   /* of the first close frame, once close_seen */
    uint8_t header_length; /* collected so far; 0: between two frames */
    uint8_t header_wanted; /* as far as the bytes so far tell */
    uint8_t code_bytes;    /* of a close frame's code, collected so far */
    bool close_seen;       /* a whole close frame has gone by */
    uint8_t header[14];    /* RFC 6455 5.2: 2, then up to 8 of length, then up to 4 of mask */
    uint8_t code[2];
};

/* Follows at most to the end of the frame under way, or of the next one; tells how many bytes that took. */
size_t websocket_follow(struct websocket_follower *, const char *bytes, size_t length);
static inline bool websocket_is_between_frames(const struct websocket_follower *follower)
{
    return follower->header_length == 0;
}

#define WEBSOCKET_CLOSE_FRAME_BYTES_MAX 8
/* A whole close frame; returns its length. `mask`: four random bytes for what goes to a server, NULL for what goes to a client
 * (RFC 6455 5.1). */
size_t websocket_write_close(uint16_t code, const uint8_t mask[4], char into[WEBSOCKET_CLOSE_FRAME_BYTES_MAX]);

#endif
