/* gateway/publisher.c: see publisher.h. */
#include "filters/mirror_figures.h"
#include "gateway/publisher_private.h"

#include "base/log.h"
#include "base/memory.h"
#include "event/event.h"

#include <unistd.h>

/* --- mail to the control thread --- */

struct control_mail {
    struct message message;
    const struct publisher_events *events; /* not the publisher, which may be gone when the last mail is delivered */
    void *owner;
    struct facts *facts;
    char *failure; /* NULL: none */
    char *host;
    bool in_use;
    struct vector certificates;
    struct entrances *admin;
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

void publisher_tell_read(struct publisher *publisher, struct facts *facts, char *failure)
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

void publisher_tell_applied(struct publisher *publisher, char *failure)
{
    struct control_mail *mail = make_control_mail(publisher, deliver_applied);
    mail->failure = failure;
    mailbox_post(publisher->options.control, &mail->message);
}

static void deliver_certificates(struct message *message, void *receiver)
{
    (void)receiver;
    struct control_mail *mail = CONTAINER_OF(message, struct control_mail, message);
    mail->events->certificates(mail->owner, &mail->certificates, mail->admin);
    free(mail);
}

void publisher_tell_certificates(struct publisher *publisher, struct vector *certificates, struct entrances *admin)
{
    struct control_mail *mail = make_control_mail(publisher, deliver_certificates);
    mail->certificates = *certificates;
    mail->admin = admin;
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
        forgetting->pending = publisher->worker_count + (publisher->checker ? 1 : 0);
        for (unsigned i = 0; i < publisher->worker_count; i++)
            worker_forget(publisher->workers[i], instance, worker_forgot, forgetting);
        if (publisher->checker) health_worker_forget(publisher->checker, instance, worker_forgot, forgetting);
    }
}

static void deliver_collect(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    publisher_order_destroy(message);
    snapshot_builder_collect(publisher->builder);
    forget_instances(publisher);
}

static void wake(void *argument)
{
    struct publisher *publisher = argument;
    if (!publisher->builder) return; /* it ends, and collects for itself */
    publisher_order(publisher, deliver_collect);
}

/* --- publications --- */

static void deliver_adopted(struct message *message, void *receiver)
{
    struct publishing *publishing = CONTAINER_OF(message, struct publishing, adopted);
    struct publisher *publisher = receiver;
    if (publishing->is_reload && !publisher->stopped) publisher_tell_applied(publisher, NULL);
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

static void tell_in_force(struct publishing *publishing)
{
    if (publishing->in_force) publishing->in_force(publishing->in_force_argument);
}

static void adopted(struct publication *publication)
{
    struct publishing *publishing = CONTAINER_OF(publication, struct publishing, publication);
    tell_in_force(publishing);
    mailbox_post(&publishing->publisher->mailbox, &publishing->adopted);
}

static void returned(struct publication *publication)
{
    struct publishing *publishing = CONTAINER_OF(publication, struct publishing, publication);
    mailbox_post(&publishing->publisher->mailbox, &publishing->returned);
}

struct publishing *publisher_make_publishing(struct publisher *publisher, struct snapshot *snapshot, unsigned workers)
{
    struct publishing *publishing = memory_allocate(sizeof *publishing);
    publishing->publication = (struct publication){
        .snapshot = snapshot,
        .settings = publisher->settings,
        .entrances = publisher->entrances,
        .to_adopt = workers,
        .holders = workers + (publisher->checker ? 1 : 0),
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

void publisher_publish(struct publisher *publisher, struct publishing *publishing)
{
    if (publisher->stopped) { /* nobody adopts it any more, and nobody serves by what was before */
        tell_in_force(publishing);
        end_publishing(publishing);
        return;
    }
    for (unsigned i = 0; i < publisher->worker_count; i++)
        worker_publish(publisher->workers[i], &publishing->publication);
    if (publisher->checker) health_worker_publish(publisher->checker, &publishing->publication);
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
        publisher_publish(publisher, publisher_make_publishing(publisher, snapshot, publisher->worker_count));
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

/* --- mail from others --- */

struct addresses_order {
    struct message message;
    char *host;
    struct address *addresses;
    size_t count;
};

static void deliver_addresses(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct addresses_order *order = CONTAINER_OF(message, struct addresses_order, message);
    struct snapshot *snapshot = snapshot_builder_addresses(publisher->builder, slice_from_cstring(order->host),
                                                           order->addresses, order->count);
    if (snapshot) publisher_publish(publisher, publisher_make_publishing(publisher, snapshot, publisher->worker_count));
    free(order->addresses);
    free(order->host);
    free(order);
}

void publisher_order(struct publisher *publisher, void (*deliver)(struct message *, void *receiver))
{
    struct publisher_order *order = memory_allocate(sizeof *order);
    order->message.deliver = deliver;
    mailbox_post(&publisher->mailbox, &order->message);
}

void publisher_order_destroy(struct message *message) { free(CONTAINER_OF(message, struct publisher_order, message)); }

void publisher_addresses(struct publisher *publisher, struct slice host, const struct address *addresses, size_t count)
{
    struct addresses_order *order = memory_allocate(sizeof *order);
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
    publisher_order_destroy(message);
    loop_stop(&publisher->loop);
}

/* --- life --- */

void publisher_create_builder(struct publisher *publisher, unsigned workers)
{
    publisher->metrics = metrics_create(workers);
    publisher->mirrors = mirrors_create(workers);
    publisher->mirror_figures = (struct metrics_source){ .write_some = mirrors_write_metrics,
                                                         .argument = publisher->mirrors };
    metrics_add_source(publisher->metrics, &publisher->mirror_figures);
    struct snapshot_builder_settings settings = {
        .registry = publisher->options.gateway->registry,
        .surroundings = &publisher->surroundings,
        .metrics = publisher->metrics,
        .workers = workers,
        .wake = wake,
        .wake_argument = publisher,
        .name_used = name_used,
        .name_argument = publisher,
    };
    publisher->builder = snapshot_builder_create(&settings);
}

void publisher_destroy_builder(struct publisher *publisher)
{
    struct snapshot_builder *builder = publisher->builder;
    if (!builder) return;
    publisher->builder = NULL; /* no mail any more from what it lets go of */
    snapshot_builder_destroy(builder);
    mirrors_destroy(publisher->mirrors);
    publisher->mirrors = NULL;
    metrics_destroy(publisher->metrics);
    publisher->metrics = NULL;
    limit_counters_destroy(publisher->limits);
    publisher->limits = NULL;
}

struct publisher *publisher_create(const struct publisher_options *options, struct error *error)
{
    struct publisher *publisher = memory_allocate(sizeof *publisher);
    publisher->options = *options;
    publisher->good_text = publisher->pending_text = publisher->text_in_force = -1;
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

void publisher_set_checker(struct publisher *publisher, struct health_worker *checker)
{
    publisher->checker = checker;
    atomic_fetch_add_explicit(&publisher->first->publication.holders, 1, memory_order_relaxed);
}

bool publisher_start(struct publisher *publisher, struct worker *const *workers, unsigned count, struct error *error)
{
    if (!key_index_start(&publisher->key_index, error) || !key_sets_start(publisher->key_sets, error)) return false;
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
        publisher_order(publisher, deliver_stop);
        pthread_join(publisher->thread, NULL);
    }
    publisher->started = false;
    publisher->stopped = true;
    key_index_stop(&publisher->key_index);
    if (publisher->key_sets) key_sets_stop(publisher->key_sets);
}

void publisher_destroy(struct publisher *publisher)
{
    mirrors_stop(publisher->mirrors);
    for (int i = 0; i < 4; i++)
        loop_turn(&publisher->loop, 0);                     /* what the workers gave back while they were destroyed */
    if (publisher->first) end_publishing(publisher->first); /* the start failed before all workers had it */
    mailbox_release(&publisher->mailbox);
    publisher_destroy_builder(publisher);
    key_sets_destroy(publisher->key_sets); /* nobody's chain uses a source any more */
    publisher_keep_good_text(publisher, -1);
    publisher_forget_pending(publisher);
    entrances_drop(publisher->entrances);
    key_index_release(&publisher->key_index); /* tells the changes what they may still wait for */
    if (publisher->changes) changes_destroy(publisher->changes);
    free(publisher->store);
    free(publisher->log_in_force);
    loop_release(&publisher->loop);
    free((void *)(uintptr_t)publisher->kinds.items);
    free(publisher);
}

struct limit_counters *publisher_limits(const struct publisher *publisher) { return publisher->limits; }

struct key_index *publisher_key_index(struct publisher *publisher) { return &publisher->key_index; }

struct key_sets *publisher_key_sets(const struct publisher *publisher) { return publisher->key_sets; }

struct metrics *publisher_metrics(const struct publisher *publisher) { return publisher->metrics; }

struct mirrors *publisher_mirrors(const struct publisher *publisher) { return publisher->mirrors; }

uint64_t publisher_version(const struct publisher *publisher)
{
    return atomic_load_explicit(&publisher->version, memory_order_relaxed);
}

uint64_t publisher_routes(const struct publisher *publisher)
{
    return atomic_load_explicit(&publisher->routes, memory_order_relaxed);
}
