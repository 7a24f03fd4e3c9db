/* observe/access_log.h: one JSON line an exchange, written by pages off the hot path.
 *
 * A worker appends to its own page and hands full pages (or, each 100 ms, started ones) to the writer thread, which alone touches
 * the file. A full disk, a slow file or a stopped reader of a pipe never blocks a worker: when a worker has no free page the line is
 * dropped and counted. Fields: DESIGN 11, Access log. Strings are escaped by RFC 8259; invalid UTF-8 becomes U+FFFD. Where the
 * texts of a line have more than 8 KiB together, each is cut to its first 768 bytes. */
#ifndef SLUICE_OBSERVE_ACCESS_LOG_H
#define SLUICE_OBSERVE_ACCESS_LOG_H

#include "base/error.h"
#include "observe/record.h"

#include <stdatomic.h>

struct access_log;        /* the writer: one a process */
struct access_log_worker; /* the appending side: one a worker */

/* Opens what lines are to go to (O_APPEND, mode 0640): an absolute path, or "-" for standard output. The descriptor is for
 * access_log_create or access_log_retarget, which own it from then on; -1 and *error where it can't be opened. Waits for a slow disk. */
int access_log_open(const char *path, struct error *) MUST_USE;
/* `path` NULL: off (lines are neither written nor counted). `descriptor` is its, opened; -1: the writer tries to open it with each page.
 * Starts the writer thread. `pages_max`: 64 KiB pages that a worker may have under way. */
struct access_log *access_log_create(const char *path, int descriptor, unsigned workers, unsigned pages_max,
                                     struct error *);
/* Flushes for at most 2 s, then gives up. Workers have stopped. */
void access_log_destroy(struct access_log *);
/* Any thread, async-signal-safe not needed: the writer closes and opens the path again before its next page (SIGUSR1). */
void access_log_reopen(struct access_log *);
/* A reload changed the target: the writer goes over to it after the pages handed in so far. The path it has already it goes on with. */
void access_log_retarget(struct access_log *, const char *path_or_null, int descriptor);
uint64_t access_log_lines_dropped(const struct access_log *); /* any thread */
uint64_t access_log_bytes_written(const struct access_log *);

struct access_log_worker *access_log_worker(struct access_log *, unsigned index);
static inline bool access_log_is_on(const struct access_log_worker *);
/* The worker's thread. Never blocks, never allocates. */
void access_log_append(struct access_log_worker *, const struct exchange_record *);
/* Hands a started page to the writer; called by the worker each 100 ms and when it stops. */
void access_log_flush(struct access_log_worker *);

struct access_log_worker_public {
    _Atomic bool on;
};

static inline bool access_log_is_on(const struct access_log_worker *worker)
{
    return atomic_load_explicit(&((const struct access_log_worker_public *)(const void *)worker)->on,
                                memory_order_relaxed);
}

#endif
