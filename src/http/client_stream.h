/* http/client_stream.h: one request and its answer on a connection to a backend, whichever HTTP version is below; and the
 * connection that carries such streams (one at a time in h1, many in h2).
 *
 * The mirror image of server_stream.h. Events are bits set in `events` with `owner_task` put on the run queue, never a call into
 * the owner. One worker's thread. */
#ifndef SLUICE_HTTP_CLIENT_STREAM_H
#define SLUICE_HTTP_CLIENT_STREAM_H

#include "event/socket.h"
#include "http/body_pipe.h"
#include "http/h1.h"
#include "http/tunnel.h"

enum {
    CLIENT_STREAM_INTERIM = 1, /* `interim` holds new entries; the owner takes them all */
    CLIENT_STREAM_HEAD = 2,    /* `response` is there, and bytes or the end in response_body may be too */
    /* Over: everything was received and the request sent or given up, or `failure` is set. The connection has left the stream. After
     * HEAD a failure has also aborted response_body. Final. */
    CLIENT_STREAM_DONE = 4,
};

/* 1xx heads in the order they came, in the arena. */
struct interim_response {
    struct response_head head;
    struct interim_response *next;
};

/* What keeps the bytes of a head: its slices point into a read buffer. */
struct held_slab {
    struct slab *slab;
    struct held_slab *next;
};

struct client_connection;

struct client_stream {
    struct client_connection *connection; /* NULL before open and after DONE or cancel */
    /* Set by the owner before open; valid until DONE or cancel. */
    struct arena *arena;
    const struct request_head *request;
    struct slice target;            /* path and query to ask for */
    struct body_pipe *request_body; /* NULL: none; the stream is its consumer. Rewound by the owner before a retry */
    struct task *owner_task;
    /* The client expects 100 (Continue): hold the body back until one comes, at most 1 s. After a final head instead the body isn't
     * sent at all (RFC 9110 10.1.1). */
    bool wait_for_continue;
    /* Ask for the Upgrade field's protocol; the request has no body. A 101 (or what says the same in another version) is told by HEAD like
     * an answer, without a body; the stream then waits for open_tunnel or cancel. */
    bool upgrade;
    /* It can't be sent a second time once a byte of it has gone: so a kept connection is first asked, by one system call, whether it
     * is still alive. */
    bool unrepeatable;
    /* Filled by the session. */
    struct interim_response *interim;
    struct response_head response;
    struct body_pipe response_body; /* valid from HEAD on; the owner is its consumer */
    struct error failure;           /* reason NULL: none */
    bool response_begun;            /* a byte of an answer has come */
    bool request_sent;              /* at least a byte of the request went out on the wire */
    uint64_t bytes_sent, bytes_received;
    uint64_t head_ns;       /* loop time when the head was complete */
    struct held_slab heads; /* slab NULL: none; more in the arena */
    /* What the answer is read into at the ceiling, until DONE or cancel. */
    struct slab_reserve head_reserve, body_reserve;
    uint8_t events; /* bits are only ever added */
};

/* Before open: promises the stream the memory that its answer needs at the least. False at the ceiling: then there is nothing to release;
 * the request is to be shed before anything of it is sent. */
bool client_stream_prepare(struct client_stream *, struct slab_pool *) MUST_USE;
/* After DONE or cancel, or without ever having been opened, when the owner needs neither response nor interim heads nor response_body
 * any more (log phase included): drops the buffers that they point into, and releases response_body. */
void client_stream_release(struct client_stream *);

/* Of a connection's session, whichever version; read when it is made. */
struct client_settings {
    struct h1_limits limits;
    uint32_t splice_bytes_min; /* bodies of at least so many bytes still to come are moved by splice(2); 0: never */
};

struct client_connection_operations {
    /* Starts the stream: writes head and what the pipe holds in one go. The outcome is always told by events.
     * What stands in the way of the first byte is told as a failure with request_sent false: nothing was executed then, whatever the
     * method. On a kept connection its advice is RETRY_OTHER_CONNECTION (reason stale-connection): the backend had closed it, or had sent
     * bytes unasked. A fresh one is always looked at: a backend that speaks before it is asked, or has finished, is broken
     * (RETRY_OTHER_INSTANCE); what it said is never taken for an answer. */
    void (*open)(struct client_connection *, struct client_stream *);
    /* The owner gives the stream up: no event follows, response_body is not touched any more. h1 closes the connection
     * (unless the exchange was complete), h2 resets the stream. */
    void (*cancel)(struct client_connection *, struct client_stream *);
    /* After HEAD of a 101: the stream leaves and what carried it becomes `end`, all set by its owner; no event follows on the stream. The
     * pool hears of it (free_again) when the end is closed. False: memory is short, and all is as before. */
    bool (*open_tunnel)(struct client_connection *, struct client_stream *, struct tunnel_end *) MUST_USE;
    /* No stream is on it: closes and frees (retired to the turn's end). */
    void (*close)(struct client_connection *);
    /* A connection that can't carry another request: closed by the peer, or (h1) bytes came unasked. */
    bool (*is_stale)(struct client_connection *);
};

/* Tells the pool, from the loop, never inside a call of the pool's. */
struct client_connection_events {
    void (*connected)(struct client_connection *); /* ready for streams */
    /* A stream has left, one a call. Not reusable (h1 only): being closed, forget it. */
    void (*free_again)(struct client_connection *, bool reusable);
    /* `streams_max` is another one, or is known now. Never told of h1. */
    void (*capacity_changed)(struct client_connection *);
    /* Connecting failed, or one died that no stream is on any more; forget it, it frees itself. */
    void (*lost)(struct client_connection *, const struct error *);
};

struct client_connection {
    const struct client_connection_operations *operations;
    const struct client_connection_events *events;
    void *owner;           /* the pool's */
    struct list_link link; /* the pool's */
    struct address address;
    uint64_t idle_since_ms;
    /* How many streams it carries at once: 1 in h1; in h2 what the backend allows. 0: it takes no new ones and is to be closed when the
     * last has left. */
    uint32_t streams_max;
    bool is_streams_max_known; /* false: a guess, as long as an h2 backend's SETTINGS haven't come */
    bool kept; /* has been idle or (h1) carried a stream before: it may have gone stale. Set by session and pool */
    bool connected;
};

#endif
