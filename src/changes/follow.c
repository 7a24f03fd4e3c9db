/* changes/follow.c: the store as others change it: what they did is read and put in force; while it is away the catalog stays, and it is
 * asked for again and again. */
#include "changes/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "store/copy.h"

#include <sys/epoll.h>

#define POLL_MS 1000
#define PAUSE_MS_MIN 100
#define PAUSE_MS_MAX 2000
#define TRY_AGAIN_MS 30000
#define STATEMENT_MS 3000
#define REVISIONS_AT_ONCE 256

/* --- health --- */

static void note_health(struct changes *changes)
{
    struct changes_health *health = &changes->health;
    pthread_mutex_lock(&changes->health_lock);
    health->store_is_there = !changes->is_away;
    snprintf(health->problem, sizeof health->problem, "%s", changes->is_away ? changes->why_away.text : "");
    if (!changes->is_away) {
        health->behind_since_ms = 0;
        health->from_copy = false;
    } else if (!health->behind_since_ms) {
        health->behind_since_ms = clock_monotonic_ns() / 1000000;
    }
    pthread_mutex_unlock(&changes->health_lock);
}

/* When the store was asked, not when it answered, let alone when it was last believed to be there: an answer may be long on its way, and
 * nobody knows what others did meanwhile. */
static void note_heard(struct changes *changes, uint64_t asked_us)
{
    pthread_mutex_lock(&changes->health_lock);
    changes->health.heard_us = asked_us;
    pthread_mutex_unlock(&changes->health_lock);
}

/* From here on nobody hears of what others do, whether the store is there or not. */
static void note_stopped(struct changes *changes)
{
    struct changes_health *health = &changes->health;
    pthread_mutex_lock(&changes->health_lock);
    if (health->store_is_there)
        snprintf(health->problem, sizeof health->problem, "sluice is stopping: it is not followed any more");
    health->store_is_there = false;
    if (!health->behind_since_ms) health->behind_since_ms = clock_monotonic_ns() / 1000000;
    pthread_mutex_unlock(&changes->health_lock);
}

static void note_store_name(struct changes *changes)
{
    const char *location = changes->options.store;
    char *name = location ? store_location_show(slice_from_cstring(location)) : memory_copy_slice(SLICE("file"));
    pthread_mutex_lock(&changes->health_lock);
    snprintf(changes->health.store, sizeof changes->health.store, "%s", name);
    pthread_mutex_unlock(&changes->health_lock);
    free(name);
}

/* --- what is in the store, as a draft --- */

static void take_row(void *argument, const struct store_row *row)
{
    struct draft *draft = argument;
    if (!is_uuid(row->id) || row->kind >= RESOURCE_API_KEY) {
        log_error("store: a row of %s has no id that could be one, and is left out", resource_types[row->kind].path);
        return;
    }
    draft_put(draft, row->kind, row->id,
              draft_entry(draft, row->kind, row->id, row->document, row->created_us, row->updated_us), NULL);
}

static void take_all_away(struct changes *changes, struct draft *draft)
{
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        struct vector entries;
        vector_init(&entries, sizeof(struct catalog_entry *));
        draft_list(draft, kind, &entries);
        for (size_t i = 0; i < entries.count; i++)
            draft_put(draft, kind, ((struct catalog_entry *)vector_pointer_at(&entries, i))->id, NULL, NULL);
        draft_drop_all(&entries);
    }
}

static bool read_everything(struct changes *changes, struct draft *draft, uint64_t *revision, uint64_t *at_us,
                            struct error *error)
{
    struct store_visitor visitor = { take_row, draft };
    take_all_away(changes, draft);
    if (!store_read_all(changes->store, &visitor, revision, error)) return false;
    *at_us = store_head_at(changes->store);
    return true;
}

/* What others did, revision by revision: of each resource the last state. */
struct following {
    struct draft *draft;
    struct arena arena;
    struct map last[RESOURCE_KIND_COUNT]; /* by id: struct history_change */
    struct vector keys;                   /* struct slice: ids */
    uint64_t read, at_us;
    uint64_t ours_at_us; /* of the first one, which is the one that we have; 0: there is none to be compared */
    bool ok;
};

static void note_last(void *argument, const struct history_change *change)
{
    struct following *following = argument;
    if (change->kind == RESOURCE_API_KEY) {
        vector_push_copy(&following->keys, &change->id);
        return;
    }
    struct history_change *last = arena_allocate_zeroed(&following->arena, sizeof *last);
    PROMISE(last != NULL);
    *last = *change;
    last->at_us = following->at_us;
    map_set(&following->last[change->kind], change->id, last);
}

static void follow_revision(void *argument, const struct store_revision *revision)
{
    struct following *following = argument;
    bool is_ours = following->ours_at_us != 0;
    following->at_us = revision->at_us;
    following->ok = following->ok && revision->number == following->read + 1 &&
                    (is_ours ? revision->at_us == following->ours_at_us
                             : history_read(&following->arena, revision->changes, note_last, following));
    following->ours_at_us = 0;
    following->read = revision->number;
}

static void put_last(struct following *following, enum resource_kind kind, const struct history_change *last)
{
    struct draft *draft = following->draft;
    struct catalog_entry *after = NULL;
    if (!is_uuid(last->id)) return;
    if (last->after)
        after = draft_entry(draft, kind, last->id, node_write_json(&following->arena, last->after),
                            last->created_after_us, last->at_us);
    draft_put(draft, kind, last->id, after, NULL);
}

/* False: *error. Where revisions don't reach back, following->ok is false. */
static bool read_revisions(struct changes *changes, struct following *following, struct error *error)
{
    struct store_revision_visitor visitor = { follow_revision, following };
    uint64_t before;
    do {
        before = following->read;
        if (!store_read_revisions_after(changes->store, before, REVISIONS_AT_ONCE, &visitor, error)) return false;
    } while (following->ok && following->read != before);
    for (int kind = 0; following->ok && kind < RESOURCE_API_KEY; kind++) {
        struct map_entry *entry;
        for (size_t at = 0; (entry = map_next(&following->last[kind], &at));) put_last(following, kind, entry->value);
    }
    return true;
}

/* --- into force --- */

void follow_apply(struct changes *changes, struct draft *draft, uint64_t revision, uint64_t at_us)
{
    struct catalog_change *items = memory_allocate_array(draft->items.count + 1, sizeof *items);
    for (size_t i = 0; i < draft->items.count; i++) {
        const struct draft_item *item = draft_item_at(draft, i);
        const struct catalog_entry *after = item->after;
        items[i] = (struct catalog_change){ item->kind, item->id, after ? catalog_entry_retain(item->after) : NULL };
        if (after && after->created_us > changes->last_us) changes->last_us = after->created_us;
        if (after && after->updated_us > changes->last_us) changes->last_us = after->updated_us;
    }
    catalog_apply(changes->catalog, items, draft->items.count, revision);
    changes->head_at_us = at_us;
    free(items);
    local_copy_is_wanted(changes);
}

static bool prepare(struct changes *changes, struct draft *draft, struct problems *doubles,
                    struct prepared_change **prepared)
{
    struct effect_options options = { .doubles = doubles };
    bool is_whole_here = !changes->is_behind && changes->left_out.count == 0;
    if (is_whole_here && changes_compile(changes, draft, &options, prepared)) return true;
    changes->try_again_ms = changes->loop.now_ms + TRY_AGAIN_MS;
    return left_out_prepare(changes, draft, &options, prepared);
}

/* Somebody who wrote them was not refused, an older version as like as not: as there, the last one acts. */
static void warn_of_doubles(const struct problems *doubles)
{
    if (doubles->count == 0) return;
    char *text = problems_to_text(doubles);
    log_warning("others wrote plugins of which one alone acts, the last one:");
    log_lines(LOG_LEVEL_WARNING, text);
    free(text);
}

static void publish(struct changes *changes, struct draft *draft, uint64_t revision, uint64_t at_us)
{
    struct prepared_change *prepared = NULL;
    struct problems doubles;
    bool was_behind = changes->is_behind;
    problems_init(&doubles, NULL);
    changes->is_behind = !prepare(changes, draft, &doubles, &prepared);
    warn_of_doubles(&doubles);
    problems_release(&doubles);
    if (changes->is_behind && !was_behind) {
        char *text = problems_to_text(draft->problems);
        log_error("revision %llu can't be put in force here; what was before it stays:", (unsigned long long)revision);
        log_lines(LOG_LEVEL_ERROR, text);
        free(text);
    }
    follow_apply(changes, draft, revision, at_us);
    if (prepared) {
        changes_put_in_force(changes, prepared);
    } else {
        left_out_keep(changes);
    }
}

/* All of it again: a file may have come. */
static void try_left_out_again(struct changes *changes)
{
    if (!changes->is_behind && changes->left_out.count == 0) return;
    if (changes->loop.now_ms < changes->try_again_ms) return;
    struct problems problems;
    struct draft draft;
    problems_init(&problems, NULL);
    changes_draft_init(changes, &draft, &problems);
    publish(changes, &draft, catalog_revision(changes->catalog), changes->head_at_us);
    draft_release(&draft);
    problems_release(&problems);
}

static bool follow_all_anew(struct changes *changes, struct error *error)
{
    struct problems problems;
    struct draft draft;
    uint64_t revision, at_us;
    problems_init(&problems, NULL);
    changes_draft_init(changes, &draft, &problems);
    bool ok = read_everything(changes, &draft, &revision, &at_us, error);
    if (ok) {
        log_info("store: all read anew, revision %llu", (unsigned long long)revision);
        publish(changes, &draft, revision, at_us);
        changes_tell_keys(changes, NULL, 0);
    }
    draft_release(&draft);
    problems_release(&problems);
    return ok;
}

static bool follow_revisions(struct changes *changes, bool *reached, struct error *error)
{
    struct problems problems;
    struct draft draft;
    uint64_t before = catalog_revision(changes->catalog);
    struct following following = {
        .draft = &draft,
        .read = before ? before - 1 : 0,
        .ours_at_us = before ? changes->head_at_us : 0,
        .ok = true,
    };
    problems_init(&problems, NULL);
    changes_draft_init(changes, &draft, &problems);
    arena_init(&following.arena, NULL);
    vector_init(&following.keys, sizeof(struct slice));
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_init(&following.last[kind]);

    bool ok = read_revisions(changes, &following, error);
    *reached = ok && following.ok && following.read > before;
    if (*reached) {
        draft_follow_names(&draft); /* what they renamed is in the revisions; names that mean another one now are not */
        publish(changes, &draft, following.read, following.at_us);
        if (following.keys.count) changes_tell_keys(changes, following.keys.items, following.keys.count);
    }
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_release(&following.last[kind]);
    vector_release(&following.keys);
    arena_release(&following.arena);
    draft_release(&draft);
    problems_release(&problems);
    return ok;
}

bool follow_is_at(const struct changes *changes, uint64_t head)
{
    return head == catalog_revision(changes->catalog) && store_head_at(changes->store) == changes->head_at_us;
}

/* What came after the revision that we have, or all of it, where the store's history is not the one that ours is of: a replica that lacked
 * the last commit, a file that was put in another one's place. */
bool follow_head(struct changes *changes, uint64_t head, struct error *error)
{
    uint64_t revision = catalog_revision(changes->catalog);
    if (follow_is_at(changes, head)) return true;
    bool reached = false;
    if (head > revision && !follow_revisions(changes, &reached, error)) return false;
    return reached || follow_all_anew(changes, error);
}

/* --- there, away, there again --- */

/* Anew each time: a connection that was replaced has the same number more often than not, and epoll forgot the old one as it was closed. */
static void watch_store(struct changes *changes)
{
    int descriptor = changes->store ? store_descriptor(changes->store) : -1;
    struct error error;
    if (descriptor < 0 || changes->is_away) {
        loop_unwatch(&changes->loop, &changes->notifications, false);
    } else if (!loop_watch_level(&changes->loop, &changes->notifications, descriptor, EPOLLIN, &error)) {
        log_warning("store: %s: others' changes are seen by the poll alone", error.text);
    }
}

void follow_store_lost(struct changes *changes, const struct error *error)
{
    if (!changes->is_away) log_warning("store: lost: %s; what is in force stays in force", error->text);
    changes->is_away = true;
    changes->why_away = *error;
    note_health(changes);
    if (!changes->has_thread) return;
    loop_unwatch(&changes->loop, &changes->notifications, false);
    changes->pause_ms = PAUSE_MS_MIN;
    timer_set(&changes->loop.timers, &changes->poll, changes->loop.now_ms + changes->pause_ms);
}

/* False: it was lost, or has another trouble that was logged. */
static bool take_head(struct changes *changes, uint64_t head)
{
    struct error error;
    if (follow_head(changes, head, &error)) return true;
    if (strcmp(error.reason, "store-unavailable") == 0) {
        follow_store_lost(changes, &error);
    } else {
        log_error("store: %s", error.text);
    }
    return false;
}

/* API keys that others changed meanwhile are told by what is followed: those that the revisions name, or all of them where all is read anew.
 * To doubt them all each time would let a short absence cost as much as a long one. */
static bool look(struct changes *changes, struct error *error)
{
    uint64_t head;
    struct store_settings settings = { .location = changes->options.store, .timeout_ms = STATEMENT_MS };
    if (!changes->store) {
        changes->store = store_open(&settings, error);
        if (!changes->store) return false;
    }
    return store_read_head(changes->store, &head, error) && follow_head(changes, head, error);
}

static void try_to_return(struct changes *changes)
{
    struct error error;
    uint64_t asked_us = now_us();
    if (look(changes, &error)) {
        changes->is_away = false;
        log_info("store: it is there again, revision %llu", (unsigned long long)catalog_revision(changes->catalog));
        note_heard(changes, asked_us); /* after look(): keys that changed meanwhile must not be believed once more */
        note_health(changes);
        watch_store(changes);
        return;
    }
    changes->why_away = error;
    note_health(changes);
    changes->pause_ms = changes->pause_ms * 2 < PAUSE_MS_MAX ? changes->pause_ms * 2 : PAUSE_MS_MAX;
}

static void look_around(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, poll);
    struct error error;
    uint64_t head, asked_us = now_us();
    if (changes->is_away) {
        try_to_return(changes);
    } else if (!store_read_head(changes->store, &head, &error)) {
        if (strcmp(error.reason, "store-unavailable") == 0)
            follow_store_lost(changes, &error);
        else
            log_error("store: %s", error.text);
    } else {
        watch_store(changes);
        if (take_head(changes, head)) {
            note_heard(changes, asked_us);
            try_left_out_again(changes);
        }
    }
    loop_update_time(&changes->loop);
    timer_set(&changes->loop.timers, &changes->poll,
              changes->loop.now_ms + (changes->is_away ? changes->pause_ms : POLL_MS));
}

void follow_after_use(struct changes *changes)
{
    if (!changes->store || changes->is_away) return;
    struct error error;
    uint64_t heard = 0;
    watch_store(changes);
    if (!store_take_notifications(changes->store, &heard, &error)) {
        follow_store_lost(changes, &error);
    } else if (heard > catalog_revision(changes->catalog)) {
        take_head(changes, heard);
    }
}

static void notified(struct event_source *source, uint32_t events)
{
    follow_after_use(CONTAINER_OF(source, struct changes, notifications));
}

/* --- life --- */

static bool fill(struct changes *changes,
                 bool (*read)(struct changes *, struct draft *, uint64_t *revision, uint64_t *at_us, struct error *),
                 struct error *error)
{
    struct problems problems;
    struct draft draft;
    uint64_t revision, at_us;
    problems_init(&problems, NULL);
    changes_draft_init(changes, &draft, &problems);
    bool ok = read(changes, &draft, &revision, &at_us, error);
    if (ok) follow_apply(changes, &draft, revision, at_us);
    draft_release(&draft);
    problems_release(&problems);
    return ok;
}

static bool read_copy(struct changes *changes, struct draft *draft, uint64_t *revision, uint64_t *at_us,
                      struct error *error)
{
    uint64_t written_us;
    struct store_visitor visitor = { take_row, draft };
    *at_us = UINT64_MAX;
    return copy_read(changes->options.copy_path, &visitor, revision, &written_us, error);
}

/* The store is away: what it was last. */
static bool open_copy(struct changes *changes, struct error *error)
{
    struct error copy_error;
    if (!changes->options.copy_path) return false;
    if (!fill(changes, read_copy, &copy_error)) {
        log_error("store: there is no local copy to start from: %s", copy_error.text);
        return false;
    }
    log_warning("store: %s; starting from the local copy, revision %llu", error->text,
                (unsigned long long)catalog_revision(changes->catalog));
    changes->is_away = true;
    changes->why_away = *error;
    changes->health.from_copy = true;
    note_health(changes);
    return true;
}

bool follow_open(struct changes *changes, struct error *error)
{
    changes->pause_ms = PAUSE_MS_MIN;
    note_health(changes);
    note_store_name(changes);
    if (!changes->options.store) return true;
    struct store_settings settings = { .location = changes->options.store, .timeout_ms = STATEMENT_MS };
    uint64_t asked_us = now_us();
    changes->store = store_open(&settings, error);
    if (changes->store && fill(changes, read_everything, error)) {
        note_heard(changes, asked_us);
        return true;
    }
    return strcmp(error->reason, "store-unavailable") == 0 && open_copy(changes, error);
}

void follow_start(struct changes *changes)
{
    loop_update_time(&changes->loop);
    note_health(changes);
    timer_init(&changes->poll, look_around);
    local_copy_start(changes);
    changes->notifications.ready = notified;
    if (!changes->options.store) return;
    timer_set(&changes->loop.timers, &changes->poll,
              changes->loop.now_ms + (changes->is_away ? changes->pause_ms : POLL_MS));
    watch_store(changes);
    gateways_start(changes);
    try_left_out_again(changes);
    if (!changes->health.from_copy) local_copy_is_wanted(changes);
}

void follow_stop(struct changes *changes)
{
    timer_clear(&changes->loop.timers, &changes->poll);
    loop_unwatch(&changes->loop, &changes->notifications, false);
    local_copy_stop(changes);
    gateways_stop(changes);
    if (changes->options.store) note_stopped(changes);
}
