/* http/h1_server.h: a client's connection that speaks HTTP/1.1: reads heads, opens one server stream after the other (pipelined
 * requests wait in the socket or the read buffer until the one before is answered), writes answers.
 *
 * Between requests it holds no arena and no slab. It has timers for the head, the body and idleness and answers 408, 414, 431,
 * 400, 413 (declared length or bytes counted), 501, 505 by itself where no exchange can be opened; those go through
 * `refused`, so that they are logged and counted as well. Owned by the worker's connection table from start to `closed`. */
#ifndef SLUICE_HTTP_H1_SERVER_H
#define SLUICE_HTTP_H1_SERVER_H

#include "http/h1.h"
#include "http/h1_client.h"
#include "http/server_stream.h"

/* Changed only between requests: a reload gives new connections and new requests the new ones. Outlives its sessions or is
 * replaced by h1_server_settings_changed. */
struct h1_server_settings {
    struct h1_limits limits;
    uint64_t body_bytes_max;
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint32_t splice_bytes_min;
    /* A client that has finished sending may be waiting for its answer (half-closed) or have gone without a word: a FIN says no more.
     * It counts as gone when nothing of an answer went to it for so long; 0: at once. */
    uint32_t half_close_timeout_ms;
};

struct h1_server;

/* All of it holds during the call. */
struct h1_refusal {
    const struct request_head *head; /* may hold only the first parts (method, target) or nothing */
    struct slice request_id;         /* as the answer says it */
    const struct error *error;
    uint64_t bytes_in, bytes_out;
};

struct h1_server_events {
    /* A request's head is complete. From the loop. The callee becomes the stream's owner (sets owner_task) until release.
     * It may answer at once, inside this call. */
    void (*open)(struct h1_server *, struct server_stream *, void *owner);
    /* No exchange could be opened: the session answers status with a problem body by itself and closes. For log and metrics. */
    void (*refused)(struct h1_server *, const struct h1_refusal *, void *owner);
    /* The connection is gone and its memory goes at the end of this turn. Exactly once. */
    void (*closed)(struct h1_server *, void *owner);
};

/* Takes over the descriptor in all cases. NULL when memory is short (then it is closed). `settings` is read through the pointer at
 * each request: *settings may point to new values after a reload. */
struct h1_server *h1_server_start(struct h1_worker *, const struct h1_server_settings *const *settings, int descriptor,
                                  const struct peer *, const struct h1_server_events *, void *owner);
/* The same for a client that there is no room for. It is answered 503 with Retry-After, whatever it has to say, which is read away for up
 * to 500 ms and 16 KiB: closing with bytes unread would reset the connection, and the answer with it. Of the events only `closed` is
 * told, later. */
struct h1_server *h1_server_turn_away(struct h1_worker *, const struct h1_server_settings *const *settings,
                                      int descriptor, const struct peer *, const struct h1_server_events *,
                                      void *owner);
/* Finishes the request in flight, announces Connection: close with its answer, then closes; an idle one closes at once
 * (after reading what has already come: a request that crossed with the drain is still answered). */
void h1_server_drain(struct h1_server *);
/* The same without haste, for when another process serves new connections: an idle one may still send a request, within its idle
 * timeout, since closing it would cross with that request sooner or later. Its answer says Connection: close. h1_server_drain() may
 * follow. */
void h1_server_yield(struct h1_server *);
/* Closes at once; a stream in flight gets GONE. */
void h1_server_abort(struct h1_server *);

#endif
