/* master/: the supervisor process: small, reads no configuration, opens no connection.
 *
 * It owns the listening sockets (SO_REUSEPORT, one a worker, fixed for an address's life), runs the gateway as a child that it
 * executes anew from its own binary, restarts it at once when it dies or its heartbeat stops (backing off in a crash loop), answers
 * `sluice reload|status|upgrade` on a control socket, and passes SIGTERM (drain), SIGHUP (reload), SIGUSR1 (reopen logs) on.
 * SIGUSR2 or `sluice upgrade`: a gateway of the binary that is installed now takes over, then the master executes that binary in its own
 * place. Its state lives in one struct on one event loop. */
#ifndef SLUICE_MASTER_MASTER_H
#define SLUICE_MASTER_MASTER_H

#include "base/error.h"

struct master_options {
    const char *program;                                    /* as it was called: argv[0] */
    const char *config_path;                                /* absolute; NULL in proxy mode */
    const char *proxy_listen, *proxy_to, *proxy_access_log; /* the last: an absolute path or "-"; NULL: none */
    const char *control_path;                               /* NULL: sluice.sock in the state directory */
    const char *greeting; /* said on standard output once the first gateway serves; NULL: nothing */
    int handover;         /* descriptor of the state of the master whose place this one takes; -1: it is the first */
};

/* Runs until told to stop; exit status. */
int master_run(const struct master_options *);

/* Ends the process: with 0 if this binary could take the place of the master whose state the descriptor holds. Changes nothing. */
_Noreturn void master_check_handover(int handover);

/* The other end: sends one command ("reload", "status", "upgrade [SECONDS]") and prints the answer, which it waits for; exit status 0 done,
 * 1 failed or nobody there. Without a path it is the state directory's socket, or else that of the installed service. */
#define CONTROL_ANSWER_SECONDS 120
#define UPGRADE_SECONDS 60 /* how long the new gateway may take to its start, where the command doesn't say */
#define UPGRADE_SECONDS_MAX 3600
int control_command(const char *control_path_or_null, const char *command, unsigned wait_s);
/* $STATE_DIRECTORY, else $XDG_STATE_HOME/sluice, else ~/.local/state/sluice; made where absent. Free the result; NULL and *error. */
char *state_directory(struct error *);

#endif
