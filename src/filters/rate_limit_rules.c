/* filters/rate_limit_rules.c: rules from configuration to what requests are counted by. */
#include "filters/rate_limit.h"

#include "base/memory.h"
#include "exchange/variables.h"
#include "expr/variables.h"

_Static_assert((int)RATE_LIMIT_TOKEN_BUCKET == (int)LIMIT_TOKEN_BUCKET &&
                   (int)RATE_LIMIT_SLIDING_WINDOW == (int)LIMIT_SLIDING_WINDOW &&
                   (int)RATE_LIMIT_FIXED_WINDOW == (int)LIMIT_FIXED_WINDOW && (int)RATE_LIMIT_GCRA == (int)LIMIT_GCRA &&
                   (int)RATE_LIMIT_CONCURRENCY == (int)LIMIT_CONCURRENCY,
               "the configuration's words are the maths' own");

/* --- compiling --- */

/* DESIGN 11: global, per API, per client, per address. */
static uint8_t order_of(const struct rate_limit_config *config, int scope)
{
    switch ((enum rate_limit_key)config->key) {
    case RATE_LIMIT_BY_GLOBAL: return scope == FILTER_SCOPE_ALL ? 0 : 1;
    case RATE_LIMIT_BY_ROUTE: return 1;
    case RATE_LIMIT_BY_CLIENT_ID:
    case RATE_LIMIT_BY_API_KEY:
    case RATE_LIMIT_BY_USER_ID:
    case RATE_LIMIT_BY_HEADER:
    case RATE_LIMIT_BY_EXPRESSION: return 2;
    case RATE_LIMIT_BY_IP: break;
    }
    return 3;
}

static struct slice copy(struct slice text) { return slice_of(memory_copy_slice(text), text.length); }

/* Which of its owner's rate-limit filters it is, for those that have no name. */
static unsigned ordinal(const struct filter_config *const *configs, size_t at)
{
    unsigned count = 0;
    for (size_t i = 0; i < at; i++) count += slice_equal(configs[i]->owner_id, configs[at]->owner_id);
    return count;
}

static struct slice name_of(const struct filter_config *filter)
{
    const struct rate_limit_config *config = filter->config;
    if (!slice_is_absent(config->name)) return copy(config->name);
    if (slice_is_absent(filter->owner_name)) return copy(SLICE("rate-limit"));
    char *name = memory_format("%.*s/rate-limit", SLICE_PRINT(filter->owner_name));
    return slice_from_cstring(name);
}

/* What was taken is known by the rule's id, and by all that gives the numbers another meaning. A filter has no id: its owner's, and its
 * name or place there, is its own. */
static struct slice identity_of(const struct filter_config *const *configs, size_t at)
{
    const struct filter_config *filter = configs[at];
    const struct rate_limit_config *config = filter->config;
    struct slice inside = slice_is_absent(config->id) ? config->name : SLICE("");
    struct slice key_text = slice_is_absent(config->key_text) ? SLICE("") : config->key_text;
    struct slice owner = slice_is_absent(filter->owner_id) ? SLICE("") : filter->owner_id;
    bool has_place = slice_is_absent(inside);
    char *text = memory_format("%.*s/%.*s%u %d %lld %d %.*s", SLICE_PRINT(owner),
                               SLICE_PRINT(has_place ? SLICE("#") : inside), has_place ? ordinal(configs, at) : 0,
                               config->algorithm, (long long)config->window_seconds, config->key,
                               SLICE_PRINT(key_text));
    return slice_from_cstring(text);
}

/* RFC 8941 3.3.3: printable ASCII, quotes and backslashes escaped. What is neither shows as a question mark. */
static struct slice quote(struct slice name)
{
    char *text = memory_allocate(2 * name.length + 3), *at = text;
    *at++ = '"';
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        if (byte == '"' || byte == '\\') *at++ = '\\';
        *at++ = (char)(byte >= ' ' && byte < 0x7f ? byte : '?');
    }
    *at++ = '"';
    return slice_of(text, (size_t)(at - text));
}

static bool make_value(const struct filter_compile *compile, struct rate_value *value, const struct rate_rule *rule,
                       const struct rate_limit_config *config, int64_t quota)
{
    bool waits = config->action != RATE_LIMIT_REJECT && !config->shadow;
    struct limit_options options = {
        .algorithm = (enum limit_algorithm)config->algorithm,
        .quota = (uint64_t)quota,
        .window_seconds = (uint64_t)config->window_seconds,
        .burst = (uint64_t)rate_limit_burst(config, quota),
        .queue_length = waits ? (uint64_t)config->queue_max_length : 0,
    };
    char *policy = config->algorithm == RATE_LIMIT_CONCURRENCY
                       ? memory_format("%.*s;q=%lld;qu=\"concurrent-requests\"", SLICE_PRINT(rule->quoted_name),
                                       (long long)quota)
                       : memory_format("%.*s;q=%lld;w=%lld", SLICE_PRINT(rule->quoted_name), (long long)quota,
                                       (long long)config->window_seconds);
    value->limit_text = slice_from_cstring(memory_format("%lld", (long long)quota));
    value->policy_text = slice_from_cstring(policy);
    if (limit_init(&value->limit, &options)) return true;
    problems_add(compile->problems, compile->node, NULL, "a limit of %lld takes more than four years to fill its burst",
                 (long long)quota);
    return false;
}

static bool make_values(const struct filter_compile *compile, struct rate_rule *rule,
                        const struct rate_limit_config *config)
{
    const int64_t quotas[] = { config->limit, config->tier_limits.free, config->tier_limits.standard,
                               config->tier_limits.premium };
    bool good = true;
    rule->value_count = config->has_tier_limits ? COUNT_OF(quotas) : 1;
    rule->values = memory_allocate_array(rule->value_count, sizeof *rule->values);
    for (unsigned i = 0; i < rule->value_count; i++)
        good &= make_value(compile, &rule->values[i], rule, config, quotas[i] > 0 ? quotas[i] : config->limit);
    return good;
}

/* Before identity nothing of `auth` is there yet: such a key would count everybody by his address, and such a cost be 1. */
static bool check_early(const struct filter_compile *compile, const struct rate_rule *rule)
{
    for (unsigned i = VARIABLE_AUTH_METHOD; i <= VARIABLE_AUTH_CLAIMS; i++) {
        bool in_key = rule->key_text && template_uses(rule->key_text, i);
        bool in_cost = rule->cost_expression && expression_uses(rule->cost_expression, i);
        if (!in_key && !in_cost) continue;
        const struct node *node = compile->node ? node_find(compile->node, in_key ? "key" : "cost") : NULL;
        problems_add(compile->problems, node ? node : compile->node, "take away beforeIdentity, or what asks for auth",
                     "before identity nobody knows what \"auth\" is");
        return false;
    }
    return true;
}

/* A header that a policy of identity has taken off is never there: all callers would count by their addresses, and nobody would be told. */
static bool check_header(const struct filter_compile *compile, struct slice header)
{
    const char *instead, *taker = filter_compile_who_takes(compile, header, &instead);
    if (!taker) return true;
    const struct node *node = compile->node ? node_find(compile->node, "key") : NULL;
    char *hint = memory_format("key: %s; or beforeIdentity: true, to count before that", instead);
    problems_add(compile->problems, node ? node : compile->node, hint,
                 "the policy \"%s\" takes the header \"%.*s\" off before this limit counts", taker,
                 SLICE_PRINT(header));
    free(hint);
    return false;
}

static bool make_texts(const struct filter_compile *compile, struct rate_rule *rule,
                       const struct rate_limit_config *config)
{
    bool good = true;
    if (config->key == RATE_LIMIT_BY_HEADER) {
        rule->header = header_key_of(copy(config->key_text));
        good &= check_header(compile, config->key_text);
    }
    if (config->key == RATE_LIMIT_BY_EXPRESSION) {
        rule->key_text = filter_compile_template(compile, "key", config->key_text);
        good &= rule->key_text != NULL;
    }
    if (!slice_is_absent(config->cost_expression)) {
        rule->cost_expression = filter_compile_braced_expression(compile, "cost", config->cost_expression,
                                                                 EXPRESSION_INT);
        good &= rule->cost_expression != NULL;
    }
    if (config->before_identity) good &= check_early(compile, rule);
    return good;
}

static void find_state(const struct filter_compile *compile, struct rate_rule *rule,
                       const struct filter_config *const *configs, size_t at)
{
    struct limit_counters *counters = compile->surroundings->limits;
    if (!counters) return;
    struct slice identity = identity_of(configs, at);
    rule->state = limit_counters_rule(counters, identity);
    rule->tally = limit_counters_tally(counters, rule->name);
    free((void *)(uintptr_t)identity.at);
    struct slice fixed = rule->key == RATE_LIMIT_BY_ROUTE ? compile->route_id : SLICE("");
    rule->fixed_hash = hash_keyed(&rule->state->keys[0], slice_is_absent(fixed) ? SLICE("") : fixed);
}

static bool make_rule(const struct filter_compile *compile, struct rate_rule *rule,
                      const struct filter_config *const *configs, size_t at)
{
    const struct rate_limit_config *config = configs[at]->config;
    struct filter_compile here = *compile;
    here.node = configs[at]->node;
    rule->name = name_of(configs[at]);
    rule->quoted_name = quote(rule->name);
    rule->key = (uint8_t)config->key;
    rule->order = order_of(config, configs[at]->scope);
    rule->is_shadow = config->shadow;
    rule->cost = (uint64_t)config->cost;
    rule->wait_max_ns = config->action == RATE_LIMIT_REJECT ? 0 : config->queue_max_wait_ms * 1000000;
    find_state(compile, rule, configs, at);
    bool good = make_texts(&here, rule, config);
    return make_values(&here, rule, config) && good;
}

/* Few: and those of the same order stay as they are, widest scope first. */
static void sort_rules(struct rate_limits *limits)
{
    for (size_t i = 1; i < limits->count; i++) {
        struct rate_rule rule = limits->rules[i];
        size_t at = i;
        for (; at > 0 && limits->rules[at - 1].order > rule.order; at--) limits->rules[at] = limits->rules[at - 1];
        limits->rules[at] = rule;
    }
}

bool rate_limit_compile(const struct filter_compile *compile, const struct filter_config *const *configs, size_t count,
                        void **compiled)
{
    struct rate_limits *limits = memory_allocate(sizeof *limits + count * sizeof limits->rules[0]);
    bool good = true;
    limits->counters = compile->surroundings->limits;
    limits->count = count;
    for (size_t i = 0; i < count; i++) good &= make_rule(compile, &limits->rules[i], configs, i);
    sort_rules(limits);
    if (good)
        *compiled = limits;
    else
        rate_limit_release(limits);
    return good;
}

static void retire_rule(struct limit_counters *counters, struct rate_rule *rule)
{
    if (rule->state && !rule->is_retired) limit_counters_retire_rule(counters, rule->state);
    rule->is_retired = true;
}

/* What is under way is so whatever became of the rule: as long as there is any, the rule that comes again goes on counting it. */
void rate_limit_retire(void *compiled)
{
    struct rate_limits *limits = compiled;
    for (size_t i = 0; i < limits->count; i++) {
        struct rate_rule *rule = &limits->rules[i];
        if (rule->values[0].limit.algorithm != LIMIT_CONCURRENCY) retire_rule(limits->counters, rule);
    }
}

static void release_rule(struct limit_counters *counters, struct rate_rule *rule)
{
    retire_rule(counters, rule);
    if (rule->state) limit_counters_drop_rule(counters, rule->state);
    if (rule->tally) limit_counters_drop_tally(counters, rule->tally);
    for (unsigned i = 0; i < rule->value_count; i++) {
        free((void *)(uintptr_t)rule->values[i].limit_text.at);
        free((void *)(uintptr_t)rule->values[i].policy_text.at);
    }
    free(rule->values);
    template_destroy(rule->key_text);
    expression_destroy(rule->cost_expression);
    free((void *)(uintptr_t)rule->header.name.at);
    free((void *)(uintptr_t)rule->quoted_name.at);
    free((void *)(uintptr_t)rule->name.at);
}

void rate_limit_release(void *compiled)
{
    struct rate_limits *limits = compiled;
    for (size_t i = 0; i < limits->count; i++) release_rule(limits->counters, &limits->rules[i]);
    free(limits);
}

/* --- requests --- */

const struct rate_value *rate_rule_value(const struct rate_rule *rule, const struct exchange *exchange)
{
    bool has_tier = rule->value_count > 1 && exchange->identity.tier != IDENTITY_TIER_NONE;
    return &rule->values[has_tier ? 1 + (unsigned)exchange->identity.tier : 0];
}

/* IPv6 clients have a network of 64 bits to choose addresses from, so that counts. */
static uint64_t hash_of_address(const struct hash_key *key, const struct address *address)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (address->any.sa_family == AF_INET)
        return hash_keyed(key, slice_of((const char *)&address->v4.sin_addr, sizeof address->v4.sin_addr));
    if (address->any.sa_family != AF_INET6) return hash_keyed(key, SLICE("")); /* a Unix socket: all of them */
    const char *bytes = (const char *)&address->v6.sin6_addr;
    bool is_v4 = memcmp(bytes, mapped, sizeof mapped) == 0;
    return hash_keyed(key, is_v4 ? slice_of(bytes + 12, 4) : slice_of(bytes, 8));
}

static struct slice value_of(const struct rate_rule *rule, const struct exchange *exchange)
{
    const struct identity *identity = &exchange->identity;
    const struct header *header;
    switch ((enum rate_limit_key)rule->key) {
    case RATE_LIMIT_BY_CLIENT_ID: return identity->client_id;
    case RATE_LIMIT_BY_USER_ID: return identity->user_id;
    case RATE_LIMIT_BY_API_KEY: return identity->method == IDENTITY_API_KEY ? identity->key_id : SLICE_ABSENT;
    case RATE_LIMIT_BY_HEADER:
        header = headers_find_by(&exchange->request->headers, &rule->header);
        return header ? header->value : SLICE_ABSENT;
    case RATE_LIMIT_BY_EXPRESSION: return exchange_render(exchange, rule->key_text);
    case RATE_LIMIT_BY_ROUTE:
    case RATE_LIMIT_BY_GLOBAL:
    case RATE_LIMIT_BY_IP: break;
    }
    return SLICE_ABSENT;
}

/* Two issuers may call a client or a user the same, and they are two: a token's ids count within its issuer, those of API keys by themselves. */
static uint64_t hash_of_caller(const struct hash_key *key, struct slice issuer, struct slice id)
{
    uint64_t hash = hash_keyed(key, id);
    if (issuer.length == 0) return hash;
    const uint64_t both[] = { hash_keyed(key, issuer), hash };
    return hash_keyed(key, slice_of((const char *)both, sizeof both));
}

uint64_t rate_rule_hash(const struct rate_rule *rule, const struct exchange *exchange)
{
    if (rule->key == RATE_LIMIT_BY_GLOBAL || rule->key == RATE_LIMIT_BY_ROUTE) return rule->fixed_hash;
    struct slice value = value_of(rule, exchange);
    if (slice_is_absent(value) || value.length == 0) return hash_of_address(&rule->state->keys[1], &exchange->client);
    bool is_caller = rule->key == RATE_LIMIT_BY_CLIENT_ID || rule->key == RATE_LIMIT_BY_USER_ID;
    return hash_of_caller(&rule->state->keys[0], is_caller ? exchange->identity.issuer : SLICE_ABSENT, value);
}

static uint64_t within_costs(int64_t cost, const char **mistake)
{
    if (cost < 0) {
        *mistake = "rate-limit-negative-cost";
        return 1;
    }
    return (uint64_t)cost < LIMIT_COST_MAX ? (uint64_t)cost : LIMIT_COST_MAX;
}

/* What comes to nothing counts as one, and so does what can't be one: it must not be free. That a bound was met says nothing of the request, and a
 * stranger could meet it on purpose to pay less than he owes: it counts as the most there is to pay. That our memory is short is no doing of his. */
bool rate_rule_cost(const struct rate_rule *rule, const struct exchange *exchange, uint64_t *cost, const char **mistake)
{
    struct expression_value value;
    *mistake = NULL;
    *cost = rule->cost;
    if (LIKELY(!rule->cost_expression)) return true;
    switch (exchange_try(exchange, rule->cost_expression, &value, NULL)) {
    case EXPRESSION_DONE: *cost = within_costs(value.integer, mistake); return true;
    case EXPRESSION_FAILED:
    case EXPRESSION_ABSENT: *cost = 1; return true;
    case EXPRESSION_TOO_COSTLY:
        *mistake = "rate-limit-unknown-cost";
        *cost = LIMIT_COST_MAX;
        return true;
    case EXPRESSION_OUT_OF_MEMORY: break;
    }
    return false;
}
