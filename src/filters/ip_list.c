/* ip-list: lets clients in or keeps them out by their address.
 *
 * Judges exchange->client: the peer, or what trusted proxies say of it. `deny` wins over `allow`; with an `allow` everyone else is
 * kept out. Of ranges in ranges only the widest are kept, so those of one family are sorted and apart, and a look-up is a
 * binary search. State: the sorted ranges (route). Never waits, never allocates. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"

#define RANGES_MAX 100000

struct ip_list_config {
    struct slice_list allow, deny;
    bool has_allow;
};

struct range_set {
    struct address_range *ranges; /* sorted, none inside another */
    size_t count;
};

struct ip_list {
    bool allows_listed_only;
    struct range_set allow_v4, allow_v6, deny_v4, deny_v6;
};

static bool check_range(struct schema_reading *, const struct node *, const void *text);

static const struct field ip_list_fields[] = {
    { .name = "allow",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ip_list_config, allow),
      .present = offsetof(struct ip_list_config, has_allow),
      .maximum = RANGES_MAX,
      .one_or_many = true,
      .check = check_range,
      .summary = "Addresses or CIDR ranges that are let in; all others are kept out." },
    { .name = "deny",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ip_list_config, deny),
      .maximum = RANGES_MAX,
      .one_or_many = true,
      .check = check_range,
      .summary = "Addresses or CIDR ranges that are kept out, also where `allow` holds them." },
    FIELDS_END,
};

static bool ip_list_check(struct schema_reading *, const struct node *, const void *value);
static bool ip_list_compile(const struct filter_compile *, const void *value, void **compiled);
static void ip_list_release(void *compiled);
static enum filter_result ip_list_request(struct exchange *, const void *compiled, void *state);
static void ip_list_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_ip_list = {
    .name = "ip-list",
    .summary = "Refuses clients by their address (403).",
    .phase = PHASE_IP_LIST,
    .fields = ip_list_fields,
    .config_size = sizeof(struct ip_list_config),
    .all_scopes_apply = true,
    .check = ip_list_check,
    .compile = ip_list_compile,
    .release = ip_list_release,
    .request = ip_list_request,
    .explain = ip_list_explain,
};

/* --- loading --- */

static bool check_range(struct schema_reading *reading, const struct node *node, const void *text)
{
    struct address_range range;
    if (address_range_parse(*(const struct slice *)text, &range)) return true;
    problems_add(reading->problems, node, "10.0.0.0/8, 192.0.2.1 or 2001:db8::/32, with no bit set below the prefix",
                 "not an address or range: \"%s\"", problems_excerpt(*(const struct slice *)text).text);
    return false;
}

static bool ip_list_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct ip_list_config *config = value;
    if (config->allow.count + config->deny.count > 0) return true;
    problems_add(reading->problems, node, NULL, "\"allow\" or \"deny\" must list an address");
    return false;
}

/* The family is that of the text: a v4-mapped range is as good as a plain one. */
static bool is_v4(const struct address_range *range)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    return range->prefix_bits >= 96 && memcmp(range->bytes, mapped, sizeof mapped) == 0;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct address_range *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, sizeof a->bytes);
    return order ? order : a->prefix_bits - b->prefix_bits;
}

static bool is_inside(const struct address_range *inner, const struct address_range *outer)
{
    unsigned whole = outer->prefix_bits / 8, rest = outer->prefix_bits % 8;
    if (memcmp(inner->bytes, outer->bytes, whole) != 0) return false;
    return rest == 0 || (inner->bytes[whole] ^ outer->bytes[whole]) >> (8 - rest) == 0;
}

/* Ranges are apart or one in the other; sorted, the wider comes first. */
static struct range_set compile_set(const struct slice_list *texts, bool v4)
{
    struct range_set set = { memory_allocate_array(texts->count ? texts->count : 1, sizeof *set.ranges), 0 };
    for (size_t i = 0; i < texts->count; i++) {
        struct address_range range;
        PROMISE(address_range_parse(texts->items[i], &range)); /* check_range saw it */
        if (is_v4(&range) == v4) set.ranges[set.count++] = range;
    }
    if (set.count == 0) return set;
    qsort(set.ranges, set.count, sizeof *set.ranges, compare_ranges);
    size_t kept = 1;
    for (size_t i = 1; i < set.count; i++) {
        if (!is_inside(&set.ranges[i], &set.ranges[kept - 1])) set.ranges[kept++] = set.ranges[i];
    }
    set.count = kept;
    return set;
}

static bool ip_list_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct ip_list_config *config = value;
    struct ip_list *list = memory_allocate(sizeof *list);
    list->allows_listed_only = config->has_allow;
    list->allow_v4 = compile_set(&config->allow, true);
    list->allow_v6 = compile_set(&config->allow, false);
    list->deny_v4 = compile_set(&config->deny, true);
    list->deny_v6 = compile_set(&config->deny, false);
    *compiled = list;
    return true;
}

static void ip_list_release(void *compiled)
{
    struct ip_list *list = compiled;
    free(list->allow_v4.ranges);
    free(list->allow_v6.ranges);
    free(list->deny_v4.ranges);
    free(list->deny_v6.ranges);
    free(list);
}

/* --- requests --- */

/* The client as a range of one address. False: it has none (a client on a Unix socket). */
static bool range_of(const struct address *address, struct address_range *range)
{
    *range = (struct address_range){ .prefix_bits = 128 };
    if (address->any.sa_family == AF_INET) {
        range->bytes[10] = range->bytes[11] = 0xff;
        memcpy(range->bytes + 12, &address->v4.sin_addr, 4);
        return true;
    }
    memcpy(range->bytes, &address->v6.sin6_addr, 16);
    return address->any.sa_family == AF_INET6;
}

/* The last range that begins at or before the client is the only one that can hold it. */
static bool set_holds(const struct range_set *set, const struct address_range *client)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(set->ranges[middle].bytes, client->bytes, sizeof client->bytes) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 && is_inside(client, &set->ranges[low - 1]);
}

static bool lets_in(const struct ip_list *list, const struct address *address)
{
    struct address_range client;
    if (!range_of(address, &client)) return !list->allows_listed_only;
    bool v4 = is_v4(&client);
    if (set_holds(v4 ? &list->deny_v4 : &list->deny_v6, &client)) return false;
    return !list->allows_listed_only || set_holds(v4 ? &list->allow_v4 : &list->allow_v6, &client);
}

static enum filter_result ip_list_request(struct exchange *exchange, const void *compiled, void *state)
{
    if (lets_in(compiled, &exchange->client)) return FILTER_NEXT;
    exchange_respond_problem(exchange, 403, "address-refused", SLICE("ip-list"),
                             "requests from this address are refused");
    return FILTER_RESPOND;
}

static void ip_list_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    explanation_add(explanation, lets_in(compiled, &exchange->client) ? "lets %.*s in" : "refuses %.*s (403)",
                    SLICE_PRINT(exchange->client_ip));
}
