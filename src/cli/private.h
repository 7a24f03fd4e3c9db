/* cli/private.h: options of one command line, and the commands. */
#ifndef SLUICE_CLI_PRIVATE_H
#define SLUICE_CLI_PRIVATE_H

#include "cli/cli.h"

/* What may follow a command; NULL where it was not given. */
struct command_line {
    const char *program; /* argv[0] */
    const char *config, *control, *listen, *to, *link, *fallback, *log, *handover, *timeout;
    const char *file; /* the one word that is no option */
};

struct registries {
    const struct policy_registry *policies, *admin;
};

int command_check(const struct command_line *, const struct registries *);
int command_docs(const struct command_line *, const struct registries *);

#endif
