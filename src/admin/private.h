/* admin/private.h: what the files of this room share. No other room includes it. */
#ifndef SLUICE_ADMIN_PRIVATE_H
#define SLUICE_ADMIN_PRIVATE_H

#include "admin/admin.h"
#include "base/memory.h"
#include "exchange/exchange.h"
#include "observe/metrics_body.h"

struct admin_request;

/* What became of a step of a request. */
enum admin_step {
    ADMIN_ANSWERED, /* an answer was prepared (admin_answer*, admin_refuse*) */
    ADMIN_WAITS,    /* admin_wait() was called */
};

/* A JSON text that grows; malloc'ed. Zeroed at first. */
struct admin_text {
    char *at;
    size_t length, capacity;
};
void admin_text_release(struct admin_text *);
void admin_text_add(struct admin_text *, struct slice);
void admin_text_format(struct admin_text *, const char *format, ...) PRINTF_LIKE(2, 3);
void admin_text_add_string(struct admin_text *, struct slice); /* as a JSON string; absent: null */
/* `"key":` with a comma before it unless it is the first of its object. */
void admin_text_add_key(struct admin_text *, const char *key);
static inline struct slice admin_text_slice(const struct admin_text *text) { return slice_of(text->at, text->length); }

/* --- endpoints.c --- */

enum admin_access {
    ACCESS_ANYBODY, /* no login, no check of Host: tells nothing */
    ACCESS_READ,
    ACCESS_CHANGE,
};

/* A path's variables. */
struct admin_place {
    const struct resource_type *type; /* {kind}; NULL: none in the path */
    struct slice target;              /* {id}, {number}: decoded, NUL behind it; absent: none */
};

struct admin_endpoint {
    const char *path; /* "/admin/{kind}/{id}" */
    enum method method;
    enum admin_access access;
    const char *queries;   /* names of query parameters it takes, by space; {kind} lists have their own: see query.c */
    size_t body_bytes_max; /* 0: it takes none */
    bool body_may_be_absent;
    enum admin_step (*answer)(struct exchange *, struct admin_request *);
    const char *summary; /* one sentence, for docs */
};
extern const struct admin_endpoint admin_endpoints[];
extern const size_t admin_endpoint_count;

/* The endpoint of a path and method; HEAD is GET's. NULL: there is none; then *allow is what the path takes ("GET, HEAD, POST") or absent
 * where there is no such path. Texts in `arena`. */
const struct admin_endpoint *admin_endpoint_find(struct arena *, struct slice path, enum method, struct admin_place *,
                                                 struct slice *allow);

/* --- query.c --- */

#define ADMIN_LIST_LIMIT_DEFAULT 100
#define ADMIN_LIST_LIMIT_MAX 1000

struct admin_query {
    size_t limit;
    bool cascade, dry_run;
    struct slice cursor, service_id, route_id, tag, name, client_id, comment; /* decoded; absent: not given */
    int enabled;                                                              /* -1: not given */
    struct slice problem; /* what is wrong with it; absent: nothing */
};
/* Those that are not in `allowed` (names by space) are a problem, as are bad values and doubles. Texts in `arena`. */
void admin_query_read(struct arena *, struct slice text, const char *allowed, struct admin_query *);
/* Percent-decoded, with a NUL behind it; absent where it holds NUL or isn't well-formed. */
struct slice admin_percent_decode(struct arena *, struct slice text);

/* --- a request --- */

struct admin_errand;

enum admin_body_trouble { BODY_TROUBLE_NONE, BODY_TROUBLE_LIMIT, BODY_TROUBLE_ROOM };

/* The handler's state of one exchange. */
struct admin_request {
    const struct admin_endpoint *endpoint;
    struct admin_place place;
    struct slice allow; /* where no endpoint was found: what the path takes; absent: there is no such path */
    struct admin_query query;
    /* Who asks, from the guard on. */
    const char *author; /* the token's name, the certificate's subject, "anonymous"; in `arena` */
    enum admin_role role;
    bool match_required;
    /* A wait and what follows it. */
    struct exchange_wait wait;
    enum admin_step (*then)(struct exchange *, struct admin_request *);
    /* body.c */
    struct exchange *exchange;
    struct task body_task;
    bool reads_body, body_is_taken; /* is being read; was begun to be */
    enum admin_body_trouble body_trouble;
    size_t body_discarded;
    struct admin_text body; /* what was read; an order takes it over */
    size_t
        body_bytes; /* how much that was: held against all requests' limit until the exchange ends or an order has it */
    struct slice inner_body; /* /admin/validate: the change's own, inside of it; absent elsewhere */
    /* errand.c */
    struct admin_errand *errand;
    enum admin_step (*then_order)(struct exchange *, struct admin_request *, struct change_order *);
    enum admin_step (*then_question)(struct exchange *, struct admin_request *, struct change_question *);
    struct admin_listing *listing; /* list.c: one that is not finished; NULL: none */
    bool has_metrics;              /* state.c: the answer's body is made as it goes */
    struct metrics_body metrics;
    struct body_pipe metrics_pipe;
    struct arena arena;     /* malloc's, not the worker's: texts as large as a configuration */
    struct admin_text text; /* the answer's body; lives as long as the exchange */
};

/* Registers a wait that ends after delay_ms at the latest, or by exchange_resume(); then `then` is called. */
void admin_wait(struct exchange *, struct admin_request *, uint64_t delay_ms,
                enum admin_step (*then)(struct exchange *, struct admin_request *));

/* --- guard.c --- */

/* Host, Origin, who asks and whether that one may do this. ADMIN_ANSWERED: it was refused; otherwise `then` follows, now or later. */
enum admin_step admin_guard(struct exchange *, struct admin_request *,
                            enum admin_step (*then)(struct exchange *, struct admin_request *));
/* Pure parts, for tests. */
bool admin_host_is_allowed(const struct admin_settings *, struct slice host);
bool admin_origin_is_same(struct arena *, struct slice origin, bool tls, struct slice host, uint16_t port);
const struct admin_token *admin_token_find(const struct admin_settings *, struct slice token);

/* --- logins.c: failed logins by address; the admin worker's thread alone --- */

#define ADMIN_LOGINS_WAITING_MAX \
    8 /* failed logins of one address that wait at a time; beyond, nobody looks at the token */
#define ADMIN_LOGIN_DELAY_MS_MIN 100
#define ADMIN_LOGIN_DELAY_MS_MAX 2000

struct admin_logins *admin_logins_create(void);
void admin_logins_destroy(struct admin_logins *);
/* True: too many failed logins of this address wait already. */
bool admin_logins_are_blocked(struct admin_logins *, const struct address *, uint64_t now_ms);
/* One more. How long its answer is held back; it counts as waiting for as long, also when its client leaves before. */
uint64_t admin_login_failed(struct admin_logins *, const struct address *, uint64_t now_ms);
void admin_login_succeeded(struct admin_logins *, const struct address *, uint64_t now_ms);

/* --- body.c --- */

/* Reads the whole body, then the endpoint's answer follows. ADMIN_ANSWERED: it was refused (413, 415, 400 ...). */
enum admin_step admin_body_read(struct exchange *, struct admin_request *);
void admin_body_forget(struct admin_request *);
void admin_body_is_given(struct admin_request *); /* an order has it, and counts it from now on */
/* Bytes of bodies that are held by all requests together; one more than so many is answered with 503. */
#define ADMIN_BODIES_BYTES_MAX (192u << 20)

/* --- errand.c --- */

/* Hands an order or a question over to the changes thread and waits for it; `then` is called with it when it is done, unless the deadline
 * came first: then 504 is answered. Takes the order (question) over; it holds until `then` has answered. */
enum admin_step admin_errand_order(struct exchange *, struct admin_request *, struct change_order *,
                                   enum admin_step (*then)(struct exchange *, struct admin_request *,
                                                           struct change_order *));
enum admin_step admin_errand_ask(struct exchange *, struct admin_request *, struct change_question *,
                                 enum admin_step (*then)(struct exchange *, struct admin_request *,
                                                         struct change_question *));
/* The exchange ends: what is under way goes on without it. */
void admin_errand_forget(struct admin_request *);
#define ADMIN_ERRAND_MS_MAX 30000

/* --- resources.c, list.c, whole.c, state.c: the endpoints --- */

typedef enum admin_step admin_answer(struct exchange *, struct admin_request *);
admin_answer admin_list, admin_create, admin_get, admin_put, admin_patch, admin_delete, admin_rotate_key;
admin_answer admin_config_get, admin_config_put, admin_validate;
admin_answer admin_revisions, admin_revision, admin_rollback;
admin_answer admin_index, admin_live, admin_ready, admin_health_get, admin_metrics, admin_openapi, admin_route_stats,
    admin_route_mirror;
void admin_listing_forget(struct admin_request *);
void admin_metrics_forget(struct admin_request *);
const char *admin_list_queries(const struct resource_type *); /* what lists of this kind can be asked for */

/* An order of this request: its target, author, source, body, If-Match and queries are filled in. */
struct change_order *admin_order_create(const struct exchange *, struct admin_request *, enum change_action,
                                        enum resource_kind);
/* With the request's cursor and limit. */
struct change_question *admin_question_create(struct admin_request *);
/* A resource as a configuration has it: the document without its secrets; and as the API shows it: with the row's times. */
void admin_write_document(struct admin_text *, const struct admin_surroundings *, const struct catalog_entry *);
void admin_write_entry(struct admin_text *, const struct admin_surroundings *, const struct catalog_entry *);
/* The one that the path names, one reference. NULL: refused already. */
struct catalog_entry *admin_find_entry(struct exchange *, struct admin_request *, struct changes *);
/* NULL: refused already, nothing here keeps a configuration. */
struct changes *admin_changes(struct exchange *, struct admin_request *);

/* --- outcome.c --- */

/* The answer to an order (a question) that didn't do what was asked; false: it did. */
bool admin_refuse_outcome(struct exchange *, struct admin_request *, const struct change_order *);
bool admin_refuse_question(struct exchange *, struct admin_request *, const struct change_question *);
const char *admin_outcome_word(enum change_outcome); /* of one that did */
/* The one that the path names: it isn't there, or there are several. */
enum admin_step admin_refuse_unknown(struct exchange *, struct admin_request *);
/* "it is stored, but ...", as a JSON string */
void admin_add_warning(struct admin_text *, const struct resource_type *);
enum admin_step admin_refuse_ambiguous(struct exchange *, struct admin_request *);

/* --- answer.c --- */

/* Prepares the answer with what is in request->text. */
enum admin_step admin_answer_json(struct exchange *, struct admin_request *, unsigned status);
enum admin_step admin_answer_text(struct exchange *, struct admin_request *, unsigned status,
                                  struct slice content_type);
enum admin_step admin_answer_empty(struct exchange *, unsigned status);
/* To a prepared answer. The texts must live as long as the exchange. */
void admin_add_header(struct exchange *, struct slice name, struct slice value);
void admin_add_etag(struct exchange *, struct admin_request *, struct slice etag_without_quotes);
void admin_add_revision(struct exchange *, struct admin_request *, uint64_t revision);
/* problem+json (RFC 9457) with "reason" and requestId; `hint` NULL: none. */
enum admin_step admin_refuse(struct exchange *, struct admin_request *, unsigned status, const char *reason,
                             const char *hint, const char *format, ...) PRINTF_LIKE(6, 7);
/* The same with "errors": [{pointer, message, hint}]. */
enum admin_step admin_refuse_problems(struct exchange *, struct admin_request *, unsigned status, const char *reason,
                                      const struct problems *, const char *format, ...) PRINTF_LIKE(6, 7);
/* 409 with "users": [{kind, id, name}], the order's. */
enum admin_step admin_refuse_users(struct exchange *, struct admin_request *, const char *reason, const char *hint,
                                   const struct change_order *, const char *format, ...) PRINTF_LIKE(6, 7);
/* Does an If-Match or If-None-Match list hold this ETag? Weak ones count where `weak`. "*" does. */
bool admin_etag_list_has(struct slice list, struct slice etag, bool weak);
/* Those of a list, weak ones too or not, without quotes, separated by commas; "*" alone where it is among them. The caller's. */
char *admin_etag_list(struct slice list, bool weak_too);

/* --- document.c: JSON texts that are known to be sound; in others a walk ends early or says nonsense, never outside --- */

struct document_walk {
    const char *at, *end;
    struct slice key, value; /* raw: as written, the key without its quotes */
};
/* Over the members of an object (or the items of an array, with absent keys). */
bool document_walk_begin(struct document_walk *, struct slice text);
bool document_walk_next(struct document_walk *);
struct slice document_member(struct slice object, struct slice key); /* absent: none */
/* Is the string among the items of an array of strings? `value` raw, as JSON without escapes. */
bool document_array_has(struct slice array, struct slice string);
/* The text of a JSON string without escapes; absent where it is none. */
struct slice document_string(struct slice value);
/* A resource's body without the members that only answers have; `text` stays as it is where there are none, or where it is not sound JSON
 * (whoever reads it says what is wrong). In `arena`. */
struct slice document_without_read_only(struct arena *, struct slice text);

/* --- audit.c --- */

/* On the changes thread: what became of an order. */
void admin_audit_order(const struct change_order *, const char *request_id);
void admin_audit_refused(const struct exchange *, const char *reason);

#endif
