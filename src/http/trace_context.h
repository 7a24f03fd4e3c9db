/* http/trace_context.h: W3C Trace Context: the fields traceparent and tracestate of a request read, judged and written.
 *
 * Level 1 (Recommendation of 2021), with what level 2 adds: the flag that says the trace id is random, keys that begin with a digit. Pure:
 * bytes in, slices of them out; any thread. What is not well-formed is not mended: a bad traceparent restarts the trace, a bad tracestate
 * is dropped as a whole. */
#ifndef SLUICE_HTTP_TRACE_CONTEXT_H
#define SLUICE_HTTP_TRACE_CONTEXT_H

#include "base/random.h"
#include "base/slice.h"

#define TRACE_ID_BYTES 32
#define SPAN_ID_BYTES 16
#define TRACEPARENT_BYTES 55 /* "00-" trace id "-" span id "-" flags */

enum {
    TRACE_SAMPLED = 1,   /* 3.2.2.5.1: whoever sent it may have recorded it */
    TRACE_RANDOM_ID = 2, /* level 2: the trace id's last seven bytes at least are random */
};

/* A traceparent that was read; slices of it. */
struct traceparent {
    struct slice trace_id, parent_id; /* lower-case hexadecimal, neither all zero */
    uint8_t flags;                    /* those that are known; others are dropped (3.2.2.5) */
};

/* Version 00 to the letter; of later ones what version 00 knows (3.2.4); version ff never. */
bool traceparent_parse(struct slice value, struct traceparent *) MUST_USE;
/* A new trace. `into` gets TRACEPARENT_BYTES, no NUL. */
void traceparent_begin(struct random *, uint8_t flags, char into[TRACEPARENT_BYTES]);
/* The same trace with a span id of ours, in version 00. */
void traceparent_continue(struct random *, const struct traceparent *, char into[TRACEPARENT_BYTES]);
/* Where the ids stand in what these have written. */
static inline struct slice traceparent_trace_id(const char text[TRACEPARENT_BYTES])
{
    return slice_of(text + 3, TRACE_ID_BYTES);
}
static inline struct slice traceparent_span_id(const char text[TRACEPARENT_BYTES])
{
    return slice_of(text + 3 + TRACE_ID_BYTES + 1, SPAN_ID_BYTES);
}

#define TRACESTATE_MEMBERS_MAX 32
#define TRACESTATE_BYTES_MAX 512

/* All tracestate fields of a request, joined by commas. What of it goes on: all of it, or (beyond 512 bytes) what is left without members
 * of more than 128 bytes, then without the last ones (3.3.1.5), written into `buffer`; absent where it is empty or not well-formed: a bad
 * key or value, a key twice, more than 32 members. */
struct slice tracestate_check(struct slice value, char buffer[TRACESTATE_BYTES_MAX]);

#endif
