#include "base/slice.h"

#include "base/words.h"

/* The bit of an ASCII letter's case, in each byte that is one of either case. */
static uint64_t case_bits(uint64_t word)
{
    uint64_t lower = word | WORD_OF(0x20), low_bits = lower & WORD_OF(0x7f);
    uint64_t from_a = low_bits + WORD_OF(0x80 - 'a'), beyond_z = low_bits + WORD_OF(0x7f - 'z');
    return ((from_a ^ beyond_z) & ~lower & WORD_OF(0x80)) >> 2;
}

static bool word_equal_ignore_case(uint64_t a, uint64_t b)
{
    uint64_t differing = a ^ b;
    if ((differing & ~WORD_OF(0x20)) != 0) return false;
    return differing == 0 || (differing & ~case_bits(a)) == 0;
}

bool slice_equal_ignore_case(struct slice a, struct slice b)
{
    size_t length = a.length;
    if (length != b.length) return false;
    if (length == 0) return true;
    if (length < WORD_BYTES)
        return word_equal_ignore_case(word_load_short(a.at, length), word_load_short(b.at, length));
    size_t last = length - WORD_BYTES; /* its word may overlap the one before */
    for (size_t at = 0; at < last; at += WORD_BYTES) {
        if (!word_equal_ignore_case(word_load(a.at + at), word_load(b.at + at))) return false;
    }
    return word_equal_ignore_case(word_load(a.at + last), word_load(b.at + last));
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

bool slice_take_digits(struct slice *rest, size_t count, int *value)
{
    if (rest->length < count) return false;
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        if (rest->at[i] < '0' || rest->at[i] > '9') return false;
        *value = *value * 10 + (rest->at[i] - '0');
    }
    *rest = slice_after(*rest, count);
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
