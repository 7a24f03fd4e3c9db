/* exchange/split.c: which of a split's services gets the request: an override's words first, then the bucket of the client's key.
 *
 * Asked when the handler begins, for who the client is may be known only then. */
#include "base/hex.h"
#include "exchange/private.h"
#include "http/cookies.h"

#define COOKIE_VALUE_BYTES 16

static const struct slice always = SLICE("always"), never = SLICE("never");

static struct slice cookie_of(const struct exchange *exchange, struct slice name)
{
    const struct headers *headers = &exchange->request->headers;
    for (const struct header *field = headers_find_known(headers, HEADER_COOKIE); field;
         field = headers_find_next(headers, field)) {
        struct slice rest = field->value;
        struct cookie cookie;
        while (cookie_next_named(&rest, &cookie)) {
            if (slice_equal(cookie.name, name)) return cookie.value;
        }
    }
    return SLICE_ABSENT;
}

static struct slice header_of(const struct exchange *exchange, struct slice name)
{
    const struct header *header = headers_find(&exchange->request->headers, name);
    return header ? header->value : SLICE_ABSENT;
}

/* --- overrides --- */

/* NULL: no word that the split knows. */
static const struct split_choice *find_word(const struct route_split *split, struct slice word)
{
    if (slice_is_absent(word)) return NULL;
    if (split->is_canary && slice_equal(word, always)) return &split->choices[0];
    if (split->is_canary && slice_equal(word, never)) return &split->choices[1];
    for (uint32_t i = 0; i < split->count; i++) {
        if (slice_equal(word, split->choices[i].name)) return &split->choices[i];
    }
    return NULL;
}

static const struct split_choice *find_override(const struct exchange *exchange, const struct route_split *split)
{
    const struct split_choice *choice = NULL;
    if (!slice_is_absent(split->override_header))
        choice = find_word(split, header_of(exchange, split->override_header));
    if (choice || slice_is_absent(split->override_cookie)) return choice;
    return find_word(split, cookie_of(exchange, split->override_cookie));
}

/* --- the client's key --- */

/* An IPv6 client has its network's 64 bits alone: it changes the others as it likes. */
static struct slice address_key(const struct exchange *exchange)
{
    const struct address *address = &exchange->client;
    if (address->any.sa_family == AF_INET)
        return slice_of((const char *)&address->v4.sin_addr, sizeof address->v4.sin_addr);
    return slice_of((const char *)&address->v6.sin6_addr, 8);
}

/* Absent or empty: it has none of this kind. */
static struct slice key_of(const struct exchange *exchange, const struct route_split *split)
{
    switch ((enum split_key)split->by) {
    case SPLIT_BY_CLIENT_ID: return exchange->identity.client_id;
    case SPLIT_BY_HEADER: return header_of(exchange, split->by_name);
    case SPLIT_BY_COOKIE: return cookie_of(exchange, split->by_name);
    case SPLIT_BY_IP:
    case SPLIT_BY_RANDOM: break;
    }
    return SLICE_ABSENT;
}

static bool is_over_tls(const struct exchange *exchange)
{
    if (exchange->stream->peer->tls) return true;
    struct slice told = headers_value(&exchange->request->headers, HEADER_X_FORWARDED_PROTO);
    return exchange->from_trusted_proxy && slice_equal(told, SLICE("https"));
}

/* A client that has no cookie yet gets one, whose bucket is drawn with it. False: memory is short. */
static bool give_cookie(struct exchange *exchange, const struct route_split *split, struct slice *key)
{
    char *value = arena_allocate(exchange->arena, COOKIE_VALUE_BYTES);
    if (!value) return false;
    hex_write_u64(random_next(&exchange->worker->random), value);
    *key = slice_of(value, COOKIE_VALUE_BYTES);
    char age[32] = "";
    if (split->cookie_max_age_s) snprintf(age, sizeof age, "; Max-Age=%u", split->cookie_max_age_s);
    exchange->split_cookie = arena_format(exchange->arena, "%.*s=%.*s; Path=/%s; HttpOnly; SameSite=Lax%s",
                                          SLICE_PRINT(split->by_name), SLICE_PRINT(*key), age,
                                          is_over_tls(exchange) ? "; Secure" : "");
    return !slice_is_absent(exchange->split_cookie);
}

static bool draw(struct exchange *exchange, const struct route_split *split, uint32_t *bucket)
{
    if (split->by == SPLIT_BY_RANDOM) {
        *bucket = (uint32_t)random_below(&exchange->worker->random, SPLIT_BUCKETS);
        return true;
    }
    struct slice key = key_of(exchange, split);
    bool is_missing = key.length == 0;
    if (is_missing && split->by == SPLIT_BY_COOKIE) {
        if (!give_cookie(exchange, split, &key)) return false;
    } else if (is_missing) {
        key = address_key(exchange);
    }
    *bucket = split_bucket(split->seed, key);
    return true;
}

bool split_choose(struct exchange *exchange)
{
    const struct route_split *split = exchange->route->split;
    const struct split_choice *choice = find_override(exchange, split);
    uint32_t bucket;
    if (!choice) {
        if (!draw(exchange, split, &bucket)) return false;
        choice = split_find(split, bucket);
    }
    exchange->split_choice = choice;
    exchange->service = exchange_service(exchange, choice->service_index);
    return true;
}
