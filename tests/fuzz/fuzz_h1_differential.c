/* The codec against a second reading of the same rules, as plain as it is slow.
 *
 * Both must agree on whether a head is accepted, refused or unfinished, and on all that an accepted one says. The
 * input's first byte: even, a request; odd, a response to the method that its other bits choose. */
#include "h1_fuzzing.h"

#include <arpa/inet.h>
#include <strings.h>

enum verdict { ACCEPTED, REFUSED, UNFINISHED };

#define FIELDS_MAX 64

struct plain_field {
    struct slice name, value;
};

/* What the plain reading found. */
struct plain {
    struct slice first_line, method, target, version, authority;
    unsigned status;
    struct plain_field fields[FIELDS_MAX];
    size_t field_count, head_length;
    char path[4096]; /* normal */
    size_t path_length;
    struct slice query;
    char host[512];
    size_t host_length;
    unsigned port;
    bool has_length, chunked, keep_alive, has_body, continues, upgrades;
    unsigned long long length;
};

static bool is_one_of(char byte, const char *set) { return byte && strchr(set, byte); }

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define HEX DIGITS "ABCDEFabcdef"
#define UNRESERVED DIGITS LETTERS "-._~"
#define SUB_DELIMS "!$&'()*+,;="
#define TCHAR "!#$%&'*+-.^_`|~" DIGITS LETTERS

static bool all_of(struct slice text, const char *set)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_one_of(text.at[i], set)) return false;
    }
    return true;
}

static bool same(struct slice text, const char *expected) { return slice_equal(text, slice_from_cstring(expected)); }

static bool alike(struct slice text, const char *expected)
{
    return text.length == strlen(expected) && strncasecmp(text.at, expected, text.length) == 0;
}

static struct slice trim(struct slice text)
{
    while (text.length && is_one_of(text.at[0], " \t")) text = slice_after(text, 1);
    while (text.length && is_one_of(text.at[text.length - 1], " \t")) text.length--;
    return text;
}

/* Lines: anything but control characters, then CR LF. */
static enum verdict plain_line(struct slice *rest, size_t length_max, struct slice *line)
{
    for (size_t i = 0; i < rest->length; i++) {
        if (i > length_max) return REFUSED;
        unsigned char byte = (unsigned char)rest->at[i];
        if (byte == '\r') {
            if (i + 1 == rest->length) return UNFINISHED;
            if (rest->at[i + 1] != '\n') return REFUSED;
            *line = slice_before(*rest, i);
            *rest = slice_after(*rest, i + 2);
            return ACCEPTED;
        }
        if ((byte < 32 && byte != '\t') || byte == 127) return REFUSED;
    }
    return rest->length > length_max ? REFUSED : UNFINISHED;
}

static enum verdict plain_fields(struct plain *plain, struct slice *rest)
{
    size_t used = 0;
    for (;;) {
        struct slice line;
        size_t left = fuzz_limits.header_bytes - used;
        enum verdict verdict = plain_line(rest, left < 2 ? 0 : left - 2, &line);
        if (verdict != ACCEPTED) return verdict;
        if (line.length == 0) return ACCEPTED;
        used += line.length + 2;
        size_t colon = slice_find_byte(line, ':');
        if (colon == SLICE_NOT_FOUND || colon == 0 || plain->field_count == fuzz_limits.header_count) return REFUSED;
        struct plain_field *field = &plain->fields[plain->field_count++];
        field->name = slice_before(line, colon);
        field->value = trim(slice_after(line, colon + 1));
        if (!all_of(field->name, TCHAR)) return REFUSED;
        if (alike(field->name, "Content_Length") || alike(field->name, "Transfer_Encoding")) return REFUSED;
    }
}

static unsigned count_of(const struct plain *plain, const char *name, struct slice *value)
{
    unsigned count = 0;
    for (size_t i = 0; i < plain->field_count; i++) {
        if (!alike(plain->fields[i].name, name)) continue;
        if (count++ == 0) *value = plain->fields[i].value;
    }
    return count;
}

static bool any_lists(const struct plain *plain, const char *name, const char *token)
{
    for (size_t i = 0; i < plain->field_count; i++) {
        if (!alike(plain->fields[i].name, name)) continue;
        char text[2048];
        snprintf(text, sizeof text, "%.*s", SLICE_PRINT(plain->fields[i].value));
        for (char *piece, *rest = text; (piece = strsep(&rest, ",")) != NULL;) {
            if (alike(trim(slice_from_cstring(piece)), token)) return true;
        }
    }
    return false;
}

static bool is_version_1(struct slice version)
{
    return version.length == 8 && slice_starts_with(version, SLICE("HTTP/1.")) && is_one_of(version.at[7], DIGITS);
}

static bool plain_framing(struct plain *plain)
{
    struct slice coding, length;
    unsigned codings = count_of(plain, "Transfer-Encoding", &coding),
             lengths = count_of(plain, "Content-Length", &length);
    if (codings + lengths > 1) return false;
    if (codings) plain->chunked = true;
    if (codings && (!same(coding, "chunked") || same(plain->version, "HTTP/1.0"))) return false;
    if (!lengths) return true;
    if (length.length == 0 || !all_of(length, DIGITS)) return false;
    while (length.length > 1 && length.at[0] == '0') length = slice_after(length, 1);
    if (length.length > 19 || (length.length == 19 && memcmp(length.at, "9223372036854775807", 19) > 0)) return false;
    char digits[20];
    snprintf(digits, sizeof digits, "%.*s", SLICE_PRINT(length));
    plain->has_length = true;
    plain->length = strtoull(digits, NULL, 10);
    return true;
}

static bool plain_connection_is_short(const struct plain *plain)
{
    size_t length = 0;
    for (size_t i = 0; i < plain->field_count; i++) {
        if (alike(plain->fields[i].name, "Connection")) length += plain->fields[i].value.length;
    }
    return length <= 1024;
}

static bool plain_keep_alive(const struct plain *plain)
{
    if (any_lists(plain, "Connection", "close")) return false;
    return !same(plain->version, "HTTP/1.0") || any_lists(plain, "Connection", "keep-alive");
}

/* host [":" port], the host a name of labels or a bracketed address. */
static bool plain_authority(struct slice text, char *host, size_t *host_length, unsigned *port)
{
    size_t end = slice_starts_with(text, SLICE("[")) ? slice_find_byte(text, ']') : slice_find_byte(text, ':');
    struct slice name = slice_before(text, end);
    if (slice_starts_with(text, SLICE("["))) {
        if (end == SLICE_NOT_FOUND) return false;
        name = slice_before(text, end + 1);
        /* For an address the C library's reading is plain enough. */
        char address[64];
        struct in6_addr parsed;
        if (end > 50 || memchr(text.at, '\0', end)) return false;
        snprintf(address, sizeof address, "%.*s", (int)end - 1, text.at + 1);
        if (inet_pton(AF_INET6, address, &parsed) != 1) return false;
    } else {
        if (name.length == 0 || name.length > 255 || !all_of(name, UNRESERVED)) return false;
        if (name.at[0] == '.' || slice_find(name, SLICE("..")) != SLICE_NOT_FOUND) return false;
        if (name.at[name.length - 1] == '.' && name.length == 1) return false;
    }
    struct slice rest = slice_after(text, name.length);
    if (rest.length && rest.at[0] != ':') return false;
    struct slice digits = slice_after(rest, 1);
    if (digits.length > 5 || !all_of(digits, DIGITS)) return false;
    *port = 0;
    for (size_t i = 0; i < digits.length; i++) *port = *port * 10 + (unsigned)(digits.at[i] - '0');
    if (*port > 65535 || (digits.length && *port == 0)) return false;
    if (slice_ends_with(name, SLICE("."))) name.length--;
    for (size_t i = 0; i < name.length; i++)
        host[i] = (char)(name.at[i] >= 'A' && name.at[i] <= 'Z' ? name.at[i] - 'A' + 'a' : name.at[i]);
    *host_length = name.length;
    return true;
}

/* Characters as RFC 3986 has them, with percent signs in front of two hex digits only. */
static bool plain_characters(struct slice text, const char *set)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] != '%') {
            if (!is_one_of(text.at[i], set)) return false;
            continue;
        }
        if (i + 2 >= text.length || !is_one_of(text.at[i + 1], HEX) || !is_one_of(text.at[i + 2], HEX)) return false;
        i += 2;
    }
    return true;
}

/* Every byte decoded. */
static size_t plain_decode(struct slice text, unsigned char *into)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == '%') {
            char digits[3] = { text.at[i + 1], text.at[i + 2], '\0' };
            into[length++] = (unsigned char)strtoul(digits, NULL, 16);
            i += 2;
        } else {
            into[length++] = (unsigned char)text.at[i];
        }
    }
    return length;
}

/* By code points: each is read, and must have been written in the shortest form and mean a character. */
static bool plain_is_utf8(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length;) {
        unsigned char first = bytes[i];
        size_t size = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
        if (size == 0 || i + size > length) return false;
        unsigned point = size == 1 ? first : first & (0x7fu >> size);
        for (size_t j = 1; j < size; j++) {
            if (bytes[i + j] >> 6 != 2) return false;
            point = point << 6 | (bytes[i + j] & 63);
        }
        static const unsigned smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
        i += size;
    }
    return true;
}

/* Writes one segment in its normal form; returns its length. */
static size_t plain_segment(struct slice segment, char *into)
{
    size_t length = 0;
    for (size_t i = 0; i < segment.length; i++) {
        unsigned char byte = (unsigned char)segment.at[i];
        if (byte == '%') {
            plain_decode(slice_of(segment.at + i, 3), &byte);
            i += 2;
            if (!is_one_of((char)byte, UNRESERVED)) {
                length += (size_t)snprintf(into + length, 4, "%%%02X", byte);
                continue;
            }
        }
        into[length++] = (char)byte;
    }
    return length;
}

/* A stack of segments: "." adds none, ".." takes one away; either at the end leaves an empty one. */
static bool plain_path(struct plain *plain, struct slice path)
{
    static unsigned char decoded[4096];
    static char segments[512][2048];
    static size_t lengths[512];
    if (!plain_characters(path, UNRESERVED SUB_DELIMS ":@/")) return false;
    size_t length = plain_decode(path, decoded), depth = 0;
    if (memchr(decoded, '\0', length) || memchr(decoded, '\\', length) || !plain_is_utf8(decoded, length)) return false;
    struct slice rest = slice_after(path, 1);
    for (bool last = false; !last;) {
        size_t slash = slice_find_byte(rest, '/');
        last = slash == SLICE_NOT_FOUND;
        char text[2048];
        struct slice segment = slice_of(text, plain_segment(slice_before(rest, slash), text));
        rest = slice_after(rest, last ? rest.length : slash + 1);
        bool stays = same(segment, "."), climbs = same(segment, "..");
        if (climbs && depth == 0) return false;
        if (climbs) depth--;
        if ((climbs || stays) && !last) continue;
        if (climbs || stays) segment.length = 0;
        if (segment.length) memcpy(segments[depth], segment.at, segment.length);
        lengths[depth++] = segment.length;
    }
    plain->path_length = 0;
    for (size_t i = 0; i < depth; i++) {
        plain->path[plain->path_length++] = '/';
        memcpy(plain->path + plain->path_length, segments[i], lengths[i]);
        plain->path_length += lengths[i];
    }
    return true;
}

static bool plain_path_and_query(struct plain *plain, struct slice text)
{
    size_t mark = slice_find_byte(text, '?');
    struct slice path = slice_before(text, mark);
    if (mark != SLICE_NOT_FOUND) {
        plain->query = slice_after(text, mark + 1);
        if (!plain_characters(plain->query, UNRESERVED SUB_DELIMS ":@/?[]{}|^`")) return false;
    }
    return plain_path(plain, path.length ? path : SLICE("/"));
}

static bool plain_target(struct plain *plain, bool *is_absolute)
{
    struct slice target = plain->target;
    *is_absolute = false;
    if (slice_starts_with(target, SLICE("/"))) return plain_path_and_query(plain, target);
    if (same(target, "*")) {
        plain->path[0] = '*';
        plain->path_length = 1;
        return same(plain->method, "OPTIONS");
    }
    size_t prefix = alike(slice_before(target, 7), "http://") ? 7 : alike(slice_before(target, 8), "https://") ? 8 : 0;
    if (!prefix) return false;
    struct slice rest = slice_after(target, prefix);
    size_t end = 0;
    while (end < rest.length && !is_one_of(rest.at[end], "/?#")) end++;
    plain->authority = slice_before(rest, end);
    *is_absolute = true;
    if (!plain_authority(plain->authority, plain->host, &plain->host_length, &plain->port)) return false;
    if (end == rest.length && same(plain->method, "OPTIONS")) {
        plain->path[0] = '*';
        plain->path_length = 1;
        return true;
    }
    return plain_path_and_query(plain, slice_after(rest, end));
}

static bool plain_host(struct plain *plain, bool is_absolute)
{
    struct slice value;
    unsigned count = count_of(plain, "Host", &value), port;
    if (count > 1) return false;
    if (count == 0) return same(plain->version, "HTTP/1.0");
    char host[512];
    size_t length;
    if (!plain_authority(value, host, &length, &port)) return false;
    if (!is_absolute) {
        memcpy(plain->host, host, length);
        plain->host_length = length;
        plain->port = port;
        plain->authority = value;
        return true;
    }
    unsigned usual = alike(slice_before(plain->target, 5), "https") ? 443 : 80;
    return length == plain->host_length && memcmp(host, plain->host, length) == 0 &&
           (port ? port : usual) == (plain->port ? plain->port : usual);
}

static enum verdict plain_request(struct plain *plain, struct slice bytes)
{
    struct slice rest = bytes;
    enum verdict verdict = plain_line(&rest, fuzz_limits.request_line_bytes, &plain->first_line);
    if (verdict == ACCEPTED && plain->first_line.length == 0)
        verdict = plain_line(&rest, fuzz_limits.request_line_bytes, &plain->first_line);
    if (verdict != ACCEPTED) return verdict;

    /* Exactly three words with exactly one space between them. */
    struct slice line = plain->first_line;
    size_t first = slice_find_byte(line, ' ');
    if (first == SLICE_NOT_FOUND) return REFUSED;
    plain->method = slice_before(line, first);
    struct slice behind = slice_after(line, first + 1);
    size_t second = slice_find_byte(behind, ' ');
    if (second == SLICE_NOT_FOUND) return REFUSED;
    plain->target = slice_before(behind, second);
    plain->version = slice_after(behind, second + 1);
    if (!is_version_1(plain->version)) return REFUSED;
    if (plain->method.length == 0 || plain->method.length > 32 || !all_of(plain->method, TCHAR)) return REFUSED;
    if (same(plain->method, "CONNECT")) return REFUSED;
    bool is_absolute;
    if (!plain_target(plain, &is_absolute)) return REFUSED;

    verdict = plain_fields(plain, &rest);
    if (verdict != ACCEPTED) return verdict;
    if (!plain_host(plain, is_absolute) || !plain_framing(plain) || !plain_connection_is_short(plain)) return REFUSED;
    plain->has_body = plain->has_length || plain->chunked;
    bool nonempty = plain->chunked || plain->length > 0, version_0 = same(plain->version, "HTTP/1.0");
    if (same(plain->method, "TRACE") && nonempty) return REFUSED;
    struct slice expectation, protocol;
    unsigned expectations = count_of(plain, "Expect", &expectation);
    if (expectations && !version_0) {
        if (expectations > 1 || !alike(expectation, "100-continue")) return REFUSED;
        plain->continues = nonempty;
    }
    plain->upgrades = !version_0 && count_of(plain, "Upgrade", &protocol) && any_lists(plain, "Connection", "upgrade");
    plain->keep_alive = plain_keep_alive(plain);
    plain->head_length = bytes.length - rest.length;
    return ACCEPTED;
}

static enum verdict plain_response(struct plain *plain, struct slice bytes, enum method method)
{
    struct slice rest = bytes;
    enum verdict verdict = plain_line(&rest, fuzz_limits.request_line_bytes, &plain->first_line);
    if (verdict != ACCEPTED) return verdict;
    struct slice line = plain->first_line;
    plain->version = slice_before(line, 8);
    if (!is_version_1(plain->version) || line.length < 13 || line.at[8] != ' ' || line.at[12] != ' ') return REFUSED;
    struct slice status = slice_of(line.at + 9, 3);
    if (!all_of(status, DIGITS) || !is_one_of(status.at[0], "12345")) return REFUSED;
    char digits[4] = { status.at[0], status.at[1], status.at[2], '\0' };
    plain->status = (unsigned)strtoul(digits, NULL, 10);

    verdict = plain_fields(plain, &rest);
    if (verdict != ACCEPTED) return verdict;
    if (!plain_framing(plain) || !plain_connection_is_short(plain)) return REFUSED;
    bool never_framed = plain->status < 200 || plain->status == 204;
    if (never_framed && (plain->chunked || plain->length > 0)) return REFUSED;
    plain->has_body = !never_framed && plain->status != 304 && method != METHOD_HEAD;
    plain->keep_alive = plain_keep_alive(plain) && (!plain->has_body || plain->chunked || plain->has_length);
    plain->head_length = bytes.length - rest.length;
    return ACCEPTED;
}

static void require_same_fields(const struct plain *plain, const struct headers *headers)
{
    size_t at = 0;
    for (const struct header *item = headers_next(headers, NULL); item; item = headers_next(headers, item), at++) {
        PROMISE(at < plain->field_count);
        PROMISE(slice_equal(item->name, plain->fields[at].name) && slice_equal(item->value, plain->fields[at].value));
    }
    PROMISE(at == plain->field_count);
}

static void require_same_request(const struct plain *plain, const struct request_head *head,
                                 const struct h1_parser *parser)
{
    PROMISE(slice_equal(head->method_text, plain->method));
    PROMISE(slice_equal(head->target.path, slice_of(plain->path, plain->path_length)));
    PROMISE(slice_equal(head->target.query, plain->query));
    PROMISE(slice_is_absent(head->target.query) == slice_is_absent(plain->query));
    PROMISE(slice_equal(head->authority, plain->authority));
    PROMISE(slice_equal(head->host, slice_of(plain->host, plain->host_length)) && head->port == plain->port);
    PROMISE((head->version == HTTP_1_0) == same(plain->version, "HTTP/1.0"));
    PROMISE(head->has_body == plain->has_body);
    PROMISE(head->body_length == (plain->chunked ? BODY_LENGTH_UNKNOWN : plain->length));
    PROMISE(head->expects_continue == plain->continues && head->wants_upgrade == plain->upgrades);
    PROMISE(parser->keep_alive == plain->keep_alive && parser->chunked == plain->chunked);
    PROMISE(parser->head_length == plain->head_length);
    require_same_fields(plain, &head->headers);
}

static void require_same_response(const struct plain *plain, const struct response_head *head,
                                  const struct h1_parser *parser)
{
    PROMISE(head->status == plain->status && head->has_body == plain->has_body);
    if (plain->has_length) PROMISE(head->body_length == plain->length);
    if (plain->chunked || (plain->has_body && !plain->has_length)) PROMISE(head->body_length == BODY_LENGTH_UNKNOWN);
    PROMISE(parser->keep_alive == plain->keep_alive && parser->chunked == plain->chunked);
    PROMISE(parser->head_length == plain->head_length);
    require_same_fields(plain, &head->headers);
}

static enum verdict verdict_of(enum h1_result result)
{
    return result == H1_COMPLETE ? ACCEPTED : result == H1_MORE ? UNFINISHED : REFUSED;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0 || length > 2000) return 0;
    char *copy = fuzz_copy((const char *)bytes + 1, length - 1);
    struct slice text = slice_of(copy, length - 1);
    struct plain plain = { 0 };
    struct arena arena;
    struct h1_parser parser;
    struct error error;
    arena_init(&arena, NULL);
    h1_parser_init(&parser);
    if (bytes[0] % 2 == 0) {
        struct request_head head;
        request_head_init(&head, &arena);
        enum h1_result result = h1_parse_request(&parser, text.at, text.length, &fuzz_limits, &head, &error);
        PROMISE(verdict_of(result) == plain_request(&plain, text));
        if (result == H1_COMPLETE) require_same_request(&plain, &head, &parser);
    } else {
        struct response_head head;
        enum method method = bytes[0] / 2 % METHOD_COUNT;
        response_head_init(&head, &arena);
        enum h1_result result = h1_parse_response(&parser, text.at, text.length, &fuzz_limits, method, &head, &error);
        PROMISE(verdict_of(result) == plain_response(&plain, text, method));
        if (result == H1_COMPLETE) require_same_response(&plain, &head, &parser);
    }
    arena_release(&arena);
    free(copy);
    return 0;
}
