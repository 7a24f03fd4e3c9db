/* http/private.h: what the files of this room share: byte classes, the search for a line's end, the reading of a
 * head. */
#ifndef SLUICE_HTTP_PRIVATE_H
#define SLUICE_HTTP_PRIVATE_H

#include "http/h1.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What a byte may be part of; a bit each in http_byte_classes. */
enum byte_class {
    BYTE_TOKEN = 1,      /* tchar, RFC 9110 5.6.2 */
    BYTE_PATH = 2,       /* stands for itself in a path: pchar (RFC 3986 3.3) and '/', without '%' and '.' */
    BYTE_QUERY = 4,      /* stands for itself in a query (RFC 3986 3.4), and what browsers leave raw there: []{}|^` */
    BYTE_UNRESERVED = 8, /* RFC 3986 2.3 */
    BYTE_HOST = 16,      /* in a host name: letters, digits, '-', '.', '_', '~' */
    BYTE_HEX = 32,
};

extern const uint8_t http_byte_classes[256];

static inline bool byte_is(char byte, enum byte_class class) { return http_byte_classes[(uint8_t)byte] & class; }
static inline bool byte_is_blank(char byte) { return byte == ' ' || byte == '\t'; }
static inline bool byte_is_digit(char byte) { return byte >= '0' && byte <= '9'; }
/* No line of a head holds one: CTL but for HTAB (RFC 9110 5.5), CR and LF among them. */
static inline bool byte_is_control(char byte) { return ((uint8_t)byte < 0x20 && byte != '\t') || byte == 0x7f; }
/* Of a byte that is BYTE_HEX. */
static inline unsigned byte_hex_value(char byte)
{
    return byte <= '9' ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a' + 10);
}

#ifdef __SSE2__
static inline unsigned http_control_mask(__m128i bytes)
{
    const __m128i last_control = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), delete = _mm_set1_epi8(0x7f);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
    __m128i hits = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), low), _mm_cmpeq_epi8(bytes, delete));
    return (unsigned)_mm_movemask_epi8(hits);
}
#endif

/* The first control byte in [at, end), or end. */
static inline const char *http_find_control(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned mask = http_control_mask(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (mask) return at + __builtin_ctz(mask);
    }
    if (end - at >= 8) { /* most values are short; the upper half reads as zeros, which are control bytes */
        unsigned mask = http_control_mask(_mm_loadl_epi64((const __m128i *)(const void *)at)) & 0xff;
        if (mask) return at + __builtin_ctz(mask);
        at += 8;
    }
#endif
    while (at < end && !byte_is_control(*at)) at++;
    return at;
}

#define HEADER_BIT(id) ((uint64_t)1 << (id))
/* False means surely not. */
static inline bool headers_may_have(const struct headers *headers, enum header_id id)
{
    return headers->present & HEADER_BIT(id);
}

enum h1_stage {
    H1_STAGE_START, /* nothing yet; a request may have one empty line before it */
    H1_STAGE_START_LINE,
    H1_STAGE_FIELDS,
    H1_STAGE_CHECKED,
};

/* Whose bytes are read decides whom a refusal blames. */
enum h1_sender { H1_FROM_CLIENT, H1_FROM_BACKEND };

/* One call of h1_parse_request or h1_parse_response. */
struct h1_reading {
    struct h1_parser *parser;
    const char *bytes;
    size_t length;
    const struct h1_limits *limits;
    struct error *error;
    enum h1_sender sender;
};

/* Fills *error; `status` is what a client gets for its own fault, a backend's is always 502. Returns H1_BAD. */
enum h1_result h1_refuse(enum h1_sender, struct error *, unsigned status, const char *reason, const char *text);
enum h1_result h1_no_memory(struct error *);

enum h1_line {
    H1_LINE_WHOLE,
    H1_LINE_MORE,
    H1_LINE_TOO_LONG, /* more than bytes_max without its CRLF */
    H1_LINE_BAD,      /* *error is filled: a control byte, a CR without LF or an LF without CR */
};

/* The line at parser->line_start; the parser moves behind it. What it says depends on the bytes alone, not on how
 * many calls they came in. Bytes of a line that isn't whole yet are looked at once. */
enum h1_line h1_take_line(struct h1_reading *, size_t bytes_max, struct slice *line);

/* Splits "name: value". A CR must stand behind the line. False: not a field line (RFC 9112 5). */
bool h1_split_field(struct slice line, struct slice *name, struct slice *value);
/* What is wrong with a line that h1_split_field refused. Static. */
const char *h1_field_complaint(struct slice line);

/* Field lines up to the empty line. */
enum h1_result h1_read_fields(struct h1_reading *, struct headers *);

struct h1_body_fields {
    bool chunked;
    bool has_length;
    uint64_t length; /* at most INT64_MAX */
};

/* Content-Length and Transfer-Encoding, where nobody could read them differently (RFC 9112 6.1 to 6.3); else H1_BAD. */
enum h1_result h1_read_body_fields(struct h1_reading *, enum http_version, const struct headers *,
                                   struct h1_body_fields *);

/* Whether the connection is kept (RFC 9112 9.3) goes to the parser. */
enum h1_result h1_read_connection(struct h1_reading *, enum http_version, const struct headers *);
/* "HTTP/1.1" and the like: 8 bytes. False: no version at all. `major` other than 1 leaves *version as it is. */
bool h1_read_version(const char *at, unsigned *major, enum http_version *version);

/* What a request of any version is held to. */
/* Content_Length and Transfer_Encoding are other names to HTTP and the same ones to backends that turn '-' into '_'
 * (CGI, RFC 3875 4.1.18): two readings. */
bool http_is_framing_twin(struct slice name);
/* RFC 9110 6.5.1. */
bool http_is_allowed_in_trailers(struct slice name);
/* Fills authority, host and port from the Host field and from what the target says, which is absent or good already. At most one good
 * Host, and it must agree with the target: else false and *error. */
bool http_settle_host(struct request_head *, struct slice authority, struct slice scheme, struct error *) MUST_USE;
/* RFC 9110 10.1.1; body_length is known. False: 417. */
bool http_settle_expectation(struct request_head *, struct error *) MUST_USE;

/* What no message is sent with, whatever version it is in. */
/* Never copied: this hop's own business (RFC 9110 7.6.1, RFC 9113 8.2.2), or framing, which is decided anew. */
#define HTTP_HOP_FIELDS                                                                                    \
    (HEADER_BIT(HEADER_CONNECTION) | HEADER_BIT(HEADER_KEEP_ALIVE) | HEADER_BIT(HEADER_PROXY_CONNECTION) | \
     HEADER_BIT(HEADER_TE) | HEADER_BIT(HEADER_TRAILER) | HEADER_BIT(HEADER_TRANSFER_ENCODING) |           \
     HEADER_BIT(HEADER_UPGRADE) | HEADER_BIT(HEADER_CONTENT_LENGTH))
/* A filter's field: what would end its line, or name another, is stopped here for all filters at once. */
bool http_check_field_to_send(const struct header *, struct error *);
static inline bool http_may_send(const struct header *field, struct error *error)
{
    return LIKELY(field->name_checked && field->value_checked) || http_check_field_to_send(field, error);
}
/* A method, target or host from a filter could carry a second request. */
bool http_is_clean_to_send(struct slice);

/* A slice that points into [old_base, old_base + length) follows to new_base. */
void slice_rebase(struct slice *, const char *old_base, size_t length, const char *new_base);

#endif
