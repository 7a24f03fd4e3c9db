/* Chunked bodies (RFC 9112 7.1): a state machine over single bytes for size lines, whole runs for content, whole
 * lines for trailers. */
#include "http/private.h"

/* 16 hex digits, leading zeros counted, are all that a 64-bit size can need. */
#define SIZE_DIGITS_MAX 16
/* From the first byte behind the size to the line's CR. */
#define EXTENSION_LINE_BYTES_MAX 1024
/* In all of a body: a sender must not make us read more frame than content for ever (RFC 9112 7.1.1). */
#define EXTENSION_BYTES_MAX (16 * 1024)
#define TRAILER_LINE_CAPACITY_FIRST 128
/* No name that is judged is longer. */
#define LATE_NAME_BYTES_MAX 64

/* In the order of the grammar. BWS is where RFC 9112 7.1.1 tolerates white space. */
enum chunk_stage {
    CHUNK_SIZE,
    CHUNK_BWS_BEFORE_SEMICOLON,
    CHUNK_EXTENSION_NAME_FIRST,
    CHUNK_EXTENSION_NAME,
    CHUNK_BWS_AFTER_NAME,
    CHUNK_EXTENSION_VALUE_FIRST,
    CHUNK_EXTENSION_VALUE,
    CHUNK_EXTENSION_QUOTED,
    CHUNK_EXTENSION_QUOTED_PAIR,
    CHUNK_EXTENSION_QUOTED_END,
    CHUNK_SIZE_LF,
    CHUNK_CONTENT,
    CHUNK_CONTENT_CR,
    CHUNK_CONTENT_LF,
    CHUNK_TRAILERS,
    CHUNK_OVER,
    CHUNK_REFUSED,
};

/* RFC 9110 6.5.1: what frames, routes, authenticates or describes a message can't come after it. Of the known names
 * only these may; others are judged by late_names_forbidden. */
#define TRAILERS_ALLOWED (HEADER_BIT(HEADER_OTHER) | HEADER_BIT(HEADER_ETAG) | HEADER_BIT(HEADER_LAST_MODIFIED))

static const struct slice late_names_forbidden[] = {
    { "Age", 3 },
    { "Allow", 5 },
    { "Content-Range", 13 },
    { "Content-Language", 16 },
    { "Content-Location", 16 },
    { "Expires", 7 },
    { "If-Match", 8 },
    { "If-Modified-Since", 17 },
    { "If-None-Match", 13 },
    { "If-Range", 8 },
    { "If-Unmodified-Since", 19 },
    { "Max-Forwards", 12 },
    { "Pragma", 6 },
    { "Range", 5 },
    { "WWW-Authenticate", 16 },
};

static enum h1_chunk_result read_size_line(struct h1_chunked *, const char **at, const char *end, struct error *);
static enum chunk_stage next_stage(struct h1_chunked *, char byte);
static enum h1_chunk_result read_trailer(struct h1_chunked *, const char **at, const char *end, struct headers *,
                                         const struct h1_limits *, struct error *);

void h1_chunked_init(struct h1_chunked *chunked) { *chunked = (struct h1_chunked){ .stage = CHUNK_SIZE }; }

static enum h1_chunk_result refuse(const struct h1_chunked *chunked, struct error *error, unsigned status,
                                   const char *reason, const char *text)
{
    h1_refuse(chunked->from_backend ? H1_FROM_BACKEND : H1_FROM_CLIENT, error, status, reason, text);
    return H1_CHUNK_BAD;
}

enum h1_chunk_result h1_chunked_read(struct h1_chunked *chunked, const char *bytes, size_t length, size_t *consumed,
                                     struct slice *data, struct headers *trailers, const struct h1_limits *limits,
                                     struct error *error)
{
    const char *at = bytes, *end = bytes + length;
    enum h1_chunk_result result = H1_CHUNK_MORE;
    while (result == H1_CHUNK_MORE && at < end) {
        switch (chunked->stage) {
        case CHUNK_CONTENT:
            *data = slice_of(at, (uint64_t)(end - at) < chunked->remaining ? (size_t)(end - at)
                                                                           : (size_t)chunked->remaining);
            at += data->length;
            chunked->remaining -= data->length;
            if (chunked->remaining == 0) chunked->stage = CHUNK_CONTENT_CR;
            result = H1_CHUNK_DATA;
            break;
        case CHUNK_TRAILERS: result = read_trailer(chunked, &at, end, trailers, limits, error); break;
        case CHUNK_OVER: result = H1_CHUNK_END; break;
        default: result = read_size_line(chunked, &at, end, error); break;
        }
    }
    *consumed = (size_t)(at - bytes);
    return result;
}

static const char *complaint(enum chunk_stage stage)
{
    if (stage >= CHUNK_CONTENT) return "a chunk that isn't followed by CRLF";
    return stage == CHUNK_SIZE ? "a bad chunk size"
                               : "a bad chunk extension, too many of them, or a bad end of their line";
}

/* Everything between two runs of content: CRLF, size, extensions, CRLF. */
static enum h1_chunk_result read_size_line(struct h1_chunked *chunked, const char **at, const char *end,
                                           struct error *error)
{
    while (*at < end && chunked->stage != CHUNK_CONTENT && chunked->stage != CHUNK_TRAILERS) {
        enum chunk_stage stage = next_stage(chunked, *(*at)++);
        if (stage == CHUNK_REFUSED) return refuse(chunked, error, 400, "bad-chunk", complaint(chunked->stage));
        chunked->stage = (uint8_t)stage;
    }
    return H1_CHUNK_MORE;
}

static enum chunk_stage take_size_digit(struct h1_chunked *chunked, char byte)
{
    if (++chunked->size_digits > SIZE_DIGITS_MAX) return CHUNK_REFUSED;
    chunked->remaining = chunked->remaining << 4 | byte_hex_value(byte);
    return chunked->remaining > INT64_MAX ? CHUNK_REFUSED : CHUNK_SIZE;
}

/* After the LF of a size line. */
static enum chunk_stage begin_chunk(struct h1_chunked *chunked)
{
    chunked->size_digits = 0;
    chunked->line_length = 0;
    return chunked->remaining ? CHUNK_CONTENT : CHUNK_TRAILERS;
}

/* What may end an extension, its name or its value. */
static enum chunk_stage after_extension(char byte)
{
    if (byte == ';') return CHUNK_EXTENSION_NAME_FIRST;
    if (byte == '\r') return CHUNK_SIZE_LF;
    return byte_is_blank(byte) ? CHUNK_BWS_BEFORE_SEMICOLON : CHUNK_REFUSED;
}

static enum chunk_stage next_extension_stage(enum chunk_stage stage, char byte)
{
    bool token = byte_is(byte, BYTE_TOKEN), blank = byte_is_blank(byte);
    switch (stage) {
    case CHUNK_BWS_BEFORE_SEMICOLON: return blank ? stage : byte == ';' ? CHUNK_EXTENSION_NAME_FIRST : CHUNK_REFUSED;
    case CHUNK_EXTENSION_NAME_FIRST: return blank ? stage : token ? CHUNK_EXTENSION_NAME : CHUNK_REFUSED;
    case CHUNK_EXTENSION_NAME:
        if (byte == '=') return CHUNK_EXTENSION_VALUE_FIRST;
        return token ? stage : blank ? CHUNK_BWS_AFTER_NAME : after_extension(byte);
    case CHUNK_BWS_AFTER_NAME:
        if (byte == '=') return CHUNK_EXTENSION_VALUE_FIRST;
        return blank ? stage : byte == ';' ? CHUNK_EXTENSION_NAME_FIRST : CHUNK_REFUSED;
    case CHUNK_EXTENSION_VALUE_FIRST:
        if (byte == '"') return CHUNK_EXTENSION_QUOTED;
        return blank ? stage : token ? CHUNK_EXTENSION_VALUE : CHUNK_REFUSED;
    case CHUNK_EXTENSION_VALUE: return token ? stage : after_extension(byte);
    case CHUNK_EXTENSION_QUOTED:
        if (byte == '"') return CHUNK_EXTENSION_QUOTED_END;
        if (byte == '\\') return CHUNK_EXTENSION_QUOTED_PAIR;
        return byte_is_control(byte) ? CHUNK_REFUSED : stage;
    case CHUNK_EXTENSION_QUOTED_PAIR: return byte_is_control(byte) ? CHUNK_REFUSED : CHUNK_EXTENSION_QUOTED;
    default: /* CHUNK_EXTENSION_QUOTED_END */ return after_extension(byte);
    }
}

static enum chunk_stage next_stage(struct h1_chunked *chunked, char byte)
{
    switch (chunked->stage) {
    case CHUNK_CONTENT_CR: return byte == '\r' ? CHUNK_CONTENT_LF : CHUNK_REFUSED;
    case CHUNK_CONTENT_LF: return byte == '\n' ? CHUNK_SIZE : CHUNK_REFUSED;
    case CHUNK_SIZE:
        if (byte_is(byte, BYTE_HEX)) return take_size_digit(chunked, byte);
        if (chunked->size_digits == 0) return CHUNK_REFUSED;
        if (byte == '\r') return CHUNK_SIZE_LF;
        break;
    case CHUNK_SIZE_LF: return byte == '\n' ? begin_chunk(chunked) : CHUNK_REFUSED;
    default: break;
    }
    if (++chunked->line_length > EXTENSION_LINE_BYTES_MAX || ++chunked->extension_bytes > EXTENSION_BYTES_MAX)
        return CHUNK_REFUSED;
    return chunked->stage == CHUNK_SIZE ? after_extension(byte) : next_extension_stage(chunked->stage, byte);
}

/* Trailer lines are copied anyway: the read buffer they come in is the body's, which moves on. */
static bool keep_line_bytes(struct h1_chunked *chunked, struct slice bytes, struct arena *arena)
{
    size_t kept = chunked->line_length, wanted = kept + bytes.length, capacity = TRAILER_LINE_CAPACITY_FIRST;
    while (capacity < kept) capacity *= 2;
    if (!chunked->line || wanted > capacity) {
        while (capacity < wanted) capacity *= 2;
        char *line = arena_allocate(arena, capacity);
        if (!line) return false;
        if (chunked->line) memcpy(line, chunked->line, kept);
        chunked->line = line;
    }
    memcpy(chunked->line + kept, bytes.at, bytes.length);
    chunked->line_length = (uint32_t)wanted;
    return true;
}

/* '_' is read as '-', as backends do that know CGI's names only (see http_is_framing_twin). */
bool http_is_allowed_in_trailers(struct slice name)
{
    char plain[LATE_NAME_BYTES_MAX];
    if (name.length > sizeof plain) return true;
    for (size_t i = 0; i < name.length; i++) plain[i] = name.at[i] == '_' ? '-' : name.at[i];
    name = slice_of(plain, name.length);
    enum header_id id = header_id_find(name);
    if (id != HEADER_OTHER) return TRAILERS_ALLOWED & HEADER_BIT(id);
    for (size_t i = 0; i < COUNT_OF(late_names_forbidden); i++) {
        if (slice_equal_ignore_case(name, late_names_forbidden[i])) return false;
    }
    return true;
}

/* `line` has its CR behind it. */
static enum h1_chunk_result add_trailer(struct h1_chunked *chunked, struct slice line, struct headers *trailers,
                                        const struct h1_limits *limits, struct error *error)
{
    struct slice name, value;
    if (!h1_split_field(line, &name, &value))
        return refuse(chunked, error, 400, "bad-trailer", h1_field_complaint(line));
    if (++chunked->trailer_count > limits->header_count)
        return refuse(chunked, error, 431, "headers-too-large", "too many trailers");
    chunked->line = NULL; /* the fields keep it now */
    chunked->line_length = 0;
    if (http_is_allowed_in_trailers(name) && !headers_add_from_wire(trailers, name, value)) {
        h1_no_memory(error);
        return H1_CHUNK_BAD;
    }
    return H1_CHUNK_MORE;
}

/* Takes up to one line, its LF included. */
static enum h1_chunk_result read_trailer(struct h1_chunked *chunked, const char **at, const char *end,
                                         struct headers *trailers, const struct h1_limits *limits, struct error *error)
{
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    struct slice bytes = slice_of(*at, (size_t)((lf ? lf + 1 : end) - *at));
    *at += bytes.length;
    uint64_t trailer_bytes_max = (uint64_t)limits->header_bytes + 2; /* the empty line is no field */
    if (chunked->trailer_bytes + bytes.length > trailer_bytes_max)
        return refuse(chunked, error, 431, "headers-too-large", "its trailers are too large");
    if (!keep_line_bytes(chunked, bytes, trailers->arena)) {
        h1_no_memory(error);
        return H1_CHUNK_BAD;
    }
    chunked->trailer_bytes += (uint32_t)bytes.length;
    if (!lf) return H1_CHUNK_MORE;

    const char *cr = chunked->line + chunked->line_length - 2;
    if (chunked->line_length < 2 || http_find_control(chunked->line, cr + 1) != cr || *cr != '\r')
        return refuse(chunked, error, 400, "bad-trailer",
                      "a control character in its trailers, or a line end that isn't CRLF");
    if (cr > chunked->line)
        return add_trailer(chunked, slice_of(chunked->line, (size_t)(cr - chunked->line)), trailers, limits, error);
    chunked->stage = CHUNK_OVER;
    return H1_CHUNK_END;
}
