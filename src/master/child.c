/* master/child.c: gateway processes: started, listened to, watched, buried. */
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
#define DRAIN_BOUND_MS_DEFAULT 60000
#define DRAIN_GRACE_MS 5000 /* the gateway cuts what is left by itself first */
#define LOST_TIME_MS 1000   /* between two looks: we did not run */
#define LAST_MOMENT_MS 2000 /* between SIGABRT and SIGKILL */
#define LIVED_LONG_MS 10000 /* a gateway that lived so long starts the count of crashes anew */
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 10000

static void link_ready(struct event_source *, uint32_t events);

static struct child *child_of(struct list_link *link) { return CONTAINER_OF(link, struct child, siblings); }

/* --- start --- */

/* What differs between a gateway that follows a crash and one of an upgrade. */
struct start {
    const char *program;
    int good_text; /* that it may fall back to; -1: none */
    int words;     /* its standard error until it serves; -1: ours */
};

/* The two that the gateway inherits beside its standard error. */
static const char *inherit(int descriptor, char text[16])
{
    fcntl(descriptor, F_SETFD, 0);
    snprintf(text, 16, "%d", descriptor);
    return text;
}

static _Noreturn void execute_gateway(const struct master_options *options, int link, const struct start *start)
{
    char link_text[16], fallback_text[16], log_text[16];
    const char *arguments[16] = { "sluice", "gateway", "--link", inherit(link, link_text) };
    size_t count = 4;
    if (start->good_text >= 0) {
        arguments[count++] = "--fallback";
        arguments[count++] = inherit(start->good_text, fallback_text);
    }
    if (start->words >= 0) {
        arguments[count++] = "--log";
        arguments[count++] = inherit(fcntl(STDERR_FILENO, F_DUPFD, 3), log_text);
        dup2(start->words, STDERR_FILENO);
    }
    if (options->config_path) {
        arguments[count++] = "--config";
        arguments[count++] = options->config_path;
    } else {
        arguments[count++] = "--listen";
        arguments[count++] = options->proxy_listen;
        arguments[count++] = "--to";
        arguments[count++] = options->proxy_to;
        if (options->proxy_access_log) {
            arguments[count++] = "--access-log";
            arguments[count++] = options->proxy_access_log;
        }
    }
    arguments[count] = NULL;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(start->program, (char **)(uintptr_t)arguments);
    log_error("cannot execute %s: %m", start->program);
    _exit(1);
}

static uint64_t free_bit(const struct master *master)
{
    uint64_t taken = master->dead;
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next)
        taken |= child_of(link)->bit | child_of(link)->inherit;
    return ~taken & (taken + 1); /* the lowest zero; 0: none */
}

struct child *child_create(struct master *master, enum child_role role)
{
    uint64_t bit = free_bit(master);
    if (bit == 0) return NULL;
    struct child *child = memory_allocate(sizeof *child);
    child->master = master;
    child->role = role;
    child->bit = bit;
    child->good_text = -1;
    child->link = (struct event_source){ .ready = link_ready, .descriptor = -1 };
    child->started_ms = child->last_beat_ms = master->loop.now_ms;
    child->start_bound_ms = START_BOUND_MS;
    child->beat_bound_ms = BEAT_BOUND_MS_DEFAULT;
    child->drain_bound_ms = DRAIN_BOUND_MS_DEFAULT;
    list_push_back(&master->children, &child->siblings);
    return child;
}

static void close_link(struct child *child)
{
    int descriptor = child->link.descriptor;
    if (descriptor < 0) return;
    loop_unwatch(&child->master->loop, &child->link, false);
    close(descriptor);
}

static void free_child(struct retired *retired) { free(CONTAINER_OF(retired, struct child, retired)); }

void child_destroy(struct child *child)
{
    close_link(child);
    if (child->good_text >= 0) close(child->good_text);
    list_remove(&child->siblings);
    loop_retire(&child->master->loop, &child->retired, free_child);
}

static bool start_process(struct child *child, const struct start *start, struct error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_format(error, "cannot make the supervision link: %m");
    if (!loop_watch_level(&child->master->loop, &child->link, pair[0], EPOLLIN, error)) {
        close(pair[0]);
        close(pair[1]);
        return false;
    }
    child->pid = fork();
    if (child->pid == 0) execute_gateway(child->master->options, pair[1], start);
    int failure = errno;
    close(pair[1]);
    if (child->pid < 0) return error_format(error, "cannot fork: %s", error_from_errno(failure));
    return true;
}

static struct child *start(struct master *master, enum child_role role, const struct start *start, struct error *error)
{
    struct child *child = child_create(master, role);
    if (!child) {
        error_format(error, "%d gateways of before still drain", CHILDREN_MAX - 1);
        return NULL;
    }
    if (!start_process(child, start, error)) {
        child_destroy(child);
        return NULL;
    }
    if (master->ticket_keys >= 0) child_send(child, SUPERVISION_TICKET_KEYS, 0, NULL, &master->ticket_keys, 1);
    return child;
}

bool child_start(struct master *master)
{
    struct error error;
    struct start how = { .program = "/proc/self/exe", .good_text = master->good_text, .words = -1 };
    struct child *child = start(master, CHILD_SERVES, &how, &error);
    if (!child) {
        log_error("cannot start the gateway: %s", error.text);
        return false;
    }
    child->inherit = master->dead;
    master->dead = 0;
    master->serving = child;
    return true;
}

/* It is not to fall back to the good text: an upgrade is a start, and a start with a bad file fails. */
struct child *child_start_newcomer(struct master *master, int words, uint64_t start_bound_ms, struct error *error)
{
    struct start how = { .program = master->program, .good_text = -1, .words = words };
    struct child *child = start(master, CHILD_NEWCOMER, &how, error);
    if (child) child->start_bound_ms = start_bound_ms;
    return child;
}

bool child_adopt_all(struct master *master, struct error *error)
{
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next) {
        struct event_source *source = &child_of(link)->link;
        int descriptor = source->descriptor;
        source->descriptor = -1;
        if (descriptor >= 0 && !loop_watch_level(&master->loop, source, descriptor, EPOLLIN, error)) return false;
    }
    return true;
}

unsigned child_count_yielding(const struct master *master)
{
    unsigned count = 0;
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next)
        count += child_of(link)->role == CHILD_YIELDS;
    return count;
}

/* --- what it is told --- */

bool child_send(struct child *child, enum supervision_kind kind, uint64_t number, const char *text,
                const int *descriptors, uint32_t count)
{
    struct error error;
    if (!child || child->link.descriptor < 0) return false;
    if (supervision_send(child->link.descriptor, kind, number, text, descriptors, count, &error)) return true;
    log_warning("%s", error.text);
    return false;
}

void child_kill(struct child *child)
{
    if (child->pid > 0) kill(child->pid, SIGKILL);
}

void child_reload(struct master *master)
{
    uint64_t command = ++master->commands;
    if (child_send(master->serving, SUPERVISION_RELOAD, command, NULL, NULL, 0))
        service_manager_reloading(master, command);
}

/* It ends by itself within its bound. */
static void expect_end(struct child *child)
{
    uint64_t end_by_ms = child->master->loop.now_ms + child->drain_bound_ms + DRAIN_GRACE_MS;
    if (child->end_by_ms == 0 || end_by_ms < child->end_by_ms) child->end_by_ms = end_by_ms;
}

void child_drain(struct child *child)
{
    expect_end(child);
    if (!child_send(child, SUPERVISION_DRAIN, 0, NULL, NULL, 0)) child_kill(child);
}

/* An address that it alone listens on goes with it, once its queues are empty. */
static void yield(struct child *child)
{
    struct master *master = child->master;
    uint64_t bits = child->bit | child->inherit;
    child->role = CHILD_YIELDS;
    expect_end(child);
    struct list_link *next;
    for (struct list_link *link = master->addresses.next; link != &master->addresses; link = next) {
        struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        next = link->next;
        if ((held->users & bits) == 0) continue;
        bool alone = (held->users & ~bits) == 0;
        held->is_leaving = held->is_leaving || alone;
        if (!alone || !child_send(child, SUPERVISION_GIVE_UP, 0, held->text, NULL, 0))
            sockets_leave(master, bits, held->text);
    }
    if (!child_send(child, SUPERVISION_YIELD, 0, NULL, NULL, 0)) child_kill(child);
}

void child_promote(struct child *newcomer)
{
    struct master *master = newcomer->master;
    struct child *before = master->serving;
    newcomer->role = CHILD_SERVES;
    master->serving = newcomer;
    master->crashes_in_a_row = 0;
    timer_clear(&master->loop.timers, &master->restart);
    if (newcomer->good_text >= 0) {
        if (master->good_text >= 0) close(master->good_text);
        master->good_text = newcomer->good_text;
        newcomer->good_text = -1;
    }
    sockets_leave_all(master, master->dead);
    master->dead = 0;
    if (before) yield(before);
}

/* --- what it says --- */

static void answer_listen(struct child *child, const struct supervision_message *message)
{
    struct error error;
    struct held_address *held = sockets_get(child->master, child->bit, message->text, (uint32_t)message->number,
                                            &error);
    if (held) {
        child_send(child, SUPERVISION_LISTENING, held->is_passed, held->text, held->sockets, held->count);
    } else {
        child_send(child, SUPERVISION_REFUSED, 0, error.text, NULL, 0);
    }
}

static void greet(const char *words)
{
    fputs(words, stdout);
    fflush(stdout);
}

static void is_ready(struct child *child, uint64_t version)
{
    struct master *master = child->master;
    child->ready = true;
    child->last_beat_ms = master->loop.now_ms;
    char addresses[1024];
    sockets_write(master, child->bit, addresses, sizeof addresses);
    log_info("gateway %d is serving at %s, version %llu, %llu ms after its start", (int)child->pid, addresses,
             (unsigned long long)version, (unsigned long long)(master->loop.now_ms - child->started_ms));
    if (!master->ever_ready && master->options->greeting) greet(master->options->greeting);
    master->ever_ready = true;
    sockets_leave_all(master, child->inherit); /* what its predecessor had and it did not ask for */
    child->inherit = 0;
    if (child == master->upgrade.newcomer) upgrade_newcomer_is_ready(master);
    if (child != master->serving) return;
    sockets_warn_of_unused(master);
    service_manager_serving(master);
}

static void keep(int *kept, struct supervision_message *message)
{
    if (message->descriptor_count != 1) return;
    if (*kept >= 0) close(*kept);
    *kept = message->descriptors[0];
    message->descriptor_count = 0;
}

static void keep_good_text(struct child *child, struct supervision_message *message)
{
    keep(child->role == CHILD_SERVES ? &child->master->good_text : &child->good_text, message);
}

/* Told once it serves. */
static void keep_ticket_keys(struct child *child, struct supervision_message *message)
{
    if (child->role == CHILD_SERVES) keep(&child->master->ticket_keys, message);
}

static void handle_message(struct child *child, struct supervision_message *message)
{
    switch (message->kind) {
    case SUPERVISION_LISTEN: answer_listen(child, message); break;
    case SUPERVISION_UNLISTEN: sockets_leave(child->master, child->bit | child->inherit, message->text); break;
    case SUPERVISION_READY: is_ready(child, message->number); break;
    case SUPERVISION_BEAT: child->last_beat_ms = child->master->loop.now_ms; break;
    case SUPERVISION_BEAT_BOUND: child->beat_bound_ms = message->number; break;
    case SUPERVISION_DRAIN_BOUND: child->drain_bound_ms = message->number; break;
    case SUPERVISION_GOOD_TEXT: keep_good_text(child, message); break;
    case SUPERVISION_TICKET_KEYS: keep_ticket_keys(child, message); break;
    case SUPERVISION_ANSWER:
        service_manager_answered(child->master, message->number);
        control_answer(child->master, message->number, message->text);
        break;
    default: log_warning("unknown message %u from the gateway", message->kind);
    }
}

static void link_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct child *child = CONTAINER_OF(source, struct child, link);
    static struct supervision_message message; /* the master has one thread */
    while (source->descriptor >= 0) {
        switch (supervision_receive(source->descriptor, &message)) {
        case SUPERVISION_GOT:
            handle_message(child, &message);
            supervision_close_descriptors(&message);
            break;
        case SUPERVISION_NOTHING: return;
        case SUPERVISION_GONE:
            close_link(child); /* SIGCHLD follows */
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

static void restart(struct master *master, uint64_t lived_ms)
{
    service_manager_not_serving(master, "the gateway has ended; another one is started");
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

static bool is_clean(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

static void serving_ended(struct child *child, int status)
{
    struct master *master = child->master;
    master->serving = NULL;
    master->dead |= child->bit | child->inherit;
    if (master->stopping) {
        if (!is_clean(status)) say_how_it_ended(child->pid, status);
        master->exit_status = is_clean(status) ? 0 : 1;
    } else if (!master->ever_ready && WIFEXITED(status)) {
        stop_with(master, 1); /* it said why */
    } else {
        say_how_it_ended(child->pid, status);
        restart(master, master->loop.now_ms - child->started_ms);
    }
}

static void yielding_ended(struct child *child, int status)
{
    if (is_clean(status)) {
        log_info("gateway %d has finished what it had", (int)child->pid);
    } else {
        say_how_it_ended(child->pid, status);
    }
}

static void ended(struct child *child, int status)
{
    struct master *master = child->master;
    if (child->role == CHILD_NEWCOMER) close_link(child);               /* ready or not, it won't serve */
    if (child->link.descriptor >= 0) link_ready(&child->link, EPOLLIN); /* its last words, answers too */
    control_answer_for(master, child->pid, "-the gateway ended before it answered");
    if (child->role != CHILD_SERVES) sockets_leave_all(master, child->bit | child->inherit);
    switch (child->role) {
    case CHILD_SERVES: serving_ended(child, status); break;
    case CHILD_NEWCOMER:
        if (child == master->upgrade.newcomer) upgrade_newcomer_ended(master, status, child->condemned);
        break;
    case CHILD_YIELDS: yielding_ended(child, status); break;
    }
    child_destroy(child);
    if (master->stopping && list_is_empty(&master->children)) loop_stop(&master->loop);
}

static struct child *find(struct master *master, pid_t pid)
{
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next) {
        if (child_of(link)->pid == pid) return child_of(link);
    }
    return NULL;
}

void child_reap(struct master *master)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *child = find(master, pid);
        if (child) ended(child, status);
        if (pid == master->upgrade.trial) upgrade_trial_ended(master, status);
    }
}

static void condemn(struct child *child)
{
    child->condemned = true;
    child->condemned_ms = child->master->loop.now_ms;
    kill(child->pid, SIGABRT);
}

static void watch(struct child *child)
{
    uint64_t now_ms = child->master->loop.now_ms, silent_ms = now_ms - child->last_beat_ms;
    if (child->condemned) {
        if (now_ms - child->condemned_ms > LAST_MOMENT_MS) child_kill(child);
    } else if (child->end_by_ms > 0) {
        if (now_ms <= child->end_by_ms) return;
        log_error("gateway %d has not ended %llu ms after its drain timeout: ending it", (int)child->pid,
                  (unsigned long long)(now_ms - child->end_by_ms + DRAIN_GRACE_MS));
        condemn(child);
    } else if (silent_ms > (child->ready ? child->beat_bound_ms + BEAT_GRACE_MS : child->start_bound_ms)) {
        log_error("gateway %d gave no sign of life for %llu ms: ending it", (int)child->pid,
                  (unsigned long long)silent_ms);
        condemn(child);
    }
}

bool child_is_in_order(const struct child *child)
{
    return !child || !child->condemned || child->master->loop.now_ms - child->condemned_ms <= 2 * LAST_MOMENT_MS;
}

uint64_t child_drain_bound_ms(const struct master *master)
{
    uint64_t bound_ms = 0;
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next) {
        const struct child *child = child_of(link);
        if (child->drain_bound_ms > bound_ms) bound_ms = child->drain_bound_ms;
    }
    return bound_ms + DRAIN_GRACE_MS + LAST_MOMENT_MS;
}

void child_watch(struct master *master)
{
    uint64_t now_ms = master->loop.now_ms;
    bool lost_time = now_ms - master->watched_ms > LOST_TIME_MS; /* stopped, and the gateways perhaps with us */
    master->watched_ms = now_ms;
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next) {
        if (lost_time) child_of(link)->last_beat_ms = now_ms;
        watch(child_of(link));
    }
}
