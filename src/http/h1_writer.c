/* From a pipe to a stream: heads, frames and what the pipe holds go out in one system call. The order on the wire is always
 *     head, frame, run (content from the pipe), tail
 * and a part is empty where it isn't due; chunked bodies go round from frame to tail. */
#include "http/h1_body.h"

#define WRITES_A_RUN 16
#define IOVEC_MAX (BODY_PIPE_PIECES + 3)
/* As much as a worker's kernel pipes hold. */
#define SPLICE_BYTES_MAX ((size_t)256 * 1024)

void h1_writer_init(struct h1_writer *writer, struct http_worker *worker, struct stream *stream, struct arena *arena)
{
    writer->worker = worker;
    writer->stream = stream;
    writer->arena = arena;
    writer->pipe = NULL;
    writer->head = writer->frame = writer->tail = SLICE_ABSENT;
    writer->run = 0;
    writer->sent = 0;
    writer->kernel = NULL;
    writer->framing = H1_FRAMING_NONE;
    writer->last = false;
}

static void give_kernel_pipe_back(struct h1_writer *writer)
{
    if (writer->kernel) kernel_pipes_give(writer->worker->kernel_pipes, writer->kernel);
    writer->kernel = NULL;
}

void h1_writer_release(struct h1_writer *writer)
{
    give_kernel_pipe_back(writer);
    if (writer->pipe) body_pipe_detach_consumer(writer->pipe);
    writer->pipe = NULL;
}

bool h1_writer_add_head(struct h1_writer *writer, struct slice head)
{
    if (writer->head.length > 0) head = arena_join(writer->arena, (struct slice[]){ writer->head, head }, 2);
    if (slice_is_absent(head)) return false;
    writer->head = head;
    return true;
}

void h1_writer_set_body(struct h1_writer *writer, struct body_pipe *pipe, enum h1_framing framing, uint64_t length,
                        struct task *task)
{
    writer->pipe = pipe;
    writer->framing = framing;
    if (framing == H1_FRAMING_LENGTH) writer->run = length;
    if (framing == H1_FRAMING_UNTIL_CLOSE) writer->run = BODY_LENGTH_UNKNOWN;
    body_pipe_attach_consumer(pipe, task);
    if (pipe->splice && framing != H1_FRAMING_LENGTH) body_pipe_decline_splice(pipe);
}

/* "0", the trailers, the empty line; behind the last content its CRLF comes first. */
static bool set_last_tail(struct h1_writer *writer, bool after_content)
{
    writer->last = true;
    struct headers *trailers = writer->pipe->trailers;
    if (!trailers) {
        writer->tail = after_content ? SLICE("\r\n0\r\n\r\n") : SLICE("0\r\n\r\n");
        return true;
    }
    char *start = arena_allocate(writer->arena, 2 + h1_trailer_size(trailers));
    if (!start) return false;
    char *at = after_content ? mempcpy(start, "\r\n", 2) : start;
    struct error error;
    char *end = h1_write_trailers(trailers, at, &error);
    if (!end) return false;
    writer->tail = slice_of(start, (size_t)(end - start));
    return true;
}

/* One chunk holds all that the ring holds. */
static bool begin_chunk(struct h1_writer *writer, size_t available)
{
    bool is_over = writer->pipe->state == BODY_FINISHED && available == writer->pipe->buffered;
    if (available == 0) return is_over ? set_last_tail(writer, false) : true;
    writer->frame = slice_of(writer->chunk_head, h1_write_chunk_head(available, writer->chunk_head));
    writer->run = available;
    writer->tail = SLICE("\r\n");
    return is_over ? set_last_tail(writer, true) : true;
}

static bool needs_frame(const struct h1_writer *writer)
{
    return writer->pipe && writer->framing == H1_FRAMING_CHUNKED && !writer->last && writer->run == 0 &&
           writer->tail.length == 0;
}

static int put_slice(struct iovec *pieces, int count, struct slice slice)
{
    if (slice.length == 0) return count;
    pieces[count] = (struct iovec){ (char *)slice.at, slice.length };
    return count + 1;
}

/* Returns how many pieces there are to write, their sum in *total; -1: the body can't be completed. */
static int gather(struct h1_writer *writer, struct iovec pieces[IOVEC_MAX], size_t *total)
{
    struct iovec content[BODY_PIPE_PIECES];
    int content_count = 0;
    size_t available = 0;
    if (writer->pipe) {
        content_count = body_pipe_peek(writer->pipe, content, BODY_PIPE_PIECES);
        for (int i = 0; i < content_count; i++) available += content[i].iov_len;
    }
    if (needs_frame(writer) && !begin_chunk(writer, available)) return -1;
    if (writer->framing == H1_FRAMING_LENGTH && available > writer->run) return -1;

    int count = put_slice(pieces, 0, writer->head);
    count = put_slice(pieces, count, writer->frame);
    size_t run = available < writer->run ? available : (size_t)writer->run, left = run;
    for (int i = 0; i < content_count && left > 0; i++) {
        size_t length = content[i].iov_len < left ? content[i].iov_len : left;
        pieces[count++] = (struct iovec){ content[i].iov_base, length };
        left -= length;
    }
    bool run_is_whole = run == writer->run;
    if (run_is_whole) count = put_slice(pieces, count, writer->tail);
    *total = writer->head.length + writer->frame.length + run + (run_is_whole ? writer->tail.length : 0);
    return count;
}

static size_t take_off(struct slice *slice, size_t length)
{
    size_t part = length < slice->length ? length : slice->length;
    if (part == 0) return length;
    *slice = slice_after(*slice, part);
    return length - part;
}

static void note_sent(struct h1_writer *writer, size_t moved)
{
    writer->sent += moved;
    moved = take_off(&writer->head, moved);
    moved = take_off(&writer->frame, moved);
    size_t content = moved < writer->run ? moved : (size_t)writer->run;
    if (content > 0) {
        body_pipe_consume(writer->pipe, content);
        if (writer->run != BODY_LENGTH_UNKNOWN) writer->run -= content;
    }
    take_off(&writer->tail, moved - content);
}

/* Nothing is left to write for now: is that the end? */
static enum h1_write_result judge_pause(const struct h1_writer *writer)
{
    const struct body_pipe *pipe = writer->pipe;
    if (!pipe) return H1_WRITE_DONE;
    if (writer->framing == H1_FRAMING_CHUNKED) return writer->last ? H1_WRITE_DONE : H1_WRITE_STARVED;
    if (!body_pipe_is_drained(pipe)) return H1_WRITE_STARVED;
    return writer->framing == H1_FRAMING_LENGTH && writer->run > 0 ? H1_WRITE_CUT : H1_WRITE_DONE;
}

static bool may_begin_splice(struct h1_writer *writer)
{
    return writer->pipe && writer->framing == H1_FRAMING_LENGTH && writer->run > 0 &&
           stream_can_splice(writer->stream) && body_pipe_may_splice(writer->pipe);
}

static bool take_kernel_pipe(struct h1_writer *writer)
{
    if (!writer->kernel) writer->kernel = kernel_pipes_take(writer->worker->kernel_pipes);
    if (!writer->kernel) return false;
    writer->pipe->spliced = true;
    return true;
}

/* One round: fill the kernel pipe if it is empty, empty it as far as the stream takes it. */
static enum h1_write_result splice_once(struct h1_writer *writer)
{
    struct kernel_pipe *kernel = writer->kernel;
    size_t moved;
    if (kernel->held == 0) {
        size_t limit = writer->run < SPLICE_BYTES_MAX ? (size_t)writer->run : SPLICE_BYTES_MAX;
        if (!writer->pipe->splice->move(writer->pipe, kernel->write_end, limit, &moved))
            return writer->pipe->count > 0 ? H1_WRITE_AGAIN : H1_WRITE_STARVED;
        kernel->held = moved;
    }
    bool more_follows = writer->run > kernel->held;
    switch (stream_splice_to(writer->stream, kernel->read_end, kernel->held, more_follows, &moved)) {
    case STREAM_OK: break;
    case STREAM_WAIT: return H1_WRITE_BLOCKED;
    default: return H1_WRITE_FAILED;
    }
    kernel->held -= moved;
    writer->run -= moved;
    writer->sent += moved;
    return H1_WRITE_AGAIN;
}

static enum h1_write_result go_on_or_end(struct h1_writer *writer)
{
    if (may_begin_splice(writer)) {
        if (take_kernel_pipe(writer)) return splice_once(writer);
        body_pipe_decline_splice(writer->pipe);
    }
    enum h1_write_result result = judge_pause(writer);
    if (result == H1_WRITE_DONE) h1_writer_release(writer);
    return result;
}

/* What stands in the kernel pipe is older than any piece. H1_WRITE_AGAIN: there may be more to write. */
static enum h1_write_result write_once(struct h1_writer *writer)
{
    struct iovec pieces[IOVEC_MAX];
    size_t total, moved;
    if (writer->kernel && writer->kernel->held > 0) return splice_once(writer);
    int count = gather(writer, pieces, &total);
    if (count < 0) return H1_WRITE_CUT;
    if (count == 0) return go_on_or_end(writer);
    switch (stream_write(writer->stream, pieces, count, &moved)) {
    case STREAM_OK: note_sent(writer, moved); return moved < total ? H1_WRITE_BLOCKED : H1_WRITE_AGAIN;
    case STREAM_WAIT: return H1_WRITE_BLOCKED;
    default: return H1_WRITE_FAILED;
    }
}

enum h1_write_result h1_writer_run(struct h1_writer *writer)
{
    for (int i = 0; i < WRITES_A_RUN; i++) {
        if (writer->pipe && writer->pipe->state == BODY_ABORTED) return H1_WRITE_CUT;
        enum h1_write_result result = write_once(writer);
        if (result != H1_WRITE_AGAIN) return result;
    }
    return H1_WRITE_AGAIN;
}
