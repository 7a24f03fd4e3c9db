/* cli/cli.c: which command, with which options; usage where they don't fit. */
#include "cli/cli.h"

#include "base/memory.h"
#include "base/nearest.h"
#include "cli/private.h"
#include "config/config.h"
#include "gateway/gateway.h"
#include "master/master.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* Bits of what a command takes. */
enum {
    TAKES_CONFIG = 1,
    TAKES_CONTROL = 2,
    TAKES_PROXY = 4,
    TAKES_LINK = 8,
    TAKES_FILE = 16,
    TAKES_HANDOVER = 32,
    TAKES_TIMEOUT = 64,
    TAKES_WORDS = 128, /* any number of words, the command's own name first */
    TAKES_ADMIN = 256, /* --admin, --json, --if-match */
    TAKES_STORE = 512, /* --store, --config, --json, --tag */
    TAKES_SECRETS = 1024,
    TAKES_DRY_RUN = 2048,
    TAKES_ROLE = 4096,
    TAKES_A_WORD = 8192, /* one word, or none */
    TAKES_REQUEST = 16384,
    TAKES_TEST = 32768,     /* --test, --explain, --json */
    TAKES_RESOURCE = 65536, /* --tag, --cascade, --replace, --overlap */
    TAKES_COMMENT = 131072,
};

struct command {
    struct command_line_entry entry;
    unsigned takes, needs;
    int (*run)(const struct command_line *, const struct registries *);
};

/* 2, after having said what does not fit. */
static int refuse(const struct command *, const char *format, const char *subject);

/* --- commands --- */

char *cli_absolute_path(const char *path)
{
    char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
    char *absolute = folder ? memory_format("%s/%s", folder, path) : memory_format("%s", path);
    free(folder);
    return absolute;
}

/* "-" stays: standard output. The caller's. */
static char *absolute_log(const char *path)
{
    if (!path) return NULL;
    return strcmp(path, "-") == 0 ? memory_format("-") : cli_absolute_path(path);
}

/* Before anything is begun: no other complaint stands before it. */
static bool addresses_are_good(const struct command_line *line, const struct registries *registries)
{
    struct problems problems;
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_for_proxy(line->listen, line->to, line->access_log, &kinds,
                                                                  &problems);
    char *text = problems_to_text(&problems);
    fputs(text, stderr);
    free(text);
    configuration_destroy(configuration);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return configuration != NULL;
}

static int command_proxy(const struct command_line *line, const struct registries *registries)
{
    if (line->access_log && line->access_log[0] == '\0')
        return refuse(NULL, "--access-log \"%s\": neither a file nor - (standard output)", line->access_log);
    if (!addresses_are_good(line, registries)) return 1;
    char *access_log = absolute_log(line->access_log);
    int status = master_run(&(struct master_options){
        .program = line->program,
        .proxy_listen = line->listen,
        .proxy_to = line->to,
        .proxy_access_log = access_log,
        .control_path = line->control,
        .handover = -1,
    });
    free(access_log);
    return status;
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
        .proxy_access_log = line->access_log,
        .control_path = line->control,
        .handover = handover,
    });
}

static int command_handover_check(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    master_check_handover(descriptor_of(line->handover));
}

/* Without a state directory no copies are kept there. */
static int command_gateway(const struct command_line *line, const struct registries *registries)
{
    struct error error;
    char *state = state_directory(&error);
    struct gateway_options options = {
        .state_directory = state,
        .config_path = line->config,
        .proxy_listen = line->listen,
        .proxy_to = line->to,
        .proxy_access_log = line->access_log,
        .link = descriptor_of(line->link),
        .fallback = line->fallback ? descriptor_of(line->fallback) : -1,
        .log = line->log ? descriptor_of(line->log) : -1,
        .registry = registries->policies,
        .admin_registry = registries->admin,
    };
    int status = gateway_run(&options);
    free(state);
    return status;
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

#define STORE_USAGE "[--store LOCATION] [--config FILE]"
#define RESOURCE_USAGE(name) name " list|get|create|update|delete [NAME] [FILE | field=value...]"
#define TAKES_OF_RESOURCES (TAKES_WORDS | TAKES_ADMIN | TAKES_RESOURCE | TAKES_DRY_RUN | TAKES_COMMENT)
/* A kind of resource: the word is its path in the admin API. */
#define RESOURCES(name, what)                                                          \
    {                                                                                  \
        { name, RESOURCE_USAGE(name), what }, TAKES_OF_RESOURCES, 0, command_resources \
    }

static const struct command commands[] = {
    { { "run", "run [--config FILE] [--control PATH]",
        "serve what the file says; without one, an embedded store, configured over the admin API" },
      TAKES_CONFIG | TAKES_CONTROL,
      0,
      command_run },
    { { "proxy", "proxy --listen ADDRESS --to ADDRESS[,ADDRESS...] [--access-log FILE|-] [--control PATH]",
        "balance everything over these instances, without a file" },
      TAKES_PROXY | TAKES_CONTROL,
      TAKES_PROXY,
      command_proxy },
    { { "check", "check FILE [--test [--explain] [--json]]",
        "say what is wrong with a configuration; with --test try its own tests, exit status 3 where one fails" },
      TAKES_FILE | TAKES_TEST,
      TAKES_FILE,
      command_check },
    { { "expr",
        "expr EXPRESSION [--request \"GET http://host/path\"] [-H \"Name: value\"]... [--route PATTERN] [--claims JSON] [--auth JSON] "
        "[--client-ip ADDRESS] [--status N]",
        "say what an expression results in for such a request" },
      TAKES_WORDS | TAKES_REQUEST,
      0,
      command_expr },
    { { "reload", "reload [--control PATH]", "let a running Sluice read its file again" },
      TAKES_CONTROL,
      0,
      command_reload },
    { { "status", "status [--control PATH]", "ask a running Sluice how it is, as JSON" },
      TAKES_CONTROL,
      0,
      command_status },
    { { "upgrade", "upgrade [--control PATH] [--timeout SECONDS]",
        "let a running Sluice go on as the program that is installed now, without losing a request" },
      TAKES_CONTROL | TAKES_TIMEOUT,
      0,
      command_upgrade },
    RESOURCES("services", "backends, over the admin API"),
    RESOURCES("routes", "which requests go where"),
    RESOURCES("plugins", "policies that several routes share"),
    RESOURCES("rate-limits", "rules of how much a caller may"),
    RESOURCES("roles", "what a role permits"),
    RESOURCES("certificates", "what TLS listeners show beside their files"),
    { { "api-keys", RESOURCE_USAGE("api-keys") ", api-keys rotate ID [--overlap SECONDS]", "keys of callers" },
      TAKES_OF_RESOURCES,
      0,
      command_resources },
    { { "revisions", "revisions [N] [--admin URL] [--json]",
        "who changed what, when; or one revision with its differences" },
      TAKES_WORDS | TAKES_ADMIN,
      0,
      command_revisions },
    { { "rollback", "rollback N [--dry-run] [--comment TEXT] [--admin URL] [--json]",
        "make everything but API keys as it was at a revision, as a new one" },
      TAKES_WORDS | TAKES_ADMIN | TAKES_DRY_RUN | TAKES_COMMENT,
      0,
      command_rollback },
    { { "import", "import FILE " STORE_USAGE " [--tag TAG] [--dry-run]",
        "make a store hold what a configuration file says, in one step; with a tag, that part alone" },
      TAKES_FILE | TAKES_STORE | TAKES_DRY_RUN,
      TAKES_FILE,
      command_import },
    { { "diff", "diff FILE " STORE_USAGE " [--tag TAG]",
        "say what an import would change; exit status 3 where it would" },
      TAKES_FILE | TAKES_STORE,
      TAKES_FILE,
      command_diff },
    { { "export", "export " STORE_USAGE " [--json] [--with-secrets]", "print what a store holds, ready for an import" },
      TAKES_STORE | TAKES_SECRETS,
      0,
      command_export },
    { { "migrate", "migrate " STORE_USAGE, "bring a store's tables up to this version (a start does so too)" },
      TAKES_STORE,
      0,
      command_migrate },
    { { "token", "token [NAME] [--role admin|read-only]",
        "make a token for the admin API, and its hash for the configuration" },
      TAKES_A_WORD | TAKES_ROLE,
      0,
      command_token },
    { { "completion", "completion bash|zsh", "print a script that completes commands in that shell" },
      TAKES_FILE,
      TAKES_FILE,
      command_completion },
    { { "docs", "docs TABLE", "print a table of configuration fields as Markdown" },
      TAKES_FILE,
      TAKES_FILE,
      command_docs },
    { { "version", "version", "print the version" }, 0, 0, command_version },
    { { "help", "help [COMMAND]", "list the commands, or explain one" }, TAKES_A_WORD, 0, command_help },
    { { "gateway", "gateway --link N", NULL }, TAKES_LINK | TAKES_CONFIG | TAKES_PROXY, TAKES_LINK, command_gateway },
    { { "master", "master --handover N", NULL },
      TAKES_HANDOVER | TAKES_CONFIG | TAKES_PROXY | TAKES_CONTROL,
      TAKES_HANDOVER,
      command_master },
    { { "handover-check", "handover-check --handover N", NULL },
      TAKES_HANDOVER,
      TAKES_HANDOVER,
      command_handover_check },
};

const struct command_line_entry *cli_entry(size_t index)
{
    return index < COUNT_OF(commands) ? &commands[index].entry : NULL;
}

/* --- usage --- */

static void print_usage(FILE *to)
{
    fprintf(to, "usage: sluice COMMAND\n\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (commands[i].entry.summary)
            fprintf(to, "  sluice %s\n      %s\n", commands[i].entry.usage, commands[i].entry.summary);
    }
    fprintf(
        to,
        "\nExit status: 0 done, 1 it failed, 2 it was called wrongly, 3 a diff found something to change or a configuration's\n"
        "own test failed. Signals while running: TERM and INT finish requests in flight and stop, HUP reloads, USR1 reopens\n"
        "the access log, USR2 upgrades.\n");
}

static bool is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

static bool asks_for_help(int count, char **words)
{
    for (int i = 0; i < count; i++) {
        if (is_help(words[i])) return true;
    }
    return false;
}

/* What all kinds of resources take. */
static const struct cli_option_entry resource_options[] = {
    { "--admin URL", "where the admin API is (else SLUICE_ADMIN, else http://127.0.0.1:9080)" },
    { "--json", "print all there is, as JSON" },
    { "--tag TAG", "list: only what carries the tag" },
    { "--if-match ETAG", "update, delete: only if it still is what was seen" },
    { "--replace", "update: what isn't given goes back to its default" },
    { "--cascade", "delete: what uses it, too" },
    { "--dry-run", "say what would change, and change nothing" },
    { "--comment TEXT", "stands beside the change in the history" },
};

const struct cli_option_entry *cli_resource_option(size_t index)
{
    return index < COUNT_OF(resource_options) ? &resource_options[index] : NULL;
}

static int print_command(const struct command *command)
{
    printf("usage: sluice %s\n", command->entry.usage);
    if (command->entry.summary) printf("    %s\n", command->entry.summary);
    if (command->run != command_resources) return 0;
    for (size_t i = 0; i < COUNT_OF(resource_options); i++)
        printf("    %-17s %s\n", resource_options[i].option, resource_options[i].summary);
    return 0;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i].entry.name, name) == 0) return &commands[i];
    }
    return NULL;
}

static int refuse_command(const char *name);

static int command_help(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    const struct command *command = line->file ? find_command(line->file) : NULL;
    if (command) return print_command(command);
    if (line->file) return refuse_command(line->file);
    print_usage(stdout);
    return 0;
}

/* Not all commands with it: they would push what is wrong out of sight. */
static int refuse(const struct command *command, const char *format, const char *subject)
{
    fprintf(stderr, "sluice: ");
    fprintf(stderr, format, subject);
    fprintf(stderr, "\nusage: sluice %s\n", command ? command->entry.usage : "COMMAND (`sluice help` lists them)");
    return 2;
}

/* --- options --- */

struct option {
    const char *name;
    unsigned takes; /* commands that take it have one of these bits */
    size_t into;    /* offsetof in struct command_line: a const char *, or a bool */
    bool is_flag;
};

static const struct option options[] = {
    { "--config", TAKES_CONFIG | TAKES_STORE, offsetof(struct command_line, config), false },
    { "--control", TAKES_CONTROL, offsetof(struct command_line, control), false },
    { "--listen", TAKES_PROXY, offsetof(struct command_line, listen), false },
    { "--to", TAKES_PROXY, offsetof(struct command_line, to), false },
    { "--access-log", TAKES_PROXY, offsetof(struct command_line, access_log), false },
    { "--link", TAKES_LINK, offsetof(struct command_line, link), false },
    { "--fallback", TAKES_LINK, offsetof(struct command_line, fallback), false },
    { "--log", TAKES_LINK, offsetof(struct command_line, log), false },
    { "--handover", TAKES_HANDOVER, offsetof(struct command_line, handover), false },
    { "--timeout", TAKES_TIMEOUT, offsetof(struct command_line, timeout), false },
    { "--admin", TAKES_ADMIN, offsetof(struct command_line, admin), false },
    { "--if-match", TAKES_ADMIN, offsetof(struct command_line, if_match), false },
    { "--comment", TAKES_COMMENT, offsetof(struct command_line, comment), false },
    { "--overlap", TAKES_RESOURCE, offsetof(struct command_line, overlap), false },
    { "--tag", TAKES_RESOURCE | TAKES_STORE, offsetof(struct command_line, tag), false },
    { "--store", TAKES_STORE, offsetof(struct command_line, store), false },
    { "--request", TAKES_REQUEST, offsetof(struct command_line, request), false },
    { "--route", TAKES_REQUEST, offsetof(struct command_line, route), false },
    { "--auth", TAKES_REQUEST, offsetof(struct command_line, auth), false },
    { "--claims", TAKES_REQUEST, offsetof(struct command_line, claims), false },
    { "--client-ip", TAKES_REQUEST, offsetof(struct command_line, client_ip), false },
    { "--status", TAKES_REQUEST, offsetof(struct command_line, status), false },
    { "--role", TAKES_ROLE, offsetof(struct command_line, role), false },
    { "--test", TAKES_TEST, offsetof(struct command_line, test), true },
    { "--explain", TAKES_TEST, offsetof(struct command_line, explain), true },
    { "--json", TAKES_ADMIN | TAKES_STORE | TAKES_TEST, offsetof(struct command_line, json), true },
    { "--cascade", TAKES_RESOURCE, offsetof(struct command_line, cascade), true },
    { "--replace", TAKES_RESOURCE, offsetof(struct command_line, replace), true },
    { "--dry-run", TAKES_DRY_RUN, offsetof(struct command_line, dry_run), true },
    { "--with-secrets", TAKES_SECRETS, offsetof(struct command_line, with_secrets), true },
};

static const struct option *find_option(struct slice name, unsigned takes)
{
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        if (takes & options[i].takes && slice_equal(name, slice_from_cstring(options[i].name))) return &options[i];
    }
    return NULL;
}

/* An option at words[*at], and its value: `--name value` or `--name=value`; *at moves to the last word of it. */
static int read_option(const struct command *command, int count, char **words, int *at, struct command_line *line)
{
    char *word = words[*at], *equals = strchr(word, '=');
    struct slice name = equals ? slice_of(word, (size_t)(equals - word)) : slice_from_cstring(word);
    const struct option *option = find_option(name, command->takes);
    if (!option) return refuse(command, "unknown option %s", word);
    void *into = (char *)line + option->into;
    if (option->is_flag) {
        if (equals) return refuse(command, "option %s takes no value", word);
        *(bool *)into = true;
        return 0;
    }
    const char **value = into;
    if (*value) return refuse(command, "option %s is given twice", word);
    if (!equals && *at + 1 == count) return refuse(command, "option %s needs a value", word);
    *value = equals ? equals + 1 : words[++*at];
    return 0;
}

static int read_word(const struct command *command, char *word, struct command_line *line)
{
    if (command->takes & TAKES_WORDS) {
        line->words[line->word_count++] = word;
        return 0;
    }
    if (command->takes & (TAKES_FILE | TAKES_A_WORD) && !line->file) {
        line->file = word;
        return 0;
    }
    return refuse(command,
                  command->takes & TAKES_CONFIG ? "\"%s\" is one word too many: a file is named by --config"
                                                : "\"%s\" is one word too many",
                  word);
}

/* 0, or 2 after having said what does not fit. A single "-" is a word: standard input. */
static int read_options(const struct command *command, int count, char **words, struct command_line *line)
{
    for (int i = 0; i < count; i++) {
        int refused = strncmp(words[i], "--", 2) == 0 ? read_option(command, count, words, &i, line)
                                                      : read_word(command, words[i], line);
        if (refused) return refused;
    }
    return 0;
}

/* "FILE" of "import FILE [...]". The caller's stack frame is the only user: static text. */
static const char *first_word_of(const struct command *command)
{
    static char word[32];
    const char *begin = strchr(command->entry.usage, ' ') + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(begin, " "), begin);
    return word;
}

static int check_needs(const struct command *command, const struct command_line *line)
{
    if (command->needs & TAKES_CONFIG && !line->config) return refuse(command, "%s is missing", "--config FILE");
    if (command->needs & TAKES_PROXY && !line->listen) return refuse(command, "%s is missing", "--listen ADDRESS");
    if (command->needs & TAKES_PROXY && !line->to) return refuse(command, "%s is missing", "--to ADDRESS,...");
    if (command->needs & TAKES_FILE && !line->file) return refuse(command, "%s is missing", first_word_of(command));
    if (command->needs & TAKES_LINK && !line->link) return refuse(command, "%s is missing", "--link");
    if (command->needs & TAKES_HANDOVER && !line->handover) return refuse(command, "%s is missing", "--handover");
    return 0;
}

/* What the same is called elsewhere: nginx -t, haproxy -c, kong config parse. */
static const char *other_name(const char *name)
{
    static const char *const names[][2] = {
        { "-t", "check" },   { "-c", "check" },           { "test", "check" },         { "validate", "check" },
        { "lint", "check" }, { "start", "run" },          { "serve", "run" },          { "health", "status" },
        { "-s", "reload" },  { "consumers", "api-keys" }, { "upstreams", "services" },
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i][0], name) == 0) return names[i][1];
    }
    return NULL;
}

static int refuse_command(const char *name)
{
    const char *names[COUNT_OF(commands)];
    size_t known = 0;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (commands[i].entry.summary) names[known++] = commands[i].entry.name;
    }
    const char *nearest = other_name(name);
    if (!nearest) nearest = nearest_name(slice_from_cstring(name), names, known);
    if (!nearest) return refuse(NULL, "unknown command \"%s\"", name);
    char *words = memory_format("unknown command \"%s\" (did you mean \"%s\"?)", name, nearest);
    int status = refuse(NULL, "%s", words);
    free(words);
    return status;
}

static int run_command(const struct command *command, int count, char **arguments, const struct registries *registries)
{
    if (asks_for_help(count - 2, arguments + 2)) return print_command(command);
    struct command_line line = { .program = arguments[0],
                                 .words = memory_allocate_array((size_t)count, sizeof(char *)),
                                 .word_count = 1 };
    line.words[0] = arguments[1];
    int status = read_options(command, count - 2, arguments + 2, &line);
    if (!status) status = check_needs(command, &line);
    if (!status) status = command->run(&line, registries);
    free(line.words);
    return status;
}

int cli_main(int count, char **arguments, const struct policy_registry *policies, const struct policy_registry *admin)
{
    struct registries registries = { policies, admin };
    if (count < 2) return refuse(NULL, "%s", "no command given");
    const char *name = arguments[1];
    if (is_help(name)) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) name = "version";
    const struct command *command = find_command(name);
    return command ? run_command(command, count, arguments, &registries) : refuse_command(name);
}
