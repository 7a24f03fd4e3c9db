/* http/h2_fields.h: private to this room: heads and trailers between HTTP/2's fields (RFC 9113 8.2, 8.3) and ours. Both sessions use
 * it: the server reads requests and writes answers, the client the other way round.
 *
 * nghttp2 has checked already, when a field comes here: characters of names and values, lower case, pseudo fields (known, once, before
 * the others, none in trailers), TE, a plain number in Content-Length, that there are no fields of the connection. A session must have
 * told it to reset a stream for such, by an invalid-header callback. The rest is checked here. Pure: no session, no clock. */
#ifndef SLUICE_HTTP_H2_FIELDS_H
#define SLUICE_HTTP_H2_FIELDS_H

#include "http/h1.h"

#include <nghttp2/nghttp2.h>

/* The pseudo fields of a head; absent: not sent. */
struct h2_pseudo_fields {
    struct slice method, scheme, authority, path, protocol, status;
};

/* One head, or the trailers, as its fields are decoded. */
struct h2_field_reader {
    struct headers *headers; /* get the fields; what isn't static is copied to their arena */
    const struct h1_limits *limits;
    struct h2_pseudo_fields pseudo;
    uint32_t bytes; /* of the fields, counted as HTTP/1.1 would write them */
    uint32_t pseudo_bytes;
    uint32_t count;
    bool is_target_too_long, is_too_large, is_out_of_memory; /* nothing is kept any more */
};

enum h2_field_result {
    H2_FIELD_TAKEN, /* or counted only: what is wrong is told at the end */
    H2_FIELD_FLOOD, /* so far beyond the limits that it is better not to decode on (RFC 9113 10.5.1) */
};

/* The headers are initialised. */
void h2_reader_init(struct h2_field_reader *, struct headers *, const struct h1_limits *);
enum h2_field_result h2_reader_add(struct h2_field_reader *, nghttp2_rcbuf *name, nghttp2_rcbuf *value);

/* The head is whole: fills what follows from its fields. `ended`: the stream ended with it. An extended CONNECT for a WebSocket
 * (RFC 8441) looks as its HTTP/1.1 form does: a GET that wants to upgrade. Joins cookie fields (RFC 9113 8.2.3), adds the Host that
 * :authority stands for. Errors as h1_parse_request's. */
bool h2_reader_end_request(struct h2_field_reader *, bool ended, struct request_head *, struct error *) MUST_USE;
/* The same for a backend's response to a request with `method`, interim ones too. Errors as h1_parse_response's. */
bool h2_reader_end_response(struct h2_field_reader *, bool ended, enum method, struct response_head *,
                            struct error *) MUST_USE;
/* Trailers: takes out what RFC 9110 6.5.1 forbids there. Errors carry `blame`: 431 for a client's, 502 for a backend's. */
bool h2_reader_end_trailers(struct h2_field_reader *, enum blame, struct error *) MUST_USE;

/* Fields to send, in an arena; nghttp2 copies them. */
struct h2_fields {
    nghttp2_nv *items;
    size_t count;
};

/* Without the fields that HTTP/2 has no use for. content-length is written where body_length is known: h2_settle_length() first.
 * `date` goes where the head has none and the status is 2xx to 4xx; absent: nowhere. False: *error, as h1_write_response_head, or 503
 * where memory is short. */
bool h2_write_response(const struct response_head *, struct slice date, struct arena *, struct h2_fields *,
                       struct error *) MUST_USE;
/* `upgrade`: as an extended CONNECT (RFC 8441) for the protocol of the Upgrade field. Always says "te: trailers": a gateway passes
 * them on. */
bool h2_write_request(const struct request_head *, struct slice scheme, struct slice target, bool upgrade,
                      struct arena *, struct h2_fields *, struct error *) MUST_USE;
bool h2_write_trailers(const struct headers *, struct arena *, struct h2_fields *, struct error *) MUST_USE;

/* What Content-Length an answer gets: body_length becomes 0 where there is no body and HEAD didn't ask, unknown where a status takes
 * none (RFC 9110 8.6). */
void h2_settle_length(struct response_head *, enum method, bool has_body);

#endif
