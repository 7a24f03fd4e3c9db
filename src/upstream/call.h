/* upstream/call.h: a request to a service, whoever asks: an exchange's handler, a sub-request, a mirror, a health check.
 *
 * A call picks an instance, takes a connection, sends, and retries within the plan's rules until a response head is there; then the
 * body streams in `response_body`. Each try owns one connection (or a place in line), one in-flight lease, and gives both back in
 * one place. Events are bits set in `events` with `owner_task` put on the run queue; never a call into the owner.
 * Cancelling is final: no event follows, every lease is returned before cancel returns. One worker's thread. Memory: the
 * caller's (arena); it lives until CALL_DONE or cancel, and the pipes until the owner released them. */
#ifndef SLUICE_UPSTREAM_CALL_H
#define SLUICE_UPSTREAM_CALL_H

#include "http/client_stream.h"
#include "upstream/balancer.h"
#include "upstream/pool.h"

enum call_kind { CALL_PRIMARY, CALL_SUB_REQUEST, CALL_MIRROR, CALL_HEALTH };

enum {
    CALL_INTERIM = 1, /* `interim` has entries; the owner takes them off */
    CALL_HEAD = 2,    /* the response head that counts: no retry any more */
    CALL_DONE =
        4, /* Over: leases are back; `error` is set where it failed. After HEAD a failure has aborted response_body. */
};

/* What the caller wants; everything pointed at stays valid until CALL_DONE or cancel. */
struct call_plan {
    enum call_kind kind;
    const struct service *service;
    struct instance *only_instance;     /* CALL_HEALTH: this one, no balancing, down or not; NULL else */
    const struct request_head *request; /* as it shall go out (framing and Connection are written anew) */
    struct slice target;
    bool host_of_instance;  /* Host is the instance's, not request->authority */
    struct body_pipe *body; /* NULL: none; the call becomes its consumer */
    struct arena *arena;
    uint64_t deadline_ms;     /* loop time by which the response head must be there, all tries together */
    uint32_t try_timeout_ms;  /* 0: none of its own */
    uint32_t idle_timeout_ms; /* between pieces of body, either way; 0: none */
    uint32_t retry_count;
    uint32_t retry_on; /* enum retry_on bits */
    uint32_t retry_buffer_bytes;
    bool repeatable; /* idempotent method, Idempotency-Key, or the route says so */
    /* A head that has come counts also where what follows fails in the same turn: told as CALL_HEAD and the failure, and not tried again. For who
     * goes by the status alone. */
    bool head_decides;
    bool wait_for_continue;
    bool upgrade; /* ask for the protocol that the request's Upgrade field names; there is no body then */
    uint64_t client_hash;
    /* For services that want to be told by the PROXY protocol: whose connection it was, and to whom. source AF_UNSPEC: ours (CALL_HEALTH). */
    struct address source, destination;
};

struct upstream_call {
    struct task *owner_task; /* set by the caller before start */
    uint8_t events;
    /* For the owner to read. */
    struct interim_response *interim;
    struct response_head *response;  /* from CALL_HEAD on */
    struct body_pipe *response_body; /* NULL: the response has no body */
    struct instance *instance;       /* of the last try; NULL: none was reached */
    uint32_t tries;
    struct error error;                    /* reason NULL: none */
    uint64_t started_ns, head_ns, done_ns; /* loop times; 0: not yet */
    uint64_t bytes_sent, bytes_received;
    /* Internal. */
    struct upstream_worker *worker;
    struct call_plan plan;
    struct task task;
    struct timer timer;
    struct try *try;
    struct stand_in *stand_in; /* NULL: instances are asked */
    struct try *earlier;       /* tries without success whose interim heads the owner may still look at */
    struct balancer_question question;
    uint64_t bytes_moved, moved_ms; /* when the body moved last, as far as looked */
    uint8_t state;
};

/* Never fails in place: what goes wrong is told by CALL_DONE. A status that retryOn covers is retried; when no try is left the last
 * response is passed on as it is. Failures: status 502 (connect-failure, reset, bad-response ...), 503 (no-instance, no-healthy-instance, overload),
 * 504 (timeout), with the instance and the count of tries in the text; 408 (request-timeout), the client's fault, where at the deadline
 * only the rest of the request's body was missing. That a kept connection had been closed by its instance is no failure: the
 * request goes out again on a fresh one, beside retry_count and budget, unless a byte of a request that can't be repeated was sent
 * (502, stale-connection); see client_stream.h. A request body that is not needed any more is stopped. */
void upstream_call_start(struct upstream_call *, struct upstream_worker *, const struct call_plan *);
/* A place among an instance's requests in flight that outlives the call: a tunnel's. Zeroed: none. */
struct upstream_lease {
    struct upstream_worker *worker;
    struct instance *instance; /* whoever holds the lease holds a service that keeps it */
};

/* After CALL_HEAD of a 101: what carried the call becomes the tunnel's end, all set by its owner, and the call is over (no DONE follows).
 * The lease is the caller's, to be given back when the tunnel ends. False: *error; the backend has gone meanwhile or memory is short; the
 * call is as before. */
bool upstream_call_open_tunnel(struct upstream_call *, struct tunnel_end *, struct upstream_lease *, struct error *);
void upstream_lease_give(struct upstream_lease *);
/* Once for every started call, at any time, also after DONE: gives back everything, the buffers of heads and body included. A task of the
 * owner's that is queued already stays queued, but `events` is 0: an owner that frees itself dequeues its own task. */
void upstream_call_cancel(struct upstream_call *);

#endif
