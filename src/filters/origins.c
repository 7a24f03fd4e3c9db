/* filters/origins.c: lists of origins, for the policies that judge by who made a browser ask: cors and websocket. */
#include "filters/private.h"

#include "base/memory.h"

/* As it is sent, or what stands before and behind the one wildcard in it. */
struct known_origin {
    char *text;
    struct slice before, behind; /* behind absent: no wildcard, `before` is all of it */
};

/* --- loading --- */

/* What a browser sends as Origin: scheme, host and a port that isn't the scheme's usual one; letters in lower case. */
static bool is_origin(struct slice text)
{
    size_t scheme_length = slice_find(text, SLICE("://"));
    if (scheme_length == SLICE_NOT_FOUND || scheme_length == 0) return false;
    struct slice host = slice_after(text, scheme_length + 3);
    if (slice_starts_with(host, SLICE("*."))) host = slice_after(host, 2);
    if (host.length == 0) return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f || (text.at[i] >= 'A' && text.at[i] <= 'Z')) return false;
    }
    for (size_t i = 0; i < host.length; i++) {
        if (strchr("/?#@*\\,", host.at[i])) return false;
    }
    return true;
}

bool check_origin(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (slice_equal(*text, SLICE("*")) || slice_equal(*text, SLICE("null")) || is_origin(*text)) return true;
    problems_add(reading->problems, node, "https://app.example.com, https://*.example.com or *; no path, no capitals",
                 "not an origin: \"%s\"", problems_excerpt(*text).text);
    return false;
}

static struct known_origin compile_origin(struct slice text)
{
    struct known_origin origin = { .text = memory_copy_slice(text) };
    origin.before = slice_of(origin.text, text.length);
    size_t star = slice_find_byte(text, '*');
    if (star == SLICE_NOT_FOUND) return origin;
    origin.behind = slice_after(origin.before, star + 1);
    origin.before.length = star;
    return origin;
}

void origin_list_init(struct origin_list *list, const struct slice_list *texts)
{
    *list = (struct origin_list){ .items = memory_allocate_array(texts->count, sizeof *list->items) };
    for (size_t i = 0; i < texts->count; i++) {
        list->any |= slice_equal(texts->items[i], SLICE("*"));
        list->items[list->count++] = compile_origin(texts->items[i]);
    }
}

void origin_list_release(struct origin_list *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->items[i].text);
    free(list->items);
}

/* --- who asks --- */

/* What '*' stands for is part of a host name: never a '/', '@' or ':' that would make `behind` mean something else. */
static bool is_part_of_host(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        bool fits = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' ||
                    byte == '_';
        if (!fits) return false;
    }
    return text.length > 0;
}

static bool origin_matches(const struct known_origin *known, struct slice origin)
{
    if (slice_is_absent(known->behind)) return slice_equal(known->before, origin);
    if (origin.length < known->before.length + known->behind.length) return false;
    if (!slice_starts_with(origin, known->before) || !slice_ends_with(origin, known->behind)) return false;
    struct slice part = slice_before(slice_after(origin, known->before.length),
                                     origin.length - known->before.length - known->behind.length);
    return is_part_of_host(part);
}

bool origin_list_holds(const struct origin_list *list, struct slice origin)
{
    if (list->any) return true;
    for (size_t i = 0; i < list->count; i++) {
        if (origin_matches(&list->items[i], origin)) return true;
    }
    return false;
}

struct slice request_origin(const struct exchange *exchange)
{
    const struct headers *headers = &exchange->request->headers;
    const struct header *origin = headers_find_known(headers, HEADER_ORIGIN);
    return origin && !headers_find_next(headers, origin) ? origin->value : SLICE_ABSENT;
}
