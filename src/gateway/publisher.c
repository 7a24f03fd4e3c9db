/* gateway/publisher.c: see publisher.h. */
#include "gateway/publisher.h"

#include "base/log.h"
#include "base/memory.h"
#include "event/event.h"
#include "gateway/config_text.h"

#include <malloc.h>
#include <unistd.h>

struct publisher {
    struct publisher_options options;
    struct loop loop;
    struct mailbox mailbox;
    pthread_t thread;
    bool started;
    bool stopped; /* for good: the workers may be gone, and mail that still comes only gives back what it holds */
    struct policy_kinds kinds;
    struct metrics *metrics;
    struct snapshot_builder *builder;
    struct publishing *first;        /* until every worker has given it back */
    struct worker_settings settings; /* of the newest configuration */
    struct entrances *entrances;     /* the same */
    struct worker *const *workers;
    unsigned worker_count;
    bool prefilter_running;
    _Atomic uint64_t version, routes;
    struct configuration *pending; /* read, and not applied yet; NULL: none */
    struct entrances *pending_entrances;
    int pending_text;  /* its file's text; -1: none */
    char *pending_log; /* its access log; NULL: off */
    char *log_in_force;
    bool may_change_user;  /* as the process began: later it is who it was told to be */
    _Atomic int good_text; /* descriptor of the text that was good last, until the control thread takes it; -1: none */
};

/* A publication with what belongs to it here. */
struct publishing {
    struct publication publication; /* first: workers know it by this */
    struct publisher *publisher;
    struct message adopted, returned;
    bool is_reload; /* the control thread is to hear when all have adopted */
};

/* --- mail to the control thread --- */

struct control_mail {
    struct message message;
    const struct publisher_events *events; /* not the publisher, which may be gone when the last mail is delivered */
    void *owner;
    struct facts *facts;
    char *failure; /* NULL: none */
    char *host;
    bool in_use;
};

static struct control_mail *make_control_mail(const struct publisher *publisher,
                                              void (*deliver)(struct message *, void *receiver))
{
    struct control_mail *mail = memory_allocate(sizeof *mail);
    mail->message.deliver = deliver;
    mail->events = publisher->options.events;
    mail->owner = publisher->options.owner;
    return mail;
}

static void deliver_read(struct message *message, void *receiver)
{
    (void)receiver;
    struct control_mail *mail = CONTAINER_OF(message, struct control_mail, message);
    mail->events->read(mail->owner, mail->facts, mail->failure);
    free(mail->failure);
    free(mail);
}

static void tell_read(struct publisher *publisher, struct facts *facts, char *failure)
{
    struct control_mail *mail = make_control_mail(publisher, deliver_read);
    mail->facts = facts;
    mail->failure = failure;
    mailbox_post(publisher->options.control, &mail->message);
}

static void deliver_applied(struct message *message, void *receiver)
{
    (void)receiver;
    struct control_mail *mail = CONTAINER_OF(message, struct control_mail, message);
    mail->events->applied(mail->owner, mail->failure);
    free(mail->failure);
    free(mail);
}

static void tell_applied(struct publisher *publisher, char *failure)
{
    struct control_mail *mail = make_control_mail(publisher, deliver_applied);
    mail->failure = failure;
    mailbox_post(publisher->options.control, &mail->message);
}

static void deliver_name(struct message *message, void *receiver)
{
    (void)receiver;
    struct control_mail *mail = CONTAINER_OF(message, struct control_mail, message);
    mail->events->name_used(mail->owner, slice_from_cstring(mail->host), mail->in_use);
    free(mail->host);
    free(mail);
}

static void name_used(void *argument, struct slice host, bool in_use)
{
    const struct publisher *publisher = argument;
    struct control_mail *mail = make_control_mail(publisher, deliver_name);
    mail->host = memory_copy_slice(host);
    mail->in_use = in_use;
    mailbox_post(publisher->options.control, &mail->message);
}

/* --- instances that nobody refers to --- */

struct forgetting {
    struct message message;
    struct publisher *publisher;
    struct instance *instance;
    _Atomic uint32_t pending;
};

static void deliver_forgotten(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct forgetting *forgetting = CONTAINER_OF(message, struct forgetting, message);
    instance_destroy(snapshot_builder_instances(publisher->builder), forgetting->instance);
    free(forgetting);
}

static void worker_forgot(void *argument)
{
    struct forgetting *forgetting = argument;
    if (atomic_fetch_sub_explicit(&forgetting->pending, 1, memory_order_acq_rel) != 1) return;
    mailbox_post(&forgetting->publisher->mailbox, &forgetting->message);
}

static void forget_instances(struct publisher *publisher)
{
    if (!publisher->started) return; /* at the end the builder does it, without workers */
    struct instance *instance;
    while ((instance = instance_next_forgotten(snapshot_builder_instances(publisher->builder))) != NULL) {
        struct forgetting *forgetting = memory_allocate(sizeof *forgetting);
        forgetting->message.deliver = deliver_forgotten;
        forgetting->publisher = publisher;
        forgetting->instance = instance;
        forgetting->pending = publisher->worker_count;
        for (unsigned i = 0; i < publisher->worker_count; i++)
            worker_forget(publisher->workers[i], instance, worker_forgot, forgetting);
    }
}

static void deliver_collect(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    free(message);
    snapshot_builder_collect(publisher->builder);
    forget_instances(publisher);
}

static void wake(void *argument)
{
    struct publisher *publisher = argument;
    if (!publisher->builder) return; /* it ends, and collects for itself */
    struct message *message = memory_allocate(sizeof *message);
    message->deliver = deliver_collect;
    mailbox_post(&publisher->mailbox, message);
}

/* --- publications --- */

static void deliver_adopted(struct message *message, void *receiver)
{
    struct publishing *publishing = CONTAINER_OF(message, struct publishing, adopted);
    struct publisher *publisher = receiver;
    if (publishing->is_reload && !publisher->stopped) tell_applied(publisher, NULL);
}

static void end_publishing(struct publishing *publishing)
{
    snapshot_destroy(publishing->publication.snapshot);
    entrances_drop(publishing->publication.entrances);
    free(publishing);
}

static void deliver_returned(struct message *message, void *receiver)
{
    struct publishing *publishing = CONTAINER_OF(message, struct publishing, returned);
    struct publisher *publisher = receiver;
    if (publisher->first == publishing) publisher->first = NULL;
    end_publishing(publishing);
}

static void adopted(struct publication *publication)
{
    struct publishing *publishing = CONTAINER_OF(publication, struct publishing, publication);
    mailbox_post(&publishing->publisher->mailbox, &publishing->adopted);
}

static void returned(struct publication *publication)
{
    struct publishing *publishing = CONTAINER_OF(publication, struct publishing, publication);
    mailbox_post(&publishing->publisher->mailbox, &publishing->returned);
}

static struct publishing *make_publishing(struct publisher *publisher, struct snapshot *snapshot, unsigned workers)
{
    struct publishing *publishing = memory_allocate(sizeof *publishing);
    publishing->publication = (struct publication){
        .snapshot = snapshot,
        .settings = publisher->settings,
        .entrances = publisher->entrances,
        .to_adopt = workers,
        .holders = workers,
        .adopted = adopted,
        .returned = returned,
    };
    entrances_retain(publisher->entrances);
    publishing->publisher = publisher;
    publishing->adopted.deliver = deliver_adopted;
    publishing->returned.deliver = deliver_returned;
    atomic_store_explicit(&publisher->version, snapshot->version, memory_order_relaxed);
    atomic_store_explicit(&publisher->routes, snapshot->route_count, memory_order_relaxed);
    return publishing;
}

static void want_prefilter(struct publisher *);

static void publish(struct publisher *publisher, struct publishing *publishing)
{
    if (publisher->stopped) {
        end_publishing(publishing);
        return;
    }
    for (unsigned i = 0; i < publisher->worker_count; i++)
        worker_publish(publisher->workers[i], &publishing->publication);
    want_prefilter(publisher);
}

/* --- the prefilter of regexes, on a jobs thread --- */

struct prefilter_job {
    struct job job;
    struct publisher *publisher;
    struct router_prefilter_source *source;
    struct router_prefilter *prefilter;
    struct error error;
};

static void build_prefilter(struct job *job)
{
    struct prefilter_job *building = CONTAINER_OF(job, struct prefilter_job, job);
    building->prefilter = router_prefilter_build(building->source, &building->error);
}

static void prefilter_done(struct job *job, void *receiver)
{
    struct prefilter_job *building = CONTAINER_OF(job, struct prefilter_job, job);
    struct publisher *publisher = receiver;
    publisher->prefilter_running = false;
    router_prefilter_source_destroy(building->source);
    if (building->prefilter && publisher->stopped) {
        router_prefilter_drop(building->prefilter);
    } else if (building->prefilter) {
        struct snapshot *snapshot = snapshot_builder_prefilter(publisher->builder, building->prefilter);
        publish(publisher, make_publishing(publisher, snapshot, publisher->worker_count));
    } else {
        log_warning("regexes without a literal prefix are tried one by one: %s", building->error.text);
    }
    free(building);
}

static void want_prefilter(struct publisher *publisher)
{
    if (publisher->prefilter_running) return;
    struct router_prefilter_source *source = snapshot_builder_prefilter_source(publisher->builder);
    if (!source) return;
    struct prefilter_job *building = memory_allocate(sizeof *building);
    building->job = (struct job){ .reply_to = &publisher->mailbox, .work = build_prefilter, .done = prefilter_done };
    building->publisher = publisher;
    building->source = source;
    publisher->prefilter_running = jobs_submit(publisher->options.jobs, &building->job);
    if (publisher->prefilter_running) return;
    router_prefilter_source_destroy(source);
    free(building);
}

/* --- loading --- */

/* The descriptor stays the caller's. */
static struct configuration *read_text(struct publisher *publisher, int descriptor, struct problems *problems)
{
    struct error error;
    const char *path = publisher->options.gateway->config_path;
    struct slice text = config_text_map(descriptor, &error);
    if (slice_is_absent(text)) {
        problems_add(problems, NULL, NULL, "%s", error.text);
        return NULL;
    }
    char *folder = memory_copy_slice(slice_before(slice_from_cstring(path), (size_t)(strrchr(path, '/') - path) + 1));
    struct configuration *configuration = configuration_load_text(text, path, folder, &publisher->kinds, problems);
    free(folder);
    config_text_unmap(text);
    return configuration;
}

/* *text is the file's text as it was read, for keeping; -1 where there is none. */
static struct configuration *read_configuration(struct publisher *publisher, int *text, struct problems *problems)
{
    const struct gateway_options *gateway = publisher->options.gateway;
    struct error error;
    *text = -1;
    if (!gateway->config_path)
        return configuration_for_proxy(gateway->proxy_listen, gateway->proxy_to, &publisher->kinds, problems);
    *text = config_text_read(gateway->config_path, &error);
    if (*text >= 0) return read_text(publisher, *text, problems);
    problems_add(problems, NULL, NULL, "%s", error.text);
    return NULL;
}

static void create_builder(struct publisher *publisher, unsigned workers)
{
    publisher->metrics = metrics_create(workers);
    struct snapshot_builder_settings settings = {
        .registry = publisher->options.gateway->registry,
        .metrics = publisher->metrics,
        .workers = workers,
        .wake = wake,
        .wake_argument = publisher,
        .name_used = name_used,
        .name_argument = publisher,
    };
    publisher->builder = snapshot_builder_create(&settings);
}

static void destroy_builder(struct publisher *publisher)
{
    struct snapshot_builder *builder = publisher->builder;
    if (!builder) return;
    publisher->builder = NULL; /* no mail any more from what it lets go of */
    snapshot_builder_destroy(builder);
    metrics_destroy(publisher->metrics);
    publisher->metrics = NULL;
}

/* Compiles, and takes the configuration and its entrances over where that works; else they are destroyed. */
static struct snapshot *compile(struct publisher *publisher, struct configuration *configuration,
                                struct entrances *entrances, struct problems *problems)
{
    struct worker_settings settings = facts_worker_settings(configuration);
    struct snapshot *snapshot = snapshot_builder_load(publisher->builder, configuration, problems);
    if (snapshot) {
        publisher->settings = settings;
        entrances_drop(publisher->entrances);
        publisher->entrances = entrances;
    } else {
        configuration_destroy(configuration);
        entrances_drop(entrances);
    }
    /* The document was larger than what was made of it, and that lies behind it on the heap. */
    malloc_trim(0);
    return snapshot;
}

static void keep_good_text(struct publisher *publisher, int text)
{
    int before = atomic_exchange(&publisher->good_text, text);
    if (before >= 0) close(before);
}

int publisher_take_good_text(struct publisher *publisher) { return atomic_exchange(&publisher->good_text, -1); }

static char *take_text(struct problems *problems)
{
    char *text = problems_to_text(problems);
    problems_release(problems);
    return text;
}

/* What a configuration wants of the outside. */
struct prepared {
    struct facts *facts;
    struct entrances *entrances;
};

static void forget_prepared(struct prepared *prepared)
{
    facts_destroy(prepared->facts);
    entrances_drop(prepared->entrances);
    *prepared = (struct prepared){ 0 };
}

/* False: something can't be had, and the configuration is destroyed. */
static bool prepare(struct publisher *publisher, struct configuration *configuration, struct prepared *prepared,
                    struct problems *problems)
{
    prepared->facts = facts_create(configuration);
    prepared->entrances = entrances_create(configuration, publisher->options.ticket_ring, ENTRANCES_WHOLE, problems);
    bool good = facts_prepare(prepared->facts, configuration, publisher->log_in_force, publisher->may_change_user,
                              problems);
    if (good && prepared->entrances) {
        entrances_list_certificates(prepared->entrances, &prepared->facts->certificates);
        return true;
    }
    forget_prepared(prepared);
    configuration_destroy(configuration);
    return false;
}

static char *copy_or_null(const char *text) { return text ? memory_copy_slice(slice_from_cstring(text)) : NULL; }

/* The prepared facts go to *facts where it works; else all is destroyed. */
static struct snapshot *compile_first(struct publisher *publisher, struct configuration *configuration,
                                      struct prepared *prepared, struct facts **facts, struct problems *problems)
{
    create_builder(publisher, prepared->facts->workers);
    struct snapshot *snapshot = compile(publisher, configuration, prepared->entrances, problems);
    if (snapshot) {
        *facts = prepared->facts;
        publisher->log_in_force = copy_or_null(prepared->facts->access_log);
    } else {
        facts_destroy(prepared->facts);
        destroy_builder(publisher); /* another configuration may want other numbers of workers */
    }
    return snapshot;
}

static struct snapshot *load_file(struct publisher *publisher, struct facts **facts, char **failure)
{
    struct problems problems;
    struct prepared prepared;
    struct snapshot *snapshot = NULL;
    int text;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = read_configuration(publisher, &text, &problems);
    if (configuration && prepare(publisher, configuration, &prepared, &problems))
        snapshot = compile_first(publisher, configuration, &prepared, facts, &problems);
    if (snapshot) {
        keep_good_text(publisher, text);
        problems_release(&problems);
    } else {
        if (text >= 0) close(text);
        *failure = take_text(&problems);
    }
    return snapshot;
}

/* To serve without a log is better than not to: the writer tries to open it with each page. So it is with a listener's certificates. */
static struct prepared prepare_what_can_be_had(const struct publisher *publisher,
                                               const struct configuration *configuration)
{
    struct problems problems;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct prepared prepared = {
        .facts = facts_create(configuration),
        .entrances = entrances_create(configuration, publisher->options.ticket_ring, ENTRANCES_WHAT_CAN_BE_HAD,
                                      &problems),
    };
    entrances_list_certificates(prepared.entrances, &prepared.facts->certificates);
    bool all_good = facts_prepare(prepared.facts, configuration, NULL, publisher->may_change_user, &problems);
    if (!all_good || problems.count > 0) {
        char *text = problems_to_text(&problems);
        log_lines(LOG_LEVEL_WARNING, text);
        free(text);
    }
    problems_release(&problems);
    return prepared;
}

/* After a crash, with a file that has been broken meanwhile: what was in force before the crash. */
static struct snapshot *load_fallback(struct publisher *publisher, struct facts **facts)
{
    struct problems problems;
    struct snapshot *snapshot = NULL;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = read_text(publisher, publisher->options.gateway->fallback, &problems);
    if (configuration) {
        struct prepared prepared = prepare_what_can_be_had(publisher, configuration);
        snapshot = compile_first(publisher, configuration, &prepared, facts, &problems);
    }
    problems_release(&problems);
    return snapshot;
}

struct publication *publisher_load_first(struct publisher *publisher, struct facts **facts, char **failure)
{
    *failure = NULL;
    struct snapshot *snapshot = load_file(publisher, facts, failure);
    if (!snapshot && publisher->options.gateway->fallback >= 0) {
        log_error("the configuration on disk is not good any more; serving the last one that was:");
        log_lines(LOG_LEVEL_ERROR, *failure);
        free(*failure);
        *failure = NULL;
        snapshot = load_fallback(publisher, facts);
        if (!snapshot) *failure = memory_format("the last good configuration does not load either\n");
    }
    if (!snapshot) return NULL;
    publisher->first = make_publishing(publisher, snapshot, (*facts)->workers);
    return &publisher->first->publication;
}

/* --- mail from others --- */

struct order {
    struct message message;
    char *host;
    struct address *addresses;
    size_t count;
};

static void forget_pending(struct publisher *publisher)
{
    if (publisher->pending) configuration_destroy(publisher->pending);
    entrances_drop(publisher->pending_entrances);
    if (publisher->pending_text >= 0) close(publisher->pending_text);
    free(publisher->pending_log);
    publisher->pending = NULL;
    publisher->pending_entrances = NULL;
    publisher->pending_text = -1;
    publisher->pending_log = NULL;
}

static void deliver_read_order(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct problems problems;
    free(CONTAINER_OF(message, struct order, message));
    if (publisher->stopped) return;
    forget_pending(publisher);
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = read_configuration(publisher, &publisher->pending_text, &problems);
    struct prepared prepared;
    if (configuration && prepare(publisher, configuration, &prepared, &problems)) {
        problems_release(&problems);
        publisher->pending = configuration;
        publisher->pending_entrances = prepared.entrances;
        publisher->pending_log = copy_or_null(prepared.facts->access_log);
        tell_read(publisher, prepared.facts, NULL);
    } else {
        tell_read(publisher, NULL, take_text(&problems));
    }
}

static void deliver_apply(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct problems problems;
    free(CONTAINER_OF(message, struct order, message));
    if (publisher->stopped) return;
    struct configuration *configuration = publisher->pending;
    struct entrances *entrances = publisher->pending_entrances;
    publisher->pending = NULL;
    publisher->pending_entrances = NULL;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct snapshot *snapshot = compile(publisher, configuration, entrances, &problems);
    if (snapshot) {
        problems_release(&problems);
        keep_good_text(publisher, publisher->pending_text);
        publisher->pending_text = -1;
        free(publisher->log_in_force);
        publisher->log_in_force = publisher->pending_log;
        publisher->pending_log = NULL;
        struct publishing *publishing = make_publishing(publisher, snapshot, publisher->worker_count);
        publishing->is_reload = true;
        publish(publisher, publishing);
    } else {
        tell_applied(publisher, take_text(&problems));
    }
}

static void deliver_discard(struct message *message, void *receiver)
{
    free(CONTAINER_OF(message, struct order, message));
    forget_pending(receiver);
}

static void deliver_addresses(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct order *order = CONTAINER_OF(message, struct order, message);
    struct snapshot *snapshot = snapshot_builder_addresses(publisher->builder, slice_from_cstring(order->host),
                                                           order->addresses, order->count);
    if (snapshot) publish(publisher, make_publishing(publisher, snapshot, publisher->worker_count));
    free(order->addresses);
    free(order->host);
    free(order);
}

static void give_order(struct publisher *publisher, void (*deliver)(struct message *, void *receiver))
{
    struct order *order = memory_allocate(sizeof *order);
    order->message.deliver = deliver;
    mailbox_post(&publisher->mailbox, &order->message);
}

void publisher_read(struct publisher *publisher) { give_order(publisher, deliver_read_order); }

void publisher_apply(struct publisher *publisher) { give_order(publisher, deliver_apply); }

void publisher_discard(struct publisher *publisher) { give_order(publisher, deliver_discard); }

void publisher_addresses(struct publisher *publisher, struct slice host, const struct address *addresses, size_t count)
{
    struct order *order = memory_allocate(sizeof *order);
    order->message.deliver = deliver_addresses;
    order->host = memory_copy_slice(host);
    order->addresses = memory_allocate_array(count + 1, sizeof *order->addresses);
    if (count) memcpy(order->addresses, addresses, count * sizeof *addresses);
    order->count = count;
    mailbox_post(&publisher->mailbox, &order->message);
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    free(message);
    loop_stop(&publisher->loop);
}

/* --- life --- */

struct publisher *publisher_create(const struct publisher_options *options, struct error *error)
{
    struct publisher *publisher = memory_allocate(sizeof *publisher);
    publisher->options = *options;
    publisher->good_text = publisher->pending_text = -1;
    publisher->may_change_user = geteuid() == 0;
    publisher->kinds = policy_registry_kinds(options->gateway->registry);
    if (!loop_init(&publisher->loop, error)) goto no_loop;
    if (!mailbox_init(&publisher->mailbox, &publisher->loop, publisher, error)) goto no_mailbox;
    return publisher;
no_mailbox:
    loop_release(&publisher->loop);
no_loop:
    free((void *)(uintptr_t)publisher->kinds.items);
    free(publisher);
    return NULL;
}

static void *run(void *argument)
{
    struct publisher *publisher = argument;
    pthread_setname_np(pthread_self(), "builder");
    want_prefilter(publisher);
    loop_run(&publisher->loop);
    return NULL;
}

bool publisher_start(struct publisher *publisher, struct worker *const *workers, unsigned count, struct error *error)
{
    publisher->workers = workers;
    publisher->worker_count = count;
    publisher->started = true;
    int failure = pthread_create(&publisher->thread, NULL, run, publisher);
    if (failure == 0) return true;
    publisher->started = false;
    return error_format(error, "cannot start the builder's thread: %s", strerrordesc_np(failure));
}

void publisher_stop(struct publisher *publisher)
{
    if (publisher->started) {
        struct message *message = memory_allocate(sizeof *message);
        message->deliver = deliver_stop;
        mailbox_post(&publisher->mailbox, message);
        pthread_join(publisher->thread, NULL);
    }
    publisher->started = false;
    publisher->stopped = true;
}

void publisher_destroy(struct publisher *publisher)
{
    for (int i = 0; i < 4; i++)
        loop_turn(&publisher->loop, 0);                     /* what the workers gave back while they were destroyed */
    if (publisher->first) end_publishing(publisher->first); /* the start failed before all workers had it */
    mailbox_release(&publisher->mailbox);
    destroy_builder(publisher);
    keep_good_text(publisher, -1);
    forget_pending(publisher);
    entrances_drop(publisher->entrances);
    free(publisher->log_in_force);
    loop_release(&publisher->loop);
    free((void *)(uintptr_t)publisher->kinds.items);
    free(publisher);
}

struct metrics *publisher_metrics(const struct publisher *publisher) { return publisher->metrics; }

uint64_t publisher_version(const struct publisher *publisher)
{
    return atomic_load_explicit(&publisher->version, memory_order_relaxed);
}

uint64_t publisher_routes(const struct publisher *publisher)
{
    return atomic_load_explicit(&publisher->routes, memory_order_relaxed);
}
