/* http/worker.h: what the sessions of one worker share, whichever HTTP version they speak. Owned by the worker; its thread alone. */
#ifndef SLUICE_HTTP_WORKER_H
#define SLUICE_HTTP_WORKER_H

#include "base/arena.h"
#include "base/slab.h"
#include "event/event.h"
#include "http/request_id.h"

struct h2_memory;
struct kernel_pipes;

struct http_worker {
    struct loop *loop;
    struct slab_pool *slabs;
    struct arena_pool *arenas;
    struct kernel_pipes *kernel_pipes; /* NULL: no splice */
    struct h2_memory *h2_memory;       /* NULL: clients' HTTP/2 sessions live by malloc alone */
    struct request_id_source ids;
    char date[32]; /* the Date field's value, renewed each second */
};

#endif
