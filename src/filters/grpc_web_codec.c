#include "filters/grpc_web_codec.h"

#include <arpa/inet.h>

/* --- content types --- */

bool grpc_web_type_parse(struct slice value, struct grpc_web_type *type)
{
    type->text = grpc_type_read(value, SLICE("application/grpc-web-text"), &type->message);
    return type->text || grpc_type_read(value, SLICE("application/grpc-web"), &type->message);
}

/* --- base64 --- */

static const char base64_alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define BASE64_NONE 0xff

/* 0 to 63, or BASE64_NONE. */
static uint8_t base64_value(char symbol)
{
    if (symbol >= 'A' && symbol <= 'Z') return (uint8_t)(symbol - 'A');
    if (symbol >= 'a' && symbol <= 'z') return (uint8_t)(symbol - 'a' + 26);
    if (symbol >= '0' && symbol <= '9') return (uint8_t)(symbol - '0' + 52);
    return symbol == '+' ? 62 : symbol == '/' ? 63 : BASE64_NONE;
}

/* '=' may be the third (then the fourth is one too) and the fourth of a group. */
static bool take_symbol(struct base64_reader *reader, char symbol)
{
    uint8_t value = 0;
    if (symbol == '=') {
        if (reader->symbols < 2) return false;
        reader->padding++;
    } else {
        value = base64_value(symbol);
        if (value == BASE64_NONE || reader->padding > 0) return false;
    }
    reader->bits = reader->bits << 6 | value;
    reader->symbols++;
    return true;
}

/* Of a whole group; false where bits that padding leaves over aren't zero: then two texts would mean the same. */
static bool end_group(struct base64_reader *reader, char *into, size_t *written)
{
    unsigned count = 3u - reader->padding;
    if (reader->bits & ((1u << (8 * reader->padding)) - 1)) return false;
    for (unsigned i = 0; i < count; i++) into[(*written)++] = (char)(reader->bits >> (16 - 8 * i));
    *reader = (struct base64_reader){ 0 };
    return true;
}

bool base64_read(struct base64_reader *reader, struct slice text, char *into, size_t *written)
{
    *written = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (!take_symbol(reader, text.at[i])) return false;
        if (reader->symbols == 4 && !end_group(reader, into, written)) return false;
    }
    return true;
}

static char *put_group(char *into, uint32_t bits)
{
    for (int shift = 18; shift >= 0; shift -= 6) *into++ = base64_alphabet[bits >> shift & 63];
    return into;
}

size_t base64_write(struct base64_writer *writer, struct slice bytes, char *into)
{
    char *next = into;
    uint32_t bits = 0;
    unsigned count = writer->count;
    for (unsigned i = 0; i < count; i++) bits = bits << 8 | writer->held[i];
    for (size_t i = 0; i < bytes.length; i++) {
        bits = bits << 8 | (uint8_t)bytes.at[i];
        if (++count < 3) continue;
        next = put_group(next, bits);
        bits = count = 0;
    }
    for (unsigned i = 0; i < count; i++) writer->held[i] = (uint8_t)(bits >> 8 * (count - 1 - i));
    writer->count = (uint8_t)count;
    return (size_t)(next - into);
}

size_t base64_flush(struct base64_writer *writer, char into[4])
{
    if (writer->count == 0) return 0;
    uint32_t bits = (uint32_t)writer->held[0] << 16 | (writer->count == 2 ? (uint32_t)writer->held[1] << 8 : 0);
    put_group(into, bits);
    into[3] = '=';
    if (writer->count == 1) into[2] = '=';
    writer->count = 0;
    return 4;
}

/* --- messages --- */

#define PREFIX_BYTES 5
#define FLAG_COMPRESSED 0x01
#define FLAG_TRAILERS 0x80

static bool take_prefix_byte(struct grpc_frames *frames, uint8_t byte)
{
    if (frames->prefix_read == 0) {
        if (byte & ~FLAG_COMPRESSED) return false;
        frames->left = 0;
    } else {
        frames->left = frames->left << 8 | byte;
    }
    frames->prefix_read++;
    return true;
}

bool grpc_frames_follow(struct grpc_frames *frames, struct slice bytes)
{
    for (size_t at = 0; at < bytes.length;) {
        if (frames->prefix_read < PREFIX_BYTES) {
            if (!take_prefix_byte(frames, (uint8_t)bytes.at[at++])) return false;
        } else {
            size_t part = bytes.length - at < frames->left ? bytes.length - at : frames->left;
            frames->left -= (uint32_t)part;
            at += part;
        }
        if (frames->prefix_read == PREFIX_BYTES && frames->left == 0) frames->prefix_read = 0;
    }
    return true;
}

/* --- trailers --- */

static const struct slice outcome_names[GRPC_OUTCOME_FIELDS] = {
    [GRPC_STATUS] = { "grpc-status", 11 },
    [GRPC_MESSAGE] = { "grpc-message", 12 },
    [GRPC_STATUS_DETAILS] = { "grpc-status-details-bin", 23 },
};

/* Without a status a call counts as failed in gRPC; some clients of gRPC-Web would take it for a success. */
static const struct slice outcome_unknown[GRPC_OUTCOME_FIELDS] = {
    [GRPC_STATUS] = { "2", 1 },
    [GRPC_MESSAGE] = { "the service's answer ended without a grpc-status", 48 },
};

struct slice grpc_outcome_name(enum grpc_outcome_field field) { return outcome_names[field]; }

static bool has_field(const struct headers *trailers, struct slice name)
{
    return trailers && headers_find(trailers, name) != NULL;
}

static size_t line_length(struct slice name, struct slice value) { return name.length + value.length + 4; }

static char *put_line(char *into, struct slice name, struct slice value)
{
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        *into++ = byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
    }
    into = mempcpy(into, ": ", 2);
    if (value.length > 0) into = mempcpy(into, value.at, value.length);
    return mempcpy(into, "\r\n", 2);
}

/* The lines that the frame will have; SIZE_MAX where one can't be written. */
static size_t measure(const struct headers *trailers, const struct slice outcome[GRPC_OUTCOME_FIELDS])
{
    size_t length = 0;
    for (int i = 0; i < GRPC_OUTCOME_FIELDS; i++) {
        if (slice_is_absent(outcome[i]) || has_field(trailers, outcome_names[i])) continue;
        if (!header_value_is_valid(outcome[i])) return SIZE_MAX;
        length += line_length(outcome_names[i], outcome[i]);
    }
    if (!trailers) return length;
    for (const struct header *item = headers_next(trailers, NULL); item; item = headers_next(trailers, item)) {
        if (!header_name_is_valid(item->name) || !header_value_is_valid(item->value)) return SIZE_MAX;
        length += line_length(item->name, item->value);
    }
    return length;
}

enum grpc_web_frame_result grpc_web_write_trailers(const struct headers *trailers,
                                                   const struct slice outcome[GRPC_OUTCOME_FIELDS], struct arena *arena,
                                                   struct slice *frame)
{
    if (slice_is_absent(outcome[GRPC_STATUS]) && !has_field(trailers, outcome_names[GRPC_STATUS]))
        outcome = outcome_unknown;
    size_t length = measure(trailers, outcome);
    if (length > UINT32_MAX) return GRPC_WEB_FRAME_UNWRITABLE;
    char *start = arena_allocate(arena, PREFIX_BYTES + length), *next = start;
    if (!start) return GRPC_WEB_FRAME_NO_MEMORY;
    uint32_t size = htonl((uint32_t)length);
    *next++ = (char)FLAG_TRAILERS;
    next = mempcpy(next, &size, sizeof size);
    for (int i = 0; i < GRPC_OUTCOME_FIELDS; i++) {
        if (slice_is_absent(outcome[i]) || has_field(trailers, outcome_names[i])) continue;
        next = put_line(next, outcome_names[i], outcome[i]);
    }
    const struct header *item = trailers ? headers_next(trailers, NULL) : NULL;
    for (; item; item = headers_next(trailers, item)) next = put_line(next, item->name, item->value);
    *frame = slice_of(start, (size_t)(next - start));
    return GRPC_WEB_FRAME_WRITTEN;
}
