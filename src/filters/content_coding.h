/* filters/content_coding.h: the content codings that Sluice writes and reads (RFC 9110 8.4.1), and which of them a client accepts
 * (RFC 9110 12.5.3). Pure: no state, any thread. */
#ifndef SLUICE_FILTERS_CONTENT_CODING_H
#define SLUICE_FILTERS_CONTENT_CODING_H

#include "base/error.h"
#include "http/headers.h"

enum content_coding {
    CODING_IDENTITY,
    CODING_GZIP,    /* RFC 1952 */
    CODING_BROTLI,  /* RFC 7932 */
    CODING_ZSTD,    /* RFC 8878, windows as in RFC 9659 */
    CODING_DEFLATE, /* RFC 1950: the zlib format, as RFC 9110 8.4.1.2 says; read only */
    CODING_COUNT
};

/* As it stands in Content-Encoding; static, so that a field whose value points there was written by us. */
struct slice content_coding_name(enum content_coding);
/* Ignores case; x-gzip is gzip (RFC 9110 8.4.1.3). CODING_COUNT: none of ours. */
enum content_coding content_coding_find(struct slice name);
/* Makes the library of a coding ready, for writing or for reading. On the thread that compiles configurations, before any is used.
 * False: *error says what is not installed. */
bool content_coding_load(enum content_coding, struct error *) MUST_USE;

/* Digests of the bytes as they are sent (RFC 9530; RFC 3230 and Content-MD5 before it): true of no others. Heads and trailers may have them. */
bool content_is_digested(const struct headers *);
void content_remove_digests(struct headers *);

/* What a client says it can read, in thousandths: 0 is no, 1000 the most. */
struct accepted_codings {
    uint16_t quality[CODING_COUNT]; /* of identity: only where it was named, by itself or as `*`; else see below */
    bool identity_named;            /* its quality counts against the others' */
    bool identity_refused;          /* identity;q=0, or *;q=0 without a word about identity */
};

/* Members that can't be read count as not accepted; of a coding that is named twice the lower quality counts. Without the field, or with an
 * empty one, nothing but identity is accepted: RFC 9110 lets us send anything then, and old clients rely on our not doing so. */
void accepted_codings_read(const struct headers *, struct accepted_codings *);
/* Of `offered` those that are accepted and not worse than identity, best first; among equals the order of `offered` decides. How many. */
size_t accepted_codings_rank(const struct accepted_codings *, const enum content_coding *offered, size_t count,
                             enum content_coding ranked[CODING_COUNT]);

#endif
