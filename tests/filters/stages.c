/* test-grow, test-shrink, test-hold, test-refuse: body stages that change a body's length, keep it back, or break it off.
 *
 * grow     writes each byte `factor` times             shrink   lets every second byte pass
 * hold     lets nothing pass before the end            refuse   breaks off after `bytes` with 413
 * Each acts on the request's body, or on the response's with on: response. State: how far it is. */
#include "filters/test_filters.h"

#include <sys/uio.h>

struct stage_config {
    int64_t factor;
    uint64_t bytes;
};

struct stage_state {
    uint64_t seen; /* bytes taken from the input */
};

static const struct field grow_fields[] = {
    { .name = "factor",
      .type = FIELD_INTEGER,
      .into = offsetof(struct stage_config, factor),
      .fallback = "2",
      .minimum = 1,
      .maximum = 64,
      .summary = "How many times each byte is written." },
    FIELDS_END,
};
static const struct field refuse_fields[] = {
    { .name = "bytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct stage_config, bytes),
      .fallback = "1KiB",
      .summary = "How many bytes pass." },
    FIELDS_END,
};
static const struct field hold_fields[] = {
    { .name = "bytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct stage_config, bytes),
      .fallback = "64KiB",
      .minimum = 1,
      .maximum = 1 << 20,
      .summary = "How many bytes are held; a longer body is refused." },
    FIELDS_END,
};
static const struct field no_fields[] = { FIELDS_END };

static filter_stage grow, shrink, hold, refuse;

#define STAGE_FILTER(word, stage_fields, stage_function, text)                                   \
    {                                                                                            \
        .name = "test-" word, .summary = text, .phase = PHASE_TRANSFORM, .fields = stage_fields, \
        .config_size = sizeof(struct stage_config), .state_size = sizeof(struct stage_state),    \
        .all_scopes_apply = true, .on_response_allowed = true, .request_body = stage_function,   \
        .response_body = stage_function,                                                         \
    }

const struct filter filter_test_grow = STAGE_FILTER("grow", grow_fields, grow,
                                                    "Writes each byte of a body several times.");
const struct filter filter_test_shrink = STAGE_FILTER("shrink", no_fields, shrink,
                                                      "Drops every second byte of a body.");
const struct filter filter_test_hold = STAGE_FILTER("hold", hold_fields, hold, "Holds a body back until its end.");
const struct filter filter_test_refuse = STAGE_FILTER("refuse", refuse_fields, refuse, "Breaks a body off.");

static enum stage_result break_off(struct body_pipe *in, struct body_pipe *out, unsigned status, const char *reason)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, (uint16_t)status, reason, "a body stage of the tests broke off");
    body_pipe_abort(out, &error);
    body_pipe_stop(in);
    return STAGE_FINISHED;
}

static enum stage_result finish_if_drained(struct body_pipe *in, struct body_pipe *out)
{
    if (!body_pipe_is_drained(in)) return STAGE_CONTINUE;
    body_pipe_finish(out, in->trailers);
    return STAGE_FINISHED;
}

/* The first run of bytes that wait in the input; empty: none. */
static struct slice first_run(const struct body_pipe *in)
{
    struct iovec run;
    return body_pipe_peek(in, &run, 1) == 1 ? slice_of(run.iov_base, run.iov_len) : SLICE("");
}

static enum stage_result grow(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    const struct stage_config *config = stage->compiled;
    const size_t factor = (size_t)config->factor;
    char grown[4096];
    for (struct slice run; (run = first_run(in)).length > 0;) {
        size_t credit = body_pipe_credit(out), count = (credit < sizeof grown ? credit : sizeof grown) / factor;
        if (credit == 0) return STAGE_CONTINUE;
        if (count == 0) count = 1; /* a little beyond credit is better than never */
        if (count > run.length) count = run.length;
        for (size_t i = 0; i < count * factor; i++) grown[i] = run.at[i / factor];
        if (!body_pipe_push_copy(out, stage->exchange->worker->slabs, slice_of(grown, count * factor))) {
            return break_off(in, out, 503, "out-of-memory");
        }
        body_pipe_consume(in, count);
    }
    return finish_if_drained(in, out);
}

static enum stage_result shrink(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct stage_state *state = stage->state;
    char kept[4096];
    for (struct slice run; (run = first_run(in)).length > 0;) {
        size_t credit = body_pipe_credit(out), count = 0, taken = 0;
        if (credit == 0) return STAGE_CONTINUE;
        for (; taken < run.length && count < credit && count < sizeof kept; taken++, state->seen++) {
            if (state->seen % 2 == 0) kept[count++] = run.at[taken];
        }
        if (!body_pipe_push_copy(out, stage->exchange->worker->slabs, slice_of(kept, count))) {
            return break_off(in, out, 503, "out-of-memory");
        }
        body_pipe_consume(in, taken);
    }
    return finish_if_drained(in, out);
}

/* What is held stays in the input: so no more than its window and its ring of pieces take. */
static enum stage_result hold(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    const struct stage_config *config = stage->compiled;
    struct body_piece piece;
    bool full = in->state == BODY_OPEN && (in->buffered >= in->window || in->count == BODY_PIPE_PIECES);
    if (full || in->buffered > config->bytes) return break_off(in, out, 413, "test-too-large");
    if (in->state == BODY_OPEN) return STAGE_CONTINUE;
    while (in->count > 0) {
        if (body_pipe_credit(out) == 0) return STAGE_CONTINUE;
        if (body_pipe_take(in, &piece)) body_pipe_push(out, piece.slab, piece.at, piece.length);
    }
    return finish_if_drained(in, out);
}

static enum stage_result refuse(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    const struct stage_config *config = stage->compiled;
    struct stage_state *state = stage->state;
    struct body_piece piece;
    while (in->count > 0) {
        if (body_pipe_credit(out) == 0) return STAGE_CONTINUE;
        if (!body_pipe_take(in, &piece)) break;
        state->seen += piece.length;
        if (state->seen > config->bytes) {
            slab_drop(piece.slab);
            return break_off(in, out, 413, "test-refused");
        }
        body_pipe_push(out, piece.slab, piece.at, piece.length);
    }
    return finish_if_drained(in, out);
}
