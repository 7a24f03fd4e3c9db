/* exchange/request_maps.c: header fields, query parameters and cookies as maps. Nothing is parsed ahead: a key is looked for in the text as it
 * came, and what has to be decoded or joined is made in the arena. */
#include "exchange/private.h"
#include "exchange/variables.h"

#include "http/cookies.h"
#include "http/form.h"
#include "http/headers.h"
#include "http/target.h"

static enum expression_found give(struct slice text, struct expression_value *value)
{
    *value = expression_string(text);
    return slice_is_absent(text) ? EXPRESSION_NO_MEMORY : EXPRESSION_FOUND;
}

/* All values of a name are joined, however many there are: what a rule doesn't see, the service would. */

/* --- header fields --- */

/* All values of the name, one after the other; that of most is one and stays where it is. */
static enum expression_found join_fields(const struct headers *headers, const struct header *first, struct arena *arena,
                                         struct expression_value *value)
{
    size_t fields = 0, count = 0;
    const struct header *next = headers_find_next(headers, first);
    if (!next) return give(first->value.at ? first->value : SLICE(""), value);
    for (const struct header *field = first; field; field = headers_find_next(headers, field)) fields++;
    struct slice *pieces = arena_allocate(arena, 2 * fields * sizeof *pieces);
    if (!pieces) return EXPRESSION_NO_MEMORY;
    for (const struct header *field = first; field; field = next) {
        if (count) pieces[count++] = field->id == HEADER_COOKIE ? SLICE("; ") : SLICE(", ");
        pieces[count++] = field->value;
        next = headers_find_next(headers, field);
    }
    return give(arena_join(arena, pieces, count), value);
}

static enum expression_found find_field(const void *of, const struct expression_value *key, struct arena *arena,
                                        struct expression_value *value)
{
    const struct headers *headers = of;
    const struct header *field = key->type == EXPRESSION_STRING ? headers_find(headers, key->text) : NULL;
    return field ? join_fields(headers, field, arena, value) : EXPRESSION_NOT_THERE;
}

enum expression_found exchange_header(const struct exchange *exchange, struct slice name, struct slice *text)
{
    const struct headers *headers = &exchange->request->headers;
    const struct header *field = headers_find(headers, name);
    struct expression_value value;
    if (!field) return EXPRESSION_NOT_THERE;
    enum expression_found found = join_fields(headers, field, exchange->arena, &value);
    *text = value.text;
    return found;
}

/* The first of its name stands for all of them. */
static bool is_first(const struct headers *headers, const struct header *field)
{
    return !slice_is_absent(field->name) && headers_find(headers, field->name) == field;
}

static struct slice lower_case(struct slice name, struct arena *arena)
{
    char *lower = arena_allocate(arena, name.length + 1);
    if (!lower) return SLICE_ABSENT;
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        lower[i] = byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
    }
    return slice_of(lower, name.length);
}

static enum expression_found next_field(const void *of, uint32_t *position, struct arena *arena,
                                        struct expression_value *key, struct expression_value *value)
{
    const struct headers *headers = of;
    for (; *position < headers->count; ++*position) {
        const struct header *field = &headers->items[*position];
        if (!is_first(headers, field)) continue;
        ++*position;
        enum expression_found found = give(lower_case(field->name, arena), key);
        return found == EXPRESSION_FOUND && value ? join_fields(headers, field, arena, value) : found;
    }
    return EXPRESSION_NOT_THERE;
}

static uint32_t count_fields(const void *of)
{
    const struct headers *headers = of;
    uint32_t count = 0;
    for (uint32_t i = 0; i < headers->count; i++) count += is_first(headers, &headers->items[i]);
    return count;
}

static uint32_t field_cost(const void *of) { return ((const struct headers *)of)->count / 8; }

const struct expression_map_kind header_map = {
    .find = find_field,
    .next = next_field,
    .count = count_fields,
    .find_cost = field_cost,
};

/* --- query parameters --- */

/* Empty ones are passed over. */
static bool next_pair(struct slice *rest, struct form_pair *pair)
{
    while (form_next_pair(rest, pair)) {
        if (pair->whole.length > 0) return true;
    }
    return false;
}

static enum expression_found find_parameter(const void *of, const struct expression_value *key, struct arena *arena,
                                            struct expression_value *value)
{
    const struct target *target = of;
    struct slice rest = target->query;
    struct form_pair pair;
    size_t values = 0, count = 0;
    if (key->type != EXPRESSION_STRING) return EXPRESSION_NOT_THERE;
    while (next_pair(&rest, &pair)) values += form_reads_as(pair.name, key->text);
    if (values == 0) return EXPRESSION_NOT_THERE;
    struct slice *pieces = arena_allocate(arena, 2 * values * sizeof *pieces);
    if (!pieces) return EXPRESSION_NO_MEMORY;
    for (rest = target->query; next_pair(&rest, &pair);) {
        if (!form_reads_as(pair.name, key->text)) continue;
        if (count) pieces[count++] = SLICE(",");
        pieces[count] = form_decode(pair.value, arena);
        if (slice_is_absent(pieces[count++])) return EXPRESSION_NO_MEMORY;
    }
    return give(count == 1 ? pieces[0] : arena_join(arena, pieces, count), value);
}

/* A parameter that is there twice is gone through twice: telling them apart would cost the square of their number. */
static enum expression_found next_parameter(const void *of, uint32_t *position, struct arena *arena,
                                            struct expression_value *key, struct expression_value *value)
{
    struct slice query = ((const struct target *)of)->query, rest = slice_after(query, *position);
    struct form_pair pair;
    if (!next_pair(&rest, &pair)) return EXPRESSION_NOT_THERE;
    *position = (uint32_t)(query.length - (slice_is_absent(rest) ? 0 : rest.length));
    enum expression_found found = give(form_decode(pair.name, arena), key);
    return found == EXPRESSION_FOUND && value ? find_parameter(of, key, arena, value) : found;
}

static uint32_t count_parameters(const void *of)
{
    struct slice rest = ((const struct target *)of)->query;
    struct form_pair pair;
    uint32_t count = 0;
    while (next_pair(&rest, &pair)) count++;
    return count;
}

static uint32_t parameter_cost(const void *of) { return (uint32_t)(((const struct target *)of)->query.length / 8); }

const struct expression_map_kind query_map = {
    .find = find_parameter,
    .next = next_parameter,
    .count = count_parameters,
    .find_cost = parameter_cost,
};

/* --- cookies --- */

/* Of the name, over all fields; into `pieces`, with commas between them, where that isn't NULL. */
static size_t gather_cookies(const struct headers *headers, struct slice name, struct slice *pieces)
{
    size_t count = 0;
    for (const struct header *field = headers_find_known(headers, HEADER_COOKIE); field;
         field = headers_find_next(headers, field)) {
        struct slice rest = field->value;
        struct cookie cookie;
        while (cookie_next_named(&rest, &cookie)) {
            if (!slice_equal(cookie.name, name)) continue;
            if (pieces && count) pieces[2 * count - 1] = SLICE(",");
            if (pieces) pieces[2 * count] = cookie.value;
            count++;
        }
    }
    return count;
}

static enum expression_found find_cookie(const void *of, const struct expression_value *key, struct arena *arena,
                                         struct expression_value *value)
{
    size_t count = key->type == EXPRESSION_STRING ? gather_cookies(of, key->text, NULL) : 0;
    if (count == 0) return EXPRESSION_NOT_THERE;
    struct slice *pieces = arena_allocate(arena, 2 * count * sizeof *pieces);
    if (!pieces) return EXPRESSION_NO_MEMORY;
    gather_cookies(of, key->text, pieces);
    return give(count == 1 ? pieces[0] : arena_join(arena, pieces, 2 * count - 1), value);
}

/* The position counts bytes over all fields, one more for the end of each. One that is there twice is gone through twice, as a parameter. */
static enum expression_found next_of_cookies(const void *of, uint32_t *position, struct arena *arena,
                                             struct expression_value *key, struct expression_value *value)
{
    const struct headers *headers = of;
    size_t before = 0;
    for (const struct header *field = headers_find_known(headers, HEADER_COOKIE); field;
         before += field->value.length + 1, field = headers_find_next(headers, field)) {
        if (*position >= before + field->value.length) continue;
        struct slice rest = slice_after(field->value, *position > before ? *position - before : 0);
        struct cookie cookie;
        if (!cookie_next_named(&rest, &cookie)) continue;
        size_t left = slice_is_absent(rest) ? 0 : rest.length;
        *position = (uint32_t)(before + field->value.length - left);
        *key = expression_string(cookie.name);
        return value ? find_cookie(of, key, arena, value) : EXPRESSION_FOUND;
    }
    return EXPRESSION_NOT_THERE;
}

static uint32_t count_cookies(const void *of)
{
    struct expression_value key;
    uint32_t count = 0, position = 0;
    while (next_of_cookies(of, &position, NULL, &key, NULL) == EXPRESSION_FOUND) count++;
    return count;
}

static uint32_t cookie_cost(const void *of)
{
    size_t bytes = 0;
    for (const struct header *field = headers_find_known(of, HEADER_COOKIE); field;
         field = headers_find_next(of, field))
        bytes += field->value.length;
    return (uint32_t)(bytes / 8);
}

const struct expression_map_kind cookie_map = {
    .find = find_cookie,
    .next = next_of_cookies,
    .count = count_cookies,
    .find_cost = cookie_cost,
};
