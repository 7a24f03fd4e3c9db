/* keys/key_copy.c: the keys as a local file, by which a gateway that starts while the store is away lets in whom it let in before. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "keys/key_lookups_private.h"
#include "store/copy.h"

#define COPY_PAUSE_MS 60000
#define COPY_DELAY_MS 1000      /* changes come in twos and threes */
#define COPY_AT_STOP_MAX 100000 /* keys; nobody waits at the end for more to be written */

/* --- reading --- */

static void put(void *argument, const struct api_key_row *row)
{
    struct key_lookups *lookups = argument;
    api_keys_put(lookups->keys, row, API_KEY_KEEP_IF_ROOM);
}

static void say_what_it_was(const struct key_lookups *lookups, const struct keys_copy *copy)
{
    struct api_keys_figures figures;
    char at[CLOCK_ISO8601_BYTES];
    api_keys_figures(lookups->keys, &figures);
    clock_write_iso8601(copy->written_us * 1000, at);
    log_warning("API keys: %llu in memory, from the local copy of %s%s; others can't be told until the store is there",
                (unsigned long long)figures.keys, at, copy->is_whole ? "" : ", which is not all");
}

void key_copy_load(struct key_lookups *lookups)
{
    struct key_copy *copy = &lookups->copy;
    struct keys_copy read;
    struct error error;
    if (!copy->path || copy->was_looked_for || counter_read(&lookups->loads) > 0) return;
    copy->was_looked_for = copy->is_in_force = true;
    if (copy_read_keys(copy->path, &(struct api_key_visitor){ put, lookups }, &read, &error)) {
        if (read.is_whole) api_keys_trust_copy(lookups->keys);
        say_what_it_was(lookups, &read);
    } else {
        api_keys_distrust(lookups->keys); /* what of it was put already */
        log_warning("API keys: none can be told until the store is there: %s", error.text);
    }
}

/* --- writing --- */

static void write_copy(struct job *job)
{
    struct key_copy *copy = CONTAINER_OF(job, struct key_copy, job);
    struct key_lookups *lookups = CONTAINER_OF(copy, struct key_lookups, copy);
    const struct key_source *source = &lookups->source;
    copy->is_written = source->write_copy(source->argument, copy->path, copy->keys_max, &copy->error);
}

static void note_how_it_went(struct key_copy *copy)
{
    if (!copy->is_written && !copy->has_failed)
        log_warning("the local copy of API keys can't be written: %s", copy->error.text);
    copy->has_failed = !copy->is_written;
    if (copy->has_failed) copy->is_wanted = true;
}

static void copy_done(struct job *job, void *receiver)
{
    struct key_lookups *lookups = receiver;
    lookups->copy.is_running = false;
    note_how_it_went(&lookups->copy);
    if (lookups->copy.is_wanted && !lookups->has_stopped) key_copy_is_wanted(lookups);
}

/* Of more keys than fit into memory not all need stand in the file either. */
static uint64_t count_keys_max(const struct key_lookups *lookups, uint64_t *count)
{
    struct api_keys_figures figures;
    api_keys_figures(lookups->keys, &figures);
    *count = figures.keys;
    return figures.is_whole ? UINT64_MAX : figures.keys + 1;
}

static bool is_not_all_there(const struct key_lookups *lookups)
{
    return lookups->is_failing ||
           atomic_load_explicit(&((struct key_lookups *)lookups)->is_loading, memory_order_relaxed);
}

static void begin_copy(struct timer *timer)
{
    struct key_lookups *lookups = CONTAINER_OF(timer, struct key_lookups, copy.timer);
    struct key_copy *copy = &lookups->copy;
    uint64_t count;
    copy->begun_ms = lookups->loop.now_ms;
    copy->keys_max = count_keys_max(lookups, &count);
    copy->job = (struct job){ .reply_to = &lookups->mailbox, .work = write_copy, .done = copy_done };
    copy->is_written = false; /* the job's from here on */
    if (is_not_all_there(lookups) || !jobs_submit(copy->jobs, &copy->job)) {
        key_copy_is_wanted(lookups); /* in a while */
        return;
    }
    copy->is_running = true;
    copy->is_wanted = false;
}

void key_copy_is_wanted(struct key_lookups *lookups)
{
    struct key_copy *copy = &lookups->copy;
    copy->is_wanted = true;
    if (!copy->path || copy->is_running || timer_is_set(&copy->timer)) return;
    uint64_t at_ms = lookups->loop.now_ms + COPY_DELAY_MS;
    if (copy->begun_ms != 0 && copy->begun_ms + COPY_PAUSE_MS > at_ms) at_ms = copy->begun_ms + COPY_PAUSE_MS;
    timer_set(&lookups->loop.timers, &copy->timer, at_ms);
}

/* --- life --- */

bool key_copy_create(struct key_lookups *lookups, const char *path, struct error *error)
{
    struct key_copy *copy = &lookups->copy;
    timer_init(&copy->timer, begin_copy);
    if (!path) return true;
    PROMISE(lookups->source.write_copy != NULL);
    copy->jobs = jobs_create(1, error);
    if (copy->jobs) copy->path = memory_copy_slice(slice_from_cstring(path));
    return copy->jobs != NULL;
}

void key_copy_stop(struct key_lookups *lookups)
{
    struct key_copy *copy = &lookups->copy;
    uint64_t count;
    timer_clear(&lookups->loop.timers, &copy->timer);
    if (!copy->path) return;
    jobs_destroy(copy->jobs);
    copy->jobs = NULL;
    if (copy->is_running && !copy->is_written) copy->is_wanted = true;
    if (!copy->is_wanted || is_not_all_there(lookups)) return;
    copy->keys_max = count_keys_max(lookups, &count);
    if (count > COPY_AT_STOP_MAX) return;
    write_copy(&copy->job);
    note_how_it_went(copy);
}

void key_copy_destroy(struct key_lookups *lookups)
{
    if (lookups->copy.jobs) jobs_destroy(lookups->copy.jobs); /* it was never started */
    free(lookups->copy.path);
}
