/* http/server_session.h: a client's connection, whichever HTTP version it speaks: opens server streams, answers by itself what can't
 * become an exchange, drains and closes.
 *
 * h1_server.h and h2_server.h make sessions; whoever holds one drives it through the calls below. Owned by the worker's connection
 * table from its start to `closed`. One worker's thread. */
#ifndef SLUICE_HTTP_SERVER_SESSION_H
#define SLUICE_HTTP_SERVER_SESSION_H

#include "http/h1.h"
#include "http/server_stream.h"

struct tls_session; /* event/tls.h */
struct server_session;

/* Changed only between requests: a reload gives new connections and new requests the new ones. */
struct server_settings {
    struct h1_limits limits;
    uint64_t body_bytes_max;
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint32_t splice_bytes_min;
    uint32_t
        streams_max; /* requests that an HTTP/2 client may have under way at once (SETTINGS_MAX_CONCURRENT_STREAMS) */
    /* A client that has finished sending may be waiting for its answer (half-closed) or have gone without a word: a FIN says no more.
     * It counts as gone when nothing of an answer went to it for so long; 0: at once. */
    uint32_t half_close_timeout_ms;
};

/* A connected client's socket as it changes hands: from accept or the TLS handshake to a session, or from one session to another.
 * Whoever is given it owns all of it. */
struct session_socket {
    int descriptor;
    struct tls_session *tls;  /* NULL: plain */
    struct slab *early;       /* one reference; NULL: no bytes were read yet */
    struct slice early_bytes; /* in it: what was read already and belongs to the session */
};

/* All of it holds during the call. */
struct server_refusal {
    const struct request_head *head; /* may hold only the first parts (method, target) or nothing */
    struct slice request_id;         /* as the answer says it */
    const struct error *error;
    uint64_t bytes_in, bytes_out;
};

struct server_session_events {
    /* A request's head is complete. From the loop. The callee becomes the stream's owner (sets owner_task) until release.
     * It may answer at once, inside this call. */
    void (*open)(struct server_session *, struct server_stream *, void *owner);
    /* No exchange could be opened: the session answers status with a problem body by itself (h1: and closes). For log and metrics. */
    void (*refused)(struct server_session *, const struct server_refusal *, void *owner);
    /* The connection is gone and its memory goes at the end of this turn. Exactly once, unless it was handed over. */
    void (*closed)(struct server_session *, void *owner);
    /* An h1 session whose client began with the HTTP/2 preface (RFC 9113 3.4): it has let go of the socket, which is the callee's now
     * together with the bytes read so far, and frees itself at the end of this turn; `closed` does not follow. NULL: such a client is
     * refused (400). From the loop. */
    void (*handed_over)(struct server_session *, struct session_socket, void *owner);
};

struct server_session_operations {
    void (*drain)(struct server_session *);
    void (*yield)(struct server_session *);
    void (*cut)(struct server_session *);
    void (*abort)(struct server_session *);
};

struct server_session {
    const struct server_session_operations *operations;
};

/* Finishes what is under way, announces that no more is taken (h1: Connection: close with the answer; h2: GOAWAY), then closes; an
 * idle one closes at once, after reading what has already come: a request that crossed with the drain is still answered. */
static inline void server_session_drain(struct server_session *session) { session->operations->drain(session); }
/* The same without haste, for when another process serves new connections: an idle one may still send a request, within its idle
 * timeout, since closing it would cross with that request sooner or later (h1: its answer says Connection: close). A drain may follow. */
static inline void server_session_yield(struct server_session *session) { session->operations->yield(session); }
/* Ends the requests under way, which get GONE, but no tunnel; without one the session closes. `closed` may follow inside this call. */
static inline void server_session_cut(struct server_session *session) { session->operations->cut(session); }
/* Closes at once; streams in flight and tunnels get GONE. `closed` follows, perhaps inside this call. */
static inline void server_session_abort(struct server_session *session) { session->operations->abort(session); }

#endif
