/* The pieces stand in a small ring. A rewind may bring back more of them than the ring has room for: those wait in the replay's
 * backlog, in order, and move up as the ring empties; meanwhile the producer has no credit. So all other code knows the ring only. */
#include "http/body_pipe.h"

#include <sys/uio.h>

_Static_assert((BODY_PIPE_PIECES & (BODY_PIPE_PIECES - 1)) == 0, "the ring's index is masked");

/* A body that comes a byte at a time must not cost a multiple of itself in the arena. */
#define KEPT_PIECES_MAX 256

struct body_tee {
    struct body_tee *next;
    struct body_pipe *copy;
    enum body_tee_mode mode;
};

struct piece_list {
    struct body_piece *items;
    uint32_t count, capacity;
};

struct body_replay {
    struct arena *arena;
    size_t limit, bytes;
    struct piece_list kept;    /* consumed since the start or the last rewind */
    struct piece_list backlog; /* brought back, not in the ring yet */
    uint32_t backlog_first;
    bool keeping;
};

static struct body_piece *piece_at(struct body_pipe *pipe, unsigned index)
{
    return &pipe->pieces[(pipe->first + index) & (BODY_PIPE_PIECES - 1)];
}

static void drop_pieces(struct body_pipe *);
static void drop_tees(struct body_pipe *);
static void stop_keeping(struct body_replay *);
static void keep(struct body_replay *, const struct body_piece *, size_t length);
static void refill_ring(struct body_pipe *);
static void push_to_tees(struct body_pipe *, struct slab *, const char *at, size_t length);

static bool has_backlog(const struct body_pipe *pipe)
{
    return pipe->replay && pipe->replay->backlog_first < pipe->replay->backlog.count;
}

static void tell_consumer(struct body_pipe *pipe)
{
    if (pipe->consumer_task) loop_enqueue(pipe->loop, pipe->consumer_task);
}

static void tell_producer(struct body_pipe *pipe)
{
    pipe->credit_wanted = false;
    if (pipe->original) {
        tell_producer(pipe->original);
        return;
    }
    if (pipe->producer_task) loop_enqueue(pipe->loop, pipe->producer_task);
}

/* The ring is left as it is: only counted entries are ever read. */
void body_pipe_init(struct body_pipe *pipe, struct loop *loop, uint64_t expected)
{
    pipe->loop = loop;
    pipe->consumer_task = pipe->producer_task = NULL;
    pipe->original = NULL;
    pipe->expected = expected;
    pipe->pushed = 0;
    pipe->buffered = 0;
    pipe->window = BODY_PIPE_WINDOW_BYTES;
    pipe->first = pipe->count = 0;
    pipe->state = BODY_OPEN;
    pipe->stopped = pipe->attached = pipe->spliced = pipe->starved = pipe->credit_wanted = false;
    pipe->trailers = NULL;
    pipe->trailer_rule = NULL;
    pipe->watch = NULL;
    pipe->failure.reason = NULL;
    pipe->splice = NULL;
    pipe->producer = NULL;
    pipe->tees = NULL;
    pipe->replay = NULL;
}

static void unlink_tee(struct body_pipe *pipe, const struct body_pipe *copy)
{
    for (struct body_tee **at = &pipe->tees; *at; at = &(*at)->next) {
        if ((*at)->copy != copy) continue;
        *at = (*at)->next;
        return;
    }
}

void body_pipe_release(struct body_pipe *pipe)
{
    drop_pieces(pipe);
    drop_tees(pipe);
    if (pipe->original) {
        unlink_tee(pipe->original, pipe);
        if (pipe->original->credit_wanted) tell_producer(pipe->original);
        pipe->original = NULL;
    }
    if (pipe->replay) stop_keeping(pipe->replay);
    pipe->replay = NULL;
    pipe->consumer_task = pipe->producer_task = NULL;
}

static size_t credit(const struct body_pipe *pipe)
{
    if (pipe->stopped || pipe->state != BODY_OPEN || pipe->count == BODY_PIPE_PIECES || has_backlog(pipe)) return 0;
    return pipe->buffered < pipe->window ? pipe->window - pipe->buffered : 0;
}

size_t body_pipe_credit(struct body_pipe *pipe)
{
    size_t least = credit(pipe);
    for (struct body_tee *tee = pipe->tees; UNLIKELY(tee != NULL); tee = tee->next) {
        if (tee->mode != BODY_TEE_STORE || tee->copy->stopped) continue;
        size_t bound = credit(tee->copy);
        if (bound < least) least = bound;
        if (bound == 0) tee->copy->credit_wanted = true;
    }
    if (least == 0) pipe->credit_wanted = true;
    return least;
}

void body_pipe_push(struct body_pipe *pipe, struct slab *slab, const char *at, size_t length)
{
    if (pipe->stopped || pipe->state != BODY_OPEN) length = 0;
    if (pipe->watch && length > 0) length = pipe->watch->pass(pipe->watch, at, length);
    if (length == 0) {
        slab_drop(slab);
        return;
    }
    PROMISE(!has_backlog(pipe));
    if (UNLIKELY(pipe->tees != NULL)) push_to_tees(pipe, slab, at, length);
    struct body_piece *tail = pipe->count ? piece_at(pipe, pipe->count - 1u) : NULL;
    if (tail && slab && tail->slab == slab && tail->at + tail->length == at) {
        tail->length += length;
        slab_drop(slab);
    } else {
        PROMISE(pipe->count < BODY_PIPE_PIECES);
        *piece_at(pipe, pipe->count) = (struct body_piece){ slab, at, length };
        pipe->count++;
    }
    pipe->buffered += (uint32_t)length;
    pipe->pushed += length;
    tell_consumer(pipe);
}

/* The tail's slab is ours to add to where nobody else holds it: no reader that fills it, no tee, no replay. */
size_t body_pipe_tail_room(const struct body_pipe *pipe)
{
    if (pipe->count == 0 || has_backlog(pipe)) return 0;
    const struct body_piece *tail = &pipe->pieces[(pipe->first + pipe->count - 1u) & (BODY_PIPE_PIECES - 1)];
    const struct slab *slab = tail->slab;
    return slab && slab->references == 1 ? slab->size - (size_t)(tail->at + tail->length - slab->bytes) : 0;
}

static bool append_to_tail(struct body_pipe *pipe, struct slice bytes)
{
    if (body_pipe_tail_room(pipe) < bytes.length) return false;
    struct body_piece *tail = piece_at(pipe, pipe->count - 1u);
    struct slab *slab = tail->slab;
    size_t end = (size_t)(tail->at + tail->length - slab->bytes);
    memcpy(slab->bytes + end, bytes.at, bytes.length);
    slab_retain(slab);
    body_pipe_push(pipe, slab, slab->bytes + end, bytes.length);
    return true;
}

bool body_pipe_push_copy(struct body_pipe *pipe, struct slab_pool *slabs, struct slice bytes)
{
    if (pipe->stopped || pipe->state != BODY_OPEN || bytes.length == 0 || append_to_tail(pipe, bytes)) return true;
    struct slab *slab = slab_take_sized(slabs, bytes.length);
    if (!slab) return false;
    memcpy(slab->bytes, bytes.at, bytes.length);
    body_pipe_push(pipe, slab, slab->bytes, bytes.length);
    return true;
}

static void clean_trailers(struct body_pipe *pipe)
{
    if (pipe->trailers && pipe->trailer_rule && !pipe->stopped)
        pipe->trailer_rule->clean(pipe->trailer_rule, pipe->trailers);
}

void body_pipe_set_trailer_rule(struct body_pipe *pipe, const struct body_trailer_rule *rule)
{
    pipe->trailer_rule = rule;
    clean_trailers(pipe);
}

void body_pipe_finish(struct body_pipe *pipe, struct headers *trailers)
{
    if (pipe->state != BODY_OPEN) return;
    pipe->state = BODY_FINISHED;
    pipe->trailers = trailers;
    clean_trailers(pipe);
    for (struct body_tee *tee = pipe->tees; tee; tee = tee->next) {
        tee->copy->original = NULL;
        body_pipe_finish(tee->copy, trailers);
    }
    pipe->tees = NULL;
    tell_consumer(pipe);
}

void body_pipe_abort(struct body_pipe *pipe, const struct error *error)
{
    if (pipe->state != BODY_OPEN) return;
    drop_pieces(pipe);
    pipe->state = BODY_ABORTED;
    pipe->failure = *error;
    pipe->splice = NULL;
    pipe->spliced = false;
    for (struct body_tee *tee = pipe->tees; tee; tee = tee->next) {
        tee->copy->original = NULL;
        body_pipe_abort(tee->copy, error);
    }
    pipe->tees = NULL;
    tell_consumer(pipe);
}

void body_pipe_detach_producer(struct body_pipe *pipe)
{
    pipe->producer_task = NULL;
    pipe->producer = NULL;
    pipe->splice = NULL;
    pipe->spliced = false;
}

void body_pipe_attach_consumer(struct body_pipe *pipe, struct task *task)
{
    pipe->consumer_task = task;
    if (pipe->attached) return;
    pipe->attached = true;
    if (pipe->producer_task) loop_enqueue(pipe->loop, pipe->producer_task);
}

int body_pipe_peek(const struct body_pipe *pipe, struct iovec *into, int limit)
{
    int count = pipe->count < limit ? pipe->count : limit;
    for (int i = 0; i < count; i++) {
        const struct body_piece *piece = &pipe->pieces[(pipe->first + i) & (BODY_PIPE_PIECES - 1)];
        into[i] = (struct iovec){ (char *)piece->at, piece->length };
    }
    return count;
}

/* The producer is woken once there is room worth a read, not for each byte. */
static void give_credit(struct body_pipe *pipe)
{
    if (!pipe->credit_wanted || has_backlog(pipe)) return;
    if (pipe->buffered <= pipe->window / 2 && pipe->count <= BODY_PIPE_PIECES / 2) tell_producer(pipe);
}

void body_pipe_consume(struct body_pipe *pipe, size_t length)
{
    PROMISE(length <= pipe->buffered);
    pipe->buffered -= (uint32_t)length;
    while (length > 0) {
        struct body_piece *piece = piece_at(pipe, 0);
        size_t part = length < piece->length ? length : piece->length;
        if (pipe->replay) keep(pipe->replay, piece, part);
        length -= part;
        piece->at += part;
        piece->length -= part;
        if (piece->length > 0) break;
        slab_drop(piece->slab);
        pipe->first = (pipe->first + 1) & (BODY_PIPE_PIECES - 1);
        if (--pipe->count > 0) continue;
        pipe->first = 0; /* a body that comes a piece at a time stays on one cache line */
        refill_ring(pipe);
    }
    give_credit(pipe);
}

bool body_pipe_take(struct body_pipe *pipe, struct body_piece *piece)
{
    if (pipe->count == 0) return false;
    *piece = *piece_at(pipe, 0);
    if (piece->slab) slab_retain(piece->slab);
    body_pipe_consume(pipe, piece->length);
    return true;
}

bool body_pipe_may_splice(const struct body_pipe *pipe)
{
    bool kept = pipe->replay && (pipe->replay->keeping || has_backlog(pipe));
    return pipe->splice && !pipe->tees && !kept && pipe->count == 0 && pipe->state == BODY_OPEN && !pipe->stopped;
}

void body_pipe_decline_splice(struct body_pipe *pipe)
{
    bool was_spliced = pipe->spliced;
    pipe->splice = NULL;
    pipe->spliced = false;
    if (was_spliced && pipe->producer_task) loop_enqueue(pipe->loop, pipe->producer_task);
}

void body_pipe_stop(struct body_pipe *pipe)
{
    if (pipe->stopped) return;
    pipe->stopped = true;
    pipe->splice = NULL;
    pipe->spliced = false;
    drop_pieces(pipe);
    drop_tees(pipe);
    if (pipe->replay) stop_keeping(pipe->replay);
    tell_producer(pipe);
}

void body_pipe_detach_consumer(struct body_pipe *pipe)
{
    pipe->consumer_task = NULL;
    if (pipe->spliced) body_pipe_decline_splice(pipe);
}

static void drop_list(struct piece_list *list, uint32_t first)
{
    for (uint32_t i = first; i < list->count; i++) slab_drop(list->items[i].slab);
    list->count = 0;
}

static void drop_pieces(struct body_pipe *pipe)
{
    for (unsigned i = 0; i < pipe->count; i++) slab_drop(piece_at(pipe, i)->slab);
    pipe->count = 0;
    pipe->buffered = 0;
    if (!pipe->replay) return;
    drop_list(&pipe->replay->backlog, pipe->replay->backlog_first);
    pipe->replay->backlog_first = 0;
}

/* --- replay --- */

bool body_pipe_keep_for_replay(struct body_pipe *pipe, size_t limit, struct arena *arena)
{
    if (pipe->replay) return pipe->replay->keeping;
    if (pipe->pushed != pipe->buffered) return false;
    struct body_replay *replay = arena_allocate_zeroed(arena, sizeof *replay);
    if (!replay) return false;
    replay->arena = arena;
    replay->limit = limit;
    replay->keeping = true;
    pipe->replay = replay;
    return true;
}

bool body_pipe_can_rewind(const struct body_pipe *pipe)
{
    if (pipe->stopped || pipe->state == BODY_ABORTED) return false;
    return pipe->pushed == pipe->buffered || (pipe->replay && pipe->replay->keeping);
}

static bool list_reserve(struct piece_list *list, uint32_t count, struct arena *arena)
{
    if (count <= list->capacity) return true;
    uint32_t capacity = list->capacity ? list->capacity * 2 : 8;
    while (capacity < count) capacity *= 2;
    struct body_piece *items = arena_allocate(arena, capacity * sizeof *items);
    if (!items) return false;
    if (list->count) memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->capacity = capacity;
    return true;
}

static void list_append(struct piece_list *list, const struct body_piece *piece)
{
    list->items[list->count++] = *piece;
}

static void stop_keeping(struct body_replay *replay)
{
    drop_list(&replay->kept, 0);
    replay->bytes = 0;
    replay->keeping = false;
}

static void keep(struct body_replay *replay, const struct body_piece *piece, size_t length)
{
    if (!replay->keeping) return;
    struct piece_list *kept = &replay->kept;
    struct body_piece *last = kept->count ? &kept->items[kept->count - 1] : NULL;
    bool joins = last && last->slab == piece->slab && last->at + last->length == piece->at;
    bool fits = replay->bytes + length <= replay->limit && (joins || kept->count < KEPT_PIECES_MAX);
    if (piece->slab && piece->slab->is_reserve) fits = false; /* the rest of the body could not come in */
    if (!fits || (!joins && !list_reserve(kept, kept->count + 1, replay->arena))) {
        stop_keeping(replay);
        return;
    }
    replay->bytes += length;
    if (joins) {
        last->length += length;
        return;
    }
    if (piece->slab) slab_retain(piece->slab);
    list_append(kept, &(struct body_piece){ piece->slab, piece->at, length });
}

/* What was kept, then the ring, then the rest of an older backlog become the new backlog, which fills the ring again. */
bool body_pipe_rewind(struct body_pipe *pipe)
{
    if (!body_pipe_can_rewind(pipe)) return false;
    struct body_replay *replay = pipe->replay;
    if (!replay || replay->kept.count == 0) return true;
    struct piece_list *all = &replay->kept;
    uint32_t older = replay->backlog.count - replay->backlog_first;
    if (!list_reserve(all, all->count + pipe->count + older, replay->arena)) return false;
    for (unsigned i = 0; i < pipe->count; i++) list_append(all, piece_at(pipe, i));
    for (uint32_t i = 0; i < older; i++) list_append(all, &replay->backlog.items[replay->backlog_first + i]);

    struct piece_list emptied = replay->backlog;
    emptied.count = 0;
    replay->backlog = *all;
    replay->backlog_first = 0;
    replay->kept = emptied;
    pipe->buffered += (uint32_t)replay->bytes;
    replay->bytes = 0;
    pipe->count = 0;
    refill_ring(pipe);
    tell_consumer(pipe);
    return true;
}

bool body_pipe_put_back(struct body_pipe *pipe, struct slab *slab, size_t length, size_t limit, struct arena *arena)
{
    PROMISE(length == pipe->pushed - pipe->buffered);
    if (pipe->stopped || pipe->state == BODY_ABORTED) return false;
    struct body_replay *replay = pipe->replay;
    if (!replay && !(replay = arena_allocate_zeroed(arena, sizeof *replay))) return false;
    replay->arena = arena;
    stop_keeping(replay);
    if (!list_reserve(&replay->kept, 1, arena)) return false;
    replay->limit = limit;
    replay->keeping = true;
    pipe->replay = replay;
    if (length == 0) return true;
    slab_retain(slab);
    list_append(&replay->kept, &(struct body_piece){ slab, slab->bytes, length });
    replay->bytes = length;
    return body_pipe_rewind(pipe);
}

static void refill_ring(struct body_pipe *pipe)
{
    if (!has_backlog(pipe)) return;
    struct body_replay *replay = pipe->replay;
    while (pipe->count < BODY_PIPE_PIECES && replay->backlog_first < replay->backlog.count) {
        *piece_at(pipe, pipe->count) = replay->backlog.items[replay->backlog_first++];
        pipe->count++;
    }
}

void body_pipe_forget_replay(struct body_pipe *pipe)
{
    if (pipe->replay) stop_keeping(pipe->replay);
}

/* --- tees --- */

bool body_pipe_tee(struct body_pipe *pipe, struct body_pipe *copy, enum body_tee_mode mode, struct arena *arena)
{
    if (pipe->state != BODY_OPEN || pipe->stopped) return false;
    struct body_tee *tee = arena_allocate(arena, sizeof *tee);
    if (!tee) return false;
    body_pipe_decline_splice(pipe);
    *tee = (struct body_tee){ pipe->tees, copy, mode };
    pipe->tees = tee;
    copy->original = pipe;
    return true;
}

static void abort_copy(struct body_pipe *copy, const char *why)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tee-cut", "the copy of a body was cut off: %s", why);
    copy->original = NULL;
    body_pipe_abort(copy, &error);
}

static void drop_tees(struct body_pipe *pipe)
{
    for (struct body_tee *tee = pipe->tees; tee; tee = tee->next) abort_copy(tee->copy, "the original stopped");
    pipe->tees = NULL;
}

/* Why a lossy copy can't have the bytes; NULL: it can. */
static const char *why_lost(const struct body_tee *tee, const struct slab *slab, size_t length)
{
    if (credit(tee->copy) < length) return "its consumer is too slow";
    if (tee->mode != BODY_TEE_LOSSY) return NULL;
    if (!slab) return "its bytes can't be held";
    return slab->is_reserve ? "memory is short" : NULL;
}

static void push_to_tees(struct body_pipe *pipe, struct slab *slab, const char *at, size_t length)
{
    for (struct body_tee **link = &pipe->tees; *link;) {
        struct body_tee *tee = *link;
        struct body_pipe *copy = tee->copy;
        const char *why = copy->stopped ? NULL : why_lost(tee, slab, length);
        if (copy->stopped || why) {
            *link = tee->next;
            if (why)
                abort_copy(copy, why);
            else
                copy->original = NULL;
            continue;
        }
        if (slab) slab_retain(slab);
        body_pipe_push(copy, slab, at, length);
        link = &tee->next;
    }
}
