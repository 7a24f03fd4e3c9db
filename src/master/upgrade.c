/* master/upgrade.c: another binary takes over, and nobody notices.
 *
 *   1. start     the installed file runs as a second gateway beside the one that serves, with the same sockets
 *   2. wait      until it says READY, which is once its workers listen; both accept from then on
 *   3. promote   commands go to it, and the one before yields: it accepts no more, finishes what it has, and ends
 *   4. execute   the master becomes the new binary: same process id, same sockets, same children, told by handover.c
 *   5. answer    the new master tells who asked
 *
 * Up to step 3 all that can go wrong leaves the gateway that serves as it was. A step 4 that fails leaves the master as it was, with the
 * new gateway. What nobody has accepted yet waits in the queues of sockets that are the same for both gateways. */
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

static void refuse(struct master *master, uint64_t command, const char *why)
{
    log_error("upgrade: %s", why);
    char *answer = memory_format("-%s", why);
    control_answer(master, command, answer);
    free(answer);
}

/* --- what the newcomer says on standard error: passed on, and the last of it kept for the answer --- */

static void keep_words(struct upgrade *upgrade, const char *words, size_t length)
{
    size_t room = sizeof upgrade->said;
    size_t kept = upgrade->said_length < room - length ? upgrade->said_length : room - length;
    memmove(upgrade->said, upgrade->said + upgrade->said_length - kept, kept);
    memcpy(upgrade->said + kept, words, length);
    upgrade->said_length = kept + length;
}

static void close_words(struct master *master)
{
    int descriptor = master->upgrade.words.descriptor;
    if (descriptor < 0) return;
    loop_unwatch(&master->loop, &master->upgrade.words, false);
    close(descriptor);
}

/* At most so often in one go: however much it says, the master has its turn. */
static void read_words(struct master *master)
{
    struct upgrade *upgrade = &master->upgrade;
    char words[sizeof upgrade->said / 2];
    for (int i = 0; i < 16 && upgrade->words.descriptor >= 0; i++) {
        ssize_t got = read(upgrade->words.descriptor, words, sizeof words);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            close_words(master);
            return;
        }
        ssize_t written = write(STDERR_FILENO, words, (size_t)got);
        (void)written; /* as for all of the log */
        keep_words(upgrade, words, (size_t)got);
    }
}

static void words_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct upgrade *upgrade = CONTAINER_OF(source, struct upgrade, words);
    read_words(CONTAINER_OF(upgrade, struct master, upgrade));
}

/* The reading end is watched; the writing end is returned, -1 and *error otherwise. */
static int open_words(struct master *master, struct error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_format(error, "cannot make a pipe: %m");
        return -1;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    master->upgrade.said_length = 0;
    master->upgrade.words = (struct event_source){ .ready = words_ready, .descriptor = -1 };
    if (loop_watch_level(&master->loop, &master->upgrade.words, ends[0], EPOLLIN, error)) return ends[1];
    close(ends[0]);
    close(ends[1]);
    return -1;
}

/* --- 1. start --- */

void upgrade_begin(struct master *master, uint64_t command, uint64_t timeout_ms)
{
    struct upgrade *upgrade = &master->upgrade;
    struct error error;
    if (master->stopping || upgrade_is_under_way(master)) {
        refuse(master, command, master->stopping ? "Sluice is stopping" : "an upgrade is under way");
        return;
    }
    log_info("upgrade: starting a gateway from %s", master->program);
    int words = open_words(master, &error);
    struct child *newcomer = words >= 0 ? child_start_newcomer(master, words, timeout_ms, &error) : NULL;
    if (words >= 0) close(words);
    if (!newcomer) {
        close_words(master);
        error_prefix(&error, "cannot start a gateway");
        refuse(master, command, error.text);
        return;
    }
    upgrade->newcomer = newcomer;
    upgrade->command = command;
    upgrade->reload_after = false;
}

/* --- 2. wait --- */

/* SIGHUP came meanwhile. */
static void reload_now(struct master *master)
{
    if (master->upgrade.reload_after) child_reload(master);
    master->upgrade.reload_after = false;
}

void upgrade_failed(struct master *master, const char *why)
{
    struct upgrade *upgrade = &master->upgrade;
    read_words(master);
    close_words(master);
    log_error("upgrade: the new gateway %s; the one that serves goes on", why);
    bool has_words = upgrade->said_length > 0;
    char *answer = memory_format("-the new gateway %s; the one that serves goes on%s%.*s", why,
                                 has_words ? ". It said:\n" : "", (int)upgrade->said_length, upgrade->said);
    control_answer(master, upgrade->command, answer);
    free(answer);
    upgrade->newcomer = NULL;
    reload_now(master);
}

/* --- 3. promote --- */

static void execute(struct task *);

void upgrade_newcomer_is_ready(struct master *master)
{
    struct upgrade *upgrade = &master->upgrade;
    struct child *newcomer = upgrade->newcomer, *before = master->serving;
    read_words(master);
    close_words(master);
    upgrade->newcomer = NULL;
    if (before)
        control_answer_for(master, before->pid, "-an upgrade has replaced the gateway that was to answer: ask again");
    child_promote(newcomer);
    reload_now(master);
    upgrade->execute = (struct task){ .run = execute };
    loop_enqueue(&master->loop, &upgrade->execute);
}

/* --- 4. execute --- */

/* Nothing is lost of what happens meanwhile: signals stay pending, as they are blocked; messages stay in their sockets. */
static void execute_in_place(struct master *master, int state)
{
    char state_text[16];
    const struct master_options *options = master->options;
    const char *arguments[16] = { master->program, "master", "--handover", state_text };
    size_t count = 4;
    snprintf(state_text, sizeof state_text, "%d", state);
    const struct {
        const char *name, *value;
    } passed[] = { { "--config", options->config_path },
                   { "--listen", options->proxy_listen },
                   { "--to", options->proxy_to },
                   { "--control", options->control_path } };
    for (size_t i = 0; i < COUNT_OF(passed); i++) {
        if (!passed[i].value) continue;
        arguments[count++] = passed[i].name;
        arguments[count++] = passed[i].value;
    }
    arguments[count] = NULL;
    fcntl(state, F_SETFD, 0);
    handover_keep_descriptors(master, true);
    execv(master->program, (char **)(uintptr_t)arguments);
    int failure = errno;
    handover_keep_descriptors(master, false);
    errno = failure;
}

static void execute(struct task *task)
{
    struct upgrade *upgrade = CONTAINER_OF(task, struct upgrade, execute);
    struct master *master = CONTAINER_OF(upgrade, struct master, upgrade);
    struct error error;
    if (master->stopping) return;
    int state = handover_write(master, upgrade->command, &error);
    if (state >= 0) {
        execute_in_place(master, state);
        error_format(&error, "%s: %s", master->program, error_from_errno(errno));
        close(state);
    }
    error_prefix(&error, "the new gateway serves, but the master stays what it was: cannot execute");
    refuse(master, upgrade->command, error.text);
}

/* --- 5. answer --- */

void upgrade_done(struct master *master, uint64_t command)
{
    int serving = master->serving ? (int)master->serving->pid : 0;
    log_info("upgrade: done, by Sluice %s from %s", SLUICE_VERSION, master->program);
    char *answer = memory_format("+gateway %d serves, Sluice %s", serving, SLUICE_VERSION);
    control_answer(master, command, answer);
    free(answer);
}
