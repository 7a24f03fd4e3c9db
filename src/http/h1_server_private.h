/* http/h1_server_private.h: private to this room: the two halves of a client's connection. h1_server.c is the connection: idle, reading
 * heads, refusing, closing. h1_server_slot.c is one request and its answer, the server stream that an owner sees. */
#ifndef SLUICE_HTTP_H1_SERVER_PRIVATE_H
#define SLUICE_HTTP_H1_SERVER_PRIVATE_H

#include "http/h1_body.h"
#include "http/h1_server.h"
#include "http/h1_tunnel.h"

enum h1_server_state {
    SERVER_IDLE,     /* between requests: no slab, no slot (or bytes of a pipelined request that the task will parse) */
    SERVER_HEAD,     /* a part of a head has come */
    SERVER_EXCHANGE, /* the slot belongs to its owner */
    SERVER_TUNNEL, /* after a 101, and its slot's release: bytes both ways until both are finished or one side breaks off */
    SERVER_DISCARD, /* answered and released; the rest of the request's body is read away */
    SERVER_LINGER,  /* we have finished writing; what still comes is read away, so that no RST overtakes the answer */
    SERVER_CLOSED,  /* the socket is closed; memory waits for the slot's release, or for the turn's end */
};

struct h1_server {
    struct server_session session;
    struct stream stream;
    struct http_worker *worker;
    const struct server_settings *const *settings;
    const struct server_session_events *events;
    void *owner;
    const struct peer *peer;
    struct h1_slot *slot;     /* in HEAD, EXCHANGE, DISCARD, and CLOSED until released */
    struct h1_tunnel *tunnel; /* in TUNNEL, and in EXCHANGE once a 101 is on its way; NULL else */
    struct h1_input input;
    struct timer timer;
    struct task task;
    struct retired retired;
    uint64_t deadline_ms;       /* of the state, but for EXCHANGE: the timer may fire earlier */
    struct turn_share requests; /* that have ended */
    uint32_t served;
    uint32_t linger_bytes; /* in LINGER: how much more is read away */
    uint8_t state;         /* enum h1_server_state */
    bool draining;         /* the next answer is the last one */
    bool closes_idle;      /* and nobody is waited for */
};

/* The body of a request. */
struct h1_request_body {
    struct body_pipe pipe;
    struct h1_reader reader;
    struct slab_reserve reserve; /* until the body is over */
    bool waiting;                /* for the client to send more; spliced: or for the backend, see pipe.starved */
    bool starved;                /* for memory to read into */
    bool broken;                 /* will not be whole: the connection can't be kept */
};

/* All that belongs to one request; it lives in its own arena. */
struct h1_slot {
    struct server_stream stream;
    struct h1_server *connection;
    struct arena arena;
    struct slab *head_slab; /* what the head's slices point into */
    struct h1_parser parser;
    struct h1_writer writer;
    struct h1_request_body *body; /* NULL: none */
    uint64_t written_ms;          /* loop time of the last progress in writing */
    uint64_t half_closed_ms;      /* loop time when the client was seen to have finished; 0: it has not */
    bool blocked;                 /* the client takes nothing at the moment */
    bool answering;               /* the final head was written */
    bool answered;                /* all of it was handed to the kernel */
    bool gone;
    bool keep_alive; /* as announced with the final head */
    bool continue_sent;
};

/* NULL at the ceiling, and a little before it: what is left then is for the arenas of those who were let in. */
struct h1_slot *h1_slot_create(struct h1_server *);
void h1_slot_destroy(struct h1_slot *);
/* The head is complete, its bytes are taken from the input. False: no memory, or the body's first bytes are bad already. */
bool h1_slot_begin(struct h1_slot *, struct error *) MUST_USE;
/* Does all that can be done now: answer, body, timers. May close the connection. */
void h1_slot_advance(struct h1_slot *);
/* A timer fired in EXCHANGE. */
void h1_slot_look_at_time(struct h1_slot *);
/* The connection is closed: tells the owner, cuts both bodies. */
void h1_slot_lose(struct h1_slot *);

/* Closes the socket. A slot in EXCHANGE is told GONE and the connection's memory waits for its release; else it is over. */
void h1_server_close(struct h1_server *, bool reset);
/* The tunnel's owner lets go of it. */
void h1_server_tunnel_closed(struct h1_tunnel *, bool reset);
/* The owner has released the slot. */
void h1_server_released(struct h1_server *);

static inline const struct server_settings *h1_server_settings_of(const struct h1_server *server)
{
    return *server->settings;
}

#endif
