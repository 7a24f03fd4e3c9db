/* From a stream into a pipe. Content goes on as slices of the slab it was read into; only small chunks are moved, down to the
 * content before them, so that a body of many small chunks doesn't use up the pipe's pieces. */
#include "http/h1_body.h"

/* Of one body, before others get their turn. Sender and receiver may both be faster than we are: then only this ends the turn, as
 * credit that is given back in it starts the reader anew. */
#define READS_A_TURN 16
/* A slab with less room than this is left for a new one, unless less is still to come. */
#define ROOM_BYTES_MIN 8192
/* Read beyond a body of known length, so that a read that gets exactly the body is a short one: the stream is known to be drained, and
 * what follows (the next request, or garbage) comes along. */
#define BYTES_BEYOND 1024
/* Chunks up to this size are moved to their neighbour; longer ones are worth a piece. */
#define CLOSE_UP_BYTES_MAX 2048
#define SPLICE_PATIENCE 6

void h1_input_drop(struct h1_input *input)
{
    slab_drop(input->slab);
    input->slab = NULL;
    input->start = 0;
}

void h1_input_shrink(struct h1_input *input, struct slab_pool *slabs)
{
    struct slice bytes = h1_input_bytes(input);
    if (bytes.length == 0) {
        h1_input_drop(input);
        return;
    }
    if (input->slab->class <= SLAB_SMALL || bytes.length > SLAB_SMALL_BYTES / 2) return;
    struct slab *fresh = slab_take(slabs, SLAB_SMALL);
    if (!fresh) return;
    memcpy(fresh->bytes, bytes.at, bytes.length);
    fresh->filled = (uint32_t)bytes.length;
    h1_input_drop(input);
    input->slab = fresh;
}

enum stream_result h1_input_read(struct h1_input *input, struct stream *stream, size_t limit)
{
    struct slab *slab = input->slab;
    size_t room = slab->size - slab->filled, moved;
    PROMISE(room > 0);
    enum stream_result result = stream_read(stream, slab->bytes + slab->filled, room < limit ? room : limit, &moved);
    slab->filled += (uint32_t)moved;
    return result;
}

static bool splice_move(struct body_pipe *, int kernel_pipe, size_t limit, size_t *moved);

static const struct body_splice splice_offer = { .move = splice_move };

void h1_reader_init(struct h1_reader *reader, struct http_worker *worker, struct stream *stream, struct h1_input *input,
                    struct body_pipe *pipe, const struct h1_limits *limits, bool chunked, uint64_t length,
                    struct arena *arena)
{
    reader->worker = worker;
    reader->stream = stream;
    reader->input = input;
    reader->pipe = pipe;
    reader->limits = limits;
    reader->remaining = chunked ? 0 : length;
    reader->content_max = UINT64_MAX;
    reader->content = 0;
    reader->discard_max = reader->discarded = 0;
    reader->wire_bytes = 0;
    reader->moved_ms = worker->loop->now_ms;
    reader->content_end = NULL;
    reader->is_chunked = chunked;
    reader->over = reader->was_filled = false;
    reader->splice_patience = 0;
    reader->reads = (struct turn_share){ 0 };
    if (chunked) h1_chunked_init(&reader->chunked);
    headers_init(&reader->trailers, arena);
    reader->connection_options = SLICE_ABSENT;
    reader->reserve = NULL;
    reader->total = NULL;
}

void h1_reader_offer_splice(struct h1_reader *reader, uint32_t splice_bytes_min)
{
    bool is_long = splice_bytes_min && !reader->is_chunked && reader->remaining != BODY_LENGTH_UNKNOWN &&
                   reader->remaining >= h1_input_bytes(reader->input).length + splice_bytes_min;
    if (!is_long || !reader->worker->kernel_pipes || !stream_can_splice(reader->stream)) return;
    reader->pipe->splice = &splice_offer;
    reader->pipe->producer = reader;
    reader->splice_patience = SPLICE_PATIENCE;
}

static void count_wire_bytes(struct h1_reader *reader, size_t length)
{
    reader->wire_bytes += length;
    if (reader->total) *reader->total += length;
}

static bool is_until_close(const struct h1_reader *reader)
{
    return !reader->is_chunked && reader->remaining == BODY_LENGTH_UNKNOWN;
}

/* How much of `wanted` may go on now; 0: *why. */
static size_t allowance(struct h1_reader *reader, size_t wanted, enum h1_read_result *why)
{
    if (body_pipe_is_stopped(reader->pipe)) {
        *why = H1_READ_UNWANTED;
        uint64_t left = reader->discard_max - reader->discarded;
        return wanted < left ? wanted : (size_t)left;
    }
    *why = H1_READ_NO_CREDIT;
    size_t credit = body_pipe_credit(reader->pipe);
    return wanted < credit ? wanted : credit;
}

static void pass_on(struct h1_reader *reader, const char *at, size_t length)
{
    reader->content += length;
    if (body_pipe_is_stopped(reader->pipe)) {
        reader->discarded += length;
        return;
    }
    slab_retain(reader->input->slab);
    body_pipe_push(reader->pipe, reader->input->slab, at, length);
}

/* Between the end of the last run and this one stand only chunk frames, which nobody needs any more. */
static const char *close_up(struct h1_reader *reader, struct slice content)
{
    char *at = reader->input->slab->bytes + (content.at - reader->input->slab->bytes);
    if (reader->content_end && content.length <= CLOSE_UP_BYTES_MAX && reader->pipe->count > 0) {
        at = reader->content_end;
        memmove(at, content.at, content.length);
    }
    reader->content_end = at + content.length;
    return at;
}

/* The consumer may get to the end long after the session has gone on to its next message, and the reader with it: so the pipe
 * gets a list of its own, in the exchange's arena. Where memory is short they are left out (RFC 9110 6.5.1). */
static struct headers *keep_trailers(struct h1_reader *reader)
{
    headers_remove_options(&reader->trailers, reader->connection_options);
    if (!headers_next(&reader->trailers, NULL)) return NULL;
    struct headers *trailers = arena_allocate(reader->trailers.arena, sizeof *trailers);
    if (trailers) *trailers = reader->trailers;
    return trailers;
}

static enum h1_read_result finish(struct h1_reader *reader)
{
    reader->over = true;
    body_pipe_finish(reader->pipe, keep_trailers(reader));
    return H1_READ_OVER;
}

static enum h1_read_result pass_chunks_on(struct h1_reader *reader, struct error *error)
{
    struct slice bytes;
    while ((bytes = h1_input_bytes(reader->input)).length > 0) {
        enum h1_read_result why;
        size_t length = allowance(reader, bytes.length, &why), consumed;
        if (length == 0) return why;
        struct slice content;
        enum h1_chunk_result result = h1_chunked_read(&reader->chunked, bytes.at, length, &consumed, &content,
                                                      &reader->trailers, reader->limits, error);
        reader->input->start += (uint32_t)consumed;
        count_wire_bytes(reader, consumed);
        if (result == H1_CHUNK_BAD) return H1_READ_BAD;
        if (result == H1_CHUNK_END) return finish(reader);
        if (result != H1_CHUNK_DATA) continue;
        if (content.length > reader->content_max - reader->content) {
            error_set(error, BLAME_CLIENT, RETRY_NEVER, 413, "body-too-large", "a body of more than %llu bytes",
                      (unsigned long long)reader->content_max);
            return H1_READ_BAD;
        }
        pass_on(reader, close_up(reader, content), content.length);
    }
    return H1_READ_WAIT;
}

static enum h1_read_result pass_input_on(struct h1_reader *reader, struct error *error)
{
    if (reader->is_chunked) return pass_chunks_on(reader, error);
    struct slice bytes;
    while (reader->remaining > 0 && (bytes = h1_input_bytes(reader->input)).length > 0) {
        size_t wanted = bytes.length < reader->remaining ? bytes.length : (size_t)reader->remaining;
        enum h1_read_result why;
        size_t length = allowance(reader, wanted, &why);
        if (length == 0) return why;
        pass_on(reader, bytes.at, length);
        reader->input->start += (uint32_t)length;
        count_wire_bytes(reader, length);
        if (!is_until_close(reader)) reader->remaining -= length;
    }
    return reader->remaining == 0 ? finish(reader) : H1_READ_WAIT;
}

/* Half of the worker's memory is in use: those who hold it for long (slow readers) must not starve the others, so each body now makes
 * do with one small slab at a time. */
static bool memory_is_tight(const struct slab_pool *slabs) { return memory_ceiling_is_beyond(slabs->ceiling, 8); }

struct slab *h1_take_slab(struct slab_pool *slabs, enum slab_class class)
{
    if (memory_is_tight(slabs)) {
        if (memory_ceiling_is_beyond(slabs->ceiling, 14)) return NULL;
        enum slab_class most = memory_ceiling_is_beyond(slabs->ceiling, 12) ? SLAB_TINY : SLAB_SMALL;
        if (class > most) class = most;
    }
    struct slab *slab = slab_take(slabs, class);
    return slab || class == SLAB_TINY ? slab : slab_take(slabs, SLAB_TINY);
}

/* Small credit while much is still buffered would make small reads: better wait for more of it. */
static bool has_credit_worth_a_read(struct h1_reader *reader)
{
    struct body_pipe *pipe = reader->pipe;
    if (body_pipe_is_stopped(pipe)) return true;
    size_t credit = body_pipe_credit(pipe);
    if (credit == 0) return false;
    bool must_drain = memory_is_tight(reader->worker->slabs) && pipe->buffered > 0;
    if (!must_drain && (credit >= pipe->window / 4 || pipe->buffered <= pipe->window / 2)) return true;
    pipe->credit_wanted = true;
    return false;
}

/* As large as what is known to come, or, where nothing is known, as the last read suggests. */
static enum slab_class class_for_next_read(const struct h1_reader *reader)
{
    if (reader->is_chunked || is_until_close(reader)) return reader->was_filled ? SLAB_MEDIUM : SLAB_SMALL;
    return reader->remaining > SLAB_SMALL_BYTES ? SLAB_MEDIUM : SLAB_SMALL;
}

/* Worth a read, or all that is still to come. */
static size_t room_wanted(const struct h1_reader *reader, const struct slab *slab)
{
    size_t wanted = slab->size / 2 < ROOM_BYTES_MIN ? slab->size / 2 : ROOM_BYTES_MIN;
    return !reader->is_chunked && reader->remaining < wanted ? (size_t)reader->remaining : wanted;
}

/* A slab that everybody else has dropped is used again from its start: its bytes are still in the processor's cache. At the ceiling what
 * is left of the old one is used up, then the reserve. */
static bool make_room(struct h1_reader *reader)
{
    struct h1_input *input = reader->input;
    struct slab *slab = input->slab;
    if (slab && slab->references == 1) {
        slab->filled = input->start = 0;
        reader->content_end = NULL;
    }
    if (slab && slab->size - slab->filled >= room_wanted(reader, slab)) return true;

    struct slab *fresh = h1_take_slab(reader->worker->slabs, class_for_next_read(reader));
    if (!fresh && slab && slab->filled < slab->size) return true;
    h1_input_drop(input);
    reader->content_end = NULL;
    if (!fresh && reader->reserve) fresh = slab_reserve_take(reader->reserve);
    input->slab = fresh;
    return fresh != NULL;
}

/* What the reserve gave is still in the pipe: it will be free when that is empty. */
static enum h1_read_result wait_for_room(struct h1_reader *reader)
{
    if (reader->pipe->buffered == 0) return H1_READ_NO_MEMORY;
    reader->pipe->credit_wanted = true;
    return H1_READ_NO_CREDIT;
}

static enum h1_read_result read_more(struct h1_reader *reader)
{
    if (!reader->stream->may_read) return reader->stream->failed ? H1_READ_TRUNCATED : H1_READ_WAIT;
    if (!make_room(reader)) return wait_for_room(reader);
    size_t room = reader->input->slab->size - reader->input->slab->filled, limit = room;
    if (!reader->is_chunked && reader->remaining < room) limit = (size_t)reader->remaining + BYTES_BEYOND;
    switch (h1_input_read(reader->input, reader->stream, limit)) {
    case STREAM_OK:
        reader->moved_ms = reader->worker->loop->now_ms;
        reader->was_filled = reader->input->slab->filled == reader->input->slab->size;
        return H1_READ_AGAIN;
    case STREAM_WAIT: return H1_READ_WAIT;
    case STREAM_END: return is_until_close(reader) ? finish(reader) : H1_READ_TRUNCATED;
    case STREAM_FAIL: break;
    }
    return H1_READ_TRUNCATED;
}

static bool has_used_up_turn(struct h1_reader *reader)
{
    return turn_share_use(&reader->reads, reader->worker->loop) >= READS_A_TURN;
}

/* Only who waits for bytes is told of them. Of two bodies that cross, each with bytes to come and no room to go, the sessions would
 * else wake one another without end, all in one turn. */
static void tell_starved_consumer(const struct h1_reader *reader)
{
    struct body_pipe *pipe = reader->pipe;
    if (pipe->starved && reader->stream->may_read && pipe->consumer_task) loop_enqueue(pipe->loop, pipe->consumer_task);
}

enum h1_read_result h1_reader_run(struct h1_reader *reader, struct error *error)
{
    if (reader->over) return H1_READ_OVER;
    for (;;) {
        enum h1_read_result result = pass_input_on(reader, error);
        if (result != H1_READ_WAIT) return result;
        if (reader->pipe->spliced) {
            tell_starved_consumer(reader);
            return H1_READ_WAIT;
        }
        if (reader->pipe->splice && reader->splice_patience > 0) {
            reader->splice_patience--;
            return H1_READ_AGAIN;
        }
        if (!has_credit_worth_a_read(reader)) return H1_READ_NO_CREDIT;
        if (has_used_up_turn(reader)) return H1_READ_AGAIN;
        result = read_more(reader);
        if (result != H1_READ_AGAIN) return result;
    }
}

static bool splice_move(struct body_pipe *pipe, int kernel_pipe, size_t limit, size_t *moved)
{
    struct h1_reader *reader = pipe->producer;
    bool was_starved = pipe->starved;
    *moved = 0;
    pipe->starved = false;
    if (h1_input_is_empty(reader->input)) {
        size_t wanted = limit < reader->remaining ? limit : (size_t)reader->remaining;
        switch (stream_splice_from(reader->stream, kernel_pipe, wanted, moved)) {
        case STREAM_OK:
            reader->remaining -= *moved;
            reader->content += *moved;
            count_wire_bytes(reader, *moved);
            reader->moved_ms = reader->worker->loop->now_ms;
            pipe->pushed += *moved;
            if (reader->remaining == 0) {
                finish(reader);
                if (pipe->producer_task) loop_enqueue(pipe->loop, pipe->producer_task);
            }
            return true;
        case STREAM_WAIT:
            pipe->starved = true;
            if (!was_starved) reader->moved_ms = reader->worker->loop->now_ms;
            return false;
        case STREAM_END:
        case STREAM_FAIL: break;
        }
        /* The session reads the end once more, by itself, and judges it. */
        pipe->splice = NULL;
        pipe->spliced = false;
    }
    if (pipe->producer_task) loop_enqueue(pipe->loop, pipe->producer_task);
    return false;
}
