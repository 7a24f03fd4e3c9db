/* http/h2_memory.h: where the HTTP/2 sessions of a worker's clients have their memory from; most of them are idle, so what an idle one
 * needs is what counts.
 *
 * nghttp2 takes at a session's creation what a busy one may need. Three parts of it get places of their own; all else is malloc's:
 *   frame   16 KiB in which the next frame is made. They are read out before another session's turn (h2_server.c copies each frame at
 *           once, and content goes without), so all sessions share one. What a large head needs beyond it is malloc's.
 *   rings   1 KiB each, HPACK's two tables: written only where a table has entries.
 *   table   4 KiB, the hash table of streams, all zeros while no stream is open.
 * Rings and tables lie in mapped regions, each kind by itself, so that what was never written isn't resident; a table of zeros
 * can be given back to the kernel at any time, since it reads as zeros again.
 *
 * One a worker, its thread alone. A session that finds no region lives with malloc. */
#ifndef SLUICE_HTTP_H2_MEMORY_H
#define SLUICE_HTTP_H2_MEMORY_H

#include "base/base.h"

#include <nghttp2/nghttp2.h>

struct h2_memory;
struct h2_region;

struct h2_memory *h2_memory_create(void);
/* After its sessions. */
void h2_memory_destroy(struct h2_memory *);

/* One session's part. Stays where it is as long as nghttp2's session lives. */
struct h2_session_memory {
    struct h2_memory *memory; /* NULL: malloc alone */
    struct h2_region *region; /* NULL: no rings and table from there */
    uint16_t cell;            /* in it */
    uint8_t rings;            /* so many were asked for */
    bool creating;            /* what is asked for now may have a place of its own */
    bool has_table, has_frame;
};

/* For nghttp2_session_server_new3(), after which comes h2_session_memory_created(), whether it failed or not. */
nghttp2_mem h2_session_memory_init(struct h2_session_memory *, struct h2_memory *memory_or_null);
static inline void h2_session_memory_created(struct h2_session_memory *session) { session->creating = false; }
/* After nghttp2_session_del(). */
void h2_session_memory_release(struct h2_session_memory *);
/* No stream is open, and none will be soon: gives the table back. False: not now, there are too many of them in this second. */
bool h2_session_memory_trim(struct h2_session_memory *, uint64_t now_ms) MUST_USE;

#endif
