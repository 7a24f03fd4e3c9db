/* master/private.h: the master's state, one struct on one loop, and what its files share:
 * master.c (life, signals), child.c (gateways: started, watched, buried), sockets.c, control.c (commands), upgrade.c (the steps of an
 * upgrade), handover.c (the state that a new binary takes over), program.c (which file is executed), service_manager.c (systemd). */
#ifndef SLUICE_MASTER_PRIVATE_H
#define SLUICE_MASTER_PRIVATE_H

#include "event/event.h"
#include "gateway/supervision.h"
#include "master/master.h"

#include <sys/types.h>
#include <sys/un.h>

#define CHILDREN_MAX 64 /* a bit each in held_address.users */

/* A configured address and its sockets, kept over every gateway's life. */
struct held_address {
    struct list_link link;
    char *text;
    int sockets[SUPERVISION_DESCRIPTORS_MAX];
    uint32_t count;
    uint64_t users;  /* the gateways that asked for it, a bit each; when none is left it is closed */
    bool is_leaving; /* one that gives it up empties its queues; nobody else can have it meanwhile */
    bool is_passed;  /* the service manager has it too, and before us and after us */
};

enum child_role {
    CHILD_SERVES,   /* commands go to it; another one is started when it ends */
    CHILD_NEWCOMER, /* of an upgrade: to serve, once it is ready */
    CHILD_YIELDS,   /* another one serves: it finishes what it has, and ends */
};

/* A gateway process, from fork to waitpid. */
struct child {
    struct list_link siblings; /* master->children */
    struct retired retired;
    struct master *master;
    enum child_role role;
    pid_t pid;
    struct event_source link;
    uint64_t bit;     /* its own in held_address.users */
    uint64_t inherit; /* those of the ones that died before it, whose sockets are kept until it has asked for its own */
    bool ready;
    bool condemned; /* it was told to die and has a moment to do so */
    uint64_t started_ms, last_beat_ms, condemned_ms;
    uint64_t start_bound_ms, beat_bound_ms, drain_bound_ms;
    uint64_t end_by_ms; /* it was told to end, and is ended then; 0: it was not */
    int good_text;      /* the configuration text that was good last; -1: none */
};

/* Who started us, and wants to know how we are. */
struct service_manager {
    int descriptor; /* -1: nobody does */
    struct sockaddr_un address;
    socklen_t address_length;
    struct timer watchdog;
    uint64_t watchdog_ms; /* between two signs of life */
    uint64_t reload;      /* the command that it was told of and that is not answered yet; 0: none */
};

/* The upgrade under way. */
struct upgrade {
    enum { UPGRADE_NONE, UPGRADE_TRIES, UPGRADE_STARTS } step;
    uint64_t command;       /* to be answered; 0: SIGUSR2, nobody waits */
    uint64_t timeout_ms;    /* for the trial, and again for the newcomer's start */
    bool reload_after;      /* SIGHUP came meanwhile */
    pid_t trial;            /* the new binary reads what will be handed over; 0: not now */
    struct timer limit;     /* the trial's */
    bool is_overdue;        /* the trial was ended for it */
    struct child *newcomer; /* STARTS */
    struct event_source words;
    char said[4096]; /* its last words on standard error */
    size_t said_length;
    struct task execute;
};

/* One who has connected to the control socket. */
struct control_client {
    struct list_link link; /* master->clients */
    struct event_source source;
    struct retired retired;
    struct master *master;
    uint64_t command; /* 0: it has not said one yet */
    pid_t asked;      /* the gateway that is to answer; 0: the master */
};

struct master {
    const struct master_options *options;
    char *program; /* the file that an upgrade executes, absolute */
    struct loop loop;
    struct event_source signals;
    struct list_link children;
    struct child *serving; /* NULL: none runs right now */
    struct list_link addresses;
    struct timer watch;   /* four times a second: heartbeat */
    struct timer restart; /* backing off */
    uint64_t watched_ms;  /* of the last look */
    int good_text;        /* of the serving gateway, kept for the one after it; -1: none */
    int ticket_keys;      /* the same for them */
    uint64_t dead;        /* bits of serving gateways that died and have no follower yet */
    unsigned crashes_in_a_row;
    bool ever_ready, stopping;
    int exit_status;
    struct upgrade upgrade;
    struct service_manager service_manager;
    /* control.c */
    struct event_source control;
    char *control_path;
    struct list_link clients;
    uint64_t commands; /* numbers given */
};

/* master.c */
void master_init(struct master *, const struct master_options *);

/* child.c */
/* A gateway that is to serve, from this very binary. */
bool child_start(struct master *);
/* One of an upgrade, from the file at `program`, which says on `words` what it has to say until it serves. NULL and *error. The
 * master's caller ends it when it is not ready within the bound. */
struct child *child_start_newcomer(struct master *, int words, uint64_t start_bound_ms, struct error *);
/* SIGCHLD came: what to do about it. */
void child_reap(struct master *);
void child_watch(struct master *);
/* The newcomer serves from now on, and the one before it yields. */
void child_promote(struct child *newcomer);
/* No more of it is wanted. */
void child_kill(struct child *);
/* The serving one is told to read the configuration again; nobody waits for its answer. */
void child_reload(struct master *);
/* It is told to end, and has its drain bound to do so. */
void child_drain(struct child *);
/* The record of a gateway: no process, no link yet. NULL: there are CHILDREN_MAX. */
struct child *child_create(struct master *, enum child_role);
void child_destroy(struct child *);
/* Watches the links of gateways that another binary started. */
bool child_adopt_all(struct master *, struct error *);
/* The master has it in hand: it runs, or is being ended and will be replaced in a moment. NULL: the next one is to come. */
bool child_is_in_order(const struct child *);
/* The longest that those who drain may take. */
uint64_t child_drain_bound_ms(const struct master *);
/* Those that yield. */
unsigned child_count_yielding(const struct master *);
/* How long to wait after a crash: not at all after the first; a gateway that keeps crashing young is started less and less often. */
uint64_t child_back_off_ms(unsigned *crashes_in_a_row, uint64_t lived_ms);
/* False: it is gone (or NULL) or does not read. */
bool child_send(struct child *, enum supervision_kind, uint64_t number, const char *text, const int *descriptors,
                uint32_t count);

/* sockets.c */
/* The sockets of an address, made where it is new, for the gateway with that bit. NULL and *error. */
struct held_address *sockets_get(struct master *, uint64_t user, const char *text, uint32_t count, struct error *);
/* That gateway (or those) does not listen there any more. Without users an address is closed. */
void sockets_leave(struct master *, uint64_t users, const char *text);
void sockets_leave_all(struct master *, uint64_t users);
void sockets_close_all(struct master *);
/* "127.0.0.1:8080, 127.0.0.1:9080": those of that gateway; what has no room becomes "...". */
void sockets_write(const struct master *, uint64_t user, char *into, size_t size);
#define SOCKETS_PASSED_MAX 1024
/* A listening socket that the service manager has made. It is never closed: whoever else has it would have to make it anew. */
void sockets_add_passed(struct master *, int descriptor, const struct address *);
/* Whoever connects to a passed socket that no gateway listens on waits for ever: the operator hears of it. */
void sockets_warn_of_unused(const struct master *);

/* control.c */
void control_init(struct master *);
bool control_open(struct master *, struct error *);
void control_close(struct master *);
/* Watches the control socket and the connections of those who wait for an answer, which another binary opened. */
bool control_adopt(struct master *, struct error *);
struct control_client *control_create_client(struct master *);
/* The answer to a command; 0, or of a client that has gone: nobody hears it. */
void control_answer(struct master *, uint64_t command, const char *text);
/* That gateway will not answer any more: whoever waits for it hears why. */
void control_answer_for(struct master *, pid_t asked, const char *text);
/* upgrade.c */
void upgrade_init(struct upgrade *);
/* The answer comes by control_answer. */
void upgrade_begin(struct master *, uint64_t command, uint64_t timeout_ms);
static inline bool upgrade_is_under_way(const struct master *master) { return master->upgrade.step != UPGRADE_NONE; }
/* Sluice stops. */
void upgrade_abandon(struct master *);
/* What became of its processes, by waitpid's status; overdue: it was ended because its time had passed. */
void upgrade_trial_ended(struct master *, int status);
void upgrade_newcomer_ended(struct master *, int status, bool was_overdue);
void upgrade_newcomer_is_ready(struct master *);
/* After the new binary has taken over. */
void upgrade_done(struct master *, uint64_t command);

/* service_manager.c */
void service_manager_init(struct service_manager *);
void service_manager_begin(struct master *);
void service_manager_end(struct master *);
/* What it passed joins the held addresses. */
void service_manager_take_sockets(struct master *);
void service_manager_serving(struct master *);
void service_manager_not_serving(struct master *, const char *why);
void service_manager_reloading(struct master *, uint64_t command);
void service_manager_answered(struct master *, uint64_t command);
void service_manager_stopping(struct master *, uint64_t within_ms);

/* handover.c */
/* The state of a running master as a text in memory, for the binary that takes its place; -1 and *error otherwise. `command` is
 * answered by it. The descriptors that it names are the master's. */
int handover_write(const struct master *, uint64_t command, struct error *);
/* Fills a master that master_init() made; nothing is watched yet. False and *error where the text does not hold what it must. Fields and
 * lines that this version doesn't know are passed over. */
bool handover_read(int text, struct master *, uint64_t *command, struct error *) MUST_USE;
/* What the new binary is to inherit survives its execution, or again does not. */
void handover_keep_descriptors(const struct master *, bool kept);

/* program.c */
/* The file that this process was started from, as it was named: an upgrade finds the new one there. The caller's. */
char *program_find(const char *name);

#endif
