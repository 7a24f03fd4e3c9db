#include "filters/mirror_compare.h"

#include "base/memory.h"
#include "json/value.h"

/* Values looked at, names compared with included. Two answers of 1 MiB in one order take far less. */
#define STEPS_MAX 200000u
#define VALUE_BYTES_MAX 64

/* --- paths that don't count --- */

bool ignored_path_read(struct slice text, struct ignored_path *path)
{
    size_t count = 0;
    if (text.length == 0 || text.at[0] != '/') return false;
    for (size_t i = 0; i < text.length; i++) count += text.at[i] == '/';
    *path = (struct ignored_path){ memory_allocate(count * sizeof *path->segments + text.length + 1), 0 };
    char *into = (char *)(path->segments + count);
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '/') {
            path->segments[path->count++] = slice_of(into, 0);
            continue;
        }
        if (byte == '~') {
            char next = i + 1 < text.length ? text.at[++i] : 0;
            if (next != '0' && next != '1') {
                ignored_path_release(path);
                return false;
            }
            byte = next == '0' ? '~' : '/';
        }
        *into++ = byte;
        path->segments[path->count - 1].length++;
    }
    return true;
}

void ignored_path_release(struct ignored_path *path)
{
    free(path->segments);
    *path = (struct ignored_path){ 0 };
}

/* --- the walk --- */

struct segment {
    struct slice name; /* absent: `index` counts */
    uint32_t index;
};

struct walk {
    const struct comparison_rules *rules;
    struct arena *arena;
    struct answer_difference *difference;
    struct segment path[JSON_DEPTH_MAX + 1];
    size_t depth;
    uint32_t steps;
    bool is_short; /* of memory, or beyond STEPS_MAX */
};

static bool segment_is(const struct segment *segment, struct slice wanted)
{
    if (slice_equal(wanted, SLICE("*"))) return true;
    if (!slice_is_absent(segment->name)) return slice_equal(segment->name, wanted);
    uint64_t index;
    return slice_parse_uint64(wanted, &index) && index == segment->index;
}

static bool is_ignored(const struct walk *walk)
{
    for (size_t i = 0; i < walk->rules->ignored_count; i++) {
        const struct ignored_path *ignored = &walk->rules->ignored[i];
        if (ignored->count != walk->depth) continue; /* what is below was not walked into */
        size_t at = 0;
        while (at < walk->depth && segment_is(&walk->path[at], ignored->segments[at])) at++;
        if (at == walk->depth) return true;
    }
    return false;
}

static size_t escaped_length(struct slice name)
{
    size_t length = name.length;
    for (size_t i = 0; i < name.length; i++) length += name.at[i] == '~' || name.at[i] == '/';
    return length;
}

static char *write_escaped(char *at, struct slice name)
{
    for (size_t i = 0; i < name.length; i++) {
        bool escaped = name.at[i] == '~' || name.at[i] == '/';
        if (escaped) *at++ = '~';
        *at++ = !escaped ? name.at[i] : name.at[i] == '~' ? '0' : '1';
    }
    return at;
}

/* RFC 6901. The whole document is "". */
static struct slice pointer_of(struct walk *walk)
{
    size_t size = 1;
    for (size_t i = 0; i < walk->depth; i++) size += 12 + escaped_length(walk->path[i].name);
    char *start = arena_allocate(walk->arena, size), *at = start;
    if (!start) return SLICE_ABSENT;
    for (size_t i = 0; i < walk->depth; i++) {
        *at++ = '/';
        if (slice_is_absent(walk->path[i].name))
            at += snprintf(at, 12, "%u", walk->path[i].index);
        else
            at = write_escaped(at, walk->path[i].name);
    }
    return slice_of(start, (size_t)(at - start));
}

static struct slice kind_of(const struct json_value *value)
{
    if (!value) return SLICE("absent");
    switch ((enum json_type)value->type) {
    case JSON_NULL: return SLICE("null");
    case JSON_BOOLEAN: return SLICE("boolean");
    case JSON_INTEGER:
    case JSON_UNSIGNED:
    case JSON_LONG_NUMBER:
    case JSON_DOUBLE: return SLICE("number");
    case JSON_STRING: return SLICE("string");
    case JSON_ARRAY: return SLICE("array");
    case JSON_OBJECT: return SLICE("object");
    }
    return SLICE("absent");
}

static struct slice text_of(struct walk *walk, const struct json_value *value)
{
    if (!value) return SLICE_ABSENT;
    switch ((enum json_type)value->type) {
    case JSON_BOOLEAN: return value->boolean ? SLICE("true") : SLICE("false");
    case JSON_INTEGER: return arena_format(walk->arena, "%lld", (long long)value->integer);
    case JSON_DOUBLE: return slice_before(slice_of(value->written, value->count), VALUE_BYTES_MAX);
    case JSON_UNSIGNED: return arena_format(walk->arena, "%llu", (unsigned long long)value->natural);
    case JSON_LONG_NUMBER:
    case JSON_STRING: return slice_before(value->text, VALUE_BYTES_MAX);
    case JSON_ARRAY: return arena_format(walk->arena, "%u items", value->count);
    case JSON_OBJECT: return arena_format(walk->arena, "%u members", value->count);
    default: return SLICE_ABSENT;
    }
}

static bool differ(struct walk *walk, const struct json_value *primary, const struct json_value *mirror)
{
    *walk->difference = (struct answer_difference){
        .what = pointer_of(walk),
        .primary = kind_of(primary),
        .mirror = kind_of(mirror),
        .primary_value = text_of(walk, primary),
        .mirror_value = text_of(walk, mirror),
    };
    return false;
}

static bool values_are_alike(struct walk *, const struct json_value *primary, const struct json_value *mirror);

/* One level down. NULL: there is none on that side. */
static bool parts_are_alike(struct walk *walk, struct segment segment, const struct json_value *primary,
                            const struct json_value *mirror)
{
    walk->path[walk->depth++] = segment;
    bool alike = is_ignored(walk) ||
                 (primary && mirror ? values_are_alike(walk, primary, mirror) : differ(walk, primary, mirror));
    walk->depth--;
    return alike;
}

/* Most often both have the same members in the same order: looked for there first. */
static const struct json_value *find_member(struct walk *walk, const struct json_value *object, uint32_t place,
                                            struct slice name)
{
    if (place < object->count && slice_equal(object->members[place].name, name)) return &object->members[place].value;
    walk->steps += object->count;
    return json_find(object, name);
}

static bool objects_are_alike(struct walk *walk, const struct json_value *primary, const struct json_value *mirror)
{
    for (uint32_t i = 0; i < primary->count && !walk->is_short; i++) {
        const struct json_member *member = &primary->members[i];
        const struct json_value *other = find_member(walk, mirror, i, member->name);
        if (!parts_are_alike(walk, (struct segment){ .name = member->name }, &member->value, other)) return false;
        walk->is_short |= walk->steps > STEPS_MAX;
    }
    for (uint32_t i = 0; i < mirror->count && !walk->is_short; i++) {
        const struct json_member *member = &mirror->members[i];
        if (find_member(walk, primary, i, member->name)) continue;
        if (!parts_are_alike(walk, (struct segment){ .name = member->name }, NULL, &member->value)) return false;
        walk->is_short |= walk->steps > STEPS_MAX;
    }
    return true;
}

static bool arrays_are_alike(struct walk *walk, const struct json_value *primary, const struct json_value *mirror)
{
    uint32_t longer = primary->count > mirror->count ? primary->count : mirror->count;
    for (uint32_t i = 0; i < longer && !walk->is_short; i++) {
        const struct json_value *left = i < primary->count ? &primary->items[i] : NULL;
        const struct json_value *right = i < mirror->count ? &mirror->items[i] : NULL;
        if (!parts_are_alike(walk, (struct segment){ .name = SLICE_ABSENT, .index = i }, left, right)) return false;
    }
    return true;
}

static bool scalars_are_alike(const struct json_value *primary, const struct json_value *mirror)
{
    if (json_is_number(primary) && json_is_number(mirror)) return json_numbers_equal(primary, mirror); /* 1 is 1.0 */
    if (primary->type != mirror->type) return false;
    switch ((enum json_type)primary->type) {
    case JSON_BOOLEAN: return primary->boolean == mirror->boolean;
    case JSON_STRING: return slice_equal(primary->text, mirror->text);
    default: return true; /* null */
    }
}

/* False: *walk->difference says where. Where the walk is short of something nothing is said. */
static bool values_are_alike(struct walk *walk, const struct json_value *primary, const struct json_value *mirror)
{
    if (++walk->steps > STEPS_MAX) walk->is_short = true;
    if (walk->is_short) return true;
    if (primary->type == JSON_OBJECT && mirror->type == JSON_OBJECT) return objects_are_alike(walk, primary, mirror);
    if (primary->type == JSON_ARRAY && mirror->type == JSON_ARRAY) return arrays_are_alike(walk, primary, mirror);
    return scalars_are_alike(primary, mirror) || differ(walk, primary, mirror);
}

/* --- answers --- */

static enum comparison differ_in(struct answer_difference *difference, struct slice what, struct slice primary,
                                 struct slice mirror)
{
    *difference = (struct answer_difference){ .what = what, .primary = primary, .mirror = mirror };
    return ANSWERS_DIFFER;
}

static enum comparison not_compared(struct answer_difference *difference, struct slice why)
{
    *difference = (struct answer_difference){ .what = why };
    return ANSWERS_NOT_COMPARED;
}

static struct slice length_text(struct arena *arena, struct slice body)
{
    return arena_format(arena, "%zu bytes", body.length);
}

static enum comparison compare_bytes(const struct answer_to_compare *primary, const struct answer_to_compare *mirror,
                                     struct arena *arena, struct answer_difference *difference)
{
    if (slice_equal(primary->body, mirror->body)) return ANSWERS_ALIKE;
    bool is_as_long = primary->body.length == mirror->body.length;
    return differ_in(difference, SLICE("body"), length_text(arena, primary->body),
                     is_as_long ? arena_format(arena, "%zu other bytes", mirror->body.length)
                                : length_text(arena, mirror->body));
}

static enum comparison compare_json(const struct comparison_rules *rules, const struct answer_to_compare *primary,
                                    const struct answer_to_compare *mirror, struct arena *arena,
                                    struct answer_difference *difference)
{
    if (slice_equal(primary->body, mirror->body)) return ANSWERS_ALIKE;
    struct json_value left, right;
    struct error left_error, right_error;
    bool left_is = json_parse_any_number(primary->body, arena, &left, &left_error);
    bool right_is = json_parse_any_number(mirror->body, arena, &right, &right_error);
    if ((!left_is && left_error.status == 503) || (!right_is && right_error.status == 503))
        return not_compared(difference, SLICE("memory is short"));
    if (!left_is && !right_is) return compare_bytes(primary, mirror, arena, difference);
    if (!left_is || !right_is)
        return differ_in(difference, SLICE("body"), left_is ? SLICE("JSON") : SLICE("not JSON"),
                         right_is ? SLICE("JSON") : SLICE("not JSON"));
    struct walk *walk = arena_allocate_zeroed(arena, sizeof *walk);
    if (!walk) return not_compared(difference, SLICE("memory is short"));
    walk->rules = rules;
    walk->arena = arena;
    walk->difference = difference;
    if (!values_are_alike(walk, &left, &right)) return ANSWERS_DIFFER;
    return walk->is_short ? not_compared(difference, SLICE("the bodies are too large")) : ANSWERS_ALIKE;
}

static enum comparison compare_bodies(const struct comparison_rules *rules, const struct answer_to_compare *primary,
                                      const struct answer_to_compare *mirror, struct arena *arena,
                                      struct answer_difference *difference)
{
    if (rules->body == COMPARE_NO_BODY) return ANSWERS_ALIKE;
    if (!primary->is_whole || !mirror->is_whole)
        return not_compared(difference, SLICE("a body is not there as a whole"));
    if (rules->body == COMPARE_BYTES) return compare_bytes(primary, mirror, arena, difference);
    return compare_json(rules, primary, mirror, arena, difference);
}

enum comparison answers_compare(const struct comparison_rules *rules, const struct answer_to_compare *primary,
                                const struct answer_to_compare *mirror, struct arena *arena,
                                struct answer_difference *difference)
{
    if (rules->status && primary->status != mirror->status)
        return differ_in(difference, SLICE("status"), arena_format(arena, "%u", primary->status),
                         arena_format(arena, "%u", mirror->status));
    for (size_t i = 0; i < rules->header_count; i++) {
        struct slice left = primary->headers[i], right = mirror->headers[i];
        if (slice_is_absent(left) == slice_is_absent(right) && slice_equal(left, right)) continue;
        struct slice name = arena_join(arena, (struct slice[]){ SLICE("header "), rules->headers[i] }, 2);
        struct slice other = slice_is_absent(left) ? SLICE("present") : SLICE("present, with another value");
        differ_in(difference, name, slice_is_absent(left) ? SLICE("absent") : SLICE("present"),
                  slice_is_absent(right) ? SLICE("absent") : other);
        difference->primary_value = slice_before(left, VALUE_BYTES_MAX);
        difference->mirror_value = slice_before(right, VALUE_BYTES_MAX);
        return ANSWERS_DIFFER;
    }
    return compare_bodies(rules, primary, mirror, arena, difference);
}
