/* master/: the supervisor process: small, reads no configuration, opens no connection.
 *
 * It owns the listening sockets (SO_REUSEPORT, one a worker, fixed for an address's life), runs the gateway as a child that it
 * executes anew from its own binary, restarts it at once when it dies or its heartbeat stops (backing off in a crash loop), answers
 * `sluice reload|status` on a control socket, and passes SIGTERM (drain), SIGHUP (reload), SIGUSR1 (reopen logs) on.
 * Its state lives in one struct on one event loop. */
#ifndef SLUICE_MASTER_MASTER_H
#define SLUICE_MASTER_MASTER_H

#include "base/error.h"

struct master_options {
    const char *config_path; /* absolute; NULL in proxy mode */
    const char *proxy_listen, *proxy_to;
    const char *control_path; /* NULL: sluice.sock in the state directory */
};

/* Runs until told to stop; exit status. */
int master_run(const struct master_options *);

/* The other end: sends one command ("reload", "status") and prints the answer; exit status 0 done, 1 failed or nobody
 * there. */
int control_command(const char *control_path_or_null, const char *command);
/* $STATE_DIRECTORY, else $XDG_STATE_HOME/sluice, else ~/.local/state/sluice; made where absent. Free the result; NULL and *error. */
char *state_directory(struct error *);

#endif
