/* http/proxy_protocol.h: the PROXY protocol, by which a proxy in front tells whose connection it passes on. Versions 1 (a line
 * of text) and 2 (binary) to and from bytes, by the specification of HAProxy (doc/proxy-protocol.txt, sections 2.1, 2.2).
 *
 * Pure: no socket and no clock. Nothing is allocated and nothing is kept. Whether a peer may speak it at all is the
 * listener's to know: by the specification nobody guesses. */
#ifndef SLUICE_HTTP_PROXY_PROTOCOL_H
#define SLUICE_HTTP_PROXY_PROTOCOL_H

#include "base/error.h"
#include "event/socket.h"

#define PROXY_PROTOCOL_V1_BYTES_MAX 107         /* with CRLF; section 2.1 */
#define PROXY_PROTOCOL_V2_BYTES_MAX (16 + 4096) /* ours: 64 KiB could be announced, but no sender has use for it */
#define PROXY_PROTOCOL_BYTES_MAX PROXY_PROTOCOL_V2_BYTES_MAX
#define PROXY_PROTOCOL_WRITTEN_BYTES_MAX PROXY_PROTOCOL_V1_BYTES_MAX /* of what we write, either version */

enum proxy_protocol_result {
    PROXY_PROTOCOL_NEED_MORE,
    PROXY_PROTOCOL_COMPLETE,
    PROXY_PROTOCOL_BAD, /* no header of ours, or a broken one: the connection is to be closed without an answer */
};

struct proxy_protocol_header {
    size_t length;   /* bytes of the header; what stands behind it is the connection's own */
    uint8_t version; /* 1 or 2 */
    /* The proxy speaks for itself (a health check, say): the connection's ends are the socket's. Version 2 only. */
    bool local;
    /* Both AF_UNSPEC where the header names none that we could use (local, UNKNOWN, UDP, a UNIX socket): then too the
     * socket's own ends count. A v4-mapped IPv6 address comes as IPv4. */
    struct address source, destination;
};

/* Reads the header at the beginning of a connection's bytes; `length` may be 0, and more than the header is no fault.
 * Nothing behind the header is looked at.
 *   NEED_MORE  so far it is a header's beginning; call again with more of the same bytes. Never after
 *              PROXY_PROTOCOL_BYTES_MAX bytes
 *   COMPLETE   *header is filled
 *   BAD        *error says what is wrong; told as early as it shows, and more bytes don't change it
 * *header is untouched unless COMPLETE. TLVs of version 2 are passed over; a CRC32C among them is checked (2.2.3). */
enum proxy_protocol_result proxy_protocol_parse(const char *bytes, size_t length, struct proxy_protocol_header *header,
                                                struct error *error) MUST_USE;

/* Write a header for a connection from `source` to `destination` and return its length. Two IPv4 addresses, plain or
 * mapped, go as IPv4; where only one is IPv4 it is mapped into IPv6. Where either is AF_UNSPEC, version 1 says UNKNOWN
 * and version 2 LOCAL. */
size_t proxy_protocol_write_v1(const struct address *source, const struct address *destination,
                               char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX]);
size_t proxy_protocol_write_v2(const struct address *source, const struct address *destination,
                               char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX]);

#endif
