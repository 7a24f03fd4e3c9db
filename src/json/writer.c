/* json/writer.c: see writer.h. */
#include "json/writer.h"

#include "base/digits.h"
#include "base/words.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

void json_writer_init(struct json_writer *writer, char *buffer, size_t size)
{
    *writer = (struct json_writer){ .start = buffer, .next = buffer, .end = buffer + size };
}

static char *reserve(struct json_writer *writer, size_t size)
{
    if (UNLIKELY((size_t)(writer->end - writer->next) < size)) {
        writer->overflow = true;
        return NULL;
    }
    char *at = writer->next;
    writer->next += size;
    return at;
}

static void put_byte(struct json_writer *writer, char byte)
{
    char *at = reserve(writer, 1);
    if (at) *at = byte;
}

static void put(struct json_writer *writer, const char *bytes, size_t length)
{
    char *at = reserve(writer, length);
    if (at && length > 0) memcpy(at, bytes, length);
}

/* Room for a value of so many bytes, behind the comma that it may need. */
static char *begin_value(struct json_writer *writer, size_t size)
{
    char *at = reserve(writer, size + writer->comma);
    if (at && writer->comma) *at++ = ',';
    writer->comma = true;
    return at;
}

static void put_value(struct json_writer *writer, const char *bytes, size_t length)
{
    char *at = begin_value(writer, length);
    if (at) memcpy(at, bytes, length);
}

static void begin(struct json_writer *writer, char bracket)
{
    put_value(writer, &bracket, 1);
    writer->comma = false;
}

static void end(struct json_writer *writer, char bracket)
{
    put_byte(writer, bracket);
    writer->comma = true;
}

void json_write_object_begin(struct json_writer *writer) { begin(writer, '{'); }
void json_write_object_end(struct json_writer *writer) { end(writer, '}'); }
void json_write_array_begin(struct json_writer *writer) { begin(writer, '['); }
void json_write_array_end(struct json_writer *writer) { end(writer, ']'); }

void json_write_key(struct json_writer *writer, struct slice key)
{
    char *at = reserve(writer, key.length + 3 + writer->comma);
    if (!at) return;
    if (writer->comma) *at++ = ',';
    *at++ = '"';
    memcpy(at, key.at, key.length);
    at += key.length;
    *at++ = '"';
    *at = ':';
    writer->comma = false;
}

/* Bytes that stand for themselves: printable ASCII but '"' and '\\'. */
static bool is_plain(char byte) { return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\'; }

#ifdef __SSE2__
/* A bit for each that isn't plain. Of signed bytes that are one more, what is above '~' is below ' ' + 1 too: beyond ASCII they are negative. */
static unsigned special_of_16(__m128i bytes)
{
    __m128i one_more = _mm_add_epi8(bytes, _mm_set1_epi8(1));
    __m128i special = _mm_or_si128(
        _mm_cmplt_epi8(one_more, _mm_set1_epi8(' ' + 1)),
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
    return (unsigned)_mm_movemask_epi8(special);
}

/* How many of the 16 bytes at `at` are plain, up to the first that isn't. */
static unsigned plain_of_16(const char *at)
{
    return (unsigned)__builtin_ctz(special_of_16(_mm_loadu_si128((const __m128i *)(const void *)at)) | 1u << 16);
}

/* 4 to 15 bytes: their first and their last, which overlap, are looked at together. */
static bool is_plain_short(const char *at, size_t length)
{
    bool is_long = length >= WORD_BYTES;
    uint64_t first = is_long ? word_load(at) : word_load_short(at, length);
    uint64_t last = is_long ? word_load(at + length - WORD_BYTES) : first;
    return special_of_16(_mm_set_epi64x((int64_t)last, (int64_t)first)) == 0;
}
#else
static unsigned plain_of_16(const char *at)
{
    unsigned count = 0;
    while (count < 16 && is_plain(at[count])) count++;
    return count;
}

static bool is_plain_short(const char *at, size_t length) { return false; } /* byte by byte, then */
#endif

static size_t plain_run(const char *at, const char *end)
{
    const char *start = at;
    if (end - at < 16) {
        if (end - at >= 4 && is_plain_short(at, (size_t)(end - at))) return (size_t)(end - at);
        while (at < end && is_plain(*at)) at++;
        return (size_t)(at - start);
    }
    for (;;) {
        if (end - at < 16) at = end - 16; /* once more over bytes known to be plain */
        unsigned count = plain_of_16(at);
        at += count;
        if (count < 16 || at == end) return (size_t)(at - start);
    }
}

/* Length of the well-formed UTF-8 sequence at `at` (RFC 3629), 0 if there is none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80) return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < length) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    if (at[0] == 0xe0 && at[1] < 0xa0) return 0; /* overlong */
    if (at[0] == 0xed && at[1] > 0x9f) return 0; /* surrogate */
    if (at[0] == 0xf0 && at[1] < 0x90) return 0; /* overlong */
    if (at[0] == 0xf4 && at[1] > 0x8f) return 0; /* beyond U+10FFFF */
    return length;
}

bool json_is_utf8(struct slice text)
{
    size_t at = 0, length = 1;
    for (; at < text.length && length > 0; at += length)
        length = utf8_length((const unsigned char *)text.at + at, text.length - at);
    return length > 0;
}

static void put_control(struct json_writer *writer, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] };
    put(writer, text, sizeof text);
}

/* One character that is not plain; returns how many bytes of input it took. */
static size_t put_special(struct json_writer *writer, const char *at, size_t left)
{
    unsigned char byte = (unsigned char)*at;
    if (byte == '"' || byte == '\\') {
        put_byte(writer, '\\');
        put_byte(writer, *at);
        return 1;
    }
    if (byte < 0x20 || byte == 0x7f) {
        put_control(writer, byte);
        return 1;
    }
    size_t length = utf8_length((const unsigned char *)at, left);
    if (length == 0) {
        put(writer, "\xef\xbf\xbd", 3);
        return 1;
    }
    put(writer, at, length);
    return length;
}

/* Most texts are plain from end to end: room is asked for once. */
static bool write_plain_string(struct json_writer *writer, struct slice value)
{
    if (plain_run(value.at, value.at + value.length) < value.length) return false;
    char *at = begin_value(writer, value.length + 2);
    if (!at) return true;
    *at++ = '"';
    memcpy(at, value.at, value.length);
    at[value.length] = '"';
    return true;
}

void json_write_string(struct json_writer *writer, struct slice value)
{
    if (value.length == 0) value = SLICE(""); /* an absent one has no address to count from */
    if (write_plain_string(writer, value)) return;
    put_value(writer, "\"", 1);
    const char *at = value.at, *stop = value.at + value.length;
    while (at < stop && !writer->overflow) {
        size_t run = plain_run(at, stop);
        put(writer, at, run);
        at += run;
        if (at < stop) at += put_special(writer, at, (size_t)(stop - at));
    }
    put_byte(writer, '"');
}

void json_write_unsigned(struct json_writer *writer, uint64_t value)
{
    char *at = begin_value(writer, digits_count(value));
    if (at) digits_write(at, value);
}

void json_write_signed(struct json_writer *writer, int64_t value)
{
    uint64_t amount = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *at = begin_value(writer, digits_count(amount) + (value < 0));
    if (!at) return;
    if (value < 0) *at++ = '-';
    digits_write(at, amount);
}

void json_write_thousandths(struct json_writer *writer, uint64_t value)
{
    unsigned rest = (unsigned)(value % 1000);
    char *at = begin_value(writer, digits_count(value / 1000) + 4);
    if (!at) return;
    at = digits_write(at, value / 1000);
    at[0] = '.';
    at[1] = (char)('0' + rest / 100);
    digits_write_two(at + 2, rest % 100);
}

void json_write_boolean(struct json_writer *writer, bool value)
{
    if (value) {
        put_value(writer, "true", 4);
    } else {
        put_value(writer, "false", 5);
    }
}

void json_write_null(struct json_writer *writer) { put_value(writer, "null", 4); }

struct slice json_writer_result(const struct json_writer *writer)
{
    if (writer->overflow) return SLICE_ABSENT;
    return slice_of(writer->start, (size_t)(writer->next - writer->start));
}

struct slice json_quote(struct arena *arena, struct slice text)
{
    size_t size = 6 * text.length + 2; /* each byte as \u00XX at worst */
    char *room = arena_allocate(arena, size);
    if (!room) return SLICE_ABSENT;
    struct json_writer writer;
    json_writer_init(&writer, room, size);
    json_write_string(&writer, text);
    return json_writer_result(&writer);
}
