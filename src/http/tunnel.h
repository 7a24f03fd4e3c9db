/* http/tunnel.h: one end of a tunnel: after the heads that agreed on it a connection (h1) or a stream (h2) carries the bytes of another
 * protocol both ways.
 *
 * server_stream_open_tunnel() and client_connection's open_tunnel make one of a stream, whose head, arena and owner may go then. The end and
 * both its pipes belong to its owner and hold until TUNNEL_END_GONE or tunnel_end_close(). Events are bits set in `events` with
 * `owner_task` put on the run queue, never a call into the owner. One worker's thread. */
#ifndef SLUICE_HTTP_TUNNEL_H
#define SLUICE_HTTP_TUNNEL_H

#include "http/body_pipe.h"

struct tunnel_end;

enum {
    TUNNEL_END_FINISHED = 1, /* the peer has sent its last: from_peer is finished */
    TUNNEL_END_SENT = 2,     /* the end of to_peer was handed to the kernel: the peer sees ours */
    TUNNEL_END_BROKEN = 4,   /* the peer has broken off, or takes nothing any more; GONE comes with it */
    TUNNEL_END_GONE = 8,     /* The session has let go of end and pipes; from_peer is finished or aborted. Final. */
};

struct tunnel_end_operations {
    void (*close)(struct tunnel_end *, bool reset);
};

struct tunnel_end {
    /* Set by the owner before it is opened. */
    struct body_pipe *from_peer; /* the session is its producer */
    struct body_pipe *to_peer;   /* the session is its consumer. One that aborts resets the peer */
    struct task *owner_task;
    /* The session's. */
    const struct tunnel_end_operations *operations;
    void *session;
    uint64_t bytes_sent; /* to the peer, as of the last event or the end's close */
    uint8_t events;      /* bits are only ever added */
};

/* Lets go of the peer: at once, by RST with `reset`. No event follows; where the end is GONE already nothing is done. */
static inline void tunnel_end_close(struct tunnel_end *end, bool reset)
{
    if (end->operations && !(end->events & TUNNEL_END_GONE)) end->operations->close(end, reset);
    end->operations = NULL;
}

#endif
