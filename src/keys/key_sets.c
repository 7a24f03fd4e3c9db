/* keys/key_sets.c: sources of key sets: who uses them, what is in force, who waits. See key_sets.h.
 *
 * Orders go to the thread by a stack that anybody pushes to; what is pushed first is done first. A source leaves by an order as well, behind
 * all that was asked of it. */
#include "keys/key_sets.h"

#include "base/clock.h"
#include "base/memory.h"
#include "keys/key_sets_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t key_sets_now_ms(void) { return clock_monotonic_ns() / 1000000; }

/* --- orders --- */

static void wake(struct key_sets *sets)
{
    uint64_t one = 1;
    ssize_t written = write(sets->wake, &one, sizeof one); /* fails only where it is awake for long already */
    (void)written;
}

void key_sets_order(struct key_sets *sets, struct key_set_order *order)
{
    order->next = atomic_load_explicit(&sets->orders, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&sets->orders, &order->next, order, memory_order_release,
                                                  memory_order_relaxed)) {}
    wake(sets);
}

struct key_set_order *key_sets_take_orders(struct key_sets *sets)
{
    struct key_set_order *newest = atomic_exchange_explicit(&sets->orders, NULL, memory_order_acquire), *oldest = NULL;
    while (newest) {
        struct key_set_order *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* --- what is in force --- */

bool key_set_source_put(struct key_set_source *source, struct key_set *set)
{
    struct key_set *before = set;
    bool is_other = key_set_version(set) != key_set_source_version(source);
    if (is_other) {
        pthread_mutex_lock(&source->lock);
        before = source->set;
        source->set = set;
        pthread_mutex_unlock(&source->lock);
        atomic_store_explicit(&source->version, key_set_version(set), memory_order_release);
    }
    key_set_drop(before);
    return is_other;
}

uint64_t key_set_source_version(const struct key_set_source *source)
{
    return atomic_load_explicit(&((struct key_set_source *)(uintptr_t)source)->version, memory_order_acquire);
}

struct key_set *key_set_source_take(struct key_set_source *source)
{
    pthread_mutex_lock(&source->lock);
    struct key_set *set = source->set;
    if (set) key_set_retain(set);
    pthread_mutex_unlock(&source->lock);
    return set;
}

uint64_t key_set_source_right_ms(const struct key_set_source *source)
{
    return atomic_load_explicit(&((struct key_set_source *)(uintptr_t)source)->right_ms, memory_order_acquire);
}

/* A loop's time may be some milliseconds behind that of the key sets' thread. */
bool key_set_source_is_older(const struct key_set_source *source, uint64_t age_ms, uint64_t now_ms)
{
    return (int64_t)(now_ms - key_set_source_right_ms(source)) > (int64_t)age_ms;
}

bool key_set_source_is_failing(const struct key_set_source *source)
{
    return atomic_load_explicit(&((struct key_set_source *)(uintptr_t)source)->is_failing, memory_order_relaxed) ||
           key_set_source_version(source) == 0;
}

/* --- files --- */

static char *read_whole(int file, size_t *length, struct error *error)
{
    char *text = memory_allocate(KEY_SET_BYTES_MAX + 1);
    ssize_t got = 1;
    for (*length = 0; got > 0 && *length <= KEY_SET_BYTES_MAX; *length += (size_t)got) {
        do {
            got = read(file, text + *length, KEY_SET_BYTES_MAX + 1 - *length);
        } while (got < 0 && errno == EINTR);
        if (got < 0) break;
    }
    if (got == 0) return text;
    if (got < 0)
        error_format(error, "it cannot be read: %s", error_from_errno(errno));
    else
        error_format(error, "it is larger than %d KiB", KEY_SET_BYTES_MAX / 1024);
    OPENSSL_cleanse(text, *length);
    free(text);
    return NULL;
}

/* What nobody else can read may hold secrets. */
static struct key_set *read_open_file(int file, struct error *error)
{
    static const struct key_set_reading reading = { .takes_secrets = true };
    size_t length;
    char *text = read_whole(file, &length, error);
    if (!text) return NULL;
    struct slice whole = slice_of(text, length);
    struct key_set *set = key_set_is_pem(whole) ? key_set_read_pem(whole, error)
                                                : key_set_read_jwks(whole, &reading, error);
    OPENSSL_cleanse(text, length);
    free(text);
    return set;
}

static int open_file(const char *path, struct key_set_file_stamp *stamp, struct error *error)
{
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file >= 0 && fstat(file, &status) == 0) {
        *stamp = (struct key_set_file_stamp){ status.st_dev, status.st_ino, (uint64_t)status.st_size,
                                              (uint64_t)status.st_mtim.tv_sec * 1000000000 +
                                                  (uint64_t)status.st_mtim.tv_nsec };
        return file;
    }
    error_format(error, "it cannot be read: %s", error_from_errno(errno));
    if (file >= 0) close(file);
    return -1;
}

struct key_set *key_set_read_file(struct slice path, struct error *error)
{
    struct key_set_file_stamp stamp;
    char *name = memory_copy_slice(path);
    int file = open_file(name, &stamp, error);
    struct key_set *set = file >= 0 ? read_open_file(file, error) : NULL;
    if (file >= 0) close(file);
    free(name);
    return set;
}

bool key_set_source_read_file(struct key_set_source *source, struct error *error)
{
    struct key_set_file_stamp stamp;
    int file = open_file(source->path, &stamp, error);
    if (file < 0) return false;
    bool is_same = memcmp(&stamp, &source->stamp, sizeof stamp) == 0;
    struct key_set *set = is_same ? NULL : read_open_file(file, error);
    close(file);
    if (is_same)
        return !atomic_load_explicit(&source->is_failing, memory_order_relaxed) ||
               error_format(error, "it is as bad as before");
    source->stamp = stamp;
    if (set) (void)key_set_source_put(source, set);
    return set != NULL;
}

/* --- uses --- */

static bool is_same_text(const char *text, struct slice slice)
{
    return text ? slice_equal(slice_from_cstring(text), slice) && !slice_is_absent(slice) : slice_is_absent(slice);
}

static struct key_set_source *find(struct key_sets *sets, const struct key_set_location *location)
{
    for (struct list_link *link = sets->used.next; link != &sets->used; link = link->next) {
        struct key_set_source *source = CONTAINER_OF(link, struct key_set_source, used);
        if (is_same_text(source->url, location->url) && is_same_text(source->path, location->path) &&
            is_same_text(source->authorities, location->authorities))
            return source;
    }
    return NULL;
}

static char *copy_or_null(struct slice text) { return slice_is_absent(text) ? NULL : memory_copy_slice(text); }

/* A URL may hold a password before its host or a key in its query: neither is for logs and metrics. */
static char *name_of(const struct key_set_location *location)
{
    if (slice_is_absent(location->url)) return memory_copy_slice(location->path);
    struct slice url = slice_before(location->url, slice_find_byte(location->url, '?'));
    url = slice_before(url, slice_find_byte(url, '#'));
    size_t scheme = slice_find(url, SLICE("://"));
    scheme = scheme == SLICE_NOT_FOUND ? 0 : scheme + 3;
    struct slice rest = slice_after(url, scheme), authority = slice_before(rest, slice_find_byte(rest, '/'));
    size_t skipped = 0;
    for (size_t i = 0; i < authority.length; i++) {
        if (authority.at[i] == '@') skipped = i + 1;
    }
    return memory_format("%.*s%.*s", (int)scheme, url.at, SLICE_PRINT(slice_after(rest, skipped)));
}

/* Fit for a log's line and a label's value. */
static char *make_plain(char *name)
{
    for (char *at = name; *at; at++) {
        if (*at < ' ' || *at >= 0x7f || *at == '"' || *at == '\\') *at = '_';
    }
    return name;
}

static bool is_taken(struct key_sets *sets, const char *name)
{
    for (struct list_link *link = sets->used.next; link != &sets->used; link = link->next) {
        if (strcmp(CONTAINER_OF(link, struct key_set_source, used)->name, name) == 0) return true;
    }
    return false;
}

/* Sources may differ in what their names don't tell. */
static char *make_unique(struct key_sets *sets, char *name)
{
    char *unique = memory_format("%s", name);
    for (unsigned number = 2; is_taken(sets, unique); number++) {
        free(unique);
        unique = memory_format("%s (%u)", name, number);
    }
    free(name);
    return unique;
}

static struct key_set_source *create_source(struct key_sets *sets, const struct key_set_location *location)
{
    struct key_set_source *source = memory_allocate_aligned(sizeof *source);
    source->sets = sets;
    source->url = copy_or_null(location->url);
    source->path = copy_or_null(location->path);
    source->authorities = copy_or_null(location->authorities);
    source->name = make_unique(sets, make_plain(name_of(location)));
    source->arrives = (struct key_set_order){ .source = source, .kind = KEY_SET_ARRIVES };
    source->leaves = (struct key_set_order){ .source = source, .kind = KEY_SET_LEAVES };
    pthread_mutex_init(&source->lock, NULL);
    list_init(&source->used);
    list_init(&source->bounds);
    list_init(&source->link);
    return source;
}

void key_set_source_destroy(struct key_set_source *source)
{
    key_set_drop(source->set);
    pthread_mutex_destroy(&source->lock);
    free(source->url);
    free(source->path);
    free(source->authorities);
    free(source->name);
    free(source);
}

struct key_set_source *key_set_source_use(struct key_sets *sets, const struct key_set_location *location,
                                          struct error *error)
{
    struct key_set_source *source = find(sets, location);
    if (!source) {
        source = create_source(sets, location);
        if (source->path) {
            if (!key_set_source_read_file(source, error)) {
                key_set_source_destroy(source);
                return NULL;
            }
            atomic_store_explicit(&source->right_ms, key_sets_now_ms(), memory_order_relaxed);
        } else {
            atomic_store_explicit(&source->is_fetching, true, memory_order_relaxed); /* soon */
        }
        list_push_back(&sets->used, &source->used);
        key_sets_order(sets, &source->arrives);
    }
    source->uses++;
    return source;
}

void key_set_source_drop(struct key_set_source *source)
{
    if (--source->uses > 0) return;
    PROMISE(list_is_empty(&source->bounds));
    list_remove(&source->used);
    key_sets_order(source->sets, &source->leaves);
}

static void take_least_age(struct key_set_source *source)
{
    uint64_t least_ms = 0;
    for (struct list_link *link = source->bounds.next; link != &source->bounds; link = link->next) {
        uint64_t age_ms = CONTAINER_OF(link, struct key_set_bound, link)->age_ms_max;
        if (least_ms == 0 || age_ms < least_ms) least_ms = age_ms;
    }
    atomic_store_explicit(&source->age_ms_max, least_ms, memory_order_relaxed);
}

void key_set_source_bind(struct key_set_source *source, struct key_set_bound *bound, uint64_t age_ms_max)
{
    PROMISE(bound->age_ms_max == 0 && age_ms_max > 0);
    bound->age_ms_max = age_ms_max;
    list_push_back(&source->bounds, &bound->link);
    take_least_age(source);
    wake(source->sets); /* the thread may be resting for longer than that */
}

void key_set_source_unbind(struct key_set_source *source, struct key_set_bound *bound)
{
    if (bound->age_ms_max == 0) return;
    list_remove(&bound->link);
    bound->age_ms_max = 0;
    take_least_age(source);
}

/* --- asking --- */

bool key_set_source_is_quiet(const struct key_set_source *source, uint64_t now_ms, uint64_t cool_down_ms)
{
    struct key_set_source *read = (struct key_set_source *)(uintptr_t)source;
    uint64_t looked_ms = atomic_load_explicit(&read->looked_ms, memory_order_acquire);
    uint64_t away_until_ms = atomic_load_explicit(&read->away_until_ms, memory_order_relaxed);
    return now_ms < away_until_ms || (looked_ms > 0 && now_ms < looked_ms + cool_down_ms);
}

enum key_set_asked key_set_source_may_ask(const struct key_set_source *source, uint64_t cool_down_ms)
{
    struct key_set_source *read = (struct key_set_source *)(uintptr_t)source;
    /* In this order: whoever sees the look that began a fetch sees that it is under way, too, and waits for it. */
    bool is_quiet = key_set_source_is_quiet(source, key_sets_now_ms(), cool_down_ms);
    if (atomic_load_explicit(&read->is_fetching, memory_order_acquire) || !is_quiet) return KEY_SET_ASKED;
    return key_set_source_is_failing(source) ? KEY_SET_AWAY : KEY_SET_RECENT;
}

enum key_set_asked key_set_source_ask(struct key_set_source *source, const struct key_set_asker *asker)
{
    struct key_sets *sets = source->sets;
    enum key_set_asked asked = key_set_source_may_ask(source, asker->cool_down_ms);
    if (asked != KEY_SET_ASKED) return asked;
    uint32_t waiting = atomic_fetch_add_explicit(&sets->waiting, 1, memory_order_relaxed);
    struct key_set_order *order = waiting < KEY_SET_WAITING_MAX ? malloc(sizeof *order) : NULL;
    if (!order) {
        atomic_fetch_sub_explicit(&sets->waiting, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&sets->overloaded, 1, memory_order_relaxed);
        return KEY_SET_AWAY;
    }
    atomic_fetch_add_explicit(&sets->asked, 1, memory_order_relaxed);
    *order = (struct key_set_order){ .source = source, .kind = KEY_SET_IS_ASKED, .asker = *asker };
    key_sets_order(sets, order);
    return KEY_SET_ASKED;
}

void key_set_source_answer(struct key_set_source *source)
{
    struct key_set_ask *ask = source->asks;
    source->asks = NULL;
    while (ask) {
        struct key_set_ask *next = ask->next;
        ask->asker.answered(&ask->asker);
        free(ask);
        atomic_fetch_sub_explicit(&source->sets->waiting, 1, memory_order_relaxed);
        ask = next;
    }
}

/* --- the whole --- */

struct key_sets *key_sets_create(unsigned workers, struct error *error)
{
    struct key_sets *sets = memory_allocate_aligned(sizeof *sets);
    sets->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (sets->wake < 0) {
        error_format(error, "no eventfd for key sets: %s", error_from_errno(errno));
        free(sets);
        return NULL;
    }
    sets->workers = workers;
    sets->tokens = memory_allocate_aligned((workers ? workers : 1) * sizeof *sets->tokens);
    list_init(&sets->used);
    list_init(&sets->sources);
    random_init(&sets->random);
    pthread_mutex_init(&sets->list_lock, NULL);
    return sets;
}

bool key_sets_start(struct key_sets *sets, struct error *error)
{
    int failure = pthread_create(&sets->thread, NULL, key_sets_run, sets);
    if (failure != 0) return error_format(error, "cannot start the thread of key sets: %s", error_from_errno(failure));
    pthread_setname_np(sets->thread, "key-sets");
    sets->is_running = true;
    return true;
}

void key_sets_stop(struct key_sets *sets)
{
    if (!sets->is_running) return;
    atomic_store_explicit(&sets->stops, true, memory_order_release);
    wake(sets);
    pthread_join(sets->thread, NULL);
    sets->is_running = false;
}

void key_sets_destroy(struct key_sets *sets)
{
    if (!sets) return;
    key_sets_stop(sets);
    key_sets_follow_orders(sets);
    PROMISE(list_is_empty(&sets->used) && list_is_empty(&sets->sources));
    close(sets->wake);
    free(sets->tokens);
    pthread_mutex_destroy(&sets->list_lock);
    free(sets);
}

/* --- figures --- */

const char *const jwt_token_result_words[JWT_TOKEN_RESULTS] = { "cached", "verified", "refused", "keys-away" };

struct counter *key_sets_token_counter(struct key_sets *sets, unsigned worker, enum jwt_token_result result)
{
    return &sets->tokens[worker].results[result];
}

void key_sets_figures(const struct key_sets *sets, struct key_set_figures *figures)
{
    struct key_sets *read = (struct key_sets *)(uintptr_t)sets;
    *figures = (struct key_set_figures){
        .fetched = counter_read(&sets->fetched),
        .unchanged = counter_read(&sets->unchanged),
        .failed = counter_read(&sets->failed),
        .asked = atomic_load_explicit(&read->asked, memory_order_relaxed),
        .overloaded = atomic_load_explicit(&read->overloaded, memory_order_relaxed),
    };
    for (unsigned i = 0; i < sets->workers; i++) {
        for (int result = 0; result < JWT_TOKEN_RESULTS; result++)
            figures->tokens[result] += counter_read(&sets->tokens[i].results[result]);
    }
}

static void describe(struct key_set_source *source, struct key_set_state *state)
{
    struct key_set *set = key_set_source_take(source);
    uint64_t right_ms = atomic_load_explicit(&source->right_ms, memory_order_relaxed);
    *state = (struct key_set_state){
        .name = source->name,
        .keys = set ? key_set_count(set) : 0,
        .left_out = set ? key_set_left_out(set) : 0,
        .is_failing = key_set_source_is_failing(source),
        .age_ms = right_ms ? key_sets_now_ms() - right_ms : UINT64_MAX,
    };
    key_set_drop(set);
}

void key_sets_visit(struct key_sets *sets, void (*visit)(void *argument, const struct key_set_state *), void *argument)
{
    pthread_mutex_lock(&sets->list_lock);
    for (struct list_link *link = sets->sources.next; link != &sets->sources; link = link->next) {
        struct key_set_state state;
        describe(CONTAINER_OF(link, struct key_set_source, link), &state);
        visit(argument, &state);
    }
    pthread_mutex_unlock(&sets->list_lock);
}
