/* bench/tls_idle: idle connections of TLS clients, by the thousand, that cost the client next to nothing.
 *
 *     tls_idle PORT CONNECTIONS h1|h2
 *
 * Each connection shakes hands (TLS 1.3), asks for / once, reads the answer to its end and falls silent. From then on it
 * is a bare socket: the client's own TLS state is freed without a word to the other side. "ready" on a line of its own
 * says that all stand; the first that is refused ends the program instead. A line on standard input, or its end, asks for
 * a line of JSON: how many the gateway has ended meanwhile. */
#define _GNU_SOURCE
#include "common.h"
#include "tls_client.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)

/* HTTP/2 as far as one GET needs it (RFC 9113, RFC 7541). */
#define H2_FRAME_HEAD 9u
enum { H2_DATA = 0, H2_HEADERS = 1, H2_SETTINGS = 4, H2_GOAWAY = 7 };
enum { H2_ACK = 0x1, H2_END_STREAM = 0x1, H2_END_HEADERS = 0x4 };
#define HPACK_STATUS_200 0x88
#define HPACK_TABLE_SIZE_MASK 0xe0 /* a size update begins with the bits 001 ... */
#define HPACK_TABLE_SIZE 0x20
#define HPACK_TABLE_SIZE_LONG 0x3f /* ... and goes on in further bytes after this one */

static char host[32];

static bool write_all(SSL *tls, const void *bytes, size_t length)
{
    return SSL_write(tls, bytes, (int)length) == (int)length;
}

static bool h1_exchange(SSL *tls)
{
    static char buffer[READ_BYTES];
    int length = snprintf(buffer, sizeof buffer, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    if (!write_all(tls, buffer, (size_t)length)) return false;
    for (size_t have = 0; have < sizeof buffer - 1;) {
        ssize_t got = tls_receive(tls, buffer + have, sizeof buffer - 1 - have);
        if (got <= 0) return false;
        have += (size_t)got;
        buffer[have] = '\0';
        const char *blank = strstr(buffer, "\r\n\r\n"), *field = strcasestr(buffer, "\r\ncontent-length:");
        if (!blank) continue;
        if (memcmp(buffer + 9, "200", 3) != 0 || !field) return false;
        size_t whole = (size_t)(blank + 4 - buffer) + strtoul(field + 17, NULL, 10);
        if (have >= whole) return have == whole;
    }
    return false;
}

static bool h2_send_request(SSL *tls)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const unsigned char settings[H2_FRAME_HEAD] = { [3] = H2_SETTINGS };
    unsigned char bytes[128];
    size_t length = sizeof preface - 1;
    memcpy(bytes, preface, length);
    memcpy(bytes + length, settings, sizeof settings);
    length += sizeof settings;
    /* :method GET, :scheme https and :path / by their index, :authority as a literal of a known name */
    unsigned char block[64] = { 0x82, 0x87, 0x84, 0x01, (unsigned char)strlen(host) };
    size_t block_length = 5 + strlen(host);
    memcpy(block + 5, host, strlen(host));
    unsigned char head[H2_FRAME_HEAD] = {
        [2] = (unsigned char)block_length, [3] = H2_HEADERS, [4] = H2_END_STREAM | H2_END_HEADERS, [8] = 1
    };
    memcpy(bytes + length, head, sizeof head);
    memcpy(bytes + length + sizeof head, block, block_length);
    return write_all(tls, bytes, length + sizeof head + block_length);
}

static bool h2_says_200(const unsigned char *block, size_t length)
{
    size_t i = 0;
    while (i < length && (block[i] & HPACK_TABLE_SIZE_MASK) == HPACK_TABLE_SIZE) {
        if (block[i++] == HPACK_TABLE_SIZE_LONG)
            while (i < length && block[i++] & 0x80) {}
    }
    return i < length && block[i] == HPACK_STATUS_200;
}

/* Reads until the gateway's settings are acknowledged and the answer has ended. */
static bool h2_exchange(SSL *tls)
{
    static const unsigned char acknowledge[H2_FRAME_HEAD] = { [3] = H2_SETTINGS, [4] = H2_ACK };
    static unsigned char buffer[READ_BYTES];
    bool acknowledged = false, answered = false, ended = false;
    if (!h2_send_request(tls)) return false;
    for (size_t have = 0; !(acknowledged && answered && ended);) {
        ssize_t got = tls_receive(tls, buffer + have, sizeof buffer - have);
        if (got <= 0) return false;
        have += (size_t)got;
        size_t taken = 0;
        while (have - taken >= H2_FRAME_HEAD) {
            const unsigned char *frame = buffer + taken;
            size_t length = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
            if (have - taken < H2_FRAME_HEAD + length) break;
            if (frame[3] == H2_GOAWAY) return false;
            if (frame[3] == H2_SETTINGS && !(frame[4] & H2_ACK))
                acknowledged = write_all(tls, acknowledge, sizeof acknowledge);
            if (frame[3] == H2_HEADERS && !answered) {
                answered = h2_says_200(frame + H2_FRAME_HEAD, length);
                if (!answered) return false;
            }
            if ((frame[3] == H2_HEADERS || frame[3] == H2_DATA) && frame[4] & H2_END_STREAM) ended = true;
            taken += H2_FRAME_HEAD + length;
        }
        memmove(buffer, buffer + taken, have - taken);
        have -= taken;
    }
    return true;
}

static bool speaks(SSL *tls, const char *protocol)
{
    const unsigned char *selected;
    unsigned length;
    SSL_get0_alpn_selected(tls, &selected, &length);
    return length == strlen(protocol) && memcmp(selected, protocol, length) == 0;
}

int main(int count, char **arguments)
{
    bool h2 = count == 4 && strcmp(arguments[3], "h2") == 0;
    if (count != 4 || (!h2 && strcmp(arguments[3], "h1") != 0)) {
        fprintf(stderr, "usage: tls_idle PORT CONNECTIONS h1|h2\n");
        return 1;
    }
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    const char *protocol = h2 ? "h2" : "http/1.1";
    SSL_CTX *context = tls_context(protocol);
    int port = atoi(arguments[1]), connections = atoi(arguments[2]), ended = 0;
    struct pollfd *standing = calloc((size_t)connections, sizeof *standing);
    if (!standing) die("calloc");
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    for (int i = 0; i < connections; i++) {
        standing[i] = (struct pollfd){ .fd = connect_to(port, 0), .events = POLLRDHUP };
        SSL *tls = tls_connect(context, standing[i].fd);
        if (!speaks(tls, protocol) || !(h2 ? h2_exchange(tls) : h1_exchange(tls))) {
            fprintf(stderr, "connection %d: no answer by %s\n", i + 1, protocol);
            return 2;
        }
        SSL_free(tls);
    }
    printf("ready\n");
    fflush(stdout);
    char line[16];
    if (read(STDIN_FILENO, line, sizeof line) < 0) die("read");
    poll(standing, (nfds_t)connections, 0);
    for (int i = 0; i < connections; i++) ended += standing[i].revents != 0;
    printf("{\"ended\": %d}\n", ended);
    return 0;
}
