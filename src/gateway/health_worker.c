/* gateway/health_worker.c: see health_worker.h. */
#include "gateway/health_worker.h"

#include "base/memory.h"
#include "gateway/health_checks.h"

#define MEMORY_BYTES_MAX (64u * 1024 * 1024) /* 256 checks need a quarter of it at most */
#define ARENA_CHUNKS_IDLE_MAX 64
#define SLAB_IDLE_BYTES_MAX (1024 * 1024u)

struct health_worker {
    struct loop loop;
    struct mailbox mailbox;
    struct memory_ceiling memory; /* of both pools */
    struct slab_pool slabs;
    struct arena_pool arenas;
    struct http_worker http;
    struct upstream_worker upstream;
    struct health_checks checks;
    struct publication *held; /* the newest */
    bool started;
    pthread_t thread;
};

/* --- publications --- */

static void let_go(struct publication *publication)
{
    if (atomic_fetch_sub_explicit(&publication->holders, 1, memory_order_acq_rel) == 1)
        publication->returned(publication);
}

/* Checks under way keep their services themselves, so the one before can go at once. Bodies are dropped: moving them inside the kernel
 * would spare nothing. */
static void switch_to(struct health_worker *worker, struct publication *publication)
{
    struct publication *before = worker->held;
    worker->upstream.client_settings = publication->settings.client;
    worker->upstream.client_settings.splice_bytes_min = 0;
    health_checks_adopt(&worker->checks, before ? before->snapshot : NULL, publication->snapshot);
    worker->held = publication;
    if (before) let_go(before);
}

/* --- life --- */

struct health_worker *health_worker_create(unsigned line, struct publication *first, struct error *error)
{
    struct health_worker *worker = memory_allocate_aligned(sizeof *worker);
    if (!loop_init(&worker->loop, error)) goto no_loop;
    worker->memory.bytes_max = MEMORY_BYTES_MAX;
    slab_pool_init(&worker->slabs, SLAB_IDLE_BYTES_MAX, &worker->memory);
    arena_pool_init(&worker->arenas, ARENA_CHUNKS_IDLE_MAX, &worker->memory);
    worker->http = (struct http_worker){ .loop = &worker->loop, .slabs = &worker->slabs, .arenas = &worker->arenas };
    if (!mailbox_init(&worker->mailbox, &worker->loop, worker, error)) goto no_mailbox;
    if (!upstream_worker_init(&worker->upstream, &worker->http, line, error)) goto no_upstream;
    health_checks_init(&worker->checks, &worker->upstream);
    switch_to(worker, first);
    return worker;
no_upstream:
    mailbox_release(&worker->mailbox);
no_mailbox:
    loop_release(&worker->loop);
no_loop:
    free(worker);
    return NULL;
}

static void *run(void *argument)
{
    struct health_worker *worker = argument;
    pthread_setname_np(pthread_self(), "health");
    loop_run(&worker->loop);
    return NULL;
}

bool health_worker_start(struct health_worker *worker, struct error *error)
{
    int failure = pthread_create(&worker->thread, NULL, run, worker);
    if (failure != 0)
        return error_format(error, "cannot start the health checks' thread: %s", strerrordesc_np(failure));
    worker->started = true;
    return true;
}

/* Mail that comes too late is delivered as the mailbox goes, and begins nothing. A turn lets retired memory go. */
void health_worker_destroy(struct health_worker *worker)
{
    health_checks_end(&worker->checks);
    for (int i = 0; i < 4; i++) loop_turn(&worker->loop, 0);
    upstream_worker_release(&worker->upstream);
    mailbox_release(&worker->mailbox);
    loop_turn(&worker->loop, 0);
    health_checks_release(&worker->checks);
    let_go(worker->held);
    loop_release(&worker->loop);
    slab_pool_release(&worker->slabs);
    arena_pool_release(&worker->arenas);
    free(worker);
}

/* --- mail --- */

struct mail {
    struct message message;
    struct publication *publication;
    const struct instance *instance;
    void (*done)(void *argument);
    void *argument;
};

static void post(struct health_worker *worker, const struct mail *content,
                 void (*deliver)(struct message *, void *receiver))
{
    struct mail *mail = memory_allocate(sizeof *mail);
    *mail = *content;
    mail->message.deliver = deliver;
    mailbox_post(&worker->mailbox, &mail->message);
}

static void deliver_publication(struct message *message, void *receiver)
{
    struct mail *mail = CONTAINER_OF(message, struct mail, message);
    struct publication *publication = mail->publication;
    free(mail);
    switch_to(receiver, publication);
}

static void deliver_forget(struct message *message, void *receiver)
{
    struct mail *mail = CONTAINER_OF(message, struct mail, message);
    struct health_worker *worker = receiver;
    upstream_worker_forget(&worker->upstream, mail->instance);
    mail->done(mail->argument);
    free(mail);
}

static void deliver_drain(struct message *message, void *receiver)
{
    struct health_worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    health_checks_end(&worker->checks);
    upstream_worker_close_idle(&worker->upstream);
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct health_worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    loop_stop(&worker->loop);
}

void health_worker_publish(struct health_worker *worker, struct publication *publication)
{
    post(worker, &(struct mail){ .publication = publication }, deliver_publication);
}

void health_worker_forget(struct health_worker *worker, const struct instance *instance, void (*done)(void *argument),
                          void *argument)
{
    post(worker, &(struct mail){ .instance = instance, .done = done, .argument = argument }, deliver_forget);
}

void health_worker_drain(struct health_worker *worker) { post(worker, &(struct mail){ 0 }, deliver_drain); }

void health_worker_stop(struct health_worker *worker)
{
    if (!worker->started) return;
    post(worker, &(struct mail){ 0 }, deliver_stop);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

/* --- for others --- */

char *health_worker_describe(struct health_worker *worker, struct slice service_id)
{
    return health_checks_describe(&worker->checks, service_id);
}

void health_worker_count(struct health_worker *worker, unsigned counts[HEALTH_STATES])
{
    health_checks_count(&worker->checks, counts);
}

bool health_worker_write_metrics(struct health_worker *worker, struct metrics_text *text, uint64_t *place)
{
    return health_checks_write_metrics(&worker->checks, text, place);
}
