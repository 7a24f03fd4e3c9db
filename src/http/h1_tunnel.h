/* http/h1_tunnel.h: private to this room: a connection after its 101, the same on the client's and on the backend's side. A FIN ends one
 * direction only.
 *
 * The session keeps socket, task and timer and lends them. While nothing moves no slab is held. What is moved are messages, mostly small
 * and on thousands of sockets in turn, so that memory touched is what they cost: hence neither h1_reader nor h1_writer, and a struct of
 * two cache lines. */
#ifndef SLUICE_HTTP_H1_TUNNEL_H
#define SLUICE_HTTP_H1_TUNNEL_H

#include "http/h1_body.h"
#include "http/tunnel.h"

#define H1_TUNNEL_MEMORY_RETRY_MS 20

enum h1_tunnel_result {
    H1_TUNNEL_WAIT,    /* an event or a pipe's task will tell */
    H1_TUNNEL_AGAIN,   /* in the next turn */
    H1_TUNNEL_STARVED, /* for memory to read into: again in a while */
    H1_TUNNEL_OVER, /* nothing more can be moved on this connection, which is to be closed: by RST where `reset` says so */
};

struct h1_tunnel {
    struct stream *stream;
    struct body_pipe *from_peer, *to_peer;
    struct http_worker *worker;
    struct h1_input
        *input; /* the session's: what has come behind the heads, later a slab to read behind what is in it */
    uint64_t bytes_sent;
    bool read_over, write_over;
    bool blocked;      /* the peer takes nothing at the moment */
    bool was_filled;   /* by the last read: the next slab may be larger */
    bool write_broken; /* the peer takes nothing any more; what it has sent can still be read */
    bool peer_broke, reset;
    struct turn_share reads;
    struct slab_reserve reserve;
    struct tunnel_end *end;
    struct task *task; /* the session's */
    void (*owner_closes)(struct h1_tunnel *,
                         bool reset); /* the end's owner lets go; not inside a call of the session's */
    void *session;
};

/* NULL when memory is short. Nothing is moved before h1_tunnel_begin(). */
struct h1_tunnel *h1_tunnel_create(struct http_worker *, struct stream *, struct h1_input *, struct task *,
                                   struct tunnel_end *) MUST_USE;
void h1_tunnel_begin(struct h1_tunnel *);
/* The stream's event, and the session's task. */
enum h1_tunnel_result h1_tunnel_ready(struct h1_tunnel *);
enum h1_tunnel_result h1_tunnel_run(struct h1_tunnel *);
/* Lets go of end and pipes; the owner is told that the peer is GONE unless it was who closed. NULL is allowed. */
void h1_tunnel_destroy(struct h1_tunnel *, bool tell);

#endif
