/* cli/completion.c: what shells and manual readers want of the table of commands: `sluice completion bash|zsh`, `sluice docs manual`. */
#include "cli/private.h"

#include <ctype.h>

static void print_names(FILE *to, const char *between)
{
    const char *before = "";
    for (size_t i = 0; cli_entry(i); i++) {
        if (!cli_entry(i)->summary) continue;
        fprintf(to, "%s%s", before, cli_entry(i)->name);
        before = between;
    }
}

/* The options that a usage line names, separated by spaces. */
static void print_options(FILE *to, const char *usage)
{
    for (const char *at = usage; (at = strstr(at, "--")) != NULL;) {
        size_t length = 2 + strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
        fprintf(to, "%.*s ", (int)length, at);
        at += length;
    }
}

/* Those that all kinds of resources take, the same way. */
static void print_resource_options(FILE *to)
{
    for (size_t i = 0; cli_resource_option(i); i++) print_options(to, cli_resource_option(i)->option);
}

static bool is_of_resources(const struct command_line_entry *entry)
{
    return strstr(entry->usage, "list|get|create") != NULL;
}

static void print_bash(void)
{
    printf("# bash completion of sluice: source <(sluice completion bash)\n"
           "_sluice() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} options=\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W \"");
    print_names(stdout, " ");
    printf("\" -- \"$word\"))\n        return\n    fi\n    case $command in\n");
    for (size_t i = 0; cli_entry(i); i++) {
        const struct command_line_entry *entry = cli_entry(i);
        if (!entry->summary) continue;
        printf("    %s) options=\"", entry->name);
        print_options(stdout, entry->usage);
        if (is_of_resources(entry)) {
            print_resource_options(stdout);
            printf("\"\n"
                   "        if [ \"$COMP_CWORD\" -eq 2 ]; then options=\"list get create update delete%s\"; fi\n"
                   "        case ${COMP_WORDS[2]} in\n"
                   "        get | update | delete) if [ \"$COMP_CWORD\" -eq 3 ]; then\n"
                   "            options=$(sluice %s list 2>/dev/null | awk 'NR > 1 { print $1 }'); fi ;;\n"
                   "        esac ;;\n",
                   strstr(entry->usage, "rotate") ? " rotate" : "", entry->name);
        } else {
            printf("\" ;;\n");
        }
    }
    printf("    esac\n"
           "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
           "    case $word in\n    -*) ;;\n    *) COMPREPLY+=($(compgen -f -- \"$word\")) ;;\n    esac\n"
           "}\n"
           "complete -F _sluice sluice\n");
}

/* A summary inside single quotes and before a colon. */
static void print_zsh_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            printf("'\\''");
        else if (*text == ':')
            printf("\\:");
        else
            putchar(*text);
    }
}

static void print_zsh(void)
{
    printf("#compdef sluice\n# zsh completion of sluice: sluice completion zsh > \"${fpath[1]}/_sluice\"\n"
           "_sluice() {\n    local -a commands\n    commands=(\n");
    for (size_t i = 0; cli_entry(i); i++) {
        if (!cli_entry(i)->summary) continue;
        printf("        '%s:", cli_entry(i)->name);
        print_zsh_text(cli_entry(i)->summary);
        printf("'\n");
    }
    printf("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
           "    case $words[2] in\n");
    for (size_t i = 0; cli_entry(i); i++) {
        const struct command_line_entry *entry = cli_entry(i);
        if (!entry->summary) continue;
        if (is_of_resources(entry)) {
            printf("    %s) if (( CURRENT == 3 )); then compadd list get create update delete%s\n"
                   "        elif (( CURRENT == 4 )) && [[ $words[3] != (list|create) ]]; then\n"
                   "            compadd -- $(sluice %s list 2>/dev/null | awk 'NR > 1 { print $1 }')\n"
                   "        else _files; compadd -- ",
                   entry->name, strstr(entry->usage, "rotate") ? " rotate" : "", entry->name);
            print_resource_options(stdout);
            printf("; fi ;;\n");
        } else {
            printf("    %s) compadd -- ", entry->name);
            print_options(stdout, entry->usage);
            printf("; _files ;;\n");
        }
    }
    printf("    esac\n}\n_sluice \"$@\"\n");
}

int command_completion(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    if (strcmp(line->file, "bash") == 0) {
        print_bash();
    } else if (strcmp(line->file, "zsh") == 0) {
        print_zsh();
    } else {
        fprintf(stderr, "sluice: completion for \"%s\" is not known: bash, zsh\n", line->file);
        return 2;
    }
    return 0;
}

/* --- the manual page --- */

/* Hyphens that are typed, and what roff would take for a command. */
static void print_roff(FILE *to, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '-')
            fputs("\\-", to);
        else if (*at == '\\')
            fputs("\\\\", to);
        else
            fputc(*at, to);
    }
}

void manual_write(FILE *to)
{
    fprintf(
        to,
        ".TH SLUICE 1 \"\" \"sluice %s\" \"User Commands\"\n"
        ".SH NAME\nsluice \\- an API gateway\n"
        ".SH SYNOPSIS\n.B sluice\n.I COMMAND\n[options]\n"
        ".SH DESCRIPTION\nSluice stands between clients and services: it routes, balances, retries, transforms and observes every HTTP "
        "request. It is configured by a file, or while it runs over its admin API out of a store.\n"
        ".SH COMMANDS\n",
        SLUICE_VERSION);
    for (size_t i = 0; cli_entry(i); i++) {
        const struct command_line_entry *entry = cli_entry(i);
        if (!entry->summary) continue;
        fprintf(to, ".TP\n.B sluice ");
        print_roff(to, entry->usage);
        fprintf(to, "\n%c", toupper((unsigned char)entry->summary[0]));
        print_roff(to, entry->summary + 1);
        fprintf(to, ".\n");
    }
    fprintf(
        to,
        ".SH RESOURCES\nA resource is given as a file (YAML or JSON, \\- for standard input) or as fields: "
        "\\fBsluice routes create path=/api/* serviceId=users 'methods=[GET,POST]'\\fR. update changes the fields that it is "
        "given and keeps the others. Lists are tables. All kinds of resources take:\n");
    for (size_t i = 0; cli_resource_option(i); i++) {
        fprintf(to, ".TP\n.B ");
        print_roff(to, cli_resource_option(i)->option);
        fprintf(to, "\n%c", toupper((unsigned char)cli_resource_option(i)->summary[0]));
        print_roff(to, cli_resource_option(i)->summary + 1);
        fprintf(to, ".\n");
    }
    fprintf(
        to,
        ".SH ENVIRONMENT\n.TP\n.B SLUICE_ADMIN\nWhere the admin API is; http://127.0.0.1:9080 where absent. \\-\\-admin goes first.\n"
        ".TP\n.B SLUICE_TOKEN\nThe bearer token for it.\n"
        ".TP\n.B SLUICE_ADMIN_CA\nA PEM file: whose certificates are good for an https admin API.\n"
        ".TP\n.B STATE_DIRECTORY, XDG_STATE_HOME\nWhere a gateway without \\-\\-config keeps its file and its store.\n"
        ".SH EXIT STATUS\n0 done, 1 it failed, 2 it was called wrongly, 3 a diff found something to change or a configuration's own test failed.\n"
        ".SH SIGNALS\nTERM and INT finish requests in flight and stop, HUP reloads, USR1 reopens the access log, USR2 upgrades.\n");
}
