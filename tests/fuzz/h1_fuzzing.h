/* tests/fuzz/h1_fuzzing.h: heads read in two ways, compared field by field, for the fuzz targets of the HTTP/1.1
 * codec. */
#ifndef SLUICE_FUZZ_H1_FUZZING_H
#define SLUICE_FUZZ_H1_FUZZING_H

#include "http/h1.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Small, so that a fuzzer's short inputs meet them too. */
static const struct h1_limits fuzz_limits = { 300, 1500, 24, false };

/* A copy of exactly that length, so that a sanitizer sees a read behind it. */
static inline char *fuzz_copy(const char *bytes, size_t length)
{
    char *copy = malloc(length ? length : 1);
    PROMISE(copy != NULL);
    if (length) memcpy(copy, bytes, length);
    return copy;
}

static inline void fuzz_require_equal_headers(const struct headers *a, const struct headers *b)
{
    const struct header *left = headers_next(a, NULL), *right = headers_next(b, NULL);
    for (; left && right; left = headers_next(a, left), right = headers_next(b, right)) {
        PROMISE(left->id == right->id);
        PROMISE(slice_equal(left->name, right->name));
        PROMISE(slice_equal(left->value, right->value));
    }
    PROMISE(!left && !right);
}

static inline void fuzz_require_equal_requests(const struct request_head *a, const struct request_head *b)
{
    PROMISE(a->method == b->method && slice_equal(a->method_text, b->method_text));
    PROMISE(a->version == b->version);
    PROMISE(a->target.form == b->target.form);
    PROMISE(slice_equal(a->target.path, b->target.path));
    PROMISE(slice_equal(a->target.query, b->target.query));
    PROMISE(slice_is_absent(a->target.query) == slice_is_absent(b->target.query));
    PROMISE(slice_equal(a->authority, b->authority) && slice_equal(a->host, b->host) && a->port == b->port);
    PROMISE(a->has_body == b->has_body && a->body_length == b->body_length);
    PROMISE(a->expects_continue == b->expects_continue && a->wants_upgrade == b->wants_upgrade);
    fuzz_require_equal_headers(&a->headers, &b->headers);
}

static inline void fuzz_require_equal_responses(const struct response_head *a, const struct response_head *b)
{
    PROMISE(a->status == b->status && a->version == b->version);
    PROMISE(a->has_body == b->has_body && a->body_length == b->body_length);
    fuzz_require_equal_headers(&a->headers, &b->headers);
}

static inline void fuzz_require_equal_parsers(const struct h1_parser *a, const struct h1_parser *b)
{
    PROMISE(a->head_length == b->head_length && a->keep_alive == b->keep_alive && a->chunked == b->chunked);
}

static inline void fuzz_require_equal_errors(const struct error *a, const struct error *b)
{
    PROMISE(a->status == b->status && a->blame == b->blame);
    PROMISE(strcmp(a->reason, b->reason) == 0 && strcmp(a->text, b->text) == 0);
}

#endif
