#include "route/private.h"

#include "base/hex.h"

/* ---- From text to pieces ----------------------------------------------------------------------------------------- */

/* Literals are brought into the normal form of request paths while they are read; see http/target.h for the rules. What a
 * request can't carry is refused, as the route would never match, except for what has one spelling in a request: a space,
 * quotes, brackets and the like and all characters beyond ASCII are percent-encoded. */
struct pattern_reader {
    struct slice text;
    size_t at;
    struct pattern_draft *draft;
    struct error *error;
    size_t segment_at;         /* in draft->bytes: where the literal of this segment began */
    bool segment_has_wildcard; /* '*' or {name} */
    bool segment_has_parameter;
    unsigned stars, parameters;
    unsigned utf8_missing;             /* continuation bytes of a character still to come */
    unsigned char utf8_low, utf8_high; /* the range of the next one (Unicode 15, table 3-7) */
};

static bool refuse(struct pattern_reader *reader, size_t at, const char *what)
{
    return error_format(reader->error, "path \"%.*s\": byte %zu: %s", SLICE_PRINT(slice_before(reader->text, 120)),
                        at + 1, what);
}

static struct piece *last_piece(struct pattern_reader *reader)
{
    struct pattern_draft *draft = reader->draft;
    return draft->count ? &draft->pieces[draft->count - 1] : NULL;
}

static struct piece *begin_piece(struct pattern_reader *reader, enum piece_kind kind)
{
    struct pattern_draft *draft = reader->draft;
    PROMISE(draft->count < PATTERN_PIECES_MAX);
    struct piece *piece = &draft->pieces[draft->count++];
    *piece = (struct piece){ .kind = kind, .text = slice_of(draft->bytes + draft->length, 0) };
    return piece;
}

static void add_byte(struct pattern_reader *reader, char byte)
{
    struct piece *piece = last_piece(reader);
    if (!piece || piece->kind == PIECE_STAR) piece = begin_piece(reader, PIECE_LITERAL);
    PROMISE(reader->draft->length < sizeof reader->draft->bytes);
    reader->draft->bytes[reader->draft->length++] = byte;
    piece->text.length++;
}

static void add_encoded(struct pattern_reader *reader, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF";
    add_byte(reader, '%');
    add_byte(reader, digits[byte >> 4]);
    add_byte(reader, digits[byte & 15]);
}

static bool end_character(struct pattern_reader *reader)
{
    return reader->utf8_missing == 0 ||
           refuse(reader, reader->at, "invalid UTF-8 before it, which no request may carry");
}

static bool utf8_begin(struct pattern_reader *reader, unsigned char byte)
{
    reader->utf8_low = 0x80;
    reader->utf8_high = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf) {
        reader->utf8_missing = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
        reader->utf8_missing = 2;
        if (byte == 0xe0) reader->utf8_low = 0xa0;
        if (byte == 0xed) reader->utf8_high = 0x9f;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        reader->utf8_missing = 3;
        if (byte == 0xf0) reader->utf8_low = 0x90;
        if (byte == 0xf4) reader->utf8_high = 0x8f;
    } else {
        return false;
    }
    return true;
}

/* A byte beyond ASCII, raw or percent-encoded in the pattern; a request carries it percent-encoded. */
static bool add_beyond_ascii(struct pattern_reader *reader, unsigned char byte)
{
    if (reader->utf8_missing == 0) {
        if (!utf8_begin(reader, byte)) return refuse(reader, reader->at, "invalid UTF-8, which no request may carry");
    } else {
        if (byte < reader->utf8_low || byte > reader->utf8_high) return end_character(reader);
        reader->utf8_missing--;
        reader->utf8_low = 0x80;
        reader->utf8_high = 0xbf;
    }
    add_encoded(reader, byte);
    return true;
}

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static bool read_percent(struct pattern_reader *reader)
{
    struct slice rest = slice_after(reader->text, reader->at);
    int high = rest.length > 2 ? hex_digit(rest.at[1]) : -1, low = rest.length > 2 ? hex_digit(rest.at[2]) : -1;
    if (high < 0 || low < 0) return refuse(reader, reader->at, "'%' without two hexadecimal digits");
    unsigned char byte = (unsigned char)(high << 4 | low);
    if (byte == 0 || byte == '\\') return refuse(reader, reader->at, "no request may carry this character");
    if (byte >= 0x80) {
        if (!add_beyond_ascii(reader, byte)) return false;
    } else {
        if (!end_character(reader)) return false;
        if (is_unreserved(byte))
            add_byte(reader, (char)byte);
        else
            add_encoded(reader, byte);
    }
    reader->at += 3;
    return true;
}

static bool is_name_byte(char byte, bool first)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
           (!first && byte >= '0' && byte <= '9');
}

static bool name_is_taken(const struct pattern_draft *draft, struct slice name)
{
    for (unsigned i = 0; i < draft->count; i++) {
        if (draft->pieces[i].kind == PIECE_PARAMETER && slice_equal(draft->pieces[i].name, name)) return true;
    }
    return false;
}

/* "{name}" */
static bool read_parameter(struct pattern_reader *reader)
{
    size_t begin = reader->at;
    struct slice rest = slice_after(reader->text, begin + 1);
    size_t length = slice_find_byte(rest, '}');
    if (length == SLICE_NOT_FOUND) return refuse(reader, begin, "'{' without '}'");
    struct slice name = slice_before(rest, length);
    if (length == 0) return refuse(reader, begin, "a name is missing between '{' and '}'");
    for (size_t i = 0; i < length; i++) {
        if (!is_name_byte(name.at[i], i == 0)) {
            return refuse(reader, begin + 1 + i, "a name in '{' '}' has letters, digits and '_', and no digit first");
        }
    }
    if (reader->segment_has_wildcard)
        return refuse(reader, begin, "a segment may hold one {name}, and no '*' beside it");
    if (name_is_taken(reader->draft, name)) return refuse(reader, begin, "this {name} is used twice");
    if (reader->parameters++ == PATTERN_PARAMETERS_MAX) return refuse(reader, begin, "more than 15 {name}s");

    struct pattern_draft *draft = reader->draft;
    struct piece *piece = begin_piece(reader, PIECE_PARAMETER);
    piece->name = slice_of(draft->bytes + draft->length, length);
    memcpy(draft->bytes + draft->length, name.at, length);
    draft->length += length;
    piece->text.at = draft->bytes + draft->length;
    reader->segment_has_wildcard = reader->segment_has_parameter = true;
    reader->at += length + 2;
    return true;
}

static bool read_star(struct pattern_reader *reader)
{
    if (reader->segment_has_parameter) {
        return refuse(reader, reader->at, "a segment may hold one {name}, and no '*' beside it");
    }
    struct piece *last = last_piece(reader);
    bool repeated = last && last->kind == PIECE_STAR; /* "**" is "*" */
    if (!repeated) {
        if (reader->stars++ == PATTERN_STARS_MAX) return refuse(reader, reader->at, "more than 8 '*'");
        begin_piece(reader, PIECE_STAR);
    }
    reader->segment_has_wildcard = true;
    reader->at++;
    return true;
}

/* At a '/' or the end. Dot segments are gone from a request's path (RFC 3986 5.2.4). */
static bool end_segment(struct pattern_reader *reader)
{
    if (!end_character(reader)) return false;
    struct pattern_draft *draft = reader->draft;
    struct slice segment = slice_of(draft->bytes + reader->segment_at, draft->length - reader->segment_at);
    bool dots = slice_equal(segment, SLICE(".")) || slice_equal(segment, SLICE(".."));
    if (dots && !reader->segment_has_wildcard) {
        return refuse(reader, reader->at - 1, "a dot segment, which no request carries once its path is normalised");
    }
    return true;
}

static bool read_slash(struct pattern_reader *reader)
{
    if (!end_segment(reader)) return false;
    struct piece *last = last_piece(reader);
    if (last && last->kind == PIECE_PARAMETER) begin_piece(reader, PIECE_LITERAL);
    add_byte(reader, '/');
    reader->segment_at = reader->draft->length;
    reader->segment_has_wildcard = reader->segment_has_parameter = false;
    reader->at++;
    return true;
}

static bool read_ordinary(struct pattern_reader *reader, unsigned char byte)
{
    if (byte >= 0x80) {
        if (!add_beyond_ascii(reader, byte)) return false;
    } else {
        if (byte < 0x20 || byte == 0x7f || byte == '\\' || byte == '#') {
            return refuse(reader, reader->at, "no request may carry this character");
        }
        if (byte == '?') return refuse(reader, reader->at, "a path has no query; ask for it with queryParams");
        if (byte == '}') return refuse(reader, reader->at, "'}' without '{'");
        /* pchar, RFC 3986 3.3: the rest reaches us percent-encoded only */
        if (is_unreserved(byte) || strchr("!$&'()+,;=:@", byte))
            add_byte(reader, (char)byte);
        else
            add_encoded(reader, byte);
    }
    reader->at++;
    return true;
}

static bool read_next(struct pattern_reader *reader)
{
    unsigned char byte = (unsigned char)reader->text.at[reader->at];
    if (byte == '%') return read_percent(reader);
    if (byte < 0x80 && !end_character(reader)) return false;
    switch (byte) {
    case '/': return read_slash(reader);
    case '{': return read_parameter(reader);
    case '*': return read_star(reader);
    default: return read_ordinary(reader, byte);
    }
}

bool pattern_parse(struct slice text, struct pattern_draft *draft, struct error *error)
{
    draft->count = 0;
    draft->length = 0;
    struct pattern_reader reader = { .text = text, .draft = draft, .error = error };
    if (text.length == 0 || text.at[0] != '/') return refuse(&reader, 0, "a path begins with '/', a regex with '~'");
    if (text.length > PATTERN_BYTES_MAX) return refuse(&reader, PATTERN_BYTES_MAX, "longer than 2048 bytes");
    while (reader.at < text.length) {
        if (!read_next(&reader)) return false;
    }
    return end_segment(&reader);
}

/* ---- Pieces against a path --------------------------------------------------------------------------------------- */

/* What stands between two '*' is a block. Behind a '*' the first place where a block fits is as good as any: it ends first
 * there, too, and what it leaves, the next '*' can take. So no place is tried twice. */

struct block_fit {
    bool fits;
    size_t end;         /* fits: where the block ends */
    size_t segment_end; /* of the segment that the first {name} took from; 0 where it came to none */
};

static struct block_fit fit_block(const struct piece *pieces, unsigned count, struct slice path, size_t at,
                                  struct slice *values)
{
    struct block_fit fit = { .fits = false };
    for (unsigned i = 0; i < count; i++) {
        const struct piece *piece = &pieces[i];
        struct slice rest = slice_after(path, at);
        size_t taken;
        if (piece->kind == PIECE_LITERAL) {
            if (!slice_starts_with(rest, piece->text)) return fit;
            taken = piece->text.length;
        } else {
            size_t slash = slice_find_byte(rest, '/');
            struct slice segment = slice_before(rest, slash);
            if (fit.segment_end == 0) fit.segment_end = at + segment.length;
            if (segment.length <= piece->text.length || !slice_ends_with(segment, piece->text)) return fit;
            taken = segment.length - piece->text.length;
            if (values) values[i] = slice_of(rest.at, taken);
            taken = segment.length;
        }
        at += taken;
    }
    fit.fits = true;
    fit.end = at;
    return fit;
}

/* The first place from `from` on where the block, which begins with a literal, fits; for the last block, so that it ends
 * with the path. SLICE_NOT_FOUND if there is none. */
static size_t find_block(const struct piece *pieces, unsigned count, bool is_last, struct slice path, size_t from,
                         struct slice *values, size_t *end)
{
    struct slice literal = pieces[0].text;
    if (count == 1 && is_last) {
        if (path.length < from + literal.length || !slice_ends_with(path, literal)) return SLICE_NOT_FOUND;
        *end = path.length;
        return path.length - literal.length;
    }
    for (;;) {
        size_t hit = slice_find(slice_after(path, from), literal);
        if (hit == SLICE_NOT_FOUND) return SLICE_NOT_FOUND;
        size_t at = from + hit;
        struct block_fit fit = fit_block(pieces, count, path, at, values);
        if (fit.fits && (!is_last || fit.end == path.length)) {
            *end = fit.end;
            return at;
        }
        /* Another start for the first {name} in the same segment would fail in the same way. */
        from = at + 1;
        if (fit.segment_end >= literal.length && fit.segment_end - literal.length + 1 > from) {
            from = fit.segment_end - literal.length + 1;
        }
    }
}

bool pieces_match(const struct piece *pieces, unsigned count, struct slice path, size_t at, struct slice *values)
{
    unsigned head = 0;
    while (head < count && pieces[head].kind != PIECE_STAR) head++;
    struct block_fit fit = fit_block(pieces, head, path, at, values);
    if (!fit.fits) return false;
    at = fit.end;
    for (unsigned star = head; star < count;) {
        unsigned begin = star + 1, next = begin;
        while (next < count && pieces[next].kind != PIECE_STAR) next++;
        size_t found = path.length, end = path.length;
        if (next > begin) {
            found = find_block(pieces + begin, next - begin, next == count, path, at, values ? values + begin : NULL,
                               &end);
            if (found == SLICE_NOT_FOUND) return false;
        }
        if (values) values[star] = slice_of(path.at + at, found - at);
        at = end;
        star = next;
    }
    return at == path.length;
}

bool pieces_equal(const struct piece *a, unsigned a_count, const struct piece *b, unsigned b_count)
{
    return pieces_compare(a, a_count, b, b_count) == 0;
}
