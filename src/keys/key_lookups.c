/* keys/key_lookups.c: the thread: what it does next, and what it hears.
 *
 * Each turn of its loop hands over the mail and then does one step, the most urgent one, of bounded length; so a change waits for
 * one step at most. The steps themselves stand in key_lookups_steps.c. */
#include "keys/key_lookups.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "keys/key_lookups_private.h"

#define WAITING_MAX 8192
#define RETRY_MS_MIN 100
#define RETRY_MS_MAX 2000
#define USES_EVERY_MS 2000
#define USES_AGAIN_MS 30000 /* after they could not be written */
#define CHANGED_MAX 1000000 /* more at once: all are read anew */

/* --- the next step --- */

static void write_uses(struct key_lookups *lookups)
{
    if (key_lookups_write_uses(lookups)) return;
    timer_set(&lookups->loop.timers, &lookups->uses, lookups->loop.now_ms + USES_AGAIN_MS);
}

static bool step(struct key_lookups *lookups)
{
    if (lookups->changed_first < lookups->changed.count) return key_lookups_reread(lookups);
    if (lookups->asks) return key_lookups_answer(lookups);
    if (atomic_load_explicit(&lookups->is_loading, memory_order_relaxed)) return key_lookups_load_page(lookups);
    if (lookups->uses_due) write_uses(lookups);
    return true;
}

static bool has_work(const struct key_lookups *lookups)
{
    return lookups->changed_first < lookups->changed.count || lookups->asks || lookups->uses_due ||
           atomic_load_explicit(&((struct key_lookups *)lookups)->is_loading, memory_order_relaxed);
}

static void work(struct task *task)
{
    struct key_lookups *lookups = CONTAINER_OF(task, struct key_lookups, work);
    if (lookups->is_failing || lookups->has_stopped) return;
    if (!step(lookups)) return; /* key_lookups_failed() has seen to the rest */
    if (has_work(lookups)) loop_enqueue_next(&lookups->loop, &lookups->work);
}

static void go_on(struct key_lookups *lookups)
{
    if (has_work(lookups)) loop_enqueue_next(&lookups->loop, &lookups->work);
}

/* --- a store that doesn't answer --- */

void key_lookups_failed(struct key_lookups *lookups, const struct error *error)
{
    counter_add(&lookups->failed, 1);
    if (!lookups->is_failing) log_warning("API keys: look-ups in the store fail: %s", error->text);
    lookups->is_failing = true;
    atomic_store_explicit(&lookups->is_answering, false, memory_order_relaxed);
    api_keys_set_answering(lookups->keys, false);
    while (lookups->asks) key_lookups_tell(lookups, key_lookups_next_ask(lookups), API_KEY_AWAY);
    key_lookups_tell_changed(lookups, true); /* they are in doubt until they can be read */
    lookups->retry_ms = lookups->retry_ms ? lookups->retry_ms * 2 : RETRY_MS_MIN;
    if (lookups->retry_ms > RETRY_MS_MAX) lookups->retry_ms = RETRY_MS_MAX;
    timer_set(&lookups->loop.timers, &lookups->retry, lookups->loop.now_ms + lookups->retry_ms);
}

static void begin_anew(struct key_lookups *lookups)
{
    lookups->copy.is_in_force = false;
    lookups->changed.count = lookups->changed_first = 0;
    lookups->reread_total = lookups->changed_total; /* they will be, with all others */
    api_keys_distrust(lookups->keys);
    key_lookups_tell_changed(lookups, true); /* nothing is believed any more */
    key_lookups_load_begin(lookups);
    loop_enqueue_next(&lookups->loop, &lookups->work);
}

static void no_key(void *argument, const struct api_key_row *row) {}

static void try_again(struct timer *timer)
{
    struct key_lookups *lookups = CONTAINER_OF(timer, struct key_lookups, retry);
    static const uint8_t nobodys[API_KEY_HASH_BYTES];
    struct error error;
    if (lookups->has_stopped) return;
    if (!lookups->source.find(lookups->source.argument, nobodys, &(struct api_key_visitor){ no_key, NULL }, &error)) {
        key_lookups_failed(lookups, &error);
        return;
    }
    lookups->is_failing = false;
    lookups->retry_ms = 0;
    if (lookups->copy.is_in_force) begin_anew(lookups); /* before anything in it can be asked for */
    atomic_store_explicit(&lookups->is_answering, true, memory_order_relaxed);
    api_keys_set_answering(lookups->keys, true);
    log_info("API keys: the store answers again");
    go_on(lookups);
}

/* --- asking --- */

static void deliver_ask(struct message *message, void *receiver)
{
    struct key_lookups *lookups = receiver;
    struct key_ask *ask = CONTAINER_OF(message, struct key_ask, message);
    if (lookups->is_failing || lookups->has_stopped) {
        key_lookups_tell(lookups, ask, API_KEY_AWAY);
        return;
    }
    ask->next = NULL;
    *lookups->asks_last = ask;
    lookups->asks_last = &ask->next;
    loop_enqueue_next(&lookups->loop, &lookups->work);
}

enum api_key_found key_lookups_ask(struct key_lookups *lookups, const uint8_t hash[API_KEY_HASH_BYTES],
                                   const struct key_asker *asker)
{
    uint32_t waiting = atomic_fetch_add_explicit(&lookups->waiting, 1, memory_order_relaxed);
    struct key_ask *ask = waiting < lookups->waiting_max ? malloc(sizeof *ask) : NULL;
    if (!ask) {
        atomic_fetch_sub_explicit(&lookups->waiting, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&lookups->overloaded, 1, memory_order_relaxed);
        return API_KEY_AWAY;
    }
    ask->message.deliver = deliver_ask;
    ask->asker = *asker;
    memcpy(ask->hash, hash, sizeof ask->hash);
    mailbox_post(&lookups->mailbox, &ask->message);
    return API_KEY_ASK;
}

struct key_ask *key_lookups_next_ask(struct key_lookups *lookups)
{
    struct key_ask *ask = lookups->asks;
    lookups->asks = ask->next;
    if (!lookups->asks) lookups->asks_last = &lookups->asks;
    return ask;
}

void key_lookups_tell(struct key_lookups *lookups, struct key_ask *ask, enum api_key_found found)
{
    atomic_fetch_sub_explicit(&lookups->waiting, 1, memory_order_relaxed);
    ask->asker.answered(&ask->asker, found);
    free(ask);
}

/* --- changes --- */

void key_lookups_tell_changed(struct key_lookups *lookups, bool all)
{
    while (lookups->told && (all || lookups->told->until <= lookups->reread_total)) {
        struct key_change *change = lookups->told;
        lookups->told = change->next;
        if (!lookups->told) lookups->told_last = &lookups->told;
        change->in_force(change->argument);
        free(change);
    }
}

static void doubt(struct key_lookups *lookups, const struct key_change *change)
{
    for (size_t i = 0; i < change->count; i++) {
        char id[API_KEY_UUID_BYTES];
        api_key_uuid_write(change->ids[i], id);
        api_keys_doubt(lookups->keys, slice_of(id, sizeof id - 1));
        vector_push_copy(&lookups->changed, change->ids[i]);
    }
    lookups->changed_total += change->count;
    loop_enqueue_next(&lookups->loop, &lookups->work);
}

static void deliver_changed(struct message *message, void *receiver)
{
    struct key_lookups *lookups = receiver;
    struct key_change *change = CONTAINER_OF(message, struct key_change, message);
    bool too_many = lookups->changed.count - lookups->changed_first + change->count > CHANGED_MAX;
    bool is_any = change->count == 0 || too_many;
    if (!lookups->has_stopped && is_any) {
        begin_anew(lookups);
    } else if (!lookups->has_stopped) {
        doubt(lookups, change);
    }
    if (!change->in_force) {
        free(change);
        return;
    }
    change->next = NULL;
    change->until = lookups->changed_total;
    *lookups->told_last = change;
    lookups->told_last = &change->next;
    if (lookups->has_stopped || lookups->is_failing || is_any) key_lookups_tell_changed(lookups, true);
}

void key_lookups_changed(struct key_lookups *lookups, const struct slice *ids, size_t count,
                         void (*in_force)(void *argument), void *argument)
{
    bool any = ids == NULL || count > CHANGED_MAX;
    struct key_change *change = memory_allocate(sizeof *change + (any ? 0 : count * sizeof(key_uuid)));
    change->message.deliver = deliver_changed;
    change->in_force = in_force;
    change->argument = argument;
    for (size_t i = 0; !any && i < count; i++) {
        if (api_key_uuid_parse(ids[i], change->ids[change->count])) change->count++;
    }
    if (any || change->count > 0) {
        mailbox_post(&lookups->mailbox, &change->message);
        return;
    }
    free(change); /* one that is no UUID is in no index */
    if (in_force) in_force(argument);
}

/* --- the thread --- */

static void uses_are_due(struct timer *timer)
{
    struct key_lookups *lookups = CONTAINER_OF(timer, struct key_lookups, uses);
    lookups->uses_due = true;
    timer_set(&lookups->loop.timers, &lookups->uses, lookups->loop.now_ms + USES_EVERY_MS);
    loop_enqueue_next(&lookups->loop, &lookups->work);
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct key_lookups *lookups = receiver;
    lookups->has_stopped = true;
    while (lookups->asks) key_lookups_tell(lookups, key_lookups_next_ask(lookups), API_KEY_AWAY);
    key_lookups_tell_changed(lookups, true);
    for (int i = 0; i < 64 && !lookups->is_failing; i++) {
        if (!key_lookups_write_uses(lookups) || !lookups->uses_due) break;
    }
    loop_stop(&lookups->loop);
}

static void *run(void *argument)
{
    struct key_lookups *lookups = argument;
    loop_update_time(&lookups->loop);
    timer_set(&lookups->loop.timers, &lookups->uses, lookups->loop.now_ms + USES_EVERY_MS);
    key_lookups_load_begin(lookups);
    loop_enqueue_next(&lookups->loop, &lookups->work);
    loop_run(&lookups->loop);
    timer_clear(&lookups->loop.timers, &lookups->uses);
    timer_clear(&lookups->loop.timers, &lookups->retry);
    key_copy_stop(lookups);
    if (lookups->work.queued) loop_dequeue(&lookups->loop, &lookups->work);
    return NULL;
}

struct key_lookups *key_lookups_create(const struct key_lookups_options *options, struct error *error)
{
    struct key_lookups *lookups = memory_allocate_aligned(sizeof *lookups);
    lookups->keys = options->keys;
    lookups->source = options->source;
    lookups->waiting_max = options->waiting_max ? options->waiting_max : WAITING_MAX;
    lookups->asks_last = &lookups->asks;
    lookups->told_last = &lookups->told;
    lookups->work.run = work;
    atomic_init(&lookups->is_answering, true);
    timer_init(&lookups->retry, try_again);
    timer_init(&lookups->uses, uses_are_due);
    vector_init(&lookups->changed, sizeof(key_uuid));
    lookups->stop.deliver = deliver_stop;
    if (loop_init(&lookups->loop, error)) {
        if (mailbox_init(&lookups->mailbox, &lookups->loop, lookups, error)) {
            if (key_copy_create(lookups, options->copy_path, error)) return lookups;
            mailbox_release(&lookups->mailbox);
        }
        loop_release(&lookups->loop);
    }
    lookups->source.close(lookups->source.argument);
    free(lookups);
    return NULL;
}

bool key_lookups_start(struct key_lookups *lookups, struct error *error)
{
    atomic_store_explicit(&lookups->is_loading, true, memory_order_relaxed);
    int failure = pthread_create(&lookups->thread, NULL, run, lookups);
    if (failure != 0) return error_format(error, "cannot start the thread of API keys: %s", error_from_errno(failure));
    pthread_setname_np(lookups->thread, "api-keys");
    lookups->is_running = true;
    return true;
}

void key_lookups_stop(struct key_lookups *lookups)
{
    if (!lookups->is_running) return;
    mailbox_post(&lookups->mailbox, &lookups->stop);
    pthread_join(lookups->thread, NULL);
    lookups->is_running = false;
}

void key_lookups_destroy(struct key_lookups *lookups)
{
    if (!lookups) return;
    key_lookups_stop(lookups);
    lookups->has_stopped = true;
    key_copy_destroy(lookups);
    mailbox_release(&lookups->mailbox);
    loop_release(&lookups->loop);
    vector_release(&lookups->changed);
    lookups->source.close(lookups->source.argument);
    free(lookups);
}

void key_lookups_figures(struct key_lookups *lookups, struct key_lookups_figures *figures)
{
    *figures = (struct key_lookups_figures){
        .asked = counter_read(&lookups->asked),
        .joined = counter_read(&lookups->joined),
        .overloaded = atomic_load_explicit(&lookups->overloaded, memory_order_relaxed),
        .failed = counter_read(&lookups->failed),
        .reread = counter_read(&lookups->reread),
        .uses = counter_read(&lookups->uses_written),
        .loads = counter_read(&lookups->loads),
        .is_loading = atomic_load_explicit(&lookups->is_loading, memory_order_acquire),
        .is_answering = atomic_load_explicit(&lookups->is_answering, memory_order_relaxed),
    };
}
