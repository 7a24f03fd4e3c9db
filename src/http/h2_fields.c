#include "http/h2_fields.h"

#include "http/private.h"
#include "http/status.h"
#include "http/websocket.h"

#include "base/random.h"

/* ": " and CRLF: what a field takes in HTTP/1.1 beside its name and value. The limits are the same ones for both. */
#define FIELD_FRAME_BYTES 4
/* A head up to twice its limit is decoded to its end, so that its sender can be told why it is refused. */
#define FLOOD_FACTOR 2
#define PSEUDO_FIELDS_MAX 5
/* Beside the head's own ones: content-length, date, te. */
#define OWN_FIELDS_MAX 3

/* --- reading --- */

void h2_reader_init(struct h2_field_reader *reader, struct headers *headers, const struct h1_limits *limits)
{
    *reader = (struct h2_field_reader){ .headers = headers, .limits = limits };
}

static struct slice bytes_of(nghttp2_rcbuf *buffer)
{
    nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
    return slice_of((const char *)bytes.base, bytes.len);
}

/* Absent: no memory. */
static struct slice keep(struct h2_field_reader *reader, nghttp2_rcbuf *buffer)
{
    struct slice bytes = bytes_of(buffer);
    if (nghttp2_rcbuf_is_static(buffer)) return bytes;
    struct slice copy = arena_copy(reader->headers->arena, bytes);
    if (slice_is_absent(copy)) reader->is_out_of_memory = true;
    return copy;
}

static struct slice *pseudo_field(struct h2_pseudo_fields *pseudo, struct slice name)
{
    switch (name.length) {
    case 5: return &pseudo->path;
    case 7: return name.at[1] == 'm' ? &pseudo->method : name.at[2] == 'c' ? &pseudo->scheme : &pseudo->status;
    case 9: return &pseudo->protocol;
    default: return &pseudo->authority;
    }
}

/* What HTTP/1.1 has in its first line, under the same limit; the authority counts too, because it is there to be bounded. */
static enum h2_field_result add_pseudo_field(struct h2_field_reader *reader, struct slice name, nghttp2_rcbuf *value)
{
    uint64_t total = (uint64_t)reader->pseudo_bytes + bytes_of(value).length;
    reader->pseudo_bytes = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
    if (total > reader->limits->request_line_bytes) reader->is_target_too_long = true;
    if (reader->is_target_too_long) return H2_FIELD_TAKEN;
    *pseudo_field(&reader->pseudo, name) = keep(reader, value);
    return H2_FIELD_TAKEN;
}

/* Names that are known get their customary spelling, which costs no copy; HTTP/2 is sent lower case anyway. */
static struct slice keep_name(struct h2_field_reader *reader, struct slice name, nghttp2_rcbuf *buffer)
{
    enum header_id id = header_id_find(name);
    return id == HEADER_OTHER ? keep(reader, buffer) : header_id_name(id);
}

enum h2_field_result h2_reader_add(struct h2_field_reader *reader, nghttp2_rcbuf *name_buffer,
                                   nghttp2_rcbuf *value_buffer)
{
    struct slice name = bytes_of(name_buffer);
    if (name.at[0] == ':') return add_pseudo_field(reader, name, value_buffer);
    uint64_t total = (uint64_t)reader->bytes + name.length + bytes_of(value_buffer).length + FIELD_FRAME_BYTES;
    reader->bytes = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
    reader->count++;
    if (total > (uint64_t)reader->limits->header_bytes * FLOOD_FACTOR ||
        reader->count > reader->limits->header_count * FLOOD_FACTOR)
        return H2_FIELD_FLOOD;
    if (total > reader->limits->header_bytes || reader->count > reader->limits->header_count)
        reader->is_too_large = true;
    if (reader->is_too_large || reader->is_out_of_memory) return H2_FIELD_TAKEN;
    struct slice kept_name = keep_name(reader, name, name_buffer), value = keep(reader, value_buffer);
    if (reader->is_out_of_memory || !headers_add_from_wire(reader->headers, kept_name, value))
        reader->is_out_of_memory = true;
    return H2_FIELD_TAKEN;
}

static bool refuse(struct error *error, unsigned status, const char *reason, const char *text)
{
    h1_refuse(H1_FROM_CLIENT, error, status, reason, text);
    return false;
}

static bool no_memory(struct error *error)
{
    h1_no_memory(error);
    return false;
}

static bool has_framing_twin(const struct headers *headers)
{
    for (const struct header *item = headers_next(headers, NULL); item; item = headers_next(headers, item)) {
        if (item->id == HEADER_OTHER && http_is_framing_twin(item->name)) return true;
    }
    return false;
}

static bool check_fields(const struct h2_field_reader *reader, enum h1_sender sender, struct error *error)
{
    if (reader->is_out_of_memory) return no_memory(error);
    if (reader->is_too_large)
        h1_refuse(sender, error, 431, "headers-too-large", "its fields are too many or too large");
    else if (has_framing_twin(reader->headers))
        h1_refuse(sender, error, 400, "ambiguous-framing", "a field named like a framing one, with '_'");
    else
        return true;
    return false;
}

/* "; " between them, as HTTP/1.1 and those behind it know a cookie field (RFC 9113 8.2.3). */
static bool join_cookies(struct headers *headers)
{
    struct header *first = headers_find_known(headers, HEADER_COOKIE), *item = first;
    if (!first || !headers_find_next(headers, first)) return true;
    size_t size = 0;
    for (; item; item = headers_find_next(headers, item)) size += item->value.length + 2;
    char *joined = arena_allocate(headers->arena, size), *at = joined;
    if (!joined) return false;
    for (item = first; item; item = headers_find_next(headers, item)) {
        at = mempcpy(at, item->value.at, item->value.length);
        at = mempcpy(at, "; ", 2);
    }
    while ((item = headers_find_next(headers, first)) != NULL) headers_remove_one(headers, item);
    first->value = slice_of(joined, size - 2);
    return true;
}

static bool read_content_length(const struct headers *headers, bool *has_length, uint64_t *length)
{
    const struct header *field = headers_find_known(headers, HEADER_CONTENT_LENGTH);
    *has_length = field != NULL;
    *length = 0;
    if (!field) return true;
    return !headers_find_next(headers, field) && slice_parse_uint64(field->value, length) && *length <= INT64_MAX;
}

static bool read_method(const struct h2_pseudo_fields *pseudo, struct request_head *head, struct error *error)
{
    head->method_text = pseudo->method;
    if (pseudo->method.length > METHOD_BYTES_MAX)
        return refuse(error, 501, "method-not-implemented", "its method is too long");
    head->method = method_find(pseudo->method);
    if (head->method == METHOD_CONNECT && slice_is_absent(pseudo->protocol))
        return refuse(error, 501, "method-not-implemented", "CONNECT is not served");
    return true;
}

/* A client of HTTP/2 sends none, and what it sends nevertheless means nothing (RFC 8441 5); a backend of HTTP/1.1 wants one. */
static bool set_websocket_key(struct headers *headers)
{
    uint8_t random[16];
    char *key = arena_allocate(headers->arena, WEBSOCKET_KEY_BYTES);
    if (!key) return false;
    random_secure_bytes(random, sizeof random);
    websocket_write_key(random, key);
    return headers_set(headers, WEBSOCKET_KEY_FIELD, slice_of(key, WEBSOCKET_KEY_BYTES));
}

/* RFC 8441 4: what an HTTP/1.1 client asks for by a GET with Upgrade, in the form that everyone behind knows. A protocol that nobody
 * knows is 501 (RFC 9220 3). */
static bool read_protocol(const struct h2_pseudo_fields *pseudo, struct request_head *head, struct error *error)
{
    if (slice_is_absent(pseudo->protocol)) return true;
    if (!slice_equal_ignore_case(pseudo->protocol, SLICE("websocket")))
        return refuse(error, 501, "method-not-implemented", "CONNECT for a protocol that is not served");
    head->method = METHOD_GET;
    head->method_text = method_name(METHOD_GET);
    head->wants_upgrade = true;
    if (headers_add_from_wire(&head->headers, header_id_name(HEADER_UPGRADE), pseudo->protocol) &&
        headers_add_from_wire(&head->headers, header_id_name(HEADER_CONNECTION), SLICE("Upgrade")) &&
        set_websocket_key(&head->headers))
        return true;
    return no_memory(error);
}

static bool read_target(const struct h2_field_reader *reader, struct request_head *head, struct error *error)
{
    const struct h2_pseudo_fields *pseudo = &reader->pseudo;
    if (!slice_equal_ignore_case(pseudo->scheme, SLICE("http")) &&
        !slice_equal_ignore_case(pseudo->scheme, SLICE("https")))
        return refuse(error, 400, "bad-target", "a scheme other than http and https");
    if (!target_parse(pseudo->path, reader->limits->merge_slashes, head->headers.arena, &head->target, error))
        return false;
    bool is_asterisk = head->target.form == TARGET_ASTERISK;
    if (head->target.form != TARGET_ORIGIN && !is_asterisk)
        return refuse(error, 400, "bad-target", "a :path that doesn't begin with \"/\"");
    if (is_asterisk && head->method != METHOD_OPTIONS)
        return refuse(error, 400, "bad-target", "the target \"*\" without OPTIONS");
    return true;
}

static bool read_host(const struct h2_pseudo_fields *pseudo, struct request_head *head, struct error *error)
{
    struct slice host;
    uint16_t port;
    bool has_field = headers_find_known(&head->headers, HEADER_HOST) != NULL;
    if (slice_is_absent(pseudo->authority)) {
        if (!has_field) return refuse(error, 400, "bad-host", "neither :authority nor Host");
    } else if (!target_parse_authority(pseudo->authority, head->headers.arena, &host, &port)) {
        return refuse(error, 400, "bad-host", "an :authority that is no host name");
    }
    if (!http_settle_host(head, pseudo->authority, pseudo->scheme, error)) return false;
    return has_field || headers_add_from_wire(&head->headers, header_id_name(HEADER_HOST), head->authority) ||
           no_memory(error);
}

static bool read_request_body(bool ended, struct request_head *head, struct error *error)
{
    bool has_length;
    uint64_t length;
    if (!read_content_length(&head->headers, &has_length, &length))
        return refuse(error, 400, "ambiguous-framing", "a Content-Length that is no plain number, or more than one");
    if (ended && length > 0) return refuse(error, 400, "ambiguous-framing", "a Content-Length and no content");
    if (head->wants_upgrade) return true; /* what follows is no content (RFC 8441 5) */
    head->has_body = has_length || !ended;
    head->body_length = has_length ? length : ended ? 0 : BODY_LENGTH_UNKNOWN;
    if (head->method == METHOD_TRACE && head->body_length > 0) /* RFC 9110 9.3.8 */
        return refuse(error, 400, "ambiguous-framing", "TRACE with a body");
    return true;
}

bool h2_reader_end_request(struct h2_field_reader *reader, bool ended, struct request_head *head, struct error *error)
{
    const struct h2_pseudo_fields *pseudo = &reader->pseudo;
    head->version = HTTP_2;
    if (reader->is_target_too_long) return refuse(error, 414, "uri-too-long", "its target is too long");
    if (reader->is_out_of_memory) return no_memory(error);
    if (!read_method(pseudo, head, error)) return false;
    if (!read_target(reader, head, error)) return false;
    if (!check_fields(reader, H1_FROM_CLIENT, error)) return false;
    if (!read_protocol(pseudo, head, error) || !read_host(pseudo, head, error)) return false;
    if (!read_request_body(ended, head, error) || !http_settle_expectation(head, error)) return false;
    return join_cookies(&head->headers) || no_memory(error);
}

static bool bad_response(struct error *error, const char *reason, const char *text)
{
    h1_refuse(H1_FROM_BACKEND, error, 502, reason, text);
    return false;
}

/* nghttp2 has seen to three digits. */
static bool read_status(struct slice text, struct response_head *head, struct error *error)
{
    uint64_t status;
    if (text.length != 3 || !slice_parse_uint64(text, &status) || status < 100 || status > 599)
        return bad_response(error, "bad-status-line", "a status outside 100 to 599");
    head->status = (uint16_t)status;
    return true;
}

bool h2_reader_end_response(struct h2_field_reader *reader, bool ended, enum method method, struct response_head *head,
                            struct error *error)
{
    head->version = HTTP_2;
    if (reader->is_target_too_long) return bad_response(error, "bad-status-line", "a status that is too long");
    if (!check_fields(reader, H1_FROM_BACKEND, error) || !read_status(reader->pseudo.status, head, error)) return false;
    bool has_length, bodiless = head->status < 200 || head->status == 204;
    uint64_t length;
    if (!read_content_length(&head->headers, &has_length, &length))
        return bad_response(error, "ambiguous-framing", "a Content-Length that is no plain number, or more than one");
    if (bodiless && length > 0)
        return bad_response(error, "ambiguous-framing", "a 1xx or 204 status with a Content-Length");
    bool takes_body = method != METHOD_HEAD && !status_has_no_content(head->status);
    head->has_body = takes_body && !(ended && length == 0);
    head->body_length = bodiless || (takes_body && ended) ? length : has_length ? length : BODY_LENGTH_UNKNOWN;
    return true;
}

bool h2_reader_end_trailers(struct h2_field_reader *reader, enum blame blame, struct error *error)
{
    if (!check_fields(reader, blame == BLAME_CLIENT ? H1_FROM_CLIENT : H1_FROM_BACKEND, error)) return false;
    struct headers *trailers = reader->headers;
    for (struct header *item = headers_next(trailers, NULL); item; item = headers_next(trailers, item)) {
        if (!http_is_allowed_in_trailers(item->name)) headers_remove_one(trailers, item);
    }
    return true;
}

/* --- writing --- */

/* These would fill the other side's table with what never comes again, or show a secret to who can guess and measure
 * (RFC 7541 7.1.3). */
#define NEVER_INDEXED                                                                                        \
    (HEADER_BIT(HEADER_AUTHORIZATION) | HEADER_BIT(HEADER_PROXY_AUTHORIZATION) | HEADER_BIT(HEADER_COOKIE) | \
     HEADER_BIT(HEADER_SET_COOKIE) | HEADER_BIT(HEADER_X_API_KEY) | HEADER_BIT(HEADER_X_REQUEST_ID) |        \
     HEADER_BIT(HEADER_TRACEPARENT) | HEADER_BIT(HEADER_IDEMPOTENCY_KEY))

static bool begin_fields(struct h2_fields *fields, size_t count_max, struct arena *arena)
{
    fields->items = arena_allocate(arena, count_max * sizeof *fields->items);
    fields->count = 0;
    return fields->items != NULL;
}

static void put(struct h2_fields *fields, struct slice name, struct slice value, uint8_t flags)
{
    fields->items[fields->count++] = (nghttp2_nv){
        .name = (uint8_t *)name.at,
        .value = (uint8_t *)(value.at ? value.at : ""),
        .namelen = name.length,
        .valuelen = value.length,
        .flags = flags,
    };
}

/* White space around a value, which only a filter can have put there, would make the field invalid (RFC 9113 8.2.1). */
static bool put_fields_but(struct h2_fields *fields, const struct headers *headers, uint64_t skipped,
                           struct slice skipped_name, struct error *error)
{
    for (unsigned i = 0; i < headers->count; i++) {
        const struct header *item = &headers->items[i];
        if (!item->name.at || (skipped & HEADER_BIT(item->id))) continue;
        if (UNLIKELY(skipped_name.at && slice_equal_ignore_case(item->name, skipped_name))) continue;
        if (!http_may_send(item, error)) return false;
        bool is_never_indexed = item->id != HEADER_OTHER && (NEVER_INDEXED & HEADER_BIT(item->id));
        struct slice value = item->from_wire ? item->value : slice_trim(item->value);
        put(fields, item->name, value, is_never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
    }
    return true;
}

static bool put_fields(struct h2_fields *fields, const struct headers *headers, uint64_t skipped, struct error *error)
{
    return put_fields_but(fields, headers, skipped, SLICE_ABSENT, error);
}

static bool out_of_memory(struct error *error)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "out of memory for a head");
}

static bool put_length(struct h2_fields *fields, uint64_t length, struct arena *arena)
{
    if (length == BODY_LENGTH_UNKNOWN) return true;
    struct slice text = length == 0 ? SLICE("0") : arena_format(arena, "%llu", (unsigned long long)length);
    if (slice_is_absent(text)) return false;
    put(fields, SLICE("content-length"), text, NGHTTP2_NV_FLAG_NONE);
    return true;
}

void h2_settle_length(struct response_head *head, enum method method, bool has_body)
{
    if (status_has_no_content(head->status)) {
        bool is_known = head->body_length > 0 && head->body_length != BODY_LENGTH_UNKNOWN;
        if (head->status != 304 || !is_known) head->body_length = BODY_LENGTH_UNKNOWN;
    } else if (!has_body && method != METHOD_HEAD) {
        head->body_length = 0;
    }
}

bool h2_write_response(const struct response_head *head, struct slice date, struct arena *arena,
                       struct h2_fields *fields, struct error *error)
{
    char *status = arena_allocate(arena, 3);
    if (!status || !begin_fields(fields, 1u + head->headers.count + OWN_FIELDS_MAX, arena)) return out_of_memory(error);
    status[0] = (char)('0' + head->status / 100 % 10);
    status[1] = (char)('0' + head->status / 10 % 10);
    status[2] = (char)('0' + head->status % 10);
    put(fields, SLICE(":status"), slice_of(status, 3), NGHTTP2_NV_FLAG_NONE);
    if (!put_fields(fields, &head->headers, HTTP_HOP_FIELDS, error)) return false;
    bool wants_date = head->status >= 200 && !headers_find_known(&head->headers, HEADER_DATE);
    if (wants_date && date.length > 0) put(fields, SLICE("date"), date, NGHTTP2_NV_FLAG_NONE);
    if (head->status < 200) return true;
    return put_length(fields, head->body_length, arena) || out_of_memory(error);
}

static bool check_request_line(const struct request_head *head, struct slice target, struct error *error)
{
    if (http_is_clean_to_send(target) && header_name_is_valid(head->method_text) &&
        http_is_clean_to_send(head->authority))
        return true;
    return error_set(error, BLAME_US, RETRY_NEVER, 500, "bad-request-line",
                     "a method, target or host to send holds a character that can't be");
}

bool h2_write_request(const struct request_head *head, struct slice scheme, struct slice target, bool upgrade,
                      struct arena *arena, struct h2_fields *fields, struct error *error)
{
    if (!check_request_line(head, target, error)) return false;
    if (!begin_fields(fields, PSEUDO_FIELDS_MAX + (size_t)head->headers.count + OWN_FIELDS_MAX, arena))
        return out_of_memory(error);
    put(fields, SLICE(":method"), upgrade ? SLICE("CONNECT") : head->method_text, NGHTTP2_NV_FLAG_NONE);
    if (upgrade) put(fields, SLICE(":protocol"), headers_value(&head->headers, HEADER_UPGRADE), NGHTTP2_NV_FLAG_NONE);
    put(fields, SLICE(":scheme"), scheme, NGHTTP2_NV_FLAG_NONE);
    if (head->authority.length > 0) put(fields, SLICE(":authority"), head->authority, NGHTTP2_NV_FLAG_NONE);
    put(fields, SLICE(":path"), target, NGHTTP2_NV_FLAG_NONE);
    struct slice left_out = upgrade ? WEBSOCKET_KEY_FIELD : SLICE_ABSENT; /* RFC 8441 5 */
    if (!put_fields_but(fields, &head->headers, HTTP_HOP_FIELDS | HEADER_BIT(HEADER_HOST), left_out, error))
        return false;
    put(fields, SLICE("te"), SLICE("trailers"), NGHTTP2_NV_FLAG_NONE);
    if (!head->has_body) return true;
    return put_length(fields, head->body_length, arena) || out_of_memory(error);
}

bool h2_write_trailers(const struct headers *trailers, struct arena *arena, struct h2_fields *fields,
                       struct error *error)
{
    if (!begin_fields(fields, trailers->count + 1u, arena)) return out_of_memory(error);
    return put_fields(fields, trailers, HTTP_HOP_FIELDS | HEADER_BIT(HEADER_HOST), error);
}
