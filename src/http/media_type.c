/* http/media_type.c: see media_type.h. */
#include "http/media_type.h"

#define WEIGHT_MAX 1000

/* The next piece up to `separator`, which counts outside of quoted strings only (RFC 9110 5.6.4); trimmed. */
static bool next_piece(struct slice *rest, char separator, struct slice *piece)
{
    if (slice_is_absent(*rest)) return false;
    bool quoted = false;
    size_t at = 0;
    for (; at < rest->length; at++) {
        char byte = rest->at[at];
        if (quoted && byte == '\\' && at + 1 < rest->length)
            at++;
        else if (byte == '"')
            quoted = !quoted;
        else if (!quoted && byte == separator)
            break;
    }
    *piece = slice_trim(slice_before(*rest, at));
    *rest = at < rest->length ? slice_after(*rest, at + 1) : SLICE_ABSENT;
    return true;
}

/* Without its quotes and backslashes. Absent: too long, not closed, or with more behind its end. */
static struct slice unquote(struct slice text, char buffer[MEDIA_TYPE_VALUE_BYTES_MAX])
{
    if (text.length < 2 || text.at[text.length - 1] != '"') return SLICE_ABSENT;
    struct slice inner = slice_of(text.at + 1, text.length - 2);
    if (slice_find_byte(inner, '\\') == SLICE_NOT_FOUND)
        return slice_find_byte(inner, '"') == SLICE_NOT_FOUND ? inner : SLICE_ABSENT;
    size_t length = 0;
    for (size_t i = 0; i < inner.length; i++) {
        bool is_escape = inner.at[i] == '\\';
        if (is_escape && ++i == inner.length) return SLICE_ABSENT; /* the quote at the end is escaped */
        if (!is_escape && inner.at[i] == '"') return SLICE_ABSENT;
        if (length == MEDIA_TYPE_VALUE_BYTES_MAX) return SLICE_ABSENT;
        buffer[length++] = inner.at[i];
    }
    return slice_of(buffer, length);
}

/* "q=0.5" in thousandths (RFC 9110 12.4.2); what is no weight counts as 1. */
static unsigned read_weight(struct slice value)
{
    if (value.length == 0 || value.at[0] != '0') return WEIGHT_MAX;
    unsigned weight = 0, unit = 100;
    for (size_t i = 2; i < value.length && i < 5; i++, unit /= 10) {
        if (value.at[i] < '0' || value.at[i] > '9') return WEIGHT_MAX;
        weight += (unsigned)(value.at[i] - '0') * unit;
    }
    return weight;
}

/* The value as it is written; absent: it has none. */
static struct slice find_parameter(struct slice type, struct slice name, unsigned *weight)
{
    struct slice rest = type, piece, found = SLICE_ABSENT;
    *weight = WEIGHT_MAX;
    if (!next_piece(&rest, ';', &piece)) return found; /* the type itself */
    while (next_piece(&rest, ';', &piece)) {
        size_t equals = slice_find_byte(piece, '=');
        if (equals == SLICE_NOT_FOUND) continue;
        struct slice key = slice_before(piece, equals), value = slice_after(piece, equals + 1);
        if (slice_is_absent(found) && slice_equal_ignore_case(key, name))
            found = value;
        else if (slice_equal_ignore_case(key, SLICE("q")))
            *weight = read_weight(value);
    }
    return found;
}

struct slice media_type_parameter(struct slice list, struct slice name, char buffer[MEDIA_TYPE_VALUE_BYTES_MAX])
{
    struct slice rest = list, type, best = SLICE_ABSENT;
    unsigned best_weight = 0, weight;
    while (next_piece(&rest, ',', &type)) {
        struct slice value = find_parameter(type, name, &weight);
        if (slice_is_absent(value) || weight <= best_weight) continue;
        best = value;
        best_weight = weight;
    }
    if (best.length > 0 && best.at[0] == '"') return unquote(best, buffer);
    return best.length <= MEDIA_TYPE_VALUE_BYTES_MAX ? best : SLICE_ABSENT;
}
