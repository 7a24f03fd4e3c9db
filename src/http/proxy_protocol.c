#include "http/proxy_protocol.h"

#include "base/digits.h"

#include <arpa/inet.h>

#define V2_SIGNATURE SLICE("\r\n\r\n\0\r\nQUIT\n")
#define V2_FIXED_BYTES 16 /* signature, version and command, family and transport, length */

/* Byte 13 of version 2: the version above, the command below. */
enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
/* Byte 14: the address family above, the transport below. */
enum {
    V2_UNSPEC = 0x00,
    V2_TCP4 = 0x11,
    V2_UDP4 = 0x12,
    V2_TCP6 = 0x21,
    V2_UDP6 = 0x22,
    V2_UNIX = 0x31,
    V2_UNIX_DGRAM
};
enum { V2_FAMILY_MAX = 3, V2_TRANSPORT_MAX = 2 };
enum { V2_TLV_CRC32C = 0x03 };

static enum proxy_protocol_result refuse(struct error *error, const char *text)
{
    error_set(error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-proxy-header", "PROXY header: %s", text);
    return PROXY_PROTOCOL_BAD;
}

static bool is_v4_mapped(const struct address *address)
{
    return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr);
}

static struct address make_v4(const void *ip, uint16_t port)
{
    struct address address = { 0 };
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(port);
    memcpy(&address.v4.sin_addr, ip, 4);
    return address;
}

/* As IPv4 where it is mapped: limits and lists by address then meet one client under one name. */
static struct address make_v6(const void *ip, uint16_t port)
{
    struct address address = { 0 };
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(port);
    memcpy(&address.v6.sin6_addr, ip, 16);
    return is_v4_mapped(&address) ? make_v4(address.v6.sin6_addr.s6_addr + 12, port) : address;
}

/* Up to one space or the line's end. False where the line has ended. */
static bool take_word(struct slice *rest, struct slice *word)
{
    if (slice_is_absent(*rest)) return false;
    size_t end = slice_find_byte(*rest, ' ');
    *word = slice_before(*rest, end);
    *rest = end == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(*rest, end + 1);
    return true;
}

/* inet_pton takes exactly the forms of section 2.1: no leading zeros in IPv4, 128 bits in IPv6, one "::" at most. */
static bool read_ip(struct slice *rest, int family, struct address *address)
{
    struct slice word;
    struct address parsed;
    if (!take_word(rest, &word) || !address_parse_ip(word, 0, &parsed) || parsed.any.sa_family != family) return false;
    *address = family == AF_INET6 ? make_v6(&parsed.v6.sin6_addr, 0) : parsed;
    return true;
}

static bool read_port(struct slice *rest, struct address *address)
{
    struct slice word;
    uint16_t port;
    if (!take_word(rest, &word) || !address_parse_port(word, &port)) return false;
    *(address->any.sa_family == AF_INET ? &address->v4.sin_port : &address->v6.sin6_port) = htons(port);
    return true;
}

/* Section 2.1, what stands between "PROXY " and CRLF. */
static enum proxy_protocol_result read_v1_line(struct slice line, struct proxy_protocol_header *header,
                                               struct error *error)
{
    struct slice protocol;
    take_word(&line, &protocol);
    if (slice_equal(protocol, SLICE("UNKNOWN"))) return PROXY_PROTOCOL_COMPLETE; /* whatever follows is ignored */
    bool v4 = slice_equal(protocol, SLICE("TCP4"));
    if (!v4 && !slice_equal(protocol, SLICE("TCP6")))
        return refuse(error, "the protocol is none of TCP4, TCP6 and UNKNOWN");
    int family = v4 ? AF_INET : AF_INET6;
    if (!read_ip(&line, family, &header->source)) return refuse(error, "the source address is no good one");
    if (!read_ip(&line, family, &header->destination)) return refuse(error, "the destination address is no good one");
    if (!read_port(&line, &header->source)) return refuse(error, "the source port is no good one");
    if (!read_port(&line, &header->destination)) return refuse(error, "the destination port is no good one");
    if (!slice_is_absent(line)) return refuse(error, "something follows the destination port");
    return PROXY_PROTOCOL_COMPLETE;
}

static enum proxy_protocol_result parse_v1(struct slice bytes, size_t start, struct proxy_protocol_header *header,
                                           struct error *error)
{
    size_t end = start;
    struct slice line = slice_before(bytes, PROXY_PROTOCOL_V1_BYTES_MAX);
    while (end < line.length && line.at[end] != '\r' && line.at[end] != '\n') end++;
    if (end < line.length && line.at[end] == '\n') return refuse(error, "a line that ends with LF alone");
    if (end + 1 < line.length && line.at[end + 1] != '\n') return refuse(error, "a CR without LF");
    if (end + 1 >= line.length) {
        if (line.length < PROXY_PROTOCOL_V1_BYTES_MAX) return PROXY_PROTOCOL_NEED_MORE;
        return refuse(error, "no CRLF within 107 bytes");
    }
    header->version = 1;
    header->length = end + 2;
    return read_v1_line(slice_after(slice_before(line, end), start), header, error);
}

/* CRC-32C (RFC 9260 appendix A), half a byte a step: there is one short header a connection. */
static uint32_t crc32c_add(uint32_t crc, const void *bytes, size_t length)
{
    static const uint32_t steps[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (const uint8_t *at = bytes, *end = at + length; at < end; at++) {
        crc ^= *at;
        crc = crc >> 4 ^ steps[crc & 15];
        crc = crc >> 4 ^ steps[crc & 15];
    }
    return crc;
}

static uint32_t read_be32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return ntohl(value);
}

static uint16_t read_be16(const char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return ntohs(value);
}

/* Of the whole header, with zeros where the sum itself stands (section 2.2.3). */
static bool checksum_is_right(struct slice bytes, size_t sum_at)
{
    static const char zeros[4];
    uint32_t crc = crc32c_add(UINT32_MAX, bytes.at, sum_at);
    crc = crc32c_add(crc, zeros, sizeof zeros);
    crc = ~crc32c_add(crc, bytes.at + sum_at + 4, bytes.length - sum_at - 4);
    return crc == read_be32(bytes.at + sum_at);
}

/* Walks the vectors from `at` to the header's end. False: they don't add up, or there are two sums or an odd one. *sum_at
 * stays as it is where there is no sum. */
static bool walk_tlvs(struct slice bytes, size_t at, size_t *sum_at)
{
    size_t found = 0;
    while (at < bytes.length) {
        if (bytes.length - at < 3) return false;
        size_t length = read_be16(bytes.at + at + 1);
        if (bytes.length - at - 3 < length) return false;
        if ((uint8_t)bytes.at[at] == V2_TLV_CRC32C) {
            if (length != 4 || found) return false;
            found = at + 3;
        }
        at += 3 + length;
    }
    if (found) *sum_at = found;
    return true;
}

/* How many bytes of addresses come before the vectors, by byte 14; SIZE_MAX where that isn't known. */
static size_t v2_address_bytes(uint8_t kind)
{
    switch (kind) {
    case V2_UNSPEC: return 0;
    case V2_TCP4:
    case V2_UDP4: return 12;
    case V2_TCP6:
    case V2_UDP6: return 36;
    case V2_UNIX:
    case V2_UNIX_DGRAM: return 216;
    default: return SIZE_MAX; /* a family without a transport or the other way round */
    }
}

/* Section 2.2: what stands behind the 16 bytes. Where the header names no addresses (LOCAL, UNSPEC), the rest is to be
 * ignored whatever it is, so only a sum that is surely there is held against it. */
static enum proxy_protocol_result read_v2_rest(struct slice bytes, struct proxy_protocol_header *header,
                                               struct error *error)
{
    uint8_t kind = (uint8_t)bytes.at[13];
    const char *addresses = bytes.at + V2_FIXED_BYTES;
    size_t addresses_length = v2_address_bytes(kind), sum_at = 0;
    if (addresses_length == SIZE_MAX) return PROXY_PROTOCOL_COMPLETE;
    bool named = !header->local && kind != V2_UNSPEC;
    bool fits = addresses_length <= bytes.length - V2_FIXED_BYTES;
    if (named && !fits) return refuse(error, "shorter than its addresses");
    if (fits && !walk_tlvs(bytes, V2_FIXED_BYTES + addresses_length, &sum_at) && named)
        return refuse(error, "its type-length-value fields don't add up");
    if (sum_at && !checksum_is_right(bytes, sum_at)) return refuse(error, "its CRC32C is wrong");
    if (!header->local && kind == V2_TCP4) {
        header->source = make_v4(addresses, read_be16(addresses + 8));
        header->destination = make_v4(addresses + 4, read_be16(addresses + 10));
    } else if (!header->local && kind == V2_TCP6) {
        header->source = make_v6(addresses, read_be16(addresses + 32));
        header->destination = make_v6(addresses + 16, read_be16(addresses + 34));
    }
    return PROXY_PROTOCOL_COMPLETE;
}

static enum proxy_protocol_result parse_v2(struct slice bytes, size_t start, struct proxy_protocol_header *header,
                                           struct error *error)
{
    uint8_t command = bytes.length > start ? (uint8_t)bytes.at[start] : V2_LOCAL;
    uint8_t kind = bytes.length > start + 1 ? (uint8_t)bytes.at[start + 1] : V2_UNSPEC;
    if (command >> 4 != 2) return refuse(error, "the signature of version 2 with another version");
    if (command != V2_LOCAL && command != V2_PROXY) return refuse(error, "a command that is neither LOCAL nor PROXY");
    if (command == V2_PROXY && (kind >> 4 > V2_FAMILY_MAX || (kind & 15) > V2_TRANSPORT_MAX))
        return refuse(error, "an address family or a transport that doesn't exist");
    if (bytes.length < V2_FIXED_BYTES) return PROXY_PROTOCOL_NEED_MORE;
    header->length = V2_FIXED_BYTES + (size_t)read_be16(bytes.at + 14);
    if (header->length > PROXY_PROTOCOL_V2_BYTES_MAX) return refuse(error, "longer than 4096 bytes");
    if (bytes.length < header->length) return PROXY_PROTOCOL_NEED_MORE;
    header->version = 2;
    header->local = command == V2_LOCAL;
    return read_v2_rest(slice_before(bytes, header->length), header, error);
}

/* As far as they go the bytes are the beginning of `beginning`. */
static bool may_begin_with(struct slice bytes, struct slice beginning)
{
    return slice_starts_with(beginning, slice_before(bytes, beginning.length));
}

enum proxy_protocol_result proxy_protocol_parse(const char *bytes, size_t length, struct proxy_protocol_header *header,
                                                struct error *error)
{
    const struct slice v1 = SLICE("PROXY "), v2 = V2_SIGNATURE;
    struct slice all = slice_of(bytes, length);
    struct proxy_protocol_header parsed = { 0 };
    enum proxy_protocol_result result;
    if (length == 0) return PROXY_PROTOCOL_NEED_MORE;
    if (may_begin_with(all, v1))
        result = length < v1.length ? PROXY_PROTOCOL_NEED_MORE : parse_v1(all, v1.length, &parsed, error);
    else if (may_begin_with(all, v2))
        result = length < v2.length ? PROXY_PROTOCOL_NEED_MORE : parse_v2(all, v2.length, &parsed, error);
    else
        return refuse(error, "the connection doesn't begin with one");
    if (result == PROXY_PROTOCOL_COMPLETE) *header = parsed;
    return result;
}

/* What a header says of a pair of addresses: V2_TCP4, V2_TCP6 or V2_UNSPEC. */
static uint8_t kind_of_pair(const struct address *source, const struct address *destination)
{
    if (source->any.sa_family == AF_UNSPEC || destination->any.sa_family == AF_UNSPEC) return V2_UNSPEC;
    bool v4 = (source->any.sa_family == AF_INET || is_v4_mapped(source)) &&
              (destination->any.sa_family == AF_INET || is_v4_mapped(destination));
    return v4 ? V2_TCP4 : V2_TCP6;
}

static void as_v6(const struct address *address, uint8_t into[16])
{
    if (address->any.sa_family == AF_INET6) {
        memcpy(into, &address->v6.sin6_addr, 16);
    } else {
        memset(into, 0, 10);
        memset(into + 10, 0xff, 2);
        memcpy(into + 12, &address->v4.sin_addr, 4);
    }
}

static char *put(char *into, const void *bytes, size_t length)
{
    memcpy(into, bytes, length);
    return into + length;
}

static char *put_ip(char *into, const struct address *address, uint8_t kind)
{
    uint8_t v6[16];
    as_v6(address, v6);
    return kind == V2_TCP4 ? put(into, v6 + 12, 4) : put(into, v6, 16);
}

static char *put_port(char *into, const struct address *address)
{
    uint16_t port = htons(address_port(address));
    return put(into, &port, sizeof port);
}

static char *put_text(char *into, const char *text) { return put(into, text, strlen(text)); }

static char *put_ip_text(char *into, const struct address *address, uint8_t kind)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t v6[16];
    as_v6(address, v6);
    PROMISE(kind == V2_TCP4 ? inet_ntop(AF_INET, v6 + 12, text, sizeof text) != NULL
                            : inet_ntop(AF_INET6, v6, text, sizeof text) != NULL);
    return put_text(put_text(into, " "), text);
}

static char *put_port_text(char *into, const struct address *address)
{
    return digits_write(put_text(into, " "), address_port(address));
}

size_t proxy_protocol_write_v1(const struct address *source, const struct address *destination,
                               char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX])
{
    uint8_t kind = kind_of_pair(source, destination);
    char *next = put_text(into, kind == V2_UNSPEC ? "PROXY UNKNOWN" : kind == V2_TCP4 ? "PROXY TCP4" : "PROXY TCP6");
    if (kind != V2_UNSPEC) {
        next = put_ip_text(next, source, kind);
        next = put_ip_text(next, destination, kind);
        next = put_port_text(next, source);
        next = put_port_text(next, destination);
    }
    return (size_t)(put_text(next, "\r\n") - into);
}

size_t proxy_protocol_write_v2(const struct address *source, const struct address *destination,
                               char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX])
{
    uint8_t kind = kind_of_pair(source, destination);
    uint8_t fixed[] = { kind == V2_UNSPEC ? V2_LOCAL : V2_PROXY, kind, 0, (uint8_t)v2_address_bytes(kind) };
    char *next = put(put(into, V2_SIGNATURE.at, V2_SIGNATURE.length), fixed, sizeof fixed);
    if (kind != V2_UNSPEC) {
        next = put_ip(next, source, kind);
        next = put_ip(next, destination, kind);
        next = put_port(next, source);
        next = put_port(next, destination);
    }
    return (size_t)(next - into);
}
