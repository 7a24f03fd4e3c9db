/* http/cookies.h: the pairs of a Cookie field (RFC 6265 4.2.1), read in one way by all who decide by them. A request may have several such
 * fields (RFC 9113 8.2.3), and a field the same name twice: what that means is the reader's to say. */
#ifndef SLUICE_HTTP_COOKIES_H
#define SLUICE_HTTP_COOKIES_H

#include "base/slice.h"

struct cookie {
    struct slice whole; /* without white space around it */
    struct slice name;  /* empty: it has none, and is no cookie */
    struct slice value; /* without white space and quotes around it */
};

/* The next one between ';' of *rest, which begins as the field's value. False: no more. */
static inline bool cookie_next(struct slice *rest, struct cookie *cookie)
{
    if (!slice_next(rest, ';', &cookie->whole)) return false;
    size_t equals = slice_find_byte(cookie->whole, '=');
    bool is_one = equals != SLICE_NOT_FOUND;
    cookie->name = is_one ? slice_trim(slice_before(cookie->whole, equals)) : SLICE("");
    cookie->value = is_one ? slice_trim(slice_after(cookie->whole, equals + 1)) : SLICE("");
    size_t length = cookie->value.length;
    if (length >= 2 && cookie->value.at[0] == '"' && cookie->value.at[length - 1] == '"')
        cookie->value = slice_of(cookie->value.at + 1, length - 2);
    return true;
}

/* The same, those without a name passed over. */
static inline bool cookie_next_named(struct slice *rest, struct cookie *cookie)
{
    while (cookie_next(rest, cookie)) {
        if (cookie->name.length > 0) return true;
    }
    return false;
}

#endif
