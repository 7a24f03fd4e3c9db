/* keys/jwt.h: JSON Web Tokens: signed ones in compact form (RFC 7515 7.1, RFC 7519), read strictly, verified, and their claims judged.
 *
 * Nothing a token says of itself is believed before its signature has held against a key that is ours: its `alg` is only held against what
 * configuration and key allow (RFC 8725 3.1). Refused are: `none`, unknown algorithms, keys that it brings along (jwk, jku, x5c, x5u), any `crit`
 * (no extension is understood here), b64=false (RFC 7797), members given twice, base64url that isn't canonical,
 * signatures of a wrong length, encrypted tokens, more than JWT_BYTES_MAX, headers of more than JWT_HEADER_VALUES_MAX values.
 * An error carries what the client may be told (`reason`, and a text without a word of the token). Everything takes bytes and times as
 * arguments. A verifier belongs to one thread; the rest is for any. */
#ifndef SLUICE_KEYS_JWT_H
#define SLUICE_KEYS_JWT_H

#include "keys/key_set.h"
#include "json/value.h"

#define JWT_BYTES_MAX 16384

#define JWT_HEADER_VALUES_MAX 256 /* in its JSON */

struct jwt {
    struct slice signing_input; /* of the token's own text */
    struct slice signature;     /* decoded; may be empty */
    struct slice claims_text;   /* decoded: what jwt_read_claims() reads */
    struct slice key_id;        /* kid; absent: none. Points into `header` */
    enum jwt_algorithm algorithm;
    struct json_value header; /* an object */
    struct json_value claims; /* the same, once they are read */
};

/* Is it one at all, signed or encrypted: three or five parts, of which the first begins as a JSON object does,
 * to whoever reads it as leniently as can be? Costs next to nothing. */
bool jwt_is_one(struct slice token);
/* What is said of the others. */
#define JWT_IS_NONE "the token is not a JSON Web Token (three parts separated by dots)"
/* All but the claims. The header's tree lives in the arena and points into it; signing_input points into the token. Takes at most 64 KiB beyond
 * the token's length, whoever made it. False: *error (401, or 503 without memory). */
bool jwt_parse(struct slice token, struct arena *, struct jwt *, struct error *) MUST_USE;
/* What its claims say the issuer is, to choose the keys by and not to be believed: json_scan_is_text() compares it. Absent: nothing, or no
 * text. False: they are no JSON (*error, 401). */
bool jwt_claimed_issuer(const struct jwt *, struct slice *issuer, struct error *) MUST_USE;
/* The claims' tree, in the arena: for tokens whose signature has held, since it can take 25 times what its text does. False: as above. */
bool jwt_read_claims(struct jwt *, struct arena *, struct error *) MUST_USE;

/* --- signatures --- */

/* What verifying needs again and again: digests, and for keys used lately copies of them with their contexts set up, so that threads share
 * nothing. NULL: out of memory. */
struct jwt_verifier *jwt_verifier_create(void);
void jwt_verifier_destroy(struct jwt_verifier *);

enum jwt_verdict {
    JWT_VERIFIED,
    JWT_REFUSED,
    JWT_UNKNOWN_KEY, /* as refused, but a newer set may hold the key: none has the token's kid, or it names none and none of them made it */
};

/* `algorithms`: bits of those that configuration allows; of them the key may allow fewer. Unless verified, *error says why. */
enum jwt_verdict jwt_verify(struct jwt_verifier *, const struct key_set *, uint32_t algorithms, const struct jwt *,
                            struct error *) MUST_USE;

/* --- claims --- */

struct jwt_required_claim {
    struct slice name;
    struct slice value; /* absent: it must be there and not null */
};

struct jwt_rules {
    struct slice issuer; /* absent: any, or none */
    const struct slice
        *types; /* what the header's typ must be one of, as jwt_type_name() writes it; none: it isn't looked at */
    size_t type_count;
    const struct slice *audiences; /* one of them must be meant; none: any */
    size_t audience_count;
    const struct jwt_required_claim *required;
    size_t required_count;
    uint32_t leeway_s; /* clocks may differ by so much, for exp, nbf and iat */
};

/* Whom a token speaks for; texts of the claims or the arena. */
struct jwt_subject {
    struct slice user_id;   /* sub */
    struct slice client_id; /* client_id, else azp */
    struct slice scopes;    /* scope, else scp, separated by single spaces */
    struct slice issuer;    /* iss */
    int64_t expires_s;      /* exp, epoch seconds; INT64_MAX: never */
};

/* A typ without its "application/" (RFC 7515 4.1.9): what is left out counts as there where no other slash is. */
struct slice jwt_type_name(struct slice type);
/* Of the header: as much to be believed as it. False: *error. */
bool jwt_check_type(const struct jwt *, const struct jwt_rules *, struct error *) MUST_USE;
/* now_s: epoch seconds. False: *error. */
bool jwt_check_claims(const struct json_value *claims, const struct jwt_rules *, int64_t now_s,
                      struct error *) MUST_USE;
/* False: a member isn't what it should be, or can't stand in a header; or memory (503). */
bool jwt_read_subject(const struct json_value *claims, struct arena *, struct jwt_subject *, struct error *) MUST_USE;

#endif
