/* http/body_pipe.h: a body on its way: one producer, one consumer, one worker; credit instead of buffers without end.
 *
 * The producer asks body_pipe_credit() and pushes at most that many bytes as slices of slabs; the consumer looks at the
 * pieces in place and consumes what it has passed on. Each side has a task that is put on the run queue:
 *   consumer_task   new bytes, the end, or an abort
 *   producer_task   credit after it had run out, or the consumer stopped
 * Neither is ever run inside the other's call. After body_pipe_detach_*() that side's task is never queued again (one that is
 * queued already still runs, unless its owner takes it off the run queue).
 *
 * The pipe holds one slab reference a piece. A pipe with no stage or tee on it may carry the producer's offer to move the
 * bytes inside the kernel (splice): bytes then never appear as pieces. The pipe's memory belongs to whoever initialised it. */
#ifndef SLUICE_HTTP_BODY_PIPE_H
#define SLUICE_HTTP_BODY_PIPE_H

#include "base/error.h"
#include "base/slab.h"
#include "event/loop.h"
#include "http/headers.h"
#include "http/message.h"

#define BODY_PIPE_PIECES 16
#define BODY_PIPE_WINDOW_BYTES (64 * 1024u)

struct body_piece {
    struct slab *slab; /* NULL: static bytes, or the arena's of an exchange that outlives the pipe */
    const char *at;
    size_t length;
};

enum body_pipe_state {
    BODY_OPEN,
    BODY_FINISHED, /* all of it was pushed; pieces may still wait */
    BODY_ABORTED,  /* it will never be whole: pieces are gone, see `failure` */
};

struct body_pipe;

/* The producer's offer to move bytes from its socket into a kernel pipe. */
struct body_splice {
    /* At most `limit` bytes, into an empty kernel pipe. False: nothing moved; the consumer looks at pieces and state again and, where
     * they say nothing new, waits for its task. */
    bool (*move)(struct body_pipe *, int kernel_pipe, size_t limit, size_t *moved);
};

/* What of a body's trailers may pass: whoever cleans a head cleans them by the same rule. Embedded in its owner. */
struct body_trailer_rule {
    void (*clean)(const struct body_trailer_rule *, struct headers *trailers);
};

/* Somebody who looks at a body's bytes as they are pushed and says how many of them go on; what is left is dropped. It is called inside
 * the push, so it may only note what it saw. Embedded in its owner. */
struct body_watch {
    size_t (*pass)(struct body_watch *, const char *at, size_t length);
};

struct body_tee;
struct body_replay;

struct body_pipe {
    struct loop *loop;
    struct task *consumer_task, *producer_task; /* NULL: nobody to tell (yet) */
    struct body_pipe *original;                 /* of a tee's copy; NULL: no copy, or the original has gone */
    uint64_t expected;                          /* length of the whole body, or BODY_LENGTH_UNKNOWN */
    uint64_t pushed;                            /* so far, spliced bytes included */
    uint32_t buffered;                          /* pushed and not consumed */
    uint32_t window;                            /* credit is window - buffered while pieces are free */
    uint8_t first, count;                       /* ring of pieces */
    uint8_t state;                              /* enum body_pipe_state */
    bool stopped;                               /* the consumer wants no more; pushes are dropped, credit is 0 */
    bool attached;                              /* a consumer has begun: see body_pipe_attach_consumer */
    bool spliced;             /* the consumer took the offer: the producer pushes nothing, it only tells of bytes */
    bool starved;             /* spliced: at the last move the producer had nothing; it isn't the consumer who waits */
    bool credit_wanted;       /* the producer found none and waits */
    struct headers *trailers; /* set by finish; NULL: none */
    const struct body_trailer_rule *trailer_rule; /* NULL: none */
    /* NULL: nobody. Set before anything is pushed, or later by who also looks at what is there and declines the offer to splice. */
    struct body_watch *watch;
    const struct body_splice *splice; /* the producer's offer; NULL: none */
    void *producer;                   /* for body_splice's callee */
    struct body_tee *tees;
    struct body_replay *replay;
    struct body_piece pieces[BODY_PIPE_PIECES];
    struct error failure; /* set by abort */
};

void body_pipe_init(struct body_pipe *, struct loop *, uint64_t expected);
/* Drops the pieces that are left; both sides must have detached or be done. */
void body_pipe_release(struct body_pipe *);

/* Producer. */
/* Bytes that may be pushed now; 0 also marks that the producer waits for its task. */
size_t body_pipe_credit(struct body_pipe *);
/* Takes over one reference of `slab`. After a credit > 0, asked for each push; neighbours in one slab become one piece. */
void body_pipe_push(struct body_pipe *, struct slab *, const char *at, size_t length);
/* How much body_pipe_push_copy can put behind the last piece without a new slab. */
size_t body_pipe_tail_room(const struct body_pipe *);
/* Copies into the tail piece's slab or a new one; for small bytes that are not in a slab. False: no memory (then abort). */
bool body_pipe_push_copy(struct body_pipe *, struct slab_pool *, struct slice bytes) MUST_USE;
void body_pipe_finish(struct body_pipe *, struct headers *trailers_or_null);
void body_pipe_abort(struct body_pipe *, const struct error *);
void body_pipe_detach_producer(struct body_pipe *);
static inline bool body_pipe_is_stopped(const struct body_pipe *pipe) { return pipe->stopped; }

/* Consumer. */
/* The rule is applied when the trailers are there, now or later; it must hold as long as somebody may consume the pipe. It is not
 * called any more once the consumer has stopped. */
void body_pipe_set_trailer_rule(struct body_pipe *, const struct body_trailer_rule *);
/* Begins: sets consumer_task and tells the producer that somebody wants the bytes, which is when a client that waits for
 * 100 (Continue) is asked for them. What is in the pipe already queues no task: look. */
void body_pipe_attach_consumer(struct body_pipe *, struct task *);
/* The pieces in order as iovecs; returns how many (<= limit). They hold until consumed. */
struct iovec;
int body_pipe_peek(const struct body_pipe *, struct iovec *into, int limit);
/* The first piece; it holds until consumed. NULL: there is none. */
static inline const struct body_piece *body_pipe_first(const struct body_pipe *pipe)
{
    return pipe->count ? &pipe->pieces[pipe->first] : NULL;
}
void body_pipe_consume(struct body_pipe *, size_t length);
/* Over, and nothing is left to consume. */
static inline bool body_pipe_is_drained(const struct body_pipe *pipe)
{
    return pipe->state == BODY_FINISHED && pipe->count == 0;
}
/* True where the producer's offer can be taken: no tee, nothing kept for replay, no pieces left. */
bool body_pipe_may_splice(const struct body_pipe *);
/* The consumer can't take the offer, or goes back to pieces. */
void body_pipe_decline_splice(struct body_pipe *);
/* Wants no more: pieces are dropped, the producer is told. */
void body_pipe_stop(struct body_pipe *);
void body_pipe_detach_consumer(struct body_pipe *);
/* Takes the first piece with its slab reference out (for a stage that passes it on). False when there is none. */
bool body_pipe_take(struct body_pipe *, struct body_piece *);

/* Replay, for retries: what is consumed is kept too, up to `limit` bytes and some hundred pieces; beyond, the pipe can't be rewound
 * any more and the copies go. Memory for the list comes from `arena`. */
bool body_pipe_keep_for_replay(struct body_pipe *, size_t limit, struct arena *) MUST_USE;
/* Back to the first byte; false where too much has gone by. */
bool body_pipe_rewind(struct body_pipe *);
bool body_pipe_can_rewind(const struct body_pipe *);
/* The same by a copy that the consumer has made of all that it consumed: the first `length` bytes of the slab, which the pipe retains, come
 * first again, as one piece however many they came in. From then on it is kept as by body_pipe_keep_for_replay. False: memory is
 * short, or the body broke off. */
bool body_pipe_put_back(struct body_pipe *, struct slab *, size_t length, size_t limit, struct arena *) MUST_USE;
/* The answer has begun: no retry any more; drops what was kept. */
void body_pipe_forget_replay(struct body_pipe *);

enum body_tee_mode {
    /* Where the copy has no credit it is aborted, and so it is where holding the bytes would keep the original's producer waiting (a slab of
     * its reserve) or where they may not live as long (no slab). The original never waits (mirror). */
    BODY_TEE_LOSSY,
    BODY_TEE_STORE, /* the original's credit is also bounded by the copy's (cache) */
};
/* Everything pushed from now on also goes to `copy`, by reference. `copy` is initialised by the caller, which consumes it. A tee
 * withdraws the splice offer. */
bool body_pipe_tee(struct body_pipe *, struct body_pipe *copy, enum body_tee_mode, struct arena *) MUST_USE;

#endif
