/* cli/: the command line: usage, options, exit codes: 0 done, 1 it failed (and said why), 2 it was called wrongly. */
#ifndef SLUICE_CLI_CLI_H
#define SLUICE_CLI_CLI_H

#include "chain/chain.h"

/* What main() is made of; a test build hands in a registry with its own filters. */
int cli_main(int count, char **arguments, const struct policy_registry *, const struct policy_registry *admin_registry);

#endif
