/* http/h1_body.h: private to this room: a body from a stream into a pipe and from a pipe to a stream, as HTTP/1.1 frames it.
 * Both sessions use both: the server reads request bodies and writes answers, the client the other way round.
 *
 * Neither side calls into an owner: each call moves what can be moved now and says why it stopped. */
#ifndef SLUICE_HTTP_H1_BODY_H
#define SLUICE_HTTP_H1_BODY_H

#include "event/stream.h"
#include "http/body_pipe.h"
#include "http/h1.h"
#include "http/h1_client.h"
#include "http/kernel_pipes.h"

/* What was read from a connection and not parsed yet: the bytes of the slab from `start` to slab->filled. Pipes and heads hold their
 * own references to the slab, so it is dropped here as soon as the next read goes elsewhere. */
struct h1_input {
    struct slab *slab; /* one reference; NULL: nothing is held */
    uint32_t start;
};

static inline struct slice h1_input_bytes(const struct h1_input *input)
{
    return input->slab ? slice_of(input->slab->bytes + input->start, input->slab->filled - input->start) : SLICE_ABSENT;
}

static inline bool h1_input_is_empty(const struct h1_input *input)
{
    return !input->slab || input->start == input->slab->filled;
}

void h1_input_drop(struct h1_input *);
/* A slab to read into: of `class` at most, of a smaller one as more of the worker's memory is in use. NULL where the rest of it is for
 * requests that are not let in yet and for arenas: a reserve is the way on then. */
struct slab *h1_take_slab(struct slab_pool *, enum slab_class) MUST_USE;
/* After a body: what follows it is kept, but not in a slab of the body's size where a small one will do. */
void h1_input_shrink(struct h1_input *, struct slab_pool *);
/* Reads once behind what is there; the slab must have room. As stream_read. */
enum stream_result h1_input_read(struct h1_input *, struct stream *, size_t limit) MUST_USE;

enum h1_read_result {
    H1_READ_WAIT,      /* all that has come was passed on; the stream's event will tell */
    H1_READ_NO_CREDIT, /* the pipe's producer_task will tell */
    H1_READ_NO_MEMORY, /* malloc fails, or others than the pipe hold what the reserve gave: again in a while */
    H1_READ_AGAIN,     /* this turn's share is used up: again in the next one */
    H1_READ_OVER,      /* the body is whole, the pipe finished; the input may hold what follows */
    H1_READ_TRUNCATED, /* the peer finished or broke off in the middle */
    H1_READ_BAD,       /* framing or size: *error is filled */
    H1_READ_UNWANTED,  /* the consumer stopped and more than discard_max would have to be read away */
};

struct h1_reader {
    struct http_worker *worker;
    struct stream *stream;
    struct h1_input *input;
    struct body_pipe *pipe;
    const struct h1_limits *limits;
    uint64_t remaining;   /* of the content; BODY_LENGTH_UNKNOWN: until the connection ends. Not with `chunked` */
    uint64_t content_max; /* 413 beyond */
    uint64_t content;     /* passed on or discarded */
    uint64_t discard_max, discarded;
    uint64_t wire_bytes; /* taken from the stream, framing included */
    uint64_t moved_ms;   /* loop time of the last progress, or since when the peer is who is waited for */
    char *content_end;   /* of the last run of content in the input's slab; for small chunks to close up to */
    bool is_chunked, over, was_filled;
    uint8_t splice_patience; /* rounds left for the consumer to take the splice offer */
    struct turn_share reads;
    struct h1_chunked chunked;
    struct headers trailers;
    /* Set after init: */
    struct slice connection_options; /* of the message's head: what they name is no trailer */
    struct slab_reserve *reserve;    /* what to go on with at the ceiling; NULL: none */
    uint64_t *total;                 /* grows as wire_bytes does, by whichever side it was moved; NULL: nobody's */
};

/* `length` as in the head; BODY_LENGTH_UNKNOWN and not chunked: until the connection ends. Trailers go to `arena`. The caller
 * has set the pipe's producer_task. */
void h1_reader_init(struct h1_reader *, struct http_worker *, struct stream *, struct h1_input *, struct body_pipe *,
                    const struct h1_limits *, bool chunked, uint64_t length, struct arena *);
/* Offers the rest to splice(2) where it is long enough; splice_bytes_min 0: never. */
void h1_reader_offer_splice(struct h1_reader *, uint32_t splice_bytes_min);
/* Never aborts the pipe: whose fault it is says the caller. */
enum h1_read_result h1_reader_run(struct h1_reader *, struct error *) MUST_USE;

enum h1_write_result {
    H1_WRITE_DONE,    /* everything was handed to the kernel */
    H1_WRITE_BLOCKED, /* the stream's event will tell */
    H1_WRITE_STARVED, /* the pipe's consumer_task will tell */
    H1_WRITE_AGAIN,   /* this turn's share is used up: again in the next one */
    H1_WRITE_FAILED,  /* the stream is broken */
    H1_WRITE_CUT,     /* the body aborted, or is not as long as was announced: the message can't be completed */
};

struct h1_writer {
    struct http_worker *worker;
    struct stream *stream;
    struct arena *arena;
    struct body_pipe *pipe; /* NULL: no body */
    struct slice head;      /* what is left of the heads, in the arena */
    struct slice frame;     /* what is left of a chunk's head */
    uint64_t run;           /* content before the next frame or the end; BODY_LENGTH_UNKNOWN: until close */
    struct slice tail;      /* what follows the chunk's content */
    uint64_t sent;          /* bytes handed to the kernel, heads included */
    struct kernel_pipe *kernel;
    enum h1_framing framing;
    bool last; /* the last chunk is in `tail` or gone */
    char chunk_head[H1_CHUNK_HEAD_BYTES];
};

void h1_writer_init(struct h1_writer *, struct http_worker *, struct stream *, struct arena *);
/* Detaches from the pipe and gives the kernel pipe back. Safe to call twice. */
void h1_writer_release(struct h1_writer *);
/* `head` is in the arena; false when memory is short for putting it behind another one that isn't out yet. */
bool h1_writer_add_head(struct h1_writer *, struct slice head) MUST_USE;
/* The body that follows; the task hears of new bytes. */
void h1_writer_set_body(struct h1_writer *, struct body_pipe *, enum h1_framing, uint64_t length, struct task *);
enum h1_write_result h1_writer_run(struct h1_writer *) MUST_USE;

#endif
