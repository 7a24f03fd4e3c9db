/* A template is its text cut into pieces: what stands for itself, and variables. Their bytes stand behind the pieces, so a template
 * is one allocation, and one without variables is one piece. */
#include "expr/template.h"

#include "base/memory.h"

#define TEMPLATE_PIECES_MAX 64 /* render keeps the values on its stack */

struct piece {
    bool is_variable;
    uint8_t variable;  /* enum template_variable */
    struct slice text; /* what stands for itself, or the capture's name */
};

struct template
{
    uint32_t count;
    struct piece pieces[];
};

static const struct {
    struct slice name;
    enum template_variable variable;
} variables[] = {
    { { "request.id", 10 }, TEMPLATE_REQUEST_ID },
    { { "request.method", 14 }, TEMPLATE_REQUEST_METHOD },
    { { "request.host", 12 }, TEMPLATE_REQUEST_HOST },
    { { "request.path", 12 }, TEMPLATE_REQUEST_PATH },
    { { "source.ip", 9 }, TEMPLATE_SOURCE_IP },
    { { "source.certificate.subject", 26 }, TEMPLATE_SOURCE_CERTIFICATE_SUBJECT },
    { { "source.certificate.san", 22 }, TEMPLATE_SOURCE_CERTIFICATE_SAN },
    { { "source.certificate.fingerprint", 30 }, TEMPLATE_SOURCE_CERTIFICATE_FINGERPRINT },
};

/* One compilation: the text, how far it was read, and the pieces so far. */
struct template_reading {
    struct slice text;
    size_t at;
    uint32_t count;
    struct piece pieces[TEMPLATE_PIECES_MAX];
    template_capture_check *allowed;
    const void *argument;
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
        if (last && !last->is_variable && !piece->is_variable) {
            last->text.length += piece->text.length;
        } else {
            template->pieces[template->count] = *piece;
            template->pieces[template->count++].text.at = into;
        }
        into += piece->text.length;
    }
}

struct template *template_compile(struct slice text, template_capture_check *allowed, const void *argument,
                                  struct error *error)
{
    struct template_reading reading = { .text = text, .allowed = allowed, .argument = argument, .error = error };
    if (!read_pieces(&reading)) return NULL;
    size_t pieces_size = reading.count * sizeof reading.pieces[0];
    struct template *template = memory_allocate(sizeof *template + pieces_size + text.length + 1);
    copy_pieces(template, &reading, (char *)(template->pieces + reading.count));
    return template;
}

void template_destroy(struct template *template) { free(template); }

bool template_is_constant(const struct template *template)
{
    return template->count == 0 || (template->count == 1 && !template->pieces[0].is_variable);
}

static struct slice piece_value(const struct piece *piece, template_lookup *lookup, const void *argument)
{
    if (!piece->is_variable) return piece->text;
    struct slice value = lookup(argument, (enum template_variable)piece->variable, piece->text);
    return slice_is_absent(value) ? SLICE("") : value;
}

struct slice template_render(const struct template *template, template_lookup *lookup, const void *argument,
                             struct arena *arena)
{
    if (template->count == 0) return SLICE("");
    if (template->count == 1) return piece_value(&template->pieces[0], lookup, argument);
    struct slice values[TEMPLATE_PIECES_MAX];
    for (uint32_t i = 0; i < template->count; i++) values[i] = piece_value(&template->pieces[i], lookup, argument);
    return arena_join(arena, values, template->count);
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

/* A pattern's `{name}` or named group, or "*" for what its wildcard took. */
static bool is_capture_name(struct slice name)
{
    if (slice_equal(name, SLICE("*"))) return true;
    for (size_t i = 0; i < name.length; i++) {
        if (!is_name_byte(name.at[i])) return false;
    }
    return name.length > 0;
}

static bool add_capture(struct template_reading *reading, size_t at, struct slice name)
{
    if (!is_capture_name(name)) return refuse(reading, at, "not the name of a capture:", name);
    if (reading->allowed && !reading->allowed(reading->argument, name)) {
        return refuse(reading, at, "the route's path captures no", name);
    }
    return add_piece(reading, (struct piece){ .is_variable = true, .variable = TEMPLATE_PATH_CAPTURE, .text = name });
}

static bool add_variable(struct template_reading *reading, size_t at, struct slice name)
{
    if (slice_starts_with(name, SLICE("path."))) return add_capture(reading, at, slice_after(name, 5));
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        if (!slice_equal(name, variables[i].name)) continue;
        return add_piece(reading, (struct piece){ .is_variable = true, .variable = (uint8_t)variables[i].variable });
    }
    if (slice_starts_with(name, SLICE("env:")) || slice_starts_with(name, SLICE("file:"))) {
        return refuse(reading, at, "references can't stand in this text:", name);
    }
    return refuse(reading, at, "unknown variable", name);
}

/* "${" was seen at reading->at. */
static bool read_variable(struct template_reading *reading)
{
    size_t at = reading->at;
    struct slice rest = slice_after(reading->text, at + 2);
    size_t length = slice_find_byte(rest, '}');
    if (length == SLICE_NOT_FOUND) return error_format(reading->error, "\"${\" at position %zu has no \"}\"", at + 1);
    reading->at = at + 2 + length + 1;
    return add_variable(reading, at, slice_trim(slice_before(rest, length)));
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
            if (!add_text(reading, plain, reading->at) || !read_variable(reading)) return false;
            plain = reading->at;
        } else {
            reading->at++;
        }
    }
    return add_text(reading, plain, text.length);
}
