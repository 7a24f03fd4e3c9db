/* master/upgrade.c: another binary takes over, and nobody notices.
 *
 *   1. try       the installed file reads what the master will leave to it: after step 5 nobody is left who could help
 *   2. start     it runs as a second gateway beside the one that serves, with the same sockets
 *   3. wait      until it says READY, which is once its workers listen; both accept from then on
 *   4. promote   commands go to it, and the one before yields: it accepts no more, finishes what it has, and ends
 *   5. execute   the master becomes the new binary: same process id, same sockets, same children, told by handover.c
 *   6. answer    the new master tells who asked
 *
 * Up to step 4 all that can go wrong leaves the gateway that serves as it was. A step 5 that fails leaves the master as it was, with the
 * new gateway. What nobody has accepted yet waits in the queues of sockets that are the same for both gateways. */
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

static void refuse(struct master *master, uint64_t command, const char *why)
{
    log_error("upgrade: %s", why);
    char *answer = memory_format("-%s", why);
    control_answer(master, command, answer);
    free(answer);
}

/* --- what the new program says on standard error: passed on, and the last of it kept for the answer --- */

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
    if (loop_watch_level(&master->loop, &master->upgrade.words, ends[0], EPOLLIN, error)) return ends[1];
    close(ends[0]);
    close(ends[1]);
    return -1;
}

/* --- 1. try --- */

static void limit_passed(struct timer *timer)
{
    struct upgrade *upgrade = CONTAINER_OF(timer, struct upgrade, limit);
    upgrade->is_overdue = true;
    kill(upgrade->trial, SIGKILL);
}

void upgrade_init(struct upgrade *upgrade)
{
    *upgrade = (struct upgrade){ .words = { .ready = words_ready, .descriptor = -1 } };
    timer_init(&upgrade->limit, limit_passed);
}

static _Noreturn void execute_trial(struct master *master, int state, int words)
{
    char state_text[16];
    const char *arguments[] = { master->program, "handover-check", "--handover", state_text, NULL };
    snprintf(state_text, sizeof state_text, "%d", state);
    fcntl(state, F_SETFD, 0);
    handover_keep_descriptors(master, true); /* in this process alone */
    dup2(words, STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(master->program, (char **)(uintptr_t)arguments);
    log_error("cannot execute %s: %m", master->program);
    _exit(1);
}

static bool start_trial(struct master *master, struct error *error)
{
    int state = handover_write(master, master->upgrade.command, error);
    int words = state >= 0 ? open_words(master, error) : -1;
    if (words >= 0) {
        master->upgrade.trial = fork();
        if (master->upgrade.trial == 0) execute_trial(master, state, words);
        if (master->upgrade.trial < 0) error_format(error, "cannot fork: %m");
        close(words);
    }
    if (state >= 0) close(state);
    return words >= 0 && master->upgrade.trial > 0;
}

void upgrade_begin(struct master *master, uint64_t command, uint64_t timeout_ms)
{
    struct upgrade *upgrade = &master->upgrade;
    struct error error;
    if (master->stopping || upgrade_is_under_way(master)) {
        refuse(master, command, master->stopping ? "Sluice is stopping" : "an upgrade is under way");
        return;
    }
    log_info("upgrade: trying %s", master->program);
    upgrade->command = command;
    upgrade->timeout_ms = timeout_ms;
    upgrade->is_overdue = upgrade->reload_after = false;
    if (start_trial(master, &error)) {
        upgrade->step = UPGRADE_TRIES;
        timer_set(&master->loop.timers, &upgrade->limit, master->loop.now_ms + timeout_ms);
    } else {
        close_words(master);
        refuse(master, command, error.text);
    }
}

/* SIGHUP came meanwhile. */
static void reload_now(struct master *master)
{
    if (master->upgrade.reload_after && !master->stopping) child_reload(master);
    master->upgrade.reload_after = false;
}

static void fail(struct master *master, const char *why)
{
    struct upgrade *upgrade = &master->upgrade;
    read_words(master);
    close_words(master);
    log_error("upgrade: the new program %s; the gateway that serves goes on", why);
    bool has_words = upgrade->said_length > 0;
    char *answer = memory_format("-the new program %s; the gateway that serves goes on%s%.*s", why,
                                 has_words ? ". It said:\n" : "", (int)upgrade->said_length, upgrade->said);
    control_answer(master, upgrade->command, answer);
    free(answer);
    upgrade->step = UPGRADE_NONE;
    reload_now(master);
}

static void fail_by_end(struct master *master, int status, bool was_overdue, const char *as_what)
{
    char why[120];
    if (was_overdue) {
        snprintf(why, sizeof why, "did not get ready within %llu s, %s",
                 (unsigned long long)master->upgrade.timeout_ms / 1000, as_what);
    } else if (WIFSIGNALED(status)) {
        snprintf(why, sizeof why, "was ended by SIG%s, %s", sigabbrev_np(WTERMSIG(status)), as_what);
    } else {
        snprintf(why, sizeof why, "ended with status %d, %s", WEXITSTATUS(status), as_what);
    }
    fail(master, why);
}

void upgrade_abandon(struct master *master)
{
    struct upgrade *upgrade = &master->upgrade;
    timer_clear(&master->loop.timers, &upgrade->limit);
    if (upgrade->step == UPGRADE_TRIES) kill(upgrade->trial, SIGKILL);
    if (upgrade->step == UPGRADE_STARTS) child_kill(upgrade->newcomer);
    upgrade->newcomer = NULL;
    if (upgrade_is_under_way(master)) fail(master, "was ended, as Sluice stops");
}

/* --- 2. start, and 3. wait --- */

static void start(struct master *master)
{
    struct upgrade *upgrade = &master->upgrade;
    struct error error;
    read_words(master);
    close_words(master);
    int words = open_words(master, &error);
    upgrade->newcomer = words >= 0 ? child_start_newcomer(master, words, upgrade->timeout_ms, &error) : NULL;
    if (words >= 0) close(words);
    if (upgrade->newcomer) {
        upgrade->step = UPGRADE_STARTS;
    } else {
        error_prefix(&error, "cannot be started as a gateway");
        fail(master, error.text);
    }
}

void upgrade_trial_ended(struct master *master, int status)
{
    struct upgrade *upgrade = &master->upgrade;
    timer_clear(&master->loop.timers, &upgrade->limit);
    upgrade->trial = 0;
    if (upgrade->step != UPGRADE_TRIES) return; /* abandoned */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        start(master);
    } else {
        fail_by_end(master, status, upgrade->is_overdue, "tried as a master");
    }
}

void upgrade_newcomer_ended(struct master *master, int status, bool was_overdue)
{
    master->upgrade.newcomer = NULL;
    fail_by_end(master, status, was_overdue, "started as a gateway");
}

/* --- 4. promote --- */

static void execute(struct task *);

void upgrade_newcomer_is_ready(struct master *master)
{
    struct upgrade *upgrade = &master->upgrade;
    struct child *newcomer = upgrade->newcomer, *before = master->serving;
    read_words(master);
    close_words(master);
    upgrade->newcomer = NULL;
    upgrade->step = UPGRADE_NONE;
    if (before)
        control_answer_for(master, before->pid, "-an upgrade has replaced the gateway that was to answer: ask again");
    child_promote(newcomer);
    reload_now(master);
    upgrade->execute = (struct task){ .run = execute };
    loop_enqueue(&master->loop, &upgrade->execute);
}

/* --- 5. execute --- */

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
                   { "--access-log", options->proxy_access_log },
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

/* --- 6. answer --- */

void upgrade_done(struct master *master, uint64_t command)
{
    int serving = master->serving ? (int)master->serving->pid : 0;
    log_info("upgrade: done, by Sluice %s from %s", SLUICE_VERSION, master->program);
    char *answer = memory_format("+gateway %d serves, Sluice %s", serving, SLUICE_VERSION);
    control_answer(master, command, answer);
    free(answer);
}
