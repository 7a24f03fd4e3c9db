/* Rate limit rules: their schema table, and what no single field of it can tell. */
#include "config/private.h"

#include "http/headers.h"

/* --- values --- */

/* Indices are enum rate_limit_key's; those behind them are written otherwise. */
static const char *const key_names[] = { "client_id", "ip", "api_key", "user_id", "route", "global", NULL };
#define HEADER_PREFIX "header:"

/* "${...}" to its end; what stands inside is compiled with the rule. */
static bool is_expression(struct slice text)
{
    return slice_starts_with(text, SLICE("${")) && slice_ends_with(text, SLICE("}")) && text.length > 3;
}

static bool read_key(struct schema_reading *reading, const struct node *node, void *into)
{
    struct rate_limit_config *rule = into;
    const struct field field = { .name = "key", .names = key_names };
    struct slice text;
    if (!schema_read_text(reading, "key", node, &text)) return false;
    if (is_expression(text)) {
        rule->key = RATE_LIMIT_BY_EXPRESSION;
        rule->key_text = text;
        return true;
    }
    if (slice_starts_with(text, SLICE(HEADER_PREFIX))) {
        rule->key = RATE_LIMIT_BY_HEADER;
        rule->key_text = slice_after(text, sizeof HEADER_PREFIX - 1);
        return header_name_is_valid(rule->key_text) ||
               schema_refuse(reading, &field, node, "as in header:X-Tenant", "a header's name behind header:");
    }
    for (int i = 0; key_names[i]; i++) {
        if (!slice_equal(text, slice_from_cstring(key_names[i]))) continue;
        rule->key = i;
        return true;
    }
    return schema_refuse(reading, &field, node, NULL,
                         "client_id, ip, api_key, user_id, route, global, header:NAME or ${expression}");
}

static struct node *write_key(struct arena *arena, const void *from)
{
    const struct rate_limit_config *rule = from;
    if (rule->key == RATE_LIMIT_BY_EXPRESSION) return node_make_text(arena, rule->key_text);
    if (rule->key != RATE_LIMIT_BY_HEADER) return node_make_text(arena, slice_from_cstring(key_names[rule->key]));
    struct slice pieces[] = { SLICE(HEADER_PREFIX), rule->key_text };
    return node_make_text(arena, arena_join(arena, pieces, COUNT_OF(pieces)));
}

#define COST_MAX 1000000

static bool read_cost(struct schema_reading *reading, const struct node *node, void *into)
{
    struct rate_limit_config *rule = into;
    if (node->kind == NODE_SCALAR && is_expression(node->text)) {
        rule->cost = 1;
        rule->cost_expression = node->text;
        return true;
    }
    rule->cost_expression = SLICE_ABSENT;
    return schema_read_integer(reading, "cost", 0, COST_MAX, node, &rule->cost);
}

static struct node *write_cost(struct arena *arena, const void *from)
{
    const struct rate_limit_config *rule = from;
    if (!slice_is_absent(rule->cost_expression)) return node_make_text(arena, rule->cost_expression);
    return node_make_integer(arena, rule->cost);
}

/* --- the table --- */

#define LIMIT_MAX 1000000000
#define WINDOW_SECONDS_MAX (366 * 86400)
#define FILLING_SECONDS_MAX (4 * WINDOW_SECONDS_MAX)

static const struct field tier_fields[] = {
    { .name = "free",
      .type = FIELD_INTEGER,
      .into = offsetof(struct tier_limits_config, free),
      .minimum = 1,
      .maximum = LIMIT_MAX,
      .summary = "The limit of callers whose key has the tier free. Absent: the rule's own." },
    { .name = "standard",
      .type = FIELD_INTEGER,
      .into = offsetof(struct tier_limits_config, standard),
      .minimum = 1,
      .maximum = LIMIT_MAX,
      .summary = "The same of the tier standard." },
    { .name = "premium",
      .type = FIELD_INTEGER,
      .into = offsetof(struct tier_limits_config, premium),
      .minimum = 1,
      .maximum = LIMIT_MAX,
      .summary = "The same of the tier premium." },
    FIELDS_END,
};

static const char *const algorithm_names[] = { "token_bucket", "sliding_window", "fixed_window",
                                               "gcra",         "concurrency",    NULL };
static const char *const action_names[] = { "reject", "queue", "throttle", NULL };

/* What a resource has besides comes first: a rule among a route's filters or in a plugin is the same without it. */
const struct field rate_limit_fields[] = {
    { .name = "id",
      .type = FIELD_STRING,
      .into = offsetof(struct rate_limit_config, id),
      .check = check_id,
      .summary = "A UUID. Absent: one made from the name, else from what is counted and how, whatever the limit." },
    { .name = "routeId",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_ROUTE,
      .into = offsetof(struct rate_limit_config, route_id),
      .summary = "The route that it limits, by name or id. Neither route nor service: all requests." },
    { .name = "serviceId",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct rate_limit_config, service_id),
      .summary = "The service whose routes it limits together, by name or id." },
    { .name = "enabled",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct rate_limit_config, enabled),
      .fallback = "true",
      .summary = "Whether it is in force." },
    TAGS(struct rate_limit_config),
    CREATED_AT,
    UPDATED_AT,
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct rate_limit_config, name),
      .check = check_name,
      .summary =
          "What answers, logs and metrics call the rule; unique. Absent: its id; of a filter, its route's name (its path, where "
          "it has none) or plugin's name and `/rate-limit`." },
    { .name = "key",
      .type = FIELD_CUSTOM,
      .read = read_key,
      .write = write_key,
      .fallback = "client_id",
      .type_text = "`client_id`, `ip`, `api_key`, `user_id`, `route`, `global`, `header:NAME` or `${expression}`",
      .summary = "What is counted by itself. Where a request has no such value, its address counts." },
    { .name = "algorithm",
      .type = FIELD_ENUM,
      .into = offsetof(struct rate_limit_config, algorithm),
      .names = algorithm_names,
      .fallback = "token_bucket",
      .summary = "How is counted; `concurrency` counts requests under way." },
    { .name = "limit",
      .type = FIELD_INTEGER,
      .into = offsetof(struct rate_limit_config, limit),
      .required = true,
      .minimum = 1,
      .maximum = LIMIT_MAX,
      .summary = "How many requests a window lets through; of `concurrency`, how many at once." },
    { .name = "window",
      .type = FIELD_INTEGER,
      .into = offsetof(struct rate_limit_config, window_seconds),
      .minimum = 1,
      .maximum = WINDOW_SECONDS_MAX,
      .summary = "Whole seconds. Required, but for `concurrency`." },
    { .name = "burst",
      .type = FIELD_INTEGER,
      .into = offsetof(struct rate_limit_config, burst),
      .minimum = 1,
      .maximum = LIMIT_MAX,
      .summary =
          "How many may come at once, of `token_bucket` and `gcra`. Absent: as many as the limit; with `throttle`, one." },
    { .name = "action",
      .type = FIELD_ENUM,
      .into = offsetof(struct rate_limit_config, action),
      .names = action_names,
      .fallback = "reject",
      .summary = "What becomes of a request beyond the limit: 429, a wait for its turn, or an even pace for all." },
    { .name = "beforeIdentity",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct rate_limit_config, before_identity),
      .fallback = "false",
      .summary = "Counts before anybody is asked who they are: keys that don't depend on that." },
    { .name = "cost",
      .type = FIELD_CUSTOM,
      .read = read_cost,
      .write = write_cost,
      .fallback = "1",
      .type_text = "whole number or `${expression}`",
      .summary = "What a request takes of the limit." },
    { .name = "tierLimits",
      .type = FIELD_OBJECT,
      .into = offsetof(struct rate_limit_config, tier_limits),
      .present = offsetof(struct rate_limit_config, has_tier_limits),
      .fields = tier_fields,
      .summary =
          "Other limits by the tier of the caller's API key, each with a `burst` in proportion. Absent: all have the same." },
    { .name = "shadow",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct rate_limit_config, shadow),
      .fallback = "false",
      .summary = "Counts and tells what it would have refused, and refuses nothing." },
    { .name = "queueMaxWaitMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct rate_limit_config, queue_max_wait_ms),
      .fallback = "1000",
      .minimum = 1,
      .maximum = DAY_MS,
      .summary = "With `queue` and `throttle`: a request that would have to wait longer is refused." },
    { .name = "queueMaxLength",
      .type = FIELD_INTEGER,
      .into = offsetof(struct rate_limit_config, queue_max_length),
      .fallback = "100",
      .minimum = 1,
      .maximum = 1000000,
      .summary = "With `queue` and `throttle`: how many may wait; one more is refused." },
    FIELDS_END,
};

/* --- across fields --- */

static bool is_bucket(const struct rate_limit_config *rule)
{
    return rule->algorithm == RATE_LIMIT_TOKEN_BUCKET || rule->algorithm == RATE_LIMIT_GCRA;
}

/* A tier's burst is to the rule's as its limit is: it takes as long to come back. */
static int64_t burst_in_proportion(const struct rate_limit_config *rule, int64_t limit)
{
    if (rule->limit <= 0) return rule->burst; /* a mistake, told already */
    int64_t burst = (rule->burst * limit + rule->limit - 1) / rule->limit;
    return burst < LIMIT_MAX ? burst : LIMIT_MAX;
}

int64_t rate_limit_burst(const struct rate_limit_config *rule, int64_t limit)
{
    if (!is_bucket(rule)) return limit;
    if (rule->burst > 0) return burst_in_proportion(rule, limit);
    return rule->action == RATE_LIMIT_THROTTLE ? 1 : limit;
}

static void check_window(struct schema_reading *reading, const struct node *node, const struct rate_limit_config *rule)
{
    bool is_concurrency = rule->algorithm == RATE_LIMIT_CONCURRENCY;
    if (!is_concurrency && rule->window_seconds == 0 && !node_find(node, "window"))
        problems_add_missing(reading->problems, node, "window", "in seconds");
    if (is_concurrency && rule->window_seconds > 0)
        problems_add_at_key(reading->problems, node_find(node, "window"), "take it away",
                            "\"concurrency\" counts requests under way and has no window");
    if (!is_bucket(rule) && rule->burst > 0)
        problems_add_at_key(reading->problems, node_find(node, "burst"), "token_bucket and gcra have one",
                            "\"%s\" has no burst", algorithm_names[rule->algorithm]);
    if (is_bucket(rule) && rule->limit > 0 &&
        (double)rule->burst * (double)rule->window_seconds > (double)FILLING_SECONDS_MAX * (double)rule->limit)
        problems_add(reading->problems, node_find(node, "burst"), "a smaller burst, or a higher limit",
                     "a burst of %lld takes more than four years to come back", (long long)rule->burst);
}

/* A place in the future can be had where it is known when what was taken comes back. */
static void check_action(struct schema_reading *reading, const struct node *node, const struct rate_limit_config *rule)
{
    bool has_places = is_bucket(rule) || rule->algorithm == RATE_LIMIT_FIXED_WINDOW;
    if (rule->action == RATE_LIMIT_QUEUE && !has_places)
        problems_add(reading->problems, node_find(node, "action"), "token_bucket, gcra or fixed_window",
                     "\"%s\" has no queue", algorithm_names[rule->algorithm]);
    if (rule->action == RATE_LIMIT_THROTTLE && !is_bucket(rule))
        problems_add(reading->problems, node_find(node, "action"), "token_bucket or gcra",
                     "\"%s\" has no pace to slow down to", algorithm_names[rule->algorithm]);
}

static int64_t smallest_limit(const struct rate_limit_config *rule)
{
    const int64_t tiers[] = { rule->tier_limits.free, rule->tier_limits.standard, rule->tier_limits.premium };
    int64_t smallest = rate_limit_burst(rule, rule->limit);
    for (size_t i = 0; i < COUNT_OF(tiers); i++) {
        int64_t burst = rate_limit_burst(rule, tiers[i]);
        if (tiers[i] > 0 && burst < smallest) smallest = burst;
    }
    return smallest;
}

static void check_identity(struct schema_reading *reading, const struct node *node,
                           const struct rate_limit_config *rule)
{
    bool needs_identity = rule->key == RATE_LIMIT_BY_CLIENT_ID || rule->key == RATE_LIMIT_BY_API_KEY ||
                          rule->key == RATE_LIMIT_BY_USER_ID;
    if (!rule->before_identity) return;
    if (needs_identity)
        problems_add(reading->problems, node_find(node, "beforeIdentity"), "key: ip, header:NAME, route or global",
                     "before identity nobody knows the \"%s\"", key_names[rule->key]);
    if (rule->has_tier_limits)
        problems_add_at_key(reading->problems, node_find(node, "tierLimits"), "take one of the two away",
                            "before identity nobody knows the caller's tier");
}

void rate_limit_check(struct schema_reading *reading, const struct node *node, const struct rate_limit_config *rule)
{
    if (!slice_is_absent(rule->route_id) && !slice_is_absent(rule->service_id))
        problems_add_at_key(reading->problems, node_find(node, "serviceId"), "write two rules",
                            "a rule limits a route or a service, not both");
    check_window(reading, node, rule);
    check_action(reading, node, rule);
    if (rule->limit > 0 && rule->cost > smallest_limit(rule))
        problems_add(reading->problems, node_find(node, "cost"), NULL,
                     "no request could ever pass: one costs %lld, and there are %lld at most", (long long)rule->cost,
                     (long long)smallest_limit(rule));
    check_identity(reading, node, rule);
}
