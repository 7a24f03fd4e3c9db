/* event/socket.h: addresses and the socket calls with their options in one place. */
#ifndef SLUICE_EVENT_SOCKET_H
#define SLUICE_EVENT_SOCKET_H

#include "base/error.h"
#include "base/slice.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* IPv4, IPv6 or AF_UNSPEC (none). 28 bytes: kept many times over. */
struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

#define ADDRESS_TEXT_BYTES 56 /* "[ffff:...]:65535" and NUL */

/* "127.0.0.1:80", "[::1]:80"; no names. Port 0 (any free one, for a listener) is let through. */
bool address_parse(struct slice text, struct address *) MUST_USE;
/* An IP without a port; the port is given. */
bool address_parse_ip(struct slice text, uint16_t port, struct address *) MUST_USE;
/* Digits only, no leading zero, at most 65535. Port 0 is let through here too. */
bool address_parse_port(struct slice text, uint16_t *port) MUST_USE;
/* With port, brackets round IPv6. Returns the length written (without NUL). */
size_t address_write(const struct address *, char into[ADDRESS_TEXT_BYTES]);
/* No port, no brackets; v4-mapped as v4. The one canonical text of an address (RFC 5952). */
size_t address_write_ip(const struct address *, char into[ADDRESS_TEXT_BYTES]);
void address_unmap(struct address *); /* a v4-mapped address becomes the IPv4 one that it is */
bool address_equal(const struct address *, const struct address *);
bool address_is_loopback(const struct address *); /* 127.0.0.0/8, ::1: only this machine reaches it */
uint16_t address_port(const struct address *);
socklen_t address_length(const struct address *);

/* "10.0.0.0/8", "::1", "192.168.1.1". */
struct address_range {
    uint8_t bytes[16];   /* IPv4 as v4-mapped IPv6 */
    uint8_t prefix_bits; /* of the 128 */
};

bool address_range_parse(struct slice text, struct address_range *) MUST_USE;
bool address_range_contains(const struct address_range *, const struct address *);
/* Bits set below the prefix ("10.1.2.3/8") are refused by parse: they are usually a mistake. An IPv4 client is the same plain or
 * mapped into IPv6, and is in no range that is wider than all of IPv4 (::/0 speaks of IPv6 only). */

/* Bound with SO_REUSEADDR and SO_REUSEPORT, listening, non-blocking, close-on-exec; -1 and *error otherwise. An IPv6 socket takes
 * IPv6 only. TCP_NODELAY is set here: accepted sockets inherit it, which saves a system call for each. */
int socket_listen(const struct address *, int backlog, struct error *) MUST_USE;
/* Non-blocking, close-on-exec, TCP_NODELAY; connect begun. -1 and *error (text and RETRY_OTHER_INSTANCE) otherwise. */
int socket_connect(const struct address *, struct error *) MUST_USE;
/* Accepts one: non-blocking, close-on-exec, TCP_NODELAY if the listener has it. -1 with errno otherwise. A socket that was passed to us may
 * take both versions of IP: *peer of an IPv4 client is IPv4 all the same. */
int socket_accept(int listener, struct address *peer);
/* Our end of a connected socket. False: it can't be told. */
bool socket_local_address(int descriptor, struct address *) MUST_USE;
/* The error pending on a socket (SO_ERROR), 0 if none. */
int socket_pending_error(int descriptor);
/* Sends RST instead of FIN at close: for connections that must not look complete. */
void socket_reset_on_close(int descriptor);

#endif
