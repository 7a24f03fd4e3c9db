/* cli/cli.c: which command, with which options; usage where they don't fit. */
#include "cli/cli.h"

#include "base/memory.h"
#include "cli/private.h"
#include "config/config.h"
#include "gateway/gateway.h"
#include "master/master.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* Bits of what a command takes. */
enum {
    TAKES_CONFIG = 1,
    TAKES_CONTROL = 2,
    TAKES_PROXY = 4,
    TAKES_LINK = 8,
    TAKES_FILE = 16,
    TAKES_HANDOVER = 32,
    TAKES_TIMEOUT = 64,
};

struct command {
    const char *name;
    unsigned takes, needs;
    const char *usage, *summary; /* summary NULL: internal, not shown */
    int (*run)(const struct command_line *, const struct registries *);
};

/* 2, after having said what does not fit. */
static int refuse(const struct command *, const char *format, const char *subject);

/* --- commands --- */

/* The gateway may be started anew from any folder, so the path is made absolute once. */
static int command_run(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    char absolute[PATH_MAX];
    if (!realpath(line->config, absolute)) {
        int number = errno;
        const char *hint = configuration_read_hint(number);
        fprintf(stderr, hint ? "%s: cannot be read: %s (%s)\n" : "%s: cannot be read: %s\n", line->config,
                error_from_errno(number), hint);
        return 1;
    }
    return master_run(&(struct master_options){
        .program = line->program,
        .config_path = absolute,
        .control_path = line->control,
        .handover = -1,
    });
}

static int command_proxy(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    return master_run(&(struct master_options){
        .program = line->program,
        .proxy_listen = line->listen,
        .proxy_to = line->to,
        .control_path = line->control,
        .handover = -1,
    });
}

/* The master writes them; anything else is no descriptor. */
static int descriptor_of(const char *text)
{
    uint64_t number;
    return slice_parse_uint64(slice_from_cstring(text), &number) && number <= INT_MAX ? (int)number : -1;
}

/* The file may have gone since the first master made its path absolute: that is the next gateway's matter. */
static int command_master(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    int handover = descriptor_of(line->handover);
    if (handover < 0) return refuse(NULL, "--handover %s: no descriptor", line->handover);
    return master_run(&(struct master_options){
        .program = line->program,
        .config_path = line->config,
        .proxy_listen = line->listen,
        .proxy_to = line->to,
        .control_path = line->control,
        .handover = handover,
    });
}

static int command_handover_check(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    master_check_handover(descriptor_of(line->handover));
}

static int command_gateway(const struct command_line *line, const struct registries *registries)
{
    struct gateway_options options = {
        .config_path = line->config,
        .proxy_listen = line->listen,
        .proxy_to = line->to,
        .link = descriptor_of(line->link),
        .fallback = line->fallback ? descriptor_of(line->fallback) : -1,
        .log = line->log ? descriptor_of(line->log) : -1,
        .registry = registries->policies,
        .admin_registry = registries->admin,
    };
    return gateway_run(&options);
}

static int command_reload(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    return control_command(line->control, "reload", CONTROL_ANSWER_SECONDS);
}

static int command_status(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    return control_command(line->control, "status", CONTROL_ANSWER_SECONDS);
}

static int command_upgrade(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    uint64_t timeout_s = UPGRADE_SECONDS;
    if (line->timeout && (!slice_parse_uint64(slice_from_cstring(line->timeout), &timeout_s) || timeout_s == 0 ||
                          timeout_s > UPGRADE_SECONDS_MAX))
        return refuse(NULL, "--timeout %s: not a number of seconds from 1 to 3600", line->timeout);
    char *command = memory_format("upgrade %llu", (unsigned long long)timeout_s);
    int status = control_command(line->control, command, (unsigned)timeout_s + CONTROL_ANSWER_SECONDS);
    free(command);
    return status;
}

static int command_version(const struct command_line *line, const struct registries *registries)
{
    (void)line;
    (void)registries;
    printf("sluice %s\n", SLUICE_VERSION);
    return 0;
}

static int command_help(const struct command_line *, const struct registries *);

static const struct command commands[] = {
    { "run", TAKES_CONFIG | TAKES_CONTROL, TAKES_CONFIG, "run --config FILE [--control PATH]",
      "serve what the file says", command_run },
    { "proxy", TAKES_PROXY | TAKES_CONTROL, TAKES_PROXY,
      "proxy --listen ADDRESS --to ADDRESS[,ADDRESS...] [--control PATH]",
      "balance everything over these instances, without a file", command_proxy },
    { "check", TAKES_FILE, TAKES_FILE, "check FILE", "say what is wrong with a configuration", command_check },
    { "reload", TAKES_CONTROL, 0, "reload [--control PATH]", "let a running Sluice read its file again",
      command_reload },
    { "status", TAKES_CONTROL, 0, "status [--control PATH]", "ask a running Sluice how it is, as JSON",
      command_status },
    { "upgrade", TAKES_CONTROL | TAKES_TIMEOUT, 0, "upgrade [--control PATH] [--timeout SECONDS]",
      "let a running Sluice go on as the program that is installed now, without losing a request", command_upgrade },
    { "docs", TAKES_FILE, TAKES_FILE, "docs TABLE", "print a table of configuration fields as Markdown", command_docs },
    { "version", 0, 0, "version", "print the version", command_version },
    { "help", 0, 0, "help", "print this", command_help },
    { "gateway", TAKES_LINK | TAKES_CONFIG | TAKES_PROXY, TAKES_LINK, "gateway --link N", NULL, command_gateway },
    { "master", TAKES_HANDOVER | TAKES_CONFIG | TAKES_PROXY | TAKES_CONTROL, TAKES_HANDOVER, "master --handover N",
      NULL, command_master },
    { "handover-check", TAKES_HANDOVER, TAKES_HANDOVER, "handover-check --handover N", NULL, command_handover_check },
};

/* --- usage --- */

static void print_usage(FILE *to)
{
    fprintf(to, "usage: sluice COMMAND\n\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (commands[i].summary) fprintf(to, "  sluice %s\n      %s\n", commands[i].usage, commands[i].summary);
    }
    fprintf(
        to,
        "\nExit status: 0 done, 1 it failed, 2 it was called wrongly. Signals while running: TERM and INT finish requests in\n"
        "flight and stop, HUP reloads, USR1 reopens the access log, USR2 upgrades.\n");
}

static int command_help(const struct command_line *line, const struct registries *registries)
{
    (void)line;
    (void)registries;
    print_usage(stdout);
    return 0;
}

static int refuse(const struct command *command, const char *format, const char *subject)
{
    fprintf(stderr, "sluice: ");
    fprintf(stderr, format, subject);
    if (command) {
        fprintf(stderr, "\nusage: sluice %s\n", command->usage);
    } else {
        fprintf(stderr, "\n\n");
        print_usage(stderr);
    }
    return 2;
}

/* --- options --- */

static const char **find_option(struct command_line *line, const char *name, unsigned takes)
{
    if (takes & TAKES_CONFIG && strcmp(name, "--config") == 0) return &line->config;
    if (takes & TAKES_CONTROL && strcmp(name, "--control") == 0) return &line->control;
    if (takes & TAKES_PROXY && strcmp(name, "--listen") == 0) return &line->listen;
    if (takes & TAKES_PROXY && strcmp(name, "--to") == 0) return &line->to;
    if (takes & TAKES_LINK && strcmp(name, "--link") == 0) return &line->link;
    if (takes & TAKES_LINK && strcmp(name, "--fallback") == 0) return &line->fallback;
    if (takes & TAKES_LINK && strcmp(name, "--log") == 0) return &line->log;
    if (takes & TAKES_HANDOVER && strcmp(name, "--handover") == 0) return &line->handover;
    if (takes & TAKES_TIMEOUT && strcmp(name, "--timeout") == 0) return &line->timeout;
    return NULL;
}

/* 0, or 2 after having said what does not fit. Options are `--name value` or `--name=value`. */
static int read_options(const struct command *command, int count, char **words, struct command_line *line)
{
    for (int i = 0; i < count; i++) {
        if (strncmp(words[i], "--", 2) != 0) {
            if (!(command->takes & TAKES_FILE) || line->file)
                return refuse(command,
                              command->takes & TAKES_CONFIG ? "\"%s\" is one word too many: a file is named by --config"
                                                            : "\"%s\" is one word too many",
                              words[i]);
            line->file = words[i];
            continue;
        }
        char *equals = strchr(words[i], '=');
        char *name = equals ? memory_copy_slice(slice_of(words[i], (size_t)(equals - words[i])))
                            : memory_copy_slice(slice_from_cstring(words[i]));
        const char **option = find_option(line, name, command->takes);
        free(name);
        if (!option) return refuse(command, "unknown option %s", words[i]);
        if (*option) return refuse(command, "option %s is given twice", words[i]);
        if (!equals && i + 1 == count) return refuse(command, "option %s needs a value", words[i]);
        *option = equals ? equals + 1 : words[++i];
    }
    return 0;
}

static int check_needs(const struct command *command, const struct command_line *line)
{
    if (command->needs & TAKES_CONFIG && !line->config) return refuse(command, "%s is missing", "--config FILE");
    if (command->needs & TAKES_PROXY && !line->listen) return refuse(command, "%s is missing", "--listen ADDRESS");
    if (command->needs & TAKES_PROXY && !line->to) return refuse(command, "%s is missing", "--to ADDRESS,...");
    if (command->needs & TAKES_FILE && !line->file)
        return refuse(command, "%s is missing", strrchr(command->usage, ' ') + 1);
    if (command->needs & TAKES_LINK && !line->link) return refuse(command, "%s is missing", "--link");
    if (command->needs & TAKES_HANDOVER && !line->handover) return refuse(command, "%s is missing", "--handover");
    return 0;
}

static int refuse_command(const char *name)
{
    const char *names[COUNT_OF(commands)];
    size_t known = 0;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (commands[i].summary) names[known++] = commands[i].name;
    }
    const char *nearest = problems_nearest(slice_from_cstring(name), names, known);
    if (!nearest) return refuse(NULL, "unknown command \"%s\"", name);
    char *words = memory_format("unknown command \"%s\" (did you mean \"%s\"?)", name, nearest);
    int status = refuse(NULL, "%s", words);
    free(words);
    return status;
}

int cli_main(int count, char **arguments, const struct policy_registry *policies, const struct policy_registry *admin)
{
    struct command_line line = { .program = arguments[0] };
    struct registries registries = { policies, admin };
    if (count < 2) return refuse(NULL, "%s", "no command given");
    const char *name = arguments[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        int refused = read_options(&commands[i], count - 2, arguments + 2, &line);
        if (!refused) refused = check_needs(&commands[i], &line);
        return refused ? refused : commands[i].run(&line, &registries);
    }
    return refuse_command(name);
}
