#include "http/h2_output.h"

#include <stdlib.h>

/* Less content than this is copied behind its frame's head: cheaper than another piece for the kernel to look at. */
#define COPY_BYTES_MAX 1024

struct h2_rest {
    size_t bytes; /* of this memory */
    int first, count;
    struct iovec pieces[H2_PIECES];
    struct slab *slabs[H2_PIECES];
    char text[];
};

void h2_output_init(struct h2_output *output, struct stream *stream, struct memory_ceiling *ceiling)
{
    *output = (struct h2_output){ .stream = stream, .ceiling = ceiling };
}

/* --- what waits --- */

static void free_rest(struct h2_output *output)
{
    struct h2_rest *rest = output->rest;
    output->rest = NULL;
    memory_ceiling_give(output->ceiling, rest->bytes);
    free(rest);
}

void h2_output_release(struct h2_output *output)
{
    struct h2_rest *rest = output->rest;
    if (!rest) return;
    for (int i = rest->first; i < rest->count; i++) slab_drop(rest->slabs[i]);
    free_rest(output);
}

/* Returns the index of the first piece that isn't written whole; what is left of that one stays in it. */
static int pass_written(struct iovec *pieces, struct slab **slabs, int first, int count, size_t moved)
{
    for (; first < count && moved >= pieces[first].iov_len; first++) {
        moved -= pieces[first].iov_len;
        slab_drop(slabs[first]);
    }
    if (first < count) {
        pieces[first].iov_base = (char *)pieces[first].iov_base + moved;
        pieces[first].iov_len -= moved;
    }
    return first;
}

enum stream_result h2_output_go_on(struct h2_output *output)
{
    struct h2_rest *rest = output->rest;
    size_t moved;
    enum stream_result result = stream_write(output->stream, rest->pieces + rest->first, rest->count - rest->first,
                                             &moved);
    if (result != STREAM_OK) return result;
    output->written += moved;
    rest->first = pass_written(rest->pieces, rest->slabs, rest->first, rest->count, moved);
    if (rest->first < rest->count) return STREAM_WAIT;
    free_rest(output);
    return STREAM_OK;
}

static size_t text_bytes_from(const struct h2_gathering *gathering, int first)
{
    size_t bytes = 0;
    for (int i = first; i < gathering->count; i++) {
        if (!gathering->slabs[i]) bytes += gathering->pieces[i].iov_len;
    }
    return bytes;
}

/* It counts under the ceiling, but isn't held back by it: what nghttp2 has made can't be made again. */
static bool keep_rest(struct h2_output *output, struct h2_gathering *gathering, int first)
{
    size_t bytes = sizeof(struct h2_rest) + text_bytes_from(gathering, first);
    struct h2_rest *rest = malloc(bytes);
    if (!rest) return false;
    rest->bytes = bytes;
    rest->first = rest->count = 0;
    char *text = rest->text;
    for (int i = first; i < gathering->count; i++) {
        struct iovec piece = gathering->pieces[i];
        if (!gathering->slabs[i]) {
            char *copy = text;
            text = mempcpy(copy, piece.iov_base, piece.iov_len);
            piece.iov_base = copy;
        }
        rest->slabs[rest->count] = gathering->slabs[i];
        rest->pieces[rest->count++] = piece;
    }
    if (output->ceiling) output->ceiling->taken += bytes;
    output->rest = rest;
    return true;
}

/* --- gathering --- */

void h2_gathering_init(struct h2_gathering *gathering)
{
    gathering->count = 0;
    gathering->text_length = 0;
    gathering->total = 0;
}

void h2_gathering_drop(struct h2_gathering *gathering)
{
    for (int i = 0; i < gathering->count; i++) slab_drop(gathering->slabs[i]);
    h2_gathering_init(gathering);
}

/* A DATA frame may take all of a pipe's pieces and one for its head. */
bool h2_gathering_has_room(const struct h2_gathering *gathering)
{
    return gathering->total < H2_GATHER_BYTES && gathering->count + BODY_PIPE_PIECES + 1 <= H2_PIECES &&
           gathering->text_length + H2_FRAME_BYTES_MAX <= H2_TEXT_BYTES;
}

static void add_text(struct h2_gathering *gathering, const void *bytes, size_t length)
{
    char *at = gathering->text + gathering->text_length;
    memcpy(at, bytes, length);
    gathering->text_length += (uint32_t)length;
    gathering->total += length;
    struct iovec *last = gathering->count ? &gathering->pieces[gathering->count - 1] : NULL;
    if (last && !gathering->slabs[gathering->count - 1]) {
        last->iov_len += length; /* text follows on text */
        return;
    }
    gathering->slabs[gathering->count] = NULL;
    gathering->pieces[gathering->count++] = (struct iovec){ at, length };
}

static void add_slab(struct h2_gathering *gathering, struct slab *slab, const char *at, size_t length)
{
    slab_retain(slab);
    gathering->slabs[gathering->count] = slab;
    gathering->pieces[gathering->count++] = (struct iovec){ (char *)at, length };
    gathering->total += length;
}

void h2_gather(struct h2_output *output, struct h2_gathering *gathering, const void *bytes, size_t length)
{
    PROMISE(length <= H2_TEXT_BYTES - gathering->text_length);
    if (length > 0) add_text(gathering, bytes, length);
    output->gathered += length;
}

/* Bytes in no slab belong to the exchange, which may end while they wait: they are copied. */
void h2_gather_content(struct h2_output *output, struct h2_gathering *gathering, const void *frame_head,
                       struct body_pipe *pipe, size_t length)
{
    h2_gather(output, gathering, frame_head, H2_FRAME_HEAD_BYTES);
    output->gathered += length;
    for (size_t left = length; left > 0;) {
        const struct body_piece *piece = body_pipe_first(pipe);
        size_t part = piece->length < left ? piece->length : left;
        if (!piece->slab || length <= COPY_BYTES_MAX)
            add_text(gathering, piece->at, part);
        else
            add_slab(gathering, piece->slab, piece->at, part);
        left -= part;
        body_pipe_consume(pipe, part);
    }
}

enum stream_result h2_output_write(struct h2_output *output, struct h2_gathering *gathering)
{
    size_t moved;
    if (gathering->count == 0) return STREAM_OK;
    enum stream_result result = stream_write(output->stream, gathering->pieces, gathering->count, &moved);
    output->written += moved;
    int first = pass_written(gathering->pieces, gathering->slabs, 0, gathering->count, moved);
    bool is_kept = false;
    if (first < gathering->count && result != STREAM_FAIL) {
        result = STREAM_WAIT;
        is_kept = keep_rest(output, gathering, first);
        if (!is_kept) result = STREAM_FAIL;
    }
    if (!is_kept) {
        for (int i = first; i < gathering->count; i++) slab_drop(gathering->slabs[i]);
    }
    h2_gathering_init(gathering);
    return result;
}
