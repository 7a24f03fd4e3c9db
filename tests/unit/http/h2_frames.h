/* An HTTP/2 client by hand, for tests: writes whatever frames a test wants, right or wrong, and turns what it receives into lines of
 * text that tests look for:
 *
 *     SETTINGS            SETTINGS ack          PING ack            WINDOW_UPDATE 3 32768
 *     HEADERS 1 :status=200 content-length=5
 *     DATA 1 hello end    (of more than 80 bytes or unprintable ones: DATA 1 [16384])
 *     RST_STREAM 3 8      GOAWAY 5 0            (numbers are the error codes of RFC 9113 7) */
#ifndef SLUICE_UNIT_HTTP_H2_FRAMES_H
#define SLUICE_UNIT_HTTP_H2_FRAMES_H

#include "sessions.h"

#include <nghttp2/nghttp2.h>

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_END 0x1
#define H2_END_HEADERS 0x4
#define H2_TEXT_SHOWN 80

struct h2_peer {
    struct wire *wire;
    nghttp2_hd_deflater *deflater;
    nghttp2_hd_inflater *inflater;
    size_t parsed; /* of wire->received */
    char *log;
    size_t log_length, log_capacity;
    uint64_t content; /* bytes of DATA, all streams together */
    uint64_t content_of[512];
    uint64_t granted[512], sent[512]; /* by WINDOW_UPDATE, in DATA; [0]: the connection's */
    unsigned content_mistakes;        /* bytes that aren't i % 251 of their stream */
};

static inline void h2_peer_open(struct h2_peer *peer, struct wire *wire)
{
    *peer = (struct h2_peer){ .wire = wire, .log_capacity = 1 << 16 };
    peer->log = calloc(1, peer->log_capacity);
    assert_int_equal(nghttp2_hd_deflate_new(&peer->deflater, 4096), 0);
    assert_int_equal(nghttp2_hd_inflate_new(&peer->inflater), 0);
}

static inline void h2_peer_close(struct h2_peer *peer)
{
    if (!peer->log) return;
    nghttp2_hd_deflate_del(peer->deflater);
    nghttp2_hd_inflate_del(peer->inflater);
    free(peer->log);
    peer->log = NULL;
}

/* --- sending --- */

/* All of it, waiting where the socket is full. */
static inline void h2_bytes(struct h2_peer *peer, const void *bytes, size_t length)
{
    const char *at = bytes;
    unsigned turns = 0;
    while (length > 0) {
        size_t sent = wire_write(peer->wire, at, length);
        at += sent;
        length -= sent;
        if (length > 0) assert_true(one_turn_more(&turns));
    }
}

static inline void h2_frame_head(char into[9], unsigned type, unsigned flags, uint32_t stream, size_t length)
{
    const char head[9] = { (char)(length >> 16), (char)(length >> 8),  (char)length,        (char)type,  (char)flags,
                           (char)(stream >> 24), (char)(stream >> 16), (char)(stream >> 8), (char)stream };
    memcpy(into, head, sizeof head);
}

static inline void h2_frame(struct h2_peer *peer, unsigned type, unsigned flags, uint32_t stream, const void *payload,
                            size_t length)
{
    char *bytes = malloc(9 + length);
    h2_frame_head(bytes, type, flags, stream, length);
    if (length > 0) memcpy(bytes + 9, payload, length);
    h2_bytes(peer, bytes, 9 + length);
    free(bytes);
    if (type != NGHTTP2_DATA) return;
    peer->sent[stream % COUNT_OF(peer->sent)] += length;
    peer->sent[0] += length;
}

/* What the windows allow. */
static inline size_t h2_may_send(const struct h2_peer *peer, uint32_t stream)
{
    uint64_t own = 65535 + peer->granted[stream % COUNT_OF(peer->granted)] - peer->sent[stream % COUNT_OF(peer->sent)];
    uint64_t all = 65535 + peer->granted[0] - peer->sent[0];
    return (size_t)(own < all ? own : all);
}

static inline void h2_data(struct h2_peer *peer, uint32_t stream, const char *text, unsigned flags)
{
    h2_frame(peer, NGHTTP2_DATA, flags, stream, text, strlen(text));
}

static inline void h2_number_frame(struct h2_peer *peer, unsigned type, uint32_t stream, uint32_t number)
{
    const char payload[4] = { (char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number };
    h2_frame(peer, type, 0, stream, payload, sizeof payload);
}

static inline void h2_reset(struct h2_peer *peer, uint32_t stream, uint32_t code)
{
    h2_number_frame(peer, NGHTTP2_RST_STREAM, stream, code);
}

static inline void h2_open_window(struct h2_peer *peer, uint32_t stream, uint32_t increment)
{
    h2_number_frame(peer, NGHTTP2_WINDOW_UPDATE, stream, increment);
}

static inline void h2_setting(struct h2_peer *peer, unsigned id, uint32_t value)
{
    const char payload[6] = { (char)(id >> 8),     (char)id,           (char)(value >> 24),
                              (char)(value >> 16), (char)(value >> 8), (char)value };
    h2_frame(peer, NGHTTP2_SETTINGS, 0, 0, payload, sizeof payload);
}

/* Names and values up to NULL, as a block of at most `size` bytes; returns its length. */
static inline size_t h2_block_list(struct h2_peer *peer, char *into, size_t size, va_list list)
{
    nghttp2_nv fields[512];
    size_t count = 0;
    for (char *name; (name = va_arg(list, char *)) != NULL && count < COUNT_OF(fields); count++) {
        char *value = va_arg(list, char *);
        fields[count] = (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0 };
    }
    ssize_t length = nghttp2_hd_deflate_hd(peer->deflater, (uint8_t *)into, size, fields, count);
    assert_true(length >= 0);
    return (size_t)length;
}

static inline size_t h2_block(struct h2_peer *peer, char *into, size_t size, ...)
{
    va_list list;
    va_start(list, size);
    size_t length = h2_block_list(peer, into, size, list);
    va_end(list);
    return length;
}

static inline void h2_headers(struct h2_peer *peer, uint32_t stream, unsigned flags, ...)
{
    static char block[1 << 18];
    va_list list;
    va_start(list, flags);
    size_t length = h2_block_list(peer, block, sizeof block, list);
    va_end(list);
    h2_frame(peer, NGHTTP2_HEADERS, flags | H2_END_HEADERS, stream, block, length);
}

#define H2_REQUEST(method, path) ":method", (method), ":scheme", "http", ":authority", "h", ":path", (path)

static inline void h2_get(struct h2_peer *peer, uint32_t stream, const char *path)
{
    h2_headers(peer, stream, H2_END, H2_REQUEST("GET", path), NULL);
}

static inline void h2_post(struct h2_peer *peer, uint32_t stream)
{
    h2_headers(peer, stream, 0, H2_REQUEST("POST", "/a"), NULL);
}

/* --- receiving --- */

static inline void h2_note(struct h2_peer *peer, const char *format, ...) PRINTF_LIKE(2, 3);
static inline void h2_note(struct h2_peer *peer, const char *format, ...)
{
    va_list list;
    if (peer->log_capacity - peer->log_length < 16384) peer->log = realloc(peer->log, peer->log_capacity *= 2);
    va_start(list, format);
    int length = vsnprintf(peer->log + peer->log_length, peer->log_capacity - peer->log_length, format, list);
    va_end(list);
    assert_true(length >= 0 && (size_t)length < peer->log_capacity - peer->log_length);
    peer->log_length += (size_t)length;
}

static inline uint32_t h2_load(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void h2_note_fields(struct h2_peer *peer, const uint8_t *block, size_t length)
{
    for (;;) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(peer->inflater, &field, &flags, block, length, 1);
        assert_true(used >= 0);
        block += used;
        length -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            h2_note(peer, " %.*s=%.*s", (int)field.namelen, field.name, (int)field.valuelen, field.value);
        if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    }
    nghttp2_hd_inflate_end_headers(peer->inflater);
}

static inline void h2_note_data(struct h2_peer *peer, uint32_t stream, const uint8_t *bytes, size_t length)
{
    uint64_t *content = &peer->content_of[stream % COUNT_OF(peer->content_of)];
    bool printable = length <= H2_TEXT_SHOWN;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] < ' ' || bytes[i] > '~') printable = false;
        peer->content_mistakes += bytes[i] != (*content + i) % 251;
    }
    *content += length;
    peer->content += length;
    if (printable)
        h2_note(peer, "DATA %u %.*s", stream, (int)length, (const char *)bytes);
    else
        h2_note(peer, "DATA %u [%zu]", stream, length);
}

static inline void h2_parse_frame(struct h2_peer *peer, const uint8_t *frame, size_t length)
{
    static const char *const names[] = {
        "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING"
    };
    unsigned type = frame[3], flags = frame[4];
    uint32_t stream = h2_load(frame + 5);
    const uint8_t *payload = frame + 9;
    switch (type) {
    case NGHTTP2_DATA: h2_note_data(peer, stream, payload, length); break;
    case NGHTTP2_HEADERS:
        assert_true(flags & H2_END_HEADERS);
        h2_note(peer, "HEADERS %u", stream);
        h2_note_fields(peer, payload, length);
        break;
    case NGHTTP2_RST_STREAM: h2_note(peer, "RST_STREAM %u %u", stream, h2_load(payload)); break;
    case NGHTTP2_GOAWAY: h2_note(peer, "GOAWAY %u %u", h2_load(payload), h2_load(payload + 4)); break;
    case NGHTTP2_WINDOW_UPDATE:
        peer->granted[stream % COUNT_OF(peer->granted)] += h2_load(payload);
        h2_note(peer, "WINDOW_UPDATE %u %u", stream, h2_load(payload));
        break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING: h2_note(peer, "%s%s", names[type], flags & NGHTTP2_FLAG_ACK ? " ack" : ""); break;
    default: fail_msg("a frame of type %u", type);
    }
    bool ends = (type == NGHTTP2_DATA || type == NGHTTP2_HEADERS) && flags & H2_END;
    h2_note(peer, ends ? " end\n" : "\n");
}

static inline void h2_parse(struct h2_peer *peer)
{
    struct wire *wire = peer->wire;
    for (;;) {
        const uint8_t *frame = (const uint8_t *)wire->received + peer->parsed;
        size_t left = wire->length - peer->parsed;
        if (left < 9) return;
        size_t length = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
        assert_true(length <= 16384);
        if (left < 9 + length) return;
        h2_parse_frame(peer, frame, length);
        peer->parsed += 9 + length;
        if (peer->parsed < (1 << 20)) continue;
        memmove(wire->received, wire->received + peer->parsed, wire->length - peer->parsed);
        wire->length -= peer->parsed;
        peer->parsed = 0;
    }
}

static inline void h2_forget(struct h2_peer *peer)
{
    peer->log_length = 0;
    peer->log[0] = '\0';
}

static inline bool h2_has(struct h2_peer *peer, const char *text)
{
    h2_parse(peer);
    return strstr(peer->log, text) != NULL;
}

#define assert_h2(peer, text)                                                                         \
    do {                                                                                              \
        unsigned turns_taken = 0;                                                                     \
        while (!h2_has((peer), (text)) && one_turn_more(&turns_taken)) {}                             \
        if (!h2_has((peer), (text))) fail_msg("expected \"%s\", received:\n%s", (text), (peer)->log); \
    } while (0)
#define assert_not_h2(peer, text)                                                                          \
    do {                                                                                                   \
        if (h2_has((peer), (text))) fail_msg("did not expect \"%s\", received:\n%s", (text), (peer)->log); \
    } while (0)

#endif
