/* filters/decision_cache.h: answers of a decision service that are kept for a while, of one policy on one worker.
 *
 * Bounded in entries and in bytes; what was used least recently goes first. Keys are compared whole, and hashed under the key of the
 * process, as clients write them. An entry is one block of memory of its own; what doesn't fit, or finds no memory, is not kept, and no
 * request fails for it. Pure but for that memory: the time is an argument. One thread. */
#ifndef SLUICE_FILTERS_DECISION_CACHE_H
#define SLUICE_FILTERS_DECISION_CACHE_H

#include "base/list.h"
#include "base/slice.h"

enum verdict { VERDICT_FAILED, VERDICT_ALLOWED, VERDICT_DENIED };

/* What a header of the answer is for; one may be for several things. */
enum decision_use {
    USE_UPSTREAM = 1, /* in place of the request's own */
    USE_APPENDED = 2, /* beside the request's own */
    USE_CLIENT = 4,   /* into the client's answer */
    USE_REMOVE = 8,   /* names fields of the request that are not to reach the service */
    USE_USER_ID = 16,
    USE_CLIENT_ID = 32,
};

struct decision_header {
    struct slice name, value;
    uint8_t uses; /* enum decision_use bits */
};

struct decision {
    uint8_t verdict;    /* enum verdict */
    bool has_lost_body; /* of a denial: it was too large or broke off, so that nothing of it is here */
    uint16_t status;    /* of the answer; 0: there was none */
    uint32_t header_count;
    const struct decision_header *headers;
    struct slice content_type, body; /* of a denial that the client gets as it is; absent: none */
    uint64_t body_length;            /* of one of HEAD, as it was said; or BODY_LENGTH_UNKNOWN (http/message.h) */
};

struct decision_cache {
    struct list_link by_use; /* the least recent first */
    struct cached_decision **buckets;
    size_t bucket_count, count, bytes;
    size_t entries_max, bytes_max;
};

/* False: memory is short. */
bool decision_cache_init(struct decision_cache *, size_t entries_max, size_t bytes_max) MUST_USE;
void decision_cache_release(struct decision_cache *);
/* It holds until the cache is asked for something else. NULL: none, or its time is over. */
const struct decision *decision_cache_find(struct decision_cache *, struct slice key, uint64_t now_ms);
/* The same without counting as a use or letting go of anything, and until when it is kept. */
const struct decision *decision_cache_peek(const struct decision_cache *, struct slice key, uint64_t now_ms,
                                           uint64_t *until_ms);
/* Copies both. In place of what the key has. */
void decision_cache_put(struct decision_cache *, struct slice key, const struct decision *, uint64_t until_ms);

#endif
