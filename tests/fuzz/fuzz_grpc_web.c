/* gRPC-Web's bytes mean the same wherever they are cut between reads; what is written is read back, and no trailer makes another.
 *
 * The input's first byte is the size of a piece; the rest is in turn base64, messages, a content type, and trailers ("name:value"
 * lines). */
#include "filters/grpc_web_codec.h"
#include "h1_fuzzing.h"

struct decoding {
    struct base64_reader reader;
    bool good;
    char *content;
    size_t length;
};

static void decode_in_pieces(struct decoding *decoding, struct slice text, size_t piece)
{
    *decoding = (struct decoding){ .good = true, .content = malloc(BASE64_READ_BYTES_MAX(text.length) + 1) };
    PROMISE(decoding->content != NULL);
    for (size_t at = 0; at < text.length && decoding->good; at += piece) {
        struct slice part = slice_before(slice_after(text, at), piece);
        char *room = malloc(BASE64_READ_BYTES_MAX(part.length)); /* a sanitizer sees a write behind it */
        size_t written;
        PROMISE(room != NULL);
        decoding->good = base64_read(&decoding->reader, part, room, &written);
        memcpy(decoding->content + decoding->length, room, written);
        decoding->length += written;
        free(room);
    }
}

static void try_base64(struct slice text, size_t piece)
{
    struct decoding at_once, in_pieces;
    decode_in_pieces(&at_once, text, text.length + 1);
    decode_in_pieces(&in_pieces, text, piece);
    PROMISE(at_once.good == in_pieces.good && at_once.length == in_pieces.length);
    PROMISE(memcmp(at_once.content, in_pieces.content, at_once.length) == 0);
    PROMISE(base64_reader_is_whole(&at_once.reader) == base64_reader_is_whole(&in_pieces.reader));
    /* Without padding inside, a text has one content and a content one text. */
    const char *padding = text.length ? memchr(text.at, '=', text.length) : NULL;
    if (at_once.good && base64_reader_is_whole(&at_once.reader) && (!padding || padding + 3 > text.at + text.length)) {
        struct base64_writer writer = { 0 };
        char *again = malloc(BASE64_WRITTEN_BYTES_MAX(at_once.length) + 4);
        PROMISE(again != NULL);
        size_t length = base64_write(&writer, slice_of(at_once.content, at_once.length), again);
        length += base64_flush(&writer, again + length);
        PROMISE(slice_equal(slice_of(again, length), text));
        free(again);
    }
    free(at_once.content);
    free(in_pieces.content);
}

/* Any bytes, written in pieces and flushed now and then, are read back. */
static void try_round_trip(struct slice content, size_t piece)
{
    struct base64_writer writer = { 0 };
    struct decoding decoding;
    char *text = malloc(content.length * 8 + 8);
    size_t length = 0;
    PROMISE(text != NULL);
    for (size_t at = 0; at < content.length; at += piece) {
        struct slice part = slice_before(slice_after(content, at), piece);
        size_t written = base64_write(&writer, part, text + length);
        PROMISE(written <= BASE64_WRITTEN_BYTES_MAX(part.length));
        length += written;
        if ((at / piece) % 3 == 2) length += base64_flush(&writer, text + length);
    }
    length += base64_flush(&writer, text + length);
    decode_in_pieces(&decoding, slice_of(text, length), piece);
    PROMISE(decoding.good && base64_reader_is_whole(&decoding.reader));
    PROMISE(slice_equal(slice_of(decoding.content, decoding.length), content));
    free(decoding.content);
    free(text);
}

static void try_messages(struct slice bytes, size_t piece)
{
    struct grpc_frames at_once = { 0 }, in_pieces = { 0 };
    bool good = grpc_frames_follow(&at_once, bytes), good_in_pieces = true;
    for (size_t at = 0; at < bytes.length && good_in_pieces; at += piece)
        good_in_pieces = grpc_frames_follow(&in_pieces, slice_before(slice_after(bytes, at), piece));
    PROMISE(good == good_in_pieces);
    if (!good) return;
    PROMISE(at_once.left == in_pieces.left && at_once.prefix_read == in_pieces.prefix_read);
    PROMISE(grpc_frames_at_border(&at_once) || at_once.prefix_read < 5 || at_once.left > 0);
}

static void try_type(struct slice value)
{
    struct grpc_web_type type;
    struct slice message;
    bool is_web = grpc_web_type_parse(value, &type), is_plain = grpc_type_parse(value, &message);
    PROMISE(!(is_web && is_plain));
    if (is_web && type.message.length > 0) PROMISE(type.message.at[0] == '+' && header_value_is_valid(type.message));
    if (is_plain && message.length > 0) PROMISE(message.at[0] == '+' && header_value_is_valid(message));
}

static void add_lines(struct headers *headers, struct slice text)
{
    for (struct slice rest = text, line; headers->count < 50 && slice_next(&rest, '\n', &line);) {
        size_t colon = slice_find_byte(line, ':');
        if (colon == SLICE_NOT_FOUND) continue;
        PROMISE(headers_add(headers, slice_before(line, colon), slice_after(line, colon + 1)));
    }
}

/* A frame has a line for each trailer and, before them, at most what the head's outcome adds; grpc-status is one of them. */
static void require_frame(struct slice frame, const struct headers *trailers)
{
    size_t lines = 0, expected = 0;
    bool has_status = false;
    PROMISE(frame.length >= 5 && (uint8_t)frame.at[0] == 0x80);
    uint32_t announced = 0;
    for (int i = 1; i < 5; i++) announced = announced << 8 | (uint8_t)frame.at[i];
    struct slice rest = slice_after(frame, 5);
    PROMISE(announced == rest.length);
    for (size_t end; rest.length > 0; rest = slice_after(rest, end + 2), lines++) {
        end = slice_find(rest, SLICE("\r\n"));
        struct slice line = slice_before(rest, end);
        PROMISE(end != SLICE_NOT_FOUND && header_value_is_valid(line));
        for (size_t i = 0; i < slice_find_byte(line, ':'); i++) PROMISE(line.at[i] < 'A' || line.at[i] > 'Z');
        has_status |= slice_starts_with(line, SLICE("grpc-status: "));
    }
    for (struct header *item = headers_next(trailers, NULL); item; item = headers_next(trailers, item)) expected++;
    PROMISE(has_status && lines >= expected && lines <= expected + GRPC_OUTCOME_FIELDS);
}

static void try_trailers(struct slice text, bool with_outcome)
{
    struct arena arena;
    struct headers trailers;
    struct slice outcome[GRPC_OUTCOME_FIELDS] = { SLICE_ABSENT }, frame;
    arena_init(&arena, NULL);
    headers_init(&trailers, &arena);
    add_lines(&trailers, text);
    if (with_outcome) outcome[GRPC_STATUS] = outcome[GRPC_MESSAGE] = slice_before(text, 7);
    if (grpc_web_write_trailers(&trailers, outcome, &arena, &frame) == GRPC_WEB_FRAME_WRITTEN)
        require_frame(frame, &trailers);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2) return 0;
    char *copy = fuzz_copy((const char *)bytes + 1, length - 1);
    struct slice input = slice_of(copy, length - 1);
    size_t piece = bytes[0] % 32 + 1;
    try_base64(input, piece);
    try_round_trip(input, piece);
    try_messages(input, piece);
    try_type(input);
    try_trailers(input, bytes[0] & 32);
    free(copy);
    return 0;
}
