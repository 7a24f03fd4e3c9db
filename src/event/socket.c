#include "event/socket.h"

#include "base/digits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

bool address_parse_port(struct slice text, uint16_t *port)
{
    uint64_t value;
    if (text.length == 0 || text.length > 5 || (text.length > 1 && text.at[0] == '0')) return false;
    if (!slice_parse_uint64(text, &value) || value > UINT16_MAX) return false;
    *port = (uint16_t)value;
    return true;
}

bool address_parse_ip(struct slice text, uint16_t port, struct address *address)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.length == 0 || text.length >= sizeof copy || slice_find_byte(text, '\0') != SLICE_NOT_FOUND) return false;
    memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    struct address parsed = { 0 };
    if (inet_pton(AF_INET, copy, &parsed.v4.sin_addr) == 1) {
        parsed.v4.sin_family = AF_INET;
        parsed.v4.sin_port = htons(port);
    } else {
        parsed = (struct address){ 0 };
        if (inet_pton(AF_INET6, copy, &parsed.v6.sin6_addr) != 1) return false;
        parsed.v6.sin6_family = AF_INET6;
        parsed.v6.sin6_port = htons(port);
    }
    *address = parsed;
    return true;
}

bool address_parse(struct slice text, struct address *address)
{
    bool bracketed = slice_starts_with(text, SLICE("["));
    size_t end = bracketed ? slice_find(text, SLICE("]:")) : slice_find_byte(text, ':');
    if (end == SLICE_NOT_FOUND) return false;
    struct slice ip = bracketed ? slice_after(slice_before(text, end), 1) : slice_before(text, end);
    uint16_t port;
    if (!address_parse_port(slice_after(text, end + 1 + bracketed), &port)) return false;
    struct address parsed;
    if (!address_parse_ip(ip, port, &parsed) || (parsed.any.sa_family == AF_INET6) != bracketed) return false;
    *address = parsed;
    return true;
}

/* By hand: inet_ntop goes through printf, and this is on the way of each new client. */
static size_t write_v4(const uint8_t bytes[4], char *into)
{
    char *next = into;
    for (int i = 0; i < 4; i++) {
        if (i) *next++ = '.';
        next = digits_write(next, bytes[i]);
    }
    *next = '\0';
    return (size_t)(next - into);
}

/* The longest run of zeros, the first of equals; a single one is no run (RFC 5952 4.2). */
static int find_zeros(const uint16_t groups[8], int *length)
{
    int start = 8;
    *length = 1;
    for (int i = 0, run = 0; i < 8; i++) {
        run = groups[i] == 0 ? run + 1 : 0;
        if (run <= *length) continue;
        *length = run;
        start = i + 1 - run;
    }
    return start;
}

static char *put_hexadecimal(char *into, unsigned value)
{
    static const char digits[] = "0123456789abcdef";
    int shift = 12;
    while (shift > 0 && value >> shift == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) *into++ = digits[value >> shift & 15];
    return into;
}

/* RFC 5952. By hand too, since inet_ntop writes each address below 1::/96 as if it were an IPv4 one. */
static size_t write_v6(const struct in6_addr *ip, char *into)
{
    if (IN6_IS_ADDR_V4MAPPED(ip)) return 7 + write_v4(ip->s6_addr + 12, mempcpy(into, "::ffff:", 7));
    uint16_t groups[8];
    for (size_t i = 0; i < 8; i++) groups[i] = (uint16_t)(ip->s6_addr[2 * i] << 8 | ip->s6_addr[2 * i + 1]);
    int length, zeros = find_zeros(groups, &length);
    char *next = into;
    for (int i = 0; i < 8; i++) {
        if (i == zeros) {
            next = mempcpy(next, "::", 2);
            i += length - 1;
            continue;
        }
        if (i > 0 && i != zeros + length) *next++ = ':';
        next = put_hexadecimal(next, groups[i]);
    }
    *next = '\0';
    return (size_t)(next - into);
}

size_t address_write_ip(const struct address *address, char into[ADDRESS_TEXT_BYTES])
{
    if (address->any.sa_family == AF_INET) return write_v4((const uint8_t *)&address->v4.sin_addr, into);
    if (address->any.sa_family == AF_INET6) {
        const struct in6_addr *ip = &address->v6.sin6_addr;
        return IN6_IS_ADDR_V4MAPPED(ip) ? write_v4(ip->s6_addr + 12, into) : write_v6(ip, into);
    }
    into[0] = '\0';
    return 0;
}

size_t address_write(const struct address *address, char into[ADDRESS_TEXT_BYTES])
{
    char *next = into;
    if (address->any.sa_family == AF_INET6) {
        *next++ = '[';
        next += write_v6(&address->v6.sin6_addr, next);
        *next++ = ']';
    } else {
        next += address_write_ip(address, into);
        if (next == into) return 0;
    }
    *next++ = ':';
    next = digits_write(next, address_port(address));
    *next = '\0';
    return (size_t)(next - into);
}

bool address_equal(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family) return false;
    switch (a->any.sa_family) {
    case AF_INET: return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    case AF_INET6:
        return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    default: return true;
    }
}

void address_unmap(struct address *address)
{
    if (address->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) return;
    struct address plain = { .v4 = { .sin_family = AF_INET, .sin_port = address->v6.sin6_port } };
    memcpy(&plain.v4.sin_addr, address->v6.sin6_addr.s6_addr + 12, sizeof plain.v4.sin_addr);
    *address = plain;
}

bool address_is_loopback(const struct address *address)
{
    if (address->any.sa_family == AF_INET) return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

uint16_t address_port(const struct address *address)
{
    switch (address->any.sa_family) {
    case AF_INET: return ntohs(address->v4.sin_port);
    case AF_INET6: return ntohs(address->v6.sin6_port);
    default: return 0;
    }
}

socklen_t address_length(const struct address *address)
{
    switch (address->any.sa_family) {
    case AF_INET: return sizeof address->v4;
    case AF_INET6: return sizeof address->v6;
    default: return 0;
    }
}

#define V4_PREFIX_BITS 96 /* of ::ffff:0:0/96 */

/* As 16 bytes; says whether it is an IPv4 address, plain or mapped. */
static bool write_mapped(const struct address *address, uint8_t bytes[16])
{
    if (address->any.sa_family == AF_INET) {
        memset(bytes, 0, 10);
        memset(bytes + 10, 0xff, 2);
        memcpy(bytes + 12, &address->v4.sin_addr, 4);
        return true;
    }
    memcpy(bytes, &address->v6.sin6_addr, 16);
    return IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr);
}

/* Whether a and b agree in their first `bits` bits. */
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0) return false;
    if (bits % 8 == 0) return true;
    return ((a[bits / 8] ^ b[bits / 8]) & (0xff00 >> bits % 8) & 0xff) == 0;
}

static bool has_bits_below(const uint8_t bytes[16], unsigned prefix_bits)
{
    uint8_t kept[16] = { 0 };
    memcpy(kept, bytes, prefix_bits / 8);
    if (prefix_bits % 8) kept[prefix_bits / 8] = (uint8_t)(bytes[prefix_bits / 8] & 0xff00 >> prefix_bits % 8);
    return memcmp(kept, bytes, 16) != 0;
}

bool address_range_parse(struct slice text, struct address_range *range)
{
    size_t slash = slice_find_byte(text, '/');
    struct address address;
    if (!address_parse_ip(slice_before(text, slash), 0, &address)) return false;
    struct address_range parsed;
    write_mapped(&address, parsed.bytes);
    unsigned width = address.any.sa_family == AF_INET ? 32 : 128;
    uint64_t bits = width;
    if (slash != SLICE_NOT_FOUND) {
        struct slice digits = slice_after(text, slash + 1);
        if (digits.length > 3 || (digits.length > 1 && digits.at[0] == '0')) return false;
        if (!slice_parse_uint64(digits, &bits) || bits > width) return false;
    }
    parsed.prefix_bits = (uint8_t)(128 - width + bits);
    if (has_bits_below(parsed.bytes, parsed.prefix_bits)) return false;
    *range = parsed;
    return true;
}

bool address_range_contains(const struct address_range *range, const struct address *address)
{
    if (address->any.sa_family != AF_INET && address->any.sa_family != AF_INET6) return false;
    uint8_t bytes[16];
    bool is_v4 = write_mapped(address, bytes);
    if (is_v4 && range->prefix_bits < V4_PREFIX_BITS) return false; /* ::/0 speaks of IPv6 only */
    return same_prefix(bytes, range->bytes, range->prefix_bits);
}

static bool switch_on(int descriptor, int level, int option)
{
    int on = 1;
    return setsockopt(descriptor, level, option, &on, sizeof on) == 0;
}

static bool prepare_listener(int descriptor, const struct address *address, int backlog)
{
    return switch_on(descriptor, SOL_SOCKET, SO_REUSEADDR) && switch_on(descriptor, SOL_SOCKET, SO_REUSEPORT) &&
           switch_on(descriptor, IPPROTO_TCP, TCP_NODELAY) &&
           (address->any.sa_family != AF_INET6 || switch_on(descriptor, IPPROTO_IPV6, IPV6_V6ONLY)) &&
           bind(descriptor, &address->any, address_length(address)) == 0 && listen(descriptor, backlog) == 0;
}

int socket_listen(const struct address *address, int backlog, struct error *error)
{
    int descriptor = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && prepare_listener(descriptor, address, backlog)) return descriptor;
    int reason = errno;
    if (descriptor >= 0) close(descriptor);
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    error_format(error, "cannot listen on %s: %s", text, error_from_errno(reason));
    return -1;
}

int socket_connect(const struct address *address, struct error *error)
{
    int descriptor = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-resources", "cannot make a socket: %s",
                  error_from_errno(errno));
        return -1;
    }
    switch_on(descriptor, IPPROTO_TCP, TCP_NODELAY);
    if (connect(descriptor, &address->any, address_length(address)) == 0 || errno == EINPROGRESS) return descriptor;
    int reason = errno;
    close(descriptor);
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    error_set(error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "connect-failure", "cannot connect to %s: %s", text,
              error_from_errno(reason));
    return -1;
}

int socket_accept(int listener, struct address *peer)
{
    *peer = (struct address){ 0 };
    socklen_t length = sizeof *peer;
    int descriptor = accept4(listener, &peer->any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    address_unmap(peer); /* limits, lists and logs then meet one client under one name */
    return descriptor;
}

bool socket_local_address(int descriptor, struct address *address)
{
    *address = (struct address){ 0 };
    socklen_t length = sizeof *address;
    return getsockname(descriptor, &address->any, &length) == 0;
}

int socket_pending_error(int descriptor)
{
    int pending = 0;
    socklen_t length = sizeof pending;
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &pending, &length) == 0 ? pending : errno;
}

void socket_reset_on_close(int descriptor)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}
