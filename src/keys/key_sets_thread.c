/* keys/key_sets_thread.c: when what is fetched, and what becomes of the answers. One turn: orders, what is due, answers that have come, a wait. */
#include "keys/key_sets_private.h"

#include "base/log.h"
#include "base/memory.h"

#include <poll.h>
#include <unistd.h>

#define WAIT_MS_MAX 60000
#define AGED_PAUSE_MS_MIN (KEY_SET_LIFETIME_MS_MIN * 3 / 4) /* as after an answer that is over */

/* --- what came of it --- */

/* For good and bad alike: who waits looks again, and the next time is set. */
static void settle(struct key_set_source *source, uint64_t pause_ms)
{
    source->next_ms = key_sets_now_ms() + pause_ms;
    atomic_store_explicit(&source->is_fetching, false, memory_order_release);
    key_set_source_answer(source);
}

static const char *what_stays(struct key_set_source *source)
{
    if (key_set_source_version(source) == 0) return "";
    return atomic_load_explicit(&source->age_ms_max, memory_order_relaxed) > 0
               ? ", those known stay in force for as long as jwksMaxAge lets them"
               : ", those known stay in force";
}

static void failed(struct key_set_source *source, const char *why)
{
    source->failures++;
    uint64_t pause_ms = key_set_retry_after_ms(source->failures, &source->sets->random);
    if (source->failures == 1 || source->failures % 16 == 0)
        log_warning("keys from %s cannot be had%s: %s", source->name, what_stays(source), why);
    atomic_store_explicit(&source->is_failing, true, memory_order_relaxed);
    atomic_store_explicit(&source->away_until_ms, key_sets_now_ms() + pause_ms, memory_order_relaxed);
    atomic_store_explicit(&source->looked_ms, 0, memory_order_relaxed); /* nothing was seen */
    settle(source, pause_ms);
}

/* What comes out of a cache was right when the issuer gave it, which may be before this machine's clock began. */
static void note_right(struct key_set_source *source, uint64_t age_ms)
{
    source->came_ms = key_sets_now_ms();
    source->age_ms = age_ms;
    uint64_t right_ms = source->came_ms - age_ms;
    atomic_store_explicit(&source->right_ms, right_ms ? right_ms : 1, memory_order_release);
}

static void succeeded(struct key_set_source *source, uint64_t age_ms, uint64_t pause_ms)
{
    if (source->failures > 0) log_info("keys from %s are to be had again", source->name);
    source->failures = 0;
    atomic_store_explicit(&source->is_failing, false, memory_order_relaxed);
    note_right(source, age_ms);
    settle(source, pause_ms);
}

static void keep_etag(struct key_set_source *source, struct slice etag)
{
    bool fits = etag.length < sizeof source->etag && slice_find_byte(etag, '\0') == SLICE_NOT_FOUND;
    if (fits && etag.length > 0) memcpy(source->etag, etag.at, etag.length);
    source->etag[fits ? etag.length : 0] = '\0';
}

static void take_set(struct key_set_source *source, const struct key_set_answer *answer)
{
    static const struct key_set_reading reading = { .takes_secrets = false };
    struct key_sets *sets = source->sets;
    struct error error;
    struct key_set *set = key_set_read_jwks(answer->body, &reading, &error);
    if (!set) {
        counter_add(&sets->failed, 1);
        failed(source, error.text);
        return;
    }
    counter_add(&sets->fetched, 1);
    size_t count = key_set_count(set), left_out = key_set_left_out(set);
    if (key_set_source_put(source, set))
        log_info("keys from %s: %zu in force, %zu of no use here", source->name, count, left_out);
    keep_etag(source, answer->etag);
    succeeded(source, answer->age_ms, key_set_refresh_after_ms(answer->lifetime_ms, &sets->random));
}

static void answered(struct key_set_source *source, const struct key_set_answer *answer)
{
    struct key_sets *sets = source->sets;
    if (answer->status == 200) {
        take_set(source, answer);
    } else if (answer->status == 304 && source->etag[0]) { /* RFC 9111 4.3.4 */
        counter_add(&sets->unchanged, 1);
        succeeded(source, answer->age_ms, key_set_refresh_after_ms(answer->lifetime_ms, &sets->random));
    } else {
        char status[48];
        snprintf(status, sizeof status, "the answer has status %ld", answer->status);
        counter_add(&sets->failed, 1);
        failed(source, answer->status ? status : answer->failure);
    }
}

/* --- fetching --- */

static void look_at_file(struct key_set_source *source)
{
    struct error error;
    uint64_t before = key_set_source_version(source);
    if (!key_set_source_read_file(source, &error)) {
        failed(source, error.text);
        return;
    }
    if (key_set_source_version(source) != before) log_info("keys from %s were read again", source->name);
    succeeded(source, 0, KEY_SET_FILE_EVERY_MS);
}

static bool has_fetcher(struct key_sets *sets, struct error *error)
{
    if (!sets->fetcher) sets->fetcher = key_set_fetcher_create(sets->wake, error);
    return sets->fetcher != NULL;
}

static void begin(struct key_set_source *source)
{
    struct key_sets *sets = source->sets;
    struct error error;
    atomic_store_explicit(&source->is_fetching, true, memory_order_release);
    if (source->path) {
        look_at_file(source);
        return;
    }
    /* What is asked for again is only asked about. */
    const char *etag = key_set_source_version(source) ? source->etag : "";
    if (has_fetcher(sets, &error))
        source->fetch = key_set_fetch_begin(sets->fetcher, source->url, source->authorities, etag, source, &error);
    if (source->fetch) {
        sets->fetching++;
        return;
    }
    counter_add(&sets->failed, 1);
    failed(source, error.text);
}

static void end(struct key_set_source *source)
{
    key_set_fetch_end(source->sets->fetcher, source->fetch);
    source->fetch = NULL;
    source->sets->fetching--;
}

static void take_answers(struct key_sets *sets)
{
    struct key_set_answer answer;
    if (!sets->fetcher) return;
    for (;;) {
        struct key_set_source *source = key_set_fetcher_next(sets->fetcher, &answer);
        if (!source) return;
        answered(source, &answer);
        end(source);
    }
}

/* --- orders --- */

static void leave(struct key_set_source *source)
{
    struct key_sets *sets = source->sets;
    if (source->fetch) end(source);
    key_set_source_answer(source);
    pthread_mutex_lock(&sets->list_lock);
    list_remove(&source->link);
    pthread_mutex_unlock(&sets->list_lock);
    key_set_source_destroy(source);
}

static void arrive(struct key_set_source *source)
{
    struct key_sets *sets = source->sets;
    pthread_mutex_lock(&sets->list_lock);
    list_push_back(&sets->sources, &source->link);
    pthread_mutex_unlock(&sets->list_lock);
    source->next_ms = source->path ? key_sets_now_ms() + KEY_SET_FILE_EVERY_MS : 0;
}

/* A key was missing. One look answers all who come while it is under way, and none follows within the asker's cool-down. */
static void is_asked(struct key_set_source *source, const struct key_set_asker *asker)
{
    struct key_set_ask *ask = memory_allocate(sizeof *ask);
    *ask = (struct key_set_ask){ .next = source->asks, .asker = *asker };
    source->asks = ask;
    if (source->fetch || (source->next_ms == 0 && !source->path)) return; /* under way, or about to be */
    uint64_t now_ms = key_sets_now_ms();
    if (source->sets->stops || key_set_source_is_quiet(source, now_ms, asker->cool_down_ms)) {
        key_set_source_answer(source);
        return;
    }
    atomic_store_explicit(&source->is_fetching, true, memory_order_relaxed); /* soon */
    atomic_store_explicit(&source->looked_ms, now_ms, memory_order_release);
    source->next_ms = 0;
}

void key_sets_follow_orders(struct key_sets *sets)
{
    struct key_set_order *order = key_sets_take_orders(sets);
    while (order) {
        struct key_set_order *next = order->next;
        switch (order->kind) {
        case KEY_SET_ARRIVES: arrive(order->source); break;
        case KEY_SET_LEAVES: leave(order->source); break; /* and the order with it */
        case KEY_SET_IS_ASKED:
            is_asked(order->source, &order->asker);
            free(order);
            break;
        }
        order = next;
    }
}

/* --- turns --- */

/* After an answer, so that its keys grow no older than `age_ms`. One that was older already, out of a cache, makes nobody ask without a pause. */
static uint64_t pause_for_age_ms(const struct key_set_source *source, uint64_t age_ms)
{
    uint64_t least_ms = age_ms < AGED_PAUSE_MS_MIN ? age_ms : AGED_PAUSE_MS_MIN;
    return age_ms > source->age_ms + least_ms ? age_ms - source->age_ms : least_ms;
}

/* While all is well, early enough that nobody has to give up keys for their age. */
static uint64_t due_ms(const struct key_set_source *source)
{
    struct key_set_source *read = (struct key_set_source *)(uintptr_t)source;
    uint64_t age_ms_max = atomic_load_explicit(&read->age_ms_max, memory_order_relaxed);
    uint64_t latest_ms = source->came_ms + pause_for_age_ms(source, age_ms_max * 3 / 4);
    bool is_bounded = age_ms_max > 0 && source->failures == 0 && key_set_source_version(source) != 0;
    return is_bounded && latest_ms < source->next_ms ? latest_ms : source->next_ms;
}

static void begin_due(struct key_sets *sets)
{
    uint64_t now_ms = key_sets_now_ms();
    for (struct list_link *link = sets->sources.next; link != &sets->sources; link = link->next) {
        struct key_set_source *source = CONTAINER_OF(link, struct key_set_source, link);
        if (source->fetch || due_ms(source) > now_ms) continue;
        if (source->path || sets->fetching < KEY_SET_FETCHES_MAX) begin(source);
    }
}

static int wait_ms(const struct key_sets *sets)
{
    uint64_t now_ms = key_sets_now_ms(), earliest_ms = now_ms + WAIT_MS_MAX;
    for (const struct list_link *link = sets->sources.next; link != &sets->sources; link = link->next) {
        const struct key_set_source *source = CONTAINER_OF(link, struct key_set_source, link);
        bool has_turn = !source->fetch && (source->path || sets->fetching < KEY_SET_FETCHES_MAX);
        if (has_turn && due_ms(source) < earliest_ms) earliest_ms = due_ms(source);
    }
    return earliest_ms > now_ms ? (int)(earliest_ms - now_ms) : 0;
}

static void rest(struct key_sets *sets)
{
    uint64_t count;
    if (sets->fetcher) {
        key_set_fetcher_wait(sets->fetcher, wait_ms(sets));
    } else {
        struct pollfd wake = { .fd = sets->wake, .events = POLLIN };
        (void)poll(&wake, 1, wait_ms(sets));
    }
    ssize_t got = read(sets->wake, &count, sizeof count);
    (void)got;
}

void *key_sets_run(void *argument)
{
    struct key_sets *sets = argument;
    while (!atomic_load_explicit(&sets->stops, memory_order_acquire)) {
        key_sets_follow_orders(sets);
        begin_due(sets);
        take_answers(sets);
        rest(sets);
    }
    key_sets_follow_orders(sets);
    for (struct list_link *link = sets->sources.next; link != &sets->sources; link = link->next) {
        struct key_set_source *source = CONTAINER_OF(link, struct key_set_source, link);
        if (source->fetch) end(source);
        key_set_source_answer(source);
    }
    if (sets->fetcher) key_set_fetcher_destroy(sets->fetcher);
    sets->fetcher = NULL;
    return NULL;
}
