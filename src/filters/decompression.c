/* decompression: unpacks the bodies of requests, so that the policies behind it and the service see them plain.
 *
 * Head: an unknown coding is refused with 415 and what is understood (RFC 9110 15.5.16), or passes where configured. Body: a stage unpacks
 * piece by piece within credit and refuses what would grow beyond a size or a ratio (413), what is broken, cut short, or goes on behind its end
 * (400). State: the decoder and one slab. Never waits; memory is counted under the worker's ceiling,
 * of which unpacking takes no more beyond the half: others' requests need the rest. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/decoder.h"
#include "filters/private.h"

#include <inttypes.h>
#include <sys/uio.h>

/* Unpacked before others get their turn. */
#define SHARE_BYTES (64 * 1024u)
/* A few kilobytes of spaces are no bomb, however small they were sent. */
#define RATIO_JUDGED_FROM_BYTES (64 * 1024u)
#define MEMORY_RETRY_MS 20
#define MEMORY_PATIENCE_MS 2000
#define POLICY SLICE("decompression")

struct decompression_config {
    uint64_t bytes_max;
    int64_t ratio_max;
    uint64_t codings; /* bits of coding_names */
    int others;
};

enum other_codings { OTHERS_REFUSED, OTHERS_PASS };

/* The same order. */
static const char *const coding_names[] = { "gzip", "br", "zstd", "deflate", NULL };
static const enum content_coding codings[] = { CODING_GZIP, CODING_BROTLI, CODING_ZSTD, CODING_DEFLATE };
static const char *const others_names[] = { "refuse", "pass", NULL };

struct decompression {
    struct decompression_config config;
    char understood[40]; /* for Accept-Encoding: "gzip, br" */
};

struct decompression_state {
    struct decoder *decoder; /* NULL: the body passes as it is */
    struct slab *slab;
    uint64_t taken, given; /* bytes of the body, packed and unpacked */
    struct body_pipe *in;  /* once the stage runs */
    struct timer timer;    /* looks for memory again */
    struct timer_wheel *timers;
    uint64_t short_since_ms; /* of memory; 0: not */
};

static const struct field decompression_fields[] = {
    { .name = "codings",
      .type = FIELD_ENUM_SET,
      .into = offsetof(struct decompression_config, codings),
      .names = coding_names,
      .fallback = "[gzip, br, zstd, deflate]",
      .summary = "What is unpacked. `deflate` is the zlib format, as RFC 9110 says." },
    { .name = "otherCodings",
      .type = FIELD_ENUM,
      .into = offsetof(struct decompression_config, others),
      .names = others_names,
      .fallback = "refuse",
      .summary = "Bodies in other codings: `refuse` with 415, or `pass` to the service as they are." },
    { .name = "maxBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct decompression_config, bytes_max),
      .fallback = "10MiB",
      .minimum = 1,
      .maximum = 1ll << 40,
      .summary = "How large a body may be once unpacked; a longer one is refused with 413." },
    { .name = "maxRatio",
      .type = FIELD_INTEGER,
      .into = offsetof(struct decompression_config, ratio_max),
      .fallback = "100",
      .minimum = 1,
      .maximum = 100000,
      .summary =
          "How many times as large as it was sent; judged from 64 KiB on. One that grows more is refused with 413." },
    FIELDS_END,
};

static bool decompression_compile(const struct filter_compile *, const void *value, void **compiled);
static enum filter_result decompression_request(struct exchange *, const void *compiled, void *state);
static bool decompression_stage_needed(const struct exchange *, const void *compiled, const void *state,
                                       enum filter_side);
static filter_stage decompression_request_body;
static void decompression_finish(struct exchange *, const void *compiled, void *state);
static void decompression_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_decompression = {
    .name = "decompression",
    .summary = "Unpacks compressed bodies of requests, under limits.",
    .phase = PHASE_VALIDATION,
    .fields = decompression_fields,
    .config_size = sizeof(struct decompression_config),
    .state_size = sizeof(struct decompression_state),
    .compile = decompression_compile,
    .release = free,
    .request = decompression_request,
    .request_body = decompression_request_body,
    .stage_needed = decompression_stage_needed,
    .finish = decompression_finish,
    .explain = decompression_explain,
};

/* --- loading --- */

static bool decompression_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct decompression_config *config = value;
    struct decompression *decompression = memory_allocate(sizeof *decompression);
    decompression->config = *config;
    char *at = decompression->understood;
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        struct error error;
        if (!(config->codings & UINT64_C(1) << i)) continue;
        if (!content_coding_load(codings[i], &error)) {
            const struct node *place = compile->node ? node_find(compile->node, "codings") : NULL;
            problems_add(compile->problems, place ? place : compile->node, "install it, or leave the coding out", "%s",
                         error.text);
            free(decompression);
            return false;
        }
        if (at > decompression->understood) at = stpcpy(at, ", ");
        at = stpcpy(at, coding_names[i]);
    }
    *compiled = decompression;
    return true;
}

/* --- the head --- */

static bool is_unpacked(const struct decompression *decompression, enum content_coding coding)
{
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        if (codings[i] == coding) return decompression->config.codings & UINT64_C(1) << i;
    }
    return false;
}

/* What the service would read differently now, or can't check any more: digests are of the packed bytes. */
static void remove_what_was_of_the_packed(struct headers *headers)
{
    headers_remove_known(headers, HEADER_CONTENT_ENCODING);
    content_remove_digests(headers);
}

static enum filter_result refuse_coding(struct exchange *exchange, const struct decompression *decompression,
                                        const char *why)
{
    exchange_respond_problem(exchange, 415, "unsupported-content-coding", POLICY, "%s; what is understood: %s", why,
                             decompression->understood[0] ? decompression->understood : "none");
    struct slice understood = slice_from_cstring(decompression->understood[0] ? decompression->understood : "identity");
    if (!headers_add_known(&exchange->own_response.headers, HEADER_ACCEPT_ENCODING, understood))
        respond_no_memory(exchange);
    return FILTER_RESPOND;
}

static enum filter_result other_coding(struct exchange *exchange, const struct decompression *decompression,
                                       const char *why)
{
    if (decompression->config.others == OTHERS_PASS) return FILTER_NEXT;
    return refuse_coding(exchange, decompression, why);
}

/* What the body's coding is called; empty: it has none. Empty members of the list are nothing (RFC 9110 5.6.1.2). *several: it has more. */
static struct slice name_of_coding(const struct headers *headers, bool *several)
{
    struct slice name = SLICE(""), member;
    *several = false;
    const struct header *field = headers_find_known(headers, HEADER_CONTENT_ENCODING);
    for (; field; field = headers_find_next(headers, field)) {
        struct slice rest = field->value;
        while (slice_next(&rest, ',', &member)) {
            if (member.length == 0) continue;
            *several |= name.length > 0;
            name = member;
        }
    }
    return name;
}

static enum filter_result decompression_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct decompression *decompression = compiled;
    struct decompression_state *call = state;
    struct headers *headers = &exchange->request->headers;
    if (LIKELY(!headers_find_known(headers, HEADER_CONTENT_ENCODING))) return FILTER_NEXT;
    bool several;
    struct slice name = name_of_coding(headers, &several);
    enum content_coding coding = content_coding_find(name);
    if (several) return other_coding(exchange, decompression, "the body has more than one content coding");
    if (coding == CODING_IDENTITY || name.length == 0) {
        headers_remove_known(headers, HEADER_CONTENT_ENCODING);
        return FILTER_NEXT;
    }
    if (!is_unpacked(decompression, coding))
        return other_coding(exchange, decompression, "the body's content coding is not understood");
    if (headers_find(headers, SLICE("Content-Range"))) {
        exchange_respond_problem(exchange, 400, "partial-content-coding", POLICY,
                                 "a part of a compressed body can't be unpacked");
        return FILTER_RESPOND;
    }
    if (exchange->request_body) {
        call->decoder = decoder_create(coding, exchange->worker->slabs->ceiling);
        if (!call->decoder) {
            respond_no_memory(exchange);
            return FILTER_RESPOND;
        }
    }
    remove_what_was_of_the_packed(headers);
    return FILTER_NEXT;
}

static bool decompression_stage_needed(const struct exchange *exchange, const void *compiled, const void *state,
                                       enum filter_side side)
{
    return ((const struct decompression_state *)state)->decoder != NULL;
}

/* --- the body --- */

static enum stage_result refuse(struct body_pipe *in, struct body_pipe *out, unsigned status, const char *reason,
                                const char *text)
{
    struct error error;
    error_set(&error, status < 500 ? BLAME_CLIENT : BLAME_US, RETRY_NEVER, (uint16_t)status, reason, "%s", text);
    body_pipe_abort(out, &error);
    body_pipe_stop(in);
    return STAGE_FINISHED;
}

static enum stage_result refuse_broken(struct body_pipe *in, struct body_pipe *out, enum decoder_result result)
{
    switch (result) {
    case DECODER_TRAILING:
        return refuse(in, out, 400, "bad-content-coding", "bytes follow the end of the request's compressed body");
    case DECODER_WINDOW:
        return refuse(in, out, 400, "bad-content-coding",
                      "the request's compressed body asks for a window of more than 8 MiB");
    case DECODER_NO_MEMORY:
        return refuse(in, out, 503, "out-of-memory", "out of memory for unpacking a request's body");
    default:
        return refuse(in, out, 400, "bad-content-coding",
                      "the request's body is not what its Content-Encoding says, or is damaged");
    }
}

static bool is_too_large(const struct decompression_config *config, const struct decompression_state *call)
{
    return call->given > config->bytes_max;
}

static bool grows_too_much(const struct decompression_config *config, const struct decompression_state *call)
{
    return call->given > RATIO_JUDGED_FROM_BYTES && call->given / (uint64_t)config->ratio_max > call->taken;
}

static void look_again(struct timer *timer)
{
    struct decompression_state *call = CONTAINER_OF(timer, struct decompression_state, timer);
    if (call->in->consumer_task) loop_enqueue(call->in->loop, call->in->consumer_task);
}

static void begin_body(struct decompression_state *call, struct body_pipe *in)
{
    if (call->in) return;
    call->in = in;
    call->timers = &in->loop->timers;
    timer_init(&call->timer, look_again);
}

enum room { ROOM_THERE, ROOM_LATER, ROOM_NEVER };

/* Memory may be short for a moment: the body waits in its sender's window meanwhile. */
static enum room find_room(struct decompression_state *call, struct slab_pool *slabs, struct body_pipe *out,
                           size_t *room)
{
    size_t credit = body_pipe_credit(out);
    if (credit == 0) return ROOM_LATER;
    if (call->slab && call->slab->filled == call->slab->size) {
        slab_drop(call->slab);
        call->slab = NULL;
    }
    if (!call->slab) call->slab = slab_take(slabs, SLAB_SMALL);
    if (!call->slab) call->slab = slab_take(slabs, SLAB_TINY);
    const struct loop *loop = call->in->loop;
    if (!call->slab) {
        if (call->short_since_ms == 0) call->short_since_ms = loop->now_ms;
        if (loop->now_ms - call->short_since_ms > MEMORY_PATIENCE_MS) return ROOM_NEVER;
        timer_set(call->timers, &call->timer, loop->now_ms + MEMORY_RETRY_MS);
        return ROOM_LATER;
    }
    call->short_since_ms = 0;
    *room = call->slab->size - call->slab->filled;
    if (credit < *room) *room = credit;
    return ROOM_THERE;
}

static void push(struct decompression_state *call, struct body_pipe *out, size_t written)
{
    struct slab *slab = call->slab;
    const char *at = slab->bytes + slab->filled;
    slab->filled += (uint32_t)written;
    slab_retain(slab);
    body_pipe_push(out, slab, at, written);
}

static struct slice first_run(const struct body_pipe *in)
{
    struct iovec run;
    return body_pipe_peek(in, &run, 1) == 1 ? slice_of(run.iov_base, run.iov_len) : SLICE("");
}

static enum stage_result end_body(struct decompression_state *call, struct body_pipe *in, struct body_pipe *out)
{
    if (!decoder_is_whole(call->decoder))
        return refuse(in, out, 400, "bad-content-coding", "the request's compressed body ends too early");
    if (in->trailers) content_remove_digests(in->trailers);
    body_pipe_finish(out, in->trailers);
    return STAGE_FINISHED;
}

static enum stage_result decompression_request_body(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    const struct decompression *decompression = stage->compiled;
    struct decompression_state *call = stage->state;
    begin_body(call, in);
    for (size_t given = 0; given < SHARE_BYTES;) {
        size_t room, written;
        switch (find_room(call, stage->exchange->worker->slabs, out, &room)) {
        case ROOM_THERE: break;
        case ROOM_LATER: return STAGE_CONTINUE;
        case ROOM_NEVER: return refuse_broken(in, out, DECODER_NO_MEMORY);
        }
        struct slice run = first_run(in);
        size_t before = run.length;
        enum decoder_result result = decoder_run(call->decoder, &run, call->slab->bytes + call->slab->filled, room,
                                                 &written);
        call->taken += before - run.length;
        call->given += written;
        if (result != DECODER_GOES_ON) return refuse_broken(in, out, result);
        if (is_too_large(&decompression->config, call))
            return refuse(in, out, 413, "decompressed-too-large", "the request's body is too large once unpacked");
        if (grows_too_much(&decompression->config, call))
            return refuse(in, out, 413, "decompression-ratio", "the request's body grows too much when it is unpacked");
        body_pipe_consume(in, before - run.length);
        if (written > 0) push(call, out, written);
        given += written;
        if (in->count > 0 || written == room) continue;
        return in->state == BODY_FINISHED ? end_body(call, in, out) : STAGE_CONTINUE;
    }
    loop_enqueue_next(in->loop, in->consumer_task); /* others' turn */
    return STAGE_CONTINUE;
}

static void decompression_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct decompression_state *call = state;
    if (!call->decoder) return;
    if (call->in) timer_clear(call->timers, &call->timer);
    slab_drop(call->slab);
    decoder_destroy(call->decoder);
}

/* --- why --- */

static void decompression_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct decompression *decompression = compiled;
    bool several;
    struct slice name = name_of_coding(&exchange->request->headers, &several);
    enum content_coding coding = several ? CODING_COUNT : content_coding_find(name);
    if (name.length == 0 || coding == CODING_IDENTITY)
        explanation_add(explanation, "the body is not compressed");
    else if (is_unpacked(decompression, coding))
        explanation_add(explanation, "the body is unpacked, up to %" PRIu64 " bytes and %lld times its size",
                        decompression->config.bytes_max, (long long)decompression->config.ratio_max);
    else
        explanation_add(explanation, "the body's content coding %s",
                        decompression->config.others == OTHERS_PASS ? "is not ours: it passes" : "is refused with 415");
}
