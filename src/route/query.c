#include "route/private.h"

/* Query parameters as conditions see them: names and values decoded ("a=b%20c" asks for "b c", '+' is a space), each
 * occurrence by itself. Nothing is allocated: what needs decoding goes into the scratch's buffer. */

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* A percent sign that begins no encoding stands for itself. False if `text` is too long to be decoded here. */
static bool decode(struct slice text, struct router_scratch *scratch, struct slice *decoded)
{
    *decoded = text;
    if (slice_find_byte(text, '%') == SLICE_NOT_FOUND && slice_find_byte(text, '+') == SLICE_NOT_FOUND) return true;
    if (text.length > DECODED_BYTES_MAX) return false;
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%' && i + 2 < text.length) {
            int high = hex_digit(text.at[i + 1]), low = hex_digit(text.at[i + 2]);
            if (high >= 0 && low >= 0) {
                byte = (char)(high << 4 | low);
                i += 2;
            }
        }
        scratch->decoded[length++] = byte;
    }
    *decoded = slice_of(scratch->decoded, length);
    return true;
}

bool query_next_value(struct slice *rest, struct slice name, struct router_scratch *scratch, struct slice *value)
{
    while (rest->length > 0) {
        size_t length = slice_find_byte(*rest, '&');
        struct slice pair = slice_before(*rest, length);
        *rest = length == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(*rest, length + 1);
        size_t equals = slice_find_byte(pair, '=');
        struct slice found;
        if (!decode(slice_before(pair, equals), scratch, &found) || !slice_equal(found, name)) continue;
        struct slice encoded = equals == SLICE_NOT_FOUND ? slice_of(pair.at, 0) : slice_after(pair, equals + 1);
        if (decode(encoded, scratch, value)) return true;
    }
    return false;
}
