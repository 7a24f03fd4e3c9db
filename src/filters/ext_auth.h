/* filters/ext_auth.h: what the files of ext-auth share: ext_auth_config.c makes of the configuration the policy, ext_auth_ask.c writes the question
 * and reads the answer, ext_auth_shared.c keeps decisions and lets those who wait for the same one ask once, ext_auth_apply.c does what
 * a decision says. ext_auth.c is a request's way through them. */
#ifndef SLUICE_FILTERS_EXT_AUTH_H
#define SLUICE_FILTERS_EXT_AUTH_H

#include "exchange/sub_request.h"
#include "filters/decision_cache.h"
#include "filters/header_names.h"

#define EXT_AUTH_KEY_PARTS_MAX 16

enum ext_auth_mode { EXT_AUTH_REQUEST, EXT_AUTHZ };

/* A header that goes with the question. */
struct ext_auth_field {
    char *name_text;
    struct slice name;
    struct template *value;
};

/* A part of the key by which decisions are kept. */
struct ext_auth_key_part {
    struct expression *expression;
    struct slice header; /* all it asks for is this header of the request; absent: it asks for something else */
};

struct ext_auth {
    uint8_t mode; /* enum ext_auth_mode */
    bool allows_on_failure;
    bool takes_body, takes_partial_body;
    bool all_request_headers, has_denied_headers, finds_identity;
    uint16_t failure_status;
    uint32_t service; /* for exchange_service() */
    uint32_t timeout_ms;
    size_t body_bytes_max;
    char *texts; /* of the slices below */
    struct slice path, failure_header, user_id_header, client_id_header;
    struct header_names request_headers, upstream_headers, appended_headers, client_headers, denied_headers;
    struct ext_auth_field *fields;
    size_t field_count;
    struct ext_auth_key_part *key; /* of the cache */
    size_t key_count;              /* 0: nothing is kept */
    uint32_t ttl_ms, negative_ttl_ms;
    size_t entries_max, cache_bytes_max;
    struct content_hash fingerprint; /* of the configuration: policies with the same one share what is kept */
};

/* What the fields fill. */
struct ext_auth_body_config {
    uint64_t bytes_max;
    bool allow_partial;
};

struct ext_auth_cache_config {
    struct slice_list key;
    uint64_t ttl_ms, negative_ttl_ms, bytes;
    int64_t entries;
};

struct ext_auth_config {
    struct slice service, path;
    int mode, on_failure;
    uint64_t timeout_ms;
    int64_t failure_status;
    struct slice_list request_headers, upstream_headers, appended_headers, client_headers, denied_headers;
    bool has_request_headers, has_denied_headers;
    struct pair_list set_headers;
    struct slice failure_header, user_id_header, client_id_header;
    bool has_body, has_cache;
    struct ext_auth_body_config body;
    struct ext_auth_cache_config cache;
};

/* ext_auth_config.c */
extern const struct field ext_auth_fields[];
extern const char *const ext_auth_mode_words[]; /* by enum ext_auth_mode */
bool ext_auth_check(struct schema_reading *, const struct node *, const void *config);
enum phase ext_auth_phase(const void *value);
bool ext_auth_compile(const struct filter_compile *, const void *config, void **compiled);
void ext_auth_release(void *compiled);

/* The body that goes with the question; absent: none. */
struct ext_auth_body {
    struct slice bytes; /* in the slab */
    struct slab *slab;
    bool is_partial;
};

/* ext_auth_ask.c */
/* Writes the question's head into `sub`, and its target. Everything in it is the exchange's. False: it can't be asked, as memory is short or
 * for what the client brings into it; the answer that says so is prepared. */
bool ext_auth_write_question(const struct ext_auth *, struct exchange *, const struct ext_auth_body *,
                             struct sub_request *, struct slice *target) MUST_USE;
/* Who is asked, for how long: by the policy's time alone. The task is told when it is over. */
struct sub_request_plan ext_auth_plan(const struct exchange *, const struct ext_auth *, struct slice target,
                                      struct task *);
/* What the answer means. Its texts are in `arena`; false when memory is short. */
bool ext_auth_judge(const struct ext_auth *, const struct sub_request *, struct arena *, struct decision *) MUST_USE;
/* For how long a decision may be kept: the policy's time, unless the answer's Cache-Control says less. 0: not at all. */
uint64_t ext_auth_keeps_ms(const struct ext_auth *, const struct response_head *, const struct decision *);

/* ext_auth_shared.c */
bool ext_auth_worker_start(struct exchange_worker *, void **kept);
void ext_auth_worker_stop(struct exchange_worker *, void *kept);

/* Where on this worker what the exchange shares with others stands: with those of the same route whose policies are equal, ask the
 * same service and have equal keys. Its key is in the exchange's arena. */
struct ext_auth_place {
    struct ext_auth_keep *keep;
    struct slice key;
};
enum ext_auth_sharing {
    EXT_AUTH_SHARED,
    EXT_AUTH_ALONE, /* nobody can tell what the decision hangs on */
    EXT_AUTH_NO_MEMORY,
};
enum ext_auth_sharing ext_auth_find_place(struct exchange *, const struct ext_auth *, struct ext_auth_place *);
/* The decision that is kept there, until something else is kept; NULL: none. */
const struct decision *ext_auth_known(const struct exchange *, const struct ext_auth_place *);
/* The same without any effect, for explanations, and until when it is kept. */
const struct decision *ext_auth_peek(struct exchange *, const struct ext_auth *, uint64_t *until_ms);

/* Who waits for an answer that others may wait for as well. Embedded in the exchange's state. */
struct ext_auth_waiter {
    struct list_link link;
    struct ext_auth_question *question; /* NULL: it waits for none */
    struct exchange_wait *wait;         /* set before it joins; resumed when the answer is there */
};
/* To the question that is open at the place, or to one that begins. False: none could, and the answer that says so is prepared. */
bool ext_auth_join(struct ext_auth_waiter *, struct exchange *, const struct ext_auth *,
                   const struct ext_auth_place *) MUST_USE;
/* What the answer means, and of a failure why; both hold until it leaves. False when memory is short. */
bool ext_auth_hear(const struct ext_auth_waiter *, struct exchange *, const struct ext_auth *, struct decision *,
                   const struct error **why) MUST_USE;
/* Harmless where it waits for none. The question goes with the last one. */
void ext_auth_leave(struct ext_auth_waiter *);

/* ext_auth_apply.c */
/* Of a field of an answer: does it speak of the body that comes with it, and mean nothing with another one? */
bool ext_auth_speaks_of_body(struct slice name);
/* What it brings for the client's answer, in the exchange's arena. */
struct ext_auth_gift {
    struct decision_header *headers;
    uint32_t count;
};
/* Copies what it takes. `why`: of a failure, for the log. */
enum filter_result ext_auth_apply(const struct ext_auth *, struct exchange *, const struct decision *,
                                  const struct error *why, struct ext_auth_gift *);

#endif
