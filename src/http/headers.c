#include "http/headers.h"

#include "http/private.h"

#define HEADERS_CAPACITY_FIRST 16

/* The one list of known names: id, customary spelling, and the first and last letter in lower case, which with the
 * length make the slot of the perfect hash. Two names in one slot don't compile (-Woverride-init). */
#define KNOWN_HEADERS(ROW)                                                                 \
    ROW(HEADER_ACCEPT, "Accept", 'a', 't')                                                 \
    ROW(HEADER_ACCEPT_ENCODING, "Accept-Encoding", 'a', 'g')                               \
    ROW(HEADER_ACCESS_CONTROL_REQUEST_HEADERS, "Access-Control-Request-Headers", 'a', 's') \
    ROW(HEADER_ACCESS_CONTROL_REQUEST_METHOD, "Access-Control-Request-Method", 'a', 'd')   \
    ROW(HEADER_AUTHORIZATION, "Authorization", 'a', 'n')                                   \
    ROW(HEADER_CACHE_CONTROL, "Cache-Control", 'c', 'l')                                   \
    ROW(HEADER_CONNECTION, "Connection", 'c', 'n')                                         \
    ROW(HEADER_CONTENT_ENCODING, "Content-Encoding", 'c', 'g')                             \
    ROW(HEADER_CONTENT_LENGTH, "Content-Length", 'c', 'h')                                 \
    ROW(HEADER_CONTENT_TYPE, "Content-Type", 'c', 'e')                                     \
    ROW(HEADER_COOKIE, "Cookie", 'c', 'e')                                                 \
    ROW(HEADER_DATE, "Date", 'd', 'e')                                                     \
    ROW(HEADER_ETAG, "ETag", 'e', 'g')                                                     \
    ROW(HEADER_EXPECT, "Expect", 'e', 't')                                                 \
    ROW(HEADER_FORWARDED, "Forwarded", 'f', 'd')                                           \
    ROW(HEADER_HOST, "Host", 'h', 't')                                                     \
    ROW(HEADER_IDEMPOTENCY_KEY, "Idempotency-Key", 'i', 'y')                               \
    ROW(HEADER_KEEP_ALIVE, "Keep-Alive", 'k', 'e')                                         \
    ROW(HEADER_LAST_MODIFIED, "Last-Modified", 'l', 'd')                                   \
    ROW(HEADER_LOCATION, "Location", 'l', 'n')                                             \
    ROW(HEADER_ORIGIN, "Origin", 'o', 'n')                                                 \
    ROW(HEADER_PROXY_AUTHENTICATE, "Proxy-Authenticate", 'p', 'e')                         \
    ROW(HEADER_PROXY_AUTHORIZATION, "Proxy-Authorization", 'p', 'n')                       \
    ROW(HEADER_PROXY_CONNECTION, "Proxy-Connection", 'p', 'n')                             \
    ROW(HEADER_RETRY_AFTER, "Retry-After", 'r', 'r')                                       \
    ROW(HEADER_SERVER, "Server", 's', 'r')                                                 \
    ROW(HEADER_SET_COOKIE, "Set-Cookie", 's', 'e')                                         \
    ROW(HEADER_TE, "TE", 't', 'e')                                                         \
    ROW(HEADER_TRACEPARENT, "traceparent", 't', 't')                                       \
    ROW(HEADER_TRACESTATE, "tracestate", 't', 'e')                                         \
    ROW(HEADER_TRAILER, "Trailer", 't', 'r')                                               \
    ROW(HEADER_TRANSFER_ENCODING, "Transfer-Encoding", 't', 'g')                           \
    ROW(HEADER_UPGRADE, "Upgrade", 'u', 'e')                                               \
    ROW(HEADER_USER_AGENT, "User-Agent", 'u', 't')                                         \
    ROW(HEADER_VARY, "Vary", 'v', 'y')                                                     \
    ROW(HEADER_VIA, "Via", 'v', 'a')                                                       \
    ROW(HEADER_X_API_KEY, "X-API-Key", 'x', 'y')                                           \
    ROW(HEADER_X_AUTHENTICATED_USER, "X-Authenticated-User", 'x', 'r')                     \
    ROW(HEADER_X_CLIENT_ID, "X-Client-ID", 'x', 'd')                                       \
    ROW(HEADER_X_FORWARDED_FOR, "X-Forwarded-For", 'x', 'r')                               \
    ROW(HEADER_X_FORWARDED_HOST, "X-Forwarded-Host", 'x', 't')                             \
    ROW(HEADER_X_FORWARDED_PROTO, "X-Forwarded-Proto", 'x', 'o')                           \
    ROW(HEADER_X_REQUEST_ID, "X-Request-ID", 'x', 'd')

/* The factor was found by trying small ones until the slots of all names differed. */
#define SLOT_COUNT 128
#define SLOT(length, first, last) (((length) + (size_t)(first)*25 + (size_t)(last)) % SLOT_COUNT)

#define NAME_ROW(id, name, first, last) [id] = { name, sizeof(name) - 1 },
static const struct slice known_names[HEADER_ID_COUNT] = { [HEADER_OTHER] = { "", 0 }, KNOWN_HEADERS(NAME_ROW) };

#define SLOT_ROW(id, name, first, last) [SLOT(sizeof(name) - 1, first, last)] = id,
static const uint8_t id_by_slot[SLOT_COUNT] = { KNOWN_HEADERS(SLOT_ROW) };

_Static_assert(HEADER_ID_COUNT <= 64, "struct headers keeps one bit an id");

/* What a Connection field may name and still keep: fields that frame or address the message, prove who sent it, or
 * that this gateway adds. RFC 9110 7.6.1 forbids naming such; obeying would let a client take off what a policy put
 * on. */
#define END_TO_END_FIELDS                                                                                              \
    (HEADER_BIT(HEADER_HOST) | HEADER_BIT(HEADER_CONTENT_LENGTH) | HEADER_BIT(HEADER_CONTENT_TYPE) |                   \
     HEADER_BIT(HEADER_CONTENT_ENCODING) | HEADER_BIT(HEADER_CACHE_CONTROL) | HEADER_BIT(HEADER_AUTHORIZATION) |       \
     HEADER_BIT(HEADER_COOKIE) | HEADER_BIT(HEADER_SET_COOKIE) | HEADER_BIT(HEADER_DATE) | HEADER_BIT(HEADER_EXPECT) | \
     HEADER_BIT(HEADER_LOCATION) | HEADER_BIT(HEADER_FORWARDED) | HEADER_BIT(HEADER_VIA) |                             \
     HEADER_BIT(HEADER_X_API_KEY) | HEADER_BIT(HEADER_X_AUTHENTICATED_USER) | HEADER_BIT(HEADER_X_CLIENT_ID) |         \
     HEADER_BIT(HEADER_X_FORWARDED_FOR) | HEADER_BIT(HEADER_X_FORWARDED_HOST) | HEADER_BIT(HEADER_X_FORWARDED_PROTO) | \
     HEADER_BIT(HEADER_X_REQUEST_ID))

static const uint8_t hop_by_hop_ids[] = {
    HEADER_CONNECTION, HEADER_KEEP_ALIVE, HEADER_PROXY_CONNECTION,   HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,    HEADER_TRAILER,    HEADER_PROXY_AUTHENTICATE, HEADER_PROXY_AUTHORIZATION,
};

static bool name_matches(struct slice sent, struct slice known);
static bool append(struct headers *, enum header_id, struct slice name, struct slice value, bool from_wire);
static void replace(struct headers *, struct header *first, struct slice value);

enum header_id header_id_find(struct slice name)
{
    if (name.length < 2) return HEADER_OTHER;
    unsigned first = (uint8_t)name.at[0] | 0x20, last = (uint8_t)name.at[name.length - 1] | 0x20;
    enum header_id id = id_by_slot[SLOT(name.length, first, last)];
    return known_names[id].length == name.length && name_matches(name, known_names[id]) ? id : HEADER_OTHER;
}

struct slice header_id_name(enum header_id id) { return known_names[id]; }

bool header_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.length; i++) {
        if (!byte_is(name.at[i], BYTE_TOKEN)) return false;
    }
    return name.length > 0;
}

bool header_value_is_valid(struct slice value)
{
    if (value.length == 0) return true;
    const char *end = value.at + value.length;
    for (const char *at = http_find_control(value.at, end); at < end; at = http_find_control(at + 1, end)) {
        if (*at == '\r' || *at == '\n' || *at == '\0') return false;
    }
    return true;
}

/* Hop-by-hop and framing (RFC 9110 7.6.1, RFC 9112 6), the authority, and what the two sides agree on while a body is sent. */
bool header_is_sluices_own(enum header_id id)
{
    switch (id) {
    case HEADER_CONNECTION:
    case HEADER_CONTENT_LENGTH:
    case HEADER_EXPECT:
    case HEADER_HOST:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE: return true;
    default: return false;
    }
}

void headers_init(struct headers *headers, struct arena *arena) { *headers = (struct headers){ .arena = arena }; }

bool headers_add(struct headers *headers, struct slice name, struct slice value)
{
    return append(headers, header_id_find(name), name, value, false);
}

bool headers_add_known(struct headers *headers, enum header_id id, struct slice value)
{
    return append(headers, id, known_names[id], value, false);
}

bool headers_add_from_wire(struct headers *headers, struct slice name, struct slice value)
{
    return append(headers, header_id_find(name), name, value, true);
}

bool headers_set(struct headers *headers, struct slice name, struct slice value)
{
    struct header *first = headers_find(headers, name);
    if (!first) return headers_add(headers, name, value);
    replace(headers, first, value);
    return true;
}

bool headers_set_known(struct headers *headers, enum header_id id, struct slice value)
{
    struct header *first = headers_find_known(headers, id);
    if (!first) return headers_add_known(headers, id, value);
    replace(headers, first, value);
    return true;
}

unsigned headers_remove(struct headers *headers, struct slice name)
{
    unsigned removed = 0;
    for (struct header *next, *item = headers_find(headers, name); item; item = next, removed++) {
        next = headers_find_next(headers, item);
        headers_remove_one(headers, item);
    }
    return removed;
}

unsigned headers_remove_known(struct headers *headers, enum header_id id)
{
    unsigned removed = 0;
    for (struct header *item; (item = headers_find_known(headers, id)) != NULL; removed++)
        headers_remove_one(headers, item);
    headers->present &= ~HEADER_BIT(id);
    return removed;
}

void headers_remove_one(struct headers *headers, struct header *item) { *item = (struct header){ .id = HEADER_OTHER }; }

struct header *headers_find(const struct headers *headers, struct slice name)
{
    enum header_id id = header_id_find(name);
    if (id != HEADER_OTHER) return headers_find_known(headers, id);
    for (unsigned i = 0; i < headers->count; i++) {
        struct header *item = &headers->items[i];
        if (item->id == HEADER_OTHER && item->name.at && slice_equal_ignore_case(item->name, name)) return item;
    }
    return NULL;
}

struct header *headers_find_known(const struct headers *headers, enum header_id id)
{
    if (!headers_may_have(headers, id)) return NULL;
    for (struct header *item = headers->items, *end = item + headers->count; item < end; item++) {
        if (item->id == id && item->name.at) return item;
    }
    return NULL;
}

struct header *headers_find_next(const struct headers *headers, const struct header *previous)
{
    const struct header *end = headers->items + headers->count;
    for (struct header *item = headers->items + (previous - headers->items) + 1; item < end; item++) {
        if (item->id != previous->id || !item->name.at) continue;
        if (item->id != HEADER_OTHER || slice_equal_ignore_case(item->name, previous->name)) return item;
    }
    return NULL;
}

struct header *headers_next(const struct headers *headers, const struct header *previous)
{
    size_t at = previous ? (size_t)(previous - headers->items) + 1 : 0;
    while (at < headers->count && !headers->items[at].name.at) at++;
    return at < headers->count ? &headers->items[at] : NULL;
}

struct slice headers_value(const struct headers *headers, enum header_id id)
{
    const struct header *item = headers_find_known(headers, id);
    return item ? item->value : SLICE_ABSENT;
}

struct slice headers_combined(const struct headers *headers, enum header_id id)
{
    const struct header *first = headers_find_known(headers, id), *item = first;
    if (!first) return SLICE_ABSENT;
    size_t size = 0;
    for (; item; item = headers_find_next(headers, item)) size += item->value.length + 2;
    if (size == first->value.length + 2) return first->value;
    char *joined = arena_allocate(headers->arena, size), *at = joined;
    if (!joined) return SLICE_ABSENT;
    for (item = first; item; item = headers_find_next(headers, item)) {
        at = mempcpy(at, item->value.at, item->value.length);
        at = mempcpy(at, ", ", 2);
    }
    return slice_of(joined, size - 2);
}

bool headers_list_has(const struct headers *headers, enum header_id id, struct slice token)
{
    for (struct header *item = headers_find_known(headers, id); item; item = headers_find_next(headers, item)) {
        struct slice rest = item->value, piece;
        while (slice_next(&rest, ',', &piece)) {
            if (slice_equal_ignore_case(piece, token)) return true;
        }
    }
    return false;
}

void headers_remove_sent(struct headers *headers, struct slice name)
{
    for (struct header *next, *item = headers_find(headers, name); item; item = next) {
        next = headers_find_next(headers, item);
        if (item->from_wire) headers_remove_one(headers, item);
    }
}

/* Connection itself stays: its caller is on a walk over it. */
void headers_remove_options(struct headers *headers, struct slice connection_options)
{
    struct slice option;
    while (slice_next(&connection_options, ',', &option)) {
        enum header_id id = header_id_find(option);
        if (option.length && id != HEADER_CONNECTION && !(END_TO_END_FIELDS & HEADER_BIT(id)))
            headers_remove_sent(headers, option); /* a sender speaks of what it sent */
    }
}

static void remove_sent_te(struct headers *headers)
{
    for (struct header *item = headers_next(headers, NULL); item; item = headers_next(headers, item)) {
        if (item->id == HEADER_TE && item->from_wire) headers_remove_one(headers, item);
    }
}

void headers_remove_hop_by_hop(struct headers *headers)
{
    for (struct header *item = headers_find_known(headers, HEADER_CONNECTION); item;
         item = headers_find_next(headers, item))
        headers_remove_options(headers, item->value);
    for (size_t i = 0; i < COUNT_OF(hop_by_hop_ids); i++) headers_remove_known(headers, hop_by_hop_ids[i]);
    if (headers_may_have(headers, HEADER_TE)) remove_sent_te(headers);
}

void headers_rebase(struct headers *headers, const char *old_base, size_t length, const char *new_base)
{
    for (unsigned i = 0; i < headers->count; i++) {
        slice_rebase(&headers->items[i].name, old_base, length, new_base);
        slice_rebase(&headers->items[i].value, old_base, length, new_base);
    }
}

static uint64_t load_64(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* 2 to 7 bytes, some of them twice. */
static uint64_t load_short(const char *at, size_t length)
{
    if (length >= 4) {
        uint32_t head, tail;
        memcpy(&head, at, sizeof head);
        memcpy(&tail, at + length - sizeof tail, sizeof tail);
        return head | (uint64_t)tail << 32;
    }
    uint16_t head, tail;
    memcpy(&head, at, sizeof head);
    memcpy(&tail, at + length - sizeof tail, sizeof tail);
    return head | (uint64_t)tail << 32;
}

/* Known names are letters and '-'. Of these only letters have bit 6; moved down by one it is the bit of their case. */
static bool word_matches(uint64_t sent, uint64_t known)
{
    uint64_t case_bits = known >> 1 & 0x2020202020202020u;
    return (sent | case_bits) == (known | case_bits);
}

/* Both have the same length, at least 2. Eight bytes at a time: this runs for every field of every head. */
static bool name_matches(struct slice sent, struct slice known)
{
    size_t length = known.length;
    if (length < 8) return word_matches(load_short(sent.at, length), load_short(known.at, length));
    for (size_t at = 0; at + 8 <= length; at += 8) {
        if (!word_matches(load_64(sent.at + at), load_64(known.at + at))) return false;
    }
    return word_matches(load_64(sent.at + length - 8), load_64(known.at + length - 8));
}

static bool grow(struct headers *headers)
{
    size_t capacity = headers->capacity ? (size_t)headers->capacity * 2 : HEADERS_CAPACITY_FIRST;
    if (capacity > UINT16_MAX) capacity = UINT16_MAX;
    if (capacity == headers->count) return false;
    struct header *items = arena_allocate(headers->arena, capacity * sizeof *items);
    if (!items) return false;
    if (headers->count) memcpy(items, headers->items, headers->count * sizeof *items);
    headers->items = items;
    headers->capacity = (uint16_t)capacity;
    return true;
}

static bool append(struct headers *headers, enum header_id id, struct slice name, struct slice value, bool from_wire)
{
    if (UNLIKELY(headers->count == headers->capacity) && !grow(headers)) return false;
    headers->items[headers->count++] = (struct header){ name, value, (uint8_t)id, from_wire };
    headers->present |= HEADER_BIT(id);
    return true;
}

/* The first one keeps its place and takes the value; the others of its name go. */
static void replace(struct headers *headers, struct header *first, struct slice value)
{
    for (struct header *other; (other = headers_find_next(headers, first)) != NULL;) headers_remove_one(headers, other);
    first->value = value;
    first->from_wire = false;
}
