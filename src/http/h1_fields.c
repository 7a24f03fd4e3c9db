/* What the heads of requests and responses have in common: lines, fields, and the fields that frame a body. */
#include "http/private.h"

/* Each option that Connection names is looked for among all fields: the product must stay small. */
#define CONNECTION_BYTES_MAX 1024

void h1_parser_init(struct h1_parser *parser) { *parser = (struct h1_parser){ .stage = H1_STAGE_START }; }

enum h1_result h1_refuse(enum h1_sender sender, struct error *error, unsigned status, const char *reason,
                         const char *text)
{
    bool client = sender == H1_FROM_CLIENT;
    error_set(error, client ? BLAME_CLIENT : BLAME_UPSTREAM, RETRY_NEVER, client ? (uint16_t)status : 502, reason,
              "%s: %s", client ? "request" : "response", text);
    return H1_BAD;
}

enum h1_result h1_no_memory(struct error *error)
{
    error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "no memory for the head of a message");
    return H1_BAD;
}

enum h1_line h1_take_line(struct h1_reading *reading, size_t bytes_max, struct slice *line)
{
    struct h1_parser *parser = reading->parser;
    const char *start = reading->bytes + parser->line_start, *end = reading->bytes + reading->length;
    /* One byte more than allowed is enough to know. */
    const char *visible_end = (size_t)(end - start) > bytes_max ? start + bytes_max + 1 : end;
    const char *scanned = reading->bytes + parser->scanned;
    if (scanned > visible_end) return H1_LINE_TOO_LONG; /* a reload has lowered the limit since */
    const char *stop = http_find_control(scanned, visible_end);
    if (stop < visible_end && *stop == '\r' && stop + 1 < end && stop[1] == '\n') {
        *line = slice_of(start, (size_t)(stop - start));
        parser->line_start = parser->scanned = (uint32_t)(stop + 2 - reading->bytes);
        return H1_LINE_WHOLE;
    }
    if (stop == visible_end && (size_t)(visible_end - start) > bytes_max) return H1_LINE_TOO_LONG;
    if (stop == visible_end || (*stop == '\r' && stop + 1 == end)) {
        parser->scanned = (uint32_t)(stop - reading->bytes);
        return H1_LINE_MORE;
    }
    const char *complaint = *stop == '\r'   ? "a CR without LF in its head"
                            : *stop == '\n' ? "an LF without CR in its head"
                                            : "a control character in its head"; /* RFC 9112 2.2, RFC 9110 5.5 */
    h1_refuse(reading->sender, reading->error, 400, "bad-line", complaint);
    return H1_LINE_BAD;
}

bool h1_split_field(struct slice line, struct slice *name, struct slice *value)
{
    const char *at = line.at, *end = line.at + line.length;
    while (byte_is(*at, BYTE_TOKEN)) at++;
    if (at == line.at || *at != ':') return false;
    *name = slice_of(line.at, (size_t)(at - line.at));
    at++;
    while (byte_is_blank(*at)) at++;
    while (end > at && byte_is_blank(end[-1])) end--;
    *value = slice_of(at, (size_t)(end - at));
    return true;
}

const char *h1_field_complaint(struct slice line)
{
    struct slice name = slice_before(line, slice_find_byte(line, ':'));
    if (line.length && byte_is_blank(line.at[0]))
        return "a folded field line, or white space before the first one"; /* RFC 9112 5.2 */
    if (name.length == line.length) return "a field line without a colon";
    if (name.length == 0) return "a field without a name";
    if (byte_is_blank(name.at[name.length - 1])) return "white space before a field's colon"; /* RFC 9112 5.1 */
    return "a field name with a character that isn't allowed";
}

bool http_is_framing_twin(struct slice name)
{
    static const struct slice twins[] = { { "Content_Length", 14 }, { "Transfer_Encoding", 17 } };
    for (size_t i = 0; i < COUNT_OF(twins); i++) {
        if (slice_equal_ignore_case(name, twins[i])) return true;
    }
    return false;
}

static enum h1_result refuse_too_large(struct h1_reading *reading, const char *text)
{
    return h1_refuse(reading->sender, reading->error, 431, "headers-too-large", text);
}

static enum h1_result add_field(struct h1_reading *reading, struct headers *headers, struct slice line)
{
    struct slice name, value;
    if (!h1_split_field(line, &name, &value))
        return h1_refuse(reading->sender, reading->error, 400, "bad-field", h1_field_complaint(line));
    if (headers->count >= reading->limits->header_count) return refuse_too_large(reading, "too many fields");
    if (!headers_add_from_wire(headers, name, value)) return h1_no_memory(reading->error);
    if (headers->items[headers->count - 1].id == HEADER_OTHER && http_is_framing_twin(name))
        return h1_refuse(reading->sender, reading->error, 400, "ambiguous-framing",
                         "a field named like a framing one, with '_'");
    return H1_MORE;
}

enum h1_result h1_read_fields(struct h1_reading *reading, struct headers *headers)
{
    const struct h1_parser *parser = reading->parser;
    size_t fields_end = (size_t)parser->first_line_end + reading->limits->header_bytes;
    for (;;) {
        size_t left = parser->line_start < fields_end ? fields_end - parser->line_start : 0; /* see h1_take_line */
        struct slice line;
        switch (h1_take_line(reading, left > 2 ? left - 2 : 0, &line)) {
        case H1_LINE_WHOLE: break;
        case H1_LINE_MORE: return H1_MORE;
        case H1_LINE_TOO_LONG: return refuse_too_large(reading, "its fields are too large");
        case H1_LINE_BAD: return H1_BAD;
        }
        if (line.length == 0) return H1_COMPLETE;
        enum h1_result result = add_field(reading, headers, line);
        if (UNLIKELY(result == H1_BAD)) return result;
    }
}

static enum h1_result refuse_framing(struct h1_reading *reading, const char *text)
{
    return h1_refuse(reading->sender, reading->error, 400, "ambiguous-framing", text);
}

enum h1_result h1_read_body_fields(struct h1_reading *reading, enum http_version version, const struct headers *headers,
                                   struct h1_body_fields *body)
{
    *body = (struct h1_body_fields){ 0 };
    const struct header *coding = headers_find_known(headers, HEADER_TRANSFER_ENCODING);
    const struct header *length = headers_find_known(headers, HEADER_CONTENT_LENGTH);
    if (coding) {
        if (version == HTTP_1_0) return refuse_framing(reading, "Transfer-Encoding in HTTP/1.0"); /* RFC 9112 6.1 */
        if (length) return refuse_framing(reading, "Content-Length beside Transfer-Encoding");    /* RFC 9112 6.3 */
        if (headers_find_next(headers, coding)) return refuse_framing(reading, "more than one Transfer-Encoding");
        /* Codings ignore case (RFC 9112 7), but not every reader does. */
        if (!slice_equal(coding->value, SLICE("chunked")))
            return refuse_framing(reading, "a Transfer-Encoding other than \"chunked\"");
        body->chunked = true;
    } else if (length) {
        if (headers_find_next(headers, length)) return refuse_framing(reading, "more than one Content-Length");
        if (!slice_parse_uint64(length->value, &body->length) || body->length > INT64_MAX)
            return refuse_framing(reading, "a Content-Length that is no plain number"); /* RFC 9110 8.6 */
        body->has_length = true;
    }
    return H1_COMPLETE;
}

enum h1_result h1_read_connection(struct h1_reading *reading, enum http_version version, const struct headers *headers)
{
    size_t bytes = 0;
    const struct header *field = headers_find_known(headers, HEADER_CONNECTION);
    for (; field; field = headers_find_next(headers, field)) bytes += field->value.length;
    if (bytes > CONNECTION_BYTES_MAX) return refuse_too_large(reading, "its Connection names too much");
    bool closes = headers_list_has(headers, HEADER_CONNECTION, SLICE("close"));
    reading->parser->keep_alive = !closes && (version != HTTP_1_0 ||
                                              headers_list_has(headers, HEADER_CONNECTION, SLICE("keep-alive")));
    return H1_COMPLETE;
}

bool h1_read_version(const char *at, unsigned *major, enum http_version *version)
{
    if (memcmp(at, "HTTP/", 5) != 0 || !byte_is_digit(at[5]) || at[6] != '.' || !byte_is_digit(at[7])) return false;
    *major = (unsigned)(at[5] - '0');
    /* A higher minor version is read as the highest we know (RFC 9110 2.5). */
    if (*major == 1) *version = at[7] == '0' ? HTTP_1_0 : HTTP_1_1;
    return true;
}

void slice_rebase(struct slice *slice, const char *old_base, size_t length, const char *new_base)
{
    /* As numbers: the old bytes may be gone. An absent slice is below every buffer. */
    uintptr_t offset = (uintptr_t)slice->at - (uintptr_t)old_base;
    if (slice->at && offset < length) slice->at = new_base + offset;
}
