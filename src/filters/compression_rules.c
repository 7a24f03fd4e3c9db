#include "filters/compression_rules.h"

/* --- who asks --- */

static bool is_bearer(struct slice authorization)
{
    struct slice scheme = slice_before(authorization, slice_find_byte(authorization, ' '));
    return slice_equal_ignore_case(scheme, SLICE("Bearer")) || slice_equal_ignore_case(scheme, SLICE("DPoP"));
}

/* What scripts attach a foreign page can't have attached; a browser remembers the other schemes and attaches them itself. */
static bool has_ambient_authorization(const struct headers *headers)
{
    const struct header *field = headers_find_known(headers, HEADER_AUTHORIZATION);
    for (; field; field = headers_find_next(headers, field)) {
        if (!is_bearer(field->value)) return true;
    }
    return false;
}

/* "none": the user typed it or clicked a bookmark. Browsers alone write Sec-… fields; no page can. */
static bool is_from_same_origin(const struct headers *headers)
{
    const struct header *site = headers_find(headers, SLICE("Sec-Fetch-Site"));
    return site && !headers_find_next(headers, site) &&
           (slice_equal(site->value, SLICE("same-origin")) || slice_equal(site->value, SLICE("none")));
}

struct request_risk request_risk_of(const struct exchange *exchange)
{
    const struct headers *headers = &exchange->request->headers;
    bool has_cookie = headers_find_known(headers, HEADER_COOKIE) != NULL;
    bool has_certificate = exchange->stream->peer->certificate != NULL;
    return (struct request_risk){
        .has_credentials = has_cookie || has_certificate || headers_find_known(headers, HEADER_AUTHORIZATION) ||
                           headers_find_known(headers, HEADER_X_API_KEY),
        .is_ambient = has_cookie || has_certificate || has_ambient_authorization(headers),
        .is_same_origin = is_from_same_origin(headers),
    };
}

bool answer_is_safe(const struct exchange *exchange, const struct request_risk *risk, enum credentials_policy policy)
{
    bool sets_cookie = headers_find_known(&exchange->response->headers, HEADER_SET_COOKIE) != NULL;
    bool is_known = identity_is_known(exchange);
    switch (policy) {
    case CREDENTIALS_ALWAYS: return true;
    case CREDENTIALS_NEVER: return !risk->has_credentials && !is_known && !sets_cookie;
    case CREDENTIALS_SAME_ORIGIN: break;
    }
    return risk->is_same_origin || !(risk->is_ambient || sets_cookie);
}

/* --- what it is --- */

static bool is_token_or_star(struct slice text) { return header_name_is_valid(text); } /* `*` is a tchar */

bool check_type_pattern(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *pattern = text;
    size_t slash = slice_find_byte(*pattern, '/');
    struct slice type = slice_before(*pattern, slash), subtype = slice_after(*pattern, slash + 1);
    bool whole_type = slice_equal(subtype, SLICE("*"));
    bool good = slash != SLICE_NOT_FOUND && is_token_or_star(type) && is_token_or_star(subtype);
    if (good && slice_find_byte(type, '*') != SLICE_NOT_FOUND) {
        bool has_suffix = slice_starts_with(subtype, SLICE("*+")) &&
                          slice_find_byte(slice_after(subtype, 1), '*') == SLICE_NOT_FOUND;
        good = type.length == 1 && (whole_type || (has_suffix && subtype.length > 2));
    } else if (good) {
        good = whole_type || slice_find_byte(subtype, '*') == SLICE_NOT_FOUND;
    }
    if (good) return true;
    problems_add(reading->problems, node, "text/html, text/*, */*+json or */*", "not a media type: \"%s\"",
                 problems_excerpt(*pattern).text);
    return false;
}

static bool ends_with_ignoring_case(struct slice text, struct slice end)
{
    return text.length > end.length && slice_equal_ignore_case(slice_after(text, text.length - end.length), end);
}

bool type_pattern_fits(struct slice pattern, struct slice content_type)
{
    struct slice media = slice_trim(slice_before(content_type, slice_find_byte(content_type, ';')));
    size_t slash = slice_find_byte(media, '/');
    if (slash == SLICE_NOT_FOUND) return false;
    if (slice_starts_with(pattern, SLICE("*/*"))) {
        struct slice suffix = slice_after(pattern, 3);
        return suffix.length == 0 || ends_with_ignoring_case(media, suffix);
    }
    if (slice_ends_with(pattern, SLICE("/*")))
        return slice_equal_ignore_case(slice_before(media, slash + 1), slice_before(pattern, pattern.length - 1));
    return slice_equal_ignore_case(media, pattern);
}

static bool is_encoded(const struct headers *headers)
{
    const struct header *field = headers_find_known(headers, HEADER_CONTENT_ENCODING);
    for (; field; field = headers_find_next(headers, field)) {
        if (field->value.length > 0 && !slice_equal_ignore_case(field->value, SLICE("identity"))) return true;
    }
    return false;
}

static bool is_partial(const struct response_head *head)
{
    return head->status < 200 || head->status == 204 || head->status == 205 || head->status == 206 ||
           head->status == 304 || headers_find(&head->headers, SLICE("Content-Range"));
}

bool answer_is_free_to_change(const struct response_head *head, enum compression_outcome *why)
{
    *why = UNCOMPRESSED_PARTIAL;
    return !is_partial(head) && fields_let_change(&head->headers, why);
}

bool fields_let_change(const struct headers *headers, enum compression_outcome *why)
{
    *why = UNCOMPRESSED_ENCODED;
    if (is_encoded(headers)) return false;
    *why = UNCOMPRESSED_NO_TRANSFORM;
    if (headers_list_has(headers, HEADER_CACHE_CONTROL, SLICE("no-transform"))) return false;
    *why = UNCOMPRESSED_DIGEST;
    return !content_is_digested(headers);
}

/* --- validators and caches --- */

bool weaken_etag(struct headers *headers)
{
    struct slice etag = headers_value(headers, HEADER_ETAG);
    if (slice_is_absent(etag) || slice_starts_with(etag, SLICE("W/"))) return true;
    struct slice weak = arena_join(headers->arena, (struct slice[]){ SLICE("W/"), etag }, 2);
    return !slice_is_absent(weak) && headers_set_known(headers, HEADER_ETAG, weak);
}

/* The validator with its quotes, which it can't hold itself, as a member of its own: behind `W/` or not. */
static bool names(struct slice list, struct slice etag, bool weakened)
{
    for (size_t at, from = 0; (at = slice_find(slice_after(list, from), etag)) != SLICE_NOT_FOUND; from += at + 1) {
        if (slice_ends_with(slice_before(list, from + at), SLICE("W/")) == weakened) return true;
    }
    return false;
}

static bool holds(const struct headers *request, const struct headers *answer, bool weakened)
{
    struct slice etag = headers_value(answer, HEADER_ETAG);
    if (etag.length < 2 || etag.at[0] != '"' || etag.at[etag.length - 1] != '"') return false;
    const struct header *field = headers_find(request, SLICE("If-None-Match"));
    for (; field; field = headers_find_next(request, field)) {
        if (names(field->value, etag, weakened)) return true;
    }
    return false;
}

bool holds_weakened(const struct headers *request, const struct headers *answer)
{
    return holds(request, answer, true);
}

bool holds_strong(const struct headers *request, const struct headers *answer) { return holds(request, answer, false); }

bool add_vary(struct headers *headers)
{
    if (headers_list_has(headers, HEADER_VARY, SLICE("Accept-Encoding")) ||
        headers_list_has(headers, HEADER_VARY, SLICE("*")))
        return true;
    return headers_add_known(headers, HEADER_VARY, SLICE("Accept-Encoding"));
}
