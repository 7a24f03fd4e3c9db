#include "filters/decoder.h"

#include "base/memory.h"
#include "filters/coding_libraries.h"

#define ZLIB_CONST
#include <zlib.h>

/* What zlib's inflate needs at the most: its state and a window of 32 KiB. */
#define INFLATE_BYTES (48 * 1024u)

/* Beyond this share of the ceiling nothing more is taken for unpacking: who declares large windows must not shed other requests. */
#define CEILING_SIXTEENTHS 8

/* What zstd touches of a frame's buffers before anything comes out of them: a block that comes in, and one unpacked. */
#define ZSTD_FIRST_BYTES (2 * ZSTD_BLOCKSIZE_MAX)

struct decoder {
    enum content_coding coding;
    struct memory_ceiling *ceiling;
    size_t counted;
    size_t zstd_own_bytes; /* of zstd's state without the buffers of a frame */
    uint64_t given;        /* bytes that came out */
    bool begun;            /* a byte has come */
    bool at_border;        /* of members or frames: the body may end, or another one begin */
    union {
        z_stream zlib;
        BrotliDecoderState *brotli;
        ZSTD_DCtx *zstd;
    };
};

/* --- memory --- */

struct block {
    size_t size;
    max_align_t bytes[];
};

static bool take(struct memory_ceiling *ceiling, size_t size)
{
    return !memory_ceiling_is_beyond(ceiling, CEILING_SIXTEENTHS) && memory_ceiling_take(ceiling, size);
}

static void *take_block(void *argument, size_t size)
{
    struct decoder *decoder = argument;
    if (!take(decoder->ceiling, size)) return NULL;
    struct block *block = malloc(sizeof *block + size);
    if (!block) {
        memory_ceiling_give(decoder->ceiling, size);
        return NULL;
    }
    block->size = size;
    decoder->counted += size;
    return block->bytes;
}

static void give_block(void *argument, void *memory)
{
    struct decoder *decoder = argument;
    if (!memory) return;
    struct block *block = CONTAINER_OF(memory, struct block, bytes);
    memory_ceiling_give(decoder->ceiling, block->size);
    decoder->counted -= block->size;
    free(block);
}

/* Zstandard allocates the whole window that a frame declares, which costs its sender five bytes. But no page of it is there before it is
 * written to, so what counts is what has come out, and the blocks before that. */
static bool count_zstd(struct decoder *decoder)
{
    size_t used = ZSTD_sizeof_DCtx(decoder->zstd);
    uint64_t touched = decoder->zstd_own_bytes + ZSTD_FIRST_BYTES + decoder->given;
    if (used > touched) used = (size_t)touched;
    if (used <= decoder->counted) return true;
    if (!take(decoder->ceiling, used - decoder->counted)) return false;
    decoder->counted = used;
    return true;
}

/* --- making and ending them --- */

static bool begin_zlib(struct decoder *decoder)
{
    const int window = 15, with_gzip_frame = 16;
    if (!take(decoder->ceiling, INFLATE_BYTES)) return false;
    decoder->counted = INFLATE_BYTES;
    return inflateInit2(&decoder->zlib, decoder->coding == CODING_GZIP ? window + with_gzip_frame : window) == Z_OK;
}

static bool begin_zstd(struct decoder *decoder)
{
    decoder->zstd = ZSTD_createDCtx();
    if (!decoder->zstd) return false;
    decoder->zstd_own_bytes = ZSTD_sizeof_DCtx(decoder->zstd);
    return !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_READ_MAX)) &&
           count_zstd(decoder);
}

static bool begin(struct decoder *decoder)
{
    switch (decoder->coding) {
    case CODING_BROTLI:
        decoder->brotli = BrotliDecoderCreateInstance(take_block, give_block, decoder);
        return decoder->brotli != NULL;
    case CODING_ZSTD: return begin_zstd(decoder);
    default: return begin_zlib(decoder);
    }
}

struct decoder *decoder_create(enum content_coding coding, struct memory_ceiling *ceiling)
{
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) return NULL;
    decoder->coding = coding;
    decoder->ceiling = ceiling;
    decoder->at_border = true;
    if (begin(decoder)) return decoder;
    decoder_destroy(decoder);
    return NULL;
}

void decoder_destroy(struct decoder *decoder)
{
    if (!decoder) return;
    switch (decoder->coding) {
    case CODING_BROTLI:
        if (decoder->brotli) BrotliDecoderDestroyInstance(decoder->brotli);
        break;
    case CODING_ZSTD: ZSTD_freeDCtx(decoder->zstd); break;
    default: inflateEnd(&decoder->zlib); break;
    }
    memory_ceiling_give(decoder->ceiling, decoder->counted);
    free(decoder);
}

/* --- at work --- */

static enum decoder_result inflate_once(struct decoder *decoder, struct slice *input, char *into, size_t room,
                                        size_t *written)
{
    z_stream *zlib = &decoder->zlib;
    zlib->next_in = (const Bytef *)input->at;
    zlib->avail_in = (uInt)input->length;
    zlib->next_out = (Bytef *)into;
    zlib->avail_out = (uInt)room;
    int result = inflate(zlib, Z_NO_FLUSH);
    *input = slice_after(*input, input->length - zlib->avail_in);
    *written += room - zlib->avail_out;
    switch (result) {
    case Z_STREAM_END: decoder->at_border = true; return DECODER_GOES_ON;
    case Z_OK:
    case Z_BUF_ERROR: return DECODER_GOES_ON;
    case Z_MEM_ERROR: return DECODER_NO_MEMORY;
    default: return DECODER_BROKEN; /* Z_NEED_DICT, too: HTTP has no word about which */
    }
}

/* A member behind the first: what doesn't begin as one is garbage. */
static enum decoder_result begin_member(struct decoder *decoder, struct slice input)
{
    bool is_member = decoder->coding == CODING_GZIP && input.at[0] == 0x1f;
    if (!is_member) return DECODER_TRAILING;
    return inflateReset(&decoder->zlib) == Z_OK ? DECODER_GOES_ON : DECODER_NO_MEMORY;
}

static enum decoder_result run_zlib(struct decoder *decoder, struct slice *input, char *into, size_t room,
                                    size_t *written)
{
    enum decoder_result result = DECODER_GOES_ON;
    do {
        if (decoder->at_border) {
            if (input->length == 0) break;
            if (decoder->begun) result = begin_member(decoder, *input);
            if (result != DECODER_GOES_ON) break;
            decoder->begun = true;
            decoder->at_border = false;
        }
        result = inflate_once(decoder, input, into + *written, room - *written, written);
    } while (result == DECODER_GOES_ON && decoder->at_border && input->length > 0 && *written < room);
    return result;
}

static bool is_about_memory(BrotliDecoderErrorCode code)
{
    return code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
}

static enum decoder_result run_brotli(struct decoder *decoder, struct slice *input, char *into, size_t room,
                                      size_t *written)
{
    if (decoder->at_border) {
        if (input->length == 0) return DECODER_GOES_ON;
        if (decoder->begun) return DECODER_TRAILING;
        decoder->begun = true;
        decoder->at_border = false;
    }
    size_t left = input->length, free_room = room;
    const uint8_t *next = (const uint8_t *)input->at;
    uint8_t *out = (uint8_t *)into;
    BrotliDecoderResult result = BrotliDecoderDecompressStream(decoder->brotli, &left, &next, &free_room, &out, NULL);
    *input = slice_after(*input, input->length - left);
    *written = room - free_room;
    if (result == BROTLI_DECODER_RESULT_ERROR)
        return is_about_memory(BrotliDecoderGetErrorCode(decoder->brotli)) ? DECODER_NO_MEMORY : DECODER_BROKEN;
    if (result != BROTLI_DECODER_RESULT_SUCCESS) return DECODER_GOES_ON;
    decoder->at_border = true;
    return left > 0 ? DECODER_TRAILING : DECODER_GOES_ON;
}

static enum decoder_result explain_zstd(const struct decoder *decoder, ZSTD_ErrorCode code)
{
    switch (code) {
    case ZSTD_error_memory_allocation: return DECODER_NO_MEMORY;
    case ZSTD_error_frameParameter_windowTooLarge: return DECODER_WINDOW;
    case ZSTD_error_prefix_unknown: return decoder->begun ? DECODER_TRAILING : DECODER_BROKEN;
    default: return DECODER_BROKEN;
    }
}

/* `begun` says that a frame was whole. One call ends at a frame's end at the latest. */
static enum decoder_result run_zstd(struct decoder *decoder, struct slice *input, char *into, size_t room,
                                    size_t *written)
{
    ZSTD_outBuffer out = { into, room, 0 };
    ZSTD_inBuffer in = { input->at, input->length, 0 };
    enum decoder_result result = DECODER_GOES_ON;
    while (result == DECODER_GOES_ON && (in.pos < in.size || !decoder->at_border) && out.pos < room) {
        size_t in_before = in.pos, out_before = out.pos;
        size_t left = ZSTD_decompressStream(decoder->zstd, &out, &in);
        decoder->given += out.pos - out_before;
        if (ZSTD_isError(left)) {
            result = explain_zstd(decoder, ZSTD_getErrorCode(left));
        } else if (!count_zstd(decoder)) {
            result = DECODER_NO_MEMORY;
        } else {
            bool moved = in.pos > in_before || out.pos > out_before;
            decoder->at_border = left == 0 && (moved || decoder->at_border);
            decoder->begun |= left == 0;
            if (!moved) break;
        }
    }
    *input = slice_after(*input, in.pos);
    *written = out.pos;
    return result;
}

enum decoder_result decoder_run(struct decoder *decoder, struct slice *input, char *into, size_t room, size_t *written)
{
    *written = 0;
    switch (decoder->coding) {
    case CODING_BROTLI: return run_brotli(decoder, input, into, room, written);
    case CODING_ZSTD: return run_zstd(decoder, input, into, room, written);
    default: return run_zlib(decoder, input, into, room, written);
    }
}

bool decoder_is_whole(const struct decoder *decoder) { return decoder->at_border; }
