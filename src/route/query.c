#include "http/form.h"
#include "route/private.h"

/* Query parameters as conditions see them: names and values decoded ("a=b%20c" asks for "b c", '+' is a space), each
 * occurrence by itself. Nothing is allocated: what needs decoding goes into the scratch's buffer. */

/* A percent sign that begins no encoding stands for itself. False if `text` is too long to be decoded here. */
static bool decode(struct slice text, struct router_scratch *scratch, struct slice *decoded)
{
    *decoded = text;
    if (form_is_plain(text)) return true;
    if (text.length > DECODED_BYTES_MAX) return false;
    size_t length = 0;
    while (text.length > 0) scratch->decoded[length++] = form_decode_byte(&text);
    *decoded = slice_of(scratch->decoded, length);
    return true;
}

bool query_next_value(struct slice *rest, struct slice name, struct router_scratch *scratch, struct slice *value)
{
    struct form_pair pair;
    while (form_next_pair(rest, &pair)) {
        if (form_reads_as(pair.name, name) && decode(pair.value, scratch, value)) return true;
    }
    return false;
}
