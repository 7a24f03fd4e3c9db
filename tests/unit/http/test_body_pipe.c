/* Bodies on their way: credit, the end, replay and copies; then random schedules against a plain string of bytes. */
#include "unit_test.h"

#include "base/random.h"
#include "event/loop.h"
#include "http/body_pipe.h"

#include <sys/uio.h>

struct fixture {
    struct loop loop;
    struct slab_pool slabs;
    struct arena arena;
    struct body_pipe pipe;
    struct task consumer, producer;
    unsigned consumer_runs, producer_runs;
};

static void consumer_ran(struct task *task) { CONTAINER_OF(task, struct fixture, consumer)->consumer_runs++; }
static void producer_ran(struct task *task) { CONTAINER_OF(task, struct fixture, producer)->producer_runs++; }

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error error;
    if (!loop_init(&f->loop, &error)) return -1;
    slab_pool_init(&f->slabs, 1 << 20, NULL);
    arena_init(&f->arena, NULL);
    f->consumer.run = consumer_ran;
    f->producer.run = producer_ran;
    body_pipe_init(&f->pipe, &f->loop, BODY_LENGTH_UNKNOWN);
    f->pipe.producer_task = &f->producer;
    body_pipe_attach_consumer(&f->pipe, &f->consumer);
    loop_turn(&f->loop, 0);
    f->producer_runs = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    body_pipe_release(&f->pipe);
    assert_int_equal(f->slabs.taken_bytes, 0);
    slab_pool_release(&f->slabs);
    arena_release(&f->arena);
    loop_release(&f->loop);
    free(f);
    return 0;
}

static void push(struct fixture *f, struct body_pipe *pipe, const char *text)
{
    assert_true(body_pipe_push_copy(pipe, &f->slabs, slice_from_cstring(text)));
}

/* One piece in a slab of its own. */
static void push_piece(struct fixture *f, struct body_pipe *pipe, size_t length)
{
    struct slab *slab = slab_take_sized(&f->slabs, length);
    memset(slab->bytes, 'p', length);
    body_pipe_push(pipe, slab, slab->bytes, length);
}

static void assert_next_is(struct body_pipe *pipe, const char *expected)
{
    char got[4096];
    struct iovec pieces[BODY_PIPE_PIECES];
    size_t length = 0;
    int count = body_pipe_peek(pipe, pieces, BODY_PIPE_PIECES);
    for (int i = 0; i < count; i++) {
        memcpy(got + length, pieces[i].iov_base, pieces[i].iov_len);
        length += pieces[i].iov_len;
    }
    assert_slice_is(slice_of(got, length), expected);
}

static void bytes_come_out_as_they_went_in(void **state)
{
    struct fixture *f = *state;
    push(f, &f->pipe, "hello ");
    push(f, &f->pipe, "world");
    body_pipe_finish(&f->pipe, NULL);
    assert_next_is(&f->pipe, "hello world");
    assert_int_equal(f->pipe.count, 1); /* neighbours in one slab are one piece */
    body_pipe_consume(&f->pipe, 6);
    assert_next_is(&f->pipe, "world");
    assert_false(body_pipe_is_drained(&f->pipe));
    body_pipe_consume(&f->pipe, 5);
    assert_true(body_pipe_is_drained(&f->pipe));
}

static void each_side_hears_of_the_other_by_its_task_only(void **state)
{
    struct fixture *f = *state;
    push(f, &f->pipe, "x");
    assert_int_equal(f->consumer_runs, 0);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->consumer_runs, 1);
    body_pipe_stop(&f->pipe);
    assert_int_equal(f->producer_runs, 0);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 1);
}

static void credit_runs_out_with_the_window_and_comes_back_at_half_of_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(body_pipe_credit(&f->pipe), BODY_PIPE_WINDOW_BYTES);
    push_piece(f, &f->pipe, BODY_PIPE_WINDOW_BYTES);
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
    body_pipe_consume(&f->pipe, 1000);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 0);
    body_pipe_consume(&f->pipe, BODY_PIPE_WINDOW_BYTES / 2 - 1000);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 1);
    assert_int_equal(body_pipe_credit(&f->pipe), BODY_PIPE_WINDOW_BYTES / 2);
}

static void a_producer_that_never_ran_out_is_not_woken(void **state)
{
    struct fixture *f = *state;
    push(f, &f->pipe, "abc");
    body_pipe_consume(&f->pipe, 3);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 0);
}

static void pieces_run_out_before_the_window_and_end_the_credit_too(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < BODY_PIPE_PIECES; i++) {
        assert_true(body_pipe_credit(&f->pipe) > 0);
        push_piece(f, &f->pipe, 1);
    }
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
    body_pipe_consume(&f->pipe, BODY_PIPE_PIECES / 2);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 1);
}

static void an_abort_drops_what_was_not_consumed(void **state)
{
    struct fixture *f = *state;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-chunk", "text");
    push(f, &f->pipe, "half of it");
    body_pipe_abort(&f->pipe, &error);
    assert_int_equal(f->pipe.state, BODY_ABORTED);
    assert_int_equal(f->pipe.count, 0);
    assert_int_equal(f->slabs.taken_bytes, 0);
    assert_string_equal(f->pipe.failure.reason, "bad-chunk");
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
    body_pipe_finish(&f->pipe, NULL);
    assert_int_equal(f->pipe.state, BODY_ABORTED);
}

static void a_whole_body_can_not_be_aborted_any_more(void **state)
{
    struct fixture *f = *state;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "client-gone", "text");
    push(f, &f->pipe, "whole");
    body_pipe_finish(&f->pipe, NULL);
    body_pipe_abort(&f->pipe, &error);
    assert_int_equal(f->pipe.state, BODY_FINISHED);
    assert_next_is(&f->pipe, "whole");
}

static void what_is_pushed_after_a_stop_is_dropped(void **state)
{
    struct fixture *f = *state;
    body_pipe_stop(&f->pipe);
    push_piece(f, &f->pipe, 100);
    push(f, &f->pipe, "more");
    assert_int_equal(f->pipe.count, 0);
    assert_int_equal(f->slabs.taken_bytes, 0);
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
}

static void after_detaching_a_task_is_never_queued_again(void **state)
{
    struct fixture *f = *state;
    body_pipe_detach_consumer(&f->pipe);
    push(f, &f->pipe, "x");
    body_pipe_detach_producer(&f->pipe);
    body_pipe_stop(&f->pipe);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->consumer_runs, 0);
    assert_int_equal(f->producer_runs, 0);
}

static void a_taken_piece_brings_its_reference_along(void **state)
{
    struct fixture *f = *state;
    struct body_piece piece;
    push(f, &f->pipe, "abc");
    assert_true(body_pipe_take(&f->pipe, &piece));
    assert_int_equal(f->pipe.buffered, 0);
    assert_slice_is(slice_of(piece.at, piece.length), "abc");
    slab_drop(piece.slab);
    assert_false(body_pipe_take(&f->pipe, &piece));
}

/* --- replay --- */

static void a_rewound_body_comes_again_from_its_first_byte(void **state)
{
    struct fixture *f = *state;
    assert_true(body_pipe_keep_for_replay(&f->pipe, 1000, &f->arena));
    push(f, &f->pipe, "one two ");
    body_pipe_consume(&f->pipe, 6);
    push(f, &f->pipe, "three");
    assert_true(body_pipe_rewind(&f->pipe));
    assert_next_is(&f->pipe, "one two three");
    body_pipe_consume(&f->pipe, 13);
    body_pipe_finish(&f->pipe, NULL);
    assert_true(body_pipe_is_drained(&f->pipe));
    assert_true(body_pipe_rewind(&f->pipe));
    assert_false(body_pipe_is_drained(&f->pipe));
    assert_next_is(&f->pipe, "one two three");
}

static void beyond_its_limit_a_body_can_not_be_rewound_and_the_copies_go(void **state)
{
    struct fixture *f = *state;
    assert_true(body_pipe_keep_for_replay(&f->pipe, 4, &f->arena));
    push(f, &f->pipe, "12345");
    body_pipe_consume(&f->pipe, 4);
    assert_true(body_pipe_can_rewind(&f->pipe));
    body_pipe_consume(&f->pipe, 1);
    assert_false(body_pipe_can_rewind(&f->pipe));
    assert_false(body_pipe_rewind(&f->pipe));
    assert_int_equal(f->slabs.taken_bytes, 0);
}

/* Each piece costs memory that no ceiling counts. */
static void a_body_in_very_many_pieces_is_not_kept(void **state)
{
    struct fixture *f = *state;
    assert_true(body_pipe_keep_for_replay(&f->pipe, 1 << 20, &f->arena));
    struct slab *slab = slab_take(&f->slabs, SLAB_SMALL);
    for (size_t i = 0; i < 4000; i++) {
        slab_retain(slab);
        body_pipe_push(&f->pipe, slab, slab->bytes + 2 * i, 1); /* neighbours would become one */
        body_pipe_consume(&f->pipe, 1);
        if (i == 99) assert_true(body_pipe_can_rewind(&f->pipe));
    }
    slab_drop(slab);
    assert_false(body_pipe_can_rewind(&f->pipe));
    assert_int_equal(f->slabs.taken_bytes, 0);
}

/* At the ceiling its reader has nothing else to read into. */
static void what_a_reserve_gave_is_not_kept_for_replay(void **state)
{
    struct fixture *f = *state;
    struct slab_reserve reserve;
    assert_true(slab_reserve_init(&reserve, &f->slabs));
    assert_true(body_pipe_keep_for_replay(&f->pipe, 1000, &f->arena));
    push(f, &f->pipe, "abc");
    body_pipe_consume(&f->pipe, 3);
    assert_true(body_pipe_can_rewind(&f->pipe));
    struct slab *slab = slab_reserve_take(&reserve);
    assert_non_null(slab);
    memcpy(slab->bytes, "def", 3);
    body_pipe_push(&f->pipe, slab, slab->bytes, 3);
    assert_null(slab_reserve_take(&reserve));
    body_pipe_consume(&f->pipe, 3);
    assert_false(body_pipe_can_rewind(&f->pipe));
    slab = slab_reserve_take(&reserve);
    assert_non_null(slab);
    slab_drop(slab);
    slab_reserve_release(&reserve);
}

static void an_untouched_body_can_be_rewound_without_any_replay(void **state)
{
    struct fixture *f = *state;
    push(f, &f->pipe, "abc");
    assert_true(body_pipe_rewind(&f->pipe));
    body_pipe_consume(&f->pipe, 1);
    assert_false(body_pipe_can_rewind(&f->pipe));
}

static void more_pieces_than_the_ring_holds_come_back_in_order(void **state)
{
    struct fixture *f = *state;
    char expected[3 * BODY_PIPE_PIECES + 1] = "";
    assert_true(body_pipe_keep_for_replay(&f->pipe, 1000, &f->arena));
    for (int i = 0; i < 3 * BODY_PIPE_PIECES; i++) {
        struct slab *slab = slab_take(&f->slabs, SLAB_SMALL);
        slab->bytes[0] = expected[i] = (char)('A' + i % 26);
        body_pipe_push(&f->pipe, slab, slab->bytes, 1);
        if (i < 2 * BODY_PIPE_PIECES) body_pipe_consume(&f->pipe, 1);
    }
    assert_true(body_pipe_rewind(&f->pipe));
    assert_int_equal(body_pipe_credit(&f->pipe), 0); /* until the ring has room again */
    char got[sizeof expected] = "";
    for (size_t length = 0; f->pipe.count > 0; length++) {
        struct iovec piece;
        body_pipe_peek(&f->pipe, &piece, 1);
        got[length] = *(char *)piece.iov_base;
        body_pipe_consume(&f->pipe, 1);
    }
    assert_string_equal(got, expected);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 1);
}

/* Who reads a body ahead and copies it gives it back as one piece, in front of what hasn't been read; twice, too. */
static void what_was_copied_comes_back_as_one_piece(void **state)
{
    struct fixture *f = *state;
    struct slab *copy = slab_take(&f->slabs, SLAB_TINY), *source = slab_take(&f->slabs, SLAB_TINY);
    for (unsigned i = 0; i < 1000 + BODY_PIPE_PIECES; i++) {
        copy->bytes[i] = source->bytes[2 * i] = (char)('a' + i % 26);
        slab_retain(source);
        body_pipe_push(&f->pipe, source, source->bytes + 2 * i, 1); /* neighbours would become one */
        if (i < 1000) body_pipe_consume(&f->pipe, 1);
    }
    slab_drop(source);
    for (size_t length = 1000; length <= 1001; length++) {
        assert_true(body_pipe_put_back(&f->pipe, copy, length, 1 << 20, &f->arena));
        assert_int_equal(f->pipe.buffered, 1000 + BODY_PIPE_PIECES);
        assert_int_equal(body_pipe_first(&f->pipe)->length, length);
        if (length == 1000) body_pipe_consume(&f->pipe, 1001);
    }
    slab_drop(copy);
    for (unsigned i = 0; i < 2; i++) {
        char got[1000 + BODY_PIPE_PIECES], expected[1000 + BODY_PIPE_PIECES];
        for (unsigned at = 0; at < sizeof got; at++) {
            expected[at] = (char)('a' + at % 26);
            got[at] = *body_pipe_first(&f->pipe)->at;
            body_pipe_consume(&f->pipe, 1);
        }
        assert_memory_equal(got, expected, sizeof got);
        assert_null(body_pipe_first(&f->pipe));
        if (i == 0) assert_true(body_pipe_rewind(&f->pipe));
    }
    body_pipe_stop(&f->pipe);
    assert_false(body_pipe_put_back(&f->pipe, NULL, f->pipe.pushed, 10, &f->arena));
}

static void a_forgotten_replay_keeps_no_memory(void **state)
{
    struct fixture *f = *state;
    assert_true(body_pipe_keep_for_replay(&f->pipe, 1000, &f->arena));
    push(f, &f->pipe, "abc");
    body_pipe_consume(&f->pipe, 3);
    assert_true(f->slabs.taken_bytes > 0);
    body_pipe_forget_replay(&f->pipe);
    assert_int_equal(f->slabs.taken_bytes, 0);
    assert_false(body_pipe_can_rewind(&f->pipe));
}

/* --- copies --- */

static void a_copy_gets_all_that_is_pushed_after_it_was_made(void **state)
{
    struct fixture *f = *state;
    struct body_pipe copy;
    body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
    push(f, &f->pipe, "before ");
    assert_true(body_pipe_tee(&f->pipe, &copy, BODY_TEE_LOSSY, &f->arena));
    push(f, &f->pipe, "after");
    body_pipe_finish(&f->pipe, NULL);
    assert_next_is(&f->pipe, "before after");
    assert_next_is(&copy, "after");
    assert_int_equal(copy.state, BODY_FINISHED);
    body_pipe_release(&copy);
}

static void a_slow_mirror_is_cut_and_the_original_never_waits(void **state)
{
    struct fixture *f = *state;
    struct body_pipe copy;
    body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
    copy.window = 10;
    assert_true(body_pipe_tee(&f->pipe, &copy, BODY_TEE_LOSSY, &f->arena));
    push(f, &f->pipe, "12345678");
    assert_int_equal(body_pipe_credit(&f->pipe), BODY_PIPE_WINDOW_BYTES - 8);
    push(f, &f->pipe, "90123456");
    assert_int_equal(copy.state, BODY_ABORTED);
    assert_next_is(&f->pipe, "1234567890123456");
    body_pipe_release(&copy);
}

/* A mirror that kept a slab of the reserve would keep the original's reader from its next bytes; bytes without a slab may not live as
 * long as a mirror does. */
static void a_mirror_never_holds_what_others_wait_for(void **state)
{
    struct fixture *f = *state;
    for (int without_slab = 0; without_slab < 2; without_slab++) {
        struct body_pipe pipe, copy;
        body_pipe_init(&pipe, &f->loop, BODY_LENGTH_UNKNOWN);
        body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
        assert_true(body_pipe_tee(&pipe, &copy, BODY_TEE_LOSSY, &f->arena));
        struct slab *slab = without_slab ? NULL : slab_take(&f->slabs, SLAB_TINY);
        if (slab) slab->is_reserve = true;
        body_pipe_push(&pipe, slab, slab ? slab->bytes : "static", 6);
        assert_int_equal(copy.state, BODY_ABORTED);
        if (slab) assert_int_equal(slab->references, 1);
        body_pipe_consume(&pipe, 6);
        body_pipe_release(&copy);
        body_pipe_release(&pipe);
    }
}

static void a_storing_copy_holds_the_original_back(void **state)
{
    struct fixture *f = *state;
    struct body_pipe copy;
    body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
    copy.window = 10;
    assert_true(body_pipe_tee(&f->pipe, &copy, BODY_TEE_STORE, &f->arena));
    assert_int_equal(body_pipe_credit(&f->pipe), 10);
    push(f, &f->pipe, "1234567890");
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
    body_pipe_consume(&f->pipe, 10);
    assert_int_equal(body_pipe_credit(&f->pipe), 0);
    loop_turn(&f->loop, 0);
    f->producer_runs = 0;
    body_pipe_consume(&copy, 10);
    loop_turn(&f->loop, 0);
    assert_int_equal(f->producer_runs, 1);
    assert_int_equal(body_pipe_credit(&f->pipe), 10);
    body_pipe_release(&copy);
    assert_int_equal(body_pipe_credit(&f->pipe), BODY_PIPE_WINDOW_BYTES);
}

static void an_abort_reaches_the_copies(void **state)
{
    struct fixture *f = *state;
    struct body_pipe copy;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-chunk", "text");
    body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
    assert_true(body_pipe_tee(&f->pipe, &copy, BODY_TEE_STORE, &f->arena));
    push(f, &f->pipe, "x");
    body_pipe_abort(&f->pipe, &error);
    assert_int_equal(copy.state, BODY_ABORTED);
    body_pipe_release(&copy);
}

static bool never_moves(struct body_pipe *pipe, int kernel_pipe, size_t limit, size_t *moved) { return false; }

static void a_splice_offer_stands_only_where_nobody_needs_the_bytes(void **state)
{
    struct fixture *f = *state;
    static const struct body_splice offer = { .move = never_moves };
    struct body_pipe copy;
    body_pipe_init(&copy, &f->loop, BODY_LENGTH_UNKNOWN);
    f->pipe.splice = &offer;
    assert_true(body_pipe_may_splice(&f->pipe));
    assert_true(body_pipe_keep_for_replay(&f->pipe, 100, &f->arena));
    assert_false(body_pipe_may_splice(&f->pipe));
    body_pipe_forget_replay(&f->pipe);
    assert_true(body_pipe_may_splice(&f->pipe));
    push(f, &f->pipe, "first");
    assert_false(body_pipe_may_splice(&f->pipe)); /* what is in the pipe comes before */
    body_pipe_consume(&f->pipe, 5);
    assert_true(body_pipe_may_splice(&f->pipe));
    assert_true(body_pipe_tee(&f->pipe, &copy, BODY_TEE_LOSSY, &f->arena));
    assert_false(body_pipe_may_splice(&f->pipe));
    body_pipe_release(&copy);
}

/* --- random schedules --- */

enum { MODEL_BYTES = 200000 };

struct model {
    struct fixture *f;
    struct random random;
    char *sent; /* what the producer has pushed in all */
    size_t pushed, consumed, copy_consumed;
    struct body_pipe copy;
    bool storing;
};

static void model_push(struct model *m)
{
    struct body_pipe *pipe = &m->f->pipe;
    size_t credit = body_pipe_credit(pipe);
    if (credit == 0 || m->pushed == MODEL_BYTES) return;
    size_t length = 1 + random_below(&m->random, random_below(&m->random, 4) ? 50 : 20000);
    if (length > credit) length = credit;
    if (length > MODEL_BYTES - m->pushed) length = MODEL_BYTES - m->pushed;
    for (size_t i = 0; i < length; i++) m->sent[m->pushed + i] = (char)random_next(&m->random);
    struct slice bytes = slice_of(m->sent + m->pushed, length);
    if (random_below(&m->random, 2)) {
        assert_true(body_pipe_push_copy(pipe, &m->f->slabs, bytes));
    } else {
        struct slab *slab = slab_take_sized(&m->f->slabs, length);
        memcpy(slab->bytes, bytes.at, length);
        body_pipe_push(pipe, slab, slab->bytes, length);
    }
    m->pushed += length;
}

static size_t model_consume(struct model *m, struct body_pipe *pipe, size_t consumed)
{
    struct iovec pieces[BODY_PIPE_PIECES];
    int limit = 1 + (int)random_below(&m->random, BODY_PIPE_PIECES);
    int count = body_pipe_peek(pipe, pieces, limit);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        assert_memory_equal(pieces[i].iov_base, m->sent + consumed + total, pieces[i].iov_len);
        total += pieces[i].iov_len;
    }
    if (total == 0) return 0;
    size_t length = 1 + random_below(&m->random, total);
    body_pipe_consume(pipe, length);
    return length;
}

static void run_model(struct fixture *f, uint64_t seed)
{
    struct model m = { .f = f, .sent = malloc(MODEL_BYTES) };
    random_init_seeded(&m.random, seed);
    body_pipe_release(&f->pipe);
    body_pipe_init(&f->pipe, &f->loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&m.copy, &f->loop, BODY_LENGTH_UNKNOWN);
    m.storing = random_below(&m.random, 2);
    assert_true(body_pipe_keep_for_replay(&f->pipe, MODEL_BYTES, &f->arena));
    assert_true(body_pipe_tee(&f->pipe, &m.copy, m.storing ? BODY_TEE_STORE : BODY_TEE_LOSSY, &f->arena));
    unsigned rewinds = 0;
    while (!body_pipe_is_drained(&f->pipe)) {
        switch (random_below(&m.random, 8)) {
        case 0:
        case 1:
        case 2: model_push(&m); break;
        case 3:
        case 4: m.consumed += model_consume(&m, &f->pipe, m.consumed); break;
        case 5:
        case 6: m.copy_consumed += model_consume(&m, &m.copy, m.copy_consumed); break;
        case 7:
            if (rewinds == 5 || random_below(&m.random, 20)) break;
            rewinds++;
            assert_true(body_pipe_rewind(&f->pipe));
            m.consumed = 0;
            break;
        }
        if (m.pushed == MODEL_BYTES && f->pipe.state == BODY_OPEN) body_pipe_finish(&f->pipe, NULL);
        assert_int_equal(f->pipe.buffered, m.pushed - m.consumed);
    }
    assert_int_equal(m.consumed, MODEL_BYTES);
    if (m.storing) {
        while (!body_pipe_is_drained(&m.copy)) m.copy_consumed += model_consume(&m, &m.copy, m.copy_consumed);
        assert_int_equal(m.copy_consumed, MODEL_BYTES);
    }
    body_pipe_release(&m.copy);
    body_pipe_release(&f->pipe);
    body_pipe_init(&f->pipe, &f->loop, BODY_LENGTH_UNKNOWN);
    assert_int_equal(f->slabs.taken_bytes, 0);
    free(m.sent);
}

static void any_schedule_delivers_the_same_bytes_to_consumer_copy_and_replay(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++) run_model(*state, seed);
}

/* --- trailers --- */

static unsigned cleanings;

static void take_all_out(const struct body_trailer_rule *rule, struct headers *trailers)
{
    (void)rule;
    cleanings++;
    for (struct header *item = headers_next(trailers, NULL); item; item = headers_next(trailers, item))
        headers_remove_one(trailers, item);
}

static const struct body_trailer_rule nothing_passes = { take_all_out };

static struct headers *one_trailer(struct fixture *f)
{
    struct headers *trailers = arena_allocate(&f->arena, sizeof *trailers);
    headers_init(trailers, &f->arena);
    assert_true(headers_add(trailers, SLICE("X-A"), SLICE("1")));
    return trailers;
}

static void a_trailer_rule_holds_before_the_end_and_after_it(void **state)
{
    struct fixture *f = *state;
    cleanings = 0;
    body_pipe_set_trailer_rule(&f->pipe, &nothing_passes);
    assert_int_equal(cleanings, 0);
    body_pipe_finish(&f->pipe, one_trailer(f));
    assert_int_equal(cleanings, 1);
    assert_null(headers_next(f->pipe.trailers, NULL));

    body_pipe_init(&f->pipe, &f->loop, BODY_LENGTH_UNKNOWN);
    body_pipe_finish(&f->pipe, one_trailer(f));
    body_pipe_set_trailer_rule(&f->pipe, &nothing_passes);
    assert_int_equal(cleanings, 2);
    assert_null(headers_next(f->pipe.trailers, NULL));
}

/* Its owner may be gone. */
static void after_a_stop_no_trailer_rule_is_asked(void **state)
{
    struct fixture *f = *state;
    cleanings = 0;
    body_pipe_set_trailer_rule(&f->pipe, &nothing_passes);
    body_pipe_stop(&f->pipe);
    body_pipe_finish(&f->pipe, one_trailer(f));
    assert_int_equal(cleanings, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_out_as_they_went_in),
        TEST(each_side_hears_of_the_other_by_its_task_only),
        TEST(credit_runs_out_with_the_window_and_comes_back_at_half_of_it),
        TEST(a_producer_that_never_ran_out_is_not_woken),
        TEST(pieces_run_out_before_the_window_and_end_the_credit_too),
        TEST(an_abort_drops_what_was_not_consumed),
        TEST(a_whole_body_can_not_be_aborted_any_more),
        TEST(what_is_pushed_after_a_stop_is_dropped),
        TEST(after_detaching_a_task_is_never_queued_again),
        TEST(a_taken_piece_brings_its_reference_along),
        TEST(a_rewound_body_comes_again_from_its_first_byte),
        TEST(beyond_its_limit_a_body_can_not_be_rewound_and_the_copies_go),
        TEST(a_body_in_very_many_pieces_is_not_kept),
        TEST(what_a_reserve_gave_is_not_kept_for_replay),
        TEST(an_untouched_body_can_be_rewound_without_any_replay),
        TEST(more_pieces_than_the_ring_holds_come_back_in_order),
        TEST(what_was_copied_comes_back_as_one_piece),
        TEST(a_forgotten_replay_keeps_no_memory),
        TEST(a_copy_gets_all_that_is_pushed_after_it_was_made),
        TEST(a_slow_mirror_is_cut_and_the_original_never_waits),
        TEST(a_mirror_never_holds_what_others_wait_for),
        TEST(a_storing_copy_holds_the_original_back),
        TEST(an_abort_reaches_the_copies),
        TEST(a_splice_offer_stands_only_where_nobody_needs_the_bytes),
        TEST(a_trailer_rule_holds_before_the_end_and_after_it),
        TEST(after_a_stop_no_trailer_rule_is_asked),
        TEST(any_schedule_delivers_the_same_bytes_to_consumer_copy_and_replay),
    };
    return cmocka_run_group_tests_name("body pipe", tests, NULL, NULL);
}
