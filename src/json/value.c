/* json/value.c: see value.h.
 *
 * By recursive descent, at most JSON_DEPTH_MAX deep. Items are gathered in arrays that double; names of a large object go through a hash table
 * under the process's key, so that no choice of names makes the look for doubles slow. */
#include "json/value.h"

#include "base/hash.h"
#include "json/writer.h"

#include <errno.h>
#include <math.h>

#define FIRST_CAPACITY 4
#define COMPARED_MAX 16 /* members of an object whose names are compared one with each */

struct reader {
    const char *start, *next, *end;
    struct arena *arena;
    struct error *error;
    unsigned depth;
    uint32_t values_left;
    bool takes_any_number;
};

static bool read_value(struct reader *, struct json_value *into);

static bool refuse(const struct reader *reader, const char *at, const char *what)
{
    return error_set(reader->error, BLAME_CLIENT, RETRY_NEVER, 400, "json", "JSON: %s at byte %zu", what,
                     (size_t)(at - reader->start) + 1);
}

static bool no_memory(const struct reader *reader)
{
    return error_set(reader->error, BLAME_US, RETRY_NEVER, 503, "memory", "JSON: no memory");
}

static void skip_space(struct reader *reader)
{
    while (reader->next < reader->end &&
           (*reader->next == ' ' || *reader->next == '\t' || *reader->next == '\n' || *reader->next == '\r'))
        reader->next++;
}

static bool take(struct reader *reader, char byte)
{
    if (reader->next == reader->end || *reader->next != byte) return false;
    reader->next++;
    return true;
}

/* --- strings --- */

/* Four hexadecimal digits; -1 where they are none. */
static int read_hex4(const char *at, const char *end)
{
    int code = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char byte = at[i];
        int digit = byte >= '0' && byte <= '9'   ? byte - '0'
                    : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                    : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* RFC 3629 3; `code` is no surrogate. */
static char *put_utf8(char *into, uint32_t code)
{
    if (code < 0x80) {
        *into++ = (char)code;
        return into;
    }
    if (code < 0x800) {
        *into++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *into++ = (char)(0xe0 | code >> 12);
        } else {
            *into++ = (char)(0xf0 | code >> 18);
            *into++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *into++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *into++ = (char)(0x80 | (code & 0x3f));
    return into;
}

/* Behind "\u"; a high surrogate wants its low half at once (RFC 8259 7). NULL: it is no character. */
static const char *read_unicode(const char *at, const char *end, uint32_t *code)
{
    int first = read_hex4(at, end);
    if (first < 0 || (first >= 0xdc00 && first <= 0xdfff)) return NULL;
    *code = (uint32_t)first;
    if (first < 0xd800 || first > 0xdbff) return at + 4;
    if (end - at < 10 || at[4] != '\\' || at[5] != 'u') return NULL;
    int second = read_hex4(at + 6, end);
    if (second < 0xdc00 || second > 0xdfff) return NULL;
    *code = 0x10000 + ((uint32_t)(first - 0xd800) << 10) + (uint32_t)(second - 0xdc00);
    return at + 10;
}

/* What stands between the quotes, with at least one escape; it never grows. */
static bool decode(struct reader *reader, struct slice raw, struct slice *text)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char *into = arena_allocate(reader->arena, raw.length);
    if (!into) return no_memory(reader);
    *text = slice_of(into, 0);
    for (const char *at = raw.at, *end = raw.at + raw.length; at < end;) {
        if (*at != '\\') {
            *into++ = *at++;
            continue;
        }
        const char *escape = at++; /* the reader saw that a byte follows */
        const char *name = *at ? strchr(names, *at) : NULL;
        if (name) {
            *into++ = meant[name - names];
            at++;
            continue;
        }
        uint32_t code;
        at = *at == 'u' ? read_unicode(at + 1, end, &code) : NULL;
        if (!at) return refuse(reader, escape, "an escape that stands for no character");
        into = put_utf8(into, code);
    }
    text->length = (size_t)(into - text->at);
    return true;
}

/* Behind the opening quote. */
static bool read_string(struct reader *reader, struct slice *text)
{
    const char *start = reader->next, *at = start, *end = reader->end;
    bool has_escapes = false, is_ascii = true;
    for (; at < end && *at != '"'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte < 0x20) return refuse(reader, at, "a control character in a string");
        is_ascii &= byte < 0x80;
        if (byte != '\\') continue;
        has_escapes = true;
        if (++at == end) break;
        is_ascii &= (unsigned char)*at < 0x80;
    }
    if (at >= end) return refuse(reader, end, "the text ends inside a string");
    struct slice raw = slice_of(start, (size_t)(at - start));
    reader->next = at + 1;
    if (!is_ascii && !json_is_utf8(raw)) return refuse(reader, start, "a string that is not UTF-8");
    if (has_escapes) return decode(reader, raw, text);
    *text = raw;
    return true;
}

/* --- numbers --- */

static bool skip_digits(struct reader *reader)
{
    const char *start = reader->next;
    while (reader->next < reader->end && *reader->next >= '0' && *reader->next <= '9') reader->next++;
    return reader->next > start;
}

/* Of a whole number that a double can hold. */
#define WHOLE_NUMBER_BYTES_MAX 310

double json_number(const struct json_value *number)
{
    char text[WHOLE_NUMBER_BYTES_MAX + 1];
    switch ((enum json_type)number->type) {
    case JSON_INTEGER: return (double)number->integer;
    case JSON_UNSIGNED: return (double)number->natural;
    case JSON_DOUBLE: return number->number;
    case JSON_LONG_NUMBER: break;
    default: return 0;
    }
    if (number->text.length >= sizeof text) return number->text.at[0] == '-' ? -INFINITY : INFINITY;
    memcpy(text, number->text.at, number->text.length);
    text[number->text.length] = '\0';
    return strtod(text, NULL);
}

/* strtod() wants a NUL. The process stays in the C locale. */
static bool read_double(struct reader *reader, struct slice text, struct json_value *into)
{
    char small[64];
    double number;
    if (text.length < sizeof small) {
        memcpy(small, text.at, text.length);
        small[text.length] = '\0';
        number = strtod(small, NULL);
    } else {
        struct slice copy = arena_copy(reader->arena, text);
        if (slice_is_absent(copy)) return no_memory(reader);
        number = strtod(copy.at, NULL);
    }
    if (!isfinite(number) && !reader->takes_any_number) return refuse(reader, text.at, "a number beyond all bounds");
    *into = (struct json_value){
        .type = JSON_DOUBLE, .count = (uint32_t)text.length, .number = number, .written = text.at
    };
    return true;
}

static bool read_integer(struct reader *reader, struct slice text, struct json_value *into)
{
    int64_t integer;
    uint64_t natural;
    if (LIKELY(slice_parse_int64(text, &integer))) {
        *into = (struct json_value){ .type = JSON_INTEGER, .integer = integer };
        return true;
    }
    if (slice_parse_uint64(text, &natural)) {
        *into = (struct json_value){ .type = JSON_UNSIGNED, .natural = natural };
        return true;
    }
    if (!read_double(reader, text, into)) return false;
    *into = (struct json_value){ .type = JSON_LONG_NUMBER, .text = text };
    return true;
}

static bool read_number(struct reader *reader, struct json_value *into)
{
    const char *start = reader->next;
    bool is_integer = true;
    (void)take(reader, '-');
    if (!take(reader, '0') && !skip_digits(reader)) return refuse(reader, start, "no value");
    if (take(reader, '.')) {
        is_integer = false;
        if (!skip_digits(reader)) return refuse(reader, reader->next, "no digit behind the point of a number");
    }
    if (take(reader, 'e') || take(reader, 'E')) {
        is_integer = false;
        if (!take(reader, '+')) (void)take(reader, '-');
        if (!skip_digits(reader)) return refuse(reader, reader->next, "no digit in the exponent of a number");
    }
    struct slice text = slice_of(start, (size_t)(reader->next - start));
    return is_integer ? read_integer(reader, text, into) : read_double(reader, text, into);
}

/* --- lists and objects --- */

/* Room for one more at `items`, which holds `count` of them. NULL: no memory. */
static void *grow(struct reader *reader, void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) return items;
    uint32_t wanted = *capacity ? *capacity * 2 : FIRST_CAPACITY;
    void *grown = arena_allocate(reader->arena, wanted * size);
    if (!grown) {
        (void)no_memory(reader);
        return NULL;
    }
    if (count > 0) memcpy(grown, items, count * size);
    *capacity = wanted;
    return grown;
}

static bool read_array(struct reader *reader, struct json_value *into)
{
    struct json_value *items = NULL;
    uint32_t count = 0, capacity = 0;
    skip_space(reader);
    if (!take(reader, ']')) {
        do {
            items = grow(reader, items, count, &capacity, sizeof *items);
            if (!items || !read_value(reader, &items[count])) return false;
            count++;
            skip_space(reader);
        } while (take(reader, ','));
        if (!take(reader, ']')) return refuse(reader, reader->next, "neither , nor ] behind an item");
    }
    *into = (struct json_value){ .type = JSON_ARRAY, .count = count, .items = items };
    return true;
}

static bool is_double(const struct json_member *members, uint32_t count, struct slice name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slice_equal(members[i].name, name)) return true;
    }
    return false;
}

/* Slots hold an index + 1. */
static bool has_doubles(struct reader *reader, const struct json_member *members, uint32_t count, bool *result)
{
    *result = false;
    if (count <= COMPARED_MAX) {
        for (uint32_t i = 1; i < count && !*result; i++) *result = is_double(members, i, members[i].name);
        return true;
    }
    size_t size = 64;
    while (size < (size_t)count * 2) size *= 2;
    uint32_t *slots = arena_allocate_zeroed(reader->arena, size * sizeof *slots);
    if (!slots) return no_memory(reader);
    for (uint32_t i = 0; i < count && !*result; i++) {
        size_t at = hash_keyed(hash_process_key(), members[i].name) & (size - 1);
        for (; slots[at] && !*result; at = (at + 1) & (size - 1))
            *result = slice_equal(members[slots[at] - 1].name, members[i].name);
        slots[at] = i + 1;
    }
    return true;
}

static bool read_member(struct reader *reader, struct json_member *member)
{
    skip_space(reader);
    if (!take(reader, '"')) return refuse(reader, reader->next, "no name of a member");
    if (!read_string(reader, &member->name)) return false;
    skip_space(reader);
    if (!take(reader, ':')) return refuse(reader, reader->next, "no : behind a name");
    return read_value(reader, &member->value);
}

static bool read_object(struct reader *reader, struct json_value *into)
{
    const char *start = reader->next - 1;
    struct json_member *members = NULL;
    uint32_t count = 0, capacity = 0;
    bool doubles;
    skip_space(reader);
    if (!take(reader, '}')) {
        do {
            members = grow(reader, members, count, &capacity, sizeof *members);
            if (!members || !read_member(reader, &members[count])) return false;
            count++;
            skip_space(reader);
        } while (take(reader, ','));
        if (!take(reader, '}')) return refuse(reader, reader->next, "neither , nor } behind a member");
    }
    if (!has_doubles(reader, members, count, &doubles)) return false;
    if (doubles) return refuse(reader, start, "two members of one name in the object");
    *into = (struct json_value){ .type = JSON_OBJECT, .count = count, .members = members };
    return true;
}

/* --- values --- */

static bool take_word(struct reader *reader, struct slice word)
{
    if (!slice_starts_with(slice_of(reader->next, (size_t)(reader->end - reader->next)), word)) return false;
    reader->next += word.length;
    return true;
}

static bool read_word(struct reader *reader, struct json_value *into)
{
    if (take_word(reader, SLICE("true"))) {
        *into = (struct json_value){ .type = JSON_BOOLEAN, .boolean = true };
    } else if (take_word(reader, SLICE("false"))) {
        *into = (struct json_value){ .type = JSON_BOOLEAN, .boolean = false };
    } else if (take_word(reader, SLICE("null"))) {
        *into = (struct json_value){ .type = JSON_NULL };
    } else {
        return read_number(reader, into);
    }
    return true;
}

static bool read_value(struct reader *reader, struct json_value *into)
{
    skip_space(reader);
    if (reader->values_left == 0) return refuse(reader, reader->next, "too many values");
    reader->values_left--;
    if (take(reader, '"')) {
        struct slice text;
        if (!read_string(reader, &text)) return false;
        *into = (struct json_value){ .type = JSON_STRING, .text = text };
        return true;
    }
    bool is_object = take(reader, '{');
    if (!is_object && !take(reader, '[')) return read_word(reader, into);
    if (reader->depth == JSON_DEPTH_MAX) return refuse(reader, reader->next - 1, "too many levels");
    reader->depth++;
    bool good = is_object ? read_object(reader, into) : read_array(reader, into);
    reader->depth--;
    return good;
}

static struct reader reader_of(struct slice text, struct arena *arena, struct error *error)
{
    return (struct reader){ .start = text.at,
                            .next = text.at,
                            .end = text.at + text.length,
                            .arena = arena,
                            .error = error,
                            .values_left = UINT32_MAX };
}

static bool read_whole(struct reader *reader, struct json_value *into)
{
    struct json_value value;
    if (reader->end - reader->start > UINT32_MAX / 2) return refuse(reader, reader->start, "too long a text");
    if (!read_value(reader, &value)) return false;
    skip_space(reader);
    if (reader->next < reader->end) return refuse(reader, reader->next, "something behind the value");
    *into = value;
    return true;
}

bool json_parse_few(struct slice text, uint32_t values_max, struct arena *arena, struct json_value *into,
                    struct error *error)
{
    struct reader reader = reader_of(text, arena, error);
    reader.values_left = values_max;
    return read_whole(&reader, into);
}

bool json_parse(struct slice text, struct arena *arena, struct json_value *into, struct error *error)
{
    return json_parse_few(text, UINT32_MAX, arena, into, error);
}

bool json_parse_any_number(struct slice text, struct arena *arena, struct json_value *into, struct error *error)
{
    struct reader reader = reader_of(text, arena, error);
    reader.takes_any_number = true;
    return read_whole(&reader, into);
}

const struct json_value *json_find(const struct json_value *object, struct slice name)
{
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (uint32_t i = 0; i < object->count; i++) {
        if (slice_equal(object->members[i].name, name)) return &object->members[i].value;
    }
    return NULL;
}

struct slice json_find_text(const struct json_value *object, struct slice name)
{
    const struct json_value *value = json_find(object, name);
    return value && value->type == JSON_STRING ? value->text : SLICE_ABSENT;
}

/* --- copies --- */

static size_t rounded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

size_t json_copied_bytes(const struct json_value *value)
{
    size_t bytes = 0;
    if (value->type == JSON_STRING || value->type == JSON_LONG_NUMBER) return rounded(value->text.length + 1);
    if (value->type == JSON_ARRAY) {
        bytes = value->count * sizeof value->items[0];
        for (uint32_t i = 0; i < value->count; i++) bytes += json_copied_bytes(&value->items[i]);
    } else if (value->type == JSON_OBJECT) {
        bytes = value->count * sizeof value->members[0];
        for (uint32_t i = 0; i < value->count; i++)
            bytes += rounded(value->members[i].name.length + 1) + json_copied_bytes(&value->members[i].value);
    }
    return bytes;
}

static void *cut(char **block, size_t bytes)
{
    char *at = *block;
    *block += rounded(bytes);
    return at;
}

/* With a byte more, so that an empty text has a place as well. */
static struct slice copy_text(char **block, struct slice text)
{
    char *at = cut(block, text.length + 1);
    if (text.length > 0) memcpy(at, text.at, text.length);
    at[text.length] = '\0';
    return slice_of(at, text.length);
}

static void copy_value(const struct json_value *value, char **block, struct json_value *into)
{
    *into = *value;
    if (value->type == JSON_DOUBLE) {
        into->written = NULL;
        into->count = 0;
    } else if (value->type == JSON_STRING || value->type == JSON_LONG_NUMBER) {
        into->text = copy_text(block, value->text);
    } else if (value->type == JSON_ARRAY && value->count > 0) {
        struct json_value *items = cut(block, value->count * sizeof *items);
        into->items = items;
        for (uint32_t i = 0; i < value->count; i++) copy_value(&value->items[i], block, &items[i]);
    } else if (value->type == JSON_OBJECT && value->count > 0) {
        struct json_member *members = cut(block, value->count * sizeof *members);
        into->members = members;
        for (uint32_t i = 0; i < value->count; i++) {
            members[i].name = copy_text(block, value->members[i].name);
            copy_value(&value->members[i].value, block, &members[i].value);
        }
    }
}

void json_copy_tree(const struct json_value *value, void *block, struct json_value *into)
{
    char *at = block;
    copy_value(value, &at, into);
}
