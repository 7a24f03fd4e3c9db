/* json/decimal.c: are two numbers the same, as they are written? By their digits, so that nothing is lost that a double can't hold. */
#include "json/value.h"

/* 0.DIGITS * 10^(places + the exponent that is written). */
struct decimal {
    bool is_negative;
    const char *first, *last; /* digits that count, a point maybe among them; first NULL: it is zero */
    int64_t places;
    struct slice exponent; /* digits without leading zeros; empty: 0 */
    bool exponent_is_negative;
};

static struct slice read_exponent(struct slice text, bool *is_negative)
{
    *is_negative = slice_starts_with(text, SLICE("-"));
    if (*is_negative || slice_starts_with(text, SLICE("+"))) text = slice_after(text, 1);
    while (text.length > 0 && text.at[0] == '0') text = slice_after(text, 1);
    return text;
}

/* The text is a number by RFC 8259. */
static struct decimal read_decimal(struct slice text)
{
    struct decimal decimal = { .is_negative = text.at[0] == '-', .exponent = SLICE("") };
    bool is_behind_point = false;
    for (size_t i = decimal.is_negative; i < text.length; i++) {
        const char *at = text.at + i;
        if (*at == 'e' || *at == 'E') {
            decimal.exponent = read_exponent(slice_after(text, i + 1), &decimal.exponent_is_negative);
            break;
        }
        if (*at == '.') {
            is_behind_point = true;
            continue;
        }
        if (*at != '0') decimal.last = at;
        if (*at != '0' && !decimal.first) decimal.first = at;
        if (decimal.first && !is_behind_point) decimal.places++;
        if (!decimal.first && is_behind_point) decimal.places--;
    }
    return decimal;
}

static bool digits_equal(const struct decimal *a, const struct decimal *b)
{
    const char *left = a->first, *right = b->first;
    for (;; left++, right++) {
        if (left <= a->last && *left == '.') left++;
        if (right <= b->last && *right == '.') right++;
        if (left > a->last || right > b->last) return left > a->last && right > b->last;
        if (*left != *right) return false;
    }
}

#define EXPONENT_DIGITS_MAX 17 /* and some places more are well within 64 bits */

static int64_t order_of(const struct decimal *decimal)
{
    int64_t exponent = 0;
    for (size_t i = 0; i < decimal->exponent.length; i++) exponent = exponent * 10 + decimal->exponent.at[i] - '0';
    return decimal->places + (decimal->exponent_is_negative ? -exponent : exponent);
}

/* Of exponents that long, only those that are written alike are taken for equal. */
static bool orders_equal(const struct decimal *a, const struct decimal *b)
{
    if (a->exponent.length <= EXPONENT_DIGITS_MAX && b->exponent.length <= EXPONENT_DIGITS_MAX)
        return order_of(a) == order_of(b);
    return a->places == b->places && a->exponent_is_negative == b->exponent_is_negative &&
           slice_equal(a->exponent, b->exponent);
}

static struct slice text_of(const struct json_value *value, char room[static 24])
{
    if (value->type == JSON_DOUBLE) return slice_of(value->written, value->count);
    if (value->type == JSON_LONG_NUMBER) return value->text;
    if (value->type == JSON_UNSIGNED)
        return slice_of(room, (size_t)snprintf(room, 24, "%llu", (unsigned long long)value->natural));
    return slice_of(room, (size_t)snprintf(room, 24, "%lld", (long long)value->integer));
}

bool json_numbers_equal(const struct json_value *a, const struct json_value *b)
{
    char a_room[24], b_room[24];
    if (a->type == JSON_INTEGER && b->type == JSON_INTEGER) return a->integer == b->integer;
    struct slice a_text = text_of(a, a_room), b_text = text_of(b, b_room);
    if (slice_equal(a_text, b_text)) return true;
    struct decimal left = read_decimal(a_text), right = read_decimal(b_text);
    if (!left.first || !right.first) return !left.first && !right.first; /* -0 is 0 */
    return left.is_negative == right.is_negative && digits_equal(&left, &right) && orders_equal(&left, &right);
}
