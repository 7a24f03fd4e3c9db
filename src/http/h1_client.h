/* http/h1_client.h: a connection to a backend that speaks HTTP/1.1; carries one client stream at a time, no pipelining. */
#ifndef SLUICE_HTTP_H1_CLIENT_H
#define SLUICE_HTTP_H1_CLIENT_H

#include "base/slab.h"
#include "event/event.h"
#include "http/client_stream.h"
#include "http/h1.h"
#include "http/request_id.h"

struct kernel_pipes;

struct h1_client_settings {
    struct h1_limits limits;
    uint32_t splice_bytes_min; /* bodies of at least so many bytes still to come are moved by splice(2); 0: never */
};

/* What sessions of one worker share. Owned by the worker. */
struct h1_worker {
    struct loop *loop;
    struct slab_pool *slabs;
    struct arena_pool *arenas;
    struct kernel_pipes *kernel_pipes; /* NULL: no splice */
    struct request_id_source ids;
    char date[32]; /* the Date field's value, renewed each second */
};

/* Begins to connect; `connected` or `lost` follows. NULL and *error where not even that works.
 * Timeouts are the pool's (connect) and the call's (answer): a session has none. */
struct client_connection *h1_client_connect(struct h1_worker *, const struct h1_client_settings *,
                                            const struct address *, const struct client_connection_events *,
                                            void *owner, struct error *);

#endif
