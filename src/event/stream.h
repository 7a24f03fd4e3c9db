/* event/stream.h: a connected socket as bytes both ways: plain, or TLS (event/tls.h) behind the same calls.
 *
 * Belongs to one loop's thread. Registered edge-triggered, once, and a second time if a write ever finds the socket full; so the stream remembers what the kernel said last:
 * `may_read` and `may_write` stay true until a call came back short. The owner reads until STREAM_WAIT or it has enough; if it
 * stops early it must come back by itself (its bytes raise no new event). `on_ready` runs from the loop, never inside a call, and
 * only when one of connecting, may_read, may_write, peer_finished and failed has changed. */
#ifndef SLUICE_EVENT_STREAM_H
#define SLUICE_EVENT_STREAM_H

#include "event/loop.h"
#include "event/socket.h"

#include <sys/uio.h>

enum stream_result {
    STREAM_OK,   /* *moved > 0 */
    STREAM_WAIT, /* nothing moved; on_ready will tell */
    STREAM_END,  /* read: the peer finished writing cleanly */
    STREAM_FAIL, /* reset, broken pipe, TLS failure (EPROTO): see stream->system_error */
};

struct tls_session; /* event/tls.h */

struct stream {
    struct event_source source;
    struct loop *loop;
    void (*on_ready)(struct stream *);
    struct tls_session *tls; /* NULL: plain */
    int system_error;        /* errno of the last failure */
    bool connecting;         /* connect(2) not yet confirmed; the first writable event settles it */
    bool may_read, may_write;
    bool peer_finished; /* RDHUP, HUP or ERR was seen: a short read no longer means drained */
    bool failed;        /* sticky */
    bool watches_writing;
};

/* Watches a connected (or connecting) descriptor, which the stream now owns. */
bool stream_open(struct stream *, struct loop *, int descriptor, bool connecting, void (*on_ready)(struct stream *),
                 struct error *) MUST_USE;
/* Closes at once; with `reset` the peer sees RST. Pending events are dropped. Safe when never opened or closed already
 * if source.descriptor == -1. */
void stream_close(struct stream *, bool reset);
/* Stops watching and lets go of the descriptor, which is the caller's, as is stream->tls; another stream may be opened on it (and
 * learns anew what it may do). */
int stream_detach(struct stream *);

/* From now on the stream speaks TLS; the session is its own. Before any byte was read or written, but for those that the session itself
 * has moved over another stream: where it holds some of the peer's, on_ready follows, though the kernel has no news. */
void stream_set_tls(struct stream *, struct tls_session *);
/* As much of the handshake as can be done now, a bounded amount of it a call. STREAM_OK: it is done, and reading and writing can begin.
 * STREAM_WAIT: on_ready will tell. STREAM_FAIL: *error says whose fault it was, its `reason` fit for a metric's label; the peer was told
 * why. Once connected, and until it says STREAM_OK nothing else is called. */
enum stream_result stream_handshake(struct stream *, struct error *) MUST_USE;

/* One system call at most, unless `peer_finished`. A short read clears may_read unless the peer has finished. After a
 * failure what had come before can still be read (a peer may answer early and close); then STREAM_FAIL follows, or STREAM_END
 * if the peer had finished cleanly before it reset.
 * TLS: a call more for each record (16 KiB) that fits into `size`. An end without close_notify (RFC 8446 6.1), which a stranger could
 * have made, is STREAM_FAIL, but of reading alone: `failed` stays false and an answer may still be written. STREAM_WAIT while may_read
 * stays true: the rest is for the next turn, and on_ready tells then. */
enum stream_result stream_read(struct stream *, void *into, size_t size, size_t *moved) MUST_USE;
/* One system call (TLS: one a record; small pieces share a record). Partial writes are STREAM_OK with *moved short; the next call then
 * says STREAM_WAIT. What was offered and not moved is offered again, first, in the next call: TLS has begun to send it. */
enum stream_result stream_write(struct stream *, const struct iovec *pieces, int count, size_t *moved) MUST_USE;
/* Kernel pipe <- stream, kernel pipe -> stream: only where stream_can_splice(). The pipe is non-blocking. From: STREAM_WAIT with
 * may_read still true means that the pipe is full. To: at most what the pipe holds, and that is not nothing. */
static inline bool stream_can_splice(const struct stream *stream) { return stream->tls == NULL; }
enum stream_result stream_splice_from(struct stream *, int kernel_pipe, size_t limit, size_t *moved) MUST_USE;
enum stream_result stream_splice_to(struct stream *, int kernel_pipe, size_t limit, bool more_follows,
                                    size_t *moved) MUST_USE;
/* The next read asks the kernel, whatever events have told so far. */
void stream_look_again(struct stream *);
/* Half-close: no more writes. TLS: close_notify goes first. */
void stream_finish_writing(struct stream *);
/* After connecting: 0 when connected, the errno when it failed, EINPROGRESS when not yet known. */
int stream_connect_outcome(const struct stream *);
/* A connection on which nothing is expected. */
enum stream_silence {
    STREAM_SILENT,        /* as it should be */
    STREAM_UNASKED_BYTES, /* the peer has spoken */
    STREAM_PEER_GONE,     /* it has finished or reset */
};
/* Asks the kernel, whatever events have told so far: one recv(MSG_PEEK). TLS: what is not the peer's own words (session tickets) is
 * dealt with and is silence. */
enum stream_silence stream_look(struct stream *);
/* True where an idle connection has turned unusable, as far as events have told: asks the kernel only if one came since the last
 * read. */
bool stream_is_stale(struct stream *);

#endif
