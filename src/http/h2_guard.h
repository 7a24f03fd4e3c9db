/* http/h2_guard.h: private to this room: what a peer sends on an HTTP/2 connection that costs us and is of no use, counted; and the
 * rules about closed streams that nghttp2 leaves alone. Pure: bytes and time come as arguments.
 *
 * Two budgets, each with a first sum and some more a second:
 *   frames  each frame that comes costs one. What is of use gives back more than it cost: a request, a piece of its body, a piece of an
 *           answer that went out (the peer may acknowledge it by WINDOW_UPDATE). What is left over is floods: PING, SETTINGS, PRIORITY,
 *           WINDOW_UPDATE, empty DATA, frames for closed streams, unknown types.
 *   resets  each request costs one that ends without an answer by the peer's doing: by its RST_STREAM (rapid reset), by an error of
 *           its that makes us reset (MadeYouReset), or refused as one too many. An answer sent to its end gives one back.
 * A peer that does ordinary work never runs out; one that doesn't gets some thousand frames and is told to calm down. */
#ifndef SLUICE_HTTP_H2_GUARD_H
#define SLUICE_HTTP_H2_GUARD_H

#include "base/base.h"

struct h2_guard {
    uint64_t filled_ms;
    uint32_t frames, resets; /* what is left of the budgets */
    uint32_t payload_left;   /* of the frame that is passing; at first the preface counts as one */
    /* The newest stream of the peer's, and of it and the 63 before it: which were opened, which the peer itself has ended. */
    uint32_t newest;
    uint64_t opened, ended;
    uint8_t head_length;
    uint8_t head[13]; /* of a frame that began in an earlier read; of PRIORITY also the stream it depends on */
};

enum h2_verdict {
    H2_VERDICT_GOOD,
    H2_VERDICT_FLOOD, /* a budget is used up: ENHANCE_YOUR_CALM */
    H2_VERDICT_PROTOCOL, /* PROTOCOL_ERROR: a stream opened below newer ones (RFC 9113 5.1.1), PRIORITY for no stream or on itself */
    H2_VERDICT_CLOSED, /* STREAM_CLOSED: content or a head on a stream that the peer has ended (RFC 9113 5.1) */
};

/* For a server's connection, before its client's preface. */
void h2_guard_init(struct h2_guard *, uint64_t now_ms);
/* The next bytes that came. *good: how many of them are before the frame that the verdict is about, all when it is good. */
enum h2_verdict h2_guard_look(struct h2_guard *, const char *bytes, size_t length, uint64_t now_ms, size_t *good);

enum h2_use { H2_USE_REQUEST, H2_USE_CONTENT_RECEIVED, H2_USE_CONTENT_SENT, H2_USE_ANSWER };
void h2_guard_note_use(struct h2_guard *, enum h2_use);
/* A request has ended for nothing. False: one too many of them. */
bool h2_guard_take_reset(struct h2_guard *, uint64_t now_ms) MUST_USE;

#endif
