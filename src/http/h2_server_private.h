/* http/h2_server_private.h: private to this room: the parts of a client's HTTP/2 connection.
 *
 *   h2_server.c          the connection: its beginning, its time, its end
 *   h2_server_bytes.c    reading and writing
 *   h2_server_frames.c   what nghttp2 tells of frames and asks for
 *   h2_server_flow.c     content of one stream into a pipe, and from a pipe out
 *   h2_server_slot.c     a request and its answer: the server stream that an owner sees
 *   h2_server_tunnel.c   what a request may become (RFC 8441) */
#ifndef SLUICE_HTTP_H2_SERVER_PRIVATE_H
#define SLUICE_HTTP_H2_SERVER_PRIVATE_H

#include "http/h2_fields.h"
#include "http/h2_guard.h"
#include "http/h2_memory.h"
#include "http/h2_output.h"
#include "http/h2_server.h"

/* What a client may send of one stream's content, and of all together, before somebody takes it. The first is what RFC 9113 6.9.2
 * starts with and a pipe's window; so what comes always fits. */
#define H2_STREAM_WINDOW 65535
#define H2_CONNECTION_WINDOW (1024 * 1024)

enum h2_server_state {
    H2_SERVER_OPEN,
    H2_SERVER_LINGER, /* we have finished writing; what still comes is read away, so that no RST overtakes what was sent */
    H2_SERVER_CLOSED, /* the socket is closed; memory waits for the streams' release, or for the turn's end */
};

struct h2_server {
    struct server_session session;
    struct stream stream;
    struct http_worker *worker;
    const struct server_settings *const *settings;
    const struct server_session_events *events;
    void *owner;
    const struct peer *peer;
    nghttp2_session *h2;
    struct h2_session_memory memory; /* what h2 lives in */
    struct session_socket early;     /* its slab: what came before us, until it is read; NULL: nothing */
    struct slab *input;              /* what was read last; NULL: nothing is held */
    /* The last content that went by reference out of `input`: whose, and where it ends. Between it and what is read next stand only
     * frame heads. */
    struct h2_stream *content_stream;
    char *content_end;
    struct slab_reserve reserve; /* to read into at the ceiling, while there are streams */
    struct h2_output output;
    struct h2_gathering *gathering; /* while nghttp2 is asked for frames; NULL else */
    struct list_link streams;       /* struct h2_stream */
    struct list_link ending;        /* whose last byte was gathered and is not in the kernel yet, in order */
    struct h2_stream *heading;      /* whose head is coming in; NULL: none */
    struct h2_guard guard;
    struct timer timer;
    struct task read_task, flush_task;
    struct retired retired;
    struct turn_share reads;
    uint64_t idle_since_ms;     /* no streams since then */
    uint64_t trim_at_ms;        /* when the memory of streams is given back; UINT64_MAX: they use it, or it was */
    uint64_t heading_ms;        /* when `heading` began */
    uint64_t settings_until_ms; /* for the client's preface, SETTINGS and ACK of ours; UINT64_MAX: they have come */
    uint64_t notice_at_ms;      /* yielding: when the notice is given at the latest; UINT64_MAX: none is due */
    uint64_t drain_until_ms;    /* for the answer to the notice's PING; UINT64_MAX: no end to that, or none is due */
    uint64_t written_ms;        /* of the last progress in writing, while output waits */
    uint64_t unblocked_ms;      /* when output last ceased to wait */
    uint64_t linger_until_ms;
    uint32_t linger_bytes; /* in LINGER: how much more is read away */
    uint32_t stream_count;
    uint8_t state; /* enum h2_server_state */
    bool settings_received, settings_acknowledged;
    bool draining;    /* the notice was given */
    bool drained;     /* the last stream was named */
    bool terminating; /* the last GOAWAY is on its way */
    bool was_bad;     /* ... and says what the client did wrong */
    bool unspeakable; /* nghttp2 is out of memory: there is nothing to do but to close */
    bool client_left; /* it was the client who ended the connection */
    bool starved;     /* for memory to read into */
    bool was_filled;
};

/* Content from the client into a pipe. */
struct h2_inflow {
    struct h2_stream *stream;
    struct body_pipe *pipe;   /* NULL: not there yet */
    struct task task;         /* the pipe's producer's */
    struct slab *held;        /* bytes that the pipe has no piece for, or that have no pipe yet; NULL: none */
    uint32_t held_start;      /* in it */
    uint32_t outstanding;     /* bytes that came and were not given back to the client's window yet */
    uint64_t given;           /* of what was pushed: bytes whose window was given back */
    uint64_t moved_ms;        /* since when the client is who is waited for */
    struct headers *trailers; /* NULL: none (yet) */
    bool ended;               /* all of it came */
    bool broken;              /* nothing more is taken in */
};

/* Content from a pipe to the client. */
struct h2_outflow {
    struct body_pipe *pipe; /* NULL: none yet, or all of it was gathered */
    struct task task;       /* the pipe's consumer's */
    struct list_link ending_link;
    uint64_t left;       /* BODY_LENGTH_UNKNOWN: not announced */
    uint64_t end_at;     /* of the connection's output; UINT64_MAX: not known yet */
    uint64_t written_ms; /* loop time of the last progress, or since when the client is waited for */
    bool starved;        /* there is no content to send: nobody waits for the client */
    bool ended;          /* END_STREAM was gathered */
};

/* What nghttp2 knows as a stream, and has as its user data: the first member of a slot or a tunnel. */
struct h2_stream {
    const struct h2_stream_operations *operations;
    struct h2_server *connection;
    struct list_link link; /* connection->streams */
    struct arena *arena;   /* for trailers to send; NULL: there are none */
    struct h2_inflow *in;  /* NULL: no content is expected */
    struct h2_outflow out;
    int32_t id;
    bool client_ended; /* END_STREAM came */
    bool two_way;      /* a tunnel, now or soon: the end of one direction says nothing of the other */
    bool closed;       /* nghttp2 has forgotten the stream */
    bool gone;         /* nothing can be sent or received any more */
};

/* Any of these may destroy the stream, but for the first three. */
struct h2_stream_operations {
    void (*receive)(struct h2_stream *, const char *at, size_t length); /* content; it is in connection->input */
    void (*wanted)(struct h2_stream *);                                 /* a consumer has come to the inflow's pipe */
    void (*finished)(struct h2_stream *);                               /* all of the inflow is in its pipe */
    void (*sent)(struct h2_stream *);             /* what was noted in `ending` is in the kernel */
    void (*cut)(struct h2_stream *);              /* the outflow's pipe aborted */
    void (*lose)(struct h2_stream *);             /* reset by the client, or the connection is no more */
    uint64_t (*look_at_time)(struct h2_stream *); /* returns the next deadline, UINT64_MAX: none */
};

struct h2_slot {
    struct h2_stream h2;
    struct server_stream stream;
    struct arena arena; /* the slot itself is in it */
    struct h2_field_reader reader;
    struct headers trailers;
    struct h2_inflow in;
    struct body_pipe *body;        /* NULL: the request has none */
    struct h2_tunnel *tunnel;      /* NULL: none was opened */
    uint64_t content, content_max; /* of the body: so far; 413 beyond */
    bool opened;                   /* the owner has it, until release */
    bool refused;                  /* answered by ourselves, nobody has it */
    bool answering;                /* the final head was handed to nghttp2 */
    bool answered;                 /* all of the answer is in the kernel */
    bool continue_sent;
};

/* --- h2_server.c --- */

static inline const struct server_settings *h2_server_settings_of(const struct h2_server *server)
{
    return *server->settings;
}
static inline uint64_t h2_server_now(const struct h2_server *server) { return server->worker->loop->now_ms; }

/* There may be something to send: once for all that happens in this turn. */
void h2_server_flush_soon(struct h2_server *);
/* Something has a deadline; the timer may be set earlier. UINT64_MAX: none. */
void h2_server_arm(struct h2_server *, uint64_t at_ms);
/* The last words to the client (`code` is nghttp2's), after which the connection ends; streams in flight are lost then, not in this call.
 * With an error it is told, once, for log and metrics. */
void h2_server_terminate(struct h2_server *, uint32_t code, const struct error *);
/* For log and metrics: what no request can be named for. */
void h2_server_tell_refused(struct h2_server *, const struct error *);
/* The client knows that no more is taken: what it has sent so far is the last. */
void h2_server_end_drain(struct h2_server *);
/* Closes the socket, loses the streams. What nghttp2 has stays until the turn's end, so that it may be called from its callbacks. */
void h2_server_close(struct h2_server *, bool reset);
/* One more. False: it is the first and there is no memory to promise. */
bool h2_server_add(struct h2_server *, struct h2_stream *) MUST_USE;
/* One fewer, which may end the connection. */
void h2_server_remove(struct h2_server *, struct h2_stream *);

/* Nothing more is to be said: what still comes is read away, and then the socket is closed. */
void h2_server_linger(struct h2_server *);
/* All but those that were answered. */
void h2_server_lose_streams(struct h2_server *);
void h2_server_drop_input(struct h2_server *);

/* --- h2_server_bytes.c --- */

/* Neither may be called from nghttp2's callbacks; either may close the connection. */
void h2_server_read(struct h2_server *);
void h2_server_flush(struct h2_server *); /* while OPEN */

/* --- h2_server_frames.c --- */

/* NULL when memory is short. */
nghttp2_session *h2_server_create_nghttp2(struct h2_server *);
/* Asks h2_outflow_next(). */
extern const nghttp2_data_provider h2_server_content;

/* --- h2_server_flow.c --- */

/* Does nghttp2 still know it, and does anybody listen? */
static inline bool h2_stream_is_usable(const struct h2_stream *stream)
{
    return !stream->closed && stream->connection->state == H2_SERVER_OPEN;
}
/* RST_STREAM; the caller loses the stream by itself. */
void h2_stream_reset(struct h2_stream *, uint32_t code);
/* What it still has from the connection goes; then nobody refers to it. */
void h2_stream_release(struct h2_stream *);

void h2_inflow_init(struct h2_inflow *, struct h2_stream *);
/* Where the content goes, what is held already included. */
void h2_inflow_set_pipe(struct h2_inflow *, struct body_pipe *);
/* The content is in connection->input. */
void h2_inflow_take(struct h2_inflow *, struct slice);
/* END_STREAM came. */
void h2_inflow_end(struct h2_inflow *, struct headers *trailers_or_null);
/* It will never be whole. */
void h2_inflow_break(struct h2_inflow *, const struct error *);
void h2_inflow_release(struct h2_inflow *);
/* The client could send, and that is what is waited for. */
bool h2_inflow_waits(const struct h2_inflow *);

void h2_outflow_init(struct h2_outflow *);
/* Takes the consumer's end of the pipe. */
void h2_outflow_begin(struct h2_stream *, struct body_pipe *);
/* nghttp2's data source: how much may follow now, and whether that is the end; or an NGHTTP2_ERR_. */
ssize_t h2_outflow_next(struct h2_stream *, size_t limit, uint32_t *flags);
/* A frame that ends the stream was gathered, up to `end_at` of the connection's output (UINT64_MAX: will be, by what nghttp2 is about to
 * hand over). */
void h2_outflow_ended(struct h2_stream *, uint64_t end_at);
/* The head that makes the stream a tunnel is about to be handed over by nghttp2: `sent` is to tell of it. */
void h2_outflow_note_head(struct h2_stream *);
/* Lets go of the pipe; its producer is told that nobody takes more of it. */
void h2_outflow_stop(struct h2_stream *);
/* Until when the client has to take something; UINT64_MAX: it isn't waited for. */
uint64_t h2_outflow_deadline(const struct h2_stream *);

/* --- h2_server_slot.c --- */

/* For the stream whose head begins. NULL at the ceiling, and a little before it. */
struct h2_slot *h2_slot_create(struct h2_server *, int32_t id);
/* NULL where it is a tunnel. */
struct h2_slot *h2_slot_of(struct h2_stream *);
/* The head is whole: opens it or refuses it. */
void h2_slot_begin(struct h2_slot *);
/* For log and metrics. */
void h2_slot_tell_refused(struct h2_slot *, const struct error *);
/* What ended the stream were trailers. */
void h2_slot_take_trailers(struct h2_slot *);

/* --- h2_server_tunnel.c --- */

/* On the slot's stream: from now on the inflow is the tunnel's. NULL when memory is short. */
struct h2_tunnel *h2_tunnel_create(struct h2_slot *, struct tunnel_end *);
/* The slot goes: the stream is the tunnel's, and its bytes move; or it is over at once. */
void h2_tunnel_begin(struct h2_tunnel *);
/* Lets go of end and pipes, which hear of it with these events (0: nothing). */
void h2_tunnel_destroy(struct h2_tunnel *, unsigned events);
/* So much has gone to the client. */
void h2_tunnel_note_content(struct h2_stream *, size_t length);

#endif
