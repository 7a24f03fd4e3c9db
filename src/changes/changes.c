/* changes/changes.c: the thread that owns the store: orders and questions in line, and what is waited for until it is in force. */
#include "changes/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>

#define STOP_WAIT_MS 2000

/* Committed, and on its way to the workers. */
struct in_force_wait {
    struct message message;
    struct list_link link;
    struct changes *changes;
    struct change_order *order; /* NULL: nobody waits, or it was answered */
    unsigned pending;           /* the gateway, the index of keys: under the gate's lock */
};

/* --- the gateway --- */

static void ignore_wake(void *argument) {}

static void forget_versions(const struct configuration *configuration)
{
    struct route_config *routes = configuration->routes.items;
    for (size_t i = 0; i < configuration->routes.count; i++) routes[i].version = SLICE_ABSENT;
}

/* API versions stand in a gateway's file, and a store knows nothing of them. What is known of that file decides. */
static void set_versions(const struct changes *changes, const struct draft *draft, struct configuration *configuration)
{
    const struct configuration *gateway = changes->options.gateway_file;
    configuration->file = gateway ? gateway->file : SLICE_ABSENT;
    configuration->api_versions = gateway && gateway->api_versions.count ? gateway->api_versions : draft->api_versions;
    if (!gateway && configuration->api_versions.count == 0) forget_versions(configuration);
}

/* What is compiled for checking alone. */
static bool try_compile(struct changes *changes, const struct draft *draft, struct configuration_change *change)
{
    set_versions(changes, draft, change->configuration);
    struct metrics *metrics = metrics_create(1);
    struct snapshot_builder_settings settings = {
        .registry = changes->offline, .metrics = metrics, .workers = 1, .wake = ignore_wake
    };
    struct snapshot_builder *builder = snapshot_builder_create(&settings);
    struct snapshot *snapshot = snapshot_builder_load(builder, change->configuration, draft->problems);
    change->configuration = NULL;
    if (snapshot) snapshot_destroy(snapshot);
    snapshot_builder_destroy(builder);
    metrics_destroy(metrics);
    return snapshot != NULL;
}

bool changes_compile(struct changes *changes, struct draft *draft, const struct effect_options *options,
                     struct prepared_change **prepared)
{
    const struct changes_gateway *gateway = &changes->options.gateway;
    bool failed, ok = true;
    *prepared = NULL;
    struct configuration_change *change = effect_create(draft, options, &failed);
    if (!change) return !failed;
    if (changes->offline) {
        ok = try_compile(changes, draft, change);
        free(change);
    } else if (gateway->prepare) {
        *prepared = gateway->prepare(gateway->argument, change, draft->problems);
        ok = *prepared != NULL;
    } else {
        configuration_change_destroy(change);
    }
    return ok;
}

/* What was left out already may stay so; but nothing is written that wouldn't be in force. */
static bool is_all_in(struct changes *changes, struct draft *draft)
{
    size_t before = draft->problems->count;
    for (size_t i = 0; i < draft->items.count; i++) {
        const struct draft_item *item = draft_item_at(draft, i);
        const char *why = item->after && draft_item_differs(item) ? map_find(&changes->left_out, item->id) : NULL;
        if (why)
            problems_add(draft->problems, item->written, NULL, "%s \"%s\": %s", resource_types[item->kind].word,
                         problems_excerpt(item->after->name).text, why);
    }
    return draft->problems->count == before;
}

bool changes_prepare(struct changes *changes, struct draft *draft, struct prepared_change **prepared)
{
    struct effect_options options = { .whole = changes->offline != NULL,
                                      .doubles = draft->problems,
                                      .refuses_doubles = true };
    if (!changes->is_behind && changes->left_out.count == 0) return changes_compile(changes, draft, &options, prepared);
    /* Something that others wrote can't be compiled here. */
    if (!left_out_prepare(changes, draft, &options, prepared)) return false;
    if (is_all_in(changes, draft)) return true;
    if (*prepared) changes_abandon(changes, *prepared);
    *prepared = NULL;
    return false;
}

void changes_abandon(struct changes *changes, struct prepared_change *prepared)
{
    changes->options.gateway.abandon(changes->options.gateway.argument, prepared);
    left_out_take_back(changes);
}

static void wait_is_over(struct message *message, void *receiver)
{
    struct in_force_wait *wait = CONTAINER_OF(message, struct in_force_wait, message);
    if (wait->order) wait->order->done(wait->order, wait->order->argument);
    list_remove(&wait->link);
    free(wait);
}

/* On any thread, once for each that it waits for. Once the gate is closed the wait is changes_destroy's to free. */
static void note_in_force(void *argument)
{
    struct in_force_wait *wait = argument;
    struct changes *changes = wait->changes;
    pthread_mutex_lock(&changes->gate);
    if (--wait->pending == 0 && changes->is_open) mailbox_post(&changes->mailbox, &wait->message);
    pthread_mutex_unlock(&changes->gate);
}

static struct in_force_wait *begin_wait(struct changes *changes, struct change_order *order, unsigned pending)
{
    struct in_force_wait *wait = memory_allocate(sizeof *wait);
    wait->message.deliver = wait_is_over;
    wait->changes = changes;
    wait->order = order;
    wait->pending = pending;
    list_push_back(&changes->waits, &wait->link);
    return wait;
}

static void commit(struct changes *changes, struct prepared_change *prepared, struct in_force_wait *wait)
{
    left_out_keep(changes);
    changes->is_behind = false;
    changes->options.gateway.commit(changes->options.gateway.argument, prepared, note_in_force, wait);
}

void changes_put_in_force(struct changes *changes, struct prepared_change *prepared)
{
    commit(changes, prepared, begin_wait(changes, NULL, 1));
}

void changes_tell_keys(struct changes *changes, const struct slice *ids, size_t count)
{
    if (changes->options.keys_changed)
        changes->options.keys_changed(changes->options.keys_argument, ids, count, NULL, NULL);
}

bool changes_answer_in_force(struct changes *changes, struct prepared_change *prepared, const struct slice *keys,
                             size_t key_count, struct change_order *order)
{
    bool tells_keys = key_count > 0 && changes->options.keys_changed;
    unsigned pending = (prepared ? 1 : 0) + (tells_keys ? 1 : 0);
    if (pending == 0) return false;
    struct in_force_wait *wait = begin_wait(changes, order, pending);
    if (tells_keys) changes->options.keys_changed(changes->options.keys_argument, keys, key_count, note_in_force, wait);
    if (prepared) commit(changes, prepared, wait);
    return true;
}

void changes_draft_init(struct changes *changes, struct draft *draft, struct problems *problems)
{
    uint64_t now = now_us();
    draft_init(draft, changes->catalog, changes->options.kinds, changes->options.folder, problems,
               now > changes->last_us ? now : changes->last_us + 1);
}

/* --- the line --- */

static void deliver_order(struct message *, void *receiver);
static void deliver_question(struct message *, void *receiver);

static void stand_in_line(struct changes *changes, struct message *message)
{
    message->next = NULL;
    *changes->last = message;
    changes->last = &message->next;
    loop_enqueue_next(&changes->loop, &changes->work);
}

static void deliver_order(struct message *message, void *receiver) { stand_in_line(receiver, message); }
static void deliver_question(struct message *message, void *receiver) { stand_in_line(receiver, message); }

/* Found the line too long: it only comes by to be answered here, so that nobody is called back out of his own call. */
static void deliver_refused_order(struct message *message, void *receiver)
{
    struct change_order *order = CONTAINER_OF(message, struct change_order, message);
    order->done(order, order->argument);
}

static void deliver_refused_question(struct message *message, void *receiver)
{
    struct change_question *question = CONTAINER_OF(message, struct change_question, message);
    question->done(question, question->argument);
}

static void question_is_away(struct change_question *question, const char *text)
{
    error_set(&question->error, BLAME_US, RETRY_NEVER, 503, "store-unavailable", "%s", text);
    question->outcome = CHANGE_STORE_AWAY;
}

static void answer_question(struct changes *changes, struct change_question *question)
{
    if (question->is_forgotten && question->is_forgotten(question->argument)) {
        question->outcome = CHANGE_NOTHING;
    } else if (!changes->options.store) {
        question->outcome = CHANGE_READ_ONLY;
    } else if (changes->stopping) {
        question_is_away(question, "sluice is stopping");
    } else if (changes->is_away) {
        question->error = changes->why_away;
        question->outcome = CHANGE_STORE_AWAY;
    } else if (question->about == QUESTION_API_KEYS || question->about == QUESTION_API_KEY) {
        keys_answer(changes, question);
    } else {
        history_answer(changes, question);
    }
    question->done(question, question->argument);
}

/* Whoever asks for a dry run and goes would keep the thread from those who stayed. A change is made all the same: its client may have seen
 * that it was taken. */
static bool is_for_nobody(const struct change_order *order)
{
    return order->dry_run && order->is_forgotten && order->is_forgotten(order->argument);
}

static void take_order(struct changes *changes, struct change_order *order)
{
    bool waits = false;
    if (is_for_nobody(order)) {
        order->outcome = CHANGE_NOTHING;
    } else if (changes->stopping) {
        order_answer_away(order, "sluice is stopping");
    } else {
        waits = order_run(changes, order);
    }
    if (!waits) order->done(order, order->argument);
}

static void stop_if_finished(struct changes *changes)
{
    if (changes->stopping && !changes->first && list_is_empty(&changes->waits)) loop_stop(&changes->loop);
}

/* One a turn: between two, mail is taken in and timers fire. */
static void take_next(struct task *task)
{
    struct changes *changes = CONTAINER_OF(task, struct changes, work);
    struct message *message = changes->first;
    if (!message) return;
    changes->first = message->next;
    if (!changes->first) changes->last = &changes->first;
    atomic_fetch_sub(&changes->waiting, 1);
    if (message->deliver == deliver_order) {
        take_order(changes, CONTAINER_OF(message, struct change_order, message));
    } else {
        answer_question(changes, CONTAINER_OF(message, struct change_question, message));
    }
    if (!changes->stopping) follow_after_use(changes);
    if (changes->first) loop_enqueue_next(&changes->loop, &changes->work);
}

/* True: it was posted. */
static bool post(struct changes *changes, struct message *message)
{
    pthread_mutex_lock(&changes->gate);
    bool is_open = changes->is_open;
    if (is_open) mailbox_post(&changes->mailbox, message);
    pthread_mutex_unlock(&changes->gate);
    return is_open;
}

static bool has_room(struct changes *changes)
{
    if (atomic_fetch_add(&changes->waiting, 1) < CHANGES_WAITING_MAX) return true;
    atomic_fetch_sub(&changes->waiting, 1);
    return false;
}

void changes_submit(struct changes *changes, struct change_order *order)
{
    order->message.deliver = deliver_order;
    if (!has_room(changes)) {
        order_answer_away(order, "too many changes wait");
        order->message.deliver = deliver_refused_order;
    }
    if (post(changes, &order->message)) return;
    order_answer_away(order, "sluice is stopping");
    order->done(order, order->argument);
}

void changes_ask(struct changes *changes, struct change_question *question)
{
    question->message.deliver = deliver_question;
    if (!has_room(changes)) {
        question_is_away(question, "too many changes wait");
        question->message.deliver = deliver_refused_question;
    }
    if (post(changes, &question->message)) return;
    question_is_away(question, "sluice is stopping");
    question->done(question, question->argument);
}

/* --- life --- */

static void answer_waits(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, stop_timer);
    for (struct list_link *link = changes->waits.next; link != &changes->waits; link = link->next) {
        struct in_force_wait *wait = CONTAINER_OF(link, struct in_force_wait, link);
        struct change_order *order = wait->order;
        wait->order = NULL;
        if (order) order->done(order, order->argument);
    }
    loop_stop(&changes->loop);
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct changes *changes = receiver;
    changes->stopping = true;
    timer_set(&changes->loop.timers, &changes->stop_timer, changes->loop.now_ms + STOP_WAIT_MS);
}

static void after_turn(struct loop *loop, void *argument) { stop_if_finished(argument); }

static void close_gate(struct changes *changes)
{
    pthread_mutex_lock(&changes->gate);
    changes->is_open = false;
    pthread_mutex_unlock(&changes->gate);
}

/* What came after the last turn. */
static void empty_the_line(struct changes *changes)
{
    while (changes->first) {
        loop_dequeue(&changes->loop, &changes->work);
        take_next(&changes->work);
    }
    loop_dequeue(&changes->loop, &changes->work);
}

static void *run(void *argument)
{
    struct changes *changes = argument;
    pthread_setname_np(pthread_self(), "changes");
    follow_start(changes);
    loop_run(&changes->loop);
    follow_stop(changes);
    close_gate(changes);
    mailbox_release(&changes->mailbox);
    empty_the_line(changes);
    timer_clear(&changes->loop.timers, &changes->stop_timer);
    return NULL;
}

static void copy_options(struct changes *changes, const struct changes_options *options)
{
    changes->options = *options;
    if (options->store) changes->options.store = memory_copy_slice(slice_from_cstring(options->store));
    if (options->gateway_name)
        changes->options.gateway_name = memory_copy_slice(slice_from_cstring(options->gateway_name));
    if (options->copy_path) changes->options.copy_path = memory_copy_slice(slice_from_cstring(options->copy_path));
    changes->options.folder = memory_copy_slice(slice_from_cstring(options->folder ? options->folder : "/"));
}

struct changes *changes_create(const struct changes_options *options, struct error *error)
{
    struct changes *changes = memory_allocate(sizeof *changes);
    copy_options(changes, options);
    changes->catalog = catalog_create();
    changes->last = &changes->first;
    changes->work.run = take_next;
    changes->stop.deliver = deliver_stop;
    changes->notifications.descriptor = -1;
    pthread_mutex_init(&changes->gate, NULL);
    pthread_mutex_init(&changes->health_lock, NULL);
    list_init(&changes->waits);
    timer_init(&changes->stop_timer, answer_waits);
    gateways_init(changes);
    map_init(&changes->left_out);
    map_init(&changes->left_out_before);
    if (follow_open(changes, error)) return changes;
    changes_destroy(changes);
    return NULL;
}

struct changes *changes_create_offline(const struct changes_options *options, const struct policy_registry *registry,
                                       struct error *error)
{
    struct changes_options without = *options;
    without.copy_path = NULL;
    without.gateway = (struct changes_gateway){ 0 };
    struct changes *changes = changes_create(&without, error);
    if (changes) changes->offline = registry;
    return changes;
}

void changes_run(struct changes *changes, struct change_order *order) { order_run(changes, order); }

void changes_not_loaded(struct changes *changes) { changes->is_behind = true; }

bool changes_start(struct changes *changes, struct error *error)
{
    changes->stopping = false;
    if (!loop_init(&changes->loop, error)) return false;
    changes->loop.after_turn = after_turn;
    changes->loop.after_turn_argument = changes;
    if (!mailbox_init(&changes->mailbox, &changes->loop, changes, error)) {
        loop_release(&changes->loop);
        return false;
    }
    changes->jobs = jobs_create(1, error);
    changes->is_open = changes->has_thread = changes->jobs != NULL;
    if (changes->jobs) {
        int number = pthread_create(&changes->thread, NULL, run, changes);
        if (number == 0) return true;
        error_format(error, "cannot start the changes thread: %s", error_from_errno(number));
        jobs_destroy(changes->jobs);
    }
    changes->is_open = changes->has_thread = false;
    mailbox_release(&changes->mailbox);
    loop_release(&changes->loop);
    return false;
}

void changes_stop(struct changes *changes)
{
    if (!changes || !changes->has_thread) return;
    post(changes, &changes->stop);
    pthread_join(changes->thread, NULL);
    loop_release(&changes->loop);
    changes->has_thread = false;
}

void changes_destroy(struct changes *changes)
{
    if (!changes) return;
    changes_stop(changes);
    struct list_link *link;
    while ((link = list_first(&changes->waits))) {
        list_remove(link);
        free(CONTAINER_OF(link, struct in_force_wait, link));
    }
    left_out_forget(changes);
    gateways_release(changes);
    if (changes->store) store_close(changes->store);
    catalog_destroy(changes->catalog);
    pthread_mutex_destroy(&changes->gate);
    pthread_mutex_destroy(&changes->health_lock);
    free((char *)(uintptr_t)changes->options.store);
    free((char *)(uintptr_t)changes->options.copy_path);
    free((char *)(uintptr_t)changes->options.folder);
    free((char *)(uintptr_t)changes->options.gateway_name);
    free(changes);
}

struct catalog *changes_catalog(struct changes *changes) { return changes->catalog; }

void changes_health(struct changes *changes, struct changes_health *health)
{
    pthread_mutex_lock(&changes->health_lock);
    *health = changes->health;
    pthread_mutex_unlock(&changes->health_lock);
    health->revision = catalog_revision(changes->catalog);
}
