/* http/h2_server_private.h: private to this room: the parts of a client's HTTP/2 connection. h2_server.c is the connection: reading,
 * writing, time, closing. h2_server_frames.c is what nghttp2 tells it. h2_server_stream.c is one request and its answer, the server
 * stream that an owner sees; h2_server_body.c is the request's content. */
#ifndef SLUICE_HTTP_H2_SERVER_PRIVATE_H
#define SLUICE_HTTP_H2_SERVER_PRIVATE_H

#include "http/h2_fields.h"
#include "http/h2_guard.h"
#include "http/h2_output.h"
#include "http/h2_server.h"

/* What a client may send of one body, and of all together, before somebody takes it. The first is what RFC 9113 6.9.2 starts with and a
 * pipe's window; so what comes always fits. */
#define H2_STREAM_WINDOW 65535
#define H2_CONNECTION_WINDOW (1024 * 1024)

enum h2_server_state {
    H2_SERVER_OPEN,
    H2_SERVER_LINGER, /* we have finished writing; what still comes is read away, so that no RST overtakes what was sent */
    H2_SERVER_CLOSED, /* the socket is closed; memory waits for the slots' release, or for the turn's end */
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
    struct session_socket early; /* its slab: what came before us, until it is read; NULL: nothing */
    struct slab *input;          /* what was read last; NULL: nothing is held */
    /* The last content that went by reference out of `input`: whose, and where it ends. Between it and what is read next stand only
     * frame heads. */
    struct h2_slot *content_slot;
    char *content_end;
    struct slab_reserve reserve; /* to read into at the ceiling, while there are slots */
    struct h2_output output;
    struct h2_gathering *gathering; /* while nghttp2 is asked for frames; NULL else */
    struct list_link slots;         /* struct h2_slot */
    struct list_link ending;        /* those whose answer's end was gathered and is not in the kernel yet, in order */
    struct h2_slot *heading;        /* whose head is coming in; NULL: none */
    struct h2_guard guard;
    struct timer timer;
    struct task read_task, flush_task;
    struct retired retired;
    struct turn_share reads;
    uint64_t idle_since_ms;     /* no slots since then */
    uint64_t heading_ms;        /* when `heading` began */
    uint64_t settings_until_ms; /* for the client's preface, SETTINGS and ACK of ours; UINT64_MAX: they have come */
    uint64_t drain_until_ms;    /* for the answer to the shutdown notice's PING; UINT64_MAX: not waited for */
    uint64_t written_ms;        /* of the last progress in writing, while output waits */
    uint64_t unblocked_ms;      /* when output last ceased to wait */
    uint64_t linger_until_ms;
    uint32_t linger_bytes; /* in LINGER: how much more is read away */
    uint32_t slot_count;
    uint8_t state; /* enum h2_server_state */
    bool settings_received, settings_acknowledged;
    bool draining;
    bool terminating; /* the last GOAWAY is on its way */
    bool unspeakable; /* nghttp2 is out of memory: there is nothing to do but to close */
    bool starved;     /* for memory to read into */
    bool was_filled;
};

/* The body of a request, or the client's side of a tunnel. */
struct h2_request_body {
    struct h2_slot *slot;
    struct body_pipe pipe;
    struct task task;         /* the pipe's producer's */
    struct slab *held;        /* bytes that the pipe has no piece for; NULL: none */
    uint32_t held_start;      /* in it */
    uint32_t outstanding;     /* bytes that came and were not given back to the client's window yet */
    uint64_t given;           /* of what was pushed: bytes whose window was given back */
    uint64_t content;         /* bytes that came */
    uint64_t content_max;     /* 413 beyond */
    uint64_t moved_ms;        /* since when the client is who is waited for */
    struct headers *trailers; /* NULL: none (yet) */
    bool ended;               /* all of it came */
    bool broken;
};

/* All that belongs to one request; it lives in its own arena. */
struct h2_slot {
    struct server_stream stream;
    struct h2_server *connection;
    struct list_link link;        /* connection->slots */
    struct list_link ending_link; /* connection->ending */
    struct arena arena;
    int32_t id;
    struct h2_field_reader reader;
    struct headers trailers;
    struct h2_request_body *body; /* NULL: none */
    struct body_pipe *answer;     /* NULL: none, or all of it was gathered */
    struct task answer_task;      /* the answer pipe's consumer's */
    uint64_t answer_left;         /* BODY_LENGTH_UNKNOWN: not announced */
    uint64_t end_at;              /* of the connection's output: where the answer ends; UINT64_MAX: not known yet */
    uint64_t written_ms; /* loop time of the last progress in sending, or since when the client is waited for */
    bool opened;         /* the owner has it, until release */
    bool refused;        /* answered by ourselves, nobody has it */
    bool client_ended;   /* END_STREAM came */
    bool answering;      /* the final head was handed to nghttp2 */
    bool ended;          /* the answer's end was gathered */
    bool answered;       /* ... and handed to the kernel */
    bool starved;        /* there is no content to send: nobody waits for the client */
    bool gone;
    bool closed; /* nghttp2 has forgotten the stream */
    bool continue_sent;
    bool tunnel;
};

/* --- h2_server.c --- */

static inline const struct server_settings *h2_server_settings_of(const struct h2_server *server)
{
    return *server->settings;
}
static inline uint64_t h2_server_now(const struct h2_server *server) { return server->worker->loop->now_ms; }

/* There may be something to send: once for all that happens in this turn. */
void h2_server_flush_soon(struct h2_server *);
/* Something has a deadline; the timer may be set earlier. */
void h2_server_arm(struct h2_server *, uint64_t at_ms);
/* The last words to the client (`code` is nghttp2's), after which the connection ends; slots in flight are lost then, not in this call.
 * With an error it is told, once, for log and metrics. */
void h2_server_terminate(struct h2_server *, uint32_t code, const struct error *);
/* For log and metrics: what no request can be named for. */
void h2_server_tell_refused(struct h2_server *, const struct error *);
/* The client knows that no more is taken: what it has sent so far is the last. */
void h2_server_end_drain(struct h2_server *);
/* Closes the socket, loses the slots. What nghttp2 has stays until the turn's end, so that it may be called from its callbacks. */
void h2_server_close(struct h2_server *, bool reset);
/* A slot has gone. May end the connection. */
void h2_server_slot_gone(struct h2_server *);

/* --- h2_server_frames.c --- */

/* NULL when memory is short. */
nghttp2_session *h2_server_create_nghttp2(struct h2_server *);
/* Asks h2_slot_next_content(). */
extern const nghttp2_data_provider h2_server_content;

/* --- h2_server_stream.c --- */

/* For the stream whose head begins. NULL at the ceiling, and a little before it. */
struct h2_slot *h2_slot_create(struct h2_server *, int32_t id);
/* Nobody has it and nghttp2 doesn't ask for it any more. */
void h2_slot_destroy(struct h2_slot *);
/* The head is whole: opens it or refuses it. */
void h2_slot_begin(struct h2_slot *, bool ended);
/* Answers by ourselves. */
void h2_slot_refuse(struct h2_slot *, const struct error *);
/* For log and metrics. */
void h2_slot_tell_refused(struct h2_slot *, const struct error *);
/* Somebody wants the request's body. */
void h2_slot_body_wanted(struct h2_slot *);
/* nghttp2's data source: how much of the answer may follow now, and whether that is its end; or an NGHTTP2_ERR_. */
ssize_t h2_slot_next_content(struct h2_slot *, size_t limit, uint32_t *flags);
/* The end of the answer was gathered, up to `end_at` of the connection's output (UINT64_MAX: will be, by the frame that nghttp2 is
 * about to hand over). */
void h2_slot_ended(struct h2_slot *, uint64_t end_at);
/* All of the answer is in the kernel. */
void h2_slot_sent(struct h2_slot *);
/* Nothing can be sent any more: tells the owner, cuts both bodies; frees it where nobody has it. */
void h2_slot_lose(struct h2_slot *);
/* Looks at its deadlines; returns the next one, UINT64_MAX: none. May destroy the slot. */
uint64_t h2_slot_look_at_time(struct h2_slot *);

/* --- h2_server_body.c --- */

/* False: no memory. */
bool h2_body_create(struct h2_slot *, uint64_t length) MUST_USE;
/* It will never be whole. */
void h2_body_break(struct h2_slot *, const struct error *);
/* Nothing of it is used any more. Without a body nothing happens. */
void h2_body_release(struct h2_slot *);
/* Until when the client has to send more; UINT64_MAX: it isn't waited for. */
uint64_t h2_body_deadline(const struct h2_slot *);
/* Content came; it is in connection->input. */
void h2_slot_receive(struct h2_slot *, const char *at, size_t length);
/* END_STREAM came, perhaps (else NULL) with trailers. */
void h2_slot_end_request(struct h2_slot *, struct h2_field_reader *trailers);

#endif
