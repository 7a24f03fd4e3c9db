/* observe/access_log.c: the workers' half: a line into a page, a full page to the writer. */
#include "observe/access_log.h"

#include "base/memory.h"
#include "observe/private.h"
#include "json/writer.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define STOP_WAIT_MS 2000
/* A byte becomes six at most, so that all texts of a line fit a page. */
#define TEXTS_BYTES_MAX 8192
#define TEXT_BYTES_CUT 768 /* of each, where they are longer together */

/* --- life --- */

static struct access_log_worker *create_worker(struct access_log *log, unsigned pages_max)
{
    struct access_log_worker *worker = memory_allocate_aligned(sizeof *worker);
    worker->log = log;
    worker->time_ms = UINT64_MAX;
    worker->pages_bytes = pages_max * sizeof *worker->pages;
    /* A mapping takes no memory before its pages are written to. */
    worker->pages = mmap(NULL, worker->pages_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    PROMISE(worker->pages != MAP_FAILED);
    worker->free = memory_allocate_array(pages_max, sizeof(struct log_page *));
    for (unsigned i = 0; i < pages_max; i++) worker->free[worker->free_count++] = &worker->pages[pages_max - 1 - i];
    atomic_store_explicit(&worker->public.on, log->target != NULL, memory_order_relaxed);
    return worker;
}

static void destroy_worker(struct access_log_worker *worker)
{
    munmap(worker->pages, worker->pages_bytes);
    free(worker->free);
    free(worker);
}

static void release(struct access_log *log)
{
    for (unsigned i = 0; i < log->workers; i++) destroy_worker(log->worker[i]);
    if (log->descriptor >= 0) close(log->descriptor);
    if (log->descriptor_next >= 0) close(log->descriptor_next);
    if (log->wake >= 0) close(log->wake);
    pthread_mutex_destroy(&log->lock);
    free(log->worker);
    free(log->target);
    free(log->target_next);
    free(log);
}

struct access_log *access_log_create(const char *path, int descriptor, unsigned workers, unsigned pages_max,
                                     struct error *error)
{
    PROMISE(pages_max > 0 && pages_max < LOG_RING_SLOTS);
    struct access_log *log = memory_allocate_aligned(sizeof *log);
    log->workers = workers;
    log->descriptor_next = -1;
    access_log_use(log, descriptor);
    log->target = path ? memory_copy_slice(slice_from_cstring(path)) : NULL;
    pthread_mutex_init(&log->lock, NULL);
    log->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log->worker = memory_allocate_array(workers, sizeof *log->worker);
    for (unsigned i = 0; i < workers; i++) log->worker[i] = create_worker(log, pages_max);
    bool good = log->wake >= 0 || error_format(error, "cannot make an eventfd: %m");
    if (good) {
        int failure = pthread_create(&log->thread, NULL, access_log_writer_run, log);
        good = failure == 0 || error_format(error, "cannot start the log writer: %s", error_from_errno(failure));
    }
    if (good) return log;
    release(log);
    return NULL;
}

static void wake_writer(struct access_log *log)
{
    uint64_t one = 1;
    ssize_t ignored = write(log->wake, &one, sizeof one);
    (void)ignored; /* full means awake */
}

void access_log_destroy(struct access_log *log)
{
    struct timespec limit;
    atomic_store(&log->stopping, true);
    wake_writer(log);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += STOP_WAIT_MS / 1000;
    if (pthread_timedjoin_np(log->thread, NULL, &limit) == 0) {
        release(log);
    } /* else it hangs in a write to a dead disk: its memory stays with it until the process ends */
}

void access_log_reopen(struct access_log *log)
{
    atomic_store(&log->reopen, true);
    wake_writer(log);
}

void access_log_retarget(struct access_log *log, const char *path_or_null, int descriptor)
{
    pthread_mutex_lock(&log->lock);
    free(log->target_next);
    if (log->descriptor_next >= 0) close(log->descriptor_next);
    log->descriptor_next = descriptor;
    log->target_next = path_or_null ? memory_copy_slice(slice_from_cstring(path_or_null)) : NULL;
    log->has_next = true;
    pthread_mutex_unlock(&log->lock);
    for (unsigned i = 0; i < log->workers; i++) {
        atomic_store_explicit(&log->worker[i]->public.on, path_or_null != NULL, memory_order_relaxed);
    }
    wake_writer(log);
}

uint64_t access_log_lines_dropped(const struct access_log *log)
{
    uint64_t sum = counter_read(&log->dropped);
    for (unsigned i = 0; i < log->workers; i++) sum += counter_read(&log->worker[i]->dropped);
    return sum;
}

uint64_t access_log_bytes_written(const struct access_log *log) { return counter_read(&log->bytes); }

struct access_log_worker *access_log_worker(struct access_log *log, unsigned index) { return log->worker[index]; }

/* --- a line --- */

/* A field's name as it stands in the line, with what parts it from the field before: that needs neither escapes nor a look for its length. */
#define KEY(name) SLICE(",\"" name "\":")

/* Most lines of a worker fall into the millisecond of the one before. */
static struct slice time_text(struct access_log_worker *worker, uint64_t wall_ns)
{
    uint64_t ms = wall_ns / NS_PER_MS;
    if (worker->time_ms != ms) {
        clock_write_iso8601(wall_ns, worker->time_text + 1);
        worker->time_text[0] = worker->time_text[CLOCK_ISO8601_BYTES] = '"';
        worker->time_ms = ms;
    }
    return slice_of(worker->time_text, sizeof worker->time_text);
}

static inline void write_text(struct json_writer *writer, struct slice key, struct slice value)
{
    json_write_ready(writer, key);
    if (value.length > 0) {
        json_write_string(writer, value);
    } else {
        json_write_null(writer);
    }
}

static inline void write_number(struct json_writer *writer, struct slice key, uint64_t value)
{
    json_write_ready(writer, key);
    json_write_unsigned(writer, value);
}

static inline void write_milliseconds(struct json_writer *writer, struct slice key, uint64_t ns)
{
    json_write_ready(writer, key);
    json_write_thousandths(writer, ns / 1000);
}

static void write_error(struct json_writer *writer, const struct exchange_record *record)
{
    write_text(writer, SLICE(",\"error\":{\"type\":"), slice_from_cstring(record->error_type));
    write_text(writer, KEY("text"), record->error_text);
    json_write_object_end(writer);
}

static void write_line(struct access_log_worker *worker, struct json_writer *writer,
                       const struct exchange_record *record)
{
    bool is_websocket = record->closer != WEBSOCKET_NOT_CLOSED;
    json_write_ready(writer, is_websocket ? SLICE("{\"type\":\"websocket\"") : SLICE("{\"type\":\"access\""));
    json_write_ready(writer, KEY("time"));
    json_write_ready(writer, time_text(worker, record->wall_ns));
    write_text(writer, KEY("requestId"), record->request_id);
    write_text(writer, KEY("method"), record->method_text);
    write_text(writer, KEY("path"), record->path);
    write_text(writer, KEY("route"), record->route);
    write_text(writer, KEY("service"), record->service);
    write_text(writer, KEY("instance"), record->instance);
    write_number(writer, KEY("status"), record->status);
    write_milliseconds(writer, KEY("durationMs"), record->duration_ns);
    write_milliseconds(writer, KEY("upstreamMs"), record->upstream_ns);
    write_number(writer, KEY("bytesIn"), record->bytes_in);
    write_number(writer, KEY("bytesOut"), record->bytes_out);
    write_text(writer, KEY("clientIp"), record->client_ip);
    write_text(writer, KEY("userAgent"), record->user_agent);
    write_text(writer, KEY("userId"), record->user_id);
    write_text(writer, KEY("clientId"), record->client_id);
    write_text(writer, KEY("traceId"), record->trace_id);
    write_text(writer, KEY("spanId"), record->span_id);
    if (is_websocket) {
        write_text(writer, KEY("closeSide"), websocket_closer_word(record->closer));
        write_number(writer, KEY("closeCode"), record->close_code);
    }
    if (record->would_refuse.length > 0) write_text(writer, KEY("wouldRefuse"), record->would_refuse);
    if (record->error_type) write_error(writer, record);
    json_write_ready(writer, SLICE("}\n"));
}

/* --- pages --- */

static bool take_page(struct access_log_worker *worker)
{
    struct log_page *page;
    while ((page = log_ring_take(&worker->returned)) != NULL) worker->free[worker->free_count++] = page;
    if (worker->free_count == 0) return false;
    worker->page = worker->free[--worker->free_count];
    worker->page->length = worker->page->lines = 0;
    return true;
}

/* False: the line does not fit in what is left of the page. */
static bool append_to_page(struct access_log_worker *worker, const struct exchange_record *record)
{
    struct log_page *page = worker->page;
    struct json_writer writer;
    json_writer_init(&writer, page->bytes + page->length, sizeof page->bytes - page->length);
    write_line(worker, &writer, record);
    struct slice line = json_writer_result(&writer);
    if (slice_is_absent(line)) return false;
    page->length += (uint32_t)line.length;
    page->lines++;
    return true;
}

static size_t text_bytes(const struct exchange_record *record)
{
    return record->request_id.length + record->method_text.length + record->path.length + record->route.length +
           record->service.length + record->instance.length + record->client_ip.length + record->user_agent.length +
           record->user_id.length + record->client_id.length + record->error_text.length + record->would_refuse.length;
}

static struct slice cut(struct slice text) { return slice_before(text, TEXT_BYTES_CUT); }

static struct exchange_record cut_record(const struct exchange_record *record)
{
    struct exchange_record cut_texts = *record;
    cut_texts.request_id = cut(record->request_id);
    cut_texts.method_text = cut(record->method_text);
    cut_texts.path = cut(record->path);
    cut_texts.route = cut(record->route);
    cut_texts.service = cut(record->service);
    cut_texts.instance = cut(record->instance);
    cut_texts.client_ip = cut(record->client_ip);
    cut_texts.user_agent = cut(record->user_agent);
    cut_texts.user_id = cut(record->user_id);
    cut_texts.client_id = cut(record->client_id);
    cut_texts.error_text = cut(record->error_text);
    cut_texts.would_refuse = cut(record->would_refuse);
    return cut_texts;
}

static void append(struct access_log_worker *worker, const struct exchange_record *record)
{
    if (worker->page && append_to_page(worker, record)) return;
    access_log_flush(worker);
    if ((!worker->page && !take_page(worker)) || !append_to_page(worker, record)) counter_add(&worker->dropped, 1);
}

/* A client whose head would fill more than a page, escaped, shall not keep its line out of the log. */
void access_log_append(struct access_log_worker *worker, const struct exchange_record *record)
{
    if (LIKELY(text_bytes(record) <= TEXTS_BYTES_MAX)) {
        append(worker, record);
    } else {
        struct exchange_record cut_texts = cut_record(record);
        append(worker, &cut_texts);
    }
}

void access_log_flush(struct access_log_worker *worker)
{
    struct log_page *page = worker->page;
    if (!page || page->length == 0) return;
    worker->page = NULL;
    log_ring_put(&worker->full, page);
    wake_writer(worker->log);
}
