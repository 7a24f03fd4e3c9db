/* Request heads: the request line (RFC 9112 3), then what fields must say about host, body, expectation and
 * connection. */
#include "http/private.h"

static enum h1_result read_request_line(struct h1_reading *, struct request_head *);
static enum h1_result split_request_line(struct h1_reading *, struct slice line, struct request_head *);
static enum h1_result check_target_form(struct h1_reading *, struct request_head *);
static enum h1_result read_host(struct h1_reading *, struct request_head *);
static enum h1_result read_body(struct h1_reading *, struct request_head *);

static enum h1_result refuse(struct h1_reading *reading, unsigned status, const char *reason, const char *text)
{
    return h1_refuse(H1_FROM_CLIENT, reading->error, status, reason, text);
}

enum h1_result h1_parse_request(struct h1_parser *parser, const char *bytes, size_t length,
                                const struct h1_limits *limits, struct request_head *head, struct error *error)
{
    struct h1_reading reading = { parser, bytes, length, limits, error, H1_FROM_CLIENT };
    enum h1_result result = H1_COMPLETE;
    if (parser->stage < H1_STAGE_FIELDS) result = read_request_line(&reading, head);
    if (result == H1_COMPLETE) result = h1_read_fields(&reading, &head->headers);
    if (result == H1_COMPLETE) result = read_host(&reading, head);
    if (result == H1_COMPLETE) result = read_body(&reading, head);
    if (result == H1_COMPLETE && !http_settle_expectation(head, error)) result = H1_BAD;
    if (result == H1_COMPLETE) result = h1_read_connection(&reading, head->version, &head->headers);
    if (result != H1_COMPLETE) return result;

    const struct headers *headers = &head->headers;
    /* RFC 9110 7.8: ignored in HTTP/1.0. */
    head->wants_upgrade = head->version == HTTP_1_1 && headers_find_known(headers, HEADER_UPGRADE) &&
                          headers_list_has(headers, HEADER_CONNECTION, SLICE("upgrade"));
    parser->head_length = parser->line_start;
    parser->stage = H1_STAGE_CHECKED;
    return H1_COMPLETE;
}

void h1_request_rebase(struct request_head *head, const char *old_base, size_t length, const char *new_base)
{
    struct slice *slices[] = { &head->method_text, &head->target.raw,   &head->target.scheme, &head->target.authority,
                               &head->target.path, &head->target.query, &head->authority,     &head->host };
    for (size_t i = 0; i < COUNT_OF(slices); i++) slice_rebase(slices[i], old_base, length, new_base);
    headers_rebase(&head->headers, old_base, length, new_base);
}

static enum h1_result take_request_line(struct h1_reading *reading, struct slice *line)
{
    switch (h1_take_line(reading, reading->limits->request_line_bytes, line)) {
    case H1_LINE_WHOLE: return H1_COMPLETE;
    case H1_LINE_MORE: return H1_MORE;
    case H1_LINE_TOO_LONG: return refuse(reading, 414, "uri-too-long", "its first line is too long");
    default: return H1_BAD;
    }
}

static enum h1_result read_request_line(struct h1_reading *reading, struct request_head *head)
{
    struct h1_parser *parser = reading->parser;
    struct slice line;
    enum h1_result result = take_request_line(reading, &line);
    if (result == H1_COMPLETE && line.length == 0 && parser->stage == H1_STAGE_START) {
        parser->stage =
            H1_STAGE_START_LINE; /* RFC 9112 2.2: one empty line before a request is left over from the one before */
        result = take_request_line(reading, &line);
    }
    if (result == H1_COMPLETE) result = split_request_line(reading, line, head);
    if (result != H1_COMPLETE) return result;
    if (head->method == METHOD_CONNECT) return refuse(reading, 501, "method-not-implemented", "CONNECT is not served");
    if (!target_parse(head->target.raw, reading->limits->merge_slashes, head->headers.arena, &head->target,
                      reading->error))
        return H1_BAD;
    parser->first_line_end = parser->line_start;
    parser->stage = H1_STAGE_FIELDS;
    return check_target_form(reading, head);
}

/* method SP request-target SP HTTP-version, with single spaces and nothing around (RFC 9112 3). */
static enum h1_result split_request_line(struct h1_reading *reading, struct slice line, struct request_head *head)
{
    const size_t version_bytes = sizeof("HTTP/1.1") - 1;
    const char *at = line.at, *end = line.at + line.length;
    while (byte_is(*at, BYTE_TOKEN)) at++; /* the CR behind the line is no token */
    head->method_text = slice_of(line.at, (size_t)(at - line.at));
    head->method = method_find(head->method_text);
    if (at == line.at || *at != ' ')
        return refuse(reading, 400, "bad-request-line", "its first line doesn't begin with a method");
    if (head->method_text.length > METHOD_BYTES_MAX)
        return refuse(reading, 501, "method-not-implemented", "its method is too long");
    at++;
    const char *version = end - version_bytes;
    unsigned major = 0;
    if (end - at < (ptrdiff_t)version_bytes + 2 || version[-1] != ' ' ||
        !h1_read_version(version, &major, &head->version))
        return refuse(reading, 400, "bad-request-line", "its first line doesn't end with a target and an HTTP version");
    head->target.raw = slice_of(at, (size_t)(version - 1 - at));
    if (major != 1) return refuse(reading, 505, "version-not-supported", "its major HTTP version is not 1");
    return H1_COMPLETE;
}

/* RFC 9112 3.2: which form goes with which method. */
static enum h1_result check_target_form(struct h1_reading *reading, struct request_head *head)
{
    struct target *target = &head->target;
    if (target->form == TARGET_AUTHORITY)
        return refuse(reading, 400, "bad-target", "a target in authority form without CONNECT");
    if (target->form == TARGET_ASTERISK && head->method != METHOD_OPTIONS)
        return refuse(reading, 400, "bad-target", "the target \"*\" without OPTIONS");
    /* An absolute target with neither path nor query means the server as a whole, as "*" does (RFC 9112 3.2.4). */
    if (target->form == TARGET_ABSOLUTE && head->method == METHOD_OPTIONS &&
        slice_equal(target->authority, slice_after(target->raw, target->scheme.length + 3))) {
        target->form = TARGET_ASTERISK;
        target->path = SLICE("*");
    }
    return H1_COMPLETE;
}

static bool refuse_host(struct error *error, const char *text)
{
    h1_refuse(H1_FROM_CLIENT, error, 400, "bad-host", text);
    return false;
}

static uint16_t port_or_default(uint16_t port, struct slice scheme)
{
    if (port) return port;
    return slice_equal_ignore_case(scheme, SLICE("https")) ? 443 : 80;
}

/* RFC 9112 3.2: at most one good Host. That it must agree with an absolute target is stricter than 3.2.2, where the
 * target wins: whoever logs, routes or caches by the other one would see another site. */
bool http_settle_host(struct request_head *head, struct slice authority, struct slice scheme, struct error *error)
{
    struct arena *arena = head->headers.arena;
    const struct header *field = headers_find_known(&head->headers, HEADER_HOST);
    if (field && headers_find_next(&head->headers, field)) return refuse_host(error, "more than one Host");
    if (field && !target_parse_authority(field->value, arena, &head->host, &head->port))
        return refuse_host(error, "a Host that is no host name");
    if (field) head->authority = field->value;
    if (slice_is_absent(authority)) return true;

    struct slice host;
    uint16_t port;
    if (!target_parse_authority(authority, arena, &host, &port)) { /* it was good before */
        h1_no_memory(error);
        return false;
    }
    if (field &&
        (!slice_equal(host, head->host) || port_or_default(port, scheme) != port_or_default(head->port, scheme)))
        return refuse_host(error, "a Host that disagrees with its target");
    head->authority = authority;
    head->host = host;
    head->port = port;
    return true;
}

static enum h1_result read_host(struct h1_reading *reading, struct request_head *head)
{
    const struct target *target = &head->target;
    if (head->version != HTTP_1_0 && !headers_find_known(&head->headers, HEADER_HOST))
        return refuse(reading, 400, "bad-host", "no Host");
    return http_settle_host(head, target->authority, target->scheme, reading->error) ? H1_COMPLETE : H1_BAD;
}

static enum h1_result read_body(struct h1_reading *reading, struct request_head *head)
{
    struct h1_body_fields body;
    if (h1_read_body_fields(reading, head->version, &head->headers, &body) != H1_COMPLETE) return H1_BAD;
    head->has_body = body.chunked || body.has_length;
    head->body_length = body.chunked ? BODY_LENGTH_UNKNOWN : body.length;
    reading->parser->chunked = body.chunked;
    if (head->method == METHOD_TRACE && head->body_length > 0) /* RFC 9110 9.3.8 */
        return refuse(reading, 400, "ambiguous-framing", "TRACE with a body");
    return H1_COMPLETE;
}

/* RFC 9110 10.1.1. Without a body there is nothing to wait for; HTTP/1.0 knows no interim answers. */
bool http_settle_expectation(struct request_head *head, struct error *error)
{
    const struct header *field = headers_find_known(&head->headers, HEADER_EXPECT);
    if (!field || head->version == HTTP_1_0) return true;
    if (!slice_equal_ignore_case(field->value, SLICE("100-continue")) || headers_find_next(&head->headers, field)) {
        h1_refuse(H1_FROM_CLIENT, error, 417, "expectation-failed", "an Expect other than \"100-continue\"");
        return false;
    }
    head->expects_continue = head->body_length > 0;
    return true;
}
