/* admin/query.c: what stands behind the '?': known names, once each, with values that mean something. */
#include "admin/private.h"
#include "base/hex.h"
#include "json/writer.h"

struct slice admin_percent_decode(struct arena *arena, struct slice text)
{
    char *into = arena_allocate(arena, text.length + 1);
    size_t length = 0;
    PROMISE(into != NULL);
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '%') {
            if (text.length - i < 3) return SLICE_ABSENT;
            int high = hex_digit(text.at[i + 1]), low = hex_digit(text.at[i + 2]);
            if (high < 0 || low < 0) return SLICE_ABSENT;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (byte == '\0') return SLICE_ABSENT;
        into[length++] = byte;
    }
    into[length] = '\0';
    return slice_of(into, length);
}

static bool is_allowed(const char *allowed, struct slice name)
{
    struct slice rest = slice_from_cstring(allowed), word;
    while (rest.length > 0 && slice_next(&rest, ' ', &word)) {
        if (slice_equal(word, name)) return true;
    }
    return false;
}

static void refuse_name(struct arena *arena, struct admin_query *query, const char *allowed, struct slice name)
{
    struct excerpt shown = problems_excerpt(name);
    if (*allowed == '\0')
        query->problem = arena_format(arena, "this path takes no query, and \"%s\" was given", shown.text);
    else
        query->problem = arena_format(arena, "unknown query parameter \"%s\"; there are: %s", shown.text, allowed);
}

static void refuse_value(struct arena *arena, struct admin_query *query, struct slice name, const char *wanted,
                         struct slice value)
{
    struct excerpt shown = problems_excerpt(value);
    query->problem = arena_format(arena, "\"%.*s\" must be %s, not \"%s\"", SLICE_PRINT(name), wanted, shown.text);
}

static int read_boolean(struct slice value)
{
    if (slice_equal(value, SLICE("true"))) return 1;
    return slice_equal(value, SLICE("false")) ? 0 : -1;
}

static void take_limit(struct arena *arena, struct admin_query *query, struct slice name, struct slice value)
{
    uint64_t limit;
    if (slice_parse_uint64(value, &limit) && limit >= 1 && limit <= ADMIN_LIST_LIMIT_MAX)
        query->limit = (size_t)limit;
    else
        refuse_value(arena, query, name, "from 1 to 1000", value);
}

static void take_boolean(struct arena *arena, struct admin_query *query, struct slice name, struct slice value)
{
    int read = read_boolean(value);
    if (read < 0)
        refuse_value(arena, query, name, "true or false", value);
    else if (slice_equal(name, SLICE("enabled")))
        query->enabled = read;
    else if (slice_equal(name, SLICE("cascade")))
        query->cascade = read;
    else
        query->dry_run = read;
}

static struct slice *text_of(struct admin_query *query, struct slice name)
{
    const struct {
        struct slice name, *into;
    } texts[] = {
        { SLICE("cursor"), &query->cursor },    { SLICE("serviceId"), &query->service_id },
        { SLICE("routeId"), &query->route_id }, { SLICE("tag"), &query->tag },
        { SLICE("name"), &query->name },        { SLICE("clientId"), &query->client_id },
        { SLICE("comment"), &query->comment },
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (slice_equal(name, texts[i].name)) return texts[i].into;
    }
    return NULL;
}

/* What a form would write as '+' is a space; a comment typed by hand has %20. */
static struct slice decode_value(struct arena *arena, struct slice value)
{
    struct slice copy = arena_copy(arena, value);
    PROMISE(copy.at != NULL);
    for (char *at = (char *)(uintptr_t)copy.at; at < copy.at + copy.length; at++) {
        if (*at == '+') *at = ' ';
    }
    return admin_percent_decode(arena, copy);
}

/* What is no UTF-8 is found nowhere, and one of the stores would keep it while the other refuses. */
static void take(struct arena *arena, struct admin_query *query, struct slice name, struct slice value)
{
    struct slice *text = text_of(query, name);
    bool is_beginning = text == &query->cursor && value.length == 0; /* what a loop says before it has a cursor */
    if (slice_is_absent(value) || (text && value.length == 0 && !is_beginning)) {
        query->problem = arena_format(arena, "\"%.*s\" needs a value", SLICE_PRINT(name));
    } else if (!json_is_utf8(value)) {
        query->problem = arena_format(arena, "\"%.*s\" must be UTF-8", SLICE_PRINT(name));
    } else if (text && !slice_is_absent(*text)) {
        query->problem = arena_format(arena, "\"%.*s\" is given twice", SLICE_PRINT(name));
    } else if (text) {
        if (value.length > 0) *text = value;
    } else if (slice_equal(name, SLICE("limit"))) {
        take_limit(arena, query, name, value);
    } else {
        take_boolean(arena, query, name, value);
    }
}

void admin_query_read(struct arena *arena, struct slice text, const char *allowed, struct admin_query *query)
{
    struct slice rest = text, pair;
    *query = (struct admin_query){ .limit = ADMIN_LIST_LIMIT_DEFAULT, .enabled = -1 };
    while (rest.length > 0 && slice_is_absent(query->problem) && slice_next(&rest, '&', &pair)) {
        if (pair.length == 0) continue;
        size_t equals = slice_find_byte(pair, '=');
        struct slice name = slice_before(pair, equals);
        if (!is_allowed(allowed, name)) {
            refuse_name(arena, query, allowed, name);
        } else if (equals == SLICE_NOT_FOUND) {
            take(arena, query, name, SLICE_ABSENT);
        } else {
            take(arena, query, name, decode_value(arena, slice_after(pair, equals + 1)));
        }
    }
}
