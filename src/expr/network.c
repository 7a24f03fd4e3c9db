/* expr/network.c: CEL's extension of networks: cidr("10.0.0.0/8").containsIP(source.ip). An IPv4 address is kept as IPv6 maps it, so that
 * both ways to write one are the same address. */
#include "event/socket.h"
#include "expr/private.h"

#include <arpa/inet.h>

#define MAPPED 0xffff00000000u /* above the lowest 32 bits of an IPv4 address */

static bool is_v4(const struct expression_value *value)
{
    return value->address.high == 0 && value->address.low >> 32 == MAPPED >> 32;
}

static uint64_t read_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | bytes[i];
    return value;
}

static void write_u64(uint64_t value, unsigned char *bytes)
{
    for (int i = 7; i >= 0; i--, value >>= 8) bytes[i] = (unsigned char)value;
}

/* Without zone; and an IPv4 address in an IPv6 one is written in hexadecimal or not at all. */
static bool parse_ip(struct slice text, struct expression_value *value)
{
    char buffer[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    bool has_colon = slice_find_byte(text, ':') != SLICE_NOT_FOUND,
         has_point = slice_find_byte(text, '.') != SLICE_NOT_FOUND;
    if (text.length >= sizeof buffer || has_colon == has_point || slice_find_byte(text, '\0') != SLICE_NOT_FOUND)
        return false;
    memcpy(buffer, text.at, text.length);
    buffer[text.length] = '\0';
    *value = (struct expression_value){ .type = EXPRESSION_IP };
    if (has_colon) {
        if (inet_pton(AF_INET6, buffer, bytes) != 1) return false;
        value->address.high = read_u64(bytes);
        value->address.low = read_u64(bytes + 8);
        return true;
    }
    struct in_addr address;
    if (inet_pton(AF_INET, buffer, &address) != 1) return false;
    value->address.low = MAPPED | ntohl(address.s_addr);
    return true;
}

static bool parse_cidr(struct slice text, struct expression_value *value)
{
    size_t slash = slice_find_byte(text, '/');
    uint64_t prefix;
    if (slash == SLICE_NOT_FOUND || !parse_ip(slice_before(text, slash), value)) return false;
    struct slice digits = slice_after(text, slash + 1);
    if (!slice_parse_uint64(digits, &prefix) || (digits.length > 1 && digits.at[0] == '0')) return false;
    value->type = EXPRESSION_CIDR;
    value->count = (uint32_t)prefix;
    return prefix <= (is_v4(value) ? 32 : 128);
}

/* As `source.ip` and the log have it. */
size_t network_write(const struct expression_value *value, char into[64])
{
    struct address address = { .v6 = { .sin6_family = AF_INET6 } };
    write_u64(value->address.high, address.v6.sin6_addr.s6_addr);
    write_u64(value->address.low, address.v6.sin6_addr.s6_addr + 8);
    size_t length = address_write_ip(&address, into);
    if (value->type == EXPRESSION_CIDR) length += (size_t)snprintf(into + length, 64 - length, "/%u", value->count);
    return length;
}

/* An address with all bits behind the prefix cleared. */
static void mask(struct expression_value *value, uint32_t prefix)
{
    uint32_t bits = is_v4(value) ? prefix + 96 : prefix;
    value->address.high &= bits >= 64 ? UINT64_MAX : bits == 0 ? 0 : UINT64_MAX << (64 - bits);
    value->address.low &= bits >= 128 ? UINT64_MAX : bits <= 64 ? 0 : UINT64_MAX << (128 - bits);
}

static bool contains(const struct expression_value *range, const struct expression_value *address)
{
    struct expression_value a = *range, b = *address;
    if (is_v4(&a) != is_v4(&b)) return false;
    mask(&a, range->count);
    mask(&b, range->count);
    return a.address.high == b.address.high && a.address.low == b.address.low;
}

/* --- functions --- */

/* The value itself, or what a text of it says. */
static bool take(struct evaluation *evaluation, const struct expression_value *argument, enum expression_type type,
                 struct expression_value *value)
{
    *value = *argument;
    if (argument->type == type) return true;
    if (argument->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    if (type == EXPRESSION_IP)
        return parse_ip(argument->text, value) || evaluation_fail(evaluation, "the text is no IP address");
    return parse_cidr(argument->text, value) || evaluation_fail(evaluation, "the text is no range of IP addresses");
}

static bool run_ip(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                   struct expression_value *result)
{
    return take(evaluation, arguments, EXPRESSION_IP, result);
}

static bool run_cidr(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    return take(evaluation, arguments, EXPRESSION_CIDR, result);
}

static bool run_is_ip(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    struct expression_value value;
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    *result = expression_bool(parse_ip(arguments->text, &value));
    return true;
}

static bool run_is_cidr(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    struct expression_value value;
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    *result = expression_bool(parse_cidr(arguments->text, &value));
    return true;
}

static bool run_is_canonical(struct evaluation *evaluation, const struct term *term,
                             const struct expression_value *arguments, struct expression_value *result)
{
    struct expression_value value;
    char text[64];
    if (arguments->type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    if (!take(evaluation, arguments, EXPRESSION_IP, &value)) return false;
    *result = expression_bool(slice_equal(arguments->text, slice_of(text, network_write(&value, text))));
    return true;
}

static bool want(struct evaluation *evaluation, const struct expression_value *value, enum expression_type type)
{
    return value->type == type || evaluation_no_overload(evaluation);
}

static bool run_family(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    *result = expression_int(is_v4(arguments) ? 4 : 6);
    return want(evaluation, arguments, EXPRESSION_IP);
}

/* What kinds of addresses there are (RFC 6890 and the registries that it began). */
static bool is_unspecified(const struct expression_value *ip)
{
    return is_v4(ip) ? (uint32_t)ip->address.low == 0 : ip->address.high == 0 && ip->address.low == 0;
}

static bool is_loopback(const struct expression_value *ip)
{
    return is_v4(ip) ? (uint32_t)ip->address.low >> 24 == 127 : ip->address.high == 0 && ip->address.low == 1;
}

static bool is_link_local_unicast(const struct expression_value *ip)
{
    return is_v4(ip) ? (uint32_t)ip->address.low >> 16 == 0xa9fe : ip->address.high >> 54 == 0xfe80 >> 6;
}

static bool is_link_local_multicast(const struct expression_value *ip)
{
    return is_v4(ip) ? (uint32_t)ip->address.low >> 8 == 0xe00000 : (ip->address.high >> 48 & 0xff0f) == 0xff02;
}

static bool is_multicast(const struct expression_value *ip)
{
    return is_v4(ip) ? (uint32_t)ip->address.low >> 28 == 0xe : ip->address.high >> 56 == 0xff;
}

static bool is_global_unicast(const struct expression_value *ip)
{
    bool is_broadcast = is_v4(ip) && (uint32_t)ip->address.low == UINT32_MAX;
    return !is_broadcast && !is_unspecified(ip) && !is_loopback(ip) && !is_multicast(ip) && !is_link_local_unicast(ip);
}

static bool ask(struct evaluation *evaluation, const struct expression_value *ip,
                bool (*question)(const struct expression_value *), struct expression_value *result)
{
    if (!want(evaluation, ip, EXPRESSION_IP)) return false;
    *result = expression_bool(question(ip));
    return true;
}

static bool run_unspecified(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    return ask(evaluation, arguments, is_unspecified, result);
}

static bool run_loopback(struct evaluation *evaluation, const struct term *term,
                         const struct expression_value *arguments, struct expression_value *result)
{
    return ask(evaluation, arguments, is_loopback, result);
}

static bool run_global_unicast(struct evaluation *evaluation, const struct term *term,
                               const struct expression_value *arguments, struct expression_value *result)
{
    return ask(evaluation, arguments, is_global_unicast, result);
}

static bool run_link_local_unicast(struct evaluation *evaluation, const struct term *term,
                                   const struct expression_value *arguments, struct expression_value *result)
{
    return ask(evaluation, arguments, is_link_local_unicast, result);
}

static bool run_link_local_multicast(struct evaluation *evaluation, const struct term *term,
                                     const struct expression_value *arguments, struct expression_value *result)
{
    return ask(evaluation, arguments, is_link_local_multicast, result);
}

static bool run_contains_ip(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    struct expression_value address;
    if (!want(evaluation, arguments, EXPRESSION_CIDR)) return false;
    if (!take(evaluation, &arguments[1], EXPRESSION_IP, &address)) return false;
    *result = expression_bool(contains(arguments, &address));
    return true;
}

static bool run_contains_cidr(struct evaluation *evaluation, const struct term *term,
                              const struct expression_value *arguments, struct expression_value *result)
{
    struct expression_value range;
    if (!want(evaluation, arguments, EXPRESSION_CIDR)) return false;
    if (!take(evaluation, &arguments[1], EXPRESSION_CIDR, &range)) return false;
    *result = expression_bool(range.count >= arguments->count && contains(arguments, &range));
    return true;
}

static bool run_ip_of(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    *result = *arguments;
    result->type = EXPRESSION_IP;
    result->count = 0;
    return want(evaluation, arguments, EXPRESSION_CIDR);
}

static bool run_masked(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                       struct expression_value *result)
{
    if (!want(evaluation, arguments, EXPRESSION_CIDR)) return false;
    *result = *arguments;
    mask(result, result->count);
    return true;
}

static bool run_prefix_length(struct evaluation *evaluation, const struct term *term,
                              const struct expression_value *arguments, struct expression_value *result)
{
    if (!want(evaluation, arguments, EXPRESSION_CIDR)) return false;
    *result = expression_int(arguments->count);
    return true;
}

#define OF_IP "net.IP: bool"

const struct function functions_network[] = {
    { "ip", FUNCTION_GLOBAL, .overloads = "string: net.IP; net.IP: net.IP", .run = run_ip,
      .summary = "An IP address." },
    { "cidr", FUNCTION_GLOBAL, .overloads = "string: net.CIDR; net.CIDR: net.CIDR", .run = run_cidr,
      .summary = "A range of IP addresses, as 10.0.0.0/8." },
    { "isIP", FUNCTION_GLOBAL, .overloads = "string: bool", .run = run_is_ip, .summary = "Is the text an IP address?" },
    { "isCIDR", FUNCTION_GLOBAL, .overloads = "string: bool", .run = run_is_cidr,
      .summary = "Is the text a range of IP addresses?" },
    { "ip.isCanonical", FUNCTION_GLOBAL, .overloads = "string: bool", .run = run_is_canonical,
      .summary = "Is the address written as string() would write it?" },
    { "family", FUNCTION_RECEIVER, .overloads = "net.IP: int", .run = run_family, .summary = "4 or 6." },
    { "isUnspecified", FUNCTION_RECEIVER, .overloads = OF_IP, .run = run_unspecified, .summary = "0.0.0.0 or ::." },
    { "isLoopback", FUNCTION_RECEIVER, .overloads = OF_IP, .run = run_loopback, .summary = "127.0.0.0/8 or ::1." },
    { "isGlobalUnicast", FUNCTION_RECEIVER, .overloads = OF_IP, .run = run_global_unicast,
      .summary = "Of one machine, private ranges included, and not of this link or machine alone." },
    { "isLinkLocalUnicast", FUNCTION_RECEIVER, .overloads = OF_IP, .run = run_link_local_unicast,
      .summary = "169.254.0.0/16 or fe80::/10." },
    { "isLinkLocalMulticast", FUNCTION_RECEIVER, .overloads = OF_IP, .run = run_link_local_multicast,
      .summary = "224.0.0.0/24 or ff02::/16." },
    { "containsIP", FUNCTION_RECEIVER, .overloads = "net.CIDR, net.IP: bool; net.CIDR, string: bool",
      .run = run_contains_ip, .summary = "Is the address in the range?" },
    { "containsCIDR", FUNCTION_RECEIVER, .overloads = "net.CIDR, net.CIDR: bool; net.CIDR, string: bool",
      .run = run_contains_cidr, .summary = "Is all of the other range in it?" },
    { "ip", FUNCTION_RECEIVER, .overloads = "net.CIDR: net.IP", .run = run_ip_of,
      .summary = "The address before the slash." },
    { "masked", FUNCTION_RECEIVER, .overloads = "net.CIDR: net.CIDR", .run = run_masked,
      .summary = "With the bits behind the prefix cleared." },
    { "prefixLength", FUNCTION_RECEIVER, .overloads = "net.CIDR: int", .run = run_prefix_length,
      .summary = "The number behind the slash." },
    { .name = NULL },
};
