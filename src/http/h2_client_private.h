/* http/h2_client_private.h: private to this room: the two halves of a backend's HTTP/2 connection. h2_client.c is the connection: its
 * bytes in and out, its limits, its end. h2_client_slot.c is one request, the client stream that an owner sees; h2_client_answer.c is what
 * comes for it, h2_client_tunnel.c what it may become. */
#ifndef SLUICE_HTTP_H2_CLIENT_PRIVATE_H
#define SLUICE_HTTP_H2_CLIENT_PRIVATE_H

#include "http/h2_client.h"
#include "http/h2_fields.h"
#include "http/h2_output.h"

/* Content that came and that there was no room for: nothing more is read from the connection before it is stored. */
struct h2_pause {
    struct h2_client_slot *slot; /* NULL: none */
    const char *at;              /* in client->input */
    size_t length;
};

struct h2_client {
    struct client_connection base;
    struct stream stream;
    struct http_worker *worker;
    const struct client_settings *settings;
    nghttp2_session *session;
    struct h2_output output;
    struct h2_gathering *gathering;    /* while the session is asked for what is to go out */
    struct slab *input;                /* one reference; NULL: none */
    uint32_t input_at;                 /* its bytes before this have been taken */
    struct slab_reserve input_reserve; /* while streams are on the connection */
    struct h2_pause pause;
    struct list_link
        slots; /* struct h2_client_slot: all that the session knows; some may have lost their stream already */
    struct list_link spare; /* for the next streams */
    uint32_t spare_count;
    uint32_t open_count;     /* streams on the connection */
    uint32_t left_count;     /* streams that have left, and the pool hasn't been told so */
    struct turn_share reads; /* from the socket */
    struct task task;        /* something has happened that this turn should see */
    struct task flush_task;  /* the next one writes */
    struct timer timer;      /* memory to read into */
    struct retired retired;
    const char *complaint; /* static: what the session found wrong with what came; NULL: nothing */
    bool input_was_filled; /* by the last read: a larger slab may be worth it */
    bool heard;            /* something came since the first of the streams that are on it was opened */
    bool draining;         /* no new streams */
    bool capacity_changed; /* the pool is to be told */
    bool broken;           /* no bytes either way any more */
    bool closed;           /* gone, but for its memory */
};

/* One request and its answer, or the tunnel that these have agreed on. Belongs to the connection, and lives as long as the session knows
 * the stream, which may be longer than its owner wants to know of it. */
struct h2_client_slot {
    struct h2_client *client;
    struct client_stream *stream; /* NULL: it has left, or is a tunnel now */
    struct tunnel_end *end;       /* NULL: it is none, or has gone */
    struct body_pipe *in;         /* from the backend; NULL: not yet, or nobody is there any more */
    struct body_pipe *out;        /* to the backend; NULL: nothing (more) to send */
    struct slab_reserve *reserve; /* for what comes */
    struct slab_reserve tunnel_reserve;
    struct list_link link;
    struct task task;              /* the body, of either side */
    struct timer timer;            /* the 100 */
    struct h2_field_reader reader; /* of the head, or the trailers, that is coming */
    struct headers trailers;
    int32_t id;
    uint64_t begins_at; /* output.gathered before its head; UINT64_MAX: the head is still to be written */
    uint64_t content_sent;
    uint64_t returned; /* of the content that came: for which the backend was given its window back */
    uint32_t chunk;    /* content of the DATA frame that is being written */
    uint8_t interim_count;
    bool head_is_over;           /* the final head is there */
    bool end_sent, end_received; /* END_STREAM */
    bool is_forgotten;           /* by the session, as after a RST_STREAM */
    bool was_reset;              /* by the backend */
    bool holding_back;           /* the request's body waits for a 100 */
    bool is_deferred;            /* the session waits to be told of more of it */
    /* The session doesn't know it yet: the backend's SETTINGS may offer tunnels (RFC 8441 3). */
    bool waits_for_settings;
};

/* --- h2_client.c --- */

static inline struct h2_client *h2_client_of(struct client_connection *connection)
{
    return CONTAINER_OF(connection, struct h2_client, base);
}
/* Goes on from the run queue: something is to be written, or the pool to be told. */
void h2_client_come_back(struct h2_client *);
/* The same in a while, when memory may be there. */
void h2_client_wait_for_memory(struct h2_client *);
/* Takes what has come, whatever events have told so far; for who must know how the connection stands. No stream is on it. */
void h2_client_look(struct h2_client *);

/* --- h2_client_slot.c --- */

static inline struct h2_client_slot *h2_client_slot_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}
void h2_client_open(struct client_connection *, struct client_stream *);
void h2_client_cancel(struct client_connection *, struct client_stream *);
void h2_client_slot_set_callbacks(nghttp2_session_callbacks *);
/* Of a slot with a stream: bits of its `events`. */
void h2_client_slot_tell_owner(struct h2_client_slot *, unsigned event);
/* The pipe goes out from now on. */
void h2_client_slot_send(struct h2_client_slot *, struct body_pipe *);
/* No more of it goes out. */
void h2_client_slot_stop_sending(struct h2_client_slot *);
/* The request's body, which was held back. */
void h2_client_slot_send_body(struct h2_client_slot *);
/* Lets go of the content that comes, and gives the place on the connection back. `code`: why, for a backend that isn't done with it. */
void h2_client_slot_detach(struct h2_client_slot *, uint32_t code);
struct h2_client_slot *h2_client_slot_find(struct h2_client *, const struct client_stream *);
/* The stream leaves; with a failure, or without. `code`: why, for a backend that isn't done with it. */
void h2_client_slot_finish(struct h2_client_slot *, uint32_t code);
void h2_client_slot_fail_with(struct h2_client_slot *, const struct error *, uint32_t code);
void h2_client_slot_fail(struct h2_client_slot *, const struct error *);
void h2_client_slot_fail_for_memory(struct h2_client_slot *);
/* The connection has ended, as `how` says: "closed the connection". */
void h2_client_slot_fail_for_end(struct h2_client_slot *, const char *how);
/* Nothing was executed, whatever has gone out (RFC 9113 6.8, 8.7). */
void h2_client_slot_fail_as_not_executed(struct h2_client_slot *, const char *what);
/* One that waited for the backend's SETTINGS. */
void h2_client_slot_submit(struct h2_client_slot *);
/* The session has forgotten it, or is about to be freed. */
void h2_client_slot_recycle(struct h2_client_slot *);

/* --- h2_client_tunnel.c --- */

bool h2_client_open_tunnel(struct client_connection *, struct client_stream *, struct tunnel_end *);
/* What happens on a slot that is one. */
void h2_client_tunnel_finished(struct h2_client_slot *); /* by the backend */
void h2_client_tunnel_sent(struct h2_client_slot *);     /* END_STREAM */
void h2_client_tunnel_cut(struct h2_client_slot *);      /* the other side has broken off, or takes nothing any more */
void h2_client_tunnel_lost(struct h2_client_slot *);     /* the backend has broken off */

/* --- h2_client_answer.c --- */

void h2_answer_set_callbacks(nghttp2_session_callbacks *);
void h2_answer_take_frame(struct h2_client_slot *, const nghttp2_frame *);
/* Gives the backend the window for what the consumer has passed on. */
void h2_answer_return_window(struct h2_client_slot *);
/* Stores what the connection paused for. False: there is still no room. */
bool h2_answer_end_pause(struct h2_client *) MUST_USE;

#endif
