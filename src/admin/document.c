/* admin/document.c: looking into JSON texts without reading them whole: a walk over the members of one object, value by value.
 *
 * It is for documents that the store's schema has made, or for bodies that are read properly afterwards: what is malformed ends a walk
 * early, and where a body is to be changed it is read properly first. */
#include "admin/private.h"

static bool is_space(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at)) at++;
    return at;
}

/* Behind the closing quote; NULL: there is none. `at` is behind the opening one. */
static const char *skip_string(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at == '"') return at + 1;
        if (*at == '\\') at++;
    }
    return NULL;
}

/* Behind a list or an object, whose inside is only counted. */
static const char *skip_nested(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        char byte = *at++;
        if (byte == '"') {
            at = skip_string(at, end);
            if (!at) return NULL;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if ((byte == '}' || byte == ']') && --depth == 0) {
            return at;
        }
    }
    return NULL;
}

static const char *skip_value(const char *at, const char *end)
{
    if (at == end) return NULL;
    if (*at == '"') return skip_string(at + 1, end);
    if (*at == '{' || *at == '[') return skip_nested(at, end);
    const char *start = at;
    while (at < end && !is_space(*at) && *at != ',' && *at != '}' && *at != ']') at++;
    return at > start ? at : NULL;
}

bool document_walk_begin(struct document_walk *walk, struct slice text)
{
    const char *at = skip_space(text.at, text.at + text.length), *end = text.at + text.length;
    *walk = (struct document_walk){ .at = at + 1, .end = end };
    return at < end && (*at == '{' || *at == '[');
}

bool document_walk_next(struct document_walk *walk)
{
    const char *at = skip_space(walk->at, walk->end), *end = walk->end;
    if (at < end && *at == ',') at = skip_space(at + 1, end);
    if (at == end || *at == '}' || *at == ']') return false;
    const char *value = at, *after = skip_value(at, end);
    if (!after) return false;
    walk->key = SLICE_ABSENT;
    const char *colon = skip_space(after, end);
    if (*at == '"' && colon < end && *colon == ':') {
        walk->key = slice_of(at + 1, (size_t)(after - at) - 2);
        value = skip_space(colon + 1, end);
        after = skip_value(value, end);
        if (!after) return false;
    }
    walk->value = slice_of(value, (size_t)(after - value));
    walk->at = after;
    return true;
}

struct slice document_member(struct slice object, struct slice key)
{
    struct document_walk walk;
    if (!document_walk_begin(&walk, object)) return SLICE_ABSENT;
    while (document_walk_next(&walk)) {
        if (!slice_is_absent(walk.key) && slice_equal(walk.key, key)) return walk.value;
    }
    return SLICE_ABSENT;
}

struct slice document_string(struct slice value)
{
    if (value.length < 2 || value.at[0] != '"') return SLICE_ABSENT;
    return slice_of(value.at + 1, value.length - 2);
}

bool document_array_has(struct slice array, struct slice string)
{
    struct document_walk walk;
    if (array.length == 0 || array.at[0] != '[' || !document_walk_begin(&walk, array)) return false;
    while (document_walk_next(&walk)) {
        if (slice_equal(document_string(walk.value), string)) return true;
    }
    return false;
}

/* --- what only answers have, and no schema knows (createdAt and updatedAt it knows, and passes over) --- */

static bool is_read_only(struct slice key)
{
    static const struct slice names[] = { SLICE("warnings"), SLICE("instanceHealth") };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (slice_equal(key, names[i])) return true;
    }
    return false;
}

static bool has_read_only(struct slice object)
{
    struct document_walk walk;
    if (!document_walk_begin(&walk, object)) return false;
    while (document_walk_next(&walk)) {
        if (is_read_only(walk.key)) return true;
    }
    return false;
}

static void copy_object(struct admin_text *into, struct slice object)
{
    struct document_walk walk;
    bool is_first = true, is_object = document_walk_begin(&walk, object);
    PROMISE(is_object);
    admin_text_add(into, SLICE("{"));
    while (document_walk_next(&walk)) {
        if (is_read_only(walk.key)) continue;
        admin_text_format(into, "%s\"%.*s\":", is_first ? "" : ",", SLICE_PRINT(walk.key));
        admin_text_add(into, walk.value);
        is_first = false;
    }
    admin_text_add(into, SLICE("}"));
}

/* Taking parts out of a broken text could make a sound one of it. */
static bool is_sound_object(struct slice text)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    const struct node *node = node_read_json(&arena, text, NULL, &problems);
    bool is_sound = node && node->kind == NODE_MAP && problems.count == 0;
    problems_release(&problems);
    arena_release(&arena);
    return is_sound;
}

struct slice document_without_read_only(struct arena *arena, struct slice text)
{
    struct admin_text copy = { 0 };
    size_t start = 0;
    while (start < text.length && is_space(text.at[start])) start++;
    struct slice object = slice_after(text, start);
    if (object.length == 0 || object.at[0] != '{' || !has_read_only(object) || !is_sound_object(text)) return text;
    copy_object(&copy, object);
    struct slice kept = arena_copy(arena, admin_text_slice(&copy));
    PROMISE(kept.at != NULL);
    admin_text_release(&copy);
    return kept;
}
