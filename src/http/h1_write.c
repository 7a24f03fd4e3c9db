/* Heads and chunk frames on their way out: always written anew, whatever came in. */
#include "base/digits.h"
#include "base/words.h"
#include "http/private.h"
#include "http/status.h"

/* Framing and connection fields, Date, the empty line: more than any combination of them takes. */
#define OWN_FIELDS_BYTES_MAX 192
#define DATE_BYTES_MAX 32

static char *put(char *into, struct slice bytes) { return bytes.length ? mempcpy(into, bytes.at, bytes.length) : into; }

#define PUT_TEXT(into, text) ((char *)mempcpy((into), (text), sizeof(text) - 1))

static size_t fields_size(const struct headers *);
static char *put_fields(char *into, const struct headers *, uint64_t skipped, struct error *);
static char *put_framing(char *into, enum h1_framing, uint64_t body_length);
static char *put_connection(char *into, bool keep_alive, enum http_version to);
static char *put_upgrade(char *into, const struct headers *);
static bool wants_trailers(const struct headers *);
static char *put_wish_for_trailers(char *into, bool keep_alive);

size_t h1_request_head_size(const struct request_head *head, struct slice target)
{
    return head->method_text.length + target.length + head->authority.length + fields_size(&head->headers) +
           OWN_FIELDS_BYTES_MAX;
}

char *h1_write_request_head(const struct request_head *head, struct slice target, enum h1_framing framing,
                            bool keep_alive, bool upgrade, char *into, struct error *error)
{
    if (!http_is_clean_to_send(target) || !header_name_is_valid(head->method_text) ||
        !http_is_clean_to_send(head->authority)) {
        error_set(error, BLAME_US, RETRY_NEVER, 500, "bad-request-line",
                  "a method, target or host to send holds a character that can't be");
        return NULL;
    }
    into = put(into, head->method_text);
    *into++ = ' ';
    into = put(into, target);
    into = PUT_TEXT(into, " HTTP/1.1\r\nHost: ");
    into = put(into, head->authority);
    into = PUT_TEXT(into, "\r\n");
    into = put_fields(into, &head->headers, HTTP_HOP_FIELDS | HEADER_BIT(HEADER_HOST), error);
    if (!into) return NULL;
    into = put_framing(into, framing, head->body_length);
    if (upgrade)
        into = put_upgrade(into, &head->headers);
    else if (wants_trailers(&head->headers))
        into = put_wish_for_trailers(into, keep_alive);
    else
        into = put_connection(into, keep_alive, HTTP_1_1);
    return PUT_TEXT(into, "\r\n");
}

size_t h1_response_head_size(const struct response_head *head)
{
    return sizeof("HTTP/1.1 200 \r\n") + status_reason(head->status).length + fields_size(&head->headers) +
           OWN_FIELDS_BYTES_MAX;
}

static char *put_status_line(char *into, unsigned status)
{
    into = PUT_TEXT(into, "HTTP/1.1 ");
    *into++ = (char)('0' + status / 100 % 10);
    *into++ = (char)('0' + status / 10 % 10);
    *into++ = (char)('0' + status % 10);
    *into++ = ' ';
    into = put(into, status_reason(status));
    return PUT_TEXT(into, "\r\n");
}

char *h1_write_response_head(const struct response_head *head, enum h1_framing framing, bool keep_alive,
                             enum http_version to, bool upgrade, struct slice date, char *into, struct error *error)
{
    PROMISE(date.length <= DATE_BYTES_MAX);
    into = put_status_line(into, head->status);
    into = put_fields(into, &head->headers, HTTP_HOP_FIELDS, error);
    if (!into) return NULL;
    if (head->status >= 200 && !headers_find_known(&head->headers, HEADER_DATE)) {
        into = PUT_TEXT(into, "Date: ");
        into = put(into, date);
        into = PUT_TEXT(into, "\r\n");
    }
    into = put_framing(into, framing, head->body_length);
    if (upgrade)
        into = put_upgrade(into, &head->headers);
    else if (head->status >= 200) /* the connection's fate is told by the final head */
        into = put_connection(into, keep_alive, to);
    return PUT_TEXT(into, "\r\n");
}

size_t h1_write_chunk_head(uint64_t size, char into[H1_CHUNK_HEAD_BYTES])
{
    unsigned digits = size ? (67 - (unsigned)__builtin_clzll(size)) / 4 : 1;
    for (unsigned i = digits; i > 0; i--, size >>= 4) into[i - 1] = "0123456789abcdef"[size & 15];
    into[digits] = '\r';
    into[digits + 1] = '\n';
    return digits + 2;
}

size_t h1_trailer_size(const struct headers *trailers)
{
    return sizeof("0\r\n\r\n") + (trailers ? fields_size(trailers) : 0);
}

char *h1_write_trailers(const struct headers *trailers, char *into, struct error *error)
{
    into = PUT_TEXT(into, "0\r\n");
    if (trailers) into = put_fields(into, trailers, HTTP_HOP_FIELDS | HEADER_BIT(HEADER_HOST), error);
    return into ? PUT_TEXT(into, "\r\n") : NULL;
}

static size_t fields_size(const struct headers *headers)
{
    size_t size = 0;
    for (unsigned i = 0; i < headers->count; i++)
        size += headers->items[i].name.length + headers->items[i].value.length + sizeof(": \r\n") - 1;
    return size;
}

static bool word_is_clean(uint64_t word)
{
    return !word_holds_below(word, ' ' + 1) && !word_holds_zero(word ^ WORD_OF(0x7f));
}

bool http_is_clean_to_send(struct slice text)
{
    size_t at = 0;
    for (; at + WORD_BYTES <= text.length; at += WORD_BYTES) {
        if (!word_is_clean(word_load(text.at + at))) return false;
    }
    for (; at < text.length; at++) {
        if ((uint8_t)text.at[at] <= ' ' || text.at[at] == 0x7f) return false;
    }
    return true;
}

bool http_check_field_to_send(const struct header *item, struct error *error)
{
    bool name_is_good = item->name_checked || header_name_is_valid(item->name);
    if (name_is_good && (item->value_checked || header_value_is_valid(item->value))) return true;
    return error_set(error, BLAME_US, RETRY_NEVER, 500, "bad-field",
                     "field \"%.*s\" to send has a bad name, or a control character in its value",
                     SLICE_PRINT(item->name));
}

static char *put_fields(char *into, const struct headers *headers, uint64_t skipped, struct error *error)
{
    for (unsigned i = 0; i < headers->count; i++) {
        const struct header *item = &headers->items[i];
        if (!item->name.at || (skipped & HEADER_BIT(item->id))) continue;
        if (!http_may_send(item, error)) return NULL;
        into = put(into, item->name);
        into = PUT_TEXT(into, ": ");
        into = put(into, item->value);
        into = PUT_TEXT(into, "\r\n");
    }
    return into;
}

static char *put_framing(char *into, enum h1_framing framing, uint64_t body_length)
{
    switch (framing) {
    case H1_FRAMING_LENGTH:
        into = PUT_TEXT(into, "Content-Length: ");
        into = digits_write(into, body_length);
        return PUT_TEXT(into, "\r\n");
    case H1_FRAMING_CHUNKED: return PUT_TEXT(into, "Transfer-Encoding: chunked\r\n");
    case H1_FRAMING_NONE:
    case H1_FRAMING_UNTIL_CLOSE: break;
    }
    return into;
}

/* RFC 9112 9.3: HTTP/1.1 keeps a connection unless told, HTTP/1.0 only if told. */
static char *put_connection(char *into, bool keep_alive, enum http_version to)
{
    if (!keep_alive) return PUT_TEXT(into, "Connection: close\r\n");
    return to == HTTP_1_0 ? PUT_TEXT(into, "Connection: keep-alive\r\n") : into;
}

/* One of our own; what a client wrote was for its hop. */
static bool wants_trailers(const struct headers *headers)
{
    const struct header *field = headers_find_known(headers, HEADER_TE);
    return field && !field->from_wire && slice_equal(field->value, SLICE("trailers"));
}

/* Some servers send trailers only to who says that it takes them (RFC 9110 6.5.1, 10.1.4). */
static char *put_wish_for_trailers(char *into, bool keep_alive)
{
    into = PUT_TEXT(into, "TE: trailers\r\n");
    return keep_alive ? PUT_TEXT(into, "Connection: TE\r\n") : PUT_TEXT(into, "Connection: TE, close\r\n");
}

static char *put_upgrade(char *into, const struct headers *headers)
{
    struct slice protocol = headers_value(headers, HEADER_UPGRADE);
    into = PUT_TEXT(into, "Connection: upgrade\r\nUpgrade: ");
    into = put(into, protocol);
    return PUT_TEXT(into, "\r\n");
}
