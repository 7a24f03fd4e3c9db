#include "http/method.h"

struct method_row {
    struct slice name;
    bool idempotent;
};

static const struct method_row methods[METHOD_COUNT] = {
    [METHOD_OTHER] = { { "OTHER", 5 }, false },     [METHOD_GET] = { { "GET", 3 }, true },
    [METHOD_HEAD] = { { "HEAD", 4 }, true },        [METHOD_POST] = { { "POST", 4 }, false },
    [METHOD_PUT] = { { "PUT", 3 }, true },          [METHOD_DELETE] = { { "DELETE", 6 }, true },
    [METHOD_CONNECT] = { { "CONNECT", 7 }, false }, [METHOD_OPTIONS] = { { "OPTIONS", 7 }, true },
    [METHOD_TRACE] = { { "TRACE", 5 }, true },      [METHOD_PATCH] = { { "PATCH", 5 }, false },
};

static enum method match(struct slice token, enum method method)
{
    return memcmp(token.at, methods[method].name.at, token.length) == 0 ? method : METHOD_OTHER;
}

enum method method_find(struct slice token)
{
    switch (token.length) {
    case 3: return match(token, token.at[0] == 'G' ? METHOD_GET : METHOD_PUT);
    case 4: return match(token, token.at[0] == 'H' ? METHOD_HEAD : METHOD_POST);
    case 5: return match(token, token.at[0] == 'T' ? METHOD_TRACE : METHOD_PATCH);
    case 6: return match(token, METHOD_DELETE);
    case 7: return match(token, token.at[0] == 'O' ? METHOD_OPTIONS : METHOD_CONNECT);
    default: return METHOD_OTHER;
    }
}

struct slice method_name(enum method method) { return methods[method].name; }

bool method_is_idempotent(enum method method) { return methods[method].idempotent; }

struct method_set method_set_of(const struct slice *names, size_t count, struct slice *others)
{
    struct method_set set = { .known = count == 0 ? UINT16_MAX : 0, .others = others };
    for (size_t i = 0; i < count; i++) {
        enum method method = method_find(names[i]);
        if (method == METHOD_OTHER) {
            others[set.other_count++] = names[i];
            continue;
        }
        set.known |= (uint16_t)(1u << method);
        if (method == METHOD_GET) set.known |= 1u << METHOD_HEAD;
    }
    return set;
}

bool method_set_holds(const struct method_set *set, enum method method, struct slice text)
{
    if (set->known & 1u << method) return true;
    for (unsigned i = 0; method == METHOD_OTHER && i < set->other_count; i++) {
        if (slice_equal(set->others[i], text)) return true;
    }
    return false;
}
