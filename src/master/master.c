/* master/master.c: the supervisor's life: signals in, one gateway kept alive, an orderly end. */
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WATCH_MS 250

static void each_watch(struct timer *timer)
{
    struct master *master = CONTAINER_OF(timer, struct master, watch);
    child_watch(master);
    timer_set(&master->loop.timers, timer, master->loop.now_ms + WATCH_MS);
}

static void restart_due(struct timer *timer)
{
    struct master *master = CONTAINER_OF(timer, struct master, restart);
    if (master->serving) return;
    if (!child_start(master)) timer_set(&master->loop.timers, timer, master->loop.now_ms + 1000);
}

static void stop(struct master *master)
{
    bool again = master->stopping;
    struct list_link *link;
    master->stopping = true;
    upgrade_abandon(master);
    if (again || list_is_empty(&master->children)) {
        if (again) log_warning("asked to stop again: cutting what is still open");
        for (link = master->children.next; link != &master->children; link = link->next)
            child_kill(CONTAINER_OF(link, struct child, siblings));
        loop_stop(&master->loop); /* there is nobody to wait for */
        return;
    }
    log_info("stopping: requests in flight are finished first");
    service_manager_stopping(master, child_drain_bound_ms(master));
    timer_clear(&master->loop.timers, &master->restart);
    for (link = master->children.next; link != &master->children; link = link->next)
        child_drain(CONTAINER_OF(link, struct child, siblings));
}

/* During an upgrade the new gateway is told, once it serves: the old one might get the file's next version into force for a moment. */
static void reload(struct master *master)
{
    if (upgrade_is_under_way(master)) {
        master->upgrade.reload_after = true;
    } else {
        child_reload(master);
    }
}

/* Whoever still writes there. */
static void reopen_logs(struct master *master)
{
    for (struct list_link *link = master->children.next; link != &master->children; link = link->next)
        child_send(CONTAINER_OF(link, struct child, siblings), SUPERVISION_REOPEN, 0, NULL, NULL, 0);
}

static void handle_signal(struct master *master, int number)
{
    switch (number) {
    case SIGTERM:
    case SIGINT: stop(master); break;
    case SIGHUP: reload(master); break;
    case SIGUSR1: reopen_logs(master); break;
    case SIGUSR2: upgrade_begin(master, 0, UPGRADE_SECONDS * 1000); break;
    default: /* SIGCHLD */ child_reap(master);
    }
}

static void signals_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct master *master = CONTAINER_OF(source, struct master, signals);
    struct signalfd_siginfo about;
    while (read(source->descriptor, &about, sizeof about) == (ssize_t)sizeof about)
        handle_signal(master, (int)about.ssi_signo);
}

/* The gateway inherits it. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool watch_signals(struct master *master, struct error *error)
{
    static const int handled[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT_OF(handled); i++) sigaddset(&set, handled[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (descriptor < 0) return error_format(error, "cannot watch signals: %m");
    master->signals = (struct event_source){ .ready = signals_ready, .descriptor = -1 };
    return loop_watch_level(&master->loop, &master->signals, descriptor, EPOLLIN, error);
}

/* Without a control socket Sluice still serves; only one that was asked for must be there. */
static bool open_control(struct master *master)
{
    struct error error;
    if (control_open(master, &error)) return true;
    if (master->options->control_path) {
        log_error("%s", error.text);
        return false;
    }
    log_warning("no control socket (`sluice reload` and `sluice status` won't find this one): %s", error.text);
    return true;
}

static void release(struct master *master)
{
    int signals = master->signals.descriptor;
    struct list_link *link;
    upgrade_abandon(master);
    control_close(master);
    while ((link = list_first(&master->children)) != NULL) child_destroy(CONTAINER_OF(link, struct child, siblings));
    sockets_close_all(master);
    service_manager_end(master);
    timer_clear(&master->loop.timers, &master->watch);
    timer_clear(&master->loop.timers, &master->restart);
    loop_unwatch(&master->loop, &master->signals, false);
    if (signals >= 0) close(signals);
    if (master->good_text >= 0) close(master->good_text);
    if (master->ticket_keys >= 0) close(master->ticket_keys);
    loop_turn(&master->loop, 0); /* frees what was retired */
    loop_release(&master->loop);
    free(master->program);
}

void master_init(struct master *master, const struct master_options *options)
{
    *master = (struct master){ .options = options, .exit_status = 1, .good_text = -1, .ticket_keys = -1 };
    master->signals.descriptor = -1;
    upgrade_init(&master->upgrade);
    list_init(&master->children);
    list_init(&master->addresses);
    control_init(master);
    service_manager_init(&master->service_manager);
    timer_init(&master->watch, each_watch);
    timer_init(&master->restart, restart_due);
}

static bool begin(struct master *master)
{
    master->program = program_find(master->options->program);
    service_manager_take_sockets(master);
    return open_control(master) && child_start(master);
}

/* In the place of the master that executed this binary: its gateways, sockets and clients are there already. */
static bool take_over(struct master *master)
{
    struct error error;
    uint64_t command;
    bool good = handover_read(master->options->handover, master, &command, &error) && child_adopt_all(master, &error) &&
                control_adopt(master, &error);
    close(master->options->handover);
    if (!good) {
        log_error("cannot take over: %s", error.text);
        return false;
    }
    master->ever_ready = true;
    service_manager_serving(master);
    upgrade_done(master, command);
    if (!master->serving) timer_set(&master->loop.timers, &master->restart, master->loop.now_ms);
    return true;
}

/* All that it reads are copies of somebody else's things: nothing here may be released as if it were ours. */
_Noreturn void master_check_handover(int handover)
{
    struct error error;
    uint64_t command;
    struct master *master = memory_allocate(sizeof *master);
    log_set_process_name("master");
    master_init(master, &(struct master_options){ .handover = handover });
    bool good = handover_read(handover, master, &command, &error);
    if (!good) log_error("could not take over: %s", error.text);
    _exit(good ? 0 : 1);
}

int master_run(const struct master_options *options)
{
    struct error error;
    struct master *master = memory_allocate(sizeof *master);
    log_set_process_name("master");
    raise_descriptor_limit();
    master_init(master, options);
    if (!loop_init(&master->loop, &error)) {
        log_error("%s", error.text);
        free(master);
        return 1;
    }
    loop_update_time(&master->loop);
    service_manager_begin(master);
    if (!watch_signals(master, &error)) {
        log_error("%s", error.text);
    } else if (options->handover >= 0 ? take_over(master) : begin(master)) {
        master->watched_ms = master->loop.now_ms;
        each_watch(&master->watch);
        loop_run(&master->loop);
    }
    release(master);
    int status = master->exit_status;
    free(master);
    return status;
}
