#include "config/private.h"

#include "base/memory.h"

#include <stdarg.h>

void problems_init(struct problems *problems, const char *file)
{
    *problems = (struct problems){ .file = file };
    vector_init(&problems->list, sizeof(struct problem));
    map_init(&problems->told);
}

static void problem_release(struct problem *problem)
{
    free(problem->file);
    free(problem->pointer);
    free(problem->message);
    free(problem->hint);
}

void problems_release(struct problems *problems)
{
    for (size_t i = 0; i < problems->list.count; i++) problem_release(vector_at(&problems->list, i));
    vector_release(&problems->list);
    map_release(&problems->told);
    problems->count = problems->mistakes = 0;
}

static bool is_before(const struct problem *a, const struct problem *b)
{
    if (!a->file || !b->file || strcmp(a->file, b->file) != 0) return false;
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

/* Where a new problem belongs: by place inside its file, else behind what was found before it. Only the listed ones move. */
static size_t place_of(const struct problems *problems, const struct problem *problem)
{
    size_t at = problems->list.count < PROBLEMS_LISTED_MAX ? problems->list.count : PROBLEMS_LISTED_MAX;
    while (at > 0 && is_before(problem, vector_at(&problems->list, at - 1))) at--;
    return at;
}

static void say_how_many_more(struct problems *problems)
{
    if (problems->list.count == PROBLEMS_LISTED_MAX) vector_push(&problems->list);
    struct problem *last = vector_at(&problems->list, PROBLEMS_LISTED_MAX);
    problem_release(last);
    *last = (struct problem){
        .pointer = memory_copy_slice(SLICE("")),
        .message = memory_format("... and %zu more", problems->mistakes - PROBLEMS_LISTED_MAX),
    };
}

/* Of a node, or of the field that it lacks. */
static char *pointer_of(const struct node *node, const char *lacking)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice to_node = node ? node_pointer(node, &arena) : SLICE("");
    char *pointer = lacking ? memory_format("%.*s/%s", SLICE_PRINT(to_node), lacking) : memory_copy_slice(to_node);
    arena_release(&arena);
    return pointer;
}

static char printable(char byte) { return (unsigned char)byte < 0x20 || byte == 0x7F ? '?' : byte; }

/* Names and values of the document stand in what is said of it, and a terminal shall not obey them. */
static void make_printable(char *text)
{
    for (; text && *text; text++) *text = printable(*text);
}

struct problem_place {
    const struct node *node;
    const char *lacking; /* NULL: nothing */
    uint32_t line, column;
};

/* False: the same was told before. A place is known by its node: to write its pointer takes as long as its lists are. */
static bool note_told(struct problems *problems, const struct problem_place *place, const struct problem *problem)
{
    char *text = memory_format("%s:%u:%u %p %s\n%s", problem->file ? problem->file : "", place->line, place->column,
                               (const void *)place->node, place->lacking ? place->lacking : "", problem->message);
    struct slice key = slice_from_cstring(text);
    bool is_new = !map_find(&problems->told, key);
    if (is_new && problems->told.count < PROBLEMS_TOLD_MAX) map_set(&problems->told, key, problems);
    free(text);
    return is_new;
}

static void list(struct problems *problems, const struct problem *problem, size_t at)
{
    if (problems->list.count < PROBLEMS_LISTED_MAX)
        vector_push(&problems->list);
    else
        problem_release(vector_at(&problems->list, PROBLEMS_LISTED_MAX - 1));
    size_t listed = problems->list.count < PROBLEMS_LISTED_MAX ? problems->list.count : PROBLEMS_LISTED_MAX;
    struct problem *items = problems->list.items;
    memmove(&items[at + 1], &items[at], (listed - 1 - at) * sizeof *items);
    items[at] = *problem;
}

static void add(struct problems *problems, const struct problem_place *place, const char *hint, const char *format,
                va_list arguments)
{
    char *message = NULL;
    PROMISE(vasprintf(&message, format, arguments) >= 0);
    struct problem problem = {
        .file = problems->file ? memory_copy_slice(slice_from_cstring(problems->file)) : NULL,
        .line = place->line,
        .column = place->column,
        .message = message,
        .hint = hint ? memory_copy_slice(slice_from_cstring(hint)) : NULL,
    };
    make_printable(problem.message);
    make_printable(problem.hint);
    problems->count++;
    if (!note_told(problems, place, &problem)) {
        problem_release(&problem);
        return;
    }
    problems->mistakes++;
    size_t at = place_of(problems, &problem);
    if (at < PROBLEMS_LISTED_MAX) {
        problem.pointer = pointer_of(place->node, place->lacking);
        list(problems, &problem, at);
    } else {
        problem_release(&problem);
    }
    if (problems->mistakes > PROBLEMS_LISTED_MAX) say_how_many_more(problems);
}

void problems_add(struct problems *problems, const struct node *node, const char *hint, const char *format, ...)
{
    struct problem_place place = { .node = node, .line = node ? node->line : 0, .column = node ? node->column : 0 };
    va_list arguments;
    va_start(arguments, format);
    add(problems, &place, hint, format, arguments);
    va_end(arguments);
}

void problems_add_at_key(struct problems *problems, const struct node *node, const char *hint, const char *format, ...)
{
    struct problem_place place = { .node = node };
    if (node) {
        place.line = node->key_line ? node->key_line : node->line;
        place.column = node->key_line ? node->key_column : node->column;
    }
    va_list arguments;
    va_start(arguments, format);
    add(problems, &place, hint, format, arguments);
    va_end(arguments);
}

static void add_lacking(struct problems *problems, const struct problem_place *place, const char *hint,
                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(problems, place, hint, format, arguments);
    va_end(arguments);
}

void problems_add_missing(struct problems *problems, const struct node *map, const char *field, const char *hint)
{
    struct problem_place place = {
        .node = map, .lacking = field, .line = map ? map->line : 0, .column = map ? map->column : 0
    };
    add_lacking(problems, &place, hint, "\"%s\" is missing", field);
}

void problems_add_at(struct problems *problems, uint32_t line, uint32_t column, const char *hint, const char *format,
                     ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(problems, &(struct problem_place){ .line = line, .column = column }, hint, format, arguments);
    va_end(arguments);
}

/* A pointer names its node byte by byte for programs; here people read it. */
static void write_printable(FILE *out, const char *text)
{
    for (; *text; text++) fputc(printable(*text), out);
}

char *problems_to_text(const struct problems *problems)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    for (size_t i = 0; i < problems->list.count; i++) {
        const struct problem *problem = vector_at(&problems->list, i);
        if (problem->file) fprintf(out, "%s:", problem->file);
        if (problem->line) fprintf(out, "%u:%u:", problem->line, problem->column);
        if (problem->file || problem->line) fputc(' ', out);
        if (!problem->line && *problem->pointer) {
            write_printable(out, problem->pointer);
            fputs(": ", out);
        }
        fputs(problem->message, out);
        if (problem->hint) fprintf(out, " (%s)", problem->hint);
        fputc('\n', out);
    }
    PROMISE(fclose(out) == 0);
    return text;
}

struct excerpt problems_excerpt(struct slice text)
{
    struct excerpt excerpt;
    size_t room = sizeof excerpt.text - sizeof "...";
    size_t length = text.length;
    if (length > room) {
        length = room;
        while (length > 0 && ((unsigned char)text.at[length] & 0xC0) == 0x80) length--;
    }
    for (size_t i = 0; i < length; i++) excerpt.text[i] = printable(text.at[i]);
    memcpy(excerpt.text + length, text.length > length ? "..." : "", text.length > length ? sizeof "..." : 1);
    return excerpt;
}
