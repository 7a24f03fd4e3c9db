/* filters/compression_rules.h: which answers may be compressed, and for whom. Decides by heads alone; no state. */
#ifndef SLUICE_FILTERS_COMPRESSION_RULES_H
#define SLUICE_FILTERS_COMPRESSION_RULES_H

#include "filters/content_coding.h"
#include "filters/private.h"

/* Whether answers to requests with credentials are compressed: a secret in a compressed answer can be guessed byte by byte by who makes a
 * victim's browser ask and sees the answers' lengths (BREACH). */
enum credentials_policy {
    CREDENTIALS_SAME_ORIGIN, /* those that browsers attach by themselves: only where the browser says that the page asks its own origin */
    CREDENTIALS_ALWAYS,
    CREDENTIALS_NEVER, /* none that shows who asks, a bearer token and an API key neither */
};

/* What a request's head says about the risk; looked at before credentials are taken off it. */
struct request_risk {
    bool has_credentials; /* of any kind */
    bool
        is_ambient; /* some a browser attaches to whatever a foreign page makes it ask: cookies, Basic and the like, a certificate */
    bool is_same_origin; /* the browser says that no foreign page made it ask (Fetch Metadata) */
};
struct request_risk request_risk_of(const struct exchange *);

/* Media types as configured: exact ones, a whole type, those with a suffix (+json), or all. */
bool check_type_pattern(struct schema_reading *, const struct node *, const void *text);
bool type_pattern_fits(struct slice pattern, struct slice content_type);

/* Might this answer be compressed for some client? Then it says Vary. By its status, what is encoded, digested or not to be transformed; not by
 * type, length and client. False: *why says what it is. */
bool answer_is_free_to_change(const struct response_head *, enum compression_outcome *why);
/* The same without its status: what a 304 says of the 200 that it stands for. */
bool fields_let_change(const struct headers *, enum compression_outcome *why);
/* May it be, for who asked? By credentials on either side. */
bool answer_is_safe(const struct exchange *, const struct request_risk *, enum credentials_policy);

/* A strong validator names bytes (RFC 9110 8.8.1): compressed ones are others, so it becomes a weak one. False: memory is short. */
bool weaken_etag(struct headers *) MUST_USE;
/* The client has told by If-None-Match that it holds the compressed bytes: then a 304's validator is theirs. */
bool holds_weakened(const struct headers *request, const struct headers *answer);
/* The same of the plain ones, under the strong validator. */
bool holds_strong(const struct headers *request, const struct headers *answer);
bool add_vary(struct headers *) MUST_USE;

#endif
