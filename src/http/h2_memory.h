/* http/h2_memory.h: where an HTTP/2 session of nghttp2's lives, so that an idle one costs a page.
 *
 * nghttp2 1.52 takes 25 KB when a session is made, most of it for what only a busy one needs: a buffer for the frame that is being sent
 * (16 KiB), a table of streams (4 KiB, all zero while there are none), a table of header fields that an encoder without one never
 * touches. Here these stand on pages of their own, apart from the rest, which fits on one; when the session has been idle for a while
 * the kernel gets them back until they are touched again. What is allocated later is malloc's.
 *
 * Nothing rests on what nghttp2 does with its memory but this: between two frames it doesn't look into the buffer again. Of the other
 * pages only such go that are all zeros. One worker's thread. */
#ifndef SLUICE_HTTP_H2_MEMORY_H
#define SLUICE_HTTP_H2_MEMORY_H

#include "base/base.h"

#include <nghttp2/nghttp2.h>

struct h2_memory; /* of a worker */
struct h2_block;  /* of a session */

/* NULL when memory is short; then sessions live without. */
struct h2_memory *h2_memory_create(void);
/* All blocks have been given back. NULL is allowed. */
void h2_memory_destroy(struct h2_memory *);

/* NULL when memory is short or there is no h2_memory. */
struct h2_block *h2_block_take(struct h2_memory *);
/* For the one session that is made next; holds as long as the block. */
nghttp2_mem *h2_block_allocator(struct h2_block *);
/* That session was made. */
void h2_block_settle(struct h2_block *);
/* The session has nothing to send and no streams, and is likely to stay so for a while. One system call. NULL is allowed. */
void h2_block_rest(struct h2_block *);
/* After the session's end. NULL is allowed. */
void h2_block_give(struct h2_block *);

#endif
