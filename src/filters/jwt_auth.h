/* filters/jwt_auth.h: what the files of jwt-auth share: jwt_auth_fields.c reads its fields, jwt_auth_config.c checks them and makes of them what
 * jwt_auth.c, the policy, reads. */
#ifndef SLUICE_FILTERS_JWT_AUTH_H
#define SLUICE_FILTERS_JWT_AUTH_H

#include "exchange/identity.h"
#include "filters/private.h"
#include "keys/jwt_cache.h"
#include "keys/key_sets.h"

#define JWT_AUTH_RULE SLICE("jwt-auth")
#define JWT_AUTH_MALFORMED "the credentials are malformed (a token has no spaces, commas or quotes)"

/* What a worker has taken of a source last; its alone. */
struct jwt_keys_seen {
    uint64_t version;
    struct key_set *set; /* NULL: none yet */
};

struct jwt_issuer {
    struct jwt_rules rules;
    uint32_t algorithms;           /* bits */
    struct key_set *own;           /* from PEM, a secret or an inline set; NULL: `source` has them */
    struct key_set_source *source; /* NULL: as well where nobody serves with this */
    uint64_t cool_down_ms;         /* of a source that others may use, too, with another one */
    struct jwt_keys_seen *seen;    /* a worker; with a source */
    uint64_t age_ms_max;           /* of a source's keys since they were known to be right; 0: any */
    struct key_set_bound bound; /* the same, told to the source while the policy is in force; of the builder's thread */
};

/* Where a token may stand, in order. */
struct jwt_place {
    struct credential_source source;
    bool has_scheme; /* Authorization: behind "Bearer" */
};

/* Immutable but for issuers[].seen, of which each worker has its own, and issuers[].bound. */
struct jwt_policy {
    struct arena arena; /* of all texts */
    struct key_sets *key_sets;
    unsigned workers;
    struct jwt_issuer *issuers;
    size_t issuer_count;
    struct jwt_place *places; /* in the order in which they are looked at */
    size_t place_count, first_place_count;
    struct jwt_policy_digest digest;
    struct slice missing, not_one, malformed; /* challenges */
    struct slice realm;
    bool allows_anonymous, allows_on_failure, forwards;
};

/* What the fields fill. */
struct jwt_issuer_settings {
    struct slice issuer;
    struct slice_list audiences, types;
    uint64_t algorithms; /* bits; 0: what the keys allow */
    struct slice secret, jwks, jwks_file, jwks_url, jwks_authorities;
    uint64_t cool_down_ms, age_ms_max; /* age 0: any */
    bool allows_plain_http, allows_short_secret;
};

struct jwt_auth_settings {
    struct jwt_issuer_settings flat;
    struct object_list issuers; /* struct jwt_issuer_settings */
    struct slice_list sources;
    struct pair_list required; /* value "*": it is there */
    uint64_t leeway_ms;
    int anonymous, on_failure; /* indices into deny_or_allow */
    bool forwards;
    struct slice realm;
};

/* jwt_auth_fields.c */
extern const struct field jwt_auth_fields[];
/* A source as it is written; "bearer", which is none of these: false. */
bool jwt_auth_find_source(struct slice text, enum credential_place *place, struct slice *name);
/* A jwksUrl that the admin API shows as its hash. */
bool jwt_auth_url_is_secret(struct slice url);
/* The node of a field of the map, where it is there. */
const struct node *jwt_auth_place_of(const struct node *map, const char *field);

/* jwt_auth_config.c */
bool jwt_auth_check_issuer(struct schema_reading *, const struct node *, const void *issuer);
bool jwt_auth_check(struct schema_reading *, const struct node *, const void *settings);
const char *jwt_auth_takes_header(const void *settings, struct slice name);
bool jwt_auth_compile(const struct filter_compile *, const void *settings, void **compiled);
void jwt_auth_comes_into_force(const void *compiled);
void jwt_auth_retire(void *compiled);
void jwt_auth_release(void *compiled);

#endif
