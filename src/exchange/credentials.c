/* exchange/credentials.c: finding credentials in header, query or cookie, and taking them off the request. RFC 6750 2, RFC 6265 5.4. */
#include "exchange/exchange.h"
#include "exchange/identity.h"
#include "http/cookies.h"
#include "http/form.h"

struct credential_source credential_source_of(enum credential_place place, struct slice name)
{
    return (struct credential_source){
        .place = (uint8_t)place,
        .key = place == CREDENTIAL_IN_HEADER ? header_key_of(name) : (struct header_key){ .name = name },
    };
}

/* --- headers --- */

/* A field of which a client or a proxy in between has made one of two: "Bearer a, Bearer b". The grammar has room for one (RFC 9110 11.6.2): behind a
 * comma stands a parameter, `name = value`, and no scheme with its credentials. Commas in quotes are texts of parameters. */
static bool holds_several(struct slice value)
{
    bool is_quoted = false;
    if (LIKELY(slice_find_byte(value, ',') == SLICE_NOT_FOUND)) return false;
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] == '"') is_quoted = !is_quoted;
        if (is_quoted && value.at[i] == '\\') i++;
        if (is_quoted || value.at[i] != ',') continue;
        struct slice rest = slice_trim(slice_after(value, i + 1));
        size_t space = slice_find_byte(rest, ' ');
        if (space == SLICE_NOT_FOUND || !header_name_is_valid(slice_before(rest, space))) continue;
        struct slice behind = slice_trim(slice_after(rest, space));
        if (behind.length > 0 && behind.at[0] != '=' && behind.at[0] != ',') return true;
    }
    return false;
}

static enum credential_found find_in_header(const struct headers *headers, const struct credential_source *source,
                                            struct slice *value)
{
    const struct header *header = headers_find_by(headers, &source->key);
    if (!header) return CREDENTIAL_NONE;
    *value = header->value;
    bool is_repeated = headers_find_next(headers, header) != NULL ||
                       (source->key.id == HEADER_AUTHORIZATION && holds_several(*value));
    return is_repeated ? CREDENTIAL_REPEATED : CREDENTIAL_FOUND;
}

/* --- the query --- */

static enum credential_found find_in_query(const struct exchange *exchange, struct slice name, struct slice *value)
{
    struct slice rest = exchange->request->target.query, found = SLICE_ABSENT;
    struct form_pair pair;
    while (form_next_pair(&rest, &pair)) {
        if (!form_reads_as(pair.name, name)) continue;
        if (!slice_is_absent(found)) return CREDENTIAL_REPEATED;
        found = pair.value;
    }
    if (slice_is_absent(found)) return CREDENTIAL_NONE;
    *value = form_decode(found, exchange->arena);
    return slice_is_absent(*value) ? CREDENTIAL_NO_MEMORY : CREDENTIAL_FOUND;
}

/* Absent where nothing is left; as it was where nothing of that name is in it. */
static bool strip_query(struct arena *arena, struct slice *query, struct slice name)
{
    struct slice rest = *query;
    struct form_pair pair;
    bool is_there = false, is_first = true;
    while (!is_there && form_next_pair(&rest, &pair)) is_there = form_reads_as(pair.name, name);
    if (!is_there) return true;
    char *start = arena_allocate(arena, query->length), *end = start;
    if (!start) return false;
    for (rest = *query; form_next_pair(&rest, &pair);) {
        if (form_reads_as(pair.name, name)) continue;
        if (!is_first) *end++ = '&';
        is_first = false;
        if (pair.whole.length) end = mempcpy(end, pair.whole.at, pair.whole.length);
    }
    *query = is_first ? SLICE_ABSENT : slice_of(start, (size_t)(end - start));
    return true;
}

/* What a service gets may have been rewritten already, most often it is the same text. */
static bool strip_queries(struct exchange *exchange, struct slice name)
{
    struct slice *asked = &exchange->request->target.query, *upstream = &exchange->upstream_query;
    bool same = asked->at == upstream->at && asked->length == upstream->length;
    if (!strip_query(exchange->arena, asked, name)) return false;
    if (!same) return strip_query(exchange->arena, upstream, name);
    *upstream = *asked;
    return true;
}

/* --- cookies, in one field or, over HTTP/2, in many --- */

static enum credential_found find_in_cookie(const struct headers *headers, struct slice name, struct slice *value)
{
    bool found = false;
    for (struct header *field = headers_find_known(headers, HEADER_COOKIE); field;
         field = headers_find_next(headers, field)) {
        struct slice rest = field->value;
        struct cookie cookie;
        while (cookie_next_named(&rest, &cookie)) {
            if (!slice_equal(cookie.name, name)) continue;
            if (found) return CREDENTIAL_REPEATED;
            found = true;
            *value = cookie.value;
        }
    }
    return found ? CREDENTIAL_FOUND : CREDENTIAL_NONE;
}

static bool field_has_cookie(struct slice rest, struct slice name)
{
    struct cookie cookie;
    while (cookie_next_named(&rest, &cookie)) {
        if (slice_equal(cookie.name, name)) return true;
    }
    return false;
}

static bool strip_cookie_field(struct headers *headers, struct header *field, struct slice name)
{
    if (!field_has_cookie(field->value, name)) return true;
    char *start = arena_allocate(headers->arena, 2 * field->value.length), *end = start;
    if (!start) return false;
    struct slice rest = field->value;
    struct cookie cookie;
    while (cookie_next(&rest, &cookie)) {
        if (cookie.whole.length == 0 || slice_equal(cookie.name, name)) continue;
        if (end > start) end = mempcpy(end, "; ", 2);
        end = mempcpy(end, cookie.whole.at, cookie.whole.length);
    }
    if (end > start) {
        field->value = slice_of(start, (size_t)(end - start));
    } else {
        headers_remove_one(headers, field);
    }
    return true;
}

static bool strip_cookie(struct headers *headers, struct slice name)
{
    for (struct header *next, *field = headers_find_known(headers, HEADER_COOKIE); field; field = next) {
        next = headers_find_next(headers, field);
        if (!strip_cookie_field(headers, field, name)) return false;
    }
    return true;
}

/* --- */

enum credential_found credential_find(const struct exchange *exchange, const struct credential_source *source,
                                      struct slice *value)
{
    switch (source->place) {
    case CREDENTIAL_IN_HEADER: return find_in_header(&exchange->request->headers, source, value);
    case CREDENTIAL_IN_QUERY: return find_in_query(exchange, source->key.name, value);
    default: return find_in_cookie(&exchange->request->headers, source->key.name, value);
    }
}

enum credential_found credential_take_scheme(struct slice *value, struct slice scheme)
{
    size_t at = scheme.length;
    if (value->length <= at || !slice_equal_ignore_case(slice_before(*value, at), scheme)) return CREDENTIAL_NONE;
    if (value->at[at] != ' ')
        return header_name_is_valid(slice_of(&value->at[at], 1)) ? CREDENTIAL_NONE : CREDENTIAL_UNREADABLE;
    while (at < value->length && value->at[at] == ' ') at++;
    if (at < value->length && value->at[at] == '\t') return CREDENTIAL_UNREADABLE;
    *value = slice_trim(slice_after(*value, at));
    return CREDENTIAL_FOUND;
}

/* --- those that go on --- */

struct forwarded_credential {
    const struct credential_source *source;
    const struct forwarded_credential *next;
};

bool credential_forward(struct exchange *exchange, const struct credential_source *source)
{
    if (LIKELY(!exchange->route || !exchange->route->chain->has_lookers_on)) return true;
    struct forwarded_credential *noted = arena_allocate(exchange->arena, sizeof *noted);
    if (!noted) return false;
    *noted = (struct forwarded_credential){ source, exchange->identity.forwarded };
    exchange->identity.forwarded = noted;
    return true;
}

static bool strip_target(struct arena *arena, struct slice *target, struct slice name)
{
    size_t mark = slice_find_byte(*target, '?');
    if (mark == SLICE_NOT_FOUND) return true;
    struct slice path = slice_before(*target, mark), before = slice_after(*target, mark + 1), query = before;
    if (!strip_query(arena, &query, name)) return false;
    if (slice_is_absent(query)) {
        *target = path;
    } else if (query.at != before.at) {
        *target = arena_join(arena, (struct slice[]){ path, SLICE("?"), query }, 3);
    }
    return !slice_is_absent(*target);
}

bool credentials_strip_copy(const struct exchange *exchange, struct headers *headers, struct slice *target)
{
    for (const struct forwarded_credential *noted = exchange->identity.forwarded; noted; noted = noted->next) {
        const struct credential_source *source = noted->source;
        bool good = true;
        switch (source->place) {
        case CREDENTIAL_IN_HEADER: headers_remove_by(headers, &source->key); break;
        case CREDENTIAL_IN_QUERY: good = strip_target(headers->arena, target, source->key.name); break;
        default: good = strip_cookie(headers, source->key.name); break;
        }
        if (!good) return false;
    }
    return true;
}

bool credential_strip(struct exchange *exchange, const struct credential_source *source)
{
    struct headers *headers = &exchange->request->headers;
    switch (source->place) {
    case CREDENTIAL_IN_HEADER: headers_remove_by(headers, &source->key); return true;
    case CREDENTIAL_IN_QUERY: return strip_queries(exchange, source->key.name);
    default: return strip_cookie(headers, source->key.name);
    }
}
