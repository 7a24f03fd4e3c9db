/* exchange/sub_request.h: a request of the gateway's own to a named service, and its answer as a whole: for filters and handlers that ask
 * before they decide or answer (a decision service, the parts of an aggregate).
 *
 * A small layer over upstream_call: same pools, balancing, retries, transports. Here are the time for all of it (the body included), a
 * body of given bytes or from a pipe, and the answer's body collected up to a limit. What is over is told by the owner's task, from the
 * run queue, never inside a call; the owner then looks at `error`, `response`, `body`. Ending is final: nothing follows.
 *
 * Memory: the struct, the arena and all that the plan and the head point at are the owner's, until sub_request_end(). It may belong to no
 * exchange: then the owner retains the service. One worker's thread. */
#ifndef SLUICE_EXCHANGE_SUB_REQUEST_H
#define SLUICE_EXCHANGE_SUB_REQUEST_H

#include "exchange/exchange.h"

struct sub_request_plan {
    const struct service *service;
    struct slice target;     /* path and query */
    struct body_pipe *body;  /* where it doesn't come by sub_request_set_body(); NULL: none. The call consumes it */
    uint64_t deadline_ms;    /* loop time for the whole answer; sub_request_deadline() */
    size_t answer_bytes_max; /* of its body; more is cut off */
    uint32_t retry_count;    /* on connect failures and resets, where it may be repeated */
    bool repeatable;         /* see struct call_plan */
    bool head_decides;       /* the same */
    uint64_t client_hash;    /* for ip_hash; 0: none */
    struct task *owner_task;
};

struct sub_request {
    /* To be filled between init and start: afterwards GET without fields. An absent authority is the instance's. */
    struct request_head head;
    /* Once it is over. */
    bool is_over;
    bool is_cut;                    /* the body was longer than answer_bytes_max: `body` is its beginning */
    struct error error;             /* reason NULL: none. With a response: its body broke off or came too late */
    struct response_head *response; /* NULL: none came. Held until sub_request_end() */
    struct slice body;              /* empty: none; in the arena */
    /* Internal. */
    struct exchange_worker *worker;
    struct arena *arena;
    struct upstream_call call;
    struct task task;
    struct task *owner_task;
    struct timer timer;
    struct body_pipe own_body;
    size_t answer_bytes_max, capacity;
    uint64_t deadline_ms, started_ms;
    bool started, has_own_body;
};

void sub_request_init(struct sub_request *, struct exchange_worker *, struct arena *);
/* A body of these bytes, with its length. */
void sub_request_set_body(struct sub_request *, struct slice bytes);
/* Who asks, in fields that a service behind us knows: X-Request-ID, X-Forwarded-For, -Host and -Proto, the trace's context, and who the
 * client is, where a policy has found out. False when memory is short. */
bool sub_request_tell_client(struct sub_request *, const struct exchange *) MUST_USE;
/* Never fails in place. */
void sub_request_start(struct sub_request *, const struct sub_request_plan *);
/* Once for each that was started, at any time; harmless on others. Cancels what is under way; `response` is gone. */
void sub_request_end(struct sub_request *);

/* So many ms from now, within the exchange's own deadline. */
uint64_t sub_request_deadline(const struct exchange *, uint64_t timeout_ms);
/* The client's address as ip_hash takes it. */
uint64_t exchange_client_hash(const struct exchange *);

#endif
