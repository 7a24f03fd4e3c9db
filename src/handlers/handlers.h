/* handlers/: one file an ending of a route; handlers/all.c lists them. */
#ifndef SLUICE_HANDLERS_HANDLERS_H
#define SLUICE_HANDLERS_HANDLERS_H

#include "chain/handler.h"

extern const struct handler handler_proxy, handler_respond, handler_redirect, handler_aggregate;

/* NULL-ended. */
extern const struct handler *const handlers_all[];

#endif
