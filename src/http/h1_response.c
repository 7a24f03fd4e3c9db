/* Response heads: the status line (RFC 9112 4) and how the body that follows ends (RFC 9112 6.3). */
#include "http/private.h"

#include "http/status.h"

static enum h1_result read_status_line(struct h1_reading *, struct response_head *);
static enum h1_result read_body(struct h1_reading *, enum method, struct response_head *);

static enum h1_result refuse(struct h1_reading *reading, const char *reason, const char *text)
{
    return h1_refuse(H1_FROM_BACKEND, reading->error, 502, reason, text);
}

enum h1_result h1_parse_response(struct h1_parser *parser, const char *bytes, size_t length,
                                 const struct h1_limits *limits, enum method method, struct response_head *head,
                                 struct error *error)
{
    struct h1_reading reading = { parser, bytes, length, limits, error, H1_FROM_BACKEND };
    enum h1_result result = H1_COMPLETE;
    if (parser->stage < H1_STAGE_FIELDS) result = read_status_line(&reading, head);
    if (result == H1_COMPLETE) result = h1_read_fields(&reading, &head->headers);
    if (result == H1_COMPLETE) result = read_body(&reading, method, head);
    if (result != H1_COMPLETE) return result;
    parser->head_length = parser->line_start;
    parser->stage = H1_STAGE_CHECKED;
    return H1_COMPLETE;
}

void h1_response_rebase(struct response_head *head, const char *old_base, size_t length, const char *new_base)
{
    headers_rebase(&head->headers, old_base, length, new_base);
}

/* HTTP-version SP 3DIGIT SP [reason-phrase]. The second space belongs there even without a reason. */
static enum h1_result read_status_line(struct h1_reading *reading, struct response_head *head)
{
    struct h1_parser *parser = reading->parser;
    const size_t status_at = sizeof("HTTP/1.1 ") - 1, reason_at = status_at + 4;
    struct slice line;
    switch (h1_take_line(reading, reading->limits->request_line_bytes, &line)) {
    case H1_LINE_WHOLE: break;
    case H1_LINE_MORE: return H1_MORE;
    case H1_LINE_TOO_LONG: return refuse(reading, "bad-status-line", "its first line is too long");
    case H1_LINE_BAD: return H1_BAD;
    }
    unsigned major = 0;
    if (line.length < reason_at || !h1_read_version(line.at, &major, &head->version) || major != 1)
        return refuse(reading, "bad-status-line", "its first line doesn't begin with HTTP/1.x and a status");
    const char *status = line.at + status_at;
    if (status[-1] != ' ' || !byte_is_digit(status[0]) || !byte_is_digit(status[1]) || !byte_is_digit(status[2]) ||
        status[3] != ' ')
        return refuse(reading, "bad-status-line", "a status that isn't three digits between spaces");
    head->status = (uint16_t)((status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0'));
    if (head->status < 100 || head->status > 599)
        return refuse(reading, "bad-status-line", "a status outside 100 to 599");
    parser->first_line_end = parser->line_start;
    parser->stage = H1_STAGE_FIELDS;
    return H1_COMPLETE;
}

static enum h1_result read_body(struct h1_reading *reading, enum method method, struct response_head *head)
{
    struct h1_parser *parser = reading->parser;
    struct h1_body_fields body;
    if (h1_read_body_fields(reading, head->version, &head->headers, &body) != H1_COMPLETE) return H1_BAD;
    bool bodiless = head->status < 200 || head->status == 204;
    /* RFC 9110 8.6 and RFC 9112 6.1 forbid both fields here: who obeys them waits for a body that others don't see. */
    if (bodiless && (body.chunked || body.length > 0))
        return refuse(reading, "ambiguous-framing", "a 1xx or 204 status with fields that announce a body");

    head->has_body = method != METHOD_HEAD && !status_has_no_content(head->status);
    head->body_length = bodiless ? 0 : body.has_length ? body.length : BODY_LENGTH_UNKNOWN;
    parser->chunked = body.chunked;
    if (h1_read_connection(reading, head->version, &head->headers) != H1_COMPLETE) return H1_BAD;
    if (head->has_body && !body.chunked && !body.has_length)
        parser->keep_alive = false; /* it ends with the connection */
    return H1_COMPLETE;
}
