/* cli/private.h: options of one command line, and the commands. */
#ifndef SLUICE_CLI_PRIVATE_H
#define SLUICE_CLI_PRIVATE_H

#include "cli/cli.h"
#include "config/config.h"

/* What may follow a command; NULL where it was not given. */
struct command_line {
    const char *program; /* argv[0] */
    const char *config, *control, *listen, *to, *access_log, *link, *fallback, *log, *handover, *timeout;
    const char *admin, *store, *tag, *if_match, *overlap, *role, *comment;
    const char *request, *route, *claims, *auth, *client_ip, *status;
    bool json, cascade, replace, dry_run, with_secrets, test, explain;
    const char *file; /* the one word that is no option */
    char **words;     /* of commands that take several: all of them */
    unsigned word_count;
};

/* A command of the table in cli.c, as completion and the manual page show it. */
struct command_line_entry {
    const char *name, *usage, *summary; /* summary NULL: internal */
};
/* NULL: there are no more. */
const struct command_line_entry *cli_entry(size_t index);
/* An option of all kinds of resources: "--tag TAG". */
struct cli_option_entry {
    const char *option, *summary;
};
/* NULL: there are no more. */
const struct cli_option_entry *cli_resource_option(size_t index);

struct registries {
    const struct policy_registry *policies, *admin;
};

/* A path that counts from the folder where the command was given: gateways may be started anew from any. It is not looked for. The caller's. */
char *cli_absolute_path(const char *path);
/* state_directory(), and where it can't be had that was said (run.c). */
char *cli_state_directory(void);
int command_run(const struct command_line *, const struct registries *);
int command_check(const struct command_line *, const struct registries *);
/* check_tests.c. Takes the second configuration over; the tests are of the first, for the second is gone once it is compiled. The exit status. */
int check_run_tests(const struct command_line *, const struct configuration *with_tests, struct configuration *,
                    const struct registries *, struct problems *);
int command_docs(const struct command_line *, const struct registries *);
int command_expr(const struct command_line *, const struct registries *);
void expression_variables_write_markdown(FILE *);
void expression_functions_write_markdown(FILE *);
/* revisions.c */
int command_revisions(const struct command_line *, const struct registries *);
int command_rollback(const struct command_line *, const struct registries *);
/* resources.c: what every change takes: "?dryRun=true&comment=..."; "" where nothing was said. The caller's. */
char *cli_change_query(const struct command_line *);
/* `sluice routes list`: the first word is the command's own name. */
int command_resources(const struct command_line *, const struct registries *);
/* stores.c */
int command_import(const struct command_line *, const struct registries *);
int command_diff(const struct command_line *, const struct registries *);
int command_export(const struct command_line *, const struct registries *);
int command_migrate(const struct command_line *, const struct registries *);
/* token.c */
int command_token(const struct command_line *, const struct registries *);
/* completion.c */
int command_completion(const struct command_line *, const struct registries *);
/* `sluice docs manual`: the manual page, in roff. */
void manual_write(FILE *);

#endif
