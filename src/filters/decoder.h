/* filters/decoder.h: a compressed body unpacked as it comes: gzip, deflate (zlib), Brotli or Zstandard behind one call.
 *
 * Several members of gzip and several frames of Zstandard are one body (RFC 1952 2.2, RFC 8878 3.1); anything else behind the end is
 * refused, and so is a body that ends before its end. Memory is counted under the worker's ceiling as the library asks for it (a Zstandard frame's window
 * as it fills), and nothing more is taken beyond half of it. How much may come out is for the caller to judge. One worker's thread; no pipe, no exchange. */
#ifndef SLUICE_FILTERS_DECODER_H
#define SLUICE_FILTERS_DECODER_H

#include "base/ceiling.h"
#include "filters/content_coding.h"

/* The largest window that a Zstandard frame may ask for: 8 MiB (RFC 9659). */
#define ZSTD_WINDOW_READ_MAX 23

struct decoder;

/* Any coding but identity, loaded before (content_coding_load). The ceiling may be NULL. NULL: no memory. */
struct decoder *decoder_create(enum content_coding, struct memory_ceiling *) MUST_USE;
/* NULL is allowed. */
void decoder_destroy(struct decoder *);

enum decoder_result {
    DECODER_GOES_ON,  /* all input was taken, or the room was used up */
    DECODER_BROKEN,   /* it isn't this coding */
    DECODER_TRAILING, /* bytes behind the end */
    DECODER_WINDOW,   /* it asks for a larger window than ZSTD_WINDOW_READ_MAX */
    DECODER_NO_MEMORY,
};

/* Takes bytes off *input and writes at most `room` (> 0) to `into`. More may be ready although the input is empty: then *written == room. */
enum decoder_result decoder_run(struct decoder *, struct slice *input, char *into, size_t room, size_t *written);
/* May the body end here? A body without a byte may. */
bool decoder_is_whole(const struct decoder *);

#endif
