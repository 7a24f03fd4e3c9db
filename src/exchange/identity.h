/* exchange/identity.h: who asks, as the policies of PHASE_IDENTITY found out, and what becomes of the credentials it was found by.
 *
 * Several policies may stand on a route, in DESIGN 11's order of identity. Of each request
 *   a policy whose credentials are not there says identity_missing() and goes on (FILTER_NEXT);
 *   the first that finds credentials decides: it fills exchange->identity (method last) and goes on, or returns what
 *   identity_refuse() says;
 *   those after it find identity_is_known() and only take their own credentials off (credential_strip());
 *   the gate, the last link of the phase, answers 401 with all challenges where nobody was found, unless one of the
 *   policies said identity_allow_anonymous().
 * A policy that looks in several places looks in its late ones in a turn of its own, behind the first places of all policies:
 * identity_postpone().
 *
 * One exchange, its worker's thread. Texts live as long as the exchange: in its arena, the head's bytes or the compiled
 * configuration. */
#ifndef SLUICE_EXCHANGE_IDENTITY_H
#define SLUICE_EXCHANGE_IDENTITY_H

#include "base/slice.h"
#include "chain/filter.h"
#include "http/headers.h"

struct json_value;   /* json/value.h */
struct role_request; /* chain/roles.h */
struct forwarded_credential;

enum identity_method {
    IDENTITY_NONE,
    IDENTITY_ANONYMOUS, /* nobody was found, and that is allowed */
    IDENTITY_JWT,
    IDENTITY_API_KEY,
    IDENTITY_CERTIFICATE,
    IDENTITY_EXTERNAL, /* a decision service said so */
    IDENTITY_METHOD_COUNT
};

/* "none", "anonymous", "jwt", "api-key", "certificate", "external"; static. */
struct slice identity_method_word(enum identity_method);

#define IDENTITY_TIER_NONE (-1)

struct identity_challenge {
    struct slice text;
    struct identity_challenge *next;
};

/* A policy's look into its late places, embedded in its state. `run` does what filter->request does and may wait likewise; of FILTER_NEXT
 * it is not called again. */
struct identity_turn {
    enum filter_result (*run)(struct exchange *, const void *compiled, void *state);
    const void *compiled;
    void *state;
    struct identity_turn *next;
};

/* What is said of credentials that nobody could read. All static. */
struct identity_unread {
    uint16_t status;    /* 401, or 400: a request that can't be read (RFC 6750 3.1) */
    const char *reason; /* kebab-case */
    struct slice rule;  /* the policy that looked at them */
    const char *text;
};

struct identity {
    uint8_t method;                        /* enum identity_method */
    int8_t tier;                           /* enum api_key_tier, or IDENTITY_TIER_NONE */
    bool anonymous_allowed;                /* internal */
    bool challenge_lost;                   /* internal: memory was short */
    struct slice user_id;                  /* who it is: goes upstream as X-Authenticated-User; absent: not known */
    struct slice client_id;                /* the program that asks: goes upstream as X-Client-ID */
    struct slice key_id;                   /* the API key's id, the token's kid */
    struct slice issuer;                   /* of a token, as it says itself */
    struct slice client_issuer;            /* whom configuration names as the one who gave client_id; absent: nobody */
    struct slice scopes;                   /* separated by single spaces */
    const struct json_value *claims;       /* an object; NULL: none */
    struct identity_challenge *challenges; /* internal: in the order of policies */
    const struct identity_unread *unread;  /* internal */
    const struct forwarded_credential *forwarded;      /* internal */
    struct identity_turn *postponed, **postponed_last; /* internal */
    const struct role_claims *role_claims;             /* internal, with all below */
    uint64_t *role_bits;                               /* of what was asked so far; NULL: nothing */
    uint64_t few_role_bits[2];                         /* they, where one word is enough */
    uint8_t role_sources;                              /* that were asked */
    const struct slice *role_names;                    /* the same */
    uint32_t role_name_count;
};

/* --- for policies of PHASE_IDENTITY --- */

/* Has a policy before found who asks? */
bool identity_is_known(const struct exchange *);
/* There are no credentials of this policy's kind. `challenge` is what a WWW-Authenticate field would say (RFC 9110 11.6.1), without an error
 * (RFC 6750 3.1), compiled. */
void identity_missing(struct exchange *, struct slice challenge);
/* The policy lets in who has no credentials at all. */
void identity_allow_anonymous(struct exchange *);
/* There is something in this policy's place that is none of its credentials: where nobody takes it, the caller is not one without credentials,
 * whichever policy lets those in, and hears this. The first such words count. */
void identity_cannot_read(struct exchange *, const struct identity_unread *);
/* After all policies have looked in their first places, in the order of the calls, and only while nobody was found. */
void identity_postpone(struct exchange *, struct identity_turn *);

/* The credentials are there and wrong: status 401 or 400 (RFC 6750 3.1: a request that can't be read) with `challenge`, which holds the error
 * code, followed by those of policies that found nothing. `reason` is static, kebab-case; `rule` names the policy. The text goes to
 * client and log: it never holds credentials. FILTER_RESPOND. */
enum filter_result identity_refuse(struct exchange *, unsigned status, const char *reason, struct slice rule,
                                   struct slice challenge, const char *format, ...) PRINTF_LIKE(6, 7);
/* The same where it isn't known who asks and must be: 401 with the challenges of all policies that found nothing, and what a policy could not
 * read named if there was something. FILTER_RESPOND. */
enum filter_result identity_demand(struct exchange *, struct slice rule);
/* Would a caller without credentials be told how to bring some? */
bool identity_can_be_proven(const struct exchange *);

/* A challenge "SCHEME realm=\"REALM\"" with more parameters behind it, each "name=\"value\"" with quotes and backslashes escaped (RFC 9110
 * 5.6.4). In the arena; absent when memory is short. Parameters with an absent value are left out. */
struct challenge_parameter {
    struct slice name, value;
};
struct slice identity_challenge_write(struct arena *, struct slice scheme, const struct challenge_parameter *,
                                      size_t count);

/* The word is one of `scopes`, which single spaces separate. */
bool scopes_hold(struct slice scopes, struct slice scope);
/* The same of exchange->identity.scopes. */
bool identity_has_scope(const struct identity *, struct slice scope);

/* --- roles: by the role set in force (exchange->roles) and by claims --- */

/* Which claims name roles: a member's name or, with '/' in front, a JSON pointer (RFC 6901): "roles", "/realm_access/roles". The value is one
 * text or a list of texts, each the name of a role. */
struct role_claims {
    const struct slice *names;
    size_t count;
};

/* For who asks from now on. NULL, as at first: "roles". */
void identity_set_role_claims(struct exchange *, const struct role_claims *);
/* By whoever writes who asks: an expression may have asked for the roles of before. */
void identity_forget_roles(struct exchange *);
/* Roles of the set that the caller has: by its scopes, as a client, by its claims (chain/roles.h). Found once. NULL: memory is short. */
const uint64_t *identity_role_bits(const struct exchange *);
/* Does a role of the set that the caller has allow this? Looks no farther than the first that does: scopes, which most have theirs by, are asked
 * before claims are. False where memory is short, too. */
bool identity_roles_allow(const struct exchange *, const struct role_request *);
/* Has the caller the role of this name, which claims may hold though the set doesn't. False where memory is short, too. */
bool identity_has_role(const struct exchange *, struct slice name);
/* The names of all of them, those of the set first; for expressions. Found once. NULL: memory is short. */
const struct slice *identity_roles(const struct exchange *, uint32_t *count);

/* --- credentials: where they stand, and taking them off --- */

enum credential_place { CREDENTIAL_IN_HEADER, CREDENTIAL_IN_QUERY, CREDENTIAL_IN_COOKIE };

/* Made when configuration is compiled. */
struct credential_source {
    uint8_t place;         /* enum credential_place */
    struct header_key key; /* of a header; of a query parameter (decoded) and a cookie (exact) the name alone */
};
struct credential_source credential_source_of(enum credential_place, struct slice name);

enum credential_found {
    CREDENTIAL_NONE,
    CREDENTIAL_FOUND,
    CREDENTIAL_REPEATED, /* it stands there twice: two readers could take different ones. Also "Bearer a, Bearer b" in an Authorization */
    CREDENTIAL_UNREADABLE, /* credential_take_scheme() alone */
    CREDENTIAL_NO_MEMORY
};

/* *value as it stands there, without surrounding white space; of a query parameter decoded (http/form.h), of a cookie without the quotes around it. It may be empty. */
enum credential_found credential_find(const struct exchange *, const struct credential_source *, struct slice *value);
/* Takes the scheme off an Authorization's value, in any case (RFC 9110 11.1), and the spaces behind it. NONE: it is another one, or stands alone.
 * UNREADABLE: what stands behind it is no space, as 11.4 wants, and part of no name: many a reader takes a tab or a comma for one and finds credentials there
 * that nobody has judged. *value is as it was but where it is FOUND. */
enum credential_found credential_take_scheme(struct slice *value, struct slice scheme);
#define CREDENTIAL_UNREADABLE_TEXT "the credentials are malformed (a space separates them from their scheme)"
/* No later phase and no service sees it: takes it off the request at once, all of that name. What later phases put there stays. The query
 * is taken off the target too. What credential_find() gave still holds. False: memory is short. */
bool credential_strip(struct exchange *, const struct credential_source *) MUST_USE;
/* It stays, as the route's service is to see it; noted for who copies the request for somebody else. Nothing where nobody does. False:
 * memory is short. */
bool credential_forward(struct exchange *, const struct credential_source *) MUST_USE;
/* Takes all of these off a copy: its fields, and its target (path and query). False: memory is short. */
bool credentials_strip_copy(const struct exchange *, struct headers *, struct slice *target) MUST_USE;

#endif
