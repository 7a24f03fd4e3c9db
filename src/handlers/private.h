/* handlers/private.h: what the files of this room share. */
#ifndef SLUICE_HANDLERS_PRIVATE_H
#define SLUICE_HANDLERS_PRIVATE_H

#include "exchange/exchange.h"

/* websocket.c: the opening handshake as the one in the middle sees it (RFC 6455 4). */
/* A request that asks for a WebSocket, before it is made fit for the next hop. False: *error, whose status is the answer. */
bool websocket_check_request(struct exchange *, struct error *);
/* Once the hop's own fields are out: asks the next hop. False: memory. */
bool websocket_ask(struct headers *) MUST_USE;
/* A 101 came for the request. False: *error (502). */
bool websocket_check_answer(const struct request_head *, const struct response_head *, struct error *);

#endif
