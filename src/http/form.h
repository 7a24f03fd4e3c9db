/* http/form.h: query texts as forms write them (WHATWG URL, application/x-www-form-urlencoded). */
#ifndef SLUICE_HTTP_FORM_H
#define SLUICE_HTTP_FORM_H

#include "base/arena.h"
#include "base/hex.h"
#include "base/slice.h"

/* One byte off the front of a text that isn't empty: '+' is a space, a percent sign that begins no encoding stands for itself. */
static inline char form_decode_byte(struct slice *encoded)
{
    char byte = encoded->at[0];
    size_t length = 1;
    if (byte == '+') {
        byte = ' ';
    } else if (byte == '%' && encoded->length > 2) {
        int high = hex_digit(encoded->at[1]), low = hex_digit(encoded->at[2]);
        if (high >= 0 && low >= 0) {
            byte = (char)(high << 4 | low);
            length = 3;
        }
    }
    *encoded = slice_after(*encoded, length);
    return byte;
}

/* Whether it stands there as it means: nothing is to be decoded. */
static inline bool form_is_plain(struct slice text)
{
    return slice_find_byte(text, '%') == SLICE_NOT_FOUND && slice_find_byte(text, '+') == SLICE_NOT_FOUND;
}

/* Decoded, it is this text. */
static inline bool form_reads_as(struct slice encoded, struct slice text)
{
    size_t at = 0;
    while (encoded.length > 0 && at < text.length) {
        if (form_decode_byte(&encoded) != text.at[at++]) return false;
    }
    return encoded.length == 0 && at == text.length;
}

/* Decoded, in the arena where there is something to decode. Absent: no memory. */
static inline struct slice form_decode(struct slice encoded, struct arena *arena)
{
    if (form_is_plain(encoded)) return encoded.at ? encoded : SLICE("");
    char *plain = arena_allocate(arena, encoded.length);
    size_t length = 0;
    if (!plain) return SLICE_ABSENT;
    while (encoded.length > 0) plain[length++] = form_decode_byte(&encoded);
    return slice_of(plain, length);
}

struct form_pair {
    struct slice whole, name, value; /* encoded, as they stand there */
};

/* The next one between '&' of *rest, which begins as the query and is absent behind the last one. It may be empty; one without '=' has an empty
 * value. False: no more. */
static inline bool form_next_pair(struct slice *rest, struct form_pair *pair)
{
    if (slice_is_absent(*rest)) return false;
    size_t end = slice_find_byte(*rest, '&');
    pair->whole = slice_before(*rest, end);
    *rest = end == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_of(rest->at + end + 1, rest->length - end - 1);
    size_t equals = slice_find_byte(pair->whole, '=');
    pair->name = slice_before(pair->whole, equals);
    pair->value = equals == SLICE_NOT_FOUND ? SLICE("") : slice_after(pair->whole, equals + 1);
    return true;
}

#endif
