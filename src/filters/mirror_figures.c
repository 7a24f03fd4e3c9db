#include "filters/mirror_figures.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"
#include "filters/mirror_judge.h"
#include "shared/counter.h"
#include "json/writer.h"

#include <pthread.h>

struct mirror_line {
    struct counter outcomes[MIRROR_OUTCOME_COUNT];
    struct counter answer_us; /* the sum over MIRROR_ANSWERED */
    struct gauge in_flight;
} __attribute__((aligned(CACHE_LINE)));

/* Cut to these; never more than half a character of UTF-8 is lost, which the writer of JSON mends. */
#define TEXT_BYTES 200
#define VALUE_BYTES 64

struct kept_text {
    uint8_t length;
    char at[TEXT_BYTES];
};

struct kept_value {
    bool is_there;
    uint8_t length;
    char at[VALUE_BYTES];
};

struct kept_difference {
    uint64_t wall_ns, primary_ns, mirror_ns;
    unsigned primary_status, mirror_status;
    struct kept_text request_id, method, path, what, primary, mirror;
    struct kept_value primary_value, mirror_value;
};

struct mirror_figures {
    struct mirrors *mirrors;
    uint32_t references;   /* mirrors->lock */
    uint64_t number;       /* in order of making, from 1 */
    struct list_link link; /* mirrors->all, by number */
    char *route_id;
    char *route_name, *service;          /* of the route in force; NULL: none was so far */
    pthread_mutex_t lock;                /* of the ring; workers only try it */
    struct kept_difference *differences; /* MIRROR_DIFFERENCES_KEPT, made at the first */
    uint64_t noted;                      /* so far: the ring's next place */
    struct mirror_line lines[];          /* one a worker, and behind them the judge's */
};

struct mirrors {
    pthread_mutex_t lock; /* of the list; no worker takes it */
    struct list_link all;
    uint64_t last_number;
    unsigned workers;
    struct mirror_judge *judge; /* NULL: nothing compares answers */
};

struct mirrors *mirrors_create(unsigned workers)
{
    struct mirrors *mirrors = memory_allocate(sizeof *mirrors);
    pthread_mutex_init(&mirrors->lock, NULL);
    list_init(&mirrors->all);
    mirrors->workers = workers;
    return mirrors;
}

struct mirror_judge *mirrors_judge(struct mirrors *mirrors, struct error *error)
{
    if (mirrors->judge) return mirrors->judge;
    struct mirror_judge *judge = mirror_judge_create();
    if (!mirror_judge_start(judge, error)) {
        mirror_judge_destroy(judge);
        return NULL;
    }
    return mirrors->judge = judge;
}

void mirrors_stop(struct mirrors *mirrors)
{
    if (!mirrors) return;
    mirror_judge_destroy(mirrors->judge);
    mirrors->judge = NULL;
}

void mirrors_destroy(struct mirrors *mirrors)
{
    if (!mirrors) return;
    mirrors_stop(mirrors);
    PROMISE(list_is_empty(&mirrors->all));
    pthread_mutex_destroy(&mirrors->lock);
    free(mirrors);
}

static struct mirror_figures *find(struct mirrors *mirrors, struct slice route_id)
{
    for (struct list_link *link = mirrors->all.next; link != &mirrors->all; link = link->next) {
        struct mirror_figures *figures = CONTAINER_OF(link, struct mirror_figures, link);
        if (slice_equal(slice_from_cstring(figures->route_id), route_id)) return figures;
    }
    return NULL;
}

static struct mirror_figures *create(struct mirrors *mirrors, struct slice route_id)
{
    struct mirror_figures *figures = memory_allocate_aligned(sizeof *figures +
                                                             (mirrors->workers + 1) * sizeof figures->lines[0]);
    figures->mirrors = mirrors;
    figures->number = ++mirrors->last_number;
    figures->route_id = memory_copy_slice(route_id);
    pthread_mutex_init(&figures->lock, NULL);
    list_push_back(&mirrors->all, &figures->link);
    return figures;
}

struct mirror_figures *mirror_figures_take(struct mirrors *mirrors, struct slice route_id)
{
    pthread_mutex_lock(&mirrors->lock);
    struct mirror_figures *figures = find(mirrors, route_id);
    if (!figures) figures = create(mirrors, route_id);
    figures->references++;
    pthread_mutex_unlock(&mirrors->lock);
    return figures;
}

static void rename_to(char **text, struct slice now)
{
    free(*text);
    *text = memory_copy_slice(now);
}

void mirror_figures_name(struct mirror_figures *figures, struct slice route_name, struct slice service)
{
    pthread_mutex_lock(&figures->mirrors->lock);
    rename_to(&figures->route_name, route_name);
    rename_to(&figures->service, service);
    pthread_mutex_unlock(&figures->mirrors->lock);
}

void mirror_figures_give(struct mirror_figures *figures)
{
    if (!figures) return;
    struct mirrors *mirrors = figures->mirrors;
    pthread_mutex_lock(&mirrors->lock);
    bool was_last = --figures->references == 0;
    if (was_last) list_remove(&figures->link);
    pthread_mutex_unlock(&mirrors->lock);
    if (!was_last) return;
    pthread_mutex_destroy(&figures->lock);
    free(figures->route_id);
    free(figures->route_name);
    free(figures->service);
    free(figures->differences);
    free(figures);
}

/* --- counting --- */

unsigned mirror_judge_line(const struct mirror_figures *figures) { return figures->mirrors->workers; }

void mirror_count(struct mirror_figures *figures, unsigned worker, enum mirror_outcome outcome)
{
    counter_add(&figures->lines[worker].outcomes[outcome], 1);
}

void mirror_count_answer(struct mirror_figures *figures, unsigned worker, uint64_t duration_ns)
{
    mirror_count(figures, worker, MIRROR_ANSWERED);
    counter_add(&figures->lines[worker].answer_us, duration_ns / 1000);
}

void mirror_change_in_flight(struct mirror_figures *figures, unsigned worker, int change)
{
    gauge_add(&figures->lines[worker].in_flight, change);
}

int64_t mirror_in_flight(const struct mirror_figures *figures, unsigned worker)
{
    return gauge_read(&figures->lines[worker].in_flight);
}

static void keep_text(struct kept_text *kept, struct slice text)
{
    kept->length = (uint8_t)(text.length < TEXT_BYTES ? text.length : TEXT_BYTES);
    if (kept->length) memcpy(kept->at, text.at, kept->length);
}

static void keep_value(struct kept_value *kept, struct slice text)
{
    kept->is_there = !slice_is_absent(text);
    kept->length = (uint8_t)(text.length < VALUE_BYTES ? text.length : VALUE_BYTES);
    if (kept->length) memcpy(kept->at, text.at, kept->length);
}

void mirror_note(struct mirror_figures *figures, unsigned worker, const struct mirror_difference *difference)
{
    if (pthread_mutex_trylock(&figures->lock) != 0) {
        mirror_count(figures, worker, MIRROR_LEFT_OUT);
        return;
    }
    if (!figures->differences) figures->differences = calloc(MIRROR_DIFFERENCES_KEPT, sizeof *figures->differences);
    if (!figures->differences) {
        pthread_mutex_unlock(&figures->lock);
        mirror_count(figures, worker, MIRROR_LEFT_OUT);
        return;
    }
    struct kept_difference *kept = &figures->differences[figures->noted++ % MIRROR_DIFFERENCES_KEPT];
    kept->wall_ns = difference->wall_ns;
    kept->primary_ns = difference->primary_ns;
    kept->mirror_ns = difference->mirror_ns;
    kept->primary_status = difference->primary_status;
    kept->mirror_status = difference->mirror_status;
    keep_text(&kept->request_id, difference->request_id);
    keep_text(&kept->method, difference->method);
    keep_text(&kept->path, difference->path);
    keep_text(&kept->what, difference->what);
    keep_text(&kept->primary, difference->primary);
    keep_text(&kept->mirror, difference->mirror);
    keep_value(&kept->primary_value, difference->primary_value);
    keep_value(&kept->mirror_value, difference->mirror_value);
    pthread_mutex_unlock(&figures->lock);
}

/* --- telling --- */

static uint64_t sum(const struct mirror_figures *figures, enum mirror_outcome outcome)
{
    uint64_t all = 0;
    for (unsigned i = 0; i <= figures->mirrors->workers; i++) all += counter_read(&figures->lines[i].outcomes[outcome]);
    return all;
}

static int64_t all_in_flight(const struct mirror_figures *figures)
{
    int64_t all = 0;
    for (unsigned i = 0; i < figures->mirrors->workers; i++) all += gauge_read(&figures->lines[i].in_flight);
    return all;
}

static uint64_t all_answer_us(const struct mirror_figures *figures)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < figures->mirrors->workers; i++) all += counter_read(&figures->lines[i].answer_us);
    return all;
}

static void write_text(struct json_writer *writer, struct slice key, const struct kept_text *text)
{
    json_write_key(writer, key), json_write_string(writer, slice_of(text->at, text->length));
}

static void write_side(struct json_writer *writer, struct slice key, unsigned status, uint64_t head_ns,
                       const struct kept_text *kind, const struct kept_value *value)
{
    json_write_key(writer, key);
    json_write_object_begin(writer);
    json_write_key(writer, SLICE("status")), json_write_unsigned(writer, status);
    json_write_key(writer, SLICE("ms")), json_write_thousandths(writer, head_ns / 1000);
    write_text(writer, SLICE("is"), kind);
    if (value->is_there) {
        json_write_key(writer, SLICE("value")), json_write_string(writer, slice_of(value->at, value->length));
    }
    json_write_object_end(writer);
}

static void write_difference(struct json_writer *writer, const struct kept_difference *kept)
{
    json_write_object_begin(writer);
    char time[CLOCK_ISO8601_BYTES];
    clock_write_iso8601(kept->wall_ns, time);
    json_write_key(writer, SLICE("time")), json_write_string(writer, slice_from_cstring(time));
    write_text(writer, SLICE("requestId"), &kept->request_id);
    write_text(writer, SLICE("method"), &kept->method);
    write_text(writer, SLICE("path"), &kept->path);
    write_text(writer, SLICE("differsIn"), &kept->what);
    write_side(writer, SLICE("primary"), kept->primary_status, kept->primary_ns, &kept->primary, &kept->primary_value);
    write_side(writer, SLICE("mirror"), kept->mirror_status, kept->mirror_ns, &kept->mirror, &kept->mirror_value);
    json_write_object_end(writer);
}

static void write_count(struct json_writer *writer, struct slice key, const struct mirror_figures *figures,
                        enum mirror_outcome outcome)
{
    json_write_key(writer, key), json_write_unsigned(writer, sum(figures, outcome));
}

/* The latest first. */
static void write_ring(struct json_writer *writer, const struct mirror_figures *figures)
{
    uint64_t count = figures->noted < MIRROR_DIFFERENCES_KEPT ? figures->noted : MIRROR_DIFFERENCES_KEPT;
    json_write_key(writer, SLICE("differences"));
    json_write_array_begin(writer);
    for (uint64_t i = 0; i < count; i++)
        write_difference(writer, &figures->differences[(figures->noted - 1 - i) % MIRROR_DIFFERENCES_KEPT]);
    json_write_array_end(writer);
}

static void write_figures(struct json_writer *writer, struct mirror_figures *figures)
{
    uint64_t answered = sum(figures, MIRROR_ANSWERED);
    json_write_object_begin(writer);
    json_write_key(writer, SLICE("id")), json_write_string(writer, slice_from_cstring(figures->route_id));
    json_write_key(writer, SLICE("name")), json_write_string(writer, slice_from_cstring(figures->route_name));
    json_write_key(writer, SLICE("service")), json_write_string(writer, slice_from_cstring(figures->service));
    json_write_key(writer, SLICE("inFlight")), json_write_signed(writer, all_in_flight(figures));
    json_write_key(writer, SLICE("requests"));
    json_write_object_begin(writer);
    write_count(writer, SLICE("answered"), figures, MIRROR_ANSWERED);
    write_count(writer, SLICE("failed"), figures, MIRROR_FAILED);
    write_count(writer, SLICE("cut"), figures, MIRROR_CUT);
    write_count(writer, SLICE("busy"), figures, MIRROR_BUSY);
    write_count(writer, SLICE("shed"), figures, MIRROR_SHED);
    write_count(writer, SLICE("tooLarge"), figures, MIRROR_TOO_LARGE);
    json_write_object_end(writer);
    json_write_key(writer, SLICE("meanMs"));
    json_write_thousandths(writer, answered ? all_answer_us(figures) / answered : 0);
    json_write_key(writer, SLICE("comparisons"));
    json_write_object_begin(writer);
    write_count(writer, SLICE("alike"), figures, MIRROR_ALIKE);
    write_count(writer, SLICE("different"), figures, MIRROR_DIFFERENT);
    write_count(writer, SLICE("notCompared"), figures, MIRROR_NOT_COMPARED);
    write_count(writer, SLICE("leftOut"), figures, MIRROR_LEFT_OUT);
    json_write_object_end(writer);
    write_ring(writer, figures);
    json_write_object_end(writer);
}

/* Each byte of a text may become six; the keys and numbers of a difference take less than 400. */
#define DIFFERENCE_JSON_BYTES (6 * (6 * TEXT_BYTES + 2 * VALUE_BYTES) + 400)
#define FIGURES_JSON_BYTES 2048

char *mirrors_describe(struct mirrors *mirrors, struct slice route_id)
{
    char *text = NULL;
    pthread_mutex_lock(&mirrors->lock);
    struct mirror_figures *figures = find(mirrors, route_id);
    if (figures && figures->route_name) {
        size_t names = strlen(figures->route_id) + strlen(figures->route_name) + strlen(figures->service);
        size_t size = FIGURES_JSON_BYTES + 6 * names + MIRROR_DIFFERENCES_KEPT * DIFFERENCE_JSON_BYTES;
        text = memory_allocate(size);
        struct json_writer writer;
        json_writer_init(&writer, text, size - 1); /* a NUL stands behind */
        pthread_mutex_lock(&figures->lock);
        write_figures(&writer, figures);
        pthread_mutex_unlock(&figures->lock);
        PROMISE(!writer.overflow);
    }
    pthread_mutex_unlock(&mirrors->lock);
    return text;
}

/* --- metrics --- */

/* Names may hold what a label's value can't (Prometheus text format 0.0.4). */
static char *label_value(const char *text)
{
    char *escaped = memory_allocate(2 * strlen(text) + 1), *at = escaped;
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') *at++ = '\\';
        *at++ = *text;
    }
    return escaped;
}

static void write_outcomes(struct metrics_text *text, const struct mirror_figures *figures, const char *name,
                           const char *label, enum mirror_outcome first, const char *const *words)
{
    char *route = label_value(figures->route_name);
    for (unsigned i = 0; words[i]; i++) {
        char *labels = memory_format("route=\"%s\",%s=\"%s\"", route, label, words[i]);
        metrics_text_line(text, name, labels, sum(figures, (enum mirror_outcome)(first + i)));
        free(labels);
    }
    free(route);
}

static void write_requests(struct metrics_text *text, const struct mirror_figures *figures)
{
    static const char *const words[] = { "answered", "failed", "cut", "busy", "shed", "too-large", NULL };
    write_outcomes(text, figures, "sluice_mirror_requests_total", "outcome", MIRROR_ANSWERED, words);
}

static void write_comparisons(struct metrics_text *text, const struct mirror_figures *figures)
{
    static const char *const words[] = { "alike", "different", "not-compared", NULL };
    write_outcomes(text, figures, "sluice_mirror_comparisons_total", "result", MIRROR_ALIKE, words);
}

static void write_in_flight(struct metrics_text *text, const struct mirror_figures *figures)
{
    char *route = label_value(figures->route_name), *labels = memory_format("route=\"%s\"", route);
    metrics_text_line_signed(text, "sluice_mirror_requests_active", labels, all_in_flight(figures));
    free(labels);
    free(route);
}

struct family {
    const char *name, *type, *help;
    void (*write)(struct metrics_text *, const struct mirror_figures *);
};
static const struct family families[] = {
    { "sluice_mirror_requests_total", "counter",
      "Requests chosen for a mirror by what came of them; busy, shed and too-large were not sent.", write_requests },
    { "sluice_mirror_comparisons_total", "counter", "Answers of mirrors compared with the service's.",
      write_comparisons },
    { "sluice_mirror_requests_active", "gauge", "Requests to mirrors under way.", write_in_flight },
};

/* A place: the family, and in it the number of the figures that were written last. */
#define FAMILY_SHIFT 56
#define ROUTES_AT_ONCE 32

bool mirrors_write_metrics(struct metrics_text *text, void *argument, uint64_t *place)
{
    struct mirrors *mirrors = argument;
    size_t family = *place >> FAMILY_SHIFT, written = 0;
    uint64_t last = *place & ((UINT64_C(1) << FAMILY_SHIFT) - 1);
    pthread_mutex_lock(&mirrors->lock);
    bool is_empty = list_is_empty(&mirrors->all);
    if (last == 0 && !is_empty)
        metrics_text_head(text, families[family].name, families[family].type, families[family].help);
    struct list_link *link = mirrors->all.next;
    for (; link != &mirrors->all && written < ROUTES_AT_ONCE; link = link->next) {
        const struct mirror_figures *figures = CONTAINER_OF(link, struct mirror_figures, link);
        if (figures->number <= last || !figures->route_name) continue;
        families[family].write(text, figures);
        last = figures->number;
        written++;
    }
    bool is_end = link == &mirrors->all;
    pthread_mutex_unlock(&mirrors->lock);
    if (is_end) family++, last = 0;
    *place = (uint64_t)family << FAMILY_SHIFT | last;
    return family < COUNT_OF(families);
}
