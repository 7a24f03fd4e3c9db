/* http/server_stream.h: one request and its answer on a client's connection, whichever HTTP version (or none: tests) is below.
 *
 * A session (h1_server, later h2_server) fills it and hands it to its opener once the request head is complete. From then on
 * the opener owns the exchange slot until it calls release; the stream's memory, the head's bytes and the arena stay
 * valid until then, also when the client has gone. Events are bits set in `events` with `owner_task` put on the run queue,
 * never a call into the owner. One worker's thread. */
#ifndef SLUICE_HTTP_SERVER_STREAM_H
#define SLUICE_HTTP_SERVER_STREAM_H

#include "event/socket.h"
#include "http/tunnel.h"

struct server_stream;

/* A client's certificate that was verified, as texts that may stand in a header field. */
struct peer_certificate {
    struct slice subject;      /* RFC 2253: "CN=alice,O=Example" */
    struct slice alternatives; /* "DNS:a.example.com, URI:spiffe://example.com/a, email:a@example.com, IP:192.0.2.1" */
    struct slice serial;       /* hexadecimal */
    struct slice fingerprint;  /* SHA-256, hexadecimal */
};

/* Who is at the other end of the connection; lives as long as its streams. */
struct peer {
    struct address address;           /* of the client as the connection (or the PROXY protocol) says */
    char ip_text[ADDRESS_TEXT_BYTES]; /* of address, without port: written once a connection, read once a request */
    uint8_t ip_length;
    bool tls;
    int descriptor; /* the connection's socket, for who must ask about it; -1: none */
    struct address
        destination;        /* whom the client connected to, as the PROXY protocol says; AF_UNSPEC: the socket knows */
    bool only_probes;       /* it came where nothing but whether we are well may be asked */
    uint16_t redirect_port; /* its requests are sent there, by https; 0: they are not */
    const struct peer_certificate *certificate; /* NULL: none was shown */
};

enum {
    SERVER_STREAM_SENT = 1, /* the answer, body included, was handed to the kernel */
    SERVER_STREAM_GONE = 2, /* the client went away or broke the protocol: nothing can be sent any more. Final. */
};

struct server_stream_operations {
    /* An interim head (1xx). Dropped for HTTP/1.0 clients. May be called several times before send_head. */
    void (*send_interim)(struct server_stream *, const struct response_head *);
    /* The answer. The session takes the consumer's end of `body` (NULL: none; head->has_body must agree) and sends what is in
     * it already together with the head. Head and pipe must stay valid until SENT or GONE. A body that aborts after the head went
     * out cuts the connection (h1) or resets the stream (h2), so that the client sees it as incomplete.
     * False: the head can't be written (*error: CR in a generated header ...); nothing was sent, another may be. */
    bool (*send_head)(struct server_stream *, struct response_head *, struct body_pipe *body, struct error *);
    /* Instead of send_head, for a request that wants_upgrade and has no body: sends a 101 (200 to an extended CONNECT), and the connection
     * or the HTTP/2 stream becomes `end`, which lives on after the release. SENT says that the head is out and the stream can be
     * released; only then do the tunnel's bytes move. False: the head can't be written or memory is short (*error); nothing was sent,
     * another answer may be. A client that has gone meanwhile is told as the end's GONE. */
    bool (*open_tunnel)(struct server_stream *, struct response_head *, struct tunnel_end *, struct error *);
    /* Cuts the stream without (more of) an answer. */
    void (*reset)(struct server_stream *);
    /* The owner is finished with stream, head and arena; the session goes on to its next request or closes. What is left of the
     * request's body is read away within bounds, or the connection is closed. */
    void (*release)(struct server_stream *);
};

struct server_stream {
    const struct server_stream_operations *operations;
    struct loop *loop;
    struct arena *arena; /* the exchange's memory: all that dies with it */
    const struct peer *peer;
    struct request_head request;
    struct body_pipe *request_body; /* NULL: the request has none. The owner takes the consumer's end */
    uint64_t begun_ns;              /* loop time when the head was complete */
    uint64_t bytes_in, bytes_out;   /* of this exchange, heads included */
    struct task *owner_task;        /* set by the owner */
    uint8_t events;                 /* SERVER_STREAM_* bits that have happened */
};

static inline void server_stream_send_interim(struct server_stream *stream, const struct response_head *head)
{
    stream->operations->send_interim(stream, head);
}

static inline bool server_stream_send_head(struct server_stream *stream, struct response_head *head,
                                           struct body_pipe *body, struct error *error)
{
    return stream->operations->send_head(stream, head, body, error);
}

static inline bool server_stream_open_tunnel(struct server_stream *stream, struct response_head *head,
                                             struct tunnel_end *end, struct error *error)
{
    return stream->operations->open_tunnel(stream, head, end, error);
}

static inline void server_stream_reset(struct server_stream *stream) { stream->operations->reset(stream); }
static inline void server_stream_release(struct server_stream *stream) { stream->operations->release(stream); }

#endif
