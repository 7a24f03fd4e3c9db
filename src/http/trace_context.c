/* http/trace_context.c: see trace_context.h. Section numbers are those of https://www.w3.org/TR/trace-context/. */
#include "http/trace_context.h"

#include "base/hex.h"

#define VERSION_AT 0
#define TRACE_ID_AT 3
#define PARENT_ID_AT (TRACE_ID_AT + TRACE_ID_BYTES + 1)
#define FLAGS_AT (PARENT_ID_AT + SPAN_ID_BYTES + 1)
#define FLAGS_KNOWN (TRACE_SAMPLED | TRACE_RANDOM_ID)

static const char digits[] = "0123456789abcdef";

/* --- traceparent --- */

/* Lower-case alone (3.2.2); -1: none. */
static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* -1: not two digits. */
static int hex_byte(const char *at)
{
    int high = hex_value(at[0]), low = hex_value(at[1]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

#define EACH_BYTE(byte) ((byte)*UINT64_C(0x0101010101010101))
#define HIGH_BITS EACH_BYTE(0x80)

/* Eight digits at once: a sum's high bit says that the byte is no less than a bound, and bytes below 0x80 never carry. */
static bool are_digits(uint64_t bytes)
{
    uint64_t decimal = (bytes + EACH_BYTE(0x80 - '0')) & ~(bytes + EACH_BYTE(0x80 - '9' - 1));
    uint64_t letter = (bytes + EACH_BYTE(0x80 - 'a')) & ~(bytes + EACH_BYTE(0x80 - 'f' - 1));
    return (bytes & HIGH_BITS) == 0 && ((decimal | letter) & HIGH_BITS) == HIGH_BITS;
}

/* All digits, and not all of them zero. The length is a multiple of eight. */
static bool is_id(struct slice text)
{
    uint64_t differs = 0, bytes;
    bool good = true;
    for (size_t i = 0; i < text.length; i += sizeof bytes) {
        memcpy(&bytes, text.at + i, sizeof bytes);
        good &= are_digits(bytes);
        differs |= bytes ^ EACH_BYTE('0');
    }
    return good && differs != 0;
}

/* A later version may have more behind a dash (3.2.4). */
static bool has_right_length(struct slice value, int version)
{
    if (value.length == TRACEPARENT_BYTES) return true;
    return version > 0 && value.length > TRACEPARENT_BYTES && value.at[TRACEPARENT_BYTES] == '-';
}

bool traceparent_parse(struct slice value, struct traceparent *into)
{
    if (value.length < TRACEPARENT_BYTES) return false;
    const char *at = value.at;
    int version = hex_byte(at + VERSION_AT), flags = hex_byte(at + FLAGS_AT);
    if (version < 0 || version == 0xff || flags < 0 || !has_right_length(value, version)) return false;
    if (at[TRACE_ID_AT - 1] != '-' || at[PARENT_ID_AT - 1] != '-' || at[FLAGS_AT - 1] != '-') return false;
    *into = (struct traceparent){
        .trace_id = slice_of(at + TRACE_ID_AT, TRACE_ID_BYTES),
        .parent_id = slice_of(at + PARENT_ID_AT, SPAN_ID_BYTES),
        .flags = (uint8_t)(flags & FLAGS_KNOWN),
    };
    return is_id(into->trace_id) && is_id(into->parent_id);
}

/* Zero is no id. */
static uint64_t draw(struct random *random)
{
    uint64_t word = random_next(random);
    return word ? word : 1;
}

static void write_rest(struct random *random, uint8_t flags, char into[TRACEPARENT_BYTES])
{
    into[0] = into[1] = '0';
    into[TRACE_ID_AT - 1] = into[PARENT_ID_AT - 1] = into[FLAGS_AT - 1] = '-';
    hex_write_u64(draw(random), into + PARENT_ID_AT);
    into[FLAGS_AT] = digits[flags >> 4];
    into[FLAGS_AT + 1] = digits[flags & 15];
}

void traceparent_begin(struct random *random, uint8_t flags, char into[TRACEPARENT_BYTES])
{
    hex_write_u64(draw(random), into + TRACE_ID_AT);
    hex_write_u64(random_next(random), into + TRACE_ID_AT + 16);
    write_rest(random, flags | TRACE_RANDOM_ID, into);
}

void traceparent_continue(struct random *random, const struct traceparent *from, char into[TRACEPARENT_BYTES])
{
    memcpy(into + TRACE_ID_AT, from->trace_id.at, TRACE_ID_BYTES);
    write_rest(random, from->flags, into);
}

/* --- tracestate --- */

#define KEY_BYTES_MAX 256
#define TENANT_BYTES_MAX 241
#define SYSTEM_BYTES_MAX 14
#define VALUE_BYTES_MAX 256
#define MEMBER_BYTES_LARGE 128 /* 3.3.1.5: larger ones go first */

static bool is_lower(char byte) { return byte >= 'a' && byte <= 'z'; }
static bool is_lower_or_digit(char byte) { return is_lower(byte) || (byte >= '0' && byte <= '9'); }

static bool is_key_text(struct slice text, size_t length_max, bool may_begin_with_digit)
{
    if (text.length == 0 || text.length > length_max) return false;
    if (!is_lower(text.at[0]) && !(may_begin_with_digit && is_lower_or_digit(text.at[0]))) return false;
    for (size_t i = 1; i < text.length; i++) {
        char byte = text.at[i];
        if (!is_lower_or_digit(byte) && byte != '_' && byte != '-' && byte != '*' && byte != '/') return false;
    }
    return true;
}

/* 3.3.1.3.1: a name, or tenant@system. */
static bool is_key(struct slice key)
{
    size_t at = slice_find_byte(key, '@');
    if (at == SLICE_NOT_FOUND) return is_key_text(key, KEY_BYTES_MAX, true);
    return is_key_text(slice_before(key, at), TENANT_BYTES_MAX, true) &&
           is_key_text(slice_after(key, at + 1), SYSTEM_BYTES_MAX, false);
}

/* 3.3.1.3.2: printable ASCII without ',' and '='; spaces at its end were trimmed, as OWS. */
static bool is_value(struct slice value)
{
    if (value.length == 0 || value.length > VALUE_BYTES_MAX) return false;
    for (size_t i = 0; i < value.length; i++) {
        char byte = value.at[i];
        if (byte < ' ' || byte > '~' || byte == ',' || byte == '=') return false;
    }
    return true;
}

struct members {
    unsigned count;
    size_t bytes; /* with a comma behind each */
    struct {
        struct slice text;
        size_t key_length;
        bool is_left_out;
    } items[TRACESTATE_MEMBERS_MAX];
};

static bool is_there(const struct members *members, struct slice key)
{
    for (unsigned i = 0; i < members->count; i++) {
        if (slice_equal(slice_before(members->items[i].text, members->items[i].key_length), key)) return true;
    }
    return false;
}

static bool add_member(struct members *members, struct slice text)
{
    size_t equals = slice_find_byte(text, '=');
    if (equals == SLICE_NOT_FOUND || members->count == TRACESTATE_MEMBERS_MAX) return false;
    struct slice key = slice_before(text, equals);
    if (!is_key(key) || !is_value(slice_after(text, equals + 1)) || is_there(members, key)) return false;
    members->bytes += text.length + 1;
    members->items[members->count].text = text;
    members->items[members->count].key_length = equals;
    members->items[members->count++].is_left_out = false;
    return true;
}

/* The oldest go first: new ones are put in front. */
static void leave_out(struct members *members, size_t larger_than)
{
    for (unsigned i = members->count; i > 0 && members->bytes > TRACESTATE_BYTES_MAX + 1; i--) {
        if (members->items[i - 1].is_left_out || members->items[i - 1].text.length <= larger_than) continue;
        members->items[i - 1].is_left_out = true;
        members->bytes -= members->items[i - 1].text.length + 1;
    }
}

static struct slice write_members(const struct members *members, char buffer[TRACESTATE_BYTES_MAX])
{
    char *end = buffer;
    for (unsigned i = 0; i < members->count; i++) {
        if (members->items[i].is_left_out) continue;
        if (end > buffer) *end++ = ',';
        end = mempcpy(end, members->items[i].text.at, members->items[i].text.length);
    }
    return end > buffer ? slice_of(buffer, (size_t)(end - buffer)) : SLICE_ABSENT;
}

struct slice tracestate_check(struct slice value, char buffer[TRACESTATE_BYTES_MAX])
{
    struct members members = { .count = 0, .bytes = 0 };
    struct slice rest = value, text;
    while (slice_next(&rest, ',', &text)) {
        if (text.length > 0 && !add_member(&members, text)) return SLICE_ABSENT; /* empty ones are allowed: 3.3.1.1 */
    }
    if (members.count == 0) return SLICE_ABSENT;
    if (value.length <= TRACESTATE_BYTES_MAX) return value;
    leave_out(&members, MEMBER_BYTES_LARGE);
    leave_out(&members, 0);
    return write_members(&members, buffer);
}
