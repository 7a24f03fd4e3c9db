/* gateway/publisher_change.c: changes, from the thread that makes them. It waits for what is compiled here; nothing here waits for it. */
#include "gateway/publisher_private.h"

#include "base/memory.h"

#include <semaphore.h>

/* --- prepare: the caller waits --- */

/* On the caller's stack, until `done`. */
struct preparing {
    struct message message;
    struct configuration_change *change;
    struct problems *problems;
    struct prepared_change *prepared;
    sem_t done;
};

static void forget_entrances(struct publisher *publisher)
{
    entrances_drop(publisher->prepared_entrances);
    entrances_drop(publisher->prepared_admin);
    publisher->prepared_entrances = publisher->prepared_admin = NULL;
}

static void make_entrances(struct publisher *publisher, const struct configuration *listeners,
                           const struct object_list *certificates, struct problems *problems)
{
    struct ticket_ring *ring = publisher->options.ticket_ring;
    publisher->prepared_entrances = entrances_create(listeners, certificates, ring, ENTRANCES_WHOLE, problems);
    publisher->prepared_admin = entrances_create_admin(listeners, certificates, ring, ENTRANCES_WHOLE, problems);
}

/* Listeners with the change's certificates, by the file in force; `sluice proxy` has no file, and none that would show them. */
static bool prepare_entrances(struct publisher *publisher, const struct configuration_change *change,
                              struct problems *problems)
{
    struct configuration *changed = change->configuration;
    if (!change->certificates_changed) return true;
    struct configuration *file = publisher->text_in_force >= 0 ? publisher_read_bootstrap(publisher, problems) : NULL;
    if (!file && publisher->text_in_force >= 0) return false;
    make_entrances(publisher, file ? file : changed, &changed->certificates, problems);
    configuration_destroy(file);
    return publisher->prepared_entrances && publisher->prepared_admin;
}

/* All problems of a change at once, so its routes are compiled whatever its certificates are like. */
static struct prepared_change *prepare(struct publisher *publisher, struct configuration_change *change,
                                       struct problems *problems)
{
    PROMISE(!publisher->prepared);
    bool entrances_good = prepare_entrances(publisher, change, problems);
    publisher->prepared = snapshot_builder_prepare(publisher->builder, change, problems);
    if (publisher->prepared && entrances_good) return publisher->prepared;
    if (publisher->prepared) snapshot_builder_abandon(publisher->builder, publisher->prepared);
    publisher->prepared = NULL;
    forget_entrances(publisher);
    return NULL;
}

static void deliver_prepare(struct message *message, void *receiver)
{
    struct preparing *preparing = CONTAINER_OF(message, struct preparing, message);
    preparing->prepared = prepare(receiver, preparing->change, preparing->problems);
    sem_post(&preparing->done); /* from here on it may be gone */
}

struct prepared_change *publisher_prepare(void *argument, struct configuration_change *change,
                                          struct problems *problems)
{
    struct publisher *publisher = argument;
    struct preparing preparing = {
        .message.deliver = deliver_prepare,
        .change = change,
        .problems = problems,
    };
    PROMISE(sem_init(&preparing.done, 0, 0) == 0);
    mailbox_post(&publisher->mailbox, &preparing.message);
    while (sem_wait(&preparing.done) != 0) {} /* EINTR */
    sem_destroy(&preparing.done);
    return preparing.prepared;
}

/* --- commit or abandon: nobody waits --- */

struct deciding {
    struct message message;
    struct prepared_change *prepared;
    void (*in_force)(void *argument);
    void *in_force_argument;
};

static void decide(struct publisher *publisher, const struct deciding *content,
                   void (*deliver)(struct message *, void *receiver))
{
    struct deciding *deciding = memory_allocate(sizeof *deciding);
    *deciding = *content;
    deciding->message.deliver = deliver;
    mailbox_post(&publisher->mailbox, &deciding->message);
}

static void end_preparation(struct publisher *publisher, struct deciding *deciding)
{
    PROMISE(publisher->prepared == deciding->prepared);
    publisher->prepared = NULL;
    free(deciding);
    publisher_resume_apply(publisher);
}

static void change_entrances(struct publisher *publisher)
{
    struct vector certificates;
    if (!publisher->prepared_entrances) return;
    entrances_drop(publisher->entrances);
    publisher->entrances = publisher->prepared_entrances;
    publisher->prepared_entrances = NULL;
    struct entrances *admin = publisher->prepared_admin;
    publisher->prepared_admin = NULL;
    entrances_list_certificates(publisher->entrances, &certificates);
    publisher_tell_certificates(publisher, &certificates, admin);
}

static void deliver_commit(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct deciding *deciding = CONTAINER_OF(message, struct deciding, message);
    struct snapshot *snapshot = snapshot_builder_commit(publisher->builder, deciding->prepared);
    change_entrances(publisher);
    struct publishing *publishing = publisher_make_publishing(publisher, snapshot, publisher->worker_count);
    publishing->in_force = deciding->in_force;
    publishing->in_force_argument = deciding->in_force_argument;
    publisher_publish(publisher, publishing);
    end_preparation(publisher, deciding);
}

static void deliver_abandon(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct deciding *deciding = CONTAINER_OF(message, struct deciding, message);
    snapshot_builder_abandon(publisher->builder, deciding->prepared);
    forget_entrances(publisher);
    end_preparation(publisher, deciding);
}

void publisher_commit(void *argument, struct prepared_change *prepared, void (*in_force)(void *argument),
                      void *in_force_argument)
{
    decide(argument,
           &(struct deciding){ .prepared = prepared, .in_force = in_force, .in_force_argument = in_force_argument },
           deliver_commit);
}

void publisher_abandon(void *argument, struct prepared_change *prepared)
{
    decide(argument, &(struct deciding){ .prepared = prepared }, deliver_abandon);
}
