/* http/h1.h: HTTP/1.1 by RFC 9112, read strictly and written anew. Pure: bytes and structs, no sockets, no clock.
 *
 * What two parsers could read differently is refused: see the errors below. A head is parsed line by line as lines become
 * complete, so a dribbled head costs O(n) and a bad line is refused as soon as its end is there. */
#ifndef SLUICE_HTTP_H1_H
#define SLUICE_HTTP_H1_H

#include "http/message.h"

struct h1_limits {
    uint32_t request_line_bytes; /* 414 beyond (also for the target) */
    uint32_t header_bytes;       /* all field lines together; 431 beyond; for responses 502 */
    uint16_t header_count;       /* 431 beyond */
    bool merge_slashes;
};

enum h1_result {
    H1_COMPLETE,
    H1_MORE, /* all lines so far are good */
    H1_BAD,  /* *error says what and with which status; the connection can't be used any more */
};

/* Resumable state of one head. Zero it (h1_parser_init) for each message. */
struct h1_parser {
    uint32_t line_start; /* offset of the line being collected */
    uint32_t scanned;    /* offset up to which no LF was found */
    uint32_t first_line_end;
    uint8_t stage;
    bool keep_alive;      /* result: this side will keep the connection open after the message */
    bool chunked;         /* result: Transfer-Encoding: chunked */
    uint32_t head_length; /* result, H1_COMPLETE: bytes of the head, its empty line included */
};

void h1_parser_init(struct h1_parser *);

/* Parses the head at the start of bytes[0..length). Called again with more bytes at the same place (or, after the bytes moved,
 * h1_request_rebase first). At most one empty line before the request line is skipped (RFC 9112 2.2).
 * On H1_COMPLETE the head is whole and checked: Host rules, framing, target form for the method.
 * Errors (400 unless said): RFC 9112 2.2 bare LF/CR, 5 field syntax, 5.2 obs-fold, 6.1-6.3 framing, 3.2 Host and target;
 * 414, 431 by the limits (and for more than 1 KiB of Connection); 501 CONNECT; 505 a major version other than 1; 417 an Expect that isn't 100-continue. */
enum h1_result h1_parse_request(struct h1_parser *, const char *bytes, size_t length, const struct h1_limits *,
                                struct request_head *, struct error *);
/* The same for a backend's response; `method` is the request's (HEAD has no body). Errors carry BLAME_UPSTREAM, status 502.
 * keep_alive is false for a body that ends with the connection. Several interim heads are parsed one after the other. */
enum h1_result h1_parse_response(struct h1_parser *, const char *bytes, size_t length, const struct h1_limits *,
                                 enum method method, struct response_head *, struct error *);

void h1_request_rebase(struct request_head *, const char *old_base, size_t length, const char *new_base);
void h1_response_rebase(struct response_head *, const char *old_base, size_t length, const char *new_base);

/* A chunked body as it streams (RFC 9112 7.1). Valid chunk extensions are dropped, under a cap a line and in all. */
struct h1_chunked {
    uint64_t remaining; /* of the current chunk */
    uint32_t extension_bytes;
    uint32_t line_length; /* of the size line's extensions, or of `line` */
    uint32_t trailer_bytes;
    uint16_t trailer_count;
    uint8_t stage;
    uint8_t size_digits;
    bool from_backend; /* set it after init for a response: errors then carry BLAME_UPSTREAM and 502 */
    char *line;        /* a trailer line that was split between reads, in the arena; NULL else */
};

enum h1_chunk_result {
    H1_CHUNK_DATA, /* *data is the next run of content, inside bytes */
    H1_CHUNK_MORE, /* all bytes consumed, more needed */
    H1_CHUNK_END,  /* the body, trailers included, is over; what follows *consumed is the next message */
    H1_CHUNK_BAD,
};

void h1_chunked_init(struct h1_chunked *);
/* Takes *consumed bytes. Trailer fields go to *trailers (copied to its arena); those that RFC 9110 6.5.1 forbids (framing,
 * routing, authentication ...) are dropped. Trailers have the limits of headers. */
enum h1_chunk_result h1_chunked_read(struct h1_chunked *, const char *bytes, size_t length, size_t *consumed,
                                     struct slice *data, struct headers *trailers, const struct h1_limits *,
                                     struct error *);

/* How a body will be framed on the way out; decided by the session, never copied. */
enum h1_framing {
    H1_FRAMING_NONE,   /* no body and no framing field (GET; 1xx, 204) */
    H1_FRAMING_LENGTH, /* Content-Length: body_length (also for answers to HEAD and 304 where the length is known) */
    H1_FRAMING_CHUNKED,
    H1_FRAMING_UNTIL_CLOSE /* answers to HTTP/1.0 clients only */
};

/* Heads are written in one go: size first (an upper bound), then bytes; returns the end. Hop-by-hop and framing fields in
 * `headers` (Connection, Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, Content-Length) are skipped;
 * `keep_alive` false writes "Connection: close". Host is written first, from head->authority. A field that isn't from the
 * wire and holds a control byte: NULL and *error (BLAME_US, 500), nothing is sent. */
size_t h1_request_head_size(const struct request_head *, struct slice target);
/* `target`: the origin-form path and query to ask for. `upgrade`: writes Connection: upgrade and the Upgrade field. */
char *h1_write_request_head(const struct request_head *, struct slice target, enum h1_framing, bool keep_alive,
                            bool upgrade, char *into, struct error *);
size_t h1_response_head_size(const struct response_head *);
/* `to`: HTTP/1.0 clients get "Connection: keep-alive" where it is kept; the status line says HTTP/1.1 always (RFC 9110 2.5).
 * A Date field is added (from `date`, HTTP form) where the head has none and the status is 2xx-4xx (RFC 9110 6.6.1). */
char *h1_write_response_head(const struct response_head *, enum h1_framing, bool keep_alive, enum http_version to,
                             bool upgrade, struct slice date, char *into, struct error *);

#define H1_CHUNK_HEAD_BYTES 18 /* 16 hex digits, CR LF */
/* "1a2b\r\n"; returns the length. */
size_t h1_write_chunk_head(uint64_t size, char into[H1_CHUNK_HEAD_BYTES]);
/* "0\r\n" trailers "\r\n" into the buffer; size from h1_trailer_size(). Trailers may be NULL. */
size_t h1_trailer_size(const struct headers *trailers);
char *h1_write_trailers(const struct headers *trailers, char *into, struct error *);

#endif
