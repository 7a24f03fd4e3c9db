/* Compressed bodies mean the same wherever they are cut between reads, never more than the room is written, and memory is given back; what a
 * client accepts is read in bounds and agrees with its parts; what was packed is unpacked.
 *
 * The input's first byte chooses the coding (2 bits), the size of a piece (3 bits) and of the room (3 bits); the rest is in turn a body, a text to pack, and
 * an Accept-Encoding field. */
#include "filters/decoder.h"
#include "filters/encoder.h"
#include "h1_fuzzing.h"

#define TEXT_BYTES_MAX (1u << 20)

static const enum content_coding codings[] = { CODING_GZIP, CODING_BROTLI, CODING_ZSTD, CODING_DEFLATE };

struct unpacking {
    enum decoder_result result;
    bool whole;
    char *text;
    size_t length;
};

static void unpack(struct unpacking *unpacking, enum content_coding coding, struct slice packed, size_t piece,
                   size_t room)
{
    struct memory_ceiling ceiling = { .bytes_max = 64 << 20 };
    struct decoder *decoder = decoder_create(coding, &ceiling);
    *unpacking = (struct unpacking){ .result = DECODER_GOES_ON, .text = malloc(TEXT_BYTES_MAX + room) };
    char *into = malloc(room); /* a sanitizer sees a write behind it */
    PROMISE(decoder && unpacking->text && into);
    for (size_t at = 0; at < packed.length && unpacking->result == DECODER_GOES_ON; at += piece) {
        struct slice part = slice_before(slice_after(packed, at), piece);
        size_t written = room;
        while (unpacking->result == DECODER_GOES_ON && unpacking->length < TEXT_BYTES_MAX &&
               (part.length > 0 || written == room)) {
            size_t before = part.length;
            unpacking->result = decoder_run(decoder, &part, into, room, &written);
            PROMISE(written <= room && part.length <= before);
            PROMISE(unpacking->result != DECODER_GOES_ON || written > 0 || part.length < before || part.length == 0);
            memcpy(unpacking->text + unpacking->length, into, written);
            unpacking->length += written;
        }
    }
    unpacking->whole = unpacking->result == DECODER_GOES_ON && decoder_is_whole(decoder);
    decoder_destroy(decoder);
    PROMISE(memory_ceiling_in_use(&ceiling) == 0);
    free(into);
}

/* How much came out before an error may depend on the pieces; what a whole body says may not. */
static void try_body(enum content_coding coding, struct slice packed, size_t piece, size_t room)
{
    struct unpacking at_once, in_pieces;
    unpack(&at_once, coding, packed, packed.length, 65536);
    unpack(&in_pieces, coding, packed, piece, room);
    bool is_long = at_once.length >= TEXT_BYTES_MAX || in_pieces.length >= TEXT_BYTES_MAX;
    if (!is_long) {
        PROMISE(at_once.whole == in_pieces.whole);
        size_t both = at_once.length < in_pieces.length ? at_once.length : in_pieces.length;
        PROMISE(memcmp(at_once.text, in_pieces.text, both) == 0);
        PROMISE(!at_once.whole || at_once.length == in_pieces.length);
    }
    free(at_once.text);
    free(in_pieces.text);
}

static size_t run_to_goal(struct encoder *encoder, struct slice input, enum encoder_goal goal, size_t room,
                          char *packed)
{
    size_t length = 0;
    for (enum encoder_result result = ENCODER_GOES_ON; result != ENCODER_DONE;) {
        size_t written;
        result = encoder_run(encoder, &input, goal, packed + length, room, &written);
        PROMISE(result != ENCODER_FAILED && written <= room);
        length += written;
    }
    PROMISE(input.length == 0);
    return length;
}

static void try_round_trip(enum content_coding coding, struct slice text, size_t piece, size_t room)
{
    struct encoder *encoder = encoder_take(NULL, NULL, &(struct encoder_wish){ coding, 3, text.length, room % 2 });
    char *packed = malloc(text.length * 40 + 4096 + room);
    size_t length = 0, count = 0;
    PROMISE(encoder && packed);
    for (size_t at = 0; at < text.length; at += piece, count++) {
        length += run_to_goal(encoder, slice_before(slice_after(text, at), piece), ENCODER_TAKE, room, packed + length);
        if (count % 7 == 3) length += run_to_goal(encoder, SLICE(""), ENCODER_FLUSH, room, packed + length);
    }
    length += run_to_goal(encoder, SLICE(""), ENCODER_END, room, packed + length);
    encoder_give(encoder);
    struct unpacking unpacking;
    unpack(&unpacking, coding, slice_of(packed, length), piece, room);
    PROMISE(unpacking.whole && slice_equal(slice_of(unpacking.text, unpacking.length), text));
    free(unpacking.text);
    free(packed);
}

/* A line break makes two fields of it; they mean what the list of both means. */
static void read_accepted(struct slice text, char separator, struct accepted_codings *accepted)
{
    struct arena arena;
    struct headers headers;
    struct slice rest = text, line;
    arena_init(&arena, NULL);
    headers_init(&headers, &arena);
    while (headers.count < 100 && slice_next(&rest, separator, &line))
        PROMISE(headers_add_known(&headers, HEADER_ACCEPT_ENCODING, line));
    accepted_codings_read(&headers, accepted);
    arena_release(&arena);
}

static void try_accepted(struct slice text)
{
    static const enum content_coding offered[] = { CODING_ZSTD, CODING_BROTLI, CODING_GZIP };
    struct accepted_codings accepted, again;
    enum content_coding ranked[CODING_COUNT];
    read_accepted(text, '\n', &accepted);
    size_t count = accepted_codings_rank(&accepted, offered, COUNT_OF(offered), ranked);
    PROMISE(count <= COUNT_OF(offered));
    for (size_t i = 0; i < count; i++) {
        PROMISE(accepted.quality[ranked[i]] > 0 && accepted.quality[ranked[i]] <= 1000);
        PROMISE(i == 0 || accepted.quality[ranked[i - 1]] >= accepted.quality[ranked[i]]);
        PROMISE(!accepted.identity_named || accepted.quality[ranked[i]] >= accepted.quality[CODING_IDENTITY]);
    }
    size_t commas = 0;
    for (size_t i = 0; i < text.length; i++) commas += text.at[i] == ',' || text.at[i] == '\n';
    if (commas > 90 || slice_find_byte(text, '\n') != SLICE_NOT_FOUND) return;
    read_accepted(text, ',', &again);
    PROMISE(memcmp(accepted.quality, again.quality, sizeof accepted.quality) == 0);
    PROMISE(accepted.identity_refused == again.identity_refused);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error error;
    if (length < 2 || !content_coding_load(CODING_BROTLI, &error) || !content_coding_load(CODING_ZSTD, &error))
        return 0;
    char *copy = fuzz_copy((const char *)bytes + 1, length - 1);
    struct slice input = slice_of(copy, length - 1);
    enum content_coding coding = codings[bytes[0] & 3];
    size_t piece = (size_t)1 << (bytes[0] >> 2 & 7), room = (size_t)ENCODER_ROOM_MIN << (bytes[0] >> 5);
    try_body(coding, input, piece, room);
    if (coding != CODING_DEFLATE && length < 4096) try_round_trip(coding, input, piece, room + bytes[0] % 2);
    if (length < 1024) try_accepted(input);
    free(copy);
    return 0;
}
