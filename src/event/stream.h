/* event/stream.h: a connected socket as bytes both ways: plain now, TLS behind the same calls.
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
    STREAM_FAIL, /* reset, broken pipe, TLS failure: see stream->system_error */
};

struct tls_session; /* later: the TLS side of a stream */

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
/* Stops watching and lets go of the descriptor, which is the caller's; another stream may be opened on it (and learns anew what it
 * may do). */
int stream_detach(struct stream *);

/* One system call at most, unless `peer_finished`. A short read clears may_read unless the peer has finished. After a
 * failure what had come before can still be read (a peer may answer early and close); then STREAM_FAIL follows, or STREAM_END
 * if the peer had finished cleanly before it reset. */
enum stream_result stream_read(struct stream *, void *into, size_t size, size_t *moved) MUST_USE;
/* One system call. Partial writes are STREAM_OK with *moved short; the next call then says STREAM_WAIT. */
enum stream_result stream_write(struct stream *, const struct iovec *pieces, int count, size_t *moved) MUST_USE;
/* Kernel pipe <- stream, kernel pipe -> stream: only where stream_can_splice(). The pipe is non-blocking. From: STREAM_WAIT with
 * may_read still true means that the pipe is full. To: at most what the pipe holds, and that is not nothing. */
static inline bool stream_can_splice(const struct stream *stream) { return stream->tls == NULL; }
enum stream_result stream_splice_from(struct stream *, int kernel_pipe, size_t limit, size_t *moved) MUST_USE;
enum stream_result stream_splice_to(struct stream *, int kernel_pipe, size_t limit, bool more_follows,
                                    size_t *moved) MUST_USE;
/* Half-close: no more writes. */
void stream_finish_writing(struct stream *);
/* After connecting: 0 when connected, the errno when it failed, EINPROGRESS when not yet known. */
int stream_connect_outcome(const struct stream *);
/* A connection on which nothing is expected. */
enum stream_silence {
    STREAM_SILENT,        /* as it should be */
    STREAM_UNASKED_BYTES, /* the peer has spoken */
    STREAM_PEER_GONE,     /* it has finished or reset */
};
/* Asks the kernel, whatever events have told so far: one recv(MSG_PEEK). */
enum stream_silence stream_look(struct stream *);
/* True where an idle connection has turned unusable, as far as events have told: asks the kernel only if one came since the last
 * read. */
bool stream_is_stale(struct stream *);

#endif
