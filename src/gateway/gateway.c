/* gateway/gateway.c: the control thread: brings the parts up in order, speaks with the master, watches the workers, takes it all down.
 *
 * Up: configuration and first snapshot -> workers and threads -> sockets from the master -> READY. From then on only mail and
 * timers. Down (DRAIN, or the master gone): workers finish what they have, bounded by drainTimeout, then everything is joined
 * and freed, so that a leak shows in a test. */
#include "gateway/gateway.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/admin_worker.h"
#include "gateway/crash.h"
#include "gateway/publisher.h"
#include "gateway/status.h"
#include "json/writer.h"
#include "resolve/resolver.h"

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define BEAT_MS 250
#define LAST_MOMENT_MS 1000 /* between a stalled worker's SIGABRT and SIGKILL */
#define LOG_PAGES_MAX 64
#define JOB_THREADS 2
#define EXIT_BAD_CONFIGURATION 78 /* sysexits' EX_CONFIG: the master does not try again */

/* A worker's sign of life, as last seen. */
struct sign_of_life {
    uint64_t turns;
    uint64_t changed_ms;
    uint64_t condemned_ms; /* 0: not yet */
};

/* A host name whose addresses are watched. */
struct watched_name {
    struct list_link link;
    struct gateway *gateway;
    char *host;
    struct resolver_watch *watch;
};

/* A new address's sockets, until the configuration that wants them is in force. */
struct fresh_sockets {
    struct address address;
    int descriptors[SUPERVISION_DESCRIPTORS_MAX];
    uint32_t count;
};

/* read -> sockets of new addresses -> apply; a failure anywhere leaves all as it was. */
struct reload {
    bool running;
    uint64_t command;       /* to be answered; 0: by SIGHUP, nobody waits */
    struct facts *facts;    /* of what was read; NULL: not yet */
    struct vector sockets;  /* struct fresh_sockets */
};

struct gateway {
    const struct gateway_options *options;
    struct loop loop;
    struct mailbox mailbox;
    struct event_source link;
    struct timer beat, drain_limit;
    struct facts *facts;
    struct publisher *publisher;
    struct jobs *jobs;
    struct access_log *access_log;
    struct resolver *resolver;
    struct list_link names;
    struct address_limits addresses;
    struct worker **workers;
    struct sign_of_life *signs;
    struct admin_worker *admin;
    struct metrics_source figures;
    uint64_t begun_ms;
    unsigned sockets_pending; /* LISTEN messages without an answer */
    char *socket_failure;     /* of the start or the reload under way; NULL: none */
    struct reload reload;
    struct vector commands;   /* uint64_t: reloads that wait for the one under way */
    bool ready, draining;
    unsigned workers_draining;
    int exit_status;
};

/* --- the link --- */

static void send_to_master(struct gateway *gateway, enum supervision_kind kind, uint64_t number, const char *text)
{
    struct error error;
    if (gateway->link.descriptor >= 0 && !supervision_send(gateway->link.descriptor, kind, number, text, NULL, 0, &error)) {
        log_warning("%s", error.text);
    }
}

/* So that a gateway that follows a crash can serve what was in force, whatever has become of the file. */
static void hand_good_text_on(struct gateway *gateway)
{
    struct error error;
    int text = publisher_take_good_text(gateway->publisher);
    if (text < 0) return;
    if (!supervision_send(gateway->link.descriptor, SUPERVISION_GOOD_TEXT, 0, NULL, &text, 1, &error)) log_warning("%s", error.text);
    close(text);
}

static void begin_drain(struct gateway *gateway);

static void give_up(struct gateway *gateway, const char *why)
{
    log_error("%s", why);
    gateway->exit_status = 1;
    begin_drain(gateway);
}

/* --- listening sockets --- */

static void ask_for_sockets(struct gateway *gateway, const struct address *address, unsigned count)
{
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    gateway->sockets_pending++;
    send_to_master(gateway, SUPERVISION_LISTEN, count, text);
}

static void all_sockets_answered(struct gateway *gateway);

/* Deals an address's sockets to the workers; where there are fewer sockets, workers share one. */
static void deal_sockets(struct gateway *gateway, const struct fresh_sockets *fresh)
{
    if (gateway->admin && address_equal(&fresh->address, &gateway->facts->admin)) {
        for (unsigned i = 0; i < fresh->count; i++) {
            worker_listen(admin_worker_get(gateway->admin), fresh->descriptors[i], &fresh->address);
        }
        return;
    }
    unsigned workers = gateway->facts->workers, dealt = workers > fresh->count ? workers : fresh->count;
    for (unsigned i = 0; i < dealt && fresh->count > 0; i++) {
        int descriptor = i < fresh->count ? fresh->descriptors[i] : dup(fresh->descriptors[i % fresh->count]);
        if (descriptor >= 0) worker_listen(gateway->workers[i % workers], descriptor, &fresh->address);
    }
}

static void sockets_answered(struct gateway *gateway, struct supervision_message *message)
{
    struct fresh_sockets fresh = { .count = message->descriptor_count };
    memcpy(fresh.descriptors, message->descriptors, sizeof fresh.descriptors);
    if (message->kind == SUPERVISION_LISTENING && address_parse(slice_from_cstring(message->text), &fresh.address)) {
        if (gateway->reload.running) {
            vector_push_copy(&gateway->reload.sockets, &fresh);
        } else {
            deal_sockets(gateway, &fresh);
        }
    } else if (!gateway->socket_failure) {
        gateway->socket_failure = memory_format("cannot listen on %s", message->text);
    }
    if (gateway->sockets_pending > 0 && --gateway->sockets_pending == 0) all_sockets_answered(gateway);
}

/* --- privileges --- */

/* False where the configured user can't be become; everything that needs more (sockets, log) is open by now. */
static bool drop_privileges(const char *user)
{
    if (!user || geteuid() != 0) return true;
    const struct passwd *entry = getpwnam(user);
    if (!entry) {
        log_error("user \"%s\" does not exist on this machine", user);
        return false;
    }
    if (initgroups(user, entry->pw_gid) == 0 && setgid(entry->pw_gid) == 0 && setuid(entry->pw_uid) == 0) return true;
    log_error("cannot become user \"%s\": %m", user);
    return false;
}

static void become_ready(struct gateway *gateway)
{
    if (gateway->socket_failure) {
        give_up(gateway, gateway->socket_failure);
    } else if (!drop_privileges(gateway->facts->user)) {
        give_up(gateway, "not serving without the configured user");
    } else {
        gateway->ready = true;
        send_to_master(gateway, SUPERVISION_READY, publisher_version(gateway->publisher), NULL);
    }
}

/* --- reload --- */

static bool has_listener(const struct facts *facts, const struct address *address)
{
    for (size_t i = 0; i < facts->listener_count; i++) {
        if (address_equal(&facts->listeners[i], address)) return true;
    }
    return false;
}

/* An address went out of the configuration: when every worker has emptied its queue, the master may close it. */
struct unlistening {
    struct message message;
    struct gateway *gateway;
    struct address address;
    _Atomic uint32_t pending;
};

static void deliver_unlistened(struct message *message, void *receiver)
{
    struct unlistening *unlistening = CONTAINER_OF(message, struct unlistening, message);
    char text[ADDRESS_TEXT_BYTES];
    address_write(&unlistening->address, text);
    send_to_master(receiver, SUPERVISION_UNLISTEN, 0, text);
    free(unlistening);
}

static void worker_unlistened(void *argument)
{
    struct unlistening *unlistening = argument;
    if (atomic_fetch_sub_explicit(&unlistening->pending, 1, memory_order_acq_rel) != 1) return;
    mailbox_post(&unlistening->gateway->mailbox, &unlistening->message);
}

static void stop_listening(struct gateway *gateway, const struct address *address)
{
    struct unlistening *unlistening = memory_allocate(sizeof *unlistening);
    unlistening->message.deliver = deliver_unlistened;
    unlistening->gateway = gateway;
    unlistening->address = *address;
    unlistening->pending = gateway->facts->workers;
    for (unsigned i = 0; i < gateway->facts->workers; i++) {
        worker_unlisten(gateway->workers[i], address, worker_unlistened, unlistening);
    }
}

static void warn_of_unchanged(const struct facts *before, const struct facts *after)
{
    if (after->workers != before->workers) {
        log_warning("workers: %u takes effect when Sluice is started again; %u go on", after->workers, before->workers);
    }
    if (after->admin_enabled != before->admin_enabled || !address_equal(&after->admin, &before->admin)) {
        log_warning("admin: another address takes effect when Sluice is started again");
    }
}

static void begin_reload(struct gateway *gateway, uint64_t command)
{
    gateway->reload.running = true;
    gateway->reload.command = command;
    publisher_read(gateway->publisher);
}

static void order_reload(struct gateway *gateway, uint64_t command)
{
    if (gateway->reload.running) {
        vector_push_copy(&gateway->commands, &command);
    } else {
        begin_reload(gateway, command);
    }
}

static void end_reload(struct gateway *gateway, const char *answer)
{
    send_to_master(gateway, SUPERVISION_ANSWER, gateway->reload.command, answer);
    gateway->reload.running = false;
    gateway->reload.sockets.count = 0;
    facts_destroy(gateway->reload.facts);
    gateway->reload.facts = NULL;
    free(gateway->socket_failure);
    gateway->socket_failure = NULL;
    if (gateway->commands.count == 0 || gateway->draining) return;
    uint64_t next = *(uint64_t *)vector_at(&gateway->commands, 0);
    vector_remove_at(&gateway->commands, 0);
    begin_reload(gateway, next);
}

/* What was had for it goes back. */
static void refuse_reload(struct gateway *gateway, const char *why)
{
    char text[ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < gateway->reload.sockets.count; i++) {
        const struct fresh_sockets *fresh = vector_at(&gateway->reload.sockets, i);
        for (uint32_t j = 0; j < fresh->count; j++) close(fresh->descriptors[j]);
        address_write(&fresh->address, text);
        send_to_master(gateway, SUPERVISION_UNLISTEN, 0, text);
    }
    log_error("reload refused, the configuration in force stays:\n%s", why);
    char *answer = memory_format("-%s", why);
    end_reload(gateway, answer);
    free(answer);
}

static void reload_read(void *owner, struct facts *facts, const char *failure)
{
    struct gateway *gateway = owner;
    if (failure) {
        refuse_reload(gateway, failure);
        return;
    }
    gateway->reload.facts = facts;
    for (size_t i = 0; i < facts->listener_count; i++) {
        if (!has_listener(gateway->facts, &facts->listeners[i])) {
            ask_for_sockets(gateway, &facts->listeners[i], gateway->facts->workers);
        }
    }
    if (gateway->sockets_pending == 0) publisher_apply(gateway->publisher);
}

static void all_sockets_answered(struct gateway *gateway)
{
    if (!gateway->reload.running) {
        become_ready(gateway);
    } else if (gateway->socket_failure) {
        publisher_discard(gateway->publisher);
        refuse_reload(gateway, gateway->socket_failure);
    } else {
        publisher_apply(gateway->publisher);
    }
}

static void take_over_facts(struct gateway *gateway)
{
    struct facts *before = gateway->facts, *facts = gateway->reload.facts;
    warn_of_unchanged(before, facts);
    facts->workers = before->workers;
    facts->admin = before->admin;
    facts->admin_enabled = before->admin_enabled;
    gateway->facts = facts;
    gateway->reload.facts = NULL;
    access_log_retarget(gateway->access_log, facts->access_log);
    send_to_master(gateway, SUPERVISION_BEAT_BOUND, facts->stall_timeout_ms, NULL);
    for (size_t i = 0; i < before->listener_count; i++) {
        if (!has_listener(facts, &before->listeners[i])) stop_listening(gateway, &before->listeners[i]);
    }
    for (size_t i = 0; i < gateway->reload.sockets.count; i++) {
        deal_sockets(gateway, vector_at(&gateway->reload.sockets, i));
    }
    facts_destroy(before);
}

static void reload_applied(void *owner, const char *failure)
{
    struct gateway *gateway = owner;
    if (failure) {
        refuse_reload(gateway, failure);
        return;
    }
    take_over_facts(gateway);
    hand_good_text_on(gateway);
    char *answer = memory_format("+version %llu in force, %llu routes",
                                 (unsigned long long)publisher_version(gateway->publisher),
                                 (unsigned long long)publisher_routes(gateway->publisher));
    log_info("reloaded: %s", answer + 1);
    end_reload(gateway, answer);
    free(answer);
}

/* --- host names --- */

static void addresses_changed(void *argument, const struct address *addresses, size_t count, const struct error *error)
{
    struct watched_name *name = argument;
    if (error && error->reason) log_warning("host name \"%s\": %s", name->host, error->text);
    publisher_addresses(name->gateway->publisher, slice_from_cstring(name->host), addresses, count);
}

static struct watched_name *find_name(struct gateway *gateway, struct slice host)
{
    for (struct list_link *link = gateway->names.next; link != &gateway->names; link = link->next) {
        struct watched_name *name = CONTAINER_OF(link, struct watched_name, link);
        if (slice_equal(slice_from_cstring(name->host), host)) return name;
    }
    return NULL;
}

static void forget_name(struct watched_name *name)
{
    resolver_unwatch(name->watch);
    list_remove(&name->link);
    free(name->host);
    free(name);
}

static void name_used(void *owner, struct slice host, bool in_use)
{
    struct gateway *gateway = owner;
    struct watched_name *name = find_name(gateway, host);
    if (!in_use) {
        if (name) forget_name(name);
    } else if (!name && gateway->resolver) {
        name = memory_allocate(sizeof *name);
        name->gateway = gateway;
        name->host = memory_copy_slice(host);
        list_push_back(&gateway->names, &name->link);
        name->watch = resolver_watch(gateway->resolver, host, addresses_changed, name);
    }
}

static const struct publisher_events publisher_events = {
    .read = reload_read,
    .applied = reload_applied,
    .name_used = name_used,
};

/* --- status and figures --- */

static void sum_figures(const struct gateway *gateway, struct worker_figures *sum)
{
    *sum = (struct worker_figures){ 0 };
    for (unsigned i = 0; i < gateway->facts->workers; i++) worker_add_figures(gateway->workers[i], sum);
}

static void answer_status(struct gateway *gateway, uint64_t command)
{
    char text[2048];
    struct worker_figures sum;
    sum_figures(gateway, &sum);
    struct status status = {
        .workers = gateway->facts->workers,
        .snapshot_version = publisher_version(gateway->publisher),
        .routes = publisher_routes(gateway->publisher),
        .uptime_ms = gateway->loop.now_ms - gateway->begun_ms,
        .draining = gateway->draining,
        .figures = &sum,
        .access_log_lines_dropped = access_log_lines_dropped(gateway->access_log),
    };
    text[0] = '+';
    status_write(&status, text + 1, sizeof text - 1);
    send_to_master(gateway, SUPERVISION_ANSWER, command, text);
}

static void write_figures(struct metrics_text *text, void *argument)
{
    struct gateway *gateway = argument;
    struct worker_figures sum;
    sum_figures(gateway, &sum);
    figures_write_metrics(text, &sum);
    metrics_text_head(text, "sluice_snapshot_version", "gauge", "Version of the configuration in force.");
    metrics_text_line(text, "sluice_snapshot_version", NULL, publisher_version(gateway->publisher));
    metrics_text_head(text, "sluice_access_log_lines_dropped_total", "counter", "Log lines dropped because the log could not be written.");
    metrics_text_line(text, "sluice_access_log_lines_dropped_total", NULL, access_log_lines_dropped(gateway->access_log));
}

/* --- heartbeat --- */

/* A worker that does not turn is stuck in a loop or a call: its thread dies by SIGABRT, so that the backtrace shows where. One that
 * can't even take the signal (stopped by a debugger, stuck in the kernel) takes the process with it a moment later. */
static void end_stalled(struct gateway *gateway, struct worker *worker, struct sign_of_life *sign)
{
    uint64_t now_ms = gateway->loop.now_ms;
    if (sign->condemned_ms == 0) {
        sign->condemned_ms = now_ms;
        log_error("%s has not turned its loop for %llu ms: ending the gateway", worker_name(worker),
                  (unsigned long long)(now_ms - sign->changed_ms));
        pthread_kill(worker_thread(worker), SIGABRT);
    } else if (now_ms - sign->condemned_ms > LAST_MOMENT_MS) {
        kill(getpid(), SIGKILL);
    }
}

static void check_workers(struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->facts->workers; i++) {
        uint64_t turns = worker_turns(gateway->workers[i]);
        struct sign_of_life *sign = &gateway->signs[i];
        if (turns != sign->turns) {
            *sign = (struct sign_of_life){ turns, gateway->loop.now_ms, 0 };
        } else if (gateway->loop.now_ms - sign->changed_ms > gateway->facts->stall_timeout_ms) {
            end_stalled(gateway, gateway->workers[i], sign);
        }
    }
}

static void beat(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, beat);
    check_workers(gateway);
    if (gateway->ready) send_to_master(gateway, SUPERVISION_BEAT, 0, NULL);
    timer_set(&gateway->loop.timers, timer, gateway->loop.now_ms + BEAT_MS);
}

/* --- down --- */

struct drained_mail {
    struct message message;
};

static void deliver_drained(struct message *message, void *receiver)
{
    struct gateway *gateway = receiver;
    free(CONTAINER_OF(message, struct drained_mail, message));
    if (--gateway->workers_draining == 0) loop_stop(&gateway->loop);
}

/* On the worker's thread. */
static void worker_drained(void *owner)
{
    struct gateway *gateway = owner;
    struct drained_mail *mail = memory_allocate(sizeof *mail);
    mail->message.deliver = deliver_drained;
    mailbox_post(&gateway->mailbox, &mail->message);
}

static void drain_limit_passed(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, drain_limit);
    log_warning("drain timeout: %u workers still had connections; they are cut", gateway->workers_draining);
    loop_stop(&gateway->loop);
}

static void begin_drain(struct gateway *gateway)
{
    if (gateway->draining) return;
    gateway->draining = true;
    gateway->workers_draining = gateway->facts->workers;
    for (unsigned i = 0; i < gateway->facts->workers; i++) worker_drain(gateway->workers[i]);
    timer_set(&gateway->loop.timers, &gateway->drain_limit, gateway->loop.now_ms + gateway->facts->drain_timeout_ms);
}

/* --- messages of the master --- */

static void handle_message(struct gateway *gateway, struct supervision_message *message)
{
    switch (message->kind) {
    case SUPERVISION_LISTENING:
    case SUPERVISION_REFUSED:
        sockets_answered(gateway, message);
        break;
    case SUPERVISION_RELOAD:
        if (!gateway->draining) order_reload(gateway, message->number);
        break;
    case SUPERVISION_STATUS:
        answer_status(gateway, message->number);
        break;
    case SUPERVISION_REOPEN:
        access_log_reopen(gateway->access_log);
        break;
    case SUPERVISION_DRAIN:
        begin_drain(gateway);
        break;
    default:
        log_warning("unknown message %u on the supervision link", message->kind);
    }
}

static void link_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct gateway *gateway = CONTAINER_OF(source, struct gateway, link);
    static struct supervision_message message; /* 8 KiB; the control thread's alone */
    for (;;) {
        switch (supervision_receive(source->descriptor, &message)) {
        case SUPERVISION_GOT:
            handle_message(gateway, &message);
            break;
        case SUPERVISION_NOTHING:
            return;
        case SUPERVISION_GONE:
            log_warning("the master is gone: draining");
            loop_unwatch(&gateway->loop, source, false);
            begin_drain(gateway);
            return;
        }
    }
}

/* --- up --- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* What the master passes on must not also arrive by the terminal. */
static void set_signals(void)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE };
    for (size_t i = 0; i < COUNT_OF(ignored); i++) signal(ignored[i], SIG_IGN);
    crash_handler_install();
}

static bool create_worker(struct gateway *gateway, unsigned index, struct publication *first, struct error *error)
{
    struct worker_options options = {
        .index = index,
        .name = memory_format("worker %u", index),
        .metrics = publisher_metrics(gateway->publisher),
        .access_log = access_log_worker(gateway->access_log, index),
        .addresses = &gateway->addresses,
        .first = first,
        .drained = worker_drained,
        .owner = gateway,
    };
    gateway->workers[index] = worker_create(&options, error);
    return gateway->workers[index] && worker_start(gateway->workers[index], error);
}

static bool create_workers(struct gateway *gateway, struct publication *first, struct error *error)
{
    unsigned count = gateway->facts->workers;
    gateway->workers = memory_allocate_array(count, sizeof(struct worker *));
    gateway->signs = memory_allocate_array(count, sizeof *gateway->signs);
    for (unsigned i = 0; i < count; i++) {
        gateway->signs[i].changed_ms = gateway->loop.now_ms;
        if (!create_worker(gateway, i, first, error)) return false;
    }
    return true;
}

static bool create_resolver(struct gateway *gateway, struct error *error)
{
    struct resolver_settings settings = {
        .servers = gateway->facts->resolver_servers,
        .server_count = gateway->facts->resolver_server_count,
        .ttl_minimum_ms = gateway->facts->resolver_ttl_minimum_ms,
        .ttl_maximum_ms = gateway->facts->resolver_ttl_maximum_ms,
    };
    gateway->resolver = resolver_create(&gateway->loop, &settings, error);
    return gateway->resolver != NULL;
}

static bool bring_up(struct gateway *gateway, struct publication *first, struct error *error)
{
    static const char *words[STEP_COUNT];
    struct metrics *metrics = publisher_metrics(gateway->publisher);
    for (unsigned i = 0; i < STEP_COUNT; i++) words[i] = exchange_step_word(i);
    metrics_stage_names(metrics, words, STEP_COUNT);
    gateway->access_log = access_log_create(gateway->facts->access_log, gateway->facts->workers, LOG_PAGES_MAX, error);
    if (!gateway->access_log || !create_resolver(gateway, error)) return false;
    gateway->figures = (struct metrics_source){ .write = write_figures, .argument = gateway };
    metrics_add_source(metrics, &gateway->figures);
    if (!create_workers(gateway, first, error)) return false;
    if (!publisher_start(gateway->publisher, gateway->workers, gateway->facts->workers, error)) return false;
    if (gateway->facts->admin_enabled) {
        gateway->admin = admin_worker_create(gateway->options->admin_registry, metrics, &gateway->addresses, error);
        if (!gateway->admin) return false;
    }
    return true;
}

static void ask_for_all_sockets(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->facts->listener_count; i++) {
        ask_for_sockets(gateway, &gateway->facts->listeners[i], gateway->facts->workers);
    }
    if (gateway->facts->admin_enabled) ask_for_sockets(gateway, &gateway->facts->admin, 1);
}

static void take_down(struct gateway *gateway)
{
    unsigned count = gateway->workers ? gateway->facts->workers : 0;
    timer_clear(&gateway->loop.timers, &gateway->beat);
    timer_clear(&gateway->loop.timers, &gateway->drain_limit);
    if (gateway->admin) admin_worker_stop(gateway->admin);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) worker_stop(gateway->workers[i]);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) worker_join(gateway->workers[i]);
    publisher_stop(gateway->publisher);
    if (gateway->jobs) jobs_destroy(gateway->jobs);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) {
        const char *name = worker_name(gateway->workers[i]);
        worker_destroy(gateway->workers[i]);
        free((void *)(uintptr_t)name);
    }
    if (gateway->admin) admin_worker_destroy(gateway->admin);
    struct list_link *link;
    while ((link = list_first(&gateway->names)) != NULL) forget_name(CONTAINER_OF(link, struct watched_name, link));
    if (gateway->resolver) resolver_destroy(gateway->resolver);
    gateway->resolver = NULL; /* mail about names may still come */
    if (gateway->access_log) access_log_destroy(gateway->access_log);
    loop_turn(&gateway->loop, 0);
    publisher_destroy(gateway->publisher);
    mailbox_release(&gateway->mailbox);
    loop_unwatch(&gateway->loop, &gateway->link, false);
    loop_release(&gateway->loop);
    address_limits_release(&gateway->addresses);
    facts_destroy(gateway->facts);
    free(gateway->workers);
    free(gateway->signs);
    free(gateway->socket_failure);
    facts_destroy(gateway->reload.facts);
    vector_release(&gateway->reload.sockets);
    vector_release(&gateway->commands);
}

static bool create_control(struct gateway *gateway, struct error *error)
{
    if (!loop_init(&gateway->loop, error) || !mailbox_init(&gateway->mailbox, &gateway->loop, gateway, error)) return false;
    gateway->link.ready = link_ready;
    if (!loop_watch_level(&gateway->loop, &gateway->link, gateway->options->link, 1 /* EPOLLIN */, error)) return false;
    gateway->jobs = jobs_create(JOB_THREADS, error);
    if (!gateway->jobs) return false;
    struct publisher_options options = {
        .gateway = gateway->options, .jobs = gateway->jobs, .control = &gateway->mailbox, .events = &publisher_events, .owner = gateway,
    };
    gateway->publisher = publisher_create(&options, error);
    return gateway->publisher != NULL;
}

static int serve(struct gateway *gateway, struct publication *first)
{
    struct error error;
    loop_update_time(&gateway->loop);
    gateway->begun_ms = gateway->loop.now_ms;
    if (!bring_up(gateway, first, &error)) {
        log_error("%s", error.text);
        return 1;
    }
    send_to_master(gateway, SUPERVISION_BEAT_BOUND, gateway->facts->stall_timeout_ms, NULL);
    hand_good_text_on(gateway);
    ask_for_all_sockets(gateway);
    beat(&gateway->beat);
    loop_run(&gateway->loop);
    return gateway->exit_status;
}

int gateway_run(const struct gateway_options *options)
{
    struct gateway gateway = { .options = options, .link = { .descriptor = -1 } };
    struct error error;
    char *failure = NULL;
    log_set_process_name("gateway");
    set_signals();
    raise_descriptor_limit();
    list_init(&gateway.names);
    vector_init(&gateway.reload.sockets, sizeof(struct fresh_sockets));
    vector_init(&gateway.commands, sizeof(uint64_t));
    timer_init(&gateway.beat, beat);
    timer_init(&gateway.drain_limit, drain_limit_passed);
    address_limits_init(&gateway.addresses);
    if (!create_control(&gateway, &error)) {
        log_error("%s", error.text);
        return 1; /* the process ends here; nothing was begun */
    }
    struct publication *first = publisher_load_first(gateway.publisher, &gateway.facts, &failure);
    if (!first) {
        fprintf(stderr, "%s", failure);
        free(failure);
        return EXIT_BAD_CONFIGURATION;
    }
    int status = serve(&gateway, first);
    take_down(&gateway);
    return status;
}
