/* cli/run.c: `sluice run`: with the file that is named, or, without one, with one in the state directory that is made when it isn't there: a
 * gateway with an embedded store, configured over its admin API. From then on it is a file like any other: its owner may change it. */
#include "base/memory.h"
#include "cli/private.h"
#include "config/config.h"
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_text[] =
    "# Made by `sluice run` without --config, and yours to change: what clients reach, where the admin API listens (nobody but this\n"
    "# machine reaches it), and where services, routes and all else are kept that is made over the admin API.\n"
    "listeners: [\"127.0.0.1:8080\"]\n"
    "admin: { address: \"127.0.0.1:9080\" }\n"
    "store: \"sqlite:sluice.db\"\n"
    "# One JSON line a request, in a file beside this one (or `stdout`); `sluice reload` begins it.\n"
    "# accessLog: { path: access.log }\n";

/* Whole or not at all, and nobody's but ours. */
static bool write_first(const char *path)
{
    char *draft = memory_format("%s.%d", path, (int)getpid());
    int file = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = file >= 0 && write(file, first_text, sizeof first_text - 1) == (ssize_t)sizeof first_text - 1;
    if (file >= 0) good &= close(file) == 0;
    if (good)
        good = link(draft, path) == 0 || errno == EEXIST; /* another one that starts at this moment makes the same */
    int number = errno;
    if (file >= 0) unlink(draft);
    free(draft);
    if (!good) fprintf(stderr, "%s: cannot be written: %s\n", path, error_from_errno(number));
    return good;
}

char *cli_state_directory(void)
{
    struct error error;
    char *folder = state_directory(&error);
    if (!folder) fprintf(stderr, "sluice: %s\n", error.text);
    return folder;
}

/* In a state directory of its own. NULL: it can't be had, which was said. */
static char *file_without_a_name(void)
{
    char *folder = cli_state_directory();
    if (!folder) return NULL;
    char *path = memory_format("%s/sluice.yaml", folder);
    struct stat about;
    free(folder);
    if (stat(path, &about) == 0 || write_first(path)) return path;
    free(path);
    return NULL;
}

static void write_first_steps(FILE *out, const struct configuration *configuration, const char *path)
{
    const struct listener_config *listener = configuration->listeners.items;
    int admin_length = (int)configuration->admin.address_text.length;
    const char *admin = configuration->admin.address_text.at;
    fprintf(out, "Sluice serves http%s://%.*s by %s\n", listener->has_tls ? "s" : "",
            SLICE_PRINT(listener->address_text), path);
    if (configuration->admin.enabled && configuration->store != STORE_FILE) {
        fprintf(out,
                "and is configured at http://%.*s. A first route:\n"
                "  curl --json '{\"name\":\"backend\",\"instances\":[\"127.0.0.1:3000\"]}' http://%.*s/admin/services\n"
                "  curl --json '{\"path\":\"/*\",\"serviceId\":\"backend\"}' http://%.*s/admin/routes\n",
                admin_length, admin, admin_length, admin, admin_length, admin);
    }
}

/* What is to be said once it serves; the caller's. "": what is wrong with the file says the gateway, which reads it too. */
static char *first_steps(const char *path, const struct registries *registries)
{
    struct problems problems;
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    problems_init(&problems, path);
    struct configuration *configuration = configuration_load_file(path, &kinds, &problems);
    if (configuration) write_first_steps(out, configuration, path);
    configuration_destroy(configuration);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    PROMISE(fclose(out) == 0);
    return text;
}

/* The gateway may be started anew from any folder, so the path is made absolute once. */
static bool make_absolute(const char *path, char absolute[PATH_MAX])
{
    if (realpath(path, absolute)) return true;
    int number = errno;
    const char *hint = configuration_read_hint(number);
    fprintf(stderr, hint ? "%s: cannot be read: %s (%s)\n" : "%s: cannot be read: %s\n", path, error_from_errno(number),
            hint);
    return false;
}

int command_run(const struct command_line *line, const struct registries *registries)
{
    char absolute[PATH_MAX];
    char *made = line->config ? NULL : file_without_a_name();
    const char *path = line->config ? line->config : made;
    bool good = path && make_absolute(path, absolute);
    char *greeting = good && made ? first_steps(absolute, registries) : NULL;
    free(made);
    if (!good) return 1;
    int status = master_run(&(struct master_options){
        .program = line->program,
        .config_path = absolute,
        .control_path = line->control,
        .greeting = greeting,
        .handover = -1,
    });
    free(greeting);
    return status;
}
