/* gateway/private.h: the control thread's state, one struct on one loop, and what its files share:
 * gateway.c (up, messages, down), reload.c (sockets and configuration), watch.c (host names, heartbeat, figures). */
#ifndef SLUICE_GATEWAY_PRIVATE_H
#define SLUICE_GATEWAY_PRIVATE_H

#include "base/vector.h"
#include "gateway/admin_view.h"
#include "gateway/admin_worker.h"
#include "gateway/certificate_watch.h"
#include "gateway/gateway.h"
#include "gateway/publisher.h"
#include "resolve/resolver.h"

/* A worker's sign of life, as last seen. */
struct sign_of_life {
    uint64_t turns;
    uint64_t changed_ms;
    uint64_t condemned_ms; /* 0: not yet */
};

/* A host name whose addresses are watched. */
struct watched_name {
    struct list_link link;
    struct gateway *gateway;
    char *host;
    struct resolver_watch *watch;
};

/* A new address's sockets, until the configuration that wants them is in force: at least one for each who is to listen. */
struct fresh_sockets {
    struct address address;
    int *descriptors;
    uint32_t count;
};

/* read and prepare (log, user) -> sockets of new addresses -> apply; a failure anywhere leaves all as it was, and taking over after that
 * does nothing that can fail. */
struct reload {
    bool running;
    uint64_t command;                 /* to be answered; 0: by SIGHUP, nobody waits */
    struct facts *facts;              /* of what was read; NULL: not yet */
    struct resolver_change *resolver; /* where its settings differ; NULL: they don't */
    struct vector sockets;            /* struct fresh_sockets */
};

/* Whoever yields takes no orders any more. Those under way are waited for, and a store may hang: not on the control thread. */
struct stop_changes {
    struct job job;
    pthread_mutex_t lock;
    struct changes *changes; /* NULL: there are none to be stopped (any more) */
};

struct gateway {
    const struct gateway_options *options;
    struct loop loop;
    struct mailbox mailbox;
    struct event_source link;
    struct timer beat, drain_limit, tunnel_limit, last_limit;
    struct timer patience; /* idle connections of a gateway that yields */
    struct facts *facts;
    struct publisher *publisher;
    struct jobs *jobs;
    struct access_log *access_log;
    struct resolver *resolver;
    struct list_link names;
    struct address_limits addresses;
    struct ticket_ring ticket_ring;
    struct timer ticket_renewal;
    struct certificate_watch certificates;
    struct worker **workers;
    unsigned worker_count; /* for the process's life; facts come and go while the admin thread sums figures */
    struct sign_of_life *signs;
    struct health_worker *checker; /* NULL: not made yet */
    struct admin_worker *admin;
    struct admin_view admin_view;
    struct stop_changes stop_changes;
    struct metrics_source figures, check_figures, limit_figures;
    uint64_t begun_ms, beat_ms; /* beat_ms: of the last look at the workers */
    unsigned sockets_pending;   /* LISTEN messages without an answer */
    struct vector passed;       /* struct address: sockets that a service manager goes on with after us */
    char *socket_failure;       /* of the start or the reload under way; NULL: none */
    struct reload reload;
    struct vector commands;       /* uint64_t: reloads that wait for the one under way */
    _Atomic bool ready, draining; /* these and `yielding` are written by the control thread alone */
    _Atomic bool yielding;        /* another gateway serves; what is left here is finished */
    bool listening_ended;         /* Sluice stops, no gateway follows: the sockets go */
    bool going_down;              /* parts are being freed: mail of a reload comes too late */
    unsigned workers_draining;
    int exit_status;
};

/* gateway.c */
/* False: the master is gone or does not read. */
bool control_send(struct gateway *, enum supervision_kind, uint64_t number, const char *text);
void control_give_up(struct gateway *, const char *why);
/* How long the master waits for a beat, and for the end once it was told to end. */
void control_tell_bounds(struct gateway *);
/* The text of the configuration in force goes to the master, so that a gateway that follows a crash can serve it whatever has become of
 * the file. */
void control_hand_good_text_on(struct gateway *);
/* The keys of tickets too, so that a gateway that follows, by an upgrade or a crash, resumes the sessions of this one. */
void control_hand_ticket_keys_on(struct gateway *);

/* Who is let into the admin API from now on. */
void control_take_admin_settings(struct gateway *, struct facts *);

struct resolver_settings control_resolver_settings(const struct facts *);

/* reload.c */
void control_ask_for_all_sockets(struct gateway *);
/* LISTENING or REFUSED came; takes the sockets over. */
void control_sockets_answered(struct gateway *, struct supervision_message *);
/* Before the workers drain: no gateway follows this one, so the listeners' sockets are given up, the master's too. */
void control_end_listening(struct gateway *);
/* The gateway that follows does not listen on this address: its queue is emptied, then the master may close it. */
void control_give_up_address(struct gateway *, const char *text);
void control_order_reload(struct gateway *, uint64_t command);
void control_forget_reload(struct gateway *); /* at the end: what one under way still holds */
void control_reload_read(void *owner, struct facts *, const char *failure);
void control_reload_applied(void *owner, const char *failure);

/* watch.c */
void control_name_used(void *owner, struct slice host, bool in_use);
void control_forget_names(struct gateway *);
/* `others`: how many other gateways drain, as digits. */
void control_answer_status(struct gateway *, uint64_t command, const char *others);
void control_sum_figures(const struct gateway *, struct worker_figures *);
int64_t control_open_tunnels(const struct gateway *); /* of all workers */
void control_write_figures(struct metrics_text *, void *argument);
bool control_write_checks(struct metrics_text *, void *argument, uint64_t *place);
bool control_write_limits(struct metrics_text *, void *argument, uint64_t *place);
/* The beat timer's. */
void control_beat(struct timer *);

#endif
