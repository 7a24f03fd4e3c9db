/* base/slice.h: a run of bytes that somebody else owns.
 *
 * A slice never owns and is never NUL-terminated; how long it holds is said where it is declared.
 * An absent slice has at == NULL; an empty one has length 0. */
#ifndef SLUICE_BASE_SLICE_H
#define SLUICE_BASE_SLICE_H

#include "base/base.h"

#include <string.h>

struct slice {
    const char *at;
    size_t length;
};

#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })
#define SLICE_ABSENT ((struct slice){ NULL, 0 })
/* For printf: "%.*s", SLICE_PRINT(name) */
#define SLICE_PRINT(slice) (int)(slice).length, ((slice).at ? (slice).at : "")

static inline struct slice slice_of(const char *at, size_t length) { return (struct slice){ at, length }; }
static inline struct slice slice_from_cstring(const char *text)
{
    return (struct slice){ text, text ? strlen(text) : 0 };
}
static inline bool slice_is_absent(struct slice slice) { return slice.at == NULL; }

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static inline bool slice_starts_with(struct slice slice, struct slice prefix)
{
    return slice.length >= prefix.length && (prefix.length == 0 || memcmp(slice.at, prefix.at, prefix.length) == 0);
}

static inline bool slice_ends_with(struct slice slice, struct slice suffix)
{
    return slice.length >= suffix.length &&
           (suffix.length == 0 || memcmp(slice.at + slice.length - suffix.length, suffix.at, suffix.length) == 0);
}

/* From `start` on; an absent or too short slice gives an empty one. */
static inline struct slice slice_after(struct slice slice, size_t start)
{
    if (start > slice.length) start = slice.length;
    return (struct slice){ slice.at + start, slice.length - start };
}

static inline struct slice slice_before(struct slice slice, size_t end)
{
    return (struct slice){ slice.at, end < slice.length ? end : slice.length };
}

#define SLICE_NOT_FOUND ((size_t)-1)

static inline size_t slice_find_byte(struct slice slice, char byte)
{
    const char *hit = slice.length ? memchr(slice.at, byte, slice.length) : NULL;
    return hit ? (size_t)(hit - slice.at) : SLICE_NOT_FOUND;
}

/* ASCII letters compare without case; all other bytes as they are. */
bool slice_equal_ignore_case(struct slice a, struct slice b);
/* <0, 0, >0 by bytes, then by length. */
int slice_compare(struct slice a, struct slice b);
/* Position of `needle`, or SLICE_NOT_FOUND. */
size_t slice_find(struct slice slice, struct slice needle);
/* Without leading and trailing SP and HTAB (RFC 9110 5.6.3 OWS). */
struct slice slice_trim(struct slice slice);
/* Takes the next piece up to `separator` off *rest, trimmed; false when *rest is used up (absent). "a,,b" gives three
 * pieces, "a," two, an empty slice one empty piece, an absent slice none. */
bool slice_next(struct slice *rest, char separator, struct slice *piece);
/* Takes the byte off *rest; false where another one or none is there. */
static inline bool slice_take_byte(struct slice *rest, char byte)
{
    if (rest->length == 0 || rest->at[0] != byte) return false;
    *rest = slice_after(*rest, 1);
    return true;
}
/* Takes exactly so many digits off *rest, at most nine; false where they are not there. */
bool slice_take_digits(struct slice *rest, size_t count, int *value);
/* Only digits, no sign, no overflow; false otherwise, *value untouched. */
bool slice_parse_uint64(struct slice slice, uint64_t *value);
bool slice_parse_int64(struct slice slice, int64_t *value);

#endif
