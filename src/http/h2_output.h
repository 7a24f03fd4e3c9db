/* http/h2_output.h: private to this room: what an HTTP/2 session sends, gathered and written in few system calls. Frames that nghttp2
 * made are copied, content is taken from its pipe by reference: many small answers become one run of bytes, a large body goes out of
 * the slabs it came in.
 *
 * A gathering lives on its caller's stack; a connection that waits holds memory only if its socket was full: what the kernel didn't
 * take moves to the heap then, counted under the worker's ceiling. */
#ifndef SLUICE_HTTP_H2_OUTPUT_H
#define SLUICE_HTTP_H2_OUTPUT_H

#include "event/stream.h"
#include "http/body_pipe.h"

#define H2_FRAME_HEAD_BYTES 9 /* RFC 9113 4.1 */
#define H2_PIECES 64
/* What a frame of nghttp2's takes at most: its head and 16 KiB (RFC 9113 4.2), and one byte of padding. */
#define H2_FRAME_BYTES_MAX (16 * 1024 + 16)
#define H2_TEXT_BYTES (2 * H2_FRAME_BYTES_MAX)
/* Of content and frames together: as much as a connection holds for a peer that reads slowly. */
#define H2_GATHER_BYTES (64 * 1024)

struct h2_gathering {
    int count;
    uint32_t text_length;
    size_t total;
    struct iovec pieces[H2_PIECES];
    struct slab *slabs[H2_PIECES]; /* one reference each; NULL: the piece is in `text` */
    char text[H2_TEXT_BYTES];
};

struct h2_rest;

struct h2_output {
    struct stream *stream;
    struct memory_ceiling *ceiling;
    struct h2_rest *rest; /* what the kernel didn't take; NULL: nothing waits */
    uint64_t gathered;    /* bytes ever */
    uint64_t written;     /* of those: bytes that the kernel took */
};

void h2_output_init(struct h2_output *, struct stream *, struct memory_ceiling *ceiling_or_null);
/* Drops what was not written. */
void h2_output_release(struct h2_output *);
static inline bool h2_output_waits(const struct h2_output *output) { return output->rest != NULL; }
/* Writes what waits. STREAM_WAIT: not all of it. */
enum stream_result h2_output_go_on(struct h2_output *) MUST_USE;

void h2_gathering_init(struct h2_gathering *);
/* Of one that is not to be written. */
void h2_gathering_drop(struct h2_gathering *);
/* May one more frame be added, of whichever kind? */
bool h2_gathering_has_room(const struct h2_gathering *);
/* Copies at most H2_FRAME_BYTES_MAX. */
void h2_gather(struct h2_output *, struct h2_gathering *, const void *bytes, size_t length);
/* A DATA frame: its head of 9 bytes, and so much of the pipe's content, which is consumed; at most 16 KiB. */
void h2_gather_content(struct h2_output *, struct h2_gathering *, const void *frame_head, struct body_pipe *,
                       size_t length);
/* Nothing waits. Writes what was gathered, and keeps what the kernel doesn't take: STREAM_WAIT then. STREAM_FAIL also where there is no
 * memory to keep it. The gathering is empty afterwards. */
enum stream_result h2_output_write(struct h2_output *, struct h2_gathering *) MUST_USE;

#endif
