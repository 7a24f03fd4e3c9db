/* A chunked body comes to the same content, trailers and end wherever it is cut between reads.
 *
 * The input's first byte is the size of a piece, the rest is the body and what may follow it. */
#include "h1_fuzzing.h"

struct reading {
    struct arena arena;
    struct h1_chunked chunked;
    struct headers trailers;
    struct error error;
    enum h1_chunk_result result;
    char *content;
    size_t content_length, consumed;
};

static void read_piece(struct reading *reading, const char *piece, size_t length)
{
    char *bytes = fuzz_copy(piece, length);
    size_t at = 0, consumed;
    do {
        struct slice data = SLICE_ABSENT;
        reading->result = h1_chunked_read(&reading->chunked, bytes + at, length - at, &consumed, &data,
                                          &reading->trailers, &fuzz_limits, &reading->error);
        PROMISE(consumed <= length - at);
        if (reading->result == H1_CHUNK_DATA) {
            PROMISE(data.length > 0 && data.at >= bytes + at && data.at + data.length == bytes + at + consumed);
            memcpy(reading->content + reading->content_length, data.at, data.length);
            reading->content_length += data.length;
        }
        at += consumed;
    } while (reading->result == H1_CHUNK_DATA);
    PROMISE(reading->result != H1_CHUNK_MORE || at == length);
    reading->consumed += at;
    free(bytes);
}

static void read_in_pieces(struct reading *reading, const char *body, size_t length, size_t piece)
{
    *reading = (struct reading){ .result = H1_CHUNK_MORE };
    arena_init(&reading->arena, NULL);
    headers_init(&reading->trailers, &reading->arena);
    h1_chunked_init(&reading->chunked);
    reading->content = malloc(length + 1);
    PROMISE(reading->content != NULL);
    for (size_t at = 0; at < length && reading->result == H1_CHUNK_MORE; at += piece)
        read_piece(reading, body + at, length - at < piece ? length - at : piece);
}

static void end(struct reading *reading)
{
    arena_release(&reading->arena);
    free(reading->content);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0) return 0;
    const char *body = (const char *)bytes + 1;
    struct reading at_once, in_pieces;
    read_in_pieces(&at_once, body, length - 1, length);
    read_in_pieces(&in_pieces, body, length - 1, bytes[0] % 32 + 1);
    PROMISE(at_once.result == in_pieces.result);
    PROMISE(at_once.content_length == in_pieces.content_length);
    PROMISE(memcmp(at_once.content, in_pieces.content, at_once.content_length) == 0);
    fuzz_require_equal_headers(&at_once.trailers, &in_pieces.trailers);
    if (at_once.result == H1_CHUNK_BAD) fuzz_require_equal_errors(&at_once.error, &in_pieces.error);
    if (at_once.result == H1_CHUNK_END) PROMISE(at_once.consumed == in_pieces.consumed);
    end(&at_once);
    end(&in_pieces);
    return 0;
}
