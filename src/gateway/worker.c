/* gateway/worker.c: see worker.h. */
#include "gateway/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/listener.h"
#include "http/h2_memory.h"
#include "http/kernel_pipes.h"

#include <unistd.h>

#define ARENA_CHUNKS_IDLE_MAX 1024
#define SLAB_IDLE_BYTES_MAX (16 * 1024 * 1024u)
#define KERNEL_PIPES_MAX 512
#define KERNEL_PIPES_IDLE_MAX 32
#define LOG_FLUSH_MS 100

/* A publication as this worker holds it. */
struct held_publication {
    struct snapshot_pin pin;
    struct publication *publication;
    struct list_link link; /* worker->held: all that it has not let go of */
};

struct worker {
    struct loop loop;
    struct mailbox mailbox;
    struct memory_ceiling memory; /* of both pools */
    struct slab_pool slabs;
    struct arena_pool arenas;
    struct http_worker http;
    struct server_settings server_settings; /* a copy, so that sessions never look at a publication */
    const struct server_settings *server_settings_now;
    struct upstream_worker upstream;
    struct exchange_worker exchanges;
    struct connection_table connections;
    struct list_link listeners;
    struct entrances *entrances; /* of the newest publication; one reference */
    struct list_link held;
    struct timer second, log_flush;
    struct gauge buffer_bytes; /* what others read; the pools' own counts are not atomic */
    bool draining;
    bool started;
    struct worker_options options;
    pthread_t thread;
};

/* --- publications --- */

/* A listener whose address is in the configuration no more keeps what it has until it is closed. */
static void change_entrances(struct worker *worker, struct entrances *entrances)
{
    entrances_retain(entrances);
    entrances_drop(worker->entrances);
    worker->entrances = entrances;
    for (struct list_link *link = worker->listeners.next; link != &worker->listeners; link = link->next) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        const struct entrance *entrance = entrances_find(entrances, &listener->address);
        if (entrance) listener_change_entrance(listener, entrance);
    }
}

static void hold(struct worker *worker, struct publication *publication)
{
    struct held_publication *held = memory_allocate(sizeof *held);
    held->pin.snapshot = publication->snapshot;
    held->publication = publication;
    list_push_back(&worker->held, &held->link);
    worker->exchanges.current = &held->pin;
    worker->server_settings = publication->settings.server;
    worker->upstream.client_settings = publication->settings.client;
    worker->connections.limits = publication->settings.connections;
    worker->connections.handshakes.timeout_ms = publication->settings.handshake_timeout_ms;
    change_entrances(worker, publication->entrances);
    worker->memory.bytes_max = publication->settings.buffer_bytes_max;
    worker->exchanges.tunnels_max = publication->settings.tunnels_max;
}

static void let_go(struct held_publication *held)
{
    struct publication *publication = held->publication;
    list_remove(&held->link);
    free(held);
    if (atomic_fetch_sub_explicit(&publication->holders, 1, memory_order_acq_rel) == 1)
        publication->returned(publication);
}

static void pin_released(struct exchange_worker *exchanges, struct snapshot_pin *pin)
{
    (void)exchanges;
    let_go(CONTAINER_OF(pin, struct held_publication, pin));
}

/* The safe point: mail is delivered by the loop, so no exchange's code is on the stack. */
static void switch_to(struct worker *worker, struct publication *publication)
{
    struct snapshot_pin *before = worker->exchanges.current;
    hold(worker, publication);
    if (before && before->exchanges == 0) pin_released(&worker->exchanges, before);
}

/* --- what the loop calls --- */

static void accepted(struct listener *listener, int descriptor, const struct address *peer, void *owner)
{
    struct worker *worker = owner;
    connection_accept(&worker->connections, descriptor, peer, listener->entrance);
}

static void request_came(struct server_stream *stream, void *owner)
{
    struct worker *worker = owner;
    exchange_begin(&worker->exchanges, stream);
}

static void request_refused(const struct server_refusal *refusal, const struct peer *peer, void *owner)
{
    struct worker *worker = owner;
    struct refused_request refused = {
        .head = refusal->head,
        .peer = peer,
        .request_id = refusal->request_id,
        .error = refusal->error,
        .bytes_in = refusal->bytes_in,
        .bytes_out = refusal->bytes_out,
    };
    exchange_refused(&worker->exchanges, &refused);
}

static void connections_emptied(void *owner)
{
    struct worker *worker = owner;
    upstream_worker_close_idle(&worker->upstream);
    worker->options.drained(worker->options.owner);
}

static void each_second(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, second);
    clock_write_http_date(worker->loop.wall_ns, worker->http.date);
    exchange_worker_sweep(&worker->exchanges);
    timer_set(&worker->loop.timers, timer, worker->loop.now_ms + 1000 - worker->loop.wall_ns / 1000000 % 1000);
}

static void each_log_flush(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, log_flush);
    access_log_flush(worker->options.access_log);
    timer_set(&worker->loop.timers, timer, worker->loop.now_ms + LOG_FLUSH_MS);
}

static void after_turn(struct loop *loop, void *argument)
{
    (void)loop;
    struct worker *worker = argument;
    gauge_set(&worker->buffer_bytes, (int64_t)memory_ceiling_in_use(&worker->memory));
    if (worker->options.api_keys) api_keys_quiesce(worker->options.api_keys, worker->options.index);
}

/* --- life --- */

static void init_parts(struct worker *worker, const struct worker_options *options)
{
    slab_pool_init(&worker->slabs, SLAB_IDLE_BYTES_MAX, &worker->memory);
    arena_pool_init(&worker->arenas, ARENA_CHUNKS_IDLE_MAX, &worker->memory);
    worker->http = (struct http_worker){
        .loop = &worker->loop,
        .slabs = &worker->slabs,
        .arenas = &worker->arenas,
        .kernel_pipes = kernel_pipes_create(KERNEL_PIPES_MAX, KERNEL_PIPES_IDLE_MAX),
        .h2_memory = h2_memory_create(),
    };
    request_id_source_init(&worker->http.ids);
    worker->server_settings_now = &worker->server_settings;
    worker->connections = (struct connection_table){
        .http = &worker->http,
        .settings = &worker->server_settings_now,
        .addresses = options->addresses,
        .open = request_came,
        .refused = request_refused,
        .emptied = connections_emptied,
        .owner = worker,
    };
    connection_table_init(&worker->connections);
    worker->exchanges = (struct exchange_worker){
        .loop = &worker->loop,
        .slabs = &worker->slabs,
        .upstream = &worker->upstream,
        .metrics = options->metrics,
        .admin = options->admin,
        .access_log = options->access_log,
        .mailbox = &worker->mailbox,
        .index = options->index,
        .ids = &worker->http.ids,
        .filters = options->filters,
        .pin_released = pin_released,
        .owner = worker,
    };
}

struct worker *worker_create(const struct worker_options *options, struct error *error)
{
    struct worker *worker = memory_allocate_aligned(sizeof *worker);
    worker->options = *options;
    list_init(&worker->listeners);
    list_init(&worker->held);
    if (!loop_init(&worker->loop, error)) goto no_loop;
    init_parts(worker, options);
    if (!mailbox_init(&worker->mailbox, &worker->loop, worker, error)) goto no_mailbox;
    if (!upstream_worker_init(&worker->upstream, &worker->http, options->index, error)) goto no_upstream;
    if (!exchange_worker_init(&worker->exchanges, error)) goto no_exchanges;
    hold(worker, options->first);
    worker->loop.after_turn = after_turn;
    worker->loop.after_turn_argument = worker;
    timer_init(&worker->second, each_second);
    timer_init(&worker->log_flush, each_log_flush);
    return worker;
no_exchanges:
    upstream_worker_release(&worker->upstream);
no_upstream:
    mailbox_release(&worker->mailbox);
no_mailbox:
    kernel_pipes_destroy(worker->http.kernel_pipes);
    loop_release(&worker->loop);
    h2_memory_destroy(worker->http.h2_memory);
no_loop:
    free(worker);
    return NULL;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    pthread_setname_np(pthread_self(), worker->options.name);
    loop_update_time(&worker->loop);
    each_second(&worker->second);
    if (worker->options.access_log) each_log_flush(&worker->log_flush);
    loop_run(&worker->loop);
    return NULL;
}

bool worker_start(struct worker *worker, struct error *error)
{
    int failure = pthread_create(&worker->thread, NULL, run, worker);
    if (failure != 0)
        return error_format(error, "cannot start thread \"%s\": %s", worker->options.name, strerrordesc_np(failure));
    worker->started = true;
    return true;
}

void worker_join(struct worker *worker)
{
    if (worker->started) pthread_join(worker->thread, NULL);
    worker->started = false;
}

static void close_listeners(struct worker *worker)
{
    struct list_link *link;
    while ((link = list_first(&worker->listeners)) != NULL) listener_close(CONTAINER_OF(link, struct listener, link));
}

/* On the control thread, alone: what is still open is cut. A turn lets tasks run and retired memory go. */
void worker_destroy(struct worker *worker)
{
    close_listeners(worker);
    connection_table_abort(&worker->connections);
    for (int i = 0; i < 4; i++) loop_turn(&worker->loop, 0);
    timer_clear(&worker->loop.timers, &worker->second);
    timer_clear(&worker->loop.timers, &worker->log_flush);
    if (worker->options.access_log) access_log_flush(worker->options.access_log);
    exchange_worker_stop_filters(&worker->exchanges);
    loop_turn(&worker->loop, 0);
    upstream_worker_release(&worker->upstream);
    mailbox_release(&worker->mailbox);
    loop_turn(&worker->loop, 0);
    exchange_worker_release(&worker->exchanges);
    struct list_link *link;
    while ((link = list_first(&worker->held)) != NULL) let_go(CONTAINER_OF(link, struct held_publication, link));
    entrances_drop(worker->entrances);
    kernel_pipes_destroy(worker->http.kernel_pipes);
    loop_release(&worker->loop);
    h2_memory_destroy(worker->http.h2_memory);
    slab_pool_release(&worker->slabs);
    arena_pool_release(&worker->arenas);
    free(worker);
}

/* --- mail --- */

struct mail {
    struct message message;
    struct publication *publication;
    int descriptor;
    struct address address;
    bool for_good;
    const struct instance *instance;
    void (*done)(void *argument);
    void *argument;
};

static void post(struct worker *worker, const struct mail *content, void (*deliver)(struct message *, void *receiver))
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
    if (atomic_fetch_sub_explicit(&publication->to_adopt, 1, memory_order_acq_rel) == 1)
        publication->adopted(publication);
}

static void deliver_listen(struct message *message, void *receiver)
{
    struct mail *mail = CONTAINER_OF(message, struct mail, message);
    struct worker *worker = receiver;
    struct error error;
    if (worker->draining) {
        close(mail->descriptor);
    } else {
        struct listener *listener = listener_create(&worker->loop, mail->descriptor, &mail->address, accepted, worker,
                                                    &error);
        if (listener) {
            listener_change_entrance(listener, entrances_find(worker->entrances, &listener->address));
            list_push_back(&worker->listeners, &listener->link);
        } else {
            log_error("%s: %s", worker->options.name, error.text);
        }
    }
    free(mail);
}

static void deliver_unlisten(struct message *message, void *receiver)
{
    struct mail *mail = CONTAINER_OF(message, struct mail, message);
    struct worker *worker = receiver;
    struct list_link *next;
    for (struct list_link *link = worker->listeners.next; link != &worker->listeners; link = next) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        next = link->next;
        if (!address_equal(&listener->address, &mail->address)) continue;
        if (mail->for_good) listener_refuse_new(listener);
        listener_close(listener);
    }
    mail->done(mail->argument);
    free(mail);
}

static void deliver_forget(struct message *message, void *receiver)
{
    struct mail *mail = CONTAINER_OF(message, struct mail, message);
    struct worker *worker = receiver;
    upstream_worker_forget(&worker->upstream, mail->instance);
    mail->done(mail->argument);
    free(mail);
}

static void deliver_drain(struct message *message, void *receiver)
{
    struct worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    worker->draining = true;
    close_listeners(worker);
    connection_table_drain(&worker->connections);
}

static void deliver_cut(struct message *message, void *receiver)
{
    struct worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    connection_table_cut(&worker->connections);
}

static void deliver_end_tunnels(struct message *message, void *receiver)
{
    struct worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    exchange_worker_end_tunnels(&worker->exchanges);
}

static void deliver_yield(struct message *message, void *receiver)
{
    struct worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    worker->draining = true;
    close_listeners(worker);
    connection_table_yield(&worker->connections);
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct worker *worker = receiver;
    free(CONTAINER_OF(message, struct mail, message));
    loop_stop(&worker->loop);
}

void worker_publish(struct worker *worker, struct publication *publication)
{
    post(worker, &(struct mail){ .publication = publication }, deliver_publication);
}

void worker_listen(struct worker *worker, int descriptor, const struct address *address)
{
    post(worker, &(struct mail){ .descriptor = descriptor, .address = *address }, deliver_listen);
}

void worker_unlisten(struct worker *worker, const struct address *address, bool for_good, void (*done)(void *argument),
                     void *argument)
{
    post(worker, &(struct mail){ .address = *address, .for_good = for_good, .done = done, .argument = argument },
         deliver_unlisten);
}

void worker_forget(struct worker *worker, const struct instance *instance, void (*done)(void *argument), void *argument)
{
    post(worker, &(struct mail){ .instance = instance, .done = done, .argument = argument }, deliver_forget);
}

void worker_drain(struct worker *worker) { post(worker, &(struct mail){ .descriptor = -1 }, deliver_drain); }

void worker_cut_requests(struct worker *worker) { post(worker, &(struct mail){ .descriptor = -1 }, deliver_cut); }

void worker_end_tunnels(struct worker *worker)
{
    post(worker, &(struct mail){ .descriptor = -1 }, deliver_end_tunnels);
}

void worker_yield(struct worker *worker) { post(worker, &(struct mail){ .descriptor = -1 }, deliver_yield); }

void worker_stop(struct worker *worker) { post(worker, &(struct mail){ .descriptor = -1 }, deliver_stop); }

/* --- figures --- */

uint64_t worker_turns(const struct worker *worker) { return __atomic_load_n(&worker->loop.turns, __ATOMIC_RELAXED); }

pthread_t worker_thread(const struct worker *worker) { return worker->thread; }

const char *worker_name(const struct worker *worker) { return worker->options.name; }

static void add_handshakes(const struct handshake_figures *figures, struct worker_figures *sum)
{
    sum->handshakes += gauge_read(&figures->active);
    for (unsigned i = 0; i < 4; i++)
        sum->handshakes_completed[i / 2][i % 2] += counter_read(&figures->completed[i / 2][i % 2]);
    for (unsigned i = 0; i < HANDSHAKE_FAILURES_MAX; i++)
        sum->handshakes_failed[i] += counter_read(&figures->failed[i]);
    sum->proxies_untrusted += counter_read(&figures->proxies_untrusted);
    sum->proxies_mute += counter_read(&figures->proxies_mute);
}

void worker_add_figures(const struct worker *worker, struct worker_figures *sum)
{
    const struct upstream_counters *upstream = &worker->upstream.counters;
    sum->connections += gauge_read(&worker->connections.count);
    sum->connections_accepted += counter_read(&worker->connections.accepted);
    sum->connections_turned_away += counter_read(&worker->connections.turned_away);
    add_handshakes(&worker->connections.handshakes.figures, sum);
    sum->exchanges += gauge_read(&worker->exchanges.active);
    sum->waits += gauge_read(&worker->exchanges.waiting);
    sum->tunnels += gauge_read(&worker->exchanges.tunnels_open);
    sum->exchanges_begun += counter_read(&worker->exchanges.started);
    sum->exchanges_beyond_snapshot += counter_read(&worker->exchanges.pinned_beyond_snapshot);
    sum->buffer_bytes += gauge_read(&worker->buffer_bytes);
    sum->upstream_connections += gauge_read(&upstream->connections);
    sum->upstream_idle += gauge_read(&upstream->idle_connections);
    sum->upstream_leases += gauge_read(&upstream->leases);
    sum->upstream_waiting += gauge_read(&upstream->waiting);
    sum->upstream_calls += gauge_read(&upstream->calls);
    sum->upstream_connects += counter_read(&upstream->connects);
    sum->upstream_connect_failures += counter_read(&upstream->connect_failures);
    sum->upstream_retries += counter_read(&upstream->retries);
    sum->upstream_retries_refused += counter_read(&upstream->retries_refused);
    sum->upstream_stale_retries += counter_read(&upstream->stale_retries);
}
