/* exchange/: the life of one request and its answer, from the edge to the log, as one list of steps.
 *
 *   edge -> route -> request filters -> handler -> response filters -> reply -> log
 *
 * After a 101 the exchange ends as after any answer, and what it has opened lives on as a tunnel.
 *
 * An exchange lives in its server stream's arena on one worker. Nothing here learns an HTTP version. Filters and handlers see the
 * struct and the functions below; they never free anything of it. Everything that can be waited for is registered in one
 * place (exchange_wait) and cancelled in one place, when the client goes away or a deadline passes. */
#ifndef SLUICE_EXCHANGE_EXCHANGE_H
#define SLUICE_EXCHANGE_EXCHANGE_H

#include "chain/chain.h"
#include "event/event.h"
#include "exchange/identity.h"
#include "expr/template.h"
#include "http/http.h"
#include "http/request_id.h"
#include "observe/access_log.h"
#include "observe/metrics.h"
#include "shared/counter.h"
#include "snapshot/snapshot.h"
#include "upstream/upstream.h"

enum exchange_step {
    STEP_EDGE,
    STEP_ROUTE,
    STEP_REQUEST_FILTERS,
    STEP_HANDLER,
    STEP_RESPONSE_FILTERS,
    STEP_REPLY,
    STEP_LOG,
    STEP_COUNT
};

/* The word of a step, the same in traces, metrics, explain and docs. */
const char *exchange_step_word(enum exchange_step);

/* A snapshot as one worker holds it: exchanges add to a plain count. */
struct snapshot_pin {
    struct snapshot *snapshot;
    uint32_t exchanges;
    struct snapshot_pin *next; /* older ones that still have exchanges */
};

struct admin_surroundings;
struct exchange;
struct guarded_name;
struct rate_limit_report;
struct version_notice;

/* A worker's side of all exchanges; owned by gateway's worker. */
struct exchange_worker {
    struct loop *loop;
    struct slab_pool *slabs;
    struct upstream_worker *upstream;
    struct metrics *metrics;
    struct admin_surroundings *admin;    /* for the admin handler (admin/admin.h); NULL on workers that serve traffic */
    const struct filter *const *filters; /* NULL-ended: those that may keep something here; NULL: none */
    struct kept_list *kept;              /* what they keep */
    struct access_log_worker *access_log;
    struct router_scratch *router_scratch;
    struct mailbox *mailbox;
    unsigned index;
    struct snapshot_pin *current;
    struct list_link exchanges; /* all that live, oldest first */
    struct wait_table *waits;   /* slots for waits that other threads complete */
    struct request_id_source *ids;
    struct random random;  /* trace and span ids, draws of splits; guards nothing */
    uint32_t stage_sample; /* counts down to the next sampled exchange */
    struct gauge active;   /* exchanges */
    struct gauge waiting;  /* waits */
    struct list_link tunnels;
    struct gauge tunnels_open;
    uint32_t tunnel_places; /* taken by tunnels and by exchanges that may become one */
    uint32_t tunnels_max;   /* places there are; 0: no limit. Set by the owner */
    bool tunnels_leave;     /* exchange_worker_end_tunnels() was called */
    struct counter started, pinned_beyond_snapshot;
    /* Before a link's request runs, and not again behind a wait; NULL: nobody asks. For who explains what happens. */
    void (*link_begins)(struct exchange *, const struct chain_link *);
    void (*handler_begins)(struct exchange *); /* the same before the route's handler begins */
    /* A pin's last exchange ended and it is not the current one. */
    void (*pin_released)(struct exchange_worker *, struct snapshot_pin *);
    void *owner;
};

bool exchange_worker_init(struct exchange_worker *, struct error *) MUST_USE; /* after its pointers are set */
/* No exchange is left; what filters keep here goes, and none of their threads posts to the mailbox afterwards (filter->worker_stop). Before
 * upstream_worker_release() and the end of the mailbox. */
void exchange_worker_stop_filters(struct exchange_worker *);
void exchange_worker_release(struct exchange_worker *);
/* What the filter's worker_start kept; NULL: it keeps nothing. */
void *exchange_worker_kept(const struct exchange_worker *, const struct filter *);
/* Each second: exchanges older than 1 s keep their route alone and let go of a snapshot that isn't current. Those whose route uses other
 * services keep it until their answer's head goes out. */
void exchange_worker_sweep(struct exchange_worker *);
/* For draining: every tunnel, those to come too, is told to close (1001) and ended within some seconds. */
void exchange_worker_end_tunnels(struct exchange_worker *);

/* A wait of a filter or handler. Embedded in its state; cancelled with the exchange. */
struct exchange_wait {
    void (*cancel)(
        struct exchange_wait *); /* the exchange won't be there any more: give everything back. NULL: nothing to do */
    struct exchange *exchange;
    struct timer timer;
    uint32_t slot, generation; /* for tickets */
    uint8_t state;
};

enum wait_outcome { WAIT_DONE, WAIT_DEADLINE };

/* What a filter holds for a WebSocket beyond its exchange, as a place among those that may be open at once. Embedded in the filter's own
 * memory, which is the tunnel's to release from filter->tunnel_opens on. */
struct tunnel_hold {
    struct tunnel_hold *next; /* internal */
    /* The tunnel has ended, or could not be opened after all: gives all back. The route that the filter was compiled for is still there. */
    void (*release)(struct tunnel_hold *, struct exchange_worker *);
};

/* What another thread needs to complete a wait; plain values, safe to keep after the exchange has ended. */
struct wait_ticket {
    struct exchange_worker *worker; /* outlives every exchange; touched only through its mailbox */
    uint32_t slot, generation;
};

struct exchange {
    /* Owned by the session below; valid until the exchange ends. */
    struct server_stream *stream;
    struct exchange_worker *worker;
    struct arena *arena;
    struct request_head *request; /* &stream->request */

    /* From the edge step on. */
    struct address client;  /* after trusted proxies; AF_UNSPEC: they say nothing that can be read */
    struct slice client_ip; /* its canonical text (address_write_ip()); absent: the same */
    struct slice request_id;
    struct slice trace_id, span_id; /* hexadecimal; absent: traces are off */
    bool from_trusted_proxy;
    bool is_grpc; /* as the client or a filter asks: so what the gateway itself has to say is said in gRPC */
    uint64_t grpc_timeout_ms; /* from the head on; UINT64_MAX: none */

    /* From the route step on. */
    struct compiled_route *route; /* NULL: none matched */
    struct service *service;      /* the route's; NULL: it ends in none, or its split has not been asked yet */
    const struct split_choice *split_choice; /* of a split, from the handler on; NULL else */
    const struct role_set *roles;            /* in force when the route was found */
    struct slice upstream_path;              /* after stripPrefix; rewrites change it */
    struct slice upstream_query;             /* absent: none */

    struct body_pipe *request_body; /* what the handler consumes: the stream's, or the last stage's; NULL: no body */

    struct identity identity; /* set by policies of PHASE_IDENTITY */
    struct rate_limit_report
        *rate_limit_report; /* what the answer is to say of limits (filters/rate_limit.c); NULL: nothing */

    /* The answer: from exchange_answer or exchange_respond on. */
    struct response_head *response;
    struct body_pipe *response_body; /* NULL: none */
    struct upstream_call *upgraded;  /* the answer is 101 and this call's connection goes into a tunnel; NULL else */
    struct version_notice *version_notice; /* what the answer says of its version; NULL: nothing */
    struct slice split_cookie;             /* for Set-Cookie; absent: none */
    struct slice error_rule;               /* the policy's name in the problem body */
    struct slice would_refuse; /* the rule of a policy on trial that would have refused the request; the first */

    /* What the handler tells for the log. */
    struct slice instance_name;
    uint64_t upstream_ns;

    /* Internal. */
    uint8_t step;
    bool answer_fields_added;
    bool failed_late; /* the answer took another's place behind the response filters */
    bool preflight;   /* a CORS preflight: `route` is that of the method it asks for */
    bool gone, answered, handler_started, handler_starting, sampled;
    bool has_tunnel_place, became_tunnel;
    const struct guarded_name *guarded_names; /* see exchange_guard_name */
    uint32_t filters_begun;                   /* links whose request ran: finish and response run for these */
    uint32_t next_link;
    char *filter_states;
    void *handler_state;
    struct snapshot_pin *pin; /* NULL: let go; `route` and `service` are retained instead */
    struct task task;         /* stream events and resumption */
    struct exchange_wait *wait;
    enum wait_outcome wait_outcome;
    struct list_link link; /* worker->exchanges */
    uint64_t begun_ns;
    struct stage_runner *stages; /* newest first */
    struct response_head own_response;

    /* Large and often untouched, so exchange_begin doesn't clear what follows but for `reason` and the captures' count. */
    struct error error; /* why the gateway itself answered or failed; reason NULL: it didn't */
    struct route_match match;
    struct body_pipe own_body; /* for bodies made here */
};

/* A request has come: the exchange is made in stream's arena and runs until it waits. When memory is short it answers 503, and where
 * not even its struct fits the stream is cut. */
void exchange_begin(struct exchange_worker *, struct server_stream *);
/* A request that the session refused by itself is logged and counted like any other. */
struct refused_request {
    const struct request_head *head;
    const struct peer *peer;
    struct slice request_id;
    const struct error *error;
    uint64_t bytes_in, bytes_out;
};
void exchange_refused(struct exchange_worker *, const struct refused_request *);

/* For handlers: the answer's head (and body, NULL for none) is there. Head and pipe live in the exchange's arena or handler state.
 * Runs the response filters from the run queue or at once; never call it twice. */
void exchange_answer(struct exchange *, struct response_head *, struct body_pipe *body);
/* For handlers, before they ask for an upgrade: a place among the worker's tunnels, given back with the exchange unless it became one.
 * False: all are taken. */
bool exchange_take_tunnel_place(struct exchange *) MUST_USE;
/* For handlers: the call was answered with 101 and the client is to get that. Response filters see the head; then the tunnel is opened. */
void exchange_answer_upgraded(struct exchange *, struct response_head *, struct upstream_call *);
/* For the proxy: the request is as the service will get it, and is sent next; filters that look on are told. */
void exchange_request_ready(struct exchange *, struct slice target);
/* For handlers: an interim head to pass on at once. */
void exchange_interim(struct exchange *, const struct response_head *);
/* For handlers: no answer can be had; a problem document with error->status is sent. */
void exchange_fail(struct exchange *, const struct error *);

/* For filters, before FILTER_RESPOND (and handlers, as their answer with exchange_answer_prepared): prepares the answer in
 * exchange->own_response with a fixed body, which must live as long as the exchange (its arena, the compiled configuration, static;
 * may be absent). Add headers to exchange->own_response.headers after. */
void exchange_respond(struct exchange *, unsigned status, struct slice content_type, struct slice body);
/* The same as problem+json by RFC 9457 with title, detail, requestId, and rule where given; to who asks in gRPC, as the status of gRPC that
 * this one of HTTP means. Also records the error for log and metrics under `reason` (static, kebab-case). */
void exchange_respond_problem(struct exchange *, unsigned status, const char *reason, struct slice rule,
                              const char *format, ...) PRINTF_LIKE(5, 6);
/* Handlers: send what exchange_respond* prepared. */
void exchange_answer_prepared(struct exchange *);

/* For filters of the request's side: under this name a policy speaks to the service, or nobody is to. The body's trailers then don't speak under
 * it, also spelled with '_' for '-' (http/our_names.h). The text must live as long as the exchange. False: memory is short. */
bool exchange_guard_name(struct exchange *, struct slice name, bool is_beginning) MUST_USE;
bool exchange_guards(const struct exchange *, struct slice name);

/* Does no client get a field of that name from an answer that somebody else wrote: a service, or who decides? Those of one hop aside. */
bool exchange_hides(const struct exchange *, struct slice name);
/* Takes them off such an answer's head or trailers, and those of one hop. */
void exchange_hide_fields(const struct exchange *, struct headers *);

/* Registers the wait; the filter then returns FILTER_WAIT, a handler returns and is called again by `resume`. deadline_ms is loop time; the
 * exchange's own deadline (route's timeoutMs from the head on) bounds it. At the deadline the filter (handler) is called again with
 * WAIT_DEADLINE (after wait->cancel was called). */
void exchange_wait(struct exchange *, struct exchange_wait *, void (*cancel)(struct exchange_wait *),
                   uint64_t deadline_ms);
/* The same worker's thread: the filter is called again from the run queue. */
void exchange_resume(struct exchange_wait *);
/* For completion from another thread. False: no slot free (treat as failure). */
bool exchange_wait_ticket(struct exchange_wait *, struct wait_ticket *) MUST_USE;
/* Any thread; allocates a message; a stale ticket is dropped where it arrives. */
void exchange_resume_from_thread(const struct wait_ticket *);
/* In the call after a wait. */
static inline enum wait_outcome exchange_wait_outcome(const struct exchange *exchange)
{
    return exchange->wait_outcome;
}

/* What the filter's worker_start kept on this worker. */
static inline void *exchange_kept(const struct exchange *exchange, const struct filter *filter)
{
    return exchange_worker_kept(exchange->worker, filter);
}

/* A service that the chain or the handler of the exchange's route named when it was compiled (filter_compile.service). Valid until the
 * answer's head goes out; whoever needs it longer retains it (service_retain, snapshot_service_drop). */
struct service *exchange_service(const struct exchange *, uint32_t index);

/* Renders with the exchange's captures and variables; absent when memory is short. */
struct slice exchange_render(const struct exchange *, const struct template *);
/* The same of what becomes a header's value. False: memory is short, or the client has sent what would break the field (400 that names `rule`, the
 * policy's or handler's name, and the field); the answer is prepared. A break that comes from elsewhere is refused where the head is written. */
bool exchange_render_field(struct exchange *, const struct template *, struct slice rule, struct slice name,
                           struct slice *value) MUST_USE;
/* The loop time by which the exchange's response head must be there. */
uint64_t exchange_deadline_ms(const struct exchange *);

#endif
