#include "filters/encoder.h"

#include "base/memory.h"
#include "filters/coding_libraries.h"

#define ZLIB_CONST
#include <zlib.h>

/* How far back a coding looks: more costs memory and, for bodies of this kind, brings little (2 % from 64 to 256 KiB). */
#define GZIP_WINDOW_MAX 15
#define BROTLI_WINDOW_MAX 16
#define ZSTD_WINDOW_MAX 17
#define ZSTD_TABLE_MAX 16

#define IDLE_ENCODERS_MAX 8
#define IDLE_BLOCKS_MAX 16
#define IDLE_BLOCK_BYTES_MIN 4096
#define IDLE_BYTES_MAX ((size_t)8 << 20) /* of both together */

/* The sizes that decide about an encoder's memory. Equal shapes can serve each other's bodies. */
struct shape {
    uint8_t coding, level, window, table;
};

struct encoder {
    struct encoder_pool *pool; /* NULL: none */
    struct memory_ceiling *ceiling;
    size_t counted; /* under the ceiling */
    struct shape shape;
    union {
        z_stream gzip;
        BrotliEncoderState *brotli;
        ZSTD_CCtx *zstd;
    };
};

/* A block that Brotli gave back: its states can't be used again, but what they are made of can. */
struct idle_block {
    void *memory;
    size_t size;
};

struct encoder_pool {
    struct encoder *idle[IDLE_ENCODERS_MAX];
    struct idle_block blocks[IDLE_BLOCKS_MAX];
    size_t idle_count, block_count, idle_bytes;
};

/* --- how large --- */

static uint8_t window_for(uint64_t expected, uint8_t least, uint8_t most)
{
    uint8_t window = least;
    while (window < most && (UINT64_C(1) << window) < expected) window++;
    return window;
}

static struct shape shape_of(const struct encoder_wish *wish)
{
    struct shape shape = { .coding = (uint8_t)wish->coding, .level = (uint8_t)wish->level };
    uint64_t expected = wish->is_stream ? 8192 : wish->expected;
    switch (wish->coding) {
    case CODING_BROTLI:
        shape.window = window_for(expected, 12, BROTLI_WINDOW_MAX);
        if (wish->is_stream && shape.level > 3) shape.level = 3;
        break;
    case CODING_ZSTD:
        shape.window = window_for(expected, 13, ZSTD_WINDOW_MAX);
        shape.table = shape.window < ZSTD_TABLE_MAX ? shape.window : ZSTD_TABLE_MAX;
        break;
    default: /* two shapes and one of streams: they are to be used again */
        shape.window = wish->is_stream ? 13 : expected <= 16384 ? 14 : GZIP_WINDOW_MAX;
        shape.table = (uint8_t)(shape.window - 7);
        break;
    }
    return shape;
}

/* At the most, as measured of the libraries (brotli 1.0.9, zstd 1.5.4) and documented by zlib; a test holds them to it. */
static size_t memory_of(const struct shape *shape)
{
    switch (shape->coding) {
    case CODING_BROTLI: return (shape->level < 2 ? 192 : shape->level < 4 ? 832 : 1920) * (size_t)1024;
    case CODING_ZSTD: return (shape->window <= 13 ? 192 : shape->window <= 15 ? 576 : 1536) * (size_t)1024;
    default: return ((size_t)1 << (shape->window + 2)) + ((size_t)1 << (shape->table + 9)) + 8192;
    }
}

/* --- Brotli's blocks --- */

struct block {
    size_t size;
    max_align_t bytes[];
};

static void *take_block(void *argument, size_t size)
{
    struct encoder_pool *pool = argument;
    for (size_t i = 0; pool && i < pool->block_count; i++) {
        if (pool->blocks[i].size != size) continue;
        void *memory = pool->blocks[i].memory;
        pool->blocks[i] = pool->blocks[--pool->block_count];
        pool->idle_bytes -= size;
        return memory;
    }
    struct block *block = malloc(sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    return block->bytes;
}

static void give_block(void *argument, void *memory)
{
    struct encoder_pool *pool = argument;
    if (!memory) return;
    struct block *block = CONTAINER_OF(memory, struct block, bytes);
    if (!pool || block->size < IDLE_BLOCK_BYTES_MIN || pool->block_count == IDLE_BLOCKS_MAX ||
        pool->idle_bytes + block->size > IDLE_BYTES_MAX) {
        free(block);
        return;
    }
    pool->idle_bytes += block->size;
    pool->blocks[pool->block_count++] = (struct idle_block){ memory, block->size };
}

/* --- making and ending them --- */

struct encoder_pool *encoder_pool_create(void) { return calloc(1, sizeof(struct encoder_pool)); }

static void destroy(struct encoder *encoder)
{
    switch (encoder->shape.coding) {
    case CODING_BROTLI:
        if (encoder->brotli) BrotliEncoderDestroyInstance(encoder->brotli);
        break;
    case CODING_ZSTD: ZSTD_freeCCtx(encoder->zstd); break;
    default: deflateEnd(&encoder->gzip); break;
    }
    free(encoder);
}

void encoder_pool_destroy(struct encoder_pool *pool)
{
    if (!pool) return;
    for (size_t i = 0; i < pool->idle_count; i++) destroy(pool->idle[i]);
    for (size_t i = 0; i < pool->block_count; i++) free(CONTAINER_OF(pool->blocks[i].memory, struct block, bytes));
    free(pool);
}

static bool prepare_brotli(struct encoder *encoder, const struct encoder_wish *wish)
{
    encoder->brotli = BrotliEncoderCreateInstance(take_block, give_block, encoder->pool);
    if (!encoder->brotli) return false;
    uint32_t hint = wish->expected < UINT32_MAX ? (uint32_t)wish->expected : 0;
    return BrotliEncoderSetParameter(encoder->brotli, BROTLI_PARAM_QUALITY, encoder->shape.level) &&
           BrotliEncoderSetParameter(encoder->brotli, BROTLI_PARAM_LGWIN, encoder->shape.window) &&
           BrotliEncoderSetParameter(encoder->brotli, BROTLI_PARAM_SIZE_HINT, wish->is_stream ? 0 : hint);
}

static bool set_zstd(struct encoder *encoder, ZSTD_cParameter parameter, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, parameter, value));
}

static bool prepare_zstd(struct encoder *encoder)
{
    if (!encoder->zstd) encoder->zstd = ZSTD_createCCtx();
    if (!encoder->zstd) return false;
    return !ZSTD_isError(ZSTD_CCtx_reset(encoder->zstd, ZSTD_reset_session_and_parameters)) &&
           set_zstd(encoder, ZSTD_c_compressionLevel, encoder->shape.level) &&
           set_zstd(encoder, ZSTD_c_windowLog, encoder->shape.window) &&
           set_zstd(encoder, ZSTD_c_hashLog, encoder->shape.table) &&
           set_zstd(encoder, ZSTD_c_chainLog, encoder->shape.table);
}

static bool prepare_gzip(struct encoder *encoder, bool is_new)
{
    if (!is_new) return deflateReset(&encoder->gzip) == Z_OK;
    const int with_gzip_frame = 16;
    return deflateInit2(&encoder->gzip, encoder->shape.level, Z_DEFLATED, encoder->shape.window + with_gzip_frame,
                        encoder->shape.table, Z_DEFAULT_STRATEGY) == Z_OK;
}

static struct encoder *take_idle(struct encoder_pool *pool, const struct shape *shape)
{
    for (size_t i = 0; pool && i < pool->idle_count; i++) {
        struct encoder *encoder = pool->idle[i];
        if (memcmp(&encoder->shape, shape, sizeof *shape) != 0) continue;
        pool->idle[i] = pool->idle[--pool->idle_count];
        pool->idle_bytes -= memory_of(shape);
        return encoder;
    }
    return NULL;
}

static bool prepare(struct encoder *encoder, const struct encoder_wish *wish, bool is_new)
{
    switch (wish->coding) {
    case CODING_BROTLI: return prepare_brotli(encoder, wish);
    case CODING_ZSTD: return prepare_zstd(encoder);
    default: return prepare_gzip(encoder, is_new);
    }
}

struct encoder *encoder_take(struct encoder_pool *pool, struct memory_ceiling *ceiling, const struct encoder_wish *wish)
{
    const struct shape shape = shape_of(wish);
    const size_t memory = memory_of(&shape);
    if (!memory_ceiling_take(ceiling, memory)) return NULL;
    struct encoder *encoder = take_idle(pool, &shape);
    bool is_new = !encoder;
    if (is_new) encoder = calloc(1, sizeof *encoder);
    if (encoder) {
        encoder->pool = pool;
        encoder->shape = shape;
        if (prepare(encoder, wish, is_new)) {
            encoder->ceiling = ceiling;
            encoder->counted = memory;
            return encoder;
        }
        destroy(encoder);
    }
    memory_ceiling_give(ceiling, memory);
    return NULL;
}

void encoder_give(struct encoder *encoder)
{
    if (!encoder) return;
    struct encoder_pool *pool = encoder->pool;
    memory_ceiling_give(encoder->ceiling, encoder->counted);
    size_t memory = memory_of(&encoder->shape);
    if (!pool || encoder->shape.coding == CODING_BROTLI || pool->idle_count == IDLE_ENCODERS_MAX ||
        pool->idle_bytes + memory > IDLE_BYTES_MAX) {
        destroy(encoder);
        return;
    }
    pool->idle_bytes += memory;
    pool->idle[pool->idle_count++] = encoder;
}

/* --- at work --- */

static enum encoder_result run_gzip(struct encoder *encoder, struct slice *input, enum encoder_goal goal, char *into,
                                    size_t room, size_t *written)
{
    static const int modes[] = {
        [ENCODER_TAKE] = Z_NO_FLUSH, [ENCODER_FLUSH] = Z_SYNC_FLUSH, [ENCODER_END] = Z_FINISH
    };
    z_stream *gzip = &encoder->gzip;
    gzip->next_in = (const Bytef *)input->at;
    gzip->avail_in = (uInt)input->length;
    gzip->next_out = (Bytef *)into;
    gzip->avail_out = (uInt)room;
    int result = deflate(gzip, modes[goal]);
    *input = slice_after(*input, input->length - gzip->avail_in);
    *written = room - gzip->avail_out;
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return ENCODER_FAILED;
    bool done = goal == ENCODER_END     ? result == Z_STREAM_END
                : goal == ENCODER_FLUSH ? gzip->avail_out > 0
                                        : gzip->avail_in == 0;
    return done ? ENCODER_DONE : ENCODER_GOES_ON;
}

static enum encoder_result run_brotli(struct encoder *encoder, struct slice *input, enum encoder_goal goal, char *into,
                                      size_t room, size_t *written)
{
    static const BrotliEncoderOperation operations[] = { [ENCODER_TAKE] = BROTLI_OPERATION_PROCESS,
                                                         [ENCODER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                         [ENCODER_END] = BROTLI_OPERATION_FINISH };
    size_t left = input->length, free_room = room;
    const uint8_t *next = (const uint8_t *)input->at;
    uint8_t *out = (uint8_t *)into;
    if (!BrotliEncoderCompressStream(encoder->brotli, operations[goal], &left, &next, &free_room, &out, NULL))
        return ENCODER_FAILED;
    *input = slice_after(*input, input->length - left);
    *written = room - free_room;
    bool done = goal == ENCODER_END     ? BrotliEncoderIsFinished(encoder->brotli)
                : goal == ENCODER_FLUSH ? left == 0 && !BrotliEncoderHasMoreOutput(encoder->brotli)
                                        : left == 0;
    return done ? ENCODER_DONE : ENCODER_GOES_ON;
}

static enum encoder_result run_zstd(struct encoder *encoder, struct slice *input, enum encoder_goal goal, char *into,
                                    size_t room, size_t *written)
{
    static const ZSTD_EndDirective directives[] = {
        [ENCODER_TAKE] = ZSTD_e_continue, [ENCODER_FLUSH] = ZSTD_e_flush, [ENCODER_END] = ZSTD_e_end
    };
    ZSTD_inBuffer in = { input->at, input->length, 0 };
    ZSTD_outBuffer out = { into, room, 0 };
    size_t left = ZSTD_compressStream2(encoder->zstd, &out, &in, directives[goal]);
    if (ZSTD_isError(left)) return ENCODER_FAILED;
    *input = slice_after(*input, in.pos);
    *written = out.pos;
    bool done = goal == ENCODER_TAKE ? in.pos == in.size : left == 0;
    return done ? ENCODER_DONE : ENCODER_GOES_ON;
}

enum encoder_result encoder_run(struct encoder *encoder, struct slice *input, enum encoder_goal goal, char *into,
                                size_t room, size_t *written)
{
    *written = 0;
    switch (encoder->shape.coding) {
    case CODING_BROTLI: return run_brotli(encoder, input, goal, into, room, written);
    case CODING_ZSTD: return run_zstd(encoder, input, goal, into, room, written);
    default: return run_gzip(encoder, input, goal, into, room, written);
    }
}
