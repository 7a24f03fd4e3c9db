/* A template is its text cut into pieces: what stands for itself, and expressions. Texts' bytes stand behind the pieces, so a template without
 * expressions is one allocation and one piece. */
#include "expr/template.h"

#include "base/memory.h"

#define TEMPLATE_PIECES_MAX 64 /* render keeps the values on its stack */

struct piece {
    struct slice text;             /* what stands for itself */
    struct expression *expression; /* NULL: the text */
};

struct template
{
    uint32_t count;
    struct piece pieces[];
};

/* One compilation: the text, how far it was read, and the pieces so far. Values of constant expressions lie in the arena. */
struct template_reading {
    struct slice text;
    size_t at;
    uint32_t count;
    struct piece pieces[TEMPLATE_PIECES_MAX];
    const struct expression_scope *scope;
    struct arena arena;
    struct error *error;
};

static bool read_pieces(struct template_reading *);

/* Texts side by side (an escape parts them) become one, so that a text without variables is one piece. */
static void copy_pieces(struct template *template, const struct template_reading *reading, char *into)
{
    for (uint32_t i = 0; i < reading->count; i++) {
        const struct piece *piece = &reading->pieces[i];
        struct piece *last = template->count ? &template->pieces[template->count - 1] : NULL;
        if (piece->text.length) memcpy(into, piece->text.at, piece->text.length);
        if (last && !last->expression && !piece->expression) {
            last->text.length += piece->text.length;
        } else {
            template->pieces[template->count] = *piece;
            template->pieces[template->count++].text.at = into;
        }
        into += piece->text.length;
    }
}

static struct template *make(const struct template_reading *reading)
{
    size_t length = 0, pieces_size = reading->count * sizeof reading->pieces[0];
    for (uint32_t i = 0; i < reading->count; i++) length += reading->pieces[i].text.length;
    struct template *template = memory_allocate(sizeof *template + pieces_size + length + 1);
    copy_pieces(template, reading, (char *)(template->pieces + reading->count));
    return template;
}

struct template *template_compile(struct slice text, const struct expression_scope *scope, struct error *error)
{
    struct template_reading reading = { .text = text, .scope = scope, .error = error };
    arena_init(&reading.arena, NULL);
    bool good = read_pieces(&reading);
    struct template *template = good ? make(&reading) : NULL;
    for (uint32_t i = 0; i < reading.count && !good; i++) expression_destroy(reading.pieces[i].expression);
    arena_release(&reading.arena);
    return template;
}

void template_destroy(struct template *template)
{
    if (!template) return;
    for (uint32_t i = 0; i < template->count; i++) expression_destroy(template->pieces[i].expression);
    free(template);
}

bool template_is_constant(const struct template *template)
{
    return template->count == 0 || (template->count == 1 && !template->pieces[0].expression);
}

bool template_uses(const struct template *template, unsigned number)
{
    for (uint32_t i = 0; i < template->count; i++) {
        const struct expression *expression = template->pieces[i].expression;
        if (expression && expression_uses(expression, number)) return true;
    }
    return false;
}

/* --- rendering --- */

static struct slice piece_value(const struct piece *piece, const struct expression_inputs *inputs, struct arena *arena)
{
    struct expression_value value;
    struct slice text = SLICE("");
    if (!piece->expression) return piece->text;
    switch (expression_try(piece->expression, inputs, arena, &value, NULL)) {
    case EXPRESSION_DONE: break;
    case EXPRESSION_OUT_OF_MEMORY: return SLICE_ABSENT;
    default: return text;
    }
    return expression_value_text(&value, arena, &text) == EXPRESSION_NO_MEMORY ? SLICE_ABSENT : text;
}

struct slice template_render(const struct template *template, expression_lookup *lookup, const void *argument,
                             struct arena *arena)
{
    struct expression_inputs inputs = { .lookup = lookup, .argument = argument };
    if (template->count == 0) return SLICE("");
    if (template->count == 1) return piece_value(&template->pieces[0], &inputs, arena);
    struct slice values[TEMPLATE_PIECES_MAX];
    for (uint32_t i = 0; i < template->count; i++) {
        values[i] = piece_value(&template->pieces[i], &inputs, arena);
        if (slice_is_absent(values[i])) return SLICE_ABSENT;
    }
    return arena_join(arena, values, template->count);
}

static bool asks_below(const struct expression *expression, unsigned end)
{
    for (unsigned number = 0; expression && number < end; number++) {
        if (expression_uses(expression, number)) return true;
    }
    return false;
}

bool template_is_spoilt_by(const struct template *template, expression_lookup *lookup, const void *argument,
                           struct arena *arena, bool (*fits)(struct slice value), unsigned end)
{
    struct expression_inputs inputs = { .lookup = lookup, .argument = argument };
    bool is_spoilt = false;
    for (uint32_t i = 0; i < template->count; i++) {
        const struct piece *piece = &template->pieces[i];
        if (fits(piece_value(piece, &inputs, arena))) continue;
        if (!asks_below(piece->expression, end)) return false;
        is_spoilt = true;
    }
    return is_spoilt;
}

/* --- compiling --- */

static bool refuse(struct template_reading *reading, size_t at, const char *what, struct slice subject)
{
    return error_format(reading->error, "%s \"%.*s\" at position %zu", what, SLICE_PRINT(slice_before(subject, 64)),
                        at + 1);
}

static bool add_piece(struct template_reading *reading, struct piece piece)
{
    if (reading->count == TEMPLATE_PIECES_MAX) {
        expression_destroy(piece.expression);
        return error_format(reading->error, "more than %d variables and texts between them", TEMPLATE_PIECES_MAX);
    }
    reading->pieces[reading->count++] = piece;
    return true;
}

static bool add_text(struct template_reading *reading, size_t from, size_t to)
{
    if (from == to) return true;
    return add_piece(reading, (struct piece){ .text = slice_of(reading->text.at + from, to - from) });
}

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_';
}

/* "path.NAME" alone, where the name may be any that a pattern's `{name}` may be, or "*" for what its wildcard took. */
static bool is_capture(struct slice text)
{
    if (!slice_starts_with(text, SLICE("path."))) return false;
    struct slice name = slice_after(text, 5);
    if (slice_equal(name, SLICE("*"))) return true;
    for (size_t i = 0; i < name.length; i++) {
        if (!is_name_byte(name.at[i])) return false;
    }
    return name.length > 0;
}

/* What says the same in every request becomes text. */
static bool add_value(struct template_reading *reading, size_t at, struct expression *expression)
{
    struct expression_value value;
    struct slice text;
    struct expression_inputs inputs = { 0 };
    if (!expression_is_constant(expression)) return add_piece(reading, (struct piece){ .expression = expression });
    bool good = expression_evaluate(expression, &inputs, &reading->arena, &value, NULL) &&
                expression_value_text(&value, &reading->arena, &text) == EXPRESSION_FOUND;
    if (good) text = arena_copy(&reading->arena, text);
    expression_destroy(expression);
    if (!good) return refuse(reading, at, "a value that can't be written as text:", slice_after(reading->text, at));
    return text.length == 0 || add_piece(reading, (struct piece){ .text = text });
}

static bool has_text(struct template_reading *reading, size_t at, const struct expression *expression)
{
    struct slice type = expression_type_text(expression, &reading->arena);
    if (!slice_starts_with(type, SLICE("list")) && !slice_starts_with(type, SLICE("map")) &&
        !slice_starts_with(type, SLICE("type"))) {
        return true;
    }
    return refuse(reading, at, "a value that can't be written as text:", type);
}

static bool add_expression(struct template_reading *reading, size_t at, struct slice text)
{
    if (text.length == 0) return refuse(reading, at, "unknown variable", text);
    if (slice_starts_with(text, SLICE("env:")) || slice_starts_with(text, SLICE("file:"))) {
        return refuse(reading, at, "references can't stand in this text:", text);
    }
    struct slice source = text;
    struct expression_scope scope = *reading->scope;
    scope.position += (size_t)(text.at - reading->text.at);
    if (is_capture(text)) source = arena_format(&reading->arena, "path.`%.*s`", SLICE_PRINT(slice_after(text, 5)));
    struct expression *expression = expression_compile(source, EXPRESSION_DYN, &scope, reading->error);
    if (!expression) return false;
    if (has_text(reading, at, expression)) return add_value(reading, at, expression);
    expression_destroy(expression);
    return false;
}

/* The "}" that ends an expression: not one in quotes, nor one that a "{" of the expression asks for. */
static size_t expression_end(struct slice rest)
{
    char quote = '\0';
    unsigned braces = 0;
    for (size_t i = 0; i < rest.length; i++) {
        char byte = rest.at[i];
        if (quote) {
            if (byte == '\\') {
                i++;
            } else if (byte == quote) {
                quote = '\0';
            }
        } else if (byte == '"' || byte == '\'' || byte == '`') {
            quote = byte;
        } else if (byte == '{') {
            braces++;
        } else if (byte == '}' && braces-- == 0) {
            return i;
        }
    }
    return SLICE_NOT_FOUND;
}

/* "${" was seen at reading->at. */
static bool read_expression(struct template_reading *reading)
{
    size_t at = reading->at;
    struct slice rest = slice_after(reading->text, at + 2);
    size_t length = expression_end(rest);
    if (length == SLICE_NOT_FOUND) return error_format(reading->error, "\"${\" at position %zu has no \"}\"", at + 1);
    reading->at = at + 2 + length + 1;
    return add_expression(reading, at, slice_trim(slice_before(rest, length)));
}

static bool read_pieces(struct template_reading *reading)
{
    struct slice text = reading->text;
    size_t plain = 0; /* where text that isn't a piece yet begins */
    while (reading->at < text.length) {
        struct slice rest = slice_after(text, reading->at);
        if (slice_starts_with(rest, SLICE("$${"))) { /* the first '$' goes, "${" stays as text */
            if (!add_text(reading, plain, reading->at)) return false;
            plain = reading->at + 1;
            reading->at += 3;
        } else if (slice_starts_with(rest, SLICE("${"))) {
            if (!add_text(reading, plain, reading->at) || !read_expression(reading)) return false;
            plain = reading->at;
        } else {
            reading->at++;
        }
    }
    return add_text(reading, plain, text.length);
}
