/* A value is skipped without recursion: whether each level is an object or an array is one bit. */
#include "json/scan.h"

#include "json/writer.h"

/* What is still to be looked at. */
struct cursor {
    const char *at, *end;
};

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\t' || *cursor->at == '\n' || *cursor->at == '\r'))
        cursor->at++;
}

/* Takes the byte if it is next. */
static bool take(struct cursor *cursor, char byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte) return false;
    cursor->at++;
    return true;
}

static bool is_digit(const struct cursor *cursor)
{
    return cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9';
}

static bool take_digits(struct cursor *cursor)
{
    if (!is_digit(cursor)) return false;
    while (is_digit(cursor)) cursor->at++;
    return true;
}

static bool take_number(struct cursor *cursor)
{
    (void)take(cursor, '-');
    if (!take(cursor, '0') && !take_digits(cursor)) return false;
    if (take(cursor, '.') && !take_digits(cursor)) return false;
    if (!take(cursor, 'e') && !take(cursor, 'E')) return true;
    if (!take(cursor, '+')) (void)take(cursor, '-');
    return take_digits(cursor);
}

static int hex_value(char byte)
{
    if (byte >= '0' && byte <= '9') return byte - '0';
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') return (byte | 0x20) - 'a' + 10;
    return -1;
}

/* Behind "\u". */
static bool take_code_unit(struct cursor *cursor, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = cursor->at < cursor->end ? hex_value(*cursor->at) : -1;
        if (digit < 0) return false;
        *unit = *unit << 4 | (uint32_t)digit;
        cursor->at++;
    }
    return true;
}

static bool take_escape(struct cursor *cursor)
{
    uint32_t unit;
    if (take(cursor, 'u')) return take_code_unit(cursor, &unit);
    if (cursor->at == cursor->end || !*cursor->at || !strchr("\"\\/bfnrt", *cursor->at)) return false;
    cursor->at++;
    return true;
}

static bool take_string(struct cursor *cursor)
{
    if (!take(cursor, '"')) return false;
    while (cursor->at < cursor->end) {
        char byte = *cursor->at++;
        if (byte == '"') return true;
        if ((unsigned char)byte < 0x20 || (byte == '\\' && !take_escape(cursor))) return false;
    }
    return false;
}

static bool take_word(struct cursor *cursor, struct slice word)
{
    if (!slice_starts_with(slice_of(cursor->at, (size_t)(cursor->end - cursor->at)), word)) return false;
    cursor->at += word.length;
    return true;
}

static bool take_scalar(struct cursor *cursor)
{
    switch (cursor->at < cursor->end ? *cursor->at : '\0') {
    case '"': return take_string(cursor);
    case 't': return take_word(cursor, SLICE("true"));
    case 'f': return take_word(cursor, SLICE("false"));
    case 'n': return take_word(cursor, SLICE("null"));
    default: return take_number(cursor);
    }
}

/* `"name" :`, up to the value. */
static bool take_name(struct cursor *cursor)
{
    if (!take_string(cursor)) return false;
    skip_space(cursor);
    if (!take(cursor, ':')) return false;
    skip_space(cursor);
    return true;
}

struct levels {
    uint64_t objects; /* the lowest bit is the innermost level's: it is an object */
    unsigned depth;
};

static bool is_object(const struct levels *levels) { return levels->objects & 1; }

/* A bracket opens, up to the first value inside. *empty: it closes at once. */
static bool open_level(struct cursor *cursor, struct levels *levels, bool *empty)
{
    if (levels->depth == JSON_SCAN_DEPTH_MAX) return false;
    levels->objects = levels->objects << 1 | (*cursor->at == '{');
    levels->depth++;
    cursor->at++;
    skip_space(cursor);
    *empty = cursor->at < cursor->end && *cursor->at == (is_object(levels) ? '}' : ']');
    return *empty || !is_object(levels) || take_name(cursor);
}

/* Behind a value: closes what closes, up to the next value or (depth 0) the end. */
static bool go_on(struct cursor *cursor, struct levels *levels)
{
    while (levels->depth > 0) {
        skip_space(cursor);
        if (take(cursor, ',')) {
            skip_space(cursor);
            return !is_object(levels) || take_name(cursor);
        }
        if (!take(cursor, is_object(levels) ? '}' : ']')) return false;
        levels->objects >>= 1;
        levels->depth--;
    }
    return true;
}

static bool take_value(struct cursor *cursor)
{
    struct levels levels = { 0, 0 };
    do {
        bool opens = cursor->at < cursor->end && (*cursor->at == '{' || *cursor->at == '['), empty = false;
        if (opens ? !open_level(cursor, &levels, &empty) : !take_scalar(cursor)) return false;
        if (opens && !empty) continue;
        if (!go_on(cursor, &levels)) return false;
    } while (levels.depth > 0);
    return true;
}

bool json_scan_whole(struct slice text, struct slice *value, struct error *error)
{
    struct cursor cursor = { text.at, text.at + text.length };
    skip_space(&cursor);
    const char *begin = cursor.at;
    if (!take_value(&cursor)) return error_format(error, "no JSON: at byte %zu", (size_t)(cursor.at - text.at) + 1);
    *value = slice_of(begin, (size_t)(cursor.at - begin));
    skip_space(&cursor);
    if (cursor.at != cursor.end)
        return error_format(error, "no JSON: more behind the value, at byte %zu", (size_t)(cursor.at - text.at) + 1);
    if (!json_is_utf8(*value)) return error_format(error, "no JSON: its bytes are not UTF-8");
    return true;
}

/* --- names --- */

static size_t put_utf8(uint32_t point, char into[4])
{
    if (point < 0x80) {
        into[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        into[0] = (char)(0xC0 | point >> 6);
        into[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        into[0] = (char)(0xE0 | point >> 12);
        into[1] = (char)(0x80 | (point >> 6 & 0x3F));
        into[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    into[0] = (char)(0xF0 | point >> 18);
    into[1] = (char)(0x80 | (point >> 12 & 0x3F));
    into[2] = (char)(0x80 | (point >> 6 & 0x3F));
    into[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

/* Behind "\u", with the second half of a pair. */
static size_t decode_unit(struct cursor *cursor, char into[4])
{
    uint32_t unit, low;
    if (!take_code_unit(cursor, &unit)) return 0;
    struct cursor ahead = *cursor;
    bool is_pair = unit >= 0xD800 && unit < 0xDC00 && take(&ahead, '\\') && take(&ahead, 'u') &&
                   take_code_unit(&ahead, &low) && low >= 0xDC00 && low < 0xE000;
    if (!is_pair) return put_utf8(unit, into);
    *cursor = ahead;
    return put_utf8(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), into);
}

static size_t decode_escape(struct cursor *cursor, char into[4])
{
    if (take(cursor, 'u')) return decode_unit(cursor, into);
    char byte = *cursor->at++;
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *found = strchr(from, byte);
    into[0] = found ? to[found - from] : byte;
    return 1;
}

/* `string` with its quotes, valid. */
static bool string_is(struct slice string, struct slice text)
{
    struct cursor cursor = { string.at + 1, string.at + string.length - 1 };
    size_t at = 0;
    while (cursor.at < cursor.end) {
        char bytes[4] = { *cursor.at++ };
        size_t length = bytes[0] == '\\' ? decode_escape(&cursor, bytes) : 1;
        if (text.length - at < length || memcmp(text.at + at, bytes, length) != 0) return false;
        at += length;
    }
    return at == text.length;
}

bool json_scan_is_text(struct slice value, struct slice text)
{
    return value.length >= 2 && value.at[0] == '"' && string_is(value, text);
}

/* --- inside --- */

struct slice json_scan_member(struct slice object, struct slice name)
{
    struct cursor cursor = { object.at, object.at + object.length };
    if (!take(&cursor, '{')) return SLICE_ABSENT;
    do {
        skip_space(&cursor);
        const char *begin = cursor.at;
        if (!take_string(&cursor)) return SLICE_ABSENT; /* it is empty */
        bool is_it = string_is(slice_of(begin, (size_t)(cursor.at - begin)), name);
        skip_space(&cursor);
        if (!take(&cursor, ':')) return SLICE_ABSENT;
        skip_space(&cursor);
        begin = cursor.at;
        if (!take_value(&cursor)) return SLICE_ABSENT;
        if (is_it) return slice_of(begin, (size_t)(cursor.at - begin));
        skip_space(&cursor);
    } while (take(&cursor, ','));
    return SLICE_ABSENT;
}

struct slice json_scan_item(struct slice array, size_t index)
{
    struct cursor cursor = { array.at, array.at + array.length };
    if (!take(&cursor, '[')) return SLICE_ABSENT;
    do {
        skip_space(&cursor);
        const char *begin = cursor.at;
        if (!take_value(&cursor)) return SLICE_ABSENT;
        if (index-- == 0) return slice_of(begin, (size_t)(cursor.at - begin));
        skip_space(&cursor);
    } while (take(&cursor, ','));
    return SLICE_ABSENT;
}
