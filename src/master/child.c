/* master/child.c: the gateway process: started from this very binary, watched, started again. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEAT_BOUND_MS_DEFAULT 5000
#define BEAT_GRACE_MS 1000 /* the gateway finds a stalled worker by itself first, with a backtrace */
#define START_BOUND_MS 120000
#define LOST_TIME_MS 1000   /* between two looks: we did not run */
#define LAST_MOMENT_MS 2000 /* between SIGABRT and SIGKILL */
#define LIVED_LONG_MS 10000 /* a gateway that lived so long starts the count of crashes anew */
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 10000

static void link_ready(struct event_source *, uint32_t events);

static _Noreturn void execute_gateway(const struct master_options *options, int link, int good_text)
{
    char link_text[16], fallback_text[16];
    const char *arguments[12] = { "sluice", "gateway", "--link", link_text };
    size_t count = 4;
    snprintf(link_text, sizeof link_text, "%d", link);
    fcntl(link, F_SETFD, 0); /* these two are all that the gateway inherits */
    if (good_text >= 0) {
        snprintf(fallback_text, sizeof fallback_text, "%d", good_text);
        fcntl(good_text, F_SETFD, 0);
        arguments[count++] = "--fallback";
        arguments[count++] = fallback_text;
    }
    if (options->config_path) {
        arguments[count++] = "--config";
        arguments[count++] = options->config_path;
    } else {
        arguments[count++] = "--listen";
        arguments[count++] = options->proxy_listen;
        arguments[count++] = "--to";
        arguments[count++] = options->proxy_to;
    }
    arguments[count] = NULL;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", (char **)(uintptr_t)arguments);
    log_error("cannot execute the gateway: %m");
    _exit(1);
}

static bool start_process(struct master *master, int pair[2], struct error *error)
{
    pid_t pid = fork();
    if (pid < 0) return error_format(error, "cannot fork: %s", error_from_errno(errno));
    if (pid == 0) execute_gateway(master->options, pair[1], master->good_text);
    master->child.pid = pid;
    return true;
}

bool child_start(struct master *master)
{
    struct error error;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        log_error("cannot make the supervision link: %m");
        return false;
    }
    struct child *child = &master->child;
    child->link = (struct event_source){ .ready = link_ready, .descriptor = -1 };
    bool watched = loop_watch_level(&master->loop, &child->link, pair[0], EPOLLIN, &error);
    bool started = watched && start_process(master, pair, &error);
    close(pair[1]);
    if (!started) {
        log_error("cannot start the gateway: %s", error.text);
        if (watched) loop_unwatch(&master->loop, &child->link, false);
        close(pair[0]);
        return false;
    }
    child->ready = child->condemned = false;
    child->started_ms = child->last_beat_ms = master->loop.now_ms;
    child->beat_bound_ms = BEAT_BOUND_MS_DEFAULT;
    return true;
}

static void close_link(struct master *master)
{
    int descriptor = master->child.link.descriptor;
    if (descriptor < 0) return;
    loop_unwatch(&master->loop, &master->child.link, false);
    close(descriptor);
}

bool child_send(struct master *master, enum supervision_kind kind, uint64_t number, const char *text,
                const int *descriptors, uint32_t count)
{
    struct error error;
    if (master->child.link.descriptor < 0) return false;
    if (supervision_send(master->child.link.descriptor, kind, number, text, descriptors, count, &error)) return true;
    log_warning("%s", error.text);
    return false;
}

/* --- what the gateway says --- */

static void answer_listen(struct master *master, const struct supervision_message *message)
{
    struct error error;
    struct held_address *held = sockets_get(master, message->text, (uint32_t)message->number, &error);
    if (held) {
        child_send(master, SUPERVISION_LISTENING, 0, held->text, held->sockets, held->count);
    } else {
        child_send(master, SUPERVISION_REFUSED, 0, error.text, NULL, 0);
    }
}

static void gateway_is_ready(struct master *master, uint64_t version)
{
    struct child *child = &master->child;
    child->ready = true;
    child->last_beat_ms = master->loop.now_ms;
    log_info("gateway %d is serving, version %llu, %llu ms after its start", (int)child->pid,
             (unsigned long long)version, (unsigned long long)(master->loop.now_ms - child->started_ms));
    master->ever_ready = true;
}

static void keep_good_text(struct master *master, struct supervision_message *message)
{
    if (message->descriptor_count != 1) return;
    if (master->good_text >= 0) close(master->good_text);
    master->good_text = message->descriptors[0];
    message->descriptor_count = 0;
}

static void handle_message(struct master *master, struct supervision_message *message)
{
    switch (message->kind) {
    case SUPERVISION_LISTEN: answer_listen(master, message); break;
    case SUPERVISION_UNLISTEN: sockets_close(master, message->text); break;
    case SUPERVISION_READY: gateway_is_ready(master, message->number); break;
    case SUPERVISION_BEAT: master->child.last_beat_ms = master->loop.now_ms; break;
    case SUPERVISION_BEAT_BOUND: master->child.beat_bound_ms = message->number; break;
    case SUPERVISION_GOOD_TEXT: keep_good_text(master, message); break;
    case SUPERVISION_ANSWER: control_answer(master, message->number, message->text); break;
    default: log_warning("unknown message %u from the gateway", message->kind);
    }
}

static void link_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct child *child = CONTAINER_OF(source, struct child, link);
    struct master *master = CONTAINER_OF(child, struct master, child);
    static struct supervision_message message; /* the master has one thread */
    while (source->descriptor >= 0) {
        switch (supervision_receive(source->descriptor, &message)) {
        case SUPERVISION_GOT:
            handle_message(master, &message);
            supervision_close_descriptors(&message);
            break;
        case SUPERVISION_NOTHING: return;
        case SUPERVISION_GONE:
            close_link(master); /* SIGCHLD follows */
            return;
        }
    }
}

/* --- its end --- */

static void say_how_it_ended(pid_t pid, int status)
{
    if (WIFSIGNALED(status)) {
        log_error("gateway %d was ended by SIG%s", (int)pid, sigabbrev_np(WTERMSIG(status)));
    } else {
        log_error("gateway %d ended with status %d", (int)pid, WEXITSTATUS(status));
    }
}

static void stop_with(struct master *master, int exit_status)
{
    master->exit_status = exit_status;
    loop_stop(&master->loop);
}

uint64_t child_back_off_ms(unsigned *crashes_in_a_row, uint64_t lived_ms)
{
    if (lived_ms > LIVED_LONG_MS) *crashes_in_a_row = 0;
    unsigned crashes = (*crashes_in_a_row)++;
    if (crashes == 0) return 0;
    uint64_t delay_ms = (uint64_t)BACK_OFF_FIRST_MS << (crashes - 1 < 10 ? crashes - 1 : 10);
    return delay_ms < BACK_OFF_MAX_MS ? delay_ms : BACK_OFF_MAX_MS;
}

static void restart(struct master *master)
{
    uint64_t lived_ms = master->loop.now_ms - master->child.started_ms;
    uint64_t delay_ms = child_back_off_ms(&master->crashes_in_a_row, lived_ms);
    if (delay_ms == 0) {
        log_warning("starting a new gateway; the listening sockets stayed open");
        if (child_start(master)) return;
        delay_ms = BACK_OFF_FIRST_MS;
    }
    log_error("crash loop: %u crashes in a row; next start in %llu ms", master->crashes_in_a_row,
              (unsigned long long)delay_ms);
    timer_set(&master->loop.timers, &master->restart, master->loop.now_ms + delay_ms);
}

static void gateway_ended(struct master *master, int status)
{
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (master->child.link.descriptor >= 0) link_ready(&master->child.link, EPOLLIN); /* its last words, answers too */
    close_link(master);
    control_answer_all(master, "-the gateway ended before it answered");
    if (master->stopping) {
        if (!clean) say_how_it_ended(master->child.pid, status);
        stop_with(master, clean ? 0 : 1);
    } else if (!master->ever_ready && WIFEXITED(status)) {
        stop_with(master, 1); /* it said why */
    } else {
        say_how_it_ended(master->child.pid, status);
        restart(master);
    }
}

void child_reap(struct master *master)
{
    int status;
    if (master->child.pid <= 0 || waitpid(master->child.pid, &status, WNOHANG) != master->child.pid) return;
    pid_t pid = master->child.pid;
    gateway_ended(master, status);
    if (master->child.pid == pid) master->child.pid = 0; /* no new one yet */
}

void child_watch(struct master *master)
{
    struct child *child = &master->child;
    uint64_t now_ms = master->loop.now_ms;
    bool lost_time = now_ms - child->watched_ms > LOST_TIME_MS; /* stopped, and the gateway perhaps with us */
    child->watched_ms = now_ms;
    if (child->pid <= 0) return;
    if (lost_time) child->last_beat_ms = now_ms;
    if (child->condemned) {
        if (now_ms - child->condemned_ms > LAST_MOMENT_MS) kill(child->pid, SIGKILL);
        return;
    }
    uint64_t bound_ms = child->ready ? child->beat_bound_ms + BEAT_GRACE_MS : START_BOUND_MS;
    if (master->stopping || now_ms - child->last_beat_ms <= bound_ms) return;
    log_error("gateway %d gave no sign of life for %llu ms: ending it", (int)child->pid,
              (unsigned long long)(now_ms - child->last_beat_ms));
    child->condemned = true;
    child->condemned_ms = now_ms;
    kill(child->pid, SIGABRT);
}
