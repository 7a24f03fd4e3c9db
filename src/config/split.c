/* The table of a route's split. A canary beside the route's service and a list of services are the same thing told in two ways; what
 * becomes of them is in snapshot/split.h. */
#include "config/private.h"
#include "http/headers.h"

#define WEIGHT_MAX 1000000
#define HEADER_PREFIX "header:"
#define COOKIE_PREFIX "cookie:"

/* --- canaryPercentage --- */

static bool read_percentage(struct schema_reading *reading, const struct node *node, void *into)
{
    return schema_read_percentage(reading, "canaryPercentage", node, into);
}

/* --- by --- */

/* enum split_key */
static const char *const plain_keys[] = { "client_id", "ip", "random", NULL };

static bool take_name(struct schema_reading *reading, const struct node *node, enum split_key key, struct slice name,
                      struct split_config *split)
{
    const struct field field = { .name = "by" };
    split->by = key;
    split->by_name = name;
    return header_name_is_valid(name) || /* a cookie's is a token too, RFC 6265 4.1.1 */
           schema_refuse(reading, &field, node, key == SPLIT_BY_HEADER ? "as in header:X-User" : "as in cookie:user",
                         "a name behind the colon");
}

static bool read_by(struct schema_reading *reading, const struct node *node, void *into)
{
    struct split_config *split = into;
    struct slice text;
    if (!schema_read_text(reading, "by", node, &text)) return false;
    if (slice_starts_with(text, SLICE(HEADER_PREFIX)))
        return take_name(reading, node, SPLIT_BY_HEADER, slice_after(text, sizeof HEADER_PREFIX - 1), split);
    if (slice_starts_with(text, SLICE(COOKIE_PREFIX)))
        return take_name(reading, node, SPLIT_BY_COOKIE, slice_after(text, sizeof COOKIE_PREFIX - 1), split);
    split->by_name = SLICE_ABSENT;
    for (int i = 0; plain_keys[i]; i++) {
        if (!slice_equal(text, slice_from_cstring(plain_keys[i]))) continue;
        split->by = i;
        return true;
    }
    const struct field field = { .name = "by" };
    return schema_refuse(reading, &field, node, NULL, "client_id, ip, random, header:NAME or cookie:NAME");
}

static struct node *write_by(struct arena *arena, const void *from)
{
    const struct split_config *split = from;
    if (slice_is_absent(split->by_name)) return node_make_text(arena, slice_from_cstring(plain_keys[split->by]));
    struct slice prefix = split->by == SPLIT_BY_HEADER ? SLICE(HEADER_PREFIX) : SLICE(COOKIE_PREFIX);
    struct slice text = arena_join(arena, (struct slice[]){ prefix, split->by_name }, 2);
    PROMISE(!slice_is_absent(text));
    return node_make_text(arena, text);
}

/* --- all of it --- */

static bool check_token(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct field field = { .name = node->key.at ? node->key.at : "overrideHeader" };
    return header_name_is_valid(*(const struct slice *)value) ||
           schema_refuse(reading, &field, node, NULL, "a name of letters, digits and \"-\"");
}

static bool refuse(struct schema_reading *reading, const struct node *node, const char *hint, const char *what)
{
    problems_add(reading->problems, node, hint, "%s", what);
    return false;
}

static bool check_services(struct schema_reading *reading, const struct node *node, const struct split_config *split)
{
    const struct split_service_config *services = split->services.items;
    int64_t sum = 0;
    for (size_t i = 0; i < split->services.count; i++) {
        sum += services[i].weight;
        for (size_t j = 0; j < i; j++) {
            if (slice_equal(services[i].service_id, services[j].service_id))
                return refuse(reading, node_find(node, "services"), "add its weights up",
                              "a service stands in \"services\" once");
        }
    }
    return sum > 0 || refuse(reading, node_find(node, "services"), "give one a weight above 0",
                             "nobody gets anything: every weight of the split is 0");
}

bool check_split(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct split_config *split = value;
    bool is_canary = split->has_canary && !slice_is_absent(split->canary_service_id);
    bool is_half = split->has_canary != !slice_is_absent(split->canary_service_id);
    if (is_half || is_canary == (split->services.count > 0))
        return refuse(reading, node, NULL,
                      "a split has \"canaryPercentage\" and \"canaryServiceId\", or \"services\" with weights");
    if (split->cookie_max_age_ms > 0 && split->by != SPLIT_BY_COOKIE)
        return refuse(reading, node_find(node, "cookieMaxAge"), "by: cookie:NAME",
                      "\"cookieMaxAge\" is of a cookie that the split gives, and this one gives none");
    return is_canary || check_services(reading, node, split);
}

static const struct field split_service_fields[] = {
    { .name = "serviceId",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct split_service_config, service_id),
      .required = true,
      .summary = "The service, by name or id." },
    { .name = "weight",
      .type = FIELD_INTEGER,
      .into = offsetof(struct split_service_config, weight),
      .required = true,
      .minimum = 0,
      .maximum = WEIGHT_MAX,
      .summary = "Its share, of the sum of all weights. 0: only who asks for it by an override." },
    FIELDS_END,
};

const struct field split_fields[] = {
    { .name = "canaryPercentage",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct split_config, canary_hundredths),
      .present = offsetof(struct split_config, has_canary),
      .read = read_percentage,
      .write = schema_write_percentage,
      .type_text = "0 to 100, up to two decimals",
      .summary = "The canary's share; the route's `serviceId` keeps the rest." },
    { .name = "canaryServiceId",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct split_config, canary_service_id),
      .summary = "The canary, by name or id." },
    { .name = "services",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct split_config, services),
      .fields = split_service_fields,
      .item_size = sizeof(struct split_service_config),
      .maximum = SPLIT_SERVICES_MAX,
      .summary = "In place of a canary and `serviceId`: all services and their weights." },
    { .name = "by",
      .type = FIELD_CUSTOM,
      .read = read_by,
      .write = write_by,
      .fallback = "client_id",
      .type_text = "`client_id`, `ip`, `random`, `header:NAME` or `cookie:NAME`",
      .summary =
          "What keeps a client with one service. Without such a value its address counts; a cookie that is missing is given." },
    { .name = "overrideHeader",
      .type = FIELD_STRING,
      .into = offsetof(struct split_config, override_header),
      .check = check_token,
      .summary = "A request header that chooses: a service's name, or `always` and `never` for a canary." },
    { .name = "overrideCookie",
      .type = FIELD_STRING,
      .into = offsetof(struct split_config, override_cookie),
      .check = check_token,
      .summary = "The same by a cookie; the header goes first." },
    { .name = "cookieMaxAge",
      .type = FIELD_SECONDS,
      .into = offsetof(struct split_config, cookie_max_age_ms),
      .fallback = "0",
      .minimum = 0,
      .maximum = 400ll * DAY_MS,
      .summary = "How long a cookie that the split gives is kept. 0: until the browser is closed." },
    { .name = "seed",
      .type = FIELD_STRING,
      .into = offsetof(struct split_config, seed),
      .summary = "Splits with different seeds draw different clients; with the same, the same." },
    FIELDS_END,
};
