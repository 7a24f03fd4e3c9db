#include "base/slice.h"

#define EACH_BYTE UINT64_C(0x0101010101010101)

static inline uint64_t load_8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Up to 7 bytes, some of them twice. */
static inline uint64_t load_short(const char *at, size_t length)
{
    uint32_t head, tail;
    if (length == 0) return 0;
    if (length < 4)
        return (uint8_t)at[0] | (uint64_t)(uint8_t)at[length / 2] << 8 | (uint64_t)(uint8_t)at[length - 1] << 16;
    memcpy(&head, at, sizeof head);
    memcpy(&tail, at + length - sizeof tail, sizeof tail);
    return head | (uint64_t)tail << 32;
}

/* Eight bytes at once: what differs is one bit of letters. To seven bits of a byte is added what carries into the eighth from 'a' on, and what does
 * from behind 'z' on. */
static inline bool words_equal_ignore_case(uint64_t a, uint64_t b)
{
    uint64_t differs = a ^ b;
    if (differs == 0) return true;
    if (differs & ~(EACH_BYTE * 0x20)) return false;
    uint64_t low = (a | EACH_BYTE * 0x20) & EACH_BYTE * 0x7f;
    uint64_t from_a = low + EACH_BYTE * (0x80 - 'a'), behind_z = low + EACH_BYTE * (0x7f - 'z');
    return (differs << 2 & ~(from_a & ~behind_z & ~a)) == 0;
}

bool slice_equal_ignore_case(struct slice a, struct slice b)
{
    if (a.length != b.length) return false;
    if (a.length < 8) return words_equal_ignore_case(load_short(a.at, a.length), load_short(b.at, b.length));
    for (size_t at = 0; at + 8 < a.length; at += 8) {
        if (!words_equal_ignore_case(load_8(a.at + at), load_8(b.at + at))) return false;
    }
    return words_equal_ignore_case(load_8(a.at + a.length - 8), load_8(b.at + b.length - 8));
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common ? memcmp(a.at, b.at, common) : 0;
    if (order != 0) return order;
    return (a.length > b.length) - (a.length < b.length);
}

size_t slice_find(struct slice slice, struct slice needle)
{
    if (needle.length == 0) return 0;
    if (slice.length < needle.length) return SLICE_NOT_FOUND;
    const char *hit = memmem(slice.at, slice.length, needle.at, needle.length);
    return hit ? (size_t)(hit - slice.at) : SLICE_NOT_FOUND;
}

static bool is_blank(char byte) { return byte == ' ' || byte == '\t'; }

struct slice slice_trim(struct slice slice)
{
    while (slice.length && is_blank(slice.at[0])) {
        slice.at++;
        slice.length--;
    }
    while (slice.length && is_blank(slice.at[slice.length - 1])) slice.length--;
    return slice;
}

bool slice_next(struct slice *rest, char separator, struct slice *piece)
{
    if (slice_is_absent(*rest)) return false;
    size_t at = slice_find_byte(*rest, separator);
    if (at == SLICE_NOT_FOUND) {
        *piece = slice_trim(*rest);
        *rest = SLICE_ABSENT;
    } else {
        *piece = slice_trim(slice_of(rest->at, at));
        *rest = slice_of(rest->at + at + 1, rest->length - at - 1);
    }
    return true;
}

bool slice_parse_uint64(struct slice slice, uint64_t *value)
{
    if (slice.length == 0) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < slice.length; i++) {
        unsigned digit = (unsigned)(unsigned char)slice.at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, digit, &sum))
            return false;
    }
    *value = sum;
    return true;
}

bool slice_parse_int64(struct slice slice, int64_t *value)
{
    bool negative = slice.length && slice.at[0] == '-';
    uint64_t magnitude;
    if (!slice_parse_uint64(negative ? slice_of(slice.at + 1, slice.length - 1) : slice, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}
