/* master/private.h: the master's state, one struct on one loop, and what its files share. */
#ifndef SLUICE_MASTER_PRIVATE_H
#define SLUICE_MASTER_PRIVATE_H

#include "event/event.h"
#include "gateway/supervision.h"
#include "master/master.h"

#include <sys/types.h>

/* A configured address and its sockets, kept over every gateway's life. */
struct held_address {
    struct list_link link;
    char *text;
    int sockets[SUPERVISION_DESCRIPTORS_MAX];
    uint32_t count;
};

/* The gateway process. pid 0: none runs. */
struct child {
    pid_t pid;
    struct event_source link;
    bool ready;
    bool condemned;                                              /* it was told to die and has a moment to do so */
    uint64_t started_ms, last_beat_ms, condemned_ms, watched_ms; /* watched_ms: of the last look */
    uint64_t beat_bound_ms;
};

struct master {
    const struct master_options *options;
    struct loop loop;
    struct event_source signals;
    struct child child;
    struct list_link addresses;
    struct timer watch;   /* four times a second: heartbeat */
    struct timer restart; /* backing off */
    int good_text;        /* the configuration text that was good last; -1: none */
    unsigned crashes_in_a_row;
    bool ever_ready, stopping;
    int exit_status;
    /* control.c */
    struct event_source control;
    char *control_path;
    struct list_link clients;
    uint64_t commands; /* numbers given */
};

/* child.c */
bool child_start(struct master *);
/* SIGCHLD came: what to do about it. */
void child_reap(struct master *);
void child_watch(struct master *);
/* How long to wait after a crash: not at all after the first; a gateway that keeps crashing young is started less and less often. */
uint64_t child_back_off_ms(unsigned *crashes_in_a_row, uint64_t lived_ms);
bool child_send(struct master *, enum supervision_kind, uint64_t number, const char *text, const int *descriptors,
                uint32_t count);

/* sockets.c */
/* The sockets of an address, made where it is new. NULL and *error. */
struct held_address *sockets_get(struct master *, const char *text, uint32_t count, struct error *);
void sockets_close(struct master *, const char *text);
void sockets_close_all(struct master *);

/* control.c */
bool control_open(struct master *, struct error *);
void control_close(struct master *);
/* The gateway's answer to a command. */
void control_answer(struct master *, uint64_t command, const char *text);
/* The gateway is gone: whoever still waits hears so. */
void control_answer_all(struct master *, const char *text);

#endif
