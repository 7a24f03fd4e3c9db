/* exchange/private.h: what the files of this room share. */
#ifndef SLUICE_EXCHANGE_PRIVATE_H
#define SLUICE_EXCHANGE_PRIVATE_H

#include "base/clock.h"
#include "exchange/exchange.h"
#include "expr/expression.h"
#include "http/media_type.h"
#include "shared/counter.h"

/* edge.c: who the client is, and the request's id. False of all but edge_find_grpc(): memory is short. */
/* Whether the request is gRPC, and its deadline. False: grpc-timeout is none. */
bool edge_find_grpc(struct exchange *) MUST_USE;
bool edge_find_client(struct exchange *, const struct request_settings *) MUST_USE;
bool edge_find_request_id(struct exchange *) MUST_USE;
/* The trace goes on or begins, and the request's head says so from here on. */
bool edge_find_trace(struct exchange *, const struct request_settings *) MUST_USE;
/* Takes off what the client's Connection names (RFC 9110 7.6.1; headers_remove_options() says what stays): so routes and policies judge
 * what services get. The trace is ours by then and stays. */
void edge_remove_nominated(struct exchange *);
/* True: the listener sends all requests elsewhere, and the answer is prepared. */
bool edge_redirects(struct exchange *);

/* exchange.c */
static inline void *exchange_link_state(const struct exchange *exchange, const struct chain_link *link)
{
    return exchange->filter_states + link->state_offset;
}

/* kept.c */
bool kept_start(struct exchange_worker *, struct error *) MUST_USE;
void kept_stop(struct exchange_worker *); /* safe to call twice */

/* routing.c */
/* Into exchange->match. False: no route takes it, and the answer is prepared. */
bool routing_find(struct exchange *) MUST_USE;
struct route_judging;
/* The route that would take the request if this were its path; NULL: none. What was found before stays. */
const struct compiled_route *routing_try_path(const struct route_judging *, struct slice path);

/* split.c */
/* The service of a route that has a split. False: memory is short. */
bool split_choose(struct exchange *) MUST_USE;

/* version.c */
enum version_source { VERSION_IN_PATH, VERSION_IN_HEADER, VERSION_IN_MEDIA_TYPE, VERSION_IN_QUERY, VERSION_BY_DEFAULT };

/* While routes are tried: what the request asks of them, and who was refused for it. */
struct route_judging {
    struct exchange *exchange;
    enum method method; /* that a route must take */
    struct slice method_text;
    const struct api_versions_config *api;         /* whose version `asked` is; NULL: none was asked for yet */
    const struct api_versions_config *refused_api; /* NULL: no route was refused for its version */
    struct slice asked;                            /* absent: none, and there is no default */
    struct slice written;                          /* VERSION_IN_QUERY: `asked` before it was decoded */
    uint8_t source;                                /* enum version_source */
    bool differs;                                  /* the place names several versions; `asked` is one of them */
    bool is_preflight;                             /* of a CORS preflight */
    bool wants_cors;                               /* then, where its version is open: only routes that answer it */
    bool is_unknown;                               /* there is no such version */
    bool is_too_costly, is_short_of_memory;        /* a predicate could not be judged */
    int32_t unknown_priority;                      /* of the routes that were refused for that, the highest */
    unsigned judged_count, offered_count;
    const struct api_versions_config
        *judged[8];           /* whose fields of the head were asked: answers of the URL differ by them */
    struct slice offered[16]; /* by routes that were refused */
    char buffer[MEDIA_TYPE_VALUE_BYTES_MAX];
};

bool version_fits(struct route_judging *, const struct compiled_route *);
/* True: no route, or only one that was not meant, takes the request for its version's sake, and the answer is prepared. `route`: with
 * ROUTE_FOUND the one that does, else NULL. */
bool version_refuses(struct route_judging *, enum route_result, const struct compiled_route *route);
/* What the answer is to say of versions: of a route's, or (NULL) of a refusal. False: memory is short. */
bool version_take_notice(const struct route_judging *, const struct compiled_route *route) MUST_USE;
bool version_add_fields(const struct exchange *, struct headers *) MUST_USE;

/* wait.c */
enum wait_state { WAIT_IDLE, WAIT_PENDING, WAIT_COMPLETED };
struct wait_table *wait_table_create(void);
void wait_table_destroy(struct wait_table *);
/* The exchange ends: cancels what is pending. */
void wait_abandon(struct exchange *);
/* Takes a completed wait off: true when the step that waited may be run again. */
bool wait_collect(struct exchange *);

/* stages.c: the filters' body stages between the session's pipe and the handler's, or back. */
struct stage_runner;
/* Would stages_put() put any? */
bool stages_are_needed(const struct exchange *, bool response);
/* Puts the chain's stages behind *pipe, which then is the last stage's output; of a response that is there as a whole they have run
 * already, as far as credit and their share of a turn went. False when memory is short. */
bool stages_put(struct exchange *, bool response, struct body_pipe **pipe) MUST_USE;
void stages_release(struct exchange *);

/* respond.c: prepares the problem document of an answer that failed with *error, in words that are fit for a client. */
void respond_failure(struct exchange *, const struct error *, unsigned status);

/* record.c: the log step's record and counts. */
void record_fill(const struct exchange *, struct exchange_record *);
void record_write(struct exchange *);

/* request_maps.c: of struct headers, struct target, struct headers */
extern const struct expression_map_kind header_map, query_map, cookie_map;

/* tunnel.c: sends the 101 and joins client and backend. False: *error; nothing was sent, another answer may be. */
bool tunnel_open(struct exchange *, struct error *) MUST_USE;
void tunnel_place_give(struct exchange_worker *);

#endif
