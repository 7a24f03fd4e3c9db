#include "http/target.h"

#include "http/private.h"

#include <arpa/inet.h>

#define HOST_BYTES_MAX 255 /* RFC 1035 2.3.4 */

static bool refuse(struct error *error, const char *text)
{
    return error_set(error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-target", "request: a target with %s", text);
}

static bool no_memory(struct error *error)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "no memory for a target");
}

static bool parse_absolute(struct slice raw, bool merge_slashes, struct arena *, struct target *, struct error *);
static bool parse_path_and_query(struct slice text, bool merge_slashes, struct arena *, struct target *,
                                 struct error *);
static bool check_query(struct slice query, struct error *);
static bool path_is_normal(struct slice path, bool merge_slashes);
static bool normalise_path(struct slice path, bool merge_slashes, struct arena *, struct slice *normal, struct error *);

bool target_parse(struct slice raw, bool merge_slashes, struct arena *arena, struct target *target, struct error *error)
{
    *target = (struct target){ .form = TARGET_ORIGIN, .raw = raw };
    if (raw.length == 0) return refuse(error, "nothing in it");
    if (raw.at[0] == '/') return parse_path_and_query(raw, merge_slashes, arena, target, error);
    if (slice_equal(raw, SLICE("*"))) {
        target->form = TARGET_ASTERISK;
        target->path = raw;
        return true;
    }
    if (slice_find(raw, SLICE("://")) != SLICE_NOT_FOUND)
        return parse_absolute(raw, merge_slashes, arena, target, error);
    struct slice host;
    uint16_t port;
    if (!target_parse_authority(raw, arena, &host, &port))
        return refuse(error, "neither a path nor a scheme nor a host");
    target->form = TARGET_AUTHORITY;
    target->authority = raw;
    return true;
}

static bool parse_absolute(struct slice raw, bool merge_slashes, struct arena *arena, struct target *target,
                           struct error *error)
{
    size_t scheme_length = slice_find(raw, SLICE("://"));
    target->form = TARGET_ABSOLUTE;
    target->scheme = slice_before(raw, scheme_length);
    if (!slice_equal_ignore_case(target->scheme, SLICE("http")) &&
        !slice_equal_ignore_case(target->scheme, SLICE("https")))
        return refuse(error, "a scheme other than http and https");
    struct slice rest = slice_after(raw, scheme_length + 3);
    size_t end = 0;
    while (end < rest.length && rest.at[end] != '/' && rest.at[end] != '?' && rest.at[end] != '#') end++;
    target->authority = slice_before(rest, end);
    struct slice host;
    uint16_t port;
    if (!target_parse_authority(target->authority, arena, &host, &port))
        return refuse(error, "an authority that is no host name");
    return parse_path_and_query(slice_after(rest, end), merge_slashes, arena, target, error);
}

static bool parse_path_and_query(struct slice text, bool merge_slashes, struct arena *arena, struct target *target,
                                 struct error *error)
{
    size_t path_length = slice_find_byte(text, '?');
    struct slice path = slice_before(text, path_length);
    if (path_length != SLICE_NOT_FOUND) {
        target->query = slice_after(text, path_length + 1);
        if (!check_query(target->query, error)) return false;
    }
    if (path.length == 0) path = SLICE("/"); /* absolute form only */
    target->path = path;
    return path_is_normal(path, merge_slashes) || normalise_path(path, merge_slashes, arena, &target->path, error);
}

static bool is_percent_encoded(const char *at, const char *end)
{
    return end - at >= 3 && byte_is(at[1], BYTE_HEX) && byte_is(at[2], BYTE_HEX);
}

static bool check_query(struct slice query, struct error *error)
{
    const char *at = query.at, *end = query.at + query.length;
    while (at < end) {
        if (byte_is(*at, BYTE_QUERY))
            at++;
        else if (*at != '%')
            return refuse(error, "a character in its query that must be percent-encoded");
        else if (is_percent_encoded(at, end))
            at += 3;
        else
            return refuse(error, "a percent sign without two hex digits in its query");
    }
    return true;
}

/* True spares most paths the copy; false means that it has to be looked at closely. */
static bool path_is_normal(struct slice path, bool merge_slashes)
{
    const char *at = path.at, *end = path.at + path.length;
    for (;; at++) {
        while (at < end && byte_is(*at, BYTE_PATH)) at++;
        if (at == end) break;
        if (*at != '.' || at[-1] == '/') return false;
    }
    return !merge_slashes || slice_find(path, SLICE("//")) == SLICE_NOT_FOUND;
}

/* What may follow within one UTF-8 sequence (RFC 3629 4). */
struct utf8_sequence {
    unsigned missing;  /* bytes still to come */
    uint8_t low, high; /* bounds of the next */
};

static bool utf8_take(struct utf8_sequence *sequence, uint8_t byte)
{
    if (sequence->missing) {
        if (byte < sequence->low || byte > sequence->high) return false;
        *sequence = (struct utf8_sequence){ sequence->missing - 1, 0x80, 0xbf };
        return true;
    }
    if (byte < 0x80) return true;
    if (byte < 0xc2 || byte > 0xf4) return false; /* overlong, or beyond U+10FFFF */
    *sequence = (struct utf8_sequence){ byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3, 0x80, 0xbf };
    if (byte == 0xe0) sequence->low = 0xa0;  /* overlong */
    if (byte == 0xed) sequence->high = 0x9f; /* surrogates */
    if (byte == 0xf0) sequence->low = 0x90;  /* overlong */
    if (byte == 0xf4) sequence->high = 0x8f; /* beyond U+10FFFF */
    return true;
}

/* Decodes what is encoded without need, writes the other hex digits in upper case; returns the end, or NULL and
 * *error. */
static char *decode_unreserved(struct slice path, char *into, struct error *error)
{
    static const char hex[] = "0123456789ABCDEF";
    struct utf8_sequence sequence = { 0 };
    for (const char *at = path.at, *end = path.at + path.length; at < end;) {
        if (*at != '%') {
            if (!byte_is(*at, BYTE_PATH) && *at != '.')
                return refuse(error, "a character in its path that must be percent-encoded"), NULL;
            if (sequence.missing) return refuse(error, "encoded bytes that aren't UTF-8"), NULL;
            *into++ = *at++;
            continue;
        }
        if (!is_percent_encoded(at, end))
            return refuse(error, "a percent sign without two hex digits in its path"), NULL;
        uint8_t byte = (uint8_t)(byte_hex_value(at[1]) << 4 | byte_hex_value(at[2]));
        at += 3;
        if (!utf8_take(&sequence, byte)) return refuse(error, "encoded bytes that aren't UTF-8"), NULL;
        if (byte == '\0' || byte == '\\') return refuse(error, "an encoded NUL or backslash in its path"), NULL;
        if (byte_is((char)byte, BYTE_UNRESERVED)) {
            *into++ = (char)byte;
        } else {
            *into++ = '%';
            *into++ = hex[byte >> 4];
            *into++ = hex[byte & 15];
        }
    }
    if (sequence.missing) return refuse(error, "encoded bytes that aren't UTF-8"), NULL;
    return into;
}

/* RFC 3986 5.2.4 in place, but ".." above the root is refused: NULL. Returns the new end. */
static char *remove_dot_segments(char *path, char *end, bool merge_slashes)
{
    char *write = path;
    for (char *slash = path; slash < end;) {
        char *next = memchr(slash + 1, '/', (size_t)(end - slash - 1));
        if (!next) next = end;
        struct slice segment = slice_of(slash + 1, (size_t)(next - slash - 1));
        bool climbs = slice_equal(segment, SLICE(".."));
        if (climbs && write == path) return NULL;
        if (climbs) {
            do write--;
            while (*write != '/');
        }
        bool leaves_no_trace = climbs || slice_equal(segment, SLICE(".")) || (merge_slashes && segment.length == 0);
        if (!leaves_no_trace) {
            memmove(write, slash, (size_t)(next - slash));
            write += next - slash;
        } else if (next == end) {
            *write++ = '/';
        }
        slash = next;
    }
    return write;
}

static bool normalise_path(struct slice path, bool merge_slashes, struct arena *arena, struct slice *normal,
                           struct error *error)
{
    char *copy = arena_allocate(arena, path.length);
    if (!copy) return no_memory(error);
    char *end = decode_unreserved(path, copy, error);
    if (!end) return false;
    end = remove_dot_segments(copy, end, merge_slashes);
    if (!end) return refuse(error, "\"..\" above the root");
    *normal = slice_of(copy, (size_t)(end - copy));
    return true;
}

/* Empty is allowed (RFC 3986 3.2.3) and none; 0 is no port. */
static bool parse_port(struct slice digits, uint16_t *port)
{
    *port = 0;
    if (digits.length == 0) return true;
    uint64_t number;
    if (digits.length > 5 || !slice_parse_uint64(digits, &number) || number == 0 || number > UINT16_MAX) return false;
    *port = (uint16_t)number;
    return true;
}

/* "[...]" with brackets. No zone (RFC 9110 4.2.1 knows none), no future versions. */
static bool is_ipv6_literal(struct slice text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    if (text.length < 4 || text.length - 2 >= sizeof address || text.at[text.length - 1] != ']') return false;
    memcpy(address, text.at + 1, text.length - 2);
    address[text.length - 2] = '\0';
    return !memchr(address, '\0', text.length - 2) && inet_pton(AF_INET6, address, &parsed) == 1;
}

/* Labels of letters, digits, '-', '_' and '~' between single dots: narrower than reg-name (RFC 3986 3.2.2), whose
 * sub-delims and percent-encoding readers treat differently. */
static bool is_host_name(struct slice text)
{
    if (text.length == 0 || text.length > HOST_BYTES_MAX) return false;
    char before = '.';
    for (size_t i = 0; i < text.length; i++) {
        if (!byte_is(text.at[i], BYTE_HOST) || (text.at[i] == '.' && before == '.')) return false;
        before = text.at[i];
    }
    return true;
}

static bool lower_case(struct slice text, struct arena *arena, struct slice *lower)
{
    size_t at = 0;
    while (at < text.length && !(text.at[at] >= 'A' && text.at[at] <= 'Z')) at++;
    *lower = text;
    if (at == text.length) return true;
    char *copy = arena_allocate(arena, text.length);
    if (!copy) return false;
    for (size_t i = 0; i < text.length; i++)
        copy[i] = (char)(text.at[i] >= 'A' && text.at[i] <= 'Z' ? text.at[i] | 0x20 : text.at[i]);
    *lower = slice_of(copy, text.length);
    return true;
}

bool target_parse_authority(struct slice text, struct arena *arena, struct slice *host, uint16_t *port)
{
    bool bracketed = text.length && text.at[0] == '[';
    size_t name_length = bracketed ? slice_find_byte(text, ']') : slice_find_byte(text, ':');
    if (bracketed && name_length != SLICE_NOT_FOUND) name_length++;
    struct slice name = slice_before(text, name_length), rest = slice_after(text, name.length);
    if (rest.length && rest.at[0] != ':') return false;
    if (!parse_port(slice_after(rest, 1), port)) return false;
    if (!(bracketed ? is_ipv6_literal(name) : is_host_name(name))) return false;
    if (name.at[name.length - 1] == '.') name.length--;
    return lower_case(name, arena, host);
}
