#include "http/headers.h"

#include "base/words.h"
#include "http/private.h"

#define HEADERS_CAPACITY_FIRST 16
/* Reading a field is what is done most. It calls nothing in the usual case, so it saves no registers. */
#define APART __attribute__((noinline))
#define IN_CALLER inline __attribute__((always_inline))

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

/* Names that aren't known are told apart by their slot before they are compared: most are looked for in vain. */
#define OTHER_MARKS 16
_Static_assert(HEADER_ID_COUNT + OTHER_MARKS <= 64, "struct headers keeps one bit a mark");

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

/* And TE, of which ours stays. */
#define HOP_BY_HOP_FIELDS                                                                                  \
    (HEADER_BIT(HEADER_CONNECTION) | HEADER_BIT(HEADER_KEEP_ALIVE) | HEADER_BIT(HEADER_PROXY_CONNECTION) | \
     HEADER_BIT(HEADER_TRANSFER_ENCODING) | HEADER_BIT(HEADER_UPGRADE) | HEADER_BIT(HEADER_TRAILER) |      \
     HEADER_BIT(HEADER_PROXY_AUTHENTICATE) | HEADER_BIT(HEADER_PROXY_AUTHORIZATION))

static size_t slot_of(struct slice name);
static uint8_t id_in(size_t slot, struct slice name);
static uint8_t mark_in(size_t slot, uint8_t id);
static uint8_t mark_of(struct slice name);
static bool holds_underscore(struct slice name);
static bool note_other_name(struct headers *, struct slice name);
static bool grow_and_add_from_wire(struct headers *, struct slice name, struct slice value);
static bool append(struct headers *, struct header);
static struct header *item_behind(const struct headers *, const struct header *);
static struct header *find(const struct headers *, uint8_t mark, struct slice name);
static struct header *find_from(const struct headers *, struct header *, uint8_t mark, struct slice name);
static bool set(struct headers *, struct header);
static unsigned remove_all(struct headers *, uint8_t mark, struct slice name);

static enum header_id id_of(uint8_t mark) { return mark < HEADER_ID_COUNT ? (enum header_id)mark : HEADER_OTHER; }

/* What was found to be a known name is one of letters and '-'. */
static struct header field_of(uint8_t mark, struct slice name, struct slice value)
{
    return (struct header){
        .name = name, .value = value, .id = (uint8_t)id_of(mark), .mark = mark, .name_checked = mark < HEADER_ID_COUNT
    };
}

static struct header field_by(const struct header_key *key, struct slice value)
{
    return (struct header){
        .name = key->name, .value = value, .id = key->id, .mark = key->mark, .name_checked = key->is_valid
    };
}

static struct header constant_field(const struct header_constant *constant)
{
    struct header field = field_by(&constant->key, constant->value);
    field.value_checked = constant->value_is_valid;
    return field;
}

enum header_id header_id_find(struct slice name) { return id_of(mark_of(name)); }

struct header_key header_key_of(struct slice name)
{
    uint8_t mark = mark_of(name);
    return (struct header_key){ .name = name,
                                .id = (uint8_t)id_of(mark),
                                .mark = mark,
                                .is_valid = header_name_is_valid(name),
                                .has_underscore = holds_underscore(name) };
}

struct header_constant header_constant_of(struct slice name, struct slice value)
{
    return (struct header_constant){ header_key_of(name), value, header_value_is_valid(value) };
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
    if (value.length == 0) return true; /* perhaps at nothing */
    const char *end = value.at + value.length;
    return http_find_control(value.at, end) == end;
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
    return append(headers, field_of(mark_of(name), name, value));
}

bool headers_add_known(struct headers *headers, enum header_id id, struct slice value)
{
    return append(headers, field_of((uint8_t)id, known_names[id], value));
}

bool headers_add_from_wire(struct headers *headers, struct slice name, struct slice value)
{
    if (UNLIKELY(headers->count == headers->capacity)) return grow_and_add_from_wire(headers, name, value);
    struct header *field = &headers->items[headers->count++];
    *field = (struct header){ name, value, .from_wire = true, .name_checked = true, .value_checked = true };
    size_t slot = slot_of(name);
    field->id = id_in(slot, name);
    field->mark = mark_in(slot, field->id);
    headers->present |= HEADER_BIT(field->mark);
    return field->id != HEADER_OTHER || note_other_name(headers, name);
}

bool headers_add_by(struct headers *headers, const struct header_key *key, struct slice value)
{
    return append(headers, field_by(key, value));
}

bool headers_add_constant(struct headers *headers, const struct header_constant *constant)
{
    return append(headers, constant_field(constant));
}

bool headers_set(struct headers *headers, struct slice name, struct slice value)
{
    return set(headers, field_of(mark_of(name), name, value));
}

bool headers_set_known(struct headers *headers, enum header_id id, struct slice value)
{
    return set(headers, field_of((uint8_t)id, known_names[id], value));
}

bool headers_set_by(struct headers *headers, const struct header_key *key, struct slice value)
{
    return set(headers, field_by(key, value));
}

bool headers_set_constant(struct headers *headers, const struct header_constant *constant)
{
    return set(headers, constant_field(constant));
}

unsigned headers_remove(struct headers *headers, struct slice name) { return remove_all(headers, mark_of(name), name); }

unsigned headers_remove_known(struct headers *headers, enum header_id id)
{
    return remove_all(headers, (uint8_t)id, known_names[id]);
}

unsigned headers_remove_by(struct headers *headers, const struct header_key *key)
{
    return remove_all(headers, key->mark, key->name);
}

void headers_remove_one(struct headers *headers, struct header *item) { *item = (struct header){ .id = HEADER_OTHER }; }

struct header *headers_find(const struct headers *headers, struct slice name)
{
    return find(headers, mark_of(name), name);
}

struct header *headers_find_known(const struct headers *headers, enum header_id id)
{
    return find(headers, (uint8_t)id, known_names[id]);
}

struct header *headers_find_by(const struct headers *headers, const struct header_key *key)
{
    return find(headers, key->mark, key->name);
}

struct header *headers_find_next(const struct headers *headers, const struct header *previous)
{
    if (!previous->name.at) return NULL;
    return find_from(headers, item_behind(headers, previous), previous->mark, previous->name);
}

struct header *headers_next(const struct headers *headers, const struct header *previous)
{
    if (UNLIKELY(headers->count == 0)) return NULL; /* there may be no array: nothing is added to its address */
    struct header *item = previous ? item_behind(headers, previous) : headers->items;
    for (const struct header *end = headers->items + headers->count; item < end; item++) {
        if (item->name.at) return item;
    }
    return NULL;
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

static void remove_sent(struct headers *headers, uint8_t mark, struct slice name)
{
    for (struct header *item = find(headers, mark, name); item; item = find_from(headers, item + 1, mark, name)) {
        if (item->from_wire) headers_remove_one(headers, item);
    }
}

void headers_remove_sent(struct headers *headers, struct slice name) { remove_sent(headers, mark_of(name), name); }

void headers_remove_sent_known(struct headers *headers, enum header_id id)
{
    remove_sent(headers, (uint8_t)id, known_names[id]);
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

void headers_remove_hop_by_hop(struct headers *headers)
{
    for (struct header *item = headers_find_known(headers, HEADER_CONNECTION); item;
         item = headers_find_next(headers, item))
        headers_remove_options(headers, item->value);
    for (uint64_t left = headers->present & HOP_BY_HOP_FIELDS; left; left &= left - 1)
        headers_remove_known(headers, (enum header_id)__builtin_ctzll(left));
    headers_remove_sent_known(headers, HEADER_TE);
}

void headers_rebase(struct headers *headers, const char *old_base, size_t length, const char *new_base)
{
    for (unsigned i = 0; i < headers->count; i++) {
        slice_rebase(&headers->items[i].name, old_base, length, new_base);
        slice_rebase(&headers->items[i].value, old_base, length, new_base);
    }
}

/* Known names are letters and '-'. Of these only letters have bit 6; moved down by one it is the bit of their case. */
static inline bool word_matches(uint64_t sent, uint64_t known)
{
    if (LIKELY(sent == known)) return true;
    uint64_t case_bits = known >> 1 & WORD_OF(0x20);
    return (sent | case_bits) == (known | case_bits);
}

/* Both have the same length. Eight bytes at a time: this runs for every field of every head. */
static IN_CALLER bool name_matches(struct slice sent, struct slice known)
{
    size_t length = known.length;
    if (length < WORD_BYTES) return word_matches(word_load_short(sent.at, length), word_load_short(known.at, length));
    for (size_t at = 0; at + WORD_BYTES < length; at += WORD_BYTES) {
        if (!word_matches(word_load(sent.at + at), word_load(known.at + at))) return false;
    }
    size_t last = length - WORD_BYTES; /* its word may overlap the one before */
    return word_matches(word_load(sent.at + last), word_load(known.at + last));
}

static IN_CALLER size_t slot_of(struct slice name)
{
    if (UNLIKELY(name.length == 0)) return 0; /* nobody's, or of a name that is longer */
    unsigned first = (uint8_t)name.at[0] | 0x20, last = (uint8_t)name.at[name.length - 1] | 0x20;
    return SLOT(name.length, first, last);
}

static IN_CALLER uint8_t id_in(size_t slot, struct slice name)
{
    uint8_t id = id_by_slot[slot];
    if (id == HEADER_OTHER || known_names[id].length != name.length) return HEADER_OTHER;
    return name_matches(name, known_names[id]) ? id : HEADER_OTHER;
}

static IN_CALLER uint8_t mark_in(size_t slot, uint8_t id)
{
    return (uint8_t)(id != HEADER_OTHER ? id : HEADER_ID_COUNT + slot % OTHER_MARKS);
}

static APART uint8_t mark_of(struct slice name)
{
    size_t slot = slot_of(name);
    return mark_in(slot, id_in(slot, name));
}

static bool holds_underscore(struct slice name)
{
    const uint64_t underscores = WORD_OF('_');
    size_t length = name.length;
    if (length == 0) return false;
    if (length < WORD_BYTES) return word_holds_zero(word_load_short(name.at, length) ^ underscores);
    size_t last = length - WORD_BYTES;
    for (size_t at = 0; at < last; at += WORD_BYTES) {
        if (word_holds_zero(word_load(name.at + at) ^ underscores)) return true;
    }
    return word_holds_zero(word_load(name.at + last) ^ underscores);
}

static APART bool note_other_name(struct headers *headers, struct slice name)
{
    headers->sent_underscore |= holds_underscore(name);
    return true;
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

static inline bool append_where_room_is(struct headers *headers, struct header field)
{
    headers->items[headers->count++] = field;
    headers->present |= HEADER_BIT(field.mark);
    return true;
}

static APART bool grow_and_add_from_wire(struct headers *headers, struct slice name, struct slice value)
{
    return grow(headers) && headers_add_from_wire(headers, name, value);
}

static APART bool grow_and_append(struct headers *headers, struct header field)
{
    return grow(headers) && append_where_room_is(headers, field);
}

static inline bool append(struct headers *headers, struct header field)
{
    if (UNLIKELY(headers->count == headers->capacity)) return grow_and_append(headers, field);
    return append_where_room_is(headers, field);
}

static struct header *item_behind(const struct headers *headers, const struct header *item)
{
    return headers->items + (item - headers->items) + 1;
}

/* Beginning with `item`. Of a mark that is no id several names may be there. */
static inline struct header *find_from(const struct headers *headers, struct header *item, uint8_t mark,
                                       struct slice name)
{
    for (const struct header *end = headers->items + headers->count; item < end; item++) {
        if (item->mark == mark && (mark < HEADER_ID_COUNT || slice_equal_ignore_case(item->name, name))) return item;
    }
    return NULL;
}

static inline struct header *find(const struct headers *headers, uint8_t mark, struct slice name)
{
    return headers->present & HEADER_BIT(mark) ? find_from(headers, headers->items, mark, name) : NULL;
}

static unsigned remove_all(struct headers *headers, uint8_t mark, struct slice name)
{
    unsigned removed = 0;
    for (struct header *item = find(headers, mark, name); item; item = find_from(headers, item + 1, mark, name)) {
        headers_remove_one(headers, item);
        removed++;
    }
    if (mark < HEADER_ID_COUNT) headers->present &= ~HEADER_BIT(mark);
    return removed;
}

/* The first one keeps its place and its spelling and takes the value; the others of its name go. */
static bool set(struct headers *headers, struct header field)
{
    struct header *first = find(headers, field.mark, field.name), *other = first;
    if (!first) return append(headers, field);
    first->value = field.value;
    first->value_checked = field.value_checked;
    first->from_wire = false;
    while ((other = find_from(headers, other + 1, field.mark, field.name)) != NULL) headers_remove_one(headers, other);
    return true;
}
