#include "handlers/part_path.h"

#include "base/memory.h"
#include "expr/template.h"
#include "http/target.h"

#include <stdlib.h>

#define PIECES_MAX 64

enum piece_kind { PIECE_TEXT, PIECE_VALUE, PIECE_CAPTURE };

struct path_piece {
    uint8_t kind; /* enum piece_kind */
    bool is_in_query;
    struct template *text;
};

struct part_path {
    size_t count;
    struct path_piece pieces[PIECES_MAX];
};

/* --- compiling --- */

/* Behind the brace that closes what `${` at the beginning opens; braces in texts and maps of an expression don't. 0: there is none. */
static size_t value_length(struct slice text)
{
    unsigned depth = 0;
    char quote = '\0';
    for (size_t i = 2; i < text.length; i++) {
        char byte = text.at[i];
        if (quote) {
            if (byte == '\\')
                i++;
            else if (byte == quote)
                quote = '\0';
        } else if (byte == '"' || byte == '\'') {
            quote = byte;
        } else if (byte == '{') {
            depth++;
        } else if (byte == '}' && depth-- == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* Up to the next value; `$${` is a text. */
static size_t text_length(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        struct slice rest = slice_after(text, i);
        if (slice_starts_with(rest, SLICE("$${")))
            i += 2;
        else if (slice_starts_with(rest, SLICE("${")))
            return i;
    }
    return text.length;
}

static bool refuse(const struct filter_compile *compile, const char *words)
{
    const struct node *node = compile->node ? node_find(compile->node, "path") : NULL;
    problems_add(compile->problems, node ? node : compile->node, NULL, "\"path\" %s", words);
    return false;
}

/* Captures are encoded as the path that they were taken from is; nothing else can stand between these braces. */
static bool is_capture(struct slice text)
{
    static const struct slice begin = SLICE("path.");
    struct slice name = slice_trim(slice_of(text.at + 2, text.length - 3));
    if (!slice_starts_with(name, begin)) return false;
    name = slice_after(name, begin.length);
    if (slice_equal(name, SLICE("*"))) return true;
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        bool is_name = (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || byte == '_';
        if (!is_name) return false;
    }
    return name.length > 0;
}

static bool add_piece(const struct filter_compile *compile, struct part_path *path, struct slice text,
                      enum piece_kind kind, bool is_in_query)
{
    if (text.length == 0) return true;
    if (path->count == PIECES_MAX) return refuse(compile, "holds too many values");
    struct template *template = filter_compile_template(compile, "path", text);
    if (!template) return false;
    path->pieces[path->count++] = (struct path_piece){ (uint8_t)kind, is_in_query, template };
    return true;
}

static bool split(const struct filter_compile *compile, struct part_path *path, struct slice text)
{
    bool is_in_query = false;
    while (text.length > 0) {
        size_t length = text_length(text);
        struct slice plain = slice_before(text, length);
        if (!add_piece(compile, path, plain, PIECE_TEXT, is_in_query)) return false;
        is_in_query |= slice_find_byte(plain, '?') != SLICE_NOT_FOUND;
        text = slice_after(text, length);
        if (text.length == 0) break;
        length = value_length(text);
        if (length == 0) return refuse(compile, "has a ${ without its }");
        struct slice value = slice_before(text, length);
        if (!add_piece(compile, path, value, is_capture(value) ? PIECE_CAPTURE : PIECE_VALUE, is_in_query))
            return false;
        text = slice_after(text, length);
    }
    return true;
}

static bool is_good(struct slice target, struct arena *arena);

static struct slice any_value(const void *argument, const struct template *template)
{
    (void)argument, (void)template;
    return SLICE("x");
}

/* With some value in each place it must be a path that can be asked for. */
static bool check(const struct filter_compile *compile, const struct part_path *path)
{
    struct arena arena;
    struct slice target;
    arena_init(&arena, NULL);
    bool good = part_path_write(path, any_value, NULL, &arena, &target) == PART_PATH_WRITTEN;
    arena_release(&arena);
    return good || refuse(compile, "is no path that can be asked for");
}

struct part_path *part_path_compile(const struct filter_compile *compile, struct slice text)
{
    struct part_path *path = memory_allocate(sizeof *path);
    if (split(compile, path, text) && check(compile, path)) return path;
    part_path_destroy(path);
    return NULL;
}

void part_path_destroy(struct part_path *path)
{
    if (!path) return;
    for (size_t i = 0; i < path->count; i++) template_destroy(path->pieces[i].text);
    free(path);
}

/* --- writing --- */

static bool is_unreserved(char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || byte == '-' ||
           byte == '.' || byte == '_' || byte == '~';
}

static bool stays(const struct path_piece *piece, char byte)
{
    if (byte == '\0') return false;
    if (is_unreserved(byte)) return true;
    if (piece->kind == PIECE_VALUE) return false;
    return piece->is_in_query ? byte == '%' : strchr("%/:@!$&'()*+,;=", byte) != NULL;
}

/* Absent when memory is short. */
static struct slice encode(const struct path_piece *piece, struct slice value, struct arena *arena)
{
    char *into = arena_allocate(arena, 3 * value.length + 1);
    if (!into) return SLICE_ABSENT;
    char *next = into;
    for (size_t i = 0; i < value.length; i++) {
        unsigned char byte = (unsigned char)value.at[i];
        if (stays(piece, (char)byte)) {
            *next++ = (char)byte;
            continue;
        }
        *next++ = '%';
        *next++ = "0123456789ABCDEF"[byte >> 4];
        *next++ = "0123456789ABCDEF"[byte & 15];
    }
    return slice_of(into, (size_t)(next - into));
}

/* A text of ours stays; one without variables costs nothing to render. */
static struct slice write_piece(const struct path_piece *piece,
                                struct slice (*render)(const void *argument, const struct template *),
                                const void *argument, struct arena *arena)
{
    if (piece->kind == PIECE_TEXT) return template_render(piece->text, NULL, NULL, arena);
    struct slice value = render(argument, piece->text);
    return slice_is_absent(value) ? value : encode(piece, value, arena);
}

static bool has_dot_segment(struct slice path)
{
    struct slice rest = path;
    while (rest.length > 0) {
        size_t end = slice_find_byte(rest, '/');
        struct slice segment = end == SLICE_NOT_FOUND ? rest : slice_before(rest, end);
        if (slice_equal(segment, SLICE(".")) || slice_equal(segment, SLICE(".."))) return true;
        if (end == SLICE_NOT_FOUND) break;
        rest = slice_after(rest, end + 1);
    }
    return false;
}

static bool is_good(struct slice target, struct arena *arena)
{
    struct target parsed;
    struct error error;
    size_t end = slice_find_byte(target, '?');
    struct slice path = end == SLICE_NOT_FOUND ? target : slice_before(target, end);
    return !has_dot_segment(path) && target_parse(target, false, arena, &parsed, &error) &&
           parsed.form == TARGET_ORIGIN &&
           slice_equal_ignore_case(parsed.path, path); /* nothing in it had to be mended but the case of %2f */
}

enum part_path_result part_path_write(const struct part_path *path,
                                      struct slice (*render)(const void *argument, const struct template *),
                                      const void *argument, struct arena *arena, struct slice *target)
{
    struct slice pieces[PIECES_MAX];
    for (size_t i = 0; i < path->count; i++) {
        const struct path_piece *piece = &path->pieces[i];
        pieces[i] = write_piece(piece, render, argument, arena);
        if (slice_is_absent(pieces[i])) return PART_PATH_NO_MEMORY;
        if (pieces[i].length == 0 && !piece->is_in_query) return PART_PATH_BAD_VALUE;
    }
    *target = arena_join(arena, pieces, path->count);
    if (slice_is_absent(*target)) return PART_PATH_NO_MEMORY;
    return is_good(*target, arena) ? PART_PATH_WRITTEN : PART_PATH_BAD_VALUE;
}
