/* exchange/private.h: what the files of this room share. */
#ifndef SLUICE_EXCHANGE_PRIVATE_H
#define SLUICE_EXCHANGE_PRIVATE_H

#include "base/clock.h"
#include "exchange/exchange.h"
#include "shared/counter.h"

/* edge.c: who the client is, and the request's id. */
/* Whether the request is gRPC, and its deadline. False: grpc-timeout is none. */
bool edge_find_grpc(struct exchange *) MUST_USE;
void edge_find_client(struct exchange *, const struct request_settings *);
bool edge_find_request_id(struct exchange *) MUST_USE;
/* True: the listener sends all requests elsewhere, and the answer is prepared. */
bool edge_redirects(struct exchange *);

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
/* Puts the chain's stages behind *pipe, which then is the last stage's output. False when memory is short. */
bool stages_put(struct exchange *, bool response, struct body_pipe **pipe) MUST_USE;
void stages_release(struct exchange *);

/* record.c: the log step's record and counts. */
void record_fill(const struct exchange *, struct exchange_record *);
void record_write(struct exchange *);

/* tunnel.c: sends the 101 and joins client and backend. False: *error; nothing was sent, another answer may be. */
bool tunnel_open(struct exchange *, struct error *) MUST_USE;
void tunnel_place_give(struct exchange_worker *);

#endif
