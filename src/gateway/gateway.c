/* gateway/gateway.c: the control thread: brings the parts up in order, speaks with the master, watches the workers, takes it all down.
 *
 * Up: configuration and first snapshot -> workers and threads -> sockets from the master -> READY. From then on only mail and
 * timers. Down (DRAIN, or the master gone): workers finish what they have, requests within drainTimeout, WebSockets within
 * tunnelDrainTimeout and some seconds for their goodbyes, then everything is joined and freed, so that a leak shows in a test. */
#include "gateway/gateway.h"

#include "base/log.h"
#include "base/memory.h"
#include "gateway/crash.h"
#include "gateway/private.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LOG_PAGES_MAX 64
#define JOB_THREADS 2
#define TICKET_KEY_MS (12 * 60 * 60 * 1000) /* and two times as long it still decrypts */
#define TUNNELS_END_MS 6000                 /* from when they are told; each has 5 s */
#define REST_MS 5000                        /* what can be used of a store is put in force */
#define EXIT_BAD_CONFIGURATION 78           /* sysexits' EX_CONFIG: the master does not try again */

static void begin_drain(struct gateway *, void (*drain_worker)(struct worker *));

/* --- the link --- */

bool control_send(struct gateway *gateway, enum supervision_kind kind, uint64_t number, const char *text)
{
    struct error error;
    if (gateway->link.descriptor < 0) return false;
    if (supervision_send(gateway->link.descriptor, kind, number, text, NULL, 0, &error)) return true;
    log_warning("%s", error.text);
    return false;
}

static void hand_on(struct gateway *gateway, enum supervision_kind kind, int descriptor)
{
    struct error error;
    if (gateway->link.descriptor >= 0 &&
        !supervision_send(gateway->link.descriptor, kind, 0, NULL, &descriptor, 1, &error))
        log_warning("%s", error.text);
    close(descriptor);
}

void control_hand_good_text_on(struct gateway *gateway)
{
    int text = publisher_take_good_text(gateway->publisher);
    if (text >= 0) hand_on(gateway, SUPERVISION_GOOD_TEXT, text);
}

void control_hand_ticket_keys_on(struct gateway *gateway)
{
    struct error error;
    int keys = ticket_ring_write(&gateway->ticket_ring, &error);
    if (keys >= 0)
        hand_on(gateway, SUPERVISION_TICKET_KEYS, keys);
    else
        log_warning("%s", error.text);
}

/* Within so long a drain is over, whatever is open. */
static uint64_t drain_bound_ms(const struct facts *facts)
{
    uint64_t tunnels_ms = facts->tunnel_drain_timeout_ms + TUNNELS_END_MS;
    return tunnels_ms > facts->drain_timeout_ms ? tunnels_ms : facts->drain_timeout_ms;
}

void control_tell_bounds(struct gateway *gateway)
{
    control_send(gateway, SUPERVISION_BEAT_BOUND, gateway->facts->stall_timeout_ms, NULL);
    control_send(gateway, SUPERVISION_DRAIN_BOUND, drain_bound_ms(gateway->facts), NULL);
}

void control_give_up(struct gateway *gateway, const char *why)
{
    log_lines(LOG_LEVEL_ERROR, why);
    gateway->exit_status = 1;
    begin_drain(gateway, worker_drain);
}

static void take_certificates(void *owner, struct vector *certificates, struct entrances *admin)
{
    struct gateway *gateway = owner;
    if (gateway->going_down) {
        certificate_facts_release(certificates);
    } else {
        certificate_watch_take(&gateway->certificates, certificates);
        if (gateway->admin) admin_worker_renew(gateway->admin, admin);
    }
    entrances_drop(admin);
}

static const struct publisher_events publisher_events = {
    .read = control_reload_read,
    .applied = control_reload_applied,
    .name_used = control_name_used,
    .certificates = take_certificates,
};

void control_take_admin_settings(struct gateway *gateway, struct facts *facts)
{
    admin_view_take_settings(&gateway->admin_view, facts->admin_settings);
    facts->admin_settings = NULL;
}

/* --- down --- */

/* Once, by whichever comes first: the job of one that yields, or the end. */
static void stop_changes(struct stop_changes *stop)
{
    pthread_mutex_lock(&stop->lock);
    if (stop->changes) changes_stop(stop->changes);
    stop->changes = NULL;
    pthread_mutex_unlock(&stop->lock);
}

static void do_stop_changes(struct job *job) { stop_changes(CONTAINER_OF(job, struct stop_changes, job)); }

static void ignore_job(struct job *job, void *receiver) { (void)job, (void)receiver; }

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

static void stop_waiting(struct gateway *gateway)
{
    log_warning("drain timeout: %u workers still had connections; they are cut", gateway->workers_draining);
    loop_stop(&gateway->loop);
}

/* Tunnels have a time of their own. */
static void drain_limit_passed(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, drain_limit);
    if (control_open_tunnels(gateway) == 0) {
        stop_waiting(gateway);
        return;
    }
    for (unsigned i = 0; i < gateway->worker_count; i++) worker_cut_requests(gateway->workers[i]);
}

static void tunnel_limit_passed(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, tunnel_limit);
    for (unsigned i = 0; i < gateway->worker_count; i++) worker_end_tunnels(gateway->workers[i]);
}

static void last_limit_passed(struct timer *timer) { stop_waiting(CONTAINER_OF(timer, struct gateway, last_limit)); }

static void set_drain_limits(struct gateway *gateway)
{
    struct timer_wheel *timers = &gateway->loop.timers;
    uint64_t now_ms = gateway->loop.now_ms;
    timer_set(timers, &gateway->drain_limit, now_ms + gateway->facts->drain_timeout_ms);
    timer_set(timers, &gateway->tunnel_limit, now_ms + gateway->facts->tunnel_drain_timeout_ms);
    timer_set(timers, &gateway->last_limit, now_ms + drain_bound_ms(gateway->facts));
}

/* Again, to drain what only yields so far; its limit stays. */
static void begin_drain(struct gateway *gateway, void (*drain_worker)(struct worker *))
{
    for (unsigned i = 0; i < gateway->worker_count; i++) drain_worker(gateway->workers[i]);
    bool is_for_good = drain_worker == worker_drain; /* who yields may serve its connections for long */
    if (gateway->checker && is_for_good) health_worker_drain(gateway->checker);
    if (gateway->draining) return;
    gateway->draining = true;
    gateway->workers_draining = gateway->worker_count;
    set_drain_limits(gateway);
}

/* Half of the time is for idle connections to bring a last request, the other half for what has begun by then. */
static void begin_to_yield(struct gateway *gateway)
{
    gateway->yielding = true;
    if (gateway->draining) return;
    log_info("another gateway serves: finishing what is under way");
    begin_drain(gateway, worker_yield);
    if (!jobs_submit(gateway->jobs, &gateway->stop_changes.job)) log_warning("orders are taken until the end");
    if (gateway->admin) worker_yield(admin_worker_get(gateway->admin));
    uint64_t patience_ms = gateway->facts->drain_timeout_ms / 2;
    timer_set(&gateway->loop.timers, &gateway->patience, gateway->loop.now_ms + patience_ms);
}

static void patience_ended(struct timer *timer)
{
    begin_drain(CONTAINER_OF(timer, struct gateway, patience), worker_drain);
}

/* --- the keys of tickets --- */

static void set_ticket_renewal(struct gateway *gateway)
{
    timer_set(&gateway->loop.timers, &gateway->ticket_renewal, gateway->ticket_ring.renewed_ms + TICKET_KEY_MS);
}

/* One that yields keeps its keys to itself: the one that serves has its own by now. */
static void renew_ticket_key(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, ticket_renewal);
    ticket_ring_renew(&gateway->ticket_ring, gateway->loop.now_ms);
    set_ticket_renewal(gateway);
    if (gateway->ready && !gateway->draining) control_hand_ticket_keys_on(gateway);
}

static void take_ticket_keys(struct gateway *gateway, const struct supervision_message *message)
{
    struct error error;
    if (message->descriptor_count != 1) return;
    if (ticket_ring_read(&gateway->ticket_ring, message->descriptors[0], gateway->loop.now_ms, &error))
        set_ticket_renewal(gateway);
    else
        log_warning("%s", error.text);
}

/* --- messages of the master --- */

static void handle_message(struct gateway *gateway, struct supervision_message *message)
{
    switch (message->kind) {
    case SUPERVISION_LISTENING:
    case SUPERVISION_REFUSED: control_sockets_answered(gateway, message); break;
    case SUPERVISION_RELOAD:
        if (!gateway->draining) control_order_reload(gateway, message->number);
        break;
    case SUPERVISION_STATUS: control_answer_status(gateway, message->number, message->text); break;
    case SUPERVISION_REOPEN: access_log_reopen(gateway->access_log); break;
    case SUPERVISION_DRAIN:
        control_end_listening(gateway);
        begin_drain(gateway, worker_drain);
        break;
    case SUPERVISION_GIVE_UP: control_give_up_address(gateway, message->text); break;
    case SUPERVISION_YIELD: begin_to_yield(gateway); break;
    case SUPERVISION_TICKET_KEYS: take_ticket_keys(gateway, message); break;
    default: log_warning("unknown message %u on the supervision link", message->kind);
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
            supervision_close_descriptors(&message);
            break;
        case SUPERVISION_NOTHING: return;
        case SUPERVISION_GONE:
            log_warning("the master is gone: draining");
            loop_unwatch(&gateway->loop, source, false);
            control_end_listening(gateway);
            begin_drain(gateway, worker_drain);
            return;
        }
    }
}

/* --- up --- */

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
        .api_keys = publisher_key_index(gateway->publisher)->keys,
        .filters = gateway->options->registry->filters,
        .first = first,
        .drained = worker_drained,
        .owner = gateway,
    };
    gateway->workers[index] = worker_create(&options, error);
    return gateway->workers[index] && worker_start(gateway->workers[index], error);
}

static bool create_workers(struct gateway *gateway, struct publication *first, struct error *error)
{
    unsigned count = gateway->worker_count = gateway->facts->workers;
    gateway->workers = memory_allocate_array(count, sizeof(struct worker *));
    gateway->signs = memory_allocate_array(count, sizeof *gateway->signs);
    for (unsigned i = 0; i < count; i++) {
        gateway->signs[i].changed_ms = gateway->loop.now_ms;
        if (!create_worker(gateway, i, first, error)) return false;
    }
    return true;
}

static bool create_checker(struct gateway *gateway, struct publication *first, struct error *error)
{
    gateway->checker = health_worker_create(gateway->worker_count, first, error);
    if (!gateway->checker) return false;
    publisher_set_checker(gateway->publisher, gateway->checker);
    return health_worker_start(gateway->checker, error);
}

struct resolver_settings control_resolver_settings(const struct facts *facts)
{
    return (struct resolver_settings){
        .servers = facts->resolver_servers,
        .server_count = facts->resolver_server_count,
        .ttl_minimum_ms = facts->resolver_ttl_minimum_ms,
        .ttl_maximum_ms = facts->resolver_ttl_maximum_ms,
    };
}

static bool create_resolver(struct gateway *gateway, struct error *error)
{
    struct resolver_settings settings = control_resolver_settings(gateway->facts);
    gateway->resolver = resolver_create(&gateway->loop, &settings, error);
    return gateway->resolver != NULL;
}

static bool start_changes(struct gateway *gateway, struct error *error)
{
    struct changes *changes = publisher_changes(gateway->publisher);
    if (!changes_start(changes, error)) return false;
    gateway->stop_changes.changes = changes;
    return true;
}

static bool create_admin(struct gateway *gateway, struct error *error)
{
    admin_view_init(&gateway->admin_view, gateway);
    control_take_admin_settings(gateway, gateway->facts);
    if (!gateway->facts->admin_enabled) return true;
    gateway->admin = admin_worker_create(gateway->options->admin_registry, &gateway->admin_view.surroundings,
                                         &gateway->addresses, gateway->facts->admin_entrances, error);
    return gateway->admin != NULL;
}

static bool bring_up(struct gateway *gateway, struct publication *first, struct error *error)
{
    static const char *words[STEP_COUNT];
    struct metrics *metrics = publisher_metrics(gateway->publisher);
    for (unsigned i = 0; i < STEP_COUNT; i++) words[i] = exchange_step_word(i);
    metrics_stage_names(metrics, words, STEP_COUNT);
    gateway->access_log = access_log_create(gateway->facts->access_log, facts_take_log(gateway->facts),
                                            gateway->facts->workers, LOG_PAGES_MAX, error);
    if (!gateway->access_log || !create_resolver(gateway, error)) return false;
    gateway->figures = (struct metrics_source){ .write = control_write_figures, .argument = gateway };
    metrics_add_source(metrics, &gateway->figures);
    gateway->check_figures = (struct metrics_source){ .write_some = control_write_checks, .argument = gateway };
    metrics_add_source(metrics, &gateway->check_figures);
    gateway->limit_figures = (struct metrics_source){ .write_some = control_write_limits, .argument = gateway };
    metrics_add_source(metrics, &gateway->limit_figures);
    if (!create_workers(gateway, first, error)) return false;
    if (!create_checker(gateway, first, error)) return false;
    if (!publisher_start(gateway->publisher, gateway->workers, gateway->worker_count, error)) return false;
    return start_changes(gateway, error) && create_admin(gateway, error);
}

/* All that others wait for is done by now. The building of a prefilter can't be broken off and may take many seconds; whoever stops
 * Sluice shall not wait for that, and the memory goes with the process. */
static void end_jobs(struct gateway *gateway)
{
    if (!gateway->jobs) return;
    if (jobs_are_under_way(gateway->jobs)) _exit(gateway->exit_status);
    jobs_destroy(gateway->jobs);
}

static void take_down(struct gateway *gateway)
{
    unsigned count = gateway->worker_count;
    gateway->going_down = true;
    loop_unwatch(&gateway->loop, &gateway->link, false); /* no order of the master's finds what it speaks of any more */
    timer_clear(&gateway->loop.timers, &gateway->beat);
    timer_clear(&gateway->loop.timers, &gateway->drain_limit);
    timer_clear(&gateway->loop.timers, &gateway->tunnel_limit);
    timer_clear(&gateway->loop.timers, &gateway->last_limit);
    timer_clear(&gateway->loop.timers, &gateway->patience);
    timer_clear(&gateway->loop.timers, &gateway->ticket_renewal);
    stop_changes(&gateway->stop_changes); /* while there are workers to adopt, and an admin worker to hear of it */
    if (gateway->admin) admin_worker_stop(gateway->admin);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) worker_stop(gateway->workers[i]);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) worker_join(gateway->workers[i]);
    if (gateway->checker) health_worker_stop(gateway->checker);
    publisher_stop(gateway->publisher);
    for (unsigned i = 0; i < count && gateway->workers[i]; i++) {
        const char *name = worker_name(gateway->workers[i]);
        worker_destroy(gateway->workers[i]);
        free((void *)(uintptr_t)name);
    }
    if (gateway->checker) health_worker_destroy(gateway->checker);
    if (gateway->admin) admin_worker_destroy(gateway->admin);
    if (gateway->admin_view.settings) admin_view_release(&gateway->admin_view);
    control_forget_names(gateway);
    control_forget_reload(gateway);
    if (gateway->resolver) resolver_destroy(gateway->resolver);
    gateway->resolver = NULL; /* mail about names may still come */
    if (gateway->access_log) access_log_destroy(gateway->access_log);
    end_jobs(gateway);
    loop_turn(&gateway->loop, 0);
    publisher_destroy(gateway->publisher);
    certificate_watch_release(&gateway->certificates);
    mailbox_release(&gateway->mailbox);
    loop_release(&gateway->loop);
    ticket_ring_release(&gateway->ticket_ring);
    address_limits_release(&gateway->addresses);
    facts_destroy(gateway->facts);
    free(gateway->workers);
    free(gateway->signs);
    free(gateway->socket_failure);
    vector_release(&gateway->commands);
    vector_release(&gateway->passed);
}

static bool create_control(struct gateway *gateway, struct error *error)
{
    if (!loop_init(&gateway->loop, error) || !mailbox_init(&gateway->mailbox, &gateway->loop, gateway, error))
        return false;
    gateway->link.ready = link_ready;
    if (!loop_watch_level(&gateway->loop, &gateway->link, gateway->options->link, EPOLLIN, error)) return false;
    certificate_watch_init(&gateway->certificates, &gateway->loop);
    ticket_ring_init(&gateway->ticket_ring, gateway->loop.now_ms);
    set_ticket_renewal(gateway);
    gateway->jobs = jobs_create(JOB_THREADS, error);
    if (!gateway->jobs) return false;
    struct publisher_options options = {
        .gateway = gateway->options,
        .jobs = gateway->jobs,
        .ticket_ring = &gateway->ticket_ring,
        .control = &gateway->mailbox,
        .events = &publisher_events,
        .owner = gateway,
    };
    gateway->publisher = publisher_create(&options, error);
    return gateway->publisher != NULL;
}

/* Before anybody is let in. */
static bool wait_for_the_rest(const struct gateway *gateway)
{
    for (int waited_ms = 0; waited_ms < REST_MS && publisher_version(gateway->publisher) < 2; waited_ms += 2)
        usleep(2000);
    return publisher_version(gateway->publisher) >= 2;
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
    if (publisher_is_bare(gateway->publisher) && !wait_for_the_rest(gateway)) {
        log_error("nothing of what the store holds can be put in force here");
        return 1;
    }
    certificate_watch_take(&gateway->certificates, &gateway->facts->certificates);
    control_tell_bounds(gateway);
    control_hand_good_text_on(gateway);
    control_ask_for_all_sockets(gateway);
    control_beat(&gateway->beat);
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
    gateway.stop_changes = (struct stop_changes){
        .job = { .reply_to = &gateway.mailbox, .work = do_stop_changes, .done = ignore_job },
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    list_init(&gateway.names);
    vector_init(&gateway.reload.sockets, sizeof(struct fresh_sockets));
    vector_init(&gateway.commands, sizeof(uint64_t));
    vector_init(&gateway.passed, sizeof(struct address));
    timer_init(&gateway.beat, control_beat);
    timer_init(&gateway.drain_limit, drain_limit_passed);
    timer_init(&gateway.tunnel_limit, tunnel_limit_passed);
    timer_init(&gateway.last_limit, last_limit_passed);
    timer_init(&gateway.patience, patience_ended);
    timer_init(&gateway.ticket_renewal, renew_ticket_key);
    address_limits_init(&gateway.addresses);
    if (!create_control(&gateway, &error)) {
        log_error("%s", error.text);
        return 1; /* the process ends here; nothing was begun */
    }
    struct publication *first = publisher_load_first(gateway.publisher, &gateway.facts, &failure);
    if (!first) {
        fprintf(stderr, "%s", failure);
        free(failure);
        gateway.exit_status = EXIT_BAD_CONFIGURATION;
    } else {
        gateway.exit_status = serve(&gateway, first);
    }
    take_down(&gateway);
    return gateway.exit_status;
}
