/* filters/rate_limit.h: a route's rate limits, compiled: what rate_limit.c (a request's way), rate_limit_rules.c (configuration, keys) and
 * rate_limit_answer.c (what answers say) share. No other policy includes it. */
#ifndef SLUICE_FILTERS_RATE_LIMIT_H
#define SLUICE_FILTERS_RATE_LIMIT_H

#include "filters/private.h"
#include "shared/limit_counters.h"

/* One of a rule's limits: its own, or a tier's. */
struct rate_value {
    struct limit limit;
    struct slice limit_text;  /* "100"; its bytes, as those of the other one, are the value's */
    struct slice policy_text; /* "\"name\";q=100;w=60" */
};

struct rate_rule {
    struct limit_rule *state; /* NULL, as the tally: nobody serves with this */
    struct limit_tally *tally;
    struct slice name;        /* its bytes are the rule's */
    struct slice quoted_name; /* the same, as a string of RFC 8941 3.3.3 */
    uint8_t key;              /* enum rate_limit_key */
    uint8_t order;            /* global, per API, per client, per address: 0 to 3 */
    bool is_shadow;
    bool is_retired;           /* builder's thread: the state is not found any more by this one */
    uint8_t value_count;       /* 1, or 4: its own, free, standard, premium */
    struct header_key header;  /* of RATE_LIMIT_BY_HEADER; its name is the rule's */
    struct template *key_text; /* of RATE_LIMIT_BY_EXPRESSION */
    struct expression *cost_expression;
    uint64_t cost;       /* where there is no expression */
    uint64_t fixed_hash; /* of keys that are the same for all requests of the route */
    uint64_t wait_max_ns;
    struct rate_value *values;
};

struct rate_limits {
    struct limit_counters *counters; /* NULL: nobody serves with this */
    size_t count;
    struct rate_rule rules[]; /* in the order in which they are asked */
};

/* What an answer says of limits: of the rule that refused, else of the one with the least share left. */
struct rate_limit_report {
    const struct rate_rule *rule;
    const struct rate_value *value;
    const struct limiter_call *call; /* cost and outcome; in the exchange's arena */
    uint64_t at_ns;                  /* loop time of the outcome */
    bool is_written;
};

/* --- rate_limit_rules.c --- */

bool rate_limit_compile(const struct filter_compile *, const struct filter_config *const *, size_t count,
                        void **compiled);
void rate_limit_release(void *compiled);
void rate_limit_retire(void *compiled);
/* Which of its limits holds for who asks. */
const struct rate_value *rate_rule_value(const struct rate_rule *, const struct exchange *);
/* What the request is counted by. */
uint64_t rate_rule_hash(const struct rate_rule *, const struct exchange *);
/* *mistake: the error to be counted, of who wrote an expression that came out negative or met a bound; NULL: none. False: memory is short. */
bool rate_rule_cost(const struct rate_rule *, const struct exchange *, uint64_t *cost, const char **mistake) MUST_USE;
/* Is it more than there ever is of the limit? */
static inline bool rate_cost_is_beyond(const struct rate_value *value, uint64_t cost)
{
    return cost > value->limit.burst; /* of others than buckets the same as the quota */
}

/* --- rate_limit_answer.c --- */

/* Prepares the 429. */
void rate_limit_respond(struct exchange *, const struct rate_limit_report *);
/* Of two reports the one that is to be told; either may be NULL. */
struct rate_limit_report *rate_limit_least(struct rate_limit_report *, struct rate_limit_report *);
/* X-RateLimit-*, RateLimit and RateLimit-Policy, Retry-After. */
void rate_limit_write(struct exchange *, const struct rate_limit_report *);

#endif
