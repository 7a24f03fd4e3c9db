/* observe/private.h: what the two halves of the access log share: pages and their rings. */
#ifndef SLUICE_OBSERVE_PRIVATE_H
#define SLUICE_OBSERVE_PRIVATE_H

#include "base/clock.h"
#include "observe/access_log.h"
#include "shared/counter.h"

#include <pthread.h>

#define LOG_PAGE_BYTES (64 * 1024u)
#define LOG_RING_SLOTS 256u /* a power of two, more than a worker has pages */

struct log_page {
    uint32_t length, lines;
    char bytes[LOG_PAGE_BYTES - 8];
};

/* One thread puts, one takes. */
struct log_ring {
    _Atomic uint32_t put __attribute__((aligned(CACHE_LINE)));
    _Atomic uint32_t taken __attribute__((aligned(CACHE_LINE)));
    struct log_page *slots[LOG_RING_SLOTS];
};

static inline void log_ring_put(struct log_ring *ring, struct log_page *page)
{
    uint32_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
    ring->slots[put % LOG_RING_SLOTS] = page;
    atomic_store_explicit(&ring->put, put + 1, memory_order_release);
}

/* NULL: empty. */
static inline struct log_page *log_ring_take(struct log_ring *ring)
{
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    if (taken == atomic_load_explicit(&ring->put, memory_order_acquire)) return NULL;
    struct log_page *page = ring->slots[taken % LOG_RING_SLOTS];
    atomic_store_explicit(&ring->taken, taken + 1, memory_order_release);
    return page;
}

struct access_log_worker {
    struct access_log_worker_public public; /* first: read inline */
    struct access_log *log;
    struct log_page *page;  /* being filled; NULL: none */
    struct log_page **free; /* a stack, so that few pages are ever touched */
    unsigned free_count;
    struct counter dropped;                  /* lines for which there was no page */
    uint64_t time_ms;                        /* what time_text says */
    char time_text[CLOCK_ISO8601_BYTES + 1]; /* in quotes */
    struct log_page *pages;                  /* all of them, one mapping */
    size_t pages_bytes;
    struct log_ring full, returned; /* to the writer, back from it */
};

struct access_log {
    unsigned workers;
    int wake;                 /* eventfd: pages, a new target or the end */
    int descriptor;           /* -1: off or not to be opened right now */
    bool is_regular;          /* a file: write(2) never waits for a reader */
    bool torn;                /* the last line was cut off: a line break comes first */
    uint64_t orders_since_ms; /* when the writer first saw orders that it hasn't carried out; 0: none */
    atomic_bool reopen, stopping;
    pthread_mutex_t lock;       /* target_next, descriptor_next, has_next */
    char *target, *target_next; /* NULL: off */
    int descriptor_next;        /* opened for target_next; -1: not yet */
    bool has_next;
    struct counter dropped, bytes; /* the writer's */
    uint64_t warned_ms;
    pthread_t thread;
    struct access_log_worker **worker;
};

/* access_log_writer.c: the thread's body. */
void *access_log_writer_run(void *argument);
/* Takes an opened target over; -1: none. */
void access_log_use(struct access_log *, int descriptor);

#endif
