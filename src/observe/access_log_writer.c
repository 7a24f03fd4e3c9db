/* observe/access_log_writer.c: the writer's half: carries pages to the file and back.
 *
 * Only this thread waits for the outside. Anything but a regular file is written in pieces of PIPE_BUF bytes after poll(2) said
 * there is room, so that a reader who stopped keeps this thread in poll, where a new target or the end still reaches it. Such
 * orders are looked for between two pages: under load that the file can't keep up with, pages never end. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "observe/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 1000
#define ROOM_WAIT_MS 100
#define ORDERS_GRACE_MS 1000 /* so long a slow reader gets pages that were handed in before an order */
#define WARN_EVERY_MS 1000

static uint64_t now_ms(void) { return clock_monotonic_ns() / 1000000; }

static void warn(struct access_log *log, const char *what)
{
    uint64_t now = now_ms();
    if (log->warned_ms && now - log->warned_ms < WARN_EVERY_MS) return;
    log->warned_ms = now;
    log_warning("access log %s: %s; %llu lines dropped so far", log->target ? log->target : "", what,
                (unsigned long long)access_log_lines_dropped(log));
}

/* --- the file --- */

static int open_target(const char *target)
{
    struct stat about;
    if (strcmp(target, "-") == 0) return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    /* A FIFO opened for both ends never waits for a reader, and its reader may come and go. */
    bool is_fifo = stat(target, &about) == 0 && S_ISFIFO(about.st_mode);
    if (is_fifo) return open(target, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return open(target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

int access_log_open(const char *path, struct error *error)
{
    int descriptor = open_target(path);
    if (descriptor < 0) error_format(error, "cannot be opened: %s", error_from_errno(errno));
    return descriptor;
}

void access_log_use(struct access_log *log, int descriptor)
{
    struct stat about;
    log->descriptor = descriptor;
    log->is_regular = descriptor >= 0 && fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
    if (log->is_regular && about.st_size == 0) log->torn = false;
}

static void close_target(struct access_log *log)
{
    if (log->descriptor >= 0) close(log->descriptor);
    log->descriptor = -1;
}

static void open_or_warn(struct access_log *log)
{
    struct error error;
    if (!log->target) return;
    access_log_use(log, access_log_open(log->target, &error));
    if (log->descriptor < 0) warn(log, error.text);
}

static void take_next_target(struct access_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool has_next = log->has_next;
    char *next = log->target_next;
    int descriptor = log->descriptor_next;
    log->has_next = false;
    log->target_next = NULL;
    log->descriptor_next = -1;
    pthread_mutex_unlock(&log->lock);
    if (!has_next) return;
    bool same = log->target && next && strcmp(log->target, next) == 0;
    free(log->target);
    log->target = next;
    if (same) {
        if (descriptor >= 0) close(descriptor);
        return;
    }
    close_target(log);
    log->torn = false;
    access_log_use(log, descriptor);
    if (descriptor < 0) open_or_warn(log);
}

static void reopen_if_asked(struct access_log *log)
{
    if (!atomic_exchange(&log->reopen, false)) return;
    close_target(log);
    open_or_warn(log);
}

static bool has_new_orders(struct access_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool has_next = log->has_next;
    pthread_mutex_unlock(&log->lock);
    return has_next || atomic_load(&log->reopen) || atomic_load(&log->stopping);
}

/* --- a page --- */

static bool is_time_to_give_up(struct access_log *log)
{
    if (!has_new_orders(log)) return false;
    if (log->orders_since_ms == 0) log->orders_since_ms = now_ms();
    return now_ms() - log->orders_since_ms >= ORDERS_GRACE_MS;
}

/* Waits until the descriptor takes bytes; false: give the page up, something else is to be done. */
static bool wait_for_room(struct access_log *log)
{
    for (;;) {
        struct pollfd room = { log->descriptor, POLLOUT, 0 };
        bool last_look = is_time_to_give_up(log);
        int ready = poll(&room, 1, last_look ? 0 : ROOM_WAIT_MS);
        if (ready > 0) return true;
        if (last_look || (ready < 0 && errno != EINTR)) return false;
    }
}

/* One write(2): how many bytes went, 0 to try again, -1 to give up. */
static ssize_t write_some(struct access_log *log, const char *bytes, size_t length)
{
    if (!log->is_regular) {
        if (!wait_for_room(log)) return -1;
        if (length > PIPE_BUF) length = PIPE_BUF;
    }
    ssize_t written = write(log->descriptor, bytes, length);
    if (written >= 0) return written;
    if (errno == EINTR || errno == EAGAIN) return 0;
    warn(log, error_from_errno(errno));
    return -1;
}

static bool write_all(struct access_log *log, const char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t written = write_some(log, bytes + done, length - done);
        if (written < 0) {
            log->torn |= done > 0;
            return false;
        }
        done += (size_t)written;
    }
    counter_add(&log->bytes, length);
    return true;
}

static void write_page(struct access_log *log, const struct log_page *page)
{
    if (log->descriptor < 0) open_or_warn(log); /* it may be possible again */
    bool written = log->descriptor >= 0 && (!log->torn || write_all(log, "\n", 1));
    if (written) {
        log->torn = false;
        written = write_all(log, page->bytes, page->length);
    }
    if (!written && log->target) counter_add(&log->dropped, page->lines);
}

/* --- the thread --- */

static bool carry_pages(struct access_log *log)
{
    bool carried = false;
    for (unsigned i = 0; i < log->workers; i++) {
        struct log_page *page = log_ring_take(&log->worker[i]->full);
        if (!page) continue;
        write_page(log, page);
        log_ring_put(&log->worker[i]->returned, page);
        carried = true;
    }
    return carried;
}

static void wait_for_work(struct access_log *log)
{
    uint64_t ignored;
    struct pollfd wake = { log->wake, POLLIN, 0 };
    poll(&wake, 1, WAIT_MS);
    ssize_t got = read(log->wake, &ignored, sizeof ignored);
    (void)got; /* a look too many does no harm */
}

/* Every page that was handed in up to now: a ring holds no more. */
static void carry_what_is_there(struct access_log *log)
{
    for (unsigned i = 0; i < LOG_RING_SLOTS && carry_pages(log); i++) {}
}

void *access_log_writer_run(void *argument)
{
    struct access_log *log = argument;
    pthread_setname_np(pthread_self(), "log writer");
    while (!atomic_load(&log->stopping)) {
        wait_for_work(log);
        while (!has_new_orders(log) && carry_pages(log)) {}
        if (!has_new_orders(log)) continue;
        carry_what_is_there(log);
        reopen_if_asked(log);
        take_next_target(log);
        log->orders_since_ms = 0;
    }
    carry_what_is_there(log);
    return NULL;
}
